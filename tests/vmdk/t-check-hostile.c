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

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_new_descriptor_goes_into_the_mended_room,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-hostile");
    TCase *tc = suite_add_case(suite, "hostile", tests, 60);

    image_register_drivers();
    fault_register();
    tcase_add_loop_test(tc, an_rgd_offset_that_means_nothing_takes_no_room, 0, 2);
    return suite;
}
