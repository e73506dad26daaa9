/* SPDX-License-Identifier: MIT */
/*
 * io.c - the front door: every data call of the library, the user's and the
 * drivers' on their children, comes through here and is checked here, once:
 * arguments, bounds, access.  Then it takes the node's lock if the driver wants
 * one, and goes straight to the driver.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

enum {
    BOUNCE_BYTES = 1024 * 1024 /* scattered buffers up to this go as one request */
};

/* ------------------------------------------------------------------ checks */

int bdrv_can_grow(const BlockDriverState *bs)
{
    return (bs->driver->flags & (BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_FILTER)) != 0;
}

/* A driver that reads past the end of its file met a damaged image; a user who
 * does so made a mistake. */
static int out_of_range(const BlockDriverState *bs, int64_t bytes, int64_t offset)
{
    long long length = (long long)atomic_load(&((BlockDriverState *)bs)->length);

    if (bdrv_calls.depth > 1 && bdrv_can_grow(bs)) {
        return bdrv_error(bs, -EIO, "the file ends at byte %lld, but %lld bytes at offset "
                          "%lld are needed: is it truncated?", length, (long long)bytes,
                          (long long)offset);
    }
    return bdrv_error(bs, -ERANGE, "%lld bytes at offset %lld are beyond the end of the "
                      "disk, which has %lld", (long long)bytes, (long long)offset, length);
}

static int bad_range(const BlockDriverState *bs, int64_t bytes, int64_t offset)
{
    if (!bs) {
        return bdrv_error(NULL, -EINVAL, "the handle is NULL");
    }
    if (bytes < 0 || offset < 0) {
        return bdrv_error(bs, -EINVAL, "%lld bytes at offset %lld: neither may be negative",
                          (long long)bytes, (long long)offset);
    }
    return out_of_range(bs, bytes, offset);
}

int bdrv_check_range(const BlockDriverState *bs, int64_t bytes, int64_t offset)
{
    return bs && bytes >= 0 && offset >= 0 &&
                   bytes <= atomic_load(&((BlockDriverState *)bs)->length) - offset
               ? 0 : bad_range(bs, bytes, offset);
}

static int check_writable(const BlockDriverState *bs)
{
    return bdrv_is_writable(bs)
               ? 0
               : bdrv_error(bs, -EROFS, "the image is open for reading only");
}

int bdrv_check_write(const BlockDriverState *bs, int64_t bytes, int64_t offset)
{
    int64_t end;
    int ret;

    if (bs && bdrv_can_grow(bs) && bdrv_add(offset, bytes, &end)) {
        return check_writable(bs);
    }
    ret = bdrv_check_range(bs, bytes, offset);
    return ret < 0 ? ret : check_writable(bs);
}

static int check_buffer(const BlockDriverState *bs, const void *buf, size_t bytes)
{
    if (!buf && bytes > 0) {
        return bdrv_error(bs, -EINVAL, "the buffer is NULL");
    }
    if ((uint64_t)bytes > INT64_MAX) {
        return bdrv_error(bs, -EINVAL, "%zu bytes are too many", bytes);
    }
    return 0;
}

/* ---------------------------------------------------------------- dispatch */

void bdrv_note_written(BlockDriverState *bs, int64_t end)
{
    int64_t length = atomic_load(&bs->length);

    while (end > length && !atomic_compare_exchange_weak(&bs->length, &length, end)) {
    }
    if (!atomic_load_explicit(&bs->unflushed, memory_order_relaxed)) {
        atomic_store(&bs->unflushed, 1);
    }
}

static int driver_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    int ret;

    bdrv_driver_enter(bs);
    ret = bs->driver->read(bs, buf, bytes, offset);
    bdrv_driver_leave(bs);
    return ret;
}

static int driver_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    int watched, ret = bdrv_guard_enter(bs, buf, (int64_t)bytes, offset, &watched);

    if (ret == 0) {
        bdrv_driver_enter(bs);
        ret = bs->driver->write(bs, buf, bytes, offset);
        bdrv_driver_leave(bs);
        bdrv_guard_leave(bs, watched);
        bdrv_note_written(bs, ret < 0 ? 0 : offset + (int64_t)bytes);
    }
    return ret;
}

/* ---------------------------------------------------------- read and write */

int bdrv_pread(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    int ret;

    bdrv_call_begin();
    ret = check_buffer(bs, buf, bytes);
    if (ret == 0) {
        ret = bdrv_check_range(bs, (int64_t)bytes, offset);
    }
    if (ret == 0 && bytes > 0) {
        ret = driver_read(bs, buf, bytes, offset);
    }
    return bdrv_call_end(bs, ret, "cannot read");
}

