/* SPDX-License-Identifier: MIT */
/*
 * map.h - the tables of hosted sparse and copy-on-write extents, and the space
 * that they give out: map.c, regions.c, scan.c, discard.c, space.c and the
 * resizing of such extents.  The words are in vmdk.h.
 */
#ifndef VMDK_MAP_H
#define VMDK_MAP_H

#include <pthread.h>
#include <stdatomic.h>

#include "bdrv-driver.h"
#include "header.h"

typedef struct VmdkExtent VmdkExtent;

/* ----------------------------------------------------------------- space.c
 *
 * The end of a growing file.  Room is taken there in order and never given
 * back; the file is extended ahead of it, in large steps, so that it reads as
 * zeros and small writes need not fill a grain, and trimmed at the end.
 *
 *     ├── used ──┼── taken in this session ──┼── ahead ──┤
 *                                            next        file's end           */

typedef struct VmdkSpace {
    BlockDriverState *file;
    pthread_mutex_t lock;
    int64_t next;
    int64_t unit;      /* what is taken begins at a multiple of this */
    int64_t used_end;  /* where the last thing in use ends */
    int64_t zero_from; /* beyond it, nothing was ever written */
    int fixed;         /* the file cannot change its length */
    int tells_end;     /* the end of what is taken is recorded, in 32 bits, too */
    _Atomic int64_t file_size;
} VmdkSpace;

/* unit: bytes, a multiple of 512.  Modifies nothing. */
void vmdk_space_init(VmdkSpace *space, BlockDriverState *file, int64_t unit);
void vmdk_space_destroy(VmdkSpace *space);

/* Before the first take: room begins at next, or, in a file that turns out to
 * have a fixed length, at used_end; both are rounded up to the unit. */
void vmdk_space_start(VmdkSpace *space, int64_t next, int64_t used_end);

/* Takes up to *count pieces of bytes each, at least one, in one run.  *zeroed: they
 * read as zeros.  -ENOSPC: no piece can begin in the first 2^32 sectors of the file,
 * or it cannot grow. */
int vmdk_space_take(VmdkSpace *space, int64_t bytes, int64_t *count, int64_t *offset,
                    int *zeroed);

/* Where the next piece would begin. */
int64_t vmdk_space_next(VmdkSpace *space);

/* What is taken from now on begins at offset or behind. */
void vmdk_space_skip(VmdkSpace *space, int64_t offset);

/* Cuts off what was extended ahead. */
int vmdk_space_trim(VmdkSpace *space);

/* Nothing in the file behind end is in use any more: cuts it off.  Nobody may be
 * taking room. */
int vmdk_space_reset(VmdkSpace *space, int64_t end);

/* ------------------------------------------------------------------- map.c
 *
 *       GD                     GT                       grains
 *     ┌──────┐  sector of   ┌──────┐  sector of the  ┌─────────┐
 *     │ GDE ─┼─────────────▶│ GTE ─┼────────────────▶│  bytes  │
 *     └──────┘  the GT      └──────┘  grain, or 0    └─────────┘
 *
 * All entries are 32-bit sector numbers; 0 is "none" in both.                */

/* Which of the two sets of tables. */
typedef enum VmdkSet {
    VMDK_PRIMARY,
    VMDK_REDUNDANT
} VmdkSet;

enum {
    VMDK_SETS = 2
};

/* A range of the file that holds metadata. */
typedef struct VmdkRegion {
    int64_t start, end;
} VmdkRegion;

typedef struct VmdkRegions {
    VmdkRegion *list; /* after vmdk_regions_sort: by start, apart from each other */
    size_t count, room;
    int overlap; /* two of them shared bytes */
} VmdkRegions;

typedef struct VmdkMap {
    VmdkExtent *extent;
    VmdkSpace *space;
    int64_t grain;        /* bytes, a power of two */
    int64_t gtes;         /* per GT, a power of two */
    int64_t tables;       /* GTs */
    int64_t gd[VMDK_SETS]; /* bytes; 0: there is no such set */
    int64_t first_data;   /* no grain begins before this byte */
    int packed;           /* grains are compressed: shorter than a grain */
    VmdkRegion text;      /* what is set aside for the descriptor; 0, 0: it is not here */
    atomic_int has_zeroed; /* GTE 1 is a grain of zeros */
    atomic_int complained; /* the use of the redundant set was logged */
    pthread_mutex_t lock;  /* while GTs are made */
    int grain_shift, gtes_shift; /* divisions would be the dearest part of a lookup */
    VmdkRegions regions;   /* see vmdk_map_need_regions() */
    atomic_int has_regions;
    /* Places of primary GTs, to save looking into the directory: (table + 1) << 32 |
     * sector, at table modulo known_count, a power of two. */
    atomic_ullong *known;
    size_t known_count;
} VmdkMap;

/* All members up to has_zeroed are set, the lock is made. */
int vmdk_map_open(VmdkMap *map);
void vmdk_map_close(VmdkMap *map);

/* Bytes of a table, of a directory, and of the file now. */
int64_t vmdk_map_table_bytes(const VmdkMap *map);
int64_t vmdk_map_gd_bytes(const VmdkMap *map);
int64_t vmdk_map_file_size(const VmdkMap *map);
/* Does [start, end) of the file share bytes with a directory? */
int vmdk_map_in_directory(const VmdkMap *map, int64_t start, int64_t end);

/* To be called when a directory entry that was not 0 has changed. */
void vmdk_map_forget_tables(VmdkMap *map);

/* As BdrvClusterOps.lookup; of packed grains, file_offset is where the first of
 * them begins, also if offset is in its midst. */
