/* SPDX-License-Identifier: MIT */
/*
 * io-commands.c - the commands that img io understands, each with a table at
 * the bottom like any command of img.
 *
 * Results are printed as qemu-io prints them, for scripts that know it.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

enum {
    DEFAULT_PATTERN = 0xcd, /* what is written unless -P or -z says otherwise */
    DUMP_WIDTH = 16
};

/* Bytes of one request: it is held in memory whole. */
#define IO_LENGTH_MAX ((int64_t)INT_MAX - BDRV_SECTOR_SIZE + 1)

/* ------------------------------------------------------------------- arguments */

static int take_pattern(IoRequest *request, const char *text)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 0);
    if (end == text || *end != '\0' || errno != 0 || value > 255) {
        tool_error("-P: '%s' is not a byte, 0 to 255", text);
        return -1;
    }
    request->pattern = (int)value;
    return 0;
}

static int command_take(void *opaque, int letter, const char *value)
{
    IoRequest *request = opaque;

    switch (letter) {
    case 'P':
        return take_pattern(request, value);
    case 's':
        return tool_parse_size("-s", value, &request->pattern_offset);
    case 'l':
        return tool_parse_size("-l", value, &request->pattern_length);
    case 'q':
        request->quiet = 1;
        return 0;
    case 'v':
        request->dump = 1;
        return 0;
    case 'z':
        request->zeroes = 1;
        return 0;
    case 'f':
        request->durable = 1;
        return 0;
    default:
        return -1; /* not in any table */
    }
}

/* "OFFSET LENGTH"; the length is at most what one request may have. */
static int parse_range(char **operands, int64_t *offset, int64_t *bytes)
{
    if (tool_parse_size("offset", operands[0], offset) < 0 ||
        tool_parse_size("length", operands[1], bytes) < 0) {
        return -1;
    }
    if (*bytes > IO_LENGTH_MAX) {
        tool_error("length: %" PRId64 " is more than one request may have, %"
                   PRId64, *bytes, IO_LENGTH_MAX);
        return -1;
    }
    return 0;
}

static int failed(const char *what)
{
    tool_error("%s failed: %s", what, bdrv_errmsg());
    return 1;
}

/* A buffer for one request; NULL with the message printed. */
static unsigned char *new_buffer(int64_t bytes)
{
    unsigned char *buffer = malloc(bytes > 0 ? (size_t)bytes : 1);

    if (buffer == NULL) {
        tool_error("no memory for %" PRId64 " bytes", bytes);
    }
    return buffer;
}

/* ---------------------------------------------------------------------- report */

static double now_in_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report(const char *done, int64_t bytes, int64_t offset,
                   double started)
{
    char size[PRINT_SIZE_MAX];
    char rate[PRINT_SIZE_MAX];
    double seconds = now_in_seconds() - started;

    if (seconds < 1e-9) {
        seconds = 1e-9; /* a coarse clock: no division by zero */
    }
    printf("%s %" PRId64 "/%" PRId64 " bytes at offset %" PRId64 "\n", done,
           bytes, bytes, offset);
    printf("%s, 1 ops; %05.2f sec (%s/sec and %.4f ops/sec)\n",
           print_size_exact(size, (double)bytes), seconds,
           print_size_exact(rate, (double)bytes / seconds), 1 / seconds);
}

static void dump(const unsigned char *bytes, int64_t length, int64_t offset)
{
    for (int64_t line = 0; line < length; line += DUMP_WIDTH) {
        int64_t end = length - line < DUMP_WIDTH ? length : line + DUMP_WIDTH;

        printf("%08" PRIx64 ":  ", (uint64_t)(offset + line));
        for (int64_t i = line; i < end; i++) {
            printf("%02x ", bytes[i]);
        }
        putchar(' ');
        for (int64_t i = line; i < end; i++) {
            putchar(bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '.');
        }
        putchar('\n');
    }
}

/* ------------------------------------------------------------------------ read */

