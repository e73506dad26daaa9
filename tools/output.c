/* SPDX-License-Identifier: MIT */
/*
 * output.c - where a new image lies while it is being written.
 *
 *     dir/disk.vmdk                    what the user asked for
 *     dir/.img-XXXXXX/disk.vmdk        what is written until it is whole
 *
 * Killed at any point, the half-made image is not where anybody looks for it,
 * and a whole one that was there before is still there.  A device, a pipe, or
 * an image that records the place of another one cannot be written that way;
 * they are written in place.
 *
 * The user has named one file, and an image may have more.  What stands at their
 * names is replaced only if it belongs to the image that is replaced.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

/* "before/after" in memory of its own; NULL: no memory. */
static char *join_path(const char *before, const char *after)
{
    size_t size = strlen(before) + strlen(after) + 2;
    char *path = malloc(size);

    if (path != NULL) {
        snprintf(path, size, "%s/%s", before, after);
    }
    return path;
}

/* The part before the last '/', in memory of its own. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        return strdup(".");
    }
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* In the place of an errno: the message is printed. */
enum { SAID = -1 };

static int output_error(const Output *output, int error)
{
    if (error != SAID) {
        tool_error("%s: %s", output->name, strerror(error));
    }
    return -1;
}

/* ------------------------------------------------------------- the old image */

/* Notes one of its further files.  One that cannot be noted is not replaced. */
static void note_old(Output *output, const char *path)
{
    char **files = realloc(output->old_files, (output->old_count + 1) * sizeof(*files));
    char *copy = strdup(path);

    if (files != NULL) {
        output->old_files = files;
    }
    if (files == NULL || copy == NULL) {
        free(copy);
        return;
    }
    files[output->old_count++] = copy;
}

/* Also of an image that cannot be opened in the end, since some are missing. */
static int note_opened(void *opaque, const BdrvNamedFile *file)
{
    if (file->role == BDRV_FILE_EXTENT) {
        note_old(opaque, file->path);
    }
    return BDRV_OPEN_AS_USUAL;
}

/* Also of one with so many that not all are open. */
static void note_told(void *opaque, const BdrvDetail *detail)
{
    if (detail->kind == BDRV_DETAIL_STRING && detail->key != NULL &&
        strcmp(detail->key, "filename") == 0) {
        note_old(opaque, detail->string);
    }
}

/* Which files does the image consist of that stands at the target? */
static void ask_old(Output *output)
{
    const BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = BDRV_O_NO_BACKING | BDRV_O_NO_LOCK | BDRV_O_CHECK,
        .may_open = note_opened,
        .may_open_opaque = output,
    };
    BlockDriverState *bs;

    if (output->old_asked || !output->existed || !output->removable) {
        return;
    }
    output->old_asked = 1;
    if (bdrv_open(&bs, output->target, NULL, &options) == 0) {
        bdrv_get_details(bs, note_told, output);
        bdrv_close(bs);
    }
}

/* There may be thousands, which are asked about in their order: the search begins where
 * the last one ended.  Only what is not found by its name is compared as a file. */
static int is_of_old(Output *output, const char *path)
{
    size_t i;

    ask_old(output);
    for (i = 0; i < output->old_count; i++) {
        const size_t at = (output->old_found + i) % output->old_count;

        if (strcmp(output->old_files[at], path) == 0) {
            output->old_found = at;
            return 1;
        }
    }
    for (i = 0; i < output->old_count && !image_same_file(output->old_files[i], path);) {
        i++;
    }
    return i < output->old_count;
}

static void free_old(Output *output)
{
    for (size_t i = 0; i < output->old_count; i++) {
        free(output->old_files[i]);
    }
    free(output->old_files);
}

/* ------------------------------------------------------------- further files */

