/* SPDX-License-Identifier: MIT */
/*
 * path.c - names of files as text: the last part of a path, and a name as seen
 * from another file's directory.  Asks the host nothing and decides nothing:
 * what an image may name is the protocol driver's to say.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bdrv-driver.h"

const char *bdrv_path_basename(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int bdrv_path_join(char *path, size_t size, const char *base, const char *name)
{
    size_t directory = (size_t)(bdrv_path_basename(base) - base);
    int n;

    if (name[0] == '/') {
        directory = 0;
    }
    if (directory >= size) {
        n = (int)size; /* does not fit; snprintf below must not see it */
    } else {
        n = snprintf(path, size, "%.*s%s", (int)directory, base, name);
    }
    if (n < 0 || (size_t)n >= size) {
        path[0] = '\0';
        return bdrv_error(NULL, -ENAMETOOLONG,
                          "the name '%.60s…' seen from '%.60s…' is longer than "
                          "%zu bytes", name, base, size - 1);
    }
    return 0;
}
