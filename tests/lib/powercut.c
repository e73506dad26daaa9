/* SPDX-License-Identifier: MIT */
/*
 * powercut.c - see powercut.h.  Zeros written by command are recorded as
 * writes: the filter leaves write_zeroes and discard to the defaults.
 */
#include "powercut.h"

#include <pthread.h>

#include "bdrv-driver.h"
#include "suite.h"

enum { SECTOR = BDRV_SECTOR_SIZE };

typedef enum ChangeKind { CHANGE_WRITE, CHANGE_LENGTH, CHANGE_BARRIER } ChangeKind;

struct PowercutChange {
    ChangeKind kind;
    int64_t offset; /* CHANGE_LENGTH: the new length */
    int64_t bytes;
    uint8_t *data; /* CHANGE_WRITE */
};

typedef struct Powercut {
    pthread_mutex_t lock; /* *log */
    PowercutLog *log;
} Powercut;

/* ------------------------------------------------------------- the driver */

static int powercut_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    Powercut *powercut = bdrv_state(bs);
    pthread_mutex_init(&powercut->lock, NULL);
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

static int powercut_close(BlockDriverState *bs)
{
    Powercut *powercut = bdrv_state(bs);
    pthread_mutex_destroy(&powercut->lock);
    return 0;
}

static int powercut_read(BlockDriverState *bs, void *buf, size_t bytes,
                         int64_t offset)
{
    return bdrv_pread(bdrv_file(bs), buf, bytes, offset);
}

/* Takes over change->data. */
static void record(BlockDriverState *bs, const PowercutChange *change)
{
    Powercut *powercut = bdrv_state(bs);
    PowercutLog *log = powercut->log;
    if (log == NULL) { /* opened by name, not by powercut_insert() */
        free(change->data);
        return;
    }
    pthread_mutex_lock(&powercut->lock);
    if (log->count == log->room) {
        log->room = log->room * 2 + 64;
        log->changes = realloc(log->changes, log->room * sizeof(*change));
    }
    if (log->changes == NULL) {
        abort(); /* a test without memory has nothing to say */
    }
    log->changes[log->count++] = *change;
    pthread_mutex_unlock(&powercut->lock);
}

static int powercut_write(BlockDriverState *bs, const void *buf, size_t bytes,
                          int64_t offset)
{
    PowercutChange change = {
        .kind = CHANGE_WRITE, .offset = offset, .bytes = (int64_t)bytes,
        .data = malloc(bytes),
    };
    if (change.data == NULL) {
        return -ENOMEM;
    }
    memcpy(change.data, buf, bytes);
    record(bs, &change);
    return bdrv_pwrite(bdrv_file(bs), buf, bytes, offset);
}

static int powercut_flush(BlockDriverState *bs)
{
    int result = bdrv_flush(bdrv_file(bs));
    if (result == 0) {
        record(bs, &(PowercutChange){ .kind = CHANGE_BARRIER });
    }
    return result;
}

static int powercut_truncate(BlockDriverState *bs, int64_t length)
{
    int result = bdrv_truncate(bdrv_file(bs), length);
    if (result == 0) {
        record(bs, &(PowercutChange){ .kind = CHANGE_LENGTH,
                                      .offset = length });
        bdrv_set_length(bs, length);
    }
    return result;
}

static const BlockDriver powercut_driver = {
    BDRV_DRIVER_HEAD,
    .name = "powercut",
    .description = "records all changes, for tests",
    .flags = BDRV_DRIVER_FILTER | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(Powercut),
    .open = powercut_open,
    .read = powercut_read,
    .write = powercut_write,
    .close = powercut_close,
    .flush = powercut_flush,
    .truncate = powercut_truncate,
};

void powercut_register(void)
{
    suite_register(&powercut_driver, "powercut");
}

BlockDriverState *powercut_insert(BlockDriverState *file, PowercutLog *log)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    BlockDriverState *bs;
    assert_ok(bdrv_open_node(&bs, file, "powercut", &options));
    Powercut *powercut = bdrv_state(bs);
    powercut->log = log;
    return bs;
}

void powercut_log_free(PowercutLog *log)
{
    for (size_t i = 0; i < log->count; i++) {
        free(log->changes[i].data);
    }
    free(log->changes);
    memset(log, 0, sizeof(*log));
}

/* ----------------------------------------------------------------- replay */

static void apply_part(const PowercutChange *change, int64_t from, int64_t to,
                       BlockDriverState *onto)
{
    /* Not assert_ok(): that tells the parent process each time. */
    if (to > from && bdrv_pwrite(onto, change->data + from, (size_t)(to - from),
                                 change->offset + from) != 0) {
        ck_abort_msg("replay: %s", bdrv_errmsg());
    }
}

static void apply(const PowercutChange *change, BlockDriverState *onto)
{
    switch (change->kind) {
    case CHANGE_WRITE:
        apply_part(change, 0, change->bytes, onto);
        break;
    case CHANGE_LENGTH:
        assert_ok(bdrv_truncate(onto, change->offset));
        break;
    case CHANGE_BARRIER:
        break;
    }
}

/* The end of the sector of the file in which the change's byte `from` lies,
 * counted from the change's first byte. */
static int64_t sector_end(const PowercutChange *change, int64_t from)
{
    int64_t end = bdrv_round_down(change->offset + from, SECTOR) + SECTOR;
    return bdrv_min(end - change->offset, change->bytes);
}

static void apply_by_chance(const PowercutChange *change, uint32_t *seed,
                            BlockDriverState *onto)
{
    uint32_t mood = suite_random(seed) % 4; /* all, nothing, or a mix */
    if (mood == 0) {
        return;
    }
    if (change->kind != CHANGE_WRITE || mood == 1) {
        apply(change, onto);
        return;
    }
    for (int64_t from = 0; from < change->bytes;) {
        int64_t to = sector_end(change, from);
        if (suite_random(seed) % 2 == 0) {
            apply_part(change, from, to, onto);
        }
        from = to;
    }
}

void powercut_replay_all(const PowercutLog *log, size_t cut,
                         BlockDriverState *onto)
{
    for (size_t i = 0; i < cut; i++) {
        apply(&log->changes[i], onto);
    }
}

void powercut_replay_some(const PowercutLog *log, size_t cut, uint32_t *seed,
                          BlockDriverState *onto)
{
    size_t durable = cut;
    while (durable > 0 && log->changes[durable - 1].kind != CHANGE_BARRIER) {
        durable--;
    }
    powercut_replay_all(log, durable, onto);
    for (size_t i = durable; i < cut; i++) {
        apply_by_chance(&log->changes[i], seed, onto);
    }
}

void powercut_replay_torn(const PowercutLog *log, size_t cut,
                          BlockDriverState *onto)
{
    if (cut == 0) {
        return;
    }
    powercut_replay_all(log, cut - 1, onto);
    const PowercutChange *last = &log->changes[cut - 1];
    if (last->kind == CHANGE_WRITE) {
        apply_part(last, 0, sector_end(last, last->bytes / 2), onto);
    } else {
        apply(last, onto);
    }
}
