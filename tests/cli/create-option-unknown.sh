#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An -o that the format does not know is named, and nothing is made.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M

refused 1 '*nonsense*' img-create -f vmdk -o nonsense=1 y.vmdk 1M
refused 1 '*nonsense*' img-convert -O vmdk -o nonsense=1 x.raw y.vmdk
# The list of what is possible ended in the middle of a word.
refused 1 '*vmfsPassthroughRawDeviceMap, vmfsRaw is wanted*' \
    img-create -f vmdk -o subformat=nonsense y.vmdk 1M
[ ! -e y.vmdk ] || fail "an image was made"
equal "leftovers" "$(leftovers)" ""
