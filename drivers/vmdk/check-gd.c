/* SPDX-License-Identifier: MIT */
/*
 * check-gd.c - the directories: makes each entry that is wrong (check-places.c) point at
 * a table again.  Which one?
 *
 *     the one in the usual place      VMware's layout is kept: GD │ GT 0 │ GT 1 │ …
 *     a copy of the other set's
 *     a copy of the one it points at  another entry does, too: both read as before
 *     none                            what was there is gone
 */
#include "check-places.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4
};

static int64_t gd_bytes(const VmdkCheckMap *map)
{
    return map->tables * ENTRY_BYTES;
}

static const char *set_name(int set)
{
    return set == VMDK_PRIMARY ? "GD" : "redundant GD";
}

/* -------------------------------------------------------------------- loading */

static int load_directory(VmdkCheckMap *map, int set)
{
    uint8_t *bytes = malloc((size_t)gd_bytes(map));
    int ret = bytes ? 0 : -ENOMEM;

    map->gd[set] = calloc((size_t)map->tables, sizeof *map->gd[set]);
    if (ret == 0 && !map->gd[set]) {
        ret = -ENOMEM;
    }
    if (ret == 0) {
        ret = bdrv_pread(map->file, bytes, (size_t)gd_bytes(map), map->gd_at[set]);
    }
    for (int64_t i = 0; ret == 0 && i < map->tables; i++) {
        map->gd[set][i] = bdrv_load_le32(bytes + i * ENTRY_BYTES);
    }
    free(bytes);
    return ret;
}

/* ------------------------------------------------------------------- mending */

static int write_gde(VmdkCheckMap *map, int set, int64_t table, uint32_t sector)
{
    uint8_t bytes[ENTRY_BYTES];

    bdrv_store_le32(bytes, sector);
    map->c->mended = 1;
    return bdrv_table_write(map->c->image->table, map->file, bytes, sizeof bytes,
                            map->gd_at[set] + table * ENTRY_BYTES,
                            set == VMDK_PRIMARY ? BDRV_TABLE_PRIMARY : BDRV_TABLE_REDUNDANT);
}

/* What a grain that is cut by the file's end may need. */
static int64_t behind_cut_grains(const VmdkCheckMap *map)
{
    const int64_t size = bdrv_round_up(map->file_size, BDRV_SECTOR_SIZE);
    const int64_t part = map->file_size % map->grain;

    return map->any_place ? size + map->grain - BDRV_SECTOR_SIZE
                          : bdrv_round_up(map->file_size + (part ? map->grain : 0), map->grain);
}

/* Copies a table to the file's end, behind such a grain.  The entry that will point at it is written behind the next barrier. */
static int copy_table(VmdkCheckMap *map, uint32_t from, uint32_t *to)
{
    const int64_t bytes = vmdk_check_table_bytes(map);
    uint8_t *buf = malloc((size_t)bytes);
    int64_t start;
    int ret = buf ? vmdk_places_read(map, from, buf) : -ENOMEM;

    map->next = bdrv_max(map->next, behind_cut_grains(map));
    start = vmdk_check_take(map, bytes, BDRV_SECTOR_SIZE);

    if (ret == 0 && start / BDRV_SECTOR_SIZE > UINT32_MAX) {
        ret = bdrv_error(map->file, -EFBIG, "there is no room for another table in the first 2 "
                         "TiB of the file");
    }
    if (ret == 0) {
        ret = bdrv_pwrite(map->file, buf, (size_t)bytes, start);
    }
    free(buf);
    *to = (uint32_t)(start / BDRV_SECTOR_SIZE);
    return ret;
}

static int add_region(VmdkCheckMap *map, uint32_t sector)
{
    int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE;

    return vmdk_regions_insert(&map->regions, start, start + vmdk_check_table_bytes(map));
}

/* -------------------------------------------------------------------- choosing */

/* What a wrong or missing GDE becomes. */
typedef enum Act {
    ACT_POINT, /* it points at that table */
    ACT_COPY,  /* … at a copy of it */
    ACT_CLEAR,
    ACT_LEAVE /* as it is */
} Act;

typedef struct Cure {
    Act act;
    uint32_t sector; /* 0: there is no table */
    const char *repair;
} Cure;

/* Do two places hold the same table? */
static int is_equal(const VmdkCheckMap *map, uint32_t one, uint32_t other, uint8_t *bytes)
{
    const size_t size = (size_t)vmdk_check_table_bytes(map);

    return vmdk_places_read(map, one, bytes) == 0 &&
           vmdk_places_read(map, other, bytes + size) == 0 && memcmp(bytes, bytes + size, size) == 0;
}

