/* SPDX-License-Identifier: MIT */
/*
 * t-check-front.c - one wrong field of a sparse header that says where something is:
 * overHead, gdOffset, rgdOffset.  A repair believes it, or what lies in the file, and
 * whoever it believes wrongly costs grains.
 */
#include "damage.h"
#include "fault.h"
#include "trace.h"

/* --------------------------------------------------------------------- overHead */

/* The directory alone, at the end of the file: nothing tells where tables end. */
static Built late_directory(void)
{
    Built b = damage_image(NO_REDUNDANT);

    memcpy(b.bytes + b.size, build_gde(&b, 0, 0), (size_t)b.tables * 4);
    memset(build_gde(&b, 0, 0), 0, (size_t)b.tables * 4);
    b.gd[0] = b.size / SECTOR;
    bdrv_store_le64(b.bytes + AT_GD, (uint64_t)b.gd[0]);
    b.size += D_GRAIN;
    return b;
}

/* As a negative number of sectors it was multiplied. */
START_TEST(an_overhead_that_no_file_has_is_mended)
{
    static const uint64_t wrong[] = {UINT64_C(1) << 63, UINT64_MAX, UINT64_C(1) << 40};
    Built b = late_directory();

    bdrv_store_le64(b.bytes + AT_OVERHEAD, wrong[_i]);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "overHead is", -1);
}
END_TEST

/* One bit of overHead was wrong, and the repair cleared the entries of all grains before. */
START_TEST(an_overhead_behind_most_grains_is_what_is_wrong)
{
    Built b = damage_image(_i ? NO_REDUNDANT : 0);

    bdrv_store_le64(b.bytes + AT_OVERHEAD, bdrv_load_le64(b.bytes + AT_OVERHEAD) + 128);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "overHead is", -1);
}
END_TEST

/* A single grain of the disk, which only its own primary entry has before overHead, outvoted an
 * overHead that is larger than it needs to be: the entry became the right one. */
START_TEST(one_wrong_entry_does_not_deny_an_overhead)
{
    enum { ROOM = 2944, GRAIN = 3, LENGTH = 128 * SECTOR };
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;

    b.size += ROOM * SECTOR;
    bdrv_store_le64(b.bytes + AT_OVERHEAD, (uint64_t)(b.size / SECTOR));
    build_add_grain(&b, GRAIN, 4);
    build_gte(&b, 0, GRAIN)[1] ^= (uint8_t)(4 << _i);
    memory = build_memory(&b);
    assert_mended(memory, BDRV_FINDING_CORRUPTION, "The GTE [3] in GT [0] is invalid");
    disk = open_memory(memory, 0);
    assert_pattern(disk, GRAIN * LENGTH, LENGTH, 4);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* One bit of overHead was wrong, and of a disk of many grains those that were before it were
 * cleared, although both tables have them: one grain, or just less than half. */
START_TEST(an_overhead_that_two_tables_deny_is_wrong)
{
    Built b = damage_image(0);
    const uint64_t right = bdrv_load_le64(b.bytes + AT_OVERHEAD);

    bdrv_store_le64(b.bytes + AT_OVERHEAD, _i ? right + 1 : right + 16 * (D_USED / 2));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "overHead is", -1);
}
END_TEST

/* Where there is one table only, an overHead that is no multiple of a grain is not believed, nor one
 * that is what it should be but for one bit. */
START_TEST(an_overhead_that_one_table_denies_may_be_wrong)
{
    Built b = damage_image(NO_REDUNDANT);

    b.bytes[AT_OVERHEAD] ^= (uint8_t)(1 << _i);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "overHead is", -1);
}
END_TEST

/* An rgdOffset without a meaning made overHead one that grains are before. */
START_TEST(an_rgd_offset_that_means_nothing_is_not_in_overhead)
{
    Built b = damage_image(NO_REDUNDANT);

    bdrv_store_le64(b.bytes + AT_OVERHEAD, UINT64_C(1) << 40);
    bdrv_store_le64(b.bytes + AT_RGD, (uint64_t)(b.size / SECTOR) - 32);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "overHead is", -1);
}
END_TEST

/* ------------------------------------------------------------------- directories */

/* One bit of rgdOffset was wrong, and entries of a directory were written into the grain that
 * is there. */
START_TEST(a_redundant_directory_is_not_made_of_a_grain)
{
    Built b = damage_image(0);

    bdrv_store_le64(b.bytes + AT_RGD, bdrv_load_le32(build_gte(&b, 0, 5)));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "the directories are at", -1);
}
END_TEST

