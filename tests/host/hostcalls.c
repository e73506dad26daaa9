/* SPDX-License-Identifier: MIT */
/*
 * hostcalls.c - stands between a program and the host's calls on files: records
 * those that change something, and fails those that it is told to.  Not linked
 * to anything: loaded before the C library with LD_PRELOAD.
 *
 *     HOSTCALLS_ROOT=DIR   only what happens below this directory counts
 *     HOSTCALLS_LOG=FILE   where to write the records (hostlog.h)
 *     HOSTCALLS_FAIL=KINDS:NUMBER:ERRNO:LIFE
 *         of the calls of KINDS (letters: r read, w write, s sync, d sync of a
 *         directory, t truncate, a allocate, o open, n rename, u unlink) the NUMBER-th fails with ERRNO, and
 *         with LIFE "ever" all after it too ("once": it alone); ERRNO 0 makes a
 *         short transfer of a read or write
 *     HOSTCALLS_COUNT=FILE  gets the number of calls of KINDS at the end
 *
 * Each call and its record are made under one lock, so the log is in the order in
 * which things happened.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlog.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX]; /* "": nothing counts */
static size_t root_length;
static int log_fd = -1;
static int count_fd = -1;

static char fail_kinds[16]; /* "": nothing fails */
static long fail_number, fail_calls;
static int fail_errno, fail_for_ever;

/* The next definition of the function that this one stands before. */
#define NEXT(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

/* ---------------------------------------------------------------- beginning */

static int open_for_us(const char *variable)
{
    const char *path = getenv(variable);

    return path ? NEXT(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
}

static void read_plan(void)
{
    const char *plan = getenv("HOSTCALLS_FAIL");
    char life[8];

    if (plan && sscanf(plan, "%15[a-z]:%ld:%d:%7s", fail_kinds, &fail_number, &fail_errno,
                       life) == 4) {
        fail_for_ever = strcmp(life, "ever") == 0;
    }
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("HOSTCALLS_ROOT");

    if (path && realpath(path, root)) {
        root_length = strlen(root);
    }
    log_fd = open_for_us("HOSTCALLS_LOG");
    count_fd = open_for_us("HOSTCALLS_COUNT");
    read_plan();
}

__attribute__((destructor)) static void end(void)
{
    if (count_fd >= 0) {
        dprintf(count_fd, "%ld\n", fail_calls);
    }
}

/* ------------------------------------------------------------ what it counts */

/* The part of a path below the root; NULL: it lies elsewhere.  The last name
 * need not exist, and is not followed. */
static const char *below_root(int at, const char *path, char *full)
{
    char joined[PATH_MAX], link[64], *slash;
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    ssize_t length = 0;

    if (path[0] != '/' && at != AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        length = readlink(link, joined, sizeof joined - 2);
        length = length < 0 ? 0 : length;
        joined[length++] = '/';
    }
    snprintf(joined + length, sizeof joined - (size_t)length, "%s", path);
    slash = strrchr(joined, '/');
    if (slash) {
        slash[1] = '\0';
    }
    if (root_length == 0 || !realpath(slash ? joined : ".", full) ||
        strncmp(full, root, root_length) != 0) {
        return NULL;
    }
    snprintf(full + strlen(full), PATH_MAX - strlen(full), "/%s", base);
    return full[root_length] == '/' ? full + root_length + 1 : NULL;
}

/* The same for what is open; it must still have a name. */
static const char *name_of(int fd, char *full)
{
    char link[64];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, full, PATH_MAX - 1);
    if (root_length == 0 || length < (ssize_t)root_length) {
        return NULL;
    }
    full[length] = '\0';
    if (strncmp(full, root, root_length) != 0 || (full[root_length] != '/' && full[root_length])) {
        return NULL;
    }
    return full[root_length] ? full + root_length + 1 : "";
}

static int counts(int fd)
{
    char full[PATH_MAX];

    return name_of(fd, full) != NULL;
}

/* ------------------------------------------------------------------- failing */

/* 1: this call is to fail (errno is set) or, if that is 0, to be short. */
static int fails(char kind)
{
    if (!strchr(fail_kinds, kind) || fail_kinds[0] == '\0') {
        return 0;
    }
    fail_calls++;
    if (fail_number == 0 || fail_calls < fail_number ||
        (fail_calls > fail_number && !fail_for_ever)) {
        return 0;
    }
    errno = fail_errno;
    return 1;
}

/* ----------------------------------------------------------------- recording */

static void put(const void *bytes, size_t size)
{
    const char *p = bytes;

    while (size > 0) {
        ssize_t n = NEXT(write)(log_fd, p, size);

        if (n <= 0) {
            abort(); /* a log with a gap proves nothing */
        }
        p += n;
        size -= (size_t)n;
    }
}

static void record(HostRecord r, const char *name, const char *other, const void *bytes)
{
    int error = errno;

    if (log_fd >= 0) {
        r.name_size = name ? (uint32_t)strlen(name) + 1 : 0;
        r.other_size = other ? (uint32_t)strlen(other) + 1 : 0;
        put(&r, sizeof r);
        put(name ? name : "", r.name_size);
        put(other ? other : "", r.other_size);
        put(bytes ? bytes : "", r.kind == HOST_WRITE ? (size_t)r.bytes : 0);
    }
    errno = error;
}

