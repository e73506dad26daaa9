/* SPDX-License-Identifier: MIT */
/*
 * testmap.h - a format to test BdrvClusters with: the driver "testmap", whose
 * map is an array in memory and whose clusters lie one after the other in a
 * Ram.  Its disk begins with BEFORE bytes that the map does not cover, as an
 * extent in the middle of a disk does; all offsets here count from the map's
 * beginning.
 */
#ifndef TESTS_LIB_TESTMAP_H
#define TESTS_LIB_TESTMAP_H

#include <pthread.h>

#include "bdrv-driver.h"
#include "ram.h"
#include "suite.h"

enum {
    BEFORE = 512,
    CLUSTER = 4096,
    CLUSTERS_MAX = 512,
    ROOM = 1024 * 1024, /* where the first cluster goes in the file */
    RAM_BYTES = 3 * 1024 * 1024,
    /* Of the bytes that show through from the backing image, and of junk that lies in
     * room that is not zeroed. */
    PARENT = 0xbb,
    JUNK = 0xee
};

/* How the next "testmap" behaves; each test starts with a plain one. */
typedef struct TestMapShape {
    int64_t cluster_size;
    int64_t length;
    int64_t backing_length; /* < 0: none */
    int zeroed;             /* room reads as zeros */
    int64_t reserve_most;   /* clusters in one piece */
    int enter_zero;         /* what it returns, or 1: works, or 0: is NULL */
    int failing_reserve;    /* -errno */
    int failing_enter;
    unsigned flags; /* to open with, besides BDRV_O_RDWR */
} TestMapShape;

/* Its state, open to be looked at and set. */
typedef struct Map {
    BdrvClusters *clusters;
    BdrvClustersConfig config;
    BdrvClusterOps ops;
    pthread_mutex_t lock;
    struct {
        BdrvState state;
        int compressed;
        int64_t file_offset;
    } entries[CLUSTERS_MAX];
    int64_t next; /* in the file, to be reserved */
    int64_t lie; /* not 0: the run length lookup tells */
    int reserves, enters, zero_enters;
} Map;

typedef struct TestMap {
    TestMapShape shape;
    /* After testmap_open(): */
    Ram *ram;
    Ram *parent; /* NULL: there is none */
    BlockDriverState *bs;
    Map *map;
} TestMap;

/* The one of the running test. */
extern TestMap testmap;

/* Adds a case whose tests each get a new one: with a plain shape, not open. */
TCase *testmap_add_case(Suite *suite, const char *name, const TTest *const *tests);

/* To be called when the test has set the shape. */
void testmap_open(void);

void map_set(Map *map, int64_t number, BdrvState state, int64_t file_offset);

/* Writes bytes of that value, or zeros. */
int try_fill(int value, int64_t offset, int64_t bytes);
void fill(int value, int64_t offset, int64_t bytes);
void zero(int64_t offset, int64_t bytes);

/* All bytes, in the buffer (read at offset), on the disk or in the file, have that value. */
void assert_bytes(const uint8_t *found, int value, int64_t offset, int64_t bytes);
void assert_disk(int value, int64_t offset, int64_t bytes);
void assert_file(int value, int64_t offset, int64_t bytes);

/* How often the driver was asked so far. */
void assert_work(int reserves, int enters, int zero_enters);

#endif
