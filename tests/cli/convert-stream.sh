#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A streamOptimized target, in both layouts: the same bytes whatever the number
# of threads, and the same disk for whoever reads it.
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message || skip "$(cat message)" # no libdeflate
disk x.raw 23

for layout in end front; do
    options=subformat=streamOptimized,stream_layout=$layout,seed=1
    for threads in 1 2 8; do
        mkdir "$layout.$threads"
        quiet img-convert -m $threads -c -O vmdk -o $options x.raw "$layout.$threads/x.vmdk"
        same_file $layout.1/x.vmdk "$layout.$threads/x.vmdk"
    done
    mv $layout.1/x.vmdk $layout.vmdk
    quiet img-compare x.raw $layout.vmdk
    [ "$(stat -c %s $layout.vmdk)" -lt 4000000 ] || fail "$layout: it is not compressed"
    if command -v qemu-img >/dev/null; then
        qemu-img compare -f raw -F vmdk x.raw $layout.vmdk >output || fail "qemu: $(cat output)"
    fi
    if command -v vmdkinfo >/dev/null; then
        cp $layout.vmdk x.vmdk # libvmdk opens the extent by the name that is recorded
        vmdkinfo x.vmdk >output 2>&1 || fail "vmdkinfo: $(cat output)"
        has output "Stream optimized"
    fi
    refused 1 '*only be written once*' img-convert -n -O vmdk x.raw $layout.vmdk
done

# 7-Zip reads no stream without markers.
if command -v 7z >/dev/null; then
    7z x -tvmdk -so end.vmdk >y.raw 2>message || fail "7z: $(cat message)"
    truncate -s 20972032 y.raw
    same_file x.raw y.raw
fi

# The fastest, if this build has it: larger, but the same disk.
if img-create -q -f vmdk -o subformat=streamOptimized,compression_engine=isal probe.vmdk 1M \
    2>message; then
    options=subformat=streamOptimized,seed=1,compression_engine=isal
    for threads in 1 8; do
        mkdir isal.$threads
        quiet img-convert -m $threads -O vmdk -o $options x.raw isal.$threads/x.vmdk
    done
    same_file isal.1/x.vmdk isal.8/x.vmdk
    quiet img-compare x.raw isal.1/x.vmdk
    if command -v qemu-img >/dev/null; then
        qemu-img compare -f raw -F vmdk x.raw isal.1/x.vmdk >output || fail "qemu: $(cat output)"
    fi
else
    has message "without; the other compression_engine is libdeflate"
fi

refused 1 '*compression_level is 13*' img-convert -O vmdk \
    -o subformat=streamOptimized,compression_level=13 x.raw y.vmdk

# The header of a disk that is empty kept a note of how it was to be compressed, which
# its footer did not have: importers were right to refuse it.
truncate -s 1M empty.raw
for layout in end front; do
    quiet img-convert -O vmdk -o subformat=streamOptimized,stream_layout=$layout \
        -o compression_level=9 empty.raw empty.vmdk
    img-check --for stream empty.vmdk >output || fail "$layout: $(cat output)"
done
