/* SPDX-License-Identifier: MIT */
/*
 * check-capacity.c - hosted sparse extents: the capacity in the header against the size in
 * the descriptor's line.  One of the two is wrong, and the directories tell which.
 *
 * Where they do not, the line is right that is shorter: that is what readers go by, and
 * nothing shall be read otherwise after a repair.
 */
#include "check.h"

#include <stdlib.h>

/* 0: unknown, there is no descriptor. */
static int64_t line_sectors(const VmdkExtent *extent)
{
    return extent->line->sectors;
}

/* Are the directories laid out for that many sectors? */
static int is_laid_out_for(VmdkExtent *extent, const VmdkHeader *header, int64_t sectors)
{
    VmdkHeader usual;

    return vmdk_header_rebuild(extent, sectors, &usual) == 1 &&
           usual.gd_sector == header->gd_sector &&
           ((usual.flags ^ header->flags) & VMDK_FLAG_REDUNDANT) == 0;
}

static int same_tables(const VmdkHeader *header, int64_t sectors)
{
    VmdkHeader other = *header;

    other.capacity_sectors = (uint64_t)sectors;
    return vmdk_header_tables(&other) == vmdk_header_tables(header);
}

/* May the extent's line have that many sectors?  The sum of all has a limit. */
static int line_may_be(const Vmdk *image, const VmdkExtent *extent, int64_t sectors)
{
    int64_t sum = sectors;

    for (size_t i = 0; i < image->extent_count; i++) {
        sum += &image->extents[i] != extent ? image->extents[i].line->sectors : 0;
    }
    return (uint64_t)sum < VMDK_CAPACITY_SECTORS_END;
}

/* Of a split disk, the sizes of the other extents tell which is right. */
static int neighbours_say(const Vmdk *image, const VmdkExtent *extent, int64_t sectors)
{
    int agree = 0;

    for (size_t i = 0; i + 1 < image->extent_count; i++) {
        if (&image->extents[i] != extent) {
            if (image->extents[i].line->sectors != sectors) {
                return 0;
            }
            agree = 1;
        }
    }
    return agree && extent != &image->extents[image->extent_count - 1] &&
           line_may_be(image, extent, sectors);
}

typedef enum Side {
    SIDE_NONE,
    SIDE_HEADER, /* the header is changed */
    SIDE_LINE    /* the descriptor's line is */
} Side;

/* A shorter line of the last extent, which was not closed properly: a change of the length was
 * interrupted, and the descriptor says how long the disk is. */
static int was_interrupted(const VmdkExtent *extent, const VmdkHeader *header)
{
    const Vmdk *image = extent->image;

    return extent == &image->extents[image->extent_count - 1] && header->unclean_shutdown != 0 &&
           line_sectors(extent) < (int64_t)header->capacity_sectors;
}

/* ------------------------------------------------------- what the directories hold */

/* What directories for the capacity would take, and those for the line do not. */
typedef struct Excess {
    const VmdkExtent *extent;
    const VmdkHeader *header;
    int64_t start[VMDK_SETS], end[VMDK_SETS]; /* bytes of the file */
} Excess;

static int is_in_excess(const Excess *excess, int64_t start, int64_t bytes)
{
    int is_in = 0;

    for (int set = 0; set < VMDK_SETS; set++) {
        is_in |= start < excess->end[set] && start + bytes > excess->start[set];
    }
    return is_in;
}

