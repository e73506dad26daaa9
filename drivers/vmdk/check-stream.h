/* SPDX-License-Identifier: MIT */
/*
 * check-stream.h - the check of a stream in its parts: header and footer
 * (check-ends.c), the walk along the grains (check-walk.c), then the tables
 * (check-stream.c), then what is in the grains (check-grains.c).
 */
#ifndef VMDK_CHECK_STREAM_H
#define VMDK_CHECK_STREAM_H

#include "check.h"
#include "stream.h"

typedef struct VmdkStreamGrains {
    VmdkStreamGrain *list;
    size_t count, room;
} VmdkStreamGrains;

/* -ENOMEM. */
int vmdk_stream_grains_add(VmdkStreamGrains *grains, int64_t index, uint32_t sector);

typedef struct VmdkGrainCheck VmdkGrainCheck; /* of check-grains.c */

typedef struct VmdkStreamCheck {
    VmdkCheck *c;
    VmdkExtent *extent;
    int64_t size; /* of the file */

    /* Of the front: */
    VmdkHeader header;       /* complete: with what the footer says */
    int64_t length;          /* of the extent */
    uint64_t claimed;        /* the header's capacity, which is absurd; 0: it is not */
    int has_tables;          /* header.gd_sector is that of a directory in the file */
    int can_rebuild;         /* grains say where they belong, and the directory is no larger
                              * than it may be */
    int64_t footer_end;      /* where the stream must end; 0: it has no footer */
    int footer_far;          /* it is too far from the file's end to be found there */
    VmdkStreamGrains walked; /* by index, then sector */
    int out_of_order;
    int64_t strange; /* where the walk came to what is no block; 0: it did not */

    /* Of the tables: */
    uint8_t *gdes;          /* a piece of the directory */
    int64_t gdes_first;     /* its first entry; -1: none was read */
    VmdkBits tables;        /* where those are that are not empty */
    VmdkBits blank;         /* where empty ones were met */
    int64_t shared_entries; /* of those that share bytes with others */
    size_t next;            /* of walked, not yet compared */
    VmdkStreamGrains right; /* what the tables should be, by index */
    int64_t stale;
    int beside; /* some of them the walk did not come by */
    int keeps_end; /* grains may lie behind all of them, or the old tables are needed until
                    * there are new ones */
    int broken; /* new tables are needed */

    VmdkGrainCheck *grains; /* NULL: no grain was looked into yet */
} VmdkStreamCheck;

/* Fills the front.  1: go on; 0: there is nothing to go on with, as reported. */
int vmdk_stream_check_front(VmdkStreamCheck *s, const VmdkHeader *head);

/* The sector behind what is in front of all blocks: the header, and the descriptor's text. */
uint64_t vmdk_stream_text_end(const VmdkStreamCheck *s);

/* Where blocks begin, in bytes: overHead, or where the descriptor ends if that cannot be.  Not
 * before the header is known. */
int64_t vmdk_stream_first_block(const VmdkStreamCheck *s);

/* Fills walked, strange and out_of_order, which were empty; *end: where the first block is that
 * is an end, a footer or none.  It ends where a block makes no sense, which is only odd if the
 * tables are.  0 or -errno. */
int vmdk_stream_walk(VmdkStreamCheck *s, int64_t *end);

/* The sector at byte at, which is inside the file; but the file may end inside the sector: a
 * grain is there nevertheless if only its pad is not. */
int vmdk_stream_read_marker(const VmdkStreamCheck *s, int64_t at,
                            uint8_t marker[BDRV_SECTOR_SIZE]);

/* The block that begins there: 1, 0: none does, or -errno: that cannot be told. */
int vmdk_stream_block_at(const VmdkStreamCheck *s, int64_t at, VmdkBlock *block);

/* Can it be decompressed?  1, 0, or -errno if that cannot be told.  Not before the length
 * is known. */
int vmdk_stream_grain_is_sound(VmdkStreamCheck *s, const VmdkStreamGrain *grain);

/* Are all grains of s->right sound?  Reports each that is not.  0 or -errno. */
int vmdk_stream_check_grains(VmdkStreamCheck *s);

/* Frees what the two have allocated. */
void vmdk_stream_grains_done(VmdkStreamCheck *s);

#endif
