/* SPDX-License-Identifier: MIT */
/*
 * overlay.c - what is written to a snapshot (BDRV_O_SNAPSHOT), until it is closed.
 *
 *     overlay ──backing──▶ the image, which stays as it is
 *        │
 *        └───file───▶ a temporary file: slots of one cluster each, in the
 *                     order in which the disk's clusters were first written
 *
 * Which cluster lies in which slot is known in memory only: nothing here is to
 * survive, so there is no format, nothing to create and nothing to flush.
 * Slots are never given to another cluster, so a reader that has looked one up
 * can never see foreign bytes in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv-driver.h"

enum {
    CLUSTER_SIZE = 64 * 1024,
    LEAF_ENTRIES = 8192 /* one leaf: 64 KiB of memory, 512 MiB of disk */
};

/* With this much the root takes 16 MiB of (untouched) memory. */
#define MAX_LENGTH (INT64_C(1) << 50)
#define LEAF_BYTES ((int64_t)LEAF_ENTRIES * CLUSTER_SIZE)

/* What the map says of a cluster: one of these, or else its slot + 1. */
enum {
    ENTRY_ABSENT = 0, /* the image shows through */
    ENTRY_ZERO = -1
};

typedef struct OverlayState {
    pthread_rwlock_t lock; /* over the map and next_slot */
    int64_t **root;        /* leaves of entries; NULL: all of them absent */
    size_t leaves;
    int64_t next_slot;
    BdrvClusters *clusters;
} OverlayState;

/* --------------------------------------------------------------------- map */

/* Its address stands for a leaf of nothing but ENTRY_ZERO: a guest that discards all of a large
 * disk must not cost its map's memory. */
static const int64_t zero_leaf = ENTRY_ZERO;

static int is_zero_leaf(const int64_t *leaf)
{
    return leaf == &zero_leaf;
}

static void free_leaf(int64_t *leaf)
{
    if (!is_zero_leaf(leaf)) {
        free(leaf);
    }
}

static int64_t entry_at(const OverlayState *state, int64_t offset)
{
    const int64_t *leaf = state->root[offset / LEAF_BYTES];

    if (is_zero_leaf(leaf)) {
        return ENTRY_ZERO;
    }
    return leaf ? leaf[offset % LEAF_BYTES / CLUSTER_SIZE] : ENTRY_ABSENT;
}

/* A leaf whose entries can be set, in the place of one that stands for many. */
static int own_leaf(BlockDriverState *bs, int64_t **leaf)
{
    const int was_zero = is_zero_leaf(*leaf);

    if (*leaf && !was_zero) {
        return 0;
    }
    *leaf = calloc(LEAF_ENTRIES, sizeof **leaf);
    if (!*leaf) {
        *leaf = was_zero ? (int64_t *)(uintptr_t)&zero_leaf : NULL;
        return bdrv_error(bs, -ENOMEM, "no memory for the map of the snapshot");
    }
    for (int i = 0; was_zero && i < LEAF_ENTRIES; i++) {
        (*leaf)[i] = ENTRY_ZERO;
    }
    return 0;
}

/* What the entry of the cluster that is this many clusters further on is, if
 * that belongs to the same run. */
static int64_t expected_entry(int64_t first, int64_t clusters)
{
    return first > 0 ? first + clusters : first;
}

/* One that has become all zeros.  Looked for when its end does: who clears a large part of a
 * disk does so from its beginning on. */
static void share_zero_leaf(int64_t **leaf)
{
    for (int i = 0; i < LEAF_ENTRIES; i++) {
        if ((*leaf)[i] != ENTRY_ZERO) {
            return;
        }
    }
    free(*leaf);
    *leaf = (int64_t *)(uintptr_t)&zero_leaf;
}

