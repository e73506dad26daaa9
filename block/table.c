/* SPDX-License-Identifier: MIT */
/*
 * table.c - the cache of an image's on-disk tables, and the one place that
 * keeps the order of writes in which every format survives power loss.
 *
 * It knows nothing of what a table means: it holds pages of files, remembers
 * which 512-byte sectors were changed, and writes those at a flush:
 *
 *     bdrv_table_write        bdrv_table_flush
 *     ────────────────        ─────────────────────────────────────────────
 *     page in memory ───────▶ 1 copy the changed sectors     (exclusive lock)
 *                             2 barrier: what they point at is durable
 *                             3 write the copies, redundant before primary
 *                             4 barrier: they are durable
 *
 * The copies are the point.  An entry that is set while step 2 or 3 runs may
 * share a sector with one that is being written, but its data came after the
 * barrier; written from the page it would reach the disk before its data.
 *
 * Locks, in the order in which they are taken:
 *
 *     flush_mutex  one flush at a time; held over its I/O.
 *     lock         pages, hash, clock and dirty list.  Never held over I/O.
 *                  A hit shares it.
 *
 * A miss reads its page under no lock.  What it read is stale if meanwhile the
 * same page was loaded, changed, flushed and evicted by others, or made fresh;
 * both raise epoch, and the miss then reads again.
 */
#include "bdrv-driver.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE_BYTES = 4096,
    SECTORS_PER_PAGE = PAGE_BYTES / BDRV_SECTOR_SIZE, /* bits of a uint8_t */
    ORDERS = BDRV_TABLE_PRIMARY + 1,
    /* Enough that a request that needs two pages cannot lose the one while it
     * loads the other, again and again. */
    PAGES_MIN = 16,
    BUCKETS_MAX = 1 << 20,
    /* One write of a fresh table. */
    FRESH_BYTES = 64 * 1024
};

typedef struct Page {
    struct Page *bucket_next;
    struct Page *clock_next; /* the ring of all pages */
    struct Page *dirty_next; /* in BdrvTable.dirty, if listed */
    BlockDriverState *file;
    int64_t offset; /* in file; a multiple of PAGE_BYTES */
    size_t valid;   /* less than PAGE_BYTES where the file ended when read */
    atomic_int referenced;       /* since the clock's hand last came by */
    int listed;                  /* in BdrvTable.dirty */
    int changed;                 /* ever, since it was loaded */
    uint8_t dirty[ORDERS];       /* bit n: sector n differs from the disk */
    uint8_t in_flight[ORDERS];   /* bit n: the running flush has its copy */
    uint8_t data[PAGE_BYTES];
} Page;

struct BdrvTable {
    BlockDriverState *bs;
    pthread_mutex_t flush_mutex;
    atomic_uint_fast64_t flushes_begun;
    uint64_t flush_done; /* the number of the last that succeeded */

    pthread_rwlock_t lock;
    Page **buckets;
    size_t bucket_count; /* a power of two */
    Page *hand;          /* the next page in the ring is looked at first */
    size_t page_count;
    size_t page_limit;
    Page *dirty; /* pages with changes */
    size_t dirty_count;
    uint64_t epoch;
};

/* ------------------------------------------------------------------- pages */

static Page **bucket_of(BdrvTable *table, BlockDriverState *file,
                        int64_t offset)
{
    uint64_t key = (uint64_t)offset / PAGE_BYTES + ((uint64_t)(uintptr_t)file << 20);

    key *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio: mixes upwards */
    return &table->buckets[(size_t)(key >> 40) & (table->bucket_count - 1)];
}

static Page *page_find(BdrvTable *table, BlockDriverState *file, int64_t offset)
{
    Page *page = *bucket_of(table, file, offset);

    while (page != NULL && (page->offset != offset || page->file != file)) {
        page = page->bucket_next;
    }
    return page;
}

/* The test keeps hits from fighting over the cache line. */
static void page_touch(Page *page)
{
    if (!atomic_load_explicit(&page->referenced, memory_order_relaxed)) {
        atomic_store_explicit(&page->referenced, 1, memory_order_relaxed);
    }
}

/* An evicted page is read again from the disk, so what is not there yet pins. */
static int page_is_pinned(const Page *page)
{
    for (int order = 0; order < ORDERS; order++) {
        if (page->in_flight[order] != 0) {
            return 1;
        }
    }
    return page->listed;
}

