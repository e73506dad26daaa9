/* SPDX-License-Identifier: MIT */
/*
 * built.h - images for the list of kinds that are built byte by byte, and nothing of
 * the driver that reads them: in shapes that the format allows and others write, or
 * that somebody's crash has left, but our own bdrv_create() does not make.
 */
#ifndef TESTS_LIB_BUILT_H
#define TESTS_LIB_BUILT_H

#include "image.h"

enum {
    IMAGE_FILES_MAX = 4
};

/* What a builder has made: the first file is the image. */
typedef struct ImageFiles {
    struct {
        const char *name; /* beside the image; that of the first is not used */
        uint8_t *bytes;   /* to be freed */
        int64_t size;
    } list[IMAGE_FILES_MAX];
    size_t count;
    uint8_t *initial; /* the disk: comes as zeros, to be filled in */
} ImageFiles;

/* Kinds that can be written like any other, and such that can only be read. */
const ImageKind *built_kind(size_t index);
size_t built_kind_count(void);
const ImageKind *built_read_only_kind(size_t index);
size_t built_read_only_kind_count(void);

#endif
