/* SPDX-License-Identifier: MIT */
/*
 * t-check-hostile.c - files that are made to mislead a check: numbers that only the
 * usual open refuses, and damage in which the repair of one thing would destroy
 * another.
 */
#include "build-cowd.h"
#include "damage.h"
#include "fault.h"

/* ------------------------------------------------------------- the descriptor */

/* The room for the descriptor was cut to where an rgdOffset that means nothing says that
 * tables begin: in the midst of the text. */
START_TEST(an_rgd_offset_that_means_nothing_takes_no_room)
{
    Built b = damage_image(NO_REDUNDANT);
    Findings f;

    bdrv_store_le64(b.bytes + AT_RGD, 1 + (uint64_t)_i);
    damage_repaired(&b, &f);
    assert_clean(&f);
}
END_TEST

/* The room for the descriptor was mended in the header, and a new descriptor written into
 * what it had been before: over the tables. */
START_TEST(a_new_descriptor_goes_into_the_mended_room)
{
    Built b = damage_image(0);
    Findings f;

    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 40);
    memset(b.bytes + SECTOR, 'x', 20 * SECTOR);
    damage_repaired(&b, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 2);
}
END_TEST

/* One bit of descriptorOffset was wrong in an extent of a split disk, which has room for a
 * descriptor and none: grains that were there then were given up. */
START_TEST(room_for_no_descriptor_takes_no_grain)
{
    Built b = damage_image(NO_DESCRIPTOR);
    BlockDriverState *memory, *disk;
    Findings f;

    bdrv_store_le64(b.bytes + AT_DESCRIPTOR, bdrv_load_le32(build_gte(&b, 0, 5)) + 1);
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 20);
    memory = build_memory(&b);
    assert_ok(try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, "extent=on", NULL, &disk));
    findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 0);
    findings_of(disk, 0, &f);
    assert_clean(&f);
    assert_pattern(disk, 5 * D_GRAIN, D_GRAIN, 6);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

enum {
    T_TABLES = 400, /* entries of a directory that begins with a text */
    T_GRAIN = 128
};

/* Half of the sectors of the descriptor are what a directory there would hold, and the
 * repair made it one. */
