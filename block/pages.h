/* SPDX-License-Identifier: MIT */
/*
 * pages.h - what pages.c offers to table.c, and to nobody else: pages of
 * files, kept in memory up to a budget.
 */
#ifndef BLOCK_PAGES_H
#define BLOCK_PAGES_H

#include <pthread.h>
#include <stdatomic.h>

#include "bdrv-driver.h"

enum {
    /* What a disk writes whole or not at all.  Small, because entries that are in use at
     * the same time often lie far apart, one in each table; the host reads ahead. */
    PAGE_BYTES = BDRV_SECTOR_SIZE
};

typedef struct Page {
    BlockDriverState *file;
    int64_t offset; /* in file; a multiple of PAGE_BYTES */
    size_t valid;   /* bytes of data; fewer than PAGE_BYTES where the file ended when read */

    /* pages.c's: */
    struct Page *bucket_next;
    struct Page *clock_next; /* the ring of all pages */
    atomic_int referenced;   /* since the clock's hand last came by */

    /* table.c's.  A page that is dirty or in flight is not evicted: the disk
     * does not have its content yet. */
    int in_flight; /* is in the running flush's batch */
    int changed;   /* ever, since it was loaded */
    int dirty;     /* is in the table's list */
    struct Page *dirty_next;
    uint8_t dirty_orders;  /* bit n: differs from the disk by changes of order n */
    uint8_t flying_orders; /* bit n: a copy is being written among those of order n */

    uint8_t data[PAGE_BYTES];
} Page;

/* What lies ahead of whoever reads one table, or loads one page, after the other, read in
 * one call.  No page comes of it. */
typedef struct Window {
    const BlockDriverState *file;
    int64_t offset;
    size_t bytes;     /* 0: nothing */
    uint64_t epoch;   /* when it was read */
    int64_t next;     /* where the last read, or page, ended */
    uint8_t *data;    /* NULL: none yet */
} Window;

typedef struct Pages {
    /* Over everything here and in the pages.  Never held over I/O; hits share it. */
    pthread_rwlock_t lock;
    Page **buckets;
    size_t bucket_count; /* a power of two */
    Page *hand;          /* the clock: the page after it is the next to be looked at */
    size_t count;
    size_t limit;
    /* Raised when a page read before may differ from the disk now: when a changed page
     * is evicted, and by table.c when it writes to the file past the pages. */
    uint64_t epoch;

    pthread_mutex_t window_lock; /* over what follows; may be held over I/O, nobody waits for it */
    Window past; /* of reads past the pages */
    /* Of loads: a table and its copy are gone through at the same time. */
    Window loads[2];
    unsigned oldest; /* of these, by when it began */
} Pages;

/* 0 or -errno, without a message.  budget is in bytes. */
int bdrv_pages_init(Pages *pages, size_t budget);
void bdrv_pages_destroy(Pages *pages);

/* The page at offset, marked as used; NULL: not here, or with fewer than needed valid
 * bytes.  Needs the lock, shared; the page lives as long as that is held. */
Page *bdrv_pages_find(Pages *pages, BlockDriverState *file, int64_t offset, size_t needed);

/* Brings the page at offset in, with at least needed valid bytes.  No lock may be held;
 * the page may be gone again when the caller takes it.  -EIO: the file ends before. */
int bdrv_pages_load(Pages *pages, BlockDriverState *file, int64_t offset, size_t needed);

/* Reads the file, or what was read ahead of it, past the pages.  buf is stale unless *epoch
 * still is pages->epoch when the caller has the lock, and needs the pages that are here put
 * over it.  No lock may be held.  -EIO: the file ends before. */
int bdrv_pages_read_past(Pages *pages, BlockDriverState *file, void *buf, size_t bytes,
                         int64_t offset, uint64_t *epoch);

/* Drops all pages of file, which must be neither dirty nor in flight.  Needs the lock,
 * alone. */
void bdrv_pages_forget(Pages *pages, const BlockDriverState *file);

#endif
