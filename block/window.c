/* SPDX-License-Identifier: MIT */
/*
 * window.c - one stretch of the source of a conversion: what the map says of it,
 * its bytes, and the zeros among them.
 *
 *     map:      │ data │ zero │      data       │ unallocated │
 *     pieces:   │ data │    zero    │ data │ 0 │ d │   zero   │
 *
 * Windows are cut at fixed places of the disk, so that they are the same
 * whatever the number of threads.  A long run of nothing is one window without
 * data, however long.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"

enum {
    /* A run that the target's storage is to take over by itself: shorter ones are read
     * in less time than that takes, */
    PLACED_MIN = WINDOW_BYTES,
    /* … and one call may take so long that a user who waits to stop it notices. */
    PLACED_MAX = 64 * 1024 * 1024,
    /* Where the map cannot be read, and does not say how far, that much is given up, and then
     * asked again behind it. */
    LOST_STEP = 64 * 1024
};

/* ------------------------------------------------------------------- pieces */

static int add_piece(Pieces *pieces, int64_t offset, int64_t bytes, PieceKind kind)
{
    Piece *last = pieces->count > 0 ? &pieces->list[pieces->count - 1] : NULL;

    if (last && last->kind == kind) {
        last->bytes += bytes;
    } else if (pieces->count < PIECES_MAX) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): made with the window */
        pieces->list[pieces->count++] = (Piece){offset, bytes, kind};
    } else {
        return bdrv_error(NULL, -EIO, "the source tells runs shorter than a sector");
    }
    return 0;
}

/* ------------------------------------------------------------------ walking */

/* Notes why something could not be read; the first reason is the one that is told. */
static void keep_reason(Window *w)
{
    if (w->message[0] == '\0') {
        snprintf(w->message, sizeof w->message, "%s", bdrv_errmsg());
    }
}

/* What cannot even be looked up is lost, if losses are allowed. */
static int look_up(Conversion *c, Window *w, int64_t offset)
{
    Ahead *ahead = &c->ahead;
    int ret;

    ahead->run = (BdrvExtent){0};
    ret = bdrv_map(c->source, offset, c->length - offset, &ahead->run);
    ahead->is_lost = ret < 0 && c->asked.lost;
    if (ahead->is_lost) {
        const int64_t step = bdrv_min(LOST_STEP - offset % LOST_STEP, c->length - offset);

        keep_reason(w);
        ahead->run = (BdrvExtent){.bytes = bdrv_max(ahead->run.bytes, step)};
        ret = 0;
    }
    return ret;
}

/* Makes c->ahead the run that begins at offset.  What is lost is asked for again by each
 * window, which has its own reason to tell. */
static int look_ahead(Conversion *c, Window *w, int64_t offset)
{
    Ahead *ahead = &c->ahead;
    int64_t passed = offset - ahead->offset;
    int ret = 0;

    if (passed < ahead->run.bytes && !(ahead->is_lost && offset == w->offset)) {
        ahead->run.bytes -= passed;
        ahead->run.file_offset += passed;
    } else {
        ret = look_up(c, w, offset);
    }
    ahead->offset = offset;
    return ret;
}

static PieceKind kind_of(const Ahead *ahead)
{
    if (ahead->is_lost) {
        return PIECE_LOST;
    }
    return ahead->run.state == BDRV_DATA ? PIECE_DATA : PIECE_ZERO;
}

/* The window is one long run without data to be read, if it can be; it ends where
 * another may begin. */
static int take_long_run(Conversion *c, Window *w, int64_t end)
{
    const BdrvExtent *run = &c->ahead.run;
    const int64_t left = c->length - w->offset;
    PieceKind kind = kind_of(&c->ahead);
    int64_t most = left;

    if (kind == PIECE_DATA && run->file && !run->compressed && run->bytes >= PLACED_MIN &&
        atomic_load(&c->can_place)) {
        kind = PIECE_PLACED;
        most = bdrv_min(PLACED_MAX, bdrv_max(bdrv_deliver_step(c), PLACED_MIN));
        w->source_file = run->file;
        w->source_offset = run->file_offset;
    } else if (kind == PIECE_DATA || w->offset + run->bytes < end) {
        return 0;
    }
    w->bytes = bdrv_min(run->bytes, most);
    if (w->bytes < left) {
        w->bytes = bdrv_round_down(w->bytes, c->window_bytes);
    }
    (void)add_piece(&w->runs, w->offset, w->bytes, kind);
    return 1;
}

/* What of the run at w->offset is not a long one goes up to the window's end. */
static int take_runs(Conversion *c, Window *w, int64_t end)
{
    int64_t offset = w->offset;
    int ret = 0;

    w->bytes = end - w->offset;
    while (ret == 0 && offset < end) {
        int64_t bytes;

        ret = look_ahead(c, w, offset);
        if (ret < 0) {
            return ret;
        }
        bytes = bdrv_min(c->ahead.run.bytes, end - offset);
        ret = add_piece(&w->runs, offset, bytes, kind_of(&c->ahead));
        if (ret == 0 && c->is_forward) {
            ret = bdrv_window_fill(c, w);
            w->runs.count = 0;
        }
        offset += bytes;
    }
    return ret;
}

