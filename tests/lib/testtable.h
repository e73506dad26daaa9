/* SPDX-License-Identifier: MIT */
/*
 * testtable.h - what the tests of BdrvTable run on: a table over a raw image in
 * a Ram, of which the table sees the file.
 *
 *     0            TABLE                 DATA                  SIZE
 *     │  unused    │  the tables         │  "clusters"         │
 */
#ifndef TESTS_LIB_TESTTABLE_H
#define TESTS_LIB_TESTTABLE_H

#include "bdrv-driver.h"
#include "ram.h"
#include "suite.h"

enum {
    PAGE = 512,
    TABLE = 8192,
    TABLE_BYTES = 128 * PAGE,
    DATA = TABLE + TABLE_BYTES,
    SIZE = DATA + TABLE_BYTES,
    TINY = 1, /* a budget: the smallest there is */
    TINY_PAGES = 32
};

typedef struct TestTable {
    Ram *ram; /* grows up to 2 * SIZE */
    BlockDriverState *bs;
    BlockDriverState *file;
    BdrvTable *table;
} TestTable;

/* The one of the running test. */
extern TestTable testtable;

/* Adds a case whose tests each get a new one. */
TCase *testtable_add_case(Suite *suite, const char *name, const TTest *const *tests);

/* Starts over on the same bytes, with another budget. */
void testtable_reopen(size_t budget);

/* One entry: 4 bytes, little-endian, at any offset. */
uint32_t entry(int64_t offset);
uint32_t entry_on_disk(int64_t offset);
int try_set(int64_t offset, uint32_t value, BdrvTableOrder order);
void set(int64_t offset, uint32_t value); /* as primary */
void set_redundant(int64_t offset, uint32_t value);

/* Leaves the file with something to flush. */
void write_data(void);

/* A hook: the call to the storage after so many others fails with -EIO. */
extern int calls_until_failure;
int fail_one(Ram *ram, const RamCall *call);

#endif
