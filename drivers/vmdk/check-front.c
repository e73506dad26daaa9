/* SPDX-License-Identifier: MIT */
/*
 * check-front.c - what the header of a hosted sparse extent says of the file before the
 * grains: where they begin, and which room the descriptor has.
 *
 *     header │ descriptor, room │ tables │ grains …
 *                               ▲        ▲
 *                        end of the room  overHead
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1
};

int vmdk_check_write_header(VmdkCheck *c, const VmdkExtent *extent, const VmdkHeader *header)
{
    uint8_t bytes[VMDK_HEADER_BYTES];

    vmdk_header_encode(header, bytes);
    return vmdk_mend_bytes(c, extent->file, bytes, sizeof bytes, 0);
}

/* The sector of the redundant directory; 0: there is none, and rgdOffset may be anything. */
static uint64_t redundant_sector(const VmdkExtent *extent, const VmdkHeader *header)
{
    return header->flags & VMDK_FLAG_REDUNDANT &&
                   vmdk_header_redundant_fits(header, bdrv_getlength(extent->file))
               ? header->rgd_sector
               : 0;
}

/* ---------------------------------------------------------------------- overHead */

/* Where grains are said to begin, as far as the file has such sectors. */
typedef struct Starts {
    int64_t front;  /* no grain begins before that sector */
    int64_t tables_end; /* in VMware's layout */
    int64_t count;
    int64_t before; /* of these: those that begin before overHead */
    int64_t witnesses; /* … and also behind tables_end, as two tables say, or one is enough */
    int is_one_bit; /* overHead is tables_end but for one bit: then one table is enough */
    int64_t first;  /* the least of all of them */
} Starts;

/* Of one directory, the table that was read last. */
typedef struct OneTable {
    int64_t gd;    /* where the directory is in the file; 0: there is none */
    int64_t start; /* … and the table */
    uint8_t *bytes; /* NULL: it is not to be had, or the same as before */
    uint8_t *room;
    uint8_t gdes[BDRV_SECTOR_SIZE];
} OneTable;

/* What cannot be read says nothing. */
static void load_table(const VmdkExtent *extent, const VmdkHeader *header, int64_t t,
                       OneTable *table)
{
    const int64_t bytes = vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    const int64_t at = t * ENTRY_BYTES % BDRV_SECTOR_SIZE, last = table->start;
    const int64_t left = (vmdk_header_tables(header) - t) * ENTRY_BYTES;

    if (at == 0 && bdrv_pread(extent->file, table->gdes, (size_t)bdrv_min(BDRV_SECTOR_SIZE, left),
                              table->gd + t * ENTRY_BYTES) < 0) {
        memset(table->gdes, 0, sizeof table->gdes);
    }
    table->bytes = NULL;
    table->start = (int64_t)bdrv_load_le32(table->gdes + at) * BDRV_SECTOR_SIZE;
    if (table->start != 0 && table->start != last &&
        table->start + bytes <= bdrv_getlength(extent->file) &&
        bdrv_pread(extent->file, table->room, (size_t)bytes, table->start) == 0) {
        table->bytes = table->room;
    }
}

/* An entry that the copy denies is as likely wrong as overHead is. */
static void count_starts(Starts *starts, const VmdkHeader *header, int64_t end,
                         const OneTable *table, const OneTable *copy)
{
    for (int64_t i = 0; i < header->gtes_per_gt * ENTRY_BYTES; i += ENTRY_BYTES) {
        const uint32_t entry = bdrv_load_le32(table->bytes + i);
        const int64_t start = entry;

        if (start > ENTRY_ZEROED && start >= starts->front && start < end &&
            (!copy->bytes || bdrv_load_le32(copy->bytes + i) == entry)) {
            const int is_before = (uint64_t)start < header->overhead_sectors;

            starts->count++;
            starts->before += is_before;
            starts->witnesses += is_before && (copy->bytes || starts->is_one_bit) &&
                                 start >= starts->tables_end &&
                                 start % (int64_t)header->grain_sectors == 0;
            starts->first = bdrv_min(starts->first, start);
        }
    }
}

