/* SPDX-License-Identifier: MIT */
/*
 * t-fixed.c - images in storage that cannot change its length, like a device: what is
 * behind the last thing in use is old, and must neither be shown nor given out twice.
 */
#include "build-cowd.h"
#include "changes.h"

enum {
    GRAIN = 65536
};

/* Storage in memory that cannot change its length. */
typedef struct Fixed {
    uint8_t *bytes;
    int64_t size;
} Fixed;

static int fixed_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    memcpy(buf, ((Fixed *)opaque)->bytes + offset, bytes);
    return 0;
}

static int fixed_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    const Fixed *fixed = opaque;

    ck_assert_int_le(offset + (int64_t)bytes, fixed->size);
    memcpy(fixed->bytes + offset, buf, bytes);
    return 0;
}

static int64_t fixed_getlength(void *opaque)
{
    return ((Fixed *)opaque)->size;
}

static BlockDriverState *open_fixed(Fixed *fixed, const char *backing)
{
    const BdrvIo io = {.struct_size = sizeof io,
                       .read = fixed_read,
                       .write = fixed_write,
                       .getlength = fixed_getlength};
    const BdrvOpenOptions options = {.struct_size = sizeof options,
                                     .flags = BDRV_O_RDWR,
                                     .backing = backing,
                                     .options = backing ? "any_parent=on" : NULL};
    BlockDriverState *disk;

    assert_ok(bdrv_open_io(&disk, "device", &io, fixed, "vmdk", &options));
    return disk;
}

START_TEST(storage_of_a_fixed_size_is_used_to_its_end)
{
    Built b = build_sparse((Shape){0});
    Fixed fixed = {b.bytes, b.size + 2 * GRAIN};
    BlockDriverState *disk;

    memset(b.bytes + b.size, 0xaa, 2 * GRAIN);
    disk = open_fixed(&fixed, NULL);
    assert_ok(pattern_write(disk, 3 * GRAIN + 512, 512, 1));
    assert_pattern(disk, 3 * GRAIN, 512, PATTERN_ZEROS);
    assert_pattern(disk, 3 * GRAIN + 1024, GRAIN - 1024, PATTERN_ZEROS);
    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_fails_saying(pattern_write(disk, GRAIN, 512, 1), -ENOSPC, "its size is fixed");
    assert_pattern(disk, 0, 512, 1);
    assert_ok(bdrv_close(disk));
    free(b.bytes);
}
END_TEST

/* When a copy-on-write file of a fixed length was full, the places that this session had
 * given out were given out again, from its beginning. */
START_TEST(a_full_cowd_file_gives_out_no_place_twice)
{
    Built b = build_root(16384, 8);
    const int64_t bytes = 8 * SECTOR;
    Fixed fixed = {b.bytes, b.size + 32 * SECTOR + 3 * bytes};
    BlockDriverState *disk = open_fixed(&fixed, NULL);

    assert_ok(pattern_write(disk, 0, (size_t)(3 * bytes), 1));
    assert_fails_saying(pattern_write(disk, 3 * bytes, (size_t)bytes, 1), -ENOSPC,
                        "its size is fixed");
    assert_pattern(disk, 0, 3 * bytes, 1);
    assert_ok(bdrv_close(disk));
    disk = open_fixed(&fixed, NULL);
    assert_pattern(disk, 0, 3 * bytes, 1);
    assert_pattern(disk, 3 * bytes, bytes, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    free(b.bytes);
}
END_TEST

/* After a commit, the room of the grains that were there was taken for zeros. */
START_TEST(what_was_committed_does_not_come_back)
{
    Built b = build_sparse((Shape){.parent_cid = "0badcafe",
                                   .more = "parentFileNameHint=\"base.vmdk\"\n"});
    Fixed fixed = {b.bytes, b.size + 4 * GRAIN};
    char *base = host_path(directory, "base.vmdk");
    BlockDriverState *disk;

    create_disk("base.vmdk", NULL, NULL, b.sectors * SECTOR);
    disk = open_fixed(&fixed, base);
    assert_ok(pattern_write(disk, 0, GRAIN, 1));
    assert_ok(bdrv_commit(disk));
    assert_ok(bdrv_write_zeroes(disk, 512, 512));
    assert_pattern(disk, 0, 512, 1);
    assert_pattern(disk, 512, 512, PATTERN_ZEROS);
    assert_pattern(disk, 1024, GRAIN - 1024, 1);
    assert_ok(bdrv_close(disk));
    free(base);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        storage_of_a_fixed_size_is_used_to_its_end,
        a_full_cowd_file_gives_out_no_place_twice,
        what_was_committed_does_not_come_back,
        NULL,
    };
    Suite *suite = suite_create("vmdk/fixed");
    TCase *tc = suite_add_case(suite, "fixed", tests, 20);

    tcase_add_checked_fixture(tc, make_directory, remove_directory);
    return suite;
}
