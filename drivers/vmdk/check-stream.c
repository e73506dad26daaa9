/* SPDX-License-Identifier: MIT */
/*
 * check-stream.c - streamOptimized extents.  Each grain says where on the disk it
 * belongs, so that the tables can be proved by going along the grains, and made
 * again from them:
 *
 *     the blocks of the file, one behind the other ──▶ grains, by disk sector
 *     directory and tables ──▶ entries ──▶ are they those grains?
 *
 * Whatever is wrong with footer, directory or tables is mended in one way: new
 * ones are written behind the last grain (repair-stream.c).
 */
#include "check-stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES = 4,
    GDES_PIECE = 16 * 1024, /* of the directory, at a time */
    /* Of tables that share bytes with others: so many entries are looked at.  Directory
     * entries that are all the same would make a table of some KiB one of any size. */
    SHARED_ENTRIES_MAX = 1024 * 1024,
    ENTRY_ZEROED = 1
};

/* ------------------------------------------------------------------ entries */

static int64_t grain_bytes(const VmdkStreamCheck *s)
{
    return (int64_t)s->header.grain_sectors * BDRV_SECTOR_SIZE;
}

/* Is the grain of that index at the sector?  For those that the walk did not
 * come by.  1, 0 or -errno. */
static int is_grain_at(const VmdkStreamCheck *s, int64_t index, uint32_t sector)
{
    const int64_t at = (int64_t)sector * BDRV_SECTOR_SIZE;
    const int has_marker = (s->header.flags & VMDK_FLAG_MARKERS) != 0;
    VmdkBlock block;
    int ret;

    if (at < VMDK_HEADER_BYTES || at + VMDK_MARKER_BYTES >= s->size) {
        return 0;
    }
    if (!has_marker) {
        return 1; /* nothing there says what it is */
    }
    ret = vmdk_stream_block_at(s, at, &block);
    return ret != 1 ? ret
                    : block.kind == VMDK_BLOCK_GRAIN &&
                          block.disk_offset == index * grain_bytes(s) &&
                          at + VMDK_MARKER_BYTES + (int64_t)block.packed <= s->size;
}

/* Of a grain, which has a marker; or -errno. */
static int64_t block_end(const VmdkStreamCheck *s, uint32_t sector)
{
    const int64_t at = (int64_t)sector * BDRV_SECTOR_SIZE;
    VmdkBlock block;
    int ret = vmdk_stream_block_at(s, at, &block);

    if (ret == 0) { /* it was one a moment ago */
        ret = bdrv_error(s->extent->file, -EIO, "the grain at offset %" PRId64 " is gone: the file "
                         "is being changed", at);
    }
    return ret < 0 ? ret : at + block.bytes;
}

/* Walked grains of that index, from *next on, where those before have been. */
static size_t count_walked(const VmdkStreamCheck *s, size_t next, int64_t index)
{
    size_t count = 0;

    while (next + count < s->walked.count && s->walked.list[next + count].index == index) {
        count++;
    }
    return count;
}

static int is_walked(const VmdkStreamCheck *s, size_t next, size_t count, uint32_t sector)
{
    for (size_t i = next; i < next + count; i++) {
        if (s->walked.list[i].sector == sector) {
            return 1;
        }
    }
    return 0;
}

/* What is wrong in one table. */
typedef struct Tally {
    int64_t table;
    int reads_zeros; /* where an entry is 0; else nobody reads the table */
    int64_t missing, wrong, lost, damaged;
    int64_t first; /* grain of the first of them; -1: none */
    uint32_t entry;
} Tally;

static void note(Tally *tally, int64_t *kind, int64_t index, uint32_t entry)
{
    if (tally->first < 0) {
        tally->first = index;
        tally->entry = entry;
    }
    ++*kind;
}

/* Where the entry is not right but count grains of its index were met, from s->next on, the
 * last one written is meant.  But what reads as zeros stays so, if the grain is damaged:
 * nobody knows which of the two was. */
static int choose_walked(VmdkStreamCheck *s, Tally *tally, size_t count, uint32_t *entry)
{
    const VmdkStreamGrain *last = &s->walked.list[s->next + count - 1];
    const int is_sound = *entry == 0 && tally->reads_zeros ? vmdk_stream_grain_is_sound(s, last)
                                                           : 1;

    if (is_sound < 0) {
        return is_sound;
    }
    note(tally, !is_sound ? &tally->damaged : *entry == 0 ? &tally->missing : &tally->wrong,
         last->index, *entry);
    *entry = is_sound ? last->sector : 0;
    s->keeps_end |= !is_sound;
    return 0;
}

