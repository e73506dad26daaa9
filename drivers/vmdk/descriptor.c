/* SPDX-License-Identifier: MIT */
/*
 * descriptor.c - the text of a descriptor, decoded and checked.
 *
 *     # Disk DescriptorFile            comments and section titles
 *     version=1                        header options
 *     CID=5a1c03de
 *     RW 4192256 SPARSE "d-s001.vmdk"  extents, in the order of the disk
 *     ddb.adapterType = "ide"          the disk data base
 *
 * Lenient in form (order, blanks, case, line ends: descriptors are edited by
 * hand), strict in what is used.  The text is kept as it is, so that a change
 * of one option (edit.c) loses nothing of what is not understood here.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    VERSION_MAX = 3 /* 3: change tracking; what later ones mean is unknown */
};

typedef struct Parser {
    const BlockDriverState *bs;
    VmdkDescriptor *descriptor;
    size_t line_number;
    size_t extent_room;
    int has_version;
    int has_parent_cid;
    int64_t total_sectors;
} Parser;

static const char *const kind_names[] = {
    [VMDK_FLAT] = "FLAT",
    [VMDK_SPARSE] = "SPARSE",
    [VMDK_ZERO] = "ZERO",
    [VMDK_VMFS] = "VMFS",
    [VMDK_VMFSSPARSE] = "VMFSSPARSE",
    [VMDK_VMFSRDM] = "VMFSRDM",
    [VMDK_VMFSRAW] = "VMFSRAW",
    [VMDK_SESPARSE] = "SESPARSE",
    [VMDK_VSANSPARSE] = "VSANSPARSE",
};

