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
 * A claim is a range of clusters that belongs to one thread until it releases
 * it.  It holds up only those who want to allocate there; no mutex is held
 * over I/O, and clusters that are allocated already need no claim at all:
 * they stay where they are.
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

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Up to this much, head, guest's bytes and tail are put together in memory
     * and written at once; surroundings and zeros that are longer are written
     * in pieces of it. */
    PIECE_BYTES = 256 * 1024,
    /* One allocation, but at least a cluster.  Bounds how long others wait for
     * the claim, and what leaks if it fails. */
    ALLOCATION_BYTES = 64 * 1024 * 1024
};

/* Lives on the stack of the thread whose it is. */
typedef struct Claim {
    struct Claim *next; /* the next younger one */
    int64_t offset;
    int64_t end;
} Claim;

struct BdrvClusters {
    BdrvClustersConfig config;
    pthread_mutex_t lock; /* of claims */
    pthread_cond_t released;
    Claim *claims; /* the oldest first */
};

/* ------------------------------------------------------------------ claims */

/* Younger claims wait for older ones, so nobody waits for ever. */
static int claim_must_wait(const BdrvClusters *clusters, const Claim *mine)
{
    const Claim *claim = clusters->claims;

    while (claim->end <= mine->offset || mine->end <= claim->offset) {
        claim = claim->next;
    }
    return claim != mine;
}

static void claim_take(BdrvClusters *clusters, Claim *mine)
{
    Claim **link = &clusters->claims;

    pthread_mutex_lock(&clusters->lock);
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = mine;
    while (claim_must_wait(clusters, mine)) {
        pthread_cond_wait(&clusters->released, &clusters->lock);
    }
    pthread_mutex_unlock(&clusters->lock);
}

static void claim_release(BdrvClusters *clusters, Claim *mine)
{
    Claim **link = &clusters->claims;

    pthread_mutex_lock(&clusters->lock);
    while (*link != mine) {
        link = &(*link)->next;
    }
    *link = mine->next;
    pthread_cond_broadcast(&clusters->released);
    pthread_mutex_unlock(&clusters->lock);
}

/* The clusters around the range, as many as one allocation may have; *bytes
 * becomes what of the range lies in them. */
static Claim claim_around(const BdrvClusters *clusters, int64_t offset,
                          int64_t *bytes)
{
    int64_t size = clusters->config.cluster_size;
    int64_t start = bdrv_round_down(offset, size);
    int64_t most = bdrv_max(bdrv_round_down(ALLOCATION_BYTES, size), size);
    int64_t end = bdrv_min(bdrv_round_up(offset + *bytes, size), start + most);

    *bytes = bdrv_min(*bytes, end - offset);
    return (Claim){.offset = start, .end = end};
}

/* ----------------------------------------------------------------- lookups */

static int check_range(const BdrvClusters *clusters, int64_t offset,
                       int64_t bytes)
{
    int64_t end;

    if (!bdrv_add(offset, bytes, &end) || end > clusters->config.length) {
        return bdrv_error(clusters->config.bs, -ERANGE,
                          "%" PRId64 " bytes at %" PRId64
                          " are not inside the map of %" PRId64, bytes, offset,
                          clusters->config.length);
    }
    return 0;
}

static int look_up(const BdrvClusters *clusters, int64_t offset, int64_t bytes,
                   BdrvExtent *extent)
{
    const BdrvClustersConfig *config = &clusters->config;
    int rc;

    memset(extent, 0, sizeof *extent);
    rc = config->ops->lookup(config->opaque, offset, bytes, extent);
    if (rc < 0) {
        return rc;
    }
    if (extent->bytes <= 0 || extent->bytes > bytes) {
        return bdrv_error(config->bs, -EIO, "driver bug: lookup at %" PRId64
                          " gives %" PRId64 " bytes, wanted 1 to %" PRId64,
                          offset, extent->bytes, bytes);
    }
    if (extent->state == BDRV_DATA && !extent->compressed &&
        extent->file == NULL) {
        return bdrv_error(config->bs, -EIO, "driver bug: lookup at %" PRId64
                          " gives data in no file", offset);
    }
    return 0;
}