/* None of the sources may have that file. */
static int spare_sources(const Output *output, const char *path)
{
    for (int i = 0; output->sources && output->sources[i]; i++) {
        if (image_spare(output->sources[i], path, path) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Nor may it be there, unless the old image has it. */
static int spare_strangers(Output *output, const char *path)
{
    struct stat status;

    if (lstat(path, &status) < 0 || is_of_old(output, path)) {
        return 0;
    }
    tool_error("%s: exists, would be overwritten, and is no part of %s %s; move it away, or choose "
               "another name", path, output->existed ? "the image that is now" : "an image",
               output->name);
    return -1;
}

static int is_noted(const Output *output, const char *path)
{
    for (size_t i = 0; i < output->other_count; i++) {
        if (strcmp(output->others[i].path, path) == 0) {
            return 1;
        }
    }
    return 0;
}

static int note_file(Output *output, const char *path)
{
    struct stat status;
    OutputFile *others;

    if (is_noted(output, path)) {
        return 0;
    }
    others = realloc(output->others, (output->other_count + 1) * sizeof(*others));
    if (others == NULL) {
        return -ENOMEM;
    }
    output->others = others;
    others[output->other_count] = (OutputFile){
        .path = strdup(path), .existed = lstat(path, &status) == 0,
    };
    if (others[output->other_count].path == NULL) {
        return -ENOMEM;
    }
    output->other_count++;
    return 0;
}

static int is_new_file(const Output *output, const BdrvNamedFile *file)
{
    return file->role == BDRV_FILE_EXTENT && file->writable && !is_noted(output, file->path);
}

int output_may_write(void *opaque, const BdrvNamedFile *file)
{
    Output *output = opaque;

    /* The library asks again when it opens, and when it cleans up. */
    if (!is_new_file(output, file)) {
        return BDRV_OPEN_AS_USUAL;
    }
    if (output->said || spare_sources(output, file->path) < 0) {
        output->said = 1;
        return -EEXIST;
    }
    return BDRV_OPEN_AS_USUAL;
}

int output_may_make(void *opaque, const BdrvNamedFile *file)
{
    Output *output = opaque;
    int result = output_may_write(opaque, file);

    if (result >= 0 && is_new_file(output, file)) {
        ask_old(output); /* while it is whole */
        if (spare_strangers(output, file->path) < 0) {
            output->said = 1;
            return -EEXIST;
        }
    }
    if (result >= 0 && file->role == BDRV_FILE_EXTENT && note_file(output, file->path) < 0) {
        return -ENOMEM;
    }
    return result;
}

/* ------------------------------------------------------------------- moving */

/* What is done to each file in the temporary directory; 0, an errno or SAID. */
typedef int FileFn(Output *output, const char *from, const char *name);

static int remove_file(Output *output, const char *from, const char *name)
{
    (void)output;
    (void)name;
    return unlink(from) < 0 ? errno : 0;
}

/* Where the file of that name will be at the end; NULL: no memory. */
static char *final_path(const Output *output, const char *name)
{
    char *directory = directory_of(output->target);
    char *path = directory != NULL ? join_path(directory, name) : NULL;

    free(directory);
    return path;
}

/* The user has named the target, but not the further files that it has: they must
 * destroy neither what we read from nor what has nothing to do with it. */
static int check_other(Output *output, const char *from, const char *name)
{
    char *to = final_path(output, name);
    int error = to != NULL ? 0 : ENOMEM;

    (void)from;
    if (error == 0 && spare_sources(output, to) < 0) {
        error = SAID;
    }
    if (error == 0 && strcmp(name, base_of(output->path)) != 0 && spare_strangers(output, to) < 0) {
        error = SAID;
    }
    free(to);
    return error;
}

/* The file the image is opened by comes last, when the others are in place. */
static int move_other(Output *output, const char *from, const char *name)
{
    char *to;
    int error = 0;

    if (strcmp(name, base_of(output->path)) == 0) {
        return 0;
    }
    to = final_path(output, name);
    if (to == NULL) {
        error = ENOMEM;
    } else if (rename(from, to) < 0) {
        error = errno;
    }
    free(to);
    return error;
}

/* Names are taken before anything changes, as readdir() promises nothing about
 * a directory that does. */
static int for_each_file(Output *output, FileFn *act)
{
    struct dirent **entries = NULL;
    int count = scandir(output->directory, &entries, NULL, alphasort);
    int error = count < 0 ? errno : 0;

    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;

        if (error == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char *from = join_path(output->directory, name);

            error = from != NULL ? act(output, from, name) : ENOMEM;
            free(from);
        }
        free(entries[i]);
    }
    free(entries);
    return error;
}

/* A name in a directory is durable when the directory is. */
static int sync_directory(const char *path)
{
    char *directory = directory_of(path);
    int fd = directory != NULL ? open(directory, O_RDONLY | O_DIRECTORY) : -1;
    int error = 0;

    if (directory == NULL) {
        error = ENOMEM;
    } else if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL)) {
        error = errno; /* EINVAL: a file system that has nothing to sync */
    }
    if (fd >= 0) {
        close(fd);
    }
    free(directory);
    return error;
}

