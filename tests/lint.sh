#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/lint.sh - the rules of the tree that a compiler does not see.
# Prints each breach and fails if there is one.
set -u
cd "$(dirname "$0")/.." || exit 1
breaches=0

# Reads lines of breaches of RULE.
breach() {
    found=$(cat)
    if [ -n "$found" ]; then
        printf '%s:\n%s\n' "$1" "$found" | sed '2,$s/^/    /'
        breaches=$((breaches + 1))
    fi
}
# A here-document keeps breach() in this shell, where it can count.
check() {
    rule=$1
    shift
    breach "$rule" <<END
$("$@" 2>/dev/null)
END
}

sources() { find block drivers tools include tests -name '*.[ch]' ! -path '*/v0.*'; }

long_functions() {
    ctags --version | grep -q Universal || return
    sources | sort | ctags -L - --c-kinds=f --fields=+ne -f - | awk -F '\t' '{
        for (i = 4; i <= NF; i++) {
            if ($i ~ /^line:/) first = substr($i, 6)
            if ($i ~ /^end:/) last = substr($i, 5)
        }
        if (last - first + 1 > 60) print $2 ":" first ": " $1 ": " last - first + 1 " lines"
    }'
}
# bdrv.h is mostly text: it is the manual.
long_files() {
    sources | xargs wc -l | awk '$2 != "total" && $1 > ($2 == "include/bdrv.h" ? 700 : 600) {
        print $2 ": " $1 " lines"
    }'
}
no_licence() {
    { sources; find tests tools .ci -name '*.sh'; } |
        grep -v '^tests/examples/readme.c$' | while read -r f; do
            head -n 2 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f"
        done
}
private_header() { grep -rlE 'include *"(block/)?block_int\.h"' drivers tools tests; }
tools_see() {
    grep -nE '#include *[<"]bdrv' tools/*.c tools/*.h | grep -v '[<"]bdrv\.h[>"]'
}
drivers_see() {
    grep -rnE '#include *"' drivers --include='*.[ch]' |
        grep -vE '"(bdrv|bdrv-driver|bdrv-bytes)\.h"' | while IFS= read -r line; do
            header=$(printf '%s' "$line" | sed 's/.*"\(.*\)".*/\1/')
            [ -f "$(dirname "${line%%:*}")/$header" ] || printf '%s\n' "$line"
        done
}
formats_in_core() { grep -nwE '(vmdk|qcow2?|vhdx?|vdi)_[a-z_]+' block/*.c block/*.h; }
descriptors() {
    grep -rnE '(^|[^a-zA-Z_>.*])(open|openat|fopen|pread|pwrite|fstat|lseek|mkstemp|unlink)\(' \
        block drivers --include='*.[ch]' | grep -v '^drivers/file[./]' |
        grep -vE ':[0-9]+: *(/?\*|//)'
}

check "functions of more than 60 lines" long_functions
check "files of more than 600 lines" long_files
check "files without their SPDX line" no_licence
check "block_int.h outside block/" private_header
check "tools that see more than bdrv.h" tools_see
check "drivers that see more than the installed headers and their own" drivers_see
check "a format's name inside block/" formats_in_core
check "host files touched outside the file driver" descriptors

command -v ctags >/dev/null || echo "lint: no ctags, function lengths were not checked"
[ "$breaches" -eq 0 ]
