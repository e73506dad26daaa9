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
#include <sys/random.h>
#include <unistd.h>

#include "file.h"

enum {
    ATTEMPTS = 100, /* to find a name that is not taken */
    BASE_MAX = 248  /* of 255 bytes that a name may have on most hosts */
};

/* A new file in the directory, named after base; name has room for it.  A descriptor,
 * or -1. */
static int make_file(int directory, const char *base, char *name, size_t size)
{
    int fd = -1;

    errno = EEXIST;
    for (int attempt = 0; fd < 0 && errno == EEXIST && attempt < ATTEMPTS; attempt++) {
        uint32_t number;

        if (getentropy(&number, sizeof number) < 0) {
            return -1;
        }
        snprintf(name, size, "%.*s.%06x", BASE_MAX, base, (unsigned)(number & 0xffffff));
        fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
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

/* The directory's names become durable; one that was opened to be searched has to be
 * opened again for that.  An error is not worth failing for: some file systems cannot. */
static void flush_directory(int directory)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

/* From here on nothing may fail: the name already leads to the new file. */
static void take_over(BlockDriverState *bs, int fd, int directory, size_t size)
{
    FileState *state = bdrv_state(bs);

    while (move_descriptor(fd, state->fd) < 0 && (errno == EINTR || errno == EBUSY)) {
    }
    bdrv_file_forget_data(state);
    if (state->is_direct) { /* what is written this way needs no direct I/O */
        while (move_descriptor(fd, state->direct_fd) < 0 && (errno == EINTR || errno == EBUSY)) {
        }
    }
    bdrv_set_length(bs, (int64_t)size);
    flush_directory(directory);
}

/* What is called base in the directory, and is the node's file. */
typedef struct Place {
    int directory;
    const char *base;
    struct stat old;
} Place;

static int replace_at(BlockDriverState *bs, const Place *place, const void *bytes, size_t size)
{
    char name[FILE_PATH_SIZE + 8];
    int fd = make_file(place->directory, place->base, name, sizeof name);
    int ret;

    if (fd < 0) {
        return bdrv_file_host_error(bs, "make a new file beside it");
    }
    ret = fill(bs, fd, &place->old, bytes, size);
    if (ret == 0 && renameat(place->directory, name, place->directory, place->base) < 0) {
        ret = bdrv_file_host_error(bs, "rename the new file");
    }
    if (ret < 0) {
        unlinkat(place->directory, name, 0);
    } else {
        take_over(bs, fd, place->directory, size);
    }
    close(fd);
    return ret;
}

/* path is resolved.  All is done in its directory by the file's name alone, so that
 * an exchange of the directories above leads nowhere. */
static int replace_in_directory(BlockDriverState *bs, const char *path, const struct stat *mine,
                                const void *bytes, size_t size)
{
    Place place = {.base = bdrv_path_basename(path), .old = *mine};
    struct stat named;
    int ret;

    place.directory = bdrv_file_open_directory_of(path);
    if (place.directory < 0) {
        return bdrv_file_host_error(bs, "open its directory");
    }
    if (fstatat(place.directory, place.base, &named, AT_SYMLINK_NOFOLLOW) < 0) {
        ret = bdrv_file_host_error(bs, "find the file by its name");
    } else if (named.st_dev != mine->st_dev || named.st_ino != mine->st_ino) {
        ret = bdrv_error(bs, -EBUSY, "the name means another file now");
    } else {
        ret = replace_at(bs, &place, bytes, size);
    }
    close(place.directory);
    return ret;
}

/* Through links to the file itself, which is still the one that is open. */
int bdrv_file_replace(BlockDriverState *bs, const void *bytes, size_t size)
{
    FileState *state = bdrv_state(bs);
    struct stat mine;
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
    ret = path ? replace_in_directory(bs, path, &mine, bytes, size)
               : bdrv_file_host_error(bs, "find the file by its name");
    free(path);
    return ret;
}
