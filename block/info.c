/* SPDX-License-Identifier: MIT */
/*
 * info.c - what a node tells about itself: its length, names, neighbours, the
 * figures of bdrv_get_info(), its geometry, and the tree of details that only
 * its format knows.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

/* ---------------------------------------------------------- plain questions */

int64_t bdrv_getlength(BlockDriverState *bs)
{
    return bs ? atomic_load_explicit(&bs->length, memory_order_relaxed) : -EINVAL;
}

const char *bdrv_filename(const BlockDriverState *bs)
{
    return bs->filename;
}

const char *bdrv_format(const BlockDriverState *bs)
{
    return bs->driver->name;
}

int bdrv_is_writable(const BlockDriverState *bs)
{
    return (bs->flags & BDRV_O_RDWR) != 0;
}

int bdrv_needs_names(BlockDriverState *bs)
{
    return bs ? atomic_load(&bs->needs_names) != 0 : -EINVAL;
}

BlockDriverState *bdrv_file(const BlockDriverState *bs)
{
    return bs->file;
}

BlockDriverState *bdrv_backing(const BlockDriverState *bs)
{
    return bs->backing;
}

/* ------------------------------------------------------------- for drivers */

void *bdrv_state(const BlockDriverState *bs)
{
    return bs->state;
}

unsigned bdrv_open_flags(const BlockDriverState *bs)
{
    return bs->flags;
}

const char *bdrv_driver_name(const BlockDriverState *bs)
{
    return bs->driver->name;
}

void bdrv_set_length(BlockDriverState *bs, int64_t length)
{
    atomic_store(&bs->length, length);
}

void bdrv_set_needs_names(BlockDriverState *bs, int needs)
{
    atomic_store(&bs->needs_names, needs);
}

void bdrv_set_packing(BlockDriverState *bs, int64_t cluster, size_t room)
{
    bs->packing_cluster = cluster;
    bs->packing_room = room;
}

int bdrv_is_abandoned(const BlockDriverState *bs)
{
    return atomic_load(&((BlockDriverState *)bs)->abandoned);
}

int bdrv_set_filename(BlockDriverState *bs, const char *filename)
{
    char *copy = strdup(filename);

    if (!copy) {
        return -ENOMEM;
    }
    free(bs->filename);
    bs->filename = copy;
    return 0;
}

const char *const *bdrv_allow_paths(const BlockDriverState *bs)
{
    return (const char *const *)bs->context->allow_paths;
}

const BdrvLimits *bdrv_limits(const BlockDriverState *bs)
{
    return &bs->context->limits;
}

size_t bdrv_table_budget(const BlockDriverState *bs)
{
    return bs->context->limits.table_bytes;
}

/* ---------------------------------------------------------------- get_info */

/* NOLINTNEXTLINE(misc-no-recursion): files lie under images, nothing under files */
static int add_host_bytes(BlockDriverState *child, void *sum)
{
    BdrvInfo below = { .struct_size = sizeof below };

    if (bdrv_get_info(child, &below) < 0 || below.host_bytes < 0) {
        return -ENOTSUP;
    }
    *(int64_t *)sum += below.host_bytes;
    return 0;
}

/* What the files of the image occupy together; -1 if one of them cannot tell. */
/* NOLINTNEXTLINE(misc-no-recursion): as above */
static int64_t host_bytes(BlockDriverState *bs)
{
    int64_t sum = 0;

    return add_host_bytes(bs->file, &sum) < 0 ||
                   bdrv_children_each(bs, add_host_bytes, &sum) < 0
               ? -1
               : sum;
}

/* NOLINTNEXTLINE(misc-no-recursion): as above */
int bdrv_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    BdrvInfo ours = { .struct_size = sizeof ours };
    size_t size;
    int ret;

    bdrv_call_begin();
    if (!bs || !info) {
        return bdrv_call_end(bs, -EINVAL, "bdrv_get_info: bs or info is NULL");
    }
    ours.length = bdrv_getlength(bs);
    ours.host_bytes = bs->file ? host_bytes(bs) : -1;
    ret = bs->driver->get_info(bs, &ours);
    if (ret == 0) {
        size = info->struct_size && info->struct_size < sizeof ours ? info->struct_size
                                                                     : sizeof ours;
        ours.struct_size = size;
        memcpy(info, &ours, size);
    }
    return bdrv_call_end(bs, ret, "cannot tell about the image");
}

/* ---------------------------------------------------------------- geometry */

enum {
    ATA_HEADS = 16,
    ATA_SECTORS = 63,
    ATA_CYLINDERS_MAX = 16383
};

static void guess_geometry(int64_t length, BdrvGeometry *geometry)
{
    int64_t cylinders = length / BDRV_SECTOR_SIZE / (ATA_HEADS * ATA_SECTORS);

    *geometry = (BdrvGeometry){
        .cylinders = (uint32_t)bdrv_max(1, bdrv_min(cylinders, ATA_CYLINDERS_MAX)),
        .heads = ATA_HEADS,
        .sectors = ATA_SECTORS,
    };
}

int bdrv_get_geometry(BlockDriverState *bs, BdrvGeometry *geometry)
{
    int ret;

    bdrv_call_begin();
    if (!bs || !geometry) {
        return bdrv_call_end(bs, -EINVAL, "bdrv_get_geometry: bs or geometry is NULL");
    }
    memset(geometry, 0, sizeof *geometry);
    ret = bs->driver->get_geometry(bs, geometry);
    if (ret == 0) {
        geometry->from_image = 1;
    } else if (ret == -ENOENT) {
        guess_geometry(bdrv_getlength(bs), geometry);
        ret = 0;
    }
    return bdrv_call_end(bs, ret, "cannot tell the geometry");
}

/* ----------------------------------------------------------------- details */

struct BdrvDetails {
    BdrvDetailFn *visit;
    void *opaque;
};

int bdrv_get_details(BlockDriverState *bs, BdrvDetailFn *visit, void *opaque)
{
    BdrvDetails details = { .visit = visit, .opaque = opaque };
    int ret;

    bdrv_call_begin();
    ret = bs && visit ? bs->driver->get_details(bs, &details) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot tell details");
}

static void emit(BdrvDetails *details, BdrvDetail detail)
{
    details->visit(details->opaque, &detail);
}

void bdrv_detail_number(BdrvDetails *details, const char *key, int64_t number)
{
    emit(details, (BdrvDetail){ .kind = BDRV_DETAIL_NUMBER, .key = key, .number = number });
}

void bdrv_detail_string(BdrvDetails *details, const char *key, const char *string)
{
    emit(details, (BdrvDetail){ .kind = BDRV_DETAIL_STRING, .key = key, .string = string });
}

void bdrv_detail_bool(BdrvDetails *details, const char *key, int value)
{
    emit(details, (BdrvDetail){ .kind = BDRV_DETAIL_BOOL, .key = key, .number = value != 0 });
}

void bdrv_detail_object(BdrvDetails *details, const char *key)
{
    emit(details, (BdrvDetail){ .kind = BDRV_DETAIL_OBJECT_BEGIN, .key = key });
}

void bdrv_detail_list(BdrvDetails *details, const char *key)
{
    emit(details, (BdrvDetail){ .kind = BDRV_DETAIL_LIST_BEGIN, .key = key });
}

void bdrv_detail_end(BdrvDetails *details)
{
    emit(details, (BdrvDetail){ .kind = BDRV_DETAIL_END });
}
