#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Without -f the content of a real image tells its format, whatever its name.
. "$(dirname "$0")/lib.sh"
need_images
need xz

manifest ok vmdk >rows
count=0
tab=$(printf '\t')
while IFS=$tab read -r path subformat size _; do
    if [ "$subformat" != monolithicSparse ] || [ "$size" -gt 1000000000 ]; then
        continue
    fi
    cp "$(image "$path")" some.bin
    chmod u+w some.bin
    quiet img-info some.bin
    has output "file format: vmdk"
    has output "($size bytes)"
    rm -rf images
    count=$((count + 1))
done <rows
[ "$count" -gt 15 ] || fail "only $count images"
