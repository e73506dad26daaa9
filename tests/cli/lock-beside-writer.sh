#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Readers are let in beside a writer without -U; a second writer is not, with it
# neither, as -U is for reading only.
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
refused 1 'disk.vmdk: -U is for reading only*' img-io -U -c length disk.vmdk
refused 1 'disk.vmdk: -U is for reading only*' img-check -U -r all disk.vmdk
quiet img-io -U -r -c length disk.vmdk
quiet img-io -U -s -c 'write 0 512' disk.vmdk
exec 3>&-
wait
