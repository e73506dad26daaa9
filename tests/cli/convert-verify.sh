#!/bin/sh
# SPDX-License-Identifier: MIT
#
# --verify reads the target again, finds what was not stored as it was read, says
# where, and gives such a target no name.
. "$(dirname "$0")/lib.sh"
disk x.raw 24
img-hash -q x.raw 2>message || skip "$(cat message)" # no nettle
noise 3000001 7 >y.raw
stream=
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message && stream=streamOptimized

cat y.raw x.raw >both.raw # the second part begins in the midst of a sector
for subformat in raw monolithicSparse monolithicFlat twoGbMaxExtentSparse $stream; do
    options="-O vmdk -o subformat=$subformat"
    [ $subformat != raw ] || options="-O raw"
    # shellcheck disable=SC2086 # several words
    quiet img-convert --verify $options x.raw one
    quiet img-compare x.raw one
    rm -f one*
done
quiet img-convert --verify y.raw x.raw two.raw
same_file both.raw two.raw
quiet img-convert --verify -S 0 x.raw full.raw
quiet img-convert --verify -n x.raw two.raw # which is longer
quiet img-convert -O vmdk x.raw parent.vmdk
quiet img-convert --verify -O vmdk -B parent.vmdk x.raw child.vmdk
mkdir there
mv parent.vmdk there
quiet img-convert --verify --allow-path there -O vmdk -B there/parent.vmdk x.raw child.vmdk
if [ -n "$stream" ]; then
    quiet img-convert -O vmdk -o subformat=streamOptimized x.raw x.vmdk
    img-convert --verify -f vmdk - y.vmdk <x.vmdk
fi
refused 1 '*standard output*img-hash*' img-convert --verify x.raw -

# A disk that keeps nothing.
: >nothing
refused 1 'nothing: *first difference*65536 bytes at offset 0' \
    img-convert --verify -n -O null x.raw nothing
truncate -s 1048576 zeros.raw
refused 1 'nothing: *first difference*65536 bytes at offset 1048576' \
    img-convert --verify -n -O null zeros.raw x.raw nothing
quiet img-convert --verify -n -O null zeros.raw nothing

# A disk that stores one byte wrong.
case "${CFLAGS:-}" in *-fsanitize*) skip "no preloading beside a sanitizer" ;; esac
cat >wrong.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/types.h>

/* The byte that is at 5000100 of x.raw comes through as another one. */
ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t offset)
{
    static unsigned char copy[1 << 24];
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");

    if (bytes <= sizeof copy && offset <= 5000100 && 5000100 < offset + (off64_t)bytes) {
        memcpy(copy, buf, bytes);
        copy[5000100 - offset] ^= 1;
        buf = copy;
    }
    return real(fd, buf, bytes, offset);
}
END
${CC:-cc} -shared -fPIC -o wrong.so wrong.c -ldl 2>/dev/null || skip "no shared object can be made"
LD_PRELOAD=$PWD/wrong.so img-convert x.raw wrong.raw
! cmp -s x.raw wrong.raw || skip "the write went another way"
rm wrong.raw
(
    LD_PRELOAD=$PWD/wrong.so
    export LD_PRELOAD
    refused 1 'wrong.raw: *first difference*65536 bytes at offset 4980736' \
        img-convert --verify x.raw wrong.raw
)
[ ! -e wrong.raw ] || fail "it got its name"
equal "leftovers" "$(leftovers)" ""
