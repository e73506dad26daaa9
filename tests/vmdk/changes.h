/* SPDX-License-Identifier: MIT */
/*
 * changes.h - what the suites about discard, resize, commit, rebase and amend
 * share: images by name in a directory of the test's own.
 */
#ifndef TESTS_VMDK_CHANGES_H
#define TESTS_VMDK_CHANGES_H

#include "bdrv-bytes.h"
#include "build.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

static char *directory;

static inline void make_directory(void)
{
    directory = host_directory_new();
}

static inline void remove_directory(void)
{
    host_directory_remove(directory);
}

static inline int try_create_disk(const char *name, const char *backing, const char *options,
                                  int64_t size)
{
    char *path = host_path(directory, name);
    BdrvCreateOptions create = {
        .struct_size = sizeof create, .size = size, .options = options, .backing = backing};
    int ret = bdrv_create(path, "vmdk", &create);

    free(path);
    return ret;
}

static inline void create_disk(const char *name, const char *backing, const char *options,
                               int64_t size)
{
    assert_ok(try_create_disk(name, backing, options, size));
}

static inline int try_open_disk(const char *name, unsigned flags, const char *options,
                                BlockDriverState **disk)
{
    char *path = host_path(directory, name);
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = flags, .options = options};
    int ret = bdrv_open(disk, path, "vmdk", &open);

    free(path);
    return ret;
}

static inline BlockDriverState *open_disk(const char *name, unsigned flags)
{
    BlockDriverState *disk;

    assert_ok(try_open_disk(name, flags, NULL, &disk));
    return disk;
}

static inline int64_t file_size(const char *name)
{
    char *path = host_path(directory, name);
    size_t size;

    free(host_read_file(path, &size));
    free(path);
    return (int64_t)size;
}

static inline int file_exists(const char *name)
{
    char *path = host_path(directory, name);
    int there = host_exists(path);

    free(path);
    return there;
}

/* All text of a descriptor that is a file, or of one behind a header; to be
 * freed. */
static inline char *read_text(const char *name)
{
    char *path = host_path(directory, name);
    size_t size;
    uint8_t *bytes = host_read_file(path, &size);
    const size_t at = size > 4 && memcmp(bytes, "KDMV", 4) == 0 ? BDRV_SECTOR_SIZE : 0;
    char *text = calloc(1, size + 1);

    ck_assert_ptr_nonnull(text);
    memcpy(text, bytes + at, size - at); /* ends at the first NUL */
    free(bytes);
    free(path);
    return text;
}

static inline void assert_text_has(const char *name, const char *wanted)
{
    char *text = read_text(name);

    ck_assert_msg(strstr(text, wanted) != NULL, "no %s in:\n%s", wanted, text);
    free(text);
}

static inline void assert_text_lacks(const char *name, const char *unwanted)
{
    char *text = read_text(name);

    ck_assert_msg(strstr(text, unwanted) == NULL, "%s in:\n%s", unwanted, text);
    free(text);
}

/* Nothing is damaged, and, if leaks is 0, nothing is lost. */
static inline void assert_sound(const char *name, int leaks)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_NO_BACKING);
    BdrvCheckResult result = {.struct_size = sizeof result};
    const char *damage = image_find_damage(disk);

    ck_assert_msg(damage == NULL, "%s: %s", name, damage);
    assert_ok(bdrv_check(disk, NULL, &result));
    if (!leaks) {
        ck_assert_msg(result.leaks == 0, "%s leaks %d clusters", name, (int)result.leaks);
    }
    assert_ok(bdrv_close(disk));
}

static inline uint32_t cid_of(const char *name, const char *key)
{
    char *text = read_text(name);
    const char *line = strstr(text, key);
    uint32_t cid;

    ck_assert_ptr_nonnull(line);
    cid = (uint32_t)strtoul(line + strlen(key), NULL, 16);
    free(text);
    return cid;
}

#endif
