/* SPDX-License-Identifier: MIT */
/*
 * hostlog.c - see hostlog.h.
 */
#include "hostlog.h"

#include <dirent.h>
#include <sys/stat.h>

#include "bdrv-bytes.h"
#include "host.h"
#include "suite.h"

enum { SECTOR = BDRV_SECTOR_SIZE, FILES_MAX = 256 };

typedef struct Event {
    HostRecord r;
    const char *name, *other; /* into the log's memory; NULL: none */
    const uint8_t *bytes;
} Event;

/* A file's content, whatever names it has. */
typedef struct Inode {
    uint64_t number;
    uint8_t *bytes;
    int64_t size;
} Inode;

typedef struct Name {
    char *path;
    uint64_t inode; /* 0: a directory */
} Name;

/* What a host holds: contents, and the names that lead to them. */
typedef struct Disk {
    Inode inodes[FILES_MAX];
    size_t inode_count;
    Name names[FILES_MAX];
    size_t name_count;
} Disk;

struct HostLog {
    Disk before;
    uint8_t *memory; /* the log's bytes */
    Event *events;
    size_t count;
};

/* ------------------------------------------------------------------- the disk */

static Inode *find_inode(Disk *disk, uint64_t number)
{
    for (size_t i = disk->inode_count; i-- > 0;) {
        if (disk->inodes[i].number == number) {
            return &disk->inodes[i];
        }
    }
    return NULL;
}

static void add_inode(Disk *disk, uint64_t number, const void *bytes, int64_t size)
{
    Inode *inode = find_inode(disk, number);

    if (inode == NULL) {
        ck_assert_uint_lt(disk->inode_count, FILES_MAX);
        inode = &disk->inodes[disk->inode_count++];
    } else {
        free(inode->bytes); /* the host gave the number of a file that is gone again */
    }
    *inode = (Inode){ .number = number, .bytes = malloc((size_t)size + 1), .size = size };
    ck_assert_ptr_nonnull(inode->bytes);
    memcpy(inode->bytes, bytes, (size_t)size);
}

static void set_size(Inode *inode, int64_t size)
{
    inode->bytes = realloc(inode->bytes, (size_t)size + 1);
    ck_assert_ptr_nonnull(inode->bytes);
    if (size > inode->size) {
        memset(inode->bytes + inode->size, 0, (size_t)(size - inode->size));
    }
    inode->size = size;
}

static Name *find_name(Disk *disk, const char *path)
{
    for (size_t i = 0; i < disk->name_count; i++) {
        if (strcmp(disk->names[i].path, path) == 0) {
            return &disk->names[i];
        }
    }
    return NULL;
}

static void set_name(Disk *disk, const char *path, uint64_t inode)
{
    Name *name = find_name(disk, path);

    if (name == NULL) {
        ck_assert_uint_lt(disk->name_count, FILES_MAX);
        name = &disk->names[disk->name_count++];
        name->path = strdup(path);
    }
    name->inode = inode;
}

static void drop_name(Disk *disk, const char *path)
{
    Name *name = find_name(disk, path);

    if (name != NULL) { /* the others stay in the order they were made in */
        free(name->path);
        disk->name_count--;
        memmove(name, name + 1, (size_t)(disk->names + disk->name_count - name) * sizeof(*name));
    }
}

static void copy_disk(Disk *to, const Disk *from)
{
    memset(to, 0, sizeof(*to));
    for (size_t i = 0; i < from->inode_count; i++) {
        add_inode(to, from->inodes[i].number, from->inodes[i].bytes, from->inodes[i].size);
    }
    for (size_t i = 0; i < from->name_count; i++) {
        set_name(to, from->names[i].path, from->names[i].inode);
    }
}

static void free_disk(Disk *disk)
{
    for (size_t i = 0; i < disk->inode_count; i++) {
        free(disk->inodes[i].bytes);
    }
    for (size_t i = 0; i < disk->name_count; i++) {
        free(disk->names[i].path);
    }
}

