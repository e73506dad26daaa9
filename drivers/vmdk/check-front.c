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

/* An overHead that cannot be: more than the file has, or than the first grain
 * allows.  What VMware's layout gives is what it should be. */
static int check_overhead(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const int64_t size = bdrv_getlength(extent->file);
    const int64_t gd_end = bdrv_max((int64_t)header->gd_sector,
                                    (int64_t)redundant_sector(extent, header)) +
                           vmdk_header_gd_sectors(header) +
                           vmdk_header_tables(header) * vmdk_header_gt_sectors(header);
    const uint64_t usual = (uint64_t)bdrv_round_up(gd_end, (int64_t)header->grain_sectors);
    const uint64_t file_sectors = (uint64_t)size / BDRV_SECTOR_SIZE;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to where the tables end",
        .repaired = c->mend_all,
    };

    if (header->overhead_sectors <= file_sectors || usual > file_sectors) {
        return 0;
    }
    vmdk_found(c, &finding, "%s: overHead is %" PRIu64 " sectors, more than the file has; the "
               "tables end at sector %" PRIu64, vmdk_check_name(extent),
               header->overhead_sectors, usual);
    header->overhead_sectors = usual;
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

/* Room for the descriptor that reaches into the tables would be filled one day. */
static int check_descriptor_room(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const uint64_t rgd = redundant_sector(extent, header);
    const uint64_t tables = rgd != 0 && rgd < header->gd_sector ? rgd : header->gd_sector;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to what is before the tables",
        .repaired = c->mend_all,
    };

    if (header->descriptor_sector == 0 || header->descriptor_sector >= tables ||
        header->descriptor_sector + header->descriptor_sectors <= tables) {
        return 0;
    }
    vmdk_found(c, &finding, "%s: descriptorSize is %" PRIu64 " sectors, but the tables begin at "
               "sector %" PRIu64, vmdk_check_name(extent), header->descriptor_sectors, tables);
    header->descriptor_sectors = tables - header->descriptor_sector;
    vmdk_check_note_room(extent, header);
    return c->mend_all ? vmdk_check_write_header(c, extent, header) : 0;
}

int vmdk_check_front(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    int ret = check_overhead(c, extent, header);

    if (ret == 0) {
        ret = vmdk_check_descriptor_place(c, extent, header);
    }
    return ret < 0 ? ret : check_descriptor_room(c, extent, header);
}
