/* SPDX-License-Identifier: MIT */
/*
 * stream-pipe.c - a stream that comes through a pipe (BDRV_O_FORWARD): each
 * block is read once, when the disk is read at its place or behind it.
 *
 *      disk    │ gone │ grain at hand │  zeros  │ not read yet …
 *                     ▲               ▲
 *              disk_offset      the next grain's disk_offset
 *
 * Memory is one grain.  So the disk can only be read in ascending order, and
 * only streams whose grains are in that order can be read at all.  Tables are
 * passed over: the grains say themselves where they belong.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

typedef struct Pipe {
    VmdkExtent *extent;
    VmdkHeader header;
    int64_t grain;
    VmdkInflater *inflater;

    pthread_mutex_t lock; /* of all below */
    int64_t at;        /* where the next block begins */
    int64_t gone;      /* the disk before this cannot be read any more */
    VmdkBlock block;   /* the grain at hand; END: there are no more */
    int started;       /* there is a block */
    int saw_footer;
    int saw_grain;
    int inflated;      /* content is that of the grain at hand */
    int finished;      /* what follows the last grain was read as well */
    uint8_t *packed;   /* room for the longest, with its marker and pad */
    uint8_t *content;  /* a grain */
} Pipe;

static Pipe *pipe_of(const VmdkExtent *extent)
{
    return extent->state;
}

/* ------------------------------------------------------------------- blocks */

static int read_block(Pipe *pipe)
{
    BlockDriverState *file = pipe->extent->file;
    int ret = bdrv_pread(file, pipe->packed, BDRV_SECTOR_SIZE, pipe->at);

    if (ret == -ENODATA) {
        return bdrv_error(file, ret, "the stream ends at byte %" PRId64 " without an "
                          "end-of-stream marker: it was cut off, or is one of QEMU's, which "
                          "have none; store it in a file, where its tables tell", pipe->at);
    }
    if (ret == 0) {
        ret = vmdk_block_decode(file, &pipe->header, pipe->packed, pipe->at, &pipe->block);
    }
    if (ret == 0 && pipe->block.kind == VMDK_BLOCK_GRAIN &&
        pipe->block.bytes > BDRV_SECTOR_SIZE) {
        ret = bdrv_pread(file, pipe->packed + BDRV_SECTOR_SIZE,
                         (size_t)pipe->block.bytes - BDRV_SECTOR_SIZE,
                         pipe->at + BDRV_SECTOR_SIZE);
    }
    pipe->at += ret == 0 ? pipe->block.bytes : 0;
    pipe->saw_footer |= ret == 0 && pipe->block.kind == VMDK_BLOCK_FOOTER;
    return ret < 0 ? bdrv_error_prefix(file, ret, "reading the stream as it comes") : 0;
}

static int check_order(const Pipe *pipe)
{
    if (pipe->block.kind == VMDK_BLOCK_GRAIN && pipe->block.disk_offset < pipe->gone) {
        return bdrv_error(pipe->extent->file, -EINVAL, "the grain of disk sector %" PRId64
                          " comes twice, or after one that lies behind it: this stream cannot "
                          "be read from a pipe; store it in a file",
                          pipe->block.disk_offset / BDRV_SECTOR_SIZE);
    }
    /* Without one its author was interrupted, whatever zeros come then. */
    if (pipe->block.kind == VMDK_BLOCK_END && !pipe->saw_footer &&
        pipe->header.gd_sector == VMDK_GD_AT_END) {
        return bdrv_error(pipe->extent->file, -EINVAL, "the stream ends at offset %" PRId64
                          " without a footer: it is not complete", pipe->at);
    }
    return 0;
}

/* An overHead that is too small leads to the pad before the first grain, which looks
 * like the end of an empty stream: then something must not follow. */
static int check_empty(Pipe *pipe)
{
    static const uint8_t zeros[BDRV_SECTOR_SIZE];
    const int64_t end = pipe->at + pipe->grain;

    if (pipe->block.kind != VMDK_BLOCK_END || pipe->saw_grain) {
        return 0;
    }
    for (int64_t at = pipe->at; at < end; at += BDRV_SECTOR_SIZE) {
        if (bdrv_pread(pipe->extent->file, pipe->packed, sizeof zeros, at) < 0) {
            return 0; /* it ends here */
        }
        if (memcmp(pipe->packed, zeros, sizeof zeros) != 0) {
            return bdrv_error(pipe->extent->file, -EINVAL, "the header says that grains begin at "
                              "sector %" PRIu64 ", but there is an end-of-stream marker, and data "
                              "at sector %" PRId64, pipe->header.overhead_sectors,
                              at / BDRV_SECTOR_SIZE);
        }
    }
    return 0;
}

