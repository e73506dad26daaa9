/* SPDX-License-Identifier: MIT */
/*
 * host.h - what tests need of the machine: a directory to work in, other
 * programs (xz, sha256sum), and the list of real images.
 *
 * All of it fails the running test when it cannot do its work; the exceptions
 * say so.
 */
#ifndef TESTS_LIB_HOST_H
#define TESTS_LIB_HOST_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bdrv.h"

/* A fresh directory below $TMPDIR; the caller gives it to
 * host_directory_remove(), which deletes all that is in it. */
char *host_directory_new(void);
void host_directory_remove(char *directory);

/* "directory/name", to be freed by the caller. */
char *host_path(const char *directory, const char *name);

/* Not 0 if the path exists. */
int host_exists(const char *path);

/* Makes the file with these bytes, replacing what is there. */
void host_write_file(const char *path, const void *bytes, size_t size);

/* All bytes of a file, *size of them, to be freed by the caller; a NUL follows. */
uint8_t *host_read_file(const char *path, size_t *size);

/* Exchanges two names in a thread of its own, as fast as it can. */
typedef struct HostSwapper HostSwapper;

/* Both must exist.  NULL: this system cannot exchange names in one step. */
HostSwapper *host_swapper_start(const char *one, const char *other);
/* Ends and frees it; each name is what it was, or the other.  How often it did. */
long host_swapper_stop(HostSwapper *swapper);

/* Not 0 if the program is installed. */
int host_has_program(const char *name);

/* Copies the file, without ".xz" at its end if it has one and then
 * decompressed, into the directory; gives back the new path, to be freed. */
char *host_fetch(const char *path, const char *directory);

/* The SHA-256 of the whole disk, 64 hexadecimal digits and NUL, by way of
 * sha256sum(1).  What is known to be zero is not read.  0 or the negative
 * errno of the read that failed. */
int host_sha256(BlockDriverState *bs, char digest[65]);

/* One line of the list of images, see shared/images/MANIFEST.tsv.  Borrowed
 * until the next call. */
typedef struct HostImage {
    char *path;   /* in the folder of images; may end in .xz */
    char *format;
    char *subformat;
    int64_t virtual_size; /* -1: not defined */
    char *sha256;         /* "-": not defined */
    char *kind;           /* ok, bad-checksum, extent-only, missing-files, malformed */
    char *notes;
} HostImage;

/* The list in the folder of images; NULL when there is no such folder. */
FILE *host_manifest_open(const char *folder);

/* 1 and *image filled, or 0 at the end.  line holds what *image points to. */
int host_manifest_next(FILE *manifest, char *line, size_t size,
                       HostImage *image);

#endif
