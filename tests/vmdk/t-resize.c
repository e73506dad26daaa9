/* SPDX-License-Identifier: MIT */
/*
 * t-resize.c - disks of every kind made longer and shorter: the content, what is
 * recorded, and the files.  What is left when the power goes in between is in
 * t-resize-powercut.c.
 */
#include "changes.h"
#include "resizable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum {
    MIB = 1024 * 1024,
    DISK = 4 * MIB + 3 * 512
};

static void resize(const char *name, int64_t length)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_RDWR);

    assert_ok(bdrv_truncate(disk, length));
    ck_assert_int_eq(bdrv_getlength(disk), length);
    assert_ok(bdrv_close(disk));
}

START_TEST(every_kind_grows_and_reads_zeros_there)
{
    static const int64_t lengths[] = {DISK + 512, 5 * MIB, 9 * MIB + 512, 70 * MIB};
    BlockDriverState *disk;
    int64_t length = DISK;

    create_disk("a.vmdk", NULL, kinds[_i], DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_ok(bdrv_truncate(disk, lengths[i]));
        ck_assert_int_eq(bdrv_getlength(disk), lengths[i]);
        assert_pattern(disk, length, lengths[i] - length, PATTERN_ZEROS);
        assert_ok(pattern_write(disk, length, lengths[i] - length, 1));
        length = lengths[i];
    }
    assert_pattern(disk, 0, length, 1);
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", 0);
    disk = open_disk("a.vmdk", 0);
    ck_assert_int_eq(bdrv_getlength(disk), length);
    assert_pattern(disk, 0, length, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* Tables of copy-on-write files lie among the grains, so a cut may leave holes. */
static int may_leak(const char *kind)
{
    return strstr(kind, "cowd") != NULL || strstr(kind, "vmfsSparse") != NULL;
}

/* A disk that shrinks inside a grain must not show the rest of it when it grows. */
START_TEST(what_was_cut_off_does_not_come_back)
{
    static const int64_t lengths[] = {3 * MIB + 512, 70000 - 70000 % 512, 512};
    BlockDriverState *disk;

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        create_disk("a.vmdk", NULL, kinds[_i], DISK);
        disk = open_disk("a.vmdk", BDRV_O_RDWR);
        assert_ok(pattern_write(disk, 0, DISK, 1));
        assert_ok(bdrv_truncate(disk, lengths[i]));
        assert_pattern(disk, 0, lengths[i], 1);
        if (i == 1) {
            assert_ok(bdrv_close(disk));
            assert_sound("a.vmdk", may_leak(kinds[_i]));
            disk = open_disk("a.vmdk", BDRV_O_RDWR);
        }
        assert_ok(bdrv_truncate(disk, DISK));
        assert_pattern(disk, 0, lengths[i], 1);
        assert_pattern(disk, lengths[i], DISK - lengths[i], PATTERN_ZEROS);
        assert_ok(bdrv_close(disk));
        assert_sound("a.vmdk", may_leak(kinds[_i]));
    }
}
END_TEST

/* All tables of the new layout were written out, twice: of a disk of a few KiB that claims to be
 * large, gigabytes. */
START_TEST(empty_tables_stay_holes)
{
    const int64_t old = INT64_C(500) << 30, new = INT64_C(900) << 30, offset = INT64_C(300) << 30;
    char *path = host_path(directory, "a.vmdk");
    BlockDriverState *disk;
    struct stat st;

    create_disk("a.vmdk", NULL, "grain_size=8k", old);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, offset, MIB, 1));
    assert_ok(bdrv_truncate(disk, new));
    assert_ok(pattern_write(disk, new - MIB, MIB, 2));
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_gt(st.st_size, 800 * MIB);
    ck_assert_int_lt(st.st_blocks, 64 * MIB / 512);
    assert_sound("a.vmdk", 0);
    disk = open_disk("a.vmdk", 0);
    assert_pattern(disk, offset - MIB, MIB, PATTERN_ZEROS);
    assert_pattern(disk, offset, MIB, 1);
    assert_pattern(disk, new - MIB, MIB, 2);
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

START_TEST(the_files_become_shorter_too)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_truncate(disk, MIB));
    assert_ok(bdrv_close(disk));
    ck_assert_int_lt(file_size("a.vmdk"), MIB + MIB / 2);
}
END_TEST

/* A disk of a grain of 1 MiB and a sector, as VMware would not lay it out: grains at no
 * multiple of their size, and the file ends with the sector. */
