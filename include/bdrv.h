/* SPDX-License-Identifier: MIT */
/*
 * bdrv.h - open, read, write, create and convert virtual disk images.
 *
 * This header is the manual of the library for its users; what a driver
 * author needs is in bdrv-driver.h, and hashing, which comes with this
 * header, in bdrv-hash.h.  The smallest program:
 *
 *     BlockDriverState *disk;
 *     if (bdrv_open(&disk, "disk.vmdk", NULL, NULL) < 0) {
 *         fprintf(stderr, "%s\n", bdrv_errmsg());
 *         return 1;
 *     }
 *     bdrv_pread(disk, sector, 512, 0);
 *     bdrv_close(disk);
 *
 * Rules that hold for every function here:
 *
 * - Results are 0 (or a non-negative value where one is described) or a
 *   negative errno number.  A read or write is whole or has failed: there are
 *   no short counts.  After a failed read the buffer's content is undefined;
 *   after a failed write each sector of the range holds old or new bytes.
 * - Offsets and lengths are bytes in int64_t unless a name says "sector"; a
 *   sector is always 512 bytes.  Any offset and any length are allowed; there
 *   is no alignment to respect.  A length of 0 does nothing, if all else is right.
 * - A range that is not wholly inside the disk is refused with -ERANGE, a
 *   negative offset or a NULL where one is not allowed with -EINVAL, a write
 *   to a handle opened for reading with -EROFS, and something the format
 *   cannot do with -ENOTSUP.  All other errors come from the image (-EINVAL:
 *   malformed; -EIO: unreadable) or from the host (its own errno).
 * - After any failure bdrv_errmsg() says in one line what went wrong where.
 * - One handle may be used from many threads at once.  Five calls want it for
 *   themselves: bdrv_close(), which must be the last one, bdrv_commit(), bdrv_rebase(),
 *   bdrv_amend() and bdrv_check(); with another call on the handle beside them, writes
 *   get lost or the program crashes.  Different handles share nothing.  Requests
 *   that overlap in time and in range happen in an undefined order, as on a
 *   real disk; a read never sees bytes that belong to another part of the disk.
 * - The library never prints, exits, aborts on bad input, reads the
 *   environment, installs a signal handler or changes anything global.
 *
 * Options structs start with their size, so that later versions can add
 * members at the end: set struct_size to sizeof of the struct, leave what you
 * do not care about zero.  Zero (or NULL) is always the default.  A
 * struct_size of 0 means the struct as it was in version 0.1.
 */
#ifndef BDRV_H
#define BDRV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BDRV_VERSION_MAJOR 0
#define BDRV_VERSION_MINOR 1
#define BDRV_VERSION_PATCH 0

#define BDRV_SECTOR_SIZE 512

/* An open image, one node of a graph: a vmdk node has a file node below it,
 * and may have a backing node (its parent) behind it.  Opaque. */
typedef struct BlockDriverState BlockDriverState;

/* One driver's table; see bdrv-driver.h.  Opaque here. */
typedef struct BlockDriver BlockDriver;

/* "0.1.0": the version of the library that is linked, which may differ from
 * the BDRV_VERSION_* the program was compiled with. */
const char *bdrv_version(void);

/* The text of the last failure in the calling thread: which file, which field
 * or offset, what was found, what was wanted.  Never NULL.  Valid until the
 * next call of this library in the same thread.  Meaningful only after a call
 * that failed. */
const char *bdrv_errmsg(void);

/* ---------------------------------------------------------------- opening */

