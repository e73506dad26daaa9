/* SPDX-License-Identifier: MIT */
/*
 * t-parent.c - links and their parents: how a parent is found, how it is known
 * to be the right one, and what of it shows through.
 */
#include "build.h"
#include "host.h"

enum {
    DISK = 4 * 1024 * 1024 + 512, /* no multiple of any grain */
    GRAIN = 65536
};

static char *directory;

static void make_directory(void)
{
    directory = host_directory_new();
}

static void remove_directory(void)
{
    host_directory_remove(directory);
}

/* -------------------------------------------------------------- the actors */

static int try_create(const char *name, const char *backing, const char *options, int64_t size)
{
    char *path = host_path(directory, name);
    BdrvCreateOptions create = {
        .struct_size = sizeof create, .size = size, .options = options, .backing = backing};
    int ret = bdrv_create(path, "vmdk", &create);

    free(path);
    return ret;
}

static void create(const char *name, const char *backing, const char *options)
{
    assert_ok(try_create(name, backing, options, backing ? 0 : DISK));
}

static int open_with(const char *name, unsigned flags, const char *text, Log *log,
                     BlockDriverState **disk)
{
    char *path = host_path(directory, name);
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags, .options = text};
    int ret;

    if (log) {
        log->text[0] = '\0';
        options.log = log_line;
        options.log_opaque = log;
    }
    ret = bdrv_open(disk, path, NULL, &options);
    free(path);
    return ret;
}

static BlockDriverState *open_disk(const char *name, unsigned flags)
{
    BlockDriverState *disk;

    assert_ok(open_with(name, flags, NULL, NULL, &disk));
    return disk;
}

/* base.vmdk: generation 1 everywhere. */
static void create_base(const char *options)
{
    BlockDriverState *disk;

    create("base.vmdk", NULL, options);
    disk = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
}

static void rename_file(const char *from, const char *to)
{
    char *old = host_path(directory, from), *new = host_path(directory, to);

    ck_assert_int_eq(rename(old, new), 0);
    free(old);
    free(new);
}

/* -------------------------------------------------------------- what shows */

static const char *const kinds[] = {
    "subformat=monolithicSparse",
    "subformat=monolithicSparse,grain_size=8k",
    "subformat=monolithicSparse,zeroed_grain=on",
    "subformat=vmfsSparse",
    "subformat=vmfsSparse,grain_size=64k",
};

enum {
    KINDS = sizeof kinds / sizeof *kinds
};

START_TEST(a_child_of_each_kind_shows_its_parent_around_its_own_bytes)
{
    BlockDriverState *disk;

    create_base("grain_size=16k");
    create("child.vmdk", "base.vmdk", kinds[_i]);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    ck_assert_int_eq(bdrv_getlength(disk), DISK);
    assert_pattern(disk, 0, DISK, 1);
    assert_ok(pattern_write(disk, 100000, 5000, 2));
    assert_ok(pattern_write(disk, DISK - 8, 8, 2));
    assert_ok(bdrv_write_zeroes(disk, 1000000, 500000));
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_pattern(disk, 0, 100000, 1);
    assert_pattern(disk, 100000, 5000, 2);
    assert_pattern(disk, 105000, 1000000 - 105000, 1);
    assert_pattern(disk, 1000000, 500000, PATTERN_ZEROS);
    assert_pattern(disk, 1500000, DISK - 8 - 1500000, 1);
    assert_pattern(disk, DISK - 8, 8, 2);
    bdrv_close(disk);
    disk = open_disk("child.vmdk", BDRV_O_NO_BACKING);
    ck_assert_ptr_null(bdrv_backing(disk));
    assert_pattern(disk, 0, GRAIN, PATTERN_ZEROS);
    bdrv_close(disk);
}
END_TEST

/* Grains of zeros need version 2; an entry of 0 would show the parent. */
START_TEST(zeros_over_a_parent_raise_the_version)
{
    char *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk;
    BdrvExtent run;
    uint8_t *bytes;
    size_t size;

    create_base(NULL);
    create("child.vmdk", "base.vmdk", NULL);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_write_zeroes(disk, 0, 2 * GRAIN));
    assert_ok(bdrv_is_allocated(disk, 0, 2 * GRAIN, &run));
    ck_assert_int_eq(run.state, BDRV_ZERO);
    ck_assert_int_eq(run.bytes, 2 * GRAIN);
    assert_ok(bdrv_close(disk));
    bytes = host_read_file(path, &size);
    ck_assert_uint_eq(bdrv_load_le32(bytes + AT_VERSION), 2);
    ck_assert_uint_eq(bdrv_load_le32(bytes + AT_FLAGS), 7);
    free(bytes);
    free(path);
}
END_TEST

