/* SPDX-License-Identifier: MIT */
/*
 * descriptor.h - the descriptor as text: slices of it (text.c), what it says
 * (descriptor.c), changing one line of it (edit.c, lines.c).  Included by vmdk.h.
 */
#ifndef VMDK_DESCRIPTOR_H
#define VMDK_DESCRIPTOR_H

#include "bdrv-driver.h"

/* ------------------------------------------------------------------ text.c */

/* A piece of somebody else's text; not ended by NUL. */
typedef struct VmdkSlice {
    const char *start;
    size_t length;
} VmdkSlice;

/* Without the blanks, tabs and CRs at both ends. */
VmdkSlice vmdk_slice_trim(VmdkSlice slice);
/* ASCII letters of both cases are the same. */
int vmdk_slice_is(VmdkSlice slice, const char *word);
int vmdk_slice_begins(VmdkSlice slice, const char *word);
/* Takes the first word (up to a blank or tab) off *rest; empty: there is none. */
VmdkSlice vmdk_slice_word(VmdkSlice *rest);
/* All lines of a text of that size: what is behind the byte order mark that some editors
 * put before it. */
VmdkSlice vmdk_slice_lines(const char *text, size_t size);
/* Takes the next line off *rest, without its LF; 0: there is none.  A NUL ends
 * the text. */
int vmdk_slice_line(VmdkSlice *rest, VmdkSlice *line);
/* "key = value": 1 and both trimmed, the value without its quotes; 0: it is
 * none (a comment, an empty line, an extent).  A missing closing quote leaves
 * the opening one in the value. */
int vmdk_slice_option(VmdkSlice line, VmdkSlice *key, VmdkSlice *value);
/* A copy ended by NUL, to be freed; NULL: no memory. */
char *vmdk_slice_copy(VmdkSlice slice);
/* The whole slice is decimal digits: 1, and *number unless it does not fit. */
int vmdk_slice_is_digits(VmdkSlice slice);
int vmdk_slice_decimal(VmdkSlice slice, uint64_t *number);
/* The whole slice is 1 to 8 hexadecimal digits. */
int vmdk_slice_cid(VmdkSlice slice, uint32_t *cid);

/* Text that grows.  Zeroed is empty.  A failed allocation is remembered: check
 * failed once, at the end. */
typedef struct VmdkText {
    char *bytes; /* ended by NUL unless NULL; to be freed */
    size_t length;
    int failed;
} VmdkText;

void vmdk_text_append(VmdkText *text, VmdkSlice slice);
void vmdk_text_printf(VmdkText *text, const char *format, ...)
    BDRV_PRINTF(2, 3);

/* ------------------------------------------------------------ descriptor.c */

/* parentCID of an image without parent; therefore never a CID. */
#define VMDK_CID_NONE 0xffffffffu
/* "Content never modified since creation"; never given out by us. */
#define VMDK_CID_UNTOUCHED 0xfffffffeu

typedef enum VmdkAccess {
    VMDK_RW,
    VMDK_RDONLY,
    VMDK_NOACCESS
} VmdkAccess;

typedef enum VmdkKind {
    VMDK_FLAT,
    VMDK_SPARSE,
    VMDK_ZERO,
    VMDK_VMFS,
    VMDK_VMFSSPARSE,
    VMDK_VMFSRDM,
    VMDK_VMFSRAW,
    VMDK_SESPARSE,
    VMDK_VSANSPARSE
} VmdkKind;

/* As the descriptor writes them: "SPARSE", "RW". */
const char *vmdk_kind_name(VmdkKind kind);
const char *vmdk_access_name(VmdkAccess access);

typedef struct VmdkExtentLine {
    VmdkAccess access;
    VmdkKind kind;
    int64_t sectors; /* > 0; 0 only where there is no line: see the header */
    int64_t offset_sectors;
    char *name; /* NULL: none */
} VmdkExtentLine;

