/* SPDX-License-Identifier: MIT */
/*
 * sparse.c - hosted sparse extents ("KDMV"), not compressed.
 *
 *     header │ descriptor │ RGD, RGTs │ GD, GTs │ pad │ grain │ grain │ …
 *                                                ▲
 *                                             overHead
 *
 * Grains are put at the end of the file in the order of their first write.  The
 * map (map.c) says where they are; here is what only this kind has: the header
 * that changes with it, and grains of zeros.
 */
#include "vmdk.h"

#include <stdlib.h>

enum {
    VERSION_ZEROED = 2,  /* the first that knows grains of zeros */
    VERSION_TRACKED = 3, /* changes are, for incremental backups */
    GTE_ZEROED = 1
};

typedef struct Sparse {
    VmdkExtent *extent;
    VmdkHeader header;
    VmdkMap map;
    VmdkSpace space;
    BdrvClusters *clusters;
    pthread_mutex_t header_lock;
    atomic_int marked; /* the file says, because of us, that it is not closed */
} Sparse;

static Sparse *sparse_of(const VmdkExtent *extent)
{
    return extent->state;
}

/* ------------------------------------------------------------------ header */

/* Not flushed here: the barrier before the tables are written makes it durable
 * before any of them changes, and that is what it has to be before. */
static int mark_unclean(Sparse *sparse)
{
    int ret = 0;

    if (atomic_load_explicit(&sparse->marked, memory_order_acquire)) {
        return 0;
    }
    pthread_mutex_lock(&sparse->header_lock);
    if (!atomic_load(&sparse->marked)) {
        sparse->header.unclean_shutdown = 1;
        ret = vmdk_header_update(sparse->extent->file, &sparse->header);
        atomic_store(&sparse->marked, ret == 0);
    }
    pthread_mutex_unlock(&sparse->header_lock);
    return ret;
}

/* Makes the header allow grains of zeros, or not; then there are none.  What is in doubt is not
 * taken for allowed: the next grain of zeros asks for the header again. */
static int write_zeroed(Sparse *sparse, int allowed)
{
    VmdkHeader header = sparse->header;
    int ret;

    if (allowed) {
        header.flags |= VMDK_FLAG_ZEROED;
        header.version = header.version < VERSION_ZEROED ? VERSION_ZEROED : header.version;
    } else {
        header.flags &= ~(uint32_t)VMDK_FLAG_ZEROED;
        header.version = header.version == VERSION_ZEROED ? 1 : header.version;
    }
    ret = vmdk_header_update(sparse->extent->file, &header);
    if (ret == 0 || !allowed) {
        sparse->header = header;
        atomic_store(&sparse->map.has_zeroed, allowed);
    }
    return ret;
}

/* Durable before the first of them for the same reason. */
static int allow_zeroed(Sparse *sparse)
{
    int ret = 0;

    pthread_mutex_lock(&sparse->header_lock);
    if (!atomic_load(&sparse->map.has_zeroed)) {
        ret = write_zeroed(sparse, 1);
    }
    pthread_mutex_unlock(&sparse->header_lock);
    return ret;
}

/* Is there none, so that a header without them would say the truth? */
static int find_zeroed(Sparse *sparse)
{
    const VmdkExtent *extent = sparse->extent;
    BlockDriverState *bs = extent->image->bs;
    BdrvExtent run;
    int ret = 0;

    for (int64_t offset = 0; ret == 0 && offset < extent->length; offset += run.bytes) {
        run = (BdrvExtent){0};
        ret = vmdk_map_lookup(&sparse->map, offset, extent->length - offset, &run);
        if (ret == 0 && run.state == BDRV_ZERO) {
            ret = bdrv_error(extent->file, -EINVAL, "there are grains of zeros, the first at byte "
                             "%" PRId64 " of the disk: a header without them is for images that "
                             "have none; convert the image", extent->start + offset);
        }
        ret = ret < 0 ? ret
                      : bdrv_tell_progress(bs, extent->start + offset + run.bytes,
                                           bdrv_getlength(bs));
    }
    return ret;
}

int vmdk_sparse_has_zeroed(VmdkExtent *extent)
{
    return atomic_load(&sparse_of(extent)->map.has_zeroed);
}

/* Entries of 1 that were taken back are durably so before the header says that
 * there are none. */
