/* SPDX-License-Identifier: MIT */
/*
 * copy.c - the limit of a conversion: the same bytes, from and to the same
 * places, by nothing but pread(2) and pwrite(2).
 *
 *     copy list RAW GRAIN                prints what of RAW is not zeros
 *     copy unsafe|durable FROM TO SIZE   copies what standard input lists
 *
 * A line of the list is "FROM-OFFSET TO-OFFSET BYTES".  In the list that is
 * printed the grains that hold something lie packed in the target, as in a sparse
 * image; exchange the columns for the way back.  Zeros are left out in pieces of
 * 4 KiB.  durable: ends with fdatasync(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE = 4096,
    TRANSFER = 1 << 19 /* the fastest: see unit_of() of drivers/file/file.c */
};

static uint8_t buf[TRANSFER];

static int fail(const char *what)
{
    fprintf(stderr, "copy: %s: %s\n", what, strerror(errno));
    return 1;
}

/* -------------------------------------------------------------------- list */

typedef struct Run {
    int64_t from, to, bytes;
} Run;

static void add(Run *run, int64_t from, int64_t to, int64_t bytes)
{
    if (run->bytes > 0 && run->from + run->bytes == from && run->to + run->bytes == to) {
        run->bytes += bytes;
        return;
    }
    if (run->bytes > 0) {
        printf("%" PRId64 " %" PRId64 " %" PRId64 "\n", run->from, run->to, run->bytes);
    }
    *run = (Run){from, to, bytes};
}

static int is_zero(const uint8_t *bytes, int64_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, (size_t)count - 1) == 0;
}

/* Adds what a grain of that many bytes, now in buf, holds.  0: nothing. */
static int add_grain(Run *run, int64_t from, int64_t to, int64_t bytes)
{
    int found = 0;

    for (int64_t at = 0; at < bytes; at += PIECE) {
        int64_t now = bytes - at < PIECE ? bytes - at : PIECE;

        if (!is_zero(buf + at, now)) {
            add(run, from + at, to + at, now);
            found = 1;
        }
    }
    return found;
}

static int list(const char *raw, int64_t grain)
{
    int fd = open(raw, O_RDONLY);
    Run run = {0};
    int64_t to = 0, offset = 0;

    if (fd < 0 || grain < PIECE || grain > TRANSFER) {
        return fail(raw);
    }
    while ((offset = lseek(fd, offset, SEEK_DATA)) >= 0) {
        ssize_t bytes;

        offset -= offset % grain;
        bytes = pread(fd, buf, (size_t)grain, offset);
        if (bytes <= 0) {
            return fail(raw);
        }
        to += add_grain(&run, offset, to, bytes) ? grain : 0;
        offset += grain;
    }
    add(&run, 0, 0, 0);
    return close(fd);
}

/* -------------------------------------------------------------------- copy */

static int copy_run(int from, int to, Run run)
{
    while (run.bytes > 0) {
        size_t now = run.bytes < TRANSFER ? (size_t)run.bytes : TRANSFER;

        if (pread(from, buf, now, run.from) != (ssize_t)now ||
            pwrite(to, buf, now, run.to) != (ssize_t)now) {
            return fail("a run");
        }
        run.from += (int64_t)now;
        run.to += (int64_t)now;
        run.bytes -= (int64_t)now;
    }
    return 0;
}

static int copy(char **argv)
{
    int from = open(argv[2], O_RDONLY);
    int to = open(argv[3], O_RDWR | O_CREAT | O_TRUNC, 0666);
    int failed = from < 0 || to < 0 || ftruncate(to, atoll(argv[4])) != 0;
    Run run;

    while (!failed && scanf("%" SCNd64 " %" SCNd64 " %" SCNd64, &run.from, &run.to,
                            &run.bytes) == 3) {
        failed = copy_run(from, to, run);
    }
    if (!failed && strcmp(argv[1], "durable") == 0) {
        failed = fdatasync(to) != 0;
    }
    return failed ? fail(argv[3]) : 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "list") == 0) {
        return list(argv[2], atoll(argv[3]));
    }
    if (argc == 5) {
        return copy(argv);
    }
    fprintf(stderr, "usage: copy list RAW GRAIN | copy unsafe|durable FROM TO SIZE\n");
    return 2;
}
