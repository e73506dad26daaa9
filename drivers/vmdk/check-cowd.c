/* SPDX-License-Identifier: MIT */
/*
 * check-cowd.c - copy-on-write extents.  There is one set of tables, so that
 * what is wrong in them is lost; freeSector, which says where other programs
 * put the next grain, is what must not be wrong.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

/* Of fields that are changed in place. */
enum {
    CAPACITY_OFFSET = 12,
    ENTRIES_OFFSET = 24
};

static int write_header(VmdkCheck *c, const VmdkExtent *extent, const VmdkCowdHeader *header)
{
    uint8_t bytes[VMDK_COWD_HEADER_BYTES];

    vmdk_cowd_header_encode(header, bytes);
    return vmdk_mend_bytes(c, extent->file, bytes, sizeof bytes, 0);
}

static int write_field(VmdkCheck *c, const VmdkExtent *extent, uint32_t value, int64_t offset)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, value);
    return vmdk_mend_bytes(c, extent->file, bytes, sizeof bytes, offset);
}

/* 1: there is a header to go on with; 0: there is none, as reported. */
static int replace_header(VmdkCheck *c, VmdkExtent *extent, VmdkCowdHeader *header)
{
    char *why = strdup(bdrv_errmsg());
    int found = why ? vmdk_cowd_header_rebuild(extent, extent->line->sectors, header) : -ENOMEM;
    const BdrvFinding finding = {
        .kind = found ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_UNRECOVERABLE,
        .offset = extent->start,
        .bytes = extent->line->sectors * BDRV_SECTOR_SIZE,
        .repair = found ? "rebuilt from the descriptor and the directory" : NULL,
        .repaired = c->mend_all,
    };

    if (found >= 0) {
        vmdk_found(c, &finding, "%s: the header is unusable: %s", vmdk_check_name(extent), why);
    }
    free(why);
    if (found == 1 && c->mend_all) {
        int ret = write_header(c, extent, header);

        return ret < 0 ? ret : found;
    }
    return found;
}

/* freeSector must be behind all that is used.  After a crash it need not be. */
static int check_free_sector(VmdkCheckMap *map, VmdkCowdHeader *header)
{
    VmdkCheck *c = map->c;
    const int64_t used = bdrv_div_up(map->used_end, BDRV_SECTOR_SIZE);
    const int64_t size = bdrv_div_up(bdrv_getlength(map->file), BDRV_SECTOR_SIZE);
    const int low = header->free_sector < used;
    const int has_number = used <= UINT32_MAX;
    const BdrvFinding finding = {
        .kind = low && !header->unclean_shutdown ? BDRV_FINDING_CORRUPTION
                                                 : BDRV_FINDING_MISMATCH,
        .repair = has_number ? "set to the end of what is used" : NULL,
        .repaired = c->mend_all,
    };

    if (!low && header->free_sector <= bdrv_max(size, used)) {
        return 0;
    }
    vmdk_found(c, &finding, "%s: freeSector is %" PRIu32 ", but sectors up to %" PRId64
               " are in use and the file has %" PRId64, vmdk_check_name(map->extent),
               header->free_sector, used, size);
    if (!has_number || !c->mend_all) {
        return 0;
    }
    header->free_sector = (uint32_t)used;
    return write_field(c, map->extent, header->free_sector, VMDK_COWD_FREE_OFFSET);
}

/* What a repair of leaks cut off the file, freeSector was behind: it goes where the
 * file ends now.  (Until then other programs would only leave a gap.) */
static int follow_cut(VmdkCheckMap *map, VmdkCowdHeader *header, int64_t size)
{
    const int64_t end = bdrv_div_up(map->file_size, BDRV_SECTOR_SIZE);

    if (map->file_size >= size || header->free_sector <= end ||
        header->free_sector > bdrv_div_up(size, BDRV_SECTOR_SIZE)) {
        return 0;
    }
    header->free_sector = (uint32_t)end;
    return write_field(map->c, map->extent, header->free_sector, VMDK_COWD_FREE_OFFSET);
}

