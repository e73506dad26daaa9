/* SPDX-License-Identifier: MIT */
/*
 * own_storage.c - an image that lies in the program's own memory.
 *
 * An emulator in a browser, on bare metal or reading from its own archive has
 * no file to open.  It hands over four functions instead, and can then use
 * every format.  Here the storage is an array; the program makes a VMDK image
 * in it, writes, closes, opens again and reads.
 */
#include <bdrv.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CAPACITY = 4 << 20, DISK_SIZE = 64 << 20 };

typedef struct Storage {
    unsigned char bytes[CAPACITY];
    int64_t length;
} Storage;

static Storage storage;

static int storage_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    const Storage *s = opaque;

    memcpy(buf, s->bytes + offset, bytes);
    return 0;
}

static int64_t storage_getlength(void *opaque)
{
    return ((Storage *)opaque)->length;
}

static int storage_truncate(void *opaque, int64_t length)
{
    Storage *s = opaque;

    if (length > CAPACITY) {
        return -ENOSPC;
    }
    if (length < s->length) {
        memset(s->bytes + length, 0, (size_t)(s->length - length));
    }
    s->length = length;
    return 0;
}

static int storage_write(void *opaque, const void *buf, size_t bytes,
                         int64_t offset)
{
    Storage *s = opaque;

    if (offset > CAPACITY || bytes > (size_t)(CAPACITY - offset)) {
        return -ENOSPC;
    }
    memcpy(s->bytes + offset, buf, bytes);
    if (offset + (int64_t)bytes > s->length) {
        s->length = offset + (int64_t)bytes;
    }
    return 0;
}

static const BdrvIo storage_io = {
    .struct_size = sizeof(BdrvIo),
    .read = storage_read,
    .write = storage_write,
    .getlength = storage_getlength,
    .truncate = storage_truncate,
};

static int make_image(const BdrvOpenOptions *writable)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = DISK_SIZE };
    BlockDriverState *raw;
    int ret = bdrv_open_io(&raw, "storage", &storage_io, &storage, "raw", writable);

    if (ret < 0) {
        return ret;
    }
    ret = bdrv_create_node(raw, "vmdk", &create);
    bdrv_close(raw);
    return ret;
}

static int write_greeting(const BdrvOpenOptions *writable)
{
    BlockDriverState *disk;
    int ret = bdrv_open_io(&disk, "storage", &storage_io, &storage, NULL, writable);

    if (ret < 0) {
        return ret;
    }
    ret = bdrv_pwrite(disk, "hello", 6, 50 << 20);
    return bdrv_close(disk) < 0 ? -EIO : ret;
}

static int read_greeting(void)
{
    char greeting[6];
    BlockDriverState *disk;
    int ret = bdrv_open_io(&disk, "storage", &storage_io, &storage, NULL, NULL);

    if (ret < 0) {
        return ret;
    }
    ret = bdrv_pread(disk, greeting, sizeof(greeting), 50 << 20);
    if (ret == 0) {
        printf("%s, %lld bytes of disk in %lld bytes of memory: %.5s\n",
               bdrv_format(disk), (long long)bdrv_getlength(disk),
               (long long)storage.length, greeting);
        ret = strcmp(greeting, "hello") == 0 ? 0 : -EIO;
    }
    bdrv_close(disk);
    return ret;
}

int main(void)
{
    BdrvOpenOptions writable = { .struct_size = sizeof(writable),
                                 .flags = BDRV_O_RDWR };

    if (make_image(&writable) < 0 || write_greeting(&writable) < 0 ||
        read_greeting() < 0) {
        fprintf(stderr, "own_storage: %s\n", bdrv_errmsg());
        return 1;
    }
    return 0;
}
