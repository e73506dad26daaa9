/* SPDX-License-Identifier: MIT */
/*
 * t-unclean.c - the byte uncleanShutdown (format document, 3.6): it is 1 on disk,
 * durably, whenever the tables may differ from each other or from what a session
 * found, whatever fails on the way; and who changes nothing leaves it alone.
 */
#include "bdrv-bytes.h"
#include "fault.h"
#include "image.h"
#include "pattern.h"
#include "powercut.h"
#include "suite.h"

enum {
    KIB = 1024,
    SECTOR = 512,
    DISK = 2 * 1024 * KIB,
    MOST_CALLS = 100,
    LOSSES = 500
};

typedef struct Kind {
    const char *options;
    const char *file; /* that has the byte */
    int64_t byte;
    int64_t tables, tables_end; /* where it is laid out as VMware does */
} Kind;

/* Tables of the hosted ones: 21 to 31, one GT in each set, behind 20 sectors of
 * text; of the other: the GD, 4, and GTs behind it. */
static const Kind kinds[] = {
    {"grain_size=64k", "a.vmdk", 72, 21, 31},
    {"grain_size=64k,zeroed_grain=on", "a.vmdk", 72, 21, 31},
    {"subformat=cowd,grain_size=64k", "a.vmdk", 1648, 4, 5},
    {"subformat=vmfsSparse", "a-delta.vmdk", 1648, 4, 5},
    {"subformat=twoGbMaxExtentSparse,extent_size=4M", "a-s001.vmdk", 72, 1, 11},
};

enum {
    KINDS = sizeof kinds / sizeof *kinds
};

static Volume *make_volume(const Kind *kind)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = DISK,
                                .options = kind->options};
    Volume *volume = volume_new();
    BlockDriverState *file = volume_create(volume, "a.vmdk");

    assert_ok(bdrv_create_node(file, "vmdk", &create));
    assert_ok(bdrv_close(file));
    return volume;
}

static BlockDriverState *open_in(Volume *volume, unsigned flags)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags};
    BlockDriverState *file = volume_open(volume, "a.vmdk", flags), *disk;

    assert_ok(bdrv_open_node(&disk, file, "vmdk", &options));
    assert_ok(bdrv_close(file));
    return disk;
}

static int byte_of(Volume *volume, const Kind *kind)
{
    int64_t length;
    uint8_t *bytes = volume_bytes(volume, kind->file, &length);
    int value;

    ck_assert(bytes != NULL && length > kind->byte);
    value = bytes[kind->byte];
    free(bytes);
    return value;
}

START_TEST(who_writes_nothing_leaves_it_alone)
{
    const Kind *kind = &kinds[_i];
    Volume *volume = make_volume(kind);
    BlockDriverState *disk;
    Powercut powercut;

    powercut_begin(&powercut, volume);
    for (int writable = 0; writable <= 1; writable++) {
        disk = open_in(volume, writable ? BDRV_O_RDWR : 0);
        assert_pattern(disk, 0, DISK, PATTERN_ZEROS);
        assert_ok(bdrv_flush(disk));
        assert_ok(bdrv_close(disk));
    }
    powercut_end(&powercut);
    ck_assert_uint_eq(powercut.count, 0);
    powercut_free(&powercut);
    volume_free(volume);
}
END_TEST

/* ------------------------------------------------------------------ power loss */

/* What is in the directories and tables that were there at the beginning. */
static uint8_t *tables_of(Volume *volume, const Kind *kind)
{
    const size_t size = (size_t)(kind->tables_end - kind->tables) * SECTOR;
    int64_t length;
    uint8_t *bytes = volume_bytes(volume, kind->file, &length);

    ck_assert(bytes != NULL && length >= kind->tables_end * SECTOR);
    memmove(bytes, bytes + kind->tables * SECTOR, size);
    return bytes;
}

typedef struct Clean {
    const Kind *kind;
    uint8_t *before, *after; /* the tables at rest */
    int changed;             /* in how many states they are neither */
} Clean;

