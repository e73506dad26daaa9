/* SPDX-License-Identifier: MIT */
/*
 * cmd-hash.c - img hash: a hash of the disk that an image holds, the same
 * whatever kind of image it is.  Computing it is bdrv_hash().
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

enum { HASH_ALGORITHM = TOOL_LONG_ONLY, HASH_EXPECT, HASH_OUTPUT };

/* Exit statuses.  The worst one counts. */
enum { HASH_GOOD = 0, HASH_DIFFERENT = 1, HASH_FAILED = 2 };

enum { HEX_LENGTH = 2 * BDRV_HASH_BYTES };

typedef struct Hash {
    ImageHow how;
    ProgressHow progress;
    const char *algorithm; /* NULL: not given */
    const char *expected;  /* as it was given; NULL: nothing is expected */
    char expected_hex[HEX_LENGTH + 1];
    unsigned threads; /* 0: one per processor */
    int json;
    int alone; /* not 0: there is one image */
} Hash;

/* --------------------------------------------------------------- arguments */

static int take_algorithm(Hash *request, const char *name, size_t length)
{
    static const char *const names[] = {"sha256", "sha256-tree"};

    for (int i = 0; i < 2; i++) {
        if (strlen(names[i]) != length || strncmp(names[i], name, length) != 0) {
            continue;
        }
        if (request->algorithm != NULL && request->algorithm != names[i]) {
            tool_error("both %s and %s are asked for", request->algorithm, names[i]);
            return -1;
        }
        request->algorithm = names[i];
        return 0;
    }
    tool_error("there is no algorithm '%.*s', only sha256 and sha256-tree", (int)length, name);
    return -1;
}

static int take_hex(Hash *request, const char *text)
{
    if (strlen(text) != HEX_LENGTH ||
        strspn(text, "0123456789abcdefABCDEF") != HEX_LENGTH) {
        tool_error("--expect: '%s' is not a hash: %d hexadecimal digits are", text, HEX_LENGTH);
        return -1;
    }
    for (int i = 0; i < HEX_LENGTH; i++) {
        request->expected_hex[i] = (char)(text[i] | (text[i] >= 'A' ? 0x20 : 0));
    }
    return 0;
}

/* "sha256:…", or the digits alone, as sha256sum prints them. */
static int take_expected(Hash *request, const char *text)
{
    const char *colon = strchr(text, ':');
    const char *name = colon != NULL ? text : "sha256";
    size_t length = colon != NULL ? (size_t)(colon - text) : strlen(name);

    request->expected = text;
    return take_algorithm(request, name, length) < 0
               ? -1
               : take_hex(request, colon != NULL ? colon + 1 : text);
}

static int hash_take(void *opaque, int letter, const char *value)
{
    Hash *request = opaque;

    switch (letter) {
    case HASH_ALGORITHM:
        return take_algorithm(request, value, strlen(value));
    case HASH_EXPECT:
        return take_expected(request, value);
    case HASH_OUTPUT:
        request->json = tool_parse_output(value);
        return request->json < 0 ? -1 : 0;
    case 'm':
        return tool_parse_threads(value, &request->threads);
    case 'p':
    case TOOL_PROGRESS_FD:
        return progress_take(&request->progress, letter, value);
    default:
        return image_take(&request->how, letter, value);
    }
}

/* ------------------------------------------------------------------ hashing */

