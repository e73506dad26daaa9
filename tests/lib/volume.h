/* SPDX-License-Identifier: MIT */
/*
 * volume.h - a directory in memory, for images of several files: it can be
 * copied as a whole, and each change of it can be watched and done again
 * elsewhere.
 *
 *     volume ── "disk.vmdk" ──────▶ file 0: bytes
 *            ── "disk-s001.vmdk" ─▶ file 1: bytes
 *
 * The protocol driver "volume" opens its files; what an image in one of them
 * names lies in the same volume.  As on a host, a file is not its name: it is
 * made, gets a name, and may lose it.  Unlike there, it keeps its number when
 * it is replaced as a whole.
 */
#ifndef TESTS_LIB_VOLUME_H
#define TESTS_LIB_VOLUME_H

#include <stddef.h>
#include <stdint.h>

#include "bdrv.h"

typedef struct Volume Volume;

/* Adds the driver "volume" to the table, once. */
void volume_register(void);

Volume *volume_new(void);
/* Watched by nobody. */
Volume *volume_copy(Volume *from);
/* No file of it may be open. */
void volume_free(Volume *volume);

/* A node on the file of that name, which must be there. */
BlockDriverState *volume_open(Volume *volume, const char *name, unsigned flags);
/* A writable node on the file of that name, made if it is not there. */
BlockDriverState *volume_create(Volume *volume, const char *name);

/* The name by which the driver "volume" opens the file, in path. */
void volume_path(const Volume *volume, const char *name, char *path, size_t size);

/* The bytes of a file, to be freed; NULL: there is none of that name. */
uint8_t *volume_bytes(Volume *volume, const char *name, int64_t *length);

/* ---------------------------------------------------------------- changes */

typedef enum VolumeChangeKind {
    VOLUME_WRITE,   /* bytes of data at offset; zeros and holes are written too */
    VOLUME_LENGTH,  /* offset is the new length */
    VOLUME_REPLACE, /* data is the whole content: durable, and all or nothing */
    VOLUME_CREATE,  /* the file gets a name; durable with its first flush */
    VOLUME_REMOVE,  /* the file has no name any more */
    VOLUME_FLUSH    /* what was changed in the file before is durable */
} VolumeChangeKind;

typedef struct VolumeChange {
    VolumeChangeKind kind;
    size_t file; /* its number */
    int64_t offset;
    int64_t bytes;
    uint8_t *data;
    char *name; /* VOLUME_CREATE */
} VolumeChange;

/* Called after each change, in their order; nothing in it may be kept. */
typedef void VolumeWatch(void *opaque, const VolumeChange *change);

/* watch NULL: nobody any more. */
void volume_watch(Volume *volume, VolumeWatch *watch, void *opaque);

/* Does the same here.  A file that is not there yet is made, without a name. */
void volume_apply(Volume *volume, const VolumeChange *change);

#endif
