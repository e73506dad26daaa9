/* SPDX-License-Identifier: MIT */
/*
 * bdrv-driver.h - how to write a driver: the table a driver fills, and what
 * the core offers it.
 *
 * A driver is one file (or folder) with one table of type BlockDriver.  It
 * never sees a path, a descriptor, a lock of another node or a range that does
 * not lie inside the disk.  The life of a node:
 *
 *     probe ──▶ open ──▶ read, write, flush, is_allocated, … ──▶ close
 *                ▲        (many threads at once if PARALLEL)
 *     create ────┘
 *
 * What a driver may assume in every callback on data: bytes > 0, 0 <= offset,
 * offset + bytes <= the length it has set, and, in those that modify, that the
 * node is writable.  What it must do:
 *
 * - all of it, or return a negative errno, best through bdrv_error(), which
 *   leaves the message for the user;
 * - decode bytes from disk with bdrv-bytes.h, check them against named limits,
 *   then use them: every number in a file is hostile;
 * - never turn an unreadable table into "unallocated": that makes an I/O error
 *   read as zeros, and then somebody copies the zeros over his backup.
 *
 * Required in the table: name, open, read.  For everything left out the core
 * puts a named default that says -ENOTSUP (or what stands at the member), so
 * that nothing succeeds silently.
 */
#ifndef BDRV_DRIVER_H
#define BDRV_DRIVER_H

#include <stdarg.h>

#include "bdrv.h"
#include "bdrv-bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when the meaning of an existing member changes; members that are
 * added at the end are told by struct_size alone. */
#define BDRV_DRIVER_API 1

/* The first line of every table: .BDRV_DRIVER_HEAD is written as
 *     static const BlockDriver driver = { BDRV_DRIVER_HEAD, .name = "x", … }; */
#define BDRV_DRIVER_HEAD \
    .struct_size = sizeof(BlockDriver), .api_version = BDRV_DRIVER_API

enum {
    /* The driver does its own locking.  Without it the core lets one request
     * at a time into the driver. */
    BDRV_DRIVER_PARALLEL = 1 << 0,
    /* Holds bytes itself instead of giving meaning to those of bdrv_file(bs):
     * opened by name, never probed.  write may go past the end and grows it. */
    BDRV_DRIVER_PROTOCOL = 1 << 1,
    /* Images can have a backing image. */
    BDRV_DRIVER_BACKING = 1 << 2,
    /* Passes requests on to bdrv_file(bs), byte for byte in place, doing
     * something on the way (count, fail, record).  Never probed; may be written
     * past the end where the file may; open_other, identify and remove, when
     * NULL, go to the file.  replace and allocate do not: they would pass it by. */
    BDRV_DRIVER_FILTER = 1 << 3
};

/* What probe looks at. */
typedef struct BdrvProbe {
    const uint8_t *head; /* the first bytes, up to 64 KiB */
    size_t head_size;    /* less than 64 KiB only if the file is shorter */
    const uint8_t *tail; /* the last bytes, up to 4 KiB */
    size_t tail_size;
    int64_t file_size;
    const char *filename; /* a hint at most: names alone never decide */
} BdrvProbe;

/* Parsed options: typed, checked against the driver's list, defaults filled. */
typedef struct BdrvOptions BdrvOptions;

/* What create is asked for. */
typedef struct BdrvCreateParams {
    int64_t size; /* bytes; of the backing image if the user gave none */
    const BdrvOptions *options;
    const char *backing_filename; /* as it shall be recorded; NULL: none */
    BlockDriverState *backing;    /* the same, open for reading; NULL: none */
} BdrvCreateParams;

/* Identifies a file whatever name it was opened by (device and inode). */
typedef struct BdrvIdentity {
    uint64_t device;
    uint64_t inode;
} BdrvIdentity;

/* Collects bdrv_get_details(); see bdrv_detail_number() and its sisters. */
typedef struct BdrvDetails BdrvDetails;

