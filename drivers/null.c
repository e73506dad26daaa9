/* SPDX-License-Identifier: MIT */
/*
 * null.c - a disk of zeros that forgets what is written to it, and counts.
 *
 * For measuring everything above it, and for seeing what reaches a disk at all.
 */
#include <stdatomic.h>
#include <string.h>

#include "bdrv-driver.h"

typedef struct NullState {
    _Atomic int64_t reads, bytes_read;
    _Atomic int64_t writes, bytes_written;
    _Atomic int64_t write_zeroes, discards, flushes;
} NullState;

static int null_open(BlockDriverState *bs, const BdrvOptions *options)
{
    bdrv_set_length(bs, bdrv_option_number(options, "size"));
    return 0;
}

static void count(_Atomic int64_t *counter, int64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static int null_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    NullState *state = bdrv_state(bs);

    (void)offset;
    count(&state->reads, 1);
    count(&state->bytes_read, (int64_t)bytes);
    memset(buf, 0, bytes);
    return 0;
}

static int null_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    NullState *state = bdrv_state(bs);

    (void)buf, (void)offset;
    count(&state->writes, 1);
    count(&state->bytes_written, (int64_t)bytes);
    return 0;
}

static int null_flush(BlockDriverState *bs)
{
    NullState *state = bdrv_state(bs);

    count(&state->flushes, 1);
    return 0;
}

static int null_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                             BdrvExtent *extent)
{
    (void)bs, (void)offset;
    extent->state = BDRV_ZERO;
    extent->bytes = bytes;
    return 0;
}

static int null_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    NullState *state = bdrv_state(bs);

    (void)offset, (void)bytes;
    count(&state->write_zeroes, 1);
    return 0;
}

static int null_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    NullState *state = bdrv_state(bs);

    (void)offset, (void)bytes;
    count(&state->discards, 1);
    return 0;
}

static int null_truncate(BlockDriverState *bs, int64_t length)
{
    bdrv_set_length(bs, length);
    return 0;
}

static int null_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    (void)bs;
    info->host_bytes = 0;
    return 0;
}

static int null_get_details(BlockDriverState *bs, BdrvDetails *details)
{
    NullState *state = bdrv_state(bs);

    bdrv_detail_number(details, "reads", atomic_load(&state->reads));
    bdrv_detail_number(details, "bytes-read", atomic_load(&state->bytes_read));
    bdrv_detail_number(details, "writes", atomic_load(&state->writes));
    bdrv_detail_number(details, "bytes-written", atomic_load(&state->bytes_written));
    bdrv_detail_number(details, "write-zeroes", atomic_load(&state->write_zeroes));
    bdrv_detail_number(details, "discards", atomic_load(&state->discards));
    bdrv_detail_number(details, "flushes", atomic_load(&state->flushes));
    return 0;
}

static const BdrvOption null_open_options[] = {
    {.name = "size", .type = BDRV_OPTION_SIZE, .default_text = "1G",
     .help = "the disk's length"},
    {.name = NULL}
};

extern const BlockDriver bdrv_driver_null;
const BlockDriver bdrv_driver_null = {
    BDRV_DRIVER_HEAD,
    .name = "null",
    .description = "zeros; forgets what is written and counts the requests",
    .flags = BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(NullState),
    .open_options = null_open_options,
    .open = null_open,
    .read = null_read,
    .write = null_write,
    .flush = null_flush,
    .is_allocated = null_is_allocated,
    .write_zeroes = null_write_zeroes,
    .discard = null_discard,
    .truncate = null_truncate,
    .get_info = null_get_info,
    .get_details = null_get_details,
};
