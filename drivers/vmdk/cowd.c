/* SPDX-License-Identifier: MIT */
/*
 * cowd.c - copy-on-write extents ("COWD"): ESX snapshots, through a descriptor,
 * and disks that are one such file.
 *
 *     header │ GD │ GT │ grains of any GT … │ GT │ grains … │
 *                                                           ▲
 *                                                       freeSector
 *
 * One set of tables only.  GTs are made when something is first written where
 * they are for, in the row of the grains.  A grain may be a single sector, so
 * what belongs together must be allocated and found together.
 */
#include "vmdk.h"

#include <stdlib.h>

enum {
    FLAGS_USUAL = 3 /* the meaning of the bits was never published */
};

typedef struct Cowd {
    VmdkExtent *extent;
    VmdkCowdHeader header;
    VmdkMap map;
    VmdkSpace space;
    BdrvClusters *clusters;
    pthread_mutex_t header_lock;
    atomic_int marked; /* the file says, because of us, that it is not closed */
} Cowd;

static Cowd *cowd_of(const VmdkExtent *extent)
{
    return extent->state;
}

/* ------------------------------------------------------------------ header */

static int write_unclean(Cowd *cowd, uint32_t unclean)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, unclean);
    return bdrv_pwrite(cowd->extent->file, bytes, sizeof bytes, VMDK_COWD_UNCLEAN_OFFSET);
}

/* As in sparse.c: durable by the barrier before the tables. */
static int mark_unclean(Cowd *cowd)
{
    int ret = 0;

    if (atomic_load_explicit(&cowd->marked, memory_order_acquire)) {
        return 0;
    }
    pthread_mutex_lock(&cowd->header_lock);
    if (!atomic_load(&cowd->marked)) {
        ret = write_unclean(cowd, 1);
        atomic_store(&cowd->marked, ret == 0);
    }
    pthread_mutex_unlock(&cowd->header_lock);
    return ret;
}

/* Records what is taken.  Written at the next flush, like a table that comes
 * before the others; the header's other sector, with the unclean byte, is not
 * touched by that. */
static int keep_free_sector(Cowd *cowd)
{
    uint8_t bytes[4];
    uint32_t next;
    int ret = 0;

    pthread_mutex_lock(&cowd->header_lock);
    next = (uint32_t)(vmdk_space_next(&cowd->space) / BDRV_SECTOR_SIZE);
    if (next != cowd->header.free_sector) {
        bdrv_store_le32(bytes, next);
        ret = bdrv_table_write(cowd->extent->image->table, cowd->extent->file, bytes,
                               sizeof bytes, VMDK_COWD_FREE_OFFSET, BDRV_TABLE_REDUNDANT);
        cowd->header.free_sector = ret == 0 ? next : cowd->header.free_sector;
    }
    pthread_mutex_unlock(&cowd->header_lock);
    return ret;
}

/* ---------------------------------------------------------------- clusters */

static int cowd_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    Cowd *cowd = opaque;

    return vmdk_map_lookup(&cowd->map, offset, bytes, run);
}

static int cowd_reserve(void *opaque, int64_t *clusters, int64_t *file_offset, int *zeroed)
{
    Cowd *cowd = opaque;
    int ret = mark_unclean(cowd);

    if (ret == 0) {
        ret = vmdk_space_take(&cowd->space, cowd->map.grain, clusters, file_offset, zeroed);
    }
    return ret < 0 ? ret : keep_free_sector(cowd);
}

static int cowd_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    Cowd *cowd = opaque;
    int ret = vmdk_map_enter(&cowd->map, offset, clusters,
                             (uint32_t)(file_offset / BDRV_SECTOR_SIZE),
                             cowd->header.grain_sectors);

    return ret < 0 ? ret : keep_free_sector(cowd); /* there may be new GTs */
}

/* No entry says "zeros" in what VMware documents: they are written. */
static const BdrvClusterOps cowd_cluster_ops = {
    .lookup = cowd_lookup,
    .reserve = cowd_reserve,
    .enter = cowd_enter,
};

/* -------------------------------------------------------------------- open */

