#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-info left the kind of an extent empty where it is in the file that was named,
# did not say that one is RDONLY or NOACCESS, and did not name the file of the latter.
. "$(dirname "$0")/lib.sh"

# shows IMAGE KINDS: as a table and in JSON; the kinds of all extents.
shows()
{
    quiet img-info "$1"
    equal "kinds in $1" "$(sed -n 's/^  *format: //p' output | tr '\n' ' ')" "$2"
    quiet img-info --output=json "$1"
    equal "kinds in $1 as JSON" \
        "$(sed -n 's/^                  *"format": "\([^"]*\)".*/\1/p' output | tr '\n' ' ')" "$2"
}

for kind in monolithicSparse streamOptimized; do
    img-create -q -f raw x.raw 1M
    img-convert -O vmdk -o subformat=$kind x.raw $kind.vmdk
    shows $kind.vmdk "SPARSE "
done
img-create -q -f vmdk -o subformat=cowd cowd.vmdk 1M
shows cowd.vmdk "VMFSSPARSE "

truncate -s 64k a b
{
    printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n'
    printf 'createType="custom"\nRW 128 FLAT "a" 0\nRDONLY 128 FLAT "b" 0\n'
    printf 'NOACCESS 128 FLAT "gone" 0\n'
} >custom.vmdk
shows custom.vmdk "FLAT FLAT FLAT "
equal "access as JSON" "$(sed -n 's/.*"access": "\([A-Z]*\)".*/\1/p' output | tr '\n' ' ')" \
    "RDONLY NOACCESS "
quiet img-info custom.vmdk
equal "access" "$(sed -n 's/^  *access: //p' output | tr '\n' ' ')" "RDONLY NOACCESS "
equal "names" "$(sed -n 's/^  *filename: //p' output | tr '\n' ' ')" "a b gone "
