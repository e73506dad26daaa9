/* SPDX-License-Identifier: MIT */
/*
 * block_int.h - what the files of block/ share with each other and with nobody
 * else: the node, the context its open came with, and the seams between files.
 *
 *   block.c    life of a node: open, references, close
 *   children.c the further files of a node: opened, made, closed again
 *   chain.c    backing images: opening, reading through, snapshots
 *   rebase.c   moving content along a chain: commit, rebase
 *   check.c    bdrv_check and bdrv_amend
 *   create.c   bdrv_create and its removal of half-made files
 *   io.c       the front door of every data call;  sectors.c the same in sectors
 *   range.c    the same for data that goes from file to file
 *   zero.c     is it all zeros?
 *   convert.h  what is shared by convert.c, window.c and deliver.c
 *   packing.c  clusters on their way into a format that compresses them
 *   hash.c     bdrv_hash;  record.c  its tree of hashes;  sha256.c  SHA-256
 *   info.c     what a node tells about itself
 *   probe.c    which format a file is, and that a guess stays true
 *   registry.c the driver table;  defaults.c  the named default of each hole
 *   userio.c   the protocol driver behind bdrv_open_io
 */
#ifndef BLOCK_INT_H
#define BLOCK_INT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bdrv-driver.h"

/* What one bdrv_open() was asked for, shared by all nodes it makes. */
typedef struct OpenContext {
    atomic_int references;
    unsigned flags; /* the user's; a node's own may differ */
    char **allow_paths;
    char *snapshot_directory;
    char *options;
    char *backing;
    char *backing_format;
    BdrvLimits limits; /* none is 0 */
    BdrvLogFn *log;
    void *log_opaque;
    BdrvMayOpenFn *may_open;
    void *may_open_opaque;
} OpenContext;

struct BlockDriverState {
    atomic_int references;
    const BlockDriver *driver; /* total: no NULL callback */
    void *state;
    char *filename;
    unsigned flags;
    OpenContext *context;

    BdrvFileRole role; /* of a protocol node: what an image that names it wants it for */

    BlockDriverState *file;
    BlockDriverState *backing;
    BlockDriverState **children; /* further files; not file, not backing */
    size_t child_count;
    pthread_mutex_t children_lock; /* of these two: drivers open and close children at any time */
    char *made_as; /* of a child that bdrv_create_child() made: its name; else NULL */
    /* Names of children that bdrv_create_child() made and that are closed again,
     * until the creation has succeeded. */
    char **made;
    size_t made_count;

    /* While an image is created in this file: what it will stand on, none of whose
     * files may be overwritten.  NULL: nothing. */
    BlockDriverState *spared;

    /* Who is being opened on top of this node; valid during open only, it is
     * how a chain finds that it contains itself. */
    const BlockDriverState *opener;
    unsigned depth; /* images above this one in its chain */
    unsigned *chain_tries; /* images opened for the whole chain; valid during open, too */

    int64_t packing_cluster; /* see bdrv_set_packing(); 0: none */
    size_t packing_room;
    atomic_int abandoned; /* not 0: a conversion into the node has failed */

    BdrvProgressFn *progress; /* see bdrv_set_progress(); NULL: nobody */
    void *progress_opaque;

    atomic_int needs_names; /* see bdrv_needs_names() */
    int is_guess;          /* its format is what is left when nothing is recognised */
    pthread_mutex_t guard; /* see bdrv_guard_enter() */

    _Atomic int64_t length;
    atomic_int unflushed;       /* not 0: written since the last good flush */
    pthread_mutex_t flush_lock; /* one flush at a time, see bdrv_flush() */
    pthread_mutex_t serial;     /* held around drivers that are not PARALLEL */
};

/* ---- error.c: every public function is a bracket of these two ---- */

/* Of the public calls that this thread is inside of; one variable, because each
 * costs a call to find. */
typedef struct BdrvCalls {
    unsigned depth; /* how many */
    int explained;  /* a message was left since the outermost one began */
} BdrvCalls;

extern _Thread_local BdrvCalls bdrv_calls;

void bdrv_call_failed(const BlockDriverState *bs, int error, const char *what);

/* Around a clean-up after a failure, so that it cannot overwrite the cause. */
void bdrv_error_keep(void);
void bdrv_error_restore(void);

static inline void bdrv_call_begin(void)
{
    if (bdrv_calls.depth++ == 0) {
        bdrv_calls.explained = 0;
    }
}

/* Closes the bracket; a failure that left no message gets one made of what. */
static inline int bdrv_call_end(const BlockDriverState *bs, int result,
                                const char *what)
{
    bdrv_calls.depth--;
    if (result < 0) {
        bdrv_call_failed(bs, result, what);
    }
    return result;
}

/* ---- block.c ---- */

/* A node without children; the driver is not opened yet. */
int bdrv_node_new(BlockDriverState **bs, const BlockDriver *driver,
                  const char *filename, unsigned flags, OpenContext *context);
