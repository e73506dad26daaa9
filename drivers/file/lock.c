/* SPDX-License-Identifier: MIT */
/*
 * lock.c - who else may have the file open.
 *
 * One byte of the file stands for each thing a program does (from 100 on) and
 * for each thing it does not want others to do (from 200 on); whoever does it
 * holds the byte with a shared lock.  These are the places QEMU uses, so that
 * the two see each other:
 *
 *                       reads  writes  resizes
 *     I do it            100    101     103
 *     others must not    200    201     203
 *
 *     our reader holds   100
 *     our writer holds   100    101     103     and 201, 203
 *     BDRV_O_UNCHANGED   100                    and 201, 203
 *
 * Locks are taken first and others' looked for afterwards: of two that open at
 * the same time both may be refused, but never both let in.  The locks belong
 * to the open file description (OFD), so two handles of one process are two
 * parties, and closing one does not drop the other's.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "file.h"

enum {
    PLACE_DOES = 100,
    PLACE_FORBIDS = 200,
    CAN_READ = 1 << 0,
    CAN_WRITE = 1 << 1,
    CAN_RESIZE = 1 << 3
};

#ifdef F_OFD_SETLK

static const unsigned lockable[] = {0, 1, 3}; /* the bits of CAN_… */

/* pid: of the holder, if the host tells: > 0 of classical locks, not of ours. */
static int lock_error(const BlockDriverState *bs, const char *conflict, pid_t pid)
{
    const char *way_out = "close it there, or read it without locks (BDRV_O_NO_LOCK, tools: -U)";

    if (bdrv_file_wants_writing(bs)) {
        way_out = "close it there (without locks, BDRV_O_NO_LOCK, two writers destroy it)";
    } else if (bdrv_open_flags(bs) & BDRV_O_UNCHANGED) {
        way_out = "close it there: what is written to it shows through";
    }

    return pid > 0 ? bdrv_error(bs, -EBUSY, "%s, process %ld; %s", conflict, (long)pid, way_out)
                   : bdrv_error(bs, -EBUSY, "%s; %s", conflict, way_out);
}

/* Holds a byte for each permission. */
static int take_locks(BlockDriverState *bs, int fd, off_t base, unsigned permissions)
{
    for (size_t i = 0; i < sizeof lockable / sizeof lockable[0]; i++) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET,
                             .l_start = base + lockable[i], .l_len = 1};

        if ((permissions & 1u << lockable[i]) == 0 ||
            fcntl(fd, F_OFD_SETLK, &lock) == 0) {
            continue;
        }
        if (errno != EAGAIN && errno != EACCES) {
            return -errno;
        }
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0) {
            lock.l_pid = 0; /* it is only for the message */
        }
        return lock_error(bs, "is locked by another program", lock.l_pid);
    }
    return 0;
}

/* Whether somebody else holds a byte for one of the permissions. */
static int find_locks(BlockDriverState *bs, int fd, off_t base,
                      unsigned permissions, const char *conflict)
{
    for (size_t i = 0; i < sizeof lockable / sizeof lockable[0]; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET,
                             .l_start = base + lockable[i], .l_len = 1};

        if ((permissions & 1u << lockable[i]) == 0) {
            continue;
        }
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0) {
            return -errno;
        }
        if (lock.l_type != F_UNLCK) {
            return lock_error(bs, conflict, lock.l_pid);
        }
    }
    return 0;
}

int bdrv_file_lock(BlockDriverState *bs, int fd)
{
    unsigned does = CAN_READ, forbids = 0;
    int ret;

    if (bdrv_open_flags(bs) & (BDRV_O_NO_LOCK | BDRV_O_TEMPORARY)) {
        return 0;
    }
    if (bdrv_file_wants_writing(bs)) {
        does |= CAN_WRITE | CAN_RESIZE;
    }
    if (bdrv_file_wants_writing(bs) || bdrv_open_flags(bs) & BDRV_O_UNCHANGED) {
        forbids = CAN_WRITE | CAN_RESIZE;
    }
    ret = take_locks(bs, fd, PLACE_DOES, does);
    if (ret == 0) {
        ret = take_locks(bs, fd, PLACE_FORBIDS, forbids);
    }
    if (ret == 0) {
        ret = find_locks(bs, fd, PLACE_DOES, forbids, "is in use by another writer");
    }
    if (ret == 0) {
        ret = find_locks(bs, fd, PLACE_FORBIDS, does,
                         "is in use by a program that wants it unchanged, perhaps as a parent");
    }
    /* NOLINTNEXTLINE(misc-redundant-expression): the same number on Linux, not everywhere */
    if (ret == -ENOLCK || ret == -EINVAL || ret == -ENOTSUP || ret == -EOPNOTSUPP ||
        ret == -ENOSYS) {
        bdrv_log(bs, "the host's file system has no locks: nothing keeps a "
                 "second writer out");
        return 0;
    }
    return ret == 0 || ret == -EBUSY
               ? ret : bdrv_error(bs, ret, "cannot lock: %s", strerror(-ret));
}

#else

int bdrv_file_lock(BlockDriverState *bs, int fd)
{
    /* Classical POSIX locks would be lost as soon as any handle of the process
     * is closed: worse than none. */
    (void)bs, (void)fd;
    return 0;
}

#endif
