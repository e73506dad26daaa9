/* SPDX-License-Identifier: MIT */
/*
 * check-sparse.c - hosted sparse extents that are not compressed: the header
 * against the directories and the descriptor's line, then the tables, then what the
 * header says about them.  Compressed ones go on to
 * check-stream.c.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum {
    AT_NEWLINES = 73,
    VERSION_ZEROED = 2,
    STREAM_FLAGS = VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS
};

/* ------------------------------------------------------------------- header */

static int read_head(const VmdkExtent *extent, uint8_t *bytes)
{
    memset(bytes, 0, VMDK_HEADER_BYTES);
    return bdrv_pread(extent->file, bytes,
                      (size_t)bdrv_min(bdrv_getlength(extent->file), VMDK_HEADER_BYTES), 0);
}

/* Only that: a file that was sent as text has it, and shifted content. */
static int was_sent_as_text(const uint8_t *bytes)
{
    static const uint8_t newlines[] = {'\n', ' ', '\r', '\n'};
    VmdkHeader header;

    vmdk_header_decode(&header, bytes);
    return vmdk_magic(bytes, VMDK_HEADER_BYTES) == VMDK_MAGIC_SPARSE &&
           header.version >= 1 && header.version <= 3 &&
           header.flags & VMDK_FLAG_NEWLINES &&
           memcmp(bytes + AT_NEWLINES, newlines, sizeof newlines) != 0;
}

/* No descriptor: the sectors that the line has are unknown, 0. */
static int64_t line_sectors(const VmdkExtent *extent)
{
    return extent->line->sectors;
}

/* What a lost header is made from, or why it is not. */
typedef enum Remains {
    REMAINS_NOTHING,
    REMAINS_HEADER,      /* all of it but the capacity */
    REMAINS_DIRECTORIES, /* it can be worked out */
    REMAINS_STREAM       /* it would have to be that of a stream */
} Remains;

static int is_uncompressed(Remains remains)
{
    return remains == REMAINS_HEADER || remains == REMAINS_DIRECTORIES;
}

static void report_header(VmdkCheck *c, const VmdkExtent *extent, const char *why,
                          Remains remains)
{
    const int found = is_uncompressed(remains);
    const BdrvFinding finding = {
        .kind = found ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_UNRECOVERABLE,
        .offset = extent->start,
        .bytes = line_sectors(extent) * BDRV_SECTOR_SIZE,
        .repair = remains == REMAINS_HEADER ? "the capacity is set to the descriptor's size"
                  : found ? "rebuilt from the descriptor and the directories" : NULL,
        .repaired = found && c->mend_all,
    };

    vmdk_found(c, &finding, "%s: the header is unusable: %s%s", vmdk_check_name(extent), why,
               remains == REMAINS_STREAM ? "; the extent is a stream, and has no footer that "
                                           "is a copy of the header" : "");
}

/* One wrong capacity makes all of a header one that cannot be used.  1: found; 0: not; or
 * -errno. */
static int search_header(VmdkExtent *extent, VmdkHeader *header, Remains *found)
{
    const int64_t line = line_sectors(extent);
    int ret = line > 0 ? vmdk_header_read_for(extent->file, line, header) : -EINVAL;

    *found = ret == 0 ? REMAINS_HEADER : REMAINS_DIRECTORIES;
    if (ret == -EINVAL) {
        return vmdk_header_rebuild(extent, line, header);
    }
    return ret < 0 ? ret : 1;
}

/* The directories of a stream fit an uncompressed layout too: what lies behind them
 * tells.  0 or -errno. */
static int search_remains(VmdkExtent *extent, VmdkHeader *header, Remains *remains)
{
    Remains found;
    int64_t set;
    int ret;

    if (vmdk_type_is_stream(extent->image)) {
        *remains = REMAINS_STREAM;
        return 0;
    }
    ret = search_header(extent, header, &found);
    if (ret <= 0) {
        return ret;
    }
    set = vmdk_header_gd_sectors(header) + vmdk_header_tables(header) *
                                               vmdk_header_gt_sectors(header);
    ret = vmdk_has_packed_grains(extent->file, header->gd_sector + (uint64_t)set,
                                 header->capacity_sectors);
    *remains = ret == 1 ? REMAINS_STREAM : found;
    return ret < 0 ? ret : 0;
}

