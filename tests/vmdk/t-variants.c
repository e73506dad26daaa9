/* SPDX-License-Identifier: MIT */
/*
 * t-variants.c - the support matrix that the driver prints, done: each "yes" of each
 * variant, and the contrary of each "-".  A variant that nothing here knows how to
 * make is a failure.
 */
#include "build-cowd.h"
#include "place.h"

#include <dirent.h>
#include <unistd.h>

enum {
    DISK = 4 * 1024 * 1024,
    PART = 65536 /* the extent of mixed disks that holds data */
};

/* How to get at an image of a variant for which its name and create_options do not
 * say all. */
typedef struct Way {
    const char *variant;
    const char *extra;       /* further create options */
    const char *child_extra; /* those of a child; NULL: extra */
    void (*prepare)(void);   /* makes what must exist before; may be NULL */
    void (*build)(void);     /* makes d.vmdk where it cannot be created, holding
                              * generation 1 where bytes says */
    void (*fill)(void);      /* after creation: makes room that a write needs */
    int64_t bytes;           /* which hold data and can be written, from 0; 0: DISK */
    int written_once;
} Way;

/* --------------------------------------------------------------------- ways */

static void make_device(void)
{
    char *path = host_path(place, "dev.img");

    place_write("dev.img", "", 0);
    ck_assert_int_eq(truncate(path, DISK), 0);
    free(path);
}

/* One partition, from sector 2048 on, of 4096. */
static void make_partitioned(void)
{
    uint8_t *bytes = calloc(1, DISK);

    ck_assert_ptr_nonnull(bytes);
    bytes[446 + 4] = 0x83;
    bdrv_store_le32(bytes + 446 + 8, 2048);
    bdrv_store_le32(bytes + 446 + 12, 4096);
    bytes[510] = 0x55;
    bytes[511] = 0xaa;
    place_write("dev.img", bytes, DISK);
    free(bytes);
}

/* The first 16 grains of 4 KiB get their places. */
static void fill_sesparse(void)
{
    char *path = host_path(place, "d-sesparse.vmdk");
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR};
    BlockDriverState *file;
    uint8_t entries[16 * 8];

    bdrv_store_le64(entries, UINT64_C(1) << 60);
    assert_ok(bdrv_open(&file, path, "raw", &options));
    assert_ok(bdrv_pwrite(file, entries, 8, 4096 * SECTOR));
    for (uint64_t i = 0; i < 16; i++) {
        bdrv_store_le64(entries + i * 8, UINT64_C(3) << 60 | i << 48);
    }
    assert_ok(bdrv_pwrite(file, entries, sizeof entries, 6144 * SECTOR));
    assert_ok(bdrv_close(file));
    free(path);
}

static void build_version_3(void)
{
    Built b = build_sparse((Shape){.sectors = DISK / SECTOR, .version = 3});

    for (int64_t i = 0; i < DISK / PART; i++) {
        build_add_grain(&b, i, 1);
    }
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    free(b.bytes);
}

static void build_workstation_2(void)
{
    Built b = build_legacy(1);

    for (int64_t i = 0; i < DISK / PART; i++) {
        add_cowd_grain(&b, i, 1);
    }
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    free(b.bytes);
}

static void build_vsan(void)
{
    place_describe("d.vmdk", "RW 8192 VSANSPARSE \"vsan://d5a1c03d-e25a-1c03\"\n");
}

#define TWO_SPARSE "extents=RW 2048 SPARSE \"x-1\";RW 6144 SPARSE \"x-2\""

static const Way ways[] = {
    {.variant = "streamOptimized", .written_once = 1},
    {.variant = "seSparse", .fill = fill_sesparse, .bytes = PART},
    {.variant = "custom", .extra = "extents=RW 2048 SPARSE \"a\";RW 6144 FLAT \"b\" 0",
     .child_extra = TWO_SPARSE},
    {.variant = "fullDevice", .extra = "device=dev.img", .prepare = make_device},
    {.variant = "partitionedDevice", .extra = "device=dev.img", .prepare = make_partitioned},
    {.variant = "vmfsRawDeviceMap", .extra = "device=dev.img", .prepare = make_device},
    {.variant = "vmfsPassthroughRawDeviceMap", .extra = "device=dev.img",
     .prepare = make_device},
    {.variant = "vmfsRaw", .extra = "device=dev.img", .prepare = make_device},
    {.variant = "vsanSparse", .build = build_vsan},
    {.variant = "cowd of Workstation 2 and 3", .build = build_workstation_2},
    {.variant = "ZERO extents", .extra = "extents=RW 128 FLAT \"a\" 0;RW 8064 ZERO",
     .bytes = PART},
    {.variant = "RDONLY extents",
     .extra = "extents=RW 128 FLAT \"a\" 0;RDONLY 8064 FLAT \"b\" 0", .bytes = PART},
    {.variant = "NOACCESS extents",
     .extra = "extents=RW 128 FLAT \"a\" 0;NOACCESS 8064 FLAT \"b\" 0", .bytes = PART},
    {.variant = "version 3, not compressed", .build = build_version_3},
};

