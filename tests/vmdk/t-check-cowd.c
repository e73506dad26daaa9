/* SPDX-License-Identifier: MIT */
/*
 * t-check-cowd.c - copy-on-write extents: a repair leaves nothing for the next one,
 * and what a resize leaves behind is no damage.
 */
#include "damage.h"

enum {
    MIB = 1024 * 1024,
    AT_FREE = 28 /* freeSector, in the header */
};

static BlockDriverState *new_disk(int64_t size, const char *options)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = size, .options = options};
    BlockDriverState *memory = image_memory(0);

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    return memory;
}

static void write_at(BlockDriverState *memory, int64_t offset, int64_t bytes)
{
    BlockDriverState *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, offset, bytes, 1));
    assert_ok(bdrv_close(disk));
}

static void resize(BlockDriverState *memory, int64_t size)
{
    BlockDriverState *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(bdrv_truncate(disk, size));
    assert_ok(bdrv_close(disk));
}

/* The place of a directory that had to move when the disk grew was called a leak,
 * which no repair could mend. */
START_TEST(a_grown_disk_is_clean)
{
    BlockDriverState *memory = new_disk(10 * MIB, "subformat=cowd");
    Findings f;

    write_at(memory, 5 * MIB, 65536);
    for (int round = 1; round <= 2; round++) {
        resize(memory, (int64_t)round * 2500 * MIB);
        check_memory(memory, 0, &f);
        assert_clean(&f);
    }
    bdrv_close(memory);
}
END_TEST

/* What a last grain at the end of the file has beyond the end of the disk was called a
 * leak. */
START_TEST(the_rest_of_a_last_grain_is_no_leak)
{
    BlockDriverState *memory = new_disk(3 * MIB + SECTOR, "subformat=cowd,grain_size=64k");
    Findings f;

    write_at(memory, 0, 65536); /* the table is put behind it */
    write_at(memory, 3 * MIB, SECTOR);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
}
END_TEST

static void assert_at(BlockDriverState *memory, int64_t offset, int64_t bytes, unsigned generation)
{
    BlockDriverState *disk = open_memory(memory, 0);

    assert_pattern(disk, offset, bytes, generation);
    assert_ok(bdrv_close(disk));
}

/* The last entry of the directory is moved with the others; and what somebody left behind
 * it is no table of the longer disk. */
START_TEST(a_directory_grows_by_empty_entries)
{
    BlockDriverState *memory = new_disk(10 * MIB, "subformat=cowd");
    uint8_t left[4];

    write_at(memory, 9 * MIB, 65536);
    bdrv_store_le32(left, 5000);
    assert_ok(bdrv_pwrite(memory, left, sizeof left, 4 * SECTOR + 5 * 4));
    resize(memory, _i ? (int64_t)2500 * MIB : 20 * MIB);
    assert_at(memory, 9 * MIB, 65536, 1);
    assert_at(memory, 10 * MIB, 2 * MIB, PATTERN_ZEROS);
    bdrv_close(memory);
}
END_TEST

/* Of a last grain only a part belongs to the disk; the rest is its own all the same, for
 * the day on which the disk grows. */
START_TEST(nothing_is_put_behind_a_part_of_a_grain)
{
    BlockDriverState *memory = new_disk(2 * MIB, "subformat=cowd,grain_size=4k"), *disk;

    write_at(memory, MIB / 2, 4096); /* the table is put behind it */
    write_at(memory, MIB, 4096);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_truncate(disk, MIB + SECTOR));
    assert_ok(pattern_write(disk, 0, 4096, 1));
    assert_ok(bdrv_truncate(disk, 2 * MIB));
    assert_ok(bdrv_close(disk));
    assert_at(memory, 0, 4096, 1);
    assert_at(memory, MIB, SECTOR, 1);
    assert_at(memory, MIB + SECTOR, 4096, PATTERN_ZEROS);
    bdrv_close(memory);
}
END_TEST

