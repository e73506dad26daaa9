# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# tests/bench/race.sh - how a row is measured; sourced by run.sh.
#
#     row NAME TITLE            begins one; false: not chosen by BENCH_ROWS
#     before COMMAND...         to be run before each run, untimed
#     contender NAME COMMAND... a whole process, timed by measure.c
#     reference NAME COMMAND... the same, in the first round only: to be seen beside
#                               the others, not to be compared with
#     timed NAME LINE COMMAND.. a program that times itself: LINE of its output
#     want MEASURE BASE MOST    of "ours", relative to the contender BASE, or
#                               ("-") as it is: wall cpu calls rss size
#     race                      runs it
#     again TITLE NAME          a further row, of which "ours" is the contender NAME of
#                               the race that was run; then want, and report
#
# Contenders take turns, ROUNDS times, so that whatever else the machine does
# happens to all of them.  A ratio is the median of the rounds' ratios.  A peer
# that is not there or cannot do the job is left out, and said to be; if ours fails,
# so has the row, and in the end the benchmark.  What was not measured is not met.
#
# Then each runs once more under perf, which counts its system calls (strace
# changes what it counts, and takes minutes), and ours once more to see where its
# time goes.
#
# $target is what a run makes; it is removed after each, so that nobody pays for
# writing back what another one wrote.  $repeat: how often a measurement runs
# the command, for short ones.

row()
{
    case " ${BENCH_ROWS:-$1} " in *" $1 "*) ;; *) return 1 ;; esac
    title=$2
    names=() commands=() lines=() laps=() wants=() preparation=: repeat=1 whose=ours
    rm -rf "$work/log"
    mkdir "$work/log"
    row_begun=$SECONDS
    echo "$title" >&2
}

before() { preparation=$(printf '%q ' "$@"); }

contender() { timed "$1" 0 "${@:2}"; }

reference()
{
    contender "$@"
    [ ${#laps[@]} = 0 ] || laps[-1]=1
}

timed()
{
    command -v "$3" >/dev/null || return 0
    names+=("$1")
    lines+=("$2")
    laps+=("$ROUNDS")
    commands+=("$(printf '%q ' "${@:3}")")
}

want() { wants+=("$*"); }

# ----------------------------------------------------------------- measuring

target_size() { cat /dev/null "$target"* 2>/dev/null | wc -c; }

# once I: a line "wall cpu rss size" for the contender I.
once()
{
    local said
    rm -f "$target"*
    eval "$preparation" >/dev/null || return 1
    if [ "${lines[$1]}" = 0 ]; then
        said=$(eval "\"$work/measure\" $repeat ${commands[$1]}" 2>"$work/errors") || return 1
    else
        eval "${commands[$1]}" >"$work/said" 2>"$work/errors" || return 1
        said=$(sed -n "${lines[$1]}p" "$work/said")
        [ -n "$said" ] || return 1
        said="${said% *} 0"
    fi
    printf '%s %s\n' "$said" "$(stat -c %s "$target" 2>/dev/null || echo 0)" >>"$work/log/$1"
    rm -f "$target"*
}

# observed I PERF...: one run of the contender I under perf.
observed()
{
    local i=$1
    shift
    eval "$preparation" >/dev/null &&
        eval "$(printf '%q ' "$@") ${commands[$i]}" >/dev/null 2>"$work/errors"
    rm -f "$target"*
}

# System calls of one run; - if they cannot be counted.
calls()
{
    if [ "${BENCH_CALLS:-1}" = 1 ] &&
        observed "$1" perf stat -x , -e raw_syscalls:sys_enter -o "$work/counted"; then
        awk -F, '/sys_enter/ { print $1 ~ /^[0-9]+$/ ? $1 : "-" }' "$work/counted"
    elif [ "${BENCH_CALLS:-1}" = 1 ] && observed "$1" strace -f -c -o "$work/counted"; then
        awk '$NF == "total" { n = $4 } END { print (n == "" ? "-" : n) }' "$work/counted"
    else
        echo -
    fi
}

# profile I: what the time of the contender I goes into, the largest parts; - if
# that cannot be seen.  Short ones run for a second, unless each wants a fresh target.
profile()
{
    local runs=1
    [ "$preparation" != : ] || runs=$(figure "$1" cpu | awk '{ n = int(1 / ($1 + 0.002)) }
                                                             END { print n < 1 ? 1 : n }')
    observed "$1" perf record -q -e cpu-clock -F 2000 -o "$work/samples" \
        "$work/measure" $runs || { echo -; return; }
    perf report --stdio --comm img,disk --sort dso,symbol --percent-limit 2 \
        -i "$work/samples" 2>/dev/null | awk -v most=7 '
        /^ *[0-9]/ && n < most {
            part[n++] = int($1 + 0.5) " % " ($3 == "[k]" ? "kernel" : $2) ":" $4
        }
        END { for (i = 0; i < n; i++) printf "%s%s", i ? ", " : "", part[i]
              print n ? "" : "-" }'
}

# The contenders that are still in the race.
present()
{
    local i
    for i in "${!names[@]}"; do
        [ ! -e "$work/log/$i.out" ] && echo "$i"
    done
}

# lap ROUND, from 0 on.  By lot: it matters who comes after whom, for what memory the host
# of a virtual machine has taken back meanwhile.
lap()
{
    local i
    for i in $(present | shuf); do
        [ "$1" -lt "${laps[$i]}" ] || continue
        once "$i" && continue
        echo "  ${names[$i]} is out: $(head -n 1 "$work/errors")" >&2
        echo "$title: ${names[$i]} could not: $(head -n 1 "$work/errors")" >>"$work/notes"
        touch "$work/log/$i.out"
        rm -f "$target"*
    done
}

# ----------------------------------------------------------------- reporting

column() { case $1 in wall) echo 1 ;; cpu) echo 2 ;; rss) echo 3 ;; size) echo 4 ;; esac }

