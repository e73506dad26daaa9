/* SPDX-License-Identifier: MIT */
/*
 * t-commit.c - what a link holds goes into its parent, and the link is empty
 * then and goes on, over chains of all kinds.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "changes.h"
#include "host.h"
#include "ram.h"

enum {
    MIB = 1024 * 1024,
    GRAIN = 65536,
    DISK = 4 * MIB + 512
};

static const char *const parents[] = {
    "subformat=monolithicSparse",
    "subformat=monolithicSparse,grain_size=8k,zeroed_grain=on",
    "subformat=monolithicFlat",
    "subformat=twoGbMaxExtentSparse,extent_size=1M",
    "subformat=twoGbMaxExtentFlat,extent_size=1M",
};

static const char *const children[] = {
    "subformat=monolithicSparse",
    "subformat=monolithicSparse,grain_size=8k,zeroed_grain=on",
    "subformat=vmfsSparse",
    "subformat=vmfsSparse,grain_size=64k",
    "subformat=twoGbMaxExtentSparse,extent_size=1M",
};

enum {
    PARENTS = sizeof parents / sizeof *parents,
    CHILDREN = sizeof children / sizeof *children
};

static void create_pair(const char *parent, const char *child)
{
    BlockDriverState *disk;

    create_disk("base.vmdk", NULL, parent, DISK);
    disk = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 2 * MIB, 1));
    assert_ok(bdrv_close(disk));
    create_disk("child.vmdk", "base.vmdk", child, 0);
}

/* Bytes of its own, and zeros where the parent has some. */
static void change_child(void)
{
    BlockDriverState *disk = open_disk("child.vmdk", BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 100000, 5000, 2));
    assert_ok(pattern_write(disk, 3 * MIB, 10, 2));
    assert_ok(pattern_write(disk, DISK - 512, 512, 2));
    assert_ok(bdrv_write_zeroes(disk, MIB, GRAIN));
    assert_ok(bdrv_close(disk));
}

static void assert_changed(BlockDriverState *disk)
{
    assert_pattern(disk, 0, 100000, 1);
    assert_pattern(disk, 100000, 5000, 2);
    assert_pattern(disk, 105000, MIB - 105000, 1);
    assert_pattern(disk, MIB, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, MIB + GRAIN, MIB - GRAIN, 1);
    assert_pattern(disk, 2 * MIB, MIB, PATTERN_ZEROS);
    assert_pattern(disk, 3 * MIB, 10, 2);
    assert_pattern(disk, DISK - 512, 512, 2);
}

static void assert_unallocated(BlockDriverState *disk)
{
    BdrvExtent run;

    for (int64_t at = 0; at < DISK; at += run.bytes) {
        assert_ok(bdrv_is_allocated(disk, at, DISK - at, &run));
        ck_assert_int_eq(run.state, BDRV_UNALLOCATED);
    }
}

START_TEST(content_goes_down_and_the_child_goes_on)
{
    BlockDriverState *disk;

    create_pair(parents[_i / CHILDREN], children[_i % CHILDREN]);
    change_child();
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_commit(disk));
    assert_changed(disk);
    assert_unallocated(disk);
    assert_ok(pattern_write(disk, 200000, 5000, 3));
    assert_pattern(disk, 200000, 5000, 3);
    assert_ok(bdrv_close(disk));

    disk = open_disk("base.vmdk", 0);
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    ck_assert_ptr_nonnull(bdrv_backing(disk));
    assert_pattern(disk, 100000, 5000, 2);
    assert_pattern(disk, 200000, 5000, 3);
    assert_ok(bdrv_close(disk));
    ck_assert_uint_eq(cid_of("child.vmdk", "parentCID="), cid_of("base.vmdk", "\nCID="));
    assert_sound("child.vmdk", 0);
    assert_sound("base.vmdk", 0);
}
END_TEST

START_TEST(the_emptied_file_is_as_short_as_a_new_one)
{
    BlockDriverState *disk;
    int64_t size;

    create_pair(NULL, NULL);
    size = file_size("child.vmdk");
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 2));
    assert_ok(bdrv_commit(disk));
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(file_size("child.vmdk"), size);
}
END_TEST

