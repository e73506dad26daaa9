/* SPDX-License-Identifier: MIT */
/*
 * seeds.c - see fuzz.h: small valid images, one of each kind that fits in one
 * file, always the same bytes.  What the library can make in memory it makes;
 * the rest is laid out here.
 */
#include "fuzz.h"

#include <string.h>

#include "bdrv-bytes.h"

typedef struct Shape {
    const char *name;
    const char *format;
    const char *options;
    int64_t size;
    int is_child; /* of parent.vmdk (ways.c) */
} Shape;

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    STREAM_GRAIN = 65536
};

#define ALWAYS ",cid=12345678,seed=s"

static const Shape shapes[] = {
    { "raw", "raw", NULL, 3000, 0 },
    { "template", "template", NULL, 100 * 1024, 0 },
    { "sparse", "vmdk", "grain_size=8k" ALWAYS, 100 * 1024 + 512, 0 },
    { "sparse-two-tables", "vmdk", "grain_size=8k,gtes_per_table=128,zeroed_grain=on" ALWAYS,
      1500 * 1024, 0 },
    { "sparse-child", "vmdk", "grain_size=8k" ALWAYS, 400 * 512, 1 },
    { "cowd", "vmdk", "subformat=cowd" ALWAYS, 100 * 1024, 0 },
    { "cowd-grains", "vmdk", "subformat=cowd,grain_size=8k" ALWAYS, 100 * 1024, 0 },
    { "stream", "vmdk", "subformat=streamOptimized" ALWAYS, 4 * STREAM_GRAIN, 0 },
    { "stream-front", "vmdk", "subformat=streamOptimized,stream_layout=front" ALWAYS,
      4 * STREAM_GRAIN, 0 },
};

enum {
    SHAPES = sizeof(shapes) / sizeof(shapes[0])
};

static int make(BlockDriverState *memory, const Shape *shape)
{
    const BdrvCreateOptions options = {
        .struct_size = sizeof(options), .size = shape->size, .options = shape->options,
    };
    return bdrv_create_node(memory, shape->format, &options);
}

/* Some data, zeros, data, nothing, data at the end. */
static int fill_map(BlockDriverState *disk, const uint8_t *content, int64_t size)
{
    int ret = bdrv_pwrite(disk, content, 1000, 0);

    if (ret == 0 && size > 60000) {
        ret = bdrv_pwrite(disk, content, 9000, 20480);
        (void)bdrv_write_zeroes(disk, 49152, 8192);
    }
    if (ret == 0 && size > 150000) {
        ret = bdrv_pwrite(disk, content, 20000, 131072);
    }
    return ret < 0 ? ret : bdrv_pwrite(disk, content, 512, (size - 1) / 512 * 512 - 512);
}

/* In order, and whole grains. */
static int fill_stream(BlockDriverState *disk, const uint8_t *content)
{
    int ret = bdrv_pwrite(disk, content, STREAM_GRAIN, 0);

    if (ret == 0) {
        ret = bdrv_pwrite(disk, content, STREAM_GRAIN, STREAM_GRAIN);
    }
    return ret < 0 ? ret : bdrv_pwrite(disk, content, STREAM_GRAIN, 3 * STREAM_GRAIN);
}

static int fill(BlockDriverState *memory, const Shape *shape)
{
    static uint8_t content[STREAM_GRAIN];
    const BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
        .options = strcmp(shape->format, "vmdk") == 0 ? "seed=s" : NULL,
    };
    BlockDriverState *disk;
    int ret = bdrv_open_node(&disk, memory, shape->format, &options);

    if (ret < 0) {
        return ret;
    }
    for (size_t i = 0; i < sizeof(content); i++) {
        content[i] = (uint8_t)(i / 100 + 1);
    }
    ret = strncmp(shape->name, "stream", 6) == 0 ? fill_stream(disk, content)
                                                 : fill_map(disk, content, shape->size);
    return bdrv_close(disk) < 0 ? -1 : ret;
}

/* The parent is not there when the image is made. */
static void make_child(FuzzSeed *seed)
{
    static const char none[] = "parentCID=ffffffff", hint[] =
        "parentFileNameHint=\"parent.vmdk\"\n";
    char *text = (char *)seed->bytes + SECTOR;
    char *cid = strstr(text, none);

    if (cid != NULL) {
        memcpy(cid + strlen("parentCID="), "11111111", 8);
        strcpy(text + strlen(text), hint);
    }
}

/* ---------------------------------------------------------- laid out by hand */

/* A seSparse extent without the gaps that VMware's have: each part is as small
 * as it can be. */
static uint8_t *sesparse(size_t *size)
{
    static const uint64_t fields[] = {
        0xcafebabe, UINT64_C(0x200000001), 200, 8, 64, 0, 0, 0, 0, 0,
        1, 1, 2, 1, 3, 1, 4, 1, 5, 64, 69, 1, 70, 1, 72, 200,
    };
    uint8_t *bytes = calloc(1, *size = (72 + 3 * 8) * SECTOR);

    if (bytes != NULL) {
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
            bdrv_store_le64(bytes + 8 * i, fields[i]);
        }
        bdrv_store_le64(bytes + SECTOR, 0xcafecafe);
        bdrv_store_le64(bytes + 4 * SECTOR, UINT64_C(1) << 60);
        for (uint64_t i = 0; i < 3; i++) {
            bdrv_store_le64(bytes + 5 * SECTOR + 8 * (2 * i),
                            UINT64_C(3) << 60 | (2 - i) << 48);
            memset(bytes + (72 + 8 * i) * SECTOR, (int)i + 1, 8 * SECTOR);
        }
        bdrv_store_le64(bytes + 5 * SECTOR + 8, UINT64_C(2) << 60);
    }
    return bytes;
}

