#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/bench/run.sh - how fast are we, compared to what, and is it enough?
# Prints tables in Markdown.  Not part of `make check`: a slow machine is not a
# broken library.
#
#   BENCH_ROWS="map check"  these rows only (the names are in rows.sh)
#   BENCH_SMALL=1           small disks: to see that it works, not to compare
#   BENCH_CALLS=0           does not count system calls: without perf that is strace's
#                           work, and slow
#   BENCH_OUT=FILE          puts the tables there, too
#   BENCH_DIR=…             where the data is made (default: TMPDIR or /tmp)
#   BENCH_DATA=…            a raw image of yours instead of this system's files
#   BENCH_DISK_MIB=… …      sizes: see data.sh
#   ROUNDS=5                how often each thing is measured
set -eu
LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
B=$(cd "${B:-$here/../../build}" && pwd)
PATH=$B/bin:$PATH
ROUNDS=${ROUNDS:-5}
work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/bdrv-bench.XXXXXX")
trap finish EXIT
trap 'exit 130' INT TERM
target=$work/target

if [ -n "${BENCH_SMALL:-}" ]; then
    : "${BENCH_DISK_MIB:=512}" "${BENCH_TREE_MIB:=160}" "${BENCH_FULL_MIB:=64}" \
        "${BENCH_WRITE_MIB:=32}" "${BENCH_REQUESTS:=20000}" "${BENCH_GRAINS:=1024}"
fi

compile()
{
    ${CC:-cc} -std=c11 -O2 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
        -I"$here/../../include" -o "$work/$1" "$here/$1.c" "${@:2}"
}

compile measure
compile make-data
compile copy
compile make-image "$B/lib/libbdrv.so" -Wl,-rpath,"$B/lib" -pthread
compile disk "$B/lib/libbdrv.so" -Wl,-rpath,"$B/lib" -pthread
compile deflate -ldeflate 2>/dev/null || echo "no libdeflate: install libdeflate-dev" >&2
compile libvmdk -lvmdk 2>/dev/null || echo "no libvmdk: install libvmdk-dev, libbfio-dev" >&2
command -v qemu-img >/dev/null || {
    echo "qemu-img is what it is compared to: install it" >&2
    exit 1
}

# What else is in the time of a row, so that two results can be compared.
libraries()
{
    local name
    for name in libdeflate libisal nettle libvmdk; do
        echo "$name $(pkg-config --modversion $name 2>/dev/null || echo none);"
    done
}

version() { "$@" 2>/dev/null | head -n 1 || true; }

machine()
{
    echo "- $begun to $(date +%H:%M), revision" \
        "$(git -C "$here" log -1 --format='%h of %cs' 2>/dev/null)$(git -C "$here" \
            diff --quiet HEAD 2>/dev/null || echo ', changed')"
    echo "- $(nproc) × $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)," \
        "$(awk '/MemTotal/ { print int($2 / 1048576) }' /proc/meminfo) GiB, $(uname -sr)," \
        "$(stat -f -c %T "$work"); load before: $load, at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "- $(version qemu-img --version); $(version vmdkinfo -V);" \
        "$(7z 2>/dev/null | grep -o '^7-Zip.*[0-9]\.[0-9]*' || true);" \
        "$(version "${CC:-cc}" --version)"
    echo "- libraries:" $(libraries)
    echo "- open-vmdk is not in Debian, and could not be installed; nbdkit has no reader of VMDK"
    echo "- sizes${BENCH_SMALL:+ (small: not to compare)}: a disk of $disk_mib MiB with files;" \
        "full $full_mib MiB; writes of $write_mib MiB; $requests reads; $grains scattered grains"
    echo "- medians of $ROUNDS interleaved rounds; a ratio is the median of the rounds' ratios;" \
        "what is called durable: one round"
    [ ! -e "$work/kind" ] || echo "- the disk with files: $(cat "$work/kind")"
    [ ! -e "$work/notes" ] || sed 's/^/- /' "$work/notes"
}

tables()
{
    printf '# Speed\n\nMade by `make bench`; below the tables is what bounds each row.\n\n'
    machine
    printf '\n| row | found (target) | verdict |\n|---|---|---|\n'
    cat "$work/verdicts"
    printf '\n## What the time of ours goes into\n\n'
    printf 'As perf sees it, of one run more; less than 2 %% is left out.\n\n'
    printf '| row | the largest parts |\n|---|---|\n'
    cat "$work/profiles"
    printf '\n## All figures\n\n'
    printf 'Milliseconds: the median and, in brackets, the least.  Ratios to the first base.\n\n'
    printf '| row | who | wall | CPU | wall ratio | CPU ratio | RSS, MiB | system calls |\n'
    printf '|---|---|---|---|---|---|---|---|\n'
    cat "$work/figures"
    printf '\n'
    cat "$here/remarks.md"
}

# Also of a benchmark that was stopped: the rows it came to.
finish()
{
    local status=$?
    if [ -s "$work/verdicts" ]; then
        [ "$status" = 0 ] || echo "STOPPED: rows are missing" >>"$work/notes"
        tables >"$work/tables"
        cat "$work/tables"
        [ -z "${BENCH_OUT:-}" ] || cp "$work/tables" "$BENCH_OUT"
    fi
    [ ! -e "$work/failed" ] || status=1
    rm -rf "$work"
    exit $status
}

begun=$(date '+%F %H:%M') load=$(cut -d' ' -f1-3 /proc/loadavg)
touch "$work/verdicts" "$work/figures" "$work/profiles"
. "$here/data.sh"
. "$here/race.sh"
. "$here/rows.sh"
