#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A line added to a descriptor of CRLF lines whose last line has no end ended that one
# with a bare LF.
. "$(dirname "$0")/lib.sh"
truncate -s 1M d.img
printf '%s\r\n' '# Disk DescriptorFile' version=1 CID=12345678 parentCID=ffffffff \
    'createType="monolithicFlat"' 'RW 2048 FLAT "d.img" 0' >whole
{
    cat whole
    printf 'ddb.adapterType = "ide"'
} >d.vmdk
quiet img-amend -o toolsversion=5 d.vmdk
has d.vmdk 'ddb.toolsVersion = "5"'
equal "lines that end in a bare LF" "$(tr '\r' R <d.vmdk | grep -cv 'R$')" 0
