/* SPDX-License-Identifier: MIT */
/*
 * t-check-shared.c - two entries on one grain, and what the other set has for
 * them: a repair takes it only if that is certain, and leaves alone what reads
 * right.
 *
 *              GT            redundant GT
 *              [2]  [5]      [2]  [5]
 *      right    A    B        A    B
 *      both     A    A        B    B      whose is A, whose is B?
 */
#include "damage.h"
#include "fault.h"

static void set_entry(Built *b, int set, int grain, uint32_t entry)
{
    bdrv_store_le32(build_gte(b, set, grain), entry);
}

static void assert_sound(BlockDriverState *memory)
{
    Findings f;

    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.mismatches + f.result.unrecoverable == 0,
                  "after the repair: %.2000s", f.text);
}

/* What grain reads, before and after a repair that must leave a sound image. */
static void assert_reads_as_before(BlockDriverState *memory, int grain, unsigned generation)
{
    BlockDriverState *disk = open_memory(memory, 0);
    Findings f;

    assert_pattern(disk, grain * D_GRAIN, D_GRAIN, generation);
    assert_ok(bdrv_close(disk));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    assert_sound(memory);
    disk = open_memory(memory, 0);
    assert_pattern(disk, grain * D_GRAIN, D_GRAIN, generation);
    assert_ok(bdrv_close(disk));
}

/* A repair gave an entry what two entries of the redundant set had, so that a range
 * that was right became another's. */