/* A bdrv_check() under way. */
typedef struct BdrvCheck BdrvCheck;

struct BlockDriver {
    /* Stamped by BDRV_DRIVER_HEAD, never by hand. */
    size_t struct_size;
    unsigned api_version;

    const char *name;        /* what -f says; lower case; required */
    const char *description; /* one line */
    unsigned flags;          /* BDRV_DRIVER_… */
    /* Bytes of private state: allocated zeroed before open, freed after close,
     * found with bdrv_state(bs). */
    size_t instance_size;
    const BdrvOption *open_options;   /* ended by a NULL name; NULL: none */
    const BdrvOption *create_options; /* the same */

    /* ---- the classical eight ---- */

    /* How sure is the driver that this is its format: 0 (no) to 100 (a magic
     * number and a plausible header).  raw says 1 to everything.  Reads nothing
     * but *probe and must not trust it.  NULL: only opened when named. */
    int (*probe)(const BdrvProbe *probe);

    /* Reads and checks what it needs from bdrv_file(bs) and calls
     * bdrv_set_length().  Modifies nothing on disk, also when the node is
     * writable.  If it fails it has released what it allocated itself; the core
     * closes the children and frees the state.  close is then not called. */
    int (*open)(BlockDriverState *bs, const BdrvOptions *options);

    /* Fills buf with the disk's bytes. */
    int (*read)(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset);

    /* NULL: images open read-only; BDRV_O_RDWR is refused with -EROFS. */
    int (*write)(BlockDriverState *bs, const void *buf, size_t bytes,
                 int64_t offset);

    /* Makes a new, empty image in file, which is writable and of length 0 (or,
     * where it cannot be truncated, of a fixed length).  Further files come from
     * bdrv_create_child().  The core flushes, and removes all if it fails. */
    int (*create)(BlockDriverState *file, const BdrvCreateParams *params);

    /* Releases what open and later calls allocated.  The core has flushed.  May
     * still write (a clean-shutdown flag).  Children are closed by the core
     * afterwards.  NULL: nothing to do. */
    int (*close)(BlockDriverState *bs);

    /* Writes back what is cached and flushes the children with
     * bdrv_flush_children().  NULL: just that.  Not called when nothing was
     * written through this node since the last flush that succeeded. */
    int (*flush)(BlockDriverState *bs);

