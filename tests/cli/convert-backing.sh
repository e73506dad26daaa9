#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -B makes the target a child whose content is the source's, zeros too; it stores
# what differs from its parent.
. "$(dirname "$0")/lib.sh"
disk x.raw 12
img-create -q -f vmdk base.vmdk 20972032
img-io -f vmdk -c 'write -P 0x77 0 20972032' base.vmdk >/dev/null

quiet img-convert -O vmdk -B base.vmdk -F vmdk x.raw child.vmdk
quiet img-compare x.raw child.vmdk
quiet img-info child.vmdk
has output "backing file: base.vmdk"
quiet img-convert -O vmdk -o backing_file=base.vmdk,backing_fmt=vmdk x.raw child.vmdk
quiet img-compare x.raw child.vmdk

# Once everything was stored in the child, what its parent holds too.
quiet img-convert -O vmdk x.raw base.vmdk
cp x.raw y.raw
printf X | put y.raw 5000000
head -c 200000 /dev/zero | put y.raw 6000000
noise 100000 9 | put y.raw 15000000
quiet img-convert --verify -O vmdk -B base.vmdk y.raw child.vmdk
quiet img-compare y.raw child.vmdk
[ "$(stat -c %s child.vmdk)" -lt 1000000 ] || fail "the child has $(stat -c %s child.vmdk) bytes"
quiet img-convert -O vmdk -B base.vmdk x.raw child.vmdk
[ "$(stat -c %s child.vmdk)" -lt 200000 ] || fail "a child of the same: $(stat -c %s child.vmdk) bytes"
refused 1 '*' img-convert -O raw -B base.vmdk x.raw child.raw
[ ! -e child.raw ] || fail "a target was left"
