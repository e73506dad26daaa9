/* SPDX-License-Identifier: MIT */
/*
 * check-judge.c - what an odd entry of a grain table should be, and making it so.
 *
 *      GT          redundant GT    becomes
 *      a grain     anything else   the grain
 *      … shared    one of its own  its own: that no other entry of either set has
 *      … shared    anything else   a copy of the grain, for all but the first
 *      0           one of its own  that grain: the entry was lost, or a crash
 *                                  came between the two writes
 *      0, zeroed   anything else   what it is
 *      impossible  anything else   that
 *      impossible  impossible      0: what was there is gone
 *
 * (Two entries of the other set on one grain: it belongs to one of them, and to
 * take it for the wrong one would spoil a range that was right.)  So whatever
 * could be read before reads the same afterwards, or as it did before the
 * damage.  Entries in a row that share one fate are one finding.
 */
#include "check-judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1
};

/* What is found about an entry. */
typedef enum Fate {
    FATE_FINE,
    FATE_RESTORED,  /* impossible; the copy is used */
    FATE_LOST,      /* impossible in all sets */
    FATE_STALE,     /* the copy is out of date */
    FATE_MISSING,   /* only the copy has it */
    FATE_CUT,       /* by the file's end */
    FATE_SHARED,    /* another entry has the same grain */
    FATE_UNSHARED,  /* the same, but the copy has one of its own */
    FATE_UNFLAGGED  /* 1, against the header */
} Fate;

static const struct {
    BdrvFindingKind kind;
    const char *text;
    const char *repair; /* NULL: depends */
} fates[] = {
    [FATE_FINE] = {BDRV_FINDING_MISMATCH, NULL, NULL},
    [FATE_RESTORED] = {BDRV_FINDING_CORRUPTION, "invalid", "taken from the other set"},
    [FATE_LOST] = {BDRV_FINDING_UNRECOVERABLE, "invalid", NULL},
    [FATE_STALE] = {BDRV_FINDING_MISMATCH, "different in the two sets",
                    "the copy is made equal"},
    [FATE_MISSING] = {BDRV_FINDING_MISMATCH, "missing: only the other set has it",
                      "taken from the other set"},
    [FATE_CUT] = {BDRV_FINDING_CORRUPTION, "of a grain that the file's end cuts",
                  "the file is extended with zeros"},
    [FATE_SHARED] = {BDRV_FINDING_CORRUPTION, "of a grain that another entry points at too; one "
                     "of the two ranges is wrong", "each gets a copy of its own"},
    [FATE_UNSHARED] = {BDRV_FINDING_CORRUPTION, "of a grain that another entry points at too",
                       "taken from the other set"},
    [FATE_UNFLAGGED] = {BDRV_FINDING_CORRUPTION, "a grain of zeros, which the header does not "
                        "allow", "the header's version and flags are set to allow it"},
};

/* Entries in a row. */
typedef struct Row {
    Fate fate;
    int64_t first, count; /* grains of the extent */
    uint32_t entry;
} Row;

struct VmdkJudge {
    VmdkCheckMap *map;
    VmdkBits taken; /* of the shared grains: has an owner */
    uint8_t *grain; /* a buffer, made when it is needed */
    Row row;
};

/* What becomes of an entry. */
typedef struct Decision {
    Fate fate;
    uint32_t entry;
    int copy;   /* not the grain itself, but a copy of it */
    int extend; /* the file, up to the grain's end */
} Decision;

/* ------------------------------------------------------------------ deciding */

static int64_t start_of(uint32_t entry)
{
    return (int64_t)entry * BDRV_SECTOR_SIZE;
}

static int64_t end_of(const VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    return start_of(entry) + vmdk_check_covered(map, grain);
}

static int is_in(const VmdkCheckMap *map, const VmdkBits *bits, int64_t grain, uint32_t entry)
{
    return bits->bytes && vmdk_bits_any(bits, start_of(entry), end_of(map, grain, entry));
}

