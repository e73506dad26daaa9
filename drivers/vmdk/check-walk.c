/* SPDX-License-Identifier: MIT */
/*
 * check-walk.c - a stream from block to block: which grains does one come by?
 */
#include "check-stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAD_MAX = 32 * 1024 * 1024 /* of zeros before the first grain: so far is looked for it */
};

int vmdk_stream_grains_add(VmdkStreamGrains *grains, int64_t index, uint32_t sector)
{
    if (grains->count == grains->room) {
        const size_t room = grains->room ? 2 * grains->room : 1024;
        VmdkStreamGrain *list = realloc(grains->list, room * sizeof *list);

        if (!list) {
            return -ENOMEM;
        }
        grains->list = list;
        grains->room = room;
    }
    grains->list[grains->count++] = (VmdkStreamGrain){index, sector};
    return 0;
}

/* --------------------------------------------------------------------- walk */

static int compare_grains(const void *left, const void *right)
{
    const VmdkStreamGrain *a = left, *b = right;

    if (a->index != b->index) {
        return a->index < b->index ? -1 : 1;
    }
    return (a->sector > b->sector) - (a->sector < b->sector);
}

uint64_t vmdk_stream_text_end(const VmdkStreamCheck *s)
{
    const Vmdk *image = s->c->image;
    const int64_t end = image->descriptor_file == s->extent->file && image->descriptor.text
                            ? image->descriptor_offset + (int64_t)image->descriptor.text_size
                            : VMDK_HEADER_BYTES;

    return (uint64_t)bdrv_div_up(end, BDRV_SECTOR_SIZE);
}

int64_t vmdk_stream_first_block(const VmdkStreamCheck *s)
{
    const VmdkHeader *h = &s->header;
    const uint64_t front = h->descriptor_sector + h->descriptor_sectors;
    const uint64_t end = (uint64_t)s->size / BDRV_SECTOR_SIZE;
    const uint64_t first = front < VMDK_STREAM_OVERHEAD_SECTORS ? VMDK_STREAM_OVERHEAD_SECTORS
                           : front < end                        ? front
                                                                : end;

    return (int64_t)(h->overhead_sectors >= vmdk_stream_text_end(s) && h->overhead_sectors < end
                         ? h->overhead_sectors
                         : first) *
           BDRV_SECTOR_SIZE;
}

static void report_cut(VmdkStreamCheck *s, const VmdkBlock *block)
{
    const int64_t grain = (int64_t)s->header.grain_sectors * BDRV_SECTOR_SIZE;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = s->extent->start + block->disk_offset,
        .bytes = bdrv_min(grain, s->length - block->disk_offset),
        .repair = "dropped",
        .repaired = s->c->mend_all,
    };

    vmdk_found(s->c, &finding, "%s: the file ends inside the grain of disk sector %" PRId64,
               vmdk_check_name(s->extent), block->disk_offset / BDRV_SECTOR_SIZE);
}

/* 1: there may be more behind it. */
static int take_block(VmdkStreamCheck *s, int64_t at, const VmdkBlock *block, int64_t *last)
{
    const int64_t index = block->disk_offset /
                          ((int64_t)s->header.grain_sectors * BDRV_SECTOR_SIZE);
    int ret;

    switch (block->kind) {
    case VMDK_BLOCK_GRAIN:
        if (at + VMDK_MARKER_BYTES + (int64_t)block->packed > s->size) {
            if (s->broken) {
                report_cut(s, block);
            }
            return 0;
        }
        s->out_of_order |= index < *last;
        *last = index;
        ret = vmdk_stream_grains_add(&s->walked, index, (uint32_t)(at / BDRV_SECTOR_SIZE));
        return ret < 0 ? ret : 1;
    case VMDK_BLOCK_END:
    case VMDK_BLOCK_FOOTER:
        return 0;
    case VMDK_BLOCK_GT:
    case VMDK_BLOCK_GD:
    case VMDK_BLOCK_PROGRESS:
        break;
    }
    return 1;
}

int vmdk_stream_read_marker(const VmdkStreamCheck *s, int64_t at,
                            uint8_t marker[BDRV_SECTOR_SIZE])
{
    const size_t there = (size_t)bdrv_min(BDRV_SECTOR_SIZE, s->size - at);

    memset(marker + there, 0, BDRV_SECTOR_SIZE - there);
    return bdrv_pread(s->extent->file, marker, there, at);
}

int vmdk_stream_block_at(const VmdkStreamCheck *s, int64_t at, VmdkBlock *block)
{
    uint8_t marker[BDRV_SECTOR_SIZE];
    int ret = vmdk_stream_read_marker(s, at, marker);

    return ret < 0 ? ret
                   : vmdk_block_decode(s->extent->file, &s->header, marker, at, block) == 0;
}

/* Where the next sector is that has something; or -errno. */
static int64_t skip_zeros(const VmdkStreamCheck *s, int64_t at)
{
    const int64_t end = bdrv_min(s->size, at + PAD_MAX);
    uint8_t sector[BDRV_SECTOR_SIZE];

    for (; at < end; at += BDRV_SECTOR_SIZE) {
        const int ret = vmdk_stream_read_marker(s, at, sector);

        if (ret < 0 || !bdrv_is_zero(sector, sizeof sector)) {
            return ret < 0 ? ret : at;
        }
    }
    return at;
}

/* 1, 0 or -errno. */
static int begins_block(const VmdkStreamCheck *s, int64_t at)
{
    VmdkBlock block;
    int ret = at + VMDK_MARKER_BYTES < s->size ? vmdk_stream_block_at(s, at, &block) : 0;

    return ret == 1 ? block.kind != VMDK_BLOCK_END : ret;
}

/* Where the tables are lost, what the walk does not come by is lost, too: then overHead alone
 * is not believed, and behind pad, or behind the descriptor and pad, there may be grains.  Or
 * -errno. */
static int64_t find_first_block(VmdkStreamCheck *s)
{
    const int64_t first = vmdk_stream_first_block(s);
    const int64_t starts[] = {first, (int64_t)vmdk_stream_text_end(s) * BDRV_SECTOR_SIZE};

    for (int i = 0; i < 2 && (s->broken || s->header.gd_sector == VMDK_GD_AT_END); i++) {
        const int64_t at = skip_zeros(s, starts[i]);
        const int ret = at < 0 ? (int)at : begins_block(s, at);

        if (ret < 0) {
            return ret;
        }
        if (ret == 1) {
            s->header.overhead_sectors = at == first ? s->header.overhead_sectors
                                                     : (uint64_t)(at / BDRV_SECTOR_SIZE);
            return at;
        }
    }
    return first;
}

int vmdk_stream_walk(VmdkStreamCheck *s, int64_t *end)
{
    int64_t at = find_first_block(s), last = -1;
    int ret = at < 0 ? (int)at : 1;

    s->strange = 0;
    while (ret == 1 && at + VMDK_MARKER_BYTES < s->size && at / BDRV_SECTOR_SIZE <= UINT32_MAX) {
        VmdkBlock block;

        ret = vmdk_stream_block_at(s, at, &block);
        if (ret == 1) {
            ret = take_block(s, at, &block, &last);
            at += ret == 1 ? block.bytes : 0;
        } else {
            s->strange = at;
        }
    }
    *end = at;
    if (s->walked.count > 0) {
        qsort(s->walked.list, s->walked.count, sizeof *s->walked.list, compare_grains);
    }
    return ret < 0 ? ret : 0;
}
