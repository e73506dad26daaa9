/* SPDX-License-Identifier: MIT */
/*
 * sesparse.c - seSparse extents: the deltas of VMFS 6.  Two levels of 64-bit
 * entries; the kind of an entry is in its upper four bits.
 *
 *     GDE   1 │ 0 │ number of the GT
 *     GTE   0: the parent   1: unmapped, zeros   2: zeros   3 │ number of the grain
 *
 * A grain that has a place is overwritten there, which no other structure
 * takes part in.  A new one cannot be given a place: how free bitmap, backmap
 * and journal say so VMware has not published.
 */
#include "vmdk.h"

#include <stdlib.h>

enum {
    ENTRY_BYTES = 8,
    ENTRIES_MAX = 512, /* looked at in one lookup: their bytes are on the stack */
    KIND_SHIFT = 60,
    GRAIN_BYTES = VMDK_SE_GRAIN_SECTORS * BDRV_SECTOR_SIZE,
    ENTRIES_OF_SECTOR = BDRV_SECTOR_SIZE / ENTRY_BYTES
};

/* Of a file of 2 TiB: 64 MiB of memory remember which are taken. */
static const int64_t places_max = INT64_C(1) << 29;

enum {
    /* GDEs of a disk of 64 TiB, the largest that vSphere makes: 65,536 reads.  A file
     * that is nearly all hole can have any number. */
    TABLES_MAX = 1 << 22,
    /* Of these, tables that are there: twice as many as places_max grains fill. */
    TABLES_USED_MAX = 1 << 18
};

typedef enum EntryKind {
    ENTRY_UNALLOCATED,
    ENTRY_UNMAPPED,
    ENTRY_ZERO,
    ENTRY_ALLOCATED
} EntryKind;

typedef struct SeSparse {
    VmdkExtent *extent;
    VmdkSeHeader header;
    BdrvClusters *clusters;
} SeSparse;

static SeSparse *sesparse_of(const VmdkExtent *extent)
{
    return extent->state;
}

/* ------------------------------------------------------------------ entries */

static int64_t part_bytes(const SeSparse *se, int part)
{
    return (int64_t)se->header.parts[part].offset * BDRV_SECTOR_SIZE;
}

static int bad_entry(const SeSparse *se, int64_t grain, uint64_t entry, const char *why)
{
    return bdrv_error(se->extent->file, -EIO, "seSparse: the entry of grain %" PRId64 " is 0x%016"
                      PRIx64 ": %s", grain, entry, why);
}

/* *table becomes where the GT is, in bytes; 0: there is none. */
static int decode_gde(const SeSparse *se, int64_t number, uint64_t entry, int64_t *table)
{
    const uint64_t index = entry & UINT32_MAX;

    *table = 0;
    if (entry == 0) {
        return 0;
    }
    if (entry >> 32 != UINT64_C(1) << (KIND_SHIFT - 32) ||
        index >= se->header.parts[VMDK_SE_GTS].size / VMDK_SE_GT_SECTORS) {
        return bdrv_error(se->extent->file, -EIO, "seSparse: directory entry %" PRId64 " is 0x%016"
                          PRIx64 "; wanted is 0, or 0x10000000 and the number of one of %" PRIu64
                          " grain tables", number, entry,
                          se->header.parts[VMDK_SE_GTS].size / VMDK_SE_GT_SECTORS);
    }
    *table = part_bytes(se, VMDK_SE_GTS) +
             (int64_t)index * VMDK_SE_GT_SECTORS * BDRV_SECTOR_SIZE;
    return 0;
}

/* The number of the place: 12 bits of it stand before the others. */
static uint64_t place_number(uint64_t entry)
{
    return ((entry >> 48) & 0xfff) | (entry & UINT64_C(0x0000ffffffffffff)) << 12;
}

