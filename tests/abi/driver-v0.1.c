/* SPDX-License-Identifier: MIT */
/*
 * driver-v0.1.c - a driver as somebody else might have written it for libbdrv
 * 0.1: compiled against the frozen headers in v0.1/ into a shared object, and
 * run by driver.sh with the library of today.  Neither this file nor v0.1/ is
 * ever changed after 0.1 is released; a new version gets new copies beside it.
 *
 * The format: every byte of the disk is stored with all its bits flipped.
 */
#include <errno.h>
#include <stdlib.h>

#include "bdrv-driver.h"

enum { PIECE = 4096 };

typedef struct FlippedState {
    int64_t reads;
} FlippedState;

static void flip(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)~bytes[i];
    }
}

static int flipped_open(BlockDriverState *bs, const BdrvOptions *options)
{
    int64_t length = bdrv_getlength(bdrv_file(bs));

    if (length < 0) {
        return (int)length;
    }
    if (bdrv_option_number(options, "multiple") > 0 &&
        length % bdrv_option_number(options, "multiple") != 0) {
        return bdrv_error(bs, -EINVAL, "length is %lld, not a multiple",
                          (long long)length);
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int flipped_read(BlockDriverState *bs, void *buf, size_t bytes,
                        int64_t offset)
{
    FlippedState *s = bdrv_state(bs);
    int ret = bdrv_pread(bdrv_file(bs), buf, bytes, offset);

    if (ret < 0) {
        return ret;
    }
    s->reads++;
    flip(buf, bytes);
    return 0;
}

static int flipped_write(BlockDriverState *bs, const void *buf, size_t bytes,
                         int64_t offset)
{
    const uint8_t *from = buf;
    uint8_t piece[PIECE];

    while (bytes > 0) {
        size_t n = (size_t)bdrv_min((int64_t)bytes, PIECE);
        for (size_t i = 0; i < n; i++) {
            piece[i] = from[i];
        }
        flip(piece, n);
        int ret = bdrv_pwrite(bdrv_file(bs), piece, n, offset);
        if (ret < 0) {
            return ret;
        }
        from += n;
        bytes -= n;
        offset += (int64_t)n;
    }
    return 0;
}

static const BdrvOption flipped_options[] = {
    { "multiple", BDRV_OPTION_SIZE, "refuse other lengths", NULL, NULL },
    { NULL, BDRV_OPTION_STRING, NULL, NULL, NULL },
};

extern const BlockDriver flipped_driver;
const BlockDriver flipped_driver = {
    BDRV_DRIVER_HEAD,
    .name = "flipped",
    .description = "every bit flipped, from outside the tree",
    .instance_size = sizeof(FlippedState),
    .open_options = flipped_options,
    .open = flipped_open,
    .read = flipped_read,
    .write = flipped_write,
};
