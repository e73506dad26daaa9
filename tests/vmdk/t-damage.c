/* SPDX-License-Identifier: MIT */
/*
 * t-damage.c - hosted sparse extents whose tables are wrong in one place: what
 * can still be read is, what cannot is an error and never zeros, and nothing is
 * written where it could do harm.  The letters are the rows of the format
 * document, section 9.3.
 */
#include "build.h"
#include "fault.h"

enum {
    GRAIN = 65536 /* bytes */
};

typedef enum Where {
    THE_GDE,
    THE_GTE
} Where;

typedef struct Damage {
    const char *row;
    Where where;
    uint32_t entry;
    const char *message;
} Damage;

/* QEMU reads zeros in most of these places. */
static const Damage damages[] = {
    {"T1", THE_GDE, 21, "inside a directory"},
    {"T1", THE_GDE, 26, "inside a directory"},
    {"T1", THE_GDE, 1 << 20, "the file has only"},
    {"T1", THE_GDE, UINT32_MAX, "the file has only"},
    {"T3", THE_GTE, 2, "the first grain comes later"},
    {"T3", THE_GTE, 127, "the first grain comes later"},
    {"T4", THE_GTE, 1 << 20, "it is truncated"},
    {"T5", THE_GTE, UINT32_MAX, "it is truncated"},
    {"H15", THE_GTE, 1, "does not allow grains of zeros"},
};

static void damage(Built *b, const Damage *d, int set)
{
    bdrv_store_le32(d->where == THE_GDE ? build_gde(b, set, 0) : build_gte(b, set, 1), d->entry);
}

START_TEST(a_wrong_entry_is_an_error_and_never_zeros)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    BdrvExtent run;
    uint8_t byte;

    build_add_grain(&b, 1, 1);
    damage(&b, &damages[_i], 0);
    damage(&b, &damages[_i], 1);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_fails_saying(bdrv_pread(disk, &byte, 1, GRAIN), -EIO, damages[_i].message);
    assert_fails(bdrv_is_allocated(disk, GRAIN, 1, &run), -EIO);
    bdrv_close(disk);
    assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EINVAL,
                        "must be repaired");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(a_wrong_entry_is_replaced_by_the_redundant_one)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    Log log;

    build_add_grain(&b, 1, 1);
    damage(&b, &damages[_i], 0);
    memory = build_memory(&b);
    assert_ok(try_open(memory, 0, NULL, &log, &disk));
    assert_pattern(disk, GRAIN, GRAIN, 1);
    ck_assert_ptr_nonnull(strstr(log.text, "redundant"));
    bdrv_close(disk);
    assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EINVAL,
                        "must be repaired");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* All known readers follow gdOffset. */
START_TEST(the_primary_tables_count)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 1, 1);
    build_add_grain(&b, 2, 1);
    bdrv_store_le32(build_gte(&b, 0, 1), 0);
    bdrv_store_le32(build_gte(&b, 1, 2), 0);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, GRAIN, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 2 * GRAIN, GRAIN, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* overHead is wrong, too: then the place of each table still is known. */
START_TEST(a_grain_inside_a_table_is_an_error)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    uint8_t byte;

    bdrv_store_le64(b.bytes + AT_OVERHEAD, 0);
    build_set_gte(&b, 1, 24);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_fails_saying(bdrv_pread(disk, &byte, 1, GRAIN), -EIO, "a table is there");
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Where an entry was wrong and the redundant directory had no such table, the rest of the
 * table was taken for zeros, sound grains too. */
START_TEST(a_wrong_entry_is_no_zeros_for_want_of_a_redundant_table)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    BdrvExtent extent;
    uint8_t byte;

    build_add_grain(&b, 1, 1);
    build_add_grain(&b, 2, 2);
    bdrv_store_le32(build_gde(&b, 1, 0), 0);
    bdrv_store_le32(build_gte(&b, 0, 0), (uint32_t)(b.size / SECTOR) + 100);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_fails(bdrv_pread(disk, &byte, 1, 0), -EIO);
    assert_fails(bdrv_is_allocated(disk, 0, GRAIN, &extent), -EIO);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    assert_pattern(disk, 2 * GRAIN, GRAIN, 2);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Where a table of more than 512 entries was missing, as many entries of the redundant one
 * were read onto the stack as there are. */
