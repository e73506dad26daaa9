/* SPDX-License-Identifier: MIT */
/*
 * profiles.c - --for PROFILE: the systems that disks are made for, what each of
 * them takes, and where that is written; for making images (img convert) and for
 * judging those that exist (img check).  Whatever is said of a destination is
 * said in its row and nowhere else.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ova.h"
#include "rules.h"

enum {
    SECTOR = 512,
    COMPRESSED_BYTE = 10 /* of a sparse VMDK: its lowest bit is that flag, bit 16 of them */
};

#define STREAM "subformat=streamOptimized,adapter_type=lsilogic,hwversion=4"

static const Profile profiles[] = {
    /* formats/vmdk.md 4.1 to 4.8. */
    {.name = "stream",
     .help = "a streamOptimized VMDK, for whoever imports such",
     .format = "vmdk",
     .options = "subformat=streamOptimized",
     .accepts = "vmdk:streamOptimized"},
    /* Disk kinds: VMware KB 1022242 "Types of supported Virtual Disks on ESXi/ESX
     * hosts"; no sparse ones: vSphere 6.5 Storage, "Supported Disk Formats"; the
     * error they give: formats/vmdk.md 4.8.  4 is the oldest hardware of all ESXi. */
    {.name = "esxi",
     .help = "a disk on a datastore of VMware ESXi",
     .format = "vmdk",
     .options = "subformat=vmfs,adapter_type=lsilogic,hwversion=4",
     .accepts = "vmdk:vmfs vmdk:vmfsSparse vmdk:seSparse",
     .takes_children = 1},
    /* formats/vmdk.md 4.8; the OVF's format URI ends in #streamOptimized.  Adapter: the
     * row "controller mismatch" there.  The disk's hardware version is not asked for:
     * nobody has looked at it since ESX 4 (formats/vmdk.md 1.7). */
    {.name = "vsphere-ovf",
     .help = "a disk of an OVF or OVA, to be deployed by vSphere or ovftool",
     .format = "vmdk",
     .options = STREAM,
     .accepts = "vmdk:streamOptimized",
     .ova = PROFILE_OVA_JUDGED,
     .adapter = "lsilogic"},
    /* VDDK "Virtual Disk Types" (MONOLITHIC_SPARSE is the default of hosted disks);
     * faq.sanbarrow.com "Platform specifics": native formats, hardware 4 since 4.5. */
    {.name = "workstation",
     .help = "VMware Workstation, Fusion and Player",
     .format = "vmdk",
     .options = "subformat=monolithicSparse,adapter_type=lsilogic,hwversion=4",
     .accepts = "vmdk:monolithicSparse vmdk:monolithicFlat vmdk:twoGbMaxExtentSparse "
                "vmdk:twoGbMaxExtentFlat",
     .ova = PROFILE_OVA_IMPORTED,
     .takes_children = 1},
    /* VirtualBox User Manual 5.2 "Disk Image Files"; adapter ide: what it writes
     * itself (formats/vmdk.md 1.7).  "Importing an Appliance in OVF Format", ch. 1. */
    {.name = "virtualbox",
     .help = "VirtualBox",
     .format = "vmdk",
     .options = "subformat=monolithicSparse,adapter_type=ide,hwversion=4",
     .accepts = "vmdk:monolithicSparse vmdk:monolithicFlat vmdk:twoGbMaxExtentSparse "
                "vmdk:twoGbMaxExtentFlat vmdk:streamOptimized",
     .ova = PROFILE_OVA_IMPORTED,
     .takes_children = 1},
    /* docs.aws.amazon.com, VM Import/Export User Guide, "Image formats": OVA,
     * stream-optimized ESX VMDK, VHD and VHDX, raw. */
    {.name = "aws",
     .help = "Amazon EC2, VM Import/Export",
     .format = "vmdk",
     .options = STREAM,
     .accepts = "vmdk:streamOptimized raw",
     .ova = PROFILE_OVA_JUDGED},
    /* cloud.google.com, "Image management best practices": disk.raw in a tar file,
     * compressed by gzip; "Manually import boot disks": whole GiB, and
     * tar --format=oldgnu.  (gcloud compute migration image-imports takes VMDK,
     * machine-image-imports OVA.) */
    {.name = "gcp",
     .help = "Google Compute Engine",
     .format = "raw",
     .accepts = "raw vmdk:streamOptimized vmdk:monolithicSparse",
     .unit = INT64_C(1) << 30,
     .filename = "disk.raw",
     .ova = PROFILE_OVA_IMPORTED,
     .next = "tar --format=oldgnu -Sczf image.tar.gz disk.raw, in its directory; upload that"},
    /* learn.microsoft.com, Add-AzVhd: "a .vhd file and in size N * Mib + 512 bytes",
     * fixed. */
    {.name = "azure",
     .help = "Microsoft Azure",
     .missing = "Azure takes nothing but VHD files of fixed size, and libbdrv cannot write VHD "
                "yet; qemu-img convert -O vpc -o subformat=fixed,force_size=on can, of a raw "
                "disk that is a whole number of MiB",
     .accepts = "",
     .unit = 1024 * 1024},
    /* QEMU's manual, "Disk image file formats": raw, simple and exportable; vmdk is
     * supported too. */
    {.name = "qemu",
     .help = "QEMU, libvirt and what is built on them",
     .format = "raw",
     .accepts = "raw vmdk:monolithicSparse vmdk:monolithicFlat vmdk:twoGbMaxExtentSparse "
                "vmdk:twoGbMaxExtentFlat vmdk:vmfs vmdk:vmfsSparse vmdk:seSparse "
                "vmdk:streamOptimized",
     .takes_children = 1},
    {.name = NULL},
};

