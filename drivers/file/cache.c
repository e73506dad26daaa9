/* SPDX-License-Identifier: MIT */
/*
 * cache.c - reading and writing that leaves the host's page cache alone: past it
 * (BDRV_O_DIRECT), or through it without staying there (BDRV_O_DROP_BEHIND).
 *
 * Direct transfers must be aligned, in the file and in memory.  Of a request that
 * is not, what lies in blocks that it has only a part of goes through the cache:
 *
 *     file:     │ block │ block │ block │ block │ block │
 *     request:       ├──┼───────┼───────┼───┤
 *                cached │    direct     │ cached
 *
 * The host keeps the two views together, as long as no two requests are in one
 * block at once; hence the lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "file.h"

enum {
    DIRECT_UNIT = 4096, /* no disk's blocks are larger */
    READ_AHEAD_MAX = 1024 * 1024, /* more than Linux does unasked for (128 KiB) */
    BOUNCE_BYTES = 1024 * 1024
};

/* -------------------------------------------------------------- drop behind */

#if defined(__linux__) && !defined(RWF_DONTCACHE)
#define RWF_DONTCACHE 0x80 /* Linux 6.14: what the call brings into the cache leaves it again */
#endif

/* With the flag that the host may not know.  -1 and EOPNOTSUPP then. */
#ifdef __linux__
static ssize_t uncached(const FileState *state, FileTransfer way, void *buf, size_t bytes,
                        off_t offset)
{
    struct iovec piece = {.iov_base = buf, .iov_len = bytes};

    return way == FILE_READ ? preadv2(state->fd, &piece, 1, offset, RWF_DONTCACHE)
                            : pwritev2(state->fd, &piece, 1, offset, RWF_DONTCACHE);
}
#else
static ssize_t uncached(const FileState *state, FileTransfer way, void *buf, size_t bytes,
                        off_t offset)
{
    (void)state, (void)way, (void)buf, (void)bytes, (void)offset;
    errno = EOPNOTSUPP;
    return -1;
}
#endif

static ssize_t cached(const FileState *state, FileTransfer way, void *buf, size_t bytes,
                      off_t offset)
{
    return way == FILE_READ ? pread(state->fd, buf, bytes, offset)
                            : pwrite(state->fd, buf, bytes, offset);
}

static void drop(const FileState *state, off_t offset, off_t bytes)
{
#ifdef POSIX_FADV_DONTNEED
    (void)posix_fadvise(state->fd, offset, bytes, POSIX_FADV_DONTNEED);
#else
    (void)state, (void)offset, (void)bytes;
#endif
}

/* The host reads ahead and drops nothing that was not read as a whole: what the reads
 * before this one had begun goes with it. */
static void drop_read(const FileState *state, off_t offset, off_t bytes)
{
    const off_t before = bdrv_min(offset, READ_AHEAD_MAX);

    drop(state, offset - before, bytes + before);
}

/* What is written cannot be dropped before it is on disk: that is begun at once, and waited
 * for when the next piece has been written. */
static void drop_written(FileState *state, off_t offset, off_t bytes)
{
#ifdef SYNC_FILE_RANGE_WRITE
    FileRange before;

    pthread_mutex_lock(&state->behind_lock);
    before = state->behind;
    state->behind = (FileRange){offset, bytes};
    pthread_mutex_unlock(&state->behind_lock);
    (void)sync_file_range(state->fd, offset, bytes, SYNC_FILE_RANGE_WRITE);
    if (before.bytes > 0) {
        (void)sync_file_range(state->fd, before.offset, before.bytes,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
        drop(state, before.offset, before.bytes);
    }
#else
    (void)state, (void)offset, (void)bytes;
#endif
}

static ssize_t drop_behind(FileState *state, FileTransfer way, void *buf, size_t bytes,
                           off_t offset)
{
    ssize_t n = -1;

    if (!atomic_load_explicit(&state->cannot_uncached, memory_order_relaxed)) {
        n = uncached(state, way, buf, bytes, offset);
        if (n > 0 && way == FILE_READ && (offset % DIRECT_UNIT != 0 || n % DIRECT_UNIT != 0)) {
            drop_read(state, offset, n);
        }
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) {
            return n;
        }
        atomic_store(&state->cannot_uncached, 1);
    }
    n = cached(state, way, buf, bytes, offset);
    if (n > 0 && way == FILE_READ) {
        drop_read(state, offset, n);
    } else if (n > 0) {
        drop_written(state, offset, n);
    }
    return n;
}

ssize_t bdrv_file_transfer(FileState *state, FileTransfer way, void *buf, size_t bytes,
                           off_t offset)
{
    return state->drops_behind ? drop_behind(state, way, buf, bytes, offset)
                               : cached(state, way, buf, bytes, offset);
}

