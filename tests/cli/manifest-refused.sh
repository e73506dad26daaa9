#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Images that are malformed, or lack some of their files, are refused with one
# line, which names what is wrong, and no target is left.
. "$(dirname "$0")/lib.sh"
need_images
need xz

{ manifest malformed vmdk; manifest missing-files vmdk; } >rows
# What the line must say: the field, or the file that is missing.
cat >reasons <<'END'
vmdk/bad-afl9/afl9.vmdk	newline bytes are 00 00 00 00 instead of 0a 20 0d 0a
vmdk/bad-desc-placeholder/tw_sparse_data.vmdk	extent 'tw_sparse_data-s001.vmdk'
vmdk/bad-stream-no-footer-2k/monolithicSparse.vmdk	gdOffset says that there is a footer
vmdk/bad-zero-capacity/disk.vmdk	capacity is 0 sectors
vmdk/desc-flat-gbk/hd.vmdk	extent 'hd-flat.vmdk'
vmdk/desc-flat-subdir/Disk.vmdk	extent 'Release/disk.img'
vmdk/desc-fullDevice-loop/disk.vmdk	outside the image's directory
vmdk/desc-fullDevice-physicaldrive-2/disk.vmdk	extent '\\.\PhysicalDrive2'
vmdk/desc-fullDevice-relative/image.vmdk	extent 'image.bin'
vmdk/desc-split-mixed-sizes/Virtual Disk.vmdk	extent 'Virtual Disk-s001.vmdk'
vmdk/desc-split-ms3/ms3-win.vmdk	extent 'disk-s001.vmdk'
vmdk/desc-split-win1252/Ubuntu 64-bit.vmdk	extent 'Ubuntu 64-bit-s001.vmdk'
vmdk/esx-vmfsSparse-delta-missing/vmfs_thick-000001.vmdk	extent 'vmfs_thick-000001-delta.vmdk'
END
count=0
tab=$(printf '\t')
while IFS=$tab read -r path rest; do
    refused 1 '*' img-convert "$(image "$path")" out.raw
    reason=$(awk -F '\t' -v path="$path" '$1 == path { print $2; exit }' reasons)
    [ -n "$reason" ] || fail "$path: nobody has said what is wrong with it"
    has message "$reason"
    [ ! -e out.raw ] || fail "$path: left a target"
    equal "leftovers of $path" "$(leftovers)" ""
    count=$((count + 1))
done <rows
[ "$count" -gt 5 ] || fail "only $count images; $rest"
