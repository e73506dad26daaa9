#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What img-compare prints and returns, which is what qemu-img does.
. "$(dirname "$0")/lib.sh"
disk a.raw 13
cp a.raw same.raw
cp a.raw other.raw
printf x | put other.raw 7000123
cp a.raw longer.raw
truncate -s +1M longer.raw
cp longer.raw more.raw
printf x | put more.raw 21000000
img-convert -O vmdk a.raw a.vmdk

# compared STATUS "OUTPUT" ARGUMENTS...
compared()
{
    wanted=$1 text=$2
    shift 2
    status=0
    img-compare "$@" >output 2>message || status=$?
    equal "status of $*" "$status" "$wanted"
    equal "output of $*" "$(tr '\n' '|' <output)" "$text"
    equal "stderr of $*" "$(cat message)" ""
    if command -v qemu-img >/dev/null; then
        status=0
        qemu-img compare "$@" >theirs 2>/dev/null || status=$?
        equal "qemu-img's status of $*" "$status" "$wanted"
        same_file theirs output
    fi
}
compared 0 "Images are identical.|" -f raw -F raw a.raw same.raw
compared 0 "Images are identical.|" -f raw -F vmdk a.raw a.vmdk
compared 1 "Content mismatch at offset 7000064!|" -f raw -F raw a.raw other.raw
compared 1 "Content mismatch at offset 7000064!|" -f vmdk -F raw a.vmdk other.raw
compared 0 "Warning: Image size mismatch!|Images are identical.|" -f raw -F raw a.raw longer.raw
compared 0 "Warning: Image size mismatch!|Images are identical.|" -f raw -F raw longer.raw a.raw
compared 1 "Strict mode: Image size mismatch!|" -s -f raw -F raw a.raw longer.raw
compared 1 "Warning: Image size mismatch!|Content mismatch at offset 20999680!|" -f raw -F raw a.raw more.raw
compared 0 "" -q -f raw -F raw a.raw same.raw
compared 1 "" -q -f raw -F raw a.raw other.raw
compared 1 "" -q -s -f raw -F raw a.raw longer.raw
refused 2 'nothing*' img-compare -q a.raw nothing
