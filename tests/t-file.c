/* SPDX-License-Identifier: MIT */
/*
 * t-file.c - the file driver: bytes, holes, kinds of files, creation and
 * removal, devices.  Who may open a file beside whom is in t-lock.c, which other
 * files an image may name in t-policy.c.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bdrv-driver.h"
#include "host.h"
#include "pattern.h"
#include "suite.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static char *directory;
static char *path; /* of the file that most tests are about */

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

static void make_file(int64_t length)
{
    host_write_file(path, "", 0);
    ck_assert_int_eq(truncate(path, length), 0);
}

static int64_t length_on_host(void)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_size;
}

static int try_open(const char *name, unsigned flags, BlockDriverState **bs)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    return bdrv_open(bs, name, "file", &options);
}

static BlockDriverState *open_file(unsigned flags)
{
    BlockDriverState *bs;
    assert_ok(try_open(path, flags, &bs));
    return bs;
}

static int64_t host_bytes(BlockDriverState *bs)
{
    BdrvInfo info = { .struct_size = sizeof(info) };
    assert_ok(bdrv_get_info(bs, &info));
    return info.host_bytes;
}

/* ------------------------------------------------------------------- bytes */

START_TEST(what_is_written_is_in_the_file)
{
    make_file(MIB);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 4097, 100 * KIB, 3));
    assert_pattern(bs, 4097, 100 * KIB, 3);
    assert_ok(bdrv_close(bs));

    size_t size;
    uint8_t *bytes = host_read_file(path, &size);
    ck_assert_uint_eq(size, MIB);
    ck_assert_ptr_null(pattern_check(bytes + 4097, 100 * KIB, 4097, 3));
    ck_assert_ptr_null(pattern_check(bytes, 4097, 0, PATTERN_ZEROS));
    free(bytes);
}
END_TEST

