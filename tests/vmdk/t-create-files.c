/* SPDX-License-Identifier: MIT */
/*
 * t-create-files.c - new images of several files: names, sizes and texts as
 * VMware writes them, what is refused, and that nothing stays of what failed.
 */
#include "place.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MIB = 1024 * 1024
};

static void assert_text(const char *name, const char *line)
{
    char *text = place_read(name);

    ck_assert_msg(strstr(text, line) != NULL, "no '%s' in\n%s", line, text);
    free(text);
}

static int64_t size_of(const char *name)
{
    char *path = host_path(place, name);
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    free(path);
    return st.st_size;
}

static int64_t blocks_of(const char *name)
{
    char *path = host_path(place, name);
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    free(path);
    return st.st_blocks * 512;
}

static int files_here(void)
{
    DIR *directory = opendir(place);
    int count = -2; /* . and .. */

    ck_assert_ptr_nonnull(directory);
    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

static void create(const char *name, const char *options, int64_t size)
{
    assert_ok(place_try_create(name, NULL, options, size));
}

/* ------------------------------------------------------------------ the kinds */

START_TEST(a_flat_disk_is_a_text_and_its_bytes)
{
    create("d.vmdk", "subformat=monolithicFlat", 3 * MIB + 512);
    assert_text("d.vmdk", "\ncreateType=\"monolithicFlat\"\n");
    assert_text("d.vmdk", "\nRW 6145 FLAT \"d-flat.vmdk\" 0\n");
    ck_assert_int_eq(size_of("d-flat.vmdk"), 3 * MIB + 512);
    ck_assert_int_eq(files_here(), 2);
}
END_TEST

/* ESX writes no offset behind VMFS, and QEMU refuses a line that has one. */
START_TEST(esx_disks_say_vmfs_and_thin_ones_so)
{
    create("thick.vmdk", "subformat=vmfs", 4 * MIB);
    create("thin.vmdk", "subformat=vmfsThin", 4 * MIB);
    assert_text("thick.vmdk", "\ncreateType=\"vmfs\"\n");
    assert_text("thick.vmdk", "\nRW 8192 VMFS \"thick-flat.vmdk\"\n");
    assert_text("thin.vmdk", "\ncreateType=\"vmfs\"\n");
    assert_text("thin.vmdk", "\nddb.thinProvisioned = \"1\"\n");
}
END_TEST

/* formats/vmdk.md 12.4 */
START_TEST(a_split_sparse_disk_has_vmwares_sizes_and_headers)
{
    static const struct {
        const char *name;
        int64_t sectors, rgd, gd, overhead;
    } wanted[] = {{"d-s001.vmdk", 4192256, 1, 258, 640},
                  {"d-s002.vmdk", 4192256, 1, 258, 640},
                  {"d-s003.vmdk", 2101248, 1, 134, 384}};

    create("d.vmdk", "subformat=twoGbMaxExtentSparse", INT64_C(5) << 30);
    assert_text("d.vmdk", "\ncreateType=\"twoGbMaxExtentSparse\"\n");
    assert_text("d.vmdk", "\nRW 4192256 SPARSE \"d-s001.vmdk\"\n"
                "RW 4192256 SPARSE \"d-s002.vmdk\"\nRW 2101248 SPARSE \"d-s003.vmdk\"\n");
    for (size_t i = 0; i < 3; i++) {
        uint8_t *header = (uint8_t *)place_read(wanted[i].name);

        ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_CAPACITY), wanted[i].sectors);
        ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_DESCRIPTOR), 0);
        ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_DESCRIPTOR_SIZE), 0);
        ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_RGD), wanted[i].rgd);
        ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_GD), wanted[i].gd);
        ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_OVERHEAD), wanted[i].overhead);
        ck_assert_int_eq(size_of(wanted[i].name), wanted[i].overhead * SECTOR);
        free(header);
    }
}
END_TEST

START_TEST(the_size_of_extents_can_be_chosen)
{
    create("d.vmdk", "subformat=twoGbMaxExtentFlat,extent_size=1M", 5 * MIB / 2);
    assert_text("d.vmdk", "\nRW 2048 FLAT \"d-f001.vmdk\" 0\nRW 2048 FLAT \"d-f002.vmdk\" 0\n"
                "RW 1024 FLAT \"d-f003.vmdk\" 0\n");
    assert_fails_saying(place_try_create("e.vmdk", NULL, "subformat=twoGbMaxExtentFlat,"
                                         "extent_size=1000k", MIB), -EINVAL, "extent_size");
    assert_fails_saying(place_try_create("e.vmdk", NULL, "subformat=twoGbMaxExtentSparse,"
                                         "extent_size=64k,grain_size=128k", MIB), -EINVAL,
                        "extent_size");
    assert_fails_saying(place_try_create("e.vmdk", NULL, "subformat=twoGbMaxExtentFlat,"
                                         "extent_size=64k", INT64_C(1) << 40), -EINVAL,
                        "extent_size");
    ck_assert(!place_has("e.vmdk"));
}
END_TEST

