/* SPDX-License-Identifier: MIT */
/*
 * t-kinds.c - disks that a text descriptor puts together: all types of extent
 * lines, what may be done with each, and how their names lead to files.
 */
#include "place.h"

#include <sys/stat.h>
#include <unistd.h>

enum {
    EXTENT = 65536, /* bytes of most extents here, 128 sectors */
    CLUSTER = 65536
};

static void create_sparse_extent(const char *name, int64_t bytes)
{
    Built b = build_sparse((Shape){.sectors = bytes / SECTOR, .without = NO_DESCRIPTOR});

    place_write(name, b.bytes, (size_t)b.size);
    free(b.bytes);
}

/* ------------------------------------------------------------------- the map */

/* QEMU drops lines that are not RW, and lines of type ZERO: the disk gets
 * shorter and everything behind them moves. */
START_TEST(zero_rdonly_and_noaccess_extents_keep_their_place)
{
    BlockDriverState *disk;
    uint8_t byte;

    place_write_pattern("a", 0, EXTENT, 1);
    place_write_pattern("b", 2 * EXTENT, EXTENT, 2);
    place_write_pattern("c", 4 * EXTENT, EXTENT, 3);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nRW 128 ZERO\nRDONLY 128 FLAT \"b\" 0\n"
                   "NOACCESS 128 FLAT \"not there\" 0\nRW 128 FLAT \"c\" 0\n");
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), 5 * EXTENT);
    assert_pattern(disk, 0, EXTENT, 1);
    assert_pattern(disk, EXTENT, EXTENT, PATTERN_ZEROS);
    assert_pattern(disk, 2 * EXTENT, EXTENT, 2);
    assert_pattern(disk, 4 * EXTENT, EXTENT, 3);
    assert_fails_saying(bdrv_pread(disk, &byte, 1, 3 * EXTENT), -EACCES, "NOACCESS");
    assert_fails_saying(bdrv_pwrite(disk, &byte, 1, 3 * EXTENT + 5), -EACCES, "NOACCESS");
    assert_fails_saying(bdrv_write_zeroes(disk, 3 * EXTENT, 1), -EACCES, "NOACCESS");
    assert_fails_saying(pattern_write(disk, 2 * EXTENT, SECTOR, 9), -EROFS, "RDONLY");
    assert_fails_saying(bdrv_write_zeroes(disk, 2 * EXTENT, SECTOR), -EROFS, "RDONLY");
    assert_fails_saying(pattern_write(disk, EXTENT, SECTOR, 9), -EROFS, "ZERO");
    assert_ok(pattern_write(disk, EXTENT, SECTOR, PATTERN_ZEROS));
    assert_ok(pattern_write(disk, 4 * EXTENT + 512, 1024, 4));
    assert_pattern(disk, 4 * EXTENT + 512, 1024, 4);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* A file that only RDONLY lines name need not be writable. */
START_TEST(rdonly_extents_are_opened_for_reading_only)
{
    char *path = host_path(place, "b");
    BlockDriverState *disk, *extent;
    BdrvOpenOptions rw = {.struct_size = sizeof rw, .flags = BDRV_O_RDWR};

    place_write_pattern("a", 0, EXTENT, 1);
    place_write_pattern("b", EXTENT, EXTENT, 1);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nRDONLY 128 FLAT \"b\" 0\n");
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(bdrv_open(&extent, path, "raw", &rw)); /* nobody else writes it */
    assert_ok(bdrv_close(extent));
    assert_pattern(disk, 0, 2 * EXTENT, 1);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

