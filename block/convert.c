/* SPDX-License-Identifier: MIT */
/*
 * convert.c - bdrv_convert(): the content of one disk into another, on several
 * threads, with the same output whatever their number.
 *
 *        walk (one at a time)     fill (in parallel)     write (one at a time)
 *      ┌────────────────────┐   ┌───────────────────┐   ┌─────────────────────┐
 *   ──▶│ the next window:   │──▶│ read, find zeros, │──▶│ the window whose    │──▶ free
 *      │ what is in it?     │   │ inflate, deflate  │   │ turn it is          │
 *      └────────────────────┘   └───────────────────┘   └─────────────────────┘
 *
 * Every thread, the caller's too, does what is most urgent: writes the window
 * whose turn it is if that is ready, else walks and fills a new one, else waits.
 * To walk and to write are parts that one thread has at a time, without a lock
 * being held over them; the lock is on who does what alone.  Windows
 * are written in the order of the disk, so a target that allocates does so in
 * the same order always.
 *
 * Memory is a fixed number of windows.  The one that became free last is taken
 * first, so that a single thread goes on in one buffer, which is in its cache.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "convert.h"

enum {
    DEFAULT_SPARSE = 4096, /* a page: smaller holes save no host space */
    DEFAULT_MEMORY = 32 * 1024 * 1024,
    THREADS_MAX = 64,
    /* Windows for each thread: one in work, one waiting for its turn. */
    WINDOWS_PER_THREAD = 2,
    WINDOWS_MAX = THREADS_MAX * WINDOWS_PER_THREAD,
    /* Of so many windows the first are looked at, whether they came from a disk; */
    SAMPLE_EVERY = 128,
    /* … these many, and if all did, another thread could read meanwhile. */
    WAITS_MIN = 2
};

typedef struct Crew {
    pthread_mutex_t lock;
    pthread_cond_t change;
    unsigned waiting; /* threads that found nothing to do */

    Window *ring[WINDOWS_MAX]; /* ticket modulo window_count: what is under way */
    Window *free;
    unsigned window_count; /* how many there may be */
    unsigned made;         /* how many there are */
    unsigned free_count;   /* of those that may be */
    uint64_t next_ticket;  /* of the next window to be walked */
    uint64_t next_write;   /* the ticket whose turn it is */
    int walking, writing;  /* somebody has that part */

    unsigned wanted; /* threads besides the caller's */
    unsigned started;
    pthread_t threads[THREADS_MAX];

    int stopped; /* error is set, or all is done */
    int error;   /* of the first window on the disk that failed; stops all */
    char message[MESSAGE_BYTES]; /* its text: the failing thread is not the caller's */
} Crew;

static void *work(void *opaque);

/* ------------------------------------------------------------------- waking */

/* Whoever is woken can do all that another could, so one is enough; and nobody,
 * until half of the windows are free, as long as others go on: each wake costs more than
 * what could be read into one window meanwhile. */
static void wake_one(Crew *crew)
{
    if (crew->waiting > 0) {
        pthread_cond_signal(&crew->change);
    }
}

static void stop(Crew *crew, int error, const char *message)
{
    crew->stopped = 1;
    if (error < 0 && crew->error == 0) {
        crew->error = error;
        snprintf(crew->message, sizeof crew->message, "%s", message);
    }
    pthread_cond_broadcast(&crew->change);
}

/* ------------------------------------------------------------------- threads */

/* With fewer than wanted, if the host gives no more: all it costs is time. */
static void start_threads(Conversion *c)
{
    Crew *crew = c->crew;

    while (crew->started < crew->wanted &&
           pthread_create(&crew->threads[crew->started], NULL, work, c) == 0) {
        crew->started++;
    }
    crew->wanted = crew->started;
}

/* How often this thread has had a disk read for it; 0 where the host does not tell. */
static long disk_reads_so_far(void)
{
#ifdef RUSAGE_THREAD
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_inblock : 0;
#else
    return 0;
#endif
}

/* ------------------------------------------------------------------ filling */

static int fill(const Conversion *c, Window *w)
{
    int ret = bdrv_window_fill(c, w);

    if (ret == 0) {
        bdrv_window_hash(c, w);
        ret = bdrv_deliver_pack(c, w);
    }
    return ret;
}

/* Fills a window and sees whether that had to wait for a disk.  Then, and only
 * then, is it worth a second thread just to move bytes. */
