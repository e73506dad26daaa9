#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tools found no extent whose name is in the encoding that the descriptor states,
# because what converts it was to be loaded when the sandbox was closed.
. "$(dirname "$0")/lib.sh"

# describe ENCODING-LINE NAME
describe()
{
    printf '# Disk DescriptorFile\nversion=1\n%s\nCID=12345678\nparentCID=ffffffff\n' "$1"
    printf 'createType="monolithicFlat"\nRW 2048 FLAT "'
    printf "$2"
    printf '" 0\n'
}

truncate -s 1M "$(printf 'caf\303\251.img')"
describe 'encoding="windows-1252"' 'caf\351.img' >e.vmdk
img-info --no-sandbox e.vmdk >/dev/null 2>&1 || skip "iconv does not know windows-1252"
quiet img-info e.vmdk
quiet img-map e.vmdk
quiet img-check e.vmdk
quiet img-compare e.vmdk e.vmdk
quiet img-convert -O raw e.vmdk out.raw
quiet img-io -c 'write -P 7 0 64k' e.vmdk
quiet img-create -f vmdk -b e.vmdk link.vmdk
describe 'ENCODING = windows-1252' 'caf\351.img' >e.vmdk
quiet img-info e.vmdk

# What cannot be done is said, and nothing else is loaded.
describe 'encoding="ISO-2022-CN-EXT"' 'caf\351.img' >e.vmdk
refused 1 "*in the encoding ISO-2022-CN-EXT, which cannot be converted here: *" img-info e.vmdk
describe 'encoding="GBK"' 'caf\351.img' >e.vmdk
refused 1 "*in the encoding GBK, *" img-info e.vmdk

# The look before once opened pipes and closed them again, which ends their writers.
command -v strace >/dev/null || exit 0
mkfifo pipe
ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" strace -f -o opened -e trace=open,openat,openat2 \
    img-info pipe >output 2>&1 </dev/null || true
has output "pipe: is a FIFO"
equal "times that the pipe was opened for reading" "$(grep '"pipe"' opened | grep -cv O_PATH)" 0
