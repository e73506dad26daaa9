#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Without --backing-chain img-info opens no other file, so an image whose parent
# is gone can be looked at.
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk base.vmdk 1M
img-create -q -f vmdk -b base.vmdk -F vmdk child.vmdk
rm base.vmdk

quiet img-info child.vmdk
has output "backing file: base.vmdk"
refused 1 '*base.vmdk*' img-info --backing-chain child.vmdk
refused 1 '*base.vmdk*' img-convert child.vmdk out.raw
