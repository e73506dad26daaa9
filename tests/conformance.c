/* SPDX-License-Identifier: MIT */
/*
 * conformance.c - the contract of bdrv.h as test cases, each of which runs on
 * every kind of image (tests/lib/kinds.c).  What a user may rely on whatever
 * the format is stands here; what is_allocated tells is in t-extents.c, what
 * happens when things go wrong in t-faults.c, t-powercut.c and t-threads.c, a
 * long random session in t-random.c; what only one format knows is in that
 * format's own suite.
 *
 * A driver is finished when its kinds pass here and there.
 */
#include <inttypes.h>

#include "bdrv-bytes.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    TAIL = 3 * BDRV_SECTOR_SIZE /* so that the last cluster is partial */
};

static const ImageKind *kind; /* of the test that runs */
static Image *image;
static BlockDriverState *disk;

static int64_t disk_size(void)
{
    return bdrv_max(4 * MIB, 5 * kind->cluster) + TAIL;
}

static void begin(int index, unsigned flags)
{
    kind = image_kind((size_t)index);
    image = image_new(kind, disk_size());
    disk = image_open(image, flags);
}

/* What was written stays right, for the handle, and for the next one. */
static void end(void)
{
    image_assert(image, disk);
    image_close(image, disk);
    disk = image_open(image, 0);
    if ((kind->facts & IMAGE_FORGETS) == 0) {
        image_assert(image, disk);
    }
    image_close(image, disk);
    image_free(image);
}

/* ---------------------------------------------------------------- reading */

START_TEST(fresh_image_reads_as_zeros_or_as_its_parent)
{
    begin(_i, 0);
    image_assert(image, disk);
    end();
}
END_TEST

START_TEST(length_is_what_was_asked_for)
{
    begin(_i, 0);
    ck_assert_int_eq(bdrv_getlength(disk), image->size);
    ck_assert_str_eq(bdrv_format(disk), kind->format);
    ck_assert_int_gt((int)strlen(bdrv_filename(disk)), 0);
    end();
}
END_TEST

/* ---------------------------------------------------------------- writing */

/* One write that begins `before` bytes in front of a border and ends `after`
 * bytes behind it. */
static void write_around(int64_t border, int64_t before, int64_t after,
                         unsigned generation)
{
    int64_t first = bdrv_max(border - before, 0);
    int64_t last = bdrv_min(border + after, image->size);
    if (last > first) {
        image_write(image, disk, first, last - first, generation);
        int64_t from = bdrv_max(first - 4 * KIB, 0);
        int64_t to = bdrv_min(last + 4 * KIB, image->size);
        image_assert_range(image, disk, from, to - from);
    }
}

START_TEST(writes_around_cluster_borders_read_back)
{
    static const int sizes[] = { 0, 1, 511, 512, 513, 4096, 5000 };
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
    begin(_i, BDRV_O_RDWR);
    const int64_t borders[] = {
        0, kind->cluster, 2 * kind->cluster, 2 * MIB, 4 * MIB, image->size,
    };
    unsigned generation = 1;
    for (size_t b = 0; b < sizeof(borders) / sizeof(borders[0]); b++) {
        for (size_t i = 0; i < SIZES * SIZES; i++) {
            write_around(borders[b], sizes[i / SIZES], sizes[i % SIZES],
                         generation++);
        }
    }
    end();
}
END_TEST

START_TEST(one_byte_writes_change_one_byte)
{
    begin(_i, BDRV_O_RDWR);
    const int64_t places[] = {
        0, 1, 511, 512, kind->cluster - 1, kind->cluster, kind->cluster + 1,
        3 * kind->cluster + 77, image->size - 1,
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint8_t byte = (uint8_t)(0xa0 + i);
        assert_ok(bdrv_pwrite(disk, &byte, 1, places[i]));
        image_expect(image, places[i], &byte, 1);
        image_assert(image, disk);
    }
    end();
}
END_TEST

START_TEST(writes_over_many_clusters_read_back)
{
    begin(_i, BDRV_O_RDWR);
    image_write(image, disk, 0, image->size, 1);
    image_assert(image, disk);
    image_write(image, disk, kind->cluster / 2, 3 * kind->cluster, 2);
    image_write(image, disk, 777, 3 * MIB, 3);
    image_write(image, disk, kind->cluster, 2 * kind->cluster, 4);
    end();
}
END_TEST