static void page_unlink(BdrvTable *table, Page *page)
{
    Page **link = bucket_of(table, page->file, page->offset);

    while (*link != page) {
        link = &(*link)->bucket_next;
    }
    *link = page->bucket_next;
    table->hand->clock_next = page->clock_next;
    table->page_count--;
    if (table->page_count == 0) {
        table->hand = NULL;
    }
}

/* Drops the first page from the hand on that was not used since the hand last
 * came by.  0: all are pinned. */
static int page_evict(BdrvTable *table)
{
    for (size_t steps = 2 * table->page_count; steps > 0; steps--) {
        Page *page = table->hand->clock_next;

        if (!page_is_pinned(page) &&
            !atomic_exchange_explicit(&page->referenced, 0,
                                      memory_order_relaxed)) {
            table->epoch += (uint64_t)page->changed;
            page_unlink(table, page);
            free(page);
            return 1;
        }
        table->hand = page;
    }
    return 0;
}

/* When all is pinned the budget is exceeded, by as many pages as threads are
 * loading at once: the next to come evicts them. */
static void page_insert(BdrvTable *table, Page *page)
{
    Page **bucket;

    while (table->page_count >= table->page_limit && page_evict(table)) {
    }
    bucket = bucket_of(table, page->file, page->offset);
    page->bucket_next = *bucket;
    *bucket = page;
    if (table->hand == NULL) {
        page->clock_next = page;
    } else {
        page->clock_next = table->hand->clock_next;
        table->hand->clock_next = page;
    }
    table->hand = page; /* the newest is looked at last */
    table->page_count++;
}

static int page_fill(Page *page, size_t needed)
{
    int64_t length = bdrv_getlength(page->file);
    int rc;

    if (length < 0) {
        return (int)length;
    }
    if (page->offset + (int64_t)needed > length) {
        return bdrv_error(page->file, -EIO,
                          "a table reaches to byte %" PRId64
                          ", but the file ends at %" PRId64,
                          page->offset + (int64_t)needed, length);
    }
    page->valid = (size_t)bdrv_min(PAGE_BYTES, length - page->offset);
    rc = bdrv_pread(page->file, page->data, page->valid, page->offset);
    if (rc < 0) {
        return bdrv_error_prefix(page->file, rc,
                                 "reading the table at offset %" PRId64,
                                 page->offset);
    }
    return 0;
}

static uint64_t epoch_now(BdrvTable *table)
{
    uint64_t epoch;

    pthread_rwlock_rdlock(&table->lock);
    epoch = table->epoch;
    pthread_rwlock_unlock(&table->lock);
    return epoch;
}

/* Puts *page, read in epoch, into the cache and sets it NULL; or, where the
 * file has grown since an older copy was read, adds to that.  0: it may be
 * stale, read it again. */
static int page_install(BdrvTable *table, Page **page, uint64_t epoch)
{
    Page *found;
    int fresh;

    pthread_rwlock_wrlock(&table->lock);
    fresh = table->epoch == epoch;
    found = page_find(table, (*page)->file, (*page)->offset);
    if (fresh && found == NULL) {
        page_insert(table, *page);
        *page = NULL;
    } else if (fresh && found->valid < (*page)->valid) {
        memcpy(found->data + found->valid, (*page)->data + found->valid,
               (*page)->valid - found->valid);
        found->valid = (*page)->valid;
    }
    pthread_rwlock_unlock(&table->lock);
    return fresh;
}

/* Brings the page at offset into the cache, with at least needed bytes.  No
 * lock may be held. */
static int page_load(BdrvTable *table, BlockDriverState *file, int64_t offset,
                     size_t needed)
{
    Page *page = calloc(1, sizeof *page);
    uint64_t epoch;
    int rc;

    if (page == NULL) {
        return bdrv_error(file, -ENOMEM, "no memory for a page of a table");
    }
    page->file = file;
    page->offset = offset;
    atomic_init(&page->referenced, 1);
    do {
        epoch = epoch_now(table);
        rc = page_fill(page, needed);
    } while (rc == 0 && !page_install(table, &page, epoch));
    free(page);
    return rc;
}

/* The sectors that bytes [start, start + bytes) of a page touch. */
static uint8_t sector_mask(size_t start, size_t bytes)
{
    size_t first = start / BDRV_SECTOR_SIZE;
    size_t end = (start + bytes - 1) / BDRV_SECTOR_SIZE + 1;

    return (uint8_t)((1u << end) - (1u << first));
}

