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
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): in the midst of value */
    memcpy(value + found.length - strlen(digits), digits, strlen(digits));
    ret = vmdk_option_set(text, "ddb.longContentID", value);
    free(value);
    return ret;
}

/* Versions of descriptor and headers are raised, and lowered, together: the headers' are,
 * durably, before the text is stored.  As long as that tells of tracking, the next that drops
 * it begins with them again; nobody would look at them behind a text that does not. */
int vmdk_tracking_drop(Vmdk *image, char **text)
{
    int ret = vmdk_option_remove(text, "changeTrackPath");

    if (ret == 0 && image->descriptor.version == 3) {
        ret = vmdk_option_set(text, "version", "1");
    }
    for (size_t i = 0; ret == 0 && i < image->extent_count; i++) {
        VmdkExtent *extent = &image->extents[i];

        if (extent->line->kind == VMDK_SPARSE && vmdk_extent_is_writable(extent)) {
            ret = vmdk_extent_enter(extent);
            if (ret == 0) {
                ret = extent->ops == &vmdk_sparse_extent ? vmdk_sparse_untrack(extent) : 0;
                vmdk_extent_leave(extent);
            }
        }
    }
    return ret < 0 ? ret : bdrv_flush_children(image->bs);
}

/* Whoever keeps track of changes is not told of ours: the next incremental
 * backup must be a full one, and will be when the tracking is gone. */
static int drop_change_tracking(Vmdk *image, char **text)
{
    int ret = 0;

    if (image->descriptor.tracks_changes && image->keeps_tracking) {
        return bdrv_error(image->bs, -EROFS, "its changes are tracked for incremental backups "
                          "(changeTrackPath), which a write by this program would end: the open "
                          "option change_tracking=drop allows it");
    }
    if (image->descriptor.tracks_changes) {
        bdrv_log(image->bs, "change tracking is dropped, because this program does not keep it");
        ret = vmdk_tracking_drop(image, text);
    }
    return ret;
}

int vmdk_cid_set(char **text, const char *digits)
{
    int ret = vmdk_option_set(text, "CID", digits);

    return ret < 0 ? ret : set_long_id(text, digits);
}

static int edit_text(Vmdk *image, uint32_t cid, char **text)
{
    char digits[9];
    int ret;

    snprintf(digits, sizeof digits, "%08" PRIx32, cid);
    ret = vmdk_cid_set(text, digits);
    return ret < 0 ? ret : drop_change_tracking(image, text);
}

int vmdk_session_cid(Vmdk *image, uint32_t *cid)
{
    int ret = 0;

    pthread_mutex_lock(&image->lock);
    *cid = image->descriptor.cid;
    if ((!atomic_load(&image->session_begun) && !image->keeps_cid) ||
        atomic_load(&image->cid_is_due)) {
        ret = choose_cid(image, cid);
        image->next_cid = *cid;
        image->has_next_cid |= ret == 0;
    }
    pthread_mutex_unlock(&image->lock);
    return ret;
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
        ret = vmdk_descriptor_change(image, text);
    }
    free(text);
    return ret < 0 ? bdrv_error_prefix(image->bs, ret, "changing the CID before the first write")
                   : 0;
}

int vmdk_session_begin(Vmdk *image)
{
    int ret = 0;

    if (atomic_load_explicit(&image->session_begun, memory_order_acquire) &&
        !atomic_load_explicit(&image->cid_is_due, memory_order_acquire)) {
        return 0;
    }
    pthread_mutex_lock(&image->lock);
    if (!atomic_load(&image->session_begun) || atomic_load(&image->cid_is_due)) {
        ret = vmdk_image_refuse_damaged(image);
        ret = ret < 0 ? ret : renew_cid(image);
        if (ret == 0) {
            atomic_store(&image->cid_is_due, 0);
            atomic_store(&image->session_begun, 1);
        }
    }
    pthread_mutex_unlock(&image->lock);
    return ret;
}

/* ------------------------------------------------------------------ a rebase */

/* What the link comes to hold has shown through it all the time, so its own children
 * still fit.  One that was changed already has its new CID. */
int vmdk_begin_rebase(BlockDriverState *bs)
{
    Vmdk *image = bdrv_state(bs);

    pthread_mutex_lock(&image->lock);
    image->keeps_cid |= !atomic_load(&image->session_begun);
    pthread_mutex_unlock(&image->lock);
    return 0;
}

void vmdk_end_rebase(BlockDriverState *bs)
{
    Vmdk *image = bdrv_state(bs);

    pthread_mutex_lock(&image->lock);
    if (image->keeps_cid) {
        image->keeps_cid = 0;
        atomic_store(&image->cid_is_due, atomic_load(&image->session_begun));
    }
    pthread_mutex_unlock(&image->lock);
}
