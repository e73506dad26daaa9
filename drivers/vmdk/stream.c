/* SPDX-License-Identifier: MIT */
/*
 * stream.c - streamOptimized extents, read: hosted sparse extents whose grains
 * are compressed, each behind a marker that says how long it is and where on
 * the disk it belongs.
 *
 *     GTE ──▶ ┌ LBA, 8 bytes ┬ size, 4 bytes ┬ zlib stream, size bytes ┬ pad ┐
 *             └──────────────┴───────────────┴─────────────────────────┴─────┘
 *             sector                                               sector end
 *
 * Where the tables are is as various as the writers; the directory says, and
 * nothing is assumed of their order.  An image is never changed in place: that
 * would leave a second grain of the same LBA for those who read forward.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    SIZE_BYTES = 4 /* before a grain that does not carry its LBA (flag bit 17 clear) */
};

typedef struct Stream {
    VmdkExtent *extent;
    VmdkHeader header;
    VmdkMap map;
    VmdkSpace space;        /* tells the map the file's size; nothing is taken */
    VmdkStreamIndex *index; /* instead of the tables, where they are lost; else NULL */
    BdrvClusters *clusters;
    VmdkInflater *inflater;

    /* The grain that was last read in part: guests read the rest next. */
    pthread_mutex_t lock;
    int64_t cached; /* its offset in the extent; -1: none */
    uint8_t *cache; /* a grain */
} Stream;

static Stream *stream_of(const VmdkExtent *extent)
{
    return extent->state;
}

/* ------------------------------------------------------------------ grains */

/* Of a grain's marker, decoded and checked. */
typedef struct Marker {
    int64_t data;  /* where its stream begins, in the file */
    int64_t bytes; /* of the stream */
} Marker;

static void marker_decode(const Stream *stream, const uint8_t *bytes, uint64_t *lba,
                          uint32_t *size)
{
    int has_lba = (stream->header.flags & VMDK_FLAG_MARKERS) != 0;

    *lba = has_lba ? bdrv_load_le64(bytes) : 0;
    *size = bdrv_load_le32(bytes + (has_lba ? 8 : 0));
}

static int marker_check(const Stream *stream, int64_t grain, uint64_t lba, const Marker *marker)
{
    BlockDriverState *file = stream->extent->file;

    if (stream->header.flags & VMDK_FLAG_MARKERS &&
        lba != (uint64_t)grain / BDRV_SECTOR_SIZE) {
        return bdrv_error(file, -EIO, "the grain table says that the grain of disk sector %"
                          PRId64 " is where one of sector %" PRIu64 " is",
                          grain / BDRV_SECTOR_SIZE, lba);
    }
    if (marker->bytes == 0) {
        return bdrv_error(file, -EIO, "the compressed grain of disk sector %" PRId64 " is not "
                          "where the grain table says: no grain is there",
                          grain / BDRV_SECTOR_SIZE);
    }
    if (marker->bytes > bdrv_getlength(file) - marker->data) {
        return bdrv_error(file, -EIO, "the file ends within the compressed grain of disk sector %"
                          PRId64 ": it is truncated", grain / BDRV_SECTOR_SIZE);
    }
    return 0;
}

/* at: the place the GTE gives. */
static int read_marker(const Stream *stream, int64_t grain, int64_t at, Marker *marker)
{
    int64_t length = stream->header.flags & VMDK_FLAG_MARKERS ? VMDK_MARKER_BYTES : SIZE_BYTES;
    uint8_t bytes[VMDK_MARKER_BYTES];
    uint64_t lba;
    uint32_t size;
    int ret = bdrv_pread(stream->extent->file, bytes, (size_t)length, at);

    if (ret < 0) {
        return ret;
    }
    marker_decode(stream, bytes, &lba, &size);
    *marker = (Marker){.data = at + length, .bytes = size};
    ret = vmdk_packed_check(stream->extent->file, &stream->header, grain, size);
    return ret < 0 ? ret : marker_check(stream, grain, lba, marker);
}

/* The grain at a multiple of the grain size, whole, to buf. */
static int inflate_grain(const Stream *stream, int64_t grain, const Marker *marker,
                         uint8_t *buf)
{
    /* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): vmdk_packed_check() wants at least one byte */
    uint8_t *packed = malloc((size_t)marker->bytes);
    int ret = packed ? bdrv_pread(stream->extent->file, packed, (size_t)marker->bytes,
                                  marker->data)
                     : -ENOMEM;

    if (ret == 0) {
        ret = vmdk_grain_inflate(stream->extent->file, stream->inflater, &stream->header, grain,
                                 packed, (size_t)marker->bytes, buf,
                                 vmdk_map_covered(&stream->map, grain));
    }
    free(packed);
    return ret;
}

