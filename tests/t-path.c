/* SPDX-License-Identifier: MIT */
/*
 * t-path.c - names of files: as text, and as what an image may name.
 *
 * The format "toy-pointer" consists of nothing but the name of another file,
 * whose bytes are the disk's: an image from a stranger, as small as can be.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "bdrv-driver.h"
#include "host.h"
#include "suite.h"

/* --------------------------------------------------------------- as text */

START_TEST(basename_is_what_follows_the_last_slash)
{
    ck_assert_str_eq(bdrv_path_basename("disk.vmdk"), "disk.vmdk");
    ck_assert_str_eq(bdrv_path_basename("a/b/disk.vmdk"), "disk.vmdk");
    ck_assert_str_eq(bdrv_path_basename("/disk.vmdk"), "disk.vmdk");
    ck_assert_str_eq(bdrv_path_basename("a/b/"), "");
    ck_assert_str_eq(bdrv_path_basename(""), "");
}
END_TEST

START_TEST(name_is_joined_to_the_directory_of_the_base)
{
    char path[64];
    assert_ok(bdrv_path_join(path, sizeof(path), "dir/disk.vmdk", "x.vmdk"));
    ck_assert_str_eq(path, "dir/x.vmdk");
    assert_ok(bdrv_path_join(path, sizeof(path), "disk.vmdk", "x.vmdk"));
    ck_assert_str_eq(path, "x.vmdk");
    assert_ok(bdrv_path_join(path, sizeof(path), "/disk.vmdk", "x.vmdk"));
    ck_assert_str_eq(path, "/x.vmdk");
    assert_ok(bdrv_path_join(path, sizeof(path), "dir/disk.vmdk", "/x.vmdk"));
    ck_assert_str_eq(path, "/x.vmdk");
    assert_ok(bdrv_path_join(path, sizeof(path), "a/b/disk", "../c/x"));
    ck_assert_str_eq(path, "a/b/../c/x");
}
END_TEST

START_TEST(name_that_does_not_fit_is_refused_at_its_exact_length)
{
    char path[8];
    memset(path, 'z', sizeof(path));
    assert_ok(bdrv_path_join(path, sizeof(path), "ab/disk", "1234"));
    ck_assert_str_eq(path, "ab/1234");
    assert_fails(bdrv_path_join(path, sizeof(path), "ab/disk", "12345"),
                 -ENAMETOOLONG);
    assert_fails(bdrv_path_join(path, sizeof(path), "a-long-directory/x", "1"),
                 -ENAMETOOLONG);
    assert_fails(bdrv_path_join(path, 0, "x", "1"), -ENAMETOOLONG);
}
END_TEST

/* --------------------------------------------------------- the toy format */

typedef struct Pointer {
    BlockDriverState *target;
} Pointer;

static int pointer_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    Pointer *pointer = bdrv_state(bs);
    char name[4096] = "";
    size_t length = (size_t)bdrv_getlength(bdrv_file(bs));
    if (length >= sizeof(name)) {
        return bdrv_error(bs, -EINVAL, "name of %zu bytes", length);
    }
    int result = bdrv_pread(bdrv_file(bs), name, length, 0);
    if (result == 0) {
        result = bdrv_open_child(bs, name, &pointer->target);
    }
    if (result == 0) {
        bdrv_set_length(bs, bdrv_getlength(pointer->target));
    }
    return result;
}

static int pointer_read(BlockDriverState *bs, void *buf, size_t bytes,
                        int64_t offset)
{
    Pointer *pointer = bdrv_state(bs);
    return bdrv_pread(pointer->target, buf, bytes, offset);
}

static int pointer_write(BlockDriverState *bs, const void *buf, size_t bytes,
                         int64_t offset)
{
    Pointer *pointer = bdrv_state(bs);
    return bdrv_pwrite(pointer->target, buf, bytes, offset);
}

static const BlockDriver pointer_driver = {
    BDRV_DRIVER_HEAD,
    .name = "toy-pointer",
    .instance_size = sizeof(Pointer),
    .open = pointer_open,
    .read = pointer_read,
    .write = pointer_write,
};