/* One entry against the walked grains of its index; what is right goes to the
 * result. */
static int judge_entry(VmdkStreamCheck *s, Tally *tally, int64_t index, uint32_t entry)
{
    const size_t count = count_walked(s, s->next, index);
    const int is_special = entry == 0 || entry == ENTRY_ZEROED;
    const int was_met = !is_special && is_walked(s, s->next, count, entry);
    uint32_t right = entry;
    int ret = is_special || was_met ? 0 : is_grain_at(s, index, entry);

    if (ret < 0) {
        return ret;
    }
    if (entry == ENTRY_ZEROED) {
        right = ENTRY_ZEROED;
    } else if (was_met) {
        s->stale += (int64_t)count - 1;
        /* Without the tables, the last one would be meant. */
        s->keeps_end |= s->walked.list[s->next + count - 1].sector != entry;
    } else if (ret == 1) {
        s->beside = 1;
        s->stale += (int64_t)count;
        ret = 0;
    } else if (count > 0) {
        ret = choose_walked(s, tally, count, &right);
    } else if (entry != 0) {
        right = 0;
        note(tally, &tally->lost, index, entry);
    }
    s->next += count;
    return ret < 0 || right == 0 ? ret : vmdk_stream_grains_add(&s->right, index, right);
}

/* Whether anything is, and what a repair does about it. */
static BdrvFinding judge_tally(const VmdkStreamCheck *s, const Tally *tally)
{
    const int64_t covers = grain_bytes(s) * s->header.gtes_per_gt;
    const int mends = tally->missing + tally->wrong + tally->lost > 0;

    return (BdrvFinding){
        .kind = tally->lost + tally->damaged > 0 ? BDRV_FINDING_UNRECOVERABLE
                                                 : BDRV_FINDING_CORRUPTION,
        .offset = s->extent->start + tally->table * covers,
        .bytes = bdrv_min(covers, s->length - tally->table * covers),
        .repair = !s->can_rebuild || !mends ? NULL
                  : tally->lost > 0
                      ? "new tables are written, without those entries that have no grain"
                      : "new tables are written, from the grains' markers",
        .repaired = s->c->mend_all && mends,
    };
}

static void report_tally(VmdkStreamCheck *s, const Tally *tally)
{
    const BdrvFinding finding = judge_tally(s, tally);

    if (tally->first < 0) {
        return;
    }
    s->broken |= tally->missing + tally->wrong + tally->lost > 0;
    vmdk_found(s->c, &finding, "%s: The GTE [%" PRId64 "] in GT [%" PRId64 "] is invalid (%"
               PRIu32 "); of the table's entries %" PRId64 " are missing, %" PRId64 " wrong, %"
               PRId64 " point at no grain, and %" PRId64 " are zeros beside a damaged grain",
               vmdk_check_name(s->extent), tally->first % s->header.gtes_per_gt, tally->table,
               tally->entry, tally->missing, tally->wrong, tally->lost, tally->damaged);
}

/* ------------------------------------------------------------------- tables */

static void report_gde(VmdkStreamCheck *s, int64_t table, uint32_t entry, const char *why)
{
    const int64_t covers = grain_bytes(s) * s->header.gtes_per_gt;
    const BdrvFinding finding = {
        .kind = s->can_rebuild ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_UNRECOVERABLE,
        .offset = s->extent->start + table * covers,
        .bytes = bdrv_min(covers, s->length - table * covers),
        .repair = s->can_rebuild ? "new tables are written, from the grains' markers" : NULL,
        .repaired = s->c->mend_all,
    };

    s->broken = 1;
    vmdk_found(s->c, &finding, "%s: The GDE [%" PRId64 "] is invalid (%" PRIu32 "): %s",
               vmdk_check_name(s->extent), table, entry, why);
}

static int read_gde(VmdkStreamCheck *s, int64_t table, uint32_t *sector)
{
    const int64_t first = bdrv_round_down(table, GDES_PIECE);
    const int64_t count = bdrv_min(GDES_PIECE, vmdk_header_tables(&s->header) - first);
    int ret = 0;

    if (s->gdes_first != first) {
        ret = bdrv_pread(s->extent->file, s->gdes, (size_t)(count * ENTRY_BYTES),
                         (int64_t)s->header.gd_sector * BDRV_SECTOR_SIZE + first * ENTRY_BYTES);
        s->gdes_first = ret < 0 ? -1 : first;
    }
    *sector = ret < 0 ? 0 : bdrv_load_le32(s->gdes + (table - first) * ENTRY_BYTES);
    return ret;
}