static int check_unclean(VmdkCheck *c, VmdkExtent *extent, const VmdkCowdHeader *header)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = "the mark is cleared",
        .repaired = c->mend_all,
    };

    if (!header->unclean_shutdown) {
        return 0;
    }
    vmdk_found(c, &finding, "%s: uncleanShutdown is %" PRIu32 ": the image was not closed "
               "properly", vmdk_check_name(extent), header->unclean_shutdown);
    return c->mend_all ? write_field(c, extent, 0, VMDK_COWD_UNCLEAN_OFFSET) : 0;
}

static int64_t entries_for(const VmdkCowdHeader *header, int64_t sectors)
{
    return bdrv_div_up(sectors, vmdk_cowd_gtes(header) * (int64_t)header->grain_sectors);
}

/* The directory was made for one of the two; if it does for both, the larger
 * loses nothing. */
static int header_is_wrong(const VmdkCowdHeader *header, int64_t line)
{
    const int64_t capacity = header->capacity_sectors;

    return line <= UINT32_MAX && entries_for(header, line) == header->gd_entries &&
           (line > capacity || entries_for(header, capacity) != header->gd_entries);
}

/* As in check-capacity.c. */
static int was_interrupted(const VmdkExtent *extent, const VmdkCowdHeader *header)
{
    const int64_t line = extent->line->sectors;
    const VmdkCheckMap map = {
        .file = extent->file,
        .grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE,
        .gtes = vmdk_cowd_gtes(header),
        .tables = header->gd_entries,
        .gd_at = {[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE},
    };

    return extent == &extent->image->extents[extent->image->extent_count - 1] &&
           line < header->capacity_sectors &&
           (header->unclean_shutdown != 0 ||
            (entries_for(header, line) == header->gd_entries &&
             !vmdk_check_holds_beyond(&map, line * BDRV_SECTOR_SIZE)));
}

/* With the directory that goes with it. */
static int set_capacity(VmdkCheck *c, VmdkExtent *extent, VmdkCowdHeader *header, int64_t line)
{
    const int64_t wanted = entries_for(header, line);
    int ret = c->mend_all ? write_field(c, extent, (uint32_t)line, CAPACITY_OFFSET) : 0;

    header->capacity_sectors = (uint32_t)line;
    if (ret == 0 && header->gd_entries > wanted) {
        header->gd_entries = (uint32_t)wanted;
        ret = c->mend_all ? write_field(c, extent, header->gd_entries, ENTRIES_OFFSET) : 0;
    }
    return ret;
}

static int check_capacity(VmdkCheck *c, VmdkExtent *extent, VmdkCowdHeader *header)
{
    const int64_t line = extent->line->sectors, capacity = header->capacity_sectors;
    const int in_header = header_is_wrong(header, line) || was_interrupted(extent, header);
    const int alone = c->image->extent_count == 1;
    const BdrvFinding finding = { /* as in check-capacity.c */
        .kind = line <= capacity ? BDRV_FINDING_MISMATCH : BDRV_FINDING_CORRUPTION,
        .repair = in_header ? "the header is set to the descriptor's size"
                  : alone   ? "the descriptor is set to the header's size"
                            : NULL,
        .repaired = c->mend_all,
    };

    if (line == 0 || (line <= capacity && capacity - line < (int64_t)header->grain_sectors)) {
        return 0;
    }
    vmdk_found_lengths(c, extent, finding, capacity);
    if (in_header) {
        return set_capacity(c, extent, header, line);
    }
    return alone && c->mend_all ? vmdk_mend_line(c, extent, capacity) : 0;
}

/* Does any table hold something behind what numSectors says that the disk has?  Then it
 * may be that which is wrong. */
static int is_longer(const VmdkExtent *extent, const VmdkCowdHeader *header)
{
    const VmdkCheckMap map = {
        .file = extent->file,
        .grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE,
        .gtes = vmdk_cowd_gtes(header),
        .tables = header->gd_entries,
        .gd_at = {[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE},
    };

    return vmdk_check_holds_beyond(&map, (int64_t)header->capacity_sectors * BDRV_SECTOR_SIZE);
}

/* More entries than the capacity needs would be taken for tables; but if they are some,
 * the capacity is not certain, and nothing behind it is cut off. */
static int check_entry_count(VmdkCheck *c, VmdkExtent *extent, VmdkCowdHeader *header,
                             int *keeps_space)
{
    const int64_t wanted = entries_for(header, header->capacity_sectors);
    const int longer = header->gd_entries > wanted && is_longer(extent, header);
    const BdrvFinding finding = {
        .kind = longer ? BDRV_FINDING_UNRECOVERABLE : BDRV_FINDING_CORRUPTION,
        .repair = longer ? NULL : "set to what the capacity needs",
        .repaired = c->mend_all,
    };

    if (header->gd_entries <= wanted) {
        return 0; /* fewer do not open */
    }
    vmdk_found(c, &finding, "%s: numGDEntries is %" PRIu32 ", but %" PRIu32 " sectors need %"
               PRId64 "%s", vmdk_check_name(extent), header->gd_entries, header->capacity_sectors,
               wanted, longer ? "; as the other tables hold something, numSectors may be wrong" : "");
    *keeps_space = longer;
    if (longer) {
        return 0;
    }
    header->gd_entries = (uint32_t)wanted;
    return c->mend_all ? write_field(c, extent, header->gd_entries, ENTRIES_OFFSET) : 0;
}

static int check_tables(VmdkCheckMap *map, const VmdkCowdHeader *header)
{
    const int64_t line = map->extent->line->sectors;
    int ret = vmdk_regions_add(&map->regions, 0, VMDK_COWD_HEADER_BYTES);

    map->length = bdrv_min(line != 0 ? line : INT64_MAX, header->capacity_sectors) *
                  BDRV_SECTOR_SIZE;
    map->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    map->keeps_space |= (int64_t)header->capacity_sectors * BDRV_SECTOR_SIZE - map->length >= map->grain;
    map->gtes = vmdk_cowd_gtes(header);
    map->tables = bdrv_div_up(map->length, map->gtes * map->grain);
    map->gd_at[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE;
    map->first_data = VMDK_COWD_HEADER_BYTES;
    map->has_zeroed = 1;
    map->any_place = 1;
    /* Behind freeSector other programs keep room ready. */
    map->data_end = header->unclean_shutdown ? map->file_size
                                             : (int64_t)header->free_sector * BDRV_SECTOR_SIZE;
    return ret < 0 ? ret : vmdk_check_map(map);
}

static int check_body(VmdkCheck *c, VmdkExtent *extent, VmdkCowdHeader *header)
{
    VmdkCheckMap map = {.c = c, .extent = extent, .file = extent->file,
                        .file_size = bdrv_getlength(extent->file)};
    const int64_t size = map.file_size;
    int ret = check_capacity(c, extent, header);

    if (ret == 0) {
        ret = check_entry_count(c, extent, header, &map.keeps_space);
    }
    if (ret == 0) {
        ret = check_tables(&map, header);
    }
    if (ret == 0 && !header->legacy) {
        ret = follow_cut(&map, header, size);
    }
    if (ret == 0 && !header->legacy) {
        ret = check_free_sector(&map, header);
    }
    if (ret == 0) {
        ret = check_unclean(c, extent, header);
    }
    vmdk_check_map_free(&map);
    return ret;
}

int vmdk_check_cowd(VmdkCheck *c, VmdkExtent *extent)
{
    VmdkCowdHeader header;
    int ret = vmdk_cowd_header_read(extent->file, &header);

    if (ret == 0) {
        return check_body(c, extent, &header);
    }
    if (ret != -EINVAL) {
        return ret; /* it could be read a moment ago: no reason to write another */
    }
    ret = replace_header(c, extent, &header);
    return ret == 1 ? check_body(c, extent, &header) : ret;
}
