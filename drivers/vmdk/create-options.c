/* SPDX-License-Identifier: MIT */
/*
 * create-options.c - what can be said about a new image, and for which kinds it
 * means anything: an option that does not is a misunderstanding, and refused.
 */
#include "vmdk.h"

#include <string.h>

static const char *const subformats[] = {
    "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
    "2GbMaxExtentSparse", "2GbMaxExtentFlat", "vmfs", "vmfsThin", "vmfsPreallocated",
    "vmfsEagerZeroedThick", "vmfsSparse", "cowd", "streamOptimized", "seSparse", "custom",
    "fullDevice", "partitionedDevice", "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap",
    "vmfsRaw", NULL};
static const char *const stream_layouts[] = {"end", "front", NULL};
static const char *const compression_engines[] = {"libdeflate", "isal", NULL};
static const char *const preallocations[] = {"off", "falloc", "full", NULL};
static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};

const BdrvOption vmdk_create_options[] = {
    {.name = "subformat",
     .type = BDRV_OPTION_CHOICE,
     .help = "which kind of VMDK",
     .default_text = "monolithicSparse",
     .choices = subformats},
    {.name = "adapter_type",
     .type = BDRV_OPTION_CHOICE,
     .help = "the adapter the disk is for; streamOptimized: lsilogic if not given",
     .default_text = "ide",
     .choices = adapters},
    {.name = "hwversion",
     .type = BDRV_OPTION_NUMBER,
     .help = "virtual hardware version (4 if not given)"},
    {.name = "compat6",
     .type = BDRV_OPTION_BOOL,
     .help = "the same as hwversion=6",
     .default_text = "off"},
    {.name = "toolsversion",
     .type = BDRV_OPTION_NUMBER,
     .help = "version of the guest's tools (" VMDK_TOOLS_UNKNOWN ", unknown, if not given)"},
    {.name = "zeroed_grain",
     .type = BDRV_OPTION_BOOL,
     .help = "store zeros as table entries, which not every program can read",
     .default_text = "off"},
    {.name = "grain_size",
     .type = BDRV_OPTION_SIZE,
     .help = "unit of allocation: 8k to 1M (64k if not given); vmfsSparse and cowd: 512 "
             "(if not given) to 1M"},
    {.name = "gtes_per_table",
     .type = BDRV_OPTION_NUMBER,
     .help = "entries of a grain table; other programs only know 512",
     .default_text = "512"},
    {.name = "cid",
     .type = BDRV_OPTION_STRING,
     .help = "content identifier in hexadecimal, instead of a random one: makes the file's "
             "bytes depend on nothing else"},
    {.name = "seed",
     .type = BDRV_OPTION_STRING,
     .help = "make all identifiers of this text, not by chance: two creations then give the "
             "same bytes"},
    {.name = "extent_size",
     .type = BDRV_OPTION_SIZE,
     .help = "of the files of twoGb...: 2047M, as VMware, if not given; newer VMware: 4064M; "
             "any multiple of 64k"},
    {.name = "preallocation",
     .type = BDRV_OPTION_CHOICE,
     .help = "of flat kinds: falloc sets the host's space aside (vmfsPreallocated, if not "
             "given), full writes zeros (vmfsEagerZeroedThick), off does neither (all others)",
     .choices = preallocations},
    {.name = "device",
     .type = BDRV_OPTION_STRING,
     .help = "of fullDevice, partitionedDevice and vmfsRaw...: the device, or file, that "
             "holds the disk; it is not changed"},
    {.name = "partitions",
     .type = BDRV_OPTION_STRING,
     .help = "of partitionedDevice: the numbers of the partitions that the disk shows, with + "
             "between them; the others read as zeros; of what lies between, the first and last 2048 "
             "sectors are copied, and the rest reads as zeros"},
    {.name = "extents",
     .type = BDRV_OPTION_STRING,
     .help = "of custom: the extent lines of the descriptor, with ; between them, as in RW "
             "2048 SPARSE \"a.vmdk\";RW 2048 ZERO;RDONLY 64 FLAT \"b.img\" 0.  Files that do "
             "not exist are made; bytes of those that do are used as they are"},
    {.name = "stream_layout",
     .type = BDRV_OPTION_CHOICE,
     .help = "of streamOptimized: its tables behind the grains, with markers and a footer, or "
             "in front of them.  A stream is written once, in order, when it is opened next; "
             "its disk is a whole number of grains long",
     .default_text = "end",
     .choices = stream_layouts},
    {.name = "compression_level",
     .type = BDRV_OPTION_NUMBER,
     .help = "of streamOptimized: 1 (fast) to 12 (small), 6 if not given; of isal: 1 to 3, 1"},
    {.name = "compression_engine",
     .type = BDRV_OPTION_CHOICE,
     .help = "of streamOptimized: the library that compresses; isal is the faster, and makes "
             "larger files",
     .default_text = "libdeflate",
     .choices = compression_engines},
    {.name = "sesparse_unverified",
     .type = BDRV_OPTION_BOOL,
     .help = "make a seSparse image although VMware has not published all of the format: free "
             "bitmap, backmap and journal are left empty; nobody knows if ESXi accepts that",
     .default_text = "off"},
    {.name = "other_size",
     .type = BDRV_OPTION_BOOL,
     .help = "allow a child that is shorter or longer than its parent, which VMware refuses",
     .default_text = "off"},
    {.name = NULL},
};