void bdrv_file_drop_copied(const FileState *from, off_t from_offset, FileState *state,
                           off_t offset, off_t bytes)
{
    if (from->drops_behind) {
        drop(from, from_offset, bytes);
    }
    if (state->drops_behind) {
        drop_written(state, offset, bytes);
    }
}

void bdrv_file_drop_all(const FileState *state)
{
    if (state->drops_behind) {
        drop(state, 0, 0);
    }
}

/* ------------------------------------------------------------------- direct */

int bdrv_file_open_direct(BlockDriverState *bs)
{
    FileState *state = bdrv_state(bs);
#if defined(O_DIRECT) && defined(__linux__)
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", state->fd);
    fd = open(path, (bdrv_file_host_flags(bs) & ~(O_CREAT | O_NONBLOCK)) | O_DIRECT);
    if (fd >= 0) {
        state->direct_fd = fd;
        state->is_direct = 1;
        return 0;
    }
    if (errno == EINVAL) {
        return bdrv_error(bs, -ENOTSUP, "its file system knows no direct I/O: use another cache "
                          "mode, drop-behind for instance");
    }
    return bdrv_file_host_error(bs, "open for direct I/O");
#else
    (void)state;
    return bdrv_error(bs, -ENOTSUP, "this host knows no direct I/O: use another cache mode");
#endif
}

/* Whole blocks from or to memory that is aligned. */
static int move_blocks(BlockDriverState *bs, FileTransfer way, uint8_t *buf, size_t bytes,
                       int64_t offset)
{
    const FileState *state = bdrv_state(bs);
    const char *action = way == FILE_READ ? "read" : "write";

    for (size_t done = 0; done < bytes;) {
        off_t at = offset + (off_t)done;
        ssize_t n = way == FILE_READ ? pread(state->direct_fd, buf + done, bytes - done, at)
                                     : pwrite(state->direct_fd, buf + done, bytes - done, at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0 || n % DIRECT_UNIT != 0) {
            errno = n < 0 ? errno : way == FILE_WRITE ? ENOSPC : EIO; /* full; or cut */
            return bdrv_file_range_error(bs, action, (int64_t)(bytes - done), at);
        }
        done += (size_t)n;
    }
    return 0;
}

/* The same with any memory. */
static int bounce_blocks(BlockDriverState *bs, FileTransfer way, uint8_t *buf, size_t bytes,
                         int64_t offset)
{
    size_t size = bytes < BOUNCE_BYTES ? bytes : BOUNCE_BYTES;
    void *bounce;
    int ret = posix_memalign(&bounce, DIRECT_UNIT, size) == 0
                  ? 0 : bdrv_error(bs, -ENOMEM, "no memory for direct I/O");

    if (ret < 0) {
        return ret;
    }
    for (size_t done = 0, step; ret == 0 && done < bytes; done += step) {
        step = bytes - done < size ? bytes - done : size;
        if (way == FILE_WRITE) {
            memcpy(bounce, buf + done, step);
        }
        ret = move_blocks(bs, way, bounce, step, offset + (int64_t)done);
        if (ret == 0 && way == FILE_READ) {
            memcpy(buf + done, bounce, step);
        }
    }
    free(bounce);
    return ret;
}

/* The edge of a request, less than a block: alone in the file. */
static int move_edge(BlockDriverState *bs, FileTransfer way, uint8_t *buf, size_t bytes,
                     int64_t offset)
{
    FileState *state = bdrv_state(bs);
    int ret;

    pthread_rwlock_wrlock(&state->edges);
    ret = bdrv_file_move(bs, way, buf, bytes, offset);
    pthread_rwlock_unlock(&state->edges);
    return ret;
}

static int move_middle(BlockDriverState *bs, FileTransfer way, uint8_t *buf, size_t bytes,
                       int64_t offset)
{
    FileState *state = bdrv_state(bs);
    int ret;

    pthread_rwlock_rdlock(&state->edges);
    ret = (uintptr_t)buf % DIRECT_UNIT == 0 ? move_blocks(bs, way, buf, bytes, offset)
                                            : bounce_blocks(bs, way, buf, bytes, offset);
    pthread_rwlock_unlock(&state->edges);
    return ret;
}

int bdrv_file_move_direct(BlockDriverState *bs, FileTransfer way, void *buf, size_t bytes,
                          int64_t offset)
{
    uint8_t *p = buf;
    const int64_t all = (int64_t)bytes;
    const int64_t head = bdrv_min(-offset & (DIRECT_UNIT - 1), all);
    const int64_t middle = bdrv_round_down(all - head, DIRECT_UNIT);
    const int64_t tail = all - head - middle;
    int ret = 0;

    if (head > 0) {
        ret = move_edge(bs, way, p, (size_t)head, offset);
    }
    if (ret == 0 && middle > 0) {
        ret = move_middle(bs, way, p + head, (size_t)middle, offset + head);
    }
    if (ret == 0 && tail > 0) {
        ret = move_edge(bs, way, p + head + middle, (size_t)tail, offset + head + middle);
    }
    return ret;
}
