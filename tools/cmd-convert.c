/* SPDX-License-Identifier: MIT */
/*
 * cmd-convert.c - img convert: copies the content of one or more images, one
 * after the other, into a new image.
 *
 *     check the request ▶ open the sources ▶ create the target aside ▶ copy
 *         ▶ flush ▶ close ▶ give the target its name
 *
 * The sources are only read.  Whatever goes wrong, or if the user interrupts,
 * the half-made target goes.  The copying itself is bdrv_convert().
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

enum { CONVERT_TARGET_IS_ZERO = TOOL_LONG_ONLY };
enum { THREADS_MAX = 64 };

typedef struct Convert {
    ImageHow source;
    ImageNew target;
    int64_t sparse_size; /* as in BdrvConvertOptions */
    int no_create;
    int target_is_zero;
    int compress;
    int unsafe; /* -t unsafe: not flushed */
    int progress;
    unsigned threads; /* 0: as many as there are processors */
} Convert;

/* One conversion that is under way. */
typedef struct Job {
    const Convert *request;
    BlockDriverState **sources;
    int count;
    int64_t length; /* of all sources together */
    int64_t before; /* of those that are done */
    BlockDriverState *target;
    BlockDriverState *piped; /* standard output, if the target goes there: bdrv_file() of it
                              * is what the target is in */
    Pipe *pipe;
    Output output;
    Progress progress;
} Job;

static int is_pipe(const char *name)
{
    return strcmp(name, "-") == 0;
}

/* ------------------------------------------------------------------- signals */

/* The signal that asked us to stop; 0: none.  Atomic, and not only volatile,
 * because the progress is reported from any thread. */
static atomic_int stop_signal;

static void note_signal(int number)
{
    stop_signal = number;
}

/* A signal that was ignored when we started (nohup) stays ignored.  The second
 * one does no more than the first, since it often comes by itself (timeout(1)
 * sends two), and would leave half an image; SIGQUIT ends at once. */
static void catch_signal(int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
        memset(&action, 0, sizeof(action));
        action.sa_handler = note_signal;
        sigaction(number, &action, NULL);
    }
}

static void catch_signals(void)
{
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
    catch_signal(SIGHUP);
}

static int check_stopped(const Job *job)
{
    if (stop_signal == 0) {
        return 0;
    }
    tool_error("stopped, %s %s", job->output.name,
               job->request->no_create ? "is incomplete" : "was not written");
    return -1;
}

/* A shell wants to see that we ended by the signal. */
static void end_by_signal(void)
{
    if (stop_signal != 0) {
        signal(stop_signal, SIG_DFL);
        raise(stop_signal);
    }
}

/* -------------------------------------------------------------------- copying */

static int show_progress(void *opaque, int64_t done, int64_t total)
{
    Job *job = opaque;

    (void)total; /* of this source alone */
    progress_show(&job->progress, job->before + done, job->length);
    return stop_signal != 0;
}

/* Is what we do not write known to read as zeros? */
static int target_reads_zero(const Job *job)
{
    if (job->request->no_create) {
        return job->request->target_is_zero;
    }
    if (job->piped != NULL) {
        return 1; /* what is left out is */
    }
    /* Not a device, which keeps what was on it; not the child of a backing
     * image, which shows through. */
    return job->output.removable && job->request->target.backing == NULL &&
           job->request->sparse_size >= 0;
}

static int copy_sources(Job *job)
{
    BdrvConvertOptions options = {
        .struct_size = sizeof(options),
        .flags = target_reads_zero(job) ? BDRV_CONVERT_TARGET_IS_ZERO : 0,
        .sparse_size = job->request->sparse_size,
        .progress = show_progress,
        .progress_opaque = job,
        .threads = job->request->threads,
    };

    for (int i = 0; i < job->count; i++) {
        options.target_offset = job->before;
        if (bdrv_convert(job->sources[i], job->target, &options) < 0) {
            if (check_stopped(job) == 0) {
                output_library_error(&job->output);
            }
            return -1;
        }
        job->before += bdrv_getlength(job->sources[i]);
    }
    return 0;
}

/* -------------------------------------------------------------------- target */

static int create_target(Job *job)
{
    const ImageNew *image = &job->request->target;
    BdrvCreateOptions options = {
        .struct_size = sizeof(options),
        .size = job->length,
        .options = image->options,
        .backing = image->backing,
        .backing_format = image->backing_format,
        .flags = job->request->unsafe ? BDRV_O_NO_FLUSH : 0,
        .allow_paths = job->request->source.allow_paths,
    };

    if ((job->piped != NULL ? bdrv_create_node(bdrv_file(job->piped), image->format,
                                               &options)
                            : bdrv_create(job->output.path, image->format, &options)) < 0) {
        output_library_error(&job->output);
        return -1;
    }
    return output_created(&job->output);
}

