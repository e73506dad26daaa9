/* SPDX-License-Identifier: MIT */
/*
 * compose.c - the text of a new descriptor, in the order and the strict form
 * that VMware's programs write, which every reader understands.
 */
#include "vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SECTORS_PER_GIB = 1024 * 1024 * 1024 / BDRV_SECTOR_SIZE,
    TRACK_SECTORS = 63,
    IDE_HEADS = 16,
    SCSI_HEADS = 255
};

/* IDE disks have always been 16 x 63; SCSI adapters translate as their BIOS
 * did, which depends on the size. */
void vmdk_choose_geometry(const char *adapter, int64_t sectors, BdrvGeometry *geometry)
{
    int64_t cylinders;

    geometry->from_image = 1;
    geometry->sectors = TRACK_SECTORS;
    if (strcmp(adapter, "ide") == 0) {
        geometry->heads = IDE_HEADS;
    } else if (sectors > 2 * (int64_t)SECTORS_PER_GIB) {
        geometry->heads = SCSI_HEADS;
    } else {
        geometry->heads = sectors < SECTORS_PER_GIB ? 64 : 128;
        geometry->sectors = 32;
    }
    cylinders = sectors / ((int64_t)geometry->heads * geometry->sectors);
    geometry->cylinders = (uint32_t)bdrv_max(1, bdrv_min(cylinders, UINT32_MAX));
}

static void compose_header(VmdkText *text, const VmdkPlan *plan)
{
    vmdk_text_printf(text, "# Disk DescriptorFile\n");
    vmdk_text_printf(text, "version=1\n");
    vmdk_text_printf(text, "encoding=\"UTF-8\"\n");
    vmdk_text_printf(text, "CID=%08" PRIx32 "\n", plan->cid);
    vmdk_text_printf(text, "parentCID=%08" PRIx32 "\n", plan->parent_cid);
    vmdk_text_printf(text, "createType=\"%s\"\n", plan->create_type);
    if (plan->parent_hint) {
        vmdk_text_printf(text, "parentFileNameHint=\"%s\"\n", plan->parent_hint);
    }
}

static void compose_adapter(VmdkText *text, const VmdkPlan *plan)
{
    BdrvGeometry geometry;

    vmdk_choose_geometry(plan->adapter, plan->sectors, &geometry);
    vmdk_text_printf(text, "ddb.adapterType = \"%s\"\n", plan->adapter);
    vmdk_text_printf(text, "ddb.geometry.cylinders = \"%" PRIu32 "\"\n", geometry.cylinders);
    vmdk_text_printf(text, "ddb.geometry.heads = \"%" PRIu32 "\"\n", geometry.heads);
    vmdk_text_printf(text, "ddb.geometry.sectors = \"%" PRIu32 "\"\n", geometry.sectors);
}

/* What a child does not say, its parent does. */
static void compose_data_base(VmdkText *text, const VmdkPlan *plan)
{
    if (plan->adapter) {
        compose_adapter(text, plan);
    }
    vmdk_text_printf(text, "ddb.longContentID = \"%s%08" PRIx32 "\"\n", plan->long_id,
                     plan->cid);
    if (plan->tools_version[0]) {
        vmdk_text_printf(text, "ddb.toolsVersion = \"%s\"\n", plan->tools_version);
    }
    if (plan->hw_version[0]) {
        vmdk_text_printf(text, "ddb.virtualHWVersion = \"%s\"\n", plan->hw_version);
    }
    if (plan->thin) {
        vmdk_text_printf(text, "ddb.thinProvisioned = \"1\"\n");
    }
}

/* Where a reader wants the offset (FLAT) or refuses it (the others): as VMware
 * writes it. */
void vmdk_compose_line(VmdkText *text, const VmdkExtentLine *line)
{
    vmdk_text_printf(text, "%s %" PRId64 " %s", vmdk_access_name(line->access), line->sectors,
                     vmdk_kind_name(line->kind));
    if (line->name) {
        vmdk_text_printf(text, " \"%s\"", line->name);
    }
    if (line->name && (line->kind == VMDK_FLAT || line->offset_sectors > 0)) {
        vmdk_text_printf(text, " %" PRId64, line->offset_sectors);
    }
    vmdk_text_printf(text, "\n");
}

void vmdk_compose_extent(VmdkText *text, int64_t sectors, VmdkKind kind, const char *name)
{
    char *copy = strdup(name);
    const VmdkExtentLine line = {.sectors = sectors, .kind = kind, .name = copy};

    if (copy) {
        vmdk_compose_line(text, &line);
    }
    text->failed |= !copy;
    free(copy);
}

void vmdk_compose(VmdkText *text, const VmdkPlan *plan)
{
    compose_header(text, plan);
    vmdk_text_printf(text, "\n# Extent description\n");
    vmdk_text_append(text, (VmdkSlice){plan->extents.bytes, plan->extents.length});
    vmdk_text_printf(text, "\n# The Disk Data Base\n#DDB\n\n");
    compose_data_base(text, plan);
}
