#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The program does what the name it was called by says, and its messages start
# with that name.
. "$(dirname "$0")/lib.sh"
img=$(command -v img)
for name in img-info my-info qemu-img qemu-io other; do
    ln -s "$img" $name
done
img-create -q x.raw 1M

refused 1 'nothing*' ./img-info nothing
refused 1 'nothing*' ./my-info nothing
refused 1 'nothing*' ./qemu-img info nothing
refused 1 'nothing*' ./qemu-io -c length nothing
refused 1 "*'info-not'*" ./other info-not
equal "qemu-io" "$(./qemu-io -f raw -c length x.raw)" "1 MiB"
equal "img io" "$(img io -f raw -c length x.raw)" "1 MiB"
quiet ./qemu-img info x.raw
has output "file format: raw"
quiet ./qemu-img convert --help
has output "usage: qemu-img convert "
quiet img-convert --help
has output "usage: img-convert "
equal "version" "$(./qemu-img --version)" "qemu-img $(img --version | sed 's/^img //')"
