/* SPDX-License-Identifier: MIT */
/*
 * session.c - what happens before the first modification after an open.
 *
 * A child remembers the CID of its parent as it was.  So before the content
 * changes the CID must have changed, durably: a crash in between only makes a
 * good child look stale.  The other order would let a child take content that
 * it does not know for its own.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

int vmdk_random(void *buf, size_t bytes)
{
    return getentropy(buf, bytes) == 0
               ? 0
               : bdrv_error(NULL, -errno, "the system gives no random numbers");
}

int vmdk_random_cid(uint32_t *cid)
{
    int ret;

    do {
        ret = vmdk_random(cid, sizeof *cid);
    } while (ret == 0 && *cid >= VMDK_CID_UNTOUCHED);
    return ret;
}

/* FNV-1a over both, then mixed so that each bit depends on all. */
uint32_t vmdk_seeded(const char *seed, uint64_t salt)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *seed; seed++) {
        hash = (hash ^ (unsigned char)*seed) * UINT64_C(0x100000001b3);
    }
    hash = (hash ^ salt) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(hash ^ hash >> 32);
}

uint32_t vmdk_seeded_cid(const char *seed, uint64_t salt)
{
    uint32_t cid = vmdk_seeded(seed, salt);

    return cid >= VMDK_CID_UNTOUCHED ? cid - 2 : cid;
}

/* -------------------------------------------------------------------- text */

/* The bytes from the first to the last that differ, in one request: of a new
 * CID in the place of the old one that is one sector.  Both are size bytes. */
static int write_difference(Vmdk *image, const char *before, const char *after, size_t size)
{
    size_t first = 0, last = size;

    while (first < size && before[first] == after[first]) {
        first++;
    }
    while (last > first && before[last - 1] == after[last - 1]) {
        last--;
    }
    return bdrv_pwrite(image->descriptor_file, after + first, last - first,
                       image->descriptor_offset + (int64_t)first);
}

static int check_room(const Vmdk *image, size_t length)
{
    if (image->descriptor_room > 0 && (int64_t)length > image->descriptor_room) {
        return bdrv_error(image->bs, -ENOSPC, "the changed descriptor has %zu bytes, but only %"
                          PRId64 " are set aside for it", length, image->descriptor_room);
    }
    return 0;
}

static int padded(char **copy, const char *text, size_t size)
{
    *copy = calloc(1, size + 1);
    if (!*copy) {
        return -ENOMEM;
    }
    memcpy(*copy, text, strlen(text));
    return 0;
}

/* Writes text over the stored descriptor. */
static int store_in_place(Vmdk *image, const char *text)
{
    const size_t length = strlen(text), old_length = image->descriptor.text_size;
    const size_t size = length > old_length ? length : old_length;
    char *before = NULL, *after = NULL;
    int ret = check_room(image, length);

    if (ret == 0) {
        ret = padded(&before, image->descriptor.text, size);
    }
    if (ret == 0) {
        ret = padded(&after, text, size);
    }
    if (ret == 0) {
        ret = write_difference(image, before, after,
                               image->descriptor_room > 0 ? size : length < size ? length : size);
    }
    if (ret == 0 && image->descriptor_room == 0 && length < old_length) {
        ret = bdrv_truncate(image->descriptor_file, (int64_t)length);
    }
    free(before);
    free(after);
    return ret;
}

/* A text file of another length than before could be cut off in the middle by a
 * power loss, so a new file takes its place; where that cannot be done (storage
 * of the caller, a directory that may not be written) it must do as it is. */
static int store_text(Vmdk *image, const char *text)
{
    const size_t length = strlen(text);
    int ret = -ENOTSUP;

    if (image->descriptor_room == 0 && length != image->descriptor.text_size) {
        ret = bdrv_replace(image->descriptor_file, text, length);
    }
    return ret == -ENOTSUP || ret == -EACCES ? store_in_place(image, text) : ret;
}

/* --------------------------------------------------------------------- CID */

static int choose_cid(Vmdk *image, uint32_t *cid)
{
    int ret = 0;

    if (image->has_next_cid) {
        *cid = image->next_cid;
        return 0;
    }
    if (image->seed) {
        *cid = vmdk_seeded_cid(image->seed, image->descriptor.cid);
        *cid ^= *cid == image->descriptor.cid; /* another one it must be */
        return 0;
    }
    do {
        ret = vmdk_random_cid(cid);
    } while (ret == 0 && *cid == image->descriptor.cid);
    return ret;
}

/* The last 8 digits of the long id are the CID. */
static int set_long_id(char **text, const char *digits)
{
    VmdkSlice found;
    char *value;
    int ret;

    if (!vmdk_option_find(*text, "ddb.longContentID", &found) || found.length < strlen(digits)) {
        return 0;
    }
    value = vmdk_slice_copy(found);
    if (!value) {
        return -ENOMEM;
    }
    memcpy(value + found.length - strlen(digits), digits, strlen(digits));
    ret = vmdk_option_set(text, "ddb.longContentID", value);
    free(value);
    return ret;
}

/* Whoever keeps track of changes is not told of ours: the next incremental
 * backup must be a full one, and will be when the tracking is gone. */
static int drop_change_tracking(Vmdk *image, char **text)
{
    int ret = 0;

    if (image->descriptor.tracks_changes) {
        bdrv_log(image->bs, "change tracking is dropped, because this program does not keep it");
        ret = vmdk_option_remove(text, "changeTrackPath");
        if (ret == 0 && image->descriptor.version == 3) {
            ret = vmdk_option_set(text, "version", "1");
        }
    }
    return ret;
}

static int edit_text(Vmdk *image, uint32_t cid, char **text)
{
    char digits[9];
    int ret;

    snprintf(digits, sizeof digits, "%08" PRIx32, cid);
    ret = vmdk_option_set(text, "CID", digits);
    if (ret == 0) {
        ret = set_long_id(text, digits);
    }
    return ret < 0 ? ret : drop_change_tracking(image, text);
}

static void keep_text(Vmdk *image, char *text, uint32_t cid)
{
    VmdkDescriptor *d = &image->descriptor;

    free(d->text);
    d->text = text;
    d->text_size = strlen(text);
    d->cid = cid;
    d->has_cid = 1;
    d->tracks_changes = 0;
}

static int renew_cid(Vmdk *image)
{
    char *text;
    uint32_t cid;
    int ret;

    if (!image->descriptor.text || image->keeps_cid) {
        return 0; /* one COWD file: it has no CID */
    }
    ret = choose_cid(image, &cid);
    text = ret < 0 ? NULL : strdup(image->descriptor.text);
    if (!text) {
        return ret < 0 ? ret : -ENOMEM;
    }
    ret = edit_text(image, cid, &text);
    if (ret == 0) {
        ret = store_text(image, text);
    }
    if (ret == 0) {
        ret = bdrv_flush_children(image->bs);
    }
    if (ret < 0) {
        free(text);
        return bdrv_error_prefix(image->bs, ret, "changing the CID before the first write");
    }
    keep_text(image, text, cid);
    return 0;
}

int vmdk_session_begin(Vmdk *image)
{
    int ret = 0;

    if (atomic_load_explicit(&image->session_begun, memory_order_acquire)) {
        return 0;
    }
    pthread_mutex_lock(&image->lock);
    if (!atomic_load(&image->session_begun)) {
        ret = vmdk_image_refuse_damaged(image);
        ret = ret < 0 ? ret : renew_cid(image);
        atomic_store(&image->session_begun, ret == 0);
    }
    pthread_mutex_unlock(&image->lock);
    return ret;
}
