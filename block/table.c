/* SPDX-License-Identifier: MIT */
/*
 * table.c - an image's on-disk tables in memory, and the one place that keeps
 * the order of writes in which every format survives power loss.
 *
 * It knows nothing of what a table means.  pages.c holds the bytes; here is
 * remembered which were changed, and a flush writes those:
 *
 *     bdrv_table_write        bdrv_table_flush
 *     ────────────────        ─────────────────────────────────────────────
 *     page in memory ───────▶ 1 copy the changed pages       (exclusive lock)
 *                             2 barrier: what they point at is durable
 *                             3 write the copies, redundant before primary
 *                             4 barrier: they are durable
 *
 * The copies are the point.  An entry that is set while 2 or 3 runs may share
 * a sector with one that is being written, but its data came after the barrier:
 * written from the page, it could be durable before its data.
 *
 * Two locks: flush_mutex, held over the I/O of one flush, is taken before
 * pages.lock, which is never held over I/O.
 */
#include "pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRESH_BYTES = 64 * 1024, /* one write of a fresh table */
    PIECE_BYTES = 4096,
    PIECE_PAGES = PIECE_BYTES / PAGE_BYTES + 1 /* it may begin inside a page */
};

struct BdrvTable {
    BlockDriverState *bs;
    pthread_mutex_t flush_mutex;
    Pages pages;
    Page *dirty; /* the pages with changes; of pages.lock, as all that follows */
    size_t dirty_count;
    int was_changed; /* ever; if not, no page is newer than the disk */
};

/* ----------------------------------------------------------------- changes */

static void mark_dirty(BdrvTable *table, Page *page)
{
    if (!page->dirty) {
        page->dirty = 1;
        page->dirty_next = table->dirty;
        table->dirty = page;
        table->dirty_count++;
    }
}

static void change(BdrvTable *table, Page *page, const uint8_t *buf, size_t start,
                   size_t bytes, BdrvTableOrder order)
{
    memcpy(page->data + start, buf, bytes);
    page->dirty_orders |= (uint8_t)(1u << order);
    page->changed = 1;
    table->was_changed = 1;
    mark_dirty(table, page);
}

/* ------------------------------------------------------------------ pieces */

/* A part of a request: what is read or changed under one hold of the lock, so that no
 * entry is seen half old, half new, whatever its place. */
typedef struct Piece {
    BlockDriverState *file;
    int64_t offset;
    size_t bytes; /* 1 to PIECE_BYTES */
    /* Found by find_pages(): */
    size_t count;
    Page *pages[PIECE_PAGES];
    int64_t missing; /* the first page that is not in memory, */
    size_t needed;   /* … and how many bytes of it the piece needs */
} Piece;

static void start_piece(Piece *piece, BlockDriverState *file, size_t bytes, int64_t offset)
{
    piece->file = file;
    piece->offset = offset;
    piece->bytes = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
}

/* Needs the lock.  0: piece->missing is to be loaded first. */
static int find_pages(BdrvTable *table, Piece *piece)
{
    int64_t end = piece->offset + (int64_t)piece->bytes;
    int64_t at = bdrv_round_down(piece->offset, PAGE_BYTES);

    for (piece->count = 0; at < end; piece->count++, at += PAGE_BYTES) {
        size_t needed = (size_t)bdrv_min(PAGE_BYTES, end - at);
        Page *page = bdrv_pages_find(&table->pages, piece->file, at, needed);

        if (page == NULL) {
            piece->missing = at;
            piece->needed = needed;
            return 0;
        }
        piece->pages[piece->count] = page;
    }
    return 1;
}

/* The part of the piece that lies in a page: *at bytes from the piece's beginning, *start
 * in the page.  Returns its length. */
