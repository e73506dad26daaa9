/* SPDX-License-Identifier: MIT */
/*
 * libvmdk.c - a peer: reads a disk by libvmdk, as its own tools would.
 *
 *     libvmdk FILE to-raw TARGET             all of it; zeros become holes
 *     libvmdk FILE random BYTES REQUESTS     prints wall and CPU seconds, and the
 *                                            sum, as disk.c does
 */
#include <fcntl.h>
#include <libvmdk.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    PIECE = 1 << 20
};

static int fail(const char *what)
{
    fprintf(stderr, "libvmdk: %s\n", what);
    return 1;
}

static int read_at(libvmdk_handle_t *disk, void *buf, size_t bytes, int64_t offset)
{
    return libvmdk_handle_read_buffer_at_offset(disk, buf, bytes, offset, NULL) ==
           (ssize_t)bytes;
}

static int to_raw(libvmdk_handle_t *disk, int64_t size, const char *target)
{
    static uint8_t buf[PIECE];
    int fd = open(target, O_RDWR | O_CREAT | O_TRUNC, 0666);

    if (fd < 0 || ftruncate(fd, size) != 0) {
        return fail(target);
    }
    for (int64_t at = 0; at < size; at += PIECE) {
        size_t bytes = size - at < PIECE ? (size_t)(size - at) : PIECE;

        if (!read_at(disk, buf, bytes, at)) {
            return fail("cannot read");
        }
        if ((buf[0] != 0 || memcmp(buf, buf + 1, bytes - 1) != 0) &&
            pwrite(fd, buf, bytes, at) != (ssize_t)bytes) {
            return fail(target);
        }
    }
    return close(fd);
}

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int random_reads(libvmdk_handle_t *disk, int64_t size, size_t bytes, int64_t requests)
{
    uint8_t *buf = malloc(bytes);
    uint64_t state = 1, sum = 0;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

    for (int64_t i = 0; buf != NULL && i < requests; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        if (!read_at(disk, buf, bytes,
                     (int64_t)(state >> 33) % (size / (int64_t)bytes) * (int64_t)bytes)) {
            return fail("cannot read");
        }
        sum += buf[0] + (uint64_t)buf[bytes - 1] * 3;
    }
    printf("%.6f %.6f %llu\n", seconds(CLOCK_MONOTONIC) - wall,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, (unsigned long long)sum);
    free(buf);
    return 0;
}

int main(int argc, char **argv)
{
    libvmdk_handle_t *disk = NULL;
    size64_t size;

    if (argc < 4) {
        return fail("usage: FILE to-raw TARGET | FILE random BYTES REQUESTS");
    }
    if (libvmdk_handle_initialize(&disk, NULL) != 1 ||
        libvmdk_handle_open(disk, argv[1], LIBVMDK_OPEN_READ, NULL) != 1 ||
        libvmdk_handle_open_extent_data_files(disk, NULL) != 1 ||
        libvmdk_handle_get_media_size(disk, &size, NULL) != 1) {
        return fail("cannot open");
    }
    return argc == 5 ? random_reads(disk, (int64_t)size, (size_t)atoll(argv[3]), atoll(argv[4]))
                     : to_raw(disk, (int64_t)size, argv[3]);
}
