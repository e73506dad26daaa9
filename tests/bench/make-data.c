/* SPDX-License-Identifier: MIT */
/*
 * make-data.c - disks that are measured, the same bytes on every machine:
 *
 *     make-data FILE MIB mixed|full
 *
 * mixed: in turns of 1 MiB noise, text-like (compresses to about a third), zeros
 * that are stored, and a hole, as where no file system can be made; full: noise.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

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

int main(int argc, char **argv)
{
    static uint8_t buf[MIB];
    long count = argc == 4 ? atol(argv[2]) : 0;
    int full = count > 0 && strcmp(argv[3], "full") == 0;
    int fd = count > 0 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0666) : -1;
    int failed = fd < 0 || ftruncate(fd, (off_t)count * MIB) != 0;
    for (long i = 0; !failed && i < count; i++) {
        switch (full ? 0 : i % 4) {
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
            continue;
        }
        failed = pwrite(fd, buf, MIB, (off_t)i * MIB) != MIB;
    }
    if (failed) {
        perror("make-data");
    }
    return failed;
}
