/* SPDX-License-Identifier: MIT */
/*
 * hole.c - finding the holes of a host file, and making them.
 *
 * What the host cannot do is done with zeros, except for discard, which then
 * says so.  What it has refused once as unknown is not asked again.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "file.h"

enum {
    ZERO_PIECE = 64 * 1024 /* one write of zeros: large enough to be cheap */
};

/* ---------------------------------------------------------- what is known */

void bdrv_file_forget_data(FileState *state)
{
    pthread_mutex_lock(&state->known.lock);
    state->known.start = state->known.end = 0;
    pthread_mutex_unlock(&state->known.lock);
}

#if defined(SEEK_DATA) && defined(SEEK_HOLE)

static void remember_data(FileState *state, int64_t start, int64_t end)
{
    pthread_mutex_lock(&state->known.lock);
    state->known.start = start;
    state->known.end = end;
    pthread_mutex_unlock(&state->known.lock);
}

/* How many bytes from offset on are known to be data; 0: not even the first; -1: the first
 * is. */
static int64_t known_data(FileState *state, int64_t offset)
{
    const KnownData *known = &state->known;
    int64_t bytes = 0;

    pthread_mutex_lock(&state->known.lock);
    if (known->end < 0) {
        bytes = offset == known->start ? -1 : 0;
    } else if (known->start <= offset && offset < known->end) {
        bytes = known->end - offset;
    }
    pthread_mutex_unlock(&state->known.lock);
    return bytes;
}

/* ----------------------------------------------------------------- looking */

static off_t seek(int fd, off_t offset, int whence)
{
    off_t place;

    do {
        place = lseek(fd, offset, whence);
    } while (place < 0 && errno == EINTR);
    return place;
}

/* Behind the last data of the file there is a hole up to its end, and then
 * nothing: that must stay DATA, so that reading it reports the error. */
static int64_t hole_at_end(const FileState *state, int64_t offset)
{
    struct stat st;

    return fstat(state->fd, &st) == 0 && st.st_size > offset ? st.st_size - offset : 0;
}

/* The hole at offset, how long it is; 0: there is data, and *data tells how much. */
static int64_t find_hole(FileState *state, int64_t offset, int64_t *data)
{
    const int64_t known = known_data(state, offset);
    off_t next = offset, end;

    if (known > 0) {
        *data = bdrv_min(known, *data);
        return 0;
    }
    if (known == 0) {
        next = seek(state->fd, offset, SEEK_DATA);
    }
    if (next > offset) {
        remember_data(state, next, -1);
        return next - offset;
    }
    if (next < 0) { /* other errors than that: the host cannot tell, it is all data */
        return errno == ENXIO ? hole_at_end(state, offset) : 0;
    }
    end = seek(state->fd, offset, SEEK_HOLE);
    if (end > offset) {
        remember_data(state, offset, end);
        *data = bdrv_min(end - offset, *data);
    }
    return 0;
}

#else

static int64_t find_hole(FileState *state, int64_t offset, int64_t *data)
{
    (void)state, (void)offset, (void)data;
    return 0;
}

#endif

int bdrv_file_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                           BdrvExtent *extent)
{
    int64_t hole;

    extent->bytes = bytes;
    hole = find_hole(bdrv_state(bs), offset, &extent->bytes);
    if (hole > 0) {
        extent->state = BDRV_ZERO;
        extent->bytes = bdrv_min(bytes, hole);
        return 0;
    }
    extent->state = BDRV_DATA;
    extent->file = bs;
    extent->file_offset = offset;
    return 0;
}

/* -------------------------------------------------------------------- making */

/* fallocate(2) in one of its modes, with *cannot as its memory.  -ENOTSUP: the
 * host cannot, or not this range (a device's blocks). */
