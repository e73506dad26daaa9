#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Streams of every shape, in both layouts, are read by the others as we wrote them:
# empty ones, last grains that the disk covers in part, grains that cannot be
# compressed, several grain tables with gaps.  (7-Zip reads no stream without
# markers: the layout front is not for it.)
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message || skip "$(cat message)" # no libdeflate
peers=
if command -v qemu-img >/dev/null; then
    peers="$peers qemu"
fi
if command -v 7z >/dev/null; then
    peers="$peers 7z"
fi
if pkg-config --exists libvmdk 2>/dev/null && ${CC:-cc} -o vmdk-cat "$tests/vmdk-cat.c" \
    $(pkg-config --cflags --libs libvmdk) 2>message; then
    peers="$peers libvmdk"
fi
[ -n "$peers" ] || skip "no qemu-img, 7z or libvmdk to develop with"

# random BYTES: what no compressor makes shorter.
random() { head -c "$1" /dev/urandom; }

mkdir shapes
truncate -s 65536 shapes/one-empty
truncate -s 512 shapes/sector-empty
truncate -s 3G shapes/large-empty
printf x | put shapes/byte 0
truncate -s 512 shapes/byte
random 65536 >shapes/one-random
random 300000 >shapes/random
truncate -s 300032 shapes/random
truncate -s 100M shapes/gaps
noise 10000 3 | put shapes/gaps 33554432
random 70000 | put shapes/gaps 33500000
noise 512 4 | put shapes/gaps 104857088
disk shapes/disk 6

# What the disk has of the raw content out.raw of a stream: it is rounded up to grains.
same_disk()
{
    [ "$(stat -c %s out.raw)" -ge "$(stat -c %s "$2")" ] || fail "$1: it is too short"
    truncate -s "$(stat -c %s "$2")" out.raw
    same_file out.raw "$2"
}

for shape in shapes/*; do
    for layout in end front; do
        img-convert -O vmdk -o subformat=streamOptimized,stream_layout=$layout "$shape" x.vmdk
        img-check -q --for stream x.vmdk || fail "$shape: $(img-check --for stream x.vmdk)"
        quiet img-compare "$shape" x.vmdk
        size=$(stat -c %s "$shape")
        for peer in $peers; do
            rm -f out.raw
            case $peer:$layout:$shape in
            qemu:*)
                qemu-img compare -f raw -F vmdk "$shape" x.vmdk >output 2>&1 ||
                    fail "$shape, $layout: qemu-img: $(cat output)"
                qemu-img check x.vmdk >output 2>&1 || fail "$shape, $layout: check: $(cat output)"
                ;;
            *:*-empty)
                # Three gigabytes of zeros would only take time.
                [ "$size" -lt 1000000 ] || continue
                ;;
            esac
            case $peer:$layout in
            7z:end) 7z x -tvmdk -so x.vmdk >out.raw 2>message || fail "$shape: 7z: $(cat message)" ;;
            libvmdk:*) ./vmdk-cat x.vmdk >out.raw 2>message ||
                fail "$shape, $layout: libvmdk: $(cat message)" ;;
            *) continue ;;
            esac
            same_disk "$shape, $layout, $peer" "$shape"
        done
    done
done
