/* SPDX-License-Identifier: MIT */
/*
 * hash.c - bdrv_hash(): a conversion into storage that hashes what it is given
 * and keeps nothing.
 *
 *     source ──▶ bdrv_convert() ──┬──▶ record.c, leaf by leaf     (sha256-tree)
 *                                 └──▶ storage, in order ──▶ SHA-256   (sha256)
 *
 * So everything that makes converting fast, and what it can read from, is the
 * same here.
 */
#include <string.h>

#include "block_int.h"

typedef struct Hashing {
    BlockDriverState *source;
    BdrvHashOptions asked;
    int64_t length;
    int64_t position; /* of sha256: as many bytes are in */
    Sha256 sha256;
} Hashing;

/* Of sha256, which takes its time for zeros too, though nobody reads them: a disk may have
 * been read to its end long before its hash is there. */
static int tell(void *opaque, int64_t done, int64_t total)
{
    const Hashing *h = opaque;

    (void)done, (void)total; /* what is read, not what is hashed */
    return h->asked.progress ? h->asked.progress(h->asked.progress_opaque, h->position, h->length)
                             : 0;
}

/* Zeros up to there; -ECANCELED, without a message, if the user has had enough. */
static int add_zeros(Hashing *h, int64_t end)
{
    enum { STEP = 16 * 1024 * 1024 };
    int ret = 0;

    while (ret == 0 && h->position < end) {
        const int64_t step = bdrv_min(end - h->position, STEP);

        bdrv_sha256_add_zeros(&h->sha256, step);
        h->position += step;
        ret = tell(h, 0, 0) ? -ECANCELED : 0;
    }
    return ret;
}

static int has_bytes(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    (void)opaque, (void)buf, (void)bytes, (void)offset;
    return -ENOTSUP; /* nobody reads what nobody keeps */
}

static int64_t has_length(void *opaque)
{
    return ((const Hashing *)opaque)->length;
}

/* What was left out before it is zero. */
static int take_in_order(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    Hashing *h = opaque;
    int ret = offset < h->position ? -ESPIPE : add_zeros(h, offset);

    if (ret == 0) {
        bdrv_sha256_add(&h->sha256, buf, bytes);
        h->position = offset + (int64_t)bytes;
    }
    return ret;
}

static int take_nothing(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    (void)opaque, (void)buf, (void)bytes, (void)offset;
    return 0; /* it went into the record */
}

/* BDRV_O_FORWARD: to be written in order. */
static int open_storage(Hashing *h, BlockDriverState **storage)
{
    const BdrvIo io = {
        .struct_size = sizeof io,
        .read = has_bytes,
        .write = h->asked.record ? take_nothing : take_in_order,
        .getlength = has_length,
    };
    const BdrvOpenOptions options = {
        .struct_size = sizeof options,
        .flags = BDRV_O_RDWR | BDRV_O_FORWARD,
    };

    return bdrv_open_io(storage, "(hash)", &io, h, "raw", &options);
}

static int stopped(const Hashing *h)
{
    return bdrv_error(h->source, -ECANCELED, "the hashing was stopped");
}

/* Everything goes into the storage, or the record. */
static int read_all(Hashing *h)
{
    const BdrvConvertOptions options = {
        .struct_size = sizeof options,
        .flags = BDRV_CONVERT_TARGET_IS_ZERO,
        .sparse_size = BDRV_LEAF_BYTES,
        .progress = h->asked.record ? h->asked.progress : tell,
        .progress_opaque = h->asked.record ? h->asked.progress_opaque : h,
        .threads = h->asked.threads,
        .record = h->asked.record,
    };
    BlockDriverState *storage;
    int ret = open_storage(h, &storage);

    if (ret < 0) {
        return ret;
    }
    ret = bdrv_convert(h->source, storage, &options);
    if (ret == -ECANCELED) {
        ret = stopped(h);
    }
    bdrv_error_keep();
    bdrv_close(storage); /* holds nothing */
    bdrv_error_restore();
    return ret;
}

static int hash_sha256(Hashing *h, uint8_t digest[BDRV_HASH_BYTES])
{
    int ret;

    if (h->asked.record) {
        return bdrv_error(NULL, -EINVAL, "a record is of the algorithm sha256-tree, not of sha256");
    }
    ret = bdrv_sha256_begin(&h->sha256);
    if (ret == 0) {
        ret = read_all(h);
    }
    if (ret == 0 && add_zeros(h, h->length) < 0) {
        ret = stopped(h);
    }
    if (ret == 0) {
        bdrv_sha256_end(&h->sha256, digest);
    }
    return ret;
}

static int hash_tree(Hashing *h, uint8_t digest[BDRV_HASH_BYTES])
{
    BdrvHashRecord *own = NULL;
    int ret = h->asked.record ? 0 : bdrv_hash_record_new(&own);

    if (own) {
        h->asked.record = own;
    }
    if (ret == 0) {
        ret = read_all(h);
    }
    if (ret == 0) {
        ret = bdrv_hash_record_digest(h->asked.record, digest);
    }
    bdrv_hash_record_free(own);
    return ret;
}

static int hash(Hashing *h, uint8_t digest[BDRV_HASH_BYTES], const BdrvHashOptions *options)
{
    const char *name;
    int ret = bdrv_copy_struct(&h->asked, sizeof h->asked, options, sizeof h->asked);

    if (ret < 0) {
        return ret;
    }
    h->length = bdrv_getlength(h->source);
    name = h->asked.algorithm ? h->asked.algorithm : "sha256";
    if (strcmp(name, "sha256") == 0) {
        return hash_sha256(h, digest);
    }
    if (strcmp(name, "sha256-tree") == 0) {
        return hash_tree(h, digest);
    }
    return bdrv_error(NULL, -EINVAL, "there is no hash '%s', only sha256 and sha256-tree", name);
}

int bdrv_hash(BlockDriverState *bs, uint8_t digest[BDRV_HASH_BYTES],
              const BdrvHashOptions *options)
{
    Hashing h = { .source = bs };
    int ret;

    bdrv_call_begin();
    ret = bs && digest ? hash(&h, digest, options) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot hash");
}