START_TEST(newer_vmwares_extents_have_their_header)
{
    uint8_t *header;

    create("d.vmdk", "subformat=twoGbMaxExtentSparse,extent_size=4064M", INT64_C(8) << 30);
    assert_text("d.vmdk", "\nRW 8323072 SPARSE \"d-s001.vmdk\"\n");
    header = (uint8_t *)place_read("d-s001.vmdk");
    ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_GD), 510);
    ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_OVERHEAD), 1024);
    free(header);
}
END_TEST

START_TEST(more_than_999_extents_are_numbered_on)
{
    create("d.vmdk", "subformat=twoGbMaxExtentFlat,extent_size=64k", 1001 * 65536);
    assert_text("d.vmdk", "\"d-f999.vmdk\" 0\nRW 128 FLAT \"d-f1000.vmdk\" 0\n"
                "RW 128 FLAT \"d-f1001.vmdk\" 0\n");
    ck_assert_int_eq(files_here(), 1002);
}
END_TEST

START_TEST(preallocation_takes_the_space)
{
    create("off.vmdk", "subformat=monolithicFlat", 4 * MIB);
    ck_assert_int_lt(blocks_of("off-flat.vmdk"), MIB);
    create("full.vmdk", "subformat=monolithicFlat,preallocation=full", 4 * MIB);
    ck_assert_int_ge(blocks_of("full-flat.vmdk"), 4 * MIB);
    if (place_try_create("falloc.vmdk", NULL, "subformat=monolithicFlat,preallocation=falloc",
                         4 * MIB) == -ENOTSUP) {
        suite_skipped("this file system cannot set space aside");
        return;
    }
    ck_assert_int_eq(size_of("falloc-flat.vmdk"), 4 * MIB);
    ck_assert_int_ge(blocks_of("falloc-flat.vmdk"), 4 * MIB);
}
END_TEST

START_TEST(options_that_mean_nothing_for_a_kind_are_refused)
{
    assert_fails_saying(place_try_create("d.vmdk", NULL, "extent_size=64k", MIB), -EINVAL,
                        "extent_size");
    assert_fails_saying(place_try_create("d.vmdk", NULL, "preallocation=full", MIB), -EINVAL,
                        "preallocation");
    assert_fails_saying(place_try_create("d.vmdk", NULL, "subformat=vmfsThin,preallocation=full",
                                         MIB), -EINVAL, "preallocation");
    assert_fails_saying(place_try_create("d.vmdk", NULL, "subformat=monolithicFlat,"
                                         "zeroed_grain=on", MIB), -EINVAL, "zeroed_grain");
}
END_TEST

/* ------------------------------------------------------------------- children */

START_TEST(every_kind_of_delta_has_every_kind_of_parent)
{
    static const char *const parents[] = {
        "", "subformat=monolithicFlat", "subformat=twoGbMaxExtentSparse,extent_size=128k",
        "subformat=twoGbMaxExtentFlat,extent_size=128k", "subformat=vmfs",
        "subformat=vmfsThin", "subformat=vmfsSparse"};
    static const char *const deltas[] = {
        "", "subformat=twoGbMaxExtentSparse,extent_size=192k", "subformat=vmfsSparse"};
    BlockDriverState *disk;

    for (size_t p = 0; p < sizeof parents / sizeof *parents; p++) {
        create("base.vmdk", parents[p], MIB);
        disk = place_open("base.vmdk", BDRV_O_RDWR, NULL);
        assert_ok(pattern_write(disk, 0, MIB, 1));
        assert_ok(bdrv_close(disk));
        for (size_t d = 0; d < sizeof deltas / sizeof *deltas; d++) {
            assert_ok(place_try_create("d.vmdk", "base.vmdk", deltas[d], 0));
            disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
            assert_ok(pattern_write(disk, 300000, 300000, 2));
            assert_ok(bdrv_close(disk));
            disk = place_open("d.vmdk", 0, NULL);
            assert_pattern(disk, 0, 300000, 1);
            assert_pattern(disk, 300000, 300000, 2);
            assert_pattern(disk, 600000, MIB - 600000, 1);
            assert_ok(bdrv_close(disk));
        }
    }
}
END_TEST

START_TEST(flat_disks_have_no_parent)
{
    create("base.vmdk", "", MIB);
    assert_fails_saying(place_try_create("d.vmdk", "base.vmdk", "subformat=monolithicFlat", 0),
                        -EINVAL, "monolithicFlat");
    ck_assert(!place_has("d.vmdk"));
    ck_assert(!place_has("d-flat.vmdk"));
}
END_TEST