/* ------------------------------------------------------------ what fits what */

/* Groups of options. */
enum {
    SPLIT = 1 << 0,
    FLAT = 1 << 1,
    GRAINS = 1 << 2,
    HOSTED = 1 << 3,
    STREAM = 1 << 4,
    SESPARSE = 1 << 5,
    DEVICE = 1 << 6,
    PARTITIONS = 1 << 7,
    LINES = 1 << 8
};

typedef struct Group {
    const char *name; /* of the option, or of the subformat */
    unsigned group;
} Group;

static const Group grouped_options[] = {
    {"extent_size", SPLIT},
    {"preallocation", FLAT},
    {"grain_size", GRAINS},
    {"zeroed_grain", HOSTED},
    {"gtes_per_table", HOSTED | STREAM},
    {"stream_layout", STREAM},
    {"compression_level", STREAM},
    {"compression_engine", STREAM},
    {"sesparse_unverified", SESPARSE},
    {"device", DEVICE},
    {"partitions", PARTITIONS},
    {"extents", LINES},
};

static const Group subformat_groups[] = {
    {"monolithicSparse", GRAINS | HOSTED},
    {"monolithicFlat", FLAT},
    {"twoGbMaxExtentSparse", SPLIT | GRAINS | HOSTED},
    {"twoGbMaxExtentFlat", SPLIT | FLAT},
    {"2GbMaxExtentSparse", SPLIT | GRAINS | HOSTED},
    {"2GbMaxExtentFlat", SPLIT | FLAT},
    {"vmfs", FLAT},
    {"vmfsThin", 0},
    {"vmfsPreallocated", FLAT},
    {"vmfsEagerZeroedThick", FLAT},
    {"vmfsSparse", GRAINS},
    {"cowd", GRAINS},
    {"streamOptimized", STREAM | GRAINS},
    {"seSparse", SESPARSE},
    {"custom", LINES | FLAT | GRAINS | HOSTED | SESPARSE},
    {"fullDevice", DEVICE},
    {"partitionedDevice", DEVICE | PARTITIONS},
    {"vmfsRawDeviceMap", DEVICE},
    {"vmfsPassthroughRawDeviceMap", DEVICE},
    {"vmfsRaw", DEVICE},
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static unsigned groups_of(const char *subformat)
{
    for (size_t i = 0; i < COUNT_OF(subformat_groups); i++) {
        if (strcmp(subformat_groups[i].name, subformat) == 0) {
            return subformat_groups[i].group;
        }
    }
    return 0;
}

/* Given, and not only to say that it is not wanted. */
static int is_asked_for(const BdrvOptions *options, const char *name)
{
    if (strcmp(name, "preallocation") == 0) {
        return bdrv_option_given(options, name) &&
               strcmp(bdrv_option_string(options, name), "off") != 0;
    }
    return strcmp(name, "zeroed_grain") == 0 ? bdrv_option_bool(options, name)
                                             : bdrv_option_given(options, name);
}

int vmdk_check_create_options(const BlockDriverState *file, const BdrvOptions *options)
{
    const char *subformat = bdrv_option_string(options, "subformat");
    const unsigned groups = groups_of(subformat);

    if (bdrv_open_flags(file) & BDRV_O_FORWARD && !(groups & STREAM)) {
        return bdrv_error(file, -ENOTSUP, "of all kinds of VMDK, only subformat streamOptimized "
                          "can be written to a pipe");
    }
    for (size_t i = 0; i < COUNT_OF(grouped_options); i++) {
        const Group *option = &grouped_options[i];

        if (is_asked_for(options, option->name) && !(groups & option->group)) {
            return bdrv_error(file, -EINVAL, "%s is not possible with subformat %s",
                              option->name, subformat);
        }
        if (option->group & groups & (DEVICE | PARTITIONS | LINES) &&
            !bdrv_option_given(options, option->name)) {
            return bdrv_error(file, -EINVAL, "subformat %s needs the option %s", subformat,
                              option->name);
        }
    }
    return 0;
}
