#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each option and each command of qemu-img is there, or is refused by a sentence
# that says what to do instead: none is an unknown word.
. "$(dirname "$0")/lib.sh"
need qemu-img
qemu-img --help | sed -n '/^Command syntax:/,/^$/p' | grep '^  ' >syntax
[ "$(wc -l <syntax)" -gt 10 ] || fail "qemu-img --help is not as it was"
truncate -s 1M x.raw

count=0
while read -r command options; do
    if ! img "$command" --help >/dev/null 2>message; then
        has message "there is no command '$command': "
        continue
    fi
    for option in $(echo "$options" | tr '[]|()' '     ' | tr ' ' '\n' |
        grep -E '^--?[a-zA-Z]' | cut -d = -f 1 | sort -u); do
        img "$command" "$option" no-such-value >output 2>message </dev/null || :
        ! grep -q 'unrecognized option' message || fail "$command: $(cat message)"
        count=$((count + 1))
    done
done <syntax
[ "$count" -gt 50 ] || fail "only $count options"

refused 1 '--object: *secrets*' img-info --object secret,id=a x.raw
refused 1 '--image-opts: *--open-option*' img-convert --image-opts driver=raw y.raw
refused 1 '--target-image-opts: *-O*' img-convert -n --target-image-opts x.raw driver=raw
refused 1 "*'snapshot'*img create -b*" img snapshot -l x.raw
refused 1 '--preallocation=full: *' img-resize --preallocation=full x.raw 2M
equal "files" "$(echo ./*.raw)" "./x.raw"
