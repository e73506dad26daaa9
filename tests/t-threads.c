/* SPDX-License-Identifier: MIT */
/*
 * t-threads.c - many threads on one handle, of every kind of image.  Run under
 * ThreadSanitizer by `make check-tsan`.
 *
 * The disk is cut into small units that match neither sectors nor clusters and
 * are dealt out in turn, so that each cluster belongs to all threads:
 *
 *     unit     0   1   2  …  15  16  17 …
 *     thread   0   1   2  …  15   0   1 …
 *
 * Each thread writes and reads back its own units, and looks at those of the
 * others, which may hold anything but bytes of another place.
 */
#include <pthread.h>

#include "bdrv-bytes.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum {
    THREADS = 16,
    UNIT = 88 * 8, /* whole words of the pattern, not whole sectors */
    UNITS = 3000,
    DISK = (UNITS * UNIT / 512 + 1) * 512,
    ROUNDS = 150
};

typedef struct Worker {
    pthread_t thread;
    unsigned number;
    uint32_t seed;
    BlockDriverState *disk;
    const ImageKind *kind;
    /* Of all units, each touched by its owner alone; 0: not written. */
    uint16_t *generations;
    char complaint[512]; /* "": none */
} Worker;

static void complain(Worker *worker, const char *what, const char *text)
{
    snprintf(worker->complaint, sizeof(worker->complaint), "%s, thread %u: %s: %s",
             worker->kind->name, worker->number, what, text);
}

static size_t own_unit(Worker *worker)
{
    size_t turn = suite_random(&worker->seed) % (UNITS / THREADS);
    return turn * THREADS + worker->number;
}

static void write_own(Worker *worker)
{
    size_t unit = own_unit(worker);
    uint8_t buf[UNIT];
    int64_t offset = (int64_t)unit * UNIT;
    unsigned generation = 1 + suite_random(&worker->seed) % 1000;
    pattern_fill(buf, UNIT, offset, generation);
    if (bdrv_pwrite(worker->disk, buf, UNIT, offset) != 0) {
        complain(worker, "write", bdrv_errmsg());
    }
    worker->generations[unit] = (uint16_t)generation;
}

static void zero_own(Worker *worker)
{
    size_t unit = own_unit(worker);
    if (bdrv_write_zeroes(worker->disk, (int64_t)unit * UNIT, UNIT) != 0) {
        complain(worker, "write_zeroes", bdrv_errmsg());
    }
    worker->generations[unit] = PATTERN_MAX_GENERATION; /* zeros, by order */
}

static void check_own(Worker *worker)
{
    size_t unit = own_unit(worker);
    unsigned generation = worker->generations[unit];
    uint8_t buf[UNIT];
    int64_t offset = (int64_t)unit * UNIT;
    if (bdrv_pread(worker->disk, buf, UNIT, offset) != 0) {
        complain(worker, "read", bdrv_errmsg());
        return;
    }
    if (generation == 0 || (worker->kind->facts & IMAGE_EMPTY) != 0) {
        return;
    }
    const char *text = pattern_check(buf, UNIT, offset,
        generation == PATTERN_MAX_GENERATION ? PATTERN_ZEROS : generation);
    if (text != NULL) {
        complain(worker, "own data", text);
    }
}

/* Reads over the borders of several owners. */
static void look_around(Worker *worker)
{
    enum { SPAN = 100 * UNIT };
    int64_t offset = (int64_t)(suite_random(&worker->seed) %
                               (UNITS - SPAN / UNIT)) * UNIT;
    uint8_t *buf = malloc(SPAN);
    if (buf == NULL || bdrv_pread(worker->disk, buf, SPAN, offset) != 0) {
        complain(worker, "read", bdrv_errmsg());
    }
    for (int at = 0; buf != NULL && at < SPAN; at += 8) {
        if (pattern_identify(buf + at, 8, offset + at) < 0) {
            complain(worker, "another's data",
                     pattern_check(buf + at, 8, offset + at, 1));
            break;
        }
    }
    free(buf);
}

static void ask(Worker *worker)
{
    BdrvExtent extent;
    int64_t offset = (int64_t)own_unit(worker) * UNIT;
    if (bdrv_is_allocated(worker->disk, offset, DISK - offset, &extent) != 0 ||
        bdrv_map(worker->disk, offset, DISK - offset, &extent) != 0) {
        complain(worker, "is_allocated", bdrv_errmsg());
    }
}

static void *work(void *opaque)
{
    Worker *worker = opaque;
    for (int i = 0; i < ROUNDS && worker->complaint[0] == '\0'; i++) {
        uint32_t choice = suite_random(&worker->seed) % 16;
        if (choice < 7) {
            write_own(worker);
        } else if (choice < 8) {
            zero_own(worker);
        } else if (choice < 12) {
            check_own(worker);
        } else if (choice < 14) {
            look_around(worker);
        } else if (choice < 15) {
            ask(worker);
        } else if (bdrv_flush(worker->disk) != 0) {
            complain(worker, "flush", bdrv_errmsg());
        }
    }
    return NULL;
}

static void hammer(Image *image, BlockDriverState *disk, uint16_t *generations)
{
    Worker workers[THREADS];
    uint32_t seed = suite_seed();
    memset(workers, 0, sizeof(workers));
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].seed = seed + i * 7919;
        workers[i].disk = disk;
        workers[i].kind = image->kind;
        workers[i].generations = generations;
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work,
                                        &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_msg(workers[i].complaint[0] == '\0', "%s",
                      workers[i].complaint);
    }
}

/* What the threads wrote, told to the model. */
static void learn(Image *image, const uint16_t *generations)
{
    for (size_t unit = 0; unit < UNITS; unit++) {
        uint8_t buf[UNIT];
        int64_t offset = (int64_t)unit * UNIT;
        unsigned generation = generations[unit];
        if (generation != 0) {
            pattern_fill(buf, UNIT, offset,
                         generation == PATTERN_MAX_GENERATION ? PATTERN_ZEROS
                                                              : generation);
            image_expect(image, offset, buf, UNIT);
        }
    }
}

START_TEST(sixteen_threads_share_one_handle)
{
    Image *image = image_new(image_kind((size_t)_i), DISK);
    uint16_t *generations = calloc(UNITS, sizeof(*generations));
    ck_assert_ptr_nonnull(generations);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    hammer(image, disk, generations);
    learn(image, generations);
    image_assert(image, disk);
    image_close(image, disk);
    if ((image->kind->facts & IMAGE_FORGETS) == 0) {
        disk = image_open(image, 0);
        const char *found = image_find_damage(disk);
        ck_assert_msg(found == NULL, "%s: %s", image->kind->name, found);
        image_assert(image, disk);
        image_close(image, disk);
    }
    free(generations);
    image_free(image);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = { sixteen_threads_share_one_handle, NULL };
    Suite *suite = suite_create("threads");
    image_register_drivers();
    image_add_loops(suite, "one handle", tests, 300);
    return suite;
}
