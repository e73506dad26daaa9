/* SPDX-License-Identifier: MIT */
/*
 * t-null.c - the null driver: zeros, and counters of what reached it.
 */
#include "pattern.h"
#include "suite.h"

static BlockDriverState *open_null(const char *options_text)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
                                .options = options_text };
    BlockDriverState *bs;
    assert_ok(bdrv_open(&bs, "label", "null", &options));
    return bs;
}

/* Looks for one counter among the details. */
typedef struct Search {
    const char *key;
    int64_t number;
} Search;

static void visit(void *opaque, const BdrvDetail *detail)
{
    Search *search = opaque;
    if (detail->kind == BDRV_DETAIL_NUMBER && strcmp(detail->key, search->key) == 0) {
        search->number = detail->number;
    }
}

static int64_t counter(BlockDriverState *bs, const char *key)
{
    Search search = { .key = key, .number = -1 };
    assert_ok(bdrv_get_details(bs, visit, &search));
    return search.number;
}

START_TEST(it_is_as_long_as_asked_and_1_gib_if_not)
{
    BlockDriverState *bs = open_null(NULL);
    ck_assert_int_eq(bdrv_getlength(bs), INT64_C(1) << 30);
    assert_ok(bdrv_close(bs));
    bs = open_null("size=7");
    ck_assert_int_eq(bdrv_getlength(bs), 7);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(it_forgets_what_is_written)
{
    BlockDriverState *bs = open_null(NULL);
    BdrvExtent extent;
    assert_ok(pattern_write(bs, 0, 10000, 1));
    assert_pattern(bs, 0, 10000, PATTERN_ZEROS);
    assert_ok(bdrv_is_allocated(bs, 0, 10000, &extent));
    ck_assert_int_eq(extent.state, BDRV_ZERO);
    ck_assert_int_eq(extent.bytes, 10000);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(it_counts_what_reaches_it)
{
    char buf[3000];
    BlockDriverState *bs = open_null(NULL);
    assert_ok(bdrv_pread(bs, buf, 3000, 5));
    assert_ok(bdrv_pread(bs, buf, 1000, 0));
    assert_ok(bdrv_pwrite(bs, buf, 2000, 0));
    assert_ok(bdrv_write_zeroes(bs, 0, 512));
    assert_ok(bdrv_discard(bs, 0, 512));
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(counter(bs, "reads"), 2);
    ck_assert_int_eq(counter(bs, "bytes-read"), 4000);
    ck_assert_int_eq(counter(bs, "writes"), 1);
    ck_assert_int_eq(counter(bs, "bytes-written"), 2000);
    ck_assert_int_eq(counter(bs, "write-zeroes"), 1);
    ck_assert_int_eq(counter(bs, "discards"), 1);
    ck_assert_int_eq(counter(bs, "flushes"), 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        it_is_as_long_as_asked_and_1_gib_if_not, it_forgets_what_is_written,
        it_counts_what_reaches_it, NULL
    };
    Suite *suite = suite_create("null");
    suite_add_case(suite, "null", tests, 30);
    return suite;
}
