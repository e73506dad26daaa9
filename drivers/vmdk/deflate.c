/* SPDX-License-Identifier: MIT */
/*
 * deflate.c - bytes to zlib streams, the counterpart of inflate.c, through one of
 * the libraries that this build was made with:
 *
 *     libdeflate  levels 1 to 12: small; the normal one
 *     ISA-L       levels 1 to 3: twice as fast as libdeflate's fastest
 *
 * A reader of VMDK refuses a stream that is much longer than what it stands for,
 * so bytes that cannot be compressed are stored:
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
    STORED_HEADER_BYTES = 5,
    ADLER_BASE = 65521,
    ADLER_RUN = 5552 /* the sums of so many bytes fit 32 bits (RFC 1950) */
};

typedef struct Engine {
    void *(*make)(int level); /* NULL: no memory */
    void (*free)(void *compressor);
    /* Bytes made; 0: they do not fit into room. */
    size_t (*compress)(void *compressor, const void *in, size_t in_bytes, void *out, size_t room);
} Engine;

struct VmdkDeflater {
    const Engine *engine;
    int level;
    VmdkPool compressors;
};

/* --------------------------------------------------------------- libdeflate */

#ifdef BDRV_HAVE_LIBDEFLATE

#include <libdeflate.h>

static void *libdeflate_make(int level)
{
    return libdeflate_alloc_compressor(level);
}

static void libdeflate_free(void *compressor)
{
    libdeflate_free_compressor(compressor);
}

static size_t libdeflate_compress(void *compressor, const void *in, size_t in_bytes, void *out,
                                  size_t room)
{
    return libdeflate_zlib_compress(compressor, in, in_bytes, out, room);
}

static const Engine libdeflate_engine = {libdeflate_make, libdeflate_free, libdeflate_compress};
#endif

/* -------------------------------------------------------------------- ISA-L */

#ifdef BDRV_HAVE_ISAL

#include <isa-l/igzip_lib.h>

typedef struct IsalCompressor {
    struct isal_zstream stream;
    uint32_t level, room_size;
    uint8_t room[]; /* of room_size, for the library */
} IsalCompressor;

static void *isal_make(int level)
{
    static const uint32_t sizes[] = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT,
                                     ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT};
    IsalCompressor *compressor = malloc(sizeof *compressor + sizes[level]);

    if (compressor) {
        compressor->level = (uint32_t)level;
        compressor->room_size = sizes[level];
    }
    return compressor;
}

static size_t isal_compress(void *opaque, const void *in, size_t in_bytes, void *out, size_t room)
{
    IsalCompressor *compressor = opaque;
    struct isal_zstream *stream = &compressor->stream;

    isal_deflate_stateless_init(stream);
    stream->level = compressor->level;
    stream->level_buf = compressor->room;
    stream->level_buf_size = compressor->room_size;
    stream->gzip_flag = IGZIP_ZLIB;
    stream->end_of_stream = 1;
    stream->flush = NO_FLUSH;
    stream->next_in = (uint8_t *)(uintptr_t)in; /* it is only read */
    stream->avail_in = (uint32_t)in_bytes;
    stream->next_out = out;
    stream->avail_out = (uint32_t)room;
    return isal_deflate_stateless(stream) == COMP_OK ? stream->total_out : 0;
}

static const Engine isal_engine = {isal_make, free, isal_compress};
#endif

/* ------------------------------------------------------------------- choice */

static const Engine *find_engine(VmdkDeflateEngine engine)
{
    switch (engine) {
    case VMDK_DEFLATE_LIBDEFLATE:
#ifdef BDRV_HAVE_LIBDEFLATE
        return &libdeflate_engine;
#else
        break;
#endif
    case VMDK_DEFLATE_ISAL:
#ifdef BDRV_HAVE_ISAL
        return &isal_engine;
#else
        break;
#endif
    }
    return NULL;
}

int vmdk_deflate_require(VmdkDeflateEngine engine)
{
    if (find_engine(engine)) {
        return 0;
    }
    return engine == VMDK_DEFLATE_ISAL
               ? bdrv_error(NULL, -ENOTSUP, "this build cannot compress with ISA-L: it was made "
                            "without; the other compression_engine is libdeflate")
               : bdrv_error(NULL, -ENOTSUP, "this build cannot compress: it was made without "
                            "libdeflate");
}

int vmdk_deflate_level_max(VmdkDeflateEngine engine)
{
    return engine == VMDK_DEFLATE_ISAL ? 3 : 12;
}

/* libdeflate: the least work that makes streams no larger than QEMU's. */
static int normal_level(VmdkDeflateEngine engine)
{
    return engine == VMDK_DEFLATE_ISAL ? 1 : 6;
}

int vmdk_deflater_new(VmdkDeflater **deflater, VmdkDeflateEngine engine, int level)
{
    int ret = vmdk_deflate_require(engine);

    *deflater = NULL;
    if (ret < 0) {
        return ret;
    }
    *deflater = calloc(1, sizeof **deflater);
    if (!*deflater) {
        return -ENOMEM;
    }
    (*deflater)->engine = find_engine(engine);
    (*deflater)->level =
        level < 1 || level > vmdk_deflate_level_max(engine) ? normal_level(engine) : level;
    vmdk_pool_init(&(*deflater)->compressors);
    return 0;
}

void vmdk_deflater_free(VmdkDeflater *deflater)
{
    if (deflater) {
        vmdk_pool_destroy(&deflater->compressors, deflater->engine->free);
        free(deflater);
    }
}

/* ------------------------------------------------------------------ storing */

size_t vmdk_deflate_bound(size_t in_bytes)
{
    return ZLIB_HEADER_BYTES + (in_bytes / STORED_MAX + 1) * STORED_HEADER_BYTES + in_bytes +
           ZLIB_TRAILER_BYTES;
}

static uint32_t adler32(const uint8_t *bytes, size_t count)
{
    uint32_t low = 1, high = 0;

    while (count > 0) {
        size_t now = count < ADLER_RUN ? count : ADLER_RUN;

        for (size_t i = 0; i < now; i++) {
            low += bytes[i];
            high += low;
        }
        low %= ADLER_BASE;
        high %= ADLER_BASE;
        bytes += now;
        count -= now;
    }
    return high << 16 | low;
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
    bdrv_store_be32(to, adler32(in, in_bytes));
    return (size_t)(to - out) + ZLIB_TRAILER_BYTES;
}

/* -------------------------------------------------------------- compressing */

int vmdk_deflate(VmdkDeflater *deflater, const void *in, size_t in_bytes, void *out,
                 size_t *got)
{
    const Engine *engine = deflater->engine;
    void *compressor = vmdk_pool_take(&deflater->compressors);

    if (!compressor) {
        compressor = engine->make(deflater->level);
    }
    if (!compressor) {
        return -ENOMEM;
    }
    *got = engine->compress(compressor, in, in_bytes, out, vmdk_deflate_bound(in_bytes));
    vmdk_pool_give(&deflater->compressors, compressor, engine->free);
    if (*got == 0) { /* it does not fit */
        *got = store(in, in_bytes, out);
    }
    return 0;
}