static void examine(void *opaque, Volume *volume, size_t cut, const char *where)
{
    Clean *clean = opaque;
    const size_t size = (size_t)(clean->kind->tables_end - clean->kind->tables) * SECTOR;
    uint8_t *now = tables_of(volume, clean->kind);

    (void)cut;
    if (memcmp(now, clean->before, size) != 0 && memcmp(now, clean->after, size) != 0) {
        clean->changed++;
        if (byte_of(volume, clean->kind) != 1) {
            ck_abort_msg("%s, %s: the tables have changed, and the byte is %d",
                         clean->kind->options, where, byte_of(volume, clean->kind));
        }
    }
    free(now);
}

START_TEST(it_is_durable_before_the_tables_change)
{
    const Kind *kind = &kinds[_i];
    Volume *volume = make_volume(kind);
    uint32_t seed = suite_seed();
    Clean clean = {.kind = kind, .before = tables_of(volume, kind)};
    BlockDriverState *disk;
    Powercut powercut;

    powercut_begin(&powercut, volume);
    disk = open_in(volume, BDRV_O_RDWR);
    for (int i = 0; i < 6; i++) {
        assert_ok(pattern_write(disk, i * 320 * KIB, 3000, 1));
        assert_ok(bdrv_flush(disk));
    }
    ck_assert_int_eq(byte_of(volume, kind), 1);
    assert_ok(bdrv_close(disk));
    powercut_end(&powercut);
    ck_assert_int_eq(byte_of(volume, kind), 0);
    clean.after = tables_of(volume, kind);
    powercut_try_all(&powercut, LOSSES, &seed, examine, &clean);
    if (kind->byte == 72) { /* the other kind has but one entry there: a GT's */
        ck_assert_int_gt(clean.changed, 0);
    }
    powercut_free(&powercut);
    volume_free(volume);
    free(clean.before);
    free(clean.after);
}
END_TEST

/* ----------------------------------------------------------------------- faults */

/* Not for kinds whose byte is in a second file, which no fault node is put on. */
static int byte_in(BlockDriverState *memory, const Kind *kind)
{
    uint8_t byte;

    assert_ok(bdrv_pread(memory, &byte, 1, kind->byte));
    return byte;
}

/* The n-th write fails.  How many there were. */
static int64_t fail_write(const Kind *kind, int64_t n, int *failed)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = DISK,
                                .options = kind->options};
    BdrvOpenOptions open = {.struct_size = sizeof open, .flags = BDRV_O_RDWR};
    BlockDriverState *memory = image_memory(0), *fault, *disk;
    int64_t calls;

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    fault = fault_insert(memory);
    assert_ok(bdrv_open_node(&disk, fault, "vmdk", &open));
    fault_arm(fault, &(FaultPlan){.operations = FAULT_WRITE, .call = n, .life = FAULT_ONCE});
    *failed |= pattern_write(disk, 0, 3000, 1) != 0;
    *failed |= bdrv_discard(disk, 0, 64 * KIB) != 0;
    calls = fault_calls(fault);
    fault_disarm(fault);
    assert_ok(pattern_write(disk, 500 * KIB, 3000, 2));
    assert_ok(bdrv_flush(disk));
    ck_assert_msg(byte_in(memory, kind) == 1, "%s: write %lld failed, and the byte is not 1 when "
                  "a later one is durable", kind->options, (long long)n);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(byte_in(memory, kind), 0);
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
    return calls;
}

/* It was taken for set when writing it had failed: nobody noticed. */
START_TEST(it_is_set_by_the_next_write_when_setting_it_failed)
{
    const Kind *kind = &kinds[_i];
    int64_t n = 0, calls;
    int failed = 0;

    if (strcmp(kind->file, "a.vmdk") != 0) {
        return;
    }
    do {
        n++;
        ck_assert_int_lt(n, MOST_CALLS);
        calls = fail_write(kind, n, &failed);
    } while (calls >= n);
    ck_assert(failed);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const none[] = {NULL};
    Suite *suite = suite_create("vmdk/unclean");
    TCase *tcase = suite_add_case(suite, "unclean", none, 120);

    image_register_drivers();
    tcase_add_loop_test(tcase, who_writes_nothing_leaves_it_alone, 0, KINDS);
    tcase_add_loop_test(tcase, it_is_durable_before_the_tables_change, 0, KINDS);
    tcase_add_loop_test(tcase, it_is_set_by_the_next_write_when_setting_it_failed, 0, KINDS);
    return suite;
}
