/* SPDX-License-Identifier: MIT */
/*
 * vmdk.h - what the files of drivers/vmdk share with each other and with
 * nobody else; with descriptor.h, header.h and create.h.
 *
 *     vmdk.c        the driver's table; from a request to the extent it falls in
 *     open.c        what kind of file is it, which extents does it have
 *     files.c       which of its files are open: not all, if there are many
 *     info.c        what an image tells about itself
 *     session.c     the first modification after an open: a new CID, durable
 *     store.c       a changed descriptor, in the place of the old one
 *     resize.c resize-sparse.c resize-cowd.c   another length;  reopen.c  after it
 *     discard.c     grains taken out of the tables
 *     relink.c      another parent, or none;  amend.c  what else is recorded
 *     variants.c    which kinds of VMDK there are, and what can be done with each
 *     names.c       what a name in a descriptor may be called on this host
 *     parent.c      finding the parent and proving that it is the right one
 *     create.c create-*.c compose.c partitions.c   new images, see create.h
 *     descriptor.c  the text, parsed and checked;  edit.c lines.c  the text, changed
 *     text.c        slices of text, and text that grows
 *     header.c cowd-header.c sesparse-header.c   the bytes of headers, decoded and checked
 *     sparse.c cowd.c sesparse.c stream.c flat.c zero.c   one extent kind each, behind
 *                   the small table VmdkExtentOps
 *     stream-*.c    the rest of streams: see stream.h
 *     inflate.c deflate.c   zlib streams, for those
 *     map.c         two levels of sector numbers: what sparse.c and cowd.c share
 *     regions.c     where its tables are
 *     scan.c        is that map sound enough to be written to?
 *     space.c       where the next grain of a growing file goes
 *     check.c check-*.c repair-*.c   finding and mending damage: see check.h
 *     damaged.c     opening, for a check, what cannot be opened for use
 *
 * The words are VMware's: a link is one descriptor and its extents, an extent
 * is one range of the link kept in one file, a grain is the unit of allocation,
 * GT and GD are the tables of grains and of GTs, RGT and RGD their redundant
 * copies, GTE and GDE an entry of them.  "sector" is always 512 bytes, and
 * names that count sectors say so; everything else counts bytes.
 */
#ifndef VMDK_H
#define VMDK_H

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bdrv-driver.h"
#include "create.h"
#include "descriptor.h"
#include "header.h"
#include "map.h"

typedef struct Vmdk Vmdk;
typedef struct VmdkExtent VmdkExtent;
typedef struct VmdkFile VmdkFile;
typedef struct VmdkExtentOps VmdkExtentOps;

/* ----------------------------------------------------------------- extents */

struct VmdkExtent {
    const VmdkExtentOps *ops;
    Vmdk *image;
    BlockDriverState *file; /* NULL: ZERO and NOACCESS have none */
    const VmdkExtentLine *line;
    int64_t start;  /* in the link */
    int64_t length; /* as the line says; 0 until open, where there is no line */
    /* Set by open: */
    int64_t cluster_size; /* 0: none */
    int compressed;
    int unclean; /* was not closed properly */
    /* With BDRV_O_CHECK: why it cannot be used, or only be read; NULL: it can.
     * To be freed. */
    char *problem;
    int problem_error; /* -errno of it */
    void *state;
    /* files.c's: */
    VmdkFile *source; /* where file comes from; NULL: it has none */
    atomic_int users; /* requests under way in it; < 0: it is closed */
    atomic_int used;  /* since the clock's hand last came by */
    int was_open;     /* what open sets is set */
};

/* Bytes of another file that are to become the image's. */
typedef struct VmdkMove {
    BdrvMoveRangeFn *call; /* what the file of the extent is asked for */
    BlockDriverState *from;
    int64_t ahead; /* of a byte's offset on the disk: its offset in from */
} VmdkMove;

/* One kind of extent.  Offsets count from the extent's beginning, ranges lie
 * inside it and are not empty; rules and results as in struct BlockDriver. */
