/* SPDX-License-Identifier: MIT */
/*
 * tar.c - tar files: ustar, with the long names and sizes of GNU tar and of pax.
 *
 *     header 512 │ content │ pad │ header 512 │ content │ pad │ … │ two blocks of zeros
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ova.h"

enum {
    MEMBERS_MAX = 100000,
    EXTENSION_MAX = 1024 * 1024, /* of a long name, or of pax records */
    NAME_AT = 0,
    NAME_BYTES = 100,
    MODE_AT = 100,
    SIZE_AT = 124,
    SIZE_BYTES = 12,
    TIME_AT = 136,
    SUM_AT = 148,
    SUM_BYTES = 8,
    TYPE_AT = 156,
    MAGIC_AT = 257,
    PREFIX_AT = 345,
    PREFIX_BYTES = 155,
    MORE_IN_HEADER_AT = 482, /* of GNU tar's sparse files: more pieces follow */
    MORE_IN_BLOCK_AT = 504
};

/* What stands before the header that it is about; or, of pax's global ones, before
 * all. */
typedef struct Extension {
    char name[TAR_NAME_MAX]; /* "": nothing said */
    int64_t size;            /* -1: nothing said */
    int is_sparse;           /* not 0: what follows is pieces of a file with holes */
} Extension;

typedef enum ExtensionKind {
    EXTENSION_NONE,
    EXTENSION_PAX,
    EXTENSION_GLOBAL, /* pax's, of all that follows */
    EXTENSION_NAME,
    EXTENSION_LINK /* the long name that a link leads to, which is not asked for */
} ExtensionKind;

static ExtensionKind kind_of(int type)
{
    switch (type) {
    case 'x':
    case 'X': /* Solaris, before it was agreed on */
        return EXTENSION_PAX;
    case 'g':
        return EXTENSION_GLOBAL;
    case 'L':
        return EXTENSION_NAME;
    case 'K':
        return EXTENSION_LINK;
    default:
        return EXTENSION_NONE;
    }
}

static unsigned sum_of(const uint8_t *block)
{
    unsigned sum = 0;

    for (int i = 0; i < TAR_BLOCK; i++) {
        sum += i >= SUM_AT && i < SUM_AT + SUM_BYTES ? ' ' : block[i];
    }
    return sum;
}

/* Octal digits, or the binary number that GNU tar writes where those do not do.
 * -1: it is none, or too large. */
static int64_t number_at(const uint8_t *field, int bytes)
{
    uint64_t value = field[0] & 0x80 ? field[0] & 0x7f : 0;
    const int binary = (field[0] & 0x80) != 0;
    int i = binary ? 1 : 0;

    while (!binary && i < bytes && field[i] == ' ') {
        i++;
    }
    for (; i < bytes && (binary || (field[i] != ' ' && field[i] != '\0')); i++) {
        if (value > UINT64_MAX >> 9 || (!binary && (field[i] < '0' || field[i] > '7'))) {
            return -1;
        }
        value = binary ? value << 8 | field[i] : value << 3 | (uint64_t)(field[i] - '0');
    }
    return value > INT64_MAX / 2 ? -1 : (int64_t)value;
}

static int is_header(const uint8_t *block)
{
    return block[0] != '\0' && number_at(block + SUM_AT, SUM_BYTES) == (int64_t)sum_of(block);
}

static int read_at(BlockDriverState *file, void *to, int64_t bytes, int64_t offset)
{
    if (bdrv_pread(file, to, (size_t)bytes, offset) < 0) {
        tool_library_error();
        return -1;
    }
    return 0;
}

int tar_begins(BlockDriverState *file)
{
    uint8_t block[TAR_BLOCK];

    return bdrv_getlength(file) >= TAR_BLOCK &&
           bdrv_pread(file, block, sizeof(block), 0) == 0 && is_header(block);
}

/* --------------------------------------------------------------- extensions */

/* "KEY=VALUE" is it KEY?  Then the value. */
static const char *value_of(const char *text, const char *key)
{
    const size_t length = strlen(key);

    return strncmp(text, key, length) == 0 && text[length] == '=' ? text + length + 1 : NULL;
}

static int note_name(const char *value, Extension *extension)
{
    if (strlen(value) >= TAR_NAME_MAX) {
        return -1;
    }
    snprintf(extension->name, sizeof(extension->name), "%s", value);
    return 0;
}