const Profile *profile_find(const char *name)
{
    for (const Profile *p = profiles; p->name != NULL; p++) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    tool_error("--for: there is no profile '%s' (--help lists them)", name);
    return NULL;
}

void profiles_print(FILE *out)
{
    fprintf(out, "\nProfiles:\n");
    for (const Profile *p = profiles; p->name != NULL; p++) {
        fprintf(out, "  %-14s %s%s\n", p->name, p->help,
                p->format == NULL ? " (what it wants cannot be written yet)" : "");
    }
}

int64_t profile_length(const Profile *profile, int64_t bytes)
{
    int64_t over = profile->unit > 0 ? bytes % profile->unit : 0;

    return over > 0 && bytes <= INT64_MAX - profile->unit ? bytes - over + profile->unit : bytes;
}

/* ----------------------------------------------------------------- choosing */

/* The profile's "key=value" at text, which has no commas in its values: is
 * something else asked for? */
static int check_option(const Profile *profile, const ImageNew *image, const char *text)
{
    const size_t key = strcspn(text, "="), all = strcspn(text, ",");
    char name[64], *asked = NULL;
    int same;

    snprintf(name, sizeof(name), "%.*s", (int)key, text);
    if (image_new_value(image, name, &asked) < 0) {
        return -1;
    }
    same = asked == NULL || (strlen(asked) == all - key - 1 &&
                             strncmp(asked, text + key + 1, all - key - 1) == 0);
    if (!same) {
        tool_error("--for %s wants -o %.*s; -o %s=%s says something else: leave one of them out",
                   profile->name, (int)all, text, name, asked);
    }
    free(asked);
    return same ? 0 : -1;
}

int profile_choose(const Profile *profile, ImageNew *image)
{
    const char *option = profile->options;

    if (profile->format == NULL) {
        tool_error("--for %s: %s", profile->name, profile->missing);
        return -1;
    }
    if (image->format != NULL && strcmp(image->format, profile->format) != 0) {
        tool_error("--for %s wants -O %s; -O %s says something else: leave one of them out",
                   profile->name, profile->format, image->format);
        return -1;
    }
    if (image->backing != NULL) {
        tool_error("--for %s makes an image that stands alone: it cannot have a parent (-B)",
                   profile->name);
        return -1;
    }
    image->format = profile->format;
    while (option != NULL && *option != '\0') {
        if (check_option(profile, image, option) < 0) {
            return -1;
        }
        option += strcspn(option, ",");
        option += *option == ',';
    }
    return profile->options != NULL ? image_new_add(image, profile->options) : 0;
}

/* ----------------------------------------------------------------- judging */

/* What the details of an image say of it. */
typedef struct Seen {
    int depth; /* of what is told next */
    char variant[64];
    char adapter[64];
} Seen;

/* One level deeper there may be anything: the image chooses the keys of its data base. */
static void note_detail(void *opaque, const BdrvDetail *detail)
{
    Seen *seen = opaque;

    seen->depth += detail->kind == BDRV_DETAIL_OBJECT_BEGIN ||
                   detail->kind == BDRV_DETAIL_LIST_BEGIN;
    seen->depth -= detail->kind == BDRV_DETAIL_END;
    if (detail->kind != BDRV_DETAIL_STRING || detail->key == NULL) {
        return;
    }
    if (seen->depth == 0 && strcmp(detail->key, "create-type") == 0) {
        snprintf(seen->variant, sizeof(seen->variant), "%s", detail->string);
    } else if (strcmp(detail->key, "adapterType") == 0) {
        snprintf(seen->adapter, sizeof(seen->adapter), "%s", detail->string);
    }
}

