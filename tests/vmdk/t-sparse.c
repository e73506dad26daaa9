/* SPDX-License-Identifier: MIT */
/*
 * t-sparse.c - hosted sparse extents that are right, or odd but legal: what they
 * read as and what a write makes of them.  Damaged ones are in t-damage.c.
 */
#include "build.h"
#include "fault.h"
#include "host.h"
#include "powercut.h"

enum {
    GRAIN = 65536 /* bytes, where no test says otherwise */
};

/* ------------------------------------------------------------------ shapes */

static const Shape shapes[] = {
    {.sectors = 2048},
    {.sectors = 2880}, /* a floppy disk: 22.5 grains */
    {.sectors = 1},
    {.sectors = 200},
    {.sectors = 4097, .grain = 1, .gtes = 128},
    {.sectors = 1000, .grain = 8}, /* libvmdk wants more than 8 */
    {.sectors = 4000, .grain = 16, .gtes = 256},
    {.sectors = 4096, .grain = 256, .gtes = 4096},
    {.sectors = 5000, .grain = 2048},
    {.sectors = 3000, .gtes = 65536},
    {.sectors = 2880, .without = NO_REDUNDANT},
    {.sectors = 2880, .version = 2, .flags = 4},
    {.sectors = 5000, .grain = 1, .gtes = 128, .without = NO_TABLES},
    {.sectors = 2880, .without = NO_TABLES | NO_REDUNDANT},
};

static void assert_sets_equal(const Built *b)
{
    for (int64_t table = 0; b->gd[1] && table < b->tables; table++) {
        if (bdrv_load_le32(build_gde(b, 0, table)) != 0) {
            ck_assert_mem_eq(build_gte(b, 0, table * b->gtes), build_gte(b, 1, table * b->gtes),
                             (size_t)b->gtes * 4);
        }
    }
}

/* What every program may expect of a file that was closed. */
static void assert_at_rest(const Built *b)
{
    ck_assert_mem_eq(b->bytes, "KDMV", 4);
    ck_assert_int_eq(b->bytes[AT_UNCLEAN], 0);
    ck_assert_int_eq(b->size % (b->grain * SECTOR), 0);
    assert_sets_equal(b);
}

START_TEST(every_shape_keeps_what_is_written)
{
    Built b = build_sparse(shapes[_i]);
    const int64_t length = b.sectors * SECTOR;
    const int64_t start = length / 3, middle = length / 2 - start;
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    ck_assert_int_eq(bdrv_getlength(disk), length);
    assert_pattern(disk, 0, length, PATTERN_ZEROS);
    assert_ok(pattern_write(disk, start, middle, 1));
    assert_ok(pattern_write(disk, length - 1, 1, 2));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, start, PATTERN_ZEROS);
    assert_pattern(disk, start, middle, 1);
    assert_pattern(disk, start + middle, length - 1 - start - middle, PATTERN_ZEROS);
    assert_pattern(disk, length - 1, 1, 2);
    bdrv_close(disk);
    build_reload(&b, memory);
    assert_at_rest(&b);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(neighbouring_grains_are_one_run)
{
    Built b = build_sparse((Shape){.sectors = 65536, .grain = 1, .gtes = 4096});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    BdrvExtent run;

    assert_ok(pattern_write(disk, 10 * SECTOR, 200 * SECTOR, 1));
    assert_ok(bdrv_is_allocated(disk, 10 * SECTOR + 5, 65536 * SECTOR - 10 * SECTOR - 5, &run));
    ck_assert_int_eq(run.state, BDRV_DATA);
    ck_assert_int_eq(run.bytes, 200 * SECTOR - 5);
    ck_assert_ptr_eq(run.file, bdrv_file(disk));
    assert_ok(bdrv_is_allocated(disk, 210 * SECTOR, 65536 * SECTOR - 210 * SECTOR, &run));
    ck_assert_int_eq(run.state, BDRV_UNALLOCATED);
    ck_assert_int_ge(run.bytes, 512 * SECTOR);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Who asks about the rest of the disk again and again, and uses a part of each answer,
 * would look at all tables each time. */
START_TEST(runs_go_on_over_tables_but_not_over_all)
{
    Built b = build_sparse((Shape){.sectors = 65536, .grain = 1, .gtes = 128});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    BdrvExtent run;

    assert_ok(pattern_write(disk, 100 * SECTOR, 300 * SECTOR, 1));
    assert_ok(bdrv_is_allocated(disk, 100 * SECTOR, 65436 * SECTOR, &run));
    ck_assert_int_eq(run.state, BDRV_DATA);
    ck_assert_int_eq(run.bytes, 300 * SECTOR);
    assert_ok(bdrv_is_allocated(disk, 400 * SECTOR, 65136 * SECTOR, &run));
    ck_assert_int_eq(run.state, BDRV_UNALLOCATED);
    ck_assert_int_ge(run.bytes, 4 * 128 * SECTOR);
    ck_assert_int_le(run.bytes, 32 * 128 * SECTOR);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* The name in an embedded descriptor is what the file was called once; libvmdk
 * opens it by that name and fails after a rename. */
START_TEST(the_name_in_an_embedded_descriptor_is_not_used)
{
    Built b = build_sparse((Shape){
        .text = "version=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n"
                "RW 2048 SPARSE \"/etc/passwd\"\n"});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU looks for the descriptor at byte 512 whatever the header says. */
START_TEST(the_descriptor_is_where_the_header_says)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;

    memmove(b.bytes + 100 * SECTOR, b.bytes + SECTOR, 5 * SECTOR);
    memset(b.bytes + SECTOR, 0, 20 * SECTOR);
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR, 100);
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR_SIZE, 5);
    memory = build_memory(&b);
    assert_ok(try_open(memory, BDRV_O_RDWR, "cid=77", NULL, &disk));
    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_ptr_nonnull(strstr((char *)b.bytes + 100 * SECTOR, "CID=00000077\n"));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ----------------------------------------------------------------- session */

static uint32_t stored_cid(const Built *b)
{
    unsigned cid = 0;

    ck_assert_int_eq(sscanf(strstr((char *)b->bytes + SECTOR, "\nCID="), "\nCID=%8x", &cid), 1);
    return cid;
}

START_TEST(the_cid_changes_at_the_first_write_after_each_open)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    uint32_t first, second;

    build_reload(&b, memory);
    ck_assert_uint_eq(stored_cid(&b), BUILD_CID);
    assert_ok(pattern_write(disk, 0, 512, 1));
    build_reload(&b, memory);
    first = stored_cid(&b);
    ck_assert_uint_ne(first, BUILD_CID);
    ck_assert_uint_lt(first, 0xfffffffe);
    assert_ok(bdrv_flush(disk));
    assert_ok(pattern_write(disk, 0, 512, 2));
    build_reload(&b, memory);
    ck_assert_uint_eq(stored_cid(&b), first);
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_write_zeroes(disk, 0, 512));
    build_reload(&b, memory);
    second = stored_cid(&b);
    ck_assert_uint_ne(second, first);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Data that reached the disk before the CID would be taken for the old content
 * by a child. */
