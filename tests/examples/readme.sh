#!/bin/sh
# SPDX-License-Identifier: MIT
#
# README.md shows readme.c byte for byte, and the program does what it says.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

sed -n '/^```c$/,/^```$/{//!p}' "$here/../../README.md" >shown.c
diff shown.c "$here/readme.c"

img-create -q -f vmdk disk.vmdk 10M
img-io -c 'write -q -P 0x55 510 1' -c 'write -q -P 0xaa 511 1' disk.vmdk
sha256sum disk.vmdk >before

"$B/tests/examples/readme" disk.vmdk >said
printf 'disk.vmdk: 10485760 bytes\nboot sector: yes\n' | diff - said
sha256sum -c --quiet before # the write went to the overlay

if "$B/tests/examples/readme" nothing.vmdk 2>complaint; then
    exit 1
fi
grep -q nothing.vmdk complaint
