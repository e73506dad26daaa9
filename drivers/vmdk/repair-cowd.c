/* SPDX-License-Identifier: MIT */
/*
 * repair-cowd.c - what the destroyed header of a copy-on-write extent must have said.  Only the
 * size of its grains is not known from elsewhere: the grains tell it themselves.  Each table and
 * each grain was put behind all that was there, so what comes next begins where a grain ends:
 *
 *     header │ directory │ table │ grain │ grain │ table │ grain │
 *                                ├──────▶├──────▶        ├──────▶ the file's end, or freeSector
 */
#include "check.h"

#include <stdlib.h>

enum {
    ENTRY_BYTES = 4,
    ENTRY_ZEROED = 1,
    READ_ENTRIES = 4096,
    FLAGS = 3,
    GD_SECTOR = VMDK_COWD_HEADER_BYTES / BDRV_SECTOR_SIZE,
    GT_SECTORS = VMDK_COWD_GTES * ENTRY_BYTES / BDRV_SECTOR_SIZE,
    PLACES_MAX = 1 << 20, /* more do not tell more */
    WRONG_PART = 8        /* so many of the entries may be damaged, too: one of eight */
};

/* Where something begins: its sector, doubled, and 1 for a grain. */
typedef struct Places {
    uint64_t *begin; /* PLACES_MAX of them */
    int64_t count;
    int64_t used; /* sectors of all there is, the header too */
} Places;

/* Are all entries of the directory tables that can be there? */
static int cowd_fits(BlockDriverState *file, const VmdkCowdHeader *h)
{
    const int64_t size = bdrv_getlength(file), gd = (int64_t)h->gd_sector * BDRV_SECTOR_SIZE;
    const int64_t first = gd + bdrv_round_up((int64_t)h->gd_entries * ENTRY_BYTES,
                                             BDRV_SECTOR_SIZE);
    uint8_t bytes[READ_ENTRIES * ENTRY_BYTES];

    for (int64_t t = 0; t < h->gd_entries; t += READ_ENTRIES) {
        const int64_t count = bdrv_min(h->gd_entries - t, READ_ENTRIES);

        if (first > size || bdrv_pread(file, bytes, (size_t)count * ENTRY_BYTES,
                                       gd + t * ENTRY_BYTES) < 0) {
            return 0;
        }
        for (int64_t i = 0; i < count; i++) {
            const int64_t start = (int64_t)bdrv_load_le32(bytes + i * ENTRY_BYTES) *
                                  BDRV_SECTOR_SIZE;

            if (start != 0 && (start < first || start + VMDK_COWD_GTES * ENTRY_BYTES > size)) {
                return 0;
            }
        }
    }
    return 1;
}

/* ------------------------------------------------------------ what the places tell */

static void add_place(Places *places, uint32_t sector, uint64_t is_grain)
{
    if (places->count < PLACES_MAX) {
        places->begin[places->count++] = (uint64_t)sector * 2 + is_grain;
    }
}

/* Of a table that cannot be read, nothing is known. */
static void add_table(BlockDriverState *file, const VmdkCowdHeader *h, uint32_t sector,
                      Places *places)
{
    uint8_t bytes[VMDK_COWD_GTES * ENTRY_BYTES];

    add_place(places, sector, 0);
    places->used += GT_SECTORS;
    if (bdrv_pread(file, bytes, sizeof bytes, (int64_t)sector * BDRV_SECTOR_SIZE) < 0) {
        return;
    }
    for (int64_t i = 0; i < VMDK_COWD_GTES; i++) {
        const uint32_t entry = bdrv_load_le32(bytes + i * ENTRY_BYTES);

        if (entry > ENTRY_ZEROED) {
            add_place(places, entry, 1);
            places->used += h->grain_sectors;
        }
    }
}

static int compare_places(const void *one, const void *other)
{
    const uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

    return (a > b) - (a < b);
}

/* All that the directory leads to, in the file's order, as long as the file can have it. */
static int find_places(BlockDriverState *file, const VmdkCowdHeader *h, Places *places)
{
    const int64_t size = bdrv_div_up(bdrv_getlength(file), BDRV_SECTOR_SIZE);
    uint8_t gde[ENTRY_BYTES];
    uint32_t last = 0;
    int ret = 0;

    places->count = 0;
    places->used = h->gd_sector +
                   bdrv_div_up((int64_t)h->gd_entries * ENTRY_BYTES, BDRV_SECTOR_SIZE);
    for (int64_t t = 0; ret == 0 && t < h->gd_entries && places->used <= size &&
                        places->count < PLACES_MAX; t++) {
        ret = bdrv_pread(file, gde, sizeof gde,
                         (int64_t)h->gd_sector * BDRV_SECTOR_SIZE + t * ENTRY_BYTES);
        if (ret == 0 && bdrv_load_le32(gde) != 0 && bdrv_load_le32(gde) != last) {
            last = bdrv_load_le32(gde);
            add_table(file, h, last, places);
        }
    }
    qsort(places->begin, (size_t)places->count, sizeof *places->begin, compare_places);
    return ret;
}