/* Directories come before what is in them, as they were made. */
static void write_out(Disk *disk, const char *into)
{
    for (size_t i = 0; i < disk->name_count; i++) {
        char *path = host_path(into, disk->names[i].path);
        const Inode *inode = find_inode(disk, disk->names[i].inode);
        if (disk->names[i].inode == 0) {
            ck_assert_int_eq(mkdir(path, 0777), 0);
        } else {
            host_write_file(path, inode->bytes, (size_t)inode->size);
        }
        free(path);
    }
}

/* -------------------------------------------------------------------- the log */

HostLog *hostlog_new(const char *directory)
{
    HostLog *log = calloc(1, sizeof(*log));
    DIR *list = opendir(directory);
    ck_assert(log != NULL && list != NULL);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        char *path = host_path(directory, entry->d_name);
        struct stat st;
        ck_assert_int_eq(lstat(path, &st), 0);
        if (S_ISREG(st.st_mode)) {
            size_t size;
            uint8_t *bytes = host_read_file(path, &size);
            add_inode(&log->before, (uint64_t)st.st_ino, bytes, (int64_t)size);
            set_name(&log->before, entry->d_name, (uint64_t)st.st_ino);
            free(bytes);
        }
        free(path);
    }
    closedir(list);
    return log;
}

void hostlog_load(HostLog *log, const char *path)
{
    size_t size;
    log->memory = host_read_file(path, &size);
    for (size_t at = 0; at < size;) {
        Event event = { .name = NULL };
        memcpy(&event.r, log->memory + at, sizeof(event.r));
        at += sizeof(event.r);
        event.name = event.r.name_size > 0 ? (const char *)log->memory + at : NULL;
        at += event.r.name_size;
        event.other = event.r.other_size > 0 ? (const char *)log->memory + at : NULL;
        at += event.r.other_size;
        event.bytes = log->memory + at;
        at += event.r.kind == HOST_WRITE ? (size_t)event.r.bytes : 0;
        ck_assert_uint_le(at, size);
        log->events = realloc(log->events, (log->count + 1) * sizeof(event));
        ck_assert_ptr_nonnull(log->events);
        log->events[log->count++] = event;
    }
}

void hostlog_free(HostLog *log)
{
    free_disk(&log->before);
    free(log->memory);
    free(log->events);
    free(log);
}

size_t hostlog_count(const HostLog *log)
{
    return log->count;
}

const char *hostlog_describe(const HostLog *log, size_t cut)
{
    static const char *const names[] = {
        "create", "write", "truncate", "zero", "allocate", "sync", "sync of directory",
        "rename", "unlink", "mkdir", "rmdir",
    };
    static char text[600];
    if (cut == 0) {
        return "before the first";
    }
    const Event *e = &log->events[cut - 1];
    snprintf(text, sizeof(text), "%s %s %s inode %llu offset %lld bytes %lld",
             names[e->r.kind], e->name != NULL ? e->name : "",
             e->other != NULL ? e->other : "", (unsigned long long)e->r.inode,
             (long long)e->r.offset, (long long)e->r.bytes);
    return text;
}

/* ------------------------------------------------------------------- replaying */

static int is_of_names(const Event *e)
{
    return e->r.kind == HOST_CREATE || e->r.kind == HOST_RENAME || e->r.kind == HOST_UNLINK ||
           e->r.kind == HOST_MKDIR || e->r.kind == HOST_RMDIR;
}

static void store(Inode *inode, const Event *e, int64_t from, int64_t bytes)
{
    int64_t end = e->r.offset + from + bytes;

    if (end > inode->size && !e->r.keeps_size) {
        set_size(inode, end);
    }
    if (e->r.kind == HOST_WRITE) {
        memcpy(inode->bytes + e->r.offset + from, e->bytes + from, (size_t)bytes);
    } else if (e->r.kind == HOST_ZERO && e->r.offset + from < inode->size) {
        memset(inode->bytes + e->r.offset + from, 0,
               (size_t)bdrv_min(bytes, inode->size - e->r.offset - from));
    }
}