/* Is the table, or a grain of it? */
static int is_table_in_excess(void *opaque, int64_t table, uint32_t sector)
{
    const Excess *excess = opaque;
    const VmdkHeader *header = excess->header;
    const size_t size = (size_t)vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE;
    int is_in = is_in_excess(excess, start, (int64_t)size);
    uint8_t *bytes = is_in ? NULL : malloc(size);

    (void)table;
    if (bytes && bdrv_pread(excess->extent->file, bytes, size, start) == 0) {
        for (uint32_t i = 0; !is_in && i < header->gtes_per_gt; i++) {
            const int64_t grain = bdrv_load_le32(bytes + i * 4);

            is_in = grain > 1 && is_in_excess(excess, grain * BDRV_SECTOR_SIZE,
                                              (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE);
        }
    }
    free(bytes);
    return is_in;
}

/* Where directories for the capacity would be, is there something that those for the line lead
 * to, or are? */
static int directories_deny(const VmdkExtent *extent, const VmdkHeader *header,
                            const int64_t gd_at[VMDK_SETS])
{
    VmdkHeader shorter = *header;
    Excess excess = {.extent = extent, .header = header};
    int deny = 0;

    shorter.capacity_sectors = (uint64_t)line_sectors(extent);
    for (int set = 0; set < VMDK_SETS; set++) {
        if (gd_at[set] != 0) {
            excess.start[set] = gd_at[set] + vmdk_header_gd_sectors(&shorter) * BDRV_SECTOR_SIZE;
            excess.end[set] = gd_at[set] + vmdk_header_gd_sectors(header) * BDRV_SECTOR_SIZE;
        }
    }
    for (int set = 0; !deny && set < VMDK_SETS; set++) {
        if (gd_at[set] != 0 && excess.start[set] < excess.end[set]) {
            deny = is_in_excess(&excess, gd_at[set], excess.start[set] - gd_at[set]);
        }
    }
    for (int set = 0; !deny && set < VMDK_SETS && excess.start[0] < excess.end[0]; set++) {
        deny = gd_at[set] != 0 &&
               vmdk_check_each_gde(extent->file, gd_at[set], 0, vmdk_header_tables(&shorter),
                                   is_table_in_excess, &excess) > 0;
    }
    return deny;
}

/* Of a capacity that is larger than the line: does nothing lie between, or can the directories
 * not be those of a disk of that size? */
static int is_too_large(const VmdkExtent *extent, const VmdkHeader *header)
{
    const int redundant = (header->flags & VMDK_FLAG_REDUNDANT) != 0;
    const VmdkCheckMap map = {
        .file = extent->file,
        .grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE,
        .gtes = header->gtes_per_gt,
        .tables = vmdk_header_tables(header),
        .gd_at = {[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE,
                  [VMDK_REDUNDANT] = redundant * (int64_t)header->rgd_sector * BDRV_SECTOR_SIZE},
    };

    return directories_deny(extent, header, map.gd_at) ||
           !vmdk_check_holds_beyond(&map, line_sectors(extent) * BDRV_SECTOR_SIZE);
}

/* ---------------------------------------------------------------------- judgement */

/* The directories were made for one of the two; if they do for both, the larger
 * loses nothing.  A line is only changed where no other extent would move. */
static Side wrong_side(VmdkCheck *c, VmdkExtent *extent, const VmdkHeader *header)
{
    const int64_t line = line_sectors(extent), capacity = (int64_t)header->capacity_sectors;
    const int for_line = is_laid_out_for(extent, header, line);
    const int for_capacity = is_laid_out_for(extent, header, capacity);

    if (same_tables(header, line) ? line > capacity : for_line && !for_capacity) {
        return SIDE_HEADER;
    }
    if (was_interrupted(extent, header)) {
        return SIDE_HEADER;
    }
    if (neighbours_say(c->image, extent, capacity)) {
        return SIDE_LINE;
    }
    if (line < capacity && (for_line || !for_capacity) && is_too_large(extent, header)) {
        return SIDE_HEADER;
    }
    return c->image->extent_count == 1 ? SIDE_LINE : SIDE_NONE;
}

int vmdk_check_capacity(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header, int64_t *length)
{
    const int64_t line = line_sectors(extent), capacity = (int64_t)header->capacity_sectors;
    /* A shorter line is what a change of the size leaves that was interrupted. */
    BdrvFinding finding = {
        .kind = line <= capacity ? BDRV_FINDING_MISMATCH : BDRV_FINDING_CORRUPTION,
        .repaired = c->mend_all,
    };
    Side side;
    int ret = 0;

    *length = (line != 0 ? bdrv_min(line, capacity) : capacity) * BDRV_SECTOR_SIZE;
    if (line == 0 || (line <= capacity && capacity - line < (int64_t)header->grain_sectors)) {
        return 0;
    }
    side = wrong_side(c, extent, header);
    finding.repair = side == SIDE_HEADER ? "the header is set to the descriptor's size"
                     : side == SIDE_LINE ? "the descriptor is set to the header's size"
                                         : NULL;
    vmdk_found_lengths(c, extent, finding, capacity);
    if (side == SIDE_HEADER) {
        header->capacity_sectors = (uint64_t)line;
        *length = line * BDRV_SECTOR_SIZE;
        ret = c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
    } else if (side == SIDE_LINE) {
        *length = capacity * BDRV_SECTOR_SIZE;
        ret = c->mend_all ? vmdk_mend_line(c, extent, capacity) : 0;
    }
    return ret;
}