static int open_map(Cowd *cowd)
{
    const VmdkCowdHeader *header = &cowd->header;
    VmdkMap *map = &cowd->map;

    map->extent = cowd->extent;
    map->space = &cowd->space;
    map->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    map->gtes = vmdk_cowd_gtes(header);
    map->tables = header->gd_entries;
    map->gd[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE;
    map->first_data = VMDK_COWD_HEADER_BYTES;
    /* Never written here, but somebody writes an entry of 1 and means that. */
    atomic_init(&map->has_zeroed, 1);
    return vmdk_map_open(map);
}

/* After a crash freeSector is what is used; else it must be, or be more, up to the sector in
 * which the file ends. */
static int open_for_writing(Cowd *cowd)
{
    BlockDriverState *file = cowd->extent->file;
    const int64_t sectors = bdrv_div_up(bdrv_getlength(file), BDRV_SECTOR_SIZE);
    const int64_t free_offset = (int64_t)cowd->header.free_sector * BDRV_SECTOR_SIZE;
    VmdkUse use;
    int64_t used_end;
    int ret = vmdk_map_scan(&cowd->map, &use);

    if (ret < 0) {
        return ret;
    }
    used_end = bdrv_max(use.end, VMDK_COWD_HEADER_BYTES);
    if (!cowd->header.unclean_shutdown &&
        (free_offset < used_end || cowd->header.free_sector > sectors)) {
        return bdrv_error(file, -EINVAL, "COWD header: freeSector is %" PRIu32 ", but sectors "
                          "up to %" PRId64 " are in use and the file has %" PRId64 "; the image "
                          "must be repaired before it is written to", cowd->header.free_sector,
                          bdrv_div_up(used_end, BDRV_SECTOR_SIZE), sectors);
    }
    used_end = bdrv_max(use.grains_end, used_end);
    if (used_end / BDRV_SECTOR_SIZE > UINT32_MAX) {
        return bdrv_error(file, -EROFS, "COWD header: sectors up to %" PRId64 " are in use, more "
                          "than freeSector can tell; the image can only be read",
                          bdrv_div_up(used_end, BDRV_SECTOR_SIZE));
    }
    vmdk_space_start(&cowd->space, bdrv_max(used_end, bdrv_min(free_offset, bdrv_getlength(file))),
                     used_end);
    return 0;
}

static int open_parts(Cowd *cowd)
{
    VmdkExtent *extent = cowd->extent;
    int ret = vmdk_extent_set_capacity(extent, cowd->header.capacity_sectors,
                                       (int64_t)cowd->header.grain_sectors);
    BdrvClustersConfig config = {
        .bs = extent->image->bs,
        .file = extent->file,
        .disk_offset = extent->start,
        .length = extent->length,
        .cluster_size = extent->cluster_size,
        .ops = &cowd_cluster_ops,
        .opaque = cowd,
    };

    if (ret == 0) {
        ret = open_map(cowd);
    }
    if (ret == 0 && vmdk_extent_is_writable(extent)) {
        ret = open_for_writing(cowd);
    }
    return ret < 0 ? ret : bdrv_clusters_new(&cowd->clusters, &config);
}

static int check_kind(const VmdkExtent *extent, const VmdkCowdHeader *header)
{
    if (header->legacy && vmdk_extent_is_writable(extent)) {
        return bdrv_error(extent->file, -EROFS, "this is a disk of Workstation 2 or 3, which "
                          "can only be read; convert it to write it");
    }
    if (header->role == VMDK_COWD_CHILD) {
        return bdrv_error(extent->file, -ENOTSUP, "the COWD header names a parent itself, as "
                          "Workstation 2 and 3 did; such chains are not supported");
    }
    return 0;
}

static int cowd_open(VmdkExtent *extent)
{
    VmdkCowdHeader header;
    Cowd *cowd;
    int ret = vmdk_cowd_header_read(extent->file, &header);

    if (ret == 0) {
        ret = check_kind(extent, &header);
    }
    cowd = ret < 0 ? NULL : calloc(1, sizeof *cowd);
    if (!cowd) {
        return ret < 0 ? ret : -ENOMEM;
    }
    if (header.flags != FLAGS_USUAL) {
        bdrv_log(extent->image->bs, "COWD header: flags are %" PRIu32 " instead of 3: ignored",
                 header.flags);
    }
    extent->state = cowd;
    cowd->extent = extent;
    cowd->header = header;
    pthread_mutex_init(&cowd->header_lock, NULL);
    pthread_mutex_init(&cowd->map.lock, NULL);
    vmdk_space_init(&cowd->space, extent->file, BDRV_SECTOR_SIZE);
    cowd->space.tells_end = 1;
    extent->cluster_size = (int64_t)header.grain_sectors * BDRV_SECTOR_SIZE;
    extent->unclean = header.unclean_shutdown != 0;
    return open_parts(cowd);
}

/* --------------------------------------------------------------- requests */

static int cowd_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_read(cowd_of(extent)->clusters, buf, bytes, offset);
}