static size_t part_in(const Piece *piece, const Page *page, size_t *at, size_t *start)
{
    int64_t from = bdrv_max(piece->offset, page->offset);
    int64_t to = bdrv_min(piece->offset + (int64_t)piece->bytes, page->offset + PAGE_BYTES);

    *at = (size_t)(from - piece->offset);
    *start = (size_t)(from - page->offset);
    return (size_t)(to - from);
}

/* What there is of it: the file may have ended in the page when that was read. */
static void copy_out(const Piece *piece, const Page *page, uint8_t *buf)
{
    size_t at, start;
    size_t bytes = part_in(piece, page, &at, &start);

    if (start < page->valid) {
        memcpy(buf + at, page->data + start,
               bytes < page->valid - start ? bytes : page->valid - start);
    }
}

/* Reads a piece from the file and puts the pages that are here over it: they may be newer.
 * It leaves no pages: who reads much at a time seldom comes back, and would drive out what
 * others need. */
static int read_past(BdrvTable *table, Piece *piece, uint8_t *buf)
{
    int64_t end = piece->offset + (int64_t)piece->bytes;
    uint64_t epoch;
    int valid, rc;

    do {
        rc = bdrv_pages_read_past(&table->pages, piece->file, buf, piece->bytes, piece->offset,
                                  &epoch);
        pthread_rwlock_rdlock(&table->pages.lock);
        valid = epoch == table->pages.epoch;
        for (int64_t at = bdrv_round_down(piece->offset, PAGE_BYTES);
             table->was_changed && at < end; at += PAGE_BYTES) {
            const Page *page = bdrv_pages_find(&table->pages, piece->file, at, 0);

            if (page != NULL) {
                copy_out(piece, page, buf);
            }
        }
        pthread_rwlock_unlock(&table->pages.lock);
    } while (rc == 0 && !valid);
    return rc;
}

static int read_piece(BdrvTable *table, Piece *piece, uint8_t *buf)
{
    int found;
    int rc = 0;

    if (piece->bytes > PAGE_BYTES) {
        return read_past(table, piece, buf);
    }
    do {
        pthread_rwlock_rdlock(&table->pages.lock);
        found = find_pages(table, piece);
        for (size_t i = 0; found && i < piece->count; i++) {
            copy_out(piece, piece->pages[i], buf);
        }
        pthread_rwlock_unlock(&table->pages.lock);
        if (!found) {
            rc = bdrv_pages_load(&table->pages, piece->file, piece->missing, piece->needed);
        }
    } while (!found && rc == 0);
    return rc;
}

/* Half of the budget may be dirty: a flush may have the other half in flight. */
static int has_room(const BdrvTable *table, const Piece *piece)
{
    size_t added = 0;

    for (size_t i = 0; i < piece->count; i++) {
        added += !piece->pages[i]->dirty;
    }
    return table->dirty_count + added <= table->pages.limit / 2;
}

static void change_piece(BdrvTable *table, const Piece *piece, const uint8_t *buf,
                         BdrvTableOrder order)
{
    for (size_t i = 0; i < piece->count; i++) {
        size_t at, start;
        size_t bytes = part_in(piece, piece->pages[i], &at, &start);

        change(table, piece->pages[i], buf + at, start, bytes, order);
    }
}

static int write_piece(BdrvTable *table, Piece *piece, const uint8_t *buf,
                       BdrvTableOrder order)
{
    int found;
    int done;
    int rc = 0;

    do {
        pthread_rwlock_wrlock(&table->pages.lock);
        found = find_pages(table, piece);
        done = found && has_room(table, piece);
        if (done) {
            change_piece(table, piece, buf, order);
        }
        pthread_rwlock_unlock(&table->pages.lock);
        if (!found) {
            rc = bdrv_pages_load(&table->pages, piece->file, piece->missing, piece->needed);
        } else if (!done) {
            rc = bdrv_table_flush(table);
        }
    } while (!done && rc == 0);
    return rc;
}

