/* SPDX-License-Identifier: MIT */
/*
 * t-file-cache.c - the file driver with flags about the host's page cache: the
 * same bytes at any alignment, from several threads too, and little left behind.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bdrv-bytes.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum { KIB = 1024, MIB = 1024 * KIB, LENGTH = 3 * MIB + 777, TMPFS = 0x01021994 };

static char *directory;
static char *path;

static void setup(void)
{
    directory = host_directory_new();
    path = host_path(directory, "disk");
}

static void teardown(void)
{
    free(path);
    host_directory_remove(directory);
}

static const unsigned modes[] = {
    BDRV_O_DIRECT, BDRV_O_DROP_BEHIND, BDRV_O_WRITETHROUGH,
    BDRV_O_DIRECT | BDRV_O_WRITETHROUGH, BDRV_O_DIRECT | BDRV_O_DROP_BEHIND,
};
enum { MODES = sizeof modes / sizeof *modes };

/* NULL: the file system here cannot, and said so. */
static BlockDriverState *open_in_mode(unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    int ret = bdrv_open(&bs, path, "file", &options);
    if (ret == -ENOTSUP && flags & BDRV_O_DIRECT) {
        ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "direct I/O"));
        suite_skipped("the file system knows no direct I/O");
        return NULL;
    }
    assert_ok(ret);
    return bs;
}

static void make_file(int64_t length)
{
    host_write_file(path, "", 0);
    ck_assert_int_eq(truncate(path, length), 0);
}

START_TEST(bytes_are_the_same_at_any_alignment)
{
    static const int64_t places[] = { 0, 1, 511, 512, 4095, 4096, 4097, 70000, 1048575 };
    static const int64_t sizes[] = { 1, 512, 4096, 4097, 8191, 70001, 1048576, 1500000 };
    make_file(LENGTH);
    BlockDriverState *bs = open_in_mode(modes[_i] | BDRV_O_RDWR);
    BlockDriverState *model = image_memory(LENGTH);
    for (size_t i = 0; bs && i < sizeof places / sizeof *places; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            unsigned seed = (unsigned)(10 * i + j + 1);
            assert_ok(pattern_write(bs, places[i], sizes[j], seed));
            assert_ok(pattern_write(model, places[i], sizes[j], seed));
        }
        uint8_t *found = malloc(LENGTH), *wanted = image_memory_bytes(model);
        assert_ok(bdrv_pread(bs, found, LENGTH, 0));
        ck_assert_int_eq(memcmp(found, wanted, LENGTH), 0);
        assert_ok(bdrv_pread(bs, found + 1, LENGTH - 3, 3)); /* memory not aligned */
        ck_assert_int_eq(memcmp(found + 1, wanted + 3, LENGTH - 3), 0);
        free(found);
        free(wanted);
    }
    assert_ok(bdrv_close(model));
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(end_of_the_file_is_where_it_belongs)
{
    make_file(0);
    BlockDriverState *bs = open_in_mode(modes[_i] | BDRV_O_RDWR);
    struct stat st;
    if (!bs) {
        return;
    }
    assert_ok(pattern_write(bs, 0, 10000, 1));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 10000);
    uint8_t byte;
    ck_assert_int_lt(bdrv_pread(bs, &byte, 1, 10000), 0);
    assert_pattern(bs, 0, 10000, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* Neighbours in one block, of two threads: neither may lose the other's bytes. */
enum { ROUNDS = 100, PART = 1000 };

typedef struct Neighbour {
    BlockDriverState *bs;
    int64_t offset;
    uint8_t last[PART];
} Neighbour;

static void *write_again_and_again(void *opaque)
{
    Neighbour *n = opaque;
    for (int i = 0; i < ROUNDS; i++) {
        memset(n->last, i, PART);
        if (bdrv_pwrite(n->bs, n->last, PART, n->offset) < 0) {
            abort();
        }
    }
    return NULL;
}

START_TEST(neighbours_in_a_block_do_not_hurt_each_other)
{
    make_file(64 * KIB);
    BlockDriverState *bs = open_in_mode(modes[_i] | BDRV_O_RDWR | BDRV_O_NO_FLUSH);
    Neighbour n[4];
    pthread_t threads[4];
    if (!bs) {
        return;
    }
    for (int i = 0; i < 4; i++) {
        n[i].bs = bs;
        n[i].offset = 100 + i * PART;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_again_and_again, &n[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        uint8_t found[PART];
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        assert_ok(bdrv_pread(bs, found, PART, n[i].offset));
        ck_assert_int_eq(memcmp(found, n[i].last, PART), 0);
    }
    assert_ok(bdrv_close(bs));
}
END_TEST

/* Pages of the file that are in memory. */
static int64_t pages_cached(void)
{
    struct stat st;
    long page = sysconf(_SC_PAGESIZE);
    int fd = open(path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    size_t count = (size_t)((st.st_size + page - 1) / page);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *in = malloc(count);
    int64_t found = 0;
    ck_assert(map != MAP_FAILED);
    ck_assert_int_eq(mincore(map, (size_t)st.st_size, in), 0);
    for (size_t i = 0; i < count; i++) {
        found += in[i] & 1;
    }
    munmap(map, (size_t)st.st_size);
    free(in);
    close(fd);
    return found;
}

START_TEST(little_stays_in_the_page_cache)
{
    enum { BIG = 32 * MIB };
    struct statfs fs;
    ck_assert_int_eq(statfs(directory, &fs), 0);
    if (fs.f_type == TMPFS) {
        suite_skipped("TMPDIR is in memory itself");
        return;
    }
    make_file(0);
    BlockDriverState *bs = open_in_mode(modes[_i] | BDRV_O_RDWR);
    if (!bs) {
        return;
    }
    for (int64_t at = 0; at < BIG; at += MIB) {
        assert_ok(pattern_write(bs, at, MIB, 1));
    }
    assert_ok(bdrv_flush(bs));
    ck_assert_int_lt(pages_cached() * sysconf(_SC_PAGESIZE), BIG / 4);
    assert_pattern(bs, 0, BIG, 1);
    ck_assert_int_lt(pages_cached() * sysconf(_SC_PAGESIZE), BIG / 4);
    assert_ok(bdrv_close(bs));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file-cache");
    const TTest *const none[] = { NULL };
    TCase *tcase = suite_add_case(suite, "cache", none, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, bytes_are_the_same_at_any_alignment, 0, MODES);
    tcase_add_loop_test(tcase, end_of_the_file_is_where_it_belongs, 0, MODES);
    tcase_add_loop_test(tcase, neighbours_in_a_block_do_not_hurt_each_other, 0, MODES);
    tcase_add_loop_test(tcase, little_stays_in_the_page_cache, 0, 2);
    return suite;
}
