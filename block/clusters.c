/* SPDX-License-Identifier: MIT */
/*
 * clusters.c - reading and writing for formats that map clusters of the disk
 * to places in a file.
 *
 * It cuts requests into runs, copies in what surrounds a small write, and lets
 * many threads allocate at once.  Where clusters are, where there is room and
 * how that is recorded is the driver's business, asked through BdrvClusterOps;
 * in which order it becomes durable is table.c's.
 *
 * One allocation:
 *
 *     claim ─▶ look up again ─▶ reserve ─▶ write ─▶ enter ─▶ release
 *
 * A claim holds up only those who want to allocate in the same clusters; no
 * mutex is held over I/O, and clusters that have a place need no claim: they
 * keep it.
 *
 * What is written when room is new (G: the guest's bytes):
 *
 *     cluster:   |                |                |                |
 *                |·····head·····GGGGGGGGGGGGGGGGGGGGGGGGGG···tail···|
 *
 * head and tail come from the backing image or are zeros; when the room reads
 * as zeros already, zeros are left out.  What lies beyond the map's end in its
 * last cluster is zeros.
 */
#include "bdrv-driver.h"
#include "claims.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Up to this much, head, guest's bytes and tail are put together in memory and written
     * at once; surroundings and zeros that are longer are written in pieces of it. */
    PIECE_BYTES = 256 * 1024,
    /* One allocation, but at least a cluster.  Bounds how long others wait for the claim,
     * and how much room leaks if it fails. */
    ALLOCATION_BYTES = 64 * 1024 * 1024
};

struct BdrvClusters {
    BdrvClustersConfig config;
    Claims claims; /* by those who allocate */
};

/* ----------------------------------------------------------------- lookups */

static int check_range(const BdrvClusters *clusters, int64_t offset, int64_t bytes)
{
    int64_t end;

    if (!bdrv_add(offset, bytes, &end) || end > clusters->config.length) {
        return bdrv_error(clusters->config.bs, -ERANGE, "%" PRId64 " bytes at %" PRId64
                          " are not inside the map, which has %" PRId64, bytes, offset,
                          clusters->config.length);
    }
    return 0;
}

static int check_extent(const BdrvClusters *clusters, int64_t offset, int64_t bytes,
                        const BdrvExtent *extent)
{
    BlockDriverState *bs = clusters->config.bs;

    if (extent->bytes < 1 || extent->bytes > bytes) {
        return bdrv_error(bs, -EIO, "driver bug: the run at %" PRId64 " has %" PRId64
                          " bytes, wanted 1 to %" PRId64, offset, extent->bytes, bytes);
    }
    switch (extent->state) {
    case BDRV_DATA:
        return extent->compressed || extent->file != NULL
                   ? 0
                   : bdrv_error(bs, -EIO, "driver bug: the data at %" PRId64
                                " is in no file", offset);
    case BDRV_ZERO:
    case BDRV_UNALLOCATED:
        return 0;
    }
    return bdrv_error(bs, -EIO, "driver bug: the run at %" PRId64 " has state %d", offset,
                      (int)extent->state);
}

static int look_up(const BdrvClusters *clusters, int64_t offset, int64_t bytes,
                   BdrvExtent *extent)
{
    const BdrvClustersConfig *config = &clusters->config;
    int rc;

    memset(extent, 0, sizeof *extent);
    rc = config->ops->lookup(config->opaque, offset, bytes, extent);
    return rc < 0 ? rc : check_extent(clusters, offset, bytes, extent);
}

/* From where on in the map the backing image has nothing; 0: none is open. */
static int64_t backing_end(const BdrvClusters *clusters)
{
    const BdrvClustersConfig *config = &clusters->config;
    BlockDriverState *backing = bdrv_backing(config->bs);

    if (backing == NULL) {
        return 0;
    }
    return bdrv_max(0, bdrv_min(bdrv_getlength(backing) - config->disk_offset,
                                config->length));
}

/* ----------------------------------------------------------------- reading */

static int read_data(const BdrvClusters *clusters, const BdrvExtent *extent, void *buf,
                     int64_t offset)
{
    const BdrvClustersConfig *config = &clusters->config;
    size_t bytes = (size_t)extent->bytes;

    if (!extent->compressed) {
        return bdrv_pread(extent->file, buf, bytes, extent->file_offset);
    }
    if (config->ops->read_compressed == NULL) {
        return bdrv_error(config->bs, -EIO, "driver bug: the data at %" PRId64
                          " is compressed, but nothing reads that", offset);
    }
    return config->ops->read_compressed(config->opaque, buf, bytes, offset);
}

