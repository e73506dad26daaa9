/* SPDX-License-Identifier: MIT */
/*
 * chain.c - images behind images: opening what an image names as its parent,
 * reading what shows through, and the throw-away overlay of BDRV_O_SNAPSHOT.
 * What moves content between the images of a chain is in rebase.c.
 *
 *        snapshot ─backing─▶ child.vmdk ─backing─▶ parent.vmdk
 *            │ file              │ file                │ file
 *        temporary file     child's file          parent's file
 *
 * Parents are opened for reading, always; and if a child is open for writing, so that
 * nobody else can write them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

/* ----------------------------------------------------------------- opening */

unsigned bdrv_backing_flags(const BlockDriverState *bs)
{
    const unsigned inherited =
        BDRV_O_NO_LOCK | BDRV_O_DIRECT | BDRV_O_DROP_BEHIND | BDRV_O_UNCHANGED;

    return (bs->flags & inherited) | (bs->flags & BDRV_O_RDWR ? (unsigned)BDRV_O_UNCHANGED : 0);
}

/* The file of the parent: the one the user named for the image he opened, which
 * nothing confines, or the one the image names. */
static int open_backing_file(BlockDriverState *bs, const char *name, const char *own,
                             unsigned flags, BlockDriverState **file)
{
    const BlockDriver *protocol;
    int ret;

    if (!own) {
        return bdrv_open_beside(file, bs->file, name, flags);
    }
    ret = bdrv_require_driver(&protocol, "file");
    return ret < 0 ? ret : bdrv_open_protocol(file, protocol, own, flags, bs->context);
}

/* The writer that keeps us from it may be ourselves. */
static int refuse_busy(BlockDriverState *bs, const char *name, const char *own)
{
    BlockDriverState *file;
    int ret;

    bdrv_error_keep();
    ret = open_backing_file(bs, name, own, BDRV_O_NO_LOCK, &file);
    bdrv_error_restore();
    if (ret == 0) {
        ret = bdrv_refuse_loop(file, bs);
        bdrv_close(file);
    }
    return ret == -ELOOP ? ret : -EBUSY;
}

static int open_backing_image(BlockDriverState *bs, BlockDriverState *file,
                              const char *format, BlockDriverState **backing)
{
    OpenContext *context = bdrv_context_for_backing(bs->context, bdrv_backing_flags(bs));
    int ret;

    if (!context) {
        bdrv_close(file);
        return -ENOMEM;
    }
    ret = bdrv_open_format(backing, file, format, context->flags, context, bs);
    bdrv_context_unref(context);
    /* -ENOENT would say that this parent is missing; it is its parent. */
    return ret == -ENOENT ? -EINVAL : ret;
}

static int open_backing(BlockDriverState *bs, const char *name, const char *format,
                        BdrvAcceptFn *accept, void *opaque)
{
    const char *own = bs->opener ? NULL : bs->context->backing;
    BlockDriverState *file, *backing = NULL;
    int ret = open_backing_file(bs, name, own, bdrv_backing_flags(bs), &file);

    if (ret == -EBUSY) {
        ret = refuse_busy(bs, name, own);
    }
    if (ret == 0) {
        ret = open_backing_image(bs, file, own ? bs->context->backing_format : format,
                                 &backing);
    }
    if (ret < 0) {
        /* Said once: a long chain would bury the cause. */
        return bs->opener ? ret : bdrv_error_prefix(bs, ret, "cannot open the backing image");
    }
    ret = accept ? accept(opaque, backing) : 0;
    if (ret < 0) {
        bdrv_close(backing);
        return ret;
    }
    bs->backing = backing;
    return 0;
}

int bdrv_open_backing(BlockDriverState *bs, const char *name, const char *format,
                      BdrvAcceptFn *accept, void *opaque)
{
    int ret = 0;

    bdrv_call_begin();
    if (!(bs->flags & BDRV_O_NO_BACKING)) {
        ret = open_backing(bs, name, format, accept, opaque);
    }
    return bdrv_call_end(bs, ret, "cannot open the backing image");
}

/* ----------------------------------------------------------------- reading */

int bdrv_read_backing(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    int64_t there = 0;

    if (bs->backing && offset < bdrv_getlength(bs->backing)) {
        there = bdrv_min((int64_t)bytes, bdrv_getlength(bs->backing) - offset);
    }
    memset((uint8_t *)buf + there, 0, bytes - (size_t)there);
    return there > 0 ? bdrv_pread(bs->backing, buf, (size_t)there, offset) : 0;
}

/* ------------------------------------------------------------------- files */

static int is_same(BlockDriverState *node, void *opaque)
{
    const BdrvIdentity *wanted = opaque;
    BdrvIdentity identity;

    return node->driver->identify(node, &identity) == 0 &&
           bdrv_is_same_identity(&identity, wanted);
}

int bdrv_chain_has(BlockDriverState *bs, const BdrvIdentity *identity)
{
    BdrvIdentity wanted = *identity;

    for (; bs; bs = bs->backing) {
        BlockDriverState *storage = bs;

        while (storage->file) { /* an image may lie in another one */
            storage = storage->file;
        }
        if (is_same(storage, &wanted) || bdrv_children_each(bs, is_same, &wanted)) {
            return 1;
        }
    }
    return 0;
}

static int uses_file(BlockDriverState *bs, const char *filename)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_NO_LOCK};
    BlockDriverState *file;
    BdrvIdentity identity;
    int ret = bdrv_open(&file, filename, "file", &options);

    if (ret < 0) {
        return ret == -ENOENT ? 0 : ret;
    }
    ret = file->driver->identify(file, &identity);
    bdrv_close(file);
    return ret < 0 ? ret : bdrv_chain_has(bs, &identity);
}

int bdrv_uses_file(BlockDriverState *bs, const char *filename)
{
    int ret;

    bdrv_call_begin();
    ret = bs && filename ? uses_file(bs, filename) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot compare files");
}

/* ---------------------------------------------------------------- snapshot */

/* The overlay over *bs, which it takes over; on failure everything is closed. */
int bdrv_open_snapshot(BlockDriverState **bs, OpenContext *context)
{
    const unsigned flags = (context->flags & ~(unsigned)BDRV_O_SNAPSHOT) | BDRV_O_RDWR;
    const char *directory = context->snapshot_directory ? context->snapshot_directory : "";
    const BlockDriver *protocol, *overlay;
    BlockDriverState *image = *bs, *file = NULL;
    char options[32];
    int ret;

    *bs = NULL;
    ret = bdrv_require_driver(&protocol, "file");
    if (ret == 0) {
        ret = bdrv_require_driver(&overlay, "overlay");
    }
    if (ret == 0) {
        ret = bdrv_open_protocol(&file, protocol, directory, flags | BDRV_O_TEMPORARY,
                                 context);
    }
    if (ret == 0) {
        ret = bdrv_node_new(bs, overlay, image->filename, flags, context);
    }
    if (ret != 0) {
        bdrv_close(file);
        bdrv_close(image);
        return ret;
    }
    (*bs)->file = file;
    (*bs)->backing = image;
    snprintf(options, sizeof options, "size=%lld", (long long)bdrv_getlength(image));
    return bdrv_node_open(bs, options);
}
