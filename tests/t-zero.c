/* SPDX-License-Identifier: MIT */
/*
 * t-zero.c - bdrv_is_zero(): one bit anywhere is seen, whatever the length and
 * the alignment; what lies around is not looked at.
 */
#include <string.h>

#include "bdrv-driver.h"
#include "suite.h"

enum { ROOM = 700 };

START_TEST(zeros_are_zeros_at_every_length_and_alignment)
{
    uint8_t buf[ROOM];

    memset(buf, 0xff, sizeof buf);
    for (size_t start = 0; start < 33; start++) {
        for (size_t count = 0; count <= 600; count++) {
            memset(buf + start, 0, count);
            ck_assert_int_eq(bdrv_is_zero(buf + start, count), 1);
            memset(buf + start, 0xff, count);
        }
    }
}
END_TEST

START_TEST(every_single_bit_is_seen)
{
    uint8_t buf[ROOM] = {0};

    for (size_t at = 0; at < 600; at++) {
        buf[1 + at] = (uint8_t)(1u << at % 8);
        for (size_t count = at + 1; count <= 600; count += 97) {
            ck_assert_int_eq(bdrv_is_zero(buf + 1, count), 0);
        }
        ck_assert_int_eq(bdrv_is_zero(buf + 1, at), 1);
        buf[1 + at] = 0;
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        zeros_are_zeros_at_every_length_and_alignment,
        every_single_bit_is_seen,
        NULL,
    };
    Suite *suite = suite_create("zero");

    suite_add_case(suite, "zeros", tests, 60);
    return suite;
}