static int target_compresses(const Job *job)
{
    BdrvInfo info = {.struct_size = sizeof(info)};

    return bdrv_get_info(job->target, &info) == 0 && info.compressed;
}

static int open_target(Job *job)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = BDRV_O_RDWR | (job->request->unsafe ? BDRV_O_NO_FLUSH : 0),
        .options = job->request->target.open_options,
        .allow_paths = job->request->source.allow_paths,
    };
    int64_t length;
    int result;

    if (job->piped != NULL) {
        options.flags |= BDRV_O_FORWARD;
        result = bdrv_open_node(&job->target, bdrv_file(job->piped),
                                job->request->target.format, &options);
    } else {
        result = bdrv_open(&job->target, job->output.path, job->request->target.format,
                           &options);
    }
    if (result < 0) {
        output_library_error(&job->output);
        return -1;
    }
    if (job->request->compress && !target_compresses(job)) {
        tool_error("-c: such a target is not compressed; -O vmdk -o subformat=streamOptimized "
                   "is");
        return -1;
    }
    length = bdrv_getlength(job->target);
    if (length < job->length) {
        tool_error("%s: has %lld bytes, but %lld are needed", job->output.name,
                   (long long)length, (long long)job->length);
        return -1;
    }
    return 0;
}

/* Closing writes too, so only what it returns says that all is stored. */
static int close_target(Job *job, int result)
{
    BlockDriverState *target = job->target;

    job->target = NULL;
    if (target == NULL) {
        return result;
    }
    if (result == 0 && bdrv_flush(target) < 0) {
        output_library_error(&job->output);
        result = -1;
    }
    if (bdrv_close(target) < 0 && result == 0) {
        output_library_error(&job->output);
        result = -1;
    }
    return result;
}

/* Created, filled and closed; not yet finished. */
static int fill_target(Job *job)
{
    int result = 0;

    if (!job->request->no_create) {
        result = create_target(job);
    }
    if (result == 0) {
        result = open_target(job);
    }
    if (result == 0) {
        progress_begin(&job->progress, job->request->progress);
        result = copy_sources(job);
        progress_end(&job->progress, result == 0);
    }
    result = close_target(job, result);
    return result == 0 ? check_stopped(job) : result;
}

static int write_pipe(Job *job)
{
    int result;

    job->piped = pipe_open_target(&job->pipe);
    if (job->piped == NULL) {
        return -1;
    }
    result = fill_target(job);
    bdrv_close(job->piped);
    job->piped = NULL;
    return result == 0 ? pipe_finish(job->pipe) : result;
}

static int write_target(Job *job)
{
    OutputPlace place = OUTPUT_ASIDE;
    int result;

    if (is_pipe(job->output.name)) {
        return write_pipe(job);
    }
    /* The name of a backing image is relative to where its child will be. */
    if (job->request->no_create || job->request->target.backing != NULL) {
        place = OUTPUT_IN_PLACE;
    }
    if (output_begin(&job->output, job->output.name, place) < 0) {
        return -1;
    }
    result = fill_target(job);
    if (result == 0) {
        result = output_finish(&job->output, !job->request->unsafe);
    }
    return result;
}

/* ------------------------------------------------------------------- sources */

static int open_sources(Job *job, char **names)
{
    for (int i = 0; i < job->count; i++) {
        int64_t length;

        job->sources[i] = is_pipe(names[i]) ? pipe_open_source(&job->request->source)
                                            : image_open(names[i], &job->request->source);
        if (job->sources[i] == NULL) {
            return -1;
        }
        length = bdrv_getlength(job->sources[i]);
        if (length > INT64_MAX - job->length) {
            tool_error("%s: the sources together are too long", names[i]);
            return -1;
        }
        job->length += length;
    }
    return 0;
}

