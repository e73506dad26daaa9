/* SPDX-License-Identifier: MIT */
/*
 * cmd-compare.c - img compare: do two images hold the same disk?
 *
 * What both know to be zero is not read.  A disk that is longer than the other
 * is the same if what it has more is zeros, unless -s asks for more.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* The exit statuses that qemu-img's users know. */
enum {
    COMPARE_SAME = 0,
    COMPARE_DIFFERENT = 1,
    COMPARE_OPEN_FAILED = 2, /* and everything else that has no own number */
    COMPARE_MAP_FAILED = 3,
    COMPARE_READ_FAILED = 4
};

enum { COMPARE_CHUNK = 1 << 20 }; /* bytes read from each image at a time */

typedef struct Compare {
    ImageHow how;              /* of both; how.format of the first */
    const char *second_format;
    int strict;
    ProgressHow progress;
} Compare;

/* One of the two disks. */
typedef struct Side {
    BlockDriverState *bs;
    int64_t length;
    BdrvExtent extent; /* the run at the current offset */
    unsigned char *data;
} Side;

typedef struct Comparison {
    const Compare *request;
    Side sides[2];
    int64_t length; /* of the longer one */
    Progress progress;
} Comparison;

static int compare_take(void *opaque, int letter, const char *value)
{
    Compare *request = opaque;

    switch (letter) {
    case 'F':
        request->second_format = value;
        return 0;
    case 's':
        request->strict = 1;
        return 0;
    case 'p':
    case TOOL_PROGRESS_FD:
        return progress_take(&request->progress, letter, value);
    default:
        return image_take(&request->how, letter, value);
    }
}

/* "before OFFSET after" is what the two differ in. */
static int different(Comparison *comparison, const char *before, int64_t offset,
                     const char *after)
{
    progress_end(&comparison->progress, 0);
    if (!comparison->request->how.quiet) {
        printf("%s %" PRId64 "%s\n", before, offset, after);
    }
    return COMPARE_DIFFERENT;
}

/* -------------------------------------------------------------------- content */

/* The side's bytes at offset, read or known to be zeros. */
static int fill_side(Side *side, int64_t offset, size_t bytes)
{
    if (side->extent.state != BDRV_DATA) {
        memset(side->data, 0, bytes);
        return 0;
    }
    if (bdrv_pread(side->bs, side->data, bytes, offset) < 0) {
        tool_library_error();
        return -1;
    }
    return 0;
}

/* Differences are told by the sector they are in. */
static int64_t first_difference(const Comparison *comparison, size_t bytes)
{
    const unsigned char *a = comparison->sides[0].data;
    const unsigned char *b = comparison->sides[1].data;
    size_t sector = 0;
    size_t size = BDRV_SECTOR_SIZE;

    for (; sector < bytes; sector += BDRV_SECTOR_SIZE) {
        if (bytes - sector < size) {
            size = bytes - sector;
        }
        if (memcmp(a + sector, b + sector, size) != 0) {
            return (int64_t)sector;
        }
    }
    return -1;
}

/* Both sides have one state each in [offset, offset + bytes). */
static int compare_bytes(Comparison *comparison, int64_t offset, int64_t bytes)
{
    Side *sides = comparison->sides;

    if (sides[0].extent.state != BDRV_DATA &&
        sides[1].extent.state != BDRV_DATA) {
        return COMPARE_SAME;
    }
    while (bytes > 0) {
        size_t chunk = bytes < COMPARE_CHUNK ? (size_t)bytes : COMPARE_CHUNK;
        int64_t difference;

        if (fill_side(&sides[0], offset, chunk) < 0 ||
            fill_side(&sides[1], offset, chunk) < 0) {
            return COMPARE_READ_FAILED;
        }
        difference = first_difference(comparison, chunk);
        if (difference >= 0) {
            return different(comparison, "Content mismatch at offset",
                             offset + difference, "!");
        }
        offset += (int64_t)chunk;
        bytes -= (int64_t)chunk;
        progress_show(&comparison->progress, offset, comparison->length);
    }
    return COMPARE_SAME;
}

/* ---------------------------------------------------------------------- extents */

/* The run at offset, of at most bytes.  Beyond the disk's end all is zeros. */
static int map_side(Side *side, int64_t offset, int64_t bytes)
{
    memset(&side->extent, 0, sizeof(side->extent));
    if (offset >= side->length) {
        side->extent.state = BDRV_ZERO;
        side->extent.bytes = bytes;
        return 0;
    }
    if (bytes > side->length - offset) {
        bytes = side->length - offset;
    }
    if (bdrv_map(side->bs, offset, bytes, &side->extent) < 0) {
        tool_library_error();
        return -1;
    }
    return 0;
}

