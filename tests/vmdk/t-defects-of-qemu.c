/* SPDX-License-Identifier: MIT */
/*
 * t-defects-of-qemu.c - what QEMU 7.2's driver does wrong (the format document,
 * section 11.1, row by row), and that this one does not.  What it lacks is in
 * t-lacks-of-qemu.c.
 */
#include "build-cowd.h"
#include "place.h"

#include <unistd.h>

enum {
    GRAIN = 65536,
    DISK = 1024 * 1024
};

/* Opens it for reading, or expects the error; both are used up. */
static void assert_unreadable(Built *b, int64_t offset, int error, const char *message)
{
    BlockDriverState *memory = build_memory(b), *disk = open_memory(memory, 0);
    uint8_t byte;

    assert_fails_saying(bdrv_pread(disk, &byte, 1, offset), error, message);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b->bytes);
}

/* ----------------------------------------------------------------- data loss */

/* QEMU writes guest data over the header where a GDE is 0, and reports success. */
START_TEST(data_loss_a_write_without_a_table_destroys_the_header)
{
    Built b = _i ? build_root(16384, 1) : build_sparse((Shape){.without = NO_TABLES});
    uint8_t magic[4];
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 5000, 3000, 1));
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_pread(memory, magic, sizeof magic, 0));
    ck_assert_mem_eq(magic, _i ? "COWD" : "KDMV", 4);
    disk = open_memory(memory, 0);
    assert_pattern(disk, 5000, 3000, 1);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU copies into a grain of the second extent the parent's bytes of the first. */
