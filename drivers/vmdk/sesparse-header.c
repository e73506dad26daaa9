/* SPDX-License-Identifier: MIT */
/*
 * sesparse-header.c - the two headers of an seSparse file, decoded and checked,
 * and a fresh file.  All space is laid out in advance, in parts:
 *
 *     header │ volatile header │ journal header │ journal │ GD │ GTs │
 *         free bitmap │ backmap │ grains
 *
 * What is in journal, bitmap and backmap VMware has not published.
 */
#include "vmdk.h"

#include <string.h>

enum {
    HEADER_BYTES = 512,
    FIELD_BYTES = 8,
    RESERVED_FIRST = 5, /* fields 6 to 9 */
    RESERVED_LAST = 9,
    PARTS_FIRST = 10,
    PAD_FIRST = PARTS_FIRST + 2 * VMDK_SE_PARTS,
    FIELDS = HEADER_BYTES / FIELD_BYTES,
    GRAINS_MAX_SECTORS_LOG = 54, /* bytes of a disk must fit an int64_t */
    ALIGNMENT_SECTORS = 2048
};

/* Bytes of a file must fit an int64_t: no part can end behind this sector. */
static const uint64_t sectors_end = INT64_MAX / BDRV_SECTOR_SIZE;

static const uint64_t constant_magic = UINT64_C(0xcafebabe);
static const uint64_t volatile_magic = UINT64_C(0xcafecafe);
static const uint64_t version_2_1 = UINT64_C(0x0000000200000001);

static const char *const part_names[] = {
    [VMDK_SE_VOLATILE] = "volatile header",
    [VMDK_SE_JOURNAL_HEADER] = "journal header",
    [VMDK_SE_JOURNAL] = "journal",
    [VMDK_SE_GD] = "grain directory",
    [VMDK_SE_GTS] = "grain tables",
    [VMDK_SE_FREE_BITMAP] = "free bitmap",
    [VMDK_SE_BACKMAP] = "backmap",
    [VMDK_SE_GRAINS] = "grains",
};

/* ------------------------------------------------------------------- bytes */

static uint64_t field(const uint8_t *bytes, int number)
{
    return bdrv_load_le64(bytes + number * FIELD_BYTES);
}

static int are_zero(const uint8_t *bytes, int first, int end)
{
    for (int i = first; i < end; i++) {
        if (field(bytes, i) != 0) {
            return 0;
        }
    }
    return 1;
}

static void header_decode(VmdkSeHeader *header, const uint8_t *bytes)
{
    header->version = field(bytes, 1);
    header->capacity_sectors = field(bytes, 2);
    header->grain_sectors = field(bytes, 3);
    header->gt_sectors = field(bytes, 4);
    header->flags = field(bytes, 5);
    for (int i = 0; i < VMDK_SE_PARTS; i++) {
        header->parts[i].offset = field(bytes, PARTS_FIRST + 2 * i);
        header->parts[i].size = field(bytes, PARTS_FIRST + 2 * i + 1);
    }
    header->is_clear = are_zero(bytes, RESERVED_FIRST + 1, RESERVED_LAST + 1) &&
                       are_zero(bytes, PAD_FIRST, FIELDS);
}

static void header_encode(const VmdkSeHeader *header, uint8_t *bytes)
{
    const uint64_t first[] = {constant_magic, header->version, header->capacity_sectors,
                              header->grain_sectors, header->gt_sectors, header->flags};

    memset(bytes, 0, HEADER_BYTES);
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        bdrv_store_le64(bytes + i * FIELD_BYTES, first[i]);
    }
    for (int i = 0; i < VMDK_SE_PARTS; i++) {
        bdrv_store_le64(bytes + (PARTS_FIRST + 2 * i) * FIELD_BYTES, header->parts[i].offset);
        bdrv_store_le64(bytes + (PARTS_FIRST + 2 * i + 1) * FIELD_BYTES, header->parts[i].size);
    }
}

/* ------------------------------------------------------------------- checks */

