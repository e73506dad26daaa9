/* SPDX-License-Identifier: MIT */
/*
 * ram.h - caller-supplied storage (BdrvIo) in memory, whose calls a test can
 * count, watch and interrupt: the hooks run in the midst of a request, under no
 * lock, so that a test can do there what another thread might do just then.
 */
#ifndef TESTS_LIB_RAM_H
#define TESTS_LIB_RAM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "bdrv.h"

enum {
    RAM_CALLS_MAX = 512 /* as many are kept */
};

typedef enum RamOperation {
    RAM_READ,
    RAM_WRITE,
    RAM_FLUSH
} RamOperation;

typedef struct RamCall {
    RamOperation operation;
    int64_t offset;
    int64_t bytes;
    const uint8_t *data; /* RAM_WRITE, in hooks only; else NULL */
} RamCall;

typedef struct Ram Ram;

/* Before the call takes place: 0, or a negative errno, with which it then fails.  After:
 * the result is ignored. */
typedef int RamHook(Ram *ram, const RamCall *call);

struct Ram {
    uint8_t *bytes;
    int64_t length;
    int64_t capacity; /* -ENOSPC beyond */
    Ram *other;       /* what an image on it finds under any name; NULL: -ENOENT */
    RamHook *before;  /* NULL: nothing */
    RamHook *after;
    void *opaque; /* for the hooks */
    size_t count; /* of calls since ram_clear(), failed ones too */
    RamCall calls[RAM_CALLS_MAX];
    pthread_mutex_t lock; /* of bytes, length, count and calls */
};

/* Zeros. */
Ram *ram_new(int64_t length, int64_t capacity);
void ram_free(Ram *ram);

/* A handle on it, as bdrv_open_io() makes it. */
BlockDriverState *ram_open(Ram *ram, const char *format, const BdrvOpenOptions *options);

/* Forgets the calls. */
void ram_clear(Ram *ram);
/* How many there were of one operation. */
size_t ram_count(Ram *ram, RamOperation operation);

/* The calls were these and no others: "w512+1024 f r0+4096" is a write of 1024 bytes at 512,
 * a flush, and a read. */
void ram_assert_calls(Ram *ram, const char *wanted);

#endif