/* By the tables of the primary directory, each that is there read once in a row. */
static int find_starts(const VmdkExtent *extent, const VmdkHeader *header, Starts *starts)
{
    const int64_t end = bdrv_getlength(extent->file) / BDRV_SECTOR_SIZE;
    const size_t bytes = (size_t)vmdk_header_gt_sectors(header) * BDRV_SECTOR_SIZE;
    OneTable table = {.gd = (int64_t)header->gd_sector * BDRV_SECTOR_SIZE};
    OneTable copy = {.gd = (int64_t)redundant_sector(extent, header) * BDRV_SECTOR_SIZE};
    int ret = 0;

    table.room = malloc(bytes);
    copy.room = malloc(bytes);
    if (!table.room || !copy.room) {
        ret = -ENOMEM;
    }
    for (int64_t t = 0; ret == 0 && t < vmdk_header_tables(header); t++) {
        load_table(extent, header, t, &table);
        if (copy.gd != 0) {
            load_table(extent, header, t, &copy);
        }
        if (copy.start == table.start) {
            copy.bytes = NULL; /* no second opinion */
        }
        if (table.bytes) {
            count_starts(starts, header, end, &table, &copy);
        }
    }
    free(table.room);
    free(copy.room);
    return ret;
}

/* Behind the header, and the descriptor if it is there, too. */
static int64_t front_sectors(const VmdkHeader *header)
{
    return header->descriptor_sector == 1 ? 1 + (int64_t)header->descriptor_sectors : 1;
}

/* The sector that VMware's layout gives, whose tables follow their directory. */
static int64_t usual_overhead(const VmdkExtent *extent, const VmdkHeader *header)
{
    const int64_t gd_end = bdrv_max((int64_t)header->gd_sector,
                                    (int64_t)redundant_sector(extent, header)) +
                           vmdk_header_gd_sectors(header) +
                           vmdk_header_tables(header) * vmdk_header_gt_sectors(header);

    return bdrv_round_up(gd_end, (int64_t)header->grain_sectors);
}

/* Do grains deny overHead?  Most of them, or any that two tables have where a grain can be.
 * That of VMware's layout is a multiple of the grain's size: another one is no better than
 * the entry that denies it. */
static int is_denied(const VmdkHeader *header, const Starts *starts)
{
    return starts->witnesses > 0 || starts->before * 2 > starts->count ||
           (starts->before > 0 && header->overhead_sectors % header->grain_sectors != 0);
}

/* An overHead that cannot be: more than the file has, or than grains allow.  What
 * VMware's layout gives is what it should be, unless a grain is before that. */
static int check_overhead(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const int64_t file_sectors = bdrv_getlength(extent->file) / BDRV_SECTOR_SIZE;
    const int64_t usual = bdrv_min(usual_overhead(extent, header), file_sectors);
    const int is_outside = header->overhead_sectors > (uint64_t)file_sectors;
    Starts starts = {.front = front_sectors(header), .tables_end = usual, .first = usual};
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to where the tables end, or the first grain begins",
        .repaired = c->mend_all,
    };
    int ret;

    if (!is_outside && header->overhead_sectors <= (uint64_t)usual) {
        return 0;
    }
    starts.is_one_bit = bdrv_is_power_of_two(header->overhead_sectors ^ (uint64_t)usual);
    ret = find_starts(extent, header, &starts);
    if (ret < 0 || (!is_outside && !is_denied(header, &starts))) {
        return ret;
    }
    vmdk_found(c, &finding, "%s: overHead is %" PRIu64 " sectors, more than %s; the tables end, or "
               "the first grain begins, at sector %" PRId64, vmdk_check_name(extent),
               header->overhead_sectors, is_outside ? "the file has" : "grains allow",
               starts.first);
    header->overhead_sectors = (uint64_t)starts.first;
    return c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
}

/* -------------------------------------------------------------------- descriptor */

