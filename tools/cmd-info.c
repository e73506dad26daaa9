/* SPDX-License-Identifier: MIT */
/*
 * cmd-info.c - img info: what an image is.
 *
 * Without --backing-chain no other image is opened; a broken chain can still be
 * looked at.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

enum { INFO_OUTPUT = TOOL_LONG_ONLY, INFO_BACKING_CHAIN, INFO_FORMATS };

typedef struct InfoRequest {
    ImageHow how;
    int json;
    int chain;
    int formats; /* not an image, but what could be done with one */
} InfoRequest;

static int info_take(void *opaque, int letter, const char *value)
{
    InfoRequest *request = opaque;

    switch (letter) {
    case INFO_OUTPUT:
        request->json = tool_parse_output(value);
        return request->json < 0 ? -1 : 0;
    case INFO_BACKING_CHAIN:
        request->chain = 1;
        return 0;
    case INFO_FORMATS:
        request->formats = 1;
        return 0;
    default:
        return image_take(&request->how, letter, value);
    }
}

/* Where the backing image is: where it was found, if it was opened; else where
 * its recorded name leads from the image's directory.  The caller frees. */
static char *full_backing_filename(BlockDriverState *bs, const BdrvInfo *info)
{
    const char *filename = bdrv_filename(bs);
    const char *recorded = info->backing_filename;
    const char *slash = strrchr(filename, '/');
    size_t size = strlen(filename) + strlen(recorded) + 1;
    char *full;

    if (bdrv_backing(bs) != NULL) {
        return strdup(bdrv_filename(bdrv_backing(bs)));
    }
    if (recorded[0] == '/' || slash == NULL) {
        return strdup(recorded);
    }
    full = malloc(size);
    if (full != NULL) {
        snprintf(full, size, "%.*s/%s", (int)(slash - filename), filename,
                 recorded);
    }
    return full;
}

/* -------------------------------------------------------------------- human */

static void print_named(const char *title, const char *text)
{
    printf("%s: ", title);
    print_text(stdout, text);
    putchar('\n');
}

static void print_backing(BlockDriverState *bs, const BdrvInfo *info)
{
    char *full;

    if (info->backing_filename[0] == '\0') {
        return;
    }
    full = full_backing_filename(bs, info);
    printf("backing file: ");
    print_text(stdout, info->backing_filename);
    if (full != NULL && strcmp(full, info->backing_filename) != 0) {
        printf(" (actual path: ");
        print_text(stdout, full);
        putchar(')');
    }
    putchar('\n');
    if (info->backing_format[0] != '\0') {
        print_named("backing file format", info->backing_format);
    }
    free(full);
}

static int print_human(BlockDriverState *bs, const BdrvInfo *info)
{
    char size[PRINT_SIZE_MAX];

    print_named("image", bdrv_filename(bs));
    print_named("file format", bdrv_format(bs));
    printf("virtual size: %s (%" PRId64 " bytes)\n",
           print_size(size, info->length), info->length);
    printf("disk size: %s\n", info->host_bytes < 0
                                  ? "unavailable"
                                  : print_size(size, info->host_bytes));
    if (info->encrypted) {
        printf("encrypted: yes\n");
    }
    if (info->cluster_size > 0) {
        printf("cluster_size: %" PRId64 "\n", info->cluster_size);
    }
    if (info->dirty) {
        printf("cleanly shut down: no\n");
    }
    print_backing(bs, info);
    return print_details(bs, "Format specific information");
}

/* --------------------------------------------------------------------- JSON */

typedef struct DetailWriter {
    Json *json;
    const char *format; /* NULL once "format-specific" is begun */
} DetailWriter;

static void write_detail(void *opaque, const BdrvDetail *detail)
{
    DetailWriter *writer = opaque;

    if (writer->format != NULL) {
        json_object(writer->json, "format-specific", JSON_INDENTED);
        json_string(writer->json, "type", writer->format);
        json_object(writer->json, "data", JSON_INDENTED);
        writer->format = NULL;
    }
    switch (detail->kind) {
    case BDRV_DETAIL_NUMBER:
        json_number(writer->json, detail->key, detail->number);
        break;
    case BDRV_DETAIL_STRING:
        json_string(writer->json, detail->key, detail->string);
        break;
    case BDRV_DETAIL_BOOL:
        json_bool(writer->json, detail->key, detail->number != 0);
        break;
    case BDRV_DETAIL_OBJECT_BEGIN:
        json_object(writer->json, detail->key, JSON_INDENTED);
        break;
    case BDRV_DETAIL_LIST_BEGIN:
        json_list(writer->json, detail->key, JSON_INDENTED);
        break;
    case BDRV_DETAIL_END:
        json_end(writer->json);
        break;
    }
}

