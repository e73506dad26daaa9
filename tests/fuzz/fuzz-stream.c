/* SPDX-License-Identifier: MIT */
/*
 * fuzz-stream.c - a stream that comes through a pipe.  What could be read of it
 * so must be what the same file gives to those who can go to and fro in it: the
 * pipe's reader believes the grains, the other one the tables.
 *
 * They may differ where the tables leave out a grain that is there, or name one
 * that no marker leads to: so only if a check finds nothing wrong in the file.
 */
#include "fuzz.h"

#include <string.h>

enum {
    PIECES = 64
};

/* In ascending order: the first mebibyte, then in growing steps. */
static int64_t offset_of(int i)
{
    return i < PIECES / 2 ? i * INT64_C(32768) : (INT64_C(1) << 20) + ((i - 32) * INT64_C(77777) << (i - 32));
}

static int is_sound(Store *store, const FuzzWay *way)
{
    BdrvCheckOptions options = { .struct_size = sizeof(options) };
    BdrvCheckResult result = { .struct_size = sizeof(result) };
    BlockDriverState *bs;
    int sound = 0;

    if (fuzz_open_store(&bs, store, way, BDRV_O_CHECK) == 0) {
        sound = bdrv_check(bs, &options, &result) == 0 &&
                result.corruptions + result.mismatches + result.unrecoverable +
                    result.leaks == 0;
        bdrv_close(bs);
    }
    return sound;
}

static void compare(BlockDriverState *piped, BlockDriverState *stored, int sound)
{
    static uint8_t one[FUZZ_PIECE], other[FUZZ_PIECE];

    if (sound) {
        REQUIRE(bdrv_getlength(piped) == bdrv_getlength(stored),
                "a stream has the same length in a pipe");
    }
    for (int i = 0; i < PIECES; i++) {
        int64_t offset = offset_of(i);
        int first = bdrv_pread(piped, one, sizeof(one), offset);
        int second = bdrv_pread(stored, other, sizeof(other), offset);

        REQUIRE(first <= 0 && second <= 0, "read returns 0 or a negative errno");
        if (sound && first == 0 && second == 0) {
            REQUIRE(memcmp(one, other, sizeof(one)) == 0,
                    "a stream has the same content in a pipe");
        }
    }
}

void fuzz_stream(const uint8_t *data, size_t size)
{
    static const FuzzWay way = { .format = "vmdk" };
    Store *pipe = store_new(), *store = store_second();
    BlockDriverState *piped, *stored;

    if (!fuzz_put(pipe, &way, data, size) || !fuzz_put(store, &way, data, size)) {
        return;
    }
    store_file(pipe, 0)->is_pipe = 1;
    if (fuzz_open_store(&piped, pipe, &way, BDRV_O_FORWARD) < 0) {
        return;
    }
    if (fuzz_open_store(&stored, store, &way, 0) < 0) {
        fuzz_look(piped);
    } else {
        compare(piped, stored, is_sound(store, &way));
        fuzz_look(stored);
        bdrv_close(stored);
    }
    bdrv_close(piped);
}
