/* SPDX-License-Identifier: MIT */
/*
 * relink.c - another parent for a link, or none; and a link that holds nothing
 * any more.  Only what is recorded changes here: what has to be copied the core
 * has copied, durably, before.
 *
 * The content stays what it was, so the CID stays, also through the copying (session.c:
 * vmdk_begin_rebase()): the link's own children still
 * fit.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the child; a key of ours, which others keep and do not understand. */
static const char commit_key[] = "ddb.commitCID";

/* Only extents that are allocated piece by piece let a parent show through. */
static int check_extents(const Vmdk *image)
{
    for (size_t i = 0; i < image->extent_count; i++) {
        const VmdkExtentLine *line = image->extents[i].line;

        if (line->access != VMDK_NOACCESS && line->kind != VMDK_SPARSE &&
            line->kind != VMDK_VMFSSPARSE && line->kind != VMDK_SESPARSE) {
            return bdrv_error(image->bs, -ENOTSUP, "an image with an extent of type %s cannot "
                              "have a parent: nothing would show through it",
                              vmdk_kind_name(line->kind));
        }
    }
    return 0;
}

/* Is it what vmdk_get_info() tells of the name, and a commit gives back?  That may be cut, or
 * nothing at all: then the name stays what it is. */
static int is_recorded(const Vmdk *image, const char *filename)
{
    const char *hint = image->descriptor.parent_hint;
    BdrvInfo told;

    snprintf(told.backing_filename, sizeof told.backing_filename, "%s", hint ? hint : "");
    return strcmp(filename, told.backing_filename) == 0;
}

static int check_parent(const Vmdk *image, const char *filename,
                        const BlockDriverState *backing, uint32_t *cid)
{
    int ret = check_extents(image);

    if (ret < 0) {
        return ret;
    }
    if (!vmdk_cid_of(backing, cid)) {
        return bdrv_error(image->bs, -EINVAL, "the parent '%s' is no vmdk image with a CID, which "
                          "is what a child remembers it by; convert it to vmdk first", filename);
    }
    return is_recorded(image, filename) ? 0 : vmdk_check_hint(image->bs, filename);
}

int vmdk_check_hint(const BlockDriverState *bs, const char *hint)
{
    for (const char *c = hint; *c; c++) {
        if (*c == '"' || (unsigned char)*c < 0x20 || *c == 0x7f) {
            return bdrv_error(bs, -EINVAL, "the parent's name cannot be written in a descriptor: "
                              "it has a quote or a control character");
        }
    }
    if (*hint == '\0' || strlen(hint) > VMDK_NAME_MAX) {
        return bdrv_error(bs, -EINVAL, "the parent's name has %zu bytes; wanted are 1 to %d",
                          strlen(hint), VMDK_NAME_MAX);
    }
    return 0;
}

int vmdk_parent_cid_set(char **text, uint32_t cid)
{
    char digits[9];
    int ret;

    snprintf(digits, sizeof digits, "%08" PRIx32, cid);
    ret = vmdk_option_set(text, "parentCID", digits);
    return ret < 0 ? ret : vmdk_option_remove(text, commit_key);
}

static int edit(const Vmdk *image, char **text, const char *filename, uint32_t cid)
{
    const int ret = vmdk_parent_cid_set(text, cid);

    if (ret < 0 || (filename && is_recorded(image, filename))) {
        return ret;
    }
    return filename ? vmdk_option_set_quoted(text, "parentFileNameHint", filename)
                    : vmdk_option_remove(text, "parentFileNameHint");
}

static int change(Vmdk *image, const char *text)
{
    int ret;

    pthread_mutex_lock(&image->lock);
    ret = vmdk_descriptor_change(image, text);
    pthread_mutex_unlock(&image->lock);
    return ret;
}

static int record(Vmdk *image, const char *filename, uint32_t cid)
{
    char *text = strdup(image->descriptor.text);
    int ret = text ? edit(image, &text, filename, cid) : -ENOMEM;

    if (ret == 0) {
        ret = change(image, text);
    }
    free(text);
    return ret;
}

