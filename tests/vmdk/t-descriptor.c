/* SPDX-License-Identifier: MIT */
/*
 * t-descriptor.c - the text: what is read as what, what is refused with which
 * words, and what of it survives a change.  Most texts here describe one extent
 * of zeros, which needs no second file.
 */
#include "build.h"
#include "host.h"

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n"
#define TYPE "createType=\"custom\"\n"
#define ZERO "RW 2048 ZERO\n"

static BlockDriverState *text_memory(const char *text)
{
    return image_memory_from(text, (int64_t)strlen(text));
}

/* ---------------------------------------------------------------- refusals */

typedef struct Text {
    const char *row;
    const char *text;
    const char *message;
} Text;

static const Text refused[] = {
    {"D1", "CID=1\n" TYPE ZERO, "no version line"},
    {"D1", "version=1\nCID=1\n" ZERO, "no createType line"},
    /* QEMU aborts. */
    {"D1", HEAD TYPE, "no extent line"},
    {"D5", HEAD TYPE "RW 0 ZERO\n", "at least one sector"},
    {"D5", HEAD TYPE "RW 18446744073709551615 ZERO\n", "below 2^54"},
    {"D5", HEAD TYPE "RW 18446744073709551616 ZERO\n", "below 2^54"},
    {"D5", HEAD TYPE "RW 9007199254740992 ZERO\n", "a sum of all sizes"},
    {"D5", HEAD TYPE "RW 9007199254740991 ZERO\nRW 1 ZERO\n",
     "a sum of all sizes"},
    {"D5", HEAD TYPE "RW x ZERO\n", "the extent's size is 'x'"},
    {"D5", HEAD TYPE "RW 1 FLAT \"a\" 18014398509481983\n", "beyond the end of any file"},
    {"D6", HEAD TYPE "RW 2048 TIN \"a\"\n", "the extent's type is 'TIN'"},
    /* QEMU skips the line, and moves what comes behind it. */
    {"D7", HEAD TYPE ZERO "WO 2048 FLAT \"a\" 0\n", "the access of an extent is 'WO'"},
    {"D8", HEAD TYPE "RW 2048 FLAT \"a\n", "a name in quotes"},
    {"D8", HEAD TYPE "RW 2048 FLAT a 0\n", "a name in quotes"},
    {"D8", HEAD TYPE "RW 2048 FLAT\n", "a name in quotes"},
    {"D8", HEAD TYPE "RW 2048 FLAT \"\" 0\n", "0 bytes"},
    {"D8", HEAD TYPE "RW 2048 FLAT \"a\x01\" 0\n", "control character (0x01)"},
    {"D8", HEAD "createType=\"custom\n" ZERO, "a closing quote"},
    {"D7", HEAD TYPE "RW2048 ZERO\nRW 8 ZERO\n", "the beginning of an extent is 'RW2048'"},
    {"D7", HEAD TYPE "RW 8 ZERO\nRW,2048 FLAT \"a\" 0\n", "the beginning of an extent is 'RW,2048'"},
    {"D6", HEAD TYPE "RW 8 FLAT \"a\" -1\n", "the extent's offset is '-1'"},
    {"D6", HEAD TYPE "RW 8 VMFS \"a\" 0x10\n", "the extent's offset is '0x10'"},
    {"D9", HEAD TYPE "RW 2048 FLAT \"vsan://1-2\"\n", "is a URL"},
    {"D9", HEAD TYPE "RW 2048 VSANSPARSE \"vsan://1-2\"\n", "inside vSAN"},
    {"D10", HEAD TYPE "RW 2048 FLAT \"a\" 0\nRW 2048 FLAT \"a\" 2047\n", "the same bytes of 'a'"},
    {"D10", HEAD TYPE "RW 2048 SPARSE \"a\"\nRW 2048 SPARSE \"a\"\n", "the same bytes of 'a'"},
    {"D13", "version=1\nCID=\nparentCID=ffffffff\n" TYPE ZERO, "CID is ''"},
    {"D13", "version=1\nCID=123456789\n" TYPE ZERO, "CID is '123456789'"},
    {"D13", "version=1\nCID=0x12\n" TYPE ZERO, "CID is '0x12'"},
    {"D13", HEAD "parentCID=fffffffg\n" TYPE ZERO, "parentCID is 'fffffffg'"},
    {"D18", HEAD "CID=2\n" TYPE ZERO, "CID is 00000002, an earlier line says 00000001"},
    {"D18", HEAD TYPE "createType=\"vmfs\"\n" ZERO, "createType is 'vmfs'"},
    {"D18", HEAD TYPE "parentFileNameHint=\"a\"\nparentFileNameHint=\"b\"\n" ZERO,
     "parentFileNameHint is 'b'"},
    {"D19", "version=4\nCID=1\n" TYPE ZERO, "version is '4'"},
    {"D19", HEAD TYPE "encryptionKeys=\"vmware:key\"\n" ZERO, "encryption"},
    {"", HEAD TYPE "RW 2048 SESPARSE \"a\"\n", "cannot open the extent 'a'"},
};

