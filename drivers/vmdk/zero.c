/* SPDX-License-Identifier: MIT */
/*
 * zero.c - extents that have no file: ZERO, which reads as zeros, and those
 * with NOACCESS, which cannot be used but keep their place on the disk.
 */
#include "vmdk.h"

#include <string.h>

static int no_file_open(VmdkExtent *extent)
{
    (void)extent;
    return 0;
}

static void no_file_close(VmdkExtent *extent)
{
    (void)extent;
}

/* -------------------------------------------------------------------- ZERO */

static int zero_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    (void)extent;
    (void)offset;
    memset(buf, 0, bytes);
    return 0;
}

/* Zeros are what is there already; anything else would be lost. */
static int zero_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    const uint8_t *byte = buf;

    for (size_t i = 0; i < bytes; i++) {
        if (byte[i] != 0) {
            return bdrv_error(vmdk_extent_node(extent), -EROFS, "byte %" PRId64 " of the disk is "
                              "in a ZERO extent, which cannot hold data",
                              extent->start + offset + (int64_t)i);
        }
    }
    return 0;
}

static int zero_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    (void)extent;
    (void)offset;
    (void)bytes;
    return 0;
}

static int zero_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    (void)extent;
    (void)offset;
    run->state = BDRV_ZERO;
    run->bytes = bytes;
    return 0;
}

/* The line is all there is. */
static int zero_resize(VmdkExtent *extent, int64_t length)
{
    (void)extent;
    (void)length;
    return 0;
}

const VmdkExtentOps vmdk_zero_extent = {
    .open = no_file_open,
    .read = zero_read,
    .write = zero_write,
    .write_zeroes = zero_write_zeroes,
    .discard = zero_write_zeroes,
    .is_allocated = zero_is_allocated,
    .resize = zero_resize,
    .settle = vmdk_extent_settled,
    .close = no_file_close,
};

/* ---------------------------------------------------------------- NOACCESS */

static int no_access(const VmdkExtent *extent, int64_t offset)
{
    return bdrv_error(vmdk_extent_node(extent), -EACCES, "byte %" PRId64 " of the disk is in an "
                      "extent that the descriptor marks NOACCESS", extent->start + offset);
}

static int noaccess_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    (void)buf;
    (void)bytes;
    return no_access(extent, offset);
}

static int noaccess_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    (void)buf;
    (void)bytes;
    return no_access(extent, offset);
}

static int noaccess_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    (void)bytes;
    return no_access(extent, offset);
}

/* There is something, but nobody knows what. */
static int noaccess_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes,
                                 BdrvExtent *run)
{
    (void)extent;
    (void)offset;
    run->state = BDRV_DATA;
    run->inaccessible = 1;
    run->bytes = bytes;
    return 0;
}

const VmdkExtentOps vmdk_noaccess_extent = {
    .open = no_file_open,
    .read = noaccess_read,
    .write = noaccess_write,
    .write_zeroes = noaccess_write_zeroes,
    .discard = noaccess_write_zeroes,
    .is_allocated = noaccess_is_allocated,
    .settle = vmdk_extent_settled,
    .close = no_file_close,
};
