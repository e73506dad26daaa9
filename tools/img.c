/* SPDX-License-Identifier: MIT */
/*
 * img.c - main() of all tools: which command is meant.
 *
 *     img convert a b         the first argument says it
 *     img-convert a b         a link's name says it, after the last '-'
 *     qemu-img convert a b    a link of any other name: the first argument
 *
 * Messages start with the name that was called.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const Tool *const tools[] = {
    &tool_amend, &tool_check, &tool_commit, &tool_compare, &tool_convert,
    &tool_create, &tool_hash, &tool_info, &tool_io, &tool_map, &tool_rebase, &tool_resize,
};

enum { TOOLS = sizeof(tools) / sizeof(tools[0]) };

static const Tool *find_tool(const char *name)
{
    for (int i = 0; i < TOOLS; i++) {
        if (strcmp(tools[i]->name, name) == 0) {
            return tools[i];
        }
    }
    return NULL;
}

static void print_formats(void)
{
    printf("Supported formats:");
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = {.struct_size = sizeof(info)};

        if (bdrv_driver_describe(d, &info) == 0) {
            printf(" %s", info.name);
        }
    }
    printf("\n");
}

static void print_help(const char *program)
{
    printf("usage: %s COMMAND [OPTION]... FILE...\n"
           "Works on disk images of virtual machines.\n\n", program);
    for (int i = 0; i < TOOLS; i++) {
        printf("  %-10s %s\n", tools[i]->name, tools[i]->help);
    }
    printf("\n%s COMMAND --help tells more, and so does man img-COMMAND.\n",
           program);
    print_formats();
}

/* The exit status of a command whose output did not get through (a full disk,
 * a closed pipe) is not success. */
static int finish_output(int status)
{
    errno = 0; /* it may have failed before */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tool_error("standard output: %s",
                   errno != 0 ? strerror(errno) : "not all could be written");
        return status == 0 ? 1 : status;
    }
    return status;
}

static int has_progress(const Tool *tool)
{
    const ToolOption *option = tool->options;

    while (option->help != NULL && option->letter != TOOL_PROGRESS_FD) {
        option++;
    }
    return option->help != NULL;
}

/* Whoever asks how far a command is may do so before it knows: that must not end it. */
static int run_tool(const Tool *tool, int argc, char **argv)
{
    void *request = calloc(1, tool->request_size);
    int status = tool->usage_status;

    if (has_progress(tool)) {
        interrupt_answer();
    }
    if (request == NULL) {
        tool_error("%s", strerror(ENOMEM));
    } else {
        status = tool_invoke(tool, request, argc, argv);
    }
    free(request);
    return finish_output(status);
}

static int refuse_command(const char *name)
{
    const char *instead = foreign_command(name);

    if (instead != NULL) {
        tool_error("there is no command '%s': %s", name, instead);
    } else {
        tool_error("no such command '%s' (--help lists them)", name);
    }
    return 1;
}

/* argv[1] is the command, or an option of img itself. */
static int run_named(const char *program, int argc, char **argv)
{
    char command[256];
    const Tool *tool;

    if (argc < 2) {
        tool_error("no command given (--help lists them)");
        return 1;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(program);
        return finish_output(0);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("%s %s\n", program, bdrv_version());
        return finish_output(0);
    }
    tool = find_tool(argv[1]);
    if (tool == NULL) {
        return refuse_command(argv[1]);
    }
    snprintf(command, sizeof(command), "%s %s", program, tool->name);
    tool_set_command(command);
    return run_tool(tool, argc - 1, argv + 1);
}

/* The first image would else be opened as a standard descriptor that was closed when we
 * were started, and messages be written into it.  What takes its place fails as it did. */
static void fill_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 0 ? argv[0] : "img";
    const char *slash = strrchr(path, '/');
    const char *program = slash != NULL ? slash + 1 : path;
    const char *dash = strrchr(program, '-');
    const Tool *tool = dash != NULL ? find_tool(dash + 1) : NULL;

    fill_descriptors();
    signal(SIGXFSZ, SIG_IGN); /* a file that gets too long is an error like another */
    tool_set_program(program);
    if (tool != NULL) {
        return run_tool(tool, argc, argv);
    }
    return run_named(program, argc, argv);
}
