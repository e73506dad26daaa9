/* SPDX-License-Identifier: MIT */
/*
 * pages.c - pages of files in memory: a hash to find them, a clock to choose
 * which one goes when the budget is full.  What is changed in them, and when
 * that is written, is table.c's business; here it only pins a page.
 *
 * A page is read under no lock.  What was read is stale if meanwhile the same
 * page was loaded, changed, flushed and evicted by others, or was written past
 * the cache.  Both raise the epoch, and then it is read again.  The window is a
 * read that was made earlier, and is good in its epoch for the same reason.
 */
#include "pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Enough that a request that needs nine pages does not lose the one while it loads the
     * other, again and again, and that they can all be dirty. */
    PAGES_MIN = 32,
    BUCKETS_MAX = 1 << 20,
    WINDOW_BYTES = 64 * 1024, /* of reads past the pages */
    LOADS_BYTES = 16 * 1024   /* of loads: less, because it may have been chance */
};

/* -------------------------------------------------------------------- hash */

/* Four neighbours, as a table often is, share a cache line of buckets. */
static Page **bucket_of(Pages *pages, const BlockDriverState *file, int64_t offset)
{
    uint64_t page = (uint64_t)offset / PAGE_BYTES;
    uint64_t key = page / 4 + ((uint64_t)(uintptr_t)file << 20);

    key *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio: mixes upwards */
    return &pages->buckets[((size_t)(key >> 40) * 4 + page % 4) & (pages->bucket_count - 1)];
}

static Page *find(Pages *pages, const BlockDriverState *file, int64_t offset)
{
    Page *page = *bucket_of(pages, file, offset);

    while (page != NULL && (page->offset != offset || page->file != file)) {
        page = page->bucket_next;
    }
    return page;
}

Page *bdrv_pages_find(Pages *pages, BlockDriverState *file, int64_t offset, size_t needed)
{
    Page *page = find(pages, file, offset);

    if (page == NULL || page->valid < needed) {
        return NULL;
    }
    /* The test keeps hits from fighting over the cache line. */
    if (!atomic_load_explicit(&page->referenced, memory_order_relaxed)) {
        atomic_store_explicit(&page->referenced, 1, memory_order_relaxed);
    }
    return page;
}

/* ------------------------------------------------------------------- clock */

/* Takes out the page after the hand. */
static void unlink_next(Pages *pages)
{
    Page *page = pages->hand->clock_next;
    Page **link = bucket_of(pages, page->file, page->offset);

    while (*link != page) {
        link = &(*link)->bucket_next;
    }
    *link = page->bucket_next;
    pages->hand->clock_next = page->clock_next;
    pages->count--;
    if (pages->count == 0) {
        pages->hand = NULL;
    }
    free(page);
}

/* Drops the first page that was not used since the hand last came by.  0: all are
 * pinned. */
static int evict(Pages *pages)
{
    for (size_t steps = 2 * pages->count; steps > 0; steps--) {
        Page *page = pages->hand->clock_next;

        if (!page->dirty && !page->in_flight &&
            !atomic_exchange_explicit(&page->referenced, 0, memory_order_relaxed)) {
            pages->epoch += (uint64_t)page->changed;
            unlink_next(pages);
            return 1;
        }
        pages->hand = page;
    }
    return 0;
}

/* When all is pinned the budget is exceeded, by as many pages as threads are loading at
 * once: the next to come evicts them. */
static void insert(Pages *pages, Page *page)
{
    Page **bucket = bucket_of(pages, page->file, page->offset);

    while (pages->count >= pages->limit && evict(pages)) {
    }
    page->bucket_next = *bucket;
    *bucket = page;
    page->clock_next = page;
    if (pages->hand != NULL) {
        page->clock_next = pages->hand->clock_next;
        pages->hand->clock_next = page;
    }
    pages->hand = page; /* the newest is looked at last */
    pages->count++;
}

void bdrv_pages_forget(Pages *pages, const BlockDriverState *file)
{
    for (size_t left = pages->count; left > 0; left--) {
        if (pages->hand->clock_next->file == file) {
            unlink_next(pages);
        } else {
            pages->hand = pages->hand->clock_next;
        }
    }
    pages->epoch++;
}

/* ------------------------------------------------------------ reading files */

static uint64_t epoch_now(Pages *pages)
{
    uint64_t epoch;

    pthread_rwlock_rdlock(&pages->lock);
    epoch = pages->epoch;
    pthread_rwlock_unlock(&pages->lock);
    return epoch;
}

