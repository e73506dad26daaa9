/* SPDX-License-Identifier: MIT */
/*
 * fuzz-write.c - a hostile image that lets itself be opened for writing is
 * written to: what was written is there, also for those who open it next, what
 * was not has not changed, and a check finds no damage that was not there.
 *
 * FUZZ_SAYS=1 in the environment shows what is done.
 */
#include "fuzz.h"

#include <string.h>

#include "bdrv-bytes.h"

enum {
    OPERATIONS = 14,
    WINDOW = 512 * 1024, /* of the disk: what is written to and watched */
    SECTORS = WINDOW / BDRV_SECTOR_SIZE,
    MOST_BYTES = 64 * 1024
};

typedef enum Known {
    UNKNOWN, /* it could not be read, or may be either of two things */
    KNOWN
} Known;

typedef struct Model {
    const FuzzWay *way;
    Store *store;
    int64_t length; /* of what is watched */
    uint8_t known[SECTORS];
    uint8_t bytes[WINDOW];
} Model;

static void read_model(Model *model, BlockDriverState *bs)
{
    int64_t length = bdrv_getlength(bs) / BDRV_SECTOR_SIZE * BDRV_SECTOR_SIZE;

    model->length = length < WINDOW ? length : WINDOW;
    for (int64_t at = 0; at < model->length; at += FUZZ_PIECE) {
        size_t bytes = (size_t)bdrv_min(FUZZ_PIECE, model->length - at);
        int known = bdrv_pread(bs, model->bytes + at, bytes, at) == 0;
        memset(model->known + at / BDRV_SECTOR_SIZE, known ? KNOWN : UNKNOWN,
               bytes / BDRV_SECTOR_SIZE);
    }
}

static void require_model(const Model *model, BlockDriverState *bs)
{
    static uint8_t buf[FUZZ_PIECE];

    for (int64_t at = 0; at < model->length; at += FUZZ_PIECE) {
        size_t bytes = (size_t)bdrv_min(FUZZ_PIECE, model->length - at);
        int readable = bdrv_pread(bs, buf, bytes, at) == 0;

        for (size_t i = 0; i < bytes; i += BDRV_SECTOR_SIZE) {
            if (model->known[(at + (int64_t)i) / BDRV_SECTOR_SIZE] == KNOWN) {
                REQUIRE(readable || bdrv_pread(bs, buf + i, BDRV_SECTOR_SIZE, at + (int64_t)i) == 0,
                        "what could be read can still be read");
                REQUIRE(memcmp(buf + i, model->bytes + at + i, BDRV_SECTOR_SIZE) == 0,
                        "a disk holds what was written to it");
            }
        }
    }
}

static void forget(Model *model, int64_t offset, int64_t bytes)
{
    int64_t first = offset / BDRV_SECTOR_SIZE;
    int64_t end = bdrv_div_up(offset + bytes, BDRV_SECTOR_SIZE);

    memset(model->known + first, UNKNOWN, (size_t)(end - first));
}

static void say(const char *what, int64_t offset, int64_t bytes, int result)
{
    if (getenv("FUZZ_SAYS") != NULL) {
        fprintf(stderr, "%s %lld + %lld: %d%s%s\n", what, (long long)offset, (long long)bytes,
                result, result < 0 ? ": " : "", result < 0 ? bdrv_errmsg() : "");
    }
}

/* ------------------------------------------------------------- the operations */

static void write_some(Model *model, BlockDriverState *bs, int64_t offset, int64_t bytes,
                       FuzzRandom *random)
{
    static uint8_t buf[MOST_BYTES];
    uint8_t first = (uint8_t)fuzz_random(random);
    int ret;

    for (int64_t i = 0; i < bytes; i++) {
        buf[i] = (uint8_t)(first + i / 64);
    }
    ret = bdrv_pwrite(bs, buf, (size_t)bytes, offset);
    say("write", offset, bytes, ret);
    if (ret < 0) {
        forget(model, offset, bytes);
        return;
    }
    memcpy(model->bytes + offset, buf, (size_t)bytes);
    if (offset % BDRV_SECTOR_SIZE == 0) {
        memset(model->known + offset / BDRV_SECTOR_SIZE, KNOWN, (size_t)bytes / BDRV_SECTOR_SIZE);
    }
}

static void zero_some(Model *model, BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int ret = bdrv_write_zeroes(bs, offset, bytes);

    say("zeroes", offset, bytes, ret);
    if (ret < 0) {
        forget(model, offset, bytes);
    } else {
        memset(model->bytes + offset, 0, (size_t)bytes);
        memset(model->known + offset / BDRV_SECTOR_SIZE, KNOWN, (size_t)bytes / BDRV_SECTOR_SIZE);
    }
}