static int decode_allocated(const SeSparse *se, int64_t grain, uint64_t entry, BdrvExtent *run)
{
    const uint64_t number = place_number(entry);

    if (number >= se->header.parts[VMDK_SE_GRAINS].size / VMDK_SE_GRAIN_SECTORS) {
        return bad_entry(se, grain, entry, "there are not so many places for grains");
    }
    run->state = BDRV_DATA;
    run->file = se->extent->file;
    run->file_offset = part_bytes(se, VMDK_SE_GRAINS) + (int64_t)number * GRAIN_BYTES;
    return 0;
}

/* Fills in all of run but its length. */
static int decode_gte(const SeSparse *se, int64_t grain, uint64_t entry, BdrvExtent *run)
{
    switch (entry >> KIND_SHIFT) {
    case ENTRY_UNALLOCATED:
        run->state = BDRV_UNALLOCATED;
        return entry == 0 ? 0 : bad_entry(se, grain, entry, "of kind 0, all must be 0");
    case ENTRY_UNMAPPED: /* the rest is where it was */
        run->state = BDRV_ZERO;
        return 0;
    case ENTRY_ZERO:
        run->state = BDRV_ZERO;
        return entry == UINT64_C(2) << KIND_SHIFT
                   ? 0
                   : bad_entry(se, grain, entry, "of kind 2, the rest must be 0");
    case ENTRY_ALLOCATED:
        return decode_allocated(se, grain, entry, run);
    default:
        return bad_entry(se, grain, entry, "there are kinds 0 to 3 only");
    }
}

/* ------------------------------------------------------------------- lookup */

/* Some entries of one GT. */
typedef struct Entries {
    int64_t first; /* a grain */
    int64_t count; /* 1 to ENTRIES_MAX; more if there is no GT */
    int64_t table; /* where it is; 0: there is none, all entries are 0 */
    uint8_t bytes[ENTRIES_MAX * ENTRY_BYTES];
} Entries;

static int read_entries(const SeSparse *se, int64_t offset, int64_t bytes, Entries *entries)
{
    VmdkExtent *extent = se->extent;
    const int64_t grain = offset / GRAIN_BYTES, within = grain % VMDK_SE_GTES;
    const int64_t wanted = (offset + bytes - 1) / GRAIN_BYTES - grain + 1;
    uint8_t gde[ENTRY_BYTES];
    int ret = bdrv_table_read(extent->image->table, extent->file, gde, sizeof gde,
                              part_bytes(se, VMDK_SE_GD) + grain / VMDK_SE_GTES * ENTRY_BYTES);

    if (ret == 0) {
        ret = decode_gde(se, grain / VMDK_SE_GTES, bdrv_load_le64(gde), &entries->table);
    }
    entries->first = grain;
    entries->count = bdrv_min(wanted, VMDK_SE_GTES - within);
    if (ret < 0 || entries->table == 0) {
        return ret;
    }
    /* What fails is told as a whole, and shall not reach into what does not. */
    entries->count = bdrv_min(entries->count, ENTRIES_MAX - within % ENTRIES_MAX);
    return bdrv_table_read(extent->image->table, extent->file, entries->bytes,
                           (size_t)entries->count * ENTRY_BYTES,
                           entries->table + within * ENTRY_BYTES);
}

/* How many entries are as the first is and, if they are grains, lie one behind
 * the other.  One that cannot be read right ends the run: it is told when it is
 * asked for itself. */
static int64_t count_alike(const SeSparse *se, const Entries *entries, const BdrvExtent *first)
{
    int64_t i = 1;

    if (entries->table == 0) {
        return entries->count;
    }
    for (; i < entries->count; i++) {
        BdrvExtent run = {0};
        uint64_t entry = bdrv_load_le64(entries->bytes + i * ENTRY_BYTES);

        if (decode_gte(se, entries->first + i, entry, &run) < 0 || run.state != first->state ||
            (run.state == BDRV_DATA && run.file_offset != first->file_offset + i * GRAIN_BYTES)) {
            break;
        }
    }
    return i;
}

