/* SPDX-License-Identifier: MIT */
/*
 * t-check-unread.c - what a check takes for damage, and what it does not: storage that
 * fails for a moment, files that cannot be opened, texts that are not supported.  Nothing
 * is made anew in their place.
 */
#include "build-cowd.h"
#include "damage.h"
#include "place.h"

#include <sys/stat.h>

/* ------------------------------------------------------------------ storage that fails */

/* Files in memory, of which the other may be asked for by any name; one place of it cannot be
 * read so many times. */
typedef struct Store {
    BlockDriverState *memory;
    struct Store *other;
    int64_t bad_at;
    int bad_times;
    int error;     /* that is what is said of it; 0: EIO */
    int spared;    /* so often it is read before */
} Store;

static int store_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    Store *store = opaque;

    if (store->bad_times > 0 && offset <= store->bad_at &&
        store->bad_at < offset + (int64_t)bytes && store->spared-- <= 0) {
        store->bad_times--;
        return store->error ? -store->error : -EIO;
    }
    return bdrv_pread(store->memory, buf, bytes, offset);
}

static int store_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    const Store *store = opaque;

    return bdrv_pwrite(store->memory, buf, bytes, offset);
}

static int64_t store_length(void *opaque)
{
    const Store *store = opaque;

    return bdrv_getlength(store->memory);
}

static int store_truncate(void *opaque, int64_t length)
{
    const Store *store = opaque;

    return bdrv_truncate(store->memory, length);
}

static int store_other(void *opaque, const char *name, int writable, BdrvIo *io, void **other);

static const BdrvIo store_io = {
    .struct_size = sizeof store_io,
    .read = store_read,
    .write = store_write,
    .getlength = store_length,
    .truncate = store_truncate,
    .open_other = store_other,
};

static int store_other(void *opaque, const char *name, int writable, BdrvIo *io, void **other)
{
    const Store *store = opaque;

    (void)writable;
    if (!store->other || !strstr(name, "store-flat.vmdk")) {
        return -ENOENT;
    }
    *io = store_io;
    *other = store->other;
    return 0;
}

/* Checks what is in store, of which the place in bad fails so often from now on. */
static int check_store(Store *store, Store *bad, int times, unsigned flags,
                       BdrvCheckResult *result)
{
    const BdrvOpenOptions open = {.struct_size = sizeof open,
                                  .flags = BDRV_O_CHECK | BDRV_O_RDWR};
    const BdrvCheckOptions options = {.struct_size = sizeof options,
                                      .flags = flags};
    BlockDriverState *disk;
    int ret;

    assert_ok(bdrv_open_io(&disk, "store", &store_io, store, "vmdk", &open));
    bad->bad_times = times;
    *result = (BdrvCheckResult){.struct_size = sizeof *result};
    ret = bdrv_check(disk, &options, result);
    bad->bad_times = 0;
    bdrv_close(disk);
    return ret;
}

static int repair_store(Store *store, Store *bad, int times, BdrvCheckResult *result)
{
    return check_store(store, bad, times, BDRV_CHECK_REPAIR_ALL, result);
}

/* One failure, and the header was made anew from the first layout that is possible. */
START_TEST(a_header_that_could_not_be_read_is_not_made_anew)
{
    static const char text[] = "version=1\nCID=12345678\nparentCID=ffffffff\n"
                               "createType=\"vmfsSparse\"\nRW 16384 VMFSSPARSE \"store-flat.vmdk\"\n";
    Built b = build_cowd(16384, 128);
    Store delta = {.bad_at = 0}, whole = {.other = &delta};
    BdrvCheckResult result;
    uint8_t *after;

    add_cowd_grain(&b, 3, 1);
    delta.memory = build_memory(&b);
    whole.memory = image_memory_from(text, sizeof text - 1);
    assert_fails(repair_store(&whole, &delta, 1, &result), -EIO);
    after = image_memory_bytes(delta.memory);
    ck_assert_mem_eq(after, b.bytes, (size_t)b.size);
    free(after);
    bdrv_close(whole.memory);
    bdrv_close(delta.memory);
    free(b.bytes);
}
END_TEST

