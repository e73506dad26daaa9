/* SPDX-License-Identifier: MIT */
/*
 * t-chain.c - backing images: reading through, depth, loops, overriding what an
 * image names, and the throw-away overlay of BDRV_O_SNAPSHOT.
 *
 * The format "toy-link" has nothing of its own: its file is a line that names
 * its parent, and a length.  With it the core's part of a chain is seen alone.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "bdrv-driver.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum { LENGTH = 100000 };

/* --------------------------------------------------------- the toy format */

static int accept_all(void *opaque, BlockDriverState *backing)
{
    int *seen = opaque;
    *seen += backing != NULL;
    return 0;
}

static int accept_none(void *opaque, BlockDriverState *backing)
{
    (void)opaque;
    return bdrv_error(backing, -EINVAL, "is not the parent that was recorded");
}

/* "toy-link name length\n"; a name that begins with ! is not accepted. */
static int link_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    char text[256] = "";
    char name[256];
    long long length;
    int seen = 0;
    size_t size = (size_t)bdrv_getlength(bdrv_file(bs));
    if (size >= sizeof(text) ||
        bdrv_pread(bdrv_file(bs), text, size, 0) != 0 ||
        sscanf(text, "toy-link %200s %lld", name, &length) != 2) {
        return bdrv_error(bs, -EINVAL, "is not a toy-link");
    }
    bdrv_set_length(bs, length);
    int picky = name[0] == '!';
    return bdrv_open_backing(bs, name + picky, NULL,
                             picky ? accept_none : accept_all, &seen);
}

static int link_probe(const BdrvProbe *probe)
{
    static const char magic[] = "toy-link ";
    size_t size = sizeof(magic) - 1;
    return probe->head_size > size && memcmp(probe->head, magic, size) == 0 ? 60
                                                                            : 0;
}

static int link_read(BlockDriverState *bs, void *buf, size_t bytes,
                     int64_t offset)
{
    return bdrv_read_backing(bs, buf, bytes, offset);
}

static int link_is_allocated(BlockDriverState *bs, int64_t offset,
                             int64_t bytes, BdrvExtent *extent)
{
    (void)bs, (void)offset;
    extent->state = BDRV_UNALLOCATED;
    extent->bytes = bytes;
    return 0;
}

static const BlockDriver link_driver = {
    BDRV_DRIVER_HEAD,
    .name = "toy-link",
    .flags = BDRV_DRIVER_BACKING,
    .probe = link_probe,
    .open = link_open,
    .read = link_read,
    .is_allocated = link_is_allocated,
};

/* ---------------------------------------------------------------- fixture
 *
 *     link3 ──▶ link2 ──▶ link1 ──▶ base (raw, a pattern of LENGTH bytes) */

static char *directory;

static char *path_of(const char *name)
{
    return host_path(directory, name);
}

static void write_text(const char *name, const char *text)
{
    char *path = path_of(name);
    host_write_file(path, text, strlen(text));
    free(path);
}

static void set_up(void)
{
    uint8_t *bytes = malloc(LENGTH);
    directory = host_directory_new();
    char *base = path_of("base");
    ck_assert_ptr_nonnull(bytes);
    pattern_fill(bytes, LENGTH, 0, 1);
    host_write_file(base, bytes, LENGTH);
    free(bytes);
    free(base);
    write_text("link1", "toy-link base 100000\n");
    write_text("link2", "toy-link link1 100000\n");
    write_text("link3", "toy-link link2 100000\n");
}

static void tear_down(void)
{
    host_directory_remove(directory);
}

static int try_open(const char *name, const BdrvOpenOptions *options,
                    BlockDriverState **bs)
{
    char *path = path_of(name);
    int result = bdrv_open(bs, path, "toy-link", options);
    free(path);
    return result;
}

/* ---------------------------------------------------------------- reading */

