/* SPDX-License-Identifier: MIT */
/*
 * t-resize-odd.c - another length for disks that nobody's program makes, and with storage
 * that fails: what is refused leaves all as it was, what is done can be opened.
 */
#include "changes.h"
#include "fault.h"

#include <unistd.h>

enum {
    MIB = 1024 * 1024
};

static void resize(const char *name, int64_t length)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_RDWR);

    assert_ok(bdrv_truncate(disk, length));
    ck_assert_int_eq(bdrv_getlength(disk), length);
    assert_ok(bdrv_close(disk));
}

static void describe(const char *name, const char *type, const char *lines)
{
    char *path = host_path(directory, name), text[512];
    const int length = snprintf(text, sizeof text, "# Disk DescriptorFile\nversion=1\n"
                                "CID=12345678\nparentCID=ffffffff\ncreateType=\"%s\"\n%s", type,
                                lines);

    host_write_file(path, text, (size_t)length);
    free(path);
}

/* A split disk that ends with an extent that is no file was to get files after the name of
 * that: a crash. */
START_TEST(a_split_disk_that_ends_with_zeros_grows_there)
{
    create_disk("a-f001.vmdk", NULL, "subformat=monolithicFlat", MIB);
    describe("a.vmdk", "twoGbMaxExtentFlat", "RW 2048 FLAT \"a-f001-flat.vmdk\" 0\nRW 8 ZERO\n");
    resize("a.vmdk", 4 * MIB);
    assert_text_has("a.vmdk", "RW 6144 ZERO\n");
}
END_TEST

/* The further extents of one of a kind that is more than its bytes were files of zeros: the
 * disk did not open any more. */
START_TEST(a_split_disk_of_another_kind_grows_in_its_last_extent)
{
    BlockDriverState *disk;

    create_disk("b.vmdk", NULL, "subformat=custom,extents=RW 2048 VMFSSPARSE \"a-s001.vmdk\";"
                "RW 2048 VMFSSPARSE \"a-s002.vmdk\"", 0);
    describe("a.vmdk", "twoGbMaxExtentSparse", "RW 2048 VMFSSPARSE \"a-s001.vmdk\"\n"
             "RW 2048 VMFSSPARSE \"a-s002.vmdk\"\n");
    resize("a.vmdk", 4 * MIB);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 4 * MIB, 1));
    assert_ok(bdrv_close(disk));
}
END_TEST

/* Their lines, added all at once, end as the others do; the last of those has no end. */
START_TEST(lines_of_several_new_extents_follow_the_last)
{
    create_disk("a.vmdk", NULL, "subformat=twoGbMaxExtentFlat,extent_size=1M", 2 * MIB);
    describe("a.vmdk", "twoGbMaxExtentFlat", "RW 2048 FLAT \"a-f001.vmdk\" 0\r\n"
             "RW 1024 FLAT \"a-f002.vmdk\" 0");
    resize("a.vmdk", 4 * MIB + 512);
    assert_text_has("a.vmdk", "a-f001.vmdk\" 0\r\nRW 2048 FLAT \"a-f002.vmdk\" 0\r\n"
                    "RW 2048 FLAT \"a-f003.vmdk\" 0\r\nRW 2048 FLAT \"a-f004.vmdk\" 0\r\n"
                    "RW 1 FLAT \"a-f005.vmdk\" 0\r\n");
    assert_sound("a.vmdk", 0);
}
END_TEST

static int count_written(void *opaque, const BdrvNamedFile *file)
{
    *(int *)opaque += file->writable;
    return BDRV_OPEN_AS_USUAL;
}

/* All files were made, and the text refused then: millions, where a hostile image has a first
 * extent of a sector. */
START_TEST(no_file_is_made_for_extents_beyond_the_limit)
{
    const BdrvLimits limits = {.struct_size = sizeof limits, .extents = 4};
    int written = 0, before;
    BdrvOpenOptions options = {
        .struct_size = sizeof options, .flags = BDRV_O_RDWR, .limits = &limits,
        .may_open = count_written, .may_open_opaque = &written,
    };
    char *path = host_path(directory, "a.vmdk");
    BlockDriverState *disk;

    create_disk("a.vmdk", NULL, "subformat=twoGbMaxExtentFlat,extent_size=1M", 2 * MIB);
    assert_ok(bdrv_open(&disk, path, "vmdk", &options));
    before = written;
    assert_fails_saying(bdrv_truncate(disk, 4 * MIB + 512), -EINVAL, "more than 4 extents");
    ck_assert_int_eq(written, before);
    assert_ok(bdrv_truncate(disk, 4 * MIB));
    assert_ok(bdrv_close(disk));
    free(path);
}
END_TEST

static void write_pattern_file(const char *name, size_t size)
{
    char *path = host_path(directory, name);
    uint8_t *bytes = malloc(size);

    ck_assert_ptr_nonnull(bytes);
    pattern_fill(bytes, size, 0, 1);
    host_write_file(path, bytes, size);
    free(bytes);
    free(path);
}

