#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An seSparse image, made empty by us and filled here by hand with what ESXi
# would write, is the same disk for QEMU and for us.
. "$(dirname "$0")/lib.sh"
need qemu-img
quiet img-create -f vmdk -o subformat=seSparse,sesparse_unverified=on x.vmdk 100M
qemu-img convert -f vmdk -O raw x.vmdk empty.raw
quiet img-compare -F raw x.vmdk empty.raw

data=x-sesparse.vmdk
# GD[0] = GT 1; of GT 1: grains in places 5 and 4097, zeros, unmapped.
printf '\001\000\000\000\000\000\000\020' | put $data $((4096 * 512))
printf '\000\000\000\000\000\000\005\060' | put $data $(((6144 + 64) * 512))
printf '\001\000\000\000\000\000\001\060' | put $data $(((6144 + 64) * 512 + 8))
printf '\000\000\000\000\000\000\000\040' | put $data $(((6144 + 64) * 512 + 16))
printf '\007\000\000\000\000\000\000\020' | put $data $(((6144 + 64) * 512 + 24))
noise 4096 5 | put $data $(((12288 + 5 * 8) * 512))
noise 4096 6 | put $data $(((12288 + 4097 * 8) * 512))

qemu-img convert -f vmdk -O raw x.vmdk qemu.raw
quiet img-convert x.vmdk ours.raw
same_file qemu.raw ours.raw
noise 4096 6 >wanted
dd if=ours.raw bs=4096 skip=1 count=1 status=none | cmp - wanted || fail "the second grain"

# What has a place is overwritten; QEMU reads that too.
img-io -f vmdk -c 'write -P 0x5a 1000 5000' x.vmdk >/dev/null
qemu-img convert -f vmdk -O raw x.vmdk qemu.raw
quiet img-convert x.vmdk ours.raw
same_file qemu.raw ours.raw
! img-io -f vmdk -c 'write 1M 4k' x.vmdk >output 2>&1 || fail "a new grain was written"
has output "make a child"