START_TEST(an_emptied_cowd_file_has_no_tables)
{
    BlockDriverState *disk;
    int64_t size;

    create_pair(NULL, "subformat=vmfsSparse");
    size = file_size("child-delta.vmdk");
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 2));
    assert_ok(bdrv_commit(disk));
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(file_size("child-delta.vmdk"), size);
}
END_TEST

/* It was made when the parent had another CID. */
START_TEST(another_child_of_the_parent_is_invalid_afterwards)
{
    BlockDriverState *disk;

    create_pair(NULL, NULL);
    create_disk("other.vmdk", "base.vmdk", NULL, 0);
    change_child();
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_commit(disk));
    assert_ok(bdrv_close(disk));
    assert_fails_saying(try_open_disk("other.vmdk", 0, NULL, &disk), -EINVAL, "CID");
}
END_TEST

/* Its content has not changed, so its own children still know it. */
/* A parent that is opened again by its name must be the one that was approved:
 * a link that has taken its place would lead the writes elsewhere. */
START_TEST(nothing_is_written_to_a_file_that_took_the_parents_name)
{
    BlockDriverState *disk;
    size_t size;
    uint8_t *before, *after;

    create_pair(parents[0], children[0]);
    change_child();
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(mkdir("elsewhere", 0700), 0);
    ck_assert_int_eq(system("cp base.vmdk elsewhere/victim.vmdk"), 0);
    before = host_read_file("elsewhere/victim.vmdk", &size);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    ck_assert_int_eq(rename("base.vmdk", "kept.vmdk"), 0);
    ck_assert_int_eq(symlink("elsewhere/victim.vmdk", "base.vmdk"), 0);
    assert_fails_saying(bdrv_commit(disk), -EBUSY, "another file");
    assert_changed(disk);
    ck_assert_int_eq(unlink("base.vmdk"), 0);
    ck_assert_int_eq(rename("kept.vmdk", "base.vmdk"), 0);
    assert_ok(bdrv_commit(disk));
    assert_ok(bdrv_close(disk));
    after = host_read_file("elsewhere/victim.vmdk", &size);
    ck_assert_mem_eq(before, after, size);
    free(before);
    free(after);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(a_child_of_the_committed_link_stays_valid)
{
    BlockDriverState *disk;

    create_pair(NULL, NULL);
    change_child();
    create_disk("grandchild.vmdk", "child.vmdk", NULL, 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_commit(disk));
    assert_ok(bdrv_close(disk));
    disk = open_disk("grandchild.vmdk", 0);
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(without_a_parent_it_is_refused)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_fails(bdrv_commit(disk), -ENOTSUP);
    assert_ok(bdrv_close(disk));
}
END_TEST

static int open_base_to_write(void)
{
    BlockDriverState *base;
    int ret = try_open_disk("base.vmdk", BDRV_O_RDWR, NULL, &base);

    return ret < 0 ? ret : bdrv_close(base);
}

/* The parent could be written while a child was: what that read was torn. */
START_TEST(a_parent_is_nobody_elses_while_a_child_is_open_for_writing)
{
    BlockDriverState *disk, *other, *writer;

    create_pair(NULL, NULL);
    create_disk("other.vmdk", "base.vmdk", NULL, 0);
    change_child();
    writer = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_fails_saying(try_open_disk("child.vmdk", BDRV_O_RDWR, NULL, &disk), -EBUSY,
                        "shows through");
    assert_ok(bdrv_close(writer));
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_fails_saying(open_base_to_write(), -EBUSY, "perhaps as a parent");
    other = open_disk("other.vmdk", BDRV_O_RDWR);
    assert_fails(bdrv_commit(disk), -EBUSY);
    assert_ok(bdrv_close(other));
    assert_changed(disk);
    assert_fails(open_base_to_write(), -EBUSY);
    assert_ok(bdrv_commit(disk));
    assert_changed(disk);
    assert_fails(open_base_to_write(), -EBUSY);
    assert_ok(bdrv_close(disk));
    assert_ok(open_base_to_write());
}
END_TEST

/* A commit stops when so much of the disk is done. */
static int stop_at(void *opaque, int64_t done, int64_t total)
{
    (void)total;
    return done >= *(int64_t *)opaque;
}

static void stop_commit(int64_t done)
{
    BlockDriverState *disk = open_disk("child.vmdk", BDRV_O_RDWR);

    bdrv_set_progress(disk, stop_at, &done);
    assert_fails(bdrv_commit(disk), -ECANCELED);
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
}

/* The second of two that were interrupted forgot the CID that the first had given the parent,
 * before it gave it another one: the child did not open any more. */
START_TEST(two_interrupted_commits_leave_a_child_that_opens)
{
    BlockDriverState *disk;

    create_pair(NULL, NULL);
    change_child();
    stop_commit(DISK); /* all is written */
    stop_commit(1);    /* nothing is */
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_changed(disk);
    assert_ok(bdrv_commit(disk));
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
}
END_TEST

static void edit_child(const char *key, const char *line)
{
    char *path = host_path(directory, "child.vmdk"), *text = read_text("child.vmdk");
    char *start = strstr(text, key), *made = calloc(2, strlen(text) + 2048);

    ck_assert(start != NULL && made != NULL);
    sprintf(made, "%.*s%s%s", (int)(start - text), text, line, strchr(start, '\n') + 1);
    host_write_file(path, made, strlen(made));
    free(made);
    free(text);
    free(path);
}

/* The name of the parent was refused, or cut, when all was in the parent. */
START_TEST(a_commit_leaves_the_name_of_the_parent_as_it_is)
{
    char *base = host_path(directory, "base.vmdk"), *path = host_path(directory, "child.vmdk");
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR, .backing = base};
    char name[1025] = "", line[1100];
    BlockDriverState *disk;

    while (strlen(name) < 1014) {
        strcat(name, "./");
    }
    strcat(name, "/base.vmdk"); /* as long as one can be */
    snprintf(line, sizeof line, "parentFileNameHint=\"%s\"\n", name);
    for (int i = 0; i < 3; i++) {
        create_pair(NULL, "subformat=vmfsSparse");
        change_child();
        edit_child("parentFileNameHint", i == 0 ? "" : i == 1 ? "parentFileNameHint=\"a\tb\"\n"
                                                              : line);
        open.backing = i == 2 ? NULL : base;
        assert_ok(bdrv_open(&disk, path, "vmdk", &open));
        assert_ok(bdrv_commit(disk));
        assert_changed(disk);
        assert_ok(bdrv_close(disk));
        assert_ok(bdrv_open(&disk, path, "vmdk", &open));
        assert_changed(disk);
        assert_ok(bdrv_close(disk));
        ck_assert_uint_eq(cid_of("child.vmdk", "parentCID="), cid_of("base.vmdk", "\nCID="));
    }
    assert_text_has("child.vmdk", line);
    free(base);
    free(path);
}
END_TEST

