/* SPDX-License-Identifier: MIT */
/*
 * resize-sparse.c - another capacity for a hosted sparse extent.
 *
 * The tables are between the header and the grains, in places that VMware's
 * programs compute.  When more are needed than there is room for, they move out
 * and back in:
 *
 *     header │ tables │ g1 │ g2 │ g3 │
 *     header │ tables │    │ g2 │ g3 │ g1 │               1 make room
 *     header │ tables │    │ g2 │ g3 │ g1 │ new tables │  2 complete, then switch
 *     header │ new tables  │ g2 │ g3 │ g1 │ new tables │  3 complete, then switch
 *     header │ new tables  │ g2 │ g3 │ g1 │               4 cut
 *
 * What a step writes is used by nothing on disk before the step is durable; a
 * switch is the write of the header's one sector.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 1024 * 1024, /* of tables, written at a time */
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1,
    VERSION_ZEROED = 2
};

/* Sector numbers in a directory have 32 bits; 2^26 tables, as header.c wants. */
static const int64_t table_sector_max = UINT32_MAX;
static const int64_t tables_max = INT64_C(1) << 26;

typedef struct Resize {
    VmdkMap *map; /* NULL: there are no tables yet */
    BlockDriverState *file;
    VmdkHeader header; /* the new one */
    int64_t old_tables;
    int64_t copy_sector; /* of GT 0 in the new set at the end; 0: there is none */
    uint8_t *buf;        /* CHUNK_BYTES */
} Resize;

/* ------------------------------------------------------------------- layout */

static int64_t set_sectors(const VmdkHeader *header)
{
    return vmdk_header_gd_sectors(header) +
           vmdk_header_tables(header) * vmdk_header_gt_sectors(header);
}

static int64_t all_sectors(const VmdkHeader *header)
{
    return set_sectors(header) * (header->flags & VMDK_FLAG_REDUNDANT ? 2 : 1);
}

static void place_sets(VmdkHeader *header, int64_t start)
{
    header->gd_sector = (uint64_t)start;
    if (header->flags & VMDK_FLAG_REDUNDANT) {
        header->rgd_sector = (uint64_t)start;
        header->gd_sector = (uint64_t)(start + set_sectors(header));
    }
}

/* Where VMware's programs have the tables begin; 0: this extent is not laid out
 * their way. */
static int64_t front_start(const VmdkHeader *header)
{
    if (header->descriptor_sector > 1) {
        return 0;
    }
    return 1 + (header->descriptor_sector == 1 ? (int64_t)header->descriptor_sectors : 0);
}

static int64_t overhead(const VmdkHeader *header, int64_t start)
{
    return bdrv_round_up(start + all_sectors(header), (int64_t)header->grain_sectors);
}

static int check_size(const BlockDriverState *file, const VmdkHeader *header, int64_t start)
{
    if (vmdk_header_tables(header) > tables_max ||
        start > table_sector_max - 2 * all_sectors(header)) {
        return bdrv_error(file, -EFBIG, "an extent of %" PRIu64 " sectors needs more tables than "
                          "can be addressed", header->capacity_sectors);
    }
    return 0;
}

/* ------------------------------------------------------------------ writing */

static int flush(const Resize *r)
{
    return r->map ? bdrv_flush_children(r->map->extent->image->bs) : 0;
}

static int write_directory(const Resize *r, int64_t gd_sector)
{
    const int64_t step = vmdk_header_gt_sectors(&r->header);
    const int64_t first = gd_sector + vmdk_header_gd_sectors(&r->header);
    const int64_t count = vmdk_header_tables(&r->header);
    int ret = 0;

    for (int64_t done = 0, now; ret == 0 && done < count; done += now) {
        int64_t bytes;

        now = bdrv_min(count - done, CHUNK_BYTES / ENTRY_BYTES);
        bytes = bdrv_round_up(now * ENTRY_BYTES, BDRV_SECTOR_SIZE);
        memset(r->buf, 0, (size_t)bytes);
        for (int64_t i = 0; i < now; i++) {
            bdrv_store_le32(r->buf + i * ENTRY_BYTES, (uint32_t)(first + (done + i) * step));
        }
        ret = bdrv_pwrite(r->file, r->buf, (size_t)bytes,
                          gd_sector * BDRV_SECTOR_SIZE + done * ENTRY_BYTES);
    }
    return ret;
}

/* Where a GT is that readers follow now; 0: there is none. */
static int find_table(const Resize *r, int64_t table, int64_t *offset)
{
    int ret = vmdk_map_table(r->map, VMDK_PRIMARY, table, offset);

    if (ret == 0 && *offset == 0 && r->map->gd[VMDK_REDUNDANT] != 0) {
        ret = vmdk_map_table(r->map, VMDK_REDUNDANT, table, offset);
    }
    return ret;
}

/* Where a GT is now, of that size; 0: nowhere. */
static int place_of(const Resize *r, int64_t table, int64_t size, int64_t *offset)
{
    *offset = 0;
    if (table >= r->old_tables) {
        return 0;
    }
    if (r->copy_sector != 0) {
        *offset = r->copy_sector * BDRV_SECTOR_SIZE + table * size;
        return 0;
    }
    return find_table(r, table, offset);
}