static void page_list(BdrvTable *table, Page *page)
{
    if (!page->listed) {
        page->listed = 1;
        page->dirty_next = table->dirty;
        table->dirty = page;
        table->dirty_count++;
    }
}

/* ------------------------------------------------------------------ pieces */

/* A part of a request that lies in one page or in two neighbours, which is
 * what is read or changed under one hold of the lock: no entry is ever seen
 * half old and half new, whatever its alignment. */
typedef struct Piece {
    BlockDriverState *file;
    int64_t offset;
    size_t bytes; /* 1 to PAGE_BYTES */

    /* Found by piece_find(): */
    Page *pages[2];
    size_t start;      /* in pages[0] */
    size_t split;      /* bytes in pages[0]; the others begin pages[1] */
    int64_t missing;   /* offset of the first page that is not cached, and */
    size_t needed;     /* … how many bytes of it the piece needs */
} Piece;

/* Needs the lock.  0: piece->missing is to be loaded. */
static int piece_find(BdrvTable *table, Piece *piece)
{
    int64_t end = piece->offset + (int64_t)piece->bytes;
    int64_t at = bdrv_round_down(piece->offset, PAGE_BYTES);

    piece->start = (size_t)(piece->offset - at);
    piece->split = (size_t)bdrv_min((int64_t)piece->bytes,
                                    PAGE_BYTES - (int64_t)piece->start);
    piece->pages[1] = NULL;
    for (int i = 0; at < end; i++, at += PAGE_BYTES) {
        Page *page = page_find(table, piece->file, at);
        size_t needed = (size_t)bdrv_min(PAGE_BYTES, end - at);

        if (page == NULL || page->valid < needed) {
            piece->missing = at;
            piece->needed = needed;
            return 0;
        }
        page_touch(page);
        piece->pages[i] = page;
    }
    return 1;
}

static int piece_load(BdrvTable *table, const Piece *piece)
{
    return page_load(table, piece->file, piece->missing, piece->needed);
}

static int piece_read(BdrvTable *table, Piece *piece, uint8_t *buf)
{
    int found;
    int rc = 0;

    do {
        pthread_rwlock_rdlock(&table->lock);
        found = piece_find(table, piece);
        if (found) {
            memcpy(buf, piece->pages[0]->data + piece->start, piece->split);
        }
        if (found && piece->pages[1] != NULL) {
            memcpy(buf + piece->split, piece->pages[1]->data,
                   piece->bytes - piece->split);
        }
        pthread_rwlock_unlock(&table->lock);
        if (!found) {
            rc = piece_load(table, piece);
        }
    } while (!found && rc == 0);
    return rc;
}

static void page_change(BdrvTable *table, Page *page, const uint8_t *buf,
                        size_t start, size_t bytes, BdrvTableOrder order)
{
    memcpy(page->data + start, buf, bytes);
    page->dirty[order] |= sector_mask(start, bytes);
    page->changed = 1;
    page_list(table, page);
}

static void piece_change(BdrvTable *table, const Piece *piece,
                         const uint8_t *buf, BdrvTableOrder order)
{
    page_change(table, piece->pages[0], buf, piece->start, piece->split, order);
    if (piece->pages[1] != NULL) {
        page_change(table, piece->pages[1], buf + piece->split, 0,
                    piece->bytes - piece->split, order);
    }
}

/* Half of the budget may be dirty, so that while a flush has those in flight
 * the other half can be filled. */
static int piece_fits(const BdrvTable *table, const Piece *piece)
{
    size_t added = (size_t)!piece->pages[0]->listed;

    if (piece->pages[1] != NULL) {
        added += (size_t)!piece->pages[1]->listed;
    }
    return table->dirty_count + added <= table->page_limit / 2;
}

static int piece_write(BdrvTable *table, Piece *piece, const uint8_t *buf,
                       BdrvTableOrder order)
{
    int found;
    int fits;
    int rc = 0;

    do {
        pthread_rwlock_wrlock(&table->lock);
        found = piece_find(table, piece);
        fits = found && piece_fits(table, piece);
        if (fits) {
            piece_change(table, piece, buf, order);
        }
        pthread_rwlock_unlock(&table->lock);
        if (!found) {
            rc = piece_load(table, piece);
        } else if (!fits) {
            rc = bdrv_table_flush(table);
        }
    } while (!fits && rc == 0);
    return rc;
}

