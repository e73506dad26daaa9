/* SPDX-License-Identifier: MIT */
/*
 * t-convert-memory.c - what img-convert takes of the host's memory at its peak:
 * less than 64 MiB, and as much for a disk of 1 TiB as for one of 1 GiB.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "pattern.h"
#include "suite.h"

#define GIB (INT64_C(1) << 30)
#define TIB (INT64_C(1) << 40)

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    PEAK_MAX = 64 * 1024, /* KiB, as getrusage(2) counts */
    /* What more of the tables is in their caches, whose size is limited. */
    GROWTH_MAX = 16 * 1024,
    GRAINS = 300
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MEMORY_IS_OURS = 0 };
#else
enum { MEMORY_IS_OURS = 1 };
#endif

static char *directory;

static void setup(void)
{
    directory = host_directory_new();
}

static void teardown(void)
{
    host_directory_remove(directory);
}

/* A disk with data all over it. */
static void make_source(const char *path, const char *format, int64_t size)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = size };
    BdrvOpenOptions open = { .struct_size = sizeof(open), .flags = BDRV_O_RDWR };
    BlockDriverState *bs;
    assert_ok(bdrv_create(path, format, &create));
    assert_ok(bdrv_open(&bs, path, format, &open));
    for (int i = 0; i < GRAINS; i++) {
        assert_ok(pattern_write(bs, size / GRAINS / 512 * 512 * i, 20000, 1));
    }
    assert_ok(bdrv_close(bs));
}

/* The peak of the whole program, in KiB. */
static long peak_of(const char *format, const char *options, const char *from, const char *to)
{
    struct rusage usage;
    int status;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        execlp("img-convert", "img-convert", "-t", "unsafe", "-m", "8", "-O", format, "-o",
               options, from, to, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(wait4(child, &status, 0, &usage), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(unlink(to), 0);
    return usage.ru_maxrss;
}

static const struct {
    const char *from, *format, *options;
} ways[] = {
    { "raw", "vmdk", "subformat=monolithicSparse" },
    { "vmdk", "vmdk", "subformat=monolithicSparse" },
    { "vmdk", "vmdk", "subformat=streamOptimized" },
};
enum { WAYS = sizeof ways / sizeof *ways };

static long peak_for(int64_t size, size_t way)
{
    char *from = host_path(directory, "from"), *to = host_path(directory, "to");
    long peak;
    make_source(from, ways[way].from, size);
    peak = peak_of(ways[way].format, ways[way].options, from, to);
    ck_assert_int_eq(unlink(from), 0);
    free(from);
    free(to);
    return peak;
}

START_TEST(peak_does_not_depend_on_the_size_of_the_disk)
{
    if (!MEMORY_IS_OURS) {
        suite_skipped("a sanitizer takes memory of its own");
        return;
    }
    long small = peak_for(GIB, (size_t)_i);
    long large = peak_for(TIB, (size_t)_i);
    ck_assert_int_lt(small, PEAK_MAX);
    ck_assert_int_lt(large, PEAK_MAX);
    ck_assert_int_lt(large - small, GROWTH_MAX);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("convert-memory");
    const TTest *const none[] = { NULL };
    TCase *tcase = suite_add_case(suite, "memory", none, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, peak_does_not_depend_on_the_size_of_the_disk, 0, WAYS);
    return suite;
}
