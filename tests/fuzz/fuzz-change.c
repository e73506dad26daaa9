/* SPDX-License-Identifier: MIT */
/*
 * fuzz-change.c - the input is a program: which valid image to begin with, and
 * what to change in it (fields.c).  The result goes through all other targets.
 * Nothing is wasted on images that are refused at their first field, and a
 * finding is a few bytes long.
 */
#include "fuzz.h"

#include <string.h>

enum {
    ROOM = 512 * 1024,
    MOST_CHANGES = 8
};

void fuzz_change(const uint8_t *data, size_t size)
{
    static uint8_t image[ROOM];
    FuzzChoices choices = { .bytes = data, .size = size };
    const FuzzSeed *seed = fuzz_kept_seed(fuzz_choice(&choices, 16));
    size_t bytes;

    if (seed == NULL) {
        return;
    }
    bytes = seed->size;
    memcpy(image, seed->bytes, bytes);
    for (int i = 0; i < MOST_CHANGES && choices.at < size; i++) {
        bytes = fuzz_change_image(image, bytes, ROOM, &choices);
    }
    fuzz_open(image, bytes);
    fuzz_stream(image, bytes);
    fuzz_check(image, bytes);
    fuzz_write(image, bytes);
}
