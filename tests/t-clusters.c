/* SPDX-License-Identifier: MIT */
/*
 * t-clusters.c - BdrvClusters: what is read from where, what is written when a
 * cluster gets a place, and what is left after failures.
 */
#include "pattern.h"
#include "testmap.h"

/* ----------------------------------------------------------------- reading */

START_TEST(each_state_is_read_from_its_place)
{
    testmap.shape.backing_length = 3 * CLUSTER + 100;
    testmap_open();
    memset(testmap.ram->bytes + ROOM, 0x11, 2 * CLUSTER);
    map_set(testmap.map, 0, BDRV_DATA, ROOM);
    map_set(testmap.map, 1, BDRV_DATA, ROOM + CLUSTER);
    map_set(testmap.map, 2, BDRV_ZERO, 0);
    assert_disk(0x11, 0, 2 * CLUSTER);
    ram_assert_calls(testmap.ram, "r1048576+8192");
    assert_disk(0, 2 * CLUSTER, CLUSTER);
    assert_disk(PARENT, 3 * CLUSTER, 100);
    assert_disk(0, 3 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(one_read_may_cross_all_states)
{
    uint8_t buf[4 * CLUSTER];

    testmap.shape.backing_length = 4 * CLUSTER;
    testmap_open();
    fill(0x11, 10, 20);
    zero(CLUSTER, CLUSTER);
    assert_ok(bdrv_pread(testmap.bs, buf, 3 * CLUSTER, BEFORE + 15));
    assert_bytes(buf, 0x11, 15, 15);
    assert_bytes(buf + 15, PARENT, 30, CLUSTER - 30);
    assert_bytes(buf + CLUSTER - 15, 0, CLUSTER, CLUSTER);
    assert_bytes(buf + 2 * CLUSTER - 15, PARENT, 2 * CLUSTER, CLUSTER + 15);
}
END_TEST

START_TEST(compressed_run_is_read_by_the_driver)
{
    testmap_open();
    map_set(testmap.map, 1, BDRV_DATA, ROOM);
    testmap.map->entries[1].compressed = 1;
    assert_disk(0xcc, CLUSTER + 5, 100);
    testmap.map->ops.read_compressed = NULL;
    assert_fails(bdrv_pread(testmap.bs, &(uint8_t){0}, 1, BEFORE + CLUSTER), -EIO);
}
END_TEST

START_TEST(lookup_that_lies_is_an_error_and_no_loop)
{
    const int64_t lies[] = {-1, 101, INT64_MAX, INT64_MIN};
    uint8_t buf[100];

    testmap_open();
    testmap.map->lie = lies[_i];
    assert_fails_saying(bdrv_pread(testmap.bs, buf, 100, BEFORE), -EIO, "driver bug");
    assert_fails_saying(bdrv_pwrite(testmap.bs, buf, 100, BEFORE), -EIO, "driver bug");
    assert_fails_saying(bdrv_write_zeroes(testmap.bs, BEFORE, 100), -EIO, "driver bug");
}
END_TEST

START_TEST(range_outside_the_map_is_refused)
{
    uint8_t buf[2] = {0, 0};

    testmap_open();
    assert_fails(bdrv_clusters_read(testmap.map->clusters, buf, 2, testmap.shape.length - 1), -ERANGE);
    assert_fails(bdrv_clusters_write(testmap.map->clusters, buf, 2, -1), -ERANGE);
    assert_fails(bdrv_clusters_write_zeroes(testmap.map->clusters, testmap.shape.length, 1), -ERANGE);
}
END_TEST

START_TEST(map_that_cannot_be_is_refused)
{
    BdrvClusters *clusters;
    BdrvClustersConfig config;

    testmap_open();
    config = testmap.map->config;
    config.cluster_size = 513;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    config.cluster_size = 0;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    config.cluster_size = CLUSTER;
    config.length = INT64_MAX - CLUSTER;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    config.length = -1;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    ck_assert_ptr_null(clusters);
    bdrv_clusters_free(NULL);
}
END_TEST

/* -------------------------------------------------------------- allocating */

START_TEST(whole_clusters_are_one_reservation_one_write_one_entry)
{
    testmap_open();
    fill(0x11, CLUSTER, 4 * CLUSTER);
    ram_assert_calls(testmap.ram, "w1048576+16384");
    assert_work(1, 1, 0);
    assert_disk(0x11, CLUSTER, 4 * CLUSTER);
}
END_TEST

START_TEST(write_to_allocated_clusters_is_in_place)
{
    testmap_open();
    fill(0x11, 0, 4 * CLUSTER);
    ram_clear(testmap.ram);
    fill(0x22, 100, 2 * CLUSTER);
    ram_assert_calls(testmap.ram, "w1048676+8192");
    assert_work(1, 1, 0);
}
END_TEST

START_TEST(small_write_into_zeroed_room_writes_only_the_guests_bytes)
{
    testmap.shape.zeroed = 1;
    testmap_open();
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(testmap.ram, "w1048676+50");
    assert_disk(0, CLUSTER, 100);
    assert_disk(0x11, CLUSTER + 100, 50);
    assert_disk(0, CLUSTER + 150, CLUSTER - 150);
}
END_TEST

START_TEST(small_write_into_other_room_writes_the_whole_cluster_at_once)
{
    testmap_open();
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(testmap.ram, "w1048576+4096");
    assert_disk(0, CLUSTER, 100);
    assert_disk(0x11, CLUSTER + 100, 50);
    assert_disk(0, CLUSTER + 150, CLUSTER - 150);
}
END_TEST

/* _i: whether room is zeroed. */
START_TEST(surroundings_are_copied_in_from_the_backing_image)
{
    testmap.shape.zeroed = _i;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    fill(0x11, CLUSTER + 100, 2 * CLUSTER);
    ram_assert_calls(testmap.ram, "w1048576+12288");
    assert_work(1, 1, 0);
    assert_file(PARENT, ROOM, 100);
    assert_file(0x11, ROOM + 100, 2 * CLUSTER);
    assert_file(PARENT, ROOM + 100 + 2 * CLUSTER, CLUSTER - 100);
    assert_disk(PARENT, 0, CLUSTER + 100);
}
END_TEST

START_TEST(backing_image_may_end_within_the_surroundings)
{
    testmap.shape.zeroed = _i;
    testmap.shape.backing_length = CLUSTER + 200;
    testmap_open();
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(testmap.ram, _i ? "w1048576+200" : "w1048576+4096");
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0x11, CLUSTER + 100, 50);
    assert_disk(PARENT, CLUSTER + 150, 50);
    assert_disk(0, CLUSTER + 200, 2 * CLUSTER);
}
END_TEST

START_TEST(zero_cluster_hides_the_backing_image_from_its_surroundings)
{
    testmap.shape.zeroed = _i;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    map_set(testmap.map, 1, BDRV_ZERO, 0);
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(testmap.ram, _i ? "w1048676+50" : "w1048576+4096");
    assert_disk(0, CLUSTER, 100);
    assert_disk(0, CLUSTER + 150, CLUSTER - 150);
}
END_TEST

START_TEST(run_may_begin_in_nothing_and_end_in_zeros)
{
    testmap.shape.zeroed = _i;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    map_set(testmap.map, 2, BDRV_ZERO, 0);
    fill(0x11, CLUSTER + 100, CLUSTER);
    assert_work(1, 1, 0);
    assert_disk(PARENT, CLUSTER, 100);
    assert_disk(0x11, CLUSTER + 100, CLUSTER);
    assert_disk(0, 2 * CLUSTER + 100, CLUSTER - 100);
}
END_TEST

START_TEST(one_write_may_cross_allocated_and_new_clusters)
{
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    fill(0x11, 2 * CLUSTER, CLUSTER);
    fill(0x22, 100, 5 * CLUSTER);
    assert_work(3, 3, 0);
    assert_disk(PARENT, 0, 100);
    assert_disk(0x22, 100, 5 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
    assert_file(0x22, ROOM, CLUSTER); /* in place */
}
END_TEST

/* The room is a whole cluster, whose rest is zeros. */
START_TEST(last_cluster_may_be_partial)
{
    testmap.shape.length = 2 * CLUSTER + 512;
    testmap.shape.backing_length = 3 * CLUSTER; /* longer than the disk */
    testmap_open();
    fill(0x11, 2 * CLUSTER + 10, 20);
    ram_assert_calls(testmap.ram, "w1048576+4096");
    assert_file(PARENT, ROOM, 10);
    assert_file(0x11, ROOM + 10, 20);
    assert_file(PARENT, ROOM + 30, 482);
    assert_file(0, ROOM + 512, CLUSTER - 512);
    fill(0x22, 0, 2 * CLUSTER + 512);
    assert_disk(0x22, 0, 2 * CLUSTER + 512);
    assert_file(0, ROOM + 512, CLUSTER - 512);
}
END_TEST

START_TEST(long_write_goes_straight_from_the_callers_buffer)
{
    testmap.shape.length = 256 * CLUSTER;
    testmap.shape.backing_length = 256 * CLUSTER;
    testmap_open();
    fill(0x11, 100, 200 * CLUSTER);
    ram_assert_calls(testmap.ram, "w1048576+100 w1048676+819200 w1867876+3996");
    assert_disk(PARENT, 0, 100);
    assert_disk(0x11, 100, 200 * CLUSTER);
    assert_disk(PARENT, 200 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(surroundings_in_a_huge_cluster_are_written_in_pieces)
{
    testmap.shape.cluster_size = 1024 * 1024;
    testmap.shape.length = 4 * 1024 * 1024;
    testmap.shape.backing_length = 700 * 1024;
    testmap_open();
    fill(0x11, 600 * 1024 + 1, 10);
    ck_assert_uint_ge(ram_count(testmap.ram, RAM_WRITE), 4);
    assert_disk(PARENT, 0, 600 * 1024 + 1);
    assert_disk(0x11, 600 * 1024 + 1, 10);
    assert_disk(PARENT, 600 * 1024 + 11, 100 * 1024 - 11);
    assert_disk(0, 700 * 1024, 400 * 1024);
    assert_file(0, ROOM + 700 * 1024, 324 * 1024);
}
END_TEST

START_TEST(room_may_come_in_pieces)
{
    testmap.shape.reserve_most = 2;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    fill(0x11, CLUSTER + 100, 4 * CLUSTER);
    assert_work(3, 3, 0);
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0x11, CLUSTER + 100, 4 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
}
END_TEST

/* _i: words of the first cluster that come before the write. */
START_TEST(each_byte_of_a_write_in_pieces_goes_to_its_place)
{
    testmap.shape.length = 256 * CLUSTER;
    testmap.shape.backing_length = 256 * CLUSTER;
    testmap.shape.reserve_most = 80; /* more than is put together in memory */
    testmap_open();
    fill(0x11, 2 * CLUSTER, CLUSTER);
    assert_ok(pattern_write(testmap.bs, BEFORE + _i * 8, 200 * CLUSTER, 1));
    assert_pattern(testmap.bs, BEFORE + _i * 8, 200 * CLUSTER, 1);
    assert_disk(PARENT, 200 * CLUSTER + _i * 8, CLUSTER);
}
END_TEST

START_TEST(reservation_that_lies_is_an_error)
{
    testmap_open();
    testmap.shape.reserve_most = -1;
    assert_fails_saying(try_fill(0x11, 0, 10), -EIO, "driver bug");
}
END_TEST

START_TEST(compressed_cluster_is_not_changed)
{
    testmap_open();
    map_set(testmap.map, 1, BDRV_DATA, ROOM);
    testmap.map->entries[1].compressed = 1;
    assert_fails_saying(try_fill(0x11, CLUSTER, 10), -ENOTSUP, "compressed");
    assert_fails_saying(bdrv_write_zeroes(testmap.bs, BEFORE + CLUSTER, 10), -ENOTSUP, "compressed");
}
END_TEST

START_TEST(format_without_allocation_says_so)
{
    testmap_open();
    testmap.map->ops.reserve = NULL;
    assert_fails(try_fill(0x11, 0, 10), -ENOTSUP);
}
END_TEST

/* ---------------------------------------------------------------- failures */

static int fail_next_write(Ram *where, const RamCall *call)
{
    if (call->operation != RAM_WRITE) {
        return 0;
    }
    where->before = NULL;
    return -EIO;
}

START_TEST(cluster_whose_data_cannot_be_written_is_not_entered)
{
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    testmap.ram->before = fail_next_write;
    assert_fails(try_fill(0x11, 100, 2 * CLUSTER), -EIO);
    assert_work(1, 0, 0);
    assert_disk(PARENT, 0, 3 * CLUSTER);
    fill(0x11, 100, 2 * CLUSTER);
    assert_disk(0x11, 100, 2 * CLUSTER);
}
END_TEST

static int fail_all(Ram *where, const RamCall *call)
{
    (void)where;
    (void)call;
    return -EIO;
}

START_TEST(unreadable_backing_image_is_an_error_and_never_zeros)
{
    testmap.shape.zeroed = _i;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    testmap.parent->before = fail_all;
    assert_fails(try_fill(0x11, 100, 10), -EIO);
    assert_fails(bdrv_write_zeroes(testmap.bs, BEFORE, 10), -EIO);
    assert_fails(bdrv_pread(testmap.bs, &(uint8_t){0}, 1, BEFORE), -EIO);
    ck_assert_int_eq(testmap.map->enters, 0);
    testmap.parent->before = NULL;
    assert_disk(PARENT, 0, CLUSTER);
}
END_TEST

START_TEST(failing_reservation_and_entry_are_told_and_can_be_repeated)
{
    testmap_open();
    testmap.shape.failing_reserve = -ENOSPC;
    assert_fails_saying(try_fill(0x11, 0, 10), -ENOSPC, "no room");
    testmap.shape.failing_reserve = 0;
    testmap.shape.failing_enter = -EIO;
    assert_fails_saying(try_fill(0x11, 0, 10), -EIO, "no entry");
    assert_disk(0, 0, CLUSTER);
    testmap.shape.failing_enter = 0;
    fill(0x11, 0, 10);
    assert_disk(0x11, 0, 10);
}
END_TEST

/* ------------------------------------------------------------------- suite */

static void add_allocating(Suite *suite)
{
    const TTest *const tests[] = {
        whole_clusters_are_one_reservation_one_write_one_entry,
        write_to_allocated_clusters_is_in_place,
        small_write_into_zeroed_room_writes_only_the_guests_bytes,
        small_write_into_other_room_writes_the_whole_cluster_at_once,
        one_write_may_cross_allocated_and_new_clusters,
        last_cluster_may_be_partial,
        long_write_goes_straight_from_the_callers_buffer,
        surroundings_in_a_huge_cluster_are_written_in_pieces,
        room_may_come_in_pieces,
        reservation_that_lies_is_an_error,
        compressed_cluster_is_not_changed,
        format_without_allocation_says_so,
        cluster_whose_data_cannot_be_written_is_not_entered,
        failing_reservation_and_entry_are_told_and_can_be_repeated,
        NULL,
    };
    TCase *tcase = testmap_add_case(suite, "allocating", tests);

    tcase_add_loop_test(tcase, surroundings_are_copied_in_from_the_backing_image, 0, 2);
    tcase_add_loop_test(tcase, backing_image_may_end_within_the_surroundings, 0, 2);
    tcase_add_loop_test(tcase, zero_cluster_hides_the_backing_image_from_its_surroundings, 0,
                        2);
    tcase_add_loop_test(tcase, each_byte_of_a_write_in_pieces_goes_to_its_place, 0, 2);
    tcase_add_loop_test(tcase, unreadable_backing_image_is_an_error_and_never_zeros, 0, 2);
    tcase_add_loop_test(tcase, run_may_begin_in_nothing_and_end_in_zeros, 0, 2);
}

Suite *test_suite(void)
{
    const TTest *const reading[] = {
        each_state_is_read_from_its_place,
        one_read_may_cross_all_states,
        compressed_run_is_read_by_the_driver,
        range_outside_the_map_is_refused,
        map_that_cannot_be_is_refused,
        NULL,
    };
    Suite *suite = suite_create("clusters");

    tcase_add_loop_test(testmap_add_case(suite, "reading", reading),
                        lookup_that_lies_is_an_error_and_no_loop, 0, 4);
    add_allocating(suite);
    return suite;
}
