/* SPDX-License-Identifier: MIT */
/*
 * record.c - the hash "sha256-tree", as bdrv.h defines it, made of pieces that
 * come in the order of the disk, and what is kept of it to tell where two disks
 * differ.
 *
 *     level 12                      ┌─ 2^64 bytes ─┐
 *        ⋮
 *     level 1     ┌───── 1 MiB: SHA-256 of 16 digests ─────┐ ┌─ …
 *     level 0     │ 64 KiB │ 64 KiB │ …           │ 64 KiB │ │ …
 *
 * Leaves are hashed on any thread (Leaves); here they are put together.  All
 * nodes of a level under which there are only zeros are the same, so a long run
 * of zeros is a few nodes of a high level, and so is everything behind the end.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

enum {
    CHILDREN = 16,
    CHILDREN_BITS = 4,
    TOP_LEVEL = 12,      /* 2^16 bytes << 4 * 12 */
    KEPT_MAX = 64 * 1024 /* nodes: 2 MiB of digests, and a place in 1 TiB is known to 16 MiB */
};

typedef struct Digest {
    uint8_t bytes[BDRV_HASH_BYTES];
} Digest;

struct BdrvHashRecord {
    int64_t length;    /* of the disk */
    uint64_t position; /* in leaves: as many are in */
    int is_whole;
    Digest zeros[TOP_LEVEL + 1];          /* of a node without data, by its level */
    Digest open[TOP_LEVEL + 1][CHILDREN]; /* children of the node of that level that is not
                                           * complete; [0] is not used */
    unsigned open_count[TOP_LEVEL + 1];
    Digest top;
    unsigned kept_level; /* whose digests are kept */
    size_t kept_count;
    Digest *kept;
};

/* ------------------------------------------------------------------ leaves */

int bdrv_leaves_new(Leaves *leaves, const BdrvHashRecord *record, int64_t bytes)
{
    *leaves = (Leaves){ .record = record };
    if (!record) {
        return 0;
    }
    leaves->digests = malloc((size_t)bdrv_div_up(bytes, BDRV_LEAF_BYTES) * BDRV_HASH_BYTES);
    return leaves->digests ? 0 : -ENOMEM;
}

void bdrv_leaves_free(Leaves *leaves)
{
    free(leaves->digests);
    *leaves = (Leaves){ 0 };
}

void bdrv_leaves_clear(Leaves *leaves)
{
    leaves->count = 0;
    leaves->filled = 0;
    leaves->has_data = 0;
}

static void end_leaf(Leaves *leaves)
{
    uint8_t *digest = leaves->digests + leaves->count * BDRV_HASH_BYTES;

    if (leaves->has_data) {
        bdrv_sha256_end(&leaves->hash, digest);
    } else {
        memcpy(digest, leaves->record->zeros[0].bytes, BDRV_HASH_BYTES);
    }
    leaves->count++;
    leaves->filled = 0;
    leaves->has_data = 0;
}

/* A part of one leaf.  Zeros are hashed only if there is other data in it. */
static void add_part(Leaves *leaves, const uint8_t *data, int64_t bytes)
{
    if (data && !leaves->has_data) {
        (void)bdrv_sha256_begin(&leaves->hash); /* the record has one: so it is there */
        bdrv_sha256_add_zeros(&leaves->hash, leaves->filled);
        leaves->has_data = 1;
    }
    if (data) {
        bdrv_sha256_add(&leaves->hash, data, (size_t)bytes);
    } else if (leaves->has_data) {
        bdrv_sha256_add_zeros(&leaves->hash, bytes);
    }
    leaves->filled += bytes;
}

void bdrv_leaves_add(Leaves *leaves, const void *data, int64_t bytes)
{
    const uint8_t *next = data;

    while (bytes > 0) {
        int64_t step = bdrv_min(bytes, BDRV_LEAF_BYTES - leaves->filled);

        add_part(leaves, next, step);
        next = next ? next + step : NULL;
        bytes -= step;
        if (leaves->filled == BDRV_LEAF_BYTES) {
            end_leaf(leaves);
        }
    }
}

