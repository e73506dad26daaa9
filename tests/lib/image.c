/* SPDX-License-Identifier: MIT */
/*
 * image.c - see image.h.  The list of kinds is in kinds.c.
 */
#include "image.h"

#include "built.h"
#include "host.h"
#include "pattern.h"
#include "suite.h"

enum { PIECE = 1 << 20 };

static const char child_name[] = "image";
static const char parent_name[] = "parent";

/* ------------------------------------------------------------ mem nodes */

BlockDriverState *image_memory(int64_t length)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    BlockDriverState *memory;
    assert_ok(bdrv_open(&memory, "memory", "mem", &options));
    if (length > 0) {
        assert_ok(bdrv_truncate(memory, length));
    }
    return memory;
}

BlockDriverState *image_memory_from(const void *bytes, int64_t length)
{
    BlockDriverState *memory = image_memory(length);
    assert_ok(bdrv_pwrite(memory, bytes, (size_t)length, 0));
    return memory;
}

uint8_t *image_memory_bytes(BlockDriverState *memory)
{
    size_t length = (size_t)bdrv_getlength(memory);
    uint8_t *bytes = malloc(length + 1);
    ck_assert_ptr_nonnull(bytes);
    assert_ok(bdrv_pread(memory, bytes, length, 0));
    return bytes;
}

BlockDriverState *image_memory_copy(BlockDriverState *from)
{
    uint8_t *bytes = image_memory_bytes(from);
    BlockDriverState *copy = image_memory_from(bytes, bdrv_getlength(from));
    free(bytes);
    return copy;
}

/* --------------------------------------------------------------- parents */

/* The parent's data comes in stripes that match no cluster, with holes. */
enum {
    STRIPE = 45 * 1024 + 512,
    STRIPES_TO_A_HOLE = 3
};

static void write_parent(BlockDriverState *bs, int64_t length)
{
    for (int64_t at = 0, i = 0; at < length; at += STRIPE, i++) {
        int64_t bytes = length - at < STRIPE ? length - at : STRIPE;
        if (i % STRIPES_TO_A_HOLE != 0) {
            assert_ok(pattern_write(bs, at, bytes, IMAGE_PARENT_GENERATION));
        }
    }
}

/* Makes the file of that name, which is where the path leads, on a host. */
static void create_at(const Image *image, const char *name, const char *path,
                      const char *format, const BdrvCreateOptions *options)
{
    if (image->volume == NULL) {
        assert_ok(bdrv_create(path, format, options));
        return;
    }
    BlockDriverState *file = volume_create(image->volume, name);
    assert_ok(bdrv_create_node(file, format, options));
    assert_ok(bdrv_close(file));
}

static BlockDriverState *open_at(const Image *image, const char *name,
                                 const char *path, const char *format,
                                 const BdrvOpenOptions *options)
{
    BlockDriverState *bs;
    if (image->volume == NULL) {
        assert_ok(bdrv_open(&bs, path, format, options));
        return bs;
    }
    BlockDriverState *file = volume_open(image->volume, name, options->flags);
    assert_ok(bdrv_open_node(&bs, file, format, options));
    assert_ok(bdrv_close(file)); /* bs holds it */
    return bs;
}

/* Makes the parent file and reads what of it shows in the child. */
static void make_parent(Image *image, int64_t length)
{
    const ImageKind *kind = image->kind;
    BdrvCreateOptions create = {
        .struct_size = sizeof(create), .size = length,
        .options = kind->parent_options,
    };
    BdrvOpenOptions open = {
        .struct_size = sizeof(open), .flags = BDRV_O_RDWR,
        .options = kind->parent_open_options,
    };
    create_at(image, parent_name, image->parent, kind->parent_format, &create);
    BlockDriverState *bs = open_at(image, parent_name, image->parent,
                                   kind->parent_format, &open);
    write_parent(bs, length);
    int64_t shown = length < image->size ? length : image->size;
    memset(image->initial, 0, (size_t)image->size);
    assert_ok(bdrv_pread(bs, image->initial, (size_t)shown, 0));
    assert_ok(bdrv_close(bs));
}

/* ---------------------------------------------------------- making images */

/* Calls the kind's builder, which fills in what the disk holds. */
static ImageFiles build(Image *image)
{
    ImageFiles files = { .initial = image->initial };
    image->kind->build(image->kind, image->size, &files);
    ck_assert_uint_gt(files.count, 0);
    return files;
}

static void free_files(ImageFiles *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free(files->list[i].bytes);
    }
}

static void build_in_memory(Image *image)
{
    ImageFiles files = build(image);
    ck_assert_uint_eq(files.count, 1);
    image->storage = image_memory_from(files.list[0].bytes, files.list[0].size);
    free_files(&files);
}

