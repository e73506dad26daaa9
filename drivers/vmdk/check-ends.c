/* SPDX-License-Identifier: MIT */
/*
 * check-ends.c - the two ends of a stream: which header counts, and is the footer right?
 */
#include "check-stream.h"

#include <string.h>

enum {
    /* How far before the end a footer is looked for, as header.c does. */
    FOOTER_SLACK_SECTORS = 128,
    FOOTER_SECTORS = 3, /* marker, footer, end of stream */
    /* Entries of a directory that a repair writes: with the usual grains and tables they
     * are 128 TiB, twice the largest disk that VMware makes.  A capacity is 8 bytes in
     * the header, and could make a file of a few KiB one of 256 MiB. */
    GDES_MAX = 4 * 1024 * 1024
};

/* ------------------------------------------------------------------- footer */

/* The footer whose marker is at the sector: 1, 0: there is none, or -errno. */
static int footer_at(BlockDriverState *file, int64_t sector, VmdkHeader *footer)
{
    uint8_t bytes[2 * BDRV_SECTOR_SIZE];
    int ret;

    if (sector > bdrv_getlength(file) / BDRV_SECTOR_SIZE - 2) {
        return 0;
    }
    ret = bdrv_pread(file, bytes, sizeof bytes, sector * BDRV_SECTOR_SIZE);
    if (ret < 0) {
        return ret;
    }
    if (bdrv_load_le32(bytes + 8) != 0 || bdrv_load_le32(bytes + 12) != VMDK_BLOCK_FOOTER ||
        vmdk_magic(bytes + BDRV_SECTOR_SIZE, BDRV_SECTOR_SIZE) != VMDK_MAGIC_SPARSE) {
        return 0;
    }
    vmdk_header_decode(footer, bytes + BDRV_SECTOR_SIZE);
    return 1;
}

/* As header.c finds it, with an end of stream behind it or not: its sector, 0, or -errno. */
static int64_t find_footer(BlockDriverState *file, VmdkHeader *footer)
{
    const int64_t last = bdrv_getlength(file) / BDRV_SECTOR_SIZE - (FOOTER_SECTORS - 1);

    for (int64_t s = last; s > 0 && s >= last - FOOTER_SLACK_SECTORS; s--) {
        const int ret = footer_at(file, s, footer);

        if (ret != 0) {
            return ret < 0 ? ret : s;
        }
    }
    return 0;
}

int vmdk_stream_has_footer(const VmdkExtent *extent, uint32_t flags)
{
    VmdkHeader footer;
    const int64_t at = find_footer(extent->file, &footer);

    return at < 0 ? (int)at : at != 0 && (footer.flags & flags) == flags;
}

static void broken(VmdkStreamCheck *s, const char *why)
{
    const BdrvFinding finding = {
        .kind = s->can_rebuild ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_UNRECOVERABLE,
        .offset = s->extent->start,
        .bytes = s->length,
        .repair = s->can_rebuild ? "new tables and a footer are written, from the grains' markers"
                                 : NULL,
        .repaired = s->c->mend_all,
    };

    s->broken = 1;
    vmdk_found(s->c, &finding, "%s: %s%s", vmdk_check_name(s->extent), why,
               vmdk_header_tables(&s->header) > GDES_MAX
                   ? "; the capacity is so large that no directory is written for it"
                   : "");
}

static int has_capacity(const VmdkHeader *header)
{
    return header->capacity_sectors != 0 && header->capacity_sectors < VMDK_CAPACITY_SECTORS_END;
}

static int is_copy(const VmdkHeader *footer, const VmdkHeader *head)
{
    return footer->version == head->version && footer->flags == head->flags &&
           footer->grain_sectors == head->grain_sectors &&
           footer->gtes_per_gt == head->gtes_per_gt &&
           (head->capacity_sectors == 0 ? has_capacity(footer)
                                        : footer->capacity_sectors == head->capacity_sectors) &&
           footer->gd_sector != VMDK_GD_AT_END;
}

/* ------------------------------------------------------------------- header */

static int is_sane(const VmdkHeader *h)
{
    return h->version >= 1 && h->version <= 3 && h->flags & VMDK_FLAG_COMPRESSED &&
           !(h->flags & VMDK_FLAGS_UNKNOWN) && bdrv_is_power_of_two(h->grain_sectors) &&
           h->grain_sectors <= VMDK_STREAM_GRAIN_MAX / BDRV_SECTOR_SIZE &&
           bdrv_is_power_of_two(h->gtes_per_gt) && h->gtes_per_gt >= VMDK_GTES_MIN &&
           h->gtes_per_gt <= VMDK_GTES_MAX && h->compression == 1 &&
           h->capacity_sectors < VMDK_CAPACITY_SECTORS_END;
}

