/* SPDX-License-Identifier: MIT */
/*
 * convert.c - one conversion, from the names to the finished target.
 *
 *     open the sources ▶ create the target aside ▶ copy ▶ flush ▶ close
 *         ▶ give the target its name
 *
 * Whatever goes wrong, or if the user interrupts, the half-made target goes.
 * The copying itself is bdrv_convert(); what is asked for is cmd-convert.c's.
 */
#include "convert.h"

#include <stdlib.h>

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

static int check_stopped(const Job *job)
{
    if (interrupt_signal() == 0) {
        return 0;
    }
    tool_error("stopped, %s %s", job->output.name,
               job->request->no_create ? "is incomplete" : "was not written");
    return -1;
}

/* -------------------------------------------------------------------- copying */

static int show_progress(void *opaque, int64_t done, int64_t total)
{
    Job *job = opaque;

    (void)total; /* of this source alone */
    progress_show(&job->progress, job->before + done, job->length);
    return interrupt_signal() != 0;
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
        progress_begin(&job->progress, &job->request->progress, "copy");
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

    if (convert_is_pipe(job->output.name)) {
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

        job->sources[i] = convert_is_pipe(names[i]) ? pipe_open_source(&job->request->source)
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

/* ------------------------------------------------------------------ the whole */

int convert(const Convert *request, int count, char **names)
{
    Job job = {.request = request, .count = count - 1};
    int result = -1;

    job.output.name = names[count - 1];
    job.sources = calloc((size_t)count, sizeof(BlockDriverState *)); /* and a NULL */
    job.output.sources = job.sources;
    if (job.sources == NULL) {
        tool_error("out of memory");
        return -1;
    }
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
