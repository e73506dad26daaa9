/* SPDX-License-Identifier: MIT */
/*
 * opts.c - "key=value,key=value" into typed options, checked against the list
 * a driver gives, so that drivers neither parse nor doubt.  A comma inside a
 * value is doubled.  Also the one parser of sizes.
 */
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "block_int.h"

enum {
    LIST_BYTES = 1024 /* of what may be given, in one message */
};

typedef struct OptionValue {
    char *text; /* NULL: neither given nor defaulted */
    int64_t number;
    int given;
} OptionValue;

struct BdrvOptions {
    const BdrvOption *list;
    size_t count;
    OptionValue values[];
};

/* ------------------------------------------------------------------- sizes */

/* The power of 1024 of a suffix letter; -1: none. */
static int suffix_power(char letter)
{
    static const char letters[] = "bkmgtpe";
    const char *found;

    if (letter == '\0') {
        return -1;
    }
    found = strchr(letters, tolower((unsigned char)letter));
    return found ? (int)(found - letters) : -1;
}

/* The decimals of ".5G" as bytes: digits after the point, times unit. */
static int64_t fraction_bytes(const char **text, int64_t unit)
{
    int64_t numerator = 0, denominator = 1;

    for (; isdigit((unsigned char)**text); (*text)++) {
        if (denominator < 1000000) { /* further digits are below a byte of 1M */
            numerator = numerator * 10 + (**text - '0');
            denominator *= 10;
        }
    }
    /* unit may be 2^60: split it so that nothing overflows. */
    return unit / denominator * numerator +
           unit % denominator * numerator / denominator;
}

int bdrv_parse_size(const char *text, int64_t *bytes)
{
    const char *digits = text, *point = NULL, *rest;
    unsigned long long whole;
    int64_t unit = 1, value, fraction = 0;
    int power;
    char *end;

    if (!text || !bytes || !isdigit((unsigned char)*text)) {
        return bdrv_error(NULL, -EINVAL, "'%s' is not a size", text ? text : "");
    }
    errno = 0;
    whole = strtoull(digits, &end, digits[0] == '0' && (digits[1] | 32) == 'x' ? 16 : 10);
    if (errno == ERANGE) {
        return bdrv_error(NULL, -ERANGE, "the size '%s' is too large", text);
    }
    rest = end;
    if (*rest == '.') {
        point = rest + 1;
        rest = point + strspn(point, "0123456789");
    }
    power = suffix_power(*rest);
    if (power >= 0) {
        unit = (int64_t)1 << (10 * power);
        rest++;
    }
    if (*rest != '\0' || (point && !isdigit((unsigned char)*point))) {
        return bdrv_error(NULL, -EINVAL, "'%s' is not a size: digits and one of "
                          "the suffixes b k M G T P E are wanted", text);
    }
    if (point) {
        fraction = fraction_bytes(&point, unit);
    }
    if (!bdrv_scale(whole, unit, &value) || !bdrv_add(value, fraction, &value)) {
        return bdrv_error(NULL, -ERANGE, "the size '%s' is too large", text);
    }
    *bytes = value;
    return 0;
}

/* ------------------------------------------------------------------ values */

static int parse_bool(const BdrvOption *option, const char *text, int64_t *number)
{
    static const char *const words[] = { "off", "on", "false", "true", "no", "yes" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *number = (int64_t)(i & 1);
            return 0;
        }
    }
    return bdrv_error(NULL, -EINVAL, "option '%s' is '%s'; on or off is wanted",
                      option->name, text);
}

static int parse_number(const BdrvOption *option, const char *text, int64_t *number)
{
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 ||
        value > INT64_MAX) {
        return bdrv_error(NULL, -EINVAL, "option '%s' is '%s'; a number from 0 to "
                          "2^63-1 is wanted", option->name, text);
    }
    *number = (int64_t)value;
    return 0;
}

static int parse_choice(const BdrvOption *option, const char *text)
{
    char list[LIST_BYTES] = "";
    size_t used = 0;

    for (const char *const *c = option->choices; c && *c; c++) {
        if (strcmp(*c, text) == 0) {
            return 0;
        }
        if (used < sizeof list) {
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                     used ? ", " : "", *c);
        }
    }
    return bdrv_error(NULL, -EINVAL, "option '%s' is '%s'; one of %s is wanted",
                      option->name, text, list);
}

