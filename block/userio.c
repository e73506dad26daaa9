/* SPDX-License-Identifier: MIT */
/*
 * userio.c - the protocol driver behind bdrv_open_io(): storage that consists
 * of the user's callbacks.  Adapts them one to one, and lets a format on top
 * open its other files through the same callbacks.  Not in the driver table:
 * it cannot be opened by name.
 */
#include <string.h>

#include "block_int.h"

typedef struct UserIo {
    BdrvIo io;
    void *opaque;
    int owns_opaque; /* close it */
} UserIo;

static int userio_attach(BlockDriverState *bs, const BdrvIo *io, void *opaque)
{
    UserIo *s = bdrv_state(bs);
    int64_t length;
    int ret = bdrv_copy_struct(&s->io, sizeof s->io, io, sizeof s->io);

    if (ret < 0) {
        return ret;
    }
    s->opaque = opaque;
    if (!s->io.read || !s->io.getlength) {
        return bdrv_error(bs, -EINVAL, "BdrvIo.%s is missing",
                          s->io.read ? "getlength" : "read");
    }
    if (bdrv_is_writable(bs) && !s->io.write) {
        return bdrv_error(bs, -EROFS, "the storage has no write callback");
    }
    length = s->io.getlength(opaque);
    if (length < 0) {
        return bdrv_error(bs, (int)length, "the getlength callback failed: %s",
                          strerror((int)-length));
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int userio_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    return bdrv_error(bs, -EINVAL, "caller-supplied storage is opened by bdrv_open_io()");
}

/* The text for a callback that failed: it cannot leave one itself. */
static int failed(BlockDriverState *bs, int ret, const char *what, size_t bytes, int64_t offset)
{
    if (ret == -ENODATA) {
        return bdrv_error(bs, ret, "it ends before all of the %zu bytes at offset %lld", bytes,
                          (long long)offset);
    }
    return ret < 0 ? bdrv_error(bs, ret, "the %s callback failed for %zu bytes at offset "
                                "%lld: %s", what, bytes, (long long)offset, strerror(-ret))
                   : 0;
}

static int userio_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    const UserIo *s = bdrv_state(bs);

    return failed(bs, s->io.read(s->opaque, buf, bytes, offset), "read", bytes, offset);
}

static int userio_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    const UserIo *s = bdrv_state(bs);

    if (!s->io.truncate && offset + (int64_t)bytes > bdrv_getlength(bs)) {
        return bdrv_error(bs, -ENOSPC, "the storage is of a fixed size: it has no truncate "
                          "callback");
    }
    return failed(bs, s->io.write(s->opaque, buf, bytes, offset), "write", bytes, offset);
}

static int userio_close(BlockDriverState *bs)
{
    const UserIo *s = bdrv_state(bs);

    if (s->owns_opaque && s->io.close) {
        s->io.close(s->opaque);
    }
    return 0;
}

static int userio_flush(BlockDriverState *bs)
{
    const UserIo *s = bdrv_state(bs);
    int ret = s->io.flush ? s->io.flush(s->opaque) : 0;

    return ret < 0 ? bdrv_error(bs, ret, "the flush callback failed: %s", strerror(-ret)) : 0;
}

static int userio_truncate(BlockDriverState *bs, int64_t length)
{
    const UserIo *s = bdrv_state(bs);
    int ret;

    if (!s->io.truncate) {
        return bdrv_error(bs, -ENOTSUP, "the storage is of a fixed size: it has no truncate "
                          "callback");
    }
    ret = s->io.truncate(s->opaque, length);
    if (ret < 0) {
        return bdrv_error(bs, ret, "the truncate callback failed for length %lld: %s",
                          (long long)length, strerror(-ret));
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int userio_open_other(BlockDriverState *bs, BlockDriverState *from, const char *name)
{
    const UserIo *parent = bdrv_state(from);
    UserIo *s = bdrv_state(bs);
    BdrvIo io = { .struct_size = sizeof io };
    void *opaque = NULL;
    int ret;

    if (!parent->io.open_other) {
        return bdrv_error(from, -ENOTSUP, "the image names the file '%s', and the storage "
                          "has no open_other callback", name);
    }
    ret = parent->io.open_other(parent->opaque, name, bdrv_is_writable(bs), &io, &opaque);
    if (ret < 0) {
        return bdrv_error(from, ret, "the open_other callback failed for '%s': %s", name,
                          strerror(-ret));
    }
    ret = userio_attach(bs, &io, opaque);
    s->owns_opaque = 1;
    if (ret < 0) {
        userio_close(bs);
    }
    return ret;
}

static const BlockDriver bdrv_driver_userio = {
    BDRV_DRIVER_HEAD,
    .name = "userio",
    .description = "storage supplied by the caller",
    .flags = BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(UserIo),
    .open = userio_open,
    .read = userio_read,
    .write = userio_write,
    .close = userio_close,
    .flush = userio_flush,
    .truncate = userio_truncate,
    .open_other = userio_open_other,
};

static BlockDriver total; /* the table above with its holes filled */
static pthread_once_t total_once = PTHREAD_ONCE_INIT;

static void fill_total(void)
{
    total = bdrv_driver_userio;
    bdrv_fill_defaults(&total);
}

int bdrv_userio_new(BlockDriverState **bs, const char *label, const BdrvIo *io, void *opaque,
                    OpenContext *context)
{
    /* Writable whenever the callbacks are, so that a snapshot can be committed;
     * the image on top decides what is written. */
    unsigned flags = context->flags | (io->write ? (unsigned)BDRV_O_RDWR : 0);
    int ret;

    pthread_once(&total_once, fill_total);
    ret = bdrv_node_new(bs, &total, label, flags, context);
    if (ret == 0) {
        ret = userio_attach(*bs, io, opaque);
        if (ret < 0) {
            bdrv_node_free(*bs);
            *bs = NULL;
        }
    }
    return ret;
}

void bdrv_userio_take_opaque(BlockDriverState *bs)
{
    UserIo *s = bdrv_state(bs);

    s->owns_opaque = 1;
}
