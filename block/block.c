/* SPDX-License-Identifier: MIT */
/*
 * block.c - the life of a node: how bdrv_open() makes one, what belongs to it,
 * how it goes.
 *
 *        bdrv_open(name)            bdrv_open_io(io)     bdrv_open_node(node)
 *              │ protocol node           │ userio node         │ one more reference
 *              └────────────┬────────────┴──────────┬──────────┘
 *                     bdrv_open_format(): probe, node, driver->open
 *                           │                       (which opens children and,
 *                           │                        last, the backing: chain.c)
 *                     BDRV_O_SNAPSHOT: an overlay node over all that (chain.c)
 *
 * Nodes are counted: a file node may carry several format nodes.  Nothing here
 * transfers data; that is io.c.  Further files of a node are children.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

#define STRINGIFY(x) #x
#define VERSION_TEXT(major, minor, patch) \
    STRINGIFY(major) "." STRINGIFY(minor) "." STRINGIFY(patch)

const char *bdrv_version(void)
{
    return VERSION_TEXT(BDRV_VERSION_MAJOR, BDRV_VERSION_MINOR, BDRV_VERSION_PATCH);
}

/* ----------------------------------------------------------------- context */

enum {
    DEFAULT_CHAIN_DEPTH = 128, /* formats/vmdk.md 9.6 */
    /* For each image of a chain, as many may be opened that turn out to be no parent: a
     * hostile chain of which each has two candidates would mean 2^128. */
    CHAIN_TRIES = 4,
    DEFAULT_EXTENTS = 65536, /* a disk of 64 TB in pieces of 2 GiB has half of that */
    DEFAULT_OPEN_FILES = 128, /* a program's limit is 1024 where nobody has raised it */
    DEFAULT_DESCRIPTOR_BYTES = 8 * 1024 * 1024, /* of that disk it is 1.5 MiB */
    DEFAULT_TABLE_BYTES = 16 * 1024 * 1024,
    TABLE_BYTES_LEAST = 64 * 1024 /* what a long chain ends at */
};

int bdrv_copy_struct(void *dst, size_t size, const void *src, size_t first_version)
{
    size_t given = 0;

    memset(dst, 0, size);
    if (!src) {
        return 0;
    }
    memcpy(&given, src, sizeof given); /* struct_size is the first member */
    if (given == 0) {
        given = first_version;
    }
    if (given < sizeof given || given > 4096) {
        return bdrv_error(NULL, -EINVAL, "options: struct_size is %zu; sizeof the "
                          "struct is wanted", given);
    }
    memcpy(dst, src, given < size ? given : size);
    memcpy(dst, &size, sizeof size);
    return 0;
}

static int copy_string(char **copy, const char *text)
{
    *copy = text ? strdup(text) : NULL;
    return text && !*copy ? -ENOMEM : 0;
}

