/* SPDX-License-Identifier: MIT */
/*
 * stream-write.c - the content of a new stream: whole grains, each once, in
 * ascending order, into an image that is empty.  It is part of the creation, so
 * the CID stays; and until bdrv_close() has put the end there is no image:
 *
 *     KDMV, empty ──first write──▶ kdmv ──close──▶ tables, end, then KDMV
 *
 * so what was interrupted is recognised, and what a flush confirms before the
 * close is worth nothing.  Compressing (vmdk_pack) needs no state and is done on
 * any thread; storing (vmdk_write_packed) is done in turn.  Memory is the GD,
 * one GT, and a buffer.  Into a pipe (BDRV_O_FORWARD) the same bytes are
 * written from the beginning to the end; there, the missing footer tells.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    BUFFER_BYTES = 256 * 1024, /* so that small grains cost few calls */
    ENTRY_BYTES = 4
};

typedef struct Writer {
    VmdkExtent *extent;
    VmdkHeader header; /* as it shall be at the beginning of the finished file */
    VmdkStreamLayout layout;
    int64_t grain;
    int64_t gt_bytes;
    int64_t first_gt; /* FRONT: where the tables are, in bytes */
    VmdkDeflater *deflater;

    pthread_mutex_t lock; /* of all below */
    int begun;
    int error;        /* of the first write that failed: the file is spoilt */
    int64_t next;     /* the disk before this is written */
    int64_t position; /* of the file: where the next block will be */
    uint8_t *buffer;  /* what of it is not yet in the file */
    int64_t buffered;
    int64_t table; /* the one that is being filled; -1: none */
    uint8_t *gt;   /* its entries */
    uint8_t *gd;   /* END: gd_sectors; NULL in the other layout */
} Writer;

static Writer *writer_of(const VmdkExtent *extent)
{
    return extent->state;
}

static int is_forward(const Writer *writer)
{
    return (bdrv_open_flags(writer->extent->image->bs) & BDRV_O_FORWARD) != 0;
}

/* ---------------------------------------------------------------- appending */

static int drain(Writer *writer)
{
    int ret = 0;

    if (writer->buffered > 0) {
        ret = bdrv_pwrite(writer->extent->file, writer->buffer, (size_t)writer->buffered,
                          writer->position - writer->buffered);
    }
    writer->buffered = 0;
    return ret;
}

static int append(Writer *writer, const uint8_t *bytes, int64_t count)
{
    int ret = 0;

    while (ret == 0 && count > 0) {
        int64_t now = bdrv_min(count, BUFFER_BYTES - writer->buffered);

        memcpy(writer->buffer + writer->buffered, bytes, (size_t)now);
        writer->buffered += now;
        writer->position += now;
        bytes += now;
        count -= now;
        if (writer->buffered == BUFFER_BYTES) {
            ret = drain(writer);
        }
    }
    return ret;
}

static int append_marked(Writer *writer, VmdkBlockKind kind, const uint8_t *bytes, int64_t count)
{
    uint8_t marker[BDRV_SECTOR_SIZE];
    int ret;

    vmdk_block_encode(kind, count / BDRV_SECTOR_SIZE, marker);
    ret = append(writer, marker, sizeof marker);
    return ret < 0 ? ret : append(writer, bytes, count);
}

/* ------------------------------------------------------------------- tables */

/* Of the next block; entries have 32 bits. */
static int sector_of_next(const Writer *writer, uint32_t *sector)
{
    const int64_t next = writer->position / BDRV_SECTOR_SIZE;

    if (next > UINT32_MAX) {
        return bdrv_error(writer->extent->file, -ENOSPC, "the stream has 2 TiB, the most that "
                          "its tables can address");
    }
    *sector = (uint32_t)next;
    return 0;
}

static int finish_table(Writer *writer)
{
    const int64_t table = writer->table;
    uint32_t marker_sector = 0;
    int ret;

    if (table < 0) {
        return 0;
    }
    writer->table = -1;
    if (writer->layout == VMDK_STREAM_FRONT) {
        return bdrv_pwrite(writer->extent->file, writer->gt, (size_t)writer->gt_bytes,
                           writer->first_gt + table * writer->gt_bytes);
    }
    ret = sector_of_next(writer, &marker_sector);
    if (ret == 0) {
        bdrv_store_le32(writer->gd + table * ENTRY_BYTES, marker_sector + 1);
        ret = append_marked(writer, VMDK_BLOCK_GT, writer->gt, writer->gt_bytes);
    }
    return ret;
}

