#!/bin/sh
# SPDX-License-Identifier: MIT
#
# `make install` gives a tree from which a program that knows nothing but
# `pkg-config bdrv` compiles and runs, with the shared and with the static
# library; `make uninstall` leaves no file of it behind.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
stage=$PWD/stage

if ! command -v pkg-config >/dev/null; then
    echo "no pkg-config"
    exit 77
fi

set -- -C "$source" DESTDIR="$stage" prefix=/opt/bdrv
"${MAKE:-make}" -s "$@" install

cat >consumer.c <<'END'
#include <bdrv-driver.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char header[32];
    snprintf(header, sizeof(header), "%d.%d.%d", BDRV_VERSION_MAJOR,
             BDRV_VERSION_MINOR, BDRV_VERSION_PATCH);
    return strcmp(header, bdrv_version()) != 0 || bdrv_find("raw") == NULL;
}
END
PKG_CONFIG_PATH=$stage/opt/bdrv/lib/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$stage
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
compile="${CC:-cc} -std=c11 ${CFLAGS:-} ${LDFLAGS:-} consumer.c"

$compile $(pkg-config --cflags --libs bdrv) -o shared
LD_LIBRARY_PATH=$stage/opt/bdrv/lib ./shared

# The static library wants what Libs.private and Requires.private name.
unset PKG_CONFIG_SYSROOT_DIR
$compile -I"$stage/opt/bdrv/include" "$stage/opt/bdrv/lib/libbdrv.a" \
    $(pkg-config --static --libs-only-l --libs-only-other bdrv | sed 's/-lbdrv//') -o static
./static

# The tools answer to their installed names and need no library path.
"$stage/opt/bdrv/bin/img-info" --help >/dev/null
test "$(pkg-config --modversion bdrv)" = "$("$stage/opt/bdrv/bin/img" --version |
    sed -n 's/.*[^0-9.]\([0-9][0-9]*\.[0-9.]*[0-9]\).*/\1/p' | head -n 1)"

"${MAKE:-make}" -s "$@" uninstall
left=$(find "$stage" ! -type d)
if [ -n "$left" ]; then
    echo "uninstall left: $left"
    exit 1
fi
