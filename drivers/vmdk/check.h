/* SPDX-License-Identifier: MIT */
/*
 * check.h - what the files that find and mend damage share.
 *
 *     check.c           one image: its extents, then its descriptor; counting
 *     check-sparse.c    hosted sparse: header, unclean flag
 *     check-capacity.c  its capacity and the line's
 *     check-offsets.c   are the directories where the header says?
 *     check-front.c     overHead and the descriptor's room
 *     check-cowd.c      copy-on-write extents, and freeSector
 *     check-places.c    the directories: is every GT where it can be?
 *     check-gd.c        what a wrong entry of them should be
 *     check-entries.c   the tables: two copies of each, every grain used once
 *     check-judge.c     what a wrong entry of them should be
 *     check-mend.c      making it so
 *     check-leaks.c     space that nothing uses
 *     check-map.c       what those three share
 *     check-ends.c      a stream: its header and its footer
 *     check-walk.c check-stream.c check-grains.c   the same, along its markers
 *     check-signs.c     a stream whose header does not say that it is one
 *     check-plain.c     extents without tables; missing files
 *     check-link.c      descriptor, CID, parent, change tracking
 *     guess.c           which extents lie beside a text that makes no sense
 *     repair-header.c   a destroyed header, worked out from what is left
 *     repair-cowd.c     the same of a copy-on-write extent
 *     repair-stream.c   new tables and a footer at the end of a stream
 *
 * Finding and mending are one walk: what is found is reported, with what would
 * be done about it; if that is wanted and possible it is done there, and the
 * report says so.  A look without repair goes on with what a repair would have
 * made, in memory, so that both see the same.
 *
 * Mending keeps to the order of table.c: copies of data are durable before an
 * entry points at them, the redundant tables are written before the primary
 * ones, nothing is overwritten that is still needed, and each step leaves an
 * image from which the repair can be begun again.
 */
#ifndef VMDK_CHECK_H
#define VMDK_CHECK_H

#include "vmdk.h"

/* ----------------------------------------------------------------- check.c */

typedef struct VmdkCheck {
    Vmdk *image;
    BdrvCheck *check;
    BdrvCheckResult *result;
    int mend_leaks;
    int mend_all;
    int mended; /* something was written */
    int has_hopeless; /* corruption was found that no repair ends */
    const VmdkExtent *unsupported; /* could not be looked into; NULL: none */
} VmdkCheck;

/* Reports *finding, whose text is made of format and what follows. */
void vmdk_found(VmdkCheck *c, const BdrvFinding *finding, const char *format, ...)
    BDRV_PRINTF(3, 4);
/* Reports that the descriptor's line of the extent and its header differ as to the length:
 * capacity sectors in the header.  The range that only one of them has is what is told:
 * a disk that becomes longer shows there what its file holds, and its children do. */
void vmdk_found_lengths(VmdkCheck *c, const VmdkExtent *extent, BdrvFinding finding,
                        int64_t capacity);
/* Is this to be mended now?  Leaks are by either flag. */
int vmdk_mends(const VmdkCheck *c, BdrvFindingKind kind);
/* Writes over bytes of a file, outside the tables' cache, and makes that durable. */
int vmdk_mend_bytes(VmdkCheck *c, BlockDriverState *file, const void *bytes, size_t size,
                    int64_t offset);
/* The name by which findings speak of an extent's file. */
const char *vmdk_check_name(const VmdkExtent *extent);
/* How the line's range reads when nothing of it is stored here. */
const char *vmdk_unallocated_reads(const VmdkExtent *extent);

/* --------------------------------------------------- one kind of extent each
 *
 * Results: 0, also if there is damage; -errno if the check cannot go on. */

int vmdk_check_sparse(VmdkCheck *c, VmdkExtent *extent);
int vmdk_check_cowd(VmdkCheck *c, VmdkExtent *extent);
int vmdk_check_plain(VmdkCheck *c, VmdkExtent *extent);
/* Is the capacity of *header, which can be used, the line's?  Mends one of them, and *length
 * becomes what is checked. */
int vmdk_check_capacity(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header, int64_t *length);
/* Mends *header, which can be used, where it is wrong about the directories, and it in the
 * file.  1: where they are, nobody knows, as reported. */
int vmdk_check_offsets(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header);
/* Mends *header, which can be used, where it is wrong about overHead and the descriptor, and
 * it in the file. */
int vmdk_check_front(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header);
/* Writes all of the header, durably. */
int vmdk_check_write_header(VmdkCheck *c, const VmdkExtent *extent, const VmdkHeader *header);
/* To be called when *header has got another descriptorSize: a text that is stored from now on
 * is filled up to that. */