START_TEST(writing_past_the_end_grows_the_file)
{
    make_file(1000);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 5000, 1000, 1));
    ck_assert_int_eq(bdrv_getlength(bs), 6000);
    ck_assert_int_eq(length_on_host(), 6000);
    assert_pattern(bs, 0, 5000, PATTERN_ZEROS);
    assert_pattern(bs, 5000, 1000, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* Zeros for what is no longer there would be copied over somebody's backup. */
START_TEST(a_file_that_shrinks_while_open_gives_errors_not_zeros)
{
    uint8_t buf[4096];
    make_file(8192);
    BlockDriverState *bs = open_file(0);
    ck_assert_int_eq(truncate(path, 5000), 0);
    assert_ok(bdrv_pread(bs, buf, 904, 4096));
    assert_fails_saying(bdrv_pread(bs, buf, 4096, 4096), -EIO,
                        "file ends at byte 5000, 4096 bytes wanted at offset 4096");
    BdrvExtent extent;
    assert_ok(bdrv_is_allocated(bs, 6000, 1000, &extent));
    ck_assert_int_eq(extent.state, BDRV_DATA);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* At the end of the longest file that there can be, the place up to which a call goes was
 * reckoned beyond what a number holds. */
START_TEST(the_end_of_the_longest_file_is_read_and_written)
{
    host_write_file(path, "", 0);
    if (truncate(path, INT64_MAX) < 0) {
        suite_skipped("the file system has no files of 2^63 - 1 bytes");
        return;
    }
    static const unsigned caches[] = { 0, BDRV_O_DIRECT };
    for (int i = 0; i < 2; i++) {
        BlockDriverState *bs;
        uint8_t bytes[512] = {0};
        int ret = try_open(path, BDRV_O_RDWR | caches[i], &bs);
        if (caches[i] && ret == -ENOTSUP) {
            return;
        }
        assert_ok(ret);
        assert_ok(bdrv_pwrite(bs, "end", 3, INT64_MAX - 3));
        assert_ok(bdrv_pread(bs, bytes, sizeof(bytes), INT64_MAX - 512));
        ck_assert_mem_eq(bytes + 509, "end", 3);
        assert_fails(bdrv_pwrite(bs, "end", 3, INT64_MAX - 2), -ERANGE);
        assert_ok(bdrv_close(bs));
    }
}
END_TEST

START_TEST(the_length_can_be_set_both_ways)
{
    make_file(0);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 0, 8192, 1));
    assert_ok(bdrv_truncate(bs, 1000));
    ck_assert_int_eq(length_on_host(), 1000);
    assert_ok(bdrv_truncate(bs, 3 * MIB));
    ck_assert_int_eq(bdrv_getlength(bs), 3 * MIB);
    assert_pattern(bs, 0, 1000, 1);
    assert_pattern(bs, 1000, 3 * MIB - 1000, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* ------------------------------------------------------------------- holes */

/* Not 0 if the file system below the tests knows holes; most do. */
static int has_holes(void)
{
    BdrvExtent extent;
    make_file(MIB);
    BlockDriverState *bs = open_file(0);
    assert_ok(bdrv_is_allocated(bs, 0, MIB, &extent));
    assert_ok(bdrv_close(bs));
    if (extent.state == BDRV_ZERO) {
        return 1;
    }
    suite_skipped("the file system tells no holes");
    return 0;
}

static void assert_extent(BlockDriverState *bs, int64_t offset, int64_t bytes,
                          BdrvState state, int64_t run)
{
    BdrvExtent extent;
    assert_ok(bdrv_is_allocated(bs, offset, bytes, &extent));
    ck_assert_int_eq(extent.state, state);
    ck_assert_int_eq(extent.bytes, run);
    ck_assert_ptr_eq(extent.file, state == BDRV_DATA ? bs : NULL);
    ck_assert_int_eq(extent.file_offset, state == BDRV_DATA ? offset : 0);
}

START_TEST(holes_are_told_as_zeros_with_their_length)
{
    if (!has_holes()) {
        return;
    }
    make_file(4 * MIB);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, MIB, 64 * KIB, 1));
    assert_extent(bs, 0, 4 * MIB, BDRV_ZERO, MIB);
    assert_extent(bs, 512, 1000, BDRV_ZERO, 1000);
    assert_extent(bs, MIB, 3 * MIB, BDRV_DATA, 64 * KIB);
    assert_extent(bs, MIB + 7, 100, BDRV_DATA, 100);
    assert_extent(bs, 2 * MIB, 2 * MIB, BDRV_ZERO, 2 * MIB); /* up to the end */
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(zeros_and_discards_give_space_back)
{
    if (!has_holes()) {
        return;
    }
    make_file(0);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 0, 4 * MIB, 1));
    assert_ok(bdrv_flush(bs)); /* some file systems count only now */
    int64_t full = host_bytes(bs);
    assert_ok(bdrv_write_zeroes(bs, MIB, MIB));
    assert_ok(bdrv_flush(bs));
    ck_assert_int_le(host_bytes(bs), full - MIB);
    assert_ok(bdrv_discard(bs, 2 * MIB, MIB));
    assert_ok(bdrv_flush(bs));
    ck_assert_int_le(host_bytes(bs), full - 2 * MIB);
    ck_assert_int_eq(length_on_host(), 4 * MIB);
    assert_pattern(bs, 0, MIB, 1);
    assert_pattern(bs, MIB, 2 * MIB, PATTERN_ZEROS);
    assert_pattern(bs, 3 * MIB, MIB, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(zeros_of_any_alignment_hit_their_range_only)
{
    make_file(0);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 0, MIB, 1));
    assert_ok(bdrv_write_zeroes(bs, 1001, 200007));
    assert_pattern(bs, 0, 1001, 1);
    assert_pattern(bs, 1001, 200007, PATTERN_ZEROS);
    assert_pattern(bs, 201008, MIB - 201008, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(zeros_across_and_behind_the_end_grow_the_file)
{
    make_file(0);
    BlockDriverState *bs = open_file(BDRV_O_RDWR);
    assert_ok(pattern_write(bs, 0, 10000, 1));
    assert_ok(bdrv_write_zeroes(bs, 9000, 3000));
    ck_assert_int_eq(length_on_host(), 12000);
    assert_ok(bdrv_write_zeroes(bs, 50000, 1));
    ck_assert_int_eq(length_on_host(), 50001);
    ck_assert_int_eq(bdrv_getlength(bs), 50001);
    assert_pattern(bs, 0, 9000, 1);
    assert_pattern(bs, 9000, 41001, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* ------------------------------------------------------------------- kinds */

START_TEST(what_cannot_hold_a_disk_is_refused_by_its_kind)
{
    BlockDriverState *bs;
    assert_fails_saying(try_open(directory, 0, &bs), -EISDIR, "directory");
    assert_fails_saying(try_open("/dev/null", 0, &bs), -EINVAL, "character device");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    assert_fails_saying(try_open(path, 0, &bs), -EINVAL, "FIFO"); /* without waiting */
    assert_fails_saying(try_open(path, BDRV_O_RDWR, &bs), -EINVAL, "FIFO");
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = MIB };
    assert_fails_saying(bdrv_create(path, "raw", &create), -EINVAL, "FIFO");
    ck_assert_int_eq(host_exists(path), 1);
}
END_TEST

START_TEST(a_socket_is_refused)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    BlockDriverState *bs;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    if (strlen(path) < sizeof(address.sun_path)) {
        strcpy(address.sun_path, path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_fails_saying(try_open(path, 0, &bs), -EINVAL, "socket");
    } else {
        suite_skipped("TMPDIR is too long for the name of a socket");
    }
    close(fd);
}
END_TEST

START_TEST(what_the_host_refuses_is_said_with_the_name)
{
    BlockDriverState *bs;
    assert_fails_saying(try_open(path, 0, &bs), -ENOENT, path);
    ck_assert_ptr_null(bs);
    make_file(512);
    if (geteuid() == 0) {
        suite_skipped("root may open everything");
        return;
    }
    ck_assert_int_eq(chmod(path, 0400), 0);
    assert_fails_saying(try_open(path, BDRV_O_RDWR, &bs), -EACCES, path);
}
END_TEST

/* ---------------------------------------------------- creation and removal */

/* A format whose images cannot be completed: an option says what happens to the
 * file before the creation fails. */
static int failing_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    const char *replacement = bdrv_option_string(params->options, "replacement");
    BlockDriverState *beside;
    int ret = bdrv_pwrite(file, "half", 4, 0);
    if (ret == 0) {
        ret = bdrv_create_child(file, "beside", &beside);
    }
    if (ret == 0 && replacement) {
        ret = rename(replacement, bdrv_filename(file));
    }
    return ret < 0 ? ret : bdrv_error(file, -ENOSPC, "never fits");
}

static int failing_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    return bdrv_error(bs, -EINVAL, "never opens");
}

