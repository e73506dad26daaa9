/* SPDX-License-Identifier: MIT */
/*
 * partitions.c - a disk that shows some partitions of a device and hides the rest,
 * as extents of a partitionedDevice image:
 *
 *     device   │table│ gap │ 1: shown │ gap │ 2: hidden │ gap │ table's copy │
 *     extents  │ copy      │ device   │copy │ ZERO      │ copy               │
 *
 * What lies between partitions holds partition tables and boot loaders.  It is
 * copied, so that a guest can change its own and not the device's; of a large gap
 * both ends are, where such things are, and its middle reads as zeros.
 *
 * Reads MBRs with their extended partitions, and GPTs.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    MBR_ENTRIES = 446, /* offset in the sector; 4 of 16 bytes */
    MBR_ENTRY_BYTES = 16,
    LOGICAL_MAX = 128,  /* a chain of more is a loop */
    GPT_ENTRIES_MAX = 1024,
    GPT_ENTRY_MIN = 128,
    GPT_ENTRY_MAX = 4096,
    GAP_END = 2048 /* sectors of a large gap that are copied at each end */
};

typedef struct Partition {
    unsigned number;
    int64_t start, sectors;
} Partition;

typedef struct Partitions {
    BlockDriverState *device;
    int64_t sectors; /* of the device */
    Partition *list;
    size_t count;
} Partitions;

static int read_sector(const Partitions *p, int64_t sector, uint8_t bytes[BDRV_SECTOR_SIZE])
{
    if (sector < 0 || sector >= p->sectors) {
        return bdrv_error(p->device, -EINVAL, "a partition table points at sector %" PRId64
                          ", the device has %" PRId64, sector, p->sectors);
    }
    return bdrv_pread(p->device, bytes, BDRV_SECTOR_SIZE, sector * BDRV_SECTOR_SIZE);
}

static int add(Partitions *p, unsigned number, int64_t start, int64_t sectors)
{
    Partition *list;

    if (start <= 0 || sectors <= 0 || start > p->sectors || sectors > p->sectors - start) {
        return bdrv_error(p->device, -EINVAL, "partition %u begins at sector %" PRId64 " and has %"
                          PRId64 ", the device has %" PRId64, number, start, sectors, p->sectors);
    }
    list = realloc(p->list, (p->count + 1) * sizeof *list);
    if (!list) {
        return -ENOMEM;
    }
    p->list = list;
    list[p->count++] = (Partition){number, start, sectors};
    return 0;
}

/* ---------------------------------------------------------------------- MBR */

typedef struct MbrEntry {
    unsigned type;
    int64_t start, sectors;
} MbrEntry;

static MbrEntry mbr_entry(const uint8_t *sector, int index)
{
    const uint8_t *entry = sector + MBR_ENTRIES + index * MBR_ENTRY_BYTES;

    return (MbrEntry){entry[4], bdrv_load_le32(entry + 8), bdrv_load_le32(entry + 12)};
}

static int is_extended(unsigned type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static int has_signature(const uint8_t *sector)
{
    return sector[510] == 0x55 && sector[511] == 0xaa;
}

/* A chain of tables, each with a partition (relative to itself) and the place of
 * the next (relative to the first). */
static int read_logical(Partitions *p, int64_t first)
{
    uint8_t sector[BDRV_SECTOR_SIZE] = {0}; /* looked at also when it cannot be read */
    int64_t at = first;

    for (unsigned number = 5; number < 5 + LOGICAL_MAX; number++) {
        MbrEntry own, next;
        int ret = read_sector(p, at, sector);

        if (ret == 0 && !has_signature(sector)) {
            ret = bdrv_error(p->device, -EINVAL, "sector %" PRId64 " is no extended partition table",
                             at);
        }
        own = mbr_entry(sector, 0);
        next = mbr_entry(sector, 1);
        if (ret == 0 && own.type != 0) {
            ret = add(p, number, at + own.start, own.sectors);
        }
        if (ret < 0 || !is_extended(next.type)) {
            return ret;
        }
        at = first + next.start;
    }
    return bdrv_error(p->device, -EINVAL, "more than %d logical partitions", LOGICAL_MAX);
}

static int read_mbr(Partitions *p, const uint8_t *sector)
{
    int ret = 0;

    for (int i = 0; ret == 0 && i < 4; i++) {
        const MbrEntry entry = mbr_entry(sector, i);

        if (is_extended(entry.type)) {
            ret = read_logical(p, entry.start);
        } else if (entry.type != 0) {
            ret = add(p, (unsigned)i + 1, entry.start, entry.sectors);
        }
    }
    return ret;
}

/* ---------------------------------------------------------------------- GPT */

static int read_gpt_entries(Partitions *p, int64_t offset, uint32_t count, uint32_t size)
{
    static const uint8_t unused[16] = {0};
    uint8_t entry[GPT_ENTRY_MIN];
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < count; i++) {
        ret = bdrv_pread(p->device, entry, sizeof entry, offset + (int64_t)i * size);
        if (ret == 0 && memcmp(entry, unused, sizeof unused) != 0) {
            const uint64_t first = bdrv_load_le64(entry + 32), last = bdrv_load_le64(entry + 40);

            ret = last > INT64_MAX - 1 || first > last
                      ? bdrv_error(p->device, -EINVAL, "partition %u ends at sector %" PRIu64
                                   " and begins at %" PRIu64, i + 1, last, first)
                      : add(p, i + 1, (int64_t)first, (int64_t)(last - first) + 1);
        }
    }
    return ret;
}

