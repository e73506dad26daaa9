/* SPDX-License-Identifier: MIT */
/*
 * options.c - from a command's table to its parsed arguments, its --help and
 * its error messages.
 *
 * Nothing here knows any single command.  getopt_long() does the parsing, but
 * what it would print is said here, in one line, with the right name in front.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

enum {
    OPTIONS_MAX = 32,         /* rows of one table */
    OPTION_VERSION = 512,     /* --version: no command may use this number */
    MESSAGE_MAX = 4096,       /* bytes of one message; what is over is cut */
    THREADS_MAX = 64,         /* more than there is work for */
    HELP_COLUMN = 30          /* where the text begins in --help */
};

/* Set once at the start, then only read. */
static const char *program_name = "img";
static const char *command_name = "img";

void tool_set_program(const char *name)
{
    program_name = name;
    command_name = name;
}

void tool_set_command(const char *name)
{
    command_name = name;
}

/* ---------------------------------------------------------------- messages */

void tool_error(const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fflush(stdout); /* so that the two come out in the order they were said */
    fprintf(stderr, "%s: ", program_name);
    print_text(stderr, text);
    putc('\n', stderr);
}

void tool_library_error(void)
{
    tool_error("%s", bdrv_errmsg());
}

static int usage_error(const char *text, const char *what)
{
    tool_error("%s%s (%s --help tells more)", text, what, command_name);
    return -1;
}

/* -------------------------------------------------------------------- help */

/* May it be left out? */
static int is_optional(const ToolOption *option)
{
    return option->argument != NULL && option->argument[0] == '[';
}

/* What stands between an option's name and its argument. */
static const char *argument_mark(const ToolOption *option)
{
    if (option->argument == NULL || option->name == NULL) {
        return "";
    }
    return is_optional(option) ? "[=" : "=";
}

static void print_option(FILE *out, const ToolOption *option)
{
    char left[64];
    char letter[4] = "";

    if (option->letter < TOOL_ALLOW_PATH) {
        snprintf(letter, sizeof(letter), "-%c%s", option->letter,
                 option->name != NULL ? "," : "");
    }
    snprintf(left, sizeof(left), "%-3s %s%s%s%s", letter,
             option->name != NULL ? "--" : "",
             option->name != NULL ? option->name : "", argument_mark(option),
             option->argument != NULL ? option->argument + is_optional(option) : "");
    fprintf(out, "  %-*s %s\n", HELP_COLUMN - 3, left, option->help);
}

void tool_print_help(const Tool *tool, FILE *out)
{
    static const ToolOption help = {'h', "help", NULL, "print this and exit"};

    if (tool->options != NULL) {
        fprintf(out, "usage: %s [OPTION]... %s\n", command_name, tool->operands);
    } else {
        fprintf(out, "usage: %s %s\n", command_name, tool->operands);
    }
    fprintf(out, "%s.\n\n", tool->help);
    for (const ToolOption *row = tool->options; row && row->letter; row++) {
        print_option(out, row);
    }
    print_option(out, &help);
    if (tool->details != NULL) {
        fprintf(out, "\n%s", tool->details);
    }
    if (tool->print_more != NULL) {
        tool->print_more(out);
    }
}

/* ----------------------------------------------------------------- parsing */

/* The table as getopt_long() wants it. */
typedef struct Getopt {
    char letters[2 * OPTIONS_MAX + 8];
    struct option names[OPTIONS_MAX + 3];
} Getopt;

static void getopt_add(Getopt *table, int *count, const ToolOption *row)
{
    size_t used = strlen(table->letters);

    if (row->letter < TOOL_ALLOW_PATH) {
        table->letters[used] = (char)row->letter;
        table->letters[used + 1] = row->argument != NULL && !is_optional(row) ? ':' : '\0';
    }
    if (row->name != NULL) {
        struct option *name = &table->names[(*count)++];

        name->name = row->name;
        name->has_arg = is_optional(row)  ? optional_argument
                        : row->argument ? required_argument
                                        : no_argument;
        name->val = row->letter;
    }
}

static void getopt_prepare(Getopt *table, const Tool *tool)
{
    static const ToolOption help = {'h', "help", NULL, NULL};
    static const ToolOption version = {OPTION_VERSION, "version", NULL, NULL};
    int count = 0;

    memset(table, 0, sizeof(*table));
    table->letters[0] = ':'; /* a missing argument is told as such */
    for (int i = 0; tool->options != NULL && i < OPTIONS_MAX; i++) {
        if (tool->options[i].letter == 0) {
            break;
        }
        getopt_add(table, &count, &tool->options[i]);
    }
    getopt_add(table, &count, &help);
    getopt_add(table, &count, &version);
}

