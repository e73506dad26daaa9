/* SPDX-License-Identifier: MIT */
/*
 * scan.c - are the tables of an extent sound enough to be written to?
 *
 * A program that crashed may have left entries that point behind the end of
 * the file; the next grain would be put just there, and the old entry would
 * then show it at a second place of the disk.  So before anything is written
 * all tables are read, once, and any damage means: not before a repair.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    READ_BYTES = 1024 * 1024,
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1,
    /* Places of the file of which is remembered whether a grain is there. */
    SEEN_BYTES_MAX = 64 * 1024 * 1024,
    /* In a larger file the grains themselves are remembered; if there are more, shared
     * ones are not looked for: then the file has 8 GiB of data or more. */
    STARTS_MAX = 16 * 1024 * 1024
};

typedef struct Scan {
    VmdkMap *map;
    uint8_t *buf; /* READ_BYTES */
    uint8_t *seen; /* a bit per unit of the file; NULL: too many */
    int64_t unit; /* the grain, or a sector where grains are not aligned */
    int64_t grains; /* of the extent */
    int unaligned;
    int whole; /* the last grain counts as a whole one */
    uint32_t *starts; /* without seen: the entries */
    size_t start_count, start_room;
    VmdkUse use;
} Scan;

/* Marks the places of a grain; 1: one was marked already. */
static int mark_seen(Scan *scan, int64_t start, int64_t end)
{
    int shared = 0;

    for (int64_t i = start / scan->unit; scan->seen && i * scan->unit < end; i++) {
        uint8_t bit = (uint8_t)(1u << i % 8);

        shared |= scan->seen[i / 8] & bit;
        scan->seen[i / 8] |= bit;
    }
    return shared != 0;
}

/* Takes down where a grain begins. */
static int add_start(Scan *scan, uint32_t entry)
{
    if (scan->start_count == scan->start_room) {
        size_t room = scan->start_room ? 2 * scan->start_room : 1024;
        uint32_t *starts;

        if (room > STARTS_MAX) {
            return 0;
        }
        starts = realloc(scan->starts, room * sizeof *starts);
        if (!starts) {
            return -ENOMEM;
        }
        scan->starts = starts;
        scan->start_room = room;
    }
    scan->starts[scan->start_count++] = entry;
    return 0;
}