START_TEST(data_loss_copy_on_write_in_second_extents_takes_the_wrong_place)
{
    BlockDriverState *disk;

    assert_ok(place_try_create("base.vmdk", NULL, NULL, DISK));
    disk = place_open("base.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    assert_ok(place_try_create("d.vmdk", "base.vmdk",
                               "subformat=twoGbMaxExtentSparse,extent_size=256k", DISK));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 5 * GRAIN + 1024, 512, 2));
    assert_pattern(disk, 5 * GRAIN, 1024, 1);
    assert_pattern(disk, 5 * GRAIN + 1024, 512, 2);
    assert_pattern(disk, 5 * GRAIN + 1536, GRAIN - 1536, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* ---------------------------------------------------------------- wrong data */

/* QEMU shows zeros where a GDE leads out of the file. */
START_TEST(wrong_data_a_table_out_of_the_file_reads_as_zeros)
{
    Built b = build_sparse((Shape){.without = NO_REDUNDANT});

    bdrv_store_le32(build_gde(&b, 0, 0), 0x7fffff00);
    assert_unreadable(&b, 0, -EIO, "");
}
END_TEST

/* QEMU shows zeros where a grain lies behind the end of the file. */
START_TEST(wrong_data_a_grain_out_of_the_file_reads_as_zeros)
{
    Built b = build_sparse((Shape){0});

    build_set_gte(&b, 3, (uint32_t)(b.size / SECTOR) + 1024);
    assert_unreadable(&b, 3 * GRAIN, -EIO, "");
}
END_TEST

/* QEMU shows zeros where the file ends in the midst of a grain. */
START_TEST(wrong_data_a_grain_that_is_cut_reads_as_zeros)
{
    Built b = build_sparse((Shape){0});

    build_add_grain(&b, 3, 1);
    b.size -= GRAIN / 2;
    assert_unreadable(&b, 4 * GRAIN - 1, -EIO, "");
}
END_TEST

/* QEMU takes a GTE among the tables for a grain, and would write into them. */
START_TEST(wrong_data_a_grain_among_the_tables_is_served)
{
    Built b = build_sparse((Shape){0});

    build_set_gte(&b, 3, (uint32_t)b.gd[0]);
    assert_unreadable(&b, 3 * GRAIN, -EIO, "");
}
END_TEST

/* QEMU shows zeros behind the end of a flat file that is too short. */
START_TEST(wrong_data_a_flat_file_that_is_too_short_reads_as_zeros)
{
    place_write_pattern("a", 0, GRAIN, 1);
    place_describe("d.vmdk", "RW 129 FLAT \"a\" 0\n");
    place_refused("d.vmdk", 0, -EINVAL, "cut off");
}
END_TEST

/* QEMU drops extents that are RDONLY, NOACCESS or ZERO, so that all behind them moves. */
START_TEST(wrong_data_extents_that_are_not_rw_are_dropped)
{
    static const char *const firsts[] = {"RDONLY 128 FLAT \"a\" 0", "NOACCESS 128 FLAT \"a\" 0",
                                         "RW 128 ZERO"};
    char lines[128];
    BlockDriverState *disk;

    place_write_pattern("a", 0, GRAIN, 1);
    place_write_pattern("b", GRAIN, GRAIN, 1);
    snprintf(lines, sizeof lines, "%s\nRW 128 FLAT \"b\" 0\n", firsts[_i]);
    place_describe("d.vmdk", lines);
    disk = place_open("d.vmdk", 0, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), 2 * GRAIN);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* QEMU reads the file's sector 1 where a GTE is 1 and the flag for zeroed grains is not
 * set. */
START_TEST(wrong_data_a_gte_of_1_without_its_flag_reads_sector_1)
{
    Built b = build_sparse((Shape){0});

    build_set_gte(&b, 3, 1);
    assert_unreadable(&b, 3 * GRAIN, -EIO, "");
}
END_TEST

/* ----------------------------------------------------------- crash and hang */

/* QEMU aborts at a descriptor without extents. */
START_TEST(crash_a_descriptor_without_extents)
{
    place_describe("d.vmdk", "");
    place_refused("d.vmdk", 0, -EINVAL, "no extent line");
}
END_TEST

/* QEMU goes round for ever in an image that is its own parent. */
START_TEST(hang_an_image_that_is_its_own_parent)
{
    static const char text[] = "version=1\nCID=12345678\nparentCID=12345678\n"
                               "createType=\"custom\"\nparentFileNameHint=\"d.vmdk\"\n"
                               "RW 128 ZERO\n";

    place_write("d.vmdk", text, sizeof text - 1);
    place_refused("d.vmdk", 0, -ELOOP, "");
}
END_TEST

/* ---------------------------------------------------------------- descriptor */

/* QEMU opens text descriptors of six createTypes and no others. */
START_TEST(descriptor_only_some_create_types_are_let_in)
{
    static const char *const types[] = {"2GbMaxExtentSparse", "vmfsThin", "vmfsPreallocated",
                                        "custom", "fullDevice", "partitionedDevice",
                                        "vmfsRawDeviceMap", "MONOLITHICFLAT"};
    char text[256];
    BlockDriverState *disk;

    place_write_pattern("a", 0, GRAIN, 1);
    snprintf(text, sizeof text, "version=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"%s\"\n"
             "RW 128 FLAT \"a\" 0\n", types[_i]);
    place_write("d.vmdk", text, strlen(text));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_pattern(disk, 0, GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* QEMU looks for "CID=" anywhere, finds it in parentCID, writes CIDs without their
 * leading zeros, and fills the text up with NULs to a whole sector. */
START_TEST(descriptor_the_cid_is_looked_for_in_the_middle_of_words)
{
    static const char text[] = "version=1\nparentCID=ffffffff\nCID=12345678\ncreateType=\"custom\"\n"
                               "RW 128 FLAT \"a\" 0\n";
    BlockDriverState *disk;
    char *after;

    place_write_pattern("a", 0, GRAIN, 1);
    place_write("d.vmdk", text, sizeof text - 1);
    disk = place_open("d.vmdk", BDRV_O_RDWR, "cid=1f");
    assert_ok(pattern_write(disk, 0, SECTOR, 2));
    assert_ok(bdrv_close(disk));
    after = place_read("d.vmdk");
    ck_assert_str_eq(after, "version=1\nparentCID=ffffffff\nCID=0000001f\ncreateType=\"custom\"\n"
                     "RW 128 FLAT \"a\" 0\n");
    char *path = host_path(place, "d.vmdk");
    ck_assert_int_eq(access(path, R_OK), 0);
    size_t size;
    free(host_read_file(path, &size));
    ck_assert_uint_eq(size, strlen(after));
    free(path);
    free(after);
}
END_TEST

/* QEMU reads and writes the embedded text at byte 512, 20 sectors of it, whatever the
 * header says. */
START_TEST(descriptor_it_is_always_expected_in_the_second_sector)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    const int64_t at = b.size;

    memcpy(b.bytes + at, b.bytes + SECTOR, 4 * SECTOR);
    memset(b.bytes + SECTOR, 0xee, 20 * SECTOR);
    b.size += GRAIN;
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR, (uint64_t)(at / SECTOR));
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 4);
    bdrv_store_le64(b.bytes + AT_OVERHEAD, (uint64_t)(b.size / SECTOR));
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, SECTOR, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[SECTOR], 0xee);
    ck_assert_ptr_null(strstr((char *)b.bytes + at, "CID=12345678"));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU wants each word in the case and with the blanks that it writes itself. */