static int failing_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    (void)bs, (void)buf, (void)bytes, (void)offset;
    return -EIO;
}

static const BdrvOption failing_options[] = {
    { .name = "replacement", .type = BDRV_OPTION_STRING, .help = "a file" },
    { .name = NULL }
};

static const BlockDriver failing_driver = {
    BDRV_DRIVER_HEAD,
    .name = "failing",
    .description = "images that cannot be completed",
    .create_options = failing_options,
    .open = failing_open,
    .read = failing_read,
    .create = failing_create,
};

START_TEST(creating_again_keeps_the_file_and_drops_its_content)
{
    struct stat before, after;
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 1000 };
    host_write_file(path, "something longer than the disk will be", 38);
    ck_assert_int_eq(stat(path, &before), 0);
    assert_ok(bdrv_create(path, "raw", &create));
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_int_eq(after.st_size, 1000);
    BlockDriverState *bs = open_file(0);
    assert_pattern(bs, 0, 1000, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(a_creation_that_fails_leaves_no_file)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 1000 };
    char *beside = host_path(directory, "beside");
    assert_fails_saying(bdrv_create(path, "failing", &create), -ENOSPC, "never fits");
    ck_assert_int_eq(host_exists(path), 0);
    ck_assert_int_eq(host_exists(beside), 0);
    free(beside);
}
END_TEST

START_TEST(a_creation_that_fails_does_not_remove_what_took_its_name)
{
    char options[4096];
    char *other = host_path(directory, "other");
    host_write_file(other, "precious", 8);
    snprintf(options, sizeof(options), "replacement=%s", other);
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 1000,
                                 .options = options };
    assert_fails(bdrv_create(path, "failing", &create), -ENOSPC);
    ck_assert_int_eq(length_on_host(), 8);
    free(other);
}
END_TEST

START_TEST(a_creation_that_fails_through_a_link_empties_the_file)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 1000 };
    char *link = host_path(directory, "link");
    make_file(10);
    ck_assert_int_eq(symlink("disk", link), 0);
    assert_fails(bdrv_create(link, "failing", &create), -ENOSPC);
    ck_assert_int_eq(length_on_host(), 0);
    free(link);
}
END_TEST

/* ------------------------------------------------------------------ devices */

