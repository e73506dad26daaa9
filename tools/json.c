/* SPDX-License-Identifier: MIT */
/*
 * json.c - writes JSON, one value after the other, straight to a stream.
 *
 * Whatever bytes a string holds, the output is valid JSON in valid UTF-8:
 * file names and texts from images are neither.
 */
#include <inttypes.h>
#include <string.h>

#include "tool.h"

void json_begin(Json *json, FILE *out)
{
    memset(json, 0, sizeof(*json));
    json->out = out;
}

/* A byte that is part of no UTF-8 character becomes U+FFFD. */
static void json_text(FILE *out, const char *text)
{
    putc('"', out);
    while (*text != '\0') {
        size_t length = print_utf8_length(text);
        unsigned char byte = (unsigned char)*text;

        if (length == 0) {
            fputs("\xef\xbf\xbd", out);
            length = 1;
        } else if (byte == '"' || byte == '\\') {
            fprintf(out, "\\%c", byte);
        } else if (print_is_control(text, length)) {
            fprintf(out, "\\u%04lx", print_character(text, length));
        } else {
            fwrite(text, 1, length, out);
        }
        text += length;
    }
    putc('"', out);
}

static void json_newline(Json *json)
{
    fprintf(json->out, "\n%*s", 4 * json->indented, "");
}

/* The innermost open level.  Those beyond the deepest share its place: only a
 * driver that tells nonsense opens so many, and then the output is nonsense. */
static JsonLevel *json_level(Json *json)
{
    int level = json->depth <= JSON_DEPTH_MAX ? json->depth : JSON_DEPTH_MAX;

    return &json->levels[level - 1];
}

/* What stands between the item before and this one, and the key. */
static void json_item(Json *json, const char *key)
{
    if (json->depth > 0) {
        JsonLevel *level = json_level(json);
        int first = level->items++ == 0;

        if (!first) {
            putc(',', json->out);
        }
        switch (level->layout) {
        case JSON_INDENTED:
            json_newline(json);
            break;
        case JSON_ROWS:
            fputs(first ? "" : "\n", json->out);
            break;
        case JSON_ONE_LINE:
            putc(' ', json->out);
            break;
        }
    }
    if (key != NULL) {
        json_text(json->out, key);
        fputs(": ", json->out);
    }
}

static void json_open(Json *json, const char *key, const char *marks,
                      JsonLayout layout)
{
    json_item(json, key);
    putc(marks[0], json->out);
    json->depth++;
    json->indented += layout == JSON_INDENTED;
    *json_level(json) = (JsonLevel){.end = marks[1], .layout = layout};
}

void json_object(Json *json, const char *key, JsonLayout layout)
{
    json_open(json, key, "{}", layout);
}

void json_list(Json *json, const char *key, JsonLayout layout)
{
    json_open(json, key, "[]", layout);
}

void json_end(Json *json)
{
    JsonLevel *level;

    if (json->depth == 0) {
        return;
    }
    level = json_level(json);
    json->indented -= level->layout == JSON_INDENTED;
    if (level->layout == JSON_INDENTED && level->items > 0) {
        json_newline(json);
    }
    putc(level->end, json->out);
    json->depth--;
    if (json->depth == 0) {
        putc('\n', json->out);
    }
}

void json_string(Json *json, const char *key, const char *value)
{
    json_item(json, key);
    json_text(json->out, value);
}

void json_number(Json *json, const char *key, int64_t value)
{
    json_item(json, key);
    fprintf(json->out, "%" PRId64, value);
}

void json_bool(Json *json, const char *key, int value)
{
    json_item(json, key);
    fputs(value ? "true" : "false", json->out);
}
