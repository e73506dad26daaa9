/* SPDX-License-Identifier: MIT */
/*
 * t-files.c - disks of more extents than may be open at once: extents are
 * opened when they are needed and closed when others are, and nobody who uses
 * the disk can tell, whatever the threads, the flushes and the failures.
 */
#include "place.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXTENT = 65536,
    EXTENTS = 12,
    DISK = EXTENTS * EXTENT,
    THREADS = 6
};

static const char *const kinds[] = {
    "subformat=twoGbMaxExtentFlat,extent_size=64k",
    "subformat=twoGbMaxExtentSparse,extent_size=64k",
};

enum {
    KINDS = sizeof kinds / sizeof *kinds
};

static void create(int kind)
{
    assert_ok(place_try_create("d.vmdk", NULL, kinds[kind], DISK));
}

/* How many descriptors this process has; -1: this host does not tell. */
static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = -1; /* its own */

    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

/* ----------------------------------------------------------------- one thread */

/* Eight more than are open; what was allowed before. */
static struct rlimit allow_few_files(void)
{
    const int lowest = dup(0);
    struct rlimit before, few;

    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)(lowest + 8);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    return before;
}

/* A disk of more extents than the process may open files could not be opened, or not be
 * read to its end, although others could have been closed. */
START_TEST(a_process_that_may_open_few_files_can_use_all_extents)
{
    static const char *const options[] = { "open_files=1000", "open_files=10" };
    struct rlimit before;
    BlockDriverState *disk;

    create(_i);
    before = allow_few_files();
    for (int o = 0; o < 2; o++) {
        disk = place_open("d.vmdk", BDRV_O_RDWR, options[o]);
        for (int i = 0; i < EXTENTS; i++) {
            assert_ok(pattern_write(disk, i * EXTENT, 4096, 1));
        }
        for (int i = 0; i < EXTENTS; i++) {
            assert_pattern(disk, i * EXTENT, 4096, 1);
        }
        assert_ok(bdrv_close(disk));
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

/* Those for which the process had no room were reported as damaged. */
START_TEST(a_check_with_few_files_finds_no_damage)
{
    BdrvCheckResult result = {.struct_size = sizeof result};
    struct rlimit before;
    BlockDriverState *disk;

    create(_i);
    before = allow_few_files();
    disk = place_open("d.vmdk", BDRV_O_CHECK, NULL);
    assert_ok(bdrv_check(disk, NULL, &result));
    ck_assert_int_eq(result.corruptions, 0);
    ck_assert_int_eq(result.unrecoverable, 0);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

START_TEST(what_is_written_to_extents_that_were_closed_is_there)
{
    BlockDriverState *disk;

    create(_i);
    disk = place_open("d.vmdk", BDRV_O_RDWR, "open_files=2");
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < EXTENTS; i++) {
            assert_ok(pattern_write(disk, i * EXTENT + round * 4096, 4096, (unsigned)round));
        }
    }
    assert_ok(pattern_write(disk, EXTENT / 2, 3 * EXTENT, 9)); /* over four of them */
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, "open_files=1");
    assert_pattern(disk, EXTENT / 2, 3 * EXTENT, 9);
    for (int i = 4; i < EXTENTS; i++) {
        assert_pattern(disk, i * EXTENT, 4096, PATTERN_ZEROS);
        for (int round = 1; round <= 3; round++) {
            assert_pattern(disk, i * EXTENT + round * 4096, 4096, (unsigned)round);
        }
    }
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(no_more_files_are_open_than_allowed)
{
    int before = open_descriptors();
    BlockDriverState *disk;

    if (before < 0) {
        suite_skipped("this host does not tell which descriptors are open");
        return;
    }
    create(_i);
    disk = place_open("d.vmdk", BDRV_O_RDWR, "open_files=3");
    for (int i = 0; i < EXTENTS; i++) {
        assert_ok(pattern_write(disk, i * EXTENT, 512, 1));
        ck_assert_int_le(open_descriptors(), before + 1 + 3);
    }
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* An extent that is closed was closed properly. */
START_TEST(the_clean_mark_is_set_when_an_extent_is_closed)
{
    BlockDriverState *disk;
    char *first;

    create(1);
    disk = place_open("d.vmdk", BDRV_O_RDWR, "open_files=1");
    assert_ok(pattern_write(disk, 0, 512, 1));
    first = place_read("d-s001.vmdk");
    ck_assert_int_eq(first[AT_UNCLEAN], 1);
    free(first);
    assert_ok(pattern_write(disk, EXTENT, 512, 1));
    first = place_read("d-s001.vmdk");
    ck_assert_int_eq(first[AT_UNCLEAN], 0);
    free(first);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(the_map_is_the_same_whether_all_are_open_or_not)
{
    BlockDriverState *all, *few;

    create(_i);
    few = place_open("d.vmdk", BDRV_O_RDWR, "open_files=2");
    for (int i = 0; i < EXTENTS; i += 3) {
        assert_ok(pattern_write(few, i * EXTENT, EXTENT, 1));
    }
    assert_ok(bdrv_close(few));
    all = place_open("d.vmdk", 0, NULL);
    few = place_open("d.vmdk", 0, "open_files=2");
    for (int64_t at = 0; at < DISK;) {
        BdrvExtent one, other;

        assert_ok(bdrv_map(all, at, DISK - at, &one));
        assert_ok(bdrv_map(few, at, DISK - at, &other));
        ck_assert_int_eq(one.state, other.state);
        ck_assert_int_eq(one.bytes, other.bytes);
        ck_assert_ptr_null(other.file); /* it may be closed at any time */
        at += one.bytes;
    }
    assert_ok(bdrv_close(all));
    assert_ok(bdrv_close(few));
}
END_TEST

static void count_extent(void *opaque, const BdrvDetail *detail)
{
    if (detail->key && strcmp(detail->key, "cluster-size") == 0) {
        ++*(int *)opaque;
    }
}

START_TEST(info_counts_the_extents_that_are_closed_too)
{
    BlockDriverState *all, *few;
    BdrvInfo one = {.struct_size = sizeof one}, other = {.struct_size = sizeof other};
    int count = 0;

    create(1);
    all = place_open("d.vmdk", 0, NULL);
    few = place_open("d.vmdk", 0, "open_files=2");
    assert_ok(bdrv_get_info(all, &one));
    assert_ok(bdrv_get_info(few, &other));
    ck_assert_int_eq(one.host_bytes, other.host_bytes);
    ck_assert_int_eq(other.cluster_size, 65536);
    assert_ok(bdrv_get_details(few, count_extent, &count));
    ck_assert_int_eq(count, EXTENTS);
    assert_ok(bdrv_close(all));
    assert_ok(bdrv_close(few));
}
END_TEST

/* ------------------------------------------------------------------- failures */

static void remove_file(const char *name)
{
    char *path = host_path(place, name);

    ck_assert_int_eq(unlink(path), 0);
    free(path);
}

START_TEST(a_missing_file_fails_the_open_or_the_request_that_needs_it)
{
    BlockDriverState *disk;
    uint8_t byte;

    create(_i);
    remove_file(_i == 0 ? "d-f008.vmdk" : "d-s008.vmdk");
    place_refused("d.vmdk", 0, -ENOENT, "008.vmdk");
    disk = place_open("d.vmdk", 0, "open_files=2");
    assert_ok(bdrv_pread(disk, &byte, 1, 7 * EXTENT - 1));
    assert_fails_saying(bdrv_pread(disk, &byte, 1, 7 * EXTENT), -ENOENT, "008.vmdk");
    assert_ok(bdrv_pread(disk, &byte, 1, 8 * EXTENT));
    assert_ok(bdrv_close(disk));
}
END_TEST

/* -------------------------------------------------------------------- threads */

typedef struct Worker {
    pthread_t thread;
    BlockDriverState *disk;
    int number;
    int result;
} Worker;

/* Each has a sector of every cluster to itself. */
static void *work(void *opaque)
{
    Worker *worker = opaque;
    uint32_t seed = (uint32_t)worker->number;

    for (int i = 0; worker->result == 0 && i < 200; i++) {
        int64_t at = (int64_t)(suite_random(&seed) % EXTENTS) * EXTENT + worker->number * 4096;

        worker->result = pattern_write(worker->disk, at, 4096, (unsigned)i + 1);
        if (worker->result == 0) {
            worker->result = pattern_verify(worker->disk, at, 4096, (unsigned)i + 1);
        }
        if (worker->result == 0 && i % 32 == 0) {
            worker->result = bdrv_flush(worker->disk);
        }
    }
    return NULL;
}

START_TEST(threads_share_fewer_files_than_there_are_threads)
{
    Worker workers[THREADS];
    BlockDriverState *disk;

    create(_i);
    disk = place_open("d.vmdk", BDRV_O_RDWR | BDRV_O_NO_FLUSH, "open_files=2");
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.disk = disk, .number = i};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(workers[i].result, 0);
    }
    assert_ok(bdrv_close(disk));
}
END_TEST

/* ------------------------------------------------------------------ very many */

enum {
    VERY_MANY = 31760,       /* of 2047 MiB: 62 TiB */
    VERY_MANY_SECTORS = 4192256
};

static void describe_very_many(void)
{
    char *text = malloc((size_t)VERY_MANY * 40), *end = text;

    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < VERY_MANY; i++) {
        end += sprintf(end, "RW %d FLAT \"e-%05d\" 0\n", VERY_MANY_SECTORS, i);
    }
    place_describe("d.vmdk", text);
    free(text);
}

