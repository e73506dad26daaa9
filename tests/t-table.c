/* SPDX-License-Identifier: MIT */
/*
 * t-table.c - BdrvTable: what is read, what a flush writes and in which order,
 * and what is left after failures, evictions and many threads.
 *
 * The image is raw over a Ram, of which the table sees the file:
 *
 *     0            TABLE                 DATA                  SIZE
 *     │  unused    │  the tables         │  "clusters"         │
 */
#include <pthread.h>
#include <stdatomic.h>

#include "bdrv-driver.h"
#include "ram.h"
#include "suite.h"

enum {
    PAGE = 4096,
    TABLE = 2 * PAGE,
    TABLE_BYTES = 64 * PAGE,
    DATA = TABLE + TABLE_BYTES,
    SIZE = DATA + TABLE_BYTES,
    TINY = 1, /* a budget: the smallest there is */
    TINY_PAGES = 16
};

static Ram *ram;
static BlockDriverState *bs;
static BlockDriverState *file;
static BdrvTable *table;

static void open_table(size_t budget)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof options, .flags = BDRV_O_RDWR, .table_bytes = budget};

    bs = ram_open(ram, "raw", &options);
    file = bdrv_file(bs);
    assert_ok(bdrv_table_new(&table, bs));
    ram_clear(ram);
}

static void close_table(void)
{
    ram->before = NULL;
    ram->after = NULL;
    bdrv_table_free(table);
    assert_ok(bdrv_close(bs));
}

static void set_up(void)
{
    ram = ram_new(SIZE, 2 * SIZE);
    open_table(0);
}

static void tear_down(void)
{
    close_table();
    ram_free(ram);
}

static void reopen(size_t budget)
{
    close_table();
    open_table(budget);
}

static uint32_t entry(int64_t offset)
{
    uint8_t bytes[4];

    assert_ok(bdrv_table_read(table, file, bytes, sizeof bytes, offset));
    return bdrv_load_le32(bytes);
}

static int try_set(int64_t offset, uint32_t value, BdrvTableOrder order)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, value);
    return bdrv_table_write(table, file, bytes, sizeof bytes, offset, order);
}

static void set(int64_t offset, uint32_t value)
{
    assert_ok(try_set(offset, value, BDRV_TABLE_PRIMARY));
}

static void set_redundant(int64_t offset, uint32_t value)
{
    assert_ok(try_set(offset, value, BDRV_TABLE_REDUNDANT));
}

static uint32_t on_disk(int64_t offset)
{
    return bdrv_load_le32(ram->bytes + offset);
}

static void write_data(void)
{
    assert_ok(bdrv_pwrite(file, "data", 4, DATA));
}

/* ----------------------------------------------------------------- reading */

START_TEST(reads_what_the_file_holds)
{
    bdrv_store_le32(ram->bytes + TABLE + 8, 77);
    ck_assert_uint_eq(entry(TABLE + 8), 77);
    ck_assert_uint_eq(entry(TABLE + 12), 0);
}
END_TEST

START_TEST(hit_makes_no_call)
{
    entry(TABLE);
    ram_assert_calls(ram, "r8192+4096");
    entry(TABLE + PAGE - 4);
    set(TABLE + 100, 1);
    entry(TABLE + 100);
    ram_assert_calls(ram, "r8192+4096");
}
END_TEST

START_TEST(reads_an_entry_that_lies_in_two_pages)
{
    bdrv_store_le32(ram->bytes + TABLE + PAGE - 1, 0x01020304);
    ck_assert_uint_eq(entry(TABLE + PAGE - 1), 0x01020304);
}
END_TEST

START_TEST(reads_more_than_the_budget_in_one_call)
{
    static uint8_t bytes[TABLE_BYTES];

    reopen(TINY);
    for (size_t i = 0; i < TABLE_BYTES; i += 4) {
        bdrv_store_le32(ram->bytes + TABLE + i, (uint32_t)i);
    }
    assert_ok(bdrv_table_read(table, file, bytes, sizeof bytes - 3, TABLE + 3));
    ck_assert_mem_eq(bytes, ram->bytes + TABLE + 3, sizeof bytes - 3);
}
END_TEST

