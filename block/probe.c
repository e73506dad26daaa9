/* SPDX-License-Identifier: MIT */
/*
 * probe.c - which format are these bytes?  Every driver scores the head and
 * the tail of the file; the highest score wins, a tie is refused with both
 * names.  raw scores 1, so it is what is left; a name alone decides nothing.
 * And the guard over images whose format was only guessed so.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

enum {
    PROBE_HEAD = 64 * 1024, /* room for a header and what it points at nearby */
    PROBE_TAIL = 4 * 1024,  /* trailers: VHD 512 bytes, DMG 512 */
    SCORE_ANYTHING = 1      /* raw's: nothing was recognised */
};

static int read_samples(BlockDriverState *file, BdrvProbe *probe, uint8_t *samples)
{
    int64_t length = bdrv_getlength(file);
    int ret;

    probe->file_size = length;
    probe->filename = bdrv_filename(file);
    probe->head = samples;
    probe->head_size = (size_t)bdrv_min(length, PROBE_HEAD);
    probe->tail = samples + PROBE_HEAD;
    probe->tail_size = (size_t)bdrv_min(length, PROBE_TAIL);
    ret = bdrv_pread(file, samples, probe->head_size, 0);
    if (ret < 0) {
        return ret;
    }
    return bdrv_pread(file, samples + PROBE_HEAD, probe->tail_size,
                      length - (int64_t)probe->tail_size);
}

/* *driver becomes the one with the highest score, which is returned. */
static int best_driver(const BdrvProbe *probe, BlockDriverState *file,
                       const BlockDriver **driver)
{
    const BlockDriver *best = NULL, *equal = NULL;
    int highest = 0;

    for (const BlockDriver *d = bdrv_next(NULL); d; d = bdrv_next(d)) {
        int score = d->flags & (BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_FILTER) ? 0
                                                                           : d->probe(probe);
        if (score > highest) {
            highest = score;
            best = d;
            equal = NULL;
        } else if (score > 0 && score == highest) {
            equal = d;
        }
    }
    if (!best) {
        return bdrv_error(file, -EINVAL, "no driver knows this format");
    }
    if (equal) {
        return bdrv_error(file, -EINVAL, "this is as likely %s as %s: name the format",
                          best->name, equal->name);
    }
    *driver = best;
    return highest;
}

/* What the user is about to do to the samples that were read. */
typedef void ChangeFn(BdrvProbe *probe, uint8_t *samples, const void *opaque);

/* The driver of the file, as read or, where change is not NULL, as changed; *score
 * becomes its score, or -errno if none is the best. */
static int probe(BlockDriverState *file, const BlockDriver **driver, int *score,
                 ChangeFn *change, const void *opaque)
{
    uint8_t *samples = malloc(PROBE_HEAD + PROBE_TAIL);
    BdrvProbe seen;
    int ret;

    if (!samples) {
        return -ENOMEM;
    }
    ret = read_samples(file, &seen, samples);
    if (ret == 0 && change) {
        change(&seen, samples, opaque);
    }
    if (ret == 0) {
        *score = best_driver(&seen, file, driver);
    }
    free(samples);
    return ret;
}

int bdrv_probe_node(BlockDriverState *file, const BlockDriver **driver, int *is_guess)
{
    int score = 0;
    int ret = probe(file, driver, &score, NULL, NULL);

    *is_guess = ret == 0 && score == SCORE_ANYTHING;
    return ret < 0 ? ret : score < 0 ? score : 0;
}

/* ------------------------------------------------------------------- guard
 *
 * The guest of a raw disk may write whatever it likes, also the header of another
 * format that names files of the host.  Where the format was only guessed, the
 * next open would take it for that format: so such a write is refused.  What is
 * tried out is the file as it would be; one such write goes on at a time, so that
 * two together do not make what neither alone does. */

