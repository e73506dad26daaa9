/* SPDX-License-Identifier: MIT */
/*
 * open.c - from a file to an image: which kind of file is it, where is its
 * descriptor, which extents does it have.  Reads only.
 *
 *     text file ─────────────▶ descriptor ─▶ extents in other files
 *     KDMV with a text ──────▶ descriptor ─▶ itself, and possibly others
 *     KDMV without ──────────▶ one extent of a split disk: only when asked for
 *     COWD with a geometry ──▶ itself
 *     COWD without ──────────▶ an ESX extent: only when asked for
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

const BlockDriverState *vmdk_extent_node(const VmdkExtent *extent)
{
    return extent->file ? extent->file : extent->image->bs;
}

int vmdk_extent_has_parent(const VmdkExtent *extent)
{
    const Vmdk *image = extent->image;

    return image->descriptor.parent_cid != VMDK_CID_NONE || bdrv_backing(image->bs) != NULL;
}

int vmdk_extent_settled(VmdkExtent *extent)
{
    (void)extent;
    return 0;
}

int vmdk_extent_set_capacity(VmdkExtent *extent, uint64_t capacity_sectors,
                             int64_t grain_sectors)
{
    const uint64_t wanted = (uint64_t)(extent->length / BDRV_SECTOR_SIZE);

    if (extent->length == 0) {
        extent->length = (int64_t)capacity_sectors * BDRV_SECTOR_SIZE;
        return 0;
    }
    if (wanted > capacity_sectors || capacity_sectors - wanted >= (uint64_t)grain_sectors) {
        return bdrv_error(extent->file, -EINVAL, "the descriptor gives the extent %" PRIu64
                          " sectors, its header %" PRIu64, wanted, capacity_sectors);
    }
    return 0;
}

/* ------------------------------------------------------------------ extents */

static int is_compressed(VmdkExtent *extent, int *compressed)
{
    uint8_t bytes[VMDK_HEADER_BYTES] = {0};
    VmdkHeader header;
    size_t size = (size_t)bdrv_min(bdrv_getlength(extent->file), (int64_t)sizeof bytes);
    int ret = bdrv_pread(extent->file, bytes, size, 0);

    vmdk_header_decode(&header, bytes);
    *compressed = (header.flags & VMDK_FLAG_COMPRESSED) != 0;
    return ret;
}

static int not_supported(const VmdkExtent *extent)
{
    return bdrv_error(extent->image->bs, -ENOTSUP, "extents of type %s are not supported yet",
                      vmdk_kind_name(extent->line->kind));
}

static int choose_ops(VmdkExtent *extent)
{
    int compressed = 0, ret = 0;

    switch (extent->line->kind) {
    case VMDK_FLAT:
    case VMDK_VMFS:
    case VMDK_VMFSRDM:
    case VMDK_VMFSRAW:
        extent->ops = &vmdk_flat_extent;
        return 0;
    case VMDK_ZERO:
        extent->ops = &vmdk_zero_extent;
        return 0;
    case VMDK_SPARSE:
        ret = is_compressed(extent, &compressed);
        extent->ops = compressed ? &vmdk_stream_extent : &vmdk_sparse_extent;
        return ret;
    case VMDK_VMFSSPARSE:
        extent->ops = &vmdk_cowd_extent;
        return 0;
    case VMDK_SESPARSE:
    case VMDK_VSANSPARSE:
        break;
    }
    return not_supported(extent);
}

/* Descriptors from Windows separate directories their way. */
static int open_with_slashes(BlockDriverState *bs, const char *name, BlockDriverState **file)
{
    char *copy = strdup(name);
    int ret;

    if (!copy) {
        return -ENOMEM;
    }
    for (char *c = copy; *c; c++) {
        *c = *c == '\\' ? '/' : *c;
    }
    ret = bdrv_open_child(bs, copy, file);
    free(copy);
    return ret;
}

static int open_file(VmdkExtent *extent)
{
    BlockDriverState *bs = extent->image->bs;
    const char *name = extent->line->name;
    int ret;

    if (strstr(name, "://")) {
        return bdrv_error(bs, -ENOTSUP, "the extent '%s' is a URL, not a file", name);
    }
    ret = bdrv_open_child(bs, name, &extent->file);
    if (ret == -ENOENT && strchr(name, '\\')) {
        ret = open_with_slashes(bs, name, &extent->file);
    }
    return ret < 0 ? bdrv_error_prefix(bs, ret, "cannot open the extent '%s'", name) : 0;
}

