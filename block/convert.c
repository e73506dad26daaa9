/* SPDX-License-Identifier: MIT */
/*
 * convert.c - bdrv_convert(): the content of one disk into another, on several
 * threads, with the same output whatever their number.
 *
 *      take a window          fill it (in parallel)        write it (in turn)
 *   ┌──────────────────┐   ┌───────────────────────┐   ┌───────────────────────┐
 *   │ next piece of the │──▶│ map, read, find zeros │──▶│ wait until all earlier│
 *   │ disk, a ticket    │   │ (inflate, if it must) │   │ tickets are written   │
 *   └──────────────────┘   └───────────────────────┘   └───────────────────────┘
 *
 * Every thread, the caller's too, goes round this loop.  Windows are cut at fixed
 * places of the disk and written in their order, so a target that allocates
 * does so in the same order always; what runs in parallel is everything else.
 * Memory is one window per thread, and as much again where the target compresses
 * (packing.c): then filling includes that, and whole clusters are written.  A
 * long run of nothing is one window without data, however long.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_int.h"

enum {
    WINDOW_BYTES = 1024 * 1024, /* large enough that calls cost nothing, and
                                 * small enough to stay in a cache */
    DEFAULT_SPARSE = 4096,      /* a page: smaller holes save no host space */
    THREADS_MAX = 64
};

typedef struct Piece {
    int64_t offset; /* on the source disk */
    int64_t bytes;
    int zero;
} Piece;

/* Sector-sized runs in turns are the worst that can be met. */
#define PIECES_MAX (WINDOW_BYTES / BDRV_SECTOR_SIZE + 1)

typedef struct Window {
    uint64_t ticket;
    int64_t offset;
    int64_t bytes; /* more than WINDOW_BYTES only if it is all zero */
    int zero;      /* known without looking further */
    Piece *pieces;
    size_t piece_count;
    uint8_t *data; /* WINDOW_BYTES */
    Packing packing;
    Leaves leaves; /* if there is to be a record */
} Window;

typedef struct Conversion {
    BlockDriverState *source, *target;
    BdrvConvertOptions asked;
    int64_t length; /* of the source */

    pthread_mutex_t lock;
    pthread_cond_t turn;
    int64_t next_offset;  /* where the next window begins */
    uint64_t next_ticket; /* to be taken */
    uint64_t next_write;  /* the ticket whose turn it is */
    int error;            /* of the first window that failed; stops all */
    char message[1024];   /* its text: the failing thread is not the caller's */
} Conversion;

/* ------------------------------------------------------------------ taking */

/* Looks only as far as to tell a long run of nothing from a window.  Windows
 * begin at multiples of WINDOW_BYTES: so do clusters, and the leaves of a record. */
static int look_ahead(const Conversion *c, Window *w)
{
    int64_t left = c->length - w->offset;
    BdrvExtent run;
    int ret = bdrv_map(c->source, w->offset, left, &run);

    if (ret < 0) {
        return ret;
    }
    w->zero = run.state != BDRV_DATA && run.bytes >= bdrv_min(WINDOW_BYTES, left);
    w->bytes = bdrv_min(WINDOW_BYTES, left);
    if (w->zero) {
        w->bytes = run.bytes == left ? left : bdrv_round_down(run.bytes, WINDOW_BYTES);
    }
    return 0;
}

static void fail(Conversion *c, int error)
{
    if (c->error == 0) {
        c->error = error;
        snprintf(c->message, sizeof c->message, "%s", bdrv_errmsg());
    }
}

/* 1: *w is to be done; 0: there is no more to do, or all stops. */
static int take_window(Conversion *c, Window *w)
{
    int taken = 0, ret;

    pthread_mutex_lock(&c->lock);
    if (c->error == 0 && c->next_offset < c->length) {
        w->offset = c->next_offset;
        ret = look_ahead(c, w);
        if (ret < 0) {
            fail(c, ret);
        } else {
            w->ticket = c->next_ticket++;
            c->next_offset += w->bytes;
            taken = 1;
        }
    }
    pthread_mutex_unlock(&c->lock);
    return taken;
}

/* ----------------------------------------------------------------- filling */

/* Compared with itself shifted by one: memcmp is vectorised everywhere. */
static int is_zero(const uint8_t *p, int64_t bytes)
{
    return p[0] == 0 && (bytes == 1 || memcmp(p, p + 1, (size_t)bytes - 1) == 0);
}

