/* SPDX-License-Identifier: MIT */
/*
 * read.c - times reads of a disk through the library, or the same reads of a
 * plain file with pread(2), which is as fast as it gets.
 *
 *     read pread|FORMAT FILE random|sequential REQUEST-BYTES REQUESTS FROM TO
 *
 * Reads inside the bytes FROM to TO.  Prints: wall seconds, CPU seconds, MiB/s.
 * Both ways make the same requests and add up what they read, so that nothing
 * is optimised away, and a difference in content is seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bdrv.h"

typedef struct Source {
    BlockDriverState *bs; /* NULL: fd */
    int fd;
} Source;

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "read: %s: %s\n", what, why);
    return 1;
}

static int open_source(Source *source, const char *way, const char *file)
{
    source->bs = NULL;
    source->fd = -1;
    if (strcmp(way, "pread") == 0) {
        source->fd = open(file, O_RDONLY | O_CLOEXEC);
        return source->fd < 0 ? fail(file, strerror(errno)) : 0;
    }
    return bdrv_open(&source->bs, file, way, NULL) != 0
               ? fail(file, bdrv_errmsg()) : 0;
}

static int read_source(const Source *source, void *buf, size_t bytes,
                       int64_t offset)
{
    if (source->bs != NULL) {
        return bdrv_pread(source->bs, buf, bytes, offset);
    }
    return pread(source->fd, buf, bytes, offset) == (ssize_t)bytes ? 0 : -EIO;
}

static double seconds(struct timespec t)
{
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return seconds(now);
}

static double cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return seconds(now);
}

typedef struct Plan {
    int is_random;
    size_t bytes;
    int64_t requests;
    int64_t from;
    int64_t to;
} Plan;

static int64_t next_offset(const Plan *plan, int64_t i, uint64_t *state)
{
    int64_t slots = (plan->to - plan->from) / (int64_t)plan->bytes;
    if (!plan->is_random) {
        return plan->from + i % slots * (int64_t)plan->bytes;
    }
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return plan->from + (int64_t)(*state >> 33) % slots * (int64_t)plan->bytes;
}

static int run(const Source *source, const Plan *plan, uint8_t *buf)
{
    uint64_t state = 1;
    uint64_t sum = 0;
    double wall_start = wall();
    double cpu_start = cpu();
    for (int64_t i = 0; i < plan->requests; i++) {
        if (read_source(source, buf, plan->bytes,
                        next_offset(plan, i, &state)) != 0) {
            return fail("read", source->bs ? bdrv_errmsg() : "short");
        }
        sum += buf[0] + (uint64_t)buf[plan->bytes - 1] * 3;
    }
    double wall_time = wall() - wall_start;
    double mib = (double)plan->requests * (double)plan->bytes / 1048576.0;
    printf("%.6f %.6f %.1f %llu\n", wall_time, cpu() - cpu_start,
           mib / wall_time, (unsigned long long)sum);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        return fail("usage", "pread|FORMAT FILE random|sequential BYTES COUNT "
                             "FROM TO");
    }
    Plan plan = {
        .is_random = strcmp(argv[3], "random") == 0,
        .bytes = (size_t)atoll(argv[4]),
        .requests = atoll(argv[5]),
        .from = atoll(argv[6]),
        .to = atoll(argv[7]),
    };
    Source source;
    uint8_t *buf = malloc(plan.bytes + 1);
    if (buf == NULL || plan.bytes == 0 ||
        plan.to - plan.from < (int64_t)plan.bytes) {
        return fail("plan", "does not make sense");
    }
    if (open_source(&source, argv[1], argv[2]) != 0) {
        free(buf);
        return 1;
    }
    int result = run(&source, &plan, buf);
    bdrv_close(source.bs);
    if (source.fd >= 0) {
        close(source.fd);
    }
    free(buf);
    return result;
}
