#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-hash says the same of a disk whatever holds it, and sha256 is that of the
# raw file; what is expected decides the exit status.
. "$(dirname "$0")/lib.sh"
disk x.raw 24
img-hash -q x.raw 2>message || skip "$(cat message)" # no nettle
quiet img-convert -O vmdk x.raw x.vmdk
quiet img-create -f vmdk -b x.vmdk child.vmdk
sum=$(sha256 x.raw)

quiet img-hash x.raw x.vmdk child.vmdk
printf 'sha256:%s  %s\n' "$sum" x.raw "$sum" x.vmdk "$sum" child.vmdk >wanted
same_file output wanted

# expected HASH: each of them has it, and says so by its status alone.
expected()
{
    quiet img-hash -q --expect "$1" x.vmdk x.raw
    [ ! -s output ] || fail "-q, and '$(cat output)'"
}
expected "sha256:$sum"
expected "$sum"
expected "$(echo "$sum" | tr a-f A-F)"
tree=$(img-hash --algorithm sha256-tree x.raw | cut -d ' ' -f 1)
expected "$tree"

# A different disk: both hashes are named, and the others are looked at too.
cp x.raw y.raw
printf X | put y.raw 20972031
other=$(sha256 y.raw)
refused 1 "y.raw*sha256:$other*sha256:$sum" img-hash --expect "sha256:$sum" y.raw x.raw
has output "sha256:$sum  x.raw"
refused 2 'no.raw: *' img-hash x.raw no.raw x.vmdk
has output "sha256:$sum  x.vmdk"

refused 2 '*md5*sha256-tree*' img-hash --algorithm md5 x.raw
refused 2 '*md5*' img-hash --expect "md5:$sum" x.raw
refused 2 '*64*' img-hash --expect sha256:12 x.raw
refused 2 '*64*' img-hash --expect "sha256:${sum}0" x.raw
refused 2 'both*' img-hash --algorithm sha256-tree --expect "$sum" x.raw
refused 2 '*number of threads*' img-hash -m 0 x.raw

quiet img-hash --output json --expect "$sum" x.vmdk
cat >wanted <<END
[
    {
        "filename": "x.vmdk",
        "format": "vmdk",
        "virtual-size": 20972032,
        "algorithm": "sha256",
        "hash": "$sum",
        "as-expected": true
    }
]
END
same_file output wanted

# A stream on standard input.
quiet img-convert -O vmdk -o subformat=streamOptimized x.raw stream.vmdk || exit 0 # no libdeflate
equal "stream" "$(img-hash -f vmdk - <stream.vmdk)" "sha256:$(img-hash stream.vmdk | cut -c 8-71)  -"
