/* SPDX-License-Identifier: MIT */
/*
 * t-check-sparse.c - damage in hosted sparse extents, one test for each: what a
 * check says of it, and that a repair leaves a clean image with its content.
 */
#include "damage.h"

static uint32_t entry_of(const Built *b, int grain)
{
    return bdrv_load_le32(build_gte(b, 0, grain));
}

static void set_entry(Built *b, int set, int grain, uint32_t entry)
{
    bdrv_store_le32(build_gte(b, set, grain), entry);
}

START_TEST(a_sound_image_is_clean_and_counted)
{
    Built b = damage_image(0);
    BlockDriverState *memory = build_memory(&b);
    Findings f;

    check_memory(memory, 0, &f);
    assert_clean(&f);
    ck_assert_int_eq(f.result.total_clusters, D_GRAINS);
    ck_assert_int_eq(f.result.allocated_clusters, D_USED);
    ck_assert_int_eq(f.result.fragmented_clusters, D_USED - 1);
    ck_assert_int_eq(f.result.compressed_clusters, 0);
    ck_assert_int_eq(f.result.image_end_offset, b.size);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------------- header */

/* A destroyed sector 0: all of it follows from the descriptor. */
START_TEST(row_01_header_destroyed)
{
    Built b = damage_image(0);
    BlockDriverState *memory;

    /* The usual number of entries, which is what a rebuild expects first. */
    memset(b.bytes, _i == 0 ? 0 : 0x5a, SECTOR);
    memory = build_memory(&b);
    assert_mended(memory, BDRV_FINDING_CORRUPTION, "the header is unusable");
    assert_content(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_01_header_destroyed_is_still_probed_as_vmdk)
{
    Built b = damage_image(0);
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_CHECK};
    BlockDriverState *memory, *disk;

    memset(b.bytes, 0, SECTOR);
    memory = build_memory(&b);
    assert_ok(bdrv_open_node(&disk, memory, NULL, &options));
    ck_assert_str_eq(bdrv_format(disk), "vmdk");
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_02_newline_bytes_altered)
{
    Built b = damage_image(0);
    BlockDriverState *memory;

    b.bytes[AT_NEWLINES] = '\r';
    memory = build_memory(&b);
    assert_hopeless(memory, BDRV_FINDING_UNRECOVERABLE, "transferred as text");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_03_descriptor_destroyed)
{
    Built b = damage_image(0);

    memset(b.bytes + SECTOR, _i == 0 ? 0 : 'x', 20 * SECTOR);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "the descriptor is destroyed", -1);
}
END_TEST

START_TEST(row_16_unclean_shutdown)
{
    Built b = damage_image(0);

    b.bytes[AT_UNCLEAN] = 1;
    damage_mended(&b, BDRV_FINDING_MISMATCH, "uncleanShutdown is 1", -1);
}
END_TEST

static void change_line(Built *b, const char *from, const char *to)
{
    char *at = strstr((char *)b->bytes + SECTOR, from);

    ck_assert_ptr_nonnull(at);
    memcpy(at, to, strlen(to));
}

/* The range that only one of the two has is told: a repair makes a disk longer, so that
 * its child reads there what it had not. */
START_TEST(row_17_the_line_is_smaller_than_the_capacity)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    change_line(&b, "RW 8192 ", "RW 7000 ");
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.last.offset, 7000 * SECTOR);
    ck_assert_int_eq(f.last.bytes, (8192 - 7000) * SECTOR);
    assert_ok(bdrv_close(memory));
    damage_mended(&b, BDRV_FINDING_MISMATCH, "gives the extent 7000 sectors", -1);
}
END_TEST

START_TEST(row_17_the_capacity_is_smaller_than_the_line)
{
    Built b = damage_image(0);

    bdrv_store_le64(b.bytes + AT_CAPACITY, 8000);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "its header 8000", -1);
}
END_TEST

START_TEST(gd_offset_wrong)
{
    Built b = damage_image(0);

    bdrv_store_le64(b.bytes + AT_GD, (uint64_t)b.size / SECTOR - 8);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "the directories are at", -1);
}
END_TEST

START_TEST(rgd_offset_outside)
{
    Built b = damage_image(0);

    bdrv_store_le64(b.bytes + AT_RGD, 1 << 30);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "the directories are at", -1);
}
END_TEST

