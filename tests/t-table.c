/* SPDX-License-Identifier: MIT */
/*
 * t-table.c - BdrvTable: what is read, what a flush writes and in which order,
 * what happens in between, and what is left after failures.
 */
#include "testtable.h"

/* ----------------------------------------------------------------- reading */

START_TEST(reads_what_the_file_holds)
{
    bdrv_store_le32(testtable.ram->bytes + TABLE + 8, 77);
    ck_assert_uint_eq(entry(TABLE + 8), 77);
    ck_assert_uint_eq(entry(TABLE + 12), 0);
}
END_TEST

START_TEST(hit_makes_no_call)
{
    entry(TABLE);
    ram_assert_calls(testtable.ram, "r8192+512");
    entry(TABLE + PAGE - 4);
    set(TABLE + 100, 1);
    entry(TABLE + 100);
    ram_assert_calls(testtable.ram, "r8192+512");
}
END_TEST

START_TEST(reads_an_entry_that_lies_in_two_pages)
{
    bdrv_store_le32(testtable.ram->bytes + TABLE + PAGE - 1, 0x01020304);
    ck_assert_uint_eq(entry(TABLE + PAGE - 1), 0x01020304);
}
END_TEST

START_TEST(reads_more_than_the_budget_in_one_call)
{
    static uint8_t bytes[TABLE_BYTES];

    testtable_reopen(TINY);
    for (size_t i = 0; i < TABLE_BYTES; i += 4) {
        bdrv_store_le32(testtable.ram->bytes + TABLE + i, (uint32_t)i);
    }
    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, sizeof bytes - 3, TABLE + 3));
    ck_assert_mem_eq(bytes, testtable.ram->bytes + TABLE + 3, sizeof bytes - 3);
}
END_TEST

/* Pages in the middle, changed and not written, are newer than the file. */
START_TEST(long_piece_is_read_in_one_call_and_leaves_no_pages)
{
    uint8_t bytes[4 * PAGE];

    memset(testtable.ram->bytes + TABLE, 7, sizeof bytes);
    set(TABLE + PAGE + 8, 1);
    set(TABLE + 2 * PAGE - 4, 2);
    ram_clear(testtable.ram);
    for (int i = 0; i < 2; i++) {
        assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, sizeof bytes - 5,
                                  TABLE + 5));
    }
    ram_assert_calls(testtable.ram, "r8197+2043 r8197+2043");
    ck_assert_uint_eq(bdrv_load_le32(bytes + PAGE + 8 - 5), 1);
    ck_assert_uint_eq(bdrv_load_le32(bytes + 2 * PAGE - 4 - 5), 2);
    ck_assert_uint_eq(bdrv_load_le32(bytes + PAGE + 12 - 5), 0x07070707);
    ck_assert_uint_eq(bytes[4 * PAGE - 6], 7);
}
END_TEST

START_TEST(long_piece_keeps_changes_in_a_page_in_which_the_file_ended)
{
    uint8_t bytes[2 * PAGE];

    assert_ok(bdrv_pwrite(testtable.file, "0123456789", 10, SIZE));
    assert_ok(bdrv_table_write(testtable.table, testtable.file, "x", 1, SIZE + 9, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_pwrite(testtable.file, "more", 4, SIZE + 2 * PAGE - 4));
    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, sizeof bytes, SIZE));
    ck_assert_mem_eq(bytes, "012345678x", 10);
    ck_assert_mem_eq(bytes + 2 * PAGE - 4, "more", 4);
}
END_TEST

START_TEST(no_bytes_are_no_call)
{
    assert_ok(bdrv_table_read(testtable.table, testtable.file, NULL, 0, SIZE));
    assert_ok(bdrv_table_write(testtable.table, testtable.file, NULL, 0, SIZE, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 0, SIZE));
    ram_assert_calls(testtable.ram, "");
}
END_TEST

START_TEST(table_beyond_the_end_of_the_file_is_an_error)
{
    uint8_t bytes[8];

    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, 8, SIZE - 8));
    assert_fails_saying(bdrv_table_read(testtable.table, testtable.file, bytes, 8, SIZE - 7), -EIO, "ends at");
    assert_fails(bdrv_table_read(testtable.table, testtable.file, bytes, 8, SIZE), -EIO);
    assert_fails(bdrv_table_read(testtable.table, testtable.file, bytes, 8, INT64_MAX - 8), -EIO);
    assert_fails(bdrv_table_read(testtable.table, testtable.file, bytes, 8, -8), -EIO);
    assert_fails(try_set(SIZE - 2, 1, BDRV_TABLE_PRIMARY), -EIO);
}
END_TEST