/* Where on the file the run's first grain is, whatever the run's state. */
static int find_run(Stream *stream, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    return stream->index ? vmdk_stream_index_lookup(stream->index, offset, bytes, run)
                         : vmdk_map_lookup(&stream->map, offset, bytes, run);
}

static int find_grain(Stream *stream, int64_t grain, int64_t *at)
{
    BdrvExtent run = {0};
    int ret = find_run(stream, grain, 1, &run);

    if (ret == 0 && run.state != BDRV_DATA) {
        ret = bdrv_error(stream->extent->file, -EIO, "the grain of disk sector %" PRId64
                         " is gone: the file is being changed", grain / BDRV_SECTOR_SIZE);
    }
    *at = run.file_offset;
    return ret;
}

static int load_grain(Stream *stream, int64_t grain, uint8_t *buf)
{
    Marker marker = {0};
    int64_t at;
    int ret = find_grain(stream, grain, &at);

    if (ret == 0) {
        ret = read_marker(stream, grain, at, &marker);
    }
    return ret < 0 ? ret : inflate_grain(stream, grain, &marker, buf);
}

static int copy_from_cache(Stream *stream, int64_t grain, void *buf, size_t bytes,
                           int64_t within)
{
    int found;

    pthread_mutex_lock(&stream->lock);
    found = stream->cached == grain;
    if (found) {
        memcpy(buf, stream->cache + within, bytes);
    }
    pthread_mutex_unlock(&stream->lock);
    return found;
}

/* Inflated outside the lock, so that threads that read elsewhere go on. */
static int read_part(Stream *stream, int64_t grain, void *buf, size_t bytes, int64_t within)
{
    uint8_t *whole, *old;
    int ret;

    if (copy_from_cache(stream, grain, buf, bytes, within)) {
        return 0;
    }
    whole = malloc((size_t)stream->map.grain);
    if (!whole) {
        return -ENOMEM;
    }
    ret = load_grain(stream, grain, whole);
    if (ret < 0) {
        free(whole);
        return ret;
    }
    memcpy(buf, whole + within, bytes);
    pthread_mutex_lock(&stream->lock);
    old = stream->cache;
    stream->cache = whole;
    stream->cached = grain;
    pthread_mutex_unlock(&stream->lock);
    free(old);
    return 0;
}

/* ---------------------------------------------------------------- clusters */

/* One grain at a time: neighbours on the disk are neighbours in the file, but
 * not at a grain's distance. */
static int stream_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    Stream *stream = opaque;
    int64_t left = stream->map.grain - offset % stream->map.grain;
    int ret = find_run(stream, offset, bytes, run);

    if (ret == 0 && run->state == BDRV_DATA) {
        run->compressed = 1;
        run->file = NULL;
        run->file_offset = 0;
        run->bytes = bdrv_min(bytes, left);
    }
    return ret;
}

static int stream_read_compressed(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    Stream *stream = opaque;
    int64_t within = offset % stream->map.grain;

    if (within == 0 && (int64_t)bytes == stream->map.grain) {
        return load_grain(stream, offset, buf);
    }
    return read_part(stream, offset - within, buf, bytes, within);
}

static const BdrvClusterOps stream_cluster_ops = {
    .lookup = stream_lookup,
    .read_compressed = stream_read_compressed,
};

/* -------------------------------------------------------------------- open */

/* QEMU's streams have a redundant directory. */
static int64_t find_redundant(const Stream *stream)
{
    const VmdkHeader *header = &stream->header;

    return header->flags & VMDK_FLAG_REDUNDANT && header->rgd_sector != header->gd_sector &&
                   vmdk_header_redundant_fits(header, bdrv_getlength(stream->extent->file))
               ? (int64_t)header->rgd_sector * BDRV_SECTOR_SIZE
               : 0;
}

