#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -p of commit, rebase and amend showed 0 and 100 % and nothing between.  Each is held
# up on its way, for longer than the bar waits between two drawings.
. "$(dirname "$0")/lib.sh"
need strace
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # LeakSanitizer is a tracer too

# slow CALL WHEN COMMAND...: one of its calls takes longer.
slow()
{
    call=$1 when=$2
    shift 2
    strace -qq -f -o trace -e trace="$call" -e inject="$call:delay_exit=150000:when=$when" "$@"
}

# on_its_way FILE: between the beginning and the end there was something else.
on_its_way()
{
    tr '\r' '\n' <"$1" >bars
    has bars "    (0.00/100%)"
    has bars "    (100.00/100%)"
    grep -v '(0.00/\|(100.00/' bars | grep -qE '^    \([0-9]+\.[0-9][0-9]/100%\)$' ||
        fail "nothing between: $(cat bars)"
}

img-create -q -f vmdk base.vmdk 64M
quiet img-io -c 'write -P 1 0 8M' -c 'write -P 2 20M 8M' -c 'write -P 3 40M 8M' base.vmdk
img-create -q -f vmdk -b base.vmdk child.vmdk
quiet img-io -c 'write -P 4 0 8M' -c 'write -P 5 20M 8M' -c 'write -P 6 40M 8M' child.vmdk

slow pwrite64 4 img-commit -p child.vmdk >shown
on_its_way shown

rm child.vmdk
img-create -q -f vmdk -b base.vmdk child.vmdk
slow pwrite64 8 img-rebase -p -b "" child.vmdk >shown
on_its_way shown

img-create -q -f vmdk -o zeroed_grain=on grains.vmdk 1G
for i in 0 1 2 3 4 5 6 7; do
    quiet img-io -c "write -P 1 $((i * 128))M 64k" grains.vmdk
done
slow pread64 1+ img-amend -p -o zeroed_grain=off grains.vmdk >shown
on_its_way shown