/* Leaves room above the end, so that rounding up to a page cannot overflow. */
static int check_range(BlockDriverState *file, int64_t bytes, int64_t offset)
{
    int64_t end;

    if (!bdrv_add(offset, bytes, &end) || end > INT64_MAX - PAGE_BYTES) {
        return bdrv_error(file, -EIO, "a table of %" PRId64 " bytes at offset %" PRId64
                          " lies beyond the end of any file", bytes, offset);
    }
    return 0;
}

/* Most reads are of one entry, which is in one page, which is here.  0: this one is not. */
static int read_hit(BdrvTable *table, BlockDriverState *file, void *buf, size_t bytes,
                    int64_t offset)
{
    size_t start = (size_t)offset % PAGE_BYTES;
    const Page *page;

    if (bytes > PAGE_BYTES - start || offset < 0) {
        return 0;
    }
    pthread_rwlock_rdlock(&table->pages.lock);
    page = bdrv_pages_find(&table->pages, file, offset - (int64_t)start, start + bytes);
    if (page != NULL) {
        memcpy(buf, page->data + start, bytes);
    }
    pthread_rwlock_unlock(&table->pages.lock);
    return page != NULL;
}

int bdrv_table_read(BdrvTable *table, BlockDriverState *file, void *buf, size_t bytes,
                    int64_t offset)
{
    int rc;

    if (read_hit(table, file, buf, bytes, offset)) {
        return 0;
    }
    rc = check_range(file, (int64_t)bytes, offset);
    for (size_t done = 0; rc == 0 && done < bytes;) {
        Piece piece;

        start_piece(&piece, file, bytes - done, offset + (int64_t)done);
        rc = read_piece(table, &piece, (uint8_t *)buf + done);
        done += piece.bytes;
    }
    return rc;
}

int bdrv_table_write(BdrvTable *table, BlockDriverState *file, const void *buf, size_t bytes,
                     int64_t offset, BdrvTableOrder order)
{
    int rc = check_range(file, (int64_t)bytes, offset);

    for (size_t done = 0; rc == 0 && done < bytes;) {
        Piece piece;

        start_piece(&piece, file, bytes - done, offset + (int64_t)done);
        rc = write_piece(table, &piece, (const uint8_t *)buf + done, order);
        done += piece.bytes;
    }
    return rc;
}

/* ------------------------------------------------------------------- fresh */

static int write_zeros(BlockDriverState *file, int64_t bytes, int64_t offset)
{
    int64_t size = bdrv_min(bytes, FRESH_BYTES);
    void *zeros = calloc(1, (size_t)size);
    int rc = 0;

    if (zeros == NULL) {
        return bdrv_error(file, -ENOMEM, "no memory for an empty table");
    }
    for (int64_t done = 0; rc == 0 && done < bytes; done += size) {
        rc = bdrv_pwrite(file, zeros, (size_t)bdrv_min(size, bytes - done), offset + done);
    }
    free(zeros);
    return rc;
}

/* Makes bytes [start, end) of a page zeros, as they are on disk.  One wholly inside has no
 * changes left; one at the edge may hold a neighbour's. */
static void zero_page(Page *page, size_t start, size_t end)
{
    if (start <= page->valid) { /* else what is in between must be read first */
        memset(page->data + start, 0, end - start);
        page->valid = page->valid > end ? page->valid : end;
    }
    if (start == 0 && end == PAGE_BYTES) {
        page->dirty_orders = 0;
    }
}

static void zero_pages(BdrvTable *table, BlockDriverState *file, int64_t bytes, int64_t offset)
{
    int64_t end = offset + bytes;

    pthread_rwlock_wrlock(&table->pages.lock);
    table->pages.epoch++;
    table->was_changed = 1;
    for (int64_t at = bdrv_round_down(offset, PAGE_BYTES); at < end; at += PAGE_BYTES) {
        Page *page = bdrv_pages_find(&table->pages, file, at, 0);

        if (page != NULL) {
            zero_page(page, (size_t)(bdrv_max(offset, at) - at),
                      (size_t)bdrv_min(end - at, PAGE_BYTES));
        }
    }
    pthread_rwlock_unlock(&table->pages.lock);
}

