/* SPDX-License-Identifier: MIT */
/*
 * damaged.c - opens, for bdrv_check() and only with BDRV_O_CHECK, what cannot
 * be opened for use.  What is wrong is noted, what can be read is read, and the
 * rest fails.  Nothing is judged here and nothing mended: that is check.c.
 *
 *     the extent cannot be written to   it can still be read
 *     nor that                          it keeps its place, and reads fail
 *     the header is destroyed           the descriptor behind it may not be
 *     the descriptor is destroyed       the extents may not be
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum {
    EMBEDDED_ROOM = 20 * BDRV_SECTOR_SIZE, /* what all programs set aside */
    EMBEDDED_AT = BDRV_SECTOR_SIZE
};

/* The message of the last failure, to be freed. */
static int note(char **problem)
{
    char *copy = strdup(bdrv_errmsg());

    if (!copy) {
        return -ENOMEM;
    }
    free(*problem);
    *problem = copy;
    return 0;
}

/* What this process has no room for says nothing of the image. */
static int is_shortage(int error)
{
    return error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

/* ----------------------------------------- an extent that cannot be opened */

static int unusable(const VmdkExtent *extent)
{
    return bdrv_error(vmdk_extent_node(extent), -EIO, "the extent is damaged: %s",
                      extent->problem);
}

static int damaged_open(VmdkExtent *extent)
{
    return unusable(extent);
}

static int damaged_read(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset)
{
    (void)buf, (void)bytes, (void)offset;
    return unusable(extent);
}

static int damaged_write(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset)
{
    (void)buf, (void)bytes, (void)offset;
    return unusable(extent);
}

static int damaged_write_zeroes(VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    (void)offset, (void)bytes;
    return unusable(extent);
}

static int damaged_is_allocated(VmdkExtent *extent, int64_t offset, int64_t bytes,
                                BdrvExtent *run)
{
    (void)offset, (void)bytes, (void)run;
    return unusable(extent);
}

static void damaged_close(VmdkExtent *extent)
{
    (void)extent;
}

const VmdkExtentOps vmdk_damaged_extent = {
    .open = damaged_open,
    .read = damaged_read,
    .write = damaged_write,
    .write_zeroes = damaged_write_zeroes,
    .is_allocated = damaged_is_allocated,
    .settle = vmdk_extent_settled,
    .close = damaged_close,
};

static void close_extent(VmdkExtent *extent)
{
    if (extent->ops) {
        extent->ops->close(extent);
        extent->ops = NULL;
    }
}

int vmdk_extent_open_damaged(VmdkExtent *extent, int error)
{
    int ret = is_shortage(error) ? error : note(&extent->problem);

    if (ret < 0) {
        return ret;
    }
    extent->problem_error = error;
    close_extent(extent);
    ret = vmdk_extent_open(extent);
    if (ret == 0) {
        return 0; /* to be read, as far as it goes */
    }
    /* Why an open file cannot be read says more than why it cannot be written. */
    if (ret != -ENOMEM && extent->file) {
        extent->problem_error = ret;
        ret = note(&extent->problem);
    } else if (ret != -ENOMEM) {
        ret = 0;
    }
    close_extent(extent);
    extent->ops = &vmdk_damaged_extent;
    return ret;
}

/* --------------------------------------------- an image that cannot be opened */

static void start_again(Vmdk *image)
{
    vmdk_extents_close(image);
    vmdk_descriptor_free(&image->descriptor);
    image->descriptor.parent_cid = VMDK_CID_NONE;
    image->descriptor_file = bdrv_file(image->bs);
    image->descriptor_offset = 0;
    image->descriptor_room = 0;
    bdrv_set_length(image->bs, 0);
}

/* Parses a text that would be behind a header. */
static int read_embedded(Vmdk *image)
{
    BlockDriverState *file = bdrv_file(image->bs);
    char text[EMBEDDED_ROOM];
    const int64_t size = bdrv_min(bdrv_getlength(file) - EMBEDDED_AT, EMBEDDED_ROOM);
    int ret = size > 0 ? bdrv_pread(file, text, (size_t)size, EMBEDDED_AT) : -EINVAL;

    if (ret == 0 && !vmdk_descriptor_probe((const uint8_t *)text, (size_t)size)) {
        ret = -EINVAL;
    }
    if (ret == 0) {
        ret = vmdk_descriptor_parse(image->bs, text, (size_t)size, &image->descriptor);
    }
    if (ret == 0) {
        ret = vmdk_note_encoding(image);
    }
    if (ret == 0 && image->descriptor.extents[0].kind != VMDK_SPARSE) {
        ret = -EINVAL;
    }
    image->descriptor_offset = EMBEDDED_AT;
    image->descriptor_room = EMBEDDED_ROOM;
    return ret;
}

/* The header is what is wrong: its extent will tell.  1: there is no text. */
static int salvage_behind_header(Vmdk *image)
{
    int ret;

    start_again(image);
    ret = read_embedded(image);
    if (ret == -EINVAL && !image->descriptor.is_foreign) {
        return 1;
    }
    return ret < 0 ? ret : vmdk_extents_open(image, bdrv_file(image->bs));
}

/* An extent of a split disk may have room for a descriptor that is not there;
 * what it is, only its name tells. */
static int is_named_as_part(const Vmdk *image)
{
    const char *name = vmdk_name_of(bdrv_file(image->bs));
    const size_t length = strlen(name);
    const char *number = length >= 10 ? name + length - 10 : "";

    return strlen(number) == 10 && number[0] == '-' && (number[1] == 's' || number[1] == 'f') &&
           strspn(number + 2, "0123456789") == 3 && strcmp(number + 5, ".vmdk") == 0;
}

/* The text may be where it always is, whatever the header says of that. */
static int salvage_sparse(Vmdk *image)
{
    VmdkHeader header;
    int ret = salvage_behind_header(image);

    if (ret != 1) {
        return ret;
    }
    start_again(image);
    if (vmdk_header_read_front(bdrv_file(image->bs), &header) < 0 ||
        header.descriptor_sector == 0 || header.descriptor_sectors == 0 ||
        is_named_as_part(image)) {
        return -EINVAL; /* there is nothing, or it is only not all of the disk */
    }
    ret = vmdk_extents_open_alone(image, VMDK_SPARSE);
    image->descriptor_offset = (int64_t)header.descriptor_sector * BDRV_SECTOR_SIZE;
    image->descriptor_room = (int64_t)header.descriptor_sectors * BDRV_SECTOR_SIZE;
    return ret;
}

/* Of a text that makes no sense, the extents may lie beside it.  (That of a longer file was not
 * looked at.) */
static int salvage_text(Vmdk *image)
{
    const int64_t size = bdrv_getlength(bdrv_file(image->bs));
    int ret;

    start_again(image);
    ret = (uint64_t)size > bdrv_limits(image->bs)->descriptor_bytes
              ? -EINVAL
              : vmdk_guess_descriptor(image);
    return ret < 0 ? ret : vmdk_extents_open(image, NULL);
}

static int salvage_by_magic(Vmdk *image, const uint8_t *head, size_t size)
{
    int ret;

    switch (vmdk_magic(head, size)) {
    case VMDK_MAGIC_SPARSE:
        return salvage_sparse(image);
    case VMDK_MAGIC_COWD:
        start_again(image);
        return vmdk_extents_open_alone(image, VMDK_VMFSSPARSE);
    case VMDK_MAGIC_NONE:
        ret = salvage_behind_header(image);
        return ret == 1 ? salvage_text(image) : ret;
    case VMDK_MAGIC_UNFINISHED:
    case VMDK_MAGIC_SESPARSE:
    case VMDK_MAGIC_CHANGES:
        break;
    }
    return -EINVAL;
}

/* Is there no text to be kept?  Of one extent that has none, nothing is wrong
 * with that. */
static int has_lost_descriptor(const Vmdk *image)
{
    return !image->descriptor.text &&
           (image->descriptor_room > 0 || image->extents[0].line->name != NULL);
}

int vmdk_image_salvage(Vmdk *image, int error)
{
    BlockDriverState *file = bdrv_file(image->bs);
    uint8_t head[VMDK_HEADER_BYTES];
    const size_t size = (size_t)bdrv_min(bdrv_getlength(file), (int64_t)sizeof head);
    char *message = NULL;
    int ret = image->descriptor.is_foreign ? error : note(&message);

    if (ret == 0) {
        ret = bdrv_pread(file, head, size, 0);
    }
    if (ret == 0) {
        ret = salvage_by_magic(image, head, size);
    }
    if (ret == 0 && has_lost_descriptor(image)) {
        image->descriptor_problem = message;
        message = NULL;
    }
    if (ret < 0 && message) { /* the first is what is to be told */
        ret = bdrv_error(NULL, ret == -ENOMEM ? ret : error, "%s", message);
    }
    free(message);
    return ret;
}

/* -------------------------------------------------------------------- parent */

/* One that somebody writes to is not damaged. */
int vmdk_parent_damaged(Vmdk *image, int error)
{
    return is_shortage(error) || error == -EBUSY ? error : note(&image->parent_problem);
}

int vmdk_parent_needed(Vmdk *image, int64_t offset, int64_t bytes)
{
    while (bytes > 0) {
        BdrvExtent run = {0};
        int ret = bdrv_is_allocated(image->bs, offset, bytes, &run);

        if (ret < 0) {
            return ret;
        }
        if (run.state == BDRV_UNALLOCATED) {
            return bdrv_error(image->bs, -EIO, "byte %" PRId64 " of the disk is in the parent: "
                              "%s", offset, image->parent_problem);
        }
        offset += run.bytes;
        bytes -= run.bytes;
    }
    return 0;
}

/* -------------------------------------------------------------------- writing */

static int refuse(const Vmdk *image, const char *problem)
{
    return bdrv_error(image->bs, -EROFS, "the image must be repaired before it is written to: %s",
                      problem);
}

int vmdk_image_refuse_damaged(const Vmdk *image)
{
    if (image->descriptor_in_doubt) {
        return bdrv_error(image->bs, -EROFS, "a change of its descriptor has failed half-way: the "
                          "image can only be read until it is opened again");
    }
    if (!(bdrv_open_flags(image->bs) & BDRV_O_CHECK)) {
        return 0;
    }
    if (image->descriptor_problem || image->parent_problem) {
        return refuse(image, image->descriptor_problem ? image->descriptor_problem
                                                       : image->parent_problem);
    }
    if (image->descriptor.read_only_reason) {
        return bdrv_error(image->bs, -EROFS, "the image can only be read: its descriptor has %s",
                          image->descriptor.read_only_reason);
    }
    for (size_t i = 0; i < image->extent_count; i++) {
        if (image->extents[i].problem) {
            return refuse(image, image->extents[i].problem);
        }
    }
    return 0;
}
