/* SPDX-License-Identifier: MIT */
/*
 * ova-check.c - would importers take the package around a disk?  The rules are
 * those of formats/vmdk.md 4.8 and DMTF DSP0243: the OVF comes first, it tells the
 * true lengths of its files, and the manifest has their true digests, SHA-256.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ova.h"
#include "rules.h"

enum {
    MEMBERS_MAX = 256,
    TEXT_MAX = 4 * 1024 * 1024 /* of an OVF or a manifest */
};

typedef struct Package {
    BlockDriverState *file;
    Rules *rules;
    TarMember *members;
    int count;
    char *ovf, *manifest; /* their texts; NULL: there is none */
    int failed;           /* reading has: the message is printed */
} Package;

static int ends_in(const char *name, const char *end)
{
    const size_t length = strlen(name), part = strlen(end);

    return length >= part && strcasecmp(name + length - part, end) == 0;
}

static int note_member(void *opaque, const TarMember *member)
{
    Package *p = opaque;

    if (p->count == MEMBERS_MAX) {
        return 1;
    }
    p->members[p->count++] = *member;
    return 0;
}

static const TarMember *find_member(const Package *p, const char *name, size_t length)
{
    for (int i = 0; i < p->count; i++) {
        if (strlen(p->members[i].name) == length &&
            strncmp(p->members[i].name, name, length) == 0) {
            return &p->members[i];
        }
    }
    return NULL;
}

/* NULL: there is no such member, or it cannot be read, which is said. */
static char *read_text(Package *p, const char *end)
{
    char *text = NULL;

    for (int i = 0; i < p->count && text == NULL; i++) {
        const TarMember *m = &p->members[i];

        if (!ends_in(m->name, end) || m->size > TEXT_MAX) {
            continue;
        }
        text = calloc(1, (size_t)m->size + 1);
        if (text != NULL && bdrv_pread(p->file, text, (size_t)m->size, m->offset) < 0) {
            tool_library_error();
            p->failed = 1;
        }
    }
    return text;
}

/* ----------------------------------------------------------------- manifest */

