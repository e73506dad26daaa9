/* SPDX-License-Identifier: MIT */
/*
 * volume.c - see volume.h.  A driver like any other, on the public driver API;
 * names are "NUMBER/NAME", where the number is the volume's.
 */
#include "volume.h"

#include <pthread.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "bdrv-driver.h"
#include "suite.h"

enum {
    VOLUMES = 64, /* at the same time */
    NAME_BYTES = 256
};

typedef struct VolumeFile {
    char *name; /* NULL: none */
    uint8_t *bytes;
    int64_t length;
    int64_t room;
} VolumeFile;

struct Volume {
    size_t number;
    pthread_mutex_t lock; /* all below */
    VolumeFile *files;
    size_t count;
    VolumeWatch *watch;
    void *opaque;
};

typedef struct VolumeNode {
    Volume *volume;
    size_t file;
    int to_be_emptied; /* at the first change: see BDRV_O_CREATE */
} VolumeNode;

static pthread_mutex_t volumes_lock = PTHREAD_MUTEX_INITIALIZER;
static Volume *volumes[VOLUMES];

/* -------------------------------------------------------------------- life */

/* A test without memory has nothing to say. */
static void *need(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

Volume *volume_new(void)
{
    Volume *volume = need(calloc(1, sizeof(*volume)));
    pthread_mutex_init(&volume->lock, NULL);
    pthread_mutex_lock(&volumes_lock);
    while (volume->number < VOLUMES && volumes[volume->number] != NULL) {
        volume->number++;
    }
    if (volume->number == VOLUMES) {
        ck_abort_msg("there are %d volumes already", VOLUMES);
    }
    volumes[volume->number] = volume;
    pthread_mutex_unlock(&volumes_lock);
    return volume;
}

Volume *volume_copy(Volume *from)
{
    Volume *volume = volume_new();
    pthread_mutex_lock(&from->lock);
    volume->files = need(calloc(from->count + 1, sizeof(*volume->files)));
    volume->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        const VolumeFile *file = &from->files[i];
        volume->files[i] = (VolumeFile){
            .name = file->name != NULL ? need(strdup(file->name)) : NULL,
            .bytes = need(malloc((size_t)file->length + 1)),
            .length = file->length, .room = file->length,
        };
        if (file->length > 0) {
            memcpy(volume->files[i].bytes, file->bytes, (size_t)file->length);
        }
    }
    pthread_mutex_unlock(&from->lock);
    return volume;
}

void volume_free(Volume *volume)
{
    pthread_mutex_lock(&volumes_lock);
    volumes[volume->number] = NULL;
    pthread_mutex_unlock(&volumes_lock);
    for (size_t i = 0; i < volume->count; i++) {
        free(volume->files[i].name);
        free(volume->files[i].bytes);
    }
    free(volume->files);
    pthread_mutex_destroy(&volume->lock);
    free(volume);
}

/* -------------------------------------- files; the volume's lock is held */

static VolumeFile *file_of(Volume *volume, size_t number)
{
    if (number >= volume->count) {
        volume->files = need(realloc(volume->files, (number + 1) * sizeof(*volume->files)));
        memset(volume->files + volume->count, 0,
               (number + 1 - volume->count) * sizeof(*volume->files));
        volume->count = number + 1;
    }
    return &volume->files[number];
}

/* The number of the file of that name, or how many there are: none. */
static size_t find_file(const Volume *volume, const char *name)
{
    size_t i = 0;
    while (i < volume->count && (volume->files[i].name == NULL ||
                                 strcmp(volume->files[i].name, name) != 0)) {
        i++;
    }
    return i;
}

static void set_length(VolumeFile *file, int64_t length)
{
    if (length > file->room) {
        file->room = length + length / 4;
        file->bytes = need(realloc(file->bytes, (size_t)file->room));
    }
    if (length > file->length) {
        memset(file->bytes + file->length, 0, (size_t)(length - file->length));
    }
    file->length = length;
}

/* Takes it from the file that has it: a name leads to one file. */
static void give_name(Volume *volume, VolumeFile *file, const char *name)
{
    size_t other = find_file(volume, name);
    if (other < volume->count) {
        free(volume->files[other].name);
        volume->files[other].name = NULL;
    }
    free(file->name);
    file->name = need(strdup(name));
}