/* Only EIO was known for a failure of the storage. */
START_TEST(a_header_that_could_not_be_read_is_not_called_destroyed)
{
    Built b = damage_image(0);
    Store store = {.bad_at = 0, .error = _i ? ETIMEDOUT : EIO, .spared = 1};
    BdrvCheckResult result;

    store.memory = build_memory(&b);
    assert_fails(repair_store(&store, &store, 1, &result), _i ? -ETIMEDOUT : -EIO);
    bdrv_close(store.memory);
    free(b.bytes);
}
END_TEST

/* The same of a text: nobody knew any more what it had said of a parent. */
START_TEST(a_text_that_could_not_be_read_is_not_destroyed)
{
    static const char text[] = "version=1\nCID=12345678\nparentCID=ffffffff\n"
                               "createType=\"monolithicFlat\"\nRW 16 FLAT \"store-flat.vmdk\" 0\n";
    const BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_CHECK};
    Store flat = {.memory = image_memory(16 * SECTOR)};
    Store whole = {.memory = image_memory_from(text, sizeof text - 1), .other = &flat,
                   .bad_at = 20, .bad_times = _i};
    BlockDriverState *disk;
    Findings f;

    if (bdrv_open_io(&disk, "store", &store_io, &whole, "vmdk", &open) == 0) {
        findings_of(disk, 0, &f);
        assert_clean(&f);
        bdrv_close(disk);
    }
    bdrv_close(whole.memory);
    bdrv_close(flat.memory);
}
END_TEST

/* One table that can never be read, and the check of a disk with much room before its grains
 * ended there, instead of telling which table it is. */
START_TEST(a_table_that_cannot_be_read_says_nothing_of_overhead)
{
    enum { USUAL = 128, ROOM = 2048 };
    Built b = build_sparse((Shape){.sectors = 128 * 600});
    Store store = {.bad_at = bdrv_load_le32(build_gde(&b, 0, 1)) * SECTOR};
    BdrvCheckResult result;

    b.size += (ROOM - USUAL) * SECTOR;
    bdrv_store_le64(b.bytes + AT_OVERHEAD, ROOM);
    build_add_grain(&b, 3, 1);
    store.memory = build_memory(&b);
    assert_ok(check_store(&store, &store, 1 << 20, 0, &result));
    ck_assert_int_eq(result.corruptions + result.unrecoverable, 1);
    bdrv_close(store.memory);
    free(b.bytes);
}
END_TEST

/* While the storage was away for a moment, a table of which there is no copy was cleared. */
START_TEST(a_table_that_could_not_be_read_is_not_cleared)
{
    Built b = damage_image(NO_REDUNDANT);
    Store store = {.bad_at = bdrv_load_le32(build_gde(&b, 0, 1)) * SECTOR};
    BdrvCheckResult result;

    store.memory = build_memory(&b);
    assert_fails(repair_store(&store, &store, _i, &result), -EIO);
    assert_content(store.memory, -1);
    bdrv_close(store.memory);
    free(b.bytes);
}
END_TEST

/* ---------------------------------------------------- a text that is destroyed */

/* A text that only is not supported, or has more than a limit that is set, was called
 * destroyed, and replaced by one that has nothing of it: the keys of an encrypted disk. */
START_TEST(a_text_that_is_not_supported_is_not_destroyed)
{
    static const char *const lines[] = {"encryptionKeys=\"vmware:key\"\nRW 16 FLAT \"d-flat.vmdk\" 0\n",
                                        "RW 8 FLAT \"d-flat.vmdk\" 0\nRW 8 FLAT \"d-flat.vmdk\" 8\n"};
    const BdrvLimits limits = {.struct_size = sizeof limits, .extents = 1,
                               .descriptor_bytes = _i == 2 ? 64 : 0};
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_CHECK,
                               .limits = &limits};
    char *path = host_path(place, "d.vmdk");
    BlockDriverState *disk;

    place_describe("d.vmdk", lines[_i % 2]);
    place_write_pattern("d-flat.vmdk", 0, 16 * SECTOR, 1);
    ck_assert_int_lt(bdrv_open(&disk, path, "vmdk", &options), 0);
    free(path);
}
END_TEST

/* The lengths of all extents that lie beside a destroyed text were added up, whatever they
 * are. */
