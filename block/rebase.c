/* SPDX-License-Identifier: MIT */
/*
 * rebase.c - moving content along a chain: bdrv_commit() writes an image's own
 * content down into its backing image; bdrv_rebase() copies what shows through
 * up into the image, as far as another backing image would show something else.
 *
 *     commit:  image ──own runs──▶ backing        rebase:  image ◀──differences── old
 *
 * In both the content is durable in its new place before the record changes
 * that makes it count there.  Drivers only rewrite the record.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif

enum {
    CHUNK = 1024 * 1024,
    COMPARE_UNIT = 64 * 1024 /* where the format tells no cluster size */
};

static int check_access(const BlockDriverState *bs)
{
    if (!bdrv_is_writable(bs)) {
        return bdrv_error(bs, -EROFS, "the image is open for reading only");
    }
    if (!bdrv_can_change_backing(bs->driver)) {
        return bdrv_error(bs, -ENOTSUP, "the %s driver cannot change the backing image",
                          bs->driver->name);
    }
    return 0;
}

/* What a name does not lead back to (memory, the user's callbacks) can only be
 * had again as it is: 1, or 0: it is to be opened by its name, or -EROFS. */
static int is_had_already(BlockDriverState *storage, unsigned access)
{
    BdrvIdentity identity;

    if (bdrv_is_writable(storage)) {
        return 1;
    }
    if (storage->driver->identify(storage, &identity) == 0) {
        return 0;
    }
    return access & BDRV_O_RDWR
               ? bdrv_error(storage, -EROFS, "the storage was opened for reading only, and cannot "
                            "be opened again")
               : 1;
}

/* Storage that is the disk itself. */
static int open_storage_again(BlockDriverState *node, const BdrvOpenOptions *options,
                              BlockDriverState **again)
{
    const unsigned locks = BDRV_O_RDWR | BDRV_O_UNCHANGED;
    int had = is_had_already(node, options->flags);

    if (had == 1 || (had == 0 && (options->flags & locks) == (node->flags & locks))) {
        *again = bdrv_node_ref(node);
        return 0;
    }
    return had < 0 ? had : bdrv_open(again, node->filename, node->driver->name, options);
}

/* A file that an image names: once more as such, under the same policy as before. */
static int open_named_again(BlockDriverState *node, const BdrvOpenOptions *options,
                            BlockDriverState **again)
{
    BlockDriverState *file;
    int ret = bdrv_open_beside(&file, node->file, bdrv_path_basename(node->file->filename),
                               options->flags);

    if (ret == 0) {
        ret = bdrv_open_node(again, file, node->driver->name, options);
        bdrv_close(file);
    }
    return ret;
}

/* A further handle on the image that node is, for writing or for reading anew;
 * node itself stays open. */
static int open_again(BlockDriverState *node, unsigned access, BlockDriverState **again)
{
    OpenContext *context = node->context;
    BdrvOpenOptions options = bdrv_context_options(
        context, access | (node->flags & (BDRV_O_NO_LOCK | BDRV_O_NO_BACKING)));
    int had, ret;

    options.options = context->options;
    options.backing = context->backing;
    options.backing_format = context->backing_format;
    if (!node->file) {
        return open_storage_again(node, &options, again);
    }
    had = is_had_already(node->file, access);
    if (had < 0) {
        return had;
    }
    ret = had ? bdrv_open_node(again, node->file, node->driver->name, &options)
          : node->file->role == BDRV_FILE_PARENT
              ? open_named_again(node, &options, again)
              : bdrv_open_by(again, bdrv_naming_protocol(node->file), node->file->filename,
                             node->driver->name, &options);
    if (ret == 0) {
        (*again)->is_guess = node->is_guess; /* it was not named now either */
    }
    return ret;
}

/* The file that a node is on; where that cannot be told, it is had again as it is. */
typedef struct Place {
    int is_known;
    BdrvIdentity identity;
} Place;

static Place place_of(BlockDriverState *node)
{
    BlockDriverState *storage = node->file ? node->file : node;
    Place place = { 0 };

    bdrv_error_keep(); /* of a failure that is under way */
    place.is_known = storage->driver->identify(storage, &place.identity) == 0;
    bdrv_error_restore();
    return place;
}

/* open_again(), but the name may have come to mean another file than that at place. */
static int open_again_at(const Place *place, BlockDriverState *node, unsigned access,
                         BlockDriverState **again)
{
    Place now;
    int ret = open_again(node, access, again);

    if (ret < 0 || !place->is_known) {
        return ret;
    }
    now = place_of(*again);
    if (!now.is_known || !bdrv_is_same_identity(&now.identity, &place->identity)) {
        bdrv_close(*again);
        *again = NULL;
        ret = bdrv_error(node, -EBUSY, "the name means another file now than when it was "
                         "opened");
    }
    return ret;
}

