/* SPDX-License-Identifier: MIT */
/*
 * check-offsets.c - gdOffset and rgdOffset of a header that can be used: are the directories
 * there?  What is mistaken for one is written into, and what it does not lead to is given
 * up: so this is asked before anything else.
 */
#include "check.h"

#include <stdlib.h>

enum {
    GDES_LOOKED_AT = 256 /* of hostile directories each could lead to a table */
};

/* Could the table at that sector be one?  Nearly all of its entries are zeros or
 * sectors of the file.  bytes is room for it. */
static int is_table_at(const VmdkExtent *extent, const VmdkHeader *header, uint32_t sector,
                       uint8_t *bytes)
{
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE, size = bdrv_getlength(extent->file);
    const int64_t length = vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    int64_t strange = 0;

    if (start < VMDK_HEADER_BYTES || start + length > size ||
        bdrv_pread(extent->file, bytes, (size_t)length, start) < 0) {
        return 0;
    }
    for (int64_t i = 0; i < header->gtes_per_gt; i++) {
        strange += (int64_t)bdrv_load_le32(bytes + i * 4) * BDRV_SECTOR_SIZE >= size;
    }
    return strange * 8 < header->gtes_per_gt;
}

/* The sector of a table; 0: there is none, or it cannot be read. */
static int64_t entry_at(const VmdkExtent *extent, uint64_t gd, int64_t table)
{
    uint8_t bytes[4];

    return bdrv_pread(extent->file, bytes, sizeof bytes,
                      (int64_t)gd * BDRV_SECTOR_SIZE + table * 4) < 0
               ? 0
               : (int64_t)bdrv_load_le32(bytes);
}

/* What two tables say of the same grains.  (That only one has an entry is what an interruption
 * leaves.) */
typedef struct Agreement {
    int64_t both;  /* have an entry */
    int64_t equal; /* … and the same */
} Agreement;

static void compare_tables(const uint8_t *one, const uint8_t *other, int64_t entries,
                           Agreement *agreement)
{
    for (int64_t i = 0; i < entries; i++) {
        const uint32_t a = bdrv_load_le32(one + i * 4), b = bdrv_load_le32(other + i * 4);

        agreement->both += a != 0 && b != 0;
        agreement->equal += a != 0 && a == b;
    }
}

/* What the first GDEs in use lead to. */
typedef struct Lead {
    const VmdkExtent *extent;
    const VmdkHeader *header;
    uint8_t *room; /* for a table */
    int64_t good, used;
} Lead;

static int count_lead(void *opaque, int64_t table, uint32_t sector)
{
    Lead *lead = opaque;

    (void)table;
    lead->good += is_table_at(lead->extent, lead->header, sector, lead->room);
    return ++lead->used == GDES_LOOKED_AT;
}

/* Do most GDEs of the primary directory, wherever it is, lead to tables?  The first
 * ones in use tell. */
static int leads_to_tables(const VmdkExtent *extent, const VmdkHeader *header)
{
    Lead lead = {.extent = extent, .header = header,
                 .room = malloc((size_t)vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE)};
    const int ret = lead.room ? vmdk_check_each_gde(extent->file,
                                                    (int64_t)header->gd_sector * BDRV_SECTOR_SIZE,
                                                    0, vmdk_header_tables(header), count_lead, &lead)
                              : -ENOMEM;

    free(lead.room);
    return ret >= 0 && lead.used > 0 && lead.good * 2 >= lead.used;
}

/* Does what was worked out say the same?  Then it is right, whatever is in the directories. */
static int is_same_place(const VmdkHeader *usual, const VmdkHeader *header)
{
    return usual->gd_sector == header->gd_sector && usual->rgd_sector == header->rgd_sector &&
           usual->grain_sectors == header->grain_sectors &&
           usual->gtes_per_gt == header->gtes_per_gt &&
           ((usual->flags ^ header->flags) & VMDK_FLAG_REDUNDANT) == 0;
}

/* Can what was worked out take the place of what the header says?  With only one
 * directory left, it may be taken for the only one there ever was. */
