/* SPDX-License-Identifier: MIT */
/*
 * deflate.c - the limit of a compressed conversion: libdeflate alone, on all
 * processors, with the grains that standard input lists as copy.c does.
 *
 *     deflate LEVEL RAW
 *
 * A process per processor reads and compresses every so-manieth grain; what comes
 * out goes nowhere.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    GRAIN = 64 * 1024
};

typedef struct Grains {
    int64_t *offsets;
    size_t count;
} Grains;

static int read_list(Grains *grains)
{
    int64_t from, to, bytes, last = -1;

    while (scanf("%" SCNd64 " %" SCNd64 " %" SCNd64, &from, &to, &bytes) == 3) {
        for (int64_t at = from / GRAIN; at <= (from + bytes - 1) / GRAIN; at++) {
            if (at == last) {
                continue;
            }
            if (grains->count % 4096 == 0) {
                grains->offsets = realloc(grains->offsets,
                                          (grains->count + 4096) * sizeof *grains->offsets);
            }
            if (grains->offsets == NULL) {
                return 1;
            }
            grains->offsets[grains->count++] = at * GRAIN;
            last = at;
        }
    }
    return 0;
}

static int compress_share(const Grains *grains, int fd, int level, size_t first, size_t step)
{
    static uint8_t in[GRAIN], out[2 * GRAIN];
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(level);
    int failed = compressor == NULL;

    for (size_t i = first; !failed && i < grains->count; i += step) {
        ssize_t bytes = pread(fd, in, sizeof in, grains->offsets[i]);

        failed = bytes <= 0 ||
                 libdeflate_zlib_compress(compressor, in, (size_t)bytes, out, sizeof out) == 0;
    }
    libdeflate_free_compressor(compressor);
    return failed;
}

static int compress_all(const Grains *grains, int fd, int level)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int failed = 0, status;

    for (long i = 0; i < processors; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            _exit(compress_share(grains, fd, level, (size_t)i, (size_t)processors));
        }
        failed |= pid < 0;
    }
    while (wait(&status) > 0) {
        failed |= status != 0;
    }
    return failed;
}

int main(int argc, char **argv)
{
    Grains grains = {0};
    int fd = argc == 3 ? open(argv[2], O_RDONLY) : -1;
    int failed = fd < 0 || read_list(&grains) || compress_all(&grains, fd, atoi(argv[1]));

    free(grains.offsets);
    if (failed) {
        fprintf(stderr, "deflate: failed; usage: deflate LEVEL RAW <LIST\n");
    }
    return failed;
}
