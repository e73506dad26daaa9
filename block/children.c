/* SPDX-License-Identifier: MIT */
/*
 * children.c - the further files of a node (extents, what a driver makes beside
 * the file that is being created): opened, made, closed again, removed.
 *
 * A driver of an image of many files opens and closes children while other
 * threads flush the node, hence a lock over the list.  It is held while a child
 * is flushed: a child that is closed meanwhile would be open longer than its
 * driver knows, and the host's locks on its file with it.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

/* A node for a further file, by the protocol that knows the names: that of the
 * file below bs, through filters. */
static int open_other(BlockDriverState **child, BlockDriverState *from, const char *name,
                      unsigned flags, BdrvFileRole role)
{
    int ret;

    while (from->driver->flags & BDRV_DRIVER_FILTER && from->file) {
        from = from->file;
    }
    ret = bdrv_node_new(child, from->driver, name, flags, from->context);
    if (ret < 0) {
        return ret;
    }
    (*child)->role = role;
    ret = from->driver->open_other(*child, from, name);
    if (ret < 0) {
        bdrv_call_failed(from, ret, name);
        bdrv_node_free(*child);
        *child = NULL;
    }
    return ret;
}

int bdrv_open_beside(BlockDriverState **child, BlockDriverState *file, const char *name,
                     unsigned flags)
{
    return open_other(child, file, name, flags, BDRV_FILE_PARENT);
}

int bdrv_may_open(const BlockDriverState *bs, const BlockDriverState *from, BdrvNamedFile *file)
{
    const OpenContext *context = bs->context;
    int ret;

    file->struct_size = sizeof *file;
    file->role = bs->role;
    file->writable = bdrv_is_writable(bs);
    file->named_by = from->filename;
    ret = context->may_open ? context->may_open(context->may_open_opaque, file)
                            : BDRV_OPEN_AS_USUAL;
    if (ret != BDRV_OPEN_AS_USUAL) {
        return ret == 0 ? 0 : bdrv_error(from, ret < 0 ? ret : -EPERM, "names the file '%s': "
                                         "the may_open callback refuses it", file->path);
    }
    return file->is_inside
               ? 0 : bdrv_error(from, -EPERM, "names the file '%s', which lies outside the "
                                "image's directory; allow_paths (tools: --allow-path DIR) "
                                "would allow it", file->path);
}

/* ---------------------------------------------------------------- the list */

static int adopt(BlockDriverState *bs, BlockDriverState *child)
{
    BlockDriverState **children;

    pthread_mutex_lock(&bs->children_lock);
    children = realloc(bs->children, (bs->child_count + 1) * sizeof *children);
    if (children) {
        children[bs->child_count++] = child;
        bs->children = children;
    }
    pthread_mutex_unlock(&bs->children_lock);
    return children ? 0 : -ENOMEM;
}

static void disown(BlockDriverState *bs, const BlockDriverState *child)
{
    size_t kept = 0;

    pthread_mutex_lock(&bs->children_lock);
    for (size_t i = 0; i < bs->child_count; i++) {
        if (bs->children[i] != child) {
            bs->children[kept++] = bs->children[i];
        }
    }
    bs->child_count = kept;
    pthread_mutex_unlock(&bs->children_lock);
}

int bdrv_children_each(BlockDriverState *bs, ChildFn *act, void *opaque)
{
    int ret = 0;

    pthread_mutex_lock(&bs->children_lock);
    for (size_t i = 0; ret == 0 && i < bs->child_count; i++) {
        ret = act(bs->children[i], opaque);
    }
    pthread_mutex_unlock(&bs->children_lock);
    return ret;
}

/* ----------------------------------------------------------------- opening */

static int open_child(BlockDriverState *bs, const char *name, unsigned flags,
                      BlockDriverState **child)
{
    int ret;

    bdrv_call_begin();
    /* In create, bs is the file itself. */
    ret = open_other(child, bs->file ? bs->file : bs, name, flags & ~(unsigned)BDRV_O_CREATE,
                     BDRV_FILE_EXTENT);
    if (ret == 0) {
        ret = adopt(bs, *child);
        if (ret < 0) {
            bdrv_close(*child);
            *child = NULL;
        }
    }
    return bdrv_call_end(bs, ret, "cannot open a file of the image");
}

int bdrv_open_child(BlockDriverState *bs, const char *name, BlockDriverState **child)
{
    return open_child(bs, name, bs->flags, child);
}

int bdrv_open_child_to_read(BlockDriverState *bs, const char *name, BlockDriverState **child)
{
    return open_child(bs, name, bs->flags & ~(unsigned)BDRV_O_RDWR, child);
}