/* The next grain, at offset, will be stored at the end. */
static int enter(Writer *writer, int64_t offset)
{
    const int64_t grain = offset / writer->grain;
    const int64_t table = grain / writer->header.gtes_per_gt;
    uint32_t sector = 0;
    int ret = 0;

    if (table != writer->table) {
        ret = finish_table(writer);
        memset(writer->gt, 0, (size_t)writer->gt_bytes);
        writer->table = table;
    }
    if (ret == 0) {
        ret = sector_of_next(writer, &sector);
    }
    bdrv_store_le32(writer->gt + grain % writer->header.gtes_per_gt * ENTRY_BYTES, sector);
    return ret;
}

/* ----------------------------------------------------------- begin and finish */

static int write_header(const Writer *writer, int finished)
{
    uint8_t bytes[VMDK_HEADER_BYTES];

    vmdk_header_encode(&writer->header, bytes);
    for (int i = 0; i < 4 && !finished; i++) {
        bytes[i] |= 0x20; /* the magic in small letters */
    }
    return bdrv_pwrite(writer->extent->file, bytes, sizeof bytes, 0);
}

/* What was a valid, empty image is none from here on, durably. */
static int begin(Writer *writer)
{
    BlockDriverState *file = writer->extent->file;
    int ret;

    if (writer->begun) {
        return 0;
    }
    if (is_forward(writer)) {
        writer->begun = 1;
        return write_header(writer, 1);
    }
    ret = write_header(writer, 0);
    if (ret == 0) {
        ret = bdrv_flush(file);
    }
    if (ret == 0) {
        ret = bdrv_truncate(file, writer->position);
    }
    writer->begun = ret == 0;
    return ret;
}

static int append_end(Writer *writer)
{
    static const uint8_t end_of_stream[BDRV_SECTOR_SIZE];
    uint8_t footer_bytes[VMDK_HEADER_BYTES];
    VmdkHeader footer = writer->header;
    uint32_t sector = 0;
    int ret = finish_table(writer);

    if (ret == 0 && writer->layout == VMDK_STREAM_END) {
        ret = sector_of_next(writer, &sector);
        footer.gd_sector = (uint64_t)sector + 1;
        vmdk_header_encode(&footer, footer_bytes);
        if (ret == 0) {
            ret = append_marked(writer, VMDK_BLOCK_GD, writer->gd,
                                vmdk_header_gd_sectors(&writer->header) * BDRV_SECTOR_SIZE);
        }
        if (ret == 0) {
            ret = append_marked(writer, VMDK_BLOCK_FOOTER, footer_bytes, sizeof footer_bytes);
        }
    }
    if (ret == 0) {
        ret = append(writer, end_of_stream, sizeof end_of_stream);
    }
    return ret < 0 ? ret : drain(writer);
}

/* All is durable before the magic number says that it is there. */
static int finish(Writer *writer)
{
    int ret = begin(writer);

    if (ret == 0) {
        ret = append_end(writer);
    }
    if (ret < 0 || is_forward(writer)) {
        return ret;
    }
    ret = bdrv_flush(writer->extent->file);
    return ret < 0 ? ret : write_header(writer, 1);
}

/* ------------------------------------------------------------------ packing */

static int is_zero(const uint8_t *bytes, int64_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, (size_t)count - 1) == 0;
}

static size_t packed_room(int64_t grain)
{
    return (size_t)bdrv_round_up((int64_t)vmdk_deflate_bound((size_t)grain) + VMDK_MARKER_BYTES,
                                 BDRV_SECTOR_SIZE);
}

static int pack(const Writer *writer, const void *grain, int64_t offset, uint8_t *packed,
                size_t *packed_bytes)
{
    size_t deflated = 0, used;
    int ret;

    *packed_bytes = 0;
    if (is_zero(grain, writer->grain)) {
        return 0;
    }
    ret = vmdk_deflate(writer->deflater, grain, (size_t)writer->grain,
                       packed + VMDK_MARKER_BYTES, &deflated);
    if (ret < 0) {
        return ret;
    }
    bdrv_store_le64(packed, (uint64_t)offset / BDRV_SECTOR_SIZE);
    bdrv_store_le32(packed + 8, (uint32_t)deflated);
    used = deflated + VMDK_MARKER_BYTES;
    *packed_bytes = (size_t)bdrv_round_up((int64_t)used, BDRV_SECTOR_SIZE);
    memset(packed + used, 0, *packed_bytes - used);
    return 0;
}

