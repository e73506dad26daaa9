/* SPDX-License-Identifier: MIT */
/*
 * streams.c - see streams.h.  The checker is in streams-check.c.
 */
#include "streams.h"

#include "bdrv-bytes.h"
#include "pattern.h"
#include "suite.h"

enum {
    SECTOR = 512,
    GRAIN_SECTORS = STREAM_GRAIN / SECTOR,
    GTES = 512,
    GT_SECTORS = 4,
    STORED_MAX = 65535,
    MARKER_GT = 1,
    MARKER_GD = 2,
    MARKER_FOOTER = 3
};

const StreamStyle stream_styles[] = {
    { "vdiskmanager", 3, STREAM_TABLES_FRONT, STREAM_GD_IN_HEAD | STREAM_EMPTY_TABLES, 0 },
    { "vSphere", 3, STREAM_TABLES_GROUPS, STREAM_MARKERS | STREAM_FOOTER | STREAM_SMALL_TEXT, 0 },
    { "Python", 3, STREAM_TABLES_END,
      STREAM_MARKERS | STREAM_FOOTER | STREAM_GD_IN_HEAD | STREAM_SMALL_TEXT, 0 },
    { "vmdktool", 3, STREAM_TABLES_GROUPS,
      STREAM_MARKERS | STREAM_FOOTER | STREAM_GD_IN_HEAD | STREAM_EMPTY_TABLES, 0 },
    { "QEMU", 3, STREAM_TABLES_FRONT, STREAM_GD_IN_HEAD | STREAM_EMPTY_TABLES | STREAM_REDUNDANT,
      90 },
    { "QEMU without an end", 3, STREAM_TABLES_FRONT,
      STREAM_GD_IN_HEAD | STREAM_EMPTY_TABLES | STREAM_REDUNDANT | STREAM_NO_END, 0 },
    { "version 1", 1, STREAM_TABLES_FRONT, STREAM_GD_IN_HEAD, 0 },
    { "version 2", 2, STREAM_TABLES_END, STREAM_MARKERS | STREAM_FOOTER, 0 },
    { "tables without markers", 3, STREAM_TABLES_END, STREAM_FOOTER, 0 },
    { "capacity only in the footer", 3, STREAM_TABLES_GROUPS,
      STREAM_MARKERS | STREAM_FOOTER | STREAM_NO_CAPACITY, 0 },
    { "another GD in the head", 3, STREAM_TABLES_GROUPS,
      STREAM_MARKERS | STREAM_FOOTER | STREAM_GD_IN_HEAD | STREAM_WRONG_GD, 0 },
    { "blank sectors behind the end", 3, STREAM_TABLES_GROUPS, STREAM_MARKERS | STREAM_FOOTER,
      20 },
    { "no end", 3, STREAM_TABLES_GROUPS, STREAM_MARKERS | STREAM_FOOTER | STREAM_NO_END, 0 },
    { "markers of value 0", 3, STREAM_TABLES_GROUPS,
      STREAM_MARKERS | STREAM_FOOTER | STREAM_VALUE_0, 0 },
    { "short last grain", 3, STREAM_TABLES_FRONT, STREAM_GD_IN_HEAD | STREAM_SHORT_LAST, 0 },
    { "sizes without LBA", 3, STREAM_TABLES_FRONT, STREAM_GD_IN_HEAD | STREAM_NO_LBA, 0 },
    { NULL, 0, STREAM_TABLES_FRONT, 0, 0 },
};

const StreamStyle *stream_style(const char *name)
{
    const StreamStyle *style = stream_styles;

    while (style->name != NULL && strcmp(style->name, name) != 0) {
        style++;
    }
    ck_assert_msg(style->name != NULL, "no stream style is named %s", name);
    return style;
}

/* ------------------------------------------------------------------ pieces */

static uint32_t adler32(const uint8_t *bytes, size_t count)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < count; i++) {
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

size_t stream_store(uint8_t *out, const uint8_t *in, size_t bytes)
{
    uint8_t *to = out;

    *to++ = 0x78;
    *to++ = 0x01;
    for (size_t done = 0; done < bytes;) {
        size_t now = bytes - done < STORED_MAX ? bytes - done : STORED_MAX;

        *to++ = done + now == bytes;
        bdrv_store_le16(to, (uint16_t)now);
        bdrv_store_le16(to + 2, (uint16_t)~now);
        memcpy(to + 4, in + done, now);
        to += 4 + now;
        done += now;
    }
    bdrv_store_be32(to, adler32(in, bytes));
    return (size_t)(to + 4 - out);
}

/* One that is under construction. */
typedef struct Builder {
    Stream s;
    const StreamStyle *style;
    int64_t tables, gd_sectors;
    uint32_t gts[8][GTES];
    uint32_t gd[8];
} Builder;

static int has(const Builder *b, unsigned fact)
{
    return (b->style->facts & fact) != 0;
}

static void put_marker(Builder *b, uint64_t value, uint32_t type)
{
    uint8_t *at = b->s.bytes + b->s.size;

    if (has(b, STREAM_MARKERS) || type == MARKER_FOOTER) {
        bdrv_store_le64(at, has(b, STREAM_VALUE_0) ? 0 : value);
        bdrv_store_le32(at + 12, type);
        b->s.size += SECTOR;
    }
}

static void put_table(uint8_t *at, const uint32_t *entries, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        bdrv_store_le32(at + i * 4, entries[i]);
    }
}

