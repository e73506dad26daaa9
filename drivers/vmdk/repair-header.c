/* SPDX-License-Identifier: MIT */
/*
 * repair-header.c - what a destroyed header must have said.  VMware's layout
 * leaves few unknowns:
 *
 *     header │ descriptor, 20 or 0 sectors │ RGD, RGTs │ GD, GTs │ pad │ grains
 *
 * Given the capacity, each grain size puts the directories at certain sectors and
 * fills them with certain numbers; the one whose numbers are there is right.  If
 * several are, the grains decide: they begin at multiples of their size.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1,
    SAMPLES = 64,
    READ_ENTRIES = 4096
};

/* A layout that may be the file's. */
typedef struct Candidate {
    VmdkHeader header;
    int64_t matches; /* GDEs that are as they should be, in both directories */
    int64_t grains;  /* entries that point at one */
    int zeroed;      /* … at zeros */
    int plausible;   /* all of them are possible */
} Candidate;

/* ------------------------------------------------------------------- layout */

static void lay_out(VmdkHeader *h, int64_t sectors, int64_t start, int64_t grain, int64_t gtes)
{
    const int copies = start > 0;
    int64_t set;

    start = copies ? start : -start;
    *h = (VmdkHeader){
        .version = 1,
        .flags = VMDK_FLAG_NEWLINES | (copies ? VMDK_FLAG_REDUNDANT : 0u),
        .capacity_sectors = (uint64_t)sectors,
        .grain_sectors = (uint64_t)grain,
        .descriptor_sector = start > 1 ? 1 : 0,
        .descriptor_sectors = (uint64_t)start - 1,
        .gtes_per_gt = (uint32_t)gtes,
    };
    set = vmdk_header_gd_sectors(h) + vmdk_header_tables(h) * vmdk_header_gt_sectors(h);
    h->rgd_sector = copies ? (uint64_t)start : 0;
    h->gd_sector = (uint64_t)(copies ? start + set : start);
    h->overhead_sectors = (uint64_t)bdrv_round_up((int64_t)h->gd_sector + set, grain);
}

static int fits(const VmdkHeader *h, int64_t file_size)
{
    return h->overhead_sectors <= (uint64_t)file_size / BDRV_SECTOR_SIZE &&
           vmdk_header_tables(h) <= 1 << 26;
}

/* ------------------------------------------------------------------ matching */

/* READ_ENTRIES of them at every so many. */
static int count_matches_each(BlockDriverState *file, const VmdkHeader *h, uint64_t gd,
                              int64_t every, int64_t *matches)
{
    const int64_t first = (int64_t)gd + vmdk_header_gd_sectors(h);
    const int64_t step = vmdk_header_gt_sectors(h), tables = vmdk_header_tables(h);
    uint8_t bytes[READ_ENTRIES * ENTRY_BYTES];
    int ret = 0;

    for (int64_t t = 0; ret == 0 && t < tables; t += every) {
        const int64_t count = bdrv_min(tables - t, READ_ENTRIES);

        ret = bdrv_pread(file, bytes, (size_t)count * ENTRY_BYTES,
                         (int64_t)gd * BDRV_SECTOR_SIZE + t * ENTRY_BYTES);
        for (int64_t i = 0; ret == 0 && i < count; i++) {
            *matches += bdrv_load_le32(bytes + i * ENTRY_BYTES) == first + (t + i) * step;
        }
    }
    return ret;
}

/* All of a directory may be 256 MiB, and there are hundreds of layouts to try: first
 * a few places of it are looked at, which must not be as good as empty of matches. */
static int count_matches(BlockDriverState *file, const VmdkHeader *h, uint64_t gd,
                         int64_t *matches)
{
    const int64_t every = vmdk_header_tables(h) / SAMPLES;
    int64_t some = 0;
    int ret = 0;

    if (every > READ_ENTRIES) {
        ret = count_matches_each(file, h, gd, every, &some);
        if (ret < 0 || some < (int64_t)SAMPLES * READ_ENTRIES / 8) {
            return ret;
        }
    }
    return count_matches_each(file, h, gd, READ_ENTRIES, matches);
}

/* What follows the directory's last entry in its sector is zeros. */
static int ends_there(BlockDriverState *file, const VmdkHeader *h)
{
    const int64_t used = vmdk_header_tables(h) * ENTRY_BYTES % BDRV_SECTOR_SIZE;
    uint8_t bytes[BDRV_SECTOR_SIZE];
    const int64_t last = (int64_t)h->gd_sector + vmdk_header_gd_sectors(h) - 1;

    if (used == 0 || bdrv_pread(file, bytes, sizeof bytes, last * BDRV_SECTOR_SIZE) < 0) {
        return used == 0;
    }
    for (size_t i = (size_t)used; i < sizeof bytes; i++) {
        if (bytes[i] != 0) {
            return 0;
        }
    }
    return 1;
}

