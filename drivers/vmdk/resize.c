/* SPDX-License-Identifier: MIT */
/*
 * resize.c - another length for the disk.
 *
 * The descriptor's extent lines decide how long the disk is, and change in one
 * step.  Growing, the files are made longer before it, shrinking, shorter after
 * it; so what power loss leaves is the old disk or the new one, and an extent
 * that holds more than its line says, which readers do not mind and the next
 * change cuts off.
 *
 *     grow:    last file longer, new files  ─▶  descriptor
 *     shrink:  last file marked  ─▶  descriptor  ─▶  last file shorter, files removed
 *
 * The mark (that the file was not closed properly) tells a repair that it is the
 * descriptor which is right: that the file holds more may also be the remains of a
 * disk whose text was damaged.
 *
 * A split disk grows by extents of the size of its first.  While it lasts, all
 * other requests wait (image->gate).
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* What VMware's programs make, of a disk that has only one yet. */
    SPLIT_SECTORS = 4192256,
    /* How many numbers in a row may be those of files that are there already. */
    NUMBERS_TAKEN = 1000
};

typedef struct Resize {
    Vmdk *image;
    char *text;          /* the new descriptor */
    size_t kept;         /* extents that stay */
    int64_t last_length; /* of the last of them */
    int64_t unit;        /* of an extent that is added */
    size_t number;       /* of the last that was, after that of the last that stays */
    char **made;         /* their names */
    size_t made_count;
} Resize;

/* ------------------------------------------------------------------ allowed */

/* Is it one that gets further extents?  They are like its last, which the others of its
 * kind may not be: of those only flat and hosted sparse ones can be made here. */
static int is_split(const Vmdk *image)
{
    static const char ending[] = "GbMaxExtent";
    const char *type = image->descriptor.create_type;
    const VmdkKind kind = image->extents[image->extent_count - 1].line->kind;

    return type != NULL && strstr(type, ending) != NULL &&
           (vmdk_kind_is_flat(kind) || kind == VMDK_SPARSE);
}

/* Another extent in the same file would get, or lose, bytes. */
static int is_shared(const VmdkExtent *extent)
{
    const Vmdk *image = extent->image;

    for (size_t i = 0; i < image->extent_count; i++) {
        if (&image->extents[i] != extent && extent->source != NULL &&
            image->extents[i].source == extent->source) {
            return 1;
        }
    }
    return 0;
}

/* What it can do is known of an extent that is open only. */
static int check_kind(VmdkExtent *extent)
{
    int ret = vmdk_extent_enter(extent), possible, compressed;

    if (ret < 0) {
        return ret;
    }
    possible = extent->ops->resize && extent->line->kind != VMDK_VMFSRDM &&
               extent->line->kind != VMDK_VMFSRAW;
    compressed = extent->compressed;
    vmdk_extent_leave(extent);
    if (compressed) {
        return bdrv_error(extent->image->bs, -ENOTSUP, "the length of a compressed disk cannot "
                          "be changed: convert it to one that is not");
    }
    return possible ? 0
                    : bdrv_error(extent->image->bs, -ENOTSUP, "the length of a disk that ends "
                                 "with an extent of type %s cannot be changed",
                                 vmdk_kind_name(extent->line->kind));
}

static int check_extent(VmdkExtent *extent)
{
    const Vmdk *image = extent->image;

    if (extent->line->access != VMDK_RW) {
        return bdrv_error(image->bs, -EROFS, "the extent '%s' at the disk's end is not to be "
                          "written", extent->line->name ? extent->line->name : "");
    }
    if (is_shared(extent)) {
        return bdrv_error(image->bs, -ENOTSUP, "the length of a disk whose last extent shares "
                          "the file '%s' with another cannot be changed", extent->line->name);
    }
    return check_kind(extent);
}

static int check_image(Vmdk *image)
{
    if (image->descriptor.parent_cid != VMDK_CID_NONE || bdrv_backing(image->bs)) {
        return bdrv_error(image->bs, -ENOTSUP, "the image has a parent, and all images of a "
                          "chain have the same length: commit it, or flatten it with a rebase "
                          "to no parent, before its length is changed");
    }
    return vmdk_files_check_names(image);
}

/* ------------------------------------------------------------------- the text */

static int set_last(Resize *r)
{
    const int64_t sectors = r->last_length / BDRV_SECTOR_SIZE;
    int ret = r->text ? vmdk_lines_cut(&r->text, r->kept) : 0;

    return ret < 0 || !r->text ? ret : vmdk_lines_set_sectors(&r->text, r->kept - 1, sectors);
}

/* Gives the disk the text's extents, on the files that are open and those that
 * have come. */
