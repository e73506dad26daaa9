/* SPDX-License-Identifier: MIT */
/*
 * guess.c - which extents belong to a descriptor that makes no sense: VMware's
 * programs name their files after it, "disk.vmdk" having
 *
 *     disk-s001.vmdk, …    sparse      disk-flat.vmdk     flat
 *     disk-f001.vmdk, …    flat        disk-delta.vmdk    copy on write
 *
 * and how long they are the files themselves tell.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Pattern {
    const char *suffix; /* of a number, if there are several */
    VmdkKind kind;
    int many;
} Pattern;

static const Pattern patterns[] = {
    {"-s", VMDK_SPARSE, 1},
    {"-f", VMDK_FLAT, 1},
    {"-flat", VMDK_FLAT, 0},
    {"-delta", VMDK_VMFSSPARSE, 0},
};

/* "disk.vmdk" and "-s", 1 give "disk-s001.vmdk".  0: too long. */
static int make_name(const Vmdk *image, const Pattern *pattern, unsigned number, char *name,
                     size_t size)
{
    const char *own = vmdk_name_of(bdrv_file(image->bs));
    const size_t length = strlen(own);
    const int base = (int)(length > 5 && strcmp(own + length - 5, ".vmdk") == 0 ? length - 5
                                                                                : length);
    int made = pattern->many
                   ? snprintf(name, size, "%.*s%s%03u.vmdk", base, own, pattern->suffix, number)
                   : snprintf(name, size, "%.*s%s.vmdk", base, own, pattern->suffix);

    return made > 0 && (size_t)made < size && vmdk_can_be_quoted(name);
}

static int64_t read_sectors(BlockDriverState *file, VmdkKind kind)
{
    VmdkHeader sparse;
    VmdkCowdHeader cowd;

    if (kind == VMDK_SPARSE) {
        return vmdk_header_read(file, &sparse) == 0 ? (int64_t)sparse.capacity_sectors : 0;
    }
    if (kind == VMDK_VMFSSPARSE) {
        return vmdk_cowd_header_read(file, &cowd) == 0 ? cowd.capacity_sectors : 0;
    }
    return bdrv_getlength(file) / BDRV_SECTOR_SIZE;
}

static int add_line(VmdkDescriptor *d, VmdkKind kind, int64_t sectors, const char *name)
{
    VmdkExtentLine *extents = realloc(d->extents, (d->extent_count + 1) * sizeof *extents);
    char *copy = strdup(name);

    if (extents) {
        d->extents = extents;
    }
    if (!extents || !copy) {
        free(copy);
        return -ENOMEM;
    }
    extents[d->extent_count++] = (VmdkExtentLine){.kind = kind, .sectors = sectors,
                                                  .name = copy};
    return 0;
}

/* 1: there is such a file; 0: not. */
static int add_file(Vmdk *image, const Pattern *pattern, unsigned number)
{
    char name[VMDK_NAME_MAX + 1];
    BlockDriverState *file;
    int64_t sectors;
    int ret;

    if (!make_name(image, pattern, number, name, sizeof name)) {
        return 0;
    }
    ret = bdrv_open_child_to_read(image->bs, name, &file);
    if (ret < 0) { /* without one that is there, the disk would be another one */
        return ret == -ENOENT ? 0 : ret;
    }
    sectors = read_sectors(file, pattern->kind);
    bdrv_close_child(image->bs, file);
    if (sectors <= 0) {
        return -EINVAL;
    }
    ret = add_line(&image->descriptor, pattern->kind, sectors, name);
    return ret < 0 ? ret : 1;
}

/* As the parser does it.  Each is a length that the file's header, or the file, may have. */
static int check_sum(const VmdkDescriptor *d, int64_t *sum)
{
    return !bdrv_add(*sum, d->extents[d->extent_count - 1].sectors, sum) ||
                   (uint64_t)*sum >= VMDK_CAPACITY_SECTORS_END
               ? -EINVAL
               : 1;
}

int vmdk_guess_descriptor(Vmdk *image)
{
    int64_t sum = 0;

    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        const unsigned most = patterns[p].many ? VMDK_EXTENTS_MAX : 1;
        unsigned number = 1;
        int ret = 1;

        while (ret == 1 && number <= most) {
            ret = add_file(image, &patterns[p], number++);
            ret = ret == 1 ? check_sum(&image->descriptor, &sum) : ret;
        }
        if (ret < 0) {
            return ret;
        }
        if (image->descriptor.extent_count > 0) {
            return 0;
        }
    }
    return -ENOENT;
}