int bdrv_pwrite(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    int ret;

    bdrv_call_begin();
    ret = check_buffer(bs, buf, bytes);
    if (ret == 0) {
        ret = bdrv_check_write(bs, (int64_t)bytes, offset);
    }
    if (ret == 0 && bytes > 0) {
        ret = driver_write(bs, buf, bytes, offset);
    }
    return bdrv_call_end(bs, ret, "cannot write");
}

/* Not the driver's lock: pack changes nothing. */
int bdrv_pack(BlockDriverState *bs, const void *cluster, int64_t offset, void *packed,
              size_t *packed_bytes)
{
    int ret;

    bdrv_call_begin();
    ret = bs->driver->pack(bs, cluster, offset, packed, packed_bytes);
    if (ret == 0 && *packed_bytes > bs->packing_room) {
        ret = bdrv_error(bs, -EIO, "the %s driver made %zu bytes of a cluster, and said that at "
                         "most %zu are possible", bs->driver->name, *packed_bytes,
                         bs->packing_room);
    }
    return bdrv_call_end(bs, ret, "cannot compress");
}

int bdrv_write_packed(BlockDriverState *bs, const void *packed, size_t packed_bytes,
                      int64_t offset)
{
    int ret;

    bdrv_call_begin();
    ret = check_writable(bs);
    if (ret == 0) {
        bdrv_driver_enter(bs);
        ret = bs->driver->write_packed(bs, packed, packed_bytes, offset);
        bdrv_driver_leave(bs);
        bdrv_note_written(bs, 0);
    }
    return bdrv_call_end(bs, ret, "cannot write");
}

/* ------------------------------------------------------- scattered buffers */

static int sum_pieces(const BlockDriverState *bs, const BdrvIovec *pieces, int count,
                      int64_t *total)
{
    *total = 0;
    if (count < 0 || (count > 0 && !pieces)) {
        return bdrv_error(bs, -EINVAL, "%d pieces: a list of them is wanted", count);
    }
    for (int i = 0; i < count; i++) {
        int ret = check_buffer(bs, pieces[i].base, pieces[i].bytes);
        if (ret < 0) {
            return ret;
        }
        if (!bdrv_add(*total, (int64_t)pieces[i].bytes, total)) {
            return bdrv_error(bs, -EINVAL, "the pieces are too many bytes in all");
        }
    }
    return 0;
}

/* A driver call costs more than a copy of a few pages: gather them into one. */
static void *bounce_for(int count, int64_t total)
{
    return count > 1 && total <= BOUNCE_BYTES ? malloc((size_t)total) : NULL;
}

static int read_bounced(BlockDriverState *bs, const BdrvIovec *pieces, int count,
                        int64_t offset, uint8_t *bounce, int64_t total)
{
    int ret = driver_read(bs, bounce, (size_t)total, offset);

    for (int i = 0; ret == 0 && i < count; i++) {
        if (pieces[i].bytes > 0) { /* an empty piece may have no place */
            memcpy(pieces[i].base, bounce, pieces[i].bytes);
            bounce += pieces[i].bytes;
        }
    }
    return ret;
}

static int read_pieces(BlockDriverState *bs, const BdrvIovec *pieces, int count,
                       int64_t offset)
{
    int ret = 0;

    for (int i = 0; ret == 0 && i < count; i++) {
        if (pieces[i].bytes > 0) {
            ret = driver_read(bs, pieces[i].base, pieces[i].bytes, offset);
            offset += (int64_t)pieces[i].bytes;
        }
    }
    return ret;
}

int bdrv_preadv(BlockDriverState *bs, const BdrvIovec *pieces, int count, int64_t offset)
{
    int64_t total;
    void *bounce;
    int ret;

    bdrv_call_begin();
    ret = sum_pieces(bs, pieces, count, &total);
    if (ret == 0) {
        ret = bdrv_check_range(bs, total, offset);
    }
    if (ret == 0 && total > 0) {
        bounce = bounce_for(count, total);
        ret = bounce ? read_bounced(bs, pieces, count, offset, bounce, total)
                     : read_pieces(bs, pieces, count, offset);
        free(bounce);
    }
    return bdrv_call_end(bs, ret, "cannot read");
}

static int write_bounced(BlockDriverState *bs, const BdrvIovec *pieces, int count,
                         int64_t offset, uint8_t *bounce, int64_t total)
{
    uint8_t *next = bounce;

    for (int i = 0; i < count; i++) {
        if (pieces[i].bytes > 0) {
            memcpy(next, pieces[i].base, pieces[i].bytes);
            next += pieces[i].bytes;
        }
    }
    return driver_write(bs, bounce, (size_t)total, offset);
}

