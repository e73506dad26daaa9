/* SPDX-License-Identifier: MIT */
/*
 * streams.h - streamOptimized VMDK files for tests: built in every layout that
 * writers are known to use, and checked against the rules of those who import
 * them.  Nothing of the driver is used, and no compression library: the grains
 * that are built here are zlib streams of stored blocks.
 */
#ifndef TESTS_LIB_STREAMS_H
#define TESTS_LIB_STREAMS_H

#include <stddef.h>
#include <stdint.h>

enum {
    STREAM_ROOM = 8 * 1024 * 1024, /* no built file is longer */
    STREAM_GRAINS_MAX = 16
};

typedef enum StreamTables {
    STREAM_TABLES_FRONT,  /* GD and all GTs before the grains, without markers */
    STREAM_TABLES_GROUPS, /* each GT behind its grains, the GD behind all */
    STREAM_TABLES_END     /* all of them behind the grains */
} StreamTables;

enum {
    STREAM_MARKERS = 1 << 0,       /* before tables that are not in front */
    STREAM_FOOTER = 1 << 1,        /* with the real gdOffset */
    STREAM_GD_IN_HEAD = 1 << 2,    /* the real one; else GD_AT_END */
    STREAM_WRONG_GD = 1 << 3,      /* gdOffset in the head leads to an empty GD */
    STREAM_NO_CAPACITY = 1 << 4,   /* it is 0 in the head */
    STREAM_REDUNDANT = 1 << 5,     /* RGD and flag bit 1; FRONT only */
    STREAM_EMPTY_TABLES = 1 << 6,  /* GTs of zeros are there, not left out */
    STREAM_NO_LBA = 1 << 7,        /* flag bit 17 is clear: a size before grains */
    STREAM_NO_END = 1 << 8,        /* no end-of-stream marker */
    STREAM_SMALL_TEXT = 1 << 9,    /* a descriptor of 2 sectors, RDONLY, other name */
    STREAM_SHORT_LAST = 1 << 10,   /* the last grain holds only what the disk has */
    STREAM_VALUE_0 = 1 << 11       /* of the markers of tables */
};

typedef struct StreamStyle {
    const char *name;
    uint32_t version;
    StreamTables tables;
    unsigned facts;    /* STREAM_… */
    int blank_sectors; /* behind the end of stream */
} StreamStyle;

/* The styles of the format document, 4.5 and 4.2; ended by a NULL name. */
extern const StreamStyle stream_styles[];
const StreamStyle *stream_style(const char *name);

typedef struct Stream {
    uint8_t *bytes; /* STREAM_ROOM of them */
    int64_t size;
    int64_t sectors; /* of the disk */
    int64_t gd;      /* where it is, in bytes */
    int64_t footer;  /* its header; 0: there is none */
    int64_t end;     /* the end-of-stream marker, or where it would be */
    /* Where the marker of each grain is, in the order in which they were asked
     * for. */
    int64_t at[STREAM_GRAINS_MAX];
} Stream;

enum { STREAM_GRAIN = 65536 };

/* A stream of that many sectors with the grains that are listed (ended by -1),
 * each holding that generation of the pattern. */
Stream stream_build(const StreamStyle *style, int64_t sectors, const int *grains,
                    unsigned generation);
void stream_free(Stream *stream);

/* Where the GTE of a grain is in the file; the GT must be there. */
uint8_t *stream_gte(const Stream *stream, int64_t grain);

/* A zlib stream of stored blocks; the number of its bytes. */
size_t stream_store(uint8_t *out, const uint8_t *in, size_t bytes);

/* NULL if the file is a stream as importers want it, with markers and footer or
 * with its tables in front; else the rule that it violates, in a text that lives
 * until the next call. */
const char *stream_find_fault(const uint8_t *bytes, int64_t size);

#endif
