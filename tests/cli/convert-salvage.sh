#!/bin/sh
# SPDX-License-Identifier: MIT
#
# --salvage: what cannot be read is told, range by range, becomes zeros, and shows
# in the exit status; the rest arrives.  Without it there is no target.
. "$(dirname "$0")/lib.sh"
disk x.raw 5
img-convert -O vmdk x.raw x.vmdk

# Without its last grain.
end=$(stat -c %s x.vmdk)
truncate -s $((end - 65536)) x.vmdk

! img-convert -q x.vmdk y.raw 2>message || fail "it is not missed"
has message "truncated"
[ ! -e y.raw ] || fail "there is a target"

status=0
img-convert --salvage x.vmdk y.raw 2>message || status=$?
equal "status" "$status" 3
has message "x.vmdk: "
has message " are lost: "
has message "bytes in 1 place could not be read and are zeros in the target"
equal "size" "$(stat -c %s y.raw)" "$(stat -c %s x.raw)"
lost=$(sed -n 's/.*: \([0-9]*\) bytes at offset \([0-9]*\) are lost.*/\2 \1/p' message)
[ -n "$lost" ] || fail "said $(cat message)"
set -- $lost
cp x.raw wanted.raw
head -c "$2" /dev/zero | put wanted.raw "$1"
same_file wanted.raw y.raw

status=0
img-convert -q --salvage -O vmdk x.vmdk y.vmdk 2>message || status=$?
equal "status" "$status" 3
equal "lines with -q" "$(wc -l <message)" 1
quiet img-compare -f raw wanted.raw y.vmdk

# What is lost over several windows is one place; it was told once for each.
head -c 2097152 /dev/urandom >full.raw
img-convert -O vmdk full.raw full.vmdk
truncate -s 600000 full.vmdk
status=0
img-convert --salvage full.vmdk y.raw 2>message || status=$?
equal "status" "$status" 3
equal "lines" "$(grep -c " are lost: " message)" 1
has message "in 1 place could not"

# Of several sources, each loss is its own: the last of one was told as the next one's, and
# taken for its beginning where the offset was right.
status=0
img-convert --salvage x.vmdk full.vmdk y.raw 2>message || status=$?
equal "status" "$status" 3
has message "x.vmdk: $2 bytes at offset $1 are lost: "
equal "lines" "$(grep -c "full.vmdk: [0-9]* bytes at offset [0-9]* are lost: " message)" 1
has message "in 2 places could not"

quiet img-convert --salvage x.raw y.raw
same_file x.raw y.raw
