/* SPDX-License-Identifier: MIT */
/*
 * ledger.h - what each sector of a disk may hold, now and after an accident.
 *
 * The contract of bdrv.h in numbers.  For each sector the ledger keeps two sets
 * of generations (see pattern.h):
 *
 *     live     what a read through the open handle may give: the last write
 *              that succeeded, and any write after it that failed
 *     stored   what the image may hold after a power cut: all that live has had
 *              since the last flush that succeeded
 *
 * A sector that holds anything else, or a mix, is a broken promise.  Writes go
 * in whole sectors here; that is how far the promise about accidents goes.
 */
#ifndef TESTS_LIB_LEDGER_H
#define TESTS_LIB_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "bdrv.h"

enum {
    LEDGER_GENERATIONS = 64, /* bits of a set; 0 is zeros */
    LEDGER_LENGTHS = 32
};

typedef struct Ledger {
    size_t sectors; /* of the disk as it is now */
    size_t most;    /* the sets are for so many: as long as it ever was */
    uint64_t *live;
    uint64_t *stored;
    /* How many sectors the image may have after a power cut. */
    size_t lengths[LEDGER_LENGTHS];
    size_t length_count;
} Ledger;

/* The disk holds this content (of known generations, see pattern.h), durably. */
Ledger *ledger_new(const uint8_t *content, int64_t bytes);
void ledger_free(Ledger *ledger);

/* The range was written with that generation; result is what the call said. */
void ledger_wrote(Ledger *ledger, int64_t offset, int64_t bytes,
                  unsigned generation, int result);

/* The range was discarded, successfully or not: old or zeros, each sector. */
void ledger_discarded(Ledger *ledger, int64_t offset, int64_t bytes);

/* The disk was made so long, successfully.  What was cut off is gone; what is
 * new is zeros. */
void ledger_resized(Ledger *ledger, int64_t bytes);

/* A flush succeeded: what is live is also stored, and nothing else. */
void ledger_flushed(Ledger *ledger);

/* Compare the whole disk with a set.  NULL if all is as promised, else a text
 * that lives until the next call in this thread.  Reads that fail are counted
 * in *unreadable when that is not NULL, else they are a broken promise too. */
const char *ledger_check_live(const Ledger *ledger, BlockDriverState *bs,
                              int *unreadable);
const char *ledger_check(const uint64_t *allowed, size_t sectors,
                         BlockDriverState *bs, int *unreadable);

#endif