static int is_empty(const Builder *b, int64_t table)
{
    for (int i = 0; i < GTES; i++) {
        if (b->gts[table][i] != 0) {
            return 0;
        }
    }
    return 1;
}

/* At the end, with its marker. */
static void append_table(Builder *b, int64_t table)
{
    if (b->style->tables == STREAM_TABLES_FRONT || b->gd[table] != 0 ||
        (is_empty(b, table) && !has(b, STREAM_EMPTY_TABLES))) {
        return;
    }
    put_marker(b, GT_SECTORS, MARKER_GT);
    b->gd[table] = (uint32_t)(b->s.size / SECTOR);
    put_table(b->s.bytes + b->s.size, b->gts[table], GTES);
    b->s.size += GT_SECTORS * SECTOR;
}

static void append_grain(Builder *b, int grain, unsigned generation, int64_t *at)
{
    const size_t marker = has(b, STREAM_NO_LBA) ? 4 : 12;
    uint8_t *to = b->s.bytes + b->s.size, *content = calloc(1, STREAM_GRAIN);
    int64_t start = (int64_t)grain * STREAM_GRAIN;
    int64_t covered = b->s.sectors * SECTOR - start;
    size_t bytes;

    ck_assert_ptr_nonnull(content);
    covered = covered < STREAM_GRAIN ? covered : STREAM_GRAIN;
    pattern_fill(content, (size_t)covered, start, generation);
    bytes = stream_store(to + marker, content,
                         has(b, STREAM_SHORT_LAST) ? (size_t)covered : STREAM_GRAIN);
    if (marker == 12) {
        bdrv_store_le64(to, (uint64_t)grain * GRAIN_SECTORS);
    }
    bdrv_store_le32(to + marker - 4, (uint32_t)bytes);
    b->gts[grain / GTES][grain % GTES] = (uint32_t)(b->s.size / SECTOR);
    *at = b->s.size;
    b->s.size = bdrv_round_up(b->s.size + (int64_t)(marker + bytes), SECTOR);
    ck_assert_int_lt(b->s.size, STREAM_ROOM - 2 * STREAM_GRAIN);
    free(content);
}

/* ------------------------------------------------------------------ header */

static void put_header(const Builder *b, uint8_t *to, uint64_t gd, uint64_t rgd, uint64_t overhead)
{
    static const uint8_t newlines[] = { '\n', ' ', '\r', '\n', 1, 0 };
    uint32_t flags = 0x10001 | (has(b, STREAM_NO_LBA) ? 0 : 0x20000u) |
                     (has(b, STREAM_REDUNDANT) ? 2u : 0);

    memset(to, 0, SECTOR);
    memcpy(to, "KDMV", 4);
    bdrv_store_le32(to + 4, b->style->version);
    bdrv_store_le32(to + 8, flags);
    bdrv_store_le64(to + 12, (uint64_t)b->s.sectors);
    bdrv_store_le64(to + 20, GRAIN_SECTORS);
    bdrv_store_le64(to + 28, 1);
    bdrv_store_le64(to + 36, has(b, STREAM_SMALL_TEXT) ? 2 : 20);
    bdrv_store_le32(to + 44, GTES);
    bdrv_store_le64(to + 48, rgd);
    bdrv_store_le64(to + 56, gd);
    bdrv_store_le64(to + 64, overhead);
    memcpy(to + 73, newlines, sizeof newlines);
}

static void put_text(const Builder *b)
{
    const int small = has(b, STREAM_SMALL_TEXT);

    snprintf((char *)b->s.bytes + SECTOR, small ? 2 * SECTOR : 20 * SECTOR,
             "# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=ffffffff\n"
             "createType=\"streamOptimized\"\n\n%s %lld SPARSE \"%s\"\n\n"
             "ddb.adapterType = \"lsilogic\"\n", small ? "RDONLY" : "RW", (long long)b->s.sectors,
             small ? "generated-stream.vmdk" : "x.vmdk");
}

