/* SPDX-License-Identifier: MIT */
/*
 * space.c - the end of a growing extent file: hands out room for grains and
 * tables, in order, and extends the file ahead of it.  Knows nothing of what
 * is put there.
 */
#include "vmdk.h"

enum {
    /* Entries are 32-bit sector numbers. */
    SECTOR_BITS = 32,
    /* How far the file is extended ahead: a quarter of what it has, so that the
     * calls cost little per grain and a crash leaves little behind. */
    AHEAD_MIN = 256 * 1024,
    AHEAD_MAX = 64 * 1024 * 1024
};

static const int64_t end_max = (INT64_C(1) << SECTOR_BITS) * BDRV_SECTOR_SIZE;

void vmdk_space_init(VmdkSpace *space, BlockDriverState *file, int64_t unit)
{
    int64_t size = bdrv_getlength(file);

    pthread_mutex_init(&space->lock, NULL);
    space->file = file;
    space->unit = unit;
    space->next = bdrv_round_up(size, unit);
    space->zero_from = size;
    space->fixed = space->tells_end = 0;
    atomic_init(&space->file_size, size);
}

void vmdk_space_destroy(VmdkSpace *space)
{
    pthread_mutex_destroy(&space->lock);
}

void vmdk_space_start(VmdkSpace *space, int64_t next, int64_t used_end)
{
    space->next = bdrv_round_up(next, space->unit);
    space->used_end = bdrv_round_up(used_end, space->unit);
}

/* A file of a fixed size was made before the image in it: what is behind the
 * last thing in use is free, but may hold anything. */
static void settle_for_fixed(VmdkSpace *space)
{
    if (!space->fixed) {
        space->fixed = 1;
        space->next = space->used_end;
        space->zero_from = INT64_MAX;
    }
}

/* Makes the file at least end bytes long, if it can be. */
static int extend(VmdkSpace *space, int64_t end)
{
    int64_t ahead = bdrv_max(AHEAD_MIN, bdrv_min(end / 4, AHEAD_MAX));
    int64_t size = bdrv_max(end, bdrv_min(end + ahead, end_max));
    int ret;

    if (space->fixed || end <= atomic_load(&space->file_size)) {
        return 0;
    }
    ret = bdrv_truncate(space->file, size);
    if (ret < 0 && ret != -ENOTSUP) {
        size = end;
        ret = bdrv_truncate(space->file, size);
    }
    if (ret == -ENOTSUP) {
        settle_for_fixed(space);
        return 0;
    }
    if (ret == 0) {
        atomic_store(&space->file_size, size);
    }
    return ret;
}

/* How many pieces can begin where an entry can point to (and end where freeSector can), and
 * lie in a file that cannot grow. */
static int64_t pieces_possible(const VmdkSpace *space, int64_t bytes)
{
    int64_t limit = space->fixed ? atomic_load(&((VmdkSpace *)space)->file_size) - bytes
                                 : end_max - BDRV_SECTOR_SIZE;

    limit = bdrv_min(limit, end_max - BDRV_SECTOR_SIZE - (space->tells_end ? bytes : 0));
    return space->next > limit ? 0 : (limit - space->next) / bytes + 1;
}

static int take(VmdkSpace *space, int64_t bytes, int64_t *count, int64_t *offset, int *zeroed)
{
    int64_t possible = pieces_possible(space, bytes);

    if (possible == 0) {
        return bdrv_error(space->file, -ENOSPC, "%s", space->fixed
                          ? "the file has no room for another grain, and its size is fixed"
                          : "the extent's file has 2 TiB, the most that its tables can "
                            "address: only a split disk can hold more");
    }
    *count = bdrv_min(*count, possible);
    *offset = space->next;
    *zeroed = space->next >= space->zero_from;
    space->next += bdrv_round_up(*count * bytes, space->unit);
    space->used_end = space->next; /* should the file turn out to be fixed only now */
    return 0;
}

int vmdk_space_take(VmdkSpace *space, int64_t bytes, int64_t *count, int64_t *offset,
                    int *zeroed)
{
    int64_t wanted;
    int ret;

    pthread_mutex_lock(&space->lock);
    wanted = bdrv_min(*count, pieces_possible(space, bytes));
    ret = extend(space, space->next + wanted * bytes);
    if (ret == 0) {
        ret = take(space, bytes, count, offset, zeroed);
    }
    pthread_mutex_unlock(&space->lock);
    return ret;
}

int64_t vmdk_space_next(VmdkSpace *space)
{
    int64_t next;

    pthread_mutex_lock(&space->lock);
    next = space->next;
    pthread_mutex_unlock(&space->lock);
    return next;
}

void vmdk_space_skip(VmdkSpace *space, int64_t offset)
{
    pthread_mutex_lock(&space->lock);
    space->next = bdrv_max(space->next, bdrv_round_up(offset, space->unit));
    pthread_mutex_unlock(&space->lock);
}

int vmdk_space_trim(VmdkSpace *space)
{
    int64_t size = atomic_load(&space->file_size);
    int ret;

    if (space->fixed || size <= space->zero_from || size <= space->next) {
        return 0;
    }
    ret = bdrv_truncate(space->file, bdrv_max(space->next, space->zero_from));
    if (ret == 0) {
        atomic_store(&space->file_size, bdrv_max(space->next, space->zero_from));
    }
    return ret;
}

int vmdk_space_reset(VmdkSpace *space, int64_t end)
{
    const int64_t next = bdrv_round_up(end, space->unit);
    int ret = bdrv_truncate(space->file, next);

    if (ret < 0 && ret != -ENOTSUP) {
        return ret;
    }
    pthread_mutex_lock(&space->lock);
    vmdk_space_start(space, next, next);
    if (ret == -ENOTSUP) {
        settle_for_fixed(space); /* what is behind the end stays what it was */
    } else {
        space->zero_from = next;
        atomic_store(&space->file_size, next);
    }
    pthread_mutex_unlock(&space->lock);
    return 0;
}
