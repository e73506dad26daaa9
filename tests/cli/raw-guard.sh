#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What was taken for raw, because nothing else was recognised, is not turned into
# another format by a write; named raw, it may hold anything.
. "$(dirname "$0")/lib.sh"

format_of()
{
    img-info --output=json "$1" | sed -n 's/^ *"format": "\(.*\)".*/\1/p'
}

# A disk whose first sector is that of a VMDK but for its fourth byte, V.
img-create -q -f vmdk other.vmdk 1M
img-create -q disk.raw 1M
head -c 512 other.vmdk | put disk.raw 0
quiet img-io -f raw -c 'write -q -P 0 3 1' disk.raw

refused 1 "*disk.raw: *taken for raw*taken for vmdk*-f raw*" \
    img-io -c 'write -q -P 0x56 3 1' disk.raw
equal "format" "$(format_of disk.raw)" raw
quiet img-io -c 'write -q -P 0x57 3 1' disk.raw
equal "format" "$(format_of disk.raw)" raw
quiet img-io -f raw -c 'write -q -P 0x56 3 1' disk.raw
refused 1 'disk.raw: this is one extent of a disk*' img-info disk.raw