static int compare_range(Comparison *comparison, int64_t offset, int64_t end)
{
    Side *sides = comparison->sides;

    while (offset < end) {
        int64_t bytes = end - offset;
        int result;

        for (int i = 0; i < 2; i++) {
            if (map_side(&sides[i], offset, bytes) < 0) {
                return COMPARE_MAP_FAILED;
            }
            bytes = sides[i].extent.bytes;
        }
        if (comparison->request->strict &&
            sides[0].extent.state != sides[1].extent.state) {
            return different(comparison, "Strict mode: Offset", offset,
                             " block status mismatch!");
        }
        result = compare_bytes(comparison, offset, bytes);
        if (result != COMPARE_SAME) {
            return result;
        }
        offset += bytes;
        progress_show(&comparison->progress, offset, comparison->length);
    }
    return COMPARE_SAME;
}

/* ---------------------------------------------------------------------- command */

static void say(const Comparison *comparison, const char *line)
{
    if (!comparison->request->how.quiet) {
        printf("%s\n", line);
    }
}

static int compare(Comparison *comparison)
{
    int64_t first = comparison->sides[0].length;
    int64_t second = comparison->sides[1].length;
    int64_t common = first < second ? first : second;
    int result;

    comparison->length = first > second ? first : second;
    if (comparison->request->strict && first != second) {
        say(comparison, "Strict mode: Image size mismatch!");
        return COMPARE_DIFFERENT;
    }
    progress_begin(&comparison->progress, &comparison->request->progress, "compare",
                   comparison->length);
    result = compare_range(comparison, 0, common);
    if (result == COMPARE_SAME && first != second) {
        say(comparison, "Warning: Image size mismatch!");
        result = compare_range(comparison, common, comparison->length);
    }
    progress_end(&comparison->progress, result == COMPARE_SAME);
    if (result == COMPARE_SAME) {
        say(comparison, "Images are identical.");
    }
    return result;
}

static int open_side(Side *side, const char *filename, const ImageHow *how)
{
    side->bs = image_open(filename, how);
    if (side->bs == NULL) {
        return -1;
    }
    side->length = bdrv_getlength(side->bs);
    side->data = malloc(COMPARE_CHUNK);
    if (side->data == NULL) {
        tool_error("out of memory");
        return -1;
    }
    return 0;
}

static void give_up_rights(const ImageHow *how, const Side sides[2])
{
    Confinement c = {0};

    confine_image(&c, how, sides[0].bs);
    confine_image(&c, how, sides[1].bs);
    confine(&c, how);
}

static int compare_run(void *opaque, int count, char **operands)
{
    Compare *request = opaque;
    ImageHow second = request->how;
    Comparison comparison = {.request = request};
    int result = COMPARE_OPEN_FAILED;

    second.format = request->second_format;
    request->progress.wanted = request->progress.wanted && !request->how.quiet;
    if (progress_check(&request->progress) == 0 &&
        confine_before(&request->how, count, operands) == 0 &&
        open_side(&comparison.sides[0], operands[0], &request->how) == 0 &&
        open_side(&comparison.sides[1], operands[1], &second) == 0) {
        give_up_rights(&request->how, comparison.sides);
        result = compare(&comparison);
    }
    for (int i = 0; i < 2; i++) {
        image_close(comparison.sides[i].bs);
        free(comparison.sides[i].data);
    }
    image_how_free(&request->how);
    return result;
}

static const ToolOption compare_options[] = {
    {'f', "a-format", "FMT", "format of the first (default: look at it)"},
    {'F', "b-format", "FMT", "format of the second (default: look at it)"},
    {'s', "strict", NULL, "sizes, and what is stored where, must be the same too"},
    IMAGE_OPTION_CACHE('T'),
    PROGRESS_OPTIONS,
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_compare = {
    .name = "compare",
    .help = "Tells whether two images hold the same disk",
    .operands = "FILE FILE",
    .details = "Exit status: 0 the same, 1 different, 2 an image cannot be "
               "opened or the\narguments make no sense, 3 what is stored where "
               "cannot be found out, 4 an\nimage cannot be read.\n",
    .options = compare_options,
    .least_operands = 2,
    .most_operands = 2,
    .usage_status = COMPARE_OPEN_FAILED,
    .request_size = sizeof(Compare),
    .take = compare_take,
    .run = compare_run,
};