/* From where on in the map the backing image has nothing; 0: none is open. */
static int64_t backing_end(const BdrvClusters *clusters)
{
    const BdrvClustersConfig *config = &clusters->config;
    BlockDriverState *backing = bdrv_backing(config->bs);
    int64_t end = backing == NULL
                      ? 0
                      : bdrv_getlength(backing) - config->disk_offset;

    return bdrv_max(0, bdrv_min(end, config->length));
}

/* ----------------------------------------------------------------- reading */

static int read_compressed(const BdrvClusters *clusters, void *buf,
                           size_t bytes, int64_t offset)
{
    const BdrvClustersConfig *config = &clusters->config;

    if (config->ops->read_compressed == NULL) {
        return bdrv_error(config->bs, -ENOTSUP, "the cluster at %" PRId64
                          " is compressed, which cannot be read here", offset);
    }
    return config->ops->read_compressed(config->opaque, buf, bytes, offset);
}

static int read_run(const BdrvClusters *clusters, const BdrvExtent *extent,
                    void *buf, int64_t offset)
{
    const BdrvClustersConfig *config = &clusters->config;
    size_t bytes = (size_t)extent->bytes;

    switch (extent->state) {
    case BDRV_DATA:
        return extent->compressed
                   ? read_compressed(clusters, buf, bytes, offset)
                   : bdrv_pread(extent->file, buf, bytes, extent->file_offset);
    case BDRV_ZERO:
        memset(buf, 0, bytes);
        return 0;
    case BDRV_UNALLOCATED:
        return bdrv_read_backing(config->bs, buf, bytes,
                                 config->disk_offset + offset);
    }
    return bdrv_error(config->bs, -EIO, "driver bug: lookup at %" PRId64
                      " gives state %d", offset, (int)extent->state);
}

int bdrv_clusters_read(BdrvClusters *clusters, void *buf, size_t bytes,
                       int64_t offset)
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

/* -------------------------------------------------------------- allocation */

/* A run of clusters that have no place yet, and what the guest writes there. */
typedef struct Allocation {
    const uint8_t *buf; /* the guest's bytes; NULL: zeros */
    int64_t offset;     /* of the guest's bytes; not 0 of them */
    int64_t bytes;
    BdrvState head; /* states, until now, of the first and the last cluster */
    BdrvState tail;
    int64_t start;       /* of the first cluster */
    int64_t file_offset; /* of the first cluster's room */
} Allocation;

/* Fills buf with what was at offset before the allocation. */
static int read_surroundings(const BdrvClusters *clusters, BdrvState state,
                             uint8_t *buf, int64_t offset, int64_t bytes)
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

/* Fills buf with the new content of [offset, offset + bytes): some of head,
 * guest's bytes and tail. */
static int build(const BdrvClusters *clusters, const Allocation *run,
                 uint8_t *buf, int64_t offset, int64_t bytes)
{
    int64_t head = bdrv_max(0, bdrv_min(run->offset - offset, bytes));
    int64_t to = bdrv_min(run->offset + run->bytes, offset + bytes);
    int64_t guest = bdrv_max(0, to - (offset + head));
    int64_t tail = bytes - head - guest;
    int rc = 0;

    if (head > 0) {
        rc = read_surroundings(clusters, run->head, buf, offset, head);
    }
    if (guest > 0 && run->buf != NULL) {
        memcpy(buf + head, run->buf + (offset + head - run->offset),
               (size_t)guest);
    } else if (guest > 0) {
        memset(buf + head, 0, (size_t)guest);
    }
    if (rc == 0 && tail > 0) {
        rc = read_surroundings(clusters, run->tail, buf + head + guest,
                               offset + head + guest, tail);
    }
    return rc;
}

