/* SPDX-License-Identifier: MIT */
/*
 * main.c - the targets as programs.  All are this one; the name it is called by,
 * fuzz-NAME, says which.
 *
 *     libFuzzer:  clang -fsanitize=fuzzer,address,undefined -DFUZZ_LIBFUZZER …
 *     AFL, gcc:   compile as it is; main() runs the files it is given, or stdin
 *
 * libFuzzer's own changes, which know nothing of images, take turns with those of
 * fields.c.
 */
#include "fuzz.h"

#include <string.h>

static const FuzzEntry *chosen = fuzz_targets;

static void choose(const char *program)
{
    const char *dash = strrchr(program, '-');

    for (const FuzzEntry *entry = fuzz_targets; dash != NULL && entry->name != NULL; entry++) {
        if (strcmp(entry->name, dash + 1) == 0) {
            chosen = entry;
            return;
        }
    }
    fprintf(stderr, "%s: call this as fuzz-NAME, NAME being one of:", program);
    for (const FuzzEntry *entry = fuzz_targets; entry->name != NULL; entry++) {
        fprintf(stderr, " %s", entry->name);
    }
    fputc('\n', stderr);
    exit(2);
}

#ifdef FUZZ_LIBFUZZER

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    choose((*argv)[0]);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    chosen->run(data, size);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint8_t bytes[64];
    FuzzRandom random = { .state = seed };
    FuzzChoices choices = { .bytes = bytes, .size = sizeof(bytes) };

    if (chosen->run == fuzz_change || size == 0 || size > max_size ||
        fuzz_random(&random) % 3 == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)fuzz_random(&random);
    }
    for (uint32_t n = fuzz_random(&random) % 3 + 1; n > 0; n--) {
        size = chosen->run == fuzz_descriptor
                   ? fuzz_change_text(data, size, max_size, &choices)
                   : fuzz_change_image(data, size, max_size, &choices);
    }
    return size;
}

#else

enum {
    MOST_INPUT = 4 * 1024 * 1024
};

static int run_file(FILE *file)
{
    uint8_t *data = malloc(MOST_INPUT);

    if (data == NULL) {
        return 1;
    }
    chosen->run(data, fread(data, 1, MOST_INPUT, file));
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int result;

    choose(argv[0]);
    result = argc < 2 ? run_file(stdin) : 0;
    for (int i = 1; i < argc && result == 0; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        result = run_file(file);
        fclose(file);
    }
    return result;
}

#endif