/* Who opens a child without its parent does not see what he must hide. */
START_TEST(zeros_hide_a_parent_that_was_not_opened)
{
    BlockDriverState *disk;

    create_base(NULL);
    create("child.vmdk", "base.vmdk", NULL);
    disk = open_disk("child.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING);
    assert_ok(bdrv_write_zeroes(disk, 0, GRAIN));
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_pattern(disk, 0, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    bdrv_close(disk);
}
END_TEST

START_TEST(a_chain_of_all_kinds_reads_through)
{
    char name[32], parent[32] = "base.vmdk";
    BlockDriverState *disk;

    create_base(NULL);
    for (int i = 0; i < KINDS; i++) {
        snprintf(name, sizeof name, "link%d.vmdk", i);
        create(name, parent, kinds[i]);
        disk = open_disk(name, BDRV_O_RDWR);
        assert_ok(pattern_write(disk, i * 200000, 1000, (unsigned)i + 2));
        assert_ok(bdrv_close(disk));
        snprintf(parent, sizeof parent, "%s", name);
    }
    disk = open_disk(parent, 0);
    for (int i = 0; i < KINDS; i++) {
        assert_pattern(disk, i * 200000, 1000, (unsigned)i + 2);
        assert_pattern(disk, i * 200000 + 1000, 199000, 1);
    }
    bdrv_close(disk);
}
END_TEST

/* QEMU 7.2 takes what surrounds a small write to the second extent from the
 * parent at the offset in the extent, not on the disk. */
START_TEST(a_write_to_the_second_extent_copies_from_the_right_place)
{
    Built first = build_sparse((Shape){.sectors = 2048, .without = NO_DESCRIPTOR});
    char *paths[] = {host_path(directory, "two-s001.vmdk"), host_path(directory, "two-s002.vmdk"),
                     host_path(directory, "two.vmdk")};
    const char text[] = "version=1\nCID=00000005\nparentCID=00000004\n"
                        "createType=\"twoGbMaxExtentSparse\"\nparentFileNameHint=\"base.vmdk\"\n"
                        "RW 2048 SPARSE \"two-s001.vmdk\"\nRW 2048 SPARSE \"two-s002.vmdk\"\n";
    BlockDriverState *disk;

    assert_ok(try_create("base.vmdk", NULL, "cid=4", 4096 * SECTOR));
    assert_ok(open_with("base.vmdk", BDRV_O_RDWR, "cid=4", NULL, &disk));
    assert_ok(pattern_write(disk, 0, 4096 * SECTOR, 1));
    assert_ok(bdrv_close(disk));
    host_write_file(paths[0], first.bytes, (size_t)first.size);
    host_write_file(paths[1], first.bytes, (size_t)first.size);
    host_write_file(paths[2], text, strlen(text));
    disk = open_disk("two.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 2048 * SECTOR + 5000, 1000, 2));
    assert_ok(pattern_write(disk, 2048 * SECTOR - 500, 1000, 2)); /* across the border */
    assert_ok(bdrv_close(disk));
    disk = open_disk("two.vmdk", 0);
    assert_pattern(disk, 0, 2048 * SECTOR - 500, 1);
    assert_pattern(disk, 2048 * SECTOR - 500, 1000, 2);
    assert_pattern(disk, 2048 * SECTOR + 500, 4500, 1);
    assert_pattern(disk, 2048 * SECTOR + 5000, 1000, 2);
    assert_pattern(disk, 2048 * SECTOR + 6000, 2048 * SECTOR - 6000, 1);
    bdrv_close(disk);
    for (size_t i = 0; i < 3; i++) {
        free(paths[i]);
    }
    free(first.bytes);
}
END_TEST

/* --------------------------------------------------------------------- CID */

/* QEMU opens such a pair and fails each access later. */
START_TEST(a_parent_that_was_written_to_is_refused_with_both_cids)
{
    BlockDriverState *disk;

    create("base.vmdk", NULL, "cid=11111111");
    create("child.vmdk", "base.vmdk", NULL);
    assert_ok(open_with("base.vmdk", BDRV_O_RDWR, "cid=22222222", NULL, &disk));
    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(bdrv_close(disk));
    assert_fails_saying(open_with("child.vmdk", 0, NULL, NULL, &disk), -EINVAL,
                        "has CID 22222222");
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "had 11111111"));
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "any_parent=on"));
    assert_ok(open_with("child.vmdk", 0, "any_parent=on", NULL, &disk));
    assert_pattern(disk, 0, 512, 1);
    bdrv_close(disk);
}
END_TEST

