/* SPDX-License-Identifier: MIT */
/*
 * t-create-lines.c - new images over files and devices that exist: extents given
 * line by line, whole devices, partitions of them.
 */
#include "place.h"

#include <unistd.h>

enum {
    DEVICE = 8 * 1024 * 1024,
    DEVICE_SECTORS = DEVICE / SECTOR
};

static int try_custom(const char *extents, int64_t size)
{
    char options[512];

    snprintf(options, sizeof options, "subformat=custom,extents=%s", extents);
    return place_try_create("d.vmdk", NULL, options, size);
}

/* -------------------------------------------------------------------- custom */

START_TEST(each_line_becomes_what_it_says)
{
    BlockDriverState *disk;
    char *text;

    place_write_pattern("old.img", 128 * SECTOR, 256 * SECTOR, 5);
    assert_ok(try_custom("RW 64 FLAT \"new.img\" 64;RW 128 SPARSE \"s.vmdk\""
                         ";RDONLY 64 FLAT \"old.img\" 64;RW 128 ZERO;NOACCESS 9 FLAT \"none\" 0"
                         ";RW 64 VMFSSPARSE \"c.vmdk\";RW 64 FLAT \"new.img\" 0", 0));
    text = place_read("d.vmdk");
    ck_assert_ptr_nonnull(strstr(text, "createType=\"custom\"\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nRW 64 FLAT \"new.img\" 64\nRW 128 SPARSE \"s.vmdk\"\n"
                                 "RDONLY 64 FLAT \"old.img\" 64\nRW 128 ZERO\n"
                                 "NOACCESS 9 FLAT \"none\" 0\nRW 64 VMFSSPARSE \"c.vmdk\"\n"));
    ck_assert(!place_has("none"));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), (64 + 128 + 64 + 128 + 9 + 64 + 64) * SECTOR);
    assert_pattern(disk, 192 * SECTOR, 64 * SECTOR, 5);
    assert_ok(pattern_write(disk, 0, 192 * SECTOR, 1));
    assert_ok(pattern_write(disk, 393 * SECTOR, 128 * SECTOR, 2));
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, 192 * SECTOR, 1);
    assert_pattern(disk, 393 * SECTOR, 128 * SECTOR, 2);
    assert_ok(bdrv_close(disk));
    free(text);
}
END_TEST

START_TEST(lines_that_make_no_sense_are_refused_and_nothing_is_left)
{
    place_write_pattern("old.img", 0, 64 * SECTOR, 5);
    assert_fails_saying(try_custom("RW 64 FLUT \"a\" 0", 0), -EINVAL, "line 1: the extent's type");
    assert_fails_saying(try_custom("RW 64 ZERO;RO 64 ZERO", 0), -EINVAL, "line 2");
    assert_fails_saying(try_custom("RW 64 ZERO;", 65 * SECTOR), -EINVAL, "all extents 32768");
    assert_fails_saying(try_custom("RW 1 SPARSE \"old.img\"", 0), -EEXIST, "only the bytes of flat");
    assert_fails_saying(try_custom("RW 65 FLAT \"old.img\" 0", 0), -EINVAL, "32768 bytes");
    assert_fails_saying(try_custom("RW 64 FLAT \"d.vmdk\" 0", 0), -EINVAL, "image itself");
    assert_fails_saying(try_custom("RW 64 FLAT \"a\" 0;RW 1 FLAT \"a\" 63", 0), -EINVAL,
                        "same bytes");
    assert_fails_saying(try_custom("RW 64 FLAT \"a\" 0;RW 64 FLAT \"../b\" 0", 0), -EPERM, "outside");
    assert_fails_saying(try_custom("RW 64 VSANSPARSE \"v\"", 0), -ENOTSUP, "VSANSPARSE");
    assert_fails_saying(try_custom("", 0), -EINVAL, "no extent line");
    ck_assert(!place_has("d.vmdk"));
    ck_assert(!place_has("a"));
}
END_TEST

/* ------------------------------------------------------------------- devices */

static int try_device(const char *subformat, int64_t size)
{
    char options[256];

    snprintf(options, sizeof options, "subformat=%s,device=dev.img", subformat);
    return place_try_create("d.vmdk", NULL, options, size);
}

