#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-map ended with an error at an extent that is marked NOACCESS, and did not show
# what lies behind it.
. "$(dirname "$0")/lib.sh"
printf 'RW 128 FLAT "a" 0\nNOACCESS 128 FLAT "gone" 0\nRW 128 FLAT "b" 0\n' >lines
{
    printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n'
    printf 'createType="custom"\n'
    cat lines
} >d.vmdk
for name in a b; do
    noise 65536 1 >$name
done

quiet img-map d.vmdk
equal "table" "$(tr -s ' ' <output)" "Offset Length Mapped to File
0 0x10000 0 a
0x10000 0x10000 - (no access)
0x20000 0x10000 0 b"
quiet img-map --output=json d.vmdk
equal "runs of JSON" "$(grep -c '"start"' output)" 3
equal "those without access" "$(grep '"accessible": false' output | sed 's/.*"start": \([0-9]*\),.*/\1/')" 65536
