#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-resize makes disks of each kind longer and shorter; what others see of them
# is right after each step.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io

# agrees LENGTH: to the others it is a sound disk of that length, with our bytes.
agrees()
{
    img-check -q x.vmdk || fail "$kind: img-check at $1: $(img-check x.vmdk)"
    if [ "$others" = yes ]; then
        case $kind in
        *Sparse*) qemu-img check -q x.vmdk || fail "$kind: qemu-img check at $1" ;;
        esac
        qemu-img info x.vmdk | grep -q "($1 bytes)" || fail "$kind: $(qemu-img info x.vmdk)"
        truncate -s "$1" wanted.raw
        qemu-img compare -q -f vmdk -F raw x.vmdk wanted.raw || fail "$kind: bytes at $1"
    fi
    quiet img-compare -f vmdk -F raw x.vmdk wanted.raw
}

for kind in monolithicSparse monolithicSparse,zeroed_grain=on monolithicFlat vmfs \
    twoGbMaxExtentSparse,extent_size=2M twoGbMaxExtentFlat,extent_size=2M cowd; do
    others=yes
    case $kind in
    cowd) others=no ;; # opened by nobody else
    esac
    rm -f x*.vmdk wanted.raw
    img-create -q -f vmdk -o "subformat=$kind" x.vmdk 5M
    noise 5242880 3 >wanted.raw
    quiet img-convert -n -O vmdk wanted.raw x.vmdk
    agrees 5242880
    quiet img-resize x.vmdk +3M
    has output "Image resized."
    truncate -s 8388608 wanted.raw
    agrees 8388608
    quiet img-io -c 'write -P 5 7M 1M' x.vmdk
    qemu-io -f raw -c 'write -P 5 7M 1M' wanted.raw >/dev/null
    agrees 8388608
    quiet img-resize -q --shrink x.vmdk 3000832
    truncate -s 3000832 wanted.raw
    status=0
    img-check -q x.vmdk || status=$?
    [ "$status" = 0 ] || [ "$status" = 3 ] || fail "$kind: $(img-check x.vmdk)"
    quiet img-compare -f vmdk -F raw x.vmdk wanted.raw
    quiet img-resize -q x.vmdk 64M
    truncate -s 67108864 wanted.raw
    quiet img-compare -f vmdk -F raw x.vmdk wanted.raw
    if [ "$others" = yes ]; then
        qemu-img compare -q -f vmdk -F raw x.vmdk wanted.raw || fail "$kind: bytes at the end"
    fi
done
