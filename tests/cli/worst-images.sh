#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Images of a few KiB, made to be slow or large, cost no tool a gigabyte of memory, a minute
# of processor time or more descriptors than a process has.  What becomes of them is for
# other tests; here a tool must end by itself, with an answer or with an error.
# (vmdk/t-resources does the same to the library.)
. "$(dirname "$0")/lib.sh"
case ${CFLAGS:-} in
*-fsanitize*) skip "a sanitizer reserves terabytes" ;;
esac
[ -z "${RUNNER:-}" ] || skip "another program runs the tools"

# little_endian BYTES VALUE: the number as so many bytes.
little_endian()
{
    value=$2
    for _ in $(seq "$1"); do
        # shellcheck disable=SC2059 # the format is made here
        printf "\\$(printf %03o $((value % 256)))"
        value=$((value / 256))
    done
}

# set_field FILE OFFSET BYTES VALUE
set_field()
{
    little_endian "$3" "$4" | put "$1" "$2"
}

descriptor()
{
    printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=%s\n' "$1"
    printf 'createType="custom"\n'
}

# bounded COMMAND...
bounded()
{
    status=0
    (
        ulimit -v 1000000 # KiB
        ulimit -t 60
        ulimit -n 64
        exec "$@" >output 2>message </dev/null
    ) || status=$?
    [ "$status" -lt 64 ] || fail "$*: status $status: $(head -c 300 message)"
    if [ "$status" -ne 0 ] && [ ! -s message ] && [ ! -s output ]; then
        fail "$*: status $status and not a word"
    fi
}

# Directories of 2^23 entries that are holes: a disk of 256 TiB.  (Its descriptor, which
# said 1 MiB, used to count, so that nothing large was tried here.)
img-create -q -f vmdk tables.bin 1M
tables=$((1 << 23))
truncate -s 512 tables.bin # the rest becomes a hole
set_field tables.bin 12 8 $((tables * 512 * 128))
set_field tables.bin 28 8 0 # no descriptor
set_field tables.bin 36 8 0
set_field tables.bin 56 8 $((21 + tables * 4 / 512))
set_field tables.bin 64 8 $((21 + 2 * tables * 4 / 512))
truncate -s $(((21 + 2 * tables * 4 / 512) * 512)) tables.bin
{
    descriptor ffffffff
    printf 'RW %d SPARSE "tables.bin"\n' $((tables * 512 * 128))
} >tables.vmdk
quiet img-info tables.vmdk
has output "256 TiB"

# All the disk that a header can claim.
img-create -q -f vmdk endless.vmdk 1M
set_field endless.vmdk 12 8 $(((1 << 54) - 1))

# Its own parent, and a chain that is longer than any may be.
{
    descriptor 12345678
    printf 'parentFileNameHint="loop.vmdk"\nRW 100 ZERO\n'
} >loop.vmdk
{
    descriptor ffffffff
    printf 'RW 100 ZERO\n'
} >link0.vmdk
for i in $(seq 300); do
    {
        descriptor 12345678
        printf 'parentFileNameHint="link%d.vmdk"\nRW 100 ZERO\n' $((i - 1))
    } >"link$i.vmdk"
done

# Thousands of extents without a file, and hundreds with one each.
{
    descriptor ffffffff
    awk 'BEGIN { for (i = 0; i < 20000; i++) print "RW 1 ZERO" }'
} >lines.vmdk
{
    descriptor ffffffff
    for i in $(seq 300); do
        printf 'RW 8 FLAT "part%d" 0\n' "$i"
        truncate -s 4096 "part$i"
    done
} >parts.vmdk

for image in tables endless loop link300 link100 lines parts; do
    bounded img-info "$image.vmdk"
    bounded img-info --backing-chain "$image.vmdk"
    bounded img-map "$image.vmdk"
    bounded img-map --output=json "$image.vmdk"
    bounded img-check "$image.vmdk"
    bounded img-hash --algorithm sha256-tree "$image.vmdk" # sha256 takes every zero
    bounded img-convert -O vmdk -o subformat=streamOptimized "$image.vmdk" out.vmdk
    rm -f out.vmdk
done

# Packages whose OVF and manifest are long.  Each disk of an OVF had all of its hardware
# looked through, and each piece of hardware all of the text behind it; each line of a
# manifest had its file hashed.  repeat COUNT LINE
repeat()
{
    awk -v count="$1" -v line="$2" 'BEGIN { for (i = 0; i < count; i++) print line }'
}
{
    descriptor ffffffff
    printf 'RW 100 ZERO\nddb.adapterType = "ide"\n'
} >d
{
    echo '<File href="d" id="f"/>'
    repeat 400 '<Disk fileRef="f" diskId="x"/>'
    repeat 40000 '<Item '
    repeat 200000 :Disk
} >p.ovf
truncate -s 20M zeros.txt
repeat 10000 'SHA256(zeros.txt)= 0' >p.mf
if command -v tar >/dev/null; then
    tar -cf hardware.ova p.ovf d
    tar -cf digests.ova d p.mf zeros.txt
    bounded img-check --for vsphere-ovf hardware.ova
    bounded img-check --for vsphere-ovf digests.ova
fi

# Those that are sound are read, however few files may be open.
for image in link40 lines parts; do
    (
        ulimit -n 64
        quiet img-convert -O raw "$image.vmdk" out.raw
    )
    equal "zeros of $image" "$(tr -d '\0' <out.raw | wc -c)" 0
    rm out.raw
done
