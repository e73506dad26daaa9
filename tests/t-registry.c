/* SPDX-License-Identifier: MIT */
/*
 * t-registry.c - the driver table: what is let in, what a hole in a table means,
 * and what the table tells about itself.
 */
#include "bdrv-driver.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

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

static int toy_write(BlockDriverState *bs, const void *buf, size_t bytes,
                     int64_t offset)
{
    return bdrv_pwrite(bdrv_file(bs), buf, bytes, offset);
}

/* The least that a driver can be. */
static const BlockDriver smallest = {
    BDRV_DRIVER_HEAD,
    .name = "toy-smallest",
    .open = toy_open,
    .read = toy_read,
};

static const BlockDriver writable = {
    BDRV_DRIVER_HEAD,
    .name = "toy-writable",
    .open = toy_open,
    .read = toy_read,
    .write = toy_write,
};

static BlockDriverState *open_toy(const BlockDriver *driver,
                                  BlockDriverState *file, unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    if (bdrv_find(driver->name) == NULL) {
        assert_ok(bdrv_register(driver));
    }
    assert_ok(bdrv_open_node(&bs, file, driver->name, &options));
    return bs;
}

/* ------------------------------------------------------------- what is let in */

START_TEST(table_without_a_required_member_is_refused_by_its_name)
{
    BlockDriver driver = smallest;
    driver.name = NULL;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "name");
    driver.name = "";
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "name");
    driver.name = "toy-holes";
    driver.open = NULL;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "open");
    driver.open = toy_open;
    driver.read = NULL;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "read");
    ck_assert_ptr_null(bdrv_find("toy-holes"));
    assert_fails(bdrv_register(NULL), -EINVAL);
}
END_TEST

START_TEST(table_of_another_make_is_refused)
{
    BlockDriver driver = smallest;
    driver.name = "toy-future";
    driver.api_version = BDRV_DRIVER_API + 1;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "api_version");
    driver.api_version = 0;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "api_version");
    driver.api_version = BDRV_DRIVER_API;
    driver.struct_size = 0;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "struct_size");
    driver.struct_size = offsetof(BlockDriver, read);
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "struct_size");
    driver.struct_size = sizeof(driver);
    driver.flags = 1u << 31;
    assert_fails_saying(bdrv_register(&driver), -EINVAL, "flags");
    ck_assert_ptr_null(bdrv_find("toy-future"));
}
END_TEST

START_TEST(name_that_is_taken_is_refused)
{
    BlockDriver driver = smallest;
    driver.name = "raw";
    assert_fails_saying(bdrv_register(&driver), -EEXIST, "raw");
}
END_TEST

/* Compiled against a header whose table ended behind read: the rest is not even
 * looked at. */
