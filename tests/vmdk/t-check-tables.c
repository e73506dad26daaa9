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
    BlockDriverState *memory;
    Findings f;

    bdrv_store_le32(build_gde(&b, 1, 0), 0xfffffff0);
    bdrv_store_le32(build_gte(&b, 0, 87), bdrv_load_le32(build_gte(&b, 0, 511)) + 12);
    b.size -= 3 * SECTOR;
    memory = build_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(strstr(f.text, "GDE [0] of the redundant GD") != NULL, "%s", f.text);
    check_memory(memory, 0, &f);
    ck_assert_msg(f.result.corruptions + f.result.mismatches == 0, "again: %.2000s", f.text);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_table_made_again_stays_where_it_is,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-tables");

    image_register_drivers();
    suite_add_case(suite, "tables", tests, 20);
    return suite;
}
