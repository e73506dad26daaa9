#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Once the way out that a message names (any_parent=on) could not be taken with
# the tools: --open-option takes it.
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk parent.vmdk 1M
img-create -q -f vmdk -b parent.vmdk -F vmdk child.vmdk
img-io -c 'write -P 7 0 64k' parent.vmdk >output # gives it another CID

refused 1 '*any_parent=on*' img-map child.vmdk
quiet img-map --open-option any_parent=on child.vmdk
quiet img-convert --open-option any_parent=on child.vmdk child.raw
quiet img-compare --open-option=any_parent=off --open-option=any_parent=on \
    child.vmdk parent.vmdk
refused 1 '*nonsense*' img-map --open-option nonsense=on child.vmdk