int vmdk_sparse_check_zeroed(VmdkExtent *extent)
{
    const int ret = bdrv_table_flush(extent->image->table);

    return ret < 0 ? ret : find_zeroed(sparse_of(extent));
}

int vmdk_sparse_set_zeroed(VmdkExtent *extent, int allowed)
{
    Sparse *sparse = sparse_of(extent);
    int ret;

    pthread_mutex_lock(&sparse->header_lock);
    ret = write_zeroed(sparse, allowed);
    pthread_mutex_unlock(&sparse->header_lock);
    return ret < 0 ? ret : bdrv_flush_children(extent->image->bs);
}

int vmdk_sparse_untrack(VmdkExtent *extent)
{
    Sparse *sparse = sparse_of(extent);
    VmdkHeader header;
    int ret = 0;

    pthread_mutex_lock(&sparse->header_lock);
    header = sparse->header;
    if (header.version == VERSION_TRACKED) {
        header.version = header.flags & VMDK_FLAG_ZEROED ? VERSION_ZEROED : 1;
        ret = vmdk_header_update(extent->file, &header);
        sparse->header = ret == 0 ? header : sparse->header;
    }
    pthread_mutex_unlock(&sparse->header_lock);
    return ret;
}

int vmdk_sparse_is_free(VmdkExtent *extent, int64_t start, int64_t end)
{
    Sparse *sparse = extent->ops == &vmdk_sparse_extent ? sparse_of(extent) : NULL;

    return sparse && vmdk_map_need_regions(&sparse->map) == 0 &&
           !vmdk_regions_hit(&sparse->map.regions, start, end);
}

/* ---------------------------------------------------------------- clusters */

static int sparse_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    Sparse *sparse = opaque;

    return vmdk_map_lookup(&sparse->map, offset, bytes, run);
}

static int sparse_reserve(void *opaque, int64_t *clusters, int64_t *file_offset, int *zeroed)
{
    Sparse *sparse = opaque;
    int ret = mark_unclean(sparse);

    return ret < 0 ? ret : vmdk_space_take(&sparse->space, sparse->map.grain, clusters,
                                           file_offset, zeroed);
}

static int sparse_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    Sparse *sparse = opaque;

    return vmdk_map_enter(&sparse->map, offset, clusters,
                          (uint32_t)(file_offset / BDRV_SECTOR_SIZE),
                          (uint32_t)(sparse->map.grain / BDRV_SECTOR_SIZE));
}

/* Not every program reads grains of zeros right, so they are only used where
 * they are needed, to hide a parent, or were asked for. */
static int sparse_enter_zero(void *opaque, int64_t offset, int64_t clusters)
{
    Sparse *sparse = opaque;
    int ret;

    if (!atomic_load(&sparse->map.has_zeroed) && !vmdk_extent_has_parent(sparse->extent)) {
        return 0;
    }
    ret = mark_unclean(sparse);
    if (ret == 0) {
        ret = allow_zeroed(sparse);
    }
    return ret < 0 ? ret : vmdk_map_enter(&sparse->map, offset, clusters, GTE_ZEROED, 0);
}

static const BdrvClusterOps sparse_cluster_ops = {
    .lookup = sparse_lookup,
    .reserve = sparse_reserve,
    .enter = sparse_enter,
    .enter_zero = sparse_enter_zero,
};

/* -------------------------------------------------------------------- open */

static int64_t sectors_to_bytes(uint64_t sectors, int64_t most)
{
    int64_t bytes;

    return bdrv_scale(sectors, BDRV_SECTOR_SIZE, &bytes) ? bdrv_min(bytes, most) : most;
}

/* The redundant set, or 0.  One that cannot be there is no reason not to read. */
static int find_redundant(Sparse *sparse, int64_t *gd)
{
    BlockDriverState *file = sparse->extent->file;
    const VmdkHeader *header = &sparse->header;

    *gd = 0;
    if (!(header->flags & VMDK_FLAG_REDUNDANT)) {
        return 0;
    }
    if (vmdk_header_redundant_fits(header, bdrv_getlength(file))) {
        *gd = (int64_t)header->rgd_sector * BDRV_SECTOR_SIZE;
        return 0;
    }
    if (vmdk_extent_is_writable(sparse->extent)) {
        return bdrv_error(file, -EROFS, "sparse header: rgdOffset is sector %" PRIu64 ", where "
                          "the redundant directory is not inside the file; the image can only "
                          "be read", header->rgd_sector);
    }
    bdrv_log(sparse->extent->image->bs, "sparse header: rgdOffset is sector %" PRIu64 ", where "
             "the redundant directory is not inside the file: ignored", header->rgd_sector);
    return 0;
}

