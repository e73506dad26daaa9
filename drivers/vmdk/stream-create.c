/* SPDX-License-Identifier: MIT */
/*
 * stream-create.c - an empty stream, valid as it is, in the two layouts that
 * importers are known to take:
 *
 *     end    header │ descriptor │ pad │ grains, GTs │ GD │ footer │ end of stream
 *     front  header │ descriptor │ GD, GTs │ pad │ grains │ end of stream
 *
 * The first can be written without going back, and is the only one that 7-Zip
 * reads; the second is what VMware's own converter makes.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    VERSION_STREAM = 3, /* importers refuse less */
    DESCRIPTOR_SECTORS = 20,
    COMPRESSION_DEFLATE = 1,
    GTES = 512, /* others are refused by most readers of streams */
    GRAIN_SECTORS_MIN = 16,
    GRAIN_SECTORS_MAX = 2048,
    GRAIN_SECTORS_DEFAULT = 128,
    FRONT_SECTORS = 1 + DESCRIPTOR_SECTORS,
    TAIL_SECTORS = 3, /* GD marker, footer marker, footer */
    TABLES_MAX = 1 << 26, /* as header.c accepts them */
    CHUNK_ENTRIES = 16384
};

/* --------------------------------------------------------------------- plan */

static int choose_header(const BlockDriverState *file, VmdkStreamLayout layout, VmdkHeader *header)
{
    int64_t tables = vmdk_header_tables(header);
    int64_t end = FRONT_SECTORS + vmdk_header_gd_sectors(header);

    if (layout == VMDK_STREAM_FRONT) {
        end += tables * vmdk_header_gt_sectors(header);
        header->gd_sector = FRONT_SECTORS;
        header->overhead_sectors =
            (uint64_t)bdrv_round_up(end, VMDK_STREAM_OVERHEAD_SECTORS);
    }
    if (tables > TABLES_MAX || end > UINT32_MAX) {
        return bdrv_error(file, -EINVAL, "a disk of %" PRIu64 " sectors needs more tables than "
                          "can be addressed; a larger grain_size needs fewer",
                          header->capacity_sectors);
    }
    return 0;
}

static int make_header(const BlockDriverState *file, const BdrvOptions *options, int64_t sectors,
                       VmdkHeader *header)
{
    const int in_front = strcmp(bdrv_option_string(options, "stream_layout"), "front") == 0;
    int64_t grain_sectors = GRAIN_SECTORS_DEFAULT;
    int ret = vmdk_choose_grain(file, options, GRAIN_SECTORS_MIN, GRAIN_SECTORS_MAX,
                                &grain_sectors);

    if (ret == 0 && bdrv_option_number(options, "gtes_per_table") != GTES) {
        ret = bdrv_error(file, -EINVAL, "gtes_per_table is %" PRId64 "; of a stream, %d is "
                         "wanted", bdrv_option_number(options, "gtes_per_table"), GTES);
    }
    if (ret < 0) {
        return ret;
    }
    *header = (VmdkHeader){
        .version = VERSION_STREAM,
        .flags = VMDK_FLAG_NEWLINES | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS,
        .capacity_sectors = (uint64_t)bdrv_round_up(sectors, grain_sectors),
        .grain_sectors = (uint64_t)grain_sectors,
        .descriptor_sector = 1,
        .descriptor_sectors = DESCRIPTOR_SECTORS,
        .gtes_per_gt = GTES,
        .gd_sector = VMDK_GD_AT_END,
        .overhead_sectors = VMDK_STREAM_OVERHEAD_SECTORS,
        .compression = COMPRESSION_DEFLATE,
    };
    return choose_header(file, in_front ? VMDK_STREAM_FRONT : VMDK_STREAM_END, header);
}

static VmdkDeflateEngine choose_engine(const BdrvOptions *options)
{
    return strcmp(bdrv_option_string(options, "compression_engine"), "isal") == 0
               ? VMDK_DEFLATE_ISAL
               : VMDK_DEFLATE_LIBDEFLATE;
}

/* *packing: as it stands at VMDK_LEVEL_OFFSET. */
static int choose_packing(const BlockDriverState *file, const BdrvOptions *options, int *packing)
{
    const VmdkDeflateEngine engine = choose_engine(options);
    const int is_level_given = bdrv_option_given(options, "compression_level");
    const int64_t level = is_level_given ? bdrv_option_number(options, "compression_level") : 0;
    const int level_max = vmdk_deflate_level_max(engine);

    if (is_level_given && (level < 1 || level > level_max)) {
        return bdrv_error(file, -EINVAL, "compression_level is %" PRId64 "; wanted is 1 (fast) "
                          "to %d (small)", level, level_max);
    }
    *packing = (int)engine << VMDK_LEVEL_BITS | (int)level;
    /* An empty stream needs no library. */
    return bdrv_option_given(options, "compression_engine") ? vmdk_deflate_require(engine) : 0;
}

/* ------------------------------------------------------------------ writing */

