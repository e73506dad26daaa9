/* SPDX-License-Identifier: MIT */
/*
 * t-regressions.c - what the fuzzers have found, once more: each bug in one
 * sentence, and the smallest change to a seed (seeds.c) that shows it.
 *
 * A finding is added by hand, after its input was made smaller: which words of
 * which seed have to be changed, and whether the file must have another length.
 */
#include "fuzz.h"

#include "bdrv-bytes.h"
#include "image.h"
#include "suite.h"

enum {
    PATCHES = 6,
    ROOM = 512 * 1024
};

typedef struct Finding {
    const char *bug;
    FuzzTarget *target;
    const char *seed;
    size_t size; /* of the file; 0: as it is */
    struct {
        size_t at;
        uint32_t word; /* stored as 32 bits, little-endian */
    } patches[PATCHES]; /* ended by one that is all 0 */
} Finding;

static const Finding findings[] = {
    { "A check took the entry 1, a grain of zeros, for a grain at sector 1 when overHead is "
      "smaller, and called damage what the driver itself had written.",
      fuzz_write, "sparse-child", 0, { { 64, 0 } } },
    { "An image whose descriptorSize reaches into tables and grains could be written to, and "
      "a change of its length left a file that cannot be opened.",
      fuzz_write, "sparse", 57344, { { 36, 0x60 } } },
    { "A disk could grow although a table lies where the rest of its last, partial grain will "
      "be.",
      fuzz_write, "sparse", 0, { { 56, 0x59 } } },
    { "New grains of a file that was cut behind the last, partial grain were put where the rest "
      "of that grain is when the disk grows.",
      fuzz_write, "cowd-grains", 50688, { { 1648, 8 } } },
    { "The same, when freeSector says that there is room.",
      fuzz_write, "cowd-grains", 0, { { 28, 1 }, { 1648, 0xffffffff } } },
    { "A stream whose overHead is behind its first grain lost that when it came through a pipe, "
      "and a check found nothing wrong with it.",
      fuzz_stream, "stream", 0, { { 64, 0x89 } } },
    { "A stream whose overHead is in the pad before its grains read as zeros from a pipe.",
      fuzz_stream, "stream", 0, { { 56, 0x8f }, { 60, 0 }, { 64, 0x4d } } },
    { "An seSparse image in which two grains have the same place could be written to: both "
      "changed.",
      fuzz_write, "sesparse", 0, { { 2580, 0x30020000 } } },
    { "In an image that ends before overHead, new grains were put before it, where none can be "
      "when the image is opened next.",
      fuzz_write, "bare", 1024, { { 64, 33 }, { 512, 0 } } },
    { "A repair wrote the entries of a redundant directory that the header places in the "
      "descriptor, and so destroyed that.",
      fuzz_check, "sparse-child", 98304, { { 28, 0xa0 }, { 48, 1 } } },
    { "The same with the primary directory.",
      fuzz_check, "bare", 20480, { { 28, 1 }, { 36, 32 } } },
    { "Each repair of a stream that ends where its grains would begin set overHead to what it "
      "was.",
      fuzz_check, "stream", 20480, { { 8, 0x10001 } } },
    { "A repair cut a stream inside the room that descriptorSize says there is for its "
      "descriptor: then it could not be opened.",
      fuzz_check, "stream", 140800, { { 36, 200 } } },
    { "A check of the first of several extents, whose line is shorter than its first table, "
      "read what is before and behind the other tables.",
      fuzz_check, "sparse-two-tables", 0, /* # Extent description: RW 256 SPARSE "more" */
      { { 624, 0x32205752 }, { 628, 0x53203635 }, { 632, 0x53524150 },
        { 636, 0x6d222045 }, { 640, 0x2265726f } } },
    { "Where the blocks of a stream begin was reckoned from a descriptorOffset of nearly 2^63 sectors: "
      "an overflow.",
      fuzz_check, "stream-front", 0, { { 32, 0x7fffffff }, { 64, 0 } } },
    { "Where the tables of a stream are to be written was reckoned from a gdOffset of nearly 2^63 "
      "sectors, when a footer gives readers another one: an overflow.",
      fuzz_write, "stream", 0, { { 56, 0xffffffff }, { 60, 0x7fffffff } } },
    { "Where the tables of a sparse file end was reckoned from an rgdOffset of nearly 2^63 sectors "
      "that no flag says is one: an overflow.",
      fuzz_check, "bare", 0, { { 48, 0xffffffff }, { 52, 0x7fffffff } } },
};

static const FuzzSeed *find_seed(const char *name)
{
    const FuzzSeed *seed;

    for (size_t i = 0; (seed = fuzz_kept_seed(i)) != NULL; i++) {
        if (strcmp(seed->name, name) == 0) {
            return seed;
        }
    }
    ck_abort_msg("no seed is named %s", name);
    return NULL;
}

START_TEST(what_was_found_stays_mended)
{
    static uint8_t image[ROOM];
    const Finding *finding = &findings[_i];
    const FuzzSeed *seed = find_seed(finding->seed);
    size_t size = finding->size != 0 ? finding->size : seed->size;

    memcpy(image, seed->bytes, seed->size < size ? seed->size : size);
    for (int i = 0; i < PATCHES && (finding->patches[i].at | finding->patches[i].word) != 0; i++) {
        ck_assert_uint_le(finding->patches[i].at + 4, size);
        bdrv_store_le32(image + finding->patches[i].at, finding->patches[i].word);
    }
    finding->target(image, size);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("regressions");
    TCase *tcase = tcase_create("findings");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, what_was_found_stays_mended, 0,
                        sizeof(findings) / sizeof(findings[0]));
    suite_add_tcase(suite, tcase);
    return suite;
}