START_TEST(reads_fall_through_to_the_base)
{
    BlockDriverState *bs;
    BdrvExtent extent;
    assert_ok(try_open("link3", NULL, &bs));
    assert_pattern(bs, 0, LENGTH, 1);
    assert_ok(bdrv_is_allocated(bs, 0, LENGTH, &extent));
    ck_assert_int_eq(extent.state, BDRV_UNALLOCATED);
    assert_ok(bdrv_map(bs, 5000, 100, &extent));
    ck_assert_int_eq(extent.state, BDRV_DATA);
    ck_assert_int_eq(extent.depth, 3);
    ck_assert_ptr_nonnull(bdrv_backing(bs));
    ck_assert_str_eq(bdrv_format(bdrv_backing(bs)), "toy-link");
    ck_assert_int_eq(bdrv_is_writable(bdrv_backing(bs)), 0);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(beyond_the_end_of_a_shorter_parent_are_zeros)
{
    BlockDriverState *bs;
    BdrvExtent extent;
    write_text("longer", "toy-link base 150000\n");
    write_text("shorter", "toy-link longer 50001\n");
    assert_ok(try_open("longer", NULL, &bs));
    ck_assert_int_eq(bdrv_getlength(bs), 150000);
    assert_pattern(bs, 0, LENGTH, 1);
    assert_pattern(bs, LENGTH, 50000, PATTERN_ZEROS);
    assert_ok(bdrv_map(bs, LENGTH, 50000, &extent));
    ck_assert_int_ne(extent.state, BDRV_DATA);
    /* One request across the border. */
    uint8_t buf[200];
    assert_ok(bdrv_pread(bs, buf, sizeof(buf), LENGTH - 100));
    ck_assert_ptr_null(pattern_check(buf, 100, LENGTH - 100, 1));
    ck_assert_ptr_null(pattern_check(buf + 100, 100, LENGTH, PATTERN_ZEROS));
    assert_ok(bdrv_close(bs));

    assert_ok(try_open("shorter", NULL, &bs));
    ck_assert_int_eq(bdrv_getlength(bs), 50001);
    assert_pattern(bs, 0, 50001, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(map_tiles_a_chain_of_uneven_lengths)
{
    BlockDriverState *bs;
    write_text("longer", "toy-link base 150000\n");
    assert_ok(try_open("longer", NULL, &bs));
    for (int64_t at = 0; at < 150000;) {
        BdrvExtent extent;
        assert_ok(bdrv_map(bs, at, 150000 - at, &extent));
        ck_assert_int_ge(extent.bytes, 1);
        ck_assert_int_le(extent.bytes, 150000 - at);
        ck_assert_msg(at + extent.bytes <= LENGTH || at >= LENGTH ||
                      extent.state == BDRV_DATA, "run crosses into nothing");
        at += extent.bytes;
    }
    assert_ok(bdrv_close(bs));
}
END_TEST

/* ---------------------------------------------------- what cannot be opened */

START_TEST(image_that_names_itself_is_found)
{
    BlockDriverState *bs;
    write_text("linkself", "toy-link linkself 1000\n");
    assert_fails_saying(try_open("linkself", NULL, &bs), -ELOOP, "linkself");
    ck_assert_ptr_null(bs);
}
END_TEST

START_TEST(loop_is_found_whatever_it_is_called)
{
    BlockDriverState *bs;
    write_text("link-a", "toy-link link-b 1000\n");
    write_text("link-b", "toy-link ./link-c 1000\n");
    write_text("link-c", "toy-link alias 1000\n");
    char *path = path_of("link-a");
    char *alias = path_of("alias");
    ck_assert_int_eq(link(path, alias), 0);
    assert_fails(try_open("link-a", NULL, &bs), -ELOOP);
    ck_assert_ptr_null(bs);
    free(path);
    free(alias);
}
END_TEST

START_TEST(chain_may_be_as_deep_as_allowed_and_no_deeper)
{
    BlockDriverState *bs;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .max_depth = 4,
    };
    assert_ok(try_open("link3", &options, &bs)); /* 3 links and the base */
    assert_ok(bdrv_close(bs));
    options.max_depth = 3;
    assert_fails(try_open("link3", &options, &bs), -ELOOP);
    ck_assert_ptr_null(bs);
    assert_ok(try_open("link2", &options, &bs));
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(default_depth_is_128_images)
{
    BlockDriverState *bs;
    write_text("link-1", "toy-link base 100000\n");
    for (int i = 2; i <= 128; i++) {
        char name[32];
        char text[64];
        snprintf(name, sizeof(name), "link-%d", i);
        snprintf(text, sizeof(text), "toy-link link-%d 100000\n", i - 1);
        write_text(name, text);
    }
    assert_ok(try_open("link-127", NULL, &bs));
    assert_pattern(bs, 0, LENGTH, 1);
    assert_ok(bdrv_close(bs));
    assert_fails_saying(try_open("link-128", NULL, &bs), -ELOOP, "128");
}
END_TEST

START_TEST(missing_parent_is_told_with_both_names)
{
    BlockDriverState *bs;
    write_text("orphan", "toy-link gone-parent 1000\n");
    ck_assert_int_lt(try_open("orphan", NULL, &bs), 0);
    ck_assert_ptr_null(bs);
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "orphan"));
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "gone-parent"));
}
END_TEST