/* The first file gets the image's name, the others keep theirs. */
static void build_files(Image *image)
{
    ImageFiles files = build(image);
    for (size_t i = 0; i < files.count; i++) {
        const char *name = i == 0 ? child_name : files.list[i].name;
        if (image->volume != NULL) {
            BlockDriverState *file = volume_create(image->volume, name);
            assert_ok(bdrv_pwrite(file, files.list[i].bytes,
                                  (size_t)files.list[i].size, 0));
            assert_ok(bdrv_close(file));
        } else {
            char *path = host_path(image->directory, name);
            host_write_file(path, files.list[i].bytes, (size_t)files.list[i].size);
            free(path);
        }
    }
    free_files(&files);
}

static void make_in_memory(Image *image)
{
    if (image->kind->build != NULL) {
        build_in_memory(image);
        return;
    }
    BdrvCreateOptions options = {
        .struct_size = sizeof(options), .size = image->size,
        .options = image->kind->create_options,
    };
    image->storage = image_memory(0);
    assert_ok(bdrv_create_node(image->storage, image->kind->format, &options));
}

static void create_file(Image *image, const char *backing)
{
    const ImageKind *kind = image->kind;
    BdrvCreateOptions options = {
        .struct_size = sizeof(options), .size = image->size,
        .options = kind->create_options, .backing = backing,
        .backing_format = kind->parent_format,
    };
    create_at(image, child_name, image->path, kind->create_format != NULL
              ? kind->create_format : kind->format, &options);
}

/* What a snapshot is taken of has content too. */
static void fill_base(Image *image)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR,
    };
    BlockDriverState *bs;
    assert_ok(bdrv_open(&bs, image->path, image->kind->format, &options));
    write_parent(bs, image->size);
    assert_ok(bdrv_pread(bs, image->initial, (size_t)image->size, 0));
    assert_ok(bdrv_close(bs));
}

static void make_files(Image *image)
{
    const ImageKind *kind = image->kind;
    if (kind->build != NULL) {
        build_files(image);
        return;
    }
    if (kind->parent_format == NULL) {
        create_file(image, NULL);
        return;
    }
    make_parent(image, image->size);
    create_file(image, parent_name);
    if (kind->parent_growth != 0) {
        make_parent(image, image->size + kind->parent_growth);
    }
}

static void make_in_directory(Image *image)
{
    const ImageKind *kind = image->kind;
    image->directory = host_directory_new();
    image->path = host_path(image->directory, child_name);
    if (kind->parent_format != NULL) {
        image->parent = host_path(image->directory, parent_name);
    }
    make_files(image);
    if ((kind->facts & IMAGE_SNAPSHOT) != 0) {
        fill_base(image);
    }
}

/* A child is made as a file, beside its parent, and then loaded. */
static void move_to_memory(Image *image)
{
    size_t size;
    uint8_t *bytes = host_read_file(image->path, &size);
    image->storage = image_memory_from(bytes, (int64_t)size);
    free(bytes);
}

static Image *image_without_files(const ImageKind *kind, int64_t size)
{
    Image *image = calloc(1, sizeof(*image));
    ck_assert_ptr_nonnull(image);
    image->kind = kind;
    image->size = size;
    image->initial = calloc(1, (size_t)size + 1);
    image->expected = malloc((size_t)size + 1);
    ck_assert(image->initial != NULL && image->expected != NULL);
    return image;
}

int image_fits_volume(const ImageKind *kind)
{
    return (kind->facts & (IMAGE_FORGETS | IMAGE_ROUNDED)) == 0 && kind->create_format == NULL;
}

Image *image_new_in_volume(const ImageKind *kind, int64_t size)
{
    Image *image = image_without_files(kind, size);
    image->volume = volume_new();
    make_files(image);
    memcpy(image->expected, image->initial, (size_t)size);
    return image;
}

Image *image_new(const ImageKind *kind, int64_t size)
{
    Image *image = image_without_files(kind, size);
    if ((kind->facts & IMAGE_IN_MEMORY) != 0 && kind->parent_format == NULL) {
        make_in_memory(image);
    } else if ((kind->facts & IMAGE_IN_MEMORY) != 0) {
        make_in_directory(image);
        move_to_memory(image);
    } else if (strcmp(kind->format, "mem") != 0 &&
               strcmp(kind->format, "null") != 0) {
        make_in_directory(image);
    }
    memcpy(image->expected, image->initial, (size_t)size);
    return image;
}

