/* SPDX-License-Identifier: MIT */
/*
 * check-places.c - which entries of the directories are wrong?  They are found by their
 * place, by another table in the same place, or by what is there, where VMware's
 * layout is kept:
 *
 *     GD │ GT 0 │ GT 1 │ GT 2 │ …
 */
#include "check-places.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4
};

/* What is known of one GDE. */
typedef struct Place {
    int64_t start; /* bytes; 0: none */
    int set;
    int64_t table;
} Place;

uint32_t vmdk_places_usual(const VmdkCheckMap *map, int set, int64_t table)
{
    int64_t first = bdrv_round_up(map->gd_at[set] + map->tables * ENTRY_BYTES, BDRV_SECTOR_SIZE);
    int64_t start = first + table * vmdk_check_table_bytes(map);

    if (!map->fixed_layout || start + vmdk_check_table_bytes(map) > map->file_size ||
        start / BDRV_SECTOR_SIZE > UINT32_MAX) {
        return 0;
    }
    return (uint32_t)(start / BDRV_SECTOR_SIZE);
}

int vmdk_places_possible(const VmdkCheckMap *map, uint32_t sector)
{
    int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE;
    int64_t end = start + vmdk_check_table_bytes(map);

    return end <= map->file_size && !vmdk_regions_hit(&map->regions, start, end);
}

/* ------------------------------------------------- tables in the same place */

static int compare_places(const void *left, const void *right)
{
    const Place *a = left, *b = right;

    if (a->start != b->start) {
        return a->start < b->start ? -1 : 1;
    }
    /* The primary first, then the earlier. */
    return a->set != b->set ? a->set - b->set : (a->table > b->table) - (a->table < b->table);
}

static int is_usual(const VmdkCheckMap *map, const Place *place)
{
    return place->start / BDRV_SECTOR_SIZE == vmdk_places_usual(map, place->set, place->table);
}

static size_t gather_places(const VmdkCheckMap *map, Place *places)
{
    size_t count = 0;

    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            uint32_t sector = map->gd[set][t];

            if (sector != 0 && vmdk_places_possible(map, sector)) {
                places[count++] = (Place){(int64_t)sector * BDRV_SECTOR_SIZE, set, t};
            }
        }
    }
    return count;
}

/* Of two tables that share bytes, the one that is not where it belongs is wrong,
 * or else the later one: *wrong gets a mark at its place in places. */
static int64_t mark_overlaps(const VmdkCheckMap *map, Place *places, size_t count,
                             uint8_t *wrong)
{
    const int64_t bytes = vmdk_check_table_bytes(map);
    size_t last = 0;
    int64_t found = 0;

    for (size_t i = 1; i < count; i++) {
        if (places[i].start >= places[last].start + bytes) {
            last = i;
            continue;
        }
        found++;
        if (is_usual(map, &places[i]) && !is_usual(map, &places[last])) {
            wrong[last] = 1;
            last = i;
        } else {
            wrong[i] = 1;
        }
    }
    return found;
}

/* ----------------------------------------------------------- what is in a table */

int vmdk_places_read(const VmdkCheckMap *map, uint32_t sector, uint8_t *bytes)
{
    return bdrv_pread(map->file, bytes, (size_t)vmdk_check_table_bytes(map),
                      (int64_t)sector * BDRV_SECTOR_SIZE);
}

/* Could the bytes be that table?  All its entries are possible ones. */
static int is_table(const VmdkCheckMap *map, int64_t table, const uint8_t *bytes)
{
    const int64_t count = vmdk_check_entries_in(map, table);

    for (int64_t i = 0; i < count; i++) {
        const uint32_t entry = bdrv_load_le32(bytes + i * ENTRY_BYTES);

        switch (vmdk_check_class(map, table * map->gtes + i, entry)) {
        case VMDK_ENTRY_INVALID:
        case VMDK_ENTRY_CUT:
            return 0;
        case VMDK_ENTRY_GRAIN:
            if (!map->any_place && (int64_t)entry * BDRV_SECTOR_SIZE % map->grain != 0) {
                return 0;
            }
            break;
        case VMDK_ENTRY_EMPTY:
        case VMDK_ENTRY_ZEROED:
        case VMDK_ENTRY_UNFLAGGED:
            break;
        }
    }
    return 1;
}

int vmdk_places_is_sound(const VmdkCheckMap *map, int64_t table, uint32_t sector,
                         uint8_t *bytes)
{
    return vmdk_places_read(map, sector, bytes) == 0 && is_table(map, table, bytes);
}

/* Reads the table of the other set.  0: there is none, or it cannot be read. */
static int read_copy(const VmdkCheckMap *map, int set, int64_t table, uint8_t *bytes)
{
    const uint32_t copy = map->gd[!set] ? map->gd[!set][table] : 0;

    return copy != 0 && copy != map->gd[set][table] && vmdk_places_possible(map, copy) &&
           vmdk_places_read(map, copy, bytes) == 0;
}

/* Of two tables, one here and one there, which is more like the copy?  Where they
 * differ, each entry has a vote.  (That there is nothing there is no sign of a table:
 * nothing was ever written.) */
static int copy_votes_for_there(const VmdkCheckMap *map, const uint8_t *here,
                                const uint8_t *there, const uint8_t *copy)
{
    int64_t votes = 0;

    for (int64_t i = 0; i < map->gtes * ENTRY_BYTES; i += ENTRY_BYTES) {
        const uint32_t other = bdrv_load_le32(there + i);

        if (bdrv_load_le32(here + i) != other) {
            votes += other != 0 && bdrv_load_le32(copy + i) == other;
            votes -= bdrv_load_le32(copy + i) == bdrv_load_le32(here + i);
        }
    }
    return votes > 0;
}