static int check_inside(BlockDriverState *file, int64_t end)
{
    int64_t length = bdrv_getlength(file);

    return length < end ? bdrv_error(file, -EIO, "a table reaches to byte %" PRId64
                                     ", but the file ends at %" PRId64, end, length)
                        : 0;
}

static int read_file(BlockDriverState *file, void *buf, size_t bytes, int64_t offset)
{
    int rc = bdrv_pread(file, buf, bytes, offset);

    return rc < 0 ? bdrv_error_prefix(file, rc, "reading the table at offset %" PRId64, offset)
                  : 0;
}

/* -------------------------------------------------------------- the window */

static int window_has(const Window *window, const BlockDriverState *file, size_t bytes,
                      int64_t offset, uint64_t epoch)
{
    return window->epoch == epoch && window->file == file && offset >= window->offset &&
           offset + (int64_t)bytes <= window->offset + (int64_t)window->bytes;
}

/* Is it the next one of a row of reads? */
static int is_in_order(const Window *window, const BlockDriverState *file, int64_t offset)
{
    return window->file == file && offset >= window->next &&
           offset - window->next < WINDOW_BYTES;
}

/* size: of this window, always the same. */
static int fill_window(Window *window, BlockDriverState *file, int64_t offset, uint64_t epoch,
                       size_t size)
{
    int rc;

    window->bytes = 0;
    if (window->data == NULL) {
        window->data = malloc(size);
    }
    if (window->data == NULL) {
        return -ENOMEM;
    }
    window->epoch = epoch;
    window->offset = offset;
    window->bytes = (size_t)bdrv_min((int64_t)size, bdrv_getlength(file) - offset);
    rc = read_file(file, window->data, window->bytes, offset);
    window->bytes = rc < 0 ? 0 : window->bytes;
    return rc;
}

/* 1: buf has been filled from the window. */
static int use_window(Window *window, BlockDriverState *file, void *buf, size_t bytes,
                      int64_t offset, uint64_t epoch)
{
    int has = window_has(window, file, bytes, offset, epoch);

    if (!has && is_in_order(window, file, offset)) {
        has = fill_window(window, file, offset, epoch, WINDOW_BYTES) == 0 &&
              bytes <= window->bytes;
    } else if (window->file != file) {
        window->bytes = 0; /* what is in it is the other file's */
    }
    if (has) {
        memcpy(buf, window->data + (offset - window->offset), bytes);
    }
    window->file = file;
    window->next = offset + (int64_t)bytes;
    return has;
}

int bdrv_pages_read_past(Pages *pages, BlockDriverState *file, void *buf, size_t bytes,
                         int64_t offset, uint64_t *epoch)
{
    int rc = check_inside(file, offset + (int64_t)bytes);
    int done = 0;

    *epoch = epoch_now(pages);
    if (rc == 0 && pthread_mutex_trylock(&pages->window_lock) == 0) {
        done = use_window(&pages->past, file, buf, bytes, offset, *epoch);
        pthread_mutex_unlock(&pages->window_lock);
    }
    return rc < 0 || done ? rc : read_file(file, buf, bytes, offset);
}

static int has_page(const Window *window, const Page *page, uint64_t epoch)
{
    return window_has(window, page->file, page->valid, page->offset, epoch);
}

/* Those who write a new image need one page after the other: nearer is meant than above,
 * where tables are passed over. */
static int is_next_page(const Window *window, const Page *page)
{
    return window->file == page->file && window->next == page->offset;
}

/* Of the row of loads that the page is in, or a new one. */
static Window *window_of_load(Pages *pages, const Page *page, uint64_t epoch)
{
    const unsigned count = sizeof pages->loads / sizeof *pages->loads;

    if (has_page(&pages->past, page, epoch)) {
        return &pages->past;
    }
    for (unsigned i = 0; i < count; i++) {
        if (has_page(&pages->loads[i], page, epoch) || is_next_page(&pages->loads[i], page)) {
            return &pages->loads[i];
        }
    }
    pages->oldest = (pages->oldest + 1) % count;
    pages->loads[pages->oldest].bytes = 0;
    return &pages->loads[pages->oldest];
}