void image_free(Image *image)
{
    assert_ok(bdrv_close(image->storage));
    if (image->volume != NULL) {
        volume_free(image->volume);
    }
    if (image->directory != NULL) {
        host_directory_remove(image->directory);
    }
    free(image->path);
    free(image->parent);
    free(image->initial);
    free(image->expected);
    free(image);
}

/* --------------------------------------------------------------- handles */

int image_try_open_on(const Image *image, BlockDriverState *storage,
                      unsigned flags, BlockDriverState **bs)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = flags,
        .options = image->kind->open_options, .backing = image->parent,
        .backing_format = image->kind->parent_format,
    };
    return bdrv_open_node(bs, storage, image->kind->format, &options);
}

int image_try_open_in(const Image *image, Volume *volume, unsigned flags,
                      BlockDriverState **bs)
{
    BlockDriverState *file = volume_open(volume, child_name, flags & BDRV_O_RDWR);
    int result = image_try_open_on(image, file, flags, bs);
    bdrv_close(file);
    return result;
}

/* mem and null: nothing but a label, and a length to be given. */
static int open_label(const Image *image, unsigned flags, BlockDriverState **bs)
{
    char size[64];
    snprintf(size, sizeof(size), "size=%lld", (long long)image->size);
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = flags, .options = size,
    };
    return bdrv_open(bs, "label", image->kind->format, &options);
}

int image_try_open(Image *image, unsigned flags, BlockDriverState **bs)
{
    if (image->storage != NULL) {
        return image_try_open_on(image, image->storage, flags, bs);
    }
    if (image->volume != NULL) {
        return image_try_open_in(image, image->volume, flags, bs);
    }
    if (image->path == NULL) {
        return open_label(image, flags, bs);
    }
    if ((image->kind->facts & IMAGE_SNAPSHOT) != 0 &&
        (flags & BDRV_O_RDWR) != 0) {
        flags |= BDRV_O_SNAPSHOT;
    }
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = flags,
        .options = image->kind->open_options,
        .snapshot_directory = image->directory,
    };
    return bdrv_open(bs, image->path, image->kind->format, &options);
}

BlockDriverState *image_open(Image *image, unsigned flags)
{
    BlockDriverState *bs;
    int result = image_try_open(image, flags, &bs);
    ck_assert_msg(result == 0, "%s: cannot open: %s", image->kind->name,
                  bdrv_errmsg());
    return bs;
}

void image_close(Image *image, BlockDriverState *bs)
{
    int result = bdrv_close(bs);
    ck_assert_msg(result == 0, "%s: close: %s", image->kind->name,
                  bdrv_errmsg());
    if ((image->kind->facts & IMAGE_FORGETS) != 0) {
        memcpy(image->expected, image->initial, (size_t)image->size);
    }
}

/* --------------------------------------------------------------- content */

void image_expect(Image *image, int64_t offset, const void *buf, size_t bytes)
{
    if ((image->kind->facts & IMAGE_EMPTY) == 0) {
        memcpy(image->expected + offset, buf, bytes);
    }
}

void image_write(Image *image, BlockDriverState *bs, int64_t offset,
                 int64_t bytes, unsigned generation)
{
    uint8_t *buf = malloc((size_t)bytes + 1);
    ck_assert_ptr_nonnull(buf);
    pattern_fill(buf, (size_t)bytes, offset, generation);
    int result = bdrv_pwrite(bs, buf, (size_t)bytes, offset);
    ck_assert_msg(result == 0, "%s: write of %lld bytes at %lld: %s",
                  image->kind->name, (long long)bytes, (long long)offset,
                  bdrv_errmsg());
    image_expect(image, offset, buf, (size_t)bytes);
    free(buf);
}

void image_write_zeroes(Image *image, BlockDriverState *bs, int64_t offset,
                        int64_t bytes)
{
    int result = bdrv_write_zeroes(bs, offset, bytes);
    ck_assert_msg(result == 0, "%s: write_zeroes of %lld bytes at %lld: %s",
                  image->kind->name, (long long)bytes, (long long)offset,
                  bdrv_errmsg());
    memset(image->expected + offset, 0, (size_t)bytes);
}

static void learn_discarded(Image *image, BlockDriverState *bs, int64_t offset,
                            size_t bytes)
{
    static const uint8_t zeros[BDRV_SECTOR_SIZE];
    uint8_t found[BDRV_SECTOR_SIZE];
    uint8_t *expected = image->expected + offset;
    if (bdrv_pread(bs, found, bytes, offset) != 0 ||
        (memcmp(found, zeros, bytes) != 0 &&
         memcmp(found, expected, bytes) != 0)) {
        ck_abort_msg("%s: discarded sector at %lld holds foreign bytes",
                     image->kind->name, (long long)offset);
    }
    memcpy(expected, found, bytes);
}

