/* SPDX-License-Identifier: MIT */
/*
 * ova-read.c - a disk in an OVA, read where it lies: its image is a window of the
 * tar file.  Nothing is unpacked, and the OVF is not asked: the names of the files
 * say which of them are disks.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "ova.h"

/* The files of an OVA that are no disks, by their names' ends. */
static const char *const others[] = {".ovf", ".mf",  ".cert", ".xml", ".txt",
                                     ".iso", ".nvram", ".flp",  NULL};

static int ends_in(const char *name, const char *end)
{
    const size_t length = strlen(name), part = strlen(end);

    return length >= part && strcasecmp(name + length - part, end) == 0;
}

int ova_is_name(const char *filename)
{
    return ends_in(filename, ".ova");
}

typedef struct Search {
    const char *wanted; /* NULL: the only disk */
    int disks;
    int same;        /* files of the name of the found one, itself too */
    TarMember found; /* the wanted one, or the first */
    char names[TAR_NAME_MAX]; /* of all disks, as many as fit */
} Search;

static int is_disk(const char *name)
{
    for (int i = 0; others[i] != NULL; i++) {
        if (ends_in(name, others[i])) {
            return 0;
        }
    }
    return 1;
}

/* One of several of its name is not the one that unpacking gives. */
static int look(void *opaque, const TarMember *member)
{
    Search *search = opaque;
    const size_t used = strlen(search->names);
    const int again = search->same > 0 && strcmp(member->name, search->found.name) == 0;

    if (again) {
        search->same++;
        return 0;
    }
    if (search->wanted != NULL ? strcmp(member->name, search->wanted) == 0
                               : search->disks == 0 && is_disk(member->name)) {
        search->found = *member;
        search->same = 1;
    }
    if (is_disk(member->name)) {
        search->disks++;
        snprintf(search->names + used, sizeof(search->names) - used, "%s%s",
                 used > 0 ? ", " : "", member->name);
    }
    return 0;
}

static int check_found(const char *tar, BlockDriverState *file, const Search *search)
{
    uint8_t head[2] = {0, 0};
    const TarMember *found = &search->found;

    if (found->name[0] == '\0') {
        tool_error("%s: there is no %s in it%s%s", tar,
                   search->wanted != NULL ? search->wanted : "disk",
                   search->disks > 0 ? "; its disks are " : "", search->names);
        return -1;
    }
    if (search->wanted == NULL && search->disks > 1) {
        tool_error("%s: has %d disks: say which, as %s:NAME: %s", tar, search->disks, tar,
                   search->names);
        return -1;
    }
    if (search->same > 1) {
        tool_error("%s: has %d files called %s: unpack it, and choose (tar keeps the last)", tar,
                   search->same, found->name);
        return -1;
    }
    if (found->size >= 2 && bdrv_pread(file, head, sizeof(head), found->offset) < 0) {
        tool_library_error();
        return -1;
    }
    if (found->is_sparse || (head[0] == 0x1f && head[1] == 0x8b)) {
        tool_error("%s: %s is %s in it, so it cannot be read there: unpack it first", tar,
                   found->name, found->is_sparse ? "stored without its holes" : "compressed by gzip");
        return -1;
    }
    return 1;
}

static int find(const char *tar, BlockDriverState *file, Search *search)
{
    int result = tar_walk(file, look, search);

    return result < 0 ? result : check_found(tar, file, search);
}

/* FILE.ova that is no tar may be an image all the same; but what has no format at all
 * is not taken for a disk, as it would be under another name: it is an OVA that did
 * not survive.  0, or -1 with the message printed. */
static int check_no_tar(BlockDriverState *file, const char *wanted)
{
    const BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_NO_BACKING | BDRV_O_CHECK,
    };
    BlockDriverState *image = NULL;
    const int is_nothing = bdrv_open_node(&image, file, NULL, &options) == 0 &&
                           strcmp(bdrv_format(image), "raw") == 0;

    bdrv_close(image);
    if (is_nothing || wanted != NULL) {
        tool_error("%s: does not begin as a tar file does, so it is no OVA, or a damaged one: get "
                   "it again%s", bdrv_filename(file), wanted != NULL ? "" :
                   "; -f raw takes its bytes for a disk");
        return -1;
    }
    return 0;
}

/* What is called .ova, and is not said to be something else, has to be one. */
static int check_begin(BlockDriverState *file, const char *wanted, const char *format)
{
    if (tar_begins(file)) {
        return 1;
    }
    return ova_is_name(bdrv_filename(file)) && (format == NULL || wanted != NULL)
               ? check_no_tar(file, wanted)
               : 0;
}

/* wanted NULL: the only disk.  0 if the file is no tar. */
static int open_in(BlockDriverState **disk, const char *tar, const char *wanted,
                   const char *format, unsigned flags)
{
    Search search = {.wanted = wanted};
    char window[80];
    BlockDriverState *file;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = flags & (BDRV_O_NO_LOCK | BDRV_O_DIRECT | BDRV_O_DROP_BEHIND),
    };
    int result;

    if (bdrv_open(&file, tar, "raw", &options) < 0) {
        tool_library_error();
        return -1;
    }
    result = check_begin(file, wanted, format);
    if (result > 0) {
        result = find(tar, file, &search);
    }
    bdrv_close(file);
    if (result <= 0) {
        return result;
    }
    if ((flags & (BDRV_O_RDWR | BDRV_O_SNAPSHOT)) == BDRV_O_RDWR) {
        tool_error("%s: the disks in an OVA can only be read; img-convert takes them out", tar);
        return -1;
    }
    snprintf(window, sizeof(window), "offset=%" PRId64 ",size=%" PRId64, search.found.offset,
             search.found.size);
    options.options = window;
    if (bdrv_open(disk, tar, "raw", &options) < 0) {
        tool_library_error();
        return -1;
    }
    return 1;
}

static int is_regular(const char *name)
{
    struct stat status;

    return stat(name, &status) == 0 && S_ISREG(status.st_mode);
}

/* FILE:NAME is divided at the first colon before which there is a file. */
int ova_open(BlockDriverState **disk, const char *filename, const char *format, unsigned flags)
{
    const int is_raw = format != NULL && strcmp(format, "raw") == 0;
    const char *colon = filename;
    struct stat status;
    int result = 0;

    *disk = NULL;
    if (stat(filename, &status) == 0) {
        return ova_is_name(filename) && S_ISREG(status.st_mode) && !is_raw
                   ? open_in(disk, filename, NULL, format, flags)
                   : 0;
    }
    while (result == 0 && (colon = strchr(colon, ':')) != NULL) {
        char *tar = strndup(filename, (size_t)(colon - filename));

        colon++;
        if (tar != NULL && *colon != '\0' && is_regular(tar)) {
            result = open_in(disk, tar, colon, format, flags);
        }
        free(tar);
    }
    return result;
}
