/* SPDX-License-Identifier: MIT */
/*
 * amend.c - changes what the descriptor says beside the content: the adapter,
 * versions, identities, the name of the parent, createType.  All options of one
 * call are written at once or, if one is refused, none.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};

const BdrvOption vmdk_amend_options[] = {
    {.name = "adapter_type",
     .type = BDRV_OPTION_CHOICE,
     .help = "the adapter the disk is for; its geometry follows",
     .choices = adapters},
    {.name = "hwversion",
     .type = BDRV_OPTION_NUMBER,
     .help = "virtual hardware version"},
    {.name = "toolsversion",
     .type = BDRV_OPTION_NUMBER,
     .help = "version of the guest's tools (2147483647: unknown)"},
    {.name = "cid",
     .type = BDRV_OPTION_STRING,
     .help = "content identifier in hexadecimal; children of the image do not know it any more"},
    {.name = "uuid",
     .type = BDRV_OPTION_STRING,
     .help = "the disk's UUID, 32 hexadecimal digits, with blanks and dashes or without"},
    {.name = "parent_hint",
     .type = BDRV_OPTION_STRING,
     .help = "another name for the same parent, which was moved or renamed"},
    {.name = "thin",
     .type = BDRV_OPTION_BOOL,
     .help = "mark an ESX disk (vmfs) as thin provisioned, or not"},
    {.name = "subformat",
     .type = BDRV_OPTION_STRING,
     .help = "createType, another name of what the extents are"},
    {.name = "zeroed_grain",
     .type = BDRV_OPTION_BOOL,
     .help = "allow grains of zeros in sparse extents (version 2), or no more if there are none"},
    {.name = NULL},
};

enum {
    UUID_DIGITS = 32,
    VERSION_MAX = 99999,
    TOOLS_MAX = 2147483647 /* what VMware's programs write for unknown */
};

static int set_number(char **text, const char *key, int64_t number)
{
    char digits[24];

    snprintf(digits, sizeof digits, "%" PRId64, number);
    return vmdk_option_set_quoted(text, key, digits);
}

/* ------------------------------------------------------------ the data base */

static int set_adapter(const Vmdk *image, char **text, const char *adapter)
{
    BdrvGeometry geometry;
    int ret = vmdk_option_set_quoted(text, "ddb.adapterType", adapter);

    vmdk_choose_geometry(adapter, bdrv_getlength(image->bs) / BDRV_SECTOR_SIZE, &geometry);
    if (ret == 0) {
        ret = set_number(text, "ddb.geometry.cylinders", geometry.cylinders);
    }
    if (ret == 0) {
        ret = set_number(text, "ddb.geometry.heads", geometry.heads);
    }
    return ret < 0 ? ret : set_number(text, "ddb.geometry.sectors", geometry.sectors);
}

static int set_version(const Vmdk *image, char **text, const BdrvOptions *options,
                       const char *name, const char *key, int64_t most)
{
    const int64_t number = bdrv_option_number(options, name);

    if (number < 0 || number > most) {
        return bdrv_error(image->bs, -EINVAL, "%s is %" PRId64 "; wanted are 0 to %" PRId64, name,
                          number, most);
    }
    return set_number(text, key, number);
}

static int is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* "60 00 C2 9f 48 66 ae a5-2f 18 e0 …", as VMware's programs write it. */
static int set_uuid(const Vmdk *image, char **text, const char *uuid)
{
    char digits[UUID_DIGITS + 1], value[3 * UUID_DIGITS / 2];
    size_t count = 0, at = 0;

    for (const char *c = uuid; *c; c++) {
        if (is_hex(*c) && count < UUID_DIGITS) {
            digits[count++] = *c;
        } else if (is_hex(*c) || (*c != ' ' && *c != '-')) {
            count = UUID_DIGITS + 1;
            break;
        }
    }
    if (count != UUID_DIGITS) {
        return bdrv_error(image->bs, -EINVAL, "uuid is '%.64s'; wanted are 32 hexadecimal digits, "
                          "with blanks and dashes between them or without", uuid);
    }
    for (size_t i = 0; i < count; i += 2) {
        value[at++] = digits[i];
        value[at++] = digits[i + 1];
        value[at++] = i == UUID_DIGITS / 2 - 2 ? '-' : ' ';
    }
    value[at - 1] = '\0';
    return vmdk_option_set_quoted(text, "ddb.uuid", value);
}

static int set_thin(const Vmdk *image, char **text, int thin)
{
    for (size_t i = 0; i < image->extent_count; i++) {
        if (image->extents[i].line->kind != VMDK_VMFS) {
            return bdrv_error(image->bs, -EINVAL, "thin is for disks of extents of type VMFS; "
                              "this one has an extent of type %s",
                              vmdk_kind_name(image->extents[i].line->kind));
        }
    }
    return thin ? vmdk_option_set_quoted(text, "ddb.thinProvisioned", "1")
                : vmdk_option_remove(text, "ddb.thinProvisioned");
}

/* ---------------------------------------------------------------- the header */