START_TEST(lengths_that_no_disk_has_are_not_guessed)
{
    Built b = build_sparse((Shape){.without = NO_DESCRIPTOR | NO_REDUNDANT | NO_TABLES});
    BlockDriverState *disk;
    char name[32];

    bdrv_store_le64(b.bytes + AT_CAPACITY, UINT64_C(1) << 52);
    bdrv_store_le64(b.bytes + AT_GRAIN, 65536);
    bdrv_store_le32(b.bytes + AT_GTES, 65536);
    for (int i = 1; i <= 4; i++) {
        snprintf(name, sizeof name, "d-s%03d.vmdk", i);
        place_write(name, b.bytes, (4 << 20) + SECTOR);
    }
    place_write("d.vmdk", "\xc5\xc5\xc5\n", 4);
    ck_assert_int_lt(place_try_open("d.vmdk", BDRV_O_CHECK, NULL, &disk), 0);
    free(b.bytes);
}
END_TEST

/* What could not be opened was taken for the end of the row, and a descriptor written for the
 * disk without it. */
START_TEST(a_file_that_cannot_be_opened_is_not_left_out)
{
    BlockDriverState *disk;
    char *path = host_path(place, "d-s002.vmdk"), *other = host_path(place, "moved");

    assert_ok(place_try_create("d.vmdk", NULL,
                               "subformat=twoGbMaxExtentSparse,extent_size=640k", 1 << 20));
    place_write("d.vmdk", "\xc5\xc5\xc5\n", 4);
    ck_assert_int_eq(rename(path, other), 0);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    ck_assert_int_lt(place_try_open("d.vmdk", BDRV_O_CHECK, NULL, &disk), 0);
    ck_assert_int_eq(remove(path), 0);
    ck_assert_int_eq(rename(other, path), 0);
    disk = place_open("d.vmdk", BDRV_O_CHECK, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), 1 << 20);
    assert_ok(bdrv_close(disk));
    free(other);
    free(path);
}
END_TEST

/* The line of one extent was mended, and the same handle went on reading the extents behind it from
 * where they had been in the parent. */
START_TEST(what_a_repair_moves_is_read_from_where_it_is)
{
    enum { EXTENT = 1 << 20, EXTENTS = 4, SHORTER = 512 };
    BlockDriverState *disk;
    char *text, *second;
    Findings f;

    assert_ok(place_try_create("parent.vmdk", NULL, NULL, EXTENTS * EXTENT));
    disk = place_open("parent.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, EXTENTS * EXTENT, 1));
    assert_ok(bdrv_close(disk));
    assert_ok(place_try_create("d.vmdk", "parent.vmdk",
                               "subformat=twoGbMaxExtentSparse,extent_size=1M", EXTENTS * EXTENT));
    text = place_read("d.vmdk");
    second = strstr(strstr(text, "RW 2048") + 1, "RW 2048");
    memcpy(second, "RW 1536", 7);
    place_write("d.vmdk", text, strlen(text));
    free(text);
    disk = place_open("d.vmdk", BDRV_O_CHECK | BDRV_O_RDWR, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), EXTENTS * EXTENT - SHORTER * SECTOR);
    findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(bdrv_getlength(disk), EXTENTS * EXTENT);
    assert_pattern(disk, 0, EXTENTS * EXTENT, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* Repairs b, an extent of a disk whose header has lost the size of its grains; it is used up. */
static void rebuild_cowd(Built *b)
{
    char line[64];
    BlockDriverState *disk;
    Findings f;

    bdrv_store_le32(b->bytes + AT_COWD_GRAIN, 3);
    snprintf(line, sizeof line, "RW %" PRId64 " VMFSSPARSE \"d-delta.vmdk\"\n", b->sectors);
    place_describe("d.vmdk", line);
    place_write("d-delta.vmdk", b->bytes, (size_t)b->size);
    disk = place_open("d.vmdk", BDRV_O_CHECK | BDRV_O_RDWR, NULL);
    findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 1);
    assert_ok(bdrv_close(disk));
    free(b->bytes);
}

static void assert_rebuilt(int64_t offset, int64_t bytes, unsigned generation)
{
    BlockDriverState *disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);

    assert_pattern(disk, offset, bytes, generation);
    assert_ok(bdrv_close(disk));
}