/* Writes the new content of [from, to), in pieces. */
static int write_built(const BdrvClusters *clusters, const Allocation *run,
                       int64_t from, int64_t to)
{
    size_t size = (size_t)bdrv_min(PIECE_BYTES, to - from);
    uint8_t *buf;
    int rc = 0;

    if (from == to) {
        return 0;
    }
    buf = malloc(size);
    if (buf == NULL) {
        return bdrv_error(clusters->config.bs, -ENOMEM,
                          "no memory to write a new cluster");
    }
    while (rc == 0 && from < to) {
        int64_t bytes = bdrv_min((int64_t)size, to - from);

        rc = build(clusters, run, buf, from, bytes);
        if (rc == 0) {
            rc = bdrv_pwrite(clusters->config.file, buf, (size_t)bytes,
                             run->file_offset + (from - run->start));
        }
        from += bytes;
    }
    free(buf);
    return rc;
}

/* Writes [from, to), which holds all of the guest's bytes: at once when that
 * is short, else those straight from the guest's buffer. */
static int write_around(const BdrvClusters *clusters, const Allocation *run,
                        int64_t from, int64_t to)
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
    if (rc == 0) {
        rc = write_built(clusters, run, end, to);
    }
    return rc;
}

/* Writes whole clusters, up to the end of the last one's room. */
static int write_whole(const BdrvClusters *clusters, const Allocation *run)
{
    return write_around(clusters, run, run->start,
                        bdrv_round_up(run->offset + run->bytes,
                                      clusters->config.cluster_size));
}

/* Writes what is not zeros into room that is. */
static int write_zeroed(const BdrvClusters *clusters, const Allocation *run)
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
    if (rc == 0) {
        rc = write_built(clusters, run, end, to);
    }
    return rc;
}

/* Shortens the run to the clusters from its first on that have no place; 0
 * bytes: somebody else has allocated the first. */
static int measure(const BdrvClusters *clusters, Allocation *run)
{
    int64_t end = run->offset + run->bytes;

    run->start = bdrv_round_down(run->offset, clusters->config.cluster_size);
    run->bytes = 0;
    while (run->offset + run->bytes < end) {
        int64_t at = run->offset + run->bytes;
        BdrvExtent extent;
        int rc = look_up(clusters, at, end - at, &extent);

        if (rc < 0) {
            return rc;
        }
        if (extent.state == BDRV_DATA && run->bytes > 0 &&
            at % clusters->config.cluster_size != 0) {
            return bdrv_error(clusters->config.bs, -EIO, "driver bug: lookup "
                              "gives two states for the cluster of %" PRId64,
                              at);
        }
        if (extent.state == BDRV_DATA) {
            return 0;
        }
        if (run->bytes == 0) {
            run->head = extent.state;
        }
        run->tail = extent.state;
        run->bytes += extent.bytes;
    }
    return 0;
}

/* Finds room for the run, and shortens it to that. */
static int reserve(const BdrvClusters *clusters, Allocation *run, int *zeroed)
{
    const BdrvClustersConfig *config = &clusters->config;
    int64_t end = run->offset + run->bytes;
    int64_t wanted = bdrv_div_up(end - run->start, config->cluster_size);
    int64_t count = wanted;
    int rc;

    rc = config->ops->reserve(config->opaque, &count, &run->file_offset,
                              zeroed);
    if (rc < 0) {
        return rc;
    }
    if (count < 1 || count > wanted || run->file_offset < 0) {
        return bdrv_error(config->bs, -EIO, "driver bug: reserve gives %" PRId64
                          " clusters at %" PRId64 ", wanted 1 to %" PRId64,
                          count, run->file_offset, wanted);
    }
    end = bdrv_min(end, run->start + count * config->cluster_size);
    run->bytes = end - run->offset;
    return 0;
}

/* Gives the run's clusters a place and content.  Needs the claim.  May do less
 * than asked: run->bytes says how much. */
