/* SPDX-License-Identifier: MIT */
/*
 * check-link.c - the descriptor of a link and what it says of others: of its
 * parent, which must be the one it was made from, and of a change-tracking file.
 * A descriptor that is destroyed is written anew from what the extents say.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------- storing */

/* Puts text in the place of the stored descriptor, as power loss allows; it
 * belongs to the image from then on. */
static int store(VmdkCheck *c, char *text)
{
    Vmdk *image = c->image;
    const int known = image->descriptor.text && !image->descriptor_problem;
    int ret = known ? vmdk_descriptor_store(image, text)
                    : vmdk_descriptor_store_whole(image, text);

    if (ret < 0) {
        free(text);
        return bdrv_error_prefix(image->bs, ret, "writing the descriptor");
    }
    c->mended = 1;
    free(image->descriptor.text);
    image->descriptor.text = text;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): callers have looked */
    image->descriptor.text_size = strlen(text);
    return 0;
}

/* ------------------------------------------------------------- an extent line */

int vmdk_mend_line(VmdkCheck *c, VmdkExtent *extent, int64_t sectors)
{
    Vmdk *image = c->image;
    const size_t index = (size_t)(extent - image->extents);
    char *text = image->descriptor.text ? strdup(image->descriptor.text) : NULL;
    int ret = text ? vmdk_lines_set_sectors(&text, index, sectors) : -ENOMEM;

    if (ret < 0) {
        free(text);
        return ret;
    }
    ret = store(c, text);
    if (ret == 0) {
        image->descriptor.extents[index].sectors = sectors;
    }
    return ret;
}

/* -------------------------------------------------------------- a new descriptor */

/* What the extents are tells what the image was. */
static const char *create_type(const Vmdk *image)
{
    const VmdkExtent *first = &image->extents[0];

    switch (first->line->kind) {
    case VMDK_SPARSE:
        return image->descriptor_room == 0 ? "twoGbMaxExtentSparse"
               : first->compressed         ? "streamOptimized"
                                           : "monolithicSparse";
    case VMDK_VMFSSPARSE:
        return "vmfsSparse";
    case VMDK_SESPARSE:
        return "seSparse";
    case VMDK_FLAT:
    case VMDK_ZERO:
    case VMDK_VMFS:
    case VMDK_VMFSRDM:
    case VMDK_VMFSRAW:
    case VMDK_VSANSPARSE:
        break;
    }
    return strstr(first->line->name ? first->line->name : "", "-flat.") ? "monolithicFlat"
                                                                        : "twoGbMaxExtentFlat";
}

static const char *line_name(const Vmdk *image, const VmdkExtent *extent)
{
    const char *own = vmdk_name_of(bdrv_file(image->bs));

    if (extent->line->name) {
        return extent->line->name;
    }
    return vmdk_can_be_quoted(own) ? own : "disk.vmdk";
}

static int compose(const Vmdk *image, char **text)
{
    VmdkPlan plan = {.parent_cid = VMDK_CID_NONE, .adapter = "ide", .hw_version = "4"};
    VmdkText made = {0};
    uint32_t parts[3];
    int ret = vmdk_random_cid(&plan.cid);

    plan.create_type = create_type(image);
    for (size_t i = 0; i < image->extent_count; i++) {
        const VmdkExtent *extent = &image->extents[i];

        plan.sectors += extent->length / BDRV_SECTOR_SIZE;
        vmdk_compose_extent(&plan.extents, extent->length / BDRV_SECTOR_SIZE, extent->line->kind,
                            line_name(image, extent));
    }
    ret = ret < 0 ? ret : vmdk_random(parts, sizeof parts);
    if (ret == 0) {
        snprintf(plan.long_id, sizeof plan.long_id, "%08" PRIx32 "%08" PRIx32 "%08" PRIx32,
                 parts[0], parts[1], parts[2]);
        vmdk_compose(&made, &plan);
        ret = made.failed || plan.extents.failed ? -ENOMEM : 0;
    }
    free(plan.extents.bytes);
    if (ret < 0) {
        free(made.bytes);
        return ret;
    }
    *text = made.bytes;
    return 0;
}

/* The lines stay the same in memory; only what is recorded is new. */
static int take_over(Vmdk *image)
{
    VmdkDescriptor fresh;
    VmdkDescriptor *d = &image->descriptor;
    int ret = vmdk_descriptor_parse(image->bs, d->text, d->text_size, &fresh);

    if (ret == 0) {
        d->version = fresh.version;
        d->has_cid = 1;
        d->cid = fresh.cid;
        free(d->create_type);
        d->create_type = fresh.create_type;
        fresh.create_type = NULL;
        for (size_t i = 0; i < d->extent_count && i < fresh.extent_count; i++) {
            d->extents[i].sectors = fresh.extents[i].sectors;
        }
        free(image->descriptor_problem);
        image->descriptor_problem = NULL;
    }
    vmdk_descriptor_free(&fresh);
    return ret;
}