static int refuse_spared(const BlockDriverState *file, BlockDriverState *child)
{
    BdrvIdentity identity;

    if (file->spared && child->driver->identify(child, &identity) == 0 &&
        bdrv_chain_has(file->spared, &identity)) {
        return bdrv_error(child, -EEXIST, "it is a file of the backing image, which would be "
                          "overwritten; choose another name");
    }
    return 0;
}

/* What keeps us from it may be that we keep others from it. */
static int refuse_busy(BlockDriverState *file, const char *name)
{
    BlockDriverState *child;
    int ret;

    bdrv_error_keep();
    ret = open_other(&child, file, name, (file->flags & ~(unsigned)(BDRV_O_CREATE | BDRV_O_RDWR)) |
                                             BDRV_O_NO_LOCK, BDRV_FILE_EXTENT);
    bdrv_error_restore();
    if (ret == 0) {
        ret = refuse_spared(file, child);
        bdrv_close(child);
    }
    return ret == -EEXIST ? ret : -EBUSY;
}

static int create_child(BlockDriverState *file, const char *name, BlockDriverState **child)
{
    int ret = open_other(child, file, name, file->flags | BDRV_O_CREATE | BDRV_O_RDWR,
                         BDRV_FILE_EXTENT);

    if (ret == -EBUSY && file->spared) {
        ret = refuse_busy(file, name);
    }
    if (ret == 0) {
        ret = refuse_spared(file, *child);
        if (ret < 0) {
            bdrv_close(*child); /* as it was: nothing has been modified */
            *child = NULL;
        }
    }
    if (ret < 0) {
        return ret;
    }
    (*child)->made_as = strdup(name);
    ret = (*child)->made_as ? adopt(file, *child) : -ENOMEM;
    if (ret < 0) {
        (*child)->driver->remove(*child);
        bdrv_close(*child);
        *child = NULL;
    }
    return ret;
}

int bdrv_create_child(BlockDriverState *file, const char *name, BlockDriverState **child)
{
    int ret;

    bdrv_call_begin();
    ret = create_child(file, name, child);
    return bdrv_call_end(file, ret, "cannot create a file of the image");
}

/* ----------------------------------------------------------------- closing */

/* Takes over the name of a child that goes. */
static int remember_made(BlockDriverState *file, BlockDriverState *child)
{
    char **made = realloc(file->made, (file->made_count + 1) * sizeof *made);

    if (!made) {
        return -ENOMEM;
    }
    made[file->made_count++] = child->made_as;
    child->made_as = NULL;
    file->made = made;
    return 0;
}

int bdrv_close_child(BlockDriverState *bs, BlockDriverState *child)
{
    int ret = 0, closed;

    if (!child) {
        return 0;
    }
    bdrv_call_begin();
    disown(bs, child);
    if (child->made_as) {
        ret = remember_made(bs, child);
        if (ret < 0) {
            child->driver->remove(child); /* nobody else will */
        }
    }
    closed = bdrv_close(child);
    return bdrv_call_end(bs, ret < 0 ? ret : closed, "cannot close a file of the image");
}

/* Made once more, it is empty, and ours to remove. */
static void remove_closed(BlockDriverState *file, const char *name)
{
    BlockDriverState *child;

    if (open_other(&child, file, name, file->flags | BDRV_O_CREATE | BDRV_O_RDWR,
                   BDRV_FILE_EXTENT) == 0) {
        child->driver->truncate(child, 0); /* what is there is what we have made */
        child->driver->remove(child);
        bdrv_close(child);
    }
}

void bdrv_children_remove(BlockDriverState *file)
{
    for (size_t i = 0; i < file->child_count; i++) {
        file->children[i]->driver->remove(file->children[i]);
    }
    for (size_t i = 0; i < file->made_count; i++) {
        remove_closed(file, file->made[i]);
    }
}

void bdrv_children_free(BlockDriverState *bs)
{
    for (size_t i = 0; i < bs->child_count; i++) {
        bdrv_close(bs->children[i]);
    }
    for (size_t i = 0; i < bs->made_count; i++) {
        free(bs->made[i]);
    }
    free(bs->children);
    free(bs->made);
    free(bs->made_as);
}

/* --------------------------------------------------- the file, by its driver */

int bdrv_identify(BlockDriverState *file, BdrvIdentity *identity)
{
    int ret;

    bdrv_call_begin();
    ret = file->driver->identify(file, identity);
    return bdrv_call_end(file, ret, "cannot tell which file it is");
}

int bdrv_is_same_identity(const BdrvIdentity *one, const BdrvIdentity *other)
{
    return one->device == other->device && one->inode == other->inode;
}
