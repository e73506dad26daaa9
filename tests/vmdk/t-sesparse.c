/* SPDX-License-Identifier: MIT */
/*
 * t-sesparse.c - seSparse images, built here byte by byte (nobody but ESXi
 * writes them): fresh and used ones, everything in them that must be refused,
 * and writing where it is safe.  The letters are the rows of the format
 * document, 9.5.
 */
#include <unistd.h>

#include "build.h"
#include "host.h"

enum {
    /* Fields of the constant header, by their number. */
    FIELD_MAGIC = 0,
    FIELD_VERSION = 1,
    FIELD_CAPACITY = 2,
    FIELD_GRAIN = 3,
    FIELD_TABLE = 4,
    FIELD_FLAGS = 5,
    FIELD_PARTS = 10,
    PARTS = 8,
    GRAIN = 4096,
    GTES = 4096,
    CAPACITY = 2 * GTES * 8 - 21, /* two GTs, and a last grain of 3 sectors */
    GD = 4096,
    GTS = 6144,
    GRAINS = 12288,
    PLACES = 64, /* there is room for so many grains in the file */
    FILE_BYTES = (GRAINS + PLACES * 8) * SECTOR
};

static const int64_t disk_bytes = (int64_t)CAPACITY * SECTOR;

/* As the format document's example, 6.1. */
static const uint64_t parts[PARTS][2] = {
    {1, 1}, {2, 2}, {2048, 2048}, {GD, 2048}, {GTS, 2048}, {8192, 2048}, {10240, 2048},
    {GRAINS, CAPACITY},
};

static char *directory;
static char *path;
static uint8_t *image; /* FILE_BYTES: the data file */

static void set_field(int number, uint64_t value)
{
    bdrv_store_le64(image + number * 8, value);
}

static void set_gde(int number, uint64_t value)
{
    bdrv_store_le64(image + (int64_t)GD * SECTOR + number * 8, value);
}

static void set_gte(int table, int number, uint64_t value)
{
    bdrv_store_le64(image + ((int64_t)GTS + table * 64) * SECTOR + number * 8, value);
}

static uint64_t allocated(uint64_t place)
{
    return UINT64_C(3) << 60 | (place & 0xfff) << 48 | place >> 12;
}

static void fill_place(int place, int64_t grain, unsigned generation)
{
    pattern_fill(image + ((int64_t)GRAINS + place * 8) * SECTOR, GRAIN, grain * GRAIN, generation);
}

/* Fresh: there is no GT. */
static void make_image(void)
{
    directory = host_directory_new();
    path = host_path(directory, "disk.vmdk");
    image = calloc(1, FILE_BYTES);
    ck_assert_ptr_nonnull(image);
    set_field(FIELD_MAGIC, 0xcafebabe);
    set_field(FIELD_VERSION, UINT64_C(0x200000001));
    set_field(FIELD_CAPACITY, CAPACITY);
    set_field(FIELD_GRAIN, 8);
    set_field(FIELD_TABLE, 64);
    for (int i = 0; i < PARTS; i++) {
        set_field(FIELD_PARTS + 2 * i, parts[i][0]);
        set_field(FIELD_PARTS + 2 * i + 1, parts[i][1]);
    }
    bdrv_store_le64(image + SECTOR, 0xcafecafe);
}

/* Used: the tables in exchanged places, and an entry of every kind. */
static void use_image(void)
{
    set_gde(0, UINT64_C(0x1000000000000001));
    set_gde(1, UINT64_C(0x1000000000000000));
    set_gte(1, 0, allocated(5));
    set_gte(1, 1, allocated(6)); /* lies behind the one before */
    set_gte(1, 2, allocated(2));
    set_gte(1, 3, UINT64_C(2) << 60);
    set_gte(1, 4, UINT64_C(1) << 60 | 0x1234); /* remembers where it was */
    set_gte(0, GTES - 3, allocated(7));        /* the last grain of the disk */
    fill_place(5, 0, 1);
    fill_place(6, 1, 1);
    fill_place(2, 2, 1);
    fill_place(7, 2 * GTES - 3, 1);
}

