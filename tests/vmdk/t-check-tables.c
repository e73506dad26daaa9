/* SPDX-License-Identifier: MIT */
/*
 * t-check-tables.c - directory entries that are wrong where more is wrong: which table a
 * repair takes, and that what was readable reads the same afterwards.
 */
#include "damage.h"

/* A repair put a table at the end of the file, because grains that the file's end cut
 * made the one in the usual place look wrong; the next check took it for astray, because
 * of an entry that is not aligned. */
START_TEST(a_table_made_again_stays_where_it_is)
{
    Built b = damage_image(0);
    BlockDriverState *memory, *disk;
    Findings f;

    bdrv_store_le32(build_gde(&b, 1, 0), 0xfffffff0);
    bdrv_store_le32(build_gte(&b, 0, 87), bdrv_load_le32(build_gte(&b, 0, 511)) + 12);
    b.size -= 3 * SECTOR;
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(strstr(f.text, "GDE [0] of the redundant GD") != NULL, "%s", f.text);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.mismatches == 0, "again: %.2000s", f.text);
    disk = open_memory(memory, 0); /* nothing was put where the cut grain has its end */
    assert_pattern(disk, 0, D_GRAIN - 3 * SECTOR, 1);
    assert_pattern(disk, D_GRAIN - 3 * SECTOR, 3 * SECTOR, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------- two entries on one table */

/* Where the tables of an image are, and what its disk holds. */
typedef struct Shared {
    uint8_t *bytes; /* of the image */
    int64_t size;
    int64_t gd;      /* bytes: the primary directory */
    int64_t covers;  /* bytes of the disk, by each table */
} Shared;

/* Tables where VMware's layout does not have them. */
static void move_tables(Built *b)
{
    const int64_t bytes = b->gt_sectors * SECTOR;

    for (int64_t i = 0; i < b->tables; i++) {
        const uint32_t from = bdrv_load_le32(build_gde(b, 0, i));

        memcpy(b->bytes + b->size, b->bytes + (int64_t)from * SECTOR, (size_t)bytes);
        memset(b->bytes + (int64_t)from * SECTOR, 0, (size_t)bytes);
        bdrv_store_le32(build_gde(b, 0, i), (uint32_t)(b->size / SECTOR));
        b->size += bytes;
    }
    b->size = bdrv_round_up(b->size, b->grain * SECTOR);
}

static Shared hosted(unsigned without)
{
    Built b = damage_image(without);

    move_tables(&b);
    return (Shared){b.bytes, b.size, b.gd[0] * SECTOR, D_GTES * D_GRAIN};
}

static Shared copy_on_write(const char *options)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = 64 * 1024 * 1024,
                                .options = options};
    BlockDriverState *memory = image_memory(0), *disk;
    const int64_t covers = strstr(options, "=4k") ? 4096 * 4096 : 4096 * SECTOR;
    Shared s = {.gd = 4 * SECTOR, .covers = covers};

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    disk = open_memory(memory, BDRV_O_RDWR);
    for (unsigned i = 0; i < 4; i++) {
        assert_ok(pattern_write(disk, i * covers + (int64_t)i * 5000, 20000, i + 1));
    }
    assert_ok(bdrv_close(disk));
    s.bytes = image_memory_bytes(memory);
    s.size = bdrv_getlength(memory);
    bdrv_close(memory);
    return s;
}

static uint8_t *read_disk(BlockDriverState *memory, int64_t bytes)
{
    BlockDriverState *disk = open_memory(memory, 0);
    uint8_t *content = malloc((size_t)bytes);

    ck_assert_ptr_nonnull(content);
    assert_ok(bdrv_pread(disk, content, (size_t)bytes, 0));
    assert_ok(bdrv_close(disk));
    return content;
}

/* What is written through one of the two is not seen through the other. */
static void assert_apart(BlockDriverState *memory, int64_t covers)
{
    BlockDriverState *disk = open_memory(memory, BDRV_O_RDWR);
    uint8_t before[SECTOR], after[SECTOR];

    assert_ok(bdrv_pread(disk, before, SECTOR, covers));
    assert_ok(pattern_write(disk, 0, SECTOR, 99));
    assert_ok(bdrv_pread(disk, after, SECTOR, covers));
    ck_assert_mem_eq(after, before, SECTOR);
    assert_ok(bdrv_close(disk));
}

