/* SPDX-License-Identifier: MIT */
/*
 * other.c - which other files an image may name, and how they are opened.
 *
 * Images come from strangers.  A file that an image names is opened only if it
 * is a regular file and lies, after all links are followed, below the directory
 * of the image that the user opened or below one that the user allowed, or is one
 * that he allowed itself, which may be a block device:
 *
 *     name ─▶ joined to the directory of the image that names it ─▶ realpath()
 *          ─▶ inside an allowed directory? (or the user is asked) ─▶ opened at
 *             exactly that path, following no link
 *
 * The path that was approved has neither links nor "..", so a link that is met
 * on the way down from "/" means that somebody is exchanging files under us, and
 * the open fails.  Where the host can walk so by itself (openat2) it does; else
 * it is done here, one directory at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif
#ifdef SYS_openat2
#include <linux/openat2.h>
#endif

#include "file.h"

enum { WALK = FILE_SEARCH | O_NOFOLLOW };

/* Does path lie below directory?  Both are resolved. */
static int is_below(const char *directory, const char *path)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): set where own_directory() succeeds */
    size_t n = strlen(directory);

    n -= n > 0 && directory[n - 1] == '/'; /* only "/" ends so */
    return strncmp(directory, path, n) == 0 && path[n] == '/';
}

static int exchanged(const BlockDriverState *bs)
{
    return bdrv_error(bs, -EPERM, "was exchanged while it was being opened");
}

/* Is path one that the user allowed itself, not by way of a directory? */
static int is_named(const BlockDriverState *bs, const char *path)
{
    const char *const *allowed = bdrv_allow_paths(bs);
    int named = 0;

    for (; !named && allowed && *allowed; allowed++) {
        char *one = realpath(*allowed, NULL);

        named = one && strcmp(one, path) == 0;
        free(one);
    }
    return named;
}

/* Something that is no regular file: only a device may be opened, and only one that
 * the user has named, for others than its owner can make links to devices. */
static int check_special(const BlockDriverState *bs, const char *path, mode_t mode)
{
    int ret;

    if (S_ISLNK(mode) && !(bdrv_open_flags(bs) & BDRV_O_CREATE)) {
        return exchanged(bs);
    }
    ret = bdrv_file_check_kind(bs, mode);
    if (ret == 0 && !is_named(bs, path)) {
        ret = bdrv_error(bs, -EPERM, "is a device; an image may name regular files only, and "
                         "devices that are in allow_paths (tools: --allow-path %s) themselves",
                         path);
    }
    return ret;
}

/* Opens what is at path, which is resolved, by its name in directory. */
static int open_there(BlockDriverState *bs, int directory, const char *path)
{
    const char *name = bdrv_path_basename(path);
    struct stat st;
    int fd, is_special = 0;

    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
        int ret = check_special(bs, path, st.st_mode);

        if (ret < 0) {
            return ret;
        }
        is_special = 1;
    }
    fd = openat(directory, name, bdrv_file_host_flags(bs) | O_NOFOLLOW, 0666);
    if (fd < 0) {
        return errno == ELOOP ? exchanged(bs) : bdrv_file_host_error(bs, "open");
    }
    if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || (is_special && S_ISBLK(st.st_mode)))) {
        close(fd);
        return exchanged(bs);
    }
    return fd;
}

/* One directory after the other; path is resolved, and spent.  A descriptor or -1. */
static int walk_to_directory(char *path)
{
    int at = open("/", WALK);
    char *rest;

    for (char *name = strtok_r(path, "/", &rest); at >= 0 && name;
         name = strtok_r(NULL, "/", &rest)) {
        int next = openat(at, name, WALK);

        close(at);
        at = next;
    }
    return at;
}

static int open_directory(char *path)
{
#ifdef SYS_openat2
    struct open_how how = {.flags = (uint64_t)WALK, .resolve = RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);

    /* An old kernel does not know it, an old sandbox forbids it. */
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) {
        return fd;
    }
#endif
    return walk_to_directory(path);
}

int bdrv_file_open_directory_of(const char *path)
{
    const char *base = bdrv_path_basename(path);
    char *directory = base == path + 1 ? strdup("/")
                                       : strndup(path, (size_t)(base - path) - 1);
    int fd = directory ? open_directory(directory) : -1;

    free(directory);
    return fd;
}

