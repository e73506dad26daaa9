/* SPDX-License-Identifier: MIT */
/*
 * t-io.c - the front door: what it checks on its own, which calls reach a
 * driver and when, and what it does with a driver that breaks the contract.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bdrv-driver.h"
#include "fault.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"
#include "trace.h"

static BlockDriverState *open_raw(BlockDriverState *file, unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    assert_ok(bdrv_open_node(&bs, file, "raw", &options));
    return bs;
}

/* ------------------------------------------------------------------- range */

START_TEST(sector_calls_show_no_partial_last_sector)
{
    BlockDriverState *memory = image_memory(1000);
    BlockDriverState *bs = open_raw(memory, 0);
    uint8_t buf[1024];
    assert_ok(bdrv_read(bs, 0, buf, 1));
    assert_fails(bdrv_read(bs, 1, buf, 1), -ERANGE);
    assert_fails(bdrv_read(bs, 0, buf, 2), -ERANGE);
    assert_ok(bdrv_pread(bs, buf, 1000, 0));
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* Bug to guard against: the sector calls are made of the byte calls, and the
 * file drivers took their range errors for a damaged image: -EIO. */
START_TEST(sector_calls_on_plain_storage_know_the_range_too)
{
    BlockDriverState *memory = image_memory(1024);
    uint8_t buf[1024];
    assert_fails(bdrv_read(memory, 2, buf, 1), -ERANGE);
    assert_fails(bdrv_read(memory, 1, buf, 2), -ERANGE);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(storage_grows_where_a_write_ends_behind_it)
{
    BlockDriverState *memory = image_memory(0);
    uint8_t byte = 7;
    assert_fails(bdrv_pread(memory, &byte, 1, 0), -ERANGE);
    assert_ok(bdrv_pwrite(memory, &byte, 1, 99999));
    ck_assert_int_eq(bdrv_getlength(memory), 100000);
    assert_pattern(memory, 0, 99999, PATTERN_ZEROS);
    assert_ok(bdrv_write_zeroes(memory, 150000, 50000));
    ck_assert_int_eq(bdrv_getlength(memory), 200000);
    assert_fails(bdrv_pwrite(memory, &byte, 1, INT64_MAX), -ERANGE);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(storage_shrinks_and_its_tail_is_gone)
{
    BlockDriverState *memory = image_memory(200000);
    assert_ok(pattern_write(memory, 0, 200000, 1));
    assert_ok(bdrv_truncate(memory, 100001));
    ck_assert_int_eq(bdrv_getlength(memory), 100001);
    assert_ok(bdrv_truncate(memory, 200000));
    assert_pattern(memory, 0, 100001, 1);
    assert_pattern(memory, 100001, 99999, PATTERN_ZEROS);
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------------ scattered I/O */

/* Above 1 MiB the pieces go to the driver one by one. */
START_TEST(large_scattered_request_is_whole)
{
    enum { PIECES = 5, PIECE = 700001, TOTAL = PIECES * PIECE };
    BlockDriverState *memory = image_memory(TOTAL + 10);
    uint8_t *out = malloc(TOTAL);
    uint8_t *in = calloc(1, TOTAL);
    BdrvIovec from[PIECES];
    BdrvIovec to[PIECES];
    ck_assert(out != NULL && in != NULL);
    pattern_fill(out, TOTAL, 3, 1);
    for (int i = 0; i < PIECES; i++) {
        from[i] = (BdrvIovec){ out + i * PIECE, PIECE };
        to[i] = (BdrvIovec){ in + i * PIECE, PIECE };
    }
    assert_ok(bdrv_pwritev(memory, from, PIECES, 3));
    assert_pattern(memory, 3, TOTAL, 1);
    assert_ok(bdrv_preadv(memory, to, PIECES, 3));
    ck_assert_int_eq(memcmp(in, out, TOTAL), 0);
    free(in);
    free(out);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(small_scattered_request_is_one_call_to_the_driver)
{
    BlockDriverState *memory = image_memory(100000);
    BlockDriverState *trace = trace_insert(memory);
    uint8_t buf[3000];
    const BdrvIovec pieces[] = {
        { buf, 1000 }, { buf + 1000, 1000 }, { buf + 2000, 1000 },
    };
    pattern_fill(buf, sizeof(buf), 500, 1);
    assert_ok(bdrv_pwritev(trace, pieces, 3, 500));
    assert_ok(bdrv_preadv(trace, pieces, 3, 500));
    TraceCall calls[2];
    ck_assert_uint_eq(trace_calls(trace, calls, 2), 2);
    ck_assert_int_eq(calls[0].operation, TRACE_WRITE);
    ck_assert_int_eq(calls[0].offset, 500);
    ck_assert_int_eq(calls[0].bytes, 3000);
    ck_assert_uint_eq(calls[0].hash, trace_hash(buf, sizeof(buf)));
    ck_assert_int_eq(calls[1].operation, TRACE_READ);
    ck_assert_int_eq(calls[1].bytes, 3000);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(null_piece_is_refused)
{
    BlockDriverState *memory = image_memory(4096);
    uint8_t buf[10];
    const BdrvIovec pieces[] = { { buf, 10 }, { NULL, 10 } };
    const BdrvIovec empty[] = { { buf, 10 }, { NULL, 0 } };
    assert_fails(bdrv_preadv(memory, pieces, 2, 0), -EINVAL);
    assert_fails(bdrv_pwritev(memory, pieces, 2, 0), -EINVAL);
    assert_ok(bdrv_preadv(memory, empty, 2, 0));
    const BdrvIovec huge[] = { { buf, SIZE_MAX / 2 }, { buf, SIZE_MAX / 2 } };
    ck_assert_int_lt(bdrv_preadv(memory, huge, 2, 0), 0);
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------------------- flush */

START_TEST(flush_reaches_the_storage_only_when_there_is_something)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *trace = trace_insert(memory);
    BlockDriverState *bs = open_raw(trace, BDRV_O_RDWR);
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(trace_count(trace, TRACE_FLUSH), 0);
    assert_ok(pattern_write(bs, 0, 4096, 1));
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(trace_count(trace, TRACE_FLUSH), 1);
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(trace_count(trace, TRACE_FLUSH), 1);
    assert_ok(bdrv_write_zeroes(bs, 0, 512));
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(trace_count(trace, TRACE_FLUSH), 2);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(close_flushes)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *trace = trace_insert(memory);
    BlockDriverState *bs = open_raw(trace, BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 0, 4096, 1));
    assert_ok(bdrv_close(bs));
    ck_assert_int_eq(trace_count(trace, TRACE_FLUSH), 1);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* Bug to guard against: the second fsync after a failed one says success. */
START_TEST(flush_that_failed_is_tried_again)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *fault = fault_insert(memory);
    BlockDriverState *bs = open_raw(fault, BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 0, 4096, 1));
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_FLUSH, .call = 1 });
    assert_fails(bdrv_flush(bs), -EIO);
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(fault_calls(fault), 2);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* Not even a failed write may be forgotten by the flush: it may have stored a
 * part. */
START_TEST(flush_covers_a_write_that_failed)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *fault = fault_insert(memory);
    BlockDriverState *trace = trace_insert(fault);
    BlockDriverState *bs = open_raw(trace, BDRV_O_RDWR);
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_WRITE, .call = 1,
                                   .stored_before = 512 });
    assert_fails(pattern_write(bs, 0, 4096, 1), -EIO);
    assert_ok(bdrv_flush(bs));
    ck_assert_int_eq(trace_count(trace, TRACE_FLUSH), 1);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------ drivers that misbehave */

typedef enum Mischief {
    TELLS_NOTHING, TELLS_NEGATIVE, TELLS_TOO_MUCH, BEHAVES
} Mischief;

static Mischief mischief;
static atomic_int inside;
static atomic_int most_inside;

static int toy_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

/* Sees how many threads are in the driver at once. */
static int toy_read(BlockDriverState *bs, void *buf, size_t bytes,
                    int64_t offset)
{
    int now = atomic_fetch_add(&inside, 1) + 1;
    int most = atomic_load(&most_inside);
    while (now > most &&
           !atomic_compare_exchange_weak(&most_inside, &most, now)) {
    }
    usleep(200);
    int result = bdrv_pread(bdrv_file(bs), buf, bytes, offset);
    atomic_fetch_sub(&inside, 1);
    return result;
}

static int toy_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                            BdrvExtent *extent)
{
    (void)bs, (void)offset;
    ck_assert_int_eq(extent->bytes, 0);
    ck_assert_ptr_null(extent->file);
    extent->state = BDRV_DATA;
    switch (mischief) {
    case TELLS_NOTHING:
        extent->bytes = 0;
        break;
    case TELLS_NEGATIVE:
        extent->bytes = -1;
        break;
    case TELLS_TOO_MUCH:
        extent->bytes = bytes + 1;
        break;
    case BEHAVES:
        extent->bytes = bytes;
        break;
    }
    return 0;
}

