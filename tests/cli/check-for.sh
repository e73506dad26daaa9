#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-check --for: streams of ours and of VMware's keep all rules, and what is
# changed in one is called by the name of its rule.
. "$(dirname "$0")/lib.sh"

# taken PROFILE FILE: no rule is broken.
taken()
{
    img-check --for "$1" "$2" >output 2>message || fail "$1, $2: $(cat output message)"
    has output "No rule of $1 is broken."
}

# breaks PROFILE FILE RULE: it would be refused, by that rule among others.
breaks()
{
    status=0
    img-check --for "$1" "$2" >output 2>message || status=$?
    equal "status of $1, $2, rule $3 ($(cat message))" "$status" 2
    grep -q "^$3: " output || fail "$1, $2: no rule $3: $(cat output)"
    has output "would refuse the image"
    has output "mend: "
}

# Empty ones need no library that compresses.
for layout in end front; do
    for size in 64k 1M 100G; do
        img-create -q -f vmdk -o subformat=streamOptimized,stream_layout=$layout e.vmdk $size
        taken stream e.vmdk
    done
done
refused 1 "*no profile 'moon'*" img-check --for moon e.vmdk
refused 1 '*only looks*' img-check -r all --for stream e.vmdk
img-create -q -f vmdk -o subformat=streamOptimized e.vmdk 1M
head -c 65536 e.vmdk >half.vmdk
breaks stream half.vmdk eos
printf kdmv | put half.vmdk 0
breaks stream half.vmdk complete

# A descriptor that is longer than the file was read beyond its end, and that could not be
# read was all that was said.
cp e.vmdk half.vmdk
printf '\320\7' | put half.vmdk 36
breaks stream half.vmdk overhead

# A directory that leads again and again to the same tables was followed each time.
img-create -q -f vmdk -o subformat=streamOptimized,stream_layout=front e.vmdk 100G
gd=$(od -An -t u4 -j 56 -N 4 e.vmdk | tr -d ' ')
head -c $((gd * 512 + 8)) e.vmdk | tail -c 8 >two
for _ in 1 2 3 4 5 6 7 8 9 10 11; do
    cat two two >four
    mv four two
done
head -c 12800 two | put e.vmdk $((gd * 512))
printf '\200\0' | put e.vmdk 64 # where grains begin, and the file ends
truncate -s $((129 * 512)) e.vmdk
breaks stream e.vmdk tables
has output "more of them than the file has room for"

# An image was taken for the kind that its descriptor calls it, in one line or in another.
img-create -q -f vmdk m.vmdk 1M
sed 's/createType="monolithicSparse"/createType="streamOptimized" /' m.vmdk >half.vmdk
breaks stream half.vmdk format
sed 's/^ddb.longContentID = "[0-9a-f]*"/ddb.create-type = "streamOptimized"                   /' \
    m.vmdk >half.vmdk
has half.vmdk 'ddb.create-type = '
taken workstation half.vmdk
breaks stream half.vmdk format

# Nothing can be made of no bytes, so no command is named that would fail.
: >none.img
status=0
img-check --for stream none.img >output || status=$?
equal "status of an empty file" "$status" 2
! grep -q "^mend: " output || fail "empty file: $(cat output)"

img-info e.vmdk >/dev/null 2>message || skip "$(cat message)" # no libdeflate
disk x.raw 7
head -c 300000 /dev/urandom | put x.raw 15000000 # stored, not compressed
for layout in end front; do
    for level in 1 6 12; do
        img-convert -O vmdk -o subformat=streamOptimized,stream_layout=$layout,compression_level=$level \
            x.raw $layout.vmdk
        taken stream $layout.vmdk
        taken aws $layout.vmdk
        taken vsphere-ovf $layout.vmdk
    done
done
if img-convert -O vmdk -o subformat=streamOptimized,compression_engine=isal x.raw i.vmdk \
    2>message; then
    taken stream i.vmdk
fi

# damage RULE OFFSET TEXT: end.vmdk with that text there (of printf) breaks RULE.
length=$(stat -c %s end.vmdk)
damage()
{
    cp end.vmdk d.vmdk
    # shellcheck disable=SC2059 # the format is the text
    printf "$3" | put d.vmdk "$2"
    breaks stream d.vmdk "$1"
}
damage readable 0 kdmq
damage version 4 '\1'
damage flags 8 '\0'
damage capacity 12 '\1'
damage grain-size 20 '\100'
damage table-size 44 '\1\1'
damage overhead 36 '\377'
damage clean 72 '\1'
damage newlines 75 '\n'
damage compression 77 '\2'
damage place 65536 '\1'
damage order 65536 '\0\1'
damage tables 65536 '\0\1'
damage data 65600 '\0\0\377\377'
damage grain-length 65545 '\377\1'
damage markers 65545 '\377\377\377'
damage footer $((length - 1000)) '\1'
damage tables $((length - 1024 + 56)) '\377\377\377'
damage markers $((length - 2560 + 12)) '\7'
damage eos $((length - 100)) x

