#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/fuzz/run.sh [SECONDS] - fuzzes the opening of images with libFuzzer.
#
# Needs clang.  Builds everything with sanitizers in $B-fuzz, takes the images
# that tests/fuzz/t-corpus makes as the first corpus, and keeps what it finds in
# $B-fuzz/corpus; a crash stays as $B-fuzz/crash-….  To see one again:
#
#     $B-fuzz/fuzz-open crash-…
set -eu
seconds=${1:-60}
top=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$top/build}
out=$B-fuzz
make=${MAKE:-make}
sanitizers=address,undefined

cd "$top"
mkdir -p "$out/corpus"
$make --no-print-directory CC=clang B="$out" LIBDEFLATE="${LIBDEFLATE-yes}" ISAL= \
    CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=$sanitizers,fuzzer-no-link" \
    LDFLAGS="-fsanitize=$sanitizers" "$out/lib/libbdrv.a" "$out/tests/fuzz/t-corpus"
FUZZ_CORPUS="$out/corpus" FUZZ_MUTATIONS=1 "$out/tests/fuzz/t-corpus"
# shellcheck disable=SC2046 # several words are wanted
clang -std=c11 -g -O1 -fsanitize=$sanitizers,fuzzer -DFUZZ_LIBFUZZER -Iinclude \
    -o "$out/fuzz-open" tests/fuzz/fuzz-open.c "$out/lib/libbdrv.a" -pthread \
    $(pkg-config --libs libdeflate 2>/dev/null || true)
"$out/fuzz-open" -max_total_time="$seconds" -max_len=400000 -timeout=20 \
    -artifact_prefix="$out/" -print_final_stats=1 "$out/corpus"