static int compute(const Hash *request, BlockDriverState *bs, char hex[HEX_LENGTH + 1])
{
    uint8_t digest[BDRV_HASH_BYTES];
    Progress progress;
    BdrvHashOptions options = {
        .struct_size = sizeof(options),
        .algorithm = request->algorithm,
        .progress = progress_tell,
        .progress_opaque = &progress,
        .threads = request->threads,
    };
    int result;

    progress_begin(&progress, &request->progress, "hash", bdrv_getlength(bs));
    result = bdrv_hash(bs, digest, &options);
    progress_end(&progress, result == 0);
    if (result < 0) {
        if (interrupt_signal() == 0) {
            tool_library_error();
        }
        return -1;
    }
    for (int i = 0; i < BDRV_HASH_BYTES; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

static void print_hash(const Hash *request, Json *json, BlockDriverState *bs,
                       const char *filename, const char *hex)
{
    if (!request->json) {
        if (!request->how.quiet) {
            printf("%s:%s  ", request->algorithm, hex);
            print_text(stdout, filename);
            putchar('\n');
        }
        return;
    }
    json_object(json, NULL, JSON_INDENTED);
    json_string(json, "filename", filename);
    json_string(json, "format", bdrv_format(bs));
    json_number(json, "virtual-size", bdrv_getlength(bs));
    json_string(json, "algorithm", request->algorithm);
    json_string(json, "hash", hex);
    if (request->expected != NULL) {
        json_bool(json, "as-expected", strcmp(hex, request->expected_hex) == 0);
    }
    json_end(json);
}

static int hash_image(const Hash *request, Json *json, const char *filename)
{
    BlockDriverState *bs = strcmp(filename, "-") == 0 ? pipe_open_source(&request->how)
                                                      : image_open(filename, &request->how);
    char hex[HEX_LENGTH + 1];
    int status = HASH_FAILED;

    if (bs == NULL) {
        return HASH_FAILED;
    }
    if (request->alone) {
        confine_to_image(&request->how, bs);
    }
    if (compute(request, bs, hex) == 0) {
        status = HASH_GOOD;
        print_hash(request, json, bs, filename, hex);
        if (request->expected != NULL && strcmp(hex, request->expected_hex) != 0) {
            tool_error("%s: its hash is %s:%s, expected was %s:%s", filename,
                       request->algorithm, hex, request->algorithm, request->expected_hex);
            status = HASH_DIFFERENT;
        }
    }
    image_close(bs);
    return status;
}

/* ------------------------------------------------------------------ command */

static int hash_run(void *opaque, int count, char **operands)
{
    Hash *request = opaque;
    int worst = HASH_GOOD;
    Json json;

    request->algorithm = request->algorithm != NULL ? request->algorithm : "sha256";
    request->progress.wanted = request->progress.wanted && !request->how.quiet;
    request->progress.to_stderr = 1; /* the hash goes to standard output */
    if (progress_check(&request->progress) < 0) {
        return HASH_FAILED;
    }
    interrupt_catch();
    request->alone = count == 1;
    confine_before(&request->how, count, operands);
    json_begin(&json, stdout);
    if (request->json) {
        json_list(&json, NULL, JSON_INDENTED);
    }
    for (int i = 0; i < count && interrupt_signal() == 0; i++) {
        int status = hash_image(request, &json, operands[i]);

        worst = status > worst ? status : worst;
    }
    if (request->json) {
        json_end(&json);
    }
    image_how_free(&request->how);
    interrupt_end();
    return worst;
}

static const ToolOption hash_options[] = {
    {'f', "format", "FMT", "format of the images (default: look at them)"},
    {HASH_ALGORITHM, "algorithm", "NAME", "sha256 (default) or sha256-tree, which is faster"},
    {HASH_EXPECT, "expect", "HASH", "each must have this one: sha256:..."},
    {HASH_OUTPUT, "output", "FORM", "human (default) or json"},
    {'m', "threads", "COUNT", "how many (default: one per processor)"},
    PROGRESS_OPTIONS,
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_hash = {
    .name = "hash",
    .help = "Prints a hash of the disk that an image holds",
    .operands = "FILE...",
    .details = "It is the same whatever kind of image holds the disk; sha256 is what "
               "sha256sum says\nof the raw one.  Exit status: 0, 1 if a hash is not the "
               "expected one, 2 if there is\nnone or the arguments make no sense.\n",
    .options = hash_options,
    .least_operands = 1,
    .most_operands = TOOL_ANY_NUMBER,
    .usage_status = HASH_FAILED,
    .request_size = sizeof(Hash),
    .take = hash_take,
    .run = hash_run,
};