static void exchange(const char *name, const char *other)
{
    char *a = host_path(directory, name), *b = host_path(directory, other);
    char *kept = host_path(directory, "kept");

    ck_assert_int_eq(rename(a, kept), 0);
    ck_assert_int_eq(rename(b, a), 0);
    ck_assert_int_eq(rename(kept, b), 0);
    free(a);
    free(b);
    free(kept);
}

static int exchange_at_the_end(void *opaque, int64_t done, int64_t total)
{
    int *exchanged = opaque;

    if (done == total && !*exchanged) {
        exchange("base.vmdk", "other.vmdk");
        *exchanged = 1;
    }
    return 0;
}

/* A file that had got the parent's name while the parent was written became the parent. */
START_TEST(what_takes_the_parents_name_meanwhile_is_not_the_parent)
{
    int exchanged = 0;
    BlockDriverState *disk;

    create_pair(NULL, NULL);
    create_disk("other.vmdk", NULL, NULL, DISK);
    change_child();
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    bdrv_set_progress(disk, exchange_at_the_end, &exchanged);
    assert_fails_saying(bdrv_commit(disk), -EBUSY, "another file");
    assert_changed(disk);
    exchange("base.vmdk", "other.vmdk");
    assert_ok(bdrv_commit(disk));
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
    disk = open_disk("base.vmdk", 0);
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* That the user's parent was in use was told as that no parent was named (-EINVAL). */
START_TEST(a_parent_that_the_user_names_and_that_is_in_use_is_busy)
{
    char *base = host_path(directory, "base.vmdk"), *path = host_path(directory, "child.vmdk");
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR, .backing = base};
    BlockDriverState *disk, *writer;

    create_pair(NULL, "subformat=vmfsSparse");
    edit_child("parentFileNameHint", "");
    writer = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_fails_saying(bdrv_open(&disk, path, "vmdk", &open), -EBUSY, "another writer");
    assert_ok(bdrv_close(writer));
    free(base);
    free(path);
}
END_TEST

