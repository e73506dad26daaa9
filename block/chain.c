/* SPDX-License-Identifier: MIT */
/*
 * chain.c - images behind images: opening what an image names as its parent,
 * reading what shows through, and the throw-away overlay of BDRV_O_SNAPSHOT
 * with its way back, bdrv_commit().
 *
 *        snapshot ─backing─▶ child.vmdk ─backing─▶ parent.vmdk
 *            │ file              │ file                │ file
 *        temporary file     child's file          parent's file
 *
 * Parents are opened for reading, always.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

/* ----------------------------------------------------------------- opening */

/* The file of the parent: the one the user named for the image he opened, which
 * nothing confines, or the one the image names. */
static int open_backing_file(BlockDriverState *bs, const char *name, const char *own,
                             BlockDriverState **file)
{
    const BlockDriver *protocol;
    unsigned flags = bs->context->flags & BDRV_O_NO_LOCK;
    int ret;

    if (!own) {
        return bdrv_open_beside(file, bs->file, name, flags);
    }
    ret = bdrv_require_driver(&protocol, "file");
    return ret < 0 ? ret : bdrv_open_protocol(file, protocol, own, flags, bs->context);
}

static int open_backing_image(BlockDriverState *bs, BlockDriverState *file,
                              const char *format, BlockDriverState **backing)
{
    OpenContext *context = bdrv_context_for_backing(bs->context);
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
    int ret = open_backing_file(bs, name, own, &file);

    if (ret == 0) {
        ret = open_backing_image(bs, file, own ? bs->context->backing_format : format,
                                 &backing);
    }
    if (ret < 0) {
        return bdrv_error_prefix(bs, ret, "cannot open the backing image");
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
    if (ret < 0) {
        bdrv_close(file);
        bdrv_close(image);
        return ret;
    }
    (*bs)->file = file;
    (*bs)->backing = image;
    snprintf(options, sizeof options, "size=%lld", (long long)bdrv_getlength(image));
    return bdrv_node_open(bs, options);
}

/* ------------------------------------------------------------------ commit */

enum {
    COMMIT_CHUNK = 1024 * 1024
};

static int commit_run(BlockDriverState *bs, BlockDriverState *image, int64_t offset,
                      const BdrvExtent *run, void *buf)
{
    int64_t chunk;
    int ret = 0;

    if (run->state == BDRV_ZERO) {
        return bdrv_write_zeroes(image, offset, run->bytes);
    }
    for (int64_t done = 0; ret == 0 && done < run->bytes; done += chunk) {
        chunk = bdrv_min(run->bytes - done, COMMIT_CHUNK);
        ret = bdrv_pread(bs, buf, (size_t)chunk, offset + done);
        if (ret == 0) {
            ret = bdrv_pwrite(image, buf, (size_t)chunk, offset + done);
        }
    }
    return ret;
}

static int commit_all(BlockDriverState *bs, BlockDriverState *image)
{
    int64_t length = bdrv_getlength(bs), offset = 0;
    void *buf = malloc(COMMIT_CHUNK);
    BdrvExtent run;
    int ret = buf ? 0 : -ENOMEM;

    while (ret == 0 && offset < length) {
        ret = bdrv_is_allocated(bs, offset, length - offset, &run);
        if (ret == 0 && run.state != BDRV_UNALLOCATED) {
            ret = commit_run(bs, image, offset, &run, buf);
        }
        if (ret == 0) {
            offset += run.bytes;
        }
    }
    free(buf);
    return ret;
}

/* The image under the snapshot once more, for writing.  The handle that reads
 * it stays: what it may have cached speaks of clusters that the overlay now
 * hides, or that a commit does not move. */
static int open_for_commit(BlockDriverState *base, BlockDriverState **image)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof options,
        .flags = BDRV_O_RDWR | (base->flags & (BDRV_O_NO_LOCK | BDRV_O_NO_BACKING)),
        .options = base->context->options,
        .backing = base->context->backing,
        .backing_format = base->context->backing_format,
        .allow_paths = (const char *const *)base->context->allow_paths,
        .table_bytes = base->context->table_bytes,
        .log = base->context->log,
        .log_opaque = base->context->log_opaque,
    };

    if (!base->file) {
        *image = bdrv_node_ref(base); /* storage itself: it was opened writable */
        return 0;
    }
    if (bdrv_is_writable(base->file)) {
        return bdrv_open_node(image, base->file, base->driver->name, &options);
    }
    return bdrv_open(image, base->file->filename, base->driver->name, &options);
}

static int commit(BlockDriverState *bs)
{
    BlockDriverState *image;
    int ret, closed;

    if (strcmp(bs->driver->name, "overlay") != 0) {
        return bdrv_error(bs, -ENOTSUP, "only what was opened with BDRV_O_SNAPSHOT can be "
                          "committed");
    }
    ret = open_for_commit(bs->backing, &image);
    if (ret < 0) {
        return ret;
    }
    ret = commit_all(bs, image);
    closed = bdrv_close(image);
    return ret < 0 ? ret : closed;
}

int bdrv_commit(BlockDriverState *bs)
{
    int ret;

    bdrv_call_begin();
    ret = bs ? commit(bs) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot commit");
}
