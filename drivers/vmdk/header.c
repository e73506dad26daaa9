/* SPDX-License-Identifier: MIT */
/*
 * header.c - the header of a hosted sparse extent ("KDMV"): bytes to struct
 * and back, and every check that needs nothing but the header, its copy at the
 * end of the file (the footer of a stream) and the file's length.
 */
#include "vmdk.h"

#include <string.h>

enum {
    VERSION_MIN = 1,
    VERSION_MAX = 3,
    COMPRESSION_DEFLATE = 1,
    /* Blank sectors between a footer and the file's end that are tolerated. */
    FOOTER_SLACK_SECTORS = 128,
    MARKER_FOOTER = 3
};

/* 2^26 GTs are a GD of 256 MiB. */
#define TABLES_MAX (UINT64_C(1) << 26)

static const uint8_t newline_bytes[4] = {'\n', ' ', '\r', '\n'};

VmdkMagic vmdk_magic(const uint8_t *head, size_t size)
{
    static const struct {
        uint8_t bytes[8];
        size_t length;
        VmdkMagic magic;
    } known[] = {
        {{'K', 'D', 'M', 'V'}, 4, VMDK_MAGIC_SPARSE},
        {{'k', 'd', 'm', 'v'}, 4, VMDK_MAGIC_UNFINISHED},
        {{'C', 'O', 'W', 'D'}, 4, VMDK_MAGIC_COWD},
        {{0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0}, 8, VMDK_MAGIC_SESPARSE},
        {{0xa2, 0x72, 0x19, 0xf6}, 4, VMDK_MAGIC_CHANGES},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (size >= known[i].length && memcmp(head, known[i].bytes, known[i].length) == 0) {
            return known[i].magic;
        }
    }
    return VMDK_MAGIC_NONE;
}

void vmdk_header_decode(VmdkHeader *header, const uint8_t *bytes)
{
    header->version = bdrv_load_le32(bytes + 4);
    header->flags = bdrv_load_le32(bytes + 8);
    header->capacity_sectors = bdrv_load_le64(bytes + 12);
    header->grain_sectors = bdrv_load_le64(bytes + 20);
    header->descriptor_sector = bdrv_load_le64(bytes + 28);
    header->descriptor_sectors = bdrv_load_le64(bytes + 36);
    header->gtes_per_gt = bdrv_load_le32(bytes + 44);
    header->rgd_sector = bdrv_load_le64(bytes + 48);
    header->gd_sector = bdrv_load_le64(bytes + 56);
    header->overhead_sectors = bdrv_load_le64(bytes + 64);
    header->unclean_shutdown = bytes[72];
    memcpy(header->newlines, bytes + 73, sizeof header->newlines);
    header->compression = bdrv_load_le16(bytes + 77);
    header->needs_footer = 0;
}

static void encode_changeable(const VmdkHeader *header, uint8_t *bytes)
{
    bdrv_store_le32(bytes + 4, header->version);
    bdrv_store_le32(bytes + 8, header->flags);
    bytes[72] = header->unclean_shutdown;
}

static void encode_places(const VmdkHeader *header, uint8_t *bytes)
{
    bdrv_store_le64(bytes + 12, header->capacity_sectors);
    bdrv_store_le64(bytes + 28, header->descriptor_sector);
    bdrv_store_le64(bytes + 48, header->rgd_sector);
    bdrv_store_le64(bytes + 56, header->gd_sector);
    bdrv_store_le64(bytes + 64, header->overhead_sectors);
}

void vmdk_header_encode(const VmdkHeader *header, uint8_t *bytes)
{
    memset(bytes, 0, VMDK_HEADER_BYTES);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a field */
    memcpy(bytes, "KDMV", 4);
    encode_changeable(header, bytes);
    encode_places(header, bytes);
    bdrv_store_le64(bytes + 20, header->grain_sectors);
    bdrv_store_le64(bytes + 36, header->descriptor_sectors);
    bdrv_store_le32(bytes + 44, header->gtes_per_gt);
    memcpy(bytes + 73, newline_bytes, sizeof newline_bytes);
    bdrv_store_le16(bytes + 77, header->compression);
}

int64_t vmdk_header_gt_sectors(const VmdkHeader *header)
{
    return bdrv_div_up((int64_t)header->gtes_per_gt * 4, BDRV_SECTOR_SIZE);
}

int64_t vmdk_header_tables(const VmdkHeader *header)
{
    int64_t grains = bdrv_div_up((int64_t)header->capacity_sectors,
                                 (int64_t)header->grain_sectors);

    return bdrv_div_up(grains, header->gtes_per_gt);
}

int64_t vmdk_header_gd_sectors(const VmdkHeader *header)
{
    return bdrv_div_up(vmdk_header_tables(header) * 4, BDRV_SECTOR_SIZE);
}

