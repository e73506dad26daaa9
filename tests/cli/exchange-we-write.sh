#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What we write, qemu-img finds faultless and reads equal; it can write to it,
# and we read that.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io
disk x.raw 18

quiet img-convert -O vmdk x.raw x.vmdk
qemu-img check -f vmdk x.vmdk >report 2>&1 || fail "check: $(cat report)"
qemu-img compare -f raw -F vmdk x.raw x.vmdk >output || fail "compare: $(cat output)"

cp x.raw changed.raw
for write in "-P 1 3M 100k" "-P 2 65000 1000" "-P 3 20971520 512"; do
    qemu-io -f vmdk -c "write $write" x.vmdk >/dev/null
    qemu-io -f raw -c "write $write" changed.raw >/dev/null
done
quiet img-compare -f raw -F vmdk changed.raw x.vmdk