/* A grain that no other entry has, in either set. */
static int is_its_own(const VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    return vmdk_check_class(map, grain, entry) == VMDK_ENTRY_GRAIN &&
           (map->any_place || map->unaligned || start_of(entry) % map->grain == 0) &&
           !is_in(map, &map->seen, grain, entry) && !is_in(map, &map->contested, grain, entry);
}

static Decision decide_grain(VmdkJudge *judge, int64_t grain, uint32_t entry, uint32_t copy)
{
    const VmdkCheckMap *map = judge->map;

    if (is_in(map, &map->shared, grain, entry)) {
        if (copy != entry && is_its_own(map, grain, copy)) {
            return (Decision){.fate = FATE_UNSHARED, .entry = copy};
        }
        if (is_in(map, &judge->taken, grain, entry)) {
            return (Decision){.fate = FATE_SHARED, .entry = entry, .copy = 1};
        }
        vmdk_bits_set(&judge->taken, start_of(entry), end_of(map, grain, entry));
    }
    return (Decision){.fate = copy == entry ? FATE_FINE : FATE_STALE, .entry = entry};
}

static Decision decide_cut(VmdkJudge *judge, int64_t grain, uint32_t entry, uint32_t copy)
{
    Decision decision = decide_grain(judge, grain, entry, copy);

    if (decision.fate == FATE_FINE || decision.fate == FATE_STALE) {
        if (copy != entry && is_its_own(judge->map, grain, copy)) {
            return (Decision){.fate = FATE_RESTORED, .entry = copy};
        }
        decision.fate = FATE_CUT;
        decision.extend = 1;
    }
    return decision;
}

static Decision decide_empty(const VmdkCheckMap *map, int64_t grain, uint32_t copy)
{
    if (copy == 0) {
        return (Decision){.fate = FATE_FINE};
    }
    if ((is_its_own(map, grain, copy) && !is_in(map, &map->reserved, grain, copy)) ||
        vmdk_check_class(map, grain, copy) == VMDK_ENTRY_ZEROED) {
        return (Decision){.fate = FATE_MISSING, .entry = copy};
    }
    return (Decision){.fate = FATE_STALE};
}

/* The entry is impossible, or not allowed. */
static Decision decide_by_copy(VmdkJudge *judge, int64_t grain, uint32_t copy)
{
    const VmdkCheckMap *map = judge->map;

    switch (vmdk_check_class(map, grain, copy)) {
    case VMDK_ENTRY_EMPTY:
    case VMDK_ENTRY_ZEROED:
        return (Decision){.fate = FATE_RESTORED, .entry = copy};
    case VMDK_ENTRY_GRAIN:
        return (Decision){.fate = FATE_RESTORED, .entry = copy,
                          .copy = is_in(map, &map->seen, grain, copy)};
    case VMDK_ENTRY_CUT:
        return (Decision){.fate = FATE_RESTORED, .entry = copy, .extend = 1,
                          .copy = is_in(map, &map->seen, grain, copy)};
    case VMDK_ENTRY_UNFLAGGED:
    case VMDK_ENTRY_INVALID:
        break;
    }
    return (Decision){.fate = FATE_LOST};
}

static Decision decide(VmdkJudge *judge, int64_t grain, uint32_t entry, uint32_t copy)
{
    Decision decision;

    switch (vmdk_check_class(judge->map, grain, entry)) {
    case VMDK_ENTRY_EMPTY:
        return decide_empty(judge->map, grain, copy);
    case VMDK_ENTRY_ZEROED:
        return (Decision){.fate = copy == entry ? FATE_FINE : FATE_STALE, .entry = entry};
    case VMDK_ENTRY_GRAIN:
        return decide_grain(judge, grain, entry, copy);
    case VMDK_ENTRY_CUT:
        return decide_cut(judge, grain, entry, copy);
    case VMDK_ENTRY_UNFLAGGED:
        decision = decide_by_copy(judge, grain, copy);
        return decision.fate == FATE_LOST
                   ? (Decision){.fate = FATE_UNFLAGGED, .entry = ENTRY_ZEROED}
                   : decision;
    case VMDK_ENTRY_INVALID:
        break;
    }
    return decide_by_copy(judge, grain, copy);
}

