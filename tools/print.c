/* SPDX-License-Identifier: MIT */
/*
 * print.c - text for people: foreign strings, sizes, an image's details.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* ------------------------------------------------------------------- text */

/* How many bytes the first one of a character announces; 0: it is no first
 * byte.  0xc0, 0xc1 and above 0xf4 never occur. */
static size_t utf8_announced(unsigned char byte)
{
    if (byte < 0x80) {
        return 1;
    }
    if (byte >= 0xc2 && byte <= 0xdf) {
        return 2;
    }
    if (byte >= 0xe0 && byte <= 0xef) {
        return 3;
    }
    return byte >= 0xf0 && byte <= 0xf4 ? 4 : 0;
}

size_t print_utf8_length(const char *text)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = utf8_announced(bytes[0]);

    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0; /* the final NUL ends here too */
        }
    }
    /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
    if ((bytes[0] == 0xe0 && bytes[1] < 0xa0) ||
        (bytes[0] == 0xed && bytes[1] > 0x9f) ||
        (bytes[0] == 0xf0 && bytes[1] < 0x90) ||
        (bytes[0] == 0xf4 && bytes[1] > 0x8f)) {
        return 0;
    }
    return length;
}

unsigned long print_character(const char *text, size_t length)
{
    static const unsigned char first_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    unsigned long character = (unsigned char)text[0] & first_mask[length];

    for (size_t i = 1; i < length; i++) {
        character = character << 6 | ((unsigned char)text[i] & 0x3f);
    }
    return character;
}

int print_is_control(const char *text, size_t length)
{
    static const struct {
        unsigned long first, last;
    } ranges[] = {
        {0x0000, 0x001f}, {0x007f, 0x009f},                 /* a terminal obeys them */
        {0x061c, 0x061c}, {0x200e, 0x200f},                 /* … turn what follows round */
        {0x2028, 0x202e}, {0x2066, 0x2069},                 /* … and end lines */
    };
    const unsigned long character = print_character(text, length);

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (character >= ranges[i].first && character <= ranges[i].last) {
            return 1;
        }
    }
    return 0;
}

void print_text(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t length = print_utf8_length(text);

        if (length == 0 || print_is_control(text, length)) {
            fprintf(out, "\\x%02x", (unsigned char)*text);
            length = 1;
            /* The other bytes of a control character follow as themselves: alone
             * they are no UTF-8, and are printed the same way. */
        } else {
            fwrite(text, 1, length, out);
        }
        text += length;
    }
}

/* ------------------------------------------------------------------ sizes */

static const char *const size_units[] = {"B",   "KiB", "MiB", "GiB",
                                         "TiB", "PiB", "EiB"};
enum { SIZE_UNITS = sizeof(size_units) / sizeof(size_units[0]) };

const char *print_size(char text[PRINT_SIZE_MAX], int64_t bytes)
{
    double value = (double)bytes;
    int unit = 0;

    /* 1000 and not 1024, so that three digits before the point are enough. */
    while (value >= 1000.0 && unit < SIZE_UNITS - 1) {
        value /= 1024.0;
        unit++;
    }
    snprintf(text, PRINT_SIZE_MAX, "%0.3g %s", value, size_units[unit]);
    return text;
}

const char *print_size_exact(char text[PRINT_SIZE_MAX], double bytes)
{
    int unit = 0;
    char number[PRINT_SIZE_MAX - 8];
    char *point;

    while (bytes >= 1024.0 && unit < SIZE_UNITS - 1) {
        bytes /= 1024.0;
        unit++;
    }
    snprintf(number, sizeof(number), "%.3f", bytes);
    point = strstr(number, ".000");
    if (point != NULL) {
        *point = '\0';
    }
    snprintf(text, PRINT_SIZE_MAX, "%s %s", number,
             unit == 0 ? "bytes" : size_units[unit]);
    return text;
}

/* ---------------------------------------------------------------- details */

typedef struct DetailLevel {
    int is_list;
    int next; /* number of the next item, in a list */
} DetailLevel;

typedef struct DetailPrinter {
    const char *title; /* NULL once it is printed */
    int depth;
    DetailLevel levels[JSON_DEPTH_MAX + 1]; /* [0] is the outermost */
} DetailPrinter;

/* Those beyond the deepest share its place, as in json.c. */
static DetailLevel *detail_level(DetailPrinter *printer)
{
    int depth = printer->depth;

    return &printer->levels[depth < JSON_DEPTH_MAX ? depth : JSON_DEPTH_MAX];
}

/* "create-type" as "create type".  It may be text of an image, too. */
static void print_key(const char *key)
{
    char *text = strdup(key), *at = text != NULL ? strchr(text, '-') : NULL;

    for (; at != NULL; at = strchr(at, '-')) {
        *at = ' ';
    }
    print_text(stdout, text != NULL ? text : key);
    free(text);
}

/* "    key:" or, inside a list, "    [3]:". */
static void detail_label(DetailPrinter *printer, const char *key)
{
    DetailLevel *level = detail_level(printer);

    printf("%*s", 4 * (printer->depth + 1), "");
    if (level->is_list || key == NULL) {
        printf("[%d]:", level->next++);
        return;
    }
    print_key(key);
    putchar(':');
}

static void detail_enter(DetailPrinter *printer, int is_list)
{
    putchar('\n');
    printer->depth++;
    *detail_level(printer) = (DetailLevel){.is_list = is_list};
}

static void detail_print(void *opaque, const BdrvDetail *detail)
{
    DetailPrinter *printer = opaque;

    if (printer->title != NULL) {
        printf("%s:\n", printer->title);
        printer->title = NULL;
    }
    if (detail->kind == BDRV_DETAIL_END) {
        printer->depth -= printer->depth > 0;
        return;
    }
    detail_label(printer, detail->key);
    switch (detail->kind) {
    case BDRV_DETAIL_NUMBER:
        printf(" %" PRId64 "\n", detail->number);
        break;
    case BDRV_DETAIL_BOOL:
        printf(" %s\n", detail->number ? "true" : "false");
        break;
    case BDRV_DETAIL_STRING:
        putchar(' ');
        print_text(stdout, detail->string);
        putchar('\n');
        break;
    case BDRV_DETAIL_OBJECT_BEGIN:
        detail_enter(printer, 0);
        break;
    case BDRV_DETAIL_LIST_BEGIN:
        detail_enter(printer, 1);
        break;
    case BDRV_DETAIL_END:
        break;
    }
}

int print_details(BlockDriverState *bs, const char *title)
{
    DetailPrinter printer = {.title = title};

    return bdrv_get_details(bs, detail_print, &printer);
}
