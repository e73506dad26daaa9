/* SPDX-License-Identifier: MIT */
/*
 * info.c - what an image tells about itself.
 */
#include "vmdk.h"

#include <stdio.h>
#include <string.h>

/* The core has added up the files that are open. */
static void add_host_bytes(const VmdkExtent *extent, int64_t *sum)
{
    BdrvInfo below = {.struct_size = sizeof below};

    if (!extent->file || extent->file == bdrv_file(extent->image->bs)) {
        return;
    }
    if (*sum < 0 || bdrv_get_info(extent->file, &below) < 0 || below.host_bytes < 0) {
        *sum = -1;
    } else {
        *sum += below.host_bytes;
    }
}

static int host_bytes_of(BlockDriverState *file, int64_t *sum)
{
    BdrvInfo info = {.struct_size = sizeof info};
    int ret = bdrv_get_info(file, &info);

    *sum = info.host_bytes;
    return ret;
}

static int add_extents(Vmdk *image, BdrvInfo *info)
{
    int ret = image->files.partial ? host_bytes_of(bdrv_file(image->bs), &info->host_bytes) : 0;

    for (size_t i = 0; ret == 0 && i < image->extent_count; i++) {
        VmdkExtent *extent = &image->extents[i];

        ret = vmdk_extent_enter(extent);
        if (ret < 0) {
            break;
        }
        if (info->cluster_size == 0) {
            info->cluster_size = extent->cluster_size;
        }
        info->compressed |= extent->compressed;
        info->dirty |= extent->unclean;
        if (image->files.partial) {
            add_host_bytes(extent, &info->host_bytes);
        }
        vmdk_extent_leave(extent);
    }
    return ret;
}

/* Those kinds are made over files that exist; see create-lines.c. */
static int may_have_old_bytes(const VmdkDescriptor *d)
{
    static const char *const types[] = {"custom", "fullDevice", "partitionedDevice", "vmfsRaw",
                                        "vmfsRDM", "vmfsRawDeviceMap", "vmfsRDMP",
                                        "vmfsPassthroughRawDeviceMap"};
    int is_over_files = 0, is_flat = 0;

    for (size_t i = 0; d->create_type && i < sizeof types / sizeof *types; i++) {
        is_over_files |= vmdk_slice_is((VmdkSlice){d->create_type, strlen(d->create_type)},
                                       types[i]);
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        is_flat |= vmdk_kind_is_flat(d->extents[i].kind);
    }
    return is_over_files && is_flat;
}

int vmdk_get_info(BlockDriverState *bs, BdrvInfo *info)
{
    Vmdk *image = bdrv_state(bs);
    const VmdkDescriptor *d = &image->descriptor;
    int ret;

    pthread_rwlock_rdlock(&image->gate);
    ret = add_extents(image, info);
    pthread_mutex_lock(&image->lock);
    info->has_old_bytes = may_have_old_bytes(d);
    if (ret == 0 && d->parent_cid != VMDK_CID_NONE && d->parent_hint) {
        snprintf(info->backing_filename, sizeof info->backing_filename, "%s", d->parent_hint);
        snprintf(info->backing_format, sizeof info->backing_format, "vmdk");
    }
    pthread_mutex_unlock(&image->lock);
    pthread_rwlock_unlock(&image->gate);
    return ret;
}

/* ----------------------------------------------------------------- details */

static int tell_extent(VmdkExtent *extent, BdrvDetails *details)
{
    VmdkExtentFacts facts;
    int ret = vmdk_extent_look(extent, &facts);

    if (ret < 0) {
        return ret;
    }
    bdrv_detail_object(details, NULL);
    if (facts.compressed) {
        bdrv_detail_bool(details, "compressed", 1);
    }
    bdrv_detail_number(details, "virtual-size", facts.length);
    bdrv_detail_string(details, "filename", facts.path[0] != '\0' ? facts.path
                                            : extent->line->name  ? extent->line->name
                                                                  : "");
    if (facts.cluster_size != 0) {
        bdrv_detail_number(details, "cluster-size", facts.cluster_size);
    }
    bdrv_detail_string(details, "format", vmdk_kind_name(extent->line->kind));
    if (extent->line->access != VMDK_RW) {
        bdrv_detail_string(details, "access", vmdk_access_name(extent->line->access));
    }
    bdrv_detail_end(details);
    return 0;
}