static void apply(Volume *volume, const VolumeChange *change)
{
    VolumeFile *file = file_of(volume, change->file);
    switch (change->kind) {
    case VOLUME_REPLACE:
        set_length(file, change->bytes);
        memcpy(file->bytes, change->data, (size_t)change->bytes);
        break;
    case VOLUME_WRITE:
        set_length(file, bdrv_max(file->length, change->offset + change->bytes));
        memcpy(file->bytes + change->offset, change->data, (size_t)change->bytes);
        break;
    case VOLUME_LENGTH:
        set_length(file, change->offset);
        break;
    case VOLUME_CREATE:
        give_name(volume, file, change->name);
        break;
    case VOLUME_REMOVE:
        free(file->name);
        file->name = NULL;
        break;
    case VOLUME_FLUSH:
        break;
    }
}

void volume_apply(Volume *volume, const VolumeChange *change)
{
    pthread_mutex_lock(&volume->lock);
    apply(volume, change);
    if (volume->watch != NULL) {
        volume->watch(volume->opaque, change);
    }
    pthread_mutex_unlock(&volume->lock);
}

void volume_watch(Volume *volume, VolumeWatch *watch, void *opaque)
{
    pthread_mutex_lock(&volume->lock);
    volume->watch = watch;
    volume->opaque = opaque;
    pthread_mutex_unlock(&volume->lock);
}

uint8_t *volume_bytes(Volume *volume, const char *name, int64_t *length)
{
    uint8_t *bytes = NULL;
    pthread_mutex_lock(&volume->lock);
    size_t number = find_file(volume, name);
    if (number < volume->count) {
        *length = volume->files[number].length;
        bytes = need(malloc((size_t)*length + 1));
        memcpy(bytes, volume->files[number].bytes, (size_t)*length);
    }
    pthread_mutex_unlock(&volume->lock);
    return bytes;
}

/* ----------------------------------------------------------------- opening */

void volume_path(const Volume *volume, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%zu/%s", volume->number, name);
}

/* The volume that the node's name is in, and the rest of the name. */
static Volume *find_volume(BlockDriverState *bs, const char **name)
{
    char *end;
    size_t number = strtoul(bdrv_filename(bs), &end, 10);
    if (*end != '/' || end == bdrv_filename(bs) || number >= VOLUMES) {
        return NULL;
    }
    *name = end + 1;
    pthread_mutex_lock(&volumes_lock);
    Volume *volume = volumes[number];
    pthread_mutex_unlock(&volumes_lock);
    return volume;
}

static int volume_start(BlockDriverState *bs)
{
    VolumeNode *node = bdrv_state(bs);
    const char *name = "";
    node->volume = find_volume(bs, &name);
    if (node->volume == NULL) {
        return bdrv_error(bs, -ENOENT, "there is no such volume");
    }
    pthread_mutex_lock(&node->volume->lock);
    node->file = find_file(node->volume, name);
    int is_there = node->file < node->volume->count;
    int64_t length = is_there ? node->volume->files[node->file].length : 0;
    pthread_mutex_unlock(&node->volume->lock);
    if ((bdrv_open_flags(bs) & BDRV_O_CREATE) != 0) {
        node->to_be_emptied = length > 0;
        length = 0;
        if (!is_there) {
            volume_apply(node->volume, &(VolumeChange){
                .kind = VOLUME_CREATE, .file = node->file, .name = (char *)name });
        }
    } else if (!is_there) {
        return bdrv_error(bs, -ENOENT, "there is no such file");
    }
    bdrv_set_length(bs, length);
    return 0;
}

static int volume_open_node(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    return volume_start(bs);
}

static int volume_open_other(BlockDriverState *bs, BlockDriverState *from,
                             const char *name)
{
    char path[NAME_BYTES];
    int result = bdrv_path_join(path, sizeof(path), bdrv_filename(from), name);
    if (result == 0) {
        result = bdrv_set_filename(bs, path);
    }
    return result < 0 ? result : volume_start(bs);
}

/* -------------------------------------------------------------------- data */

