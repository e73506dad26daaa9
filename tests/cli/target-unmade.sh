#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Once a half-made target stayed readable under its other name: a target written
# in place that fails is empty under all its names, a link to it stays, and a
# device has lost the beginning that would make it look finished.
. "$(dirname "$0")/lib.sh"
disk x.raw 4

# fails TARGET: 1 MiB goes, the rest does not.
fails()
{
    status=0
    (
        ulimit -f 2048 # of 512 bytes
        exec img-convert -O vmdk x.raw "$1" 2>message
    ) || status=$?
    equal "status for $1" "$status" 1
    has message "File too large"
}

echo old >one.vmdk
ln one.vmdk other.vmdk
fails one.vmdk
equal "other name" "$(stat -c %s other.vmdk)" 0

ln -s made.vmdk link.vmdk
fails link.vmdk
[ -L link.vmdk ] || fail "the link went"
[ ! -e made.vmdk ] || fail "what it leads to stayed"

[ "$(id -u)" = 0 ] || skip "the device was not tried: only root can"
truncate -s 2M store
device=$(losetup -f --show store 2>/dev/null) || skip "the device was not tried: no loop device"
trap 'losetup -d "$device"; rm -rf "$work"' EXIT
refused 1 '*' img-convert -O vmdk x.raw "$device"
cmp -n 65536 "$device" /dev/zero || fail "the device's beginning stayed"
