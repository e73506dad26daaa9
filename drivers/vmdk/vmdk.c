/* SPDX-License-Identifier: MIT */
/*
 * vmdk.c - the table of the vmdk driver: VMware's disks, of one extent or many.
 * Each request is cut at the borders of extents and handed to their kinds; all
 * else is in the files that vmdk.h lists.
 */
#include "stream.h"
#include "vmdk.h"

/* ------------------------------------------------------------------- probe */

enum {
    SURE = 100,
    /* The magic number, but nothing that could be opened: better a message of
     * ours than a disk full of garbage from raw. */
    OURS_BUT_BROKEN = 80,
    TEXT = 60
};

static int probe_sparse(const BdrvProbe *probe)
{
    VmdkHeader header;

    if (probe->head_size < VMDK_HEADER_BYTES) {
        return OURS_BUT_BROKEN;
    }
    vmdk_header_decode(&header, probe->head);
    return header.version >= 1 && header.version <= 3 ? SURE : OURS_BUT_BROKEN;
}

/* A descriptor in the second sector, behind a header that is destroyed. */
static int is_headless(const BdrvProbe *probe)
{
    return probe->head_size > VMDK_HEADER_BYTES &&
           !vmdk_descriptor_probe(probe->head, probe->head_size) &&
           vmdk_descriptor_probe(probe->head + VMDK_HEADER_BYTES,
                                 probe->head_size - VMDK_HEADER_BYTES);
}

static int vmdk_probe(const BdrvProbe *probe)
{
    switch (vmdk_magic(probe->head, probe->head_size)) {
    case VMDK_MAGIC_SPARSE:
        return probe_sparse(probe);
    case VMDK_MAGIC_COWD:
    case VMDK_MAGIC_UNFINISHED:
    case VMDK_MAGIC_SESPARSE:
    case VMDK_MAGIC_CHANGES:
        return OURS_BUT_BROKEN;
    case VMDK_MAGIC_NONE:
        break;
    }
    if (is_headless(probe)) {
        return OURS_BUT_BROKEN;
    }
    return probe->file_size <= VMDK_TEXT_MAX &&
                   vmdk_descriptor_probe(probe->head, probe->head_size)
               ? TEXT
               : 0;
}

/* -------------------------------------------------------------------- open */

static const char *const trackings[] = {"drop", "refuse", NULL};

static const BdrvOption open_options[] = {
    {.name = "any_parent",
     .type = BDRV_OPTION_BOOL,
     .help = "accept a parent whose CID is not this image's parentCID",
     .default_text = "off"},
    {.name = "cid",
     .type = BDRV_OPTION_STRING,
     .help = "the CID that the first write gives the image, in hexadecimal, instead of a "
             "random one"},
    {.name = "seed",
     .type = BDRV_OPTION_STRING,
     .help = "make that CID of this text and the old one: the same writes then give the same "
             "file"},
    {.name = "change_tracking",
     .type = BDRV_OPTION_CHOICE,
     .help = "of an image whose changes a backup program tracks: its first write drops the "
             "tracking, so that the next backup is a full one, or is refused",
     .default_text = "drop",
     .choices = trackings},
    {.name = "extent",
     .type = BDRV_OPTION_BOOL,
     .help = "read one extent of a disk alone, without its descriptor",
     .default_text = "off"},
    {.name = "open_files",
     .type = BDRV_OPTION_NUMBER,
     .help = "how many of the image's extent files are open at once (default: the limit "
             "that is set, else 128)"},
    {.name = NULL},
};

static int vmdk_open(BlockDriverState *bs, const BdrvOptions *options)
{
    Vmdk *image = bdrv_state(bs);
    int ret;

    image->bs = bs;
    pthread_rwlock_init(&image->gate, NULL);
    pthread_mutex_init(&image->lock, NULL);
    pthread_mutex_init(&image->files.lock, NULL);
    ret = vmdk_image_open(image, options);
    if (ret < 0) {
        vmdk_image_free(image);
        pthread_mutex_destroy(&image->files.lock);
        pthread_mutex_destroy(&image->lock);
        pthread_rwlock_destroy(&image->gate);
    }
    return ret;
}