void vmdk_check_note_room(const VmdkExtent *extent, const VmdkHeader *header);
/* Is a directory of that header, at that sector, in the midst of the descriptor? */
int vmdk_check_is_in_text(const VmdkExtent *extent, const VmdkHeader *header, uint64_t sector);
/* Is the descriptor where the header says?  Mends *header, which must be that of
 * the file's beginning, and it there. */
int vmdk_check_descriptor_place(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header);
/* Grains that are not compressed come behind a footer when they are written: what it says
 * belongs into the header. */
int vmdk_check_footer(VmdkCheck *c, VmdkExtent *extent, VmdkHeader *header);
/* head: the header at the file's beginning, decoded; NULL: destroyed. */
int vmdk_check_stream(VmdkCheck *c, VmdkExtent *extent, const VmdkHeader *head);
/* Does the file end like a stream, whatever its beginning is, and with these flags?  1, 0 or
 * -errno. */
int vmdk_stream_has_footer(const VmdkExtent *extent, uint32_t flags);

/* The descriptor and what it says of the parent. */
int vmdk_check_link(VmdkCheck *c);
/* Sets the size in the extent's line. */
int vmdk_mend_line(VmdkCheck *c, VmdkExtent *extent, int64_t sectors);

/* ---------------------------------------------------------- check-signs.c */

/* Does the descriptor say that the image is a stream? */
int vmdk_type_is_stream(const Vmdk *image);
/* Does a compressed grain of a disk of capacity sectors begin at the sector of the
 * file or soon behind it?  1, 0 or -errno. */
int vmdk_has_packed_grains(BlockDriverState *file, uint64_t sector, uint64_t capacity);

/* ------------------------------------------------------------------- the map */

/* Bytes of tables, and of grains, that a repair copies at most: as much as a whole table
 * of a copy-on-write extent with grains of 64 KiB leads to.  Entries that are all the
 * same would make a file of a few KiB one of any size. */
#define VMDK_CHECK_COPIES_MAX (INT64_C(256) * 1024 * 1024)

/* A bit for each unit of a file. */
typedef struct VmdkBits {
    uint8_t *bytes;
    int64_t unit;
    int64_t count;
    int64_t used; /* no bit from this one on is set */
} VmdkBits;

/* -ENOMEM. */
int vmdk_bits_new(VmdkBits *bits, int64_t file_size, int64_t unit);
/* Is any bit of [start, end) set?  What is beyond the file is not. */
int vmdk_bits_any(const VmdkBits *bits, int64_t start, int64_t end);
void vmdk_bits_set(VmdkBits *bits, int64_t start, int64_t end);
/* Where in [start, end) the first unit begins, or goes on, whose bit is set (wanted 1)
 * or not (0); or end. */
int64_t vmdk_bits_find(const VmdkBits *bits, int64_t start, int64_t end, int wanted);

/* The tables of an extent as its check sees them: after the directories are
 * checked, with all the corrections that a repair makes. */
typedef struct VmdkCheckMap {
    VmdkCheck *c;
    VmdkExtent *extent;
    BlockDriverState *file;
    int64_t file_size;
    int64_t length; /* of the extent */
    int64_t grain;
    int64_t gtes;
    int64_t tables;
    int64_t gd_at[VMDK_SETS]; /* bytes; 0: there is no such set */
    int64_t first_data;       /* no grain begins before this byte */
    int64_t data_end;         /* what follows is free and no leak; < 0: nothing */
    int has_zeroed;           /* GTE 1 is a grain of zeros */
    int fixed_layout;         /* GTs follow their directory in order */
    int any_place;            /* grains need not begin at a multiple of their size */

    uint32_t *gd[VMDK_SETS]; /* sectors; 0: none, or none that can be used */
    /* By table: until now readers had to follow the redundant set, so that what
     * differs in the primary one, found again, is the doubtful copy. */
    uint8_t *swapped;
    /* By table: the primary GDE is written by vmdk_check_point(), when the table that it
     * will lead to is mended. */
    uint8_t *unpointed;
    /* By table, in sectors: where readers found the primary one until now, although it is
     * elsewhere; 0: where it is, or not at all.  NULL: none. */
    uint32_t *followed;
    int may_copy_tables; /* not more of them than VMDK_CHECK_COPIES_MAX */
    int tables_left;     /* some that would have had to be copied are still shared */
    VmdkRegions regions;     /* of all metadata */
    VmdkBits seen;           /* what the grains of the tables occupy */
    VmdkBits shared;         /* bytes NULL: nothing is shared */
    VmdkBits reserved;       /* what takes the place of impossible entries; the same */
    VmdkBits copies;         /* what only entries of the other set have; the same */
    VmdkBits contested;      /* … and more than one of them; the same */
    int64_t used_end;        /* of grains and tables */
    int64_t next;            /* where a repair puts what is new */
    int zeroed_unflagged;    /* there are GTEs of 1 that the header does not allow */
    int unaligned;
    int keeps_space; /* what nothing uses may be what is beyond a doubtful end */
} VmdkCheckMap;