START_TEST(what_both_sets_have_twice_is_not_swapped)
{
    const int right = _i ? 5 : 2, wrong = _i ? 2 : 5;
    Built b = damage_image(0);
    BlockDriverState *memory;

    set_entry(&b, 1, right, bdrv_load_le32(build_gte(&b, 0, wrong)));
    set_entry(&b, 0, wrong, bdrv_load_le32(build_gte(&b, 0, right)));
    memory = build_memory(&b);
    assert_reads_as_before(memory, right, (unsigned)right + 1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A repair put a grain that another entry had lost where rightly nothing was. */
START_TEST(what_the_other_set_has_twice_does_not_fill_a_hole)
{
    Built b = damage_image(0);
    BlockDriverState *memory;

    set_entry(&b, 1, 3, bdrv_load_le32(build_gte(&b, 0, 5)));
    set_entry(&b, 0, 5, bdrv_load_le32(build_gte(&b, 0, 200)));
    memory = build_memory(&b);
    assert_reads_as_before(memory, 3, PATTERN_ZEROS);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A repair took for a shared entry the grain that another, impossible one was read
 * through: that one then had a copy of it. */
START_TEST(what_an_impossible_entry_is_read_through_stays_its_own)
{
    Built b = damage_image(0);
    const uint32_t grain = bdrv_load_le32(build_gte(&b, 0, 5));
    uint8_t now[D_GRAIN], shared[D_GRAIN];
    BlockDriverState *memory, *disk;

    set_entry(&b, 0, 5, 0xfffffff0);
    set_entry(&b, 1, 2, grain);
    set_entry(&b, 0, 2, bdrv_load_le32(build_gte(&b, 0, 1)));
    memory = build_memory(&b);
    assert_reads_as_before(memory, 5, 6);
    disk = open_memory(memory, 0);
    assert_ok(bdrv_pread(disk, now, D_GRAIN, 2 * D_GRAIN));
    assert_ok(bdrv_pread(disk, shared, D_GRAIN, D_GRAIN));
    ck_assert_mem_eq(now, shared, D_GRAIN); /* as it read with the wrong entry */
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A repair took an empty table for one that was wiped out, because of a single wrong
 * entry in its copy: a hole then read what another grain holds. */
START_TEST(an_empty_table_stays_empty)
{
    Built b = build_sparse((Shape){.sectors = D_SECTORS, .grain = 16, .gtes = D_GTES});
    const int owner = _i ? 5 : D_GRAINS - 1, hole = 2 * D_GTES + 71;
    BlockDriverState *memory;

    build_add_grain(&b, owner, (unsigned)owner + 1);
    set_entry(&b, 1, hole, bdrv_load_le32(build_gte(&b, 0, owner)));
    memory = build_memory(&b);
    assert_reads_as_before(memory, hole, PATTERN_ZEROS);
    assert_reads_as_before(memory, owner, (unsigned)owner + 1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* All of an entry counted as shared that overlaps a grain by a part, so the copy was not taken, most of
 * which that entry covers: the range read what lies some sectors behind. */
START_TEST(an_entry_that_a_bit_moves_is_taken_from_the_copy)
{
    Built b = damage_image(0);

    build_gte(&b, 0, 1)[0] ^= (uint8_t)(1 << _i);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "of a grain that another entry points at too", -1);
}
END_TEST

enum {
    CUT_GRAIN = 130, /* whose grain is at sector 128 */
    OTHER_GRAIN = 384
};

/* A wrong entry leads to the last grain, whose end is behind the file's, and the right grain is
 * overlapped, too: of the end, which was read from the copy, nothing but zeros was left. */
static Built cut_image(void)
{
    Built b = damage_image(0);

    set_entry(&b, 0, CUT_GRAIN, (uint32_t)(b.size / SECTOR) - 4);
    set_entry(&b, 0, OTHER_GRAIN, bdrv_load_le32(build_gte(&b, 1, CUT_GRAIN)) - 5);
    return b;
}

static void assert_end_is_right(BlockDriverState *memory)
{
    BlockDriverState *disk = open_memory(memory, 0);

    assert_pattern(disk, CUT_GRAIN * D_GRAIN + 4 * SECTOR, D_GRAIN - 4 * SECTOR, CUT_GRAIN + 1);
    assert_ok(bdrv_close(disk));
}

START_TEST(what_a_cut_grain_overlaps_is_taken_from_the_copy)
{
    Built b = cut_image();
    BlockDriverState *memory = build_memory(&b), *disk;
    Findings f;

    assert_end_is_right(memory);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    assert_sound(memory);
    disk = open_memory(memory, 0);
    assert_pattern(disk, CUT_GRAIN * D_GRAIN, D_GRAIN, CUT_GRAIN + 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The file was made longer first, for the copy of a grain, so that zeros were read there if the
 * repair came no farther. */
START_TEST(a_repair_that_ends_early_leaves_the_end_of_a_cut_grain)
{
    const BdrvCheckOptions options = {.struct_size = sizeof options,
                                      .flags = BDRV_CHECK_REPAIR_ALL};
    const FaultPlan plan = {.operations = FAULT_WRITE | FAULT_FLUSH | FAULT_TRUNCATE,
                            .call = _i, .life = FAULT_FOR_EVER};
    Built b = cut_image();
    BlockDriverState *memory = build_memory(&b), *fault = fault_insert(memory), *disk;
    BdrvCheckResult result = {.struct_size = sizeof result};

    fault_arm(fault, &plan);
    assert_ok(try_open(fault, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk));
    bdrv_check(disk, &options, &result);
    bdrv_close(disk);
    assert_end_is_right(memory);
    bdrv_close(fault);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        what_the_other_set_has_twice_does_not_fill_a_hole,
        what_an_impossible_entry_is_read_through_stays_its_own,
        what_a_cut_grain_overlaps_is_taken_from_the_copy,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-shared");
    TCase *tc = suite_add_case(suite, "shared", tests, 20);

    fault_register();
    tcase_add_loop_test(tc, an_entry_that_a_bit_moves_is_taken_from_the_copy, 0, 4);
    tcase_add_loop_test(tc, a_repair_that_ends_early_leaves_the_end_of_a_cut_grain, 1, 12);
    tcase_add_loop_test(tc, what_both_sets_have_twice_is_not_swapped, 0, 2);
    tcase_add_loop_test(tc, an_empty_table_stays_empty, 0, 2);
    return suite;
}
