#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Zeros that the source stores become holes, in units of -S; with -S 0 none do.
. "$(dirname "$0")/lib.sh"
head -c 4194304 /dev/zero >x.raw
noise 4096 10 | put x.raw 1048576

blocks()
{
    stat -c %b "$1"
}
quiet img-convert x.raw y.raw
same_file x.raw y.raw
[ "$(blocks y.raw)" -le 64 ] || fail "not sparse: $(blocks y.raw) blocks"
quiet img-convert -S 1M x.raw y.raw
same_file x.raw y.raw
[ "$(blocks y.raw)" -ge 2048 ] || fail "-S 1M: $(blocks y.raw) blocks"
quiet img-convert -S 0 x.raw y.raw
same_file x.raw y.raw
[ "$(blocks y.raw)" -ge 8192 ] || fail "-S 0: $(blocks y.raw) blocks"
quiet img-convert -O vmdk x.raw y.vmdk
[ "$(stat -c %s y.vmdk)" -lt 400000 ] || fail "vmdk: $(stat -c %s y.vmdk) bytes"