/* 1: the page has been filled from a window. */
static int use_window_of_load(Pages *pages, Page *page, uint64_t epoch)
{
    Window *window = window_of_load(pages, page, epoch);
    int has = has_page(window, page, epoch);

    if (!has && is_next_page(window, page)) {
        has = fill_window(window, page->file, page->offset, epoch, LOADS_BYTES) == 0 &&
              page->valid <= window->bytes;
    }
    if (has) {
        memcpy(page->data, window->data + (page->offset - window->offset), page->valid);
    }
    if (window != &pages->past) {
        window->file = page->file;
        window->next = page->offset + PAGE_BYTES;
    }
    return has;
}

static int take_from_window(Pages *pages, Page *page, uint64_t epoch)
{
    int has = 0;

    if (pthread_mutex_trylock(&pages->window_lock) == 0) {
        has = use_window_of_load(pages, page, epoch);
        pthread_mutex_unlock(&pages->window_lock);
    }
    return has;
}

/* ----------------------------------------------------------------- loading */

static int fill(Pages *pages, Page *page, size_t needed, uint64_t epoch)
{
    int rc = check_inside(page->file, page->offset + (int64_t)needed);

    if (rc < 0) {
        return rc;
    }
    page->valid = (size_t)bdrv_min(PAGE_BYTES, bdrv_getlength(page->file) - page->offset);
    return take_from_window(pages, page, epoch)
               ? 0
               : read_file(page->file, page->data, page->valid, page->offset);
}

/* Puts *page, read in epoch, in and sets it NULL; or, where it is here already but the
 * file was shorter then, adds what is new.  0: it may be stale, read it again. */
static int install(Pages *pages, Page **page, uint64_t epoch)
{
    Page *found;
    int valid;

    pthread_rwlock_wrlock(&pages->lock);
    valid = pages->epoch == epoch;
    found = find(pages, (*page)->file, (*page)->offset);
    if (valid && found == NULL) {
        insert(pages, *page);
        *page = NULL;
    } else if (valid && found->valid < (*page)->valid) {
        memcpy(found->data + found->valid, (*page)->data + found->valid,
               (*page)->valid - found->valid);
        found->valid = (*page)->valid;
    }
    pthread_rwlock_unlock(&pages->lock);
    return valid;
}

int bdrv_pages_load(Pages *pages, BlockDriverState *file, int64_t offset, size_t needed)
{
    Page *page = malloc(sizeof *page);
    uint64_t epoch;
    int rc;

    if (page == NULL) {
        return bdrv_error(file, -ENOMEM, "no memory for a page of a table");
    }
    memset(page, 0, offsetof(Page, data));
    page->file = file;
    page->offset = offset;
    atomic_init(&page->referenced, 1);
    do {
        epoch = epoch_now(pages);
        rc = fill(pages, page, needed, epoch);
    } while (rc == 0 && !install(pages, &page, epoch));
    free(page);
    return rc;
}

/* -------------------------------------------------------------------- life */

/* glibc lets a steady stream of readers keep writers out for ever, unless it is told that
 * no thread takes the lock twice. */
static int init_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    int error = pthread_rwlockattr_init(&attributes);

    if (error != 0) {
        return -error;
    }
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    error = pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return -error;
}

int bdrv_pages_init(Pages *pages, size_t budget)
{
    int rc;

    *pages = (Pages){.limit = budget / sizeof(Page), .bucket_count = PAGES_MIN};
    if (pages->limit < PAGES_MIN) {
        pages->limit = PAGES_MIN;
    }
    while (pages->bucket_count < pages->limit && pages->bucket_count < BUCKETS_MAX) {
        pages->bucket_count *= 2;
    }
    pages->buckets = calloc(pages->bucket_count, sizeof(Page *));
    if (pages->buckets == NULL) {
        return -ENOMEM;
    }
    rc = init_lock(&pages->lock);
    if (rc == 0) {
        rc = -pthread_mutex_init(&pages->window_lock, NULL);
        if (rc < 0) {
            pthread_rwlock_destroy(&pages->lock);
        }
    }
    if (rc < 0) {
        free(pages->buckets);
    }
    return rc;
}

void bdrv_pages_destroy(Pages *pages)
{
    while (pages->count > 0) {
        unlink_next(pages);
    }
    free(pages->buckets);
    free(pages->past.data);
    for (size_t i = 0; i < sizeof pages->loads / sizeof *pages->loads; i++) {
        free(pages->loads[i].data);
    }
    pthread_mutex_destroy(&pages->window_lock);
    pthread_rwlock_destroy(&pages->lock);
}