int vmdk_change_backing(BlockDriverState *bs, const char *filename, BlockDriverState *backing)
{
    Vmdk *image = bdrv_state(bs);
    uint32_t cid = VMDK_CID_NONE;
    int ret = vmdk_image_refuse_damaged(image);

    if (ret == 0 && !image->descriptor.text) {
        ret = bdrv_error(bs, -ENOTSUP, "one COWD file has no place to record a parent");
    }
    if (ret == 0 && backing) {
        ret = check_parent(image, filename, backing, &cid);
    }
    return ret < 0 ? ret : record(image, filename, cid);
}

/* ------------------------------------------------------------------- a commit
 *
 * Before the parent is written its CID changes, and it must: its other children
 * do not know what comes.  This one does, for it holds it all until the parent
 * does.  So the new CID is written down here first:
 *
 *     child: parentCID a                    parent: CID a
 *     child: parentCID a, commitCID b       parent: CID a
 *     child: parentCID a, commitCID b       parent: CID b    content goes down
 *     child: parentCID b                    parent: CID b
 *
 * After an interruption in the third line the next commit begins in the second, with b for a.
 * In each line the child opens over the parent and reads the same. */

int vmdk_commit_cid(const Vmdk *image, uint32_t *cid)
{
    VmdkSlice value;

    return image->descriptor.text && vmdk_option_find(image->descriptor.text, commit_key, &value) &&
           vmdk_slice_cid(value, cid);
}

static int edit_announcement(const Vmdk *image, char **text, uint32_t now, uint32_t cid)
{
    uint32_t earlier;
    char digits[9];
    const int was_interrupted = vmdk_commit_cid(image, &earlier) && earlier == now;
    const int ret = was_interrupted ? vmdk_parent_cid_set(text, now) : 0;

    snprintf(digits, sizeof digits, "%08" PRIx32, cid);
    return ret < 0 ? ret : vmdk_option_set_quoted(text, commit_key, digits);
}

/* The parent's CID is now, and will be cid.  (A disk that is full is another thing than a
 * descriptor that is: then nothing can be relied on.) */
static int announce(Vmdk *image, uint32_t now, uint32_t cid)
{
    char *text = strdup(image->descriptor.text);
    int ret = text ? edit_announcement(image, &text, now, cid) : -ENOMEM;

    if (ret == 0 && vmdk_descriptor_check_room(image, strlen(text)) < 0) {
        bdrv_log(image->bs, "%s: should the commit be interrupted, this link will open with "
                 "any_parent=on only", bdrv_errmsg());
        image->accept_any_parent = 1; /* of this handle */
    } else if (ret == 0) {
        ret = change(image, text);
    }
    free(text);
    return ret;
}

int vmdk_begin_commit(BlockDriverState *bs, BlockDriverState *backing)
{
    Vmdk *image = bdrv_state(bs);
    uint32_t now, cid;
    int ret = vmdk_image_refuse_damaged(image);

    if (ret < 0 || !image->descriptor.text || !vmdk_cid_of(backing, &now)) {
        return ret;
    }
    /* Before it was open for writing, it was nobody's for a moment. */
    ret = vmdk_parent_check(image, backing);
    ret = ret < 0 ? ret : vmdk_session_cid(bdrv_state(backing), &cid);
    return ret < 0 ? ret : announce(image, now, cid);
}

static int empty_extent(VmdkExtent *extent)
{
    int ret = vmdk_extent_enter(extent);

    if (ret < 0) {
        return ret;
    }
    if (extent->ops->make_empty && vmdk_extent_is_writable(extent)) {
        ret = extent->ops->make_empty(extent);
        ret = ret < 0 ? ret : extent->ops->settle(extent);
    }
    vmdk_extent_leave(extent);
    return ret;
}

int vmdk_make_empty(BlockDriverState *bs)
{
    Vmdk *image = bdrv_state(bs);
    int ret = bdrv_table_flush(image->table);

    for (size_t i = 0; ret == 0 && i < image->extent_count; i++) {
        ret = empty_extent(&image->extents[i]);
    }
    return ret < 0 ? ret : bdrv_flush_children(bs);
}