/* ------------------------------------------------------------------- mending */

static int copy_grain(VmdkJudge *judge, int64_t grain, uint32_t from, uint32_t *to)
{
    VmdkCheckMap *map = judge->map;
    const int64_t unit = map->any_place ? BDRV_SECTOR_SIZE : map->grain;
    const int64_t start = vmdk_check_take(map, map->grain, unit);
    const int64_t bytes = bdrv_min(vmdk_check_covered(map, grain),
                                   bdrv_getlength(map->file) - start_of(from));
    int ret;

    if (!judge->grain) {
        judge->grain = malloc((size_t)map->grain);
    }
    if (!judge->grain) {
        return -ENOMEM;
    }
    if (start / BDRV_SECTOR_SIZE > UINT32_MAX) {
        return bdrv_error(map->file, -EFBIG, "there is no room for another grain in the first 2 "
                          "TiB of the file");
    }
    memset(judge->grain, 0, (size_t)map->grain);
    ret = bdrv_pread(map->file, judge->grain, (size_t)bytes, start_of(from));
    if (ret == 0) {
        ret = bdrv_pwrite(map->file, judge->grain, (size_t)map->grain, start);
    }
    *to = (uint32_t)(start / BDRV_SECTOR_SIZE);
    return ret;
}

static int extend_file(VmdkJudge *judge, uint32_t entry)
{
    VmdkCheckMap *map = judge->map;
    const int64_t end = start_of(entry) + map->grain;

    return end > bdrv_getlength(map->file) ? bdrv_truncate(map->file, end) : 0;
}

static int write_entry(VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    static const BdrvTableOrder orders[] = {
        [VMDK_PRIMARY] = BDRV_TABLE_PRIMARY,
        [VMDK_REDUNDANT] = BDRV_TABLE_REDUNDANT,
    };
    const int64_t table = grain / map->gtes, index = grain % map->gtes;
    uint8_t bytes[ENTRY_BYTES];
    int ret = 0;

    bdrv_store_le32(bytes, entry);
    for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
        if (map->gd[set] && map->gd[set][table] != 0) {
            ret = bdrv_table_write(map->c->image->table, map->file, bytes, sizeof bytes,
                                   start_of(map->gd[set][table]) + index * ENTRY_BYTES,
                                   orders[set]);
        }
    }
    return ret;
}

static int mend(VmdkJudge *judge, int64_t grain, const Decision *decision)
{
    VmdkCheckMap *map = judge->map;
    uint32_t entry = decision->entry;
    int ret = 0;

    map->c->mended = 1;
    if (decision->copy) {
        ret = copy_grain(judge, grain, entry, &entry);
    } else if (decision->extend) {
        ret = extend_file(judge, entry);
    }
    return ret < 0 ? ret : write_entry(map, grain, entry);
}

/* ----------------------------------------------------------------- reporting */

static void describe_row(const VmdkCheckMap *map, const Row *row, char *text, size_t size)
{
    const int64_t first = row->first % map->gtes, table = row->first / map->gtes;

    if (row->count == 1) {
        snprintf(text, size, "The GTE [%" PRId64 "] in GT [%" PRId64 "] is %s (%" PRIu32 ")",
                 first, table, fates[row->fate].text, row->entry);
    } else {
        snprintf(text, size, "The GTEs [%" PRId64 "] to [%" PRId64 "] in GT [%" PRId64
                 "] are %s (%" PRIu32 ", \xe2\x80\xa6)", first, first + row->count - 1, table,
                 fates[row->fate].text, row->entry);
    }
}