static uint64_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static void record_created(int fd, const char *name)
{
    record((HostRecord){.kind = HOST_CREATE, .inode = inode_of(fd)}, name, NULL, NULL);
}

/* ------------------------------------------------------------ names and files */

/* One opening of a path, before and after the call. */
typedef struct Opening {
    char full[PATH_MAX];
    const char *name; /* NULL: does not count */
    int flags;
    int makes;   /* not 0: there is no such file yet */
    int refused; /* not 0: it is to fail; errno is set */
} Opening;

static void opening_begin(Opening *o, int at, const char *path, int flags)
{
    struct stat st;

    pthread_mutex_lock(&lock);
    o->name = below_root(at, path, o->full);
    o->flags = flags;
    o->makes = o->name && (flags & O_CREAT) && fstatat(at, path, &st, 0) < 0;
    o->refused = o->name && fails('o');
}

static int opening_end(const Opening *o, int fd)
{
    if (fd >= 0 && o->makes) {
        record_created(fd, o->name);
    } else if (fd >= 0 && o->name && (o->flags & O_TRUNC)) {
        record((HostRecord){.kind = HOST_TRUNCATE, .inode = inode_of(fd)}, NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, mode)                                        \
    mode_t mode = 0;                                             \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                       \
        va_list list_;                                           \
        va_start(list_, flags);                                  \
        mode = (mode_t)va_arg(list_, int);                       \
        va_end(list_);                                           \
    }

int open64(const char *path, int flags, ...)
{
    MODE(flags, mode)
    Opening o;

    opening_begin(&o, AT_FDCWD, path, flags);
    return opening_end(&o, o.refused ? -1 : NEXT(open64)(path, flags, mode));
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE(flags, mode)
    Opening o;

    opening_begin(&o, at, path, flags);
    return opening_end(&o, o.refused ? -1 : NEXT(openat64)(at, path, flags, mode));
}

/* openat2(2) has no function of its own. */
long syscall(long number, ...)
{
    long a[6];
    va_list list;

    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
#ifdef SYS_openat2
    if (number == SYS_openat2) {
        const uint64_t *how = (const uint64_t *)a[2];
        Opening o;

        opening_begin(&o, (int)a[0], (const char *)a[1], (int)how[0]);
        return opening_end(&o, o.refused ? -1 : (int)NEXT(syscall)(number, a[0], a[1], a[2], a[3]));
    }
#endif
    return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int mkostemp64(char *template, int flags)
{
    char full[PATH_MAX];
    const char *name;
    int fd;

    pthread_mutex_lock(&lock);
    name = below_root(AT_FDCWD, template, full);
    fd = name && fails('o') ? -1 : NEXT(mkostemp64)(template, flags);
    if (fd >= 0 && name) {
        record_created(fd, below_root(AT_FDCWD, template, full));
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

char *mkdtemp(char *template)
{
    char full[PATH_MAX], *made;

    pthread_mutex_lock(&lock);
    made = NEXT(mkdtemp)(template);
    if (made && below_root(AT_FDCWD, made, full)) {
        record((HostRecord){.kind = HOST_MKDIR}, below_root(AT_FDCWD, made, full), NULL, NULL);
    }
    pthread_mutex_unlock(&lock);
    return made;
}

static int removed(int at, const char *path, int result, int kind)
{
    char full[PATH_MAX];
    const char *name = result == 0 ? below_root(at, path, full) : NULL;

    if (name) {
        record((HostRecord){.kind = (uint32_t)kind}, name, NULL, NULL);
    }
    return result;
}

int unlink(const char *path)
{
    char full[PATH_MAX];
    int result;

    pthread_mutex_lock(&lock);
    result = below_root(AT_FDCWD, path, full) && fails('u') ? -1 : NEXT(unlink)(path);
    removed(AT_FDCWD, path, result, HOST_UNLINK);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlinkat(int at, const char *path, int flags)
{
    char full[PATH_MAX];
    int result;

    pthread_mutex_lock(&lock);
    result = below_root(at, path, full) && fails('u') ? -1 : NEXT(unlinkat)(at, path, flags);
    removed(at, path, result, flags & AT_REMOVEDIR ? HOST_RMDIR : HOST_UNLINK);
    pthread_mutex_unlock(&lock);
    return result;
}

int rmdir(const char *path)
{
    int result;

    pthread_mutex_lock(&lock);
    result = removed(AT_FDCWD, path, NEXT(rmdir)(path), HOST_RMDIR);
    pthread_mutex_unlock(&lock);
    return result;
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    char from_full[PATH_MAX], to_full[PATH_MAX];
    const char *from_name, *to_name;
    int result;

    pthread_mutex_lock(&lock);
    from_name = below_root(from_at, from, from_full);
    to_name = below_root(to_at, to, to_full);
    result = from_name && fails('n') ? -1 : NEXT(renameat)(from_at, from, to_at, to);
    if (result == 0 && from_name && to_name) {
        record((HostRecord){.kind = HOST_RENAME}, from_name, to_name, NULL);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

/* ------------------------------------------------------------------ contents */

static size_t shortened(size_t bytes)
{
    return bytes > 1 ? bytes / 2 : bytes;
}

ssize_t pread64(int fd, void *buf, size_t bytes, off_t offset)
{
    if (counts(fd)) {
        int stop;

        pthread_mutex_lock(&lock);
        stop = fails('r');
        pthread_mutex_unlock(&lock);
        if (stop && fail_errno != 0) {
            return -1;
        }
        bytes = stop ? shortened(bytes) : bytes;
    }
    return NEXT(pread64)(fd, buf, bytes, offset);
}

typedef ssize_t WriteFn(int fd, const void *buf, size_t bytes, off_t offset);

static ssize_t write_next(int fd, const void *buf, size_t bytes, off_t offset)
{
    (void)offset;
    return NEXT(write)(fd, buf, bytes);
}

/* offset -1: where the descriptor stands. */
static ssize_t written(int fd, const void *buf, size_t bytes, off_t offset, WriteFn *call)
{
    int ours, stop;
    ssize_t n = -1;

    pthread_mutex_lock(&lock);
    ours = counts(fd);
    stop = ours && fails('w');
    if (!stop || fail_errno == 0) {
        n = call(fd, buf, stop ? shortened(bytes) : bytes, offset);
    }
    if (ours && n > 0) {
        record((HostRecord){.kind = HOST_WRITE, .inode = inode_of(fd), .bytes = n,
                            .offset = offset < 0 ? lseek(fd, 0, SEEK_CUR) - n : offset},
               NULL, NULL, buf);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t pwrite64(int fd, const void *buf, size_t bytes, off_t offset)
{
    return written(fd, buf, bytes, offset, NEXT(pwrite64));
}

ssize_t write(int fd, const void *buf, size_t bytes)
{
    return written(fd, buf, bytes, -1, write_next);
}

/* What was copied, read back: the log has bytes, not places. */
static void record_copied(int fd, off_t offset, ssize_t bytes)
{
    char buf[65536];

    while (bytes > 0) {
        size_t want = (size_t)bytes < sizeof buf ? (size_t)bytes : sizeof buf;
        ssize_t n = NEXT(pread64)(fd, buf, want, offset);

        if (n <= 0) {
            abort();
        }
        record((HostRecord){.kind = HOST_WRITE, .inode = inode_of(fd), .offset = offset,
                            .bytes = n}, NULL, NULL, buf);
        offset += n;
        bytes -= n;
    }
}

ssize_t copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t bytes,
                        unsigned flags)
{
    off_t at = out_offset ? *out_offset : lseek(out, 0, SEEK_CUR);
    ssize_t n;

    pthread_mutex_lock(&lock);
    n = counts(out) && fails('w') ? -1
            : NEXT(copy_file_range)(in, in_offset, out, out_offset, bytes, flags);
    if (n > 0 && counts(out)) {
        record_copied(out, at, n);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

int ftruncate64(int fd, off_t length)
{
    int result, ours;

    pthread_mutex_lock(&lock);
    ours = counts(fd);
    result = ours && fails('t') ? -1 : NEXT(ftruncate64)(fd, length);
    if (result == 0 && ours) {
        record((HostRecord){.kind = HOST_TRUNCATE, .inode = inode_of(fd), .offset = length},
               NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int truncate64(const char *path, off_t length)
{
    int fd = open64(path, O_WRONLY | O_CLOEXEC), result = fd < 0 ? -1 : ftruncate64(fd, length);

    if (fd >= 0) {
        close(fd);
    }
    return result;
}

int fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    int zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE), result, ours;

    pthread_mutex_lock(&lock);
    ours = counts(fd);
    result = ours && fails('a') ? -1 : NEXT(fallocate64)(fd, mode, offset, bytes);
    if (result == 0 && ours) {
        record((HostRecord){.kind = zeroes ? HOST_ZERO : HOST_ALLOCATE, .inode = inode_of(fd),
                            .offset = offset, .bytes = bytes,
                            .keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0},
               NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int synced(int fd, int (*call)(int))
{
    char full[PATH_MAX];
    const char *name;
    struct stat st;
    int result;

    pthread_mutex_lock(&lock);
    name = fstat(fd, &st) == 0 ? name_of(fd, full) : NULL;
    result = name && fails(S_ISDIR(st.st_mode) ? 'd' : 's') ? -1 : call(fd);
    if (result == 0 && name) {
        record((HostRecord){.kind = S_ISDIR(st.st_mode) ? HOST_SYNC_DIRECTORY : HOST_SYNC,
                            .inode = (uint64_t)st.st_ino}, name, NULL, NULL);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd)
{
    return synced(fd, NEXT(fsync));
}

int fdatasync(int fd)
{
    return synced(fd, NEXT(fdatasync));
}