START_TEST(a_whole_device_is_shown_and_stays_as_it_is)
{
    static const char *const subformats[] = {"fullDevice", "vmfsRawDeviceMap",
                                             "vmfsPassthroughRawDeviceMap", "vmfsRaw"};
    static const char *const lines[] = {
        "RW 16384 FLAT \"dev.img\" 0\n", "RW 16384 VMFSRDM \"dev.img\"\n",
        "RW 16384 VMFSRDM \"dev.img\"\n", "RW 16384 VMFSRAW \"dev.img\"\n"};
    BlockDriverState *disk;
    char *text, type[64];

    place_write_pattern("dev.img", 0, DEVICE, 1);
    assert_ok(try_device(subformats[_i], 0));
    text = place_read("d.vmdk");
    ck_assert_ptr_nonnull(strstr(text, lines[_i]));
    snprintf(type, sizeof type, "createType=\"%s\"\n", subformats[_i]);
    ck_assert_ptr_nonnull(strstr(text, type));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, DEVICE, 1);
    assert_ok(bdrv_close(disk));
    free(text);
    assert_fails_saying(try_device(subformats[_i], DEVICE / 2), -EINVAL, "8388608");
}
END_TEST

START_TEST(a_device_that_is_not_there_is_named)
{
    assert_fails_saying(try_device("fullDevice", 0), -ENOENT, "cannot open the device 'dev.img'");
    assert_fails_saying(place_try_create("d.vmdk", NULL, "subformat=fullDevice", DEVICE), -EINVAL,
                        "needs the option device");
    assert_fails_saying(place_try_create("d.vmdk", NULL, "device=dev.img", DEVICE), -EINVAL,
                        "device is not possible");
    ck_assert(!place_has("d.vmdk"));
}
END_TEST

/* ---------------------------------------------------------------- partitions */

static void put_entry(uint8_t *sector, int index, uint8_t type, uint32_t start, uint32_t sectors)
{
    uint8_t *entry = sector + 446 + index * 16;

    entry[4] = type;
    bdrv_store_le32(entry + 8, start);
    bdrv_store_le32(entry + 12, sectors);
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

static uint8_t *device_bytes(void)
{
    uint8_t *bytes = malloc(DEVICE);

    ck_assert_ptr_nonnull(bytes);
    pattern_fill(bytes, DEVICE, 0, 1);
    memset(bytes, 0, 3 * SECTOR);
    return bytes;
}

/* 1: 64, 1000.  2: extended 2000, with 5: 2063, 500 and 6: 2663, 700.  3: 10000, 2000. */
static uint8_t *mbr_bytes(void)
{
    uint8_t *bytes = device_bytes();

    memset(bytes + 2000 * SECTOR, 0, SECTOR);
    memset(bytes + 2600 * SECTOR, 0, SECTOR);
    put_entry(bytes, 0, 0x83, 64, 1000);
    put_entry(bytes, 1, 0x05, 2000, 4000);
    put_entry(bytes, 2, 0x07, 10000, 2000);
    put_entry(bytes + 2000 * SECTOR, 0, 0x83, 63, 500);
    put_entry(bytes + 2000 * SECTOR, 1, 0x05, 600, 800);
    put_entry(bytes + 2600 * SECTOR, 0, 0x83, 63, 700);
    return bytes;
}

static int try_partitions(const uint8_t *bytes, const char *shown)
{
    char options[256];

    place_write("dev.img", bytes, DEVICE);
    snprintf(options, sizeof options, "subformat=partitionedDevice,device=dev.img,partitions=%s",
             shown);
    return place_try_create("d.vmdk", NULL, options, 0);
}

static void assert_same(BlockDriverState *disk, const uint8_t *bytes, int64_t start, int64_t end)
{
    const size_t size = (size_t)((end - start) * SECTOR);
    uint8_t *found = malloc(size);

    ck_assert_ptr_nonnull(found);
    assert_ok(bdrv_pread(disk, found, size, start * SECTOR));
    ck_assert_int_eq(memcmp(found, bytes + start * SECTOR, size), 0);
    free(found);
}

START_TEST(partitions_that_are_not_shown_read_as_zeros)
{
    uint8_t *bytes = mbr_bytes();
    BlockDriverState *disk;

    assert_ok(try_partitions(bytes, "1+6"));
    ck_assert(place_has("d-pt.vmdk"));
    disk = place_open("d.vmdk", 0, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), DEVICE);
    assert_same(disk, bytes, 0, 2063); /* tables, 1, and the gap */
    assert_pattern(disk, 2063 * SECTOR, 500 * SECTOR, PATTERN_ZEROS); /* 5 */
    assert_same(disk, bytes, 2563, 3363 + 2048); /* the gap with a table, 6, a large gap */
    assert_pattern(disk, (3363 + 2048) * SECTOR, (10000 - 3363 - 4096) * SECTOR, PATTERN_ZEROS);
    assert_same(disk, bytes, 10000 - 2048, 10000);
    assert_pattern(disk, 10000 * SECTOR, 2000 * SECTOR, PATTERN_ZEROS); /* 3 */
    assert_ok(bdrv_close(disk));
    free(bytes);
}
END_TEST

