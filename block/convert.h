/* SPDX-License-Identifier: MIT */
/*
 * convert.h - what the three files of the conversion engine share with each
 * other, and with nobody else.
 *
 *   convert.c  the call, and who does what when: windows, threads, their order
 *   window.c   the source's side of a window: walked, read, zeros found
 *   deliver.c  the target's side: packed, written, at the rate that is allowed
 */
#ifndef BLOCK_CONVERT_H
#define BLOCK_CONVERT_H

#include "block_int.h"

enum {
    WINDOW_BYTES = 1024 * 1024, /* large enough that calls cost nothing, and
                                 * small enough to stay in a cache */
    /* The same where (de)compressing is the work: more processors than windows fit
     * in the memory would have nothing to do. */
    PACKED_WINDOW_BYTES = 256 * 1024,
    WINDOW_ALIGNMENT = 4096, /* what direct I/O wants of a buffer */
    MESSAGE_BYTES = 1024
};

typedef enum PieceKind {
    PIECE_ZERO,  /* reads as zeros */
    PIECE_DATA,  /* is (or will be) in the window's data */
    PIECE_LOST,  /* could not be read: zeros stand for it */
    PIECE_PLACED /* lies in source_file, where the target's storage may take it from */
} PieceKind;

typedef struct Piece {
    int64_t offset; /* on the source disk */
    int64_t bytes;
    PieceKind kind;
} Piece;

typedef struct Pieces {
    Piece *list;
    size_t count;
} Pieces;

/* Sector-sized runs in turns are the worst that can be met. */
#define PIECES_MAX (WINDOW_BYTES / BDRV_SECTOR_SIZE + 1)

/* A stretch of the disk on its way. */
typedef struct Window {
    struct Window *next_free;
    int64_t offset; /* a multiple of window_bytes: so clusters begin with one, and leaves */
    int64_t bytes;  /* more than window_bytes only if it is one piece without data here */
    Pieces runs;   /* as the source tells them */
    Pieces pieces; /* as they will be written: zeros found */
    uint8_t *data; /* window_bytes */
    Packing packing;
    Leaves leaves; /* if there is to be a record */
    BlockDriverState *source_file; /* of a PIECE_PLACED, and where in it */
    int64_t source_offset;

    int ready;     /* read, packed: can be written */
    int delivered; /* is written already, out of turn */
    int result;    /* how that went */
    char message[MESSAGE_BYTES]; /* of the failure, or of the first PIECE_LOST */
} Window;

/* What of a run of the source was not yet put into a window. */
typedef struct Ahead {
    BdrvExtent run; /* run.bytes 0: nothing is known */
    int64_t offset;
    int is_lost; /* the map could not be read here */
} Ahead;

typedef struct Conversion {
    BlockDriverState *source, *target;
    BdrvConvertOptions asked;
    int64_t length;       /* of the source */
    int64_t window_bytes; /* a multiple of the target's packing cluster */
    int is_forward;       /* each run must be read before the next is looked for */
    int is_plain;         /* the target has a fixed place for every byte */
    atomic_int can_place; /* so far no PIECE_PLACED was refused */

    /* Of whoever has the part of the walker; see convert.c. */
    Ahead ahead;
    int64_t next_offset; /* where the next window begins */

    /* Of whoever has the part of the writer. */
    int64_t paced_bytes; /* written since */
    int64_t paced_from;  /* … this moment, in nanoseconds */

    struct Crew *crew; /* convert.c's */
} Conversion;

/* ---- window.c ---- */

/* The buffers of *w, which is zeroed.  Freed by bdrv_window_free(), also if this
 * fails. */
int bdrv_window_new(Window *w, const Conversion *c);
void bdrv_window_free(Window *w);

/* What is in the next window, told by the source's map; moves next_offset behind it.  One
 * thread at a time, in the order of the disk. */
int bdrv_window_walk(Conversion *c, Window *w);

/* Reads the data and finds the zeros in it.  Any thread. */
int bdrv_window_fill(const Conversion *c, Window *w);

/* Hashes a filled window, if there is to be a record.  Any thread. */
void bdrv_window_hash(const Conversion *c, Window *w);

/* Reads and finds zeros in bytes, at most window_bytes, at offset; the pieces are
 * added to w->pieces and the data goes to the place they have in the window. */
int bdrv_window_read(const Conversion *c, Window *w, int64_t offset, int64_t bytes);

/* ---- deliver.c ---- */

/* Compresses a filled window, where the target does that.  Any thread. */
int bdrv_deliver_pack(const Conversion *c, Window *w);

/* Writes a window, packed or not. */
int bdrv_deliver_write(Conversion *c, Window *w);

/* How much is written at a time where a rate is to be kept: some hundred milliseconds
 * of it, a multiple of 64 KiB. */
int64_t bdrv_deliver_step(const Conversion *c);

/* Tells the user what was done, and of what was lost in it; waits if it went faster than
 * it may.  One thread at a time, in the order of the disk.  -ECANCELED. */
int bdrv_deliver_report(Conversion *c, const Window *w);

/* The progress alone. */
int bdrv_deliver_progress(const Conversion *c, int64_t done);

#endif
