/* SPDX-License-Identifier: MIT */
/*
 * rules.c - what is told of an image that a destination would refuse: which rule
 * is broken, by what, and what mends it.  Each rule once, with the first place
 * that breaks it.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

static int was_told(const Rules *rules, const char *name)
{
    for (int i = 0; i < rules->count; i++) {
        if (strcmp(rules->broken[i].name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static char *format_text(const char *format, va_list arguments)
{
    char text[RULE_TEXT_MAX];

    vsnprintf(text, sizeof(text), format, arguments);
    return strdup(text);
}

void rules_broken(Rules *rules, const char *name, const char *format, ...)
{
    va_list arguments;

    if (was_told(rules, name) || rules->count == RULES_MAX) {
        return;
    }
    va_start(arguments, format);
    rules->broken[rules->count++] = (Rule){.name = name, .text = format_text(format, arguments)};
    va_end(arguments);
}

void rules_mend(Rules *rules, const char *format, ...)
{
    va_list arguments;

    for (int i = 0; i < rules->count; i++) {
        if (rules->broken[i].mend == NULL) {
            va_start(arguments, format);
            rules->broken[i].mend = format_text(format, arguments);
            va_end(arguments);
        }
    }
}

#define NO_ROOM "FILE"

const char *rules_quote(char *text, size_t size, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_./,:=@%+-";
    const int is_plain = *name != '\0' && *name != '-' && name[strspn(name, plain)] == '\0';
    size_t used = 0;

    if (is_plain) {
        snprintf(text, size, "%s", strlen(name) < size ? name : NO_ROOM);
        return text;
    }
    used += (size_t)snprintf(text, size, "%s'", *name == '-' ? "./" : "");
    for (; *name != '\0' && used + 8 < size; name++) {
        used += (size_t)snprintf(text + used, size - used, *name == '\'' ? "'\\''" : "%c", *name);
    }
    snprintf(text + used, size - used, "'");
    if (*name != '\0') {
        snprintf(text, size, "%s", NO_ROOM);
    }
    return text;
}

void rules_free(Rules *rules)
{
    for (int i = 0; i < rules->count; i++) {
        free(rules->broken[i].text);
        free(rules->broken[i].mend);
    }
    rules->count = 0;
}