/* ------------------------------------------------------------------ extents */

/* A request begins and ends: while one is under way, the extents stay what they
 * are.  Until it has begun the disk may have become shorter than it was when the
 * core looked. */
static int enter(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    Vmdk *image = bdrv_state(bs);

    pthread_rwlock_rdlock(&image->gate);
    if (offset + bytes <= bdrv_getlength(bs)) {
        return 0;
    }
    pthread_rwlock_unlock(&image->gate);
    return bdrv_error(bs, -ERANGE, "%" PRId64 " bytes at offset %" PRId64 " are beyond the end "
                      "of the disk, which has just become shorter", bytes, offset);
}

static int leave(BlockDriverState *bs, int ret)
{
    Vmdk *image = bdrv_state(bs);

    pthread_rwlock_unlock(&image->gate);
    return ret;
}

/* The extent that offset is in; the disk has one. */
static VmdkExtent *find_extent(const Vmdk *image, int64_t offset)
{
    size_t low = 0, high = image->extent_count - 1;

    while (low < high) { /* the last that begins at or before offset */
        size_t middle = low + (high - low + 1) / 2;

        if (image->extents[middle].start <= offset) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return &image->extents[low];
}

/* How much of the range is in the extent that it begins in. */
static int64_t bytes_in(const VmdkExtent *extent, int64_t offset, int64_t bytes)
{
    return bdrv_min(bytes, extent->start + extent->length - offset);
}

static int enter_to_write(VmdkExtent *extent, int64_t offset)
{
    if (extent->line->access == VMDK_RDONLY) {
        return bdrv_error(extent->image->bs, -EROFS, "byte %" PRId64 " of the disk is in the "
                          "extent '%s', which the descriptor marks RDONLY", offset,
                          extent->line->name ? extent->line->name : "");
    }
    return vmdk_extent_enter(extent);
}

static int read_extents(Vmdk *image, void *buf, size_t bytes, int64_t offset)
{
    const int64_t end = offset + (int64_t)bytes;
    uint8_t *to = buf;
    int ret = image->parent_problem ? vmdk_parent_needed(image, offset, (int64_t)bytes) : 0;

    while (ret == 0 && offset < end) {
        VmdkExtent *extent = find_extent(image, offset);
        int64_t now = bytes_in(extent, offset, end - offset);

        ret = vmdk_extent_enter(extent);
        if (ret == 0) {
            ret = extent->ops->read(extent, to, (size_t)now, offset - extent->start);
            vmdk_extent_leave(extent);
        }
        to += now;
        offset += now;
    }
    return ret;
}

static int vmdk_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    const int ret = enter(bs, offset, (int64_t)bytes);

    return ret < 0 ? ret : leave(bs, read_extents(bdrv_state(bs), buf, bytes, offset));
}

static int write_extents(Vmdk *image, const void *buf, size_t bytes, int64_t offset)
{
    const int64_t end = offset + (int64_t)bytes;
    const uint8_t *from = buf;
    int ret = 0;

    while (ret == 0 && offset < end) {
        VmdkExtent *extent = find_extent(image, offset);
        int64_t now = bytes_in(extent, offset, end - offset);

        ret = enter_to_write(extent, offset);
        if (ret == 0) {
            ret = vmdk_session_begin(image);
            ret = ret < 0 ? ret
                          : extent->ops->write(extent, from, (size_t)now, offset - extent->start);
            vmdk_extent_leave(extent);
        }
        from += now;
        offset += now;
    }
    return ret;
}

static int vmdk_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    const int ret = enter(bs, offset, (int64_t)bytes);

    return ret < 0 ? ret : leave(bs, write_extents(bdrv_state(bs), buf, bytes, offset));
}

/* What the extents do with a range that gets no bytes from memory.  The session begins
 * when nothing speaks against it: what is refused must not take a new CID, which disowns
 * children. */