struct VmdkExtentOps {
    /* Reads and checks what it needs, may set length if that is 0. */
    int (*open)(VmdkExtent *extent);
    int (*read)(VmdkExtent *extent, void *buf, size_t bytes, int64_t offset);
    int (*write)(VmdkExtent *extent, const void *buf, size_t bytes, int64_t offset);
    int (*write_zeroes)(VmdkExtent *extent, int64_t offset, int64_t bytes);
    int (*discard)(VmdkExtent *extent, int64_t offset, int64_t bytes); /* NULL: -ENOTSUP */
    /* If it fails, run->bytes can be how much of the range is not known for that one reason. */
    int (*is_allocated)(VmdkExtent *extent, int64_t offset, int64_t bytes, BdrvExtent *run);
    /* Makes the range what move says.  NULL: -ENOTSUP. */
    int (*move_range)(VmdkExtent *extent, int64_t offset, int64_t bytes, const VmdkMove *move);
    /* Drops everything allocated, durably.  Nobody uses the extent meanwhile.
     * NULL: the kind always holds all of its range. */
    int (*make_empty)(VmdkExtent *extent);
    /* Marks the file as one that was not closed properly, until it is settled.  Nobody uses
     * the extent meanwhile.  NULL: the kind has no such mark. */
    int (*mark)(VmdkExtent *extent);
    /* Makes the file hold length bytes; what was not there before reads as zeros,
     * what lies beyond is dropped.  Afterwards the extent is closed and opened
     * again.  Nobody uses it meanwhile.  NULL: -ENOTSUP. */
    int (*resize)(VmdkExtent *extent, int64_t length);
    /* All is flushed and the file goes to rest: trims it, says that it was
     * closed properly. */
    int (*settle)(VmdkExtent *extent);
    /* Frees state, which may be NULL. */
    void (*close)(VmdkExtent *extent);
};

extern const VmdkExtentOps vmdk_sparse_extent;
extern const VmdkExtentOps vmdk_cowd_extent;
extern const VmdkExtentOps vmdk_sesparse_extent;
extern const VmdkExtentOps vmdk_flat_extent;
extern const VmdkExtentOps vmdk_zero_extent;
extern const VmdkExtentOps vmdk_noaccess_extent;

/* The node of the extent's file, or of the image: for messages. */
const BlockDriverState *vmdk_extent_node(const VmdkExtent *extent);
/* May it be written: the image may, the line does not forbid it, and nothing is
 * wrong with it? */
int vmdk_extent_is_writable(const VmdkExtent *extent);
/* Is there, or could there be, something that shows through? */
int vmdk_extent_has_parent(const VmdkExtent *extent);
/* Sets the length from a header that says capacity_sectors, or compares it
 * with the line's. */
int vmdk_extent_set_capacity(VmdkExtent *extent, uint64_t capacity_sectors,
                             int64_t grain_sectors);
/* Says why an extent of type VSANSPARSE cannot be opened: -ENOTSUP. */
int vmdk_extent_refuse_vsan(const VmdkExtent *extent);
/* settle for those that have nothing to do. */
int vmdk_extent_settled(VmdkExtent *extent);

/* ------------------------------------------------------------------ pool.c */

enum { VMDK_POOL_MAX = 16 /* more threads than this make theirs anew each time */ };

typedef struct VmdkPool {
    pthread_mutex_t lock;
    void *idle[VMDK_POOL_MAX];
    int count;
} VmdkPool;

void vmdk_pool_init(VmdkPool *pool);
void vmdk_pool_destroy(VmdkPool *pool, void (*free_thing)(void *thing));
/* One that is idle; NULL: none is, the caller makes one. */
void *vmdk_pool_take(VmdkPool *pool);
/* Gives it to the next; freed if there are enough. */
void vmdk_pool_give(VmdkPool *pool, void *thing, void (*free_thing)(void *thing));

/* --------------------------------------------------------------- inflate.c */

/* Decompressors, kept between uses; for any number of threads. */
typedef struct VmdkInflater VmdkInflater;

/* -ENOTSUP: the library was built without libdeflate. */
int vmdk_inflater_new(VmdkInflater **inflater);
void vmdk_inflater_free(VmdkInflater *inflater);

typedef enum VmdkInflateResult {
    VMDK_INFLATED,
    VMDK_INFLATE_DAMAGED,  /* or cut short */
    VMDK_INFLATE_TOO_LONG, /* for out */
    VMDK_INFLATE_NO_MEMORY
} VmdkInflateResult;

/* Decompresses one zlib stream of in_bytes to at most out_bytes; *got becomes
 * how many there are. */
VmdkInflateResult vmdk_inflate(VmdkInflater *inflater, const void *in, size_t in_bytes,
                               void *out, size_t out_bytes, size_t *got);

/* --------------------------------------------------------------- deflate.c */

/* The same for compressors, all of one library and level. */
typedef struct VmdkDeflater VmdkDeflater;

