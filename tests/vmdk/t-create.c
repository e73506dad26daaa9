/* SPDX-License-Identifier: MIT */
/*
 * t-create.c - new images, looked at byte by byte: the layout that VMware's
 * programs and QEMU make, the descriptor, and what cannot be asked for.
 */
#include "build.h"
#include "host.h"

static char *directory;
static char *path;

static void make_directory(void)
{
    directory = host_directory_new();
    path = host_path(directory, "disk.vmdk");
}

static void remove_directory(void)
{
    free(path);
    host_directory_remove(directory);
}

static int try_create(int64_t size, const char *options)
{
    BdrvCreateOptions create = {
        .struct_size = sizeof create, .size = size, .options = options};

    return bdrv_create(path, "vmdk", &create);
}

/* The first bytes of the file at path, and its length. */
static void read_front(void *front, size_t bytes, int64_t *length)
{
    BlockDriverState *file;

    assert_ok(bdrv_open(&file, path, "file", NULL));
    *length = bdrv_getlength(file);
    assert_ok(bdrv_pread(file, front, bytes, 0));
    bdrv_close(file);
}

/* ------------------------------------------------------------------ layout */

/* Of the format document, 3.4; all in sectors. */
static const struct {
    int64_t sectors;
    uint64_t rgd, gd, overhead;
} layouts[] = {
    {20480, 21, 26, 128},           /* VMware's 10 MiB disk */
    {131072, 21, 30, 128},          /* QEMU's, 64 MiB */
    {4194304, 21, 278, 640},        /* 2 GiB */
    {INT64_C(1) << 32, 21, 262677, 525440}, /* 2 TiB */
    {INT64_C(3) << 31, 21, 394005, 788096}, /* 3 TiB */
};

START_TEST(tables_are_where_vmware_puts_them)
{
    uint8_t header[SECTOR];
    int64_t length;

    assert_ok(try_create(layouts[_i].sectors * SECTOR, NULL));
    read_front(header, sizeof header, &length);
    ck_assert_mem_eq(header, "KDMV\1\0\0\0\3\0\0\0", 12);
    ck_assert_int_eq((int64_t)bdrv_load_le64(header + AT_CAPACITY), layouts[_i].sectors);
    ck_assert_uint_eq(bdrv_load_le64(header + AT_GRAIN), 128);
    ck_assert_uint_eq(bdrv_load_le64(header + AT_DESCRIPTOR), 1);
    ck_assert_uint_eq(bdrv_load_le64(header + AT_DESCRIPTOR_SIZE), 20);
    ck_assert_uint_eq(bdrv_load_le32(header + AT_GTES), 512);
    ck_assert_uint_eq(bdrv_load_le64(header + AT_RGD), layouts[_i].rgd);
    ck_assert_uint_eq(bdrv_load_le64(header + AT_GD), layouts[_i].gd);
    ck_assert_uint_eq(bdrv_load_le64(header + AT_OVERHEAD), layouts[_i].overhead);
    ck_assert_mem_eq(header + AT_UNCLEAN, "\0\n \r\n\0\0", 7);
    ck_assert_int_eq(length, (int64_t)layouts[_i].overhead * SECTOR);
}
END_TEST

/* The format document, 12.1: a disk of 64 MiB in which two grains are written. */
START_TEST(written_grains_are_where_the_example_has_them)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR};
    uint8_t bytes[384 * SECTOR];
    BlockDriverState *disk;
    int64_t length;

    assert_ok(try_create(64 * 1024 * 1024, NULL));
    assert_ok(bdrv_open(&disk, path, NULL, &options));
    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(pattern_write(disk, 33 * 1024 * 1024, 512, 1));
    assert_ok(bdrv_close(disk));
    read_front(bytes, sizeof bytes, &length);
    ck_assert_int_eq(length, 384 * SECTOR);
    ck_assert_mem_eq(bytes + 0x2a00, "\x16\0\0\0\x1a\0\0\0\0\0\0\0", 12);
    ck_assert_mem_eq(bytes + 0x2c00, "\x80\0\0\0\0\0\0\0", 8);
    ck_assert_mem_eq(bytes + 0x3440, "\0\1\0\0\0\0\0\0", 8);
    ck_assert_mem_eq(bytes + 0x3c00, "\x1f\0\0\0\x23\0\0\0\0\0\0\0", 12);
    ck_assert_mem_eq(bytes + 0x3e00, "\x80\0\0\0\0\0\0\0", 8);
    ck_assert_mem_eq(bytes + 0x4640, "\0\1\0\0\0\0\0\0", 8);
}
END_TEST

