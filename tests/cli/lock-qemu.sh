#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img and qemu see each other's locks, whoever comes first: there is one writer.
# Readers of ours are let in beside a writer, and hinder none; those of qemu want an
# image with metadata unchanged.  A parent has no writer while a child has one.
. "$(dirname "$0")/lib.sh"
need qemu-io

# holding COMMAND...: runs it on $image until let_go; it has the image open when this returns.
holding()
{
    mkfifo commands
    "$@" ${image:-disk.img} <commands >said 2>&1 &
    exec 9>commands
    echo 'read 0 512' >&9
    until grep -qs 512/512 said; do
        kill -0 $! 2>/dev/null || fail "$*: $(cat said)"
        sleep 0.02
    done
}

let_go()
{
    exec 9>&-
    wait
    rm commands said
}

theirs_refused()
{
    if qemu-io -f "$format" "$@" -c 'read 0 512' disk.img >said.too 2>&1; then
        fail "qemu-io $* was let in"
    fi
    grep -q 'Failed to get' said.too || fail "qemu-io $*: $(cat said.too)"
}

for format in raw vmdk; do
    img-create -q -f $format disk.img 1M

    holding img-io -f $format
    theirs_refused
    [ $format = raw ] || theirs_refused -r
    quiet qemu-io -f $format -r -U -c 'read 0 512' disk.img
    let_go

    holding img-io -f $format -r
    quiet qemu-io -f $format -c 'write 0 512' disk.img
    quiet qemu-io -f $format -r -c 'read 0 512' disk.img
    let_go

    holding qemu-io -f $format
    refused 1 '*in use by another writer*qemu-io*' img-io -f $format -c length disk.img
    refused 1 '*in use*' img-create -f $format disk.img 1M
    quiet img-io -f $format -r -c 'read 0 512' disk.img
    quiet img-io -f $format -s -c 'write 0 512' disk.img
    quiet img-info disk.img
    let_go

    holding qemu-io -f $format -r
    [ $format = raw ] || refused 1 '*wants it unchanged*qemu-io*' img-io -f $format -c length disk.img
    quiet img-io -f $format -r -c 'read 0 512' disk.img
    let_go

    quiet img-io -f $format -c 'write 0 512' disk.img
    quiet qemu-io -f $format -c 'write 0 512' disk.img
done

img-create -q -f vmdk disk.img 1M
img-create -q -f vmdk -b disk.img -F vmdk child.img
image=child.img
format=vmdk
holding img-io
theirs_refused
quiet qemu-io -f vmdk -r -c 'read 0 512' disk.img
let_go

holding qemu-io -f vmdk
refused 1 '*wants it unchanged, perhaps as a parent*qemu-io*' img-io -c length disk.img
let_go

image=disk.img
holding qemu-io -f vmdk
refused 1 '*backing image*in use by another writer*shows through*qemu-io*' img-io -c length child.img
quiet img-io -r -c 'read 0 512' child.img
let_go
quiet img-io -c 'write 0 512' child.img
