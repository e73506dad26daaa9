#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An image that opens but cannot be read is neither the same nor different: the
# status says that it could not be found out.
. "$(dirname "$0")/lib.sh"
noise 2000000 14 >a.raw
img-convert -f raw -O vmdk a.raw a.vmdk
truncate -s 1000000 a.vmdk

status=0
img-compare -f raw -F vmdk a.raw a.vmdk >output 2>message || status=$?
[ "$status" -ge 2 ] || fail "status $status: $(cat output message)"
equal "lines" "$(grep -vc ': warning: ' message)" 1
refused 1 'a.vmdk*' img-convert -q a.vmdk out.raw
[ ! -e out.raw ] || fail "a target was left"
