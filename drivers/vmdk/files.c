/* SPDX-License-Identifier: MIT */
/*
 * files.c - which files of an image, and so which of its extents, are open:
 * opening them by the names in the descriptor, and for images of very many,
 * closing what was not used lately when room is needed.
 *
 * An extent that is open is entered without a lock: its count of users goes up
 * from 0 or more.  Only under the lock does it become CLOSED, from 0, or open.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    CLOSED = -1
};

/* ------------------------------------------------------------------- names */

static int open_named(BlockDriverState *bs, const VmdkFile *file, const char *name,
                      BlockDriverState **node)
{
    return file->writable ? bdrv_open_child(bs, name, node)
                          : bdrv_open_child_to_read(bs, name, node);
}

static int missing(const Vmdk *image, const VmdkFile *file, const VmdkSpellings *spellings)
{
    const char *encoding = vmdk_encoding_of(image, file->name);

    if (!encoding) {
        return bdrv_error_prefix(image->bs, -ENOENT, "cannot open the extent '%s'", file->name);
    }
    return bdrv_error_prefix(image->bs, -ENOENT, "cannot open the extent '%s', whose name is in "
                             "the encoding %.64s%s", file->name, encoding,
                             spellings->problem);
}

/* In the first spelling that there is a file of.  If there is none, the message is
 * that of the name as it stands. */
static int open_spelt(Vmdk *image, VmdkFile *file)
{
    VmdkSpellings spellings;
    int ret = vmdk_spellings(image, file->name, &spellings);

    if (ret < 0) {
        return ret;
    }
    ret = -ENOENT;
    for (size_t i = 0; ret == -ENOENT && i < spellings.count; i++) {
        ret = open_named(image->bs, file, spellings.list[i], &file->node);
    }
    if (ret == -ENOENT && spellings.count > 1) {
        ret = open_named(image->bs, file, file->name, &file->node);
    }
    if (ret < 0) {
        file->node = NULL;
        ret = ret == -ENOENT ? missing(image, file, &spellings)
                             : bdrv_error_prefix(image->bs, ret, "cannot open the extent '%s'",
                                                 file->name);
    }
    vmdk_spellings_free(&spellings);
    return ret;
}

static int open_node(Vmdk *image, VmdkFile *file)
{
    int ret;

    if (strstr(file->name, "://")) {
        return bdrv_error(image->bs, -ENOTSUP, "the extent '%s' is a URL, not a file",
                          file->name);
    }
    ret = open_spelt(image, file);
    if (ret < 0) {
        return ret;
    }
    ret = vmdk_check_file_size(file->node);
    if (ret < 0) {
        bdrv_close_child(image->bs, file->node);
        file->node = NULL;
    }
    image->files.open_count += ret == 0;
    return ret;
}

/* ---------------------------------------------------------- opening, closing */

/* No memory: it will be asked for again. */
static void note_path(VmdkFile *file)
{
    if (!file->path && file->node) {
        file->path = strdup(bdrv_filename(file->node));
    }
}

static int close_file(Vmdk *image, VmdkFile *file)
{
    BlockDriverState *node = file->node;

    if (!node || !file->name || file->open_extents > 0) {
        return 0;
    }
    if (image->files.partial) {
        note_path(file);
    }
    bdrv_table_forget(image->table, node);
    file->node = NULL;
    image->files.open_count--;
    return bdrv_close_child(image->bs, node);
}

int vmdk_is_same_file(BlockDriverState *one, BlockDriverState *other)
{
    BdrvIdentity mine, theirs;

    return bdrv_identify(one, &mine) == 0 && bdrv_identify(other, &theirs) == 0 &&
           bdrv_is_same_identity(&mine, &theirs);
}

/* The file that the image was opened by under another name. */
static int check_not_own(const VmdkExtent *extent)
{
    if (extent->source->name && vmdk_is_same_file(extent->file, bdrv_file(extent->image->bs))) {
        return bdrv_error(extent->image->bs, -EINVAL, "the extent '%s' is the file that names "
                          "it", extent->line->name);
    }
    return 0;
}

static int open_in_file(VmdkExtent *extent)
{
    VmdkFile *file = extent->source;
    int ret = 0;

    if (file && !file->node) {
        ret = extent->line->kind == VMDK_VSANSPARSE ? vmdk_extent_refuse_vsan(extent)
                                                    : open_node(extent->image, file);
    }
    if (ret < 0) {
        return ret;
    }
    extent->file = file ? file->node : NULL;
    ret = file ? check_not_own(extent) : 0;
    return ret < 0 ? ret : vmdk_extent_open(extent);
}

