/* SPDX-License-Identifier: MIT */
/*
 * range.c - bytes that go from one file to another without passing through
 * here: shared by both, or copied by the host.  Checked as in io.c.
 */
#include "block_int.h"

static int check_ranges(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                        int64_t from_offset, int64_t bytes)
{
    int ret = bdrv_check_range(from, bytes, from_offset);

    ret = ret < 0 ? ret : bdrv_check_write(bs, bytes, offset);
    if (ret == 0 && bs->is_guess) { /* see bdrv_guard_enter(), which has to see the bytes */
        ret = bdrv_error(bs, -ENOTSUP, "its format is only a guess: what is written to it "
                         "must be looked at");
    }
    return ret;
}

int bdrv_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                     int64_t from_offset, int64_t bytes)
{
    int ret;

    bdrv_call_begin();
    ret = check_ranges(bs, offset, from, from_offset, bytes);
    if (ret == 0 && bytes > 0) {
        bdrv_driver_enter(bs);
        ret = bs->driver->share_range(bs, offset, from, from_offset, bytes);
        bdrv_driver_leave(bs);
        bdrv_note_written(bs, ret < 0 ? 0 : offset + bytes);
    }
    return bdrv_call_end(bs, ret, "cannot share");
}

int bdrv_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                    int64_t from_offset, int64_t bytes)
{
    int ret;

    bdrv_call_begin();
    ret = check_ranges(bs, offset, from, from_offset, bytes);
    if (ret == 0 && bytes > 0) {
        bdrv_driver_enter(bs);
        ret = bs->driver->copy_range(bs, offset, from, from_offset, bytes);
        bdrv_driver_leave(bs);
        bdrv_note_written(bs, ret < 0 ? 0 : offset + bytes);
    }
    return bdrv_call_end(bs, ret, "cannot copy");
}
