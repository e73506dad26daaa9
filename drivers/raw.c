/* SPDX-License-Identifier: MIT */
/*
 * raw.c - the disk's bytes are the file's bytes, or a window of them.
 *
 *     file   ├────────────┬──────────── disk ────────────┬──────────┤
 *            0          offset                     offset + size   end
 *
 * Everything is passed through.  Whatever no other format recognises is raw; the
 * guard against a guest that turns a probed raw image into another format lies
 * in the core, because it concerns all who probe.
 */
#include <errno.h>
#include <inttypes.h>

#include "bdrv-driver.h"

typedef struct RawState {
    int64_t offset;
    int is_window; /* then its length is fixed */
} RawState;

static int raw_probe(const BdrvProbe *probe)
{
    (void)probe;
    return 1;
}

static int raw_open(BlockDriverState *bs, const BdrvOptions *options)
{
    RawState *state = bdrv_state(bs);
    int64_t available = bdrv_getlength(bdrv_file(bs));
    int64_t length;

    state->offset = bdrv_option_number(options, "offset");
    state->is_window = state->offset != 0 || bdrv_option_given(options, "size");
    if (state->offset > available) {
        return bdrv_error(bs, -EINVAL, "offset is %" PRId64 ", but the file has %" PRId64
                          " bytes", state->offset, available);
    }
    length = available - state->offset;
    if (bdrv_option_given(options, "size")) {
        length = bdrv_option_number(options, "size");
    }
    if (length > available - state->offset) {
        return bdrv_error(bs, -EINVAL, "size is %" PRId64 ", but the file has %" PRId64
                          " bytes behind offset %" PRId64, length,
                          available - state->offset, state->offset);
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int raw_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    RawState *state = bdrv_state(bs);

    return bdrv_pread(bdrv_file(bs), buf, bytes, state->offset + offset);
}

static int raw_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    RawState *state = bdrv_state(bs);

    return bdrv_pwrite(bdrv_file(bs), buf, bytes, state->offset + offset);
}

/* A device cannot be given a length; it is enough that the disk fits. */
static int raw_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    int ret;

    if (params->backing_filename) {
        return bdrv_error(file, -ENOTSUP, "raw images cannot have a backing image");
    }
    ret = bdrv_truncate(file, params->size);
    if (ret == -ENOTSUP && bdrv_getlength(file) < params->size) {
        return bdrv_error(file, -ENOSPC, "has %" PRId64 " bytes; %" PRId64 " are wanted",
                          bdrv_getlength(file), params->size);
    }
    return ret == -ENOTSUP ? 0 : ret;
}

static int raw_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                            BdrvExtent *extent)
{
    RawState *state = bdrv_state(bs);

    extent->state = BDRV_DATA;
    extent->may_have_holes = 1; /* bdrv_map() looks for them in the file */
    extent->bytes = bytes;
    extent->file = bdrv_file(bs);
    extent->file_offset = state->offset + offset;
    return 0;
}

static int raw_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    RawState *state = bdrv_state(bs);

    return bdrv_write_zeroes(bdrv_file(bs), state->offset + offset, bytes);
}

static int raw_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    RawState *state = bdrv_state(bs);

    return bdrv_discard(bdrv_file(bs), state->offset + offset, bytes);
}

static int raw_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                           int64_t from_offset, int64_t bytes)
{
    RawState *state = bdrv_state(bs);

    return bdrv_share_range(bdrv_file(bs), state->offset + offset, from, from_offset, bytes);
}

static int raw_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                          int64_t from_offset, int64_t bytes)
{
    RawState *state = bdrv_state(bs);

    return bdrv_copy_range(bdrv_file(bs), state->offset + offset, from, from_offset, bytes);
}

static int raw_truncate(BlockDriverState *bs, int64_t length)
{
    RawState *state = bdrv_state(bs);
    int ret;

    if (state->is_window) {
        return bdrv_error(bs, -ENOTSUP, "is opened with offset or size: the length of a "
                          "window cannot be changed");
    }
    ret = bdrv_truncate(bdrv_file(bs), length);
    if (ret == 0) {
        bdrv_set_length(bs, length);
    }
    return ret;
}

static const BdrvOption raw_open_options[] = {
    {.name = "offset", .type = BDRV_OPTION_SIZE, .default_text = "0",
     .help = "where in the file the disk begins"},
    {.name = "size", .type = BDRV_OPTION_SIZE,
     .help = "the disk's length (default: up to the end of the file)"},
    {.name = NULL}
};

extern const BlockDriver bdrv_driver_raw;
const BlockDriver bdrv_driver_raw = {
    BDRV_DRIVER_HEAD,
    .name = "raw",
    .description = "the bytes of the disk and nothing else",
    .flags = BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(RawState),
    .open_options = raw_open_options,
    .probe = raw_probe,
    .open = raw_open,
    .read = raw_read,
    .write = raw_write,
    .create = raw_create,
    .is_allocated = raw_is_allocated,
    .write_zeroes = raw_write_zeroes,
    .discard = raw_discard,
    .truncate = raw_truncate,
    .share_range = raw_share_range,
    .copy_range = raw_copy_range,
};
