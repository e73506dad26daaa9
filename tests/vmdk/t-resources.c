/* SPDX-License-Identifier: MIT */
/*
 * t-resources.c - what the worst images cost: files of a few KiB on the host,
 * made to be slow or large.  Nothing that looks at one, reads of it, checks it, writes
 * one sector to it, repairs it or makes it shorter may take a gigabyte of memory, or of the
 * host's storage, or a minute of processor time; the limits of memory and time are set on
 * the process, so that it would die.  The same for the longest texts.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "host.h"

enum {
    MIB = 1024 * 1024,
    MEMORY_MAX = 1000, /* MiB, with the program's own */
    SECONDS_MAX = 60,
    HEAD = 64 * 1024 /* of a file: all that is not zeros */
};

static char *directory;

static void setup(void)
{
    directory = host_directory_new();
}

static void teardown(void)
{
    host_directory_remove(directory);
}

/* Not 0: the limits hold for this process.  Sanitizers reserve terabytes. */
static int limit_process(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    const char *fork = getenv("CK_FORK");
    const struct rlimit memory = { (rlim_t)MEMORY_MAX * MIB, (rlim_t)MEMORY_MAX * MIB };
    const struct rlimit time = { SECONDS_MAX, SECONDS_MAX };

    if ((fork != NULL && strcmp(fork, "no") == 0) || getenv("RUNNER") != NULL) {
        return 0; /* other tests, or valgrind, are in it */
    }
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &memory), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_CPU, &time), 0);
    return 1;
#endif
}

/* ------------------------------------------------------------------ the images */

typedef struct Worst {
    const char *name;
    int64_t (*make)(uint8_t *head); /* fills HEAD bytes; the length of the file */
} Worst;

static void put_header(uint8_t *head, uint64_t capacity, uint64_t grain, uint32_t gtes)
{
    memcpy(head, "KDMV", 4);
    bdrv_store_le32(head + AT_VERSION, 1);
    bdrv_store_le32(head + AT_FLAGS, 3);
    bdrv_store_le64(head + AT_CAPACITY, capacity);
    bdrv_store_le64(head + AT_GRAIN, grain);
    bdrv_store_le64(head + AT_DESCRIPTOR, 1);
    bdrv_store_le64(head + AT_DESCRIPTOR_SIZE, 20);
    bdrv_store_le32(head + AT_GTES, gtes);
    memcpy(head + AT_NEWLINES, "\n \r\n", 4);
    snprintf((char *)head + SECTOR, 20 * SECTOR, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
             "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW %" PRIu64
             " SPARSE \"x.vmdk\"\n", capacity);
}

/* As many tables as the driver accepts (an eighth of them in a short run), and none is
 * there. */
static int64_t most_tables(uint8_t *head)
{
    const int64_t tables = INT64_C(1) << (suite_is_large() ? 26 : 23), gd = tables * 4 / SECTOR;

    put_header(head, (uint64_t)tables * 512 * 128, 128, 512);
    bdrv_store_le64(head + AT_RGD, 21);
    bdrv_store_le64(head + AT_GD, (uint64_t)(21 + gd));
    bdrv_store_le64(head + AT_OVERHEAD, (uint64_t)bdrv_round_up(21 + 2 * gd, 128));
    return bdrv_round_up(21 + 2 * gd, 128) * SECTOR;
}

/* The longest tables, none of which is there: the fewest bytes for the most entries. */
static int64_t longest_tables(uint8_t *head)
{
    const int64_t tables = INT64_C(1) << 23, gd = tables * 4 / SECTOR;

    put_header(head, (uint64_t)tables * 65536, 1, 65536);
    bdrv_store_le32(head + AT_FLAGS, 1);
    bdrv_store_le64(head + AT_GD, 21);
    bdrv_store_le64(head + AT_OVERHEAD, (uint64_t)(21 + gd));
    return (21 + gd) * SECTOR;
}

