#!/bin/sh
# SPDX-License-Identifier: MIT
#
# map and alloc of img-io tell what the image itself stores, as qemu-io does.
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk base.vmdk 1M
img-io -f vmdk -c 'write 512k 64k' base.vmdk >/dev/null
img-create -q -f vmdk -b base.vmdk -F vmdk x.vmdk
img-io -f vmdk -c 'write 0 1' -c 'write 128k 128k' x.vmdk >/dev/null

img-io -f vmdk -c map -c 'alloc 0' -c 'alloc 65536' -c 'alloc 1000 200000' \
    -c 'alloc 0 1M' x.vmdk >output
cat >wanted <<'END'
64 KiB (0x10000) bytes     allocated at offset 0 bytes (0x0)
64 KiB (0x10000) bytes not allocated at offset 64 KiB (0x10000)
128 KiB (0x20000) bytes     allocated at offset 128 KiB (0x20000)
768 KiB (0xc0000) bytes not allocated at offset 256 KiB (0x40000)
512/512 bytes allocated at offset 0 bytes
0/512 bytes allocated at offset 64 KiB
134464/200000 bytes allocated at offset 1000 bytes
196608/1048576 bytes allocated at offset 0 bytes
END
diff wanted output || fail "other than wanted"
if command -v qemu-io >/dev/null; then
    qemu-io -f vmdk -c map -c 'alloc 0' -c 'alloc 65536' -c 'alloc 0 1M' x.vmdk >theirs
    grep -v ' 1000 bytes' wanted | diff - theirs || fail "other than qemu-io"
fi
