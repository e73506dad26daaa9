/* SPDX-License-Identifier: MIT */
/*
 * cmd-convert.c - img convert: copies the content of one or more images, one
 * after the other, into a new image.  Here is what can be asked for, and what
 * is refused; convert.c does it.
 */
#include "convert.h"

#include <sys/stat.h>

enum {
    CONVERT_TARGET_IS_ZERO = TOOL_LONG_ONLY,
    CONVERT_VERIFY,
    CONVERT_NO_ATOMIC,
    CONVERT_FOR,
    CONVERT_OVA
};
enum { INCOMPLETE = 3 }; /* the exit status after --salvage, if something was lost */

static int take_sparse_size(Convert *request, const char *value)
{
    if (tool_parse_size("-S", value, &request->sparse_size) < 0) {
        return -1;
    }
    if (request->sparse_size == 0) {
        request->sparse_size = -1; /* look for no zeros, leave no holes */
    }
    return 0;
}

static int refuse(const char *text)
{
    tool_error("%s", text);
    return -1;
}

static int convert_take(void *opaque, int letter, const char *value)
{
    Convert *request = opaque;

    switch (letter) {
    case 'O':
        request->target.format = value;
        return 0;
    case 'o':
        return image_new_add(&request->target, value);
    case 'B':
    case 'b':
        request->target.backing = value;
        return 0;
    case 'F':
        request->target.backing_format = value;
        return 0;
    case 'S':
        return take_sparse_size(request, value);
    case 'n':
        request->no_create = 1;
        return 0;
    case CONVERT_FOR:
        request->destination = profile_find(value);
        return request->destination != NULL ? 0 : -1;
    case CONVERT_OVA:
        request->ova = 1;
        return 0;
    case CONVERT_TARGET_IS_ZERO:
        request->target_is_zero = 1;
        return 0;
    case CONVERT_NO_ATOMIC:
        request->in_place = 1;
        return 0;
    case CONVERT_VERIFY:
        request->verify = 1;
        return 0;
    case 'm':
        return tool_parse_threads(value, &request->threads);
    case 'p':
    case TOOL_PROGRESS_FD:
        return progress_take(&request->progress, letter, value);
    case 't':
    case 'T':
    case 'r':
    case 'W':
    case 'C':
    case MANNER_SALVAGE:
    case MANNER_MAX_MEMORY:
        return manner_take(&request->manner, letter, value);
    case 'c':
        request->compress = 1;
        return 0;
    default:
        return image_take(&request->source, letter, value);
    }
}

static int check_request(const Convert *request, const BdrvDriverInfo *driver,
                         const char *name)
{
    const ImageNew *target = &request->target;

    if (request->target_is_zero && !request->no_create) {
        return refuse("--target-is-zero: only with -n, a new target always is");
    }
    if (request->no_create && (target->options || target->backing)) {
        return refuse("-n: the target exists, so -o and -B have no meaning");
    }
    if (target->backing_format != NULL && target->backing == NULL) {
        return refuse("-F: needs -B, the backing image whose format it is");
    }
    if (convert_is_pipe(name) && (request->no_create || target->backing)) {
        return refuse("-: standard output holds no image yet, and no names: without -n and -B");
    }
    if (convert_is_pipe(name) && request->verify) {
        return refuse("--verify: what goes to standard output cannot be read again; let "
                      "img-hash look at it where it arrives");
    }
    if (manner_check(&request->manner, request->sparse_size != 0) < 0) {
        return -1;
    }
    if (request->format_is_default && ova_is_name(name)) {
        tool_error("%s: --ova makes an OVA; a raw disk of that name is made with -O raw", name);
        return -1;
    }
    if (target->size != NULL) {
        return refuse("-o size: the size is that of the sources");
    }
    if (!request->no_create && !driver->can_create) {
        tool_error("format '%s' cannot be created", driver->name);
        return -1;
    }
    return 0;
}

/* A pipe of another name cannot be opened as a file; - is the one that can be used.
 * standard: "input" or "output". */
static int check_storage(const char *name, const char *standard)
{
    struct stat status;

    if (convert_is_pipe(name) || stat(name, &status) < 0 ||
        !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode) || S_ISSOCK(status.st_mode))) {
        return 0;
    }
    tool_error("%s: is %s; a regular file or a block device is wanted, or - for standard %s", name,
               S_ISFIFO(status.st_mode)  ? "a FIFO (pipe)"
               : S_ISCHR(status.st_mode) ? "a character device or terminal"
                                         : "a socket", standard);
    return -1;
}

static int check_names(int count, char **names)
{
    int pipes = 0, result = check_storage(names[count - 1], "output");

    for (int i = 0; result == 0 && i < count - 1; i++) {
        pipes += convert_is_pipe(names[i]);
        result = check_storage(names[i], "input");
    }
    if (result == 0 && pipes > 1) {
        tool_error("-: is given as a source %d times; standard input can be read only once", pipes);
        result = -1;
    }
    return result;
}

/* What --for and -O, -o say together. */
static int choose_target(Convert *request, BdrvDriverInfo *driver)
{
    int help = image_wants_help(request->target.options);

    if (request->ova && request->destination == NULL) {
        request->destination = profile_find("vsphere-ovf");
    }
    if (request->destination != NULL && !help &&
        profile_choose(request->destination, &request->target) < 0) {
        return -1;
    }
    if (request->target.format == NULL) {
        request->target.format = "raw";
        request->format_is_default = 1;
    }
    return image_new_settle(&request->target, driver);
}