/* Before anything is touched: writing to what we read from would destroy it. */
static int check_not_a_source(const Job *job, const char *target)
{
    for (int i = 0; i < job->count; i++) {
        if (image_spare(job->sources[i], target, target) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------- command */

/* What cannot be had is said, not ignored. */
static int take_cache_mode(Convert *request, int letter, const char *mode)
{
    int known = strcmp(mode, "writeback") == 0 || strcmp(mode, "unsafe") == 0;

    if (!known) {
        tool_error("-%c: there is no cache mode '%s', only writeback and unsafe",
                   letter, mode);
        return -1;
    }
    if (letter == 't') {
        request->unsafe = strcmp(mode, "unsafe") == 0;
    }
    return 0;
}

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

static int take_threads(Convert *request, const char *value)
{
    char *end;
    unsigned long count = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || count < 1 ||
        count > THREADS_MAX) {
        tool_error("-m: '%s' is not a number of threads, 1 to %d", value,
                   THREADS_MAX);
        return -1;
    }
    request->threads = (unsigned)count;
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
    case CONVERT_TARGET_IS_ZERO:
        request->target_is_zero = 1;
        return 0;
    case 'm':
        return take_threads(request, value);
    case 'p':
        request->progress = 1;
        return 0;
    case 't':
    case 'T':
        return take_cache_mode(request, letter, value);
    case 'c':
        request->compress = 1;
        return 0;
    case 'l':
        return refuse("-l: snapshots inside an image cannot be read");
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
    if (is_pipe(name) && (request->no_create || target->backing)) {
        return refuse("-: standard output holds no image yet, and no names: without -n and -B");
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

static int convert(const Convert *request, int count, char **names)
{
    Job job = {.request = request, .count = count - 1};
    int result = -1;

    job.output.name = names[count - 1];
    job.sources = calloc((size_t)count, sizeof(BlockDriverState *)); /* and a NULL */
    job.output.sources = job.sources;
    if (job.sources == NULL) {
        return refuse("out of memory");
    }
    catch_signals();
    if (open_sources(&job, names) == 0 &&
        check_not_a_source(&job, job.output.name) == 0) {
        result = write_target(&job);
    }
    output_end(&job.output);
    for (int i = 0; i < job.count; i++) {
        image_close(job.sources[i]);
    }
    free(job.sources);
    return result;
}

static int convert_run(void *opaque, int count, char **operands)
{
    Convert *request = opaque;
    BdrvDriverInfo driver;
    int result;

    if (request->target.format == NULL) {
        request->target.format = "raw";
    }
    request->progress = request->progress && !request->source.quiet;
    result = image_new_settle(&request->target, &driver);
    if (result == 0 && count < 2) {
        result = refuse("wanted: SOURCE... TARGET");
    } else if (result == 0) {
        result = check_request(request, &driver, operands[count - 1]);
    }
    if (result == 0 && !request->no_create) {
        result = image_new_seed(&request->target, &driver);
    }
    if (result == 0) {
        result = convert(request, count, operands);
    }
    image_new_free(&request->target);
    image_how_free(&request->source);
    end_by_signal();
    return result < 0 ? 1 : 0;
}

static const ToolOption convert_options[] = {
    {'f', "source-format", "FMT", "format of the sources (default: look at them)"},
    {'O', "target-format", "FMT", "format of the target (default: raw)"},
    {'o', "options", "K=V,...", "how to create the target; -o help lists them"},
    {'B', "backing", "FILE", "make the target a child of FILE"},
    {'b', NULL, "FILE", "the same"},
    {'F', "backing-format", "FMT", "format of that FILE (default: look at it)"},
    {'n', "no-create", NULL, "the target exists: write into it"},
    {CONVERT_TARGET_IS_ZERO, "target-is-zero", NULL,
     "with -n: it reads as zeros, so write none"},
    {'S', "sparse-size", "SIZE",
     "aligned zeros of this length become holes (4k; 0: none)"},
    {'t', "cache", "MODE", "writeback: durable when done (default); unsafe: not"},
    {'T', "source-cache", "MODE", "writeback (default) or unsafe, both the same"},
    {'m', "threads", "COUNT", "how many (default: one per processor)"},
    {'c', "compress", NULL, "make sure that the target is of a compressed kind"},
    {'l', "snapshot", "NAME", "refused: there is no reading of snapshots"},
    {'p', "progress", NULL, "show a progress bar, on a terminal"},
    {'q', "quiet", NULL, "print errors only"},
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    {0, NULL, NULL, NULL},
};

const Tool tool_convert = {
    .name = "convert",
    .help = "Copies the content of images, one after the other, into a new one",
    .operands = "SOURCE... TARGET",
    .options = convert_options,
    .least_operands = 0, /* none with -o help; see convert_run() */
    .most_operands = TOOL_ANY_NUMBER,
    .usage_status = 1,
    .request_size = sizeof(Convert),
    .take = convert_take,
    .run = convert_run,
};
