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
#include "stream.h"
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

int vmdk_extent_is_writable(const VmdkExtent *extent)
{
    return bdrv_is_writable(extent->image->bs) && extent->line->access == VMDK_RW &&
           !extent->problem;
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
    if (wanted < capacity_sectors && capacity_sectors - wanted >= (uint64_t)grain_sectors) {
        bdrv_log(extent->image->bs, "the descriptor gives the extent '%s' %" PRIu64
                 " sectors, its header %" PRIu64 ": a change of the size was interrupted, and "
                 "the descriptor counts", extent->line->name ? extent->line->name : "", wanted,
                 capacity_sectors);
    }
    if (wanted > capacity_sectors) {
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

int vmdk_extent_refuse_vsan(const VmdkExtent *extent)
{
    return bdrv_error(extent->image->bs, -ENOTSUP, "the extent '%s' is of type %s: its data are "
                      "objects inside vSAN, which no file shows; export the disk there",
                      extent->line->name, vmdk_kind_name(extent->line->kind));
}

/* Everything but a stream goes to and fro in its file. */
static int refuse_pipe(const VmdkExtent *extent)
{
    if (bdrv_open_flags(extent->image->bs) & BDRV_O_FORWARD &&
        extent->ops != &vmdk_stream_pipe_extent && extent->ops != &vmdk_stream_write_extent) {
        return bdrv_error(extent->image->bs, -ENOTSUP, "of all kinds of VMDK, only "
                          "streamOptimized can be read from a pipe, or written to one");
    }
    return 0;
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
        extent->ops = compressed ? vmdk_stream_ops(extent) : &vmdk_sparse_extent;
        return ret;
    case VMDK_VMFSSPARSE:
        extent->ops = &vmdk_cowd_extent;
        return 0;
    case VMDK_SESPARSE:
        extent->ops = &vmdk_sesparse_extent;
        return 0;
    case VMDK_VSANSPARSE:
        break;
    }
    return vmdk_extent_refuse_vsan(extent);
}

int vmdk_extent_open(VmdkExtent *extent)
{
    int ret;

    if (extent->line->access == VMDK_NOACCESS) {
        extent->ops = &vmdk_noaccess_extent;
        return 0;
    }
    if (!extent->file && extent->line->kind != VMDK_ZERO) {
        return bdrv_error(extent->image->bs, -ENOENT, "the extent's file is not open");
    }
    ret = choose_ops(extent);
    if (ret == 0) {
        ret = refuse_pipe(extent);
    }
    return ret < 0 ? ret : extent->ops->open(extent);
}

int vmdk_extents_open(Vmdk *image, BlockDriverState *own_file)
{
    const VmdkDescriptor *d = &image->descriptor;
    const VmdkExtent *last;
    int64_t start = 0;
    int ret;

    image->extents = calloc(d->extent_count, sizeof *image->extents);
    if (!image->extents) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        VmdkExtent *extent = &image->extents[i];

        extent->image = image;
        extent->line = &d->extents[i];
        extent->start = start;
        extent->length = d->extents[i].sectors * BDRV_SECTOR_SIZE;
        start += extent->length;
    }
    image->extent_count = d->extent_count;
    ret = vmdk_files_open(image, own_file);
    if (ret == 0) {
        last = &image->extents[image->extent_count - 1];
        bdrv_set_length(image->bs, last->start + last->length);
    }
    return ret;
}

void vmdk_extents_close(Vmdk *image)
{
    vmdk_files_close(image);
    for (size_t i = 0; i < image->extent_count; i++) {
        free(image->extents[i].problem);
    }
    free(image->extents);
    image->extents = NULL;
    image->extent_count = 0;
}

/* ------------------------------------------------------- the kinds of files */

int vmdk_extents_open_alone(Vmdk *image, VmdkKind kind)
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
    return vmdk_extents_open(image, bdrv_file(image->bs));
}

static int open_as_extent(Vmdk *image, VmdkKind kind, int asked_for)
{
    if (!asked_for) {
        return bdrv_error(image->bs, -EINVAL, "this is one extent of a disk, without the "
                          "descriptor: open the disk's descriptor (a small text file), or give "
                          "the option extent=on to read this extent alone");
    }
    if (bdrv_is_writable(image->bs) && !(bdrv_open_flags(image->bs) & BDRV_O_CHECK)) {
        return bdrv_error(image->bs, -EROFS, "an extent alone can only be read");
    }
    return vmdk_extents_open_alone(image, kind);
}

/* Reads size bytes at offset as the text of the descriptor; *is_text 0: there
 * is room for one, but none. */
