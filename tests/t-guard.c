/* SPDX-License-Identifier: MIT */
/*
 * t-guard.c - an image that was taken for raw because nothing else was recognised
 * cannot be turned into another format by who writes to it; one that was named raw
 * can hold anything.
 */
#include <pthread.h>

#include "bdrv-driver.h"
#include "host.h"
#include "image.h"
#include "suite.h"

enum { KIB = 1024, HEAD = 64 * KIB, DISK = 256 * KIB };

/* Begins with T and a zero, or ends with E. */
static int toy_probe(const BdrvProbe *probe)
{
    return (probe->head_size > 1 && probe->head[0] == 'T' && probe->head[1] == 0) ||
           (probe->tail_size > 0 && probe->tail[probe->tail_size - 1] == 'E') ? 60 : 0;
}

static int toy_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

static int toy_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_pread(bdrv_file(bs), buf, bytes, offset);
}

static const BlockDriver toy = {
    BDRV_DRIVER_HEAD, .name = "toy-guarded", .description = "T, or E at the end",
    .probe = toy_probe, .open = toy_open, .read = toy_read,
};

static BlockDriverState *storage, *disk;

static BlockDriverState *open_storage(const char *format, unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    assert_ok(bdrv_open_node(&bs, storage, format, &options));
    ck_assert_str_eq(bdrv_format(bs), flags & BDRV_O_SNAPSHOT ? "overlay" : "raw");
    return bs;
}

/* A disk of ones, so that no zeros stand where a header wants them. */
static void setup(void)
{
    uint8_t *ones = malloc(DISK);
    memset(ones, 1, DISK);
    storage = image_memory_from(ones, DISK);
    free(ones);
    disk = open_storage(NULL, BDRV_O_RDWR);
}

static void teardown(void)
{
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(storage));
}

/* What the storage would be taken for now. */
static const char *guess(void)
{
    BlockDriverState *bs;
    const char *format;
    assert_ok(bdrv_open_node(&bs, storage, NULL, NULL));
    format = bdrv_driver_name(bs);
    assert_ok(bdrv_close(bs));
    return format;
}

/* -------------------------------------------------------- each driver's magic */

/* The first bytes of a fresh image of the kind; 0: it has no file that is one. */
static size_t header_of(const ImageKind *kind, uint8_t head[HEAD])
{
    Image *image = image_new(kind, 4 * 1024 * KIB);
    BlockDriverState *bs = image_open(image, 0);
    BlockDriverState *file = bdrv_file(bs);
    size_t size = 0;
    if (file != NULL && strcmp(bdrv_format(bs), "overlay") != 0) {
        size = bdrv_getlength(file) < HEAD ? (size_t)bdrv_getlength(file) : HEAD;
        assert_ok(bdrv_pread(file, head, size, 0));
    }
    image_close(image, bs);
    image_free(image);
    return size;
}

START_TEST(no_header_of_any_format_can_be_written)
{
    static uint8_t head[HEAD], after[HEAD];
    const ImageKind *kind = image_kind((size_t)_i);
    size_t size = header_of(kind, head);
    if (size == 0 || strcmp(kind->format, "raw") == 0) {
        return;
    }
    assert_fails_saying(bdrv_pwrite(disk, head, size, 0), -EPERM, "-f raw");
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), kind->format));
    assert_ok(bdrv_pread(disk, after, size, 0));
    for (size_t i = 0; i < size; i++) {
        ck_assert_int_eq(after[i], 1); /* nothing of it was written */
    }
    BlockDriverState *named = open_storage("raw", BDRV_O_RDWR);
    assert_ok(bdrv_pwrite(named, head, size, 0));
    assert_ok(bdrv_close(named));
}
END_TEST