typedef int RangeFn(VmdkExtent *extent, int64_t offset, int64_t bytes, const void *opaque);

static int write_zeroes_to(VmdkExtent *extent, int64_t offset, int64_t bytes, const void *opaque)
{
    const int ret = vmdk_session_begin(extent->image);

    (void)opaque;
    return ret < 0 ? ret : extent->ops->write_zeroes(extent, offset, bytes);
}

static int discard_in(VmdkExtent *extent, int64_t offset, int64_t bytes, const void *opaque)
{
    int ret;

    (void)opaque;
    if (!extent->ops->discard) {
        return bdrv_error(vmdk_extent_node(extent), -ENOTSUP, "nothing can be discarded in "
                          "extents of this kind");
    }
    ret = vmdk_session_begin(extent->image);
    return ret < 0 ? ret : extent->ops->discard(extent, offset, bytes);
}

static int change_extents(Vmdk *image, int64_t offset, int64_t bytes, RangeFn *change,
                          const void *opaque)
{
    const int64_t end = offset + bytes;
    int ret = 0;

    while (ret == 0 && offset < end) {
        VmdkExtent *extent = find_extent(image, offset);
        int64_t now = bytes_in(extent, offset, end - offset);

        ret = enter_to_write(extent, offset);
        if (ret == 0) {
            ret = change(extent, offset - extent->start, now, opaque);
            vmdk_extent_leave(extent);
        }
        offset += now;
    }
    return ret;
}

static int vmdk_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    const int ret = enter(bs, offset, bytes);

    return ret < 0 ? ret
                   : leave(bs, change_extents(bdrv_state(bs), offset, bytes, write_zeroes_to, NULL));
}

static int vmdk_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    const int ret = enter(bs, offset, bytes);

    return ret < 0 ? ret
                   : leave(bs, change_extents(bdrv_state(bs), offset, bytes, discard_in, NULL));
}

static int move_into(VmdkExtent *extent, int64_t offset, int64_t bytes, const void *opaque)
{
    const int ret = vmdk_session_begin(extent->image);

    return ret < 0 ? ret : extent->ops->move_range(extent, offset, bytes, opaque);
}

static int check_movable_into(VmdkExtent *extent)
{
    int ret = vmdk_extent_enter(extent);

    if (ret == 0) {
        ret = extent->ops->move_range
                  ? 0 : bdrv_error(vmdk_extent_node(extent), -ENOTSUP, "extents of this kind "
                                   "cannot take another file's bytes as they are");
        vmdk_extent_leave(extent);
    }
    return ret;
}

/* Before anything is changed. */
static int check_movable(const Vmdk *image, int64_t offset, int64_t bytes)
{
    const int64_t end = offset + bytes;
    int ret = 0;

    while (ret == 0 && offset < end) {
        VmdkExtent *extent = find_extent(image, offset);

        ret = check_movable_into(extent);
        offset += bytes_in(extent, offset, end - offset);
    }
    return ret;
}

static int move_range(BlockDriverState *bs, int64_t offset, int64_t bytes, const VmdkMove *move)
{
    Vmdk *image = bdrv_state(bs);
    int ret = enter(bs, offset, bytes);

    if (ret < 0) {
        return ret;
    }
    ret = check_movable(image, offset, bytes);
    return leave(bs, ret < 0 ? ret : change_extents(image, offset, bytes, move_into, move));
}

static int vmdk_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                            int64_t from_offset, int64_t bytes)
{
    const VmdkMove move = {bdrv_share_range, from, from_offset - offset};

    return move_range(bs, offset, bytes, &move);
}

static int vmdk_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                           int64_t from_offset, int64_t bytes)
{
    const VmdkMove move = {bdrv_copy_range, from, from_offset - offset};

    return move_range(bs, offset, bytes, &move);
}

/* The file may be closed before the caller looks into it: its holes are looked
 * for here, and it is told by its name. */
