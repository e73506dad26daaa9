#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libvmdk reads what we write: its size and kind, and (where FUSE is to be had)
# every byte.
. "$(dirname "$0")/lib.sh"
need vmdkinfo
disk x.raw 21
quiet img-convert -O vmdk x.raw x.vmdk

vmdkinfo x.vmdk >output 2>&1 || fail "vmdkinfo: $(cat output)"
has output "20972032"
has output "Monolithic sparse"
if command -v vmdkmount >/dev/null && [ -c /dev/fuse ]; then
    mkdir mnt
    if vmdkmount x.vmdk mnt >mounted 2>&1; then
        trap 'umount "$work/mnt" || fusermount3 -u "$work/mnt"; rm -rf "$work"' EXIT
        cmp mnt/vmdk1 x.raw || fail "vmdkmount shows other bytes"
    fi
fi
