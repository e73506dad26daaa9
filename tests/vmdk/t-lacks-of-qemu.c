/* SPDX-License-Identifier: MIT */
/*
 * t-lacks-of-qemu.c - what QEMU 7.2's driver leaves out (the format document, section
 * 11.1, the last rows), and that this one does not.
 */
#include "build-cowd.h"
#include "new-stream.h"
#include "place.h"
#include "trace.h"

enum {
    GRAIN = 65536,
    DISK = 1024 * 1024
};

/* --------------------------------------------------------------- consistency */

/* QEMU lets a table entry reach the disk before the data it points at. */
START_TEST(consistency_no_barrier_between_data_and_entry)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *trace = trace_insert(memory), *disk;
    TraceCall calls[64];
    size_t count, data = 0, flush = 0, entry = 0;

    disk = open_memory(trace, BDRV_O_RDWR);
    trace_clear(trace);
    assert_ok(pattern_write(disk, 2 * GRAIN, GRAIN, 1));
    assert_ok(bdrv_flush(disk));
    count = trace_calls(trace, calls, 64);
    ck_assert_uint_le(count, 64);
    for (size_t i = 0; i < count; i++) {
        const int64_t first = b.gd[0] * SECTOR, behind = b.size;

        if (calls[i].operation == TRACE_WRITE && calls[i].offset >= behind) {
            data = i + 1;
        }
        if (calls[i].operation == TRACE_FLUSH && data && !entry) {
            flush = i + 1;
        }
        if (calls[i].operation == TRACE_WRITE && calls[i].offset >= first &&
            calls[i].offset < behind) {
            entry = i + 1;
        }
    }
    ck_assert_uint_gt(data, 0);
    ck_assert_uint_gt(flush, data);
    ck_assert_uint_gt(entry, flush);
    bdrv_close(disk);
    bdrv_close(trace);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU does not say that an image is being written, nor look if another program was. */
START_TEST(consistency_the_unclean_mark_is_not_used)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 0, GRAIN, 1));
    assert_ok(bdrv_flush(disk));
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[AT_UNCLEAN], 1);
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[AT_UNCLEAN], 0);
    bdrv_close(memory);
    b.bytes[AT_UNCLEAN] = 1;
    build_set_gte(&b, 5, 2); /* no grain can be there */
    build_refused(&b, BDRV_O_RDWR, -EINVAL, "");
}
END_TEST

/* QEMU never looks at the redundant tables. */
START_TEST(consistency_the_redundant_table_is_not_used)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 3, 1);
    bdrv_store_le32(build_gde(&b, 0, 0), 0x7fffff00);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 3 * GRAIN, GRAIN, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU's check looks for entries behind the end of the file only, and mends nothing. */
START_TEST(consistency_damage_is_neither_found_nor_mended)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    BdrvCheckOptions how = {.struct_size = sizeof how, .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult found = {.struct_size = sizeof found};

    build_add_grain(&b, 3, 1);
    bdrv_store_le32(build_gte(&b, 0, 3), (uint32_t)b.gd[0]); /* of one set, into the tables */
    memory = build_memory(&b);
    assert_ok(try_open(memory, BDRV_O_RDWR | BDRV_O_CHECK, NULL, NULL, &disk));
    assert_ok(bdrv_check(disk, &how, &found));
    ck_assert_int_gt(found.corruptions_fixed + found.mismatches_fixed, 0);
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 3 * GRAIN, GRAIN, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU leaves freeSector where it was, so that ESXi writes over what QEMU has added. */
START_TEST(consistency_free_sector_is_not_kept)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 0, 7 * SECTOR, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_COWD_FREE), 5 + 32 + 7);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* -------------------------------------------------------------------- stream */

/* QEMU's streams have neither markers nor an end of stream, and 64 KiB of padding. */
START_TEST(stream_neither_markers_nor_end_and_padding_at_the_tail)
{
    BlockDriverState *memory, *disk;

    if (!can_write()) {
        return;
    }
    memory = create(4 * MIB, options_for(_i, ""));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(try_write(disk, MIB, 3 * GRAIN, 1));
    assert_ok(bdrv_close(disk));
    assert_valid(memory);
    bdrv_close(memory);
}
END_TEST

/* -------------------------------------------------------------------- missing */

static int64_t host_bytes(const char *name)
{
    BlockDriverState *disk = place_open(name, 0, NULL);
    BdrvInfo info = {.struct_size = sizeof info};

    assert_ok(bdrv_get_info(disk, &info));
    assert_ok(bdrv_close(disk));
    return info.host_bytes;
}

