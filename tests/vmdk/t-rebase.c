/* SPDX-License-Identifier: MIT */
/*
 * t-rebase.c - another parent for a link, safely and not, and none: the disk
 * reads the same, the record is right, other images are untouched.
 */
#include "changes.h"

enum {
    MIB = 1024 * 1024,
    DISK = 3 * MIB + 512
};

static const char *const kinds[] = {
    "subformat=monolithicSparse",
    "subformat=monolithicSparse,grain_size=8k,zeroed_grain=on",
    "subformat=vmfsSparse",
    "subformat=twoGbMaxExtentSparse,extent_size=1M",
};

enum {
    KINDS = sizeof kinds / sizeof *kinds
};

static void fill(const char *name, int64_t offset, int64_t bytes, unsigned generation)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, offset, bytes, generation));
    assert_ok(bdrv_close(disk));
}

/* old.vmdk is full of 1; new.vmdk has 1 in its first MiB, and 4 in its last. */
static void create_family(const char *child)
{
    create_disk("old.vmdk", NULL, NULL, DISK);
    fill("old.vmdk", 0, DISK, 1);
    create_disk("new.vmdk", NULL, "subformat=monolithicFlat", DISK);
    fill("new.vmdk", 0, MIB, 1);
    fill("new.vmdk", 2 * MIB, MIB, 4);
    create_disk("child.vmdk", "old.vmdk", child, 0);
    fill("child.vmdk", 100000, 70000, 2);
}

static void assert_same(BlockDriverState *disk)
{
    assert_pattern(disk, 0, 100000, 1);
    assert_pattern(disk, 100000, 70000, 2);
    assert_pattern(disk, 170000, DISK - 170000, 1);
}

static void rebase(const char *name, const char *parent, unsigned flags)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_RDWR);

    assert_ok(bdrv_rebase(disk, parent, NULL, flags));
    assert_ok(bdrv_close(disk));
}

