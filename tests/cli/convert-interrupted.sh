#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Ctrl-C (and kill) during a conversion: one line, the end by that signal, no
# target and nothing beside it, and the old target if there was one.
. "$(dirname "$0")/lib.sh"
disk x.raw 4 # of some 3.6 MB, so it lasts seconds at 1 MB in a second

# interrupt SIGNAL KIND TARGET: when the target has been begun.
interrupt()
{
    case $2 in
    raw) set -- "$1" "$3" -O raw ;;
    *) set -- "$1" "$3" -O vmdk -o "subformat=$2" ;;
    esac
    signal=$1 target=$2
    shift 2
    env --default-signal=INT img-convert -r 1M -f raw "$@" x.raw "$target" 2>message &
    pid=$!
    while [ -z "$(leftovers)" ] && kill -0 "$pid" 2>/dev/null; do :; done
    { kill -STOP "$pid" && kill -s "$signal" "$pid" && kill -CONT "$pid"; } 2>/dev/null || :
    kill -s "$signal" "$pid" 2>/dev/null || : # twice is the same as once
    status=0
    wait "$pid" || status=$?
}

# What may look like a finished image, of one file or several.
images()
{
    find . -name 'out*' ! -path './.img-*'
}

env --default-signal=INT true 2>/dev/null || skip "env knows no --default-signal"
for kind in raw monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
    vmfs vmfsSparse cowd streamOptimized; do
    for signal in INT TERM KILL; do
        interrupt $signal $kind out
        case $signal in INT) number=130 ;; TERM) number=143 ;; KILL) number=137 ;; esac
        equal "status of $kind after $signal" "$status" $number
        equal "left of $kind after $signal" "$(images)" ""
        if [ $signal = KILL ]; then
            rm -rf .img-*
            continue
        fi
        equal "message" "$(cat message)" "img-convert: stopped, out was not written"
        equal "leftovers" "$(leftovers)" ""
    done
done
echo old >out
interrupt TERM raw out
equal "old target" "$(cat out)" old
