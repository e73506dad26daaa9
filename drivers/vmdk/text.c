/* SPDX-License-Identifier: MIT */
/*
 * text.c - slices of text and text that grows: what reading and writing a
 * descriptor is made of.  Knows how a line is built, not what it means.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ slices */

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Not tolower(): the user's locale must not matter. */
static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

VmdkSlice vmdk_slice_trim(VmdkSlice slice)
{
    while (slice.length > 0 && is_blank(slice.start[0])) {
        slice.start++;
        slice.length--;
    }
    while (slice.length > 0 && is_blank(slice.start[slice.length - 1])) {
        slice.length--;
    }
    return slice;
}

int vmdk_slice_begins(VmdkSlice slice, const char *word)
{
    size_t i = 0;

    /* cppcheck-suppress arrayIndexThenCheck ; word ends by itself */
    while (word[i] != '\0' && i < slice.length && lower(slice.start[i]) == lower(word[i])) {
        i++;
    }
    return word[i] == '\0';
}

int vmdk_slice_is(VmdkSlice slice, const char *word)
{
    return slice.length == strlen(word) && vmdk_slice_begins(slice, word);
}

VmdkSlice vmdk_slice_word(VmdkSlice *rest)
{
    VmdkSlice word;

    *rest = vmdk_slice_trim(*rest);
    word = (VmdkSlice){rest->start, 0};
    while (word.length < rest->length && !is_blank(word.start[word.length])) {
        word.length++;
    }
    rest->start += word.length;
    rest->length -= word.length;
    return word;
}

VmdkSlice vmdk_slice_lines(const char *text, size_t size)
{
    const size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    return (VmdkSlice){text + mark, size - mark};
}

int vmdk_slice_line(VmdkSlice *rest, VmdkSlice *line)
{
    const char *end;

    if (rest->length == 0 || rest->start[0] == '\0') {
        return 0;
    }
    end = memchr(rest->start, '\n', rest->length);
    line->start = rest->start;
    line->length = end ? (size_t)(end - rest->start) : rest->length;
    rest->start += line->length + (end != NULL);
    rest->length -= line->length + (end != NULL);
    end = memchr(line->start, '\0', line->length);
    if (end) {
        line->length = (size_t)(end - line->start);
        rest->length = 0;
    }
    return 1;
}

static VmdkSlice unquote(VmdkSlice value)
{
    const char *end;

    if (value.length > 0 && value.start[0] == '"') {
        end = memchr(value.start + 1, '"', value.length - 1);
        if (end) {
            return (VmdkSlice){value.start + 1, (size_t)(end - value.start) - 1};
        }
    }
    return value;
}

int vmdk_slice_option(VmdkSlice line, VmdkSlice *key, VmdkSlice *value)
{
    const char *equals;

    line = vmdk_slice_trim(line);
    equals = line.length > 0 && line.start[0] != '#' ? memchr(line.start, '=', line.length)
                                                     : NULL;
    if (!equals) {
        return 0;
    }
    *key = vmdk_slice_trim((VmdkSlice){line.start, (size_t)(equals - line.start)});
    value->start = equals + 1;
    value->length = line.length - (size_t)(equals + 1 - line.start);
    *value = unquote(vmdk_slice_trim(*value));
    return memchr(key->start, '"', key->length) == NULL;
}

char *vmdk_slice_copy(VmdkSlice slice)
{
    char *copy = malloc(slice.length + 1);

    if (copy) {
        memcpy(copy, slice.start, slice.length);
        copy[slice.length] = '\0';
    }
    return copy;
}

int vmdk_slice_is_digits(VmdkSlice slice)
{
    for (size_t i = 0; i < slice.length; i++) {
        if (!is_digit(slice.start[i])) {
            return 0;
        }
    }
    return slice.length > 0;
}

int vmdk_slice_decimal(VmdkSlice slice, uint64_t *number)
{
    uint64_t value = 0;

    for (size_t i = 0; i < slice.length; i++) {
        unsigned digit = (unsigned)(slice.start[i] - '0');

        if (!is_digit(slice.start[i]) || value > (UINT64_MAX - digit) / 10) {
            return 0;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return slice.length > 0;
}

static int hex_digit(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int vmdk_slice_cid(VmdkSlice slice, uint32_t *cid)
{
    enum {
        DIGITS_MAX = 8
    };
    uint32_t value = 0;

    for (size_t i = 0; i < slice.length; i++) {
        int digit = hex_digit(slice.start[i]);

        if (digit < 0 || i >= DIGITS_MAX) {
            return 0;
        }
        value = value << 4 | (uint32_t)digit;
    }
    *cid = value;
    return slice.length > 0;
}

/* -------------------------------------------------------------------- text */

void vmdk_text_append(VmdkText *text, VmdkSlice slice)
{
    char *bytes = text->failed ? NULL : realloc(text->bytes, text->length + slice.length + 1);

    if (!bytes) {
        text->failed = 1;
        return;
    }
    memcpy(bytes + text->length, slice.start, slice.length);
    text->bytes = bytes;
    text->length += slice.length;
    bytes[text->length] = '\0';
}

void vmdk_text_printf(VmdkText *text, const char *format, ...)
{
    char line[VMDK_LINE_MAX + 1];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof line) {
        text->failed = 1;
        return;
    }
    vmdk_text_append(text, (VmdkSlice){line, (size_t)length});
}