/* In the midst of a failed write the file ends anywhere: nothing can follow. */
static int store(Writer *writer, const uint8_t *packed, size_t packed_bytes, int64_t offset)
{
    int ret = writer->error;

    if (ret < 0) {
        return bdrv_error(writer->extent->file, ret, "an earlier write has failed: this stream "
                          "cannot be completed");
    }
    if (offset < writer->next) {
        return bdrv_error(writer->extent->file, -ENOTSUP, "streamOptimized images are written "
                          "once, in ascending order: byte %" PRId64 " of the disk cannot be "
                          "written after byte %" PRId64, offset, writer->next - 1);
    }
    ret = begin(writer);
    if (ret == 0) {
        ret = enter(writer, offset);
    }
    if (ret == 0) {
        ret = append(writer, packed, (int64_t)packed_bytes);
    }
    writer->next = offset + writer->grain;
    writer->error = ret;
    return ret;
}

static int store_in_turn(Writer *writer, const uint8_t *packed, size_t packed_bytes,
                         int64_t offset)
{
    int ret = 0;

    pthread_mutex_lock(&writer->lock);
    if (packed_bytes > 0) {
        ret = store(writer, packed, packed_bytes, offset);
    }
    pthread_mutex_unlock(&writer->lock);
    return ret;
}

/* The image has one extent. */
static Writer *only_writer(BlockDriverState *bs)
{
    const Vmdk *image = bdrv_state(bs);

    return writer_of(&image->extents[0]);
}

int vmdk_pack(BlockDriverState *bs, const void *cluster, int64_t offset, void *packed,
              size_t *packed_bytes)
{
    return pack(only_writer(bs), cluster, offset, packed, packed_bytes);
}

int vmdk_write_packed(BlockDriverState *bs, const void *packed, size_t packed_bytes,
                      int64_t offset)
{
    int ret = vmdk_session_begin(bdrv_state(bs));

    return ret < 0 ? ret : store_in_turn(only_writer(bs), packed, packed_bytes, offset);
}

/* ----------------------------------------------------------------- requests */

static int check_shape(const Writer *writer, int64_t bytes, int64_t offset)
{
    int64_t end = offset + bytes;

    if (offset % writer->grain != 0 ||
        (end % writer->grain != 0 && end != writer->extent->length)) {
        return bdrv_error(writer->extent->file, -ENOTSUP, "streamOptimized images are written in "
                          "whole grains of %" PRId64 " bytes, in ascending order: %" PRId64
                          " bytes at offset %" PRId64 " are not that", writer->grain, bytes,
                          offset);
    }
    return 0;
}

static int write_grain(Writer *writer, uint8_t *packed, const uint8_t *bytes, int64_t offset)
{
    size_t packed_bytes;
    int ret = pack(writer, bytes, offset, packed, &packed_bytes);

    return ret < 0 ? ret : store_in_turn(writer, packed, packed_bytes, offset);
}

/* The last one, of which the disk has a part: the rest is zeros. */
static int write_part(Writer *writer, uint8_t *packed, const uint8_t *bytes, int64_t offset)
{
    uint8_t *whole = calloc(1, (size_t)writer->grain);
    int ret = -ENOMEM;

    if (whole) {
        memcpy(whole, bytes, (size_t)(writer->extent->length - offset));
        ret = write_grain(writer, packed, whole, offset);
    }
    free(whole);
    return ret;
}

static int writer_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    Writer *writer = writer_of(extent);
    const int64_t end = offset + (int64_t)bytes;
    const uint8_t *from = buf;
    uint8_t *packed;
    int ret = check_shape(writer, (int64_t)bytes, offset);

    if (ret < 0) {
        return ret;
    }
    packed = malloc(packed_room(writer->grain));
    if (!packed) {
        return -ENOMEM;
    }
    for (; ret == 0 && offset < end; offset += writer->grain, from += writer->grain) {
        ret = offset + writer->grain > end ? write_part(writer, packed, from, offset)
                                           : write_grain(writer, packed, from, offset);
    }
    free(packed);
    return ret;
}

/* What is not written reads as zeros. */
static int writer_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    Writer *writer = writer_of(extent);
    int ret = 0;

    (void)bytes;
    pthread_mutex_lock(&writer->lock);
    if (offset < writer->next) {
        ret = bdrv_error(extent->file, -ENOTSUP, "streamOptimized images are written once, in "
                         "ascending order: byte %" PRId64 " of the disk cannot become zero after "
                         "byte %" PRId64 " was written", offset, writer->next - 1);
    }
    pthread_mutex_unlock(&writer->lock);
    return ret;
}

