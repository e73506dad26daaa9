#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Parent and child in every mixture of who made them read the same to both.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io
disk x.raw 20
img-convert -O vmdk x.raw ours.vmdk
qemu-img convert -O vmdk x.raw theirs.vmdk

cp x.raw wanted.raw
qemu-io -f raw -c 'write -P 9 100k 300k' -c 'write -P 8 12M 1' wanted.raw >/dev/null
for base in ours theirs; do
    rm -f child.vmdk
    img-create -q -f vmdk -b $base.vmdk -F vmdk child.vmdk
    quiet img-io -f vmdk -c 'write -P 9 100k 300k' -c 'write -P 8 12M 1' child.vmdk
    qemu-img compare -f vmdk -F raw child.vmdk wanted.raw >output || fail "our child of $base"
    rm child.vmdk
    qemu-img create -q -f vmdk -b $base.vmdk -F vmdk child.vmdk
    qemu-io -f vmdk -c 'write -P 9 100k 300k' -c 'write -P 8 12M 1' child.vmdk >/dev/null
    quiet img-compare -f vmdk -F raw child.vmdk wanted.raw
done