/* Opens the file at path, which is resolved.  A descriptor or -errno. */
static int open_exactly(BlockDriverState *bs, const char *path)
{
    int at = bdrv_file_open_directory_of(path), fd;

    if (at < 0) {
        return errno == ELOOP || errno == ENOTDIR ? exchanged(bs)
                                                  : bdrv_file_host_error(bs, "open");
    }
    fd = open_there(bs, at, path);
    close(at);
    return fd;
}

/* The path without links, "." and "..", to be freed.  Of a file that is to be
 * made only the directory has to exist.  NULL: see errno. */
static char *resolve(const BlockDriverState *bs, const char *path)
{
    const char *base = bdrv_path_basename(path);
    char *directory, *resolved, *whole;
    size_t size;

    if ((bdrv_open_flags(bs) & BDRV_O_CREATE) == 0) {
        return realpath(path, NULL);
    }
    directory = bdrv_file_directory(path);
    resolved = directory ? realpath(directory, NULL) : NULL;
    free(directory);
    if (!resolved) {
        return NULL;
    }
    size = strlen(resolved) + strlen(base) + 2;
    whole = malloc(size);
    if (whole) {
        snprintf(whole, size, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, base);
    }
    free(resolved);
    return whole;
}

/* Below one of the directories that are allowed?  image_directory is resolved. */
static int is_inside(const BlockDriverState *bs, const char *image_directory, const char *path)
{
    const char *const *allowed = bdrv_allow_paths(bs);
    int inside = is_below(image_directory, path) || is_named(bs, path);

    for (; !inside && allowed && *allowed; allowed++) {
        char *directory = realpath(*allowed, NULL);

        inside = directory && is_below(directory, path);
        free(directory);
    }
    return inside;
}

/* Resolves the node's name, has it approved and opens it. */
static int open_named(BlockDriverState *bs, const BlockDriverState *from, const char *name,
                      const char *image_directory)
{
    char *path = resolve(bs, bdrv_filename(bs));
    BdrvNamedFile file = {.name = name, .path = path};
    int ret;

    if (!path) {
        return bdrv_file_host_error(bs, "open");
    }
    file.is_inside = is_inside(bs, image_directory, path);
    ret = bdrv_may_open(bs, from, &file);
    if (ret == 0) {
        ret = open_exactly(bs, path);
    }
    free(path);
    return ret < 0 ? ret : bdrv_file_start(bs, ret);
}

/* Where the file was found that the user named, resolved, goes to *resolved, to be
 * freed.  0 or -errno. */
static int own_directory(const BlockDriverState *bs, char **resolved)
{
    const FileState *state = bdrv_state(bs);
    char *directory = bdrv_file_directory(bdrv_filename(bs));
    struct stat st;
    int ret = 0;

    *resolved = directory ? realpath(directory, NULL) : NULL;
    free(directory);
    if (!*resolved || stat(*resolved, &st) < 0) {
        ret = bdrv_file_host_error(bs, "find its directory");
    } else if (st.st_dev != state->directory_device || st.st_ino != state->directory_inode) {
        ret = bdrv_error(bs, -EPERM, "its directory is not the one in which it was opened");
    }
    if (ret < 0) {
        free(*resolved);
        *resolved = NULL;
    }
    return ret;
}

/* The same of the image that the user opened, on whose behalf from was. */
static int image_directory(const BlockDriverState *from, char **resolved)
{
    const FileState *state = bdrv_state(from);

    if (!state->image_directory) {
        return own_directory(from, resolved);
    }
    *resolved = strdup(state->image_directory);
    return *resolved ? 0 : -ENOMEM;
}

int bdrv_file_open_other(BlockDriverState *bs, BlockDriverState *from, const char *name)
{
    const char *base = bdrv_path_basename(name);
    FileState *state = bdrv_state(bs);
    char joined[FILE_PATH_SIZE];
    int ret;

    if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        return bdrv_error(from, -EINVAL, "names '%s', which is not a file name", name);
    }
    ret = bdrv_path_join(joined, sizeof joined, bdrv_filename(from), name);
    if (ret == 0) {
        ret = bdrv_set_filename(bs, joined);
    }
    if (ret < 0) {
        return bdrv_error(from, ret, "names '%s': %s", name, strerror(-ret));
    }
    ret = image_directory(from, &state->image_directory);
    if (ret == 0) {
        ret = open_named(bs, from, name, state->image_directory);
    }
    if (ret < 0) {
        free(state->image_directory);
        state->image_directory = NULL;
    }
    return ret;
}
