#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The interchange tables in README: each kind of VMDK made here and read and written
# by the other programs that are installed, and the other way round.  Every cell is run:
#
#     yes    the other program reads the same bytes, or we read what it wrote
#     no     it says that it cannot
#     WRONG  it succeeds, with other bytes; of a write: it succeeds, and what we read
#            then are other bytes, or the image is destroyed
#
# README must have what is found.  `make interchange` puts it there.  All rows take a
# while: but for LARGE=1 only some are made.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io 7z pkg-config timeout
pkg-config --exists libvmdk || skip "no libvmdk to develop with"
${CC:-cc} -o vmdk-cat "$tests/vmdk-cat.c" $(pkg-config --cflags --libs libvmdk) 2>message ||
    skip "vmdk-cat: $(cat message)"
readme=$tests/../../README.md

# Cells are about these versions.
versions="qemu-img $(qemu-img --version | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p'), \
libvmdk $(pkg-config --modversion libvmdk), \
7-Zip $(7z i 2>/dev/null | sed -n '/^7-Zip/s/.* \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)"

# ------------------------------------------------------------------- disks

size=6291456
truncate -s $size x.raw
noise 500000 1 | put x.raw 0
noise 3000000 1 | put x.raw 1000000
noise 65536 1 | put x.raw $((size - 65536))
truncate -s $size zeros.raw
truncate -s $size se.raw
noise 4096 5 | put se.raw 0
noise 4096 6 | put se.raw 4096

# What "writes" writes: over data, beside it, and where nothing is.
writes='write -q -P 9 1M 100k;write -q -P 8 65000 1000;write -q -P 7 4M 64k'

# qemu_writes FILE [FORMAT], we_write FILE [FORMAT]: those.
qemu_writes()
{
    echo "$writes" | tr ';' '\n' | timeout 60 qemu-io -f "${2:-vmdk}" "$1" >said 2>&1 &&
        ! grep -q 'failed\|Error\|error\|cannot\|not supported' said
}
we_write()
{
    echo "$writes" | tr ';' '\n' | img-io -f "${2:-vmdk}" "$1" >said 2>&1 &&
        ! grep -q '^img-io: ' said
}
cp x.raw written.raw
qemu_writes written.raw raw || fail "qemu-io on raw: $(cat said)"
cp x.raw we-wrote.raw
we_write we-wrote.raw raw || fail "img-io on raw: $(cat said)"
same_file written.raw we-wrote.raw

# ------------------------------------------------------------------- cells

# verdict WANTED COMMAND...: what the command, which writes a disk on standard
# output or to out.raw, makes of it.
verdict()
{
    wanted=$1
    shift
    rm -f out.raw
    if ! "$@" >stdout 2>said; then
        echo no
        return
    fi
    [ -f out.raw ] || mv stdout out.raw
    if cmp "$wanted" out.raw >/dev/null 2>&1; then echo yes; else echo WRONG; fi
}
qemu_reads() { timeout 60 qemu-img convert -f vmdk -O raw "$1" out.raw; }
libvmdk_reads() { timeout 60 ./vmdk-cat "$@"; }
seven_reads() { timeout 60 7z x -tvmdk -so "$1"; }
we_read() { img-convert -f vmdk "$1" out.raw; }

# written WANTED IMAGE WRITER READER: the writer writes, the other side reads.
written()
{
    if ! "$3" "$2"; then
        echo no
        return
    fi
    case $(verdict "$1" "$4" "$2") in
    yes) echo yes ;;
    *) echo WRONG ;; # the writer has said that all is well
    esac
}

# ------------------------------------------------------------------- kinds

# make_ours KIND: ours.vmdk, whose disk is $disk; its parent, if any, is $parent.
# $after is what it must be after the writes.
make_ours()
{
    rm -rf kind
    mkdir kind
    cd kind
    disk=../x.raw after=../written.raw parent=
    case $1 in
    seSparse)
        disk=../se.raw
        img-create -q -f vmdk -o subformat=seSparse,sesparse_unverified=on ours.vmdk $size
        data=ours-sesparse.vmdk
        printf '\000\000\000\000\000\000\000\020' | put $data $((4096 * 512))
        printf '\000\000\000\000\000\000\000\060' | put $data $((6144 * 512))
        printf '\000\000\000\000\000\000\001\060' | put $data $((6144 * 512 + 8))
        noise 4096 5 | put $data $((12288 * 512))
        noise 4096 6 | put $data $((12288 * 512 + 4096))
        ;;
    fullDevice)
        cp ../x.raw dev.img
        img-create -q -f vmdk -o subformat=fullDevice,device=dev.img ours.vmdk 0
        ;;
    custom)
        img-convert -O vmdk -o 'subformat=custom,extents=RW 2048 SPARSE "a";RW 10240 FLAT "b" 0' \
            ../x.raw ours.vmdk
        ;;
    "custom with RDONLY")
        cp ../x.raw dev.img
        img-create -q -f vmdk -o "subformat=custom,extents=RW 2048 FLAT \"dev.img\" 0;\
RDONLY 10240 FLAT \"dev.img\" 2048" ours.vmdk 0
        ;;
    "custom with ZERO")
        cp ../x.raw dev.img
        cp ../x.raw zero-part.raw
        head -c 1048576 /dev/zero | put zero-part.raw 0
        disk=zero-part.raw after=
        img-create -q -f vmdk -o "subformat=custom,extents=RW 2048 ZERO;\
RW 10240 FLAT \"dev.img\" 2048" ours.vmdk 0
        ;;
    *" child")
        parent=base.vmdk
        img-convert -O vmdk ../x.raw base.vmdk
        img-create -q -f vmdk -b base.vmdk -F vmdk -o "subformat=${1% child}$(extra "${1% child}")" \
            ours.vmdk
        ;;
    *) img-convert -O vmdk -o "subformat=$1$(extra "$1")" ../x.raw ours.vmdk ;;
    esac
    cd ..
}

