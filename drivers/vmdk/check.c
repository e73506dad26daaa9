/* SPDX-License-Identifier: MIT */
/*
 * check.c - bdrv_check() of a VMDK: asks the checks of the extents' kinds one
 * after the other, then that of the descriptor, and opens the image anew when
 * something was mended, so that the handle reads what is there now.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MAX = 1024 /* of a finding; longer ones are cut */
};

void vmdk_found(VmdkCheck *c, const BdrvFinding *finding, const char *format, ...)
{
    char text[TEXT_MAX];
    BdrvFinding complete = *finding;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    complete.text = text;
    complete.repaired = complete.repaired && complete.repair;
    c->has_hopeless |= complete.kind == BDRV_FINDING_CORRUPTION && !complete.repair;
    if (complete.bytes == 0) {
        complete.offset = -1;
    }
    bdrv_check_report(c->check, &complete);
}

/* What a file cannot have, no disk has. */
static int64_t bytes_of(int64_t sectors)
{
    return bdrv_min(sectors, INT64_MAX / 2 / BDRV_SECTOR_SIZE) * BDRV_SECTOR_SIZE;
}

void vmdk_found_lengths(VmdkCheck *c, const VmdkExtent *extent, BdrvFinding finding,
                        int64_t capacity)
{
    const int64_t line = extent->line->sectors;
    const int64_t start = bytes_of(bdrv_min(line, capacity));

    finding.offset = bdrv_min(extent->start, INT64_MAX / 2) + start;
    finding.bytes = bytes_of(bdrv_max(line, capacity)) - start;
    vmdk_found(c, &finding, "%s: the descriptor gives the extent %" PRId64 " sectors, its header "
               "%" PRId64, vmdk_check_name(extent), line, capacity);
}

int vmdk_mends(const VmdkCheck *c, BdrvFindingKind kind)
{
    return c->mend_all || (kind == BDRV_FINDING_LEAK && c->mend_leaks);
}

int vmdk_mend_bytes(VmdkCheck *c, BlockDriverState *file, const void *bytes, size_t size,
                    int64_t offset)
{
    int ret = bdrv_pwrite(file, bytes, size, offset);

    c->mended = 1;
    return ret < 0 ? ret : bdrv_flush_children(c->image->bs);
}

const char *vmdk_check_name(const VmdkExtent *extent)
{
    return bdrv_path_basename(bdrv_filename(vmdk_extent_node(extent)));
}

const char *vmdk_unallocated_reads(const VmdkExtent *extent)
{
    return extent->image->descriptor.parent_cid != VMDK_CID_NONE ? "reads as its parent does"
                                                                 : "reads as zeros";
}

/* ------------------------------------------------------------------- reopen */

/* What is cached of the tables may be what they were. */
static int renew_table(Vmdk *image)
{
    BdrvTable *fresh;
    int ret = bdrv_table_flush(image->table);

    if (ret == 0) {
        ret = bdrv_table_new(&fresh, image->bs);
    }
    if (ret == 0) {
        bdrv_table_free(image->table);
        image->table = fresh;
    }
    return ret;
}

/* Opens the extent again, on the file that is open, as its line now is. */
static int reopen(VmdkExtent *extent)
{
    int ret = renew_table(extent->image);

    if (ret < 0) {
        return ret;
    }
    extent->ops->close(extent);
    extent->ops = NULL;
    free(extent->problem);
    extent->problem = NULL;
    extent->unclean = 0;
    extent->length = extent->line->sectors * BDRV_SECTOR_SIZE;
    ret = vmdk_extent_open(extent);
    return ret < 0 ? vmdk_extent_open_damaged(extent, ret) : ret;
}

/* Extents may have become longer: those behind them are elsewhere on the disk, which what is
 * open of them has to know. */
static int set_places(Vmdk *image)
{
    int64_t start = 0, moved = INT64_MAX;
    int ret = 0;

    for (size_t i = 0; i < image->extent_count; i++) {
        if (image->extents[i].start != start) {
            moved = bdrv_min(moved, start);
        }
        image->extents[i].start = start;
        start += image->extents[i].length;
    }
    bdrv_set_length(image->bs, start);
    for (size_t i = 0; ret == 0 && i < image->files.open_extents; i++) {
        if (image->files.open[i]->start >= moved) {
            ret = reopen(image->files.open[i]);
        }
    }
    return ret;
}

/* ----------------------------------------------------------------- extents */