/* The first line of what the command prints; "" if it fails. */
static void ask_host(const char *command, char *line, size_t size)
{
    FILE *pipe = popen(command, "r");
    line[0] = '\0';
    if (pipe != NULL) {
        if (fgets(line, (int)size, pipe) == NULL) {
            line[0] = '\0';
        }
        pclose(pipe);
    }
    line[strcspn(line, "\n")] = '\0';
}

static void check_device(BlockDriverState *bs)
{
    ck_assert_int_eq(bdrv_getlength(bs), 8 * MIB);
    assert_ok(pattern_write(bs, 0, 8 * MIB, 1));
    assert_ok(bdrv_write_zeroes(bs, MIB, MIB));
    assert_ok(bdrv_write_zeroes(bs, 3 * MIB + 100, 1000)); /* not whole blocks */
    assert_ok(bdrv_flush(bs));
    assert_pattern(bs, 0, MIB, 1);
    assert_pattern(bs, MIB, MIB, PATTERN_ZEROS);
    assert_pattern(bs, 2 * MIB, MIB + 100, 1);
    assert_pattern(bs, 3 * MIB + 100, 1000, PATTERN_ZEROS);
    assert_pattern(bs, 3 * MIB + 1100, 5 * MIB - 1100, 1);
    assert_fails(bdrv_pwrite(bs, "x", 1, 8 * MIB), -ENOSPC);
    assert_fails(bdrv_write_zeroes(bs, 8 * MIB, 512), -ENOSPC);
    assert_ok(bdrv_truncate(bs, 8 * MIB));
    assert_fails_saying(bdrv_truncate(bs, 4 * MIB), -ENOTSUP, "device");
}

START_TEST(a_block_device_is_a_file_of_fixed_length)
{
    char command[4096], device[256], nothing[256];
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 4 * MIB };
    BlockDriverState *holder, *bs;
    make_file(8 * MIB);
    snprintf(command, sizeof(command), "losetup -f --show '%s' 2>/dev/null", path);
    ask_host(command, device, sizeof(device));
    if (device[0] == '\0') {
        suite_skipped("no loop devices here");
        return;
    }
    /* Detached now, it goes with the last handle, whatever happens below. */
    assert_ok(try_open(device, BDRV_O_NO_LOCK, &holder));
    snprintf(command, sizeof(command), "losetup -d %s", device);
    ask_host(command, nothing, sizeof(nothing));

    assert_ok(try_open(device, BDRV_O_RDWR, &bs));
    check_device(bs);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_create(device, "raw", &create));
    create.size = 9 * MIB;
    assert_fails_saying(bdrv_create(device, "raw", &create), -ENOSPC, "8388608");
    assert_ok(bdrv_close(holder));
}
END_TEST

/* ------------------------------------------------------------------- suite */

static void add(Suite *suite, const char *name, const TTest *const *tests)
{
    tcase_add_checked_fixture(suite_add_case(suite, name, tests, 30), setup, teardown);
}

Suite *test_suite(void)
{
    const TTest *const bytes[] = {
        what_is_written_is_in_the_file, writing_past_the_end_grows_the_file,
        a_file_that_shrinks_while_open_gives_errors_not_zeros,
        the_end_of_the_longest_file_is_read_and_written,
        the_length_can_be_set_both_ways, NULL
    };
    const TTest *const holes[] = {
        holes_are_told_as_zeros_with_their_length, zeros_and_discards_give_space_back,
        zeros_of_any_alignment_hit_their_range_only,
        zeros_across_and_behind_the_end_grow_the_file, NULL
    };
    const TTest *const files[] = {
        what_cannot_hold_a_disk_is_refused_by_its_kind, a_socket_is_refused,
        what_the_host_refuses_is_said_with_the_name, NULL
    };
    const TTest *const creation[] = {
        creating_again_keeps_the_file_and_drops_its_content,
        a_creation_that_fails_leaves_no_file,
        a_creation_that_fails_does_not_remove_what_took_its_name,
        a_creation_that_fails_through_a_link_empties_the_file, NULL
    };
    const TTest *const devices[] = { a_block_device_is_a_file_of_fixed_length, NULL };
    Suite *suite = suite_create("file");
    suite_register(&failing_driver, "failing");
    add(suite, "bytes", bytes);
    add(suite, "holes", holes);
    add(suite, "kinds", files);
    add(suite, "creation", creation);
    add(suite, "devices", devices);
    return suite;
}