typedef enum VmdkDeflateEngine {
    VMDK_DEFLATE_LIBDEFLATE, /* the numbers are stored: see VMDK_LEVEL_OFFSET */
    VMDK_DEFLATE_ISAL
} VmdkDeflateEngine;

/* Its levels are 1 (fast) to this (small). */
int vmdk_deflate_level_max(VmdkDeflateEngine engine);
/* -ENOTSUP: libbdrv was built without that library. */
int vmdk_deflate_require(VmdkDeflateEngine engine);

/* Level 0, or one that there is not: the normal one.  -ENOTSUP as above. */
int vmdk_deflater_new(VmdkDeflater **deflater, VmdkDeflateEngine engine, int level);
void vmdk_deflater_free(VmdkDeflater *deflater);

/* The most that vmdk_deflate() makes of in_bytes: what does not become shorter is
 * stored as it is, which adds little. */
size_t vmdk_deflate_bound(size_t in_bytes);
/* Makes one zlib stream, which depends on nothing but the bytes, the level and
 * the library (whose version counts; ISA-L's may differ with the processor's kind).
 * out has room for vmdk_deflate_bound(in_bytes).  0 or -ENOMEM. */
int vmdk_deflate(VmdkDeflater *deflater, const void *in, size_t in_bytes, void *out,
                 size_t *got);

/* ----------------------------------------------------------------- files.c
 *
 * An image may have more extents than a program can have open files.  As many
 * as image->open_limit are open at once.  If that is all of them they are
 * opened with the image and closed with it; of others, those beyond the first
 * are opened, and verified, when a request needs them:
 *
 *     closed ──enter()──▶ open, in use ──leave()──▶ open, idle
 *        ▲                      ▲        ◀──enter()──     │
 *        └── tables flushed, settled, file closed ◀───────┘ room is needed    */

/* A file that one extent or several are in. */
struct VmdkFile {
    const char *name;       /* the line's; NULL: the file that the image was opened by */
    BlockDriverState *node; /* NULL: closed */
    int writable;           /* some extent in it is */
    size_t open_extents;
    char *path;             /* what bdrv_filename() of the node says or said; NULL: as yet
                             * not needed */
};

typedef struct VmdkFiles {
    VmdkFile *list;
    size_t count;
    pthread_mutex_t lock; /* of all below, and of what is open */
    size_t open_limit;    /* of files; exceeded while more are in use at the same time */
    size_t open_count;
    int partial;          /* not all are open: those that are come and go */
    VmdkExtent **open;    /* the extents that are open and can be closed, in a ring */
    size_t open_extents;
    size_t hand; /* the next of them to be looked at */
    VmdkFile *former; /* while the extents are opened anew: the list as it was */
    size_t former_count;
} VmdkFiles;

/* Every use of an extent's ops (but open), file, state, and what open sets, by anyone, is
 * between these two.  enter: 0, or why it cannot be opened; then leave is not called. */
int vmdk_extent_enter(VmdkExtent *extent);
void vmdk_extent_leave(VmdkExtent *extent);

typedef struct VmdkExtentFacts {
    const char *path; /* of its file, as long as the image has these extents; "": none */
    int64_t length;
    int64_t cluster_size; /* 0: none */
    int compressed;
} VmdkExtentFacts;

/* What is told of an extent without using it: opens it only if it never was open.  0, or
 * why it cannot be opened. */
int vmdk_extent_look(VmdkExtent *extent, VmdkExtentFacts *facts);

/* All extents are filled in as far as their lines go: finds out which are in
 * which file, and opens as many as may be open.  own_file: what the first extent
 * is in, whatever its line says; NULL: nothing. */
int vmdk_files_open(Vmdk *image, BlockDriverState *own_file);
/* Whatever they were opened by. */
int vmdk_is_same_file(BlockDriverState *one, BlockDriverState *other);
/* -ENOTSUP: one file is there under two names, so that what is done to the one as a whole (made
 * shorter, removed) is done to the other. */
int vmdk_files_check_names(Vmdk *image);
/* The extents that are open go to rest, see VmdkExtentOps. */
int vmdk_files_settle(Vmdk *image);
/* Closes extents and files.  What fails on the way has been told before, by the
 * flush. */
void vmdk_files_close(Vmdk *image);

/* ------------------------------------------------------------------- image */