/* The same of gdOffset, where the directories are not laid out as VMware does it. */
START_TEST(a_directory_is_not_made_of_a_grain)
{
    Built b = late_directory();
    BlockDriverState *memory;

    bdrv_store_le64(b.bytes + AT_OVERHEAD, bdrv_load_le32(build_gte(&b, 0, 511)));
    bdrv_store_le64(b.bytes + AT_GD, bdrv_load_le32(build_gte(&b, 0, 5)));
    memory = build_memory(&b);
    assert_hopeless(memory, BDRV_FINDING_UNRECOVERABLE, "gdOffset is");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(the_redundant_directory_counts_if_the_other_is_not_found)
{
    Built b = damage_image(0);

    memset(b.bytes + b.gd[0] * SECTOR, 0, SECTOR);
    bdrv_store_le64(b.bytes + AT_OVERHEAD, bdrv_load_le32(build_gte(&b, 1, 511)));
    bdrv_store_le64(b.bytes + AT_GD, bdrv_load_le32(build_gte(&b, 1, 5)));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "gdOffset is", -1);
}
END_TEST

/* Behind a capacity that is too large there are no tables, so what is left of the directory was
 * told as none. */
START_TEST(a_wrong_capacity_hides_no_directory)
{
    static const uint64_t wrong[] = {1 << 22, 1 << 23, 1 << 24, 1 << 25};
    Built b = damage_image(NO_REDUNDANT);

    bdrv_store_le64(b.bytes + AT_CAPACITY, D_SECTORS + wrong[_i]);
    damage_mended(&b, BDRV_FINDING_MISMATCH, "the descriptor gives the extent", -1);
}
END_TEST

/* One bit of rgdOffset was wrong, and a directory was written into the table that is there. */
START_TEST(a_redundant_directory_is_not_made_of_a_table)
{
    Built b = build_sparse((Shape){.sectors = 4096 * 16, .grain = 16, .gtes = 512});
    BlockDriverState *memory, *disk;

    for (int i = D_USED - 1; i >= 0; i--) {
        build_add_grain(&b, d_used[i], (unsigned)d_used[i] + 1);
    }
    bdrv_store_le64(b.bytes + AT_RGD, bdrv_load_le32(build_gde(&b, 0, 0)));
    memory = build_memory(&b);
    assert_mended(memory, BDRV_FINDING_CORRUPTION, "the directories are at");
    disk = open_memory(memory, 0);
    for (int i = 0; i < D_USED; i++) {
        assert_pattern(disk, d_used[i] * D_GRAIN, D_GRAIN, (unsigned)d_used[i] + 1);
    }
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The same, and the table was one of the redundant directory's: an entry led into a grain, which
 * was made equal to a table of the other set. */
START_TEST(a_redundant_directory_is_not_made_of_a_redundant_table)
{
    Built b = damage_image(0);

    bdrv_store_le64(b.bytes + AT_RGD, bdrv_load_le32(build_gde(&b, 1, _i)));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "the directories are at", -1);
}
END_TEST

/* Moves the directories to the end of the file, where VMware never has them. */
static void move_directories(Built *b)
{
    for (int set = 0; set < 2; set++) {
        memcpy(b->bytes + b->size, build_gde(b, set, 0), (size_t)b->tables * 4);
        memset(build_gde(b, set, 0), 0, (size_t)b->tables * 4);
        b->gd[set] = b->size / SECTOR;
        b->size += b->grain * SECTOR;
        bdrv_store_le64(b->bytes + (set ? AT_RGD : AT_GD), (uint64_t)b->gd[set]);
    }
}

/* What only the redundant set has had when the power was lost made its directory one that is no
 * copy: it was given up. */
