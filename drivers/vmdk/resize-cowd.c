/* SPDX-License-Identifier: MIT */
/*
 * resize-cowd.c - another capacity for a copy-on-write extent.  Tables are made
 * when they are needed, so only the directory may become too small: then a
 * longer one is put behind everything else.
 *
 *     header │ GD │ … │             header │    │ … │ longer GD │
 *
 * The header's first sector, which says where it is and how long, is written
 * last, at once.
 */
#include "vmdk.h"

#include <stdlib.h>

enum {
    ENTRY_BYTES = 4,
    /* The fields that change: capacity to freeSector, and the geometry. */
    FIELDS_OFFSET = 12,
    FIELDS_END = 32,
    GEOMETRY_END = 44
};

static BdrvTable *table_of(const VmdkMap *map)
{
    return map->extent->image->table;
}

/* All of it written, with its tables, must end below sector 2^32. */
static int check_size(const VmdkMap *map, int64_t length, int64_t entries)
{
    const int64_t sectors = bdrv_round_up(length, map->grain) / BDRV_SECTOR_SIZE;
    const int64_t tables = entries * VMDK_COWD_GTES * ENTRY_BYTES / BDRV_SECTOR_SIZE;
    const int64_t used = vmdk_space_next(map->space) / BDRV_SECTOR_SIZE;

    if (sectors > UINT32_MAX - tables - used - entries) {
        return bdrv_error(map->extent->file, -EFBIG, "a copy-on-write extent cannot hold %" PRId64
                          " sectors: with its tables that is more than 2 TiB",
                          length / BDRV_SECTOR_SIZE);
    }
    return 0;
}

/* Sets entries [first, end) to 0, durably. */
static int clear_entries(const VmdkMap *map, int64_t first, int64_t end)
{
    static const uint8_t none[ENTRY_BYTES];
    int ret = 0;

    for (int64_t i = first; ret == 0 && i < end; i++) {
        ret = bdrv_table_write(table_of(map), map->extent->file, none, sizeof none,
                               map->gd[VMDK_PRIMARY] + i * ENTRY_BYTES, BDRV_TABLE_PRIMARY);
    }
    return ret < 0 ? ret : bdrv_table_flush(table_of(map));
}

/* A longer directory behind everything else, durably. */
static int move_directory(VmdkMap *map, const VmdkCowdHeader *header, int64_t entries,
                          int64_t *offset)
{
    const int64_t bytes = bdrv_round_up(entries * ENTRY_BYTES, BDRV_SECTOR_SIZE);
    uint8_t *copy = calloc(1, (size_t)bytes);
    int64_t count = 1;
    int zeroed;
    int ret = copy ? bdrv_table_read(table_of(map), map->extent->file, copy,
                                     (size_t)header->gd_entries * ENTRY_BYTES,
                                     map->gd[VMDK_PRIMARY])
                   : -ENOMEM;

    if (ret == 0) {
        ret = vmdk_space_take(map->space, bytes, &count, offset, &zeroed);
    }
    if (ret == 0) {
        ret = bdrv_pwrite(map->extent->file, copy, (size_t)bytes, *offset);
    }
    free(copy);
    return ret < 0 ? ret : bdrv_flush_children(map->extent->image->bs);
}

static int fit_directory(VmdkMap *map, const VmdkCowdHeader *header, int64_t entries,
                         int64_t *offset)
{
    const int64_t old = header->gd_entries;
    const int64_t room = bdrv_round_up(old * ENTRY_BYTES, BDRV_SECTOR_SIZE) / ENTRY_BYTES;

    *offset = map->gd[VMDK_PRIMARY];
    return entries > room ? move_directory(map, header, entries, offset)
                          : clear_entries(map, bdrv_min(entries, old), room);
}

/* Heads and sectors are the guest's; only the number of cylinders follows. */
static void fit_geometry(VmdkCowdHeader *header)
{
    const int64_t cylinder = (int64_t)header->heads * header->sectors;

    if (header->role == VMDK_COWD_ROOT && cylinder > 0) {
        header->cylinders = (uint32_t)bdrv_max(1, header->capacity_sectors / cylinder);
    }
}

static int write_header(const VmdkMap *map, const VmdkCowdHeader *header)
{
    uint8_t bytes[VMDK_COWD_HEADER_BYTES];
    const int64_t end = header->role == VMDK_COWD_ROOT ? GEOMETRY_END : FIELDS_END;
    int ret;

    vmdk_cowd_header_encode(header, bytes);
    ret = bdrv_table_write(table_of(map), map->extent->file, bytes + FIELDS_OFFSET,
                           (size_t)(end - FIELDS_OFFSET), FIELDS_OFFSET, BDRV_TABLE_PRIMARY);
    return ret < 0 ? ret : bdrv_table_flush(table_of(map));
}

int vmdk_cowd_shorten(const VmdkMap *map, VmdkCowdHeader *header, int64_t length)
{
    VmdkCowdHeader changed = *header;
    int ret;

    changed.capacity_sectors = (uint32_t)(length / BDRV_SECTOR_SIZE);
    changed.gd_entries = (uint32_t)bdrv_div_up(length, map->grain * VMDK_COWD_GTES);
    fit_geometry(&changed);
    ret = write_header(map, &changed);
    if (ret == 0) {
        *header = changed;
    }
    return ret;
}

int vmdk_cowd_resize(VmdkMap *map, VmdkCowdHeader *header, int64_t length)
{
    const int64_t entries = bdrv_div_up(length, map->grain * VMDK_COWD_GTES);
    VmdkCowdHeader changed = *header;
    int64_t gd;
    int ret = check_size(map, length, entries);

    if (ret == 0) {
        ret = fit_directory(map, header, entries, &gd);
    }
    if (ret == 0 && length < map->extent->length) {
        ret = vmdk_map_trim(map); /* the tables that are not needed, too */
    }
    if (ret < 0) {
        return ret;
    }
    changed.capacity_sectors = (uint32_t)(length / BDRV_SECTOR_SIZE);
    changed.gd_sector = (uint32_t)(gd / BDRV_SECTOR_SIZE);
    changed.gd_entries = (uint32_t)entries;
    changed.free_sector = (uint32_t)(vmdk_space_next(map->space) / BDRV_SECTOR_SIZE);
    fit_geometry(&changed);
    ret = write_header(map, &changed);
    if (ret == 0) {
        *header = changed;
    }
    return ret;
}