static int write_details(Json *json, BlockDriverState *bs)
{
    DetailWriter writer = {.json = json, .format = bdrv_format(bs)};
    int result = bdrv_get_details(bs, write_detail, &writer);

    if (writer.format == NULL) {
        json_end(json);
        json_end(json);
    }
    return result;
}

static void write_backing(Json *json, BlockDriverState *bs,
                          const BdrvInfo *info)
{
    char *full;

    if (info->backing_filename[0] == '\0') {
        return;
    }
    full = full_backing_filename(bs, info);
    json_string(json, "backing-filename", info->backing_filename);
    if (full != NULL) {
        json_string(json, "full-backing-filename", full);
    }
    if (info->backing_format[0] != '\0') {
        json_string(json, "backing-filename-format", info->backing_format);
    }
    free(full);
}

static int write_json(Json *json, BlockDriverState *bs, const BdrvInfo *info)
{
    int result;

    json_object(json, NULL, JSON_INDENTED);
    json_number(json, "virtual-size", info->length);
    json_string(json, "filename", bdrv_filename(bs));
    if (info->cluster_size > 0) {
        json_number(json, "cluster-size", info->cluster_size);
    }
    json_string(json, "format", bdrv_format(bs));
    if (info->host_bytes >= 0) {
        json_number(json, "actual-size", info->host_bytes);
    }
    if (info->encrypted) {
        json_bool(json, "encrypted", 1);
    }
    if (info->compressed) {
        json_bool(json, "compressed", 1);
    }
    write_backing(json, bs, info);
    result = write_details(json, bs);
    json_bool(json, "dirty-flag", info->dirty);
    json_end(json);
    return result;
}

/* ------------------------------------------------------------------ command */

static int show_chain(BlockDriverState *bs, const InfoRequest *request)
{
    Json json;
    int result = 0;

    json_begin(&json, stdout);
    if (request->json && request->chain) {
        json_list(&json, NULL, JSON_INDENTED);
    }
    for (BlockDriverState *node = bs; node; node = bdrv_backing(node)) {
        BdrvInfo info = {.struct_size = sizeof(info)};

        result = bdrv_get_info(node, &info);
        if (result == 0 && request->json) {
            result = write_json(&json, node, &info);
        } else if (result == 0) {
            fputs(node != bs ? "\n" : "", stdout);
            result = print_human(node, &info);
        }
        if (result < 0) {
            tool_library_error();
            return -1;
        }
    }
    if (request->json && request->chain) {
        json_end(&json);
    }
    return result;
}

static int show_image(const char *filename, InfoRequest *request)
{
    BlockDriverState *bs;
    int result = -1;

    if (!request->chain) {
        request->how.flags |= BDRV_O_NO_BACKING;
    }
    bs = image_open(filename, &request->how);
    if (bs != NULL) {
        confine_to_image(&request->how, bs);
        result = show_chain(bs, request);
        image_close(bs);
    }
    return result;
}

static int info_run(void *opaque, int count, char **operands)
{
    InfoRequest *request = opaque;
    int result = -1;

    if (request->formats) {
        result = formats_print(count > 0 ? operands[0] : NULL, request->json);
    } else if (count == 0) {
        tool_error("missing operand, wanted: FILE (--help tells more)");
    } else if (confine_before(&request->how, 1, operands) == 0) {
        result = show_image(operands[0], request);
    }
    image_how_free(&request->how);
    return result < 0 ? 1 : 0;
}

static const ToolOption info_options[] = {
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {INFO_OUTPUT, "output", "FORM", "human (default) or json"},
    {INFO_BACKING_CHAIN, "backing-chain", NULL,
     "show the images behind it as well"},
    {INFO_FORMATS, "formats", NULL,
     "no image: what can be done with all formats, or with the kinds of one"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_info = {
    .name = "info",
    .help = "Shows what an image is",
    .operands = "FILE | --formats [FORMAT]",
    .options = info_options,
    .least_operands = 0, /* none with --formats; see info_run() */
    .most_operands = 1,
    .usage_status = 1,
    .request_size = sizeof(InfoRequest),
    .take = info_take,
    .run = info_run,
};
