/* SPDX-License-Identifier: MIT */
/*
 * t-create.c - what bdrv_create() must not destroy: the image that was there when
 * the request is refused, and the files of the images that the new one stands
 * on; and what all calls say to a NULL.
 */
#include <unistd.h>

#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

static char *directory;

static void set_up(void)
{
    directory = host_directory_new();
    ck_assert_int_eq(chdir(directory), 0);
}

static void tear_down(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    host_directory_remove(directory);
}

static int create(const char *name, const char *options, int64_t size, const char *backing)
{
    BdrvCreateOptions create_options = {
        .struct_size = sizeof(create_options), .size = size, .options = options,
        .backing = backing,
    };

    return bdrv_create(name, "vmdk", &create_options);
}

static void assert_opens(const char *name)
{
    BlockDriverState *bs;

    assert_ok(bdrv_open(&bs, name, NULL, NULL));
    assert_ok(bdrv_close(bs));
}

/* Options were checked after the file had been emptied, and the clean-up then
 * removed it: a slip of the pen cost the disk that was there. */
START_TEST(refused_creation_leaves_the_old_image)
{
    static const char *const refused[] = {
        "grain_size=1000", "gtes_per_table=5", "cid=zz", "subformat=cowd,grain_size=3M", "no_such=1",
    };
    size_t before_size, after_size;
    uint8_t *before, *after;

    assert_ok(create("disk.vmdk", NULL, 1 << 20, NULL));
    before = host_read_file("disk.vmdk", &before_size);
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        ck_assert_msg(create("disk.vmdk", refused[i], 1 << 20, NULL) < 0, "%s is taken", refused[i]);
        ck_assert_msg(host_exists("disk.vmdk"), "%s removes the old image", refused[i]);
        after = host_read_file("disk.vmdk", &after_size);
        ck_assert_uint_eq(after_size, before_size);
        ck_assert_mem_eq(after, before, before_size);
        free(after);
    }
    free(before);
}
END_TEST

START_TEST(refused_creation_leaves_nothing_new)
{
    ck_assert_int_lt(create("disk.vmdk", "grain_size=1000", 1 << 20, NULL), 0);
    ck_assert(!host_exists("disk.vmdk"));
}
END_TEST

START_TEST(creation_replaces_what_is_there)
{
    host_write_file("disk.vmdk", "something else, longer than nothing", 35);
    assert_ok(create("disk.vmdk", NULL, 1 << 20, NULL));
    assert_opens("disk.vmdk");
}
END_TEST

/* The check that an image is not made over its own parent looked at the parent's
 * first file only, so a child could be written over the parent's extent. */
START_TEST(child_is_not_written_over_an_extent_of_its_parent)
{
    assert_ok(create("parent.vmdk", "subformat=vmfsSparse", 1 << 20, NULL));
    assert_fails_saying(create("parent-delta.vmdk", NULL, 0, "parent.vmdk"), -EINVAL,
                        "backing image");
    assert_opens("parent.vmdk");
}
END_TEST

/* The further files of a new image were made without a look at what they
 * replace: here the delta's name is another name of the parent. */
START_TEST(further_file_of_a_child_is_not_written_over_its_parent)
{
    assert_ok(create("parent.vmdk", NULL, 1 << 20, NULL));
    ck_assert_int_eq(link("parent.vmdk", "child-delta.vmdk"), 0);
    assert_fails_saying(create("child.vmdk", "subformat=vmfsSparse", 0, "parent.vmdk"), -EEXIST,
                        "backing image");
    assert_opens("parent.vmdk");
    ck_assert(!host_exists("child.vmdk"));
}
END_TEST

