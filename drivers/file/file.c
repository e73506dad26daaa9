/* SPDX-License-Identifier: MIT */
/*
 * file.c - files and block devices of the host: bytes in and out, durably.
 *
 * Errors are the host's own, with the range they happened at.  Interrupted and
 * short transfers are continued; a file that turns out shorter than its length
 * was is an error, not zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

_Static_assert(sizeof(off_t) == 8, "compile with _FILE_OFFSET_BITS=64");

enum {
    /* Hosts transfer less than 2 GiB at a time, or refuse more. */
    MAX_TRANSFER = 1 << 30,
    LARGE_WRITE = 1 << 20, /* see unit_of() */
    SMALL_WRITE = 256 * 1024
};

int bdrv_file_host_error(const BlockDriverState *bs, const char *action)
{
    int error = errno;

    return bdrv_error(bs, -error, "cannot %s: %s", action, strerror(error));
}

int bdrv_file_range_error(const BlockDriverState *bs, const char *action,
                          int64_t bytes, int64_t offset)
{
    int error = errno;

    return bdrv_error(bs, -error,
                      "cannot %s %" PRId64 " bytes at offset %" PRId64 ": %s",
                      action, bytes, offset, strerror(error));
}

int bdrv_file_wants_writing(const BlockDriverState *bs)
{
    return (bdrv_open_flags(bs) &
            (BDRV_O_RDWR | BDRV_O_CREATE | BDRV_O_TEMPORARY)) != 0;
}

/* ---------------------------------------------------------- open and close */

int bdrv_file_check_kind(const BlockDriverState *bs, mode_t mode)
{
    const char *kind = S_ISDIR(mode)    ? "a directory"
                       : S_ISFIFO(mode) ? "a FIFO (pipe)"
                       : S_ISSOCK(mode) ? "a socket"
                       : S_ISLNK(mode)  ? "a symbolic link"
                       : S_ISCHR(mode)  ? "a character device or terminal"
                                        : "of an unknown kind";

    if (S_ISREG(mode) || S_ISBLK(mode)) {
        return 0;
    }
    return bdrv_error(bs, S_ISDIR(mode) ? -EISDIR : -EINVAL,
                      "is %s; a regular file or a block device is wanted", kind);
}

int64_t bdrv_file_measure(const BlockDriverState *bs)
{
    const FileState *state = bdrv_state(bs);
    struct stat st;
    off_t end;

    if (!state->is_device) {
        return fstat(state->fd, &st) == 0 ? st.st_size : bdrv_file_host_error(bs, "stat");
    }
    end = lseek(state->fd, 0, SEEK_END);
    return end >= 0 ? end : bdrv_file_host_error(bs, "find the end of the device");
}

/* What the flags say of the page cache. */
static int choose_cache(BlockDriverState *bs)
{
    FileState *state = bdrv_state(bs);

    state->drops_behind = (bdrv_open_flags(bs) & BDRV_O_DROP_BEHIND) != 0;
    return bdrv_open_flags(bs) & BDRV_O_DIRECT ? bdrv_file_open_direct(bs) : 0;
}

int bdrv_file_start(BlockDriverState *bs, int fd)
{
    FileState *state = bdrv_state(bs);
    struct stat st;
    int64_t length = 0;
    int ret;

    ret = fstat(fd, &st) < 0 ? bdrv_file_host_error(bs, "stat")
                             : bdrv_file_check_kind(bs, st.st_mode);
    if (ret == 0) {
        ret = bdrv_file_lock(bs, fd);
    }
    if (ret == 0) {
        state->fd = fd;
        state->is_device = S_ISBLK(st.st_mode);
        if ((bdrv_open_flags(bs) & BDRV_O_CREATE) && !state->is_device) {
            state->name_is_new = 1;
            atomic_store(&state->to_be_emptied, st.st_size > 0);
        }
    }
    if (ret == 0 && !atomic_load(&state->to_be_emptied)) {
        length = bdrv_file_measure(bs);
        ret = length < 0 ? (int)length : 0;
    }
    if (ret == 0 && !(bdrv_open_flags(bs) & BDRV_O_TEMPORARY)) {
        ret = choose_cache(bs);
    }
    if (ret < 0) {
        close(fd);
        return ret;
    }
    pthread_mutex_init(&state->known.lock, NULL);
    pthread_mutex_init(&state->behind_lock, NULL);
    pthread_rwlock_init(&state->edges, NULL);
    bdrv_set_length(bs, length);
    return 0;
}