/* To the next grain, or the end. */
static int advance(Pipe *pipe)
{
    int ret;

    if (pipe->started && pipe->block.kind == VMDK_BLOCK_END) {
        return 0;
    }
    if (pipe->started) {
        pipe->gone = pipe->block.disk_offset + pipe->grain;
    }
    pipe->started = 0; /* what fails once will not be tried again half-way */
    pipe->inflated = 0;
    do {
        ret = read_block(pipe);
    } while (ret == 0 && pipe->block.kind != VMDK_BLOCK_GRAIN &&
             pipe->block.kind != VMDK_BLOCK_END);
    if (ret == 0) {
        ret = check_order(pipe);
    }
    if (ret == 0) {
        ret = check_empty(pipe);
    }
    pipe->saw_grain |= ret == 0 && pipe->block.kind == VMDK_BLOCK_GRAIN;
    pipe->started = ret == 0;
    return ret;
}

/* Makes the grain at hand the first one that ends behind offset. */
static int advance_to(Pipe *pipe, int64_t offset)
{
    int ret = 0;

    if (offset < pipe->gone) {
        return bdrv_error(pipe->extent->file, -ESPIPE, "the image comes through a pipe: byte %"
                          PRId64 " of the disk has passed and cannot be read any more", offset);
    }
    while (ret == 0 && (!pipe->started || (pipe->block.kind == VMDK_BLOCK_GRAIN &&
                                           pipe->block.disk_offset + pipe->grain <= offset))) {
        ret = advance(pipe);
    }
    return ret;
}

/* ----------------------------------------------------------------- requests */

/* The grain at hand is where offset is or behind it. */
static void describe_run(const Pipe *pipe, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    const int is_grain = pipe->block.kind == VMDK_BLOCK_GRAIN;

    if (is_grain && pipe->block.disk_offset <= offset) {
        run->state = BDRV_DATA;
        run->compressed = 1;
        run->bytes = bdrv_min(bytes, pipe->block.disk_offset + pipe->grain - offset);
    } else {
        run->state = BDRV_UNALLOCATED;
        run->bytes = is_grain ? bdrv_min(bytes, pipe->block.disk_offset - offset) : bytes;
    }
}

static int inflate(Pipe *pipe)
{
    const int64_t offset = pipe->block.disk_offset;
    int64_t covered = bdrv_min(pipe->grain, pipe->extent->length - offset);
    int ret = 0;

    if (!pipe->inflated) {
        ret = vmdk_grain_inflate(pipe->extent->file, pipe->inflater, &pipe->header, offset,
                                 pipe->packed + VMDK_MARKER_BYTES, pipe->block.packed,
                                 pipe->content, covered);
        pipe->inflated = ret == 0;
    }
    return ret;
}

/* The disk has been read to its end: now the stream is, so that one that is cut off
 * behind the last grain is found to be, and whoever sends it can send it all.  That
 * grain stays at hand. */
static int finish(Pipe *pipe)
{
    const VmdkBlock last = pipe->block;
    const int64_t gone = pipe->gone;
    int ret = 0;

    if (!pipe->finished) {
        ret = advance(pipe);
        pipe->finished = ret == 0;
    }
    if (ret == 0) {
        pipe->block = last;
        pipe->gone = gone;
        pipe->inflated = 1;
    }
    return ret;
}

static int read_run(Pipe *pipe, uint8_t *to, int64_t bytes, int64_t offset, BdrvExtent *run)
{
    int ret = advance_to(pipe, offset);

    if (ret < 0) {
        return ret;
    }
    describe_run(pipe, offset, bytes, run);
    if (run->state == BDRV_UNALLOCATED) {
        memset(to, 0, (size_t)run->bytes);
        return 0;
    }
    ret = inflate(pipe);
    if (ret == 0) {
        memcpy(to, pipe->content + (offset - pipe->block.disk_offset), (size_t)run->bytes);
    }
    if (ret == 0 && offset + run->bytes == pipe->extent->length) {
        ret = finish(pipe);
    }
    return ret;
}