static int directory_fits(const VmdkStreamCheck *s)
{
    const VmdkHeader *h = &s->header;
    int64_t start, end;

    return h->gd_sector != 0 && h->gd_sector != VMDK_GD_AT_END &&
           bdrv_scale(h->gd_sector, BDRV_SECTOR_SIZE, &start) &&
           bdrv_add(start, vmdk_header_tables(h) * 4, &end) && end <= s->size;
}

/* What the descriptor says counts where two headers disagree. */
static uint64_t choose_capacity(const VmdkStreamCheck *s, const VmdkHeader *footer)
{
    const uint64_t line = (uint64_t)s->extent->line->sectors;
    const uint64_t head = s->header.capacity_sectors;
    const uint64_t tail = footer && has_capacity(footer) ? footer->capacity_sectors : 0;

    if (head == 0 || (tail != 0 && tail == line)) {
        return tail != 0 ? tail : line;
    }
    return head;
}

/* The field, in the words of those who cannot open the extent for it. */
static const char *why_unusable(const VmdkStreamCheck *s)
{
    BlockDriverState *file = s->extent->file;
    VmdkHeader header;

    return vmdk_header_read_front(file, &header) < 0 || vmdk_header_read(file, &header) < 0 ||
                   vmdk_stream_check(file, &header) < 0
               ? bdrv_errmsg()
               : "it is not that of a stream";
}

static void report_unusable(VmdkStreamCheck *s, int found)
{
    const BdrvFinding finding = {
        .kind = found ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_UNRECOVERABLE,
        .offset = s->extent->start,
        .bytes = s->extent->line->sectors * BDRV_SECTOR_SIZE,
        .repair = found ? "rebuilt from the footer" : NULL,
        .repaired = s->c->mend_all,
    };

    vmdk_found(s->c, &finding, "%s: the header is unusable%s: %s", vmdk_check_name(s->extent),
               found ? "" : ", and there is no footer that could replace it", why_unusable(s));
}

/* Writes the header that the footer is a copy of. */
static int restore_header(VmdkStreamCheck *s)
{
    uint8_t bytes[VMDK_HEADER_BYTES];
    VmdkHeader header = s->header;

    header.gd_sector = VMDK_GD_AT_END;
    vmdk_header_encode(&header, bytes);
    return vmdk_mend_bytes(s->c, s->extent->file, bytes, sizeof bytes, 0);
}

/* -------------------------------------------------------------------- front */

/* Room for the descriptor that reaches into the grains would be missing when what
 * follows the stream is cut off. */
static int check_room(VmdkStreamCheck *s, VmdkHeader *front)
{
    const uint64_t first = (uint64_t)(vmdk_stream_first_block(s) / BDRV_SECTOR_SIZE);
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_CORRUPTION,
        .repair = "set to what is before the grains",
        .repaired = s->c->mend_all,
    };
    uint8_t bytes[VMDK_HEADER_BYTES];

    if (front->descriptor_sector == 0 || front->descriptor_sector >= first ||
        front->descriptor_sectors <= first - front->descriptor_sector) {
        return 0;
    }
    vmdk_found(s->c, &finding, "%s: descriptorSize is %" PRIu64 " sectors, but grains begin at "
               "sector %" PRIu64, vmdk_check_name(s->extent), front->descriptor_sectors, first);
    front->descriptor_sectors = first - front->descriptor_sector;
    vmdk_check_note_room(s->extent, front);
    vmdk_header_encode(front, bytes);
    return s->c->mend_all ? vmdk_mend_bytes(s->c, s->extent->file, bytes, sizeof bytes, 0) : 0;
}

/* Some writers leave it 0. */
static int is_wrong_overhead(const VmdkStreamCheck *s, uint64_t sectors)
{
    return sectors != 0 && sectors != (uint64_t)(vmdk_stream_first_block(s) / BDRV_SECTOR_SIZE) &&
           (sectors < vmdk_stream_text_end(s) || sectors > (uint64_t)s->size / BDRV_SECTOR_SIZE);
}