static const Way plain_way;

static const BdrvVariant *variant_number(int index)
{
    BdrvDriverInfo info = {.struct_size = sizeof info};

    assert_ok(bdrv_driver_describe(bdrv_find("vmdk"), &info));
    return &info.variants[index];
}

static const Way *way_of(const BdrvVariant *variant)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(ways[i].variant, variant->name) == 0) {
            return &ways[i];
        }
    }
    ck_assert_msg((variant->abilities & BDRV_CAN_CREATE) && !variant->needs,
                  "nobody here knows how to make '%s'", variant->name);
    return &plain_way;
}

static int64_t bytes_of(const Way *way)
{
    return way->bytes ? way->bytes : DISK;
}

static int try_create_variant(const char *name, const char *backing, const BdrvVariant *v)
{
    const Way *way = way_of(v);
    const char *extra = backing && way->child_extra ? way->child_extra : way->extra;
    char options[512];

    if (way->prepare) {
        way->prepare();
    }
    ck_assert_ptr_nonnull(v->create_options);
    snprintf(options, sizeof options, "%s%s%s", v->create_options, extra ? "," : "",
             extra ? extra : "");
    return place_try_create(name, backing, options, DISK);
}

/* d.vmdk, holding generation 1. */
static void make_variant(const BdrvVariant *v)
{
    const Way *way = way_of(v);
    BlockDriverState *disk;

    if (way->build) {
        way->build();
        return;
    }
    assert_ok(try_create_variant("d.vmdk", NULL, v));
    if (way->fill) {
        way->fill();
    }
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, bytes_of(way), 1));
    assert_ok(bdrv_close(disk));
}

/* -------------------------------------------------------------------- cells */