/* ---------------------------------------------------------------- beginning */

static int make_directory(Output *output)
{
    char *beside = directory_of(output->target);

    output->directory = beside ? join_path(beside, ".img-XXXXXX") : NULL;
    free(beside);
    if (output->directory == NULL) {
        return ENOMEM;
    }
    if (mkdtemp(output->directory) == NULL) {
        int error = errno;

        free(output->directory);
        output->directory = NULL;
        return error;
    }
    output->path_memory = join_path(output->directory, base_of(output->target));
    output->path = output->path_memory;
    return output->path != NULL ? 0 : ENOMEM;
}

static int begin_aside(Output *output, int exists)
{
    int error;

    if (exists && image_check_free(output->name) < 0) {
        return -1;
    }
    error = make_directory(output);
    if (error != 0 && exists && output->directory == NULL) {
        return 0; /* the file may be written, its directory not: in place */
    }
    return error != 0 ? output_error(output, error) : 0;
}

int output_begin(Output *output, const char *name, OutputPlace place)
{
    struct stat status;
    int exists = stat(name, &status) == 0;

    *output = (Output){.name = name, .sources = output->sources};
    output->target = exists ? realpath(name, NULL) : strdup(name);
    if (output->target == NULL) {
        return output_error(output, errno);
    }
    output->path = name;
    output->existed = exists;
    output->removable = !exists || S_ISREG(status.st_mode);
    output->device = exists && S_ISBLK(status.st_mode);
    if (place == OUTPUT_IN_PLACE || !output->removable ||
        *base_of(name) == '\0') {
        return 0;
    }
    if (exists ? status.st_nlink > 1 : lstat(name, &status) == 0) {
        return 0; /* its other names, or the link that leads here, stay true */
    }
    return begin_aside(output, exists);
}

int output_created(Output *output)
{
    int error = 0;

    output->made = output->removable || output->device;
    if (output->directory != NULL) {
        error = for_each_file(output, check_other);
    }
    return error != 0 ? output_error(output, error) : 0;
}

/* ------------------------------------------------------------------- ending */

/* A file that replaces another one belongs to whom that belonged, as far as we
 * may say so. */
static void keep_owner(const Output *output)
{
    struct stat old;
    int fd = stat(output->target, &old) == 0 ? open(output->path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        if (fchown(fd, old.st_uid, old.st_gid) < 0) {
            /* Not ours to give away, so it stays ours. */
        }
        (void)fchmod(fd, old.st_mode & 0777);
        close(fd);
    }
}

