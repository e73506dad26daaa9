# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# tests/bench/rows.sh - what is measured, and what it should be; sourced by
# run.sh.  A row makes its data when it is chosen, and removes what is large.
#
# Durability is compared like with like; what each program does was looked up with
# strace, converting 256 MiB of data:
#
#     qemu-img convert                    no fdatasync at the end (-t unsafe is its default)
#     qemu-img convert -t writeback       vmdk: one for each new grain, 6592; raw: 1
#     img convert -t unsafe               none
#     img convert                         vmdk: 7, raw: 4, all of them at the end
#     qemu-img bench -w                   one for each new grain
#     qemu-img bench -w -t unsafe         none
#     ours, a program with bdrv_pwrite()  4: one for the CID, at its first write, two at
#                                         its bdrv_flush(), one at its bdrv_close()
#
# So the targets of conversions are for unsafe on both sides, and both with -t
# writeback are shown as "ours, durable" and "qemu-img, durable".  Of writes they
# are for what leaves an image sound whenever power fails, and complete at the end:
# that is what qemu-img's fdatasync calls are for, and what BdrvTable does with one
# flush.  Both without are shown as "unsafe".  The limits that the targets of writes were
# set beside are those of a plain program that does not flush: so there is a row of ours
# without, too, against qemu-img as it comes.

# --------------------------------------------------------------- conversions

# limit_is LIST FROM: the limit, a plain copy of what LIST says.
limit_is()
{
    contender limit sh -c "'$work/copy' unsafe '$2' '$target' $disk_bytes <'$1'"
}

# deflate_limit_is LEVEL: the limit of what is compressed, libdeflate on all processors.
deflate_limit_is()
{
    contender limit sh -c "'$work/deflate' $1 '$half' <'$half_list'"
}

# both FROM-FORMAT FROM TO-FORMAT [OPTION...]: ours and qemu-img, the same command.
both()
{
    local from=$1 source=$2 to=$3
    shift 3
    contender ours img convert -t unsafe -f "$from" -O "$to" "$@" "$source" "$target"
    contender qemu-img qemu-img convert -t unsafe -f "$from" -O "$to" "$@" "$source" "$target"
    reference 'ours, durable' img convert -f "$from" -O "$to" "$@" "$source" "$target"
    reference 'qemu-img, durable' \
        qemu-img convert -t writeback -f "$from" -O "$to" "$@" "$source" "$target"
}

readers_of()
{
    contender libvmdk "$work/libvmdk" "$1" to-raw "$target"
    contender 7z sh -c "7z x -tVMDK -so '$1' >'$target'"
}

if row raw-sparse "raw → monolithicSparse"; then
    need_tree
    both raw "$tree" vmdk
    limit_is "$tree_list" "$tree"
    want wall qemu-img 0.28
    want cpu qemu-img 0.28
    want wall limit 1.15
    want calls - $((2500 * tree_mib / 1024))
    race
fi

if row sparse-raw "monolithicSparse → raw"; then
    need_tree_vmdk
    both vmdk "$tree_vmdk" raw
    readers_of "$tree_vmdk"
    limit_is "$tree_back_list" "$tree_packed"
    want wall qemu-img 0.38
    want wall libvmdk 1.00
    want wall 7z 1.00
    race
fi

if row sparse-sparse "monolithicSparse → monolithicSparse"; then
    need_tree_vmdk
    both vmdk "$tree_vmdk" vmdk
    limit_is "$tree_packed_list" "$tree_packed"
    want wall qemu-img 0.35
    race
fi

if row sparse-split "monolithicSparse → twoGbMaxExtentSparse"; then
    need_tree_vmdk
    both vmdk "$tree_vmdk" vmdk -o subformat=twoGbMaxExtentSparse
    limit_is "$tree_packed_list" "$tree_packed"
    want wall qemu-img 0.35
    race
fi

if row fragmented-raw "fragmented monolithicSparse → raw"; then
    need_fragmented
    both vmdk "$fragmented" raw
    readers_of "$fragmented"
    limit_is "$fragmented_list" "$fragmented_packed"
    want wall qemu-img 0.42
    want wall libvmdk 1.00
    race
    rm -f "$fragmented" "$fragmented_packed"
