/* SPDX-License-Identifier: MIT */
/*
 * image.c - how the commands open and describe images: the options they share,
 * the creation options, and the question whether two names are one file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ova.h"

/* ----------------------------------------------------------------- warnings */

/* While an image is being opened its warnings wait: if it is refused, the one
 * line that says why is all there is to say. */
static struct {
    int hold;
    char *lines[16]; /* what does not fit is shown at once */
    int count;
} warnings;

static void take_warning(void *opaque, const char *line)
{
    char *copy = NULL;

    (void)opaque;
    if (warnings.hold && warnings.count < 16) {
        copy = strdup(line);
    }
    if (copy != NULL) {
        warnings.lines[warnings.count++] = copy;
    } else {
        tool_error("warning: %s", line);
    }
}

static void release_warnings(int show)
{
    for (int i = 0; i < warnings.count; i++) {
        if (show) {
            tool_error("warning: %s", warnings.lines[i]);
        }
        free(warnings.lines[i]);
    }
    warnings.count = 0;
    warnings.hold = 0;
}

/* ------------------------------------------------------------------ opening */

/* The modes of qemu-img, and one more. */
static const struct {
    const char *name;
    unsigned source, target; /* BDRV_O_… */
} cache_modes[] = {
    {"writeback", 0, 0},
    {"unsafe", 0, BDRV_O_NO_FLUSH},
    {"writethrough", 0, BDRV_O_WRITETHROUGH},
    {"none", BDRV_O_DIRECT, BDRV_O_DIRECT},
    {"directsync", BDRV_O_DIRECT, BDRV_O_DIRECT | BDRV_O_WRITETHROUGH},
    {"drop-behind", BDRV_O_DROP_BEHIND, BDRV_O_DROP_BEHIND},
};
enum { CACHE_MODES = sizeof(cache_modes) / sizeof(*cache_modes) };

int tool_parse_cache(int letter, const char *mode, unsigned *flags)
{
    for (size_t i = 0; i < CACHE_MODES; i++) {
        if (strcmp(mode, cache_modes[i].name) == 0) {
            *flags = letter == 't' ? cache_modes[i].target : cache_modes[i].source;
            return 0;
        }
    }
    tool_error("-%c: there is no cache mode '%s', only writeback, unsafe, writethrough, none, "
               "directsync and drop-behind", letter, mode);
    return -1;
}

static int take_cache(ImageHow *how, int letter, const char *mode)
{
    unsigned flags;

    if (tool_parse_cache(letter, mode, &flags) < 0) {
        return -1;
    }
    how->flags |= flags;
    return 0;
}

/* Adds one "key=value" to those in *options.  what names it in the message. */
static int join_option(char **options, const char *value, const char *what)
{
    size_t used = *options != NULL ? strlen(*options) : 0;
    size_t length = strlen(value);
    char *joined = realloc(*options, used + length + 2);

    if (joined == NULL) {
        tool_error("%s: out of memory", what);
        return -1;
    }
    if (used > 0) {
        joined[used++] = ',';
    }
    memcpy(joined + used, value, length + 1);
    *options = joined;
    return 0;
}

static int add_allow_path(ImageHow *how, const char *directory)
{
    const char **paths;
    size_t count = 0;

    while (how->allow_paths != NULL && how->allow_paths[count] != NULL) {
        count++;
    }
    paths = realloc(how->allow_paths, (count + 2) * sizeof(*paths));
    if (paths == NULL) {
        tool_error("--allow-path: out of memory");
        return -1;
    }
    paths[count] = directory;
    paths[count + 1] = NULL;
    how->allow_paths = paths;
    return 0;
}

int image_take(ImageHow *how, int letter, const char *value)
{
    switch (letter) {
    case 'f':
        how->format = value;
        return 0;
    case 't':
    case 'T':
        return take_cache(how, letter, value);
    case 'U':
        how->flags |= BDRV_O_NO_LOCK;
        return 0;
    case 'q':
        how->quiet = 1;
        return 0;
    case TOOL_ALLOW_PATH:
        return add_allow_path(how, value);
    case TOOL_OPEN_OPTION:
        return join_option(&how->options, value, "--open-option");
    case TOOL_NO_SANDBOX:
        how->no_sandbox = 1;
        return 0;
    default:
        return -1; /* not in any table */
    }
}

