/* SPDX-License-Identifier: MIT */
/*
 * check-signs.c - what tells that an extent is a stream when its header does not:
 * the descriptor's type, and the markers of its grains.  Of a stream whose header
 * is lost, the directories fit an uncompressed layout just as well: whoever takes
 * it for that reads markers and zlib streams as content, and the repair that
 * follows destroys the stream.  Nothing is mended here.
 */
#include "check.h"
#include "stream.h"

#include <string.h>
#include <strings.h>

enum {
    AT_SIZE = 8,
    ZLIB_DEFLATE_32K = 0x78, /* the first byte of every zlib stream of a grain */
    ZLIB_CHECK = 31,         /* the first two, as a number, are a multiple (RFC 1950, 2.2) */
    LBA_ALIGNMENT = 8,       /* sectors: no writer has smaller grains */
    SCAN_SECTORS = 2 * 130   /* the most that a usual grain, and one more, can take */
};

int vmdk_type_is_stream(const Vmdk *image)
{
    return image->descriptor.create_type &&
           strcasecmp(image->descriptor.create_type, "streamOptimized") == 0;
}

/* LBA, size, and the head of a zlib stream. */
static int is_packed_grain(const uint8_t *sector, uint64_t capacity)
{
    const uint64_t lba = bdrv_load_le64(sector);
    const uint32_t size = bdrv_load_le32(sector + AT_SIZE);
    const uint8_t *zlib = sector + VMDK_MARKER_BYTES;

    return lba % LBA_ALIGNMENT == 0 && lba < capacity && size > 2 &&
           size <= VMDK_EXPANSION_MAX * VMDK_STREAM_GRAIN_MAX && zlib[0] == ZLIB_DEFLATE_32K &&
           (zlib[0] << 8 | zlib[1]) % ZLIB_CHECK == 0;
}

/* Where the tables end may have been guessed wrong: all sectors behind that are
 * looked at, of which a grain must be one. */
int vmdk_has_packed_grains(BlockDriverState *file, uint64_t sector, uint64_t capacity)
{
    const int64_t end = bdrv_getlength(file) / BDRV_SECTOR_SIZE;
    uint8_t bytes[BDRV_SECTOR_SIZE];

    for (int64_t i = 0; i < SCAN_SECTORS && sector < (uint64_t)end; i++, sector++) {
        int ret = bdrv_pread(file, bytes, sizeof bytes, (int64_t)sector * BDRV_SECTOR_SIZE);

        if (ret < 0 || is_packed_grain(bytes, capacity)) {
            return ret < 0 ? ret : 1;
        }
    }
    return 0;
}
