/* SPDX-License-Identifier: MIT */
/*
 * stream-index.c - the tables of a stream whose footer is lost, made again by
 * going through its blocks.
 *
 *     marker, grain │ marker, grain │ … │ marker, GT │ … │ marker, GD │ … │ end
 *
 * Grains that were not met are zeros, but only if the writer had come to its
 * end: the GD, which comes after the last grain, or an end marker in the last
 * sector show that.  (A marker of nothing but zeros before the file's end shows
 * nothing: files that are being transferred are often made in their full length
 * first.)  One entry is kept for each grain that there is, 16 bytes for at least
 * 512 of the file.
 */
#include "stream.h"

#include <stdlib.h>

enum {
    GRAINS_MAX = 1 << 24 /* 256 MiB of memory; a TiB of data in usual grains */
};

typedef struct Place {
    int64_t disk_offset;
    int64_t file_offset;
} Place;

struct VmdkStreamIndex {
    const VmdkExtent *extent;
    int64_t grain;
    Place *places; /* by disk_offset, each once */
    size_t count, room;
    int complete;      /* the writer had come to its end */
    int64_t known_end; /* if not: of the disk, as far as grains were met */
};

/* -------------------------------------------------------------------- walk */

static int add(VmdkStreamIndex *index, int64_t disk_offset, int64_t file_offset)
{
    size_t room = index->room > 0 ? index->room * 2 : 1024;

    if (index->count == GRAINS_MAX) {
        return bdrv_error(index->extent->file, -EINVAL, "the stream has lost its footer, and has "
                          "more than %d grains: too many to find them without it", GRAINS_MAX);
    }
    if (index->count == index->room) {
        Place *more = realloc(index->places, room * sizeof *more);

        if (!more) {
            return -ENOMEM;
        }
        index->places = more;
        index->room = room;
    }
    index->places[index->count++] = (Place){disk_offset, file_offset};
    index->known_end = bdrv_max(index->known_end, disk_offset + index->grain);
    return 0;
}

/* From the first block to the end marker, or to what cannot be a block: *at is
 * where. */
static int walk(VmdkStreamIndex *index, const VmdkHeader *header, int64_t *at)
{
    BlockDriverState *file = index->extent->file;
    const int64_t end = bdrv_round_down(bdrv_getlength(file), BDRV_SECTOR_SIZE);
    uint8_t marker[BDRV_SECTOR_SIZE];
    VmdkBlock block;
    int ret = 0;

    for (; ret == 0 && *at < end; *at += block.bytes) {
        ret = bdrv_pread(file, marker, sizeof marker, *at);
        if (ret < 0 || vmdk_block_decode(file, header, marker, *at, &block) < 0 ||
            *at + block.bytes > end) {
            return ret;
        }
        if (block.kind == VMDK_BLOCK_END) {
            index->complete |= *at + BDRV_SECTOR_SIZE == end;
            return 0;
        }
        index->complete |= block.kind == VMDK_BLOCK_GD;
        if (block.kind == VMDK_BLOCK_GRAIN) {
            ret = add(index, block.disk_offset, *at);
        }
    }
    return ret;
}

/* ------------------------------------------------------------------- order */

static int compare_places(const void *a, const void *b)
{
    const int64_t left = ((const Place *)a)->disk_offset;
    const int64_t right = ((const Place *)b)->disk_offset;

    return left < right ? -1 : left > right;
}

static int sort(VmdkStreamIndex *index)
{
    if (index->count > 0) {
        qsort(index->places, index->count, sizeof *index->places, compare_places);
    }
    for (size_t i = 1; i < index->count; i++) {
        if (index->places[i].disk_offset == index->places[i - 1].disk_offset) {
            return bdrv_error(index->extent->file, -EINVAL, "the stream has lost its footer, and "
                              "has two grains for disk sector %" PRId64 ", at offsets %" PRId64
                              " and %" PRId64, index->places[i].disk_offset / BDRV_SECTOR_SIZE,
                              index->places[i - 1].file_offset, index->places[i].file_offset);
        }
    }
    return 0;
}

static int check_complete(const VmdkStreamIndex *index, int64_t stopped)
{
    const BlockDriverState *bs = index->extent->image->bs;

    if (index->complete) {
        bdrv_log(bs, "the stream has lost its footer: its %zu grains were found by their markers",
                 index->count);
        return 0;
    }
    if (bdrv_open_flags(bs) & BDRV_O_CHECK) {
        bdrv_log(bs, "the stream ends at offset %" PRId64 ", before its author was done: the "
                 "disk can be read up to byte %" PRId64, stopped, index->known_end);
        return 0;
    }
    return bdrv_error(index->extent->file, -EINVAL, "sparse header: gdOffset says that there is "
                      "a footer, but none is at the end of the file, and its blocks end at "
                      "offset %" PRId64 ": it was not completely transferred", stopped);
}

int vmdk_stream_index_new(VmdkStreamIndex **index, const VmdkExtent *extent,
                          const VmdkHeader *header)
{
    VmdkStreamIndex *made = calloc(1, sizeof *made);
    int64_t at = 0;
    int ret;

    *index = made;
    if (!made) {
        return -ENOMEM;
    }
    made->extent = extent;
    made->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    if (!bdrv_scale(header->overhead_sectors, BDRV_SECTOR_SIZE, &at) || at < VMDK_HEADER_BYTES) {
        return bdrv_error(extent->file, -EINVAL, "sparse header: overHead is %" PRIu64
                          " sectors, which is not where the first grain can be",
                          header->overhead_sectors);
    }
    ret = walk(made, header, &at);
    if (ret == 0) {
        ret = sort(made);
    }
    return ret < 0 ? ret : check_complete(made, at);
}

void vmdk_stream_index_free(VmdkStreamIndex *index)
{
    if (index) {
        free(index->places);
        free(index);
    }
}

/* ------------------------------------------------------------------ lookup */

/* The first place that ends behind offset; count: there is none. */
static size_t find(const VmdkStreamIndex *index, int64_t offset)
{
    size_t low = 0, high = index->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (index->places[middle].disk_offset + index->grain <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int vmdk_stream_index_lookup(const VmdkStreamIndex *index, int64_t offset, int64_t bytes,
                             BdrvExtent *run)
{
    size_t i = find(index, offset);
    const Place *next = i < index->count ? &index->places[i] : NULL;

    if (!next && !index->complete) {
        run->bytes = bytes;
        return bdrv_error(index->extent->file, -EIO, "the file ends before the grain of disk "
                          "sector %" PRId64 ": it was not completely transferred",
                          offset / BDRV_SECTOR_SIZE);
    }
    if (next && next->disk_offset <= offset) {
        run->state = BDRV_DATA;
        run->file = index->extent->file;
        run->file_offset = next->file_offset;
        run->bytes = bdrv_min(bytes, next->disk_offset + index->grain - offset);
        return 0;
    }
    run->state = BDRV_UNALLOCATED;
    run->bytes = next ? bdrv_min(bytes, next->disk_offset - offset) : bytes;
    return 0;
}