/* At least half of each directory is as it should be: 1, or 0, or -errno. */
static int match(BlockDriverState *file, Candidate *c)
{
    const uint64_t starts[] = {c->header.gd_sector, c->header.rgd_sector};
    const int sets = c->header.rgd_sector != 0 ? 2 : 1;

    for (int i = 0; i < sets; i++) {
        int64_t matches = 0;
        int ret = count_matches(file, &c->header, starts[i], &matches);

        if (ret < 0 || matches * 2 < vmdk_header_tables(&c->header)) {
            return ret;
        }
        c->matches += matches;
    }
    return ends_there(file, &c->header);
}

/* ------------------------------------------------------------- what the grains say */

static void weigh_entry(Candidate *c, int64_t index, uint32_t entry, int64_t file_sectors)
{
    const int64_t grains = bdrv_div_up((int64_t)c->header.capacity_sectors,
                                       (int64_t)c->header.grain_sectors);

    if (entry == 0) {
        return;
    }
    if (entry == ENTRY_ZEROED) {
        c->zeroed = 1;
        return;
    }
    c->grains++;
    if (index >= grains || entry % c->header.grain_sectors != 0 ||
        entry < c->header.overhead_sectors || entry >= file_sectors) {
        c->plausible = 0;
    }
}

static int weigh(BlockDriverState *file, Candidate *c)
{
    const VmdkHeader *h = &c->header;
    const int64_t file_sectors = bdrv_getlength(file) / BDRV_SECTOR_SIZE;
    const int64_t entries = vmdk_header_tables(h) * h->gtes_per_gt;
    const int64_t start = ((int64_t)h->gd_sector + vmdk_header_gd_sectors(h)) * BDRV_SECTOR_SIZE;
    uint8_t bytes[READ_ENTRIES * ENTRY_BYTES];
    int ret = 0;

    c->plausible = 1;
    for (int64_t e = 0; ret == 0 && e < entries; e += READ_ENTRIES) {
        const int64_t count = bdrv_min(entries - e, READ_ENTRIES);

        ret = bdrv_pread(file, bytes, (size_t)count * ENTRY_BYTES, start + e * ENTRY_BYTES);
        for (int64_t i = 0; ret == 0 && i < count; i++) {
            weigh_entry(c, e + i, bdrv_load_le32(bytes + i * ENTRY_BYTES), file_sectors);
        }
    }
    /* No byte more or less than the grains need: that is no chance. */
    c->plausible += c->plausible && (int64_t)h->overhead_sectors +
                                        c->grains * (int64_t)h->grain_sectors == file_sectors;
    return ret;
}

static int try_layout(VmdkExtent *extent, const VmdkHeader *header, Candidate *best)
{
    Candidate candidate = {.header = *header};
    int ret;

    if (best->plausible == 2 || !fits(header, bdrv_getlength(extent->file)) ||
        vmdk_check_is_in_text(extent, header, header->gd_sector) ||
        (header->rgd_sector != 0 && vmdk_check_is_in_text(extent, header, header->rgd_sector))) {
        return 0;
    }
    ret = match(extent->file, &candidate);
    if (ret != 1) {
        return ret;
    }
    ret = weigh(extent->file, &candidate);
    if (ret == 0 && (best->matches == 0 || candidate.plausible > best->plausible)) {
        *best = candidate;
    }
    return ret;
}

/* Common ones first: of equals the first is taken. */
int vmdk_header_rebuild(VmdkExtent *extent, int64_t sectors, VmdkHeader *header)
{
    static const int64_t starts[] = {21, 1, -21, -1}; /* < 0: without a redundant set */
    static const int64_t grains[] = {128, 16, 32, 64, 256, 512, 1024, 2048, 8, 4, 2, 1};
    static const int64_t gtes[] = {512, 128, 256, 1024, 2048, 4096};
    Candidate best = {0};
    VmdkHeader layout;
    int ret = 0;

    if (sectors <= 0) {
        return 0;
    }
    for (size_t n = 0; n < sizeof gtes / sizeof *gtes; n++) {
        for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
            for (size_t s = 0; ret == 0 && s < sizeof starts / sizeof *starts; s++) {
                lay_out(&layout, sectors, starts[s], grains[g], gtes[n]);
                ret = try_layout(extent, &layout, &best);
            }
        }
    }
    if (ret < 0 || best.matches == 0) {
        return ret;
    }
    *header = best.header;
    if (best.zeroed) {
        header->version = 2;
        header->flags |= VMDK_FLAG_ZEROED;
    }
    return 1;
}

int vmdk_header_is_usual(BlockDriverState *file, const VmdkHeader *header)
{
    int64_t matches = 0;
    int ret = count_matches(file, header, header->gd_sector, &matches);

    return ret < 0 ? ret : matches * 2 >= vmdk_header_tables(header);
}

int vmdk_check_footer(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to where they are",
        .repaired = c->mend_all,
    };
    uint8_t bytes[VMDK_HEADER_BYTES];

    if (!header->needs_footer) {
        return 0;
    }
    vmdk_found(c, &finding, "%s: only a footer says where the tables are, and grains that are "
               "added come behind it", vmdk_check_name(extent));
    vmdk_header_encode(header, bytes);
    return c->mend_all ? vmdk_mend_bytes(c, extent->file, bytes, sizeof bytes, 0) : 0;
}
