/* SPDX-License-Identifier: MIT */
/*
 * check-judge.h - between the walk over the tables (check-entries.c) and the
 * verdict on each entry (check-judge.c).
 */
#ifndef VMDK_CHECK_JUDGE_H
#define VMDK_CHECK_JUDGE_H

#include "check.h"

/* Some tables of both sets, read. */
typedef struct VmdkTablePiece {
    int64_t first, count;
    uint8_t *entries[VMDK_SETS];
    int unreadable[VMDK_SETS]; /* some; their entries are all ones */
    uint8_t *followed;         /* one table: see vmdk_judge_table() */
} VmdkTablePiece;

/* ------------------------------------------------------------ check-mend.c */

/* What an entry shall be in both sets. */
typedef struct VmdkNewEntry {
    int64_t grain; /* of the extent */
    uint32_t entry;
    int copy;         /* of a copy of that grain, which is made */
    int extend;       /* the file, up to that grain's end */
    int may_be_first; /* if copy or extend is set: the entry alone makes nothing worse */
} VmdkNewEntry;

typedef struct VmdkMend {
    VmdkCheckMap *map;
    uint8_t *buffer; /* for a grain, made when it is needed */
    VmdkNewEntry *later; /* in the order of the disk */
    size_t count, room;
} VmdkMend;

/* Makes it so, now or in vmdk_mend_end(). */
int vmdk_mend_entry(VmdkMend *mend, const VmdkNewEntry *entry);
/* Does the rest, if ret, the result of all so far, is 0; frees what mend has. */
int vmdk_mend_end(VmdkMend *mend, int ret);

/* ----------------------------------------------------------- check-judge.c */

typedef struct VmdkJudge VmdkJudge;

typedef struct VmdkSurvey {
    VmdkCheckMap *map;
    int64_t previous_end; /* of the grain before, in the file; -1: none */
    int64_t zeroed;
    int odd; /* there is something to be judged */
    int cut; /* … such as a grain cut by the file's end */
    int cut_beside; /* … which begins at no multiple of a grain */
    int64_t copies; /* of grains that a repair would make, at most */
    VmdkJudge *judge;
} VmdkSurvey;

int vmdk_judge_begin(VmdkSurvey *survey);
/* The table as both sets have it; the same pointer twice if only one has.  followed:
 * what readers took for it until now, if that is another one; or NULL. */
int vmdk_judge_table(VmdkSurvey *survey, int64_t table, const uint8_t *primary,
                     const uint8_t *copy, const uint8_t *followed);
/* Ends what ret is the result of so far. */
int vmdk_judge_end(VmdkSurvey *survey, int ret);

#endif