static int open_map(Sparse *sparse)
{
    const VmdkHeader *header = &sparse->header;
    VmdkMap *map = &sparse->map;
    const int64_t size = bdrv_getlength(sparse->extent->file);

    map->extent = sparse->extent;
    map->space = &sparse->space;
    map->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    map->gtes = header->gtes_per_gt;
    map->tables = vmdk_header_tables(header);
    map->gd[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE;
    map->first_data = bdrv_max(sectors_to_bytes(header->overhead_sectors, size),
                               VMDK_HEADER_BYTES);
    atomic_init(&map->has_zeroed, (header->flags & VMDK_FLAG_ZEROED) != 0);
    map->text.start = (int64_t)header->descriptor_sector * BDRV_SECTOR_SIZE;
    map->text.end = header->descriptor_sector == 0
                        ? 0
                        : map->text.start + (int64_t)header->descriptor_sectors * BDRV_SECTOR_SIZE;
    return vmdk_map_open(map);
}

static int open_clusters(Sparse *sparse)
{
    BdrvClustersConfig config = {
        .bs = sparse->extent->image->bs,
        .file = sparse->extent->file,
        .disk_offset = sparse->extent->start,
        .length = sparse->extent->length,
        .cluster_size = sparse->map.grain,
        .ops = &sparse_cluster_ops,
        .opaque = sparse,
    };

    return bdrv_clusters_new(&sparse->clusters, &config);
}

/* May its file be changed at all? */
static int check_changeable(Sparse *sparse, VmdkUse *use)
{
    if (sparse->header.needs_footer) { /* which is none when anything comes behind it */
        return bdrv_error(sparse->extent->file, -EROFS, "sparse header: only a footer says where "
                          "the tables are; the image can only be read before a repair");
    }
    return vmdk_map_scan(&sparse->map, use);
}

/* Finds where the next grain goes, and that it will disturb nothing there. */
static int open_for_writing(Sparse *sparse)
{
    BlockDriverState *file = sparse->extent->file;
    const int64_t size = bdrv_getlength(file), grain = sparse->map.grain;
    const int64_t first = sectors_to_bytes(sparse->header.overhead_sectors, INT64_MAX - grain);
    VmdkUse use;
    int ret = check_changeable(sparse, &use);
    if (ret == 0 && first > bdrv_round_up(size, grain) + grain) {
        ret = bdrv_error(file, -EROFS, "sparse header: overHead is %" PRIu64 " sectors, more than "
                         "the file has; the image can only be read",
                         sparse->header.overhead_sectors);
    }
    if (ret == 0) {
        const int64_t used_end = bdrv_max(use.grains_end, bdrv_max(first, VMDK_HEADER_BYTES));

        vmdk_space_start(&sparse->space, bdrv_max(used_end, size), used_end);
    }
    return ret;
}

/* May the descriptor that is in its file be changed, for other extents, although this one is
 * not to be written? */
static int keeps_descriptor(const VmdkExtent *extent)
{
    const Vmdk *image = extent->image;

    return bdrv_is_writable(image->bs) && image->descriptor_file == extent->file &&
           image->descriptor_room > 0 && !extent->problem;
}

static int open_parts(Sparse *sparse)
{
    VmdkExtent *extent = sparse->extent;
    int ret = vmdk_extent_set_capacity(extent, sparse->header.capacity_sectors,
                                       (int64_t)sparse->header.grain_sectors);

    if (ret == 0) {
        ret = find_redundant(sparse, &sparse->map.gd[VMDK_REDUNDANT]);
    }
    if (ret == 0) {
        ret = open_map(sparse);
    }
    if (ret == 0 && vmdk_extent_is_writable(extent)) {
        ret = open_for_writing(sparse);
    } else if (ret == 0 && keeps_descriptor(extent)) {
        VmdkUse use;

        ret = check_changeable(sparse, &use);
    }
    return ret < 0 ? ret : open_clusters(sparse);
}

static int sparse_open(VmdkExtent *extent)
{
    VmdkHeader header;
    int ret = vmdk_header_read(extent->file, &header);
    Sparse *sparse = ret < 0 ? NULL : calloc(1, sizeof *sparse);

    if (!sparse) {
        return ret < 0 ? ret : -ENOMEM;
    }
    vmdk_header_remark(extent->image->bs, &header, bdrv_getlength(extent->file));
    extent->state = sparse;
    sparse->extent = extent;
    sparse->header = header;
    pthread_mutex_init(&sparse->header_lock, NULL);
    pthread_mutex_init(&sparse->map.lock, NULL);
    vmdk_space_init(&sparse->space, extent->file,
                    (int64_t)header.grain_sectors * BDRV_SECTOR_SIZE);
    extent->cluster_size = (int64_t)header.grain_sectors * BDRV_SECTOR_SIZE;
    extent->unclean = header.unclean_shutdown != 0;
    return open_parts(sparse);
}

/* --------------------------------------------------------------- requests */

static int sparse_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_read(sparse_of(extent)->clusters, buf, bytes, offset);
}