START_TEST(no_bytes_are_no_call)
{
    assert_ok(bdrv_table_read(table, file, NULL, 0, SIZE));
    assert_ok(bdrv_table_write(table, file, NULL, 0, SIZE, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_table_fresh(table, file, 0, SIZE));
    ram_assert_calls(ram, "");
}
END_TEST

START_TEST(table_beyond_the_end_of_the_file_is_an_error)
{
    uint8_t bytes[8];

    assert_ok(bdrv_table_read(table, file, bytes, 8, SIZE - 8));
    assert_fails_saying(bdrv_table_read(table, file, bytes, 8, SIZE - 7), -EIO, "ends at");
    assert_fails(bdrv_table_read(table, file, bytes, 8, SIZE), -EIO);
    assert_fails(bdrv_table_read(table, file, bytes, 8, INT64_MAX - 8), -EIO);
    assert_fails(bdrv_table_read(table, file, bytes, 8, -8), -EIO);
    assert_fails(try_set(SIZE - 2, 1, BDRV_TABLE_PRIMARY), -EIO);
}
END_TEST

/* How many calls to the storage succeed before one that fails. */
static int calls_until_failure;

static int fail_one(Ram *where, const RamCall *call)
{
    (void)where;
    (void)call;
    return calls_until_failure-- == 0 ? -EIO : 0;
}

START_TEST(failing_read_is_an_error_and_forgotten)
{
    uint8_t byte;

    ram->bytes[TABLE] = 'x';
    calls_until_failure = 0;
    ram->before = fail_one;
    assert_fails_saying(bdrv_table_read(table, file, &byte, 1, TABLE), -EIO,
                        "reading the table at offset 8192");
    assert_ok(bdrv_table_read(table, file, &byte, 1, TABLE));
    ck_assert_int_eq(byte, 'x');
}
END_TEST

/* The page at the file's old end was cached when it was shorter. */
START_TEST(page_grows_with_its_file)
{
    uint8_t bytes[2];

    assert_ok(bdrv_pwrite(file, "a", 1, SIZE));
    assert_ok(bdrv_table_read(table, file, bytes, 1, SIZE));
    assert_ok(bdrv_table_write(table, file, "A", 1, SIZE, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_pwrite(file, "b", 1, SIZE + 1));
    assert_ok(bdrv_table_read(table, file, bytes, 2, SIZE));
    ck_assert_mem_eq(bytes, "Ab", 2);
}
END_TEST

START_TEST(same_offset_in_two_files_is_two_places)
{
    Ram *second = ram_new(SIZE, SIZE);
    BlockDriverState *child;

    ram->other = second;
    second->bytes[TABLE] = 2;
    ram->bytes[TABLE] = 1;
    assert_ok(bdrv_open_child(bs, "second", &child));
    for (int i = 0; i < 2; i++) {
        uint8_t byte;

        assert_ok(bdrv_table_read(table, i == 0 ? file : child, &byte, 1, TABLE));
        ck_assert_int_eq(byte, i + 1);
        byte = (uint8_t)(10 + i);
        assert_ok(bdrv_table_write(table, i == 0 ? file : child, &byte, 1, TABLE,
                                   BDRV_TABLE_PRIMARY));
    }
    assert_ok(bdrv_table_flush(table));
    ck_assert_int_eq(ram->bytes[TABLE], 10);
    ck_assert_int_eq(second->bytes[TABLE], 11);
    close_table();
    open_table(0); /* for tear_down(), without the child */
    ram_free(second);
}
END_TEST

/* ---------------------------------------------------------- order of a flush */

START_TEST(entry_is_written_by_a_flush_only_and_after_the_data)
{
    write_data();
    set(TABLE, 1);
    ck_assert_uint_eq(on_disk(TABLE), 0);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w8192+512 f");
    ck_assert_uint_eq(on_disk(TABLE), 1);
}
END_TEST

START_TEST(clean_table_costs_one_barrier)
{
    entry(TABLE);
    write_data();
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f");
}
END_TEST

START_TEST(redundant_copies_are_written_before_primaries)
{
    write_data();
    set(TABLE, 1);
    set(TABLE + 3 * PAGE, 1);
    set_redundant(TABLE + 2 * PAGE, 1);
    set_redundant(TABLE + PAGE, 1);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w12288+512 w16384+512 w8192+512 w20480+512 f");
}
END_TEST

START_TEST(sector_of_both_orders_is_written_once_and_late)
{
    write_data();
    set_redundant(TABLE, 1);
    set(TABLE + 4, 2);
    set_redundant(TABLE + PAGE, 3);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w12288+512 w8192+512 f");
    ck_assert_uint_eq(on_disk(TABLE), 1);
    ck_assert_uint_eq(on_disk(TABLE + 4), 2);
}
END_TEST

START_TEST(neighbouring_sectors_are_one_write_but_orders_are_not_mixed)
{
    write_data();
    set(TABLE + PAGE - 4, 1);
    set(TABLE + PAGE, 1);
    set(TABLE + PAGE + 508, 1);
    set(TABLE + PAGE + 512, 1);
    set_redundant(TABLE + PAGE - 1024, 1);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w11264+512 w11776+1536 f");
}
END_TEST

START_TEST(flushed_entries_are_not_written_again)
{
    set(TABLE, 1);
    assert_ok(bdrv_table_flush(table));
    set(TABLE + PAGE, 1);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "w12288+512 f");
}
END_TEST

START_TEST(flush_does_not_extend_a_file_that_ends_within_a_sector)
{
    assert_ok(bdrv_pwrite(file, "0123456789", 10, SIZE));
    assert_ok(bdrv_table_write(table, file, "x", 1, SIZE + 9, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_table_flush(table));
    ck_assert_int_eq(ram->length, SIZE + 10);
    ck_assert_mem_eq(ram->bytes + SIZE, "012345678x", 10);
}
END_TEST

/* ------------------------------------------------------- changes in between */

static int set_at_first_flush(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_FLUSH) {
        where->before = NULL;
        set(TABLE + 4, 2);
    }
    return 0;
}

static int set_at_first_write(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_WRITE) {
        where->before = NULL;
        set(TABLE + 4, 2);
    }
    return 0;
}