/* getopt keeps its place in globals; img-io parses many lines in one run. */
static void getopt_restart(void)
{
    opterr = 0;
#if defined(__GLIBC__)
    optind = 0;
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || \
    defined(__OpenBSD__) || defined(__DragonFly__)
    optreset = 1;
    optind = 1;
#else
    optind = 1;
#endif
}

/* The option that getopt has refused, as the user wrote it. */
static const char *refused_option(char text[3], char **argv)
{
    if (optopt > 0 && optopt < TOOL_ALLOW_PATH &&
        strncmp(argv[optind - 1], "--", 2) != 0) {
        text[0] = '-';
        text[1] = (char)optopt;
        text[2] = '\0';
        return text;
    }
    return argv[optind - 1];
}

static int refuse_option(const Tool *tool, const char *option)
{
    const char *instead = foreign_option(tool->name, option);

    if (instead == NULL) {
        return usage_error("unrecognized option ", option);
    }
    tool_error("%s: %s", option, instead);
    return -1;
}

/* 1: go on; 0: help or version was asked for and is printed; -1: bad. */
static int parse_options(const Tool *tool, void *request, int argc, char **argv)
{
    Getopt table;
    char text[3];
    int letter;

    getopt_prepare(&table, tool);
    getopt_restart();
    while ((letter = getopt_long(argc, argv, table.letters, table.names,
                                 NULL)) != -1) {
        switch (letter) {
        case ':':
            return usage_error("an argument is missing after ",
                               refused_option(text, argv));
        case '?':
            return refuse_option(tool, refused_option(text, argv));
        case 'h':
            tool_print_help(tool, stdout);
            return 0;
        case OPTION_VERSION:
            printf("%s %s\n", program_name, bdrv_version());
            return 0;
        default:
            if (tool->take(request, letter, optarg) < 0) {
                return -1;
            }
        }
    }
    return 1;
}

static int check_operands(const Tool *tool, int count, char **operands)
{
    if (count < tool->least_operands) {
        return usage_error("missing operand, wanted: ", tool->operands);
    }
    if (tool->most_operands != TOOL_ANY_NUMBER && count > tool->most_operands) {
        return usage_error("unexpected operand ",
                           operands[tool->most_operands]);
    }
    return 1;
}

/* "-5G" at the end is no option where a number below 0 makes sense. */
static int ends_with_number(const Tool *tool, int argc, char **argv)
{
    const char *last = argv[argc - 1];

    return tool->signed_operand && argc > 1 && last[0] == '-' &&
           last[1] >= '0' && last[1] <= '9';
}

int tool_invoke(const Tool *tool, void *request, int argc, char **argv)
{
    const int parsed = argc - ends_with_number(tool, argc, argv);
    int result = parse_options(tool, request, parsed, argv);

    if (result > 0) {
        result = check_operands(tool, argc - optind, argv + optind);
    }
    if (result <= 0) {
        return result == 0 ? 0 : tool->usage_status;
    }
    return tool->run(request, argc - optind, argv + optind);
}

/* ------------------------------------------------------------------ values */

int tool_parse_size(const char *what, const char *text, int64_t *bytes)
{
    int result = bdrv_parse_size(text, bytes);

    if (result == -ERANGE) {
        tool_error("%s: '%s' is too large", what, text);
    } else if (result < 0) {
        tool_error("%s: '%s' is not a size, which is a number with an optional "
                   "suffix b, k, M, G, T, P or E", what, text);
    }
    return result < 0 ? -1 : 0;
}

int tool_parse_threads(const char *text, unsigned *threads)
{
    char *end;
    unsigned long count = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || count < 1 || count > THREADS_MAX) {
        tool_error("-m: '%s' is not a number of threads, 1 to %d", text, THREADS_MAX);
        return -1;
    }
    *threads = (unsigned)count;
    return 0;
}

int tool_parse_output(const char *text)
{
    if (strcmp(text, "human") == 0) {
        return 0;
    }
    if (strcmp(text, "json") == 0) {
        return 1;
    }
    tool_error("--output: '%s' is neither human nor json", text);
    return -1;
}
