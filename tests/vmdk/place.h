/* SPDX-License-Identifier: MIT */
/*
 * place.h - images of several files: a directory that each test has to itself,
 * and the calls that make, open and look at what is in it, by bare names.
 */
#ifndef TESTS_VMDK_PLACE_H
#define TESTS_VMDK_PLACE_H

#include "build.h"
#include "host.h"

static char *place;

static void place_make(void)
{
    place = host_directory_new();
}

static void place_remove(void)
{
    host_directory_remove(place);
}

/* A text descriptor: lines are what follows the usual header. */
static inline void place_describe(const char *name, const char *lines)
{
    char *path = host_path(place, name), *text = malloc(strlen(lines) + 256);
    int length;

    ck_assert_ptr_nonnull(text);
    length = sprintf(text, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
                     "parentCID=ffffffff\ncreateType=\"custom\"\n%s", lines);
    host_write_file(path, text, (size_t)length);
    free(text);
    free(path);
}

static inline void place_write(const char *name, const void *bytes, size_t size)
{
    char *path = host_path(place, name);

    host_write_file(path, bytes, size);
    free(path);
}

/* A file of bytes: that generation of the pattern, as at offset of a disk. */
static inline void place_write_pattern(const char *name, int64_t offset, size_t size,
                                       unsigned generation)
{
    uint8_t *bytes = malloc(size);

    ck_assert_ptr_nonnull(bytes);
    pattern_fill(bytes, size, offset, generation);
    place_write(name, bytes, size);
    free(bytes);
}

/* The file as a string, to be freed. */
static inline char *place_read(const char *name)
{
    char *path = host_path(place, name), *text;
    size_t size;
    uint8_t *bytes = host_read_file(path, &size);

    text = calloc(1, size + 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, bytes, size);
    free(bytes);
    free(path);
    return text;
}

static inline int place_has(const char *name)
{
    char *path = host_path(place, name);
    int has = host_exists(path);

    free(path);
    return has;
}

static inline int place_try_create(const char *name, const char *backing, const char *options,
                                   int64_t size)
{
    char *path = host_path(place, name);
    BdrvCreateOptions create = {
        .struct_size = sizeof create, .size = size, .options = options, .backing = backing};
    int ret = bdrv_create(path, "vmdk", &create);

    free(path);
    return ret;
}

static inline int place_try_open(const char *name, unsigned flags, const char *text,
                                 BlockDriverState **disk)
{
    char *path = host_path(place, name);
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags, .options = text};
    int ret = bdrv_open(disk, path, "vmdk", &options);

    free(path);
    return ret;
}

static inline BlockDriverState *place_open(const char *name, unsigned flags, const char *text)
{
    BlockDriverState *disk;

    assert_ok(place_try_open(name, flags, text, &disk));
    return disk;
}

/* Opening must fail so. */
static inline void place_refused(const char *name, unsigned flags, int error,
                                 const char *message)
{
    BlockDriverState *disk;

    assert_fails_saying(place_try_open(name, flags, NULL, &disk), error, message);
}

#endif
