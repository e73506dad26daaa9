/* SPDX-License-Identifier: MIT */
/*
 * deliver.c - a window of a conversion goes to the target: its clusters packed
 * (packing.c) or its pieces written, zeros as little as can be; and is accounted
 * for.
 */
#include <string.h>
#include <time.h>

#include "convert.h"

enum { STEPS_PER_SECOND = 5 }; /* at a rate that is kept: how long a burst lasts */

/* ----------------------------------------------------------------- packing */

static size_t cluster_count(const Window *w)
{
    return (size_t)bdrv_div_up(w->bytes, w->packing.cluster);
}

/* A long run without data is not packed, however many clusters it has. */
static int is_packed(const Conversion *c, const Window *w)
{
    return w->packing.cluster > 0 && w->bytes <= c->window_bytes;
}

static int has_data(const Window *w, int64_t offset, int64_t bytes)
{
    for (size_t i = 0; i < w->pieces.count; i++) {
        const Piece *piece = &w->pieces.list[i];

        if (piece->kind == PIECE_DATA && piece->offset < offset + bytes &&
            offset < piece->offset + piece->bytes) {
            return 1;
        }
    }
    return 0;
}

/* A cluster is compressed as a whole: what of it was not read is zeros. */
static void clear_gaps(Window *w)
{
    const int64_t filled = bdrv_round_up(w->bytes, w->packing.cluster);

    for (size_t i = 0; i < w->pieces.count; i++) {
        const Piece *piece = &w->pieces.list[i];

        if (piece->kind != PIECE_DATA) {
            memset(w->data + (piece->offset - w->offset), 0, (size_t)piece->bytes);
        }
    }
    memset(w->data + w->bytes, 0, (size_t)(filled - w->bytes));
}

int bdrv_deliver_pack(const Conversion *c, Window *w)
{
    int ret = 0;

    if (!is_packed(c, w)) {
        return 0;
    }
    clear_gaps(w);
    for (size_t i = 0; ret == 0 && i < cluster_count(w); i++) {
        int64_t at = (int64_t)i * w->packing.cluster;
        int data = has_data(w, w->offset + at, w->packing.cluster);

        ret = bdrv_packing_add(&w->packing, c->target, i, data ? w->data + at : NULL,
                               c->asked.target_offset + w->offset + at);
    }
    return ret;
}

static int write_packed(const Conversion *c, const Window *w)
{
    int64_t offset = c->asked.target_offset + w->offset;
    int is_zero_already = c->asked.flags & BDRV_CONVERT_TARGET_IS_ZERO;

    return bdrv_packing_write(&w->packing, c->target, cluster_count(w), offset,
                              is_zero_already ? 0 : offset + w->bytes);
}

/* ------------------------------------------------------------------ pacing */

int bdrv_deliver_progress(const Conversion *c, int64_t done)
{
    if (c->asked.progress && c->asked.progress(c->asked.progress_opaque, done, c->length)) {
        return bdrv_error(c->target, -ECANCELED, "the conversion was stopped at byte %lld",
                          (long long)done);
    }
    return 0;
}

static int64_t nanoseconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* When all that was written may have been, in nanoseconds; what was not written while
 * the source kept us waiting is not made up for. */
static int64_t when_due(Conversion *c, int64_t bytes)
{
    const int64_t now = nanoseconds_now();
    int64_t due;

    if (c->paced_from == 0) {
        c->paced_from = now;
    }
    c->paced_bytes += bytes;
    due = c->paced_from + (int64_t)((double)c->paced_bytes / (double)c->asked.rate * 1e9);
    if (now - due > 1000000000 / STEPS_PER_SECOND) {
        c->paced_from = due = now;
        c->paced_bytes = 0;
    }
    return due;
}

/* Sleeps until bytes may have been written at the rate; in short naps, so that the user
 * can stop it.  Of the writer alone. */
