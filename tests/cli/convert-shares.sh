#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Where the file system can, a target of plain files (raw, flat) shares the source's bytes:
# they are neither read nor written, also behind the end of the last whole block.
. "$(dirname "$0")/lib.sh"
need mkfs.xfs
truncate -s 400M xfs.img
mkfs.xfs -q -m reflink=1 xfs.img 2>/dev/null || skip "mkfs.xfs makes no file system with reflinks"
mkdir there
mount -o loop xfs.img there 2>/dev/null || skip "no mounting here"
trap 'umount "$work/there"; rm -rf "$work"' EXIT

used()
{
    sync
    df --output=used -k there | tail -n 1
}

# shares COMMAND...: what it makes takes no room.
shares()
{
    before=$(used)
    quiet "$@"
    grown=$(($(used) - before))
    [ "$grown" -lt 5000 ] || fail "$*: it takes $grown KiB of its own"
}

head -c 60000001 /dev/urandom >there/x.raw
shares img-convert there/x.raw there/y.raw
same_file there/x.raw there/y.raw
truncate -s 60000256 there/x.raw there/y.raw
for flat in monolithicFlat twoGbMaxExtentFlat,extent_size=16M; do
    shares img-convert -O vmdk -o "subformat=$flat" there/x.raw there/flat.vmdk
    quiet img-compare -f raw -F vmdk there/x.raw there/flat.vmdk
    shares img-convert -f vmdk there/flat.vmdk there/back.raw
    same_file there/x.raw there/back.raw
done
echo changed | put there/y.raw 1000
cmp -s there/x.raw there/y.raw && fail "a change of one is in both"
quiet img-convert -C there/x.raw there/z.raw
same_file there/x.raw there/z.raw
