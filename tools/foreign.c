/* SPDX-License-Identifier: MIT */
/*
 * foreign.c - what users of qemu-img may ask for and is not here: each with the
 * reason, or with what to do instead.  What is in no table is an unknown word.
 */
#include <string.h>

#include "tool.h"

typedef struct ForeignOption {
    const char *command; /* NULL: all */
    const char *option;
    const char *instead;
} ForeignOption;

#define NO_SNAPSHOTS                                                        \
    "no format here has snapshots inside an image; one that is a file of its own is " \
    "opened by its name"

static const ForeignOption options[] = {
    {NULL, "--object", "there is nothing to give secrets or other objects to: encrypted images "
                       "cannot be opened"},
    {NULL, "--image-opts", "an image is named by its file, its format by -f, and further "
                           "options by --open-option"},
    {"amend", "--force", "it is about encryption, and no image here is encrypted"},
    {"commit", "-d", "the image is emptied in any case, and reads the same"},
    {"commit", "-r", "there is no limit to its rate"},
    {"convert", "--bitmaps", "no format here keeps bitmaps"},
    {"convert", "--target-image-opts", "the target is named by its file, its format by -O, "
                                       "and -o tells how to create it"},
    {"convert", "--snapshot", NO_SNAPSHOTS},
    {"convert", "-l", NO_SNAPSHOTS},
    {"convert", "-s", NO_SNAPSHOTS},
    {"convert", "-e", "encrypted images cannot be written"},
    {"rebase", "-T", "the parents are read as -t says"},
    {"rebase", "-U", "an image that is written to has to be locked"},
    {"resize", "--preallocation", "what is new takes no room before it is written to, which "
                                  "is what off means"},
};

static const struct {
    const char *name;
    const char *instead;
} commands[] = {
    {"bench", "fio(1) measures through any mounted file, and img io times single requests"},
    {"bitmap", "no format here keeps bitmaps"},
    {"dd", "img convert copies disks, parts of a raw one with --open-option offset=... and "
           "--open-option size=..."},
    {"measure", "how long an image will be is not told beforehand; img map tells how much of a "
                "disk is stored"},
    {"snapshot", "no format here has snapshots inside an image; img create -b makes one that "
                 "is a file of its own, img commit and img rebase end it"},
};

/* "--name=value" is asked for as "--name". */
static int is_option(const char *asked, const char *option)
{
    size_t length = strlen(option);

    return strncmp(asked, option, length) == 0 &&
           (asked[length] == '\0' || (asked[length] == '=' && option[1] == '-'));
}

const char *foreign_option(const char *command, const char *option)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if ((options[i].command == NULL || strcmp(options[i].command, command) == 0) &&
            is_option(option, options[i].option)) {
            return options[i].instead;
        }
    }
    return NULL;
}

const char *foreign_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return commands[i].instead;
        }
    }
    return NULL;
}
