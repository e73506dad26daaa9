/* SPDX-License-Identifier: MIT */
/*
 * cowd-header.c - the header of a copy-on-write extent ("COWD"): bytes to
 * struct and back, and the checks that need nothing but it and the file's
 * length.  Two families use it: ESX deltas, where a text descriptor says most,
 * and disks of Workstation 2 and 3, which are complete in themselves and have
 * smaller grain tables.
 *
 *     0      magic, version, flags, capacity, grain size, GD, free sector
 *     32     geometry, or the parent's name, or nothing
 *     1648   unclean shutdown
 *     1680   of Workstation only: a version
 *     2048   end
 */
#include "vmdk.h"

#include <string.h>

enum {
    VERSION_ESX = 1,
    VERSION_LEGACY = 3,
    GD_SECTOR_MIN = 4, /* behind the header */
    GD_ENTRIES_MAX = 1 << 20, /* 2^32 sectors of the smallest grain */
    UNION_OFFSET = 32,
    UNION_BYTES = 1024,
    PRODUCT_OFFSET = 1680,
    LEGACY_GRAIN_SECTORS = 128,
    LEGACY_GT_SECTORS = 65536, /* what one GT covers: 32 MiB */
    HEADS_MAX = 255,
    TRACK_SECTORS_MAX = 63
};

static VmdkCowdRole decode_role(VmdkCowdHeader *h, const uint8_t *bytes)
{
    h->cylinders = bdrv_load_le32(bytes);
    h->heads = bdrv_load_le32(bytes + 4);
    h->sectors = bdrv_load_le32(bytes + 8);
    for (size_t i = 0; i < UNION_BYTES; i++) {
        if (bytes[i] != 0) {
            /* Four letters of a path are no number of heads. */
            return h->heads > HEADS_MAX || h->sectors > TRACK_SECTORS_MAX ? VMDK_COWD_CHILD
                                                                          : VMDK_COWD_ROOT;
        }
    }
    return VMDK_COWD_DELTA;
}

/* A disk of one GT of either family reads the same, but not so when written:
 * then the product's version, padding in the other family, decides. */
static int decode_legacy(const VmdkCowdHeader *h, const uint8_t *bytes)
{
    int64_t legacy = bdrv_div_up(h->capacity_sectors, LEGACY_GT_SECTORS);
    int64_t esx = bdrv_div_up(h->capacity_sectors,
                              (int64_t)VMDK_COWD_GTES * LEGACY_GRAIN_SECTORS);

    if (h->version == VERSION_LEGACY) {
        return 1;
    }
    return h->grain_sectors == LEGACY_GRAIN_SECTORS && h->gd_entries == legacy &&
           (legacy != esx || bdrv_load_le32(bytes + PRODUCT_OFFSET) != 0);
}

void vmdk_cowd_header_decode(VmdkCowdHeader *header, const uint8_t *bytes)
{
    header->version = bdrv_load_le32(bytes + 4);
    header->flags = bdrv_load_le32(bytes + 8);
    header->capacity_sectors = bdrv_load_le32(bytes + 12);
    header->grain_sectors = bdrv_load_le32(bytes + 16);
    header->gd_sector = bdrv_load_le32(bytes + 20);
    header->gd_entries = bdrv_load_le32(bytes + 24);
    header->free_sector = bdrv_load_le32(bytes + VMDK_COWD_FREE_OFFSET);
    header->role = decode_role(header, bytes + UNION_OFFSET);
    header->legacy = decode_legacy(header, bytes);
    /* Workstation keeps something else there. */
    header->unclean_shutdown =
        header->legacy ? 0 : bdrv_load_le32(bytes + VMDK_COWD_UNCLEAN_OFFSET);
}