static int volume_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    const VolumeNode *node = bdrv_state(bs);
    Volume *volume = node->volume;
    pthread_mutex_lock(&volume->lock);
    const VolumeFile *file = &volume->files[node->file];
    int result = offset + (int64_t)bytes <= file->length ? 0 : -EIO;
    if (result == 0) {
        memcpy(buf, file->bytes + offset, bytes);
    }
    pthread_mutex_unlock(&volume->lock);
    return result;
}

/* Makes the change in the node's file. */
static int change(BlockDriverState *bs, VolumeChange change)
{
    VolumeNode *node = bdrv_state(bs);
    if (node->to_be_emptied) {
        node->to_be_emptied = 0;
        volume_apply(node->volume, &(VolumeChange){
            .kind = VOLUME_LENGTH, .file = node->file });
    }
    change.file = node->file;
    volume_apply(node->volume, &change);
    return 0;
}

static int volume_write(BlockDriverState *bs, const void *buf, size_t bytes, int64_t offset)
{
    return change(bs, (VolumeChange){ .kind = VOLUME_WRITE, .offset = offset,
                                      .bytes = (int64_t)bytes, .data = (uint8_t *)buf });
}

static int volume_write_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    uint8_t *zeros = need(calloc(1, (size_t)bytes));
    int result = volume_write(bs, zeros, (size_t)bytes, offset);
    free(zeros);
    return result;
}

static int volume_flush(BlockDriverState *bs)
{
    return change(bs, (VolumeChange){ .kind = VOLUME_FLUSH });
}

static int volume_truncate(BlockDriverState *bs, int64_t length)
{
    bdrv_set_length(bs, length);
    return change(bs, (VolumeChange){ .kind = VOLUME_LENGTH, .offset = length });
}

static int volume_allocate(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return volume_truncate(bs, bdrv_max(bdrv_getlength(bs), offset + bytes));
}

static int volume_replace(BlockDriverState *bs, const void *bytes, size_t size)
{
    bdrv_set_length(bs, (int64_t)size);
    return change(bs, (VolumeChange){ .kind = VOLUME_REPLACE, .bytes = (int64_t)size,
                                      .data = (uint8_t *)bytes });
}

/* Emptied first, as the host's files are. */
static int volume_remove(BlockDriverState *bs)
{
    const VolumeNode *node = bdrv_state(bs);
    if (node->to_be_emptied) {
        return 0;
    }
    change(bs, (VolumeChange){ .kind = VOLUME_LENGTH });
    return change(bs, (VolumeChange){ .kind = VOLUME_REMOVE });
}

static int volume_identify(BlockDriverState *bs, BdrvIdentity *identity)
{
    const VolumeNode *node = bdrv_state(bs);
    identity->device = node->volume->number + 1;
    identity->inode = node->file + 1;
    return 0;
}

static const BlockDriver volume_driver = {
    BDRV_DRIVER_HEAD,
    .name = "volume",
    .description = "a directory in memory, for tests",
    .flags = BDRV_DRIVER_PROTOCOL | BDRV_DRIVER_PARALLEL,
    .instance_size = sizeof(VolumeNode),
    .open = volume_open_node,
    .read = volume_read,
    .write = volume_write,
    .flush = volume_flush,
    .write_zeroes = volume_write_zeroes,
    .discard = volume_write_zeroes,
    .truncate = volume_truncate,
    .open_other = volume_open_other,
    .identify = volume_identify,
    .remove = volume_remove,
    .replace = volume_replace,
    .allocate = volume_allocate,
};

/* --------------------------------------------------------- for the tests */

/* Thousands of volumes come and go: their files are not to be pages that the host
 * has to clear each time. */
void volume_register(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
    suite_register(&volume_driver, "volume");
}

BlockDriverState *volume_open(Volume *volume, const char *name, unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    char path[NAME_BYTES];
    BlockDriverState *file;
    volume_path(volume, name, path, sizeof(path));
    assert_ok(bdrv_open(&file, path, "volume", &options));
    return file;
}

BlockDriverState *volume_create(Volume *volume, const char *name)
{
    pthread_mutex_lock(&volume->lock);
    size_t number = find_file(volume, name);
    int is_there = number < volume->count;
    pthread_mutex_unlock(&volume->lock);
    if (!is_there) {
        volume_apply(volume, &(VolumeChange){
            .kind = VOLUME_CREATE, .file = number, .name = (char *)name });
    }
    return volume_open(volume, name, BDRV_O_RDWR);
}
