/* SPDX-License-Identifier: MIT */
/*
 * ways.c - see fuzz.h: the roles in which hostile bytes come to a driver, and
 * what must hold of whatever could be opened.
 *
 *     as a file of its own, of each format and of the probed one
 *     as one extent of a disk, asked for by option
 *     as the extent of each kind that a descriptor names
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "bdrv-bytes.h"

enum {
    MOST_RUNS = 120, /* of a disk that may claim to be endless */
    TABLE_BYTES = 256 * 1024,
    DEPTH = 3,
    PARENT_CID = 0x11111111
};

static const FuzzWay special[] = {
    { .format = "vmdk", .options = "extent=on" },
    { .format = "vmdk", .kind = "SPARSE" },
    { .format = "vmdk", .kind = "VMFSSPARSE" },
    { .format = "vmdk", .kind = "SESPARSE" },
};

enum {
    SPECIAL = sizeof(special) / sizeof(special[0])
};

/* ------------------------------------------------------------------ numbers */

FuzzRandom fuzz_random_from(const uint8_t *bytes, size_t size)
{
    FuzzRandom random = { UINT64_C(0xcbf29ce484222325) };

    for (size_t i = 0; i < size; i++) {
        random.state = (random.state ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return random;
}

uint32_t fuzz_random(FuzzRandom *random)
{
    uint64_t x = random->state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(x >> 32);
}

int64_t fuzz_random_below(FuzzRandom *random, int64_t below)
{
    uint64_t number = (uint64_t)fuzz_random(random) << 32 | fuzz_random(random);
    return (int64_t)(number % (uint64_t)below);
}

/* --------------------------------------------------------------------- ways */

/* The i-th format that gives meaning to a file. */
static const char *format_name(size_t i)
{
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = { .struct_size = sizeof(info) };

        if (bdrv_driver_describe(d, &info) == 0 && !info.is_protocol && i-- == 0) {
            return info.name;
        }
    }
    return NULL;
}

int fuzz_way(size_t i, FuzzWay *way)
{
    if (i == 0) {
        *way = (FuzzWay){ .format = NULL };
        return 1;
    }
    return fuzz_way_to_write(i - 1, way);
}

int fuzz_way_to_write(size_t i, FuzzWay *way)
{
    if (i < SPECIAL) {
        *way = special[i];
        return 1;
    }
    *way = (FuzzWay){ .format = format_name(i - SPECIAL) };
    return way->format != NULL;
}

/* Is it that kind of extent, if one byte of the magic number may be wrong?  Its
 * sectors, as far as one can believe them. */
static int looks_like(const char *kind, const uint8_t *head, uint64_t *sectors)
{
    static const uint8_t se_magic[] = { 0xbe, 0xba, 0xfe, 0xca };
    const uint8_t *magic = (const uint8_t *)"KDMV";
    int same = 0;

    *sectors = bdrv_load_le64(head + 12);
    if (strcmp(kind, "VMFSSPARSE") == 0) {
        magic = (const uint8_t *)"COWD";
        *sectors = bdrv_load_le32(head + 12);
    } else if (strcmp(kind, "SESPARSE") == 0) {
        magic = se_magic;
        *sectors = bdrv_load_le64(head + 16);
    }
    for (int i = 0; i < 4; i++) {
        same += head[i] == magic[i];
    }
    *sectors = *sectors > 0 && *sectors < UINT64_C(1) << 54 ? *sectors : 128;
    return same >= 3;
}

/* Not much of a disk, but one that can be a parent. */
static int put_parent(Store *store)
{
    static const char text[] =
        "# Disk DescriptorFile\nversion=1\nCID=11111111\nparentCID=ffffffff\n"
        "createType=\"monolithicFlat\"\nRW 40 FLAT \"parent-flat.vmdk\" 0\n"
        "RW 320 ZERO\nRW 40 FLAT \"parent-flat.vmdk\" 40\n";
    uint8_t bytes[80 * BDRV_SECTOR_SIZE];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i / 512 + 1);
    }
    return store_add(store, "parent.vmdk", text, sizeof(text) - 1) != NULL &&
           store_add(store, "parent-flat.vmdk", bytes, sizeof(bytes)) != NULL;
}