/* Without redundant tables, the smallest grains, and one grain at the far end. */
static int64_t far_grain(uint8_t *head)
{
    put_header(head, UINT64_C(1) << 22, 8, 512);
    bdrv_store_le32(head + AT_FLAGS, 1);
    bdrv_store_le64(head + AT_GD, 21);
    bdrv_store_le64(head + AT_OVERHEAD, 128);
    bdrv_store_le32(head + 21 * SECTOR, 60);
    bdrv_store_le32(head + 60 * SECTOR, 0xfffffff1); /* at no multiple of a grain */
    return INT64_C(1) << 42;
}

/* All the disk that a header can claim, in a file that cannot have its tables. */
static int64_t endless(uint8_t *head)
{
    put_header(head, (UINT64_C(1) << 53) - 1, 65536, 65536);
    bdrv_store_le64(head + AT_RGD, 21);
    bdrv_store_le64(head + AT_GD, 22);
    bdrv_store_le64(head + AT_OVERHEAD, 128);
    return HEAD;
}

/* Grains of 32 MiB, and tables of 65536 of them that are one and the same. */
static int64_t same_tables(uint8_t *head)
{
    put_header(head, UINT64_C(100) * 65536 * 65536, 65536, 65536);
    bdrv_store_le32(head + AT_FLAGS, 1);
    bdrv_store_le64(head + AT_GD, 21);
    bdrv_store_le64(head + AT_OVERHEAD, 1024);
    for (int i = 0; i < 100; i++) {
        bdrv_store_le32(head + 21 * SECTOR + 4 * i, 512);
    }
    return INT64_C(1) << 30;
}

/* A descriptor of which each line is an extent. */
static int64_t most_lines(uint8_t *head)
{
    size_t used = (size_t)snprintf((char *)head, HEAD, "# Disk DescriptorFile\nversion=1\n"
                                   "CID=12345678\nparentCID=ffffffff\ncreateType=\"custom\"\n");

    while (used < HEAD - 16) {
        used += (size_t)snprintf((char *)head + used, HEAD - used, "RW 1 ZERO\n");
    }
    return (int64_t)used;
}

/* The most that a descriptor can say of a size. */
static int64_t huge_zero(uint8_t *head)
{
    return snprintf((char *)head, HEAD, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
                    "parentCID=ffffffff\ncreateType=\"custom\"\nRW 9007199254740991 ZERO\n");
}

/* Its own parent, by another name each time. */
static int64_t own_parent(uint8_t *head)
{
    return snprintf((char *)head, HEAD, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
                    "parentCID=12345678\nparentFileNameHint=\"./disk.vmdk\"\n"
                    "createType=\"custom\"\nRW 100 ZERO\n");
}

static int64_t cowd(uint8_t *head)
{
    const uint32_t tables = 1 << 20;

    memcpy(head, "COWD", 4);
    bdrv_store_le32(head + 4, 1);
    bdrv_store_le32(head + 8, 3);
    bdrv_store_le32(head + 12, UINT32_MAX);
    bdrv_store_le32(head + 16, 1);
    bdrv_store_le32(head + 20, 4);
    bdrv_store_le32(head + 24, tables);
    bdrv_store_le32(head + 28, 4 + tables * 4 / SECTOR);
    bdrv_store_le32(head + 32, 16383);
    bdrv_store_le32(head + 36, 16);
    bdrv_store_le32(head + 40, 63);
    return (INT64_C(4) + tables * 4 / SECTOR) * SECTOR;
}

/* A stream of hundreds of TiB, of whose
 * tables none is there. */
static void put_stream(uint8_t *head, int64_t tables, uint64_t gd)
{
    put_header(head, (uint64_t)tables * 512 * 128, 128, 512);
    bdrv_store_le32(head + AT_VERSION, 3);
    bdrv_store_le32(head + AT_FLAGS, 0x30001);
    bdrv_store_le64(head + AT_GD, gd);
    bdrv_store_le64(head + AT_OVERHEAD, 128);
    bdrv_store_le16(head + AT_COMPRESSION, 1);
    memcpy(strstr((char *)head + SECTOR, "monolithicSparse"), "streamOptimized\"", 16);
    memmove(strstr((char *)head + SECTOR, "\"\""), "\"\n", 2);
}