START_TEST(image_knows_its_files)
{
    BlockDriverState *bs;

    assert_ok(create("parent.vmdk", "subformat=vmfsSparse", 1 << 20, NULL));
    assert_ok(create("child.vmdk", NULL, 0, "parent.vmdk"));
    host_write_file("other", "x", 1);
    ck_assert_int_eq(link("parent-delta.vmdk", "alias"), 0);
    assert_ok(bdrv_open(&bs, "child.vmdk", NULL, NULL));
    ck_assert_int_eq(bdrv_uses_file(bs, "child.vmdk"), 1);
    ck_assert_int_eq(bdrv_uses_file(bs, "parent.vmdk"), 1);
    ck_assert_int_eq(bdrv_uses_file(bs, "alias"), 1);
    ck_assert_int_eq(bdrv_uses_file(bs, "other"), 0);
    ck_assert_int_eq(bdrv_uses_file(bs, "missing"), 0);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(null_is_refused_everywhere)
{
    BdrvDriverInfo driver_info = { .struct_size = sizeof(driver_info) };
    BlockDriverState *bs;
    BdrvExtent extent;
    BdrvInfo info = { .struct_size = sizeof(info) };
    BdrvGeometry geometry;
    BdrvCheckResult result = { .struct_size = sizeof(result) };
    char byte;

    assert_fails(bdrv_open(&bs, NULL, NULL, NULL), -EINVAL);
    assert_fails(bdrv_open(NULL, "disk", NULL, NULL), -EINVAL);
    assert_fails(bdrv_open_io(&bs, "", NULL, NULL, NULL, NULL), -EINVAL);
    assert_fails(bdrv_open_node(&bs, NULL, NULL, NULL), -EINVAL);
    assert_fails(bdrv_pread(NULL, &byte, 1, 0), -EINVAL);
    assert_fails(bdrv_pwrite(NULL, &byte, 1, 0), -EINVAL);
    assert_fails(bdrv_read(NULL, 0, &byte, 1), -EINVAL);
    assert_fails(bdrv_flush(NULL), -EINVAL);
    assert_fails(bdrv_write_zeroes(NULL, 0, 1), -EINVAL);
    assert_fails(bdrv_discard(NULL, 0, 1), -EINVAL);
    assert_fails_saying(bdrv_truncate(NULL, 1), -EINVAL, "NULL");
    ck_assert_int_eq(bdrv_getlength(NULL), -EINVAL);
    assert_fails(bdrv_uses_file(NULL, "disk"), -EINVAL);
    assert_fails(bdrv_is_allocated(NULL, 0, 1, &extent), -EINVAL);
    assert_fails(bdrv_map(NULL, 0, 1, &extent), -EINVAL);
    assert_fails(bdrv_get_info(NULL, &info), -EINVAL);
    assert_fails(bdrv_get_details(NULL, NULL, NULL), -EINVAL);
    assert_fails(bdrv_get_geometry(NULL, &geometry), -EINVAL);
    assert_fails(bdrv_probe(NULL, NULL), -EINVAL);
    assert_fails(bdrv_create(NULL, "raw", NULL), -EINVAL);
    assert_fails(bdrv_create_node(NULL, "raw", NULL), -EINVAL);
    assert_fails(bdrv_commit(NULL), -EINVAL);
    assert_fails(bdrv_rebase(NULL, NULL, NULL, 0), -EINVAL);
    assert_fails(bdrv_amend(NULL, ""), -EINVAL);
    assert_fails(bdrv_check(NULL, NULL, &result), -EINVAL);
    assert_fails(bdrv_convert(NULL, NULL, NULL), -EINVAL);
    assert_fails(bdrv_driver_describe(NULL, &driver_info), -EINVAL);
    ck_assert_ptr_null(bdrv_find(NULL));
    ck_assert_int_eq(bdrv_close(NULL), 0);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        refused_creation_leaves_the_old_image,
        refused_creation_leaves_nothing_new,
        creation_replaces_what_is_there,
        child_is_not_written_over_an_extent_of_its_parent,
        further_file_of_a_child_is_not_written_over_its_parent,
        image_knows_its_files,
        null_is_refused_everywhere,
        NULL,
    };
    Suite *suite = suite_create("create");

    tcase_add_checked_fixture(suite_add_case(suite, "creating", tests, 20), set_up, tear_down);
    return suite;
}