static void give_up(VmdkExtent *extent)
{
    if (extent->ops) {
        extent->ops->close(extent);
    }
    extent->file = NULL;
    if (extent->source) {
        close_file(extent->image, extent->source);
    }
}

/* Opens an extent and, if no other has, its file. */
static int open_extent(VmdkExtent *extent)
{
    VmdkFiles *files = &extent->image->files;
    int ret = open_in_file(extent);

    if (ret < 0 && bdrv_open_flags(extent->image->bs) & BDRV_O_CHECK) {
        ret = vmdk_extent_open_damaged(extent, ret);
    }
    if (ret < 0) {
        give_up(extent);
        return ret;
    }
    if (extent->source) {
        extent->source->open_extents++;
        files->open[files->open_extents++] = extent;
    }
    atomic_store(&extent->used, 1);
    extent->was_open = 1;
    return 0;
}

/* What was written is made durable and the file goes to rest: then it can be
 * closed as if the image were. */
static int put_to_rest(VmdkExtent *extent)
{
    Vmdk *image = extent->image;
    int ret;

    if (!vmdk_extent_is_writable(extent) || !atomic_load(&image->session_begun)) {
        return 0;
    }
    ret = bdrv_table_flush(image->table);
    if (ret < 0) {
        atomic_store(&image->flush_failed, 1);
    }
    return ret < 0 || atomic_load(&image->flush_failed) ? ret : extent->ops->settle(extent);
}

/* Nobody uses it, and it is marked CLOSED.  If it cannot be put to rest it stays
 * open, with what was not stored. */
static int close_extent(VmdkExtent *extent, size_t place)
{
    VmdkFiles *files = &extent->image->files;
    int ret = put_to_rest(extent);

    if (ret < 0) {
        atomic_store(&extent->users, 0);
        return ret;
    }
    extent->ops->close(extent);
    extent->file = NULL;
    files->open[place] = files->open[--files->open_extents];
    extent->source->open_extents--;
    return close_file(extent->image, extent->source);
}

/* Closes the first extent that was not used since the hand last came by. */
static int close_one(VmdkFiles *files, int *closed)
{
    *closed = 0;
    for (size_t steps = 2 * files->open_extents; steps > 0; steps--) {
        VmdkExtent *extent;
        int idle = 0;

        files->hand = files->hand + 1 < files->open_extents ? files->hand + 1 : 0;
        extent = files->open[files->hand];
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the first open_extents are set */
        if (extent->source->name && !atomic_exchange(&extent->used, 0) &&
            atomic_compare_exchange_strong(&extent->users, &idle, CLOSED)) {
            *closed = 1;
            return close_extent(extent, files->hand);
        }
    }
    return 0;
}

/* When all are in use there is one file more than should be, for each thread at
 * most. */
static int make_room(VmdkFiles *files)
{
    int ret = 0, closed = 1;

    while (ret == 0 && closed && files->open_count >= files->open_limit) {
        ret = close_one(files, &closed);
    }
    return ret;
}

/* ---------------------------------------------------------- enter and leave */

/* The process may have room for fewer files than the limit: then that is the limit. */
static int open_in_time(VmdkExtent *extent)
{
    VmdkFiles *files = &extent->image->files;
    int ret = open_extent(extent), closed = 1;

    while (ret == -EMFILE && closed) {
        const size_t before = files->open_count;
        const int error = close_one(files, &closed);

        if (error < 0 || !closed) {
            return error < 0 ? error : ret;
        }
        files->open_limit = before > 1 ? before - 1 : 1;
        ret = open_extent(extent);
    }
    return ret;
}

static int enter_slowly(VmdkExtent *extent)
{
    VmdkFiles *files = &extent->image->files;
    int ret = 0;

    pthread_mutex_lock(&files->lock);
    if (atomic_load(&extent->users) == CLOSED) {
        ret = make_room(files);
        if (ret == 0) {
            ret = open_in_time(extent);
        }
        if (ret == 0) {
            atomic_store(&extent->users, 1);
        }
    } else { /* another thread has opened it */
        atomic_fetch_add(&extent->users, 1);
    }
    pthread_mutex_unlock(&files->lock);
    return ret;
}

int vmdk_extent_enter(VmdkExtent *extent)
{
    int users;

    if (!extent->image->files.partial) {
        return 0;
    }
    users = atomic_load(&extent->users);
    while (users != CLOSED) {
        if (atomic_compare_exchange_weak(&extent->users, &users, users + 1)) {
            if (!atomic_load_explicit(&extent->used, memory_order_relaxed)) {
                atomic_store_explicit(&extent->used, 1, memory_order_relaxed);
            }
            return 0;
        }
    }
    return enter_slowly(extent);
}

