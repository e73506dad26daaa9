/* SPDX-License-Identifier: MIT */
/*
 * check-judge.c - what an odd entry of a grain table should be; check-mend.c makes it so.
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
 * Where readers found another table until now (its directory entry was wrong, or it was
 * wiped out), they go on reading what they read, unless it is certain what is right.
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
    FATE_UNFLAGGED, /* 1, against the header */
    FATE_DOUBTFUL,  /* of a table that was not read: nobody knows which copy is right */
    FATE_CROWDED    /* it would need a copy of a grain, as too many others would */
} Fate;

static const struct {
    BdrvFindingKind kind;
    const char *text;
    const char *repair; /* NULL: none, or it is cleared */
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
    [FATE_DOUBTFUL] = {BDRV_FINDING_UNRECOVERABLE, "of a table that was not where readers look, "
                       "and damaged, too: which grain it had is not certain",
                       "the range goes on reading as it did"},
    [FATE_CROWDED] = {BDRV_FINDING_UNRECOVERABLE, "of a grain that other entries point at too; "
                      "there are too many of these to give each a copy of its own", NULL},
};

/* Entries in a row. */
typedef struct Row {
    Fate fate;
    int64_t first, count; /* grains of the extent */
    uint32_t entry;
} Row;

/* What becomes of an entry. */
typedef struct Decision {
    Fate fate;
    uint32_t entry;
    int copy;   /* not the grain itself, but a copy of it */
    int extend; /* the file, up to the grain's end */
} Decision;

struct VmdkJudge {
    VmdkCheckMap *map;
    VmdkBits taken; /* of the shared grains: has an owner */
    VmdkBits dropped; /* no entry leads there any more; bytes NULL: none */
    int may_copy;   /* not more grains than VMDK_CHECK_COPIES_MAX */
    int64_t copies_left; /* of these; what was followed by mistake takes some, too */
    Row row;
    VmdkMend mend;
};

/* An entry as the two sets have it. */
typedef struct Pair {
    uint32_t entry, copy;
} Pair;

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

/* The same of a copy that is another one than the entry, which may overlap it: most of a
 * grain does if a low bit of the entry is wrong. */
static int is_its_own_but_for(const VmdkCheckMap *map, int64_t grain, uint32_t copy,
                              uint32_t entry)
{
    const int64_t start = start_of(copy), end = end_of(map, grain, copy);
    const int64_t before = bdrv_min(end, start_of(entry));
    const int64_t behind = bdrv_max(start, end_of(map, grain, entry));

    return vmdk_check_class(map, grain, copy) == VMDK_ENTRY_GRAIN &&
           (map->any_place || map->unaligned || start % map->grain == 0) &&
           !vmdk_bits_any(&map->seen, start, before) &&
           !vmdk_bits_any(&map->seen, behind, end) && !is_in(map, &map->shared, grain, copy) &&
           !is_in(map, &map->contested, grain, copy);
}