int vmdk_map_lookup(VmdkMap *map, int64_t offset, int64_t bytes, BdrvExtent *run);

/* Sets the entries of grains clusters from offset on to first, first + step, …
 * in both sets, making GTs that are missing. */
int vmdk_map_enter(VmdkMap *map, int64_t offset, int64_t grains, uint32_t first,
                   uint32_t step);
/* The GDE of a table, checked.  *offset (bytes) 0: there is no such GT. */
int vmdk_map_table(VmdkMap *map, VmdkSet set, int64_t table, int64_t *offset);
/* Is entry, of the grain at offset, a place where a grain can begin? */
int vmdk_map_check_grain(VmdkMap *map, int64_t offset, uint32_t entry);
/* Bytes of the grain at offset that belong to the disk: less than a grain only
 * for the last one. */
int64_t vmdk_map_covered(const VmdkMap *map, int64_t offset);

/* --------------------------------------------------------------- discard.c */

/* Sets the entries of the grains wholly inside the range that have a place to
 * entry, and lets the host have the place.  The others stay. */
int vmdk_map_discard(VmdkMap *map, int64_t offset, int64_t bytes, uint32_t entry);
/* Makes zeros of what has a place, and leaves it there. */
int vmdk_map_zero_in_place(VmdkMap *map, int64_t offset, int64_t bytes);
/* Sets all entries of grains that begin at offset or behind to 0, also those
 * beyond the extent's length.  Places are not given back. */
int vmdk_map_clear(VmdkMap *map, int64_t offset);

/* Before the extent gets another length: drops, durably, what is stored beyond
 * the shorter one, also what an earlier change has left there. */
int vmdk_map_cut(VmdkMap *map, int64_t length);
/* Cuts the file behind the last thing in use.  All is flushed, and nobody else
 * is using the extent. */
int vmdk_map_trim(VmdkMap *map);

/* When nothing is in them: which tables go, too? */
typedef enum VmdkTables {
    VMDK_KEEP_TABLES,
    VMDK_DROP_TABLES
} VmdkTables;

/* Takes all grains out of the tables, durably, then cuts the file behind what is
 * left.  Nobody else may be using the extent. */
int vmdk_map_empty(VmdkMap *map, VmdkTables tables);

/* ------------------------------------------ resize-sparse.c, resize-cowd.c */

/* Change header and tables of an extent to that length, after vmdk_map_cut();
 * durable step by step, and the header's one sector decides.  The map is that of
 * the old ones, and is of no use afterwards. */
int vmdk_sparse_resize(VmdkMap *map, int64_t length);
/* Before vmdk_map_cut(), where nothing but the header says how long the disk is: makes
 * it say so, durably.  What is cut off afterwards is behind the end in any case. */
int vmdk_cowd_shorten(const VmdkMap *map, VmdkCowdHeader *header, int64_t length);
int vmdk_cowd_resize(VmdkMap *map, VmdkCowdHeader *header, int64_t length);

/* Does the header of a hosted sparse extent allow grains of zeros?  -EINVAL: it could not stop
 * to, there are some.  Nobody else is using the extent, here and below. */
int vmdk_sparse_has_zeroed(VmdkExtent *extent);
int vmdk_sparse_check_zeroed(VmdkExtent *extent);
/* Makes it, durably, one that allows them or, where vmdk_sparse_check_zeroed() has found none,
 * one that does not.  If it fails the file may have either, and the extent works with both. */
int vmdk_sparse_set_zeroed(VmdkExtent *extent, int allowed);

/* Makes the header of a hosted sparse extent one that tells of no change tracking. */
int vmdk_sparse_untrack(VmdkExtent *extent);
/* Are these bytes of the file in no table?  0 also where that cannot be told, or the extent is
 * none of hosted sparse kind. */
int vmdk_sparse_is_free(VmdkExtent *extent, int64_t start, int64_t end);

/* Makes an empty extent of a split disk in file, in the shape of another one. */
int vmdk_sparse_make(BlockDriverState *file, const VmdkHeader *like, int64_t length);

/* --------------------------------------------------------------- regions.c */

int vmdk_regions_add(VmdkRegions *regions, int64_t start, int64_t end);
void vmdk_regions_sort(VmdkRegions *regions);
/* The same for one more, in regions that are sorted: without looking at all of them. */
int vmdk_regions_insert(VmdkRegions *regions, int64_t start, int64_t end);
/* Does any region share bytes with [start, end)? */
int vmdk_regions_hit(const VmdkRegions *regions, int64_t start, int64_t end);
void vmdk_regions_free(VmdkRegions *regions);

/* To be called before map->regions is used: reads the directories, once.  In an
 * extent that is open for writing, when it is opened. */
int vmdk_map_need_regions(VmdkMap *map);
/* The directories have changed.  Nobody else may be using the extent. */
void vmdk_map_forget_regions(VmdkMap *map);

/* ------------------------------------------------------------------ scan.c */

typedef struct VmdkUse {
    int64_t end;        /* of the last thing in use: a table, a grain, the descriptor */
    int64_t grains_end; /* the same, or later: the last grain of the disk counts as a whole
                         * one, which it becomes when the disk grows */
} VmdkUse;

/* Looks at all tables.  0: sound.  -EINVAL: damaged, with the first damage in the
 * message: nothing may be written before a repair, for new grains would be mixed up
 * with it. */
int vmdk_map_scan(VmdkMap *map, VmdkUse *use);
/* May the disk grow?  -EINVAL: where the rest of its last grain will be, there is
 * something else, which only a strange author puts there. */
int vmdk_map_scan_to_grow(VmdkMap *map);

#endif