static int set_cid(const Vmdk *image, char **text, const char *value)
{
    char digits[9];
    uint32_t cid;

    if (!vmdk_slice_cid((VmdkSlice){value, strlen(value)}, &cid) || cid >= VMDK_CID_UNTOUCHED) {
        return bdrv_error(image->bs, -EINVAL, "cid is '%.64s'; wanted are 1 to 8 hexadecimal "
                          "digits, below fffffffe", value);
    }
    snprintf(digits, sizeof digits, "%08" PRIx32, cid);
    return vmdk_cid_set(text, digits);
}

static int set_hint(const Vmdk *image, char **text, const char *hint)
{
    int ret = vmdk_check_hint(image->bs, hint);

    if (ret == 0 && image->descriptor.parent_cid == VMDK_CID_NONE) {
        ret = bdrv_error(image->bs, -EINVAL, "parent_hint: the image has no parent; a rebase gives "
                         "it one");
    }
    return ret < 0 ? ret : vmdk_option_set_quoted(text, "parentFileNameHint", hint);
}

/* What an image of that createType is made of. */
typedef struct CreateType {
    const char *name;
    VmdkKind kind;
    int embedded;      /* the descriptor is inside the extent */
    size_t most_extents;
} CreateType;

static const CreateType create_types[] = {
    {"monolithicSparse", VMDK_SPARSE, 1, 1},
    {"twoGbMaxExtentSparse", VMDK_SPARSE, 0, VMDK_EXTENTS_MAX},
    {"2GbMaxExtentSparse", VMDK_SPARSE, 0, VMDK_EXTENTS_MAX},
    {"monolithicFlat", VMDK_FLAT, 0, 1},
    {"twoGbMaxExtentFlat", VMDK_FLAT, 0, VMDK_EXTENTS_MAX},
    {"2GbMaxExtentFlat", VMDK_FLAT, 0, VMDK_EXTENTS_MAX},
    {"vmfs", VMDK_VMFS, 0, VMDK_EXTENTS_MAX},
    {"vmfsThin", VMDK_VMFS, 0, VMDK_EXTENTS_MAX},
    {"vmfsThick", VMDK_VMFS, 0, VMDK_EXTENTS_MAX},
    {"vmfsPreallocated", VMDK_VMFS, 0, VMDK_EXTENTS_MAX},
    {"vmfsEagerZeroedThick", VMDK_VMFS, 0, VMDK_EXTENTS_MAX},
    {"vmfsSparse", VMDK_VMFSSPARSE, 0, VMDK_EXTENTS_MAX},
    {"seSparse", VMDK_SESPARSE, 0, 1},
    {"vmfsSeSparse", VMDK_SESPARSE, 0, 1},
    {"fullDevice", VMDK_FLAT, 0, 1},
    {"vmfsRDM", VMDK_VMFSRDM, 0, 1},
    {"vmfsRawDeviceMap", VMDK_VMFSRDM, 0, 1},
    {"vmfsRDMP", VMDK_VMFSRDM, 0, 1},
    {"vmfsPassthroughRawDeviceMap", VMDK_VMFSRDM, 0, 1},
    {"vmfsRaw", VMDK_VMFSRAW, 0, 1},
};

/* NULL: it fits; else what does not. */
static const char *misfit(const Vmdk *image, const CreateType *type)
{
    if (type->embedded != (image->descriptor_room > 0)) {
        return type->embedded ? "its descriptor is a file of its own"
                              : "its descriptor is inside the extent";
    }
    if (image->extent_count > type->most_extents) {
        return "it has several extents";
    }
    for (size_t i = 0; i < image->extent_count; i++) {
        if (image->extents[i].line->kind != type->kind || image->extents[i].compressed) {
            return "its extents are of another kind";
        }
    }
    return NULL;
}

static int set_create_type(const Vmdk *image, char **text, const char *name)
{
    const CreateType *type = NULL;
    const char *why;

    for (size_t i = 0; i < sizeof create_types / sizeof *create_types; i++) {
        if (strcmp(create_types[i].name, name) == 0) {
            type = &create_types[i];
        }
    }
    if (!type && strcmp(name, "custom") != 0) {
        return bdrv_error(image->bs, -EINVAL, "subformat is '%.64s', which no image can be "
                          "changed to without a conversion", name);
    }
    if (type) {
        why = misfit(image, type);
    } else {
        why = image->descriptor_room > 0 ? "its descriptor is inside the extent" : NULL;
    }
    if (why) {
        return bdrv_error(image->bs, -EINVAL, "the image cannot be called %s: %s", name, why);
    }
    return vmdk_option_set_quoted(text, "createType", name);
}

/* ------------------------------------------------------------------- the text */

static int edit_identity(const Vmdk *image, const BdrvOptions *options, char **text)
{
    int ret = 0;

    if (bdrv_option_given(options, "cid")) {
        ret = set_cid(image, text, bdrv_option_string(options, "cid"));
    }
    if (ret == 0 && bdrv_option_given(options, "uuid")) {
        ret = set_uuid(image, text, bdrv_option_string(options, "uuid"));
    }
    if (ret == 0 && bdrv_option_given(options, "parent_hint")) {
        ret = set_hint(image, text, bdrv_option_string(options, "parent_hint"));
    }
    if (ret == 0 && bdrv_option_given(options, "subformat")) {
        ret = set_create_type(image, text, bdrv_option_string(options, "subformat"));
    }
    return ret;
}

