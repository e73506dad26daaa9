#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A driver that was compiled against the headers of an earlier release works
# with the library of today: the frozen driver, in a shared object of its own,
# is loaded, registered and used at run time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
flags="-std=c11 ${CFLAGS:-} ${LDFLAGS:-}"

"${CC:-cc}" $flags -fPIC -shared -I"$here/v0.1" "$here/driver-v0.1.c" -o driver.so
"${CC:-cc}" $flags -I"$here/../../include" "$here/host.c" -o host \
    -L"$B/lib" -Wl,-rpath,"$B/lib" -lbdrv -ldl

truncate -s 64k disk.img
./host ./driver.so disk.img