static void write_file(const char *name, const void *bytes, int64_t size)
{
    char *file_path = host_path(directory, name);
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = size};
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR};
    BlockDriverState *file;

    assert_ok(bdrv_create(file_path, "raw", &create));
    assert_ok(bdrv_open(&file, file_path, "file", &open));
    assert_ok(bdrv_pwrite(file, bytes, (size_t)size, 0));
    bdrv_close(file);
    free(file_path);
}

static int try_open_disk(unsigned flags, BlockDriverState **disk)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags};
    char text[400];

    snprintf(text, sizeof text, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
             "parentCID=ffffffff\ncreateType=\"seSparse\"\nRW %d SESPARSE \"disk-sesparse.vmdk\"\n",
             CAPACITY);
    write_file("disk.vmdk", text, (int64_t)strlen(text));
    write_file("disk-sesparse.vmdk", image, FILE_BYTES);
    return bdrv_open(disk, path, "vmdk", &options);
}

static BlockDriverState *open_disk(unsigned flags)
{
    BlockDriverState *disk;

    assert_ok(try_open_disk(flags, &disk));
    return disk;
}

static void remove_image(void)
{
    free(image);
    free(path);
    host_directory_remove(directory);
}

/* ------------------------------------------------------------------ reading */

START_TEST(a_fresh_image_reads_as_zeros)
{
    BlockDriverState *disk = open_disk(0);
    BdrvExtent run;

    ck_assert_int_eq(bdrv_getlength(disk), disk_bytes);
    assert_pattern(disk, 0, disk_bytes, PATTERN_ZEROS);
    assert_ok(bdrv_is_allocated(disk, 0, disk_bytes, &run));
    ck_assert_int_eq(run.state, BDRV_UNALLOCATED);
    ck_assert_int_eq(run.bytes, (int64_t)GTES * GRAIN);
    bdrv_close(disk);
}
END_TEST

START_TEST(every_kind_of_entry_is_read)
{
    BlockDriverState *disk;

    use_image();
    disk = open_disk(0);
    assert_pattern(disk, 0, 3 * GRAIN, 1);
    assert_pattern(disk, 3 * GRAIN, (2 * (int64_t)GTES - 6) * GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, (2 * (int64_t)GTES - 3) * GRAIN,
                   disk_bytes - (2 * (int64_t)GTES - 3) * GRAIN, 1);
    bdrv_close(disk);
}
END_TEST

START_TEST(runs_are_as_long_as_they_are)
{
    static const struct {
        int64_t grain;
        BdrvState state;
        int64_t grains;
    } runs[] = {{0, BDRV_DATA, 2}, {2, BDRV_DATA, 1}, {3, BDRV_ZERO, 2},
                {5, BDRV_UNALLOCATED, 507}};
    BlockDriverState *disk;
    BdrvExtent run;

    use_image();
    disk = open_disk(0);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        assert_ok(bdrv_is_allocated(disk, runs[i].grain * GRAIN, 1000 * GRAIN, &run));
        ck_assert_int_eq(run.state, runs[i].state);
        ck_assert_int_ge(run.bytes, runs[i].grains * GRAIN);
        ck_assert(runs[i].state == BDRV_UNALLOCATED || run.bytes == runs[i].grains * GRAIN);
    }
    bdrv_close(disk);
}
END_TEST

/* Bit 12 and above of a place's number stand at the low end: 4097 places. */
START_TEST(the_two_parts_of_a_places_number_are_put_together)
{
    BlockDriverState *disk;
    BdrvExtent run;

    ck_assert(allocated(5) == UINT64_C(0x3005000000000000));
    ck_assert(allocated(4097) == UINT64_C(0x3001000000000001));
    use_image();
    set_gte(1, 0, allocated(4097)); /* behind the file's end */
    disk = open_disk(0);
    assert_fails_saying(bdrv_is_allocated(disk, 0, GRAIN, &run), -EIO, "behind the file's end");
    bdrv_close(disk);
}
END_TEST

