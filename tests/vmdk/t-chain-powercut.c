/* SPDX-License-Identifier: MIT */
/*
 * t-chain-powercut.c - power loss while content moves along a chain: at every
 * point the chain opens and reads as before, and the operation can be begun
 * again.
 *
 *     child ──commit──▶ base        child ──rebase──▶ other, copy, nothing
 */
#include "bdrv-bytes.h"
#include "build.h"
#include "image.h"
#include "pattern.h"
#include "powercut.h"
#include "suite.h"

enum {
    KIB = 1024,
    DISK = 1200 * KIB + 512,
    LOSSES = 100 /* by chance */
};

typedef struct Chain {
    const char *name;
    const char *parent; /* options to create them */
    const char *child;
} Chain;

static const Chain chains[] = {
    {"sparse on sparse", "grain_size=8k,gtes_per_table=128",
     "grain_size=8k,gtes_per_table=128,zeroed_grain=on"},
    {"sparse on flat", "subformat=monolithicFlat", NULL},
    {"vmfsSparse on split sparse", "subformat=twoGbMaxExtentSparse,extent_size=512k",
     "subformat=vmfsSparse"},
    {"split sparse on split flat", "subformat=twoGbMaxExtentFlat,extent_size=512k",
     "subformat=twoGbMaxExtentSparse,extent_size=512k"},
};

enum {
    CHAINS = sizeof chains / sizeof *chains
};

typedef int OperationFn(BlockDriverState *child);

static int commit(BlockDriverState *child)
{
    return bdrv_commit(child);
}

static int rebase_to_other(BlockDriverState *child)
{
    return bdrv_rebase(child, "other.vmdk", "vmdk", 0);
}

static int rebase_to_copy(BlockDriverState *child)
{
    return bdrv_rebase(child, "copy.vmdk", "vmdk", BDRV_REBASE_UNSAFE);
}

static int flatten(BlockDriverState *child)
{
    return bdrv_rebase(child, NULL, NULL, 0);
}

static const struct {
    const char *name;
    OperationFn *run;
} operations[] = {
    {"commit", commit},
    {"rebase to another parent", rebase_to_other},
    {"rebase to a copy", rebase_to_copy},
    {"flatten", flatten},
};

enum {
    OPERATIONS = sizeof operations / sizeof *operations
};

/* ------------------------------------------------------------------- images */

static void create_in(Volume *volume, const char *name, const char *options, const char *backing)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = backing ? 0 : DISK,
                                .options = options, .backing = backing,
                                .backing_format = backing ? "vmdk" : NULL};
    BlockDriverState *file = volume_create(volume, name);

    assert_ok(bdrv_create_node(file, "vmdk", &create));
    assert_ok(bdrv_close(file));
}

static int try_open_in(Volume *volume, const char *name, unsigned flags, BlockDriverState **disk)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = flags};
    BlockDriverState *file = volume_open(volume, name, flags & BDRV_O_RDWR);
    int ret = bdrv_open_node(disk, file, "vmdk", &options);

    bdrv_close(file);
    return ret;
}

static BlockDriverState *open_in(Volume *volume, const char *name, unsigned flags)
{
    BlockDriverState *disk;

    assert_ok(try_open_in(volume, name, flags, &disk));
    return disk;
}

/* All of generation 1, but for a hole and an island of the other. */
static void make_parent(Volume *volume, const char *name, const char *options, unsigned other)
{
    BlockDriverState *disk;

    create_in(volume, name, options, NULL);
    disk = open_in(volume, name, BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 300 * KIB, 1));
    assert_ok(pattern_write(disk, 500 * KIB, 300 * KIB, 1));
    assert_ok(pattern_write(disk, 900 * KIB, 40 * KIB, other));
    assert_ok(bdrv_close(disk));
}