static int read_run(const BdrvClusters *clusters, const BdrvExtent *extent, void *buf,
                    int64_t offset)
{
    const BdrvClustersConfig *config = &clusters->config;

    switch (extent->state) {
    case BDRV_DATA:
        return read_data(clusters, extent, buf, offset);
    case BDRV_UNALLOCATED:
        return bdrv_read_backing(config->bs, buf, (size_t)extent->bytes,
                                 config->disk_offset + offset);
    case BDRV_ZERO:
        memset(buf, 0, (size_t)extent->bytes);
    }
    return 0;
}

int bdrv_clusters_read(BdrvClusters *clusters, void *buf, size_t bytes, int64_t offset)
{
    int64_t left = (int64_t)bytes;
    uint8_t *to = buf;
    int rc = check_range(clusters, offset, left);

    while (rc == 0 && left > 0) {
        BdrvExtent extent;

        rc = look_up(clusters, offset, left, &extent);
        if (rc == 0) {
            rc = read_run(clusters, &extent, to, offset);
            to += extent.bytes;
            offset += extent.bytes;
            left -= extent.bytes;
        }
    }
    return rc;
}

/* ------------------------------------------------- content of new clusters */

/* A run of clusters that have no place yet, and what the guest writes there. */
typedef struct Allocation {
    const uint8_t *buf; /* the guest's bytes; NULL: zeros */
    int64_t offset;     /* of the guest's bytes */
    int64_t bytes;
    int64_t start;       /* of the first cluster */
    BdrvState head;      /* what the first cluster was, */
    BdrvState tail;      /* … and the last */
    int64_t file_offset; /* of the first cluster's new room */
} Allocation;

/* Fills buf with what was at offset before the allocation. */
static int read_surroundings(const BdrvClusters *clusters, BdrvState state, uint8_t *buf,
                             int64_t offset, int64_t bytes)
{
    int64_t end = state == BDRV_UNALLOCATED ? backing_end(clusters) : 0;
    int64_t shown = bdrv_max(0, bdrv_min(end - offset, bytes));

    memset(buf + shown, 0, (size_t)(bytes - shown));
    if (shown == 0) {
        return 0;
    }
    return bdrv_read_backing(clusters->config.bs, buf, (size_t)shown,
                             clusters->config.disk_offset + offset);
}

/* Fills buf with the new content of [offset, offset + bytes): some of head, guest's bytes
 * and tail. */
static int build(const BdrvClusters *clusters, const Allocation *run, uint8_t *buf,
                 int64_t offset, int64_t bytes)
{
    int64_t head = bdrv_max(0, bdrv_min(run->offset - offset, bytes));
    int64_t guest_end = bdrv_min(run->offset + run->bytes, offset + bytes);
    int64_t guest = bdrv_max(0, guest_end - (offset + head));
    int64_t tail = bytes - head - guest;
    int rc = 0;

    if (head > 0) {
        rc = read_surroundings(clusters, run->head, buf, offset, head);
    }
    if (guest > 0 && run->buf != NULL) {
        memcpy(buf + head, run->buf + (offset + head - run->offset), (size_t)guest);
    } else if (guest > 0) {
        memset(buf + head, 0, (size_t)guest);
    }
    if (tail > 0 && rc == 0) {
        rc = read_surroundings(clusters, run->tail, buf + head + guest,
                               offset + head + guest, tail);
    }
    return rc;
}

/* Writes the new content of [from, to), in pieces. */
static int write_built(const BdrvClusters *clusters, const Allocation *run, int64_t from,
                       int64_t to)
{
    int64_t size = bdrv_min(PIECE_BYTES, to - from);
    uint8_t *buf;
    int rc = 0;

    if (size == 0) {
        return 0;
    }
    buf = malloc((size_t)size);
    if (buf == NULL) {
        return bdrv_error(clusters->config.bs, -ENOMEM, "no memory to build a cluster");
    }
    for (int64_t at = from; rc == 0 && at < to; at += size) {
        int64_t bytes = bdrv_min(size, to - at);

        rc = build(clusters, run, buf, at, bytes);
        if (rc == 0) {
            rc = bdrv_pwrite(clusters->config.file, buf, (size_t)bytes,
                             run->file_offset + (at - run->start));
        }
    }
    free(buf);
    return rc;
}

