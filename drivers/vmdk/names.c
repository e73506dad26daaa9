/* SPDX-License-Identifier: MIT */
/*
 * names.c - the ways in which a name out of a descriptor may be spelt here.
 *
 * Names are bytes, and are tried as such first.  Descriptors come from other hosts,
 * though: those of Windows separate directories with backslashes, and may be in an
 * encoding of their own, which the line "encoding" names, while a host of today
 * stores file names in UTF-8.  (In some of these encodings the second byte of a
 * character may be a backslash: a name is converted before it is cut.)
 *
 * Only encodings of the list below are passed on to iconv(3), under its names for
 * them: what an image says never decides what the host's library loads.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

#ifdef BDRV_HAVE_ICONV
#include <iconv.h>

typedef struct Encoding {
    const char *name; /* as descriptors have it */
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

static const char *host_encoding(VmdkSlice name)
{
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        if (vmdk_slice_is(name, encodings[i].name)) {
            return encodings[i].host;
        }
    }
    return NULL;
}

/* NULL: it cannot be converted. */
static char *to_utf8(const char *name, VmdkSlice encoding)
{
    enum {
        GROWTH = 4 /* bytes of UTF-8 that one byte becomes at most */
    };
    const char *host = host_encoding(encoding);
    size_t in_left = strlen(name), out_left = in_left * GROWTH;
    char *copy = host ? strdup(name) : NULL, *result = host ? calloc(1, out_left + 1) : NULL;
    char *in = copy, *out = result;
    const iconv_t conversion = host ? iconv_open("UTF-8", host) : (iconv_t)-1;
    size_t done = (size_t)-1;

    if (conversion != (iconv_t)-1) {
        if (copy && result) {
            done = iconv(conversion, &in, &in_left, &out, &out_left);
        }
        iconv_close(conversion);
    }
    free(copy);
    if (done == (size_t)-1) {
        free(result);
        return NULL;
    }
    return result;
}

#else

static char *to_utf8(const char *name, VmdkSlice encoding)
{
    (void)name, (void)encoding;
    return NULL;
}

#endif

int vmdk_note_encoding(Vmdk *image)
{
    VmdkSlice encoding;

    if (!vmdk_option_find(image->descriptor.text, "encoding", &encoding) &&
        !vmdk_option_find(image->descriptor.text, "ddb.encoding", &encoding)) {
        return 0;
    }
    free(image->encoding);
    image->encoding = vmdk_slice_copy(encoding);
    return image->encoding ? 0 : -ENOMEM;
}

int vmdk_encoding_of(const Vmdk *image, const char *name, VmdkSlice *encoding)
{
    while (*name && (unsigned char)*name < 0x80) {
        name++;
    }
    if (!*name || !image->encoding) {
        return 0;
    }
    *encoding = (VmdkSlice){image->encoding, strlen(image->encoding)};
    return 1;
}

static char *with_slashes(const char *name)
{
    char *copy = strchr(name, '\\') ? strdup(name) : NULL;

    for (char *c = copy; c && *c; c++) {
        *c = *c == '\\' ? '/' : *c;
    }
    return copy;
}

/* What cannot be made, or no memory is for, is left out. */
static void add(VmdkSpellings *spellings, char *name)
{
    if (name) {
        spellings->list[spellings->count++] = name;
    }
}

int vmdk_spellings(const Vmdk *image, const char *name, VmdkSpellings *spellings)
{
    VmdkSlice encoding;

    *spellings = (VmdkSpellings){.list = {strdup(name)}, .count = 1};
    if (!spellings->list[0]) {
        return -ENOMEM;
    }
    add(spellings, with_slashes(name));
    if (vmdk_encoding_of(image, name, &encoding)) {
        char *converted = to_utf8(name, encoding);

        add(spellings, converted);
        add(spellings, converted ? with_slashes(converted) : NULL);
    }
    return 0;
}

void vmdk_spellings_free(VmdkSpellings *spellings)
{
    for (size_t i = 0; i < spellings->count; i++) {
        free(spellings->list[i]);
    }
    spellings->count = 0;
}
