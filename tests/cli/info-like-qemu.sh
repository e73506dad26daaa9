#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What qemu-img info tells of a VMDK, img-info tells in the same words; and the disk
# data base beside it, and the kind of an extent where qemu-img leaves it empty.
. "$(dirname "$0")/lib.sh"
need qemu-img python3
truncate -s 4M x.raw
noise 70000 1 | put x.raw 0

compare()
{
    qemu-img info --output=json "$1" >theirs.json 2>message || fail "$1: qemu-img: $(cat message)"
    img-info --output=json "$1" >ours.json
    python3 - <<'END' || fail "$1: $(cat theirs.json ours.json)"
import json
theirs, ours = json.load(open("theirs.json")), json.load(open("ours.json"))

def covers(a, b, where):
    if isinstance(a, dict):
        for key in a:
            assert key in b, where + "." + key + " is missing"
            covers(a[key], b[key], where + "." + key)
    elif isinstance(a, list):
        assert len(a) == len(b), where + " has another length"
        for x, y in zip(a, b):
            covers(x, y, where + "[]")
    elif where != "info.format-specific.data.extents[].format" or a != "":
        assert a == b, "%s: %r and %r" % (where, a, b)

for data in theirs, ours:
    data.pop("actual-size", None)  # both say what the host says, at another time
covers(theirs, ours, "info")
assert "ddb" in ours["format-specific"]["data"]
END
}

for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse,extent_size=1M \
    twoGbMaxExtentFlat,extent_size=1M streamOptimized vmfs vmfsThin vmfsSparse; do
    rm -rf kind
    mkdir kind
    img-convert -O vmdk -o "subformat=$kind" x.raw kind/x.vmdk
    compare kind/x.vmdk
done
img-convert -O vmdk x.raw base.vmdk
for kind in monolithicSparse vmfsSparse; do
    img-create -q -f vmdk -b base.vmdk -F vmdk -o "subformat=$kind" $kind.vmdk
    compare $kind.vmdk
done
for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse streamOptimized; do
    qemu-img convert -O vmdk -o subformat=$kind x.raw theirs-$kind.vmdk
    compare theirs-$kind.vmdk
done