START_TEST(sizes_are_rounded_up_to_sectors)
{
    BlockDriverState *disk;

    assert_ok(try_create(1000, NULL));
    assert_ok(bdrv_open(&disk, path, NULL, NULL));
    ck_assert_int_eq(bdrv_getlength(disk), 1024);
    bdrv_close(disk);
}
END_TEST

/* ------------------------------------------------------------------ options */

static const struct {
    int64_t size;
    const char *options, *message;
} refused[] = {
    {0, NULL, "0 bytes"},
    {INT64_C(1) << 62, NULL, "more tables than"},
    {4096, "grain_size=4k", "grain_size is 4096"},
    {4096, "grain_size=24k", "grain_size is 24576"},
    {4096, "grain_size=2M", "grain_size is 2097152"},
    {4096, "subformat=cowd,grain_size=256", "grain_size is 256"},
    {4096, "gtes_per_table=100", "gtes_per_table is 100"},
    {4096, "gtes_per_table=64", "gtes_per_table is 64"},
    {4096, "hwversion=6,compat6=on", "exclude each other"},
    {4096, "cid=fffffffe", "cid is 'fffffffe'"},
    {4096, "cid=ffffffff", "cid is 'ffffffff'"},
    {4096, "cid=x", "cid is 'x'"},
    {4096, "subformat=vmfsSparse,zeroed_grain=on", "zeroed_grain"},
    {INT64_C(2) << 40, "subformat=vmfsSparse", "more than 2 TiB"},
    {4096, "subformat=flat", "flat"},
    {4096, "adapter_type=nvme", "nvme"},
};

START_TEST(what_is_not_possible_is_refused_and_leaves_no_file)
{
    int ret = try_create(refused[_i].size, refused[_i].options);

    ck_assert_int_lt(ret, 0);
    ck_assert_msg(strstr(bdrv_errmsg(), refused[_i].message) != NULL, "says: %s",
                  bdrv_errmsg());
    ck_assert(!host_exists(path));
}
END_TEST

START_TEST(options_are_found_in_the_descriptor)
{
    char text[21 * SECTOR + 1] = {0};
    int64_t length;

    assert_ok(try_create(1024 * 1024, "adapter_type=buslogic,hwversion=9,toolsversion=5,"
                         "cid=abc,zeroed_grain=on"));
    read_front(text, sizeof text - 1, &length);
    ck_assert_mem_eq(text, "KDMV\2\0\0\0\7\0\0\0", 12);
    ck_assert_str_eq(text + SECTOR,
                     "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=00000abc\n"
                     "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n"
                     "# Extent description\nRW 2048 SPARSE \"disk.vmdk\"\n\n"
                     "# The Disk Data Base\n#DDB\n\n"
                     "ddb.adapterType = \"buslogic\"\nddb.geometry.cylinders = \"1\"\n"
                     "ddb.geometry.heads = \"64\"\nddb.geometry.sectors = \"32\"\n"
                     "ddb.longContentID = \"00000abc00000abc00000abc00000abc\"\n"
                     "ddb.toolsVersion = \"5\"\nddb.virtualHWVersion = \"9\"\n");
}
END_TEST

START_TEST(the_same_cid_gives_the_same_bytes)
{
    static const char *const options[] = {"cid=5", "cid=5,subformat=cowd"};
    size_t sizes[2];
    uint8_t *bytes[2];

    for (int i = 0; i < 2; i++) {
        assert_ok(try_create(1024 * 1024, options[_i]));
        bytes[i] = host_read_file(path, &sizes[i]);
    }
    ck_assert_uint_eq(sizes[0], sizes[1]);
    ck_assert_mem_eq(bytes[0], bytes[1], sizes[0]);
    free(bytes[0]);
    free(bytes[1]);
}
END_TEST

START_TEST(two_images_have_two_cids)
{
    char text[2][21 * SECTOR + 1] = {{0}};
    int64_t length;

    for (int i = 0; i < 2; i++) {
        assert_ok(try_create(1024 * 1024, NULL));
        read_front(text[i], sizeof text[i] - 1, &length);
    }
    ck_assert_int_ne(strncmp(strstr(text[0] + SECTOR, "CID="), strstr(text[1] + SECTOR, "CID="),
                             12), 0);
}
END_TEST

/* ----------------------------------------------------------------- geometry */