START_TEST(a_map_tells_each_extent_by_its_kind)
{
    static const BdrvState wanted[] = {BDRV_DATA, BDRV_ZERO, BDRV_UNALLOCATED, BDRV_ZERO};
    char *hole = host_path(place, "c");
    BlockDriverState *disk;
    BdrvExtent run;

    place_write_pattern("a", 0, EXTENT, 1);
    create_sparse_extent("b", EXTENT);
    place_write("c", "", 0);
    ck_assert_int_eq(truncate(hole, EXTENT), 0);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nRW 128 ZERO\nRW 128 SPARSE \"b\"\n"
                   "RW 128 VMFS \"c\"\n");
    disk = place_open("d.vmdk", 0, NULL);
    for (int i = 0; i < 4; i++) {
        assert_ok(bdrv_map(disk, i * EXTENT, (4 - i) * EXTENT, &run));
        ck_assert_int_eq(run.state, wanted[i]);
        ck_assert_int_eq(run.bytes, EXTENT);
    }
    assert_ok(bdrv_close(disk));
    free(hole);
}
END_TEST

/* ---------------------------------------------------------- sharing of files */

START_TEST(parts_of_one_file_make_a_disk_in_another_order)
{
    BlockDriverState *disk;

    place_write_pattern("a", EXTENT, EXTENT, 1);
    place_describe("d.vmdk", "RW 64 FLAT \"a\" 64\nRW 64 ZERO\nRW 64 FLAT \"a\" 0\n");
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, EXTENT / 2, 2));
    assert_ok(pattern_write(disk, EXTENT, EXTENT / 2, 3));
    assert_pattern(disk, 0, EXTENT / 2, 2);
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, EXTENT / 2, 2);
    assert_pattern(disk, EXTENT, EXTENT / 2, 3);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(two_extents_on_the_same_bytes_are_refused)
{
    char *path = host_path(place, "a"), *alias = host_path(place, "alias");

    place_write_pattern("a", 0, EXTENT, 1);
    ck_assert_int_eq(link(path, alias), 0);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nRW 1 FLAT \"a\" 127\n");
    place_refused("d.vmdk", 0, -EINVAL, "same bytes");
    place_describe("d.vmdk", "RW 4 FLAT \"a\" 0\nRW 4 FLAT \"alias\" 4\n"
                             "RW 4 FLAT \"a\" 8\nRW 4 FLAT \"alias\" 12\n");
    bdrv_close(place_open("d.vmdk", 0, NULL));
    place_describe("d.vmdk", "RW 4 FLAT \"alias\" 7\nRW 1 FLAT \"a\" 20\n"
                             "RW 4 FLAT \"a\" 4\nRW 1 FLAT \"a\" 0\n");
    place_refused("d.vmdk", 0, -EINVAL, "'a' and 'alias'");
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nRW 1 FLAT \"alias\" 127\n");
    place_refused("d.vmdk", 0, -EINVAL, "same bytes");
    free(path);
    free(alias);
}
END_TEST

/* A new CID for the one extent that can be written changes the file of the other at two
 * places. */
static Built build_beside_another(void)
{
    char text[2048];
    Built b;

    snprintf(text, sizeof text, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
             "parentCID=ffffffff\ncreateType=\"custom\"\nRDONLY 2048 SPARSE \"d.vmdk\"\n"
             "RW 128 FLAT \"a\" 0\n#%0600d\nddb.longContentID = \"%032d\"\n", 0, 0);
    b = build_sparse((Shape){.text = text});
    build_add_grain(&b, 3, 1);
    return b;
}

/* The text grew behind the footer for a while, which was none then. */
START_TEST(a_descriptor_before_a_footer_forbids_writing_other_extents_too)
{
    Built b = build_beside_another();
    BlockDriverState *disk;

    bdrv_store_le64(b.bytes + b.size, 1);
    bdrv_store_le32(b.bytes + b.size + 12, 3);
    memcpy(b.bytes + b.size + SECTOR, b.bytes, SECTOR);
    bdrv_store_le64(b.bytes + AT_GD, UINT64_MAX);
    place_write("d.vmdk", b.bytes, (size_t)b.size + 3 * SECTOR);
    place_write_pattern("a", 0, EXTENT, 1);
    place_refused("d.vmdk", BDRV_O_RDWR, -EROFS, "only a footer says where");
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 3 * 65536, 65536, 1);
    assert_ok(bdrv_close(disk));
    free(b.bytes);
}
END_TEST

/* Of an extent that is only read, nobody looked whether the descriptor that is in its file has
 * room of its own: a new CID, for another extent, wrote zeros over the tables. */