enum {
    /* Open for reading and writing.  The image is locked against a second
     * writer until it is closed (-EBUSY if somebody has it); readers are not
     * hindered.  Nothing is modified before the first write. */
    BDRV_O_RDWR = 1 << 0,
    /* Do not open the backing chain: unallocated ranges read as zeros. */
    BDRV_O_NO_BACKING = 1 << 1,
    /* Write to a private temporary overlay that is dropped at close; the image
     * itself is opened for reading and stays as it is, unless bdrv_commit()
     * is called.  Implies that the handle can be written. */
    BDRV_O_SNAPSHOT = 1 << 2,
    /* Take no lock and respect none.  Reading an image that somebody writes
     * gives undefined content; writing one beside another writer destroys it. */
    BDRV_O_NO_LOCK = 1 << 3,
    /* Flushes do nothing: fast, and after a crash or power loss the image may
     * be garbage.  For destinations that are thrown away unless complete. */
    BDRV_O_NO_FLUSH = 1 << 4,
    /* Open also what is damaged, as far as that is possible, for bdrv_check():
     * reads of what is damaged fail. */
    BDRV_O_CHECK = 1 << 5,
    /* The storage under the image is a pipe or the like: it can be read, or
     * written, from its beginning to its end once, but for its first 64 KiB,
     * which may be gone over again until the first access beyond them.  For
     * bdrv_open_io() and bdrv_open_node(); a node opened so is a place for
     * bdrv_create_node() too.  Only what a format can do so works; the rest
     * fails with -ENOTSUP, or as the storage refuses to go back.  A disk that is
     * read from such storage can only be read in ascending order (bdrv_convert()
     * does). */
    BDRV_O_FORWARD = 1 << 6,
    /* Read and write past the host's page cache (O_DIRECT), all that is whole blocks of
     * 4096 bytes; 4096-aligned buffers save a copy.  -ENOTSUP: the file system cannot. */
    BDRV_O_DIRECT = 1 << 7,
    /* Each write to a host file is durable when it returns (O_DSYNC).  What a format
     * keeps in memory still needs bdrv_flush(). */
    BDRV_O_WRITETHROUGH = 1 << 8,
    /* Leave the page cache as it is: what is read or written does not stay there (at
     * the latest after a flush). */
    BDRV_O_DROP_BEHIND = 1 << 9,
    /* Nobody else may open it for writing meanwhile, and -EBUSY if somebody has it so;
     * other readers are not hindered.  The parents of an image that is open for writing
     * are opened so, asked for or not: what is written to them shows through. */
    BDRV_O_UNCHANGED = 1 << 10
};

/* Where log lines (warnings about a tolerated oddity of an image) go.  line
 * has no newline and is valid during the call.  May be called from any thread
 * that uses the handle. */
typedef void BdrvLogFn(void *opaque, const char *line);

/* What an image wants another file for: it holds a part of the image's content, or
 * shows through where the image has none. */
typedef enum BdrvFileRole { BDRV_FILE_EXTENT, BDRV_FILE_PARENT } BdrvFileRole;

/* A file that an image names.  Valid during the call it is given to. */
typedef struct BdrvNamedFile {
    size_t struct_size;
    BdrvFileRole role;
    int writable;         /* not 0: to be opened for writing */
    int is_inside;        /* not 0: allowed where nobody is asked, see allow_paths */
    const char *named_by; /* the image that names it */
    const char *name;     /* as it has it */
    const char *path;     /* where that leads: absolute, without links, "." and ".." */
} BdrvNamedFile;

/* An answer for those who have no opinion: as where nobody is asked. */
enum { BDRV_OPEN_AS_USUAL = 1 };

/* Whether it may be opened: 0, or -errno (-EPERM is usual; after -ENOENT a format
 * may look elsewhere, and asks again), or BDRV_OPEN_AS_USUAL.  Only a regular file at exactly that path is
 * opened then.  Called from any thread that uses the handle. */
typedef int BdrvMayOpenFn(void *opaque, const BdrvNamedFile *file);

/* What an image may cost, whatever it says of itself.  0: the default, which can be
 * raised too. */
typedef struct BdrvLimits {
    size_t struct_size;
    unsigned chain_depth;    /* images in a backing chain; 128.  -ELOOP beyond */
    unsigned extents;        /* pieces of one image; 65536.  -EINVAL beyond */
    unsigned open_files;     /* of one image at a time; 128.  Others come and go */
    size_t descriptor_bytes; /* of text that describes an image; 8 MiB.  -EINVAL beyond */
    /* Memory for cached metadata of one image; 16 MiB.  A parent gets half of what its
     * child has, so that a chain takes no more than two images. */
    size_t table_bytes;
} BdrvLimits;