/* An extent whose file is open already, if it has one. */
static int open_extent(VmdkExtent *extent)
{
    int ret = 0;

    if (extent->line->access == VMDK_NOACCESS) {
        extent->ops = &vmdk_noaccess_extent;
        return 0;
    }
    if (!extent->file && extent->line->kind != VMDK_ZERO) {
        ret = open_file(extent);
    }
    if (ret == 0) {
        ret = choose_ops(extent);
    }
    return ret < 0 ? ret : extent->ops->open(extent);
}

/* own_file: the first extent is in the opened file itself, whatever the
 * descriptor calls it: images are renamed. */
static int open_extents(Vmdk *image, BlockDriverState *own_file)
{
    const VmdkDescriptor *d = &image->descriptor;
    int64_t start = 0;
    int ret = 0;

    image->extents = calloc(d->extent_count, sizeof *image->extents);
    if (!image->extents) {
        return -ENOMEM;
    }
    for (size_t i = 0; ret == 0 && i < d->extent_count; i++) {
        VmdkExtent *extent = &image->extents[i];

        extent->image = image;
        extent->line = &d->extents[i];
        extent->start = start;
        extent->length = d->extents[i].sectors * BDRV_SECTOR_SIZE;
        extent->file = i == 0 ? own_file : NULL;
        image->extent_count++;
        ret = open_extent(extent);
        start += extent->length;
    }
    if (ret == 0) {
        bdrv_set_length(image->bs, start);
    }
    return ret;
}

/* ------------------------------------------------------- the kinds of files */

/* One extent that is the whole file and described by no text. */
static int open_alone(Vmdk *image, VmdkKind kind)
{
    VmdkDescriptor *d = &image->descriptor;

    vmdk_descriptor_free(d);
    d->parent_cid = VMDK_CID_NONE;
    d->extents = calloc(1, sizeof *d->extents);
    if (!d->extents) {
        return -ENOMEM;
    }
    d->extents[0].kind = kind;
    d->extent_count = 1;
    return open_extents(image, bdrv_file(image->bs));
}

static int open_as_extent(Vmdk *image, VmdkKind kind, int asked_for)
{
    if (!asked_for) {
        return bdrv_error(image->bs, -EINVAL, "this is one extent of a disk, without the "
                          "descriptor: open the disk's descriptor (a small text file), or give "
                          "the option extent=on to read this extent alone");
    }
    if (bdrv_is_writable(image->bs)) {
        return bdrv_error(image->bs, -EROFS, "an extent alone can only be read");
    }
    return open_alone(image, kind);
}

/* Reads size bytes at offset as the text of the descriptor; *is_text 0: there
 * is room for one, but none. */
static int read_descriptor(Vmdk *image, int64_t offset, int64_t size, int *is_text)
{
    BlockDriverState *file = bdrv_file(image->bs);
    char *text = malloc((size_t)size + 1);
    int ret;

    if (!text) {
        return -ENOMEM;
    }
    ret = bdrv_pread(file, text, (size_t)size, offset);
    *is_text = ret == 0 && size > 0 && text[0] != '\0';
    if (*is_text) {
        ret = vmdk_descriptor_parse(image->bs, text, (size_t)size, &image->descriptor);
        image->descriptor_file = file;
        image->descriptor_offset = offset;
    }
    free(text);
    return ret;
}

static int check_embedded(const Vmdk *image)
{
    const VmdkExtentLine *line = &image->descriptor.extents[0];

    if (line->kind != VMDK_SPARSE || line->access == VMDK_NOACCESS) {
        return bdrv_error(image->bs, -EINVAL, "the descriptor inside this sparse extent says "
                          "that its first extent is %s, but it is this file",
                          line->access == VMDK_NOACCESS ? "NOACCESS"
                                                        : vmdk_kind_name(line->kind));
    }
    return 0;
}

static int open_sparse_file(Vmdk *image, int as_extent)
{
    VmdkHeader header;
    int is_text = 0;
    int ret = vmdk_header_read(bdrv_file(image->bs), &header);

    if (ret == 0 && header.descriptor_sector != 0 && !as_extent) {
        image->descriptor_room = (int64_t)header.descriptor_sectors * BDRV_SECTOR_SIZE;
        ret = read_descriptor(image, (int64_t)header.descriptor_sector * BDRV_SECTOR_SIZE,
                              image->descriptor_room, &is_text);
    }
    if (ret < 0) {
        return ret;
    }
    if (!is_text) {
        return open_as_extent(image, VMDK_SPARSE, as_extent);
    }
    ret = check_embedded(image);
    return ret < 0 ? ret : open_extents(image, bdrv_file(image->bs));
}

