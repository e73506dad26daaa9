/* SPDX-License-Identifier: MIT */
/*
 * deflate.c - bytes to zlib streams, through libdeflate; the counterpart of
 * inflate.c, and of the same build.  A reader of VMDK refuses a stream that is
 * much longer than what it stands for, so bytes that cannot be compressed are
 * stored:
 *
 *     78 01 │ 00, length, ~length, bytes │ … │ 01, length, ~length, bytes │ Adler-32
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    ZLIB_HEADER_BYTES = 2,
    ZLIB_TRAILER_BYTES = 4,
    STORED_MAX = 65535, /* bytes of one block */
    STORED_HEADER_BYTES = 5
};

size_t vmdk_deflate_bound(size_t in_bytes)
{
    return ZLIB_HEADER_BYTES + (in_bytes / STORED_MAX + 1) * STORED_HEADER_BYTES + in_bytes +
           ZLIB_TRAILER_BYTES;
}

#ifdef BDRV_HAVE_LIBDEFLATE

#include <libdeflate.h>

enum {
    IDLE_MAX = 16 /* more threads than this make theirs anew each time */
};

struct VmdkDeflater {
    int level;
    pthread_mutex_t lock;
    struct libdeflate_compressor *idle[IDLE_MAX];
    int idle_count;
};

int vmdk_deflater_new(VmdkDeflater **deflater, int level)
{
    *deflater = calloc(1, sizeof **deflater);
    if (!*deflater) {
        return -ENOMEM;
    }
    (*deflater)->level = level;
    pthread_mutex_init(&(*deflater)->lock, NULL);
    return 0;
}

void vmdk_deflater_free(VmdkDeflater *deflater)
{
    if (!deflater) {
        return;
    }
    while (deflater->idle_count > 0) {
        libdeflate_free_compressor(deflater->idle[--deflater->idle_count]);
    }
    pthread_mutex_destroy(&deflater->lock);
    free(deflater);
}

static struct libdeflate_compressor *borrow(VmdkDeflater *deflater)
{
    struct libdeflate_compressor *found = NULL;

    pthread_mutex_lock(&deflater->lock);
    if (deflater->idle_count > 0) {
        found = deflater->idle[--deflater->idle_count];
    }
    pthread_mutex_unlock(&deflater->lock);
    return found ? found : libdeflate_alloc_compressor(deflater->level);
}

static void give_back(VmdkDeflater *deflater, struct libdeflate_compressor *borrowed)
{
    pthread_mutex_lock(&deflater->lock);
    if (deflater->idle_count < IDLE_MAX) {
        deflater->idle[deflater->idle_count++] = borrowed;
        borrowed = NULL;
    }
    pthread_mutex_unlock(&deflater->lock);
    if (borrowed) {
        libdeflate_free_compressor(borrowed);
    }
}

static size_t store(const uint8_t *in, size_t in_bytes, uint8_t *out)
{
    uint8_t *to = out;

    *to++ = 0x78; /* deflate, window of 32 KiB */
    *to++ = 0x01; /* fastest; makes the two a multiple of 31 */
    for (size_t left = in_bytes; left > 0;) {
        size_t now = left < STORED_MAX ? left : STORED_MAX;

        to[0] = now == left; /* the last block; of the kind that is stored */
        bdrv_store_le16(to + 1, (uint16_t)now);
        bdrv_store_le16(to + 3, (uint16_t)~now);
        memcpy(to + STORED_HEADER_BYTES, in + (in_bytes - left), now);
        to += STORED_HEADER_BYTES + now;
        left -= now;
    }
    bdrv_store_be32(to, libdeflate_adler32(1, in, in_bytes));
    return (size_t)(to - out) + ZLIB_TRAILER_BYTES;
}

int vmdk_deflate(VmdkDeflater *deflater, const void *in, size_t in_bytes, void *out,
                 size_t *got)
{
    struct libdeflate_compressor *compressor = borrow(deflater);

    if (!compressor) {
        return -ENOMEM;
    }
    *got = libdeflate_zlib_compress(compressor, in, in_bytes, out,
                                    vmdk_deflate_bound(in_bytes));
    give_back(deflater, compressor);
    if (*got == 0) { /* it does not fit */
        *got = store(in, in_bytes, out);
    }
    return 0;
}

#else

int vmdk_deflater_new(VmdkDeflater **deflater, int level)
{
    (void)level;
    *deflater = NULL;
    return bdrv_error(NULL, -ENOTSUP, "this build cannot compress: it was made without "
                      "libdeflate");
}

void vmdk_deflater_free(VmdkDeflater *deflater)
{
    (void)deflater; /* there never is one */
}

int vmdk_deflate(VmdkDeflater *deflater, const void *in, size_t in_bytes, void *out,
                 size_t *got)
{
    (void)deflater, (void)in, (void)in_bytes, (void)out, (void)got;
    return -ENOTSUP;
}

#endif