static int add_piece(Window *w, int64_t offset, int64_t bytes, int zero)
{
    Piece *last = w->piece_count > 0 ? &w->pieces[w->piece_count - 1] : NULL;

    if (last && last->zero == zero) {
        last->bytes += bytes;
    } else if (w->piece_count < PIECES_MAX) {
        w->pieces[w->piece_count++] = (Piece){ offset, bytes, zero };
    } else {
        return bdrv_error(NULL, -EIO, "the source tells runs shorter than a sector");
    }
    return 0;
}

/* Units of zero detection are aligned on the disk, so that the same content
 * gives the same pieces however the source tells its runs. */
static int add_data(const Conversion *c, Window *w, int64_t offset, int64_t bytes)
{
    const int64_t unit = c->asked.sparse_size;
    int64_t step;
    int ret = 0;

    for (; ret == 0 && bytes > 0; offset += step, bytes -= step) {
        step = unit > 0 ? bdrv_min(unit - offset % unit, bytes) : bytes;
        ret = add_piece(w, offset, step,
                        unit > 0 && is_zero(w->data + (offset - w->offset), step));
    }
    return ret;
}

static int read_run(const Conversion *c, Window *w, int64_t offset, int64_t bytes)
{
    int ret = bdrv_pread(c->source, w->data + (offset - w->offset), (size_t)bytes, offset);

    return ret < 0 ? ret : add_data(c, w, offset, bytes);
}

static int fill_window(const Conversion *c, Window *w)
{
    int64_t offset = w->offset, end = w->offset + w->bytes;
    BdrvExtent run;
    int ret = 0;

    w->piece_count = 0;
    if (w->zero) {
        return add_piece(w, w->offset, w->bytes, 1);
    }
    for (; ret == 0 && offset < end; offset += run.bytes) {
        ret = bdrv_map(c->source, offset, end - offset, &run);
        if (ret == 0) {
            ret = run.state == BDRV_DATA ? read_run(c, w, offset, run.bytes)
                                         : add_piece(w, offset, run.bytes, 1);
        }
    }
    return ret;
}

/* --------------------------------------------------------------- recording */

static void hash_window(Window *w)
{
    bdrv_leaves_clear(&w->leaves);
    for (size_t i = 0; i < w->piece_count; i++) {
        const Piece *piece = &w->pieces[i];

        bdrv_leaves_add(&w->leaves, piece->zero ? NULL : w->data + (piece->offset - w->offset),
                        piece->bytes);
    }
    bdrv_leaves_end(&w->leaves);
}

/* In turn. */
static void record_window(const Conversion *c, const Window *w)
{
    if (c->asked.record && w->zero) {
        bdrv_record_add_zeros(c->asked.record, w->bytes);
    } else if (c->asked.record) {
        bdrv_record_add(c->asked.record, &w->leaves);
    }
}

/* ----------------------------------------------------------------- packing */

static size_t cluster_count(const Window *w)
{
    return (size_t)bdrv_div_up(w->bytes, w->packing.cluster);
}

