#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A disk whose extents are a host's device: made, read and written, but only where the
# user names the device himself.
. "$(dirname "$0")/lib.sh"
need losetup blockdev
truncate -s 8M dev.img
noise 100000 1 | put dev.img 1048576
device=$(losetup -f --show "$work/dev.img" 2>message) || skip "no loop device: $(cat message)"
trap 'losetup -d "$device"; rm -rf "$work"' EXIT

refused 1 "*outside*--allow-path*" \
    img-create -f vmdk -o "subformat=fullDevice,device=$device" x.vmdk 0
refused 1 "*is a device*--allow-path $device*" \
    img-create -f vmdk --allow-path /dev -o "subformat=fullDevice,device=$device" x.vmdk 0
quiet img-create -q -f vmdk --allow-path "$device" -o "subformat=fullDevice,device=$device" x.vmdk 0
has x.vmdk "RW 16384 FLAT \"$device\" 0"

refused 1 "*outside*" img-info x.vmdk
refused 1 "*is a device*" img-info --allow-path /dev x.vmdk
quiet img-info --allow-path "$device" x.vmdk
has output "create type: fullDevice"
quiet img-compare -f vmdk -F raw --allow-path "$device" x.vmdk dev.img
quiet img-io -f vmdk --allow-path "$device" -c 'write -q -P 7 3M 64k' -c 'flush' x.vmdk
quiet img-io -f raw -c 'read -q -P 7 3M 64k' "$device"

# A link in the image's directory does not make it a file of that directory.
ln -s "$device" link
sed -i 's,"/dev.*" 0,"link" 0,' x.vmdk
refused 1 "*outside*" img-info x.vmdk
quiet img-info --allow-path "$device" x.vmdk

# Only the partition that is shown.
printf '\000\000\000\000\203\000\000\000\000\010\000\000\000\010\000\000' | put "$device" 446
printf '\125\252' | put "$device" 510
quiet img-create -q -f vmdk --allow-path "$device" \
    -o "subformat=partitionedDevice,device=$device,partitions=1" p.vmdk
has p.vmdk "RW 2048 FLAT \"$device\" 2048"
has p.vmdk 'RW 2048 FLAT "p-pt.vmdk" 0'
quiet img-io -f vmdk --allow-path "$device" -c 'write -q -P 9 0 64k' -c 'write -q -P 9 1M 64k' p.vmdk
quiet img-io -f raw -c 'read -q -P 9 1M 64k' "$device"
dd if="$device" bs=1 skip=510 count=2 status=none | od -An -tx1 | grep -q '55 aa' ||
    fail "the device's own table was written"
