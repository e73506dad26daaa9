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
    GDE_BYTES = 4
};

typedef struct Writer {
    VmdkExtent *extent;
    int64_t grain;
    VmdkDeflater *deflater;

    pthread_mutex_t lock; /* of all below */
    VmdkStreamOutput output;
    int error;    /* of the first write that failed: the file is spoilt */
    int64_t next; /* the disk before this is written */
} Writer;

static Writer *writer_of(const VmdkExtent *extent)
{
    return extent->state;
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
    ret = vmdk_stream_output_grain(&writer->output, packed, packed_bytes, offset);
    writer->next = offset + writer->grain;
    writer->error = ret;
    return ret;
}

static int store_in_turn(Writer *writer, const uint8_t *packed, size_t packed_bytes,
                         int64_t offset)
{
    int ret = 0;

    pthread_mutex_lock(&writer->lock);
    if (packed_bytes > 0 || offset < writer->next) { /* zeros behind all need no block */
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
    const VmdkStreamOutput *output = &writer->output;
    const int64_t gd_sectors = output->gd_bytes / BDRV_SECTOR_SIZE;
    const int64_t overhead = output->position / BDRV_SECTOR_SIZE;
    const int64_t sectors = bdrv_getlength(output->file) / BDRV_SECTOR_SIZE;
    const uint64_t text_end = header->descriptor_sector + header->descriptor_sectors;

    if (text_end > (output->layout == VMDK_STREAM_END ? (uint64_t)overhead : header->gd_sector)) {
        return 0; /* what is written there would go over the descriptor */
    }
    if (output->layout == VMDK_STREAM_END) { /* GD marker, GD, footer marker, footer, end */
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): was read, or we are not here */
        return header->gd_sector == (uint64_t)overhead + 1 &&
               sectors == overhead + 1 + gd_sectors + 3;
    }
    return sectors == overhead + 1 &&
           output->first_gt + vmdk_header_tables(header) * output->gt_bytes <= output->position;
}

/* END: all entries are 0.  FRONT: the GTs lie one behind the other. */
static int has_empty_directory(const Writer *writer)
{
    const VmdkStreamOutput *output = &writer->output;
    const int at_end = output->layout == VMDK_STREAM_END;
    int64_t wanted = at_end ? 0 : output->first_gt / BDRV_SECTOR_SIZE;

    for (int64_t i = 0; i < vmdk_header_tables(&output->header); i++) {
        if (bdrv_load_le32(output->gd + i * GDE_BYTES) != (uint64_t)wanted) {
            return 0;
        }
        wanted += at_end ? 0 : output->gt_bytes / BDRV_SECTOR_SIZE;
    }
    return 1;
}

/* Nobody writes those again that get no grain.  1, 0 or -errno. */
static int has_empty_tables(const Writer *writer)
{
    const VmdkStreamOutput *output = &writer->output;
    const int64_t tables = vmdk_header_tables(&output->header) * output->gt_bytes;
    const int64_t end = output->layout == VMDK_STREAM_END ? 0 : output->first_gt + tables;
    BdrvExtent run = {0};
    int ret = 0;

    for (int64_t at = output->first_gt; at < end; at += run.bytes) {
        ret = bdrv_map(output->file, at, end - at, &run);
        if (ret == 0 && run.state == BDRV_DATA) {
            run.bytes = bdrv_min(run.bytes, output->gt_bytes);
            ret = bdrv_pread(output->file, output->gt, (size_t)run.bytes, at);
        }
        if (ret < 0 ||
            (run.state == BDRV_DATA && !bdrv_is_zero(output->gt, (size_t)run.bytes))) {
            return ret;
        }
    }
    return 1;
}

/* header as in has_empty_shape(). */
static int check_empty(Writer *writer, const VmdkHeader *header)
{
    VmdkStreamOutput *output = &writer->output;
    int ret;

    if (!has_empty_shape(writer, header)) {
        return not_empty(writer);
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): as above */
    ret = bdrv_pread(output->file, output->gd, (size_t)vmdk_header_tables(header) * GDE_BYTES,
                     (int64_t)header->gd_sector * BDRV_SECTOR_SIZE);
    if (ret == 0) {
        ret = has_empty_directory(writer) ? has_empty_tables(writer) : 0;
    }
    return ret < 0 ? ret : ret == 1 ? 0 : not_empty(writer);
}

static int check_supported(const VmdkExtent *extent, const VmdkHeader *header)
{
    const int at_end = header->gd_sector == VMDK_GD_AT_END;
    int64_t position;

    if (extent->image->extent_count != 1 || extent->file != bdrv_file(extent->image->bs) ||
        extent->line->access != VMDK_RW || header->capacity_sectors == 0 ||
        !bdrv_scale(header->overhead_sectors, BDRV_SECTOR_SIZE, &position) ||
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
    uint8_t packing;
    int ret = bdrv_pread(writer->extent->file, &packing, 1, VMDK_LEVEL_OFFSET);

    if (ret < 0) {
        return ret;
    }
    return vmdk_deflater_new(&writer->deflater,
                             packing >> VMDK_LEVEL_BITS == VMDK_DEFLATE_ISAL
                                 ? VMDK_DEFLATE_ISAL
                                 : VMDK_DEFLATE_LIBDEFLATE,
                             packing & ((1 << VMDK_LEVEL_BITS) - 1));
}

/* Into a pipe nothing was written yet.  In a file there must be a whole stream, and an
 * empty one: header is what a reader sees of it, which bounds its tables. */
static int open_empty(Writer *writer)
{
    VmdkStreamOutput *output = &writer->output;
    VmdkHeader header;
    int ret = vmdk_header_read(output->file, &header);

    if (ret == 0 && output->header.gd_sector != VMDK_GD_AT_END &&
        output->header.gd_sector != header.gd_sector) { /* a footer says something else */
        return not_empty(writer);
    }
    if (ret == 0) {
        ret = vmdk_stream_output_init(output);
    }
    return ret < 0 ? ret : check_empty(writer, &header);
}

static int open_parts(Writer *writer)
{
    const VmdkHeader *header = &writer->output.header;
    int ret = vmdk_extent_set_capacity(writer->extent, header->capacity_sectors,
                                       (int64_t)header->grain_sectors);

    if (ret == 0) {
        ret = writer->output.is_forward ? vmdk_stream_output_init(&writer->output)
                                        : open_empty(writer);
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
    writer->grain = extent->cluster_size;
    writer->output = (VmdkStreamOutput){
        .file = extent->file,
        .header = header,
        .is_forward = (bdrv_open_flags(extent->image->bs) & BDRV_O_FORWARD) != 0,
    };
    pthread_mutex_init(&writer->lock, NULL);
    ret = open_parts(writer);
    if (ret == 0) {
        bdrv_set_packing(extent->image->bs, writer->grain, packed_room(writer->grain));
        extent->image->keeps_cid = writer->output.is_forward; /* its descriptor is gone */
    }
    /* A pipe wants its end also if nothing is written. */
    return ret == 0 && writer->output.is_forward ? vmdk_session_begin(extent->image) : ret;
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
    if (writer->output.begun || writer->output.is_forward) {
        writer->error = vmdk_stream_output_finish(&writer->output);
    }
    return writer->error;
}

static void writer_close(VmdkExtent *extent)
{
    Writer *writer = writer_of(extent);

    if (writer) {
        vmdk_deflater_free(writer->deflater);
        pthread_mutex_destroy(&writer->lock);
        vmdk_stream_output_free(&writer->output);
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
