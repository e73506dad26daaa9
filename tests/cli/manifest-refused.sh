#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Images that are malformed, or lack some of their files, are refused with one
# line, and no target is left.
. "$(dirname "$0")/lib.sh"
need_images
need xz

{ manifest malformed vmdk; manifest missing-files vmdk; } >rows
count=0
tab=$(printf '\t')
while IFS=$tab read -r path rest; do
    refused 1 '*' img-convert "$(image "$path")" out.raw
    [ ! -e out.raw ] || fail "$path: left a target"
    equal "leftovers of $path" "$(leftovers)" ""
    count=$((count + 1))
done <rows
[ "$count" -gt 5 ] || fail "only $count images; $rest"