/* What only the header at the beginning tells: where descriptor and grains are. */
static int check_head(VmdkStreamCheck *s, const VmdkHeader *head)
{
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = "set to where grains begin",
        .repaired = s->c->mend_all,
    };
    VmdkHeader front = *head;
    uint8_t bytes[VMDK_HEADER_BYTES];
    int ret = vmdk_check_descriptor_place(s->c, s->extent, &front);

    ret = ret < 0 ? ret : check_room(s, &front);
    s->header.descriptor_sector = front.descriptor_sector;
    s->header.descriptor_sectors = front.descriptor_sectors;
    if (ret < 0 || !is_wrong_overhead(s, front.overhead_sectors)) {
        return ret;
    }
    vmdk_found(s->c, &finding, "%s: overHead is %" PRIu64 " sectors, %s",
               vmdk_check_name(s->extent), front.overhead_sectors,
               front.overhead_sectors < vmdk_stream_text_end(s) ? "where the descriptor is"
                                                    : "more than the file has");
    front.overhead_sectors = (uint64_t)(vmdk_stream_first_block(s) / BDRV_SECTOR_SIZE);
    s->header.overhead_sectors = front.overhead_sectors;
    vmdk_header_encode(&front, bytes);
    return s->c->mend_all ? vmdk_mend_bytes(s->c, s->extent->file, bytes, sizeof bytes, 0) : 0;
}

/* Readers follow a footer at the end also if the header itself leads to tables.  1, 0 or
 * -errno. */
static int follows_footer(const VmdkStreamCheck *s, const VmdkHeader *head,
                          const VmdkHeader *footer, int64_t at)
{
    if (!head || head->gd_sector == VMDK_GD_AT_END) {
        return 1;
    }
    return at != 0 && footer->gd_sector != VMDK_GD_AT_END
               ? vmdk_header_has_footer(s->extent->file)
               : 0;
}

/* Whether the tables, or what leads to them, are lost is known before the walk.  head
 * NULL: it is destroyed; the one that is made anew, s->header, wants the footer to be a
 * copy of it, too.  0 or -errno. */
static int judge_footer(VmdkStreamCheck *s, const VmdkHeader *head, const VmdkHeader *footer,
                         int64_t at)
{
    const int follows = follows_footer(s, head, footer, at);

    if (follows < 0) {
        return follows;
    }
    if (follows && at == 0) {
        broken(s, "the footer is missing: the file is not complete, what came behind the last "
               "grain is lost");
        return 0;
    }
    if (follows && !is_copy(footer, head ? head : &s->header)) {
        broken(s, "the footer is out of date: it is no copy of the header");
        return 0;
    }
    if (follows) {
        s->header.gd_sector = footer->gd_sector;
        s->footer_end = (at + FOOTER_SECTORS) * BDRV_SECTOR_SIZE;
    }
    if (!directory_fits(s)) {
        broken(s, "the directory is not inside the file");
    }
    return 0;
}

/* The tables are lost, and the walk has come to something else than an end. */
static void report_strange(VmdkStreamCheck *s)
{
    const int64_t grain = (int64_t)s->header.grain_sectors * BDRV_SECTOR_SIZE;
    const size_t count = s->walked.count;
    const int64_t known = count > 0 ? (s->walked.list[count - 1].index + 1) * grain : 0;
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_UNRECOVERABLE,
        .offset = s->extent->start + known,
        .bytes = bdrv_max(s->length - known, 0),
    };

    s->keeps_end = 1;
    vmdk_found(s->c, &finding, "%s: what is at offset %" PRId64 " is no block of a stream: grains "
               "behind it are not found", vmdk_check_name(s->extent), s->strange);
}

/* Did the walk end at the end-of-stream marker, or at a grain of which a part is missing?
 * Then it is known what the file ends with.  1, 0 or -errno. */
static int is_block_at(const VmdkStreamCheck *s, int64_t at)
{
    VmdkBlock block;

    return s->can_rebuild && at < s->size ? vmdk_stream_block_at(s, at, &block) : 0;
}

/* Of a stream without a footer.  Less than a sector behind its last one is no surplus to be
 * cut off as long as it may be a grain's: then it gets the pad, and an end. */
static int judge_end(VmdkStreamCheck *s, int64_t walked_end)
{
    static const uint8_t zeros[2 * BDRV_SECTOR_SIZE];
    const int64_t part = s->size % BDRV_SECTOR_SIZE;
    const size_t room = (size_t)(2 * BDRV_SECTOR_SIZE - part);
    const BdrvFinding finding = {
        .kind = BDRV_FINDING_MISMATCH,
        .repair = "zeros are written, as pad and as end-of-stream marker",
        .repaired = s->c->mend_all,
    };
    int ret;

    if (s->broken || s->footer_end > 0 || part == 0) {
        return 0;
    }
    ret = is_block_at(s, walked_end);
    if (ret != 0) {
        return ret < 0 ? ret : 0;
    }
    vmdk_found(s->c, &finding, "%s: the file ends inside a sector that may be of its last grain",
               vmdk_check_name(s->extent));
    if (s->c->mend_all) {
        ret = vmdk_mend_bytes(s->c, s->extent->file, zeros, room, s->size);
        s->size += ret < 0 ? 0 : (int64_t)room;
    } else {
        s->broken = 1; /* so that nobody looks for its end */
    }
    return ret;
}

