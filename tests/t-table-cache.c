/* SPDX-License-Identifier: MIT */
/*
 * t-table-cache.c - BdrvTable as a cache: its budget, fresh tables under pages
 * that are cached, and many threads.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "testtable.h"

/* ------------------------------------------------------------------ budget */

START_TEST(table_flushes_itself_when_the_budget_is_full_of_changes)
{
    testtable_reopen(TINY);
    for (int i = 0; i < TINY_PAGES / 2; i++) {
        set(TABLE + 2 * i * (int64_t)PAGE, 1);
    }
    ck_assert_uint_eq(ram_count(testtable.ram, RAM_WRITE), 0);
    write_data();
    set(TABLE + TINY_PAGES * PAGE, 1);
    ck_assert_uint_eq(ram_count(testtable.ram, RAM_WRITE), 1 + TINY_PAGES / 2);
    ck_assert_uint_eq(ram_count(testtable.ram, RAM_FLUSH), 2);
    ck_assert_uint_eq(entry_on_disk(TABLE), 1);
    ck_assert_uint_eq(entry_on_disk(TABLE + TINY_PAGES * PAGE), 0);
}
END_TEST

START_TEST(failure_of_that_flush_fails_the_write)
{
    testtable_reopen(TINY);
    for (int i = 0; i < TINY_PAGES / 2; i++) {
        set(TABLE + 2 * i * (int64_t)PAGE, 1);
    }
    write_data();
    calls_until_failure = 0;
    testtable.ram->before = fail_one;
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
    testtable_reopen(TINY);
    for (int i = 0; i < 20000; i++) {
        uint32_t at = suite_random(&seed) % (TABLE_BYTES - 4);
        uint8_t found[5000];
        size_t size = suite_random(&seed) % 8 ? 4 : 1 + suite_random(&seed) % sizeof found;

        if (suite_random(&seed) % 2) {
            bdrv_store_le32(model + at, suite_random(&seed));
            set(TABLE + at, bdrv_load_le32(model + at));
        }
        if (suite_random(&seed) % 500 == 0) {
            assert_ok(bdrv_table_flush(testtable.table));
            ck_assert_mem_eq(testtable.ram->bytes + TABLE, model, TABLE_BYTES);
        }
        at = suite_random(&seed) % (uint32_t)(TABLE_BYTES - size);
        assert_ok(bdrv_table_read(testtable.table, testtable.file, found, size, TABLE + at));
        ck_assert_mem_eq(found, model + at, size);
    }
}
END_TEST

/* All pages but the first are read once.  That one goes once, at the hand's first round,
 * when all are as new. */
START_TEST(used_page_stays_while_others_go)
{
    testtable_reopen(TINY);
    entry(TABLE);
    for (int i = 1; i < 60; i++) {
        entry(TABLE + i * (int64_t)PAGE);
        entry(TABLE);
    }
    ck_assert_uint_le(ram_count(testtable.ram, RAM_READ), 61);
}
END_TEST

/* ------------------------------------------------------------------- fresh */

START_TEST(fresh_table_is_zeros_on_disk_at_once)
{
    memset(testtable.ram->bytes + TABLE, 0xff, TABLE_BYTES);
    entry(TABLE + PAGE); /* a stale page */
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 3 * PAGE + 100, TABLE + 50));
    ck_assert_uint_eq(entry_on_disk(TABLE + 48), 0x0000ffff);
    ck_assert_uint_eq(entry_on_disk(TABLE + 52), 0);
    ck_assert_uint_eq(entry_on_disk(TABLE + 3 * PAGE + 148), 0xffff0000);
    ck_assert_uint_eq(entry(TABLE + 48), 0x0000ffff);
    ck_assert_uint_eq(entry(TABLE + PAGE), 0);
    ck_assert_uint_eq(entry(TABLE + 3 * PAGE + 148), 0xffff0000);
}
END_TEST

START_TEST(fresh_table_may_extend_the_file)
{
    assert_ok(bdrv_pwrite(testtable.file, "end", 3, SIZE));
    entry(SIZE - 1); /* caches what there is of the page */
    assert_ok(bdrv_pwrite(testtable.file, "more", 4, SIZE + 100));
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, PAGE, SIZE + 512));
    ck_assert_int_eq(testtable.ram->length, SIZE + 512 + PAGE);
    ck_assert_uint_eq(entry(SIZE + 100), entry_on_disk(SIZE + 100));
    ck_assert_uint_eq(entry(SIZE + PAGE + 508), 0);
    set(SIZE + 512, 9);
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert_uint_eq(entry_on_disk(SIZE + 512), 9);
    ck_assert_mem_eq(testtable.ram->bytes + SIZE, "end", 4);
}
END_TEST

START_TEST(fresh_table_is_durable_before_the_entry_that_points_at_it)
{
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 512, TABLE + 2 * PAGE));
    set(TABLE, TABLE + 2 * PAGE);
    set(TABLE + 2 * PAGE, 1);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w8192+512 w9216+512 f");
}
END_TEST

START_TEST(fresh_table_drops_older_changes_in_it_but_not_beside_it)
{
    set(TABLE, 1);
    set(TABLE + 512, 2);
    set(TABLE + 1024, 3);
    set(TABLE + 1020, 4);
    set(TABLE + 2048, 5);
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 500, TABLE + 512));
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 512, TABLE + 1024));
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 508, TABLE + 2052));
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w8192+1024 w10240+512 f");
    ck_assert_uint_eq(entry_on_disk(TABLE), 1);
    ck_assert_uint_eq(entry_on_disk(TABLE + 512), 0);
    ck_assert_uint_eq(entry_on_disk(TABLE + 1020), 4);
    ck_assert_uint_eq(entry_on_disk(TABLE + 1024), 0);
    ck_assert_uint_eq(entry_on_disk(TABLE + 2048), 5);
}
END_TEST

