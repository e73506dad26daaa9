/* SPDX-License-Identifier: MIT */
/*
 * check-map.c - what the checks of directories, tables and space share: bits
 * for the units of a file, the worth of an entry, and room at the file's end.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1
};

/* No grain ends behind this byte, however long the file is: entries are 32-bit sector
 * numbers. */
static const int64_t reach = ((INT64_C(1) << 32) + VMDK_GRAIN_SECTORS_MAX) * BDRV_SECTOR_SIZE;

/* -------------------------------------------------------------------- bits */

int vmdk_bits_new(VmdkBits *bits, int64_t file_size, int64_t unit)
{
    bits->unit = unit;
    bits->used = 0;
    bits->count = bdrv_div_up(bdrv_min(file_size, reach), unit);
    bits->bytes = calloc(1, (size_t)(bits->count / 8 + 1));
    return bits->bytes ? 0 : -ENOMEM;
}

int vmdk_bits_any(const VmdkBits *bits, int64_t start, int64_t end)
{
    int64_t last = bdrv_min(bdrv_div_up(end, bits->unit), bits->count);

    for (int64_t i = start / bits->unit; i < last; i++) {
        if (bits->bytes[i / 8] >> i % 8 & 1) {
            return 1;
        }
    }
    return 0;
}

void vmdk_bits_set(VmdkBits *bits, int64_t start, int64_t end)
{
    int64_t last = bdrv_min(bdrv_div_up(end, bits->unit), bits->count);

    for (int64_t i = start / bits->unit; i < last; i++) {
        bits->bytes[i / 8] |= (uint8_t)(1u << i % 8);
    }
    bits->used = bdrv_max(bits->used, last);
}

/* The first bit from i on, below end, that is wanted; or end.  Empty stretches may be
 * terabytes of a file long: eight bytes at a time. */
static int64_t find_bit(const VmdkBits *bits, int64_t i, int64_t end, int wanted)
{
    const uint64_t boring = wanted ? 0 : UINT64_MAX;

    while (i < end && (bits->bytes[i / 8] >> i % 8 & 1) != wanted) {
        const int skip = i % 8 == 0 && end - i >= 64 &&
                         bdrv_load_le64(bits->bytes + i / 8) == boring;

        i += skip ? 64 : 1;
    }
    return i;
}

int64_t vmdk_bits_find(const VmdkBits *bits, int64_t start, int64_t end, int wanted)
{
    const int64_t last = bdrv_min(bdrv_div_up(end, bits->unit), bits->used);
    int64_t i = start / bits->unit;

    if (i < last) {
        i = find_bit(bits, i, last, wanted);
    }
    return wanted && i >= last ? end : bdrv_min(bdrv_max(i * bits->unit, start), end);
}

/* ------------------------------------------------------------------ entries */

int64_t vmdk_check_table_bytes(const VmdkCheckMap *map)
{
    return bdrv_round_up(map->gtes * ENTRY_BYTES, BDRV_SECTOR_SIZE);
}

int64_t vmdk_check_covered(const VmdkCheckMap *map, int64_t grain)
{
    return bdrv_min(map->grain, map->length - grain * map->grain);
}

int64_t vmdk_check_entries_in(const VmdkCheckMap *map, int64_t table)
{
    const int64_t grains = bdrv_div_up(map->length, map->grain) - table * map->gtes;

    return bdrv_max(0, bdrv_min(map->gtes, grains));
}

VmdkEntryClass vmdk_check_class(const VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;
    const int64_t end = start + vmdk_check_covered(map, grain);

    if (entry == 0) {
        return VMDK_ENTRY_EMPTY;
    }
    if (entry == ENTRY_ZEROED && map->has_zeroed) {
        return VMDK_ENTRY_ZEROED;
    }
    if (entry == ENTRY_ZEROED && map->first_data > BDRV_SECTOR_SIZE) {
        return VMDK_ENTRY_UNFLAGGED;
    }
    if (start < map->first_data || start >= map->file_size ||
        vmdk_regions_hit(&map->regions, start, end)) {
        return VMDK_ENTRY_INVALID;
    }
    return end > map->file_size ? VMDK_ENTRY_CUT : VMDK_ENTRY_GRAIN;
}