/* With nothing to compare it with: before the first grain there are only tables.
 * Elsewhere it may be a grain, perhaps one of zeros. */
static int is_there_alone(const VmdkCheckMap *map, int64_t table, uint32_t sector, uint8_t *bytes)
{
    const int64_t size = vmdk_check_table_bytes(map);

    return (int64_t)sector * BDRV_SECTOR_SIZE + size <= map->first_data ||
           (vmdk_places_is_sound(map, table, sector, bytes) && !bdrv_is_zero(bytes, (size_t)size));
}

/* Is the table where VMware's layout has it?  Otherwise the sector is 0. */
static Cure choose_usual(const VmdkCheckMap *map, const VmdkPlaces *places, int set, int64_t table)
{
    uint8_t *bytes = places->bytes;
    const uint32_t usual = vmdk_places_usual(map, set, table);
    const uint32_t other = map->gd[!set] ? map->gd[!set][table] : 0;
    Cure cure = {.act = ACT_POINT, .repair = "the entry is set to where the table is"};

    if (usual != 0 && vmdk_places_possible(map, usual) &&
        (other == 0 ? places->strange[set] <= 0 && is_there_alone(map, table, usual, bytes)
                    : is_equal(map, usual, other, bytes) ||
                          vmdk_places_is_sound(map, table, usual, bytes))) {
        cure.sector = usual;
    }
    return cure;
}

/* … if it is nowhere else. */
static Cure choose_other(const VmdkCheckMap *map, int set, int64_t table, uint32_t entry,
                         VmdkPlaceFault fault)
{
    const uint32_t other = map->gd[!set] ? map->gd[!set][table] : 0;

    if (other != 0 || fault == VMDK_PLACE_OVERLAP) {
        return map->may_copy_tables
                   ? (Cure){.act = ACT_COPY, .sector = other != 0 ? other : entry,
                            .repair = other != 0
                                          ? "the table is made again from its copy in the other set"
                                          : "each gets a copy of its own: one of the two ranges is "
                                            "wrong"}
                   : (Cure){.act = ACT_LEAVE};
    }
    return (Cure){.act = ACT_CLEAR, .repair = "the entry is cleared: the range then reads as if "
                                              "nothing had been written there"};
}

/* --------------------------------------------------------------------- mending */

/* The table that readers found until now, although it is not the right one. */
static int note_followed(VmdkCheckMap *map, int64_t table, uint32_t entry)
{
    const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;
    const int64_t end = start + vmdk_check_table_bytes(map);

    if (entry == 0 || end > map->file_size) {
        return 0;
    }
    for (int set = 0; set < VMDK_SETS; set++) {
        if (map->gd_at[set] != 0 && start < map->gd_at[set] + gd_bytes(map) &&
            map->gd_at[set] < end) {
            return 0;
        }
    }
    if (!map->followed) {
        map->followed = calloc((size_t)map->tables, sizeof *map->followed);
    }
    if (!map->followed) {
        return -ENOMEM;
    }
    map->followed[table] = entry;
    return 0;
}

/* In memory, a table that is to be copied is simply missing, as the other set stands for
 * both; or it is the one that is shared. */
static uint32_t place_in_memory(const VmdkCheckMap *map, const Cure *cure, uint32_t entry)
{
    switch (cure->act) {
    case ACT_POINT:
        return cure->sector;
    case ACT_COPY:
        return cure->sector == entry ? entry : 0;
    case ACT_CLEAR:
        return 0;
    case ACT_LEAVE:
        break;
    }
    return vmdk_places_possible(map, entry) ? entry : 0;
}

/* A table that is where it should be may differ from the one that readers found until now:
 * they are led there when it is mended, or power lost in between would show it to them. */
static int point_at(VmdkCheckMap *map, int set, int64_t table, const Cure *cure, uint32_t sector)
{
    if (set == VMDK_PRIMARY && cure->act == ACT_POINT) {
        map->unpointed[table] = 1;
        return 0;
    }
    return write_gde(map, set, table, sector);
}

static int apply_cure(VmdkCheckMap *map, int set, int64_t table, const Cure *cure,
                      uint32_t entry, int mend)
{
    uint32_t sector = place_in_memory(map, cure, entry);
    int ret = 0;

    if (mend && cure->act == ACT_COPY) {
        ret = copy_table(map, cure->sector, &sector);
    }
    if (ret == 0 && mend) {
        ret = point_at(map, set, table, cure, sector);
    }
    map->gd[set][table] = sector;
    map->tables_left |= cure->act == ACT_LEAVE;
    if (ret == 0 && set == VMDK_PRIMARY && cure->act != ACT_LEAVE && cure->sector != entry) {
        ret = note_followed(map, table, entry);
    }
    map->swapped[table] |= set == VMDK_PRIMARY && cure->act == ACT_POINT && map->gd[!set] &&
                           map->gd[!set][table] != 0;
    return ret < 0 || sector == 0 ? ret : add_region(map, sector);
}

