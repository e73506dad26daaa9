/* SPDX-License-Identifier: MIT */
/*
 * pattern.c - see pattern.h.
 */
#include "pattern.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv-bytes.h"

enum {
    WORD = 8,
    GENERATION_SHIFT = 48,
    PIECE = 1 << 20 /* how much of a disk is moved in one call */
};
#define OFFSET_MASK ((UINT64_C(1) << GENERATION_SHIFT) - 1)

static _Thread_local char message[256];

const char *pattern_message(void)
{
    return message;
}

static uint64_t pattern_word(int64_t offset, unsigned generation)
{
    if (generation == PATTERN_ZEROS) {
        return 0;
    }
    return (uint64_t)generation << GENERATION_SHIFT |
           ((uint64_t)offset & OFFSET_MASK);
}

void pattern_fill(void *buf, size_t bytes, int64_t offset, unsigned generation)
{
    uint8_t *to = buf;
    while (bytes > 0) {
        uint8_t word[WORD];
        if (offset % WORD == 0 && bytes >= WORD) { /* nearly all: fast */
            bdrv_store_le64(to, pattern_word(offset, generation));
            to += WORD;
            bytes -= WORD;
            offset += WORD;
            continue;
        }
        size_t skip = (size_t)(offset % WORD);
        size_t count = bytes < WORD - skip ? bytes : WORD - skip;
        bdrv_store_le64(word, pattern_word(offset - (int64_t)skip, generation));
        memcpy(to, word + skip, count);
        to += count;
        bytes -= count;
        offset += (int64_t)count;
    }
}

/* What the word around buf[at] says of itself; the ends of buf may cut it. */
static void describe(char *text, size_t size, const uint8_t *buf, size_t bytes,
                     int64_t offset, size_t at)
{
    size_t skip = (size_t)((offset + (int64_t)at) % WORD);
    if (at < skip || at - skip + WORD > bytes) {
        snprintf(text, size, "byte 0x%02x", buf[at]);
        return;
    }
    uint64_t word = bdrv_load_le64(buf + at - skip);
    if (word == 0) {
        snprintf(text, size, "zeros");
    } else {
        snprintf(text, size, "offset %llu generation %u",
                 (unsigned long long)(word & OFFSET_MASK),
                 (unsigned)(word >> GENERATION_SHIFT));
    }
}

const char *pattern_compare(const void *found, const void *wanted, size_t bytes,
                            int64_t offset)
{
    if (memcmp(found, wanted, bytes) == 0) {
        return NULL;
    }
    const uint8_t *f = found;
    const uint8_t *w = wanted;
    size_t at = 0;
    while (f[at] == w[at]) {
        at++;
    }
    char found_text[64];
    char wanted_text[64];
    describe(found_text, sizeof(found_text), f, bytes, offset, at);
    describe(wanted_text, sizeof(wanted_text), w, bytes, offset, at);
    snprintf(message, sizeof(message), "byte %lld holds %s, wanted %s",
             (long long)(offset + (int64_t)at), found_text, wanted_text);
    return message;
}

const char *pattern_check(const void *buf, size_t bytes, int64_t offset,
                          unsigned generation)
{
    uint8_t *wanted = malloc(bytes + 1);
    if (wanted == NULL) {
        return "no memory for the wanted pattern";
    }
    pattern_fill(wanted, bytes, offset, generation);
    const char *text = pattern_compare(buf, wanted, bytes, offset);
    free(wanted);
    return text;
}

int pattern_identify(const void *buf, size_t bytes, int64_t offset)
{
    const uint8_t *from = buf;
    uint64_t first = bdrv_load_le64(from);
    if (first == 0) { /* often: as fast as the machine can */
        return memcmp(from, from + 1, bytes - 1) == 0 ? PATTERN_ZEROS : -1;
    }
    unsigned generation = (unsigned)(first >> GENERATION_SHIFT);
    for (size_t at = 0; at < bytes; at += WORD) {
        if (bdrv_load_le64(from + at) !=
            pattern_word(offset + (int64_t)at, generation)) {
            return -1;
        }
    }
    return (int)generation;
}

int pattern_write(BlockDriverState *bs, int64_t offset, int64_t bytes,
                  unsigned generation)
{
    uint8_t *buf = malloc((size_t)bdrv_min(bytes, PIECE) + 1);
    int result = buf == NULL ? -ENOMEM : 0;
    while (result == 0 && bytes > 0) {
        size_t count = (size_t)bdrv_min(bytes, PIECE);
        pattern_fill(buf, count, offset, generation);
        result = bdrv_pwrite(bs, buf, count, offset);
        offset += (int64_t)count;
        bytes -= (int64_t)count;
    }
    free(buf);
    return result;
}

int pattern_verify(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   unsigned generation)
{
    uint8_t *buf = malloc((size_t)bdrv_min(bytes, PIECE) + 1);
    int result = buf == NULL ? -ENOMEM : 0;
    while (result == 0 && bytes > 0) {
        size_t count = (size_t)bdrv_min(bytes, PIECE);
        result = bdrv_pread(bs, buf, count, offset);
        if (result == 0 && pattern_check(buf, count, offset, generation)) {
            result = -EILSEQ;
        }
        offset += (int64_t)count;
        bytes -= (int64_t)count;
    }
    free(buf);
    return result;
}