START_TEST(a_descriptor_that_reaches_into_tables_forbids_writing_other_extents_too)
{
    Built b = build_beside_another();
    BlockDriverState *disk;

    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 30);
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    place_write_pattern("a", 0, EXTENT, 1);
    place_refused("d.vmdk", BDRV_O_RDWR, -EINVAL, "reach into the tables");
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 3 * 65536, 65536, 1);
    assert_ok(bdrv_close(disk));
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 20);
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 2048 * SECTOR, 512, 2));
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 3 * 65536, 65536, 1);
    assert_ok(bdrv_close(disk));
    free(b.bytes);
}
END_TEST

START_TEST(a_descriptor_in_the_place_of_an_extent_is_refused)
{
    place_write_pattern("a", 0, EXTENT, 1);
    place_describe("inner.vmdk", "RW 128 FLAT \"a\" 0\n");
    place_describe("d.vmdk", "RW 1 FLAT \"inner.vmdk\" 0\n");
    place_refused("d.vmdk", 0, -EINVAL, "");
    place_describe("d.vmdk", "RW 1 SPARSE \"inner.vmdk\"\n");
    place_refused("d.vmdk", 0, -EINVAL, "");
    place_describe("d.vmdk", "RW 1 FLAT \"d.vmdk\" 0\n");
    place_refused("d.vmdk", 0, -EINVAL, "is the file that names it");
}
END_TEST

/* -------------------------------------------------------------------- names */

START_TEST(backslashes_are_part_of_a_name_first_and_separators_then)
{
    char *inner = host_path(place, "sub");
    BlockDriverState *disk;

    ck_assert_int_eq(mkdir(inner, 0777), 0);
    place_write_pattern("sub/a", 0, EXTENT, 1);
    place_describe("d.vmdk", "RW 128 FLAT \"sub\\a\" 0\n");
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, EXTENT, 1);
    assert_ok(bdrv_close(disk));
    place_write_pattern("sub\\a", 0, EXTENT, 2);
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, EXTENT, 2);
    assert_ok(bdrv_close(disk));
    free(inner);
}
END_TEST

START_TEST(names_are_bytes_and_a_missing_one_is_told_with_its_encoding)
{
    BlockDriverState *disk;

    place_write_pattern("\xcf\xe4", 0, EXTENT, 1); /* no UTF-8 */
    place_describe("d.vmdk", "encoding=\"windows-1251\"\nRW 128 FLAT \"\xcf\xe4\" 0\n");
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, EXTENT, 1);
    assert_ok(bdrv_close(disk));
    place_describe("d.vmdk", "encoding=\"windows-1251\"\nRW 128 FLAT \"\xcf\xe5\" 0\n");
    place_refused("d.vmdk", 0, -ENOENT, "windows-1251");
}
END_TEST

START_TEST(urls_and_vsan_objects_are_not_files)
{
    place_describe("d.vmdk", "RW 128 FLAT \"http://host/a\" 0\n");
    place_refused("d.vmdk", 0, -ENOTSUP, "URL");
    place_describe("d.vmdk", "RW 128 VSANSPARSE \"vsan://0123-4567\"\n");
    place_refused("d.vmdk", 0, -ENOTSUP, "vsan://0123-4567");
}
END_TEST

/* ------------------------------------------------------------- several sparse */

/* QEMU takes what a partial write into a second or later extent leaves of a
 * grain from the wrong place of the parent: as if the extent began the disk. */
