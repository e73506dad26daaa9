/* SPDX-License-Identifier: MIT */
/*
 * ram.c - storage in memory with hooks.  See ram.h.
 */
#include "ram.h"

#include "suite.h"

static int begin(Ram *ram, const RamCall *call)
{
    pthread_mutex_lock(&ram->lock);
    if (ram->count < RAM_CALLS_MAX) {
        ram->calls[ram->count] = *call;
        ram->calls[ram->count].data = NULL;
    }
    ram->count++;
    pthread_mutex_unlock(&ram->lock);
    return ram->before != NULL ? ram->before(ram, call) : 0;
}

static void end(Ram *ram, const RamCall *call)
{
    if (ram->after != NULL) {
        ram->after(ram, call);
    }
}

static int ram_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    Ram *ram = opaque;
    RamCall call = {RAM_READ, offset, (int64_t)bytes, NULL};
    int rc = begin(ram, &call);

    if (rc == 0) {
        pthread_mutex_lock(&ram->lock);
        ck_assert(offset >= 0 && offset + (int64_t)bytes <= ram->length);
        memcpy(buf, ram->bytes + offset, bytes);
        pthread_mutex_unlock(&ram->lock);
        end(ram, &call);
    }
    return rc;
}

static int ram_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    Ram *ram = opaque;
    RamCall call = {RAM_WRITE, offset, (int64_t)bytes, buf};
    int rc = begin(ram, &call);

    if (rc == 0 && offset + (int64_t)bytes > ram->capacity) {
        rc = -ENOSPC;
    }
    if (rc == 0) {
        pthread_mutex_lock(&ram->lock);
        memcpy(ram->bytes + offset, buf, bytes);
        if (offset + (int64_t)bytes > ram->length) {
            ram->length = offset + (int64_t)bytes;
        }
        pthread_mutex_unlock(&ram->lock);
        end(ram, &call);
    }
    return rc;
}

static int ram_flush(void *opaque)
{
    Ram *ram = opaque;
    RamCall call = {RAM_FLUSH, 0, 0, NULL};
    int rc = begin(ram, &call);

    if (rc == 0) {
        end(ram, &call);
    }
    return rc;
}

static int64_t ram_getlength(void *opaque)
{
    Ram *ram = opaque;
    int64_t length;

    pthread_mutex_lock(&ram->lock);
    length = ram->length;
    pthread_mutex_unlock(&ram->lock);
    return length;
}

static int ram_truncate(void *opaque, int64_t length)
{
    Ram *ram = opaque;

    if (length > ram->capacity) {
        return -ENOSPC;
    }
    pthread_mutex_lock(&ram->lock);
    if (length < ram->length) {
        memset(ram->bytes + length, 0, (size_t)(ram->length - length));
    }
    ram->length = length;
    pthread_mutex_unlock(&ram->lock);
    return 0;
}

static int ram_open_other(void *opaque, const char *name, int writable, BdrvIo *io,
                          void **other_opaque);

static const BdrvIo ram_io = {
    .struct_size = sizeof(BdrvIo),
    .read = ram_read,
    .write = ram_write,
    .flush = ram_flush,
    .getlength = ram_getlength,
    .truncate = ram_truncate,
    .open_other = ram_open_other,
};

static int ram_open_other(void *opaque, const char *name, int writable, BdrvIo *io,
                          void **other_opaque)
{
    Ram *ram = opaque;

    (void)name;
    (void)writable;
    if (ram->other == NULL) {
        return -ENOENT;
    }
    *io = ram_io;
    *other_opaque = ram->other;
    return 0;
}

Ram *ram_new(int64_t length, int64_t capacity)
{
    Ram *ram = calloc(1, sizeof *ram);

    ck_assert_ptr_nonnull(ram);
    ram->bytes = calloc(1, (size_t)capacity);
    ck_assert_ptr_nonnull(ram->bytes);
    ram->length = length;
    ram->capacity = capacity;
    ck_assert_int_eq(pthread_mutex_init(&ram->lock, NULL), 0);
    return ram;
}

void ram_free(Ram *ram)
{
    pthread_mutex_destroy(&ram->lock);
    free(ram->bytes);
    free(ram);
}

BlockDriverState *ram_open(Ram *ram, const char *format, const BdrvOpenOptions *options)
{
    BlockDriverState *bs;

    assert_ok(bdrv_open_io(&bs, "ram", &ram_io, ram, format, options));
    return bs;
}

void ram_clear(Ram *ram)
{
    pthread_mutex_lock(&ram->lock);
    ram->count = 0;
    pthread_mutex_unlock(&ram->lock);
}

size_t ram_count(Ram *ram, RamOperation operation)
{
    size_t found = 0;

    ck_assert_uint_le(ram->count, RAM_CALLS_MAX);
    for (size_t i = 0; i < ram->count; i++) {
        found += ram->calls[i].operation == operation;
    }
    return found;
}

static int describe(const RamCall *call, char *text, size_t size)
{
    if (call->operation == RAM_FLUSH) {
        return snprintf(text, size, "f ");
    }
    return snprintf(text, size, "%c%lld+%lld ", call->operation == RAM_READ ? 'r' : 'w',
                    (long long)call->offset, (long long)call->bytes);
}

void ram_assert_calls(Ram *ram, const char *wanted)
{
    char found[4096] = "";
    size_t used = 0;

    for (size_t i = 0; i < ram->count && i < RAM_CALLS_MAX && used < sizeof found; i++) {
        used += (size_t)describe(&ram->calls[i], found + used, sizeof found - used);
    }
    if (used > 0 && used < sizeof found) {
        found[used - 1] = '\0';
    }
    ck_assert_str_eq(found, wanted);
}