static int write_pieces(BlockDriverState *bs, const BdrvIovec *pieces, int count,
                        int64_t offset)
{
    int ret = 0;

    for (int i = 0; ret == 0 && i < count; i++) {
        if (pieces[i].bytes > 0) {
            ret = driver_write(bs, pieces[i].base, pieces[i].bytes, offset);
            offset += (int64_t)pieces[i].bytes;
        }
    }
    return ret;
}

int bdrv_pwritev(BlockDriverState *bs, const BdrvIovec *pieces, int count, int64_t offset)
{
    int64_t total;
    void *bounce;
    int ret;

    bdrv_call_begin();
    ret = sum_pieces(bs, pieces, count, &total);
    if (ret == 0) {
        ret = bdrv_check_write(bs, total, offset);
    }
    if (ret == 0 && total > 0) {
        bounce = bounce_for(count, total);
        ret = bounce ? write_bounced(bs, pieces, count, offset, bounce, total)
                     : write_pieces(bs, pieces, count, offset);
        free(bounce);
    }
    return bdrv_call_end(bs, ret, "cannot write");
}

/* ------------------------------------------------------- zeros and discard */

/* The callbacks write_zeroes and discard. */
typedef int RangeFn(BlockDriverState *bs, int64_t offset, int64_t bytes);

static int driver_clear(BlockDriverState *bs, RangeFn *act, int64_t offset, int64_t bytes)
{
    int watched, ret = bdrv_guard_enter(bs, NULL, bytes, offset, &watched);

    if (ret == 0) {
        bdrv_driver_enter(bs);
        ret = act(bs, offset, bytes);
        bdrv_driver_leave(bs);
        bdrv_guard_leave(bs, watched);
        bdrv_note_written(bs, ret < 0 ? 0 : offset + bytes);
    }
    return ret;
}

int bdrv_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int ret;

    bdrv_call_begin();
    ret = bdrv_check_write(bs, bytes, offset);
    if (ret == 0 && bytes > 0) {
        ret = driver_clear(bs, bs->driver->write_zeroes, offset, bytes);
    }
    return bdrv_call_end(bs, ret, "cannot write zeros");
}

int bdrv_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    int ret;

    bdrv_call_begin();
    ret = bdrv_check_range(bs, bytes, offset);
    if (ret == 0) {
        ret = check_writable(bs);
    }
    if (ret == 0 && bytes > 0) {
        ret = driver_clear(bs, bs->driver->discard, offset, bytes);
    }
    return bdrv_call_end(bs, ret, "cannot discard");
}

int bdrv_truncate(BlockDriverState *bs, int64_t length)
{
    int ret;

    bdrv_call_begin();
    ret = bdrv_check_range(bs, 0, 0); /* the handle alone */
    if (ret == 0) {
        ret = length >= 0 ? check_writable(bs)
                          : bdrv_error(bs, -EINVAL, "the length %lld is negative",
                                       (long long)length);
    }
    if (ret == 0) {
        bdrv_driver_enter(bs);
        ret = bs->driver->truncate(bs, length);
        bdrv_driver_leave(bs);
        bdrv_note_written(bs, 0);
    }
    return bdrv_call_end(bs, ret, "cannot change the length");
}

/* --------------------------------------------------- files as a whole, space */

int bdrv_replace(BlockDriverState *file, const void *bytes, size_t size)
{
    int ret;

    bdrv_call_begin();
    ret = check_writable(file);
    if (ret == 0) {
        bdrv_driver_enter(file);
        ret = file->driver->replace(file, bytes, size);
        bdrv_driver_leave(file);
    }
    return bdrv_call_end(file, ret, "cannot replace the file");
}

int bdrv_allocate(BlockDriverState *file, int64_t offset, int64_t bytes)
{
    int ret;

    bdrv_call_begin();
    ret = bdrv_check_write(file, bytes, offset);
    if (ret == 0 && bytes > 0) {
        bdrv_driver_enter(file);
        ret = file->driver->allocate(file, offset, bytes);
        bdrv_driver_leave(file);
        bdrv_note_written(file, ret < 0 ? 0 : offset + bytes);
    }
    return bdrv_call_end(file, ret, "cannot set space aside");
}

int bdrv_remove(BlockDriverState *file)
{
    int ret;

    bdrv_call_begin();
    ret = check_writable(file);
    if (ret == 0) {
        bdrv_driver_enter(file);
        ret = file->driver->remove(file);
        bdrv_driver_leave(file);
    }
    return bdrv_call_end(file, ret, "cannot remove the file");
}

/* ------------------------------------------------------------------- flush */

/* Whoever calls this may rely on a flush that another thread has under way only
 * when that has succeeded: hence the lock. */