/* Empty: what was said is taken back. */
static int note_size(const char *value, Extension *extension)
{
    char *end;

    errno = 0;
    extension->size = *value != '\0' ? strtoll(value, &end, 10) : -1;
    return *value == '\0' || (errno == 0 && *value >= '0' && *value <= '9' && *end == '\0') ? 0 : -1;
}

/* GNU tar's three ways to store a file with holes (0.0, 0.1 and 1.0) and star's have
 * these keys; without its holes the content is not that of the file. */
static int is_sparse_key(const char *text)
{
    return strncmp(text, "GNU.sparse.", 11) == 0 || value_of(text, "SCHILY.realsize") != NULL;
}

/* "KEY=VALUE", ended by NUL.  -1: it makes no sense. */
static int note_pair(const char *text, Extension *extension)
{
    const char *value = value_of(text, "size");

    if (value != NULL) {
        return note_size(value, extension);
    }
    extension->is_sparse |= is_sparse_key(text);
    value = value_of(text, "GNU.sparse.name"); /* path is a made-up one then */
    if (value == NULL) {
        value = value_of(text, "path");
        value = extension->is_sparse && extension->name[0] != '\0' ? NULL : value;
    }
    return value != NULL ? note_name(value, extension) : 0;
}

/* Records of pax: "LENGTH KEY=VALUE\n", the length being that of all of it.  -1: they
 * make no sense. */
static int note_records(char *text, size_t length, Extension *extension)
{
    while (length > 0 && *text != '\0') {
        char *pair;
        unsigned long record = strtoul(text, &pair, 10);

        if (record < 5 || record > length || *pair != ' ' || pair >= text + record ||
            text[record - 1] != '\n') {
            return -1;
        }
        text[record - 1] = '\0';
        if (note_pair(pair + 1, extension) < 0) {
            return -1;
        }
        text += record;
        length -= record;
    }
    return 0;
}

static int note_text(char *text, size_t length, ExtensionKind kind, Extension *extension)
{
    return kind == EXTENSION_NAME ? note_name(text, extension)
                                  : note_records(text, length, extension);
}

/* Of what follows, or of all that follows. */
static int read_extension(BlockDriverState *file, const TarMember *at, ExtensionKind kind,
                          Extension *extension)
{
    char *text;
    int result;

    if (at->size > EXTENSION_MAX) {
        tool_error("%s: a header in the tar, at offset %" PRId64 ", has %" PRId64 " more bytes; at "
                   "most %d are read", bdrv_filename(file), at->offset, at->size, EXTENSION_MAX);
        return -1;
    }
    text = calloc(1, (size_t)at->size + 1);
    if (text == NULL) {
        tool_error("out of memory");
        return -1;
    }
    result = read_at(file, text, at->size, at->offset);
    if (result == 0 && note_text(text, (size_t)at->size, kind, extension) < 0) {
        tool_error("%s: what is at offset %" PRId64 " of the tar, about the file that follows, "
                   "makes no sense", bdrv_filename(file), at->offset);
        result = -1;
    }
    free(text);
    return result;
}

/* ------------------------------------------------------------------ walking */

/* The list of a sparse file's pieces may go on in blocks behind its header. */
static int skip_pieces(BlockDriverState *file, const uint8_t *block, TarMember *member)
{
    uint8_t more = block[MORE_IN_HEADER_AT];

    while (more != 0) {
        if (member->offset > bdrv_getlength(file) - TAR_BLOCK) {
            return 0; /* told when what follows is looked for */
        }
        if (read_at(file, &more, 1, member->offset + MORE_IN_BLOCK_AT) < 0) {
            return -1;
        }
        member->offset += TAR_BLOCK;
    }
    return 0;
}

static void decode_name(const uint8_t *block, const Extension *extension, char *name)
{
    const int has_prefix = memcmp(block + MAGIC_AT, "ustar\0", 6) == 0 && block[PREFIX_AT] != 0;
    char text[TAR_NAME_MAX];

    if (extension->name[0] != '\0') {
        snprintf(text, sizeof(text), "%s", extension->name);
    } else {
        snprintf(text, sizeof(text), "%.*s%s%.*s", has_prefix ? PREFIX_BYTES : 0,
                 (const char *)block + PREFIX_AT, has_prefix ? "/" : "", NAME_BYTES,
                 (const char *)block + NAME_AT);
    }
    snprintf(name, TAR_NAME_MAX, "%s", text + (strncmp(text, "./", 2) == 0 ? 2 : 0));
}