START_TEST(copying_into_a_later_extent_takes_the_parents_bytes_of_that_place)
{
    BlockDriverState *disk;

    assert_ok(place_try_create("base.vmdk", NULL, NULL, 8 * CLUSTER));
    disk = place_open("base.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, 8 * CLUSTER, 1));
    assert_ok(bdrv_close(disk));
    assert_ok(place_try_create("child.vmdk", "base.vmdk",
                               "subformat=twoGbMaxExtentSparse,extent_size=128k", 0));
    disk = place_open("child.vmdk", BDRV_O_RDWR, NULL);
    for (int i = 0; i < 8; i++) {
        assert_ok(pattern_write(disk, i * CLUSTER + 1000, 1000, 2));
    }
    assert_ok(bdrv_close(disk));
    disk = place_open("child.vmdk", 0, NULL);
    for (int i = 0; i < 8; i++) {
        assert_pattern(disk, i * CLUSTER, 1000, 1);
        assert_pattern(disk, i * CLUSTER + 1000, 1000, 2);
        assert_pattern(disk, i * CLUSTER + 2000, CLUSTER - 2000, 1);
    }
    assert_ok(bdrv_close(disk));
}
END_TEST

/* QEMU ignores all lines but the first of an embedded descriptor. */
START_TEST(an_embedded_descriptor_may_name_further_extents)
{
    Built b = build_sparse((Shape){
        .sectors = 128,
        .text = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
                "createType=\"custom\"\nRW 128 SPARSE \"renamed since.vmdk\"\n"
                "RW 128 FLAT \"a\" 0\nRW 128 SPARSE \"b\"\n"});
    BlockDriverState *disk;

    build_add_grain(&b, 0, 1);
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    place_write_pattern("a", EXTENT, EXTENT, 2);
    create_sparse_extent("b", EXTENT);
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), 3 * EXTENT);
    assert_pattern(disk, 0, EXTENT, 1);
    assert_pattern(disk, EXTENT, EXTENT, 2);
    assert_ok(pattern_write(disk, EXTENT / 2, 2 * EXTENT, 3));
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, EXTENT / 2, 1);
    assert_pattern(disk, EXTENT / 2, 2 * EXTENT, 3);
    assert_ok(bdrv_close(disk));
    free(b.bytes);
}
END_TEST

/* ---------------------------------------------------------------- createType */

static void describe_as(const char *create_type)
{
    char text[512];

    snprintf(text, sizeof text, "version=1\nCID=12345678\nparentCID=ffffffff\n"
             "createType=\"%s\"\nRW 128 FLAT \"a\" 0\n", create_type);
    place_write("d.vmdk", text, strlen(text));
}

/* QEMU opens text descriptors of six values of createType, in that spelling. */
START_TEST(create_types_do_not_decide_what_can_be_read)
{
    static const char *const types[] = {
        "monolithicFlat", "2GbMaxExtentFlat", "twoGbMaxExtentFlat", "TWOGBMAXEXTENTFLAT",
        "custom", "fullDevice", "partitionedDevice", "vmfs", "vmfsPreallocated",
        "vmfsEagerZeroedThick", "vmfsThin", "vmfsThick", "vmfsRawDeviceMap",
        "vmfsPassthroughRawDeviceMap", "vmfsRaw"};

    place_write_pattern("a", 0, EXTENT, 1);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        BlockDriverState *disk;

        describe_as(types[i]);
        disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
        assert_pattern(disk, 0, EXTENT, 1);
        assert_ok(pattern_write(disk, 0, SECTOR, 1));
        assert_ok(bdrv_close(disk));
    }
}
END_TEST

START_TEST(an_unknown_create_type_is_read_but_not_written)
{
    BlockDriverState *disk;

    place_write_pattern("a", 0, EXTENT, 1);
    describe_as("ofTheFuture");
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, EXTENT, 1);
    assert_ok(bdrv_close(disk));
    place_refused("d.vmdk", BDRV_O_RDWR, -EROFS, "createType");
}
END_TEST

/* ------------------------------------------------------------- the text rewritten */

/* QEMU writes a CID without leading zeros, which makes the text shorter, and
 * fills a text file up with NUL bytes. */