void image_how_free(ImageHow *how)
{
    free(how->allow_paths);
    how->allow_paths = NULL;
    free(how->options);
    how->options = NULL;
}

void image_error(int error, const char *filename)
{
    char holder[128];

    if (error == -EBUSY && holder_find(filename, holder, sizeof(holder))) {
        tool_error("%s (%s)", bdrv_errmsg(), holder);
    } else {
        tool_library_error();
    }
}

int image_check_free(const char *filename)
{
    BdrvOpenOptions options = {.struct_size = sizeof(options), .flags = BDRV_O_RDWR};
    BlockDriverState *bs;
    struct stat st;
    int result;

    if (stat(filename, &st) < 0 || !S_ISREG(st.st_mode)) {
        return 0;
    }
    result = bdrv_open(&bs, filename, "raw", &options);
    if (result < 0) {
        image_error(result, filename);
    }
    bdrv_close(bs);
    return result;
}

/* Two writers destroy an image, so none goes without a lock. */
static int check_locking(const char *filename, unsigned flags)
{
    const unsigned writes = BDRV_O_RDWR | BDRV_O_NO_LOCK;

    if ((flags & (writes | BDRV_O_SNAPSHOT)) != writes) {
        return 0;
    }
    tool_error("%s: -U is for reading only: what is written is locked", filename);
    return -1;
}

/* The image in disk, what an archive was found to hold; NULL: in the file itself. */
static int open_image(BlockDriverState **bs, const char *filename, BlockDriverState *disk,
                      const ImageHow *how)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = how->flags,
        .options = how->options,
        .allow_paths = how->allow_paths,
        .table_bytes = how->table_bytes,
        .log = how->quiet ? NULL : take_warning,
    };

    return disk != NULL ? bdrv_open_node(bs, disk, how->format, &options)
                        : bdrv_open(bs, filename, how->format, &options);
}

/* Whoever has a parent open, when it is not the image itself that is in use. */
static int find_holder_of_parent(const char *filename, const ImageHow *how, char *text, size_t size)
{
    ImageHow look = *how;
    BlockDriverState *bs, *node;
    int found = 0;

    look.quiet = 1;
    look.flags = BDRV_O_NO_LOCK;
    if (open_image(&bs, filename, NULL, &look) < 0) {
        return 0;
    }
    for (node = bdrv_backing(bs); node != NULL && !found; node = bdrv_backing(node)) {
        found = holder_find(bdrv_filename(node), text, size);
    }
    bdrv_close(bs);
    return found;
}

static void open_error(int error, const char *filename, const ImageHow *how)
{
    char holder[128];
    char *message = strdup(bdrv_errmsg());

    if (error == -EBUSY && message != NULL &&
        (holder_find(filename, holder, sizeof(holder)) ||
         find_holder_of_parent(filename, how, holder, sizeof(holder)))) {
        tool_error("%s (%s)", message, holder);
    } else {
        tool_error("%s", message != NULL ? message : strerror(ENOMEM));
    }
    free(message);
}

BlockDriverState *image_open(const char *filename, const ImageHow *how)
{
    BlockDriverState *bs = NULL, *disk;
    int result;

    if (check_locking(filename, how->flags) < 0 ||
        ova_open(&disk, filename, how->format, how->flags) < 0) {
        return NULL;
    }
    warnings.hold = 1;
    result = open_image(&bs, filename, disk, how);
    if (result < 0) {
        open_error(result, filename, how);
    }
    release_warnings(bs != NULL);
    bdrv_close(disk);
    return bs; /* NULL after a failure */
}

void image_close(BlockDriverState *bs)
{
    bdrv_close(bs); /* nothing was written, so nothing can be lost */
}

int image_close_written(BlockDriverState *bs, int result)
{
    int closed = bdrv_close(bs);

    if (result >= 0 && closed < 0) {
        tool_library_error();
        return closed;
    }
    return result;
}