/* Room is left above the end so that rounding to pages cannot overflow. */
static int range_check(BlockDriverState *file, int64_t bytes, int64_t offset)
{
    int64_t end;

    if (!bdrv_add(offset, bytes, &end) || end > INT64_MAX - PAGE_BYTES) {
        return bdrv_error(file, -EIO,
                          "a table of %" PRId64 " bytes at offset %" PRId64
                          " is beyond any file's end", bytes, offset);
    }
    return 0;
}

static Piece piece_first(BlockDriverState *file, size_t bytes, int64_t offset)
{
    return (Piece){.file = file,
                   .offset = offset,
                   .bytes = bytes < PAGE_BYTES ? bytes : PAGE_BYTES};
}

int bdrv_table_read(BdrvTable *table, BlockDriverState *file, void *buf,
                    size_t bytes, int64_t offset)
{
    int rc = range_check(file, (int64_t)bytes, offset);

    for (size_t done = 0; rc == 0 && done < bytes;) {
        Piece piece = piece_first(file, bytes - done, offset + (int64_t)done);

        rc = piece_read(table, &piece, (uint8_t *)buf + done);
        done += piece.bytes;
    }
    return rc;
}

int bdrv_table_write(BdrvTable *table, BlockDriverState *file, const void *buf,
                     size_t bytes, int64_t offset, BdrvTableOrder order)
{
    int rc = range_check(file, (int64_t)bytes, offset);

    for (size_t done = 0; rc == 0 && done < bytes;) {
        Piece piece = piece_first(file, bytes - done, offset + (int64_t)done);

        rc = piece_write(table, &piece, (const uint8_t *)buf + done, order);
        done += piece.bytes;
    }
    return rc;
}

/* ------------------------------------------------------------------- fresh */

static int write_zeros(BlockDriverState *file, int64_t bytes, int64_t offset)
{
    size_t size = (size_t)bdrv_min(bytes, FRESH_BYTES);
    void *zeros = calloc(1, size);
    int rc = 0;

    if (zeros == NULL) {
        return bdrv_error(file, -ENOMEM, "no memory for an empty table");
    }
    while (rc == 0 && bytes > 0) {
        size_t now = (size_t)bdrv_min(bytes, (int64_t)size);

        rc = bdrv_pwrite(file, zeros, now, offset);
        offset += (int64_t)now;
        bytes -= (int64_t)now;
    }
    free(zeros);
    return rc;
}

/* Makes bytes [start, end) of a page zeros, which they are on disk already.
 * Sectors that lie wholly inside have no changes left; one at the edge may hold
 * a neighbour's.  Bytes behind a gap after valid are left to be read later. */
static void page_zero(Page *page, size_t start, size_t end)
{
    size_t first = (start + BDRV_SECTOR_SIZE - 1) / BDRV_SECTOR_SIZE;
    size_t last = end / BDRV_SECTOR_SIZE;

    if (start <= page->valid) {
        memset(page->data + start, 0, end - start);
        page->valid = page->valid > end ? page->valid : end;
    }
    for (size_t sector = first; sector < last; sector++) {
        for (int order = 0; order < ORDERS; order++) {
            page->dirty[order] &= (uint8_t)~(1u << sector);
        }
    }
}

/* The mutex keeps an older copy of a sector at the edge of the region, taken
 * by a flush, from being written over the zeros. */
int bdrv_table_fresh(BdrvTable *table, BlockDriverState *file, int64_t bytes,
                     int64_t offset)
{
    int64_t end = offset + bytes;
    int rc = range_check(file, bytes, offset);

    if (rc < 0 || bytes == 0) {
        return rc;
    }
    pthread_mutex_lock(&table->flush_mutex);
    rc = write_zeros(file, bytes, offset);
    pthread_rwlock_wrlock(&table->lock);
    table->epoch++;
    for (int64_t at = bdrv_round_down(offset, PAGE_BYTES); rc == 0 && at < end;
         at += PAGE_BYTES) {
        Page *page = page_find(table, file, at);

        if (page != NULL) {
            page_zero(page, (size_t)(bdrv_max(offset, at) - at),
                      (size_t)bdrv_min(end - at, PAGE_BYTES));
        }
    }
    pthread_rwlock_unlock(&table->lock);
    pthread_mutex_unlock(&table->flush_mutex);
    return rc;
}

/* ------------------------------------------------------------------- flush */

/* One write: neighbouring sectors of one order. */
typedef struct Run {
    BlockDriverState *file;
    int64_t offset;
    size_t start; /* in Batch.data */
    size_t bytes;
} Run;