START_TEST(a_rewritten_text_keeps_all_else_and_gets_no_nul)
{
    static const char text[] = "# Disk DescriptorFile\r\n#mine\r\nversion=1 \r\nCID=abc\r\n"
                               "parentCID=ffffffff\r\ncreateType=\"custom\"\r\nstrange = 1\r\n"
                               "RW 128 FLAT \"a\" 0\r\nddb.mine=\"x\"\r\n";
    char *after, *end;
    BlockDriverState *disk;
    struct stat before, now;
    char *path = host_path(place, "d.vmdk");

    place_write_pattern("a", 0, EXTENT, 1);
    place_write("d.vmdk", text, sizeof text - 1);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    disk = place_open("d.vmdk", BDRV_O_RDWR, "cid=0000beef");
    assert_ok(pattern_write(disk, 0, SECTOR, 1));
    assert_ok(pattern_write(disk, SECTOR, SECTOR, 1));
    assert_ok(bdrv_close(disk));
    after = place_read("d.vmdk");
    ck_assert_int_eq(stat(path, &now), 0);
    ck_assert_int_eq(now.st_size, (off_t)strlen(after)); /* no NUL */
    ck_assert_int_eq(now.st_mode, before.st_mode);
    ck_assert(now.st_ino != before.st_ino); /* a new file took its place */
    end = strstr(after, "CID=0000beef\r\n");
    ck_assert_ptr_nonnull(end);
    ck_assert_int_eq(strncmp(after, text, (size_t)(end - after)), 0);
    ck_assert_str_eq(end + strlen("CID=0000beef"), strstr(text, "CID=abc") + strlen("CID=abc"));
    free(after);
    free(path);
}
END_TEST

START_TEST(a_new_cid_of_the_same_length_is_written_in_place)
{
    char *path = host_path(place, "d.vmdk"), *text;
    BlockDriverState *disk;
    struct stat before, now;

    place_write_pattern("a", 0, EXTENT, 1);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\n");
    ck_assert_int_eq(stat(path, &before), 0);
    disk = place_open("d.vmdk", BDRV_O_RDWR, "cid=0000beef");
    assert_ok(pattern_write(disk, 0, SECTOR, 1));
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(stat(path, &now), 0);
    ck_assert(now.st_ino == before.st_ino);
    text = place_read("d.vmdk");
    ck_assert_ptr_nonnull(strstr(text, "CID=0000beef\n"));
    free(text);
    free(path);
}
END_TEST

/* While the text is replaced the disk stays locked. */
START_TEST(a_replaced_descriptor_is_still_locked_for_its_writer)
{
    BlockDriverState *disk, *other;

    place_write_pattern("a", 0, EXTENT, 1);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nchangeTrackPath=\"x\"\n");
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, SECTOR, 1));
    assert_fails_saying(place_try_open("d.vmdk", BDRV_O_RDWR, NULL, &other), -EBUSY, "");
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(bdrv_close(disk));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const map[] = {
        zero_rdonly_and_noaccess_extents_keep_their_place,
        rdonly_extents_are_opened_for_reading_only,
        a_map_tells_each_extent_by_its_kind,
        parts_of_one_file_make_a_disk_in_another_order,
        two_extents_on_the_same_bytes_are_refused,
        a_descriptor_before_a_footer_forbids_writing_other_extents_too,
        a_descriptor_that_reaches_into_tables_forbids_writing_other_extents_too,
        a_descriptor_in_the_place_of_an_extent_is_refused,
        copying_into_a_later_extent_takes_the_parents_bytes_of_that_place,
        an_embedded_descriptor_may_name_further_extents,
        NULL
    };
    const TTest *const texts[] = {
        backslashes_are_part_of_a_name_first_and_separators_then,
        names_are_bytes_and_a_missing_one_is_told_with_its_encoding,
        urls_and_vsan_objects_are_not_files,
        create_types_do_not_decide_what_can_be_read,
        an_unknown_create_type_is_read_but_not_written,
        a_rewritten_text_keeps_all_else_and_gets_no_nul,
        a_new_cid_of_the_same_length_is_written_in_place,
        a_replaced_descriptor_is_still_locked_for_its_writer,
        NULL
    };
    Suite *suite = suite_create("vmdk kinds");

    tcase_add_checked_fixture(suite_add_case(suite, "map", map, 20), place_make, place_remove);
    tcase_add_checked_fixture(suite_add_case(suite, "texts", texts, 20), place_make,
                              place_remove);
    return suite;
}
