/* SPDX-License-Identifier: MIT */
/*
 * confine.c - what a command still needs by name when its images are open.  The
 * giving up itself is sandbox.c's.
 *
 * Mostly that is nothing.  Names are needed where an image has more extents than
 * are open at a time, where a descriptor that is a file of its own will be replaced
 * by a new one, and by commands that open or make further images.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox.h"
#include "tool.h"

/* ------------------------------------------------------------------ the list */

/* Takes over path (NULL: no memory). */
static void add_owned(Confinement *c, char *path, ConfineAccess access)
{
    char **paths = realloc(c->paths, (c->count + 1) * sizeof(*paths));
    ConfineAccess *accesses = realloc(c->access, (c->count + 1) * sizeof(*accesses));

    c->paths = paths != NULL ? paths : c->paths;
    c->access = accesses != NULL ? accesses : c->access;
    if (path == NULL || paths == NULL || accesses == NULL) {
        c->incomplete = 1;
        free(path);
        return;
    }
    c->paths[c->count] = path;
    c->access[c->count++] = access;
    /* cppcheck-suppress memleak ; both are in c */
}

static void add_directory_of(Confinement *c, const char *filename, ConfineAccess access)
{
    const char *slash = strrchr(filename, '/');
    size_t length = slash == NULL || slash == filename ? 1 : (size_t)(slash - filename);

    add_owned(c, strndup(slash == NULL ? "." : filename, length), access);
}

/* FILE:NAME, a disk in an OVA, is looked for at each colon. */
static void add_archives(Confinement *c, const char *filename)
{
    for (const char *colon = strchr(filename, ':'); colon != NULL;
         colon = strchr(colon + 1, ':')) {
        add_owned(c, strndup(filename, (size_t)(colon - filename)), CONFINE_READ);
    }
}

/* Where a link leads to: all else is in the directory that it is named in.  One that leads
 * to nothing will lead to what is made there. */
static void add_target_of(Confinement *c, const char *filename, ConfineAccess access)
{
    struct stat st;
    char *target;

    if (lstat(filename, &st) < 0) {
        add_archives(c, filename);
        return;
    }
    if (!S_ISLNK(st.st_mode)) {
        return;
    }
    target = realpath(filename, NULL);
    if (target != NULL) {
        add_directory_of(c, target, access);
        free(target);
    } else {
        c->incomplete = 1;
    }
}

void confine_named(Confinement *c, const ImageHow *how, const char *filename,
                   ConfineAccess access)
{
    struct stat st;

    if (stat(filename, &st) == 0 && !S_ISREG(st.st_mode)) {
        add_owned(c, strdup(filename), access);
        return;
    }
    add_directory_of(c, filename, access);
    add_target_of(c, filename, access);
    for (const char **path = how != NULL ? how->allow_paths : NULL;
         path != NULL && *path != NULL; path++) {
        add_owned(c, strdup(*path), access);
    }
}

/* The name as seen from the directory of filename, to be freed; NULL: no memory. */
static char *path_beside(const char *filename, const char *name)
{
    const char *slash = strrchr(filename, '/');
    size_t length = slash != NULL && *name != '/' ? (size_t)(slash + 1 - filename) : 0;
    char *path = malloc(length + strlen(name) + 1);

    if (path != NULL) {
        memcpy(path, filename, length);
        memcpy(path + length, name, strlen(name) + 1);
    }
    return path;
}

void confine_beside(Confinement *c, const ImageHow *how, const char *filename,
                    const char *name)
{
    char *path = path_beside(filename, name);

    if (path == NULL) {
        c->incomplete = 1;
        return;
    }
    encodings_keep(path);
    confine_named(c, how, path, CONFINE_READ);
    free(path);
}

/* What has the name that a file of the new image will have, which is compared with the
 * sources before it is replaced. */
static void add_replaced(Confinement *c, const Output *output, const char *made)
{
    const char *slash = strrchr(made, '/');

    add_owned(c, path_beside(output->target, slash != NULL ? slash + 1 : made), CONFINE_READ);
}

void confine_output(Confinement *c, const Output *output)
{
    const int aside = output->directory != NULL;

    confine_named(c, NULL, output->target, aside ? CONFINE_MOVE : CONFINE_WRITE);
    confine_named(c, NULL, output->path, CONFINE_WRITE);
    if (aside) {
        add_replaced(c, output, output->path);
    }
    for (size_t i = 0; aside && i < output->other_count; i++) {
        add_replaced(c, output, output->others[i].path);
    }
}

int confine_operands(Confinement *c, const ImageHow *how, int count, char **names)
{
    const int is_snapshot = (how->flags & BDRV_O_SNAPSHOT) != 0;
    const int writes = (how->flags & BDRV_O_RDWR) && !is_snapshot;

    if (writes && !(how->flags & (BDRV_O_NO_LOCK | BDRV_O_NO_BACKING))) {
        holder_remember(); /* of parents, whose names are not known yet */
    }
    for (int i = 0; i < count; i++) {
        if (writes && !(how->flags & BDRV_O_NO_LOCK) && image_check_free(names[i]) < 0) {
            return -1;
        }
        encodings_keep(names[i]);
        confine_named(c, how, names[i], writes ? CONFINE_WRITE : CONFINE_READ);
    }
    if (is_snapshot) {
        add_owned(c, strdup("/var/tmp"), CONFINE_WRITE); /* see BdrvOpenOptions */
    }
    return 0;
}

int confine_before(const ImageHow *how, int count, char **names)
{
    Confinement c = {0};
    int result = confine_operands(&c, how, count, names);

    if (result < 0) {
        c.incomplete = 1; /* only freed: we are not going on */
    }
    confine(&c, how);
    return result;
}

void confine_image(Confinement *c, const ImageHow *how, BlockDriverState *bs)
{
    for (; bs != NULL; bs = bdrv_backing(bs)) {
        if (bdrv_needs_names(bs)) {
            confine_named(c, how, bdrv_filename(bs),
                          bdrv_is_writable(bs) ? CONFINE_WRITE : CONFINE_READ);
        }
    }
}

/* -------------------------------------------------------------------- the act */

static SandboxAccess access_of(ConfineAccess access)
{
    switch (access) {
    case CONFINE_READ:
        return SANDBOX_READ;
    case CONFINE_WRITE:
        return SANDBOX_WRITE;
    case CONFINE_MOVE:
        return SANDBOX_MOVE;
    }
    return SANDBOX_READ;
}

void confine(Confinement *c, const ImageHow *how)
{
    SandboxPath *paths = calloc(c->count + 1, sizeof(*paths));

    if (paths != NULL && !c->incomplete && !how->no_sandbox) {
        for (size_t i = 0; i < c->count; i++) {
            paths[i].path = c->paths[i];
            paths[i].access = access_of(c->access[i]);
        }
        (void)sandbox_enter(paths, c->count); /* what the host lacks it lacks */
    }
    for (size_t i = 0; i < c->count; i++) {
        free(c->paths[i]);
    }
    free(c->paths);
    free(c->access);
    free(paths);
    memset(c, 0, sizeof(*c));
}

void confine_to_image(const ImageHow *how, BlockDriverState *bs)
{
    Confinement c = {0};

    confine_image(&c, how, bs);
    confine(&c, how);
}
