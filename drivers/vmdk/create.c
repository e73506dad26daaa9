/* SPDX-License-Identifier: MIT */
/*
 * create.c - new images: one hosted sparse file with its descriptor inside, an
 * ESX delta (a text and a COWD file), or one COWD file.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DESCRIPTOR_SECTORS = 20, /* what VMware's programs reserve */
    FLAGS_COWD = 3,
    COWD_GD_SECTOR = VMDK_COWD_HEADER_BYTES / BDRV_SECTOR_SIZE,
    COWD_GT_SECTORS = VMDK_COWD_GTES * 4 / BDRV_SECTOR_SIZE,
    /* What other programs can read; the format allows more. */
    GRAIN_SECTORS_MIN = 16,
    GRAIN_SECTORS_MAX = 2048,
    GRAIN_SECTORS_DEFAULT = 128,
    DIRECTORY_CHUNK = 16384 /* entries written at a time */
};

/* What VMware writes for tools that it does not know. */
#define TOOLS_UNKNOWN "2147483647"

/* Sector numbers in tables have 32 bits. */
static const int64_t table_sector_max = UINT32_MAX;
/* 2^26 GTs, as header.c accepts them. */
static const int64_t tables_max = INT64_C(1) << 26;

static const char *const subformats[] = {"monolithicSparse", "vmfsSparse", "cowd", NULL};
static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};

const BdrvOption vmdk_create_options[] = {
    {.name = "subformat",
     .type = BDRV_OPTION_CHOICE,
     .help = "which kind of VMDK",
     .default_text = "monolithicSparse",
     .choices = subformats},
    {.name = "adapter_type",
     .type = BDRV_OPTION_CHOICE,
     .help = "the adapter the disk is for",
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
     .help = "version of the guest's tools (" TOOLS_UNKNOWN ", unknown, if not given)"},
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
    {.name = NULL},
};

/* ---------------------------------------------------------------- choices */

static int choose_cid(const BlockDriverState *file, const BdrvOptions *options, VmdkPlan *plan)
{
    const char *given = bdrv_option_string(options, "cid");

    if (given) {
        if (!vmdk_slice_cid((VmdkSlice){given, strlen(given)}, &plan->cid) ||
            plan->cid >= VMDK_CID_UNTOUCHED) {
            return bdrv_error(file, -EINVAL, "cid is '%s'; wanted are 1 to 8 hexadecimal digits, "
                              "below fffffffe", given);
        }
        return 0;
    }
    /* The same content as its parent's, for now. */
    if (plan->parent_cid < VMDK_CID_UNTOUCHED) {
        plan->cid = plan->parent_cid;
        return 0;
    }
    return vmdk_random_cid(&plan->cid);
}

/* The first 24 of 32 digits; the others are the CID. */
static int choose_long_id(const BdrvOptions *options, VmdkPlan *plan)
{
    uint32_t parts[3] = {plan->cid, plan->cid, plan->cid};
    int ret = bdrv_option_given(options, "cid") ? 0 : vmdk_random(parts, sizeof parts);

    snprintf(plan->long_id, sizeof plan->long_id, "%08" PRIx32 "%08" PRIx32 "%08" PRIx32,
             parts[0], parts[1], parts[2]);
    return ret;
}

static void choose_number(char *text, size_t size, const BdrvOptions *options, const char *name,
                          const char *normal)
{
    if (bdrv_option_given(options, name)) {
        snprintf(text, size, "%" PRId64, bdrv_option_number(options, name));
    } else {
        snprintf(text, size, "%s", normal);
    }
}

/* A child says only what its user says: the rest is as in its parent. */
static int choose_data_base(const BlockDriverState *file, const BdrvOptions *options,
                            VmdkPlan *plan)
{
    const int is_child = plan->parent_hint != NULL;
    const int compat6 = bdrv_option_bool(options, "compat6");

    if (compat6 && bdrv_option_given(options, "hwversion")) {
        return bdrv_error(file, -EINVAL, "hwversion and compat6 exclude each other");
    }
    if (!is_child || bdrv_option_given(options, "adapter_type")) {
        plan->adapter = bdrv_option_string(options, "adapter_type");
    }
    choose_number(plan->hw_version, sizeof plan->hw_version, options, "hwversion",
                  compat6 ? "6" : is_child ? "" : "4");
    choose_number(plan->tools_version, sizeof plan->tools_version, options, "toolsversion",
                  is_child ? "" : TOOLS_UNKNOWN);
    return 0;
}

