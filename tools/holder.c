/* SPDX-License-Identifier: MIT */
/*
 * holder.c - which process has a file locked against us.
 *
 * A lock belongs to an open file, not to a process, so the kernel does not say whose
 * it is; but /proc lists for each open file of a process the locks that it holds:
 *
 *     /proc/1234/fdinfo/7     lock: 1: OFDLCK ADVISORY READ -1 fe:00:53413 201 201
 *     /proc/locks                   1: OFDLCK ADVISORY READ -1 fe:00:53413 201 201
 *
 * Read after we were refused, and only as far as we may look: of the processes of
 * other users nothing is seen.  A file whose name is known only when the right to look
 * has been given up (a parent) is looked for among what was remembered before.  There is
 * mostly nothing to remember: that /proc/locks tells at once.  Elsewhere than on Linux
 * nothing is seen.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

enum {
    PATH_BYTES = 600, /* "/proc/", two names of a directory entry at most, and more */
    NAME_BYTES = 64,
    /* The byte that a reader locks, which is in nobody's way. */
    BYTE_OF_READERS = 100,
    LOCKS_MAX = 1024 /* more are not remembered, and then not named */
};

typedef struct Holder {
    dev_t device; /* of the file */
    ino_t inode;
    long process;
    char name[NAME_BYTES]; /* of its program; "": unknown */
} Holder;

/* What was seen when we last could look. */
static struct {
    Holder holders[LOCKS_MAX];
    size_t count;
} memory;

/* --------------------------------------------------------------------- locks */

/* The inode of a lock that could be in the way; 0: the line tells of no such lock. */
static ino_t inode_of_lock(const char *line)
{
    unsigned long long number, first, last;
    unsigned major, minor;

    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers, which fit */
    if (sscanf(line, "%*u: %*s %*s %*s %*s %x:%x:%llu %llu", &major, &minor, &number,
               &first) != 4) {
        return 0;
    }
    line = strrchr(line, ' ');
    last = strncmp(line, " EOF", 4) == 0 ? ~0ULL : strtoull(line, NULL, 10);
    return first > BYTE_OF_READERS || last > BYTE_OF_READERS ? (ino_t)number : 0;
}

/* Of the locks that a file of /proc lists, in lines that begin so: their inodes.  A writer
 * has several on a file, which stand together. */
static size_t read_locks(const char *path, const char *beginning, ino_t *inodes, size_t most)
{
    FILE *file = fopen(path, "re");
    const size_t length = strlen(beginning);
    char line[256];
    size_t count = 0;

    while (file != NULL && count < most && fgets(line, sizeof(line), file) != NULL) {
        ino_t inode = 0;

        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, beginning, length) == 0) {
            inode = inode_of_lock(line + length);
        }
        if (inode != 0 && (count == 0 || inodes[count - 1] != inode)) {
            inodes[count++] = inode;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

static int is_among(ino_t inode, const ino_t *inodes, size_t count)
{
    size_t i = 0;

    while (i < count && inodes[i] != inode) {
        i++;
    }
    return i < count;
}

/* ----------------------------------------------------------------- processes */

static void read_name(const char *process, char name[NAME_BYTES])
{
    char path[PATH_BYTES];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%s/comm", process);
    file = fopen(path, "re");
    if (file != NULL && fgets(name, NAME_BYTES, file) != NULL) {
        name[strcspn(name, "\n")] = '\0';
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void note(const struct stat *file, const char *process)
{
    Holder *holder = &memory.holders[memory.count++];

    *holder = (Holder){file->st_dev, file->st_ino, strtol(process, NULL, 10), ""};
    read_name(process, holder->name);
}

/* Notes the process if it holds such a lock by what it has open under that number.  A
 * file that has nothing to do with it is not touched: its server may not answer. */
static void look_at_file(const char *process, const char *number, const ino_t *inodes,
                         size_t count)
{
    char link[PATH_BYTES], path[PATH_BYTES], first;
    struct stat file;
    ino_t locked;

    snprintf(link, sizeof(link), "/proc/%s/fd/%s", process, number);
    snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", process, number);
    if (readlink(link, &first, 1) == 1 && first == '/' && /* else it is no file */
        read_locks(path, "lock:", &locked, 1) == 1 && is_among(locked, inodes, count) &&
        stat(link, &file) == 0 && file.st_ino == locked) {
        note(&file, process);
    }
}

static void look_at_process(const char *process, const ino_t *inodes, size_t count)
{
    char path[PATH_BYTES];
    struct dirent *entry;
    DIR *files;

    snprintf(path, sizeof(path), "/proc/%s/fd", process);
    files = opendir(path);
    while (files != NULL && memory.count < LOCKS_MAX && (entry = readdir(files)) != NULL) {
        if (entry->d_name[0] != '.') {
            look_at_file(process, entry->d_name, inodes, count);
        }
    }
    if (files != NULL) {
        closedir(files);
    }
}

/* Remembers who else holds locks on files of these inodes.  Where we may not look (any
 * more), what we remember stays as it is. */
static void look(const ino_t *inodes, size_t count)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;

    if (processes == NULL) {
        return;
    }
    memory.count = 0;
    while ((entry = readdir(processes)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            strtol(entry->d_name, NULL, 10) != getpid()) {
            look_at_process(entry->d_name, inodes, count);
        }
    }
    closedir(processes);
}

void holder_remember(void)
{
    ino_t inodes[LOCKS_MAX];
    const size_t count = read_locks("/proc/locks", "", inodes, LOCKS_MAX);

    if (count > 0) {
        look(inodes, count);
    }
}

int holder_find(const char *filename, char *text, size_t size)
{
    struct stat file;

    if (stat(filename, &file) < 0) {
        return 0;
    }
    look(&file.st_ino, 1);
    for (size_t i = 0; i < memory.count; i++) {
        const Holder *holder = &memory.holders[i];

        if (holder->device == file.st_dev && holder->inode == file.st_ino) {
            snprintf(text, size, "%s, process %ld", holder->name[0] != '\0' ? holder->name : "?",
                     holder->process);
            return 1;
        }
    }
    return 0;
}