/* ------------------------------------------------------------------ checks */

static int check_version(const BlockDriverState *file, const VmdkHeader *h)
{
    if (h->version < VERSION_MIN || h->version > VERSION_MAX) {
        return bdrv_error(file, -EINVAL, "sparse header: version is %" PRIu32
                          "; known are 1 to 3", h->version);
    }
    if (h->flags & VMDK_FLAGS_UNKNOWN) {
        return bdrv_error(file, -EINVAL, "sparse header: flags are 0x%" PRIx32 "; of the upper "
                          "half only 0x10000 and 0x20000 are known, and it forbids to ignore "
                          "the others", h->flags);
    }
    if (h->flags & VMDK_FLAG_NEWLINES &&
        memcmp(h->newlines, newline_bytes, sizeof newline_bytes) != 0) {
        return bdrv_error(file, -EINVAL, "sparse header: the newline bytes are %02x %02x %02x "
                          "%02x instead of 0a 20 0d 0a: the file was transferred as text, "
                          "which destroyed it; transfer it again as binary", h->newlines[0],
                          h->newlines[1], h->newlines[2], h->newlines[3]);
    }
    return 0;
}

static int check_compression(const BlockDriverState *file, const VmdkHeader *h)
{
    if (h->flags & VMDK_FLAG_MARKERS && !(h->flags & VMDK_FLAG_COMPRESSED)) {
        return bdrv_error(file, -EINVAL, "sparse header: flags are 0x%" PRIx32 ": markers "
                          "(0x20000) without compression (0x10000)", h->flags);
    }
    if (h->flags & VMDK_FLAG_COMPRESSED && h->compression != COMPRESSION_DEFLATE) {
        return bdrv_error(file, -EINVAL, "sparse header: compressAlgorithm is %u; known is 1, "
                          "deflate", h->compression);
    }
    return 0;
}

static int check_units(const BlockDriverState *file, const VmdkHeader *h)
{
    if (!bdrv_is_power_of_two(h->grain_sectors) ||
        h->grain_sectors > VMDK_GRAIN_SECTORS_MAX) {
        return bdrv_error(file, -EINVAL, "sparse header: grainSize is %" PRIu64 " sectors; "
                          "wanted is a power of two up to %d", h->grain_sectors,
                          VMDK_GRAIN_SECTORS_MAX);
    }
    if (!bdrv_is_power_of_two(h->gtes_per_gt) || h->gtes_per_gt < VMDK_GTES_MIN ||
        h->gtes_per_gt > VMDK_GTES_MAX) {
        return bdrv_error(file, -EINVAL, "sparse header: numGTEsPerGT is %" PRIu32 "; wanted "
                          "is a power of two from %d to %d", h->gtes_per_gt, VMDK_GTES_MIN,
                          VMDK_GTES_MAX);
    }
    return 0;
}

/* Needs check_units().  With its limits, no product of grain and GTEs can
 * overflow, and a capacity of 2^53 sectors has fewer than 2^48 grains only if
 * the GD's limit holds, which is the stricter one. */
static int check_capacity(const BlockDriverState *file, const VmdkHeader *h)
{
    if (h->capacity_sectors == 0 || h->capacity_sectors >= VMDK_CAPACITY_SECTORS_END) {
        return bdrv_error(file, -EINVAL, "sparse header: capacity is %" PRIu64 " sectors; "
                          "wanted are 1 to 2^53 - 1", h->capacity_sectors);
    }
    if ((uint64_t)vmdk_header_tables(h) > TABLES_MAX) {
        return bdrv_error(file, -EINVAL, "sparse header: capacity %" PRIu64 " sectors needs %"
                          PRId64 " grain tables; the limit is 2^26", h->capacity_sectors,
                          vmdk_header_tables(h));
    }
    return 0;
}

/* Are count sectors from sector on inside the file, behind the header? */
static int is_inside(uint64_t sector, int64_t count, int64_t file_size)
{
    int64_t start, end;

    return sector > 0 && bdrv_scale(sector, BDRV_SECTOR_SIZE, &start) &&
           bdrv_add(start, count * BDRV_SECTOR_SIZE, &end) && end <= file_size;
}

int vmdk_header_redundant_fits(const VmdkHeader *header, int64_t file_size)
{
    return is_inside(header->rgd_sector, vmdk_header_gd_sectors(header), file_size);
}

static int overlaps(uint64_t a, int64_t a_count, uint64_t b, int64_t b_count)
{
    return a < b + (uint64_t)b_count && b < a + (uint64_t)a_count;
}

