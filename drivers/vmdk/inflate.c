/* SPDX-License-Identifier: MIT */
/*
 * inflate.c - zlib streams back to bytes, through libdeflate.  Decompressors
 * are made when a thread finds none idle, and kept for the next.  A build
 * without libdeflate says so when an image needs it.
 */
#include "vmdk.h"

#include <stdlib.h>

#ifdef BDRV_HAVE_LIBDEFLATE

#include <libdeflate.h>

enum {
    IDLE_MAX = 16 /* more threads than this make theirs anew each time */
};

struct VmdkInflater {
    pthread_mutex_t lock;
    struct libdeflate_decompressor *idle[IDLE_MAX];
    int idle_count;
};

int vmdk_inflater_new(VmdkInflater **inflater)
{
    *inflater = calloc(1, sizeof **inflater);
    if (!*inflater) {
        return -ENOMEM;
    }
    pthread_mutex_init(&(*inflater)->lock, NULL);
    return 0;
}

void vmdk_inflater_free(VmdkInflater *inflater)
{
    if (!inflater) {
        return;
    }
    while (inflater->idle_count > 0) {
        libdeflate_free_decompressor(inflater->idle[--inflater->idle_count]);
    }
    pthread_mutex_destroy(&inflater->lock);
    free(inflater);
}

static struct libdeflate_decompressor *borrow(VmdkInflater *inflater)
{
    struct libdeflate_decompressor *found = NULL;

    pthread_mutex_lock(&inflater->lock);
    if (inflater->idle_count > 0) {
        found = inflater->idle[--inflater->idle_count];
    }
    pthread_mutex_unlock(&inflater->lock);
    return found ? found : libdeflate_alloc_decompressor();
}

static void give_back(VmdkInflater *inflater, struct libdeflate_decompressor *borrowed)
{
    pthread_mutex_lock(&inflater->lock);
    if (inflater->idle_count < IDLE_MAX) {
        inflater->idle[inflater->idle_count++] = borrowed;
        borrowed = NULL;
    }
    pthread_mutex_unlock(&inflater->lock);
    if (borrowed) {
        libdeflate_free_decompressor(borrowed);
    }
}

VmdkInflateResult vmdk_inflate(VmdkInflater *inflater, const void *in, size_t in_bytes,
                               void *out, size_t out_bytes, size_t *got)
{
    struct libdeflate_decompressor *decompressor = borrow(inflater);
    enum libdeflate_result result;

    if (!decompressor) {
        return VMDK_INFLATE_NO_MEMORY;
    }
    result = libdeflate_zlib_decompress(decompressor, in, in_bytes, out, out_bytes, got);
    give_back(inflater, decompressor);
    if (result == LIBDEFLATE_SUCCESS) {
        return VMDK_INFLATED;
    }
    return result == LIBDEFLATE_INSUFFICIENT_SPACE ? VMDK_INFLATE_TOO_LONG
                                                   : VMDK_INFLATE_DAMAGED;
}

#else

int vmdk_inflater_new(VmdkInflater **inflater)
{
    *inflater = NULL;
    return bdrv_error(NULL, -ENOTSUP, "this build cannot decompress: it was made without "
                      "libdeflate");
}

void vmdk_inflater_free(VmdkInflater *inflater)
{
    (void)inflater; /* there never is one */
}

VmdkInflateResult vmdk_inflate(VmdkInflater *inflater, const void *in, size_t in_bytes,
                               void *out, size_t out_bytes, size_t *got)
{
    (void)inflater, (void)in, (void)in_bytes, (void)out, (void)out_bytes, (void)got;
    return VMDK_INFLATE_DAMAGED;
}

#endif