typedef struct BdrvOpenOptions {
    size_t struct_size;
    unsigned flags; /* BDRV_O_… */
    /* "key=value,key=value" for the format's driver; a comma inside a value is
     * doubled.  Unknown keys are refused.  bdrv_driver_describe() lists them. */
    const char *options;
    /* Use this file as the backing image instead of what the image names, and
     * this format for it (NULL: probe).  Named by you, so not confined. */
    const char *backing;
    const char *backing_format;
    /* Directories, ended by NULL, in which an image may name other files
     * (extents, parents) besides its own directory; "/" allows all regular files.  A
     * file that is listed itself may be named too, and a block device only so. */
    const char *const *allow_paths;
    /* Directory of the temporary overlay of BDRV_O_SNAPSHOT; NULL: /var/tmp. */
    const char *snapshot_directory;
    unsigned max_depth; /* limits->chain_depth, if that is 0 */
    size_t table_bytes; /* limits->table_bytes, if that is 0 */
    BdrvLogFn *log;
    void *log_opaque;
    /* Asked about each other file that an image names; NULL: allow_paths decides. */
    BdrvMayOpenFn *may_open;
    void *may_open_opaque;
    const BdrvLimits *limits; /* NULL: the defaults */
} BdrvOpenOptions;

/* Opens an image.
 *
 * filename  a path.  With the format "null" or "mem" it is only a label.
 * format    a driver's name, or NULL to look at the content.  Name the format
 *           when you know it: one that is raw only because nothing was recognised
 *           refuses writes (-EPERM) that would make it look like another.
 * options   NULL: read-only, all defaults.
 *
 * On success *bs is the handle, to be closed with bdrv_close().  On failure
 * *bs is NULL.  -ENOENT, -EACCES …: from the host; -EINVAL: not a valid image
 * of that format, an unknown format or option; -EBUSY: locked by another
 * writer; -EPERM: the image names a file outside its directory (the message
 * names the option that would allow it); -ELOOP: a chain that is too deep or
 * contains itself. */
int bdrv_open(BlockDriverState **bs, const char *filename, const char *format,
              const BdrvOpenOptions *options);

/* Caller-supplied storage: everything the library can do with a file it can do
 * with these, so any format can live in a browser, in an archive, on bare
 * metal.  All callbacks return 0 (getlength: the length) or -errno, transfer
 * everything or fail, and may be called from any thread that uses the handle,
 * several at a time. */
typedef struct BdrvIo {
    size_t struct_size;
    /* Required.  0 <= offset and offset + bytes <= getlength(). */
    int (*read)(void *opaque, void *buf, size_t bytes, int64_t offset);
    /* NULL: read-only.  May be asked to write past the end, which grows the
     * storage if truncate is given; what lies between reads as zeros. */
    int (*write)(void *opaque, const void *buf, size_t bytes, int64_t offset);
    /* Makes all completed writes durable.  NULL: they always are. */
    int (*flush)(void *opaque);
    /* Required. */
    int64_t (*getlength)(void *opaque);
    /* Sets the length; new bytes read as zeros.  NULL: the size is fixed. */
    int (*truncate)(void *opaque, int64_t length);
    /* Opens another file that the image names (an extent, a parent), read-only
     * unless writable; fills *io and *other_opaque.  NULL: -ENOTSUP.  This is
     * the place to decide what an image may name. */
    int (*open_other)(void *opaque, const char *name, int writable,
                      struct BdrvIo *io, void **other_opaque);
    /* Called once when the node goes.  NULL: nothing to do. */
    void (*close)(void *opaque);
} BdrvIo;

/* Opens an image that lies in caller-supplied storage.  label stands for the
 * file name in messages.  On failure io->close is not called.  *io is copied;
 * opaque must live until close.  Otherwise as bdrv_open(). */
int bdrv_open_io(BlockDriverState **bs, const char *label, const BdrvIo *io,
                 void *opaque, const char *format,
                 const BdrvOpenOptions *options);

/* Opens an image whose bytes are those of another open node (for instance a
 * "mem" node, or a disk inside a disk).  The new handle holds its own
 * reference to file: the caller still closes his, before or after.  To write,
 * file must be writable.  Otherwise as bdrv_open(). */
int bdrv_open_node(BlockDriverState **bs, BlockDriverState *file,
                   const char *format, const BdrvOpenOptions *options);