static int allocate_claimed(const BdrvClusters *clusters, Allocation *run)
{
    const BdrvClustersConfig *config = &clusters->config;
    int zeroed = 0;
    int rc = reserve(clusters, run, &zeroed);

    if (rc == 0) {
        rc = zeroed ? write_zeroed(clusters, run) : write_whole(clusters, run);
    }
    if (rc < 0) {
        return rc; /* the room is lost until the next open */
    }
    return config->ops->enter(config->opaque, run->start,
                              bdrv_div_up(run->offset + run->bytes - run->start,
                                          config->cluster_size),
                              run->file_offset);
}

static int check_can_allocate(const BdrvClusters *clusters)
{
    const BdrvClusterOps *ops = clusters->config.ops;

    if (ops->reserve == NULL || ops->enter == NULL) {
        return bdrv_error(clusters->config.bs, -ENOTSUP,
                          "new clusters cannot be allocated in this image");
    }
    return 0;
}

/* *done becomes how many of the bytes were written: 0 when the first cluster
 * has a place meanwhile. */
static int allocate(BdrvClusters *clusters, const uint8_t *buf, int64_t offset,
                    int64_t bytes, int64_t *done)
{
    Claim claim = claim_around(clusters, offset, &bytes);
    Allocation run = {.buf = buf, .offset = offset, .bytes = bytes};
    int rc = check_can_allocate(clusters);

    if (rc < 0) {
        return rc;
    }
    claim_take(clusters, &claim);
    rc = measure(clusters, &run);
    if (rc == 0 && run.bytes > 0) {
        rc = allocate_claimed(clusters, &run);
    }
    claim_release(clusters, &claim);
    *done = run.bytes;
    return rc;
}

/* ----------------------------------------------------------------- writing */

static int check_not_compressed(const BdrvClusters *clusters,
                                const BdrvExtent *extent, int64_t offset)
{
    if (extent->compressed) {
        return bdrv_error(clusters->config.bs, -ENOTSUP, "the cluster at %"
                          PRId64 " is compressed and cannot be changed; "
                          "convert the image to change it", offset);
    }
    return 0;
}

static int write_in_place(const BdrvClusters *clusters,
                          const BdrvExtent *extent, const uint8_t *buf,
                          int64_t offset)
{
    int rc = check_not_compressed(clusters, extent, offset);

    if (rc < 0) {
        return rc;
    }
    return bdrv_pwrite(extent->file, buf, (size_t)extent->bytes,
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
            rc = allocate(clusters, from, offset, left, &done);
        }
        from += done;
        offset += done;
        left -= done;
    }
    return rc;
}

/* ------------------------------------------------------------------- zeros */

static int zero_in_place(const BdrvClusters *clusters,
                         const BdrvExtent *extent, int64_t offset)
{
    int rc = check_not_compressed(clusters, extent, offset);

    if (rc < 0) {
        return rc;
    }
    return bdrv_write_zeroes(extent->file, extent->file_offset, extent->bytes);
}

/* Shortens the run to the whole clusters it begins with and returns their
 * number; or, 0, to what it has of its first cluster.  The map's last cluster
 * is whole when the run reaches the map's end. */
static int64_t keep_whole(const BdrvClusters *clusters, Allocation *run)
{
    int64_t size = clusters->config.cluster_size;
    int64_t end = run->offset + run->bytes;
    int64_t whole = (end - run->start) / size;

    if (run->offset == run->start && end == clusters->config.length) {
        return bdrv_div_up(run->bytes, size);
    }
    if (run->offset != run->start || whole == 0) {
        run->bytes = bdrv_min(end, run->start + size) - run->offset;
        return 0;
    }
    run->bytes = whole * size;
    return whole;
}

/* Needs the claim.  May do less than asked. */
static int zero_claimed(const BdrvClusters *clusters, Allocation *run)
{
    const BdrvClustersConfig *config = &clusters->config;
    int64_t whole = keep_whole(clusters, run);

    if (whole > 0 && config->ops->enter_zero != NULL) {
        int rc = config->ops->enter_zero(config->opaque, run->start, whole);

        if (rc != -ENOTSUP) {
            return rc;
        }
    }
    return allocate_claimed(clusters, run);
}

