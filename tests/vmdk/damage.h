/* SPDX-License-Identifier: MIT */
/*
 * damage.h - images with damage in named bytes, and what a check must say of
 * them: exactly one thing, mended by a repair, after which the image is clean,
 * opens for writing and reads as it should.
 */
#ifndef TESTS_VMDK_DAMAGE_H
#define TESTS_VMDK_DAMAGE_H

#include "build.h"

/* What bdrv_check() said. */
typedef struct Findings {
    BdrvCheckResult result;
    int count;
    BdrvFinding last;
    char text[16384]; /* of all, a line each */
} Findings;

static inline void findings_add(void *opaque, const BdrvFinding *finding)
{
    Findings *f = opaque;
    size_t used = strlen(f->text);

    f->last = *finding;
    f->last.text = f->last.repair = NULL;
    f->count++;
    snprintf(f->text + used, sizeof f->text - used, "%s%s\n", finding->text,
             finding->repair ? "" : " (nothing can be done)");
}

static inline void findings_of(BlockDriverState *disk, unsigned flags, Findings *f)
{
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = flags,
                                .finding = findings_add, .finding_opaque = f};

    memset(f, 0, sizeof *f);
    f->result.struct_size = sizeof f->result;
    assert_ok(bdrv_check(disk, &options, &f->result));
}

/* Opens what is in memory for a check, and checks it. */
static inline void check_memory(BlockDriverState *memory, unsigned flags, Findings *f)
{
    BlockDriverState *disk;

    assert_ok(try_open(memory, BDRV_O_CHECK | (flags ? BDRV_O_RDWR : 0), NULL, NULL, &disk));
    findings_of(disk, flags, f);
    assert_ok(bdrv_close(disk));
}

static inline int64_t findings_open(const Findings *f, BdrvFindingKind kind)
{
    switch (kind) {
    case BDRV_FINDING_CORRUPTION:
        return f->result.corruptions;
    case BDRV_FINDING_LEAK:
        return f->result.leaks;
    case BDRV_FINDING_MISMATCH:
        return f->result.mismatches;
    case BDRV_FINDING_UNRECOVERABLE:
        return f->result.unrecoverable;
    }
    return -1;
}

static inline void assert_clean(const Findings *f)
{
    ck_assert_msg(f->count == 0, "found %d: %.2000s", f->count, f->text);
}

/* Exactly one finding, of that kind and saying that. */
static inline void assert_found(const Findings *f, BdrvFindingKind kind, const char *text)
{
    ck_assert_msg(f->count == 1, "found %d: %.2000s", f->count, f->text);
    ck_assert_msg(f->last.kind == kind, "kind is %d, wanted %d: %s", (int)f->last.kind,
                  (int)kind, f->text);
    ck_assert_msg(strstr(f->text, text) != NULL, "says \"%s\", without \"%s\"", f->text, text);
}

/* A repair of all that is wrong, as *f tells, after which nothing is. */
static inline void repair_memory(BlockDriverState *memory, Findings *f)
{
    Findings left;

    check_memory(memory, BDRV_CHECK_REPAIR_ALL, f);
    check_memory(memory, 0, &left);
    assert_clean(&left);
}

/* The same, and nothing was lost. */
static inline void assert_repaired(BlockDriverState *memory, Findings *f)
{
    repair_memory(memory, f);
    ck_assert_msg(f->result.unrecoverable == 0, "lost: %.2000s", f->text);
}

/* The whole cycle on what is in memory: found, left alone without repair, mended,
 * clean.  */
static inline void assert_mended(BlockDriverState *memory, BdrvFindingKind kind,
                                 const char *text)
{
    uint8_t *before = image_memory_bytes(memory), *after;
    const int64_t size = bdrv_getlength(memory);
    BlockDriverState *disk;
    Findings f;

    check_memory(memory, 0, &f);
    assert_found(&f, kind, text);
    ck_assert_int_eq(findings_open(&f, kind), 1);
    after = image_memory_bytes(memory);
    ck_assert_int_eq(bdrv_getlength(memory), size);
    ck_assert_mem_eq(after, before, (size_t)size);
    repair_memory(memory, &f);
    assert_found(&f, kind, text);
    ck_assert_msg(f.last.repaired, "not mended: %s", f.text);
    assert_ok(try_open(memory, 0, NULL, NULL, &disk));
    assert_ok(bdrv_close(disk));
    free(before);
    free(after);
}

/* Found, and a repair neither claims to do nor does anything about it. */
static inline void assert_hopeless(BlockDriverState *memory, BdrvFindingKind kind,
                                   const char *text)
{
    uint8_t *before = image_memory_bytes(memory), *after;
    Findings f;

    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    assert_found(&f, kind, text);
    ck_assert_int_eq(f.last.repaired, 0);
    after = image_memory_bytes(memory);
    ck_assert_mem_eq(after, before, (size_t)bdrv_getlength(memory));
    free(before);
    free(after);
}

/* ---- the image of most tests: 4 MiB in grains of 8 KiB, four tables ---- */

enum {
    D_SECTORS = 8192,
    D_GRAIN = 16 * SECTOR,
    D_GTES = 128,
    D_GRAINS = D_SECTORS / 16,
    D_NONE = 0xffff /* in a generation: must be zeros */
};

static const int d_used[] = {0, 1, 2, 5, 127, 128, 130, 200, 256, 300, 301, 383, 511};

enum {
    D_USED = sizeof d_used / sizeof *d_used
};

/* Grain g holds generation g + 1. */
static inline Built damage_image(unsigned without)
{
    Built b = build_sparse((Shape){.sectors = D_SECTORS, .grain = 16, .gtes = D_GTES,
                                   .without = without});

    for (int i = D_USED - 1; i >= 0; i--) { /* not in the order of the disk */
        build_add_grain(&b, d_used[i], (unsigned)d_used[i] + 1);
    }
    return b;
}

static inline unsigned damage_generation(int grain)
{
    for (int i = 0; i < D_USED; i++) {
        if (d_used[i] == grain) {
            return (unsigned)grain + 1;
        }
    }
    return PATTERN_ZEROS;
}

/* Everything is there but one grain, which reads as zeros (< 0: none). */
static inline void assert_content(BlockDriverState *memory, int lost)
{
    BlockDriverState *disk = open_memory(memory, BDRV_O_RDWR);

    for (int g = 0; g < D_GRAINS; g++) {
        assert_pattern(disk, (int64_t)g * D_GRAIN, D_GRAIN,
                       g == lost ? PATTERN_ZEROS : damage_generation(g));
    }
    assert_ok(bdrv_close(disk));
}

/* Damage is done in b; then the whole cycle, and the content.  b is used up. */
static inline void damage_mended(Built *b, BdrvFindingKind kind, const char *text, int lost)
{
    BlockDriverState *memory = build_memory(b);

    assert_mended(memory, kind, text);
    assert_content(memory, lost);
    bdrv_close(memory);
    free(b->bytes);
}

/* Damage is done in b, of any number of kinds: a repair, as *f tells, brings all of it back.
 * b is used up. */
static inline void damage_repaired(Built *b, Findings *f)
{
    BlockDriverState *memory = build_memory(b);

    assert_repaired(memory, f);
    assert_content(memory, -1);
    bdrv_close(memory);
    free(b->bytes);
}

#endif
