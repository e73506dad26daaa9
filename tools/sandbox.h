/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - giving up, for the rest of the process, what it will not need any
 * more.  Knows nothing of images; which paths a command still needs is in
 * confine.c.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stddef.h>

/* What may still be done with a file, or with all below a directory. */
typedef enum SandboxAccess {
    SANDBOX_READ,
    SANDBOX_WRITE, /* and read; in a directory, files are made, moved and removed too */
    /* Of a directory: files are made there, moved there and removed, none is opened.  That is
     * what it takes to put a finished file in its place, and no host can be asked for less:
     * Landlock knows a directory with all below it and no single names, seccomp does not see
     * the names at all.  So who has taken the process over can still remove every file below,
     * and put one that the process may write in the place of any.  Not (on Linux) make or move
     * directories. */
    SANDBOX_MOVE
} SandboxAccess;

/* A directory and all below it, or one file, that may still be used. */
typedef struct SandboxPath {
    const char *path; /* what it leads to now; passed over if that cannot be found */
    SandboxAccess access;
} SandboxPath;

enum {
    /* Files outside the paths cannot be opened, whatever the process does. */
    SANDBOX_FILES = 1 << 0,
    /* No other program can be started, no connection made, no process but this one
     * touched, no memory made executable. */
    SANDBOX_CALLS = 1 << 1
};

/* Gives up everything but the files that are open, the paths, memory, time and
 * threads.  To be called while there is one thread; again, to give up more, but not
 * after a call without paths.  What it could do, as a set of SANDBOX_…: a host that
 * lacks a mechanism is no error, and nobody can undo it. */
int sandbox_enter(const SandboxPath *paths, size_t count);

#endif
