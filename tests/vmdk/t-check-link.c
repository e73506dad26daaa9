/* SPDX-License-Identifier: MIT */
/*
 * t-check-link.c - damage between files: descriptors, extents that are missing,
 * short or copy-on-write, parents; each in a directory of its own.
 */
#include "damage.h"
#include "host.h"

enum {
    DISK = 1024 * 1024
};

static char *directory;
static char path[4096];

static const char *at(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void begin(void)
{
    directory = host_directory_new();
}

static void end(void)
{
    host_directory_remove(directory);
}

static void create(const char *name, const char *options, const char *backing)
{
    BdrvCreateOptions o = {.struct_size = sizeof o, .size = backing ? 0 : DISK,
                           .options = options, .backing = backing};

    assert_ok(bdrv_create(at(name), "vmdk", &o));
}

static BlockDriverState *open_file(const char *name, const char *format, unsigned flags)
{
    BdrvOpenOptions o = {.struct_size = sizeof o, .flags = flags};
    BlockDriverState *bs;

    assert_ok(bdrv_open(&bs, at(name), format, &o));
    return bs;
}

static void fill(const char *name, int64_t offset, int64_t bytes, unsigned generation)
{
    BlockDriverState *disk = open_file(name, "vmdk", BDRV_O_RDWR);

    assert_ok(pattern_write(disk, offset, bytes, generation));
    assert_ok(bdrv_close(disk));
}

static void assert_disk(const char *name, int64_t offset, int64_t bytes, unsigned generation)
{
    BlockDriverState *disk = open_file(name, "vmdk", 0);

    assert_pattern(disk, offset, bytes, generation);
    assert_ok(bdrv_close(disk));
}

static void poke(const char *name, int64_t offset, const void *bytes, size_t size)
{
    BlockDriverState *file = open_file(name, "file", BDRV_O_RDWR);

    assert_ok(bdrv_pwrite(file, bytes, size, offset));
    assert_ok(bdrv_close(file));
}

static void poke32(const char *name, int64_t offset, uint32_t value)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, value);
    poke(name, offset, bytes, sizeof bytes);
}

static uint32_t peek32(const char *name, int64_t offset)
{
    BlockDriverState *file = open_file(name, "file", 0);
    uint8_t bytes[4];

    assert_ok(bdrv_pread(file, bytes, sizeof bytes, offset));
    assert_ok(bdrv_close(file));
    return bdrv_load_le32(bytes);
}

static void cut(const char *name, int64_t length)
{
    BlockDriverState *file = open_file(name, "file", BDRV_O_RDWR);

    assert_ok(bdrv_truncate(file, length));
    assert_ok(bdrv_close(file));
}

static int64_t length_of(const char *name)
{
    BlockDriverState *file = open_file(name, "file", 0);
    const int64_t length = bdrv_getlength(file);

    assert_ok(bdrv_close(file));
    return length;
}

static void replace_text(const char *name, const char *text)
{
    host_write_file(at(name), text, strlen(text));
}

static void check_file(const char *name, unsigned flags, Findings *f)
{
    BlockDriverState *disk = open_file(name, "vmdk", BDRV_O_CHECK | (flags ? BDRV_O_RDWR : 0));

    findings_of(disk, flags, f);
    assert_ok(bdrv_close(disk));
}

static void assert_file_mended(const char *name, BdrvFindingKind kind, const char *text)
{
    Findings f;

    check_file(name, 0, &f);
    assert_found(&f, kind, text);
    check_file(name, BDRV_CHECK_REPAIR_ALL, &f);
    assert_found(&f, kind, text);
    ck_assert_msg(f.last.repaired, "not mended: %s", f.text);
    check_file(name, 0, &f);
    assert_clean(&f);
}

/* -------------------------------------------------------------- copy on write */

static void make_cowd(void)
{
    create("base.vmdk", "subformat=monolithicFlat", NULL);
    fill("base.vmdk", 0, DISK, 1);
    create("d.vmdk", "subformat=vmfsSparse", "base.vmdk");
    fill("d.vmdk", 5000, 100000, 2);
}