int64_t vmdk_check_take(VmdkCheckMap *map, int64_t bytes, int64_t unit)
{
    int64_t start = bdrv_round_up(bdrv_max(map->next, map->file_size), unit);

    map->next = start + bytes;
    map->used_end = bdrv_max(map->used_end, map->next);
    return start;
}

int vmdk_check_each_gde(BlockDriverState *file, int64_t gd, int64_t first, int64_t end,
                        VmdkGdeFn *act, void *opaque)
{
    enum { AT_ONCE = 1024 };
    uint8_t bytes[AT_ONCE * ENTRY_BYTES];
    int ret = 0;

    for (int64_t table = first, count; ret == 0 && table < end; table += count) {
        count = bdrv_min(end - table, AT_ONCE);
        ret = bdrv_pread(file, bytes, (size_t)count * ENTRY_BYTES, gd + table * ENTRY_BYTES);
        for (int64_t i = 0; ret == 0 && i < count; i++) {
            const uint32_t sector = bdrv_load_le32(bytes + i * ENTRY_BYTES);

            ret = sector != 0 ? act(opaque, table + i, sector) : 0;
        }
    }
    return ret;
}

typedef struct Beyond {
    const VmdkCheckMap *map;
    int64_t first; /* grain */
} Beyond;

static int table_holds(void *opaque, int64_t table, uint32_t sector)
{
    const Beyond *beyond = opaque;
    const VmdkCheckMap *map = beyond->map;
    const int64_t first = bdrv_max(0, beyond->first - table * map->gtes);
    const size_t size = (size_t)(map->gtes - first) * ENTRY_BYTES;
    uint8_t *bytes = malloc(size);
    int holds = !bytes || bdrv_pread(map->file, bytes, size, (int64_t)sector * BDRV_SECTOR_SIZE +
                                     first * ENTRY_BYTES) < 0;

    holds = holds || !bdrv_is_zero(bytes, size);
    free(bytes);
    return holds;
}

int vmdk_check_holds_beyond(const VmdkCheckMap *map, int64_t length)
{
    Beyond beyond = {.map = map, .first = bdrv_div_up(length, map->grain)};
    int holds = 0;

    for (int set = 0; set < VMDK_SETS && !holds; set++) {
        holds = map->gd_at[set] != 0 &&
                vmdk_check_each_gde(map->file, map->gd_at[set], beyond.first / map->gtes,
                                    map->tables, table_holds, &beyond) != 0;
    }
    return holds;
}

/* --------------------------------------------------------------------- life */

int vmdk_check_map(VmdkCheckMap *map)
{
    int ret = vmdk_check_directories(map);

    if (ret == 0) {
        ret = vmdk_check_entries(map);
    }
    ret = ret < 0 ? ret : vmdk_check_point(map);
    return ret < 0 ? ret : vmdk_check_leaks(map);
}

void vmdk_check_forget_grains(VmdkCheckMap *map)
{
    VmdkBits *const all[] = {&map->seen, &map->shared, &map->reserved, &map->copies,
                             &map->contested};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]->bytes);
        all[i]->bytes = NULL;
    }
}

void vmdk_check_map_free(VmdkCheckMap *map)
{
    for (int set = 0; set < VMDK_SETS; set++) {
        free(map->gd[set]);
        map->gd[set] = NULL;
    }
    free(map->swapped);
    map->swapped = NULL;
    free(map->unpointed);
    map->unpointed = NULL;
    free(map->followed);
    map->followed = NULL;
    vmdk_regions_free(&map->regions);
    vmdk_check_forget_grains(map);
}
