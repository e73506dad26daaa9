/* SPDX-License-Identifier: MIT */
/*
 * ova-check.c - would importers take the package around a disk?  The rules are
 * those of formats/vmdk.md 4.8 and DMTF DSP0243: the OVF comes first, it tells the
 * truth about its files and disks, and the manifest has the true digests, SHA-256,
 * of all of them.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ova.h"
#include "rules.h"

enum {
    MEMBERS_MAX = 4096,
    DISKS_MAX = 512, /* that an OVF describes: for each its hardware is looked through */
    TEXT_MAX = 4 * 1024 * 1024 /* of an OVF or a manifest */
};

/* What a disk says of itself. */
typedef struct Facts {
    int64_t length;
    char adapter[OVA_VALUE_MAX];
    int hardware;
} Facts;

/* One file, and what the texts have said of it.  However often they speak of it, it is
 * hashed, and opened, once. */
typedef struct Part {
    TarMember member;
    char id[OVA_VALUE_MAX]; /* by which the OVF calls it; "": it does not */
    int is_named;           /* the OVF names it */
    int has_line;           /* the manifest does */
    char digits[2 * BDRV_HASH_BYTES + 1]; /* of its digest; "": not known yet */
    int was_asked;          /* as a disk */
    int is_disk;            /* it could be: facts are known */
    Facts facts;
} Part;

typedef struct Package {
    BlockDriverState *file;
    Rules *rules;
    Part *parts;
    int count;
    char *ovf, *manifest; /* their texts; NULL: there is none */
    const char *ovf_end;
    int failed;           /* reading has: the message is printed */
} Package;

static int ends_in(const char *name, const char *end)
{
    const size_t length = strlen(name), part = strlen(end);

    return length >= part && strcasecmp(name + length - part, end) == 0;
}

static Part *find_part(const Package *p, const char *name)
{
    for (int i = 0; i < p->count; i++) {
        if (strcmp(p->parts[i].member.name, name) == 0) {
            return &p->parts[i];
        }
    }
    return NULL;
}

static int note_part(void *opaque, const TarMember *member)
{
    Package *p = opaque;

    if (find_part(p, member->name) != NULL) {
        rules_broken(p->rules, "names", "two files of the package are called %s", member->name);
    }
    if (p->count == MEMBERS_MAX) {
        tool_error("%s: the package has more than %d files", bdrv_filename(p->file), MEMBERS_MAX);
        return -1;
    }
    p->parts[p->count++] = (Part){.member = *member};
    return 0;
}

static char *read_member(Package *p, const TarMember *m)
{
    char *text;

    if (m->size > TEXT_MAX) {
        tool_error("%s: %s has %" PRId64 " bytes; at most %d are looked at",
                   bdrv_filename(p->file), m->name, m->size, TEXT_MAX);
        p->failed = 1;
        return NULL;
    }
    text = calloc(1, (size_t)m->size + 1);
    if (text == NULL) {
        tool_error("out of memory");
        p->failed = 1;
    } else if (bdrv_pread(p->file, text, (size_t)m->size, m->offset) < 0) {
        tool_library_error();
        p->failed = 1;
    }
    return text;
}

/* Of the first member whose name ends so.  NULL: there is none, or it cannot be had, which
 * is said. */
static char *read_text(Package *p, const char *end)
{
    for (int i = 0; i < p->count && !p->failed; i++) {
        if (ends_in(p->parts[i].member.name, end)) {
            return read_member(p, &p->parts[i].member);
        }
    }
    return NULL;
}

/* What the text begins with; 0: no number, and of one that no field here has the largest. */
static int number_of(const char *text)
{
    const long number = strtol(text, NULL, 10);

    return number < 0 ? 0 : number > INT_MAX ? INT_MAX : (int)number;
}

/* ----------------------------------------------------------------- manifest */

static int open_part(Package *p, const Part *part, BlockDriverState **bs)
{
    char window[80];
    const BdrvOpenOptions options = {.struct_size = sizeof(options), .options = window};

    snprintf(window, sizeof(window), "offset=%" PRId64 ",size=%" PRId64, part->member.offset,
             part->member.size);
    return bdrv_open_node(bs, p->file, "raw", &options);
}

