/* SPDX-License-Identifier: MIT */
/*
 * t-resize-powercut.c - another length for a disk, and the power goes: at every change of
 * the files, and with random choices of what was not flushed.
 */
#include "changes.h"
#include "powercut.h"
#include "resizable.h"

enum {
    MIB = 1024 * 1024
};

/* A session of resizes and discards, recorded; then cut at every change of the
 * file: what the flush before had confirmed, inside both lengths, is there. */
enum {
    SMALL = MIB + 5 * 512,
    GROWTH = MIB / 2,
    LOSSES = 60 /* by chance */
};

static BlockDriverState *open_left(Volume *volume)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR};
    BlockDriverState *file = volume_open(volume, "a.vmdk", BDRV_O_RDWR), *disk;
    int ret = bdrv_open_node(&disk, file, "vmdk", &options);

    ck_assert_msg(ret == 0, "cannot be opened: %s", bdrv_errmsg());
    assert_ok(bdrv_close(file));
    return disk;
}

static void assert_range_is_1_or_zeros(BlockDriverState *disk, int64_t offset, int64_t bytes)
{
    uint8_t *found = malloc((size_t)bytes + 1);

    ck_assert_ptr_nonnull(found);
    assert_ok(bdrv_pread(disk, found, (size_t)bytes, offset));
    for (int64_t at = 0; at < bytes; at += 512) {
        const int generation = pattern_identify(found + at, 512, offset + at);

        if (generation != 1 && generation != PATTERN_ZEROS) {
            ck_abort_msg("sector at %lld holds something else", (long long)(offset + at));
        }
    }
    free(found);
}

static void examine(void *opaque, Volume *volume, size_t cut, const char *where)
{
    const int64_t kept = *(const int64_t *)opaque;
    BlockDriverState *disk = open_left(volume);
    const int64_t length = bdrv_getlength(disk);
    const char *damage = image_find_damage(disk);

    (void)cut;
    ck_assert_msg(damage == NULL, "%s: %s", where, damage);
    ck_assert_int_ge(length, kept);
    assert_pattern(disk, 0, kept, 1);
    assert_range_is_1_or_zeros(disk, kept, length - kept);
    assert_ok(bdrv_truncate(disk, length + GROWTH));
    assert_pattern(disk, length, GROWTH, PATTERN_ZEROS);
    assert_pattern(disk, 0, kept, 1);
    assert_ok(pattern_write(disk, length - 512, GROWTH, 2));
    assert_pattern(disk, length - 512, GROWTH, 2);
    assert_ok(bdrv_close(disk));
}

/* What a session does to a disk that is full of generation 1; all of it but the
 * first kept bytes may get lost. */
typedef void SessionFn(BlockDriverState *disk);

static void grow_twice(BlockDriverState *disk)
{
    assert_ok(bdrv_truncate(disk, 2 * MIB + 512));
    assert_ok(pattern_write(disk, SMALL, 100 * 512, 1));
    assert_ok(bdrv_truncate(disk, 5 * MIB));
}

static void shrink_and_grow(BlockDriverState *disk)
{
    assert_ok(bdrv_truncate(disk, MIB / 2 + 512));
    assert_ok(bdrv_truncate(disk, 3 * MIB));
}

static void discard_and_write(BlockDriverState *disk)
{
    assert_ok(bdrv_discard(disk, MIB / 2, MIB / 2));
    assert_ok(pattern_write(disk, MIB / 2 + 8192, 5 * 512, 1));
    assert_ok(bdrv_flush(disk));
    assert_ok(bdrv_discard(disk, 3 * MIB / 4, MIB / 4));
    assert_ok(pattern_write(disk, 3 * MIB / 4, 40 * 512, 1));
}

static void shrink(BlockDriverState *disk)
{
    assert_ok(bdrv_truncate(disk, MIB / 2 + 512));
}

/* With the old length, all of the old content. */
static void examine_shrunk(void *opaque, Volume *volume, size_t cut, const char *where)
{
    BlockDriverState *disk = open_left(volume);
    const int64_t length = bdrv_getlength(disk);

    ck_assert_msg(length == SMALL || length == MIB / 2 + 512, "%s: %" PRId64 " bytes", where,
                  length);
    assert_pattern(disk, 0, length, 1);
    assert_ok(bdrv_close(disk));
    examine(opaque, volume, cut, where);
}

static void sweep(const char *options, SessionFn *session, PowercutExamine *look, int64_t kept)
{
    BdrvCreateOptions create = {
        .struct_size = sizeof create, .size = SMALL, .options = options};
    Volume *volume = volume_new();
    BlockDriverState *file = volume_create(volume, "a.vmdk"), *disk;
    uint32_t seed = suite_seed();
    Powercut powercut;

    assert_ok(bdrv_create_node(file, "vmdk", &create));
    assert_ok(bdrv_close(file));
    disk = open_left(volume);
    assert_ok(pattern_write(disk, 0, SMALL, 1));
    assert_ok(bdrv_close(disk));
    powercut_begin(&powercut, volume);
    disk = open_left(volume);
    session(disk);
    assert_ok(bdrv_close(disk));
    powercut_end(&powercut);
    powercut_try_all(&powercut, LOSSES, &seed, look, &kept);
    powercut_free(&powercut);
    volume_free(volume);
}

START_TEST(power_loss_while_growing_loses_nothing)
{
    sweep(kinds[_i], grow_twice, examine, SMALL);
}
END_TEST

START_TEST(power_loss_while_shrinking_loses_only_what_is_cut_off)
{
    sweep(kinds[_i], shrink_and_grow, examine, MIB / 2 + 512);
}
END_TEST

/* A COWD file lost what was behind its new end before it had that end. */
START_TEST(power_loss_while_shrinking_leaves_the_old_disk_or_the_new_one)
{
    sweep(kinds[_i], shrink, examine_shrunk, MIB / 2 + 512);
}
END_TEST

START_TEST(power_loss_around_a_discard_shows_nothing_foreign)
{
    sweep(kinds[_i], discard_and_write, examine, MIB / 2);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const none[] = { NULL };
    Suite *suite = suite_create("vmdk/resize-powercut");
    TCase *tcase = suite_add_case(suite, "power loss", none, 120);

    image_register_drivers();
    tcase_add_loop_test(tcase, power_loss_while_growing_loses_nothing, 0, KINDS);
    tcase_add_loop_test(tcase, power_loss_while_shrinking_loses_only_what_is_cut_off, 0,
                        KINDS);
    tcase_add_loop_test(tcase, power_loss_while_shrinking_leaves_the_old_disk_or_the_new_one, 0,
                        KINDS);
    tcase_add_loop_test(tcase, power_loss_around_a_discard_shows_nothing_foreign, 0,
                        KINDS);
    return suite;
}