static int open_same(BlockDriverState *node, unsigned access, BlockDriverState **again)
{
    const Place place = place_of(node);

    return open_again_at(&place, node, access, again);
}

/* ---------------------------------------------------------------- progress */

void bdrv_set_progress(BlockDriverState *bs, BdrvProgressFn *progress, void *opaque)
{
    if (bs) {
        bs->progress = progress;
        bs->progress_opaque = opaque;
    }
}

int bdrv_tell_progress(BlockDriverState *bs, int64_t done, int64_t total)
{
    if (bs->progress && bs->progress(bs->progress_opaque, done, total)) {
        return bdrv_error(bs, -ECANCELED, "stopped at byte %lld of the disk", (long long)done);
    }
    return 0;
}

static int tell(BlockDriverState *bs, int64_t done)
{
    return bdrv_tell_progress(bs, done, bdrv_getlength(bs));
}

/* ------------------------------------------------------------------ commit */

static int commit_run(BlockDriverState *bs, BlockDriverState *image, int64_t offset,
                      const BdrvExtent *run, void *buf)
{
    int64_t chunk;
    int ret = 0;

    if (run->state == BDRV_ZERO) {
        return bdrv_write_zeroes(image, offset, run->bytes);
    }
    for (int64_t done = 0; ret == 0 && done < run->bytes; done += chunk) {
        chunk = bdrv_min(run->bytes - done, CHUNK);
        ret = bdrv_pread(bs, buf, (size_t)chunk, offset + done);
        if (ret == 0) {
            ret = bdrv_pwrite(image, buf, (size_t)chunk, offset + done);
        }
        ret = ret < 0 ? ret : tell(bs, offset + done + chunk);
    }
    return ret;
}

static int commit_runs(BlockDriverState *bs, BlockDriverState *image)
{
    int64_t length = bdrv_getlength(bs), offset = 0;
    void *buf = malloc(CHUNK);
    BdrvExtent run;
    int ret = buf ? 0 : -ENOMEM;

    while (ret == 0 && offset < length) {
        ret = bdrv_is_allocated(bs, offset, length - offset, &run);
        if (ret == 0 && run.state != BDRV_UNALLOCATED) {
            ret = commit_run(bs, image, offset, &run, buf);
        }
        if (ret == 0) {
            offset += run.bytes;
            ret = tell(bs, offset);
        }
    }
    free(buf);
    return ret;
}

/* Down into the backing image, opened for writing; durable when done.  *place becomes where it
 * is then: its driver may have replaced the file. */
static int commit_down(BlockDriverState *bs, Place *place)
{
    int64_t length = bdrv_getlength(bs);
    BlockDriverState *image;
    int ret = open_same(bs->backing, BDRV_O_RDWR, &image), closed;

    if (ret < 0) {
        return ret;
    }
    ret = bs->driver->begin_commit(bs, image);
    if (ret == 0 && bdrv_getlength(image) < length) {
        ret = bdrv_truncate(image, length);
        if (ret < 0) {
            ret = bdrv_error_prefix(bs, -ENOSPC, "the backing image is shorter");
        }
    }
    if (ret == 0) {
        ret = commit_runs(bs, image);
    }
    *place = place_of(image);
    closed = bdrv_close(image);
    return ret < 0 ? ret : closed;
}

static void replace_backing(BlockDriverState *bs, BlockDriverState *backing)
{
    bdrv_close(bs->backing);
    bs->backing = backing;
}

/* What keeps others from writing to the backing image keeps us, too. */
static int let_backing_go(BlockDriverState *bs)
{
    BlockDriverState *again;
    int ret = open_same(bs->backing, 0, &again);

    if (ret == 0) {
        replace_backing(bs, again);
    }
    return ret;
}

/* The handle that read the backing image may have cached what it was.  access: 0, or
 * BDRV_O_UNCHANGED. */
static int refresh_backing(BlockDriverState *bs, unsigned access, const Place *place)
{
    BlockDriverState *again;
    int ret = open_again_at(place, bs->backing, access, &again);

    if (ret == 0) {
        replace_backing(bs, again);
    }
    return ret;
}

/* How the backing image is to be open but for a commit.  A snapshot does not ask for more than
 * its user did. */
static unsigned access_to_backing(const BlockDriverState *bs)
{
    const unsigned flags = bs->context->flags & BDRV_O_SNAPSHOT ? bs->context->flags
                                                                : bdrv_backing_flags(bs);

    return flags & BDRV_O_UNCHANGED;
}

static int commit_to_backing(BlockDriverState *bs)
{
    const unsigned access = access_to_backing(bs);
    Place place = place_of(bs->backing);
    int ret = bs->backing->flags & BDRV_O_UNCHANGED ? let_backing_go(bs) : 0;

    if (ret < 0) {
        return ret;
    }
    ret = commit_down(bs, &place);
    if (ret == 0) {
        return refresh_backing(bs, access, &place);
    }
    bdrv_error_keep();
    refresh_backing(bs, access, &place); /* unless another writes to it: the next commit tries again */
    bdrv_error_restore();
    return ret;
}