/* The header of what begins at offset.  1: *member is that; 0: there is no more. */
static int decode(BlockDriverState *file, int64_t offset, uint8_t *block,
                  const Extension *extension, TarMember *member)
{
    const int64_t length = bdrv_getlength(file);

    if (offset > length - TAR_BLOCK) {
        return 0;
    }
    if (read_at(file, block, TAR_BLOCK, offset) < 0) {
        return -1;
    }
    if (block[0] == '\0') {
        return 0;
    }
    member->offset = offset + TAR_BLOCK;
    member->size = number_at(block + SIZE_AT, SIZE_BYTES);
    if (extension->size >= 0 && kind_of(block[TYPE_AT]) == EXTENSION_NONE) {
        member->size = extension->size;
    }
    if (!is_header(block) || member->size < 0) {
        tool_error("%s: at offset %" PRId64 " of the tar there is no header", bdrv_filename(file),
                   offset);
        return -1;
    }
    decode_name(block, extension, member->name);
    member->is_sparse = extension->is_sparse || block[TYPE_AT] == 'S';
    if (block[TYPE_AT] == 'S' && skip_pieces(file, block, member) < 0) {
        return -1;
    }
    if (member->size > length - member->offset) {
        tool_error("%s: the file ends within %s, which has %" PRId64 " bytes: it was not "
                   "completely transferred", bdrv_filename(file), member->name, member->size);
        return -1;
    }
    return 1;
}

static int is_file(int type)
{
    return type == '0' || type == '\0' || type == '7' || type == 'S';
}

/* What a tar says of the file that follows, and of all that follow. */
typedef struct Said {
    Extension next, all;
} Said;

/* One header, and what it stands for. */
static int take_member(BlockDriverState *file, int type, const TarMember *member, Said *said)
{
    const ExtensionKind kind = kind_of(type);

    if (kind == EXTENSION_GLOBAL) {
        int result = read_extension(file, member, kind, &said->all);

        said->next = said->all;
        return result;
    }
    return kind == EXTENSION_PAX || kind == EXTENSION_NAME
               ? read_extension(file, member, kind, &said->next)
               : 0;
}

int tar_walk(BlockDriverState *file, TarFn *look, void *opaque)
{
    Said said = {{"", -1, 0}, {"", -1, 0}};
    uint8_t block[TAR_BLOCK];
    TarMember member;
    int64_t offset = 0;
    int result;

    for (int i = 0; i < MEMBERS_MAX; i++) {
        result = decode(file, offset, block, &said.next, &member);
        if (result <= 0) {
            return result;
        }
        result = take_member(file, block[TYPE_AT], &member, &said);
        if (kind_of(block[TYPE_AT]) == EXTENSION_NONE) {
            said.next = said.all;
            result = is_file(block[TYPE_AT]) ? look(opaque, &member) : 0;
        }
        if (result != 0) {
            return result;
        }
        if (member.size > INT64_MAX - TAR_BLOCK - member.offset) {
            return 0; /* no file has room for more behind it */
        }
        offset = member.offset + (member.size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    }
    tool_error("%s: the tar has more than %d files", bdrv_filename(file), MEMBERS_MAX);
    return -1;
}

/* ------------------------------------------------------------------ writing */

/* Eleven octal digits, or GNU tar's binary number. */
static void store_size(uint8_t *field, int64_t size)
{
    if (size >> 33 == 0) {
        snprintf((char *)field, SIZE_BYTES, "%011" PRIo64, (uint64_t)size);
        return;
    }
    field[0] = 0x80;
    for (int i = 0; i < 8; i++) {
        field[SIZE_BYTES - 1 - i] = (uint8_t)(size >> 8 * i);
    }
}

void tar_header(uint8_t block[TAR_BLOCK], const char *name, int64_t size, int64_t time)
{
    char sum[SUM_BYTES];

    memset(block, 0, TAR_BLOCK);
    memcpy(block + NAME_AT, name, strnlen(name, NAME_BYTES));
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): zeros follow */
    memcpy(block + MODE_AT, "0000644\0" "0000000\0" "0000000", 23);
    store_size(block + SIZE_AT, size);
    snprintf((char *)block + TIME_AT, SIZE_BYTES, "%011" PRIo64, (uint64_t)time & 077777777777);
    block[TYPE_AT] = '0';
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a version without a NUL */
    memcpy(block + MAGIC_AT, "ustar\0" "00", 8);
    snprintf(sum, sizeof(sum), "%06o", sum_of(block));
    memcpy(block + SUM_AT, sum, 7);
    block[SUM_AT + 7] = ' ';
}
