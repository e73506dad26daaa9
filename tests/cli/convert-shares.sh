#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Where the file system can, a raw target shares the source's bytes: they are neither
# read nor written, also behind the end of the last whole block.
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

head -c 60000001 /dev/urandom >there/x.raw
before=$(used)
quiet img-convert there/x.raw there/y.raw
same_file there/x.raw there/y.raw
grown=$(($(used) - before))
[ "$grown" -lt 5000 ] || fail "it takes $grown KiB of its own"
echo changed | put there/y.raw 1000
cmp -s there/x.raw there/y.raw && fail "a change of one is in both"
quiet img-convert -C there/x.raw there/z.raw
same_file there/x.raw there/z.raw