static int can_be_quoted(const char *name)
{
    for (; *name; name++) {
        if (*name == '"' || (unsigned char)*name < 0x20 || *name == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static int choose_parent(const BlockDriverState *file, const BdrvCreateParams *params,
                         VmdkPlan *plan)
{
    plan->parent_cid = VMDK_CID_NONE;
    if (!params->backing) {
        return 0;
    }
    if (!vmdk_cid_of(params->backing, &plan->parent_cid)) {
        return bdrv_error(file, -EINVAL, "the parent '%s' is no vmdk image with a CID, which is "
                          "what a child remembers it by; convert it to vmdk first",
                          params->backing_filename);
    }
    if (bdrv_getlength(params->backing) != plan->sectors * BDRV_SECTOR_SIZE) {
        return bdrv_error(file, -EINVAL, "the size is %" PRId64 " bytes, the parent's %" PRId64
                          ": a child has the size of its parent", params->size,
                          bdrv_getlength(params->backing));
    }
    if (!can_be_quoted(params->backing_filename) ||
        strlen(params->backing_filename) > VMDK_NAME_MAX) {
        return bdrv_error(file, -EINVAL, "the parent's name cannot be written in a descriptor: "
                          "it has a quote or control character, or more than %d bytes",
                          VMDK_NAME_MAX);
    }
    plan->parent_hint = params->backing_filename;
    return 0;
}

static int make_plan(const BlockDriverState *file, const BdrvCreateParams *params,
                     VmdkPlan *plan)
{
    int ret;

    if (params->size == 0 || params->size > INT64_MAX - BDRV_SECTOR_SIZE) {
        return bdrv_error(file, -EINVAL, "a disk of %" PRId64 " bytes is not possible",
                          params->size);
    }
    plan->sectors = bdrv_div_up(params->size, BDRV_SECTOR_SIZE);
    plan->create_type = bdrv_option_string(params->options, "subformat");
    ret = choose_parent(file, params, plan);
    if (ret == 0) {
        ret = choose_data_base(file, params->options, plan);
    }
    if (ret == 0) {
        ret = choose_cid(file, params->options, plan);
    }
    return ret < 0 ? ret : choose_long_id(params->options, plan);
}

static int choose_grain(const BlockDriverState *file, const BdrvOptions *options, int64_t least,
                        int64_t most, int64_t *grain_sectors)
{
    int64_t bytes = bdrv_option_number(options, "grain_size");

    if (!bdrv_option_given(options, "grain_size")) {
        return 0;
    }
    *grain_sectors = bytes / BDRV_SECTOR_SIZE;
    if (bytes <= 0 || !bdrv_is_power_of_two((uint64_t)bytes) || *grain_sectors < least ||
        *grain_sectors > most) {
        return bdrv_error(file, -EINVAL, "grain_size is %" PRId64 "; wanted is a power of two "
                          "from %" PRId64 " to %" PRId64, bytes, least * BDRV_SECTOR_SIZE,
                          most * BDRV_SECTOR_SIZE);
    }
    return 0;
}

/* ----------------------------------------------------------------- writing */

/* Makes the file bytes long, all zeros, whatever it was before. */
static int make_room(BlockDriverState *file, int64_t bytes)
{
    int ret = bdrv_truncate(file, bytes);

    if (ret == -ENOTSUP) { /* of a fixed length, and with something in it */
        ret = bdrv_write_zeroes(file, 0, bytes);
    }
    return ret;
}

/* Writes count entries first, first + step, … */
static int write_directory(BlockDriverState *file, int64_t sector, int64_t count, int64_t first,
                           int64_t step)
{
    uint8_t *bytes = malloc(DIRECTORY_CHUNK * 4);
    int ret = bytes ? 0 : -ENOMEM;

    for (int64_t done = 0; ret == 0 && done < count; done += DIRECTORY_CHUNK) {
        int64_t now = bdrv_min(count - done, DIRECTORY_CHUNK);

        for (int64_t i = 0; i < now; i++) {
            bdrv_store_le32(bytes + i * 4, (uint32_t)(first + (done + i) * step));
        }
        ret = bdrv_pwrite(file, bytes, (size_t)now * 4, sector * BDRV_SECTOR_SIZE + done * 4);
    }
    free(bytes);
    return ret;
}

static const char *name_of(const BlockDriverState *file)
{
    const char *slash = strrchr(bdrv_filename(file), '/');

    return slash ? slash + 1 : bdrv_filename(file);
}

/* --------------------------------------------------------- monolithicSparse */

/* In sectors:  header │ descriptor │ RGD │ RGTs │ GD │ GTs │ pad to a grain */
static int lay_out(const BlockDriverState *file, VmdkHeader *header)
{
    int64_t tables = vmdk_header_tables(header);
    int64_t set = vmdk_header_gd_sectors(header) + tables * vmdk_header_gt_sectors(header);
    int64_t end = (int64_t)header->rgd_sector + 2 * set;

    if (tables > tables_max || end > table_sector_max) {
        return bdrv_error(file, -EINVAL, "a disk of %" PRIu64 " sectors needs more tables than "
                          "can be addressed; a larger grain_size needs fewer",
                          header->capacity_sectors);
    }
    header->gd_sector = header->rgd_sector + (uint64_t)set;
    header->overhead_sectors = (uint64_t)bdrv_round_up(end, (int64_t)header->grain_sectors);
    return 0;
}

static int choose_header(const BlockDriverState *file, const BdrvOptions *options,
                         int64_t sectors, VmdkHeader *header)
{
    const int zeroed = bdrv_option_bool(options, "zeroed_grain");
    int64_t gtes = bdrv_option_number(options, "gtes_per_table");
    int64_t grain_sectors = GRAIN_SECTORS_DEFAULT;
    int ret = choose_grain(file, options, GRAIN_SECTORS_MIN, GRAIN_SECTORS_MAX, &grain_sectors);

    if (ret < 0) {
        return ret;
    }
    if (gtes < VMDK_GTES_MIN || gtes > VMDK_GTES_MAX || !bdrv_is_power_of_two((uint64_t)gtes)) {
        return bdrv_error(file, -EINVAL, "gtes_per_table is %" PRId64 "; wanted is a power of two "
                          "from %d to %d", gtes, VMDK_GTES_MIN, VMDK_GTES_MAX);
    }
    *header = (VmdkHeader){
        .version = zeroed ? 2 : 1,
        .flags = VMDK_FLAG_NEWLINES | VMDK_FLAG_REDUNDANT | (zeroed ? VMDK_FLAG_ZEROED : 0u),
        .capacity_sectors = (uint64_t)sectors,
        .grain_sectors = (uint64_t)grain_sectors,
        .descriptor_sector = 1,
        .descriptor_sectors = DESCRIPTOR_SECTORS,
        .gtes_per_gt = (uint32_t)gtes,
        .rgd_sector = 1 + DESCRIPTOR_SECTORS,
    };
    return lay_out(file, header);
}

static int write_front(BlockDriverState *file, const VmdkHeader *header, const VmdkPlan *plan)
{
    uint8_t bytes[(1 + DESCRIPTOR_SECTORS) * BDRV_SECTOR_SIZE] = {0};
    VmdkText text = {0};
    int ret = 0;

    vmdk_compose(&text, plan);
    if (text.failed || text.length > sizeof bytes - VMDK_HEADER_BYTES) {
        ret = -ENOMEM; /* all its parts are short */
    } else {
        vmdk_header_encode(header, bytes);
        memcpy(bytes + VMDK_HEADER_BYTES, text.bytes, text.length);
        ret = bdrv_pwrite(file, bytes, sizeof bytes, 0);
    }
    free(text.bytes);
    return ret;
}

static int write_directories(BlockDriverState *file, const VmdkHeader *header)
{
    const uint64_t starts[] = {header->rgd_sector, header->gd_sector};
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof starts / sizeof *starts; i++) {
        ret = write_directory(file, (int64_t)starts[i], vmdk_header_tables(header),
                              (int64_t)starts[i] + vmdk_header_gd_sectors(header),
                              vmdk_header_gt_sectors(header));
    }
    return ret;
}

static int create_sparse(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan)
{
    VmdkHeader header;
    int ret = choose_header(file, params->options, plan->sectors, &header);

    if (ret < 0) {
        return ret;
    }
    plan->extent_kind = VMDK_SPARSE;
    /* Nobody opens an embedded descriptor's extent by its name. */
    plan->extent_name = can_be_quoted(name_of(file)) ? name_of(file) : "disk.vmdk";
    ret = make_room(file, (int64_t)header.overhead_sectors * BDRV_SECTOR_SIZE);
    if (ret == 0) {
        ret = write_front(file, &header, plan);
    }
    return ret < 0 ? ret : write_directories(file, &header);
}

/* -------------------------------------------------------------------- COWD */

/* All of the disk written, with its tables, must end below sector 2^32. */
static int check_cowd_size(const BlockDriverState *file, const VmdkPlan *plan,
                           int64_t grain_sectors)
{
    int64_t grains = bdrv_div_up(plan->sectors, grain_sectors);
    int64_t tables = bdrv_div_up(grains, VMDK_COWD_GTES);

    if (plan->sectors > table_sector_max ||
        grains * grain_sectors + tables * COWD_GT_SECTORS +
            bdrv_div_up(tables * 4, BDRV_SECTOR_SIZE) + COWD_GD_SECTOR > table_sector_max) {
        return bdrv_error(file, -EINVAL, "a copy-on-write extent cannot hold %" PRId64
                          " sectors: with its tables that is more than 2 TiB", plan->sectors);
    }
    return 0;
}

static int write_cowd(BlockDriverState *file, const VmdkCowdHeader *header)
{
    uint8_t bytes[VMDK_COWD_HEADER_BYTES];
    int ret = make_room(file, (int64_t)header->free_sector * BDRV_SECTOR_SIZE);

    if (ret < 0) {
        return ret;
    }
    vmdk_cowd_header_encode(header, bytes);
    return bdrv_pwrite(file, bytes, sizeof bytes, 0);
}

static int create_cowd(BlockDriverState *file, const BdrvCreateParams *params,
                       const VmdkPlan *plan, VmdkCowdRole role)
{
    int64_t grain_sectors = 1, tables;
    VmdkCowdHeader header = {.version = 1, .flags = FLAGS_COWD, .role = role};
    BdrvGeometry geometry;
    int ret = choose_grain(file, params->options, 1, VMDK_COWD_GRAIN_SECTORS_MAX,
                           &grain_sectors);

    if (ret == 0) {
        ret = check_cowd_size(file, plan, grain_sectors);
    }
    if (ret < 0) {
        return ret;
    }
    tables = bdrv_div_up(plan->sectors, VMDK_COWD_GTES * grain_sectors);
    vmdk_choose_geometry(bdrv_option_string(params->options, "adapter_type"), plan->sectors,
                         &geometry);
    header.capacity_sectors = (uint32_t)plan->sectors;
    header.grain_sectors = (uint32_t)grain_sectors;
    header.gd_sector = COWD_GD_SECTOR;
    header.gd_entries = (uint32_t)tables;
    header.free_sector =
        (uint32_t)(COWD_GD_SECTOR + bdrv_div_up(tables * 4, BDRV_SECTOR_SIZE));
    header.cylinders = geometry.cylinders;
    header.heads = geometry.heads;
    header.sectors = geometry.sectors;
    return write_cowd(file, &header);
}

/* "disk.vmdk" to "disk-delta.vmdk"; NULL: no memory. */
static char *delta_name(const char *name)
{
    const char suffix[] = "-delta.vmdk";
    size_t length = strlen(name);
    char *made = malloc(length + sizeof suffix);

    if (made) {
        length -= length > 5 && strcmp(name + length - 5, ".vmdk") == 0 ? 5 : 0;
        memcpy(made, name, length);
        memcpy(made + length, suffix, sizeof suffix);
    }
    return made;
}

static int write_text(BlockDriverState *file, const VmdkPlan *plan)
{
    VmdkText text = {0};
    int ret;

    vmdk_compose(&text, plan);
    ret = text.failed ? -ENOMEM : bdrv_pwrite(file, text.bytes, text.length, 0);
    free(text.bytes);
    return ret;
}

static int create_delta(BlockDriverState *file, const BdrvCreateParams *params, VmdkPlan *plan)
{
    BlockDriverState *extent;
    char *name = delta_name(name_of(file));
    int ret = name ? 0 : -ENOMEM;

    if (ret == 0 && (!can_be_quoted(name) || strlen(name) > VMDK_NAME_MAX)) {
        ret = bdrv_error(file, -EINVAL, "the extent's name cannot be written in a descriptor: it "
                         "has a quote or control character, or more than %d bytes",
                         VMDK_NAME_MAX);
    }
    if (ret == 0) {
        ret = bdrv_create_child(file, name, &extent);
    }
    if (ret == 0) {
        plan->extent_kind = VMDK_VMFSSPARSE;
        plan->extent_name = name;
        ret = create_cowd(extent, params, plan, VMDK_COWD_DELTA);
    }
    if (ret == 0) {
        ret = write_text(file, plan);
    }
    free(name);
    return ret;
}

int vmdk_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    VmdkPlan plan = {0};
    int ret = make_plan(file, params, &plan);

    if (ret < 0) {
        return ret;
    }
    if (strcmp(plan.create_type, "monolithicSparse") == 0) {
        return create_sparse(file, params, &plan);
    }
    if (bdrv_option_bool(params->options, "zeroed_grain")) {
        return bdrv_error(file, -EINVAL, "zeroed_grain is not possible with subformat %s",
                          plan.create_type);
    }
    if (strcmp(plan.create_type, "vmfsSparse") == 0) {
        return create_delta(file, params, &plan);
    }
    if (params->backing) {
        return bdrv_error(file, -EINVAL, "one COWD file records no parent; subformat vmfsSparse "
                          "does");
    }
    return create_cowd(file, params, &plan, VMDK_COWD_ROOT);
}