/* ----------------------------------------------------------------- creating */

int image_new_add(ImageNew *image, const char *value)
{
    return join_option(&image->options, value, "-o");
}

/* The end of the "key=value" at text: a comma that is not doubled, or NUL. */
static const char *option_end(const char *text)
{
    while (*text != '\0' && (text[0] != ',' || text[1] == ',')) {
        text += text[0] == ',' ? 2 : 1;
    }
    return text;
}

/* The value in [text, end) with doubled commas made single.  NULL: no memory. */
static char *option_value(const char *text, const char *end)
{
    char *value = malloc((size_t)(end - text) + 1);
    size_t length = 0;

    if (value == NULL) {
        return NULL;
    }
    while (text < end) {
        value[length++] = *text;
        text += text[0] == ',' ? 2 : 1;
    }
    value[length] = '\0';
    return value;
}

/* Takes the last key=… out of the options.  *value stays as it is if there is
 * none; owned by the caller. */
static int take_option(char *options, const char *key, char **value)
{
    size_t key_length = strlen(key);
    char *text = options;

    while (*text != '\0') {
        char *end = text + (option_end(text) - text);
        char *next = *end == ',' ? end + 1 : end;

        if (strncmp(text, key, key_length) != 0 || text[key_length] != '=') {
            text = next;
            continue;
        }
        free(*value);
        *value = option_value(text + key_length + 1, end);
        if (*value == NULL) {
            tool_error("-o: out of memory");
            return -1;
        }
        memmove(text, next, strlen(next) + 1);
    }
    return 0;
}

static void print_options(const char *driver, const BdrvOption *list)
{
    const char *const *choice;

    printf("Supported %s options:\n", driver);
    for (const BdrvOption *o = list; o->name != NULL; o++) {
        printf("  %-20s %s", o->name, o->help != NULL ? o->help : "");
        choice = o->type == BDRV_OPTION_CHOICE ? o->choices : NULL;
        for (int i = 0; choice != NULL && choice[i] != NULL; i++) {
            printf("%s%s", i == 0 ? ": " : ", ", choice[i]);
        }
        if (o->default_text != NULL) {
            printf(" (default: %s)", o->default_text);
        }
        printf("\n");
    }
}

static void print_create_options(const BdrvDriverInfo *driver)
{
    print_options(driver->name, driver->create_options);
    if (driver->can_back) {
        printf("  %-20s %s\n", "backing_file", "same as -b");
        printf("  %-20s %s\n", "backing_fmt", "same as -F");
    }
    printf("  %-20s %s\n", "size", "size of the disk");
}

/* "help" or "?" stands among them. */
int image_wants_help(const char *options)
{
    while (options != NULL && *options != '\0') {
        const char *end = option_end(options);
        size_t length = (size_t)(end - options);

        if ((length == 4 && strncmp(options, "help", 4) == 0) ||
            (length == 1 && *options == '?')) {
            return 1;
        }
        options = *end == ',' ? end + 1 : end;
    }
    return 0;
}

static int find_driver(const char *name, BdrvDriverInfo *info)
{
    const BlockDriver *driver = bdrv_find(name);

    memset(info, 0, sizeof(*info));
    info->struct_size = sizeof(*info);
    if (driver == NULL || bdrv_driver_describe(driver, info) < 0) {
        tool_error("unknown format '%s' (img --help lists them)", name);
        return -1;
    }
    return 0;
}

int image_print_amend_options(const char *format)
{
    BdrvDriverInfo driver;

    if (find_driver(format, &driver) < 0) {
        return -1;
    }
    if (driver.amend_options->name == NULL) {
        tool_error("nothing can be amended in images of the format %s",
                   driver.name);
        return -1;
    }
    print_options(driver.name, driver.amend_options);
    return 0;
}