int bdrv_window_walk(Conversion *c, Window *w)
{
    const int64_t end = c->next_offset +
                        bdrv_min(c->window_bytes, c->length - c->next_offset);
    int ret;

    w->offset = c->next_offset;
    w->runs.count = w->pieces.count = 0;
    w->message[0] = '\0';
    ret = look_ahead(c, w, w->offset);
    if (ret == 0 && !take_long_run(c, w, end)) {
        ret = take_runs(c, w, end);
    }
    c->next_offset += ret == 0 ? w->bytes : 0;
    return ret;
}

/* ----------------------------------------------------------------- reading */

/* Units of zero detection are aligned on the disk, so that the same content
 * gives the same pieces however the source tells its runs. */
static int add_data(const Conversion *c, Window *w, int64_t offset, int64_t bytes)
{
    const int64_t unit = c->asked.sparse_size;
    int64_t step;
    int ret = 0;

    for (; ret == 0 && bytes > 0; offset += step, bytes -= step) {
        int is_zero;

        step = unit > 0 ? bdrv_min(unit - offset % unit, bytes) : bytes;
        is_zero = unit > 0 && bdrv_is_zero(w->data + (offset - w->offset), (size_t)step);
        ret = add_piece(&w->pieces, offset, step, is_zero ? PIECE_ZERO : PIECE_DATA);
    }
    return ret;
}

/* Reads what can be read of a range, down to single sectors. */
/* NOLINTNEXTLINE(misc-no-recursion): halves a window: 16 deep */
static int read_salvaging(const Conversion *c, Window *w, int64_t offset, int64_t bytes)
{
    int64_t half = bdrv_round_up(bytes / 2, BDRV_SECTOR_SIZE);
    int ret = bdrv_pread(c->source, w->data + (offset - w->offset), (size_t)bytes, offset);

    if (ret == 0) {
        return add_data(c, w, offset, bytes);
    }
    if (half >= bytes) {
        keep_reason(w);
        return add_piece(&w->pieces, offset, bytes, PIECE_LOST);
    }
    ret = read_salvaging(c, w, offset, half);
    return ret < 0 ? ret : read_salvaging(c, w, offset + half, bytes - half);
}

int bdrv_window_read(const Conversion *c, Window *w, int64_t offset, int64_t bytes)
{
    int ret;

    if (c->asked.lost) {
        return read_salvaging(c, w, offset, bytes);
    }
    ret = bdrv_pread(c->source, w->data + (offset - w->offset), (size_t)bytes, offset);
    return ret < 0 ? ret : add_data(c, w, offset, bytes);
}

static int fill_run(const Conversion *c, Window *w, const Piece *run)
{
    return run->kind == PIECE_DATA
               ? bdrv_window_read(c, w, run->offset, run->bytes)
               : add_piece(&w->pieces, run->offset, run->bytes, run->kind);
}

int bdrv_window_fill(const Conversion *c, Window *w)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < w->runs.count; i++) {
        ret = fill_run(c, w, &w->runs.list[i]);
    }
    return ret;
}

/* --------------------------------------------------------------- recording */

/* A long run of zeros, which has no bytes here, is added to the record as such. */
void bdrv_window_hash(const Conversion *c, Window *w)
{
    if (!c->asked.record || w->bytes > c->window_bytes) {
        return;
    }
    bdrv_leaves_clear(&w->leaves);
    for (size_t i = 0; i < w->pieces.count; i++) {
        const Piece *piece = &w->pieces.list[i];

        bdrv_leaves_add(&w->leaves, piece->kind == PIECE_DATA
                                        ? w->data + (piece->offset - w->offset) : NULL,
                        piece->bytes);
    }
    bdrv_leaves_end(&w->leaves);
}

/* -------------------------------------------------------------------- life */

static void *aligned(size_t bytes)
{
    void *memory = NULL;

    return posix_memalign(&memory, WINDOW_ALIGNMENT, bytes) == 0 ? memory : NULL;
}

int bdrv_window_new(Window *w, const Conversion *c)
{
    w->runs.list = malloc(PIECES_MAX * sizeof *w->runs.list);
    w->pieces.list = malloc(PIECES_MAX * sizeof *w->pieces.list);
    w->data = aligned((size_t)c->window_bytes);
    return w->runs.list && w->pieces.list && w->data &&
                   bdrv_packing_new(&w->packing, c->target, c->window_bytes) == 0 &&
                   bdrv_leaves_new(&w->leaves, c->asked.record, c->window_bytes) == 0
               ? 0
               : bdrv_error(NULL, -ENOMEM, "no memory for a window of %lld bytes",
                            (long long)c->window_bytes);
}

void bdrv_window_free(Window *w)
{
    bdrv_packing_free(&w->packing);
    bdrv_leaves_free(&w->leaves);
    free(w->runs.list);
    free(w->pieces.list);
    free(w->data);
}