/* The footer may be there, with too much behind it: the walk comes by it.  Its sector, 0 or
 * -errno. */
static int64_t search_by_walk(VmdkStreamCheck *s, VmdkHeader *footer)
{
    int64_t end = 0;
    int ret = s->can_rebuild ? vmdk_stream_walk(s, &end) : 0;

    if (ret == 0 && end > 0) {
        ret = footer_at(s->extent->file, end / BDRV_SECTOR_SIZE, footer);
    }
    s->walked.count = 0;
    s->out_of_order = 0;
    s->footer_far = ret == 1;
    return ret == 1 ? end / BDRV_SECTOR_SIZE : ret;
}

/* Is what the descriptor says no absurd size? */
static int is_modest(const VmdkStreamCheck *s)
{
    VmdkHeader header = s->header;

    header.capacity_sectors = (uint64_t)s->extent->line->sectors;
    return header.capacity_sectors != 0 && vmdk_header_tables(&header) <= GDES_MAX;
}

static int take_header(VmdkStreamCheck *s, const VmdkHeader *head, const VmdkHeader *footer,
                       int64_t at)
{
    const int usable = head && is_sane(head);

    if (!usable && (at == 0 || !is_sane(footer))) {
        report_unusable(s, 0);
        return 0;
    }
    s->header = usable ? *head : *footer;
    s->header.capacity_sectors = choose_capacity(s, at != 0 ? footer : NULL);
    if (vmdk_header_tables(&s->header) > GDES_MAX && is_modest(s)) {
        s->claimed = s->header.capacity_sectors;
        s->header.capacity_sectors = (uint64_t)s->extent->line->sectors;
    }
    s->length = (int64_t)s->header.capacity_sectors * BDRV_SECTOR_SIZE;
    s->can_rebuild = (s->header.flags & VMDK_FLAG_MARKERS) != 0 && s->length > 0 &&
                     vmdk_header_tables(&s->header) <= GDES_MAX;
    if (s->length == 0 || vmdk_header_tables(&s->header) > 1 << 26 ||
        (!usable && !s->can_rebuild && !is_copy(footer, &s->header))) {
        report_unusable(s, 0);
        return 0;
    }
    if (!usable) {
        report_unusable(s, 1);
    }
    return 1;
}

/* For a header that is made anew: where the descriptor was found and grains can begin,
 * whatever the footer says of that. */
static void take_places(VmdkStreamCheck *s)
{
    const Vmdk *image = s->c->image;

    if (image->descriptor_file == s->extent->file && image->descriptor.text) {
        s->header.descriptor_sector = (uint64_t)(image->descriptor_offset / BDRV_SECTOR_SIZE);
        s->header.descriptor_sectors = (uint64_t)(image->descriptor_room / BDRV_SECTOR_SIZE);
    }
    if (s->header.overhead_sectors > (uint64_t)s->size / BDRV_SECTOR_SIZE) {
        s->header.overhead_sectors = (uint64_t)(vmdk_stream_first_block(s) / BDRV_SECTOR_SIZE);
    }
}

int vmdk_stream_check_front(VmdkStreamCheck *s, const VmdkHeader *head)
{
    VmdkHeader footer = {0};
    int64_t at = find_footer(s->extent->file, &footer), end = 0;
    const int destroyed = !head || !is_sane(head);
    int ret = at < 0 ? (int)at : take_header(s, head, &footer, at);

    if (ret != 1) {
        return ret;
    }
    if (destroyed) {
        take_places(s);
        ret = 0;
    } else {
        ret = check_head(s, head);
    }
    if (ret < 0) {
        return ret;
    }
    if (at == 0 && head && head->gd_sector == VMDK_GD_AT_END) {
        at = search_by_walk(s, &footer);
    }
    ret = at < 0 ? (int)at : judge_footer(s, destroyed ? NULL : head, &footer, at);
    if (ret == 0 && destroyed && s->c->mend_all) {
        ret = restore_header(s);
    }
    if (ret == 0 && s->can_rebuild) {
        ret = vmdk_stream_walk(s, &end);
    }
    ret = ret < 0 ? ret : judge_end(s, end);
    s->has_tables = directory_fits(s) && !(s->broken && s->footer_end == 0 && !head) &&
                    s->header.gd_sector != VMDK_GD_AT_END;
    if (ret == 0 && s->broken && !s->has_tables && s->strange != 0) {
        report_strange(s);
    }
    return ret < 0 ? ret : 1;
}