static void build_partial_grain_at_the_end(void)
{
    const int64_t grain = MIB, size = grain + SECTOR;
    char *path = host_path(directory, "a.vmdk");
    size_t was;
    uint8_t *bytes;
    int64_t first;

    create_disk("a.vmdk", NULL, "grain_size=1M", size);
    bytes = host_read_file(path, &was);
    first = (int64_t)bdrv_load_le64(bytes + AT_OVERHEAD) * SECTOR + SECTOR;
    bytes = realloc(bytes, (size_t)(first + size));
    ck_assert_ptr_nonnull(bytes);
    memset(bytes + first - SECTOR, 0, SECTOR);
    pattern_fill(bytes + first, (size_t)size, 0, 1);
    for (int at = AT_RGD; at <= AT_GD; at += AT_GD - AT_RGD) {
        const size_t gd = (size_t)bdrv_load_le64(bytes + at) * SECTOR;
        uint8_t *gt = bytes + (size_t)bdrv_load_le32(bytes + gd) * SECTOR;

        bdrv_store_le32(gt, (uint32_t)(first / SECTOR));
        bdrv_store_le32(gt + 4, (uint32_t)((first + grain) / SECTOR));
    }
    host_write_file(path, bytes, (size_t)(first + size));
    free(bytes);
    free(path);
}

/* Where the whole of the last grain will be was marked in bits for what the file has:
 * behind their end. */
START_TEST(a_partial_grain_at_the_end_of_the_file_can_grow)
{
    const int64_t size = MIB + SECTOR;
    BlockDriverState *disk;

    build_partial_grain_at_the_end();
    assert_sound("a.vmdk", 0);
    resize("a.vmdk", size + 4 * MIB);
    disk = open_disk("a.vmdk", 0);
    assert_pattern(disk, 0, size, 1);
    assert_pattern(disk, size, 4 * MIB, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(tables_stay_where_vmware_computes_them)
{
    char *path = host_path(directory, "a.vmdk");
    int64_t tables, gd_sectors;
    uint8_t *bytes;
    size_t size;

    create_disk("a.vmdk", NULL, "grain_size=8k,gtes_per_table=128", DISK);
    resize("a.vmdk", 64 * MIB);
    resize("a.vmdk", 600 * MIB + 512);
    bytes = host_read_file(path, &size);
    tables = bdrv_div_up(600 * MIB + 512, 8192 * 128);
    gd_sectors = bdrv_div_up(tables * 4, SECTOR);
    ck_assert_uint_eq(bdrv_load_le64(bytes + AT_RGD), 21);
    ck_assert_uint_eq(bdrv_load_le64(bytes + AT_GD), (uint64_t)(21 + gd_sectors + tables));
    ck_assert_uint_eq(bytes[AT_UNCLEAN], 0);
    for (int64_t i = 0; i < tables; i++) {
        ck_assert_uint_eq(bdrv_load_le32(bytes + 21 * SECTOR + i * 4),
                          (uint32_t)(21 + gd_sectors + i));
    }
    ck_assert_int_eq((int64_t)size,
                     bdrv_round_up(21 + 2 * (gd_sectors + tables), 16) * SECTOR);
    free(bytes);
    free(path);
}
END_TEST

START_TEST(line_geometry_and_other_lines_are_right)
{
    create_disk("a.vmdk", NULL, "adapter_type=lsilogic", 8 * INT64_C(1024) * MIB);
    assert_text_has("a.vmdk", "ddb.geometry.cylinders = \"1044\"");
    resize("a.vmdk", 16 * INT64_C(1024) * MIB);
    assert_text_has("a.vmdk", "RW 33554432 SPARSE \"a.vmdk\"\n");
    assert_text_has("a.vmdk", "ddb.geometry.cylinders = \"2088\"");
    assert_text_has("a.vmdk", "ddb.geometry.heads = \"255\"");
}
END_TEST

START_TEST(a_split_disk_gets_and_loses_files)
{
    create_disk("a.vmdk", NULL, "subformat=twoGbMaxExtentSparse,extent_size=1M", 2 * MIB);
    ck_assert(!file_exists("a-s003.vmdk"));
    resize("a.vmdk", 4 * MIB + 512);
    ck_assert(file_exists("a-s005.vmdk"));
    assert_text_has("a.vmdk", "RW 2048 SPARSE \"a-s004.vmdk\"\nRW 1 SPARSE \"a-s005.vmdk\"\n");
    resize("a.vmdk", MIB + 512);
    ck_assert(file_exists("a-s002.vmdk"));
    ck_assert(!file_exists("a-s003.vmdk"));
    assert_text_has("a.vmdk", "RW 1 SPARSE \"a-s002.vmdk\"\n");
    assert_text_lacks("a.vmdk", "s003");
}
END_TEST

/* A file of the name of the next extent is somebody else's. */
START_TEST(an_existing_file_is_not_taken_for_a_new_extent)
{
    char *path = host_path(directory, "a-s003.vmdk");
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, "subformat=twoGbMaxExtentSparse,extent_size=1M", 2 * MIB);
    host_write_file(path, "precious", 8);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 2 * MIB, 1));
    assert_ok(bdrv_truncate(disk, 3 * MIB));
    assert_ok(pattern_write(disk, 2 * MIB, MIB, 2));
    assert_pattern(disk, 0, 2 * MIB, 1);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(file_size("a-s003.vmdk"), 8);
    assert_text_has("a.vmdk", "RW 2048 SPARSE \"a-s004.vmdk\"");
    assert_sound("a.vmdk", 0);
    free(path);
}
END_TEST

