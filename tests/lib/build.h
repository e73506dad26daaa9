/* SPDX-License-Identifier: MIT */
/*
 * build.h - sparse extents built byte by byte in memory, to be right or wrong
 * in one chosen place; nothing of the driver is used.  The layout is that of
 * VMware's programs:
 *
 *     header │ descriptor │ RGD, RGTs │ GD, GTs │ pad │ grains
 */
#ifndef TESTS_VMDK_BUILD_H
#define TESTS_VMDK_BUILD_H

#include <inttypes.h>

#include "bdrv-bytes.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    BUILD_CID = 0x12345678,
    BUILD_ROOM = 8 * 1024 * 1024, /* no built file is longer */
    NO_DESCRIPTOR = 1 << 0,       /* descriptorOffset 0, as in a split disk */
    NO_REDUNDANT = 1 << 1,
    NO_TABLES = 1 << 2 /* all GDEs 0 */
};

/* Offsets of header fields. */
enum {
    AT_VERSION = 4,
    AT_FLAGS = 8,
    AT_CAPACITY = 12,
    AT_GRAIN = 20,
    AT_DESCRIPTOR = 28,
    AT_DESCRIPTOR_SIZE = 36,
    AT_GTES = 44,
    AT_RGD = 48,
    AT_GD = 56,
    AT_OVERHEAD = 64,
    AT_UNCLEAN = 72,
    AT_NEWLINES = 73,
    AT_COMPRESSION = 77
};

typedef struct Shape {
    int64_t sectors;  /* capacity; 0: 2048, a mebibyte */
    int64_t grain;    /* sectors; 0: 128 */
    int64_t gtes;     /* 0: 512 */
    uint32_t version; /* 0: 1 */
    uint32_t flags;   /* more than 3 */
    unsigned without; /* NO_… */
    const char *text; /* descriptor; NULL: a plain one */
    const char *more; /* lines for the plain one; NULL: none */
    const char *parent_cid; /* for the plain one; NULL: ffffffff */
} Shape;

typedef struct Built {
    uint8_t *bytes; /* BUILD_ROOM of them */
    int64_t size;
    int64_t sectors, grain, gtes, tables; /* of the shape */
    int64_t gd_sectors, gt_sectors;
    int64_t gd[2]; /* sectors of GD and RGD; [1] 0: none */
} Built;

static inline void build_directories(Built *b, int64_t start, unsigned without)
{
    int64_t set = b->gd_sectors + b->tables * b->gt_sectors;

    b->gd[1] = without & NO_REDUNDANT ? 0 : start;
    b->gd[0] = without & NO_REDUNDANT ? start : start + set;
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; b->gd[s] && !(without & NO_TABLES) && i < b->tables; i++) {
            bdrv_store_le32(b->bytes + b->gd[s] * SECTOR + i * 4,
                            (uint32_t)(b->gd[s] + b->gd_sectors + i * b->gt_sectors));
        }
    }
    b->size = bdrv_round_up((b->gd[0] + set) * SECTOR, b->grain * SECTOR);
}

static inline void build_header(Built *b, const Shape *shape)
{
    static const uint8_t newlines[] = {'\n', ' ', '\r', '\n'};
    int embedded = !(shape->without & NO_DESCRIPTOR);
    uint32_t flags = b->gd[1] ? 3 : 1;

    memcpy(b->bytes, "KDMV", 4);
    bdrv_store_le32(b->bytes + AT_VERSION, shape->version ? shape->version : 1);
    bdrv_store_le32(b->bytes + AT_FLAGS, flags | shape->flags);
    bdrv_store_le64(b->bytes + AT_CAPACITY, (uint64_t)b->sectors);
    bdrv_store_le64(b->bytes + AT_GRAIN, (uint64_t)b->grain);
    bdrv_store_le64(b->bytes + AT_DESCRIPTOR, embedded ? 1 : 0);
    bdrv_store_le64(b->bytes + AT_DESCRIPTOR_SIZE, embedded ? 20 : 0);
    bdrv_store_le32(b->bytes + AT_GTES, (uint32_t)b->gtes);
    bdrv_store_le64(b->bytes + AT_RGD, (uint64_t)b->gd[1]);
    bdrv_store_le64(b->bytes + AT_GD, (uint64_t)b->gd[0]);
    bdrv_store_le64(b->bytes + AT_OVERHEAD, (uint64_t)(b->size / SECTOR));
    memcpy(b->bytes + AT_NEWLINES, newlines, sizeof newlines);
}

