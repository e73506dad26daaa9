/* SPDX-License-Identifier: MIT */
/*
 * t-block.c - the life of nodes: references, locks, storage that the caller
 * supplies, creating files and what is left when that fails.
 */
#include <sys/stat.h>

#include "bdrv-driver.h"
#include "fault.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

/* -------------------------------------------------------------- references */

START_TEST(handle_keeps_its_storage_when_the_caller_closes_his)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    assert_ok(bdrv_open_node(&bs, memory, "raw", &options));
    ck_assert_ptr_eq(bdrv_file(bs), memory);
    ck_assert_ptr_null(bdrv_backing(bs));
    assert_ok(bdrv_close(memory));
    assert_ok(pattern_write(bs, 0, 4096, 1));
    assert_pattern(bs, 0, 4096, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(storage_keeps_its_content_when_the_handle_is_closed)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    for (unsigned round = 1; round <= 3; round++) {
        assert_ok(bdrv_open_node(&bs, memory, "raw", &options));
        assert_ok(pattern_write(bs, 0, 4096, round));
        assert_ok(bdrv_close(bs));
        assert_pattern(memory, 0, 4096, round);
    }
    ck_assert_ptr_null(bdrv_file(memory));
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(failed_open_gives_null_and_releases_everything)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs = memory;
    assert_fails(bdrv_open_node(&bs, memory, "vmdk", NULL), -EINVAL);
    ck_assert_ptr_null(bs);
    bs = memory;
    assert_fails(bdrv_open_node(&bs, memory, "file", NULL), -EINVAL);
    ck_assert_ptr_null(bs);
    assert_fails(bdrv_open_node(&bs, NULL, "raw", NULL), -EINVAL);
    /* Reading works: no reference too many was dropped. */
    assert_pattern(memory, 0, 4096, PATTERN_ZEROS);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(writable_handle_needs_writable_storage)
{
    char *directory = host_directory_new();
    char *path = host_path(directory, "disk");
    BlockDriverState *file;
    BlockDriverState *bs;
    host_write_file(path, "0123456789abcdef", 16);
    assert_ok(bdrv_open(&file, path, "file", NULL));
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    assert_fails(bdrv_open_node(&bs, file, "raw", &options), -EROFS);
    ck_assert_ptr_null(bs);
    assert_ok(bdrv_close(file));
    free(path);
    host_directory_remove(directory);
}
END_TEST

/* ------------------------------------------------------------------- locks */

typedef struct Desk {
    char *directory;
    char *path;
} Desk;

static Desk desk;

static void set_up(void)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 65536 };
    desk.directory = host_directory_new();
    desk.path = host_path(desk.directory, "disk.img");
    assert_ok(bdrv_create(desk.path, "raw", &create));
}

static void tear_down(void)
{
    free(desk.path);
    host_directory_remove(desk.directory);
}

static int try_open(unsigned flags, BlockDriverState **bs)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    return bdrv_open(bs, desk.path, "raw", &options);
}

START_TEST(second_writer_is_kept_out)
{
    BlockDriverState *first;
    BlockDriverState *second;
    assert_ok(try_open(BDRV_O_RDWR, &first));
    assert_fails_saying(try_open(BDRV_O_RDWR, &second), -EBUSY, "disk.img");
    ck_assert_ptr_null(second);
    assert_ok(try_open(BDRV_O_RDWR | BDRV_O_NO_LOCK, &second));
    assert_ok(bdrv_close(second));
    /* Closing another descriptor of the file must not drop the lock. */
    assert_fails(try_open(BDRV_O_RDWR, &second), -EBUSY);
    assert_ok(bdrv_close(first));
    assert_ok(try_open(BDRV_O_RDWR, &second));
    assert_ok(bdrv_close(second));
}
END_TEST