static void assert_not_written_by_a_flush_that_runs(RamHook *hook)
{
    write_data();
    set(TABLE, 1);
    ram->before = hook;
    assert_ok(bdrv_table_flush(table));
    ck_assert(ram->before == NULL);
    ck_assert_uint_eq(on_disk(TABLE), 1);
    ck_assert_uint_eq(on_disk(TABLE + 4), 0);
    ck_assert_uint_eq(entry(TABLE + 4), 2);
    assert_ok(bdrv_table_flush(table));
    ck_assert_uint_eq(on_disk(TABLE + 4), 2);
}

START_TEST(entry_set_during_the_first_barrier_waits_for_the_next_flush)
{
    assert_not_written_by_a_flush_that_runs(set_at_first_flush);
}
END_TEST

START_TEST(entry_set_during_the_writes_waits_for_the_next_flush)
{
    assert_not_written_by_a_flush_that_runs(set_at_first_write);
}
END_TEST

/* Loads as many other pages as evict all that can be. */
static void evict_all(void)
{
    for (int i = 0; i < 3 * TINY_PAGES; i++) {
        entry(TABLE + (8 + i) * (int64_t)PAGE);
    }
}

static int evict_at_first_flush(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_FLUSH) {
        where->before = NULL;
        evict_all();
        ck_assert_uint_eq(entry(TABLE), 1); /* read from the disk it would be 0 */
    }
    return 0;
}