static int check_directory(const BlockDriverState *file, const VmdkHeader *h, int64_t size)
{
    const int64_t gd_sectors = vmdk_header_gd_sectors(h);

    if (!is_inside(h->gd_sector, gd_sectors, size)) {
        return bdrv_error(file, -EINVAL, "sparse header: gdOffset is sector %" PRIu64 ", where "
                          "a grain directory of %" PRId64 " sectors is not inside the file of %"
                          PRId64 " bytes: is it truncated?", h->gd_sector, gd_sectors, size);
    }
    if (h->flags & VMDK_FLAG_REDUNDANT && vmdk_header_redundant_fits(h, size) &&
        overlaps(h->gd_sector, gd_sectors, h->rgd_sector, gd_sectors)) {
        return bdrv_error(file, -EINVAL, "sparse header: the directories at gdOffset %" PRIu64
                          " and rgdOffset %" PRIu64 " overlap", h->gd_sector, h->rgd_sector);
    }
    return 0;
}

static int check_descriptor(const BlockDriverState *file, const VmdkHeader *h, int64_t size)
{
    if (h->descriptor_sector == 0) {
        return 0;
    }
    if (h->descriptor_sectors > VMDK_EMBEDDED_TEXT_MAX / BDRV_SECTOR_SIZE) {
        return bdrv_error(file, -EINVAL, "sparse header: descriptorSize is %" PRIu64
                          " sectors; the limit is %d", h->descriptor_sectors,
                          VMDK_EMBEDDED_TEXT_MAX / BDRV_SECTOR_SIZE);
    }
    if (!is_inside(h->descriptor_sector, (int64_t)h->descriptor_sectors, size)) {
        return bdrv_error(file, -EINVAL, "sparse header: the descriptor of %" PRIu64
                          " sectors at sector %" PRIu64 " is not inside the file of %" PRId64
                          " bytes", h->descriptor_sectors, h->descriptor_sector, size);
    }
    return 0;
}

/* ------------------------------------------------------------------ footer */

static int is_blank(const uint8_t *sector)
{
    return sector[0] == 0 && memcmp(sector, sector + 1, BDRV_SECTOR_SIZE - 1) == 0;
}

static int is_footer_marker(const uint8_t *sector)
{
    return bdrv_load_le64(sector) <= 1 && bdrv_load_le32(sector + 8) == 0 &&
           bdrv_load_le32(sector + 12) == MARKER_FOOTER;
}

/* Normally the last three sectors are marker, footer, end of stream; some
 * programs leave blank sectors behind, or out.  *at becomes the footer's
 * offset, 0: there is none. */
static int find_footer(BlockDriverState *file, uint8_t *footer, int64_t *at)
{
    const int64_t last = bdrv_getlength(file) / BDRV_SECTOR_SIZE - 1;
    uint8_t sectors[2 * BDRV_SECTOR_SIZE];

    *at = 0;
    for (int64_t s = last; s > 1 && s >= last - FOOTER_SLACK_SECTORS; s--) {
        int ret = bdrv_pread(file, sectors, sizeof sectors, (s - 1) * BDRV_SECTOR_SIZE);

        if (ret < 0) {
            return ret;
        }
        memcpy(footer, sectors + BDRV_SECTOR_SIZE, VMDK_HEADER_BYTES);
        if (!is_blank(footer)) {
            *at = is_footer_marker(sectors) ? s * BDRV_SECTOR_SIZE : 0;
            break;
        }
    }
    return 0;
}

int vmdk_header_has_footer(BlockDriverState *file)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    int64_t at;
    int ret = find_footer(file, bytes, &at);

    return ret < 0 ? ret : at != 0;
}

static int no_footer(const BlockDriverState *file)
{
    return bdrv_error(file, -EINVAL, "sparse header: gdOffset says that there is a footer, but "
                      "none is at the end of the file: it was not completely transferred");
}

static int check_footer(const BlockDriverState *file, const VmdkHeader *h,
                        const VmdkHeader *footer, int64_t at)
{
    if (footer->version != h->version || footer->flags != h->flags ||
        footer->grain_sectors != h->grain_sectors || footer->gtes_per_gt != h->gtes_per_gt ||
        (h->capacity_sectors != 0 && footer->capacity_sectors != h->capacity_sectors)) {
        return bdrv_error(file, -EINVAL, "the footer at offset %" PRId64 " is no copy of the "
                          "header: version, flags, capacity, grainSize and numGTEsPerGT must "
                          "be the same", at);
    }
    if (footer->gd_sector == VMDK_GD_AT_END && h->gd_sector == VMDK_GD_AT_END) {
        return bdrv_error(file, -EINVAL, "the footer at offset %" PRId64 " says, as the header "
                          "does, that gdOffset is in the footer", at);
    }
    return 0;
}

/* Where there is a footer it is what counts; of the header, written before its
 * author knew the end, only what cannot change must be the same. */