static int compare_starts(const void *left, const void *right)
{
    const uint32_t *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

/* Do two of them share sectors? */
static int check_starts(Scan *scan)
{
    const uint32_t sectors = (uint32_t)(scan->map->grain / BDRV_SECTOR_SIZE);

    if (scan->start_count > 0) {
        qsort(scan->starts, scan->start_count, sizeof *scan->starts, compare_starts);
    }
    for (size_t i = 1; i < scan->start_count; i++) {
        if (scan->starts[i] - scan->starts[i - 1] < sectors) {
            return bdrv_error(scan->map->extent->file, -EINVAL, "two grains of %" PRIu32
                              " sectors are said to be at sectors %" PRIu32 " and %" PRIu32,
                              sectors, scan->starts[i - 1], scan->starts[i]);
        }
    }
    return 0;
}

static int damaged(const VmdkMap *map, int64_t grain, uint32_t entry, const char *why)
{
    return bdrv_error(map->extent->file, -EINVAL, "the GTE [%" PRId64 "] in GT [%" PRId64
                      "] is invalid (%" PRIu32 "): %s", grain % map->gtes, grain / map->gtes,
                      entry, why);
}

static int scan_grain(Scan *scan, int64_t grain, uint32_t entry)
{
    VmdkMap *map = scan->map;
    const int64_t offset = grain * map->grain;
    const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;
    const int64_t covered = vmdk_map_covered(map, offset);
    const int64_t end = start + (scan->whole ? map->grain : covered);
    int ret = vmdk_map_check_grain(map, offset, entry);

    if (ret < 0) {
        return -EINVAL;
    }
    if (start + covered > map->space->file_size) {
        return damaged(map, grain, entry, "the file's end cuts the grain");
    }
    if (vmdk_regions_hit(&map->regions, start, end)) {
        return damaged(map, grain, entry, "a table is in the rest of it");
    }
    if (start < map->text.end && map->text.start < end) {
        return damaged(map, grain, entry, "the descriptor is there");
    }
    scan->unaligned |= start % map->grain != 0;
    if (!(scan->unaligned && scan->unit > BDRV_SECTOR_SIZE) && mark_seen(scan, start, end)) {
        return damaged(map, grain, entry, "another entry points to the same place");
    }
    scan->use.end = bdrv_max(scan->use.end, end);
    scan->use.grains_end = bdrv_max(scan->use.grains_end, start + map->grain);
    return scan->seen ? 0 : add_start(scan, entry);
}

/* An entry at some byte of the tables from first on. */
static int scan_entry(Scan *scan, int64_t first, int64_t at)
{
    const VmdkMap *map = scan->map;
    const int64_t table = first + at / vmdk_map_table_bytes(map);
    const int64_t index = at % vmdk_map_table_bytes(map) / ENTRY_BYTES;
    const uint32_t entry = bdrv_load_le32(scan->buf + at);

    if (entry == 0 || (entry == ENTRY_ZEROED && atomic_load(&map->has_zeroed)) ||
        index >= map->gtes || table * map->gtes + index >= scan->grains) {
        return 0;
    }
    return scan_grain(scan, table * map->gtes + index, entry);
}

static int is_empty(const uint8_t *sector)
{
    return sector[0] == 0 && memcmp(sector, sector + 1, BDRV_SECTOR_SIZE - 1) == 0;
}

/* The entries of the tables from first on, of which buf has bytes; in most disks,
 * most of them are 0. */
static int scan_entries(Scan *scan, int64_t first, int64_t bytes)
{
    int ret = 0;

    for (int64_t sector = 0; ret == 0 && sector < bytes; sector += BDRV_SECTOR_SIZE) {
        const int64_t end = is_empty(scan->buf + sector) ? sector : sector + BDRV_SECTOR_SIZE;

        for (int64_t at = sector; ret == 0 && at < end; at += ENTRY_BYTES) {
            ret = scan_entry(scan, first, at);
        }
    }
    return ret;
}

/* The table to be scanned: the one readers use. */
static int find_table(VmdkMap *map, int64_t table, int64_t *offset)
{
    int64_t redundant = 0;
    int ret = vmdk_map_table(map, VMDK_PRIMARY, table, offset);

    if (ret == 0 && map->gd[VMDK_REDUNDANT] != 0) {
        ret = vmdk_map_table(map, VMDK_REDUNDANT, table, &redundant);
    }
    if (ret == 0 && *offset == 0) {
        *offset = redundant;
    }
    return ret;
}

/* Tables that were never written are a hole of the file, and often large. */
static int is_hole(BlockDriverState *file, int64_t offset, int64_t bytes)
{
    BdrvExtent run;

    return bdrv_is_allocated(file, offset, bytes, &run) == 0 && run.state == BDRV_ZERO &&
           run.bytes == bytes;
}

/* Reads as many tables as lie one behind the other, and looks at them. */
static int scan_run(Scan *scan, int64_t first, int64_t *count)
{
    VmdkMap *map = scan->map;
    const int64_t bytes = vmdk_map_table_bytes(map);
    int64_t offset, next;
    int ret = find_table(map, first, &offset);

    *count = 1;
    if (ret < 0 || offset == 0) {
        return ret;
    }
    while ((*count + 1) * bytes <= READ_BYTES && first + *count < map->tables &&
           find_table(map, first + *count, &next) == 0 && next == offset + *count * bytes) {
        (*count)++;
    }
    if (is_hole(map->extent->file, offset, *count * bytes)) {
        return 0;
    }
    ret = bdrv_pread(map->extent->file, scan->buf, (size_t)(*count * bytes), offset);
    return ret < 0 ? ret : scan_entries(scan, first, *count * bytes);
}

static int scan_all(Scan *scan)
{
    const VmdkMap *map = scan->map;
    /* The last grain may begin in the file and, when it counts as a whole, end a grain later. */
    const int64_t seen_bytes = (map->space->file_size + map->grain) / scan->unit / 8 + 1;
    int64_t count;
    int ret = 0;

    scan->seen = seen_bytes <= SEEN_BYTES_MAX ? calloc(1, (size_t)seen_bytes) : NULL;
    scan->unaligned = 0;
    scan->use.end = map->text.end;
    if (map->regions.count > 0) {
        scan->use.end = bdrv_max(scan->use.end,
                                 map->regions.list[map->regions.count - 1].end);
    }
    scan->use.grains_end = scan->use.end;
    for (int64_t table = 0; ret == 0 && table < map->tables; table += count) {
        ret = scan_run(scan, table, &count);
    }
    ret = ret == 0 ? check_starts(scan) : ret;
    free(scan->seen);
    free(scan->starts);
    scan->starts = NULL;
    scan->start_count = scan->start_room = 0;
    return ret;
}

static int scan_map(VmdkMap *map, int whole, VmdkUse *use)
{
    Scan scan = {
        .map = map,
        .unit = map->grain,
        .whole = whole,
        .grains = bdrv_div_up(map->extent->length, map->grain),
    };
    int ret = vmdk_map_need_regions(map);

    if (ret < 0) {
        return ret;
    }
    if (map->regions.overlap) {
        return bdrv_error(map->extent->file, -EINVAL, "two tables share the same sectors");
    }
    if (map->text.end > 0 && vmdk_regions_hit(&map->regions, map->text.start, map->text.end)) {
        return bdrv_error(map->extent->file, -EINVAL, "sparse header: the %" PRId64 " sectors "
                          "at sector %" PRId64 " that are set aside for the descriptor reach "
                          "into the tables", (map->text.end - map->text.start) / BDRV_SECTOR_SIZE,
                          map->text.start / BDRV_SECTOR_SIZE);
    }
    scan.buf = malloc(READ_BYTES);
    if (!scan.buf) {
        return -ENOMEM;
    }
    ret = scan_all(&scan);
    if (ret == 0 && scan.unaligned && scan.unit > BDRV_SECTOR_SIZE) {
        scan.unit = BDRV_SECTOR_SIZE;
        ret = scan_all(&scan);
    }
    free(scan.buf);
    *use = scan.use;
    return ret;
}

int vmdk_map_scan(VmdkMap *map, VmdkUse *use)
{
    int ret = scan_map(map, 0, use);

    return ret < 0 && ret != -ENOMEM
               ? bdrv_error_prefix(map->extent->file, -EINVAL, "the tables are damaged; the "
                                   "image must be repaired before it is written to")
               : ret;
}

int vmdk_map_scan_to_grow(VmdkMap *map)
{
    VmdkUse use;
    int ret = scan_map(map, 1, &use);

    return ret < 0 && ret != -ENOMEM
               ? bdrv_error_prefix(map->extent->file, -EINVAL, "the disk cannot grow in this "
                                   "file, but in one that it is converted to")
               : ret;
}