static int edit_text(const Vmdk *image, const BdrvOptions *options, char **text)
{
    int ret = edit_identity(image, options, text);

    if (ret == 0 && bdrv_option_given(options, "adapter_type")) {
        ret = set_adapter(image, text, bdrv_option_string(options, "adapter_type"));
    }
    if (ret == 0 && bdrv_option_given(options, "hwversion")) {
        ret = set_version(image, text, options, "hwversion", "ddb.virtualHWVersion", VERSION_MAX);
    }
    if (ret == 0 && bdrv_option_given(options, "toolsversion")) {
        ret = set_version(image, text, options, "toolsversion", "ddb.toolsVersion", TOOLS_MAX);
    }
    if (ret == 0 && bdrv_option_given(options, "thin")) {
        ret = set_thin(image, text, bdrv_option_bool(options, "thin"));
    }
    return ret;
}

/* ------------------------------------------------------------------ the flags
 *
 * They are in the extents' headers, and there is no one step for those and the text: all that
 * may be refused is so before the first is written, and what fails later takes back the others. */

typedef struct Flags {
    Vmdk *image;
    int allowed;        /* what they become */
    unsigned char *was; /* by extent; NULL: they stay as they are */
} Flags;

/* What is done with the flag of extent number index, which is entered. */
typedef int FlagFn(const Flags *flags, size_t index);

static int look_at_flag(const Flags *flags, size_t index)
{
    VmdkExtent *extent = &flags->image->extents[index];

    if (extent->ops != &vmdk_sparse_extent) {
        return bdrv_error(vmdk_extent_node(extent), -ENOTSUP, "zeroed_grain: only hosted "
                          "sparse extents have such a flag");
    }
    flags->was[index] = (unsigned char)vmdk_sparse_has_zeroed(extent);
    return flags->was[index] && !flags->allowed ? vmdk_sparse_check_zeroed(extent) : 0;
}

static int set_flag(const Flags *flags, size_t index)
{
    return flags->was[index] == flags->allowed
               ? 0 : vmdk_sparse_set_zeroed(&flags->image->extents[index], flags->allowed);
}

/* One whose setting has failed, too. */
static int put_back_flag(const Flags *flags, size_t index)
{
    if (flags->was[index] != flags->allowed) {
        (void)vmdk_sparse_set_zeroed(&flags->image->extents[index], flags->was[index]);
    }
    return 0;
}

static int each_flag(const Flags *flags, FlagFn *act)
{
    const Vmdk *image = flags->image;
    int ret = 0;

    for (size_t i = 0; ret == 0 && flags->was && i < image->extent_count; i++) {
        ret = vmdk_extent_enter(&image->extents[i]);
        if (ret == 0) {
            ret = act(flags, i);
            vmdk_extent_leave(&image->extents[i]);
        }
    }
    return ret;
}

static int plan_flags(Flags *flags, const BdrvOptions *options)
{
    if (!bdrv_option_given(options, "zeroed_grain")) {
        return 0;
    }
    flags->allowed = bdrv_option_bool(options, "zeroed_grain");
    flags->was = calloc(flags->image->extent_count, 1);
    return flags->was ? each_flag(flags, look_at_flag) : -ENOMEM;
}

static int put_back_flags(const Flags *flags, int error)
{
    char *message = strdup(bdrv_errmsg());

    (void)each_flag(flags, put_back_flag);
    error = bdrv_error(NULL, error, "%s", message ? message : "");
    free(message);
    return error;
}

/* ------------------------------------------------------------------- the call */

static int change(const Flags *flags, const char *text)
{
    Vmdk *image = flags->image;
    int ret = each_flag(flags, set_flag);

    if (ret == 0) {
        pthread_mutex_lock(&image->lock);
        ret = vmdk_descriptor_change(image, text);
        pthread_mutex_unlock(&image->lock);
    }
    return ret < 0 ? put_back_flags(flags, ret) : 0;
}

int vmdk_amend(BlockDriverState *bs, const BdrvOptions *options)
{
    Vmdk *image = bdrv_state(bs);
    Flags flags = {.image = image};
    char *text;
    int ret = vmdk_image_refuse_damaged(image);

    if (ret == 0 && !image->descriptor.text) {
        ret = bdrv_error(bs, -ENOTSUP, "one COWD file has no descriptor in which anything could "
                         "be changed");
    }
    if (ret < 0) {
        return ret;
    }
    text = strdup(image->descriptor.text);
    ret = text ? edit_text(image, options, &text) : -ENOMEM;
    if (ret == 0) {
        ret = plan_flags(&flags, options);
    }
    if (ret == 0) {
        ret = change(&flags, text);
    }
    free(flags.was);
    free(text);
    return ret;
}