static int sparse_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_write(sparse_of(extent)->clusters, buf, bytes, offset);
}

static int sparse_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    return bdrv_clusters_write_zeroes(sparse_of(extent)->clusters, offset, bytes);
}

/* Without a parent, no entry reads as zeros too. */
static int sparse_discard(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    Sparse *sparse = sparse_of(extent);
    const int hides = vmdk_extent_has_parent(extent);
    int ret = mark_unclean(sparse);

    if (ret == 0 && hides) {
        ret = allow_zeroed(sparse);
    }
    return ret < 0 ? ret : vmdk_map_discard(&sparse->map, offset, bytes, hides ? GTE_ZEROED : 0);
}

static int sparse_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes,
                               BdrvExtent *run)
{
    return vmdk_map_lookup(&sparse_of(extent)->map, offset, bytes, run);
}

/* ------------------------------------------------------------------- close */

static int sparse_settle(VmdkExtent *extent)
{
    Sparse *sparse = sparse_of(extent);
    int ret;

    if (!atomic_load(&sparse->marked)) {
        return 0;
    }
    ret = vmdk_space_trim(&sparse->space);
    if (ret == 0) {
        sparse->header.unclean_shutdown = 0;
        ret = vmdk_header_update(extent->file, &sparse->header);
    }
    if (ret == 0) {
        atomic_store(&sparse->marked, 0); /* should it go on */
    }
    return ret;
}

/* ---------------------------------------------------------- all of the extent */

static int sparse_make_empty(VmdkExtent *extent)
{
    Sparse *sparse = sparse_of(extent);
    int ret = mark_unclean(sparse);

    return ret < 0 ? ret : vmdk_map_empty(&sparse->map, VMDK_KEEP_TABLES);
}

static int sparse_mark(VmdkExtent *extent)
{
    return mark_unclean(sparse_of(extent));
}

static int sparse_resize(VmdkExtent *extent, int64_t length)
{
    Sparse *sparse = sparse_of(extent);
    int ret = mark_unclean(sparse);

    if (ret == 0) {
        ret = vmdk_map_cut(&sparse->map, length);
    }
    if (ret == 0) {
        ret = vmdk_map_trim(&sparse->map);
    }
    if (ret == 0) {
        ret = vmdk_sparse_resize(&sparse->map, length);
    }
    if (ret == 0) {
        atomic_store(&sparse->marked, 0); /* the new header has no mark */
    }
    return ret;
}

static void sparse_close(VmdkExtent *extent)
{
    Sparse *sparse = sparse_of(extent);

    if (sparse) {
        bdrv_clusters_free(sparse->clusters);
        vmdk_map_close(&sparse->map);
        vmdk_space_destroy(&sparse->space);
        pthread_mutex_destroy(&sparse->header_lock);
        free(sparse);
        extent->state = NULL;
    }
}

const VmdkExtentOps vmdk_sparse_extent = {
    .open = sparse_open,
    .read = sparse_read,
    .write = sparse_write,
    .write_zeroes = sparse_write_zeroes,
    .discard = sparse_discard,
    .is_allocated = sparse_is_allocated,
    .make_empty = sparse_make_empty,
    .mark = sparse_mark,
    .resize = sparse_resize,
    .settle = sparse_settle,
    .close = sparse_close,
};
