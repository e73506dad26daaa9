#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Readers are let in beside a writer without -U; a second writer only with it,
# as -U takes no lock and respects none.
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk disk.vmdk 1M
mkfifo commands
img-io disk.vmdk <commands >said &
exec 3>commands
echo length >&3
while [ ! -s said ]; do
    sleep 0.05
done

quiet img-info disk.vmdk
quiet img-convert disk.vmdk copy.raw
refused 1 'disk.vmdk*' img-io -c length disk.vmdk
quiet img-io -U -c length disk.vmdk
exec 3>&-
wait