/* What one flush writes. */
typedef struct Batch {
    Page **pages; /* by file and offset; their in_flight says which sectors */
    size_t page_count;
    Run *runs; /* in the order of writing */
    size_t run_count;
    uint8_t *data;
    size_t data_bytes;
} Batch;

static void batch_free(Batch *batch)
{
    free(batch->pages);
    free(batch->runs);
    free(batch->data);
}

static int batch_allocate(Batch *batch, const BdrvTable *table)
{
    size_t sectors = table->dirty_count * SECTORS_PER_PAGE;

    batch->pages = calloc(table->dirty_count, sizeof *batch->pages);
    batch->runs = calloc(sectors, sizeof *batch->runs);
    batch->data = malloc(sectors * BDRV_SECTOR_SIZE);
    if (batch->pages == NULL || batch->runs == NULL || batch->data == NULL) {
        return bdrv_error(table->bs, -ENOMEM, "no memory to flush %zu pages "
                          "of tables", table->dirty_count);
    }
    return 0;
}

static int compare_pages(const void *left, const void *right)
{
    const Page *a = *(Page *const *)left;
    const Page *b = *(Page *const *)right;

    if (a->file != b->file) {
        return (uintptr_t)a->file < (uintptr_t)b->file ? -1 : 1;
    }
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* A sector with changes of both orders is written once, with the primaries:
 * the copies in it are then at worst late, never ahead of what they copy. */
static void batch_take_pages(Batch *batch, BdrvTable *table)
{
    for (Page *page = table->dirty; page != NULL; page = page->dirty_next) {
        uint8_t primary = page->dirty[BDRV_TABLE_PRIMARY];
        uint8_t redundant = page->dirty[BDRV_TABLE_REDUNDANT];

        page->in_flight[BDRV_TABLE_PRIMARY] = primary;
        page->in_flight[BDRV_TABLE_REDUNDANT] = (uint8_t)(redundant & ~primary);
        memset(page->dirty, 0, sizeof page->dirty);
        page->listed = 0;
        batch->pages[batch->page_count++] = page;
    }
    table->dirty = NULL;
    table->dirty_count = 0;
    qsort(batch->pages, batch->page_count, sizeof *batch->pages, compare_pages);
}

/* Copies a sector behind the last; run_min is the first run it may join. */
static void batch_copy(Batch *batch, const Page *page, size_t sector,
                       size_t run_min)
{
    size_t start = sector * BDRV_SECTOR_SIZE;
    size_t bytes = (size_t)bdrv_min(BDRV_SECTOR_SIZE,
                                    (int64_t)(page->valid - start));
    int64_t offset = page->offset + (int64_t)start;
    Run *run = batch->run_count > run_min ? &batch->runs[batch->run_count - 1]
                                          : NULL;

    memcpy(batch->data + batch->data_bytes, page->data + start, bytes);
    if (run != NULL && run->file == page->file &&
        run->offset + (int64_t)run->bytes == offset) {
        run->bytes += bytes;
    } else {
        batch->runs[batch->run_count++] =
            (Run){page->file, offset, batch->data_bytes, bytes};
    }
    batch->data_bytes += bytes;
}

static void batch_copy_order(Batch *batch, BdrvTableOrder order)
{
    size_t run_min = batch->run_count;

    for (size_t i = 0; i < batch->page_count; i++) {
        const Page *page = batch->pages[i];

        for (size_t sector = 0; sector < SECTORS_PER_PAGE; sector++) {
            if (page->in_flight[order] >> sector & 1) {
                batch_copy(batch, page, sector, run_min);
            }
        }
    }
}

/* Step 1.  Afterwards the table is clean, and the batch's pages are pinned. */
static int batch_take(Batch *batch, BdrvTable *table)
{
    int rc = 0;

    pthread_rwlock_wrlock(&table->lock);
    if (table->dirty_count > 0) {
        rc = batch_allocate(batch, table);
    }
    if (rc == 0 && table->dirty_count > 0) {
        batch_take_pages(batch, table);
        batch_copy_order(batch, BDRV_TABLE_REDUNDANT);
        batch_copy_order(batch, BDRV_TABLE_PRIMARY);
    }
    pthread_rwlock_unlock(&table->lock);
    return rc;
}

/* Step 3. */
static int batch_write(const Batch *batch)
{
    for (size_t i = 0; i < batch->run_count; i++) {
        const Run *run = &batch->runs[i];
        int rc = bdrv_pwrite(run->file, batch->data + run->start, run->bytes,
                             run->offset);

        if (rc < 0) {
            return bdrv_error_prefix(run->file, rc,
                                     "writing the table at offset %" PRId64,
                                     run->offset);
        }
    }
    return 0;
}

/* After an error everything is dirty again, also what was written: without the
 * last barrier nobody knows whether it is durable. */
static void batch_undo(const Batch *batch, BdrvTable *table)
{
    pthread_rwlock_wrlock(&table->lock);
    for (size_t i = 0; i < batch->page_count; i++) {
        for (int order = 0; order < ORDERS; order++) {
            batch->pages[i]->dirty[order] |= batch->pages[i]->in_flight[order];
        }
        page_list(table, batch->pages[i]);
    }
    pthread_rwlock_unlock(&table->lock);
}

/* Lets the batch's pages go. */
static void batch_land(const Batch *batch, BdrvTable *table)
{
    pthread_rwlock_wrlock(&table->lock);
    for (size_t i = 0; i < batch->page_count; i++) {
        memset(batch->pages[i]->in_flight, 0, ORDERS);
    }
    pthread_rwlock_unlock(&table->lock);
}

/* Needs flush_mutex. */
static int flush_now(BdrvTable *table)
{
    Batch batch = {0};
    int rc = batch_take(&batch, table);

    if (rc == 0) {
        rc = bdrv_flush_children(table->bs);
    }
    if (rc == 0 && batch.run_count > 0) {
        rc = batch_write(&batch);
        if (rc == 0) {
            rc = bdrv_flush_children(table->bs);
        }
    }
    if (rc < 0) {
        batch_undo(&batch, table);
    }
    batch_land(&batch, table);
    batch_free(&batch);
    return rc;
}

/* Who waited here while a whole flush passed that began after his call, needs
 * none of his own: many threads that flush at once share two barriers. */
int bdrv_table_flush(BdrvTable *table)
{
    uint64_t wanted = atomic_load(&table->flushes_begun) + 1;
    int rc = 0;

    pthread_mutex_lock(&table->flush_mutex);
    if (table->flush_done < wanted) {
        uint64_t number = atomic_fetch_add(&table->flushes_begun, 1) + 1;

        rc = flush_now(table);
        if (rc == 0) {
            table->flush_done = number;
        }
    }
    pthread_mutex_unlock(&table->flush_mutex);
    return rc;
}

/* -------------------------------------------------------------------- life */

/* glibc lets a steady stream of readers keep writers out for ever, unless it
 * is told that no thread takes the lock twice. */
static int lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    int error = pthread_rwlockattr_init(&attributes);

    if (error != 0) {
        return error;
    }
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&attributes,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    error = pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return error;
}

