/* SPDX-License-Identifier: MIT */
/*
 * t-commit-fails.c - a commit that fails at a flush: the child still opens over its parent,
 * reads the same, and can be committed.
 */
#include "fault.h"
#include "place.h"

enum {
    MIB = 1024 * 1024,
    FLUSHES = 3 /* of a commit, at least */
};

static void make_pair(void)
{
    BlockDriverState *disk;

    assert_ok(place_try_create("parent.vmdk", NULL, NULL, 2 * MIB));
    disk = place_open("parent.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, 2 * MIB, 1));
    assert_ok(bdrv_close(disk));
    assert_ok(place_try_create("child.vmdk", "parent.vmdk", NULL, 2 * MIB));
    disk = place_open("child.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, MIB, 2));
    assert_ok(bdrv_close(disk));
}

static void assert_pair(BlockDriverState *disk)
{
    assert_pattern(disk, 0, MIB, 2);
    assert_pattern(disk, MIB, MIB, 1);
}

/* A flush that failed for want of space was taken for a descriptor that has no room: the commit went
 * on without the announcement, failed, and left a child that did not open. */
START_TEST(a_flush_that_fails_for_want_of_space_ends_a_commit)
{
    const FaultPlan plan = {.operations = FAULT_FLUSH, .call = _i, .life = FAULT_FOR_EVER,
                            .error = ENOSPC};
    const BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR};
    char *path = host_path(place, "child.vmdk");
    BlockDriverState *file, *fault, *disk;

    make_pair();
    assert_ok(bdrv_open(&file, path, "file", &options));
    fault = fault_insert(file);
    assert_ok(bdrv_open_node(&disk, fault, "vmdk", &options));
    fault_arm(fault, &plan);
    assert_fails(bdrv_commit(disk), -ENOSPC);
    bdrv_close(disk);
    bdrv_close(fault);
    bdrv_close(file);
    disk = place_open("child.vmdk", BDRV_O_RDWR, NULL);
    assert_pair(disk);
    assert_ok(bdrv_commit(disk));
    assert_pair(disk);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const none[] = {NULL};
    Suite *suite = suite_create("vmdk/commit-fails");
    TCase *tc = suite_add_case(suite, "commit fails", none, 30);

    image_register_drivers();
    fault_register();
    tcase_add_checked_fixture(tc, place_make, place_remove);
    tcase_add_loop_test(tc, a_flush_that_fails_for_want_of_space_ends_a_commit, 1, FLUSHES + 1);
    return suite;
}
