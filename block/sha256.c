/* SPDX-License-Identifier: MIT */
/*
 * sha256.c - SHA-256 through nettle, which is small, is loaded in no time and
 * uses the processor's own instructions where there are any.  A build without
 * nettle says so, by bdrv_sha256_begin().
 */
#include "block_int.h"

#ifdef BDRV_HAVE_NETTLE

#include <nettle/sha2.h>
#include <nettle/version.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(Sha256), "Sha256 has no room for nettle's state");

int bdrv_sha256_begin(Sha256 *hash)
{
    sha256_init((struct sha256_ctx *)hash->state);
    return 0;
}

void bdrv_sha256_add(Sha256 *hash, const void *data, size_t bytes)
{
    sha256_update((struct sha256_ctx *)hash->state, bytes, data);
}

void bdrv_sha256_end(Sha256 *hash, uint8_t digest[BDRV_HASH_BYTES])
{
#if NETTLE_VERSION_MAJOR >= 4
    sha256_digest((struct sha256_ctx *)hash->state, digest);
#else
    sha256_digest((struct sha256_ctx *)hash->state, BDRV_HASH_BYTES, digest);
#endif
}

#else

int bdrv_sha256_begin(Sha256 *hash)
{
    (void)hash;
    return bdrv_error(NULL, -ENOTSUP, "this build has no SHA-256: it was made without nettle");
}

void bdrv_sha256_add(Sha256 *hash, const void *data, size_t bytes)
{
    (void)hash, (void)data, (void)bytes; /* none has begun */
}

void bdrv_sha256_end(Sha256 *hash, uint8_t digest[BDRV_HASH_BYTES])
{
    (void)hash, (void)digest; /* none has begun */
}

#endif

void bdrv_sha256_add_zeros(Sha256 *hash, int64_t bytes)
{
    static const uint8_t zeros[64 * 1024]; /* stays in the nearest caches */

    while (bytes > 0) {
        int64_t step = bdrv_min(bytes, (int64_t)sizeof zeros);

        bdrv_sha256_add(hash, zeros, (size_t)step);
        bytes -= step;
    }
}