/* A repair of leaks cut the file and left freeSector behind its end. */
START_TEST(free_sector_follows_a_cut)
{
    BlockDriverState *memory = new_disk(10 * MIB, "subformat=cowd");
    Findings f;

    write_at(memory, 5 * MIB, 65536);
    write_at(memory, 9 * MIB, 65536);
    resize(memory, (int64_t)5000 * MIB);
    resize(memory, 6 * MIB);
    check_memory(memory, BDRV_CHECK_REPAIR_LEAKS, &f);
    ck_assert_int_eq(f.result.leaks_fixed, 1);
    ck_assert_int_eq(f.result.mismatches, 0);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.mismatches == 0, "after the repair: %.2000s", f.text);
    write_at(memory, 0, 65536);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.corruptions + f.result.mismatches, 0);
    bdrv_close(memory);
}
END_TEST

/* A freeSector that was wrong already is not set by a repair of leaks alone. */
START_TEST(free_sector_behind_the_end_is_still_found)
{
    BlockDriverState *memory = new_disk(10 * MIB, "subformat=cowd");
    uint8_t field[4];
    Findings f;

    write_at(memory, 5 * MIB, 65536);
    bdrv_store_le32(field, 100000);
    assert_ok(bdrv_pwrite(memory, field, sizeof field, AT_FREE));
    assert_ok(bdrv_truncate(memory, bdrv_getlength(memory) + 4096));
    check_memory(memory, BDRV_CHECK_REPAIR_LEAKS, &f);
    ck_assert_int_eq(f.result.leaks_fixed, 1);
    ck_assert_int_eq(f.result.mismatches, 1);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.mismatches_fixed, 1);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
}
END_TEST

/* A repair of a grain that the file's end cuts set freeSector behind that end. */
START_TEST(free_sector_is_right_after_a_cut_grain)
{
    static const char *const options[] = {"subformat=cowd", "subformat=cowd,grain_size=4k"};
    BlockDriverState *memory = new_disk(MIB, options[_i]);
    uint8_t field[4];
    Findings f;

    write_at(memory, 4096, 4096); /* the table is put behind it */
    write_at(memory, 65536, 65536);
    assert_ok(bdrv_pread(memory, field, sizeof field, AT_FREE));
    assert_ok(bdrv_truncate(memory, (int64_t)bdrv_load_le32(field) * SECTOR - 20000));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.mismatches, 0);
    ck_assert_msg(strstr(f.text, "that the file's end cuts") != NULL, "%.2000s", f.text);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    bdrv_close(memory);
}
END_TEST

/* Of two fields that disagree a repair believed numSectors, and cut off what was behind
 * that; it is as likely to be wrong as numGDEntries. */
START_TEST(a_capacity_that_the_tables_deny_cuts_nothing_off)
{
    enum { AT_SECTORS = 12 };
    BlockDriverState *memory = new_disk(10 * MIB, "subformat=cowd"), *disk;
    const int64_t shorter = _i ? 9 * MIB : MIB;
    int64_t size;
    uint8_t field[4], found[4];
    Findings f;

    write_at(memory, 10 * MIB - 65536, 65536);
    size = bdrv_getlength(memory);
    assert_ok(bdrv_pread(memory, field, sizeof field, AT_SECTORS));
    bdrv_store_le32(found, (uint32_t)(shorter / SECTOR));
    assert_ok(bdrv_pwrite(memory, found, sizeof found, AT_SECTORS));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, !_i);
    ck_assert_int_eq(bdrv_getlength(memory), size);
    assert_ok(bdrv_pwrite(memory, field, sizeof field, AT_SECTORS)); /* as it was */
    disk = open_memory(memory, 0);
    assert_pattern(disk, 10 * MIB - 65536, 65536, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_grown_disk_is_clean,
        the_rest_of_a_last_grain_is_no_leak,
        nothing_is_put_behind_a_part_of_a_grain,
        free_sector_follows_a_cut,
        free_sector_behind_the_end_is_still_found,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-cowd");
    TCase *tc = suite_add_case(suite, "cowd", tests, 20);

    image_register_drivers();
    tcase_add_loop_test(tc, a_directory_grows_by_empty_entries, 0, 2);
    tcase_add_loop_test(tc, a_capacity_that_the_tables_deny_cuts_nothing_off, 0, 2);
    tcase_add_loop_test(tc, free_sector_is_right_after_a_cut_grain, 0, 2);
    return suite;
}