/* Of full size, and a hole. */
static void make_file(int number)
{
    char name[16], *path;

    sprintf(name, "e-%05d", number);
    path = host_path(place, name);
    place_write(name, "", 0);
    ck_assert_int_eq(truncate(path, (off_t)VERY_MANY_SECTORS * SECTOR), 0);
    free(path);
}

/* The open looks at no more files than may be open (0.06 s on the machine of 2026):
 * most of those that the descriptor names are not even there. */
START_TEST(a_disk_of_62_tib_in_2_gib_files_opens_few_of_them)
{
    const int64_t each = (int64_t)VERY_MANY_SECTORS * SECTOR;
    int before = open_descriptors();
    BlockDriverState *disk;

    describe_very_many();
    for (int i = 0; i < VERY_MANY; i++) {
        if (i < 128 || i % 100 == 0) {
            make_file(i); /* the others are not looked at */
        }
    }
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), VERY_MANY * each);
    if (before >= 0) {
        ck_assert_int_le(open_descriptors(), before + 1 + 128);
    }
    for (int i = 0; i < VERY_MANY; i += 100) {
        assert_ok(pattern_write(disk, i * each, 512, 1));
    }
    for (int i = 0; i < VERY_MANY; i += 100) {
        assert_pattern(disk, i * each, 512, 1);
    }
    if (before >= 0) {
        ck_assert_int_le(open_descriptors(), before + 1 + 128);
    }
    assert_ok(bdrv_close(disk));
}
END_TEST

