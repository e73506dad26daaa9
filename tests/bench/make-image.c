/* SPDX-License-Identifier: MIT */
/*
 * make-image.c - images whose grains lie as they do after long use:
 *
 *     make-image scattered FORMAT FILE SIZE GRAINS   so many, evenly over the disk
 *     make-image shuffled FORMAT FILE RAW            RAW's, written in random order
 *
 * The same file every time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv.h"

enum {
    GRAIN = 64 * 1024
};

static uint8_t buf[GRAIN];

static int fail(void)
{
    fprintf(stderr, "make-image: %s\n", bdrv_errmsg());
    return 1;
}

static int make(BlockDriverState **bs, const char *format, const char *file, int64_t size)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = size};
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR | BDRV_O_NO_FLUSH};

    return bdrv_create(file, format, &create) < 0 || bdrv_open(bs, file, format, &open) < 0
               ? fail() : 0;
}

static int scattered(BlockDriverState *bs, int64_t size, int64_t grains)
{
    const int64_t step = size / grains / GRAIN * GRAIN;

    for (int64_t i = 0; i < grains; i++) {
        memset(buf, (int)(i % 255 + 1), sizeof buf);
        if (bdrv_pwrite(bs, buf, sizeof buf, i * step) < 0) {
            return fail();
        }
    }
    return 0;
}

static int is_zero(void)
{
    return buf[0] == 0 && memcmp(buf, buf + 1, sizeof buf - 1) == 0;
}

/* Steps through all grains by one that has no divisor in common with their
 * number, and so comes to each once. */
static int shuffled(BlockDriverState *bs, BlockDriverState *raw)
{
    const int64_t grains = bdrv_getlength(raw) / GRAIN;
    int64_t step = grains / 2 * 2 / 3 | 1, at = 0;

    while (grains % step == 0 || step % 3 == 0 || step % 5 == 0) {
        step += 2;
    }
    for (int64_t i = 0; i < grains; i++, at = (at + step) % grains) {
        if (bdrv_pread(raw, buf, sizeof buf, at * GRAIN) < 0 ||
            (!is_zero() && bdrv_pwrite(bs, buf, sizeof buf, at * GRAIN) < 0)) {
            return fail();
        }
    }
    return 0;
}

static int make_shuffled(BlockDriverState **bs, char **argv)
{
    BlockDriverState *raw;
    int failed;

    if (bdrv_open(&raw, argv[4], "raw", NULL) < 0) {
        return fail();
    }
    failed = make(bs, argv[2], argv[3], bdrv_getlength(raw)) || shuffled(*bs, raw);
    bdrv_close(raw);
    return failed;
}

static int make_scattered(BlockDriverState **bs, char **argv)
{
    const int64_t size = atoll(argv[4]);

    return make(bs, argv[2], argv[3], size) || scattered(*bs, size, atoll(argv[5]));
}

int main(int argc, char **argv)
{
    BlockDriverState *bs = NULL;
    int failed;

    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: make-image scattered FORMAT FILE SIZE GRAINS\n"
                        "       make-image shuffled FORMAT FILE RAW\n");
        return 2;
    }
    failed = argc == 6 ? make_scattered(&bs, argv) : make_shuffled(&bs, argv);
    return bdrv_close(bs) < 0 || failed;
}