/* Beyond what is watched, where there are other tables. */
static void write_far(BlockDriverState *bs, FuzzRandom *random)
{
    uint8_t buf[700], back[700];
    int64_t length = bdrv_getlength(bs), offset;
    int ret;

    if (length > WINDOW + (int64_t)sizeof(buf)) {
        offset = WINDOW + fuzz_random_below(random, length - WINDOW - (int64_t)sizeof(buf));
        memset(buf, 0xb6, sizeof(buf));
        ret = bdrv_pwrite(bs, buf, sizeof(buf), offset);
        say("write", offset, sizeof(buf), ret);
        if (ret == 0) {
            REQUIRE(bdrv_pread(bs, back, sizeof(back), offset) == 0 &&
                        memcmp(buf, back, sizeof(buf)) == 0,
                    "what was written reads back");
        }
    }
}

static void resize(Model *model, BlockDriverState *bs, FuzzRandom *random)
{
    int64_t length = bdrv_getlength(bs), wanted, now;
    int ret;

    wanted = length / 512 * 512 + (fuzz_random_below(random, 300) - 100) * 512;
    ret = wanted > 0 ? bdrv_truncate(bs, wanted) : -1;
    say("truncate", wanted, 0, ret);
    now = bdrv_getlength(bs);
    REQUIRE(now == wanted || (ret < 0 && now == length), "a disk has the old length or the new one");
    if (now < model->length) { /* also if an error came while the rest was dropped */
        model->length = now;
    }
}

static void operate(Model *model, BlockDriverState *bs, FuzzRandom *random)
{
    int64_t sectors = model->length / BDRV_SECTOR_SIZE;
    int64_t first, count;

    if (sectors == 0) {
        return;
    }
    first = fuzz_random_below(random, sectors);
    count = 1 + fuzz_random_below(random, bdrv_min(sectors - first, MOST_BYTES / 512));
    switch (fuzz_random(random) % 10) {
    case 0:
        zero_some(model, bs, first * 512, count * 512);
        break;
    case 1:
        say("discard", first * 512, count * 512, bdrv_discard(bs, first * 512, count * 512));
        forget(model, first * 512, count * 512);
        break;
    case 2:
        say("flush", 0, 0, bdrv_flush(bs));
        break;
    case 3:
        write_far(bs, random);
        break;
    case 4:
        resize(model, bs, random);
        break;
    case 5: /* within sectors */
        write_some(model, bs, first * 512 + fuzz_random(random) % 300, 1 + fuzz_random(random) % 200,
                   random);
        break;
    default:
        write_some(model, bs, first * 512, count * 512, random);
        break;
    }
}

/* ------------------------------------------------------------------ the whole */

static int count_damage(Model *model, int64_t *damage)
{
    const BdrvCheckOptions options = {
        .struct_size = sizeof(options), .finding = fuzz_say_finding,
    };
    BdrvCheckResult result = { .struct_size = sizeof(result) };
    BlockDriverState *bs;
    int ret = fuzz_open_store(&bs, model->store, model->way, BDRV_O_CHECK);

    if (ret == 0) {
        ret = bdrv_check(bs, &options, &result);
        bdrv_close(bs);
    }
    *damage = result.corruptions + result.unrecoverable;
    return ret;
}

/* 0: it did not let itself be opened. */
static int session(Model *model, int is_first, FuzzRandom *random)
{
    BlockDriverState *bs;
    int ret;

    if (fuzz_open_store(&bs, model->store, model->way, BDRV_O_RDWR) < 0) {
        REQUIRE(is_first, "what was written to can be opened again");
        return 0;
    }
    if (is_first) {
        read_model(model, bs);
    } else {
        require_model(model, bs);
    }
    for (int i = 0; i < OPERATIONS; i++) {
        operate(model, bs, random);
    }
    require_model(model, bs);
    ret = bdrv_close(bs);
    say("close", 0, 0, ret);
    return ret == 0; /* else nobody knows */
}

static void try_way(const FuzzWay *way, const uint8_t *data, size_t size)
{
    static Model model;
    FuzzRandom random = fuzz_random_from(data + (size > 512 ? 496 : 0), size > 512 ? 16 : size);
    int64_t damage, new_damage;
    int checked;

    model.way = way;
    model.store = store_new();
    if (!fuzz_put(model.store, way, data, size)) {
        return;
    }
    checked = count_damage(&model, &damage) == 0;
    if (session(&model, 1, &random) && session(&model, 0, &random) && checked) {
        REQUIRE(count_damage(&model, &new_damage) == 0, "what was written to can be checked");
        REQUIRE(new_damage <= damage, "writing makes no damage");
    }
}

void fuzz_write(const uint8_t *data, size_t size)
{
    FuzzWay way;

    for (size_t i = 0; fuzz_way_to_write(i, &way); i++) {
        try_way(&way, data, size);
    }
}