struct Vmdk {
    BlockDriverState *bs;
    VmdkDescriptor descriptor;
    /* Where the descriptor is.  room is the size of an embedded one's sectors;
     * 0: a text file of its own, which can change its length. */
    BlockDriverState *descriptor_file;
    int64_t descriptor_offset;
    int64_t descriptor_room;
    char *encoding; /* of the names in it; NULL: it does not say */

    VmdkExtent *extents; /* in the order of their start, without gaps */
    size_t extent_count;
    VmdkFiles files;
    BdrvTable *table;

    /* Options of open. */
    int accept_any_parent;
    int keeps_tracking; /* what would end change tracking is refused */
    int has_next_cid;
    uint32_t next_cid; /* what the first write makes the CID */
    int keeps_cid;     /* what is written is the rest of the image's creation, or there already */
    char *seed; /* what it is made of instead; NULL: chance */

    /* With BDRV_O_CHECK: what would have forbidden the open; NULL: nothing.  To
     * be freed. */
    char *descriptor_problem;
    char *parent_problem;

    /* Requests share it; who changes the extents has it alone. */
    pthread_rwlock_t gate;
    pthread_mutex_t lock; /* of the descriptor, which the first write changes */
    atomic_int session_begun;
    atomic_int cid_is_due; /* it has begun without a new CID, and the next change needs one */
    atomic_int flush_failed;
    int stored_unknown;      /* what is stored may differ: the next change writes all of it */
    int descriptor_in_doubt; /* was rewritten only in part: no more writes, see store.c */
};

/* ------------------------------------------------------------------ open.c */

/* -EFBIG: the file is so long that what comes behind it, a grain or tables, could end where
 * no int64_t reaches; that of a pipe may be unknown.  To be asked of every file before it is
 * looked into. */
int vmdk_check_file_size(BlockDriverState *file);
/* Fills the descriptor and the extent table of an image, opening its files.
 * What failed half-way is left to vmdk_image_free(). */
int vmdk_image_open(Vmdk *image, const BdrvOptions *options);
void vmdk_image_free(Vmdk *image);

/* Opens the extents that the descriptor lists.  own_file: the first is in the
 * opened file itself, whatever the descriptor calls it (images are renamed);
 * NULL: it is not. */
int vmdk_extents_open(Vmdk *image, BlockDriverState *own_file);
/* Undoes that; the files are closed too. */
void vmdk_extents_close(Vmdk *image);
/* Opens them anew after the descriptor has changed; see reopen.c.  Nobody else
 * uses the image, everything is flushed, and the lines that the extents had
 * still exist.  If it fails the image can only be closed. */
int vmdk_extents_reopen(Vmdk *image);
/* One extent that is the whole file and described by no text. */
int vmdk_extents_open_alone(Vmdk *image, VmdkKind kind);
/* Opens one extent whose line, start, length and, if it has one, file are set:
 * chooses its ops and calls their open. */
int vmdk_extent_open(VmdkExtent *extent);

/* --------------------------------------------- check.c and its neighbours
 *
 * An image that is opened with BDRV_O_CHECK opens with what is wrong noted in
 * it; see damaged.c, and check.h for the check itself. */

/* The open of an extent has failed with error: opens it for looking only, or,
 * if that fails too, as one that cannot be read. */
int vmdk_extent_open_damaged(VmdkExtent *extent, int error);
/* The open of the whole image has failed with error: finds out what there is
 * of it.  Returns error if that is nothing. */
int vmdk_image_salvage(Vmdk *image, int error);
/* -EROFS if anything is wrong with the image: it may be checked and repaired,
 * not written to. */
int vmdk_image_refuse_damaged(const Vmdk *image);
/* Notes a failed search for the parent as a problem of the image. */
int vmdk_parent_damaged(Vmdk *image, int error);
/* -EIO if the range shows something of a parent that could not be opened. */
int vmdk_parent_needed(Vmdk *image, int64_t offset, int64_t bytes);

int vmdk_check(BlockDriverState *bs, BdrvCheck *check, BdrvCheckResult *result);

/* --------------------------------------------------------------- session.c */

/* To be called before anything is modified: on return, the CID is not what it
 * was when the image was opened, durably, so that a child made from the old
 * content will not be mistaken for one of the new. */
int vmdk_session_begin(Vmdk *image);
/* What vmdk_session_begin() will make, or has made, the CID of an image that
 * records one. */
int vmdk_session_cid(Vmdk *image, uint32_t *cid);