static int parse_value(const BdrvOption *option, const char *text, int64_t *number)
{
    switch (option->type) {
    case BDRV_OPTION_STRING:
        return 0;
    case BDRV_OPTION_NUMBER:
        return parse_number(option, text, number);
    case BDRV_OPTION_SIZE:
        if (bdrv_parse_size(text, number) < 0) {
            return bdrv_error_prefix(NULL, -EINVAL, "option '%s'", option->name);
        }
        return 0;
    case BDRV_OPTION_BOOL:
        return parse_bool(option, text, number);
    case BDRV_OPTION_CHOICE:
        return parse_choice(option, text);
    }
    return bdrv_error(NULL, -EINVAL, "option '%s' has an unknown type", option->name);
}

static OptionValue *find_value(const BdrvOptions *options, const char *name)
{
    for (size_t i = 0; i < options->count; i++) {
        if (strcmp(options->list[i].name, name) == 0) {
            return (OptionValue *)&options->values[i];
        }
    }
    return NULL;
}

static int unknown_option(const BdrvOptions *options, const char *name)
{
    char list[LIST_BYTES] = "";
    size_t used = 0;

    for (size_t i = 0; i < options->count && used < sizeof list; i++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 i ? ", " : "", options->list[i].name);
    }
    if (options->count == 0) {
        return bdrv_error(NULL, -EINVAL, "option '%s' is unknown; there are none "
                          "here", name);
    }
    return bdrv_error(NULL, -EINVAL, "option '%s' is unknown; there are %s", name, list);
}

int bdrv_options_set(BdrvOptions *options, const char *name, const char *value)
{
    OptionValue *slot = find_value(options, name);
    int64_t number = 0;
    char *text;
    int ret;

    if (!slot) {
        return unknown_option(options, name);
    }
    ret = parse_value(&options->list[slot - options->values], value, &number);
    if (ret < 0) {
        return ret;
    }
    text = strdup(value);
    if (!text) {
        return -ENOMEM;
    }
    free(slot->text);
    *slot = (OptionValue){ .text = text, .number = number, .given = 1 };
    return 0;
}

/* ----------------------------------------------------------------- parsing */

/* Copies one "key=value" of *text to item, undoubling commas, and moves *text
 * behind it. */
static void next_item(const char **text, char *item)
{
    const char *p = *text;

    for (; *p != '\0'; p++) {
        if (*p == ',' && *++p != ',') {
            break;
        }
        *item++ = *p;
    }
    *item = '\0';
    *text = p;
}

static int parse_items(BdrvOptions *options, const char *text)
{
    char *item = malloc(strlen(text) + 1), *equals;
    int ret = 0;

    if (!item) {
        return -ENOMEM;
    }
    while (ret == 0 && *text != '\0') {
        next_item(&text, item);
        equals = strchr(item, '=');
        if (equals) {
            *equals = '\0';
            ret = bdrv_options_set(options, item, equals + 1);
        } else if (item[0] != '\0') {
            /* A bare key switches a bool on, as in qemu's option strings. */
            ret = bdrv_options_set(options, item, "on");
        }
    }
    free(item);
    return ret;
}

static int set_defaults(BdrvOptions *options)
{
    for (size_t i = 0; i < options->count; i++) {
        if (options->list[i].default_text) {
            int ret = bdrv_options_set(options, options->list[i].name,
                                       options->list[i].default_text);
            if (ret < 0) {
                return ret;
            }
            options->values[i].given = 0;
        }
    }
    return 0;
}

int bdrv_options_parse(BdrvOptions **options, const BdrvOption *list, const char *text)
{
    BdrvOptions *new;
    size_t count = 0;
    int ret;

    *options = NULL;
    while (list && list[count].name) {
        count++;
    }
    new = calloc(1, sizeof *new + count * sizeof new->values[0]);
    if (!new) {
        return -ENOMEM;
    }
    new->list = list;
    new->count = count;
    ret = set_defaults(new);
    if (ret == 0 && text) {
        ret = parse_items(new, text);
    }
    if (ret < 0) {
        bdrv_options_free(new);
        return ret;
    }
    *options = new;
    return 0;
}

void bdrv_options_free(BdrvOptions *options)
{
    if (options) {
        for (size_t i = 0; i < options->count; i++) {
            free(options->values[i].text);
        }
        free(options);
    }
}

/* ----------------------------------------------------------------- reading */

const char *bdrv_option_string(const BdrvOptions *options, const char *name)
{
    const OptionValue *value = find_value(options, name);

    return value ? value->text : NULL;
}

int64_t bdrv_option_number(const BdrvOptions *options, const char *name)
{
    const OptionValue *value = find_value(options, name);

    return value ? value->number : 0;
}

int bdrv_option_bool(const BdrvOptions *options, const char *name)
{
    return bdrv_option_number(options, name) != 0;
}

int bdrv_option_given(const BdrvOptions *options, const char *name)
{
    const OptionValue *value = find_value(options, name);

    return value && value->given;
}