/* Takes a reference. */
BlockDriverState *bdrv_node_ref(BlockDriverState *bs);
/* Frees a node whose driver is not open, closing its children. */
void bdrv_node_free(BlockDriverState *bs);
/* Opens driver->open with options parsed from text (NULL: none); frees the node
 * and sets *bs NULL when it fails. */
int bdrv_node_open(BlockDriverState **bs, const char *text);

/* A protocol node by name. */
int bdrv_open_protocol(BlockDriverState **bs, const BlockDriver *driver,
                       const char *filename, unsigned flags,
                       OpenContext *context);
/* bdrv_open() of a name that means something to that protocol. */
int bdrv_open_by(BlockDriverState **bs, const char *protocol, const char *filename,
                 const char *format, const BdrvOpenOptions *options);
/* Whose names are those that are seen from file?  The protocol's below it, or,
 * where that has none (memory, the user's callbacks), those of the host. */
const char *bdrv_naming_protocol(const BlockDriverState *file);
/* A format node over file, of which it takes the caller's reference, also when
 * it fails.  opener is the image it is opened for (NULL: none). */
int bdrv_open_format(BlockDriverState **bs, BlockDriverState *file,
                     const char *format, unsigned flags, OpenContext *context,
                     const BlockDriverState *opener);

/* -ELOOP: the file is already open further up in the chain, which opener is the lowest of: the
 * chain contains itself and would never end. */
int bdrv_refuse_loop(const BlockDriverState *file, const BlockDriverState *opener);

int bdrv_context_new(OpenContext **context, const BdrvOpenOptions *options);
/* What a further image is opened with on behalf of one that was opened with
 * context: the same policy, limits and log, none of what was said of that one.
 * *context lends what they point at. */
BdrvOpenOptions bdrv_context_options(const OpenContext *context, unsigned flags);
/* The context for a parent: the same without what was said of the child, and these flags. */
OpenContext *bdrv_context_for_backing(OpenContext *context, unsigned flags);
OpenContext *bdrv_context_ref(OpenContext *context);
void bdrv_context_unref(OpenContext *context);

/* Copies an options struct given by a user into ours: dst is size bytes and
 * becomes zeros behind what the user's version has.  src may be NULL.
 * first_version is the size in version 0.1. */
int bdrv_copy_struct(void *dst, size_t size, const void *src,
                     size_t first_version);

/* ---- children.c ---- */

/* The file of a parent, by the protocol below file, not owned by it. */
int bdrv_open_beside(BlockDriverState **child, BlockDriverState *file,
                     const char *name, unsigned flags);

/* Calls act on each child, stopping at the first that fails, while none can
 * come or go. */
typedef int ChildFn(BlockDriverState *child, void *opaque);
int bdrv_children_each(BlockDriverState *bs, ChildFn *act, void *opaque);

/* Removes the files of all children that were made for file, also of those
 * that are closed again. */
void bdrv_children_remove(BlockDriverState *file);

/* Closes the children of a node that goes. */
void bdrv_children_free(BlockDriverState *bs);

/* ---- chain.c ---- */

/* Is it one of the files under bs and its backing chain? */
int bdrv_chain_has(BlockDriverState *bs, const BdrvIdentity *identity);

int bdrv_open_snapshot(BlockDriverState **bs, OpenContext *context);
/* What the images behind bs are opened with. */
unsigned bdrv_backing_flags(const BlockDriverState *bs);

/* ---- io.c ---- */

/* 0, or the message is left.  The latter also asks whether bs is writable, and lets
 * a file grow. */
int bdrv_check_range(const BlockDriverState *bs, int64_t bytes, int64_t offset);
int bdrv_check_write(const BlockDriverState *bs, int64_t bytes, int64_t offset);

/* After a modification up to end, whether it succeeded (it may have done a part)
 * or not (0).  Called after it, not before: a flush on another thread that began in
 * between need not have covered it. */
void bdrv_note_written(BlockDriverState *bs, int64_t end);

/* Around each call of a driver on data. */
static inline void bdrv_driver_enter(BlockDriverState *bs)
{
    if (!(bs->driver->flags & BDRV_DRIVER_PARALLEL)) {
        pthread_mutex_lock(&bs->serial);
    }
}

static inline void bdrv_driver_leave(BlockDriverState *bs)
{
    if (!(bs->driver->flags & BDRV_DRIVER_PARALLEL)) {
        pthread_mutex_unlock(&bs->serial);
    }
}

/* Nodes that may be written past their end. */
int bdrv_can_grow(const BlockDriverState *bs);

/* The callbacks pack and write_packed; see packing.c. */
int bdrv_pack(BlockDriverState *bs, const void *cluster, int64_t offset, void *packed,
              size_t *packed_bytes);
int bdrv_write_packed(BlockDriverState *bs, const void *packed, size_t packed_bytes,
                      int64_t offset);

/* ---- packing.c ---- */