/* 1: there is a header to go on with; 0: there is none, as reported. */
static int replace_header(VmdkCheck *c, VmdkExtent *extent, const uint8_t *bytes,
                          const char *why, VmdkHeader *header)
{
    Remains remains = REMAINS_NOTHING;
    int ret = 0;

    if (!was_sent_as_text(bytes)) {
        ret = search_remains(extent, header, &remains);
    }
    if (ret == 0) {
        report_header(c, extent, why, remains);
    }
    if (ret == 0 && is_uncompressed(remains) && c->mend_all) {
        ret = vmdk_check_write_header(c, extent, header);
    }
    return ret < 0 ? ret : is_uncompressed(remains);
}

/* Is there a footer, and is it no content of the disk?  That can look like one, but where the
 * descriptor speaks of no stream, the directories of an uncompressed extent say what it is.
 * 1, 0 or -errno. */
static int ends_like_stream(VmdkExtent *extent)
{
    Remains remains = REMAINS_NOTHING;
    VmdkHeader header;
    int ret = vmdk_stream_has_footer(extent, VMDK_FLAG_COMPRESSED);

    if (ret == 1) {
        ret = search_remains(extent, &header, &remains);
        return ret < 0 ? ret : !is_uncompressed(remains);
    }
    return ret;
}

/* Do the flags of a header that can be used deny what lies behind it?  Such a header
 * is as good as destroyed.  1, 0 or -errno. */
static int denies_stream(const VmdkExtent *extent, const VmdkHeader *header)
{
    return (header->flags & STREAM_FLAGS) != STREAM_FLAGS && vmdk_type_is_stream(extent->image)
               ? vmdk_has_packed_grains(extent->file, header->overhead_sectors,
                                        header->capacity_sectors)
               : 0;
}

static void report_flags(VmdkCheck *c, const VmdkExtent *extent, const VmdkHeader *header)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = extent->start,
        .bytes = extent->length,
    };

    vmdk_found(c, &finding, "%s: the header is unusable: its flags are 0x%" PRIx32 ", but grains "
               "are compressed and have markers, which are 0x30000", vmdk_check_name(extent),
               header->flags);
}

/* ---------------------------------------------------------------------- map */

static int check_tables(VmdkCheckMap *map, const VmdkHeader *header)
{
    const int64_t size = map->file_size;
    int ret = vmdk_regions_add(&map->regions, 0, VMDK_HEADER_BYTES);

    if (ret == 0 && header->descriptor_sector != 0) {
        const int64_t start = (int64_t)header->descriptor_sector * BDRV_SECTOR_SIZE;

        ret = vmdk_regions_add(&map->regions, start, start + (int64_t)header->descriptor_sectors *
                                                                 BDRV_SECTOR_SIZE);
    }
    map->grain = (int64_t)header->grain_sectors * BDRV_SECTOR_SIZE;
    map->gtes = header->gtes_per_gt;
    map->tables = vmdk_header_tables(header);
    map->gd_at[VMDK_PRIMARY] = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE;
    if (header->flags & VMDK_FLAG_REDUNDANT && vmdk_header_redundant_fits(header, size)) {
        map->gd_at[VMDK_REDUNDANT] = (int64_t)header->rgd_sector * BDRV_SECTOR_SIZE;
    }
    map->first_data = bdrv_max((int64_t)header->overhead_sectors * BDRV_SECTOR_SIZE,
                               VMDK_HEADER_BYTES); /* inside the file: check-front.c */
    map->data_end = -1;
    map->has_zeroed = (header->flags & VMDK_FLAG_ZEROED) != 0;
    map->fixed_layout = 1;
    return ret < 0 ? ret : vmdk_check_map(map);
}