/* When the second new file cannot be made the first one goes again. */
START_TEST(a_failed_growth_leaves_no_files)
{
    char *path = host_path(directory, "a-f004.vmdk");
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, "subformat=twoGbMaxExtentFlat,extent_size=1M", 2 * MIB);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_fails(bdrv_truncate(disk, 4 * MIB), -EISDIR);
    ck_assert_int_eq(bdrv_getlength(disk), 2 * MIB);
    assert_ok(pattern_write(disk, 0, 2 * MIB, 1));
    assert_pattern(disk, 0, 2 * MIB, 1);
    assert_ok(bdrv_close(disk));
    ck_assert(!file_exists("a-f003.vmdk"));
    free(path);
}
END_TEST

START_TEST(a_link_with_a_parent_is_refused)
{
    BlockDriverState *disk;

    create_disk("base.vmdk", NULL, NULL, DISK);
    create_disk("child.vmdk", "base.vmdk", NULL, 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR);
    assert_fails_saying(bdrv_truncate(disk, 2 * DISK), -ENOTSUP, "has a parent");
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING);
    assert_fails(bdrv_truncate(disk, 2 * DISK), -ENOTSUP);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(lengths_that_no_disk_has_are_refused)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_fails(bdrv_truncate(disk, 0), -EINVAL);
    assert_fails(bdrv_truncate(disk, INT64_MAX), -EINVAL);
    assert_fails(bdrv_truncate(disk, INT64_C(1) << 60), -EFBIG);
    ck_assert_int_eq(bdrv_getlength(disk), DISK);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", 0);
}
END_TEST

START_TEST(an_odd_length_is_rounded_up_to_a_sector)
{
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, NULL, DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_truncate(disk, DISK + 1));
    ck_assert_int_eq(bdrv_getlength(disk), DISK + 512);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* ------------------------------------------------------------------- a model */

enum {
    STEPS = 250,
    MODEL = 8 * MIB
};

static int64_t random_sector(uint32_t *seed, int64_t end)
{
    return suite_random(seed) % (end / 512) * 512;
}

static void model_step(BlockDriverState **disk, uint8_t *model, int64_t *length, uint32_t *seed)
{
    const int64_t offset = random_sector(seed, *length);
    int64_t bytes = bdrv_min(1 + suite_random(seed) % 300000, *length - offset);

    switch (suite_random(seed) % 10) {
    case 0:
        bytes = 512 + random_sector(seed, MODEL - 512);
        assert_ok(bdrv_truncate(*disk, bytes));
        if (bytes < *length) {
            memset(model + bytes, 0, (size_t)(*length - bytes));
        }
        *length = bytes;
        break;
    case 1:
    case 2:
        assert_ok(bdrv_discard(*disk, offset, bytes));
        /* Zeros or as it was; from now on, what it is. */
        assert_ok(bdrv_pread(*disk, model + offset, (size_t)bytes, offset));
        break;
    case 3:
        assert_ok(bdrv_write_zeroes(*disk, offset, bytes));
        memset(model + offset, 0, (size_t)bytes);
        break;
    case 4:
        assert_ok(bdrv_close(*disk));
        *disk = open_disk("a.vmdk", BDRV_O_RDWR);
        ck_assert_int_eq(bdrv_getlength(*disk), *length);
        break;
    default:
        pattern_fill(model + offset, (size_t)bytes, offset, 1 + suite_random(seed) % 1000);
        assert_ok(bdrv_pwrite(*disk, model + offset, (size_t)bytes, offset));
        break;
    }
}