START_TEST(overhead_too_large)
{
    Built b = damage_image(0);

    bdrv_store_le64(b.bytes + AT_OVERHEAD, UINT64_C(1) << 40);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "overHead is", -1);
}
END_TEST

/* -------------------------------------------------------------- directories */

static const uint32_t wrong_sectors[] = {
    0xfffffff0, /* outside the file */
    2,          /* in the descriptor */
    21,         /* in a directory */
};

START_TEST(row_04_gde_wrong)
{
    Built b = damage_image(0);

    bdrv_store_le32(build_gde(&b, 0, 1), wrong_sectors[_i]);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "The GDE [1] of the GD is invalid", -1);
}
END_TEST

START_TEST(row_04_gde_wrong_without_a_redundant_set)
{
    Built b = damage_image(NO_REDUNDANT);

    bdrv_store_le32(build_gde(&b, 0, 1), wrong_sectors[_i]);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "The GDE [1] of the GD is invalid", -1);
}
END_TEST

START_TEST(row_04_gde_of_the_redundant_set_wrong)
{
    Built b = damage_image(0);

    bdrv_store_le32(build_gde(&b, 1, 3), wrong_sectors[_i]);
    damage_mended(&b, BDRV_FINDING_MISMATCH, "The GDE [3] of the redundant GD is invalid", -1);
}
END_TEST

START_TEST(row_04_gde_points_into_a_grain)
{
    Built b = damage_image(0);

    bdrv_store_le32(build_gde(&b, 0, 2), entry_of(&b, 5));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "The GDE [2] of the GD is invalid", -1);
}
END_TEST

START_TEST(row_04_two_gdes_on_one_table)
{
    Built b = damage_image(0);

    bdrv_store_le32(build_gde(&b, 0, 2), bdrv_load_le32(build_gde(&b, 0, 0)));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "another table is there", -1);
}
END_TEST

START_TEST(a_table_is_only_in_one_set)
{
    Built b = damage_image(0);

    bdrv_store_le32(build_gde(&b, _i, 1), 0);
    damage_mended(&b, BDRV_FINDING_MISMATCH, "the other set has that table", -1);
}
END_TEST

/* ------------------------------------------------------------------- tables */

START_TEST(row_05_a_table_of_garbage)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    memset(build_gte(&b, _i, 0), 0xee, D_GTES * 4);
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable + f.result.leaks, 0);
    ck_assert(_i == 0 ? f.result.corruptions > 0 : f.result.mismatches > 0);
    ck_assert(_i == 0 || f.result.corruptions == 0);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    assert_content(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_06_missing_in_one_set)
{
    Built b = damage_image(0);

    set_entry(&b, _i, 5, 0);
    damage_mended(&b, BDRV_FINDING_MISMATCH, "The GTE [5] in GT [0] is", -1);
}
END_TEST

START_TEST(row_07_both_possible_and_different)
{
    Built b = damage_image(0);
    uint32_t other;

    b.size += D_GRAIN; /* a grain that nothing else uses */
    other = (uint32_t)((b.size - D_GRAIN) / SECTOR);
    set_entry(&b, 1, 130, other);
    {
        BlockDriverState *memory = build_memory(&b);
        Findings f;

        check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
        ck_assert_int_eq(f.result.mismatches_fixed, 1);
        ck_assert_int_eq(f.result.leaks_fixed, 1);
        check_memory(memory, 0, &f);
        assert_clean(&f);
        assert_content(memory, -1);
        bdrv_close(memory);
    }
    free(b.bytes);
}
END_TEST

static const uint32_t wrong_entries[] = {
    0xfffffff0, /* outside the file */
    2,          /* in the descriptor */
    30,         /* in a table */
};

START_TEST(an_impossible_entry_is_taken_from_the_redundant_set)
{
    Built b = damage_image(0);

    set_entry(&b, 0, 130, wrong_entries[_i]);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "The GTE [2] in GT [1] is invalid (", -1);
}
END_TEST

START_TEST(an_impossible_redundant_entry_is_a_mismatch)
{
    Built b = damage_image(0);

    set_entry(&b, 1, 130, wrong_entries[_i]);
    damage_mended(&b, BDRV_FINDING_MISMATCH, "The GTE [2] in GT [1]", -1);
}
END_TEST

