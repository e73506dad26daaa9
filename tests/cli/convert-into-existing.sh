#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -n writes into the image that exists: what was in it is replaced, zeros too,
# and what lies beyond stays.  With --target-is-zero zeros are not written.
. "$(dirname "$0")/lib.sh"
disk x.raw 9
size=$(stat -c %s x.raw)
end=$(((size + 511) / 512 * 512))

for format in raw vmdk; do
    img-create -q -f $format out 30M
    img-io -f $format -c 'write -P 0x55 0 30M' out >/dev/null
    quiet img-convert -n -O $format x.raw out
    img-convert -f $format out out.raw
    equal "size" "$(stat -c %s out.raw)" 31457280
    head -c "$size" out.raw | cmp - x.raw || fail "$format: content"
    quiet img-io -f $format -c "read -P 0x55 $end $((31457280 - end))" out

    img-create -q -f $format out 30M
    quiet img-convert -n --target-is-zero -O $format x.raw out
    img-convert -f $format out out.raw
    head -c "$size" out.raw | cmp - x.raw || fail "$format: content, zero target"
    rm out
done

img-create -q small.raw 1M
refused 1 'small.raw*1048576*' img-convert -n x.raw small.raw
refused 1 'nothing.raw*No such file*' img-convert -n x.raw nothing.raw
[ ! -e nothing.raw ] || fail "-n made a target"