static int know_lengths(const Vmdk *image)
{
    for (size_t i = 0; i < image->extent_count; i++) {
        if (image->extents[i].length <= 0) {
            return 0;
        }
    }
    return image->extent_count > 0;
}

static int check_descriptor(VmdkCheck *c)
{
    Vmdk *image = c->image;
    const int known = know_lengths(image);
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = known ? "written anew from what the extents say, as a disk without parent "
                          "and with a new CID"
                        : NULL,
        .repaired = c->mend_all,
    };
    char *text = NULL;
    int ret = 0;

    vmdk_found(c, &finding, "the descriptor is destroyed: %s", image->descriptor_problem);
    if (known && c->mend_all) {
        ret = compose(image, &text);
        ret = ret < 0 ? ret : store(c, text);
        ret = ret < 0 ? ret : take_over(image);
    }
    return ret;
}

/* ------------------------------------------------------------------- others */

static void check_parent(VmdkCheck *c)
{
    const BdrvFinding finding = {.kind = BDRV_FINDING_CORRUPTION};

    /* Nobody but the user can know that the content is still the same. */
    vmdk_found(c, &finding, "%s; if the parent's content is what it was, a rebase without "
               "comparison (img-rebase -u) accepts it", c->image->parent_problem);
}

/* Did a commit not come to its end?  Then the link still holds all of it, and so
 * fits the parent as it was and as it is now. */
static int check_commit(VmdkCheck *c)
{
    Vmdk *image = c->image;
    BlockDriverState *backing = bdrv_backing(image->bs);
    uint32_t cid;
    const int known = backing && vmdk_cid_of(backing, &cid);
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = known ? "the parent as it is now is recorded as the parent" : NULL,
        .repaired = c->mend_all,
    };
    char *text;
    int ret;

    if (image->descriptor_problem || image->parent_problem ||
        !vmdk_commit_cid(image, &(uint32_t){0})) {
        return 0;
    }
    vmdk_found(c, &finding, "a commit into the parent was interrupted; what it was to write is "
               "all here still, and can be committed again");
    if (!known || !c->mend_all) {
        return 0;
    }
    text = strdup(image->descriptor.text);
    ret = text ? vmdk_parent_cid_set(&text, cid) : -ENOMEM;
    if (ret < 0) {
        free(text);
        return ret;
    }
    ret = store(c, text);
    image->descriptor.parent_cid = ret < 0 ? image->descriptor.parent_cid : cid;
    return ret;
}

/* Is there a change-tracking file of that name? */
static int is_tracked(const Vmdk *image, const char *name)
{
    BlockDriverState *file;
    uint8_t head[8];
    int found;

    if (bdrv_open_child_to_read(image->bs, name, &file) < 0) {
        return 0;
    }
    found = bdrv_getlength(file) >= (int64_t)sizeof head &&
            bdrv_pread(file, head, sizeof head, 0) == 0 &&
            vmdk_magic(head, sizeof head) == VMDK_MAGIC_CHANGES;
    bdrv_close_child(image->bs, file);
    return found;
}

static int drop_tracking(VmdkCheck *c)
{
    VmdkDescriptor *d = &c->image->descriptor;
    char *text = strdup(d->text);
    int ret = text ? vmdk_tracking_drop(c->image, &text) : -ENOMEM;

    if (ret < 0) {
        free(text);
        return ret;
    }
    ret = store(c, text);
    d->tracks_changes = ret < 0 ? d->tracks_changes : 0;
    return ret;
}

static int check_tracking(VmdkCheck *c)
{
    const VmdkDescriptor *d = &c->image->descriptor;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = "the line is dropped: the next backup has to be a full one",
        .repaired = c->mend_all,
    };
    VmdkSlice value;
    char *name;
    int found;

    if (!d->tracks_changes || !vmdk_option_find(d->text, "changeTrackPath", &value)) {
        return 0;
    }
    name = vmdk_slice_copy(value);
    if (!name) {
        return -ENOMEM;
    }
    found = is_tracked(c->image, name);
    if (!found) {
        vmdk_found(c, &finding, "changeTrackPath names '%s', which is no change-tracking file "
                   "that can be read", name);
    }
    free(name);
    return found || !c->mend_all ? 0 : drop_tracking(c);
}

int vmdk_check_link(VmdkCheck *c)
{
    int ret = 0;

    if (c->image->descriptor_problem) {
        ret = check_descriptor(c);
    }
    if (c->image->parent_problem) {
        check_parent(c);
    }
    if (ret == 0) {
        ret = check_commit(c);
    }
    return ret < 0 ? ret : check_tracking(c);
}
