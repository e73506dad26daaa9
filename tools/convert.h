/* SPDX-License-Identifier: MIT */
/*
 * convert.h - what cmd-convert.c makes of the user's words, and convert.c does;
 * manner.c is how.
 */
#ifndef CONVERT_H
#define CONVERT_H

#include <string.h>

#include "ova.h"
#include "rules.h"

/* The options of manner.c that have no letter. */
enum { MANNER_SALVAGE = TOOL_LONG_ONLY + 100, MANNER_MAX_MEMORY };

/* How it goes about it. */
typedef struct Manner {
    unsigned source_flags, target_flags; /* BDRV_O_…, out of -T and -t */
    unsigned copy_flags;                 /* BDRV_CONVERT_…, out of -C and -W */
    int64_t rate;                        /* bytes in a second; 0: as they come */
    int64_t max_memory;                  /* 0: the default */
    int salvage;
} Manner;

/* Notes one of its options.  0, or -1 with the message printed; the second, once all
 * are known. */
int manner_take(Manner *manner, int letter, const char *value);
int manner_check(const Manner *manner, int looks_for_zeros);

/* What there is for the conversion's buffers, and for the tables of each of so many
 * images. */
size_t manner_window_memory(const Manner *manner);
size_t manner_table_memory(const Manner *manner, int images);

/* What could not be read. */
typedef struct Salvage {
    const char *name; /* of the source */
    int quiet;        /* only sum up */
    int64_t places, bytes;
    int64_t offset, end; /* of the last place, not told yet: more may follow on it; equal:
                          * there is none */
    char reason[1024];   /* for its first bytes */
} Salvage;

/* What is noted from now on is of the source of that name, which lives as long. */
void salvage_begin(Salvage *salvage, const char *name);

/* A BdrvLostFn; opaque is a Salvage. */
void salvage_note(void *opaque, int64_t offset, int64_t bytes, const char *reason);

/* Tells of the last place, and how much it is in all.  0: nothing, else 1. */
int salvage_sum(Salvage *salvage);

typedef struct Convert {
    ImageHow source;
    ImageNew target;
    int64_t sparse_size; /* as in BdrvConvertOptions */
    int no_create;
    int target_is_zero;
    int compress;
    int verify;
    int in_place; /* --no-atomic */
    Manner manner;
    ProgressHow progress;
    int ova; /* not 0: the target is an OVA, with the disk in it */
    int format_is_default; /* not 0: nobody has named the target's */
    const Profile *destination; /* --for; NULL: none */
    unsigned threads; /* 0: as many as there are processors */
} Convert;

/* Standard input, or output. */
static inline int convert_is_pipe(const char *name)
{
    return strcmp(name, "-") == 0;
}

/* Copies the images of all names but the last into that.  0; or less with the
 * message printed; or more if it is there but for what could not be read. */
int convert(const Convert *request, int count, char **names);

#endif
