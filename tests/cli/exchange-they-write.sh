#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What qemu-img writes we read equal; we can write to it, and qemu-img reads that
# and finds no fault.
. "$(dirname "$0")/lib.sh"
need qemu-img
disk x.raw 19

for options in adapter_type=ide adapter_type=lsilogic,hwversion=10 zeroed_grain=on; do
    qemu-img convert -f raw -O vmdk -o $options x.raw x.vmdk
    quiet img-compare -f raw -F vmdk x.raw x.vmdk
    quiet img-convert -f vmdk x.vmdk y.raw
    same_file x.raw y.raw

    cp x.raw changed.raw
    for write in "-P 1 3M 100k" "-P 2 65000 1000" "-P 3 20971520 512" "-z 5M 1M"; do
        quiet img-io -f vmdk -c "write $write" x.vmdk
        quiet img-io -f raw -c "write $write" changed.raw
    done
    qemu-img compare -f raw -F vmdk changed.raw x.vmdk >output || fail "$options: $(cat output)"
    qemu-img check -f vmdk x.vmdk >report 2>&1 || fail "$options: $(cat report)"
    rm x.vmdk
done
