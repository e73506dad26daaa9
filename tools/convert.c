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

#include <errno.h>
#include <stdlib.h>

/* One conversion that is under way. */
typedef struct Job {
    const Convert *request;
    BlockDriverState **sources;
    BdrvHashRecord **records; /* of what was read from each, with --verify; else NULLs */
    int count;
    int64_t length; /* of all sources together */
    int64_t before; /* of those that are done */
    BlockDriverState *target;
    BlockDriverState *storage; /* standard output or an OVA, if the target goes there:
                                * bdrv_file() of it is what the target is in; else NULL */
    unsigned storage_flags;    /* of the target in there: BDRV_O_FORWARD, or 0 */
    Pipe *pipe;
    Ova *ova;
    Output output;
    Progress progress;
    Salvage salvage;
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

/* The library has failed: because we were asked to stop, or as it says. */
static int tell_failure(const Job *job)
{
    if (check_stopped(job) == 0) {
        output_library_error(&job->output);
    }
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

/* Is it, in part, what was there before? */
static int has_old_bytes(BlockDriverState *bs)
{
    BdrvInfo info = {.struct_size = sizeof(info)};

    return bdrv_get_info(bs, &info) < 0 || info.has_old_bytes;
}

/* Is what we do not write known to read as zeros? */
static int target_reads_zero(const Job *job)
{
    if (job->request->no_create) {
        return job->request->target_is_zero;
    }
    if (job->storage != NULL) {
        return 1; /* what is left out is */
    }
    /* Not a device, which keeps what was on it; not the child of a backing
     * image, which shows through. */
    return job->output.removable && job->request->target.backing == NULL &&
           job->request->sparse_size >= 0 && !has_old_bytes(job->target);
}

/* A child stores what differs from its parent, unless all shall take room. */
static unsigned copy_flags(const Job *job)
{
    const Convert *request = job->request;

    return request->manner.copy_flags |
           (target_reads_zero(job) ? BDRV_CONVERT_TARGET_IS_ZERO : 0) |
           (request->target.backing != NULL && request->sparse_size >= 0
                ? (unsigned)BDRV_CONVERT_KEEP_SAME : 0);
}

static int copy_sources(Job *job)
{
    const Manner *manner = &job->request->manner;
    int result;
    BdrvConvertOptions options = {
        .struct_size = sizeof(options),
        .flags = copy_flags(job),
        .sparse_size = job->request->sparse_size,
        .progress = show_progress,
        .progress_opaque = job,
        .threads = job->request->threads,
        .max_memory = manner_window_memory(manner),
        .rate = manner->rate,
        .lost = manner->salvage ? salvage_note : NULL,
        .lost_opaque = &job->salvage,
    };

    for (int i = 0; i < job->count; i++) {
        salvage_begin(&job->salvage, bdrv_filename(job->sources[i]));
        options.target_offset = job->before;
        options.record = job->records[i];
        result = bdrv_convert(job->sources[i], job->target, &options);
        if (result < 0) {
            return pipe_tell_end(result) ? -1 : tell_failure(job);
        }
        job->before += bdrv_getlength(job->sources[i]);
    }
    pipe_drop_rest(job->request->source.quiet);
    return 0;
}

/* -------------------------------------------------------------------- target */

static int64_t target_length(const Job *job)
{
    return job->request->destination != NULL
               ? profile_length(job->request->destination, job->length)
               : job->length;
}

static int create_target(Job *job)
{
    const ImageNew *image = &job->request->target;
    BdrvCreateOptions options = {
        .struct_size = sizeof(options),
        .size = target_length(job),
        .options = image->options,
        .backing = image->backing,
        .backing_format = image->backing_format,
        .flags = job->request->manner.target_flags & BDRV_O_NO_FLUSH,
        .allow_paths = job->request->source.allow_paths,
        .may_open = output_may_make,
        .may_open_opaque = &job->output,
    };

    if ((job->storage != NULL
             ? bdrv_create_node(bdrv_file(job->storage), image->format, &options)
             : bdrv_create(job->output.path, image->format, &options)) < 0) {
        return tell_failure(job);
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
        .flags = BDRV_O_RDWR | job->request->manner.target_flags,
        .options = job->request->target.open_options,
        .allow_paths = job->request->source.allow_paths,
        .may_open = output_may_write,
        .may_open_opaque = &job->output,
        .table_bytes = manner_table_memory(&job->request->manner, 1),
    };
    int64_t length;
    int result;

    if (job->storage != NULL) {
        options.flags |= job->storage_flags;
        result = bdrv_open_node(&job->target, bdrv_file(job->storage),
                                job->request->target.format, &options);
    } else {
        result = bdrv_open(&job->target, job->output.path, job->request->target.format,
                           &options);
    }
    if (result == -EBUSY) {
        image_error(result, job->output.path);
        return -1;
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
        result = tell_failure(job);
    }
    return bdrv_close(target) < 0 && result == 0 ? tell_failure(job) : result;
}

/* From now on what strangers have made is read.  At the end the target is moved to
 * its name, or removed: for that nothing beside it has to be opened. */
static void give_up_rights(const Job *job)
{
    const ImageHow *how = &job->request->source;
    Confinement c = {0};

    for (int i = 0; i < job->count; i++) {
        confine_image(&c, how, job->sources[i]);
    }
    confine_image(&c, how, job->target);
    for (BlockDriverState *bs = bdrv_backing(job->target); bs && job->request->verify;
         bs = bdrv_backing(bs)) {
        confine_named(&c, how, bdrv_filename(bs), CONFINE_READ); /* it is opened again */
    }
    if (job->pipe == NULL) {
        confine_output(&c, &job->output);
    }
    confine(&c, how);
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
        give_up_rights(job);
        progress_begin(&job->progress, &job->request->progress, "copy", job->length);
        result = copy_sources(job);
        progress_end(&job->progress, result == 0);
    }
    result = close_target(job, result);
    return result == 0 ? check_stopped(job) : result;
}

/* ----------------------------------------------------------------- verifying */

/* The part of the target that one source went to, as a disk of its own. */
static int open_part(const Job *job, BlockDriverState *target, int64_t length,
                     BlockDriverState **part)
{
    char text[80];
    const BdrvOpenOptions options = {.struct_size = sizeof(options), .options = text};

    snprintf(text, sizeof(text), "offset=%lld,size=%lld", (long long)job->before,
             (long long)length);
    return bdrv_open_node(part, target, "raw", &options);
}

static int hash_part(Job *job, BlockDriverState *part, BdrvHashRecord *found)
{
    uint8_t digest[BDRV_HASH_BYTES]; /* the record says more */
    BdrvHashOptions options = {
        .struct_size = sizeof(options),
        .algorithm = "sha256-tree",
        .progress = show_progress,
        .progress_opaque = job,
        .threads = job->request->threads,
        .record = found,
    };

    return bdrv_hash(part, digest, &options);
}

static int compare_part(const Job *job, const BdrvHashRecord *taken,
                        const BdrvHashRecord *found)
{
    int64_t offset, bytes;
    int different = bdrv_hash_record_compare(taken, found, &offset, &bytes);

    if (different > 0) {
        tool_error("%s: reads back as something else than was written: the first difference is "
                   "in the %lld bytes at offset %lld", job->output.name, (long long)bytes,
                   (long long)(job->before + offset));
        return -1;
    }
    if (different < 0) {
        tool_library_error();
    }
    return different;
}

/* One source's. */
static int verify_part(Job *job, BlockDriverState *target, const BdrvHashRecord *taken,
                       int64_t length)
{
    BlockDriverState *part = NULL;
    BdrvHashRecord *found = NULL;
    int result = open_part(job, target, length, &part);

    if (result == 0) {
        result = bdrv_hash_record_new(&found);
    }
    if (result == 0) {
        result = hash_part(job, part, found);
    }
    if (result < 0 && interrupt_signal() == 0) {
        output_library_error(&job->output);
    }
    if (result == 0) {
        result = compare_part(job, taken, found);
    }
    bdrv_hash_record_free(found);
    image_close(part);
    return result;
}

static int verify_parts(Job *job, BlockDriverState *target)
{
    int result = 0;

    job->before = 0;
    progress_begin(&job->progress, &job->request->progress, "verify", job->length);
    for (int i = 0; result == 0 && i < job->count; i++) {
        int64_t length = bdrv_getlength(job->sources[i]);

        result = verify_part(job, target, job->records[i], length);
        job->before += length;
    }
    progress_end(&job->progress, result == 0);
    return result;
}

/* Opened anew, so that what was only in our memory is not what is read. */
static int verify_target(Job *job)
{
    BlockDriverState *target;
    const unsigned flags = job->request->manner.target_flags &
                           (BDRV_O_DIRECT | BDRV_O_DROP_BEHIND); /* past the host's cache */
    const BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = flags,
        .allow_paths = job->request->source.allow_paths,
    };
    int result;

    if (job->ova != NULL) {
        target = image_open(ova_disk(job->ova), &(ImageHow){.flags = flags, .quiet = 1});
    } else if (bdrv_open(&target, job->output.path, job->request->target.format, &options) < 0) {
        output_library_error(&job->output);
    }
    if (target == NULL) {
        return -1;
    }
    result = verify_parts(job, target);
    image_close(target);
    return result < 0 && check_stopped(job) < 0 ? -1 : result;
}

