#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Ctrl-C (and kill) during a conversion: one line, the end by that signal, no
# target and nothing beside it, and the old target if there was one.
. "$(dirname "$0")/lib.sh"
noise 30000000 4 >part
cat part part part part part >x.raw

# interrupt SIGNAL FORMAT TARGET: 1 if the conversion was too fast for us.
interrupt()
{
    env --default-signal=INT img-convert -f raw -O "$2" x.raw "$3" 2>message &
    pid=$!
    while [ -z "$(leftovers)" ] && kill -0 "$pid" 2>/dev/null; do :; done
    kill -STOP "$pid" 2>/dev/null && kill -s "$1" "$pid" && kill -CONT "$pid"
    kill -s "$1" "$pid" 2>/dev/null || : # twice is the same as once
    status=0
    wait "$pid" || status=$?
    [ "$status" -ne 0 ]
}

env --default-signal=INT true 2>/dev/null || skip "env knows no --default-signal"
caught=0
for format in raw vmdk; do
    for signal in INT TERM; do
        interrupt $signal $format out || continue
        case $signal in INT) number=130 ;; *) number=143 ;; esac
        equal "status" "$status" $number
        equal "message" "$(cat message)" "img-convert: stopped, out was not written"
        [ ! -e out ] || fail "$format: a target was left"
        equal "leftovers" "$(leftovers)" ""
        caught=$((caught + 1))
    done
done
rm -f out
echo old >out
if interrupt TERM raw out; then
    equal "old target" "$(cat out)" old
fi
[ "$caught" -gt 0 ] || skip "this machine converts too fast to be interrupted"
