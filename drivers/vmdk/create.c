/* SPDX-License-Identifier: MIT */
/*
 * create.c - new images: what all kinds have to decide, and the two kinds of
 * extents that have tables.  Images of several files are in create-files.c.
 */
#include "stream.h"
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

/* Sector numbers in tables have 32 bits. */
static const int64_t table_sector_max = UINT32_MAX;
/* 2^26 GTs, as header.c accepts them. */
static const int64_t tables_max = INT64_C(1) << 26;

/* ---------------------------------------------------------------- choices */

/* Not of the seed alone, or all images of one build would have the same. */
static uint64_t seed_salt(const VmdkPlan *plan)
{
    return (uint64_t)plan->sectors ^ (uint64_t)plan->parent_cid << 24 ^
           (uint64_t)vmdk_seeded(plan->create_type, 0) << 32;
}

static int choose_cid(const BlockDriverState *file, const BdrvOptions *options, VmdkPlan *plan)
{
    const char *seed = bdrv_option_string(options, "seed");
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
    if (seed) {
        plan->cid = vmdk_seeded_cid(seed, seed_salt(plan));
        return 0;
    }
    return vmdk_random_cid(&plan->cid);
}

/* The first 24 of 32 digits; the others are the CID. */
static int choose_long_id(const BdrvOptions *options, VmdkPlan *plan)
{
    const char *seed = bdrv_option_string(options, "seed");
    uint32_t parts[3] = {plan->cid, plan->cid, plan->cid};
    int ret = 0;

    if (seed) {
        for (uint32_t i = 0; i < 3; i++) {
            parts[i] = vmdk_seeded(seed, seed_salt(plan) + i + 1);
        }
    } else if (!bdrv_option_given(options, "cid")) {
        ret = vmdk_random(parts, sizeof parts);
    }
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
    if (strcmp(plan->create_type, "streamOptimized") == 0 &&
        !bdrv_option_given(options, "adapter_type")) {
        plan->adapter = "lsilogic"; /* what importers expect */
    }
    choose_number(plan->hw_version, sizeof plan->hw_version, options, "hwversion",
                  compat6 ? "6" : is_child ? "" : "4");
    choose_number(plan->tools_version, sizeof plan->tools_version, options, "toolsversion",
                  is_child ? "" : VMDK_TOOLS_UNKNOWN);
    return 0;
}

int vmdk_can_be_quoted(const char *name)
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
    if (!params->backing_filename) {
        return 0;
    }
    if (!params->backing) {
        return bdrv_error(file, -ENOTSUP, "a child records its parent's CID, so the parent must "
                          "be opened to make one");
    }
    if (!vmdk_cid_of(params->backing, &plan->parent_cid)) {
        return bdrv_error(file, -EINVAL, "the parent '%s' is no vmdk image with a CID, which is "
                          "what a child remembers it by; convert it to vmdk first",
                          params->backing_filename);
    }
    if (bdrv_getlength(params->backing) != plan->sectors * BDRV_SECTOR_SIZE &&
        !bdrv_option_bool(params->options, "other_size")) {
        return bdrv_error(file, -EINVAL, "the size is %" PRId64 " bytes, the parent's %" PRId64
                          ": a child has the size of its parent, or VMware refuses it; the "
                          "option other_size=on makes it all the same", params->size,
                          bdrv_getlength(params->backing));
    }
    if (!vmdk_can_be_quoted(params->backing_filename) ||
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

int vmdk_choose_grain(const BlockDriverState *file, const BdrvOptions *options, int64_t least,
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

int vmdk_make_room(BlockDriverState *file, int64_t bytes)
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

const char *vmdk_name_of(const BlockDriverState *file)
{
    const char *slash = strrchr(bdrv_filename(file), '/');

    return slash ? slash + 1 : bdrv_filename(file);
}

/* ------------------------------------------------------------ hosted sparse */

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
                         int64_t sectors, uint64_t descriptor_sectors, VmdkHeader *header)
{
    const int zeroed = bdrv_option_bool(options, "zeroed_grain");
    int64_t gtes = bdrv_option_number(options, "gtes_per_table");
    int64_t grain_sectors = GRAIN_SECTORS_DEFAULT;
    int ret = vmdk_choose_grain(file, options, GRAIN_SECTORS_MIN, GRAIN_SECTORS_MAX,
                                &grain_sectors);

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
        .descriptor_sector = descriptor_sectors > 0 ? 1 : 0,
        .descriptor_sectors = descriptor_sectors,
        .gtes_per_gt = (uint32_t)gtes,
        .rgd_sector = 1 + descriptor_sectors,
    };
    return lay_out(file, header);
}