/* What is done to a content, whole (seed NULL) or sector by sector by chance. */
static void apply_content(Disk *disk, const Event *e, uint32_t *seed)
{
    Inode *inode = find_inode(disk, e->r.inode);

    if (inode == NULL) {
        return; /* a file without a name */
    }
    if (e->r.kind == HOST_TRUNCATE) {
        if (seed == NULL || suite_random(seed) % 2 == 0) {
            set_size(inode, e->r.offset);
        }
        return;
    }
    for (int64_t done = 0; done < e->r.bytes;) {
        int64_t at = e->r.offset + done;
        int64_t step = seed == NULL ? e->r.bytes
                                    : bdrv_min(SECTOR - at % SECTOR, e->r.bytes - done);
        if (seed == NULL || suite_random(seed) % 2 == 0) {
            store(inode, e, done, step);
        }
        done += step;
    }
}

static void apply_name(Disk *disk, const Event *e)
{
    const Name *name;

    switch ((HostKind)e->r.kind) {
    case HOST_CREATE:
        set_name(disk, e->name, e->r.inode);
        break;
    case HOST_MKDIR:
        set_name(disk, e->name, 0);
        break;
    case HOST_UNLINK:
    case HOST_RMDIR:
        drop_name(disk, e->name);
        break;
    case HOST_RENAME:
        name = find_name(disk, e->name);
        ck_assert_ptr_nonnull(name);
        set_name(disk, e->other, name->inode);
        drop_name(disk, e->name);
        break;
    case HOST_WRITE:
    case HOST_TRUNCATE:
    case HOST_ZERO:
    case HOST_ALLOCATE:
    case HOST_SYNC:
    case HOST_SYNC_DIRECTORY:
        break;
    }
}

/* Is there a sync of the event's file between it and the cut? */
static int is_synced(const HostLog *log, size_t i, size_t cut)
{
    for (size_t j = i + 1; j < cut; j++) {
        if (log->events[j].r.kind == HOST_SYNC && log->events[j].r.inode == log->events[i].r.inode) {
            return 1;
        }
    }
    return 0;
}

/* How many records, from the first on, have had their names made durable. */
static size_t durable_names(const HostLog *log, size_t cut)
{
    while (cut > 0 && log->events[cut - 1].r.kind != HOST_SYNC_DIRECTORY) {
        cut--;
    }
    return cut;
}

static void tear(Disk *disk, const Event *e, uint32_t *seed)
{
    Inode *inode = find_inode(disk, e->r.inode);

    if (inode != NULL) {
        store(inode, e, 0, bdrv_round_down((int64_t)(suite_random(seed) % e->r.bytes), 8));
    }
}

static void replay(const HostLog *log, Disk *disk, size_t cut, HostAccident accident,
                   uint32_t *seed)
{
    size_t names = accident == HOST_LOSE_NOTHING || accident == HOST_TEAR_LAST
                       ? cut : durable_names(log, cut);
    if (accident == HOST_LOSE_BY_CHANCE) {
        names += suite_random(seed) % (cut - names + 1);
    }
    for (size_t i = 0; i < cut; i++) {
        const Event *e = &log->events[i];
        int last = accident == HOST_TEAR_LAST && i + 1 == cut;

        if (is_of_names(e)) {
            if (e->r.kind == HOST_CREATE) { /* the content is there, named or not */
                add_inode(disk, e->r.inode, "", 0);
            }
            if (i < names) {
                apply_name(disk, e);
            }
        } else if (last && e->r.kind == HOST_WRITE) {
            tear(disk, e, seed);
        } else if (accident == HOST_LOSE_NOTHING || accident == HOST_TEAR_LAST ||
                   is_synced(log, i, cut)) {
            apply_content(disk, e, NULL);
        } else if (accident == HOST_LOSE_BY_CHANCE) {
            apply_content(disk, e, seed);
        }
    }
}

void hostlog_replay(const HostLog *log, size_t cut, HostAccident accident,
                    uint32_t *seed, const char *into)
{
    Disk disk;

    copy_disk(&disk, &log->before);
    replay(log, &disk, cut, accident, seed);
    write_out(&disk, into);
    free_disk(&disk);
}
