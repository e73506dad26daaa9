/* SPDX-License-Identifier: MIT */
/*
 * check-mend.c - makes entries of grain tables what check-judge.c has decided.
 *
 * What makes the file longer waits until the rest is durable: the end of a grain that the
 * file's end cuts is read from where its copy has it, and a longer file has zeros there.
 */
#include "check-judge.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4
};

static int64_t start_of(uint32_t entry)
{
    return (int64_t)entry * BDRV_SECTOR_SIZE;
}

static int copy_grain(VmdkMend *mend, const VmdkNewEntry *from, uint32_t *to)
{
    VmdkCheckMap *map = mend->map;
    const int64_t unit = map->any_place ? BDRV_SECTOR_SIZE : map->grain;
    const int64_t start = vmdk_check_take(map, map->grain, unit);
    const int64_t bytes = bdrv_min(vmdk_check_covered(map, from->grain),
                                   bdrv_getlength(map->file) - start_of(from->entry));
    int ret;

    if (!mend->buffer) {
        mend->buffer = malloc((size_t)map->grain);
    }
    if (!mend->buffer) {
        return -ENOMEM;
    }
    if (start / BDRV_SECTOR_SIZE > UINT32_MAX) {
        return bdrv_error(map->file, -EFBIG, "there is no room for another grain in the first 2 "
                          "TiB of the file");
    }
    memset(mend->buffer, 0, (size_t)map->grain);
    ret = bdrv_pread(map->file, mend->buffer, (size_t)bytes, start_of(from->entry));
    if (ret == 0) {
        ret = bdrv_pwrite(map->file, mend->buffer, (size_t)map->grain, start);
    }
    *to = (uint32_t)(start / BDRV_SECTOR_SIZE);
    return ret;
}

static int extend_file(const VmdkCheckMap *map, uint32_t entry)
{
    const int64_t end = start_of(entry) + map->grain;

    return end > bdrv_getlength(map->file) ? bdrv_truncate(map->file, end) : 0;
}

static int write_entry(const VmdkCheckMap *map, int64_t grain, uint32_t entry)
{
    static const BdrvTableOrder orders[] = {
        [VMDK_PRIMARY] = BDRV_TABLE_PRIMARY,
        [VMDK_REDUNDANT] = BDRV_TABLE_REDUNDANT,
    };
    const int64_t table = grain / map->gtes, index = grain % map->gtes;
    uint8_t bytes[ENTRY_BYTES];
    int ret = 0;

    bdrv_store_le32(bytes, entry);
    for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
        if (map->gd[set] && map->gd[set][table] != 0) {
            ret = bdrv_table_write(map->c->image->table, map->file, bytes, sizeof bytes,
                                   start_of(map->gd[set][table]) + index * ENTRY_BYTES,
                                   orders[set]);
        }
    }
    return ret;
}

static int mend_later(VmdkMend *mend, const VmdkNewEntry *entry)
{
    if (mend->count == mend->room) {
        const size_t room = mend->room ? 2 * mend->room : 64;
        VmdkNewEntry *list = realloc(mend->later, room * sizeof *list);

        if (!list) {
            return -ENOMEM;
        }
        mend->later = list;
        mend->room = room;
    }
    mend->later[mend->count++] = *entry;
    return 0;
}

int vmdk_mend_entry(VmdkMend *mend, const VmdkNewEntry *entry)
{
    const int must_wait = entry->copy || entry->extend;
    int ret = 0;

    mend->map->c->mended = 1;
    if (!must_wait || entry->may_be_first) {
        ret = write_entry(mend->map, entry->grain, entry->entry);
    }
    return ret == 0 && must_wait ? mend_later(mend, entry) : ret;
}

static int mend_longer(VmdkMend *mend, const VmdkNewEntry *entry)
{
    uint32_t sector = entry->entry;
    const int ret = entry->copy ? copy_grain(mend, entry, &sector)
                                : extend_file(mend->map, sector);

    return ret < 0 ? ret : write_entry(mend->map, entry->grain, sector);
}

int vmdk_mend_end(VmdkMend *mend, int ret)
{
    if (ret == 0 && mend->count > 0) {
        ret = bdrv_table_flush(mend->map->c->image->table);
    }
    for (size_t i = 0; ret == 0 && i < mend->count; i++) {
        ret = mend_longer(mend, &mend->later[i]);
    }
    free(mend->later);
    free(mend->buffer);
    return ret;
}
