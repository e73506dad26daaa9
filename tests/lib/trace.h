/* SPDX-License-Identifier: MIT */
/*
 * trace.h - a filter that writes down the calls to the node below it, so that
 * a test can ask what was called, where, and in which order.
 */
#ifndef TESTS_LIB_TRACE_H
#define TESTS_LIB_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "bdrv.h"

typedef enum TraceOperation {
    TRACE_READ,
    TRACE_WRITE,
    TRACE_FLUSH,
    TRACE_TRUNCATE,
    TRACE_ZEROES,
    TRACE_DISCARD,
    TRACE_EXTENT,
    TRACE_OPERATIONS /* how many there are */
} TraceOperation;

typedef struct TraceCall {
    TraceOperation operation;
    int64_t offset; /* TRACE_TRUNCATE: the length; TRACE_FLUSH: 0 */
    int64_t bytes;
    uint64_t hash; /* of the bytes that were moved, FNV-1a; else 0 */
    int result;
} TraceCall;

/* Adds the driver "trace" to the table, once. */
void trace_register(void);

/* Puts a trace node on file, writable if that is; fails the test if it
 * cannot. */
BlockDriverState *trace_insert(BlockDriverState *file);

/* The calls since the last trace_clear(), in the order in which they returned.
 * Copies at most max of them to calls (NULL: none) and returns their number. */
size_t trace_calls(BlockDriverState *trace, TraceCall *calls, size_t max);
void trace_clear(BlockDriverState *trace);

/* How many calls of one kind there were. */
int64_t trace_count(BlockDriverState *trace, TraceOperation operation);

/* The hash a call that moved these bytes would have. */
uint64_t trace_hash(const void *buf, size_t bytes);

#endif
