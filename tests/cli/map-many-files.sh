#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-map ended with an error on an image in more files than may be open at once: of a
# file that may be closed again it was not told the name.
. "$(dirname "$0")/lib.sh"
count=140 # DEFAULT_OPEN_FILES is 128
{
    printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n'
    printf 'createType="custom"\n'
    for i in $(seq "$count"); do
        printf 'RW 128 FLAT "f%s" 0\n' "$i"
        noise 65536 1 >"f$i"
    done
} >d.vmdk

# wanted NAME...: the table of those files, in their order.
wanted()
{
    start=0
    echo "Offset Length Mapped to File"
    for name in "$@"; do
        printf '%#x 0x10000 0 %s\n' "$start" "$name"
        start=$((start + 65536))
    done
}

quiet img-map d.vmdk
# shellcheck disable=SC2046 # several words are wanted
equal "table" "$(tr -s ' ' <output)" "$(wanted $(seq -f 'f%.0f' "$count"))"
quiet img-map --output=json d.vmdk
equal "places" "$(grep -c '"offset": 0}' output)" "$count"

# The same of parents, and of what is no data.
img-create -q -f vmdk -b d.vmdk -F vmdk child.vmdk
truncate -s 0 f140
truncate -s 64k f140
quiet img-map child.vmdk
# shellcheck disable=SC2046
equal "table" "$(tr -s ' ' <output)" "$(wanted $(seq -f 'f%.0f' $((count - 1))))"
