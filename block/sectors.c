/* SPDX-License-Identifier: MIT */
/*
 * sectors.c - the classical emulator calls, in sectors of 512 bytes: thin over
 * those in bytes, which check everything but the arithmetic.
 */
#include "block_int.h"

static int check_sectors(const BlockDriverState *bs, int64_t sector_num, int nb_sectors)
{
    int ret = 0;

    bdrv_call_begin();
    if (nb_sectors < 0 || sector_num < 0) {
        ret = bdrv_error(bs, -EINVAL, "%d sectors at sector %lld: neither may be negative",
                         nb_sectors, (long long)sector_num);
    } else if (sector_num > INT64_MAX / BDRV_SECTOR_SIZE) {
        ret = bdrv_error(bs, -ERANGE, "sector %lld is beyond the end of any disk",
                         (long long)sector_num);
    }
    return bdrv_call_end(bs, ret, "sectors");
}

int bdrv_read(BlockDriverState *bs, int64_t sector_num, void *buf, int nb_sectors)
{
    int ret = check_sectors(bs, sector_num, nb_sectors);

    return ret < 0 ? ret : bdrv_pread(bs, buf, (size_t)nb_sectors * BDRV_SECTOR_SIZE,
                                      sector_num * BDRV_SECTOR_SIZE);
}

int bdrv_write(BlockDriverState *bs, int64_t sector_num, const void *buf, int nb_sectors)
{
    int ret = check_sectors(bs, sector_num, nb_sectors);

    return ret < 0 ? ret : bdrv_pwrite(bs, buf, (size_t)nb_sectors * BDRV_SECTOR_SIZE,
                                       sector_num * BDRV_SECTOR_SIZE);
}