static void report_row(VmdkJudge *judge)
{
    VmdkCheckMap *map = judge->map;
    const Row *row = &judge->row;
    const int64_t start = row->first * map->grain;
    const BdrvFindingKind kind = fates[row->fate].kind;
    char text[256], cleared[128];
    BdrvFinding finding = {
        .kind = kind,
        .offset = map->extent->start + start,
        .bytes = bdrv_min(row->count * map->grain, map->length - start),
        .repair = fates[row->fate].repair,
        .repaired = vmdk_mends(map->c, kind),
    };

    if (row->count == 0) {
        return;
    }
    if (!finding.repair) {
        snprintf(cleared, sizeof cleared, "cleared: the range then %s",
                 vmdk_unallocated_reads(map->extent));
        finding.repair = cleared;
    }
    describe_row(map, row, text, sizeof text);
    vmdk_found(map->c, &finding, "%s: %s", vmdk_check_name(map->extent), text);
    judge->row.count = 0;
}

static void note_in_row(VmdkJudge *judge, int64_t grain, Fate fate, uint32_t entry)
{
    Row *row = &judge->row;

    if (row->count > 0 && row->fate == fate && row->first + row->count == grain &&
        grain % judge->map->gtes != 0) {
        row->count++;
        return;
    }
    report_row(judge);
    *row = (Row){fate, grain, 1, entry};
}

/* ------------------------------------------------------------------- judging */

/* What the entry points at belongs to it from now on, whether that was written
 * or, in a look without repair, only found. */
static void claim(VmdkJudge *judge, int64_t grain, const Decision *decision)
{
    VmdkCheckMap *map = judge->map;
    const VmdkEntryClass class = vmdk_check_class(map, grain, decision->entry);

    if (decision->copy || (class != VMDK_ENTRY_GRAIN && class != VMDK_ENTRY_CUT)) {
        return;
    }
    if (decision->fate == FATE_RESTORED || decision->fate == FATE_MISSING) {
        map->c->result->allocated_clusters++;
    }
    vmdk_bits_set(&map->seen, start_of(decision->entry), end_of(map, grain, decision->entry));
    map->used_end = bdrv_max(map->used_end, end_of(map, grain, decision->entry));
}

static int judge_entry(VmdkJudge *judge, int64_t grain, uint32_t entry, uint32_t copy)
{
    const Decision decision = decide(judge, grain, entry, copy);
    VmdkCheckMap *map = judge->map;

    if (decision.fate == FATE_FINE) {
        return 0;
    }
    map->zeroed_unflagged |= decision.fate == FATE_UNFLAGGED;
    note_in_row(judge, grain, decision.fate, entry);
    claim(judge, grain, &decision);
    return vmdk_mends(map->c, fates[decision.fate].kind) ? mend(judge, grain, &decision) : 0;
}

int vmdk_judge_table(VmdkSurvey *survey, int64_t table, const uint8_t *primary,
                     const uint8_t *copy)
{
    const VmdkCheckMap *map = survey->map;
    const int64_t count = vmdk_check_entries_in(map, table);
    int ret = 0;

    for (int64_t i = 0; ret == 0 && i < count; i++) {
        const uint32_t entry = bdrv_load_le32(primary + i * ENTRY_BYTES);
        const uint32_t other = bdrv_load_le32(copy + i * ENTRY_BYTES);

        if (entry != 0 || other != 0) {
            ret = judge_entry(survey->judge, table * map->gtes + i, entry, other);
        }
    }
    return ret;
}

/* A repair puts nothing where a cut grain will have its end. */
int vmdk_judge_begin(VmdkSurvey *survey)
{
    VmdkCheckMap *map = survey->map;
    VmdkJudge *judge = calloc(1, sizeof *judge);

    survey->judge = judge;
    if (!judge) {
        return -ENOMEM;
    }
    judge->map = map;
    if (map->any_place || map->unaligned) {
        map->next = bdrv_max(map->next, map->file_size + (survey->cut ? map->grain : 0));
    }
    return map->shared.bytes
               ? vmdk_bits_new(&judge->taken, map->shared.count * map->shared.unit,
                               map->shared.unit)
               : 0;
}

int vmdk_judge_end(VmdkSurvey *survey, int ret)
{
    if (survey->judge) {
        if (ret == 0) {
            report_row(survey->judge);
        }
        free(survey->judge->taken.bytes);
        free(survey->judge->grain);
        free(survey->judge);
        survey->judge = NULL;
    }
    return ret;
}