static Decision decide_grain(VmdkJudge *judge, int64_t grain, uint32_t entry, uint32_t copy)
{
    const VmdkCheckMap *map = judge->map;

    if (is_in(map, &map->shared, grain, entry)) {
        if (copy != entry && is_its_own_but_for(map, grain, copy, entry)) {
            return (Decision){.fate = FATE_UNSHARED, .entry = copy};
        }
        if (is_in(map, &judge->taken, grain, entry)) {
            return (Decision){.fate = FATE_SHARED, .entry = entry, .copy = 1};
        }
        vmdk_bits_set(&judge->taken, start_of(entry), end_of(map, grain, entry));
    }
    return (Decision){.fate = copy == entry ? FATE_FINE : FATE_STALE, .entry = entry};
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

static Decision decide_cut(VmdkJudge *judge, int64_t grain, uint32_t entry, uint32_t copy)
{
    Decision decision = decide_grain(judge, grain, entry, copy);

    if (decision.fate == FATE_SHARED && copy != entry &&
        vmdk_check_class(judge->map, grain, copy) == VMDK_ENTRY_GRAIN) {
        return decide_by_copy(judge, grain, copy); /* the other way the end is lost */
    }
    if (decision.fate == FATE_FINE || decision.fate == FATE_STALE) {
        if (copy != entry && is_its_own_but_for(judge->map, grain, copy, entry)) {
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

static int is_place(const VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    switch (vmdk_check_class(map, grain, entry)) {
    case VMDK_ENTRY_GRAIN:
    case VMDK_ENTRY_CUT:
        return 1;
    case VMDK_ENTRY_EMPTY:
    case VMDK_ENTRY_ZEROED:
    case VMDK_ENTRY_UNFLAGGED:
    case VMDK_ENTRY_INVALID:
        break;
    }
    return 0;
}

/* Readers followed a table that is blank, and no other one. */
static int was_blank(const VmdkCheckMap *map, int64_t grain)
{
    return !map->followed || map->followed[grain / map->gtes] == 0;
}

/* Do both sets say so, or is the one that does the only one that can be right?  A grain of
 * zeros that only the copy of a blank table has was entered there first. */
static int is_certain(const VmdkCheckMap *map, int64_t grain, const Pair *pair,
                      const Decision *decision)
{
    if (!is_place(map, grain, decision->entry)) {
        return pair->entry == pair->copy ||
               (pair->copy == 0 && decision->entry == ENTRY_ZEROED && was_blank(map, grain));
    }
    if (decision->copy) {
        return 0;
    }
    if (decision->entry != pair->entry) {
        return is_its_own(map, grain, decision->entry);
    }
    return !is_in(map, &map->shared, grain, pair->entry) &&
           (pair->entry == pair->copy || (!is_in(map, &map->copies, grain, pair->entry) &&
                                          !is_place(map, grain, pair->copy)));
}

/* The followed entry is given up.  What only it led to is a leak from now on, which is
 * told if there is memory for that. */
static void drop(VmdkJudge *judge, int64_t grain, uint32_t entry)
{
    const VmdkCheckMap *map = judge->map;
    VmdkBits *bits = &judge->dropped;

    map->c->result->allocated_clusters--;
    if (!is_in(map, &map->shared, grain, entry) &&
        (bits->bytes || vmdk_bits_new(bits, map->seen.count * map->seen.unit, map->seen.unit) == 0)) {
        vmdk_bits_set(bits, start_of(entry), end_of(map, grain, entry));
    }
}

static void forget_dropped(VmdkJudge *judge)
{
    VmdkBits *seen = &judge->map->seen;

    for (int64_t i = 0; judge->dropped.bytes && i < bdrv_div_up(seen->count, 8); i++) {
        seen->bytes[i] &= (uint8_t)~judge->dropped.bytes[i];
    }
}

/* old is the entry that readers found until now; if it was impossible, they looked at
 * the other set. */
static void go_on_as_before(VmdkJudge *judge, int64_t grain, uint32_t old, const Pair *pair,
                            Decision *decision)
{
    const VmdkCheckMap *map = judge->map;
    const VmdkEntryClass class = vmdk_check_class(map, grain, old);

    if (class == VMDK_ENTRY_INVALID || class == VMDK_ENTRY_UNFLAGGED ||
        old == decision->entry || is_certain(map, grain, pair, decision)) {
        return;
    }
    if (is_place(map, grain, pair->entry)) {
        drop(judge, grain, pair->entry);
    }
    *decision = (Decision){.fate = FATE_DOUBTFUL, .entry = old, .copy = is_place(map, grain, old)};
    map->c->result->allocated_clusters += decision->copy;
}

static Decision decide_finally(VmdkJudge *judge, int64_t grain, const Pair *pair,
                               const uint8_t *followed)
{
    Decision decision = decide(judge, grain, pair->entry, pair->copy);

    if (followed) {
        go_on_as_before(judge, grain, bdrv_load_le32(followed), pair, &decision);
    }
    if (decision.copy && (!judge->may_copy || judge->copies_left-- <= 0)) {
        decision.fate = FATE_CROWDED;
    }
    return decision;
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
        .repaired = row->fate != FATE_CROWDED && vmdk_mends(map->c, kind),
    };

    if (row->count == 0) {
        return;
    }
    if (row->fate == FATE_LOST) {
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

    if (decision->copy || decision->fate == FATE_CROWDED || (class != VMDK_ENTRY_GRAIN && class != VMDK_ENTRY_CUT)) {
        return;
    }
    if (decision->fate == FATE_RESTORED || decision->fate == FATE_MISSING) {
        map->c->result->allocated_clusters++;
    }
    vmdk_bits_set(&map->seen, start_of(decision->entry), end_of(map, grain, decision->entry));
    map->used_end = bdrv_max(map->used_end, end_of(map, grain, decision->entry));
}

/* What is restored can be read, or read as before, without a grain of its own. */
static int mend(VmdkJudge *judge, int64_t grain, const Decision *decision)
{
    const VmdkNewEntry entry = {
        .grain = grain,
        .entry = decision->entry,
        .copy = decision->copy,
        .extend = decision->extend,
        .may_be_first = decision->fate == FATE_RESTORED,
    };

    return vmdk_mend_entry(&judge->mend, &entry);
}

static int judge_entry(VmdkJudge *judge, int64_t grain, const Pair *pair,
                       const uint8_t *followed)
{
    const Decision decision = decide_finally(judge, grain, pair, followed);
    VmdkCheckMap *map = judge->map;

    if (decision.fate == FATE_FINE) {
        return 0;
    }
    map->zeroed_unflagged |= decision.fate == FATE_UNFLAGGED;
    note_in_row(judge, grain, decision.fate, pair->entry);
    claim(judge, grain, &decision);
    return decision.fate != FATE_CROWDED && vmdk_mends(map->c, fates[decision.fate].kind)
               ? mend(judge, grain, &decision)
               : 0;
}

int vmdk_judge_table(VmdkSurvey *survey, int64_t table, const uint8_t *primary,
                     const uint8_t *copy, const uint8_t *followed)
{
    const VmdkCheckMap *map = survey->map;
    const int64_t count = vmdk_check_entries_in(map, table);
    int ret = 0;

    for (int64_t i = 0; ret == 0 && i < count; i++) {
        const Pair pair = {bdrv_load_le32(primary + i * ENTRY_BYTES),
                           bdrv_load_le32(copy + i * ENTRY_BYTES)};

        if (pair.entry != 0 || pair.copy != 0) {
            ret = judge_entry(survey->judge, table * map->gtes + i, &pair,
                              followed ? followed + i * ENTRY_BYTES : NULL);
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
    judge->mend.map = map;
    judge->copies_left = VMDK_CHECK_COPIES_MAX / map->grain;
    judge->may_copy = !map->tables_left && survey->copies <= judge->copies_left;
    if (map->any_place || map->unaligned || survey->cut_beside) {
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
            forget_dropped(survey->judge);
        }
        ret = vmdk_mend_end(&survey->judge->mend, ret);
        free(survey->judge->dropped.bytes);
        free(survey->judge->taken.bytes);
        free(survey->judge);
        survey->judge = NULL;
    }
    return ret;
}