/* Writes [from, to), which holds all of the guest's bytes: at once when that is short, else
 * those straight from the guest's buffer. */
static int write_around(const BdrvClusters *clusters, const Allocation *run, int64_t from,
                        int64_t to)
{
    int64_t end = run->offset + run->bytes;
    int bare = from == run->offset && to == end;
    int rc;

    if (run->buf == NULL || (!bare && to - from <= PIECE_BYTES)) {
        return write_built(clusters, run, from, to);
    }
    rc = write_built(clusters, run, from, run->offset);
    if (rc == 0) {
        rc = bdrv_pwrite(clusters->config.file, run->buf, (size_t)run->bytes,
                         run->file_offset + (run->offset - run->start));
    }
    return rc < 0 ? rc : write_built(clusters, run, end, to);
}

/* Writes whole clusters, up to the end of the last one's room. */
static int write_whole(const BdrvClusters *clusters, const Allocation *run)
{
    return write_around(clusters, run, run->start,
                        bdrv_round_up(run->offset + run->bytes,
                                      clusters->config.cluster_size));
}

/* Writes what is not zeros into room that is. */
static int write_sparse(const BdrvClusters *clusters, const Allocation *run)
{
    int64_t shown = backing_end(clusters);
    int64_t end = run->offset + run->bytes;
    int64_t from = run->offset;
    int64_t to = end;
    int rc;

    if (run->head == BDRV_UNALLOCATED && run->start < shown) {
        from = run->start;
    }
    if (run->tail == BDRV_UNALLOCATED && end < shown) {
        to = bdrv_min(bdrv_round_up(end, clusters->config.cluster_size), shown);
    }
    if (run->buf != NULL) {
        return write_around(clusters, run, from, to);
    }
    rc = write_built(clusters, run, from, run->offset);
    return rc < 0 ? rc : write_built(clusters, run, end, to);
}

/* -------------------------------------------------------------- allocation */

/* Shortens the run to the clusters from its first on that have no place; 0 bytes: somebody
 * else gave the first one a place. */
static int measure(const BdrvClusters *clusters, Allocation *run)
{
    int64_t end = run->offset + run->bytes;
    BdrvExtent extent;

    run->start = bdrv_round_down(run->offset, clusters->config.cluster_size);
    run->bytes = 0;
    for (int64_t at = run->offset; at < end; at += extent.bytes) {
        int rc = look_up(clusters, at, end - at, &extent);

        if (rc < 0) {
            return rc;
        }
        if (extent.state == BDRV_DATA) {
            break;
        }
        if (run->bytes == 0) {
            run->head = extent.state;
        }
        run->tail = extent.state;
        run->bytes += extent.bytes;
    }
    return 0;
}

/* The clusters that the run lies in. */
static int64_t count_clusters(const BdrvClusters *clusters, const Allocation *run)
{
    return bdrv_div_up(run->offset + run->bytes - run->start, clusters->config.cluster_size);
}

/* Finds room for the run, and shortens it to that. */
static int reserve(const BdrvClusters *clusters, Allocation *run, int *zeroed)
{
    const BdrvClustersConfig *config = &clusters->config;
    int64_t wanted = count_clusters(clusters, run);
    int64_t count = wanted;
    int rc = config->ops->reserve(config->opaque, &count, &run->file_offset, zeroed);

    if (rc < 0) {
        return rc;
    }
    if (count < 1 || count > wanted || run->file_offset < 0) {
        return bdrv_error(config->bs, -EIO, "driver bug: room for %" PRId64
                          " clusters at %" PRId64 ", wanted 1 to %" PRId64, count,
                          run->file_offset, wanted);
    }
    run->bytes = bdrv_min(run->bytes,
                          run->start + count * config->cluster_size - run->offset);
    return 0;
}

/* Gives the run's clusters a place and content.  If it fails, the room is lost until the
 * next open. */