    /* *extent comes zeroed; the run starts at offset and has 1 to bytes bytes, also
     * of what fails (as struct BdrvExtent says; 0 will do).  NULL: everything is DATA, place unknown. */
    int (*is_allocated)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                        BdrvExtent *extent);

    /* ---- later ones ---- */

    /* NULL: zeros are written with write. */
    int (*write_zeroes)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    /* NULL: -ENOTSUP. */
    int (*discard)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    /* Calls bdrv_set_length() when done.  NULL: -ENOTSUP. */
    int (*truncate)(BlockDriverState *bs, int64_t length);
    /* *info comes filled with what the core knows.  NULL: that. */
    int (*get_info)(BlockDriverState *bs, BdrvInfo *info);
    /* NULL: no details. */
    int (*get_details)(BlockDriverState *bs, BdrvDetails *details);
    /* -ENOENT: the image records none.  NULL: the same. */
    int (*get_geometry)(BlockDriverState *bs, BdrvGeometry *geometry);

    /* Records another backing image, durably: filename as it shall be recorded,
     * backing the same, open; both NULL: none.  The image's own content and the
     * node's backing stay as they are; that is the core's.  NULL: -ENOTSUP. */
    int (*change_backing)(BlockDriverState *bs, const char *filename,
                          BlockDriverState *backing);
    /* Drops everything allocated, so that the backing image shows through
     * everywhere; called after a commit.  NULL: nothing is dropped. */
    int (*make_empty)(BlockDriverState *bs);
    const BdrvOption *amend_options; /* ended by a NULL name; NULL: none */
    /* Changes what is recorded to the options that are given.  NULL: -ENOTSUP. */
    int (*amend)(BlockDriverState *bs, const BdrvOptions *options);
    /* Looks, and mends as flags (BDRV_CHECK_…) say; tells each finding with
     * bdrv_check_report(), which counts it.  *result comes zeroed; the driver
     * fills in the cluster figures.  NULL: -ENOTSUP. */
    int (*check)(BlockDriverState *bs, BdrvCheck *check, BdrvCheckResult *result);

    /* ---- protocol drivers only ---- */

    /* Opens in bs (fresh, of this driver, as open does) the file that an image
     * in node from calls name.  The place of the path policy.  -ENOENT is what
     * lets a driver try another name.  NULL: -ENOTSUP. */
    int (*open_other)(BlockDriverState *bs, BlockDriverState *from,
                      const char *name);
    /* NULL: identity unknown; then only chain depth guards against loops. */
    int (*identify)(BlockDriverState *bs, BdrvIdentity *identity);
    /* Deletes the stored file of an open, writable node; but not one that was
     * opened with BDRV_O_CREATE, was there before, and has not been modified; nor one
     * that has taken its name meanwhile, as far as the host lets that be seen (in a
     * directory where others may write there remains a moment).
     * NULL: nothing to delete. */
    int (*remove)(BlockDriverState *bs);
    /* Makes the whole content of the file size bytes, durably and so that after
     * power loss it is the old or the new one, never a mix.  The node is then on
     * the new file, under the same name.  Other threads may be reading and
     * flushing the node.  NULL: -ENOTSUP. */
    int (*replace)(BlockDriverState *bs, const void *bytes, size_t size);
    /* Sets the host's space for the range aside, growing the file to its end:
     * writing there later does not fail for want of space.  What is stored in
     * it stays, the rest reads as zeros.  NULL: -ENOTSUP. */
    int (*allocate)(BlockDriverState *bs, int64_t offset, int64_t bytes);

    /* ---- formats that compress: see bdrv_set_packing() ---- */

    /* Makes of a whole cluster, the one at offset, what is to be stored for it.
     * packed has the room that was told; *packed_bytes becomes what of it is
     * used, 0: a cluster of zeros, for which nothing need be stored.  Changes
     * nothing in bs; called on many threads at once, PARALLEL or not.  What it
     * makes depends on nothing but the cluster and its offset.  NULL: -ENOTSUP. */
    int (*pack)(BlockDriverState *bs, const void *cluster, int64_t offset,
                void *packed, size_t *packed_bytes);
    /* Stores what pack has made for the cluster at offset; called for one
     * cluster after the other, in ascending order.  NULL: -ENOTSUP. */
    int (*write_packed)(BlockDriverState *bs, const void *packed,
                        size_t packed_bytes, int64_t offset);

    /* The kinds of image that there are, ended by a NULL name, each ability tested
     * by a suite that uses it; NULL: all are alike. */
    const BdrvVariant *variants;

    /* ---- drivers whose bytes lie in a file, one for one ---- */

    /* Makes bytes at offset those at from_offset of another node, which is a
     * protocol node, without moving them: both then lie in the same place of the
     * storage, until one is written to.  NULL, or -ENOTSUP: cannot, nothing has changed;
     * write what was read. */
    int (*share_range)(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                       int64_t from_offset, int64_t bytes);
    /* The same by a copy that the host makes. */
    int (*copy_range)(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                      int64_t from_offset, int64_t bytes);

    /* ---- formats with a backing image ---- */

    /* What bs holds is about to be written into its backing image, which was opened
     * for that as backing and not changed yet.  Records, durably, what bs needs to
     * be opened over it at any time meanwhile, should the commit be interrupted;
     * change_backing, called when all is there, takes that back.  NULL: nothing. */
    int (*begin_commit)(BlockDriverState *bs, BlockDriverState *backing);
    /* What is written until end_rebase is what bs reads as there already: who has
     * recorded its content, as a child does, need not be told of a change.  end_rebase
     * is called in any case if begin_rebase succeeded.  NULL: nothing. */
    int (*begin_rebase)(BlockDriverState *bs);
    void (*end_rebase)(BlockDriverState *bs);
};