int bdrv_flush(BlockDriverState *bs)
{
    int ret = 0;

    bdrv_call_begin();
    if (!bs) {
        ret = -EINVAL;
    } else if (!(bs->flags & BDRV_O_NO_FLUSH && bs->driver->flags & BDRV_DRIVER_PROTOCOL)) {
        pthread_mutex_lock(&bs->flush_lock);
        if (atomic_exchange(&bs->unflushed, 0)) {
            bdrv_driver_enter(bs);
            ret = bs->driver->flush(bs);
            bdrv_driver_leave(bs);
        }
        if (ret < 0) {
            atomic_store(&bs->unflushed, 1);
        }
        pthread_mutex_unlock(&bs->flush_lock);
    }
    return bdrv_call_end(bs, ret, "cannot flush");
}

static int flush_child(BlockDriverState *child, void *opaque)
{
    (void)opaque;
    return bdrv_is_writable(child) ? bdrv_flush(child) : 0;
}

int bdrv_flush_children(BlockDriverState *bs)
{
    int ret = bs->file ? flush_child(bs->file, NULL) : 0;

    return ret < 0 ? ret : bdrv_children_each(bs, flush_child, NULL);
}

/* -------------------------------------------------------------- allocation */

static int check_extent(const BlockDriverState *bs, int64_t bytes, const BdrvExtent *extent)
{
    if (extent->bytes < 1 || extent->bytes > bytes) {
        return bdrv_error(bs, -EIO, "the %s driver tells a run of %lld bytes where 1 to "
                          "%lld were asked for", bs->driver->name,
                          (long long)extent->bytes, (long long)bytes);
    }
    return 0;
}

int bdrv_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    int ret;

    bdrv_call_begin();
    ret = extent && bytes > 0 ? bdrv_check_range(bs, bytes, offset)
                              : bdrv_error(bs, -EINVAL, "a range of at least one byte and a "
                                           "place for the answer are wanted");
    if (ret == 0) {
        memset(extent, 0, sizeof *extent);
        bdrv_driver_enter(bs);
        ret = bs->driver->is_allocated(bs, offset, bytes, extent);
        bdrv_driver_leave(bs);
        if (ret == 0) {
            ret = check_extent(bs, bytes, extent);
        }
        if (ret < 0 && (extent->bytes < 1 || extent->bytes > bytes)) {
            extent->bytes = 0;
        }
    }
    return bdrv_call_end(bs, ret, "cannot look up what is allocated");
}

static int map_chain(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    BlockDriverState *node = bs;
    int depth = 0, ret;

    for (;; node = node->backing, depth++) {
        int64_t length = bdrv_getlength(node);

        if (offset >= length) { /* a parent that is shorter than its child */
            *extent = (BdrvExtent){ .state = BDRV_UNALLOCATED, .bytes = bytes };
            break;
        }
        ret = bdrv_is_allocated(node, offset, bdrv_min(bytes, length - offset), extent);
        if (ret < 0) {
            return ret;
        }
        bytes = extent->bytes;
        if (extent->state != BDRV_UNALLOCATED || !node->backing) {
            break;
        }
    }
    extent->depth = depth;
    return 0;
}

static int map_node(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvExtent *extent);

/* Holes of the file that carries a run as a whole are the run's zeros.  That may
 * be an image with a chain of its own. */
/* NOLINTNEXTLINE(misc-no-recursion): down the files under one image */
static int look_into_file(BdrvExtent *extent)
{
    BdrvExtent below;
    int64_t bytes = bdrv_min(extent->bytes,
                             bdrv_getlength(extent->file) - extent->file_offset);
    int ret;

    if (bytes <= 0) {
        return 0; /* beyond the file: reading will say so */
    }
    ret = map_node(extent->file, extent->file_offset, bytes, &below);
    extent->bytes = ret < 0 ? 0 : extent->bytes;
    if (ret == 0) {
        extent->bytes = below.bytes;
        extent->state = below.state == BDRV_DATA ? BDRV_DATA : BDRV_ZERO;
    }
    return ret;
}

/* NOLINTNEXTLINE(misc-no-recursion): as above */
static int map_node(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    int ret = map_chain(bs, offset, bytes, extent);

    if (ret == 0 && extent->state == BDRV_DATA && extent->may_have_holes && extent->file) {
        ret = look_into_file(extent);
    }
    return ret;
}

int bdrv_map(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    int ret;

    bdrv_call_begin();
    ret = extent && bytes > 0 ? bdrv_check_range(bs, bytes, offset)
                              : bdrv_error(bs, -EINVAL, "a range of at least one byte and a "
                                           "place for the answer are wanted");
    if (ret == 0) {
        ret = map_node(bs, offset, bytes, extent);
    }
    return bdrv_call_end(bs, ret, "cannot look up what is allocated");
}
