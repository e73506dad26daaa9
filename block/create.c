/* SPDX-License-Identifier: MIT */
/*
 * create.c - bdrv_create(): everything that can be refused is checked before a
 * byte is touched; then the file is made, the driver fills it, and what does
 * not become complete is removed again.
 */
#include <limits.h>
#include <string.h>

#include "block_int.h"

#ifndef PATH_MAX
#define PATH_MAX 4096 /* a limit of names here, not of the host */
#endif

/* A creation under way. */
typedef struct Creation {
    BdrvCreateOptions asked;
    const BlockDriver *driver;
    OpenContext *context;
    BdrvOptions *options;
    BdrvCreateParams params;
} Creation;

static void creation_end(Creation *creation)
{
    bdrv_close(creation->params.backing);
    bdrv_options_free(creation->options);
    bdrv_context_unref(creation->context);
}

static int check_asked(Creation *creation, const char *format)
{
    const BdrvCreateOptions *asked = &creation->asked;
    int ret = bdrv_require_driver(&creation->driver, format);

    if (ret < 0) {
        return ret;
    }
    if (!bdrv_driver_can_create(creation->driver)) {
        return bdrv_error(NULL, -ENOTSUP, "%s images cannot be created", format);
    }
    if (asked->size < 0) {
        return bdrv_error(NULL, -EINVAL, "the size %lld is negative", (long long)asked->size);
    }
    if (asked->backing && !(creation->driver->flags & BDRV_DRIVER_BACKING)) {
        return bdrv_error(NULL, -ENOTSUP, "%s images cannot have a backing image", format);
    }
    return 0;
}

static int creation_begin(Creation *creation, const char *format,
                          const BdrvCreateOptions *options)
{
    BdrvOpenOptions open = { .struct_size = sizeof open };
    int ret = bdrv_copy_struct(&creation->asked, sizeof creation->asked, options,
                               offsetof(BdrvCreateOptions, may_open));

    if (ret == 0) {
        ret = check_asked(creation, format);
    }
    if (ret < 0) {
        return ret;
    }
    open.flags = creation->asked.flags | BDRV_O_RDWR;
    open.allow_paths = creation->asked.allow_paths;
    open.may_open = creation->asked.may_open;
    open.may_open_opaque = creation->asked.may_open_opaque;
    ret = bdrv_context_new(&creation->context, &open);
    if (ret == 0) {
        ret = bdrv_options_parse(&creation->options, creation->driver->create_options,
                                 creation->asked.options);
    }
    creation->params.size = creation->asked.size;
    creation->params.options = creation->options;
    creation->params.backing_filename = creation->asked.backing;
    return ret;
}

/* ----------------------------------------------------------------- backing */

static int open_backing(Creation *creation, const char *protocol, const char *path)
{
    const BdrvCreateOptions *asked = &creation->asked;
    BdrvOpenOptions open = {
        .struct_size = sizeof open,
        .flags = (asked->flags & BDRV_O_NO_LOCK) | BDRV_O_UNCHANGED,
        .allow_paths = asked->allow_paths,
        .may_open = asked->may_open,
        .may_open_opaque = asked->may_open_opaque,
    };
    int ret = bdrv_open_by(&creation->params.backing, protocol, path, asked->backing_format,
                           &open);

    if (ret < 0) {
        return bdrv_error_prefix(NULL, ret, "cannot open the backing image");
    }
    if (creation->params.size == 0) {
        creation->params.size = bdrv_getlength(creation->params.backing);
    }
    return 0;
}

/* The name of the backing image as the host sees it: the user's name is
 * relative to the new image. */
static int open_backing_of(Creation *creation, const char *protocol, const char *filename)
{
    char path[PATH_MAX];
    int ret;

    if (!creation->asked.backing || creation->asked.flags & BDRV_O_NO_BACKING) {
        return 0;
    }
    ret = bdrv_path_join(path, sizeof path, filename, creation->asked.backing);
    return ret < 0 ? ret : open_backing(creation, protocol, path);
}

/* Writing over a file of one's own parent would destroy it. */
static int refuse_own_backing(const Creation *creation, const char *filename)
{
    if (creation->params.backing && bdrv_uses_file(creation->params.backing, filename) == 1) {
        return bdrv_error(NULL, -EINVAL, "%s: it is a file of the backing image, which would be "
                          "overwritten", filename);
    }
    return 0;
}

/* ---------------------------------------------------------------- creating */

static int fill(const Creation *creation, BlockDriverState *file)
{
    int ret;

    file->spared = creation->params.backing;
    ret = creation->driver->create(file, &creation->params);
    file->spared = NULL;
    if (ret == 0) {
        ret = bdrv_flush_children(file);
    }
    return ret < 0 ? ret : bdrv_flush(file);
}

/* Half-made files would look finished.  The message is the cause's, not that of
 * a removal that fails too. */
static void remove_all(BlockDriverState *file)
{
    bdrv_children_remove(file);
    file->driver->remove(file);
}

static int create_file(const Creation *creation, const char *filename)
{
    const BlockDriver *protocol;
    BlockDriverState *file;
    int ret = bdrv_require_driver(&protocol, "file");

    if (ret == 0) {
        ret = bdrv_open_protocol(&file, protocol, filename,
                                 creation->context->flags | BDRV_O_CREATE, creation->context);
    }
    if (ret != 0) {
        return ret;
    }
    ret = fill(creation, file);
    if (ret < 0) {
        bdrv_call_failed(file, ret, "cannot create");
        bdrv_error_keep();
        remove_all(file);
        bdrv_close(file);
        bdrv_error_restore();
        return ret;
    }
    return bdrv_close(file);
}

int bdrv_create(const char *filename, const char *format, const BdrvCreateOptions *options)
{
    Creation creation = { 0 };
    int ret;

    bdrv_call_begin();
    if (!filename || !format) {
        return bdrv_call_end(NULL, -EINVAL, "bdrv_create: filename or format is NULL");
    }
    ret = creation_begin(&creation, format, options);
    if (ret == 0) {
        ret = open_backing_of(&creation, "file", filename);
    }
    if (ret == 0) {
        ret = refuse_own_backing(&creation, filename);
    }
    if (ret == 0) {
        ret = create_file(&creation, filename);
    }
    creation_end(&creation);
    return bdrv_call_end(NULL, ret, filename);
}

/* Storage that cannot be emptied (a device) is used as it is. */
static int empty(BlockDriverState *file)
{
    int ret = bdrv_truncate(file, 0);

    return ret == -ENOTSUP ? 0 : ret;
}

int bdrv_create_node(BlockDriverState *file, const char *format,
                     const BdrvCreateOptions *options)
{
    Creation creation = { 0 };
    int ret;

    bdrv_call_begin();
    if (!file || !format) {
        return bdrv_call_end(file, -EINVAL, "bdrv_create_node: file or format is NULL");
    }
    ret = creation_begin(&creation, format, options);
    if (ret == 0) {
        ret = open_backing_of(&creation, bdrv_naming_protocol(file), bdrv_filename(file));
    }
    if (ret == 0) {
        ret = empty(file);
    }
    if (ret == 0) {
        ret = fill(&creation, file);
    }
    creation_end(&creation);
    return bdrv_call_end(file, ret, "cannot create");
}
