/* SPDX-License-Identifier: MIT */
/*
 * check-entries.c - the grain tables: is every entry possible, do the two sets
 * agree, has each grain one entry?
 *
 *     first walk    all tables, in large pieces: counts, and marks the grains;
 *                   most images end here
 *     second walk   only if something was odd: decides, entry by entry, what it
 *                   should be, reports, mends
 *
 * How an entry is decided is in check-judge.c.
 */
#include "check-judge.h"

#include <stdlib.h>
#include <string.h>

enum {
    PIECE_BYTES = 1024 * 1024,
    ENTRY_BYTES = 4,
    /* In map->swapped: not because readers had to follow the copy. */
    SWAPPED_FOR_BLANK = 2
};

/* ------------------------------------------------------------------ reading */

static int64_t tables_per_piece(const VmdkCheckMap *map)
{
    return bdrv_max(1, PIECE_BYTES / vmdk_check_table_bytes(map));
}

/* Is the whole range a hole of the host's file? */
static int is_hole(BlockDriverState *file, int64_t offset, int64_t bytes)
{
    BdrvExtent run = {0};

    while (bytes > 0 && bdrv_map(file, offset, bytes, &run) == 0 && run.state != BDRV_DATA) {
        offset += run.bytes;
        bytes -= run.bytes;
    }
    return bytes <= 0;
}

/* Reads tables of a set that lie one behind the other, or none: nobody looks at the entries
 * of a table that is not there, see table_in(). */
static int read_run(const VmdkCheckMap *map, int set, int64_t first, int64_t most, uint8_t *to,
                    int64_t *count)
{
    const int64_t bytes = vmdk_check_table_bytes(map);
    const uint32_t *gd = map->gd[set] + first;
    const uint32_t step = (uint32_t)(bytes / BDRV_SECTOR_SIZE);
    const int64_t start = (int64_t)gd[0] * BDRV_SECTOR_SIZE;
    int64_t n = 1;

    while (n < most &&
           (gd[0] == 0 ? gd[n] == 0 : gd[n] > step && gd[n] - step == gd[n - 1])) {
        n++;
    }
    *count = n;
    if (gd[0] == 0) {
        return 0;
    }
    if (is_hole(map->file, start, n * bytes)) {
        memset(to, 0, (size_t)(n * bytes));
        return 0;
    }
    return bdrv_pread(map->file, to, (size_t)(n * bytes), start);
}

/* Is there a copy of the table in the other set? */
static int has_copy(const VmdkCheckMap *map, int set, int64_t table)
{
    return map->gd[!set] && map->gd[!set][table] != 0;
}

/* A table that the host cannot read is as good as missing, if there is a copy.  It is
 * read twice before that is believed: a repair will write over it.  What there is no copy
 * of may be there again tomorrow. */
static int read_set(VmdkCheckMap *map, VmdkTablePiece *piece, int set)
{
    const int64_t bytes = vmdk_check_table_bytes(map);
    int64_t done = 0, count = 0;
    int ret = 0;

    while (ret == 0 && done < piece->count) {
        ret = read_run(map, set, piece->first + done, piece->count - done,
                       piece->entries[set] + done * bytes, &count);
        if (ret == -EIO) {
            ret = read_run(map, set, piece->first + done, 1, piece->entries[set] + done * bytes,
                           &count);
        }
        if (ret == -EIO && map->c->mend_all && !has_copy(map, set, piece->first + done)) {
            return bdrv_error_prefix(map->file, ret, "GT %" PRId64 " cannot be read, and must not "
                                     "be written over, as there is no copy of it",
                                     piece->first + done);
        }
        if (ret == -EIO) {
            piece->unreadable[set] = 1;
            memset(piece->entries[set] + done * bytes, 0xff, (size_t)(count * bytes));
            ret = 0;
        }
        done += count;
    }
    return ret;
}

static int read_piece(VmdkCheckMap *map, VmdkTablePiece *piece)
{
    int ret = 0;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        piece->unreadable[set] = 0;
        if (map->gd[set]) {
            ret = read_set(map, piece, set);
        }
    }
    return ret;
}

/* The bytes of a table as one set has it, or the other where it is missing.  The
 * primary is the one that readers followed. */
static const uint8_t *table_in(const VmdkCheckMap *map, const VmdkTablePiece *piece, int set,
                               int64_t table)
{
    set = map->swapped[table] ? !set : set;
    if (!map->gd[set] || map->gd[set][table] == 0) {
        set = !set;
    }
    return map->gd[set] && map->gd[set][table] != 0
               ? piece->entries[set] + (table - piece->first) * vmdk_check_table_bytes(map)
               : NULL;
}