/* Adds a driver to the table.  *driver is copied; its strings and lists must
 * live for ever.  -EINVAL: name, open or read is missing, flags or api_version
 * unknown, or struct_size too small to hold them; -EEXIST: the name is taken.
 * Not to be called while another thread opens images. */
int bdrv_register(const BlockDriver *driver);

/* ------------------------------------------------------------------ errors */

#if defined(__GNUC__)
#define BDRV_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define BDRV_PRINTF(text, first)
#endif

/* Leaves "<name of bs>: <text>" as the message and returns error (negative),
 * so that `return bdrv_error(bs, -EINVAL, "grain size is %u, …", …)` is the one
 * way to fail.  bs may be NULL: no name then.  Say which field, what it holds,
 * what it should hold and, where there is one, the way out. */
int bdrv_error(const BlockDriverState *bs, int error, const char *format, ...)
    BDRV_PRINTF(3, 4);

/* Puts context in front of the message of a call that failed with error:
 * "<name of bs>: <text>: <message so far>".  Returns error. */
int bdrv_error_prefix(const BlockDriverState *bs, int error,
                      const char *format, ...) BDRV_PRINTF(3, 4);

/* A line for the user's log callback, if there is one: something odd that was
 * tolerated. */
void bdrv_log(const BlockDriverState *bs, const char *format, ...)
    BDRV_PRINTF(2, 3);

/* ------------------------------------------------------------------- nodes */

/* The driver's private state. */
void *bdrv_state(const BlockDriverState *bs);

/* The BDRV_O_… flags the node was opened with, and: */
enum {
    /* Protocol open: make the file, or lock the one that is there, whose content
     * goes at the first modification, not before; the length is 0 at once. */
    BDRV_O_CREATE = 1 << 16,
    /* Protocol open: the name is a directory; make a file without a name in it,
     * which is gone when the node is closed. */
    BDRV_O_TEMPORARY = 1 << 17
};
unsigned bdrv_open_flags(const BlockDriverState *bs);

/* The user's list of directories in which an image may name other files, ended
 * by NULL; NULL: none besides the image's own. */
const char *const *bdrv_allow_paths(const BlockDriverState *bs);

/* For open_other: asks the user whether what an image names may be opened.  Of
 * *file name, path and is_inside are filled in; bs is the node that it will be,
 * from the one whose image names it.  0: yes; without a callback that is what
 * is_inside says.  Negative: no, and the message says so. */
int bdrv_may_open(const BlockDriverState *bs, const BlockDriverState *from,
                  BdrvNamedFile *file);

/* Gives the node the name it is known by (copied).  For protocol drivers, whose
 * open_other learns it.  0 or -ENOMEM. */
int bdrv_set_filename(BlockDriverState *bs, const char *filename);

/* The driver of a node, to recognise one's own kind. */
const char *bdrv_driver_name(const BlockDriverState *bs);

/* Sets the disk's length (>= 0).  To be called in open, and by truncate. */
void bdrv_set_length(BlockDriverState *bs, int64_t length);

/* To be called in open (and when that changes) by a driver that will open or make
 * children later, or call bdrv_replace().  See bdrv_needs_names(). */
void bdrv_set_needs_names(BlockDriverState *bs, int needs);

/* To be called in open by a driver that has pack and write_packed, if this image
 * is to be written by them: bdrv_convert() then does so, for clusters of that
 * many bytes, a power of two (0: it does not), each of which takes at most room
 * bytes when it is packed. */
void bdrv_set_packing(BlockDriverState *bs, int64_t cluster, size_t room);

/* To be called in what looks through a whole image (amend): tells the user that so many
 * bytes of the disk are done.  0, or -ECANCELED: he wants it to stop. */