# Extents small enough that there are several.
extra()
{
    case $1 in twoGb* | 2Gb*) echo ,extent_size=1M ;; esac
}

ours_row()
{
    make_ours "$1" >said 2>&1 || fail "$1: $(cat said)"
    cd kind
    [ "$(verdict $disk we_read ours.vmdk)" = yes ] || fail "$1: we do not read our own: $(cat said)"
    row="| ${1} | $(verdict $disk qemu_reads ours.vmdk) "
    row="$row| $(verdict $disk libvmdk_cat ours.vmdk $parent) | $(verdict $disk seven_reads ours.vmdk) "
    if [ -z "$after" ]; then
        row="$row| no |"
    else
        row="$row| $(written $after ours.vmdk qemu_writes we_read) |"
    fi
    cd ..
    echo "$row"
}
libvmdk_cat() { timeout 60 ../vmdk-cat "$@"; }

# make_theirs KIND: what qemu-img calls so.
make_theirs()
{
    rm -rf kind
    mkdir kind
    cd kind
    case $1 in
    *" child")
        qemu-img convert -f raw -O vmdk ../x.raw base.vmdk
        qemu-img create -q -f vmdk -b base.vmdk -F vmdk -o "subformat=${1% child}" theirs.vmdk
        ;;
    "zeroed_grain=on") qemu-img convert -f raw -O vmdk -o zeroed_grain=on ../x.raw theirs.vmdk ;;
    *) qemu-img convert -f raw -O vmdk -o "subformat=$1" ../x.raw theirs.vmdk ;;
    esac
    cd ..
}

theirs_row()
{
    make_theirs "$1" >said 2>&1 || fail "qemu-img makes no $1: $(cat said)"
    cd kind
    row="| $1 | $(verdict ../x.raw we_read theirs.vmdk) | $(written ../written.raw theirs.vmdk \
        we_write qemu_reads) |"
    cd ..
    echo "$row"
}

# ------------------------------------------------------------------- tables

ours="monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
2GbMaxExtentSparse 2GbMaxExtentFlat streamOptimized streamOptimized,stream_layout=front \
vmfs vmfsThin vmfsSparse seSparse cowd custom custom:with:RDONLY custom:with:ZERO \
fullDevice monolithicSparse,zeroed_grain=on monolithicSparse:child \
twoGbMaxExtentSparse:child vmfsSparse:child"
theirs="monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
streamOptimized zeroed_grain=on monolithicSparse:child twoGbMaxExtentSparse:child"
if [ -z "${LARGE:-}${UPDATE:-}" ]; then
    ours="monolithicSparse custom:with:RDONLY twoGbMaxExtentSparse:child"
    theirs="twoGbMaxExtentSparse monolithicSparse:child"
fi

{
    echo "With $versions, as \`tests/cli/interchange.sh\` finds them (WRONG: it succeeds, with other bytes):"
    echo
    echo "| made here | qemu-img reads it | libvmdk reads it | 7-Zip reads it | qemu-io writes it, we read that |"
    echo "|---|---|---|---|---|"
    for kind in $ours; do
        ours_row "$(echo "$kind" | tr : ' ')"
    done
    echo
    echo "| made by qemu-img | we read it | we write it, qemu-img reads that |"
    echo "|---|---|---|"
    for kind in $theirs; do
        theirs_row "$(echo "$kind" | tr : ' ')"
    done
} >table
[ "$(grep -c '^| ' table)" -eq $(($(echo $ours $theirs | wc -w) + 2)) ] ||
    fail "the tables are cut: $(cat table)"

# What qemu-img makes we read, all of it; and write, all that is not a stream.
sed '1,/made by/d' table | grep '^| ' | grep -v '| yes | yes |$' | grep -v streamOptimized >bad || true
[ ! -s bad ] || fail "not exchanged: $(cat bad)"

sed -n '/^<!-- interchange -->$/,/^<!-- end -->$/p' "$readme" | sed '1d;$d' >found
if [ -n "${UPDATE:-}" ]; then
    sed -e '/^<!-- interchange -->$/r table' -e '/^<!-- interchange -->$/,/^<!-- end -->$/{
        /^<!-- /!d
    }' "$readme" >new
    cat new >"$readme"
elif [ "$(head -n 1 found)" != "$(head -n 1 table)" ]; then
    skip "README is about other versions: $(head -n 1 found)"
else
    grep '^| ' table | while read -r row; do
        grep -qxF -e "$row" found || fail "README has other cells (make interchange) than $row"
    done
    [ -z "${LARGE:-}" ] || diff found table >said || fail "README (make interchange): $(cat said)"
fi
