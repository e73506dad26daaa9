/* SPDX-License-Identifier: MIT */
/*
 * cmd-resize.c - img resize: makes a disk longer or shorter.
 */
#include <inttypes.h>

#include "tool.h"

enum { RESIZE_SHRINK = TOOL_LONG_ONLY };

typedef struct Resize {
    ImageHow how;
    int shrink; /* --shrink: dropping what lies beyond the new end is meant */
} Resize;

static int resize_take(void *opaque, int letter, const char *value)
{
    Resize *request = opaque;

    if (letter == RESIZE_SHRINK) {
        request->shrink = 1;
        return 0;
    }
    return image_take(&request->how, letter, value);
}

/* "20G", or relative to what the disk has: "+2G", "-512M". */
static int find_length(const char *text, int64_t now, int64_t *length)
{
    const char sign = text[0];
    const int relative = sign == '+' || sign == '-';
    int64_t bytes;

    if (tool_parse_size("size", text + relative, &bytes) < 0) {
        return -1;
    }
    if (sign == '+' ? bytes > INT64_MAX - now : sign == '-' && bytes > now) {
        tool_error("size: '%s' is more than can be %s the %" PRId64
                   " bytes of the disk", text,
                   sign == '+' ? "added to" : "taken from", now);
        return -1;
    }
    *length = sign == '+' ? now + bytes : sign == '-' ? now - bytes : bytes;
    return 0;
}

static int resize(const Resize *request, BlockDriverState *bs,
                  const char *filename, const char *size)
{
    const int64_t now = bdrv_getlength(bs);
    int64_t length;

    if (find_length(size, now, &length) < 0) {
        return -1;
    }
    if (length < now && !request->shrink) {
        tool_error("%s: use the --shrink option to make it shorter: all data "
                   "beyond byte %" PRId64 " are lost then", filename, length);
        return -1;
    }
    if (bdrv_truncate(bs, length) < 0) {
        tool_library_error();
        return -1;
    }
    return 0;
}

static int resize_run(void *opaque, int count, char **operands)
{
    Resize *request = opaque;
    BlockDriverState *bs = NULL;
    int result = -1;

    (void)count;
    request->how.flags |= BDRV_O_RDWR;
    if (confine_before(&request->how, 1, operands) == 0) {
        bs = image_open(operands[0], &request->how);
    }
    if (bs != NULL) {
        confine_to_image(&request->how, bs);
        result = resize(request, bs, operands[0], operands[1]);
        result = image_close_written(bs, result);
    }
    image_how_free(&request->how);
    if (result == 0 && !request->how.quiet) {
        printf("Image resized.\n");
    }
    return result < 0 ? 1 : 0;
}

static const ToolOption resize_options[] = {
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {RESIZE_SHRINK, "shrink", NULL, "allow to drop what lies beyond the end"},
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_resize = {
    .name = "resize",
    .help = "Makes a disk longer or shorter",
    .operands = "FILE [+-]SIZE",
    .details = "SIZE may end in b, k, M, G, T, P or E (powers of 1024).\n",
    .options = resize_options,
    .least_operands = 2,
    .most_operands = 2,
    .signed_operand = 1,
    .usage_status = 1,
    .request_size = sizeof(Resize),
    .take = resize_take,
    .run = resize_run,
};
