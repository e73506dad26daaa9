#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An image over a file that exists is new, but its bytes are not: zeros are written.
. "$(dirname "$0")/lib.sh"
disk x.raw 7
head -c 20972032 /dev/zero | tr '\000' '\377' >device.img

quiet img-convert -O vmdk --allow-path "$work" -o "subformat=fullDevice,device=$work/device.img" \
    x.raw out.vmdk
same_file x.raw device.img

head -c 20972032 /dev/zero | tr '\000' '\377' >device.img
quiet img-convert -O vmdk --allow-path "$work" -o "subformat=custom,extents=RW 20480 SPARSE \
\"s.vmdk\";RW 20481 FLAT \"$work/device.img\" 100" x.raw custom.vmdk
quiet img-compare -f vmdk -F raw --allow-path "$work" custom.vmdk x.raw
head -c 51200 device.img | tr -d '\377' >other
[ ! -s other ] || fail "bytes before the extent were written"