static void assert_pattern_file(const char *name, size_t size)
{
    char *path = host_path(directory, name);
    size_t found;
    uint8_t *bytes = host_read_file(path, &found);

    ck_assert_uint_eq(found, size);
    ck_assert_ptr_null(pattern_check(bytes, size, 0, 1));
    free(bytes);
    free(path);
}

/* The file of an extent that was cut off was removed although another extent has bytes in it,
 * under another name; or it was made longer, over those. */
START_TEST(a_file_that_another_extent_has_under_another_name_stays)
{
    static const char *const lines[] = {
        "RDONLY 128 FLAT \"d.img\" 0\nRW 128 FLAT \"./d.img\" 128\n",
        "RDONLY 128 FLAT \"d.img\" 128\nRW 128 FLAT \"./d.img\" 0\n"};
    const int64_t lengths[] = {128 * SECTOR, 384 * SECTOR};
    BlockDriverState *disk;

    for (int i = 0; i < 2; i++) {
        write_pattern_file("d.img", 256 * SECTOR);
        describe("a.vmdk", "custom", lines[i]);
        disk = open_disk("a.vmdk", BDRV_O_RDWR);
        assert_fails_saying(bdrv_truncate(disk, lengths[i]), -ENOTSUP, "in the same file");
        assert_ok(bdrv_close(disk));
        assert_pattern_file("d.img", 256 * SECTOR);
    }
}
END_TEST

/* So many tables that a shorter disk has a shorter directory: all of them move. */
static BlockDriverState *create_many_tables(int64_t length)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = length,
                                .options = "grain_size=8k,gtes_per_table=128"};
    BlockDriverState *memory = image_memory(0), *disk;

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, MIB, 1));
    assert_ok(bdrv_close(disk));
    return memory;
}

/* 0: the call was not reached. */
static int fail_to_shorten(int64_t call)
{
    const FaultPlan plan = {.operations = FAULT_ALL, .call = call, .life = FAULT_ONCE};
    BlockDriverState *memory = create_many_tables(200 * MIB), *fault = fault_insert(memory);
    BlockDriverState *disk;
    int64_t failures;

    assert_ok(bdrv_open_node(&disk, fault, "vmdk", &(BdrvOpenOptions){
        .struct_size = sizeof(BdrvOpenOptions), .flags = BDRV_O_RDWR}));
    fault_arm(fault, &plan);
    (void)bdrv_truncate(disk, 50 * MIB);
    failures = fault_failures(fault);
    fault_disarm(fault);
    if (pattern_write(disk, MIB / 2, MIB, 2) == 0 && bdrv_amend(disk, "hwversion=12") == 0 &&
        bdrv_close(disk) == 0) {
        disk = open_memory(memory, BDRV_O_CHECK);
        ck_assert_msg(image_find_damage(disk) == NULL, "call %d: %s", (int)call,
                      image_find_damage(disk));
        assert_pattern(disk, 0, MIB / 2, 1);
        assert_pattern(disk, MIB / 2, MIB, 2);
    }
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
    return failures > 0;
}

/* It went on with tables, and a text, that were not the image's any more. */
START_TEST(what_is_written_after_a_failure_to_shorten_is_in_its_place)
{
    for (int64_t call = 1; fail_to_shorten(call); call++) {
    }
}
END_TEST

/* Where the extent would end was added up without a look at the sum. */
START_TEST(an_extent_does_not_grow_beyond_the_end_of_any_file)
{
    const int64_t offset = INT64_C(1) << 61;
    char *path = host_path(directory, "d.img"), line[64];
    BlockDriverState *disk;

    host_write_file(path, "", 0);
    if (truncate(path, offset + SECTOR) < 0) {
        suite_skipped("no file of 2 EiB here: TMPDIR=/dev/shm has some");
    } else {
        snprintf(line, sizeof line, "RW 1 FLAT \"d.img\" %lld\n", (long long)(offset / SECTOR));
        describe("a.vmdk", "custom", line);
        disk = open_disk("a.vmdk", BDRV_O_RDWR);
        assert_fails(bdrv_truncate(disk, INT64_MAX - 4095), -EFBIG);
        ck_assert_int_eq(bdrv_getlength(disk), SECTOR);
        assert_ok(bdrv_close(disk));
    }
    free(path);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_split_disk_that_ends_with_zeros_grows_there,
        a_split_disk_of_another_kind_grows_in_its_last_extent,
        lines_of_several_new_extents_follow_the_last,
        no_file_is_made_for_extents_beyond_the_limit,
        a_file_that_another_extent_has_under_another_name_stays,
        what_is_written_after_a_failure_to_shorten_is_in_its_place,
        an_extent_does_not_grow_beyond_the_end_of_any_file,
        NULL,
    };
    Suite *suite = suite_create("vmdk/resize-odd");
    TCase *tcase = suite_add_case(suite, "odd", tests, 120);

    image_register_drivers();
    fault_register();
    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    return suite;
}
