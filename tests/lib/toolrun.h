/* SPDX-License-Identifier: MIT */
/*
 * toolrun.h - the operations of the tools that change images, and what must be
 * found of the images afterwards, whatever happened in between.
 *
 *     toolrun_new ─▶ files before ──run──▶ files after
 *                        │    an accident    │
 *                        └──────▶ ? ◀────────┘     each image is the one or the other
 */
#ifndef TESTS_LIB_TOOLRUN_H
#define TESTS_LIB_TOOLRUN_H

#include <stddef.h>
#include <stdint.h>

enum { TOOLRUN_IMAGES = 3 };

typedef enum ToolPromise {
    TOOL_OLD_OR_NEW,  /* an image is as a whole what it was or what it is to be */
    TOOL_OR_NOTHING,  /* that, or nothing that can be opened */
    TOOL_SECTORS,     /* each word is the old or the new one (a commit writes into the
                       * parent, which its child accepts at any moment) */
    TOOL_NEVER_WORSE  /* what could be read still reads the same (a repair) */
} ToolPromise;

/* What an undisturbed run makes of images[0]. */
typedef enum ToolEffect {
    TOOL_MAKES,  /* a new, empty one */
    TOOL_COPIES, /* what images[1] was before, as far as that goes */
    TOOL_KEEPS,  /* what it was, as far as both go */
    TOOL_REPAIRS /* what it was, where it could be read */
} ToolEffect;

typedef struct ToolOperation {
    const char *name;
    const char *command; /* what follows "img ", run in the directory */
    void (*prepare)(const char *directory); /* makes the files before */
    const char *images[TOOLRUN_IMAGES];     /* what is looked at; NULL: no more */
    ToolEffect effect;
    ToolPromise promise;
} ToolOperation;

size_t toolrun_count(void);
const ToolOperation *toolrun_operation(size_t index);

typedef struct ToolRun ToolRun;

/* The operation prepared, its images as they are before, and as they are after it has
 * run undisturbed. */
ToolRun *toolrun_new(const ToolOperation *operation);
void toolrun_free(ToolRun *run);
const ToolOperation *toolrun_of(const ToolRun *run);

/* A fresh directory with the files before, to be removed with
 * host_directory_remove(). */
char *toolrun_directory(const ToolRun *run);

/* Runs the operation in the directory, under tests/host/hostcalls.c with these settings
 * (VARIABLE=value …, "": none).  The exit status; what it said on stderr is in the file
 * `said`. */
int toolrun_run(const ToolRun *run, const char *directory, const char *settings,
                const char *said);

typedef enum ToolOutcome {
    TOOL_MAY_BE_EITHER,
    TOOL_MAY_BE_REFUSED, /* either, or what says that it is damaged (a torn sector) */
    TOOL_REPAIRED, /* either; what it tells about itself may be of both, its geometry for one */
    TOOL_MUST_BE_NEW
} ToolOutcome;

/* NULL if the images of the directory keep the promise; else what is wrong, in a text
 * that lives until the next call. */
const char *toolrun_examine(const ToolRun *run, const char *directory, ToolOutcome outcome);

/* Repairs the images of the directory, as far as that can be done.  They must keep their
 * promise then, too. */
void toolrun_repair(const ToolRun *run, const char *directory);

/* NULL if host calls cannot be watched here, else the reason. */
const char *toolrun_impossible(void);

#endif