static int pipe_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    Pipe *pipe = pipe_of(extent);
    int64_t left = (int64_t)bytes;
    uint8_t *to = buf;
    BdrvExtent run;
    int ret = 0;

    pthread_mutex_lock(&pipe->lock);
    for (; ret == 0 && left > 0; left -= run.bytes, offset += run.bytes, to += run.bytes) {
        run = (BdrvExtent){0};
        ret = read_run(pipe, to, left, offset, &run);
    }
    pthread_mutex_unlock(&pipe->lock);
    return ret;
}

static int pipe_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    Pipe *pipe = pipe_of(extent);
    int ret;

    pthread_mutex_lock(&pipe->lock);
    ret = advance_to(pipe, offset);
    if (ret == 0) {
        describe_run(pipe, offset, bytes, run);
    }
    pthread_mutex_unlock(&pipe->lock);
    return ret;
}

/* Never called: only an extent of the kind of stream-write.c is writable. */
static int pipe_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    (void)buf, (void)bytes, (void)offset;
    return bdrv_error(extent->file, -EROFS, "a stream that is read cannot be written");
}

static int pipe_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    (void)offset, (void)bytes;
    return pipe_write(extent, NULL, 0, 0);
}

/* --------------------------------------------------------------------- life */

static int check_header(const BlockDriverState *file, const VmdkHeader *header)
{
    if (!(header->flags & VMDK_FLAG_MARKERS)) {
        return bdrv_error(file, -ENOTSUP, "sparse header: flags are 0x%" PRIx32 ": the grains of "
                          "this stream do not say where they belong; it cannot be read from a "
                          "pipe; store it in a file", header->flags);
    }
    if (header->capacity_sectors == 0) {
        return bdrv_error(file, -ENOTSUP, "sparse header: capacity is 0: the footer, which comes "
                          "last, tells it; the stream cannot be read from a pipe; store it in a "
                          "file");
    }
    return vmdk_stream_check(file, header);
}

static int open_parts(Pipe *pipe)
{
    const VmdkHeader *header = &pipe->header;
    int ret = vmdk_extent_set_capacity(pipe->extent, header->capacity_sectors,
                                       (int64_t)header->grain_sectors);

    if (ret == 0 &&
        (!bdrv_scale(header->overhead_sectors, BDRV_SECTOR_SIZE, &pipe->at) || pipe->at == 0)) {
        ret = bdrv_error(pipe->extent->file, -EINVAL, "sparse header: overHead is %" PRIu64
                         " sectors, which is not where the first grain can be",
                         header->overhead_sectors);
    }
    if (ret < 0) {
        return ret;
    }
    pipe->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    pipe->content = malloc((size_t)pipe->grain);
    pipe->packed = malloc((size_t)(VMDK_EXPANSION_MAX * pipe->grain + 2 * BDRV_SECTOR_SIZE));
    return pipe->content && pipe->packed ? vmdk_inflater_new(&pipe->inflater) : -ENOMEM;
}

static int pipe_open(VmdkExtent *extent)
{
    VmdkHeader header;
    int ret = vmdk_header_read_front(extent->file, &header);
    Pipe *pipe;

    if (ret == 0) {
        ret = check_header(extent->file, &header);
    }
    if (ret < 0) {
        return ret;
    }
    pipe = calloc(1, sizeof *pipe);
    if (!pipe) {
        return -ENOMEM;
    }
    extent->state = pipe;
    extent->cluster_size = (int64_t)header.grain_sectors * BDRV_SECTOR_SIZE;
    extent->compressed = 1;
    pipe->extent = extent;
    pipe->header = header;
    pthread_mutex_init(&pipe->lock, NULL);
    return open_parts(pipe);
}

static void pipe_close(VmdkExtent *extent)
{
    Pipe *pipe = pipe_of(extent);

    if (pipe) {
        vmdk_inflater_free(pipe->inflater);
        pthread_mutex_destroy(&pipe->lock);
        free(pipe->packed);
        free(pipe->content);
        free(pipe);
        extent->state = NULL;
    }
}

const VmdkExtentOps vmdk_stream_pipe_extent = {
    .open = pipe_open,
    .read = pipe_read,
    .write = pipe_write,
    .write_zeroes = pipe_write_zeroes,
    .is_allocated = pipe_is_allocated,
    .settle = vmdk_extent_settled,
    .close = pipe_close,
};