/* The mutex keeps a flush from writing an older copy of a sector over the zeros. */
int bdrv_table_fresh(BdrvTable *table, BlockDriverState *file, int64_t bytes, int64_t offset)
{
    int rc = check_range(file, bytes, offset);

    if (rc < 0 || bytes == 0) {
        return rc;
    }
    pthread_mutex_lock(&table->flush_mutex);
    rc = write_zeros(file, bytes, offset);
    if (rc == 0) {
        zero_pages(table, file, bytes, offset);
    }
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
    Page **pages; /* by file and offset; those with flying_orders are copied */
    size_t page_count;
    Run *runs; /* in the order of writing */
    size_t run_count;
    uint8_t *data;
    size_t data_bytes;
} Batch;

static void free_batch(Batch *batch)
{
    free(batch->pages);
    free(batch->runs);
    free(batch->data);
}

static int allocate_batch(Batch *batch, const BdrvTable *table)
{
    batch->pages = calloc(table->dirty_count, sizeof *batch->pages);
    batch->runs = calloc(table->dirty_count, sizeof *batch->runs);
    batch->data = malloc(table->dirty_count * PAGE_BYTES);
    if (batch->pages == NULL || batch->runs == NULL || batch->data == NULL) {
        return bdrv_error(table->bs, -ENOMEM, "no memory to flush %zu pages of tables",
                          table->dirty_count);
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

/* A sector with changes of both orders goes with the primaries, once: a copy in it is then
 * late at worst, while a primary in it is never ahead of a copy elsewhere. */
static void take_off(Page *page)
{
    uint8_t primary = page->dirty_orders & 1u << BDRV_TABLE_PRIMARY;

    page->flying_orders = primary ? primary : page->dirty_orders;
    page->dirty_orders = 0;
    page->in_flight = 1;
    page->dirty = 0;
}

static void take_pages(Batch *batch, BdrvTable *table)
{
    for (Page *page = table->dirty; page != NULL; page = page->dirty_next) {
        take_off(page);
        batch->pages[batch->page_count++] = page;
    }
    table->dirty = NULL;
    table->dirty_count = 0;
    qsort(batch->pages, batch->page_count, sizeof *batch->pages, compare_pages);
}

/* Copies a page behind the last; first_run is the first run that it may join. */
static void copy_page(Batch *batch, const Page *page, size_t first_run)
{
    Run *last = batch->run_count > first_run ? &batch->runs[batch->run_count - 1] : NULL;

    memcpy(batch->data + batch->data_bytes, page->data, page->valid);
    if (last != NULL && last->file == page->file &&
        last->offset + (int64_t)last->bytes == page->offset) {
        last->bytes += page->valid;
    } else {
        batch->runs[batch->run_count++] = /* NOLINT(clang-analyzer-core.NullDereference): made before */
            (Run){page->file, page->offset, batch->data_bytes, page->valid};
    }
    batch->data_bytes += page->valid;
}

static void copy_order(Batch *batch, BdrvTableOrder order)
{
    size_t first_run = batch->run_count;

    for (size_t i = 0; i < batch->page_count; i++) {
        if (batch->pages[i]->flying_orders >> order & 1) {
            copy_page(batch, batch->pages[i], first_run);
        }
    }
}

/* Afterwards the table is clean. */
static int take_batch(Batch *batch, BdrvTable *table)
{
    int rc = 0;

    pthread_rwlock_wrlock(&table->pages.lock);
    if (table->dirty_count > 0) {
        rc = allocate_batch(batch, table);
    }
    if (table->dirty_count > 0 && rc == 0) {
        take_pages(batch, table);
        copy_order(batch, BDRV_TABLE_REDUNDANT);
        copy_order(batch, BDRV_TABLE_PRIMARY);
    }
    pthread_rwlock_unlock(&table->pages.lock);
    return rc;
}

static int write_batch(const Batch *batch)
{
    for (size_t i = 0; i < batch->run_count; i++) {
        const Run *run = &batch->runs[i];
        int rc = bdrv_pwrite(run->file, batch->data + run->start, run->bytes, run->offset);

        if (rc < 0) {
            return bdrv_error_prefix(run->file, rc, "writing the table at offset %" PRId64,
                                     run->offset);
        }
    }
    return 0;
}

/* After an error all of it is dirty again, also what was written: without the second
 * barrier nobody knows whether that is durable. */
static void give_back(const Batch *batch, BdrvTable *table)
{
    pthread_rwlock_wrlock(&table->pages.lock);
    for (size_t i = 0; i < batch->page_count; i++) {
        Page *page = batch->pages[i];

        page->dirty_orders |= page->flying_orders;
        mark_dirty(table, page);
    }
    pthread_rwlock_unlock(&table->pages.lock);
}

static void land(const Batch *batch, BdrvTable *table)
{
    pthread_rwlock_wrlock(&table->pages.lock);
    for (size_t i = 0; i < batch->page_count; i++) {
        batch->pages[i]->in_flight = 0;
    }
    pthread_rwlock_unlock(&table->pages.lock);
}

int bdrv_table_flush(BdrvTable *table)
{
    Batch batch = {0};
    int rc;

    pthread_mutex_lock(&table->flush_mutex);
    rc = take_batch(&batch, table);
    if (rc == 0) {
        rc = bdrv_flush_children(table->bs);
    }
    if (rc == 0 && batch.run_count > 0) {
        rc = write_batch(&batch);
        if (rc == 0) {
            rc = bdrv_flush_children(table->bs);
        }
    }
    if (rc < 0) {
        give_back(&batch, table);
    }
    land(&batch, table);
    pthread_mutex_unlock(&table->flush_mutex);
    free_batch(&batch);
    return rc;
}

/* ------------------------------------------------------------------ forget */

/* Only a caller that breaks its promise has any. */
static void drop_changes(BdrvTable *table, const BlockDriverState *file)
{
    Page **link = &table->dirty;

    while (*link != NULL) {
        if ((*link)->file == file) {
            *link = (*link)->dirty_next;
            table->dirty_count--;
        } else {
            link = &(*link)->dirty_next;
        }
    }
}

/* The mutex waits for a flush that has pages in flight. */
void bdrv_table_forget(BdrvTable *table, BlockDriverState *file)
{
    pthread_mutex_lock(&table->flush_mutex);
    pthread_rwlock_wrlock(&table->pages.lock);
    drop_changes(table, file);
    bdrv_pages_forget(&table->pages, file);
    pthread_rwlock_unlock(&table->pages.lock);
    pthread_mutex_unlock(&table->flush_mutex);
}

/* -------------------------------------------------------------------- life */

int bdrv_table_new(BdrvTable **table, BlockDriverState *bs)
{
    BdrvTable *made = calloc(1, sizeof *made);
    int rc = -ENOMEM;

    *table = NULL;
    if (made != NULL) {
        made->bs = bs;
        rc = bdrv_pages_init(&made->pages, bdrv_table_budget(bs));
    }
    if (rc == 0) {
        rc = -pthread_mutex_init(&made->flush_mutex, NULL);
        if (rc < 0) {
            bdrv_pages_destroy(&made->pages);
        }
    }
    if (rc < 0) {
        free(made);
        return bdrv_error(bs, rc, "the cache of tables cannot be set up");
    }
    *table = made;
    return 0;
}

void bdrv_table_free(BdrvTable *table)
{
    if (table != NULL) {
        bdrv_pages_destroy(&table->pages);
        pthread_mutex_destroy(&table->flush_mutex);
        free(table);
    }
}
