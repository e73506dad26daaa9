/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - test data that says where it belongs and when it was written.
 *
 * Each aligned 8 bytes hold one little-endian word:
 *
 *      63          48 47                                   0
 *     +--------------+--------------------------------------+
 *     |  generation  |  the offset of the word on the disk  |
 *     +--------------+--------------------------------------+
 *
 * so a byte that turns up in the wrong place, or too late, is recognised and
 * named.  Generations count from 1; generation 0 stands for zeros, so that a
 * model of a disk is nothing but a generation for each place.
 */
#ifndef TESTS_LIB_PATTERN_H
#define TESTS_LIB_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#include "bdrv.h"

enum {
    PATTERN_ZEROS = 0,
    PATTERN_MAX_GENERATION = 0xffff
};

/* Fills buf as it is to be written at offset, which need not be aligned. */
void pattern_fill(void *buf, size_t bytes, int64_t offset, unsigned generation);

/* NULL if buf, read at offset, holds that generation; else a text that says
 * where the first wrong byte is and what is there instead.  The text lives
 * until the next call in the same thread. */
const char *pattern_check(const void *buf, size_t bytes, int64_t offset,
                          unsigned generation);

/* The same against any wanted content. */
const char *pattern_compare(const void *found, const void *wanted, size_t bytes,
                            int64_t offset);

/* The generation that all words of buf (aligned, whole words) belong to, at
 * their right place; -1 if there is no such generation. */
int pattern_identify(const void *buf, size_t bytes, int64_t offset);

/* Writes to, and reads and checks on, a disk.  0, a negative errno, or for the
 * check -EILSEQ when the content is wrong: pattern_message() then says how. */
int pattern_write(BlockDriverState *bs, int64_t offset, int64_t bytes,
                  unsigned generation);
int pattern_verify(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   unsigned generation);
const char *pattern_message(void);

/* For tests: the range must hold that generation. */
#define assert_pattern(bs, offset, bytes, generation)                          \
    do {                                                                       \
        int verdict_ = pattern_verify((bs), (offset), (bytes), (generation));  \
        ck_assert_msg(verdict_ == 0, "%s", verdict_ == -EILSEQ                 \
                      ? pattern_message() : bdrv_errmsg());                    \
    } while (0)

#endif
