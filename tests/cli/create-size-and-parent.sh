#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-create refuses a size that is given twice, and warns of a parent that the
# image could not be opened with.
. "$(dirname "$0")/lib.sh"
refused 1 '*given twice*' img-create -f vmdk -o size=1M x.vmdk 2M
[ ! -e x.vmdk ] || fail "an image was made"

mkdir elsewhere
quiet img-create -f vmdk elsewhere/base.vmdk 1M
quiet img-create -f vmdk base.vmdk 1M
quiet img-create -f vmdk -b base.vmdk -F vmdk near.vmdk
mkdir here
img-create -f vmdk -b ../elsewhere/base.vmdk -F vmdk here/child.vmdk >output 2>message
equal "lines" "$(wc -l <message)" 1
has message "img-create: warning: "
has message "--allow-path"
refused 1 '*--allow-path*' img-map here/child.vmdk
quiet img-map --allow-path elsewhere here/child.vmdk

# Storage that the options name tells the size.
truncate -s 3M store.img
quiet img-create -q -f vmdk -o subformat=fullDevice,device=store.img over.vmdk
has over.vmdk 'RW 6144 FLAT "store.img" 0'
quiet img-create -q -f vmdk -o 'subformat=custom,extents=RW 2048 ZERO;RW 6144 FLAT "store.img" 0' c.vmdk
quiet img-info c.vmdk
has output "4 MiB"
refused 1 '*needs a size*' img-create -f vmdk -o subformat=monolithicFlat y.vmdk