static int is_better(const VmdkHeader *usual, const VmdkHeader *header, int fits, int good)
{
    return usual->grain_sectors == header->grain_sectors &&
           usual->gtes_per_gt == header->gtes_per_gt &&
           ((usual->flags & VMDK_FLAG_REDUNDANT) == (header->flags & VMDK_FLAG_REDUNDANT) ||
            (!fits && !good)) &&
           (usual->gd_sector != header->gd_sector || !fits);
}

/* Is there a directory at that sector?  1, 0 or -errno. */
static int is_directory(const VmdkExtent *extent, const VmdkHeader *header, uint64_t sector)
{
    VmdkHeader other = *header;
    int ret;

    other.gd_sector = sector;
    ret = vmdk_header_is_usual(extent->file, &other);
    return ret == 0 ? leads_to_tables(extent, &other) : ret;
}

/* Into what is mistaken for a directory, entries would be written: over a grain.  Before the
 * first grain there are only tables.  1, 0 or -errno. */
static int may_be_directory(const VmdkExtent *extent, const VmdkHeader *header, uint64_t sector)
{
    return sector + (uint64_t)vmdk_header_gd_sectors(header) <= header->overhead_sectors
               ? 1
               : is_directory(extent, header, sector);
}

/* Is the redundant directory in that table? */
static int is_in_table(void *opaque, int64_t table, uint32_t sector)
{
    const VmdkHeader *header = opaque;

    (void)table;
    return header->rgd_sector < sector + (uint64_t)vmdk_header_gt_sectors(header) &&
           sector < header->rgd_sector + (uint64_t)vmdk_header_gd_sectors(header);
}

/* Is what would be the redundant directory in the primary one, or in a table of that?  1, 0 or
 * -errno. */
static int is_in_primary(const VmdkExtent *extent, const VmdkHeader *header)
{
    const uint64_t start = header->rgd_sector, gd = header->gd_sector;
    const uint64_t sectors = (uint64_t)vmdk_header_gd_sectors(header);
    VmdkHeader own = *header;

    return start < gd + sectors && gd < start + sectors
               ? 1
               : vmdk_check_each_gde(extent->file, (int64_t)gd * BDRV_SECTOR_SIZE, 0,
                                     vmdk_header_tables(header), is_in_table, &own);
}

/* Has no table an entry? */
static int is_blank(const VmdkExtent *extent, const VmdkHeader *header, uint64_t sector)
{
    const int64_t size = vmdk_header_gd_sectors(header) * BDRV_SECTOR_SIZE;
    uint8_t bytes[8 * BDRV_SECTOR_SIZE];
    int blank = 1;

    for (int64_t at = 0; blank && at < size; at += (int64_t)sizeof bytes) {
        const size_t now = (size_t)bdrv_min(size - at, (int64_t)sizeof bytes);

        blank = bdrv_pread(extent->file, bytes, now, (int64_t)sector * BDRV_SECTOR_SIZE + at) == 0 &&
                bdrv_is_zero(bytes, now);
    }
    return blank;
}

/* What is known of the places in a header. */
typedef struct Places {
    int has_redundant;
    int fits;       /* there is no redundant directory, or it can be where it should */
    const char *why; /* … or not */
    int spare;      /* there is one, and it can stand for the other */
    int good;       /* the primary one is where it should be */
    int lost;       /* it cannot be there, or would have to be made of something else */
} Places;

static int judge_redundant(const VmdkExtent *extent, const VmdkHeader *header, Places *places)
{
    int may_be;

    places->fits = 1;
    if (!(header->flags & VMDK_FLAG_REDUNDANT)) {
        return 0;
    }
    places->has_redundant = 1;
    places->fits = 0;
    if (!vmdk_header_redundant_fits(header, bdrv_getlength(extent->file))) {
        places->why = "is not inside the file";
        return 0;
    }
    if (vmdk_check_is_in_text(extent, header, header->rgd_sector)) {
        places->why = "cannot be: the descriptor is";
        return 0;
    }
    may_be = may_be_directory(extent, header, header->rgd_sector);
    places->why = "is not";
    places->fits = may_be == 1 || (may_be == 0 && is_blank(extent, header, header->gd_sector) &&
                                   is_blank(extent, header, header->rgd_sector));
    return may_be < 0 ? may_be : 0;
}