/* How likely grains of a size are. */
typedef enum Likeness {
    LIKENESS_NONE,    /* they would overlap */
    LIKENESS_POSSIBLE,
    LIKENESS_FILE,    /* with all there is the file would end where it does */
    LIKENESS_FREE,    /* … or where freeSector was */
    LIKENESS_TOUCHING /* one ends where the next thing begins */
} Likeness;

/* (A file that is cut may end before all that there was.) */
static Likeness how_likely(const VmdkCowdHeader *h, const Places *places, int64_t file_end,
                           int64_t free_sector)
{
    int64_t grains = 0, overlap = 0, touching = 0;

    for (int64_t i = 0; i + 1 < places->count; i++) {
        const uint64_t gap = places->begin[i + 1] / 2 - places->begin[i] / 2;

        if (places->begin[i] % 2 == 1 && gap != 0) {
            grains++;
            overlap += gap < h->grain_sectors;
            touching += gap == h->grain_sectors;
        }
    }
    if (overlap * WRONG_PART > grains) {
        return LIKENESS_NONE;
    }
    if (touching > overlap) {
        return LIKENESS_TOUCHING;
    }
    return places->used == free_sector ? LIKENESS_FREE
           : places->used == file_end  ? LIKENESS_FILE
                                       : LIKENESS_POSSIBLE;
}

/* What is left of the old header may still have it: 0 if not; or -errno. */
static int64_t old_free_sector(BlockDriverState *file)
{
    uint8_t bytes[VMDK_COWD_HEADER_BYTES];
    VmdkCowdHeader old;
    int ret = bdrv_getlength(file) < (int64_t)sizeof bytes
                  ? 0
                  : bdrv_pread(file, bytes, sizeof bytes, 0);

    if (ret < 0 || bdrv_getlength(file) < (int64_t)sizeof bytes ||
        vmdk_magic(bytes, sizeof bytes) != VMDK_MAGIC_COWD) {
        return ret;
    }
    vmdk_cowd_header_decode(&old, bytes);
    return old.free_sector;
}

static VmdkCowdHeader header_for(int64_t sectors, int64_t grain, int64_t file_end)
{
    return (VmdkCowdHeader){
        .version = 1,
        .flags = FLAGS,
        .capacity_sectors = (uint32_t)sectors,
        .grain_sectors = (uint32_t)grain,
        .gd_sector = GD_SECTOR,
        .gd_entries = (uint32_t)bdrv_div_up(sectors, VMDK_COWD_GTES * grain),
        .free_sector = (uint32_t)bdrv_min(UINT32_MAX, file_end),
        .role = VMDK_COWD_DELTA,
    };
}

/* Of two sizes that are as likely the smaller is taken, which is ESX's as a rule; but of those
 * that touch the larger: with half of it, every second grain would have a gap behind. */
static int is_better(Likeness likeness, Likeness best)
{
    return likeness > best || (likeness == best && likeness == LIKENESS_TOUCHING);
}

/* What the other sectors of the header keep is lost with it; of what is known,
 * it is nothing that an ESX extent needs. */
int vmdk_cowd_header_rebuild(VmdkExtent *extent, int64_t sectors, VmdkCowdHeader *header)
{
    BlockDriverState *file = extent->file;
    const int64_t file_end = bdrv_div_up(bdrv_getlength(file), BDRV_SECTOR_SIZE);
    const int64_t free_sector = old_free_sector(file);
    Places places = {.begin = malloc(PLACES_MAX * sizeof *places.begin)};
    Likeness best = LIKENESS_NONE;
    int ret = !places.begin ? -ENOMEM : free_sector < 0 ? (int)free_sector : 0;

    for (int64_t grain = 1; ret == 0 && sectors > 0 && sectors <= UINT32_MAX &&
                            grain <= VMDK_COWD_GRAIN_SECTORS_MAX; grain *= 2) {
        const VmdkCowdHeader tried = header_for(sectors, grain, file_end);

        if (cowd_fits(file, &tried)) {
            ret = find_places(file, &tried, &places);
            if (ret == 0 && is_better(how_likely(&tried, &places, file_end, free_sector), best)) {
                best = how_likely(&tried, &places, file_end, free_sector);
                *header = tried;
            }
        }
    }
    free(places.begin);
    return ret < 0 ? ret : best != LIKENESS_NONE;
}
