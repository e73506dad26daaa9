/* SPDX-License-Identifier: MIT */
/*
 * t-cowd.c - copy-on-write extents, built byte by byte: alone, through a
 * descriptor, of ESX and of Workstation 2 and 3.
 */
#include "build-cowd.h"
#include "host.h"

/* ----------------------------------------------------------------- headers */

typedef struct Poke {
    const char *row;
    size_t offset;
    uint32_t value;
    const char *message;
} Poke;

static const Poke refused[] = {
    {"W1", AT_VERSION, 0, "version is 0"},
    {"W1", AT_VERSION, 2, "version is 2"},
    {"W2", AT_COWD_GRAIN, 0, "grainSize is 0"},
    {"W2", AT_COWD_GRAIN, 3, "grainSize is 3"},
    {"W2", AT_COWD_GRAIN, 4096, "grainSize is 4096"},
    {"W3", AT_COWD_ENTRIES, 3, "numGDEntries is 3; wanted are 4"},
    {"W3", AT_COWD_ENTRIES, (1 << 20) + 1, "numGDEntries is 1048577"},
    {"W4", AT_COWD_GD, 3, "gdOffset is sector 3"},
    {"W4", AT_COWD_GD, 1 << 20, "gdOffset is sector 1048576"},
    {"W4", AT_COWD_GD, UINT32_MAX, "gdOffset is sector 4294967295"},
    {"", AT_COWD_SECTORS, 0, "numSectors is 0"},
};

START_TEST(a_wrong_header_is_refused_by_field)
{
    Built b = build_root(16384, 1);

    bdrv_store_le32(b.bytes + refused[_i].offset, refused[_i].value);
    build_refused(&b, 0, -EINVAL, refused[_i].message);
}
END_TEST

START_TEST(a_file_shorter_than_its_header_is_refused)
{
    Built b = build_root(16384, 1);

    b.size = 2047;
    build_refused(&b, 0, -EINVAL, "less than a COWD header");
}
END_TEST

START_TEST(unknown_flags_are_only_logged)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;
    Log log;

    bdrv_store_le32(b.bytes + AT_FLAGS, 1);
    memory = build_memory(&b);
    assert_ok(try_open(memory, 0, NULL, &log, &disk));
    ck_assert_ptr_nonnull(strstr(log.text, "flags are 1"));
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* What an ESX extent holds is only right together with its parent. */
START_TEST(an_esx_extent_alone_opens_only_when_asked_for)
{
    Built b = build_cowd(16384, 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 5, 1);
    memory = build_memory(&b);
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "extent=on");
    assert_ok(try_open(memory, 0, "extent=on", NULL, &disk));
    assert_pattern(disk, 5 * SECTOR, SECTOR, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(a_header_that_names_a_parent_is_refused)
{
    Built b = build_cowd(16384, 1);

    memcpy(b.bytes + AT_COWD_GEOMETRY, "/vms/parent.dsk", 15);
    build_refused(&b, 0, -ENOTSUP, "names a parent itself");
}
END_TEST

START_TEST(the_geometry_is_in_the_header)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, 0);
    BdrvGeometry geometry;

    assert_ok(bdrv_get_geometry(disk, &geometry));
    ck_assert_int_eq(geometry.from_image, 1);
    ck_assert_uint_eq(geometry.cylinders, 12);
    ck_assert_uint_eq(geometry.heads, 16);
    ck_assert_uint_eq(geometry.sectors, 63);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* -------------------------------------------------------- reading and writing */

/* The example of the format document, 12.6: sectors 0 and 5000 of 16384. */
START_TEST(sectors_are_found_through_two_levels)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 0, 1);
    add_cowd_grain(&b, 5000, 1);
    ck_assert_int_eq(b.size, 71 * SECTOR);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    ck_assert_int_eq(bdrv_getlength(disk), 16384 * SECTOR);
    assert_pattern(disk, 0, SECTOR, 1);
    assert_pattern(disk, SECTOR, 4999 * SECTOR, PATTERN_ZEROS);
    assert_pattern(disk, 5000 * SECTOR, SECTOR, 1);
    assert_pattern(disk, 5001 * SECTOR, 11383 * SECTOR, PATTERN_ZEROS);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

static const struct {
    int64_t sectors, grain;
} shapes[] = {{16384, 1}, {16383, 8}, {2880, 64}, {100000, 128}, {12345, 2048}, {1, 1}};

START_TEST(every_shape_keeps_what_is_written)
{
    Built b = build_root(shapes[_i].sectors, shapes[_i].grain);
    const int64_t length = b.sectors * SECTOR;
    const int64_t start = length / 3, middle = bdrv_min(length / 2 - start, 1000000);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, start, middle, 1));
    assert_ok(pattern_write(disk, length - 1, 1, 2));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, start, PATTERN_ZEROS);
    assert_pattern(disk, start, middle, 1);
    assert_pattern(disk, start + middle, length - 1 - start - middle, PATTERN_ZEROS);
    assert_pattern(disk, length - 1, 1, 2);
    bdrv_close(disk);
    build_reload(&b, memory);
    ck_assert_int_eq(bdrv_load_le32(b.bytes + AT_COWD_FREE), b.size / SECTOR);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_COWD_UNCLEAN), 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU takes a directory entry of 0 for sector 0, overwrites the header and
 * reports success. */
