#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The commands of img-io do to an image what they say, in each format.
. "$(dirname "$0")/lib.sh"

for format in raw vmdk; do
    img-create -q -f $format x 1M
    img-io -f $format x -c 'write -P 0xaa 0 64k' -c 'w -P 17 100000 5000' \
        -c 'read -P 0xaa 0 64k' -c 'r -P 17 -q 100000 5000' \
        -c 'read -P 0 65536 34464' -c 'read -P 17 -s 1000 -l 5000 99000 10000' \
        -c 'write -z 32k 8k' -c 'read -P 0 32k 8k' -c 'read -P 0xaa 0 32k' \
        -c 'write -q 200k 1k' -c 'read -q -P 0xcd 200k 1k' \
        -c 'write -f 0 512' -c flush -c length -c info -c 'sleep 1' \
        -c 'read -v 100000 3' -c quit -c nonsense >output 2>message ||
        fail "$format: $(cat output message)"
    [ ! -s message ] || fail "$format: $(cat message)"
    has output "wrote 65536/65536 bytes at offset 0"
    has output "64 KiB, 1 ops; "
    has output "read 65536/65536 bytes at offset 0"
    has output "000186a0:  11 11 11  ..."
    has output "1 MiB"
    has output "format name: $format"
    ! grep -q 'failed\|at offset 204800' output || fail "$format: $(cat output)"
    rm x
done
