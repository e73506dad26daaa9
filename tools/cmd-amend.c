/* SPDX-License-Identifier: MIT */
/*
 * cmd-amend.c - img amend: changes what is recorded about an image beside its
 * content.
 */
#include <string.h>

#include "tool.h"

typedef struct Amend {
    ImageHow how;
    ImageNew change; /* only its options are used */
    ProgressHow progress;
} Amend;

static int amend_take(void *opaque, int letter, const char *value)
{
    Amend *request = opaque;

    switch (letter) {
    case 'o':
        return image_new_add(&request->change, value);
    case 'p':
    case TOOL_PROGRESS_FD:
        return progress_take(&request->progress, letter, value);
    default:
        return image_take(&request->how, letter, value);
    }
}

static int amend(const Amend *request, const char *filename)
{
    BlockDriverState *bs = image_open(filename, &request->how);
    Progress progress;
    int result;

    if (bs == NULL) {
        return -1;
    }
    confine_to_image(&request->how, bs);
    progress_begin(&progress, &request->progress, "amend", bdrv_getlength(bs));
    bdrv_set_progress(bs, progress_tell, &progress);
    result = bdrv_amend(bs, request->change.options);
    bdrv_set_progress(bs, NULL, NULL);
    progress_end(&progress, result == 0);
    if (result < 0) {
        tool_library_error();
    }
    return image_close_written(bs, result);
}

/* -o help: of the format that is named, or that the image has. */
static int help(const Amend *request, int count, char **operands)
{
    const char *format = request->how.format;

    if (format == NULL && count == 0) {
        tool_error("-o help needs -f FMT, or an image");
        return -1;
    }
    if (format == NULL && bdrv_probe(operands[0], &format) < 0) {
        tool_library_error();
        return -1;
    }
    return image_print_amend_options(format);
}

/* The parent is none of its business, and may be gone. */
static int amend_run(void *opaque, int count, char **operands)
{
    Amend *request = opaque;
    const char *options = request->change.options;
    int result = -1;

    request->how.flags |= BDRV_O_RDWR | BDRV_O_NO_BACKING;
    request->progress.wanted = request->progress.wanted && !request->how.quiet;
    if (progress_check(&request->progress) < 0) {
        result = -1;
    } else if (image_wants_help(options)) {
        result = help(request, count, operands);
    } else if (count == 0 || options == NULL) {
        tool_error("wanted: -o K=V,... FILE");
    } else {
        result = confine_before(&request->how, 1, operands);
        result = result < 0 ? result : amend(request, operands[0]);
    }
    image_new_free(&request->change);
    image_how_free(&request->how);
    return result < 0 ? 1 : 0;
}

static const ToolOption amend_options[] = {
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {'o', "options", "K=V,...", "what to change; -o help lists it"},
    IMAGE_OPTION_CACHE('t'),
    PROGRESS_OPTIONS,
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_amend = {
    .name = "amend",
    .help = "Changes what is recorded about an image",
    .operands = "FILE",
    .options = amend_options,
    .least_operands = 0, /* none with -o help; see amend_run() */
    .most_operands = 1,
    .usage_status = 1,
    .request_size = sizeof(Amend),
    .take = amend_take,
    .run = amend_run,
};