fi

if row stripes-sparse "raw with 4 KiB in each 256 KiB → monolithicSparse"; then
    "$work/make-data" "$work/stripes.raw" "$disk_mib" stripes
    "$work/copy" list "$work/stripes.raw" 65536 >"$work/stripes.list"
    both raw "$work/stripes.raw" vmdk
    limit_is "$work/stripes.list" "$work/stripes.raw"
    want wall qemu-img 0.25
    want cpu qemu-img 0.25
    race
    rm -f "$work/stripes.raw"
fi

if row scattered-sparse "1 TiB with $grains scattered grains → monolithicSparse"; then
    need_scattered
    both vmdk "$scattered" vmdk
    limit_is "$scattered_list" "$scattered_raw"
    want wall qemu-img 0.10
    race
fi

# stream NAME PROGRAM [OPTION...]: a contender that makes a stream of half of the tree.
stream()
{
    contender "$1" "$2" convert -t unsafe -f raw -O vmdk \
        -o "subformat=streamOptimized${3:-}" "$half" "$target"
}

# Three rows of one race: qemu-img, which has one level and one thread, takes the time.
if row raw-stream "raw → streamOptimized"; then
    need_half_tree
    stream ours img
    stream "ours, level 1" img ,compression_level=1
    stream "ours, ISA-L" img ,compression_level=1,compression_engine=isal
    stream qemu-img qemu-img
    deflate_limit_is 6
    want wall qemu-img 0.25
    want cpu qemu-img 0.50
    want size qemu-img 1.00
    race
    again "raw → streamOptimized, fastest level" "ours, level 1"
    want wall qemu-img 0.13
    report
    again "raw → streamOptimized, ISA-L" "ours, ISA-L"
    want wall qemu-img 0.08
    report
fi

if row stream-raw "streamOptimized → raw"; then
    need_half_tree
    img convert -f raw -O vmdk -o subformat=streamOptimized "$half" "$work/stream.vmdk"
    both vmdk "$work/stream.vmdk" raw
    readers_of "$work/stream.vmdk"
    want wall qemu-img 0.28
    want cpu qemu-img 0.50
    want wall libvmdk 1.00
    race
    rm -f "$work/stream.vmdk"
fi

if row raw-raw "raw → raw"; then
    need_tree
    both raw "$tree" raw
    contender cp cp "$tree" "$target"
    limit_is "$tree_same_list" "$tree"
    want wall qemu-img 1.00
    want wall cp 1.05
    race
fi

# --------------------------------------------------------------------- reads

# reads VMDK RAW SIZE STEP REQUESTS PASSES: through the library and by pread(2).
reads()
{
    local line
    for ((line = 1; line <= $6; line++)); do
        [ "$line" = "${pass:-1}" ] || continue
        timed ours "$line" "$work/disk" vmdk "$1" read "$4" 4096 "$5" "$3" "$6"
        timed pread "$line" "$work/disk" host "$2" read "$4" 4096 "$5" "$3" "$6"
    done
}

if row read-random "random 4 KiB reads, all allocated"; then
    need_full
    reads "$full_vmdk" "$full" $((full_mib << 20)) random "$requests" 1
    timed libvmdk 1 "$work/libvmdk" "$full_vmdk" random 4096 "$requests"
    contender "qemu-img bench" qemu-img bench -c "$requests" -d 1 -s 4096 \
        -S "$(scattered_step $((full_mib << 20)) 4096)" -f vmdk "$full_vmdk"
    contender "qemu-img bench, io_uring" qemu-img bench -c "$requests" -d 64 -i io_uring \
        -s 4096 -S "$(scattered_step $((full_mib << 20)) 4096)" -f vmdk "$full_vmdk"
    want cpu pread 1.15
    race
fi

if row read-empty "random 4 KiB reads, nothing allocated"; then
    img create -q -f vmdk "$work/empty.vmdk" "${full_mib}M" >/dev/null
    truncate -s "${full_mib}M" "$work/empty.raw"
    reads "$work/empty.vmdk" "$work/empty.raw" $((full_mib << 20)) random "$requests" 1
    timed libvmdk 1 "$work/libvmdk" "$work/empty.vmdk" random 4096 "$requests"
    want cpu pread 0.3
    want calls pread 0.01
    race
