/* SPDX-License-Identifier: MIT */
/*
 * streams-check.c - is this file a stream as importers want it (the format
 * document, 4.7 and 4.8)?  Written from that document alone, on plain bytes;
 * what the grains hold is not looked at here, that is what reading is for.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv-bytes.h"
#include "streams.h"

enum {
    SECTOR = 512,
    GTES = 512,
    GT_SECTORS = 4,
    TABLES_MAX = 1 << 16
};

#define GD_AT_END UINT64_MAX

typedef struct Checker {
    const uint8_t *bytes;
    int64_t sectors;
    uint64_t capacity, grain, gd, overhead;
    int64_t tables, gd_sectors;
    uint32_t *gtes; /* what was met: the sector of each grain's marker */
    uint32_t *gds;  /* and of each GT */
    int64_t at;     /* sector */
    int64_t last;   /* the grain that came last; -1: none */
} Checker;

static char text[512];

static const char *fault(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

static const uint8_t *sector(const Checker *c, int64_t number)
{
    return c->bytes + number * SECTOR;
}

static int is_zero(const uint8_t *bytes, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return 0;
        }
    }
    return 1;
}

/* ------------------------------------------------------ header, descriptor */

static const char *check_header(Checker *c)
{
    const uint8_t *h = c->bytes;

    if (memcmp(h, "KDMV\3\0\0\0\1\0\3\0", 12) != 0) {
        return fault("header: KDMV, version 3 and flags 0x30001 are wanted");
    }
    c->capacity = bdrv_load_le64(h + 12);
    c->grain = bdrv_load_le64(h + 20);
    c->gd = bdrv_load_le64(h + 56);
    c->overhead = bdrv_load_le64(h + 64);
    if (c->grain == 0 || c->capacity == 0 || c->capacity % c->grain != 0) {
        return fault("capacity %llu is no whole number of grains", (unsigned long long)c->capacity);
    }
    if (bdrv_load_le32(h + 44) != GTES || bdrv_load_le64(h + 48) != 0 ||
        memcmp(h + 72, "\0\n \r\n\1\0", 7) != 0 || !is_zero(h + 79, SECTOR - 79)) {
        return fault("header: 512 GTEs, no RGD, newlines, deflate and a pad of zeros are wanted");
    }
    if (bdrv_load_le64(h + 28) != 1 || bdrv_load_le64(h + 36) + 1 > c->overhead ||
        (int64_t)c->overhead >= c->sectors) {
        return fault("descriptor or overHead is where it cannot be");
    }
    c->tables = bdrv_div_up((int64_t)(c->capacity / c->grain), GTES);
    c->gd_sectors = bdrv_div_up(c->tables * 4, SECTOR);
    return c->tables <= TABLES_MAX ? NULL : fault("too large to be checked");
}

static const char *check_descriptor(const Checker *c)
{
    static const char *const wanted[] = {
        "\nversion=1\n", "\nparentCID=ffffffff\n", "\ncreateType=\"streamOptimized\"\n",
        "\nddb.adapterType = \"lsilogic\"\n", "\nddb.geometry.cylinders", "\nddb.virtualHWVersion"};
    int64_t room = (int64_t)bdrv_load_le64(c->bytes + 36) * SECTOR;
    char *copy = calloc(1, (size_t)room + 1), line[80];
    const char *found = copy ? NULL : fault("no memory");

    if (copy) {
        memcpy(copy, c->bytes + SECTOR, (size_t)room);
    }
    for (size_t i = 0; !found && i < sizeof wanted / sizeof *wanted; i++) {
        found = strstr(copy, wanted[i]) ? NULL : fault("descriptor: no %s", wanted[i] + 1);
    }
    snprintf(line, sizeof line, "\nRW %llu SPARSE \"", (unsigned long long)c->capacity);
    if (!found && !strstr(copy, line)) {
        found = fault("descriptor: no extent line with the header's capacity");
    }
    free(copy);
    return found;
}

/* ------------------------------------------------------------------ blocks */

static const char *take_grain(Checker *c, uint64_t lba, uint32_t size)
{
    int64_t bytes = 12 + (int64_t)size, blocks = bdrv_div_up(bytes, SECTOR);
    int64_t grain = (int64_t)(lba / c->grain);

    if (lba % c->grain != 0 || lba >= c->capacity || grain <= c->last) {
        return fault("sector %lld: the grain of LBA %llu is not in ascending order",
                     (long long)c->at, (unsigned long long)lba);
    }
    if (size > c->grain * SECTOR + 500) {
        return fault("the grain of LBA %llu has %u bytes", (unsigned long long)lba, size);
    }
    if (c->at + blocks > c->sectors ||
        !is_zero(sector(c, c->at) + bytes, blocks * SECTOR - bytes)) {
        return fault("the grain of LBA %llu is cut or not padded", (unsigned long long)lba);
    }
    if (c->gd == GD_AT_END && grain / GTES < c->tables && c->gds[grain / GTES] != 0) {
        return fault("a grain comes after its table");
    }
    c->last = grain;
    c->gtes[grain] = (uint32_t)c->at;
    c->at += blocks;
    return NULL;
}