int vmdk_check_is_in_text(const VmdkExtent *extent, const VmdkHeader *header, uint64_t sector)
{
    const Vmdk *image = extent->image;
    const int64_t end = image->descriptor_offset + (int64_t)image->descriptor.text_size;

    return image->descriptor_file == extent->file && image->descriptor.text &&
           sector < (uint64_t)bdrv_div_up(end, BDRV_SECTOR_SIZE) &&
           image->descriptor_offset < ((int64_t)sector + vmdk_header_gd_sectors(header)) *
                                          BDRV_SECTOR_SIZE;
}

/* The header may say wrong things of where the descriptor was found. */
int vmdk_check_descriptor_place(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const Vmdk *image = c->image;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to where it is",
        .repaired = c->mend_all,
    };

    if (image->descriptor_file != extent->file || !image->descriptor.text ||
        ((int64_t)header->descriptor_sector == image->descriptor_offset / BDRV_SECTOR_SIZE &&
         header->descriptor_sectors * BDRV_SECTOR_SIZE >= image->descriptor.text_size)) {
        return 0;
    }
    vmdk_found(c, &finding, "%s: descriptorOffset is sector %" PRIu64 " and descriptorSize %" PRIu64
               ", but the descriptor is %zu bytes at sector %" PRId64, vmdk_check_name(extent),
               header->descriptor_sector, header->descriptor_sectors,
               image->descriptor.text_size, image->descriptor_offset / BDRV_SECTOR_SIZE);
    header->descriptor_sector = (uint64_t)(image->descriptor_offset / BDRV_SECTOR_SIZE);
    header->descriptor_sectors = (uint64_t)(image->descriptor_room / BDRV_SECTOR_SIZE);
    return c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
}

void vmdk_check_note_room(const VmdkExtent *extent, const VmdkHeader *header)
{
    Vmdk *image = extent->image;

    if (image->descriptor_file == extent->file && image->descriptor_room > 0 &&
        image->descriptor_offset == (int64_t)header->descriptor_sector * BDRV_SECTOR_SIZE) {
        image->descriptor_room = (int64_t)header->descriptor_sectors * BDRV_SECTOR_SIZE;
    }
}

/* The sector of the first directory. */
static uint64_t first_directory(const VmdkExtent *extent, const VmdkHeader *header)
{
    const uint64_t rgd = redundant_sector(extent, header);

    return rgd != 0 && rgd < header->gd_sector ? rgd : header->gd_sector;
}

/* A look at the tables of a directory in their order. */
typedef struct Row {
    const VmdkHeader *header;
    int64_t table; /* the last one that is set, and its sector */
    uint64_t sector;
    uint64_t first; /* the least sector of those in the room for the descriptor */
} Row;

static int note_table(void *opaque, int64_t table, uint32_t sector)
{
    Row *row = opaque;
    const VmdkHeader *header = row->header;

    if (table == row->table + 1 && row->sector > header->descriptor_sector &&
        row->sector < header->descriptor_sector + header->descriptor_sectors &&
        row->sector < row->first &&
        sector == row->sector + (uint64_t)vmdk_header_gt_sectors(header)) {
        row->first = row->sector;
    }
    row->table = table;
    row->sector = sector;
    return 0;
}

/* The first sector of a table that a directory has in the room for the descriptor, if the next
 * table begins where it ends: then it is no wrong entry, but the room that is wrong.  Or *first
 * as it was; or -errno. */
static int find_table_in_room(const VmdkExtent *extent, const VmdkHeader *header, uint64_t gd,
                              uint64_t *first)
{
    Row row = {.header = header, .first = *first};
    int ret = vmdk_check_each_gde(extent->file, (int64_t)gd * BDRV_SECTOR_SIZE, 0,
                                  vmdk_header_tables(header), note_table, &row);

    *first = row.first;
    return ret;
}

