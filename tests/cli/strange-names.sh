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
need python3
img-info --output=json -- "$name" >json
python3 - <<'END'
import json
found = json.load(open("json", encoding="utf-8", errors="strict"))["filename"]
assert found == 'a"b\\c\td\033[31m\ufffd\u00e9.raw', repr(found)
END
