#!/bin/sh
# SPDX-License-Identifier: MIT
#
# From every kind into every other, and each reads as the disk it came from, in our
# eyes and in qemu-img's.
. "$(dirname "$0")/lib.sh"
truncate -s 3146240 x.raw # 3 MiB and a sector
noise 70000 1 | put x.raw 0
noise 512 1 | put x.raw 1049088
noise 600000 1 | put x.raw 1500000
head -c 100000 /dev/zero | put x.raw 1600000
noise 1000 1 | put x.raw 3145240

kinds="raw monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat vmfs
    vmfsSparse streamOptimized"

# into KIND SOURCE NAME
into()
{
    mkdir "$3"
    case $1 in
    raw) quiet img-convert "$2" "$3/disk" ;;
    *) quiet img-convert -O vmdk -o "subformat=$1" "$2" "$3/disk" ;;
    esac
}

format_of()
{
    case $1 in
    raw) echo raw ;;
    *) echo vmdk ;;
    esac
}

for first in $kinds; do
    into "$first" x.raw one
    quiet img-compare -f raw -F "$(format_of "$first")" x.raw one/disk
    for second in $kinds; do
        into "$second" one/disk two
        quiet img-compare -f raw -F "$(format_of "$second")" x.raw two/disk
        if command -v qemu-img >/dev/null; then
            qemu-img compare -f raw -F "$(format_of "$second")" x.raw two/disk >said 2>&1 ||
                fail "$first to $second: qemu-img: $(cat said)"
        fi
        rm -r two
    done
    rm -r one
done