START_TEST(readers_hinder_nobody)
{
    BlockDriverState *reader;
    BlockDriverState *other;
    BlockDriverState *writer;
    assert_ok(try_open(0, &reader));
    assert_ok(try_open(0, &other));
    assert_ok(try_open(BDRV_O_RDWR, &writer));
    assert_ok(bdrv_close(other));
    assert_ok(try_open(0, &other));
    assert_ok(bdrv_close(writer));
    assert_ok(bdrv_close(other));
    assert_ok(bdrv_close(reader));
}
END_TEST

START_TEST(create_does_not_empty_a_file_that_has_a_writer)
{
    BlockDriverState *writer;
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 512 };
    assert_ok(try_open(BDRV_O_RDWR, &writer));
    assert_ok(pattern_write(writer, 0, 65536, 1));
    assert_fails_saying(bdrv_create(desk.path, "raw", &create), -EBUSY,
                        "disk.img");
    ck_assert_int_eq(host_exists(desk.path), 1);
    assert_pattern(writer, 0, 65536, 1);
    assert_ok(bdrv_close(writer));
}
END_TEST

/* ---------------------------------------------------------------- creating */

START_TEST(create_keeps_the_inode_and_forgets_the_content)
{
    struct stat before;
    struct stat after;
    BlockDriverState *bs;
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 4096 };
    assert_ok(try_open(BDRV_O_RDWR, &bs));
    assert_ok(pattern_write(bs, 0, 65536, 1));
    assert_ok(bdrv_close(bs));
    ck_assert_int_eq(stat(desk.path, &before), 0);
    assert_ok(bdrv_create(desk.path, "raw", &create));
    ck_assert_int_eq(stat(desk.path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    assert_ok(try_open(0, &bs));
    ck_assert_int_eq(bdrv_getlength(bs), 4096);
    assert_pattern(bs, 0, 4096, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* Makes its file, writes to it, then fails. */
static int clumsy_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    BlockDriverState *child;
    (void)params;
    int result = bdrv_pwrite(file, "half an image", 13, 0);
    if (result == 0) {
        result = bdrv_create_child(file, "clumsy-child", &child);
    }
    return result != 0 ? result : bdrv_error(file, -EDOM, "clumsy as ever");
}

static int clumsy_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    bdrv_set_length(bs, 0);
    return 0;
}

static int clumsy_read(BlockDriverState *bs, void *buf, size_t bytes,
                       int64_t offset)
{
    return bdrv_pread(bdrv_file(bs), buf, bytes, offset);
}

static const BlockDriver clumsy = {
    BDRV_DRIVER_HEAD, .name = "toy-clumsy", .open = clumsy_open,
    .read = clumsy_read, .create = clumsy_create,
};

START_TEST(failed_create_removes_every_file_it_made)
{
    char *path = host_path(desk.directory, "new.img");
    char *child = host_path(desk.directory, "clumsy-child");
    assert_fails_saying(bdrv_create(path, "toy-clumsy", NULL), -EDOM,
                        "clumsy as ever");
    ck_assert_int_eq(host_exists(path), 0);
    ck_assert_int_eq(host_exists(child), 0);
    free(child);
    free(path);
}
END_TEST

START_TEST(create_refuses_nonsense_before_it_touches_anything)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = -1 };
    BlockDriverState *bs;
    assert_ok(try_open(BDRV_O_RDWR, &bs));
    assert_ok(pattern_write(bs, 0, 65536, 1));
    assert_ok(bdrv_close(bs));
    assert_fails(bdrv_create(desk.path, "raw", &create), -EINVAL);
    create.size = 4096;
    create.options = "colour=red";
    assert_fails_saying(bdrv_create(desk.path, "raw", &create), -EINVAL,
                        "colour");
    create.options = NULL;
    create.backing = "disk.img";
    assert_fails(bdrv_create(desk.path, "raw", &create), -ENOTSUP);
    create.backing = NULL;
    assert_fails_saying(bdrv_create(desk.path, "vhs", &create), -EINVAL, "vhs");
    assert_fails(bdrv_create(desk.path, NULL, &create), -EINVAL);
    assert_ok(try_open(0, &bs));
    assert_pattern(bs, 0, 65536, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* ---------------------------------------------- storage the caller supplies */

typedef struct Shelf {
    uint8_t bytes[8192];
    int64_t length;
    int flushes;
    int closes;
    int error; /* what the callbacks give; 0: success */
} Shelf;

static int shelf_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    Shelf *shelf = opaque;
    ck_assert_int_ge(offset, 0);
    ck_assert_int_le(offset + (int64_t)bytes, shelf->length);
    memcpy(buf, shelf->bytes + offset, bytes);
    return shelf->error;
}

