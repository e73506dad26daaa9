#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An image from a stranger names files of its user: no tool opens them, whatever way
# the name takes, until --allow-path allows it.
. "$(dirname "$0")/lib.sh"
mkdir top top/images top/images/sub
head -c 8192 /dev/zero | tr '\0' S >top/secret
cp top/secret top/images/beside
cd top/images
ln -s ../secret link
ln -s .. folder
mkfifo fifo
img-create -q -f raw disk.raw 4k

# names NAME: an image whose only extent that is.
names()
{
    printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe parentCID=ffffffff \
        createType=\"monolithicFlat\" "RW 8 FLAT \"$1\" 0" >disk.vmdk
}

# no_tool PATTERN: says so, and no byte of the secret gets out.
no_tool()
{
    for command in info map hash "convert -O raw" "io -c 'read -v 0 512'" \
        "io -r -c 'read -v 0 512'" "amend -o toolsversion=1"; do
        target=
        case $command in convert*) target=out.raw ;; esac
        eval "refused any '$1' img-$command disk.vmdk $target"
        [ ! -e out.raw ] || fail "out.raw was made"
    done
    refused any "$1" img-compare disk.vmdk disk.raw
    refused any "$1" img-resize disk.vmdk 8k
    if img-check disk.vmdk >output 2>&1; then
        fail "img-check finds nothing wrong"
    fi
    no_secret img-check
}

no_secret()
{
    if grep -q SSS output message; then
        fail "$*: the secret got out"
    fi
}

# With any status but 0.
refused()
{
    pattern=$2
    shift 2
    if "$@" >output 2>message </dev/null; then
        fail "$*: was let"
    fi
    no_secret "$@"
    # shellcheck disable=SC2254 # the pattern is one
    case $(cat message) in
    "$1: "$pattern) ;;
    *) fail "$*: said '$(cat message)', wanted '$1: $pattern'" ;;
    esac
}

for name in ../secret "$work/top/secret" /etc/passwd link folder/secret sub/../../secret; do
    names "$name"
    no_tool '*disk.vmdk*--allow-path*'
done
names fifo
no_tool '*fifo*FIFO*'
names sub
no_tool '*sub*directory*'
names /dev/zero
no_tool '*/dev/zero*'

# What it may name, and what the user allows.
names beside
quiet img-convert -O raw disk.vmdk out.raw
head -c 4096 beside | cmp - out.raw
names ../secret
quiet img-convert --allow-path .. -O raw disk.vmdk out.raw
quiet img-info --allow-path "$work/top/secret" disk.vmdk
refused any '*--allow-path*' img-info --allow-path sub disk.vmdk

# Parents are named too.
img-create -q -f vmdk ../base.vmdk 1M
img-create -q -f vmdk -b ../base.vmdk --allow-path .. child.vmdk 2>/dev/null
quiet img-info child.vmdk
refused any '*child.vmdk*--allow-path*' img-info --backing-chain child.vmdk
refused any '*child.vmdk*--allow-path*' img-convert -O raw child.vmdk other.raw
refused any '*child.vmdk*--allow-path*' img-commit child.vmdk
quiet img-info --backing-chain --allow-path .. child.vmdk
quiet img-commit -q --allow-path .. child.vmdk