START_TEST(writes_in_falling_order_read_back)
{
    /* Neighbours on the disk do not lie together in the file then. */
    begin(_i, BDRV_O_RDWR);
    int64_t step = kind->cluster < 16 * KIB ? 16 * KIB + 512 : kind->cluster;
    for (int64_t at = image->size - step; at >= 0; at -= step) {
        image_write(image, disk, at, step, (unsigned)(1 + at / step % 50));
    }
    end();
}
END_TEST

START_TEST(scattered_pieces_are_one_request)
{
    begin(_i, BDRV_O_RDWR);
    enum { TOTAL = 9000 };
    uint8_t out[TOTAL];
    uint8_t in[TOTAL];
    int64_t offset = kind->cluster - 100;
    pattern_fill(out, TOTAL, offset, 7);
    const BdrvIovec pieces[] = {
        { out, 1 }, { out + 1, 0 }, { out + 1, 4000 }, { out + 4001, 4999 },
    };
    assert_ok(bdrv_pwritev(disk, pieces, 4, offset));
    image_expect(image, offset, out, TOTAL);
    image_assert(image, disk);

    const BdrvIovec targets[] = {
        { in, 4500 }, { in + 4500, 4499 }, { in + 8999, 1 },
    };
    assert_ok(bdrv_preadv(disk, targets, 3, offset));
    ck_assert_int_eq(memcmp(in, image->expected + offset, TOTAL), 0);
    assert_ok(bdrv_preadv(disk, NULL, 0, offset));
    assert_fails(bdrv_preadv(disk, targets, -1, offset), -EINVAL);
    assert_fails(bdrv_preadv(disk, NULL, 1, offset), -EINVAL);
    assert_fails(bdrv_preadv(disk, targets, 3, image->size - 100), -ERANGE);
    end();
}
END_TEST

START_TEST(sector_calls_are_the_byte_calls_times_512)
{
    begin(_i, BDRV_O_RDWR);
    uint8_t buf[4 * BDRV_SECTOR_SIZE];
    pattern_fill(buf, sizeof(buf), 9 * BDRV_SECTOR_SIZE, 5);
    assert_ok(bdrv_write(disk, 9, buf, 4));
    image_expect(image, 9 * BDRV_SECTOR_SIZE, buf, sizeof(buf));
    memset(buf, 0x55, sizeof(buf));
    assert_ok(bdrv_read(disk, 10, buf, 2));
    ck_assert_int_eq(memcmp(buf, image->expected + 10 * BDRV_SECTOR_SIZE,
                            2 * BDRV_SECTOR_SIZE), 0);
    ck_assert_uint_eq(buf[2 * BDRV_SECTOR_SIZE], 0x55);

    int64_t sectors = image->size / BDRV_SECTOR_SIZE;
    assert_ok(bdrv_read(disk, sectors - 1, buf, 1));
    assert_ok(bdrv_read(disk, 0, buf, 0));
    assert_fails(bdrv_read(disk, sectors, buf, 1), -ERANGE);
    assert_fails(bdrv_read(disk, sectors - 1, buf, 2), -ERANGE);
    assert_fails(bdrv_read(disk, INT64_MAX, buf, 1), -ERANGE);
    assert_fails(bdrv_read(disk, -1, buf, 1), -EINVAL);
    assert_fails(bdrv_read(disk, 0, buf, -1), -EINVAL);
    assert_fails(bdrv_write(disk, 0, buf, -1), -EINVAL);
    end();
}
END_TEST

/* ------------------------------------------------------------------ edges */

START_TEST(reads_outside_the_disk_are_refused)
{
    begin(_i, 0);
    uint8_t byte[2];
    int64_t size = image->size;
    assert_ok(bdrv_pread(disk, byte, 1, 0));
    assert_ok(bdrv_pread(disk, byte, 1, size - 1));
    assert_ok(bdrv_pread(disk, byte, 0, 0));
    assert_ok(bdrv_pread(disk, byte, 0, size));
    assert_fails(bdrv_pread(disk, byte, 1, size), -ERANGE);
    assert_fails(bdrv_pread(disk, byte, 2, size - 1), -ERANGE);
    assert_fails(bdrv_pread(disk, byte, 1, INT64_MAX), -ERANGE);
    assert_fails(bdrv_pread(disk, byte, SIZE_MAX / 2, 1), -ERANGE);
    assert_fails(bdrv_pread(disk, byte, 1, -1), -EINVAL);
    assert_fails(bdrv_pread(disk, byte, 1, INT64_MIN), -EINVAL);
    end();
}
END_TEST