/* Is "format" or "format:variant" among those that are accepted? */
static int accepts(const Profile *profile, const char *format, const char *variant)
{
    char both[128];
    const char *word = profile->accepts;

    snprintf(both, sizeof(both), "%s:%s", format, variant);
    while (*word != '\0') {
        size_t length = strcspn(word, " ");

        if ((length == strlen(format) && strncmp(word, format, length) == 0) ||
            (length == strlen(both) && strncmp(word, both, length) == 0)) {
            return 1;
        }
        word += length;
        word += *word == ' ';
    }
    return 0;
}

static void check_kind(const Profile *profile, const char *format, const char *variant,
                       Rules *rules)
{
    if (!accepts(profile, format, variant)) {
        rules_broken(rules, "format", "it is %s%s%s; taken are: %s", format,
                     *variant != '\0' ? ":" : "", variant,
                     *profile->accepts != '\0' ? profile->accepts : "VHD files of fixed size");
    }
}

/* What nothing less than a new image mends.  Of a disk of no bytes none can be made. */
static void mend_the_rest(const Profile *profile, const char *filename, Rules *rules)
{
    char quoted[RULE_TEXT_MAX / 2];

    if (profile->format == NULL) {
        rules_mend(rules, "%s", profile->missing);
    } else {
        rules_mend(rules, "img-convert --for %s %s %s%s", profile->name,
                   rules_quote(quoted, sizeof(quoted), filename),
                   profile->filename != NULL ? "" : "NEW.",
                   profile->filename != NULL ? profile->filename : profile->format);
    }
}

static void check_disk(const Profile *profile, BlockDriverState *bs, const char *filename,
                       Rules *rules)
{
    const int64_t length = bdrv_getlength(bs), wanted = profile_length(profile, length);
    const char *slash = strrchr(filename, '/');
    const char *base = slash != NULL ? slash + 1 : filename;
    const int is_raw = strcmp(bdrv_format(bs), "raw") == 0;
    char quoted[RULE_TEXT_MAX / 2];
    BdrvInfo info = {.struct_size = sizeof(info)};

    if (bdrv_get_info(bs, &info) == 0 && *info.backing_filename != '\0' &&
        !profile->takes_children) {
        rules_broken(rules, "parent", "it is the child of %s, and only one image is taken",
                     info.backing_filename);
        mend_the_rest(profile, filename, rules);
    }
    if (length != wanted && is_raw) {
        rules_broken(rules, "size", "the disk has %" PRId64 " bytes; a multiple of %" PRId64
                     " is wanted", length, profile->unit);
        rules_mend(rules, "img-resize -f raw %s %" PRId64, rules_quote(quoted, sizeof(quoted), filename),
                   wanted);
    }
    if (profile->filename != NULL && is_raw && strcmp(base, profile->filename) != 0) {
        rules_broken(rules, "name", "the file is called %s; %s is wanted", base,
                     profile->filename);
        rules_mend(rules, "mv %s %s", rules_quote(quoted, sizeof(quoted), filename),
                   profile->filename);
    }
}

/* Is it sound, as img-check without --for would say? */
static void check_damage(BlockDriverState *bs, const char *filename, Rules *rules)
{
    char quoted[RULE_TEXT_MAX / 2];
    BdrvCheckResult result = {.struct_size = sizeof(result)};

    if (bdrv_check(bs, NULL, &result) == 0 && result.corruptions + result.unrecoverable > 0) {
        rules_broken(rules, "sound", "%" PRId64 " errors are in its tables",
                     result.corruptions + result.unrecoverable);
        rules_mend(rules, "img-check -r all %s", rules_quote(quoted, sizeof(quoted), filename));
    }
}

/* Does the file begin as a stream does, or was to be one? */
static int looks_like_stream(BlockDriverState *file)
{
    uint8_t head[SECTOR];

    if (bdrv_getlength(file) < SECTOR || bdrv_pread(file, head, sizeof(head), 0) < 0) {
        return 0;
    }
    return memcmp(head, "kdmv", 4) == 0 ||
           (memcmp(head, "KDMV", 4) == 0 && head[COMPRESSED_BYTE] & 1);
}

