#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-map prints, byte for byte, what qemu-img prints.
. "$(dirname "$0")/lib.sh"
need qemu-img
disk x.raw 17
img-convert -O vmdk x.raw base.vmdk
img-create -q -f vmdk -b base.vmdk -F vmdk child.vmdk
img-io -f vmdk -c 'write 64k 64k' -c 'write 9M 100' child.vmdk >/dev/null
qemu-img convert -O vmdk x.raw theirs.vmdk

for image in x.raw base.vmdk child.vmdk theirs.vmdk; do
    for options in "" --output=json "--output=json -s 100k -l 2M" \
        "--output=json -s 19M -l 2G"; do
        # shellcheck disable=SC2086 # several words
        {
            img-map -f "${image##*.}" $options $image >ours
            qemu-img map -f "${image##*.}" $options $image >theirs
        }
        diff theirs ours || fail "$image $options"
    done
done
