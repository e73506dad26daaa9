#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The target is the same bytes whatever the number of threads.
. "$(dirname "$0")/lib.sh"
disk x.raw 11

img-convert -m 1 x.raw one.raw
img-convert -m 7 x.raw seven.raw
same_file one.raw seven.raw
same_file one.raw x.raw
img-convert -m 1 -O vmdk x.raw one.vmdk
img-convert -m 7 -O vmdk x.raw seven.vmdk
quiet img-compare -s one.vmdk seven.vmdk
equal "map" "$(img-map --output=json one.vmdk)" "$(img-map --output=json seven.vmdk)"
