/* SPDX-License-Identifier: MIT */
/*
 * header.h - the headers of extent files, decoded and checked: hosted sparse
 * (header.c), COWD (cowd-header.c), seSparse (sesparse-header.c).  Included by
 * vmdk.h.
 */
#ifndef VMDK_HEADER_H
#define VMDK_HEADER_H

#include "bdrv-driver.h"

/* ---------------------------------------------------------------- header.c */

enum {
    VMDK_FLAG_NEWLINES = 1u << 0,  /* the newline bytes are to be checked */
    VMDK_FLAG_REDUNDANT = 1u << 1, /* there is an RGD */
    VMDK_FLAG_ZEROED = 1u << 2,    /* GTE 1 is a grain of zeros */
    VMDK_FLAG_COMPRESSED = 1u << 16,
    VMDK_FLAG_MARKERS = 1u << 17
};

/* The upper half of the flags says: do not touch what you do not know. */
#define VMDK_FLAGS_UNKNOWN \
    (UINT32_C(0xffff0000) & ~(uint32_t)(VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS))

/* The value of gd_sector that says: see the footer. */
#define VMDK_GD_AT_END UINT64_MAX

enum {
    VMDK_HEADER_BYTES = 512,
    VMDK_GRAIN_SECTORS_MAX = 65536, /* 32 MiB: bounds buffers */
    VMDK_GTES_MIN = 128,            /* one sector */
    VMDK_GTES_MAX = 65536
};

/* Bytes of a disk must fit an int64_t, also when the last grain counts as a whole one, and
 * when they come behind those of other extents: a capacity, and the sum of all, is less. */
#define VMDK_CAPACITY_SECTORS_END (UINT64_C(1) << 53)

/* The header of a hosted sparse extent. */
typedef struct VmdkHeader {
    uint32_t version;
    uint32_t flags;
    uint64_t capacity_sectors;
    uint64_t grain_sectors;
    uint64_t descriptor_sector; /* 0: none */
    uint64_t descriptor_sectors;
    uint32_t gtes_per_gt;
    uint64_t rgd_sector;
    uint64_t gd_sector;
    uint64_t overhead_sectors; /* before the first grain */
    uint8_t unclean_shutdown;
    uint8_t newlines[4];
    uint16_t compression; /* 0 none, 1 deflate */
    int needs_footer; /* of vmdk_header_read(): without the footer nobody knows the places */
} VmdkHeader;

/* Of a file that begins with magic: what it is.  -1: none of these. */
typedef enum VmdkMagic {
    VMDK_MAGIC_NONE,
    VMDK_MAGIC_SPARSE,     /* KDMV */
    VMDK_MAGIC_UNFINISHED, /* kdmv: a stream whose writer was interrupted */
    VMDK_MAGIC_COWD,
    VMDK_MAGIC_SESPARSE,
    VMDK_MAGIC_CHANGES /* a change-tracking file */
} VmdkMagic;

VmdkMagic vmdk_magic(const uint8_t *head, size_t size);

void vmdk_header_decode(VmdkHeader *header, const uint8_t *bytes);
void vmdk_header_encode(const VmdkHeader *header, uint8_t *bytes);

/* Reads the header (and the footer, where that counts) and checks all that can
 * be told without the tables.  -EINVAL with the field in the message. */
int vmdk_header_read(BlockDriverState *file, VmdkHeader *header);

/* The same of a header without footer, as it would be with another capacity. */
int vmdk_header_read_for(BlockDriverState *file, int64_t capacity_sectors, VmdkHeader *header);

/* As it is at the beginning of the file, and the checks that need nothing else:
 * capacity and gd_sector may be such as only a footer explains. */
int vmdk_header_read_front(BlockDriverState *file, VmdkHeader *header);
/* 1, or 0: there is none at the end of the file; or -errno. */
int vmdk_header_has_footer(BlockDriverState *file);

/* Logs what is odd in a header that passed, for the image bs. */
void vmdk_header_remark(const BlockDriverState *bs, const VmdkHeader *header, int64_t file_size);