static int sesparse_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    const SeSparse *se = opaque;
    const int64_t within = offset % GRAIN_BYTES;
    Entries entries;
    int ret = read_entries(se, offset, bytes, &entries);

    if (ret < 0) {
        run->bytes = bdrv_min(bytes, entries.count * GRAIN_BYTES - within);
        return ret;
    }
    if (entries.table != 0) {
        ret = decode_gte(se, entries.first, bdrv_load_le64(entries.bytes), run);
    }
    if (ret < 0) {
        return ret;
    }
    run->bytes = bdrv_min(bytes, count_alike(se, &entries, run) * GRAIN_BYTES - within);
    if (run->state == BDRV_DATA) {
        run->file_offset += within;
        run->bytes = bdrv_min(run->bytes, bdrv_getlength(se->extent->file) - run->file_offset);
    }
    return run->bytes > 0
               ? 0
               : bdrv_error(se->extent->file, -EIO, "seSparse: grain %" PRId64 " is behind the "
                            "file's end: it is truncated", entries.first);
}

static int sesparse_reserve(void *opaque, int64_t *clusters, int64_t *file_offset, int *zeroed)
{
    const SeSparse *se = opaque;

    (void)clusters, (void)file_offset, (void)zeroed;
    return bdrv_error(se->extent->file, -ENOTSUP, "in an seSparse image only what it holds already "
                      "can be written, since VMware has not published how it records more; "
                      "convert it, or make a child: img-create -f vmdk -b this-image child.vmdk");
}

/* Never called: there is no room to be entered. */
static int sesparse_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    (void)offset, (void)clusters, (void)file_offset;
    return sesparse_reserve(opaque, NULL, NULL, NULL);
}

static const BdrvClusterOps sesparse_cluster_ops = {
    .lookup = sesparse_lookup,
    .reserve = sesparse_reserve,
    .enter = sesparse_enter,
};

/* ------------------------------------------------------------ before a write */

/* A place that two grains share would show at both what is written to one. */
typedef struct Places {
    const SeSparse *se;
    uint8_t *taken; /* a bit for each that the file has */
    int64_t count;
    uint8_t *table; /* room for one GT */
    int64_t tables_used;
} Places;

static int too_large(const SeSparse *se, const char *what)
{
    return bdrv_error(se->extent->file, -EROFS, "seSparse: %s that nobody can tell if two grains "
                      "share a place; it can only be read", what);
}

static int take_place(Places *p, int64_t grain, uint64_t entry)
{
    BdrvExtent run = {0};
    int ret = decode_gte(p->se, grain, entry, &run);
    int64_t place;

    if (ret < 0 || run.state != BDRV_DATA) {
        return ret;
    }
    place = (run.file_offset - part_bytes(p->se, VMDK_SE_GRAINS)) / GRAIN_BYTES;
    if (place >= p->count) {
        return bad_entry(p->se, grain, entry, "the file ends before it: it is truncated");
    }
    if (p->taken[place / 8] >> place % 8 & 1) {
        return bad_entry(p->se, grain, entry, "another one has the same place");
    }
    p->taken[place / 8] |= (uint8_t)(1u << place % 8);
    return 0;
}

static int take_table(Places *p, int64_t number, uint64_t gde)
{
    const int64_t grains = bdrv_div_up(p->se->extent->length, GRAIN_BYTES);
    const int64_t first = number * VMDK_SE_GTES;
    int64_t table;
    int ret = decode_gde(p->se, number, gde, &table);

    if (ret < 0 || table == 0) {
        return ret;
    }
    if (++p->tables_used > TABLES_USED_MAX) {
        return too_large(p->se, "so many tables are in use");
    }
    ret = bdrv_pread(p->se->extent->file, p->table, VMDK_SE_GTES * ENTRY_BYTES, table);
    for (int64_t i = 0; ret == 0 && i < VMDK_SE_GTES && first + i < grains; i++) {
        ret = take_place(p, first + i, bdrv_load_le64(p->table + i * ENTRY_BYTES));
    }
    return ret;
}