void bdrv_leaves_end(Leaves *leaves)
{
    if (leaves->filled > 0) {
        bdrv_leaves_add(leaves, NULL, BDRV_LEAF_BYTES - leaves->filled);
    }
}

/* ------------------------------------------------------------------- nodes */

/* How many leaves a node of that level has under it. */
static uint64_t span_of(unsigned level)
{
    return (uint64_t)1 << (CHILDREN_BITS * level);
}

static void hash_children(const Digest children[CHILDREN], Digest *digest)
{
    Sha256 hash;

    (void)bdrv_sha256_begin(&hash); /* as in add_part() */
    bdrv_sha256_add(&hash, children, CHILDREN * sizeof *children);
    bdrv_sha256_end(&hash, digest->bytes);
}

/* A node above the kept level is one of zeros, and so are those under it. */
static void keep(BdrvHashRecord *record, uint64_t first, unsigned level, const Digest *digest)
{
    uint64_t at = first / span_of(record->kept_level), count;

    if (level < record->kept_level || at >= record->kept_count) {
        return;
    }
    count = span_of(level - record->kept_level);
    if (count > record->kept_count - at) {
        count = record->kept_count - at;
    }
    for (uint64_t i = 0; i < count; i++) {
        record->kept[at + i] = level == record->kept_level ? *digest
                                                           : record->zeros[record->kept_level];
    }
}

/* The next node, whose place is a multiple of its span: either a leaf, or one
 * of zeros.  Completes those that it is the last child of. */
static void add_node(BdrvHashRecord *record, unsigned level, const Digest *digest)
{
    Digest node = *digest;

    keep(record, record->position, level, &node);
    record->position += span_of(level);
    while (level < TOP_LEVEL) {
        level++;
        record->open[level][record->open_count[level]++] = node;
        if (record->open_count[level] < CHILDREN) {
            return;
        }
        record->open_count[level] = 0;
        hash_children(record->open[level], &node);
        if (level == record->kept_level) {
            keep(record, record->position - span_of(level), level, &node);
        }
    }
    record->top = node;
}

static void add_zero_leaves(BdrvHashRecord *record, uint64_t count)
{
    while (count > 0) {
        unsigned level = 0;

        while (level < TOP_LEVEL && record->position % span_of(level + 1) == 0 &&
               count >= span_of(level + 1)) {
            level++;
        }
        add_node(record, level, &record->zeros[level]);
        count -= span_of(level);
    }
}

void bdrv_record_add(BdrvHashRecord *record, const Leaves *leaves)
{
    for (size_t i = 0; i < leaves->count; i++) {
        Digest digest;

        memcpy(digest.bytes, leaves->digests + i * BDRV_HASH_BYTES, BDRV_HASH_BYTES);
        add_node(record, 0, &digest);
    }
}

void bdrv_record_add_zeros(BdrvHashRecord *record, int64_t bytes)
{
    add_zero_leaves(record, (uint64_t)bdrv_div_up(bytes, BDRV_LEAF_BYTES));
}

/* ------------------------------------------------------------- the record */

static int hash_zeros(BdrvHashRecord *record)
{
    Sha256 hash;
    int ret = bdrv_sha256_begin(&hash);

    if (ret < 0) {
        return ret;
    }
    bdrv_sha256_add_zeros(&hash, BDRV_LEAF_BYTES);
    bdrv_sha256_end(&hash, record->zeros[0].bytes);
    for (unsigned level = 1; level <= TOP_LEVEL; level++) {
        Digest children[CHILDREN];

        for (unsigned i = 0; i < CHILDREN; i++) {
            children[i] = record->zeros[level - 1];
        }
        hash_children(children, &record->zeros[level]);
    }
    return 0;
}

int bdrv_hash_record_new(BdrvHashRecord **record)
{
    int ret;

    bdrv_call_begin();
    *record = calloc(1, sizeof **record);
    ret = *record ? hash_zeros(*record) : -ENOMEM;
    if (ret < 0) {
        bdrv_hash_record_free(*record);
        *record = NULL;
    }
    return bdrv_call_end(NULL, ret, "no record of a content can be made");
}

