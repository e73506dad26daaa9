#!/bin/sh
# SPDX-License-Identifier: MIT
#
# On a file system that is really full, every tool that changes an image in place
# says so in one line and leaves the image whole: what was stored before is there,
# a check finds nothing wrong, and the same command works when there is room.
. "$(dirname "$0")/lib.sh"
mkdir small
mount -t tmpfs -o size=2m none small 2>/dev/null || skip "may not mount a file system"
trap 'umount "$work/small"; rm -rf "$work"' EXIT

no_space()
{
    status=0
    "$@" >output 2>message </dev/null || status=$?
    equal "status of $*" "$status" 1
    equal "lines of $* ($(cat message))" "$(wc -l <message)" 1
    case $(cat message) in
    *"No space left on device"*) ;;
    *) fail "$*: said $(cat message)" ;;
    esac
}

# fill_up: no byte is free any more.
fill_up()
{
    dd if=/dev/zero of=small/ballast bs=4k 2>/dev/null || true
}

# Space that a failed write had got may be lost (status 3); nothing else.
sound()
{
    status=0
    img-check "$1" >output 2>&1 || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || fail "img-check $1: $(cat output)"
    quiet img-io -r -c "read -q -P 0x11 0 64k" "$1"
}

for kind in monolithicSparse twoGbMaxExtentSparse vmfsSparse; do
    quiet img-create -f vmdk -o "subformat=$kind" small/disk.vmdk 64M
    quiet img-io -c "write -q -P 0x11 0 64k" small/disk.vmdk
    fill_up
    no_space img-io -c "write -q -P 0x22 32M 1M" small/disk.vmdk
    sound small/disk.vmdk
    no_space img-resize small/disk.vmdk 1900G
    sound small/disk.vmdk
    rm small/ballast
    quiet img-io -c "write -q -P 0x22 32M 256k" small/disk.vmdk
    quiet img-io -r -c "read -q -P 0x22 32M 256k" small/disk.vmdk
    sound small/disk.vmdk
    rm small/*
done

quiet img-create -f vmdk small/parent.vmdk 64M
quiet img-io -c "write -q -P 0x11 0 64k" small/parent.vmdk
quiet img-create -f vmdk -b parent.vmdk small/child.vmdk
quiet img-io -c "write -q -P 0x22 1M 1M" small/child.vmdk
fill_up
no_space img-commit small/child.vmdk
img-io -r -c "read -q -P 0x22 1M 1M" --open-option any_parent=on small/child.vmdk \
    2>message || fail "the child does not open after a commit that failed: $(cat message)"
has message "commit again"
rm small/ballast
mv small/parent.vmdk small/child.vmdk . # where there is room for both
img-commit -q --open-option any_parent=on child.vmdk 2>message ||
    fail "the commit cannot be repeated: $(cat message)"
quiet img-io -r -c "read -q -P 0x22 1M 1M" parent.vmdk
sound parent.vmdk