static Shared shared_image(int kind)
{
    switch (kind) {
    case 0:
        return copy_on_write("subformat=cowd");
    case 1:
        return copy_on_write("subformat=cowd,grain_size=4k");
    case 2:
        return hosted(NO_REDUNDANT);
    default:
        return hosted(0);
    }
}

enum {
    SHARED_KINDS = 4
};

/* Of two directory entries on one table, a repair cleared the later one, even if that
 * was right, so that a range that could be read became a hole. */
START_TEST(two_entries_on_one_table_read_as_before)
{
    Shared s = shared_image(_i / 2);
    const int to = _i % 2, from = !to;
    BlockDriverState *memory;
    uint8_t *before, *after;
    Findings f;

    memcpy(s.bytes + s.gd + to * 4, s.bytes + s.gd + from * 4, 4);
    memory = image_memory_from(s.bytes, s.size);
    before = read_disk(memory, 2 * s.covers);
    check_memory(memory, 0, &f);
    ck_assert_msg(strstr(f.text, "another table is there") != NULL, "%.2000s", f.text);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 0);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.mismatches == 0, "again: %.2000s", f.text);
    after = read_disk(memory, 2 * s.covers);
    if (_i / 2 == 3) { /* the other set still has the table that is no longer pointed at */
        ck_assert_mem_eq(after + from * s.covers, before + from * s.covers, (size_t)s.covers);
    } else {
        ck_assert_mem_eq(after, before, (size_t)(2 * s.covers));
    }
    assert_apart(memory, s.covers);
    free(before);
    free(after);
    free(s.bytes);
    bdrv_close(memory);
}
END_TEST

/* So many on one that a few KiB would become gigabytes: left alone, and told. */
START_TEST(more_tables_than_a_repair_may_copy_are_left)
{
    enum { TABLES = 40000 };
    BdrvCreateOptions create = {.struct_size = sizeof create, .options = "subformat=cowd",
                                .size = (int64_t)TABLES * 4096 * SECTOR};
    BlockDriverState *memory = image_memory(0);
    uint8_t gde[4];
    Findings f;

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    bdrv_store_le32(gde, (uint32_t)(bdrv_getlength(memory) / SECTOR));
    assert_ok(bdrv_truncate(memory, bdrv_getlength(memory) + 32 * SECTOR));
    for (int64_t i = 0; i < TABLES; i++) {
        assert_ok(bdrv_pwrite(memory, gde, sizeof gde, 4 * SECTOR + i * 4));
    }
    for (int i = 0; i < 2; i++) {
        check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
        ck_assert_int_eq(f.result.unrecoverable, TABLES - 1);
        ck_assert_msg(strstr(f.text, "too many tables would have to be copied") != NULL, "%.500s",
                      f.text);
        ck_assert_int_lt(bdrv_getlength(memory), 1024 * 1024);
    }
    bdrv_close(memory);
}
END_TEST

/* ------------------------------------------------ a wrong entry on a blank table */

/* The primary GDE of the first table, on zeros: readers take all of it for empty. */
static Built blank_image(void)
{
    Built b = damage_image(0);

    b.size = bdrv_round_up(b.size, D_GRAIN);
    bdrv_store_le32(build_gde(&b, 0, 0), (uint32_t)(b.size / SECTOR));
    b.size += D_GRAIN;
    return b;
}

static uint8_t *usual_gte(const Built *b, int grain)
{
    return b->bytes + (b->gd[0] + b->gd_sectors) * SECTOR + grain * 4;
}

static void swap_entries(uint8_t *one, uint8_t *other)
{
    uint8_t entry[4];

    memcpy(entry, one, 4);
    memcpy(one, other, 4);
    memcpy(other, entry, 4);
}

/* A repair took one of two copies for the right one where readers had seen neither, so
 * that a range that read as zeros read what another one holds.  What both sets have is
 * restored; what only one can have, too. */
