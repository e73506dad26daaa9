/* SPDX-License-Identifier: MIT */
/*
 * image.h - the images that the tests run on: every driver in every shape that
 * matters, made, opened, written and checked in the same words.
 *
 * A kind says how to make an image and which facts hold for it.  An Image is
 * one that was made, with a model of its content: what a reader must see.  It
 * lies either in memory (a mem node that outlives the handles on it, so that
 * closing and opening again works, and filters can be put between), or in a
 * directory of its own, or, if that was asked for, in a volume.
 *
 * All functions fail the running test when they cannot do their work, unless
 * their name says try.
 */
#ifndef TESTS_LIB_IMAGE_H
#define TESTS_LIB_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include <check.h>

#include "bdrv.h"
#include "volume.h"

enum {
    IMAGE_IN_MEMORY = 1 << 0, /* storage is a mem node, see above; a parent is
                               * named by the options of each open then */
    IMAGE_EMPTY = 1 << 1,     /* reads as zeros whatever was written (null) */
    IMAGE_FORGETS = 1 << 2,   /* what was written is gone after close */
    IMAGE_GROWS = 1 << 3,     /* a write may go past the end */
    IMAGE_TRUNCATES = 1 << 4, /* bdrv_truncate() works, both ways */
    IMAGE_MAPS = 1 << 5,      /* allocates clusters: a fresh one is UNALLOCATED */
    IMAGE_PLAIN = 1 << 6,     /* no metadata: any cut of the file is an image */
    IMAGE_SNAPSHOT = 1 << 7,  /* opened with BDRV_O_SNAPSHOT */
    IMAGE_READ_ONLY = 1 << 8, /* has content from the start, and keeps it */
    /* Records its length in whole clusters too, and the repair of a change of length
     * that was interrupted may take that for what it was: up to a cluster longer. */
    IMAGE_ROUNDED = 1 << 9
};

enum {
    IMAGE_PARENT_GENERATION = 60, /* what the parent's content is made of */
    IMAGE_CLUSTER = 65536         /* border of interest where there is no other */
};

struct ImageFiles;

typedef struct ImageKind {
    const char *name;           /* for messages */
    const char *format;
    const char *create_format;  /* what makes the file; NULL: format */
    const char *create_options; /* NULL: none */
    const char *open_options;   /* NULL: none */
    unsigned facts;             /* IMAGE_… */
    int64_t cluster;            /* where its inner borders lie */
    const char *parent_format;  /* NULL: no parent */
    const char *parent_options;      /* to create it */
    const char *parent_open_options; /* to write it */
    /* How much longer the parent is, < 0: shorter.  Formats do not make such
     * pairs; the parent is exchanged once the child is there. */
    int64_t parent_growth;
    /* Makes its files in the place of bdrv_create(), see built.h; NULL: that does. */
    void (*build)(const struct ImageKind *kind, int64_t size, struct ImageFiles *files);
    const void *quirk; /* for build */
} ImageKind;

/* The kinds; the index is what a loop test of image_add_loops() gets. */
const ImageKind *image_kind(size_t index);
/* How many of them bdrv_create() makes: the first ones.  Those that are built follow,
 * then those that can only be read. */
size_t image_kind_count(void);
const ImageKind *image_kind_named(const char *name);

/* Registers the test drivers and drivers/template.c.  To be called in
 * test_suite(). */
void image_register_drivers(void);

/* Which kinds a test runs on. */
typedef enum ImageRange {
    IMAGE_CREATED,  /* those of bdrv_create() */
    IMAGE_WRITABLE, /* and those that are built */
    IMAGE_READABLE  /* and those that can only be read */
} ImageRange;

/* Adds to suite a case that runs each of the tests (ended by NULL) on every kind of
 * range: _i is the kind's index. */
TCase *image_add_loops_over(ImageRange range, Suite *suite, const char *name,
                            const TTest *const *tests, double seconds);
/* The same over IMAGE_CREATED; where the large tests are wanted, over all that can
 * be written. */
TCase *image_add_loops(Suite *suite, const char *name,
                       const TTest *const *tests, double seconds);

typedef struct Image {
    const ImageKind *kind;
    int64_t size;
    BlockDriverState *storage; /* IMAGE_IN_MEMORY, else NULL */
    char *directory;           /* the other case, and where a parent is */
    char *path;
    char *parent; /* the path of the parent; NULL: there is none, or a volume */
    Volume *volume; /* image_new_in_volume(), else NULL */
    uint8_t *initial;  /* size bytes: what a fresh image reads as */
    uint8_t *expected; /* size bytes: what it must read as now */
} Image;

/* A new mem node, writable, of that length, of zeros. */
BlockDriverState *image_memory(int64_t length);
/* Another one with the same content. */
BlockDriverState *image_memory_copy(BlockDriverState *from);
/* Its bytes, to be freed; the number is its length. */
uint8_t *image_memory_bytes(BlockDriverState *memory);
BlockDriverState *image_memory_from(const void *bytes, int64_t length);

/* A fresh image.  The size is that of the disk. */
Image *image_new(const ImageKind *kind, int64_t size);
void image_free(Image *image);

/* A fresh image of any kind that makes files, but for IMAGE_ROUNDED, in a volume of
 * its own, with its parent. */
int image_fits_volume(const ImageKind *kind);
Image *image_new_in_volume(const ImageKind *kind, int64_t size);
/* A handle on it as it lies in a copy of its volume. */
int image_try_open_in(const Image *image, Volume *volume, unsigned flags,
                      BlockDriverState **bs);

/* A handle on it.  flags: BDRV_O_…. */
BlockDriverState *image_open(Image *image, unsigned flags);
int image_try_open(Image *image, unsigned flags, BlockDriverState **bs);
/* The same over other storage than its own (a copy, a filter).
 * IMAGE_IN_MEMORY only. */
int image_try_open_on(const Image *image, BlockDriverState *storage,
                      unsigned flags, BlockDriverState **bs);
/* Closes, and forgets in the model what such an image forgets. */
void image_close(Image *image, BlockDriverState *bs);

/* Changes the disk and the model alike. */
void image_write(Image *image, BlockDriverState *bs, int64_t offset,
                 int64_t bytes, unsigned generation);
void image_write_zeroes(Image *image, BlockDriverState *bs, int64_t offset,
                        int64_t bytes);

/* The same, where -ENOTSUP is as good as success.  Each sector of the range must
 * hold its old bytes or zeros afterwards; the model takes whichever it is. */
void image_discard(Image *image, BlockDriverState *bs, int64_t offset,
                   int64_t bytes);

/* IMAGE_TRUNCATES only.  New bytes are zeros. */
void image_resize(Image *image, BlockDriverState *bs, int64_t size);

/* Only the model: when the test makes the call itself. */
void image_expect(Image *image, int64_t offset, const void *buf, size_t bytes);

/* The range, or the whole disk, must read as the model says. */
void image_assert_range(const Image *image, BlockDriverState *bs,
                        int64_t offset, int64_t bytes);
void image_assert(const Image *image, BlockDriverState *bs);

/* NULL if bdrv_check() finds nothing wrong in the image (leaks and records that
 * disagree are not wrong), or the format has nothing to check; else what it
 * finds, in a text that lives until the next call in this thread. */
const char *image_find_damage(BlockDriverState *bs);

/* Not 0 if the whole disk reads as the model says, or fails to be read; 0, and
 * pattern_message(), if it reads as something else. */
int image_is_honest(const Image *image, BlockDriverState *bs);

#endif