void vmdk_extent_leave(VmdkExtent *extent)
{
    if (extent->image->files.partial) {
        atomic_fetch_sub(&extent->users, 1);
    }
}

/* ---------------------------------------------------------------------- a look */

static VmdkExtentFacts facts_of(const VmdkExtent *extent)
{
    const VmdkFile *file = extent->source;

    return (VmdkExtentFacts){
        .path = file && file->path ? file->path : "",
        .length = extent->length,
        .cluster_size = extent->cluster_size,
        .compressed = extent->compressed,
    };
}

int vmdk_extent_look(VmdkExtent *extent, VmdkExtentFacts *facts)
{
    VmdkFiles *files = &extent->image->files;
    VmdkFile *file = extent->source;
    int known, ret;

    pthread_mutex_lock(&files->lock);
    known = extent->was_open && (!file || file->path);
    *facts = facts_of(extent);
    pthread_mutex_unlock(&files->lock);
    ret = known ? 0 : vmdk_extent_enter(extent);
    if (known || ret < 0) {
        return ret;
    }
    pthread_mutex_lock(&files->lock);
    if (file) {
        note_path(file);
        ret = file->node && !file->path ? -ENOMEM : 0; /* no node: its file is missing */
    }
    *facts = facts_of(extent);
    pthread_mutex_unlock(&files->lock);
    vmdk_extent_leave(extent);
    return ret;
}

/* ------------------------------------------------------------------ the table */

static int has_file(const VmdkExtent *extent)
{
    return extent->line->kind != VMDK_ZERO && extent->line->access != VMDK_NOACCESS;
}

static int compare_names(const void *left, const void *right)
{
    const VmdkExtent *a = *(VmdkExtent *const *)left, *b = *(VmdkExtent *const *)right;

    return strcmp(a->line->name, b->line->name);
}

/* Those that share a name share a file: locks would keep a second node out. */
static void assign_files(Vmdk *image, VmdkExtent **sorted, size_t count)
{
    VmdkFiles *files = &image->files;

    qsort(sorted, count, sizeof *sorted, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || compare_names(&sorted[i - 1], &sorted[i]) != 0) {
            files->list[files->count++].name = sorted[i]->line->name;
        }
        sorted[i]->source = &files->list[files->count - 1];
        sorted[i]->source->writable |= vmdk_extent_is_writable(sorted[i]);
    }
}

/* Files that were open before the descriptor changed still are. */
static void take_former(VmdkFiles *files)
{
    for (size_t i = 0; i < files->count; i++) {
        VmdkFile *file = &files->list[i];

        for (size_t j = 0; file->name && j < files->former_count; j++) {
            const VmdkFile *former = &files->former[j];

            if (former->name && former->node && former->writable >= file->writable &&
                strcmp(former->name, file->name) == 0) {
                file->node = former->node;
                files->open_count++;
                break;
            }
        }
    }
}

static int make_table(Vmdk *image, BlockDriverState *own_file)
{
    VmdkFiles *files = &image->files;
    VmdkExtent **sorted = calloc(image->extent_count, sizeof *sorted);
    size_t count = 0;

    files->list = calloc(image->extent_count, sizeof *files->list);
    files->open = calloc(image->extent_count, sizeof(VmdkExtent *));
    if (!sorted || !files->list || !files->open) {
        free(sorted);
        return -ENOMEM;
    }
    if (own_file) {
        files->list[files->count++].node = own_file;
        image->extents[0].source = &files->list[0];
    }
    for (size_t i = own_file ? 1 : 0; i < image->extent_count; i++) {
        if (has_file(&image->extents[i])) {
            sorted[count++] = &image->extents[i];
        }
    }
    assign_files(image, sorted, count);
    take_former(files);
    free(sorted);
    return 0;
}

/* -------------------------------------------------------------------- image */

/* The bytes of a file that an extent lies on, in sectors, whatever that is called. */
typedef struct Place {
    BdrvIdentity file;
    int64_t start, end;
    const VmdkExtent *extent;
} Place;

/* 1: *place is where the extent, which is open, is; 0: it has no file, or one that cannot be
 * told. */
static int place_of(const VmdkExtent *extent, Place *place)
{
    const VmdkExtentLine *line = extent->line;
    const int whole = vmdk_line_is_whole_file(line);

    place->extent = extent;
    place->start = whole ? 0 : line->offset_sectors;
    place->end = whole ? INT64_MAX : line->offset_sectors + line->sectors;
    return extent->file && bdrv_identify(extent->file, &place->file) == 0;
}

static int compare_files(const Place *a, const Place *b)
{
    if (a->file.device != b->file.device) {
        return a->file.device < b->file.device ? -1 : 1;
    }
    return (a->file.inode > b->file.inode) - (a->file.inode < b->file.inode);
}