static int pace(Conversion *c, int64_t bytes, int64_t done)
{
    enum { NAP = 100 * 1000 * 1000 };
    int64_t due, left;
    int ret = 0;

    if (c->asked.rate == 0 || bytes == 0) {
        return 0;
    }
    due = when_due(c, bytes);
    while (ret == 0 && (left = due - nanoseconds_now()) > 0) {
        struct timespec nap = {.tv_nsec = (long)bdrv_min(left, NAP)};

        nanosleep(&nap, NULL);
        ret = bdrv_deliver_progress(c, done);
    }
    return ret;
}

int64_t bdrv_deliver_step(const Conversion *c)
{
    enum { LEAST = 64 * 1024 };
    int64_t step = c->asked.rate / STEPS_PER_SECOND;

    if (c->asked.rate == 0) {
        return INT64_MAX;
    }
    return step > LEAST ? bdrv_round_down(step, LEAST) : LEAST;
}

/* ----------------------------------------------------------------- writing */

/* Zeros that shall take room. */
static int write_zero_data(Conversion *c, int64_t offset, int64_t bytes)
{
    static const uint8_t zeros[64 * 1024];
    int ret = 0;

    while (ret == 0 && bytes > 0) {
        int64_t step = bdrv_min(bytes, (int64_t)sizeof zeros);

        ret = bdrv_pwrite(c->target, zeros, (size_t)step, offset);
        offset += step;
        bytes -= step;
        ret = ret < 0 ? ret : pace(c, step, offset - c->asked.target_offset);
    }
    return ret;
}

static int write_zeros(Conversion *c, int64_t offset, int64_t bytes)
{
    if (c->asked.sparse_size < 0) {
        return write_zero_data(c, offset, bytes);
    }
    return c->asked.flags & BDRV_CONVERT_TARGET_IS_ZERO
               ? 0 : bdrv_write_zeroes(c->target, offset, bytes);
}

/* Bytes of the target, or zeros if data is NULL. */
static int is_same(const uint8_t *there, const uint8_t *data, size_t bytes)
{
    return data ? memcmp(there, data, bytes) == 0 : bdrv_is_zero(there, bytes);
}

/* Only where the target reads as something else.  Units are aligned on the target, as
 * its clusters are. */
static int write_changed(Conversion *c, const uint8_t *data, int64_t bytes,
                         int64_t offset)
{
    uint8_t there[32 * 1024]; /* threads may have 128 KiB of stack */
    int64_t step;
    int ret = 0;

    for (; ret == 0 && bytes > 0; bytes -= step, offset += step) {
        step = bdrv_min(bytes, (int64_t)sizeof there - offset % (int64_t)sizeof there);
        ret = bdrv_pread(c->target, there, (size_t)step, offset);
        if (ret == 0 && !is_same(there, data, (size_t)step)) {
            ret = data ? bdrv_pwrite(c->target, data, (size_t)step, offset)
                       : write_zeros(c, offset, step);
        }
        data = data ? data + step : NULL;
    }
    return ret;
}

/* The same for zeros: what is known to read so is left alone. */
static int write_changed_zeros(Conversion *c, int64_t offset, int64_t bytes)
{
    BdrvExtent run;
    int ret = 0;

    for (; ret == 0 && bytes > 0; offset += run.bytes, bytes -= run.bytes) {
        ret = bdrv_map(c->target, offset, bytes, &run);
        if (ret == 0 && run.state == BDRV_DATA) {
            ret = write_changed(c, NULL, run.bytes, offset);
        }
    }
    return ret;
}

static int keep_or_write(Conversion *c, const Window *w, const Piece *piece)
{
    int64_t target_offset = c->asked.target_offset + piece->offset;

    return piece->kind == PIECE_DATA
               ? write_changed(c, w->data + (piece->offset - w->offset), piece->bytes,
                               target_offset)
               : write_changed_zeros(c, target_offset, piece->bytes);
}

/* All but PIECE_PLACED. */
static int write_piece(Conversion *c, const Window *w, const Piece *piece)
{
    int64_t target_offset = c->asked.target_offset + piece->offset;

    if (c->asked.flags & BDRV_CONVERT_KEEP_SAME) {
        return keep_or_write(c, w, piece);
    }
    return piece->kind == PIECE_DATA
               ? bdrv_pwrite(c->target, w->data + (piece->offset - w->offset),
                             (size_t)piece->bytes, target_offset)
               : write_zeros(c, target_offset, piece->bytes);
}

