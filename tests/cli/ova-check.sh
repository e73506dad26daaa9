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

# Of an OVA, those who take none were told to take it, for its disk.
for profile in stream qemu esxi azure; do
    status=0
    img-check --for $profile m.ova >output 2>message || status=$?
    equal "status for $profile ($(cat message))" "$status" 2
    has output "package: it is an OVA"
done
img-check --for stream m.ova:m-disk1.vmdk >output || fail "the disk alone: $(cat output)"
img-check --for qemu m.ova >output || has output "mend: img-convert --for qemu m.ova NEW.raw"
img-check --for virtualbox m.ova >output || fail "$(cat output)"
has output "Only the disk in the OVA was judged"
img-check --output=json --for virtualbox m.ova >output
has output '"remark": "Only the disk'
! img-check --for vsphere-ovf m.ova | grep Only || fail "for vsphere-ovf it was judged as a whole"

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

# What the manifest and the OVF leave out, and say of the disk itself, went unnoticed.
# manifest NAME SED: the OVA of that name with a manifest changed so.
manifest()
{
    sed "$2" m.mf >bad/m.mf
    tar -cf "$1" m.ovf -C bad m.mf -C .. m-disk1.vmdk
}
manifest noline.ova /disk1/d
breaks noline.ova manifest "no line for m-disk1.vmdk"
manifest noovf.ova /ovf/d
breaks noovf.ova manifest "no line for m.ovf"
manifest nothing.ova d
breaks nothing.ova manifest "no line for m.ovf"
manifest strange.ova '1s/^/#/;1s/=//'
breaks strange.ova manifest "is no line of one"
tar --hard-dereference -cf twice.ova m.ovf m-disk1.vmdk m.ovf
breaks twice.ova names "two files of the package are called m.ovf"

# ovf NAME SED: the same with another OVF, and without a manifest.
ovf()
{
    sed "$2" m.ovf >bad/m.ovf
    ! cmp -s m.ovf bad/m.ovf || fail "$2 changes nothing"
    tar -cf "$1" -C bad m.ovf -C .. m-disk1.vmdk
}
ovf capacity.ova 's/\(capacity="\)[0-9]*/\1999/'
breaks capacity.ova ovf-capacity "has 999 times byte; it has 2103"
ovf units.ova 's/capacity="[0-9]*"/capacity="20"/; s/Units="byte"/Units="byte * 2^20"/'
breaks units.ova ovf-capacity "has 20 times byte . 2^20"
ovf whole.ova 's/capacity="[0-9]*"/capacity="21"/; s/Units="byte"/Units="byte * 2^20"/'
img-check --for vsphere-ovf whole.ova >output || fail "rounded up: $(cat output)"
ovf format.ova s/#streamOptimized/#sparse/
breaks format.ova ovf-format "is http.*#sparse; http"
ovf family.ova 's/vmx-07/virtualbox-2.2/'
breaks family.ova hardware "is virtualbox-2.2; vmx-NN"
ovf disk.ova 's/fileRef="file1"/fileRef="file2"/'
breaks disk.ova references "in the file file2"
ovf ide.ova 's/ResourceType>6</ResourceType>5</'
breaks ide.ova controller "adapter is lsilogic; .* of type IDE"
sed 's/adapterType = "lsilogic"/adapterType = "ide"     /' \
    m-disk1.vmdk >bad/m-disk1.vmdk
if [ "$(stat -c %s bad/m-disk1.vmdk)" = "$(stat -c %s m-disk1.vmdk)" ]; then
    tar -cf scsi.ova m.ovf -C bad m-disk1.vmdk
    breaks scsi.ova controller "adapter is ide; .* of type SCSI"
fi
ovf old.ova 's/vmx-07/vmx-03/'
breaks old.ova hardware "is for virtual hardware 4; .* vmx-03"

# A manifest that was too long was passed over, and so was what it should have said.
cp m.mf bad/m.mf
truncate -s 5M bad/m.mf
tar -cf much.ova m.ovf -C bad m.mf -C .. m-disk1.vmdk
refused 1 '*much.ova: m.mf has 5242880 bytes; at most 4194304 *' img-check --for vsphere-ovf much.ova

# A text that begins with what is looked for.
for text in 'File ovf:href="a"' 'ovf:Disk ' 'Item>'; do
    printf %s "$text" >bad/m.ovf
    tar -cf text.ova -C bad m.ovf -C .. m-disk1.vmdk
    img-check --for vsphere-ovf text.ova >output || fail "$text: $(cat output)"
done

# A value that is too long, or has an entity that is not known, had no end: what had been
# in its place before was read too, and what lies behind that.
host='<Item><rasd:HostResource>ovf:'
type='</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType>'
ovf host.ova "s,ovf:/disk/disk1,none,; s,ResourceType>6<,ResourceType>5<,
    s,</VirtualHardwareSection>,$host/disk/disk1$type</Item>$host\\&#x2f;$type<rasd:Parent>3</rasd:Parent></Item>&,"
img-check --for vsphere-ovf host.ova >output || fail "entity: $(cat output)"
ovf long.ova "s/\"byte\"/\"$(printf '%01100d' 0)\"/"
img-check --for vsphere-ovf long.ova >output || fail "long: $(cat output)"

# A name with parentheses was cut at the first.
quiet img-convert --ova x.raw 'foo (1).ova'
img-check --for vsphere-ovf 'foo (1).ova' >output || fail "parentheses: $(cat output)"

# What is mended so is.
quiet img-convert --ova sha1.ova NEW.ova
img-check --for vsphere-ovf NEW.ova >output || fail "$(cat output)"
