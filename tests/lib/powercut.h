/* SPDX-License-Identifier: MIT */
/*
 * powercut.h - a filter that remembers every change of the node below it, and
 * plays them back as a disk might have kept them when the power went.
 *
 *     record:   image (vmdk) ──▶ powercut ──▶ storage (mem)
 *     replay:   copy of the first storage + a choice of the changes
 *
 * The rules of the machine that loses power:
 *   - what was written before the last flush that returned is there;
 *   - of the sectors written since, each is there or not, on its own, whatever
 *     the order of the writes was; so is a change of the file's length;
 *   - a sector is never half there.
 */
#ifndef TESTS_LIB_POWERCUT_H
#define TESTS_LIB_POWERCUT_H

#include <stddef.h>
#include <stdint.h>

#include "bdrv.h"

typedef struct PowercutChange PowercutChange;

/* What was recorded.  Outlives the node. */
typedef struct PowercutLog {
    PowercutChange *changes;
    size_t count; /* how many, barriers included */
    size_t room;
} PowercutLog;

/* Adds the driver "powercut" to the table, once. */
void powercut_register(void);

/* Puts a recording node on file, which must be writable; *log must be zeroed,
 * outlive the node, and be freed with powercut_log_free(). */
BlockDriverState *powercut_insert(BlockDriverState *file, PowercutLog *log);
void powercut_log_free(PowercutLog *log);

/* Makes onto (a copy of the storage as it was when recording began) what it
 * would be if the power went just before change number `cut`. */

/* Everything before the cut arrived. */
void powercut_replay_all(const PowercutLog *log, size_t cut,
                         BlockDriverState *onto);
/* Of what came after the last barrier before the cut, each sector arrived or
 * not, as *seed decides. */
void powercut_replay_some(const PowercutLog *log, size_t cut, uint32_t *seed,
                          BlockDriverState *onto);
/* Everything before the cut arrived but the last change, of which the first
 * half did. */
void powercut_replay_torn(const PowercutLog *log, size_t cut,
                          BlockDriverState *onto);

#endif
