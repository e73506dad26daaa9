#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each public header compiles alone, twice over, as strict C11 with no feature
# macro set, and without a warning.
set -eu
include=$(cd "$(dirname "$0")/../../include" && pwd)

for header in "$include"/*.h; do
    name=$(basename "$header")
    printf '#include "%s"\n#include "%s"\nextern int nothing;\n' "$name" "$name" >alone.c
    for compiler in "${CC:-cc}" clang; do
        if ! command -v "$compiler" >/dev/null; then
            continue
        fi
        echo "$compiler $name"
        "$compiler" -std=c11 -pedantic-errors -Wall -Wextra -Wshadow -Wundef \
            -Wconversion -Wstrict-prototypes -Werror -I"$include" -fsyntax-only alone.c
    done
done