START_TEST(failing_read_is_an_error_and_forgotten)
{
    uint8_t byte;

    testtable.ram->bytes[TABLE] = 'x';
    calls_until_failure = 0;
    testtable.ram->before = fail_one;
    assert_fails_saying(bdrv_table_read(testtable.table, testtable.file, &byte, 1, TABLE), -EIO,
                        "reading the table at offset 8192");
    assert_ok(bdrv_table_read(testtable.table, testtable.file, &byte, 1, TABLE));
    ck_assert_int_eq(byte, 'x');
}
END_TEST

/* The page at the file's old end was cached when it was shorter. */
START_TEST(page_grows_with_its_file)
{
    uint8_t bytes[2];

    assert_ok(bdrv_pwrite(testtable.file, "a", 1, SIZE));
    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, 1, SIZE));
    assert_ok(bdrv_table_write(testtable.table, testtable.file, "A", 1, SIZE, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_pwrite(testtable.file, "b", 1, SIZE + 1));
    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, 2, SIZE));
    ck_assert_mem_eq(bytes, "Ab", 2);
}
END_TEST

START_TEST(same_offset_in_two_files_is_two_places)
{
    Ram *second = ram_new(SIZE, SIZE);
    BlockDriverState *child;

    testtable.ram->other = second;
    second->bytes[TABLE] = 2;
    testtable.ram->bytes[TABLE] = 1;
    assert_ok(bdrv_open_child(testtable.bs, "second", &child));
    for (int i = 0; i < 2; i++) {
        uint8_t byte;

        assert_ok(bdrv_table_read(testtable.table, i == 0 ? testtable.file : child, &byte, 1, TABLE));
        ck_assert_int_eq(byte, i + 1);
        byte = (uint8_t)(10 + i);
        assert_ok(bdrv_table_write(testtable.table, i == 0 ? testtable.file : child, &byte, 1, TABLE,
                                   BDRV_TABLE_PRIMARY));
    }
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert_int_eq(testtable.ram->bytes[TABLE], 10);
    ck_assert_int_eq(second->bytes[TABLE], 11);
    testtable_reopen(0); /* without the child */
    ram_free(second);
}
END_TEST

/* ---------------------------------------------------------- order of a flush */

START_TEST(entry_is_written_by_a_flush_only_and_after_the_data)
{
    write_data();
    set(TABLE, 1);
    ck_assert_uint_eq(entry_on_disk(TABLE), 0);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w8192+512 f");
    ck_assert_uint_eq(entry_on_disk(TABLE), 1);
}
END_TEST

START_TEST(clean_table_costs_one_barrier)
{
    entry(TABLE);
    write_data();
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f");
}
END_TEST

START_TEST(redundant_copies_are_written_before_primaries)
{
    write_data();
    set(TABLE, 1);
    set(TABLE + 6 * PAGE, 1);
    set_redundant(TABLE + 4 * PAGE, 1);
    set_redundant(TABLE + 2 * PAGE, 1);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w9216+512 w10240+512 w8192+512 w11264+512 f");
}
END_TEST

START_TEST(sector_of_both_orders_is_written_once_and_late)
{
    write_data();
    set_redundant(TABLE, 1);
    set(TABLE + 4, 2);
    set_redundant(TABLE + 2 * PAGE, 3);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w9216+512 w8192+512 f");
    ck_assert_uint_eq(entry_on_disk(TABLE), 1);
    ck_assert_uint_eq(entry_on_disk(TABLE + 4), 2);
}
END_TEST

START_TEST(neighbouring_sectors_are_one_write_but_orders_are_not_mixed)
{
    write_data();
    set(TABLE + 2048 - 4, 1);
    set(TABLE + 2048, 1);
    set(TABLE + 2048 + 508, 1);
    set(TABLE + 2048 + 512, 1);
    set_redundant(TABLE + 2048 - 1024, 1);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w9216+512 w9728+1536 f");
}
END_TEST

START_TEST(flushed_entries_are_not_written_again)
{
    set(TABLE, 1);
    assert_ok(bdrv_table_flush(testtable.table));
    set(TABLE + 1024, 1);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "w9216+512 f");
}
END_TEST