static int64_t written_up_to(Writer *writer)
{
    int64_t next;

    pthread_mutex_lock(&writer->lock);
    next = writer->next;
    pthread_mutex_unlock(&writer->lock);
    return next;
}

static int writer_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes,
                               BdrvExtent *run)
{
    int64_t next = written_up_to(writer_of(extent));

    run->state = offset < next ? BDRV_DATA : BDRV_UNALLOCATED;
    run->compressed = offset < next;
    run->bytes = offset < next ? bdrv_min(bytes, next - offset) : bytes;
    return 0;
}

static int writer_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    if (offset < written_up_to(writer_of(extent))) {
        return bdrv_error(extent->file, -ENOTSUP, "a streamOptimized image that is being written "
                          "cannot be read: close it first, which completes it");
    }
    memset(buf, 0, bytes);
    return 0;
}

/* --------------------------------------------------------------------- open */

static int not_empty(const Writer *writer)
{
    return bdrv_error(writer->extent->file, -EROFS, "streamOptimized images can only be written "
                      "once, while they are empty; convert it to one that can be written: "
                      "img-convert -O vmdk");
}

/* Is there nothing but what an empty image of ours has, of which header is what
 * a reader sees (after the footer)? */
static int has_empty_shape(const Writer *writer, const VmdkHeader *header)
{
    const int64_t overhead = (int64_t)writer->header.overhead_sectors;
    const int64_t gd_sectors = vmdk_header_gd_sectors(header);
    const int64_t sectors = bdrv_getlength(writer->extent->file) / BDRV_SECTOR_SIZE;

    if (writer->header.overhead_sectors > UINT32_MAX) {
        return 0;
    }
    if (writer->layout == VMDK_STREAM_END) { /* GD marker, GD, footer marker, footer, end */
        return header->gd_sector == (uint64_t)overhead + 1 &&
               sectors == overhead + 1 + gd_sectors + 3;
    }
    return sectors == overhead + 1 &&
           (int64_t)header->gd_sector + gd_sectors +
                   vmdk_header_tables(header) * vmdk_header_gt_sectors(header) <=
               overhead;
}

/* END: all entries are 0.  FRONT: the GTs lie one behind the other. */
static int has_empty_directory(const Writer *writer, const uint8_t *gd)
{
    const int at_end = writer->layout == VMDK_STREAM_END;
    int64_t wanted = at_end ? 0 : writer->first_gt / BDRV_SECTOR_SIZE;

    for (int64_t i = 0; i < vmdk_header_tables(&writer->header); i++) {
        if (bdrv_load_le32(gd + i * ENTRY_BYTES) != (uint64_t)wanted) {
            return 0;
        }
        wanted += at_end ? 0 : writer->gt_bytes / BDRV_SECTOR_SIZE;
    }
    return 1;
}

static int read_directory(Writer *writer, int64_t gd_sector, uint8_t *gd)
{
    int ret = bdrv_pread(writer->extent->file, gd,
                         (size_t)vmdk_header_tables(&writer->header) * ENTRY_BYTES,
                         gd_sector * BDRV_SECTOR_SIZE);

    return ret < 0 || has_empty_directory(writer, gd) ? ret : not_empty(writer);
}

static int check_empty(Writer *writer)
{
    VmdkHeader header;
    size_t gd_bytes = (size_t)vmdk_header_gd_sectors(&writer->header) * BDRV_SECTOR_SIZE;
    uint8_t *gd = calloc(1, gd_bytes);
    int ret = gd ? 0 : -ENOMEM;

    if (ret == 0 && !is_forward(writer)) {
        ret = vmdk_header_read(writer->extent->file, &header);
        if (ret == 0) {
            ret = has_empty_shape(writer, &header)
                      ? read_directory(writer, (int64_t)header.gd_sector, gd)
                      : not_empty(writer);
        }
    }
    if (ret == 0 && writer->layout == VMDK_STREAM_END) {
        writer->gd = gd; /* of zeros */
        gd = NULL;
    }
    free(gd);
    return ret;
}

