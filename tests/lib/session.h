/* SPDX-License-Identifier: MIT */
/*
 * session.h - a random session on one image: every call that the library has
 * for a disk, in any order, each checked against the image's model.
 *
 *     begin ──▶ step, step, … ──▶ end
 *
 * A step writes, reads, zeroes, discards, asks, flushes, reopens, resizes, goes
 * on in an overlay, drops or commits it, or commits a child into its parent: what
 * the kind can do.  Sessions share nothing, so many can run at once, each on a
 * thread of its own.  Functions fail the running test.
 */
#ifndef TESTS_LIB_SESSION_H
#define TESTS_LIB_SESSION_H

#include <stdint.h>

#include "image.h"

typedef struct Session {
    Image *image;
    BlockDriverState *disk;
    uint32_t seed;
    uint8_t *below; /* what the image held when its overlay was opened; NULL: there
                     * is no overlay */
} Session;

/* A fresh image of the kind, of about that many bytes, and a handle on it. */
void session_begin(Session *session, const ImageKind *kind, int64_t size,
                   uint32_t seed);
void session_step(Session *session);

/* The whole disk must read as the model says, before and after it is closed, and
 * a check must find no damage. */
void session_end(Session *session);

#endif
