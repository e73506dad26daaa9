/* SPDX-License-Identifier: MIT */
/*
 * regions.c - the places in an extent's file where its directories and tables
 * are, so that no grain is believed, or put, to be there.
 *
 * They are found when first needed: who only wants to know what an image is does
 * not pay for its size.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4,
    READ_BYTES = 64 * 1024,
    /* Hostile directories could make every entry a region of its own. */
    REGIONS_MAX = 1 << 20
};

/* ----------------------------------------------------------------- regions */

/* … for one more. */
static int make_room(VmdkRegions *regions)
{
    const size_t room = regions->room ? 2 * regions->room : 8;
    VmdkRegion *list;

    if (regions->count < regions->room) {
        return 0;
    }
    list = room > REGIONS_MAX ? NULL : realloc(regions->list, room * sizeof *list);
    if (!list) {
        return -ENOMEM;
    }
    regions->list = list;
    regions->room = room;
    return 0;
}

int vmdk_regions_add(VmdkRegions *regions, int64_t start, int64_t end)
{
    int ret;

    if (regions->count > 0 && regions->list[regions->count - 1].end == start) {
        regions->list[regions->count - 1].end = end;
        return 0;
    }
    ret = make_room(regions);
    if (ret == 0) {
        regions->list[regions->count++] = (VmdkRegion){start, end};
    }
    return ret;
}

/* The first region that ends at start or behind. */
static size_t find_region(const VmdkRegions *regions, int64_t start)
{
    size_t low = 0, high = regions->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (regions->list[middle].end < start) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int vmdk_regions_insert(VmdkRegions *regions, int64_t start, int64_t end)
{
    const size_t at = find_region(regions, start);
    VmdkRegion region = {start, end};
    size_t behind = at;
    int ret = make_room(regions);

    if (ret < 0) {
        return ret;
    }
    for (; behind < regions->count && regions->list[behind].start <= end; behind++) {
        const VmdkRegion *met = &regions->list[behind];

        regions->overlap |= met->start < end && start < met->end;
        region.start = bdrv_min(region.start, met->start);
        region.end = bdrv_max(region.end, met->end);
    }
    memmove(&regions->list[at + 1], &regions->list[behind],
            (regions->count - behind) * sizeof region);
    regions->list[at] = region;
    regions->count += 1 + at - behind;
    return 0;
}

static int compare_regions(const void *left, const void *right)
{
    const VmdkRegion *a = left, *b = right;

    return (a->start > b->start) - (a->start < b->start);
}

void vmdk_regions_sort(VmdkRegions *regions)
{
    size_t kept = 0;

    if (regions->count == 0) {
        return;
    }
    qsort(regions->list, regions->count, sizeof *regions->list, compare_regions);
    for (size_t i = 1; i < regions->count; i++) {
        VmdkRegion *last = &regions->list[kept], *next = &regions->list[i];

        if (next->start > last->end) {
            regions->list[++kept] = *next;
        } else {
            regions->overlap |= next->start < last->end;
            last->end = bdrv_max(last->end, next->end);
        }
    }
    regions->count = kept + 1;
}

int vmdk_regions_hit(const VmdkRegions *regions, int64_t start, int64_t end)
{
    size_t low = 0, high = regions->count;

    while (low < high) { /* the first region that ends behind start */
        size_t middle = low + (high - low) / 2;

        if (regions->list[middle].end <= start) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < regions->count && regions->list[low].start < end;
}

void vmdk_regions_free(VmdkRegions *regions)
{
    free(regions->list);
    *regions = (VmdkRegions){0};
}

/* ------------------------------------------------------------------- tables */

/* How many entries, from the first on, name tables that lie one behind the other. */
static int64_t count_row(const VmdkMap *map, const uint8_t *bytes, int64_t count)
{
    const uint32_t step = (uint32_t)(vmdk_map_table_bytes(map) / BDRV_SECTOR_SIZE);
    uint32_t expected = bdrv_load_le32(bytes) + step;
    int64_t n = 1;

    while (n < count && expected >= step && bdrv_load_le32(bytes + n * ENTRY_BYTES) == expected) {
        expected += step;
        n++;
    }
    return n;
}

/* Remembers the places of tables that lie one behind the other.  Those that make no
 * sense are left for whoever needs them. */
static int add_row(VmdkMap *map, uint32_t sector, int64_t count)
{
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE;
    int ret = 0;

    if (sector == 0) {
        return 0;
    }
    if (!vmdk_map_in_directory(map, start, start + count * vmdk_map_table_bytes(map)) &&
        start + count * vmdk_map_table_bytes(map) <= vmdk_map_file_size(map)) {
        return vmdk_regions_add(&map->regions, start, start + count * vmdk_map_table_bytes(map));
    }
    for (int64_t i = 0; ret == 0 && i < count; i++) {
        const int64_t at = start + i * vmdk_map_table_bytes(map);

        if (!vmdk_map_in_directory(map, at, at + vmdk_map_table_bytes(map)) &&
            at + vmdk_map_table_bytes(map) <= vmdk_map_file_size(map)) {
            ret = vmdk_regions_add(&map->regions, at, at + vmdk_map_table_bytes(map));
        }
    }
    return ret;
}

static int add_entries(VmdkMap *map, const uint8_t *bytes, int64_t count)
{
    int64_t row;
    int ret = 0;

    for (int64_t i = 0; ret == 0 && i < count; i += row) {
        row = count_row(map, bytes + i * ENTRY_BYTES, count - i);
        ret = add_row(map, bdrv_load_le32(bytes + i * ENTRY_BYTES), row);
    }
    return ret;
}

/* Remembers where the directory and the tables of one set are. */
static int add_tables(VmdkMap *map, VmdkSet set)
{
    const int64_t size = bdrv_min(vmdk_map_gd_bytes(map), READ_BYTES);
    uint8_t *bytes = malloc((size_t)size);
    int ret = bytes ? vmdk_regions_add(&map->regions, map->gd[set],
                                       map->gd[set] + vmdk_map_gd_bytes(map))
                    : -ENOMEM;

    for (int64_t done = 0; ret == 0 && done < vmdk_map_gd_bytes(map); done += size) {
        const int64_t now = bdrv_min(size, vmdk_map_gd_bytes(map) - done);

        ret = bdrv_pread(map->extent->file, bytes, (size_t)now, map->gd[set] + done);
        if (ret == 0 && !bdrv_is_zero(bytes, (size_t)now)) { /* most of a hostile directory is */
            ret = add_entries(map, bytes, now / ENTRY_BYTES);
        }
    }
    free(bytes);
    return ret;
}

static int find_regions(VmdkMap *map)
{
    int ret = 0;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        if (map->gd[set] != 0) {
            ret = add_tables(map, (VmdkSet)set);
        }
    }
    if (ret < 0) {
        vmdk_regions_free(&map->regions);
    }
    vmdk_regions_sort(&map->regions);
    return ret;
}

int vmdk_map_need_regions(VmdkMap *map)
{
    int ret = 0;

    if (atomic_load_explicit(&map->has_regions, memory_order_acquire)) {
        return 0;
    }
    pthread_mutex_lock(&map->lock);
    if (!atomic_load(&map->has_regions)) {
        ret = find_regions(map);
        atomic_store(&map->has_regions, ret == 0);
    }
    pthread_mutex_unlock(&map->lock);
    return ret;
}

void vmdk_map_forget_regions(VmdkMap *map)
{
    vmdk_regions_free(&map->regions);
    atomic_store(&map->has_regions, 0);
}