/* QEMU forgets the grain over which zeros are written: the file only ever grows; it
 * has no discard. */
START_TEST(missing_zeros_and_discards_lose_the_grain)
{
    BlockDriverState *disk;
    int64_t before;

    assert_ok(place_try_create("d.vmdk", NULL, "zeroed_grain=on", DISK));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    before = host_bytes("d.vmdk");
    for (int i = 0; i < 3; i++) {
        disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
        assert_ok(_i ? bdrv_discard(disk, 0, DISK) : bdrv_write_zeroes(disk, 0, DISK));
        assert_pattern(disk, 0, DISK, PATTERN_ZEROS);
        assert_ok(bdrv_close(disk));
        ck_assert_int_lt(host_bytes("d.vmdk"), before - DISK / 2);
        disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
        assert_ok(pattern_write(disk, 0, DISK, 2));
        assert_ok(bdrv_close(disk));
        ck_assert_int_le(host_bytes("d.vmdk"), before + GRAIN);
    }
}
END_TEST

/* QEMU cannot write sparse extents of version 3, of 2 TiB and more, nor open a COWD file
 * by itself; it has no resize and no amend. */
START_TEST(missing_version_3_for_writing)
{
    Built b = build_sparse((Shape){.version = 3});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 1000, 100000, 1));
    assert_pattern(disk, 1000, 100000, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(missing_extents_of_more_than_2_tib_for_writing)
{
    const int64_t tib = INT64_C(1) << 40;
    BlockDriverState *disk;

    assert_ok(place_try_create("d.vmdk", NULL, NULL, 3 * tib));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 3 * tib - 3 * GRAIN, 3 * GRAIN, 1));
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 3 * tib - 3 * GRAIN, 3 * GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(missing_resize_amend_and_cowd)
{
    BlockDriverState *disk;
    char *text;

    assert_ok(place_try_create("d.vmdk", NULL, _i ? "subformat=cowd" : "subformat=vmfs", DISK));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_truncate(disk, 2 * DISK));
    assert_pattern(disk, 0, DISK, 1);
    assert_pattern(disk, DISK, DISK, PATTERN_ZEROS);
    if (_i == 0) {
        assert_ok(bdrv_amend(disk, "hwversion=14"));
    }
    assert_ok(bdrv_close(disk));
    text = place_read("d.vmdk");
    ck_assert_int_eq(strstr(text, "virtualHWVersion = \"14\"") != NULL, _i == 0);
    free(text);
}
END_TEST

/* --------------------------------------------------------------------- limits */

/* QEMU reads the first MiB of a text, names of 511 bytes, and tables of 512 entries. */
START_TEST(limits_of_texts_and_names)
{
    enum {
        LINES = 40000
    };
    char *text = malloc(LINES * 40 + 2000), *to = text;
    BlockDriverState *disk;

    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < LINES; i++) {
        to += sprintf(to, "# a line that nobody needs, %d\n", i);
    }
    to += sprintf(to, "RW 128 FLAT \"");
    for (int i = 0; i < 350; i++) {
        to += sprintf(to, "./");
    }
    sprintf(to, "a\" 0\n");
    ck_assert_uint_gt(strlen(text), 1 << 20);
    place_write_pattern("a", 0, GRAIN, 1);
    place_describe("d.vmdk", text);
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, GRAIN, 1);
    assert_ok(bdrv_close(disk));
    free(text);
}
END_TEST

START_TEST(limits_of_tables)
{
    Built b = build_sparse((Shape){.gtes = 4096});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, DISK, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        consistency_no_barrier_between_data_and_entry,
        consistency_the_unclean_mark_is_not_used,
        consistency_the_redundant_table_is_not_used,
        consistency_damage_is_neither_found_nor_mended,
        consistency_free_sector_is_not_kept,
        missing_version_3_for_writing,
        missing_extents_of_more_than_2_tib_for_writing,
        limits_of_texts_and_names,
        limits_of_tables,
        NULL,
    };
    Suite *suite = suite_create("vmdk/lacks-of-qemu");
    TCase *tcase = suite_add_case(suite, "defects", tests, 60);

    trace_register();
    tcase_add_checked_fixture(tcase, place_make, place_remove);
    tcase_add_loop_test(tcase, stream_neither_markers_nor_end_and_padding_at_the_tail, 0,
                        2);
    tcase_add_loop_test(tcase, missing_zeros_and_discards_lose_the_grain, 0, 2);
    tcase_add_loop_test(tcase, missing_resize_amend_and_cowd, 0, 2);
    return suite;
}