/* Flushes, then releases the handle, which is gone whatever the result.  The
 * result is that of the last flush: a program that ignores it may lose data
 * without knowing.  NULL is allowed. */
int bdrv_close(BlockDriverState *bs);

/* ------------------------------------------------------------------- data */

/* pread(2) and pwrite(2) on a disk. */
int bdrv_pread(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset);
int bdrv_pwrite(BlockDriverState *bs, const void *buf, size_t bytes,
                int64_t offset);

/* One piece of a scattered buffer; laid out as POSIX's struct iovec. */
typedef struct BdrvIovec {
    void *base;
    size_t bytes;
} BdrvIovec;

/* The same with the buffer in count pieces (0 <= count). */
int bdrv_preadv(BlockDriverState *bs, const BdrvIovec *pieces, int count,
                int64_t offset);
int bdrv_pwritev(BlockDriverState *bs, const BdrvIovec *pieces, int count,
                 int64_t offset);

/* The classical emulator calls: whole sectors.  nb_sectors >= 0.  A disk whose
 * length is not a multiple of 512 shows no partial last sector here. */
int bdrv_read(BlockDriverState *bs, int64_t sector_num, void *buf,
              int nb_sectors);
int bdrv_write(BlockDriverState *bs, int64_t sector_num, const void *buf,
               int nb_sectors);

/* Makes everything durable that was written before the call.  Until then power
 * loss may leave any written sector old or new, but never shows foreign bytes
 * and never loses what an earlier flush confirmed. */
int bdrv_flush(BlockDriverState *bs);

/* Makes the range read as zeros, without transferring them where the format or
 * the host can; hides the backing image.  May be slow where neither can. */
int bdrv_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* Says that the content of the range is no longer needed: it may become zeros,
 * or stay, sector by sector; it never becomes foreign bytes.  -ENOTSUP where
 * the format cannot. */
int bdrv_discard(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* Sets the disk's length.  New bytes read as zeros.  -ENOTSUP where the format
 * cannot.  Shrinking drops what lies beyond.  If it fails, all that stays is
 * intact; the length is the old one, or the new one if the error came while the
 * rest was dropped: bdrv_getlength() tells. */
int bdrv_truncate(BlockDriverState *bs, int64_t length);

/* ---------------------------------------------------------------- looking */

/* The disk's length in bytes (of the guest's disk, not of the file). */
int64_t bdrv_getlength(BlockDriverState *bs);

/* Is the host file of that name one of those that bs, its extents or its backing
 * chain consist of?  1: yes, whatever name it was opened by; 0: no, or there is
 * none; negative: cannot be told.  To be asked before a file is overwritten.  Of
 * an image of more files than are open at a time, knows those that are. */
int bdrv_uses_file(BlockDriverState *bs, const char *filename);

/* May what is still to be done on this node find files by name: open further
 * extents, or put a new file in the place of one?  0: all that it needs is open.
 * For a program that gives up rights when its images are open; bdrv_commit() and
 * bdrv_rebase() always find files.  -EINVAL: bs is NULL. */
int bdrv_needs_names(BlockDriverState *bs);

/* The name the image was opened by; the name of its format; whether it can be
 * written.  The strings live as long as the handle. */
const char *bdrv_filename(const BlockDriverState *bs);
const char *bdrv_format(const BlockDriverState *bs);
int bdrv_is_writable(const BlockDriverState *bs);

/* The node that holds this node's bytes (NULL: it holds them itself), and the
 * parent whose content shows through (NULL: none).  Owned by bs. */
BlockDriverState *bdrv_file(const BlockDriverState *bs);
BlockDriverState *bdrv_backing(const BlockDriverState *bs);

typedef enum BdrvState {
    BDRV_UNALLOCATED, /* nothing here: the backing image shows through, or zeros */
    BDRV_DATA,        /* bytes are stored (they may be zeros) */
    BDRV_ZERO         /* known to read as zeros, and hides the backing image */
} BdrvState;

/* A run of bytes that are all in one state.  There is no state for "error":
 * what cannot be told is a negative return. */
typedef struct BdrvExtent {
    BdrvState state;
    int compressed; /* not 0: stored compressed */
    /* Not 0: allocated as a whole by design (raw, flat), so that holes in the
     * file are what tells zeros; bdrv_map() looks there. */
    int may_have_holes;
    /* 1 <= bytes <= asked; the next run may have the same state.  After a failure: how much
     * fails for the same reason, whenever it is asked for; 0: nobody knows. */
    int64_t bytes;
    /* Where the run's bytes lie, one for one, when that is so (DATA, not
     * compressed); else NULL.  Owned by the node asked. */
    BlockDriverState *file;
    int64_t file_offset;
    /* How many backing steps down the run was found (bdrv_map only). */
    int depth;
    /* Not 0: the image says that this part must not be used (DATA with no file): reads
     * and writes of it fail with -EACCES. */
    int inaccessible;
    /* The name of that file where file is NULL only because files come and go (an image in
     * more of them than may be open): file_offset is a place in it.  Else NULL.  Owned by
     * the node asked, until it is closed or its files change (amend, truncate, rebase). */
    const char *filename;
    int reserved[3 - sizeof(char *) / sizeof(int)]; /* 0 */
} BdrvExtent;

/* The state of the run that starts at offset, in this image alone.  bytes > 0.
 * Never reads guest data. */
int bdrv_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      BdrvExtent *extent);