/* The entries of the clusters from offset on, all in one leaf. */
static int set_entries(BlockDriverState *bs, int64_t offset, int64_t clusters, int64_t entry)
{
    OverlayState *state = bdrv_state(bs);
    int64_t **leaf = &state->root[offset / LEAF_BYTES];
    const int64_t first = offset % LEAF_BYTES / CLUSTER_SIZE;
    int ret;

    if (entry == ENTRY_ZERO && is_zero_leaf(*leaf)) {
        return 0;
    }
    ret = own_leaf(bs, leaf);
    for (int64_t i = 0; ret == 0 && i < clusters; i++) {
        (*leaf)[first + i] = expected_entry(entry, i);
    }
    if (ret == 0 && entry == ENTRY_ZERO && first + clusters == LEAF_ENTRIES) {
        share_zero_leaf(leaf);
    }
    return ret;
}

/* The bytes of the run that begins at offset: clusters in the same state, and in
 * neighbouring slots. */
static int64_t run_length(const OverlayState *state, int64_t offset, int64_t bytes)
{
    int64_t first = entry_at(state, offset), clusters = 0;
    int64_t at = bdrv_round_down(offset, CLUSTER_SIZE), end = offset + bytes;

    while (at < end && entry_at(state, at) == expected_entry(first, clusters)) {
        const int64_t *leaf = state->root[at / LEAF_BYTES];
        int whole_leaf = first == ENTRY_ABSENT ? !leaf : is_zero_leaf(leaf);

        at = whole_leaf ? bdrv_round_down(at, LEAF_BYTES) + LEAF_BYTES : at + CLUSTER_SIZE;
        clusters++;
    }
    return bdrv_min(at, end) - offset;
}

/* -------------------------------------------------------------- operations */

static int overlay_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                BdrvExtent *extent)
{
    OverlayState *state = bdrv_state(bs);
    int64_t entry;

    pthread_rwlock_rdlock(&state->lock);
    entry = entry_at(state, offset);
    extent->bytes = run_length(state, offset, bytes);
    pthread_rwlock_unlock(&state->lock);
    extent->state = entry == ENTRY_ABSENT ? BDRV_UNALLOCATED
                    : entry == ENTRY_ZERO ? BDRV_ZERO : BDRV_DATA;
    if (entry > 0) {
        extent->file = bdrv_file(bs);
        extent->file_offset = (entry - 1) * CLUSTER_SIZE + offset % CLUSTER_SIZE;
    }
    return 0;
}

/* Who clears a large disk asks anew behind each piece of it: the rest need not be gone through
 * each time. */
static int overlay_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    return overlay_is_allocated(opaque, offset, bdrv_min(bytes, LEAF_BYTES), extent);
}

static int overlay_reserve(void *opaque, int64_t *clusters, int64_t *file_offset,
                           int *zeroed)
{
    OverlayState *state = bdrv_state(opaque);

    pthread_rwlock_wrlock(&state->lock);
    *file_offset = state->next_slot * CLUSTER_SIZE;
    state->next_slot += *clusters;
    pthread_rwlock_unlock(&state->lock);
    *zeroed = 0; /* it lies behind the end of the file */
    return 0;
}

static int enter_run(BlockDriverState *bs, int64_t offset, int64_t clusters, int64_t entry)
{
    OverlayState *state = bdrv_state(bs);
    int64_t now;
    int ret = 0;

    pthread_rwlock_wrlock(&state->lock);
    for (int64_t done = 0; ret == 0 && done < clusters; done += now) {
        const int64_t at = offset + done * CLUSTER_SIZE;

        now = bdrv_min(clusters - done, LEAF_ENTRIES - at % LEAF_BYTES / CLUSTER_SIZE);
        ret = set_entries(bs, at, now, expected_entry(entry, done));
    }
    pthread_rwlock_unlock(&state->lock);
    return ret;
}

static int overlay_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    return enter_run(opaque, offset, clusters, file_offset / CLUSTER_SIZE + 1);
}

static int overlay_enter_zero(void *opaque, int64_t offset, int64_t clusters)
{
    return enter_run(opaque, offset, clusters, ENTRY_ZERO);
}