static const char *const access_names[] = {
    [VMDK_RW] = "RW",
    [VMDK_RDONLY] = "RDONLY",
    [VMDK_NOACCESS] = "NOACCESS",
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

const char *vmdk_kind_name(VmdkKind kind)
{
    return kind_names[kind];
}

const char *vmdk_access_name(VmdkAccess access)
{
    return access_names[access];
}

/* For %.*s; names are shown cut, they may be anything. */
static int shown(VmdkSlice slice)
{
    return (int)bdrv_min((int64_t)slice.length, 64);
}

static int find_name(const char *const *names, size_t count, VmdkSlice word)
{
    for (size_t i = 0; i < count; i++) {
        if (vmdk_slice_is(word, names[i])) {
            return (int)i;
        }
    }
    return -1;
}

static int fail(const Parser *p, const char *what, VmdkSlice found, const char *wanted)
{
    return bdrv_error(p->bs, -EINVAL, "descriptor line %zu: %s is '%.*s'; wanted is %s",
                      p->line_number, what, shown(found), found.start, wanted);
}

/* ----------------------------------------------------------------- options */

static int take_version(Parser *p, VmdkSlice value)
{
    VmdkSlice word = vmdk_slice_word(&value); /* text behind it is tolerated */
    uint64_t version;

    if (!vmdk_slice_decimal(word, &version) || version < 1 || version > VERSION_MAX) {
        p->descriptor->is_foreign = vmdk_slice_is_digits(word);
        return fail(p, "version", word, "1, 2 or 3");
    }
    p->descriptor->version = (unsigned)version;
    p->has_version = 1;
    return 0;
}

static int take_cid(Parser *p, const char *name, VmdkSlice value, int *has, uint32_t *cid)
{
    uint32_t found;

    if (!vmdk_slice_cid(value, &found)) {
        return fail(p, name, value, "1 to 8 hexadecimal digits");
    }
    if (*has && *cid != found) {
        return bdrv_error(p->bs, -EINVAL, "descriptor line %zu: %s is %08" PRIx32
                          ", an earlier line says %08" PRIx32, p->line_number, name, found,
                          *cid);
    }
    *cid = found;
    *has = 1;
    return 0;
}

static int take_string(Parser *p, const char *name, VmdkSlice value, char **string)
{
    if (value.length > 0 && value.start[0] == '"') {
        return fail(p, name, value, "a closing quote at its end");
    }
    if (value.length > VMDK_NAME_MAX) {
        return fail(p, name, value, "a name of at most 1024 bytes");
    }
    if (*string) {
        return strlen(*string) == value.length && memcmp(*string, value.start, value.length) == 0
                   ? 0
                   : bdrv_error(p->bs, -EINVAL, "descriptor line %zu: %s is '%.*s', an earlier "
                                "line says '%s'", p->line_number, name, shown(value),
                                value.start, *string);
    }
    *string = vmdk_slice_copy(value);
    return *string ? 0 : -ENOMEM;
}

/* Options that say that somebody else keeps data beside ours, which a writer
 * who does not know how would leave behind stale. */
static void note_foreign_owner(VmdkDescriptor *d, VmdkSlice key, VmdkSlice value)
{
    if (vmdk_slice_is(key, "isNativeSnapshot") && vmdk_slice_is(value, "yes")) {
        d->read_only_reason = "isNativeSnapshot=\"yes\": the storage array made it";
    } else if (vmdk_slice_is(key, "ddb.sidecars") && value.length > 0) {
        d->read_only_reason = "ddb.sidecars: other files hold data that belong to it";
    } else if (vmdk_slice_is(key, "ddb.iofilters") && value.length > 0) {
        d->read_only_reason = "ddb.iofilters: a filter keeps data beside it";
    }
}

static int take_option(Parser *p, VmdkSlice key, VmdkSlice value)
{
    VmdkDescriptor *d = p->descriptor;

    if (vmdk_slice_begins(key, "encryption") || vmdk_slice_begins(key, "ddb.encryption")) {
        d->is_foreign = 1;
        return fail(p, "an option", key, "none about encryption, which is not supported");
    }
    if (vmdk_slice_is(key, "version")) {
        return take_version(p, value);
    }
    if (vmdk_slice_is(key, "CID")) {
        return take_cid(p, "CID", value, &d->has_cid, &d->cid);
    }
    if (vmdk_slice_is(key, "parentCID")) {
        return take_cid(p, "parentCID", value, &p->has_parent_cid, &d->parent_cid);
    }
    if (vmdk_slice_is(key, "createType")) {
        return take_string(p, "createType", value, &d->create_type);
    }
    if (vmdk_slice_is(key, "parentFileNameHint")) {
        return take_string(p, "parentFileNameHint", value, &d->parent_hint);
    }
    if (vmdk_slice_is(key, "changeTrackPath")) {
        d->tracks_changes = 1;
    }
    note_foreign_owner(d, key, value);
    return 0;
}

/* ----------------------------------------------------------------- extents */

static int take_sectors(Parser *p, const char *what, VmdkSlice word, int64_t *sectors)
{
    uint64_t number;
    int64_t bytes;

    if (!vmdk_slice_decimal(word, &number) || !bdrv_scale(number, BDRV_SECTOR_SIZE, &bytes)) {
        return fail(p, what, word, "a number of sectors below 2^54");
    }
    *sectors = (int64_t)number;
    return 0;
}

/* Only bytes that can be in a name: there is no way to escape any. */
static int check_name(const Parser *p, VmdkSlice name)
{
    if (name.length == 0 || name.length > VMDK_NAME_MAX) {
        return bdrv_error(p->bs, -EINVAL, "descriptor line %zu: the extent's name has %zu "
                          "bytes; wanted are 1 to %d", p->line_number, name.length,
                          VMDK_NAME_MAX);
    }
    for (size_t i = 0; i < name.length; i++) {
        if ((unsigned char)name.start[i] < 0x20 || name.start[i] == 0x7f) {
            return bdrv_error(p->bs, -EINVAL, "descriptor line %zu: byte %zu of the extent's "
                              "name is a control character (0x%02x)", p->line_number, i,
                              (unsigned char)name.start[i]);
        }
    }
    return 0;
}

/* What stands in the place of an offset must be one: as 0, it would be other bytes. */
static int is_bad_offset(VmdkKind kind, VmdkSlice word)
{
    return vmdk_kind_is_flat(kind) && word.length > 0 && word.start[0] != '#' &&
           !vmdk_slice_is_digits(word);
}

/* "name" and what follows it: an offset, and on lines for Windows' disks a
 * partition's and a device's identity, which we only keep in the text. */
static int take_name(Parser *p, VmdkSlice rest, VmdkExtentLine *line)
{
    VmdkSlice name, word;
    const char *end = NULL;
    int ret;

    rest = vmdk_slice_trim(rest);
    if (rest.length > 0 && rest.start[0] == '"') {
        end = memchr(rest.start + 1, '"', rest.length - 1);
    }
    if (!end) {
        return fail(p, "the extent's name", rest, "a name in quotes");
    }
    name = (VmdkSlice){rest.start + 1, (size_t)(end - rest.start) - 1};
    ret = check_name(p, name);
    rest = (VmdkSlice){end + 1, rest.length - name.length - 2};
    word = vmdk_slice_word(&rest);
    if (ret == 0 && (vmdk_slice_is_digits(word) || is_bad_offset(line->kind, word))) {
        ret = take_sectors(p, "the extent's offset", word, &line->offset_sectors);
    }
    if (ret == 0) {
        line->name = vmdk_slice_copy(name);
        ret = line->name ? 0 : -ENOMEM;
    }
    return ret;
}

static int take_size(Parser *p, VmdkSlice word, VmdkExtentLine *line)
{
    int ret = take_sectors(p, "the extent's size", word, &line->sectors);

    if (ret < 0) {
        return ret;
    }
    if (line->sectors == 0) {
        return fail(p, "the extent's size", word, "at least one sector");
    }
    if (!bdrv_add(p->total_sectors, line->sectors, &p->total_sectors) ||
        (uint64_t)p->total_sectors >= VMDK_CAPACITY_SECTORS_END) {
        return fail(p, "the extent's size", word, "a sum of all sizes below 2^53 sectors");
    }
    return 0;
}

static int add_extent(Parser *p, const VmdkExtentLine *line)
{
    VmdkDescriptor *d = p->descriptor;

    if (d->extent_count == p->extent_room) {
        size_t room = p->extent_room ? 2 * p->extent_room : 16;
        VmdkExtentLine *extents = realloc(d->extents, room * sizeof *extents);

        if (!extents) {
            return -ENOMEM;
        }
        d->extents = extents;
        p->extent_room = room;
    }
    d->extents[d->extent_count++] = *line;
    return 0;
}

/* The end of the bytes that the extent has of its file must be a number. */
static int check_flat_range(const Parser *p, const VmdkExtentLine *line)
{
    int64_t sectors, bytes;

    if (bdrv_add(line->sectors, line->offset_sectors, &sectors) &&
        bdrv_mul(sectors, BDRV_SECTOR_SIZE, &bytes)) {
        return 0;
    }
    return bdrv_error(p->bs, -EINVAL, "descriptor line %zu: offset %" PRId64 " + size %" PRId64
                      " sectors are beyond the end of any file", p->line_number,
                      line->offset_sectors, line->sectors);
}

static int take_extent(Parser *p, int access, VmdkSlice rest)
{
    VmdkExtentLine line = {.access = (VmdkAccess)access};
    VmdkSlice word = vmdk_slice_word(&rest);
    int ret = take_size(p, word, &line), kind;

    if (ret < 0) {
        return ret;
    }
    if (p->descriptor->extent_count == bdrv_limits(p->bs)->extents) {
        p->descriptor->is_foreign = 1;
        return bdrv_error(p->bs, -EINVAL, "descriptor line %zu: more than %u extents, the limit "
                          "that was set", p->line_number, bdrv_limits(p->bs)->extents);
    }
    word = vmdk_slice_word(&rest);
    kind = find_name(kind_names, COUNT_OF(kind_names), word);
    if (kind < 0) {
        return fail(p, "the extent's type", word,
                    "FLAT, SPARSE, ZERO, VMFS, VMFSSPARSE, VMFSRDM, VMFSRAW or SESPARSE");
    }
    line.kind = (VmdkKind)kind;
    if (line.kind != VMDK_ZERO) {
        ret = take_name(p, rest, &line);
    }
    if (ret == 0) {
        ret = check_flat_range(p, &line);
    }
    if (ret == 0) {
        ret = add_extent(p, &line);
    }
    if (ret < 0) {
        free(line.name);
    }
    return ret;
}

/* ------------------------------------------------------------------- lines */

/* A line that looks like an extent but for its first words must not be skipped:
 * everything behind it would move. */
static int take_other(const Parser *p, VmdkSlice first, VmdkSlice rest)
{
    VmdkSlice word = vmdk_slice_word(&rest);

    if (vmdk_slice_is_digits(word)) {
        return fail(p, "the access of an extent", first, "RW, RDONLY or NOACCESS");
    }
    for (; word.length > 0; word = vmdk_slice_word(&rest)) {
        if (find_name(kind_names, COUNT_OF(kind_names), word) >= 0) {
            return fail(p, "the beginning of an extent", first, "an access and a number of "
                        "sectors");
        }
    }
    return 0;
}

/* The access that the line of an extent begins with; -1: it is none. */
static int access_of(VmdkSlice line, VmdkSlice *rest)
{
    VmdkSlice first;

    *rest = line;
    first = vmdk_slice_word(rest);
    *rest = vmdk_slice_trim(*rest);
    return rest->length > 0 && rest->start[0] != '='
               ? find_name(access_names, COUNT_OF(access_names), first)
               : -1;
}

int vmdk_slice_is_extent(VmdkSlice line)
{
    VmdkSlice rest;

    return access_of(line, &rest) >= 0;
}

static int take_line(Parser *p, VmdkSlice line)
{
    VmdkSlice key, value, behind, rest = line, first = vmdk_slice_word(&rest);
    const int access = access_of(line, &behind);

    if (line.length > VMDK_LINE_MAX) {
        return bdrv_error(p->bs, -EINVAL, "descriptor line %zu has %zu bytes; the limit is %d",
                          p->line_number, line.length, VMDK_LINE_MAX);
    }
    if (first.length == 0 || first.start[0] == '#') {
        return 0;
    }
    if (access >= 0) {
        return take_extent(p, access, behind);
    }
    if (vmdk_slice_option(line, &key, &value) && !memchr(key.start, ' ', key.length)) {
        return take_option(p, key, value);
    }
    return take_other(p, first, rest);
}

/* ------------------------------------------------------- the text as a whole */

static int compare_places(const void *left, const void *right)
{
    const VmdkExtentLine *a = *(const VmdkExtentLine *const *)left;
    const VmdkExtentLine *b = *(const VmdkExtentLine *const *)right;
    int order = strcmp(a->name, b->name);

    if (order != 0) {
        return order;
    }
    return (a->offset_sectors > b->offset_sectors) - (a->offset_sectors < b->offset_sectors);
}

int vmdk_kind_is_flat(VmdkKind kind)
{
    return kind == VMDK_FLAT || kind == VMDK_VMFS || kind == VMDK_VMFSRDM ||
           kind == VMDK_VMFSRAW;
}

int vmdk_line_is_whole_file(const VmdkExtentLine *line)
{
    return line->kind == VMDK_SPARSE || line->kind == VMDK_VMFSSPARSE ||
           line->kind == VMDK_SESPARSE || line->kind == VMDK_VSANSPARSE;
}

/* Two extents on the same bytes: what is written to one would change the other.
 * (Other names of the same file are found by its lock, when it matters.) */
static int check_sharing(const Parser *p, const VmdkExtentLine **lines, size_t count)
{
    qsort(lines, count, sizeof *lines, compare_places);
    for (size_t i = 1; i < count; i++) {
        const VmdkExtentLine *a = lines[i - 1], *b = lines[i];

        if (strcmp(a->name, b->name) == 0 &&
            (vmdk_line_is_whole_file(a) || vmdk_line_is_whole_file(b) ||
             a->offset_sectors + a->sectors > b->offset_sectors)) {
            return bdrv_error(p->bs, -EINVAL, "descriptor: two extents lie on the same bytes "
                              "of '%s'", a->name);
        }
    }
    return 0;
}

static int check_extents(const Parser *p)
{
    const VmdkDescriptor *d = p->descriptor;
    const VmdkExtentLine **lines = calloc(d->extent_count + 1, sizeof *lines);
    size_t count = 0;
    int ret;

    if (!lines) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        if (d->extents[i].name && d->extents[i].access != VMDK_NOACCESS) {
            lines[count++] = &d->extents[i];
        }
    }
    ret = check_sharing(p, lines, count);
    free(lines);
    return ret;
}