/* The state of the run as a reader sees it: through the backing chain and, for
 * plain formats, through the holes of the host's file.  UNALLOCATED here means
 * that no image of the chain has anything: it reads as zeros. */
int bdrv_map(BlockDriverState *bs, int64_t offset, int64_t bytes,
             BdrvExtent *extent);

typedef struct BdrvInfo {
    size_t struct_size;
    int64_t length;       /* of the guest's disk */
    int64_t cluster_size; /* unit of allocation; 0: none */
    int64_t host_bytes;   /* what the image occupies on the host; -1: unknown */
    int dirty;            /* not 0: was not closed properly */
    int compressed;       /* not 0: stores clusters compressed */
    int encrypted;        /* not 0 */
    /* The backing image as the image records it and its format, "" if none. */
    char backing_filename[1024];
    char backing_format[16];
    /* Not 0: parts of it are, or may be, bytes that were there before the image was
     * created (of a device, say), so that a new one need not read as zeros. */
    int has_old_bytes;
} BdrvInfo;

/* Fills *info, whose struct_size the caller has set. */
int bdrv_get_info(BlockDriverState *bs, BdrvInfo *info);

/* What only this format knows about the image, as a tree, for printing.  The
 * callback gets its nodes in order; key is NULL inside a list. */
typedef enum BdrvDetailKind {
    BDRV_DETAIL_NUMBER,
    BDRV_DETAIL_STRING,
    BDRV_DETAIL_BOOL, /* number is 0 or 1 */
    BDRV_DETAIL_OBJECT_BEGIN,
    BDRV_DETAIL_LIST_BEGIN,
    BDRV_DETAIL_END /* of the innermost object or list */
} BdrvDetailKind;

typedef struct BdrvDetail {
    BdrvDetailKind kind;
    const char *key;
    int64_t number;
    const char *string;
} BdrvDetail;

typedef void BdrvDetailFn(void *opaque, const BdrvDetail *detail);

int bdrv_get_details(BlockDriverState *bs, BdrvDetailFn *visit, void *opaque);

typedef struct BdrvGeometry {
    uint32_t cylinders;
    uint32_t heads;
    uint32_t sectors;    /* per track */
    int from_image;      /* 0: guessed */
} BdrvGeometry;

/* The disk's CHS geometry: what the image records, else a guess: 16 heads, 63
 * sectors, cylinders by division, 1 to 16383, which is what an ATA disk of
 * that size would say. */
int bdrv_get_geometry(BlockDriverState *bs, BdrvGeometry *geometry);

/* Which format is the file?  *format becomes a driver's name, "raw" if nothing
 * else fits.  -EINVAL if two drivers are equally sure. */
int bdrv_probe(const char *filename, const char **format);

/* --------------------------------------------------------------- creating */

