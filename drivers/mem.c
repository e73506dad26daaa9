/* SPDX-License-Identifier: MIT */
/*
 * mem.c - a disk in memory that costs what was written to it, not what it
 * could hold.
 *
 * Chunks of 64 KiB hang in a tree of five levels, each indexed by ten bits of
 * the chunk's number, so that any offset an int64_t can name has its place:
 *
 *     offset   63      56       46       36       26       16            0
 *              ├ level 4 ┼ level 3 ┼ level 2 ┼ level 1 ┼ level 0 ┼ in chunk ┤
 *
 * What is absent, a chunk or a whole subtree, reads as zeros.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv-driver.h"

enum {
    CHUNK_BITS = 16,
    CHUNK_SIZE = 1 << CHUNK_BITS,
    NODE_BITS = 10,
    NODE_SLOTS = 1 << NODE_BITS,
    LEVELS = 5
};

_Static_assert(CHUNK_BITS + LEVELS * NODE_BITS >= 63, "every offset has its place");

typedef struct MemState {
    pthread_rwlock_t lock; /* over all below: writers are alone */
    void *root; /* a node; its slots hold nodes, on level 0 chunks; NULL: nothing */
    int64_t chunks;
} MemState;

/* -------------------------------------------------------------------- tree */

static size_t slot_of(int64_t offset, int level)
{
    return (size_t)(offset >> (CHUNK_BITS + level * NODE_BITS)) & (NODE_SLOTS - 1);
}

/* The bytes that one slot of a node on this level stands for. */
static int64_t span_of(int level)
{
    return (int64_t)1 << (CHUNK_BITS + level * NODE_BITS);
}

/* The chunk that holds offset, or NULL; then *absent is how many bytes from
 * offset on are not there either (as far as this look could tell). */
static uint8_t *find_chunk(const MemState *state, int64_t offset, int64_t *absent)
{
    void *node = state->root;
    int level = LEVELS;

    while (node && level > 0) {
        level--;
        node = ((void **)node)[slot_of(offset, level)];
    }
    if (!node) {
        *absent = level == LEVELS ? INT64_MAX - offset
                                  : span_of(level) - offset % span_of(level);
    }
    return node;
}

/* The same, made (of zeros) where it is missing.  NULL: no memory. */
static uint8_t *make_chunk(MemState *state, int64_t offset)
{
    void **slot = &state->root;

    for (int level = LEVELS;; level--) {
        if (!*slot) {
            *slot = level > 0 ? calloc(NODE_SLOTS, sizeof(void *)) : calloc(1, CHUNK_SIZE);
            state->chunks += *slot && level == 0;
        }
        if (!*slot || level == 0) {
            return *slot;
        }
        slot = (void **)*slot + slot_of(offset, level - 1);
    }
}

static void drop_chunk(MemState *state, int64_t offset)
{
    void **node = state->root;

    for (int level = LEVELS - 1; node && level > 0; level--) {
        node = node[slot_of(offset, level)];
    }
    if (node && node[slot_of(offset, 0)]) {
        free(node[slot_of(offset, 0)]);
        node[slot_of(offset, 0)] = NULL;
        state->chunks--;
    }
}

/* Frees what hangs in a slot; level is that of the node it lies in. */
/* NOLINTNEXTLINE(misc-no-recursion): LEVELS deep */
static void free_tree(void *tree, int level)
{
    for (size_t i = 0; tree && level > 0 && i < NODE_SLOTS; i++) {
        free_tree(((void **)tree)[i], level - 1);
    }
    free(tree);
}

/* Makes the range zeros: whole chunks go, the rest is overwritten. */
static void zero_range(MemState *state, int64_t offset, int64_t bytes)
{
    while (bytes > 0) {
        int64_t in_chunk = offset % CHUNK_SIZE, absent = 0;
        int64_t piece = bdrv_min(bytes, CHUNK_SIZE - in_chunk);
        uint8_t *chunk = find_chunk(state, offset, &absent);

        if (!chunk) {
            piece = bdrv_min(bytes, absent);
        } else if (piece == CHUNK_SIZE) {
            drop_chunk(state, offset);
        } else {
            memset(chunk + in_chunk, 0, (size_t)piece);
        }
        offset += piece;
        bytes -= piece;
    }
}

/* ------------------------------------------------------------------ driver */

static int mem_open(BlockDriverState *bs, const BdrvOptions *options)
{
    MemState *state = bdrv_state(bs);
    int error = pthread_rwlock_init(&state->lock, NULL);

    if (error != 0) {
        return bdrv_error(bs, -error, "cannot make a lock: %s", strerror(error));
    }
    bdrv_set_length(bs, bdrv_option_number(options, "size"));
    return 0;
}

