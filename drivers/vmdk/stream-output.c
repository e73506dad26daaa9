/* SPDX-License-Identifier: MIT */
/*
 * stream-output.c - a stream on its way into its file: the grains, which come
 * packed and in order, the tables, and the end.
 *
 *     end    header │ descriptor │ grains of GT 0 │ GT 0 │ … │ GD │ footer │ end of stream
 *     front  header │ descriptor │ GD, GTs │ grains │ end of stream
 *
 * All but the GTs of the second is appended, through a buffer.  The header says
 * that the stream is not finished until it is.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    BUFFER_BYTES = 256 * 1024, /* so that small grains cost few calls */
    ENTRY_BYTES = 4
};

int vmdk_stream_output_init(VmdkStreamOutput *output)
{
    const VmdkHeader *header = &output->header;

    output->layout =
        header->gd_sector == VMDK_GD_AT_END ? VMDK_STREAM_END : VMDK_STREAM_FRONT;
    output->gt_bytes = vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    output->gd_bytes = vmdk_header_gd_sectors(header) * BDRV_SECTOR_SIZE;
    if (output->layout == VMDK_STREAM_FRONT) {
        output->first_gt =
            (int64_t)header->gd_sector * BDRV_SECTOR_SIZE + output->gd_bytes;
    }
    output->position = (int64_t)header->overhead_sectors * BDRV_SECTOR_SIZE;
    output->table = -1;
    output->buffer = malloc(BUFFER_BYTES);
    output->gt = malloc((size_t)output->gt_bytes);
    output->gd = calloc(1, (size_t)output->gd_bytes);
    return output->buffer && output->gt && output->gd ? 0 : -ENOMEM;
}

void vmdk_stream_output_free(VmdkStreamOutput *output)
{
    free(output->buffer);
    free(output->gt);
    free(output->gd);
}

/* ---------------------------------------------------------------- appending */

static int drain(VmdkStreamOutput *output)
{
    int ret = 0;

    if (output->buffered > 0) {
        ret = bdrv_pwrite(output->file, output->buffer, (size_t)output->buffered,
                          output->position - output->buffered);
    }
    output->buffered = 0;
    return ret;
}

static int append(VmdkStreamOutput *output, const uint8_t *bytes, int64_t count)
{
    int ret = 0;

    while (ret == 0 && count > 0) {
        int64_t now = bdrv_min(count, BUFFER_BYTES - output->buffered);

        memcpy(output->buffer + output->buffered, bytes, (size_t)now);
        output->buffered += now;
        output->position += now;
        bytes += now;
        count -= now;
        if (output->buffered == BUFFER_BYTES) {
            ret = drain(output);
        }
    }
    return ret;
}

static int append_marked(VmdkStreamOutput *output, VmdkBlockKind kind, const uint8_t *bytes, int64_t count)
{
    uint8_t marker[BDRV_SECTOR_SIZE];
    int ret;

    vmdk_block_encode(kind, count / BDRV_SECTOR_SIZE, marker);
    ret = append(output, marker, sizeof marker);
    return ret < 0 ? ret : append(output, bytes, count);
}

/* ------------------------------------------------------------------- tables */

/* Of the next block; entries have 32 bits. */
static int sector_of_next(const VmdkStreamOutput *output, uint32_t *sector)
{
    const int64_t next = output->position / BDRV_SECTOR_SIZE;

    if (next > UINT32_MAX) {
        return bdrv_error(output->file, -ENOSPC, "the stream has 2 TiB, the most that "
                          "its tables can address");
    }
    *sector = (uint32_t)next;
    return 0;
}

