/* SPDX-License-Identifier: MIT */
/*
 * cmd-create.c - img create: makes a new, empty image, or the child of one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tool.h"

typedef struct Create {
    ImageHow how; /* for the backing image: --allow-path; and -q */
    ImageNew image;
    int unchecked; /* -u: the backing image is not opened */
} Create;

static int create_take(void *opaque, int letter, const char *value)
{
    Create *request = opaque;

    switch (letter) {
    case 'f':
        request->image.format = value;
        return 0;
    case 'o':
        return image_new_add(&request->image, value);
    case 'b':
    case 'B':
        request->image.backing = value;
        return 0;
    case 'F':
        request->image.backing_format = value;
        return 0;
    case 'u':
        request->unchecked = 1;
        return 0;
    default:
        return image_take(&request->how, letter, value);
    }
}

/* Options that say which storage the disk is, which then has its size. */
static int is_over_storage(const ImageNew *image)
{
    static const char *const words[] = {"device", "extents"};
    int found = 0;

    for (int i = 0; i < 2 && !found; i++) {
        char *value = NULL;

        if (image_new_value(image, words[i], &value) < 0) {
            return -1;
        }
        found = value != NULL;
        free(value);
    }
    return found;
}

/* The size that was asked for; 0 stands for that of the backing image, or of the
 * storage that the options name. */
static int find_size(const Create *request, const char *filename,
                     int64_t *size)
{
    int result;

    *size = 0;
    if (request->image.size != NULL) {
        return tool_parse_size("size", request->image.size, size);
    }
    if (request->image.backing != NULL && !request->unchecked) {
        return 0;
    }
    result = is_over_storage(&request->image);
    if (result == 0) {
        tool_error("%s: a new image needs a size", filename);
    }
    return result > 0 ? 0 : -1;
}

/* One line in the words that users of qemu-img know. */
static int print_created(const Create *request, const char *filename)
{
    ImageHow how = {
        .format = request->image.format,
        .flags = BDRV_O_NO_BACKING,
        .quiet = 1,
    };
    BlockDriverState *bs = image_open(filename, &how);

    if (bs == NULL) {
        return -1;
    }
    printf("Formatting '");
    print_text(stdout, filename);
    printf("', fmt=%s size=%" PRId64, request->image.format,
           bdrv_getlength(bs));
    if (request->image.backing != NULL) {
        printf(" backing_file=");
        print_text(stdout, request->image.backing);
    }
    if (request->image.backing_format != NULL) {
        printf(" backing_fmt=%s", request->image.backing_format);
    }
    for (const char *c = request->image.options; c && *c; c++) {
        printf("%s%c", c == request->image.options ? " " : "",
               *c == ',' ? ' ' : *c);
    }
    printf("\n");
    image_close(bs);
    return 0;
}

/* A parent that lies elsewhere is recorded as asked, but is not opened unless the
 * user allows it each time.  Whether it is one of those only opening can tell. */
static void warn_of_parent(const Create *request, const char *filename)
{
    BlockDriverState *bs;

    if (request->image.backing == NULL) {
        return;
    }
    if (bdrv_open(&bs, filename, request->image.format, NULL) == -EPERM) {
        tool_error("warning: %s", bdrv_errmsg());
    }
    bdrv_close(bs);
}

/* Before the parent is opened, since that is all there is to be afraid of. */
static void give_up_rights(const Create *request, const char *filename)
{
    Confinement c = {0};

    confine_named(&c, &request->how, filename, CONFINE_WRITE);
    if (request->image.backing != NULL) {
        confine_beside(&c, &request->how, filename, request->image.backing);
    }
    confine(&c, &request->how);
}

/* Its further files, if it has some, replace nothing but those of the image that is
 * there now.  The library cleans up. */
static int make_image(const char *filename, const char *format, BdrvCreateOptions options)
{
    Output output = {0};
    int result = output_begin(&output, filename, OUTPUT_IN_PLACE);

    options.may_open = output_may_make;
    options.may_open_opaque = &output;
    if (result == 0) {
        result = bdrv_create(filename, format, &options);
        if (result < 0) {
            output_library_error(&output);
        }
    }
    output_end(&output);
    return result;
}

static int create(const Create *request, const char *filename)
{
    const ImageNew *image = &request->image;
    BdrvCreateOptions options = {
        .struct_size = sizeof(options),
        .options = image->options,
        .backing = image->backing,
        .backing_format = image->backing_format,
        .flags = request->unchecked ? BDRV_O_NO_BACKING : 0,
        .allow_paths = request->how.allow_paths,
    };

    if (find_size(request, filename, &options.size) < 0) {
        return -1;
    }
    if (image_check_free(filename) < 0) {
        return -1;
    }
    give_up_rights(request, filename);
    if (make_image(filename, image->format, options) < 0) {
        return -1;
    }
    if (request->how.quiet) {
        return 0;
    }
    warn_of_parent(request, filename);
    return print_created(request, filename);
}

/* The size is an operand or an option. */
static int take_size(Create *request, int count, char **operands)
{
    if (count < 2) {
        return 0;
    }
    if (request->image.size != NULL) {
        tool_error("%s: the size is given twice, as '%s' and as -o size=%s", operands[0],
                   operands[1], request->image.size);
        return -1;
    }
    request->image.size = operands[1];
    return 0;
}

static int create_run(void *opaque, int count, char **operands)
{
    Create *request = opaque;
    BdrvDriverInfo driver;
    int result;

    if (request->image.format == NULL) {
        request->image.format = "raw";
    }
    result = image_new_settle(&request->image, &driver);
    if (result == 0 && count == 0) {
        tool_error("wanted: FILE [SIZE]");
        result = -1;
    }
    if (result == 0) {
        result = image_new_seed(&request->image, &driver);
    }
    if (result == 0) {
        result = take_size(request, count, operands);
    }
    if (result == 0) {
        result = create(request, operands[0]);
    }
    image_new_free(&request->image);
    image_how_free(&request->how);
    return result < 0 ? 1 : 0;
}

static const ToolOption create_options[] = {
    {'f', "format", "FMT", "format of the image (default: raw)"},
    {'o', "options", "K=V,...", "how to create it; -o help lists them"},
    {'b', "backing", "FILE", "make it a child of FILE, which is relative to it"},
    {'F', "backing-format", "FMT", "format of that FILE (default: look at it)"},
    {'u', "unsafe", NULL, "record that FILE without looking at it"},
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_create = {
    .name = "create",
    .help = "Makes a new image of SIZE bytes, or as its backing image or device has",
    .operands = "FILE [SIZE]",
    .details = "SIZE may end in b, k, M, G, T, P or E (powers of 1024).\n",
    .options = create_options,
    .least_operands = 0, /* none with -o help; see create_run() */
    .most_operands = 2,
    .usage_status = 1,
    .request_size = sizeof(Create),
    .take = create_take,
    .run = create_run,
};