/* In steps, cut at fixed places of the target, so that none takes long. */
static int write_slowly(Conversion *c, const Window *w, const Piece *piece)
{
    const int64_t most = bdrv_deliver_step(c), end = piece->offset + piece->bytes;
    Piece part = *piece;
    int ret = 0;

    for (; ret == 0 && part.offset < end; part.offset += part.bytes) {
        part.bytes = bdrv_min(most - (c->asked.target_offset + part.offset) % most,
                              end - part.offset);
        ret = write_piece(c, w, &part);
        ret = ret < 0 ? ret : pace(c, part.bytes, part.offset + part.bytes);
    }
    return ret;
}

static int write_pieces(Conversion *c, const Window *w)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < w->pieces.count; i++) {
        const Piece *piece = &w->pieces.list[i];

        ret = piece->kind == PIECE_DATA && c->asked.rate > 0 ? write_slowly(c, w, piece)
                                                              : write_piece(c, w, piece);
    }
    return ret;
}

/* What the storage would not take over goes the usual way. */
static int copy_through_window(Conversion *c, const Window *w)
{
    Window part = *w;
    int ret = 0;

    for (int64_t done = 0; ret == 0 && done < w->bytes; done += part.bytes) {
        part.offset = w->offset + done;
        part.bytes = bdrv_min(c->window_bytes, w->bytes - done);
        part.pieces.count = 0;
        ret = bdrv_window_read(c, &part, part.offset, part.bytes);
        if (ret == 0) {
            ret = write_pieces(c, &part);
        }
    }
    return ret;
}

static int write_placed(Conversion *c, Window *w)
{
    int64_t offset = c->asked.target_offset + w->offset;
    int ret = bdrv_share_range(c->target, offset, w->source_file, w->source_offset, w->bytes);

    if (ret == -ENOTSUP && c->asked.flags & BDRV_CONVERT_OFFLOAD) {
        ret = bdrv_copy_range(c->target, offset, w->source_file, w->source_offset, w->bytes);
    }
    if (ret == -ENOTSUP) {
        atomic_store(&c->can_place, 0);
        ret = copy_through_window(c, w);
        w->pieces.list[0] = (Piece){w->offset, w->bytes, PIECE_DATA}; /* for the report */
        w->pieces.count = 1;
    }
    return ret;
}

int bdrv_deliver_write(Conversion *c, Window *w)
{
    if (w->pieces.count > 0 && w->pieces.list[0].kind == PIECE_PLACED) {
        return write_placed(c, w);
    }
    return is_packed(c, w) ? write_packed(c, w) : write_pieces(c, w);
}

/* --------------------------------------------------------------- reporting */

static void record(const Conversion *c, const Window *w)
{
    if (c->asked.record && w->bytes > c->window_bytes) {
        bdrv_record_add_zeros(c->asked.record, w->bytes);
    } else if (c->asked.record) {
        bdrv_record_add(c->asked.record, &w->leaves);
    }
}

/* What was not accounted for when it was written. */
static int64_t unpaced(const Conversion *c, const Window *w)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < w->pieces.count; i++) {
        const Piece *piece = &w->pieces.list[i];

        if (piece->kind == PIECE_PLACED || (piece->kind == PIECE_DATA && is_packed(c, w))) {
            bytes += piece->bytes;
        }
    }
    return bytes;
}

int bdrv_deliver_report(Conversion *c, const Window *w)
{
    const int64_t done = w->offset + w->bytes;
    int ret;

    record(c, w);
    for (size_t i = 0; i < w->pieces.count; i++) {
        const Piece *piece = &w->pieces.list[i];

        if (piece->kind == PIECE_LOST) {
            c->asked.lost(c->asked.lost_opaque, piece->offset, piece->bytes, w->message);
        }
    }
    ret = bdrv_deliver_progress(c, done);
    return ret < 0 ? ret : pace(c, unpaced(c, w), done);
}