START_TEST(the_devices_own_tables_are_not_written)
{
    uint8_t *bytes = mbr_bytes();
    BlockDriverState *disk, *device;

    assert_ok(try_partitions(bytes, "1"));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, 70 * SECTOR, 9)); /* the table, and into 1 */
    assert_pattern(disk, 0, 70 * SECTOR, 9);
    assert_fails(pattern_write(disk, 10000 * SECTOR, SECTOR, 9), -EROFS);
    assert_ok(bdrv_close(disk));
    char *path = host_path(place, "dev.img");
    assert_ok(bdrv_open(&device, path, "raw", NULL));
    assert_same(device, bytes, 0, 64);
    assert_pattern(device, 64 * SECTOR, 6 * SECTOR, 9);
    assert_same(device, bytes, 70, DEVICE_SECTORS);
    assert_ok(bdrv_close(device));
    free(path);
    free(bytes);
}
END_TEST

static void put_gpt(uint8_t *bytes, int index, uint64_t first, uint64_t last)
{
    uint8_t *entry = bytes + 2 * SECTOR + index * 128;

    put_entry(bytes, 0, 0xee, 1, DEVICE_SECTORS - 1);
    memcpy(bytes + SECTOR, "EFI PART", 8);
    bdrv_store_le64(bytes + SECTOR + 72, 2);
    bdrv_store_le32(bytes + SECTOR + 80, 4);
    bdrv_store_le32(bytes + SECTOR + 84, 128);
    memset(entry, 0x11, 16);
    bdrv_store_le64(entry + 32, first);
    bdrv_store_le64(entry + 40, last);
}

START_TEST(a_gpt_is_read_and_both_its_copies_are_copied)
{
    uint8_t *bytes = device_bytes();
    BlockDriverState *disk;

    put_gpt(bytes, 0, 2048, 4095);
    put_gpt(bytes, 3, 4096, 8191);
    assert_ok(try_partitions(bytes, "4"));
    disk = place_open("d.vmdk", 0, NULL);
    assert_same(disk, bytes, 0, 2048);
    assert_pattern(disk, 2048 * SECTOR, 2048 * SECTOR, PATTERN_ZEROS);
    assert_same(disk, bytes, 4096, 8192 + 2048);
    assert_same(disk, bytes, DEVICE_SECTORS - 2048, DEVICE_SECTORS);
    assert_ok(bdrv_close(disk));
    free(bytes);
}
END_TEST

START_TEST(tables_and_numbers_that_make_no_sense_are_refused)
{
    uint8_t *bytes = mbr_bytes(), *none = device_bytes();
    static const char *const shown[] = {"1+2", "1+1", "7", "", "1+", "+1", "1++3", "all"};

    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        assert_fails_saying(try_partitions(bytes, shown[i]), -EINVAL, "numbers of partitions");
    }
    assert_fails_saying(try_partitions(none, "1"), -EINVAL, "no partition table");
    put_entry(bytes, 3, 0x83, 1000, 100);
    assert_fails_saying(try_partitions(bytes, "1"), -EINVAL, "partitions 1 and 4 overlap");
    put_entry(bytes, 3, 0x83, 16000, 1000);
    assert_fails_saying(try_partitions(bytes, "1"), -EINVAL, "partition 4 begins at sector 16000");
    put_entry(bytes, 3, 0, 0, 0);
    put_entry(bytes + 2600 * SECTOR, 0, 0, 0, 0);
    put_entry(bytes + 2600 * SECTOR, 1, 0x05, 600, 100); /* to itself */
    assert_fails_saying(try_partitions(bytes, "1"), -EINVAL, "more than 128 logical");
    put_entry(bytes + 2600 * SECTOR, 1, 0x05, 100000, 100);
    assert_fails_saying(try_partitions(bytes, "1"), -EINVAL, "sector 102000");
    put_gpt(none, 0, 4095, 2048);
    assert_fails_saying(try_partitions(none, "1"), -EINVAL, "ends at sector 2048");
    none[SECTOR] = 'X';
    assert_fails_saying(try_partitions(none, "1"), -EINVAL, "no GPT");
    ck_assert(!place_has("d.vmdk"));
    ck_assert(!place_has("d-pt.vmdk"));
    free(bytes);
    free(none);
}
END_TEST

