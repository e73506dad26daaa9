/* SPDX-License-Identifier: MIT */
/*
 * cmd-rebase.c - img rebase: gives an image another parent, or none.
 */
#include "tool.h"

typedef struct Rebase {
    ImageHow how;
    const char *parent; /* -b; "": none; NULL: not given */
    const char *parent_format;
    int unsafe;
    ProgressHow progress;
} Rebase;

static int rebase_take(void *opaque, int letter, const char *value)
{
    Rebase *request = opaque;

    switch (letter) {
    case 'b':
        request->parent = value;
        return 0;
    case 'F':
        request->parent_format = value;
        return 0;
    case 'u':
        request->unsafe = 1;
        return 0;
    case 'p':
    case TOOL_PROGRESS_FD:
        return progress_take(&request->progress, letter, value);
    default:
        return image_take(&request->how, letter, value);
    }
}

static int rebase(const Rebase *request, BlockDriverState *bs)
{
    const char *parent = request->parent[0] != '\0' ? request->parent : NULL;
    Progress progress;
    int result;

    progress_begin(&progress, &request->progress, "rebase", bdrv_getlength(bs));
    bdrv_set_progress(bs, progress_tell, &progress);
    result = bdrv_rebase(bs, parent, parent ? request->parent_format : NULL,
                         request->unsafe ? BDRV_REBASE_UNSAFE : 0);
    bdrv_set_progress(bs, NULL, NULL);
    progress_end(&progress, result == 0);
    if (result < 0) {
        tool_library_error();
    }
    return result;
}

static void give_up_rights(const Rebase *request, BlockDriverState *bs)
{
    Confinement c = {0};

    confine_image(&c, &request->how, bs);
    if (request->parent[0] != '\0') {
        confine_beside(&c, &request->how, bdrv_filename(bs), request->parent);
    }
    confine(&c, &request->how);
}

static int give_up_rights_before(const Rebase *request, char *filename)
{
    Confinement c = {0};
    int result = confine_operands(&c, &request->how, 1, &filename);

    if (request->parent[0] != '\0') {
        confine_beside(&c, &request->how, filename, request->parent);
    }
    confine(&c, &request->how);
    return result;
}

/* With -u the old parent is not needed, and may be gone. */
static int rebase_run(void *opaque, int count, char **operands)
{
    Rebase *request = opaque;
    BlockDriverState *bs = NULL;
    int result = -1;

    (void)count;
    request->how.flags |= BDRV_O_RDWR;
    request->how.flags |= request->unsafe ? BDRV_O_NO_BACKING : 0;
    request->progress.wanted = request->progress.wanted && !request->how.quiet;
    if (request->parent == NULL) {
        tool_error("the new parent is missing: -b FILE, or -b \"\" for none");
    } else if (progress_check(&request->progress) == 0 &&
               image_check_parent(request->parent, request->parent_format) == 0 &&
               give_up_rights_before(request, operands[0]) == 0) {
        bs = image_open(operands[0], &request->how);
    }
    if (bs != NULL) {
        give_up_rights(request, bs);
        result = rebase(request, bs);
        result = image_close_written(bs, result);
    }
    image_how_free(&request->how);
    return result < 0 ? 1 : 0;
}

static const ToolOption rebase_options[] = {
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {'b', "backing", "FILE", "the new parent, relative to it; \"\": none"},
    {'F', "backing-format", "FMT", "format of that FILE (default: look at it)"},
    {'u', "unsafe", NULL, "only change what is recorded: it is the same disk"},
    IMAGE_OPTION_CACHE('t'),
    PROGRESS_OPTIONS,
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_rebase = {
    .name = "rebase",
    .help = "Gives an image another parent, or none",
    .operands = "FILE",
    .details = "The disk stays the same: what differs is copied in first, "
               "except with -u.\n",
    .options = rebase_options,
    .least_operands = 1,
    .most_operands = 1,
    .usage_status = 1,
    .request_size = sizeof(Rebase),
    .take = rebase_take,
    .run = rebase_run,
};