static int check_supported(const VmdkExtent *extent, const VmdkHeader *header)
{
    const int at_end = header->gd_sector == VMDK_GD_AT_END;

    if (extent->image->extent_count != 1 || extent->file != bdrv_file(extent->image->bs) ||
        extent->line->access != VMDK_RW || header->capacity_sectors == 0 ||
        !(header->flags & VMDK_FLAG_MARKERS) || header->flags & VMDK_FLAG_REDUNDANT) {
        return bdrv_error(extent->file, -EROFS, "such a streamOptimized image can only be read; "
                          "convert it to one that can be written: img-convert -O vmdk");
    }
    if (bdrv_open_flags(extent->image->bs) & BDRV_O_FORWARD && !at_end) {
        return bdrv_error(extent->file, -ENOTSUP, "a pipe cannot be gone back in to write the "
                          "tables: stream_layout=end is wanted");
    }
    return vmdk_stream_check(extent->file, header);
}

static int open_deflater(Writer *writer)
{
    uint8_t level;
    int ret = bdrv_pread(writer->extent->file, &level, 1, VMDK_LEVEL_OFFSET);

    if (ret < 0) {
        return ret;
    }
    level = level == 0 || level > VMDK_LEVEL_MAX ? VMDK_LEVEL_DEFAULT : level;
    return vmdk_deflater_new(&writer->deflater, level);
}

static int open_parts(Writer *writer)
{
    VmdkExtent *extent = writer->extent;
    const VmdkHeader *header = &writer->header;
    int ret = vmdk_extent_set_capacity(extent, header->capacity_sectors,
                                       (int64_t)header->grain_sectors);

    writer->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    writer->gt_bytes = vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    if (writer->layout == VMDK_STREAM_FRONT) {
        writer->first_gt =
            ((int64_t)header->gd_sector + vmdk_header_gd_sectors(header)) * BDRV_SECTOR_SIZE;
    }
    writer->position = (int64_t)header->overhead_sectors * BDRV_SECTOR_SIZE;
    writer->table = -1;
    writer->buffer = malloc(BUFFER_BYTES);
    writer->gt = malloc((size_t)writer->gt_bytes);
    if (ret == 0 && (!writer->buffer || !writer->gt)) {
        ret = -ENOMEM;
    }
    if (ret == 0) {
        ret = check_empty(writer);
    }
    return ret < 0 ? ret : open_deflater(writer);
}

static int writer_open(VmdkExtent *extent)
{
    VmdkHeader header;
    int ret = vmdk_header_read_front(extent->file, &header);
    Writer *writer;

    if (ret == 0) {
        ret = check_supported(extent, &header);
    }
    if (ret < 0) {
        return ret;
    }
    writer = calloc(1, sizeof *writer);
    if (!writer) {
        return -ENOMEM;
    }
    extent->state = writer;
    extent->cluster_size = (int64_t)header.grain_sectors * BDRV_SECTOR_SIZE;
    extent->compressed = 1;
    writer->extent = extent;
    writer->header = header;
    writer->layout = header.gd_sector == VMDK_GD_AT_END ? VMDK_STREAM_END : VMDK_STREAM_FRONT;
    pthread_mutex_init(&writer->lock, NULL);
    ret = open_parts(writer);
    if (ret == 0) {
        bdrv_set_packing(extent->image->bs, writer->grain, packed_room(writer->grain));
        extent->image->keeps_cid = 1;
    }
    /* A pipe wants its end also if nothing is written. */
    return ret == 0 && is_forward(writer) ? vmdk_session_begin(extent->image) : ret;
}

/* -------------------------------------------------------------------- close */

/* What a conversion has left half-way stays recognisable as that. */
static int writer_settle(VmdkExtent *extent)
{
    Writer *writer = writer_of(extent);

    if (bdrv_is_abandoned(extent->image->bs)) {
        return 0;
    }
    if (writer->error < 0) {
        return bdrv_error(extent->file, writer->error, "the stream could not be completed, "
                          "because writing it has failed");
    }
    return writer->begun || is_forward(writer) ? finish(writer) : 0;
}

static void writer_close(VmdkExtent *extent)
{
    Writer *writer = writer_of(extent);

    if (writer) {
        vmdk_deflater_free(writer->deflater);
        pthread_mutex_destroy(&writer->lock);
        free(writer->buffer);
        free(writer->gt);
        free(writer->gd);
        free(writer);
        extent->state = NULL;
    }
}

const VmdkExtentOps vmdk_stream_write_extent = {
    .open = writer_open,
    .read = writer_read,
    .write = writer_write,
    .write_zeroes = writer_write_zeroes,
    .is_allocated = writer_is_allocated,
    .settle = writer_settle,
    .close = writer_close,
};