START_TEST(what_is_not_certain_reads_as_before)
{
    Built b = blank_image();
    BlockDriverState *memory, *disk;
    Findings f;

    swap_entries(build_gte(&b, 1, 1), build_gte(&b, 1, 2));
    bdrv_store_le32(build_gte(&b, 1, 5), 3); /* cannot be */
    bdrv_store_le32(usual_gte(&b, 127), 0);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(f.result.unrecoverable == 1, "%.2000s", f.text);
    ck_assert_msg(strstr(f.text, "The GTEs [1] to [2] in GT [0] are of a table that was not where "
                         "readers look") != NULL, "%.2000s", f.text);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.mismatches == 0, "again: %.2000s", f.text);
    disk = open_memory(memory, 0);
    for (int g = 0; g < D_GRAINS; g++) {
        assert_pattern(disk, (int64_t)g * D_GRAIN, D_GRAIN,
                       g == 1 || g == 2 ? PATTERN_ZEROS : damage_generation(g));
    }
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The same of a grain that both sets give to two ranges, of which readers saw one. */
START_TEST(what_another_range_has_is_left_to_it)
{
    Built b = blank_image();
    BlockDriverState *memory, *disk;
    Findings f;

    memcpy(build_gte(&b, 1, 5), build_gte(&b, 0, 200), 4);
    memcpy(usual_gte(&b, 5), build_gte(&b, 0, 200), 4);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.mismatches == 0, "again: %.2000s", f.text);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 5 * D_GRAIN, D_GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 200 * D_GRAIN, D_GRAIN, 201);
    assert_pattern(disk, 0, D_GRAIN, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A low bit of the last grain's entry was wrong, so that the file's end cut it.  As the right
 * one, in the other set, has most of the same sectors, a repair took it for another's, and
 * moved the data by a sector. */
START_TEST(a_cut_grain_overlaps_the_right_one)
{
    Built b = damage_image(0);
    uint8_t *gte = build_gte(&b, 0, d_used[0]);

    bdrv_store_le32(gte, bdrv_load_le32(gte) + 1);
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "The GTE [0] in GT [0] is invalid (225)", -1);
}
END_TEST

/* A sector number whose byte no number can hold was multiplied all the same. */
START_TEST(a_redundant_directory_beyond_any_file_is_given_up)
{
    Built b = damage_image(NO_REDUNDANT);

    bdrv_store_le32(b.bytes + AT_FLAGS, bdrv_load_le32(b.bytes + AT_FLAGS) | 2);
    bdrv_store_le64(b.bytes + AT_RGD, UINT64_C(945767539634339937));
    damage_mended(&b, BDRV_FINDING_CORRUPTION, "the redundant directory is not inside", -1);
}
END_TEST

/* A table that is not where VMware's layout has it, with a grain that is not aligned, was
 * taken for none because of what is in that place: zeros, or an old table among others that
 * are elsewhere.  Its entry was cleared. */
START_TEST(what_is_in_the_usual_place_is_no_evidence)
{
    const int64_t tables = _i == 0 ? 1 : 4;
    Built b = build_sparse((Shape){.sectors = tables * 512 * 128, .without = NO_REDUNDANT});
    const int64_t usual = (b.gd[0] + b.gd_sectors) * SECTOR, grain = b.grain * SECTOR;
    BlockDriverState *memory, *disk;
    Findings f;

    build_add_grain(&b, 0, 1);
    move_tables(&b);
    bdrv_store_le64(b.bytes + AT_OVERHEAD, 0);
    build_add_grain(&b, 1, 2);
    pattern_fill(b.bytes + b.size + 3 * SECTOR, (size_t)grain, grain, 2);
    build_set_gte(&b, 1, (uint32_t)(b.size / SECTOR + 3));
    b.size += 2 * grain;
    if (tables > 1) {
        bdrv_store_le32(b.bytes + usual, bdrv_load_le32(build_gte(&b, 0, 0)));
    }
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(f.result.corruptions_fixed + f.result.unrecoverable == 0, "%.2000s", f.text);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, grain, 1);
    assert_pattern(disk, grain, grain, 2);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_table_made_again_stays_where_it_is,
        more_tables_than_a_repair_may_copy_are_left,
        what_is_not_certain_reads_as_before,
        what_another_range_has_is_left_to_it,
        a_cut_grain_overlaps_the_right_one,
        a_redundant_directory_beyond_any_file_is_given_up,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-tables");
    TCase *tc = suite_add_case(suite, "tables", tests, 60);

    image_register_drivers();
    tcase_add_loop_test(tc, two_entries_on_one_table_read_as_before, 0, 2 * SHARED_KINDS);
    tcase_add_loop_test(tc, what_is_in_the_usual_place_is_no_evidence, 0, 2);
    return suite;
}