START_TEST(a_safe_rebase_keeps_the_content)
{
    BlockDriverState *disk;
    BdrvExtent run;

    create_family(kinds[_i]);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_rebase(disk, "new.vmdk", NULL, 0));
    assert_same(disk);
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_same(disk);
    /* Where the two agree nothing was copied. */
    assert_ok(bdrv_is_allocated(disk, 512 * 1024, 4096, &run));
    ck_assert_int_eq(run.state, BDRV_UNALLOCATED);
    assert_ok(bdrv_close(disk));
    assert_text_has("child.vmdk", "parentFileNameHint=\"new.vmdk\"");
    ck_assert_uint_eq(cid_of("child.vmdk", "parentCID="), cid_of("new.vmdk", "\nCID="));
    assert_sound("child.vmdk", 0);
    disk = open_disk("old.vmdk", 0);
    assert_pattern(disk, 0, DISK, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(a_flattened_link_needs_no_parent)
{
    BlockDriverState *disk;
    char *old = host_path(directory, "old.vmdk");

    create_family(kinds[_i]);
    rebase("child.vmdk", NULL, 0);
    ck_assert_int_eq(remove(old), 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    ck_assert_ptr_null(bdrv_backing(disk));
    assert_same(disk);
    assert_ok(bdrv_truncate(disk, DISK + 512)); /* it is no link any more */
    assert_ok(bdrv_close(disk));
    assert_text_has("child.vmdk", "parentCID=ffffffff");
    assert_text_lacks("child.vmdk", "parentFileNameHint");
    assert_sound("child.vmdk", 0);
    free(old);
}
END_TEST

START_TEST(an_unsafe_rebase_changes_the_record_only)
{
    BlockDriverState *disk;

    create_family(kinds[_i]);
    disk = open_disk("child.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING);
    assert_ok(bdrv_rebase(disk, "new.vmdk", NULL, BDRV_REBASE_UNSAFE));
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_pattern(disk, 100000, 70000, 2);
    assert_pattern(disk, MIB, MIB, PATTERN_ZEROS);
    assert_pattern(disk, 2 * MIB, MIB, 4);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* The old parent was lost and found under another name. */
START_TEST(an_unsafe_rebase_does_not_need_the_old_parent)
{
    char *from = host_path(directory, "old.vmdk"), *to = host_path(directory, "moved.vmdk");
    BlockDriverState *disk;

    create_family(NULL);
    ck_assert_int_eq(rename(from, to), 0);
    ck_assert_int_lt(try_open_disk("child.vmdk", 0, NULL, &disk), 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING);
    assert_ok(bdrv_rebase(disk, "moved.vmdk", NULL, BDRV_REBASE_UNSAFE));
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_same(disk);
    assert_ok(bdrv_close(disk));
    free(from);
    free(to);
}
END_TEST

START_TEST(a_child_of_the_link_still_knows_it)
{
    BlockDriverState *disk;
    uint32_t cid;

    create_family(NULL);
    cid = cid_of("child.vmdk", "\nCID=");
    create_disk("grandchild.vmdk", "child.vmdk", NULL, 0);
    rebase("child.vmdk", "old.vmdk", BDRV_REBASE_UNSAFE);
    ck_assert_uint_eq(cid_of("child.vmdk", "\nCID="), cid);
    disk = open_disk("grandchild.vmdk", 0);
    assert_same(disk);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* A rebase that copied gave the link a new CID, so that its own children were refused
 * though they saw what they had always seen. */
START_TEST(a_child_of_the_link_still_knows_it_when_content_was_copied)
{
    static const char *const parents[] = { "new.vmdk", NULL };
    BlockDriverState *disk;
    uint32_t cid;

    create_family(kinds[_i / 2]);
    cid = cid_of("child.vmdk", "\nCID=");
    create_disk("grandchild.vmdk", "child.vmdk", NULL, 0);
    rebase("child.vmdk", parents[_i % 2], 0);
    ck_assert_uint_eq(cid_of("child.vmdk", "\nCID="), cid);
    disk = open_disk("grandchild.vmdk", 0);
    assert_same(disk);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(what_is_written_after_a_rebase_is_a_change)
{
    BlockDriverState *disk;
    uint32_t cid;

    create_family(NULL);
    cid = cid_of("child.vmdk", "\nCID=");
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_rebase(disk, "new.vmdk", NULL, 0));
    assert_ok(bdrv_pwrite(disk, "x", 1, 0));
    assert_ok(bdrv_close(disk));
    ck_assert_uint_ne(cid_of("child.vmdk", "\nCID="), cid);
}
END_TEST

START_TEST(an_image_without_a_parent_gets_one)
{
    BlockDriverState *disk;

    create_family(NULL);
    create_disk("a.vmdk", NULL, NULL, DISK);
    fill("a.vmdk", 0, 4096, 3);
    rebase("a.vmdk", "old.vmdk", 0);
    disk = open_disk("a.vmdk", 0);
    assert_pattern(disk, 0, 4096, 3);
    assert_pattern(disk, 4096, DISK - 4096, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", 0);
}
END_TEST

START_TEST(through_a_flat_disk_nothing_would_show)
{
    BlockDriverState *disk;

    create_family(NULL);
    disk = open_disk("new.vmdk", BDRV_O_RDWR);
    assert_fails_saying(bdrv_rebase(disk, "old.vmdk", NULL, BDRV_REBASE_UNSAFE), -ENOTSUP, "FLAT");
    assert_ok(bdrv_close(disk));
    disk = open_disk("new.vmdk", 0);
    assert_pattern(disk, 0, MIB, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(a_parent_without_a_cid_is_refused)
{
    char *path = host_path(directory, "raw.img");
    BlockDriverState *disk;
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = DISK};

    create_family(NULL);
    assert_ok(bdrv_create(path, "raw", &create));
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_fails_saying(bdrv_rebase(disk, "raw.img", "raw", 0), -EINVAL, "CID");
    assert_same(disk);
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_same(disk);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

/* What is open for writing was said to be in use by another writer. */
START_TEST(an_image_does_not_come_to_stand_on_itself)
{
    BlockDriverState *disk;

    create_family(NULL);
    create_disk("grandchild.vmdk", "child.vmdk", NULL, 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_fails_saying(bdrv_rebase(disk, "child.vmdk", NULL, 0), -ELOOP, "the image itself");
    assert_fails_saying(bdrv_rebase(disk, "grandchild.vmdk", NULL, 0), -ELOOP,
                        "the image itself");
    assert_same(disk);
    assert_ok(bdrv_close(disk));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        an_unsafe_rebase_does_not_need_the_old_parent,
        a_child_of_the_link_still_knows_it,
        what_is_written_after_a_rebase_is_a_change,
        an_image_without_a_parent_gets_one,
        through_a_flat_disk_nothing_would_show,
        a_parent_without_a_cid_is_refused,
        an_image_does_not_come_to_stand_on_itself,
        NULL,
    };
    Suite *suite = suite_create("vmdk/rebase");
    TCase *tcase = suite_add_case(suite, "rebase", tests, 60);

    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    tcase_add_loop_test(tcase, a_safe_rebase_keeps_the_content, 0, KINDS);
    tcase_add_loop_test(tcase, a_flattened_link_needs_no_parent, 0, KINDS);
    tcase_add_loop_test(tcase, an_unsafe_rebase_changes_the_record_only, 0, KINDS);
    tcase_add_loop_test(tcase, a_child_of_the_link_still_knows_it_when_content_was_copied, 0,
                        2 * KINDS);
    return suite;
}
