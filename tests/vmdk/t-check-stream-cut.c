/* SPDX-License-Identifier: MIT */
/*
 * t-check-stream-cut.c - streamOptimized images whose file ends too early, but behind all
 * that a grain has: a repair keeps what could be read.
 */
#include "build-stream.h"

enum {
    SECTORS = 20 * 128
};

/* A stream that holds the bytes from its grain 7 on.  Where its first grain is goes to *at. */
static BlockDriverState *stream_with(const char *options, const uint8_t *bytes, size_t size,
                                     int64_t *at)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = SECTORS * SECTOR,
                                .options = options};
    BlockDriverState *memory = image_memory(0), *disk;
    uint8_t overhead[8];

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_pwrite(disk, bytes, size, 7 * STREAM_GRAIN));
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_pread(memory, overhead, sizeof overhead, AT_OVERHEAD));
    *at = (int64_t)bdrv_load_le64(overhead) * SECTOR;
    return memory;
}

/* A repair dropped a grain of one sector, of whose pad the end of the file had cut off a part,
 * and cut off the last part of a longer one: both could be read. */
START_TEST(a_grain_without_its_pad_is_kept)
{
    static const char *const layouts[] = {"subformat=streamOptimized",
                                          "subformat=streamOptimized,stream_layout=front"};
    BlockDriverState *memory, *disk;
    uint8_t wanted[STREAM_GRAIN] = {0}, found[STREAM_GRAIN], head[12];
    int64_t at;
    Findings f;

    pattern_fill(wanted, _i < 2 ? 16 : 4096, 0, 1);
    memory = stream_with(layouts[_i % 2], wanted, sizeof wanted, &at);
    assert_ok(bdrv_pread(memory, head, sizeof head, at));
    assert_ok(bdrv_truncate(memory, at + 12 + bdrv_load_le32(head + 8)));
    for (int repairs = 0; repairs < 2; repairs++) {
        check_memory(memory, repairs ? BDRV_CHECK_REPAIR_ALL : BDRV_CHECK_REPAIR_LEAKS, &f);
        ck_assert_msg(f.result.unrecoverable == 0, "%.2000s", f.text);
    }
    check_memory(memory, 0, &f);
    assert_clean(&f);
    disk = open_memory(memory, 0);
    assert_ok(bdrv_pread(disk, found, sizeof found, 7 * STREAM_GRAIN));
    ck_assert_mem_eq(found, wanted, sizeof wanted);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
}
END_TEST

/* Such a grain was called lost where the way to it along the grains is broken, so that only
 * its entry leads there. */
START_TEST(a_grain_without_its_pad_is_found_by_its_entry)
{
    BlockDriverState *memory;
    static uint8_t wanted[2 * STREAM_GRAIN];
    uint8_t bytes[12];
    int64_t at;
    Findings f;

    wanted[0] = wanted[STREAM_GRAIN] = 1;
    memory = stream_with("subformat=streamOptimized,stream_layout=front", wanted, sizeof wanted,
                         &at);
    assert_ok(bdrv_pread(memory, bytes, sizeof bytes, at + SECTOR));
    assert_ok(bdrv_truncate(memory, at + SECTOR + 12 + bdrv_load_le32(bytes + 8)));
    bdrv_store_le32(bytes, UINT32_MAX);
    assert_ok(bdrv_pwrite(memory, bytes, 4, at + 8)); /* what the first one takes */
    check_memory(memory, 0, &f);
    ck_assert_msg(strstr(f.text, " 1 point at no grain") != NULL, "%.2000s", f.text);
    bdrv_close(memory);
}
END_TEST

/* The end of a grain behind the end-of-stream marker was cut off the file as surplus, although
 * the tables lead there. */