START_TEST(a_write_where_there_is_no_table_makes_it)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 8192 * SECTOR, 3 * SECTOR, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_mem_eq(b.bytes, "COWD", 4);
    ck_assert_uint_eq(bdrv_load_le32(build_gde(&b, 0, 1)), 0);
    ck_assert_uint_ne(bdrv_load_le32(build_gde(&b, 0, 2)), 0);
    ck_assert_int_eq(b.size, (5 + 32 + 3) * SECTOR);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU never raises freeSector; ESX then puts its next grains over QEMU's. */
START_TEST(free_sector_is_behind_all_that_a_flush_made_durable)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 0, 10 * SECTOR, 1));
    assert_ok(bdrv_flush(disk));
    build_reload(&b, memory);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_COWD_FREE), 5 + 32 + 10);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_COWD_UNCLEAN), 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Without that, a grain of one sector would cost a call each. */
START_TEST(sectors_that_lie_together_are_one_run)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    BdrvExtent run;

    assert_ok(pattern_write(disk, 100 * SECTOR, 300 * SECTOR, 1));
    assert_ok(bdrv_is_allocated(disk, 100 * SECTOR, 1000 * SECTOR, &run));
    ck_assert_int_eq(run.bytes, 300 * SECTOR);
    ck_assert_int_eq(run.state, BDRV_DATA);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ESX extends the file in large steps; what is there is not known. */
START_TEST(room_ahead_of_free_sector_is_used_and_filled)
{
    Built b = build_root(16384, 8);
    BlockDriverState *memory, *disk;
    int64_t used;

    add_cowd_grain(&b, 0, 1);
    used = b.size;
    memset(b.bytes + b.size, 0xaa, 1024 * 1024);
    b.size += 1024 * 1024;
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 8 * SECTOR + 100, 100, 2));
    assert_pattern(disk, 8 * SECTOR, 100, PATTERN_ZEROS);
    assert_pattern(disk, 8 * SECTOR + 200, 8 * SECTOR - 200, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(bdrv_getlength(memory), b.size);
    build_reload(&b, memory);
    ck_assert_int_eq(bdrv_load_le32(build_gte(&b, 0, 1)), used / SECTOR);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* -------------------------------------------------------------- after a crash */

START_TEST(free_sector_is_found_again_after_a_crash)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 0, 1);
    add_cowd_grain(&b, 1, 1);
    bdrv_store_le32(b.bytes + AT_COWD_FREE, 5);
    bdrv_store_le32(b.bytes + AT_COWD_UNCLEAN, 1);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 2 * SECTOR, SECTOR, 1));
    assert_pattern(disk, 0, 3 * SECTOR, 1);
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_COWD_FREE), 5 + 32 + 3);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_COWD_UNCLEAN), 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* W5. */
START_TEST(a_free_sector_that_cannot_be_forbids_writing)
{
    static const uint32_t wrong[] = {5, 38, 1000};
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 0, 1);
    add_cowd_grain(&b, 1, 1);
    bdrv_store_le32(b.bytes + AT_COWD_FREE, wrong[_i]);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, 2 * SECTOR, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    build_refused(&b, BDRV_O_RDWR, -EINVAL, "freeSector is");
}
END_TEST

/* In a file that ends in the midst of a sector, freeSector was set to the next one, which the
 * next open for writing took for impossible. */
START_TEST(a_file_that_ends_in_the_midst_of_a_sector_can_be_resized)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 0, 1);
    b.size++;
    bdrv_store_le32(b.bytes + AT_COWD_FREE, 1000);
    bdrv_store_le32(b.bytes + AT_COWD_UNCLEAN, 1);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_truncate(disk, 16500 * SECTOR));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 0, SECTOR, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

static const Poke damages[] = {
    {"W6", 0, 4, "inside a directory"},     {"W6", 0, 1000, "the file has only"},
    {"W6", 1, 2, "the first grain comes"},  {"W6", 1, 4, "a table is there"},
    {"W6", 1, 10, "a table is there"},      {"W6", 1, 1000, "it is truncated"},
    {"W6", 1, UINT32_MAX, "it is truncated"},
};

START_TEST(a_wrong_entry_is_an_error_and_never_zeros)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;
    uint8_t byte;

    add_cowd_grain(&b, 0, 1);
    bdrv_store_le32(damages[_i].offset == 0 ? build_gde(&b, 0, 0) : build_gte(&b, 0, 0),
                    damages[_i].value);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_fails_saying(bdrv_pread(disk, &byte, 1, 0), -EIO, damages[_i].message);
    bdrv_close(disk);
    bdrv_close(memory);
    build_refused(&b, BDRV_O_RDWR, -EINVAL, "must be repaired");
}
END_TEST