START_TEST(page_in_flight_is_not_evicted)
{
    reopen(TINY);
    write_data();
    set(TABLE, 1);
    ram->before = evict_at_first_flush;
    assert_ok(bdrv_table_flush(table));
    ck_assert(ram->before == NULL);
    ck_assert_uint_eq(entry(TABLE), 1);
}
END_TEST

/* Between the read of a page and its arrival in the cache, another thread loads, changes,
 * flushes and evicts it. */
static int overtake_the_read(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_READ && call->offset == TABLE) {
        where->after = NULL;
        set(TABLE, 1);
        assert_ok(bdrv_table_flush(table));
        evict_all();
    }
    return 0;
}

START_TEST(page_that_became_stale_while_it_was_read_is_read_again)
{
    reopen(TINY);
    ram->after = overtake_the_read;
    ck_assert_uint_eq(entry(TABLE), 1);
}
END_TEST

static int refresh_after_the_read(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_READ && call->offset == TABLE) {
        where->after = NULL;
        assert_ok(bdrv_table_fresh(table, file, 512, TABLE));
    }
    return 0;
}

START_TEST(page_that_was_made_fresh_while_it_was_read_is_read_again)
{
    bdrv_store_le32(ram->bytes + TABLE, 1);
    ram->after = refresh_after_the_read;
    ck_assert_uint_eq(entry(TABLE), 0);
}
END_TEST

/* ---------------------------------------------------------------- failures */

/* One failing call: 0 first barrier, 1 and 2 the writes, 3 second barrier. */
START_TEST(after_a_failed_flush_the_next_writes_everything)
{
    write_data();
    set_redundant(TABLE, 1);
    set(TABLE + PAGE, 1);
    calls_until_failure = _i;
    ram->before = fail_one;
    assert_fails(bdrv_table_flush(table), -EIO);
    ck_assert_uint_eq(on_disk(TABLE + PAGE), _i == 3 ? 1 : 0);
    ck_assert_uint_eq(entry(TABLE + PAGE), 1);
    ram->before = NULL;
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w8192+512 w12288+512 f");
    ck_assert_uint_eq(on_disk(TABLE), 1);
    ck_assert_uint_eq(on_disk(TABLE + PAGE), 1);
}
END_TEST

static int change_and_fail(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_WRITE) {
        where->before = NULL;
        set(TABLE, 2);
        set(TABLE + 512, 3);
        return -EIO;
    }
    return 0;
}

START_TEST(changes_during_a_failed_flush_are_newer_than_what_it_took)
{
    write_data();
    set(TABLE, 1);
    set(TABLE + 1024, 1);
    ram->before = change_and_fail;
    assert_fails(bdrv_table_flush(table), -EIO);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w8192+1536 f");
    ck_assert_uint_eq(on_disk(TABLE), 2);
    ck_assert_uint_eq(on_disk(TABLE + 512), 3);
    ck_assert_uint_eq(on_disk(TABLE + 1024), 1);
}
END_TEST

/* ------------------------------------------------------------------ budget */

START_TEST(table_flushes_itself_when_the_budget_is_full_of_changes)
{
    reopen(TINY);
    for (int i = 0; i < TINY_PAGES / 2; i++) {
        set(TABLE + i * (int64_t)PAGE, 1);
    }
    ck_assert_uint_eq(ram_count(ram, RAM_WRITE), 0);
    write_data();
    set(TABLE + TINY_PAGES / 2 * PAGE, 1);
    ck_assert_uint_eq(ram_count(ram, RAM_WRITE), 1 + TINY_PAGES / 2);
    ck_assert_uint_eq(ram_count(ram, RAM_FLUSH), 2);
    ck_assert_uint_eq(on_disk(TABLE), 1);
    ck_assert_uint_eq(on_disk(TABLE + TINY_PAGES / 2 * PAGE), 0);
}
END_TEST

