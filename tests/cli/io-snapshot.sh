#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-io -s writes to an overlay that is dropped; -r cannot write at all.
. "$(dirname "$0")/lib.sh"
disk x.raw 23
img-convert -O vmdk x.raw x.vmdk
cp x.vmdk before

quiet img-io -s -f vmdk -c 'write -P 5 0 1M' -c 'read -P 5 0 1M' x.vmdk
same_file before x.vmdk
refused 1 'write failed*' img-io -r -f vmdk -c 'write 0 512' x.vmdk
same_file before x.vmdk