START_TEST(failing_fresh_leaves_the_cache_as_it_was)
{
    set(TABLE, 5);
    calls_until_failure = 0;
    testtable.ram->before = fail_one;
    assert_fails(bdrv_table_fresh(testtable.table, testtable.file, 512, TABLE), -EIO);
    ck_assert_uint_eq(entry(TABLE), 5);
}
END_TEST

/* ------------------------------------------------------------------ forget */

START_TEST(forgotten_file_is_read_again_and_others_are_not)
{
    Ram *second = ram_new(SIZE, SIZE);
    BlockDriverState *child;
    uint8_t byte;

    testtable.ram->other = second;
    assert_ok(bdrv_open_child(testtable.bs, "second", &child));
    for (int64_t at = TABLE; at < DATA; at += PAGE) {
        assert_ok(bdrv_table_read(testtable.table, child, &byte, 1, at));
        entry(at);
    }
    assert_ok(bdrv_table_write(testtable.table, child, "x", 1, TABLE, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_table_flush(testtable.table));
    bdrv_table_forget(testtable.table, child);
    second->bytes[TABLE] = 'y';
    ram_clear(testtable.ram);
    for (int64_t at = TABLE; at < DATA; at += PAGE) {
        entry(at);
    }
    ram_assert_calls(testtable.ram, "");
    assert_ok(bdrv_table_read(testtable.table, child, &byte, 1, TABLE));
    ck_assert_int_eq(byte, 'y');
    testtable_reopen(0);
    ram_free(second);
}
END_TEST

/* What had been read ahead of one file was given as the content of the next. */
START_TEST(what_is_read_ahead_of_one_file_is_not_the_content_of_another)
{
    enum { LONG = 4 * PAGE, READS = 8 };
    Ram *second = ram_new(SIZE, SIZE);
    BlockDriverState *child;
    uint8_t found[LONG];

    memset(testtable.ram->bytes + TABLE, 'a', TABLE_BYTES);
    memset(second->bytes + TABLE, 'b', TABLE_BYTES);
    testtable.ram->other = second;
    assert_ok(bdrv_open_child(testtable.bs, "second", &child));
    for (int i = 0; i < 2 * READS; i++) {
        BlockDriverState *file = i / READS == 0 ? testtable.file : child;

        assert_ok(bdrv_table_read(testtable.table, file, found, sizeof found,
                                  TABLE + i % READS * LONG));
        for (int j = 0; j < LONG; j++) {
            ck_assert_int_eq(found[j], i / READS == 0 ? 'a' : 'b');
        }
    }
    testtable_reopen(0);
    ram_free(second);
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
    if (bdrv_pwrite(testtable.file, bytes, 4, place(number) - TABLE + DATA) < 0 ||
        bdrv_table_write(testtable.table, testtable.file, bytes, 4, place(number), BDRV_TABLE_PRIMARY) < 0 ||
        bdrv_table_read(testtable.table, testtable.file, bytes, 4, place(number)) < 0 ||
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
        if (bdrv_table_read(testtable.table, testtable.file, bytes, sizeof bytes, place(turn)) < 0) {
            atomic_store(&broken, 3);
        }
        if (suite_random(&seed) % 32 == 0 && bdrv_table_flush(testtable.table) < 0) {
            atomic_store(&broken, 4);
        }
    }
    return NULL;
}

START_TEST(with_many_threads_no_entry_is_written_before_its_data)
{
    pthread_t threads[THREADS];
    size_t wrong = 0;

    testtable_reopen(TINY);
    memset(newest, 0, sizeof newest);
    memset(durable, 0, sizeof durable);
    testtable.ram->before = watch_order;
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_own, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert_int_eq(atomic_load(&broken), 0);
    for (size_t i = 0; i < ENTRIES; i++) {
        wrong += entry_on_disk(place(i)) != newest[i];
    }
    ck_assert_uint_eq(wrong, 0);
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

Suite *test_suite(void)
{
    const TTest *const budget[] = {
        table_flushes_itself_when_the_budget_is_full_of_changes,
        failure_of_that_flush_fails_the_write,
        eviction_keeps_the_content,
        used_page_stays_while_others_go,
        NULL,
    };
    const TTest *const changed_files[] = {
        fresh_table_is_zeros_on_disk_at_once,
        fresh_table_may_extend_the_file,
        fresh_table_is_durable_before_the_entry_that_points_at_it,
        fresh_table_drops_older_changes_in_it_but_not_beside_it,
        failing_fresh_leaves_the_cache_as_it_was,
        forgotten_file_is_read_again_and_others_are_not,
        what_is_read_ahead_of_one_file_is_not_the_content_of_another,
        NULL,
    };
    const TTest *const threads[] = {
        with_many_threads_no_entry_is_written_before_its_data,
        entry_in_two_pages_is_never_seen_half_changed,
        NULL,
    };
    Suite *suite = suite_create("table-cache");

    testtable_add_case(suite, "budget", budget);
    testtable_add_case(suite, "changed files", changed_files);
    testtable_add_case(suite, "threads", threads);
    return suite;
}
