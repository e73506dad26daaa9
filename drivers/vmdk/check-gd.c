/* SPDX-License-Identifier: MIT */
/*
 * check-gd.c - is every grain table where it can be?  An entry of a directory
 * that is wrong is found by its place, by another table in the same place, or
 * by what is there; what it should be is known where VMware's layout is kept:
 *
 *     GD │ GT 0 │ GT 1 │ GT 2 │ …
 *
 * or else the table is made again from its copy.
 */
#include "check.h"

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

static int64_t gd_bytes(const VmdkCheckMap *map)
{
    return map->tables * ENTRY_BYTES;
}

/* Where VMware's layout has the table, in sectors; 0: unknown. */
static uint32_t usual_place(const VmdkCheckMap *map, int set, int64_t table)
{
    int64_t first = bdrv_round_up(map->gd_at[set] + gd_bytes(map), BDRV_SECTOR_SIZE);
    int64_t start = first + table * vmdk_check_table_bytes(map);

    if (!map->fixed_layout || start + vmdk_check_table_bytes(map) > map->file_size ||
        start / BDRV_SECTOR_SIZE > UINT32_MAX) {
        return 0;
    }
    return (uint32_t)(start / BDRV_SECTOR_SIZE);
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

/* Can a table be there, as far as the metadata besides tables goes? */
static int is_possible(const VmdkCheckMap *map, uint32_t sector)
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
    return place->start / BDRV_SECTOR_SIZE == usual_place(map, place->set, place->table);
}