START_TEST(no_directory_is_found_in_the_descriptor)
{
    Built b = build_sparse((Shape){.sectors = (int64_t)T_TABLES * 512 * T_GRAIN,
                                   .without = NO_REDUNDANT | NO_TABLES});
    const int64_t first = 1 + bdrv_div_up(T_TABLES * 4, SECTOR);
    BlockDriverState *memory, *disk;
    Findings f;

    for (int64_t i = T_TABLES / 2; i < T_TABLES; i++) {
        bdrv_store_le32(b.bytes + SECTOR + i * 4, (uint32_t)(first + i * 4));
    }
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ----------------------------------------------------------------------- tables */

/* Of two tables, one at the last sector that an entry can name, the other where the numbers
 * begin again, the latter was read behind the former. */
START_TEST(a_row_of_tables_ends_with_the_numbers_of_sectors)
{
    Built b = build_sparse((Shape){.sectors = 2 * 256 * 128, .gtes = 256,
                                   .without = NO_REDUNDANT | NO_DESCRIPTOR});
    const uint8_t *table = build_gte(&b, 0, 256);
    BlockDriverState *memory, *disk;
    Findings f;

    build_add_grain(&b, 256, 1);
    memcpy(b.bytes + SECTOR, table, 2 * SECTOR); /* where the directory was */
    bdrv_store_le64(b.bytes + AT_GD, 3);
    bdrv_store_le32(b.bytes + 3 * SECTOR, UINT32_MAX);
    bdrv_store_le32(b.bytes + 3 * SECTOR + 4, 1);
    memory = build_memory(&b);
    assert_ok(bdrv_truncate(memory, (INT64_C(1) << 41) + 64 * SECTOR));
    assert_ok(try_open(memory, BDRV_O_CHECK, "extent=on", NULL, &disk));
    findings_of(disk, 0, &f);
    ck_assert_msg(f.result.allocated_clusters == 1, "%s", f.text);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Entries of a table that readers had followed by mistake all led to one grain: each was to
 * get a copy of its own, and a file of 32 KiB became one of 16 GiB. */
START_TEST(a_table_that_was_followed_does_not_fill_the_disk)
{
    const uint32_t grain = 65536;
    Built b = build_sparse((Shape){.sectors = INT64_C(128) * grain, .grain = grain, .gtes = 128});
    BlockDriverState *memory;
    Findings f;

    bdrv_store_le64(b.bytes + AT_OVERHEAD, 32);
    for (int i = 0; i < 16; i++) {
        bdrv_store_le32(b.bytes + 40 * SECTOR + i * 4, 48);
        bdrv_store_le32(build_gte(&b, 1, i), 0xfffffff0);
    }
    bdrv_store_le32(b.bytes + 40 * SECTOR + 20 * 4, 0xfffffff0);
    bdrv_store_le32(build_gde(&b, 0, 0), 40);
    b.size = 64 * SECTOR;
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_gt(f.result.unrecoverable, 0);
    ck_assert_int_lt(bdrv_getlength(memory), INT64_C(300) << 20);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The place of a grain that the file's end cuts, and that only the other set has, was given to
 * a copy as well: its beginning is at no multiple of a grain. */
START_TEST(no_copy_is_put_where_a_cut_grain_will_end)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    b.size += D_GRAIN;
    bdrv_store_le32(build_gte(&b, 0, 60), 0xfffffff0);
    bdrv_store_le32(build_gte(&b, 1, 60), (uint32_t)(b.size / SECTOR) - 3);
    build_set_gte(&b, 61, bdrv_load_le32(build_gte(&b, 0, 0)));
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 2);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions == 0, "%s", f.text);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A table with one bad entry is not where the layout has it, and another is there: all of it
 * was given up. */
START_TEST(a_table_that_has_nowhere_else_to_be_is_kept)
{
    Built b = damage_image(NO_REDUNDANT);
    const uint32_t usual = bdrv_load_le32(build_gde(&b, 0, 0));
    BlockDriverState *memory, *disk;
    Findings f;

    bdrv_store_le32(build_gte(&b, 0, 60), 0xfffffff0);
    memcpy(b.bytes + b.size, b.bytes + usual * SECTOR, SECTOR);
    memset(b.bytes + usual * SECTOR, 0, SECTOR);
    bdrv_store_le32(build_gde(&b, 0, 0), (uint32_t)(b.size / SECTOR));
    bdrv_store_le32(build_gde(&b, 0, 1), usual);
    b.size += D_GRAIN;
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    disk = open_memory(memory, 0);
    for (int g = 0; g < 128; g++) {
        assert_pattern(disk, (int64_t)g * D_GRAIN, D_GRAIN, damage_generation(g));
    }
    assert_ok(bdrv_close(disk));
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.unrecoverable == 0, "%s", f.text);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

enum {
    MANY = 80000
};

static void store_entry(BlockDriverState *memory, int64_t sector, int64_t index, uint32_t entry)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, entry);
    assert_ok(bdrv_pwrite(memory, bytes, sizeof bytes, sector * SECTOR + index * 4));
}