static int locks_init(BdrvTable *table)
{
    int error = pthread_mutex_init(&table->flush_mutex, NULL);

    if (error == 0) {
        error = lock_init(&table->lock);
        if (error != 0) {
            pthread_mutex_destroy(&table->flush_mutex);
        }
    }
    return -error;
}

int bdrv_table_new(BdrvTable **table, BlockDriverState *bs)
{
    BdrvTable *made = calloc(1, sizeof *made);
    size_t pages = bdrv_table_budget(bs) / sizeof(Page);
    int rc = made == NULL ? -ENOMEM : 0;

    *table = NULL;
    if (rc == 0) {
        made->bs = bs;
        made->page_limit = pages > PAGES_MIN ? pages : PAGES_MIN;
        made->bucket_count = PAGES_MIN;
        while (made->bucket_count < made->page_limit &&
               made->bucket_count < BUCKETS_MAX) {
            made->bucket_count *= 2;
        }
        made->buckets = calloc(made->bucket_count, sizeof(Page *));
        rc = made->buckets == NULL ? -ENOMEM : locks_init(made);
    }
    if (rc < 0) {
        if (made != NULL) {
            free(made->buckets);
        }
        free(made);
        return bdrv_error(bs, rc, "cannot set up the cache of tables");
    }
    *table = made;
    return 0;
}

void bdrv_table_free(BdrvTable *table)
{
    if (table == NULL) {
        return;
    }
    while (table->page_count > 0) {
        Page *page = table->hand->clock_next;

        page_unlink(table, page);
        free(page);
    }
    free(table->buckets);
    pthread_rwlock_destroy(&table->lock);
    pthread_mutex_destroy(&table->flush_mutex);
    free(table);
}
