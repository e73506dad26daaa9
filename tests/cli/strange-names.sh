#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Names with quotes, control characters and bytes that are no UTF-8 give valid
# JSON, and messages of one line that cannot drive the terminal.
. "$(dirname "$0")/lib.sh"
name=$(printf 'a"b\\c\td\033[31m\377\303\251.raw')
img-create -q -- "$name" 1M

quiet img-info -- "$name"
has output 'a"b\c\x09d\x1b[31m\xff'"$(printf '\303\251')"'.raw'
refused 1 'no?x1b?x0athing*' img-info "$(printf 'no\033\nthing')"

# What an image calls its properties went to the terminal as it was; and JSON kept U+009B,
# which begins a command to a terminal as ESC [ does.
printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe parentCID=ffffffff \
    'createType="custom"' 'RW 8 ZERO' \
    "$(printf 'ddb.a-b\033[31m\377 = "\302\2332J\302\240"')" >keys.vmdk
quiet img-info keys.vmdk
has output 'a b\x1b[31m\xff: \xc2\x9b2J'"$(printf '\302\240')"
quiet img-info --output=json keys.vmdk
has output '"a-b\u001b[31m'"$(printf '\357\277\275')"'": "\u009b2J'"$(printf '\302\240')"'"'

# A name could be shown as another by characters that turn the order of text round.
img-create -q "$(printf 'a\342\200\256war.exe')" 1M
quiet img-info "$(printf 'a\342\200\256war.exe')"
has output 'a\xe2\x80\xaewar.exe'
quiet img-info --output=json "$(printf 'a\342\200\256war.exe')"
has output '"a\u202ewar.exe"'

need python3
img-info --output=json -- "$name" >json
python3 - <<'END'
import json
found = json.load(open("json", encoding="utf-8", errors="strict"))["filename"]
assert found == 'a"b\\c\td\033[31m\ufffd\u00e9.raw', repr(found)
END
