/* SPDX-License-Identifier: MIT */
/*
 * create-files.c - new images whose descriptor is a text file of its own, with
 * extents in files beside it: flat and split disks, ESX disks and deltas.
 *
 *     disk.vmdk  ─names─▶  disk-flat.vmdk                  one file of bytes
 *                          disk-f001.vmdk disk-f002.vmdk … many
 *                          disk-s001.vmdk disk-s002.vmdk … many sparse extents
 *                          disk-delta.vmdk                 one copy-on-write extent
 *
 * The extents come first: a descriptor that is there names what is there.
 */
#include "vmdk.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* VMware's: a sparse extent of that, full and with its tables, has just less
     * than 2 GiB. */
    EXTENT_SECTORS_DEFAULT = 4192256,
    EXTENT_SECTORS_UNIT = 128,
    ZERO_BYTES = 1024 * 1024, /* one write of a preallocation */
    NAME_BYTES = VMDK_NAME_MAX + 1
};

struct VmdkFilesKind {
    const char *subformat;
    const char *create_type;
    const char *suffix; /* of the extent's name, or of a split one's before the number */
    VmdkKind kind;
    int is_split;
    int is_thin;
    int can_be_child;
    const char *preallocation; /* if the user says nothing; NULL: off */
};

/* -------------------------------------------------------------------- makers */

static int write_zeros(BlockDriverState *extent, int64_t bytes)
{
    uint8_t *zeros = calloc(1, ZERO_BYTES);
    int ret = zeros ? 0 : -ENOMEM;

    for (int64_t done = 0; ret == 0 && done < bytes; done += ZERO_BYTES) {
        ret = bdrv_pwrite(extent, zeros, (size_t)bdrv_min(ZERO_BYTES, bytes - done), done);
    }
    free(zeros);
    return ret;
}

static int make_flat(BlockDriverState *extent, const VmdkPlan *plan, int64_t sectors)
{
    const char *preallocation = plan->preallocation ? plan->preallocation : "off";
    const int64_t bytes = sectors * BDRV_SECTOR_SIZE;
    int ret = vmdk_make_room(extent, bytes);

    if (ret == 0 && strcmp(preallocation, "falloc") == 0) {
        ret = bdrv_allocate(extent, 0, bytes);
        ret = ret == -ENOTSUP ? bdrv_error_prefix(NULL, ret, "preallocation=falloc") : ret;
    }
    if (ret == 0 && strcmp(preallocation, "full") == 0) {
        ret = write_zeros(extent, bytes);
    }
    return ret;
}

static int make_delta(BlockDriverState *extent, const BdrvCreateParams *params,
                      const VmdkPlan *plan, int64_t sectors)
{
    VmdkPlan own = *plan;

    own.sectors = sectors;
    return vmdk_create_cowd(extent, params, &own, VMDK_COWD_DELTA);
}

static int make_sesparse(BlockDriverState *extent, const BdrvCreateParams *params,
                         int64_t sectors)
{
    if (!bdrv_option_bool(params->options, "sesparse_unverified")) {
        return bdrv_error(extent, -ENOTSUP, "VMware has not published all of the seSparse format, "
                          "so nobody knows if ESXi accepts what is made here; QEMU does.  The "
                          "option sesparse_unverified=on makes it all the same; subformat "
                          "vmfsSparse is the kind of delta that is documented");
    }
    return vmdk_create_sesparse(extent, sectors);
}

int vmdk_make_extent(BlockDriverState *extent, const BdrvCreateParams *params,
                     const VmdkPlan *plan, VmdkKind kind, int64_t sectors)
{
    switch (kind) {
    case VMDK_FLAT:
    case VMDK_VMFS:
    case VMDK_VMFSRDM:
    case VMDK_VMFSRAW:
        return make_flat(extent, plan, sectors);
    case VMDK_SPARSE:
        return vmdk_create_sparse(extent, params->options, sectors, NULL);
    case VMDK_VMFSSPARSE:
        return make_delta(extent, params, plan, sectors);
    case VMDK_SESPARSE:
        return make_sesparse(extent, params, sectors);
    case VMDK_ZERO:
    case VMDK_VSANSPARSE:
        break;
    }
    return bdrv_error(extent, -ENOTSUP, "an extent of type %s is no file that could be made",
                      vmdk_kind_name(kind));
}

/* VMFS tells its kinds of thick and thin disks apart; a descriptor calls all of them
 * "vmfs". */