/* Clusters of one stretch of a disk, packed.  Of one thread. */
typedef struct Packing {
    int64_t cluster; /* bytes; 0: the target does not pack */
    size_t room;     /* for one packed cluster */
    size_t used;     /* of bytes */
    size_t *sizes;   /* of the packed clusters; 0: nothing is stored */
    uint8_t *bytes;  /* one behind the other */
} Packing;

/* Room for what packs into target out of stretches of at most bytes, a multiple
 * of the cluster.  Does nothing if target does not pack. */
int bdrv_packing_new(Packing *packing, const BlockDriverState *target, int64_t bytes);
void bdrv_packing_free(Packing *packing);

/* Packs the i-th cluster of a stretch; cluster NULL: it is zeros. */
int bdrv_packing_add(Packing *packing, BlockDriverState *target, size_t i, const void *cluster,
                     int64_t offset);
/* Writes the first count clusters of the stretch that begins at offset.  Zeros
 * are written as such up to end, unless end is 0. */
int bdrv_packing_write(const Packing *packing, BlockDriverState *target, size_t count,
                       int64_t offset, int64_t end);

/* ---- sha256.c ---- */

/* One hash that is being computed; of one thread. */
typedef struct Sha256 {
    uint64_t state[16];
} Sha256;

/* -ENOTSUP, with a message: this build has none.  When it has succeeded once, it
 * always does; the others may be called only then. */
int bdrv_sha256_begin(Sha256 *hash);
void bdrv_sha256_add(Sha256 *hash, const void *data, size_t bytes);
void bdrv_sha256_add_zeros(Sha256 *hash, int64_t bytes); /* <= 0: none */
void bdrv_sha256_end(Sha256 *hash, uint8_t digest[BDRV_HASH_BYTES]);

/* ---- record.c ---- */

enum {
    BDRV_LEAF_BYTES = 64 * 1024 /* of sha256-tree; part of its definition */
};

/* The leaves of one stretch of a disk.  Of one thread. */
typedef struct Leaves {
    const BdrvHashRecord *record; /* NULL: none of this is wanted */
    uint8_t *digests;             /* one behind the other */
    size_t count;
    int64_t filled; /* of the next leaf */
    int has_data;   /* the same: is it in hash? */
    Sha256 hash;
} Leaves;

/* Room for stretches of at most bytes.  Does nothing if record is NULL. */
int bdrv_leaves_new(Leaves *leaves, const BdrvHashRecord *record, int64_t bytes);
void bdrv_leaves_free(Leaves *leaves);

/* A stretch begins (at a multiple of BDRV_LEAF_BYTES), goes on, data NULL being
 * zeros, and ends: at such a multiple, or at the end of the disk. */
void bdrv_leaves_clear(Leaves *leaves);
void bdrv_leaves_add(Leaves *leaves, const void *data, int64_t bytes);
void bdrv_leaves_end(Leaves *leaves);

/* A disk begins, goes on by a stretch or by zeros up to such a place, and ends.
 * What was recorded before is forgotten. */
int bdrv_record_begin(BdrvHashRecord *record, int64_t length);
void bdrv_record_add(BdrvHashRecord *record, const Leaves *leaves);
void bdrv_record_add_zeros(BdrvHashRecord *record, int64_t bytes);
void bdrv_record_end(BdrvHashRecord *record);

/* ---- registry.c ---- */

int bdrv_driver_can_write(const BlockDriver *driver);
int bdrv_driver_can_create(const BlockDriver *driver);

/* -EINVAL with a message that lists the names. */
int bdrv_require_driver(const BlockDriver **driver, const char *name);

/* ---- defaults.c ---- */

void bdrv_fill_defaults(BlockDriver *driver);
/* Can a file be opened by the name that another one calls it? */
int bdrv_has_names(const BlockDriver *driver);
/* To be asked before content is moved for it. */
int bdrv_can_change_backing(const BlockDriver *driver);

/* ---- probe.c ---- */

/* *is_guess: nothing was recognised, and the driver is the one for that. */
int bdrv_probe_node(BlockDriverState *file, const BlockDriver **driver, int *is_guess);

/* Around a write to the driver.  buf NULL: zeros.  -EPERM, and no leave: a guessed
 * format would be taken for another one by the next open.  *watched is for leave. */
int bdrv_guard_enter(BlockDriverState *bs, const void *buf, int64_t bytes, int64_t offset,
                     int *watched);
void bdrv_guard_leave(BlockDriverState *bs, int watched);

/* ---- opts.c ---- */

int bdrv_options_parse(BdrvOptions **options, const BdrvOption *list,
                       const char *text);
void bdrv_options_free(BdrvOptions *options);
/* A value set by the core itself; the option is in the list. */
int bdrv_options_set(BdrvOptions *options, const char *name, const char *value);

/* ---- userio.c ---- */

/* A protocol node on the user's callbacks, which leaves opaque to the caller
 * until it is told to take it over: then its close calls io->close. */
int bdrv_userio_new(BlockDriverState **bs, const char *label, const BdrvIo *io,
                    void *opaque, OpenContext *context);
void bdrv_userio_take_opaque(BlockDriverState *bs);

#endif
