/* SPDX-License-Identifier: MIT */
/*
 * encodings.c - what the library will need to read names in another encoding than
 * UTF-8, loaded while code can still be loaded: iconv(3) of glibc loads a module for
 * each.
 *
 * It happens before the sandbox, so as little as possible is done with the image's
 * bytes: the words behind "encoding=" in the first 64 KiB are found (a descriptor has
 * one), as plain text, and given to the library, which knows 22 names and takes no
 * others.  Images that are only found by following others (the parents in a chain) are
 * not looked at: what they need is there if it is the same.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

enum {
    LOOKED_AT = 64 * 1024,
    KEY_LENGTH = 8,
    WORD_MAX = 32,
    WORDS_MAX = 4 /* per file */
};

/* To the end of the process. */
typedef struct Kept {
    struct Kept *next;
    BdrvEncoding *encoding;
} Kept;

static Kept *kept;

static int in_word(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-';
}

/* text is what stands behind the sign, and ends with a 0. */
static void keep_word(const char *text)
{
    const char *start = text + strspn(text, " \t");
    char word[WORD_MAX + 1] = "";
    Kept *made;
    size_t length = 0;

    start += *start == '"';
    while (length < WORD_MAX && in_word(start[length])) {
        word[length] = start[length];
        length++;
    }
    made = malloc(sizeof(*made));
    if (made != NULL && bdrv_encoding_open(word, &made->encoding) == 0) {
        made->next = kept;
        kept = made;
    } else {
        free(made); /* the library says so when it needs it */
    }
}

/* In any case, as the library takes it. */
static int is_key(const char *text)
{
    static const char key[KEY_LENGTH + 1] = "encoding";

    for (size_t i = 0; i < KEY_LENGTH; i++) {
        if ((text[i] | ('a' - 'A')) != key[i]) {
            return 0;
        }
    }
    return 1;
}

/* What stands at the sign, and before it the key, if it does. */
static int keep_if_key(const char *bytes, const char *sign)
{
    const char *end = sign;

    while (end > bytes && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    if (end - bytes < KEY_LENGTH || !is_key(end - KEY_LENGTH)) {
        return 0;
    }
    keep_word(sign + 1);
    return 1;
}

/* bytes[length] is 0, and so may be others. */
static void keep_words(const char *bytes, size_t length)
{
    const char *const end = bytes + length;
    int words = 0;

    for (const char *at = bytes; words < WORDS_MAX && at < end; at++) {
        at = memchr(at, '=', (size_t)(end - at));
        if (at == NULL) {
            return;
        }
        words += keep_if_key(bytes, at);
    }
}

/* To open a pipe or a device, and close it, does something to others. */
static int is_file(const char *filename)
{
    struct stat st;

    return stat(filename, &st) == 0 && S_ISREG(st.st_mode);
}

static ssize_t read_beginning(const char *filename, char *bytes, size_t size)
{
    const int fd = is_file(filename) ? open(filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    ssize_t length;

    if (fd < 0) {
        return -1;
    }
    length = pread(fd, bytes, size, 0);
    close(fd);
    return length;
}

void encodings_keep(const char *filename)
{
    char *bytes = malloc(LOOKED_AT + 1);
    ssize_t length = bytes != NULL ? read_beginning(filename, bytes, LOOKED_AT) : -1;

    if (length > 0) {
        bytes[length] = '\0';
        keep_words(bytes, (size_t)length);
    }
    free(bytes);
}
