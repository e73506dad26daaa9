/* SPDX-License-Identifier: MIT */
/*
 * check-grains.c - the grains of a stream, decompressed: each has a checksum, so that
 * a single bit that is wrong tells.  What is in a damaged grain is lost, and nothing
 * is mended here.  Needs no more memory than two grains and what one compresses to.
 */
#include "check-stream.h"

#include <stdlib.h>

enum {
    ENTRY_ZEROED = 1,
    SIZE_BYTES = 4 /* before a grain that does not carry its LBA */
};

struct VmdkGrainCheck {
    VmdkStreamCheck *s;
    VmdkInflater *inflater;
    int64_t grain;     /* bytes of one */
    int64_t length;    /* of what the disk has of the extent */
    uint8_t *packed;   /* VMDK_EXPANSION_MAX * grain */
    uint8_t *unpacked; /* grain */
};

/* What the storage fails to give for a moment only is no damage: it is read twice before that
 * is believed. */
static int read_grain(const VmdkGrainCheck *g, int64_t disk_offset, void *to, size_t size,
                      int64_t at)
{
    BlockDriverState *file = g->s->extent->file;
    int ret = bdrv_pread(file, to, size, at);

    ret = ret == -EIO ? bdrv_pread(file, to, size, at) : ret;
    return ret < 0 ? bdrv_error_prefix(file, ret, "the compressed grain of disk sector %" PRId64
                                       " cannot be read", disk_offset / BDRV_SECTOR_SIZE)
                   : 0;
}

/* Is the grain whose zlib stream begins at *at, a number of bytes long that is stored there,
 * inside the file?  1; 0, as bdrv_error() said; or what reading failed with. */
static int find_packed(const VmdkGrainCheck *g, int64_t disk_offset, int64_t *at, uint32_t *bytes)
{
    BlockDriverState *file = g->s->extent->file;
    const int64_t size_at = g->s->header.flags & VMDK_FLAG_MARKERS
                                ? VMDK_MARKER_BYTES - SIZE_BYTES
                                : 0;
    uint8_t stored[SIZE_BYTES] = {0};
    int ret = read_grain(g, disk_offset, stored, sizeof stored, *at + size_at);

    if (ret < 0) {
        return ret;
    }
    *bytes = bdrv_load_le32(stored);
    *at += size_at + SIZE_BYTES;
    ret = vmdk_packed_check(file, &g->s->header, disk_offset, *bytes);
    if (ret == 0 && *bytes > g->s->size - *at) {
        ret = bdrv_error(file, -EIO, "the file ends within the compressed grain of disk sector %"
                         PRId64, disk_offset / BDRV_SECTOR_SIZE);
    }
    return ret == 0;
}

/* Can it be decompressed?  1; 0: it is damaged, as bdrv_error() said; -EIO: it cannot be read;
 * or another error. */
static int inflate(const VmdkGrainCheck *g, const VmdkStreamGrain *grain)
{
    const int64_t disk_offset = grain->index * g->grain;
    int64_t at = (int64_t)grain->sector * BDRV_SECTOR_SIZE;
    uint32_t bytes = 0;
    int ret = find_packed(g, disk_offset, &at, &bytes);

    if (ret != 1) {
        return ret;
    }
    ret = read_grain(g, disk_offset, g->packed, bytes, at);
    if (ret < 0) {
        return ret;
    }
    ret = vmdk_grain_inflate(g->s->extent->file, g->inflater, &g->s->header, disk_offset,
                             g->packed, bytes, g->unpacked,
                             bdrv_min(g->grain, g->length - disk_offset));
    return ret == 0 ? 1 : ret == -EIO ? 0 : ret;
}

/* The line may be shorter than what the header says. */
static int64_t disk_length(const VmdkStreamCheck *s)
{
    const int64_t line = s->extent->line->sectors * BDRV_SECTOR_SIZE;

    return line > 0 ? bdrv_min(line, s->length) : s->length;
}

/* -ENOTSUP: then the extent does not open either, which check.c tells. */
static int begin(VmdkStreamCheck *s)
{
    VmdkGrainCheck *g = s->grains;

    if (g) {
        return g->inflater ? 0 : -ENOTSUP;
    }
    g = s->grains = calloc(1, sizeof *g);
    if (!g) {
        return -ENOMEM;
    }
    g->s = s;
    g->grain = (int64_t)s->header.grain_sectors * BDRV_SECTOR_SIZE;
    g->length = disk_length(s);
    g->packed = malloc((size_t)(VMDK_EXPANSION_MAX * g->grain));
    g->unpacked = malloc((size_t)g->grain);
    return g->packed && g->unpacked ? vmdk_inflater_new(&g->inflater) : -ENOMEM;
}

void vmdk_stream_grains_done(VmdkStreamCheck *s)
{
    if (s->grains) {
        vmdk_inflater_free(s->grains->inflater);
        free(s->grains->packed);
        free(s->grains->unpacked);
        free(s->grains);
    }
}

int vmdk_stream_grain_is_sound(VmdkStreamCheck *s, const VmdkStreamGrain *grain)
{
    const int ret = begin(s);

    if (ret < 0) {
        return ret == -ENOTSUP ? 1 : ret;
    }
    return grain->index * s->grains->grain < s->grains->length ? inflate(s->grains, grain) : 1;
}

static int check_grain(const VmdkGrainCheck *g, const VmdkStreamGrain *grain)
{
    const int64_t disk_offset = grain->index * g->grain;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = g->s->extent->start + disk_offset,
        .bytes = bdrv_min(g->grain, g->length - disk_offset),
    };
    int ret;

    if (finding.bytes <= 0 || grain->sector == ENTRY_ZEROED) {
        return 0; /* nobody reads it */
    }
    ret = inflate(g, grain);
    if (ret == 0 || ret == -EIO) {
        vmdk_found(g->s->c, &finding, "%s", bdrv_errmsg());
    }
    return ret == -EIO || ret == 1 ? 0 : ret;
}

int vmdk_stream_check_grains(VmdkStreamCheck *s)
{
    int ret = begin(s);

    for (size_t i = 0; ret == 0 && i < s->right.count; i++) {
        ret = check_grain(s->grains, &s->right.list[i]);
    }
    return ret == -ENOTSUP ? 0 : ret;
}