/* Did the walk come by a grain of the table? */
static int has_walked(const VmdkStreamCheck *s, int64_t table)
{
    return s->next < s->walked.count &&
           s->walked.list[s->next].index / s->header.gtes_per_gt <= table;
}

/* Grains that say where they belong tell which of two tables in one place is right, as long
 * as there are few of these. */
static int may_be_table(VmdkStreamCheck *s, int64_t start, int64_t end)
{
    if (!vmdk_bits_any(&s->tables, start, end)) {
        vmdk_bits_set(&s->tables, start, end);
        return 1;
    }
    s->shared_entries += s->header.gtes_per_gt;
    return s->header.flags & VMDK_FLAG_MARKERS && s->shared_entries <= SHARED_ENTRIES_MAX;
}

/* The table, or zeros where there is none or none can be.  1: the latter. */
static int read_table(VmdkStreamCheck *s, int64_t table, uint32_t sector, uint8_t *bytes,
                      size_t size)
{
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE, end = start + (int64_t)size;
    int ret;

    memset(bytes, 0, size);
    if (sector == 0) {
        return 0;
    }
    if (end > s->size) {
        report_gde(s, table, sector, "no table can be there");
        return 1;
    }
    ret = bdrv_pread(s->extent->file, bytes, size, start);
    if (ret == 0 && !bdrv_is_zero(bytes, size) && !may_be_table(s, start, end)) {
        memset(bytes, 0, size);
        report_gde(s, table, sector, "another table is there");
        return 1;
    }
    return ret;
}

/* Has a table there no entries that are worth a look?  Directory entries that all lead to one
 * without any would make a look of some KiB one of any length. */
static int is_blank(const VmdkStreamCheck *s, uint32_t sector, size_t size)
{
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE, end = start + (int64_t)size;

    return sector == 0 || vmdk_bits_find(&s->blank, start, end, 0) == end;
}

static void note_blank(VmdkStreamCheck *s, uint32_t sector, const uint8_t *bytes, size_t size)
{
    const int64_t start = (int64_t)sector * BDRV_SECTOR_SIZE;

    if (sector != 0 && bdrv_is_zero(bytes, size)) {
        vmdk_bits_set(&s->blank, start, start + (int64_t)size);
    }
}

static int check_table(VmdkStreamCheck *s, int64_t table, uint8_t *bytes, size_t size)
{
    const int64_t grains = bdrv_div_up(s->length, grain_bytes(s));
    Tally tally = {.table = table, .first = -1};
    uint32_t sector;
    int ret = read_gde(s, table, &sector);

    if (ret < 0 || (!has_walked(s, table) && is_blank(s, sector, size))) {
        return ret;
    }
    ret = read_table(s, table, sector, bytes, size);
    tally.reads_zeros = ret == 0;
    if (ret == 0) {
        note_blank(s, sector, bytes, size);
    }
    if (!has_walked(s, table) && (ret == 1 || (ret == 0 && is_blank(s, sector, size)))) {
        return 0;
    }
    ret = ret == 1 ? 0 : ret;
    for (int64_t i = 0; ret == 0 && i < s->header.gtes_per_gt; i++) {
        const int64_t index = table * s->header.gtes_per_gt + i;

        if (index < grains) {
            ret = judge_entry(s, &tally, index, bdrv_load_le32(bytes + i * ENTRY_BYTES));
        }
    }
    if (tally.reads_zeros) {
        report_tally(s, &tally);
    }
    return ret;
}

static int check_tables(VmdkStreamCheck *s)
{
    const size_t size = (size_t)vmdk_header_gt_sectors(&s->header) * BDRV_SECTOR_SIZE;
    uint8_t *bytes = malloc(size);
    int ret;

    s->gdes = malloc((size_t)GDES_PIECE * ENTRY_BYTES);
    s->gdes_first = -1;
    ret = bytes && s->gdes ? vmdk_bits_new(&s->tables, s->size, BDRV_SECTOR_SIZE) : -ENOMEM;
    ret = ret == 0 ? vmdk_bits_new(&s->blank, s->size, BDRV_SECTOR_SIZE) : ret;
    for (int64_t t = 0; ret == 0 && t < vmdk_header_tables(&s->header); t++) {
        ret = check_table(s, t, bytes, size);
    }
    free(s->tables.bytes);
    free(s->blank.bytes);
    free(s->gdes);
    free(bytes);
    return ret;
}