/* ----------------------------------------------------------------- refusals */

static const struct {
    int field;
    uint64_t value;
    const char *message;
} refused[] = {
    {FIELD_MAGIC, 0xcafecafe, "no seSparse extent"},
    {FIELD_VERSION, UINT64_C(0x200000002), "version is 0x200000002"},
    {FIELD_CAPACITY, 0, "capacity is 0"},
    {FIELD_CAPACITY, UINT64_C(1) << 60, "capacity is"},
    {FIELD_CAPACITY, UINT64_C(1) << 40, "the grain directory has 2048 sectors"},
    {FIELD_GRAIN, 16, "grainSize is 0x10"},
    {FIELD_TABLE, 32, "grainTableSize is 0x20"},
    {FIELD_FLAGS, 1, "flags is 0x1"},
    {6, 1, "reserved fields"},
    {9, 1, "reserved fields"},
    {26, 1, "reserved fields"},
    {63, 1, "reserved fields"},
    {FIELD_PARTS, 0, "the volatile header"},
    {FIELD_PARTS, 1 << 30, "the volatile header, 1 sectors at sector 1073741824"},
    {FIELD_PARTS + 6, 2048, "the journal at sector 2048 and the grain directory"},
    {FIELD_PARTS + 8, UINT64_MAX, "the grain tables"},
    {FIELD_PARTS + 9, UINT64_MAX, "the grain tables"},
    {FIELD_PARTS + 13, 2060, "the backmap at sector 10240 and the grains"},
    {FIELD_PARTS + 14, 1 << 30, "the grains"},
    {FIELD_PARTS + 15, UINT64_MAX, "the grains"},
    {64 + 0, 0xcafebabe, "volatile header: it begins with"},
    {64 + 3, 1, "replayJournal is 1"}, /* S4 */
    {64 + 4, 1, "volatile header: reserved fields"},
};

START_TEST(S1_S4_a_wrong_header_is_refused_by_field)
{
    BlockDriverState *disk;

    set_field(refused[_i].field, refused[_i].value);
    assert_fails_saying(try_open_disk(0, &disk), -EINVAL, refused[_i].message);
}
END_TEST

/* Places were multiplied beyond 2^63; if that wraps, one before the first is marked as taken,
 * outside of the memory for that. */
START_TEST(more_places_than_a_file_can_have_are_refused)
{
    BlockDriverState *disk;

    use_image();
    set_field(FIELD_PARTS + 15, UINT64_MAX - GRAINS);
    set_gte(1, 0, allocated((UINT64_C(1) << 52) - 1));
    assert_fails_saying(try_open_disk(_i ? BDRV_O_RDWR : 0, &disk), -EINVAL, "the grains");
    set_gte(1, 0, allocated(UINT64_C(1) << 51));
    assert_fails_saying(try_open_disk(_i ? BDRV_O_RDWR : 0, &disk), -EINVAL, "the grains");
}
END_TEST

/* QEMU reads zeros there. */
static const struct {
    const char *row;
    int is_gde;
    uint64_t value;
    const char *message;
} bad_entries[] = {
    {"S2", 1, UINT64_C(0x1000000000000020), "one of 32 grain tables"},
    {"S3", 1, UINT64_C(0x2000000000000000), "directory entry 0 is 0x2000000000000000"},
    {"S3", 1, UINT64_C(0x1000000100000000), "directory entry 0"},
    {"S3", 1, 1, "directory entry 0"},
    {"S3", 0, 1, "of kind 0, all must be 0"},
    {"S3", 0, UINT64_C(0x2000000000000001), "of kind 2, the rest must be 0"},
    {"S3", 0, UINT64_C(0x4000000000000000), "kinds 0 to 3"},
    {"S3", 0, UINT64_MAX, "kinds 0 to 3"},
    {"S2", 0, UINT64_C(0x3000000000001000), "not so many places"},
};

