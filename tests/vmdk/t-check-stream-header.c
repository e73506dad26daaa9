/* SPDX-License-Identifier: MIT */
/*
 * t-check-stream-header.c - streams of which neither header nor footer is as it should be:
 * nothing is rebuilt that would be as useless as what it replaces.
 */
#include "build-stream.h"
#include "fault.h"

static BuiltStream stream_image(void)
{
    BuiltStream b = stream_begin(20 * 128);

    stream_add(&b, 0, 1);
    stream_add(&b, 7, 2);
    stream_end(&b);
    return b;
}

static uint8_t *footer_of(const BuiltStream *b)
{
    return b->bytes + (b->footer + 1) * SECTOR;
}

/* Each repair made the header anew from a footer that says that the directory is in the footer,
 * and no footer was made, as without markers there is nothing to make it from. */
START_TEST(a_footer_that_leads_nowhere_makes_no_header)
{
    BuiltStream b = stream_image();

    stream_header(&b, (b.footer + 1) * SECTOR, UINT64_MAX);
    bdrv_store_le32(footer_of(&b) + AT_FLAGS, 0x10001);
    memset(b.bytes, 0, SECTOR);
    stream_hopeless(&b, "no footer that could replace it");
}
END_TEST

/* Each repair gave a header that denies markers the same flags again. */
START_TEST(a_footer_that_denies_markers_too_makes_no_header)
{
    BuiltStream b = stream_image();

    bdrv_store_le32(b.bytes + AT_FLAGS, 0x10001);
    bdrv_store_le32(footer_of(&b) + AT_FLAGS, 0x10001);
    stream_hopeless(&b, "its flags are 0x10001,");
}
END_TEST

/* The footer's capacity was taken as it is when the header has none. */
START_TEST(a_capacity_that_cannot_be_is_not_taken_from_a_footer)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory, *disk;
    Findings f;

    bdrv_store_le64(b.bytes + AT_CAPACITY, 0);
    bdrv_store_le64(footer_of(&b) + AT_CAPACITY, UINT64_C(1) << 63 | 20 * 128);
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 0);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    disk = open_memory(memory, 0);
    ck_assert_int_eq(bdrv_getlength(disk), 20 * STREAM_GRAIN);
    assert_pattern(disk, 7 * STREAM_GRAIN, STREAM_GRAIN, 2);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A stream without a footer, of so large a disk, that has its last grain. */
static BuiltStream with_last_grain(uint64_t sectors)
{
    BuiltStream b = stream_begin(20 * 128);

    bdrv_store_le64(b.bytes + AT_CAPACITY, sectors);
    bdrv_store_le64(b.bytes + AT_GRAIN, 4096);
    bdrv_store_le32(b.bytes + AT_GTES, 65536);
    bdrv_store_le64(b.bytes + b.size, (sectors - 1) / 4096 * 4096);
    bdrv_store_le32(b.bytes + b.size + 8, 100);
    b.size += SECTOR;
    stream_marker(&b, 1, 2);
    b.size += SECTOR;
    return b;
}

/* Where the last grain ends was computed beyond 2^63: undefined, and where it wraps, the grains
 * before it were not found, and read as zeros, if the descriptor has less of the disk. */