int image_new_settle(ImageNew *image, BdrvDriverInfo *driver)
{
    static const char *const words[] = {"backing_file", "backing_fmt", "size"};
    const char **places[] = {&image->backing, &image->backing_format,
                             &image->size};

    if (find_driver(image->format, driver) < 0) {
        return -1;
    }
    if (image_wants_help(image->options)) {
        print_create_options(driver);
        return 1;
    }
    for (int i = 0; image->options != NULL && i < 3; i++) {
        if (take_option(image->options, words[i], &image->values[i]) < 0) {
            return -1;
        }
        if (*places[i] == NULL) {
            *places[i] = image->values[i];
        }
    }
    if (image->options != NULL) {
        size_t length = strlen(image->options);

        if (length > 0 && image->options[length - 1] == ',') {
            image->options[length - 1] = '\0'; /* what it divided was taken */
        }
    }
    return image_check_parent(image->backing, image->backing_format);
}

int image_check_parent(const char *filename, const char *format)
{
    if (filename != NULL && format == NULL && ova_is_name(filename)) {
        tool_error("%s: an OVA cannot be a parent: take the disk out with img-convert; -F raw "
                   "takes its bytes for a disk", filename);
        return -1;
    }
    return 0;
}

static int knows_option(const BdrvOption *options, const char *name)
{
    while (options->name != NULL && strcmp(options->name, name) != 0) {
        options++;
    }
    return options->name != NULL;
}

/* "key=value" as it stands in the options; *length 0: it does not. */
static const char *find_option(const char *options, const char *key, size_t *length)
{
    const size_t key_length = strlen(key);

    *length = 0;
    while (options != NULL && *options != '\0') {
        const char *end = option_end(options);

        if (strncmp(options, key, key_length) == 0 && options[key_length] == '=') {
            *length = (size_t)(end - options);
            return options;
        }
        options = *end == ',' ? end + 1 : end;
    }
    return NULL;
}

int image_new_value(const ImageNew *image, const char *key, char **value)
{
    const size_t key_length = strlen(key);
    const char *options = image->options, *found;
    size_t length;

    *value = NULL;
    while ((found = find_option(options, key, &length)) != NULL) {
        free(*value);
        *value = option_value(found + key_length + 1, found + length);
        if (*value == NULL) {
            tool_error("-o: out of memory");
            return -1;
        }
        options = found[length] == ',' ? found + length + 1 : NULL;
    }
    return 0;
}

int image_new_seed(ImageNew *image, const BdrvDriverInfo *driver)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    char text[64];
    const char *seed;
    size_t length;

    if (!knows_option(driver->create_options, "seed")) {
        return 0;
    }
    seed = find_option(image->options, "seed", &length);
    if (seed == NULL && epoch != NULL && *epoch != '\0' &&
        strspn(epoch, "0123456789") == strlen(epoch) && strlen(epoch) < 32) {
        snprintf(text, sizeof(text), "seed=%s", epoch);
        if (image_new_add(image, text) < 0) {
            return -1;
        }
        seed = find_option(image->options, "seed", &length);
    }
    if (seed != NULL && knows_option(driver->open_options, "seed")) {
        image->open_options = strndup(seed, length);
        if (image->open_options == NULL) {
            tool_error("-o: out of memory");
            return -1;
        }
    }
    return 0;
}

void image_new_free(ImageNew *image)
{
    free(image->options);
    free(image->open_options);
    for (int i = 0; i < 3; i++) {
        free(image->values[i]);
    }
    memset(image, 0, sizeof(*image));
}

/* ------------------------------------------------------------ the same file */

int image_same_file(const char *one, const char *other)
{
    struct stat a;
    struct stat b;

    if (stat(one, &a) < 0 || stat(other, &b) < 0) {
        return 0;
    }
    if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode)) {
        return a.st_rdev == b.st_rdev; /* two nodes may stand for one device */
    }
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int image_spare(BlockDriverState *bs, const char *filename, const char *what)
{
    int used = bdrv_uses_file(bs, filename);

    if (used < 0) {
        tool_library_error();
    } else if (used > 0) {
        tool_error("%s: is the source, or part of it (%s); write to another file", what,
                   bdrv_filename(bs));
    }
    return used == 0 ? 0 : -1;
}