static int fill_sampled(Conversion *c, Window *w, uint64_t ticket, unsigned *waits)
{
    const int sampled = waits != NULL && ticket % SAMPLE_EVERY < WAITS_MIN;
    long before = sampled ? disk_reads_so_far() : 0;
    int ret = fill(c, w);

    if (sampled) {
        *waits = disk_reads_so_far() > before ? *waits + 1 : 0;
    }
    return ret;
}

/* Out of turn, where that makes no difference.  Zeros too.  (Who keeps a rate is one.) */
static int write_early(Conversion *c, Window *w)
{
    if (!(c->asked.flags & BDRV_CONVERT_UNORDERED) || !c->is_plain || c->asked.rate > 0) {
        return 0;
    }
    w->delivered = 1;
    return bdrv_deliver_write(c, w);
}

/* ------------------------------------------------------- what a thread can do */

/* A window to be walked, off the list or new; NULL: no memory. */
static Window *get_window(const Conversion *c, Window *w)
{
    if (!w) {
        w = calloc(1, sizeof *w);
        if (w && bdrv_window_new(w, c) < 0) {
            bdrv_window_free(w);
            free(w);
            w = NULL;
        }
    }
    return w;
}

/* Takes a window that is free, or the right to make one, and with it the walker's
 * part. */
static Window *begin_walk(Crew *crew)
{
    Window *w = crew->free;

    crew->walking = 1;
    crew->free_count--;
    if (w) {
        crew->free = w->next_free;
    } else {
        crew->made++;
    }
    return w;
}

/* Gives the walked window its ticket, and the part away. */
static uint64_t end_walk(Crew *crew, Window *w)
{
    uint64_t ticket = crew->next_ticket++;

    w->ready = w->delivered = 0;
    crew->ring[ticket % crew->window_count] = w;
    crew->walking = 0;
    return ticket;
}

/* Needs the lock, and lets it go meanwhile, as do all here. */
static void walk_and_fill(Conversion *c, unsigned *waits)
{
    Crew *crew = c->crew;
    Window *w = begin_walk(crew);
    uint64_t ticket;
    int ret;

    pthread_mutex_unlock(&crew->lock);
    w = get_window(c, w);
    ret = w ? bdrv_window_walk(c, w) : -ENOMEM;
    pthread_mutex_lock(&crew->lock);
    if (!w) {
        crew->made--;
        crew->walking = 0;
        stop(crew, -ENOMEM, bdrv_errmsg());
        return;
    }
    ticket = end_walk(crew, w);
    if (ret < 0) {
        c->next_offset = c->length; /* nothing behind it is wanted any more */
    } else if (crew->free_count > 0) {
        wake_one(crew);
    }
    if (ret == 0) {
        pthread_mutex_unlock(&crew->lock);
        ret = fill_sampled(c, w, ticket, waits);
        ret = ret < 0 ? ret : write_early(c, w);
        pthread_mutex_lock(&crew->lock);
    }
    if (ret < 0) {
        snprintf(w->message, sizeof w->message, "%s", bdrv_errmsg());
    }
    w->result = ret;
    w->ready = 1;
}

static void put_free(Crew *crew, Window *w)
{
    w->next_free = crew->free;
    crew->free = w;
    crew->free_count++;
    if (2 * crew->free_count >= crew->window_count) {
        wake_one(crew);
    }
}

static int write_and_report(Conversion *c, Window *w)
{
    int ret = w->delivered ? 0 : bdrv_deliver_write(c, w);

    return ret < 0 ? ret : bdrv_deliver_report(c, w);
}

/* A failure is told in its turn too, so that the first on the disk is the one that
 * is reported. */
static void write_next(Conversion *c, Window *w)
{
    Crew *crew = c->crew;
    int ret = w->result;

    if (ret < 0) {
        stop(crew, ret, w->message);
        return;
    }
    crew->writing = 1;
    pthread_mutex_unlock(&crew->lock);
    ret = write_and_report(c, w);
    pthread_mutex_lock(&crew->lock);
    crew->writing = 0;
    if (ret < 0) {
        stop(crew, ret, bdrv_errmsg());
    }
    crew->ring[crew->next_write % crew->window_count] = NULL;
    crew->next_write++;
    put_free(crew, w);
}