static int cowd_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_write(cowd_of(extent)->clusters, buf, bytes, offset);
}

static int cowd_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    return bdrv_clusters_write_zeroes(cowd_of(extent)->clusters, offset, bytes);
}

/* No entry hides a parent: then zeros do, where the grain is. */
static int cowd_discard(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    Cowd *cowd = cowd_of(extent);
    int ret;

    if (vmdk_extent_has_parent(extent)) {
        return vmdk_map_zero_in_place(&cowd->map, offset, bytes);
    }
    ret = mark_unclean(cowd);
    return ret < 0 ? ret : vmdk_map_discard(&cowd->map, offset, bytes, 0);
}

static int cowd_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    return vmdk_map_lookup(&cowd_of(extent)->map, offset, bytes, run);
}

/* ------------------------------------------------------------------- close */

static int cowd_settle(VmdkExtent *extent)
{
    Cowd *cowd = cowd_of(extent);
    int ret;

    if (!atomic_load(&cowd->marked)) {
        return 0;
    }
    /* A write that failed may have left it behind. */
    ret = keep_free_sector(cowd);
    if (ret == 0) {
        ret = bdrv_table_flush(extent->image->table);
    }
    if (ret == 0) {
        ret = vmdk_space_trim(&cowd->space);
    }
    if (ret == 0) {
        ret = write_unclean(cowd, 0);
    }
    if (ret == 0) {
        atomic_store(&cowd->marked, 0); /* should it go on */
    }
    return ret;
}

/* ---------------------------------------------------------- all of the extent */

static int cowd_make_empty(VmdkExtent *extent)
{
    Cowd *cowd = cowd_of(extent);
    int ret = mark_unclean(cowd);

    if (ret == 0) {
        ret = vmdk_map_empty(&cowd->map, VMDK_DROP_TABLES);
    }
    if (ret == 0) {
        ret = keep_free_sector(cowd);
    }
    return ret < 0 ? ret : bdrv_table_flush(extent->image->table);
}

static int cowd_mark(VmdkExtent *extent)
{
    return mark_unclean(cowd_of(extent));
}

/* One COWD file has no descriptor that said the new length already (resize.c). */
static int shorten_alone(Cowd *cowd, int64_t length)
{
    const VmdkExtent *extent = cowd->extent;

    return extent->image->descriptor.text || length >= extent->length
               ? 0
               : vmdk_cowd_shorten(&cowd->map, &cowd->header, length);
}

static int cowd_resize(VmdkExtent *extent, int64_t length)
{
    Cowd *cowd = cowd_of(extent);
    int ret = mark_unclean(cowd);

    if (ret == 0) {
        ret = shorten_alone(cowd, length);
    }
    if (ret == 0) {
        ret = vmdk_map_cut(&cowd->map, length);
    }
    if (ret == 0) {
        ret = keep_free_sector(cowd); /* before the header is written as a whole */
    }
    if (ret == 0) {
        ret = vmdk_cowd_resize(&cowd->map, &cowd->header, length);
    }
    return ret < 0 ? ret : cowd_settle(extent);
}

static void cowd_close(VmdkExtent *extent)
{
    Cowd *cowd = cowd_of(extent);

    if (cowd) {
        bdrv_clusters_free(cowd->clusters);
        vmdk_map_close(&cowd->map);
        vmdk_space_destroy(&cowd->space);
        pthread_mutex_destroy(&cowd->header_lock);
        free(cowd);
        extent->state = NULL;
    }
}

const VmdkExtentOps vmdk_cowd_extent = {
    .open = cowd_open,
    .read = cowd_read,
    .write = cowd_write,
    .write_zeroes = cowd_write_zeroes,
    .discard = cowd_discard,
    .is_allocated = cowd_is_allocated,
    .make_empty = cowd_make_empty,
    .mark = cowd_mark,
    .resize = cowd_resize,
    .settle = cowd_settle,
    .close = cowd_close,
};
