/* SPDX-License-Identifier: MIT */
/*
 * convert.c - bdrv_convert(): the content of one disk into another.
 *
 *     source ──bdrv_map──▶ runs ──▶ zeros: skipped, or written as zeros
 *                              └──▶ data: read ─▶ cut at zeros ─▶ written
 *
 * Walks forward once, with one buffer; what is known to be zero is neither
 * read nor, if the target is known to be zero, written.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

enum {
    CONVERT_BUFFER = 2 * 1024 * 1024, /* large enough that calls cost nothing */
    DEFAULT_SPARSE = 4096
};

typedef struct Conversion {
    BlockDriverState *source, *target;
    BdrvConvertOptions asked;
    int64_t length; /* of the source */
    uint8_t *buffer;
} Conversion;

static int report(const Conversion *c, int64_t done)
{
    if (c->asked.progress && c->asked.progress(c->asked.progress_opaque, done, c->length)) {
        return bdrv_error(c->target, -ECANCELED, "the conversion was stopped at byte %lld",
                          (long long)done);
    }
    return 0;
}

/* Compared with itself shifted by one: as fast as memcmp, which is vectorised. */
static int is_zero(const uint8_t *p, int64_t bytes)
{
    return p[0] == 0 && (bytes == 1 || memcmp(p, p + 1, (size_t)bytes - 1) == 0);
}

static int put_zeros(const Conversion *c, int64_t offset, int64_t bytes)
{
    if (c->asked.flags & BDRV_CONVERT_TARGET_IS_ZERO) {
        return 0;
    }
    return bdrv_write_zeroes(c->target, c->asked.target_offset + offset, bytes);
}

static int put_data(const Conversion *c, const uint8_t *data, int64_t offset, int64_t bytes)
{
    return bdrv_pwrite(c->target, data, (size_t)bytes, c->asked.target_offset + offset);
}

/* The piece at the front of data that is all zero, or has no zero unit: units
 * are aligned on the disk, so that the same content gives the same pieces. */
static int64_t next_piece(const Conversion *c, const uint8_t *data, int64_t offset,
                          int64_t bytes, int *zero)
{
    const int64_t unit = c->asked.sparse_size;
    int64_t piece = 0;

    while (piece < bytes) {
        int64_t step = bdrv_min(unit - (offset + piece) % unit, bytes - piece);
        int this_zero = is_zero(data + piece, step);

        if (piece == 0) {
            *zero = this_zero;
        } else if (*zero != this_zero) {
            break;
        }
        piece += step;
    }
    return piece;
}

static int put_sparse(const Conversion *c, const uint8_t *data, int64_t offset, int64_t bytes)
{
    int zero = 0, ret = 0;

    if (c->asked.sparse_size < 0) {
        return put_data(c, data, offset, bytes);
    }
    while (ret == 0 && bytes > 0) {
        int64_t piece = next_piece(c, data, offset, bytes, &zero);

        ret = zero ? put_zeros(c, offset, piece) : put_data(c, data, offset, piece);
        data += piece;
        offset += piece;
        bytes -= piece;
    }
    return ret;
}

static int copy_data(const Conversion *c, int64_t offset, int64_t bytes)
{
    int ret = 0;

    while (ret == 0 && bytes > 0) {
        /* Chunks end at multiples of the buffer's size, whatever the runs are. */
        int64_t chunk = bdrv_min(bytes, CONVERT_BUFFER - offset % CONVERT_BUFFER);

        ret = bdrv_pread(c->source, c->buffer, (size_t)chunk, offset);
        if (ret == 0) {
            ret = put_sparse(c, c->buffer, offset, chunk);
        }
        offset += chunk;
        bytes -= chunk;
        if (ret == 0) {
            ret = report(c, offset);
        }
    }
    return ret;
}

static int convert_all(const Conversion *c)
{
    int64_t offset = 0;
    BdrvExtent run;
    int ret = report(c, 0);

    while (ret == 0 && offset < c->length) {
        ret = bdrv_map(c->source, offset, c->length - offset, &run);
        if (ret == 0) {
            ret = run.state == BDRV_DATA ? copy_data(c, offset, run.bytes)
                                         : put_zeros(c, offset, run.bytes);
        }
        if (ret == 0) {
            offset += run.bytes;
            ret = report(c, offset);
        }
    }
    return ret;
}

static int check_target(const Conversion *c)
{
    int64_t room = bdrv_getlength(c->target), end;

    if (!bdrv_is_writable(c->target)) {
        return bdrv_error(c->target, -EROFS, "the target is open for reading only");
    }
    if (!bdrv_add(c->asked.target_offset, c->length, &end) || end > room) {
        return bdrv_error(c->target, -ENOSPC, "the target has %lld bytes; %lld at offset "
                          "%lld do not fit", (long long)room, (long long)c->length,
                          (long long)c->asked.target_offset);
    }
    return 0;
}

static int convert(Conversion *c, const BdrvConvertOptions *options)
{
    int ret = bdrv_copy_struct(&c->asked, sizeof c->asked, options, sizeof c->asked);

    if (ret == 0 && c->asked.flags & ~(unsigned)BDRV_CONVERT_TARGET_IS_ZERO) {
        ret = bdrv_error(NULL, -EINVAL, "convert flags 0x%x are unknown", c->asked.flags);
    }
    if (ret < 0) {
        return ret;
    }
    if (c->asked.sparse_size == 0) {
        c->asked.sparse_size = DEFAULT_SPARSE;
    }
    c->length = bdrv_getlength(c->source);
    ret = check_target(c);
    if (ret < 0) {
        return ret;
    }
    c->buffer = malloc(CONVERT_BUFFER);
    ret = c->buffer ? convert_all(c) : -ENOMEM;
    free(c->buffer);
    return ret;
}

int bdrv_convert(BlockDriverState *source, BlockDriverState *target,
                 const BdrvConvertOptions *options)
{
    Conversion c = { .source = source, .target = target };
    int ret;

    bdrv_call_begin();
    ret = source && target ? convert(&c, options) : -EINVAL;
    return bdrv_call_end(target, ret, "cannot convert");
}
