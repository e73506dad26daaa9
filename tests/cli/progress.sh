#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -p shows a bar with rate and time left on a terminal, what qemu-img says
# elsewhere, and nothing with -q.
. "$(dirname "$0")/lib.sh"
disk x.raw 24

quiet img-convert -p x.raw y.raw
has output "    (0.00/100%)"
has output "    (100.00/100%)"
! grep -q '\[' output || fail "a bar, and no terminal: $(cat output)"
img-convert -p x.raw - 2>message | cmp - x.raw
has message "    (100.00/100%)"
refused 1 '*bar*json*' img-convert --progress=fast x.raw y.raw
need script
script -qec true typescript </dev/null >screen 2>&1 || skip "no terminal to be had"
script -qec 'img-convert -p x.raw y.raw' typescript </dev/null >screen
has screen "    (0.00/100%) [   "
has screen "    (100.00/100%) [======"
has screen "iB/s, 0:00 left"
script -qec 'img-compare -p x.raw y.raw' typescript </dev/null >screen
has screen "    (100.00/100%)"
script -qec 'img-convert -p -q x.raw y.raw' typescript </dev/null >screen
! grep -q 100% screen || fail "a bar in spite of -q"
