/* SPDX-License-Identifier: MIT */
/*
 * cmd-io.c - img io: reads, writes and asks one image by hand.
 *
 * The commands come from -c or, without it, from standard input, one per line;
 * what each does is in io-commands.c.  A command that fails does not keep the
 * next from running, but shows in the exit status.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

enum { IO_WORDS_MAX = 64 }; /* of one command line */

typedef struct IoSession {
    ImageHow how;
    int read_only;
    const char **lines; /* from -c */
    size_t count;
} IoSession;

static int add_line(IoSession *session, const char *line)
{
    const char **lines =
        realloc(session->lines, (session->count + 1) * sizeof(*lines));

    if (lines == NULL) {
        tool_error("-c: out of memory");
        return -1;
    }
    lines[session->count++] = line;
    session->lines = lines;
    return 0;
}

static int io_take(void *opaque, int letter, const char *value)
{
    IoSession *session = opaque;

    switch (letter) {
    case 'c':
        return add_line(session, value);
    case 'r':
        session->read_only = 1;
        return 0;
    case 's':
        session->how.flags |= BDRV_O_SNAPSHOT;
        return 0;
    default:
        return image_take(&session->how, letter, value);
    }
}

/* ----------------------------------------------------------------- one line */

/* Cuts line into words.  How many, or -1 with the message printed. */
static int split_line(char *line, char *words[IO_WORDS_MAX + 1])
{
    int count = 0;
    char *rest;

    for (char *word = strtok_r(line, " \t\r\n", &rest); word != NULL;
         word = strtok_r(NULL, " \t\r\n", &rest)) {
        if (count == IO_WORDS_MAX) {
            tool_error("a command of more than %d words", IO_WORDS_MAX);
            return -1;
        }
        words[count++] = word;
    }
    words[count] = NULL;
    return count;
}

/* *quit becomes 1 if that was the command.  line is destroyed. */
static int run_line(BlockDriverState *bs, char *line, int *quit)
{
    IoRequest request = {.bs = bs, .pattern = -1, .pattern_length = -1};
    char *words[IO_WORDS_MAX + 1];
    int count = split_line(line, words);
    const Tool *command;
    int status;

    if (count <= 0) {
        return count == 0 ? 0 : 1; /* an empty line does nothing */
    }
    command = io_find_command(words[0]);
    if (command == NULL) {
        tool_error("no such command '%s' (help lists them)", words[0]);
        return 1;
    }
    tool_set_command(command->name);
    status = tool_invoke(command, &request, count, words);
    *quit = request.quit;
    fflush(stdout);
    return status;
}

/* ------------------------------------------------------------- where they are */

static int run_given_lines(BlockDriverState *bs, const IoSession *session)
{
    int status = 0;
    int quit = 0;

    for (size_t i = 0; i < session->count && !quit; i++) {
        char *line = strdup(session->lines[i]);

        if (line == NULL || run_line(bs, line, &quit) != 0) {
            status = 1;
        }
        free(line);
    }
    return status;
}

static int run_typed_lines(BlockDriverState *bs)
{
    int prompt = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t size = 0;
    int status = 0;
    int quit = 0;

    while (!quit) {
        if (prompt) {
            printf("img-io> ");
            fflush(stdout);
        }
        if (getline(&line, &size, stdin) < 0) {
            break;
        }
        if (run_line(bs, line, &quit) != 0) {
            status = 1;
        }
    }
    free(line);
    return status;
}

/* -------------------------------------------------------------------- command */

static int io_run(void *opaque, int count, char **operands)
{
    IoSession *session = opaque;
    BlockDriverState *bs = NULL;
    int status = 1;

    if (!session->read_only) {
        session->how.flags |= BDRV_O_RDWR;
    }
    if (confine_before(&session->how, count, operands) == 0) {
        bs = image_open(operands[0], &session->how);
    }
    if (bs != NULL) {
        confine_to_image(&session->how, bs);
        status = session->count > 0 ? run_given_lines(bs, session)
                                    : run_typed_lines(bs);
        if (bdrv_close(bs) < 0) {
            tool_library_error();
            status = 1;
        }
    }
    free(session->lines);
    image_how_free(&session->how);
    return status;
}

static const ToolOption io_options[] = {
    {'c', "cmd", "COMMAND", "run this (may be repeated; default: standard input)"},
    {'f', "format", "FMT", "format of the image (default: look at it)"},
    {'r', "read-only", NULL, "open it for reading only"},
    {'s', "snapshot", NULL, "write to a temporary overlay, dropped at the end"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_io = {
    .name = "io",
    .help = "Reads, writes and asks an image by hand",
    .operands = "FILE",
    .details = "-c help lists the commands, -c 'help COMMAND' tells more.\n",
    .options = io_options,
    .least_operands = 1,
    .most_operands = 1,
    .usage_status = 1,
    .request_size = sizeof(IoSession),
    .take = io_take,
    .run = io_run,
};
