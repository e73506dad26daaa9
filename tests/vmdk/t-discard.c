/* SPDX-License-Identifier: MIT */
/*
 * t-discard.c - what is discarded reads as zeros or as before, shows nothing of
 * a parent that was hidden, gives its space back, and leaves the rest alone.
 */
#include "changes.h"

#include <sys/stat.h>

enum {
    GRAIN = 65536,
    DISK = 4 * 1024 * 1024 + 512
};

static int64_t blocks_of(const char *name)
{
    char *path = host_path(directory, name);
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    free(path);
    return (int64_t)st.st_blocks * 512;
}

static BdrvState state_at(BlockDriverState *disk, int64_t offset)
{
    BdrvExtent run;

    assert_ok(bdrv_is_allocated(disk, offset, 512, &run));
    return run.state;
}

START_TEST(whole_grains_without_a_parent_are_not_allocated_any_more)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_discard(disk, GRAIN, 3 * GRAIN));
    ck_assert_int_eq(state_at(disk, 0), BDRV_DATA);
    ck_assert_int_eq(state_at(disk, GRAIN), BDRV_UNALLOCATED);
    ck_assert_int_eq(state_at(disk, 4 * GRAIN), BDRV_DATA);
    assert_pattern(disk, GRAIN, 3 * GRAIN, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    disk = open_disk("a.vmdk", 0);
    assert_pattern(disk, 0, GRAIN, 1);
    assert_pattern(disk, GRAIN, 3 * GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 4 * GRAIN, DISK - 4 * GRAIN, 1);
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", 1);
}
END_TEST

START_TEST(parts_of_grains_stay)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_discard(disk, GRAIN + 1, 2 * GRAIN - 2));
    assert_pattern(disk, 0, DISK, 1);
    assert_ok(bdrv_discard(disk, GRAIN - 1, GRAIN + 2));
    assert_pattern(disk, 0, GRAIN, 1);
    assert_pattern(disk, GRAIN, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 2 * GRAIN, DISK - 2 * GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* The last grain is whole when the range reaches the end of the disk. */
START_TEST(the_partial_last_grain_can_be_discarded)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_discard(disk, DISK - 512, 512));
    ck_assert_int_eq(state_at(disk, DISK - 512), BDRV_UNALLOCATED);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(the_host_gets_its_space_back)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_discard(disk, 0, DISK));
    assert_ok(bdrv_close(disk));
    ck_assert_int_lt(blocks_of("a.vmdk"), DISK / 4);
}
END_TEST

/* An entry of 0 would show what the parent has. */
START_TEST(a_discard_never_shows_the_parent_again)
{
    BlockDriverState *disk;
    char *path = host_path(directory, "child.vmdk");
    uint8_t *bytes;
    size_t size;

    create_disk("base.vmdk", NULL, NULL, DISK);
    disk = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    create_disk("child.vmdk", "base.vmdk", NULL, 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 2 * GRAIN, 2));
    assert_ok(bdrv_discard(disk, 0, 3 * GRAIN));
    ck_assert_int_eq(state_at(disk, 0), BDRV_ZERO);
    assert_pattern(disk, 0, 2 * GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 2 * GRAIN, DISK - 2 * GRAIN, 1);
    assert_ok(bdrv_close(disk));
    bytes = host_read_file(path, &size);
    ck_assert_uint_eq(bdrv_load_le32(bytes + AT_VERSION), 2);
    ck_assert_uint_eq(bdrv_load_le32(bytes + AT_FLAGS), 7);
    free(bytes);
    free(path);
    assert_sound("child.vmdk", 1);
}
END_TEST

START_TEST(a_cowd_child_keeps_grains_of_zeros)
{
    BlockDriverState *disk;

    create_disk("base.vmdk", NULL, NULL, DISK);
    disk = open_disk("base.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    create_disk("child.vmdk", "base.vmdk", "subformat=vmfsSparse", 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 512, 4096, 2));
    assert_ok(bdrv_discard(disk, 1024, 1024));
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    assert_pattern(disk, 0, 512, 1);
    assert_pattern(disk, 512, 512, 2);
    assert_pattern(disk, 1024, 1024, PATTERN_ZEROS);
    assert_pattern(disk, 2048, 2560, 2);
    assert_pattern(disk, 4608, DISK - 4608, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(a_cowd_disk_frees_single_sectors)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, "subformat=cowd", DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 10 * 512, 1));
    assert_ok(bdrv_discard(disk, 512, 512));
    ck_assert_int_eq(state_at(disk, 512), BDRV_UNALLOCATED);
    assert_pattern(disk, 512, 512, PATTERN_ZEROS);
    assert_pattern(disk, 1024, 8 * 512, 1);
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", 1);
}
END_TEST

START_TEST(a_flat_disk_gets_a_hole)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, "subformat=monolithicFlat", DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_discard(disk, GRAIN, DISK - 2 * GRAIN));
    assert_pattern(disk, 0, GRAIN, 1);
    assert_pattern(disk, GRAIN, DISK - 2 * GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, DISK - GRAIN, GRAIN, 1);
    assert_ok(bdrv_close(disk));
    ck_assert_int_lt(blocks_of("a-flat.vmdk"), 4 * GRAIN);
}
END_TEST

/* What was freed in a session must not be given to other grains in it. */
START_TEST(a_freed_place_is_not_used_again_in_the_session)
{
    BlockDriverState *disk;
    BdrvExtent before, after;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, GRAIN, 1));
    assert_ok(bdrv_is_allocated(disk, 0, GRAIN, &before));
    assert_ok(bdrv_discard(disk, 0, GRAIN));
    assert_ok(bdrv_flush(disk));
    assert_ok(pattern_write(disk, 5 * GRAIN, GRAIN, 2));
    assert_ok(bdrv_is_allocated(disk, 5 * GRAIN, GRAIN, &after));
    ck_assert_int_ne(before.file_offset, after.file_offset);
    assert_ok(bdrv_close(disk));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        whole_grains_without_a_parent_are_not_allocated_any_more,
        parts_of_grains_stay,
        the_partial_last_grain_can_be_discarded,
        the_host_gets_its_space_back,
        a_discard_never_shows_the_parent_again,
        a_cowd_child_keeps_grains_of_zeros,
        a_cowd_disk_frees_single_sectors,
        a_flat_disk_gets_a_hole,
        a_freed_place_is_not_used_again_in_the_session,
        NULL,
    };
    Suite *suite = suite_create("vmdk/discard");

    tcase_add_checked_fixture(suite_add_case(suite, "discard", tests, 60), make_directory,
                              remove_directory);
    return suite;
}