int bdrv_tell_progress(BlockDriverState *bs, int64_t done, int64_t total);

/* Is every one of count bytes 0?  Of none: yes. */
int bdrv_is_zero(const void *bytes, size_t count);

/* Has a conversion into bs failed?  Then what a format writes at the end, to say
 * that all is there, must not be written. */
int bdrv_is_abandoned(const BlockDriverState *bs);

/* Another file that makes up the image (an extent), as plain bytes, writable
 * if bs is.  The name is the image's, resolved and policed by the protocol
 * driver below bs, which may be bs itself: the file of an image that is being
 * created.  Owned by bs; closed, flushed with it. */
int bdrv_open_child(BlockDriverState *bs, const char *name,
                    BlockDriverState **child);

/* The same, for reading only, also if bs is writable. */
int bdrv_open_child_to_read(BlockDriverState *bs, const char *name,
                            BlockDriverState **child);

/* For create: makes (or empties) another file beside the one that is being
 * created.  Owned by file. */
int bdrv_create_child(BlockDriverState *file, const char *name,
                      BlockDriverState **child);

/* Closes a child before its time, for images of more files than can be open at
 * once; nothing may use it any more, a BdrvTable not either (see
 * bdrv_table_forget()).  What was written to it is made durable.  A child that
 * bdrv_create_child() made is still removed if the creation fails.  child is
 * gone whatever the result, which is that of the flush.  NULL is allowed. */
int bdrv_close_child(BlockDriverState *bs, BlockDriverState *child);

/* Which file is it?  Two nodes of equal identity are on the same one.  -ENOTSUP:
 * cannot be told. */
int bdrv_identify(BlockDriverState *file, BdrvIdentity *identity);

/* 1 if both tell of the same file, else 0. */
int bdrv_is_same_identity(const BdrvIdentity *one, const BdrvIdentity *other);

/* The callbacks share_range and copy_range of a writable node; which are both a
 * BdrvMoveRangeFn, for a driver that does the same for either. */
typedef int BdrvMoveRangeFn(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                            int64_t from_offset, int64_t bytes);
int bdrv_share_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                     int64_t from_offset, int64_t bytes);
int bdrv_copy_range(BlockDriverState *bs, int64_t offset, BlockDriverState *from,
                    int64_t from_offset, int64_t bytes);

/* The callbacks replace, allocate and remove of a writable protocol node; what
 * was removed is still to be closed. */
int bdrv_replace(BlockDriverState *file, const void *bytes, size_t size);
int bdrv_allocate(BlockDriverState *file, int64_t offset, int64_t bytes);
int bdrv_remove(BlockDriverState *file);

/* Decides whether a parent that was found is the right one: 0, or -errno. */
typedef int BdrvAcceptFn(void *opaque, BlockDriverState *backing);

/* The parent that the image names.  format: a driver's name or NULL to probe.
 * accept (NULL: any) looks at the opened node.  Does nothing and returns 0
 * when the user wants no backing or has named his own (which accept sees too).
 * -ENOENT: no such file, try another name.  Call it after everything else in
 * the image has been checked. */
int bdrv_open_backing(BlockDriverState *bs, const char *name,
                      const char *format, BdrvAcceptFn *accept, void *opaque);

/* Reads what shows through from the backing image; zeros where that is shorter
 * and where there is none. */
int bdrv_read_backing(BlockDriverState *bs, void *buf, size_t bytes,
                      int64_t offset);

/* Flushes all children of bs that were written to. */
int bdrv_flush_children(BlockDriverState *bs);

/* The user's limits, with the defaults where he said nothing: none is 0. */
const BdrvLimits *bdrv_limits(const BlockDriverState *bs);

/* The metadata budget of bs in bytes: its table_bytes. */
size_t bdrv_table_budget(const BlockDriverState *bs);

/* ------------------------------------------------------------------- paths
 *
 * On text alone: nothing here asks the host anything. */

