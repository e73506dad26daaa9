/* SPDX-License-Identifier: MIT */
/*
 * lines.c - changes the extent lines of a descriptor's text, in the order of the
 * disk, and what follows from the disk's size.  As edit.c does with options, it
 * leaves every other byte alone.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Extent line number index, with its end (its LF included).  1, or 0: none. */
static int find_line(const char *text, size_t index, VmdkSlice *line, size_t *end)
{
    VmdkSlice rest = vmdk_slice_lines(text, strlen(text));

    while (vmdk_slice_line(&rest, line)) {
        if (vmdk_slice_is_extent(*line) && index-- == 0) {
            *end = (size_t)(rest.start - text);
            return 1;
        }
    }
    return 0;
}

int vmdk_lines_set_sectors(char **text, size_t index, int64_t sectors)
{
    char digits[24];
    VmdkSlice line, word;
    size_t end, start;

    if (!find_line(*text, index, &line, &end)) {
        return -EINVAL; /* the text was parsed: it is there */
    }
    vmdk_slice_word(&line); /* the access */
    word = vmdk_slice_word(&line);
    start = (size_t)(word.start - *text);
    snprintf(digits, sizeof digits, "%" PRId64, sectors);
    return vmdk_text_splice(text, start, start + word.length,
                            (VmdkSlice){digits, strlen(digits)});
}

int vmdk_lines_cut(char **text, size_t kept)
{
    VmdkSlice rest = vmdk_slice_lines(*text, strlen(*text)), line;
    const char *copied = *text; /* up to here */
    VmdkText made = {0};
    size_t seen = 0;

    while (vmdk_slice_line(&rest, &line)) {
        if (vmdk_slice_is_extent(line) && seen++ >= kept) {
            vmdk_text_append(&made, (VmdkSlice){copied, (size_t)(line.start - copied)});
            copied = rest.start;
        }
    }
    return vmdk_text_finish(text, &made, copied);
}

int vmdk_lines_add(char **text, size_t count, VmdkSlice lines)
{
    VmdkText made = {0};
    VmdkSlice last;
    size_t end;
    int ret;

    if (!find_line(*text, count - 1, &last, &end)) {
        return -EINVAL; /* as above */
    }
    if ((*text)[end - 1] != '\n') {
        vmdk_text_printf(&made, "%s", vmdk_line_ending(*text));
    }
    vmdk_text_append(&made, lines);
    ret = made.failed ? -ENOMEM
                      : vmdk_text_splice(text, end, end, (VmdkSlice){made.bytes, made.length});
    free(made.bytes);
    return ret;
}

static uint64_t number_of(const char *text, const char *key)
{
    uint64_t number = 0;
    VmdkSlice value;

    return vmdk_option_find(text, key, &value) && vmdk_slice_decimal(value, &number) &&
                   number <= UINT32_MAX
               ? number
               : 0;
}

int vmdk_lines_fit_geometry(char **text, int64_t sectors)
{
    const uint64_t cylinder = number_of(*text, "ddb.geometry.heads") *
                              number_of(*text, "ddb.geometry.sectors");
    char digits[24];

    if (cylinder == 0 || number_of(*text, "ddb.geometry.cylinders") == 0) {
        return 0;
    }
    snprintf(digits, sizeof digits, "%" PRIu64,
             (uint64_t)sectors < cylinder ? 1 : (uint64_t)sectors / cylinder);
    return vmdk_option_set(text, "ddb.geometry.cylinders", digits);
}