/* ------------------------------------------------------------------- verdicts */

static const char *const reasons[] = {
    [VMDK_PLACE_SOUND] = "the other set has that table",
    [VMDK_PLACE_OUTSIDE] = "no table can be there",
    [VMDK_PLACE_OVERLAP] = "another table is there",
    [VMDK_PLACE_ASTRAY] = "the table is not there, but where the layout has it",
};

static void report(VmdkCheckMap *map, int set, int64_t table, BdrvFindingKind kind,
                   const Cure *cure, const char *why, uint32_t entry)
{
    const int64_t covers = map->gtes * map->grain, start = table * covers;
    const BdrvFinding finding = {
        .kind = kind,
        .offset = map->extent->start + start,
        .bytes = bdrv_min(covers, map->length - start),
        .repair = cure->repair,
        .repaired = cure->act != ACT_LEAVE && vmdk_mends(map->c, kind),
    };

    vmdk_found(map->c, &finding, "%s: The GDE [%" PRId64 "] of the %s is invalid (%" PRIu32
               "): %s%s", vmdk_check_name(map->extent), table, set_name(set), entry, why,
               cure->act == ACT_LEAVE ? "; too many tables would have to be copied" : "");
}

static int cure_table(VmdkCheckMap *map, int set, int64_t table, const Cure *cure,
                      uint32_t entry, VmdkPlaceFault fault)
{
    BdrvFindingKind kind = BDRV_FINDING_CORRUPTION;

    if (cure->sector == 0) {
        kind = BDRV_FINDING_UNRECOVERABLE;
    } else if (entry == 0 || set == VMDK_REDUNDANT) {
        kind = BDRV_FINDING_MISMATCH;
    }
    report(map, set, table, kind, cure, reasons[fault], entry);
    return apply_cure(map, set, table, cure, entry,
                      cure->act != ACT_LEAVE && vmdk_mends(map->c, kind));
}

/* Only of sound GDEs; so that "wrong" ones do not make grains invalid. */
static int add_regions(VmdkCheckMap *map, const VmdkPlaces *places)
{
    int ret = 0;

    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; ret == 0 && map->gd[set] && t < map->tables; t++) {
            int64_t start = (int64_t)map->gd[set][t] * BDRV_SECTOR_SIZE;

            if (start != 0 && places->fault[set][t] == VMDK_PLACE_SOUND) {
                ret = vmdk_regions_add(&map->regions, start,
                                       start + vmdk_check_table_bytes(map));
            }
        }
    }
    vmdk_regions_sort(&map->regions);
    return ret;
}

/* A GT that only one set has. */
static int is_missing(const VmdkCheckMap *map, int set, int64_t table)
{
    return map->gd[set] && map->gd[set][table] == 0 && map->gd[!set] &&
           map->gd[!set][table] != 0;
}

/* Those that are in their usual places, before any is copied. */
static int cure_by_place(VmdkCheckMap *map, VmdkPlaces *places, int64_t t, const uint32_t *entries)
{
    int ret = 0;

    for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
        if (places->fault[set][t] != VMDK_PLACE_SOUND) {
            const Cure cure = choose_usual(map, places, set, t);

            if (cure.sector != 0) {
                ret = cure_table(map, set, t, &cure, entries[set],
                                 (VmdkPlaceFault)places->fault[set][t]);
                places->fault[set][t] = VMDK_PLACE_SOUND;
            }
        }
    }
    return ret;
}

/* Where the layout has the table there is another one, and no other set has it: then it is
 * where readers find it. */
static int keep_stray(VmdkCheckMap *map, VmdkPlaces *places, int set, int64_t t, uint32_t entry)
{
    const int has_other = map->gd[!set] && map->gd[!set][t] != 0;

    if (places->fault[set][t] != VMDK_PLACE_ASTRAY || has_other) {
        return 0;
    }
    if (!vmdk_places_possible(map, entry)) {
        places->fault[set][t] = VMDK_PLACE_OVERLAP;
        return 0;
    }
    places->fault[set][t] = VMDK_PLACE_SOUND;
    map->gd[set][t] = entry;
    return add_region(map, entry);
}