/* Does what is most urgent.  0: there is no more to do.  waits NULL: other threads
 * are not to be started. */
static int step(Conversion *c, unsigned *waits)
{
    Crew *crew = c->crew;
    Window *next = crew->ring[crew->next_write % crew->window_count];

    if (crew->stopped) {
        return 0;
    }
    if (!crew->writing && next && next->ready) {
        write_next(c, next);
    } else if (!crew->walking && crew->free_count > 0 && c->next_offset < c->length) {
        walk_and_fill(c, waits);
    } else if (!crew->walking && c->next_offset >= c->length &&
               crew->next_write == crew->next_ticket) {
        stop(crew, 0, "");
    } else {
        crew->waiting++;
        pthread_cond_wait(&crew->change, &crew->lock);
        crew->waiting--;
    }
    return 1;
}

static void *work(void *opaque)
{
    Conversion *c = opaque;

    bdrv_call_begin(); /* messages of this thread: see stop() */
    pthread_mutex_lock(&c->crew->lock);
    while (step(c, NULL)) {
    }
    pthread_mutex_unlock(&c->crew->lock);
    bdrv_call_end(NULL, 0, "");
    return NULL;
}

/* The caller's thread, which gets others to help when it has to wait. */
static void lead(Conversion *c, unsigned most)
{
    Crew *crew = c->crew;
    unsigned waits = 0;

    pthread_mutex_lock(&crew->lock);
    start_threads(c);
    while (step(c, most > 1 ? &waits : NULL)) {
        if (waits >= WAITS_MIN && !crew->stopped && crew->started + 1 < most) {
            waits = 0;
            crew->wanted = crew->started + 1;
            start_threads(c);
        }
    }
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->started; i++) {
        pthread_join(crew->threads[i], NULL);
    }
}

/* -------------------------------------------------------------------- plans */

/* Is there (de)compressing or hashing to be done, which is work for every
 * processor? */
static int is_heavy(const Conversion *c)
{
    BdrvInfo info = {.struct_size = sizeof info};

    if (c->target->packing_cluster > 0 || c->asked.record) {
        return 1;
    }
    for (BlockDriverState *node = c->source; node; node = node->backing) {
        if (bdrv_get_info(node, &info) == 0 && info.compressed) {
            return 1;
        }
    }
    return 0;
}

/* Do all bytes of the disk have a fixed place in the target? */
static int is_plain(const Conversion *c)
{
    int64_t offset = c->asked.target_offset, end = offset + c->length;
    BdrvExtent run;

    while (offset < end) {
        if (bdrv_is_allocated(c->target, offset, end - offset, &run) < 0 ||
            run.state != BDRV_DATA || !run.may_have_holes) {
            return 0;
        }
        offset += run.bytes;
    }
    return 1;
}

/* What one window takes, its packed clusters included. */
static size_t window_memory(const Conversion *c)
{
    size_t bytes = sizeof(Window) + 2 * PIECES_MAX * sizeof(Piece) + (size_t)c->window_bytes;

    if (c->target->packing_cluster > 0) {
        bytes += (size_t)(c->window_bytes / c->target->packing_cluster) *
                 (c->target->packing_room + sizeof(size_t));
    }
    if (c->asked.record) {
        bytes += (size_t)(c->window_bytes / BDRV_LEAF_BYTES) * BDRV_HASH_BYTES;
    }
    return bytes;
}

