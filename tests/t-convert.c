/* SPDX-License-Identifier: MIT */
/*
 * t-convert.c - copying a disk into another: every byte arrives, what is zero is
 * neither read nor written where that can be avoided, and the result is the
 * same whatever the number of threads is.
 */
#include "bdrv-bytes.h"
#include "fault.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"
#include "trace.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static BdrvConvertOptions defaults(void)
{
    return (BdrvConvertOptions){ .struct_size = sizeof(BdrvConvertOptions) };
}

/* A source of data, holes and zeros that are stored, at odd places. */
static BlockDriverState *make_source(int64_t length)
{
    BlockDriverState *source = image_memory(length);
    for (int64_t at = 0; at < length; at += 300001) {
        assert_ok(pattern_write(source, at, bdrv_min(70001, length - at), 1));
    }
    for (int64_t at = 0; at < length; at += 900001) {
        assert_ok(pattern_write(source, at, bdrv_min(20003, length - at),
                                PATTERN_ZEROS));
    }
    return source;
}

static void assert_same(BlockDriverState *a, BlockDriverState *b,
                        int64_t b_offset)
{
    size_t length = (size_t)bdrv_getlength(a);
    uint8_t *found = malloc(length + 1);
    ck_assert_ptr_nonnull(found);
    uint8_t *wanted = image_memory_bytes(a);
    assert_ok(bdrv_pread(b, found, length, b_offset));
    const char *text = pattern_compare(found, wanted, length, 0);
    ck_assert_msg(text == NULL, "%s", text);
    free(wanted);
    free(found);
}

