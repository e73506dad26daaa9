#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each public header compiles alone as C++11, and a C++ program links against
# the library, so the functions in the headers have C linkage.
set -eu
include=$(cd "$(dirname "$0")/../../include" && pwd)

if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "no C++ compiler (${CXX:-c++})"
    exit 77
fi

for header in "$include"/*.h; do
    name=$(basename "$header")
    printf '#include "%s"\n#include "%s"\nextern int nothing;\n' "$name" "$name" >alone.cc
    echo "${CXX:-c++} $name"
    "${CXX:-c++}" -std=c++11 -pedantic-errors -Wall -Wextra -Wshadow -Wundef \
        -Werror -I"$include" -fsyntax-only alone.cc
done

cat >linked.cc <<'END'
#include "bdrv-driver.h"

int main()
{
    return bdrv_find("raw") == nullptr || bdrv_error(nullptr, -5, "x") != -5;
}
END
"${CXX:-c++}" ${CFLAGS:-} -std=c++11 -I"$include" linked.cc "$B/lib/libbdrv.a" ${LIBS:-} -o linked
./linked