START_TEST(writes_outside_the_disk_are_refused)
{
    begin(_i, BDRV_O_RDWR);
    const uint8_t byte[2] = { 1, 2 };
    int64_t size = image->size;
    image_write(image, disk, size - 1, 1, 1);
    assert_ok(bdrv_pwrite(disk, byte, 0, 0));
    assert_ok(bdrv_pwrite(disk, byte, 0, size));
    assert_fails(bdrv_pwrite(disk, byte, 1, -1), -EINVAL);
    assert_fails(bdrv_write_zeroes(disk, -1, 1), -EINVAL);
    assert_fails(bdrv_write_zeroes(disk, 0, -1), -EINVAL);
    if ((kind->facts & IMAGE_GROWS) == 0) {
        assert_fails(bdrv_pwrite(disk, byte, 1, size), -ERANGE);
        assert_fails(bdrv_pwrite(disk, byte, 2, size - 1), -ERANGE);
        assert_fails(bdrv_pwrite(disk, byte, 1, INT64_MAX), -ERANGE);
        assert_fails(bdrv_pwrite(disk, byte, SIZE_MAX / 2, 1), -ERANGE);
        assert_fails(bdrv_write_zeroes(disk, size - 1, 2), -ERANGE);
        assert_fails(bdrv_write_zeroes(disk, 1, INT64_MAX), -ERANGE);
    }
    end();
}
END_TEST

START_TEST(questions_outside_the_disk_are_refused)
{
    begin(_i, 0);
    BdrvExtent extent;
    int64_t size = image->size;
    assert_fails(bdrv_is_allocated(disk, -1, 1, &extent), -EINVAL);
    assert_fails(bdrv_is_allocated(disk, 0, -1, &extent), -EINVAL);
    assert_fails(bdrv_is_allocated(disk, size, 1, &extent), -ERANGE);
    assert_fails(bdrv_is_allocated(disk, 1, INT64_MAX, &extent), -ERANGE);
    assert_fails(bdrv_map(disk, -1, 1, &extent), -EINVAL);
    assert_fails(bdrv_map(disk, size, 1, &extent), -ERANGE);
    end();
}
END_TEST

START_TEST(null_where_a_buffer_is_needed_is_refused)
{
    begin(_i, BDRV_O_RDWR);
    assert_fails(bdrv_pread(disk, NULL, 1, 0), -EINVAL);
    assert_fails(bdrv_pwrite(disk, NULL, 1, 0), -EINVAL);
    assert_fails(bdrv_read(disk, 0, NULL, 1), -EINVAL);
    assert_fails(bdrv_write(disk, 0, NULL, 1), -EINVAL);
    assert_fails(bdrv_is_allocated(disk, 0, 1, NULL), -EINVAL);
    assert_fails(bdrv_map(disk, 0, 1, NULL), -EINVAL);
    assert_fails(bdrv_get_info(disk, NULL), -EINVAL);
    assert_fails(bdrv_get_geometry(disk, NULL), -EINVAL);
    end();
}
END_TEST

START_TEST(read_only_handle_refuses_every_change)
{
    begin(_i, 0);
    ck_assert_int_eq(bdrv_is_writable(disk), 0);
    uint8_t sector[BDRV_SECTOR_SIZE] = { 1 };
    assert_fails(bdrv_pwrite(disk, sector, 1, 0), -EROFS);
    assert_fails(bdrv_write(disk, 0, sector, 1), -EROFS);
    assert_fails(bdrv_write_zeroes(disk, 0, 512), -EROFS);
    assert_fails(bdrv_truncate(disk, image->size + 512), -EROFS);
    ck_assert_int_lt(bdrv_discard(disk, 0, 512), 0);
    assert_ok(bdrv_flush(disk));
    end();
}
END_TEST

/* -------------------------------------------------------------- zero ranges */