# where TEXT: its place in end.vmdk.
where()
{
    grep -abo -e "$1" end.vmdk | head -n 1 | cut -d: -f1
}
damage descriptor "$(where version=1)" version=9
damage extent "$(where 'RW 4')" 'RW 5'
damage parent "$(where 'parentCID=f')" 'parentCID=0'
damage cid "$(where '^CID=')" 'CID=ffffffff\n#'
damage adapter "$(where '"lsilogic"')" '"lsilogix"'

# Lines that are missing, and sizes beyond all limits, went unnoticed.
damage cid "$(where '^CID=')" '#ID='
damage cid "$(where '^CID=')" 'CID=0x1\n'
damage adapter "$(where 'ddb.adapterType')" '#'
damage capacity 17 '\1\377'
has output "more than anybody takes"
damage descriptor 37 '\20'
has output "at most 2048 are read"
head -c $((length - 512)) end.vmdk >d.vmdk
breaks stream d.vmdk eos
cp end.vmdk d.vmdk
truncate -s +512 d.vmdk
breaks stream d.vmdk trailing
truncate -s +100 d.vmdk
breaks stream d.vmdk length

# The last byte of a grain's last sector, where nothing is.
size=$(od -An -t u4 -j 65544 -N 4 end.vmdk | tr -d ' ')
[ $(((size + 12) % 512)) -eq 0 ] || damage padding $((65536 + (size + 12 + 511) / 512 * 512 - 1)) '\1'

# Other destinations.
img-convert -O vmdk -o subformat=streamOptimized,adapter_type=ide,hwversion=21 x.raw ide.vmdk
taken stream ide.vmdk
breaks vsphere-ovf ide.vmdk adapter
has output "mend: img-convert --for vsphere-ovf ide.vmdk NEW.vmdk"
breaks esxi end.vmdk format
breaks workstation end.vmdk format
taken virtualbox end.vmdk
breaks azure x.raw format
has output "cannot write VHD"
breaks gcp x.raw size
has output "mend: img-resize -f raw x.raw 1073741824"
breaks gcp x.raw name
has output "mend: mv x.raw disk.raw"
taken qemu x.raw
img-create -q -f vmdk parent.vmdk 1M
img-create -q -f vmdk -b parent.vmdk child.vmdk
taken workstation child.vmdk
breaks gcp child.vmdk parent
cp child.vmdk "a 'b'.vmdk"
breaks aws "a 'b'.vmdk" format
has output "mend: img-convert --for aws 'a '\\''b'\\''.vmdk' NEW.vmdk"

# Of a long name a part was in the command, which is another file's.
long=$(printf '%0200d' 0)
long=$long/$long/$long
mkdir -p "$long" "$long 'b'"
cp child.vmdk "$long"
cp child.vmdk "$long 'b'"
breaks aws "$long/child.vmdk" format
has output "mend: img-convert --for aws FILE NEW.vmdk"
breaks aws "$long 'b'/child.vmdk" format
has output "mend: img-convert --for aws FILE NEW.vmdk"

img-check --output=json --for azure x.raw >output && fail "json, azure: taken"
has output '"accepted": false'
has output '"rule": "format"'

need_images
for name in ovftool-t3/tdAppliance1-t3-ovftool-4.1.0-disk1 vbox-4m-streamOptimized/test \
    ovftool-t5-16g/tdAppliance1-t5-ovftool-4.1.0-disk1 vmware-hw19-1m/1mb \
    vmware-hw7-streamOptimized/streamOptimized vmware-ova-t2/tdAppliance1-t2-disk1 \
    vmware-ova-t4-60g/tdAppliance1-t4-disk1 vmware-ova-t6-40g/tdAppliance1-t6-disk1 \
    vmware-v3-16g/iotest-version3; do
    taken stream "$IMAGES/vmdk/$name.vmdk"
done
breaks stream "$IMAGES/vmdk/qemu-stream-1m/1mib.vmdk" eos
breaks stream "$IMAGES/vmdk/qemu-stream-64k-data/compressed_stream_opt.vmdk" trailing
breaks stream "$IMAGES/vmdk/bad-stream-no-footer-2k/monolithicSparse.vmdk" length
breaks stream "$IMAGES/vmdk/qemu-ext2/ext2.vmdk" format