START_TEST(parent_that_the_driver_does_not_accept_is_refused)
{
    BlockDriverState *bs;
    write_text("picky", "toy-link !base 1000\n");
    assert_fails_saying(try_open("picky", NULL, &bs), -EINVAL,
                        "not the parent that was recorded");
    ck_assert_ptr_null(bs);
}
END_TEST

START_TEST(parent_outside_the_directory_needs_permission)
{
    char *inner = path_of("inner");
    BlockDriverState *bs;
    ck_assert_int_eq(mkdir(inner, 0777), 0);
    write_text("inner/child", "toy-link ../base 100000\n");
    assert_fails(try_open("inner/child", NULL, &bs), -EPERM);
    const char *const allowed[] = { directory, NULL };
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .allow_paths = allowed,
    };
    assert_ok(try_open("inner/child", &options, &bs));
    assert_pattern(bs, 0, LENGTH, 1);
    assert_ok(bdrv_close(bs));
    free(inner);
}
END_TEST

/* ------------------------------------------------------------- by the user */

START_TEST(chain_is_not_opened_when_it_is_not_wanted)
{
    BlockDriverState *bs;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_NO_BACKING,
    };
    write_text("orphan", "toy-link gone-parent 1000\n");
    assert_ok(try_open("orphan", &options, &bs));
    ck_assert_ptr_null(bdrv_backing(bs));
    assert_pattern(bs, 0, 1000, PATTERN_ZEROS);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(users_own_parent_replaces_the_named_one)
{
    BlockDriverState *bs;
    char *base = path_of("base");
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .backing = base,
        .backing_format = "raw",
    };
    write_text("orphan", "toy-link gone-parent 100000\n");
    assert_ok(try_open("orphan", &options, &bs));
    assert_pattern(bs, 0, LENGTH, 1);
    assert_ok(bdrv_close(bs));
    free(base);
}
END_TEST

/* -------------------------------------------------------------- snapshots */

static BlockDriverState *open_snapshot(const char *name, const char *format)
{
    char *path = path_of(name);
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_SNAPSHOT,
        .snapshot_directory = directory,
    };
    BlockDriverState *bs;
    assert_ok(bdrv_open(&bs, path, format, &options));
    free(path);
    return bs;
}

static void assert_base_holds(unsigned generation)
{
    char *path = path_of("base");
    size_t size;
    uint8_t *bytes = host_read_file(path, &size);
    ck_assert_uint_eq(size, LENGTH);
    const char *text = pattern_check(bytes, size, 0, generation);
    ck_assert_msg(text == NULL, "%s", text);
    free(bytes);
    free(path);
}

START_TEST(snapshot_takes_writes_and_leaves_the_image_alone)
{
    BlockDriverState *bs = open_snapshot("base", "raw");
    ck_assert_int_eq(bdrv_is_writable(bs), 1);
    ck_assert_int_eq(bdrv_getlength(bs), LENGTH);
    assert_pattern(bs, 0, LENGTH, 1);
    assert_ok(pattern_write(bs, 12345, 50000, 2));
    assert_ok(bdrv_flush(bs));
    assert_pattern(bs, 12345, 50000, 2);
    assert_pattern(bs, 0, 12345, 1);
    assert_base_holds(1);
    assert_ok(bdrv_close(bs));
    assert_base_holds(1);

    bs = open_snapshot("base", "raw");
    assert_pattern(bs, 0, LENGTH, 1);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* Bug to guard against: a driver that has no file below it was opened as if the
 * flag were not there, and the writes went to the file itself. */
START_TEST(snapshot_of_plain_storage_leaves_it_alone_or_is_refused)
{
    char *path = path_of("base");
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = BDRV_O_SNAPSHOT | BDRV_O_RDWR,
        .snapshot_directory = directory,
    };
    BlockDriverState *bs;
    if (bdrv_open(&bs, path, "file", &options) == 0) {
        assert_ok(pattern_write(bs, 0, LENGTH, 2));
        assert_pattern(bs, 0, LENGTH, 2);
        assert_ok(bdrv_close(bs));
    } else {
        ck_assert_ptr_null(bs);
    }
    assert_base_holds(1);
    free(path);
}
END_TEST