static void tell_data_base(const char *text, BdrvDetails *details)
{
    VmdkSlice rest = vmdk_slice_lines(text, strlen(text)), line, key, value;
    char name[VMDK_NAME_MAX + 1], string[VMDK_LINE_MAX + 1];

    bdrv_detail_object(details, "ddb");
    while (vmdk_slice_line(&rest, &line)) {
        if (vmdk_slice_option(line, &key, &value) && vmdk_slice_begins(key, "ddb.")) {
            snprintf(name, sizeof name, "%.*s", (int)(key.length - 4), key.start + 4);
            snprintf(string, sizeof string, "%.*s", (int)value.length, value.start);
            bdrv_detail_string(details, name, string);
        }
    }
    bdrv_detail_end(details);
}

int vmdk_get_details(BlockDriverState *bs, BdrvDetails *details)
{
    Vmdk *image = bdrv_state(bs);
    const VmdkDescriptor *d = &image->descriptor;
    int ret = 0;

    pthread_rwlock_rdlock(&image->gate);
    pthread_mutex_lock(&image->lock);
    bdrv_detail_number(details, "cid", d->cid);
    bdrv_detail_number(details, "parent-cid", d->parent_cid);
    bdrv_detail_string(details, "create-type", d->create_type ? d->create_type : "");
    bdrv_detail_list(details, "extents");
    for (size_t i = 0; ret == 0 && i < image->extent_count; i++) {
        ret = tell_extent(&image->extents[i], details);
    }
    bdrv_detail_end(details);
    if (d->text) {
        tell_data_base(d->text, details);
    }
    pthread_mutex_unlock(&image->lock);
    pthread_rwlock_unlock(&image->gate);
    return ret;
}

/* ---------------------------------------------------------------- geometry */

static int read_number(const char *text, const char *key, uint32_t *number)
{
    uint64_t found = 0;
    VmdkSlice value;

    if (!vmdk_option_find(text, key, &value) || !vmdk_slice_decimal(value, &found) ||
        found == 0 || found > UINT32_MAX) {
        return 0;
    }
    *number = (uint32_t)found;
    return 1;
}

static int read_geometry(const char *text, BdrvGeometry *geometry)
{
    return read_number(text, "ddb.geometry.cylinders", &geometry->cylinders) &&
           read_number(text, "ddb.geometry.heads", &geometry->heads) &&
           read_number(text, "ddb.geometry.sectors", &geometry->sectors);
}

/* One COWD file has its geometry in the header. */
static int read_cowd_geometry(BlockDriverState *bs, BdrvGeometry *geometry)
{
    VmdkCowdHeader header;
    uint8_t magic[4];
    int ret = bdrv_pread(bdrv_file(bs), magic, sizeof magic, 0);

    if (ret < 0 || vmdk_magic(magic, sizeof magic) != VMDK_MAGIC_COWD) {
        return ret < 0 ? ret : -ENOENT;
    }
    ret = vmdk_cowd_header_read(bdrv_file(bs), &header);
    if (ret == 0 && (header.role != VMDK_COWD_ROOT || header.cylinders == 0 ||
                     header.heads == 0 || header.sectors == 0)) {
        return -ENOENT;
    }
    *geometry = (BdrvGeometry){header.cylinders, header.heads, header.sectors, 1};
    return ret;
}

/* What a link does not say, its parent does. */
int vmdk_get_geometry(BlockDriverState *bs, BdrvGeometry *geometry)
{
    Vmdk *image = bdrv_state(bs);
    BlockDriverState *backing = bdrv_backing(bs);
    int has_text, found = 0, ret;

    pthread_mutex_lock(&image->lock); /* the first write changes the descriptor */
    has_text = image->descriptor.text != NULL;
    if (has_text) {
        found = read_geometry(image->descriptor.text, geometry);
    }
    pthread_mutex_unlock(&image->lock);
    if (!has_text) {
        return read_cowd_geometry(bs, geometry);
    }
    if (!found && backing) {
        ret = bdrv_get_geometry(backing, geometry);
        return ret < 0 || geometry->from_image ? ret : -ENOENT;
    }
    return found ? 0 : -ENOENT;
}
