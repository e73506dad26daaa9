/* SPDX-License-Identifier: MIT */
/*
 * pages.c - pages of files in memory: a hash to find them, a clock to choose
 * which one goes when the budget is full.  What is changed in them, and when
 * that is written, is table.c's business; here it only pins a page.
 *
 * A page is read under no lock.  What was read is stale if meanwhile the same
 * page was loaded, changed, flushed and evicted by others, or was written past
 * the cache.  Both raise the epoch, and then it is read again.
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
    BUCKETS_MAX = 1 << 20
};

/* -------------------------------------------------------------------- hash */

static Page **bucket_of(Pages *pages, const BlockDriverState *file, int64_t offset)
{
    uint64_t key = (uint64_t)offset / PAGE_BYTES + ((uint64_t)(uintptr_t)file << 20);

    key *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio: mixes upwards */
    return &pages->buckets[(size_t)(key >> 40) & (pages->bucket_count - 1)];
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

/* ----------------------------------------------------------------- loading */

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

int bdrv_pages_read_past(Pages *pages, BlockDriverState *file, void *buf, size_t bytes,
                         int64_t offset, uint64_t *epoch)
{
    int rc = check_inside(file, offset + (int64_t)bytes);

    *epoch = epoch_now(pages);
    return rc < 0 ? rc : read_file(file, buf, bytes, offset);
}

static int fill(Page *page, size_t needed)
{
    int rc = check_inside(page->file, page->offset + (int64_t)needed);

    if (rc < 0) {
        return rc;
    }
    page->valid = (size_t)bdrv_min(PAGE_BYTES, bdrv_getlength(page->file) - page->offset);
    return read_file(page->file, page->data, page->valid, page->offset);
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
        rc = fill(page, needed);
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
    pthread_rwlock_destroy(&pages->lock);
}
