/* SPDX-License-Identifier: MIT */
/*
 * discard.c - takes grains out of the tables again: some, whose content nobody
 * needs any more, or all, when a link was committed.
 *
 * A place that was freed is punched out of the file but not used again before
 * the image is next opened: a read that is under way may still look there, and
 * the entries on disk may still point there.  Both then see zeros or what was
 * there, and never another part of the disk.
 */
#include "vmdk.h"

enum {
    ENTRY_BYTES = 4,
    CLEAR_ENTRIES = 512 /* looked at in one go */
};

static BlockDriverState *file_of(const VmdkMap *map)
{
    return map->extent->file;
}

/* Gives the host its space back.  If it cannot take it, it is lost until a
 * repair. */
static int punch(VmdkMap *map, const BdrvExtent *run)
{
    int ret = bdrv_discard(file_of(map), run->file_offset, run->bytes);

    return ret == -ENOTSUP ? 0 : ret;
}

static int64_t grains_of(const VmdkMap *map, int64_t bytes)
{
    return bdrv_div_up(bytes, map->grain);
}

int vmdk_map_discard(VmdkMap *map, int64_t offset, int64_t bytes, uint32_t entry)
{
    const int64_t length = map->extent->length;
    int64_t at = bdrv_round_up(offset, map->grain), end = offset + bytes;
    int ret = 0;

    end = end == length ? end : bdrv_round_down(end, map->grain);
    while (ret == 0 && at < end) {
        BdrvExtent run = {0};

        ret = vmdk_map_lookup(map, at, end - at, &run);
        if (ret == 0 && run.state == BDRV_DATA) {
            ret = vmdk_map_enter(map, at, grains_of(map, run.bytes), entry, 0);
            ret = ret < 0 ? ret : punch(map, &run);
        }
        at += run.bytes;
    }
    return ret;
}

int vmdk_map_zero_in_place(VmdkMap *map, int64_t offset, int64_t bytes)
{
    const int64_t end = offset + bytes;
    int ret = 0;

    while (ret == 0 && offset < end) {
        BdrvExtent run = {0};

        ret = vmdk_map_lookup(map, offset, end - offset, &run);
        if (ret == 0 && run.state == BDRV_DATA) {
            ret = bdrv_write_zeroes(run.file, run.file_offset, run.bytes);
        }
        offset += run.bytes;
    }
    return ret;
}

/* Is any of the *count entries from that of grain on set, in any set of tables?  Where no set
 * has a table, *count becomes all that are left of it. */
static int any_entry(VmdkMap *map, int64_t grain, int64_t *count, int *any)
{
    const int64_t left = map->gtes - grain % map->gtes;
    uint8_t bytes[CLEAR_ENTRIES * ENTRY_BYTES];
    int ret = 0, absent = 1;

    *any = 0;
    *count = bdrv_min(left, CLEAR_ENTRIES);
    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        int64_t table = 0;

        ret = map->gd[set] != 0 ? vmdk_map_table(map, (VmdkSet)set, grain / map->gtes, &table)
                                : 0;
        if (ret == 0 && table != 0) {
            absent = 0;
            ret = bdrv_table_read(map->extent->image->table, file_of(map), bytes,
                                  (size_t)*count * ENTRY_BYTES,
                                  table + grain % map->gtes * ENTRY_BYTES);
            for (int64_t i = 0; ret == 0 && i < *count * ENTRY_BYTES; i++) {
                *any |= bytes[i];
            }
        }
    }
    *count = absent ? left : *count;
    return ret;
}

/* What the entries say does not matter: they may be what an accident left. */
int vmdk_map_clear(VmdkMap *map, int64_t offset)
{
    const int64_t end = map->tables * map->gtes;
    int64_t grain = bdrv_div_up(offset, map->grain), count;
    int ret = 0, any;

    for (; ret == 0 && grain < end; grain += count) {
        ret = any_entry(map, grain, &count, &any);
        if (ret == 0 && any) {
            ret = vmdk_map_enter(map, grain * map->grain, count, 0, 0);
        }
    }
    return ret;
}

/* What of the last grain lies behind the old end would appear when it moves. */
static int zero_behind(VmdkMap *map, int64_t end)
{
    BdrvExtent run = {0};
    int ret = vmdk_map_lookup(map, end - 1, 1, &run);

    if (ret < 0 || run.state != BDRV_DATA) {
        return ret;
    }
    return bdrv_write_zeroes(file_of(map), run.file_offset + 1,
                             bdrv_round_up(end, map->grain) - end);
}

int vmdk_map_trim(VmdkMap *map)
{
    VmdkUse use = {0};
    int ret;

    vmdk_map_forget_regions(map);
    ret = vmdk_map_scan(map, &use);
    return ret < 0 ? ret
                   : vmdk_space_reset(map->space, bdrv_max(use.grains_end, map->first_data));
}

int vmdk_map_cut(VmdkMap *map, int64_t length)
{
    const int64_t old = map->extent->length, kept = bdrv_min(length, old);
    int ret = 0;

    if (length < old) {
        ret = vmdk_map_discard(map, kept, old - kept, 0);
    } else if (old % map->grain != 0) {
        ret = vmdk_map_scan_to_grow(map);
        ret = ret < 0 ? ret : zero_behind(map, old);
    }
    if (ret == 0) {
        ret = vmdk_map_clear(map, kept);
    }
    return ret < 0 ? ret : bdrv_table_flush(map->extent->image->table);
}

/* The directory says that there is no table: the grains behind them are gone in
 * the same step. */
static int drop_tables(VmdkMap *map)
{
    static const uint8_t none[ENTRY_BYTES];
    int ret = 0;

    for (int64_t table = 0; ret == 0 && table < map->tables; table++) {
        ret = bdrv_table_write(map->extent->image->table, file_of(map), none, sizeof none,
                               map->gd[VMDK_PRIMARY] + table * ENTRY_BYTES,
                               BDRV_TABLE_PRIMARY);
    }
    vmdk_map_forget_tables(map);
    return ret;
}

/* Where the last table ends, or the directory. */
static int find_tables_end(VmdkMap *map, int64_t *end)
{
    const int64_t bytes = bdrv_round_up(map->gtes * ENTRY_BYTES, BDRV_SECTOR_SIZE);
    int ret = 0;

    *end = bdrv_max(map->first_data, map->text.end);
    for (int set = 0; set < VMDK_SETS; set++) {
        if (map->gd[set] != 0) {
            *end = bdrv_max(*end, map->gd[set] + map->tables * ENTRY_BYTES);
        }
        for (int64_t table = 0; ret == 0 && map->gd[set] != 0 && table < map->tables; table++) {
            int64_t offset;

            ret = vmdk_map_table(map, (VmdkSet)set, table, &offset);
            *end = bdrv_max(*end, ret == 0 && offset != 0 ? offset + bytes : 0);
        }
    }
    return ret;
}

/* The file is cut when no entry on disk points behind the cut any more. */
int vmdk_map_empty(VmdkMap *map, VmdkTables tables)
{
    int64_t end;
    int ret = tables == VMDK_DROP_TABLES ? drop_tables(map)
                                         : vmdk_map_clear(map, 0);

    if (ret == 0) {
        ret = bdrv_table_flush(map->extent->image->table);
    }
    if (ret == 0) {
        ret = find_tables_end(map, &end);
    }
    if (ret == 0) {
        ret = vmdk_space_reset(map->space, end);
    }
    if (ret == 0) {
        bdrv_table_forget(map->extent->image->table, file_of(map));
        vmdk_map_forget_regions(map);
        ret = vmdk_map_need_regions(map);
    }
    return ret;
}