START_TEST(snapshot_leaves_no_file_behind)
{
    BlockDriverState *bs = open_snapshot("base", "raw");
    assert_ok(pattern_write(bs, 0, LENGTH, 2));
    char command[512];
    snprintf(command, sizeof(command), "test $(ls '%s' | wc -l) -eq 4",
             directory);
    ck_assert_int_eq(system(command), 0);
    assert_ok(bdrv_close(bs));
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(snapshot_of_an_image_that_cannot_be_written_is_writable)
{
    BlockDriverState *bs = open_snapshot("link3", "toy-link");
    assert_ok(pattern_write(bs, 1, LENGTH - 2, 2));
    assert_pattern(bs, 1, LENGTH - 2, 2);
    assert_ok(bdrv_close(bs));
    assert_base_holds(1);
}
END_TEST

START_TEST(commit_keeps_what_the_snapshot_took)
{
    BlockDriverState *bs = open_snapshot("base", "raw");
    assert_ok(pattern_write(bs, 0, LENGTH, 2));
    assert_ok(bdrv_commit(bs));
    assert_pattern(bs, 0, LENGTH, 2);
    assert_base_holds(2);
    /* And it can go on. */
    assert_ok(pattern_write(bs, 0, LENGTH, 3));
    assert_base_holds(2);
    assert_ok(bdrv_commit(bs));
    assert_base_holds(3);
    assert_ok(bdrv_close(bs));
    assert_base_holds(3);
}
END_TEST

START_TEST(commit_of_zeros_writes_zeros)
{
    BlockDriverState *bs = open_snapshot("base", "raw");
    assert_ok(bdrv_write_zeroes(bs, 0, LENGTH));
    assert_pattern(bs, 0, LENGTH, PATTERN_ZEROS);
    assert_ok(bdrv_commit(bs));
    assert_ok(bdrv_close(bs));
    assert_base_holds(PATTERN_ZEROS);
}
END_TEST

/* What bdrv_set_progress() is told. */
typedef struct Told {
    int64_t done;
    int calls;
    int most; /* calls, then it is to stop */
} Told;

static int note_progress(void *opaque, int64_t done, int64_t total)
{
    Told *told = opaque;
    ck_assert_int_eq(total, LENGTH);
    ck_assert_int_ge(done, told->done);
    ck_assert_int_le(done, total);
    told->done = done;
    return ++told->calls >= told->most;
}

START_TEST(commit_tells_how_far_it_is)
{
    BlockDriverState *bs = open_snapshot("base", "raw");
    Told told = { .most = 1000 };
    assert_ok(pattern_write(bs, 0, 4096, 2));
    bdrv_set_progress(bs, note_progress, &told);
    assert_ok(bdrv_commit(bs));
    ck_assert_int_eq(told.done, LENGTH);
    ck_assert_int_gt(told.calls, 2);
    told = (Told){ .most = 0 };
    bdrv_set_progress(bs, NULL, NULL);
    assert_ok(bdrv_commit(bs));
    ck_assert_int_eq(told.calls, 0);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(commit_that_is_stopped_loses_nothing)
{
    BlockDriverState *bs = open_snapshot("base", "raw");
    Told told = { .most = 1 };
    assert_ok(pattern_write(bs, 0, LENGTH, 2));
    bdrv_set_progress(bs, note_progress, &told);
    assert_fails(bdrv_commit(bs), -ECANCELED);
    ck_assert_int_eq(told.calls, 1);
    assert_pattern(bs, 0, LENGTH, 2);
    bdrv_set_progress(bs, NULL, NULL);
    assert_ok(bdrv_commit(bs));
    assert_ok(bdrv_close(bs));
    assert_base_holds(2);
}
END_TEST

START_TEST(commit_waits_for_no_other_writer)
{
    char *path = path_of("base");
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    BlockDriverState *writer;
    BlockDriverState *bs = open_snapshot("base", "raw");
    assert_ok(pattern_write(bs, 0, LENGTH, 2));
    assert_ok(bdrv_open(&writer, path, "raw", &options));
    assert_fails(bdrv_commit(bs), -EBUSY);
    assert_pattern(bs, 0, LENGTH, 2);
    assert_ok(bdrv_close(writer));
    assert_ok(bdrv_commit(bs));
    assert_ok(bdrv_close(bs));
    assert_base_holds(2);
    free(path);
}
END_TEST

/* Its own reader kept the writer of a commit out. */
START_TEST(commit_into_plain_storage_that_nobody_else_may_write)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = BDRV_O_SNAPSHOT | BDRV_O_UNCHANGED,
        .snapshot_directory = directory,
    };
    BdrvOpenOptions write = { .struct_size = sizeof(write), .flags = BDRV_O_RDWR };
    char *path = path_of("base");
    BlockDriverState *bs, *other;
    assert_ok(bdrv_open(&bs, path, "file", &options));
    assert_ok(pattern_write(bs, 0, LENGTH, 2));
    assert_ok(bdrv_commit(bs));
    assert_fails(bdrv_open(&other, path, "raw", &write), -EBUSY);
    assert_ok(bdrv_close(bs));
    assert_base_holds(2);
    free(path);
}
END_TEST

