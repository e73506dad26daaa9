#!/bin/sh
# SPDX-License-Identifier: MIT
#
# SIGUSR1: a conversion says how far it is, and goes on.
. "$(dirname "$0")/lib.sh"
noise 6000000 4 >x.raw
truncate -s 6291456 x.raw
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message || skip "no libdeflate"
quiet img-convert -O vmdk -o subformat=streamOptimized x.raw x.vmdk

mkfifo pipe
img-convert -f vmdk - y.raw <pipe 2>message &
pid=$!
exec 9>pipe
half=$(($(stat -c %s x.vmdk) / 2))
head -c $half x.vmdk >&9
# It is waiting for more by now, or will be; and answers with the next window.
while [ -z "$(leftovers)" ]; do kill -0 $pid || fail "it ended: $(cat message)"; done
kill -USR1 $pid
tail -c +$((half + 1)) x.vmdk >&9
exec 9>&-
wait $pid || fail "status $?: $(cat message)"
same_file x.raw y.raw
grep -qE '^    \([0-9]+\.[0-9][0-9]/100%\)$' message || fail "said '$(cat message)'"
equal "lines" "$(wc -l <message)" 1

# One that comes before the command knows how far it is does not end it: the signal is
# caught before any file is opened.
if strace -o trace true 2>/dev/null; then
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" strace -o trace \
        -e trace=rt_sigaction,open,openat img-compare x.raw y.raw >output
    sed -n '/SIGUSR1, {sa_handler=[^S]/q; /x\.raw/p' trace >early
    [ -s trace ] && [ ! -s early ] || fail "opened before SIGUSR1 is caught: $(cat early)"
fi
