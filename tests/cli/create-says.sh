#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-create tells what it made, in qemu-img's words, and its sizes are powers of
# 1024.
. "$(dirname "$0")/lib.sh"

equal "raw" "$(img-create x.raw 64k)" "Formatting 'x.raw', fmt=raw size=65536"
equal "vmdk" "$(img-create -f vmdk -o subformat=monolithicSparse x.vmdk 1.5M)" \
    "Formatting 'x.vmdk', fmt=vmdk size=1572864 subformat=monolithicSparse"
equal "child" "$(img-create -f vmdk -b x.vmdk -F vmdk child.vmdk)" \
    "Formatting 'child.vmdk', fmt=vmdk size=1572864 backing_file=x.vmdk backing_fmt=vmdk"
equal "size as option" "$(img-create -f vmdk -o size=3M y.vmdk)" \
    "Formatting 'y.vmdk', fmt=vmdk size=3145728"
equal "quiet" "$(img-create -q -f vmdk x.vmdk 0x100000)" ""
quiet img-info x.vmdk
has output "(1048576 bytes)"
refused 1 '*nothing*' img-create -f vmdk -b nothing.vmdk new.vmdk
[ ! -e new.vmdk ] || fail "an image was left"
