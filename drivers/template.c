/* SPDX-License-Identifier: MIT */
/*
 * template.c - a format driver to copy and to learn from.
 *
 * It is complete: it maps clusters, creates images, survives power loss, serves
 * many threads and passes the conformance suite.  Its format, TMPL, exists
 * nowhere else; only the tests contain it.  For a driver of your own, copy this
 * file and go through it from top to bottom, beginning with this drawing.  All
 * numbers are little-endian; an entry is the place in the file of one cluster of
 * the disk, 0 for a cluster that was never written.
 *
 *     0              512                      data_start()
 *     ├──── header ────┼──── table: u64 entries ────┼─ cluster ─┼─ cluster ─┼ …
 *
 *     header:  0  "TMPL"
 *              4  u32  bytes per cluster, a power of two, 512 to 1 MiB
 *              8  u64  the disk's length in bytes
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "bdrv-driver.h"

enum {
    HEADER_SIZE = 512,
    ENTRY_SIZE = 8,
    MIN_CLUSTER = 512,
    MAX_CLUSTER = 1024 * 1024, /* a small write copies the rest of its cluster */
    MAX_RUN = 1024             /* looks into the table for one answer */
};

/* The table is 1 TiB then, and no sum of sizes and offsets overflows. */
#define MAX_LENGTH (INT64_C(1) << 46)

typedef struct TemplateState { /* one per open image, zeroed by the core */
    int64_t length;
    int64_t cluster_size;
    BdrvTable *table;          /* the core's cache of tables: crash safety */
    BdrvClusters *clusters;    /* cuts requests up, allocates, copies in */
    _Atomic int64_t next_free; /* where in the file the next new cluster goes */
} TemplateState;

/* ------------------------------------------------------------------ header
 *
 * Bytes from a file are hostile.  They live in decode functions only; what comes
 * out is checked, once, against limits that have a name and a reason.  Each
 * message names the field, what it holds and what it should hold. */

static void header_decode(TemplateState *state, const uint8_t *bytes)
{
    uint64_t length = bdrv_load_le64(bytes + 8);

    state->cluster_size = bdrv_load_le32(bytes + 4);
    state->length = length > INT64_MAX ? INT64_MAX : (int64_t)length;
}

static int header_check(const BlockDriverState *bs, int64_t cluster_size, int64_t length)
{
    if (!bdrv_is_power_of_two((uint64_t)cluster_size) || cluster_size < MIN_CLUSTER ||
        cluster_size > MAX_CLUSTER) {
        return bdrv_error(bs, -EINVAL, "cluster size is %" PRId64 ", a power of two from %d "
                          "to %d is wanted", cluster_size, MIN_CLUSTER, MAX_CLUSTER);
    }
    if (length > MAX_LENGTH) {
        return bdrv_error(bs, -EFBIG, "disk length is %" PRId64 ", at most %" PRId64
                          " is possible", length, MAX_LENGTH);
    }
    return 0;
}

/* Where the clusters begin; for numbers that were checked. */
static int64_t data_start(int64_t cluster_size, int64_t length)
{
    int64_t entries = bdrv_div_up(length, cluster_size);

    return bdrv_round_up(HEADER_SIZE + entries * ENTRY_SIZE, cluster_size);
}

/* --------------------------------------------------------------------- map
 *
 * What BdrvClusters asks: where is a cluster, where is room for new ones, and
 * please enter them in your table.  Called from many threads. */

/* An error is returned, never disguised as "not there": whoever does that shows
 * zeros where data is. */
static int entry_read(BlockDriverState *bs, int64_t index, int64_t *place)
{
    TemplateState *state = bdrv_state(bs);
    int64_t start = data_start(state->cluster_size, state->length), end;
    uint8_t bytes[ENTRY_SIZE];
    int ret = bdrv_table_read(state->table, bdrv_file(bs), bytes, sizeof bytes,
                              HEADER_SIZE + index * ENTRY_SIZE);

    if (ret < 0) {
        return bdrv_error_prefix(bs, ret, "table entry %" PRId64, index);
    }
    *place = (int64_t)bdrv_load_le64(bytes);
    if (*place != 0 &&
        (*place < start || *place % state->cluster_size != 0 ||
         !bdrv_add(*place, state->cluster_size, &end) || end > bdrv_getlength(bdrv_file(bs)))) {
        return bdrv_error(bs, -EIO, "table entry %" PRId64 " is 0x%" PRIx64 ", which is not "
                          "the place of a cluster in the file", index, (uint64_t)*place);
    }
    return 0;
}

static int template_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                 BdrvExtent *extent)
{
    TemplateState *state = bdrv_state(bs);
    int64_t size = state->cluster_size, index = offset / size, place, next;
    int ret = entry_read(bs, index, &place);

    if (ret < 0) {
        return ret;
    }
    extent->state = place == 0 ? BDRV_UNALLOCATED : BDRV_DATA;
    extent->file = place == 0 ? NULL : bdrv_file(bs);
    extent->file_offset = place == 0 ? 0 : place + offset % size;
    extent->bytes = size - offset % size;
    /* Clusters that lie together are told as one run: that becomes one read.  An
     * entry that cannot be read ends the run; it fails when it is asked for. */
    for (int64_t i = 1; i < MAX_RUN && extent->bytes < bytes; i++) {
        if (entry_read(bs, index + i, &next) < 0 || next != (place == 0 ? 0 : place + i * size)) {
            break;
        }
        extent->bytes += size;
    }
    extent->bytes = bdrv_min(extent->bytes, bytes);
    return 0;
}

static int map_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    return template_is_allocated(opaque, offset, bytes, extent);
}

