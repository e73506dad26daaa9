/* SPDX-License-Identifier: MIT */
/*
 * rules.h - what the systems that images are made for want of them:
 *
 *     profiles.c       the destinations, one row each, and their rules
 *     stream-check.c   the rules of a streamOptimized VMDK
 *     stream-text.c    its descriptor
 *     ova-check.c      those of the package around a disk
 *     ova-text.c       its OVF
 *     inflate.c        what that needs to look into its grains
 *     rules.c          the rules that were found broken
 */
#ifndef RULES_H
#define RULES_H

#include "tool.h"

/* ---------------------------------------------------------------- rules.c */

enum {
    RULES_MAX = 32, /* there are fewer */
    RULE_TEXT_MAX = 1024
};

typedef struct Rule {
    const char *name; /* lives for ever */
    char *text;       /* what was found and what is wanted; NULL: no memory for it */
    char *mend;       /* the command that makes it right */
} Rule;

/* Starts zeroed. */
typedef struct Rules {
    Rule broken[RULES_MAX];
    int count;
    const char *remark; /* what was not looked at; NULL: nothing.  Lives for ever */
} Rules;

/* Tells of a broken rule; only the first of one name counts. */
void rules_broken(Rules *rules, const char *name, const char *format, ...) TOOL_PRINTF(3, 4);
/* What mends those of which nothing was said yet. */
void rules_mend(Rules *rules, const char *format, ...) TOOL_PRINTF(2, 3);
/* A file's name as a shell wants it, in text; "FILE" if it has no room there: a part of it
 * would be another file's.  Returns text. */
const char *rules_quote(char *text, size_t size, const char *name);
void rules_free(Rules *rules);

/* --------------------------------------------------------- stream-check.c */

/* Looks at the whole of a file, opened as raw, as a streamOptimized VMDK.  It has
 * a sector at least, and begins as those do, or as unfinished ones do (kdmv).
 * 0; -1: it could not be read, and the message is printed. */
int stream_check(BlockDriverState *file, Rules *rules);

/* ---------------------------------------------------------- stream-text.c */

/* What a descriptor says; how often, or whether at all. */
typedef struct StreamText {
    int version, type, no_parent, cid, adapter; /* the lines that there must be */
    int extents;                  /* one of a type that is not SPARSE counts twice */
    int cid_of_none;              /* the CID is one that stands for none */
    int unknown_adapter;
    uint64_t sectors; /* of the last extent */
} StreamText;

/* Reads a text that ends with a NUL, and changes it.  *found starts zeroed. */
void stream_text_read(char *text, StreamText *found);

/* -------------------------------------------------------------- inflate.c */

/* Decodes one zlib stream.  NULL: done, *got bytes are in out; else what is wrong
 * with it, in a text that lives for ever. */
const char *inflate_zlib(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes,
                         size_t *got);

/* ------------------------------------------------------------ ova-check.c */

/* Looks at the package around the disks of an OVA.  0; -1: it could not be read, and
 * the message is printed. */
int ova_check(const char *filename, Rules *rules);

/* ------------------------------------------------------------- ova-text.c
 *
 * Of a text that ends with a NUL; end is in it, or there. */

enum { OVA_VALUE_MAX = 1024 /* of a value, with its NUL */ };

/* As strstr(3), in [at, end). */
const char *ova_text_find(const char *at, const char *end, const char *word);

/* The next element of that name, whatever its name space, behind at and before end;
 * NULL: there is none.  What follows its name is returned. */
const char *ova_text_next(const char *at, const char *end, const char *name);

/* The value of an attribute in the element at text, whatever its name space.
 * 0: it has none, or one that is too long or has entities that are not known: value ends
 * there. */
int ova_text_attribute(const char *text, const char *name, char value[OVA_VALUE_MAX]);

/* The same of the text in an element of that name within [at, end). */
int ova_text_within(const char *at, const char *end, const char *name,
                    char value[OVA_VALUE_MAX]);

/* ------------------------------------------------------------- profiles.c */

/* What becomes of an OVA, as a whole. */
typedef enum ProfileOva {
    PROFILE_OVA_REFUSED,  /* it is no disk there */
    PROFILE_OVA_IMPORTED, /* what is wanted of the package we do not know: its disk is judged */
    PROFILE_OVA_JUDGED    /* see ova_check() */
} ProfileOva;

/* A destination of images. */
typedef struct Profile {
    const char *name;
    const char *help;    /* one line */
    const char *format;  /* of new images; NULL: libbdrv makes none that it takes */
    const char *options; /* of -o; NULL: none */
    const char *missing; /* format NULL: what libbdrv would have to write, and who does */
    const char *accepts; /* "FORMAT:VARIANT FORMAT …": what it takes, of any make; a
                          * format alone: all its variants.  "" : nothing we know */
    int64_t unit;        /* the disk is a whole number of so many bytes; 0: any length */
    int takes_children;  /* not 0: images with a parent too */
    ProfileOva ova;      /* would it take one? */
    const char *adapter; /* of a disk alone; NULL: any.  In an OVA the controller decides */
    const char *filename; /* what the file has to be called; NULL: anything */
    const char *next;     /* what is left to be done; NULL: nothing */
} Profile;

/* NULL: there is none of that name, and the message is printed. */
const Profile *profile_find(const char *name);

/* A paragraph for --help. */
void profiles_print(FILE *out);

/* Makes image what the profile wants, together with what the user has asked for.
 * 0; -1: the two contradict each other, or it cannot be had, and the message is
 * printed. */
int profile_choose(const Profile *profile, ImageNew *image);

/* How long the new disk must be for a source of that many bytes. */
int64_t profile_length(const Profile *profile, int64_t bytes);

/* Would the destination take the image?  0; -1: it cannot be told, and the message
 * is printed. */
int profile_check(const Profile *profile, const char *filename, const ImageHow *how,
                  Rules *rules);

#endif