/* Not VMware's, but some backup programs write it. */
START_TEST(an_entry_of_1_reads_as_zeros)
{
    Built b = build_root(16384, 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 0, 1);
    bdrv_store_le32(build_gte(&b, 0, 1), 1);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, SECTOR, SECTOR, PATTERN_ZEROS);
    assert_ok(pattern_write(disk, SECTOR, SECTOR, 1));
    assert_pattern(disk, 0, 2 * SECTOR, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ----------------------------------------------------------- Workstation 2/3 */

START_TEST(disks_of_workstation_2_and_3_can_be_read)
{
    Built b = build_legacy(_i ? 3 : 1);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 1, 1);
    add_cowd_grain(&b, 513, 1);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 65536, 65536, 1);
    assert_pattern(disk, 512 * 65536, 65536, PATTERN_ZEROS);
    assert_pattern(disk, 513 * 65536, 65536, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    build_refused(&b, BDRV_O_RDWR, -EROFS, "Workstation 2 or 3");
}
END_TEST

/* Up to 32 MiB both families look alike but for the product's version. */
START_TEST(a_small_disk_of_large_grains_is_ours_without_a_product_version)
{
    Built b = build_root(65536, 128);
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    bdrv_close(disk);
    bdrv_close(memory);
    bdrv_store_le32(b.bytes + AT_COWD_PRODUCT, 2);
    build_refused(&b, BDRV_O_RDWR, -EROFS, "Workstation 2 or 3");
}
END_TEST

/* A table went where its end is no 32-bit number, and freeSector became a sector among the
 * first ones, where others would have put the next grains. */
START_TEST(free_sector_can_say_where_what_is_taken_ends)
{
    const uint32_t free_sector = 0xfffffff0;
    Built b = build_root(16384, 8);
    BlockDriverState *memory, *disk;
    uint8_t bytes[4];

    add_cowd_grain(&b, 3, 1);
    bdrv_store_le32(b.bytes + AT_COWD_FREE, free_sector);
    memory = build_memory(&b);
    assert_ok(bdrv_truncate(memory, INT64_C(1) << 41));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 5 * 8 * SECTOR, 512, 1));
    assert_fails_saying(pattern_write(disk, 0, 512, 1), -ENOSPC, "2 TiB");
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_pread(memory, bytes, sizeof bytes, AT_COWD_FREE));
    ck_assert_uint_eq(bdrv_load_le32(bytes), free_sector + 8);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 5 * 8 * SECTOR, 512, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The same of what was there before: freeSector became what is left of its end. */
START_TEST(what_ends_where_free_sector_cannot_tell_is_not_written)
{
    Built b = build_root(16384, 8);
    BlockDriverState *memory, *disk;

    add_cowd_grain(&b, 3, 1);
    bdrv_store_le32(build_gte(&b, 0, 5), UINT32_MAX);
    bdrv_store_le32(b.bytes + AT_COWD_UNCLEAN, 1);
    memory = build_memory(&b);
    assert_ok(bdrv_truncate(memory, ((INT64_C(1) << 32) + 7) * SECTOR));
    assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EROFS,
                        "can only be read");
    disk = open_memory(memory, 0);
    assert_pattern(disk, 3 * 8 * SECTOR, 8 * SECTOR, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_file_shorter_than_its_header_is_refused,
        unknown_flags_are_only_logged,
        an_esx_extent_alone_opens_only_when_asked_for,
        a_header_that_names_a_parent_is_refused,
        the_geometry_is_in_the_header,
        sectors_are_found_through_two_levels,
        a_write_where_there_is_no_table_makes_it,
        free_sector_is_behind_all_that_a_flush_made_durable,
        sectors_that_lie_together_are_one_run,
        room_ahead_of_free_sector_is_used_and_filled,
        free_sector_is_found_again_after_a_crash,
        an_entry_of_1_reads_as_zeros,
        a_small_disk_of_large_grains_is_ours_without_a_product_version,
        free_sector_can_say_where_what_is_taken_ends,
        what_ends_where_free_sector_cannot_tell_is_not_written,
        NULL,
    };
    Suite *suite = suite_create("vmdk/cowd");
    TCase *tc = suite_add_case(suite, "cowd", tests, 20);

    tcase_add_loop_test(tc, a_wrong_header_is_refused_by_field, 0,
                        sizeof refused / sizeof *refused);
    tcase_add_loop_test(tc, every_shape_keeps_what_is_written, 0,
                        sizeof shapes / sizeof *shapes);
    tcase_add_loop_test(tc, a_free_sector_that_cannot_be_forbids_writing, 0, 3);
    tcase_add_test(tc, a_file_that_ends_in_the_midst_of_a_sector_can_be_resized);
    tcase_add_loop_test(tc, a_wrong_entry_is_an_error_and_never_zeros, 0,
                        sizeof damages / sizeof *damages);
    tcase_add_loop_test(tc, disks_of_workstation_2_and_3_can_be_read, 0, 2);
    return suite;
}
