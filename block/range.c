/* SPDX-License-Identifier: MIT */
/*
 * range.c - bytes that go from one file to another without passing through
 * here: shared by both, or copied by the host.  Checked as in io.c.
 */
#include "block_int.h"

typedef struct Move {
    BdrvMoveRangeFn *call; /* the driver's */
    int64_t offset;
    BlockDriverState *from;
    int64_t from_offset;
    int64_t bytes;
} Move;

static int check(BlockDriverState *bs, const Move *move)
{
    int ret = bdrv_check_range(move->from, move->bytes, move->from_offset);

    ret = ret < 0 ? ret : bdrv_check_write(bs, move->bytes, move->offset);
    if (ret == 0 && bs->is_guess) { /* see bdrv_guard_enter(), which has to see the bytes */
        ret = bdrv_error(bs, -ENOTSUP, "its format is only a guess: what is written to it "
                         "must be looked at");
    }
    return ret;
}

static int make(BlockDriverState *bs, const Move *move, const char *failure)
{
    int ret;

    if (!bs) {
        return bdrv_error(NULL, -EINVAL, "the handle is NULL");
    }
    bdrv_call_begin();
    ret = check(bs, move);
    if (ret == 0 && move->bytes > 0) {
        bdrv_driver_enter(bs);
        ret = move->call(bs, move->offset, move->from, move->from_offset, move->bytes);
        bdrv_driver_leave(bs);
        bdrv_note_written(bs, ret < 0 ? 0 : move->offset + move->bytes);
    }
    return bdrv_call_end(bs, ret, failure);
}

int bdrv_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                     int64_t from_offset, int64_t bytes)
{
    const Move move = {bs ? bs->driver->share_range : NULL, offset, from, from_offset, bytes};

    return make(bs, &move, "cannot share");
}

int bdrv_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                    int64_t from_offset, int64_t bytes)
{
    const Move move = {bs ? bs->driver->copy_range : NULL, offset, from, from_offset, bytes};

    return make(bs, &move, "cannot copy");
}