START_TEST(READ_gives_what_is_stored)
{
    const BdrvVariant *v = variant_number(_i);
    BlockDriverState *disk;

    make_variant(v);
    if (!(v->abilities & BDRV_CAN_READ)) {
        assert_fails(place_try_open("d.vmdk", 0, NULL, &disk), -ENOTSUP);
        return;
    }
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, bytes_of(way_of(v)), 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(WRITE_is_read_again)
{
    const BdrvVariant *v = variant_number(_i);
    const Way *way = way_of(v);
    BlockDriverState *disk;
    int ret;

    make_variant(v); /* by writing, if it was created */
    ret = place_try_open("d.vmdk", BDRV_O_RDWR, NULL, &disk);
    if (!(v->abilities & BDRV_CAN_WRITE) || way->written_once) {
        ck_assert_msg(ret < 0, "%s can be written", v->name);
        ck_assert_ptr_nonnull(v->note);
        return;
    }
    assert_ok(ret);
    assert_ok(pattern_write(disk, 1000, 50000, 2));
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 1000, 50000, 2);
    assert_pattern(disk, 51000 / 8 * 8, PART - 51000 / 8 * 8, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(CREATE_makes_an_empty_one)
{
    const BdrvVariant *v = variant_number(_i);
    BlockDriverState *disk;

    if (!(v->abilities & BDRV_CAN_CREATE)) {
        ck_assert_ptr_null(v->create_options);
        ck_assert_ptr_nonnull(v->note);
        return;
    }
    assert_ok(try_create_variant("d.vmdk", NULL, v));
    disk = place_open("d.vmdk", 0, NULL);
    ck_assert_int_eq(bdrv_getlength(disk), DISK);
    assert_pattern(disk, SECTOR, bytes_of(way_of(v)) - SECTOR, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    if (v->needs) { /* it does */
        assert_fails_saying(place_try_create("e.vmdk", NULL, v->create_options, DISK), -EINVAL,
                            v->needs);
    }
}
END_TEST

static void make_parent(void)
{
    BlockDriverState *disk;

    assert_ok(place_try_create("base.vmdk", NULL, NULL, DISK));
    disk = place_open("base.vmdk", BDRV_O_RDWR, NULL);
    assert_ok(pattern_write(disk, 0, DISK, 3));
    assert_ok(bdrv_close(disk));
}

START_TEST(SNAPSHOT_shows_its_parent)
{
    const BdrvVariant *v = variant_number(_i);
    const Way *way = way_of(v);
    BlockDriverState *disk;

    make_parent();
    if (!(v->abilities & BDRV_CAN_BACK)) {
        if (v->abilities & BDRV_CAN_CREATE) {
            assert_fails(try_create_variant("d.vmdk", "base.vmdk", v), -EINVAL);
        }
        return;
    }
    assert_ok(try_create_variant("d.vmdk", "base.vmdk", v));
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_pattern(disk, 0, DISK, 3);
    if (!way->fill) {
        assert_ok(pattern_write(disk, 999424, 100000, 4));
        assert_pattern(disk, 999424, 100000, 4);
    }
    assert_ok(bdrv_close(disk));
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, 999424, 3);
    assert_pattern(disk, 1099424, DISK - 1099424, 3);
    assert_ok(bdrv_close(disk));
    disk = place_open("base.vmdk", 0, NULL);
    assert_pattern(disk, 0, DISK, 3);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(COMPRESS_makes_it_smaller)
{
    const BdrvVariant *v = variant_number(_i);
    BdrvInfo info = {.struct_size = sizeof info};
    BlockDriverState *disk;

    if (!(v->abilities & BDRV_CAN_CREATE)) {
        return;
    }
    make_variant(v);
    disk = place_open("d.vmdk", 0, NULL);
    assert_ok(bdrv_get_info(disk, &info));
    ck_assert_int_eq(info.compressed != 0, (v->abilities & BDRV_CAN_COMPRESS) != 0);
    ck_assert_int_eq(info.host_bytes < bytes_of(way_of(v)), info.compressed != 0);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* ---------------------------------------------------------- the same each time */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Of the names and bytes of all files of the place. */
static uint64_t hash_place(void)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct dirent **entries;
    const int count = scandir(place, &entries, NULL, alphasort);

    ck_assert_int_gt(count, 0);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char *path = host_path(place, entries[i]->d_name);
            size_t size;
            uint8_t *bytes = host_read_file(path, &size);

            hash = hash_bytes(hash, entries[i]->d_name, strlen(entries[i]->d_name) + 1);
            hash = hash_bytes(hash, bytes, size);
            free(bytes);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    return hash;
}

static uint64_t make_with_seed(const BdrvVariant *v, const char *backing, const char *seed)
{
    BdrvVariant seeded = *v;
    const Way *way = way_of(v);
    char options[256], open_options[64];
    BlockDriverState *disk;

    snprintf(options, sizeof options, "%s,seed=%s", v->create_options, seed);
    snprintf(open_options, sizeof open_options, "seed=%s", seed);
    seeded.create_options = options;
    place_make();
    if (backing) {
        assert_ok(place_try_create(backing, NULL, options + (strlen(v->create_options) + 1), DISK));
    }
    assert_ok(try_create_variant("d.vmdk", backing, &seeded));
    if (way->fill && !backing) {
        way->fill();
    }
    disk = place_open("d.vmdk", BDRV_O_RDWR, open_options);
    if (!way->fill || !backing) {
        assert_ok(pattern_write(disk, 0, bytes_of(way), 1));
    }
    assert_ok(bdrv_close(disk));
    return hash_place();
}

/* With a seed, two creations, and the same writes, give the same bytes in all files;
 * with another seed, others. */
START_TEST(CREATE_depends_on_the_seed_alone)
{
    static const char *const parents[] = {NULL, "base.vmdk"};
    const BdrvVariant *v = variant_number(_i);

    for (int p = 0; p < 2 && v->abilities & BDRV_CAN_CREATE; p++) {
        uint64_t one, two, other;

        if (p == 1 && !(v->abilities & BDRV_CAN_BACK)) {
            continue;
        }
        place_remove();
        one = make_with_seed(v, parents[p], "1700000000");
        place_remove();
        two = make_with_seed(v, parents[p], "1700000000");
        place_remove();
        other = make_with_seed(v, parents[p], "1700000001");
        ck_assert_msg(one == two, "%s: two creations differ", v->name);
        /* A single COWD file has no identity. */
        ck_assert_int_eq(one == other, strcmp(v->name, "cowd") == 0);
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const cells[] = {READ_gives_what_is_stored, WRITE_is_read_again,
                                  CREATE_makes_an_empty_one, SNAPSHOT_shows_its_parent,
                                  COMPRESS_makes_it_smaller,
                                  CREATE_depends_on_the_seed_alone, NULL};
    Suite *suite = suite_create("vmdk/variants");
    TCase *tcase = tcase_create("matrix");
    BdrvDriverInfo info = {.struct_size = sizeof info};
    int count = 0;

    if (bdrv_driver_describe(bdrv_find("vmdk"), &info) == 0) {
        while (info.variants[count].name) {
            count++;
        }
    }
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, place_make, place_remove);
    for (size_t i = 0; cells[i]; i++) {
        tcase_add_loop_test(tcase, cells[i], 0, count);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