START_TEST(every_byte_arrives_whatever_the_length)
{
    static const int64_t lengths[] = {
        0, 1, 511, 512, 4095, 4097, MIB - 1, MIB, MIB + 1, 5 * MIB + 12345,
    };
    int64_t length = lengths[_i];
    BlockDriverState *source = make_source(length);
    BlockDriverState *target = image_memory(length);
    assert_ok(bdrv_convert(source, target, NULL));
    assert_same(source, target, 0);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(old_content_of_the_target_is_overwritten)
{
    BlockDriverState *source = make_source(3 * MIB + 7);
    BlockDriverState *target = image_memory(4 * MIB);
    assert_ok(pattern_write(target, 0, 4 * MIB, 9));
    assert_ok(bdrv_convert(source, target, NULL));
    assert_same(source, target, 0);
    assert_pattern(target, 3 * MIB + 7, MIB - 7, 9); /* beyond: untouched */
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(zeros_are_not_written_where_the_target_is_known_to_be_zero)
{
    BlockDriverState *source = make_source(3 * MIB);
    BlockDriverState *target = image_memory(3 * MIB);
    BlockDriverState *trace = trace_insert(target);
    BdrvConvertOptions options = defaults();
    options.flags = BDRV_CONVERT_TARGET_IS_ZERO;
    assert_ok(bdrv_convert(source, trace, &options));
    assert_same(source, target, 0);
    ck_assert_int_eq(trace_count(trace, TRACE_ZEROES), 0);
    size_t count = trace_calls(trace, NULL, 0);
    TraceCall *calls = calloc(count + 1, sizeof(*calls));
    ck_assert_ptr_nonnull(calls);
    trace_calls(trace, calls, count);
    for (size_t i = 0; i < count; i++) {
        uint8_t zeros[4096] = { 0 };
        if (calls[i].operation == TRACE_WRITE && calls[i].bytes >= 4096) {
            ck_assert_uint_ne(calls[i].hash, trace_hash(zeros, 4096));
        }
    }
    free(calls);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* Sum of what was moved by one kind of call. */
static int64_t bytes_of(BlockDriverState *trace, TraceOperation operation)
{
    size_t count = trace_calls(trace, NULL, 0);
    TraceCall *calls = calloc(count + 1, sizeof(*calls));
    int64_t bytes = 0;
    ck_assert_ptr_nonnull(calls);
    trace_calls(trace, calls, count);
    for (size_t i = 0; i < count; i++) {
        bytes += calls[i].operation == operation ? calls[i].bytes : 0;
    }
    free(calls);
    return bytes;
}

START_TEST(what_is_known_to_be_zero_is_not_read)
{
    BlockDriverState *source = image_memory(64 * MIB);
    BlockDriverState *target = image_memory(64 * MIB);
    assert_ok(pattern_write(source, 10 * MIB, 64 * KIB, 1));
    BlockDriverState *trace = trace_insert(source);
    BdrvConvertOptions options = defaults();
    options.flags = BDRV_CONVERT_TARGET_IS_ZERO;
    assert_ok(bdrv_convert(trace, target, &options));
    assert_pattern(target, 10 * MIB, 64 * KIB, 1);
    ck_assert_int_le(bytes_of(trace, TRACE_READ), 2 * MIB);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(what_the_target_reads_as_already_is_not_written)
{
    const int64_t length = 9 * MIB + 700;
    BlockDriverState *source = make_source(length);
    BlockDriverState *target = image_memory(length);
    BlockDriverState *trace = trace_insert(target);
    BdrvConvertOptions options = defaults();
    options.flags = BDRV_CONVERT_KEEP_SAME;
    assert_ok(bdrv_convert(source, trace, &options)); /* into nothing */
    assert_same(source, target, 0);
    trace_clear(trace);
    assert_ok(bdrv_convert(source, trace, &options));
    ck_assert_int_eq(trace_count(trace, TRACE_WRITE), 0);
    ck_assert_int_eq(trace_count(trace, TRACE_ZEROES), 0);
    assert_ok(pattern_write(target, 5 * MIB, 1, 9));  /* one byte, */
    assert_ok(pattern_write(target, length - 1, 1, 9)); /* … the last one, */
    assert_ok(pattern_write(target, 250000, 10000, 9)); /* … and what is nothing there */
    assert_ok(bdrv_convert(source, trace, &options));
    assert_same(source, target, 0);
    ck_assert_int_le(bytes_of(trace, TRACE_WRITE), 5 * 64 * KIB);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* How many bytes a conversion writes as data, of 64 KiB in which every second
 * block of `block` bytes is zero. */
static int64_t data_written(int64_t block, int64_t sparse_size)
{
    enum { LENGTH = 64 * KIB };
    BlockDriverState *source = image_memory(LENGTH);
    BlockDriverState *target = image_memory(LENGTH);
    BlockDriverState *trace = trace_insert(target);
    BdrvConvertOptions options = defaults();
    options.flags = BDRV_CONVERT_TARGET_IS_ZERO;
    options.sparse_size = sparse_size;
    assert_ok(pattern_write(source, 0, LENGTH, 1));
    for (int64_t at = 0; at < LENGTH; at += 2 * block) {
        assert_ok(pattern_write(source, at, block, PATTERN_ZEROS));
    }
    assert_ok(bdrv_convert(source, trace, &options));
    assert_same(source, target, 0);
    int64_t bytes = bytes_of(trace, TRACE_WRITE);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
    return bytes;
}

START_TEST(sparse_size_decides_how_short_a_hole_may_be)
{
    ck_assert_int_eq(data_written(4 * KIB, 0), 32 * KIB);
    ck_assert_int_eq(data_written(4 * KIB, 4 * KIB), 32 * KIB);
    ck_assert_int_eq(data_written(4 * KIB, 8 * KIB), 64 * KIB);
    ck_assert_int_eq(data_written(512, 512), 32 * KIB);
    ck_assert_int_eq(data_written(512, 0), 64 * KIB);
    ck_assert_int_eq(data_written(4 * KIB, -1), 64 * KIB);
}
END_TEST

START_TEST(target_offset_moves_everything)
{
    BlockDriverState *source = make_source(2 * MIB + 100);
    BlockDriverState *target = image_memory(4 * MIB);
    BdrvConvertOptions options = defaults();
    assert_ok(pattern_write(target, 0, 4 * MIB, 9));
    options.target_offset = 12345;
    assert_ok(bdrv_convert(source, target, &options));
    assert_same(source, target, 12345);
    assert_pattern(target, 0, 12345, 9);
    assert_pattern(target, 12345 + 2 * MIB + 100, MIB, 9);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* Storage grows; a disk does not. */
static BlockDriverState *raw_on(BlockDriverState *memory, unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    assert_ok(bdrv_open_node(&bs, memory, "raw", &options));
    return bs;
}

START_TEST(target_that_is_too_short_or_read_only_is_refused_untouched)
{
    BlockDriverState *source = make_source(MIB);
    BlockDriverState *memory = image_memory(MIB);
    assert_ok(pattern_write(memory, 0, MIB, 9));
    BlockDriverState *target = raw_on(memory, BDRV_O_RDWR);
    BdrvConvertOptions options = defaults();
    options.target_offset = 1;
    assert_fails(bdrv_convert(source, target, &options), -ENOSPC);
    options.target_offset = INT64_MAX;
    assert_fails(bdrv_convert(source, target, &options), -ENOSPC);
    assert_ok(bdrv_close(target));
    target = raw_on(memory, 0);
    assert_fails(bdrv_convert(source, target, NULL), -EROFS);
    assert_ok(bdrv_close(target));
    assert_pattern(memory, 0, MIB, 9);
    assert_ok(bdrv_close(memory));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(nonsense_is_refused)
{
    BlockDriverState *source = make_source(MIB);
    BlockDriverState *target = image_memory(MIB);
    BdrvConvertOptions options = defaults();
    options.sparse_size = 1000;
    assert_fails_saying(bdrv_convert(source, target, &options), -EINVAL,
                        "sparse_size");
    options = defaults();
    options.flags = 1u << 20;
    assert_fails_saying(bdrv_convert(source, target, &options), -EINVAL, "flags");
    options = defaults();
    options.target_offset = -1;
    ck_assert_int_lt(bdrv_convert(source, target, &options), 0);
    assert_fails(bdrv_convert(source, NULL, NULL), -EINVAL);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* ------------------------------------------------------ progress and failure */

typedef struct Watch {
    int64_t last;
    int64_t total;
    int calls;
    int64_t stop_at; /* 0: never */
} Watch;

static int watch(void *opaque, int64_t done, int64_t total)
{
    Watch *w = opaque;
    if (done < w->last) {
        w->total = -1; /* not monotonous */
    } else if (w->total >= 0) {
        w->total = total;
    }
    w->last = done;
    w->calls++;
    return w->stop_at > 0 && done >= w->stop_at;
}

START_TEST(progress_goes_up_to_the_end)
{
    BlockDriverState *source = make_source(9 * MIB + 5);
    BlockDriverState *target = image_memory(9 * MIB + 5);
    Watch w = { 0 };
    BdrvConvertOptions options = defaults();
    options.progress = watch;
    options.progress_opaque = &w;
    assert_ok(bdrv_convert(source, target, &options));
    ck_assert_int_eq(w.last, 9 * MIB + 5);
    ck_assert_int_eq(w.total, 9 * MIB + 5);
    ck_assert_int_ge(w.calls, 2);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(progress_callback_stops_it)
{
    BlockDriverState *source = image_memory(0);
    BlockDriverState *target = image_memory(20 * MIB);
    assert_ok(pattern_write(source, 0, 20 * MIB, 1));
    Watch w = { .stop_at = 3 * MIB };
    BdrvConvertOptions options = defaults();
    options.progress = watch;
    options.progress_opaque = &w;
    assert_fails(bdrv_convert(source, target, &options), -ECANCELED);
    ck_assert_int_lt(w.last, 20 * MIB);
    assert_pattern(target, 19 * MIB, MIB, PATTERN_ZEROS);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* Also: the message comes from another thread than ours. */
START_TEST(error_of_either_side_is_told_with_its_message)
{
    BlockDriverState *source = make_source(8 * MIB);
    BlockDriverState *target = image_memory(8 * MIB);
    BlockDriverState *fault = fault_insert(source);
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_READ, .call = 3,
                                   .error = ENXIO });
    assert_fails_saying(bdrv_convert(fault, target, NULL), -ENXIO, "injected");
    assert_ok(bdrv_close(fault));

    fault = fault_insert(target);
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_WRITE, .call = 3,
                                   .error = ENOSPC });
    assert_fails_saying(bdrv_convert(source, fault, NULL), -ENOSPC, "injected");
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* ---------------------------------------------------------------- threads */

static BlockDriverState *convert_with(BlockDriverState *source,
                                      const ImageKind *kind, unsigned threads)
{
    Image *image = image_new(kind, bdrv_getlength(source));
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    BdrvConvertOptions options = defaults();
    options.threads = threads;
    options.flags = BDRV_CONVERT_TARGET_IS_ZERO;
    assert_ok(bdrv_convert(source, disk, &options));
    assert_same(source, disk, 0);
    image_close(image, disk);
    BlockDriverState *copy = image_memory_copy(image->storage);
    image_free(image);
    return copy;
}

/* An allocating target shows the order in which it was written. */
START_TEST(output_is_the_same_whatever_the_number_of_threads)
{
    static const ImageKind kind = {
        .name = "vmdk without randomness", .format = "vmdk",
        .create_options = "cid=12345678", .open_options = "cid=87654321",
        .facts = IMAGE_IN_MEMORY, .cluster = 64 * KIB,
    };
    BlockDriverState *source = make_source(20 * MIB);
    BlockDriverState *one = convert_with(source, &kind, 1);
    BlockDriverState *many = convert_with(source, &kind, _i == 0 ? 2 : 8);
    ck_assert_int_eq(bdrv_getlength(one), bdrv_getlength(many));
    uint8_t *a = image_memory_bytes(one);
    uint8_t *b = image_memory_bytes(many);
    ck_assert_int_eq(memcmp(a, b, (size_t)bdrv_getlength(one)), 0);
    free(a);
    free(b);
    assert_ok(bdrv_close(one));
    assert_ok(bdrv_close(many));
    assert_ok(bdrv_close(source));
}
END_TEST

/* Every kind as the source and as the target. */
START_TEST(every_kind_converts_into_memory_and_back)
{
    const ImageKind *kind = image_kind((size_t)_i);
    Image *image = image_new(kind, 3 * MIB + 1024);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    BlockDriverState *source = make_source(image->size);
    BlockDriverState *back = image_memory(image->size);
    assert_ok(pattern_write(back, 0, image->size, 9));
    assert_ok(bdrv_convert(source, disk, NULL));
    assert_ok(bdrv_convert(disk, back, NULL));
    if ((kind->facts & IMAGE_EMPTY) != 0) {
        assert_pattern(back, 0, image->size, PATTERN_ZEROS);
    } else {
        assert_same(source, back, 0);
    }
    assert_ok(bdrv_close(back));
    assert_ok(bdrv_close(source));
    image_close(image, disk);
    image_free(image);
}
END_TEST

/* What the kind holds arrives. */
START_TEST(every_kind_that_can_be_read_converts_into_memory)
{
    Image *image = image_new(image_kind((size_t)_i), 6 * MIB + 1024);
    BlockDriverState *disk = image_open(image, 0);
    BlockDriverState *back = image_memory(image->size);
    assert_ok(bdrv_convert(disk, back, NULL));
    uint8_t *found = image_memory_bytes(back);
    ck_assert_int_eq(memcmp(found, image->expected, (size_t)image->size), 0);
    free(found);
    assert_ok(bdrv_close(back));
    image_close(image, disk);
    image_free(image);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        old_content_of_the_target_is_overwritten,
        zeros_are_not_written_where_the_target_is_known_to_be_zero,
        what_is_known_to_be_zero_is_not_read,
        what_the_target_reads_as_already_is_not_written,
        sparse_size_decides_how_short_a_hole_may_be,
        target_offset_moves_everything,
        target_that_is_too_short_or_read_only_is_refused_untouched,
        nonsense_is_refused,
        progress_goes_up_to_the_end,
        progress_callback_stops_it,
        error_of_either_side_is_told_with_its_message,
        NULL,
    };
    const TTest *const kind_tests[] = {
        every_kind_converts_into_memory_and_back, NULL,
    };
    const TTest *const source_tests[] = {
        every_kind_that_can_be_read_converts_into_memory, NULL,
    };
    Suite *suite = suite_create("convert");
    image_register_drivers();
    TCase *tcase = suite_add_case(suite, "engine", tests, 60);
    tcase_add_loop_test(tcase, every_byte_arrives_whatever_the_length, 0, 10);
    tcase_add_loop_test(tcase, output_is_the_same_whatever_the_number_of_threads, 0, 2);
    image_add_loops_over(IMAGE_WRITABLE, suite, "kinds", kind_tests, 60);
    image_add_loops_over(IMAGE_READABLE, suite, "sources", source_tests, 60);
    return suite;
}
