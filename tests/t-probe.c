/* SPDX-License-Identifier: MIT */
/*
 * t-probe.c - which format is it?  Scores decide, names never do, and a tie is
 * said instead of guessed.
 */
#include "bdrv-driver.h"
#include "host.h"
#include "image.h"
#include "suite.h"

/* What the probe of the spy was shown last. */
static struct {
    size_t head_size;
    size_t tail_size;
    int64_t file_size;
    uint8_t head_first;
    uint8_t tail_last;
    char filename[256];
} seen;

static int spy_probe(const BdrvProbe *probe)
{
    seen.head_size = probe->head_size;
    seen.tail_size = probe->tail_size;
    seen.file_size = probe->file_size;
    seen.head_first = probe->head_size > 0 ? probe->head[0] : 0;
    seen.tail_last = probe->tail_size > 0
                         ? probe->tail[probe->tail_size - 1] : 0;
    snprintf(seen.filename, sizeof(seen.filename), "%s", probe->filename);
    return 0;
}

static int says(const BdrvProbe *probe, char letter, int score)
{
    return probe->head_size > 0 && probe->head[0] == (uint8_t)letter ? score : 0;
}

/* Files that begin with T are a tie of these two; with A, the first wins. */
static int first_probe(const BdrvProbe *probe)
{
    return says(probe, 'T', 50) + says(probe, 'A', 51);
}

static int second_probe(const BdrvProbe *probe)
{
    return says(probe, 'T', 50) + says(probe, 'A', 50);
}

/* A filter must not be asked. */
static int greedy_probe(const BdrvProbe *probe)
{
    (void)probe;
    return 100;
}

static int toy_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

static int toy_read(BlockDriverState *bs, void *buf, size_t bytes,
                    int64_t offset)
{
    return bdrv_pread(bdrv_file(bs), buf, bytes, offset);
}

#define TOY(name_, probe_, flags_)                                             \
    {                                                                          \
        BDRV_DRIVER_HEAD, .name = name_, .flags = flags_, .probe = probe_,     \
        .open = toy_open, .read = toy_read,                                    \
    }

static const BlockDriver toys[] = {
    TOY("toy-spy", spy_probe, 0),
    TOY("toy-first", first_probe, 0),
    TOY("toy-second", second_probe, 0),
    TOY("toy-greedy", greedy_probe, BDRV_DRIVER_FILTER),
};

static BlockDriverState *file_beginning_with(char letter, int64_t length)
{
    BlockDriverState *memory = image_memory(length);
    assert_ok(bdrv_pwrite(memory, &letter, 1, 0));
    return memory;
}

static void assert_probed_as(BlockDriverState *memory, const char *format)
{
    BlockDriverState *bs;
    assert_ok(bdrv_open_node(&bs, memory, NULL, NULL));
    ck_assert_str_eq(bdrv_format(bs), format);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}

START_TEST(what_nothing_else_fits_is_raw)
{
    assert_probed_as(file_beginning_with('x', 100000), "raw");
    assert_probed_as(file_beginning_with('x', 1), "raw");
    assert_probed_as(image_memory(0), "raw");
}
END_TEST

START_TEST(higher_score_wins)
{
    assert_probed_as(file_beginning_with('A', 4096), "toy-first");
}
END_TEST

START_TEST(tie_is_refused_with_both_names)
{
    BlockDriverState *memory = file_beginning_with('T', 4096);
    BlockDriverState *bs = memory;
    assert_fails_saying(bdrv_open_node(&bs, memory, NULL, NULL), -EINVAL,
                        "toy-first");
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "toy-second"));
    ck_assert_ptr_null(bs);
    assert_ok(bdrv_open_node(&bs, memory, "toy-second", NULL));
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(probe_is_shown_both_ends_of_the_file)
{
    enum { LENGTH = 300000 };
    BlockDriverState *memory = file_beginning_with('x', LENGTH);
    assert_ok(bdrv_pwrite(memory, "z", 1, LENGTH - 1));
    assert_probed_as(memory, "raw");
    ck_assert_uint_eq(seen.head_size, 64 * 1024);
    ck_assert_uint_eq(seen.tail_size, 4 * 1024);
    ck_assert_int_eq(seen.file_size, LENGTH);
    ck_assert_uint_eq(seen.head_first, 'x');
    ck_assert_uint_eq(seen.tail_last, 'z');

    assert_probed_as(file_beginning_with('y', 1), "raw");
    ck_assert_uint_eq(seen.head_size, 1);
    ck_assert_uint_eq(seen.tail_size, 1);
    ck_assert_uint_eq(seen.tail_last, 'y');
}
END_TEST

START_TEST(name_of_the_file_never_decides)
{
    static const char *const names[] = {
        "disk.vmdk", "disk.qcow2", "disk.vhd", "disk.img", "disk",
    };
    char *directory = host_directory_new();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *path = host_path(directory, names[i]);
        host_write_file(path, "no format at all", 16);
        const char *format = NULL;
        assert_ok(bdrv_probe(path, &format));
        ck_assert_str_eq(format, "raw");
        ck_assert_str_eq(seen.filename, path);
        free(path);
    }
    host_directory_remove(directory);
}
END_TEST

START_TEST(image_is_recognised_whatever_its_name_is)
{
    char *directory = host_directory_new();
    char *path = host_path(directory, "holiday.jpg");
    BdrvCreateOptions create = { .struct_size = sizeof(create),
                                 .size = 1024 * 1024 };
    const char *format = NULL;
    assert_ok(bdrv_create(path, "vmdk", &create));
    assert_ok(bdrv_probe(path, &format));
    ck_assert_str_eq(format, "vmdk");
    free(path);
    host_directory_remove(directory);
}
END_TEST

START_TEST(probing_what_is_not_there_fails)
{
    const char *format = "untouched";
    assert_fails_saying(bdrv_probe("/nonexistent/file", &format), -ENOENT,
                        "/nonexistent/file");
    assert_fails(bdrv_probe(NULL, &format), -EINVAL);
    assert_fails(bdrv_probe("/dev/null", NULL), -EINVAL);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        what_nothing_else_fits_is_raw,
        higher_score_wins,
        tie_is_refused_with_both_names,
        probe_is_shown_both_ends_of_the_file,
        name_of_the_file_never_decides,
        image_is_recognised_whatever_its_name_is,
        probing_what_is_not_there_fails,
        NULL,
    };
    for (size_t i = 0; i < sizeof(toys) / sizeof(toys[0]); i++) {
        suite_register(&toys[i], toys[i].name);
    }
    Suite *suite = suite_create("probe");
    suite_add_case(suite, "probing", tests, 20);
    return suite;
}
