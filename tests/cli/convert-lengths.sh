#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Disks of no length, of no whole sector and of no whole cluster convert to vmdk
# and back: the content is there, the rest of the last sector reads as zeros.
. "$(dirname "$0")/lib.sh"

for length in 1 511 512 513 65535 65537 1000001; do
    noise $length 5 >x.raw
    quiet img-convert -f raw -O vmdk x.raw x.vmdk
    quiet img-convert -f vmdk x.vmdk y.raw
    rounded=$(((length + 511) / 512 * 512))
    truncate -s $rounded x.raw
    same_file x.raw y.raw
done

: >empty.raw
quiet img-convert -f raw empty.raw out.raw
equal "size" "$(stat -c %s out.raw)" 0
status=0
img-convert -f raw -O vmdk empty.raw out.vmdk 2>message || status=$?
if [ "$status" -ne 0 ]; then
    equal "lines" "$(wc -l <message)" 1
    [ ! -e out.vmdk ] || fail "a target was left"
fi