/* bytes random bytes from the system. */
int vmdk_random(void *buf, size_t bytes);
/* A random CID, none of the reserved ones. */
int vmdk_random_cid(uint32_t *cid);
/* What looks random but depends on these two alone; for a CID, see above. */
uint32_t vmdk_seeded(const char *seed, uint64_t salt);
uint32_t vmdk_seeded_cid(const char *seed, uint64_t salt);

/* Takes the change tracking out of *text, which is to become the descriptor, and out of
 * the headers of hosted sparse extents. */
int vmdk_tracking_drop(Vmdk *image, char **text);
/* Makes 8 hexadecimal digits the CID that *text names. */
int vmdk_cid_set(char **text, const char *digits);

/* ----------------------------------------------------------------- store.c */

/* Puts text in the place of the stored descriptor, durably: power loss leaves
 * one or the other.  -ENOSPC: no room for it.  Only the file is changed. */
int vmdk_descriptor_store(Vmdk *image, const char *text);
/* May the text have that many bytes where the descriptor is?  0 or -ENOSPC. */
int vmdk_descriptor_check_room(const Vmdk *image, size_t length);
/* The other way round, when that has failed or is not wanted any more: where text may be
 * stored, what the image has in memory is again. */
int vmdk_descriptor_put_back(Vmdk *image, const char *text);
/* The same over a stored descriptor that is damaged, so that nobody knows what
 * changes. */
int vmdk_descriptor_store_whole(Vmdk *image, const char *text);
/* The same of a text whose extent lines say what they said, after it has been
 * checked; then image->descriptor says it too.  image->lock is held. */
int vmdk_descriptor_change(Vmdk *image, const char *text);

/* ----------------------------------------------------------------- names.c */

/* The ways to spell a name on this host, to be tried in that order. */
typedef struct VmdkSpellings {
    char *list[4]; /* [0] is the name as it stands */
    size_t count;
    const char *problem; /* why it was not converted, to follow the encoding; "": it was,
                          * or needs not be */
} VmdkSpellings;

int vmdk_spellings(const Vmdk *image, const char *name, VmdkSpellings *spellings);
void vmdk_spellings_free(VmdkSpellings *spellings);
/* Remembers what the descriptor, just parsed, says of the names in it: files are opened
 * at any time, also while another thread changes the text.  0 or -ENOMEM. */
int vmdk_note_encoding(Vmdk *image);
/* In which encoding the descriptor says that name is, which has more than ASCII in it.
 * NULL: it does not say, or the name has not. */
const char *vmdk_encoding_of(const Vmdk *image, const char *name);

/* ---------------------------------------------------------------- parent.c */

/* Opens the parent that the descriptor names. */
int vmdk_parent_open(Vmdk *image);
/* Is it the parent that the link was made from, as it was?  0: yes; 1: a commit into it was
 * interrupted; -EINVAL: no. */
int vmdk_parent_check(const Vmdk *image, const BlockDriverState *backing);
/* The CID of an open image: 1, or 0: it is no vmdk or records none. */
int vmdk_cid_of(const BlockDriverState *bs, uint32_t *cid);

/* -------------------------------------- resize.c, relink.c and amend.c */

int vmdk_truncate(BlockDriverState *bs, int64_t length);
int vmdk_change_backing(BlockDriverState *bs, const char *filename, BlockDriverState *backing);
int vmdk_make_empty(BlockDriverState *bs);
int vmdk_begin_commit(BlockDriverState *bs, BlockDriverState *backing);
int vmdk_begin_rebase(BlockDriverState *bs);
void vmdk_end_rebase(BlockDriverState *bs);
/* The CID that the parent has from when a commit into it has begun to when that is
 * done: 1, or 0: none is under way, nor was interrupted. */
int vmdk_commit_cid(const Vmdk *image, uint32_t *cid);
/* Makes cid the parent's CID that *text names, and the only one. */
int vmdk_parent_cid_set(char **text, uint32_t cid);
/* -EINVAL: it cannot be written as the name of a parent. */
int vmdk_check_hint(const BlockDriverState *bs, const char *hint);

extern const BdrvOption vmdk_amend_options[];
int vmdk_amend(BlockDriverState *bs, const BdrvOptions *options);

/* -------------------------------------------------------------- variants.c */

extern const BdrvVariant vmdk_variants[];

/* ------------------------------------------------------------------ info.c */

int vmdk_get_info(BlockDriverState *bs, BdrvInfo *info);
int vmdk_get_details(BlockDriverState *bs, BdrvDetails *details);
int vmdk_get_geometry(BlockDriverState *bs, BdrvGeometry *geometry);

#endif