static int map_reserve(void *opaque, int64_t *clusters, int64_t *file_offset, int *zeroed)
{
    TemplateState *state = bdrv_state(opaque);

    *file_offset = atomic_fetch_add(&state->next_free, *clusters * state->cluster_size);
    *zeroed = 0; /* it lies behind the file's end and has to be written whole */
    return 0;
}

/* The data has been written.  The table keeps these entries in memory until a
 * flush has made that data durable. */
static int map_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    TemplateState *state = bdrv_state(opaque);
    int64_t entry = HEADER_SIZE + offset / state->cluster_size * ENTRY_SIZE;
    int ret = 0;

    for (int64_t i = 0; ret == 0 && i < clusters; i++) {
        uint8_t bytes[ENTRY_SIZE];

        bdrv_store_le64(bytes, (uint64_t)(file_offset + i * state->cluster_size));
        ret = bdrv_table_write(state->table, bdrv_file(opaque), bytes, sizeof bytes,
                               entry + i * ENTRY_SIZE, BDRV_TABLE_PRIMARY);
    }
    return ret;
}

static const BdrvClusterOps map_ops = {
    .lookup = map_lookup, .reserve = map_reserve, .enter = map_enter,
};

/* ------------------------------------- the life of an image, from its birth */

static int template_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    int64_t cluster_size = bdrv_option_number(params->options, "cluster_size");
    uint8_t bytes[HEADER_SIZE] = {'T', 'M', 'P', 'L'};
    int ret = header_check(file, cluster_size, params->size);

    if (ret == 0) {
        ret = bdrv_write_zeroes(file, 0, data_start(cluster_size, params->size));
    }
    if (ret < 0) {
        return ret; /* the core removes the file */
    }
    bdrv_store_le32(bytes + 4, (uint32_t)cluster_size);
    bdrv_store_le64(bytes + 8, (uint64_t)params->size);
    return bdrv_pwrite(file, bytes, sizeof bytes, 0);
}

static int template_probe(const BdrvProbe *probe)
{
    return probe->head_size >= HEADER_SIZE && memcmp(probe->head, "TMPL", 4) == 0 ? 100 : 0;
}

static int header_read(BlockDriverState *bs)
{
    TemplateState *state = bdrv_state(bs);
    uint8_t bytes[HEADER_SIZE];
    int ret = bdrv_pread(bdrv_file(bs), bytes, sizeof bytes, 0);

    if (ret < 0) {
        return ret;
    }
    if (memcmp(bytes, "TMPL", 4) != 0) {
        return bdrv_error(bs, -EINVAL, "is not a TMPL image: \"TMPL\" is not at its beginning");
    }
    header_decode(state, bytes);
    return header_check(bs, state->cluster_size, state->length);
}

static int template_close(BlockDriverState *bs)
{
    TemplateState *state = bdrv_state(bs);

    bdrv_clusters_free(state->clusters);
    bdrv_table_free(state->table);
    return 0;
}

/* Nothing is written here: whoever only looks leaves no trace. */
static int template_open(BlockDriverState *bs, const BdrvOptions *options)
{
    TemplateState *state = bdrv_state(bs);
    int64_t file_length = bdrv_getlength(bdrv_file(bs));
    BdrvClustersConfig config = {.bs = bs, .file = bdrv_file(bs), .ops = &map_ops, .opaque = bs};
    int ret = header_read(bs);

    (void)options;
    if (ret < 0) {
        return ret;
    }
    if (file_length < data_start(state->cluster_size, state->length)) {
        return bdrv_error(bs, -EINVAL, "file ends at byte %" PRId64 ", inside its table, which "
                          "goes to %" PRId64, file_length,
                          data_start(state->cluster_size, state->length));
    }
    state->next_free = bdrv_round_up(file_length, state->cluster_size);
    config.length = state->length;
    config.cluster_size = state->cluster_size;
    ret = bdrv_table_new(&state->table, bs);
    if (ret == 0) {
        ret = bdrv_clusters_new(&state->clusters, &config);
    }
    if (ret < 0) {
        template_close(bs); /* the core does not close what did not open */
        return ret;
    }
    bdrv_set_length(bs, state->length);
    return 0;
}

static int template_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    TemplateState *state = bdrv_state(bs);

    return bdrv_clusters_read(state->clusters, buf, bytes, offset);
}

static int template_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    TemplateState *state = bdrv_state(bs);

    return bdrv_clusters_write(state->clusters, buf, bytes, offset);
}

static int template_flush(BlockDriverState *bs)
{
    TemplateState *state = bdrv_state(bs);

    return bdrv_table_flush(state->table);
}

static int template_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    info->cluster_size = ((TemplateState *)bdrv_state(bs))->cluster_size;
    return 0;
}

/* ------------------------------------------------------------------- table */

static const BdrvOption create_options[] = {
    {.name = "cluster_size", .type = BDRV_OPTION_SIZE, .default_text = "64k",
     .help = "bytes per cluster, a power of two from 512 to 1M"},
    {.name = NULL}
};

/* What is left out gets a default that fails loudly or does the obvious;
 * bdrv-driver.h says which at each member. */
extern const BlockDriver bdrv_driver_template;
const BlockDriver bdrv_driver_template = {
    BDRV_DRIVER_HEAD,
    .name = "template",
    .description = "the example of drivers/template.c",
    .flags = BDRV_DRIVER_PARALLEL, /* many threads are let in at once */
    .instance_size = sizeof(TemplateState),
    .create_options = create_options,
    .probe = template_probe,
    .open = template_open,
    .read = template_read,
    .write = template_write,
    .create = template_create,
    .close = template_close,
    .flush = template_flush,
    .is_allocated = template_is_allocated,
    .get_info = template_get_info,
};