START_TEST(a_wrong_text_is_refused_with_its_reason)
{
    BlockDriverState *memory = text_memory(refused[_i].text), *disk;
    int ret = try_open(memory, 0, NULL, NULL, &disk);

    ck_assert_msg(ret < 0, "%s opens", refused[_i].row);
    ck_assert_msg(strstr(bdrv_errmsg(), refused[_i].message) != NULL, "%s says: %s",
                  refused[_i].row, bdrv_errmsg());
    bdrv_close(memory);
}
END_TEST

START_TEST(a_line_of_more_than_4096_bytes_is_refused)
{
    char text[8192];
    BlockDriverState *memory, *disk;

    snprintf(text, sizeof text, "%s#%05000d\n%s", HEAD, 0, TYPE ZERO);
    memory = text_memory(text);
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "the limit is 4096");
    bdrv_close(memory);
}
END_TEST

START_TEST(more_than_65536_extents_are_refused)
{
    const int lines = 65537;
    char *text = malloc(strlen(HEAD TYPE) + (size_t)lines * strlen(ZERO) + 1), *to = text;
    BlockDriverState *memory, *disk;

    to += sprintf(to, "%s", HEAD TYPE);
    for (int i = 0; i < lines; i++) {
        to += sprintf(to, "%s", ZERO);
    }
    memory = text_memory(text);
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "more than 65536");
    bdrv_close(memory);
    free(text);
}
END_TEST

START_TEST(a_file_of_more_than_8_mebibytes_is_no_text)
{
    BlockDriverState *memory = text_memory(HEAD TYPE ZERO), *disk;

    assert_ok(bdrv_truncate(memory, 8 * 1024 * 1024 + 1));
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "neither a sparse");
    bdrv_close(memory);
}
END_TEST

/* --------------------------------------------------------------- tolerance */

/* All of these are seen in the wild; each makes some reader fail. */
static const char *const tolerated[] = {
    HEAD TYPE ZERO,
    "# Disk DescriptorFile\r\nversion=1\r\nCID=1\r\nparentCID=ffffffff\r\n"
    "createType=\"custom\"\r\nRW 2048 ZERO\r\n",
    "version=1 \nCID=1 \nparentCID=ffffffff\t\n" TYPE "RW 2048 ZERO ",
    "version = 1\nCID = 1\nparentCID = ffffffff\ncreateType = \"custom\"\n" ZERO,
    "\xef\xbb\xbf# Disk DescriptorFile\n" HEAD TYPE ZERO,
    "encoding=\"UTF-8\"\nversion=1\nCID=1\n" TYPE ZERO,
    "# DISK DESCRIPTORFILE\nVERSION=1\ncid=1\nPARENTCID=FFFFFFFF\nCREATETYPE=\"CUSTOM\"\n"
    "rw 2048 zero\n",
    "\n\n# hello\nversion=1\n# there\nCID=1\n" TYPE "RW\t 2048  ZERO\n",
    "version=3\nCID=1\nddb.adapterType = \"ide\"\n" TYPE ZERO,
    HEAD TYPE ZERO "changeTrackPath=\"a-ctk.vmdk\"\nddb.x=\"y\"\nunknown = 5\nwhat is this\n",
    HEAD TYPE "createType=\"custom\"\nCID=1\n" ZERO,
    HEAD "createType=custom\n" ZERO,
};