START_TEST(a_child_of_another_size_is_made_when_asked_for)
{
    BlockDriverState *disk;

    create("base.vmdk", "", MIB);
    assert_fails_saying(place_try_create("d.vmdk", "base.vmdk", NULL, 2 * MIB), -EINVAL,
                        "other_size=on");
    assert_ok(place_try_create("d.vmdk", "base.vmdk", "other_size=on", 2 * MIB));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), 2 * MIB);
    assert_pattern(disk, MIB, MIB, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* A disk is renamed by renaming its descriptor; a child that gets the old name
 * would have emptied the parent's extents, whose names are the old ones. */
START_TEST(a_child_does_not_take_the_names_of_its_parents_extents)
{
    const char *options = "subformat=twoGbMaxExtentSparse,extent_size=512k";
    char *from = host_path(place, "d.vmdk"), *to = host_path(place, "base.vmdk");
    BlockDriverState *disk;

    create("d.vmdk", options, MIB);
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, MIB, 1));
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(rename(from, to), 0);
    assert_fails_saying(place_try_create("d.vmdk", "base.vmdk", options, 0), -EINVAL,
                        "d-s001.vmdk");
    assert_ok(place_try_create("e.vmdk", "base.vmdk", options, 0));
    disk = place_open("e.vmdk", 0, NULL);
    assert_pattern(disk, 0, MIB, 1);
    assert_ok(bdrv_close(disk));
    free(from);
    free(to);
}
END_TEST

/* ------------------------------------------------------------------- failures */

START_TEST(nothing_stays_of_a_creation_that_failed)
{
    char *path = host_path(place, "d-f005.vmdk");

    ck_assert_int_eq(mkdir(path, 0777), 0); /* where the fifth extent would be */
    assert_fails(place_try_create("d.vmdk", NULL, "subformat=twoGbMaxExtentFlat,extent_size=64k",
                                  MIB), -EISDIR);
    ck_assert_int_eq(files_here(), 1);
    free(path);
}
END_TEST

START_TEST(a_name_that_cannot_be_quoted_is_refused)
{
    assert_fails_saying(place_try_create("a\"b.vmdk", NULL, "subformat=monolithicFlat", MIB),
                        -EINVAL, "quote");
    ck_assert_int_eq(files_here(), 0);
}
END_TEST

/* ---------------------------------------------------------------- determinism */

static void rename_file(const char *from, const char *to)
{
    char *old = host_path(place, from), *new = host_path(place, to);

    ck_assert_int_eq(rename(old, new), 0);
    free(old);
    free(new);
}

static void assert_same_file(const char *one, const char *other)
{
    char *a = host_path(place, one), *b = host_path(place, other);
    size_t a_size, b_size;
    uint8_t *a_bytes = host_read_file(a, &a_size), *b_bytes = host_read_file(b, &b_size);

    ck_assert_uint_eq(a_size, b_size);
    ck_assert_mem_eq(a_bytes, b_bytes, a_size);
    free(a_bytes);
    free(b_bytes);
    free(a);
    free(b);
}

START_TEST(the_same_seed_and_the_same_writes_give_the_same_bytes)
{
    static const char *const options[] = {
        "seed=1", "subformat=twoGbMaxExtentSparse,extent_size=256k,seed=1",
        "subformat=vmfsSparse,seed=1", "subformat=monolithicFlat,seed=1"};

    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        for (int round = 0; round < 2; round++) {
            BlockDriverState *disk;

            create("d.vmdk", options[i], MIB);
            rename_file("d.vmdk", round ? "b" : "a");
            create("d.vmdk", options[i], MIB);
            disk = place_open("d.vmdk", BDRV_O_RDWR, "seed=1");
            assert_ok(pattern_write(disk, 1000, 200000, 1));
            assert_ok(bdrv_close(disk));
            rename_file("d.vmdk", round ? "2" : "1");
        }
        assert_same_file("a", "b");
        assert_same_file("1", "2");
    }
}
END_TEST

/* Extents of no grain at all: a division by zero. */
START_TEST(grains_longer_than_an_extent_are_refused)
{
    assert_fails_saying(place_try_create("d.vmdk", NULL, "subformat=twoGbMaxExtentSparse,"
                                         "grain_size=4G", 1024 * 1024), -EINVAL, "grain_size");
    ck_assert(!place_has("d.vmdk"));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_flat_disk_is_a_text_and_its_bytes,
        esx_disks_say_vmfs_and_thin_ones_so,
        a_split_sparse_disk_has_vmwares_sizes_and_headers,
        the_size_of_extents_can_be_chosen,
        newer_vmwares_extents_have_their_header,
        more_than_999_extents_are_numbered_on,
        preallocation_takes_the_space,
        options_that_mean_nothing_for_a_kind_are_refused,
        every_kind_of_delta_has_every_kind_of_parent,
        flat_disks_have_no_parent,
        a_child_of_another_size_is_made_when_asked_for,
        a_child_does_not_take_the_names_of_its_parents_extents,
        nothing_stays_of_a_creation_that_failed,
        grains_longer_than_an_extent_are_refused,
        a_name_that_cannot_be_quoted_is_refused,
        the_same_seed_and_the_same_writes_give_the_same_bytes,
        NULL
    };
    Suite *suite = suite_create("vmdk create files");

    tcase_add_checked_fixture(suite_add_case(suite, "files", tests, 60), place_make,
                              place_remove);
    return suite;
}
