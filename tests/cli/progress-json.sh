#!/bin/sh
# SPDX-License-Identifier: MIT
#
# --progress=json: each line is an object with the documented fields, on the
# descriptor that was asked for; a reader who goes away stops nothing.
. "$(dirname "$0")/lib.sh"
disk x.raw 24

# lines FILE PHASE: all are such objects, and the last says that it is done.
lines()
{
    number='[0-9.][0-9.]*'
    form="{\"phase\": \"$2\", \"done\": $number, \"total\": 20972032, \"percent\": $number, "
    form="$form\"seconds\": $number, \"rate\": $number, \"left\": \($number\|null\)}"
    [ -s "$1" ] || fail "no line"
    ! grep -v "^$form\$" "$1" || fail "$1 has another line"
    tail -n 1 "$1" | grep -q '"done": 20972032, .* "percent": 100.00' || fail "not done: $(cat "$1")"
}

img-convert --progress=json x.raw y.raw 2>lines
lines lines copy
img-convert --progress=json --progress-fd 7 x.raw - 7>lines 2>message | cmp - x.raw
lines lines copy
[ ! -s message ] || fail "said '$(cat message)'"
quiet img-compare --progress=json --progress-fd=7 x.raw y.raw 7>lines
lines lines compare

rm y.raw
{ img-convert --progress=json --progress-fd 7 x.raw y.raw 7>&1 >/dev/null || echo no >failed; } | true
[ ! -e failed ] || fail "it minds that nobody reads"
same_file x.raw y.raw

refused 1 '*42 is not open*' img-convert --progress=json --progress-fd 42 x.raw y.raw
refused 1 "*'x'*" img-convert --progress=json --progress-fd x x.raw y.raw
refused 1 '*--progress=json*' img-convert -p --progress-fd 2 x.raw y.raw

# The lines once went into the image that went to standard output.
for fd in 1 2; do
    status=0
    img-convert --progress=json --progress-fd $fd x.raw - >y.raw 2>&1 || status=$?
    equal "status with $fd" "$status" 1
    equal "lines" "$(wc -l <y.raw)" 1
    has y.raw "descriptor $fd is the same"
done
if img-convert --progress=json --progress-fd 7 x.raw - 2>message 7>&1 | cat >y.raw; then :; fi
has message "descriptor 7 is the same"
if img-convert --progress=json x.raw - 2>&1 | cat >y.raw; then :; fi
has y.raw "descriptor 2 is the same"