void image_discard(Image *image, BlockDriverState *bs, int64_t offset,
                   int64_t bytes)
{
    int result = bdrv_discard(bs, offset, bytes);
    ck_assert_msg(result == 0 || result == -ENOTSUP,
                  "%s: discard of %lld bytes at %lld: %s", image->kind->name,
                  (long long)bytes, (long long)offset, bdrv_errmsg());
    for (int64_t end = offset + bytes; offset < end;) {
        int64_t next = (offset / BDRV_SECTOR_SIZE + 1) * BDRV_SECTOR_SIZE;
        size_t count = (size_t)((next < end ? next : end) - offset);
        learn_discarded(image, bs, offset, count);
        offset += (int64_t)count;
    }
}

static void *resized(void *model, int64_t from, int64_t to)
{
    uint8_t *bytes = realloc(model, (size_t)to + 1);
    ck_assert_ptr_nonnull(bytes);
    if (to > from) {
        memset(bytes + from, 0, (size_t)(to - from));
    }
    return bytes;
}

void image_resize(Image *image, BlockDriverState *bs, int64_t size)
{
    int result = bdrv_truncate(bs, size);
    ck_assert_msg(result == 0, "%s: truncate from %lld to %lld: %s",
                  image->kind->name, (long long)image->size, (long long)size,
                  bdrv_errmsg());
    image->initial = resized(image->initial, image->size, size);
    image->expected = resized(image->expected, image->size, size);
    image->size = size;
}

/* NULL if the range reads as the model says; *result is the read's. */
static const char *compare(const Image *image, BlockDriverState *bs,
                           int64_t offset, int64_t bytes, int *result)
{
    uint8_t *buf = malloc((size_t)bytes + 1);
    ck_assert_ptr_nonnull(buf);
    const char *text = NULL;
    *result = bdrv_pread(bs, buf, (size_t)bytes, offset);
    if (*result == 0) {
        text = pattern_compare(buf, image->expected + offset, (size_t)bytes,
                               offset);
    }
    free(buf);
    return text;
}

void image_assert_range(const Image *image, BlockDriverState *bs,
                        int64_t offset, int64_t bytes)
{
    while (bytes > 0) {
        int64_t piece = bytes < PIECE ? bytes : PIECE;
        int result;
        const char *text = compare(image, bs, offset, piece, &result);
        ck_assert_msg(result == 0, "%s: read of %lld bytes at %lld: %s",
                      image->kind->name, (long long)piece, (long long)offset,
                      bdrv_errmsg());
        ck_assert_msg(text == NULL, "%s: %s", image->kind->name, text);
        offset += piece;
        bytes -= piece;
    }
}

void image_assert(const Image *image, BlockDriverState *bs)
{
    ck_assert_int_eq(bdrv_getlength(bs), image->size);
    image_assert_range(image, bs, 0, image->size);
}

int image_is_honest(const Image *image, BlockDriverState *bs)
{
    for (int64_t at = 0; at < image->size; at += IMAGE_CLUSTER) {
        int64_t bytes = image->size - at;
        int result;
        if (bytes > IMAGE_CLUSTER) {
            bytes = IMAGE_CLUSTER;
        }
        if (compare(image, bs, at, bytes, &result) != NULL) {
            return 0;
        }
    }
    return 1;
}

/* --------------------------------------------------------------- checking */

static _Thread_local char damage[512];

static void note_damage(void *opaque, const BdrvFinding *finding)
{
    (void)opaque;
    int harmless = finding->kind == BDRV_FINDING_LEAK ||
                   finding->kind == BDRV_FINDING_MISMATCH;
    if (!harmless && damage[0] == '\0') {
        snprintf(damage, sizeof(damage), "check finds: %s", finding->text);
    }
}

const char *image_find_damage(BlockDriverState *bs)
{
    BdrvCheckOptions options = {
        .struct_size = sizeof(options), .finding = note_damage,
    };
    BdrvCheckResult found = { .struct_size = sizeof(found) };
    damage[0] = '\0';
    int result = bdrv_check(bs, &options, &found);
    if (result != 0 && result != -ENOTSUP) {
        snprintf(damage, sizeof(damage), "check fails: %s", bdrv_errmsg());
    }
    if (damage[0] == '\0' && found.corruptions + found.unrecoverable > 0) {
        snprintf(damage, sizeof(damage), "check counts %lld corruptions",
                 (long long)(found.corruptions + found.unrecoverable));
    }
    return damage[0] != '\0' ? damage : NULL;
}