static int host_flush(int fd)
{
    int ret;

#ifdef F_FULLFSYNC /* macOS: fsync alone leaves data in the drive's cache */
    if (fcntl(fd, F_FULLFSYNC) == 0) {
        return 0;
    }
#endif
    do {
        ret = fdatasync(fd);
    } while (ret < 0 && errno == EINTR);
    return ret;
}

/* Durably empty before anything new is in it: of what was there, nothing may be found
 * after a power loss behind the header of what is to be there. */
int bdrv_file_begin_change(BlockDriverState *bs)
{
    FileState *state = bdrv_state(bs);

    if (!atomic_load_explicit(&state->to_be_emptied, memory_order_relaxed)) {
        return 0;
    }
    if (ftruncate(state->fd, 0) < 0 ||
        (!(bdrv_open_flags(bs) & BDRV_O_NO_FLUSH) && host_flush(state->fd) < 0)) {
        return bdrv_file_host_error(bs, "empty the file");
    }
    atomic_store(&state->to_be_emptied, 0);
    return 0;
}

/* With O_NONBLOCK a FIFO that has taken the file's place since it was looked at
 * does not hold us up; bdrv_file_start() refuses it.  For regular files the flag
 * means nothing. */
int bdrv_file_host_flags(const BlockDriverState *bs)
{
    return (bdrv_file_wants_writing(bs) ? O_RDWR : O_RDONLY) |
           (bdrv_open_flags(bs) & BDRV_O_CREATE ? O_CREAT : 0) |
           (bdrv_open_flags(bs) & BDRV_O_WRITETHROUGH ? O_DSYNC : 0) |
           O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

/* A file without a name in the directory that is the node's name. */
static int open_temporary(BlockDriverState *bs)
{
    const char *given = bdrv_filename(bs);
    const char *directory = given && given[0] != '\0' ? given : "/var/tmp";
    char path[FILE_PATH_SIZE];
    int fd = -1;

#ifdef O_TMPFILE
    fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
#endif
    if (fd < 0) { /* not every file system has it */
        int n = snprintf(path, sizeof path, "%s/bdrv-XXXXXX", directory);

        if (n < 0 || (size_t)n >= sizeof path) {
            return bdrv_error(bs, -ENAMETOOLONG, "directory name is too long");
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
        }
    }
    if (fd < 0) {
        int error = errno;

        return bdrv_error(NULL, -error, "cannot make a temporary file in '%s': %s",
                          directory, strerror(error));
    }
    return bdrv_file_start(bs, fd);
}

/* In its directory, which is remembered: what the file names is looked for there
 * and nowhere else.  A descriptor or -errno. */
static int open_in_directory(BlockDriverState *bs, const char *path, int flags)
{
    FileState *state = bdrv_state(bs);
    char *directory = bdrv_file_directory(path);
    int at = directory ? open(directory, FILE_SEARCH) : -1;
    struct stat st;
    int fd = -1;

    free(directory);
    if (at >= 0 && fstat(at, &st) == 0) {
        state->directory_device = st.st_dev;
        state->directory_inode = st.st_ino;
        fd = openat(at, bdrv_path_basename(path), flags & ~O_CREAT, 0666);
        if (fd < 0 && errno == ENOENT && (flags & O_CREAT)) {
            state->is_made = 1;
            fd = openat(at, bdrv_path_basename(path), flags, 0666);
        }
    }
    if (fd < 0) {
        fd = bdrv_file_host_error(bs, "open");
    }
    if (at >= 0) {
        close(at);
    }
    return fd;
}

static int file_open(BlockDriverState *bs, const BdrvOptions *options)
{
    const char *path = bdrv_filename(bs);
    int flags = bdrv_file_host_flags(bs);
    struct stat st;
    int fd;

    (void)options;
    if (bdrv_open_flags(bs) & BDRV_O_TEMPORARY) {
        return open_temporary(bs);
    }
    if (stat(path, &st) == 0) {
        int ret = bdrv_file_check_kind(bs, st.st_mode);

        if (ret < 0) {
            return ret;
        }
        flags &= S_ISBLK(st.st_mode) ? ~O_NONBLOCK : ~0;
    }
    fd = open_in_directory(bs, path, flags);
    return fd >= 0 ? bdrv_file_start(bs, fd) : fd;
}

static int file_close(BlockDriverState *bs)
{
    FileState *state = bdrv_state(bs);

    free(state->image_directory);
    pthread_mutex_destroy(&state->known.lock);
    pthread_mutex_destroy(&state->behind_lock);
    pthread_rwlock_destroy(&state->edges);
    if (state->is_direct) {
        close(state->direct_fd);
    }
    /* Not repeated on EINTR: Linux has closed it even then.  Nothing can be
     * lost here; what had to be durable was flushed. */
    close(state->fd);
    return 0;
}

/* -------------------------------------------------------------------- data */

/*
 * A transfer is cut into calls of the host at odd multiples of half of this, a power of two.
 *
 * Linux takes memory for what is written in pieces as large as the call and its alignment
 * allow, and what lies unused in large pieces is what a virtual machine has given back to
 * its host (free page reporting): the first touch of each waits for the host.  A conversion
 * that wrote aligned MiB took two to four times the time there.  Calls of 256 KiB at odd
 * multiples of 128 get pieces of 128, which are more often at hand, and cost a twentieth
 * where all memory is.
 */
static int64_t unit_of(FileTransfer way, int64_t bytes, int64_t offset)
{
    const int64_t before = -offset & (LARGE_WRITE - 1);

    return way == FILE_WRITE && bytes >= before + LARGE_WRITE ? SMALL_WRITE : MAX_TRANSFER;
}

int bdrv_file_move(BlockDriverState *bs, FileTransfer way, void *buf, size_t bytes,
                   int64_t offset)
{
    const char *action = way == FILE_READ ? "read" : "write";
    const int64_t unit = unit_of(way, (int64_t)bytes, offset);
    uint8_t *p = buf;
    size_t done = 0;

    while (done < bytes) {
        const int64_t at = offset + (int64_t)done;
        const int64_t to_cut = unit - (((at & (unit - 1)) + unit / 2) & (unit - 1));
        size_t want = (size_t)bdrv_min((int64_t)(bytes - done), to_cut);
        ssize_t n = bdrv_file_transfer(bdrv_state(bs), way, p + done, want, at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0 && way == FILE_READ) {
            return bdrv_error(bs, -EIO, "file ends at byte %" PRId64 ", %zu bytes "
                              "wanted at offset %" PRId64, at, bytes, offset);
        }
        if (n == 0) { /* a host that neither takes bytes nor says why */
            errno = ENOSPC;
        }
        if (n <= 0) {
            return bdrv_file_range_error(bs, action, (int64_t)want, at);
        }
        done += (size_t)n;
    }
    return 0;
}

static int move(BlockDriverState *bs, FileTransfer way, void *buf, size_t bytes, int64_t offset)
{
    const FileState *state = bdrv_state(bs);

    return state->is_direct ? bdrv_file_move_direct(bs, way, buf, bytes, offset)
                            : bdrv_file_move(bs, way, buf, bytes, offset);
}

static int file_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    return move(bs, FILE_READ, buf, bytes, offset);
}