static void assert_cowd(void)
{
    assert_disk("d.vmdk", 0, 5000, 1);
    assert_disk("d.vmdk", 5000, 100000, 2);
    assert_disk("d.vmdk", 105000, DISK - 105000, 1);
}

START_TEST(row_23_free_sector_too_low)
{
    begin();
    make_cowd();
    poke32("d-delta.vmdk", 28, 40);
    assert_file_mended("d.vmdk", BDRV_FINDING_CORRUPTION, "freeSector is 40");
    assert_cowd();
    end();
}
END_TEST

START_TEST(free_sector_behind_the_end_of_the_file)
{
    begin();
    make_cowd();
    poke32("d-delta.vmdk", 28, 4000000);
    assert_file_mended("d.vmdk", BDRV_FINDING_MISMATCH, "freeSector is 4000000");
    assert_cowd();
    end();
}
END_TEST

/* QEMU writes the first data of a region without table over the header, and
 * reports success. */
START_TEST(row_24_header_overwritten_by_data)
{
    char data[512];

    begin();
    make_cowd();
    memset(data, 'd', sizeof data);
    poke("d-delta.vmdk", 0, data, sizeof data);
    assert_file_mended("d.vmdk", BDRV_FINDING_CORRUPTION, "the header is unusable");
    assert_cowd();
    end();
}
END_TEST

