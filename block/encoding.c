/* SPDX-License-Identifier: MIT */
/*
 * encoding.c - text in other encodings than UTF-8, as iconv(3) converts it.
 *
 * Only encodings of the list below are passed on to iconv(3), under its names for
 * them: what an image says never decides what the host's library loads.
 */
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

#ifdef BDRV_HAVE_ICONV
#include <iconv.h>

struct BdrvEncoding {
    iconv_t conversion;
};

typedef struct Encoding {
    const char *name; /* as images have it */
    const char *host; /* as iconv has it */
} Encoding;

/* Windows' code pages, by the names that VMware's programs give them. */
static const Encoding encodings[] = {
    {"windows-1250", "CP1250"}, {"windows-1251", "CP1251"}, {"windows-1252", "CP1252"},
    {"windows-1253", "CP1253"}, {"windows-1254", "CP1254"}, {"windows-1255", "CP1255"},
    {"windows-1256", "CP1256"}, {"windows-1257", "CP1257"}, {"windows-1258", "CP1258"},
    {"windows-874", "CP874"},   {"Shift_JIS", "CP932"},     {"windows-932", "CP932"},
    {"GBK", "GBK"},             {"GB2312", "GBK"},          {"windows-936", "GBK"},
    {"GB18030", "GB18030"},     {"Big5", "BIG5"},           {"windows-950", "BIG5"},
    {"EUC-KR", "CP949"},        {"windows-949", "CP949"},   {"ISO-8859-1", "ISO-8859-1"},
    {"ISO-8859-15", "ISO-8859-15"},
};

/* Not strcasecmp(): the user's locale must not matter. */
static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int is_same(const char *one, const char *other)
{
    while (*one != '\0' && lower(*one) == lower(*other)) {
        one++;
        other++;
    }
    return *one == *other;
}

static const char *host_encoding(const char *name)
{
    for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
        if (is_same(name, encodings[i].name)) {
            return encodings[i].host;
        }
    }
    return NULL;
}

int bdrv_encoding_open(const char *name, BdrvEncoding **encoding)
{
    const char *host = host_encoding(name);
    BdrvEncoding *made = host != NULL ? malloc(sizeof(*made)) : NULL;

    *encoding = NULL;
    if (host == NULL) {
        return bdrv_error(NULL, -ENOTSUP, "the encoding '%.64s' is not known", name);
    }
    if (made == NULL) {
        return -ENOMEM;
    }
    made->conversion = iconv_open("UTF-8", host);
    if (made->conversion == (iconv_t)-1) {
        free(made);
        return bdrv_error(NULL, -ENOTSUP, "this host's iconv(3) cannot convert the encoding "
                          "'%.64s', or what it needs cannot be loaded", name);
    }
    *encoding = made;
    return 0;
}

void bdrv_encoding_close(BdrvEncoding *encoding)
{
    if (encoding != NULL) {
        iconv_close(encoding->conversion);
        free(encoding);
    }
}

int bdrv_encoding_convert(BdrvEncoding *encoding, const char *text, char **utf8)
{
    enum {
        GROWTH = 4 /* bytes of UTF-8 that one byte becomes at most */
    };
    size_t in_left = strlen(text), out_left = in_left * GROWTH, done = (size_t)-1;
    char *copy = strdup(text), *result = calloc(1, out_left + 1);
    char *in = copy, *out = result;
    int ret = -ENOMEM;

    if (copy != NULL && result != NULL) {
        (void)iconv(encoding->conversion, NULL, NULL, NULL, NULL);
        done = iconv(encoding->conversion, &in, &in_left, &out, &out_left);
        ret = done == (size_t)-1 ? -EINVAL : 0;
    }
    free(copy);
    if (ret < 0) {
        free(result);
        result = NULL;
    }
    *utf8 = result;
    return ret == -EINVAL ? bdrv_error(NULL, ret, "'%s' is not in its encoding", text) : ret;
}

#else

int bdrv_encoding_open(const char *name, BdrvEncoding **encoding)
{
    *encoding = NULL;
    return bdrv_error(NULL, -ENOTSUP, "the encoding '%.64s' cannot be converted: the library "
                      "was built without iconv(3)", name);
}

void bdrv_encoding_close(BdrvEncoding *encoding)
{
    (void)encoding;
}

int bdrv_encoding_convert(BdrvEncoding *encoding, const char *text, char **utf8)
{
    (void)encoding, (void)text;
    *utf8 = NULL;
    return -ENOTSUP;
}

#endif