/* Changes the stored header to say what *header says in version, flags and
 * unclean_shutdown, in one sector, keeping bytes that we do not know. */
int vmdk_header_update(BlockDriverState *file, const VmdkHeader *header);
/* The same, and capacity and all places: descriptor, directories, first grain. */
int vmdk_header_move(BlockDriverState *file, const VmdkHeader *header);

/* How many GTs the extent has; sectors of one GT; sectors of the GD. */
int64_t vmdk_header_tables(const VmdkHeader *header);
int64_t vmdk_header_gt_sectors(const VmdkHeader *header);
int64_t vmdk_header_gd_sectors(const VmdkHeader *header);
/* Is the RGD where a file of that length can have it? */
int vmdk_header_redundant_fits(const VmdkHeader *header, int64_t file_size);

enum {
    VMDK_COWD_HEADER_BYTES = 2048,
    VMDK_COWD_GTES = 4096,
    VMDK_COWD_GRAIN_SECTORS_MAX = 2048 /* 1 MiB, the most that ESX documents */
};

/* What the union at byte 32 of a COWD header holds. */
typedef enum VmdkCowdRole {
    VMDK_COWD_DELTA, /* nothing: an ESX extent, described by a text descriptor */
    VMDK_COWD_ROOT,  /* geometry: a disk of its own */
    VMDK_COWD_CHILD  /* the name of a parent: Workstation 2/3 */
} VmdkCowdRole;

typedef struct VmdkCowdHeader {
    uint32_t version;
    uint32_t flags;
    uint32_t capacity_sectors;
    uint32_t grain_sectors;
    uint32_t gd_sector;
    uint32_t gd_entries;
    uint32_t free_sector; /* the first that is not used */
    VmdkCowdRole role;
    uint32_t cylinders, heads, sectors; /* role ROOT */
    uint32_t unclean_shutdown;
    /* Of Workstation 2 or 3: smaller GTs, and only read here. */
    int legacy;
} VmdkCowdHeader;

void vmdk_cowd_header_decode(VmdkCowdHeader *header, const uint8_t *bytes);
void vmdk_cowd_header_encode(const VmdkCowdHeader *header, uint8_t *bytes);
int vmdk_cowd_header_read(BlockDriverState *file, VmdkCowdHeader *header);
/* GTEs of one GT. */
int64_t vmdk_cowd_gtes(const VmdkCowdHeader *header);

/* A part of an seSparse file, in sectors. */
typedef struct VmdkPart {
    uint64_t offset, size;
} VmdkPart;

/* The parts of an seSparse file, in the order in which the header lists them. */
enum {
    VMDK_SE_VOLATILE,
    VMDK_SE_JOURNAL_HEADER,
    VMDK_SE_JOURNAL,
    VMDK_SE_GD,
    VMDK_SE_GTS,
    VMDK_SE_FREE_BITMAP,
    VMDK_SE_BACKMAP,
    VMDK_SE_GRAINS,
    VMDK_SE_PARTS
};

enum {
    VMDK_SE_GRAIN_SECTORS = 8,
    VMDK_SE_GT_SECTORS = 64,
    VMDK_SE_GTES = 4096
};

typedef struct VmdkSeHeader {
    uint64_t version, capacity_sectors, grain_sectors, gt_sectors, flags;
    VmdkPart parts[VMDK_SE_PARTS];
    int is_clear;            /* what is reserved is zeros */
    uint64_t replay_journal; /* of the volatile header */
} VmdkSeHeader;

/* Reads both headers and checks all that can be told without the tables.  -EINVAL
 * with the field in the message. */
int vmdk_se_header_read(BlockDriverState *file, VmdkSeHeader *header);
/* Makes file an empty extent of that many sectors.  Of what VMware has not
 * published (journal, free bitmap, backmap) there are only zeros. */
int vmdk_create_sesparse(BlockDriverState *file, int64_t sectors);

/* Where freeSector and uncleanShutdown are, to be changed in place. */
enum {
    VMDK_COWD_FREE_OFFSET = 28,
    VMDK_COWD_UNCLEAN_OFFSET = 1648
};

#endif
