#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A rate is kept below its limit, little memory suffices, and neither changes the
# target.
. "$(dirname "$0")/lib.sh"
disk x.raw 7

start=$(date +%s%N)
quiet img-convert -r 6M x.raw y.raw # of some 3.6 MB
took=$((($(date +%s%N) - start) / 1000000))
same_file x.raw y.raw
[ "$took" -ge 300 ] || fail "6 MiB a second: all in $took ms"
quiet img-convert --max-memory=8M -m 8 -O vmdk x.raw y.vmdk
quiet img-compare -f raw x.raw y.vmdk
quiet img-convert --max-memory=8M -m 8 -O vmdk -o subformat=streamOptimized x.raw z.vmdk
quiet img-convert --max-memory=8M -m 8 z.vmdk z.raw
quiet img-compare x.raw z.raw # which has whole grains
