/* SPDX-License-Identifier: MIT */
/*
 * testtable.c - a table to test.  See testtable.h.
 */
#include "testtable.h"

TestTable testtable;
int calls_until_failure;

static void open_table(size_t budget)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof options, .flags = BDRV_O_RDWR, .table_bytes = budget};

    testtable.bs = ram_open(testtable.ram, "raw", &options);
    testtable.file = bdrv_file(testtable.bs);
    assert_ok(bdrv_table_new(&testtable.table, testtable.bs));
    ram_clear(testtable.ram);
}

static void close_table(void)
{
    testtable.ram->before = NULL;
    testtable.ram->after = NULL;
    bdrv_table_free(testtable.table);
    assert_ok(bdrv_close(testtable.bs));
}

static void set_up(void)
{
    testtable.ram = ram_new(SIZE, 2 * SIZE);
    open_table(0);
}

static void tear_down(void)
{
    close_table();
    ram_free(testtable.ram);
}

TCase *testtable_add_case(Suite *suite, const char *name, const TTest *const *tests)
{
    TCase *tcase = suite_add_case(suite, name, tests, 120);

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    return tcase;
}

void testtable_reopen(size_t budget)
{
    close_table();
    open_table(budget);
}

uint32_t entry(int64_t offset)
{
    uint8_t bytes[4];

    assert_ok(bdrv_table_read(testtable.table, testtable.file, bytes, sizeof bytes, offset));
    return bdrv_load_le32(bytes);
}

uint32_t entry_on_disk(int64_t offset)
{
    return bdrv_load_le32(testtable.ram->bytes + offset);
}

int try_set(int64_t offset, uint32_t value, BdrvTableOrder order)
{
    uint8_t bytes[4];

    bdrv_store_le32(bytes, value);
    return bdrv_table_write(testtable.table, testtable.file, bytes, sizeof bytes, offset,
                            order);
}

void set(int64_t offset, uint32_t value)
{
    assert_ok(try_set(offset, value, BDRV_TABLE_PRIMARY));
}

void set_redundant(int64_t offset, uint32_t value)
{
    assert_ok(try_set(offset, value, BDRV_TABLE_REDUNDANT));
}

void write_data(void)
{
    assert_ok(bdrv_pwrite(testtable.file, "data", 4, DATA));
}

int fail_one(Ram *ram, const RamCall *call)
{
    (void)ram;
    (void)call;
    return calls_until_failure-- == 0 ? -EIO : 0;
}