static int open_cowd_file(Vmdk *image, int as_extent)
{
    VmdkCowdHeader header;
    int ret = vmdk_cowd_header_read(bdrv_file(image->bs), &header);

    if (ret < 0) {
        return ret;
    }
    return header.role == VMDK_COWD_DELTA && !header.legacy
               ? open_as_extent(image, VMDK_VMFSSPARSE, as_extent)
               : open_alone(image, VMDK_VMFSSPARSE);
}

static int open_text_file(Vmdk *image)
{
    const int64_t size = bdrv_getlength(bdrv_file(image->bs));
    int is_text;
    int ret;

    if (size > VMDK_TEXT_MAX) {
        return bdrv_error(image->bs, -EINVAL, "this is neither a sparse extent nor a "
                          "descriptor: a descriptor has at most %d bytes, the file %" PRId64,
                          VMDK_TEXT_MAX, size);
    }
    ret = read_descriptor(image, 0, size, &is_text);
    if (ret == 0 && !is_text) {
        return bdrv_error(image->bs, -EINVAL, "this is neither a sparse extent nor a descriptor");
    }
    return ret < 0 ? ret : open_extents(image, NULL);
}

static int open_by_magic(Vmdk *image, int as_extent)
{
    BlockDriverState *file = bdrv_file(image->bs);
    uint8_t head[8];
    size_t size = (size_t)bdrv_min(bdrv_getlength(file), (int64_t)sizeof head);
    int ret = bdrv_pread(file, head, size, 0);

    if (ret < 0) {
        return ret;
    }
    switch (vmdk_magic(head, size)) {
    case VMDK_MAGIC_SPARSE:
        return open_sparse_file(image, as_extent);
    case VMDK_MAGIC_COWD:
        return open_cowd_file(image, as_extent);
    case VMDK_MAGIC_NONE:
        return open_text_file(image);
    case VMDK_MAGIC_UNFINISHED:
        return bdrv_error(image->bs, -EINVAL, "the program that made this image was interrupted: "
                          "it begins with kdmv, and would with KDMV if it were complete");
    case VMDK_MAGIC_SESPARSE:
        return bdrv_error(image->bs, -EINVAL, "this is the data of an seSparse snapshot: open "
                          "its descriptor, a small text file");
    case VMDK_MAGIC_CHANGES:
        break;
    }
    return bdrv_error(image->bs, -EINVAL, "this is a change-tracking file (-ctk.vmdk), not a "
                      "disk");
}

/* -------------------------------------------------------------------- image */

static int take_options(Vmdk *image, const BdrvOptions *options)
{
    const char *cid = bdrv_option_string(options, "cid");

    image->accept_any_parent = bdrv_option_bool(options, "any_parent");
    if (!cid) {
        return 0;
    }
    image->has_next_cid = 1;
    if (!vmdk_slice_cid((VmdkSlice){cid, strlen(cid)}, &image->next_cid) ||
        image->next_cid >= VMDK_CID_UNTOUCHED) {
        return bdrv_error(image->bs, -EINVAL, "cid is '%s'; wanted are 1 to 8 hexadecimal "
                          "digits, below fffffffe", cid);
    }
    return 0;
}

static int check_writable(const Vmdk *image)
{
    if (bdrv_is_writable(image->bs) && image->descriptor.read_only_reason) {
        return bdrv_error(image->bs, -EROFS, "the image can only be read: its descriptor has %s",
                          image->descriptor.read_only_reason);
    }
    return 0;
}

int vmdk_image_open(Vmdk *image, const BdrvOptions *options)
{
    int ret = take_options(image, options);

    if (ret == 0) {
        ret = bdrv_table_new(&image->table, image->bs);
    }
    if (ret == 0) {
        ret = open_by_magic(image, bdrv_option_bool(options, "extent"));
    }
    if (ret == 0) {
        ret = check_writable(image);
    }
    return ret < 0 ? ret : vmdk_parent_open(image);
}

void vmdk_image_free(Vmdk *image)
{
    for (size_t i = 0; i < image->extent_count; i++) {
        if (image->extents[i].ops) {
            image->extents[i].ops->close(&image->extents[i]);
        }
    }
    free(image->extents);
    bdrv_table_free(image->table);
    vmdk_descriptor_free(&image->descriptor);
}