static const BlockDriver toy = {
    BDRV_DRIVER_HEAD, .name = "toy-mischief", .open = toy_open,
    .read = toy_read, .is_allocated = toy_is_allocated,
};

START_TEST(run_that_cannot_be_is_an_error_and_not_an_endless_loop)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs;
    BdrvExtent extent;
    assert_ok(bdrv_open_node(&bs, memory, "toy-mischief", NULL));
    for (mischief = TELLS_NOTHING; mischief < BEHAVES; mischief++) {
        assert_fails_saying(bdrv_is_allocated(bs, 0, 4096, &extent), -EIO,
                            "toy-mischief");
        assert_fails(bdrv_map(bs, 0, 4096, &extent), -EIO);
    }
    memset(&extent, 0x55, sizeof(extent));
    assert_ok(bdrv_is_allocated(bs, 0, 4096, &extent));
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

static void *read_often(void *opaque)
{
    uint8_t byte;
    for (int i = 0; i < 20; i++) {
        bdrv_pread(opaque, &byte, 1, 0);
    }
    return NULL;
}

START_TEST(driver_that_is_not_parallel_gets_one_request_at_a_time)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs;
    pthread_t threads[4];
    assert_ok(bdrv_open_node(&bs, memory, "toy-mischief", NULL));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_often, bs), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_eq(atomic_load(&most_inside), 1);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------------- raw and file */

