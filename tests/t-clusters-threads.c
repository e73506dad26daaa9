/* SPDX-License-Identifier: MIT */
/*
 * t-clusters-threads.c - many threads that allocate in one map: nobody waits
 * without need, no cluster gets two places, no byte is lost.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "testmap.h"

enum {
    THREADS = 16,
    /* Matches neither words nor clusters, so that every cluster belongs to all. */
    UNIT = 88,
    UNITS = 3000,
    ROUNDS = 200
};

static int write_elsewhere(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_WRITE) {
        where->before = NULL;
        fill(0x22, 5 * CLUSTER, 10);
    }
    return 0;
}

/* If a lock were held over the write, this would wait for itself until the time limit. */
START_TEST(allocation_holds_up_nobody_elsewhere)
{
    testmap_open();
    testmap.ram->before = write_elsewhere;
    fill(0x11, 0, 10);
    assert_disk(0x11, 0, 10);
    assert_disk(0x22, 5 * CLUSTER, 10);
}
END_TEST

static atomic_int broken;

static void *write_tenth(void *opaque)
{
    int me = (int)(uintptr_t)opaque;

    if (try_fill(me + 1, me * 100, 100) < 0) {
        atomic_store(&broken, 1);
    }
    return NULL;
}

static void run_threads(void *work(void *))
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    ck_assert_int_eq(atomic_load(&broken), 0);
}

/* So that the others come while a cluster is being written. */
static int dawdle(Ram *ram, const RamCall *call)
{
    const struct timespec millisecond = {0, 1000000};

    (void)ram;
    return call->operation == RAM_WRITE ? nanosleep(&millisecond, NULL) : 0;
}

START_TEST(threads_that_need_one_cluster_allocate_it_once)
{
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    testmap.ram->before = dawdle;
    run_threads(write_tenth);
    assert_work(1, 1, 0);
    for (int i = 0; i < THREADS; i++) {
        assert_disk(i + 1, i * 100, 100);
    }
    assert_disk(PARENT, THREADS * 100, CLUSTER - THREADS * 100);
}
END_TEST

/* What each unit holds; each belongs to one thread. */
static uint8_t model[UNITS];

static int check_unit(size_t unit)
{
    uint8_t found[UNIT], wanted[UNIT];

    memset(wanted, model[unit], UNIT);
    return bdrv_pread(testmap.bs, found, UNIT, BEFORE + (int64_t)unit * UNIT) == 0 &&
           memcmp(found, wanted, UNIT) == 0;
}

static void *hammer_own(void *opaque)
{
    size_t me = (size_t)(uintptr_t)opaque;
    uint32_t seed = (uint32_t)me + 1;

    for (int i = 0; i < ROUNDS; i++) {
        size_t unit = suite_random(&seed) % (UNITS / THREADS) * THREADS + me;
        int64_t offset = (int64_t)unit * UNIT;
        int rc;

        model[unit] = (uint8_t)(suite_random(&seed) % 4);
        rc = model[unit] == 0 ? bdrv_write_zeroes(testmap.bs, BEFORE + offset, UNIT)
                              : try_fill(model[unit], offset, UNIT);
        if (rc < 0 || !check_unit(unit)) {
            atomic_store(&broken, 1);
        }
    }
    return NULL;
}

START_TEST(many_threads_that_share_clusters_keep_each_others_bytes)
{
    testmap.shape.zeroed = _i;
    testmap.shape.length = UNITS * UNIT + 1;
    testmap.shape.backing_length = testmap.shape.length / 2;
    testmap_open();
    for (size_t i = 0; i < UNITS; i++) {
        model[i] = (int64_t)(i + 1) * UNIT <= testmap.shape.backing_length ? PARENT : 0;
    }
    run_threads(hammer_own);
    for (size_t i = 0; i < UNITS; i++) {
        ck_assert(check_unit(i) || (int64_t)i == testmap.shape.backing_length / UNIT);
    }
}
END_TEST

static void *write_big_and_small(void *opaque)
{
    size_t me = (size_t)(uintptr_t)opaque;
    uint32_t seed = (uint32_t)me + 1;

    for (int i = 0; i < ROUNDS / 4; i++) {
        int64_t offset = suite_random(&seed) % (60 * CLUSTER);
        int64_t bytes = 1 + suite_random(&seed) % (4 * CLUSTER);

        if (try_fill((int)me + 1, offset, bytes) < 0) {
            atomic_store(&broken, 1);
        }
    }
    return NULL;
}

/* Two requests may win in part each, but no byte is anything but one of the writers', and
 * no cluster gets two places. */
START_TEST(overlapping_writes_allocate_each_cluster_once)
{
    static uint8_t found[64 * CLUSTER];
    int64_t used = 0;
    size_t wrong = 0;

    testmap.shape.length = 64 * CLUSTER;
    testmap_open();
    testmap.ram->before = dawdle;
    run_threads(write_big_and_small);
    assert_ok(bdrv_pread(testmap.bs, found, sizeof found, BEFORE));
    for (size_t i = 0; i < sizeof found; i++) {
        wrong += found[i] > THREADS;
    }
    ck_assert_uint_eq(wrong, 0);
    for (int i = 0; i < 64; i++) {
        used += testmap.map->entries[i].state == BDRV_DATA;
    }
    ck_assert_int_eq(testmap.map->next, ROOM + used * CLUSTER);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        allocation_holds_up_nobody_elsewhere,
        threads_that_need_one_cluster_allocate_it_once,
        overlapping_writes_allocate_each_cluster_once,
        NULL,
    };
    Suite *suite = suite_create("clusters-threads");

    tcase_add_loop_test(testmap_add_case(suite, "threads", tests),
                        many_threads_that_share_clusters_keep_each_others_bytes, 0, 2);
    return suite;
}
