#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A target that another program has open for writing is not replaced.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M
img-create -q -f vmdk y.vmdk 1M
cp y.vmdk before

mkfifo commands
img-io -f vmdk y.vmdk <commands >answers &
exec 9>commands
echo length >&9
until [ -s answers ]; do sleep 0.02; done
refused 1 'y.vmdk*' img-convert -O vmdk x.raw y.vmdk
refused 1 'y.vmdk*' img-create -f vmdk y.vmdk 2M
refused 1 'y.vmdk*' img-io -f vmdk -c 'write 0 512' y.vmdk
exec 9>&-
wait
same_file before y.vmdk
