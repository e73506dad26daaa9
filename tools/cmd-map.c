/* SPDX-License-Identifier: MIT */
/*
 * cmd-map.c - img map: which parts of a disk are stored, where, and in which
 * image of the chain.
 *
 * Neighbouring runs are shown as one where that says the same.
 */
#include <inttypes.h>
#include <string.h>

#include "tool.h"

enum { MAP_OUTPUT = TOOL_LONG_ONLY };

typedef struct MapRequest {
    ImageHow how;
    int json;
    int64_t start;
    int64_t length;   /* at most so many bytes */
    int length_given;
} MapRequest;

/* One run, or several that were joined. */
typedef struct Run {
    int64_t start;
    BdrvExtent extent;
} Run;

static int map_take(void *opaque, int letter, const char *value)
{
    MapRequest *request = opaque;

    switch (letter) {
    case MAP_OUTPUT:
        request->json = tool_parse_output(value);
        return request->json < 0 ? -1 : 0;
    case 's':
        return tool_parse_size("--start-offset", value, &request->start);
    case 'l':
        request->length_given = 1;
        return tool_parse_size("--max-length", value, &request->length);
    default:
        return image_take(&request->how, letter, value);
    }
}

/* The name of the file in which a run lies; NULL: there is no such place. */
static const char *file_of(const BdrvExtent *extent)
{
    return extent->file != NULL ? bdrv_filename(extent->file) : extent->filename;
}

/* -------------------------------------------------------------------- output */

static void write_run(Json *json, const Run *run)
{
    const BdrvExtent *extent = &run->extent;

    json_object(json, NULL, JSON_ONE_LINE);
    json_number(json, "start", run->start);
    json_number(json, "length", extent->bytes);
    json_number(json, "depth", extent->depth);
    json_bool(json, "present", extent->state != BDRV_UNALLOCATED);
    json_bool(json, "zero", extent->state != BDRV_DATA);
    json_bool(json, "data", extent->state == BDRV_DATA);
    if (extent->inaccessible) {
        json_bool(json, "accessible", 0);
    }
    if (file_of(extent) != NULL) {
        json_number(json, "offset", extent->file_offset);
    }
    json_end(json);
}

/* A row of the table up to the file's name; mapped: where it lies, as text. */
static void print_row(const Run *run, const char *mapped)
{
    printf("%#-16" PRIx64 "%#-16" PRIx64 "%-16s", (uint64_t)run->start,
           (uint64_t)run->extent.bytes, mapped);
}

/* Only what can be found in a file at a plain offset can be shown here; and that
 * nobody may use it. */
static int print_run(const Run *run)
{
    const BdrvExtent *extent = &run->extent;
    char mapped[24];

    if (extent->state != BDRV_DATA) {
        return 0;
    }
    if (extent->inaccessible) {
        print_row(run, "-");
        puts("(no access)");
        return 0;
    }
    if (file_of(extent) == NULL) {
        tool_error("the %" PRId64 " bytes at %" PRId64 " are compressed or lie "
                   "in no file; --output=json can show that", extent->bytes,
                   run->start);
        return -1;
    }
    snprintf(mapped, sizeof(mapped), "%#" PRIx64, (uint64_t)extent->file_offset);
    print_row(run, mapped);
    print_text(stdout, file_of(extent));
    putchar('\n');
    return 0;
}

static int show_run(Json *json, const MapRequest *request, const Run *run)
{
    if (request->json) {
        write_run(json, run);
        return 0;
    }
    return print_run(run);
}

/* ------------------------------------------------------------------- walking */

/* Joins next to *run if it goes on where that ends.  1 if it could. */
static int join_run(Run *run, const BdrvExtent *next)
{
    BdrvExtent *extent = &run->extent;

    if (extent->state != next->state || extent->depth != next->depth ||
        extent->inaccessible != next->inaccessible ||
        extent->file != next->file || extent->filename != next->filename ||
        (file_of(extent) != NULL &&
         extent->file_offset + extent->bytes != next->file_offset)) {
        return 0;
    }
    extent->bytes += next->bytes;
    return 1;
}

static int map_range(BlockDriverState *bs, const MapRequest *request,
                     int64_t end, Json *json)
{
    Run run = {.start = request->start};
    int64_t offset = request->start;

    while (offset < end) {
        BdrvExtent next = {0};

        if (bdrv_map(bs, offset, end - offset, &next) < 0) {
            tool_library_error();
            return -1;
        }
        if (run.extent.bytes == 0 || !join_run(&run, &next)) {
            if (run.extent.bytes > 0 && show_run(json, request, &run) < 0) {
                return -1;
            }
            run.start = offset;
            run.extent = next;
        }
        offset += next.bytes;
    }
    return run.extent.bytes > 0 ? show_run(json, request, &run) : 0;
}

static int map(BlockDriverState *bs, const MapRequest *request)
{
    int64_t end = bdrv_getlength(bs);
    Json json;
    int result;

    if (request->start > end) {
        tool_error("--start-offset: %" PRId64 " is beyond the disk's end, %"
                   PRId64, request->start, end);
        return -1;
    }
    if (request->length_given && request->length < end - request->start) {
        end = request->start + request->length;
    }
    json_begin(&json, stdout);
    if (request->json) {
        json_list(&json, NULL, JSON_ROWS);
    } else {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    result = map_range(bs, request, end, &json);
    if (request->json) {
        json_end(&json);
    }
    return result;
}

static int map_run(void *opaque, int count, char **operands)
{
    MapRequest *request = opaque;
    BlockDriverState *bs = NULL;
    int result = -1;

    if (confine_before(&request->how, count, operands) == 0) {
        bs = image_open(operands[0], &request->how);
    }
    if (bs != NULL) {
        confine_to_image(&request->how, bs);
        result = map(bs, request);
        image_close(bs);
    }
    image_how_free(&request->how);
    return result < 0 ? 1 : 0;
}

static const ToolOption map_options[] = {
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {MAP_OUTPUT, "output", "FORM", "human (default) or json"},
    {'s', "start-offset", "SIZE", "begin here (default: 0)"},
    {'l', "max-length", "SIZE", "end after so many bytes (default: the disk's end)"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_map = {
    .name = "map",
    .help = "Shows which parts of a disk are stored, and where",
    .operands = "FILE",
    .options = map_options,
    .least_operands = 1,
    .most_operands = 1,
    .usage_status = 1,
    .request_size = sizeof(MapRequest),
    .take = map_take,
    .run = map_run,
};
