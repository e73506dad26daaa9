#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Once a file size limit killed the tool by SIGXFSZ, which left the half-made
# target: it is an error like a full disk.
. "$(dirname "$0")/lib.sh"
disk x.raw 1
mkdir small

for format in raw vmdk; do
    status=0
    (
        ulimit -f 2048 # of 512 bytes
        exec img-convert -O "$format" x.raw "small/out.$format" 2>message
    ) || status=$?
    equal "status" "$status" 1
    equal "lines" "$(wc -l <message)" 1
    has message "img-convert: small/out.$format"
    has message "File too large"
    equal "left" "$(ls -A small)" ""
done