/* Grains of zeros, and the unclean flag, in one write of the header, when all
 * else is mended. */
static int check_flags(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header, int zeroed)
{
    const BdrvFinding unclean = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = "the mark is cleared",
        .repaired = c->mend_all,
    };
    const int changed = zeroed || header->unclean_shutdown != 0;
    int ret = 0;

    if (header->unclean_shutdown != 0) {
        vmdk_found(c, &unclean, "%s: uncleanShutdown is %u: the image was not closed properly",
                   vmdk_check_name(extent), header->unclean_shutdown);
    }
    if (changed && c->mend_all) {
        header->unclean_shutdown = 0;
        if (zeroed) {
            header->flags |= VMDK_FLAG_ZEROED;
            header->version = header->version < VERSION_ZEROED ? VERSION_ZEROED : header->version;
        }
        ret = bdrv_table_flush(c->image->table);
        ret = ret < 0 ? ret : vmdk_header_update(extent->file, header);
        ret = ret < 0 ? ret : bdrv_flush_children(c->image->bs);
        c->mended = 1;
    }
    return ret;
}

static int check_body(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    VmdkCheckMap map = {.c = c, .extent = extent, .file = extent->file};
    int ret = vmdk_check_footer(c, extent, header);

    if (ret == 0) {
        ret = vmdk_check_offsets(c, extent, header);
    }
    if (ret == 0) {
        ret = vmdk_check_front(c, extent, header);
    }
    if (ret == 0) {
        ret = vmdk_check_capacity(c, extent, header, &map.length);
    }
    map.keeps_space = (int64_t)header->capacity_sectors - map.length / BDRV_SECTOR_SIZE >=
                      (int64_t)header->grain_sectors;
    map.file_size = bdrv_getlength(extent->file);
    if (ret == 0) {
        ret = check_tables(&map, header);
    }
    if (ret == 0) {
        ret = check_flags(c, extent, header, map.zeroed_unflagged);
    }
    vmdk_check_map_free(&map);
    return ret == 1 ? 0 : ret;
}

/* A header that can be used, of either kind. */
static int check_usable(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    int ret = denies_stream(extent, header);

    if (ret < 0) {
        return ret;
    }
    if (ret == 1) {
        ret = vmdk_stream_has_footer(extent, STREAM_FLAGS);
        if (ret == 0) {
            report_flags(c, extent, header);
        }
        return ret == 1 ? vmdk_check_stream(c, extent, NULL) : ret;
    }
    return header->flags & VMDK_FLAG_COMPRESSED ? vmdk_check_stream(c, extent, header)
                                                : check_body(c, extent, header);
}

/* A header that cannot be used: the last message says why. */
static int check_unusable(VmdkCheck *c, VmdkExtent *extent, const uint8_t *bytes)
{
    char *why = strdup(bdrv_errmsg());
    VmdkHeader header;
    int ret = why ? ends_like_stream(extent) : -ENOMEM;

    if (ret == 1) {
        ret = vmdk_check_stream(c, extent, NULL);
    } else if (ret == 0) {
        ret = replace_header(c, extent, bytes, why, &header);
        ret = ret == 1 ? check_body(c, extent, &header) : ret;
    }
    free(why);
    return ret;
}

int vmdk_check_sparse(VmdkCheck *c, VmdkExtent *extent)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    VmdkHeader header;
    int ret = read_head(extent, bytes);

    if (ret < 0) {
        return ret;
    }
    vmdk_header_decode(&header, bytes);
    if (vmdk_magic(bytes, sizeof bytes) == VMDK_MAGIC_SPARSE &&
        header.flags & VMDK_FLAG_COMPRESSED && !was_sent_as_text(bytes)) {
        return check_usable(c, extent, &header);
    }
    ret = vmdk_header_read(extent->file, &header);
    if (ret == 0) {
        return check_usable(c, extent, &header);
    }
    /* It could be read a moment ago: no reason to write another. */
    return ret != -EINVAL ? ret : check_unusable(c, extent, bytes);
}
