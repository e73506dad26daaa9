/* SPDX-License-Identifier: MIT */
/*
 * bdrv-hash.h - hashes of what a disk holds.  Part of the manual that bdrv.h is, whose
 * rules hold here too; it includes this header.
 *
 * A hash of the guest's disk, which is the same whatever image it is stored in.
 * Two algorithms:
 *
 * sha256       SHA-256 of all bytes of the disk: what sha256sum says of the same
 *              disk as a raw file.  Zeros are not read, but have to be hashed.
 *
 * sha256-tree  Costs nothing for what is empty, and uses all processors.  The disk
 *              is thought to be continued with zeros to 2^64 bytes.
 *                level 0   the SHA-256 of each 64 KiB of it
 *                level n   the SHA-256 of each 16 digests of level n - 1, in
 *                          their order, one behind the other (512 bytes)
 *                level 12  is one digest, d
 *              The hash is the SHA-256 of d followed by the length of the disk in
 *              bytes, as 8 bytes, the lowest first.  (What is all zero has one
 *              digest for each level, so that few have to be computed.)
 *
 * A build without the library nettle has neither: -ENOTSUP.
 */
#ifndef BDRV_HASH_H
#define BDRV_HASH_H

#include "bdrv.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BDRV_HASH_BYTES = 32 };

/* The digests of one disk in the order of their places, as one sha256-tree: as
 * many as tell two disks apart to 64 KiB of 4 GiB, 1 MiB of 64 GiB, 16 MiB of
 * 1 TiB, and so on, which takes at most 2 MiB of memory.  Filled by
 * bdrv_convert() and bdrv_hash(), each time anew.  Of one thread at a time. */
typedef struct BdrvHashRecord BdrvHashRecord;

/* *record is NULL after a failure, and is to be freed after success.  Freeing
 * NULL is allowed. */
int bdrv_hash_record_new(BdrvHashRecord **record);
void bdrv_hash_record_free(BdrvHashRecord *record);

/* The hash sha256-tree of what was recorded.  -EINVAL: nothing was, or what
 * would have filled it has failed. */
int bdrv_hash_record_digest(const BdrvHashRecord *record, uint8_t digest[BDRV_HASH_BYTES]);

/* 0: both are of the same content; 1: *offset and *bytes are the first stretch
 * in which they differ.  -EINVAL: of different lengths, or as above. */
int bdrv_hash_record_compare(const BdrvHashRecord *a, const BdrvHashRecord *b, int64_t *offset,
                             int64_t *bytes);

typedef struct BdrvHashOptions {
    size_t struct_size;
    const char *algorithm;    /* NULL: "sha256" */
    BdrvProgressFn *progress; /* as in BdrvConvertOptions */
    void *progress_opaque;
    unsigned threads;         /* the same.  The hash is the same, too */
    BdrvHashRecord *record;   /* filled too; sha256-tree only.  NULL: none */
} BdrvHashOptions;

/* Hashes what a reader of the disk sees, through the backing chain.  options
 * NULL: sha256.  -EINVAL: an unknown algorithm; -ECANCELED: stopped by the
 * progress callback; else as a read. */
int bdrv_hash(BlockDriverState *bs, uint8_t digest[BDRV_HASH_BYTES],
              const BdrvHashOptions *options);

#ifdef __cplusplus
}
#endif

#endif
