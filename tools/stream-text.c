/* SPDX-License-Identifier: MIT */
/*
 * stream-text.c - the descriptor of a stream, as far as importers look at it.
 */
#include <stdlib.h>
#include <string.h>

#include "rules.h"

/* The line without its end and the blanks there; NULL: there is no more. */
static char *next_line(char **text)
{
    char *line = *text, *end;

    if (line == NULL || *line == '\0') {
        return NULL;
    }
    end = line + strcspn(line, "\n");
    *text = *end != '\0' ? end + 1 : end;
    while (end > line && strchr(" \t\r\n", end[-1]) != NULL) {
        end--;
    }
    *end = '\0';
    return line;
}

static void note_extent(StreamText *d, const char *line)
{
    const char *number = line + strcspn(line, " ");

    d->extents++;
    d->sectors = strtoull(number, NULL, 10);
    d->extents += strstr(line, " SPARSE \"") == NULL; /* not the one that is wanted */
}

static void note_line(StreamText *d, const char *line)
{
    static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX"};
    char value[32] = "";

    d->version |= strcmp(line, "version=1") == 0;
    d->type |= strcmp(line, "createType=\"streamOptimized\"") == 0;
    d->no_parent |= strcmp(line, "parentCID=ffffffff") == 0;
    if (strncmp(line, "CID=", 4) == 0) {
        const size_t digits = strspn(line + 4, "0123456789abcdefABCDEF");

        d->cid = digits > 0 && digits <= 8 && line[4 + digits] == '\0';
    }
    d->cid_of_none |= strcmp(line, "CID=ffffffff") == 0 || strcmp(line, "CID=fffffffe") == 0;
    if (strncmp(line, "RW ", 3) == 0 || strncmp(line, "RDONLY ", 7) == 0) {
        note_extent(d, line);
    }
    if (sscanf(line, "ddb.adapterType = \"%31[^\"]\"", value) == 1) {
        d->adapter = d->unknown_adapter = 1;
        for (int i = 0; i < 4; i++) {
            d->unknown_adapter &= strcmp(value, adapters[i]) != 0;
        }
    }
}

void stream_text_read(char *text, StreamText *found)
{
    char *line;

    while ((line = next_line(&text)) != NULL) {
        note_line(found, line);
    }
}
