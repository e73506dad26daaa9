/* SPDX-License-Identifier: MIT */
/*
 * build-stream.h - streamOptimized images built byte by byte, with markers, a
 * directory at the end and a footer; grains are zlib streams of one stored block,
 * so that no compressor is needed.
 *
 *     header │ descriptor │ pad │ grains │ GT, marked │ GD, marked │ footer │ end
 */
#ifndef TESTS_VMDK_BUILD_STREAM_H
#define TESTS_VMDK_BUILD_STREAM_H

#include "damage.h"

enum {
    STREAM_GRAIN = 65536,
    STREAM_STORED = 65535, /* the most that one stored block has */
#ifdef BDRV_HAVE_LIBDEFLATE
    STREAM_CODEC = 1 /* this build can look into grains */
#else
    STREAM_CODEC = 0
#endif
};

static inline uint32_t stream_adler(const uint8_t *bytes, size_t size)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < size; i++) {
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static inline size_t stream_store(uint8_t *to, const uint8_t *bytes, size_t size)
{
    size_t at = 2;

    to[0] = 0x78;
    to[1] = 0x01;
    for (size_t done = 0; done < size;) {
        size_t now = size - done < STREAM_STORED ? size - done : STREAM_STORED;

        to[at] = done + now == size;
        bdrv_store_le16(to + at + 1, (uint16_t)now);
        bdrv_store_le16(to + at + 3, (uint16_t)~now);
        memcpy(to + at + 5, bytes + done, now);
        at += 5 + now;
        done += now;
    }
    bdrv_store_be32(to + at, stream_adler(bytes, size));
    return at + 4;
}

typedef struct BuiltStream {
    uint8_t *bytes; /* BUILD_ROOM of them */
    int64_t size;
    int64_t sectors;      /* of the disk */
    uint32_t entries[64]; /* of the one table */
    int64_t gt, gd, footer; /* sectors: of the GT and GD themselves, of the marker */
    int64_t grains_end;
} BuiltStream;

static inline void stream_header(BuiltStream *b, int64_t at, uint64_t gd)
{
    static const uint8_t newlines[] = {'\n', ' ', '\r', '\n'};
    uint8_t *h = b->bytes + at;

    memset(h, 0, SECTOR);
    memcpy(h, "KDMV", 4);
    bdrv_store_le32(h + AT_VERSION, 3);
    bdrv_store_le32(h + AT_FLAGS, 0x30001);
    bdrv_store_le64(h + AT_CAPACITY, (uint64_t)b->sectors);
    bdrv_store_le64(h + AT_GRAIN, 128);
    bdrv_store_le64(h + AT_DESCRIPTOR, 1);
    bdrv_store_le64(h + AT_DESCRIPTOR_SIZE, 20);
    bdrv_store_le32(h + AT_GTES, 512);
    bdrv_store_le64(h + AT_GD, gd);
    bdrv_store_le64(h + AT_OVERHEAD, 128);
    memcpy(h + AT_NEWLINES, newlines, sizeof newlines);
    bdrv_store_le16(h + AT_COMPRESSION, 1);
}

static inline void stream_marker(BuiltStream *b, uint64_t value, uint32_t type)
{
    bdrv_store_le64(b->bytes + b->size, value);
    bdrv_store_le32(b->bytes + b->size + 12, type);
    b->size += SECTOR;
}

/* Appends the grain, holding that generation of the pattern. */
static inline void stream_add(BuiltStream *b, int grain, unsigned generation)
{
    static uint8_t content[STREAM_GRAIN];
    uint8_t *to = b->bytes + b->size;
    size_t size;

    pattern_fill(content, sizeof content, (int64_t)grain * STREAM_GRAIN, generation);
    size = stream_store(to + 12, content, sizeof content);
    bdrv_store_le64(to, (uint64_t)grain * 128);
    bdrv_store_le32(to + 8, (uint32_t)size);
    b->entries[grain] = (uint32_t)(b->size / SECTOR);
    b->size = bdrv_round_up(b->size + 12 + (int64_t)size, SECTOR);
    b->grains_end = b->size;
}

static inline BuiltStream stream_begin(int64_t sectors)
{
    BuiltStream b = {.sectors = sectors, .size = 128 * SECTOR};

    b.bytes = calloc(1, BUILD_ROOM);
    ck_assert_ptr_nonnull(b.bytes);
    stream_header(&b, 0, UINT64_MAX);
    snprintf((char *)b.bytes + SECTOR, 20 * SECTOR,
             "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\n"
             "createType=\"streamOptimized\"\nRDONLY %" PRId64 " SPARSE \"x.vmdk\"\n",
             BUILD_CID, sectors);
    return b;
}

static inline void stream_end(BuiltStream *b)
{
    stream_marker(b, 4, 1);
    b->gt = b->size / SECTOR;
    for (int i = 0; i < 64; i++) {
        bdrv_store_le32(b->bytes + b->size + i * 4, b->entries[i]);
    }
    b->size += 4 * SECTOR;
    stream_marker(b, 1, 2);
    b->gd = b->size / SECTOR;
    bdrv_store_le32(b->bytes + b->size, (uint32_t)b->gt);
    b->size += SECTOR;
    b->footer = b->size / SECTOR;
    stream_marker(b, 1, 3);
    stream_header(b, b->size, (uint64_t)b->gd);
    b->size += SECTOR;
    stream_marker(b, 0, 0);
}

/* A disk of 20 grains, of which there are 2, 7 and 9. */
static inline BuiltStream stream_of_three(void)
{
    BuiltStream b = stream_begin(20 * 128);

    stream_add(&b, 2, 1);
    stream_add(&b, 7, 1);
    stream_add(&b, 9, 1);
    stream_end(&b);
    return b;
}

static inline uint8_t *stream_gte(const BuiltStream *b, int grain)
{
    return b->bytes + b->gt * SECTOR + grain * 4;
}

static inline BlockDriverState *stream_memory(const BuiltStream *b)
{
    return image_memory_from(b->bytes, b->size);
}

/* As assert_hopeless() of what cannot be recovered; b is used up. */
static inline void stream_hopeless(BuiltStream *b, const char *text)
{
    BlockDriverState *memory = stream_memory(b);

    assert_hopeless(memory, BDRV_FINDING_UNRECOVERABLE, text);
    bdrv_close(memory);
    free(b->bytes);
}

#endif
