/* SPDX-License-Identifier: MIT */
/*
 * progress.c - how far a command is: a bar for people, the lines that users of
 * qemu-img parse, lines of JSON for programs, and an answer to SIGUSR1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

enum {
    BAR_INTERVAL = 100,  /* milliseconds between two drawings */
    JSON_INTERVAL = 500, /* the same for lines of JSON */
    RATE_SPAN = 3000,    /* milliseconds, the time over which the rate is an average */
    BAR_WIDTH = 24       /* characters */
};

/* ----------------------------------------------------------------- options */

static int take_form(ProgressHow *how, const char *form)
{
    how->wanted = 1;
    if (form == NULL || strcmp(form, "bar") == 0) {
        how->json = 0;
        return 0;
    }
    if (strcmp(form, "json") == 0) {
        how->json = 1;
        return 0;
    }
    tool_error("--progress: '%s' is neither bar nor json", form);
    return -1;
}

static int take_descriptor(ProgressHow *how, const char *text)
{
    char *end;
    long fd = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || fd > INT16_MAX) {
        tool_error("--progress-fd: '%s' is not a file descriptor", text);
        return -1;
    }
    if (fcntl((int)fd, F_GETFD) < 0) {
        tool_error("--progress-fd: %ld is not open; a shell opens it with %ld>FILE", fd, fd);
        return -1;
    }
    how->fd = (int)fd;
    how->has_fd = 1;
    return 0;
}

int progress_take(ProgressHow *how, int letter, const char *value)
{
    return letter == TOOL_PROGRESS_FD ? take_descriptor(how, value) : take_form(how, value);
}

int progress_check(const ProgressHow *how)
{
    if (how->has_fd && !how->json) {
        tool_error("--progress-fd: only with --progress=json");
        return -1;
    }
    return 0;
}

/* Whoever reads a file or a pipe gets all that is written to it; a terminal, or
 * /dev/null, is not one. */