START_TEST(no_data_is_written_before_the_cid_is_durable)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *fault, *disk;
    FaultPlan plan = {.operations = FAULT_FLUSH, .call = 1, .life = FAULT_ONCE};

    build_add_grain(&b, 0, 1);
    memory = build_memory(&b);
    fault = fault_insert(memory);
    disk = open_memory(fault, BDRV_O_RDWR);
    fault_arm(fault, &plan);
    assert_fails_saying(pattern_write(disk, 0, 512, 2), -EIO, "changing the CID");
    assert_pattern(disk, 0, GRAIN, 1);
    assert_ok(pattern_write(disk, 0, 512, 2));
    bdrv_close(disk);
    bdrv_close(fault);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(an_open_without_a_write_changes_no_byte)
{
    Built b = build_sparse((Shape){0});
    uint8_t *before = malloc((size_t)b.size), *after;
    BlockDriverState *memory, *disk;

    b.bytes[AT_UNCLEAN] = 1;
    memcpy(before, b.bytes, (size_t)b.size);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 0, bdrv_getlength(disk), PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(bdrv_getlength(memory), b.size);
    after = image_memory_bytes(memory);
    ck_assert_mem_eq(after, before, (size_t)b.size);
    free(before);
    free(after);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU neither reads nor writes the flag. */
START_TEST(the_unclean_flag_is_set_while_tables_may_differ)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    BdrvInfo info = {.struct_size = sizeof info};

    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(bdrv_flush(disk));
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[AT_UNCLEAN], 1);
    assert_ok(bdrv_get_info(disk, &info));
    ck_assert_int_eq(info.dirty, 0); /* it is ours */
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[AT_UNCLEAN], 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(an_unclean_image_without_damage_can_be_written)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    BdrvInfo info = {.struct_size = sizeof info};

    build_add_grain(&b, 0, 1);
    b.bytes[AT_UNCLEAN] = 1;
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_get_info(disk, &info));
    ck_assert_int_ne(info.dirty, 0);
    assert_ok(pattern_write(disk, GRAIN, 512, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[AT_UNCLEAN], 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* After a flush that failed, nobody knows what is on the disk. */
START_TEST(the_unclean_flag_stays_after_a_failed_flush)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *fault = fault_insert(memory);
    BlockDriverState *disk = open_memory(fault, BDRV_O_RDWR);
    FaultPlan plan = {.operations = FAULT_FLUSH, .call = 1, .life = FAULT_ONCE};

    assert_ok(pattern_write(disk, 0, 512, 1));
    fault_arm(fault, &plan);
    assert_fails(bdrv_flush(disk), -EIO);
    bdrv_close(disk);
    build_reload(&b, memory);
    ck_assert_int_eq(b.bytes[AT_UNCLEAN], 1);
    bdrv_close(fault);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------ absent tables */

/* QEMU takes a directory entry of 0 for sector 0 when it writes, overwrites the
 * header and reports success (T7). */
START_TEST(a_write_where_there_is_no_table_makes_both)
{
    Built b = build_sparse((Shape){.sectors = 65536 * 2, .without = NO_TABLES});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);
    const int64_t far = 40 * 1024 * 1024;

    assert_pattern(disk, far, GRAIN, PATTERN_ZEROS);
    assert_ok(pattern_write(disk, far + 512, 512, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    assert_at_rest(&b);
    ck_assert_uint_eq(bdrv_load_le32(build_gde(&b, 0, 0)), 0);
    ck_assert_uint_ne(bdrv_load_le32(build_gde(&b, 0, 1)), 0);
    ck_assert_uint_ne(bdrv_load_le32(build_gde(&b, 1, 1)), 0);
    ck_assert_uint_ne(bdrv_load_le32(build_gde(&b, 1, 1)), bdrv_load_le32(build_gde(&b, 0, 1)));
    disk = open_memory(memory, 0);
    assert_pattern(disk, far, 512, PATTERN_ZEROS);
    assert_pattern(disk, far + 512, 512, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A crash while a table was made can leave one directory with it, the other
 * without. */
START_TEST(one_missing_table_is_made_from_the_other)
{
    Built b = build_sparse((Shape){.sectors = 4096});
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 1, 1);
    bdrv_store_le32(build_gde(&b, _i, 0), 0);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    assert_pattern(disk, 0, GRAIN, PATTERN_ZEROS);
    assert_ok(pattern_write(disk, 2 * GRAIN, 512, 2));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    assert_at_rest(&b);
    disk = open_memory(memory, 0);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    assert_pattern(disk, 2 * GRAIN, 512, 2);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* -------------------------------------------------------- grains of zeros */

/* libvmdk ignores the flag and shows sector 1 of the file. */
START_TEST(an_entry_of_1_is_a_grain_of_zeros_where_the_flag_is_set)
{
    Built b = build_sparse((Shape){.version = 2, .flags = 4});
    BlockDriverState *memory, *disk;
    BdrvExtent run;

    build_set_gte(&b, 1, 1);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_is_allocated(disk, GRAIN + 1, GRAIN - 1, &run));
    ck_assert_int_eq(run.state, BDRV_ZERO);
    ck_assert_int_eq(run.bytes, GRAIN - 1);
    assert_pattern(disk, GRAIN, GRAIN, PATTERN_ZEROS);
    assert_ok(pattern_write(disk, GRAIN + 512, 512, 1));
    assert_pattern(disk, GRAIN, 512, PATTERN_ZEROS);
    assert_pattern(disk, GRAIN + 512, 512, 1);
    assert_pattern(disk, GRAIN + 1024, GRAIN - 1024, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* They are not safe for all readers, and nothing needs hiding here. */
START_TEST(zeros_without_a_parent_leave_the_version_alone)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(bdrv_write_zeroes(disk, 0, bdrv_getlength(disk)));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_VERSION), 1);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_FLAGS), 3);
    ck_assert_uint_eq(bdrv_load_le32(build_gte(&b, 0, 1)), 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------------- space */

/* Entries have 32 bits: a grain must begin below sector 2^32 of its file. */
START_TEST(a_file_of_2_tebibytes_takes_no_more_grains)
{
    char *directory = host_directory_new(), *path = host_path(directory, "disk.vmdk");
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = INT64_C(4) << 40};
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR};
    BlockDriverState *file, *disk;

    assert_ok(bdrv_create(path, "vmdk", &create));
    assert_ok(bdrv_open(&file, path, "file", &options));
    if (bdrv_truncate(file, (INT64_C(2) << 40) - 2 * GRAIN) == 0) {
        bdrv_close(file);
        assert_ok(bdrv_open(&disk, path, NULL, &options));
        assert_ok(pattern_write(disk, 0, 2 * GRAIN, 1));
        assert_fails_saying(pattern_write(disk, 5 * GRAIN, 512, 1), -ENOSPC, "2 TiB");
        assert_pattern(disk, 0, 2 * GRAIN, 1);
        assert_ok(bdrv_close(disk));
    } else {
        suite_skipped("the file system has no files of 2 TiB");
        bdrv_close(file);
    }
    free(path);
    host_directory_remove(directory);
}
END_TEST

/* The first write dropped the change tracking from the descriptor, and left the header
 * in version 3, which tells of one. */
START_TEST(change_tracking_is_dropped_from_the_header_too)
{
    const int zeroed = _i % 2, repair = _i / 2;
    Built b = build_sparse((Shape){
        .version = 3, .flags = zeroed ? 4 : 0,
        .text = "# Disk DescriptorFile\nversion=3\nCID=12345678\nparentCID=ffffffff\n"
                "createType=\"monolithicSparse\"\nRW 2048 SPARSE \"x.vmdk\"\n"
                "changeTrackPath=\"x-ctk.vmdk\"\n"});
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 0, 1);
    memory = build_memory(&b);
    if (repair) {
        BdrvCheckOptions options = {.struct_size = sizeof options, .flags = BDRV_CHECK_REPAIR_ALL};
        BdrvCheckResult result = {.struct_size = sizeof result};

        assert_ok(try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk));
        assert_ok(bdrv_check(disk, &options, &result));
    } else {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(pattern_write(disk, 0, 512, 2)); /* in place: no table changes */
    }
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    ck_assert_uint_eq(bdrv_load_le32(b.bytes + AT_VERSION), zeroed ? 2 : 1);
    ck_assert_ptr_nonnull(strstr((char *)b.bytes + SECTOR, "version=1\n"));
    ck_assert_ptr_null(strstr((char *)b.bytes + SECTOR, "changeTrackPath"));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A header and the text inside the same file were written without a barrier: with the one lost
 * and the other not, the header told of tracking for ever. */