START_TEST(the_end_of_a_grain_that_only_tables_lead_to_is_kept)
{
    BuiltStream b = stream_begin(SECTORS);
    BlockDriverState *memory;
    Findings f;

    stream_add(&b, 2, 1);
    b.size += SECTOR; /* the end of the stream */
    stream_add(&b, 7, 1);
    b.gt = 22;
    bdrv_store_le64(b.bytes + AT_GD, 21);
    bdrv_store_le32(b.bytes + 21 * SECTOR, (uint32_t)b.gt);
    bdrv_store_le32(stream_gte(&b, 2), b.entries[2]);
    bdrv_store_le32(stream_gte(&b, 7), b.entries[7]);
    b.size = b.entries[7] * SECTOR + 12 + bdrv_load_le32(b.bytes + b.entries[7] * SECTOR + 8);
    ck_assert_int_ne(b.size % SECTOR, 0);
    memory = stream_memory(&b);
    for (int repairs = 0; repairs < 2; repairs++) {
        BlockDriverState *disk;

        check_memory(memory, repairs ? BDRV_CHECK_REPAIR_ALL : BDRV_CHECK_REPAIR_LEAKS, &f);
        disk = open_memory(memory, 0);
        assert_pattern(disk, 7 * STREAM_GRAIN, STREAM_GRAIN, 1);
        assert_ok(bdrv_close(disk));
    }
    check_memory(memory, 0, &f);
    ck_assert_msg(f.count == 1 && strstr(f.text, "do not come by"), "%.2000s", f.text);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Where the footer was lost and the header wrong about where grains begin, none was found, and
 * a repair cut off all of them as what follows an empty stream. */
START_TEST(grains_are_found_where_overhead_does_not_lead)
{
    static const uint64_t overheads[] = {0, 60, 130};
    BuiltStream b = stream_of_three();
    BlockDriverState *memory, *disk;
    Findings f;

    bdrv_store_le64(b.bytes + AT_OVERHEAD, overheads[_i]);
    b.size = b.footer * SECTOR;
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 2 * STREAM_GRAIN, STREAM_GRAIN, 1);
    assert_pattern(disk, 9 * STREAM_GRAIN, STREAM_GRAIN, 1);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(f.result.unrecoverable, 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Where the footer was lost and a marker destroyed, a repair cut off all grains behind that,
 * and did not say so. */
START_TEST(what_is_behind_a_destroyed_marker_is_told_and_kept)
{
    const int first_lost = _i ? 2 : 7;
    BuiltStream b = stream_of_three();
    const int64_t kept = b.grains_end;
    BlockDriverState *memory, *disk;
    uint8_t *bytes;
    Findings f;

    memset(b.bytes + b.entries[first_lost] * SECTOR, 0xff, 12);
    b.size = b.footer * SECTOR;
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(f.result.unrecoverable == 1 && strstr(f.text, "is no block of a stream"),
                  "%.2000s", f.text);
    bytes = image_memory_bytes(memory);
    ck_assert_mem_eq(bytes + SECTOR, b.bytes + SECTOR, (size_t)kept - SECTOR);
    free(bytes);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 2 * STREAM_GRAIN, STREAM_GRAIN, _i ? PATTERN_ZEROS : 1);
    assert_ok(bdrv_close(disk));
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Where grains do not say what they are, the end of one was cut off the file as surplus. */
START_TEST(the_end_of_a_grain_without_marker_is_kept)
{
    BuiltStream b = stream_begin(SECTORS);
    const int64_t gt = 22, grain = 128 * SECTOR;
    BlockDriverState *memory;
    Findings f;

    stream_add(&b, 7, 1);
    bdrv_store_le32(b.bytes + AT_FLAGS, 0x10001);
    bdrv_store_le64(b.bytes + AT_GD, 21);
    bdrv_store_le32(b.bytes + 21 * SECTOR, (uint32_t)gt);
    bdrv_store_le32(b.bytes + gt * SECTOR + 7 * 4, b.entries[7]);
    b.size = grain + 12 + bdrv_load_le32(b.bytes + grain + 8) - 8;
    memmove(b.bytes + grain, b.bytes + grain + 8, (size_t)(b.size - grain));
    memory = image_memory_from(b.bytes, b.size);
    for (int repairs = 0; repairs < 2; repairs++) {
        BlockDriverState *disk;

        check_memory(memory, repairs ? BDRV_CHECK_REPAIR_ALL : BDRV_CHECK_REPAIR_LEAKS, &f);
        ck_assert_msg(f.result.unrecoverable == 0, "%.2000s", f.text);
        disk = open_memory(memory, 0);
        assert_pattern(disk, 7 * STREAM_GRAIN, STREAM_GRAIN, 1);
        assert_ok(bdrv_close(disk));
    }
    ck_assert_int_eq(bdrv_getlength(memory), bdrv_round_up(b.size, SECTOR) + SECTOR);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    static const TTest *const none[] = {NULL};
    Suite *suite = suite_create("vmdk/check-stream-cut");
    TCase *tc = suite_add_case(suite, "cut", none, 60);

    tcase_add_loop_test(tc, a_grain_without_its_pad_is_kept, 0, STREAM_CODEC ? 4 : 0);
    tcase_add_loop_test(tc, a_grain_without_its_pad_is_found_by_its_entry, 0, STREAM_CODEC);
    tcase_add_loop_test(tc, the_end_of_a_grain_that_only_tables_lead_to_is_kept, 0,
                        STREAM_CODEC);
    tcase_add_loop_test(tc, grains_are_found_where_overhead_does_not_lead, 0, STREAM_CODEC * 3);
    tcase_add_loop_test(tc, what_is_behind_a_destroyed_marker_is_told_and_kept, 0,
                        STREAM_CODEC * 2);
    tcase_add_loop_test(tc, the_end_of_a_grain_without_marker_is_kept, 0, STREAM_CODEC);
    return suite;
}
