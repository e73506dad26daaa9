#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A target that exists keeps its content until the new one is whole, its mode
# and the link that leads to it; nothing else is left in its directory.
. "$(dirname "$0")/lib.sh"
disk x.raw 3
mkdir there
echo old >there/real.raw
chmod 640 there/real.raw
ln -s there/real.raw y.raw

quiet img-convert x.raw y.raw
same_file x.raw there/real.raw
[ -L y.raw ] || fail "the link was replaced"
equal "mode" "$(stat -c %a there/real.raw)" 640
equal "left" "$(leftovers)$(ls -A there)" "real.raw"

echo old >there/two.raw
ln there/two.raw there/name.raw
quiet img-convert x.raw there/two.raw
same_file there/two.raw there/name.raw
