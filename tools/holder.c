/* SPDX-License-Identifier: MIT */
/*
 * holder.c - which process has a file locked against us.
 *
 * A lock belongs to an open file, not to a process, so the kernel does not say whose
 * it is; but /proc lists for each open file of a process the locks that it holds:
 *
 *     /proc/1234/fdinfo/7     lock: 1: OFDLCK ADVISORY READ -1 fe:00:53413 201 201
 *
 * Read only after we were refused, and only as far as we may look: of the processes
 * of other users nothing is seen.  Elsewhere than on Linux nothing is.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

enum {
    PATH_BYTES = 600, /* "/proc/", two names of a directory entry at most, and more */
    /* The byte that a reader locks, which is in nobody's way. */
    BYTE_OF_READERS = 100
};

/* Does the line tell of a lock on that inode that could be in the way? */
static int is_lock_on(const char *line, ino_t inode)
{
    unsigned long long number, first, last;
    unsigned major, minor;

    if (strncmp(line, "lock:", 5) != 0 ||
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers, which fit */
        sscanf(line, "lock: %*s %*s %*s %*s %*s %x:%x:%llu %llu", &major, &minor, &number,
               &first) != 4) {
        return 0;
    }
    line = strrchr(line, ' ');
    last = strncmp(line, " EOF", 4) == 0 ? ~0ULL : strtoull(line, NULL, 10);
    return number == (unsigned long long)inode &&
           (first > BYTE_OF_READERS || last > BYTE_OF_READERS);
}

/* path is the fdinfo of an open file. */
static int holds(const char *path, ino_t inode)
{
    FILE *file = fopen(path, "re");
    char line[256];
    int found = 0;

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = is_lock_on(line, inode);
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static int process_holds(const char *process, const struct stat *file)
{
    char path[PATH_BYTES];
    struct dirent *entry;
    DIR *directory;
    int found = 0;

    snprintf(path, sizeof(path), "/proc/%s/fdinfo", process);
    directory = opendir(path);
    while (directory != NULL && !found && (entry = readdir(directory)) != NULL) {
        struct stat st;

        snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", process, entry->d_name);
        if (entry->d_name[0] == '.' || !holds(path, file->st_ino)) {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/%s/fd/%s", process, entry->d_name);
        found = stat(path, &st) == 0 && st.st_dev == file->st_dev &&
                st.st_ino == file->st_ino;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return found;
}

static void describe(const char *process, char *text, size_t size)
{
    char path[PATH_BYTES], name[64] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%s/comm", process);
    file = fopen(path, "re");
    if (file != NULL && fgets(name, sizeof(name), file) != NULL) {
        name[strcspn(name, "\n")] = '\0';
    }
    if (file != NULL) {
        fclose(file);
    }
    snprintf(text, size, "%s, process %s", name[0] != '\0' ? name : "?", process);
}

int holder_find(const char *filename, char *text, size_t size)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    struct stat file;
    int found = 0;

    while (processes != NULL && stat(filename, &file) == 0 && !found &&
           (entry = readdir(processes)) != NULL) {
        found = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
                strtol(entry->d_name, NULL, 10) != getpid() && process_holds(entry->d_name, &file);
        if (found) {
            describe(entry->d_name, text, size);
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
    return found;
}
