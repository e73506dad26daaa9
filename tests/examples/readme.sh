#!/bin/sh
# SPDX-License-Identifier: MIT
#
# README.md tells the truth: it shows readme.c byte for byte, that program does
# what it says, and the tools print what the README says they print.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
readme=$here/../../README.md

sed -n '/^```c$/,/^```$/{//!p;}' "$readme" | diff - "$here/readme.c"

img-create -q -f vmdk disk.vmdk 10M
img-io -c 'write -q -P 0x55 510 1' -c 'write -q -P 0xaa 511 1' disk.vmdk
sha256sum disk.vmdk >before

"$B/tests/examples/readme" disk.vmdk >said
printf 'disk.vmdk: 10485760 bytes\nbootable: yes\n' | diff - said
sha256sum -c --quiet before # the write went to the overlay

if "$B/tests/examples/readme" nothing.vmdk 2>complaint; then
    exit 1
fi
grep -q nothing.vmdk complaint

# The rest needs the real image that the README shows.
real=$IMAGES/vmdk/vmware-hw7-monolithicSparse/monolithicSparse.vmdk.xz
if [ ! -r "$real" ] || ! command -v xz >/dev/null; then
    exit 0
fi
xz -dc "$real" >disk.vmdk
# (How much a file occupies depends on the file system.)
sed -n '/^```console$/,/^```$/{//!p;}' "$readme" | grep -v '^disk size: ' >shown
sed -n 's/^\$ //p' shown | while IFS= read -r command; do
    printf '$ %s\n' "$command"
    sh -c "$command" 2>&1 </dev/null
done | grep -v '^disk size: ' >printed
diff shown printed
