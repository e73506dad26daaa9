#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-amend changes what is recorded, and says what can be.
. "$(dirname "$0")/lib.sh"

img-create -q -f vmdk x.vmdk 64M
quiet img-amend -f vmdk -o help
has output "adapter_type"
quiet img-amend -o help x.vmdk
has output "parent_hint"
quiet img-amend -o adapter_type=lsilogic,hwversion=9 -o cid=12345678 x.vmdk
[ ! -s output ] || fail "it said: $(cat output)"
img-info x.vmdk >info
has info "lsilogic"
has info "cid: 305419896"
refused 1 '*adapter_type*' img-amend -o adapter_type=floppy x.vmdk
refused 1 '*thin*' img-amend -o thin=on x.vmdk
refused 1 '*-o K=V*' img-amend x.vmdk
refused 1 '*raw*' img-amend -f raw -o help
if command -v qemu-img >/dev/null; then
    qemu-img check -q x.vmdk || fail "qemu-img check"
fi
