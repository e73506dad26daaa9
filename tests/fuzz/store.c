/* SPDX-License-Identifier: MIT */
/*
 * store.c - see fuzz.h.  A hash table of pages that are not zero, in memory that
 * is never given back: a target runs thousands of times a second.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

enum {
    SLOTS = 4 * STORE_PAGES, /* a power of two */
    NONE = -1
};

/* How far a file may grow; any hostile number is beyond. */
static const int64_t length_max = INT64_C(1) << 46;

struct Store {
    StoreFile files[STORE_FILES];
    size_t file_count;
    int slots[SLOTS]; /* of pages; NONE: free */
    int page_count;
    struct {
        const StoreFile *file;
        int64_t number;
        int slot;
    } of[STORE_PAGES];
    uint8_t pages[STORE_PAGES][STORE_PAGE];
};

static Store *new_store(Store **kept)
{
    if (*kept == NULL) {
        *kept = calloc(1, sizeof(**kept));
        if (*kept == NULL) {
            abort();
        }
        memset((*kept)->slots, NONE, sizeof((*kept)->slots));
    }
    for (int i = 0; i < (*kept)->page_count; i++) {
        (*kept)->slots[(*kept)->of[i].slot] = NONE;
    }
    (*kept)->page_count = 0;
    (*kept)->file_count = 0;
    return *kept;
}

Store *store_new(void)
{
    static Store *store;
    return new_store(&store);
}

Store *store_second(void)
{
    static Store *store;
    return new_store(&store);
}

/* -------------------------------------------------------------------- pages */

/* The slot of a page, or the free one where it would be. */
static int find(const Store *store, const StoreFile *file, int64_t number)
{
    uint64_t hash = ((uint64_t)number * STORE_FILES + (uint64_t)(file - store->files)) *
                    UINT64_C(0x9e3779b97f4a7c15);
    int slot = (int)(hash >> 40) % SLOTS;

    while (store->slots[slot] != NONE) {
        int page = store->slots[slot];
        if (store->of[page].file == file && store->of[page].number == number) {
            break;
        }
        slot = (slot + 1) % SLOTS;
    }
    return slot;
}

static uint8_t *page_to_read(Store *store, const StoreFile *file, int64_t number)
{
    int page = store->slots[find(store, file, number)];
    return page == NONE ? NULL : store->pages[page];
}

static uint8_t *page_to_write(Store *store, const StoreFile *file, int64_t number)
{
    int slot = find(store, file, number), page = store->slots[slot];

    if (page == NONE) {
        if (store->page_count == STORE_PAGES) {
            return NULL;
        }
        page = store->page_count++;
        store->slots[slot] = page;
        store->of[page].file = file;
        store->of[page].number = number;
        store->of[page].slot = slot;
        memset(store->pages[page], 0, STORE_PAGE);
    }
    return store->pages[page];
}

static int is_zero(const uint8_t *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* ---------------------------------------------------------------- callbacks */

static size_t piece_at(int64_t offset, size_t bytes)
{
    size_t left = STORE_PAGE - (size_t)(offset % STORE_PAGE);
    return bytes < left ? bytes : left;
}

/* May a pipe be read there, from now on? */
static int pass(StoreFile *file, int64_t offset, int64_t end)
{
    if (file->position > STORE_HEAD && offset < file->position) {
        return -ESPIPE;
    }
    if (end > STORE_HEAD) {
        file->position = end;
    }
    return 0;
}

static int store_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    StoreFile *file = opaque;
    int result = 0;

    if (file->is_pipe) {
        result = pass(file, offset, offset + (int64_t)bytes);
    }
    if (result < 0 || offset < 0 || offset > file->length ||
        (int64_t)bytes > file->length - offset) {
        return result < 0 ? result : -EIO;
    }
    for (size_t done = 0, now; done < bytes; done += now) {
        int64_t at = offset + (int64_t)done;
        const uint8_t *page = page_to_read(file->store, file, at / STORE_PAGE);

        now = piece_at(at, bytes - done);
        if (page == NULL) {
            memset((uint8_t *)buf + done, 0, now);
        } else {
            memcpy((uint8_t *)buf + done, page + at % STORE_PAGE, now);
        }
    }
    return 0;
}

