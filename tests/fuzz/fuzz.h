/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzz targets share: the table of them, files in memory for
 * hostile images to lie in, ways to open such an image, and what must always
 * hold.
 *
 *     main.c     one program; the name it is called by chooses the target
 *     fuzz-*.c   one target each: any bytes in, broken promises abort
 *     store.c    files in memory     ways.c  an image opened in all its roles
 *     seeds.c    small valid images  fields.c  images changed where it matters
 *
 * All targets but "descriptor" and "change" take the same input, an image: they
 * share a corpus, and any real image is one of it.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bdrv.h"

/* ------------------------------------------------------------------ targets */

typedef void FuzzTarget(const uint8_t *data, size_t size);

/* fuzz-open.c: opened as every format, described, mapped, read. */
FuzzTarget fuzz_open;
/* fuzz-descriptor.c: a text, taken for a descriptor beside files of every kind. */
FuzzTarget fuzz_descriptor;
/* fuzz-stream.c: read through a pipe, and the same at random: no difference. */
FuzzTarget fuzz_stream;
/* fuzz-check.c: checked and repaired; what could be read reads the same. */
FuzzTarget fuzz_check;
/* fuzz-write.c: written to, if it lets itself; that is there and nothing else. */
FuzzTarget fuzz_write;
/* fuzz-change.c: a program of changes to a valid image, then all of the above. */
FuzzTarget fuzz_change;

typedef struct FuzzEntry {
    const char *name;
    FuzzTarget *run;
} FuzzEntry;

extern const FuzzEntry fuzz_targets[]; /* ended by a NULL name */

/* When a promise is broken: says which, and ends the program. */
_Noreturn void fuzz_broken(const char *promise, const char *file, int line);

#define REQUIRE(condition, promise) \
    ((condition) ? (void)0 : fuzz_broken(promise, __FILE__, __LINE__))

/* A stream of numbers that depends on nothing but where it began. */
typedef struct FuzzRandom {
    uint64_t state;
} FuzzRandom;

/* Begins with what the bytes are, so that an input always does the same. */
FuzzRandom fuzz_random_from(const uint8_t *bytes, size_t size);
uint32_t fuzz_random(FuzzRandom *random);
/* 0 to below - 1; below > 0. */
int64_t fuzz_random_below(FuzzRandom *random, int64_t below);

/* ------------------------------------------------------------------ store.c
 *
 * Files in memory, by name.  They cost what is not zero in them, so that their
 * length may be anything; together they hold STORE_BYTES. */

enum {
    STORE_PAGE = 4096,
    STORE_PAGES = 512,
    STORE_BYTES = STORE_PAGE * STORE_PAGES,
    STORE_FILES = 10,
    STORE_HEAD = 64 * 1024 /* of a pipe: what may be read again */
};

typedef struct Store Store;

typedef struct StoreFile {
    Store *store;
    const char *name; /* NULL: whatever it is called */
    int64_t length;
    int64_t writes;   /* how often it was modified */
    int is_pipe;      /* can only be read, in order, and its length is not known */
    int64_t position; /* of a pipe */
} StoreFile;

/* The one store there is, empty. */
Store *store_new(void);
/* And another one. */
Store *store_second(void);
/* NULL: there are STORE_FILES, or there is no room. */
StoreFile *store_add(Store *store, const char *name, const void *bytes, size_t size);
StoreFile *store_file(Store *store, size_t index);
/* How often any of them was modified. */
int64_t store_writes(const Store *store);

void store_io(StoreFile *file, int writable, BdrvIo *io);

/* ------------------------------------------------------------------- ways.c */

/* The roles in which bytes can come to a driver. */
typedef struct FuzzWay {
    const char *format;  /* NULL: probed */
    const char *options; /* NULL: none */
    const char *kind;    /* not NULL: as an extent of that kind, under a descriptor */
} FuzzWay;

/* The i-th; 0: there are no more. */
int fuzz_way(size_t i, FuzzWay *way);

/* The same without those that are not worth writing to, and with one of each
 * format. */
int fuzz_way_to_write(size_t i, FuzzWay *way);

/* Puts the image into the store as it is wanted, and a parent that it can name.  File
 * 0 is the one to be opened.  0: it does not fit. */
int fuzz_put(Store *store, const FuzzWay *way, const uint8_t *data, size_t size);

/* Opens file 0.  As bdrv_open(), whose promises are checked. */
int fuzz_open_store(BlockDriverState **bs, Store *store, const FuzzWay *way, unsigned flags);

/* For bdrv_check(): shows what is found, if FUZZ_SAYS is in the environment. */
void fuzz_say_finding(void *opaque, const BdrvFinding *finding);

/* ---- what must hold of any open image ---- */

enum {
    FUZZ_PIECE = 4096
};

/* What it tells about itself; runs tile the disk, and zeros are zeros; reads
 * anywhere. */
void fuzz_look(BlockDriverState *bs);

/* Some offsets all over a disk of that length: its ends, borders and between. */
enum {
    FUZZ_PLACES = 12
};
int64_t fuzz_place(int64_t length, int i);

/* The pieces of a disk as somebody has read them: the first ones, and some all
 * over it. */
enum {
    FUZZ_SAMPLES = 160
};

typedef struct FuzzReading {
    int count;
    int64_t offsets[FUZZ_SAMPLES];
    uint8_t readable[FUZZ_SAMPLES];
    uint8_t bytes[FUZZ_SAMPLES][FUZZ_PIECE];
} FuzzReading;

void fuzz_read_samples(BlockDriverState *bs, FuzzReading *reading);

/* ------------------------------------------------------------------ seeds.c */

typedef struct FuzzSeed {
    const char *name;
    uint8_t *bytes; /* to be freed */
    size_t size;
} FuzzSeed;

/* Makes the i-th small valid image; 0: there are no more.  bytes NULL: it cannot be
 * made. */
int fuzz_seed(size_t i, FuzzSeed *seed);
/* All that can, made once; NULL: there are no more. */
const FuzzSeed *fuzz_kept_seed(size_t i);
/* The i-th text for the target "descriptor"; NULL: there are no more. */
const char *fuzz_seed_text(size_t i);

/* ----------------------------------------------------------------- fields.c */

/* Where the numbers come from that choose a change: a byte string, and zeros
 * behind it. */
typedef struct FuzzChoices {
    const uint8_t *bytes;
    size_t size;
    size_t at;
} FuzzChoices;

uint32_t fuzz_choice(FuzzChoices *choices, uint32_t below);

/* Makes one change to an image: to a field of a header, an entry of a table, a
 * marker, a line of the descriptor; and sometimes to what must go with it.  The
 * new size, at most room. */
size_t fuzz_change_image(uint8_t *bytes, size_t size, size_t room, FuzzChoices *choices);
/* The same to a text. */
size_t fuzz_change_text(uint8_t *bytes, size_t size, size_t room, FuzzChoices *choices);

#endif