/* What the parent itself names was looked at as if the user had opened the parent: one in a
 * directory of its own, over one beside the child, could be read and not be committed to. */
START_TEST(a_parent_in_a_directory_of_its_own_may_stand_on_one_beside_the_child)
{
    const char *const allowed[] = {directory, NULL};
    BdrvCreateOptions create = {.struct_size = sizeof create, .backing = "sub/base.vmdk",
                                .allow_paths = allowed};
    char *sub = host_path(directory, "sub"), *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk;

    ck_assert_int_eq(mkdir(sub, 0700), 0);
    create_disk("ground.vmdk", NULL, NULL, DISK);
    create_disk("sub/base.vmdk", "../ground.vmdk", NULL, 0);
    assert_ok(bdrv_create(path, "vmdk", &create));
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, MIB, 2));
    assert_ok(bdrv_commit(disk));
    assert_pattern(disk, 0, MIB, 2);
    assert_ok(bdrv_close(disk));
    free(sub);
    free(path);
}
END_TEST

/* Opens the parent for writing when a commit asks for it, in the moment in which nobody has it
 * locked. */
typedef struct Intruder {
    int armed;
    int leaves; /* changes it, and is gone */
    BlockDriverState *writer;
} Intruder;

static int intrude(void *opaque, const BdrvNamedFile *file)
{
    Intruder *intruder = opaque;

    if (intruder->armed && file->writable) {
        intruder->armed = 0;
        intruder->writer = open_disk("base.vmdk", BDRV_O_RDWR);
        if (intruder->leaves) {
            assert_ok(pattern_write(intruder->writer, 0, DISK, 9));
            assert_ok(bdrv_close(intruder->writer));
        }
    }
    return BDRV_OPEN_AS_USUAL;
}

/* A commit that lost the parent to another writer in between left the handle without its lock
 * for good: the next one did not take it again. */
START_TEST(a_parent_that_was_lost_meanwhile_is_locked_by_the_next_commit)
{
    Intruder intruder = {0};
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR,
                            .may_open = intrude, .may_open_opaque = &intruder};
    char *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk;

    create_pair(NULL, NULL);
    change_child();
    assert_ok(bdrv_open(&disk, path, "vmdk", &open));
    intruder.armed = 1;
    assert_fails(bdrv_commit(disk), -EBUSY);
    ck_assert_ptr_nonnull(intruder.writer);
    assert_ok(bdrv_close(intruder.writer));
    assert_changed(disk);
    assert_ok(bdrv_commit(disk));
    assert_fails(open_base_to_write(), -EBUSY);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