static int finish_table(VmdkStreamOutput *output)
{
    const int64_t table = output->table;
    uint32_t marker_sector = 0;
    int ret;

    if (table < 0) {
        return 0;
    }
    output->table = -1;
    if (output->layout == VMDK_STREAM_FRONT) {
        return bdrv_pwrite(output->file, output->gt, (size_t)output->gt_bytes,
                           output->first_gt + table * output->gt_bytes);
    }
    ret = sector_of_next(output, &marker_sector);
    if (ret == 0) {
        bdrv_store_le32(output->gd + table * ENTRY_BYTES, marker_sector + 1);
        ret = append_marked(output, VMDK_BLOCK_GT, output->gt, output->gt_bytes);
    }
    return ret;
}

/* The next grain, at offset, will be stored at the end. */
static int enter(VmdkStreamOutput *output, int64_t offset)
{
    const int64_t grain = offset / BDRV_SECTOR_SIZE / (int64_t)output->header.grain_sectors;
    const int64_t table = grain / output->header.gtes_per_gt;
    uint32_t sector = 0;
    int ret = 0;

    if (table != output->table) {
        ret = finish_table(output);
        memset(output->gt, 0, (size_t)output->gt_bytes);
        output->table = table;
    }
    if (ret == 0) {
        ret = sector_of_next(output, &sector);
    }
    bdrv_store_le32(output->gt + grain % output->header.gtes_per_gt * ENTRY_BYTES, sector);
    return ret;
}

/* ----------------------------------------------------------- begin and finish */

static int write_header(const VmdkStreamOutput *output, int finished)
{
    uint8_t bytes[VMDK_HEADER_BYTES];

    vmdk_header_encode(&output->header, bytes);
    for (int i = 0; i < 4 && !finished; i++) {
        bytes[i] |= 0x20; /* the magic in small letters */
    }
    return bdrv_pwrite(output->file, bytes, sizeof bytes, 0);
}

/* What was a valid, empty image is none from here on, durably. */
static int begin(VmdkStreamOutput *output)
{
    BlockDriverState *file = output->file;
    int ret;

    if (output->begun) {
        return 0;
    }
    if (output->is_forward) {
        output->begun = 1;
        return write_header(output, 1);
    }
    ret = write_header(output, 0);
    if (ret == 0) {
        ret = bdrv_flush(file);
    }
    if (ret == 0) {
        ret = bdrv_truncate(file, output->position);
    }
    output->begun = ret == 0;
    return ret;
}

int vmdk_stream_output_grain(VmdkStreamOutput *output, const uint8_t *packed,
                             size_t packed_bytes, int64_t disk_offset)
{
    int ret = begin(output);

    if (ret == 0) {
        ret = enter(output, disk_offset);
    }
    return ret < 0 ? ret : append(output, packed, (int64_t)packed_bytes);
}

static int append_end(VmdkStreamOutput *output)
{
    static const uint8_t end_of_stream[BDRV_SECTOR_SIZE];
    uint8_t footer_bytes[VMDK_HEADER_BYTES];
    VmdkHeader footer = output->header;
    uint32_t sector = 0;
    int ret = finish_table(output);

    if (ret == 0 && output->layout == VMDK_STREAM_END) {
        ret = sector_of_next(output, &sector);
        footer.gd_sector = (uint64_t)sector + 1;
        vmdk_header_encode(&footer, footer_bytes);
        if (ret == 0) {
            ret = append_marked(output, VMDK_BLOCK_GD, output->gd, output->gd_bytes);
        }
        if (ret == 0) {
            ret = append_marked(output, VMDK_BLOCK_FOOTER, footer_bytes, sizeof footer_bytes);
        }
    }
    if (ret == 0) {
        ret = append(output, end_of_stream, sizeof end_of_stream);
    }
    return ret < 0 ? ret : drain(output);
}

/* All is durable before the magic number says that it is there. */
int vmdk_stream_output_finish(VmdkStreamOutput *output)
{
    int ret = begin(output);

    if (ret == 0) {
        ret = append_end(output);
    }
    if (ret < 0 || output->is_forward) {
        return ret;
    }
    ret = bdrv_flush(output->file);
    return ret < 0 ? ret : write_header(output, 1);
}
