/* SPDX-License-Identifier: MIT */
/*
 * t-corpus.c - the fuzz target in `make check`: on images that our own drivers
 * made, and on some thousand mutations of them, always the same ones.
 *
 * FUZZ_MUTATIONS=… makes it longer, TEST_SEED=… makes others, and FUZZ_CORPUS=dir
 * writes the images there, as the first corpus of a real fuzzer.
 */
#define FUZZ_LIBFUZZER /* no main() */
#include "fuzz-open.c"

#include "host.h"
#include "image.h"
#include "suite.h"

enum {
    DISK = 300 * 1024,
    MUTATIONS = 60, /* of each kind */
    HEAD = 4096     /* where most of what is worth changing lies */
};

static uint32_t seed(int index)
{
    const char *text = getenv("TEST_SEED");
    return (text != NULL ? (uint32_t)strtoul(text, NULL, 0) : 1u) +
           (uint32_t)index * 1000003u;
}

static uint8_t *make_image(const ImageKind *kind, size_t *size)
{
    Image *image = image_new(kind, DISK);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    image_write(image, disk, 0, 1000, 1);
    image_write(image, disk, 150000, 20000, 2);
    image_write_zeroes(image, disk, 100000, 5000);
    image_close(image, disk);
    uint8_t *bytes = image_memory_bytes(image->storage);
    *size = (size_t)bdrv_getlength(image->storage);
    image_free(image);
    return bytes;
}

static void keep(const ImageKind *kind, const uint8_t *bytes, size_t size)
{
    const char *directory = getenv("FUZZ_CORPUS");
    if (directory != NULL) {
        char *path = host_path(directory, kind->name);
        host_write_file(path, bytes, size);
        free(path);
    }
}

/* Numbers that are at the edge of something, in 4 or 8 bytes. */
static void plant_number(uint8_t *bytes, size_t size, uint32_t *random)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 3, 127, 128, 511, 512, 513, 4096, 65535, 65536, 0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX,
    };
    uint64_t number = numbers[suite_random(random) %
                              (sizeof(numbers) / sizeof(numbers[0]))];
    size_t width = suite_random(random) % 2 == 0 ? 4 : 8;
    size_t at = suite_random(random) % (size < HEAD ? size : HEAD) / 4 * 4;
    for (size_t i = 0; i < width && at + i < size; i++) {
        bytes[at + i] = (uint8_t)(number >> (8 * i));
    }
}

/* Changes some bytes, may cut the end off; the new size. */
static size_t mutate(uint8_t *bytes, size_t size, uint32_t *random)
{
    for (uint32_t n = 1 + suite_random(random) % 3; n > 0; n--) {
        size_t near = size < HEAD ? size : HEAD;
        switch (suite_random(random) % 4) {
        case 0:
            plant_number(bytes, size, random);
            break;
        case 1:
            bytes[suite_random(random) % 512 % size] ^=
                (uint8_t)(1u << suite_random(random) % 8);
            break;
        case 2:
            bytes[suite_random(random) % near] = (uint8_t)suite_random(random);
            break;
        default:
            bytes[suite_random(random) % size] = (uint8_t)suite_random(random);
            break;
        }
    }
    return suite_random(random) % 8 == 0 ? 1 + suite_random(random) % size : size;
}

START_TEST(mutations_of_our_own_images_break_nothing)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0) {
        return;
    }
    uint32_t random = seed(_i);
    int count = suite_count("FUZZ_MUTATIONS", suite_is_large() ? 50 * MUTATIONS
                                                               : MUTATIONS);
    size_t size;
    uint8_t *bytes = make_image(kind, &size);
    uint8_t *copy = malloc(size);
    ck_assert_ptr_nonnull(copy);
    keep(kind, bytes, size);
    LLVMFuzzerTestOneInput(bytes, size);
    for (int i = 0; i < count; i++) {
        memcpy(copy, bytes, size);
        LLVMFuzzerTestOneInput(copy, mutate(copy, size, &random));
    }
    free(copy);
    free(bytes);
}
END_TEST

START_TEST(tiny_files_break_nothing)
{
    static const uint8_t zeros[1024];
    static const char *const texts[] = {
        "", "K", "KDMV", "COWD", "# Disk DescriptorFile\nversion=1\n", "TMPL",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        LLVMFuzzerTestOneInput((const uint8_t *)texts[i], strlen(texts[i]));
    }
    LLVMFuzzerTestOneInput(zeros, 511);
    LLVMFuzzerTestOneInput(zeros, 512);
    LLVMFuzzerTestOneInput(zeros, 1024);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const loops[] = {
        mutations_of_our_own_images_break_nothing, NULL,
    };
    const TTest *const tests[] = { tiny_files_break_nothing, NULL };
    Suite *suite = suite_create("corpus");
    image_register_drivers();
    suite_add_case(suite, "tiny", tests, 60);
    image_add_loops(suite, "mutations", loops, 600);
    return suite;
}