/* The extent holds the bytes of the disk, one for one, from some place of its file
 * on. */
int vmdk_kind_is_flat(VmdkKind kind);

/* Is the line of text an extent, right or wrong? */
int vmdk_slice_is_extent(VmdkSlice line);
/* Its bytes are those of a whole file, not of a part that the line names. */
int vmdk_line_is_whole_file(const VmdkExtentLine *line);

typedef struct VmdkDescriptor {
    /* As stored, up to the first NUL: every line that is not known here lives
     * on in it.  NULL: the image has no descriptor. */
    char *text;
    size_t text_size;

    unsigned version;
    int has_cid;
    uint32_t cid;
    uint32_t parent_cid; /* VMDK_CID_NONE: no parent */
    char *create_type;
    char *parent_hint; /* NULL: none */
    /* What forbids writing the image, as the option that says so; NULL: nothing. */
    const char *read_only_reason;
    int tracks_changes; /* has a changeTrackPath */
    VmdkExtentLine *extents;
    size_t extent_count;
    /* It is refused for what is no damage: encryption, a version that is not known here, more
     * than the user's limits allow.  Nothing may take its place. */
    int is_foreign;
} VmdkDescriptor;

enum {
    /* Of what is looked at and of what is made.  What is opened has the user's
     * limits (BdrvLimits), whose defaults these are. */
    VMDK_TEXT_MAX = 8 * 1024 * 1024,
    VMDK_EXTENTS_MAX = 65536,
    VMDK_EMBEDDED_TEXT_MAX = 1024 * 1024,
    VMDK_LINE_MAX = 4096,
    VMDK_NAME_MAX = 1024
};

/* Is this the beginning of a descriptor?  Wants a line of an option that only
 * descriptors begin with, behind nothing but comments. */
int vmdk_descriptor_probe(const uint8_t *head, size_t size);

/* Parses and checks size bytes of text.  -EINVAL: malformed, named in the
 * message of bs.  In any case *descriptor is to be freed. */
int vmdk_descriptor_parse(const BlockDriverState *bs, const void *text, size_t size,
                          VmdkDescriptor *descriptor);
void vmdk_descriptor_free(VmdkDescriptor *descriptor);

/* ------------------------------------------------------------------ edit.c */

/* The value of an option, found as the parser finds it: 1, or 0: absent.  Of
 * ddb options the last line counts, of others the first. */
int vmdk_option_find(const char *text, const char *key, VmdkSlice *value);

/* What lines of the text end with: CRLF if one does, else LF. */
const char *vmdk_line_ending(const char *text);

/* *text, a malloced string, with one line changed; all other bytes stay.  An
 * absent option is added as a line of its own behind the last header option.
 * -ENOMEM. */
int vmdk_option_set(char **text, const char *key, const char *value);
/* The same of a value that is a string: put in quotes where the option is new.
 * ddb options are added at the end. */
int vmdk_option_set_quoted(char **text, const char *key, const char *value);
/* Drops the lines of an option, if there are any. */
int vmdk_option_remove(char **text, const char *key);
/* made, which is spent, and the rest of *text behind it become *text; -ENOMEM also if made has
 * failed. */
int vmdk_text_finish(char **text, VmdkText *made, const char *rest);
/* Puts middle in the place of the bytes [start, end) of *text. */
int vmdk_text_splice(char **text, size_t start, size_t end, VmdkSlice middle);

/* ----------------------------------------------------------------- lines.c */

/* Of extent line number index: another size. */
int vmdk_lines_set_sectors(char **text, size_t index, int64_t sectors);
/* Drops all behind the first kept ones. */
int vmdk_lines_cut(char **text, size_t kept);
/* Adds some, each with its end, behind the count (> 0) that there are. */
int vmdk_lines_add(char **text, size_t count, VmdkSlice lines);
/* The number of cylinders, if the text has one, as it follows from the size. */
int vmdk_lines_fit_geometry(char **text, int64_t sectors);

#endif
