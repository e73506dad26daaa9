#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -p shows a bar on a terminal, and nothing elsewhere or with -q.
. "$(dirname "$0")/lib.sh"
disk x.raw 24

quiet img-convert -p x.raw y.raw
equal "not on a terminal" "$(cat output)" ""
need script
script -qec true typescript </dev/null >screen 2>&1 || skip "no terminal to be had"
script -qec 'img-convert -p x.raw y.raw' typescript </dev/null >screen
has screen "    (0.00/100%)"
has screen "    (100.00/100%)"
script -qec 'img-compare -p x.raw y.raw' typescript </dev/null >screen
has screen "    (100.00/100%)"
script -qec 'img-convert -p -q x.raw y.raw' typescript </dev/null >screen
! grep -q 100% screen || fail "a bar in spite of -q"