/* Where -s and -l say that the pattern is, within the bytes read. */
static int settle_pattern(IoRequest *request, int64_t bytes)
{
    if (request->pattern < 0 &&
        (request->pattern_offset != 0 || request->pattern_length >= 0)) {
        tool_error("-s and -l: only with -P");
        return -1;
    }
    if (request->pattern_offset > bytes) {
        tool_error("-s: %" PRId64 " is beyond the %" PRId64 " bytes read",
                   request->pattern_offset, bytes);
        return -1;
    }
    if (request->pattern_length < 0) {
        request->pattern_length = bytes - request->pattern_offset;
    }
    if (request->pattern_length > bytes - request->pattern_offset) {
        tool_error("-l: from -s on only %" PRId64 " bytes are read",
                   bytes - request->pattern_offset);
        return -1;
    }
    return 0;
}

static int check_pattern(const IoRequest *request, const unsigned char *bytes,
                         int64_t offset)
{
    int64_t begin = request->pattern_offset;

    for (int64_t i = 0; i < request->pattern_length; i++) {
        if (bytes[begin + i] != request->pattern) {
            printf("Pattern verification failed at offset %" PRId64 ", %" PRId64
                   " bytes\n", offset + begin, request->pattern_length);
            return 1;
        }
    }
    return 0;
}

static int read_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    int64_t offset;
    int64_t bytes;
    unsigned char *buffer;
    double started;
    int status = 0;

    (void)count;
    if (parse_range(operands, &offset, &bytes) < 0 ||
        settle_pattern(request, bytes) < 0) {
        return 1;
    }
    buffer = new_buffer(bytes);
    if (buffer == NULL) {
        return 1;
    }
    started = now_in_seconds();
    if (bdrv_pread(request->bs, buffer, (size_t)bytes, offset) < 0) {
        free(buffer);
        return failed("read");
    }
    if (request->pattern >= 0) {
        status = check_pattern(request, buffer, offset);
    }
    if (request->dump) {
        dump(buffer, bytes, offset);
    }
    if (!request->quiet) {
        report("read", bytes, offset, started);
    }
    free(buffer);
    return status;
}

/* ----------------------------------------------------------------------- write */

static unsigned char *new_pattern(const IoRequest *request, int64_t bytes)
{
    unsigned char *buffer = new_buffer(bytes);

    if (buffer != NULL) {
        memset(buffer,
               request->pattern >= 0 ? request->pattern : DEFAULT_PATTERN,
               (size_t)bytes);
    }
    return buffer;
}

/* buffer is NULL for zeros. */
static int write_range(const IoRequest *request, const unsigned char *buffer,
                       int64_t offset, int64_t bytes)
{
    double started = now_in_seconds();
    int result;

    if (buffer == NULL) {
        result = bdrv_write_zeroes(request->bs, offset, bytes);
    } else {
        result = bdrv_pwrite(request->bs, buffer, (size_t)bytes, offset);
    }
    if (result == 0 && request->durable) {
        result = bdrv_flush(request->bs);
    }
    if (result < 0) {
        return failed("write");
    }
    if (!request->quiet) {
        report("wrote", bytes, offset, started);
    }
    return 0;
}

static int write_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    unsigned char *buffer = NULL;
    int64_t offset;
    int64_t bytes;
    int status = 1;

    (void)count;
    if (request->zeroes && request->pattern >= 0) {
        tool_error("-z and -P: only one of them");
        return 1;
    }
    if (parse_range(operands, &offset, &bytes) < 0) {
        return 1;
    }
    if (!request->zeroes) {
        buffer = new_pattern(request, bytes);
    }
    if (request->zeroes || buffer != NULL) {
        status = write_range(request, buffer, offset, bytes);
    }
    free(buffer);
    return status;
}

static int discard_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    int64_t offset;
    int64_t bytes;
    double started = now_in_seconds();

    (void)count;
    if (parse_range(operands, &offset, &bytes) < 0) {
        return 1;
    }
    if (bdrv_discard(request->bs, offset, bytes) < 0) {
        return failed("discard");
    }
    if (!request->quiet) {
        report("discard", bytes, offset, started);
    }
    return 0;
}

static int flush_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;

    (void)count;
    (void)operands;
    return bdrv_flush(request->bs) < 0 ? failed("flush") : 0;
}