static int digest_of(Package *p, const TarMember *member, char digits[2 * BDRV_HASH_BYTES + 1])
{
    uint8_t digest[BDRV_HASH_BYTES];
    char window[80];
    const BdrvOpenOptions options = {.struct_size = sizeof(options), .options = window};
    BlockDriverState *part;
    int result;

    snprintf(window, sizeof(window), "offset=%" PRId64 ",size=%" PRId64, member->offset,
             member->size);
    result = bdrv_open_node(&part, p->file, "raw", &options);
    if (result == 0) {
        result = bdrv_hash(part, digest, NULL);
        bdrv_close(part);
    }
    if (result < 0) {
        tool_library_error();
        p->failed = 1;
        return -1;
    }
    for (int i = 0; i < BDRV_HASH_BYTES; i++) {
        snprintf(digits + 2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

/* "SHA256(name)= digits", with blanks wherever somebody puts them. */
static void check_line(Package *p, const char *line)
{
    const char *open = strchr(line, '('), *close = open != NULL ? strchr(open, ')') : NULL;
    const char *digits = close != NULL ? strchr(close, '=') : NULL;
    char found[2 * BDRV_HASH_BYTES + 1];
    const TarMember *member;

    if (digits == NULL) {
        return;
    }
    if (strncasecmp(line, "SHA256", 6) != 0) {
        rules_broken(p->rules, "manifest", "its digests are %.*s; vSphere 8 wants SHA256",
                     (int)strcspn(line, "( "), line);
        return;
    }
    digits += 1 + strspn(digits + 1, " \t");
    member = find_member(p, open + 1, (size_t)(close - open - 1));
    if (member == NULL) {
        rules_broken(p->rules, "manifest", "it names %.*s, which is not in the package",
                     (int)(close - open - 1), open + 1);
    } else if (digest_of(p, member, found) == 0 &&
               strncasecmp(found, digits, 2 * BDRV_HASH_BYTES) != 0) {
        rules_broken(p->rules, "manifest", "the digest of %s is another: %s", member->name, found);
    }
}

static void check_manifest(Package *p)
{
    for (char *line = p->manifest; line != NULL && *line != '\0' && !p->failed;) {
        char *end = line + strcspn(line, "\r\n");
        char *next = *end != '\0' ? end + 1 : end;

        *end = '\0';
        check_line(p, line);
        line = next;
    }
}

/* ---------------------------------------------------------------------- OVF */

/* The value of an attribute in the element at text, whatever its name space;
 * *length 0: it has none. */
static const char *attribute(const char *text, const char *name, size_t *length)
{
    const char *end = text + strcspn(text, ">");
    const size_t name_length = strlen(name);

    *length = 0;
    for (const char *at = text; (at = strstr(at, name)) != NULL && at < end; at++) {
        const char *value = at + name_length + 2;

        if ((at[-1] == ' ' || at[-1] == ':' || at[-1] == '\n' || at[-1] == '\t') &&
            at[name_length] == '=' && (value[-1] == '"' || value[-1] == '\'')) {
            *length = strcspn(value, value[-1] == '"' ? "\"" : "'");
            return value;
        }
    }
    return NULL;
}

/* An element File. */
static void check_reference(Package *p, const char *element)
{
    size_t href_length, size_length;
    const char *href = attribute(element, "href", &href_length);
    const char *size = attribute(element, "size", &size_length);
    const TarMember *member;

    if (href == NULL || memchr(href, '&', href_length) != NULL) {
        return; /* what is written otherwise is not compared */
    }
    member = find_member(p, href, href_length);
    if (member == NULL) {
        rules_broken(p->rules, "references", "the OVF names %.*s, which is not in the package",
                     (int)href_length, href);
    } else if (size_length > 0 && strtoll(size, NULL, 10) != member->size) {
        rules_broken(p->rules, "references", "the OVF says that %s has %.*s bytes; it has %" PRId64,
                     member->name, (int)size_length, size, member->size);
    }
    if (attribute(element, "compression", &size_length) != NULL && size_length > 0) {
        rules_broken(p->rules, "references", "the OVF says that %.*s is compressed, which vSphere "
                     "does not take", (int)href_length, href);
    }
}

static void check_ovf(Package *p)
{
    const char *at = p->ovf;

    while (at != NULL && (at = strstr(at, "File")) != NULL) {
        if (at > p->ovf && (at[-1] == '<' || at[-1] == ':') && strchr(" \t\r\n", at[4]) != NULL &&
            at[4] != '\0') {
            check_reference(p, at);
        }
        at++;
    }
}

/* --------------------------------------------------------------------- call */

static void check_package(Package *p)
{
    if (p->count == 0 || !ends_in(p->members[0].name, ".ovf")) {
        rules_broken(p->rules, "ovf-first", "the first file of the package is %s, not its OVF",
                     p->count > 0 ? p->members[0].name : "none");
    }
    p->ovf = read_text(p, ".ovf");
    p->manifest = read_text(p, ".mf");
    check_ovf(p);
    check_manifest(p);
    free(p->ovf);
    free(p->manifest);
}

int ova_check(const char *filename, Rules *rules)
{
    const BdrvOpenOptions options = {.struct_size = sizeof(options)};
    Package p = {.rules = rules, .members = calloc(MEMBERS_MAX, sizeof(*p.members))};
    int result = -1;

    if (p.members == NULL) {
        tool_error("out of memory");
        return -1;
    }
    if (bdrv_open(&p.file, filename, "raw", &options) < 0) {
        tool_library_error();
    } else {
        result = tar_walk(p.file, note_member, &p) < 0 ? -1 : 0;
    }
    if (result == 0) {
        check_package(&p);
        result = p.failed ? -1 : 0;
    }
    bdrv_close(p.file);
    free(p.members);
    return result;
}