START_TEST(failure_of_that_flush_fails_the_write)
{
    reopen(TINY);
    for (int i = 0; i < TINY_PAGES / 2; i++) {
        set(TABLE + i * (int64_t)PAGE, 1);
    }
    write_data();
    calls_until_failure = 0;
    ram->before = fail_one;
    assert_fails(try_set(DATA - 4, 1, BDRV_TABLE_PRIMARY), -EIO);
    ck_assert_uint_eq(entry(DATA - 4), 0);
    assert_ok(try_set(DATA - 4, 1, BDRV_TABLE_PRIMARY));
    ck_assert_uint_eq(entry(DATA - 4), 1);
}
END_TEST

START_TEST(eviction_keeps_the_content)
{
    static uint8_t model[TABLE_BYTES];
    uint32_t seed = suite_seed();

    memset(model, 0, sizeof model);
    reopen(TINY);
    for (int i = 0; i < 20000; i++) {
        uint32_t at = suite_random(&seed) % (TABLE_BYTES - 4);
        uint8_t found[4];

        if (suite_random(&seed) % 2) {
            bdrv_store_le32(model + at, suite_random(&seed));
            set(TABLE + at, bdrv_load_le32(model + at));
        }
        if (suite_random(&seed) % 500 == 0) {
            assert_ok(bdrv_table_flush(table));
            ck_assert_mem_eq(ram->bytes + TABLE, model, TABLE_BYTES);
        }
        at = suite_random(&seed) % (TABLE_BYTES - 4);
        assert_ok(bdrv_table_read(table, file, found, 4, TABLE + at));
        ck_assert_mem_eq(found, model + at, 4);
    }
}
END_TEST

/* All pages but the first are read once.  That one goes once, at the hand's first round,
 * when all are as new. */
START_TEST(used_page_stays_while_others_go)
{
    reopen(TINY);
    entry(TABLE);
    for (int i = 1; i < 60; i++) {
        entry(TABLE + i * (int64_t)PAGE);
        entry(TABLE);
    }
    ck_assert_uint_le(ram_count(ram, RAM_READ), 61);
}
END_TEST

/* ------------------------------------------------------------------- fresh */

START_TEST(fresh_table_is_zeros_on_disk_at_once)
{
    memset(ram->bytes + TABLE, 0xff, TABLE_BYTES);
    entry(TABLE + PAGE); /* a stale page */
    assert_ok(bdrv_table_fresh(table, file, 3 * PAGE + 100, TABLE + 50));
    ck_assert_uint_eq(on_disk(TABLE + 48), 0x0000ffff);
    ck_assert_uint_eq(on_disk(TABLE + 52), 0);
    ck_assert_uint_eq(on_disk(TABLE + 3 * PAGE + 148), 0xffff0000);
    ck_assert_uint_eq(entry(TABLE + 48), 0x0000ffff);
    ck_assert_uint_eq(entry(TABLE + PAGE), 0);
    ck_assert_uint_eq(entry(TABLE + 3 * PAGE + 148), 0xffff0000);
}
END_TEST

START_TEST(fresh_table_may_extend_the_file)
{
    entry(SIZE - 4);
    assert_ok(bdrv_pwrite(file, "end", 3, SIZE));
    ck_assert_int_ne(entry(SIZE - 1), 0x01);
    assert_ok(bdrv_table_fresh(table, file, PAGE, SIZE + 512));
    ck_assert_int_eq(ram->length, SIZE + 512 + PAGE);
    ck_assert_uint_eq(entry(SIZE + PAGE + 508), 0);
    set(SIZE + 512, 9);
    assert_ok(bdrv_table_flush(table));
    ck_assert_uint_eq(on_disk(SIZE + 512), 9);
    ck_assert_mem_eq(ram->bytes + SIZE, "end", 4);
}
END_TEST

START_TEST(fresh_table_is_durable_before_the_entry_that_points_at_it)
{
    assert_ok(bdrv_table_fresh(table, file, 512, TABLE + PAGE));
    set(TABLE, TABLE + PAGE);
    set(TABLE + PAGE, 1);
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w8192+512 w12288+512 f");
}
END_TEST