START_TEST(row_25_gte_invalid_is_cleared_and_reported)
{
    BlockDriverState *disk;
    uint32_t gt;
    Findings f;

    begin();
    make_cowd();
    gt = peek32("d-delta.vmdk", 4 * SECTOR);
    poke32("d-delta.vmdk", (int64_t)gt * SECTOR + 20 * 4, 0x7fffffff);
    check_file("d.vmdk", 0, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_int_eq(f.result.corruptions + f.result.mismatches, 0);
    ck_assert_ptr_nonnull(strstr(f.text, "The GTE [20] in GT [0] is invalid (2147483647)"));
    disk = open_file("d.vmdk", "vmdk", 0);
    assert_fails(bdrv_pread(disk, (char[1]){0}, 1, 20 * SECTOR), -EIO);
    assert_ok(bdrv_close(disk));
    check_file("d.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    check_file("d.vmdk", 0, &f);
    ck_assert_int_eq(f.result.unrecoverable + f.result.corruptions, 0);
    assert_disk("d.vmdk", 20 * SECTOR, SECTOR, 1); /* the parent's */
    assert_disk("d.vmdk", 21 * SECTOR, SECTOR, 2);
    end();
}
END_TEST

START_TEST(row_25_gde_invalid_is_cleared_and_reported)
{
    Findings f;

    begin();
    make_cowd();
    poke32("d-delta.vmdk", 4 * SECTOR, 0x7fffffff);
    check_file("d.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_ptr_nonnull(strstr(f.text, "The GDE [0] of the GD is invalid (2147483647)"));
    check_file("d.vmdk", 0, &f);
    ck_assert_int_eq(f.result.unrecoverable + f.result.corruptions, 0);
    assert_disk("d.vmdk", 0, DISK, 1);
    end();
}
END_TEST

START_TEST(row_16_unclean_shutdown_of_a_cowd)
{
    begin();
    make_cowd();
    poke32("d-delta.vmdk", 1648, 1);
    assert_file_mended("d.vmdk", BDRV_FINDING_MISMATCH, "uncleanShutdown is 1");
    assert_cowd();
    end();
}
END_TEST

/* --------------------------------------------------------------- flat, missing */

START_TEST(row_28_flat_too_short)
{
    BlockDriverState *disk;

    begin();
    create("f.vmdk", "subformat=monolithicFlat", NULL);
    fill("f.vmdk", 0, DISK, 1);
    cut("f-flat.vmdk", DISK - 1000);
    disk = open_file("f.vmdk", "vmdk", BDRV_O_CHECK);
    assert_pattern(disk, 0, DISK - 1000, 1);
    assert_fails(bdrv_pread(disk, (char[1]){0}, 1, DISK - 1), -EIO);
    assert_ok(bdrv_close(disk));
    assert_file_mended("f.vmdk", BDRV_FINDING_CORRUPTION, "the descriptor needs 1048576 bytes");
    assert_disk("f.vmdk", 0, DISK - 1000, 1);
    assert_disk("f.vmdk", DISK - 1000, 1000, PATTERN_ZEROS);
    end();
}
END_TEST

/* Found, and a repair does nothing about it: nobody but VMware could. */
static void assert_sesparse_hopeless(int64_t offset, uint32_t value, const char *message)
{
    size_t size, size_after;
    uint8_t *before, *after;
    Findings f;

    poke32("d-sesparse.vmdk", offset, value);
    before = host_read_file(at("d-sesparse.vmdk"), &size);
    check_file("d.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    assert_found(&f, BDRV_FINDING_UNRECOVERABLE, message);
    ck_assert_int_eq(f.last.repaired, 0);
    ck_assert_int_eq(f.last.bytes, DISK);
    after = host_read_file(at("d-sesparse.vmdk"), &size_after);
    ck_assert_uint_eq(size, size_after);
    ck_assert_mem_eq(before, after, size);
    poke32("d-sesparse.vmdk", offset, 0);
    free(before);
    free(after);
}

START_TEST(row_26_any_damage_of_an_sesparse)
{
    enum { GD_FIELD = 16 * 8 };
    Findings f;

    begin();
    create("d.vmdk", "subformat=seSparse,sesparse_unverified=on", NULL);
    check_file("d.vmdk", 0, &f);
    assert_clean(&f);
    assert_sesparse_hopeless((int64_t)peek32("d-sesparse.vmdk", GD_FIELD) * SECTOR, 5,
                             "directory entry 0");
    assert_sesparse_hopeless(SECTOR + 24, 1, "journal");
    check_file("d.vmdk", 0, &f);
    assert_clean(&f);
    end();
}
END_TEST

START_TEST(row_27_missing_extent_file)
{
    BlockDriverState *disk;
    Findings f;

    begin();
    replace_text("t.vmdk", "version=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\n"
                           "RW 8 ZERO\nRW 8 FLAT \"gone\" 0\nRW 8 ZERO\n");
    check_file("t.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    assert_found(&f, BDRV_FINDING_UNRECOVERABLE, "cannot open the extent 'gone'");
    ck_assert_int_eq(f.last.repaired, 0);
    ck_assert_int_eq(f.last.offset, 8 * SECTOR);
    ck_assert_int_eq(f.last.bytes, 8 * SECTOR);
    disk = open_file("t.vmdk", "vmdk", BDRV_O_CHECK);
    ck_assert_int_eq(bdrv_getlength(disk), 24 * SECTOR);
    assert_pattern(disk, 16 * SECTOR, 8 * SECTOR, PATTERN_ZEROS);
    assert_fails(bdrv_pread(disk, (char[1]){0}, 1, 8 * SECTOR), -EIO);
    assert_ok(bdrv_close(disk));
    end();
}
END_TEST

/* ------------------------------------------------------------------ split disks */

START_TEST(row_01_header_of_a_split_extent_destroyed)
{
    static const uint8_t zeros[SECTOR];

    begin();
    create("s.vmdk", "subformat=twoGbMaxExtentSparse", NULL);
    fill("s.vmdk", 100, 300000, 3);
    poke("s-s001.vmdk", 0, zeros, sizeof zeros);
    assert_file_mended("s.vmdk", BDRV_FINDING_CORRUPTION, "the header is unusable");
    assert_disk("s.vmdk", 100, 300000, 3);
    end();
}
END_TEST

static void lose_descriptor(const char *options, const char *name)
{
    char garbage[300];

    begin();
    create(name, options, NULL);
    fill(name, 100, 300000, 3);
    memset(garbage, 0xc5, sizeof garbage);
    poke(name, 0, garbage, sizeof garbage);
    assert_file_mended(name, BDRV_FINDING_CORRUPTION, "the descriptor is destroyed");
    assert_disk(name, 100, 300000, 3);
    fill(name, 0, 1000, 4);
    end();
}

START_TEST(row_03_text_of_a_split_disk_destroyed)
{
    lose_descriptor("subformat=twoGbMaxExtentSparse", "s.vmdk");
}
END_TEST

START_TEST(row_03_text_of_a_flat_disk_destroyed)
{
    lose_descriptor("subformat=monolithicFlat", "f.vmdk");
}
END_TEST

/* ---------------------------------------------------------------------- chains */

/* The last extent got longer, then the power went: the descriptor counts. */
START_TEST(row_17_an_interrupted_growth_of_a_split_disk)
{
    enum { CAPACITY_FIELD = 12 };

    begin();
    create("d.vmdk", "subformat=twoGbMaxExtentSparse,extent_size=640k", NULL);
    fill("d.vmdk", 0, DISK, 1);
    ck_assert_uint_eq(peek32("d-s002.vmdk", CAPACITY_FIELD), 768);
    poke32("d-s002.vmdk", CAPACITY_FIELD, 1280);
    assert_file_mended("d.vmdk", BDRV_FINDING_MISMATCH, "the extent 768 sectors, its header 1280");
    ck_assert_uint_eq(peek32("d-s002.vmdk", CAPACITY_FIELD), 768);
    assert_disk("d.vmdk", 0, DISK, 1);
    end();
}
END_TEST

/* What was cut off is still there: nobody but the user knows what he wants. */
START_TEST(row_17_an_interrupted_shrink_of_a_split_disk_is_left)
{
    Findings f;
    size_t size;
    uint8_t *text;

    begin();
    create("d.vmdk", "subformat=twoGbMaxExtentSparse,extent_size=640k", NULL);
    fill("d.vmdk", 0, DISK, 1);
    text = host_read_file(at("d.vmdk"), &size);
    memcpy(strstr((char *)text, "RW 768 "), "RW 512 ", 7);
    host_write_file(at("d.vmdk"), text, size);
    check_file("d.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.mismatches, 1);
    ck_assert_int_eq(f.result.mismatches_fixed + f.result.leaks_fixed, 0);
    ck_assert_ptr_nonnull(strstr(f.text, "the extent 512 sectors, its header 768"));
    assert_disk("d.vmdk", 0, DISK - 256 * SECTOR, 1);
    memcpy(strstr((char *)text, "RW 512 "), "RW 768 ", 7); /* he wanted it all */
    host_write_file(at("d.vmdk"), text, size);
    check_file("d.vmdk", 0, &f);
    assert_clean(&f);
    assert_disk("d.vmdk", 0, DISK, 1);
    free(text);
    end();
}
END_TEST

/* A repair said that it would cut off space which it leaves as long as it is not clear which of
 * the two lengths is right. */
START_TEST(no_space_is_cut_off_while_a_length_is_in_doubt)
{
    const int64_t grain = 128 * SECTOR;
    Findings f;
    size_t size;
    char *text, *rest, longer[8192];

    begin();
    create("d.vmdk", "subformat=twoGbMaxExtentSparse,extent_size=640k", NULL);
    fill("d.vmdk", 0, DISK, 1);
    text = (char *)host_read_file(at("d.vmdk"), &size);
    rest = strstr(text, "RW 1280 ");
    snprintf(longer, sizeof longer, "%.*sRW 99999 %s", (int)(rest - text), text, rest + 8);
    replace_text("d.vmdk", longer);
    cut("d-s001.vmdk", bdrv_round_up(length_of("d-s001.vmdk"), grain) + grain);
    check_file("d.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions, 1);
    ck_assert_int_eq(f.result.leaks, 1);
    ck_assert_msg(strstr(f.text, "of the file (nothing can be done)") != NULL, "%s", f.text);
    free(text);
    end();
}
END_TEST

START_TEST(row_18_the_parent_was_written_to)
{
    BlockDriverState *disk;
    Findings f;

    begin();
    create("p.vmdk", NULL, NULL);
    fill("p.vmdk", 0, DISK, 1);
    create("c.vmdk", NULL, "p.vmdk");
    fill("c.vmdk", 0, 65536, 2);
    check_file("c.vmdk", 0, &f);
    assert_clean(&f);
    fill("p.vmdk", 500000, 1000, 3);
    check_file("c.vmdk", BDRV_CHECK_REPAIR_ALL, &f);
    assert_found(&f, BDRV_FINDING_CORRUPTION, "has CID");
    ck_assert_int_eq(f.last.repaired, 0);
    disk = open_file("c.vmdk", "vmdk", BDRV_O_CHECK | BDRV_O_RDWR);
    assert_pattern(disk, 0, 65536, 2);
    assert_fails(bdrv_pread(disk, (char[1]){0}, 1, 500000), -EIO);
    assert_fails(bdrv_pwrite(disk, "x", 1, 500000), -EROFS);
    assert_ok(bdrv_close(disk));
    end();
}
END_TEST

/* That somebody else writes to the parent was reported as damage of the image. */
START_TEST(a_parent_that_is_in_use_is_no_damage)
{
    BdrvOpenOptions options = {.struct_size = sizeof options,
                               .flags = BDRV_O_CHECK | BDRV_O_RDWR};
    BlockDriverState *writer, *disk;

    begin();
    create("p.vmdk", NULL, NULL);
    create("c.vmdk", NULL, "p.vmdk");
    writer = open_file("p.vmdk", "vmdk", BDRV_O_RDWR);
    assert_fails_saying(bdrv_open(&disk, at("c.vmdk"), "vmdk", &options), -EBUSY, "p.vmdk");
    assert_ok(bdrv_close(writer));
    assert_ok(bdrv_open(&disk, at("c.vmdk"), "vmdk", &options));
    assert_ok(bdrv_close(disk));
    end();
}
END_TEST

START_TEST(the_parent_is_missing)
{
    Findings f;

    begin();
    create("p.vmdk", NULL, NULL);
    create("c.vmdk", NULL, "p.vmdk");
    ck_assert_int_eq(remove(at("p.vmdk")), 0);
    check_file("c.vmdk", 0, &f);
    assert_found(&f, BDRV_FINDING_CORRUPTION, "p.vmdk");
    end();
}
END_TEST

START_TEST(row_29_change_tracking_file_missing)
{
    begin();
    create("f-data.vmdk", "subformat=monolithicFlat", NULL);
    replace_text("t.vmdk", "version=3\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\n"
                           "changeTrackPath=\"t-ctk.vmdk\"\n"
                           "RW 2048 FLAT \"f-data-flat.vmdk\" 0\n");
    assert_file_mended("t.vmdk", BDRV_FINDING_MISMATCH, "changeTrackPath names 't-ctk.vmdk'");
    end();
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        row_23_free_sector_too_low,
        free_sector_behind_the_end_of_the_file,
        row_24_header_overwritten_by_data,
        row_25_gte_invalid_is_cleared_and_reported,
        row_25_gde_invalid_is_cleared_and_reported,
        row_16_unclean_shutdown_of_a_cowd,
        row_28_flat_too_short,
        row_26_any_damage_of_an_sesparse,
        row_27_missing_extent_file,
        row_01_header_of_a_split_extent_destroyed,
        row_03_text_of_a_split_disk_destroyed,
        row_03_text_of_a_flat_disk_destroyed,
        row_17_an_interrupted_growth_of_a_split_disk,
        row_17_an_interrupted_shrink_of_a_split_disk_is_left,
        no_space_is_cut_off_while_a_length_is_in_doubt,
        row_18_the_parent_was_written_to,
        a_parent_that_is_in_use_is_no_damage,
        the_parent_is_missing,
        row_29_change_tracking_file_missing,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-link");

    suite_add_case(suite, "link", tests, 60);
    return suite;
}