static int shelf_write(void *opaque, const void *buf, size_t bytes,
                       int64_t offset)
{
    Shelf *shelf = opaque;
    if (offset + (int64_t)bytes > (int64_t)sizeof(shelf->bytes)) {
        return -ENOSPC;
    }
    memcpy(shelf->bytes + offset, buf, bytes);
    if (offset + (int64_t)bytes > shelf->length) {
        shelf->length = offset + (int64_t)bytes;
    }
    return shelf->error;
}

static int shelf_flush(void *opaque)
{
    Shelf *shelf = opaque;
    shelf->flushes++;
    return shelf->error;
}

static int64_t shelf_getlength(void *opaque)
{
    Shelf *shelf = opaque;
    return shelf->error != 0 ? shelf->error : shelf->length;
}

static int shelf_truncate(void *opaque, int64_t length)
{
    Shelf *shelf = opaque;
    if (length > (int64_t)sizeof(shelf->bytes)) {
        return -ENOSPC;
    }
    shelf->length = length;
    return shelf->error;
}

static void shelf_close(void *opaque)
{
    Shelf *shelf = opaque;
    shelf->closes++;
}

static const BdrvIo shelf_io = {
    .struct_size = sizeof(BdrvIo),
    .read = shelf_read,
    .write = shelf_write,
    .flush = shelf_flush,
    .getlength = shelf_getlength,
    .truncate = shelf_truncate,
    .close = shelf_close,
};

static BlockDriverState *open_shelf(Shelf *shelf, const BdrvIo *io,
                                    unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    assert_ok(bdrv_open_io(&bs, "shelf", io, shelf, "raw", &options));
    return bs;
}

START_TEST(disk_on_callbacks_reads_writes_and_closes_once)
{
    Shelf shelf = { .length = 4096 };
    BlockDriverState *bs = open_shelf(&shelf, &shelf_io, BDRV_O_RDWR);
    ck_assert_int_eq(bdrv_getlength(bs), 4096);
    assert_ok(pattern_write(bs, 0, 4096, 3));
    assert_pattern(bs, 0, 4096, 3);
    ck_assert_ptr_null(pattern_check(shelf.bytes, 4096, 0, 3));
    assert_ok(bdrv_truncate(bs, 8192));
    assert_pattern(bs, 4096, 4096, PATTERN_ZEROS);
    assert_ok(bdrv_flush(bs));
    ck_assert_int_ge(shelf.flushes, 1);
    ck_assert_int_eq(shelf.closes, 0);
    assert_ok(bdrv_close(bs));
    ck_assert_int_eq(shelf.closes, 1);
}
END_TEST

