#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every cache mode, and order and copying left to the host, give the same target; a
# file system that cannot do direct I/O is told, and nothing is left of the target.
. "$(dirname "$0")/lib.sh"
disk x.raw 3
img-convert -O vmdk x.raw x.vmdk

for mode in writeback writethrough unsafe none directsync drop-behind; do
    case $mode in
    none | directsync)
        # shellcheck disable=SC2094 # the target is another file
        img-convert -T "$mode" x.raw y.raw 2>message || {
            has message "direct I/O"
            continue
        }
        ;;
    esac
    quiet img-convert -t "$mode" -T "$mode" x.raw y.raw
    same_file x.raw y.raw
    quiet img-convert -m 3 -W -t "$mode" -T "$mode" x.vmdk y.raw
    same_file x.raw y.raw
    for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse; do
        rm -f y*.vmdk # files of another kind's are not replaced
        quiet img-convert -t "$mode" -T "$mode" -O vmdk -o "subformat=$kind" x.raw y.vmdk
        quiet img-compare -f raw x.raw y.vmdk
    done
    equal "left" "$(leftovers)" ""
done
quiet img-convert -C x.raw y.raw
same_file x.raw y.raw
quiet img-convert -C -W -m 4 x.raw y.raw
same_file x.raw y.raw

# What the host had copied stayed in the page cache, in spite of drop-behind.
if command -v strace >/dev/null && strace -o trace true 2>/dev/null; then
    noise 3000000 1 >n.raw # larger than a window
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" strace -f -e trace=copy_file_range,fadvise64,sync_file_range -o trace \
        img-convert -C -t drop-behind -T drop-behind n.raw y.raw
    source=$(sed -n 's/.*copy_file_range(\([0-9]*\),.*= [1-9].*/\1/p' trace | head -n 1)
    target=$(sed -n 's/.*copy_file_range([0-9]*, [^,]*, \([0-9]*\),.*= [1-9].*/\1/p' trace | head -n 1)
    if [ -n "$source" ]; then # the host copies
        has trace "fadvise64($source, 0, "
        has trace "sync_file_range($target, 0, "
    fi
fi

# Of a source that is read in pieces which are no whole pages, as streams are, a third
# stayed.
store=$(mktemp -d /var/tmp/bdrv-cli.XXXXXX)
trap 'rm -rf "$work" "$store"' EXIT
case $(stat -f -c %T "$store") in
ext* | xfs | btrfs) cached=fincore ;;
*) cached=no-such-program ;; # where the files are in memory anyway
esac
head -c 8000000 /dev/urandom >n.raw # which is not compressed
if command -v $cached >/dev/null &&
    img-convert -O vmdk -o subformat=streamOptimized n.raw "$store/s.vmdk" 2>/dev/null &&
    dd of="$store/s.vmdk" oflag=nocache conv=notrunc,fdatasync count=0 status=none &&
    [ "$(fincore -n -o PAGES "$store/s.vmdk" | tr -d ' ')" = 0 ] &&
    img-convert -T drop-behind "$store/s.vmdk" y.raw 2>message; then
    pages=$(fincore -n -o PAGES "$store/s.vmdk" | tr -d ' ')
    # The host reads ahead behind our back, most on a busy machine: 99 were seen of 1954.
    [ "$pages" -le 256 ] || fail "$pages pages of $(stat -c %s "$store/s.vmdk") bytes stayed"
fi

mkdir small
mount -t ramfs none small 2>/dev/null || exit 0
trap 'umount "$work/small"; rm -rf "$work" "$store"' EXIT
refused 1 "small/y.raw: *no direct I/O*drop-behind*" img-convert -t none x.raw small/y.raw
equal "left" "$(ls -A small)" ""