/* --------------------------------------------------------------- first walk */

static void count_grain(VmdkSurvey *survey, int64_t start)
{
    BdrvCheckResult *result = survey->map->c->result;

    result->allocated_clusters++;
    if (survey->previous_end >= 0 && start != survey->previous_end) {
        result->fragmented_clusters++;
    }
    survey->previous_end = start + survey->map->grain;
}

/* Sets the bits of a grain, making the bits when they are needed first. */
static int mark(const VmdkCheckMap *map, VmdkBits *bits, int64_t grain, uint32_t entry)
{
    const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;

    if (!bits->bytes && vmdk_bits_new(bits, map->file_size + map->grain, map->seen.unit) < 0) {
        return -ENOMEM;
    }
    vmdk_bits_set(bits, start, start + vmdk_check_covered(map, grain));
    return 0;
}

/* Of a grain that overlaps others, what they have of it, too: no more, as the rest may be what
 * the copy of an entry has for its own. */
static int mark_shared(VmdkCheckMap *map, int64_t start, int64_t end)
{
    if (!map->shared.bytes &&
        vmdk_bits_new(&map->shared, map->file_size + map->grain, map->seen.unit) < 0) {
        return -ENOMEM;
    }
    for (int64_t at = start; at < end;) {
        const int64_t first = vmdk_bits_find(&map->seen, at, end, 1);

        if (first == end) {
            break;
        }
        at = vmdk_bits_find(&map->seen, first, end, 0);
        vmdk_bits_set(&map->shared, first, at);
    }
    return 0;
}

static int is_marked(const VmdkBits *bits, int64_t start, int64_t end)
{
    return bits->bytes && vmdk_bits_any(bits, start, end);
}

/* What readers follow: the primary entry if it can be, or else its copy. */
static int note_grain(VmdkSurvey *survey, int64_t grain, uint32_t entry)
{
    VmdkCheckMap *map = survey->map;
    const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;
    const int64_t end = start + vmdk_check_covered(map, grain);

    if (!map->any_place && start % map->grain != 0 && !map->unaligned) {
        map->unaligned = 1;
        if (map->seen.unit > BDRV_SECTOR_SIZE) {
            return 1; /* begin again with smaller units */
        }
    }
    survey->copies += is_marked(&map->reserved, start, end);
    if (vmdk_bits_any(&map->seen, start, end)) {
        survey->odd = 1;
        survey->copies++;
        if (mark_shared(map, start, end) < 0) {
            return -ENOMEM;
        }
    }
    vmdk_bits_set(&map->seen, start, end);
    map->used_end = bdrv_max(map->used_end, end);
    count_grain(survey, start);
    return 0;
}

/* What the other set has for an impossible entry is not to be had by one that is
 * only missing. */
static int reserve(VmdkSurvey *survey, int64_t grain, uint32_t copy)
{
    VmdkCheckMap *map = survey->map;
    const int64_t start = (int64_t)copy * BDRV_SECTOR_SIZE;
    const int64_t end = start + vmdk_check_covered(map, grain);

    survey->odd = 1;
    if (vmdk_check_class(map, grain, copy) == VMDK_ENTRY_CUT) {
        survey->cut = 1;
        survey->cut_beside |= start % map->grain != 0;
    }
    if (vmdk_check_class(map, grain, copy) != VMDK_ENTRY_GRAIN) {
        return 0;
    }
    survey->copies += is_marked(&map->reserved, start, end) || is_marked(&map->seen, start, end);
    return mark(map, &map->reserved, grain, copy);
}

static int survey_entry(VmdkSurvey *survey, int64_t grain, uint32_t entry, uint32_t copy)
{
    switch (vmdk_check_class(survey->map, grain, entry)) {
    case VMDK_ENTRY_EMPTY:
        return 0;
    case VMDK_ENTRY_ZEROED:
        survey->zeroed++;
        return 0;
    case VMDK_ENTRY_GRAIN:
        return note_grain(survey, grain, entry);
    case VMDK_ENTRY_CUT:
        survey->odd = survey->cut = 1;
        return note_grain(survey, grain, entry);
    case VMDK_ENTRY_UNFLAGGED:
    case VMDK_ENTRY_INVALID:
        break;
    }
    return reserve(survey, grain, copy);
}