# The median of a list of numbers.
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# figure I MEASURE: its median.
figure()
{
    [ "$2" = calls ] && { cat "$work/log/$1.calls"; return; }
    cut -d' ' -f"$(column "$2")" "$work/log/$1" | median
}

# ratio I J MEASURE: the median of the rounds' ratios.
ratio()
{
    local c
    [ "$3" = calls ] && {
        paste "$work/log/$1.calls" "$work/log/$2.calls" |
            awk '{ print ($1 > 0 && $2 > 0 ? $1 / $2 : "-") }'
        return
    }
    c=$(column "$3")
    paste -d' ' "$work/log/$1" "$work/log/$2" |
        awk -v a="$c" -v b=$((c + 4)) '$b > 0 { print $a / $b }' | median
}

index_of()
{
    local i
    for i in $(present); do
        [ "${names[$i]}" = "$1" ] && { echo "$i"; return; }
    done
    return 1
}

# judge MEASURE BASE MOST: "wall 0.21 of qemu-img (at most 0.28)", bold if missed,
# or if there is nothing to tell it by.
judge()
{
    local ours base found=- of=
    ours=$(index_of "$whose")
    if [ "$2" = - ]; then
        found=$(figure "$ours" "$1")
    elif base=$(index_of "$2"); then
        found=$(ratio "$ours" "$base" "$1")
        of=" of $2"
    else
        of=" of $2, which is not there"
    fi
    case $found in
    -|'') found="not measured" ;;
    *) [ "$2" = - ] || found=$(printf '%.3f' "$found") ;;
    esac
    if awk -v a="$found" -v b="$3" 'BEGIN { exit !(a ~ /^[0-9.]+$/ && a + 0 <= b + 0) }'; then
        echo "$1 $found$of (at most $3)"
    else
        echo "**$1 $found$of (at most $3)**"
        missed=1
    fi
}

report_wants()
{
    local w verdict='' found missed=0
    for w in "${wants[@]}"; do
        # shellcheck disable=SC2086
        judge $w >"$work/judged"
        found=$(cat "$work/judged")
        verdict=${verdict:+$verdict; }$found
    done
    printf '| %s | %s | %s |\n' "$title" "$verdict" \
        "$([ "$missed" = 0 ] && echo met || echo '**missed**')" >>"$work/verdicts"
}

report_failure()
{
    printf '| %s | %s | **failed** |\n' "$title" "$1" >>"$work/verdicts"
    touch "$work/failed"
}

# "median (least)" of a column of the contender I, in milliseconds.
both_figures()
{
    local c
    c=$(column "$2")
    printf '%s (%s)' "$(figure "$1" "$2")" \
        "$(cut -d' ' -f"$c" "$work/log/$1" | sort -g | head -n 1)" |
        awk -F'[ ()]+' '{ printf "%.4g (%.4g)", $1 * 1000, $2 * 1000 }'
}

# The ratios to the first base that is wanted, wall and CPU.
both_ratios()
{
    local base
    if base=$(index_of "$(echo "${wants[0]}" | cut -d' ' -f2)"); then
        printf '%.3f | %.3f' "$(ratio "$1" "$base" wall)" "$(ratio "$1" "$base" cpu)"
    else
        printf '– | –'
    fi
}

report_figures()
{
    local i
    for i in $(present); do
        printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$title" "${names[$i]}" \
            "$(both_figures "$i" wall)" "$(both_figures "$i" cpu)" "$(both_ratios "$i")" \
            "$(figure "$i" rss | awk '{ if ($1) printf "%.1f", $1 / 1024; else print "–" }')" \
            "$(figure "$i" calls)" >>"$work/figures"
    done
}

report()
{
    local ours
    if ours=$(index_of "$whose"); then
        report_wants
        printf '| %s | %s |\n' "$title" "$(profile "$ours")" >>"$work/profiles"
    else
        report_failure "$whose failed: see the notes"
    fi
    tail -n 1 "$work/verdicts" >&2
}

race()
{
    local round i
    for ((round = 0; round < ROUNDS; round++)); do
        lap "$round"
    done
    for i in $(present); do
        calls "$i" >"$work/log/$i.calls"
    done
    report
    report_figures
    echo "  $((SECONDS - row_begun)) seconds" >&2
}

again()
{
    title=$1 whose=$2 wants=()
}