/* Zeros are no table's, unless they are before the first grain, where there are only tables. */
static int is_nothing(const VmdkCheckMap *map, uint32_t sector, const uint8_t *bytes)
{
    const int64_t size = vmdk_check_table_bytes(map);

    return (int64_t)sector * BDRV_SECTOR_SIZE + size > map->first_data &&
           bdrv_is_zero(bytes, (size_t)size);
}

/* A GDE that points somewhere else than the layout has its table, where there
 * is none, while there is one where it should be.  Where a table is equal to
 * that of the other set it is right, whatever its entries are: two against one. */
static int is_astray(const VmdkCheckMap *map, int set, int64_t table, uint8_t *bytes)
{
    const size_t size = (size_t)vmdk_check_table_bytes(map);
    const uint32_t here = map->gd[set][table], usual = vmdk_places_usual(map, set, table);
    uint8_t *const there = bytes + size, *const copy = bytes + 2 * size;
    int has_copy;

    if (usual == 0 || here == usual || !vmdk_places_possible(map, usual) ||
        !vmdk_places_is_sound(map, table, usual, there)) {
        return 0;
    }
    has_copy = read_copy(map, set, table, copy);
    if (!has_copy && is_nothing(map, usual, there)) {
        return 0;
    }
    if (vmdk_places_read(map, here, bytes) < 0) {
        return 1;
    }
    if (has_copy && memcmp(bytes, copy, size) == 0) {
        return 0;
    }
    return !is_table(map, table, bytes) ||
           (has_copy && copy_votes_for_there(map, bytes, there, copy));
}

/* ------------------------------------------------------------------- verdicts */

static void judge_places(const VmdkCheckMap *map, VmdkPlaces *places)
{
    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            if (map->gd[set][t] != 0 && !vmdk_places_possible(map, map->gd[set][t])) {
                places->fault[set][t] = VMDK_PLACE_OUTSIDE;
                places->wrong++;
            }
        }
    }
}

/* As nearly always, no two tables share bytes: found out in little memory. */
static int is_free_of_overlaps(const VmdkCheckMap *map)
{
    VmdkRegions regions = {0};
    int ret = 0, overlap;

    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; ret == 0 && map->gd[set] && t < map->tables; t++) {
            int64_t start = (int64_t)map->gd[set][t] * BDRV_SECTOR_SIZE;

            if (start != 0 && vmdk_places_possible(map, map->gd[set][t])) {
                ret = vmdk_regions_add(&regions, start, start + vmdk_check_table_bytes(map));
            }
        }
    }
    vmdk_regions_sort(&regions);
    overlap = regions.overlap;
    vmdk_regions_free(&regions);
    return ret == 0 && !overlap;
}

static int judge_overlaps(const VmdkCheckMap *map, VmdkPlaces *places)
{
    Place *list = calloc((size_t)map->tables * VMDK_SETS, sizeof *list);
    uint8_t *wrong = calloc((size_t)map->tables * VMDK_SETS, 1);
    size_t count;
    int ret = list && wrong ? 0 : -ENOMEM;

    if (ret == 0) {
        count = gather_places(map, list);
        qsort(list, count, sizeof *list, compare_places);
        places->wrong += mark_overlaps(map, list, count, wrong);
        for (size_t i = 0; i < count; i++) {
            if (wrong[i]) {
                places->fault[list[i].set][list[i].table] = VMDK_PLACE_OVERLAP;
            }
        }
    }
    free(list);
    free(wrong);
    return ret;
}

static void judge_strays(const VmdkCheckMap *map, VmdkPlaces *places)
{
    for (int set = 0; map->fixed_layout && set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            if (map->gd[set][t] != 0 && places->fault[set][t] == VMDK_PLACE_SOUND &&
                is_astray(map, set, t, places->bytes)) {
                places->fault[set][t] = VMDK_PLACE_ASTRAY;
                places->wrong++;
            }
        }
    }
}

static void count_strange(const VmdkCheckMap *map, VmdkPlaces *places)
{
    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            if (map->gd[set][t] != 0 && places->fault[set][t] == VMDK_PLACE_SOUND) {
                places->strange[set] +=
                    map->gd[set][t] == vmdk_places_usual(map, set, t) ? -1 : 1;
            }
        }
    }
}

/* Where most are elsewhere, the layout is no evidence against one that is only in this set. */
static void acquit_strays(const VmdkCheckMap *map, VmdkPlaces *places, int set)
{
    for (int64_t t = 0; map->gd[set] && places->strange[set] > 0 && t < map->tables; t++) {
        if (places->fault[set][t] == VMDK_PLACE_ASTRAY &&
            (!map->gd[!set] || map->gd[!set][t] == 0)) {
            places->fault[set][t] = VMDK_PLACE_SOUND;
            places->wrong--;
        }
    }
}

int vmdk_places_judge(const VmdkCheckMap *map, VmdkPlaces *places)
{
    int ret;

    judge_places(map, places);
    ret = is_free_of_overlaps(map) ? 0 : judge_overlaps(map, places);
    if (ret == 0) {
        judge_strays(map, places);
        count_strange(map, places);
        acquit_strays(map, places, VMDK_PRIMARY);
        acquit_strays(map, places, VMDK_REDUNDANT);
    }
    return ret;
}