static const char *compare_gt(const Checker *c, int64_t table, int64_t at)
{
    int64_t grains = (int64_t)(c->capacity / c->grain);

    for (int64_t i = 0; i < GTES; i++) {
        int64_t grain = table * GTES + i;
        uint32_t wanted = grain < grains ? c->gtes[grain] : 0;

        if (bdrv_load_le32(sector(c, at) + i * 4) != wanted) {
            return fault("GT %lld: entry %lld is not where the grain was met", (long long)table,
                         (long long)i);
        }
    }
    return NULL;
}

static const char *take_gt(Checker *c)
{
    int64_t table = c->last / GTES;

    if (c->last < 0 || c->gds[table] != 0) {
        return fault("sector %lld: a GT that belongs to no grains", (long long)c->at);
    }
    c->gds[table] = (uint32_t)c->at + 1;
    c->at += 1 + GT_SECTORS;
    return compare_gt(c, table, c->at - GT_SECTORS);
}

static const char *compare_gd(const Checker *c, int64_t at)
{
    for (int64_t i = 0; i < c->gd_sectors * SECTOR / 4; i++) {
        if (bdrv_load_le32(sector(c, at) + i * 4) != (i < c->tables ? c->gds[i] : 0)) {
            return fault("GD: entry %lld is wrong", (long long)i);
        }
    }
    return NULL;
}

/* GD, footer and end, all that is left. */
static const char *check_tail(const Checker *c)
{
    int64_t gd = c->at + 1, footer = gd + c->gd_sectors + 1;
    uint8_t wanted[SECTOR];

    if (footer + 2 != c->sectors) {
        return fault("the file does not end with GD, footer and end of stream");
    }
    for (int64_t grain = 0; grain < (int64_t)(c->capacity / c->grain); grain++) {
        if (c->gtes[grain] != 0 && c->gds[grain / GTES] == 0) {
            return fault("there are grains without a GT");
        }
    }
    memcpy(wanted, c->bytes, SECTOR);
    bdrv_store_le64(wanted + 56, (uint64_t)gd);
    if (memcmp(sector(c, footer), wanted, SECTOR) != 0) {
        return fault("the footer is not the header with the real gdOffset");
    }
    if (bdrv_load_le64(sector(c, footer - 1)) != 1 ||
        bdrv_load_le64(sector(c, footer - 1) + 8) != UINT64_C(3) << 32) {
        return fault("no footer marker");
    }
    return is_zero(sector(c, footer + 1), SECTOR) ? compare_gd(c, gd)
                                                  : fault("no end-of-stream marker");
}

static const char *check_front(const Checker *c)
{
    const char *found = NULL;

    if (c->at + 1 != c->sectors) {
        return fault("something follows the end of stream");
    }
    for (int64_t i = 0; !found && i < c->tables; i++) {
        uint32_t gt = bdrv_load_le32(sector(c, (int64_t)c->gd) + i * 4);

        if (gt != c->gd + (uint64_t)(c->gd_sectors + i * GT_SECTORS) ||
            gt + GT_SECTORS > c->overhead) {
            return fault("GD: entry %lld is not where VMware puts it", (long long)i);
        }
        found = compare_gt(c, i, gt);
    }
    return found;
}

static const char *check_blocks(Checker *c)
{
    const char *found = NULL;

    for (c->at = (int64_t)c->overhead; !found && c->at < c->sectors;) {
        const uint8_t *marker = sector(c, c->at);
        uint64_t value = bdrv_load_le64(marker);
        uint32_t size = bdrv_load_le32(marker + 8), type = bdrv_load_le32(marker + 12);

        if (size > 0) {
            found = take_grain(c, value, size);
        } else if (c->gd != GD_AT_END) {
            return type == 0 && is_zero(marker, SECTOR) ? check_front(c) : fault("a marker");
        } else if (type == 1 && value == GT_SECTORS && is_zero(marker + 16, SECTOR - 16)) {
            found = take_gt(c);
        } else if (type == 2 && value == (uint64_t)c->gd_sectors) {
            return check_tail(c);
        } else {
            return fault("sector %lld: a marker of type %u and value %llu", (long long)c->at, type,
                         (unsigned long long)value);
        }
    }
    return found ? found : fault("there is no end");
}

const char *stream_find_fault(const uint8_t *bytes, int64_t size)
{
    Checker c = {.bytes = bytes, .sectors = size / SECTOR, .last = -1};
    const char *found;

    if (size % SECTOR != 0 || size < 2 * SECTOR) {
        return fault("the length is no whole number of sectors");
    }
    found = check_header(&c);
    if (!found) {
        found = check_descriptor(&c);
    }
    if (found) {
        return found;
    }
    c.gtes = calloc((size_t)(c.tables * GTES), sizeof *c.gtes);
    c.gds = calloc((size_t)c.tables, sizeof *c.gds);
    found = c.gtes && c.gds ? check_blocks(&c) : fault("no memory");
    free(c.gtes);
    free(c.gds);
    return found;
}