/* The bytes are not changed: a pointer serves both ways. */
int bdrv_file_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    int ret = bdrv_file_begin_change(bs);

    return ret < 0 ? ret : move(bs, FILE_WRITE, (void *)(uintptr_t)buf, bytes, offset);
}

char *bdrv_file_directory(const char *path)
{
    const char *base = bdrv_path_basename(path);

    return base == path ? strdup(".") : strndup(path, (size_t)(base - path));
}

/* The content of a file is durable only together with the name that leads to
 * it.  An error is not worth failing for: some file systems cannot. */
void bdrv_file_flush_directory(const char *path)
{
    char *directory = bdrv_file_directory(path);
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(directory);
}

/* A host reports that it could not write something back once and then forgets
 * it, so a second flush would succeed with the data lost: not here. */
static int file_flush(BlockDriverState *bs)
{
    FileState *state = bdrv_state(bs);
    int earlier = atomic_load(&state->failed_flush);

    if (earlier != 0) {
        return bdrv_error(bs, -earlier, "an earlier flush failed (%s): what was "
                          "written before it may be lost", strerror(earlier));
    }
    if (host_flush(state->fd) < 0) {
        atomic_store(&state->failed_flush, errno);
        return bdrv_file_host_error(bs, "flush");
    }
    bdrv_file_drop_all(state);
    if (state->name_is_new) { /* flushes do not overlap: see the core */
        bdrv_file_flush_directory(bdrv_filename(bs));
        state->name_is_new = 0;
    }
    return 0;
}

/* -------------------------------------------------------- length and looks */

