/* SPDX-License-Identifier: MIT */
/*
 * t-clusters-zeroes.c - bdrv_clusters_write_zeroes(): what is written, and what
 * is spared.
 */
#include "testmap.h"

START_TEST(zeros_where_nothing_shows_through_do_nothing)
{
    testmap.shape.backing_length = 2 * CLUSTER;
    testmap_open();
    zero(2 * CLUSTER, 10 * CLUSTER + 7);
    assert_work(0, 0, 0);
    ram_assert_calls(testmap.ram, "");
}
END_TEST

START_TEST(zeros_over_data_stay_in_place)
{
    testmap_open();
    fill(0x11, 0, 3 * CLUSTER);
    zero(100, CLUSTER);
    assert_work(1, 1, 0);
    assert_disk(0x11, 0, 100);
    assert_disk(0, 100, CLUSTER);
    assert_disk(0x11, CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(whole_clusters_of_zeros_need_no_place)
{
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    zero(CLUSTER + 100, 4 * CLUSTER);
    assert_work(2, 2, 1); /* the parts of clusters at both ends need one */
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0, CLUSTER + 100, 4 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
}
END_TEST

/* _i: 0: no enter_zero; else what it returns. */
START_TEST(zeros_are_data_where_the_format_has_no_other_way)
{
    const int ways[] = {0, -ENOTSUP};

    testmap.shape.enter_zero = ways[_i];
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    zero(CLUSTER + 100, 4 * CLUSTER);
    assert_work(3, 3, 0);
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0, CLUSTER + 100, 4 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(zeros_into_zeroed_room_write_nothing_but_surroundings)
{
    testmap.shape.enter_zero = 0;
    testmap.shape.zeroed = 1;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    zero(CLUSTER, 4 * CLUSTER);
    ram_assert_calls(testmap.ram, "");
    assert_disk(0, CLUSTER, 4 * CLUSTER);
    zero(8 * CLUSTER + 100, 50);
    assert_disk(PARENT, 8 * CLUSTER, 100);
    assert_disk(0, 8 * CLUSTER + 100, 50);
    assert_disk(PARENT, 8 * CLUSTER + 150, CLUSTER - 150);
}
END_TEST

START_TEST(other_failure_of_a_zero_entry_is_an_error)
{
    testmap.shape.enter_zero = -EIO;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    assert_fails(bdrv_write_zeroes(testmap.bs, BEFORE, CLUSTER), -EIO);
    assert_work(0, 0, 0);
}
END_TEST

START_TEST(zeros_as_data_end_where_the_backing_image_does)
{
    testmap.shape.enter_zero = 0;
    testmap.shape.backing_length = 2 * CLUSTER + 1;
    testmap_open();
    zero(0, 16 * CLUSTER);
    assert_disk(0, 0, 16 * CLUSTER);
    ck_assert_int_eq(testmap.map->next, ROOM + 3 * CLUSTER);
}
END_TEST

START_TEST(partial_last_cluster_is_whole_when_zeros_reach_its_end)
{
    testmap.shape.length = 2 * CLUSTER + 512;
    testmap.shape.backing_length = testmap.shape.length;
    testmap_open();
    zero(2 * CLUSTER, 512);
    assert_work(0, 0, 1);
    assert_disk(0, 2 * CLUSTER, 512);
}
END_TEST

START_TEST(zeros_are_recorded_when_the_backing_image_was_not_opened)
{
    testmap.shape.flags = BDRV_O_NO_BACKING;
    testmap.shape.backing_length = 16 * CLUSTER;
    testmap_open();
    ck_assert_ptr_null(bdrv_backing(testmap.bs));
    zero(CLUSTER, 2 * CLUSTER);
    assert_work(0, 0, 1);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        zeros_where_nothing_shows_through_do_nothing,
        zeros_over_data_stay_in_place,
        whole_clusters_of_zeros_need_no_place,
        zeros_into_zeroed_room_write_nothing_but_surroundings,
        other_failure_of_a_zero_entry_is_an_error,
        zeros_as_data_end_where_the_backing_image_does,
        partial_last_cluster_is_whole_when_zeros_reach_its_end,
        zeros_are_recorded_when_the_backing_image_was_not_opened,
        NULL,
    };
    Suite *suite = suite_create("clusters-zeroes");

    tcase_add_loop_test(testmap_add_case(suite, "zeros", tests),
                        zeros_are_data_where_the_format_has_no_other_way, 0, 2);
    return suite;
}
