/* SPDX-License-Identifier: MIT */
/*
 * check-leaks.c - space of an extent's file that nothing uses: what writes that
 * were never finished, or a discard, left behind.  At the file's end it can be
 * cut off; elsewhere it stays until the image is converted.
 */
#include "check.h"

/* Where the next region of metadata begins, or ends if from is inside it. */
static int64_t region_border(const VmdkCheckMap *map, int64_t from, int *inside)
{
    size_t low = 0, high = map->regions.count;

    while (low < high) { /* the first region that ends behind from */
        size_t middle = low + (high - low) / 2;

        if (map->regions.list[middle].end <= from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *inside = low < map->regions.count && map->regions.list[low].start <= from;
    if (low == map->regions.count) {
        return INT64_MAX;
    }
    return *inside ? map->regions.list[low].end : map->regions.list[low].start;
}

/* The next range from *start on, below limit, that neither grains nor tables
 * use: 1, or 0: there is none. */
static int next_unused(const VmdkCheckMap *map, int64_t limit, int64_t *start, int64_t *end)
{
    int inside;

    while (*start < limit) {
        const int64_t border = region_border(map, *start, &inside);

        *start = inside ? border : vmdk_bits_find(&map->seen, *start, limit, 0);
        if (inside || *start >= limit) {
            continue;
        }
        if (*start >= border) {
            *start = border;
            continue;
        }
        *end = bdrv_min(vmdk_bits_find(&map->seen, *start, limit, 1), border);
        return 1;
    }
    return 0;
}

/* A directory that grew is behind what there was then, and no longer where it was
 * made (resize-cowd.c).  No repair can bring that room back. */
static int is_former_directory(const VmdkCheckMap *map, int64_t start, int64_t end)
{
    const int64_t bytes = bdrv_round_up(map->tables * (int64_t)sizeof *map->gd[VMDK_PRIMARY],
                                        BDRV_SECTOR_SIZE);

    return map->any_place && map->gd_at[VMDK_PRIMARY] > map->first_data && end - start <= bytes &&
           end != map->file_size;
}

/* The rest of a last grain, of which the disk has a part, is written with it. */
static int is_padding(const VmdkCheckMap *map, int64_t start, int64_t end)
{
    const int64_t part = map->length % map->grain;

    return map->any_place && part != 0 && end == map->file_size &&
           end - start == map->grain - part;
}

/* Is it worth a word?  Tables are put at any sector, so that less than a grain
 * may be left before the next one. */
static int is_leak(const VmdkCheckMap *map, int64_t start, int64_t end)
{
    const int64_t unit = map->any_place ? BDRV_SECTOR_SIZE : map->grain;

    if (is_former_directory(map, start, end) || is_padding(map, start, end)) {
        return 0;
    }
    return end == map->file_size || bdrv_round_up(start, unit) + map->grain <= end;
}

static int cut_off(VmdkCheckMap *map, int64_t start)
{
    int ret = bdrv_truncate(map->file, start);

    if (ret == 0) {
        map->c->mended = 1;
        map->file_size = start;
    }
    return ret == -ENOTSUP ? 0 : ret;
}

/* As long as entries are wrong or lost, this may be what they pointed at: then
 * it stays. */
static int report_leak(VmdkCheckMap *map, int64_t start, int64_t end)
{
    const BdrvCheckResult *result = map->c->result;
    const int at_end = end == map->file_size && map->next == 0;
    const int64_t unit = map->any_place ? BDRV_SECTOR_SIZE : map->grain;
    const int64_t keep = bdrv_min(bdrv_round_up(start, unit), end);
    const int64_t size = map->file_size;
    BdrvFinding finding = {.kind = BDRV_FINDING_LEAK};
    int ret = 0;

    if (at_end && keep == end) {
        return 0; /* a last grain that ends where the disk does, and its padding */
    }
    finding.repair = at_end && result->unrecoverable == 0 && !map->c->has_hopeless &&
                             !map->keeps_space &&
                             !vmdk_check_holds_beyond(map, map->length)
                         ? "cut off the file"
                         : NULL;
    if (finding.repair && result->corruptions == 0 && vmdk_mends(map->c, BDRV_FINDING_LEAK)) {
        ret = cut_off(map, keep);
        finding.repaired = map->file_size != size;
    }
    if (ret == 0) {
        vmdk_found(map->c, &finding, "%s: nothing uses %" PRId64 " bytes at offset %" PRId64
                   " of the file", vmdk_check_name(map->extent), end - start, start);
    }
    return ret;
}

int vmdk_check_leaks(VmdkCheckMap *map)
{
    const int64_t limit = map->data_end >= 0 ? bdrv_min(map->data_end, map->file_size)
                                             : map->file_size;
    BdrvCheckResult *result = map->c->result;
    int64_t start = map->first_data, end;
    int ret = 0;

    while (ret == 0 && next_unused(map, limit, &start, &end)) {
        if (is_leak(map, start, end)) {
            ret = report_leak(map, start, end);
        }
        start = end;
    }
    result->image_end_offset = bdrv_max(result->image_end_offset,
                                        bdrv_max(map->used_end, map->first_data));
    return ret;
}
