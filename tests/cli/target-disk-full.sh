#!/bin/sh
# SPDX-License-Identifier: MIT
#
# When the disk gets full the message says so, no target is left looking
# finished, and what was there before is still there.  The file size limit stands
# for a full disk where we may not mount one.
. "$(dirname "$0")/lib.sh"
disk x.raw 1
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

for format in raw vmdk; do
    # shellcheck disable=SC2086 # empty or one word
    status=0
    $run img-convert -O "$format" x.raw "small/out.$format" 2>message || status=$?
    equal "status" "$status" 1
    equal "lines" "$(wc -l <message)" 1
    # shellcheck disable=SC2254 # the pattern is one
    case $(cat message) in
    "img-convert: small/out.$format"$reason) ;;
    *) fail "said $(cat message)" ;;
    esac
    equal "left" "$(ls -A small)" ""
done

echo "the old one" >small/out.raw
! $run img-convert x.raw small/out.raw 2>message || fail "no failure"
equal "old target" "$(cat small/out.raw)" "the old one"
equal "left" "$(ls -A small)" "out.raw"