static int check_constants(const BlockDriverState *file, const VmdkSeHeader *h)
{
    const struct {
        const char *name;
        uint64_t found, wanted;
    } constants[] = {
        {"version", h->version, version_2_1},
        {"grainSize", h->grain_sectors, VMDK_SE_GRAIN_SECTORS},
        {"grainTableSize", h->gt_sectors, VMDK_SE_GT_SECTORS},
        {"flags", h->flags, 0},
    };

    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (constants[i].found != constants[i].wanted) {
            return bdrv_error(file, -EINVAL, "seSparse header: %s is 0x%" PRIx64 "; known is only "
                              "0x%" PRIx64, constants[i].name, constants[i].found,
                              constants[i].wanted);
        }
    }
    if (!h->is_clear) {
        return bdrv_error(file, -EINVAL, "seSparse header: reserved fields are not 0: it is of a "
                          "version that is not known");
    }
    if (h->capacity_sectors == 0 || h->capacity_sectors >> GRAINS_MAX_SECTORS_LOG != 0) {
        return bdrv_error(file, -EINVAL, "seSparse header: capacity is %" PRIu64 " sectors; wanted "
                          "are 1 to 2^%d - 1", h->capacity_sectors, GRAINS_MAX_SECTORS_LOG);
    }
    return 0;
}

/* The file may be thin at its end: of the grains, only the beginning has to be
 * there, and each when it is used. */
static int check_part(const BlockDriverState *file, const VmdkSeHeader *h, int part,
                      uint64_t file_sectors)
{
    const VmdkPart *p = &h->parts[part];
    const uint64_t needed = part == VMDK_SE_GRAINS ? 0 : p->size;

    if (p->offset == 0 || p->offset > file_sectors || needed > file_sectors - p->offset ||
        p->size > sectors_end - p->offset) {
        return bdrv_error(file, -EINVAL, "seSparse header: the %s, %" PRIu64 " sectors at sector %"
                          PRIu64 ", are not inside the file, which has %" PRIu64,
                          part_names[part], p->size, p->offset, file_sectors);
    }
    for (int i = 0; i < part; i++) {
        const VmdkPart *q = &h->parts[i];

        if (p->offset < q->offset + q->size && q->offset < p->offset + p->size) {
            return bdrv_error(file, -EINVAL, "seSparse header: the %s at sector %" PRIu64 " and "
                              "the %s at sector %" PRIu64 " overlap", part_names[i], q->offset,
                              part_names[part], p->offset);
        }
    }
    return 0;
}

static int check_parts(const BlockDriverState *file, const VmdkSeHeader *h, int64_t file_size)
{
    const int64_t tables = bdrv_div_up(
        bdrv_div_up((int64_t)h->capacity_sectors, VMDK_SE_GRAIN_SECTORS), VMDK_SE_GTES);
    const uint64_t gd_sectors = (uint64_t)bdrv_div_up(tables * FIELD_BYTES, BDRV_SECTOR_SIZE);
    int ret = 0;

    for (int i = 0; ret == 0 && i < VMDK_SE_PARTS; i++) {
        ret = check_part(file, h, i, (uint64_t)file_size / BDRV_SECTOR_SIZE);
    }
    if (ret == 0 && h->parts[VMDK_SE_VOLATILE].size == 0) {
        ret = bdrv_error(file, -EINVAL, "seSparse header: the volatile header has 0 sectors");
    }
    if (ret == 0 && h->parts[VMDK_SE_GD].size < gd_sectors) {
        ret = bdrv_error(file, -EINVAL, "seSparse header: the grain directory has %" PRIu64
                         " sectors; capacity %" PRIu64 " needs %" PRIu64,
                         h->parts[VMDK_SE_GD].size, h->capacity_sectors, gd_sectors);
    }
    return ret;
}

static int read_volatile(BlockDriverState *file, VmdkSeHeader *header)
{
    uint8_t bytes[HEADER_BYTES];
    int ret = bdrv_pread(file, bytes, sizeof bytes,
                         (int64_t)header->parts[VMDK_SE_VOLATILE].offset * BDRV_SECTOR_SIZE);

    if (ret < 0) {
        return ret;
    }
    if (field(bytes, 0) != volatile_magic) {
        return bdrv_error(file, -EINVAL, "seSparse volatile header: it begins with 0x%" PRIx64
                          "; wanted is 0x%" PRIx64, field(bytes, 0), volatile_magic);
    }
    if (!are_zero(bytes, 4, FIELDS)) {
        return bdrv_error(file, -EINVAL, "seSparse volatile header: reserved fields are not 0: it "
                          "is of a version that is not known");
    }
    header->replay_journal = field(bytes, 3);
    if (header->replay_journal != 0) {
        return bdrv_error(file, -EINVAL, "seSparse volatile header: replayJournal is %" PRIu64
                          ": the image was not closed properly, and what its journal holds only "
                          "ESXi can restore: open and close it there", header->replay_journal);
    }
    return 0;
}