START_TEST(flush_does_not_extend_a_file_that_ends_within_a_sector)
{
    assert_ok(bdrv_pwrite(testtable.file, "0123456789", 10, SIZE));
    assert_ok(bdrv_table_write(testtable.table, testtable.file, "x", 1, SIZE + 9, BDRV_TABLE_PRIMARY));
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert_int_eq(testtable.ram->length, SIZE + 10);
    ck_assert_mem_eq(testtable.ram->bytes + SIZE, "012345678x", 10);
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
    testtable.ram->before = hook;
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert(testtable.ram->before == NULL);
    ck_assert_uint_eq(entry_on_disk(TABLE), 1);
    ck_assert_uint_eq(entry_on_disk(TABLE + 4), 0);
    ck_assert_uint_eq(entry(TABLE + 4), 2);
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert_uint_eq(entry_on_disk(TABLE + 4), 2);
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
    testtable_reopen(TINY);
    write_data();
    set(TABLE, 1);
    testtable.ram->before = evict_at_first_flush;
    assert_ok(bdrv_table_flush(testtable.table));
    ck_assert(testtable.ram->before == NULL);
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
        assert_ok(bdrv_table_flush(testtable.table));
        evict_all();
    }
    return 0;
}

START_TEST(page_that_became_stale_while_it_was_read_is_read_again)
{
    testtable_reopen(TINY);
    testtable.ram->after = overtake_the_read;
    ck_assert_uint_eq(entry(TABLE), 1);
}
END_TEST

START_TEST(long_piece_that_became_stale_while_it_was_read_is_read_again)
{
    uint8_t bytes[3 * PAGE];

    testtable_reopen(TINY);
    testtable.ram->after = overtake_the_read;
    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, sizeof bytes, TABLE));
    ck_assert_uint_eq(bdrv_load_le32(bytes), 1);
}
END_TEST

static int refresh_after_the_read(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_READ && call->offset == TABLE) {
        where->after = NULL;
        assert_ok(bdrv_table_fresh(testtable.table, testtable.file, 512, TABLE));
    }
    return 0;
}

START_TEST(page_that_was_made_fresh_while_it_was_read_is_read_again)
{
    bdrv_store_le32(testtable.ram->bytes + TABLE, 1);
    testtable.ram->after = refresh_after_the_read;
    ck_assert_uint_eq(entry(TABLE), 0);
}
END_TEST

/* ---------------------------------------------------------------- failures */

/* One failing call: 0 first barrier, 1 and 2 the writes, 3 second barrier. */
START_TEST(after_a_failed_flush_the_next_writes_everything)
{
    write_data();
    set_redundant(TABLE, 1);
    set(TABLE + 2 * PAGE, 1);
    calls_until_failure = _i;
    testtable.ram->before = fail_one;
    assert_fails(bdrv_table_flush(testtable.table), -EIO);
    ck_assert_uint_eq(entry_on_disk(TABLE + 2 * PAGE), _i == 3 ? 1 : 0);
    ck_assert_uint_eq(entry(TABLE + 2 * PAGE), 1);
    testtable.ram->before = NULL;
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w8192+512 w9216+512 f");
    ck_assert_uint_eq(entry_on_disk(TABLE), 1);
    ck_assert_uint_eq(entry_on_disk(TABLE + 2 * PAGE), 1);
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
    testtable.ram->before = change_and_fail;
    assert_fails(bdrv_table_flush(testtable.table), -EIO);
    ram_clear(testtable.ram);
    assert_ok(bdrv_table_flush(testtable.table));
    ram_assert_calls(testtable.ram, "f w8192+1536 f");
    ck_assert_uint_eq(entry_on_disk(TABLE), 2);
    ck_assert_uint_eq(entry_on_disk(TABLE + 512), 3);
    ck_assert_uint_eq(entry_on_disk(TABLE + 1024), 1);
}
END_TEST

/* ------------------------------------------------------------------- suite */

Suite *test_suite(void)
{
    const TTest *const reading[] = {
        reads_what_the_file_holds,
        hit_makes_no_call,
        reads_an_entry_that_lies_in_two_pages,
        reads_more_than_the_budget_in_one_call,
        long_piece_is_read_in_one_call_and_leaves_no_pages,
        long_piece_keeps_changes_in_a_page_in_which_the_file_ended,
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
        long_piece_that_became_stale_while_it_was_read_is_read_again,
        page_that_was_made_fresh_while_it_was_read_is_read_again,
        changes_during_a_failed_flush_are_newer_than_what_it_took,
        NULL,
    };
    Suite *suite = suite_create("table");

    testtable_add_case(suite, "reading", reading);
    tcase_add_loop_test(testtable_add_case(suite, "order", order),
                        after_a_failed_flush_the_next_writes_everything, 0, 4);
    return suite;
}
