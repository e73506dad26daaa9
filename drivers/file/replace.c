/* SPDX-License-Identifier: MIT */
/*
 * replace.c - another content for a whole file in one step: what a power loss
 * leaves is the old file or the new one.
 *
 *     new file beside it ─▶ written, durable ─▶ locked ─▶ takes the name
 *                                                          ─▶ directory durable
 *
 * The node goes on under the same descriptor number, which the host moves
 * over to the new file in one step, so other threads may be using it meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

/* A new file beside path, whose name goes to *name, to be freed.  A descriptor,
 * or -1. */
static int open_beside(const char *path, char **name)
{
    size_t size = strlen(path) + sizeof ".XXXXXX";
    int fd;

    *name = malloc(size);
    if (!*name) {
        return -1;
    }
    snprintf(*name, size, "%s.XXXXXX", path);
    fd = mkostemp(*name, O_CLOEXEC);
    if (fd < 0) {
        free(*name);
        *name = NULL;
    }
    return fd;
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return -1;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The new file belongs to whom the old one belonged, as far as we may say so. */
static int keep_owner(int fd, const struct stat *old)
{
    if (fchown(fd, old->st_uid, old->st_gid) < 0) {
        /* Not ours to give away, so it stays ours. */
    }
    return fchmod(fd, old->st_mode & 07777);
}

static int fill(BlockDriverState *bs, int fd, const struct stat *old, const void *bytes,
                size_t size)
{
    if (keep_owner(fd, old) < 0 || write_all(fd, bytes, size) < 0 || fsync(fd) < 0) {
        return bdrv_file_host_error(bs, "write the new file");
    }
    return bdrv_file_lock(bs, fd);
}

static int move_descriptor(int from, int to)
{
#ifdef __APPLE__ /* has no dup3(2) */
    return dup2(from, to) < 0 ? -1 : fcntl(to, F_SETFD, FD_CLOEXEC);
#else
    return dup3(from, to, O_CLOEXEC);
#endif
}

/* From here on nothing may fail: the name already leads to the new file. */
static void take_over(BlockDriverState *bs, int fd, const char *path, size_t size)
{
    FileState *state = bdrv_state(bs);

    while (move_descriptor(fd, state->fd) < 0 && (errno == EINTR || errno == EBUSY)) {
    }
    bdrv_file_forget_data(state);
    bdrv_set_length(bs, (int64_t)size);
    bdrv_file_flush_directory(path);
}

static int replace_at(BlockDriverState *bs, const char *path, const struct stat *old,
                      const void *bytes, size_t size)
{
    char *name;
    int fd = open_beside(path, &name);
    int ret;

    if (fd < 0) {
        return bdrv_file_host_error(bs, "make a new file beside it");
    }
    ret = fill(bs, fd, old, bytes, size);
    if (ret == 0 && rename(name, path) < 0) {
        ret = bdrv_file_host_error(bs, "rename the new file");
    }
    if (ret < 0) {
        unlink(name);
    } else {
        take_over(bs, fd, path, size);
    }
    close(fd);
    free(name);
    return ret;
}

/* Through links to the file itself, which is still the one that is open. */
int bdrv_file_replace(BlockDriverState *bs, const void *bytes, size_t size)
{
    FileState *state = bdrv_state(bs);
    struct stat mine, named;
    char *path;
    int ret;

    if (fstat(state->fd, &mine) < 0) {
        return bdrv_file_host_error(bs, "stat");
    }
    if (state->is_device || mine.st_nlink > 1) {
        return bdrv_error(bs, -ENOTSUP, "is %s: it cannot be replaced by a new file",
                          state->is_device ? "a device" : "a file of several names");
    }
    path = realpath(bdrv_filename(bs), NULL);
    if (!path || stat(path, &named) < 0) {
        ret = bdrv_file_host_error(bs, "find the file by its name");
    } else if (named.st_dev != mine.st_dev || named.st_ino != mine.st_ino) {
        ret = bdrv_error(bs, -EBUSY, "the name means another file now");
    } else {
        ret = replace_at(bs, path, &mine, bytes, size);
    }
    free(path);
    return ret;
}