static void make_child(Volume *volume, const char *options)
{
    BlockDriverState *disk;

    create_in(volume, "child.vmdk", options, "base.vmdk");
    disk = open_in(volume, "child.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 100 * KIB, 90 * KIB, 2));
    assert_ok(bdrv_write_zeroes(disk, 600 * KIB, 70 * KIB));
    assert_ok(pattern_write(disk, DISK - 512, 512, 2));
    assert_ok(bdrv_close(disk));
}

/* ------------------------------------------------------------------- a sweep */

typedef struct Sweep {
    const char *what;
    OperationFn *operation;
    uint8_t *content;
    int interrupted; /* how many times a check found that a commit was */
} Sweep;

static void demand(const Sweep *sweep, const char *where, const char *problem)
{
    if (problem != NULL) {
        ck_abort_msg("%s, %s: %s", sweep->what, where, problem);
    }
}

static void assert_content(const Sweep *sweep, BlockDriverState *disk, const char *where)
{
    uint8_t *found = malloc(DISK);
    int ret;

    ck_assert_ptr_nonnull(found);
    ret = bdrv_pread(disk, found, DISK, 0);
    demand(sweep, where, ret == 0 ? pattern_compare(found, sweep->content, DISK, 0)
                                  : bdrv_errmsg());
    free(found);
}

static BlockDriverState *open_left(const Sweep *sweep, Volume *volume, const char *name,
                                   unsigned flags, const char *where)
{
    BlockDriverState *disk;
    int ret = try_open_in(volume, name, flags, &disk);

    demand(sweep, where, ret == 0 ? NULL : bdrv_errmsg());
    return disk;
}

static void assert_sound(const Sweep *sweep, Volume *volume, const char *name, const char *where)
{
    BlockDriverState *disk = open_left(sweep, volume, name, 0, where);

    demand(sweep, where, image_find_damage(disk));
    assert_ok(bdrv_close(disk));
}

static void note_finding(void *opaque, const BdrvFinding *finding)
{
    *(int *)opaque += strstr(finding->text, "was interrupted") != NULL;
}

/* How many times. */
static int find_interrupted(const Sweep *sweep, Volume *volume, unsigned flags, const char *where)
{
    const unsigned access = flags != 0 ? BDRV_O_RDWR | BDRV_O_CHECK : 0;
    BlockDriverState *disk = open_left(sweep, volume, "child.vmdk", access, where);
    BdrvCheckResult result = {.struct_size = sizeof result};
    int found = 0, ret;
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = flags,
                                .finding = note_finding, .finding_opaque = &found};

    ret = bdrv_check(disk, &options, &result);
    demand(sweep, where, ret == 0 ? NULL : bdrv_errmsg());
    assert_content(sweep, disk, where);
    assert_ok(bdrv_close(disk));
    return found;
}

/* A repair finishes the record of an interrupted commit, not the commit. */
static void repair(Sweep *sweep, Volume *volume, const char *where)
{
    sweep->interrupted += find_interrupted(sweep, volume, BDRV_CHECK_REPAIR_ALL, where);
    if (find_interrupted(sweep, volume, 0, where) != 0) {
        demand(sweep, where, "found again after a repair");
    }
}

static void examine(void *opaque, Volume *volume, size_t cut, const char *where)
{
    Sweep *sweep = opaque;
    Volume *copy = volume_copy(volume);
    BlockDriverState *disk;
    int ret;

    (void)cut;
    repair(sweep, copy, where);
    volume_free(copy);
    assert_sound(sweep, volume, "base.vmdk", where);
    disk = open_left(sweep, volume, "child.vmdk", BDRV_O_RDWR, where);
    demand(sweep, where, image_find_damage(disk));
    assert_content(sweep, disk, where);
    ret = sweep->operation(disk);
    demand(sweep, where, ret == 0 ? NULL : bdrv_errmsg());
    assert_content(sweep, disk, where);
    assert_ok(bdrv_close(disk));
    disk = open_left(sweep, volume, "child.vmdk", 0, where);
    demand(sweep, where, image_find_damage(disk));
    assert_content(sweep, disk, where);
    assert_ok(bdrv_close(disk));
    assert_sound(sweep, volume, "base.vmdk", where);
}

static void record(Powercut *powercut, Volume *volume, Sweep *sweep)
{
    BlockDriverState *disk = open_in(volume, "child.vmdk", 0);

    assert_ok(bdrv_pread(disk, sweep->content, DISK, 0));
    assert_ok(bdrv_close(disk));
    powercut_begin(powercut, volume);
    disk = open_in(volume, "child.vmdk", BDRV_O_RDWR);
    assert_ok(sweep->operation(disk));
    assert_content(sweep, disk, "before any accident");
    assert_ok(bdrv_close(disk));
    powercut_end(powercut);
}

START_TEST(the_chain_reads_as_before_wherever_the_power_goes)
{
    const Chain *chain = &chains[_i / OPERATIONS];
    Volume *volume = volume_new();
    uint32_t seed = suite_seed() + (uint32_t)_i;
    Powercut powercut;
    char what[128];
    Sweep sweep = {.what = what, .operation = operations[_i % OPERATIONS].run,
                   .content = malloc(DISK)};

    ck_assert_ptr_nonnull(sweep.content);
    snprintf(what, sizeof what, "%s of %s", operations[_i % OPERATIONS].name, chain->name);
    make_parent(volume, "base.vmdk", chain->parent, 1);
    make_parent(volume, "copy.vmdk", chain->parent, 1);
    make_parent(volume, "other.vmdk", chain->parent, 3);
    make_child(volume, chain->child);
    record(&powercut, volume, &sweep);
    printf("%s: %zu cuts, %zu states\n", what, powercut.count + 1,
           powercut_try_all(&powercut, suite_is_large() ? 10 * LOSSES : LOSSES, &seed, examine,
                            &sweep));
    if (operations[_i % OPERATIONS].run == commit) {
        ck_assert_int_gt(sweep.interrupted, 0);
    }
    powercut_free(&powercut);
    volume_free(volume);
    free(sweep.content);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const none[] = {NULL};
    Suite *suite = suite_create("vmdk/chain-powercut");
    TCase *tcase = suite_add_case(suite, "power loss", none, 36000);

    image_register_drivers();
    tcase_add_loop_test(tcase, the_chain_reads_as_before_wherever_the_power_goes, 0,
                        CHAINS * OPERATIONS);
    return suite;
}
