#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Several sources are joined in their order, whatever their formats and lengths.
. "$(dirname "$0")/lib.sh"
disk a.raw 6
noise 100352 7 >b.raw
noise 1025 8 >c.raw
img-convert -f raw -O vmdk b.raw b.vmdk
cat a.raw b.raw c.raw >wanted.raw

quiet img-convert a.raw b.vmdk c.raw out.raw
same_file out.raw wanted.raw
quiet img-convert -O vmdk a.raw b.vmdk c.raw out.vmdk
quiet img-compare out.vmdk wanted.raw