void bdrv_hash_record_free(BdrvHashRecord *record)
{
    if (record) {
        free(record->kept);
        free(record);
    }
}

/* The lowest level of which all nodes can be kept. */
static int choose_level(BdrvHashRecord *record)
{
    uint64_t leaves = (uint64_t)bdrv_div_up(record->length, BDRV_LEAF_BYTES);

    record->kept_level = 0;
    while ((leaves + span_of(record->kept_level) - 1) / span_of(record->kept_level) > KEPT_MAX) {
        record->kept_level++;
    }
    record->kept_count = (size_t)((leaves + span_of(record->kept_level) - 1) /
                                  span_of(record->kept_level));
    free(record->kept);
    record->kept = calloc(record->kept_count + 1, sizeof *record->kept);
    return record->kept ? 0 : bdrv_error(NULL, -ENOMEM, "no memory for a record of %zu digests",
                                         record->kept_count);
}

int bdrv_record_begin(BdrvHashRecord *record, int64_t length)
{
    record->length = length;
    record->position = 0;
    record->is_whole = 0;
    memset(record->open_count, 0, sizeof record->open_count);
    return choose_level(record);
}

void bdrv_record_end(BdrvHashRecord *record)
{
    add_zero_leaves(record, span_of(TOP_LEVEL) - record->position);
    record->is_whole = 1;
}

/* --------------------------------------------------------------- the answers */

static int check_whole(const BdrvHashRecord *record)
{
    return record->is_whole ? 0 : bdrv_error(NULL, -EINVAL, "the record is not whole: nothing "
                                             "was hashed with it, or that failed");
}

static int get_digest(const BdrvHashRecord *record, uint8_t digest[BDRV_HASH_BYTES])
{
    uint8_t length[8];
    Sha256 hash;
    int ret = check_whole(record);

    if (ret == 0) {
        ret = bdrv_sha256_begin(&hash);
    }
    if (ret == 0) {
        bdrv_store_le64(length, (uint64_t)record->length);
        bdrv_sha256_add(&hash, record->top.bytes, sizeof record->top.bytes);
        bdrv_sha256_add(&hash, length, sizeof length);
        bdrv_sha256_end(&hash, digest);
    }
    return ret;
}

int bdrv_hash_record_digest(const BdrvHashRecord *record, uint8_t digest[BDRV_HASH_BYTES])
{
    bdrv_call_begin();
    return bdrv_call_end(NULL, record && digest ? get_digest(record, digest) : -EINVAL,
                         "there is no digest");
}

static int find_difference(const BdrvHashRecord *a, const BdrvHashRecord *b, int64_t *offset,
                           int64_t *bytes)
{
    const int64_t step = (int64_t)span_of(a->kept_level) * BDRV_LEAF_BYTES;

    for (size_t i = 0; i < a->kept_count; i++) {
        if (memcmp(&a->kept[i], &b->kept[i], sizeof a->kept[i]) != 0) {
            *offset = (int64_t)i * step;
            *bytes = bdrv_min(step, a->length - *offset);
            return 1;
        }
    }
    return 0;
}

static int compare(const BdrvHashRecord *a, const BdrvHashRecord *b, int64_t *offset,
                   int64_t *bytes)
{
    int ret;

    if (!a || !b || !offset || !bytes) {
        return -EINVAL;
    }
    ret = check_whole(a);
    ret = ret < 0 ? ret : check_whole(b);
    if (ret == 0 && a->length != b->length) {
        ret = bdrv_error(NULL, -EINVAL, "the records are of %lld and %lld bytes",
                         (long long)a->length, (long long)b->length);
    }
    return ret < 0 ? ret : find_difference(a, b, offset, bytes);
}

int bdrv_hash_record_compare(const BdrvHashRecord *a, const BdrvHashRecord *b, int64_t *offset,
                             int64_t *bytes)
{
    bdrv_call_begin();
    return bdrv_call_end(NULL, compare(a, b, offset, bytes), "the records cannot be compared");
}