static int truncate_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    int64_t length;

    (void)count;
    if (tool_parse_size("length", operands[0], &length) < 0) {
        return 1;
    }
    return bdrv_truncate(request->bs, length) < 0 ? failed("truncate") : 0;
}

/* --------------------------------------------------------------------- looking */

/* The run of [offset, end) that is all allocated in this image, or all not.
 * Its length, or -1 with the message printed. */
static int64_t find_run(BlockDriverState *bs, int64_t offset, int64_t end,
                        int *allocated)
{
    int64_t start = offset;

    while (offset < end) {
        BdrvExtent extent = {0};
        int here;

        if (bdrv_is_allocated(bs, offset, end - offset, &extent) < 0) {
            failed("is_allocated");
            return -1;
        }
        here = extent.state != BDRV_UNALLOCATED;
        if (offset > start && here != *allocated) {
            break;
        }
        *allocated = here;
        offset += extent.bytes;
    }
    return offset - start;
}

static int alloc_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    int64_t length = bdrv_getlength(request->bs);
    int64_t bytes = BDRV_SECTOR_SIZE;
    int64_t total = 0;
    int64_t begin;
    int64_t run;
    int allocated = 0;
    char text[PRINT_SIZE_MAX];

    if (tool_parse_size("offset", operands[0], &begin) < 0 ||
        (count > 1 && tool_parse_size("length", operands[1], &bytes) < 0)) {
        return 1;
    }
    if (begin > length) {
        tool_error("offset: %" PRId64 " is beyond the disk's end, %" PRId64,
                   begin, length);
        return 1;
    }
    if (bytes > length - begin) {
        bytes = length - begin;
    }
    for (int64_t at = begin; at < begin + bytes; at += run) {
        run = find_run(request->bs, at, begin + bytes, &allocated);
        if (run < 0) {
            return 1;
        }
        total += allocated ? run : 0;
    }
    printf("%" PRId64 "/%" PRId64 " bytes allocated at offset %s\n", total,
           bytes, print_size_exact(text, (double)begin));
    return 0;
}

static int map_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    int64_t length = bdrv_getlength(request->bs);
    char size[PRINT_SIZE_MAX];
    char place[PRINT_SIZE_MAX];
    int allocated = 0;
    int64_t run;

    (void)count;
    (void)operands;
    for (int64_t offset = 0; offset < length; offset += run) {
        run = find_run(request->bs, offset, length, &allocated);
        if (run < 0) {
            return 1;
        }
        printf("%s (0x%" PRIx64 ") bytes %s at offset %s (0x%" PRIx64 ")\n",
               print_size_exact(size, (double)run), (uint64_t)run,
               allocated ? "    allocated" : "not allocated",
               print_size_exact(place, (double)offset), (uint64_t)offset);
    }
    return 0;
}

static int length_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    char text[PRINT_SIZE_MAX];

    (void)count;
    (void)operands;
    printf("%s\n",
           print_size_exact(text, (double)bdrv_getlength(request->bs)));
    return 0;
}

static int info_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;
    BdrvInfo info = {.struct_size = sizeof(info)};
    char text[PRINT_SIZE_MAX];

    (void)count;
    (void)operands;
    if (bdrv_get_info(request->bs, &info) < 0) {
        return failed("info");
    }
    printf("format name: %s\n", bdrv_format(request->bs));
    printf("cluster size: %s\n",
           print_size_exact(text, (double)info.cluster_size));
    if (print_details(request->bs, "Format specific information") < 0) {
        return failed("info");
    }
    return 0;
}

/* ----------------------------------------------------------------------- other */

static int sleep_run(void *opaque, int count, char **operands)
{
    int64_t milliseconds;
    struct timespec time;

    (void)opaque;
    (void)count;
    if (tool_parse_size("milliseconds", operands[0], &milliseconds) < 0) {
        return 1;
    }
    time.tv_sec = (time_t)(milliseconds / 1000);
    time.tv_nsec = (long)(milliseconds % 1000) * 1000000;
    nanosleep(&time, NULL);
    return 0;
}

