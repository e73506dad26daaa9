/* SPDX-License-Identifier: MIT */
/*
 * build-cowd.h - copy-on-write extents, built as build.h builds sparse ones: those
 * of ESX, and those of Workstation 2 and 3.
 *
 *     header │ GD │ then GTs and grains, in the order they came to be needed
 */
#ifndef TESTS_VMDK_BUILD_COWD_H
#define TESTS_VMDK_BUILD_COWD_H

#include "build.h"

enum {
    AT_COWD_SECTORS = 12,
    AT_COWD_GRAIN = 16,
    AT_COWD_GD = 20,
    AT_COWD_ENTRIES = 24,
    AT_COWD_FREE = 28,
    AT_COWD_GEOMETRY = 32,
    AT_COWD_UNCLEAN = 1648,
    AT_COWD_PRODUCT = 1680,
    COWD_GTES = 4096
};

/* A disk of sectors, with grains of grain sectors; as an ESX extent (no
 * geometry), empty. */
static inline Built build_cowd(int64_t sectors, int64_t grain)
{
    Built b = {.sectors = sectors, .grain = grain, .gtes = COWD_GTES, .gt_sectors = 32};

    b.bytes = calloc(1, BUILD_ROOM);
    ck_assert_ptr_nonnull(b.bytes);
    b.tables = bdrv_div_up(sectors, COWD_GTES * grain);
    b.gd[0] = 4;
    b.size = (4 + bdrv_div_up(b.tables * 4, SECTOR)) * SECTOR;
    memcpy(b.bytes, "COWD", 4);
    bdrv_store_le32(b.bytes + AT_VERSION, 1);
    bdrv_store_le32(b.bytes + AT_FLAGS, 3);
    bdrv_store_le32(b.bytes + AT_COWD_SECTORS, (uint32_t)sectors);
    bdrv_store_le32(b.bytes + AT_COWD_GRAIN, (uint32_t)grain);
    bdrv_store_le32(b.bytes + AT_COWD_GD, 4);
    bdrv_store_le32(b.bytes + AT_COWD_ENTRIES, (uint32_t)b.tables);
    bdrv_store_le32(b.bytes + AT_COWD_FREE, (uint32_t)(b.size / SECTOR));
    return b;
}

/* One that stands alone: it has a geometry. */
static inline Built build_root(int64_t sectors, int64_t grain)
{
    Built b = build_cowd(sectors, grain);

    bdrv_store_le32(b.bytes + AT_COWD_GEOMETRY, 12);
    bdrv_store_le32(b.bytes + AT_COWD_GEOMETRY + 4, 16);
    bdrv_store_le32(b.bytes + AT_COWD_GEOMETRY + 8, 63);
    return b;
}

static inline uint32_t cowd_take(Built *b, int64_t sectors)
{
    uint32_t sector = (uint32_t)(b->size / SECTOR);

    b->size += sectors * SECTOR;
    bdrv_store_le32(b->bytes + AT_COWD_FREE, (uint32_t)(b->size / SECTOR));
    return sector;
}

static inline void add_cowd_grain(Built *b, int64_t grain, unsigned generation)
{
    int64_t bytes = b->grain * SECTOR;
    uint32_t sector;

    if (bdrv_load_le32(build_gde(b, 0, grain / b->gtes)) == 0) {
        bdrv_store_le32(build_gde(b, 0, grain / b->gtes), cowd_take(b, b->gt_sectors));
    }
    sector = cowd_take(b, b->grain);
    bdrv_store_le32(build_gte(b, 0, grain), sector);
    pattern_fill(b->bytes + (int64_t)sector * SECTOR, (size_t)bytes, grain * bytes, generation);
}

/* Of Workstation 2 or 3: grain tables of 512 entries, each for 32 MiB. */
static inline Built build_legacy(uint32_t version)
{
    Built b = build_root(3 * 65536, 128);

    b.gtes = 512;
    b.gt_sectors = 4;
    b.tables = 3;
    bdrv_store_le32(b.bytes + AT_VERSION, version);
    bdrv_store_le32(b.bytes + AT_COWD_ENTRIES, 3);
    return b;
}

#endif
