/* SPDX-License-Identifier: MIT */
/*
 * t-overlay.c - the overlay below BDRV_O_SNAPSHOT: the image stays as it is,
 * the overlay tells truthfully what it holds, and leaves nothing behind.
 */
#include <dirent.h>
#include <sys/resource.h>

#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum { KIB = 1024, MIB = 1024 * KIB, CLUSTER = 64 * KIB, LENGTH = 2 * MIB + 1000 };

static BlockDriverState *image;

static void setup(void)
{
    image = image_memory(LENGTH);
    assert_ok(pattern_write(image, 0, LENGTH, 1));
}

static void teardown(void)
{
    assert_ok(bdrv_close(image));
}

static BlockDriverState *open_snapshot(const char *directory)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_SNAPSHOT,
                                .snapshot_directory = directory };
    BlockDriverState *bs;
    assert_ok(bdrv_open_node(&bs, image, "raw", &options));
    ck_assert_int_eq(bdrv_getlength(bs), LENGTH);
    return bs;
}

static void assert_run(BlockDriverState *bs, int64_t offset, BdrvState state, int64_t run)
{
    BdrvExtent extent;
    assert_ok(bdrv_is_allocated(bs, offset, LENGTH - offset, &extent));
    ck_assert_int_eq(extent.state, state);
    ck_assert_int_eq(extent.bytes, run);
    ck_assert_int_eq(extent.file != NULL, state == BDRV_DATA);
}

START_TEST(writes_are_seen_here_and_do_not_reach_the_image)
{
    BlockDriverState *bs = open_snapshot(NULL);
    assert_ok(pattern_write(bs, 1000, 100000, 2));
    assert_ok(pattern_write(bs, LENGTH - 10, 10, 2));
    assert_pattern(bs, 0, 1000, 1);
    assert_pattern(bs, 1000, 100000, 2);
    assert_pattern(bs, 101000, LENGTH - 10 - 101000, 1);
    assert_pattern(bs, LENGTH - 10, 10, 2);
    assert_ok(bdrv_flush(bs));
    assert_ok(bdrv_close(bs));
    assert_pattern(image, 0, LENGTH, 1);
}
END_TEST

START_TEST(what_it_holds_is_told_cluster_by_cluster)
{
    BlockDriverState *bs = open_snapshot(NULL);
    assert_run(bs, 0, BDRV_UNALLOCATED, LENGTH);
    assert_ok(pattern_write(bs, 3 * CLUSTER + 5, 2 * CLUSTER, 2));
    assert_ok(bdrv_write_zeroes(bs, 8 * CLUSTER, 2 * CLUSTER));
    assert_run(bs, 0, BDRV_UNALLOCATED, 3 * CLUSTER);
    assert_run(bs, 3 * CLUSTER + 7, BDRV_DATA, 3 * CLUSTER - 7);
    assert_run(bs, 6 * CLUSTER, BDRV_UNALLOCATED, 2 * CLUSTER);
    assert_run(bs, 8 * CLUSTER, BDRV_ZERO, 2 * CLUSTER);
    assert_run(bs, 10 * CLUSTER, BDRV_UNALLOCATED, LENGTH - 10 * CLUSTER);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(runs_end_where_slots_are_not_neighbours)
{
    BlockDriverState *bs = open_snapshot(NULL);
    assert_ok(pattern_write(bs, CLUSTER, CLUSTER, 2)); /* the first slot */
    assert_ok(pattern_write(bs, 0, CLUSTER, 2));
    assert_run(bs, 0, BDRV_DATA, CLUSTER);
    assert_run(bs, CLUSTER, BDRV_DATA, CLUSTER);
    assert_pattern(bs, 0, 2 * CLUSTER, 2);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(zeros_and_discards_hide_the_image)
{
    BlockDriverState *bs = open_snapshot(NULL);
    assert_ok(pattern_write(bs, CLUSTER, CLUSTER, 2));
    assert_ok(bdrv_write_zeroes(bs, 100, CLUSTER));
    assert_ok(bdrv_discard(bs, 4 * CLUSTER, 3 * CLUSTER));
    assert_pattern(bs, 0, 100, 1);
    assert_pattern(bs, 100, CLUSTER, PATTERN_ZEROS);
    assert_pattern(bs, CLUSTER + 100, CLUSTER - 100, 2);
    assert_pattern(bs, 2 * CLUSTER, 2 * CLUSTER, 1);
    assert_pattern(bs, 4 * CLUSTER, 3 * CLUSTER, PATTERN_ZEROS);
    assert_ok(pattern_write(bs, 5 * CLUSTER + 10, 10, 3)); /* into a zero cluster */
    assert_pattern(bs, 4 * CLUSTER, CLUSTER + 10, PATTERN_ZEROS);
    assert_pattern(bs, 5 * CLUSTER + 10, 10, 3);
    assert_pattern(bs, 5 * CLUSTER + 20, 2 * CLUSTER - 20, PATTERN_ZEROS);
    assert_pattern(image, 0, LENGTH, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(the_temporary_file_has_no_name_and_takes_none)
{
    char *directory = host_directory_new();
    BlockDriverState *bs = open_snapshot(directory);
    assert_ok(pattern_write(bs, 0, MIB, 2));
    DIR *list = opendir(directory);
    ck_assert_ptr_nonnull(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        ck_assert_int_eq(entry->d_name[0], '.');
    }
    closedir(list);
    assert_ok(bdrv_close(bs));
    host_directory_remove(directory);
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_named)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_SNAPSHOT,
                                .snapshot_directory = "/nonexistent" };
    BlockDriverState *bs;
    assert_fails_saying(bdrv_open_node(&bs, image, "raw", &options), -ENOENT,
                        "/nonexistent");
}
END_TEST

START_TEST(a_sparse_disk_of_many_terabytes_has_a_snapshot)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_SNAPSHOT };
    int64_t length = INT64_C(100) << 40;
    BlockDriverState *bs;
    BdrvExtent extent;
    assert_ok(bdrv_truncate(image, length));
    assert_ok(bdrv_open_node(&bs, image, "raw", &options));
    assert_ok(pattern_write(bs, length - 1000, 1000, 2));
    assert_pattern(bs, length - 1000, 1000, 2);
    assert_ok(bdrv_is_allocated(bs, 0, length, &extent));
    ck_assert_int_eq(extent.state, BDRV_UNALLOCATED);
    ck_assert_int_eq(extent.bytes, length - CLUSTER);
    assert_ok(bdrv_close(bs));
}
END_TEST

