/* SPDX-License-Identifier: MIT */
/*
 * t-mem.c - the mem driver: sparse, growable, any offset.
 */
#include "pattern.h"
#include "suite.h"

enum { KIB = 1024, MIB = 1024 * KIB, CHUNK = 64 * KIB };

static BlockDriverState *open_mem(const char *options_text)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
                                .options = options_text };
    BlockDriverState *bs;
    assert_ok(bdrv_open(&bs, "label", "mem", &options));
    return bs;
}

static int64_t memory_of(BlockDriverState *bs)
{
    BdrvInfo info = { .struct_size = sizeof(info) };
    assert_ok(bdrv_get_info(bs, &info));
    return info.host_bytes;
}

static void assert_extent(BlockDriverState *bs, int64_t offset, int64_t bytes,
                          BdrvState state, int64_t run)
{
    BdrvExtent extent;
    assert_ok(bdrv_is_allocated(bs, offset, bytes, &extent));
    ck_assert_int_eq(extent.state, state);
    ck_assert_int_eq(extent.bytes, run);
    ck_assert_ptr_eq(extent.file, state == BDRV_DATA ? bs : NULL);
    ck_assert_int_eq(extent.file_offset, state == BDRV_DATA ? offset : 0);
}

START_TEST(it_begins_empty_and_grows_by_writing)
{
    BlockDriverState *bs = open_mem(NULL);
    ck_assert_int_eq(bdrv_getlength(bs), 0);
    assert_ok(pattern_write(bs, 100 * KIB + 3, 200 * KIB, 1));
    ck_assert_int_eq(bdrv_getlength(bs), 300 * KIB + 3);
    assert_pattern(bs, 0, 100 * KIB + 3, PATTERN_ZEROS);
    assert_pattern(bs, 100 * KIB + 3, 200 * KIB, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(a_huge_disk_costs_what_was_written)
{
    BlockDriverState *bs = open_mem("size=1T");
    ck_assert_int_eq(memory_of(bs), 0);
    for (int64_t offset = 0; offset < INT64_C(1) << 40; offset += INT64_C(1) << 36) {
        assert_ok(pattern_write(bs, offset, 512, 1));
    }
    ck_assert_int_eq(memory_of(bs), 16 * CHUNK);
    for (int64_t offset = 0; offset < INT64_C(1) << 40; offset += INT64_C(1) << 36) {
        assert_pattern(bs, offset, 512, 1);
        assert_pattern(bs, offset + 512, CHUNK, PATTERN_ZEROS);
    }
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(the_last_byte_that_an_offset_can_name_has_its_place)
{
    BlockDriverState *bs = open_mem(NULL);
    char byte = 0;
    assert_ok(bdrv_pwrite(bs, "x", 1, INT64_MAX - 1));
    ck_assert_int_eq(bdrv_getlength(bs), INT64_MAX);
    assert_ok(bdrv_pread(bs, &byte, 1, INT64_MAX - 1));
    ck_assert_int_eq(byte, 'x');
    assert_extent(bs, 0, INT64_MAX, BDRV_ZERO, INT64_MAX - INT64_MAX % CHUNK);
    assert_ok(bdrv_truncate(bs, 0));
    assert_ok(bdrv_truncate(bs, INT64_MAX));
    assert_ok(bdrv_pread(bs, &byte, 1, INT64_MAX - 1));
    ck_assert_int_eq(byte, 0);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(runs_are_told_with_their_whole_length)
{
    BlockDriverState *bs = open_mem("size=1T");
    int64_t end = INT64_C(1) << 40;
    assert_extent(bs, 0, end, BDRV_ZERO, end);
    assert_ok(pattern_write(bs, 3 * CHUNK + 100, 2 * CHUNK, 1)); /* chunks 3 to 5 */
    assert_extent(bs, 0, end, BDRV_ZERO, 3 * CHUNK);
    assert_extent(bs, 10, 1000, BDRV_ZERO, 1000);
    assert_extent(bs, 3 * CHUNK + 10, end - 4 * CHUNK, BDRV_DATA, 3 * CHUNK - 10);
    assert_extent(bs, 3 * CHUNK, 100, BDRV_DATA, 100);
    assert_extent(bs, 6 * CHUNK, end - 6 * CHUNK, BDRV_ZERO, end - 6 * CHUNK);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(zeros_and_discards_free_whole_chunks)
{
    BlockDriverState *bs = open_mem("size=1M");
    assert_ok(pattern_write(bs, 0, MIB, 1));
    ck_assert_int_eq(memory_of(bs), MIB);
    assert_ok(bdrv_write_zeroes(bs, 100, 2 * CHUNK));
    ck_assert_int_eq(memory_of(bs), MIB - CHUNK);
    assert_ok(bdrv_discard(bs, 8 * CHUNK, 4 * CHUNK));
    ck_assert_int_eq(memory_of(bs), MIB - 5 * CHUNK);
    assert_pattern(bs, 0, 100, 1);
    assert_pattern(bs, 100, 2 * CHUNK, PATTERN_ZEROS);
    assert_pattern(bs, 2 * CHUNK + 100, 6 * CHUNK - 100, 1);
    assert_pattern(bs, 8 * CHUNK, 4 * CHUNK, PATTERN_ZEROS);
    assert_pattern(bs, 12 * CHUNK, 4 * CHUNK, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(what_was_cut_off_does_not_come_back)
{
    BlockDriverState *bs = open_mem("size=1M");
    assert_ok(pattern_write(bs, 0, MIB, 1));
    assert_ok(bdrv_truncate(bs, 100 * KIB));
    ck_assert_int_eq(memory_of(bs), 2 * CHUNK);
    assert_ok(bdrv_truncate(bs, MIB));
    assert_pattern(bs, 0, 100 * KIB, 1);
    assert_pattern(bs, 100 * KIB, MIB - 100 * KIB, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(it_cannot_be_created_only_opened)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = MIB };
    assert_fails(bdrv_create("label", "mem", &create), -ENOTSUP);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        it_begins_empty_and_grows_by_writing, a_huge_disk_costs_what_was_written,
        the_last_byte_that_an_offset_can_name_has_its_place,
        runs_are_told_with_their_whole_length, zeros_and_discards_free_whole_chunks,
        what_was_cut_off_does_not_come_back, it_cannot_be_created_only_opened, NULL
    };
    Suite *suite = suite_create("mem");
    suite_add_case(suite, "mem", tests, 30);
    return suite;
}
