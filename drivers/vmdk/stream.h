/* SPDX-License-Identifier: MIT */
/*
 * stream.h - what the files of streamOptimized extents share:
 *
 *     stream.c         one in a file, read through its tables
 *     stream-index.c   the same without tables: they are lost
 *     stream-pipe.c    one that comes through a pipe, read as it comes
 *     stream-block.c   the blocks it consists of
 *     stream-create.c  an empty one
 *     stream-write.c   its content, written once and in order
 *     stream-output.c  that on its way into the file
 *
 * Behind header and descriptor a stream is a sequence of blocks, each beginning
 * at a sector with a marker of 12 or 16 bytes:
 *
 *     ┌ first disk sector, 8 ┬ size > 0, 4 ┬ zlib stream, size bytes ┬ pad ┐   a grain
 *     ┌ sectors, 8 ┬ 0, 4 ┬ type, 4 ┬ pad ┐ sectors … ┐                   GT, GD, footer
 *     ┌ 0, 8       ┬ 0, 4 ┬ 0, 4    ┬ pad ┐                               end of stream
 *
 * Tables may also lie in front of all that, without markers.
 */
#ifndef VMDK_STREAM_H
#define VMDK_STREAM_H

#include "vmdk.h"

enum {
    VMDK_MARKER_BYTES = 12, /* of a grain that carries its LBA */
    /* A deflated grain is never much longer than the grain; twice is what other
     * readers accept at most, and bounds the buffer. */
    VMDK_EXPANSION_MAX = 2,
    /* Bounds the buffer for what comes out: no writer uses more than 64 KiB. */
    VMDK_STREAM_GRAIN_MAX = 2 * 1024 * 1024,
    /* Where grains begin if nothing else is in the way: as all writers have it. */
    VMDK_STREAM_OVERHEAD_SECTORS = 128,
    /* A byte of the header's pad, of an empty image of ours that is still to be
     * written: which compression level (the low four bits; 0: the normal one) and
     * VmdkDeflateEngine (the others) it was created for. */
    VMDK_LEVEL_OFFSET = 511,
    VMDK_LEVEL_BITS = 4
};

/* ---------------------------------------------------------- stream-block.c */

typedef enum VmdkBlockKind {
    VMDK_BLOCK_END = 0, /* the numbers are those of the file */
    VMDK_BLOCK_GT = 1,
    VMDK_BLOCK_GD = 2,
    VMDK_BLOCK_FOOTER = 3,
    VMDK_BLOCK_PROGRESS = 4,
    VMDK_BLOCK_GRAIN
} VmdkBlockKind;

typedef struct VmdkBlock {
    VmdkBlockKind kind;
    int64_t disk_offset; /* GRAIN: of its first byte in the extent */
    uint32_t packed;     /* GRAIN: bytes of its zlib stream */
    int64_t bytes;       /* of the file, with the marker and the pad */
} VmdkBlock;

/* What is at byte at of the file, where marker, a sector, was read.  -EIO: no
 * block begins so. */
int vmdk_block_decode(const BlockDriverState *file, const VmdkHeader *header,
                      const uint8_t *marker, int64_t at, VmdkBlock *block);
/* The marker, a sector of it, of a block that is no grain. */
void vmdk_block_encode(VmdkBlockKind kind, int64_t sectors, uint8_t *marker);

/* Checks the number of bytes that a grain's marker gives for its zlib stream. */
int vmdk_packed_check(const BlockDriverState *file, const VmdkHeader *header,
                      int64_t disk_offset, uint32_t bytes);

/* Inflates the grain at disk_offset to out, which has room for a whole one;
 * covered: what the disk has of it.  -EIO with the reason. */
int vmdk_grain_inflate(const BlockDriverState *file, VmdkInflater *inflater,
                       const VmdkHeader *header, int64_t disk_offset, const uint8_t *packed,
                       size_t packed_bytes, uint8_t *out, int64_t covered);

/* Checks what all readers of streams need. */
int vmdk_stream_check(const BlockDriverState *file, const VmdkHeader *header);

/* ---------------------------------------------------------- stream-index.c
 *
 * Where grains are, found by going through the blocks of a file from the first
 * to the last, for streams whose footer is lost. */

typedef struct VmdkStreamIndex VmdkStreamIndex;

/* -EINVAL: the blocks stop before the stream's end, or make no sense.  With
 * BDRV_O_CHECK such a stream is read as far as it goes.  *index is to be freed in
 * any case. */
int vmdk_stream_index_new(VmdkStreamIndex **index, const VmdkExtent *extent,
                          const VmdkHeader *header);
void vmdk_stream_index_free(VmdkStreamIndex *index);
/* As BlockDriver.is_allocated; of DATA, run->file_offset is that of the
 * marker. */
int vmdk_stream_index_lookup(const VmdkStreamIndex *index, int64_t offset, int64_t bytes,
                             BdrvExtent *run);

/* --------------------------------------------------------------- the kinds */

/* Which of the three is it, for an extent whose grains are compressed? */
const VmdkExtentOps *vmdk_stream_ops(const VmdkExtent *extent);

extern const VmdkExtentOps vmdk_stream_extent;
extern const VmdkExtentOps vmdk_stream_pipe_extent;
extern const VmdkExtentOps vmdk_stream_write_extent;

/* The callbacks of struct BlockDriver. */
int vmdk_pack(BlockDriverState *bs, const void *cluster, int64_t offset, void *packed,
              size_t *packed_bytes);
int vmdk_write_packed(BlockDriverState *bs, const void *packed, size_t packed_bytes,
                      int64_t offset);

/* --------------------------------------------------------- stream-output.c */

/* Where the tables of a stream are that we write. */
typedef enum VmdkStreamLayout {
    VMDK_STREAM_END,  /* behind the grains, with markers, and a footer */
    VMDK_STREAM_FRONT /* in front of them, and no footer */
} VmdkStreamLayout;

typedef struct VmdkStreamOutput {
    BlockDriverState *file;
    VmdkHeader header; /* as it shall be at the beginning of the finished file */
    int is_forward;    /* into a pipe: the header is final from the beginning */
    /* Set by init: */
    VmdkStreamLayout layout;
    int64_t gt_bytes, gd_bytes;
    int64_t first_gt; /* FRONT: where the tables are, in bytes */
    uint8_t *gd;      /* gd_bytes of zeros; END: entries are filled in */
    int begun;        /* what was a valid, empty image is none any more */
    int64_t position; /* of the file: where the next block will be */
    int64_t buffered; /* how much before it is not yet in the file */
    uint8_t *buffer;
    int64_t table; /* the one that is being filled; -1: none */
    uint8_t *gt;   /* its entries */
} VmdkStreamOutput;

/* file, header and is_forward are set, all else is 0.  In any case to be freed. */
int vmdk_stream_output_init(VmdkStreamOutput *output);
void vmdk_stream_output_free(VmdkStreamOutput *output);

/* Appends a block that holds the grain at disk_offset; it comes after those of
 * all before it. */
int vmdk_stream_output_grain(VmdkStreamOutput *output, const uint8_t *packed,
                             size_t packed_bytes, int64_t disk_offset);
/* Writes what is left, and the end.  To be followed by a flush. */
int vmdk_stream_output_finish(VmdkStreamOutput *output);

/* ---------------------------------------------------------- stream-create.c */

/* Makes file an empty stream, as the options of params say.  The disk becomes a
 * whole number of grains long: the header's capacity has to be that, other
 * readers go by it, and importers want the descriptor to say the same. */
int vmdk_create_stream(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan);

#endif