static int allocate(const BdrvClusters *clusters, Allocation *run)
{
    const BdrvClustersConfig *config = &clusters->config;
    int zeroed = 0;
    int rc = reserve(clusters, run, &zeroed);

    if (rc == 0) {
        rc = zeroed ? write_sparse(clusters, run) : write_whole(clusters, run);
    }
    if (rc < 0) {
        return rc;
    }
    return config->ops->enter(config->opaque, run->start, count_clusters(clusters, run),
                              run->file_offset);
}

/* Shortens the run to the whole clusters that it begins with and returns their number; or,
 * 0, to its part of the first.  A last cluster that the map cuts short is whole when the run
 * reaches the map's end. */
static int64_t keep_whole(const BdrvClusters *clusters, Allocation *run)
{
    int64_t size = clusters->config.cluster_size;
    int64_t end = run->offset + run->bytes;

    if (run->offset == run->start && end == clusters->config.length) {
        return count_clusters(clusters, run);
    }
    if (run->offset != run->start || run->bytes < size) {
        run->bytes = bdrv_min(end, run->start + size) - run->offset;
        return 0;
    }
    run->bytes = bdrv_round_down(run->bytes, size);
    return run->bytes / size;
}

/* The same with zeros, which need no place where the format can say so. */
static int allocate_zeros(const BdrvClusters *clusters, Allocation *run)
{
    const BdrvClustersConfig *config = &clusters->config;
    int64_t whole = keep_whole(clusters, run);

    if (whole > 0 && config->ops->enter_zero != NULL) {
        int rc = config->ops->enter_zero(config->opaque, run->start, whole);

        if (rc != -ENOTSUP) {
            return rc;
        }
    }
    return allocate(clusters, run);
}

/* The clusters around the range, as many as one allocation may have; *bytes becomes what of
 * the range lies in them. */
static Claim claim_around(const BdrvClusters *clusters, int64_t offset, int64_t *bytes)
{
    int64_t size = clusters->config.cluster_size;
    int64_t start = bdrv_round_down(offset, size);
    int64_t most = bdrv_max(bdrv_round_down(ALLOCATION_BYTES, size), size);
    int64_t end = bdrv_min(bdrv_round_up(offset + *bytes, size), start + most);

    *bytes = bdrv_min(*bytes, end - offset);
    return (Claim){.offset = start, .end = end};
}

/* Writes to a run whose first cluster has no place; buf NULL: zeros.  *done: how many of
 * the bytes were written; 0: meanwhile it has one, look it up again. */
static int write_new(BdrvClusters *clusters, const uint8_t *buf, int64_t offset,
                     int64_t bytes, int64_t *done)
{
    const BdrvClustersConfig *config = &clusters->config;
    Claim claim = claim_around(clusters, offset, &bytes);
    Allocation run = {.buf = buf, .offset = offset, .bytes = bytes};
    int rc;

    if (config->ops->reserve == NULL || config->ops->enter == NULL) {
        return bdrv_error(config->bs, -ENOTSUP, "the cluster at %" PRId64
                          " is not allocated, and cannot be in this format", offset);
    }
    bdrv_claims_take(&clusters->claims, &claim);
    rc = measure(clusters, &run);
    if (rc == 0 && run.bytes > 0) {
        rc = buf != NULL ? allocate(clusters, &run) : allocate_zeros(clusters, &run);
    }
    bdrv_claims_release(&clusters->claims, &claim);
    *done = run.bytes;
    return rc;
}

/* ----------------------------------------------------------------- writing */

static int check_not_compressed(const BdrvClusters *clusters, const BdrvExtent *extent,
                                int64_t offset)
{
    if (extent->compressed) {
        return bdrv_error(clusters->config.bs, -ENOTSUP, "the cluster at %" PRId64
                          " is compressed and cannot be changed: convert the image first",
                          offset);
    }
    return 0;
}

static int write_in_place(const BdrvClusters *clusters, const BdrvExtent *extent,
                          const uint8_t *buf, int64_t offset)
{
    int rc = check_not_compressed(clusters, extent, offset);

    return rc < 0 ? rc : bdrv_pwrite(extent->file, buf, (size_t)extent->bytes,
                                     extent->file_offset);
}