static int check_destination(const Convert *request, const char *name)
{
    const char *wanted = request->destination->filename;
    const char *slash = strrchr(name, '/');

    if (request->no_create) {
        return refuse("--for: says how the target is created; with -n it exists");
    }
    if (wanted != NULL && !convert_is_pipe(name) &&
        strcmp(slash != NULL ? slash + 1 : name, wanted) != 0) {
        tool_error("--for %s: the target has to be called %s, in whatever directory",
                   request->destination->name, wanted);
        return -1;
    }
    return 0;
}

static int check_ova(const Convert *request, const char *name)
{
    const Profile *profile = request->destination;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): --ova implies a --for */
    if (profile->options == NULL || strstr(profile->options, "subformat=streamOptimized") == NULL ||
        strstr(profile->options, "adapter_type=lsilogic") == NULL) {
        tool_error("--ova: such a file is for vsphere-ovf or aws, not --for %s", profile->name);
        return -1;
    }
    if (convert_is_pipe(name)) {
        return refuse("--ova: what comes first in it tells the length of what comes last: it "
                      "cannot be written to a pipe");
    }
    return 0;
}

static void print_next(const Convert *request, const char *name)
{
    if (request->destination != NULL && request->destination->next != NULL &&
        !request->source.quiet && !convert_is_pipe(name)) {
        printf("next: %s\n", request->destination->next);
    }
}

static int convert_run(void *opaque, int count, char **operands)
{
    Convert *request = opaque;
    BdrvDriverInfo driver;
    int result = choose_target(request, &driver);
    const int helped = result > 0;

    request->progress.wanted = request->progress.wanted && !request->source.quiet;
    if (result == 0 && count < 2) {
        result = refuse("wanted: SOURCE... TARGET");
    } else if (result == 0) {
        result = progress_check(&request->progress);
    }
    if (result == 0) {
        request->progress.to_stderr = convert_is_pipe(operands[count - 1]);
        result = request->progress.to_stderr ? progress_spare_output(&request->progress) : 0;
    }
    if (result == 0) {
        result = check_request(request, &driver, operands[count - 1]);
    }
    if (result == 0) {
        result = check_names(count, operands);
    }
    if (result == 0 && request->destination != NULL) {
        result = check_destination(request, operands[count - 1]);
    }
    if (result == 0 && request->ova) {
        result = check_ova(request, operands[count - 1]);
    }
    if (result == 0 && !request->no_create) {
        result = image_new_seed(&request->target, &driver);
    }
    if (result == 0) {
        interrupt_catch();
        result = convert(request, count, operands);
    }
    if (result == 0) {
        print_next(request, operands[count - 1]);
    }
    image_new_free(&request->target);
    image_how_free(&request->source);
    interrupt_end();
    return result < 0 ? 1 : result > 0 && !helped ? INCOMPLETE : 0;
}

static const ToolOption convert_options[] = {
    {'f', "source-format", "FMT", "format of the sources (default: look at them)"},
    {'O', "target-format", "FMT", "format of the target (default: raw)"},
    {'o', "options", "K=V,...", "how to create the target; -o help lists them"},
    {CONVERT_FOR, "for", "PROFILE", "make what that destination takes: see below"},
    {CONVERT_OVA, "ova", NULL, "make TARGET an OVA: a tar with OVF, manifest and the disk"},
    {'B', "backing", "FILE", "make the target a child of FILE"},
    {'b', NULL, "FILE", "the same"},
    {'F', "backing-format", "FMT", "format of that FILE (default: look at it)"},
    {'n', "no-create", NULL, "the target exists: write into it"},
    {CONVERT_TARGET_IS_ZERO, "target-is-zero", NULL,
     "with -n: it reads as zeros, so write none"},
    {'S', "sparse-size", "SIZE",
     "aligned zeros of this length become holes (4k; 0: none)"},
    {'t', "cache", "CACHE",
     "writeback (default), writethrough, none, directsync, unsafe, drop-behind"},
    {'T', "source-cache", "CACHE", "the same for reading"},
    {'m', "threads", "COUNT", "how many (default: as many as are of use)"},
    {'W', "unordered", NULL, "data may be written in any order"},
    {'C', "offload", NULL, "let the host copy what it can"},
    {'r', "rate-limit", "BYTES", "write at most so much in a second"},
    {MANNER_MAX_MEMORY, "max-memory", "SIZE", "use at most so much (48M)"},
    {MANNER_SALVAGE, "salvage", NULL, "what cannot be read becomes zeros"},
    {'c', "compress", NULL, "make sure that the target is of a compressed kind"},
    {CONVERT_NO_ATOMIC, "no-atomic", NULL, "write it under its own name from the start"},
    {CONVERT_VERIFY, "verify", NULL, "read the target again before it gets its name"},
    PROGRESS_OPTIONS,
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_convert = {
    .name = "convert",
    .help = "Copies the content of images, one after the other, into a new one",
    .operands = "SOURCE... TARGET",
    .print_more = profiles_print,
    .options = convert_options,
    .least_operands = 0, /* none with -o help; see convert_run() */
    .most_operands = TOOL_ANY_NUMBER,
    .usage_status = 1,
    .request_size = sizeof(Convert),
    .take = convert_take,
    .run = convert_run,
};
