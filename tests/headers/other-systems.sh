#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What is only compiled on other systems than Linux compiles: OpenBSD's sandbox, and all that
# stands in for what a host does not have.  (That it works is for a test on such a system.)
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)

cat >openbsd.h <<'END'
int unveil(const char *path, const char *permissions);
int pledge(const char *promises, const char *execpromises);
END
# As if the system's headers had none of these.
cat >bare.h <<'END'
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
END
for macro in F_OFD_SETLK F_GETPIPE_SZ O_DIRECT O_TMPFILE SEEK_DATA SEEK_HOLE RUSAGE_THREAD \
    FALLOC_FL_PUNCH_HOLE FALLOC_FL_KEEP_SIZE FALLOC_FL_ZERO_RANGE POSIX_FADV_DONTNEED SYNC_FILE_RANGE_WRITE; do
    echo "#undef $macro" >>bare.h
done

compile()
{
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -U__linux__ "$@" -Wall -Wextra -Wpedantic \
        -Wshadow -Wundef -Wvla -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Werror \
        -I"$top/include" -I"$top/block" -c -o /dev/null "$file"
}

for file in $(grep -lE '^#(if|elif)' "$top"/block/*.c "$top"/drivers/file/*.c "$top"/tools/*.c); do
    echo "$file"
    compile -include bare.h
    compile -include openbsd.h -D__OpenBSD__
done