START_TEST(a_parent_that_was_only_read_stays_the_parent)
{
    BlockDriverState *disk;

    create_base(NULL);
    create("child.vmdk", "base.vmdk", NULL);
    disk = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_pattern(disk, 0, DISK, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(open_disk("child.vmdk", 0));
}
END_TEST

static void find_number(void *opaque, const BdrvDetail *detail)
{
    int64_t *cids = opaque;

    if (detail->key && strcmp(detail->key, "cid") == 0) {
        cids[0] = detail->number;
    }
    if (detail->key && strcmp(detail->key, "parent-cid") == 0) {
        cids[1] = detail->number;
    }
}

START_TEST(a_child_changes_its_own_cid_and_not_its_parents)
{
    BlockDriverState *disk;
    int64_t before[2], after[2];

    create("base.vmdk", NULL, "cid=11111111");
    create("child.vmdk", "base.vmdk", NULL);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_get_details(disk, find_number, before));
    ck_assert_int_eq(before[0], 0x11111111); /* the same content, until now */
    ck_assert_int_eq(before[1], 0x11111111);
    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(bdrv_get_details(disk, find_number, after));
    ck_assert_int_ne(after[0], before[0]);
    ck_assert_int_eq(after[1], before[1]);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* -------------------------------------------------------------------- hints */

/* Disks are moved, and the hint stays: from ESX, from Windows, from elsewhere. */
static const char *const old_hints[] = {"/vm/base.vmdk", "C:\\v\\base.vmdk", "..\\x\\base.vmdk",
                                        "x/y/zz/base.vmdk"};

START_TEST(a_parent_is_found_beside_the_child_when_the_hint_is_old)
{
    char more[64];
    Built b;
    char *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk;

    snprintf(more, sizeof more, "parentFileNameHint=\"%s\"\n", old_hints[_i]);
    b = build_sparse((Shape){.parent_cid = "00000004", .more = more});
    assert_ok(try_create("base.vmdk", NULL, "cid=4", b.sectors * SECTOR));
    host_write_file(path, b.bytes, (size_t)b.size);
    assert_ok(open_with("child.vmdk", 0, NULL, NULL, &disk));
    ck_assert_ptr_nonnull(bdrv_backing(disk));
    bdrv_close(disk);
    free(path);
    free(b.bytes);
}
END_TEST

START_TEST(a_missing_parent_is_named)
{
    BlockDriverState *disk;

    create_base(NULL);
    create("child.vmdk", "base.vmdk", NULL);
    rename_file("base.vmdk", "b.vmdk");
    ck_assert_int_lt(open_with("child.vmdk", 0, NULL, NULL, &disk), 0);
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "base.vmdk"));
}
END_TEST

/* D14. */
START_TEST(a_parent_cid_without_a_hint_is_refused)
{
    Built b = build_sparse((Shape){.parent_cid = "00000007"});

    build_refused(&b, 0, -EINVAL, "no parentFileNameHint");
}
END_TEST