/* Header, descriptor and pad. */
static int write_front(BlockDriverState *file, const VmdkHeader *header, int packing,
                       const char *descriptor)
{
    const size_t size = VMDK_STREAM_OVERHEAD_SECTORS * BDRV_SECTOR_SIZE;
    uint8_t *bytes;
    int ret;

    if (strlen(descriptor) > DESCRIPTOR_SECTORS * BDRV_SECTOR_SIZE) {
        return bdrv_error(file, -EINVAL, "the descriptor has %zu bytes; there is room for %d",
                          strlen(descriptor), DESCRIPTOR_SECTORS * BDRV_SECTOR_SIZE);
    }
    bytes = calloc(1, size);
    if (!bytes) {
        return -ENOMEM;
    }
    vmdk_header_encode(header, bytes);
    bytes[VMDK_LEVEL_OFFSET] = (uint8_t)packing;
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): zeros follow */
    memcpy(bytes + VMDK_HEADER_BYTES, descriptor, strlen(descriptor));
    ret = bdrv_pwrite(file, bytes, size, 0);
    free(bytes);
    return ret;
}

/* All GTs are there from the beginning, and empty. */
static int write_directory(BlockDriverState *file, const VmdkHeader *header)
{
    const int64_t tables = vmdk_header_tables(header);
    int64_t gt = (int64_t)header->gd_sector + vmdk_header_gd_sectors(header);
    uint8_t *bytes = malloc(CHUNK_ENTRIES * 4);
    int ret = bytes ? 0 : -ENOMEM;

    for (int64_t done = 0; ret == 0 && done < tables; done += CHUNK_ENTRIES) {
        int64_t now = bdrv_min(tables - done, CHUNK_ENTRIES);

        for (int64_t i = 0; i < now; i++, gt += vmdk_header_gt_sectors(header)) {
            bdrv_store_le32(bytes + i * 4, (uint32_t)gt);
        }
        ret = bdrv_pwrite(file, bytes, (size_t)now * 4,
                          (int64_t)header->gd_sector * BDRV_SECTOR_SIZE + done * 4);
    }
    free(bytes);
    return ret;
}

/* The GD of zeros is there already: it is a hole. */
static int write_end(BlockDriverState *file, const VmdkHeader *header, int packing)
{
    const int64_t gd_sectors = vmdk_header_gd_sectors(header);
    const int64_t gd = (int64_t)header->overhead_sectors + 1;
    uint8_t bytes[2 * BDRV_SECTOR_SIZE] = {0};
    VmdkHeader footer = *header;
    int ret;

    vmdk_block_encode(VMDK_BLOCK_GD, gd_sectors, bytes);
    ret = bdrv_pwrite(file, bytes, BDRV_SECTOR_SIZE, (gd - 1) * BDRV_SECTOR_SIZE);
    if (ret < 0) {
        return ret;
    }
    footer.gd_sector = (uint64_t)gd;
    vmdk_block_encode(VMDK_BLOCK_FOOTER, 1, bytes);
    vmdk_header_encode(&footer, bytes + BDRV_SECTOR_SIZE);
    /* Nothing but gdOffset may be another: it stays so if the disk stays empty. */
    bytes[BDRV_SECTOR_SIZE + VMDK_LEVEL_OFFSET] = (uint8_t)packing;
    return bdrv_pwrite(file, bytes, sizeof bytes, (gd + gd_sectors) * BDRV_SECTOR_SIZE);
}

static int write_all(BlockDriverState *file, const VmdkHeader *header, int packing,
                     const char *descriptor)
{
    const int at_end = header->gd_sector == VMDK_GD_AT_END;
    int64_t sectors = (int64_t)header->overhead_sectors + 1; /* the end of stream */
    int ret;

    if (bdrv_open_flags(file) & BDRV_O_FORWARD) {
        /* What follows is the writer's. */
        return at_end ? write_front(file, header, packing, descriptor)
                      : bdrv_error(file, -ENOTSUP, "a pipe cannot be gone back in to write the "
                                   "tables: stream_layout=end is wanted");
    }
    sectors += at_end ? TAIL_SECTORS + vmdk_header_gd_sectors(header) : 0;
    ret = bdrv_truncate(file, sectors * BDRV_SECTOR_SIZE);
    if (ret < 0) {
        return bdrv_error_prefix(file, ret, "a stream ends where its file ends");
    }
    ret = write_front(file, header, packing, descriptor);
    if (ret < 0) {
        return ret;
    }
    return at_end ? write_end(file, header, packing) : write_directory(file, header);
}

/* Importers want the file's real name; a pipe has none. */
static const char *extent_name(const BlockDriverState *file)
{
    const char *name = vmdk_name_of(file);

    return bdrv_open_flags(file) & BDRV_O_FORWARD || !vmdk_can_be_quoted(name) ? "disk.vmdk"
                                                                               : name;
}

static int compose(VmdkPlan *plan, const char *name, VmdkText *text)
{
    vmdk_compose_extent(&plan->extents, plan->sectors, VMDK_SPARSE, name);
    if (!plan->extents.failed) {
        vmdk_compose(text, plan);
    }
    return plan->extents.failed || text->failed ? -ENOMEM : 0;
}

int vmdk_create_stream(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan)
{
    VmdkHeader header;
    VmdkText text = {0};
    int packing = 0;
    int ret = make_header(file, params->options, plan->sectors, &header);

    if (ret == 0 && params->backing_filename) {
        ret = bdrv_error(file, -EINVAL, "a streamOptimized image has no parent: it is what one "
                         "machine sends to another");
    }
    if (ret == 0) {
        ret = choose_packing(file, params->options, &packing);
    }
    if (ret == 0) {
        plan->sectors = (int64_t)header.capacity_sectors;
        ret = compose(plan, extent_name(file), &text);
    }
    if (ret == 0) {
        ret = write_all(file, &header, packing, text.bytes);
    }
    free(text.bytes);
    return ret;
}