static int mem_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    MemState *state = bdrv_state(bs);
    uint8_t *p = buf;

    pthread_rwlock_rdlock(&state->lock);
    while (bytes > 0) {
        int64_t in_chunk = offset % CHUNK_SIZE, absent = 0;
        size_t piece = (size_t)bdrv_min((int64_t)bytes, CHUNK_SIZE - in_chunk);
        const uint8_t *chunk = find_chunk(state, offset, &absent);

        if (chunk) {
            memcpy(p, chunk + in_chunk, piece);
        } else {
            memset(p, 0, piece);
        }
        p += piece;
        offset += (int64_t)piece;
        bytes -= piece;
    }
    pthread_rwlock_unlock(&state->lock);
    return 0;
}

static int mem_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    MemState *state = bdrv_state(bs);
    const uint8_t *p = buf;
    int ret = 0;

    pthread_rwlock_wrlock(&state->lock);
    while (bytes > 0 && ret == 0) {
        int64_t in_chunk = offset % CHUNK_SIZE;
        size_t piece = (size_t)bdrv_min((int64_t)bytes, CHUNK_SIZE - in_chunk);
        uint8_t *chunk = make_chunk(state, offset);

        if (chunk) {
            memcpy(chunk + in_chunk, p, piece);
        } else {
            ret = bdrv_error(bs, -ENOMEM, "no memory left to write to");
        }
        p += piece;
        offset += (int64_t)piece;
        bytes -= piece;
    }
    pthread_rwlock_unlock(&state->lock);
    return ret;
}

static int mem_close(BlockDriverState *bs)
{
    MemState *state = bdrv_state(bs);

    free_tree(state->root, LEVELS);
    pthread_rwlock_destroy(&state->lock);
    return 0;
}

static int mem_flush(BlockDriverState *bs)
{
    (void)bs; /* memory is as durable as it will ever be */
    return 0;
}

static int mem_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                            BdrvExtent *extent)
{
    MemState *state = bdrv_state(bs);
    int64_t run = 0, absent = 0;
    int present;

    pthread_rwlock_rdlock(&state->lock);
    present = find_chunk(state, offset, &absent) != NULL;
    while (run < bytes && (find_chunk(state, offset + run, &absent) != NULL) == present) {
        run += present ? CHUNK_SIZE - (offset + run) % CHUNK_SIZE
                       : bdrv_min(absent, bytes - run);
    }
    pthread_rwlock_unlock(&state->lock);
    extent->state = present ? BDRV_DATA : BDRV_ZERO;
    extent->bytes = bdrv_min(run, bytes);
    extent->file = present ? bs : NULL;
    extent->file_offset = present ? offset : 0;
    return 0;
}

static int mem_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    MemState *state = bdrv_state(bs);

    pthread_rwlock_wrlock(&state->lock);
    zero_range(state, offset, bytes);
    pthread_rwlock_unlock(&state->lock);
    return 0;
}

static int mem_truncate(BlockDriverState *bs, int64_t length)
{
    MemState *state = bdrv_state(bs);

    pthread_rwlock_wrlock(&state->lock);
    zero_range(state, length, INT64_MAX - length); /* for when it grows again */
    bdrv_set_length(bs, length);
    pthread_rwlock_unlock(&state->lock);
    return 0;
}

static int mem_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    MemState *state = bdrv_state(bs);

    pthread_rwlock_rdlock(&state->lock);
    info->host_bytes = state->chunks * CHUNK_SIZE;
    pthread_rwlock_unlock(&state->lock);
    return 0;
}

static const BdrvOption mem_open_options[] = {
    {.name = "size", .type = BDRV_OPTION_SIZE, .default_text = "0",
     .help = "the disk's length at first; writing past the end makes it longer"},
    {.name = NULL}
};

extern const BlockDriver bdrv_driver_mem;
const BlockDriver bdrv_driver_mem = {
    BDRV_DRIVER_HEAD,
    .name = "mem",
    .description = "memory; what is not written costs nothing",
    .flags = BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(MemState),
    .open_options = mem_open_options,
    .open = mem_open,
    .read = mem_read,
    .write = mem_write,
    .close = mem_close,
    .flush = mem_flush,
    .is_allocated = mem_is_allocated,
    .write_zeroes = mem_write_zeroes,
    .discard = mem_write_zeroes, /* frees the memory */
    .truncate = mem_truncate,
    .get_info = mem_get_info,
};
