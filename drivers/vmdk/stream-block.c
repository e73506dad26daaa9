/* SPDX-License-Identifier: MIT */
/*
 * stream-block.c - the blocks that a stream consists of: their markers, decoded
 * and checked, and a grain's content.  Shared by all who read or write streams;
 * knows nothing of tables.
 */
#include "stream.h"

#include <string.h>

enum {
    /* More than any table has: 2^26 GTs are a GD of 2^19 sectors. */
    TABLE_SECTORS_MAX = 1 << 26,
    PRESET_DICTIONARY = 0x20 /* in the second byte of a zlib stream */
};

/* ------------------------------------------------------------------ markers */

static int64_t grain_bytes(const VmdkHeader *header)
{
    return (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
}

int vmdk_packed_check(const BlockDriverState *file, const VmdkHeader *header,
                      int64_t disk_offset, uint32_t bytes)
{
    if (bytes > VMDK_EXPANSION_MAX * grain_bytes(header)) {
        return bdrv_error(file, -EIO, "the compressed grain of disk sector %" PRId64 " has %"
                          PRIu32 " bytes; at most %" PRId64 " are possible",
                          disk_offset / BDRV_SECTOR_SIZE, bytes,
                          VMDK_EXPANSION_MAX * grain_bytes(header));
    }
    return 0;
}

static int decode_grain(const BlockDriverState *file, const VmdkHeader *header, int64_t at,
                        uint64_t sector, uint32_t bytes, VmdkBlock *block)
{
    if (sector >= header->capacity_sectors || sector % header->grain_sectors != 0) {
        return bdrv_error(file, -EIO, "the grain at offset %" PRId64 " says that it belongs to "
                          "disk sector %" PRIu64 ", where no grain of a disk of %" PRIu64
                          " sectors begins", at, sector, header->capacity_sectors);
    }
    block->kind = VMDK_BLOCK_GRAIN;
    block->disk_offset = (int64_t)sector * BDRV_SECTOR_SIZE;
    block->packed = bytes;
    block->bytes = bdrv_round_up((int64_t)bytes + VMDK_MARKER_BYTES, BDRV_SECTOR_SIZE);
    return vmdk_packed_check(file, header, block->disk_offset, bytes);
}

/* Some writers leave the number of sectors 0 where it is known anyway. */
static uint64_t normal_sectors(const VmdkHeader *header, uint32_t type)
{
    switch (type) {
    case VMDK_BLOCK_GT:
        return (uint64_t)vmdk_header_gt_sectors(header);
    case VMDK_BLOCK_GD:
        return (uint64_t)vmdk_header_gd_sectors(header);
    case VMDK_BLOCK_FOOTER:
        return 1;
    default:
        return 0;
    }
}

static int decode_other(const BlockDriverState *file, const VmdkHeader *header, int64_t at,
                        uint64_t sectors, uint32_t type, VmdkBlock *block)
{
    const uint64_t most = type == VMDK_BLOCK_PROGRESS ? 1 : TABLE_SECTORS_MAX;

    if (type > VMDK_BLOCK_PROGRESS) {
        return bdrv_error(file, -EIO, "the marker at offset %" PRId64 " is of type %" PRIu32
                          "; known are 0 to %d", at, type, VMDK_BLOCK_PROGRESS);
    }
    if (sectors > most) {
        return bdrv_error(file, -EIO, "the marker at offset %" PRId64 " of type %" PRIu32
                          " is said to be followed by %" PRIu64 " sectors; at most %" PRIu64
                          " are possible", at, type, sectors, most);
    }
    block->kind = (VmdkBlockKind)type;
    sectors = sectors == 0 ? normal_sectors(header, type) : sectors;
    block->bytes = (int64_t)(sectors + 1) * BDRV_SECTOR_SIZE;
    return 0;
}

int vmdk_block_decode(const BlockDriverState *file, const VmdkHeader *header,
                      const uint8_t *marker, int64_t at, VmdkBlock *block)
{
    const uint64_t value = bdrv_load_le64(marker);
    const uint32_t size = bdrv_load_le32(marker + 8);

    *block = (VmdkBlock){.kind = VMDK_BLOCK_END};
    return size > 0 ? decode_grain(file, header, at, value, size, block)
                    : decode_other(file, header, at, value, bdrv_load_le32(marker + 12), block);
}

void vmdk_block_encode(VmdkBlockKind kind, int64_t sectors, uint8_t *marker)
{
    memset(marker, 0, BDRV_SECTOR_SIZE);
    bdrv_store_le64(marker, (uint64_t)sectors);
    bdrv_store_le32(marker + 12, (uint32_t)kind);
}

/* ------------------------------------------------------------------- grains */

static int bad_grain(const BlockDriverState *file, int64_t disk_offset, const char *why)
{
    return bdrv_error(file, -EIO, "the compressed grain of disk sector %" PRId64 " %s",
                      disk_offset / BDRV_SECTOR_SIZE, why);
}

/* Some writers compress of the last grain only what the disk has of it. */
int vmdk_grain_inflate(const BlockDriverState *file, VmdkInflater *inflater,
                       const VmdkHeader *header, int64_t disk_offset, const uint8_t *packed,
                       size_t packed_bytes, uint8_t *out, int64_t covered)
{
    size_t got = 0;

    if (packed_bytes >= 2 && packed[1] & PRESET_DICTIONARY) {
        return bad_grain(file, disk_offset, "wants a preset dictionary, which no VMDK has");
    }
    switch (vmdk_inflate(inflater, packed, packed_bytes, out, (size_t)grain_bytes(header),
                         &got)) {
    case VMDK_INFLATED:
        break;
    case VMDK_INFLATE_DAMAGED:
        return bad_grain(file, disk_offset, "cannot be decompressed: it is damaged");
    case VMDK_INFLATE_TOO_LONG:
        return bad_grain(file, disk_offset, "decompresses to more than a grain");
    case VMDK_INFLATE_NO_MEMORY:
        return -ENOMEM;
    }
    return (int64_t)got >= covered
               ? 0
               : bad_grain(file, disk_offset, "decompresses to less than a grain");
}

int vmdk_stream_check(const BlockDriverState *file, const VmdkHeader *header)
{
    if (header->grain_sectors > VMDK_STREAM_GRAIN_MAX / BDRV_SECTOR_SIZE) {
        return bdrv_error(file, -EINVAL, "sparse header: grainSize is %" PRIu64 " sectors; of "
                          "compressed grains at most %d are possible", header->grain_sectors,
                          VMDK_STREAM_GRAIN_MAX / BDRV_SECTOR_SIZE);
    }
    return 0;
}