static int find_digest(Package *p, Part *part)
{
    uint8_t digest[BDRV_HASH_BYTES] = {0};
    BlockDriverState *bs;
    int result;

    if (part->digits[0] != '\0') {
        return 0;
    }
    result = open_part(p, part, &bs);
    if (result == 0) {
        result = bdrv_hash(bs, digest, NULL);
        bdrv_close(bs);
    }
    if (result < 0) {
        tool_library_error();
        p->failed = 1;
        return -1;
    }
    for (int i = 0; i < BDRV_HASH_BYTES; i++) {
        snprintf(part->digits + 2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

static void check_digest(Package *p, const char *name, const char *digits)
{
    Part *part = find_part(p, name);

    if (part == NULL) {
        rules_broken(p->rules, "manifest", "it names %s, which is not in the package", name);
        return;
    }
    part->has_line = 1;
    if (find_digest(p, part) == 0 && strncasecmp(part->digits, digits, 2 * BDRV_HASH_BYTES) != 0) {
        rules_broken(p->rules, "manifest", "the digest of %s is another: %s", name, part->digits);
    }
}

/* "SHA256(name)= digits", with blanks wherever somebody puts them; the name may have
 * parentheses of its own. */
static void check_line(Package *p, char *line)
{
    char *digits = strrchr(line, '='), *open = strchr(line, '('), *close;

    if (line[strspn(line, " \t")] == '\0') {
        return;
    }
    if (digits != NULL) {
        *digits = '\0';
    }
    close = open != NULL && digits != NULL ? strrchr(open, ')') : NULL;
    if (close == NULL) {
        rules_broken(p->rules, "manifest", "'%s' is no line of one: SHA256(FILE)= DIGITS", line);
        return;
    }
    *close = '\0';
    if (strncasecmp(line, "SHA256", 6) != 0) {
        rules_broken(p->rules, "manifest", "its digests are %.*s; vSphere 8 wants SHA256",
                     (int)strcspn(line, "( "), line);
        return;
    }
    check_digest(p, open + 1, digits + 1 + strspn(digits + 1, " \t"));
}

static void check_lines(Package *p)
{
    for (char *line = p->manifest; *line != '\0' && !p->failed;) {
        char *end = line + strcspn(line, "\r\n");
        char *next = *end != '\0' ? end + 1 : end;

        *end = '\0';
        check_line(p, line);
        line = next;
    }
}

/* After the OVF: which files matter is known. */
static void check_manifest(Package *p)
{
    if (p->manifest == NULL) {
        return; /* there need not be one */
    }
    check_lines(p);
    for (int i = 0; i < p->count && !p->failed; i++) {
        const Part *part = &p->parts[i];

        if ((part->is_named || ends_in(part->member.name, ".ovf")) && !part->has_line) {
            rules_broken(p->rules, "manifest", "it has no line for %s", part->member.name);
        }
    }
}

/* --------------------------------------------------------------- its hardware */

enum { IDE_CONTROLLER = 5, SCSI_CONTROLLER = 6 }; /* CIM's ResourceType */

/* The text of the item of that type or InstanceID (the other one NULL), and where it
 * ends. */
static const char *find_item(const Package *p, const char *from, const char *key,
                             const char *wanted, const char **end)
{
    char value[OVA_VALUE_MAX];

    for (from = ova_text_next(from, p->ovf_end, "Item"); from != NULL;) {
        const char *next = ova_text_next(from, p->ovf_end, "Item");

        *end = ova_text_find(from, next != NULL ? next : p->ovf_end, "Item>");
        *end = *end != NULL ? *end : next != NULL ? next : p->ovf_end;
        if (ova_text_within(from, *end, key, value) && strcmp(value, wanted) == 0) {
            return from;
        }
        from = next;
    }
    return NULL;
}

/* The controller of the disk of that id, as a ResourceType; 0: nobody knows. */
static int controller_of(const Package *p, const char *id)
{
    char value[OVA_VALUE_MAX];
    const char *end, *item = p->ovf;

    while ((item = find_item(p, item, "ResourceType", "17", &end)) != NULL) {
        const char *slash;

        (void)ova_text_within(item, end, "HostResource", value);
        slash = strrchr(value, '/');
        if (strcmp(slash != NULL ? slash + 1 : value, id) == 0 &&
            ova_text_within(item, end, "Parent", value)) {
            char parent[OVA_VALUE_MAX];

            memcpy(parent, value, sizeof(parent));
            item = find_item(p, p->ovf, "InstanceID", parent, &end);
            return item != NULL && ova_text_within(item, end, "ResourceType", value) ? number_of(value) : 0;
        }
    }
    return 0;
}

/* The number of vmx-NN; 0: there is none. */
static int check_family(Package *p)
{
    char family[OVA_VALUE_MAX];
    int number = 0;

    if (ova_text_within(p->ovf, p->ovf_end, "VirtualSystemType", family)) {
        const char *at = strstr(family, "vmx-");

        number = at != NULL ? number_of(at + 4) : 0;
        if (number == 0) {
            rules_broken(p->rules, "hardware", "the OVF's VirtualSystemType is %s; vmx-NN is "
                         "wanted", family);
        }
    }
    return number;
}

/* -------------------------------------------------------------------- its disks */

static void note_fact(void *opaque, const BdrvDetail *detail)
{
    Facts *facts = opaque;

    if (detail->kind != BDRV_DETAIL_STRING || detail->key == NULL) {
        return;
    }
    if (strcmp(detail->key, "adapterType") == 0) {
        snprintf(facts->adapter, sizeof(facts->adapter), "%s", detail->string);
    } else if (strcmp(detail->key, "virtualHWVersion") == 0) {
        facts->hardware = number_of(detail->string);
    }
}

/* 0: it cannot be opened, which others tell of. */
static int ask_disk(Package *p, Part *part)
{
    const BdrvOpenOptions options = {.struct_size = sizeof(options), .flags = BDRV_O_NO_BACKING};
    BlockDriverState *bs, *disk = NULL;

    if (part->was_asked) {
        return part->is_disk;
    }
    part->was_asked = 1;
    if (open_part(p, part, &bs) < 0) {
        return 0;
    }
    if (bdrv_open_node(&disk, bs, NULL, &options) == 0) {
        part->facts.length = bdrv_getlength(disk);
        bdrv_get_details(disk, note_fact, &part->facts);
        part->is_disk = 1;
    }
    bdrv_close(bs);
    bdrv_close(disk);
    return part->is_disk;
}

/* "byte * 2^20": 20; 0 for bytes, and -1 for what is not known. */
static int shift_of(const char *units)
{
    const char *power = strstr(units, "2^");
    int shift;

    if (*units == '\0' || strcmp(units, "byte") == 0) {
        return 0;
    }
    shift = strncmp(units, "byte", 4) == 0 && power != NULL ? number_of(power + 2) : -1;
    return shift <= 40 ? shift : -1;
}

/* In units that may be larger than what the disk is a multiple of. */
static void check_capacity(Package *p, const char *element, const Part *part)
{
    const Facts *facts = &part->facts;
    char capacity[OVA_VALUE_MAX], units[OVA_VALUE_MAX], *end;
    uint64_t number, length = (uint64_t)facts->length;
    int shift;

    (void)ova_text_attribute(element, "capacityAllocationUnits", units);
    shift = shift_of(units);
    if (!ova_text_attribute(element, "capacity", capacity) || shift < 0) {
        return;
    }
    number = strtoull(capacity, &end, 10);
    if (end != capacity && *end == '\0' &&
        number != (length + (UINT64_C(1) << shift) - 1) >> shift) {
        rules_broken(p->rules, "ovf-capacity", "the OVF says that the disk in %s has %s times %s; it "
                     "has %" PRId64 " bytes", part->member.name, capacity,
                     *units != '\0' ? units : "byte", facts->length);
    }
}

static void check_controller(Package *p, const char *element, const Part *part)
{
    const Facts *facts = &part->facts;
    const int is_ide = strcmp(facts->adapter, "ide") == 0;
    char id[OVA_VALUE_MAX];
    int controller;

    if (facts->adapter[0] == '\0' || !ova_text_attribute(element, "diskId", id)) {
        return;
    }
    controller = controller_of(p, id);
    if (controller == (is_ide ? SCSI_CONTROLLER : IDE_CONTROLLER)) {
        rules_broken(p->rules, "controller", "%s says that its adapter is %s; the OVF has it at a "
                     "controller of type %s", part->member.name, facts->adapter,
                     is_ide ? "SCSI" : "IDE");
    }
}

static Part *find_id(const Package *p, const char *id)
{
    for (int i = 0; i < p->count; i++) {
        if (p->parts[i].is_named && strcmp(p->parts[i].id, id) == 0) {
            return &p->parts[i];
        }
    }
    return NULL;
}

/* An element Disk. */
static void check_disk(Package *p, const char *element, int family)
{
    Part *part;
    char value[OVA_VALUE_MAX];

    if (!ova_text_attribute(element, "fileRef", value)) {
        return; /* an empty one, that has no file */
    }
    part = find_id(p, value);
    if (part == NULL) {
        rules_broken(p->rules, "references", "the OVF has a disk in the file %s, which it does not "
                     "name", value);
        return;
    }
    if (ova_text_attribute(element, "format", value) && strstr(value, "#streamOptimized") == NULL) {
        rules_broken(p->rules, "ovf-format", "the OVF says that the disk in %s is %s; "
                     "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized is "
                     "wanted", part->member.name, value);
    }
    if (!ask_disk(p, part)) {
        return;
    }
    check_capacity(p, element, part);
    check_controller(p, element, part);
    if (family > 0 && part->facts.hardware > family) {
        rules_broken(p->rules, "hardware", "%s is for virtual hardware %d; the OVF's machine is "
                     "vmx-%02d", part->member.name, part->facts.hardware, family);
    }
}

/* --------------------------------------------------------------------- its files */

/* An element File. */
static void check_reference(Package *p, const char *element)
{
    char href[OVA_VALUE_MAX], value[OVA_VALUE_MAX];
    Part *part;

    if (!ova_text_attribute(element, "href", href)) {
        return; /* what is written otherwise is not compared */
    }
    part = find_part(p, href);
    if (part == NULL) {
        rules_broken(p->rules, "references", "the OVF names %s, which is not in the package", href);
    } else {
        part->is_named = 1;
        (void)ova_text_attribute(element, "id", part->id);
    }
    if (part != NULL && ova_text_attribute(element, "size", value) &&
        strtoll(value, NULL, 10) != part->member.size) {
        rules_broken(p->rules, "references", "the OVF says that %s has %s bytes; it has %" PRId64,
                     href, value, part->member.size);
    }
    if (ova_text_attribute(element, "compression", value) && value[0] != '\0') {
        rules_broken(p->rules, "references", "the OVF says that %s is compressed, which vSphere "
                     "does not take", href);
    }
}

static void check_disks(Package *p)
{
    const int family = check_family(p);
    const char *at = p->ovf;

    for (int i = 0; (at = ova_text_next(at, p->ovf_end, "Disk")) != NULL; i++) {
        if (i == DISKS_MAX) {
            rules_broken(p->rules, "references", "the OVF has more than %d disks", DISKS_MAX);
            return;
        }
        check_disk(p, at, family);
    }
}

static void check_ovf(Package *p)
{
    const char *at = p->ovf;

    if (at == NULL) {
        return;
    }
    p->ovf_end = p->ovf + strlen(p->ovf);
    while ((at = ova_text_next(at, p->ovf_end, "File")) != NULL) {
        check_reference(p, at);
    }
    check_disks(p);
}

/* --------------------------------------------------------------------- call */

static void check_package(Package *p)
{
    if (p->count == 0 || !ends_in(p->parts[0].member.name, ".ovf")) {
        rules_broken(p->rules, "ovf-first", "the first file of the package is %s, not its OVF",
                     p->count > 0 ? p->parts[0].member.name : "none");
    }
    p->ovf = read_text(p, ".ovf");
    p->manifest = read_text(p, ".mf");
    if (!p->failed) {
        check_ovf(p);
        check_manifest(p);
    }
    free(p->ovf);
    free(p->manifest);
}

int ova_check(const char *filename, Rules *rules)
{
    const BdrvOpenOptions options = {.struct_size = sizeof(options)};
    Package p = {.rules = rules, .parts = calloc(MEMBERS_MAX, sizeof(*p.parts))};
    int result = -1;

    if (p.parts == NULL) {
        tool_error("out of memory");
        return -1;
    }
    if (bdrv_open(&p.file, filename, "raw", &options) < 0) {
        tool_library_error();
    } else {
        result = tar_walk(p.file, note_part, &p) < 0 ? -1 : 0;
    }
    if (result == 0) {
        check_package(&p);
        result = p.failed ? -1 : 0;
    }
    bdrv_close(p.file);
    free(p.parts);
    return result;
}