/* When the other was gone again by then, the commit went on, over what it had written. */
START_TEST(nothing_is_written_to_a_parent_that_was_changed_meanwhile)
{
    Intruder intruder = {.leaves = 1};
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR,
                            .may_open = intrude, .may_open_opaque = &intruder};
    char *path = host_path(directory, "child.vmdk");
    BlockDriverState *disk, *base;

    create_pair(NULL, NULL);
    change_child();
    assert_ok(bdrv_open(&disk, path, "vmdk", &open));
    intruder.armed = 1;
    assert_fails_saying(bdrv_commit(disk), -EINVAL, "was written to since");
    ck_assert_int_eq(intruder.armed, 0);
    assert_ok(bdrv_close(disk));
    base = open_disk("base.vmdk", 0);
    assert_pattern(base, 0, DISK, 9);
    assert_ok(bdrv_close(base));
    assert_ok(try_open_disk("child.vmdk", 0, "any_parent=on", &disk));
    assert_pattern(disk, 100000, 5000, 2);
    assert_pattern(disk, MIB, GRAIN, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

static Ram *load(const char *name)
{
    char *path = host_path(directory, name);
    size_t size;
    uint8_t *bytes = host_read_file(path, &size);
    Ram *ram = ram_new((int64_t)size, (int64_t)size + MIB);

    memcpy(ram->bytes, bytes, size);
    free(bytes);
    free(path);
    return ram;
}

/* A commit opened the host's file of the parent's name when the image was in
 * storage of the caller's own. */
START_TEST(a_parent_in_storage_of_the_callers_is_no_file_of_the_host)
{
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR};
    BlockDriverState *disk;
    Ram *base, *child;

    create_pair(NULL, NULL);
    change_child();
    base = load("base.vmdk");
    child = load("child.vmdk");
    child->other = base;
    disk = ram_open(child, "vmdk", &open);
    assert_fails_saying(bdrv_commit(disk), -EROFS, "cannot be opened again");
    assert_changed(disk);
    assert_ok(bdrv_close(disk));
    ram_free(child);
    ram_free(base);
}
END_TEST

/* A stream of a disk of zeros kept its CID when it was written, so that the other children
 * took its new content for what they had been made from. */
START_TEST(an_empty_stream_that_is_written_is_changed)
{
    BlockDriverState *disk;

    create_disk("parent.vmdk", NULL, "subformat=streamOptimized", DISK);
    create_disk("child.vmdk", "parent.vmdk", NULL, 0);
    disk = open_disk("parent.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 65536, 1));
    assert_ok(bdrv_close(disk));
    ck_assert_int_lt(try_open_disk("child.vmdk", 0, NULL, &disk), 0);
}
END_TEST

/* A change that was refused had taken a new CID, and the children did not open. */
START_TEST(what_is_refused_disowns_no_children)
{
    BlockDriverState *disk;

    create_disk("parent.vmdk", NULL, "subformat=seSparse,sesparse_unverified=on", DISK);
    create_disk("child.vmdk", "parent.vmdk", NULL, 0);
    disk = open_disk("parent.vmdk", BDRV_O_RDWR);
    ck_assert_int_eq(bdrv_discard(disk, 0, 65536), -ENOTSUP);
    ck_assert_int_eq(bdrv_truncate(disk, MIB), -ENOTSUP);
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_ok(bdrv_close(disk));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        the_emptied_file_is_as_short_as_a_new_one,
        an_emptied_cowd_file_has_no_tables,
        another_child_of_the_parent_is_invalid_afterwards,
        nothing_is_written_to_a_file_that_took_the_parents_name,
        a_child_of_the_committed_link_stays_valid,
        an_empty_stream_that_is_written_is_changed,
        what_is_refused_disowns_no_children,
        without_a_parent_it_is_refused,
        a_parent_is_nobody_elses_while_a_child_is_open_for_writing,
        a_parent_that_was_lost_meanwhile_is_locked_by_the_next_commit,
        nothing_is_written_to_a_parent_that_was_changed_meanwhile,
        two_interrupted_commits_leave_a_child_that_opens,
        a_commit_leaves_the_name_of_the_parent_as_it_is,
        a_parent_in_a_directory_of_its_own_may_stand_on_one_beside_the_child,
        what_takes_the_parents_name_meanwhile_is_not_the_parent,
        a_parent_that_the_user_names_and_that_is_in_use_is_busy,
        a_parent_in_storage_of_the_callers_is_no_file_of_the_host,
        NULL,
    };
    Suite *suite = suite_create("vmdk/commit");
    TCase *tcase = suite_add_case(suite, "commit", tests, 60);

    image_register_drivers();
    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    tcase_add_loop_test(tcase, content_goes_down_and_the_child_goes_on, 0, PARENTS * CHILDREN);
    return suite;
}
