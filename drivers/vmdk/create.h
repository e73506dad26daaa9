/* SPDX-License-Identifier: MIT */
/*
 * create.h - what makes new images; included by vmdk.h.
 *
 *     create-options.c  what can be asked for, and for which kind
 *     create.c          what all kinds have to decide; images of one file
 *     create-files.c    a descriptor and the files beside it
 *     create-lines.c    a descriptor over files and devices that exist
 *     partitions.c      the partitions of a device as extents
 *     compose.c         the text of a descriptor
 *     stream-create.c   see stream.h
 */
#ifndef VMDK_CREATE_H
#define VMDK_CREATE_H

#include "bdrv-driver.h"
#include "descriptor.h"
#include "header.h"

/* What a new descriptor says. */
typedef struct VmdkPlan {
    const char *create_type;
    uint32_t cid;
    uint32_t parent_cid;
    const char *parent_hint; /* NULL: none */
    int64_t sectors;
    VmdkText extents; /* the extent lines; to be freed */
    int thin;
    const char *preallocation; /* of flat extents, as the option says it; NULL: off */
    char long_id[25]; /* the part of longContentID before the CID */
    /* Left out where they are NULL or empty: */
    const char *adapter;
    char hw_version[24];
    char tools_version[24];
} VmdkPlan;

void vmdk_compose(VmdkText *text, const VmdkPlan *plan);
/* Adds an extent line. */
void vmdk_compose_line(VmdkText *text, const VmdkExtentLine *line);
/* The same of one that begins at its file's byte 0. */
void vmdk_compose_extent(VmdkText *text, int64_t sectors, VmdkKind kind, const char *name);
/* The geometry that a disk of that size has at that kind of adapter. */
void vmdk_choose_geometry(const char *adapter, int64_t sectors, BdrvGeometry *geometry);

/* What VMware writes for tools that it does not know. */
#define VMDK_TOOLS_UNKNOWN "2147483647"

extern const BdrvOption vmdk_create_options[];
/* -EINVAL: one is given that the subformat has no use for, or not one that it needs;
 * -ENOTSUP: the subformat cannot go through a pipe. */
int vmdk_check_create_options(const BlockDriverState *file, const BdrvOptions *options);
int vmdk_create(BlockDriverState *file, const BdrvCreateParams *params);

/* The option grain_size, if it is given; the limits are sectors. */
int vmdk_choose_grain(const BlockDriverState *file, const BdrvOptions *options, int64_t least,
                      int64_t most, int64_t *grain_sectors);
/* Makes the file bytes long, all zeros, whatever it was before. */
int vmdk_make_room(BlockDriverState *file, int64_t bytes);
/* Makes file an empty sparse extent of that many sectors, with the descriptor
 * that plan says inside; NULL: without one. */
int vmdk_create_sparse(BlockDriverState *file, const BdrvOptions *options, int64_t sectors,
                       const VmdkPlan *plan);
/* Makes file an empty copy-on-write extent for the whole disk. */
int vmdk_create_cowd(BlockDriverState *file, const BdrvCreateParams *params,
                     const VmdkPlan *plan, VmdkCowdRole role);
/* The file's name without its directory; whether a descriptor can hold a name. */
const char *vmdk_name_of(const BlockDriverState *file);
int vmdk_can_be_quoted(const char *name);

/* A kind of image whose descriptor is a text file of its own. */
typedef struct VmdkFilesKind VmdkFilesKind;
/* NULL: the subformat is none of these. */
const VmdkFilesKind *vmdk_files_kind(const char *subformat);
/* Makes file such an image, and the files it needs beside it. */
int vmdk_create_files(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan,
                      const VmdkFilesKind *kind);

/* Makes an extent of kind and that many sectors in its file.  plan->sectors is the
 * disk's. */
int vmdk_make_extent(BlockDriverState *extent, const BdrvCreateParams *params,
                     const VmdkPlan *plan, VmdkKind kind, int64_t sectors);
/* Writes the descriptor that plan says as the whole text of the file. */
int vmdk_write_text(BlockDriverState *file, const VmdkPlan *plan);

/* The extent lines of a new image whose files are, in part, there before it. */
typedef struct VmdkNewLines {
    VmdkExtentLine *list; /* to be freed by vmdk_new_lines_free() */
    size_t count;         /* 0: the subformat is no such kind */
    int64_t sectors;      /* their sum */
    /* partitionedDevice: the file that gets what the device has in the places of
     * its lines; NULL: there is none. */
    char *copy;
    char *device;
} VmdkNewLines;

/* -EINVAL: they make no sense, or not with params->size (0: any size). */
int vmdk_new_lines(BlockDriverState *file, const BdrvCreateParams *params, VmdkNewLines *lines);
void vmdk_new_lines_free(VmdkNewLines *lines);
/* Makes file such an image, and the files it names that do not exist. */
int vmdk_create_lines(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan,
                      const VmdkNewLines *lines);

/* Adds an extent; name (may be NULL) is copied. */
int vmdk_new_lines_add(VmdkNewLines *lines, VmdkExtentLine line, const char *name);
/* Adds the lines that show the partitions of device whose numbers are in shown,
 * "1+3"; what lies between partitions is to be in the file lines->copy. */
int vmdk_partition_lines(BlockDriverState *device, const char *shown, VmdkNewLines *lines);

#endif