/* Nothing is behind the last entry of the directory in its sector. */
static int ends_with_entries(const VmdkExtent *extent, const VmdkHeader *header, uint64_t sector)
{
    const int64_t used = vmdk_header_tables(header) * 4;
    const size_t rest = (size_t)(vmdk_header_gd_sectors(header) * BDRV_SECTOR_SIZE - used);
    uint8_t bytes[BDRV_SECTOR_SIZE];

    return rest == 0 || (bdrv_pread(extent->file, bytes, rest,
                                    (int64_t)sector * BDRV_SECTOR_SIZE + used) == 0 &&
                         bdrv_is_zero(bytes, rest));
}

/* How a directory compares with the primary one. */
typedef struct Comparison {
    const VmdkExtent *extent;
    const VmdkHeader *header;
    uint8_t *room; /* for two tables */
    Agreement agreement;
    int64_t looked_at;
} Comparison;

/* No table is in the room for the descriptor. */
static int is_in_room(const VmdkHeader *header, int64_t start)
{
    return header->descriptor_sector != 0 &&
           start < (int64_t)(header->descriptor_sector + header->descriptor_sectors) *
                       BDRV_SECTOR_SIZE;
}

/* Is the table, which the other directory has, that of the primary one?  1: enough was seen. */
static int compare_table(void *opaque, int64_t table, uint32_t sector)
{
    Comparison *c = opaque;
    const VmdkHeader *header = c->header;
    BlockDriverState *file = c->extent->file;
    const int64_t bytes = vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    const int64_t copy = (int64_t)sector * BDRV_SECTOR_SIZE;
    const int64_t own = entry_at(c->extent, header->gd_sector, table) * BDRV_SECTOR_SIZE;

    if (own > 0 && !is_in_room(header, own) && bdrv_max(own, copy) + bytes <= bdrv_getlength(file) &&
        bdrv_pread(file, c->room, (size_t)bytes, own) == 0 &&
        bdrv_pread(file, c->room + bytes, (size_t)bytes, copy) == 0) {
        compare_tables(c->room, c->room + bytes, header->gtes_per_gt, &c->agreement);
        c->looked_at++;
    }
    return c->looked_at == GDES_LOOKED_AT;
}

/* Does the redundant directory lead to what the primary one leads to?  Of tables that both have,
 * the first ones tell. */
static int is_copy(const VmdkExtent *extent, const VmdkHeader *header)
{
    const size_t bytes = (size_t)vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    Comparison c = {.extent = extent, .header = header, .room = malloc(2 * bytes)};

    if (c.room) {
        (void)vmdk_check_each_gde(extent->file, (int64_t)header->rgd_sector * BDRV_SECTOR_SIZE, 0,
                                  vmdk_header_tables(header), compare_table, &c);
    }
    free(c.room);
    return c.agreement.both > 0 ? c.agreement.equal * 2 >= c.agreement.both
                                : ends_with_entries(extent, header, header->rgd_sector);
}

enum {
    TABLES_LOOKED_AT = 1 << 16
};

/* The beginning of a directory, and whether a table has it, too. */
typedef struct Beginning {
    const VmdkExtent *extent;
    const VmdkHeader *header;
    uint8_t *room;       /* for a table */
    int64_t count, used; /* entries; of them not 0 */
    int64_t looked_at;
    uint8_t entries[BDRV_SECTOR_SIZE];
} Beginning;

/* Has a sector of the table at least half of the same entries?  1, or 2: enough was seen; or 0. */
static int has_beginning(void *opaque, int64_t table, uint32_t sector)
{
    Beginning *b = opaque;
    const int64_t bytes = vmdk_header_gt_sectors(b->header) * BDRV_SECTOR_SIZE;
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE;

    (void)table;
    if (start + bytes > bdrv_getlength(b->extent->file) ||
        bdrv_pread(b->extent->file, b->room, (size_t)bytes, start) < 0) {
        return 0;
    }
    for (int64_t at = 0; at < bytes; at += BDRV_SECTOR_SIZE) {
        int64_t same = 0;

        for (int64_t i = 0; i < b->count * 4; i += 4) {
            const uint32_t entry = bdrv_load_le32(b->entries + i);

            same += entry != 0 && entry == bdrv_load_le32(b->room + at + i);
        }
        if (same * 2 >= b->used) {
            return 1;
        }
    }
    return ++b->looked_at == TABLES_LOOKED_AT ? 2 : 0;
}