static int quit_run(void *opaque, int count, char **operands)
{
    IoRequest *request = opaque;

    (void)count;
    (void)operands;
    request->quit = 1;
    return 0;
}

static int help_run(void *opaque, int count, char **operands);

/* ---------------------------------------------------------------------- tables */

#define OPTION_QUIET                              \
    {                                             \
        'q', NULL, NULL, "print no result, errors only" \
    }
#define OPTIONS_END {0, NULL, NULL, NULL}

static const ToolOption read_options[] = {
    {'P', NULL, "BYTE", "fail unless all bytes are this"},
    {'s', NULL, "SIZE", "with -P: only from this byte of the range on"},
    {'l', NULL, "SIZE", "with -P: only so many bytes of the range"},
    {'v', NULL, NULL, "show the bytes"},
    OPTION_QUIET,
    OPTIONS_END,
};

static const ToolOption write_options[] = {
    {'P', NULL, "BYTE", "the byte to write (default: 0xcd)"},
    {'z', NULL, NULL, "write zeros, without transferring them where possible"},
    {'f', NULL, NULL, "flush afterwards"},
    OPTION_QUIET,
    OPTIONS_END,
};

static const ToolOption discard_options[] = {OPTION_QUIET, OPTIONS_END};

/* All of them have the same request, take and usage status. */
/* NOLINTBEGIN(bugprone-macro-parentheses): they are members' initialisers */
#define COMMAND(word, text, what, least, most, table)                      \
    {                                                                      \
        .name = #word, .help = text, .operands = what,                     \
        .least_operands = least, .most_operands = most, .options = table,  \
        .usage_status = 1, .request_size = sizeof(IoRequest),              \
        .take = command_take, .run = word##_run                            \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

static const Tool commands[] = {
    COMMAND(alloc, "Tells how much of a range the image itself stores",
            "OFFSET [LENGTH]", 1, 2, NULL),
    COMMAND(discard, "Says that the content of a range is not needed",
            "OFFSET LENGTH", 2, 2, discard_options),
    COMMAND(flush, "Makes durable what was written", "", 0, 0, NULL),
    COMMAND(help, "Lists the commands, or tells more of one", "[COMMAND]", 0, 1,
            NULL),
    COMMAND(info, "Shows what the image is", "", 0, 0, NULL),
    COMMAND(length, "Shows the disk's length", "", 0, 0, NULL),
    COMMAND(map, "Shows what the image itself stores", "", 0, 0, NULL),
    COMMAND(quit, "Ends the program", "", 0, 0, NULL),
    COMMAND(read, "Reads a range", "OFFSET LENGTH", 2, 2, read_options),
    COMMAND(sleep, "Waits", "MILLISECONDS", 1, 1, NULL),
    COMMAND(truncate, "Sets the disk's length", "LENGTH", 1, 1, NULL),
    COMMAND(write, "Writes a range", "OFFSET LENGTH", 2, 2, write_options),
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

/* The short names that users of qemu-io have in their fingers. */
static const struct {
    const char *shorter;
    const char *name;
} short_names[] = {
    {"d", "discard"}, {"f", "flush"}, {"i", "info"},     {"l", "length"},
    {"q", "quit"},    {"r", "read"},  {"t", "truncate"}, {"w", "write"},
};

enum { SHORT_NAMES = sizeof(short_names) / sizeof(short_names[0]) };

const Tool *io_find_command(const char *name)
{
    for (int i = 0; i < SHORT_NAMES; i++) {
        if (strcmp(short_names[i].shorter, name) == 0) {
            name = short_names[i].name;
        }
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int help_run(void *opaque, int count, char **operands)
{
    const Tool *command;

    (void)opaque;
    if (count == 0) {
        for (int i = 0; i < COMMANDS; i++) {
            printf("%-9s %-16s %s\n", commands[i].name, commands[i].operands,
                   commands[i].help);
        }
        return 0;
    }
    command = io_find_command(operands[0]);
    if (command == NULL) {
        tool_error("no such command '%s' (help lists them)", operands[0]);
        return 1;
    }
    tool_set_command(command->name);
    tool_print_help(command, stdout);
    return 0;
}
