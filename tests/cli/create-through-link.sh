#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Once a creation that failed left an empty file where a link led to.
. "$(dirname "$0")/lib.sh"
ln -s made.vmdk link.vmdk
mkdir there
ln -s there there2
for name in link.vmdk plain.vmdk there2/plain.vmdk; do
    (
        ulimit -f 8 # of 512 bytes
        refused 1 '*File too large*' img-create -q -f vmdk $name 1T
    )
    [ ! -e $name ] || fail "$name is there"
done
[ -L link.vmdk ] || fail "the link went"
[ ! -e made.vmdk ] || fail "what it leads to stayed"
