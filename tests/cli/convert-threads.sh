#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The target is the same bytes, in all of its files, whatever the number of threads,
# and with -W too.
. "$(dirname "$0")/lib.sh"
disk x.raw 11
export SOURCE_DATE_EPOCH=1700000000 # no identifier by chance

# into DIRECTORY KIND OPTION...
into()
{
    rm -rf "$1"
    mkdir "$1"
    directory=$1 kind=$2
    shift 2
    case $kind in
    raw) quiet img-convert "$@" x.raw "$directory/disk" ;;
    *) quiet img-convert "$@" -O vmdk -o "subformat=$kind" x.raw "$directory/disk" ;;
    esac
}

for kind in raw monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
    vmfs vmfsThin vmfsSparse cowd streamOptimized streamOptimized,stream_layout=front \
    monolithicSparse,grain_size=8k twoGbMaxExtentSparse,extent_size=5M; do
    into one "$kind" -m 1
    for options in "-m 2" "-m 8" "" "-W -m 8"; do
        # shellcheck disable=SC2086 # several words
        into other "$kind" $options
        diff -r one other || fail "$kind: -m 1 and '$options' differ"
    done
done
into one raw
same_file one/disk x.raw
