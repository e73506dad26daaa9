# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# tests/bench/data.sh - the disks that are measured, each made when a row first
# needs it; sourced by run.sh.
#
# All of it is in the page cache, so what is measured is the program, not the
# disk; and it was written back, so that nobody pays for it later.

disk_mib=${BENCH_DISK_MIB:-8192}      # a disk with a file system in it …
tree_mib=${BENCH_TREE_MIB:-2560}      # … and how much the files are
full_mib=${BENCH_FULL_MIB:-1024}      # a disk on which everything is allocated
write_mib=${BENCH_WRITE_MIB:-256}     # what is written in a row of writes
requests=${BENCH_REQUESTS:-200000}    # reads
grains=${BENCH_GRAINS:-8192}          # of a disk of 1 TiB

disk_bytes=$((disk_mib << 20))
scattered_bytes=$((1 << 40))

# Written, and in the page cache in the way in which the host reads: files that were written in
# pieces of another size lie there in others, and random reads of them cost 1.1 to 1.5 times.
settle()
{
    local file
    sync "$@"
    for file in "$@"; do
        dd if="$file" iflag=nocache count=0 status=none
        cat "$file" >/dev/null
    done
}

# scattered_step SIZE UNIT: a step of so many units that going on by it, round and
# round, comes to each once, no two near each other: odd, and SIZE / UNIT a power
# of two times a small number that it is made coprime to.
scattered_step()
{
    local units=$(($1 / $2)) step
    step=$((units * 618 / 1000 | 1))
    while [ $((step % 3)) = 0 ] || [ $((step % 5)) = 0 ] || [ $((step % 7)) = 0 ]; do
        step=$((step + 2))
    done
    echo $((step * $2))
}

# -------------------------------------------------- a file system with files

# take DIRECTORY NAME: into the tree; by links where it is the same file system.
take()
{
    cp -al "$1" "$work/tree/$2" 2>/dev/null || {
        rm -rf "${work:?}/tree/$2"
        cp -a "$1" "$work/tree/$2" 2>/dev/null
    }
}

# Files of this system, until they are as many MiB as wanted.
fill_tree()
{
    local room=$((tree_mib * 1024)) size d n=0
    mkdir "$work/tree"
    for d in /usr/lib/gcc/* /usr/lib/*-linux-gnu/* /usr/lib/* /usr/share/* /usr/include \
        /usr/bin /usr/sbin /etc /opt/*; do
        [ -e "$d" ] && [ "$room" -gt 0 ] || continue
        size=$(du -sk "$d" 2>/dev/null | cut -f1)
        [ "$size" -le "$room" ] || continue
        n=$((n + 1))
        take "$d" "$n" || continue
        room=$((room - size))
    done
    echo $((tree_mib - room / 1024))
}

make_tree()
{
    local mkfs used
    mkfs=$(PATH=$PATH:/usr/sbin:/sbin command -v mkfs.ext4 || true)
    if [ -n "${BENCH_DATA:-}" ]; then
        cp --sparse=always "$BENCH_DATA" "$tree"
        disk_bytes=$(stat -c %s "$tree")
        kind="a copy of $BENCH_DATA"
    elif [ -n "$mkfs" ]; then
        used=$(fill_tree)
        truncate -s "${disk_mib}M" "$tree"
        "$mkfs" -q -F -d "$work/tree" "$tree" >/dev/null 2>&1
        rm -rf "$work/tree"
        kind="ext4 of $disk_mib MiB with $used MiB of this system's files"
    else
        "$work/make-data" "$tree" "$disk_mib" mixed
        kind="made up: noise, text, zeros, holes"
    fi
    echo "$kind" >"$work/kind"
}

need_tree()
{
    tree=$work/tree.raw tree_list=$work/tree.list tree_same_list=$work/tree.same
    [ -e "$tree" ] && return
    echo "  making a disk of $disk_mib MiB" >&2
    make_tree
    "$work/copy" list "$tree" 65536 >"$tree_list"
    awk '{ print $1, $1, $3 }' "$tree_list" >"$tree_same_list"
    tree_mib=$(awk '{ n += $3 } END { print int(n / 1048576) }' "$tree_list")
    settle "$tree"
}

# The beginning of it, with half of the data: how fast a stream is made does not depend
# on how long it is, and one thread of deflate takes a minute for the whole.
need_half_tree()
{
    local end
    need_tree
    half=$work/half.raw half_list=$work/half.list
    [ -e "$half" ] && return
    awk -v most=$((tree_mib << 19)) '{ n += $3; print } n >= most { exit }' \
        "$tree_list" >"$half_list"
    end=$(awk '{ n = $1 + $3 } END { printf "%d", n }' "$half_list")
    head -c "$end" "$tree" | cp --sparse=always /dev/stdin "$half"
    "$work/copy" list "$half" 65536 >"$half_list"
    settle "$half"
}

# The same in a sparse image, and packed as there in a plain file.
need_tree_vmdk()
{
    need_tree
    tree_vmdk=$work/tree.vmdk tree_packed=$work/tree.packed
    tree_back_list=$work/tree.back tree_packed_list=$work/tree.packed-list
    [ -e "$tree_vmdk" ] && return
    img convert -f raw -O vmdk "$tree" "$tree_vmdk"
    "$work/copy" unsafe "$tree" "$tree_packed" "$disk_bytes" <"$tree_list"
    awk '{ print $2, $1, $3 }' "$tree_list" >"$tree_back_list"
    awk '{ print $2, $2, $3 }' "$tree_list" >"$tree_packed_list"
    settle "$tree_vmdk" "$tree_packed"
}

# The grains in another order, and a list to copy them by from such a file.
need_fragmented()
{
    need_tree
    fragmented=$work/fragmented.vmdk fragmented_packed=$work/fragmented.packed
    fragmented_list=$work/fragmented.list
    [ -e "$fragmented" ] && return
    "$work/make-image" shuffled vmdk "$fragmented" "$tree"
    img map "$fragmented" | while read -r start bytes place _; do
        [ "$start" = Offset ] || echo $((place)) $((start)) $((bytes))
    done >"$fragmented_list"
    cp --reflink=never "$fragmented" "$fragmented_packed"
    settle "$fragmented" "$fragmented_packed"
}

# ------------------------------------------------------------------- the others

need_full()
{
    full=$work/full.raw full_vmdk=$work/full.vmdk
    [ -e "$full" ] && return
    "$work/make-data" "$full" "$full_mib" full
    img convert -f raw -O vmdk "$full" "$full_vmdk"
    settle "$full" "$full_vmdk"
}

need_scattered()
{
    local far=$((scattered_bytes / grains)) odd
    scattered=$work/scattered.vmdk scattered_raw=$work/scattered.raw
    scattered_list=$work/scattered.list
    odd=$((((1 << 31) / far - 1) | 1)) # qemu-img bench takes steps up to 2 GiB
    while [ $((odd * far)) -ge $((1 << 31)) ]; do odd=$((odd - 2)); done
    scattered_hop=$((odd * far))
    [ -e "$scattered" ] && return
    "$work/make-image" scattered vmdk "$scattered" $scattered_bytes "$grains"
    "$work/make-image" scattered raw "$scattered_raw" $scattered_bytes "$grains"
    awk -v n="$grains" -v far="$far" 'BEGIN { for (i = 0; i < n; i++)
        printf "%d %d %d\n", i * far, i * 65536, 65536 }' >"$scattered_list"
    sync "$scattered" "$scattered_raw"
    cat "$scattered" >/dev/null
}
