/* SPDX-License-Identifier: MIT */
/*
 * t-convert-options.c - what a conversion can be asked for beside the bytes:
 * little memory, a rate, to go on over what cannot be read, help of the host.
 */
#include <string.h>
#include <time.h>

#include "bdrv-bytes.h"
#include "fault.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static BdrvConvertOptions defaults(void)
{
    return (BdrvConvertOptions){ .struct_size = sizeof(BdrvConvertOptions) };
}

static BlockDriverState *full_source(int64_t length)
{
    BlockDriverState *source = image_memory(length);
    assert_ok(pattern_write(source, 0, length, 1));
    return source;
}

START_TEST(memory_bounds_the_windows_and_changes_no_byte)
{
    BlockDriverState *source = full_source(9 * MIB);
    BdrvConvertOptions options = defaults();
    options.max_memory = 100 * KIB;
    options.threads = 8;
    BlockDriverState *target = image_memory(9 * MIB);
    assert_fails_saying(bdrv_convert(source, target, &options), -EINVAL, "max_memory");
    options.max_memory = 2 * MIB;
    assert_ok(bdrv_convert(source, target, &options));
    assert_pattern(target, 0, 9 * MIB, 1);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(order_and_offload_are_allowed_and_change_no_byte)
{
    const unsigned flags[] = { BDRV_CONVERT_UNORDERED, BDRV_CONVERT_OFFLOAD,
                               BDRV_CONVERT_UNORDERED | BDRV_CONVERT_OFFLOAD };
    BlockDriverState *source = full_source(9 * MIB + 77);
    BlockDriverState *target = image_memory(9 * MIB + 77);
    BdrvConvertOptions options = defaults();
    options.threads = 4;
    options.flags = flags[_i];
    assert_ok(bdrv_convert(source, target, &options));
    assert_pattern(target, 0, 9 * MIB + 77, 1);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A lower bound only: a slow machine may take as long as it likes. */
START_TEST(rate_is_kept_below_the_limit)
{
    BlockDriverState *source = full_source(3 * MIB);
    BlockDriverState *target = image_memory(3 * MIB);
    BdrvConvertOptions options = defaults();
    options.rate = 12 * MIB;
    int64_t start = milliseconds();
    assert_ok(bdrv_convert(source, target, &options));
    ck_assert_int_ge(milliseconds() - start, 240);
    options.rate = -1;
    assert_fails_saying(bdrv_convert(source, target, &options), -EINVAL, "rate");
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

static int stop_after_a_window(void *opaque, int64_t done, int64_t total)
{
    (void)opaque;
    (void)total;
    return done > 0;
}

START_TEST(it_can_be_stopped_while_it_waits_for_the_rate)
{
    BlockDriverState *source = full_source(2 * MIB);
    BlockDriverState *target = image_memory(2 * MIB);
    BdrvConvertOptions options = defaults();
    options.rate = 1; /* three weeks */
    options.progress = stop_after_a_window;
    assert_fails(bdrv_convert(source, target, &options), -ECANCELED);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

/* ----------------------------------------------------------------- salvage */

typedef struct Lost {
    int calls;
    int64_t bytes;
    int64_t last_end; /* -1: not in the order of the disk */
    char reason[1024];
} Lost;

static void note_lost(void *opaque, int64_t offset, int64_t bytes, const char *reason)
{
    Lost *lost = opaque;
    lost->last_end = lost->last_end >= 0 && offset >= lost->last_end ? offset + bytes : -1;
    lost->calls++;
    lost->bytes += bytes;
    snprintf(lost->reason, sizeof(lost->reason), "%s", reason);
}

/* The driver of a disk with two sectors that cannot be read. */
enum { BAD_ONE = 700 * KIB + 512, BAD_TWO = 5 * MIB };

static int hits(int64_t bad, int64_t offset, int64_t bytes)
{
    return offset < bad + BDRV_SECTOR_SIZE && bad < offset + bytes;
}

static int scratched_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    BlockDriverState *disk = opaque;
    if (hits(BAD_ONE, offset, (int64_t)bytes) || hits(BAD_TWO, offset, (int64_t)bytes)) {
        return -EIO;
    }
    return bdrv_pread(disk, buf, bytes, offset);
}

static int64_t scratched_length(void *opaque)
{
    return bdrv_getlength(opaque);
}

static BlockDriverState *scratched(BlockDriverState *disk)
{
    BdrvIo io = { .struct_size = sizeof(io), .read = scratched_read,
                  .getlength = scratched_length };
    BlockDriverState *bs;
    assert_ok(bdrv_open_io(&bs, "scratched", &io, disk, "raw", NULL));
    return bs;
}

START_TEST(what_cannot_be_read_is_told_and_is_zeros)
{
    BlockDriverState *disk = full_source(6 * MIB);
    BlockDriverState *source = scratched(disk);
    BlockDriverState *target = image_memory(6 * MIB);
    assert_ok(pattern_write(target, 0, 6 * MIB, 9));
    assert_fails(bdrv_convert(source, target, NULL), -EIO);
    Lost lost = { 0 };
    BdrvConvertOptions options = defaults();
    options.threads = (unsigned)_i;
    options.lost = note_lost;
    options.lost_opaque = &lost;
    assert_ok(bdrv_convert(source, target, &options));
    ck_assert_int_eq(lost.calls, 2);
    ck_assert_int_eq(lost.bytes, 2 * BDRV_SECTOR_SIZE);
    ck_assert_int_eq(lost.last_end, BAD_TWO + BDRV_SECTOR_SIZE);
    ck_assert_ptr_nonnull(strstr(lost.reason, "scratched"));
    assert_pattern(target, 0, BAD_ONE, 1);
    assert_pattern(target, BAD_ONE, BDRV_SECTOR_SIZE, PATTERN_ZEROS);
    assert_pattern(target, BAD_ONE + 512, BAD_TWO - BAD_ONE - 512, 1);
    assert_pattern(target, BAD_TWO, BDRV_SECTOR_SIZE, PATTERN_ZEROS);
    assert_pattern(target, BAD_TWO + 512, MIB - 512, 1);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
    assert_ok(bdrv_close(disk));
}
END_TEST

/* A hundred calls into an image, its tables cannot be read any more either. */
START_TEST(what_cannot_be_looked_up_is_lost_too)
{
    static const ImageKind kind = {
        .name = "vmdk", .format = "vmdk", .facts = IMAGE_IN_MEMORY, .cluster = 64 * KIB,
    };
    Image *image = image_new(&kind, 80 * MIB);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    for (int64_t at = 0; at < 80 * MIB; at += 40 * MIB) {
        assert_ok(pattern_write(disk, at, MIB, 1));
    }
    image_close(image, disk);
    BlockDriverState *fault = fault_insert(image->storage);
    BlockDriverState *source, *target = image_memory(80 * MIB);
    assert_ok(bdrv_open_node(&source, fault, "vmdk", NULL));
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_READ, .call = 1,
                                   .life = FAULT_FOR_EVER });
    Lost lost = { 0 };
    BdrvConvertOptions options = defaults();
    options.lost = note_lost;
    options.lost_opaque = &lost;
    assert_ok(bdrv_convert(source, target, &options));
    ck_assert_int_gt(lost.bytes, 0);
    ck_assert_int_ge(lost.last_end, 0);
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
    assert_ok(bdrv_close(fault));
    image_free(image);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        memory_bounds_the_windows_and_changes_no_byte,
        rate_is_kept_below_the_limit,
        it_can_be_stopped_while_it_waits_for_the_rate,
        what_cannot_be_looked_up_is_lost_too,
        NULL,
    };
    Suite *suite = suite_create("convert-options");
    image_register_drivers();
    TCase *tcase = suite_add_case(suite, "options", tests, 60);
    tcase_add_loop_test(tcase, order_and_offload_are_allowed_and_change_no_byte, 0, 3);
    tcase_add_loop_test(tcase, what_cannot_be_read_is_told_and_is_zeros, 1, 4);
    return suite;
}
