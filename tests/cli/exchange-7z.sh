#!/bin/sh
# SPDX-License-Identifier: MIT
#
# 7-Zip extracts the same disk from what we write.
. "$(dirname "$0")/lib.sh"
need 7z
disk x.raw 22
quiet img-convert -O vmdk x.raw x.vmdk

7z x -tvmdk -so x.vmdk >y.raw 2>message || fail "7z: $(cat message)"
same_file x.raw y.raw