START_TEST(fresh_table_drops_older_changes_in_it_but_not_beside_it)
{
    set(TABLE, 1);
    set(TABLE + 512, 2);
    set(TABLE + 1024, 3);
    set(TABLE + 1020, 4);
    assert_ok(bdrv_table_fresh(table, file, 500, TABLE + 512));
    assert_ok(bdrv_table_fresh(table, file, 512, TABLE + 1024));
    ram_clear(ram);
    assert_ok(bdrv_table_flush(table));
    ram_assert_calls(ram, "f w8192+1024 f");
    ck_assert_uint_eq(on_disk(TABLE), 1);
    ck_assert_uint_eq(on_disk(TABLE + 512), 0);
    ck_assert_uint_eq(on_disk(TABLE + 1020), 4);
    ck_assert_uint_eq(on_disk(TABLE + 1024), 0);
}
END_TEST

START_TEST(failing_fresh_leaves_the_cache_as_it_was)
{
    set(TABLE, 5);
    calls_until_failure = 0;
    ram->before = fail_one;
    assert_fails(bdrv_table_fresh(table, file, 512, TABLE), -EIO);
    ck_assert_uint_eq(entry(TABLE), 5);
}
END_TEST

/* ----------------------------------------------------------------- threads */

enum {
    THREADS = 16,
    ENTRIES = TABLE_BYTES / 4,
    ROUNDS = 300
};

/* Each entry counts up; its cluster holds the same number before it does. */
static uint8_t durable[TABLE_BYTES];
static uint32_t newest[ENTRIES]; /* each belongs to one thread */
static atomic_int broken;

static int64_t place(size_t number)
{
    return TABLE + (int64_t)number * 4;
}

/* What was written before a barrier began is durable; what an entry on its way to the disk
 * points at must be. */
static int watch_order(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_FLUSH) {
        pthread_mutex_lock(&where->lock);
        memcpy(durable, where->bytes + DATA, sizeof durable);
        pthread_mutex_unlock(&where->lock);
    }
    if (call->operation == RAM_WRITE && call->offset < DATA) {
        for (int64_t i = 0; i < call->bytes; i += 4) {
            uint32_t points_at = bdrv_load_le32(call->data + i);

            if (points_at > bdrv_load_le32(durable + (call->offset - TABLE) + i)) {
                atomic_store(&broken, 1);
            }
        }
    }
    return 0;
}

static void count_up(size_t number)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, ++newest[number]);
    if (bdrv_pwrite(file, bytes, 4, place(number) - TABLE + DATA) < 0 ||
        bdrv_table_write(table, file, bytes, 4, place(number), BDRV_TABLE_PRIMARY) < 0 ||
        bdrv_table_read(table, file, bytes, 4, place(number)) < 0 ||
        bdrv_load_le32(bytes) != newest[number]) {
        atomic_store(&broken, 2);
    }
}

static void *count_own(void *opaque)
{
    size_t me = (size_t)(uintptr_t)opaque;
    uint32_t seed = (uint32_t)me + 1;

    for (int i = 0; i < ROUNDS; i++) {
        uint8_t bytes[64];
        size_t turn = suite_random(&seed) % (ENTRIES / THREADS);

        count_up(turn * THREADS + me);
        turn = suite_random(&seed) % (ENTRIES - 16);
        if (bdrv_table_read(table, file, bytes, sizeof bytes, place(turn)) < 0) {
            atomic_store(&broken, 3);
        }
        if (suite_random(&seed) % 32 == 0 && bdrv_table_flush(table) < 0) {
            atomic_store(&broken, 4);
        }
    }
    return NULL;
}