START_TEST(S2_S3_a_wrong_entry_is_an_error_and_no_zeros)
{
    BlockDriverState *disk;
    uint8_t sector[SECTOR];

    use_image();
    if (bad_entries[_i].is_gde) {
        set_gde(0, bad_entries[_i].value);
    } else {
        set_gte(1, 0, bad_entries[_i].value);
    }
    disk = open_disk(0);
    assert_fails_saying(bdrv_pread(disk, sector, sizeof sector, 0), -EIO,
                        bad_entries[_i].message);
    assert_pattern(disk, (2 * (int64_t)GTES - 3) * GRAIN, SECTOR, 1);
    bdrv_close(disk);
}
END_TEST

/* ------------------------------------------------------------------ writing */

START_TEST(what_has_a_place_is_overwritten_there)
{
    BlockDriverState *disk;
    BdrvOpenOptions again = {.struct_size = sizeof again};
    uint8_t descriptor[64] = {0};

    use_image();
    disk = open_disk(BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 512, 2 * GRAIN, 2));
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_open(&disk, path, "vmdk", &again));
    assert_pattern(disk, 0, 512, 1);
    assert_pattern(disk, 512, 2 * GRAIN, 2);
    assert_pattern(disk, 512 + 2 * GRAIN, GRAIN - 512, 1);
    assert_ok(bdrv_pread(bdrv_file(disk), descriptor, sizeof descriptor - 1, 0));
    ck_assert_ptr_null(strstr((char *)descriptor, "CID=12345678")); /* it has changed */
    bdrv_close(disk);
}
END_TEST

START_TEST(what_has_no_place_cannot_be_written)
{
    static const int64_t grains[] = {3, 4, 5, GTES};
    BlockDriverState *disk;

    use_image();
    disk = open_disk(BDRV_O_RDWR);
    assert_fails_saying(pattern_write(disk, grains[_i] * GRAIN, GRAIN, 2), -ENOTSUP,
                        "make a child");
    assert_ok(bdrv_close(disk));
}
END_TEST

/* ----------------------------------------------------------------- creation */

static int try_create(int64_t size, const char *options)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = size, .options = options};

    return bdrv_create(path, "vmdk", &create);
}

START_TEST(creation_wants_to_be_asked_for_expressly)
{
    assert_fails_saying(try_create(100 << 20, "subformat=seSparse"), -ENOTSUP,
                        "sesparse_unverified=on");
    assert_fails_saying(try_create(100 << 20, "sesparse_unverified=on"), -EINVAL,
                        "sesparse_unverified is not possible");
}
END_TEST

/* The sizes of the example of the format document, 6.1, of 204800 sectors. */
START_TEST(a_created_image_is_laid_out_like_those_of_esxi)
{
    static const uint64_t wanted[PARTS][2] = {
        {1, 1}, {2, 2}, {2048, 2048}, {4096, 2048}, {6144, 2048}, {8192, 2048}, {10240, 2048},
        {12288, 204800},
    };
    BdrvOpenOptions options = {.struct_size = sizeof options};
    BlockDriverState *disk, *file;
    uint8_t header[SECTOR];
    char *data = host_path(directory, "disk-sesparse.vmdk");

    assert_ok(try_create((int64_t)204800 * SECTOR, "subformat=seSparse,sesparse_unverified=on"));
    assert_ok(bdrv_open(&file, data, "file", NULL));
    assert_ok(bdrv_pread(file, header, sizeof header, 0));
    for (int i = 0; i < 2 * PARTS; i++) {
        ck_assert_uint_eq(bdrv_load_le64(header + (FIELD_PARTS + i) * 8), wanted[i / 2][i % 2]);
    }
    ck_assert_int_eq(bdrv_getlength(file), (int64_t)(12288 + 204800) * SECTOR);
    bdrv_close(file);
    assert_ok(bdrv_open(&disk, path, "vmdk", &options));
    ck_assert_int_eq(bdrv_getlength(disk), (int64_t)204800 * SECTOR);
    assert_pattern(disk, 0, 100 << 20, PATTERN_ZEROS);
    bdrv_close(disk);
    free(data);
}
END_TEST