START_TEST(raw_window_shows_a_part_of_the_file)
{
    BlockDriverState *memory = image_memory(100000);
    BlockDriverState *bs;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
        .options = "offset=1000,size=50000",
    };
    assert_ok(pattern_write(memory, 0, 100000, 1));
    assert_ok(bdrv_open_node(&bs, memory, "raw", &options));
    ck_assert_int_eq(bdrv_getlength(bs), 50000);
    uint8_t buf[50000];
    assert_ok(bdrv_pread(bs, buf, sizeof(buf), 0));
    ck_assert_ptr_null(pattern_check(buf, sizeof(buf), 1000, 1));
    memset(buf, 0, sizeof(buf));
    assert_ok(bdrv_pwrite(bs, buf, sizeof(buf), 0));
    assert_fails(bdrv_pwrite(bs, buf, 1, 50000), -ERANGE);
    assert_fails(bdrv_truncate(bs, 60000), -ENOTSUP);
    assert_ok(bdrv_close(bs));
    assert_pattern(memory, 0, 1000, 1);
    assert_pattern(memory, 1000, 50000, PATTERN_ZEROS);
    assert_pattern(memory, 51000, 49000, 1);

    options.options = "offset=100001";
    assert_fails_saying(bdrv_open_node(&bs, memory, "raw", &options), -EINVAL,
                        "offset");
    options.options = "offset=1,size=100000";
    assert_fails_saying(bdrv_open_node(&bs, memory, "raw", &options), -EINVAL,
                        "size");
    assert_ok(bdrv_close(memory));
}
END_TEST

/* data │ hole │ data */
START_TEST(holes_of_a_host_file_are_mapped_as_zeros)
{
    enum { PART = 1 << 20 };
    char *directory = host_directory_new();
    char *path = host_path(directory, "sparse");
    BdrvCreateOptions create = { .struct_size = sizeof(create),
                                 .size = 3 * PART };
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    BlockDriverState *bs;
    BdrvExtent extent;
    assert_ok(bdrv_create(path, "raw", &create));
    assert_ok(bdrv_open(&bs, path, "raw", &options));
    assert_ok(pattern_write(bs, 0, PART, 1));
    assert_ok(pattern_write(bs, 2 * PART, PART, 1));
    assert_ok(bdrv_map(bs, 0, 3 * PART, &extent));
    ck_assert_int_eq(extent.state, BDRV_DATA);
    ck_assert_int_eq(extent.bytes, PART);
    assert_ok(bdrv_map(bs, PART, 2 * PART, &extent));
    ck_assert_int_ne(extent.state, BDRV_DATA);
    ck_assert_int_eq(extent.bytes, PART);
    assert_ok(bdrv_map(bs, 2 * PART, PART, &extent));
    ck_assert_int_eq(extent.state, BDRV_DATA);
    assert_ok(bdrv_write_zeroes(bs, 0, PART));
    assert_pattern(bs, 0, PART, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
    free(path);
    host_directory_remove(directory);
}
END_TEST

START_TEST(file_that_shrinks_under_us_is_an_error_and_not_zeros)
{
    char *directory = host_directory_new();
    char *path = host_path(directory, "shrinking");
    uint8_t bytes[8192];
    BlockDriverState *bs;
    pattern_fill(bytes, sizeof(bytes), 0, 1);
    host_write_file(path, bytes, sizeof(bytes));
    assert_ok(bdrv_open(&bs, path, "raw", NULL));
    ck_assert_int_eq(truncate(path, 4096), 0);
    assert_ok(bdrv_pread(bs, bytes, 4096, 0));
    assert_fails_saying(bdrv_pread(bs, bytes, 4096, 4096), -EIO, "shrinking");
    assert_fails(bdrv_pread(bs, bytes, 8192, 0), -EIO);
    assert_ok(bdrv_close(bs));
    free(path);
    host_directory_remove(directory);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        sector_calls_show_no_partial_last_sector,
        sector_calls_on_plain_storage_know_the_range_too,
        storage_grows_where_a_write_ends_behind_it,
        storage_shrinks_and_its_tail_is_gone,
        large_scattered_request_is_whole,
        small_scattered_request_is_one_call_to_the_driver,
        null_piece_is_refused,
        flush_reaches_the_storage_only_when_there_is_something,
        close_flushes,
        flush_that_failed_is_tried_again,
        flush_covers_a_write_that_failed,
        run_that_cannot_be_is_an_error_and_not_an_endless_loop,
        driver_that_is_not_parallel_gets_one_request_at_a_time,
        raw_window_shows_a_part_of_the_file,
        holes_of_a_host_file_are_mapped_as_zeros,
        file_that_shrinks_under_us_is_an_error_and_not_zeros,
        NULL,
    };
    fault_register();
    trace_register();
    suite_register(&toy, toy.name);
    Suite *suite = suite_create("io");
    suite_add_case(suite, "front door", tests, 20);
    return suite;
}