/* The header and, if there is a plan, the descriptor, in one write. */
static int write_front(BlockDriverState *file, const VmdkHeader *header, const VmdkPlan *plan)
{
    uint8_t bytes[(1 + DESCRIPTOR_SECTORS) * BDRV_SECTOR_SIZE] = {0};
    VmdkText text = {0};
    int ret = 0;

    if (plan) {
        vmdk_compose(&text, plan);
    }
    if (text.failed || text.length > sizeof bytes - VMDK_HEADER_BYTES) {
        ret = -ENOMEM; /* all its parts are short */
    } else {
        vmdk_header_encode(header, bytes);
        if (text.bytes) {
            memcpy(bytes + VMDK_HEADER_BYTES, text.bytes, text.length);
        }
        ret = bdrv_pwrite(file, bytes, plan ? sizeof bytes : VMDK_HEADER_BYTES, 0);
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

int vmdk_create_sparse(BlockDriverState *file, const BdrvOptions *options, int64_t sectors,
                       const VmdkPlan *plan)
{
    VmdkHeader header;
    int ret = choose_header(file, options, sectors, plan ? DESCRIPTOR_SECTORS : 0, &header);

    if (ret == 0) {
        ret = vmdk_make_room(file, (int64_t)header.overhead_sectors * BDRV_SECTOR_SIZE);
    }
    if (ret == 0) {
        ret = write_front(file, &header, plan);
    }
    return ret < 0 ? ret : write_directories(file, &header);
}

static int create_monolithic(BlockDriverState *file, const BdrvCreateParams *params,
                             VmdkPlan *plan)
{
    const char *name = vmdk_name_of(file);

    /* Nobody opens an embedded descriptor's extent by its name. */
    vmdk_compose_extent(&plan->extents, plan->sectors, VMDK_SPARSE,
                        vmdk_can_be_quoted(name) ? name : "disk.vmdk");
    return plan->extents.failed ? -ENOMEM
                                : vmdk_create_sparse(file, params->options, plan->sectors, plan);
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
    int ret = vmdk_make_room(file, (int64_t)header->free_sector * BDRV_SECTOR_SIZE);

    if (ret < 0) {
        return ret;
    }
    vmdk_cowd_header_encode(header, bytes);
    return bdrv_pwrite(file, bytes, sizeof bytes, 0);
}

int vmdk_create_cowd(BlockDriverState *file, const BdrvCreateParams *params,
                     const VmdkPlan *plan, VmdkCowdRole role)
{
    int64_t grain_sectors = 1, tables;
    VmdkCowdHeader header = {.version = 1, .flags = FLAGS_COWD, .role = role};
    BdrvGeometry geometry;
    int ret = vmdk_choose_grain(file, params->options, 1, VMDK_COWD_GRAIN_SECTORS_MAX,
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

/* -------------------------------------------------------------------- kinds */

static int create_kind(BlockDriverState *file, const BdrvCreateParams *params,
                       const VmdkNewLines *lines, VmdkPlan *plan)
{
    const char *subformat = bdrv_option_string(params->options, "subformat");
    const VmdkFilesKind *kind = vmdk_files_kind(subformat);

    if (lines->count > 0) {
        return vmdk_create_lines(file, params, plan, lines);
    }
    if (kind) {
        return vmdk_create_files(file, params, plan, kind);
    }
    if (strcmp(subformat, "monolithicSparse") == 0) {
        return create_monolithic(file, params, plan);
    }
    if (strcmp(subformat, "streamOptimized") == 0) {
        return vmdk_create_stream(file, params, plan);
    }
    if (params->backing) {
        return bdrv_error(file, -EINVAL, "one COWD file records no parent; subformat vmfsSparse "
                          "does");
    }
    return vmdk_create_cowd(file, params, plan, VMDK_COWD_ROOT);
}

/* The size that was asked for, or that of the extents that were. */
static int create_sized(BlockDriverState *file, const BdrvCreateParams *params,
                        const VmdkNewLines *lines)
{
    BdrvCreateParams sized = *params;
    VmdkPlan plan = {0};
    int ret;

    sized.size = lines->count > 0 ? lines->sectors * BDRV_SECTOR_SIZE : params->size;
    ret = make_plan(file, &sized, &plan);
    if (ret == 0) {
        ret = create_kind(file, &sized, lines, &plan);
    }
    free(plan.extents.bytes);
    return ret;
}

int vmdk_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    VmdkNewLines lines = {0};
    int ret = vmdk_check_create_options(file, params->options);

    if (ret == 0) {
        ret = vmdk_new_lines(file, params, &lines);
    }
    if (ret == 0) {
        ret = create_sized(file, params, &lines);
    }
    vmdk_new_lines_free(&lines);
    return ret;
}
