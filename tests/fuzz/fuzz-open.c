/* SPDX-License-Identifier: MIT */
/*
 * fuzz-open.c - any bytes, taken for an image of every format.
 *
 * Nothing may crash, hang, leak or read outside its buffers (the sanitizers
 * watch), every failure must leave a message, and three promises are checked:
 * runs tile what was asked, what is told as zeros reads as zeros, and what was
 * written reads back.
 *
 *     libFuzzer:  clang -fsanitize=fuzzer,address,undefined -DFUZZ_LIBFUZZER …
 *     AFL, gcc:   compile as it is; main() runs the files it is given, or stdin
 *
 * t-corpus.c runs it on images that our own drivers made, and on mutations of
 * them, in `make check`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MOST_RUNS = 200,        /* of a disk that may claim to be endless */
    MOST_STORAGE = 1 << 20, /* how far a file may grow */
    PLACES = 12,
    PIECE = 4096,
    TABLE_BYTES = 256 * 1024
};

#define REQUIRE(condition, text)                                               \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "broken promise: %s (%s)\n", text, bdrv_errmsg()); \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* ------------------------------------------------------------ the storage */

typedef struct Storage {
    uint8_t *bytes; /* MOST_STORAGE if it can be written, else size */
    int64_t size;
} Storage;

static int storage_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    const Storage *storage = opaque;
    if (offset < 0 || offset > storage->size ||
        (int64_t)bytes > storage->size - offset) {
        return -EIO;
    }
    memcpy(buf, storage->bytes + offset, bytes);
    return 0;
}

static int64_t storage_getlength(void *opaque)
{
    const Storage *storage = opaque;
    return storage->size;
}

static int storage_truncate(void *opaque, int64_t length)
{
    Storage *storage = opaque;
    if (length > MOST_STORAGE) {
        return -ENOSPC;
    }
    if (length > storage->size) {
        memset(storage->bytes + storage->size, 0,
               (size_t)(length - storage->size));
    }
    storage->size = length;
    return 0;
}

static int storage_write(void *opaque, const void *buf, size_t bytes,
                         int64_t offset)
{
    Storage *storage = opaque;
    if (offset > MOST_STORAGE || (int64_t)bytes > MOST_STORAGE - offset) {
        return -ENOSPC;
    }
    int64_t end = offset + (int64_t)bytes;
    int result = end > storage->size ? storage_truncate(storage, end) : 0;
    if (result == 0) {
        memcpy(storage->bytes + offset, buf, bytes);
    }
    return result;
}

/* Whatever an image names is the image again. */
static int storage_open_other(void *opaque, const char *name, int writable,
                              BdrvIo *io, void **other_opaque)
{
    (void)name;
    *io = (BdrvIo){
        .struct_size = sizeof(*io),
        .read = storage_read,
        .write = writable ? storage_write : NULL,
        .getlength = storage_getlength,
        .truncate = writable ? storage_truncate : NULL,
        .open_other = storage_open_other,
    };
    *other_opaque = opaque;
    return 0;
}

static int open_storage(BlockDriverState **bs, Storage *storage,
                        const char *format, unsigned flags)
{
    BdrvIo io;
    void *opaque;
    const BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = flags, .max_depth = 3,
        .table_bytes = TABLE_BYTES,
    };
    storage_open_other(storage, "", (flags & BDRV_O_RDWR) != 0, &io, &opaque);
    int result = bdrv_open_io(bs, "fuzz", &io, opaque, format, &options);
    REQUIRE(result <= 0, "open returns 0 or a negative errno");
    REQUIRE(result == 0 || *bs == NULL, "failed open gives NULL");
    REQUIRE(result == 0 || bdrv_errmsg()[0] != '\0', "failure has a message");
    return result;
}

/* --------------------------------------------------------- what is tried */

/* Places all over the disk; the last are its end and what lies behind. */
static int64_t place(int64_t length, int i)
{
    static const int64_t first[] = { 0, 1, 511, 65536, 131071, 2097152 };
    enum { FIRST = sizeof(first) / sizeof(first[0]) };
    return i < FIRST ? first[i] : length / (PLACES - FIRST) * (i - FIRST + 1) - 1;
}

static void ignore_detail(void *opaque, const BdrvDetail *detail)
{
    (void)opaque, (void)detail;
}

static void look(BlockDriverState *bs)
{
    BdrvInfo info = { .struct_size = sizeof(info) };
    BdrvGeometry geometry;
    REQUIRE(bdrv_getlength(bs) >= 0, "length is not negative");
    bdrv_get_info(bs, &info);
    bdrv_get_geometry(bs, &geometry);
    bdrv_get_details(bs, ignore_detail, NULL);
}

static void check_zeros(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    uint8_t buf[PIECE];
    size_t count = bytes < PIECE ? (size_t)bytes : PIECE;
    if (bdrv_pread(bs, buf, count, offset) == 0) {
        for (size_t i = 0; i < count; i++) {
            REQUIRE(buf[i] == 0, "what is told as zeros reads as zeros");
        }
    }
}

