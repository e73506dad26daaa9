#!/bin/sh
# SPDX-License-Identifier: MIT
#
# With SOURCE_DATE_EPOCH two conversions into any kind of VMDK give the same files,
# byte for byte; without, two images are never taken for each other.
. "$(dirname "$0")/lib.sh"
truncate -s 4M x.raw
noise 70000 1 | put x.raw 0
noise 300000 1 | put x.raw 2000000

# make_in KIND DIRECTORY: converts into that kind there.
make_in()
{
    mkdir "$2"
    img-convert -O vmdk -o "subformat=$1" x.raw "$2/x.vmdk"
}

for kind in monolithicSparse monolithicSparse,zeroed_grain=on monolithicFlat \
    twoGbMaxExtentSparse,extent_size=1M twoGbMaxExtentFlat,extent_size=1M 2GbMaxExtentSparse \
    streamOptimized streamOptimized,stream_layout=front vmfs vmfsThin vmfsPreallocated \
    vmfsEagerZeroedThick vmfsSparse cowd \
    'custom,extents=RW 2048 SPARSE "a";RW 6144 FLAT "b" 0'; do
    rm -rf one two three
    SOURCE_DATE_EPOCH=1700000000 make_in "$kind" one
    SOURCE_DATE_EPOCH=1700000000 make_in "$kind" two
    diff -r one two >said || fail "$kind: $(cat said)"
    make_in "$kind" three
    if [ "$kind" != cowd ]; then # which has no identity
        ! diff -r one three >said || fail "$kind: the same without SOURCE_DATE_EPOCH"
    fi
done