static long memory_used(void)
{
    struct rusage usage;
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* A guest that discarded all of a disk of 16 TiB took 2 GiB of its host's memory. */
START_TEST(zeros_over_all_of_a_large_disk_cost_no_memory)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_SNAPSHOT };
    const int64_t length = INT64_C(16) << 40, middle = length / 2 + CLUSTER;
    long before;
    BlockDriverState *bs;
    BdrvExtent extent;
    assert_ok(bdrv_truncate(image, length));
    assert_ok(bdrv_open_node(&bs, image, "raw", &options));
    before = memory_used();
    assert_ok(bdrv_discard(bs, 0, length));
    ck_assert_int_lt(memory_used() - before, 1024 * KIB); /* a sanitizer takes 270 MiB itself */
    assert_ok(bdrv_is_allocated(bs, 0, length, &extent));
    ck_assert_int_eq(extent.state, BDRV_ZERO);
    ck_assert_int_eq(extent.bytes, length);
    assert_pattern(bs, 0, LENGTH, PATTERN_ZEROS);
    assert_ok(pattern_write(bs, middle, 1000, 2));
    assert_pattern(bs, middle, 1000, 2);
    assert_pattern(bs, middle + 1000, MIB, PATTERN_ZEROS);
    assert_ok(bdrv_is_allocated(bs, 0, length, &extent));
    ck_assert_int_eq(extent.state, BDRV_ZERO);
    ck_assert_int_eq(extent.bytes, middle);
    assert_ok(bdrv_is_allocated(bs, middle + CLUSTER, length - middle - CLUSTER, &extent));
    ck_assert_int_eq(extent.state, BDRV_ZERO);
    ck_assert_int_eq(extent.bytes, length - middle - CLUSTER);
    assert_ok(bdrv_close(bs));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        writes_are_seen_here_and_do_not_reach_the_image,
        what_it_holds_is_told_cluster_by_cluster, runs_end_where_slots_are_not_neighbours,
        zeros_and_discards_hide_the_image, the_temporary_file_has_no_name_and_takes_none,
        a_directory_that_is_not_there_is_named,
        a_sparse_disk_of_many_terabytes_has_a_snapshot,
        zeros_over_all_of_a_large_disk_cost_no_memory, NULL
    };
    Suite *suite = suite_create("overlay");
    tcase_add_checked_fixture(suite_add_case(suite, "overlay", tests, 30), setup, teardown);
    return suite;
}
