#!/bin/sh
# SPDX-License-Identifier: MIT
#
# With -C the host copies what lies in plain files, raw or flat, from either to either;
# and where an extent is of another kind it is copied all the same.
. "$(dirname "$0")/lib.sh"
need strace
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # LeakSanitizer is a tracer too

# offloaded COMMAND...: at least 20 MiB went by copy_file_range(2).
offloaded()
{
    strace -qq -f -o trace -e trace=copy_file_range "$@"
    grep -q 'copy_file_range.*= [1-9]' trace || skip "the host copies nothing here"
    copied=$(awk '/copy_file_range/ && $NF > 0 { n += $NF } END { print n + 0 }' trace)
    [ "$copied" -ge 20000000 ] || fail "$*: $copied bytes were copied by the host"
}

truncate -s 24M x.raw
noise 22000000 5 | put x.raw 1000000
offloaded img-convert -C x.raw y.raw
same_file x.raw y.raw
for flat in monolithicFlat twoGbMaxExtentFlat,extent_size=8M; do
    offloaded img-convert -C -O vmdk -o "subformat=$flat" x.raw flat.vmdk
    quiet img-compare -f raw -F vmdk x.raw flat.vmdk
    offloaded img-convert -C -f vmdk flat.vmdk y.raw
    same_file x.raw y.raw
    offloaded img-convert -C -f vmdk -O vmdk -o subformat=monolithicFlat flat.vmdk other.vmdk
    quiet img-compare flat.vmdk other.vmdk
    quiet img-check flat.vmdk
done
quiet img-convert -C -O vmdk x.raw sparse.vmdk
quiet img-compare -f raw -F vmdk x.raw sparse.vmdk
