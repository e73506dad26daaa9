#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -B makes the target a child whose content is the source's, zeros too.
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
refused 1 '*' img-convert -O raw -B base.vmdk x.raw child.raw
[ ! -e child.raw ] || fail "a target was left"