static inline void build_text(Built *b, const Shape *shape)
{
    char *to = (char *)b->bytes + SECTOR;

    if (shape->text) {
        snprintf(to, 20 * SECTOR, "%s", shape->text);
    } else if (!(shape->without & NO_DESCRIPTOR)) {
        snprintf(to, 20 * SECTOR,
                 "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%s\n"
                 "createType=\"monolithicSparse\"\n%sRW %" PRId64 " SPARSE \"x.vmdk\"\n",
                 BUILD_CID, shape->parent_cid ? shape->parent_cid : "ffffffff",
                 shape->more ? shape->more : "", b->sectors);
    }
}

/* An empty image of that shape; its bytes are to be freed. */
static inline Built build_sparse(Shape shape)
{
    Built b = {.sectors = shape.sectors ? shape.sectors : 2048,
               .grain = shape.grain ? shape.grain : 128,
               .gtes = shape.gtes ? shape.gtes : 512};

    b.bytes = calloc(1, BUILD_ROOM);
    ck_assert_ptr_nonnull(b.bytes);
    b.tables = bdrv_div_up(bdrv_div_up(b.sectors, b.grain), b.gtes);
    b.gt_sectors = bdrv_div_up(b.gtes * 4, SECTOR);
    b.gd_sectors = bdrv_div_up(b.tables * 4, SECTOR);
    build_directories(&b, shape.without & NO_DESCRIPTOR ? 1 : 21, shape.without);
    build_header(&b, &shape);
    build_text(&b, &shape);
    return b;
}

/* Where the GDE of table, or the GTE of grain is, in set 0 (primary) or 1. */
static inline uint8_t *build_gde(const Built *b, int set, int64_t table)
{
    return b->bytes + b->gd[set] * SECTOR + table * 4;
}

static inline uint8_t *build_gte(const Built *b, int set, int64_t grain)
{
    int64_t gt = bdrv_load_le32(build_gde(b, set, grain / b->gtes));

    return b->bytes + gt * SECTOR + grain % b->gtes * 4;
}

static inline void build_set_gte(Built *b, int64_t grain, uint32_t entry)
{
    for (int s = 0; s < 2; s++) {
        if (b->gd[s]) {
            bdrv_store_le32(build_gte(b, s, grain), entry);
        }
    }
}

/* Appends the grain, holding that generation of the pattern. */
static inline void build_add_grain(Built *b, int64_t grain, unsigned generation)
{
    int64_t bytes = b->grain * SECTOR;

    b->size = bdrv_round_up(b->size, bytes);
    pattern_fill(b->bytes + b->size, (size_t)bytes, grain * bytes, generation);
    build_set_gte(b, grain, (uint32_t)(b->size / SECTOR));
    b->size += bytes;
}

/* ---- what happens to it ---- */

/* Log lines, gathered. */
typedef struct Log {
    char text[4096];
} Log;

static inline void log_line(void *opaque, const char *line)
{
    Log *log = opaque;

    strncat(log->text, line, sizeof log->text - strlen(log->text) - 1);
    strncat(log->text, "\n", sizeof log->text - strlen(log->text) - 1);
}

static inline int try_open(BlockDriverState *memory, unsigned flags, const char *text, Log *log,
                           BlockDriverState **disk)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags, .options = text};

    if (log) {
        log->text[0] = '\0';
        options.log = log_line;
        options.log_opaque = log;
    }
    return bdrv_open_node(disk, memory, "vmdk", &options);
}

static inline BlockDriverState *open_memory(BlockDriverState *memory, unsigned flags)
{
    BlockDriverState *disk;

    assert_ok(try_open(memory, flags, NULL, NULL, &disk));
    return disk;
}

static inline BlockDriverState *build_memory(const Built *b)
{
    return image_memory_from(b->bytes, b->size);
}

/* Takes what is in memory back into b, to be looked at or changed. */
static inline void build_reload(Built *b, BlockDriverState *memory)
{
    uint8_t *bytes = image_memory_bytes(memory);

    b->size = bdrv_getlength(memory);
    ck_assert_int_le(b->size, BUILD_ROOM);
    memcpy(b->bytes, bytes, (size_t)b->size);
    free(bytes);
}

/* Opening b must fail so; it is used up. */
static inline void build_refused(Built *b, unsigned flags, int error, const char *message)
{
    BlockDriverState *memory = build_memory(b), *disk;

    assert_fails_saying(try_open(memory, flags, NULL, NULL, &disk), error, message);
    bdrv_close(memory);
    free(b->bytes);
}

#endif
