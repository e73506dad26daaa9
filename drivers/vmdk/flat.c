/* SPDX-License-Identifier: MIT */
/*
 * flat.c - extents that are plain bytes of a file (FLAT, VMFS and the raw
 * device kinds).  No headers, no allocation: an offset is added.
 */
#include "vmdk.h"

static int64_t flat_offset(const VmdkExtent *extent)
{
    return extent->line->offset_sectors * BDRV_SECTOR_SIZE;
}

/* A descriptor in the place of bytes is somebody's mistake, or an attempt to
 * make us run in circles. */
static int check_not_descriptor(VmdkExtent *extent)
{
    uint8_t head[BDRV_SECTOR_SIZE];
    size_t size = (size_t)bdrv_min(bdrv_getlength(extent->file), (int64_t)sizeof head);
    int ret = bdrv_pread(extent->file, head, size, 0);

    if (ret == 0 && vmdk_descriptor_probe(head, size)) {
        return bdrv_error(extent->file, -EINVAL, "this extent is a descriptor itself");
    }
    return ret;
}

static int flat_open(VmdkExtent *extent)
{
    int64_t end = flat_offset(extent) + extent->length;

    if (bdrv_getlength(extent->file) < end && !extent->problem) {
        return bdrv_error(extent->file, -EINVAL, "the extent is cut off: the descriptor needs %"
                          PRId64 " bytes of the file, it has %" PRId64, end,
                          bdrv_getlength(extent->file));
    }
    return check_not_descriptor(extent);
}

static int flat_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_pread(extent->file, buf, bytes, flat_offset(extent) + offset);
}

static int flat_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    return bdrv_pwrite(extent->file, buf, bytes, flat_offset(extent) + offset);
}

static int flat_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    return bdrv_write_zeroes(extent->file, flat_offset(extent) + offset, bytes);
}

static int flat_discard(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    return bdrv_discard(extent->file, flat_offset(extent) + offset, bytes);
}

static int flat_move_range(VmdkExtent *extent, int64_t offset, int64_t bytes,
                           const VmdkMove *move)
{
    return move->call(extent->file, flat_offset(extent) + offset, move->from,
                      extent->start + offset + move->ahead, bytes);
}

static int flat_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    run->state = BDRV_DATA;
    run->may_have_holes = 1;
    run->bytes = bytes;
    run->file = extent->file;
    run->file_offset = flat_offset(extent) + offset;
    return 0;
}

/* Makes the file of the extent end at end, and zeros of what is there already
 * behind the old end, whoever put it there. */
static int grow_file(VmdkExtent *extent, int64_t end)
{
    const int64_t old_end = flat_offset(extent) + extent->length;
    const int64_t there = bdrv_min(bdrv_getlength(extent->file), end);
    int ret = 0;

    if (there > old_end) {
        ret = bdrv_write_zeroes(extent->file, old_end, there - old_end);
    }
    if (ret == 0 && there < end) {
        ret = bdrv_truncate(extent->file, end);
    }
    return ret;
}

/* A device keeps its length; the rest of it is just not used. */
static int flat_resize(VmdkExtent *extent, int64_t length)
{
    int64_t end;
    int ret;

    if (!bdrv_add(flat_offset(extent), length, &end)) {
        return bdrv_error(extent->file, -EFBIG, "no file has %" PRId64 " bytes behind offset %" PRId64,
                          length, flat_offset(extent));
    }
    ret = length > extent->length ? grow_file(extent, end) : bdrv_truncate(extent->file, end);
    if (ret == -ENOTSUP && length < extent->length) {
        ret = 0;
    }
    return ret < 0 ? ret : bdrv_flush_children(extent->image->bs);
}

static void flat_close(VmdkExtent *extent)
{
    (void)extent;
}

const VmdkExtentOps vmdk_flat_extent = {
    .open = flat_open,
    .read = flat_read,
    .write = flat_write,
    .write_zeroes = flat_write_zeroes,
    .discard = flat_discard,
    .is_allocated = flat_is_allocated,
    .move_range = flat_move_range,
    .resize = flat_resize,
    .settle = vmdk_extent_settled,
    .close = flat_close,
};