/* One extent of a split disk: without a descriptor. */
static uint8_t *bare_extent(size_t *size)
{
    enum { GRAIN = 8, GRAINS = 32, GTES = 128, GD = 1, GT = 2, DATA = 8 };
    uint8_t *b = calloc(1, *size = (DATA + 3 * GRAIN) * SECTOR);

    if (b != NULL) {
        memcpy(b, "KDMV", 4);
        bdrv_store_le32(b + 4, 1);
        bdrv_store_le32(b + 8, 1);
        bdrv_store_le64(b + 12, GRAIN * GRAINS);
        bdrv_store_le64(b + 20, GRAIN);
        bdrv_store_le32(b + 44, GTES);
        bdrv_store_le64(b + 56, GD);
        bdrv_store_le64(b + 64, DATA);
        memcpy(b + 73, "\n \r\n", 4);
        bdrv_store_le32(b + GD * SECTOR, GT);
        for (uint32_t i = 0; i < 3; i++) {
            bdrv_store_le32(b + GT * SECTOR + 4 * (5 * i), DATA + GRAIN * (2 - i));
            memset(b + (DATA + GRAIN * i) * SECTOR, (int)i + 1, GRAIN * SECTOR);
        }
    }
    return b;
}

int fuzz_seed(size_t i, FuzzSeed *seed)
{
    BlockDriverState *memory;
    const BdrvOpenOptions writable = { .struct_size = sizeof(writable), .flags = BDRV_O_RDWR };

    if (i >= SHAPES + 2) {
        return 0;
    }
    *seed = (FuzzSeed){ .name = i < SHAPES ? shapes[i].name : i == SHAPES ? "sesparse" : "bare" };
    if (i >= SHAPES) {
        seed->bytes = i == SHAPES ? sesparse(&seed->size) : bare_extent(&seed->size);
        return seed->bytes != NULL;
    }
    if (bdrv_find(shapes[i].format) == NULL) { /* a test driver: not in every program */
        return 1;
    }
    if (bdrv_open(&memory, "seed", "mem", &writable) < 0) {
        return 0;
    }
    if (make(memory, &shapes[i]) == 0 && fill(memory, &shapes[i]) == 0) {
        seed->size = (size_t)bdrv_getlength(memory);
        seed->bytes = malloc(seed->size);
        if (seed->bytes != NULL && bdrv_pread(memory, seed->bytes, seed->size, 0) < 0) {
            free(seed->bytes);
            seed->bytes = NULL;
        }
    }
    if (shapes[i].is_child && seed->bytes != NULL) {
        make_child(seed);
    }
    bdrv_close(memory);
    return 1;
}

const FuzzSeed *fuzz_kept_seed(size_t i)
{
    static FuzzSeed kept[SHAPES + 3];
    static size_t count;
    static int made;

    for (size_t j = 0; !made && fuzz_seed(j, &kept[count]); j++) {
        count += kept[count].bytes != NULL;
    }
    made = 1;
    return i < count ? &kept[i] : NULL;
}

/* ------------------------------------------------------------------ the texts */

#define BEGINNING "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
#define ALONE BEGINNING "parentCID=ffffffff\n"
#define CHILD BEGINNING "parentCID=11111111\nparentFileNameHint=\"parent.vmdk\"\n"

static const char *const texts[] = {
    ALONE "createType=\"monolithicFlat\"\nRW 100 FLAT \"flat.vmdk\" 0\n"
          "ddb.adapterType = \"ide\"\nddb.geometry.cylinders = \"10\"\n"
          "ddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n",
    ALONE "createType=\"twoGbMaxExtentSparse\"\nRW 256 SPARSE \"sparse.vmdk\"\n"
          "RW 256 SPARSE \"sparse-2.vmdk\"\n",
    ALONE "createType=\"custom\"\nRW 17 ZERO\nRDONLY 20 FLAT \"flat.vmdk\" 3\n"
          "NOACCESS 33 FLAT \"gone.vmdk\" 0\nRW 60 FLAT \"flat.vmdk\" 30\n",
    ALONE "createType=\"vmfsSparse\"\nRW 200 VMFSSPARSE \"cowd.vmdk\"\n",
    CHILD "createType=\"vmfsSparse\"\nRW 200 VMFSSPARSE \"cowd.vmdk\"\n",
    CHILD "createType=\"seSparse\"\nRW 200 SESPARSE \"sesparse.vmdk\"\n",
    CHILD "createType=\"twoGbMaxExtentSparse\"\nRW 256 SPARSE \"sparse.vmdk\"\nRW 144 SPARSE "
          "\"sparse-2.vmdk\"\n",
    ALONE "createType=\"streamOptimized\"\nRDONLY 512 SPARSE \"stream.vmdk\"\n",
    "#\r\nversion = 1\r\nencoding = \"windows-1252\"\r\nCID = 1\r\nparentCID = ffffffff\r\n"
    "createType = \"vmfs\"\r\nrw 50 vmfs \"flat.vmdk\"\r\nchangeTrackPath=\"x-ctk.vmdk\"\r\n"
    "ddb.uuid = \"60 00 C2 9b\"\r\nddb.toolsVersion = \"2147483647\"\r\n",
    ALONE "createType=\"fullDevice\"\nRW 63 FLAT \"flat.vmdk\" 0\nRW 37 ZERO\n"
          "isNativeSnapshot=\"no\"\nddb.sidecars = \"\"\n",
};

const char *fuzz_seed_text(size_t i)
{
    return i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : NULL;
}
