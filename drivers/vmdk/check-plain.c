/* SPDX-License-Identifier: MIT */
/*
 * check-plain.c - extents without tables of a kind that is known here, and those
 * whose file is not there: is every range of them where it should be?
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

/* The file is missing, or may not be opened.  Nothing that could be made would
 * hold what it held. */
static int report_missing(VmdkCheck *c, const VmdkExtent *extent)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = extent->start,
        .bytes = extent->length,
    };

    vmdk_found(c, &finding, "%s", extent->problem ? extent->problem : "an extent has no file");
    return 0;
}

static int is_flat(const VmdkExtent *extent)
{
    switch (extent->line->kind) {
    case VMDK_FLAT:
    case VMDK_VMFS:
    case VMDK_VMFSRDM:
    case VMDK_VMFSRAW:
        return 1;
    case VMDK_SPARSE:
    case VMDK_ZERO:
    case VMDK_VMFSSPARSE:
    case VMDK_SESPARSE:
    case VMDK_VSANSPARSE:
        break;
    }
    return 0;
}

static int check_flat(VmdkCheck *c, VmdkExtent *extent)
{
    const int64_t offset = extent->line->offset_sectors * BDRV_SECTOR_SIZE;
    const int64_t end = offset + extent->length, size = bdrv_getlength(extent->file);
    const int64_t there = bdrv_max(0, size - offset);
    BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .offset = extent->start + there,
        .bytes = extent->length - there,
        .repair = "the file is extended with zeros",
        .repaired = c->mend_all,
    };
    int ret = 0;

    c->result->image_end_offset = bdrv_max(c->result->image_end_offset, end);
    if (size >= end) {
        return 0;
    }
    if (c->mend_all) {
        ret = bdrv_truncate(extent->file, end);
        c->mended = 1;
    }
    if (ret == 0) {
        vmdk_found(c, &finding, "%s: the descriptor needs %" PRId64 " bytes of the file, it has %"
                   PRId64, vmdk_check_name(extent), end, size);
    }
    return ret;
}

/* A stretch of the extent that cannot be read, all for one reason. */
typedef struct Unreadable {
    int64_t start, end; /* start == end: there is none */
    char why[512];
} Unreadable;

static void report_unreadable(VmdkCheck *c, const VmdkExtent *extent, Unreadable *u)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = extent->start + u->start,
        .bytes = u->end - u->start,
    };

    if (u->start < u->end) {
        vmdk_found(c, &finding, "%s: %s", vmdk_check_name(extent), u->why);
    }
    u->start = u->end;
}

static void note_unreadable(VmdkCheck *c, const VmdkExtent *extent, Unreadable *u,
                            int64_t offset, int64_t bytes)
{
    if (u->end != offset || strcmp(u->why, bdrv_errmsg()) != 0) {
        report_unreadable(c, extent, u);
        u->start = offset;
        snprintf(u->why, sizeof u->why, "%s", bdrv_errmsg());
    }
    u->end = offset + bytes;
}

/* Asks the kind itself where everything is. */
static int walk(VmdkCheck *c, VmdkExtent *extent)
{
    const int64_t step = extent->cluster_size > 0 ? extent->cluster_size : extent->length;
    Unreadable unreadable = {0};
    BdrvExtent run;

    for (int64_t offset = 0; offset < extent->length; offset += run.bytes) {
        int ret;

        run = (BdrvExtent){0};
        ret = extent->ops->is_allocated(extent, offset, extent->length - offset, &run);
        if (ret == -ENOMEM) {
            return ret;
        }
        if (ret < 0) {
            run.bytes = run.bytes > 0 ? run.bytes
                                      : bdrv_min(step - offset % step, extent->length - offset);
            note_unreadable(c, extent, &unreadable, offset, run.bytes);
        } else if (extent->cluster_size > 0 && run.state == BDRV_DATA) {
            c->result->allocated_clusters += bdrv_div_up(run.bytes, step);
        }
    }
    report_unreadable(c, extent, &unreadable);
    c->result->total_clusters += extent->cluster_size > 0 ? bdrv_div_up(extent->length, step) : 0;
    c->result->image_end_offset = bdrv_max(c->result->image_end_offset,
                                           bdrv_getlength(extent->file));
    return 0;
}

int vmdk_check_plain(VmdkCheck *c, VmdkExtent *extent)
{
    if (extent->line->kind == VMDK_ZERO) {
        return 0;
    }
    if (!extent->file) {
        return report_missing(c, extent);
    }
    if (is_flat(extent)) {
        return check_flat(c, extent);
    }
    return extent->ops == &vmdk_damaged_extent ? report_missing(c, extent) : walk(c, extent);
}
