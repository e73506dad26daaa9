#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A disk in an OVA is read where it lies: FILE.ova, or FILE:NAME.
. "$(dirname "$0")/lib.sh"
need tar
disk x.raw 5
img-convert -O vmdk x.raw one.vmdk
img-convert -O vmdk -o subformat=streamOptimized x.raw two.vmdk 2>message || cp one.vmdk two.vmdk
echo '<Envelope/>' >m.ovf
echo 'SHA256(m.ovf)= 0' >m.mf

for format in ustar gnu oldgnu pax v7; do
    tar --format=$format -cf m.ova ./m.ovf ./m.mf ./one.vmdk
    quiet img-compare x.raw m.ova
    quiet img-compare -f raw -F vmdk x.raw m.ova:one.vmdk
    quiet img-convert -O vmdk m.ova y.vmdk
    quiet img-compare x.raw y.vmdk
done
img-info m.ova >output
has output "file format: vmdk"
has output "virtual size: 20 MiB (20972032 bytes)"
quiet img-check m.ova
img-io -s -c 'write -q 0 4k' -c 'read -q -P 0xcd 0 4k' m.ova >output || fail "snapshot: $(cat output)"

# The tar itself, where that is meant.
quiet img-convert -f raw m.ova m.copy
same_file m.ova m.copy

# Several disks; one that is not called .ova; long names; names with colons.
long=$(printf '%0150d' 7).vmdk
cp two.vmdk "$long"
cp two.vmdk a:b.vmdk
for format in gnu pax; do
    tar --format=$format -cf n.tar m.ovf one.vmdk two.vmdk "$long" a:b.vmdk
    for name in one.vmdk two.vmdk "$long" a:b.vmdk; do
        quiet img-compare x.raw "n.tar:$name"
    done
done
cp n.tar n.ova
refused 1 '*n.ova: has 4 disks: say which, as n.ova:NAME: one.vmdk, two.vmdk, *' img-info n.ova
refused 1 '*n.ova: there is no z.vmdk in it; its disks are one.vmdk, *' img-info n.ova:z.vmdk
img-check --for virtualbox n.ova:two.vmdk >output || fail "check --for: $(cat output)"

# What cannot be.
refused 1 '*can only be read*' img-resize m.ova +1M
refused 1 '*can only be read*' img-check -r all m.ova
refused 1 '*is the source*' img-convert -O raw m.ova m.ova
quiet img-compare x.raw m.ova
tar -cf e.ova m.ovf
refused 1 '*there is no disk in it*' img-info e.ova
gzip -k one.vmdk
tar -cf g.ova m.ovf one.vmdk.gz
refused 1 '*compressed by gzip*' img-info g.ova
tar --format=gnu -S -cf s.ova m.ovf x.raw
refused 1 '*without its holes*' img-info s.ova

# A disk that GNU tar had stored without its holes in pax's ways was read as it lay
# there: the map and the packed pieces.
for version in 0.0 0.1 1.0; do
    tar --format=pax --sparse-version=$version -S -cf s.tar m.ovf x.raw one.vmdk
    refused 1 '*s.tar: x.raw is stored without its holes*' img-convert s.tar:x.raw y.raw
    [ ! -e y.raw ] || fail "$version: it made y.raw"
    tar --format=pax --sparse-version=$version -S -cf s.ova m.ovf x.raw
    refused 1 '*without its holes*' img-convert s.ova y.raw
done

# Global headers of pax are about all files that follow, and were not looked at.
tar --format=pax --pax-option=globexthdr.name=g,comment=x -cf g.tar m.ovf one.vmdk
quiet img-compare -f raw -F vmdk x.raw g.tar:one.vmdk
tar --format=pax --pax-option=SCHILY.realsize=1 -cf g.tar m.ovf one.vmdk
refused 1 '*without its holes*' img-info g.tar:one.vmdk
tar --format=pax --pax-option=path=z.vmdk -cf g.tar one.vmdk
quiet img-compare -f raw -F vmdk x.raw g.tar:z.vmdk
tar --format=pax --pax-option=size:=x -cf g.tar one.vmdk
refused 1 '*about the file that follows, makes no sense*' img-info g.tar:one.vmdk

# The padding of a file that ends where any file must was reckoned beyond what a number holds.
truncate -s 0 end
tar --format=pax --pax-option=size:=9223372036854774271 -cf l.tar end
if truncate -s 9223372036854775807 l.tar 2>/dev/null; then
    quiet img-info l.tar:end
    has output "(9223372036854774271 bytes)"
fi

# Of two files of one name the first was taken without a word; tar keeps the last.
tar -cf d.ova m.ovf one.vmdk
cp x.raw dup
tar --transform=s/dup/one.vmdk/ -rf d.ova dup
refused 1 '*d.ova: has 2 files called one.vmdk: unpack it*' img-info d.ova
refused 1 '*d.ova: has 2 files called one.vmdk: unpack it*' img-info d.ova:one.vmdk

head -c 100000 m.ova >t.ova
refused 1 '*was not completely transferred*' img-info t.ova
refused 1 '*No such file*' img-info none.ova:one.vmdk

# An OVA whose first header was damaged was taken for a raw disk.
cp m.ova b.ova
printf 9 | put b.ova 148
head -c 300 m.ova >c.ova
: >empty.ova
for name in b.ova c.ova empty.ova; do
    refused 1 "*$name: does not begin as a tar file does*-f raw *" img-convert $name y.raw
    [ ! -e y.raw ] || fail "$name: it made y.raw"
    refused 1 "*$name: does not begin as a tar file does*" img-info $name:one.vmdk
done
quiet img-convert -f raw b.ova b.copy
same_file b.ova b.copy

# What was to become an OVA, or to be read as one, was a raw disk without a word.
refused 1 '*m.ova: --ova makes an OVA*-O raw*' img-convert x.raw m.ova
refused 1 '*new.ova: --ova makes an OVA*' img-convert x.raw new.ova
refused 1 '*m.ova: --ova makes an OVA*' img-convert -n x.raw m.ova
quiet img-convert -O raw x.raw new.ova
same_file x.raw new.ova
refused 1 '*m.ova: an OVA cannot be a parent*' img-create -f vmdk -b m.ova child.vmdk
refused 1 '*m.ova: an OVA cannot be a parent*' img-convert -O vmdk -B m.ova x.raw child.vmdk
cp one.vmdk child.vmdk
refused 1 '*m.ova: an OVA cannot be a parent*' img-rebase -u -b m.ova child.vmdk

# A file of that name that is no tar is what it is; a file with a colon too.
cp one.vmdk r.ova
img-info r.ova >output
has output "file format: vmdk"
cp one.vmdk m.ova:z
img-info m.ova:z >output
has output "file format: vmdk"

# Headers that lie.
put m.ova 1148 <<END
77777777777
END
refused 1 '*there is no header*' img-info m.ova:one.vmdk
