/* SPDX-License-Identifier: MIT */
/*
 * t-corpus.c - the fuzz targets in `make check`: on small valid images, and on
 * some hundred changes of each, always the same ones.
 *
 * FUZZ_CHANGES=… makes it longer, TEST_SEED=… makes others.  FUZZ_CORPUS=dir writes
 * the images, texts and programs there, in a directory for each target, as the
 * first corpus of a real fuzzer, and changes nothing.
 */
#include "fuzz.h"

#include <sys/stat.h>

#include "host.h"
#include "image.h"
#include "suite.h"

enum {
    CHANGES = 25, /* of each input, for each target */
    ROOM = 512 * 1024
};

static uint32_t seed(int index)
{
    const char *text = getenv("TEST_SEED");
    return (text != NULL ? (uint32_t)strtoul(text, NULL, 0) : 1u) +
           (uint32_t)index * 1000003u;
}

static int change_count(void)
{
    return getenv("FUZZ_CORPUS") != NULL
               ? 0
               : suite_count("FUZZ_CHANGES", suite_is_large() ? 50 * CHANGES : CHANGES);
}

static void keep(const char *target, const char *name, const void *bytes, size_t size)
{
    const char *corpus = getenv("FUZZ_CORPUS");

    if (corpus != NULL) {
        char *directory = host_path(corpus, target);
        char *path = host_path(directory, name);
        mkdir(directory, 0777);
        host_write_file(path, bytes, size);
        free(path);
        free(directory);
    }
}

static void fill(uint8_t *bytes, size_t size, uint32_t *random)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)suite_random(random);
    }
}

/* Each change builds on none, one or two others. */
static void run_changes(const FuzzEntry *target, const uint8_t *bytes, size_t size,
                        uint32_t random)
{
    static uint8_t copy[ROOM];

    target->run(bytes, size);
    for (int i = change_count(); i > 0; i--) {
        uint8_t numbers[64];
        FuzzChoices choices = { .bytes = numbers, .size = sizeof(numbers) };
        size_t now = size;

        memcpy(copy, bytes, size);
        fill(numbers, sizeof(numbers), &random);
        for (int n = i % 3; n >= 0; n--) {
            now = target->run == fuzz_descriptor
                      ? fuzz_change_text(copy, now, ROOM, &choices)
                      : fuzz_change_image(copy, now, ROOM, &choices);
        }
        target->run(copy, now);
    }
}

START_TEST(changed_images_break_no_promise)
{
    const FuzzEntry *target = &fuzz_targets[_i];
    FuzzSeed image;

    if (target->run == fuzz_descriptor || target->run == fuzz_change) {
        return;
    }
    for (size_t i = 0; fuzz_seed(i, &image); i++) {
        if (image.bytes != NULL) {
            keep(target->name, image.name, image.bytes, image.size);
            run_changes(target, image.bytes, image.size, seed(_i * 100 + (int)i));
        }
        free(image.bytes);
    }
}
END_TEST

START_TEST(changed_texts_break_no_promise)
{
    for (size_t i = 0; fuzz_seed_text(i) != NULL; i++) {
        const char *text = fuzz_seed_text(i);
        char name[20];

        snprintf(name, sizeof(name), "text-%zu", i);
        keep("descriptor", name, text, strlen(text));
        keep("open", name, text, strlen(text));
        run_changes(&fuzz_targets[1], (const uint8_t *)text, strlen(text), seed((int)i));
    }
}
END_TEST

START_TEST(programs_of_changes_break_no_promise)
{
    enum { KEPT = 40 };
    uint32_t random = seed(0);

    for (int i = 0; i < KEPT + 4 * change_count(); i++) {
        uint8_t program[40];
        char name[20];
        size_t size = 1 + suite_random(&random) % sizeof(program);

        fill(program, size, &random);
        fuzz_change(program, size);
        if (i < KEPT) {
            snprintf(name, sizeof(name), "program-%d", i);
            keep("change", name, program, size);
        }
    }
}
END_TEST

/* A seed that could not be made would make all of the above pass. */
START_TEST(every_seed_is_an_image)
{
    size_t count = 0;
    FuzzSeed image;

    for (; fuzz_seed(count, &image); count++) {
        ck_assert_msg(image.bytes != NULL, "%s cannot be made: %s", image.name, bdrv_errmsg());
        ck_assert_uint_lt(image.size, 200 * 1024);
        free(image.bytes);
    }
    ck_assert_uint_ge(count, 11);
}
END_TEST

START_TEST(tiny_files_break_nothing)
{
    static const uint8_t zeros[1024];
    static const char *const texts[] = {
        "", "K", "KDMV", "COWD", "# Disk DescriptorFile\nversion=1\n", "TMPL",
    };

    for (const FuzzEntry *target = fuzz_targets; target->name != NULL; target++) {
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            target->run((const uint8_t *)texts[i], strlen(texts[i]));
        }
        target->run(zeros, 511);
        target->run(zeros, 512);
        target->run(zeros, 1024);
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        every_seed_is_an_image, tiny_files_break_nothing, changed_texts_break_no_promise,
        programs_of_changes_break_no_promise, NULL,
    };
    int targets = 0;
    Suite *suite = suite_create("corpus");
    TCase *tcase = suite_add_case(suite, "corpus", tests, 600);

    while (fuzz_targets[targets].name != NULL) {
        targets++;
    }
    tcase_add_loop_test(tcase, changed_images_break_no_promise, 0, targets);
    image_register_drivers();
    return suite;
}