static int open_map(Stream *stream)
{
    const VmdkHeader *header = &stream->header;
    VmdkMap *map = &stream->map;

    map->extent = stream->extent;
    map->space = &stream->space;
    map->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    map->gtes = header->gtes_per_gt;
    map->tables = vmdk_header_tables(header);
    map->first_data = VMDK_HEADER_BYTES;
    map->packed = 1;
    atomic_init(&map->has_zeroed, 1); /* never seen, and could mean nothing else */
    if (header->gd_sector == VMDK_GD_AT_END) {
        return vmdk_stream_index_new(&stream->index, stream->extent, header);
    }
    map->gd[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE;
    map->gd[VMDK_REDUNDANT] = find_redundant(stream);
    return vmdk_map_open(map);
}

static int open_clusters(Stream *stream)
{
    BdrvClustersConfig config = {
        .bs = stream->extent->image->bs,
        .file = stream->extent->file,
        .disk_offset = stream->extent->start,
        .length = stream->extent->length,
        .cluster_size = stream->map.grain,
        .ops = &stream_cluster_ops,
        .opaque = stream,
    };

    return bdrv_clusters_new(&stream->clusters, &config);
}

/* The footer, where there is none: gd_sector stays VMDK_GD_AT_END. */
static int read_header(const VmdkExtent *extent, VmdkHeader *header)
{
    int has_footer = 1;
    int ret = vmdk_header_read_front(extent->file, header);

    if (ret == 0 && header->gd_sector == VMDK_GD_AT_END && header->capacity_sectors != 0 &&
        header->flags & VMDK_FLAG_MARKERS) {
        has_footer = vmdk_header_has_footer(extent->file);
        ret = has_footer < 0 ? has_footer : 0;
    }
    if (ret == 0 && has_footer) {
        ret = vmdk_header_read(extent->file, header);
    }
    return ret < 0 ? ret : vmdk_stream_check(extent->file, header);
}

static int open_parts(Stream *stream)
{
    int ret = vmdk_extent_set_capacity(stream->extent, stream->header.capacity_sectors,
                                       (int64_t)stream->header.grain_sectors);

    if (ret == 0) {
        ret = vmdk_inflater_new(&stream->inflater);
    }
    if (ret == 0) {
        ret = open_map(stream);
    }
    return ret < 0 ? ret : open_clusters(stream);
}

static int stream_open(VmdkExtent *extent)
{
    VmdkHeader header;
    int ret = read_header(extent, &header);
    Stream *stream;

    if (ret < 0) {
        return ret;
    }
    stream = calloc(1, sizeof *stream);
    if (!stream) {
        return -ENOMEM;
    }
    extent->state = stream;
    stream->extent = extent;
    stream->header = header;
    stream->cached = -1;
    pthread_mutex_init(&stream->lock, NULL);
    pthread_mutex_init(&stream->map.lock, NULL);
    vmdk_space_init(&stream->space, extent->file, BDRV_SECTOR_SIZE);
    extent->cluster_size = (int64_t)header.grain_sectors * BDRV_SECTOR_SIZE;
    extent->compressed = 1;
    return open_parts(stream);
}

/* ---------------------------------------------------------------- requests */

static int stream_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_read(stream_of(extent)->clusters, buf, bytes, offset);
}

/* Never called: only an extent of the kind of stream-write.c is writable. */
static int stream_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    (void)buf, (void)bytes, (void)offset;
    return bdrv_error(extent->file, -EROFS, "streamOptimized images can only be read");
}

static int stream_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    (void)offset, (void)bytes;
    return stream_write(extent, NULL, 0, 0);
}

static int stream_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes,
                               BdrvExtent *run)
{
    return stream_lookup(stream_of(extent), offset, bytes, run);
}

/* ------------------------------------------------------------------- close */

static void stream_close(VmdkExtent *extent)
{
    Stream *stream = stream_of(extent);

    if (stream) {
        bdrv_clusters_free(stream->clusters);
        vmdk_map_close(&stream->map);
        vmdk_stream_index_free(stream->index);
        vmdk_space_destroy(&stream->space);
        vmdk_inflater_free(stream->inflater);
        pthread_mutex_destroy(&stream->lock);
        free(stream->cache);
        free(stream);
        extent->state = NULL;
    }
}

const VmdkExtentOps vmdk_stream_extent = {
    .open = stream_open,
    .read = stream_read,
    .write = stream_write,
    .write_zeroes = stream_write_zeroes,
    .is_allocated = stream_is_allocated,
    .settle = vmdk_extent_settled,
    .close = stream_close,
};

const VmdkExtentOps *vmdk_stream_ops(const VmdkExtent *extent)
{
    if (bdrv_is_writable(extent->image->bs) && !extent->problem) {
        return &vmdk_stream_write_extent;
    }
    return bdrv_open_flags(extent->image->bs) & BDRV_O_FORWARD ? &vmdk_stream_pipe_extent
                                                               : &vmdk_stream_extent;
}