START_TEST(write_zeroes_makes_exactly_the_range_zero)
{
    begin(_i, BDRV_O_RDWR);
    int64_t cluster = kind->cluster;
    image_write(image, disk, 0, image->size, 1);
    image_write_zeroes(image, disk, cluster, cluster);
    image_write_zeroes(image, disk, 2 * cluster + 1, 1);
    image_write_zeroes(image, disk, 3 * cluster - 700, 1400);
    image_write_zeroes(image, disk, image->size - 600, 600);
    image_write_zeroes(image, disk, 1 * MIB + 5, 2 * MIB);
    image_write_zeroes(image, disk, 17, 0);
    image_assert(image, disk);
    image_write(image, disk, cluster + 512, 512, 2);
    image_write(image, disk, 2 * MIB - 3, 7, 3);
    end();
}
END_TEST

START_TEST(write_zeroes_on_a_fresh_image_hides_the_parent)
{
    begin(_i, BDRV_O_RDWR);
    image_write_zeroes(image, disk, kind->cluster + 100, 2 * MIB);
    image_assert(image, disk);
    image_write_zeroes(image, disk, 0, image->size);
    image_assert(image, disk);
    /* A write into a cluster of zeros must not bring the parent back. */
    image_write(image, disk, kind->cluster + 5, 1, 1);
    image_write(image, disk, image->size - 1, 1, 1);
    end();
}
END_TEST

START_TEST(discard_leaves_old_bytes_or_zeros_and_keeps_the_rest)
{
    begin(_i, BDRV_O_RDWR);
    image_write(image, disk, 0, image->size, 1);
    const int64_t ranges[][2] = {
        { kind->cluster, kind->cluster },
        { 2 * kind->cluster + 100, 3 },
        { 1 * MIB + 100, MIB },
        { image->size - TAIL, TAIL },
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        image_discard(image, disk, ranges[i][0], ranges[i][1]);
        image_assert(image, disk);
    }
    assert_fails(bdrv_discard(disk, -1, 1), -EINVAL);
    end();
}
END_TEST

/* ---------------------------------------------------------------- looking */

static void write_islands(void)
{
    image_write(image, disk, 100, 5, 1);
    image_write(image, disk, 2 * kind->cluster, kind->cluster, 2);
    image_write_zeroes(image, disk, 3 * kind->cluster, kind->cluster);
    image_write(image, disk, 3 * MIB - 1, 513, 3);
    image_write(image, disk, image->size - 1, 1, 4);
}

static void count_nesting(void *opaque, const BdrvDetail *detail)
{
    int *depth = opaque;
    switch (detail->kind) {
    case BDRV_DETAIL_OBJECT_BEGIN:
    case BDRV_DETAIL_LIST_BEGIN:
        ++*depth;
        break;
    case BDRV_DETAIL_END:
        ck_assert_int_gt((*depth)--, 0);
        break;
    case BDRV_DETAIL_STRING:
        ck_assert_ptr_nonnull(detail->string);
        break;
    case BDRV_DETAIL_NUMBER:
    case BDRV_DETAIL_BOOL:
        break;
    }
}

START_TEST(info_geometry_and_details_make_sense)
{
    begin(_i, BDRV_O_RDWR);
    write_islands();
    BdrvInfo info = { .struct_size = sizeof(info) };
    assert_ok(bdrv_get_info(disk, &info));
    ck_assert_int_eq(info.length, image->size);
    ck_assert_int_ge(info.cluster_size, 0);
    ck_assert_int_ge(info.host_bytes, -1);
    if ((kind->facts & IMAGE_MAPS) != 0) {
        ck_assert_int_eq(info.cluster_size, kind->cluster);
    }
    ck_assert_int_eq(info.encrypted, 0);
    if (kind->parent_format != NULL) {
        ck_assert_str_eq(info.backing_filename, "parent");
    }

    BdrvGeometry geometry;
    assert_ok(bdrv_get_geometry(disk, &geometry));
    ck_assert_uint_ge(geometry.cylinders, 1);
    ck_assert_uint_ge(geometry.heads, 1);
    ck_assert_uint_ge(geometry.sectors, 1);

    int depth = 0;
    assert_ok(bdrv_get_details(disk, count_nesting, &depth));
    ck_assert_int_eq(depth, 0);
    end();
}
END_TEST

/* -------------------------------------------------------------- lifecycle */

START_TEST(content_survives_close_and_open)
{
    begin(_i, BDRV_O_RDWR);
    for (unsigned round = 1; round <= 4; round++) {
        image_write(image, disk, round * 100000, 100000, round);
        image_write_zeroes(image, disk, round * 300000, 5000);
        image_close(image, disk);
        disk = image_open(image, BDRV_O_RDWR);
        image_assert(image, disk);
    }
    end();
}
END_TEST

