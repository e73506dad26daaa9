/* SPDX-License-Identifier: MIT */
/*
 * defaults.c - what happens where a driver has left a hole: one named function
 * per optional callback, put into the core's copy of the table, so that the
 * rest of the core never tests a pointer.  Defaults are loud: none of them
 * succeeds without doing what was asked.
 */
#include "block_int.h"

enum {
    ZERO_CHUNK = 64 * 1024 /* one write of zeros: large enough to be cheap */
};

static int unsupported(BlockDriverState *bs, const char *what)
{
    return bdrv_error(bs, -ENOTSUP, "the %s driver cannot %s", bs->driver->name, what);
}

static int default_probe(const BdrvProbe *probe)
{
    (void)probe;
    return 0;
}

static int default_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    (void)buf, (void)bytes, (void)offset;
    return bdrv_error(bs, -EROFS, "the %s driver cannot write", bs->driver->name);
}

static int default_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    (void)params; /* bdrv_create() names the driver */
    return bdrv_error(file, -ENOTSUP, "images of this format cannot be created");
}

static int default_close(BlockDriverState *bs)
{
    (void)bs; /* nothing allocated: nothing to release */
    return 0;
}

static int default_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                BdrvExtent *extent)
{
    (void)bs, (void)offset;
    extent->state = BDRV_DATA;
    extent->bytes = bytes;
    return 0;
}

static int default_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    static const uint8_t zeros[ZERO_CHUNK];

    while (bytes > 0) {
        int64_t chunk = bdrv_min(bytes, ZERO_CHUNK);
        int ret = bs->driver->write(bs, zeros, (size_t)chunk, offset);
        if (ret < 0) {
            return ret;
        }
        offset += chunk;
        bytes -= chunk;
    }
    return 0;
}

static int default_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    (void)offset, (void)bytes;
    return unsupported(bs, "discard");
}

static int default_truncate(BlockDriverState *bs, int64_t length)
{
    (void)length;
    return unsupported(bs, "change the length");
}

static int default_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    (void)bs, (void)info; /* what the core has filled in is all there is */
    return 0;
}

static int default_get_details(BlockDriverState *bs, BdrvDetails *details)
{
    (void)bs, (void)details;
    return 0;
}

static int default_get_geometry(BlockDriverState *bs, BdrvGeometry *geometry)
{
    (void)bs, (void)geometry;
    return -ENOENT; /* none recorded: the core guesses */
}

static int default_change_backing(BlockDriverState *bs, const char *filename,
                                  BlockDriverState *backing)
{
    (void)filename, (void)backing;
    return unsupported(bs, "change the backing image");
}

static int default_make_empty(BlockDriverState *bs)
{
    (void)bs; /* what stays says the same as the backing image now does */
    return 0;
}

static int default_amend(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    return unsupported(bs, "change what is recorded");
}

static int default_check(BlockDriverState *bs, BdrvCheck *check, BdrvCheckResult *result)
{
    (void)check, (void)result;
    return unsupported(bs, "check images: the format has no tables");
}

static int default_open_other(BlockDriverState *bs, BlockDriverState *from, const char *name)
{
    (void)from, (void)name;
    return unsupported(bs, "open other files that an image names");
}

static int default_identify(BlockDriverState *bs, BdrvIdentity *identity)
{
    if (bs->driver->flags & BDRV_DRIVER_FILTER && bs->file) {
        return bs->file->driver->identify(bs->file, identity);
    }
    return unsupported(bs, "tell files apart");
}

static int default_remove(BlockDriverState *bs)
{
    if (bs->driver->flags & BDRV_DRIVER_FILTER && bs->file) {
        return bs->file->driver->remove(bs->file);
    }
    return unsupported(bs, "remove files");
}

static int default_replace(BlockDriverState *bs, const void *bytes, size_t size)
{
    (void)bytes, (void)size;
    return unsupported(bs, "replace a file as a whole");
}

static int default_allocate(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    (void)offset, (void)bytes;
    return unsupported(bs, "set space aside");
}

static int default_pack(BlockDriverState *bs, const void *cluster, int64_t offset,
                        void *packed, size_t *packed_bytes)
{
    (void)cluster, (void)offset, (void)packed, (void)packed_bytes;
    return unsupported(bs, "compress");
}

static int default_write_packed(BlockDriverState *bs, const void *packed, size_t packed_bytes,
                                int64_t offset)
{
    (void)packed, (void)packed_bytes, (void)offset;
    return unsupported(bs, "write compressed clusters");
}

static int default_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                               int64_t from_offset, int64_t bytes)
{
    (void)offset, (void)from, (void)from_offset, (void)bytes;
    return unsupported(bs, "share what is stored with another file");
}

static int default_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                              int64_t from_offset, int64_t bytes)
{
    (void)offset, (void)from, (void)from_offset, (void)bytes;
    return unsupported(bs, "have the host copy from another file");
}

static int default_begin_commit(BlockDriverState *bs, BlockDriverState *backing)
{
    (void)bs, (void)backing; /* does not care what its backing image becomes */
    return 0;
}

static int default_begin_rebase(BlockDriverState *bs)
{
    (void)bs; /* has recorded nothing of its content */
    return 0;
}

static void default_end_rebase(BlockDriverState *bs)
{
    (void)bs;
}

int bdrv_has_names(const BlockDriver *driver)
{
    return driver->open_other != default_open_other;
}

int bdrv_can_change_backing(const BlockDriver *driver)
{
    return driver->change_backing != default_change_backing;
}

#define FILL(callback, function)         \
    do {                                 \
        if (!driver->callback) {         \
            driver->callback = function; \
        }                                \
    } while (0)

void bdrv_fill_defaults(BlockDriver *driver)
{
    static const BdrvOption none[] = { { .name = NULL } };
    static const BdrvVariant alike[] = { { .name = NULL } };

    FILL(description, driver->name);
    FILL(open_options, none);
    FILL(create_options, none);
    FILL(probe, default_probe);
    FILL(write, default_write);
    FILL(create, default_create);
    FILL(close, default_close);
    FILL(flush, bdrv_flush_children);
    FILL(is_allocated, default_is_allocated);
    FILL(write_zeroes, default_write_zeroes);
    FILL(discard, default_discard);
    FILL(truncate, default_truncate);
    FILL(get_info, default_get_info);
    FILL(get_details, default_get_details);
    FILL(get_geometry, default_get_geometry);
    FILL(change_backing, default_change_backing);
    FILL(make_empty, default_make_empty);
    FILL(amend_options, none);
    FILL(amend, default_amend);
    FILL(check, default_check);
    FILL(open_other, default_open_other);
    FILL(identify, default_identify);
    FILL(remove, default_remove);
    FILL(replace, default_replace);
    FILL(allocate, default_allocate);
    FILL(pack, default_pack);
    FILL(write_packed, default_write_packed);
    FILL(variants, alike);
    FILL(share_range, default_share_range);
    FILL(copy_range, default_copy_range);
    FILL(begin_commit, default_begin_commit);
    FILL(begin_rebase, default_begin_rebase);
    FILL(end_rebase, default_end_rebase);
}