START_TEST(a_disk_whose_last_grain_ends_beyond_all_offsets_is_refused)
{
    BuiltStream b = with_last_grain((UINT64_C(1) << 54) - 1);
    BlockDriverState *memory = stream_memory(&b), *disk;

    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "capacity is");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(the_last_grain_of_the_largest_disk_is_found)
{
    BuiltStream b = with_last_grain((UINT64_C(1) << 53) - 1);
    BlockDriverState *memory = stream_memory(&b), *disk;
    BdrvExtent run;

    assert_ok(try_open(memory, 0, "extent=on", NULL, &disk));
    assert_ok(bdrv_is_allocated(disk, bdrv_getlength(disk) - SECTOR, SECTOR, &run));
    ck_assert_int_eq(run.state, BDRV_DATA);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Each entry of the directory was followed, and each entry of the table that all lead to: a
 * file of a few KiB was looked into for minutes. */
START_TEST(one_table_without_markers_is_not_looked_into_twice)
{
    enum { TABLES = 3, GTES = 512 };
    BuiltStream b = stream_begin(TABLES * GTES * 128);
    BlockDriverState *memory;
    Findings f;

    bdrv_store_le32(b.bytes + AT_FLAGS, 0x10001);
    bdrv_store_le64(b.bytes + AT_GD, 21);
    for (int i = 0; i < TABLES; i++) {
        bdrv_store_le32(b.bytes + 21 * SECTOR + 4 * i, 22);
    }
    bdrv_store_le32(b.bytes + 22 * SECTOR + 4 * 7, 127);
    b.size += SECTOR;
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(f.result.unrecoverable == TABLES && /* and one grain that is none */
                  strstr(f.text, "The GDE [2] is invalid (22): another table is there"),
                  "%.2000s", f.text);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Each entry of a directory was followed to the same table without entries, and all those looked
 * at: 2^20 of them, a file of 4 MiB, kept a check busy for more than a minute. */
START_TEST(one_empty_table_is_looked_into_once)
{
    enum { TABLES = 3000, GD = 150, GT = 22 };
    BuiltStream b = stream_begin(TABLES * 512 * 128);
    BlockDriverState *memory, *fault, *disk;
    Findings f;

    bdrv_store_le64(b.bytes + AT_GD, GD);
    for (int i = 0; i < TABLES; i++) {
        bdrv_store_le32(b.bytes + GD * SECTOR + 4 * i, i % 2 ? GT : GT + 4);
    }
    b.size = (GD + 100) * SECTOR;
    memory = stream_memory(&b);
    fault = fault_insert(memory);
    assert_ok(try_open(fault, BDRV_O_CHECK, NULL, NULL, &disk));
    fault_arm(fault, &(FaultPlan){.operations = FAULT_READ});
    findings_of(disk, 0, &f);
    assert_clean(&f);
    ck_assert_int_lt(fault_calls(fault), TABLES / 10);
    bdrv_close(disk);
    bdrv_close(fault);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A header that leads to tables in front counted in a check, where all readers follow the
 * footer: what was wrong there was not found. */
START_TEST(the_tables_that_readers_follow_are_checked)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory, *disk;

    bdrv_store_le64(b.bytes + AT_GD, 21);
    bdrv_store_le32(b.bytes + 21 * SECTOR, 22);
    memcpy(b.bytes + 22 * SECTOR, b.bytes + b.gt * SECTOR, 4 * SECTOR);
    bdrv_store_le32(stream_gte(&b, 7), 0);
    memory = stream_memory(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 7 * STREAM_GRAIN, STREAM_GRAIN, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    assert_mended(memory, BDRV_FINDING_CORRUPTION, "The GTE [7] in GT [0] is invalid (0)");
    disk = open_memory(memory, 0);
    assert_pattern(disk, 7 * STREAM_GRAIN, STREAM_GRAIN, 2);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* An overHead in the midst of the descriptor made the room for that too small, and the next
 * open found a text that was cut off. */
START_TEST(an_overhead_in_the_descriptor_does_not_cut_that)
{
    BuiltStream b = stream_image();
    char *text = (char *)b.bytes + SECTOR;
    BlockDriverState *memory;
    uint8_t size[8];
    Findings f;

    while (strlen(text) < SECTOR) {
        strcat(text, "# as long as descriptors of others are\n");
    }
    strcat(text, "ddb.adapterType = \"ide\"\n");
    bdrv_store_le64(b.bytes + AT_OVERHEAD, 2);
    bdrv_store_le64(footer_of(&b) + AT_OVERHEAD, 2);
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(strstr(f.text, "overHead is 2 sectors, where the descriptor is") &&
                      f.result.unrecoverable + f.result.corruptions_fixed == 0,
                  "%.2000s", f.text);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    assert_ok(bdrv_pread(memory, size, sizeof size, AT_DESCRIPTOR_SIZE));
    ck_assert_uint_eq(bdrv_load_le64(size), 20);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* What a guest had written to the end of its disk became the header when that was destroyed, and
 * the disk a stream without grains. */
START_TEST(a_footer_that_a_guest_has_written_makes_no_stream)
{
    Built b = damage_image(0);
    BuiltStream s = {.bytes = b.bytes, .size = b.size - 3 * SECTOR, .sectors = D_SECTORS};
    BlockDriverState *memory, *disk;
    Findings f;

    memset(b.bytes + s.size, 0, 3 * SECTOR);
    stream_marker(&s, 1, 3);
    stream_header(&s, s.size, 21);
    memset(b.bytes, 0, SECTOR);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(f.result.corruptions_fixed == 1, "%.2000s", f.text);
    disk = open_memory(memory, 0);
    for (int g = 1; g < D_GRAINS; g++) {
        assert_pattern(disk, (int64_t)g * D_GRAIN, D_GRAIN, damage_generation(g));
    }
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* With an overHead of 0, or in the midst of the descriptor, new tables were written there. */
START_TEST(new_tables_leave_the_descriptor_alone)
{
    BuiltStream b = stream_begin(20 * 128);
    BlockDriverState *memory;
    Findings f;

    stream_end(&b);
    bdrv_store_le32(b.bytes + b.gd * SECTOR, 0xcfcfcfcf);
    bdrv_store_le64(b.bytes + AT_OVERHEAD, (uint64_t)_i);
    bdrv_store_le64(footer_of(&b) + AT_OVERHEAD, (uint64_t)_i);
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_gt(f.result.corruptions_fixed, 0);
    bdrv_close(open_memory(memory, 0));
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_footer_that_leads_nowhere_makes_no_header,
        a_footer_that_denies_markers_too_makes_no_header,
        a_capacity_that_cannot_be_is_not_taken_from_a_footer,
        a_disk_whose_last_grain_ends_beyond_all_offsets_is_refused,
        the_last_grain_of_the_largest_disk_is_found,
        one_table_without_markers_is_not_looked_into_twice,
        one_empty_table_is_looked_into_once,
        the_tables_that_readers_follow_are_checked,
        an_overhead_in_the_descriptor_does_not_cut_that,
        a_footer_that_a_guest_has_written_makes_no_stream,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-stream-header");
    TCase *tc = suite_add_case(suite, "headers", tests, 30);

    image_register_drivers();
    fault_register();
    tcase_add_loop_test(tc, new_tables_leave_the_descriptor_alone, 0, 2);
    return suite;
}