static int name_file(VmdkExtent *extent, BdrvExtent *run)
{
    VmdkExtentFacts facts = {.path = NULL};
    BdrvExtent below;
    int ret = run->file ? vmdk_extent_look(extent, &facts) : 0;

    if (ret == 0 && run->file && run->may_have_holes) {
        ret = bdrv_is_allocated(run->file, run->file_offset, run->bytes, &below);
        run->state = ret == 0 && below.state == BDRV_ZERO ? BDRV_ZERO : run->state;
        run->bytes = ret == 0 ? below.bytes : run->bytes;
    }
    run->may_have_holes = 0;
    run->file = NULL;
    run->filename = run->state == BDRV_DATA ? facts.path : NULL;
    run->file_offset = run->filename ? run->file_offset : 0;
    return ret;
}

static int find_run(Vmdk *image, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    VmdkExtent *extent = find_extent(image, offset);
    int ret = vmdk_extent_enter(extent);

    if (ret < 0) {
        return ret;
    }
    ret = extent->ops->is_allocated(extent, offset - extent->start,
                                    bytes_in(extent, offset, bytes), run);
    if (ret == 0 && image->files.partial) {
        ret = name_file(extent, run);
        run->bytes = ret < 0 ? 0 : run->bytes;
    }
    vmdk_extent_leave(extent);
    return ret;
}

static int vmdk_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                             BdrvExtent *run)
{
    const int ret = enter(bs, offset, bytes);

    return ret < 0 ? ret : leave(bs, find_run(bdrv_state(bs), offset, bytes, run));
}

/* ------------------------------------------------------------ flush and close */

static int vmdk_flush(BlockDriverState *bs)
{
    Vmdk *image = bdrv_state(bs);
    int ret = bdrv_table_flush(image->table);

    if (ret < 0) {
        atomic_store(&image->flush_failed, 1);
    }
    return ret;
}

/* An image of which something was lost keeps its unclean marks. */
static int settle(Vmdk *image)
{
    int ret;

    if (!atomic_load(&image->session_begun) || atomic_load(&image->flush_failed)) {
        return 0;
    }
    ret = vmdk_files_settle(image);
    return ret < 0 ? ret : bdrv_flush_children(image->bs);
}

static int vmdk_close(BlockDriverState *bs)
{
    Vmdk *image = bdrv_state(bs);
    int ret = settle(image);

    vmdk_image_free(image);
    pthread_mutex_destroy(&image->files.lock);
    pthread_mutex_destroy(&image->lock);
    pthread_rwlock_destroy(&image->gate);
    return ret;
}

extern const BlockDriver bdrv_driver_vmdk;
const BlockDriver bdrv_driver_vmdk = {
    BDRV_DRIVER_HEAD,
    .name = "vmdk",
    .description = "VMware virtual disks",
    .flags = BDRV_DRIVER_PARALLEL | BDRV_DRIVER_BACKING,
    .instance_size = sizeof(Vmdk),
    .open_options = open_options,
    .create_options = vmdk_create_options,
    .probe = vmdk_probe,
    .open = vmdk_open,
    .read = vmdk_read,
    .write = vmdk_write,
    .create = vmdk_create,
    .close = vmdk_close,
    .flush = vmdk_flush,
    .is_allocated = vmdk_is_allocated,
    .write_zeroes = vmdk_write_zeroes,
    .discard = vmdk_discard,
    .share_range = vmdk_share_range,
    .copy_range = vmdk_copy_range,
    .truncate = vmdk_truncate,
    .get_info = vmdk_get_info,
    .get_details = vmdk_get_details,
    .get_geometry = vmdk_get_geometry,
    .change_backing = vmdk_change_backing,
    .make_empty = vmdk_make_empty,
    .amend_options = vmdk_amend_options,
    .amend = vmdk_amend,
    .check = vmdk_check,
    .pack = vmdk_pack,
    .write_packed = vmdk_write_packed,
    .variants = vmdk_variants,
    .begin_commit = vmdk_begin_commit,
    .begin_rebase = vmdk_begin_rebase,
    .end_rebase = vmdk_end_rebase,
};