static int check_extent(VmdkCheck *c, VmdkExtent *extent)
{
    if (extent->line->access == VMDK_NOACCESS) {
        return 0;
    }
    if (!extent->file) {
        return vmdk_check_plain(c, extent);
    }
    switch (extent->line->kind) {
    case VMDK_SPARSE:
        return vmdk_check_sparse(c, extent);
    case VMDK_VMFSSPARSE:
        return vmdk_check_cowd(c, extent);
    case VMDK_FLAT:
    case VMDK_VMFS:
    case VMDK_VMFSRDM:
    case VMDK_VMFSRAW:
    case VMDK_ZERO:
    case VMDK_SESPARSE:
    case VMDK_VSANSPARSE:
        break;
    }
    return vmdk_check_plain(c, extent);
}

/* How many findings there are that say that something cannot be used. */
static int64_t count_bad(const BdrvCheckResult *result)
{
    return result->corruptions + result->corruptions_fixed + result->unrecoverable;
}

/* The same of those that are still so after a repair. */
static int64_t count_open(const BdrvCheckResult *result)
{
    return result->corruptions + result->unrecoverable;
}

/* The reason why it does not open may be one that no check looks for. */
static void report_problem(VmdkCheck *c, const VmdkExtent *extent)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .offset = extent->start,
        .bytes = extent->length,
    };

    vmdk_found(c, &finding, "%s", extent->problem);
}

/* That this build cannot decompress is no fault of the image.  (Of a header that says
 * something which is not supported, nobody knows if it is damaged.) */
static int is_unsupported(const VmdkExtent *extent)
{
    return extent->ops == &vmdk_damaged_extent && extent->compressed &&
           extent->problem_error == -ENOTSUP;
}

static int is_damaged(const VmdkExtent *extent)
{
    return extent->ops == &vmdk_damaged_extent && !is_unsupported(extent);
}

/* A file that is open for reading only is only looked at. */
static int check_part(VmdkCheck *c, VmdkExtent *extent)
{
    const int64_t before = count_bad(c->result), open_before = count_open(c->result);
    VmdkCheck own = *c;
    int ret = vmdk_extent_enter(extent);

    if (ret < 0) {
        return ret;
    }
    if (extent->file && !bdrv_is_writable(extent->file)) {
        own.mend_all = own.mend_leaks = 0;
    }
    ret = check_extent(&own, extent);
    ret = ret < 0 ? ret : bdrv_table_flush(c->image->table);
    c->mended |= own.mended;
    if (ret == 0 && is_damaged(extent) && count_bad(c->result) == before) {
        report_problem(c, extent);
    }
    if (ret == 0 && own.mended) {
        ret = reopen(extent);
    }
    /* What was mended is no success where it does not open afterwards. */
    if (ret == 0 && own.mended && is_damaged(extent) &&
        count_open(c->result) == open_before) {
        report_problem(c, extent);
    }
    if (ret == 0 && is_unsupported(extent)) {
        c->unsupported = extent;
    }
    vmdk_extent_leave(extent);
    return ret;
}

static int check_parts(VmdkCheck *c)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < c->image->extent_count; i++) {
        ret = check_part(c, &c->image->extents[i]);
    }
    return ret < 0 ? ret : vmdk_check_link(c);
}

/* Brings the files to the state in which a close would leave them: that is what
 * is checked, not the marks of a session that goes on afterwards as a new one. */
static int rest(Vmdk *image)
{
    int ret = bdrv_table_flush(image->table);

    if (ret == 0) {
        ret = vmdk_files_settle(image);
    }
    for (size_t i = 0; ret == 0 && i < image->files.open_extents; i++) {
        ret = reopen(image->files.open[i]);
    }
    return ret;
}

int vmdk_check(BlockDriverState *bs, BdrvCheck *check, BdrvCheckResult *result)
{
    const unsigned flags = bdrv_check_flags(check);
    VmdkCheck c = {
        .image = bdrv_state(bs),
        .check = check,
        .result = result,
        .mend_all = (flags & BDRV_CHECK_REPAIR_ALL) != 0,
        .mend_leaks = flags != 0,
    };
    int ret = atomic_load(&c.image->session_begun) ? rest(c.image) : renew_table(c.image);

    if (ret == 0) {
        ret = check_parts(&c);
    }
    if (c.mended) { /* also if more could not be */
        const int placed = set_places(c.image);

        ret = ret < 0 ? ret : placed;
    }
    if (ret == 0 && c.unsupported) {
        ret = bdrv_error(NULL, -ENOTSUP, "%s: not all of it could be checked: %s",
                         vmdk_check_name(c.unsupported), c.unsupported->problem);
    }
    return ret;
}