/* Headers have a byte that nobody looks at: it says how much longer than the
 * input the file is.  What follows are zeros. */
static int64_t sparse_tail(const uint8_t *data, size_t size)
{
    return size >= 512 && data[0] == 'K' && data[508] >> 4 == 0xe
               ? INT64_C(1) << (16 + 2 * (data[508] & 15))
               : 0;
}

int fuzz_put(Store *store, const FuzzWay *way, const uint8_t *data, size_t size)
{
    uint64_t sectors;
    StoreFile *image;
    char text[300];

    if (way->kind != NULL) {
        if (size < 512 || !looks_like(way->kind, data, &sectors)) {
            return 0;
        }
        snprintf(text, sizeof(text),
                 "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=%s\n"
                 "createType=\"custom\"\nparentFileNameHint=\"parent.vmdk\"\n"
                 "RW %llu %s \"x.vmdk\"\n",
                 data[509] == 1 ? "11111111" : "ffffffff", (unsigned long long)sectors,
                 way->kind);
        if (store_add(store, "disk.vmdk", text, strlen(text)) == NULL ||
            !put_parent(store)) {
            return 0;
        }
    }
    image = store_add(store, way->kind != NULL ? "x.vmdk" : "image.vmdk", data, size);
    if (image == NULL) {
        return 0;
    }
    image->length += sparse_tail(data, size);
    return way->kind != NULL || put_parent(store);
}

int fuzz_open_store(BlockDriverState **bs, Store *store, const FuzzWay *way, unsigned flags)
{
    StoreFile *file = store_file(store, 0);
    const BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = flags, .max_depth = DEPTH,
        .table_bytes = TABLE_BYTES, .options = way->options,
    };
    BdrvIo io;
    int result;

    store_io(file, (flags & BDRV_O_RDWR) != 0, &io);
    result = bdrv_open_io(bs, "fuzz", &io, file, way->format, &options);
    REQUIRE(result <= 0, "open returns 0 or a negative errno");
    REQUIRE(result == 0 || *bs == NULL, "failed open gives NULL");
    REQUIRE(result == 0 || bdrv_errmsg()[0] != '\0', "failure has a message");
    return result;
}

void fuzz_say_finding(void *opaque, const BdrvFinding *finding)
{
    (void)opaque;
    if (getenv("FUZZ_SAYS") != NULL) {
        fprintf(stderr, "found %d at %lld + %lld: %s: %s%s\n", (int)finding->kind,
                (long long)finding->offset, (long long)finding->bytes, finding->text,
                finding->repair != NULL ? finding->repair : "nothing can be done",
                finding->repaired ? " (done)" : "");
    }
}

/* ------------------------------------------------------------------ looking */

int64_t fuzz_place(int64_t length, int i)
{
    static const int64_t first[] = { 0, 1, 511, 65536, 131071, 2097152 };
    enum { FIRST = sizeof(first) / sizeof(first[0]) };

    return i < FIRST ? first[i] : length / (FUZZ_PLACES - FIRST) * (i - FIRST + 1) - 1;
}

typedef struct Depth {
    int now;
    uint64_t items;
} Depth;

/* Open and closed in turn, and all text can be read to its end. */
static void see_detail(void *opaque, const BdrvDetail *detail)
{
    Depth *depth = opaque;

    depth->items++;
    depth->items += detail->key != NULL ? strlen(detail->key) : 0;
    if (detail->kind == BDRV_DETAIL_STRING) {
        depth->items += strlen(detail->string);
    }
    depth->now += detail->kind == BDRV_DETAIL_OBJECT_BEGIN ||
                  detail->kind == BDRV_DETAIL_LIST_BEGIN;
    depth->now -= detail->kind == BDRV_DETAIL_END;
    REQUIRE(depth->now >= 0, "details end what they have begun");
}