START_TEST(what_was_written_first_is_a_copy)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    move_directories(&b);
    if (_i == 1) {
        memset(build_gde(&b, 0, 0), 0, (size_t)b.tables * 4 - 4);
    }
    for (int t = 0; _i == 0 && t < b.tables; t++) {
        memset(build_gte(&b, 0, t * D_GTES), 0, t == 3 ? 4 : SECTOR);
    }
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_ptr_null(strstr(f.text, "rgdOffset"));
    assert_content(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The same, when grains had moved: most entries were others. */
START_TEST(what_was_moved_first_is_a_copy)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    for (int i = 0; i < D_USED; i++) {
        bdrv_store_le32(build_gte(&b, 0, d_used[i]),
                        bdrv_load_le32(build_gte(&b, 1, d_used[i])) + (uint32_t)b.size / SECTOR);
    }
    b.size *= 2;
    move_directories(&b);
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_gt(f.result.mismatches, 0);
    ck_assert_ptr_null(strstr(f.text, "rgdOffset"));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Nothing is to be found where all is sound. */
START_TEST(directories_may_be_elsewhere)
{
    Built b = _i ? build_sparse((Shape){0}) : damage_image(0);
    BlockDriverState *memory;
    Findings f;

    move_directories(&b);
    memory = build_memory(&b);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Whether it is a copy was asked of each entry by a read of its own, also of those that are
 * zeros: of a file of 12 KiB, and holes, for minutes. */
START_TEST(a_long_redundant_directory_is_not_read_by_entries)
{
    enum { TABLES = 1 << 18, RGD = 64, GD = 4096, TABLE = 8192, READS_MAX = 10000 };
    Built b = build_sparse((Shape){.sectors = (int64_t)TABLES * 128, .grain = 1, .gtes = 128,
                                   .without = NO_TABLES});
    BlockDriverState *memory, *trace;
    Findings f;

    b.size = (TABLE + 8) * SECTOR;
    bdrv_store_le64(b.bytes + AT_RGD, RGD);
    bdrv_store_le64(b.bytes + AT_GD, GD);
    bdrv_store_le64(b.bytes + AT_OVERHEAD, TABLE + 8);
    bdrv_store_le32(b.bytes + GD * SECTOR, TABLE);
    bdrv_store_le32(b.bytes + RGD * SECTOR + (TABLES - 1) * 4, TABLE);
    memory = build_memory(&b);
    trace = trace_insert(memory);
    check_memory(trace, 0, &f);
    ck_assert_int_lt(trace_count(trace, TRACE_READ), READS_MAX);
    bdrv_close(trace);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The only entry of the primary directory led into the room for the descriptor, and as the other
 * one leads elsewhere, that was given up: all was lost. */
START_TEST(a_redundant_directory_is_not_denied_by_an_impossible_entry)
{
    Built b = build_sparse((Shape){.sectors = D_SECTORS, .grain = 16, .gtes = 512});
    Findings f;

    for (int i = D_USED - 1; i >= 0; i--) {
        build_add_grain(&b, d_used[i], (unsigned)d_used[i] + 1);
    }
    move_directories(&b);
    build_gde(&b, 0, 0)[0] ^= (uint8_t)(1 << _i);
    damage_repaired(&b, &f);
}
END_TEST

/* One entry that leads into the room is what is wrong. */
START_TEST(no_entry_makes_the_room_for_the_descriptor_smaller)
{
    Built b = damage_image(NO_REDUNDANT);

    bdrv_store_le32(build_gde(&b, 0, _i), 6);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "of the GD is invalid (6)", -1);
}
END_TEST

/* Of such a file, room for the descriptor that one bit had made larger took all tables that are in
 * it: their entries were cleared. */
START_TEST(room_for_the_descriptor_takes_no_tables)
{
    Built b = damage_image(0);

    move_directories(&b);
    b.bytes[AT_DESCRIPTOR_SIZE] ^= (uint8_t)(1 << _i);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "descriptorSize is", -1);
}
END_TEST

/* The same where each directory has one table, and no next one begins where that ends. */
START_TEST(room_for_the_descriptor_takes_no_lone_tables)
{
    Built b = build_sparse((Shape){.sectors = D_SECTORS, .grain = 16, .gtes = 512});

    for (int i = D_USED - 1; i >= 0; i--) {
        build_add_grain(&b, d_used[i], (unsigned)d_used[i] + 1);
    }
    move_directories(&b);
    b.bytes[AT_DESCRIPTOR_SIZE] ^= (uint8_t)(1 << _i);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "descriptorSize is", -1);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        an_rgd_offset_that_means_nothing_is_not_in_overhead,
        a_redundant_directory_is_not_made_of_a_grain,
        a_redundant_directory_is_not_made_of_a_table,
        a_directory_is_not_made_of_a_grain,
        the_redundant_directory_counts_if_the_other_is_not_found,
        a_long_redundant_directory_is_not_read_by_entries,
        what_was_moved_first_is_a_copy,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-front");
    TCase *tc = suite_add_case(suite, "front", tests, 30);

    image_register_drivers();
    fault_register();
    trace_register();
    tcase_add_loop_test(tc, an_overhead_that_no_file_has_is_mended, 0, 3);
    tcase_add_loop_test(tc, an_overhead_behind_most_grains_is_what_is_wrong, 0, 2);
    tcase_add_loop_test(tc, one_wrong_entry_does_not_deny_an_overhead, 0, 2);
    tcase_add_loop_test(tc, an_overhead_that_two_tables_deny_is_wrong, 0, 2);
    tcase_add_loop_test(tc, an_overhead_that_one_table_denies_may_be_wrong, 0, 5);
    tcase_add_loop_test(tc, an_overhead_that_one_table_denies_may_be_wrong, 6, 8);
    tcase_add_loop_test(tc, a_redundant_directory_is_not_made_of_a_redundant_table, 0, 4);
    tcase_add_loop_test(tc, room_for_the_descriptor_takes_no_tables, 5, 8);
    tcase_add_loop_test(tc, room_for_the_descriptor_takes_no_tables, 1, 2);
    tcase_add_loop_test(tc, room_for_the_descriptor_takes_no_lone_tables, 5, 8);
    tcase_add_loop_test(tc, room_for_the_descriptor_takes_no_lone_tables, 3, 4);
    tcase_add_loop_test(tc, a_redundant_directory_is_not_denied_by_an_impossible_entry, 3, 5);
    tcase_add_loop_test(tc, no_entry_makes_the_room_for_the_descriptor_smaller, 0, 4);
    tcase_add_loop_test(tc, what_was_written_first_is_a_copy, 0, 2);
    tcase_add_loop_test(tc, directories_may_be_elsewhere, 0, 2);
    tcase_add_loop_test(tc, a_wrong_capacity_hides_no_directory, 0, 4);
    return suite;
}
