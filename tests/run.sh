#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/run.sh NAME RESULT PROGRAM - runs one suite for `make check`.
#
# Prints one line (and, if something failed, what the suite said) and writes
# "PASSED FAILED SKIPPED" into RESULT.  It succeeds whatever the suite does, so
# that the others run too: `make check` adds up and fails at the end.
set -u
name=$1 result=$2 program=$3
seconds=${TIMEOUT:-600}

mkdir -p "$(dirname "$result")"
log=$PWD/$result.log
case $result in /*) log=$result.log ;; esac
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/bdrv-check.XXXXXX") || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

case $program in
*.sh) runner='sh' ;;
*) runner=${RUNNER:-} ;;
esac
(cd "$TMPDIR" && timeout -k 10 "$seconds" $runner "$program") >"$log" 2>&1 </dev/null
status=$?

skipped=$(grep -c '^skipped: ' "$log")
# Check's own summary: "100%: Checks: 5, Failures: 0, Errors: 0".
summary=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\)$/\1 \2 \3/p' "$log" | tail -n 1)
if [ "$status" -eq 77 ]; then
    passed=0 failed=0 skipped=1
    reasons=$(tail -n 1 "$log")
elif [ -n "$summary" ]; then
    set -- $summary
    failed=$(($2 + $3))
    passed=$(($1 - failed - skipped))
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
    fi
    reasons=$(sed -n 's/^skipped: //p' "$log")
elif [ "$status" -eq 0 ]; then
    passed=1 failed=0 skipped=0 reasons=
else
    passed=0 failed=1 skipped=0 reasons=
fi

report() {
    printf '%-28s %4d passed, %d failed, %d skipped\n' "$name" "$passed" "$failed" "$skipped"
    if [ -n "$reasons" ]; then
        printf '%s\n' "$reasons" | sed 's/^/    skipped: /'
    fi
    if [ "$failed" -gt 0 ]; then
        echo "    exit status $status; $log says:"
        awk '/^[0-9]+%: Checks: |:P:/ { next }
             ++n <= 80 { print "    " $0 }
             END { if (n > 80) print "    and " n - 80 " lines more" }' "$log"
    fi
}
# At once, so that suites that run side by side do not mix their lines.
text=$(report)
printf '%s\n' "$text"
echo "$passed $failed $skipped" >"$result"