/* What a type that nobody knows wants kept when the disk changes, nobody knows;
 * how to read it, its extents tell. */
static void judge_create_type(VmdkDescriptor *d)
{
    static const char *const known[] = {
        "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "2GbMaxExtentSparse",
        "twoGbMaxExtentFlat", "2GbMaxExtentFlat", "streamOptimized", "custom", "fullDevice",
        "partitionedDevice", "vmfs", "vmfsPreallocated", "vmfsEagerZeroedThick", "vmfsThin",
        "vmfsThick", "vmfsSparse", "seSparse", "vmfsSeSparse", "vsanSparse", "vmfsRDM",
        "vmfsRawDeviceMap", "vmfsRDMP", "vmfsPassthroughRawDeviceMap", "vmfsRaw"};
    const VmdkSlice type = {d->create_type, strlen(d->create_type)};

    if (!d->read_only_reason && find_name(known, COUNT_OF(known), type) < 0) {
        d->read_only_reason = "a createType that is not known";
    }
}

static int check_complete(const Parser *p)
{
    const VmdkDescriptor *d = p->descriptor;

    if (!p->has_version) {
        return bdrv_error(p->bs, -EINVAL, "the descriptor has no version line");
    }
    if (!d->create_type) {
        return bdrv_error(p->bs, -EINVAL, "the descriptor has no createType line");
    }
    if (d->extent_count == 0) {
        return bdrv_error(p->bs, -EINVAL, "the descriptor has no extent line");
    }
    judge_create_type(p->descriptor);
    return check_extents(p);
}