static int is_hole(const Resize *r, int64_t offset, int64_t size)
{
    BdrvExtent run;

    return bdrv_is_allocated(r->file, offset, size, &run) == 0 && run.state == BDRV_ZERO &&
           run.bytes >= size;
}

/* How many of the tables from one on, up to count, are nowhere or holes: of a large disk most, and
 * what a header claims can be gigabytes of them. */
static int count_empty(const Resize *r, int64_t table, int64_t count, int64_t *empty)
{
    const int64_t size = vmdk_header_gt_sectors(&r->header) * BDRV_SECTOR_SIZE;
    int64_t offset;
    int ret = 0;

    for (*empty = 0; table + *empty < count; ++*empty) {
        ret = place_of(r, table + *empty, size, &offset);
        if (ret < 0 || (offset != 0 && !is_hole(r, offset, size))) {
            break;
        }
    }
    return ret;
}

/* One GT as it is now, from wherever it is. */
static int read_table(const Resize *r, int64_t table, uint8_t *bytes, int64_t size)
{
    int64_t offset;
    const int ret = place_of(r, table, size, &offset);

    if (ret == 0 && offset != 0 && r->copy_sector != 0) {
        return bdrv_pread(r->file, bytes, (size_t)size, offset);
    }
    if (ret < 0 || offset == 0) {
        memset(bytes, 0, (size_t)size);
        return ret;
    }
    return bdrv_table_read(r->map->extent->image->table, r->file, bytes, (size_t)size, offset);
}

static int copy_tables(const Resize *r, int64_t first, int64_t count, int64_t to)
{
    const int64_t size = vmdk_header_gt_sectors(&r->header) * BDRV_SECTOR_SIZE;
    int ret = 0;

    for (int64_t i = 0; ret == 0 && i < count; i++) {
        ret = read_table(r, first + i, r->buf + i * size, size);
    }
    return ret < 0 ? ret : bdrv_pwrite(r->file, r->buf, (size_t)(count * size), to);
}

static int write_tables(const Resize *r, int64_t first_sector)
{
    const int64_t size = vmdk_header_gt_sectors(&r->header) * BDRV_SECTOR_SIZE;
    const int64_t count = vmdk_header_tables(&r->header);
    int ret = 0;

    for (int64_t done = 0, now; ret == 0 && done < count; done += now) {
        const int64_t to = first_sector * BDRV_SECTOR_SIZE + done * size;

        ret = count_empty(r, done, count, &now);
        if (ret == 0 && now > 0) {
            ret = bdrv_write_zeroes(r->file, to, now * size);
        } else if (ret == 0) {
            now = bdrv_min(count - done, CHUNK_BYTES / size);
            ret = copy_tables(r, done, now, to);
        }
    }
    return ret;
}

static int write_set(const Resize *r, uint64_t gd_sector)
{
    int ret = write_directory(r, (int64_t)gd_sector);

    return ret < 0 ? ret
                   : write_tables(r, (int64_t)gd_sector + vmdk_header_gd_sectors(&r->header));
}

/* All tables at start, durably. */
static int write_sets(Resize *r, int64_t start)
{
    int ret = 0;

    place_sets(&r->header, start);
    if (r->header.flags & VMDK_FLAG_REDUNDANT) {
        ret = write_set(r, r->header.rgd_sector);
    }
    if (ret == 0) {
        ret = write_set(r, r->header.gd_sector);
    }
    return ret < 0 ? ret : flush(r);
}

static int switch_header(Resize *r, int unclean)
{
    int ret;

    r->header.unclean_shutdown = (uint8_t)unclean;
    ret = vmdk_header_move(r->file, &r->header);
    return ret < 0 ? ret : flush(r);
}

/* ------------------------------------------------------------- 1: make room */

static int move_grain(const Resize *r, int64_t grain, int64_t from, uint8_t *buf)
{
    VmdkMap *map = r->map;
    const int64_t there = bdrv_min(map->grain, bdrv_getlength(r->file) - from);
    int64_t count = 1, to = 0;
    int zeroed, ret;

    memset(buf, 0, (size_t)map->grain);
    ret = bdrv_pread(r->file, buf, (size_t)there, from);
    if (ret == 0) {
        ret = vmdk_space_take(map->space, map->grain, &count, &to, &zeroed);
    }
    if (ret == 0) {
        ret = bdrv_pwrite(r->file, buf, (size_t)map->grain, to);
    }
    return ret < 0 ? ret : vmdk_map_enter(map, grain * map->grain, 1,
                                          (uint32_t)(to / BDRV_SECTOR_SIZE), 0);
}