typedef struct BdrvCreateOptions {
    size_t struct_size;
    int64_t size;        /* of the guest's disk; < 0 is refused.  0 with backing: its size */
    const char *options; /* "key=value,…" as in BdrvOpenOptions */
    /* Makes the new image a child of this one, which is opened for reading to
     * learn what must be recorded.  A relative name is relative to the new
     * image's directory and is recorded as given. */
    const char *backing;
    const char *backing_format; /* NULL: probe */
    unsigned flags; /* BDRV_O_NO_LOCK, BDRV_O_NO_FLUSH, and BDRV_O_NO_BACKING:
                     * record the backing name without opening it */
    /* As in BdrvOpenOptions, for opening the backing image. */
    const char *const *allow_paths;
    /* The same, and asked too of each further file that the new image will have
     * (BDRV_FILE_EXTENT, writable): before it is made or replaced. */
    BdrvMayOpenFn *may_open;
    void *may_open_opaque;
} BdrvCreateOptions;

/* Creates an image, replacing what is at filename.  An existing file is locked
 * first (-EBUSY) and keeps its inode.  Complete and durable when it returns 0.
 * A request that cannot be fulfilled (options, sizes, a file of the backing chain
 * that would be overwritten) is refused before anything is touched; when writing
 * fails, the files that were begun are removed. */
int bdrv_create(const char *filename, const char *format,
                const BdrvCreateOptions *options);

/* The same inside an open, writable node (single-file formats only), whose
 * content is gone whatever the result. */
int bdrv_create_node(BlockDriverState *file, const char *format,
                     const BdrvCreateOptions *options);

/* --------------------------------------------------------- whole operations */

/* The calls of this section change an image as a whole.  No other call on the
 * handle may run meanwhile.  When one fails, the guest's content is what it was. */

/* Called with the bytes of the disk that are done and their total; returns 0
 * to go on, anything else to stop the operation with -ECANCELED. */
typedef int BdrvProgressFn(void *opaque, int64_t done, int64_t total);

/* Whom bdrv_commit(), bdrv_rebase() and bdrv_amend() on this handle tell how far they
 * are, on the thread of the call; NULL: nobody, as at first.  What is done at once is not
 * told.  To stop them is as if they had failed. */
void bdrv_set_progress(BlockDriverState *bs, BdrvProgressFn *progress, void *opaque);

/* Writes what this image holds into its backing image, which is opened for
 * writing meanwhile (-EBUSY: it has a writer, or another image over it has;
 * -ENOSPC: it is shorter and cannot grow).  Durable when it returns 0; the handle
 * then reads the same as before, holds nothing of its own where the format can
 * drop it, and can go on.  If it fails, each sector of the backing image is old
 * or new, and the handle still has everything.  With BDRV_O_SNAPSHOT this is
 * "keep what I did".  Other images that have the same backing image become
 * invalid.  -ENOTSUP: there is none. */
int bdrv_commit(BlockDriverState *bs);

enum {
    /* Only change what is recorded: the caller knows that the new backing image
     * has the same content as the old one (it was moved, renamed). */
    BDRV_REBASE_UNSAFE = 1 << 0
};

/* Gives the image another backing image, or none (backing NULL: what showed
 * through becomes its own).  Without BDRV_REBASE_UNSAFE the content stays the
 * same: where the two differ, it is copied in first.  The name is relative to
 * the image and recorded as given; format NULL: probe. */
int bdrv_rebase(BlockDriverState *bs, const char *backing, const char *format,
                unsigned flags);

/* Changes what is recorded about the image, not its content: "key=value,…" out
 * of the amend options that bdrv_driver_describe() lists. */
int bdrv_amend(BlockDriverState *bs, const char *options);

typedef enum BdrvFindingKind {
    BDRV_FINDING_CORRUPTION,   /* some content is, or may become, wrong or unreadable */
    BDRV_FINDING_LEAK,         /* space that nothing uses */
    BDRV_FINDING_MISMATCH,     /* two records disagree; mending loses nothing */
    BDRV_FINDING_UNRECOVERABLE /* content that is gone */
} BdrvFindingKind;

/* One thing that bdrv_check() found. */
typedef struct BdrvFinding {
    BdrvFindingKind kind;
    int64_t offset; /* of the part of the disk that is concerned; -1: none */
    int64_t bytes;  /* its length; 0: none */
    const char *text;
    const char *repair; /* what a repair does about it; NULL: nothing can be done */
    int repaired;       /* not 0: it has been done */
} BdrvFinding;