START_TEST(texts_of_the_wild_are_read)
{
    const char *format = NULL;
    BlockDriverState *memory = text_memory(tolerated[_i]), *disk;

    assert_ok(bdrv_open_node(&disk, memory, format, NULL)); /* by probing */
    ck_assert_str_eq(bdrv_format(disk), "vmdk");
    ck_assert_int_eq(bdrv_getlength(disk), 2048 * SECTOR);
    assert_pattern(disk, 0, 2048 * SECTOR, PATTERN_ZEROS);
    bdrv_close(disk);
    bdrv_close(memory);
}
END_TEST

/* QEMU pads a text with NULs when it changes the CID. */
START_TEST(nuls_at_the_end_are_no_text)
{
    BlockDriverState *memory = text_memory(HEAD TYPE ZERO), *disk;

    assert_ok(bdrv_truncate(memory, 512));
    disk = open_memory(memory, 0);
    bdrv_close(disk);
    bdrv_close(memory);
}
END_TEST

static void find_number(void *opaque, const BdrvDetail *detail)
{
    if (detail->key && strcmp(detail->key, "cid") == 0) {
        *(int64_t *)opaque = detail->number;
    }
}

static int64_t cid_of(BlockDriverState *disk)
{
    int64_t cid = -1;

    assert_ok(bdrv_get_details(disk, find_number, &cid));
    return cid;
}

/* QEMU looks for "CID=" and finds it in "parentCID=" when that comes first. */
START_TEST(the_cid_is_not_taken_from_the_parent_cid)
{
    BlockDriverState *memory =
        text_memory("version=1\nparentCID=ffffffff\nCID=0000beef\n" TYPE ZERO);
    BlockDriverState *disk = open_memory(memory, 0);

    ck_assert_int_eq(cid_of(disk), 0xbeef);
    bdrv_close(disk);
    bdrv_close(memory);
}
END_TEST

START_TEST(a_text_that_fills_its_sectors_is_bounded_by_them)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    size_t used = strlen((char *)b.bytes + SECTOR), room = 20 * SECTOR;

    memset(b.bytes + SECTOR + used, '#', room - used);
    for (size_t i = used; i < room; i += 1000) {
        b.bytes[SECTOR + i] = '\n';
    }
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ---------------------------------------------------------------- the map */

static char *directory;

static void make_directory(void)
{
    directory = host_directory_new();
}

static void remove_directory(void)
{
    host_directory_remove(directory);
}

static char *put_file(const char *name, const void *bytes, size_t size)
{
    char *path = host_path(directory, name);

    host_write_file(path, bytes, size);
    return path;
}

static void put_flat(const char *name, int64_t bytes, int64_t disk_offset)
{
    uint8_t *data = malloc((size_t)bytes);

    pattern_fill(data, (size_t)bytes, disk_offset, 1);
    free(put_file(name, data, (size_t)bytes));
    free(data);
}

static int open_text(const char *text, unsigned flags, BlockDriverState **disk)
{
    char *path = put_file("disk.vmdk", text, strlen(text));
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags};
    int ret = bdrv_open(disk, path, NULL, &options);

    free(path);
    return ret;
}

#define MIXED                                                                    \
    HEAD TYPE "RW 8 FLAT \"a.img\" 0\nRW 8 ZERO\nRDONLY 8 FLAT \"b.img\" 2\n"    \
              "NOACCESS 8 FLAT \"none.img\" 0\nRW 8 VMFS \"c.img\"\n"

/* QEMU skips all lines that are not "RW … file": the disk shrinks, and what is
 * behind them moves. */
