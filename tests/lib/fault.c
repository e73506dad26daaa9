/* SPDX-License-Identifier: MIT */
/*
 * fault.c - see fault.h.  A driver like any other, on the public driver API.
 */
#include "fault.h"

#include <pthread.h>

#include "bdrv-driver.h"
#include "suite.h"

typedef struct Fault {
    pthread_mutex_t lock; /* all below */
    FaultPlan plan;
    int64_t calls;
    int64_t failures;
} Fault;

/* ------------------------------------------------------------- the driver */

static int fault_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    Fault *fault = bdrv_state(bs);
    pthread_mutex_init(&fault->lock, NULL);
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

static int fault_close(BlockDriverState *bs)
{
    Fault *fault = bdrv_state(bs);
    pthread_mutex_destroy(&fault->lock);
    return 0;
}

/* Counts the call: 0 if it may go on, else the error it must give. */
static int strike(BlockDriverState *bs, unsigned operation)
{
    Fault *fault = bdrv_state(bs);
    int error = 0;
    pthread_mutex_lock(&fault->lock);
    if ((fault->plan.operations & operation) != 0) {
        int64_t call = ++fault->calls;
        int64_t first = fault->plan.call;
        if (first > 0 && (call == first ||
                          (call > first && fault->plan.life == FAULT_FOR_EVER))) {
            fault->failures++;
            error = fault->plan.error != 0 ? -fault->plan.error : -EIO;
        }
    }
    pthread_mutex_unlock(&fault->lock);
    return error == 0 ? 0 : bdrv_error(bs, error, "injected fault");
}

static int fault_read(BlockDriverState *bs, void *buf, size_t bytes,
                      int64_t offset)
{
    int result = strike(bs, FAULT_READ);
    return result != 0 ? result
                       : bdrv_pread(bdrv_file(bs), buf, bytes, offset);
}

static int fault_write(BlockDriverState *bs, const void *buf, size_t bytes,
                       int64_t offset)
{
    Fault *fault = bdrv_state(bs);
    int result = strike(bs, FAULT_WRITE);
    if (result == 0) {
        return bdrv_pwrite(bdrv_file(bs), buf, bytes, offset);
    }
    int64_t end = bdrv_round_down(offset + fault->plan.stored_before,
                                  BDRV_SECTOR_SIZE);
    size_t stored = (size_t)bdrv_min(bdrv_max(end - offset, 0), (int64_t)bytes);
    if (stored > 0) {
        bdrv_pwrite(bdrv_file(bs), buf, stored, offset);
    }
    return bdrv_error(bs, result, "injected fault");
}

static int fault_flush(BlockDriverState *bs)
{
    int result = strike(bs, FAULT_FLUSH);
    return result != 0 ? result : bdrv_flush(bdrv_file(bs));
}

static int fault_truncate(BlockDriverState *bs, int64_t length)
{
    int result = strike(bs, FAULT_TRUNCATE);
    if (result == 0) {
        result = bdrv_truncate(bdrv_file(bs), length);
    }
    if (result == 0) {
        bdrv_set_length(bs, length);
    }
    return result;
}

static int fault_write_zeroes(BlockDriverState *bs, int64_t offset,
                              int64_t bytes)
{
    int result = strike(bs, FAULT_ZEROES);
    return result != 0 ? result
                       : bdrv_write_zeroes(bdrv_file(bs), offset, bytes);
}

static int fault_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int result = strike(bs, FAULT_DISCARD);
    return result != 0 ? result : bdrv_discard(bdrv_file(bs), offset, bytes);
}

static int fault_is_allocated(BlockDriverState *bs, int64_t offset,
                              int64_t bytes, BdrvExtent *extent)
{
    int result = strike(bs, FAULT_EXTENT);
    if (result == 0) {
        result = bdrv_is_allocated(bdrv_file(bs), offset, bytes, extent);
    }
    if (result == 0 && extent->state == BDRV_DATA) {
        extent->file = bdrv_file(bs);
        extent->file_offset = offset;
    }
    return result;
}

static const BlockDriver fault_driver = {
    BDRV_DRIVER_HEAD,
    .name = "fault",
    .description = "fails chosen calls, for tests",
    .flags = BDRV_DRIVER_FILTER | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(Fault),
    .open = fault_open,
    .read = fault_read,
    .write = fault_write,
    .close = fault_close,
    .flush = fault_flush,
    .is_allocated = fault_is_allocated,
    .write_zeroes = fault_write_zeroes,
    .discard = fault_discard,
    .truncate = fault_truncate,
};

/* --------------------------------------------------------- for the tests */

void fault_register(void)
{
    suite_register(&fault_driver, "fault");
}

BlockDriverState *fault_insert(BlockDriverState *file)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = bdrv_is_writable(file) ? BDRV_O_RDWR : 0,
    };
    BlockDriverState *fault;
    assert_ok(bdrv_open_node(&fault, file, "fault", &options));
    return fault;
}

void fault_arm(BlockDriverState *bs, const FaultPlan *plan)
{
    Fault *fault = bdrv_state(bs);
    pthread_mutex_lock(&fault->lock);
    fault->plan = *plan;
    fault->calls = 0;
    fault->failures = 0;
    pthread_mutex_unlock(&fault->lock);
}

void fault_disarm(BlockDriverState *bs)
{
    Fault *fault = bdrv_state(bs);
    pthread_mutex_lock(&fault->lock);
    fault->plan.call = 0;
    pthread_mutex_unlock(&fault->lock);
}

int64_t fault_calls(BlockDriverState *bs)
{
    Fault *fault = bdrv_state(bs);
    pthread_mutex_lock(&fault->lock);
    int64_t calls = fault->calls;
    pthread_mutex_unlock(&fault->lock);
    return calls;
}

int64_t fault_failures(BlockDriverState *bs)
{
    Fault *fault = bdrv_state(bs);
    pthread_mutex_lock(&fault->lock);
    int64_t failures = fault->failures;
    pthread_mutex_unlock(&fault->lock);
    return failures;
}