static int commit(BlockDriverState *bs)
{
    BdrvInfo info = { .struct_size = sizeof info };
    int ret;

    if (!bs->backing) {
        return bdrv_error(bs, -ENOTSUP, "there is no backing image to commit to");
    }
    ret = check_access(bs);
    if (ret == 0) {
        ret = bdrv_get_info(bs, &info);
    }
    if (ret == 0) {
        ret = bdrv_flush(bs);
    }
    if (ret == 0) {
        ret = commit_to_backing(bs);
    }
    if (ret == 0) { /* the backing image is not the same any more */
        ret = bs->driver->change_backing(bs, info.backing_filename, bs->backing);
    }
    if (ret == 0) {
        ret = bs->driver->make_empty(bs);
    }
    atomic_store(&bs->unflushed, 1);
    return ret < 0 ? ret : bdrv_flush(bs);
}

int bdrv_commit(BlockDriverState *bs)
{
    int ret;

    bdrv_call_begin();
    ret = bs ? commit(bs) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot commit");
}

/* ------------------------------------------------------------------ rebase */

typedef struct Rebase {
    BlockDriverState *bs;
    BlockDriverState *new; /* NULL: none */
    int64_t unit;          /* what is compared, and copied, as one */
    uint8_t *old_bytes;
    uint8_t *new_bytes;
} Rebase;

static int read_or_zeros(BlockDriverState *from, uint8_t *buf, int64_t offset, int64_t bytes)
{
    int64_t there = from ? bdrv_max(0, bdrv_min(bytes, bdrv_getlength(from) - offset)) : 0;

    memset(buf + there, 0, (size_t)(bytes - there));
    return there > 0 ? bdrv_pread(from, buf, (size_t)there, offset) : 0;
}

static int unit_differs(const Rebase *r, int64_t offset, int64_t done, int64_t bytes,
                        int64_t *piece)
{
    *piece = bdrv_min(r->unit - (offset + done) % r->unit, bytes - done);
    return memcmp(r->old_bytes + done, r->new_bytes + done, (size_t)*piece) != 0;
}

/* How far do the units from done on all differ, or all agree? */
static int find_run(const Rebase *r, int64_t offset, int64_t done, int64_t bytes, int64_t *run)
{
    int64_t piece;
    const int differs = unit_differs(r, offset, done, bytes, run);

    while (done + *run < bytes &&
           unit_differs(r, offset, done + *run, bytes, &piece) == differs) {
        *run += piece;
    }
    return differs;
}

/* Written as data, also where it is zeros: write_zeroes would see that the old
 * backing image shows zeros there, and do nothing. */
static int copy_differences(const Rebase *r, int64_t offset, int64_t bytes)
{
    int ret = read_or_zeros(r->bs->backing, r->old_bytes, offset, bytes);

    if (ret == 0) {
        ret = read_or_zeros(r->new, r->new_bytes, offset, bytes);
    }
    for (int64_t done = 0, run; ret == 0 && done < bytes; done += run) {
        const int differs = find_run(r, offset, done, bytes, &run);

        if (differs) {
            ret = bdrv_pwrite(r->bs, r->old_bytes + done, (size_t)run, offset + done);
        }
    }
    return ret;
}

/* Nothing shows anything on either side: the long empty stretches of a disk. */
static int both_empty(const Rebase *r, int64_t offset, int64_t *bytes)
{
    BlockDriverState *const sides[] = { r->bs->backing, r->new };
    BdrvExtent run;

    for (int i = 0; i < 2; i++) {
        if (sides[i] && offset < bdrv_getlength(sides[i])) {
            int64_t there = bdrv_min(*bytes, bdrv_getlength(sides[i]) - offset);
            int ret = bdrv_map(sides[i], offset, there, &run);

            if (ret < 0) {
                return ret;
            }
            *bytes = run.bytes;
            if (run.state == BDRV_DATA) {
                return 0;
            }
        }
    }
    return 1;
}

static int copy_run(const Rebase *r, int64_t offset, int64_t bytes)
{
    int ret = 0;

    while (ret >= 0 && bytes > 0) {
        int64_t step = bytes;

        ret = both_empty(r, offset, &step);
        if (ret == 0) {
            step = bdrv_min(bytes, CHUNK - offset % CHUNK);
            ret = copy_differences(r, offset, step);
        }
        offset += step;
        bytes -= step;
        ret = ret < 0 ? ret : tell(r->bs, offset);
    }
    return ret < 0 ? ret : 0;
}