static int move_grains_of(const Resize *r, int64_t table, int64_t limit, uint8_t *buf)
{
    const int64_t size = vmdk_header_gt_sectors(&r->header) * BDRV_SECTOR_SIZE;
    int64_t offset;
    int ret = find_table(r, table, &offset);

    if (ret < 0 || offset == 0) {
        return ret;
    }
    ret = read_table(r, table, r->buf, size);
    for (int64_t i = 0; ret == 0 && i < r->map->gtes; i++) {
        const uint32_t entry = bdrv_load_le32(r->buf + i * ENTRY_BYTES);
        const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;

        if (entry > ENTRY_ZEROED && start < limit) {
            ret = move_grain(r, table * r->map->gtes + i, start, buf);
        }
    }
    return ret;
}

/* No grain begins before limit afterwards, durably. */
static int make_room(const Resize *r, int64_t limit)
{
    uint8_t *buf = malloc((size_t)r->map->grain);
    int ret = buf ? 0 : -ENOMEM;

    vmdk_space_skip(r->map->space, limit);
    for (int64_t table = 0; ret == 0 && table < r->old_tables; table++) {
        ret = move_grains_of(r, table, limit, buf);
    }
    free(buf);
    if (ret == 0) {
        ret = bdrv_table_flush(r->map->extent->image->table);
    }
    return ret < 0 ? ret : vmdk_space_trim(r->map->space);
}

/* ------------------------------------------------------------ 2 to 4: switch */

static int move_back(Resize *r, int64_t front, uint64_t overhead_sectors)
{
    int ret;

    r->copy_sector = (int64_t)r->header.gd_sector + vmdk_header_gd_sectors(&r->header);
    ret = write_sets(r, front);
    if (ret == 0) {
        r->header.overhead_sectors = overhead_sectors;
        ret = switch_header(r, 0);
    }
    return ret;
}

static int rebuild(Resize *r)
{
    const int64_t front = front_start(&r->header);
    const int64_t behind = bdrv_max((int64_t)r->header.overhead_sectors,
                                    overhead(&r->header, front));
    int64_t end;
    int ret = front != 0 ? make_room(r, behind * BDRV_SECTOR_SIZE) : 0;

    if (ret < 0) {
        return ret;
    }
    end = bdrv_round_up(bdrv_max(bdrv_getlength(r->file), behind * BDRV_SECTOR_SIZE),
                        r->map->grain) / BDRV_SECTOR_SIZE;
    ret = check_size(r->file, &r->header, end);
    if (ret == 0) {
        ret = write_sets(r, end);
    }
    if (ret == 0) {
        ret = switch_header(r, front != 0);
    }
    if (ret == 0 && front != 0) {
        ret = move_back(r, front, (uint64_t)behind);
        if (ret == 0) { /* if it cannot be cut, that is space lost */
            bdrv_truncate(r->file, end * BDRV_SECTOR_SIZE);
        }
    }
    return ret;
}

int vmdk_sparse_resize(VmdkMap *map, int64_t length)
{
    Resize r = {.map = map, .file = map->extent->file, .old_tables = map->tables};
    int64_t old_gd_sectors;
    int ret = vmdk_header_read(r.file, &r.header);

    if (ret < 0) {
        return ret;
    }
    old_gd_sectors = vmdk_header_gd_sectors(&r.header);
    r.header.capacity_sectors = (uint64_t)(length / BDRV_SECTOR_SIZE);
    if (vmdk_header_tables(&r.header) <= map->tables &&
        vmdk_header_gd_sectors(&r.header) == old_gd_sectors) {
        return switch_header(&r, 0); /* the tables can stay */
    }
    ret = check_size(r.file, &r.header, (int64_t)r.header.overhead_sectors);
    r.buf = ret < 0 ? NULL : malloc(CHUNK_BYTES);
    if (ret == 0) {
        ret = r.buf ? rebuild(&r) : -ENOMEM;
    }
    free(r.buf);
    return ret;
}

/* -------------------------------------------------------------- a new extent */

static int write_new(Resize *r)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    int ret = bdrv_truncate(r->file, (int64_t)r->header.overhead_sectors * BDRV_SECTOR_SIZE);

    if (ret == 0) {
        ret = write_sets(r, 1);
    }
    vmdk_header_encode(&r->header, bytes);
    return ret < 0 ? ret : bdrv_pwrite(r->file, bytes, sizeof bytes, 0);
}

int vmdk_sparse_make(BlockDriverState *file, const VmdkHeader *like, int64_t length)
{
    Resize r = {.file = file};
    int ret;

    r.header = (VmdkHeader){
        .version = like->flags & VMDK_FLAG_ZEROED ? VERSION_ZEROED : 1,
        .flags = like->flags,
        .capacity_sectors = (uint64_t)(length / BDRV_SECTOR_SIZE),
        .grain_sectors = like->grain_sectors,
        .gtes_per_gt = like->gtes_per_gt,
    };
    place_sets(&r.header, 1);
    r.header.overhead_sectors = (uint64_t)overhead(&r.header, 1);
    ret = check_size(file, &r.header, 1);
    r.buf = ret < 0 ? NULL : malloc(CHUNK_BYTES);
    if (ret == 0) {
        ret = r.buf ? write_new(&r) : -ENOMEM;
    }
    free(r.buf);
    return ret;
}