static void walk(BlockDriverState *bs)
{
    int64_t length = bdrv_getlength(bs);
    int64_t at = 0;
    for (int i = 0; i < MOST_RUNS && at < length; i++) {
        BdrvExtent extent;
        if (bdrv_map(bs, at, length - at, &extent) != 0) {
            at += 65536;
            continue;
        }
        REQUIRE(extent.bytes >= 1 && extent.bytes <= length - at,
                "a run has 1 byte to what was asked");
        if (extent.state != BDRV_DATA) {
            check_zeros(bs, at, extent.bytes);
        }
        at += extent.bytes;
    }
}

static void read_around(BlockDriverState *bs)
{
    uint8_t buf[PIECE];
    int64_t length = bdrv_getlength(bs);
    for (int i = 0; i < PLACES; i++) {
        int result = bdrv_pread(bs, buf, sizeof(buf), place(length, i));
        REQUIRE(result <= 0, "read returns 0 or a negative errno");
        bdrv_read(bs, place(length, i) / BDRV_SECTOR_SIZE, buf, 1);
    }
}

/* One sector at a time: a broken image may keep two clusters in one place. */
static void write_around(BlockDriverState *bs)
{
    int64_t sectors = bdrv_getlength(bs) / BDRV_SECTOR_SIZE;
    for (int i = 0; i < PLACES && sectors > 0; i++) {
        uint8_t out[BDRV_SECTOR_SIZE];
        uint8_t in[BDRV_SECTOR_SIZE];
        int64_t sector = place(sectors, i) % sectors;
        memset(out, 0xa0 + i, sizeof(out));
        if (sector >= 0 && bdrv_write(bs, sector, out, 1) == 0 &&
            bdrv_read(bs, sector, in, 1) == 0) {
            REQUIRE(memcmp(in, out, sizeof(in)) == 0,
                    "what was written reads back");
        }
    }
    bdrv_write_zeroes(bs, 0, bdrv_getlength(bs) < 200000 ? bdrv_getlength(bs)
                                                         : 200000);
    bdrv_discard(bs, 0, bdrv_getlength(bs) < 200000 ? bdrv_getlength(bs)
                                                    : 200000);
    bdrv_flush(bs);
}

static void try_reading(const uint8_t *data, size_t size, const char *format)
{
    /* A copy of the exact size: an overrun is seen. */
    Storage storage = { .bytes = malloc(size + 1), .size = (int64_t)size };
    BlockDriverState *bs;
    if (storage.bytes == NULL) {
        return;
    }
    memcpy(storage.bytes, data, size);
    if (open_storage(&bs, &storage, format, 0) == 0) {
        look(bs);
        walk(bs);
        read_around(bs);
        bdrv_close(bs);
    }
    free(storage.bytes);
}

static void try_writing(const uint8_t *data, size_t size, const char *format)
{
    Storage storage = { .bytes = calloc(1, MOST_STORAGE), .size = (int64_t)size };
    BlockDriverState *bs;
    if (storage.bytes == NULL) {
        return;
    }
    memcpy(storage.bytes, data, size);
    if (open_storage(&bs, &storage, format, BDRV_O_RDWR) == 0) {
        write_around(bs);
        bdrv_close(bs);
    }
    if (open_storage(&bs, &storage, format, 0) == 0) {
        read_around(bs);
        bdrv_close(bs);
    }
    free(storage.bytes);
}

static void try_checking(const uint8_t *data, size_t size, const char *format)
{
    static const unsigned repairs[] = { 0, BDRV_CHECK_REPAIR_ALL };
    Storage storage = { .bytes = calloc(1, MOST_STORAGE), .size = (int64_t)size };
    BlockDriverState *bs;
    if (storage.bytes == NULL) {
        return;
    }
    memcpy(storage.bytes, data, size);
    for (int i = 0; i < 2; i++) {
        const BdrvCheckOptions options = {
            .struct_size = sizeof(options), .flags = repairs[i],
        };
        BdrvCheckResult result = { .struct_size = sizeof(result) };
        unsigned flags = BDRV_O_CHECK | (repairs[i] != 0 ? BDRV_O_RDWR : 0u);
        if (open_storage(&bs, &storage, format, flags) == 0) {
            bdrv_check(bs, &options, &result);
            bdrv_close(bs);
        }
    }
    free(storage.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MOST_STORAGE / 2) {
        return 0;
    }
    try_reading(data, size, NULL);
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = { .struct_size = sizeof(info) };
        if (bdrv_driver_describe(d, &info) == 0 && !info.is_protocol) {
            try_reading(data, size, info.name);
            try_writing(data, size, info.name);
            try_checking(data, size, info.name);
        }
    }
    return 0;
}

#ifndef FUZZ_LIBFUZZER

static int run_file(FILE *file)
{
    uint8_t *data = malloc(MOST_STORAGE);
    if (data == NULL) {
        return 1;
    }
    size_t size = fread(data, 1, MOST_STORAGE, file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int result = argc < 2 ? run_file(stdin) : 0;
    for (int i = 1; i < argc && result == 0; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        result = run_file(file);
        fclose(file);
    }
    return result;
}

#endif
