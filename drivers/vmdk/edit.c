/* SPDX-License-Identifier: MIT */
/*
 * edit.c - changes single options of a descriptor's text and leaves every
 * other byte alone: unknown lines, comments, order, blanks, line ends.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static VmdkSlice whole(const char *text)
{
    return (VmdkSlice){text, strlen(text)};
}

static VmdkSlice lines_of(const char *text)
{
    return vmdk_slice_lines(text, strlen(text));
}

int vmdk_option_find(const char *text, const char *key, VmdkSlice *value)
{
    const int last_counts = vmdk_slice_begins(whole(key), "ddb.");
    VmdkSlice rest = lines_of(text), line, found_key, found;
    int count = 0;

    while (vmdk_slice_line(&rest, &line)) {
        if (vmdk_slice_option(line, &found_key, &found) && vmdk_slice_is(found_key, key) &&
            (last_counts || count == 0)) {
            *value = found;
            count++;
        }
    }
    return count > 0;
}

int vmdk_text_finish(char **text, VmdkText *made, const char *rest)
{
    vmdk_text_append(made, whole(rest));
    if (made->failed) {
        free(made->bytes);
        return -ENOMEM;
    }
    free(*text);
    *text = made->bytes;
    return 0;
}

int vmdk_text_splice(char **text, size_t start, size_t end, VmdkSlice middle)
{
    VmdkText made = {0};

    vmdk_text_append(&made, (VmdkSlice){*text, start});
    vmdk_text_append(&made, middle);
    return vmdk_text_finish(text, &made, *text + end);
}

/* Where a new header option goes: behind the last one there is. */
static size_t header_end(const char *text)
{
    VmdkSlice rest = lines_of(text), line, key, value;
    size_t end = 0;

    while (vmdk_slice_line(&rest, &line)) {
        if (vmdk_slice_option(line, &key, &value) && !vmdk_slice_begins(key, "ddb.") &&
            !memchr(key.start, ' ', key.length)) {
            end = (size_t)(rest.start - text);
        }
    }
    return end;
}

const char *vmdk_line_ending(const char *text)
{
    return strstr(text, "\r\n") ? "\r\n" : "\n";
}

/* rest: all of the line behind the key. */
static int add_line(char **text, size_t at, const char *key, const char *rest)
{
    const char *const ending = vmdk_line_ending(*text);
    const int open_line = at > 0 && (*text)[at - 1] != '\n';
    VmdkText line = {0};
    int ret;

    vmdk_text_printf(&line, "%s%s%s%s", open_line ? ending : "", key, rest, ending);
    ret = line.failed ? -ENOMEM
                      : vmdk_text_splice(text, at, at, (VmdkSlice){line.bytes, line.length});
    free(line.bytes);
    return ret;
}

/* All lines of the key: those of one that is there twice must go on saying the same.  In one
 * go: there may be a million. */
static int set_lines(char **text, const char *key, const char *value)
{
    VmdkSlice rest = lines_of(*text), line, found_key, found;
    const char *copied = *text; /* up to here */
    VmdkText made = {0};

    while (vmdk_slice_line(&rest, &line)) {
        if (vmdk_slice_option(line, &found_key, &found) && vmdk_slice_is(found_key, key)) {
            vmdk_text_append(&made, (VmdkSlice){copied, (size_t)(found.start - copied)});
            vmdk_text_append(&made, whole(value));
            copied = found.start + found.length;
        }
    }
    return vmdk_text_finish(text, &made, copied);
}

/* rest: all of the line behind the key, if it is new. */
static int set_option(char **text, const char *key, const char *value, const char *rest)
{
    VmdkSlice found;

    if (!vmdk_option_find(*text, key, &found)) {
        return add_line(text,
                        vmdk_slice_begins(whole(key), "ddb.") ? strlen(*text)
                                                              : header_end(*text),
                        key, rest);
    }
    return set_lines(text, key, value);
}

int vmdk_option_set(char **text, const char *key, const char *value)
{
    char rest[VMDK_LINE_MAX];

    snprintf(rest, sizeof rest, "=%s", value);
    return set_option(text, key, value, rest);
}

int vmdk_option_set_quoted(char **text, const char *key, const char *value)
{
    const int is_ddb = vmdk_slice_begins(whole(key), "ddb.");
    char rest[VMDK_LINE_MAX];

    snprintf(rest, sizeof rest, "%s\"%s\"", is_ddb ? " = " : "=", value);
    return set_option(text, key, value, rest);
}

int vmdk_option_remove(char **text, const char *key)
{
    VmdkSlice rest = lines_of(*text), line, found_key, value;
    const char *copied = *text; /* up to here */
    VmdkText made = {0};

    while (vmdk_slice_line(&rest, &line)) {
        if (vmdk_slice_option(line, &found_key, &value) && vmdk_slice_is(found_key, key)) {
            vmdk_text_append(&made, (VmdkSlice){copied, (size_t)(line.start - copied)});
            copied = rest.start;
        }
    }
    return vmdk_text_finish(text, &made, copied);
}