static int64_t most_tables_of_a_stream(uint8_t *head)
{
    const int64_t tables = INT64_C(1) << (suite_is_large() ? 26 : 23);

    put_stream(head, tables, 128);
    return (128 + tables * 4 / SECTOR + 1) * SECTOR;
}

static int64_t stream_without_an_end(uint8_t *head)
{
    put_stream(head, INT64_C(1) << 24, UINT64_MAX);
    return HEAD;
}

static int64_t long_stream_without_an_end(uint8_t *head)
{
    put_stream(head, INT64_C(1) << 22, UINT64_MAX);
    return HEAD;
}

/* Every directory entry is of one table, whose entries lead to no grain. */
static int64_t same_tables_of_a_stream(uint8_t *head)
{
    enum { GD = 21, GT = 64, TABLES = (GT - GD) * SECTOR / 4, GTES = HEAD / 8 };

    put_stream(head, TABLES * GTES / 512, GD);
    bdrv_store_le32(head + AT_GTES, GTES);
    for (int i = 0; i < TABLES; i++) {
        bdrv_store_le32(head + GD * SECTOR + 4 * i, GT);
    }
    for (int i = 0; i < GTES; i++) {
        bdrv_store_le32(head + GT * SECTOR + 4 * i, 2);
    }
    return HEAD;
}

/* The same, where grains do not say where they belong. */
static int64_t same_tables_without_markers(uint8_t *head)
{
    const int64_t size = same_tables_of_a_stream(head);

    bdrv_store_le32(head + AT_FLAGS, 0x10001);
    return size;
}

/* All entries are of the same grain, in tables each of which is the same. */
static int64_t same_grains(uint8_t *head)
{
    put_header(head, UINT64_C(1) << 24, 128, 4096);
    bdrv_store_le32(head + AT_FLAGS, 1);
    bdrv_store_le64(head + AT_GD, 21);
    bdrv_store_le64(head + AT_OVERHEAD, 64);
    for (int i = 0; i < 32; i++) {
        bdrv_store_le32(head + 21 * SECTOR + 4 * i, 22);
    }
    for (int i = 0; i < 4096; i++) {
        bdrv_store_le32(head + 22 * SECTOR + 4 * i, 128);
    }
    return 2 * HEAD;
}

/* The same, where the primary entries are impossible and only the other set has them. */
static int64_t same_grains_in_the_copy(uint8_t *head)
{
    put_header(head, UINT64_C(1) << 19, 128, 4096);
    bdrv_store_le64(head + AT_RGD, 21);
    bdrv_store_le64(head + AT_GD, 54);
    bdrv_store_le64(head + AT_OVERHEAD, 128);
    bdrv_store_le32(head + 21 * SECTOR, 22);
    bdrv_store_le32(head + 54 * SECTOR, 55);
    for (int i = 0; i < 4096; i++) {
        bdrv_store_le32(head + 22 * SECTOR + 4 * i, 128);
        bdrv_store_le32(head + 55 * SECTOR + 4 * i, 3);
    }
    return 2 * HEAD;
}

/* COWD: every directory entry is of one table, whose entries are of one grain. */
static int64_t same_cowd_tables(uint8_t *head)
{
    const int64_t size = cowd(head);

    for (int64_t at = 4 * SECTOR; at < HEAD; at += 4) {
        bdrv_store_le32(head + at, (uint32_t)(size / SECTOR));
    }
    return size + 40 * SECTOR;
}

static const Worst worst[] = {
    { "most tables", most_tables }, { "longest tables", longest_tables }, { "far grain", far_grain },     { "endless", endless },
    { "same tables", same_tables }, { "most lines", most_lines },   { "huge zero", huge_zero },
    { "own parent", own_parent },   { "COWD", cowd },
    { "most tables of a stream", most_tables_of_a_stream },
    { "stream without an end", stream_without_an_end },
    { "long stream without an end", long_stream_without_an_end },
    { "same tables of a stream", same_tables_of_a_stream },
    { "same tables without markers", same_tables_without_markers },
    { "same grains", same_grains },
    { "same grains in the copy", same_grains_in_the_copy },
    { "same COWD tables", same_cowd_tables },
};

