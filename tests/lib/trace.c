/* SPDX-License-Identifier: MIT */
/*
 * trace.c - see trace.h.  A driver like any other, on the public driver API.
 */
#include "trace.h"

#include <pthread.h>

#include "bdrv-driver.h"
#include "suite.h"

typedef struct Trace {
    pthread_mutex_t lock; /* all below */
    TraceCall *calls;
    size_t count;
    size_t room;
} Trace;

uint64_t trace_hash(const void *buf, size_t bytes)
{
    const uint8_t *from = buf;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ from[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* ------------------------------------------------------------- the driver */

static int trace_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    Trace *trace = bdrv_state(bs);
    pthread_mutex_init(&trace->lock, NULL);
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

static int trace_close(BlockDriverState *bs)
{
    Trace *trace = bdrv_state(bs);
    pthread_mutex_destroy(&trace->lock);
    free(trace->calls);
    return 0;
}

/* Adds a call to the list; gives back its result, whatever that is. */
static int record(BlockDriverState *bs, TraceCall call)
{
    Trace *trace = bdrv_state(bs);
    pthread_mutex_lock(&trace->lock);
    if (trace->count == trace->room) {
        trace->room = trace->room * 2 + 64;
        trace->calls = realloc(trace->calls, trace->room * sizeof(call));
    }
    if (trace->calls == NULL) {
        abort(); /* a test without memory has nothing to say */
    }
    trace->calls[trace->count++] = call;
    pthread_mutex_unlock(&trace->lock);
    return call.result;
}

static int trace_read(BlockDriverState *bs, void *buf, size_t bytes,
                      int64_t offset)
{
    int result = bdrv_pread(bdrv_file(bs), buf, bytes, offset);
    return record(bs, (TraceCall){
        .operation = TRACE_READ, .offset = offset, .bytes = (int64_t)bytes,
        .hash = result == 0 ? trace_hash(buf, bytes) : 0, .result = result });
}

static int trace_write(BlockDriverState *bs, const void *buf, size_t bytes,
                       int64_t offset)
{
    int result = bdrv_pwrite(bdrv_file(bs), buf, bytes, offset);
    return record(bs, (TraceCall){
        .operation = TRACE_WRITE, .offset = offset, .bytes = (int64_t)bytes,
        .hash = trace_hash(buf, bytes), .result = result });
}

static int trace_flush(BlockDriverState *bs)
{
    int result = bdrv_flush(bdrv_file(bs));
    return record(bs, (TraceCall){
        .operation = TRACE_FLUSH, .result = result });
}

static int trace_truncate(BlockDriverState *bs, int64_t length)
{
    int result = bdrv_truncate(bdrv_file(bs), length);
    if (result == 0) {
        bdrv_set_length(bs, length);
    }
    return record(bs, (TraceCall){
        .operation = TRACE_TRUNCATE, .offset = length, .result = result });
}

static int trace_write_zeroes(BlockDriverState *bs, int64_t offset,
                              int64_t bytes)
{
    int result = bdrv_write_zeroes(bdrv_file(bs), offset, bytes);
    return record(bs, (TraceCall){ .operation = TRACE_ZEROES,
        .offset = offset, .bytes = bytes, .result = result });
}

static int trace_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int result = bdrv_discard(bdrv_file(bs), offset, bytes);
    return record(bs, (TraceCall){ .operation = TRACE_DISCARD,
        .offset = offset, .bytes = bytes, .result = result });
}

static int trace_is_allocated(BlockDriverState *bs, int64_t offset,
                              int64_t bytes, BdrvExtent *extent)
{
    int result = bdrv_is_allocated(bdrv_file(bs), offset, bytes, extent);
    if (result == 0 && extent->state == BDRV_DATA) {
        extent->file = bdrv_file(bs);
        extent->file_offset = offset;
    }
    return record(bs, (TraceCall){ .operation = TRACE_EXTENT,
        .offset = offset, .bytes = bytes, .result = result });
}

static const BlockDriver trace_driver = {
    BDRV_DRIVER_HEAD,
    .name = "trace",
    .description = "writes down all calls, for tests",
    .flags = BDRV_DRIVER_FILTER | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(Trace),
    .open = trace_open,
    .read = trace_read,
    .write = trace_write,
    .close = trace_close,
    .flush = trace_flush,
    .is_allocated = trace_is_allocated,
    .write_zeroes = trace_write_zeroes,
    .discard = trace_discard,
    .truncate = trace_truncate,
};

/* --------------------------------------------------------- for the tests */

void trace_register(void)
{
    suite_register(&trace_driver, "trace");
}

BlockDriverState *trace_insert(BlockDriverState *file)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = bdrv_is_writable(file) ? BDRV_O_RDWR : 0,
    };
    BlockDriverState *trace;
    assert_ok(bdrv_open_node(&trace, file, "trace", &options));
    return trace;
}

size_t trace_calls(BlockDriverState *bs, TraceCall *calls, size_t max)
{
    Trace *trace = bdrv_state(bs);
    pthread_mutex_lock(&trace->lock);
    size_t count = trace->count;
    for (size_t i = 0; calls != NULL && i < count && i < max; i++) {
        calls[i] = trace->calls[i];
    }
    pthread_mutex_unlock(&trace->lock);
    return count;
}

void trace_clear(BlockDriverState *bs)
{
    Trace *trace = bdrv_state(bs);
    pthread_mutex_lock(&trace->lock);
    trace->count = 0;
    pthread_mutex_unlock(&trace->lock);
}

int64_t trace_count(BlockDriverState *bs, TraceOperation operation)
{
    Trace *trace = bdrv_state(bs);
    int64_t count = 0;
    pthread_mutex_lock(&trace->lock);
    for (size_t i = 0; i < trace->count; i++) {
        count += trace->calls[i].operation == operation;
    }
    pthread_mutex_unlock(&trace->lock);
    return count;
}
