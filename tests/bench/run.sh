#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/bench/run.sh - how fast are we, and compared to what?
#
# Each row runs ours and the other in turn, ROUNDS times, and shows the medians
# and their ratio (below 1.00: ours takes less).  Everything is in the page
# cache, so what is measured is the program, not the disk.  Not part of `make
# check`: a slow machine is not a broken library.
#
#   BENCH_MIB=256   size of the disk that is read and converted
#   BENCH_DIR=…     where it is made (default: TMPDIR or /tmp)
#   BENCH_DATA=…    a raw image of yours instead
#   ROUNDS=7        how often each thing is measured
set -eu
LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
B=${B:-$here/../../build}
ROUNDS=${ROUNDS:-7}
MIB=${BENCH_MIB:-256}
work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/bdrv-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

say() { printf '%s\n' "$*"; }

# ---------------------------------------------------------------- preparation

compile() {
    ${CC:-cc} -std=c11 -O2 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
        -I"$here/../../include" -o "$work/$1" "$here/$1.c" "${@:2}"
}

compile make-data
compile read "$B/lib/libbdrv.so" -Wl,-rpath,"$B/lib" -pthread

# A file system full of ordinary files is what disks hold.
make_disk() {
    local mkfs
    mkfs=$(PATH=$PATH:/usr/sbin:/sbin command -v mkfs.ext4 || true)
    if [ -n "${BENCH_DATA:-}" ]; then
        cp --sparse=always "$BENCH_DATA" "$1"
        kind="a copy of $BENCH_DATA"
        return
    fi
    if [ -n "$mkfs" ]; then
        mkdir "$work/tree"
        # As many directories of the system as fill two thirds.
        local room=$((MIB * 1024 * 2 / 3)) used=0 size
        for d in /usr/lib/gcc/* /usr/lib/*-linux-gnu/perl* /usr/lib/python3* /usr/include \
            /usr/share/perl /usr/share/doc /usr/sbin /usr/bin /etc; do
            [ -d "$d" ] || continue
            size=$(du -sk "$d" | cut -f1)
            if [ $((used + size)) -lt $room ]; then
                cp -a "$d" "$work/tree/" 2>/dev/null || true
                used=$((used + size))
            fi
        done
        truncate -s "${MIB}M" "$1"
        if "$mkfs" -q -F -d "$work/tree" "$1" 2>/dev/null; then
            kind="ext4 with $((used / 1024)) MiB of this system's files"
            rm -rf "$work/tree"
            return
        fi
        rm -rf "$work/tree" "$1"
    fi
    "$work/make-data" "$1" "$MIB" mixed
    kind="made up: noise, text, zeros, holes"
}

raw=$work/disk.raw
vmdk=$work/disk.vmdk
make_disk "$raw"
bytes=$(stat -c %s "$raw")

# -------------------------------------------------------------- the measuring

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'
}

row() { printf '%-50s %10s %10s %6s\n' "$@"; }

# reads TITLE FILE PATTERN REQUEST COUNT FROM TO: our vmdk against pread
reads() {
    local title=$1 file=$2 i
    shift 2
    : >"$work/ours"; : >"$work/theirs"
    for ((i = 0; i < ROUNDS; i++)); do
        "$work/read" vmdk "$file" "$@" >>"$work/ours"
        "$work/read" pread "${file%.vmdk}.raw" "$@" >>"$work/theirs"
    done
    if [ "$(cut -d' ' -f4 "$work/ours" | sort -u)" != \
         "$(cut -d' ' -f4 "$work/theirs" | sort -u)" ]; then
        say "$title: the two read different bytes" >&2
        exit 1
    fi
    local a b
    a=$(cut -d' ' -f1 "$work/ours" | median)
    b=$(cut -d' ' -f1 "$work/theirs" | median)
    row "$title" "$(awk -v s="$a" 'BEGIN { printf "%.1f ms", s * 1000 }')" \
        "$(awk -v s="$b" 'BEGIN { printf "%.1f ms", s * 1000 }')" "$(ratio "$a" "$b")"
}

# once FILE COMMAND…: appends "wall cpu" to FILE
once() {
    local out=$1 times
    shift
    local TIMEFORMAT='%R %U %S'
    times=$({ time "$@" >/dev/null 2>"$work/errors"; } 2>&1) || { cat "$work/errors" >&2; exit 1; }
    say "$times" | awk '{ print $1, $2 + $3 }' >>"$out"
}

syscalls() {
    if ! command -v strace >/dev/null; then
        say -
        return
    fi
    rm -f "$target"
    strace -f -c -o "$work/strace" "$@" >/dev/null 2>&1 || true
    awk '$NF == "total" { print $4 }' "$work/strace"
}

# converts TITLE FROM SOURCE TO: both tools, wall, CPU and system calls
converts() {
    local title=$1 from=$2 source=$3 to=$4 i
    target=$work/target.$to
    local ours=("$B/bin/img" convert -f "$from" -O "$to" "$source" "$target")
    local theirs=(qemu-img convert -f "$from" -O "$to" "$source" "$target")
    : >"$work/ours"; : >"$work/theirs"
    for ((i = 0; i < ROUNDS; i++)); do
        rm -f "$target"; once "$work/ours" "${ours[@]}"
        rm -f "$target"; once "$work/theirs" "${theirs[@]}"
    done
    local a b
    a=$(cut -d' ' -f1 "$work/ours" | median); b=$(cut -d' ' -f1 "$work/theirs" | median)
    row "$title, wall" "${a} s" "${b} s" "$(ratio "$a" "$b")"
    a=$(cut -d' ' -f2 "$work/ours" | median); b=$(cut -d' ' -f2 "$work/theirs" | median)
    row "$title, CPU" "${a} s" "${b} s" "$(ratio "$a" "$b")"
    a=$(syscalls "${ours[@]}"); b=$(syscalls "${theirs[@]}")
    row "$title, system calls" "$a" "$b" "$(ratio "${a/-/0}" "${b/-/0}")"
    rm -f "$target"
}

# ------------------------------------------------------------------- the rows

say "disk: $kind, $((bytes / 1048576)) MiB; medians of $ROUNDS, interleaved; $(nproc) processors"
row "" ours other ratio
"$B/bin/img" convert -f raw -O vmdk "$raw" "$vmdk" >/dev/null

# Reads are measured where every byte is stored: what is not is no contest.
"$work/make-data" "$work/full.raw" "$MIB" full
"$B/bin/img" convert -f raw -O vmdk "$work/full.raw" "$work/full.vmdk" >/dev/null
cat "$work"/full.* "$raw" "$vmdk" >/dev/null
reads "random 4 KiB reads, vmdk / pread" "$work/full.vmdk" random 4096 \
    200000 0 $((MIB * 1048576))
reads "sequential 1 MiB reads, vmdk / pread" "$work/full.vmdk" sequential 1048576 \
    $((MIB * 4)) 0 $((MIB * 1048576))

"$B/bin/img" create -f vmdk "$work/empty.vmdk" "${MIB}M" >/dev/null
truncate -s "${MIB}M" "$work/empty.raw"
reads "random 4 KiB unallocated, vmdk / pread hole" "$work/empty.vmdk" random 4096 \
    200000 0 $((MIB * 1048576))

if command -v qemu-img >/dev/null; then
    converts "convert raw to vmdk, ours / qemu-img" raw "$raw" vmdk
    converts "convert vmdk to raw, ours / qemu-img" vmdk "$vmdk" raw
else
    say "qemu-img is not installed: nothing to compare conversions with"
fi