static const VmdkFilesKind kinds[] = {
    {.subformat = "monolithicFlat", .create_type = "monolithicFlat", .suffix = "flat",
     .kind = VMDK_FLAT},
    {.subformat = "twoGbMaxExtentFlat", .create_type = "twoGbMaxExtentFlat", .suffix = "f",
     .kind = VMDK_FLAT, .is_split = 1},
    {.subformat = "2GbMaxExtentFlat", .create_type = "2GbMaxExtentFlat", .suffix = "f",
     .kind = VMDK_FLAT, .is_split = 1},
    {.subformat = "twoGbMaxExtentSparse", .create_type = "twoGbMaxExtentSparse", .suffix = "s",
     .kind = VMDK_SPARSE, .is_split = 1, .can_be_child = 1},
    {.subformat = "2GbMaxExtentSparse", .create_type = "2GbMaxExtentSparse", .suffix = "s",
     .kind = VMDK_SPARSE, .is_split = 1, .can_be_child = 1},
    {.subformat = "vmfs", .create_type = "vmfs", .suffix = "flat", .kind = VMDK_VMFS},
    {.subformat = "vmfsThin", .create_type = "vmfs", .suffix = "flat", .kind = VMDK_VMFS,
     .is_thin = 1},
    {.subformat = "vmfsPreallocated", .create_type = "vmfs", .suffix = "flat",
     .kind = VMDK_VMFS, .preallocation = "falloc"},
    {.subformat = "vmfsEagerZeroedThick", .create_type = "vmfs", .suffix = "flat",
     .kind = VMDK_VMFS, .preallocation = "full"},
    {.subformat = "vmfsSparse", .create_type = "vmfsSparse", .suffix = "delta",
     .kind = VMDK_VMFSSPARSE, .can_be_child = 1},
    {.subformat = "seSparse", .create_type = "seSparse", .suffix = "sesparse",
     .kind = VMDK_SESPARSE, .can_be_child = 1},
};

const VmdkFilesKind *vmdk_files_kind(const char *subformat)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].subformat, subformat) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* --------------------------------------------------------------------- names */

/* "disk" of "disk.vmdk": how much of the name is the base of the others. */
static int base_length(const char *name)
{
    size_t length = strlen(name);

    return (int)(length > 5 && strcmp(name + length - 5, ".vmdk") == 0 ? length - 5 : length);
}

static int name_extent(const BlockDriverState *file, const VmdkFilesKind *kind, int64_t number,
                       char name[NAME_BYTES])
{
    const char *own = vmdk_name_of(file);
    int length = kind->is_split
                     ? snprintf(name, NAME_BYTES, "%.*s-%s%03" PRId64 ".vmdk", base_length(own),
                                own, kind->suffix, number)
                     : snprintf(name, NAME_BYTES, "%.*s-%s.vmdk", base_length(own), own,
                                kind->suffix);

    if (length < 0 || length >= NAME_BYTES || !vmdk_can_be_quoted(own)) {
        return bdrv_error(file, -EINVAL, "the extent's name cannot be written in a descriptor: it "
                          "has a quote or control character, or more than %d bytes",
                          VMDK_NAME_MAX);
    }
    return 0;
}

/* Is path (beside the new image) one that name_extent() could make? */
static int is_name_of_ours(const BlockDriverState *file, const VmdkFilesKind *kind,
                           const char *path)
{
    const char *own = bdrv_filename(file);
    const size_t base = strlen(own) - strlen(vmdk_name_of(file)) +
                        (size_t)base_length(vmdk_name_of(file));
    const char *rest = path + base + 1;

    if (strncmp(path, own, base) != 0 || path[base] != '-' ||
        strncmp(rest, kind->suffix, strlen(kind->suffix)) != 0) {
        return 0;
    }
    rest += strlen(kind->suffix);
    while (kind->is_split && isdigit((unsigned char)*rest)) {
        rest++;
    }
    return strcmp(rest, ".vmdk") == 0;
}

/* Disks are renamed by renaming their descriptor.  A child that then gets the
 * old name would get the old names of extents too, and empty the parent's. */
static int check_parents_names(const BlockDriverState *file, const VmdkFilesKind *kind,
                               const BlockDriverState *parent)
{
    char path[4096];

    for (; parent && strcmp(bdrv_driver_name(parent), "vmdk") == 0;
         parent = bdrv_backing(parent)) {
        const VmdkDescriptor *d = &((const Vmdk *)bdrv_state(parent))->descriptor;

        for (size_t i = 0; i < d->extent_count; i++) {
            if (d->extents[i].name &&
                bdrv_path_join(path, sizeof path, bdrv_filename(parent),
                               d->extents[i].name) == 0 &&
                is_name_of_ours(file, kind, path)) {
                return bdrv_error(file, -EINVAL, "the parent '%s' has an extent '%s', which is "
                                  "what an extent of the new image would be called: give the "
                                  "new image another name", bdrv_filename(parent),
                                  d->extents[i].name);
            }
        }
    }
    return 0;
}

/* ------------------------------------------------------------------- extents */