START_TEST(random_changes_agree_with_a_model)
{
    uint32_t seed = suite_seed() + (uint32_t)_i;
    uint8_t *model = calloc(2, MODEL), *found = model + MODEL;
    BlockDriverState *disk;
    int64_t length = DISK;

    ck_assert_ptr_nonnull(model);
    create_disk("a.vmdk", NULL, kinds[_i], DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    for (int i = 0; i < STEPS; i++) {
        model_step(&disk, model, &length, &seed);
        if (i % 16 == 0) {
            assert_ok(bdrv_pread(disk, found, (size_t)length, 0));
            ck_assert_msg(memcmp(model, found, (size_t)length) == 0, "%s, step %d: %s", kinds[_i],
                          i, pattern_compare(found, model, (size_t)length, 0));
        }
    }
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", 1);
    disk = open_disk("a.vmdk", 0);
    assert_ok(bdrv_pread(disk, found, (size_t)length, 0));
    ck_assert_mem_eq(model, found, (size_t)length);
    assert_ok(bdrv_close(disk));
    free(model);
}
END_TEST

/* ------------------------------------------------------------------- threads */

typedef struct Reader {
    pthread_t thread;
    BlockDriverState *disk;
    int64_t offset;
    int failed;
    atomic_int *stop;
} Reader;

static void *write_and_read(void *opaque)
{
    Reader *reader = opaque;

    for (unsigned i = 0; !atomic_load(reader->stop) && !reader->failed; i++) {
        reader->failed = pattern_write(reader->disk, reader->offset, 9000, i) < 0 ||
                         pattern_verify(reader->disk, reader->offset, 9000, i) < 0;
    }
    return NULL;
}

START_TEST(requests_of_other_threads_go_on_while_it_changes)
{
    enum { THREADS = 3 };
    static const int64_t lengths[] = {9 * MIB, DISK, 70 * MIB, 2 * MIB, 3 * MIB + 512};
    Reader readers[THREADS];
    BlockDriverState *disk;
    atomic_int stop = 0;

    create_disk("a.vmdk", NULL, kinds[_i], DISK);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (Reader){.disk = disk, .offset = i * 500000 + 100, .stop = &stop};
        ck_assert_int_eq(pthread_create(&readers[i].thread, NULL, write_and_read, &readers[i]),
                         0);
    }
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_ok(bdrv_truncate(disk, lengths[i]));
        assert_ok(bdrv_flush(disk));
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(readers[i].thread, NULL);
        ck_assert_int_eq(readers[i].failed, 0);
    }
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", may_leak(kinds[_i]));
}
END_TEST

/* What an extent can do was asked of one that was not open: a crash. */
START_TEST(a_disk_whose_last_extent_is_not_open_can_be_resized)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR, .options = "open_files=1",
    };
    char *path = host_path(directory, "a.vmdk");
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, kinds[_i], DISK);
    assert_ok(bdrv_open(&disk, path, "vmdk", &options));
    assert_ok(bdrv_truncate(disk, DISK + 3 * MIB));
    assert_ok(bdrv_truncate(disk, 2 * MIB));
    assert_ok(pattern_write(disk, 0, 2 * MIB, 1));
    assert_ok(bdrv_close(disk));
    assert_sound("a.vmdk", may_leak(kinds[_i]));
    free(path);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        empty_tables_stay_holes,
        the_files_become_shorter_too,
        a_partial_grain_at_the_end_of_the_file_can_grow,
        tables_stay_where_vmware_computes_them,
        line_geometry_and_other_lines_are_right,
        a_split_disk_gets_and_loses_files,
        an_existing_file_is_not_taken_for_a_new_extent,
        a_failed_growth_leaves_no_files,
        a_link_with_a_parent_is_refused,
        lengths_that_no_disk_has_are_refused,
        an_odd_length_is_rounded_up_to_a_sector,
        NULL,
    };
    Suite *suite = suite_create("vmdk/resize");
    TCase *tcase = suite_add_case(suite, "resize", tests, 120);

    image_register_drivers();
    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    tcase_add_loop_test(tcase, every_kind_grows_and_reads_zeros_there, 0, KINDS);
    tcase_add_loop_test(tcase, a_disk_whose_last_extent_is_not_open_can_be_resized, 0, KINDS);
    tcase_add_loop_test(tcase, what_was_cut_off_does_not_come_back, 0, KINDS);
    tcase_add_loop_test(tcase, random_changes_agree_with_a_model, 0, KINDS);
    tcase_add_loop_test(tcase, requests_of_other_threads_go_on_while_it_changes, 0, KINDS);
    return suite;
}