fi

for pass in 1 2; do
    case $pass in
    1) name=read-cold title="4 KiB reads of $grains grains over 1 TiB, cold tables" most=2.2 ;;
    2) name=read-warm title="the same again" most=1.2 ;;
    esac
    if row $name "$title"; then
        need_scattered
        reads "$scattered" "$scattered_raw" "$scattered_bytes" "$scattered_hop" "$grains" 2
        [ $pass = 2 ] || contender "qemu-img bench" qemu-img bench -c "$grains" -d 1 \
            -s 4096 -S "$scattered_hop" -f vmdk "$scattered"
        want cpu pread $most
        race
    fi
done
unset pass

# -------------------------------------------------------------------- writes

# writes BYTES STEP REQUESTS: into a fresh image each time.
writes()
{
    local bytes=$1 step=$2 count=$3 size=$((write_mib << 20))
    # shellcheck disable=SC2016
    before sh -c 'img create -q -f vmdk "$1.ours" "$2M"; truncate -s "$2M" "$1.raw"
        qemu-img create -q -f vmdk "$1.qemu" "$2M"; qemu-img create -q -f qcow2 "$1.qcow2" "$2M"
        sync "$1".*' sh "$target" "$write_mib"
    contender ours "$work/disk" vmdk "$target.ours" write "$step" "$bytes" "$count" "$size"
    contender qemu-img qemu-img bench -w -d 1 -c "$count" -s "$bytes" -S "$step" -f vmdk \
        "$target.qemu"
    contender "qemu-img, qcow2" qemu-img bench -w -d 1 -c "$count" -s "$bytes" -S "$step" \
        -f qcow2 "$target.qcow2"
    contender limit "$work/disk" host "$target.raw" write "$step" "$bytes" "$count" "$size"
    contender "ours, unsafe" "$work/disk" vmdk "$target.ours" write-unsafe "$step" "$bytes" \
        "$count" "$size"
    contender "qemu-img, unsafe" qemu-img bench -w -t unsafe -d 1 -c "$count" -s "$bytes" \
        -S "$step" -f vmdk "$target.qemu"
}

grain_step=$(scattered_step $((write_mib << 20)) 65536)

# write_row NAME TITLE BYTES STEP REQUESTS MOST
write_row()
{
    row "$1" "$2" || return 0
    writes "$3" "$4" "$5"
    want wall qemu-img "$6"
    race
    again "$2, not flushed" "ours, unsafe"
    want wall qemu-img "$6"
    report
}

write_row write-4k "sequential 4 KiB writes, fresh image" 4096 4096 $((write_mib * 256)) 0.12
write_row write-4k-random "random 4 KiB writes, each a new grain" 4096 "$grain_step" \
    $((write_mib * 16)) 0.05
write_row write-64k "sequential 64 KiB writes, fresh image" 65536 65536 $((write_mib * 16)) 0.06
write_row write-64k-random "random 64 KiB writes, fresh image" 65536 "$grain_step" \
    $((write_mib * 16)) 0.06

# ------------------------------------------------------------------ metadata

if row info "open and info of a 2 TiB image, whole process"; then
    qemu-img create -q -f vmdk "$work/large.vmdk" 2047G
    repeat=20
    contender ours img info "$work/large.vmdk"
    contender qemu-img qemu-img info "$work/large.vmdk"
    contender vmdkinfo vmdkinfo "$work/large.vmdk"
    contender "a process" true
    want wall qemu-img 0.2
    want cpu qemu-img 0.2
    want rss - 4096
    race
fi

if row map "map of 1 TiB with $grains scattered grains"; then
    need_scattered
    contender ours img map "$scattered"
    contender qemu-img qemu-img map "$scattered"
    want wall qemu-img 0.01
    want cpu qemu-img 0.01
    race
fi

if row check "check of the same"; then
    need_scattered
    contender ours img check "$scattered"
    contender qemu-img qemu-img check "$scattered"
    want wall qemu-img 0.1
    want cpu qemu-img 0.1
    race
fi
