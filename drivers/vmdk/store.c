/* SPDX-License-Identifier: MIT */
/*
 * store.c - puts a changed descriptor in the place of the stored one, so that
 * power loss leaves the old text or the new one, never a mix.
 *
 * A change within one sector is one write.  A text file is replaced as a whole.
 * A text inside a sparse extent is in the way of the tables, so it makes room
 * for itself:
 *
 *     header ─▶ old text                             │ tables, grains │
 *     header ─▶ old text                             │ tables, grains │ new text
 *     header ──────────────────────────────────────────────────────────▶ new text
 *     header ─▶ new text                             │ tables, grains │
 *
 * Each line is durable before the next begins.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

/* What is stored and what is to be, filled up with NULs to the same size. */
typedef struct Change {
    Vmdk *image;
    BlockDriverState *file;
    char *before, *after; /* before NULL: nobody knows */
    size_t size;
    size_t first, last; /* what differs: [first, last) */
    int64_t file_size;  /* before anything is changed */
} Change;

static int padded(char **copy, const char *text, size_t size)
{
    *copy = calloc(1, size + 1);
    if (!*copy) {
        return -ENOMEM;
    }
    memcpy(*copy, text, strlen(text));
    return 0;
}

/* Behind the NUL that ends the old text there may be anything: where the new one is longer, its
 * own NUL has to be written, too. */
static void keep_end(Change *change, size_t length)
{
    if (length > strlen(change->before) && length < change->size) {
        change->last = length + 1;
    }
}

static int find_difference(Change *change, const char *before, size_t length)
{
    const int ret = padded(&change->before, before, change->size);

    if (ret < 0) {
        return ret;
    }
    while (change->first < change->size &&
           change->before[change->first] == change->after[change->first]) {
        change->first++;
    }
    while (change->last > change->first &&
           change->before[change->last - 1] == change->after[change->last - 1]) {
        change->last--;
    }
    keep_end(change, length);
    return 0;
}

static int64_t place(const Change *change, size_t at)
{
    return change->image->descriptor_offset + (int64_t)at;
}

static int is_in_one_sector(const Change *change)
{
    return change->first == change->last ||
           place(change, change->first) / BDRV_SECTOR_SIZE ==
               place(change, change->last - 1) / BDRV_SECTOR_SIZE;
}

/* There is a text where grains will be put, over what is taken for zeros; the header may even
 * name that place.  From now on the image is only to be read.  Opening it again makes it good. */
static int give_up(Vmdk *image, int error)
{
    image->descriptor_in_doubt = 1;
    atomic_store(&image->session_begun, 0);
    return error;
}

/* Tells the error, and its message, after something else has been tried with that result. */
static int failed(const Change *change, int error, int (*take_back)(const Change *change))
{
    char *message = strdup(bdrv_errmsg());
    const int ret = take_back(change);

    error = bdrv_error(NULL, error, "%s", message ? message : "");
    free(message);
    return ret < 0 ? give_up(change->image, error) : error;
}

static int write_bytes(const Change *change, const char *bytes)
{
    return bdrv_pwrite(change->file, bytes + change->first, change->last - change->first,
                       place(change, change->first));
}

/* What the image has in memory goes on being what is stored, or nobody knows what is. */
static int write_before(const Change *change)
{
    Vmdk *image = change->image;
    const int wanted = change->before && strcmp(change->before, image->descriptor.text) == 0;

    image->stored_unknown |= !wanted || write_bytes(change, change->before) < 0;
    return 0;
}

/* What has failed may be there all the same: the next change, which writes what it changes and
 * no more, would make a text of both. */
static int write_difference(const Change *change)
{
    int ret = write_bytes(change, change->after);

    ret = ret < 0 ? ret : bdrv_flush_children(change->image->bs);
    return ret < 0 ? failed(change, ret, write_before) : 0;
}

/* ---------------------------------------------------------------- embedded */

static int write_copy(const Change *change, int64_t offset)
{
    int ret = bdrv_pwrite(change->file, change->after, change->size, offset);

    return ret < 0 ? ret : bdrv_flush_children(change->image->bs);
}

static int point_at(Change *change, int64_t offset)
{
    VmdkHeader header;
    int ret = vmdk_header_read(change->file, &header);

    if (ret == 0) {
        header.descriptor_sector = (uint64_t)(offset / BDRV_SECTOR_SIZE);
        ret = vmdk_header_move(change->file, &header);
    }
    if (ret == 0) {
        ret = bdrv_flush_children(change->image->bs);
    }
    if (ret == 0) {
        change->image->descriptor_offset = offset;
    }
    return ret;
}

/* Makes the file as long as it was. */
static int drop_copy(const Change *change)
{
    const int64_t size = change->file_size, now = bdrv_getlength(change->file);
    const int ret = now > size ? bdrv_truncate(change->file, size) : 0;

    return ret < 0 ? bdrv_write_zeroes(change->file, size, now - size) : ret;
}

/* home: where the text belongs. */
static int store_by_way_of_end(Change *change, int64_t home)
{
    const int64_t end = bdrv_round_up(change->file_size, BDRV_SECTOR_SIZE);
    int ret = bdrv_truncate(change->file, end + (int64_t)change->size);

    if (ret == -ENOTSUP) { /* a file of a fixed length: as well as it can be done */
        return write_difference(change);
    }
    if (ret == 0) {
        ret = write_copy(change, end);
    }
    if (ret < 0) {
        return failed(change, ret, drop_copy);
    }
    ret = point_at(change, end);
    if (ret == 0) {
        ret = write_copy(change, home);
    }
    if (ret == 0) {
        ret = point_at(change, home);
    }
    if (ret == 0) {
        ret = drop_copy(change);
    }
    return ret < 0 ? give_up(change->image, ret) : 0;
}