/* GD and GTs in front, twice if redundant; where the (last) GD is. */
static int64_t lay_out_front(Builder *b, int64_t *first)
{
    int64_t set = b->gd_sectors + b->tables * GT_SECTORS;

    *first = 21;
    return has(b, STREAM_REDUNDANT) ? *first + set : *first;
}

static void put_front_set(Builder *b, int64_t gd)
{
    for (int64_t i = 0; i < b->tables; i++) {
        int64_t gt = gd + b->gd_sectors + i * GT_SECTORS;

        b->gd[i] = is_empty(b, i) && !has(b, STREAM_EMPTY_TABLES) ? 0 : (uint32_t)gt;
        if (b->gd[i] != 0) {
            put_table(b->s.bytes + gt * SECTOR, b->gts[i], GTES);
        }
    }
    put_table(b->s.bytes + gd * SECTOR, b->gd, b->tables);
}

/* --------------------------------------------------------------------- all */

static void append_end(Builder *b, int64_t overhead)
{
    if (b->style->tables != STREAM_TABLES_FRONT) {
        for (int64_t i = 0; i < b->tables; i++) {
            append_table(b, i);
        }
        put_marker(b, (uint64_t)b->gd_sectors, MARKER_GD);
        b->s.gd = b->s.size;
        put_table(b->s.bytes + b->s.gd, b->gd, b->tables);
        b->s.size += b->gd_sectors * SECTOR;
    }
    if (has(b, STREAM_FOOTER)) {
        put_marker(b, 1, MARKER_FOOTER);
        b->s.footer = b->s.size;
        put_header(b, b->s.bytes + b->s.size, (uint64_t)b->s.gd / SECTOR, 0, (uint64_t)overhead);
        b->s.size += SECTOR;
    }
    b->s.end = b->s.size;
    b->s.size += (has(b, STREAM_NO_END) ? 0 : 1) * SECTOR + b->style->blank_sectors * SECTOR;
}

static void put_head(Builder *b, int64_t rgd, int64_t overhead)
{
    uint64_t gd = has(b, STREAM_GD_IN_HEAD) ? (uint64_t)b->s.gd / SECTOR : UINT64_MAX;

    /* Of zeros, between descriptor and grains. */
    gd = has(b, STREAM_WRONG_GD) ? 100 : gd;
    put_header(b, b->s.bytes, gd, has(b, STREAM_REDUNDANT) ? (uint64_t)rgd : 0,
               (uint64_t)overhead);
    if (has(b, STREAM_NO_CAPACITY)) {
        bdrv_store_le64(b->s.bytes + 12, 0);
    }
    put_text(b);
}

Stream stream_build(const StreamStyle *style, int64_t sectors, const int *grains,
                    unsigned generation)
{
    Builder *b = calloc(1, sizeof *b);
    int64_t rgd = 0, front_gd, overhead = GRAIN_SECTORS;
    Stream s;

    ck_assert_ptr_nonnull(b);
    b->style = style;
    b->s.sectors = sectors;
    b->s.bytes = calloc(1, STREAM_ROOM);
    ck_assert_ptr_nonnull(b->s.bytes);
    b->tables = bdrv_div_up(bdrv_div_up(sectors, GRAIN_SECTORS), GTES);
    ck_assert_int_le(b->tables, 8);
    b->gd_sectors = bdrv_div_up(b->tables * 4, SECTOR);
    front_gd = lay_out_front(b, &rgd);
    b->s.size = overhead * SECTOR;
    for (int i = 0; grains[i] >= 0; i++) {
        int64_t group = grains[i] / GTES;

        append_grain(b, grains[i], generation, &b->s.at[i]);
        if (style->tables == STREAM_TABLES_GROUPS &&
            (grains[i + 1] < 0 || grains[i + 1] / GTES != group)) {
            append_table(b, group);
        }
    }
    if (style->tables == STREAM_TABLES_FRONT) {
        b->s.gd = front_gd * SECTOR;
        put_front_set(b, rgd);
        put_front_set(b, front_gd);
    }
    append_end(b, overhead);
    put_head(b, rgd, overhead);
    s = b->s;
    free(b);
    return s;
}

void stream_free(Stream *stream)
{
    free(stream->bytes);
    stream->bytes = NULL;
}

uint8_t *stream_gte(const Stream *stream, int64_t grain)
{
    uint32_t gt = bdrv_load_le32(stream->bytes + stream->gd + grain / GTES * 4);

    ck_assert_uint_ne(gt, 0);
    return stream->bytes + (int64_t)gt * SECTOR + grain % GTES * 4;
}