/* The first sector alone is enough of a header to be taken for one. */
START_TEST(nor_in_two_parts)
{
    static uint8_t head[HEAD];
    size_t size = header_of(image_kind_named("vmdk"), head);
    ck_assert_uint_gt(size, 512);
    assert_ok(bdrv_pwrite(disk, head, 3, 0));
    assert_fails(bdrv_pwrite(disk, head + 3, 509, 3), -EPERM);
    assert_ok(bdrv_pwrite(disk, "\1\1\1", 3, 0));
    assert_ok(bdrv_pwrite(disk, head + 3, 509, 3));
    BdrvIovec pieces[] = { { head, 1 }, { head + 1, 2 } };
    assert_fails(bdrv_pwritev(disk, pieces, 2, 0), -EPERM);
    ck_assert_str_eq(guess(), "raw");
}
END_TEST

/* ----------------------------------------------------------------- the rest */

START_TEST(what_is_no_header_can_be_written)
{
    uint8_t sector[512] = "a boot sector";
    sector[510] = 0x55;
    sector[511] = 0xaa;
    assert_ok(bdrv_pwrite(disk, sector, 512, 0));
    assert_ok(bdrv_pwrite(disk, "KDMV", 4, HEAD));
    assert_ok(bdrv_write_zeroes(disk, 0, DISK));
    assert_ok(bdrv_pwrite(disk, sector, 512, DISK - 512));
    assert_ok(bdrv_truncate(disk, DISK + 512));
}
END_TEST

START_TEST(zeros_and_discards_complete_no_header_either)
{
    assert_ok(bdrv_pwrite(disk, "Tx", 2, 0));
    assert_fails_saying(bdrv_write_zeroes(disk, 1, 10), -EPERM, "toy-guarded");
    assert_fails(bdrv_discard(disk, 1, 10), -EPERM);
    ck_assert_str_eq(guess(), "raw");
}
END_TEST

START_TEST(the_end_of_the_disk_is_watched_too)
{
    assert_fails_saying(bdrv_pwrite(disk, "some E", 6, DISK - 6), -EPERM, "toy-guarded");
    assert_ok(bdrv_pwrite(disk, "some F", 6, DISK - 6));
    ck_assert_str_eq(guess(), "raw");
}
END_TEST

START_TEST(a_snapshot_can_hold_it_but_not_commit_it)
{
    BlockDriverState *snapshot = open_storage(NULL, BDRV_O_SNAPSHOT);
    assert_ok(bdrv_pwrite(snapshot, "T\0", 2, 0));
    assert_fails(bdrv_commit(snapshot), -EPERM);
    assert_ok(bdrv_close(snapshot));
    ck_assert_str_eq(guess(), "raw");
}
END_TEST

static void *write_half(void *byte)
{
    uint8_t value = *(uint8_t *)byte;
    bdrv_pwrite(disk, &value, 1, value == 'T' ? 0 : 1); /* one of the two is refused */
    return NULL;
}

START_TEST(two_writes_at_once_do_not_make_what_neither_may)
{
    for (int i = 0; i < 300; i++) {
        static uint8_t letter = 'T', zero = 0;
        pthread_t one, other;
        assert_ok(bdrv_pwrite(disk, "xx", 2, 0));
        ck_assert_int_eq(pthread_create(&one, NULL, write_half, &letter), 0);
        ck_assert_int_eq(pthread_create(&other, NULL, write_half, &zero), 0);
        pthread_join(one, NULL);
        pthread_join(other, NULL);
        ck_assert_str_eq(guess(), "raw");
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const each[] = { no_header_of_any_format_can_be_written, NULL };
    const TTest *const rest[] = {
        nor_in_two_parts, what_is_no_header_can_be_written,
        zeros_and_discards_complete_no_header_either, the_end_of_the_disk_is_watched_too,
        a_snapshot_can_hold_it_but_not_commit_it,
        two_writes_at_once_do_not_make_what_neither_may, NULL
    };
    Suite *suite = suite_create("guard");
    image_register_drivers();
    suite_register(&toy, "toy-guarded");
    tcase_add_checked_fixture(image_add_loops(suite, "each kind", each, 30), setup, teardown);
    tcase_add_checked_fixture(suite_add_case(suite, "rest", rest, 30), setup, teardown);
    return suite;
}
