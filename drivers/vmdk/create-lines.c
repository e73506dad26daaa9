/* SPDX-License-Identifier: MIT */
/*
 * create-lines.c - new images over what exists already: a descriptor whose extents
 * are a device, partitions of one, or whatever the user says line by line.
 *
 *     custom             the option extents, as the descriptor will have it
 *     fullDevice         one FLAT extent: the device, or file
 *     vmfsRaw…           the same, in the words of ESX
 *     partitionedDevice  see partitions.c
 *
 * Bytes that exist stay as they are; a file that does not exist is made.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINES_MAX = 4096 /* of the option extents, which a user types */
};

void vmdk_new_lines_free(VmdkNewLines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        free(lines->list[i].name);
    }
    free(lines->list);
    free(lines->copy);
    free(lines->device);
    *lines = (VmdkNewLines){0};
}

int vmdk_new_lines_add(VmdkNewLines *lines, VmdkExtentLine line, const char *name)
{
    VmdkExtentLine *list = realloc(lines->list, (lines->count + 1) * sizeof *list);

    if (!list) {
        return -ENOMEM;
    }
    lines->list = list;
    line.name = name ? strdup(name) : NULL;
    if (name && !line.name) {
        return -ENOMEM;
    }
    lines->sectors += line.sectors;
    list[lines->count++] = line;
    return 0;
}

/* ------------------------------------------------------------------- custom */

/* The lines as text, with the options behind them that a descriptor needs, so that
 * messages count lines from 1. */
static char *lines_as_text(const char *extents)
{
    VmdkText text = {0};

    vmdk_text_append(&text, (VmdkSlice){extents, strlen(extents)});
    for (char *c = text.bytes; c && *c; c++) {
        *c = (char)(*c == ';' ? '\n' : *c);
    }
    vmdk_text_printf(&text, "\nversion=1\ncreateType=\"custom\"\n");
    if (text.failed) {
        free(text.bytes);
        return NULL;
    }
    return text.bytes;
}

static int take_lines(const BlockDriverState *file, const VmdkDescriptor *d, VmdkNewLines *lines)
{
    int ret = 0;

    if (d->extent_count > LINES_MAX) {
        return bdrv_error(file, -EINVAL, "the option extents has %zu lines; the limit is %d",
                          d->extent_count, LINES_MAX);
    }
    for (size_t i = 0; ret == 0 && i < d->extent_count; i++) {
        ret = vmdk_new_lines_add(lines, d->extents[i], d->extents[i].name);
    }
    return ret;
}

static int parse_lines(const BlockDriverState *file, const char *extents, VmdkNewLines *lines)
{
    char *text = lines_as_text(extents);
    VmdkDescriptor d;
    int ret;

    if (!text) {
        return -ENOMEM;
    }
    ret = vmdk_descriptor_parse(file, text, strlen(text), &d);
    ret = ret < 0 ? bdrv_error_prefix(NULL, ret, "the option extents") : take_lines(file, &d, lines);
    vmdk_descriptor_free(&d);
    free(text);
    return ret;
}

/* ------------------------------------------------------------------ devices */

static int add_whole(const BlockDriverState *file, BlockDriverState *device,
                     const char *subformat, VmdkNewLines *lines)
{
    const VmdkKind kind = strcmp(subformat, "fullDevice") == 0 ? VMDK_FLAT
                          : strcmp(subformat, "vmfsRaw") == 0  ? VMDK_VMFSRAW
                                                               : VMDK_VMFSRDM;
    const VmdkExtentLine line = {.kind = kind,
                                 .sectors = bdrv_getlength(device) / BDRV_SECTOR_SIZE};

    if (line.sectors == 0) {
        return bdrv_error(file, -EINVAL, "the device '%s' has less than a sector", lines->device);
    }
    return vmdk_new_lines_add(lines, line, lines->device);
}

/* "disk.vmdk" has its copy of the partition table in "disk-pt.vmdk". */
static char *table_name(const BlockDriverState *file)
{
    const char *own = vmdk_name_of(file);
    const size_t length = strlen(own), base = length > 5 && strcmp(own + length - 5, ".vmdk") == 0
                                                  ? length - 5 : length;
    VmdkText name = {0};

    vmdk_text_append(&name, (VmdkSlice){own, base});
    vmdk_text_printf(&name, "-pt.vmdk");
    if (name.failed) {
        free(name.bytes);
        return NULL;
    }
    return name.bytes;
}

