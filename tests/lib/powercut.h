/* SPDX-License-Identifier: MIT */
/*
 * powercut.h - remembers every change of the files of a volume, and plays them
 * back as a disk might have kept them when the power went.
 *
 *     record:   image (vmdk) ──▶ volume ──▶ list of changes
 *     replay:   the volume as it was + a choice of the changes
 *
 * The rules of the machine that loses power:
 *   - what was written to a file before its last flush that returned is there,
 *     and so is the file's name; another file's flush says nothing about it;
 *   - of the sectors written since, each is there or not, on its own, whatever
 *     the order of the writes was; so is a change of a file's length, a new name
 *     and the loss of a name;
 *   - a sector is never half there, and a file that is replaced as a whole is
 *     the old one or the new one, the new one from when that returned.
 */
#ifndef TESTS_LIB_POWERCUT_H
#define TESTS_LIB_POWERCUT_H

#include <stddef.h>
#include <stdint.h>

#include "volume.h"

typedef struct PowercutStep PowercutStep;

typedef struct Powercut {
    Volume *volume; /* whose changes are recorded */
    Volume *before; /* the same as it was */
    PowercutStep *steps;
    size_t count; /* the changes so far, flushes included */
    size_t room;
} Powercut;

/* Begins to record, and ends it.  *powercut is filled in; powercut_free() in the
 * end. */
void powercut_begin(Powercut *powercut, Volume *volume);
void powercut_end(Powercut *powercut);
void powercut_free(Powercut *powercut);

/* What got lost of the changes before the cut that no flush had made durable. */
typedef enum PowercutLoss {
    POWERCUT_NOTHING,
    POWERCUT_HALF,     /* the second half of the last of them */
    POWERCUT_BY_CHANCE /* what *seed says */
} PowercutLoss;

/* The volume as it is if the power goes just before change number `cut` of a
 * recording that has ended; to be freed. */
Volume *powercut_replay(const Powercut *powercut, size_t cut, PowercutLoss loss,
                        uint32_t *seed);

/* What must hold of each: where says what was done to the volume, which is freed
 * afterwards. */
typedef void PowercutExamine(void *opaque, Volume *volume, size_t cut, const char *where);

/* Calls examine for every cut with nothing lost and with a half lost, and for
 * the given number of losses by chance, spread over the cuts where most can be
 * lost.  How many that were. */
size_t powercut_try_all(const Powercut *powercut, size_t by_chance, uint32_t *seed,
                        PowercutExamine *examine, void *opaque);

#endif