/* There are no tables: each grain that was met counts, the last of its place. */
static int take_walked(VmdkStreamCheck *s)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < s->walked.count; i++) {
        const VmdkStreamGrain *grain = &s->walked.list[i];

        if (i + 1 == s->walked.count || grain[1].index != grain->index) {
            ret = vmdk_stream_grains_add(&s->right, grain->index, grain->sector);
        } else {
            s->stale++;
        }
    }
    return ret;
}

/* --------------------------------------------------------------- what is odd */

static void report_odd(VmdkStreamCheck *s)
{
    const BdrvFinding order = {.kind = BDRV_FINDING_MISMATCH};
    const BdrvFinding beside = {.kind = BDRV_FINDING_MISMATCH};
    const BdrvFinding stale = {.kind = BDRV_FINDING_LEAK};

    if (s->beside) {
        vmdk_found(s->c, &beside, "%s: the tables name grains that those who read the stream "
                   "from its beginning, as importers do, do not come by: converting the image "
                   "puts them in order", vmdk_check_name(s->extent));
    }
    if (s->out_of_order) {
        vmdk_found(s->c, &order, "%s: grains are not in the order of the disk, which importers "
                   "want: converting the image puts them in order",
                   vmdk_check_name(s->extent));
    }
    if (s->stale > 0) {
        vmdk_found(s->c, &stale, "%s: %" PRId64 " grains are out of date copies of others",
                   vmdk_check_name(s->extent), s->stale);
    }
}

/* Is the last sector before end zeros, as the end of a stream is? */
static int check_end(VmdkStreamCheck *s, int64_t end)
{
    static const uint8_t zeros[BDRV_SECTOR_SIZE];
    uint8_t last[BDRV_SECTOR_SIZE];
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = "a sector of zeros is written",
        .repaired = s->c->mend_all,
    };
    const int64_t at = s->footer_end > 0 ? end - BDRV_SECTOR_SIZE : end; /* where it should be */
    int ret = s->size < end ? 0 : bdrv_pread(s->extent->file, last, sizeof last,
                                             end - BDRV_SECTOR_SIZE);

    if (ret < 0 || (s->size >= end && memcmp(last, zeros, sizeof last) == 0)) {
        return ret;
    }
    vmdk_found(s->c, &finding, "%s: the end-of-stream marker is missing",
               vmdk_check_name(s->extent));
    return s->c->mend_all ? vmdk_mend_bytes(s->c, s->extent->file, zeros, sizeof zeros, at) : 0;
}

/* Where there is no footer, less than a sector is nothing, unless it may be of a grain that
 * only the tables lead to. */
static int64_t stream_end(const VmdkStreamCheck *s)
{
    return s->footer_end > 0 ? s->footer_end
           : s->beside       ? bdrv_round_up(s->size, BDRV_SECTOR_SIZE)
                             : bdrv_round_down(s->size, BDRV_SECTOR_SIZE);
}

static int check_trailing(VmdkStreamCheck *s)
{
    const int64_t end = stream_end(s);
    const BdrvFinding finding = {
        .kind = s->footer_far ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_LEAK,
        .repair = "cut off",
        .repaired = vmdk_mends(s->c, s->footer_far ? BDRV_FINDING_CORRUPTION
                                                   : BDRV_FINDING_LEAK),
    };
    int ret = 0;

    if (s->size <= end) {
        return check_end(s, end);
    }
    vmdk_found(s->c, &finding, "%s: %" PRId64 " bytes follow the end of the stream%s",
               vmdk_check_name(s->extent), s->size - end,
               s->footer_far ? ", too many for the footer to be found" : "");
    if (finding.repaired) {
        ret = bdrv_truncate(s->extent->file, end);
        s->c->mended = 1;
        s->size = end;
    }
    return ret < 0 ? ret : check_end(s, end);
}

/* ------------------------------------------------------------------- capacity */

/* A header of an absurd size, or whose directory cannot be in the file while all grains
 * are where the descriptor says that the disk is. */
static int header_is_wrong(const VmdkStreamCheck *s, int64_t line)
{
    if (s->claimed != 0) {
        return 1;
    }
    return !s->has_tables && line < (int64_t)s->header.capacity_sectors &&
           (s->walked.count == 0 ||
            s->walked.list[s->walked.count - 1].index * (int64_t)s->header.grain_sectors < line);
}

static void report_sizes(VmdkStreamCheck *s, int64_t capacity, BdrvFindingKind kind,
                         const char *repair)
{
    const BdrvFinding finding = {.kind = kind, .repair = repair, .repaired = s->c->mend_all};

    vmdk_found_lengths(s->c, s->extent, finding, capacity);
}