static const struct {
    const char *options;
    int64_t size;
    BdrvGeometry wanted;
} geometries[] = {
    {"adapter_type=ide", INT64_C(64) << 20, {130, 16, 63, 1}},
    {"adapter_type=ide", INT64_C(40) << 30, {83220, 16, 63, 1}},
    {"adapter_type=ide", 512, {1, 16, 63, 1}},
    {"adapter_type=lsilogic", INT64_C(2) << 20, {2, 64, 32, 1}},
    {"adapter_type=lsilogic", INT64_C(1) << 30, {512, 128, 32, 1}},
    {"adapter_type=buslogic", INT64_C(2) << 30, {1024, 128, 32, 1}},
    {"adapter_type=legacyESX", INT64_C(16) << 30, {2088, 255, 63, 1}},
    {"adapter_type=lsilogic", INT64_C(128) << 30, {16709, 255, 63, 1}},
};

START_TEST(the_geometry_follows_from_adapter_and_size)
{
    const BdrvGeometry *wanted = &geometries[_i].wanted;
    BlockDriverState *disk;
    BdrvGeometry found;

    assert_ok(try_create(geometries[_i].size, geometries[_i].options));
    assert_ok(bdrv_open(&disk, path, NULL, NULL));
    assert_ok(bdrv_get_geometry(disk, &found));
    ck_assert_int_eq(found.from_image, 1);
    ck_assert_uint_eq(found.cylinders, wanted->cylinders);
    ck_assert_uint_eq(found.heads, wanted->heads);
    ck_assert_uint_eq(found.sectors, wanted->sectors);
    bdrv_close(disk);
}
END_TEST

/* -------------------------------------------------------------------- COWD */

START_TEST(a_delta_is_a_text_and_an_extent)
{
    char *extent = host_path(directory, "disk-delta.vmdk");
    uint8_t *bytes;
    size_t size;

    assert_ok(try_create(8 * 1024 * 1024, "subformat=vmfsSparse,cid=1"));
    bytes = host_read_file(extent, &size);
    ck_assert_uint_eq(size, 5 * SECTOR);
    ck_assert_mem_eq(bytes, "COWD\1\0\0\0\3\0\0\0\0\x40\0\0\1\0\0\0\4\0\0\0\4\0\0\0\5\0\0\0", 32);
    for (size_t i = 32; i < size; i++) {
        ck_assert_uint_eq(bytes[i], 0);
    }
    free(bytes);
    bytes = host_read_file(path, &size);
    bytes[size - 1] = '\0';
    ck_assert_ptr_nonnull(strstr((char *)bytes, "createType=\"vmfsSparse\"\n"));
    ck_assert_ptr_nonnull(strstr((char *)bytes, "RW 16384 VMFSSPARSE \"disk-delta.vmdk\"\n"));
    free(bytes);
    free(extent);
}
END_TEST

START_TEST(a_delta_that_cannot_be_made_leaves_no_file)
{
    char *extent = host_path(directory, "disk-delta.vmdk");

    ck_assert_int_lt(try_create(INT64_C(3) << 40, "subformat=vmfsSparse"), 0);
    ck_assert(!host_exists(path));
    ck_assert(!host_exists(extent));
    free(extent);
}
END_TEST

START_TEST(a_file_of_its_own_has_a_geometry)
{
    uint8_t header[2048];
    int64_t length;

    assert_ok(try_create(64 * 1024 * 1024, "subformat=cowd,grain_size=4k"));
    read_front(header, sizeof header, &length);
    ck_assert_mem_eq(header, "COWD\1\0\0\0\3\0\0\0\0\0\2\0\x08\0\0\0\4\0\0\0\4\0\0\0\5\0\0\0"
                     "\x82\0\0\0\x10\0\0\0\x3f\0\0\0", 44);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        written_grains_are_where_the_example_has_them,
        sizes_are_rounded_up_to_sectors,
        options_are_found_in_the_descriptor,
        two_images_have_two_cids,
        a_delta_is_a_text_and_an_extent,
        a_delta_that_cannot_be_made_leaves_no_file,
        a_file_of_its_own_has_a_geometry,
        NULL,
    };
    Suite *suite = suite_create("vmdk/create");
    TCase *tc = suite_add_case(suite, "create", tests, 20);

    tcase_add_checked_fixture(tc, make_directory, remove_directory);
    tcase_add_loop_test(tc, tables_are_where_vmware_puts_them, 0,
                        sizeof layouts / sizeof *layouts);
    tcase_add_loop_test(tc, what_is_not_possible_is_refused_and_leaves_no_file, 0,
                        sizeof refused / sizeof *refused);
    tcase_add_loop_test(tc, the_same_cid_gives_the_same_bytes, 0, 2);
    tcase_add_loop_test(tc, the_geometry_follows_from_adapter_and_size, 0,
                        sizeof geometries / sizeof *geometries);
    return suite;
}