static int copy_list(char ***copy, const char *const *list)
{
    size_t count = 0;

    while (list && list[count]) {
        count++;
    }
    *copy = calloc(count + 1, sizeof **copy);
    if (!*copy) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        if (copy_string(&(*copy)[i], list[i]) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static unsigned limit_of(unsigned asked, unsigned other)
{
    return asked ? asked : other;
}

static int fill_limits(BdrvLimits *limits, const BdrvOpenOptions *options)
{
    int ret = bdrv_copy_struct(limits, sizeof *limits, options->limits, sizeof *limits);

    limits->chain_depth = limit_of(limits->chain_depth,
                                   limit_of(options->max_depth, DEFAULT_CHAIN_DEPTH));
    limits->extents = limit_of(limits->extents, DEFAULT_EXTENTS);
    limits->open_files = limit_of(limits->open_files, DEFAULT_OPEN_FILES);
    if (limits->descriptor_bytes == 0) {
        limits->descriptor_bytes = DEFAULT_DESCRIPTOR_BYTES;
    }
    if (limits->table_bytes == 0) {
        limits->table_bytes = options->table_bytes ? options->table_bytes : DEFAULT_TABLE_BYTES;
    }
    return ret;
}

static int context_fill(OpenContext *context, const BdrvOpenOptions *options)
{
    int ret = fill_limits(&context->limits, options);

    if (ret < 0) {
        return ret;
    }
    context->flags = options->flags;
    context->log = options->log;
    context->log_opaque = options->log_opaque;
    context->may_open = options->may_open;
    context->may_open_opaque = options->may_open_opaque;
    if (copy_list(&context->allow_paths, options->allow_paths) < 0 ||
        copy_string(&context->snapshot_directory, options->snapshot_directory) < 0 ||
        copy_string(&context->options, options->options) < 0 ||
        copy_string(&context->backing, options->backing) < 0 ||
        copy_string(&context->backing_format, options->backing_format) < 0) {
        return -ENOMEM;
    }
    return 0;
}

int bdrv_context_new(OpenContext **context, const BdrvOpenOptions *options)
{
    const unsigned known = BDRV_O_RDWR | BDRV_O_NO_BACKING | BDRV_O_SNAPSHOT |
                           BDRV_O_NO_LOCK | BDRV_O_NO_FLUSH | BDRV_O_CHECK |
                           BDRV_O_FORWARD | BDRV_O_DIRECT | BDRV_O_WRITETHROUGH |
                           BDRV_O_DROP_BEHIND | BDRV_O_UNCHANGED;
    BdrvOpenOptions ours;
    int ret = bdrv_copy_struct(&ours, sizeof ours, options,
                               offsetof(BdrvOpenOptions, may_open));

    *context = NULL;
    if (ret < 0) {
        return ret;
    }
    if (ours.flags & ~known) {
        return bdrv_error(NULL, -EINVAL, "open flags 0x%x are unknown", ours.flags & ~known);
    }
    *context = calloc(1, sizeof **context);
    if (!*context) {
        return -ENOMEM;
    }
    atomic_init(&(*context)->references, 1);
    ret = context_fill(*context, &ours);
    if (ret < 0) {
        bdrv_context_unref(*context);
        *context = NULL;
    }
    return ret;
}

OpenContext *bdrv_context_ref(OpenContext *context)
{
    atomic_fetch_add(&context->references, 1);
    return context;
}

void bdrv_context_unref(OpenContext *context)
{
    if (!context || atomic_fetch_sub(&context->references, 1) != 1) {
        return;
    }
    for (char **path = context->allow_paths; path && *path; path++) {
        free(*path);
    }
    free(context->allow_paths);
    free(context->snapshot_directory);
    free(context->options);
    free(context->backing);
    free(context->backing_format);
    free(context);
}

BdrvOpenOptions bdrv_context_options(const OpenContext *context, unsigned flags)
{
    return (BdrvOpenOptions){
        .struct_size = sizeof(BdrvOpenOptions),
        .flags = flags,
        .allow_paths = (const char *const *)context->allow_paths,
        .log = context->log,
        .log_opaque = context->log_opaque,
        .may_open = context->may_open,
        .may_open_opaque = context->may_open_opaque,
        .limits = &context->limits,
    };
}

OpenContext *bdrv_context_for_backing(OpenContext *context, unsigned flags)
{
    BdrvOpenOptions options = bdrv_context_options(context, flags);
    BdrvLimits limits = context->limits;
    OpenContext *backing;

    limits.table_bytes = limits.table_bytes / 2 > TABLE_BYTES_LEAST ? limits.table_bytes / 2
                                                                    : TABLE_BYTES_LEAST;
    options.limits = &limits;
    return bdrv_context_new(&backing, &options) < 0 ? NULL : backing;
}

/* ------------------------------------------------------------------- nodes */

int bdrv_node_new(BlockDriverState **bs, const BlockDriver *driver, const char *filename,
                  unsigned flags, OpenContext *context)
{
    BlockDriverState *node = calloc(1, sizeof *node);

    *bs = NULL;
    if (!node) {
        return -ENOMEM;
    }
    node->driver = driver;
    node->flags = flags;
    node->state = calloc(1, driver->instance_size ? driver->instance_size : 1);
    node->filename = strdup(filename);
    if (!node->state || !node->filename) {
        free(node->state);
        free(node->filename);
        free(node);
        return -ENOMEM;
    }
    node->context = bdrv_context_ref(context);
    atomic_init(&node->references, 1);
    atomic_init(&node->length, 0);
    atomic_init(&node->unflushed, 0);
    atomic_init(&node->abandoned, 0);
    atomic_init(&node->needs_names, 0);
    pthread_mutex_init(&node->flush_lock, NULL);
    pthread_mutex_init(&node->serial, NULL);
    pthread_mutex_init(&node->guard, NULL);
    pthread_mutex_init(&node->children_lock, NULL);
    *bs = node;
    return 0;
}

BlockDriverState *bdrv_node_ref(BlockDriverState *bs)
{
    atomic_fetch_add(&bs->references, 1);
    return bs;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the chain: limits.chain_depth */
void bdrv_node_free(BlockDriverState *bs)
{
    bdrv_error_keep(); /* often called because of a failure: its text stays */
    bdrv_children_free(bs);
    bdrv_close(bs->file);
    bdrv_close(bs->backing);
    bdrv_error_restore();
    pthread_mutex_destroy(&bs->children_lock);
    pthread_mutex_destroy(&bs->guard);
    pthread_mutex_destroy(&bs->serial);
    pthread_mutex_destroy(&bs->flush_lock);
    bdrv_context_unref(bs->context);
    free(bs->filename);
    free(bs->state);
    free(bs);
}

int bdrv_node_open(BlockDriverState **bs, const char *text)
{
    BlockDriverState *node = *bs;
    BdrvOptions *options = NULL;
    int ret = bdrv_options_parse(&options, node->driver->open_options, text);

    if (ret < 0) {
        ret = bdrv_error_prefix(node, ret, "%s options", node->driver->name);
    } else {
        ret = node->driver->open(node, options);
        bdrv_options_free(options);
    }
    node->opener = NULL;
    node->chain_tries = NULL;
    if (ret < 0) {
        bdrv_call_failed(node, ret, "cannot open");
        bdrv_node_free(node);
        *bs = NULL;
    }
    return ret;
}

/* ----------------------------------------------------------------- opening */

int bdrv_open_protocol(BlockDriverState **bs, const BlockDriver *driver,
                       const char *filename, unsigned flags, OpenContext *context)
{
    int ret = bdrv_node_new(bs, driver, filename, flags, context);

    return ret < 0 ? ret : bdrv_node_open(bs, NULL);
}

int bdrv_refuse_loop(const BlockDriverState *file, const BlockDriverState *opener)
{
    BdrvIdentity mine, theirs;

    if (file->driver->identify((BlockDriverState *)file, &mine) < 0) {
        return 0; /* the depth limit will find it */
    }
    for (; opener; opener = opener->opener) {
        if (opener->file && opener->file->driver->identify(opener->file, &theirs) == 0 &&
            bdrv_is_same_identity(&mine, &theirs)) {
            return bdrv_error(file, -ELOOP, "the backing chain comes back to '%s'",
                              opener->filename);
        }
    }
    return 0;
}

static int check_chain(const BlockDriverState *bs, const BlockDriverState *opener)
{
    if (!opener) {
        return 0;
    }
    if (bs->depth > bs->context->limits.chain_depth) {
        return bdrv_error(bs, -ELOOP, "the backing chain has more than %u images",
                          bs->context->limits.chain_depth);
    }
    if (++*bs->chain_tries / CHAIN_TRIES > bs->context->limits.chain_depth) {
        return bdrv_error(bs, -ELOOP, "%u images were opened in search of the backing chain",
                          *bs->chain_tries - 1);
    }
    return bdrv_refuse_loop(bs->file, opener);
}

static int check_access(const BlockDriverState *bs)
{
    if (!bdrv_is_writable(bs)) {
        return 0;
    }
    if (!bdrv_is_writable(bs->file)) {
        return bdrv_error(bs, -EROFS, "the storage below is open for reading only");
    }
    if (!bdrv_driver_can_write(bs->driver)) {
        return bdrv_error(bs, -EROFS, "%s images can only be read; convert the image to "
                          "another format to write it", bs->driver->name);
    }
    return 0;
}

int bdrv_open_format(BlockDriverState **bs, BlockDriverState *file, const char *format,
                     unsigned flags, OpenContext *context, const BlockDriverState *opener)
{
    const BlockDriver *driver = NULL;
    unsigned tries = 0;
    int ret, is_guess = 0;

    *bs = NULL;
    ret = format ? bdrv_require_driver(&driver, format)
                 : bdrv_probe_node(file, &driver, &is_guess);
    if (ret == 0 && driver->flags & BDRV_DRIVER_PROTOCOL) {
        ret = bdrv_error(file, -EINVAL, "%s is no format for the content of a file",
                         driver->name);
    }
    if (ret == 0) {
        ret = bdrv_node_new(bs, driver, file->filename, flags, context);
    }
    if (ret != 0) {
        bdrv_close(file);
        return ret;
    }
    (*bs)->file = file;
    (*bs)->is_guess = is_guess;
    (*bs)->opener = opener;
    (*bs)->depth = opener ? opener->depth + 1 : 1;
    (*bs)->chain_tries = opener ? opener->chain_tries : &tries;
    ret = check_chain(*bs, opener);
    if (ret == 0) {
        ret = check_access(*bs);
    }
    if (ret < 0) {
        bdrv_node_free(*bs);
        *bs = NULL;
        return ret;
    }
    return bdrv_node_open(bs, context->options);
}

static const char host_files[] = "file";

/* The flags of the image itself: under a snapshot it is only read. */
static unsigned image_flags(const OpenContext *context)
{
    return context->flags & BDRV_O_SNAPSHOT ? context->flags & ~(unsigned)BDRV_O_RDWR
                                            : context->flags;
}

/* From the file node up; takes its reference. */
static int open_upwards(BlockDriverState **bs, BlockDriverState *file, const char *format,
                        OpenContext *context)
{
    int ret = bdrv_open_format(bs, file, format, image_flags(context), context, NULL);

    if (ret == 0 && context->flags & BDRV_O_SNAPSHOT) {
        ret = bdrv_open_snapshot(bs, context);
    }
    return ret;
}

/* Storage as the disk itself. */
static int open_storage(BlockDriverState **bs, const BlockDriver *driver, const char *filename,
                        OpenContext *context)
{
    int ret = bdrv_node_new(bs, driver, filename, image_flags(context), context);

    if (ret == 0) {
        ret = bdrv_node_open(bs, context->options);
    }
    if (ret == 0 && context->flags & BDRV_O_SNAPSHOT) {
        ret = bdrv_open_snapshot(bs, context);
    }
    return ret;
}

static int open_by_name(BlockDriverState **bs, const char *protocol_name, const char *filename,
                        const char *format, OpenContext *context)
{
    const BlockDriver *driver = bdrv_find(format), *protocol;
    BlockDriverState *file;
    int ret;

    if (driver && driver->flags & BDRV_DRIVER_PROTOCOL) {
        return open_storage(bs, driver, filename, context);
    }
    ret = bdrv_require_driver(&protocol, protocol_name);
    if (ret == 0) {
        ret = bdrv_open_protocol(&file, protocol, filename, image_flags(context), context);
    }
    return ret != 0 ? ret : open_upwards(bs, file, format, context);
}

int bdrv_open_by(BlockDriverState **bs, const char *protocol, const char *filename,
                 const char *format, const BdrvOpenOptions *options)
{
    OpenContext *context;
    int ret;

    bdrv_call_begin();
    if (!bs || !filename) {
        return bdrv_call_end(NULL, -EINVAL, "bdrv_open: bs or filename is NULL");
    }
    *bs = NULL;
    ret = bdrv_context_new(&context, options);
    if (ret == 0) {
        ret = open_by_name(bs, protocol, filename, format, context);
        bdrv_context_unref(context);
    }
    return bdrv_call_end(NULL, ret, filename);
}

int bdrv_open(BlockDriverState **bs, const char *filename, const char *format,
              const BdrvOpenOptions *options)
{
    return bdrv_open_by(bs, host_files, filename, format, options);
}

const char *bdrv_naming_protocol(const BlockDriverState *file)
{
    while (file->driver->flags & BDRV_DRIVER_FILTER && file->file) {
        file = file->file;
    }
    return bdrv_find(file->driver->name) == file->driver && bdrv_has_names(file->driver)
               ? file->driver->name
               : host_files;
}

int bdrv_open_io(BlockDriverState **bs, const char *label, const BdrvIo *io, void *opaque,
                 const char *format, const BdrvOpenOptions *options)
{
    OpenContext *context = NULL;
    BlockDriverState *file = NULL;
    int ret;

    bdrv_call_begin();
    if (!bs || !io) {
        return bdrv_call_end(NULL, -EINVAL, "bdrv_open_io: bs or io is NULL");
    }
    *bs = NULL;
    ret = bdrv_context_new(&context, options);
    if (ret == 0) {
        ret = bdrv_userio_new(&file, label ? label : "", io, opaque, context);
    }
    if (ret == 0) {
        bdrv_node_ref(file); /* to tell it, whatever happens, who owns opaque */
        ret = open_upwards(bs, file, format, context);
        if (ret == 0) {
            bdrv_userio_take_opaque(file);
        }
        bdrv_close(file);
    }
    bdrv_context_unref(context);
    return bdrv_call_end(NULL, ret, "cannot open");
}

int bdrv_open_node(BlockDriverState **bs, BlockDriverState *file, const char *format,
                   const BdrvOpenOptions *options)
{
    OpenContext *context;
    int ret;

    bdrv_call_begin();
    if (!bs || !file) {
        return bdrv_call_end(NULL, -EINVAL, "bdrv_open_node: bs or file is NULL");
    }
    *bs = NULL;
    ret = bdrv_context_new(&context, options);
    if (ret == 0) {
        ret = open_upwards(bs, bdrv_node_ref(file), format, context);
        bdrv_context_unref(context);
    }
    return bdrv_call_end(NULL, ret, "cannot open");
}

/* ----------------------------------------------------------------- closing */

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the chain: limits.chain_depth */
int bdrv_close(BlockDriverState *bs)
{
    int ret = 0, closed;

    if (!bs || atomic_fetch_sub(&bs->references, 1) != 1) {
        return 0;
    }
    bdrv_call_begin();
    if (bdrv_is_writable(bs)) {
        ret = bdrv_flush(bs);
    }
    closed = bs->driver->close(bs);
    if (ret == 0) {
        ret = closed;
    }
    ret = bdrv_call_end(bs, ret, "cannot close");
    bdrv_node_free(bs);
    return ret;
}
