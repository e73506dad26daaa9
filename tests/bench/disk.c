/* SPDX-License-Identifier: MIT */
/*
 * disk.c - times requests to a disk through the library, or the same requests
 * to a plain file by pread(2) and pwrite(2), which is as fast as it gets.
 *
 *     disk host|FORMAT FILE OPERATION STEP BYTES REQUESTS SIZE [PASSES]
 *
 * OPERATION  read; write, with one flush at the end; write-unsafe, without
 * STEP       how far one request is from the last, wrapping at SIZE, so that both
 *            ways and qemu-img bench -S ask for the same; or "random"
 *
 * Prints a line per pass: wall seconds, CPU seconds, and a sum of what was read,
 * so that nothing is optimised away and a difference in content is seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bdrv.h"

typedef enum Operation {
    READ,
    WRITE,
    WRITE_UNSAFE
} Operation;

typedef struct Plan {
    Operation operation;
    int64_t step; /* 0: random */
    size_t bytes;
    int64_t requests;
    int64_t size;
} Plan;

typedef struct Disk {
    BlockDriverState *bs; /* NULL: fd */
    int fd;
} Disk;

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "disk: %s: %s\n", what, why);
    return 1;
}

/* -------------------------------------------------------------- both ways */

static int open_disk(Disk *disk, const char *way, const char *file, Operation operation)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof options,
        .flags = (operation == READ ? 0u : BDRV_O_RDWR) |
                 (operation == WRITE_UNSAFE ? BDRV_O_NO_FLUSH : 0u),
    };

    disk->bs = NULL;
    disk->fd = -1;
    if (strcmp(way, "host") == 0) {
        disk->fd = open(file, (operation == READ ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        return disk->fd < 0 ? fail(file, strerror(errno)) : 0;
    }
    return bdrv_open(&disk->bs, file, way, &options) != 0 ? fail(file, bdrv_errmsg()) : 0;
}

static int close_disk(const Disk *disk)
{
    if (disk->bs == NULL) {
        return close(disk->fd);
    }
    return bdrv_close(disk->bs) != 0 ? fail("close", bdrv_errmsg()) : 0;
}

static int request(const Disk *disk, const Plan *plan, uint8_t *buf, int64_t offset)
{
    const int reads = plan->operation == READ;
    ssize_t done;

    if (disk->bs != NULL) {
        return reads ? bdrv_pread(disk->bs, buf, plan->bytes, offset)
                     : bdrv_pwrite(disk->bs, buf, plan->bytes, offset);
    }
    done = reads ? pread(disk->fd, buf, plan->bytes, offset)
                 : pwrite(disk->fd, buf, plan->bytes, offset);
    return done == (ssize_t)plan->bytes ? 0 : -EIO;
}

static int finish(const Disk *disk, const Plan *plan)
{
    if (plan->operation != WRITE) {
        return 0;
    }
    return disk->bs != NULL ? bdrv_flush(disk->bs) : fdatasync(disk->fd);
}

/* --------------------------------------------------------------- measuring */

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int64_t next_offset(const Plan *plan, int64_t i, uint64_t *state)
{
    if (plan->step != 0) {
        return i * plan->step % plan->size;
    }
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (int64_t)(*state >> 33) % (plan->size / (int64_t)plan->bytes) * (int64_t)plan->bytes;
}

static int run(const Disk *disk, const Plan *plan, uint8_t *buf)
{
    uint64_t state = 1, sum = 0;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

    for (int64_t i = 0; i < plan->requests; i++) {
        if (request(disk, plan, buf, next_offset(plan, i, &state)) != 0) {
            return fail("request", disk->bs ? bdrv_errmsg() : "failed or short");
        }
        sum += buf[0] + (uint64_t)buf[plan->bytes - 1] * 3;
    }
    if (finish(disk, plan) != 0) {
        return fail("flush", disk->bs ? bdrv_errmsg() : strerror(errno));
    }
    printf("%.6f %.6f %llu\n", seconds(CLOCK_MONOTONIC) - wall,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, (unsigned long long)sum);
    return 0;
}

/* -------------------------------------------------------------------- main */

static int make_plan(Plan *plan, char **argv)
{
    *plan = (Plan){
        .operation = strcmp(argv[3], "read") == 0    ? READ
                     : strcmp(argv[3], "write") == 0 ? WRITE
                                                     : WRITE_UNSAFE,
        .step = atoll(argv[4]),
        .bytes = (size_t)atoll(argv[5]),
        .requests = atoll(argv[6]),
        .size = atoll(argv[7]),
    };
    return plan->bytes > 0 && plan->size >= (int64_t)plan->bytes
               ? 0 : fail("the sizes", "do not make sense");
}

int main(int argc, char **argv)
{
    int passes = argc == 9 ? atoi(argv[8]) : 1;
    Plan plan;
    Disk disk;
    uint8_t *buf;
    int failed;

    if (argc < 8) {
        return fail("usage", "host|FORMAT FILE read|write|write-unsafe STEP|random BYTES "
                             "REQUESTS SIZE [PASSES]");
    }
    if (make_plan(&plan, argv) != 0 || open_disk(&disk, argv[1], argv[2], plan.operation) != 0) {
        return 1;
    }
    buf = malloc(plan.bytes);
    failed = buf == NULL;
    if (!failed) {
        memset(buf, 0xa5, plan.bytes);
    }
    while (!failed && passes-- > 0) {
        failed = run(&disk, &plan, buf);
    }
    free(buf);
    return close_disk(&disk) != 0 || failed;
}