int vmdk_descriptor_parse(const BlockDriverState *bs, const void *text, size_t size,
                          VmdkDescriptor *descriptor)
{
    Parser p = {.bs = bs, .descriptor = descriptor};
    const char *nul = memchr(text, '\0', size);
    VmdkSlice rest, line;
    int ret = 0;

    *descriptor = (VmdkDescriptor){.parent_cid = VMDK_CID_NONE};
    descriptor->text_size = nul ? (size_t)(nul - (const char *)text) : size;
    descriptor->text = vmdk_slice_copy((VmdkSlice){text, descriptor->text_size});
    if (!descriptor->text) {
        return -ENOMEM;
    }
    rest = vmdk_slice_lines(descriptor->text, descriptor->text_size);
    while (ret == 0 && vmdk_slice_line(&rest, &line)) {
        p.line_number++;
        ret = take_line(&p, line);
    }
    return ret < 0 ? ret : check_complete(&p);
}

void vmdk_descriptor_free(VmdkDescriptor *descriptor)
{
    for (size_t i = 0; i < descriptor->extent_count; i++) {
        free(descriptor->extents[i].name);
    }
    free(descriptor->extents);
    free(descriptor->create_type);
    free(descriptor->parent_hint);
    free(descriptor->text);
    *descriptor = (VmdkDescriptor){0};
}

int vmdk_descriptor_probe(const uint8_t *head, size_t size)
{
    static const char *const first_keys[] = {"version", "encoding", "CID", "parentCID",
                                             "createType", "isNativeSnapshot",
                                             "parentFileNameHint"};
    const size_t looked_at = (size_t)bdrv_min((int64_t)size, 4096);
    VmdkSlice rest = vmdk_slice_lines((const char *)head, looked_at), line, key, value;

    while (vmdk_slice_line(&rest, &line)) {
        line = vmdk_slice_trim(line);
        if (line.length > 0 && line.start[0] != '#') {
            return vmdk_slice_option(line, &key, &value) &&
                   find_name(first_keys, COUNT_OF(first_keys), key) >= 0;
        }
    }
    return 0;
}