int vmdk_se_header_read(BlockDriverState *file, VmdkSeHeader *header)
{
    uint8_t bytes[HEADER_BYTES];
    int64_t size = bdrv_getlength(file);
    int ret;

    if (size < HEADER_BYTES) {
        return bdrv_error(file, -EINVAL, "the file has %" PRId64 " bytes, less than an seSparse "
                          "header", size);
    }
    ret = bdrv_pread(file, bytes, sizeof bytes, 0);
    if (ret < 0) {
        return ret;
    }
    if (field(bytes, 0) != constant_magic) {
        return bdrv_error(file, -EINVAL, "this is no seSparse extent: the file begins with 0x%"
                          PRIx64 ", not with 0x%" PRIx64, field(bytes, 0), constant_magic);
    }
    header_decode(header, bytes);
    ret = check_constants(file, header);
    if (ret == 0) {
        ret = check_parts(file, header, size);
    }
    return ret < 0 ? ret : read_volatile(file, header);
}

/* ------------------------------------------------------------------- create */

static void lay_out(VmdkSeHeader *h, int64_t sectors)
{
    const int64_t grains = bdrv_div_up(sectors, VMDK_SE_GRAIN_SECTORS);
    const int64_t tables = bdrv_div_up(grains, VMDK_SE_GTES);
    const int64_t sizes[VMDK_SE_PARTS] = {
        [VMDK_SE_JOURNAL] = 1,
        [VMDK_SE_GD] = bdrv_div_up(tables * FIELD_BYTES, BDRV_SECTOR_SIZE),
        [VMDK_SE_GTS] = tables * VMDK_SE_GT_SECTORS,
        [VMDK_SE_FREE_BITMAP] = bdrv_div_up(grains, 8 * BDRV_SECTOR_SIZE),
        [VMDK_SE_BACKMAP] = bdrv_div_up(grains * FIELD_BYTES, BDRV_SECTOR_SIZE),
        [VMDK_SE_GRAINS] = grains * VMDK_SE_GRAIN_SECTORS,
    };
    int64_t next = ALIGNMENT_SECTORS;

    h->parts[VMDK_SE_VOLATILE] = (VmdkPart){1, 1};
    h->parts[VMDK_SE_JOURNAL_HEADER] = (VmdkPart){2, 2};
    for (int i = VMDK_SE_JOURNAL; i < VMDK_SE_PARTS; i++) {
        int64_t size = i == VMDK_SE_GRAINS ? sizes[i]
                                           : bdrv_round_up(sizes[i], ALIGNMENT_SECTORS);

        h->parts[i] = (VmdkPart){(uint64_t)next, (uint64_t)size};
        next += size;
    }
}

int vmdk_create_sesparse(BlockDriverState *file, int64_t sectors)
{
    uint8_t bytes[2 * HEADER_BYTES] = {0};
    VmdkSeHeader header = {
        .version = version_2_1,
        .capacity_sectors = (uint64_t)sectors,
        .grain_sectors = VMDK_SE_GRAIN_SECTORS,
        .gt_sectors = VMDK_SE_GT_SECTORS,
    };
    int64_t end;
    int ret;

    if (sectors >> (GRAINS_MAX_SECTORS_LOG - 1) != 0) {
        return bdrv_error(file, -EINVAL, "an seSparse extent cannot have %" PRId64 " sectors",
                          sectors);
    }
    lay_out(&header, sectors);
    end = (int64_t)(header.parts[VMDK_SE_GRAINS].offset + header.parts[VMDK_SE_GRAINS].size);
    ret = vmdk_make_room(file, end * BDRV_SECTOR_SIZE);
    if (ret < 0) {
        return ret;
    }
    header_encode(&header, bytes);
    bdrv_store_le64(bytes + HEADER_BYTES, volatile_magic);
    return bdrv_pwrite(file, bytes, sizeof bytes, 0);
}