static int read_gpt(Partitions *p)
{
    uint8_t sector[BDRV_SECTOR_SIZE];
    int ret = read_sector(p, 1, sector);
    const uint64_t entries = ret < 0 ? 0 : bdrv_load_le64(sector + 72);
    const uint32_t count = ret < 0 ? 0 : bdrv_load_le32(sector + 80);
    const uint32_t size = ret < 0 ? 0 : bdrv_load_le32(sector + 84);

    if (ret < 0) {
        return ret;
    }
    if (memcmp(sector, "EFI PART", 8) != 0 || entries >= (uint64_t)p->sectors ||
        count > GPT_ENTRIES_MAX || size < GPT_ENTRY_MIN || size > GPT_ENTRY_MAX) {
        return bdrv_error(p->device, -EINVAL, "sector 1 is no GPT: %" PRIu32 " entries of %" PRIu32
                          " bytes at sector %" PRIu64, count, size, entries);
    }
    return read_gpt_entries(p, (int64_t)entries * BDRV_SECTOR_SIZE, count, size);
}

/* -------------------------------------------------------------------- lines */

static int by_start(const void *left, const void *right)
{
    const Partition *a = left, *b = right;

    return (a->start > b->start) - (a->start < b->start);
}

static int read_partitions(Partitions *p)
{
    enum {
        GPT_TYPE = 0xee
    };
    uint8_t sector[BDRV_SECTOR_SIZE];
    int ret = read_sector(p, 0, sector);

    if (ret == 0 && !has_signature(sector)) {
        ret = bdrv_error(p->device, -EINVAL, "it has no partition table");
    }
    if (ret == 0) {
        ret = mbr_entry(sector, 0).type == GPT_TYPE ? read_gpt(p) : read_mbr(p, sector);
    }
    if (ret < 0 || p->count == 0) {
        return ret;
    }
    qsort(p->list, p->count, sizeof *p->list, by_start);
    for (size_t i = 1; i < p->count; i++) {
        const Partition *a = &p->list[i - 1], *b = &p->list[i];

        if (a->start + a->sectors > b->start) {
            return bdrv_error(p->device, -EINVAL, "partitions %u and %u overlap", a->number,
                              b->number);
        }
    }
    return 0;
}

static int add_copy(VmdkNewLines *lines, int64_t sectors, int64_t *copied)
{
    const VmdkExtentLine line = {.kind = VMDK_FLAT, .sectors = sectors,
                                 .offset_sectors = *copied};

    *copied += sectors;
    return sectors > 0 ? vmdk_new_lines_add(lines, line, lines->copy) : 0;
}

static int add_gap(VmdkNewLines *lines, int64_t sectors, int64_t *copied)
{
    const VmdkExtentLine zeros = {.kind = VMDK_ZERO, .sectors = sectors - 2 * GAP_END};
    int ret;

    if (zeros.sectors <= 0) {
        return add_copy(lines, sectors, copied);
    }
    ret = add_copy(lines, GAP_END, copied);
    if (ret == 0) {
        ret = vmdk_new_lines_add(lines, zeros, NULL);
    }
    return ret < 0 ? ret : add_copy(lines, GAP_END, copied);
}

/* Is number in shown?  Each that is found is counted. */
static int is_shown(const char *shown, unsigned number, size_t *found)
{
    while (*shown) {
        char *end;
        const unsigned long one = strtoul(shown, &end, 10);

        if (one == number) {
            (*found)++;
            return 1;
        }
        shown = *end == '+' ? end + 1 : end;
        if (end == shown) {
            return 0;
        }
    }
    return 0;
}

/* How many numbers there are in shown; 0: it is no list of numbers. */
static size_t count_shown(const char *shown)
{
    size_t count = 1;

    if (shown[0] == '\0' || strspn(shown, "0123456789+") != strlen(shown) ||
        shown[0] == '+' || shown[strlen(shown) - 1] == '+' || strstr(shown, "++")) {
        return 0;
    }
    for (; *shown; shown++) {
        count += *shown == '+';
    }
    return count;
}

static int add_all(const Partitions *p, const char *shown, VmdkNewLines *lines)
{
    const size_t wanted = count_shown(shown);
    int64_t at = 0, copied = 0;
    size_t found = 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < p->count; i++) {
        const Partition *one = &p->list[i];
        VmdkExtentLine line = {.kind = VMDK_ZERO, .sectors = one->sectors};
        const char *name = NULL;

        if (is_shown(shown, one->number, &found)) {
            line.kind = VMDK_FLAT;
            line.offset_sectors = one->start;
            name = lines->device;
        }
        ret = add_gap(lines, one->start - at, &copied);
        if (ret == 0) {
            ret = vmdk_new_lines_add(lines, line, name);
        }
        at = one->start + one->sectors;
    }
    if (ret == 0) {
        ret = add_gap(lines, p->sectors - at, &copied);
    }
    if (ret == 0 && (wanted == 0 || found != wanted)) {
        ret = bdrv_error(p->device, -EINVAL, "partitions is '%s'; wanted are numbers of partitions "
                         "of the device, each once, with + between them", shown);
    }
    return ret;
}

int vmdk_partition_lines(BlockDriverState *device, const char *shown, VmdkNewLines *lines)
{
    Partitions p = {.device = device, .sectors = bdrv_getlength(device) / BDRV_SECTOR_SIZE};
    int ret = read_partitions(&p);

    if (ret == 0) {
        ret = add_all(&p, shown, lines);
    }
    free(p.list);
    return ret;
}
