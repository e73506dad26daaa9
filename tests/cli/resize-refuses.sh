#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-resize drops no data unless told to, and leaves alone what it cannot change.
. "$(dirname "$0")/lib.sh"

img-create -q -f vmdk x.vmdk 4M
cp x.vmdk before
refused 1 '*--shrink*' img-resize x.vmdk 1M
refused 1 '*--shrink*' img-resize x.vmdk -1M
refused 1 '*taken from*' img-resize --shrink x.vmdk -5M
refused 1 '*not a size*' img-resize x.vmdk 4Q
refused 1 '*missing operand*' img-resize x.vmdk
refused 1 '*-t*' img-resize -t none x.vmdk 5M
same_file x.vmdk before
img-create -q -f vmdk -b x.vmdk -F vmdk child.vmdk
refused 1 '*has a parent*' img-resize child.vmdk +1M
img-convert -O vmdk -o subformat=streamOptimized x.vmdk stream.vmdk
refused 1 '*convert it*' img-resize stream.vmdk +1M
quiet img-resize -q --shrink x.vmdk -1M
equal "length" "$(img-io -c length x.vmdk)" "3 MiB"
truncate -s 10000 x.raw
quiet img-resize -q -f raw x.raw +240
equal "length of raw" "$(stat -c %s x.raw)" 10240