/* QEMU opens the hint. */
START_TEST(a_hint_without_a_parent_cid_is_ignored)
{
    Built b = build_sparse((Shape){.more = "parentFileNameHint=\"/etc/passwd\"\n"});
    BlockDriverState *memory = build_memory(&b), *disk;
    Log log;

    assert_ok(try_open(memory, 0, NULL, &log, &disk));
    ck_assert_ptr_null(bdrv_backing(disk));
    ck_assert_ptr_nonnull(strstr(log.text, "is ignored"));
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU 7.2 recurses until it has no stack. */
START_TEST(an_image_that_is_its_own_parent_is_refused)
{
    Built b = build_sparse((Shape){.parent_cid = "12345678",
                                   .more = "parentFileNameHint=\"self.vmdk\"\n"});
    char *path = host_path(directory, "self.vmdk");
    BlockDriverState *disk;

    host_write_file(path, b.bytes, (size_t)b.size);
    assert_fails(open_with("self.vmdk", 0, NULL, NULL, &disk), -ELOOP);
    free(path);
    free(b.bytes);
}
END_TEST

/* A hint is no reason to read the host's files. */
START_TEST(a_parent_outside_the_directory_is_refused)
{
    Built b = build_sparse((Shape){.parent_cid = "12345678",
                                   .more = "parentFileNameHint=\"/etc/passwd\"\n"});
    char *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk;

    host_write_file(path, b.bytes, (size_t)b.size);
    assert_fails(open_with("child.vmdk", 0, NULL, NULL, &disk), -EPERM);
    free(path);
    free(b.bytes);
}
END_TEST

START_TEST(a_parent_of_another_size_is_logged)
{
    Built b = build_sparse((Shape){.parent_cid = "00000004", .sectors = 4096,
                                   .more = "parentFileNameHint=\"base.vmdk\"\n"});
    char *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk;
    Log log;

    assert_ok(try_create("base.vmdk", NULL, "cid=4", 1024 * 1024));
    host_write_file(path, b.bytes, (size_t)b.size);
    assert_ok(open_with("child.vmdk", 0, NULL, &log, &disk));
    ck_assert_ptr_nonnull(strstr(log.text, "the same size"));
    assert_pattern(disk, 0, 4096 * SECTOR, PATTERN_ZEROS);
    bdrv_close(disk);
    free(path);
    free(b.bytes);
}
END_TEST

/* ----------------------------------------------------------------- creation */

START_TEST(a_child_has_the_size_of_its_parent)
{
    create("base.vmdk", NULL, NULL);
    assert_fails_saying(try_create("child.vmdk", "base.vmdk", NULL, 2 * DISK), -EINVAL,
                        "a child has the size of its parent");
}
END_TEST

/* There is no CID to remember it by. */
START_TEST(a_parent_that_is_no_vmdk_is_refused)
{
    char *path = host_path(directory, "base.raw");
    const char zeros[1024] = {0};

    host_write_file(path, zeros, sizeof zeros);
    assert_fails_saying(try_create("child.vmdk", "base.raw", NULL, 0), -EINVAL,
                        "convert it to vmdk first");
    free(path);
}
END_TEST

START_TEST(one_cowd_file_has_no_parent)
{
    create("base.vmdk", NULL, NULL);
    assert_fails_saying(try_create("child.cow", "base.vmdk", "subformat=cowd", 0), -EINVAL,
                        "vmfsSparse");
}
END_TEST

START_TEST(what_a_child_does_not_say_its_parent_does)
{
    BdrvGeometry geometry;
    BlockDriverState *disk;

    create("base.vmdk", NULL, "adapter_type=lsilogic");
    create("child.vmdk", "base.vmdk", "subformat=vmfsSparse");
    disk = open_disk("child.vmdk", 0);
    assert_ok(bdrv_get_geometry(disk, &geometry));
    ck_assert_int_eq(geometry.from_image, 1);
    ck_assert_uint_eq(geometry.heads, 64);
    ck_assert_uint_eq(geometry.sectors, 32);
    bdrv_close(disk);
}
END_TEST

/* The first of them was said to be in use by another writer. */
START_TEST(a_chain_that_comes_back_is_one_also_when_it_is_to_be_written)
{
    BlockDriverState *disk;

    create("a.vmdk", NULL, NULL);
    create("b.vmdk", "a.vmdk", NULL);
    create("c.vmdk", "b.vmdk", NULL);
    assert_ok(open_with("b.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING, NULL, NULL, &disk));
    assert_ok(bdrv_amend(disk, "parent_hint=b.vmdk"));
    assert_ok(bdrv_close(disk));
    assert_fails_saying(open_with("b.vmdk", BDRV_O_RDWR, NULL, NULL, &disk), -ELOOP, "b.vmdk");
    assert_ok(open_with("b.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING, NULL, NULL, &disk));
    assert_ok(bdrv_amend(disk, "parent_hint=c.vmdk"));
    assert_ok(bdrv_close(disk));
    assert_fails_saying(open_with("b.vmdk", BDRV_O_RDWR, NULL, NULL, &disk), -ELOOP, "b.vmdk");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        zeros_over_a_parent_raise_the_version,
        zeros_hide_a_parent_that_was_not_opened,
        a_chain_of_all_kinds_reads_through,
        a_write_to_the_second_extent_copies_from_the_right_place,
        a_parent_that_was_written_to_is_refused_with_both_cids,
        a_parent_that_was_only_read_stays_the_parent,
        a_child_changes_its_own_cid_and_not_its_parents,
        a_missing_parent_is_named,
        a_parent_cid_without_a_hint_is_refused,
        a_hint_without_a_parent_cid_is_ignored,
        an_image_that_is_its_own_parent_is_refused,
        a_parent_outside_the_directory_is_refused,
        a_parent_of_another_size_is_logged,
        a_child_has_the_size_of_its_parent,
        a_parent_that_is_no_vmdk_is_refused,
        one_cowd_file_has_no_parent,
        what_a_child_does_not_say_its_parent_does,
        a_chain_that_comes_back_is_one_also_when_it_is_to_be_written,
        NULL,
    };
    Suite *suite = suite_create("vmdk/parent");
    TCase *tc = suite_add_case(suite, "parent", tests, 20);

    tcase_add_checked_fixture(tc, make_directory, remove_directory);
    tcase_add_loop_test(tc, a_child_of_each_kind_shows_its_parent_around_its_own_bytes, 0,
                        KINDS);
    tcase_add_loop_test(tc, a_parent_is_found_beside_the_child_when_the_hint_is_old, 0,
                        sizeof old_hints / sizeof *old_hints);
    return suite;
}