static char *make_file(const Worst *image)
{
    char *path = host_path(directory, "disk.vmdk");
    uint8_t *head = calloc(1, HEAD);
    int64_t length;
    struct stat status;

    ck_assert_ptr_nonnull(head);
    length = image->make(head);
    host_write_file(path, head, (size_t)bdrv_min(length, HEAD));
    ck_assert_int_eq(truncate(path, length), 0);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_le(status.st_blocks * 512, 2 * HEAD);
    free(head);
    return path;
}

/* ------------------------------------------------------------- what is done */

static void ignore_detail(void *opaque, const BdrvDetail *detail)
{
    (void)opaque, (void)detail;
}

static int open_file(const char *path, unsigned flags, BlockDriverState **disk)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };

    return bdrv_open(disk, path, "vmdk", &options);
}

static void look_and_read(BlockDriverState *disk)
{
    static uint8_t buf[MIB];
    const int64_t length = bdrv_getlength(disk);
    BdrvInfo info = { .struct_size = sizeof(info) };

    bdrv_get_info(disk, &info);
    bdrv_get_details(disk, ignore_detail, NULL);
    for (int i = 0; i < 8; i++) {
        bdrv_pread(disk, buf, sizeof(buf), length / 8 * i);
    }
}

/* From one end to the other, as img-map does. */
static void walk(BlockDriverState *disk)
{
    const int64_t length = bdrv_getlength(disk);
    BdrvExtent run;

    for (int64_t at = 0; at < length; at += run.bytes) {
        if (bdrv_map(disk, at, length - at, &run) < 0) {
            run.bytes = bdrv_min(length - at, INT64_C(1) << 40);
        }
    }
}

/* The bytes that the host has of it. */
static int64_t stored(const char *path)
{
    struct stat status;

    ck_assert_int_eq(stat(path, &status), 0);
    return (int64_t)status.st_blocks * 512;
}

static void check(const char *path, unsigned flags)
{
    BdrvCheckOptions options = { .struct_size = sizeof(options), .flags = flags };
    BdrvCheckResult result = { .struct_size = sizeof(result) };
    BlockDriverState *disk;

    if (open_file(path, BDRV_O_CHECK | (flags ? BDRV_O_RDWR : 0), &disk) == 0) {
        bdrv_check(disk, &options, &result);
        bdrv_close(disk);
    }
}

static void write_a_sector(const char *path)
{
    static const uint8_t sector[SECTOR] = { 1 };
    BlockDriverState *disk;

    if (open_file(path, BDRV_O_RDWR, &disk) == 0) {
        bdrv_pwrite(disk, sector, sizeof(sector), 0);
        bdrv_flush(disk);
        bdrv_close(disk);
    }
}

static void shorten(const char *path)
{
    BlockDriverState *disk;

    if (open_file(path, BDRV_O_RDWR, &disk) == 0) {
        bdrv_truncate(disk, SECTOR);
        bdrv_close(disk);
    }
}

/* RESOURCES=1 in the environment shows it. */
static void say_cost(const char *name)
{
    struct rusage usage;

    if (getenv("RESOURCES") != NULL && getrusage(RUSAGE_SELF, &usage) == 0) {
        printf("%s: %ld.%02ld s, %ld MiB\n", name,
               (long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec),
               (long)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 10000,
               usage.ru_maxrss / 1024);
        fflush(stdout);
    }
}

START_TEST(a_file_of_a_few_kib_costs_no_gigabyte_and_no_minute)
{
    char *path = make_file(&worst[_i]);
    BlockDriverState *disk;

    if (!limit_process()) {
        suite_skipped("limits of the process cannot be set under a sanitizer or without fork");
    }
    if (open_file(path, 0, &disk) == 0) {
        look_and_read(disk);
        walk(disk);
        bdrv_close(disk);
    }
    check(path, 0);
    write_a_sector(path);
    check(path, BDRV_CHECK_REPAIR_ALL);
    ck_assert_int_le(stored(path), INT64_C(300) * MIB);
    check(path, BDRV_CHECK_REPAIR_ALL);
    ck_assert_int_le(stored(path), INT64_C(300) * MIB);
    shorten(path);
    say_cost(worst[_i].name);
    free(path);
}
END_TEST