/* Tables that had been read ahead of one extent were taken for those of the next. */
START_TEST(each_extent_has_its_own_tables)
{
    enum { MIB = 1024 * 1024, GRAIN = 16 * 1024, LENGTH = 34 * MIB };
    BlockDriverState *disk;
    int64_t stored = 0;

    assert_ok(place_try_create("d.vmdk", NULL, "subformat=twoGbMaxExtentSparse,extent_size=16M,"
                               "grain_size=16k", LENGTH));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 19 * MIB, GRAIN, 1));
    assert_ok(pattern_write(disk, 10 * MIB, GRAIN, 2));
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    for (int64_t at = 0; at < LENGTH;) {
        BdrvExtent run;

        assert_ok(bdrv_is_allocated(disk, at, LENGTH - at, &run));
        stored += run.state == BDRV_DATA ? run.bytes : 0;
        at += run.bytes;
    }
    ck_assert_int_eq(stored, 2 * GRAIN);
    assert_ok(pattern_write(disk, 0, LENGTH, 3));
    assert_pattern(disk, 0, LENGTH, 3);
    assert_ok(bdrv_close(disk));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const alone[] = {
        the_clean_mark_is_set_when_an_extent_is_closed,
        info_counts_the_extents_that_are_closed_too,
        a_disk_of_62_tib_in_2_gib_files_opens_few_of_them,
        each_extent_has_its_own_tables,
        NULL
    };
    const TTest *const for_kinds[] = {
        what_is_written_to_extents_that_were_closed_is_there,
        a_process_that_may_open_few_files_can_use_all_extents,
        a_check_with_few_files_finds_no_damage,
        no_more_files_are_open_than_allowed,
        the_map_is_the_same_whether_all_are_open_or_not,
        a_missing_file_fails_the_open_or_the_request_that_needs_it,
        threads_share_fewer_files_than_there_are_threads,
        NULL
    };
    Suite *suite = suite_create("vmdk files");
    TCase *loops = tcase_create("kinds");

    tcase_add_checked_fixture(suite_add_case(suite, "alone", alone, 60), place_make,
                              place_remove);
    tcase_set_timeout(loops, 60);
    tcase_add_checked_fixture(loops, place_make, place_remove);
    for (size_t i = 0; for_kinds[i]; i++) {
        tcase_add_loop_test(loops, for_kinds[i], 0, KINDS);
    }
    suite_add_tcase(suite, loops);
    return suite;
}