/* The same of directories of one table each, which has no next one: the other's tells. */
static int find_two_in_room(const VmdkExtent *extent, const VmdkHeader *header, uint64_t rgd,
                            uint64_t *first)
{
    const uint64_t directories[VMDK_SETS] = {header->gd_sector, rgd};
    const uint64_t end = header->descriptor_sector + header->descriptor_sectors;
    uint64_t least = *first, sectors[VMDK_SETS] = {0};
    int ret = 0, within = 1;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        uint8_t gde[ENTRY_BYTES];

        ret = bdrv_pread(extent->file, gde, sizeof gde,
                         (int64_t)directories[set] * BDRV_SECTOR_SIZE);
        sectors[set] = ret < 0 ? 0 : bdrv_load_le32(gde);
        within = within && sectors[set] > header->descriptor_sector && sectors[set] < end;
        least = sectors[set] < least ? sectors[set] : least;
    }
    if (within && sectors[VMDK_PRIMARY] != sectors[VMDK_REDUNDANT]) {
        *first = least;
    }
    return ret;
}

/* Where the tables begin, as seen from the room for the descriptor. */
static int find_first_table(const VmdkExtent *extent, const VmdkHeader *header, uint64_t *first)
{
    const uint64_t rgd = redundant_sector(extent, header);
    int ret;

    *first = first_directory(extent, header);
    ret = find_table_in_room(extent, header, header->gd_sector, first);
    if (ret < 0 || rgd == 0) {
        return ret;
    }
    return vmdk_header_tables(header) == 1 ? find_two_in_room(extent, header, rgd, first)
                                           : find_table_in_room(extent, header, rgd, first);
}

/* Room for the descriptor that reaches into the tables would be filled one day. */
static int check_descriptor_room(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to what is before the tables",
        .repaired = c->mend_all,
    };
    uint64_t tables;
    int ret = find_first_table(extent, header, &tables);

    if (ret < 0 || header->descriptor_sector == 0 || header->descriptor_sector >= tables ||
        header->descriptor_sector + header->descriptor_sectors <= tables ||
        vmdk_check_is_in_text(extent, header, tables)) {
        return ret;
    }
    vmdk_found(c, &finding, "%s: descriptorSize is %" PRIu64 " sectors, but the tables begin at "
               "sector %" PRIu64, vmdk_check_name(extent), header->descriptor_sectors, tables);
    header->descriptor_sectors = tables - header->descriptor_sector;
    vmdk_check_note_room(extent, header);
    return c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
}

/* Is there a text where the header has the descriptor?  1, 0 or -errno. */
static int has_text(const VmdkExtent *extent, const VmdkHeader *header)
{
    uint8_t bytes[BDRV_SECTOR_SIZE];
    int ret = bdrv_pread(extent->file, bytes, sizeof bytes,
                         (int64_t)header->descriptor_sector * BDRV_SECTOR_SIZE);

    return ret < 0 ? ret : vmdk_descriptor_probe(bytes, sizeof bytes);
}

/* An extent of a split disk needs no room for a descriptor, and what is there, among tables
 * and grains, is not to be given up for it. */
static int check_vain_room(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to none",
        .repaired = c->mend_all,
    };
    int ret;

    if (header->descriptor_sectors == 0 ||
        header->descriptor_sector < first_directory(extent, header) ||
        c->image->descriptor_file == extent->file) {
        return 0;
    }
    ret = has_text(extent, header);
    if (ret != 0) {
        return ret < 0 ? ret : 0;
    }
    vmdk_found(c, &finding, "%s: descriptorOffset is sector %" PRIu64 ", behind the directory, and "
               "no descriptor is there", vmdk_check_name(extent), header->descriptor_sector);
    header->descriptor_sector = 0;
    header->descriptor_sectors = 0;
    return c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
}

int vmdk_check_front(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    int ret = check_overhead(c, extent, header);

    if (ret == 0) {
        ret = vmdk_check_descriptor_place(c, extent, header);
    }
    if (ret == 0) {
        ret = check_vain_room(c, extent, header);
    }
    return ret < 0 ? ret : check_descriptor_room(c, extent, header);
}