/* As many extents as there can be, by turns in two files: each was compared with each. */
START_TEST(the_extents_of_two_files_are_told_apart_in_time)
{
    char *path = host_path(directory, "disk.vmdk"), *one = host_path(directory, "one");
    char *other = host_path(directory, "other");
    FILE *text = fopen(path, "w");
    BlockDriverState *disk;

    ck_assert_ptr_nonnull(text);
    fprintf(text, "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
            "createType=\"custom\"\n");
    for (int i = 0; i < 65536; i++) {
        fprintf(text, "RW 1 FLAT \"%s\" %d\n", i % 2 ? "one" : "other", i);
    }
    ck_assert_int_eq(fclose(text), 0);
    host_write_file(one, "", 0);
    host_write_file(other, "", 0);
    ck_assert_int_eq(truncate(one, 65536 * SECTOR), 0);
    ck_assert_int_eq(truncate(other, 65536 * SECTOR), 0);
    if (!limit_process()) {
        suite_skipped("limits of the process cannot be set under a sanitizer or without fork");
    }
    assert_ok(open_file(path, 0, &disk));
    bdrv_close(disk);
    free(path);
    free(one);
    free(other);
}
END_TEST

/* ------------------------------------------------------------------- long texts */

typedef struct LongText {
    const char *name;
    const char *line; /* printed with numbers of the line */
    int lines;
    int extents; /* not 0: the lines are these */
} LongText;

/* As long as texts may be, or of as many extents. */
static const LongText long_texts[] = {
    { "change tracking", "changeTrackPath=\n", 8 * MIB / 17 - 20, 0 },
    { "CIDs", "CID=12345678\n", 8 * MIB / 13 - 20, 0 },
    { "two files", "RW 1 FLAT \"%2$c.img\" %1$d%3$60s\n", 65536, 1 },
};

static char *make_text(const LongText *text)
{
    char *path = host_path(directory, "disk.vmdk"), *a = host_path(directory, "a.img");
    char *b = host_path(directory, "b.img");
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fprintf(file, "version=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"custom\"\n%s",
            text->extents ? "" : "RW 1 FLAT \"a.img\" 0\n");
    for (int i = 0; i < text->lines; i++) {
        fprintf(file, text->line, i, "ab"[i % 2], "");
    }
    ck_assert_int_eq(fclose(file), 0);
    host_write_file(a, "", 0);
    host_write_file(b, "", 0);
    ck_assert_int_eq(truncate(a, 65536 * SECTOR), 0);
    ck_assert_int_eq(truncate(b, 65536 * SECTOR), 0);
    free(a);
    free(b);
    return path;
}

/* Each change of a line copied all of them. */
START_TEST(a_text_of_some_mib_costs_no_minute)
{
    char *path;
    BlockDriverState *disk;

    if (!limit_process()) { /* each line is moved once, which AddressSanitizer makes minutes of */
        suite_skipped("limits of the process cannot be set under a sanitizer or without fork");
        return;
    }
    path = make_text(&long_texts[_i]);
    ck_assert_int_eq(open_file(path, 0, &disk), 0);
    look_and_read(disk);
    bdrv_close(disk);
    write_a_sector(path);
    check(path, BDRV_CHECK_REPAIR_ALL);
    ck_assert_int_eq(open_file(path, BDRV_O_RDWR, &disk), 0);
    bdrv_truncate(disk, SECTOR);
    bdrv_close(disk);
    say_cost(long_texts[_i].name);
    free(path);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("vmdk/resources");
    TCase *tcase = tcase_create("worst"), *texts = tcase_create("texts");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, a_file_of_a_few_kib_costs_no_gigabyte_and_no_minute, 0,
                        sizeof(worst) / sizeof(worst[0]));
    tcase_add_test(tcase, the_extents_of_two_files_are_told_apart_in_time);
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(texts, setup, teardown);
    tcase_set_timeout(texts, 600);
    tcase_add_loop_test(texts, a_text_of_some_mib_costs_no_minute, 0,
                        sizeof(long_texts) / sizeof(long_texts[0]));
    suite_add_tcase(suite, texts);
    return suite;
}