int bdrv_clusters_write(BdrvClusters *clusters, const void *buf, size_t bytes,
                        int64_t offset)
{
    int64_t left = (int64_t)bytes;
    const uint8_t *from = buf;
    int rc = check_range(clusters, offset, left);

    while (rc == 0 && left > 0) {
        BdrvExtent extent;
        int64_t done = 0;

        rc = look_up(clusters, offset, left, &extent);
        if (rc == 0 && extent.state == BDRV_DATA) {
            done = extent.bytes;
            rc = write_in_place(clusters, &extent, from, offset);
        } else if (rc == 0) {
            rc = write_new(clusters, from, offset, left, &done);
        }
        from += done;
        offset += done;
        left -= done;
    }
    return rc;
}

/* ------------------------------------------------------------------- zeros */

static int zero_in_place(const BdrvClusters *clusters, const BdrvExtent *extent,
                         int64_t offset)
{
    int rc = check_not_compressed(clusters, extent, offset);

    return rc < 0 ? rc : bdrv_write_zeroes(extent->file, extent->file_offset, extent->bytes);
}

/* How much of a run that has nothing must be hidden behind zeros: up to the end of the
 * cluster in which the backing image ends.  Behind an image that was opened without its
 * backing image there may be one of any length. */
static int64_t must_hide(const BdrvClusters *clusters, int64_t offset, int64_t bytes)
{
    const BdrvClustersConfig *config = &clusters->config;
    int64_t end = bdrv_round_up(backing_end(clusters), config->cluster_size);

    if (bdrv_open_flags(config->bs) & BDRV_O_NO_BACKING) {
        end = config->length;
    }
    return bdrv_max(0, bdrv_min(end - offset, bytes));
}

/* *done as from write_new(). */
static int zero_run(BdrvClusters *clusters, const BdrvExtent *extent, int64_t offset,
                    int64_t *done)
{
    int64_t bytes;

    *done = extent->bytes;
    switch (extent->state) {
    case BDRV_DATA:
        return zero_in_place(clusters, extent, offset);
    case BDRV_UNALLOCATED:
        bytes = must_hide(clusters, offset, extent->bytes);
        return bytes == 0 ? 0 : write_new(clusters, NULL, offset, bytes, done);
    case BDRV_ZERO:
        return 0;
    }
    return 0;
}

int bdrv_clusters_write_zeroes(BdrvClusters *clusters, int64_t offset, int64_t bytes)
{
    int rc = check_range(clusters, offset, bytes);

    while (rc == 0 && bytes > 0) {
        BdrvExtent extent;
        int64_t done = 0;

        rc = look_up(clusters, offset, bytes, &extent);
        if (rc == 0) {
            rc = zero_run(clusters, &extent, offset, &done);
        }
        offset += done;
        bytes -= done;
    }
    return rc;
}

/* -------------------------------------------------------------------- life */

static int check_config(const BdrvClustersConfig *config)
{
    int64_t end;

    if (config->cluster_size <= 0 || config->cluster_size % BDRV_SECTOR_SIZE != 0) {
        return bdrv_error(config->bs, -EINVAL, "the cluster size is %" PRId64
                          ", wanted a multiple of %d", config->cluster_size,
                          BDRV_SECTOR_SIZE);
    }
    /* So that rounding up, and adding a claim's size, cannot overflow. */
    if (!bdrv_add(config->disk_offset, config->length, &end) ||
        !bdrv_add(end, config->cluster_size, &end) ||
        !bdrv_add(end, ALLOCATION_BYTES, &end)) {
        return bdrv_error(config->bs, -EINVAL, "a map of %" PRId64 " bytes at %" PRId64
                          " is too long", config->length, config->disk_offset);
    }
    return 0;
}

int bdrv_clusters_new(BdrvClusters **clusters, const BdrvClustersConfig *config)
{
    BdrvClusters *made;
    int rc = check_config(config);

    *clusters = NULL;
    if (rc < 0) {
        return rc;
    }
    made = calloc(1, sizeof *made);
    rc = made == NULL ? -ENOMEM : bdrv_claims_init(&made->claims);
    if (rc < 0) {
        free(made);
        return bdrv_error(config->bs, rc, "the map of clusters cannot be set up");
    }
    made->config = *config;
    *clusters = made;
    return 0;
}

void bdrv_clusters_free(BdrvClusters *clusters)
{
    if (clusters != NULL) {
        bdrv_claims_destroy(&clusters->claims);
        free(clusters);
    }
}