static int compare_places(const void *left, const void *right)
{
    const Place *a = left, *b = right;
    const int order = compare_files(a, b);

    return order != 0 ? order : (a->start > b->start) - (a->start < b->start);
}

/* Different names of one file, of those that are open: two extents on the same
 * bytes.  Those of one name do not share any, see descriptor.c: so of any that do,
 * two are neighbours. */
static int check_aliases(const Vmdk *image)
{
    const VmdkFiles *files = &image->files;
    Place *places = calloc(files->open_extents + 1, sizeof *places);
    size_t count = 0;
    int ret = places ? 0 : -ENOMEM;

    for (size_t i = 0; ret == 0 && i < files->open_extents; i++) {
        count += (size_t)place_of(files->open[i], &places[count]);
    }
    if (count > 0) {
        qsort(places, count, sizeof *places, compare_places);
    }
    for (size_t i = 1; ret == 0 && i < count; i++) {
        const Place *a = &places[i - 1], *b = &places[i];

        if (a->extent->source != b->extent->source && compare_files(a, b) == 0 &&
            a->end > b->start) {
            ret = bdrv_error(image->bs, -EINVAL, "the extents '%s' and '%s' lie on the "
                             "same bytes of one file", a->extent->line->name,
                             b->extent->line->name);
        }
    }
    free(places);
    return ret;
}

/* The same of any extent; or -errno. */
static int find_place(VmdkExtent *extent, Place *place)
{
    int ret = extent->source ? vmdk_extent_enter(extent) : -ENOENT, found = 0;

    if (ret == 0) {
        found = place_of(extent, place);
        vmdk_extent_leave(extent);
    }
    return ret < 0 && extent->source ? ret : found;
}

int vmdk_files_check_names(Vmdk *image)
{
    Place *places = calloc(image->extent_count, sizeof *places);
    size_t count = 0;
    int ret = places ? 0 : -ENOMEM;

    for (size_t i = 0; ret >= 0 && i < image->extent_count; i++) {
        ret = find_place(&image->extents[i], &places[count]);
        count += ret > 0;
    }
    if (ret >= 0 && count > 0) {
        qsort(places, count, sizeof *places, compare_places);
    }
    for (size_t i = 1; ret >= 0 && i < count; i++) {
        if (compare_files(&places[i - 1], &places[i]) == 0 &&
            places[i - 1].extent->source != places[i].extent->source) {
            ret = bdrv_error(image->bs, -ENOTSUP, "the length of a disk of which two extents, '%s' "
                             "and '%s', are in the same file cannot be changed",
                             places[i - 1].extent->line->name, places[i].extent->line->name);
        }
    }
    free(places);
    return ret < 0 ? ret : 0;
}

/* The process has no room for all of them: some will do, and some is left to others. */
static int live_with_fewer(VmdkFiles *files)
{
    files->partial = 1;
    files->open_limit = files->open_count - files->open_count / 4;
    return make_room(files);
}

int vmdk_files_open(Vmdk *image, BlockDriverState *own_file)
{
    VmdkFiles *files = &image->files;
    int ret = make_table(image, own_file);

    files->partial = files->count > files->open_limit;
    for (size_t i = 0; i < image->extent_count; i++) {
        atomic_init(&image->extents[i].users, CLOSED);
    }
    for (size_t i = 0; ret == 0 && i < image->extent_count; i++) {
        VmdkExtent *extent = &image->extents[i];

        if (!extent->source || extent->source->node || files->open_count < files->open_limit) {
            ret = open_extent(extent);
            if (ret == 0) {
                atomic_store(&extent->users, 0);
            } else if (ret == -EMFILE && files->open_count > 1) {
                ret = live_with_fewer(files);
            }
        }
    }
    return ret < 0 ? ret : check_aliases(image);
}

int vmdk_files_settle(Vmdk *image)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < image->files.open_extents; i++) {
        VmdkExtent *extent = image->files.open[i];

        ret = vmdk_extent_is_writable(extent) ? extent->ops->settle(extent) : 0;
    }
    return ret;
}

void vmdk_files_close(Vmdk *image)
{
    VmdkFiles *files = &image->files;

    for (size_t i = 0; i < files->open_extents; i++) {
        files->open[i]->ops->close(files->open[i]);
    }
    for (size_t i = 0; i < files->count; i++) {
        files->list[i].open_extents = 0;
        (void)close_file(image, &files->list[i]);
        free(files->list[i].path);
    }
    free(files->open);
    free(files->list);
    files->open = NULL;
    files->list = NULL;
    files->open_extents = files->count = 0;
}
