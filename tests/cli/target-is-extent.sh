#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Once a target that was an extent of the source, or that had an extent of the
# source's name, destroyed the source: both are refused, and nothing is touched.
. "$(dirname "$0")/lib.sh"
disk x.raw 3
img-convert -O vmdk x.raw disk.vmdk
img-convert -O vmdk -o subformat=vmfsSparse disk.vmdk cx.vmdk
cp disk.vmdk zz-delta.vmdk
ls >names
sha256sum ./*.vmdk >before

refused 1 'cx-delta.vmdk: is the source, or part of it (cx.vmdk)*' \
    img-convert cx.vmdk cx-delta.vmdk
refused 1 '*zz-delta.vmdk: is the source*' \
    img-convert -O vmdk -o subformat=vmfsSparse zz-delta.vmdk zz.vmdk
rm output message
sha256sum -c --quiet before
equal "left" "$(leftovers)" ""
equal "files" "$(find . -name 'zz*')" "./zz-delta.vmdk"
quiet img-compare x.raw cx.vmdk