static int add_partitions(const BlockDriverState *file, BlockDriverState *device,
                          const BdrvOptions *options, VmdkNewLines *lines)
{
    lines->copy = table_name(file);
    if (!lines->copy) {
        return -ENOMEM;
    }
    return vmdk_partition_lines(device, bdrv_option_string(options, "partitions"), lines);
}

static int add_device(BlockDriverState *file, const BdrvOptions *options, VmdkNewLines *lines)
{
    const char *subformat = bdrv_option_string(options, "subformat");
    BlockDriverState *device;
    int ret;

    lines->device = strdup(bdrv_option_string(options, "device"));
    if (!lines->device) {
        return -ENOMEM;
    }
    if (!vmdk_can_be_quoted(lines->device)) {
        return bdrv_error(file, -EINVAL, "the device's name cannot be written in a descriptor: it "
                          "has a quote or control character");
    }
    ret = bdrv_open_child_to_read(file, lines->device, &device);
    if (ret < 0) {
        return bdrv_error_prefix(file, ret, "cannot open the device '%s'", lines->device);
    }
    ret = strcmp(subformat, "partitionedDevice") == 0
              ? add_partitions(file, device, options, lines)
              : add_whole(file, device, subformat, lines);
    bdrv_close_child(file, device);
    return ret;
}

int vmdk_new_lines(BlockDriverState *file, const BdrvCreateParams *params, VmdkNewLines *lines)
{
    int ret = 0;

    if (bdrv_option_given(params->options, "extents")) {
        ret = parse_lines(file, bdrv_option_string(params->options, "extents"), lines);
    } else if (bdrv_option_given(params->options, "device")) {
        ret = add_device(file, params->options, lines);
    }
    if (ret == 0 && lines->count > 0 && params->size != 0 &&
        params->size != lines->sectors * BDRV_SECTOR_SIZE) {
        ret = bdrv_error(file, -EINVAL, "the size is %" PRId64 " bytes, that of all extents %"
                         PRId64 ": give this, or 0", params->size,
                         lines->sectors * BDRV_SECTOR_SIZE);
    }
    return ret;
}

/* -------------------------------------------------------------------- files */

/* How far the flat lines reach in the file of line, that they share. */
static int64_t sectors_needed(const VmdkNewLines *lines, const VmdkExtentLine *line)
{
    int64_t most = line->sectors;

    for (size_t i = 0; vmdk_kind_is_flat(line->kind) && i < lines->count; i++) {
        const VmdkExtentLine *other = &lines->list[i];

        if (other->name && strcmp(other->name, line->name) == 0) {
            most = bdrv_max(most, other->offset_sectors + other->sectors);
        }
    }
    return most;
}

static int is_first_of_file(const VmdkNewLines *lines, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        const VmdkExtentLine *other = &lines->list[i];

        if (other->name && strcmp(other->name, lines->list[index].name) == 0 &&
            other->access != VMDK_NOACCESS) {
            return 0;
        }
    }
    return 1;
}

static int check_existing(BlockDriverState *file, BlockDriverState *extent,
                          const VmdkExtentLine *line, int64_t sectors)
{
    if (vmdk_is_same_file(file, extent)) {
        return bdrv_error(file, -EINVAL, "the extent '%s' is the file of the image itself",
                          line->name);
    }
    if (!vmdk_kind_is_flat(line->kind)) {
        return bdrv_error(file, -EEXIST, "the file '%s' exists, and only the bytes of flat "
                          "extents can be used as they are", line->name);
    }
    if (bdrv_getlength(extent) / BDRV_SECTOR_SIZE < sectors) {
        return bdrv_error(file, -EINVAL, "the file '%s' has %" PRId64 " bytes, its extents reach "
                          "to %" PRId64, line->name, bdrv_getlength(extent),
                          sectors * BDRV_SECTOR_SIZE);
    }
    return 0;
}