/* What has a command of its own comes last: it mends what is told just before it. */
static void check_image(const Profile *profile, BlockDriverState *bs, const char *filename,
                        Rules *rules)
{
    const int is_stream = looks_like_stream(bdrv_file(bs));
    Seen seen = {0, "", ""};

    bdrv_get_details(bs, note_detail, &seen);
    check_kind(profile, bdrv_format(bs), seen.variant, rules);
    if (!is_stream && strcmp(seen.variant, "streamOptimized") == 0) {
        rules_broken(rules, "format", "its descriptor says that it is streamOptimized, its header "
                     "does not");
    }
    if (profile->adapter != NULL && *seen.adapter != '\0' &&
        strcmp(seen.adapter, profile->adapter) != 0) {
        rules_broken(rules, "adapter", "its ddb.adapterType is %s; %s is wanted, for the SCSI "
                     "controller that an OVF has", seen.adapter, profile->adapter);
    }
    if (bdrv_getlength(bs) > 0) {
        mend_the_rest(profile, filename, rules);
    }
    check_disk(profile, bs, filename, rules);
    if (!is_stream) { /* else stream_check() has looked */
        check_damage(bs, filename, rules);
    }
}

/* disk: in an OVA, where the file's bytes are; else NULL.  1: it is, or was to be, a
 * stream; 0: it is something else. */
static int check_file(const char *filename, BlockDriverState *disk, const ImageHow *how,
                      Rules *rules)
{
    ImageHow plain = {.format = "raw", .flags = how->flags & BDRV_O_NO_LOCK, .quiet = 1};
    BlockDriverState *file = disk != NULL ? disk : image_open(filename, &plain);
    int result = 0;

    if (file == NULL) {
        return -1;
    }
    if (looks_like_stream(file)) {
        result = stream_check(file, rules) < 0 ? -1 : 1;
    }
    if (disk == NULL) {
        image_close(file);
    }
    return result;
}

/* What the library makes of it. */
static int open_and_check(const Profile *profile, const char *filename, BlockDriverState *disk,
                          const ImageHow *how, Rules *rules)
{
    BlockDriverState *bs;
    int error;
    BdrvOpenOptions options = {
        .struct_size = sizeof(options),
        .flags = how->flags | BDRV_O_NO_BACKING,
        .options = how->options,
        .allow_paths = how->allow_paths,
    };

    error = disk != NULL ? bdrv_open_node(&bs, disk, how->format, &options)
                         : bdrv_open(&bs, filename, how->format, &options);
    if (error == 0) {
        check_image(profile, bs, filename, rules);
        bdrv_close(bs);
    } else if (error != -ENOTSUP) {
        rules_broken(rules, "readable", "%s", bdrv_errmsg());
        rules_mend(rules, "img-check --repair=all, or transfer or make the file again");
    }
    return error == -ENOTSUP ? error : 0;
}

/* A build that cannot read streams can judge them all the same. */
static int check_as(const Profile *profile, const char *filename, BlockDriverState *disk,
                    const ImageHow *how, Rules *rules)
{
    int is_stream = check_file(filename, disk, how, rules);

    if (is_stream < 0) {
        return -1;
    }
    if (open_and_check(profile, filename, disk, how, rules) == 0) {
        return 0;
    }
    if (!is_stream) {
        tool_library_error();
        return -1;
    }
    check_kind(profile, "vmdk", "streamOptimized", rules);
    mend_the_rest(profile, filename, rules);
    return 0;
}

/* The package around the disk, which is judged for itself. */
static int check_package(const Profile *profile, const char *filename, Rules *rules)
{
    char quoted[RULE_TEXT_MAX / 2];
    int result = 1;

    switch (profile->ova) {
    case PROFILE_OVA_JUDGED:
        result = ova_check(filename, rules);
        rules_mend(rules, "img-convert --ova %s NEW.ova",
                   rules_quote(quoted, sizeof(quoted), filename));
        break;
    case PROFILE_OVA_IMPORTED:
        rules->remark = "Only the disk in the OVA was judged, not what an import wants of the rest.";
        break;
    case PROFILE_OVA_REFUSED:
        rules_broken(rules, "package", "it is an OVA, a machine with its disk; what is taken is the "
                     "disk, to which the other rules apply");
        mend_the_rest(profile, filename, rules);
        break;
    }
    return result;
}

int profile_check(const Profile *profile, const char *filename, const ImageHow *how,
                  Rules *rules)
{
    Profile packed = *profile;
    BlockDriverState *disk;
    int result = ova_open(&disk, filename, how->format, how->flags);

    if (result > 0 && strcmp(filename, bdrv_filename(disk)) == 0) {
        result = check_package(profile, filename, rules);
        packed.adapter = NULL; /* what the OVF says of it was looked at */
        profile = profile->ova == PROFILE_OVA_JUDGED ? &packed : profile;
    }
    if (result >= 0) {
        result = check_as(profile, filename, disk, how, rules);
    }
    bdrv_close(disk);
    return result;
}