static int read_footer(BlockDriverState *file, VmdkHeader *h)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    VmdkHeader footer;
    int64_t at = 0;
    int ret = find_footer(file, bytes, &at);

    if (ret < 0) {
        return ret;
    }
    if (at == 0 || vmdk_magic(bytes, sizeof bytes) != VMDK_MAGIC_SPARSE) {
        return h->gd_sector == VMDK_GD_AT_END ? no_footer(file) : 0;
    }
    vmdk_header_decode(&footer, bytes);
    ret = check_footer(file, h, &footer, at);
    if (ret < 0 || footer.gd_sector == VMDK_GD_AT_END) {
        return ret;
    }
    footer.descriptor_sector = h->descriptor_sector;
    footer.descriptor_sectors = h->descriptor_sectors;
    footer.needs_footer = h->gd_sector == VMDK_GD_AT_END;
    *h = footer;
    return 0;
}

/* ----------------------------------------------------------- read and write */

static int check_all(const BlockDriverState *file, const VmdkHeader *h, int64_t size)
{
    int ret = check_compression(file, h);

    if (ret == 0) {
        ret = check_units(file, h);
    }
    if (ret == 0) {
        ret = check_capacity(file, h);
    }
    if (ret == 0) {
        ret = check_descriptor(file, h, size);
    }
    return ret < 0 ? ret : check_directory(file, h, size);
}

static int read_stored(BlockDriverState *file, VmdkHeader *header)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    int64_t size = bdrv_getlength(file);
    int ret;

    if (size < VMDK_HEADER_BYTES) {
        return bdrv_error(file, -EINVAL, "the file has %" PRId64 " bytes, less than a sparse "
                          "header", size);
    }
    ret = bdrv_pread(file, bytes, sizeof bytes, 0);
    if (ret < 0) {
        return ret;
    }
    if (vmdk_magic(bytes, sizeof bytes) != VMDK_MAGIC_SPARSE) {
        return bdrv_error(file, -EINVAL, "this is no sparse extent: the file does not begin "
                          "with KDMV");
    }
    vmdk_header_decode(header, bytes);
    return check_version(file, header);
}

int vmdk_header_read_front(BlockDriverState *file, VmdkHeader *header)
{
    int ret = read_stored(file, header);

    if (ret == 0) {
        ret = check_compression(file, header);
    }
    if (ret == 0) {
        ret = check_units(file, header);
    }
    if (ret == 0 && (header->capacity_sectors != 0 || header->gd_sector != VMDK_GD_AT_END)) {
        ret = check_capacity(file, header);
    }
    return ret < 0 ? ret : check_descriptor(file, header, bdrv_getlength(file));
}

int vmdk_header_read(BlockDriverState *file, VmdkHeader *header)
{
    int ret = read_stored(file, header);

    if (ret == 0 && (header->gd_sector == VMDK_GD_AT_END ||
                     header->flags & VMDK_FLAG_COMPRESSED)) {
        ret = read_footer(file, header);
    }
    return ret < 0 ? ret : check_all(file, header, bdrv_getlength(file));
}

int vmdk_header_read_for(BlockDriverState *file, int64_t capacity_sectors, VmdkHeader *header)
{
    int ret = read_stored(file, header);

    if (ret == 0 && (header->gd_sector == VMDK_GD_AT_END ||
                     header->flags & VMDK_FLAG_COMPRESSED)) {
        ret = bdrv_error(file, -EINVAL, "sparse header: only a footer tells its capacity");
    }
    header->capacity_sectors = (uint64_t)capacity_sectors;
    return ret < 0 ? ret : check_all(file, header, bdrv_getlength(file));
}

void vmdk_header_remark(const BlockDriverState *bs, const VmdkHeader *h, int64_t file_size)
{
    if (!(h->flags & VMDK_FLAG_COMPRESSED) && h->compression != 0) {
        bdrv_log(bs, "sparse header: compressAlgorithm is %u, but no flag says that grains "
                 "are compressed: ignored", h->compression);
    }
    if (!(h->flags & VMDK_FLAG_COMPRESSED) &&
        h->overhead_sectors > (uint64_t)file_size / BDRV_SECTOR_SIZE) {
        bdrv_log(bs, "sparse header: overHead is %" PRIu64 " sectors, more than the file has: "
                 "it was truncated", h->overhead_sectors);
    }
}

int vmdk_header_move(BlockDriverState *file, const VmdkHeader *header)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    int ret = bdrv_pread(file, bytes, sizeof bytes, 0);

    if (ret < 0) {
        return ret;
    }
    encode_changeable(header, bytes);
    encode_places(header, bytes);
    return bdrv_pwrite(file, bytes, sizeof bytes, 0);
}

int vmdk_header_update(BlockDriverState *file, const VmdkHeader *header)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    int ret = bdrv_pread(file, bytes, sizeof bytes, 0);

    if (ret < 0) {
        return ret;
    }
    encode_changeable(header, bytes);
    return bdrv_pwrite(file, bytes, sizeof bytes, 0);
}
