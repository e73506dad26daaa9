/* SPDX-License-Identifier: MIT */
/*
 * zero.c - is it all zeros?  In vectors where the compiler has them, which is how
 * this keeps up with memory; else in words.
 */
#include <string.h>

#include "block_int.h"

#if defined(__GNUC__)
typedef uint64_t Vector __attribute__((vector_size(16)));

static int has_bits(Vector v)
{
    return (v[0] | v[1]) != 0;
}
#else
typedef uint64_t Vector;

static int has_bits(Vector v)
{
    return v != 0;
}
#endif

/* What is looked at before it is asked whether a bit was set: a cache line or two. */
enum { VECTORS = 8, BLOCK = VECTORS * sizeof(Vector) };

static int block_is_zero(const uint8_t *p)
{
    Vector v[VECTORS];

    memcpy(v, p, sizeof v); /* of any alignment; becomes loads */
    return !has_bits(((v[0] | v[1]) | (v[2] | v[3])) | ((v[4] | v[5]) | (v[6] | v[7])));
}

int bdrv_is_zero(const void *bytes, size_t count)
{
    const uint8_t *p = bytes;

    for (; count >= BLOCK; p += BLOCK, count -= BLOCK) {
        if (!block_is_zero(p)) {
            return 0;
        }
    }
    for (; count > 0; p++, count--) {
        if (*p != 0) {
            return 0;
        }
    }
    return 1;
}
