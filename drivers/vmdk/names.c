/* SPDX-License-Identifier: MIT */
/*
 * names.c - the ways in which a name out of a descriptor may be spelt here.
 *
 * Names are bytes, and are tried as such first.  Descriptors come from other hosts,
 * though: those of Windows separate directories with backslashes, and may be in an
 * encoding of their own, which the line "encoding" names, while a host of today
 * stores file names in UTF-8.  (In some of these encodings the second byte of a
 * character may be a backslash: a name is converted before it is cut.)
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

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

const char *vmdk_encoding_of(const Vmdk *image, const char *name)
{
    while (*name && (unsigned char)*name < 0x80) {
        name++;
    }
    return *name ? image->encoding : NULL;
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

/* The spellings of a name that is in another encoding. */
static void add_converted(VmdkSpellings *spellings, const char *name, const char *from)
{
    BdrvEncoding *encoding;
    char *converted;

    if (vmdk_slice_is((VmdkSlice){from, strlen(from)}, "UTF-8")) {
        return;
    }
    if (bdrv_encoding_open(from, &encoding) < 0) {
        spellings->problem = ", which cannot be converted here";
        return;
    }
    if (bdrv_encoding_convert(encoding, name, &converted) < 0) {
        spellings->problem = ", in which it means nothing";
    } else {
        add(spellings, converted);
        add(spellings, with_slashes(converted));
    }
    bdrv_encoding_close(encoding);
}

int vmdk_spellings(const Vmdk *image, const char *name, VmdkSpellings *spellings)
{
    const char *encoding = vmdk_encoding_of(image, name);

    *spellings = (VmdkSpellings){.list = {strdup(name)}, .count = 1, .problem = ""};
    if (!spellings->list[0]) {
        return -ENOMEM;
    }
    add(spellings, with_slashes(name));
    if (encoding) {
        add_converted(spellings, name, encoding);
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