static void describe(BlockDriverState *bs)
{
    BdrvInfo info = { .struct_size = sizeof(info) };
    BdrvGeometry geometry;
    Depth depth = { 0, 0 };

    REQUIRE(bdrv_getlength(bs) >= 0, "length is not negative");
    bdrv_get_info(bs, &info);
    bdrv_get_geometry(bs, &geometry);
    if (bdrv_get_details(bs, see_detail, &depth) == 0) {
        REQUIRE(depth.now == 0, "details end what they have begun");
    }
}

static void require_zeros(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    uint8_t buf[FUZZ_PIECE];
    size_t count = bytes < FUZZ_PIECE ? (size_t)bytes : FUZZ_PIECE;

    if (bdrv_pread(bs, buf, count, offset) == 0) {
        for (size_t i = 0; i < count; i++) {
            REQUIRE(buf[i] == 0, "what is told as zeros reads as zeros");
        }
    }
}

static void walk(BlockDriverState *bs)
{
    int64_t length = bdrv_getlength(bs), at = 0;

    for (int i = 0; i < MOST_RUNS && at < length; i++) {
        BdrvExtent extent;
        if (bdrv_map(bs, at, length - at, &extent) != 0) {
            at += 65536;
            continue;
        }
        REQUIRE(extent.bytes >= 1 && extent.bytes <= length - at,
                "a run has 1 byte to what was asked");
        if (extent.state != BDRV_DATA) {
            require_zeros(bs, at, extent.bytes);
        }
        at += extent.bytes;
    }
}

void fuzz_look(BlockDriverState *bs)
{
    uint8_t buf[FUZZ_PIECE];
    int64_t length = bdrv_getlength(bs);

    describe(bs);
    walk(bs);
    for (int i = 0; i < FUZZ_PLACES; i++) {
        int result = bdrv_pread(bs, buf, sizeof(buf), fuzz_place(length, i));
        REQUIRE(result <= 0, "read returns 0 or a negative errno");
        bdrv_read(bs, fuzz_place(length, i) / BDRV_SECTOR_SIZE, buf, 1);
    }
}

/* ------------------------------------------------------------------ samples */

static void choose_samples(BlockDriverState *bs, FuzzReading *reading)
{
    enum { FIRST = FUZZ_SAMPLES / 2, RUNS = FUZZ_SAMPLES / 4 };
    int64_t length = bdrv_getlength(bs), at = (int64_t)FIRST * FUZZ_PIECE;

    while (reading->count < FIRST && reading->count * (int64_t)FUZZ_PIECE < length) {
        reading->offsets[reading->count] = reading->count * (int64_t)FUZZ_PIECE;
        reading->count++;
    }
    for (int runs = 0; runs < RUNS && at < length; runs++) {
        BdrvExtent extent = { .bytes = 65536 };
        if (bdrv_map(bs, at, length - at, &extent) == 0 && extent.state == BDRV_DATA) {
            reading->offsets[reading->count++] = at;
        }
        at += extent.bytes > 0 ? extent.bytes : 65536;
    }
    while (reading->count < FUZZ_SAMPLES && at < length) {
        reading->offsets[reading->count++] = at;
        at += (length - at) / 8 / FUZZ_PIECE * FUZZ_PIECE + FUZZ_PIECE;
    }
}

void fuzz_read_samples(BlockDriverState *bs, FuzzReading *reading)
{
    int64_t length = bdrv_getlength(bs);

    if (reading->count == 0) {
        choose_samples(bs, reading);
    }
    for (int i = 0; i < reading->count; i++) {
        int64_t left = length - reading->offsets[i];
        size_t bytes = left < FUZZ_PIECE ? (size_t)(left > 0 ? left : 0) : FUZZ_PIECE;

        memset(reading->bytes[i], 0, FUZZ_PIECE);
        reading->readable[i] =
            left > 0 && bdrv_pread(bs, reading->bytes[i], bytes, reading->offsets[i]) == 0;
        if (!reading->readable[i]) {
            memset(reading->bytes[i], 0, FUZZ_PIECE);
        }
    }
}