typedef void BdrvFindingFn(void *opaque, const BdrvFinding *finding);

enum {
    BDRV_CHECK_REPAIR_LEAKS = 1 << 0,
    BDRV_CHECK_REPAIR_ALL = 1 << 1 /* leaks too */
};

typedef struct BdrvCheckOptions {
    size_t struct_size;
    unsigned flags;         /* BDRV_CHECK_…; 0: only look */
    BdrvFindingFn *finding; /* called for each, before and after mending; may be NULL */
    void *finding_opaque;
} BdrvCheckOptions;

typedef struct BdrvCheckResult {
    size_t struct_size;
    /* Still there, by kind. */
    int64_t corruptions, leaks, mismatches, unrecoverable;
    /* Mended. */
    int64_t corruptions_fixed, leaks_fixed, mismatches_fixed;
    /* Clusters; fragmented: not lying behind the one before it. */
    int64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    int64_t image_end_offset; /* of what is used in the file */
} BdrvCheckResult;

/* Looks through the image's metadata.  With a repair flag (the image must be
 * writable) mends what it finds; each sector then reads as it did, or, where one
 * of two copies of a table was damaged, as before the damage.  0 also when there
 * is damage: *result says so.  Open a damaged image with BDRV_O_CHECK, or it may
 * be refused.  -ENOTSUP: the format has nothing to check; or, when result's
 * total_clusters is not 0, this build cannot look into all of it: the rest was checked,
 * and mended. */
int bdrv_check(BlockDriverState *bs, const BdrvCheckOptions *options,
               BdrvCheckResult *result);

enum {
    /* The destination is known to read as zeros: zeros are not written. */
    BDRV_CONVERT_TARGET_IS_ZERO = 1 << 0,
    /* Long runs of plain data are copied by the host (copy_file_range), where it can
     * and the destination is plain too; no zeros are looked for in them. */
    BDRV_CONVERT_OFFLOAD = 1 << 1,
    /* Data may be written in any order, where the destination has a fixed place for
     * every byte (raw, flat).  One that allocates is written in order all the same. */
    BDRV_CONVERT_UNORDERED = 1 << 2,
    /* What the target reads as already is not written: for the child of a backing image,
     * which then stores only what differs.  Not for a target that compresses. */
    BDRV_CONVERT_KEEP_SAME = 1 << 3
};

/* Told of a range of the source that could not be read: zeros stand for it in the
 * destination.  reason lives during the call. */
typedef void BdrvLostFn(void *opaque, int64_t offset, int64_t bytes, const char *reason);

typedef struct BdrvConvertOptions {
    size_t struct_size;
    unsigned flags; /* BDRV_CONVERT_… */
    /* Zeros are looked for in aligned units of this many bytes, a multiple of
     * 512, and become holes; 0: 4096; negative: nothing becomes a hole, zeros are
     * written as data. */
    int64_t sparse_size;
    int64_t target_offset; /* where in the destination the source's byte 0 goes */
    BdrvProgressFn *progress; /* on any thread, but one call at a time */
    void *progress_opaque;
    /* How many work.  0: one for each processor where there is (de)compressing to
     * be done, else one, and more when reading has to wait.  The output is the same. */
    unsigned threads;
    /* Becomes the record (bdrv-hash.h) of what was read from the source; NULL: none is
     * made.  Then all data goes through memory, and is hashed there. */
    struct BdrvHashRecord *record;
    /* Bytes that its buffers may take at most, 0: 32 MiB; fewer threads work where those
     * do not suffice.  -EINVAL: too few for any.  (Cached metadata is the images':
     * see BdrvOpenOptions.table_bytes.) */
    size_t max_memory;
    int64_t rate; /* bytes of data written in a second, at most; 0: no limit */
    /* Not NULL: what cannot be read does not end the conversion, but is told here, in
     * the order of the disk and one call at a time, as with progress. */
    BdrvLostFn *lost;
    void *lost_opaque;
} BdrvConvertOptions;

/* Copies the content of source (through its backing chain) to target, which
 * must be writable and long enough (-ENOSPC).  What is known to be zero is not
 * read.  Long runs of plain data become shared with the source, where both lie
 * in a file system that can (a reflink).  Does not flush.  When it fails, the
 * content of the target is undefined; one that is written in order and finished
 * by bdrv_close(), as a streamOptimized VMDK is, will not be finished then. */
