/* SPDX-License-Identifier: MIT */
/*
 * cmd-commit.c - img commit: writes what an image holds into its parent.
 */
#include <string.h>

#include "tool.h"

typedef struct Commit {
    ImageHow how;
    const char *base; /* -b: into which; NULL: the parent */
    ProgressHow progress;
} Commit;

static int commit_take(void *opaque, int letter, const char *value)
{
    Commit *request = opaque;

    switch (letter) {
    case 'b':
        request->base = value;
        return 0;
    case 'p':
    case TOOL_PROGRESS_FD:
        return progress_take(&request->progress, letter, value);
    default:
        return image_take(&request->how, letter, value);
    }
}

/* -b may only say what is done anyway. */
static int check_base(const Commit *request, BlockDriverState *bs,
                      const char *filename)
{
    BdrvInfo info = {.struct_size = sizeof(info)};
    BlockDriverState *parent = bdrv_backing(bs);

    if (request->base == NULL || parent == NULL) {
        return 0; /* the library tells of a missing parent */
    }
    if (bdrv_get_info(bs, &info) < 0) {
        tool_library_error();
        return -1;
    }
    if (strcmp(request->base, info.backing_filename) != 0 &&
        !image_same_file(request->base, bdrv_filename(bdrv_file(parent)))) {
        tool_error("%s: '%s' is not its parent, which is '%s'; commit one "
                   "image of the chain after the other", filename,
                   request->base, info.backing_filename);
        return -1;
    }
    return 0;
}

static int commit(const Commit *request, BlockDriverState *bs,
                  const char *filename)
{
    Progress progress;
    int result = check_base(request, bs, filename);

    if (result < 0) {
        return result;
    }
    progress_begin(&progress, &request->progress, "commit", bdrv_getlength(bs));
    bdrv_set_progress(bs, progress_tell, &progress);
    result = bdrv_commit(bs);
    bdrv_set_progress(bs, NULL, NULL);
    progress_end(&progress, result == 0);
    if (result < 0) { /* the image itself we have: it is the parent that is in use */
        image_error(result, bdrv_filename(bdrv_backing(bs) != NULL ? bdrv_backing(bs) : bs));
    }
    return result;
}

/* The parent will be opened for writing, with all its files. */
static void give_up_rights(const Commit *request, BlockDriverState *bs)
{
    Confinement c = {0};

    confine_image(&c, &request->how, bs);
    if (bdrv_backing(bs) != NULL) {
        confine_named(&c, &request->how, bdrv_filename(bdrv_backing(bs)), CONFINE_WRITE);
    }
    confine(&c, &request->how);
}

static int commit_run(void *opaque, int count, char **operands)
{
    Commit *request = opaque;
    BlockDriverState *bs = NULL;
    int result = -1;

    request->how.flags |= BDRV_O_RDWR;
    request->progress.wanted = request->progress.wanted && !request->how.quiet;
    if (progress_check(&request->progress) < 0) {
        return 1;
    }
    if (confine_before(&request->how, count, operands) == 0) {
        bs = image_open(operands[0], &request->how);
    }
    if (bs != NULL) {
        give_up_rights(request, bs);
        result = commit(request, bs, operands[0]);
        result = image_close_written(bs, result);
    }
    image_how_free(&request->how);
    if (result == 0 && !request->how.quiet) {
        printf("Image committed.\n");
    }
    return result < 0 ? 1 : 0;
}

static const ToolOption commit_options[] = {
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {'b', "base", "FILE", "its parent, to be sure which it is"},
    IMAGE_OPTION_CACHE('t'),
    PROGRESS_OPTIONS,
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_commit = {
    .name = "commit",
    .help = "Writes what an image holds into its parent, and empties it",
    .operands = "FILE",
    .details = "Other children of the parent become invalid.\n",
    .options = commit_options,
    .least_operands = 1,
    .most_operands = 1,
    .usage_status = 1,
    .request_size = sizeof(Commit),
    .take = commit_take,
    .run = commit_run,
};
