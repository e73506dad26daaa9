#!/bin/sh
# SPDX-License-Identifier: MIT
#
# sha256-tree can be computed from its description with nothing but sha256sum.
. "$(dirname "$0")/lib.sh"
need perl
disk x.raw 24
img-hash -q x.raw 2>message || skip "$(cat message)" # no nettle

# bytes: hexadecimal digits on stdin, as bytes.
bytes()
{
    perl -ne 's/\s//g; print pack("H*", $_)'
}

# level: the digests (one in a line) of a level, from those of the one before;
# at the end stand as many of zeros ($zeros) as are missing.
level()
{
    perl -e '
        chomp(my @digests = <STDIN>);
        push @digests, $ARGV[0] while @digests == 0 || @digests % 16;
        print join("", splice(@digests, 0, 16)), "\n" while @digests;
    ' "$zeros" | while read -r sixteen; do
        echo "$sixteen" | bytes | sha256sum | cut -c -64
    done
}

zeros=$(head -c 65536 /dev/zero | sha256sum | cut -c -64)
cp x.raw padded
truncate -s 21037056 padded
split -b 65536 --filter='sha256sum | cut -c -64' padded >digests
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
    level <digests >next
    zeros=$(for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo "$zeros"; done |
        bytes | sha256sum | cut -c -64)
    mv next digests
done
hash=$({ bytes <digests; perl -e 'print pack("Q<", 20972032)'; } | sha256sum | cut -c -64)
equal "hash" "$(img-hash --algorithm=sha256-tree x.raw)" "sha256-tree:$hash  x.raw"