START_TEST(descriptor_words_must_be_spelt_exactly)
{
    static const char text[] = "\xef\xbb\xbf# disk descriptorfile\r\n  Version = 1 \r\n"
                               "encoding=\"UTF-8\"\r\ncid = 12345678\r\nPARENTCID=ffffffff\r\n"
                               "createtype = \"Custom\"\r\nrw\t128  flat  \"a\"  0 \r\n";
    BlockDriverState *disk;
    const char *format;
    char *path = host_path(place, "d.vmdk");

    place_write_pattern("a", 0, GRAIN, 1);
    place_write("d.vmdk", text, sizeof text - 1);
    assert_ok(bdrv_probe(path, &format));
    ck_assert_str_eq(format, "vmdk");
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, GRAIN, 1);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

/* -------------------------------------------------------------------- header */

typedef struct Poke {
    size_t offset;
    uint64_t value;
    int bytes;
} Poke;

/* QEMU accepts newline bytes that a transfer as text has changed, unknown flags, other
 * compressions, version 0, sizes that are no powers of two, absurd capacities. */
static const Poke pokes[] = {
    {AT_NEWLINES, 0x0a0d, 2},        {AT_FLAGS, 3 | 1u << 20, 4},    {AT_VERSION, 0, 4},
    {AT_GRAIN, 100, 8},              {AT_GTES, 500, 4},              {AT_GRAIN, 1 << 21, 8},
    {AT_CAPACITY, UINT64_MAX, 8},    {AT_CAPACITY, 1ull << 36, 8},   {AT_GRAIN, 0, 8},
};

START_TEST(header_fields_that_make_no_sense_are_let_in)
{
    Built b = build_sparse((Shape){0});
    uint8_t value[8];

    bdrv_store_le64(value, pokes[_i].value);
    memcpy(b.bytes + pokes[_i].offset, value, (size_t)pokes[_i].bytes);
    build_refused(&b, 0, -EINVAL, "");
}
END_TEST

START_TEST(header_a_compression_that_nobody_knows_is_let_in)
{
    Built b = build_sparse((Shape){.version = 3, .flags = 0x30000});

    bdrv_store_le16(b.bytes + AT_COMPRESSION, 2);
    build_refused(&b, 0, -EINVAL, "ompress");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        data_loss_copy_on_write_in_second_extents_takes_the_wrong_place,
        wrong_data_a_table_out_of_the_file_reads_as_zeros,
        wrong_data_a_grain_out_of_the_file_reads_as_zeros,
        wrong_data_a_grain_that_is_cut_reads_as_zeros,
        wrong_data_a_grain_among_the_tables_is_served,
        wrong_data_a_flat_file_that_is_too_short_reads_as_zeros,
        wrong_data_a_gte_of_1_without_its_flag_reads_sector_1,
        crash_a_descriptor_without_extents,
        hang_an_image_that_is_its_own_parent,
        descriptor_the_cid_is_looked_for_in_the_middle_of_words,
        descriptor_it_is_always_expected_in_the_second_sector,
        descriptor_words_must_be_spelt_exactly,
        header_a_compression_that_nobody_knows_is_let_in,
        NULL,
    };
    Suite *suite = suite_create("vmdk/defects-of-qemu");
    TCase *tcase = suite_add_case(suite, "defects", tests, 60);

    tcase_add_checked_fixture(tcase, place_make, place_remove);
    tcase_add_loop_test(tcase, data_loss_a_write_without_a_table_destroys_the_header, 0,
                        2);
    tcase_add_loop_test(tcase, wrong_data_extents_that_are_not_rw_are_dropped, 0, 3);
    tcase_add_loop_test(tcase, descriptor_only_some_create_types_are_let_in, 0, 8);
    tcase_add_loop_test(tcase, header_fields_that_make_no_sense_are_let_in, 0, sizeof pokes / sizeof *pokes);
    return suite;
}
