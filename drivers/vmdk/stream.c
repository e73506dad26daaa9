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
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    MARKER_BYTES = 12, /* LBA and size, when the grain carries its LBA */
    SIZE_BYTES = 4,    /* size alone, when it does not (flag bit 17 clear) */
    /* A deflated grain is never much longer than the grain; twice is what other
     * readers accept at most, and bounds the buffer. */
    EXPANSION_MAX = 2,
    /* Bounds the buffer for what comes out: no writer uses more than 64 KiB. */
    STREAM_GRAIN_MAX = 2 * 1024 * 1024
};

typedef struct Stream {
    VmdkExtent *extent;
    VmdkHeader header;
    VmdkMap map;
    VmdkSpace space; /* tells the map the file's size; nothing is taken */
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

static int bad_grain(const Stream *stream, int64_t grain, const char *why)
{
    return bdrv_error(stream->extent->file, -EIO, "the compressed grain of disk sector %" PRId64
                      " %s", grain / BDRV_SECTOR_SIZE, why);
}

static void marker_decode(const Stream *stream, const uint8_t *bytes, uint64_t *lba,
                          uint32_t *size)
{
    int has_lba = (stream->header.flags & VMDK_FLAG_MARKERS) != 0;

    *lba = has_lba ? bdrv_load_le64(bytes) : 0;
    *size = bdrv_load_le32(bytes + (has_lba ? 8 : 0));
}

static int marker_check(const Stream *stream, int64_t grain, uint64_t lba, uint32_t size)
{
    if (stream->header.flags & VMDK_FLAG_MARKERS &&
        lba != (uint64_t)grain / BDRV_SECTOR_SIZE) {
        return bdrv_error(stream->extent->file, -EIO, "the grain table says that the grain of "
                          "disk sector %" PRId64 " is where one of sector %" PRIu64 " is",
                          grain / BDRV_SECTOR_SIZE, lba);
    }
    if (size == 0) {
        return bad_grain(stream, grain, "is not where the grain table says: no grain is there");
    }
    if (size > EXPANSION_MAX * stream->map.grain) {
        return bdrv_error(stream->extent->file, -EIO, "the compressed grain of disk sector %"
                          PRId64 " has %" PRIu32 " bytes; at most %" PRId64 " are possible",
                          grain / BDRV_SECTOR_SIZE, size, EXPANSION_MAX * stream->map.grain);
    }
    return 0;
}

/* at: the place the GTE gives. */
static int read_marker(const Stream *stream, int64_t grain, int64_t at, Marker *marker)
{
    int64_t length = stream->header.flags & VMDK_FLAG_MARKERS ? MARKER_BYTES : SIZE_BYTES;
    uint8_t bytes[MARKER_BYTES];
    uint64_t lba;
    uint32_t size;
    int ret = bdrv_pread(stream->extent->file, bytes, (size_t)length, at);

    if (ret < 0) {
        return ret;
    }
    marker_decode(stream, bytes, &lba, &size);
    ret = marker_check(stream, grain, lba, size);
    *marker = (Marker){.data = at + length, .bytes = size};
    return ret;
}

/* The grain at a multiple of the grain size, whole, to buf. */
static int inflate_grain(const Stream *stream, int64_t grain, const Marker *marker,
                         uint8_t *buf)
{
    int64_t covered = vmdk_map_covered(&stream->map, grain);
    uint8_t *packed = malloc((size_t)marker->bytes);
    size_t got = 0;
    int ret = packed ? 0 : -ENOMEM;

    if (ret == 0) {
        ret = bdrv_pread(stream->extent->file, packed, (size_t)marker->bytes, marker->data);
    }
    if (ret == 0) {
        ret = vmdk_inflate(stream->inflater, packed, (size_t)marker->bytes, buf,
                           (size_t)stream->map.grain, &got);
        if (ret == 0) {
            ret = bad_grain(stream, grain, "cannot be decompressed: it is damaged, or longer "
                            "than a grain");
        }
    }
    free(packed);
    if (ret < 0) {
        return ret;
    }
    /* Some writers compress of the last grain only what the disk has of it. */
    return (int64_t)got >= covered ? 0 : bad_grain(stream, grain, "is too short");
}

static int find_grain(Stream *stream, int64_t grain, int64_t *at)
{
    BdrvExtent run = {0};
    int ret = vmdk_map_lookup(&stream->map, grain, 1, &run);

    if (ret == 0 && run.state != BDRV_DATA) {
        ret = bad_grain(stream, grain, "is not there");
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
    int ret = vmdk_map_lookup(&stream->map, offset, bytes, run);

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

static int open_map(Stream *stream)
{
    const VmdkHeader *header = &stream->header;
    VmdkMap *map = &stream->map;

    map->extent = stream->extent;
    map->space = &stream->space;
    map->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    map->gtes = header->gtes_per_gt;
    map->tables = vmdk_header_tables(header);
    map->gd[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE;
    map->first_data = VMDK_HEADER_BYTES;
    map->packed = 1;
    atomic_init(&map->has_zeroed, 1); /* never seen, and could mean nothing else */
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

static int check_stream(const VmdkExtent *extent, const VmdkHeader *header)
{
    if (bdrv_is_writable(extent->image->bs)) {
        return bdrv_error(extent->file, -EROFS, "streamOptimized images can only be read; "
                          "convert it to one that can be written: img-convert -O vmdk");
    }
    if (header->grain_sectors > STREAM_GRAIN_MAX / BDRV_SECTOR_SIZE) {
        return bdrv_error(extent->file, -EINVAL, "sparse header: grainSize is %" PRIu64
                          " sectors; of compressed grains at most %d are possible",
                          header->grain_sectors, STREAM_GRAIN_MAX / BDRV_SECTOR_SIZE);
    }
    return 0;
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
    int ret = vmdk_header_read(extent->file, &header);
    Stream *stream;

    if (ret == 0) {
        ret = check_stream(extent, &header);
    }
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

/* Never called: open refuses to write. */
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