int bdrv_convert(BlockDriverState *source, BlockDriverState *target,
                 const BdrvConvertOptions *options);

/* ---------------------------------------------------------------- drivers */

/* The registered drivers: NULL gives the first, the last gives NULL. */
const BlockDriver *bdrv_next(const BlockDriver *driver);
/* NULL if there is none of that name. */
const BlockDriver *bdrv_find(const char *name);

typedef enum BdrvOptionType {
    BDRV_OPTION_STRING,
    BDRV_OPTION_NUMBER, /* unsigned decimal or 0x… */
    BDRV_OPTION_SIZE,   /* number with an optional suffix b k M G T P E */
    BDRV_OPTION_BOOL,   /* on off, true false, yes no */
    BDRV_OPTION_CHOICE  /* one of choices */
} BdrvOptionType;

typedef struct BdrvOption {
    const char *name; /* NULL ends a list */
    BdrvOptionType type;
    const char *help;           /* one line */
    const char *default_text;   /* NULL: none, the option is simply absent */
    const char *const *choices; /* ended by NULL; BDRV_OPTION_CHOICE only */
} BdrvOption;

/* What can be done with images of a format, or of one variant of it. */
enum {
    BDRV_CAN_READ = 1 << 0,
    BDRV_CAN_WRITE = 1 << 1,   /* to the disk of an image that exists */
    BDRV_CAN_CREATE = 1 << 2,
    BDRV_CAN_BACK = 1 << 3,    /* it can be the child of a backing image: a snapshot */
    BDRV_CAN_COMPRESS = 1 << 4 /* what is written is stored compressed */
};

/* One of several kinds of image that go by the name of one format, and what its
 * driver can do with it.  All of it is true of this build of the library. */
typedef struct BdrvVariant {
    const char *name;           /* as the format's documents call it; NULL ends a list */
    unsigned abilities;         /* BDRV_CAN_…; 0: such an image is recognised and refused */
    const char *create_options; /* what makes bdrv_create() make one; NULL: nothing can */
    const char *needs;          /* the name of a further option to be given then, which
                                 * depends on the place; NULL: none */
    const char *note;           /* where a "can" has a limit, or why there is none: a few
                                 * words.  NULL: nothing to be said */
} BdrvVariant;

typedef struct BdrvDriverInfo {
    size_t struct_size;
    const char *name;
    const char *description;
    int can_write, can_create, can_back, is_protocol; /* 0 or 1 */
    /* Ended by a NULL name; never NULL themselves. */
    const BdrvOption *open_options;
    const BdrvOption *create_options;
    const BdrvOption *amend_options;
    unsigned abilities;          /* BDRV_CAN_…: what some image of the format can */
    const BdrvVariant *variants; /* likewise; empty: all its images are alike */
} BdrvDriverInfo;

/* Fills *info, whose struct_size the caller has set. */
int bdrv_driver_describe(const BlockDriver *driver, BdrvDriverInfo *info);

/* "64", "0x40", "64k", "1.5G" to bytes, as everywhere in this family; suffixes
 * b, k/K, M, G, T, P, E are powers of 1024.  -EINVAL: not a size; -ERANGE: does
 * not fit. */
int bdrv_parse_size(const char *text, int64_t *bytes);

/* -------------------------------------------------------------- encodings */

/* An encoding that names in images may be in, other than UTF-8. */
typedef struct BdrvEncoding BdrvEncoding;

/* Loads what converting from an encoding takes, by the name that images have for it
 * ("windows-1252", "GBK", …; case does not matter), until bdrv_encoding_close().
 * Opening an image does so by itself.  A program that gives up the right to load code
 * before it opens images calls this before that, and keeps the result: what is loaded
 * is then there for images too.  -ENOTSUP: not known here, or this host cannot
 * convert it; -ENOMEM. */
int bdrv_encoding_open(const char *name, BdrvEncoding **encoding);
void bdrv_encoding_close(BdrvEncoding *encoding); /* NULL is allowed */

#ifdef __cplusplus
}
#endif

#include "bdrv-hash.h" /* hashes of what a disk holds */

#endif
