/* SPDX-License-Identifier: MIT */
/*
 * convert.h - what cmd-convert.c makes of the user's words, and convert.c does.
 */
#ifndef CONVERT_H
#define CONVERT_H

#include <string.h>

#include "ova.h"
#include "rules.h"

typedef struct Convert {
    ImageHow source;
    ImageNew target;
    int64_t sparse_size; /* as in BdrvConvertOptions */
    int no_create;
    int target_is_zero;
    int compress;
    int verify;
    int in_place; /* --no-atomic */
    int unsafe; /* -t unsafe: not flushed */
    ProgressHow progress;
    int ova; /* not 0: the target is an OVA, with the disk in it */
    const Profile *destination; /* --for; NULL: none */
    unsigned threads; /* 0: as many as there are processors */
} Convert;

/* Standard input, or output. */
static inline int convert_is_pipe(const char *name)
{
    return strcmp(name, "-") == 0;
}

/* Copies the images of all names but the last into that.  0, or less with the
 * message printed. */
int convert(const Convert *request, int count, char **names);

#endif