START_TEST(row_08_impossible_in_both)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    build_set_gte(&b, 130, wrong_entries[_i]);
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_int_eq(f.result.corruptions + f.result.mismatches, 0);
    ck_assert_ptr_nonnull(strstr(f.text, "The GTE [2] in GT [1] is invalid ("));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable + f.result.corruptions + f.result.mismatches, 0);
    ck_assert_int_eq(f.result.leaks, 1); /* the grain that nobody points at now */
    assert_content(memory, 130);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_09_cut_by_the_end_of_the_file)
{
    Built b = damage_image(0);
    BlockDriverState *memory, *disk;
    const int last = d_used[0]; /* written last */

    b.size -= 3 * SECTOR;
    memory = build_memory(&b);
    assert_mended(memory, BDRV_FINDING_CORRUPTION, "that the file's end cuts");
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, (int64_t)last * D_GRAIN, D_GRAIN - 3 * SECTOR, (unsigned)last + 1);
    assert_pattern(disk, (int64_t)(last + 1) * D_GRAIN - 3 * SECTOR, 3 * SECTOR, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_10_two_entries_on_one_grain)
{
    Built b = damage_image(0);
    BlockDriverState *memory, *disk;
    Findings f;

    build_set_gte(&b, 300, entry_of(&b, 5));
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.corruptions, 1);
    ck_assert_ptr_nonnull(strstr(f.text, "The GTE [44] in GT [2] is of a grain that another"));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 1);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.corruptions + f.result.mismatches + f.result.unrecoverable, 0);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 5 * D_GRAIN, D_GRAIN, 6);
    assert_ok(pattern_write(disk, 300 * D_GRAIN, D_GRAIN, 77));
    assert_pattern(disk, 5 * D_GRAIN, D_GRAIN, 6);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_10_the_redundant_set_knows_which_is_right)
{
    Built b = damage_image(0);

    set_entry(&b, 0, 5, entry_of(&b, 300));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "The GTE [5] in GT [0] is of a grain", -1);
}
END_TEST

START_TEST(row_11_overlapping_grains)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    build_set_gte(&b, 300, entry_of(&b, 5) + 4);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 1);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.corruptions + f.result.mismatches + f.result.unrecoverable, 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_12_a_leak_at_the_end)
{
    Built b = damage_image(0);

    b.size += 5 * D_GRAIN;
    damage_mended(&b, BDRV_FINDING_LEAK, "nothing uses 40960 bytes", -1);
}
END_TEST

START_TEST(row_12_a_leak_at_the_end_is_all_that_a_repair_of_leaks_mends)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    b.size += 5 * D_GRAIN;
    b.bytes[AT_UNCLEAN] = 1;
    set_entry(&b, 1, 5, 0);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_LEAKS, &f);
    ck_assert_int_eq(f.result.leaks_fixed, 1);
    ck_assert_int_eq(f.result.mismatches, 2);
    ck_assert_int_eq(f.result.mismatches_fixed, 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_12_a_leak_inside_is_left)
{
    Built b = damage_image(0);
    BlockDriverState *memory;

    build_set_gte(&b, 130, 0);
    memory = build_memory(&b);
    assert_hopeless(memory, BDRV_FINDING_LEAK, "nothing uses 8192 bytes");
    assert_content(memory, 130);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* What seems to be free may be what a destroyed entry pointed at. */
START_TEST(a_leak_is_kept_as_long_as_something_is_lost)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    const int64_t size = b.size;
    Findings f;

    build_set_gte(&b, d_used[0], 0xfffffff0); /* the last in the file */
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_LEAKS, &f);
    ck_assert_int_eq(f.result.leaks_fixed, 0);
    ck_assert_int_eq(bdrv_getlength(memory), size);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_13_an_entry_of_1_without_the_flag)
{
    Built b = damage_image(0);

    build_set_gte(&b, 7, 1);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "a grain of zeros, which the header", -1);
}
END_TEST

START_TEST(row_15_a_file_that_is_no_multiple_of_the_grain)
{
    Built b = damage_image(0);

    b.size += 3 * SECTOR;
    damage_mended(&b, BDRV_FINDING_LEAK, "nothing uses 1536 bytes", -1);
}
END_TEST