static int64_t store_getlength(void *opaque)
{
    const StoreFile *file = opaque;
    return file->is_pipe ? INT64_MAX - INT64_MAX % BDRV_SECTOR_SIZE : file->length;
}

static int store_truncate(void *opaque, int64_t length)
{
    StoreFile *file = opaque;
    Store *store = file->store;

    if (length > length_max) {
        return -ENOSPC;
    }
    file->writes++;
    for (int i = 0; i < store->page_count; i++) {
        int64_t start = store->of[i].number * STORE_PAGE;
        if (store->of[i].file == file && start + STORE_PAGE > length) {
            size_t kept = start < length ? (size_t)(length - start) : 0;
            memset(store->pages[i] + kept, 0, STORE_PAGE - kept);
        }
    }
    file->length = length;
    return 0;
}

static int store_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    StoreFile *file = opaque;

    if (offset > length_max || (int64_t)bytes > length_max - offset) {
        return -ENOSPC;
    }
    file->writes++;
    for (size_t done = 0, now; done < bytes; done += now) {
        int64_t at = offset + (int64_t)done;
        const uint8_t *from = (const uint8_t *)buf + done;
        uint8_t *page;

        now = piece_at(at, bytes - done);
        page = page_to_read(file->store, file, at / STORE_PAGE);
        if (page == NULL && is_zero(from, now)) {
            continue;
        }
        page = page != NULL ? page : page_to_write(file->store, file, at / STORE_PAGE);
        if (page == NULL) {
            return -ENOSPC;
        }
        memcpy(page + at % STORE_PAGE, from, now);
    }
    if (offset + (int64_t)bytes > file->length) {
        file->length = offset + (int64_t)bytes;
    }
    return 0;
}

/* By its name, or else the one that goes by any. */
static StoreFile *find_file(Store *store, const char *name)
{
    StoreFile *found = NULL;

    for (size_t i = 0; i < store->file_count; i++) {
        StoreFile *file = &store->files[i];
        if (file->name != NULL && strcmp(file->name, name) == 0) {
            return file;
        }
        found = file->name == NULL ? file : found;
    }
    return found;
}

static int store_open_other(void *opaque, const char *name, int writable, BdrvIo *io,
                            void **other_opaque)
{
    const StoreFile *from = opaque;
    StoreFile *file = find_file(from->store, name);

    if (file == NULL) {
        return -ENOENT;
    }
    store_io(file, writable, io);
    *other_opaque = file;
    return 0;
}

void store_io(StoreFile *file, int writable, BdrvIo *io)
{
    writable = writable && !file->is_pipe;
    *io = (BdrvIo){
        .struct_size = sizeof(*io),
        .read = store_read,
        .write = writable ? store_write : NULL,
        .getlength = store_getlength,
        .truncate = writable ? store_truncate : NULL,
        .open_other = store_open_other,
    };
}

/* -------------------------------------------------------------------- files */

StoreFile *store_add(Store *store, const char *name, const void *bytes, size_t size)
{
    StoreFile *file;

    if (store->file_count == STORE_FILES) {
        return NULL;
    }
    file = &store->files[store->file_count++];
    *file = (StoreFile){ .store = store, .name = name };
    if (store_write(file, bytes, size, 0) < 0) {
        return NULL;
    }
    file->writes = 0;
    return file;
}

StoreFile *store_file(Store *store, size_t index)
{
    return &store->files[index];
}

int64_t store_writes(const Store *store)
{
    int64_t writes = 0;

    for (size_t i = 0; i < store->file_count; i++) {
        writes += store->files[i].writes;
    }
    return writes;
}