static int is_standard_output(int fd)
{
    struct stat one, other;

    return fd == STDOUT_FILENO ||
           (fstat(fd, &one) == 0 && fstat(STDOUT_FILENO, &other) == 0 && !S_ISCHR(one.st_mode) &&
            one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

int progress_spare_output(const ProgressHow *how)
{
    const int fd = how->has_fd ? how->fd : STDERR_FILENO;

    if (how->wanted && is_standard_output(fd)) {
        tool_error("%s: the image goes to standard output, and the progress would be in it: "
                   "descriptor %d is the same", how->has_fd ? "--progress-fd" : "-p", fd);
        return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------- drawing */

static int64_t now_in_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static double percent_of(const Progress *progress)
{
    return progress->total > 0 ? 100.0 * (double)progress->done / (double)progress->total : 100.0;
}

/* Seconds until the end at the present rate; < 0: nobody knows. */
static double seconds_left(const Progress *progress)
{
    return progress->rate > 0 ? (double)(progress->total - progress->done) / progress->rate : -1;
}

static void draw_time(FILE *out, double seconds)
{
    int64_t whole = seconds < 359999 ? (int64_t)(seconds + 0.5) : 359999; /* 99 h */

    if (whole >= 3600) {
        fprintf(out, "%" PRId64 ":%02d:%02d left", whole / 3600, (int)(whole / 60 % 60),
                (int)(whole % 60));
    } else {
        fprintf(out, "%d:%02d left", (int)(whole / 60), (int)(whole % 60));
    }
}

/* "    (12.34/100%) [===>      ] 99.8 MiB/s, 1:05 left"; what follows the
 * parenthesis, only on a terminal. */
static void draw_bar(const Progress *progress)
{
    double percent = percent_of(progress);
    int filled = (int)(percent * BAR_WIDTH / 100.0);
    char rate[PRINT_SIZE_MAX];

    fprintf(progress->out, "    (%3.2f/100%%)", percent);
    if (progress->terminal) {
        fprintf(progress->out, " [%.*s%*s] ", filled, "========================",
                BAR_WIDTH - filled, "");
        if (progress->rate > 0) {
            fprintf(progress->out, "%s/s, ", print_size(rate, (int64_t)progress->rate));
            draw_time(progress->out, seconds_left(progress));
        }
        fputs("\033[K", progress->out); /* what the line before had more */
    }
    putc('\r', progress->out);
    fflush(progress->out);
}

/* In one write, so that lines of several programs do not mix.  When nobody reads
 * it any more, the work goes on. */
static void write_json(Progress *progress)
{
    char line[256];
    double left = seconds_left(progress);
    int length = snprintf(line, sizeof(line), "{\"phase\": \"%s\", \"done\": %" PRId64
                          ", \"total\": %" PRId64 ", \"percent\": %.2f, \"seconds\": %.3f, "
                          "\"rate\": %.0f, \"left\": ", progress->phase, progress->done,
                          progress->total, percent_of(progress),
                          (double)(progress->shown_at - progress->began_at) / 1000,
                          progress->rate);

    length += left < 0 ? snprintf(line + length, sizeof(line) - (size_t)length, "null}\n")
                       : snprintf(line + length, sizeof(line) - (size_t)length, "%.1f}\n", left);
    if (write(progress->fd, line, (size_t)length) < 0 && errno != EINTR && errno != EAGAIN) {
        progress->enabled = 0;
    }
}

static void draw(Progress *progress)
{
    if (progress->json) {
        write_json(progress);
    } else {
        draw_bar(progress);
    }
}

/* An average that forgets what was long ago. */
static void update_rate(Progress *progress, int64_t now)
{
    double span = (double)(now - progress->shown_at);
    double rate = (double)(progress->done - progress->shown_done) * 1000 / span;
    double weight = progress->rate > 0 ? span / (span + RATE_SPAN) : 1;

    progress->rate += (rate - progress->rate) * weight;
    progress->shown_at = now;
    progress->shown_done = progress->done;
}

/* --------------------------------------------------------------------- calls */

/* Where nobody can see a bar, none is drawn, which would fail. */
static int is_open(FILE *out)
{
    const int flags = fcntl(fileno(out), F_GETFL);

    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

void progress_begin(Progress *progress, const ProgressHow *how, const char *phase,
                    int64_t total)
{
    *progress = (Progress){.phase = phase, .out = how->to_stderr ? stderr : stdout};
    progress->enabled = how->wanted && (how->json || is_open(progress->out));
    progress->json = how->json;
    progress->fd = how->has_fd ? how->fd : STDERR_FILENO;
    progress->terminal = !how->json && isatty(how->to_stderr ? STDERR_FILENO : STDOUT_FILENO);
    progress->began_at = progress->shown_at = now_in_milliseconds();
    progress->total = total;
    if (how->json) {
        signal(SIGPIPE, SIG_IGN);
    }
    if (progress->enabled) {
        draw(progress);
    }
}

/* What qemu-img says then. */
static void report(const Progress *progress)
{
    fprintf(stderr, "    (%3.2f/100%%)\n", percent_of(progress));
}

void progress_show(Progress *progress, int64_t done, int64_t total)
{
    int64_t now = progress->enabled ? now_in_milliseconds() : 0;

    progress->done = done;
    progress->total = total;
    if (interrupt_wants_report()) {
        report(progress);
    }
    if (progress->enabled &&
        now - progress->shown_at >= (progress->json ? JSON_INTERVAL : BAR_INTERVAL)) {
        update_rate(progress, now);
        draw(progress);
    }
}

int progress_tell(void *opaque, int64_t done, int64_t total)
{
    progress_show(opaque, done, total);
    return interrupt_signal() != 0;
}

void progress_end(Progress *progress, int whole)
{
    int64_t now = now_in_milliseconds();

    if (!progress->enabled) {
        return;
    }
    if (whole) {
        progress->done = progress->total;
        if (now > progress->shown_at) {
            update_rate(progress, now);
        }
        draw(progress);
    }
    if (!progress->json) {
        putc('\n', progress->out);
        fflush(progress->out);
    }
    progress->enabled = 0;
}