static int choose_extent_sectors(const BlockDriverState *file, const BdrvOptions *options,
                                 const VmdkPlan *plan, int64_t *sectors)
{
    const int64_t bytes = bdrv_option_number(options, "extent_size");
    const int64_t unit = bdrv_max(EXTENT_SECTORS_UNIT * BDRV_SECTOR_SIZE,
                                  bdrv_option_number(options, "grain_size"));

    if (unit / BDRV_SECTOR_SIZE > EXTENT_SECTORS_DEFAULT) {
        return bdrv_error(file, -EINVAL, "grain_size is %" PRId64 ", more than an extent has", unit);
    }
    *sectors = EXTENT_SECTORS_DEFAULT / (unit / BDRV_SECTOR_SIZE) * (unit / BDRV_SECTOR_SIZE);
    if (bdrv_option_given(options, "extent_size")) {
        if (bytes <= 0 || bytes % unit != 0) {
            return bdrv_error(file, -EINVAL, "extent_size is %" PRId64 "; wanted is a multiple "
                              "of %" PRId64, bytes, unit);
        }
        *sectors = bytes / BDRV_SECTOR_SIZE;
    }
    if (bdrv_div_up(plan->sectors, *sectors) > VMDK_EXTENTS_MAX) {
        return bdrv_error(file, -EINVAL, "a disk of %" PRId64 " sectors in extents of %" PRId64
                          " has more than %d of them: give a larger extent_size", plan->sectors,
                          *sectors, VMDK_EXTENTS_MAX);
    }
    return 0;
}

/* The descriptor of an image that is replaced must not be found, and opened, with files of
 * the new one.  It goes when the first of these could be opened, and nothing before. */
static int retire_old(BlockDriverState *file)
{
    int ret = bdrv_truncate(file, 0); /* a file that is to be replaced calls itself empty already */

    return ret == -ENOTSUP ? 0 : ret; /* storage of a fixed length */
}

/* Closed again at once: there may be more of them than files can be open. */
static int create_extent(BlockDriverState *file, const BdrvCreateParams *params,
                         const VmdkPlan *plan, const VmdkFilesKind *kind, VmdkExtentLine line)
{
    BlockDriverState *extent;
    int ret = bdrv_create_child(file, line.name, &extent), closed;

    if (ret < 0) {
        return ret;
    }
    ret = retire_old(file);
    ret = ret < 0 ? ret : vmdk_make_extent(extent, params, plan, kind->kind, line.sectors);
    if (!kind->is_split) {
        return ret;
    }
    closed = ret < 0 ? 0 : bdrv_close_child(file, extent);
    return ret < 0 ? ret : closed;
}

static int create_extents(BlockDriverState *file, const BdrvCreateParams *params,
                          VmdkPlan *plan, const VmdkFilesKind *kind)
{
    int64_t each = plan->sectors, left = plan->sectors;
    int ret = kind->is_split ? choose_extent_sectors(file, params->options, plan, &each) : 0;

    for (int64_t number = 1; ret == 0 && left > 0; number++) {
        char name[NAME_BYTES];
        VmdkExtentLine line = {.sectors = bdrv_min(each, left), .name = name};

        ret = name_extent(file, kind, number, name);
        if (ret == 0) {
            vmdk_compose_extent(&plan->extents, line.sectors, kind->kind, name);
            ret = plan->extents.failed ? -ENOMEM : 0;
        }
        if (ret == 0 && plan->extents.length > VMDK_TEXT_MAX / 2) {
            ret = bdrv_error(file, -EINVAL, "the extents' names make the descriptor too long: "
                             "give a larger extent_size");
        }
        if (ret == 0) {
            ret = create_extent(file, params, plan, kind, line);
        }
        left -= line.sectors;
    }
    return ret;
}

/* The first bytes come last, when all else is durable: a text that has lost some of its
 * lines would be one of another disk. */
static int write_first_last(BlockDriverState *file, const char *text, size_t length)
{
    enum { FIRST = 8 }; /* of "# Disk DescriptorFile" */
    int ret = bdrv_pwrite(file, text + FIRST, length - FIRST, FIRST);

    if (ret == 0) {
        ret = bdrv_flush(file);
    }
    return ret < 0 ? ret : bdrv_pwrite(file, text, FIRST, 0);
}

int vmdk_write_text(BlockDriverState *file, const VmdkPlan *plan)
{
    VmdkText text = {0};
    int ret;

    vmdk_compose(&text, plan);
    ret = text.failed ? -ENOMEM : write_first_last(file, text.bytes, text.length);
    free(text.bytes);
    return ret;
}

int vmdk_create_files(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan,
                      const VmdkFilesKind *kind)
{
    int ret;

    if (params->backing && !kind->can_be_child) {
        return bdrv_error(file, -EINVAL, "subformat %s has all of its disk in its own files, so "
                          "no parent can show through; monolithicSparse, twoGbMaxExtentSparse "
                          "and vmfsSparse can have one", kind->subformat);
    }
    plan->create_type = kind->create_type;
    plan->thin = kind->is_thin;
    plan->preallocation = bdrv_option_given(params->options, "preallocation")
                              ? bdrv_option_string(params->options, "preallocation")
                              : kind->preallocation;
    ret = check_parents_names(file, kind, params->backing);
    if (ret == 0) {
        ret = create_extents(file, params, plan, kind);
    }
    return ret < 0 ? ret : vmdk_write_text(file, plan);
}