/* What follows the last '/' (the whole string if there is none). */
const char *bdrv_path_basename(const char *path);

/* name as seen from the directory of the file base: name itself if it is
 * absolute or base has no directory.  -ENAMETOOLONG if it does not fit size
 * bytes with its NUL; *path is then "". */
int bdrv_path_join(char *path, size_t size, const char *base, const char *name);

/* text, in an encoding that bdrv_encoding_open() (bdrv.h) gave, in UTF-8: the caller
 * frees *utf8.  One thread at a time per encoding.  -EINVAL: it is not in that
 * encoding; -ENOMEM.  *utf8 is NULL then. */
int bdrv_encoding_convert(BdrvEncoding *encoding, const char *text, char **utf8);

/* ----------------------------------------------------------------- options */

/* The value of an option of the driver's list, or the default, or (no default)
 * NULL, 0, 0.  Asking for a name that is not in the list is a bug. */
const char *bdrv_option_string(const BdrvOptions *options, const char *name);
int64_t bdrv_option_number(const BdrvOptions *options, const char *name);
int bdrv_option_bool(const BdrvOptions *options, const char *name);
/* Whether the user gave it. */
int bdrv_option_given(const BdrvOptions *options, const char *name);

/* ----------------------------------------------------------------- details */

/* One call each per item, in the order to be shown; key is NULL in a list. */
void bdrv_detail_number(BdrvDetails *details, const char *key, int64_t number);
void bdrv_detail_string(BdrvDetails *details, const char *key,
                        const char *string);
void bdrv_detail_bool(BdrvDetails *details, const char *key, int value);
void bdrv_detail_object(BdrvDetails *details, const char *key);
void bdrv_detail_list(BdrvDetails *details, const char *key);
void bdrv_detail_end(BdrvDetails *details);

/* ------------------------------------------------------------------- check */

/* What the user wants done: BDRV_CHECK_…, 0: only look. */
unsigned bdrv_check_flags(const BdrvCheck *check);

/* Tells the user of a finding and counts it, as mended if repaired is set. */
void bdrv_check_report(BdrvCheck *check, const BdrvFinding *finding);

/* ------------------------------------------------------- metadata: BdrvTable
 *
 * The cache of on-disk tables of one image (over all its files), and the place
 * where crash consistency is made, once for all formats:
 *
 *   - the data of a new cluster is written first; the entry that points at it
 *     is only changed in memory, here;
 *   - bdrv_table_flush() makes the data durable, then writes the changed table
 *     sectors (lower order first), then makes those durable;
 *   - so after power loss at any point each entry on disk is old or new and
 *     points at complete data.  Space may leak; nothing else happens.
 *
 * Two barriers per flush, none per write.  What is cached, and written, is whole
 * 512-byte sectors: one that holds an entry set here is never also written as
 * data.  All functions may be called from many threads. */

typedef struct BdrvTable BdrvTable;

/* A cache for bs; the budget is bdrv_table_budget(bs). */
int bdrv_table_new(BdrvTable **table, BlockDriverState *bs);
/* Changes that were not flushed are lost.  NULL is allowed. */
void bdrv_table_free(BdrvTable *table);

/* Copies bytes of the file, as changed by bdrv_table_write().  A hit takes no
 * exclusive lock and makes no system call.  -EIO beyond the file's end.  Up to
 * 4096 bytes are read, and written below, as one: never half old, half new.  A
 * miss caches a request of up to 512 bytes; a longer one is read from the file
 * in one call and not kept. */
int bdrv_table_read(BdrvTable *table, BlockDriverState *file, void *buf,
                    size_t bytes, int64_t offset);

/* When a changed sector is written at a flush, among the others. */
typedef enum BdrvTableOrder {
    BDRV_TABLE_REDUNDANT, /* copies, first */
    BDRV_TABLE_PRIMARY    /* what readers follow, last */
} BdrvTableOrder;

