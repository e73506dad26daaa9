#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/fuzz/run.sh SECONDS - fuzzes with libFuzzer for SECONDS, which the targets
# share; the first finding ends it.
#
# tests/fuzz/run.sh --long MINUTES - goes on, turn by turn, until each target has
# had MINUTES of processor time, those of former runs counted in; findings are
# kept, and the turns go on.  May be stopped at any time.
#
# TARGETS="open check …" chooses.  Needs clang.  Builds everything with sanitizers
# in $B-fuzz, and keeps there:
#
#     corpus/TARGET    what the fuzzer learns; begins with what t-corpus makes
#     found/TARGET-…   findings; to see one again: bin/fuzz-TARGET found/TARGET-…
#     tally            a line for each turn; `run.sh --tally` sums them up
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$top/build}
out=$B-fuzz
make=${MAKE:-make}
sanitizers=address,undefined
ends=-fno-sanitize-recover=all # … at the first finding of either
targets=${TARGETS:-open descriptor stream check write change}
slice=${FUZZ_SLICE:-60} # seconds of one turn of a long run
# Seconds.  (What an image may cost vmdk/t-resources holds.  Here one is opened, checked and repaired
# some dozen times, under sanitizers, and a directory of 2^26 tables is allowed.)
timeout=300

build() {
    # shellcheck disable=SC2086 # several words are wanted
    $make -C "$top" --no-print-directory CC=clang B="$out" LIBDEFLATE="${LIBDEFLATE-yes}" ISAL= \
        CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=$sanitizers,fuzzer-no-link $ends" \
        LDFLAGS="-fsanitize=$sanitizers $ends" "$out/bin/fuzz" "$out/tests/fuzz/t-corpus"
    mkdir -p "$out/corpus" "$out/found"
    for target in $targets; do
        mkdir -p "$out/corpus/$target"
        ln -sf fuzz "$out/bin/fuzz-$target"
    done
    FUZZ_CORPUS="$out/corpus" CK_FORK=no "$out/tests/fuzz/t-corpus"
}

# Sets cpu to the seconds of processor time that finished children have had.  (In a
# subshell they would be others'.)
read_cpu() {
    times >"$out/times"
    cpu=$(sed -n '2s/[ms]/ /gp' "$out/times" | awk '{ printf "%d", $1 * 60 + $2 + $3 * 60 + $4 }')
}

# turn TARGET SECONDS: the fuzzer's exit status.  (The largest block: a check of a
# file of 2 TiB sets 512 MiB of bits aside, and touches few of them.)
turn() {
    status=0
    read_cpu
    before=$cpu
    "$out/bin/fuzz-$1" -max_total_time="$2" -max_len=300000 -len_control=0 -timeout=$timeout \
        -report_slow_units="$timeout" -rss_limit_mb=1024 -malloc_limit_mb=600 \
        -artifact_prefix="$out/found/$1-" -print_final_stats=1 \
        "$out/corpus/$1" >"$out/$1.log" 2>&1 || status=$?
    read_cpu
    awk -v target="$1" -v cpu=$((cpu - before)) -v status=$status '
        $1 ~ /^#[0-9]+$/ && $3 == "cov:" { inputs = substr($1, 2); edges = $4 }
        $1 == "stat::number_of_executed_units:" { inputs = $2 }
        END { print target, cpu, inputs + 0, edges + 0, status != 0 }' "$out/$1.log" >"$out/turn"
    cat "$out/turn" >>"$out/tally"
    cat "$out/turn"
    return $status
}

tally() {
    printf 'target      CPU minutes      inputs   edges  findings\n'
    awk '{ cpu[$1] += $2; inputs[$1] += $3; found[$1] += $5
           if ($4 > edges[$1]) edges[$1] = $4 }
        END { for (t in cpu) printf "%-12s %10.1f %11d %7d %9d\n", t, cpu[t] / 60,
                  inputs[t], edges[t], found[t] }' "$out/tally" | sort
}

# Has TARGET had MINUTES?
is_done() {
    [ -f "$out/tally" ] &&
        awk -v t="$1" -v m="$2" '$1 == t { cpu += $2 } END { exit cpu < m * 60 }' "$out/tally"
}

share() {
    count=$(echo "$targets" | wc -w)
    for target in $targets; do
        turn "$target" $((($1 + count - 1) / count)) || {
            tail -n 40 "$out/$target.log"
            exit 1
        }
    done
}

take_turns() {
    left=yes
    while [ -n "$left" ]; do
        left=
        for target in $targets; do
            if ! is_done "$target" "$1"; then
                left=yes
                turn "$target" "$slice" || echo "found: see $out/$target.log"
            fi
        done
    done
    tally
    [ -z "$(ls "$out/found")" ]
}

case ${1:-60} in
--long)
    build
    take_turns "${2:-60}"
    ;;
--tally) tally ;;
*)
    build
    share "${1:-60}"
    ;;
esac
