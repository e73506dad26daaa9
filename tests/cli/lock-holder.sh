#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Who is refused because of another writer is told which process that is, of an image that
# he has named and of its parent.
. "$(dirname "$0")/lib.sh"
[ -r /proc/self/fdinfo/0 ] || skip "no /proc that tells"
img-create -q -f vmdk disk.vmdk 1M
img-create -q -f vmdk -b disk.vmdk -F vmdk child.vmdk
img-create -q other.raw 1M

# A reader is in nobody's way, and not who is meant.
mkfifo reads writes
img-io -r disk.vmdk <reads >said.by.reader &
exec 8>reads
img-io disk.vmdk <writes >said &
writer=$!
exec 9>writes
echo length >&9
echo length >&8
until [ -s said ] && [ -s said.by.reader ]; do
    sleep 0.02
done

holder="*disk.vmdk: is in use by another writer*(img-io, process $writer)*"
refused 1 "$holder" img-io -c length disk.vmdk
refused 1 "$holder" img-resize disk.vmdk 2M
refused 1 "$holder" img-create -f vmdk disk.vmdk 1M
refused 1 "$holder" img-convert -O vmdk other.raw disk.vmdk
refused 1 "$holder" img-convert -n -O vmdk other.raw disk.vmdk
# A parent is found whose name nobody has given.
refused 1 "$holder" img-io -c length child.vmdk
refused 1 "$holder" img-commit child.vmdk
refused 1 "$holder" img-commit --no-sandbox child.vmdk
exec 8>&- 9>&-
wait

# Who has a child open for writing keeps others from its parent.
mkfifo writes.to.child
img-io child.vmdk <writes.to.child >said.by.child &
writer=$!
exec 9>writes.to.child
echo length >&9
until [ -s said.by.child ]; do
    sleep 0.02
done
refused 1 "*disk.vmdk: is in use*perhaps as a parent*(img-io, process $writer)*" img-io -c length disk.vmdk
exec 9>&-
wait
quiet img-io -c length disk.vmdk