void vmdk_cowd_header_encode(const VmdkCowdHeader *header, uint8_t *bytes)
{
    memset(bytes, 0, VMDK_COWD_HEADER_BYTES);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a field */
    memcpy(bytes, "COWD", 4);
    bdrv_store_le32(bytes + 4, header->version);
    bdrv_store_le32(bytes + 8, header->flags);
    bdrv_store_le32(bytes + 12, header->capacity_sectors);
    bdrv_store_le32(bytes + 16, header->grain_sectors);
    bdrv_store_le32(bytes + 20, header->gd_sector);
    bdrv_store_le32(bytes + 24, header->gd_entries);
    bdrv_store_le32(bytes + VMDK_COWD_FREE_OFFSET, header->free_sector);
    if (header->role == VMDK_COWD_ROOT) {
        bdrv_store_le32(bytes + UNION_OFFSET, header->cylinders);
        bdrv_store_le32(bytes + UNION_OFFSET + 4, header->heads);
        bdrv_store_le32(bytes + UNION_OFFSET + 8, header->sectors);
    }
    bdrv_store_le32(bytes + VMDK_COWD_UNCLEAN_OFFSET, header->unclean_shutdown);
}

int64_t vmdk_cowd_gtes(const VmdkCowdHeader *header)
{
    return header->legacy ? LEGACY_GT_SECTORS / (int64_t)header->grain_sectors : VMDK_COWD_GTES;
}

/* ------------------------------------------------------------------ checks */

static int check_units(const BlockDriverState *file, const VmdkCowdHeader *h)
{
    if (h->version != VERSION_ESX && h->version != VERSION_LEGACY) {
        return bdrv_error(file, -EINVAL, "COWD header: version is %" PRIu32 "; known are 1 and "
                          "3", h->version);
    }
    if (!bdrv_is_power_of_two(h->grain_sectors) ||
        h->grain_sectors > VMDK_COWD_GRAIN_SECTORS_MAX) {
        return bdrv_error(file, -EINVAL, "COWD header: grainSize is %" PRIu32 " sectors; wanted "
                          "is a power of two up to %d", h->grain_sectors,
                          VMDK_COWD_GRAIN_SECTORS_MAX);
    }
    if (h->capacity_sectors == 0) {
        return bdrv_error(file, -EINVAL, "COWD header: numSectors is 0");
    }
    return 0;
}

static int check_directory(const BlockDriverState *file, const VmdkCowdHeader *h, int64_t size)
{
    int64_t wanted = bdrv_div_up(h->capacity_sectors,
                                 vmdk_cowd_gtes(h) * (int64_t)h->grain_sectors);
    int64_t end = (int64_t)h->gd_sector * BDRV_SECTOR_SIZE + (int64_t)h->gd_entries * 4;

    if (h->gd_entries < wanted || h->gd_entries > GD_ENTRIES_MAX) {
        return bdrv_error(file, -EINVAL, "COWD header: numGDEntries is %" PRIu32 "; wanted are %"
                          PRId64 " for %" PRIu32 " sectors, and at most %d", h->gd_entries,
                          wanted, h->capacity_sectors, GD_ENTRIES_MAX);
    }
    if (h->gd_sector < GD_SECTOR_MIN || end > size) {
        return bdrv_error(file, -EINVAL, "COWD header: gdOffset is sector %" PRIu32 ", where a "
                          "directory of %" PRIu32 " entries is not behind the header and inside "
                          "the file of %" PRId64 " bytes", h->gd_sector, h->gd_entries, size);
    }
    return 0;
}

int vmdk_cowd_header_read(BlockDriverState *file, VmdkCowdHeader *header)
{
    uint8_t bytes[VMDK_COWD_HEADER_BYTES];
    int64_t size = bdrv_getlength(file);
    int ret;

    if (size < VMDK_COWD_HEADER_BYTES) {
        return bdrv_error(file, -EINVAL, "the file has %" PRId64 " bytes, less than a COWD "
                          "header", size);
    }
    ret = bdrv_pread(file, bytes, sizeof bytes, 0);
    if (ret < 0) {
        return ret;
    }
    if (vmdk_magic(bytes, sizeof bytes) != VMDK_MAGIC_COWD) {
        return bdrv_error(file, -EINVAL, "this is no copy-on-write extent: the file does not "
                          "begin with COWD");
    }
    vmdk_cowd_header_decode(header, bytes);
    ret = check_units(file, header);
    return ret < 0 ? ret : check_directory(file, header, size);
}