/* What two entries of the other set have does not tell which of them it belongs to. */
static int note_copy(VmdkCheckMap *map, int64_t grain, uint32_t copy)
{
    const int64_t start = (int64_t)copy * BDRV_SECTOR_SIZE;
    const int64_t end = start + vmdk_check_covered(map, grain);
    int ret = 0;

    if (vmdk_check_class(map, grain, copy) != VMDK_ENTRY_GRAIN || start % map->seen.unit != 0) {
        return 0;
    }
    if (map->copies.bytes && vmdk_bits_any(&map->copies, start, end)) {
        ret = mark(map, &map->contested, grain, copy);
    }
    return ret < 0 ? ret : mark(map, &map->copies, grain, copy);
}

/* Of a table whose two copies differ.  (What both have is in map->seen.) */
static int note_copies(VmdkCheckMap *map, int64_t table, const uint8_t *primary,
                       const uint8_t *copy)
{
    const int64_t count = vmdk_check_entries_in(map, table);
    int ret = 0;

    for (int64_t i = 0; ret == 0 && i < count; i++) {
        const uint32_t other = bdrv_load_le32(copy + i * ENTRY_BYTES);

        if (other != bdrv_load_le32(primary + i * ENTRY_BYTES)) {
            ret = note_copy(map, table * map->gtes + i, other);
        }
    }
    return ret;
}

static int survey_table(VmdkSurvey *survey, int64_t table, const uint8_t *primary,
                        const uint8_t *copy)
{
    VmdkCheckMap *map = survey->map;
    const int64_t count = vmdk_check_entries_in(map, table);
    int ret = 0;

    if (count == 0) {
        return 0;
    }
    if (copy != primary && memcmp(primary, copy, (size_t)count * ENTRY_BYTES) != 0) {
        survey->odd = 1;
        ret = note_copies(map, table, primary, copy);
    }
    if (ret == 0 && bdrv_is_zero(primary, (size_t)count * ENTRY_BYTES)) {
        return 0;
    }
    for (int64_t i = 0; ret == 0 && i < count; i++) {
        const uint32_t entry = bdrv_load_le32(primary + i * ENTRY_BYTES);

        if (entry != 0) {
            ret = survey_entry(survey, table * map->gtes + i, entry,
                               bdrv_load_le32(copy + i * ENTRY_BYTES));
        }
    }
    return ret;
}

/* Of a whole table that was wiped out, the copy counts: its grains are not to be
 * had by a wrong entry elsewhere. */
static void follow_what_is_left(VmdkCheckMap *map, const VmdkTablePiece *piece, int64_t table)
{
    const size_t size = (size_t)map->gtes * ENTRY_BYTES;
    const uint8_t *primary = table_in(map, piece, VMDK_PRIMARY, table);
    const uint8_t *copy = table_in(map, piece, VMDK_REDUNDANT, table);

    if (primary != copy && bdrv_is_zero(primary, size) && !bdrv_is_zero(copy, size)) {
        map->swapped[table] = map->swapped[table] ? 0 : SWAPPED_FOR_BLANK;
    }
}

static int is_shared(const VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    const int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;

    return map->shared.bytes &&
           vmdk_bits_any(&map->shared, start, start + vmdk_check_covered(map, grain));
}

/* A blank table was not wiped out if its copy has nothing but what other tables have,
 * too: then it is the copy that is wrong. */
static void trust_blank_again(VmdkCheckMap *map, const VmdkTablePiece *piece, int64_t table)
{
    const uint8_t *followed = table_in(map, piece, VMDK_PRIMARY, table);
    int64_t grains = 0;

    if (map->swapped[table] != SWAPPED_FOR_BLANK) {
        return;
    }
    for (int64_t i = 0; i < vmdk_check_entries_in(map, table); i++) {
        const uint32_t entry = bdrv_load_le32(followed + i * ENTRY_BYTES);
        const VmdkEntryClass class = vmdk_check_class(map, table * map->gtes + i, entry);

        if (class == VMDK_ENTRY_GRAIN || class == VMDK_ENTRY_CUT) {
            grains++;
            if (!is_shared(map, table * map->gtes + i, entry)) {
                return;
            }
        }
    }
    if (grains > 0) {
        map->swapped[table] = 0;
        map->c->result->allocated_clusters -= grains;
    }
}

static int survey_piece(VmdkSurvey *survey, VmdkTablePiece *piece)
{
    VmdkCheckMap *map = survey->map;
    int ret = read_piece(map, piece);

    survey->odd |= piece->unreadable[VMDK_PRIMARY] | piece->unreadable[VMDK_REDUNDANT];
    for (int64_t t = piece->first; ret == 0 && t < piece->first + piece->count; t++) {
        const uint8_t *primary;

        follow_what_is_left(map, piece, t);
        primary = table_in(map, piece, VMDK_PRIMARY, t);
        if (primary) {
            ret = survey_table(survey, t, primary, table_in(map, piece, VMDK_REDUNDANT, t));
        }
    }
    return ret;
}

