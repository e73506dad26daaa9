#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The JSON of img-info has qemu-img's keys and, where both must agree, values.
. "$(dirname "$0")/lib.sh"
need python3 qemu-img
disk x.raw 15
img-convert -O vmdk x.raw base.vmdk
img-create -q -f vmdk -b base.vmdk -F vmdk child.vmdk

cat >judge.py <<'END'
import json, sys
ours, theirs = (json.load(open(name)) for name in sys.argv[1:])
def judge(ours, theirs, where):
    if isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs)):
            judge(a, b, f"{where}[{i}]")
        return
    for key in theirs:
        assert key in ours, f"{where}: no {key}"
    for key in ("virtual-size", "filename", "format", "cluster-size", "dirty-flag",
                "backing-filename", "full-backing-filename",
                "backing-filename-format"):
        assert ours.get(key) == theirs.get(key), f"{where}: {key}: {ours.get(key)}"
    if "format-specific" in theirs:
        a, b = ours["format-specific"], theirs["format-specific"]
        assert a["type"] == b["type"]
        for key in ("cid", "parent-cid", "create-type"):
            assert a["data"].get(key) == b["data"].get(key), f"{where}: {key}"
judge(ours, theirs, "top")
END
for image in x.raw base.vmdk child.vmdk; do
    for chain in "" --backing-chain; do
        # shellcheck disable=SC2086 # empty or one word
        quiet img-info --output=json $chain -f "${image##*.}" $image
        mv output ours
        # shellcheck disable=SC2086
        qemu-img info --output=json $chain -f "${image##*.}" $image >theirs
        python3 judge.py ours theirs || fail "$image $chain: $(cat ours)"
    done
done
