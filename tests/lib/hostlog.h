/* SPDX-License-Identifier: MIT */
/*
 * hostlog.h - what a program did to the files of a directory, recorded by
 * tests/host/hostcalls.c, and played back as a host might have kept it when the
 * power went.  powercut.h does the same one level higher, for one node.
 *
 * The rules of the host that loses power:
 *   - what was written to a file before a sync of that file that returned is there;
 *     of the sectors written since, and of the changes of its length, each is there
 *     or not, on its own;
 *   - what was done to names before a sync of the directory is there; of what was
 *     done since, a first part is there and the rest is not: host file systems keep
 *     the order of such changes (a journal), but not their order to that of data;
 *   - a sector may be half there, if the cut goes through its write.
 */
#ifndef TESTS_LIB_HOSTLOG_H
#define TESTS_LIB_HOSTLOG_H

#include <stddef.h>
#include <stdint.h>

typedef enum HostKind {
    HOST_CREATE, /* name: an empty file of that inode */
    HOST_WRITE,
    HOST_TRUNCATE, /* to offset bytes */
    HOST_ZERO,     /* a hole */
    HOST_ALLOCATE,
    HOST_SYNC,
    HOST_SYNC_DIRECTORY,
    HOST_RENAME, /* name to other */
    HOST_UNLINK,
    HOST_MKDIR,
    HOST_RMDIR
} HostKind;

/* A record in the log: this, the name and the other name with their NULs (sizes 0:
 * none), then the bytes of a write.  Names are relative to the directory; "" is it
 * itself. */
typedef struct HostRecord {
    uint32_t kind; /* a HostKind */
    uint32_t name_size;
    uint32_t other_size;
    uint32_t keeps_size; /* HOST_ALLOCATE, HOST_ZERO: the file does not grow */
    uint64_t inode;
    int64_t offset;
    int64_t bytes;
} HostRecord;

typedef struct HostLog HostLog;

/* The state of a directory (plain files, no subdirectories) before a program runs in it.
 * Add the program's records with hostlog_load(), then replay. */
HostLog *hostlog_new(const char *directory);
void hostlog_load(HostLog *log, const char *path);
void hostlog_free(HostLog *log);

/* How many records, and so where the power may go: 0 to count. */
size_t hostlog_count(const HostLog *log);

typedef enum HostAccident {
    HOST_LOSE_NOTHING,   /* all before the cut arrived */
    HOST_LOSE_UNSYNCED,  /* only what had to */
    HOST_LOSE_BY_CHANCE, /* what had to, and of the rest what *seed decides */
    HOST_TEAR_LAST       /* all, but of the last write only a part */
} HostAccident;

/* Makes in the empty directory `into` what the accident leaves. */
void hostlog_replay(const HostLog *log, size_t cut, HostAccident accident,
                    uint32_t *seed, const char *into);

/* "write of 512 bytes at 1024 to disk.vmdk": the last record before the cut, for
 * messages.  Lives until the next call. */
const char *hostlog_describe(const HostLog *log, size_t cut);

#endif
