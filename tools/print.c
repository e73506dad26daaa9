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

int print_is_control(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];

    return (length == 1 && (first < 0x20 || first == 0x7f)) ||
           (length == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0);
}

void print_text(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t length = print_utf8_length(text);

        if (length == 0 || print_is_control(text, length)) {
            fprintf(out, "\\x%02x", (unsigned char)*text);
            length = 1;
            /* The second byte of a control character follows as itself: alone
             * it is no UTF-8, and is printed the same way. */
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
    char *text = strdup(key);

    for (char *at = text; at != NULL && (at = strchr(at, '-')) != NULL;) {
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