/* ------------------------------------------------- what an image may name
 *
 *     directory/            the fixture's
 *       secret              nothing of the image's business
 *       images/pointer      the image
 *       images/data         beside it
 *       images/sub/data */

static char *directory;
static char *images;
static char *secret;
static char *image;

static void write_at(const char *parent, const char *name, const char *text)
{
    char *path = host_path(parent, name);
    host_write_file(path, text, strlen(text));
    free(path);
}

static void set_up(void)
{
    directory = host_directory_new();
    images = host_path(directory, "images");
    secret = host_path(directory, "secret");
    image = host_path(images, "pointer");
    char *sub = host_path(images, "sub");
    ck_assert_int_eq(mkdir(images, 0777), 0);
    ck_assert_int_eq(mkdir(sub, 0777), 0);
    write_at(directory, "secret", "secret");
    write_at(images, "data", "data!!");
    write_at(sub, "data", "deeper");
    free(sub);
}

static void tear_down(void)
{
    free(images);
    free(secret);
    free(image);
    host_directory_remove(directory);
}

/* Opens the image, made to name that file. */
static int try_name(const char *name, const char *const *allow_paths,
                    BlockDriverState **bs)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .allow_paths = allow_paths,
    };
    host_write_file(image, name, strlen(name));
    return bdrv_open(bs, image, "toy-pointer", &options);
}

static void assert_reads(const char *name, const char *const *allow_paths,
                         const char *text)
{
    BlockDriverState *bs;
    char found[7] = "";
    assert_ok(try_name(name, allow_paths, &bs));
    assert_ok(bdrv_pread(bs, found, 6, 0));
    ck_assert_str_eq(found, text);
    assert_ok(bdrv_close(bs));
}

static void assert_refused(const char *name, int error)
{
    BlockDriverState *bs;
    int result = try_name(name, NULL, &bs);
    ck_assert_msg(result == error, "%s gives %d (%s), wanted %d", name, result,
                  result < 0 ? bdrv_errmsg() : "opened", error);
    ck_assert_ptr_null(bs);
    ck_assert_msg(bdrv_errmsg()[0] != '\0', "%s: no message", name);
}

START_TEST(file_beside_or_below_the_image_is_opened)
{
    assert_reads("data", NULL, "data!!");
    assert_reads("./data", NULL, "data!!");
    assert_reads("sub/data", NULL, "deeper");
    assert_reads("sub/../data", NULL, "data!!");
    char *absolute = host_path(images, "data");
    assert_reads(absolute, NULL, "data!!");
    free(absolute);
}
END_TEST

START_TEST(name_is_relative_to_the_image_and_not_to_the_program)
{
    char *sub = host_path(images, "sub");
    ck_assert_int_eq(chdir(sub), 0);
    assert_reads("data", NULL, "data!!");
    ck_assert_int_eq(chdir(images), 0);
    free(sub);

    BlockDriverState *bs;
    char found[7] = "";
    host_write_file("pointer", "sub/data", 8);
    assert_ok(bdrv_open(&bs, "pointer", "toy-pointer", NULL));
    assert_ok(bdrv_pread(bs, found, 6, 0));
    ck_assert_str_eq(found, "deeper");
    assert_ok(bdrv_close(bs));
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(file_outside_is_refused_with_the_way_out)
{
    assert_refused("../secret", -EPERM);
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "allow"));
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "secret"));
    assert_refused(secret, -EPERM);
    assert_refused("/etc/passwd", -EPERM);
    assert_refused("sub/../../secret", -EPERM);
}
END_TEST

/* Bug to guard against: "/dir/images-of-others" begins with "/dir/images". */
START_TEST(directory_whose_name_only_begins_the_same_is_outside)
{
    char *twin = host_path(directory, "images-of-others");
    char *file = host_path(twin, "data");
    ck_assert_int_eq(mkdir(twin, 0777), 0);
    host_write_file(file, "others", 6);
    assert_refused(file, -EPERM);
    assert_refused("../images-of-others/data", -EPERM);
    free(file);
    free(twin);
}
END_TEST

