/* SPDX-License-Identifier: MIT */
/*
 * measure.c - what a command costs:
 *
 *     measure TIMES COMMAND...
 *
 * Runs it TIMES times and prints, per run: wall seconds, CPU seconds (user and
 * system), and the largest resident size in KiB.  Its output goes nowhere, its
 * errors where ours go.  The resident size is at least that of this program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void execute(char **command)
{
    int nowhere = open("/dev/null", O_WRONLY);

    dup2(nowhere, STDOUT_FILENO);
    execvp(command[0], command);
    fprintf(stderr, "measure: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* 0 if it succeeded. */
static int run(char **command, struct rusage *usage)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        execute(command);
    }
    return pid < 0 || wait4(pid, &status, 0, usage) != pid || status != 0;
}

int main(int argc, char **argv)
{
    int times = argc > 2 ? atoi(argv[1]) : 0;
    double start, cpu = 0;
    long resident = 0;

    if (times < 1) {
        fprintf(stderr, "usage: measure TIMES COMMAND...\n");
        return 2;
    }
    start = now();
    for (int i = 0; i < times; i++) {
        struct rusage usage;

        if (run(argv + 2, &usage) != 0) {
            fprintf(stderr, "measure: %s failed\n", argv[2]);
            return 1;
        }
        cpu += seconds(usage.ru_utime) + seconds(usage.ru_stime);
        resident = usage.ru_maxrss > resident ? usage.ru_maxrss : resident;
    }
    printf("%.6f %.6f %ld\n", (now() - start) / times, cpu / times, resident);
    return 0;
}