START_TEST(shorter_table_of_an_older_header_is_let_in)
{
    BlockDriver driver;
    memset(&driver, 0xa5, sizeof(driver));
    memcpy(&driver, &smallest, offsetof(BlockDriver, write));
    driver.name = "toy-old";
    driver.struct_size = offsetof(BlockDriver, write);
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs = open_toy(&driver, memory, 0);
    uint8_t byte = 1;
    assert_ok(bdrv_pread(bs, &byte, 1, 4095));
    ck_assert_uint_eq(byte, 0);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* Compiled against a newer header: what this library does not know is cut. */
START_TEST(longer_table_of_a_newer_header_is_let_in)
{
    struct {
        BlockDriver known;
        void (*later)(void);
    } driver = { .known = smallest };
    driver.known.name = "toy-new";
    driver.known.struct_size = sizeof(driver);
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs = open_toy(&driver.known, memory, 0);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------------ what holes mean */

START_TEST(driver_without_write_is_read_only_and_says_so)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs = open_toy(&smallest, memory, 0);
    uint8_t byte = 0;
    assert_fails(bdrv_pwrite(bs, &byte, 1, 0), -EROFS);
    assert_ok(bdrv_close(bs));

    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    assert_fails_saying(bdrv_open_node(&bs, memory, "toy-smallest", &options),
                        -EROFS, "toy-smallest");
    ck_assert_ptr_null(bs);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(holes_are_loud)
{
    BlockDriverState *memory = image_memory(4096);
    BlockDriverState *bs = open_toy(&writable, memory, BDRV_O_RDWR);
    assert_fails_saying(bdrv_discard(bs, 0, 512), -ENOTSUP, "toy-writable");
    assert_fails_saying(bdrv_truncate(bs, 8192), -ENOTSUP, "toy-writable");
    assert_fails(bdrv_commit(bs), -ENOTSUP);
    assert_ok(bdrv_close(bs));

    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 4096 };
    assert_fails_saying(bdrv_create_node(memory, "toy-writable", &create),
                        -ENOTSUP, "toy-writable");
    ck_assert_int_eq(bdrv_getlength(memory), 4096);
    assert_ok(bdrv_close(memory));
}
END_TEST

/* The default writes its zeros in chunks: a loop that does not advance would
 * pass with a range of one chunk. */
START_TEST(zeros_are_written_as_data_where_the_driver_knows_no_better)
{
    enum { LENGTH = 1000000 };
    BlockDriverState *memory = image_memory(LENGTH);
    uint8_t *ones = malloc(LENGTH);
    ck_assert_ptr_nonnull(ones);
    memset(ones, 1, LENGTH);
    assert_ok(bdrv_pwrite(memory, ones, LENGTH, 0));
    BlockDriverState *bs = open_toy(&writable, memory, BDRV_O_RDWR);
    assert_ok(bdrv_write_zeroes(bs, 1, LENGTH - 2));
    assert_ok(bdrv_close(bs));

    uint8_t *found = image_memory_bytes(memory);
    memset(ones + 1, 0, LENGTH - 2);
    ck_assert_int_eq(memcmp(found, ones, LENGTH), 0);
    free(found);
    free(ones);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(everything_is_data_where_the_driver_tells_nothing)
{
    BlockDriverState *memory = image_memory(100000);
    BlockDriverState *bs = open_toy(&smallest, memory, 0);
    BdrvExtent extent;
    assert_ok(bdrv_is_allocated(bs, 5, 99995, &extent));
    ck_assert_int_eq(extent.state, BDRV_DATA);
    ck_assert_int_eq(extent.bytes, 99995);
    ck_assert_ptr_null(extent.file);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------ what the table tells */

START_TEST(built_in_drivers_are_listed_once_each)
{
    static const char *const wanted[] = { "file", "raw", "mem", "null", "vmdk" };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        int count = 0;
        for (const BlockDriver *d = bdrv_next(NULL); d; d = bdrv_next(d)) {
            BdrvDriverInfo info = { .struct_size = sizeof(info) };
            assert_ok(bdrv_driver_describe(d, &info));
            count += strcmp(info.name, wanted[i]) == 0;
        }
        ck_assert_msg(count == 1, "%s is listed %d times", wanted[i], count);
        ck_assert_ptr_nonnull(bdrv_find(wanted[i]));
    }
    ck_assert_ptr_null(bdrv_find("no such driver"));
    ck_assert_ptr_null(bdrv_find(NULL));
}
END_TEST

START_TEST(description_is_complete_for_every_driver)
{
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = { .struct_size = sizeof(info) };
        assert_ok(bdrv_driver_describe(d, &info));
        ck_assert_ptr_nonnull(info.description);
        const BdrvOption *const lists[] = {
            info.open_options, info.create_options, info.amend_options,
        };
        for (size_t i = 0; i < 3; i++) {
            ck_assert_ptr_nonnull(lists[i]);
            for (const BdrvOption *o = lists[i]; o->name != NULL; o++) {
                ck_assert_msg(o->help != NULL && o->help[0] != '\0',
                              "%s: option %s has no help", info.name, o->name);
                ck_assert_int_eq(o->type == BDRV_OPTION_CHOICE,
                                 o->choices != NULL);
            }
        }
    }
}
END_TEST

/* A variant can do nothing that its driver cannot; who says that one can be created
 * says how. */
START_TEST(variants_are_those_of_their_driver)
{
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = { .struct_size = sizeof(info) };
        assert_ok(bdrv_driver_describe(d, &info));
        ck_assert_int_eq((info.abilities & BDRV_CAN_READ) != 0, 1);
        ck_assert_int_eq((info.abilities & BDRV_CAN_WRITE) != 0, info.can_write);
        ck_assert_int_eq((info.abilities & BDRV_CAN_CREATE) != 0, info.can_create);
        ck_assert_int_eq((info.abilities & BDRV_CAN_BACK) != 0, info.can_back);
        ck_assert_ptr_nonnull(info.variants);
        for (const BdrvVariant *v = info.variants; v->name != NULL; v++) {
            ck_assert_msg((v->abilities & ~info.abilities) == 0, "%s: %s can too much",
                          info.name, v->name);
            ck_assert_msg(!(v->abilities & BDRV_CAN_CREATE) == (v->create_options == NULL),
                          "%s: %s: create_options", info.name, v->name);
            ck_assert_msg(v->abilities != 0 || v->note != NULL, "%s: %s: no reason",
                          info.name, v->name);
        }
    }
}
END_TEST