/* An open for writing walked the directory of any size that the header claimed, in a file
 * that is nearly all hole. */
START_TEST(of_an_absurd_size_it_is_only_read)
{
    const int64_t tables = _i ? (INT64_C(1) << 18) + 1 : (INT64_C(1) << 22) + 1;
    const int64_t capacity = tables * GTES * 8, gd_sectors = bdrv_round_up(tables * 8, SECTOR) / SECTOR;
    const int64_t gd = 12288, grains = gd + bdrv_round_up(gd_sectors, 2048);
    BdrvOpenOptions options = {.struct_size = sizeof options};
    char text[400], *file = host_path(directory, "disk-sesparse.vmdk");
    uint8_t gde[8];
    BlockDriverState *disk;

    set_field(FIELD_CAPACITY, (uint64_t)capacity);
    set_field(FIELD_PARTS + 2 * 3, (uint64_t)gd);
    set_field(FIELD_PARTS + 2 * 3 + 1, (uint64_t)(grains - gd));
    set_field(FIELD_PARTS + 2 * 7, (uint64_t)grains);
    set_field(FIELD_PARTS + 2 * 7 + 1, (uint64_t)capacity);
    snprintf(text, sizeof text, "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
             "createType=\"seSparse\"\nRW %" PRId64 " SESPARSE \"disk-sesparse.vmdk\"\n", capacity);
    write_file("disk.vmdk", text, (int64_t)strlen(text));
    write_file("disk-sesparse.vmdk", image, (int64_t)GRAINS * SECTOR);
    ck_assert_int_eq(truncate(file, (grains + 8) * SECTOR), 0);
    bdrv_store_le64(gde, UINT64_C(1) << 60);
    assert_ok(bdrv_open(&disk, file, "raw", &(BdrvOpenOptions){.struct_size = sizeof options,
                                                              .flags = BDRV_O_RDWR}));
    for (int64_t i = 0; _i && i < tables; i++) { /* all of them on one, of which all is 0 */
        assert_ok(bdrv_pwrite(disk, gde, sizeof gde, gd * SECTOR + i * 8));
    }
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_open(&disk, path, "vmdk", &options));
    assert_ok(bdrv_close(disk));
    options.flags = BDRV_O_RDWR;
    assert_fails_saying(bdrv_open(&disk, path, "vmdk", &options), -EROFS,
                        _i ? "so many tables are in use" : "the disk is so large");
    free(file);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("vmdk-sesparse");
    const TTest *const tests[] = {
        a_fresh_image_reads_as_zeros, every_kind_of_entry_is_read, runs_are_as_long_as_they_are,
        the_two_parts_of_a_places_number_are_put_together, what_has_a_place_is_overwritten_there,
        creation_wants_to_be_asked_for_expressly, a_created_image_is_laid_out_like_those_of_esxi,
        NULL};
    TCase *tcase = suite_add_case(suite, "sesparse", tests, 60);

    tcase_add_checked_fixture(tcase, make_image, remove_image);
    tcase_add_loop_test(tcase, S1_S4_a_wrong_header_is_refused_by_field, 0,
                        sizeof refused / sizeof *refused);
    tcase_add_loop_test(tcase, more_places_than_a_file_can_have_are_refused, 0, 2);
    tcase_add_loop_test(tcase, S2_S3_a_wrong_entry_is_an_error_and_no_zeros, 0,
                        sizeof bad_entries / sizeof *bad_entries);
    tcase_add_loop_test(tcase, what_has_no_place_cannot_be_written, 0, 4);
    tcase_add_loop_test(tcase, of_an_absurd_size_it_is_only_read, 0, 2);
    return suite;
}