static int reopen(Resize *r)
{
    Vmdk *image = r->image;
    VmdkDescriptor before = image->descriptor, changed = {0};
    int ret = r->text ? vmdk_descriptor_parse(image->bs, r->text, strlen(r->text), &changed)
                      : 0;

    if (ret == 0 && r->text) {
        pthread_mutex_lock(&image->lock);
        image->descriptor = changed;
        changed = before; /* the extents still have its lines */
        pthread_mutex_unlock(&image->lock);
    }
    if (ret == 0) {
        ret = vmdk_extents_reopen(image);
    }
    vmdk_descriptor_free(&changed);
    return ret;
}

static int store(Resize *r, int64_t sectors)
{
    VmdkDescriptor parsed;
    int ret = r->text ? vmdk_lines_fit_geometry(&r->text, sectors) : 0;

    if (ret < 0 || !r->text) {
        return ret; /* one COWD file: its header says all */
    }
    ret = vmdk_descriptor_parse(r->image->bs, r->text, strlen(r->text), &parsed);
    vmdk_descriptor_free(&parsed);
    return ret < 0 ? ret : vmdk_descriptor_store(r->image, r->text);
}

/* The disk as its old descriptor has it.  That is written again: whatever the error was, the new
 * one may be in the file. */
static int put_back(Resize *r)
{
    char *text = r->text;
    int ret;

    r->text = NULL;
    ret = reopen(r);
    if (ret == 0 && text) {
        ret = vmdk_descriptor_put_back(r->image, text);
    }
    r->text = text;
    return ret;
}

/* Gives up, and tells the error and its message; unless that fails, too. */
static int failed(Resize *r, int error, int (*give_up)(Resize *r))
{
    char *message = strdup(bdrv_errmsg());
    int ret = give_up(r);

    ret = ret < 0 ? ret : bdrv_error(NULL, error, "%s", message ? message : "");
    free(message);
    return ret;
}

/* -------------------------------------------------------------- the last file */

static int resize_last(const Resize *r)
{
    VmdkExtent *last = &r->image->extents[r->kept - 1];
    int ret;

    if (last->length == r->last_length) {
        return 0;
    }
    ret = vmdk_extent_enter(last);
    if (ret == 0) {
        ret = last->ops->resize(last, r->last_length);
        vmdk_extent_leave(last);
    }
    return ret;
}

/* ----------------------------------------------------------------- more files */