/* Does the write change what a probe looks at? */
static int is_watched(BlockDriverState *bs, int64_t bytes, int64_t offset)
{
    return offset < PROBE_HEAD || offset + bytes > bdrv_getlength(bs) - PROBE_TAIL;
}

typedef struct Write {
    const BdrvIovec *bytes; /* base NULL: zeros */
    int64_t offset;         /* in the file */
} Write;

/* The part of the write that falls into the sample of size bytes at start. */
static void lay_over(uint8_t *sample, int64_t start, size_t size, const Write *write)
{
    const BdrvIovec *bytes = write->bytes;
    int64_t from = bdrv_max(write->offset, start);
    int64_t to = bdrv_min(write->offset + (int64_t)bytes->bytes, start + (int64_t)size);

    if (from >= to) {
        return;
    }
    if (bytes->base) {
        memcpy(sample + (from - start), (const uint8_t *)bytes->base + (from - write->offset),
               (size_t)(to - from));
    } else {
        memset(sample + (from - start), 0, (size_t)(to - from));
    }
}

static void lay_over_both(BdrvProbe *seen, uint8_t *samples, const void *opaque)
{
    lay_over(samples, 0, seen->head_size, opaque);
    lay_over(samples + PROBE_HEAD, seen->file_size - (int64_t)seen->tail_size, seen->tail_size,
             opaque);
}

/* The driver that the file would be taken for after the write; NULL: for none, or
 * several. */
static int probe_after(BlockDriverState *file, const BdrvIovec *bytes, int64_t offset,
                       const BlockDriver **driver)
{
    const Write write = {bytes, offset};
    int score = 0;
    int ret = probe(file, driver, &score, lay_over_both, &write);

    *driver = score < 0 ? NULL : *driver;
    return ret;
}

static int check_guess(BlockDriverState *bs, const BdrvIovec *write, int64_t offset)
{
    const BlockDriver *driver = NULL;
    BdrvExtent place;
    int ret = bdrv_is_allocated(bs, offset, (int64_t)write->bytes, &place);

    if (ret == 0) {
        ret = probe_after(bs->file, write, place.file ? place.file_offset : offset, &driver);
    }
    if (ret < 0 || driver == bs->driver) {
        return ret;
    }
    return bdrv_error(bs, -EPERM, "was taken for %s because nothing else was recognised; after "
                      "this write at offset %lld it would be taken for %s.  Name the format when "
                      "opening it (tools: -f %s) to write that", bs->driver->name,
                      (long long)offset, driver ? driver->name : "several formats",
                      bs->driver->name);
}

int bdrv_guard_enter(BlockDriverState *bs, const void *buf, int64_t bytes, int64_t offset,
                     int *watched)
{
    BdrvIovec write = {.base = (void *)(uintptr_t)buf, .bytes = (size_t)bytes};
    int ret;

    *watched = bs->is_guess && is_watched(bs, bytes, offset);
    if (!*watched) {
        return 0;
    }
    pthread_mutex_lock(&bs->guard);
    ret = check_guess(bs, &write, offset);
    if (ret < 0) {
        pthread_mutex_unlock(&bs->guard);
    }
    return ret;
}

void bdrv_guard_leave(BlockDriverState *bs, int watched)
{
    if (watched) {
        pthread_mutex_unlock(&bs->guard);
    }
}

/* -------------------------------------------------------------------- user */

int bdrv_probe(const char *filename, const char **format)
{
    const BlockDriver *driver = NULL;
    BlockDriverState *file;
    int ret, is_guess;

    bdrv_call_begin();
    ret = filename && format ? bdrv_open(&file, filename, "file", NULL) : -EINVAL;
    if (ret == 0) {
        ret = bdrv_probe_node(file, &driver, &is_guess);
        bdrv_close(file);
    }
    if (ret == 0) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set where bdrv_probe_node() succeeds */
        *format = driver->name;
    }
    return bdrv_call_end(NULL, ret, "cannot probe");
}