/* The bytes that were to be kept were those of the file in which the new descriptor went. */
START_TEST(the_image_is_no_extent_of_itself_under_any_name)
{
    BlockDriverState *disk;

    place_write_pattern("d.vmdk", 0, DEVICE, 1);
    assert_fails_saying(try_custom("RW 64 FLAT \"./d.vmdk\" 0", 0), -EINVAL, "image itself");
    assert_fails_saying(place_try_create("d.vmdk", NULL, "subformat=fullDevice,device=./d.vmdk", 0),
                        -EINVAL, "image itself");
    place_describe("look.vmdk", "RW 16384 FLAT \"d.vmdk\" 0\n");
    disk = place_open("look.vmdk", 0, NULL);
    assert_pattern(disk, 0, DEVICE, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* The device was emptied to hold a copy of its own partition table. */
START_TEST(the_device_is_not_what_is_copied_to)
{
    uint8_t *bytes = mbr_bytes();
    char *text;

    place_write("d-pt.vmdk", bytes, DEVICE);
    assert_fails_saying(place_try_create("d.vmdk", NULL, "subformat=partitionedDevice,"
                                         "partitions=1,device=./d-pt.vmdk", 0), -EEXIST,
                        "the device itself");
    text = place_read("d-pt.vmdk");
    ck_assert_mem_eq(text, bytes, DEVICE);
    ck_assert(!place_has("d.vmdk"));
    free(text);
    free(bytes);
}
END_TEST

/* ------------------------------------------------------- other names of kinds */

START_TEST(esx_disks_take_their_space_as_their_name_says)
{
    static const char *const subformats[] = {"vmfsPreallocated", "vmfsEagerZeroedThick"};
    BdrvInfo info = {.struct_size = sizeof info};
    BlockDriverState *disk;
    char options[64], *text;

    snprintf(options, sizeof options, "subformat=%s", subformats[_i]);
    assert_ok(place_try_create("d.vmdk", NULL, options, DEVICE));
    text = place_read("d.vmdk");
    ck_assert_ptr_nonnull(strstr(text, "createType=\"vmfs\"\n"));
    disk = place_open("d.vmdk", 0, NULL);
    assert_ok(bdrv_get_info(disk, &info));
    ck_assert_int_ge(info.host_bytes, DEVICE);
    assert_ok(bdrv_close(disk));
    free(text);
}
END_TEST

START_TEST(the_documents_spelling_of_split_disks_is_written_when_asked_for)
{
    static const char *const subformats[] = {"2GbMaxExtentSparse", "2GbMaxExtentFlat"};
    char options[64], type[64], *text;

    snprintf(options, sizeof options, "subformat=%s,extent_size=1M", subformats[_i]);
    assert_ok(place_try_create("d.vmdk", NULL, options, DEVICE));
    text = place_read("d.vmdk");
    snprintf(type, sizeof type, "createType=\"%s\"\n", subformats[_i]);
    ck_assert_ptr_nonnull(strstr(text, type));
    ck_assert_int_eq(place_has("d-s008.vmdk"), _i == 0);
    ck_assert_int_eq(place_has("d-f008.vmdk"), _i == 1);
    free(text);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        each_line_becomes_what_it_says,
        lines_that_make_no_sense_are_refused_and_nothing_is_left,
        a_device_that_is_not_there_is_named,
        partitions_that_are_not_shown_read_as_zeros,
        the_devices_own_tables_are_not_written,
        a_gpt_is_read_and_both_its_copies_are_copied,
        tables_and_numbers_that_make_no_sense_are_refused,
        the_image_is_no_extent_of_itself_under_any_name,
        the_device_is_not_what_is_copied_to,
        NULL,
    };
    Suite *suite = suite_create("vmdk/create-lines");
    TCase *tcase = suite_add_case(suite, "lines", tests, 60);

    tcase_add_checked_fixture(tcase, place_make, place_remove);
    tcase_add_loop_test(tcase, a_whole_device_is_shown_and_stays_as_it_is, 0, 4);
    tcase_add_loop_test(tcase, esx_disks_take_their_space_as_their_name_says, 0, 2);
    tcase_add_loop_test(tcase, the_documents_spelling_of_split_disks_is_written_when_asked_for,
                        0, 2);
    return suite;
}
