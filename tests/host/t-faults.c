/* SPDX-License-Identifier: MIT */
/*
 * t-faults.c - each host call of each operation of the tools that changes an image
 * fails in turn, as failing hardware and full disks make them fail.
 *
 * A tool that meets a failure either gets over it and does its work right, or says one
 * line and leaves each image as it was (or as it was to be); the same command then
 * works when the trouble is over.
 *
 * FAULTS_EVERY=1 tries each call with each error, as the large suite does; else one in
 * so many is tried, by chance.
 */
#include <dirent.h>

#include "host.h"
#include "suite.h"
#include "toolrun.h"

/* A kind of call, and how it fails: SHORT_TRANSFER is none of errno's. */
enum { SHORT_TRANSFER = 0 };

typedef struct Fault {
    const char *kinds; /* letters, see tests/host/hostcalls.c */
    int error;
    const char *life;
} Fault;

static const Fault faults[] = {
    { "w", EIO, "once" },    { "w", ENOSPC, "once" }, { "w", ENOSPC, "ever" },
    { "w", EDQUOT, "ever" }, { "w", SHORT_TRANSFER, "ever" },
    { "s", EIO, "once" },    { "s", EIO, "ever" },    { "s", ENOSPC, "once" },
    { "d", EIO, "once" },    { "t", EIO, "once" },    { "t", ENOSPC, "ever" },
    { "a", ENOSPC, "once" }, { "a", EOPNOTSUPP, "ever" }, { "o", EMFILE, "once" },
    { "o", EACCES, "ever" }, { "n", EIO, "once" },    { "u", EIO, "ever" },
    { "r", EIO, "once" },    { "r", SHORT_TRANSFER, "ever" },
    { "wstar", EIO, "ever" }, /* the device is gone */
};

enum { FAULTS = sizeof(faults) / sizeof(faults[0]) };

/* The lines of the file, without warnings; text gets the last of all. */
static int count_lines(const char *path, char *text, size_t room)
{
    FILE *file = fopen(path, "r");
    char line[2000];
    int lines = 0;
    ck_assert_ptr_nonnull(file);
    text[0] = '\0';
    while (fgets(line, sizeof(line), file) != NULL) {
        size_t length = strlen(line) < room ? strlen(line) : room - 1;
        memcpy(text, line, length);
        text[length] = '\0';
        lines += strstr(line, "img: warning: ") == NULL;
    }
    fclose(file);
    return lines;
}

/* A temporary directory that was not removed. */
static int has_leftovers(const char *directory)
{
    DIR *list = opendir(directory);
    int found = 0;
    ck_assert_ptr_nonnull(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        found |= strncmp(entry->d_name, ".img-", 5) == 0;
    }
    closedir(list);
    return found;
}

/* How many calls of the kinds an undisturbed run makes. */
static long count_calls(const ToolRun *run, const char *kinds)
{
    char *directory = toolrun_directory(run), *outside = host_directory_new();
    char *said = host_path(outside, "said"), *path = host_path(outside, "count");
    char settings[4096], text[64];
    snprintf(settings, sizeof(settings), "HOSTCALLS_FAIL=%s:0:0:once HOSTCALLS_COUNT='%s'", kinds,
             path);
    ck_assert_int_eq(toolrun_run(run, directory, settings, said), 0);
    ck_assert_int_eq(count_lines(path, text, sizeof(text)), 1);
    host_directory_remove(directory);
    host_directory_remove(outside);
    free(said);
    free(path);
    return atol(text);
}

/* A check tells of damage that it could not mend among its findings, on stdout. */
static int lines_wanted(const ToolOperation *operation, int status)
{
    return status == 0 || (operation->effect == TOOL_REPAIRS && (status == 2 || status == 3)) ? 0
                                                                                              : 1;
}

/* NULL or what is wrong after a run that ended with this status. */
static const char *judge(const ToolRun *run, const char *directory, const Fault *fault,
                         int status, const char *said)
{
    const int wanted = lines_wanted(toolrun_of(run), status);
    static char text[1600];
    char message[1000];
    int lines = count_lines(said, message, sizeof(message));
    const char *found = toolrun_examine(run, directory, status == 0 ? TOOL_MUST_BE_NEW
                                                                    : TOOL_MAY_BE_EITHER);
    if (found == NULL && lines != wanted) {
        snprintf(text, sizeof(text), "status %d: it says %d lines, wanted %d: %s", status, lines,
                 wanted, message);
        return text;
    }
    if (found == NULL && status == 0 && fault->kinds[0] == 's' && message[0] == '\0') {
        return "a failed sync was swallowed, without even a warning";
    }
    if (found == NULL && strpbrk(fault->kinds, "u") == NULL && has_leftovers(directory)) {
        return "it leaves its temporary directory behind";
    }
    if (found != NULL) {
        snprintf(text, sizeof(text), "status %d: %s (it says: %s)", status, found, message);
        return text;
    }
    return NULL;
}

/* The trouble is over: the same command again works, or says why not. */
static const char *retry(const ToolRun *run, const char *directory, const char *said)
{
    static char text[1600];
    char message[1000];
    int status = toolrun_run(run, directory, "", said);
    int lines = count_lines(said, message, sizeof(message));
    const char *found = toolrun_examine(run, directory, status == 0 ? TOOL_MUST_BE_NEW
                                                                    : TOOL_MAY_BE_EITHER);
    if (found == NULL && lines != lines_wanted(toolrun_of(run), status)) {
        found = "it does not say why, once";
    }
    if (found == NULL) {
        return NULL;
    }
    snprintf(text, sizeof(text), "tried again, status %d: %s (it says: %s)", status, found,
             message);
    return text;
}

static void try_fault(const ToolRun *run, const char *name, const Fault *fault, long number)
{
    char *directory = toolrun_directory(run), *outside = host_directory_new();
    char *said = host_path(outside, "said");
    char settings[256];
    snprintf(settings, sizeof(settings), "HOSTCALLS_FAIL=%s:%ld:%d:%s", fault->kinds, number,
             fault->error, fault->life);
    int status = toolrun_run(run, directory, settings, said);
    const char *text = judge(run, directory, fault, status, said);
    if (text == NULL) {
        text = retry(run, directory, said);
    }
    ck_assert_msg(text == NULL, "%s, %s: %s", name, settings, text);
    host_directory_remove(directory);
    host_directory_remove(outside);
    free(said);
}

START_TEST(a_failing_host_call_is_told_once_and_harms_nothing)
{
    const ToolOperation *operation = toolrun_operation((size_t)_i);
    uint32_t seed = suite_seed() + (uint32_t)_i;
    uint32_t every = (uint32_t)suite_count("FAULTS_EVERY", suite_is_large() ? 1 : 16);
    long tried = 0;
    if (toolrun_impossible() != NULL) {
        suite_skipped(toolrun_impossible());
        return;
    }
    ToolRun *run = toolrun_new(operation);
    for (int i = 0; i < FAULTS; i++) {
        long calls = count_calls(run, faults[i].kinds);
        for (long number = 1; number <= calls; number++) {
            if (suite_random(&seed) % every == 0) {
                try_fault(run, operation->name, &faults[i], number);
                tried++;
            }
        }
    }
    printf("%s: %ld faults\n", operation->name, tried);
    toolrun_free(run);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("host/faults");
    TCase *tcase = tcase_create("failing host calls");
    tcase_set_timeout(tcase, 3600);
    tcase_add_loop_test(tcase, a_failing_host_call_is_told_once_and_harms_nothing, 0,
                        (int)toolrun_count());
    suite_add_tcase(suite, tcase);
    return suite;
}
