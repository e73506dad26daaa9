/* SPDX-License-Identifier: MIT */
/*
 * packing.c - the clusters of one stretch of a disk on their way into a format
 * that compresses them: packed on any thread, then written in their order.
 *
 *     cluster │ cluster │ cluster │ cluster      of the disk
 *        ▼         ▼                   ▼         pack, in parallel
 *     ┌─────┐┌──────────┐          ┌──────┐
 *     └─────┘└──────────┘          └──────┘      write_packed, in turn
 *
 * Which clusters, and when, is the business of convert.c.
 */
#include <stdlib.h>

#include "block_int.h"

int bdrv_packing_new(Packing *packing, const BlockDriverState *target, int64_t bytes)
{
    size_t count;

    *packing = (Packing){ .cluster = target->packing_cluster, .room = target->packing_room };
    if (packing->cluster == 0) {
        return 0;
    }
    count = (size_t)(bytes / packing->cluster);
    packing->sizes = calloc(count, sizeof *packing->sizes);
    packing->bytes = malloc(count * packing->room);
    if (!packing->sizes || !packing->bytes) {
        bdrv_packing_free(packing);
        return -ENOMEM;
    }
    return 0;
}

void bdrv_packing_free(Packing *packing)
{
    free(packing->sizes);
    free(packing->bytes);
    *packing = (Packing){ 0 };
}

int bdrv_packing_add(Packing *packing, BlockDriverState *target, size_t i, const void *cluster,
                     int64_t offset)
{
    int ret;

    packing->used = i == 0 ? 0 : packing->used;
    packing->sizes[i] = 0;
    if (!cluster) {
        return 0;
    }
    ret = bdrv_pack(target, cluster, offset, packing->bytes + packing->used,
                    &packing->sizes[i]);
    packing->used += ret == 0 ? packing->sizes[i] : 0;
    return ret;
}

int bdrv_packing_write(const Packing *packing, BlockDriverState *target, size_t count,
                       int64_t offset, int64_t end)
{
    const uint8_t *next = packing->bytes;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < count; i++, offset += packing->cluster) {
        if (packing->sizes[i] > 0) {
            ret = bdrv_write_packed(target, next, packing->sizes[i], offset);
            next += packing->sizes[i];
        } else if (offset < end) {
            ret = bdrv_write_zeroes(target, offset, bdrv_min(packing->cluster, end - offset));
        }
    }
    return ret;
}
