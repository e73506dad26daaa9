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
    BlockDriverState *memory;
    Findings f;

    bdrv_store_le64(b.bytes + AT_RGD, 1 + (uint64_t)_i);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    assert_clean(&f);
    assert_content(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The room for the descriptor was mended in the header, and a new descriptor written into
 * what it had been before: over the tables. */
START_TEST(a_new_descriptor_goes_into_the_mended_room)
{
    Built b = damage_image(0);
    BlockDriverState *memory;
    Findings f;

    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 40);
    memset(b.bytes + SECTOR, 'x', 20 * SECTOR);
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 2);
    ck_assert_int_eq(f.result.unrecoverable, 0);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    assert_content(memory, -1);
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

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_new_descriptor_goes_into_the_mended_room,
        no_directory_is_found_in_the_descriptor,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-hostile");
    TCase *tc = suite_add_case(suite, "hostile", tests, 60);

    image_register_drivers();
    fault_register();
    tcase_add_loop_test(tc, an_rgd_offset_that_means_nothing_takes_no_room, 0, 2);
    return suite;
}
