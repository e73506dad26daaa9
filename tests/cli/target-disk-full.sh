#!/bin/sh
# SPDX-License-Identifier: MIT
#
# When the disk gets full the message says so, no target is left looking
# finished, and what was there before is still there.  The file size limit stands
# for a full disk where we may not mount one.
. "$(dirname "$0")/lib.sh"
disk x.raw 1
head -c 3000000 /dev/urandom | put x.raw 14000000 # which nothing compresses
mkdir small

limited()
{
    (
        trap '' XFSZ
        ulimit -f 2048 # of 512 bytes
        exec "$@"
    )
}
if mount -t tmpfs -o size=1m none small 2>/dev/null; then
    trap 'umount "$work/small"; rm -rf "$work"' EXIT
    run=
    reason='*No space left on device*'
else
    run=limited
    reason='*File too large*'
fi

# try KIND: the options for it, and the conversion.
try()
{
    case $1 in
    raw) $run img-convert x.raw small/out.img 2>message ;;
    *) $run img-convert -O vmdk -o "subformat=$1" x.raw small/out.img 2>message ;;
    esac
}

for kind in raw monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
    vmfs vmfsPreallocated vmfsSparse cowd streamOptimized; do
    status=0
    try $kind || status=$?
    equal "status of $kind" "$status" 1
    equal "lines of $kind ($(cat message))" "$(wc -l <message)" 1
    # shellcheck disable=SC2254 # the pattern is one
    case $(cat message) in
    */.img-*) fail "$kind: named a temporary file: $(cat message)" ;;
    "img-convert: small/"$reason) ;;
    *) fail "$kind: said $(cat message)" ;;
    esac
    equal "left of $kind" "$(ls -A small)" ""
done

echo "the old one" >small/out.raw
! $run img-convert x.raw small/out.raw 2>message || fail "no failure"
equal "old target" "$(cat small/out.raw)" "the old one"
equal "left" "$(ls -A small)" "out.raw"
