/* SPDX-License-Identifier: MIT */
/*
 * stream-check.c - is a file a streamOptimized VMDK as importers want it?  The
 * rules are those of formats/vmdk.md 4.1 to 4.8, on the file's plain bytes: the
 * vmdk driver, which makes such files, has no part in it.
 *
 *     header │ descriptor │ blocks: grains, tables, footer │ end of stream
 *     └─ check_header ─┘  └────────── check_blocks ──────────────────────┘
 *
 * One walk over the blocks, whatever the disk's size in bounded memory: each
 * grain is compared with the entry that leads to it as it is met, and in the end
 * the entries are counted.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

enum {
    SECTOR = 512,
    VERSION = 3,
    FLAG_NEWLINES = 1,
    FLAG_REDUNDANT = 2, /* QEMU's streams have a second directory, which harms nobody */
    FLAGS_STREAM = 0x30000,
    GRAIN_SECTORS = 128,
    GTES = 512,
    GT_SECTORS = 4,
    DEFLATE = 1,
    MARKER_BYTES = 12,
    PACKED_MORE_MAX = 500, /* bytes over the grain's: open-vmdk reads no more */
    DESCRIPTOR_SECTORS_MAX = 2048,
    TABLES_MAX = 1 << 26,
    BUFFER_SECTORS = 512
};

static const uint64_t gd_at_end = UINT64_MAX;

#define CAPACITY_MAX ((uint64_t)TABLES_MAX * GTES * GRAIN_SECTORS)

/* Types of the blocks that are no grains. */
enum {
    BLOCK_END,
    BLOCK_GT,
    BLOCK_GD,
    BLOCK_FOOTER,
    BLOCK_PROGRESS /* VMware's exports have some: no sectors, and a number in the pad */
};

typedef struct Check {
    BlockDriverState *file;
    Rules *rules;
    int failed; /* reading has: the message is printed */
    int64_t sectors;
    uint8_t head[SECTOR];
    uint64_t capacity, grain, gd, descriptor, descriptor_sectors, overhead;
    int has_footer; /* the real gd comes from there */
    int64_t tables, gd_sectors;
    int64_t grains; /* that were met */
    int64_t last;   /* the index of the last; -1: none */
    int saw_gd, saw_footer;
    uint8_t buffer[BUFFER_SECTORS * SECTOR];
    int64_t buffered, buffer_sectors; /* what of the file is in it */
    uint8_t table[GT_SECTORS * SECTOR], entry[SECTOR];
    int64_t table_index, entry_sector; /* what is in these; -1: nothing */
    uint8_t *packed, *content;
} Check;

static uint32_t load32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t load64(const uint8_t *p)
{
    return load32(p) | (uint64_t)load32(p + 4) << 32;
}