START_TEST(allowed_directory_is_opened)
{
    const char *const allowed[] = { "/nonexistent", directory, NULL };
    const char *const all[] = { "/", NULL };
    assert_reads("../secret", allowed, "secret");
    assert_reads(secret, allowed, "secret");
    assert_reads(secret, all, "secret");

    const char *const others[] = { "/nonexistent", NULL };
    BlockDriverState *bs;
    assert_fails(try_name("../secret", others, &bs), -EPERM);
}
END_TEST

START_TEST(link_that_leads_outside_is_refused)
{
    char *file_link = host_path(images, "file-link");
    char *directory_link = host_path(images, "directory-link");
    ck_assert_int_eq(symlink("../secret", file_link), 0);
    ck_assert_int_eq(symlink("..", directory_link), 0);
    assert_refused("file-link", -EPERM);
    assert_refused("directory-link/secret", -EPERM);
    free(file_link);
    free(directory_link);
}
END_TEST

START_TEST(link_that_stays_inside_is_followed)
{
    char *link_path = host_path(images, "inner-link");
    ck_assert_int_eq(symlink("sub/data", link_path), 0);
    assert_reads("inner-link", NULL, "deeper");
    free(link_path);
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused)
{
    char *fifo = host_path(images, "fifo");
    ck_assert_int_eq(mkfifo(fifo, 0666), 0);
    BlockDriverState *bs;
    ck_assert_int_lt(try_name("fifo", NULL, &bs), 0); /* and does not hang */
    ck_assert_int_lt(try_name("sub", NULL, &bs), 0);
    ck_assert_int_lt(try_name("", NULL, &bs), 0);
    ck_assert_int_lt(try_name(".", NULL, &bs), 0);
    ck_assert_int_lt(try_name("..", NULL, &bs), 0);
    ck_assert_int_lt(try_name("sub/", NULL, &bs), 0);
    const char *const all[] = { "/", NULL };
    ck_assert_int_lt(try_name("/dev/null", all, &bs), 0);
    free(fifo);
}
END_TEST

START_TEST(missing_file_is_enoent_with_its_name)
{
    assert_refused("missing-data", -ENOENT);
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "missing-data"));
}
END_TEST

START_TEST(other_file_is_writable_only_with_the_image)
{
    BlockDriverState *bs;
    assert_ok(try_name("data", NULL, &bs));
    assert_fails(bdrv_pwrite(bs, "x", 1, 0), -EROFS);
    assert_ok(bdrv_close(bs));

    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    assert_ok(bdrv_open(&bs, image, "toy-pointer", &options));
    assert_ok(bdrv_pwrite(bs, "DATA", 4, 0));
    assert_ok(bdrv_close(bs));
    assert_reads("data", NULL, "DATA!!");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const text_tests[] = {
        basename_is_what_follows_the_last_slash,
        name_is_joined_to_the_directory_of_the_base,
        name_that_does_not_fit_is_refused_at_its_exact_length,
        NULL,
    };
    const TTest *const policy_tests[] = {
        file_beside_or_below_the_image_is_opened,
        name_is_relative_to_the_image_and_not_to_the_program,
        file_outside_is_refused_with_the_way_out,
        directory_whose_name_only_begins_the_same_is_outside,
        allowed_directory_is_opened,
        link_that_leads_outside_is_refused,
        link_that_stays_inside_is_followed,
        what_is_no_regular_file_is_refused,
        missing_file_is_enoent_with_its_name,
        other_file_is_writable_only_with_the_image,
        NULL,
    };
    suite_register(&pointer_driver, pointer_driver.name);
    Suite *suite = suite_create("path");
    suite_add_case(suite, "text", text_tests, 20);
    TCase *policy = suite_add_case(suite, "policy", policy_tests, 20);
    tcase_add_checked_fixture(policy, set_up, tear_down);
    return suite;
}