START_TEST(a_missing_large_table_is_replaced_by_the_redundant_one)
{
    enum { GRAINS = 2048 };
    Built b = build_sparse((Shape){.sectors = (int64_t)GRAINS * 128, .gtes = GRAINS});
    BlockDriverState *memory, *disk;
    BdrvExtent run;

    build_add_grain(&b, 1, 1);
    build_add_grain(&b, GRAINS - 1, 2);
    bdrv_store_le32(build_gde(&b, 0, 0), 0);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_ok(bdrv_is_allocated(disk, 2 * GRAIN, (GRAINS - 2) * GRAIN, &run));
    ck_assert_int_eq(run.state, BDRV_UNALLOCATED);
    ck_assert_int_eq(run.bytes, (int64_t)(GRAINS - 3) * GRAIN);
    assert_pattern(disk, 0, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    assert_pattern(disk, (int64_t)(GRAINS - 1) * GRAIN, GRAIN, 2);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(what_the_end_of_the_file_cuts_off_is_an_error)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    uint8_t byte;

    build_add_grain(&b, 1, 1);
    b.size -= 1000;
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, GRAIN, GRAIN - 1000, 1);
    assert_fails(bdrv_pread(disk, &byte, 1, 2 * GRAIN - 1), -EIO);
    bdrv_close(disk);
    assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EINVAL,
                        "the file's end cuts the grain");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(the_last_grain_may_end_where_the_disk_does)
{
    Built b = build_sparse((Shape){.sectors = 200});
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 1, 1);
    b.size -= 56 * SECTOR;
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, GRAIN, 72 * SECTOR, 1);
    assert_ok(pattern_write(disk, 0, 200 * SECTOR, 2));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, 200 * SECTOR, 2);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A grain of two places: writing the one would change the other (T6). */
START_TEST(a_shared_grain_forbids_writing)
{
    Built b = build_sparse((Shape){0});

    build_add_grain(&b, 1, 1);
    build_set_gte(&b, 2, bdrv_load_le32(build_gte(&b, 0, 1)));
    build_refused(&b, BDRV_O_RDWR, -EINVAL, "another entry points to the same place");
}
END_TEST

START_TEST(overlapping_grains_forbid_writing)
{
    Built b = build_sparse((Shape){0});

    build_add_grain(&b, 1, 1);
    build_add_grain(&b, 2, 1);
    build_set_gte(&b, 3, bdrv_load_le32(build_gte(&b, 0, 1)) + 1);
    build_refused(&b, BDRV_O_RDWR, -EINVAL, "another entry points to the same place");
}
END_TEST

START_TEST(unaligned_grains_apart_from_each_other_do_not)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;

    b.size += SECTOR;
    for (int64_t grain = 1; grain < 3; grain++) {
        pattern_fill(b.bytes + b.size, GRAIN, grain * GRAIN, 1);
        build_set_gte(&b, grain, (uint32_t)(b.size / SECTOR));
        b.size += GRAIN;
    }
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 3 * GRAIN, GRAIN, 2));
    assert_pattern(disk, GRAIN, 2 * GRAIN, 1);
    assert_pattern(disk, 3 * GRAIN, GRAIN, 2);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(shared_tables_forbid_writing)
{
    Built b = build_sparse((Shape){.sectors = 65536 * 2});

    for (int set = 0; set < 2; set++) {
        bdrv_store_le32(build_gde(&b, set, 1), bdrv_load_le32(build_gde(&b, set, 0)));
    }
    build_refused(&b, BDRV_O_RDWR, -EINVAL, "two tables share");
}
END_TEST

/* QEMU gives zeros when a table cannot be read (T8). */
START_TEST(an_unreadable_table_is_an_error_and_never_zeros)
{
    Built b = build_sparse((Shape){.without = NO_REDUNDANT});
    BlockDriverState *memory, *fault, *disk;
    FaultPlan plan = {.operations = FAULT_READ, .call = 1, .life = FAULT_FOR_EVER};
    uint8_t byte;

    build_add_grain(&b, 0, 1);
    memory = build_memory(&b);
    fault = fault_insert(memory);
    disk = open_memory(fault, 0);
    fault_arm(fault, &plan);
    assert_fails(bdrv_pread(disk, &byte, 1, 0), -EIO);
    assert_fails(bdrv_pread(disk, &byte, 1, 5 * GRAIN), -EIO);
    bdrv_close(disk);
    bdrv_close(fault);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        the_primary_tables_count,
        a_grain_inside_a_table_is_an_error,
        a_wrong_entry_is_no_zeros_for_want_of_a_redundant_table,
        a_missing_large_table_is_replaced_by_the_redundant_one,
        what_the_end_of_the_file_cuts_off_is_an_error,
        the_last_grain_may_end_where_the_disk_does,
        a_shared_grain_forbids_writing,
        overlapping_grains_forbid_writing,
        unaligned_grains_apart_from_each_other_do_not,
        shared_tables_forbid_writing,
        an_unreadable_table_is_an_error_and_never_zeros,
        NULL,
    };
    const int count = sizeof damages / sizeof *damages;
    Suite *suite = suite_create("vmdk/damage");
    TCase *tc = suite_add_case(suite, "damage", tests, 20);

    fault_register();
    tcase_add_loop_test(tc, a_wrong_entry_is_an_error_and_never_zeros, 0, count);
    tcase_add_loop_test(tc, a_wrong_entry_is_replaced_by_the_redundant_one, 0, count);
    return suite;
}