static int file_truncate(BlockDriverState *bs, int64_t length)
{
    FileState *state = bdrv_state(bs);
    int ret = bdrv_file_begin_change(bs);
    int64_t now = ret < 0 ? ret : bdrv_file_measure(bs);

    if (now < 0) {
        return (int)now;
    }
    if (state->is_device && now != length) {
        return bdrv_error(bs, -ENOTSUP, "is a device of %" PRId64 " bytes; its "
                          "length cannot become %" PRId64, now, length);
    }
    bdrv_file_forget_data(state);
    do {
        ret = now == length ? 0 : ftruncate(state->fd, length);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        return bdrv_file_host_error(bs, "set the file's length");
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int file_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    FileState *state = bdrv_state(bs);
    struct stat st;

    if (fstat(state->fd, &st) < 0) {
        return bdrv_file_host_error(bs, "stat");
    }
    /* st_blocks counts 512 bytes, whatever st_blksize says. */
    info->host_bytes = state->is_device ? info->length : (int64_t)st.st_blocks * 512;
    return 0;
}

static int file_identify(BlockDriverState *bs, BdrvIdentity *identity)
{
    FileState *state = bdrv_state(bs);
    struct stat st;

    if (fstat(state->fd, &st) < 0) {
        return bdrv_file_host_error(bs, "stat");
    }
    /* A device may have several nodes in /dev; 0 is nobody's inode number. */
    identity->device = (uint64_t)(state->is_device ? st.st_rdev : st.st_dev);
    identity->inode = state->is_device ? 0 : (uint64_t)st.st_ino;
    return 0;
}

/* Takes away what is called base in the directory if it still is this file.  Hosts remove
 * by name, not by descriptor: who may write in the directory can still put another file
 * there between these two calls, and has that one removed. */
static int remove_in(const BlockDriverState *bs, int directory, const char *base,
                     const struct stat *mine)
{
    struct stat named;

    /* Else the name is gone already, or means another file. */
    if (fstatat(directory, base, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        mine->st_dev == named.st_dev && mine->st_ino == named.st_ino &&
        unlinkat(directory, base, 0) < 0) {
        return bdrv_file_host_error(bs, "remove");
    }
    return 0;
}

/* A link stays; what it led to before there was such a file goes.  By its name in one
 * directory, so that an exchange of those above leads nowhere else between look and
 * removal. */
static int remove_name(const BlockDriverState *bs, const struct stat *mine)
{
    const FileState *state = bdrv_state(bs);
    char *path = state->is_made ? realpath(bdrv_filename(bs), NULL) : strdup(bdrv_filename(bs));
    char *name = path ? bdrv_file_directory(path) : NULL;
    int directory = name ? open(name, FILE_SEARCH) : -1;
    int ret = 0;

    if (directory >= 0) {
        ret = remove_in(bs, directory, bdrv_path_basename(path), mine);
        close(directory);
    } else if (!name && errno == ENOMEM) {
        ret = -ENOMEM;
    } else if (name && errno != ENOENT) { /* else the file is gone with it */
        ret = bdrv_file_host_error(bs, "open the directory to remove the file");
    }
    free(name);
    free(path);
    return ret;
}

/* Emptied first: the file may have other names, and half an image must not be
 * left behind under them. */
static int file_remove(BlockDriverState *bs)
{
    FileState *state = bdrv_state(bs);
    struct stat mine;

    if (state->is_device || atomic_load(&state->to_be_emptied)) {
        return 0; /* not ours to remove: it was there before, and is untouched */
    }
    if (ftruncate(state->fd, 0) < 0 || fstat(state->fd, &mine) < 0) {
        return bdrv_file_host_error(bs, "empty the file");
    }
    return remove_name(bs, &mine);
}

/* ------------------------------------------------------------------- table */

const BlockDriver bdrv_driver_file = {
    BDRV_DRIVER_HEAD,
    .name = "file",
    .description = "files and block devices of the host",
    .flags = BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(FileState),
    .open = file_open,
    .read = file_read,
    .write = bdrv_file_write,
    .close = file_close,
    .flush = file_flush,
    .is_allocated = bdrv_file_is_allocated,
    .write_zeroes = bdrv_file_write_zeroes,
    .discard = bdrv_file_discard,
    .truncate = file_truncate,
    .get_info = file_get_info,
    .open_other = bdrv_file_open_other,
    .identify = file_identify,
    .remove = file_remove,
    .replace = bdrv_file_replace,
    .allocate = bdrv_file_allocate,
    .share_range = bdrv_file_share_range,
    .copy_range = bdrv_file_copy_range,
};
