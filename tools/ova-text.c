/* SPDX-License-Identifier: MIT */
/*
 * ova-text.c - the XML of an OVF, as far as importers look at it: elements by their
 * names, attributes, and text.  No parser: what is nested how is not asked.
 *
 * Each step looks only at what the ones before have not passed: a search that goes on to
 * the end of the text for every element takes hours in a text of some MiB.
 */
#include <stddef.h>
#include <string.h>

#include "rules.h"

const char *ova_text_find(const char *at, const char *end, const char *word)
{
    const size_t length = strlen(word);

    while (end - at >= (ptrdiff_t)length &&
           (at = memchr(at, word[0], (size_t)(end - at) - length + 1)) != NULL) {
        if (strncmp(at, word, length) == 0) {
            return at;
        }
        at++;
    }
    return NULL;
}

/* Copies length bytes of XML, its entities resolved.  0: it does not fit, or has
 * entities that are not looked at: value ends there. */
static int copy_text(char value[OVA_VALUE_MAX], const char *text, size_t length)
{
    static const struct { const char *word; char is; } entities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''},
    };
    size_t used = 0;

    for (const char *end = text + length; text < end; used++) {
        size_t i = 0, step = 1;

        if (used == OVA_VALUE_MAX - 1) {
            value[used] = '\0';
            return 0;
        }
        value[used] = *text;
        for (; *text == '&' && i < 5; i++) {
            if (strncmp(text, entities[i].word, strlen(entities[i].word)) == 0) {
                value[used] = entities[i].is;
                step = strlen(entities[i].word);
                break;
            }
        }
        if (i == 5) {
            value[used] = '\0';
            return 0;
        }
        text += step;
    }
    value[used] = '\0';
    return 1;
}

int ova_text_attribute(const char *text, const char *name, char value[OVA_VALUE_MAX])
{
    const char *end = text + strcspn(text, "<>");
    const size_t name_length = strlen(name);

    value[0] = '\0';
    for (const char *at = text; (at = ova_text_find(at, end, name)) != NULL; at++) {
        const char quote = at[name_length] == '=' ? at[name_length + 1] : '\0';
        const char *from = at + name_length + 2;

        if (strchr(" :\n\t\r", at[-1]) != NULL && (quote == '"' || quote == '\'')) {
            return copy_text(value, from, strcspn(from, quote == '"' ? "\"" : "'"));
        }
    }
    return 0;
}

/* Does the name at at begin an element?  Before it there may be a name space, which has
 * none of these characters; at first there is neither. */
static int begins_element(const char *first, const char *at)
{
    if (at > first && at[-1] == ':') {
        for (at--; at > first && strchr("<>/:\"' \t\r\n", at[-1]) == NULL;) {
            at--;
        }
    }
    return at > first && at[-1] == '<';
}

const char *ova_text_next(const char *at, const char *end, const char *name)
{
    const size_t length = strlen(name);
    const char *first = at;

    for (; (at = ova_text_find(at, end, name)) != NULL; at += length) {
        if (at[length] != '\0' && strchr(" \t\r\n>", at[length]) != NULL &&
            begins_element(first, at)) {
            return at + length;
        }
    }
    return NULL;
}

int ova_text_within(const char *at, const char *end, const char *name, char value[OVA_VALUE_MAX])
{
    const char *found = ova_text_next(at, end, name);

    value[0] = '\0';
    found = found != NULL ? memchr(found, '>', (size_t)(end - found)) : NULL;
    return found != NULL && copy_text(value, found + 1, strcspn(found + 1, "<"));
}
