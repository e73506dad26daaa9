#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every real image of the kinds we read converts to the raw disk whose hash the
# manifest gives.  LARGE=1 includes those of more than 128 MiB.
. "$(dirname "$0")/lib.sh"
need_images
need xz

{ manifest ok raw; manifest ok vmdk; } >rows
count=0
tab=$(printf '\t')
while IFS=$tab read -r path subformat size hash; do
    if [ "$subformat" = "split raw" ]; then
        continue # no format: pieces that other programs put together
    fi
    if [ "$size" -gt 134217728 ] && [ -z "${LARGE:-}" ]; then
        continue
    fi
    format=${path%%/*}
    quiet img-convert -f "$format" "$(image "$path")" out.raw
    equal "size of $path" "$(stat -c %s out.raw)" "$size"
    equal "hash of $path" "$(sha256 out.raw)" "$hash"
    rm -rf images out.raw
    count=$((count + 1))
done <rows
[ "$count" -gt 20 ] || fail "only $count images"
