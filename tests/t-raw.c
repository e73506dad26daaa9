/* SPDX-License-Identifier: MIT */
/*
 * t-raw.c - the raw driver: passes everything through, may show a window only.
 */
#include "bdrv-bytes.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static BlockDriverState *file;

static void setup(void)
{
    file = image_memory(MIB);
    assert_ok(pattern_write(file, 0, MIB, 1));
}

static void teardown(void)
{
    assert_ok(bdrv_close(file));
}

static int try_open(const char *options_text, BlockDriverState **bs)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
                                .options = options_text };
    return bdrv_open_node(bs, file, "raw", &options);
}

static BlockDriverState *open_raw(const char *options_text)
{
    BlockDriverState *bs;
    assert_ok(try_open(options_text, &bs));
    return bs;
}

START_TEST(the_disk_is_the_file)
{
    BlockDriverState *bs = open_raw(NULL);
    ck_assert_int_eq(bdrv_getlength(bs), MIB);
    assert_pattern(bs, 0, MIB, 1);
    assert_ok(pattern_write(bs, 1000, 1000, 2));
    assert_ok(bdrv_write_zeroes(bs, 3000, 1000));
    assert_pattern(file, 1000, 1000, 2);
    assert_pattern(file, 3000, 1000, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(unlike_its_file_it_does_not_grow_by_writing)
{
    BlockDriverState *bs = open_raw(NULL);
    assert_fails(bdrv_pwrite(bs, "xy", 2, MIB - 1), -ERANGE);
    assert_pattern(file, 0, MIB, 1);
    assert_ok(bdrv_truncate(bs, MIB + 10));
    ck_assert_int_eq(bdrv_getlength(bs), MIB + 10);
    ck_assert_int_eq(bdrv_getlength(file), MIB + 10);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(runs_point_into_the_file)
{
    BdrvExtent extent;
    BlockDriverState *bs = open_raw("offset=4k");
    assert_ok(bdrv_is_allocated(bs, 512, 1000, &extent));
    ck_assert_int_eq(extent.state, BDRV_DATA);
    ck_assert_int_eq(extent.bytes, 1000);
    ck_assert_ptr_eq(extent.file, bdrv_file(bs));
    ck_assert_int_eq(extent.file_offset, 4 * KIB + 512);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(the_map_shows_the_holes_of_the_file)
{
    BdrvExtent extent;
    BlockDriverState *bs = open_raw(NULL);
    assert_ok(bdrv_write_zeroes(file, 256 * KIB, 512 * KIB));
    assert_ok(bdrv_map(bs, 256 * KIB, 768 * KIB, &extent));
    ck_assert_int_eq(extent.state, BDRV_ZERO);
    ck_assert_int_eq(extent.bytes, 512 * KIB);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(a_window_shows_a_part_and_touches_no_other)
{
    BlockDriverState *bs = open_raw("offset=64k,size=128k");
    uint64_t word;
    ck_assert_int_eq(bdrv_getlength(bs), 128 * KIB);
    assert_ok(bdrv_pread(bs, &word, sizeof(word), 0));
    ck_assert_uint_eq(bdrv_load_le64((uint8_t *)&word) & 0xffffffffffff, 64 * KIB);
    assert_ok(bdrv_write_zeroes(bs, 0, 64 * KIB));
    assert_ok(bdrv_discard(bs, 64 * KIB, 64 * KIB));
    assert_fails(bdrv_pread(bs, &word, 1, 128 * KIB), -ERANGE);
    assert_fails_saying(bdrv_truncate(bs, MIB), -ENOTSUP, "window");
    assert_pattern(file, 0, 64 * KIB, 1);
    assert_pattern(file, 64 * KIB, 128 * KIB, PATTERN_ZEROS);
    assert_pattern(file, 192 * KIB, MIB - 192 * KIB, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(a_window_without_size_goes_to_the_end)
{
    BlockDriverState *bs = open_raw("offset=1000k");
    ck_assert_int_eq(bdrv_getlength(bs), 24 * KIB);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(a_window_that_leaves_the_file_is_refused)
{
    BlockDriverState *bs;
    assert_fails_saying(try_open("offset=1048577", &bs), -EINVAL, "1048577");
    assert_fails_saying(try_open("size=1048577", &bs), -EINVAL, "1048577");
    assert_fails_saying(try_open("offset=1M,size=1", &bs), -EINVAL, "size");
    assert_ok(try_open("offset=1M", &bs));
    ck_assert_int_eq(bdrv_getlength(bs), 0);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(create_sets_the_length_and_takes_no_parent)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 12345 };
    assert_ok(bdrv_create_node(file, "raw", &create));
    ck_assert_int_eq(bdrv_getlength(file), 12345);
    assert_pattern(file, 0, 12345, PATTERN_ZEROS);
    create.backing = "parent";
    assert_fails_saying(bdrv_create_node(file, "raw", &create), -ENOTSUP, "backing");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        the_disk_is_the_file, unlike_its_file_it_does_not_grow_by_writing,
        runs_point_into_the_file, the_map_shows_the_holes_of_the_file,
        a_window_shows_a_part_and_touches_no_other, a_window_without_size_goes_to_the_end,
        a_window_that_leaves_the_file_is_refused, create_sets_the_length_and_takes_no_parent,
        NULL
    };
    Suite *suite = suite_create("raw");
    tcase_add_checked_fixture(suite_add_case(suite, "raw", tests, 30), setup, teardown);
    return suite;
}