/* How many threads at most, and windows for them out of the memory there is. */
static int plan(Conversion *c, Crew *crew, unsigned *most)
{
    const int heavy = is_heavy(c);
    const int waits = ((bdrv_open_flags(c->source) | bdrv_open_flags(c->target)) &
                       BDRV_O_DIRECT) != 0;
    size_t memory = c->asked.max_memory ? c->asked.max_memory : DEFAULT_MEMORY;
    long processors = c->asked.threads ? (long)c->asked.threads : sysconf(_SC_NPROCESSORS_ONLN);
    int64_t threads, windows;

    c->window_bytes = heavy ? bdrv_max(PACKED_WINDOW_BYTES, c->target->packing_cluster)
                            : WINDOW_BYTES;
    windows = (int64_t)(memory / window_memory(c));
    if (windows < 1) {
        return bdrv_error(NULL, -EINVAL, "max_memory is %zu; at least %zu bytes are wanted",
                          memory, window_memory(c));
    }
    threads = bdrv_min(bdrv_min(processors, THREADS_MAX), windows);
    threads = bdrv_min(threads, bdrv_div_up(c->length, c->window_bytes));
    threads = bdrv_max(threads, 1);
    *most = (unsigned)threads;
    crew->wanted = heavy || waits || c->asked.threads ? *most - 1 : 0;
    crew->window_count = (unsigned)bdrv_min(windows, threads * WINDOWS_PER_THREAD);
    crew->free_count = crew->window_count;
    return 0;
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
    if (cluster > 0 && c->asked.flags & BDRV_CONVERT_KEEP_SAME) {
        return bdrv_error(c->target, -ENOTSUP, "the target compresses, and cannot be read "
                          "while it is written");
    }
    if (cluster > 0 && c->asked.target_offset % cluster != 0) {
        return bdrv_error(c->target, -ENOTSUP, "the target compresses clusters of %lld bytes, "
                          "and what is copied begins at byte %lld, inside of one: join the "
                          "sources in an image of another kind first", (long long)cluster,
                          (long long)c->asked.target_offset);
    }
    return 0;
}

static int check_options(const BdrvConvertOptions *asked)
{
    const unsigned known = BDRV_CONVERT_TARGET_IS_ZERO | BDRV_CONVERT_OFFLOAD |
                           BDRV_CONVERT_UNORDERED | BDRV_CONVERT_KEEP_SAME;

    if (asked->flags & ~known) {
        return bdrv_error(NULL, -EINVAL, "convert flags 0x%x are unknown", asked->flags & ~known);
    }
    if (asked->sparse_size > 0 && asked->sparse_size % BDRV_SECTOR_SIZE != 0) {
        return bdrv_error(NULL, -EINVAL, "sparse_size is %lld; a multiple of %d is wanted",
                          (long long)asked->sparse_size, BDRV_SECTOR_SIZE);
    }
    return asked->rate >= 0 ? 0 : bdrv_error(NULL, -EINVAL, "rate is %lld; it cannot be below 0",
                                             (long long)asked->rate);
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
    ret = ret < 0 ? ret : check_options(&c->asked);
    ret = ret < 0 ? ret : check_target(c);
    ret = ret < 0 ? ret : check_packing(c);
    if (ret == 0) {
        c->is_forward = (bdrv_open_flags(c->source) & BDRV_O_FORWARD) != 0;
        c->is_plain = is_plain(c);
        atomic_init(&c->can_place, c->is_plain && !c->is_forward && !c->asked.record &&
                                      !(c->asked.flags & BDRV_CONVERT_KEEP_SAME) &&
                                      !c->asked.lost && c->asked.sparse_size > 0 &&
                                      bdrv_deliver_step(c) >= WINDOW_BYTES);
    }
    return ret;
}

static int run(Conversion *c)
{
    unsigned most = 1;
    int ret;

    pthread_mutex_init(&c->crew->lock, NULL);
    pthread_cond_init(&c->crew->change, NULL);
    ret = plan(c, c->crew, &most);
    if (ret == 0) {
        lead(c, most);
        ret = c->crew->error;
        ret = ret < 0 ? bdrv_error(NULL, ret, "%s", c->crew->message) : 0;
    }
    for (Window *next, *w = c->crew->free; w; w = next) {
        next = w->next_free;
        bdrv_window_free(w);
        free(w);
    }
    for (unsigned i = 0; i < c->crew->window_count; i++) { /* those that an error left */
        if (c->crew->ring[i]) {
            bdrv_window_free(c->crew->ring[i]);
            free(c->crew->ring[i]);
        }
    }
    pthread_cond_destroy(&c->crew->change);
    pthread_mutex_destroy(&c->crew->lock);
    return ret;
}

static int convert(Conversion *c, const BdrvConvertOptions *options)
{
    int ret = prepare(c, options);

    if (ret == 0) {
        ret = bdrv_deliver_progress(c, 0);
    }
    if (ret == 0) {
        c->crew = calloc(1, sizeof *c->crew);
        ret = c->crew ? run(c) : -ENOMEM;
        free(c->crew);
    }
    if (ret < 0) { /* also before it began: the disk may be one of several that are joined */
        atomic_store(&c->target->abandoned, 1);
    } else if (c->asked.record) {
        bdrv_record_end(c->asked.record);
    }
    return ret;
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