static int differs(const VmdkStreamCheck *s, int64_t capacity)
{
    const int64_t line = s->extent->line->sectors;

    return line != 0 &&
           (line > capacity || capacity - line >= (int64_t)s->header.grain_sectors);
}

/* Before the tables are looked at: they are those of a disk of that size. */
static void check_capacity(VmdkStreamCheck *s)
{
    const int64_t line = s->extent->line->sectors;
    const int64_t capacity = (int64_t)(s->claimed ? s->claimed : s->header.capacity_sectors);

    if (differs(s, capacity) && header_is_wrong(s, line)) {
        report_sizes(s, capacity, BDRV_FINDING_CORRUPTION,
                     s->can_rebuild ? "the header is set to the descriptor's size" : NULL);
        s->broken = 1; /* it is written with new tables */
        s->header.capacity_sectors = (uint64_t)line;
        s->length = line * BDRV_SECTOR_SIZE;
    }
}

/* When all else is mended: the descriptor cannot be written into what does not open. */
static int check_line(VmdkStreamCheck *s)
{
    const int64_t capacity = (int64_t)s->header.capacity_sectors;
    const int kind = s->extent->line->sectors > capacity ? BDRV_FINDING_CORRUPTION
                                                         : BDRV_FINDING_MISMATCH;
    VmdkHeader header;
    int possible = s->c->image->extent_count == 1;

    if (!differs(s, capacity)) {
        return 0;
    }
    if (s->c->mend_all) {
        possible = possible && vmdk_header_read(s->extent->file, &header) == 0;
    }
    report_sizes(s, capacity, (BdrvFindingKind)kind,
                 possible ? "the descriptor is set to the header's size" : NULL);
    return possible && s->c->mend_all ? vmdk_mend_line(s->c, s->extent, capacity) : 0;
}

/* ------------------------------------------------------------------ the whole */

static void count_clusters(VmdkStreamCheck *s)
{
    BdrvCheckResult *result = s->c->result;
    int64_t previous = 0;

    result->total_clusters += bdrv_div_up(s->length, grain_bytes(s));
    for (size_t i = 0; i < s->right.count; i++) {
        if (s->right.list[i].sector != ENTRY_ZEROED) {
            result->allocated_clusters++;
            result->compressed_clusters++;
            result->fragmented_clusters += s->right.list[i].sector < previous;
            previous = s->right.list[i].sector;
        }
    }
    result->image_end_offset = bdrv_max(result->image_end_offset, s->size);
}

/* overHead may be nonsense, also a sector of the descriptor's. */
static int64_t front_end(const VmdkStreamCheck *s)
{
    const Vmdk *image = s->c->image;
    const int64_t first = vmdk_stream_first_block(s);

    return image->descriptor_file == s->extent->file && image->descriptor.text
               ? bdrv_max(first, image->descriptor_offset + image->descriptor_room)
               : bdrv_max(first, VMDK_HEADER_BYTES);
}

/* New tables go behind the last grain; or behind everything, if there are grains that
 * would be lost or others after an interruption, or may be grains and in no table. */
static int rebuild(VmdkStreamCheck *s)
{
    int64_t end = front_end(s);

    for (size_t i = 0; i < s->right.count; i++) {
        if (s->right.list[i].sector != ENTRY_ZEROED) {
            const int64_t behind = block_end(s, s->right.list[i].sector);

            if (behind < 0) {
                return (int)behind;
            }
            end = bdrv_max(end, behind);
        }
    }
    end = s->beside || s->keeps_end ? s->size : end;
    return vmdk_stream_rebuild(s->c, s->extent->file, &s->header, s->right.list, s->right.count,
                               bdrv_round_up(end, BDRV_SECTOR_SIZE));
}

int vmdk_check_stream(VmdkCheck *c, VmdkExtent *extent, const VmdkHeader *head)
{
    VmdkStreamCheck s = {.c = c, .extent = extent, .size = bdrv_getlength(extent->file)};
    int ret = vmdk_stream_check_front(&s, head);

    if (ret == 1) {
        check_capacity(&s);
        ret = s.has_tables ? check_tables(&s) : take_walked(&s);
        report_odd(&s);
        count_clusters(&s);
        ret = ret < 0 ? ret : vmdk_stream_check_grains(&s);
        if (ret == 0 && s.broken) {
            ret = s.can_rebuild && c->mend_all ? rebuild(&s) : 0;
        } else if (ret == 0) {
            ret = check_trailing(&s);
        }
        ret = ret < 0 ? ret : check_line(&s);
    }
    vmdk_stream_grains_done(&s);
    free(s.walked.list);
    free(s.right.list);
    return ret;
}