/* What a driver says makes each of its variants does make one that opens, empty. */
START_TEST(variants_that_can_be_created_are)
{
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = { .struct_size = sizeof(info) };
        assert_ok(bdrv_driver_describe(d, &info));
        for (const BdrvVariant *v = info.variants; v->name != NULL; v++) {
            if (!(v->abilities & BDRV_CAN_CREATE) || v->needs != NULL) {
                continue;
            }
            char *directory = host_directory_new(), *path = host_path(directory, "image");
            BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 1 << 20,
                                         .options = v->create_options };
            BlockDriverState *bs;
            assert_ok(bdrv_create(path, info.name, &create));
            assert_ok(bdrv_open(&bs, path, info.name, NULL));
            assert_pattern(bs, 0, 1 << 20, PATTERN_ZEROS);
            assert_ok(bdrv_close(bs));
            free(path);
            host_directory_remove(directory);
        }
    }
}
END_TEST

START_TEST(description_fits_an_older_callers_struct)
{
    BdrvDriverInfo info;
    memset(&info, 0x77, sizeof(info));
    info.struct_size = offsetof(BdrvDriverInfo, open_options);
    assert_ok(bdrv_driver_describe(bdrv_find("raw"), &info));
    ck_assert_str_eq(info.name, "raw");
    ck_assert_int_eq(info.can_write, 1);
    ck_assert_int_eq(info.can_create, 1);
    ck_assert_int_eq(info.is_protocol, 0);
    unsigned char untouched[sizeof(info.open_options)];
    memset(untouched, 0x77, sizeof(untouched));
    ck_assert_int_eq(memcmp(&info.open_options, untouched, sizeof(untouched)), 0);
}
END_TEST

START_TEST(unknown_format_is_refused_with_the_list_of_known_ones)
{
    BlockDriverState *memory = image_memory(512);
    BlockDriverState *bs = memory;
    assert_fails_saying(bdrv_open_node(&bs, memory, "vhs", NULL), -EINVAL, "vhs");
    ck_assert_ptr_null(bs);
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "raw"));
    assert_ok(bdrv_close(memory));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        table_without_a_required_member_is_refused_by_its_name,
        table_of_another_make_is_refused,
        name_that_is_taken_is_refused,
        shorter_table_of_an_older_header_is_let_in,
        longer_table_of_a_newer_header_is_let_in,
        driver_without_write_is_read_only_and_says_so,
        holes_are_loud,
        zeros_are_written_as_data_where_the_driver_knows_no_better,
        everything_is_data_where_the_driver_tells_nothing,
        built_in_drivers_are_listed_once_each,
        description_is_complete_for_every_driver,
        variants_are_those_of_their_driver,
        variants_that_can_be_created_are,
        description_fits_an_older_callers_struct,
        unknown_format_is_refused_with_the_list_of_known_ones,
        NULL,
    };
    Suite *suite = suite_create("registry");
    suite_add_case(suite, "driver table", tests, 20);
    return suite;
}