/* Checks, and mends, directories, tables and space in this order.  The caller
 * has set all members up to any_place and added the regions of headers and
 * descriptor; he calls vmdk_check_map_free() in any case. */
int vmdk_check_map(VmdkCheckMap *map);
void vmdk_check_map_free(VmdkCheckMap *map);
/* Forgets what the tables' grains occupy: all that is bits. */
void vmdk_check_forget_grains(VmdkCheckMap *map);

/* In this order: directories, but for GDEs that lead readers to another table than they
 * had; tables; those GDEs. */
int vmdk_check_directories(VmdkCheckMap *map);
int vmdk_check_entries(VmdkCheckMap *map);
int vmdk_check_point(VmdkCheckMap *map);
int vmdk_check_leaks(VmdkCheckMap *map);

/* For one GDE that is set: where it says that the table is. */
typedef int VmdkGdeFn(void *opaque, int64_t table, uint32_t sector);
/* Calls act for those of the tables [first, end) in the directory at gd (bytes) until one gives
 * anything but 0, which is the result.  -errno: they cannot be read. */
int vmdk_check_each_gde(BlockDriverState *file, int64_t gd, int64_t first, int64_t end,
                        VmdkGdeFn *act, void *opaque);

/* Is any entry set of a grain that begins at length or behind, or can that not be
 * told?  Needs file, grain, gtes, tables and gd_at alone. */
int vmdk_check_holds_beyond(const VmdkCheckMap *map, int64_t length);

int64_t vmdk_check_table_bytes(const VmdkCheckMap *map);
int64_t vmdk_check_covered(const VmdkCheckMap *map, int64_t grain);
/* How many of the table's entries are of the disk: 0 to gtes.  The extent may be shorter
 * than its header, and tables, are for. */
int64_t vmdk_check_entries_in(const VmdkCheckMap *map, int64_t table);
/* Room at the file's end, aligned to unit: where it begins. */
int64_t vmdk_check_take(VmdkCheckMap *map, int64_t bytes, int64_t unit);

/* What an entry is worth. */
typedef enum VmdkEntryClass {
    VMDK_ENTRY_EMPTY,
    VMDK_ENTRY_ZEROED,
    VMDK_ENTRY_UNFLAGGED, /* 1, where the header does not allow that */
    VMDK_ENTRY_GRAIN,
    VMDK_ENTRY_CUT, /* a grain that the file's end cuts */
    VMDK_ENTRY_INVALID
} VmdkEntryClass;

VmdkEntryClass vmdk_check_class(const VmdkCheckMap *map, int64_t grain, uint32_t entry);

/* --------------------------------------------------------- repair-header.c */

/* Works out the header of an extent of that many sectors, laid out as VMware
 * does, from the directories.  1: found; 0: not; or -errno. */
int vmdk_header_rebuild(VmdkExtent *extent, int64_t sectors, VmdkHeader *header);
/* Do at least half of the GDEs point where VMware's layout has the tables?  1, 0
 * or -errno. */
int vmdk_header_is_usual(BlockDriverState *file, const VmdkHeader *header);

/* ----------------------------------------------------------- repair-cowd.c */

/* Works out the header of an ESX copy-on-write extent of that many sectors from directory, tables
 * and grains.  1: found; 0: not; or -errno. */
int vmdk_cowd_header_rebuild(VmdkExtent *extent, int64_t sectors, VmdkCowdHeader *header);

/* --------------------------------------------------------- repair-stream.c */

/* A grain of a stream. */
typedef struct VmdkStreamGrain {
    int64_t index;   /* on the disk, in grains */
    uint32_t sector; /* of its marker */
} VmdkStreamGrain;

/* Writes tables for the grains (by index, each once) with directory, footer and
 * end of stream at the sector at, cuts off what follows, and makes *header say
 * so.  Nothing before at is changed but the header. */
int vmdk_stream_rebuild(VmdkCheck *c, BlockDriverState *file, const VmdkHeader *header,
                        const VmdkStreamGrain *grains, size_t count, int64_t at);

/* ----------------------------------------------------------------- guess.c */

/* Fills the descriptor, and the extents with their open files, from what lies
 * beside the image.  -ENOENT: nothing is there. */
int vmdk_guess_descriptor(Vmdk *image);

extern const VmdkExtentOps vmdk_damaged_extent;

#endif
