#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-info opened each extent of a disk of very many twice: once for the sizes, and once
# more for its line in the list.
. "$(dirname "$0")/lib.sh"
need strace
for kind in twoGbMaxExtentFlat twoGbMaxExtentSparse; do
    img-create -q -f vmdk -o subformat=$kind,extent_size=64k $kind.vmdk 1M
    for form in human json; do
        # LeakSanitizer is a tracer too, and there can be one only.
        ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" strace -f -o trace -e trace=open,openat,openat2 \
            img-info --open-option open_files=2 --output=$form $kind.vmdk >output
        equal "extents shown" "$(grep -c "filename.*$kind-[fs][0-9]" output)" 16
        equal "times that extents were opened" \
            "$(grep -c "$kind-[fs][0-9]*[.]vmdk.* = [0-9]*$" trace)" 16
    done
done
