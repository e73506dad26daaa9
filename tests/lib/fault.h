/* SPDX-License-Identifier: MIT */
/*
 * fault.h - a filter that fails the n-th call to the node below it.
 *
 *     image (vmdk) ──▶ fault ──▶ storage (mem)
 *
 * It counts the calls of chosen kinds, and fails one of them, or all from one
 * on, with a chosen errno.  It keeps the contract of a failing device: a write
 * that fails may have stored some of its sectors, never a part of one.
 */
#ifndef TESTS_LIB_FAULT_H
#define TESTS_LIB_FAULT_H

#include <stdint.h>

#include "bdrv.h"

enum {
    FAULT_READ = 1 << 0,
    FAULT_WRITE = 1 << 1,
    FAULT_FLUSH = 1 << 2,
    FAULT_TRUNCATE = 1 << 3,
    FAULT_ZEROES = 1 << 4,
    FAULT_DISCARD = 1 << 5,
    FAULT_EXTENT = 1 << 6, /* is_allocated */
    FAULT_ALL = (1 << 7) - 1
};

typedef enum FaultLife {
    FAULT_ONCE,    /* the n-th call fails, the next works again */
    FAULT_FOR_EVER /* the n-th call and all after it fail */
} FaultLife;

typedef struct FaultPlan {
    unsigned operations; /* FAULT_…: which calls are counted and may fail */
    int64_t call;        /* the first to fail, counted from 1; 0: none */
    FaultLife life;
    int error;             /* a positive errno; 0: EIO */
    int64_t stored_before; /* how many bytes (rounded down to sectors) a write
                            * that fails still stores */
} FaultPlan;

/* Adds the driver "fault" to the table, once. */
void fault_register(void);

/* Puts a fault node on file, writable if that is; fails the test if it cannot.
 * It fails nothing until it is armed. */
BlockDriverState *fault_insert(BlockDriverState *file);

/* Starts counting anew, by this plan (copied). */
void fault_arm(BlockDriverState *fault, const FaultPlan *plan);

/* Stops failing; the counts stay. */
void fault_disarm(BlockDriverState *fault);

/* How many calls of the plan's kinds there were, and how many of them failed,
 * since it was armed. */
int64_t fault_calls(BlockDriverState *fault);
int64_t fault_failures(BlockDriverState *fault);

#endif