static int take_all(Places *p)
{
    const int64_t tables = bdrv_div_up(bdrv_div_up(p->se->extent->length, GRAIN_BYTES),
                                       VMDK_SE_GTES);
    uint8_t gdes[BDRV_SECTOR_SIZE];
    int ret = tables > TABLES_MAX ? too_large(p->se, "the disk is so large") : 0;

    for (int64_t done = 0; ret == 0 && done < tables; done += ENTRIES_OF_SECTOR) {
        ret = bdrv_pread(p->se->extent->file, gdes, sizeof gdes,
                         part_bytes(p->se, VMDK_SE_GD) + done * ENTRY_BYTES);
        for (int64_t i = 0; ret == 0 && i < ENTRIES_OF_SECTOR && done + i < tables; i++) {
            ret = take_table(p, done + i, bdrv_load_le64(gdes + i * ENTRY_BYTES));
        }
    }
    return ret;
}

static int check_places(const SeSparse *se)
{
    const int64_t grains = bdrv_getlength(se->extent->file) - part_bytes(se, VMDK_SE_GRAINS);
    Places p = {.se = se, .count = bdrv_div_up(grains, GRAIN_BYTES)};
    int ret;

    p.taken = calloc(1, (size_t)bdrv_min(p.count / 8, places_max / 8) + 1);
    p.table = malloc(VMDK_SE_GTES * ENTRY_BYTES);
    if (!p.taken || !p.table) {
        ret = -ENOMEM;
    } else if (p.count > places_max) {
        ret = too_large(se, "the file is so long");
    } else {
        ret = take_all(&p);
    }
    free(p.taken);
    free(p.table);
    return ret;
}

/* --------------------------------------------------------------------- life */

static int open_parts(SeSparse *se)
{
    VmdkExtent *extent = se->extent;
    int ret = vmdk_extent_set_capacity(extent, se->header.capacity_sectors,
                                       VMDK_SE_GRAIN_SECTORS);
    BdrvClustersConfig config = {
        .bs = extent->image->bs,
        .file = extent->file,
        .disk_offset = extent->start,
        .length = extent->length,
        .cluster_size = GRAIN_BYTES,
        .ops = &sesparse_cluster_ops,
        .opaque = se,
    };

    if (ret == 0 && vmdk_extent_is_writable(extent)) {
        ret = check_places(se);
    }
    return ret < 0 ? ret : bdrv_clusters_new(&se->clusters, &config);
}

static int sesparse_open(VmdkExtent *extent)
{
    VmdkSeHeader header;
    int ret = vmdk_se_header_read(extent->file, &header);
    SeSparse *se;

    if (ret < 0) {
        return ret;
    }
    se = calloc(1, sizeof *se);
    if (!se) {
        return -ENOMEM;
    }
    extent->state = se;
    extent->cluster_size = GRAIN_BYTES;
    se->extent = extent;
    se->header = header;
    return open_parts(se);
}

static int sesparse_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_read(sesparse_of(extent)->clusters, buf, bytes, offset);
}

static int sesparse_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_write(sesparse_of(extent)->clusters, buf, bytes, offset);
}

static int sesparse_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    return bdrv_clusters_write_zeroes(sesparse_of(extent)->clusters, offset, bytes);
}

static int sesparse_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes,
                                 BdrvExtent *run)
{
    return sesparse_lookup(sesparse_of(extent), offset, bytes, run);
}

static void sesparse_close(VmdkExtent *extent)
{
    SeSparse *se = sesparse_of(extent);

    if (se) {
        bdrv_clusters_free(se->clusters);
        free(se);
        extent->state = NULL;
    }
}

const VmdkExtentOps vmdk_sesparse_extent = {
    .open = sesparse_open,
    .read = sesparse_read,
    .write = sesparse_write,
    .write_zeroes = sesparse_write_zeroes,
    .is_allocated = sesparse_is_allocated,
    .settle = vmdk_extent_settled,
    .close = sesparse_close,
};