/* "disk-s003.vmdk", after the name of the last: "disk-s002.vmdk". */
static int next_name(const Resize *r, char *name, size_t size)
{
    const char *last = r->image->extents[r->kept - 1].line->name;
    const char *dot = strrchr(last, '.');
    const char *end = dot ? dot : last + strlen(last), *digits = end;
    int length;

    while (digits > last && digits[-1] >= '0' && digits[-1] <= '9') {
        digits--;
    }
    if (digits == end) {
        return bdrv_error(r->image->bs, -ENOTSUP, "the extent '%s' has no number in its name, "
                          "after which further ones could be named", last);
    }
    length = snprintf(name, size, "%.*s%0*lu%s", (int)(digits - last), last,
                      (int)(end - digits), strtoul(digits, NULL, 10) + r->number, end);
    return length > 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

/* A file that is there is somebody's, even if its name is what that of the new
 * one would be: or it is what a power loss has left of a change like this. */
static int check_absent(const Resize *r, const char *name)
{
    BlockDriverState *there;
    int ret = bdrv_open_child_to_read(r->image->bs, name, &there);

    if (ret == -ENOENT) {
        return 0;
    }
    if (ret == 0) {
        bdrv_close_child(r->image->bs, there);
        ret = bdrv_error(r->image->bs, -EEXIST, "the new extent would be '%s', but there is "
                         "such a file already", name);
        bdrv_log(r->image->bs, "%s: it is left alone, and the next number taken", bdrv_errmsg());
    }
    return ret;
}

static int find_free_name(Resize *r, char *name, size_t size)
{
    int ret = -EEXIST;

    for (int tries = 0; ret == -EEXIST && tries < NUMBERS_TAKEN; tries++) {
        r->number++;
        ret = next_name(r, name, size);
        ret = ret < 0 ? ret : check_absent(r, name);
    }
    return ret;
}

/* Remembers a file that was made. */
static int note_made(Resize *r, const char *name)
{
    char **made = realloc(r->made, (r->made_count + 1) * sizeof *made);

    if (!made) {
        return -ENOMEM;
    }
    r->made = made;
    made[r->made_count] = strdup(name);
    return made[r->made_count] ? (r->made_count++, 0) : -ENOMEM;
}

static int fill_new(const Resize *r, BlockDriverState *file, int64_t length)
{
    VmdkExtent *last = &r->image->extents[r->kept - 1];
    VmdkHeader like;
    int ret;

    if (last->line->kind != VMDK_SPARSE) {
        return bdrv_truncate(file, length);
    }
    ret = vmdk_extent_enter(last);
    if (ret == 0) {
        ret = vmdk_header_read(last->file, &like);
        vmdk_extent_leave(last);
    }
    return ret < 0 ? ret : vmdk_sparse_make(file, &like, length);
}

/* Makes one, durable with its name. */
static int make_file(Resize *r, int64_t length)
{
    BlockDriverState *owner = bdrv_file(r->image->bs), *file;
    char name[VMDK_NAME_MAX + 1];
    int ret = find_free_name(r, name, sizeof name);

    if (ret == 0) {
        ret = bdrv_create_child(owner, name, &file);
    }
    if (ret != 0) {
        return ret;
    }
    ret = fill_new(r, file, length);
    if (ret == 0) {
        ret = bdrv_flush(file);
    }
    if (ret == 0) {
        ret = note_made(r, name);
    }
    if (ret < 0) {
        bdrv_remove(file);
        bdrv_close_child(owner, file);
        return ret;
    }
    return bdrv_close_child(owner, file);
}

/* The lines of all that were made, which have bytes together.  At once: there may be tens of
 * thousands. */
static int add_lines(Resize *r, int64_t bytes)
{
    const VmdkKind kind = r->image->extents[r->kept - 1].line->kind;
    const char *const ending = vmdk_line_ending(r->text);
    VmdkText lines = {0};
    int ret;

    for (size_t i = 0; i < r->made_count; i++) {
        vmdk_text_printf(&lines, "RW %" PRId64 " %s \"%s\"%s%s",
                         bdrv_min(bytes, r->unit) / BDRV_SECTOR_SIZE, vmdk_kind_name(kind),
                         r->made[i], kind == VMDK_FLAT ? " 0" : "", ending);
        bytes -= r->unit;
    }
    ret = lines.failed ? -ENOMEM
                       : vmdk_lines_add(&r->text, r->kept,
                                        (VmdkSlice){lines.bytes, lines.length});
    free(lines.bytes);
    return ret;
}

static int make_files(Resize *r, int64_t bytes)
{
    int64_t left = bytes;
    int ret = 0;

    while (ret == 0 && left > 0) {
        ret = make_file(r, bdrv_min(left, r->unit));
        left -= r->unit;
    }
    return ret < 0 || bytes <= 0 ? ret : add_lines(r, bytes);
}

static void remove_named(const Resize *r, const char *name)
{
    BlockDriverState *file;

    if (bdrv_open_child(r->image->bs, name, &file) == 0) {
        bdrv_remove(file);
        bdrv_close_child(r->image->bs, file);
    }
}

static void remove_made(const Resize *r)
{
    for (size_t i = 0; i < r->made_count; i++) {
        remove_named(r, r->made[i]);
    }
}

/* ---------------------------------------------------------------------- grow */

static int grow_parts(Resize *r, int64_t length)
{
    const VmdkExtent *last = &r->image->extents[r->kept - 1];
    int ret = resize_last(r);

    if (ret == 0) {
        ret = set_last(r);
    }
    if (ret == 0) {
        ret = make_files(r, length - last->start - r->last_length);
    }
    return ret < 0 ? ret : store(r, length / BDRV_SECTOR_SIZE);
}

/* The length of a disk's first extent is its author's: files by the million may be asked for. */
static int check_count(const Resize *r, int64_t bytes)
{
    const Vmdk *image = r->image;
    const unsigned limit = bdrv_limits(image->bs)->extents;
    const int64_t added = bytes > 0 ? bdrv_div_up(bytes, r->unit) : 0;

    return added <= (int64_t)limit - (int64_t)r->kept
               ? 0 : bdrv_error(image->bs, -EINVAL, "a disk of that length would have %" PRId64
                                " more extents of %" PRId64 " bytes: more than %u extents, the "
                                "limit that was set", added, r->unit, limit);
}

static int plan_growth(Resize *r, int64_t length)
{
    const Vmdk *image = r->image;
    VmdkExtent *last = &image->extents[image->extent_count - 1];
    const int64_t wanted = length - last->start;
    int ret;

    r->kept = image->extent_count;
    r->unit = INT64_MAX;
    if (is_split(image)) {
        r->unit = image->extent_count > 1 ? image->extents[0].length
                                          : (int64_t)SPLIT_SECTORS * BDRV_SECTOR_SIZE;
    }
    r->last_length = bdrv_max(last->length, bdrv_min(wanted, r->unit));
    ret = check_count(r, wanted - r->last_length);
    return ret < 0 ? ret : check_extent(last);
}

/* New files go when nothing can name them. */
static int give_up_growth(Resize *r)
{
    const int ret = put_back(r);

    if (ret == 0) {
        remove_made(r);
    }
    return ret;
}

static int grow(Resize *r, int64_t length)
{
    const int ret = grow_parts(r, length);

    return ret < 0 ? failed(r, ret, give_up_growth) : reopen(r);
}

/* -------------------------------------------------------------------- shrink */

static int is_last_kept_whole(const Resize *r)
{
    return r->last_length == r->image->extents[r->kept - 1].length;
}

/* What is beyond the end goes with its file, if that is nobody else's.  A file
 * that cannot be removed is no reason to fail: nothing names it any more. */
static void remove_dropped(const Resize *r)
{
    for (size_t i = r->kept; i < r->image->extent_count; i++) {
        const VmdkExtent *extent = &r->image->extents[i];
        const VmdkFile *file = extent->source;

        if (!file || !file->name || is_shared(extent) || extent->line->access != VMDK_RW) {
            continue;
        }
        if (file->node) { /* stays open: somebody may look into it */
            bdrv_remove(file->node);
        } else {
            remove_named(r, file->name);
        }
    }
}

/* Durable before the descriptor changes. */
static int mark_last(const Resize *r)
{
    VmdkExtent *last = &r->image->extents[r->kept - 1];
    int ret = vmdk_extent_enter(last);

    if (ret < 0) {
        return ret;
    }
    if (last->ops->mark) {
        ret = last->ops->mark(last);
        ret = ret < 0 ? ret : bdrv_flush(last->file);
    }
    vmdk_extent_leave(last);
    return ret;
}

static int plan_shrink(Resize *r, int64_t length)
{
    const Vmdk *image = r->image;

    r->kept = image->extent_count;
    while (image->extents[r->kept - 1].start >= length) {
        r->kept--;
    }
    r->last_length = length - image->extents[r->kept - 1].start;
    return is_last_kept_whole(r) ? 0 : check_extent(&image->extents[r->kept - 1]);
}

/* The descriptor has the new length: that is what counts, also if the last file could not
 * follow. */
static int end_shrink(Resize *r)
{
    remove_dropped(r);
    return reopen(r);
}

static int shrink(Resize *r, int64_t length)
{
    int ret = is_last_kept_whole(r) ? 0 : mark_last(r);

    if (ret == 0) {
        ret = set_last(r);
    }
    if (ret < 0) {
        return ret;
    }
    ret = store(r, length / BDRV_SECTOR_SIZE);
    if (ret < 0) {
        return failed(r, ret, put_back);
    }
    ret = resize_last(r);
    return ret < 0 ? failed(r, ret, end_shrink) : end_shrink(r);
}

/* ------------------------------------------------------------------- the call */

static int change_length(Resize *r, int64_t length)
{
    Vmdk *image = r->image;
    const int64_t old = bdrv_getlength(image->bs);
    int ret = vmdk_session_begin(image);

    if (ret == 0) {
        ret = bdrv_table_flush(image->table);
    }
    if (ret == 0 && image->descriptor.text) {
        r->text = strdup(image->descriptor.text);
        ret = r->text ? 0 : -ENOMEM;
    }
    if (ret == 0) {
        ret = length > old ? grow(r, length) : shrink(r, length);
    }
    for (size_t i = 0; i < r->made_count; i++) {
        free(r->made[i]);
    }
    free(r->made);
    free(r->text);
    return ret;
}

/* What is refused must not take a new CID, which disowns children: it is planned before. */
static int resize(Vmdk *image, int64_t length)
{
    Resize r = {.image = image};
    const int64_t old = bdrv_getlength(image->bs);
    int ret = 0;

    if (length == 0 || length > INT64_MAX - BDRV_SECTOR_SIZE) {
        return bdrv_error(image->bs, -EINVAL, "a disk of %" PRId64 " bytes is not possible",
                          length);
    }
    length = bdrv_round_up(length, BDRV_SECTOR_SIZE);
    if (length == old) {
        return 0;
    }
    ret = check_image(image);
    if (ret == 0) {
        ret = length > old ? plan_growth(&r, length) : plan_shrink(&r, length);
    }
    return ret < 0 ? ret : change_length(&r, length);
}

int vmdk_truncate(BlockDriverState *bs, int64_t length)
{
    Vmdk *image = bdrv_state(bs);
    int ret;

    pthread_rwlock_wrlock(&image->gate);
    ret = resize(image, length);
    pthread_rwlock_unlock(&image->gate);
    return ret;
}