/* With each entry that was mended, the places of all tables were sorted. */
START_TEST(wrong_entries_of_a_directory_take_no_square_of_time)
{
    const int64_t gd_sectors = bdrv_div_up(MANY * 4, SECTOR), set = gd_sectors + MANY;
    Built b = build_sparse((Shape){.without = NO_DESCRIPTOR});
    BlockDriverState *memory, *disk;
    Findings f;

    bdrv_store_le64(b.bytes + AT_CAPACITY, (uint64_t)MANY * 128);
    bdrv_store_le64(b.bytes + AT_GRAIN, 1);
    bdrv_store_le32(b.bytes + AT_GTES, 128);
    bdrv_store_le64(b.bytes + AT_RGD, 1);
    bdrv_store_le64(b.bytes + AT_GD, (uint64_t)(1 + 3 * set));
    bdrv_store_le64(b.bytes + AT_OVERHEAD, (uint64_t)(1 + 4 * set));
    memset(b.bytes + SECTOR, 0, (size_t)(b.size - SECTOR));
    b.size = SECTOR;
    memory = build_memory(&b);
    assert_ok(bdrv_truncate(memory, (1 + 4 * set) * SECTOR));
    for (int64_t i = 0; i < MANY; i++) {
        store_entry(memory, 1, i, (uint32_t)(1 + gd_sectors + i));
        store_entry(memory, 1 + 3 * set, i, i % 2 ? UINT32_MAX : (uint32_t)(1 + set + 2 * i));
    }
    assert_ok(try_open(memory, BDRV_O_CHECK, "extent=on", NULL, &disk));
    findings_of(disk, 0, &f);
    ck_assert_int_eq(f.result.corruptions, MANY / 2);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------------- lines and sizes */

static Built of_text(const char *lines)
{
    char text[1024];
    Built b;

    snprintf(text, sizeof text, "version=1\nCID=12345678\nparentCID=ffffffff\n"
             "createType=\"custom\"\n%s", lines);
    b = build_sparse((Shape){.sectors = D_SECTORS, .grain = 16, .gtes = D_GTES, .text = text});
    build_add_grain(&b, 3, 1);
    return b;
}

/* A sum of lines that no descriptor may have was written into it: it could not be read any
 * more. */
START_TEST(a_line_is_not_made_so_long_that_no_descriptor_has_it)
{
    const int64_t half = INT64_C(1) << 52, grain = 65536, gtes = 65536;
    Built b = of_text("RW 1 SPARSE \"x.vmdk\"\nRW 4503599627370496 ZERO\nRW 1 ZERO\n");
    BlockDriverState *memory;
    Findings f;

    bdrv_store_le64(b.bytes + AT_CAPACITY, (uint64_t)half);
    bdrv_store_le64(b.bytes + AT_GRAIN, (uint64_t)grain);
    bdrv_store_le32(b.bytes + AT_GTES, (uint32_t)gtes);
    bdrv_store_le64(b.bytes + AT_GD, 64);
    bdrv_store_le32(b.bytes + AT_FLAGS, 1);
    bdrv_store_le64(b.bytes + AT_OVERHEAD, 65536);
    memset(b.bytes + 21 * SECTOR, 0, (size_t)(b.size - 21 * SECTOR));
    memory = build_memory(&b);
    assert_ok(bdrv_truncate(memory, 65536 * SECTOR));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(strstr(f.text, "gives the extent 1 sectors") != NULL, "%s", f.text);
    bdrv_close(open_memory(memory, 0));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A repair that failed behind an extent whose line it had made shorter left a disk with a
 * hole between two extents: reads of it went far beyond what was asked for. */
START_TEST(a_repair_that_fails_leaves_extents_without_gaps)
{
    const FaultPlan plan = {.operations = FAULT_WRITE | FAULT_FLUSH | FAULT_TRUNCATE | FAULT_READ,
                            .call = _i + 1};
    Built b = of_text("RW 9000 SPARSE \"x.vmdk\"\nRW 8192 ZERO\nRW 1 ZERO\n"
                      "changeTrackPath=\"x-ctk.vmdk\"\n");
    BlockDriverState *memory = build_memory(&b), *fault = fault_insert(memory), *disk;
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult result = {.struct_size = sizeof result};
    uint8_t *bytes;
    int64_t length;

    assert_ok(try_open(fault, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk));
    fault_arm(fault, &plan);
    (void)bdrv_check(disk, &options, &result);
    fault_disarm(fault);
    length = bdrv_getlength(disk);
    bytes = malloc((size_t)length);
    ck_assert_ptr_nonnull(bytes);
    for (int64_t at = 0; at < length; at += SECTOR) {
        (void)bdrv_pread(disk, bytes + at, SECTOR, at);
    }
    free(bytes);
    bdrv_close(disk);
    bdrv_close(fault);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A byte order mark before the first extent line made the second one count as the first. */
START_TEST(a_byte_order_mark_is_no_part_of_a_line)
{
    Built b = damage_image(0);
    Findings f;

    memset(b.bytes + SECTOR, 0, 20 * SECTOR);
    snprintf((char *)b.bytes + SECTOR, 20 * SECTOR, "\xef\xbb\xbfRW 7000 SPARSE \"x.vmdk\"\n"
             "version=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n");
    damage_repaired(&b, &f);
    ck_assert_int_eq(f.result.mismatches_fixed, 1);
}
END_TEST

/* ------------------------------------------------------------------- copy on write */

/* Of a file that was cut in the midst of a grain, at a multiple of a grain by chance, the table
 * that had to be copied was put where the grain goes on. */
START_TEST(no_table_is_put_where_a_cut_grain_will_end)
{
    Built b = build_root(2 * COWD_GTES * 8, 8);
    BlockDriverState *memory, *disk;
    Findings f;

    add_cowd_grain(&b, 3, 1);
    bdrv_store_le32(build_gde(&b, 0, 1), bdrv_load_le32(build_gde(&b, 0, 0)));
    b.size = 40 * SECTOR;
    memory = build_memory(&b);
    assert_repaired(memory, &f);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 3 * 8 * SECTOR, 3 * SECTOR, 1);
    assert_pattern(disk, 3 * 8 * SECTOR + 3 * SECTOR, 5 * SECTOR, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* freeSector was set to what is left of a number that it cannot hold: others would have put
 * the next grains over the first. */
START_TEST(a_free_sector_that_has_no_number_is_not_set_to_another)
{
    Built b = build_root(16384, 8);
    BlockDriverState *memory;
    uint8_t before[4], after[4];
    Findings f;

    add_cowd_grain(&b, 3, 1);
    bdrv_store_le32(build_gte(&b, 0, 5), UINT32_MAX);
    memory = build_memory(&b);
    assert_ok(bdrv_truncate(memory, ((INT64_C(1) << 32) + 7) * SECTOR));
    memcpy(before, b.bytes + AT_COWD_FREE, sizeof before);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    assert_ok(bdrv_pread(memory, after, sizeof after, AT_COWD_FREE));
    ck_assert_mem_eq(after, before, sizeof after);
    ck_assert_msg(strstr(f.text, "(nothing can be done)") != NULL, "%s", f.text);
    ck_assert_int_eq(f.result.corruptions_fixed, 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_new_descriptor_goes_into_the_mended_room,
        room_for_no_descriptor_takes_no_grain,
        no_directory_is_found_in_the_descriptor,
        a_row_of_tables_ends_with_the_numbers_of_sectors,
        a_table_that_was_followed_does_not_fill_the_disk,
        no_copy_is_put_where_a_cut_grain_will_end,
        a_table_that_has_nowhere_else_to_be_is_kept,
        wrong_entries_of_a_directory_take_no_square_of_time,
        a_line_is_not_made_so_long_that_no_descriptor_has_it,
        a_byte_order_mark_is_no_part_of_a_line,
        no_table_is_put_where_a_cut_grain_will_end,
        a_free_sector_that_has_no_number_is_not_set_to_another,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-hostile");
    TCase *tc = suite_add_case(suite, "hostile", tests, 30);

    image_register_drivers();
    fault_register();
    tcase_add_loop_test(tc, an_rgd_offset_that_means_nothing_takes_no_room, 0, 2);
    tcase_add_loop_test(tc, a_repair_that_fails_leaves_extents_without_gaps, 0, 80);
    return suite;
}
