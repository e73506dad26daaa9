/* SPDX-License-Identifier: MIT */
/*
 * probe.c - which format are these bytes?  Every driver scores the head and
 * the tail of the file; the highest score wins, a tie is refused with both
 * names.  raw scores 1, so it is what is left; a name alone decides nothing.
 */
#include <stdlib.h>

#include "block_int.h"

enum {
    PROBE_HEAD = 64 * 1024, /* room for a header and what it points at nearby */
    PROBE_TAIL = 4 * 1024   /* trailers: VHD 512 bytes, DMG 512 */
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
    return 0;
}

int bdrv_probe_node(BlockDriverState *file, const BlockDriver **driver)
{
    uint8_t *samples = malloc(PROBE_HEAD + PROBE_TAIL);
    BdrvProbe probe;
    int ret;

    if (!samples) {
        return -ENOMEM;
    }
    ret = read_samples(file, &probe, samples);
    if (ret == 0) {
        ret = best_driver(&probe, file, driver);
    }
    free(samples);
    return ret;
}

int bdrv_probe(const char *filename, const char **format)
{
    const BlockDriver *driver = NULL;
    BlockDriverState *file;
    int ret;

    bdrv_call_begin();
    ret = filename && format ? bdrv_open(&file, filename, "file", NULL) : -EINVAL;
    if (ret == 0) {
        ret = bdrv_probe_node(file, &driver);
        bdrv_close(file);
    }
    if (ret == 0) {
        *format = driver->name;
    }
    return bdrv_call_end(NULL, ret, "cannot probe");
}
