/* SPDX-License-Identifier: MIT */
/*
 * copy.c - bytes of another host file that do not pass through our memory: made
 * to be the same blocks (a reflink), or copied by the host.
 *
 * Whether the host can is known only once it has been asked.  What it refused
 * is said to be -ENOTSUP, and is then done by reading and writing; an error
 * of the storage is an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif

#include "file.h"

static int refuse(const BlockDriverState *bs)
{
    return bdrv_error(bs, -ENOTSUP, "the host cannot make it share or copy another file's bytes");
}

#ifdef __linux__

/* Two ways to say that these files, or this range of them, cannot be: other file
 * systems, ends inside of blocks, no such call. */
static int is_refusal(int error)
{
    switch (error) {
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOTTY:
    case EXDEV:
    case EINVAL:
    case EPERM:
    case ETXTBSY:
        return 1;
    default:
        return 0;
    }
}

/* The descriptor that the bytes are to come from; -1: it is no file of the host. */
static int source_of(const BlockDriverState *from)
{
    return bdrv_driver_name(from) == bdrv_driver_file.name
               ? ((const FileState *)bdrv_state(from))->fd : -1;
}

int bdrv_file_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                          int64_t from_offset, int64_t bytes)
{
    FileState *state = bdrv_state(bs);
    struct file_clone_range range = {
        .src_fd = source_of(from),
        .src_offset = (uint64_t)from_offset,
        .src_length = (uint64_t)bytes,
        .dest_offset = (uint64_t)offset,
    };
    int ret;

    if (range.src_fd < 0 || atomic_load(&state->cannot_share)) {
        return refuse(bs);
    }
    ret = bdrv_file_begin_change(bs);
    if (ret < 0 || ioctl(state->fd, FICLONERANGE, &range) == 0) {
        return ret;
    }
    if (is_refusal(errno)) {
        atomic_store(&state->cannot_share, errno != EINVAL);
        return refuse(bs);
    }
    return bdrv_file_range_error(bs, "share", bytes, offset);
}

/* A part that was copied before the host refused is written again: no harm. */
int bdrv_file_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                         int64_t from_offset, int64_t bytes)
{
    FileState *state = bdrv_state(bs);
    off_t source_at = from_offset, target_at = offset;
    int fd = source_of(from);
    int ret = fd < 0 ? refuse(bs) : bdrv_file_begin_change(bs);

    while (ret == 0 && bytes > 0) {
        ssize_t n = copy_file_range(fd, &source_at, state->fd, &target_at, (size_t)bytes, 0);

        if (n > 0) {
            bdrv_file_drop_copied(bdrv_state(from), source_at - n, state, target_at - n, n);
            bytes -= n;
        } else if (n == 0) { /* the file has become shorter: reading will say so */
            ret = refuse(bs);
        } else if (errno != EINTR) {
            ret = is_refusal(errno) ? refuse(bs)
                                    : bdrv_file_range_error(bs, "copy", bytes, target_at);
        }
    }
    return ret;
}

#else

int bdrv_file_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                          int64_t from_offset, int64_t bytes)
{
    (void)offset, (void)from, (void)from_offset, (void)bytes;
    return refuse(bs);
}

int bdrv_file_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                         int64_t from_offset, int64_t bytes)
{
    (void)offset, (void)from, (void)from_offset, (void)bytes;
    return refuse(bs);
}

#endif