/* It went to the file that had taken the name. */
START_TEST(commit_goes_to_the_storage_that_was_opened)
{
    BlockDriverState *bs = open_snapshot("base", "file");
    char *path = path_of("base"), *kept = path_of("kept");
    assert_ok(pattern_write(bs, 0, LENGTH, 2));
    ck_assert_int_eq(rename(path, kept), 0);
    write_text("base", "other");
    assert_fails_saying(bdrv_commit(bs), -EBUSY, "another file");
    ck_assert_int_eq(rename(kept, path), 0);
    assert_ok(bdrv_commit(bs));
    assert_ok(bdrv_close(bs));
    assert_base_holds(2);
    free(kept);
    free(path);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const chain_tests[] = {
        reads_fall_through_to_the_base,
        beyond_the_end_of_a_shorter_parent_are_zeros,
        map_tiles_a_chain_of_uneven_lengths,
        image_that_names_itself_is_found,
        loop_is_found_whatever_it_is_called,
        chain_may_be_as_deep_as_allowed_and_no_deeper,
        default_depth_is_128_images,
        missing_parent_is_told_with_both_names,
        parent_that_the_driver_does_not_accept_is_refused,
        parent_outside_the_directory_needs_permission,
        chain_is_not_opened_when_it_is_not_wanted,
        users_own_parent_replaces_the_named_one,
        NULL,
    };
    const TTest *const snapshot_tests[] = {
        snapshot_takes_writes_and_leaves_the_image_alone,
        snapshot_of_plain_storage_leaves_it_alone_or_is_refused,
        snapshot_leaves_no_file_behind,
        snapshot_of_an_image_that_cannot_be_written_is_writable,
        commit_keeps_what_the_snapshot_took,
        commit_of_zeros_writes_zeros,
        commit_tells_how_far_it_is,
        commit_that_is_stopped_loses_nothing,
        commit_waits_for_no_other_writer,
        commit_into_plain_storage_that_nobody_else_may_write,
        commit_goes_to_the_storage_that_was_opened,
        NULL,
    };
    suite_register(&link_driver, link_driver.name);
    Suite *suite = suite_create("chain");
    TCase *chains = suite_add_case(suite, "chains", chain_tests, 20);
    TCase *snapshots = suite_add_case(suite, "snapshots", snapshot_tests, 20);
    tcase_add_checked_fixture(chains, set_up, tear_down);
    tcase_add_checked_fixture(snapshots, set_up, tear_down);
    return suite;
}
