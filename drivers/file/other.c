/* SPDX-License-Identifier: MIT */
/*
 * other.c - which other files an image may name, and how they are opened.
 *
 * Images come from strangers.  A file that an image names is opened only if it
 * is a regular file and lies, after all links are followed, below the directory
 * of the image that the user opened or below one that the user allowed:
 *
 *     name ─▶ joined to the directory of the image that names it ─▶ realpath()
 *          ─▶ inside an allowed directory? ─▶ walked down to from there, one
 *             component at a time, following no link
 *
 * The path that was approved has neither links nor "..", so a walk that meets
 * a link means that somebody is exchanging files under us.  It fails, and at no
 * point can it leave the directory it started from.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

#ifdef O_PATH
enum { WALK_FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
#else
enum { WALK_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
#endif

/* The part of path below directory (both resolved), or NULL if it is not. */
static char *part_below(const char *directory, char *path)
{
    size_t n = strlen(directory);

    n -= n > 0 && directory[n - 1] == '/'; /* only "/" ends so */
    return strncmp(directory, path, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

static int open_regular(BlockDriverState *bs, int directory, const char *name)
{
    struct stat st;
    int fd;

    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
        int ret = bdrv_file_check_kind(bs, st.st_mode);

        return ret < 0 ? ret : bdrv_error(bs, -EPERM, "is a device; an image may "
                                          "name regular files only");
    }
    fd = openat(directory, name, bdrv_file_host_flags(bs) | O_NOFOLLOW, 0666);
    if (fd < 0) {
        return bdrv_file_host_error(bs, "open");
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return bdrv_error(bs, -EPERM, "was exchanged while it was being opened");
    }
    return fd;
}

/* Opens below (which is changed) in directory.  A descriptor or -errno. */
static int open_below(BlockDriverState *bs, const char *directory, char *below)
{
    int at = open(directory, WALK_FLAGS & ~O_NOFOLLOW);
    int fd;

    for (char *slash; at >= 0 && (slash = strchr(below, '/')) != NULL; below = slash + 1) {
        int next;

        *slash = '\0';
        next = openat(at, below, WALK_FLAGS);
        close(at);
        at = next;
    }
    if (at < 0) {
        return bdrv_file_host_error(bs, "open");
    }
    fd = open_regular(bs, at, below);
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

/* Goes through the directories that are allowed.  image_directory is resolved. */
static int open_allowed(BlockDriverState *bs, const BlockDriverState *from,
                        const char *image_directory, char *path)
{
    const char *const *allowed = bdrv_allow_paths(bs);
    char *below = part_below(image_directory, path);

    if (below) {
        return open_below(bs, image_directory, below);
    }
    for (; allowed && *allowed; allowed++) {
        char *directory = realpath(*allowed, NULL);
        int fd = -EPERM;

        below = directory ? part_below(directory, path) : NULL;
        if (below) {
            fd = open_below(bs, directory, below);
        }
        free(directory);
        if (below) {
            return fd;
        }
    }
    return bdrv_error(from, -EPERM, "names the file '%s', which lies outside the "
                      "image's directory '%s'; allow_paths (tools: --allow-path DIR) "
                      "would allow it", path, image_directory);
}

/* Resolves the node's name, approves it and opens it. */
static int open_named(BlockDriverState *bs, const BlockDriverState *from,
                      const char *image_directory)
{
    char *path = resolve(bs, bdrv_filename(bs));
    int fd;

    if (!path) {
        return bdrv_file_host_error(bs, "open");
    }
    fd = open_allowed(bs, from, image_directory, path);
    free(path);
    return fd < 0 ? fd : bdrv_file_start(bs, fd);
}

/* The directory, resolved, of the image that the user opened.  To be freed. */
static char *image_directory_of(const BlockDriverState *from)
{
    const FileState *state = bdrv_state(from);
    char *directory, *resolved;

    if (state->image_directory) {
        return strdup(state->image_directory);
    }
    directory = bdrv_file_directory(bdrv_filename(from));
    resolved = directory ? realpath(directory, NULL) : NULL;
    free(directory);
    return resolved;
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
    state->image_directory = image_directory_of(from);
    if (!state->image_directory) {
        return bdrv_file_host_error(from, "find its directory");
    }
    ret = open_named(bs, from, state->image_directory);
    if (ret < 0) {
        free(state->image_directory);
        state->image_directory = NULL;
    }
    return ret;
}