/* Has the old image, or whose file it may be, a file of that name? */
static int drop_old(Output *output, const char *from, const char *name)
{
    char *to = final_path(output, name);
    struct stat status;
    int taken = to != NULL && strcmp(to, output->target) != 0 && lstat(to, &status) == 0;
    int error = to != NULL ? 0 : ENOMEM;

    (void)from;
    if (taken && unlink(output->target) < 0 && errno != ENOENT) {
        error = errno;
    }
    free(to);
    return error;
}

/* Files of the new image may take the names of files of the old one, which must
 * not be found, and opened with them, any more. */
static int retire_old(Output *output, int durable)
{
    int error = output->existed ? for_each_file(output, drop_old) : 0;

    return error == 0 && output->existed && durable ? sync_directory(output->target) : error;
}

static int move_all(Output *output, int durable)
{
    int error;

    keep_owner(output);
    error = for_each_file(output, check_other); /* all, before any is moved */
    if (error == 0) {
        error = retire_old(output, durable);
    }
    if (error == 0) {
        error = for_each_file(output, move_other);
    }
    return error == 0 && rename(output->path, output->target) < 0 ? errno : error;
}

int output_finish(Output *output, int durable)
{
    int error = output->directory != NULL ? move_all(output, durable) : 0;

    if (error == 0 && durable && output->removable) {
        error = sync_directory(output->target);
    }
    if (error != 0) {
        return output_error(output, error);
    }
    output->made = 0;
    return 0;
}

/* So that nothing finds an image there. */
static void wipe_device(const char *path)
{
    static const char zeros[64 * 1024];
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (pwrite(fd, zeros, sizeof(zeros), 0) < 0 || fsync(fd) < 0) {
            /* It failed before, which is being told. */
        }
        close(fd);
    }
}

/* The half-made image has to go under all names that it may have: first its
 * content does. */
static void unmake_file(const char *path, int existed)
{
    if (truncate(path, 0) == 0 && !existed) {
        (void)unlink(path);
    }
}

/* A link that led to it stays. */
static void unmake(const Output *output)
{
    char *file = realpath(output->path, NULL);
    const char *path = file != NULL ? file : output->path;

    if (output->device) {
        wipe_device(path);
    } else {
        unmake_file(path, output->existed);
    }
    free(file);
    for (size_t i = 0; i < output->other_count; i++) {
        unmake_file(output->others[i].path, output->others[i].existed);
    }
}

void output_end(Output *output)
{
    if (output->directory != NULL) {
        (void)for_each_file(output, remove_file);
        (void)rmdir(output->directory);
    } else if (output->made && output->path != NULL) {
        unmake(output);
    }
    for (size_t i = 0; i < output->other_count; i++) {
        free(output->others[i].path);
    }
    free(output->others);
    free_old(output);
    free(output->directory);
    free(output->path_memory);
    free(output->target);
    memset(output, 0, sizeof(*output));
}

/* The image, and its further files, by the names that they are to have. */
static void put_final_names(const Output *output, const char *text, FILE *out)
{
    const size_t temporary = strlen(output->directory) + 1; /* and a slash */
    const size_t beside = (size_t)(base_of(output->target) - output->target);
    const char *found;

    while ((found = strstr(text, output->directory)) != NULL) {
        const size_t path = strlen(output->path);

        fwrite(text, 1, (size_t)(found - text), out);
        if (strncmp(found, output->path, path) == 0) {
            fputs(output->name, out);
            text = found + path;
        } else {
            fwrite(output->target, 1, beside, out);
            text = found + (found[temporary - 1] == '/' ? temporary : temporary - 1);
        }
    }
    fputs(text, out);
}

void output_library_error(const Output *output)
{
    const char *text = bdrv_errmsg();
    char *told = NULL;
    size_t size;
    FILE *out;

    if (output->said) {
        return;
    }
    out = output->directory != NULL ? open_memstream(&told, &size) : NULL;
    if (out != NULL) {
        put_final_names(output, text, out);
        fclose(out);
    }
    tool_error("%s", told != NULL ? told : text);
    free(told);
}