static int host_fallocate(BlockDriverState *bs, int mode, atomic_int *cannot,
                          int64_t offset, int64_t bytes)
{
#ifdef FALLOC_FL_PUNCH_HOLE
    FileState *state = bdrv_state(bs);
    int ret;

    if (atomic_load(cannot)) {
        return -ENOTSUP;
    }
    do {
        ret = fallocate(state->fd, mode | FALLOC_FL_KEEP_SIZE, offset, bytes);
    } while (ret < 0 && errno == EINTR);
    if (ret == 0) {
        return 0;
    }
    if (errno == EOPNOTSUPP || errno == ENOTSUP || errno == ENOSYS) {
        atomic_store(cannot, 1);
        return -ENOTSUP;
    }
    return errno == EINVAL ? -ENOTSUP
                           : bdrv_file_range_error(bs, "make a hole of", bytes, offset);
#else
    (void)bs, (void)mode, (void)cannot, (void)offset, (void)bytes;
    return -ENOTSUP;
#endif
}

#ifndef FALLOC_FL_PUNCH_HOLE
#define FALLOC_FL_PUNCH_HOLE 0
#define FALLOC_FL_ZERO_RANGE 0
#endif

/* A hole; it reads as zeros, on devices too (which is why this is not BLKDISCARD:
 * what that leaves behind is up to the drive). */
static int punch(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    FileState *state = bdrv_state(bs);

    bdrv_file_forget_data(state);
    return host_fallocate(bs, FALLOC_FL_PUNCH_HOLE, &state->cannot_punch, offset, bytes);
}

static int write_zero_pieces(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    static const uint8_t zeros[ZERO_PIECE];
    int ret = 0;

    while (bytes > 0 && ret == 0) {
        int64_t piece = bdrv_min(bytes, ZERO_PIECE);

        ret = bdrv_file_write(bs, zeros, (size_t)piece, offset);
        offset += piece;
        bytes -= piece;
    }
    return ret;
}

/* Grows a regular file to end by its last byte.  Not by ftruncate(2): that would
 * cut off what another thread writes behind us at this moment. */
static int grow(BlockDriverState *bs, int64_t end)
{
    return bdrv_file_write(bs, "", 1, end - 1);
}

int bdrv_file_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    FileState *state = bdrv_state(bs);
    int ret = bdrv_file_begin_change(bs);
    int64_t length = ret < 0 ? ret : bdrv_file_measure(bs);

    if (length < 0) {
        return (int)length;
    }
    if (!state->is_device && offset + bytes > length) {
        ret = grow(bs, offset + bytes);
        if (ret < 0) {
            return ret;
        }
    }
    ret = punch(bs, offset, bytes);
    if (ret == -ENOTSUP) {
        ret = host_fallocate(bs, FALLOC_FL_ZERO_RANGE, &state->cannot_zero, offset, bytes);
    }
    if (ret == -ENOTSUP) {
        /* What lies behind the old end of a file reads as zeros already. */
        ret = write_zero_pieces(bs, offset, state->is_device
                                                ? bytes : bdrv_min(bytes, length - offset));
    }
    return ret;
}

int bdrv_file_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int ret = punch(bs, offset, bytes);

    return ret == -ENOTSUP
               ? bdrv_error(bs, ret, "the host cannot discard parts of this file") : ret;
}

/* Not posix_fallocate(3), which would write zeros instead: slowly, and over what
 * another thread writes. */
int bdrv_file_allocate(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
#ifdef FALLOC_FL_KEEP_SIZE
    FileState *state = bdrv_state(bs);
    int ret = bdrv_file_begin_change(bs);

    if (ret < 0) {
        return ret;
    }
    do {
        ret = fallocate(state->fd, 0, offset, bytes);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != ENODEV) {
        return bdrv_file_range_error(bs, "set aside", bytes, offset);
    }
    if (ret == 0) {
        return 0;
    }
#else
    (void)offset, (void)bytes;
#endif
    return bdrv_error(bs, -ENOTSUP, "the host cannot set space aside for this file");
}