static int write_pipe(Job *job)
{
    int result;

    job->storage = pipe_open_target(&job->pipe);
    if (job->storage == NULL) {
        return -1;
    }
    job->storage_flags = BDRV_O_FORWARD;
    result = fill_target(job);
    bdrv_close(job->storage);
    job->storage = NULL;
    return result == 0 ? pipe_finish(job->pipe) : result;
}

/* ---------------------------------------------------------------------- OVA */

static int begin_ova(Job *job)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    const OvaPlan plan = {
        .path = job->output.path,
        .time = epoch != NULL ? strtoll(epoch, NULL, 10) : 0,
        .flags = job->request->manner.target_flags,
    };
    int result = ova_begin(&job->ova, &plan);

    if (result == 0) {
        result = output_created(&job->output);
    }
    if (result == 0) {
        result = ova_storage(job->ova, &job->storage);
    }
    if (result < 0) {
        output_library_error(&job->output);
    }
    return result;
}

static int finish_ova(Job *job)
{
    BdrvHashOptions hash = {
        .struct_size = sizeof(hash),
        .progress = show_progress,
        .progress_opaque = job,
        .threads = job->request->threads,
    };
    int result;

    job->before = 0;
    progress_begin(&job->progress, &job->request->progress, "hash", job->length);
    result = ova_finish(job->ova, &hash);
    progress_end(&job->progress, result == 0);
    return result < 0 ? tell_failure(job) : result;
}