static int is_zero(const uint8_t *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* 1: done.  0: could not be read, which is said once. */
static int read_sectors(Check *c, void *to, int64_t sector, int64_t count)
{
    if (bdrv_pread(c->file, to, (size_t)(count * SECTOR), sector * SECTOR) < 0) {
        if (!c->failed) {
            tool_library_error();
        }
        c->failed = 1;
        return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------- header */

static int check_magic(Check *c)
{
    if (memcmp(c->head, "KDMV", 4) != 0) {
        rules_broken(c->rules, "complete", "its author has not finished the file: it begins with "
                     "kdmv");
        return 0;
    }
    return 1;
}

static void check_words(Check *c)
{
    const uint8_t *h = c->head;
    const uint32_t flags = load32(h + 8);

    if (load32(h + 4) != VERSION) {
        rules_broken(c->rules, "version", "the header's version is %" PRIu32 ", %d is wanted",
                     load32(h + 4), VERSION);
    }
    if ((flags & ~(uint32_t)FLAG_REDUNDANT) != (FLAGS_STREAM | FLAG_NEWLINES)) {
        rules_broken(c->rules, "flags", "the header's flags are 0x%" PRIx32 ", 0x30001 are wanted "
                     "(compressed grains with markers)", flags);
    }
    if ((h[77] | h[78] << 8) != DEFLATE) {
        rules_broken(c->rules, "compression", "the header's compressAlgorithm is %d, %d is wanted",
                     h[77] | h[78] << 8, DEFLATE);
    }
    if (memcmp(h + 73, "\n \r\n", 4) != 0) {
        rules_broken(c->rules, "newlines", "the header's test bytes are changed: the file was "
                     "transferred as text");
    }
    if (h[72] != 0) {
        rules_broken(c->rules, "clean", "the header says that the disk is in use");
    }
}

static void check_sizes(Check *c)
{
    const uint32_t entries = load32(c->head + 44);

    if (entries != GTES) {
        rules_broken(c->rules, "table-size", "grain tables have %" PRIu32 " entries, %d are "
                     "wanted", entries, GTES);
    }
    if (c->grain != GRAIN_SECTORS) {
        rules_broken(c->rules, "grain-size", "grains have %" PRIu64 " sectors, %d are wanted",
                     c->grain, GRAIN_SECTORS);
    }
    if (c->capacity == 0 || c->grain == 0 || c->capacity % c->grain != 0) {
        rules_broken(c->rules, "capacity", "the header's capacity is %" PRIu64 " sectors: a whole "
                     "number of grains is wanted", c->capacity);
    }
    if (c->capacity > CAPACITY_MAX) {
        rules_broken(c->rules, "capacity", "the header's capacity is %" PRIu64 " sectors, more than "
                     "%" PRIu64 " (2 PiB), which is more than anybody takes", c->capacity,
                     CAPACITY_MAX);
    }
    if (c->descriptor == 0 || c->descriptor_sectors == 0 || c->descriptor >= c->overhead ||
        c->descriptor_sectors > c->overhead - c->descriptor ||
        c->overhead > (uint64_t)c->sectors) {
        rules_broken(c->rules, "overhead", "descriptor, tables and first grain (sector %" PRIu64
                     " of %" PRId64 ") are not one behind the other in the file", c->overhead,
                     c->sectors);
    }
    if (c->descriptor_sectors > DESCRIPTOR_SECTORS_MAX) {
        rules_broken(c->rules, "descriptor", "it has %" PRIu64 " sectors; at most %d are read",
                     c->descriptor_sectors, DESCRIPTOR_SECTORS_MAX);
    }
}

static void decode_header(Check *c)
{
    c->capacity = load64(c->head + 12);
    c->grain = load64(c->head + 20);
    c->descriptor = load64(c->head + 28);
    c->descriptor_sectors = load64(c->head + 36);
    c->gd = load64(c->head + 56);
    c->overhead = load64(c->head + 64);
}

/* 1: the rest makes enough sense to be looked at. */
static int check_header(Check *c)
{
    if (!read_sectors(c, c->head, 0, 1) || !check_magic(c)) {
        return 0;
    }
    decode_header(c);
    check_words(c);
    check_sizes(c);
    if (c->grain == 0 || c->grain > 4096 || c->capacity == 0 || c->capacity >> 54 != 0 ||
        load32(c->head + 44) != GTES || c->overhead == 0 || c->overhead > (uint64_t)c->sectors) {
        return 0;
    }
    c->tables = (int64_t)((c->capacity + c->grain * GTES - 1) / (c->grain * GTES));
    c->gd_sectors = (c->tables * 4 + SECTOR - 1) / SECTOR;
    return c->tables <= TABLES_MAX;
}

/* --------------------------------------------------------------- descriptor */

static void judge_descriptor(Check *c, const StreamText *d)
{
    if (!d->version || !d->type) {
        rules_broken(c->rules, "descriptor", "it has no line %s", d->version
                     ? "createType=\"streamOptimized\"" : "version=1");
    }
    if (!d->no_parent) {
        rules_broken(c->rules, "parent", "the descriptor has no parentCID=ffffffff: the disk is "
                     "the child of another");
    }
    if (!d->cid || d->cid_of_none) {
        rules_broken(c->rules, "cid", d->cid ? "the descriptor's CID is one of those that stand for "
                     "none" : "the descriptor has no CID, of eight digits");
    }
    if (d->extents != 1) {
        rules_broken(c->rules, "extent", "the descriptor does not have one extent, of type SPARSE");
    } else if (d->sectors != c->capacity) {
        rules_broken(c->rules, "extent", "the descriptor's extent has %" PRIu64 " sectors, the "
                     "header's capacity is %" PRIu64, d->sectors, c->capacity);
    }
    if (!d->adapter || d->unknown_adapter) {
        rules_broken(c->rules, "adapter", "ddb.adapterType is %s: ide, lsilogic, buslogic, legacyESX",
                     d->adapter ? "none that VMware knows" : "missing; wanted is one of");
    }
}

static void check_descriptor(Check *c)
{
    StreamText found = {0};
    char *text;

    if (c->descriptor == 0 || c->descriptor_sectors == 0 ||
        c->descriptor_sectors > DESCRIPTOR_SECTORS_MAX ||
        c->descriptor_sectors > (uint64_t)c->sectors ||
        c->descriptor > (uint64_t)c->sectors - c->descriptor_sectors) {
        return; /* told by check_sizes() */
    }
    text = calloc((size_t)c->descriptor_sectors + 1, SECTOR);
    if (text != NULL && read_sectors(c, text, (int64_t)c->descriptor,
                                     (int64_t)c->descriptor_sectors)) {
        stream_text_read(text, &found);
        judge_descriptor(c, &found);
    }
    free(text);
}

/* ------------------------------------------------------------------- footer */

/* The three sectors that end a stream whose header says GD_AT_END. */
static void check_footer(Check *c)
{
    uint8_t tail[3 * SECTOR], wanted[SECTOR];
    const uint8_t *footer = tail + SECTOR;

    if (c->gd != gd_at_end) {
        return;
    }
    if (c->sectors < 4 || !read_sectors(c, tail, c->sectors - 3, 3) ||
        load32(tail + 8) != 0 || load32(tail + 12) != BLOCK_FOOTER || load64(tail) != 1) {
        rules_broken(c->rules, "footer", "the header says that there is one, but before the last "
                     "two sectors of the file there is no footer marker");
        return;
    }
    memcpy(wanted, c->head, sizeof(wanted));
    memcpy(wanted + 56, footer + 56, 8);
    if (memcmp(wanted, footer, SECTOR) != 0) {
        rules_broken(c->rules, "footer", "it differs from the header in more than gdOffset");
    }
    c->gd = load64(footer + 56);
    c->has_footer = 1;
}

/* Of the directory itself: 1: it can be looked at. */
static int check_directory(Check *c)
{
    if (c->gd == gd_at_end) {
        return 0; /* there is no footer, which was told */
    }
    if (c->gd == 0 || c->gd >= (uint64_t)c->sectors ||
        c->gd_sectors > c->sectors - (int64_t)c->gd) {
        rules_broken(c->rules, "tables", "the grain directory, at sector %" PRIu64 ", is not in "
                     "the file", c->gd);
        c->gd = gd_at_end;
        return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------- tables */

/* Where the table is; 0: nowhere. */
static uint32_t find_table(Check *c, int64_t index)
{
    const int64_t sector = (int64_t)c->gd + index * 4 / SECTOR;
    uint32_t found;

    if (c->entry_sector != sector) {
        c->entry_sector = read_sectors(c, c->entry, sector, 1) ? sector : -1;
    }
    if (c->entry_sector < 0) {
        return 0;
    }
    found = load32(c->entry + index * 4 % SECTOR);
    if (found != 0 && found > c->sectors - GT_SECTORS) {
        rules_broken(c->rules, "tables", "entry %" PRId64 " of the grain directory is sector %"
                     PRIu32 ", beyond the end of the file", index, found);
        return 0;
    }
    return found;
}

/* 1: it is in c->table. */
static int load_table(Check *c, int64_t index)
{
    uint32_t sector;

    if (c->gd == gd_at_end || c->failed) {
        return 0;
    }
    if (c->table_index == index) {
        return 1;
    }
    sector = find_table(c, index);
    if (sector == 0 || !read_sectors(c, c->table, sector, GT_SECTORS)) {
        return 0;
    }
    c->table_index = index;
    return 1;
}

static void check_entry(Check *c, int64_t grain, int64_t at)
{
    uint32_t entry;

    if (c->gd == gd_at_end) {
        return;
    }
    entry = load_table(c, grain / GTES) ? load32(c->table + grain % GTES * 4) : 0;
    if (entry != at) {
        rules_broken(c->rules, "tables", "the tables say that the grain of disk sector %" PRId64
                     " is at sector %" PRIu32 " of the file; it is at %" PRId64,
                     grain * (int64_t)c->grain, entry, at);
    }
}

/* Of the table, which is loaded. */
static int count_in_table(const Check *c)
{
    int count = 0;

    for (int j = 0; j < GTES; j++) {
        count += load32(c->table + j * 4) != 0;
    }
    return count;
}

/* That there are no more entries than grains.  Each table has a place of its own, or a
 * directory whose entries all lead to a few would keep us busy for its length. */
static void count_entries(Check *c)
{
    int64_t count = 0, tables = 0;

    for (int64_t i = 0; i < c->tables && c->gd != gd_at_end && !c->failed; i++) {
        tables += find_table(c, i) != 0;
        if (tables > c->sectors / GT_SECTORS) {
            rules_broken(c->rules, "tables", "the directory leads to more of them than the file "
                         "has room for");
            return;
        }
        count += load_table(c, i) ? count_in_table(c) : 0;
    }
    if (c->gd != gd_at_end && count != c->grains) {
        rules_broken(c->rules, "tables", "they have %" PRId64 " entries; the file has %" PRId64
                     " grains", count, c->grains);
    }
}

/* ------------------------------------------------------------------- grains */

static void check_content(Check *c, uint64_t lba, uint32_t packed)
{
    const size_t bytes = (size_t)(c->grain * SECTOR);
    size_t got;
    /* NOLINTNEXTLINE(readability-suspicious-call-argument): a grain and a name like another's */
    const char *error = inflate_zlib(c->packed + MARKER_BYTES, packed, c->content, bytes, &got);

    if (error != NULL || got != bytes) {
        rules_broken(c->rules, "data", "the grain of disk sector %" PRIu64 ": %s", lba,
                     error != NULL ? error : "it does not hold a whole grain");
    }
}

static void check_place(Check *c, uint64_t lba, uint32_t packed, int64_t at)
{
    const int64_t grain = (int64_t)(lba / c->grain);

    if (lba % c->grain != 0 || lba >= c->capacity) {
        rules_broken(c->rules, "place", "the grain at sector %" PRId64 " of the file says that it "
                     "belongs to disk sector %" PRIu64 ", where no grain begins", at, lba);
        return;
    }
    if (grain <= c->last) {
        rules_broken(c->rules, "order", "the grain of disk sector %" PRIu64 " comes after that of "
                     "sector %" PRId64 "; ascending order is wanted", lba,
                     c->last * (int64_t)c->grain);
    }
    if (packed > c->grain * SECTOR + PACKED_MORE_MAX) {
        rules_broken(c->rules, "grain-length", "the grain of disk sector %" PRIu64 " has %" PRIu32
                     " compressed bytes; at most %" PRIu64 " are read everywhere", lba, packed,
                     c->grain * SECTOR + PACKED_MORE_MAX);
    }
    check_entry(c, grain, at);
    c->last = grain;
    c->grains++;
}

/* The sectors of the block; 0: the walk cannot go on. */
static int64_t take_grain(Check *c, const uint8_t *marker, int64_t at)
{
    const uint32_t packed = load32(marker + 8);
    const int64_t bytes = MARKER_BYTES + (int64_t)packed;
    const int64_t sectors = (bytes + SECTOR - 1) / SECTOR;

    if (sectors > c->sectors - at || packed > 2 * c->grain * SECTOR) {
        rules_broken(c->rules, "markers", "the block at sector %" PRId64 " says that it has %"
                     PRIu32 " compressed bytes, which is not possible", at, packed);
        return 0;
    }
    check_place(c, load64(marker), packed, at);
    if (!read_sectors(c, c->packed, at, sectors)) {
        return 0;
    }
    if (!is_zero(c->packed + bytes, (size_t)(sectors * SECTOR - bytes))) {
        rules_broken(c->rules, "padding", "what follows the grain of disk sector %" PRIu64 " in its "
                     "last sector is not zeros", load64(marker));
    }
    check_content(c, load64(marker), packed);
    return sectors;
}

/* ------------------------------------------------------------------- blocks */

static void check_gt_marker(Check *c, int64_t at)
{
    if (c->last < 0) {
        rules_broken(c->rules, "markers", "the grain table at sector %" PRId64 " comes before any "
                     "grain", at + 1);
    } else if (c->gd != gd_at_end && find_table(c, c->last / GTES) != at + 1) {
        rules_broken(c->rules, "tables", "the directory does not lead to the grain table at sector "
                     "%" PRId64 ", behind its grains", at + 1);
    }
}

/* The same of a block that is no grain. */
static int64_t take_marked(Check *c, const uint8_t *marker, int64_t at)
{
    const uint64_t value = load64(marker);
    const uint32_t type = load32(marker + 12);
    const int64_t wanted = type == BLOCK_GT         ? GT_SECTORS
                           : type == BLOCK_GD       ? c->gd_sectors
                           : type == BLOCK_PROGRESS ? 0
                                                    : 1;

    if (type > BLOCK_PROGRESS || value != (uint64_t)wanted || wanted >= c->sectors - at ||
        (type != BLOCK_PROGRESS && !is_zero(marker + 16, SECTOR - 16))) {
        rules_broken(c->rules, "markers", "at sector %" PRId64 " there is a marker of type %" PRIu32
                     " for %" PRIu64 " sectors, which is none of a stream", at, type, value);
        return 0;
    }
    if (type == BLOCK_GT) {
        check_gt_marker(c, at);
    } else if (type == BLOCK_GD) {
        c->saw_gd = 1;
        if (c->gd != gd_at_end && c->gd != (uint64_t)at + 1) {
            rules_broken(c->rules, "footer", "gdOffset is %" PRIu64 "; the directory is at %"
                         PRId64, c->gd, at + 1);
        }
    } else if (type == BLOCK_FOOTER) {
        c->saw_footer = at == c->sectors - 3;
        if (!c->saw_footer) {
            rules_broken(c->rules, "footer", "it is at sector %" PRId64 ", not before the last",
                         at + 1);
        }
    }
    return 1 + wanted;
}

static void check_end(Check *c, const uint8_t *marker, int64_t at)
{
    const int64_t behind = c->sectors - at - 1;

    if (!is_zero(marker, SECTOR)) {
        rules_broken(c->rules, "eos", "the end-of-stream marker, at sector %" PRId64 ", is not all "
                     "zeros", at);
    }
    if (behind > 0) {
        rules_broken(c->rules, "trailing", "%" PRId64 " sectors follow the end-of-stream marker, "
                     "at sector %" PRId64, behind, at);
    }
    if (c->has_footer && !(c->saw_gd && c->saw_footer)) {
        rules_broken(c->rules, "markers", "before the end of the stream there is no marker of the "
                     "%s", c->saw_gd ? "footer" : "grain directory");
    }
}

/* The sector, through the buffer; NULL: it cannot be read. */
static const uint8_t *look(Check *c, int64_t sector)
{
    int64_t left = c->sectors - sector;

    if (sector < c->buffered || sector >= c->buffered + c->buffer_sectors) {
        c->buffered = sector;
        c->buffer_sectors = left < BUFFER_SECTORS ? left : BUFFER_SECTORS;
        if (!read_sectors(c, c->buffer, sector, c->buffer_sectors)) {
            c->buffer_sectors = 0;
            return NULL;
        }
    }
    return c->buffer + (sector - c->buffered) * SECTOR;
}

static void check_blocks(Check *c)
{
    int64_t at = (int64_t)c->overhead, sectors = 1;

    for (; at < c->sectors && sectors > 0; at += sectors) {
        const uint8_t *marker = look(c, at);

        if (marker == NULL) {
            return;
        }
        if (load32(marker + 8) != 0) {
            sectors = take_grain(c, marker, at);
        } else if (load32(marker + 12) == BLOCK_END && load64(marker) == 0) {
            check_end(c, marker, at);
            count_entries(c);
            return;
        } else {
            sectors = take_marked(c, marker, at);
        }
    }
    if (sectors > 0) {
        rules_broken(c->rules, "eos", "the file ends without an end-of-stream marker");
        count_entries(c);
    }
}

/* --------------------------------------------------------------------- call */

static int prepare(Check *c)
{
    c->packed = malloc((size_t)(2 * c->grain * SECTOR + 2 * SECTOR));
    c->content = malloc((size_t)(c->grain * SECTOR));
    if (c->packed == NULL || c->content == NULL) {
        tool_error("out of memory");
        c->failed = 1;
    }
    return !c->failed;
}

static void check_all(Check *c)
{
    if (bdrv_getlength(c->file) % SECTOR != 0) {
        rules_broken(c->rules, "length", "the file's length is no whole number of sectors");
    }
    if (check_header(c)) {
        check_descriptor(c);
        check_footer(c);
        check_directory(c);
        if (prepare(c)) {
            check_blocks(c);
        }
    }
}

int stream_check(BlockDriverState *file, Rules *rules)
{
    Check *c = calloc(1, sizeof(*c));
    int failed;

    if (c == NULL) {
        tool_error("out of memory");
        return -1;
    }
    c->file = file;
    c->rules = rules;
    c->sectors = bdrv_getlength(file) / SECTOR;
    c->last = -1;
    c->table_index = -1;
    c->entry_sector = -1;
    check_all(c);
    failed = c->failed;
    free(c->packed);
    free(c->content);
    free(c);
    return failed ? -1 : 0;
}
