/* SPDX-License-Identifier: MIT */
/*
 * parent.c - finds the parent of a link and proves that it is the right one.
 *
 * The name in the descriptor is only a hint: disks are moved, from Windows and
 * from ESX, and the hint is not changed.  What counts is the CID: a file of the
 * right name whose CID is not the parentCID has been written to since, or is
 * something else, and would give garbage.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

int vmdk_cid_of(const BlockDriverState *bs, uint32_t *cid)
{
    const Vmdk *image;

    if (strcmp(bdrv_driver_name(bs), "vmdk") != 0) {
        return 0;
    }
    image = bdrv_state(bs);
    *cid = image->descriptor.cid;
    return image->descriptor.has_cid;
}

static void warn_of_length(const Vmdk *image, BlockDriverState *backing)
{
    int64_t ours = bdrv_getlength(image->bs), theirs = bdrv_getlength(backing);

    if (ours != theirs) {
        bdrv_log(image->bs, "the parent '%s' has %" PRId64 " bytes, this link %" PRId64
                 ": VMware wants all links of a chain to have the same size",
                 bdrv_filename(backing), theirs, ours);
    }
}

int vmdk_parent_check(const Vmdk *image, const BlockDriverState *backing)
{
    const uint32_t wanted = image->descriptor.parent_cid;
    uint32_t cid = 0, commit_cid;

    if (!vmdk_cid_of(backing, &cid)) {
        return image->accept_any_parent
                   ? 0 : bdrv_error(image->bs, -EINVAL, "the parent '%s' has no CID to be compared "
                                    "with this link's parentCID %08" PRIx32 "; the option "
                                    "any_parent=on accepts it", bdrv_filename(backing), wanted);
    }
    if (cid != wanted && vmdk_commit_cid(image, &commit_cid) && cid == commit_cid) {
        return 1;
    }
    return cid == wanted || image->accept_any_parent
               ? 0 : bdrv_error(image->bs, -EINVAL, "the parent '%s' has CID %08" PRIx32 ", this "
                                "link was made when its parent had %08" PRIx32 ": it was written "
                                "to since, or is another disk; the option any_parent=on accepts "
                                "it", bdrv_filename(backing), cid, wanted);
}

static int accept_parent(void *opaque, BlockDriverState *backing)
{
    Vmdk *image = opaque;
    const int ret = vmdk_parent_check(image, backing);

    if (ret == 1) {
        bdrv_log(image->bs, "a commit into the parent '%s' was interrupted: this link still holds "
                 "all of it; commit again", bdrv_filename(backing));
    }
    if (ret >= 0) {
        warn_of_length(image, backing);
    }
    return ret < 0 ? ret : 0;
}

/* What follows the last separator of either kind. */
static const char *base_name(const char *name)
{
    const char *base = name;

    for (; *name; name++) {
        if (*name == '/' || *name == '\\') {
            base = name + 1;
        }
    }
    return base;
}

/* The names that are tried, and why the first of them, the hint as it stands, failed: that
 * is told.  (It must not be opened again for that: in a chain each image would double the
 * work of the next.) */
typedef struct Search {
    Vmdk *image;
    int error;
    char *message;
} Search;

static int try_name(Search *search, const char *name)
{
    const int ret = bdrv_open_backing(search->image->bs, name, "vmdk", accept_parent,
                                      search->image);

    if (ret < 0 && search->error == 0) {
        search->error = ret;
        search->message = strdup(bdrv_errmsg());
    }
    return ret;
}

/* Each spelling of the hint as it stands, then each by its bare name beside this file. */
static int open_spelt(Search *search, const VmdkSpellings *spellings)
{
    int ret = -ENOENT;

    for (size_t i = 0; ret < 0 && i < spellings->count; i++) {
        ret = try_name(search, spellings->list[i]);
    }
    for (size_t i = 0; ret < 0 && i < spellings->count; i++) {
        const char *base = base_name(spellings->list[i]);

        if (base != spellings->list[i] && *base) {
            ret = try_name(search, base);
        }
    }
    return ret;
}

static int tell(const Search *search, const char *hint)
{
    const char *base = base_name(hint);
    const int was_found = search->error != -ENOENT && search->error != -EPERM;

    if (!search->message) {
        return -ENOMEM;
    }
    return was_found || base == hint || *base == '\0'
               ? bdrv_error(NULL, search->error, "%s", search->message)
               : bdrv_error(NULL, search->error, "%s (nor is there a usable '%s' beside it)",
                            search->message, base);
}

static int open_hint(Vmdk *image, const char *hint)
{
    Search search = {.image = image};
    VmdkSpellings spellings;
    int ret = vmdk_spellings(image, hint, &spellings);

    if (ret < 0) {
        return ret;
    }
    ret = open_spelt(&search, &spellings);
    if (ret < 0) {
        ret = tell(&search, hint);
    }
    if (ret < 0 && *spellings.problem) {
        bdrv_error_prefix(image->bs, ret, "the parent's name is in the encoding %.64s%s",
                          vmdk_encoding_of(image, hint), spellings.problem);
    }
    free(search.message);
    vmdk_spellings_free(&spellings);
    return ret;
}

int vmdk_parent_open(Vmdk *image)
{
    const VmdkDescriptor *d = &image->descriptor;

    if (d->parent_cid == VMDK_CID_NONE) {
        if (d->parent_hint) {
            bdrv_log(image->bs, "parentFileNameHint '%s' is ignored: parentCID says that there "
                     "is no parent", d->parent_hint);
        }
        return 0;
    }
    if (bdrv_open_flags(image->bs) & BDRV_O_NO_BACKING) {
        return 0;
    }
    if (!d->parent_hint) {
        /* The user may have named one. */
        int ret = bdrv_open_backing(image->bs, "", "vmdk", accept_parent, image);

        return ret == 0 || ret == -EBUSY
                   ? ret
                   : bdrv_error_prefix(image->bs, -EINVAL, "parentCID is %08" PRIx32
                                       ", but no parentFileNameHint says where the parent is: "
                                       "name it when opening", d->parent_cid);
    }
    return open_hint(image, d->parent_hint);
}
