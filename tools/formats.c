/* SPDX-License-Identifier: MIT */
/*
 * formats.c - what the library can do, as its drivers say: one row for each
 * format, or one for each variant of a format.
 */
#include <string.h>

#include "tool.h"

/* A column, and its key in JSON. */
typedef struct Ability {
    unsigned flag;
    const char *title;
    const char *key;
} Ability;

static const Ability abilities[] = {
    {BDRV_CAN_READ, "READ", "read"},
    {BDRV_CAN_WRITE, "WRITE", "write"},
    {BDRV_CAN_CREATE, "CREATE", "create"},
    {BDRV_CAN_BACK, "SNAPSHOT", "snapshot"},
    {BDRV_CAN_COMPRESS, "COMPRESS", "compress"},
};

enum { ABILITIES = sizeof(abilities) / sizeof(abilities[0]) };

/* -------------------------------------------------------------------- human */

static int print_width(const BdrvDriverInfo *info)
{
    size_t width = strlen("VARIANT");

    width = strlen(info->name) > width ? strlen(info->name) : width;
    for (const BdrvVariant *v = info->variants; v->name != NULL; v++) {
        width = strlen(v->name) > width ? strlen(v->name) : width;
    }
    return (int)width;
}

static void print_titles(const char *title, int width, const char *last)
{
    printf("%-*s", width, title);
    for (int i = 0; i < ABILITIES; i++) {
        printf("  %s", abilities[i].title);
    }
    printf("  %s\n", last);
}

static void print_row(const char *name, int width, unsigned can, const char *text)
{
    printf("%-*s", width, name);
    for (int i = 0; i < ABILITIES; i++) {
        const int last = text == NULL && i == ABILITIES - 1;

        printf("  %-*s", last ? 1 : (int)strlen(abilities[i].title),
               can & abilities[i].flag ? "yes" : "-");
    }
    printf("%s%s\n", text != NULL ? "  " : "", text != NULL ? text : "");
}

static void print_variants(const BdrvDriverInfo *info)
{
    const int width = print_width(info);

    printf("%s: %s\n", info->name, info->description);
    print_titles("VARIANT", width, "NOTE");
    for (const BdrvVariant *v = info->variants; v->name != NULL; v++) {
        print_row(v->name, width, v->abilities, v->note);
    }
    if (info->variants->name == NULL) {
        print_row(info->name, width, info->abilities, "all images are alike");
    }
}

/* --------------------------------------------------------------------- JSON */

static void write_abilities(Json *json, unsigned can)
{
    for (int i = 0; i < ABILITIES; i++) {
        json_bool(json, abilities[i].key, (can & abilities[i].flag) != 0);
    }
}

static void write_variant(Json *json, const BdrvVariant *variant)
{
    json_object(json, NULL, JSON_INDENTED);
    json_string(json, "name", variant->name);
    write_abilities(json, variant->abilities);
    if (variant->create_options != NULL) {
        json_string(json, "create-options", variant->create_options);
    }
    if (variant->needs != NULL) {
        json_string(json, "create-needs", variant->needs);
    }
    if (variant->note != NULL) {
        json_string(json, "note", variant->note);
    }
    json_end(json);
}

static void write_format(Json *json, const BdrvDriverInfo *info)
{
    json_object(json, NULL, JSON_INDENTED);
    json_string(json, "name", info->name);
    json_string(json, "description", info->description);
    json_bool(json, "protocol", info->is_protocol);
    write_abilities(json, info->abilities);
    json_list(json, "variants", JSON_INDENTED);
    for (const BdrvVariant *v = info->variants; v->name != NULL; v++) {
        write_variant(json, v);
    }
    json_end(json);
    json_end(json);
}

/* ------------------------------------------------------------------ command */

static int describe(const BlockDriver *driver, BdrvDriverInfo *info)
{
    *info = (BdrvDriverInfo){.struct_size = sizeof(*info)};
    if (bdrv_driver_describe(driver, info) < 0) {
        tool_library_error();
        return -1;
    }
    return 0;
}

static int name_width(void)
{
    int width = (int)strlen("FORMAT");

    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info;

        if (describe(d, &info) == 0 && (int)strlen(info.name) > width) {
            width = (int)strlen(info.name);
        }
    }
    return width;
}

static int print_all(int json)
{
    const int width = name_width();
    BdrvDriverInfo info;
    Json out;

    json_begin(&out, stdout);
    if (json) {
        json_list(&out, NULL, JSON_INDENTED);
    } else {
        print_titles("FORMAT", width, "DESCRIPTION");
    }
    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        if (describe(d, &info) < 0) {
            return -1;
        }
        if (json) {
            write_format(&out, &info);
        } else {
            print_row(info.name, width, info.abilities, info.description);
        }
    }
    if (json) {
        json_end(&out);
    }
    return 0;
}

int formats_print(const char *format, int json)
{
    const BlockDriver *driver = format != NULL ? bdrv_find(format) : NULL;
    BdrvDriverInfo info;
    Json out;

    if (format == NULL) {
        return print_all(json);
    }
    if (driver == NULL) {
        tool_error("format '%s' is unknown; --formats alone lists all", format);
        return -1;
    }
    if (describe(driver, &info) < 0) {
        return -1;
    }
    if (json) {
        json_begin(&out, stdout);
        write_format(&out, &info);
    } else {
        print_variants(&info);
    }
    return 0;
}