static int read_descriptor(Vmdk *image, int64_t offset, int64_t size, int *is_text)
{
    BlockDriverState *file = bdrv_file(image->bs);
    const size_t limit = bdrv_limits(image->bs)->descriptor_bytes;
    char *text = (uint64_t)size <= limit ? malloc((size_t)size + 1) : NULL;
    int ret;

    if ((uint64_t)size > limit) {
        image->descriptor.is_foreign = 1;
        return bdrv_error(image->bs, -EINVAL, "the descriptor has %" PRId64 " bytes, the limit "
                          "that is set is %zu", size, limit);
    }
    if (!text) {
        return -ENOMEM;
    }
    ret = bdrv_pread(file, text, (size_t)size, offset);
    *is_text = ret == 0 && size > 0 && text[0] != '\0';
    if (*is_text) {
        ret = vmdk_descriptor_parse(image->bs, text, (size_t)size, &image->descriptor);
        ret = ret < 0 ? ret : vmdk_note_encoding(image);
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
    int ret = vmdk_header_read_front(bdrv_file(image->bs), &header);

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
    return ret < 0 ? ret : vmdk_extents_open(image, bdrv_file(image->bs));
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
               : vmdk_extents_open_alone(image, VMDK_VMFSSPARSE);
}

static int is_text(const uint8_t *bytes, size_t size)
{
    return memchr(bytes, '\n', size) && !memchr(bytes, '\0', size);
}

/* Does a descriptor follow where it would behind a header, which is not there? */
static int check_not_headless(const Vmdk *image)
{
    BlockDriverState *file = bdrv_file(image->bs);
    uint8_t head[8 * BDRV_SECTOR_SIZE];
    const size_t size = (size_t)bdrv_min(bdrv_getlength(file), (int64_t)sizeof head);
    int ret = bdrv_pread(file, head, size, 0);

    if (ret == 0 && size > VMDK_HEADER_BYTES && !vmdk_descriptor_probe(head, size) &&
        !is_text(head, VMDK_HEADER_BYTES) &&
        vmdk_descriptor_probe(head + VMDK_HEADER_BYTES, size - VMDK_HEADER_BYTES)) {
        return bdrv_error(image->bs, -EINVAL, "this is a sparse extent whose header is destroyed: "
                          "img-check tells whether it can be made anew");
    }
    return ret;
}

static int open_text_file(Vmdk *image)
{
    const int64_t size = bdrv_getlength(bdrv_file(image->bs));
    const size_t limit = bdrv_limits(image->bs)->descriptor_bytes;
    int is_text;
    int ret = check_not_headless(image);

    if (ret < 0) {
        return ret;
    }
    if ((uint64_t)size > limit) {
        return bdrv_error(image->bs, -EINVAL, "this is neither a sparse extent nor a "
                          "descriptor: a descriptor may have %zu bytes, the file %" PRId64,
                          limit, size);
    }
    ret = read_descriptor(image, 0, size, &is_text);
    if (ret == 0 && !is_text) {
        return bdrv_error(image->bs, -EINVAL, "this is neither a sparse extent nor a descriptor");
    }
    return ret < 0 ? ret : vmdk_extents_open(image, NULL);
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
        return bdrv_error(image->bs, -EINVAL, "the creation of this image was interrupted: it begins "
                          "with kdmv, and would with KDMV if it were complete");
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

int vmdk_check_file_size(BlockDriverState *file)
{
    const int64_t end = INT64_C(1) << 62;

    /* Of a pipe, nobody knows the length, and nothing is behind it. */
    return bdrv_getlength(file) < end || bdrv_open_flags(file) & BDRV_O_FORWARD
               ? 0
               : bdrv_error(file, -EFBIG, "the file has %" PRId64 " bytes; the limit is 2^62 - 1",
                            bdrv_getlength(file));
}

static int take_options(Vmdk *image, const BdrvOptions *options)
{
    const char *cid = bdrv_option_string(options, "cid");
    const char *seed = bdrv_option_string(options, "seed");

    if (seed && !(image->seed = strdup(seed))) {
        return -ENOMEM;
    }
    image->accept_any_parent = bdrv_option_bool(options, "any_parent");
    image->keeps_tracking = strcmp(bdrv_option_string(options, "change_tracking"), "refuse") == 0;
    image->files.open_limit =
        bdrv_option_given(options, "open_files")
            ? (size_t)bdrv_max(bdrv_option_number(options, "open_files"), 1)
            : bdrv_limits(image->bs)->open_files;
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

/* Extents come and go; a check looks for what is named; a descriptor that is a file
 * of its own is replaced when it changes, and extents are made and removed when the
 * disk changes its length. */
static int needs_names(const Vmdk *image)
{
    return image->files.partial || (bdrv_open_flags(image->bs) & BDRV_O_CHECK) ||
           (bdrv_is_writable(image->bs) && image->descriptor_room == 0);
}

int vmdk_image_open(Vmdk *image, const BdrvOptions *options)
{
    const int checking = (bdrv_open_flags(image->bs) & BDRV_O_CHECK) != 0;
    int ret = vmdk_check_file_size(bdrv_file(image->bs));

    if (ret == 0) {
        ret = take_options(image, options);
    }
    if (ret == 0) {
        ret = bdrv_table_new(&image->table, image->bs);
    }
    if (ret == 0) {
        const int as_extent = bdrv_option_bool(options, "extent");

        ret = open_by_magic(image, as_extent);
        /* What can be salvaged is the image, which was not asked for then; and only of what
         * could be read. */
        ret = ret == -EINVAL && checking && !as_extent ? vmdk_image_salvage(image, ret) : ret;
    }
    if (ret == 0 && !checking) {
        ret = check_writable(image);
    }
    bdrv_set_needs_names(image->bs, needs_names(image));
    if (ret == 0) {
        ret = vmdk_parent_open(image);
        ret = ret < 0 && checking ? vmdk_parent_damaged(image, ret) : ret;
    }
    return ret;
}

void vmdk_image_free(Vmdk *image)
{
    vmdk_extents_close(image);
    bdrv_table_free(image->table);
    vmdk_descriptor_free(&image->descriptor);
    free(image->encoding);
    free(image->seed);
    free(image->descriptor_problem);
    free(image->parent_problem);
}