/* Where it is, unless that is among the grains, where nobody but an accident
 * puts it: then behind the header, if nothing else is there. */
static int find_home(const Change *change, int64_t *home)
{
    VmdkHeader header;
    int ret = vmdk_header_read(change->file, &header);
    Vmdk *image = change->image;
    const uint64_t end = 1 + (uint64_t)(image->descriptor_room / BDRV_SECTOR_SIZE);

    *home = image->descriptor_offset;
    if (ret == 0 && header.descriptor_sector >= header.overhead_sectors &&
        header.gd_sector >= end && header.overhead_sectors >= end &&
        (!(header.flags & VMDK_FLAG_REDUNDANT) || header.rgd_sector >= end) &&
        vmdk_sparse_is_free(&image->extents[0], BDRV_SECTOR_SIZE,
                            (int64_t)end * BDRV_SECTOR_SIZE)) {
        *home = BDRV_SECTOR_SIZE;
    }
    return ret;
}

static int store_embedded(Change *change)
{
    int64_t home;
    int ret = find_home(change, &home);

    if (ret < 0) {
        return ret;
    }
    if (home == change->image->descriptor_offset) {
        return is_in_one_sector(change) ? write_difference(change)
                                        : store_by_way_of_end(change, home);
    }
    ret = write_copy(change, home);
    return ret < 0 ? ret : point_at(change, home);
}

/* --------------------------------------------------------------- text file */

static int write_whole(const Change *change, size_t length)
{
    int ret = bdrv_pwrite(change->file, change->after, length, 0);

    if (ret == 0 && (int64_t)length < bdrv_getlength(change->file)) {
        ret = bdrv_truncate(change->file, (int64_t)length);
    }
    return ret < 0 ? ret : bdrv_flush_children(change->image->bs);
}

static int store_file(const Change *change, size_t length)
{
    int ret;

    if (is_in_one_sector(change) && (int64_t)length == bdrv_getlength(change->file)) {
        return write_difference(change);
    }
    ret = bdrv_replace(change->file, change->after, length);
    /* Storage of the caller, a directory that may not be written: as well as it
     * can be done. */
    return ret == -ENOTSUP || ret == -EACCES ? write_whole(change, length) : ret;
}

int vmdk_descriptor_check_room(const Vmdk *image, size_t length)
{
    const int64_t limit = (int64_t)bdrv_limits(image->bs)->descriptor_bytes;
    const int64_t room = image->descriptor_room > 0 ? image->descriptor_room : limit;

    if ((int64_t)length > room) {
        return bdrv_error(image->bs, -ENOSPC, "the changed descriptor has %zu bytes, but only %"
                          PRId64 " are set aside for it", length, room);
    }
    return 0;
}

static int store(Change *change, size_t length)
{
    return change->image->descriptor_room > 0 ? store_embedded(change)
                                              : store_file(change, length);
}

/* before NULL: nobody knows what is stored. */
static int store_instead(Vmdk *image, const char *before, const char *text)
{
    const size_t length = strlen(text), length_before = before ? strlen(before) : 0;
    Change change = {.image = image, .file = image->descriptor_file,
                     .file_size = bdrv_getlength(image->descriptor_file)};
    int ret = vmdk_descriptor_check_room(image, length);

    change.size = image->descriptor_room > 0 ? (size_t)image->descriptor_room
                  : length > length_before   ? length
                                             : length_before;
    change.last = change.size;
    if (ret == 0) {
        ret = padded(&change.after, text, change.size);
    }
    if (ret == 0 && before) {
        ret = find_difference(&change, before, length);
    }
    if (ret == 0) {
        ret = store(&change, length);
        image->stored_unknown &= ret < 0;
    }
    free(change.before);
    free(change.after);
    return ret;
}

int vmdk_descriptor_store(Vmdk *image, const char *text)
{
    return store_instead(image, image->stored_unknown ? NULL : image->descriptor.text, text);
}

int vmdk_descriptor_put_back(Vmdk *image, const char *text)
{
    return store_instead(image, image->stored_unknown ? NULL : text, image->descriptor.text);
}

int vmdk_descriptor_store_whole(Vmdk *image, const char *text)
{
    return store_instead(image, NULL, text);
}

/* ------------------------------------------------------------------- change */

/* All but the extents, which are in use. */
static void adopt(VmdkDescriptor *d, VmdkDescriptor *changed)
{
    VmdkExtentLine *extents = d->extents;
    const size_t count = d->extent_count;

    d->extents = changed->extents;
    d->extent_count = changed->extent_count;
    vmdk_descriptor_free(d);
    *d = *changed;
    d->extents = extents;
    d->extent_count = count;
}

int vmdk_descriptor_change(Vmdk *image, const char *text)
{
    VmdkDescriptor changed;
    int ret = vmdk_descriptor_parse(image->bs, text, strlen(text), &changed);

    if (ret == 0) {
        ret = vmdk_descriptor_store(image, text);
    }
    if (ret < 0) {
        vmdk_descriptor_free(&changed);
        return ret;
    }
    adopt(&image->descriptor, &changed);
    return 0;
}
