/* SPDX-License-Identifier: MIT */
/*
 * t-random.c - a long random session on every kind of image, against a model
 * that is nothing but an array of bytes.
 *
 * The seed is printed; TEST_SEED=… repeats a run, RANDOM_STEPS=… makes it
 * longer.
 */
#include "bdrv-bytes.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum {
    DISK = 5 * 1024 * 1024 + 5 * BDRV_SECTOR_SIZE,
    STEPS = 400
};

typedef struct Range {
    int64_t offset;
    int64_t bytes;
} Range;

/* Mostly small, sometimes many clusters; often aligned, often at a border. */
static Range random_range(const ImageKind *kind, uint32_t *seed)
{
    static const int64_t most[] = { 16, 512, 4096, 65536, 300000, 2000000 };
    Range range;
    range.bytes = 1 + suite_random(seed) % most[suite_random(seed) % 6];
    range.offset = suite_random(seed) % DISK;
    switch (suite_random(seed) % 4) {
    case 0:
        range.offset = bdrv_round_down(range.offset, kind->cluster);
        break;
    case 1:
        range.offset = bdrv_round_down(range.offset, 512);
        range.bytes = bdrv_round_up(range.bytes, 512);
        break;
    case 2:
        range.offset = bdrv_max(0, bdrv_round_down(range.offset, kind->cluster)
                                   - range.bytes / 2);
        break;
    default:
        break;
    }
    range.bytes = bdrv_min(range.bytes, DISK - range.offset);
    return range;
}

static void check_state(const Image *image, BlockDriverState *disk, Range range)
{
    static const uint8_t zeros[4096];
    BdrvExtent extent;
    assert_ok(bdrv_map(disk, range.offset, range.bytes, &extent));
    ck_assert_int_ge(extent.bytes, 1);
    ck_assert_int_le(extent.bytes, range.bytes);
    if (extent.state != BDRV_DATA) {
        size_t bytes = (size_t)bdrv_min(extent.bytes, (int64_t)sizeof(zeros));
        const char *text = pattern_compare(image->expected + range.offset,
                                           zeros, bytes, range.offset);
        ck_assert_msg(text == NULL, "%s: told as zeros, but %s",
                      image->kind->name, text);
    }
}

static void one_step(Image *image, BlockDriverState **disk, uint32_t *seed)
{
    Range range = random_range(image->kind, seed);
    uint32_t choice = suite_random(seed) % 100;
    if (choice < 45) {
        image_write(image, *disk, range.offset, range.bytes,
                    1 + suite_random(seed) % PATTERN_MAX_GENERATION);
    } else if (choice < 55) {
        image_write_zeroes(image, *disk, range.offset, range.bytes);
    } else if (choice < 60) {
        image_discard(image, *disk, range.offset, range.bytes);
    } else if (choice < 85) {
        image_assert_range(image, *disk, range.offset, range.bytes);
    } else if (choice < 92) {
        check_state(image, *disk, range);
    } else if (choice < 97) {
        assert_ok(bdrv_flush(*disk));
    } else {
        image_close(image, *disk);
        *disk = image_open(image, BDRV_O_RDWR);
    }
}

START_TEST(disk_behaves_like_an_array_of_bytes)
{
    uint32_t seed = suite_seed() + (uint32_t)_i;
    int steps = suite_count("RANDOM_STEPS", suite_is_large() ? 20 * STEPS : STEPS);
    Image *image = image_new(image_kind((size_t)_i), DISK);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    for (int i = 0; i < steps; i++) {
        one_step(image, &disk, &seed);
    }
    image_assert(image, disk);
    image_close(image, disk);
    disk = image_open(image, 0);
    const char *found = image_find_damage(disk);
    ck_assert_msg(found == NULL, "%s: %s", image->kind->name, found);
    image_assert(image, disk);
    image_close(image, disk);
    image_free(image);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = { disk_behaves_like_an_array_of_bytes, NULL };
    Suite *suite = suite_create("random");
    image_register_drivers();
    image_add_loops(suite, "model", tests, 600);
    return suite;
}