START_TEST(every_extent_line_keeps_its_place_on_the_disk)
{
    uint8_t byte;
    BlockDriverState *disk;

    put_flat("a.img", 4096, 0);
    put_flat("b.img", 1024 + 4096, 8192 - 1024);
    put_flat("c.img", 4096, 4 * 4096);
    assert_ok(open_text(MIXED, BDRV_O_RDWR, &disk));
    ck_assert_int_eq(bdrv_getlength(disk), 5 * 4096);
    assert_pattern(disk, 0, 4096, 1);
    assert_pattern(disk, 4096, 4096, PATTERN_ZEROS);
    assert_pattern(disk, 8192, 4096, 1);
    assert_pattern(disk, 4 * 4096, 4096, 1);
    assert_fails_saying(bdrv_pread(disk, &byte, 1, 3 * 4096), -EACCES, "NOACCESS");
    assert_fails_saying(bdrv_pwrite(disk, "x", 1, 2 * 4096), -EROFS, "RDONLY");
    assert_fails_saying(bdrv_pwrite(disk, "x", 1, 4096), -EROFS, "ZERO extent");
    assert_ok(bdrv_pwrite(disk, "", 1, 4096));
    assert_ok(pattern_write(disk, 4 * 4096, 4096, 2));
    assert_pattern(disk, 4 * 4096, 4096, 2);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* QEMU reads zeros behind the end of the file (D16). */
START_TEST(a_flat_file_that_is_too_short_is_refused)
{
    BlockDriverState *disk;

    put_flat("a.img", 4095, 0);
    assert_fails_saying(open_text(HEAD TYPE "RW 8 FLAT \"a.img\" 0\n", 0, &disk), -EINVAL,
                        "needs 4096 bytes of the file, it has 4095");
}
END_TEST

START_TEST(an_extent_that_is_a_descriptor_is_refused)
{
    BlockDriverState *disk;

    free(put_file("a.img", HEAD TYPE ZERO, strlen(HEAD TYPE ZERO)));
    assert_fails_saying(open_text(HEAD TYPE "RW 1 FLAT \"a.img\" 0\n", 0, &disk), -EINVAL,
                        "cut off");
    assert_fails_saying(open_text(HEAD TYPE "RW 1 SPARSE \"a.img\"\n", 0, &disk), -EINVAL,
                        "less than a sparse header");
    put_flat("a.img", 4096, 0);
    free(put_file("a.img", HEAD TYPE ZERO HEAD HEAD HEAD HEAD HEAD HEAD HEAD HEAD, 512));
    assert_fails_saying(open_text(HEAD TYPE "RW 1 FLAT \"a.img\" 0\n", 0, &disk), -EINVAL,
                        "is a descriptor itself");
}
END_TEST

/* A descriptor that names the host's files is an attack, as in CVE-2022-47951. */
START_TEST(files_outside_the_directory_are_refused)
{
    BlockDriverState *disk;

    ck_assert_int_lt(open_text(HEAD TYPE "RW 1 FLAT \"/etc/passwd\" 0\n", 0, &disk), 0);
    ck_assert_int_lt(open_text(HEAD TYPE "RW 1 FLAT \"../../etc/passwd\" 0\n", 0, &disk), 0);
}
END_TEST

START_TEST(backslashes_separate_directories_where_no_such_file_is)
{
    BlockDriverState *disk;

    put_flat("a\\b.img", 4096, 0);
    assert_ok(open_text(HEAD TYPE "RW 8 FLAT \"a\\b.img\" 0\n", 0, &disk));
    bdrv_close(disk);
    put_flat("a.img", 4096, 0);
    assert_ok(open_text(HEAD TYPE "RW 8 FLAT \".\\a.img\" 0\n", 0, &disk));
    bdrv_close(disk);
}
END_TEST

/* D17.  A shorter line is what an interrupted change of the size leaves. */
START_TEST(an_extents_header_must_have_the_size_of_its_line_or_more)
{
    Built b = build_sparse((Shape){.without = NO_DESCRIPTOR, .sectors = 2048});
    BlockDriverState *disk;

    free(put_file("a.vmdk", b.bytes, (size_t)b.size));
    assert_fails_saying(open_text(HEAD TYPE "RW 2049 SPARSE \"a.vmdk\"\n", 0, &disk), -EINVAL,
                        "2049 sectors, its header 2048");
    assert_ok(open_text(HEAD TYPE "RW 1500 SPARSE \"a.vmdk\"\n", 0, &disk));
    ck_assert_int_eq(bdrv_getlength(disk), 1500 * SECTOR);
    bdrv_close(disk);
    assert_ok(open_text(HEAD TYPE "RW 1921 SPARSE \"a.vmdk\"\n", 0, &disk));
    ck_assert_int_eq(bdrv_getlength(disk), 1921 * SECTOR);
    bdrv_close(disk);
    free(b.bytes);
}
END_TEST

START_TEST(extents_of_unsupported_kinds_are_named)
{
    BlockDriverState *disk;

    put_flat("a", 4096, 0);
    assert_fails_saying(open_text(HEAD TYPE "RW 8 VSANSPARSE \"a\"\n", 0, &disk), -ENOTSUP,
                        "VSANSPARSE");
}
END_TEST

/* ------------------------------------------------------------------ changes */

#define ODD_BEFORE                                                                  \
    "# made by hand\r\nversion=1\r\nCID=0badcafe\r\nparentCID=ffffffff\r\n"         \
    "myKey = \"keep me\"\r\ncreateType=\"custom\"\r\n\r\n# more\r\nRW 8 FLAT \"a.img\" 0\r\n" \
    "ddb.longContentID = \"00112233445566778899aabb0badcafe\"\r\nddb.mine = \"x\"\r\n"
#define ODD_AFTER                                                                   \
    "# made by hand\r\nversion=1\r\nCID=000000aa\r\nparentCID=ffffffff\r\n"         \
    "myKey = \"keep me\"\r\ncreateType=\"custom\"\r\n\r\n# more\r\nRW 8 FLAT \"a.img\" 0\r\n" \
    "ddb.longContentID = \"00112233445566778899aabb000000aa\"\r\nddb.mine = \"x\"\r\n"

static void write_with_cid(const char *text, const char *options)
{
    char *path = put_file("disk.vmdk", text, strlen(text));
    BdrvOpenOptions open_options = {
        .struct_size = sizeof open_options, .flags = BDRV_O_RDWR, .options = options};
    BlockDriverState *disk;

    put_flat("a.img", 4096, 0);
    assert_ok(bdrv_open(&disk, path, NULL, &open_options));
    assert_ok(bdrv_pwrite(disk, "x", 1, 0));
    assert_ok(bdrv_close(disk));
    free(path);
}

static void assert_text(const char *wanted)
{
    char *path = host_path(directory, "disk.vmdk");
    size_t size;
    char *found = (char *)host_read_file(path, &size);

    ck_assert_msg(size == strlen(wanted) && memcmp(found, wanted, size) == 0,
                  "the text is now: %.*s", (int)size, found);
    free(found);
    free(path);
}

/* QEMU and VMware write the whole text anew and lose what they do not know. */
/* Where a line of a text began like a descriptor at byte 512, that was taken for the one
 * behind a header that is destroyed. */
START_TEST(a_text_that_begins_anew_behind_512_bytes_is_one_text)
{
    char text[2048];
    BlockDriverState *memory, *disk;
    int length = snprintf(text, sizeof text, "%s", "# mine\n" HEAD TYPE);

    memset(text + length, '#', (size_t)(512 - length));
    text[511] = '\n';
    snprintf(text + 512, sizeof text - 512, "# Disk DescriptorFile\n" ZERO);
    memory = text_memory(text);
    disk = open_memory(memory, 0);
    ck_assert_int_eq(bdrv_getlength(disk), 2048 * 512);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(a_new_cid_changes_nothing_else_in_the_text)
{
    write_with_cid(ODD_BEFORE, "cid=aa");
    assert_text(ODD_AFTER);
}
END_TEST

/* QEMU 7.2 writes CIDs without leading zeros. */
START_TEST(a_short_cid_becomes_a_long_one)
{
    write_with_cid("version=1\nCID=1f\n" TYPE "RW 8 FLAT \"a.img\" 0\n", "cid=2e");
    assert_text("version=1\nCID=0000002e\n" TYPE "RW 8 FLAT \"a.img\" 0\n");
}
END_TEST

START_TEST(a_missing_cid_is_added_to_the_header)
{
    write_with_cid("version=1\n" TYPE "RW 8 FLAT \"a.img\" 0\nddb.x = \"y\"\n", "cid=2e");
    assert_text("version=1\n" TYPE "CID=0000002e\nRW 8 FLAT \"a.img\" 0\nddb.x = \"y\"\n");
}
END_TEST

/* Or the next incremental backup would miss what we write. */
START_TEST(change_tracking_is_dropped_by_the_first_write)
{
    write_with_cid("version=3\nCID=00000001\n" TYPE "RW 8 FLAT \"a.img\" 0\n"
                   "# Change Tracking File\nchangeTrackPath=\"a-ctk.vmdk\"\nddb.x = \"y\"\n",
                   "cid=2");
    assert_text("version=1\nCID=00000002\n" TYPE "RW 8 FLAT \"a.img\" 0\n"
                "# Change Tracking File\nddb.x = \"y\"\n");
}
END_TEST

START_TEST(change_tracking_is_kept_where_that_is_asked_for)
{
    static const char text[] = "version=3\nCID=00000001\n" TYPE "RW 8 FLAT \"a.img\" 0\n"
                               "changeTrackPath=\"a-ctk.vmdk\"\n";
    char *path = host_path(directory, "disk.vmdk");
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR,
                               .options = "change_tracking=refuse"};
    BlockDriverState *disk;

    put_flat("a.img", 4096, 0);
    host_write_file(path, text, sizeof text - 1);
    assert_ok(bdrv_open(&disk, path, "vmdk", &options));
    assert_fails_saying(pattern_write(disk, 0, 512, 1), -EROFS, "change_tracking=drop");
    assert_ok(bdrv_close(disk));
    assert_text(text);
    free(path);
}
END_TEST

static const char *const owned_by_others[] = {
    "isNativeSnapshot=\"yes\"\n",
    "ddb.sidecars = \"x.vmfd,1;\"\n",
    "ddb.iofilters = \"vmwarelwd\"\n",
};

START_TEST(data_that_others_keep_beside_it_forbids_writing)
{
    BlockDriverState *disk;
    char text[512];

    put_flat("a.img", 4096, 0);
    snprintf(text, sizeof text, "%s%sRW 8 FLAT \"a.img\" 0\n", HEAD TYPE, owned_by_others[_i]);
    assert_fails_saying(open_text(text, BDRV_O_RDWR, &disk), -EROFS, "can only be read");
    assert_ok(open_text(text, 0, &disk));
    bdrv_close(disk);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const in_memory[] = {
        a_line_of_more_than_4096_bytes_is_refused,
        more_than_65536_extents_are_refused,
        a_file_of_more_than_8_mebibytes_is_no_text,
        nuls_at_the_end_are_no_text,
        the_cid_is_not_taken_from_the_parent_cid,
        a_text_that_fills_its_sectors_is_bounded_by_them,
        NULL,
    };
    const TTest *const in_files[] = {
        every_extent_line_keeps_its_place_on_the_disk,
        a_flat_file_that_is_too_short_is_refused,
        an_extent_that_is_a_descriptor_is_refused,
        files_outside_the_directory_are_refused,
        backslashes_separate_directories_where_no_such_file_is,
        an_extents_header_must_have_the_size_of_its_line_or_more,
        extents_of_unsupported_kinds_are_named,
        a_text_that_begins_anew_behind_512_bytes_is_one_text,
        a_new_cid_changes_nothing_else_in_the_text,
        a_short_cid_becomes_a_long_one,
        a_missing_cid_is_added_to_the_header,
        change_tracking_is_dropped_by_the_first_write,
        change_tracking_is_kept_where_that_is_asked_for,
        NULL,
    };
    Suite *suite = suite_create("vmdk/descriptor");
    TCase *memory = suite_add_case(suite, "text", in_memory, 20);
    TCase *files = suite_add_case(suite, "files", in_files, 20);

    tcase_add_loop_test(memory, a_wrong_text_is_refused_with_its_reason, 0,
                        sizeof refused / sizeof *refused);
    tcase_add_loop_test(memory, texts_of_the_wild_are_read, 0,
                        sizeof tolerated / sizeof *tolerated);
    tcase_add_checked_fixture(files, make_directory, remove_directory);
    tcase_add_loop_test(files, data_that_others_keep_beside_it_forbids_writing, 0,
                        sizeof owned_by_others / sizeof *owned_by_others);
    return suite;
}
