#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every real streamOptimized image comes in through a pipe, and goes out through
# one as a stream and as raw, with the disk that the manifest says; but QEMU's
# may be refused when they come in, for their end cannot be told from a cut.  LARGE=1
# includes those of gigabytes.
. "$(dirname "$0")/lib.sh"
need_images
need xz
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message || skip "no libdeflate"
img-hash -q probe.vmdk 2>message || skip "$(cat message)" # no nettle

manifest ok vmdk | grep -i stream >list || skip "no streams"
# comes_in FILE: read once, forward.
comes_in()
{
    cat "$1" | img-hash -q -f vmdk --expect "$sum" - || fail "$path through a pipe"
    cat "$1" | img-convert -q --verify -f vmdk - out.raw
    equal "$path" "$(sha256 out.raw)" "$sum"
    cat "$1" | img-convert -q -f vmdk -O vmdk -o subformat=streamOptimized - - | cat >out.vmdk
    img-hash -q --expect "$sum" out.vmdk || fail "$path from pipe to pipe"
}

count=0
while IFS="$(printf '\t')" read -r path _ size sum; do
    [ "$size" -le 1073741824 ] || [ -n "${LARGE:-}" ] || continue
    file=$(image "$path")
    case $path in
    */qemu-*)
        if img-convert -q -f vmdk - out.raw <"$file" 2>message; then
            equal "$path" "$(sha256 out.raw)" "$sum"
        else
            has message "without an end-of-stream marker"
        fi
        ;;
    *) comes_in "$file" ;;
    esac
    equal "$path to a pipe" "$(img-convert -q "$file" - | sha256sum | cut -c -64)" "$sum"
    img-convert -q -O vmdk -o subformat=streamOptimized "$file" - |
        img-hash -q -f vmdk --expect "$sum" - || fail "$path as a stream through a pipe"
    rm -rf images out.*
    count=$((count + 1))
done <list
echo "$count streams"
[ "$count" -gt 3 ] || fail "only $count streams"