/* -------------------------------------------------------------------- walks */

typedef int PieceFn(VmdkSurvey *survey, VmdkTablePiece *piece);

static int walk(VmdkSurvey *survey, VmdkTablePiece *piece, PieceFn *visit)
{
    const int64_t per_piece = tables_per_piece(survey->map), tables = survey->map->tables;
    int ret = 0;

    for (int64_t t = 0; ret == 0 && t < tables; t += per_piece) {
        piece->first = t;
        piece->count = bdrv_min(per_piece, tables - t);
        ret = visit(survey, piece);
    }
    return ret;
}

/* What readers took for the table until now, if that is another one. */
static int read_followed(const VmdkCheckMap *map, VmdkTablePiece *piece, int64_t table,
                         const uint8_t **followed)
{
    const size_t size = (size_t)vmdk_check_table_bytes(map);
    const uint32_t sector = map->followed ? map->followed[table] : 0;

    *followed = piece->followed;
    if (sector != 0) {
        return bdrv_pread(map->file, piece->followed, size, (int64_t)sector * BDRV_SECTOR_SIZE);
    }
    if (map->swapped[table] == SWAPPED_FOR_BLANK) {
        memset(piece->followed, 0, size);
    } else {
        *followed = NULL;
    }
    return 0;
}

static int judge_piece(VmdkSurvey *survey, VmdkTablePiece *piece)
{
    VmdkCheckMap *map = survey->map;
    int ret = read_piece(map, piece);

    for (int64_t t = piece->first; ret == 0 && t < piece->first + piece->count; t++) {
        const uint8_t *primary, *followed;

        trust_blank_again(map, piece, t);
        primary = table_in(map, piece, VMDK_PRIMARY, t);
        ret = read_followed(map, piece, t, &followed);
        if (ret == 0 && primary) {
            ret = vmdk_judge_table(survey, t, primary, table_in(map, piece, VMDK_REDUNDANT, t),
                                   followed);
        }
    }
    return ret;
}

static int first_walk(VmdkSurvey *survey, VmdkTablePiece *piece)
{
    VmdkCheckMap *map = survey->map;
    const BdrvCheckResult before = *map->c->result;
    int64_t unit = map->any_place ? BDRV_SECTOR_SIZE : map->grain;
    int ret = vmdk_bits_new(&map->seen, map->file_size + map->grain, unit);

    if (ret == 0) {
        ret = walk(survey, piece, survey_piece);
    }
    if (ret == 1) { /* grains that are not aligned: all again, sector by sector */
        *map->c->result = before;
        vmdk_check_forget_grains(map);
        survey->previous_end = -1;
        survey->zeroed = 0;
        survey->copies = 0;
        ret = vmdk_bits_new(&map->seen, map->file_size + map->grain, BDRV_SECTOR_SIZE);
        if (ret == 0) {
            ret = walk(survey, piece, survey_piece);
        }
    }
    return ret;
}

static int check_all(VmdkSurvey *survey, VmdkTablePiece *piece)
{
    int ret = first_walk(survey, piece);

    if (ret == 0 && survey->odd) {
        ret = vmdk_judge_begin(survey);
        if (ret == 0) {
            ret = walk(survey, piece, judge_piece);
        }
        ret = vmdk_judge_end(survey, ret);
    }
    if (ret == 0 && survey->map->c->mended) {
        ret = bdrv_table_flush(survey->map->c->image->table);
    }
    return ret;
}

int vmdk_check_entries(VmdkCheckMap *map)
{
    VmdkSurvey survey = {.map = map, .previous_end = -1};
    VmdkTablePiece piece = {0};
    const size_t size = (size_t)(tables_per_piece(map) * vmdk_check_table_bytes(map));
    int ret;

    map->c->result->total_clusters += bdrv_div_up(map->length, map->grain);
    if (map->regions.count > 0) {
        map->used_end = bdrv_max(map->used_end, map->regions.list[map->regions.count - 1].end);
    }
    piece.entries[VMDK_PRIMARY] = malloc(size);
    piece.entries[VMDK_REDUNDANT] = malloc(size);
    piece.followed = malloc((size_t)vmdk_check_table_bytes(map));
    ret = piece.entries[VMDK_PRIMARY] && piece.entries[VMDK_REDUNDANT] && piece.followed
              ? check_all(&survey, &piece)
              : -ENOMEM;
    free(piece.entries[VMDK_PRIMARY]);
    free(piece.entries[VMDK_REDUNDANT]);
    free(piece.followed);
    return ret;
}
