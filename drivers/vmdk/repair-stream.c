/* SPDX-License-Identifier: MIT */
/*
 * repair-stream.c - new tables for a stream, behind its grains:
 *
 *     … grains │ marker, GT │ marker, GT │ … │ marker, GD │ marker, footer │ end
 *
 * Until the footer is there the file looks like one whose writer was interrupted,
 * of which all grains can be found again; so the repair can be, too.
 */
#include "check.h"
#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4
};

typedef struct Rebuild {
    VmdkCheck *c;
    BlockDriverState *file;
    VmdkHeader header;
    uint8_t *gd;
    size_t gd_bytes;
    uint8_t *gt; /* a marker, and the table */
    size_t gt_bytes;
    int64_t at; /* where the next block goes */
} Rebuild;

static int append(Rebuild *r, const void *bytes, size_t size)
{
    int ret = bdrv_pwrite(r->file, bytes, size, r->at);

    r->at += (int64_t)size;
    return ret;
}

static int append_marker(Rebuild *r, VmdkBlockKind kind, int64_t sectors)
{
    uint8_t marker[BDRV_SECTOR_SIZE];

    vmdk_block_encode(kind, sectors, marker);
    return append(r, marker, sizeof marker);
}

/* The grains of one table, count of them; there is at least one. */
static int append_table(Rebuild *r, const VmdkStreamGrain *grains, size_t count)
{
    const int64_t table = grains[0].index / r->header.gtes_per_gt;
    int ret;

    memset(r->gt, 0, r->gt_bytes);
    for (size_t i = 0; i < count; i++) {
        bdrv_store_le32(r->gt + grains[i].index % r->header.gtes_per_gt * ENTRY_BYTES,
                        grains[i].sector);
    }
    ret = append_marker(r, VMDK_BLOCK_GT, (int64_t)r->gt_bytes / BDRV_SECTOR_SIZE);
    if (ret == 0 && r->at / BDRV_SECTOR_SIZE > UINT32_MAX) {
        ret = bdrv_error(r->file, -EFBIG, "there is no room for tables in the first 2 TiB of the "
                         "file");
    }
    if (ret == 0) {
        bdrv_store_le32(r->gd + table * ENTRY_BYTES, (uint32_t)(r->at / BDRV_SECTOR_SIZE));
        ret = append(r, r->gt, r->gt_bytes);
    }
    return ret;
}

static int append_tables(Rebuild *r, const VmdkStreamGrain *grains, size_t count)
{
    size_t first = 0;
    int ret = 0;

    while (ret == 0 && first < count) {
        const int64_t table = grains[first].index / r->header.gtes_per_gt;
        size_t next = first;

        while (next < count && grains[next].index / r->header.gtes_per_gt == table) {
            next++;
        }
        ret = append_table(r, grains + first, next - first);
        first = next;
    }
    return ret;
}

static int append_end(Rebuild *r)
{
    uint8_t footer[VMDK_HEADER_BYTES];
    int ret = append_marker(r, VMDK_BLOCK_GD, (int64_t)r->gd_bytes / BDRV_SECTOR_SIZE);

    r->header.gd_sector = (uint64_t)(r->at / BDRV_SECTOR_SIZE);
    if (ret == 0) {
        ret = append(r, r->gd, r->gd_bytes);
    }
    /* What the footer leads to must be there before it is, and nothing of a former end behind
     * it; but a former directory tells that there are no more grains: it goes when the new one
     * is there. */
    if (ret == 0) {
        ret = bdrv_flush_children(r->c->image->bs);
    }
    if (ret == 0) {
        ret = bdrv_truncate(r->file, r->at);
    }
    if (ret == 0) {
        ret = bdrv_flush_children(r->c->image->bs);
    }
    if (ret == 0) {
        ret = append_marker(r, VMDK_BLOCK_FOOTER, 1);
    }
    if (ret == 0) {
        vmdk_header_encode(&r->header, footer);
        ret = append(r, footer, sizeof footer);
    }
    if (ret == 0) {
        ret = append_marker(r, VMDK_BLOCK_END, 0);
    }
    return ret < 0 ? ret : bdrv_flush_children(r->c->image->bs);
}

/* Only where it does not say already that there is a footer like that. */
static int write_head(Rebuild *r)
{
    uint8_t old[VMDK_HEADER_BYTES], fresh[VMDK_HEADER_BYTES];
    VmdkHeader header = r->header;
    int ret = bdrv_pread(r->file, old, sizeof old, 0);

    header.gd_sector = VMDK_GD_AT_END;
    vmdk_header_encode(&header, fresh);
    if (ret < 0 || memcmp(old, fresh, sizeof old) == 0) {
        return ret;
    }
    return vmdk_mend_bytes(r->c, r->file, fresh, sizeof fresh, 0);
}

int vmdk_stream_rebuild(VmdkCheck *c, BlockDriverState *file, const VmdkHeader *header,
                        const VmdkStreamGrain *grains, size_t count, int64_t at)
{
    Rebuild r = {.c = c, .file = file, .header = *header, .at = at};
    int ret;

    c->mended = 1;
    r.header.rgd_sector = 0;
    r.header.flags &= ~(uint32_t)VMDK_FLAG_REDUNDANT;
    r.gd_bytes = (size_t)vmdk_header_gd_sectors(header) * BDRV_SECTOR_SIZE;
    r.gt_bytes = (size_t)vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    r.gd = calloc(1, r.gd_bytes);
    r.gt = malloc(r.gt_bytes);
    ret = r.gd && r.gt ? append_tables(&r, grains, count) : -ENOMEM;
    if (ret == 0) {
        ret = append_end(&r);
    }
    if (ret == 0) {
        ret = write_head(&r);
    }
    free(r.gd);
    free(r.gt);
    return ret;
}
