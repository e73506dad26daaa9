/* SPDX-License-Identifier: MIT */
/*
 * ova.h - OVA files: a tar file that holds an OVF description of a machine, the
 * digests of its files, and its disks, which are read where they lie.
 *
 *     tar.c        the tar format, read and written
 *     ova-read.c   which disk in it is meant
 *     ova-write.c  a new one around a new disk
 */
#ifndef OVA_H
#define OVA_H

#include "tool.h"

/* ------------------------------------------------------------------ tar.c */

enum {
    TAR_BLOCK = 512, /* headers are one, content is padded to a multiple */
    TAR_NAME_MAX = 1024
};

typedef struct TarMember {
    char name[TAR_NAME_MAX]; /* without a leading "./" */
    int64_t offset;          /* of its content in the file */
    int64_t size;
    int is_sparse; /* not 0: its content is not there one for one */
} TarMember;

/* Looks at one regular file of those in a tar; returns 0 to go on, anything else to
 * stop. */
typedef int TarFn(void *opaque, const TarMember *member);

/* 1: the file, opened as raw, begins as a tar does.  0: not, or it is unreadable. */
int tar_begins(BlockDriverState *file);

/* Calls look for each in turn.  What that returned if it was not 0; 0: all were
 * looked at; -1: the tar makes no sense, or cannot be read, and the message is
 * printed. */
int tar_walk(BlockDriverState *file, TarFn *look, void *opaque);

/* Fills in the header of a file whose name has at most 100 bytes, of size bytes,
 * modified at time (seconds since 1970). */
void tar_header(uint8_t block[TAR_BLOCK], const char *name, int64_t size, int64_t time);

/* ------------------------------------------------------------- ova-read.c */

/* Is the file called as OVA files are? */
int ova_is_name(const char *filename);

/* Is it a disk in an OVA: FILE.ova, which has one, or FILE:NAME, which need not be
 * called .ova?  1: *disk is opened to be read, as raw: the bytes of the image;
 * 0: it is not; -1: it is, but cannot be had, and the message is printed.  *disk is
 * NULL but for 1.  format (NULL: not named): as raw, FILE.ova is the tar itself. */
int ova_open(BlockDriverState **disk, const char *filename, const char *format, unsigned flags);

/* ------------------------------------------------------------ ova-write.c
 *
 *     ova_begin ▶ ova_storage ▶ create, fill and close the disk there ▶ close the
 *     storage ▶ ova_finish ▶ ova_free
 *
 * All but the last two return 0 or less, with the library's message. */

typedef struct Ova Ova;

typedef struct OvaPlan {
    const char *path;
    int64_t time;   /* that its files have, in seconds since 1970 */
    unsigned flags; /* how the file is written: BDRV_O_NO_FLUSH, and the cache modes */
} OvaPlan;

/* *ova is to be freed in any case.  -ENOTSUP: this build knows no SHA-256. */
int ova_begin(Ova **ova, const OvaPlan *plan);

/* Where the disk is to be created, known by the name that it has in the OVA: that
 * is bdrv_file() of *storage. */
int ova_storage(Ova *ova, BlockDriverState **storage);

/* The disk is whole: writes all else, and closes the file, also when it fails.  hash:
 * for the disk's digest. */
int ova_finish(Ova *ova, BdrvHashOptions *hash);

/* How the disk is opened afterwards: lives until the next call. */
const char *ova_disk(Ova *ova);

void ova_free(Ova *ova);

#endif