START_TEST(flushed_content_is_in_the_file_while_the_handle_is_open)
{
    begin(_i, BDRV_O_RDWR);
    if (image->storage != NULL) {
        write_islands();
        assert_ok(bdrv_flush(disk));
        BlockDriverState *copy = image_memory_copy(image->storage);
        BlockDriverState *second;
        assert_ok(image_try_open_on(image, copy, 0, &second));
        image_assert(image, second);
        assert_ok(bdrv_close(second));
        assert_ok(bdrv_close(copy));
    }
    assert_ok(bdrv_flush(disk));
    assert_ok(bdrv_flush(disk));
    end();
}
END_TEST

START_TEST(opening_and_reading_changes_no_byte_of_the_file)
{
    begin(_i, BDRV_O_RDWR);
    if (image->storage != NULL) {
        write_islands();
        assert_ok(bdrv_close(disk));
        int64_t length = bdrv_getlength(image->storage);
        uint8_t *before = image_memory_bytes(image->storage);
        disk = image_open(image, BDRV_O_RDWR);
        image_assert(image, disk);
        assert_ok(bdrv_flush(disk));
        assert_ok(bdrv_close(disk));
        ck_assert_int_eq(bdrv_getlength(image->storage), length);
        uint8_t *after = image_memory_bytes(image->storage);
        ck_assert_msg(memcmp(before, after, (size_t)length) == 0,
                      "%s: the file was modified", kind->name);
        free(before);
        free(after);
        disk = image_open(image, BDRV_O_RDWR);
    }
    end();
}
END_TEST

START_TEST(truncate_grows_with_zeros_and_drops_what_lies_beyond)
{
    begin(_i, BDRV_O_RDWR);
    int64_t size = image->size;
    assert_fails(bdrv_truncate(disk, -1), -EINVAL);
    if ((kind->facts & IMAGE_TRUNCATES) == 0) {
        assert_fails(bdrv_truncate(disk, size + MIB), -ENOTSUP);
        end();
        return;
    }
    image_write(image, disk, 0, size, 1);
    assert_ok(bdrv_truncate(disk, size + MIB));
    ck_assert_int_eq(bdrv_getlength(disk), size + MIB);
    if ((kind->facts & IMAGE_EMPTY) == 0) {
        assert_pattern(disk, 0, size, 1);
    }
    assert_pattern(disk, size, MIB, PATTERN_ZEROS);
    assert_ok(bdrv_truncate(disk, size - MIB));
    ck_assert_int_eq(bdrv_getlength(disk), size - MIB);
    uint8_t byte;
    assert_fails(bdrv_pread(disk, &byte, 1, size - MIB), -ERANGE);
    assert_ok(bdrv_truncate(disk, size));
    memset(image->expected + size - MIB, 0, MIB);
    end();
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const reading[] = {
        fresh_image_reads_as_zeros_or_as_its_parent,
        length_is_what_was_asked_for,
        reads_outside_the_disk_are_refused,
        questions_outside_the_disk_are_refused,
        read_only_handle_refuses_every_change,
        NULL,
    };
    const TTest *const tests[] = {
        writes_around_cluster_borders_read_back,
        one_byte_writes_change_one_byte,
        writes_over_many_clusters_read_back,
        writes_in_falling_order_read_back,
        scattered_pieces_are_one_request,
        sector_calls_are_the_byte_calls_times_512,
        writes_outside_the_disk_are_refused,
        null_where_a_buffer_is_needed_is_refused,
        write_zeroes_makes_exactly_the_range_zero,
        write_zeroes_on_a_fresh_image_hides_the_parent,
        discard_leaves_old_bytes_or_zeros_and_keeps_the_rest,
        info_geometry_and_details_make_sense,
        content_survives_close_and_open,
        flushed_content_is_in_the_file_while_the_handle_is_open,
        opening_and_reading_changes_no_byte_of_the_file,
        truncate_grows_with_zeros_and_drops_what_lies_beyond,
        NULL,
    };
    Suite *suite = suite_create("conformance");
    image_register_drivers();
    image_add_loops_over(IMAGE_READABLE, suite, "reading", reading, 60);
    image_add_loops_over(IMAGE_WRITABLE, suite, "contract", tests, 60);
    return suite;
}