static const BdrvClusterOps overlay_ops = {
    .lookup = overlay_lookup,
    .reserve = overlay_reserve,
    .enter = overlay_enter,
    .enter_zero = overlay_enter_zero,
};

/* ------------------------------------------------------------------ driver */

static void release(OverlayState *state)
{
    for (size_t i = 0; i < state->leaves; i++) {
        free_leaf(state->root[i]);
    }
    free(state->root);
    bdrv_clusters_free(state->clusters);
    pthread_rwlock_destroy(&state->lock);
}

static int overlay_open(BlockDriverState *bs, const BdrvOptions *options)
{
    OverlayState *state = bdrv_state(bs);
    int64_t length = bdrv_option_number(options, "size");
    BdrvClustersConfig config = {
        .bs = bs, .file = bdrv_file(bs), .length = length,
        .cluster_size = CLUSTER_SIZE, .ops = &overlay_ops, .opaque = bs,
    };
    int ret;

    if (length > MAX_LENGTH) {
        return bdrv_error(bs, -EFBIG, "the disk has %" PRId64 " bytes; snapshots are made "
                          "of at most %" PRId64, length, MAX_LENGTH);
    }
    ret = -pthread_rwlock_init(&state->lock, NULL);
    if (ret < 0) {
        return bdrv_error(bs, ret, "cannot make a lock: %s", strerror(-ret));
    }
    state->leaves = (size_t)bdrv_div_up(length, LEAF_BYTES);
    state->root = calloc(state->leaves + 1, sizeof *state->root);
    ret = state->root ? bdrv_clusters_new(&state->clusters, &config)
                      : bdrv_error(bs, -ENOMEM, "no memory for the map of the snapshot");
    if (ret < 0) {
        state->leaves = state->root ? state->leaves : 0;
        release(state);
        return ret;
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int overlay_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    OverlayState *state = bdrv_state(bs);

    return bdrv_clusters_read(state->clusters, buf, bytes, offset);
}

static int overlay_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    OverlayState *state = bdrv_state(bs);

    return bdrv_clusters_write(state->clusters, buf, bytes, offset);
}

static int overlay_close(BlockDriverState *bs)
{
    release(bdrv_state(bs));
    return 0;
}

static int overlay_flush(BlockDriverState *bs)
{
    (void)bs; /* what is gone after the next crash need not be durable */
    return 0;
}

static int overlay_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    OverlayState *state = bdrv_state(bs);

    return bdrv_clusters_write_zeroes(state->clusters, offset, bytes);
}

static int overlay_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    (void)bs;
    info->cluster_size = CLUSTER_SIZE;
    return 0;
}

/* Nothing about the image below is recorded anywhere. */
static int overlay_change_backing(BlockDriverState *bs, const char *filename,
                                  BlockDriverState *backing)
{
    (void)bs, (void)filename, (void)backing;
    return 0;
}

static const BdrvOption overlay_open_options[] = {
    {.name = "size", .type = BDRV_OPTION_NUMBER, .default_text = "0",
     .help = "the length of the image below"},
    {.name = NULL}
};

extern const BlockDriver bdrv_driver_overlay;
const BlockDriver bdrv_driver_overlay = {
    BDRV_DRIVER_HEAD,
    .name = "overlay",
    .description = "writes to a snapshot (private: see BDRV_O_SNAPSHOT)",
    .flags = BDRV_DRIVER_PARALLEL | BDRV_DRIVER_BACKING,
    .instance_size = sizeof(OverlayState),
    .open_options = overlay_open_options,
    .open = overlay_open,
    .read = overlay_read,
    .write = overlay_write,
    .close = overlay_close,
    .flush = overlay_flush,
    .is_allocated = overlay_is_allocated,
    .write_zeroes = overlay_write_zeroes,
    .discard = overlay_write_zeroes, /* the image below must not come back */
    .get_info = overlay_get_info,
    .change_backing = overlay_change_backing,
};
