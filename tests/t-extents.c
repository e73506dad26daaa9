/* SPDX-License-Identifier: MIT */
/*
 * t-extents.c - bdrv_is_allocated() and bdrv_map() on every kind of image: the
 * runs tile the disk exactly, and what they say is what a read finds.
 */
#include <inttypes.h>

#include "bdrv-bytes.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum { MIB = 1024 * 1024 };

static const ImageKind *kind; /* of the test that runs */
static Image *image;
static BlockDriverState *disk;

static void begin(int index)
{
    kind = image_kind((size_t)index);
    image = image_new(kind, bdrv_max(4 * MIB, 5 * kind->cluster) +
                                3 * BDRV_SECTOR_SIZE);
    disk = image_open(image, BDRV_O_RDWR);
}

static void end(void)
{
    image_assert(image, disk);
    image_close(image, disk);
    image_free(image);
}

typedef int Lookup(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   BdrvExtent *extent);

static int is_zero(const uint8_t *buf, int64_t bytes)
{
    return bytes == 0 || (buf[0] == 0 &&
                          memcmp(buf, buf + 1, (size_t)bytes - 1) == 0);
}

/* The bytes that the extent points at must be the disk's bytes. */
static void check_place(const BdrvExtent *extent, int64_t offset)
{
    if (extent->file == NULL) {
        return;
    }
    ck_assert_int_eq(extent->state, BDRV_DATA);
    ck_assert_int_eq(extent->compressed, 0);
    uint8_t *buf = malloc((size_t)extent->bytes);
    ck_assert_ptr_nonnull(buf);
    /* The last cluster may reach beyond the end of a fresh file. */
    if (bdrv_pread(extent->file, buf, (size_t)extent->bytes,
                   extent->file_offset) == 0) {
        const char *text = pattern_compare(buf, image->expected + offset,
                                           (size_t)extent->bytes, offset);
        ck_assert_msg(text == NULL, "%s: where the extent points: %s",
                      kind->name, text);
    }
    free(buf);
}

static void check_extent(const BdrvExtent *extent, int64_t offset,
                         int64_t asked, Lookup *lookup)
{
    ck_assert_msg(extent->bytes >= 1 && extent->bytes <= asked,
                  "%s: asked %" PRId64 " bytes at %" PRId64 ", got a run of %"
                  PRId64, kind->name, asked, offset, extent->bytes);
    const uint8_t *expected = image->expected + offset;
    int zero = is_zero(expected, extent->bytes);
    int shown = memcmp(expected, image->initial + offset,
                       (size_t)extent->bytes) == 0;
    switch (extent->state) {
    case BDRV_ZERO:
        ck_assert_msg(zero, "%s: run at %" PRId64 " is told as ZERO and is not",
                      kind->name, offset);
        break;
    case BDRV_UNALLOCATED:
        ck_assert_msg(lookup == bdrv_map ? zero : shown,
                      "%s: run at %" PRId64 " is told as UNALLOCATED and has "
                      "content of its own", kind->name, offset);
        break;
    case BDRV_DATA:
        check_place(extent, offset);
        break;
    }
    for (size_t i = 0; i < sizeof(extent->reserved) / sizeof(extent->reserved[0]); i++) {
        ck_assert_int_eq(extent->reserved[i], 0);
    }
}

static void check_tiling(Lookup *lookup, int64_t most)
{
    for (int64_t at = 0; at < image->size;) {
        BdrvExtent extent;
        memset(&extent, 0x5a, sizeof(extent));
        int64_t asked = bdrv_min(image->size - at, most);
        assert_ok(lookup(disk, at, asked, &extent));
        check_extent(&extent, at, asked, lookup);
        at += extent.bytes;
    }
}

static void write_islands(void)
{
    image_write(image, disk, 100, 5, 1);
    image_write(image, disk, 2 * kind->cluster, kind->cluster, 2);
    image_write_zeroes(image, disk, 3 * kind->cluster, kind->cluster);
    image_write(image, disk, 3 * MIB - 1, 513, 3);
    image_write(image, disk, image->size - 1, 1, 4);
}

START_TEST(extents_tile_the_disk_and_tell_the_truth)
{
    begin(_i);
    check_tiling(bdrv_is_allocated, INT64_MAX);
    check_tiling(bdrv_map, INT64_MAX);
    write_islands();
    check_tiling(bdrv_is_allocated, INT64_MAX);
    check_tiling(bdrv_is_allocated, 1000);
    check_tiling(bdrv_map, INT64_MAX);
    check_tiling(bdrv_map, 1000);
    end();
}
END_TEST

START_TEST(fresh_cluster_is_unallocated_and_a_written_one_is_not)
{
    begin(_i);
    BdrvExtent extent;
    if ((kind->facts & IMAGE_MAPS) != 0) {
        assert_ok(bdrv_is_allocated(disk, 0, image->size, &extent));
        ck_assert_int_eq(extent.state, BDRV_UNALLOCATED);
        image_write(image, disk, kind->cluster, 1, 1);
        assert_ok(bdrv_is_allocated(disk, kind->cluster, 1, &extent));
        ck_assert_int_eq(extent.state, BDRV_DATA);
        assert_ok(bdrv_is_allocated(disk, 0, kind->cluster, &extent));
        ck_assert_int_eq(extent.state, BDRV_UNALLOCATED);
        ck_assert_int_eq(extent.bytes, kind->cluster);
    }
    end();
}
END_TEST

/* Once a raw disk inside another image took what that image's parent holds for
 * zeros. */
START_TEST(raw_disk_inside_another_is_zero_only_where_it_reads_so)
{
    const BdrvOpenOptions options = { .struct_size = sizeof options, .options = "offset=512" };
    BlockDriverState *inside;
    BdrvExtent extent;
    begin(_i);
    image_write(image, disk, kind->cluster, 1, 1);
    assert_ok(bdrv_open_node(&inside, disk, "raw", &options));
    for (int64_t at = 0; at < bdrv_getlength(inside); at += extent.bytes) {
        assert_ok(bdrv_map(inside, at, bdrv_getlength(inside) - at, &extent));
        ck_assert_msg(extent.state == BDRV_DATA ||
                      is_zero(image->expected + 512 + at, extent.bytes),
                      "%s: %" PRId64 " is no zero", kind->name, at);
    }
    assert_ok(bdrv_close(inside));
    end();
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        extents_tile_the_disk_and_tell_the_truth,
        fresh_cluster_is_unallocated_and_a_written_one_is_not,
        raw_disk_inside_another_is_zero_only_where_it_reads_so,
        NULL,
    };
    Suite *suite = suite_create("extents");
    image_register_drivers();
    image_add_loops_over(IMAGE_WRITABLE, suite, "extents", tests, 60);
    return suite;
}