/* Is what would be the redundant directory a part of a redundant table?  Then the primary one of
 * that has the same entries, which are those of grains.  1, 0 or -errno. */
static int is_of_a_table(const VmdkExtent *extent, const VmdkHeader *header)
{
    const size_t bytes = (size_t)vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    Beginning b = {.extent = extent, .header = header, .room = malloc(bytes),
                   .count = bdrv_min(vmdk_header_tables(header), BDRV_SECTOR_SIZE / 4)};
    int ret = b.room ? bdrv_pread(extent->file, b.entries, (size_t)b.count * 4,
                                  (int64_t)header->rgd_sector * BDRV_SECTOR_SIZE)
                     : -ENOMEM;

    for (int64_t i = 0; i < b.count; i++) {
        b.used += bdrv_load_le32(b.entries + i * 4) != 0;
    }
    if (ret == 0 && b.used == 0) {
        ret = !ends_with_entries(extent, header, header->rgd_sector);
    } else if (ret == 0) {
        ret = vmdk_check_each_gde(extent->file, (int64_t)header->gd_sector * BDRV_SECTOR_SIZE, 0,
                                  vmdk_header_tables(header), has_beginning, &b);
        ret = ret == 2 ? 0 : ret;
    }
    free(b.room);
    return ret;
}

/* In VMware's layout the redundant directory and its tables end where the primary one begins. */
static int is_before_primary(const VmdkHeader *header)
{
    return header->rgd_sector + (uint64_t)vmdk_header_gd_sectors(header) +
               (uint64_t)(vmdk_header_tables(header) * vmdk_header_gt_sectors(header)) ==
           header->gd_sector;
}

/* The primary directory is where it should be.  What is to be the other one, and may be damaged,
 * is where it always is, or is laid out as one; and it is no part of a table, of either.  (What it
 * leads to need not be the same: the power may have been lost.)  1, 0 or -errno. */
static int may_be_beside(const VmdkExtent *extent, const VmdkHeader *header)
{
    VmdkHeader other = *header;
    int ret;

    other.gd_sector = header->rgd_sector;
    ret = is_before_primary(header) ? 1
          : header->rgd_sector == header->gd_sector
              ? 0
              : vmdk_header_is_usual(extent->file, &other);
    if (ret != 0) {
        return ret;
    }
    ret = is_in_primary(extent, header);
    if (ret >= 0 && !is_blank(extent, header, header->rgd_sector)) {
        /* Or else an entry of the primary one is what is wrong. */
        ret = ret == 1 ? !is_copy(extent, header) : is_of_a_table(extent, header);
    }
    return ret < 0 ? ret : !ret;
}

static int judge_places(const VmdkExtent *extent, const VmdkHeader *header, Places *places)
{
    int ret = judge_redundant(extent, header, places);

    if (ret == 0) {
        ret = is_directory(extent, header, header->gd_sector);
    }
    if (ret < 0) {
        return ret;
    }
    places->good = ret && !vmdk_check_is_in_text(extent, header, header->gd_sector);
    if (places->good && places->has_redundant && places->fits) {
        ret = may_be_beside(extent, header);
        if (ret < 0) {
            return ret;
        }
        places->fits = ret;
    }
    ret = places->good ? 1 : may_be_directory(extent, header, header->gd_sector);
    places->lost = vmdk_check_is_in_text(extent, header, header->gd_sector) ||
                   (ret == 0 && (!is_blank(extent, header, header->gd_sector) ||
                                 (places->has_redundant && places->fits &&
                                  !is_blank(extent, header, header->rgd_sector))));
    if (ret >= 0 && places->lost && places->has_redundant && places->fits) {
        ret = is_directory(extent, header, header->rgd_sector);
        places->spare = ret == 1;
    }
    return ret < 0 ? ret : 0;
}

