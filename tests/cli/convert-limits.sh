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

# What the host or a large window could take at once went at full speed, up to 64 MiB;
# the progress said 100 %, and then it slept.
noise 3000000 7 >n.raw
for options in '' -C '-W -m 4' '-S 0' '-O vmdk'; do
    # shellcheck disable=SC2086 # words
    img-convert $options -r 3M --progress=json n.raw n.out 2>lines
    sed 's/.*"done": \([0-9]*\),.*"seconds": \([0-9.]*\),.*/\1 \2/' lines |
        awk '$1 > 3145728 * ($2 + 0.4) { exit 1 }' || fail "$options: burst: $(cat lines)"
    [ "$(wc -l <lines)" -ge 3 ] || fail "$options: $(cat lines)"
    rm n.out
done
quiet img-convert -r 3M -O vmdk n.raw n.vmdk
quiet img-compare n.raw n.vmdk
quiet img-convert --max-memory=8M -m 8 -O vmdk x.raw y.vmdk
quiet img-compare -f raw x.raw y.vmdk
quiet img-convert --max-memory=8M -m 8 -O vmdk -o subformat=streamOptimized x.raw z.vmdk
quiet img-convert --max-memory=8M -m 8 z.vmdk z.raw
quiet img-compare x.raw z.raw # which has whole grains