START_TEST(with_many_threads_no_entry_is_written_before_its_data)
{
    pthread_t threads[THREADS];

    reopen(TINY);
    memset(newest, 0, sizeof newest);
    memset(durable, 0, sizeof durable);
    ram->before = watch_order;
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_own, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    assert_ok(bdrv_table_flush(table));
    ck_assert_int_eq(atomic_load(&broken), 0);
    for (size_t i = 0; i < ENTRIES; i++) {
        ck_assert_uint_eq(on_disk(place(i)), newest[i]);
    }
}
END_TEST

static void *toggle_across_pages(void *opaque)
{
    (void)opaque;
    for (int i = 0; i < 4000; i++) {
        if (try_set(TABLE + PAGE - 2, i % 2 ? 0xffffffff : 0, BDRV_TABLE_PRIMARY) < 0) {
            atomic_store(&broken, 1);
        }
    }
    return NULL;
}

START_TEST(entry_in_two_pages_is_never_seen_half_changed)
{
    pthread_t writer;

    set(TABLE + PAGE - 2, 0);
    ck_assert_int_eq(pthread_create(&writer, NULL, toggle_across_pages, NULL), 0);
    for (int i = 0; i < 4000; i++) {
        uint32_t found = entry(TABLE + PAGE - 2);

        ck_assert(found == 0 || found == 0xffffffff);
    }
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    ck_assert_int_eq(atomic_load(&broken), 0);
}
END_TEST

/* ------------------------------------------------------------------- suite */

static TCase *add_case(Suite *suite, const char *name, const TTest *const *tests)
{
    TCase *tcase = suite_add_case(suite, name, tests, 120);

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    return tcase;
}

Suite *test_suite(void)
{
    const TTest *const reading[] = {
        reads_what_the_file_holds,
        hit_makes_no_call,
        reads_an_entry_that_lies_in_two_pages,
        reads_more_than_the_budget_in_one_call,
        no_bytes_are_no_call,
        table_beyond_the_end_of_the_file_is_an_error,
        failing_read_is_an_error_and_forgotten,
        page_grows_with_its_file,
        same_offset_in_two_files_is_two_places,
        NULL,
    };
    const TTest *const order[] = {
        entry_is_written_by_a_flush_only_and_after_the_data,
        clean_table_costs_one_barrier,
        redundant_copies_are_written_before_primaries,
        sector_of_both_orders_is_written_once_and_late,
        neighbouring_sectors_are_one_write_but_orders_are_not_mixed,
        flushed_entries_are_not_written_again,
        flush_does_not_extend_a_file_that_ends_within_a_sector,
        entry_set_during_the_first_barrier_waits_for_the_next_flush,
        entry_set_during_the_writes_waits_for_the_next_flush,
        page_in_flight_is_not_evicted,
        page_that_became_stale_while_it_was_read_is_read_again,
        page_that_was_made_fresh_while_it_was_read_is_read_again,
        changes_during_a_failed_flush_are_newer_than_what_it_took,
        NULL,
    };
    const TTest *const budget[] = {
        table_flushes_itself_when_the_budget_is_full_of_changes,
        failure_of_that_flush_fails_the_write,
        eviction_keeps_the_content,
        used_page_stays_while_others_go,
        NULL,
    };
    const TTest *const fresh[] = {
        fresh_table_is_zeros_on_disk_at_once,
        fresh_table_may_extend_the_file,
        fresh_table_is_durable_before_the_entry_that_points_at_it,
        fresh_table_drops_older_changes_in_it_but_not_beside_it,
        failing_fresh_leaves_the_cache_as_it_was,
        NULL,
    };
    const TTest *const threads[] = {
        with_many_threads_no_entry_is_written_before_its_data,
        entry_in_two_pages_is_never_seen_half_changed,
        NULL,
    };
    Suite *suite = suite_create("table");

    add_case(suite, "reading", reading);
    tcase_add_loop_test(add_case(suite, "order", order),
                        after_a_failed_flush_the_next_writes_everything, 0, 4);
    add_case(suite, "budget", budget);
    add_case(suite, "fresh", fresh);
    add_case(suite, "threads", threads);
    return suite;
}