static int has_data(const Window *w, int64_t offset, int64_t bytes)
{
    for (size_t i = 0; i < w->piece_count; i++) {
        const Piece *piece = &w->pieces[i];

        if (!piece->zero && piece->offset < offset + bytes &&
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

    for (size_t i = 0; i < w->piece_count; i++) {
        if (w->pieces[i].zero) {
            memset(w->data + (w->pieces[i].offset - w->offset), 0, (size_t)w->pieces[i].bytes);
        }
    }
    memset(w->data + w->bytes, 0, (size_t)(filled - w->bytes));
}

static int pack_window(const Conversion *c, Window *w)
{
    int ret = 0;

    if (w->zero || w->packing.cluster == 0) {
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

/* ----------------------------------------------------------------- writing */

/* Zeros that shall take room. */
static int write_zero_data(const Conversion *c, int64_t offset, int64_t bytes)
{
    static const uint8_t zeros[64 * 1024];
    int ret = 0;

    while (ret == 0 && bytes > 0) {
        int64_t step = bdrv_min(bytes, (int64_t)sizeof zeros);

        ret = bdrv_pwrite(c->target, zeros, (size_t)step, offset);
        offset += step;
        bytes -= step;
    }
    return ret;
}

static int write_piece(const Conversion *c, const Window *w, const Piece *piece)
{
    int64_t target_offset = c->asked.target_offset + piece->offset;

    if (!piece->zero) {
        return bdrv_pwrite(c->target, w->data + (piece->offset - w->offset),
                           (size_t)piece->bytes, target_offset);
    }
    if (c->asked.sparse_size < 0) {
        return write_zero_data(c, target_offset, piece->bytes);
    }
    if (c->asked.flags & BDRV_CONVERT_TARGET_IS_ZERO) {
        return 0;
    }
    return bdrv_write_zeroes(c->target, target_offset, piece->bytes);
}

static int report(const Conversion *c, int64_t done)
{
    if (c->asked.progress && c->asked.progress(c->asked.progress_opaque, done, c->length)) {
        return bdrv_error(c->target, -ECANCELED, "the conversion was stopped at byte %lld",
                          (long long)done);
    }
    return 0;
}

static int write_window(const Conversion *c, const Window *w)
{
    const int packed = w->packing.cluster > 0 && !w->zero;
    int ret = packed ? write_packed(c, w) : 0;

    for (size_t i = 0; ret == 0 && !packed && i < w->piece_count; i++) {
        ret = write_piece(c, w, &w->pieces[i]);
    }
    if (ret < 0) {
        return ret;
    }
    record_window(c, w);
    return report(c, w->offset + w->bytes);
}

/* ret is how filling went; a failure is told in its turn too, so that the first
 * on the disk is the one that is reported. */
static void write_in_turn(Conversion *c, const Window *w, int ret)
{
    int stopped;

    pthread_mutex_lock(&c->lock);
    while (c->next_write != w->ticket) {
        pthread_cond_wait(&c->turn, &c->lock);
    }
    stopped = c->error != 0;
    pthread_mutex_unlock(&c->lock);

    if (ret == 0 && !stopped) {
        ret = write_window(c, w);
    }
    pthread_mutex_lock(&c->lock);
    if (ret < 0) {
        fail(c, ret);
    }
    c->next_write++;
    pthread_cond_broadcast(&c->turn);
    pthread_mutex_unlock(&c->lock);
}

/* ----------------------------------------------------------------- threads */

static int prepare_window(const Conversion *c, Window *w)
{
    *w = (Window){
        .pieces = malloc(PIECES_MAX * sizeof *w->pieces),
        .data = malloc(WINDOW_BYTES),
    };
    return w->pieces && w->data &&
                   bdrv_packing_new(&w->packing, c->target, WINDOW_BYTES) == 0 &&
                   bdrv_leaves_new(&w->leaves, c->asked.record, WINDOW_BYTES) == 0
               ? 0
               : bdrv_error(NULL, -ENOMEM, "no memory for a window of %d bytes", WINDOW_BYTES);
}

static int prepare_to_write(const Conversion *c, Window *w)
{
    int ret = fill_window(c, w);

    if (ret == 0 && c->asked.record && !w->zero) {
        hash_window(w);
    }
    return ret < 0 ? ret : pack_window(c, w);
}

static void *work(void *opaque)
{
    Conversion *c = opaque;
    Window w;

    bdrv_call_begin(); /* messages of this thread: see fail() */
    if (prepare_window(c, &w) < 0) {
        pthread_mutex_lock(&c->lock);
        fail(c, -ENOMEM);
        pthread_mutex_unlock(&c->lock);
    } else {
        while (take_window(c, &w)) {
            write_in_turn(c, &w, prepare_to_write(c, &w));
        }
    }
    bdrv_call_end(NULL, 0, "");
    bdrv_packing_free(&w.packing);
    bdrv_leaves_free(&w.leaves);
    free(w.pieces);
    free(w.data);
    return NULL;
}

static unsigned thread_count(const Conversion *c)
{
    long processors = c->asked.threads ? (long)c->asked.threads : sysconf(_SC_NPROCESSORS_ONLN);
    int64_t windows = bdrv_div_up(c->length, WINDOW_BYTES);

    if (bdrv_open_flags(c->source) & BDRV_O_FORWARD) {
        return 1; /* it gives its clusters in their order only */
    }
    return (unsigned)bdrv_max(1, bdrv_min(bdrv_min(processors, THREADS_MAX), windows));
}

/* With fewer threads than wanted, if the host gives no more: all it costs is
 * time. */
static void run_threads(Conversion *c)
{
    pthread_t threads[THREADS_MAX];
    unsigned wanted = thread_count(c) - 1, started = 0;

    while (started < wanted && pthread_create(&threads[started], NULL, work, c) == 0) {
        started++;
    }
    work(c);
    while (started > 0) {
        pthread_join(threads[--started], NULL);
    }
}

/* ---------------------------------------------------------------- the call */

static int check_target(const Conversion *c)
{
    int64_t room = bdrv_getlength(c->target), end;

    if (!bdrv_is_writable(c->target)) {
        return bdrv_error(c->target, -EROFS, "the target is open for reading only");
    }
    if (!bdrv_add(c->asked.target_offset, c->length, &end) || end > room) {
        return bdrv_error(c->target, -ENOSPC, "the target has %lld bytes; %lld at offset "
                          "%lld do not fit", (long long)room, (long long)c->length,
                          (long long)c->asked.target_offset);
    }
    return 0;
}

static int check_packing(const Conversion *c)
{
    const int64_t cluster = c->target->packing_cluster;

    if (cluster > 0 && WINDOW_BYTES % cluster != 0) {
        return bdrv_error(c->target, -ENOTSUP, "the target compresses clusters of %lld bytes; "
                          "only what %d is a multiple of can be", (long long)cluster,
                          WINDOW_BYTES);
    }
    if (cluster > 0 && c->asked.target_offset % cluster != 0) {
        return bdrv_error(c->target, -ENOTSUP, "the target compresses clusters of %lld bytes, "
                          "and what is copied begins at byte %lld, inside of one: join the "
                          "sources in an image of another kind first", (long long)cluster,
                          (long long)c->asked.target_offset);
    }
    return 0;
}

static int check_options(const Conversion *c)
{
    if (c->asked.flags & ~(unsigned)BDRV_CONVERT_TARGET_IS_ZERO) {
        return bdrv_error(NULL, -EINVAL, "convert flags 0x%x are unknown", c->asked.flags);
    }
    if (c->asked.sparse_size > 0 && c->asked.sparse_size % BDRV_SECTOR_SIZE != 0) {
        return bdrv_error(NULL, -EINVAL, "sparse_size is %lld; a multiple of %d is wanted",
                          (long long)c->asked.sparse_size, BDRV_SECTOR_SIZE);
    }
    return 0;
}

static int prepare(Conversion *c, const BdrvConvertOptions *options)
{
    int ret = bdrv_copy_struct(&c->asked, sizeof c->asked, options,
                               offsetof(BdrvConvertOptions, record));

    if (ret < 0) {
        return ret;
    }
    if (c->asked.sparse_size == 0) {
        c->asked.sparse_size = DEFAULT_SPARSE;
    }
    c->length = bdrv_getlength(c->source);
    /* First of all, so that no failure leaves an old record. */
    ret = c->asked.record ? bdrv_record_begin(c->asked.record, c->length) : 0;
    ret = ret < 0 ? ret : check_options(c);
    ret = ret < 0 ? ret : check_target(c);
    return ret < 0 ? ret : check_packing(c);
}

static int convert(Conversion *c, const BdrvConvertOptions *options)
{
    int ret = prepare(c, options);

    if (ret == 0) {
        ret = report(c, 0);
    }
    if (ret < 0) {
        return ret;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->turn, NULL);
    run_threads(c);
    pthread_cond_destroy(&c->turn);
    pthread_mutex_destroy(&c->lock);
    if (c->error < 0) {
        atomic_store(&c->target->abandoned, 1);
    } else if (c->asked.record) {
        bdrv_record_end(c->asked.record);
    }
    return c->error < 0 ? bdrv_error(NULL, c->error, "%s", c->message) : 0;
}

int bdrv_convert(BlockDriverState *source, BlockDriverState *target,
                 const BdrvConvertOptions *options)
{
    Conversion c = { .source = source, .target = target };
    int ret;

    bdrv_call_begin();
    ret = source && target ? convert(&c, options) : -EINVAL;
    return bdrv_call_end(target, ret, "cannot convert");
}