static size_t gather_places(const VmdkCheckMap *map, Place *places)
{
    size_t count = 0;

    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            uint32_t sector = map->gd[set][t];

            if (sector != 0 && is_possible(map, sector)) {
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

static int read_table(const VmdkCheckMap *map, uint32_t sector, uint8_t *bytes)
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

/* Is the table at a sector sound?  0 also if it cannot be read. */
static int is_sound(const VmdkCheckMap *map, int64_t table, uint32_t sector, uint8_t *bytes)
{
    return read_table(map, sector, bytes) == 0 && is_table(map, table, bytes);
}

static int is_zeros(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Reads the table of the other set.  0: there is none, or it cannot be read. */
static int read_copy(const VmdkCheckMap *map, int set, int64_t table, uint8_t *bytes)
{
    const uint32_t copy = map->gd[!set] ? map->gd[!set][table] : 0;

    return copy != 0 && copy != map->gd[set][table] && is_possible(map, copy) &&
           read_table(map, copy, bytes) == 0;
}

/* A GDE that points somewhere else than the layout has its table, where there
 * is none, while there is one where it should be.  (Zeros there that are like an
 * empty copy are no sign of one: nothing was ever written.)  Where a table is equal to
 * that of the other set it is right, whatever its entries are: two against one. */
static int is_astray(const VmdkCheckMap *map, int set, int64_t table, uint8_t *bytes)
{
    const size_t size = (size_t)vmdk_check_table_bytes(map);
    const uint32_t here = map->gd[set][table], usual = usual_place(map, set, table);
    uint8_t *const there = bytes + size, *const copy = bytes + 2 * size;
    int has_copy;

    if (usual == 0 || here == usual || !is_possible(map, usual) ||
        !is_sound(map, table, usual, there)) {
        return 0;
    }
    has_copy = read_copy(map, set, table, copy);
    if (read_table(map, here, bytes) < 0) {
        return 1;
    }
    if (has_copy && memcmp(bytes, copy, size) == 0) {
        return 0;
    }
    return !is_table(map, table, bytes) ||
           (has_copy && !is_zeros(there, size) && memcmp(there, copy, size) == 0);
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

/* Copies a table to the file's end, behind what a grain that is cut by it may
 * need.  The entry that will point at it is written behind the next barrier. */
static int copy_table(VmdkCheckMap *map, uint32_t from, uint32_t *to)
{
    const int64_t bytes = vmdk_check_table_bytes(map);
    const int64_t behind = map->file_size + (map->file_size % map->grain ? map->grain : 0);
    uint8_t *buf = malloc((size_t)bytes);
    int64_t start;
    int ret = buf ? read_table(map, from, buf) : -ENOMEM;

    map->next = bdrv_max(map->next, bdrv_round_up(behind, map->grain));
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
    int ret = vmdk_regions_add(&map->regions, start, start + vmdk_check_table_bytes(map));

    vmdk_regions_sort(&map->regions);
    return ret;
}

/* What a wrong or missing GDE becomes. */
typedef struct Cure {
    uint32_t sector; /* 0: there is no table */
    int copy;        /* … but of the other set, which is copied */
    const char *repair;
} Cure;

/* Do two places hold the same table? */
static int is_equal(const VmdkCheckMap *map, uint32_t one, uint32_t other, uint8_t *bytes)
{
    const size_t size = (size_t)vmdk_check_table_bytes(map);

    return read_table(map, one, bytes) == 0 && read_table(map, other, bytes + size) == 0 &&
           memcmp(bytes, bytes + size, size) == 0;
}

static Cure choose_cure(const VmdkCheckMap *map, int set, int64_t table, uint8_t *bytes)
{
    const uint32_t usual = usual_place(map, set, table);
    const uint32_t other = map->gd[!set] ? map->gd[!set][table] : 0;

    if (usual != 0 && is_possible(map, usual) &&
        (other == 0 || is_equal(map, usual, other, bytes) ||
         is_sound(map, table, usual, bytes))) {
        return (Cure){.sector = usual, .repair = "the entry is set to where the table is"};
    }
    if (other != 0) {
        return (Cure){.sector = other, .copy = 1,
                      .repair = "the table is made again from its copy in the other set"};
    }
    return (Cure){.repair = "the entry is cleared: the range then reads as if nothing had been "
                            "written there"};
}

/* In memory, a copied table is simply missing: the other set stands for both. */
static int apply_cure(VmdkCheckMap *map, int set, int64_t table, const Cure *cure, int mend)
{
    uint32_t sector = cure->sector;
    int ret = 0;

    if (mend && cure->copy) {
        ret = copy_table(map, cure->sector, &sector);
    }
    if (ret == 0 && mend) {
        ret = write_gde(map, set, table, sector);
    }
    map->gd[set][table] = cure->copy && !mend ? 0 : sector;
    map->swapped[table] |= set == VMDK_PRIMARY && !cure->copy && sector != 0 &&
                           map->gd[!set] && map->gd[!set][table] != 0;
    return ret < 0 || map->gd[set][table] == 0 ? ret : add_region(map, sector);
}

/* ------------------------------------------------------------------- verdicts */

static void report(VmdkCheckMap *map, int set, int64_t table, BdrvFindingKind kind,
                   const Cure *cure, const char *why, uint32_t entry)
{
    const int64_t covers = map->gtes * map->grain, start = table * covers;
    const BdrvFinding finding = {
        .kind = kind,
        .offset = map->extent->start + start,
        .bytes = bdrv_min(covers, map->length - start),
        .repair = cure->repair,
        .repaired = vmdk_mends(map->c, kind),
    };

    vmdk_found(map->c, &finding, "%s: The GDE [%" PRId64 "] of the %s is invalid (%" PRIu32
               "): %s", vmdk_check_name(map->extent), table, set_name(set), entry, why);
}

static int cure_table(VmdkCheckMap *map, int set, int64_t table, const char *why,
                      uint8_t *bytes)
{
    const uint32_t entry = map->gd[set][table];
    BdrvFindingKind kind = BDRV_FINDING_CORRUPTION;
    Cure cure;

    map->gd[set][table] = 0;
    cure = choose_cure(map, set, table, bytes);
    if (cure.sector == 0) {
        kind = BDRV_FINDING_UNRECOVERABLE;
    } else if (entry == 0 || set == VMDK_REDUNDANT) {
        kind = BDRV_FINDING_MISMATCH;
    }
    report(map, set, table, kind, &cure, why, entry);
    return apply_cure(map, set, table, &cure, vmdk_mends(map->c, kind));
}

/* The state of each GDE, by set and table. */
typedef struct Verdicts {
    uint8_t *why[VMDK_SETS]; /* index of reasons; 0: sound */
    uint8_t *bytes;          /* three tables */
    int64_t wrong;
} Verdicts;

enum {
    SOUND,
    OUTSIDE,
    OVERLAP,
    ASTRAY
};

static const char *const reasons[] = {
    [OUTSIDE] = "no table can be there",
    [OVERLAP] = "another table is there",
    [ASTRAY] = "the table is not there, but where the layout has it",
};

static void judge_places(const VmdkCheckMap *map, Verdicts *v)
{
    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            if (map->gd[set][t] != 0 && !is_possible(map, map->gd[set][t])) {
                v->why[set][t] = OUTSIDE;
                v->wrong++;
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

            if (start != 0 && is_possible(map, map->gd[set][t])) {
                ret = vmdk_regions_add(&regions, start, start + vmdk_check_table_bytes(map));
            }
        }
    }
    vmdk_regions_sort(&regions);
    overlap = regions.overlap;
    vmdk_regions_free(&regions);
    return ret == 0 && !overlap;
}

static int judge_overlaps(const VmdkCheckMap *map, Verdicts *v)
{
    Place *places = calloc((size_t)map->tables * VMDK_SETS, sizeof *places);
    uint8_t *wrong = calloc((size_t)map->tables * VMDK_SETS, 1);
    size_t count;
    int ret = places && wrong ? 0 : -ENOMEM;

    if (ret == 0) {
        count = gather_places(map, places);
        qsort(places, count, sizeof *places, compare_places);
        v->wrong += mark_overlaps(map, places, count, wrong);
        for (size_t i = 0; i < count; i++) {
            if (wrong[i]) {
                v->why[places[i].set][places[i].table] = OVERLAP;
            }
        }
    }
    free(places);
    free(wrong);
    return ret;
}

static void judge_strays(const VmdkCheckMap *map, Verdicts *v)
{
    for (int set = 0; map->fixed_layout && set < VMDK_SETS; set++) {
        for (int64_t t = 0; map->gd[set] && t < map->tables; t++) {
            if (map->gd[set][t] != 0 && v->why[set][t] == SOUND &&
                is_astray(map, set, t, v->bytes)) {
                v->why[set][t] = ASTRAY;
                v->wrong++;
            }
        }
    }
}

/* Only of sound GDEs; so that "wrong" ones do not make grains invalid. */
static int add_regions(VmdkCheckMap *map, const Verdicts *v)
{
    int ret = 0;

    for (int set = 0; set < VMDK_SETS; set++) {
        for (int64_t t = 0; ret == 0 && map->gd[set] && t < map->tables; t++) {
            int64_t start = (int64_t)map->gd[set][t] * BDRV_SECTOR_SIZE;

            if (start != 0 && v->why[set][t] == SOUND) {
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
    return map->gd[set][table] == 0 && map->gd[!set] && map->gd[!set][table] != 0;
}

/* Wrong ones first count as missing, so that none is copied from. */
static int cure_all(VmdkCheckMap *map, Verdicts *v)
{
    int ret = 0;

    for (int64_t t = 0; ret == 0 && t < map->tables; t++) {
        uint32_t entries[VMDK_SETS] = {0};

        for (int set = 0; set < VMDK_SETS; set++) {
            if (map->gd[set] && v->why[set][t] != SOUND) {
                entries[set] = map->gd[set][t];
                map->gd[set][t] = 0;
            }
        }
        for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
            if (map->gd[set] && v->why[set][t] != SOUND) {
                map->gd[set][t] = entries[set];
                ret = cure_table(map, set, t, reasons[v->why[set][t]], v->bytes);
            }
        }
        for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
            if (map->gd[set] && v->why[set][t] == SOUND && is_missing(map, set, t)) {
                ret = cure_table(map, set, t, "the other set has that table", v->bytes);
            }
        }
    }
    return ret;
}

/* Are there tables that one set has and the other has not? */
static int any_missing(const VmdkCheckMap *map)
{
    for (int64_t t = 0; map->gd[VMDK_REDUNDANT] && t < map->tables; t++) {
        if (is_missing(map, VMDK_PRIMARY, t) || is_missing(map, VMDK_REDUNDANT, t)) {
            return 1;
        }
    }
    return 0;
}

static int judge(VmdkCheckMap *map, Verdicts *v)
{
    int ret;

    judge_places(map, v);
    ret = is_free_of_overlaps(map) ? 0 : judge_overlaps(map, v);
    if (ret == 0) {
        judge_strays(map, v);
        ret = add_regions(map, v);
    }
    if (ret == 0 && (v->wrong > 0 || any_missing(map))) {
        ret = cure_all(map, v);
    }
    return ret < 0 || !map->c->mended ? ret : bdrv_table_flush(map->c->image->table);
}

int vmdk_check_directories(VmdkCheckMap *map)
{
    Verdicts v = {0};
    int ret = 0;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        if (map->gd_at[set] != 0) {
            ret = vmdk_regions_add(&map->regions, map->gd_at[set],
                                   map->gd_at[set] + gd_bytes(map));
        }
    }
    vmdk_regions_sort(&map->regions);
    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        v.why[set] = calloc((size_t)map->tables, 1);
        ret = v.why[set] ? 0 : -ENOMEM;
        if (ret == 0 && map->gd_at[set] != 0) {
            ret = load_directory(map, set);
        }
    }
    map->swapped = calloc((size_t)map->tables, 1);
    v.bytes = malloc(3 * (size_t)vmdk_check_table_bytes(map));
    if (ret == 0) {
        ret = v.bytes && map->swapped ? judge(map, &v) : -ENOMEM;
    }
    free(v.bytes);
    free(v.why[VMDK_PRIMARY]);
    free(v.why[VMDK_REDUNDANT]);
    return ret;
}