static void report_lost(VmdkCheck *c, const VmdkExtent *extent, const VmdkHeader *header)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = extent->start,
        .bytes = extent->length,
    };

    vmdk_found(c, &finding, "%s: gdOffset is sector %" PRIu64 ", where %s, and there is no other "
               "directory", vmdk_check_name(extent), header->gd_sector,
               vmdk_check_is_in_text(extent, header, header->gd_sector) ? "the descriptor is"
                                                                        : "no directory is");
}

/* The header is to say what *usual does. */
static void move_to_usual(VmdkCheck *c, const VmdkExtent *extent, VmdkHeader *header,
                          const VmdkHeader *usual)
{
    const BdrvFinding finding = {.kind = BDRV_FINDING_CORRUPTION,
                                 .repair = "set to where they are",
                                 .repaired = c->mend_all};

    vmdk_found(c, &finding, "%s: gdOffset is sector %" PRIu64 " and rgdOffset %" PRIu64
               ", but the directories are at %" PRIu64 " and %" PRIu64,
               vmdk_check_name(extent), header->gd_sector, header->rgd_sector,
               usual->gd_sector, usual->rgd_sector);
    header->gd_sector = usual->gd_sector;
    header->rgd_sector = usual->rgd_sector;
    header->flags &= ~(uint32_t)VMDK_FLAG_REDUNDANT;
    header->flags |= usual->flags & VMDK_FLAG_REDUNDANT;
}

/* Of the two directories, one is not where the header says.  It is given up. */
static void keep_one(VmdkCheck *c, const VmdkExtent *extent, VmdkHeader *header,
                     const Places *places)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = places->lost ? "the redundant directory takes its place"
                               : "the redundant directory is given up",
        .repaired = c->mend_all,
    };

    if (places->lost) {
        vmdk_found(c, &finding, "%s: gdOffset is sector %" PRIu64 ", where no directory is, but at "
                   "rgdOffset %" PRIu64 " there is", vmdk_check_name(extent), header->gd_sector,
                   header->rgd_sector);
        header->gd_sector = header->rgd_sector;
    } else {
        vmdk_found(c, &finding, "%s: rgdOffset is sector %" PRIu64 ", where the redundant directory "
                   "%s", vmdk_check_name(extent), header->rgd_sector, places->why);
    }
    header->flags &= ~(uint32_t)VMDK_FLAG_REDUNDANT;
    header->rgd_sector = 0;
}

/* A capacity that is larger than the line says may be wrong, and there are no tables for the
 * rest. */
static uint64_t certain_sectors(const VmdkExtent *extent, const VmdkHeader *header)
{
    const uint64_t line = (uint64_t)extent->line->sectors;

    return line != 0 && line < header->capacity_sectors ? line : header->capacity_sectors;
}

/* Works out the header for its capacity, or else for the line.  1: found; 0: not; or -errno. */
static int find_usual(VmdkExtent *extent, const VmdkHeader *header, VmdkHeader *usual)
{
    const int64_t capacity = (int64_t)header->capacity_sectors, line = extent->line->sectors;
    int ret = vmdk_header_rebuild(extent, capacity, usual);

    return ret == 0 && line != capacity ? vmdk_header_rebuild(extent, line, usual) : ret;
}

int vmdk_check_offsets(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    VmdkHeader usual, certain = *header;
    Places places = {.fits = 0};
    int found, ret;

    certain.capacity_sectors = certain_sectors(extent, header);
    ret = judge_places(extent, &certain, &places);
    if (ret < 0 || (places.fits && places.good)) {
        return ret;
    }
    found = find_usual(extent, header, &usual);
    if (found < 0 || (found && is_same_place(&usual, header))) {
        return found < 0 ? found : 0;
    }
    if (found && is_better(&usual, header, places.fits, places.good)) {
        move_to_usual(c, extent, header, &usual);
    } else if (places.lost && !places.spare) {
        report_lost(c, extent, header);
        return 1;
    } else if (places.lost || !places.fits) {
        keep_one(c, extent, header, &places);
    } else {
        return 0;
    }
    return c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
}
