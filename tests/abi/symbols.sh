#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the libraries show to a linker: every global symbol starts with bdrv_,
# the shared library exports exactly the functions that the public headers
# declare, and nothing in it can print, exit or read the environment.
set -eu
include=$(cd "$(dirname "$0")/../../include" && pwd)

case ${CFLAGS:-} in
*-fsanitize*)
    echo "sanitizers add symbols of their own"
    exit 77
    ;;
esac
if ! command -v nm >/dev/null; then
    echo "no nm"
    exit 77
fi

nm -g --defined-only "$B/lib/libbdrv.a" | awk 'NF == 3 { print $3 }' | sort -u >static
if grep -v '^bdrv_' static; then
    echo "libbdrv.a: global symbols that do not start with bdrv_"
    exit 1
fi

# A declaration ends in ";" and is not inside a comment (those lines start
# with " *" or hold "/*"), so each of these names must be there to link with.
cat "$include/bdrv.h" "$include/bdrv-hash.h" "$include/bdrv-driver.h" |
    sed -n '/^[a-zA-Z].*[ *]\(bdrv_[a-z0-9_]*\)(.*/s//\1/p' | sort -u >declared
if [ "$(wc -l <declared)" -lt 50 ]; then
    echo "found only $(wc -l <declared) declarations: has the headers' layout changed?"
    exit 1
fi
nm -D --defined-only "$B/lib/libbdrv.so" | awk '$2 != "A" { print $3 }' | sort -u >exported
if ! diff declared exported; then
    echo "(<: declared but not exported by libbdrv.so, >: the other way round)"
    exit 1
fi

nm -u "$B/lib/libbdrv.a" | awk 'NF == 2 { print $2 }' | sort -u >imported
if grep -xE '(__)?v?f?(printf|puts|putchar|putc)(_chk)?|perror|std(out|err)|_?_?exit|_Exit|quick_exit|(secure_)?getenv|setenv|putenv|signal|sigaction|setlocale|umask|chdir|system|popen|fork' imported; then
    echo "libbdrv.a uses what a library must not"
    exit 1
fi
