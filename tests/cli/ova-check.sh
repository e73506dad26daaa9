#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-check --for looks at the package around a disk too: OVF first, true lengths,
# true digests.
. "$(dirname "$0")/lib.sh"
need tar sha1sum
disk x.raw 4
if ! img-convert --ova x.raw m.ova 2>message; then
    case $(cat message) in
    *"made without"*) skip "$(cat message)" ;; # libdeflate or nettle
    esac
    fail "$(cat message)"
fi
tar xf m.ova

# breaks OVA RULE TEXT: by that rule and no other.
breaks()
{
    status=0
    img-check --for vsphere-ovf "$1" >output 2>message || status=$?
    equal "status ($(cat message))" "$status" 2
    grep -q "^$2: .*$3" output || fail "no $2 with $3: $(cat output)"
    has output "1 of the rules of vsphere-ovf is broken"
    has output "mend: img-convert --ova $1 NEW.ova"
}

for profile in vsphere-ovf aws; do
    img-check --for $profile m.ova >output 2>message || fail "$(cat output message)"
done
tar --format=ustar -cf ok.ova m.ovf m-disk1.vmdk m.mf
img-check --for vsphere-ovf ok.ova >output || fail "$(cat output)"
tar -cf without.ova m.ovf m-disk1.vmdk # the manifest may be missing
img-check --for vsphere-ovf without.ova >output || fail "$(cat output)"

tar -cf order.ova m-disk1.vmdk m.ovf m.mf
breaks order.ova ovf-first "is m-disk1.vmdk"
img-check -q --for vsphere-ovf order.ova:m-disk1.vmdk || fail "the disk alone"

mkdir bad
sed 's/ovf:size="/&1/' m.ovf >bad/m.ovf
tar -cf size.ova -C bad m.ovf -C .. m-disk1.vmdk
breaks size.ova references "has 1[0-9]* bytes; it has [0-9]*"
sed 's/m-disk1/n-disk1/' m.ovf >bad/m.ovf
tar -cf href.ova -C bad m.ovf -C .. m-disk1.vmdk
breaks href.ova references "n-disk1.vmdk, which is not"
sed 's/ovf:id="file1"/& ovf:compression="gzip"/' m.ovf >bad/m.ovf
tar -cf gzip.ova -C bad m.ovf -C .. m-disk1.vmdk
breaks gzip.ova references "compressed"
sed 's/Disk 1/Disk X/' m.ovf >bad/m.ovf
tar -cf digest.ova -C bad m.ovf -C .. m.mf m-disk1.vmdk
breaks digest.ova manifest "m.ovf is another"
sed 's/m-disk1/n-disk1/' m.mf >bad/m.mf
tar -cf named.ova m.ovf -C bad m.mf -C .. m-disk1.vmdk
breaks named.ova manifest "names n-disk1.vmdk"
echo "SHA1(m.ovf)= $(sha1sum m.ovf | cut -d ' ' -f 1)" >bad/m.mf
tar -cf sha1.ova m.ovf -C bad m.mf -C .. m-disk1.vmdk
breaks sha1.ova manifest "SHA1"

# What is mended so is.
quiet img-convert --ova sha1.ova NEW.ova
img-check --for vsphere-ovf NEW.ova >output || fail "$(cat output)"
