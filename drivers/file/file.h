/* SPDX-License-Identifier: MIT */
/*
 * file.h - what the parts of the file driver share.
 *
 * This folder is the only place of the library that sees a path or a
 * descriptor.  It knows no format.
 *
 *   file.c    open, close, read, write, flush, length; the table
 *   hole.c    finding holes and making them; space set aside
 *   replace.c another content in one step
 *   copy.c    bytes of another file, without reading them
 *   cache.c   past the page cache, or through it without staying there
 *   lock.c    who else may have the file open
 *   other.c   which other files an image may name, and how they are opened
 */
#ifndef DRIVERS_FILE_H
#define DRIVERS_FILE_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "bdrv-driver.h"

enum {
    FILE_PATH_SIZE = 4096 /* Linux's own limit for one system call */
};

/* The data that a look for holes found last: asked about a part of it, as sequential
 * readers do, we need not ask the host.  At worst it is data no more, and is read as
 * the zeros that it is; a hole is never remembered. */
typedef struct KnownData {
    pthread_mutex_t lock;
    int64_t start, end; /* end -1: data begins at start, it is not known how much */
} KnownData;

typedef enum FileTransfer { FILE_READ, FILE_WRITE } FileTransfer;

typedef struct FileRange {
    off_t offset, bytes;
} FileRange;

typedef struct FileState {
    int fd;
    int is_device;
    int name_is_new; /* made by this open; the name is not yet durable */
    int is_made;     /* there was no such file before; where the user named it by a link, the
                      * link led nowhere */
    /* Opened to be replaced, and not yet touched: what is in it goes at the first
     * modification, so that a creation that is refused destroys nothing. */
    atomic_int to_be_emptied;
    /* The directory of the image that the user opened, when this is another
     * file that the image names; NULL: the one this file lies in. */
    char *image_directory;
    /* Of a file that the user named: the directory in which it was found.  Which
     * one the name leads to may change while we look. */
    dev_t directory_device;
    ino_t directory_inode;
    KnownData known; /* hole.c's */
    int drops_behind; /* BDRV_O_DROP_BEHIND */
    pthread_mutex_t behind_lock;
    FileRange behind; /* written, not yet dropped */
    int is_direct;    /* BDRV_O_DIRECT: direct_fd is open */
    int direct_fd;
    pthread_rwlock_t edges; /* see cache.c */
    atomic_int cannot_uncached; /* the host has no way to drop at once */
    atomic_int cannot_punch; /* the host has said so: not asked again */
    atomic_int cannot_zero;  /* the same for FALLOC_FL_ZERO_RANGE */
    atomic_int cannot_share; /* the same for FICLONERANGE */
    atomic_int failed_flush; /* errno of the first flush that failed; 0: none */
} FileState;

/* ---- file.c ---- */

extern const BlockDriver bdrv_driver_file;

/* Leaves "cannot <action>: <what the host says>", from errno; returns -errno. */
int bdrv_file_host_error(const BlockDriverState *bs, const char *action);

/* The same with the range concerned. */
int bdrv_file_range_error(const BlockDriverState *bs, const char *action,
                          int64_t bytes, int64_t offset);

/* Refuses what cannot hold a disk: everything but regular files and block
 * devices.  Called before opening too, because opening a FIFO waits, and
 * opening some devices does things. */
int bdrv_file_check_kind(const BlockDriverState *bs, mode_t mode);

int bdrv_file_wants_writing(const BlockDriverState *bs);

/* What open(2) shall be called with for this node. */
int bdrv_file_host_flags(const BlockDriverState *bs);

/* To be called before anything in the file is modified. */
int bdrv_file_begin_change(BlockDriverState *bs);

/* Locks and measures an open file, which the node then
 * is.  Takes over fd, also when it fails. */
int bdrv_file_start(BlockDriverState *bs, int fd);

/* How a directory is opened to find something in it, which takes no more than
 * the right to search it, where the host knows the difference. */
#if defined(O_PATH)
enum { FILE_SEARCH = O_PATH | O_DIRECTORY | O_CLOEXEC };
#elif defined(O_SEARCH)
enum { FILE_SEARCH = O_SEARCH | O_DIRECTORY | O_CLOEXEC };
#else
enum { FILE_SEARCH = O_RDONLY | O_DIRECTORY | O_CLOEXEC };
#endif

/* The directory part of a path as one can open it ("." if there is none), to be
 * freed; NULL: no memory. */
char *bdrv_file_directory(const char *path);

/* The length now, or -errno. */
int64_t bdrv_file_measure(const BlockDriverState *bs);

int bdrv_file_write(BlockDriverState *bs, const void *buf, size_t bytes,
                    int64_t offset);

/* All bytes through the page cache, or an error. */
int bdrv_file_move(BlockDriverState *bs, FileTransfer way, void *buf, size_t bytes,
                   int64_t offset);

/* Makes a change of names in the directory of path durable, where the host can. */
void bdrv_file_flush_directory(const char *path);

/* ---- hole.c ---- */

int bdrv_file_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                           BdrvExtent *extent);
int bdrv_file_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes);
int bdrv_file_discard(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* To be called when holes are made, or the file is cut: what was known is not so
 * any more. */
void bdrv_file_forget_data(FileState *state);

int bdrv_file_allocate(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* ---- cache.c ---- */

/* pread(2) or pwrite(2) through the page cache, as the node shall use that. */
ssize_t bdrv_file_transfer(FileState *state, FileTransfer way, void *buf, size_t bytes,
                           off_t offset);

/* The same for what the host has copied from one file to the other. */
void bdrv_file_drop_copied(const FileState *from, off_t from_offset, FileState *state,
                           off_t offset, off_t bytes);

/* To be called when all is durable: nothing of the file stays in the page cache, if so
 * asked. */
void bdrv_file_drop_all(const FileState *state);

/* Opens the file a second time, past the page cache.  -ENOTSUP: cannot be. */
int bdrv_file_open_direct(BlockDriverState *bs);

/* All bytes past the page cache, as far as they are whole blocks. */
int bdrv_file_move_direct(BlockDriverState *bs, FileTransfer way, void *buf, size_t bytes,
                          int64_t offset);

/* ---- copy.c ---- */

int bdrv_file_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                          int64_t from_offset, int64_t bytes);
int bdrv_file_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                         int64_t from_offset, int64_t bytes);

/* ---- replace.c ---- */

int bdrv_file_replace(BlockDriverState *bs, const void *bytes, size_t size);

/* ---- lock.c ---- */

/* Takes the locks that the node's flags ask for, until fd is closed.  -EBUSY:
 * somebody else is in the way.  A file system without locks is no error. */
int bdrv_file_lock(BlockDriverState *bs, int fd);

/* ---- other.c ---- */

/* The directory of a resolved path, to find something in it, by way of no link.  A
 * descriptor, or -1 and errno; ELOOP, ENOTDIR: the path is not resolved any more. */
int bdrv_file_open_directory_of(const char *path);

int bdrv_file_open_other(BlockDriverState *bs, BlockDriverState *from,
                         const char *name);

#endif
