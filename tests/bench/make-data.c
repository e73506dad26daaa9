/* SPDX-License-Identifier: MIT */
/*
 * make-data.c - raw disks that are measured, the same bytes on every machine:
 *
 *     make-data FILE MIB mixed|full|stripes
 *
 * mixed: in turns of 1 MiB noise, text-like (compresses to about a third), zeros
 * that are stored, and a hole, as where no file system can be made; full: noise;
 * stripes: 4 KiB of noise at the beginning of each 256 KiB, else a hole.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MIB = 1 << 20,
    STRIPE = 4096,
    STRIDE = 256 * 1024
};

static uint64_t state = 42;

static uint32_t noise(void)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void fill_noise(uint8_t *buf)
{
    for (int i = 0; i < MIB; i += 4) {
        uint32_t word = noise();
        memcpy(buf + i, &word, 4);
    }
}

static void fill_text(uint8_t *buf)
{
    static const char words[] = "the disk of a guest is full of words and ";
    for (int i = 0; i < MIB; i++) {
        buf[i] = noise() % 7 == 0 ? (uint8_t)('a' + noise() % 26)
                                  : (uint8_t)words[i % (int)(sizeof(words) - 1)];
    }
}

/* One MiB at offset; 0 or -1. */
static int write_stripes(int fd, uint8_t *buf, off_t offset)
{
    fill_noise(buf);
    for (int at = 0; at < MIB; at += STRIDE) {
        if (pwrite(fd, buf + at, STRIPE, offset + at) != STRIPE) {
            return -1;
        }
    }
    return 0;
}

static int write_mixed(int fd, uint8_t *buf, off_t offset)
{
    switch (offset / MIB % 4) {
    case 0:
        fill_noise(buf);
        break;
    case 1:
        fill_text(buf);
        break;
    case 2:
        memset(buf, 0, MIB);
        break;
    default:
        return 0;
    }
    return pwrite(fd, buf, MIB, offset) == MIB ? 0 : -1;
}

static int write_full(int fd, uint8_t *buf, off_t offset)
{
    fill_noise(buf);
    return pwrite(fd, buf, MIB, offset) == MIB ? 0 : -1;
}

int main(int argc, char **argv)
{
    static uint8_t buf[MIB];
    long count = argc == 4 ? atol(argv[2]) : 0;
    const char *kind = count > 0 ? argv[3] : "";
    int fd = count > 0 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0666) : -1;
    int failed = fd < 0 || ftruncate(fd, (off_t)count * MIB) != 0;

    for (long i = 0; !failed && i < count; i++) {
        off_t offset = (off_t)i * MIB;

        failed = strcmp(kind, "full") == 0      ? write_full(fd, buf, offset)
                 : strcmp(kind, "stripes") == 0 ? write_stripes(fd, buf, offset)
                                                : write_mixed(fd, buf, offset);
    }
    if (failed) {
        perror("make-data");
    }
    return failed != 0;
}