/* Changes bytes in memory, to be written by a later flush.  May itself flush
 * when the budget is full of changes.  They must be inside the file: -EIO. */
int bdrv_table_write(BdrvTable *table, BlockDriverState *file, const void *buf,
                     size_t bytes, int64_t offset, BdrvTableOrder order);

/* Makes a new table region of zeros in the file, at once, as data: it is
 * durable before any entry set later that points at it.  May extend the file. */
int bdrv_table_fresh(BdrvTable *table, BlockDriverState *file, int64_t bytes,
                     int64_t offset);

/* Drops what is cached of a file that is about to be closed.  Its changes must
 * have been flushed, and nobody may be using it: changes are lost. */
void bdrv_table_forget(BdrvTable *table, BlockDriverState *file);

/* The flush described above, for all files of bs.  To be used as, or from, the
 * driver's flush.  If it fails nothing is forgotten: the next one writes it. */
int bdrv_table_flush(BdrvTable *table);

/* -------------------------------------------------- clusters: BdrvClusters
 *
 * Reading and writing for formats that map clusters of the disk to places in
 * a file: how a request is cut into runs, copied-in surroundings, allocation
 * without holding a lock over I/O.  The driver says where clusters are:
 *
 *       guest range ──lookup──▶ runs ──▶ DATA: in place, one call per run
 *                                   ├──▶ ZERO: zeros
 *                                   └──▶ UNALLOCATED: backing
 *       write to the latter two: reserve ─▶ write whole clusters ─▶ enter */

typedef struct BdrvClusterOps {
    /* As BlockDriver.is_allocated.  Neighbouring clusters that lie together in
     * the file should be told as one run. */
    int (*lookup)(void *opaque, int64_t offset, int64_t bytes,
                  BdrvExtent *extent);
    /* Sets aside room for *clusters clusters in one piece (may give fewer, at
     * least one), in memory only.  *zeroed says that the room is known to read
     * as zeros already: then it must also lie inside the file, as only what is
     * not zeros is written.  -ENOSPC: the format cannot address more. */
    int (*reserve)(void *opaque, int64_t *clusters, int64_t *file_offset,
                   int *zeroed);
    /* The clusters' bytes are written: makes the tables say so (through
     * BdrvTable).  offset is cluster-aligned. */
    int (*enter)(void *opaque, int64_t offset, int64_t clusters,
                 int64_t file_offset);
    /* Makes whole clusters read as zeros without a place in the file.  NULL, or
     * -ENOTSUP at run time: zeros are written as data. */
    int (*enter_zero)(void *opaque, int64_t offset, int64_t clusters);
    /* Reads from a run that lookup calls compressed.  NULL: there are none. */
    int (*read_compressed)(void *opaque, void *buf, size_t bytes,
                           int64_t offset);
} BdrvClusterOps;

typedef struct BdrvClustersConfig {
    BlockDriverState *bs;   /* whose backing shows through */
    BlockDriverState *file; /* where clusters lie */
    int64_t disk_offset;    /* where in bs this map begins */
    int64_t length;         /* bytes it covers; its last cluster may be partial */
    int64_t cluster_size;   /* > 0, any multiple of 512 */
    const BdrvClusterOps *ops;
    void *opaque; /* for ops */
} BdrvClustersConfig;

typedef struct BdrvClusters BdrvClusters;

/* *config is copied. */
int bdrv_clusters_new(BdrvClusters **clusters, const BdrvClustersConfig *config);
void bdrv_clusters_free(BdrvClusters *clusters);

/* offset counts from the map's beginning, not the disk's. */
int bdrv_clusters_read(BdrvClusters *clusters, void *buf, size_t bytes,
                       int64_t offset);
int bdrv_clusters_write(BdrvClusters *clusters, const void *buf, size_t bytes,
                        int64_t offset);
int bdrv_clusters_write_zeroes(BdrvClusters *clusters, int64_t offset,
                               int64_t bytes);

#ifdef __cplusplus
}
#endif

#endif