static void examine_tracking(void *opaque, Volume *volume, size_t cut, const char *where)
{
    int64_t size;
    uint8_t *bytes = volume_bytes(volume, "x.vmdk", &size);

    (void)opaque;
    (void)cut;
    ck_assert_msg(strstr((char *)bytes + SECTOR, "changeTrackPath") ||
                      bdrv_load_le32(bytes + AT_VERSION) == 1,
                  "%s: the header has version %u, the text no tracking", where,
                  bdrv_load_le32(bytes + AT_VERSION));
    free(bytes);
}

START_TEST(power_loss_leaves_no_header_that_alone_tells_of_tracking)
{
    Built b = build_sparse((Shape){
        .version = 3,
        .text = "# Disk DescriptorFile\nversion=3\nCID=12345678\nparentCID=ffffffff\n"
                "createType=\"monolithicSparse\"\nRW 2048 SPARSE \"x.vmdk\"\n"
                "changeTrackPath=\"x-ctk.vmdk\"\n"});
    Volume *volume = volume_new();
    BlockDriverState *file, *disk;
    uint32_t seed = suite_seed();
    Powercut powercut;

    build_add_grain(&b, 0, 1);
    file = volume_create(volume, "x.vmdk");
    assert_ok(bdrv_pwrite(file, b.bytes, (size_t)b.size, 0));
    assert_ok(bdrv_flush(file));
    assert_ok(bdrv_close(file));
    powercut_begin(&powercut, volume);
    file = volume_open(volume, "x.vmdk", BDRV_O_RDWR);
    disk = open_memory(file, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 512, 2));
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(file));
    powercut_end(&powercut);
    powercut_try_all(&powercut, 200, &seed, examine_tracking, NULL);
    powercut_free(&powercut);
    volume_free(volume);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        neighbouring_grains_are_one_run,
        runs_go_on_over_tables_but_not_over_all,
        power_loss_leaves_no_header_that_alone_tells_of_tracking,
        the_name_in_an_embedded_descriptor_is_not_used,
        the_descriptor_is_where_the_header_says,
        the_cid_changes_at_the_first_write_after_each_open,
        no_data_is_written_before_the_cid_is_durable,
        an_open_without_a_write_changes_no_byte,
        the_unclean_flag_is_set_while_tables_may_differ,
        an_unclean_image_without_damage_can_be_written,
        the_unclean_flag_stays_after_a_failed_flush,
        a_write_where_there_is_no_table_makes_both,
        an_entry_of_1_is_a_grain_of_zeros_where_the_flag_is_set,
        zeros_without_a_parent_leave_the_version_alone,
        a_file_of_2_tebibytes_takes_no_more_grains,
        NULL,
    };
    Suite *suite = suite_create("vmdk/sparse");
    TCase *tc = suite_add_case(suite, "sparse", tests, 20);

    image_register_drivers();
    tcase_add_loop_test(tc, every_shape_keeps_what_is_written, 0,
                        sizeof shapes / sizeof *shapes);
    tcase_add_loop_test(tc, one_missing_table_is_made_from_the_other, 0, 2);
    tcase_add_loop_test(tc, change_tracking_is_dropped_from_the_header_too, 0, 4);
    return suite;
}