/* What readers follow first, which the other set may then be copied from. */
static int cure_by_copy(VmdkCheckMap *map, VmdkPlaces *places, int64_t t, const uint32_t *entries)
{
    int ret = 0;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        VmdkPlaceFault fault;

        ret = keep_stray(map, places, set, t, entries[set]);
        fault = (VmdkPlaceFault)places->fault[set][t];
        if (ret == 0 && fault != VMDK_PLACE_SOUND) {
            const Cure cure = choose_other(map, set, t, entries[set], fault);

            ret = cure_table(map, set, t, &cure, entries[set], fault);
        }
    }
    return ret;
}

static int cure_missing(VmdkCheckMap *map, VmdkPlaces *places, int64_t t)
{
    int ret = 0;

    for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
        if (places->fault[set][t] == VMDK_PLACE_SOUND && is_missing(map, set, t)) {
            Cure cure = choose_usual(map, places, set, t);

            if (cure.sector == 0) {
                cure = choose_other(map, set, t, 0, VMDK_PLACE_SOUND);
            }
            ret = cure_table(map, set, t, &cure, 0, VMDK_PLACE_SOUND);
        }
    }
    return ret;
}

/* Wrong ones first count as missing, so that none is copied from. */
static int cure_all(VmdkCheckMap *map, VmdkPlaces *places)
{
    int ret = 0;

    for (int64_t t = 0; ret == 0 && t < map->tables; t++) {
        uint32_t entries[VMDK_SETS] = {0};

        for (int set = 0; set < VMDK_SETS; set++) {
            if (places->fault[set][t] != VMDK_PLACE_SOUND) {
                entries[set] = map->gd[set][t];
                map->gd[set][t] = 0;
            }
        }
        ret = cure_by_place(map, places, t, entries);
        ret = ret < 0 ? ret : cure_by_copy(map, places, t, entries);
        ret = ret < 0 ? ret : cure_missing(map, places, t);
    }
    return ret;
}

/* Tables that one set has and the other has not. */
static int64_t count_missing(const VmdkCheckMap *map)
{
    int64_t count = 0;

    for (int64_t t = 0; map->gd[VMDK_REDUNDANT] && t < map->tables; t++) {
        count += is_missing(map, VMDK_PRIMARY, t) || is_missing(map, VMDK_REDUNDANT, t);
    }
    return count;
}

static int judge(VmdkCheckMap *map, VmdkPlaces *places)
{
    int ret = vmdk_places_judge(map, places);
    int64_t odd;

    if (ret == 0) {
        ret = add_regions(map, places);
    }
    odd = places->wrong + count_missing(map);
    map->may_copy_tables = odd <= VMDK_CHECK_COPIES_MAX / vmdk_check_table_bytes(map);
    if (ret == 0 && odd > 0) {
        ret = cure_all(map, places);
    }
    return ret < 0 || !map->c->mended ? ret : bdrv_table_flush(map->c->image->table);
}

int vmdk_check_directories(VmdkCheckMap *map)
{
    VmdkPlaces places = {0};
    int ret = 0;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        if (map->gd_at[set] != 0) {
            ret = vmdk_regions_add(&map->regions, map->gd_at[set],
                                   map->gd_at[set] + gd_bytes(map));
        }
    }
    vmdk_regions_sort(&map->regions);
    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        places.fault[set] = calloc((size_t)map->tables, 1);
        ret = places.fault[set] ? 0 : -ENOMEM;
        if (ret == 0 && map->gd_at[set] != 0) {
            ret = load_directory(map, set);
        }
    }
    map->swapped = calloc((size_t)map->tables, 1);
    map->unpointed = calloc((size_t)map->tables, 1);
    places.bytes = malloc(3 * (size_t)vmdk_check_table_bytes(map));
    if (ret == 0) {
        ret = places.bytes && map->swapped && map->unpointed ? judge(map, &places) : -ENOMEM;
    }
    free(places.bytes);
    free(places.fault[VMDK_PRIMARY]);
    free(places.fault[VMDK_REDUNDANT]);
    return ret;
}

int vmdk_check_point(VmdkCheckMap *map)
{
    int ret = 0, pointed = 0;

    for (int64_t t = 0; ret == 0 && t < map->tables; t++) {
        if (map->unpointed[t]) {
            ret = write_gde(map, VMDK_PRIMARY, t, map->gd[VMDK_PRIMARY][t]);
            pointed = 1;
        }
    }
    return ret < 0 || !pointed ? ret : bdrv_table_flush(map->c->image->table);
}