/* QEMU's check walks only the entries that point behind the file's end. */
START_TEST(qemu_misses_entries_inside_tables_and_shared_grains)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    build_set_gte(&b, 130, 30);
    build_set_gte(&b, 301, entry_of(&b, 300));
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_int_eq(f.result.corruptions, 1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------------ the handle */

START_TEST(a_repaired_handle_reads_what_is_there_now)
{
    Built b = damage_image(0);
    BlockDriverState *memory, *disk;
    Findings f;

    memset(b.bytes, 0, SECTOR);
    memory = build_memory(&b);
    assert_ok(try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk));
    assert_fails(bdrv_pread(disk, (char[1]){0}, 1, 0), -EIO);
    assert_fails(bdrv_pwrite(disk, "x", 1, 0), -EROFS);
    findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
    assert_pattern(disk, 5 * D_GRAIN, D_GRAIN, 6);
    assert_ok(pattern_write(disk, 5 * D_GRAIN, D_GRAIN, 9));
    findings_of(disk, 0, &f);
    assert_clean(&f);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(a_handle_that_is_written_to_is_clean)
{
    Built b = damage_image(0);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    Findings f;

    for (unsigned round = 1; round <= 2; round++) {
        assert_ok(pattern_write(disk, 0, D_SECTORS * SECTOR, round));
        findings_of(disk, 0, &f);
        assert_clean(&f);
        assert_pattern(disk, 0, D_SECTORS * SECTOR, round);
    }
    assert_ok(bdrv_close(disk));
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(a_repair_needs_a_writable_image)
{
    Built b = damage_image(0);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, 0);
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult result = {.struct_size = sizeof result};

    assert_fails(bdrv_check(disk, &options, &result), -EROFS);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_sound_image_is_clean_and_counted,
        row_01_header_destroyed_is_still_probed_as_vmdk,
        row_02_newline_bytes_altered,
        row_04_gde_points_into_a_grain,
        row_04_two_gdes_on_one_table,
        row_07_both_possible_and_different,
        row_09_cut_by_the_end_of_the_file,
        row_10_two_entries_on_one_grain,
        row_10_the_redundant_set_knows_which_is_right,
        row_11_overlapping_grains,
        row_12_a_leak_at_the_end,
        row_12_a_leak_at_the_end_is_all_that_a_repair_of_leaks_mends,
        row_12_a_leak_inside_is_left,
        a_leak_is_kept_as_long_as_something_is_lost,
        row_13_an_entry_of_1_without_the_flag,
        row_15_a_file_that_is_no_multiple_of_the_grain,
        row_16_unclean_shutdown,
        row_17_the_line_is_smaller_than_the_capacity,
        row_17_the_capacity_is_smaller_than_the_line,
        gd_offset_wrong,
        rgd_offset_outside,
        overhead_too_large,
        qemu_misses_entries_inside_tables_and_shared_grains,
        a_repaired_handle_reads_what_is_there_now,
        a_handle_that_is_written_to_is_clean,
        a_repair_needs_a_writable_image,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-sparse");
    TCase *tc = suite_add_case(suite, "sparse", tests, 20);

    tcase_add_loop_test(tc, row_01_header_destroyed, 0, 2);
    tcase_add_loop_test(tc, row_03_descriptor_destroyed, 0, 2);
    tcase_add_loop_test(tc, row_04_gde_wrong, 0, 3);
    tcase_add_loop_test(tc, row_04_gde_wrong_without_a_redundant_set, 0, 3);
    tcase_add_loop_test(tc, row_04_gde_of_the_redundant_set_wrong, 0, 3);
    tcase_add_loop_test(tc, a_table_is_only_in_one_set, 0, 2);
    tcase_add_loop_test(tc, row_05_a_table_of_garbage, 0, 2);
    tcase_add_loop_test(tc, row_06_missing_in_one_set, 0, 2);
    tcase_add_loop_test(tc, an_impossible_entry_is_taken_from_the_redundant_set, 0, 3);
    tcase_add_loop_test(tc, an_impossible_redundant_entry_is_a_mismatch, 0, 3);
    tcase_add_loop_test(tc, row_08_impossible_in_both, 0, 3);
    return suite;
}