static int fill_ova(Job *job)
{
    int result = begin_ova(job);

    if (result == 0) {
        result = fill_target(job);
    }
    bdrv_close(job->storage);
    job->storage = NULL;
    return result == 0 ? finish_ova(job) : result;
}

/* --------------------------------------------------------------- the target */

static int write_target(Job *job)
{
    OutputPlace place = OUTPUT_ASIDE;
    int result;

    if (convert_is_pipe(job->output.name)) {
        return write_pipe(job);
    }
    /* The name of a backing image is relative to where its child will be. */
    if (job->request->in_place || job->request->no_create ||
        job->request->target.backing != NULL) {
        place = OUTPUT_IN_PLACE;
    }
    if (output_begin(&job->output, job->output.name, place) < 0) {
        return -1;
    }
    result = job->request->ova ? fill_ova(job) : fill_target(job);
    if (result == 0 && job->request->verify) {
        result = verify_target(job);
    }
    if (result == 0) {
        result = output_finish(&job->output, !(job->request->manner.target_flags & BDRV_O_NO_FLUSH));
    }
    return result;
}

/* ------------------------------------------------------------------- sources */

/* To salvage is to open also what is damaged. */
static ImageHow how_to_open(const Job *job)
{
    const Manner *manner = &job->request->manner;
    ImageHow how = job->request->source;

    how.flags |= manner->source_flags | (manner->salvage ? BDRV_O_CHECK : 0);
    how.table_bytes = manner_table_memory(manner, job->count);
    return how;
}

static int open_sources(Job *job, char **names)
{
    const ImageHow how = how_to_open(job);

    for (int i = 0; i < job->count; i++) {
        int64_t length;

        job->sources[i] = convert_is_pipe(names[i]) ? pipe_open_source(&how)
                                                    : image_open(names[i], &how);
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

static int make_records(Job *job)
{
    for (int i = 0; job->request->verify && i < job->count; i++) {
        if (bdrv_hash_record_new(&job->records[i]) < 0) {
            tool_error("--verify: %s", bdrv_errmsg());
            return -1;
        }
    }
    return 0;
}

/* Before anything is touched: writing to what we read from would destroy it. */
static int check_not_a_source(const Job *job, const char *target)
{
    for (int i = 0; i < job->count && !convert_is_pipe(target); i++) {
        if (image_spare(job->sources[i], target, target) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ the whole */

/* Before the sources are opened; they are only read, and so is a parent. */
static int give_up_rights_before(const Job *job, char **names)
{
    const ImageHow *how = &job->request->source;
    const char *target = job->output.name, *backing = job->request->target.backing;
    Confinement c = {0};

    if (!convert_is_pipe(target)) {
        if (image_check_free(target) < 0) {
            return -1;
        }
        confine_named(&c, NULL, target, CONFINE_WRITE);
    }
    if (backing != NULL) {
        confine_beside(&c, how, target, backing);
    }
    confine_operands(&c, how, job->count, names);
    confine(&c, how);
    return 0;
}

static int begin(Job *job, char **names)
{
    if (job->sources == NULL || job->records == NULL) {
        tool_error("out of memory");
        return -1;
    }
    return give_up_rights_before(job, names) == 0 && open_sources(job, names) == 0 &&
                   make_records(job) == 0
               ? check_not_a_source(job, job->output.name)
               : -1;
}

int convert(const Convert *request, int count, char **names)
{
    Job job = {.request = request, .count = count - 1, .salvage.quiet = request->source.quiet};
    int result;

    job.output.name = names[count - 1];
    job.sources = calloc((size_t)count, sizeof(*job.sources)); /* and a NULL */
    job.records = calloc((size_t)count, sizeof(*job.records));
    job.output.sources = job.sources;
    result = begin(&job, names);
    if (result == 0) {
        result = write_target(&job);
    }
    if (result == 0) {
        result = salvage_sum(&job.salvage);
    }
    ova_free(job.ova);
    output_end(&job.output);
    for (int i = 0; job.sources != NULL && job.records != NULL && i < job.count; i++) {
        image_close(job.sources[i]);
        bdrv_hash_record_free(job.records[i]);
    }
    free(job.sources);
    free(job.records);
    return result;
}
