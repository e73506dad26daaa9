/* SPDX-License-Identifier: MIT */
/*
 * targets.c - the table of targets, and how one of them ends.
 */
#include "fuzz.h"

const FuzzEntry fuzz_targets[] = {
    { "open", fuzz_open },     { "descriptor", fuzz_descriptor },
    { "stream", fuzz_stream }, { "check", fuzz_check },
    { "write", fuzz_write },   { "change", fuzz_change },
    { NULL, NULL },
};

void fuzz_broken(const char *promise, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken promise: %s (%s)\n", file, line, promise, bdrv_errmsg());
    abort();
}
