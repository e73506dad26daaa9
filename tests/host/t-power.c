/* SPDX-License-Identifier: MIT */
/*
 * t-power.c - power loss at every host call of every operation of the tools that
 * changes an image.
 *
 * The operation is run once and what it does to the files is recorded.  Then for each
 * call the directory is rebuilt as it might look if the power went behind it (see
 * hostlog.h), and each image must be what it was or what it was to become.
 *
 * POWER_CHOICES=… in the environment makes it longer.
 */
#include <unistd.h>

#include "host.h"
#include "hostlog.h"
#include "suite.h"
#include "toolrun.h"

enum { STATES = 80 }; /* of an operation by chance, at least */

static HostLog *record(const ToolRun *run)
{
    char *directory = toolrun_directory(run), *outside = host_directory_new();
    char *said = host_path(outside, "said"), *path = host_path(outside, "log");
    HostLog *log = hostlog_new(directory);
    char settings[4096];
    snprintf(settings, sizeof(settings), "HOSTCALLS_LOG='%s'", path);
    ck_assert_int_eq(toolrun_run(run, directory, settings, said), 0);
    hostlog_load(log, path);
    ck_assert_msg(hostlog_count(log) >= 2, "%zu host calls were recorded",
                  hostlog_count(log));
    host_directory_remove(directory);
    host_directory_remove(outside);
    free(said);
    free(path);
    return log;
}

static void try_cut(const ToolRun *run, const char *name, const HostLog *log, size_t cut,
                    HostAccident accident, uint32_t *seed)
{
    static const char *const names[] = { "all before", "only the synced", "by chance", "torn" };
    char *directory = host_directory_new();
    hostlog_replay(log, cut, accident, seed, directory);
    int whole = accident == HOST_LOSE_NOTHING && cut == hostlog_count(log);
    ToolOutcome outcome = whole ? TOOL_MUST_BE_NEW
                          : accident == HOST_TEAR_LAST ? TOOL_MAY_BE_REFUSED
                                                       : TOOL_MAY_BE_EITHER;
    const char *text = toolrun_examine(run, directory, outcome), *then = "";
    if (text == NULL && accident != HOST_TEAR_LAST) {
        toolrun_repair(run, directory);
        text = toolrun_examine(run, directory, TOOL_REPAIRED);
        then = ", repaired";
    }
    ck_assert_msg(text == NULL, "%s, power lost at %zu of %zu (%s; %s)%s: %s", name, cut,
                  hostlog_count(log), names[accident], hostlog_describe(log, cut), then, text);
    host_directory_remove(directory);
}

/* What the tool says is done must survive whatever happens afterwards. */
static void try_end(const ToolRun *run, const HostLog *log)
{
    char *directory = host_directory_new();
    uint32_t seed = 0;
    hostlog_replay(log, hostlog_count(log), HOST_LOSE_UNSYNCED, &seed, directory);
    const char *text = toolrun_examine(run, directory, TOOL_MUST_BE_NEW);
    ck_assert_msg(text == NULL, "done, but not durable: %s", text);
    host_directory_remove(directory);
}

START_TEST(power_loss_leaves_the_old_image_or_the_new_one)
{
    const ToolOperation *operation = toolrun_operation((size_t)_i);
    uint32_t seed = suite_seed() + (uint32_t)_i;
    int choices = suite_count("POWER_CHOICES", suite_is_large() ? 100 : 2);
    long states = 0;
    if (toolrun_impossible() != NULL) {
        suite_skipped(toolrun_impossible());
        return;
    }
    ToolRun *run = toolrun_new(operation);
    HostLog *log = record(run);
    if (hostlog_count(log) < STATES / 2 / (size_t)choices) { /* few calls: more of each */
        choices = STATES / 2 / (int)hostlog_count(log);
    }
    for (size_t cut = 0; cut <= hostlog_count(log); cut++) {
        try_cut(run, operation->name, log, cut, HOST_LOSE_NOTHING, &seed);
        try_cut(run, operation->name, log, cut, HOST_LOSE_UNSYNCED, &seed);
        for (int i = 0; i < choices; i++) {
            try_cut(run, operation->name, log, cut, HOST_TEAR_LAST, &seed);
            try_cut(run, operation->name, log, cut, HOST_LOSE_BY_CHANCE, &seed);
        }
        states += 2 + 2 * choices;
    }
    try_end(run, log);
    printf("%s: %zu host calls, %ld states\n", operation->name, hostlog_count(log), states);
    hostlog_free(log);
    toolrun_free(run);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("host/power");
    TCase *tcase = tcase_create("power loss");
    tcase_set_timeout(tcase, 1200);
    tcase_add_loop_test(tcase, power_loss_leaves_the_old_image_or_the_new_one, 0,
                        (int)toolrun_count());
    suite_add_tcase(suite, tcase);
    return suite;
}