/* Of a lost copy-on-write header the first size of grains was taken that the directory allows,
 * not the one that the grains have: they read as something else, and the rest of the last was cut
 * off.  Then the size that the file's length allows: with a few sectors behind, a larger one. */
START_TEST(the_size_of_grains_is_told_by_the_grains)
{
    enum { CAPACITY = 40000 };
    static const int64_t slack[] = {0, 1, 4, 12, 31};
    const int64_t grain = _i, bytes = grain * SECTOR;
    const int64_t used[] = {0, 2, CAPACITY / 2 / grain, CAPACITY / grain - 1};

    for (size_t s = 0; s < sizeof slack / sizeof *slack; s++) {
        Built b = build_cowd(CAPACITY, grain);

        for (int i = 3; i >= 0; i--) {
            add_cowd_grain(&b, used[i], (unsigned)i + 1);
        }
        b.size += slack[s] * SECTOR;
        rebuild_cowd(&b);
        for (int i = 0; i < 4; i++) {
            assert_rebuilt(used[i] * bytes, bytes, (unsigned)i + 1);
        }
    }
}
END_TEST

/* One grain alone touches no other: then the freeSector counts that is left. */
START_TEST(the_size_of_one_grain_is_told_by_free_sector)
{
    enum { CAPACITY = 40000 };
    const int64_t bytes = _i * SECTOR;
    Built b = build_cowd(CAPACITY, _i);

    add_cowd_grain(&b, 0, 1);
    b.size += 4 * SECTOR;
    rebuild_cowd(&b);
    assert_rebuilt(0, bytes, 1);
}
END_TEST

/* Each grain of a table that cannot be was asked for: a quarter of an hour for a directory of 2 MiB. */
START_TEST(tables_that_cannot_be_are_told_as_a_whole)
{
    enum { GD_SECTOR = 4096, GD_BYTES = 2 * 1024 * 1024 };
    char *path = host_path(place, "s-sesparse.vmdk");
    BlockDriverState *disk, *file;
    uint8_t *garbage = malloc(GD_BYTES);
    Findings f;

    ck_assert_ptr_nonnull(garbage);
    memset(garbage, 0xff, GD_BYTES);
    assert_ok(place_try_create("s.vmdk", NULL, "subformat=seSparse,sesparse_unverified=on",
                               INT64_C(4) << 40));
    assert_ok(bdrv_open(&file, path, "raw",
                        &(BdrvOpenOptions){.struct_size = sizeof(BdrvOpenOptions),
                                           .flags = BDRV_O_RDWR}));
    assert_ok(bdrv_pwrite(file, garbage, GD_BYTES, GD_SECTOR * SECTOR));
    assert_ok(bdrv_close(file));
    disk = place_open("s.vmdk", BDRV_O_CHECK, NULL);
    findings_of(disk, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable, GD_BYTES / 8);
    assert_ok(bdrv_close(disk));
    free(garbage);
    free(path);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_header_that_could_not_be_read_is_not_made_anew,
        a_table_that_cannot_be_read_says_nothing_of_overhead,
        NULL,
    };
    const TTest *const in_files[] = {
        lengths_that_no_disk_has_are_not_guessed,
        a_file_that_cannot_be_opened_is_not_left_out,
        tables_that_cannot_be_are_told_as_a_whole,
        what_a_repair_moves_is_read_from_where_it_is,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-unread");
    TCase *tc = suite_add_case(suite, "storage", tests, 30);

    image_register_drivers();
    tcase_add_loop_test(tc, a_header_that_could_not_be_read_is_not_called_destroyed, 0, 2);
    tcase_add_loop_test(tc, a_text_that_could_not_be_read_is_not_destroyed, 0, 6);
    tcase_add_loop_test(tc, a_table_that_could_not_be_read_is_not_cleared, 4, 5);
    tc = suite_add_case(suite, "files", in_files, 30);
    tcase_add_checked_fixture(tc, place_make, place_remove);
    for (int grain = 1; grain <= 128; grain *= 2) {
        tcase_add_loop_test(tc, the_size_of_grains_is_told_by_the_grains, grain, grain + 1);
        tcase_add_loop_test(tc, the_size_of_one_grain_is_told_by_free_sector, grain, grain + 1);
    }
    tcase_add_loop_test(tc, a_text_that_is_not_supported_is_not_destroyed, 0, 3);
    return suite;
}
