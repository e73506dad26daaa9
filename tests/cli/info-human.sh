#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The text of img-info has qemu-img's lines.
. "$(dirname "$0")/lib.sh"
disk x.raw 16
mkdir sub
img-convert -O vmdk x.raw sub/base.vmdk
img-create -q -f vmdk -b base.vmdk -F vmdk sub/child.vmdk

quiet img-info sub/child.vmdk
has output "image: sub/child.vmdk"
has output "file format: vmdk"
has output "virtual size: 20 MiB (20972032 bytes)"
has output "disk size: "
has output "cluster_size: 65536"
has output "backing file: base.vmdk (actual path: sub/base.vmdk)"
has output "backing file format: vmdk"
has output "Format specific information:"
has output "    create type: monolithicSparse"
quiet img-info --backing-chain sub/child.vmdk
has output "image: sub/base.vmdk"
equal "images" "$(grep -c '^image: ' output)" 2
if command -v qemu-img >/dev/null; then
    img-info sub/child.vmdk | sed '/^Format/q;/^disk size/d' >ours
    qemu-img info sub/child.vmdk | sed '/^Format/q;/^disk size/d' >theirs
    diff theirs ours || fail "the lines differ"
fi