static int copy_lines(BlockDriverState *file, BlockDriverState *copy, const VmdkNewLines *lines)
{
    enum {
        CHUNK = 65536
    };
    uint8_t *buf = malloc(CHUNK);
    BlockDriverState *device = NULL;
    int64_t start = 0;
    int ret = buf ? bdrv_open_child_to_read(file, lines->device, &device) : -ENOMEM;

    for (size_t i = 0; ret == 0 && i < lines->count; i++) {
        const VmdkExtentLine *line = &lines->list[i];
        const int64_t length = line->sectors * BDRV_SECTOR_SIZE;

        for (int64_t at = 0; line->name && strcmp(line->name, lines->copy) == 0 && ret == 0 &&
                             at < length; at += CHUNK) {
            const size_t now = (size_t)bdrv_min(CHUNK, length - at);

            ret = bdrv_pread(device, buf, now, start + at);
            if (ret == 0) {
                ret = bdrv_pwrite(copy, buf, now, line->offset_sectors * BDRV_SECTOR_SIZE + at);
            }
        }
        start += length;
    }
    if (device) {
        bdrv_close_child(file, device);
    }
    free(buf);
    return ret;
}

/* What is to hold the copy must not be what is copied.  (It is made, or emptied, later.) */
static int check_copy(BlockDriverState *file, const VmdkNewLines *lines)
{
    BlockDriverState *device, *copy;
    int ret = bdrv_open_child_to_read(file, lines->device, &device);

    if (ret < 0) {
        return ret;
    }
    if (bdrv_open_child_to_read(file, lines->copy, &copy) == 0) {
        if (vmdk_is_same_file(device, copy)) {
            ret = bdrv_error(file, -EEXIST, "the file '%s', in which the device's tables would be "
                             "copied, is the device itself: give the image another name",
                             lines->copy);
        }
        bdrv_close_child(file, copy);
    }
    bdrv_close_child(file, device);
    return ret;
}

static int make_file(BlockDriverState *file, const BdrvCreateParams *params,
                     const VmdkPlan *plan, const VmdkNewLines *lines, const VmdkExtentLine *line)
{
    BlockDriverState *extent;
    int ret = bdrv_create_child(file, line->name, &extent), closed;

    if (ret == 0) {
        ret = vmdk_make_extent(extent, params, plan, line->kind, sectors_needed(lines, line));
    }
    if (ret == 0 && lines->copy && strcmp(line->name, lines->copy) == 0) {
        ret = copy_lines(file, extent, lines);
    }
    closed = ret < 0 ? 0 : bdrv_close_child(file, extent);
    return ret < 0 ? ret : closed;
}

static int provide_file(BlockDriverState *file, const BdrvCreateParams *params,
                        const VmdkPlan *plan, const VmdkNewLines *lines, size_t index)
{
    const VmdkExtentLine *line = &lines->list[index];
    const int is_copy = lines->copy && line->name && strcmp(line->name, lines->copy) == 0;
    BlockDriverState *extent;
    int ret;

    if (!line->name || line->access == VMDK_NOACCESS || !is_first_of_file(lines, index)) {
        return 0;
    }
    if (strcmp(line->name, vmdk_name_of(file)) == 0) {
        return bdrv_error(file, -EINVAL, "the extent '%s' has the name of the image itself",
                          line->name);
    }
    if (is_copy) {
        ret = check_copy(file, lines);
        return ret < 0 ? ret : make_file(file, params, plan, lines, line);
    }
    ret = bdrv_open_child_to_read(file, line->name, &extent);
    if (ret == -ENOENT) {
        return make_file(file, params, plan, lines, line);
    }
    if (ret < 0) {
        return bdrv_error_prefix(file, ret, "cannot open the extent '%s'", line->name);
    }
    ret = check_existing(file, extent, line, sectors_needed(lines, line));
    bdrv_close_child(file, extent);
    return ret;
}

static int check_parent(const BlockDriverState *file, const BdrvCreateParams *params,
                        const VmdkNewLines *lines)
{
    for (size_t i = 0; params->backing && i < lines->count; i++) {
        if (vmdk_kind_is_flat(lines->list[i].kind) || lines->list[i].kind == VMDK_ZERO) {
            return bdrv_error(file, -EINVAL, "extent %zu is %s: no parent can show through it", i + 1,
                              vmdk_kind_name(lines->list[i].kind));
        }
    }
    return 0;
}

int vmdk_create_lines(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan,
                      const VmdkNewLines *lines)
{
    int ret = check_parent(file, params, lines);

    plan->preallocation = bdrv_option_string(params->options, "preallocation");
    for (size_t i = 0; ret == 0 && i < lines->count; i++) {
        vmdk_compose_line(&plan->extents, &lines->list[i]);
        ret = plan->extents.failed ? -ENOMEM : provide_file(file, params, plan, lines, i);
    }
    return ret < 0 ? ret : vmdk_write_text(file, plan);
}