START_TEST(any_format_can_live_on_callbacks)
{
    Shelf shelf = { .length = 4096 };
    BlockDriverState *bs;
    BdrvOpenOptions options = { .struct_size = sizeof(options) };
    assert_ok(bdrv_open_io(&bs, "shelf", &shelf_io, &shelf, NULL, &options));
    ck_assert_str_eq(bdrv_format(bs), "raw");
    ck_assert_str_eq(bdrv_filename(bs), "shelf");
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(storage_without_write_is_read_only)
{
    Shelf shelf = { .length = 4096 };
    BdrvIo io = shelf_io;
    io.write = NULL;
    BlockDriverState *bs = open_shelf(&shelf, &io, 0);
    assert_fails(bdrv_pwrite(bs, "x", 1, 0), -EROFS);
    assert_ok(bdrv_close(bs));
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    shelf.closes = 0;
    assert_fails(bdrv_open_io(&bs, "shelf", &io, &shelf, "raw", &options),
                 -EROFS);
    ck_assert_int_eq(shelf.closes, 0);
}
END_TEST

START_TEST(storage_without_truncate_has_a_fixed_size)
{
    Shelf shelf = { .length = 4096 };
    BdrvIo io = shelf_io;
    io.truncate = NULL;
    io.flush = NULL;
    io.close = NULL;
    BlockDriverState *bs = open_shelf(&shelf, &io, BDRV_O_RDWR);
    assert_fails(bdrv_truncate(bs, 8192), -ENOTSUP);
    assert_ok(bdrv_pwrite(bs, "x", 1, 4095));
    assert_fails(bdrv_pwrite(bdrv_file(bs), "x", 1, 4096), -ENOSPC);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(failing_callback_is_told_with_its_error)
{
    Shelf shelf = { .length = 4096 };
    uint8_t byte = 0;
    BlockDriverState *bs = open_shelf(&shelf, &shelf_io, BDRV_O_RDWR);
    shelf.error = -ENXIO;
    assert_fails_saying(bdrv_pread(bs, &byte, 1, 0), -ENXIO, "shelf");
    assert_fails_saying(bdrv_pwrite(bs, &byte, 1, 0), -ENXIO, "shelf");
    assert_fails_saying(bdrv_flush(bs), -ENXIO, "shelf");
    assert_fails_saying(bdrv_close(bs), -ENXIO, "shelf");
    ck_assert_int_eq(shelf.closes, 1);

    shelf.closes = 0;
    assert_fails(bdrv_open_io(&bs, "shelf", &shelf_io, &shelf, "raw", NULL),
                 -ENXIO);
    ck_assert_ptr_null(bs);
    ck_assert_int_eq(shelf.closes, 0);
}
END_TEST

START_TEST(missing_required_callback_is_refused_by_name)
{
    Shelf shelf = { .length = 4096 };
    BlockDriverState *bs;
    BdrvIo io = shelf_io;
    io.read = NULL;
    assert_fails_saying(bdrv_open_io(&bs, "shelf", &io, &shelf, "raw", NULL),
                        -EINVAL, "read");
    io = shelf_io;
    io.getlength = NULL;
    assert_fails_saying(bdrv_open_io(&bs, "shelf", &io, &shelf, "raw", NULL),
                        -EINVAL, "getlength");
    assert_fails(bdrv_open_io(&bs, "shelf", NULL, &shelf, "raw", NULL), -EINVAL);
    ck_assert_int_eq(shelf.closes, 0);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const node_tests[] = {
        handle_keeps_its_storage_when_the_caller_closes_his,
        storage_keeps_its_content_when_the_handle_is_closed,
        failed_open_gives_null_and_releases_everything,
        writable_handle_needs_writable_storage,
        NULL,
    };
    const TTest *const file_tests[] = {
        second_writer_is_kept_out,
        readers_hinder_nobody,
        create_does_not_empty_a_file_that_has_a_writer,
        create_keeps_the_inode_and_forgets_the_content,
        failed_create_removes_every_file_it_made,
        create_refuses_nonsense_before_it_touches_anything,
        NULL,
    };
    const TTest *const io_tests[] = {
        disk_on_callbacks_reads_writes_and_closes_once,
        any_format_can_live_on_callbacks,
        storage_without_write_is_read_only,
        storage_without_truncate_has_a_fixed_size,
        failing_callback_is_told_with_its_error,
        missing_required_callback_is_refused_by_name,
        NULL,
    };
    suite_register(&clumsy, clumsy.name);
    Suite *suite = suite_create("block");
    suite_add_case(suite, "nodes", node_tests, 20);
    TCase *files = suite_add_case(suite, "files", file_tests, 20);
    tcase_add_checked_fixture(files, set_up, tear_down);
    suite_add_case(suite, "caller's storage", io_tests, 20);
    return suite;
}