/* Hides the backing image; *done as in allocate(). */
static int zero_unallocated(BdrvClusters *clusters, int64_t offset,
                            int64_t bytes, int64_t *done)
{
    Claim claim = claim_around(clusters, offset, &bytes);
    Allocation run = {.buf = NULL, .offset = offset, .bytes = bytes};
    int rc = check_can_allocate(clusters);

    if (rc < 0) {
        return rc;
    }
    claim_take(clusters, &claim);
    rc = measure(clusters, &run);
    if (rc == 0 && run.bytes > 0) {
        rc = zero_claimed(clusters, &run);
    }
    claim_release(clusters, &claim);
    *done = run.bytes;
    return rc;
}

/* How much of a run that has nothing must be hidden behind zeros: up to the end
 * of the cluster in which the backing image ends.  An image that was opened
 * without its backing image may have one of any length. */
static int64_t must_hide(const BdrvClusters *clusters, int64_t offset,
                         int64_t bytes)
{
    const BdrvClustersConfig *config = &clusters->config;
    int64_t end = bdrv_round_up(backing_end(clusters), config->cluster_size);

    if (bdrv_open_flags(config->bs) & BDRV_O_NO_BACKING) {
        end = config->length;
    }
    return bdrv_max(0, bdrv_min(end - offset, bytes));
}

/* *done: how much of the run was dealt with, 0 when it must be looked up
 * again. */
static int zero_run(BdrvClusters *clusters, const BdrvExtent *extent,
                    int64_t offset, int64_t *done)
{
    int64_t bytes;

    *done = extent->bytes;
    switch (extent->state) {
    case BDRV_DATA:
        return zero_in_place(clusters, extent, offset);
    case BDRV_ZERO:
        return 0;
    case BDRV_UNALLOCATED:
        bytes = must_hide(clusters, offset, extent->bytes);
        return bytes == 0 ? 0 : zero_unallocated(clusters, offset, bytes, done);
    }
    return bdrv_error(clusters->config.bs, -EIO, "driver bug: lookup at %"
                      PRId64 " gives state %d", offset, (int)extent->state);
}

int bdrv_clusters_write_zeroes(BdrvClusters *clusters, int64_t offset,
                               int64_t bytes)
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

static int config_check(const BdrvClustersConfig *config)
{
    int64_t end;

    if (config->cluster_size <= 0 ||
        config->cluster_size % BDRV_SECTOR_SIZE != 0) {
        return bdrv_error(config->bs, -EINVAL, "cluster size is %" PRId64
                          ", wanted a multiple of %d", config->cluster_size,
                          BDRV_SECTOR_SIZE);
    }
    if (!bdrv_add(config->disk_offset, config->length, &end) ||
        !bdrv_add(end, config->cluster_size, &end)) {
        return bdrv_error(config->bs, -EINVAL, "a map of %" PRId64
                          " bytes at %" PRId64 " is too long", config->length,
                          config->disk_offset);
    }
    return 0;
}

int bdrv_clusters_new(BdrvClusters **clusters, const BdrvClustersConfig *config)
{
    BdrvClusters *made;
    int rc = config_check(config);

    *clusters = NULL;
    if (rc < 0) {
        return rc;
    }
    made = calloc(1, sizeof *made);
    if (made == NULL) {
        return bdrv_error(config->bs, -ENOMEM, "no memory for a cluster map");
    }
    made->config = *config;
    rc = -pthread_mutex_init(&made->lock, NULL);
    if (rc == 0) {
        rc = -pthread_cond_init(&made->released, NULL);
        if (rc != 0) {
            pthread_mutex_destroy(&made->lock);
        }
    }
    if (rc < 0) {
        free(made);
        return bdrv_error(config->bs, rc, "cannot make a lock");
    }
    *clusters = made;
    return 0;
}

void bdrv_clusters_free(BdrvClusters *clusters)
{
    if (clusters == NULL) {
        return;
    }
    pthread_cond_destroy(&clusters->released);
    pthread_mutex_destroy(&clusters->lock);
    free(clusters);
}
