#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Chains that img-commit and img-rebase have changed are what qemu-img takes them
# for.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io

# same IMAGE: to us and to the others it reads like wanted.raw.
same()
{
    quiet img-compare -f vmdk -F raw "$1" wanted.raw
    qemu-img compare -q -f vmdk -F raw "$1" wanted.raw || fail "$1 differs to qemu-img"
    qemu-img check -q "$1" || fail "$1: $(qemu-img check "$1" 2>&1)"
}

disk x.raw 30
cp x.raw wanted.raw
qemu-io -f raw -c 'write -P 9 100k 300k' -c 'write -z 5M 1M' wanted.raw >/dev/null
for child in monolithicSparse twoGbMaxExtentSparse vmfsSparse; do
    rm -f ./*.vmdk
    img-convert -O vmdk x.raw base.vmdk
    cp base.vmdk other.vmdk
    img-create -q -f vmdk -o subformat=$child -b base.vmdk -F vmdk child.vmdk
    quiet img-io -c 'write -P 9 100k 300k' -c 'write -z 5M 1M' child.vmdk
    quiet img-rebase -b other.vmdk -F vmdk child.vmdk
    same child.vmdk
    has_parent=$(img-info child.vmdk | grep 'backing file')
    case $has_parent in *other.vmdk*) ;; *) fail "$child: $has_parent" ;; esac
    quiet img-rebase -u -b base.vmdk child.vmdk
    same child.vmdk
    quiet img-commit child.vmdk
    has output "Image committed."
    same child.vmdk
    same base.vmdk
    quiet img-io -c 'write -P 9 100k 300k' child.vmdk
    quiet img-rebase -b "" child.vmdk
    rm base.vmdk
    same child.vmdk
    ! img-info child.vmdk | grep -q 'backing file' || fail "$child still has a parent"
done
refused 1 '*no backing image*' img-commit child.vmdk
refused 1 '*-b FILE*' img-rebase child.vmdk
refused 1 '*-d*' img-commit -d child.vmdk