static int copy_all(const Rebase *r)
{
    int64_t length = bdrv_getlength(r->bs), offset = 0;
    BdrvExtent run;
    int ret = 0;

    while (ret == 0 && offset < length) {
        ret = bdrv_is_allocated(r->bs, offset, length - offset, &run);
        if (ret == 0 && run.state == BDRV_UNALLOCATED) {
            ret = copy_run(r, offset, run.bytes);
        }
        if (ret == 0) {
            offset += run.bytes;
            ret = tell(r->bs, offset);
        }
    }
    return ret < 0 ? ret : bdrv_flush(r->bs);
}

static int keep_content(BlockDriverState *bs, BlockDriverState *new)
{
    BdrvInfo info = { .struct_size = sizeof info };
    Rebase r = { .bs = bs, .new = new };
    int ret = bdrv_get_info(bs, &info);

    if (ret < 0) {
        return ret;
    }
    r.unit = info.cluster_size > 0 ? bdrv_min(info.cluster_size, CHUNK) : COMPARE_UNIT;
    r.old_bytes = malloc(CHUNK);
    r.new_bytes = malloc(CHUNK);
    ret = r.old_bytes && r.new_bytes ? bs->driver->begin_rebase(bs) : -ENOMEM;
    if (ret == 0) {
        ret = copy_all(&r);
        bs->driver->end_rebase(bs);
    }
    free(r.old_bytes);
    free(r.new_bytes);
    return ret;
}

/* An image that came to be behind itself could never be opened again. */
static int refuse_loop(const BlockDriverState *bs, const BlockDriverState *new)
{
    BdrvIdentity mine, theirs;

    if (bs->file->driver->identify(bs->file, &mine) < 0) {
        return 0;
    }
    for (; new; new = new->backing) {
        if (new->file && new->file->driver->identify(new->file, &theirs) == 0 &&
            bdrv_is_same_identity(&mine, &theirs)) {
            return bdrv_error(bs, -ELOOP, "the new backing image is, or stands on, the "
                              "image itself");
        }
    }
    return 0;
}

/* The writer that keeps us from it, or from what it stands on, may be ourselves. */
static int refuse_busy(BlockDriverState *bs, const char *path, const char *format)
{
    BdrvOpenOptions options = bdrv_context_options(bs->context, BDRV_O_NO_LOCK);
    BlockDriverState *new;
    int ret;

    bdrv_error_keep();
    ret = bdrv_open_by(&new, bdrv_naming_protocol(bs->file), path, format, &options);
    bdrv_error_restore();
    if (ret == 0) {
        ret = refuse_loop(bs, new);
        bdrv_close(new);
    }
    return ret == -ELOOP ? ret : -EBUSY;
}

/* Named by the user, so not confined; seen from the image. */
static int open_new(BlockDriverState *bs, const char *backing, const char *format,
                    BlockDriverState **new)
{
    BdrvOpenOptions options = bdrv_context_options(
        bs->context, bdrv_backing_flags(bs) & (BDRV_O_NO_LOCK | BDRV_O_UNCHANGED));
    char path[PATH_MAX];
    int ret = bdrv_path_join(path, sizeof path, bs->filename, backing);

    if (ret == 0) {
        ret = bdrv_open_by(new, bdrv_naming_protocol(bs->file), path, format, &options);
        ret = ret == -EBUSY ? refuse_busy(bs, path, format) : ret;
    }
    return ret < 0 ? bdrv_error_prefix(bs, ret, "cannot open the new backing image") : 0;
}

static int rebase(BlockDriverState *bs, const char *backing, const char *format,
                  unsigned flags)
{
    BlockDriverState *new = NULL;
    int ret = check_access(bs);

    if (ret == 0 && backing) {
        ret = open_new(bs, backing, format, &new);
    }
    if (ret == 0) {
        ret = refuse_loop(bs, new);
    }
    if (ret == 0 && !(flags & BDRV_REBASE_UNSAFE)) {
        ret = keep_content(bs, new);
    }
    if (ret == 0) {
        ret = bs->driver->change_backing(bs, backing, new);
    }
    if (ret < 0) {
        bdrv_error_keep();
        bdrv_close(new);
        bdrv_error_restore();
        return ret;
    }
    bdrv_close(bs->backing);
    bs->backing = new;
    atomic_store(&bs->unflushed, 1);
    return bdrv_flush(bs);
}

int bdrv_rebase(BlockDriverState *bs, const char *backing, const char *format, unsigned flags)
{
    int ret;

    bdrv_call_begin();
    if (!bs || flags & ~(unsigned)BDRV_REBASE_UNSAFE) {
        ret = bdrv_error(bs, -EINVAL, "bdrv_rebase: bs is NULL or flags 0x%x are unknown", flags);
    } else {
        ret = rebase(bs, backing, format, flags);
    }
    return bdrv_call_end(bs, ret, "cannot rebase");
}
