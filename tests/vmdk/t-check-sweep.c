/* SPDX-License-Identifier: MIT */
/*
 * t-check-sweep.c - random damage to metadata, and what a repair may make of it:
 *
 *     what could be read before reads the same afterwards, or as it did before
 *     the damage (unless both copies of the tables were hit: then a wrong entry
 *     may be the only one there is);
 *     a second check finds nothing that could be mended, but leaks;
 *     if it finds no corruption at all, the image opens and all of it reads.
 *
 * The same holds of a repair that fails at any call, or is cut short by a power
 * loss at any of its changes, and can then be begun again.
 *
 * CHECK_SWEEP and CHECK_ACCIDENTS (repairs that are interrupted, each at every
 * point) in the environment make it longer, TEST_SEED repeats it.
 */
#include "build-stream.h"
#include "damage.h"
#include "fault.h"
#include "powercut.h"

enum {
    PIECE = 8192, /* of the disk: readable or not as a whole */
    PIECES_MAX = D_GRAINS
};

/* A disk as somebody read it. */
typedef struct Reading {
    int is_open;
    int64_t pieces;
    uint8_t *bytes;
    uint8_t readable[PIECES_MAX];
} Reading;

static void read_all(BlockDriverState *disk, Reading *r)
{
    r->is_open = disk != NULL;
    r->pieces = disk ? bdrv_min(bdrv_getlength(disk) / PIECE, PIECES_MAX) : 0;
    for (int64_t i = 0; i < r->pieces; i++) {
        r->readable[i] = bdrv_pread(disk, r->bytes + i * PIECE, PIECE, i * PIECE) == 0;
    }
}

static void read_memory(BlockDriverState *memory, unsigned flags, Reading *r)
{
    BlockDriverState *disk;

    if (try_open(memory, flags, NULL, NULL, &disk) < 0) {
        disk = NULL;
    }
    read_all(disk, r);
    bdrv_close(disk);
}

static Reading reading_new(void)
{
    Reading r = {.bytes = calloc(PIECES_MAX, PIECE)};

    ck_assert_ptr_nonnull(r.bytes);
    return r;
}

static void assert_never_worse(const Reading *truth, const Reading *before, const Reading *after,
                               const char *what)
{
    for (int64_t i = 0; i < before->pieces; i++) {
        if (!before->readable[i] || i >= truth->pieces) {
            continue;
        }
        ck_assert_msg(i < after->pieces && after->readable[i],
                      "%s: piece %lld cannot be read any more", what, (long long)i);
        for (int64_t at = i * PIECE; at < (i + 1) * PIECE; at += SECTOR) {
            ck_assert_msg(memcmp(after->bytes + at, before->bytes + at, SECTOR) == 0 ||
                              memcmp(after->bytes + at, truth->bytes + at, SECTOR) == 0,
                          "%s: byte %lld reads otherwise", what, (long long)at);
        }
    }
}

/* ------------------------------------------------------------------- damage */

/* Where the metadata is that is damaged. */
typedef struct Victim {
    uint8_t *bytes;
    int64_t size;
    int64_t starts[4], ends[4];
    int regions;
    int both; /* not 0: more than one of them is damaged, which may be too much */
    int header;     /* … to the first region */
    char what[256]; /* what was done */
} Victim;

static void note(Victim *v, const char *text, int64_t offset)
{
    size_t used = strlen(v->what);

    snprintf(v->what + used, sizeof v->what - used, " %s at %lld", text, (long long)offset);
}

static int64_t random_place(const Victim *v, uint32_t *seed)
{
    int region = (int)(suite_random(seed) % (uint32_t)v->regions);
    int64_t length = v->ends[region] - v->starts[region];

    return v->starts[region] + (int64_t)(suite_random(seed) % (uint32_t)length) / 4 * 4;
}

static void hurt(Victim *v, uint32_t *seed)
{
    int64_t at = random_place(v, seed), other = random_place(v, seed);

    v->header |= at < v->ends[0];
    switch (suite_random(seed) % 6) {
    case 0:
        note(v, "a bit", at);
        v->bytes[at] ^= (uint8_t)(1u << suite_random(seed) % 8);
        break;
    case 1:
        note(v, "an entry from elsewhere", at);
        memmove(v->bytes + at, v->bytes + other, 4);
        break;
    case 2:
        note(v, "an entry", at);
        bdrv_store_le32(v->bytes + at, suite_random(seed) % (uint32_t)(v->size / SECTOR + 8));
        break;
    case 3:
        note(v, "a sector of zeros", at);
        memset(v->bytes + at / SECTOR * SECTOR, 0, SECTOR);
        break;
    case 4:
        note(v, "a sector of garbage", at);
        for (int i = 0; i < SECTOR; i++) {
            v->bytes[at / SECTOR * SECTOR + i] = (uint8_t)suite_random(seed);
        }
        break;
    default:
        note(v, "the end", v->size);
        v->size -= (int64_t)(suite_random(seed) % 20) * SECTOR;
        break;
    }
}

/* --------------------------------------------------------------------- rounds */

static void assert_settled(BlockDriverState *memory, Reading *after, const char *what)
{
    Findings f;

    check_memory(memory, 0, &f);
    for (char *line = strtok(f.text, "\n"); line; line = strtok(NULL, "\n")) {
        ck_assert_msg(strstr(line, "nothing can be done") || strstr(line, "nothing uses"),
                      "%s: still there after a repair: %s", what, line);
    }
    read_memory(memory, BDRV_O_CHECK, after);
    if (f.result.corruptions + f.result.unrecoverable == 0) {
        read_memory(memory, 0, after);
        ck_assert_msg(after->is_open, "%s: clean, but: %s", what, bdrv_errmsg());
        for (int64_t i = 0; i < after->pieces; i++) {
            ck_assert_msg(after->readable[i], "%s: clean, but piece %lld cannot be read", what,
                          (long long)i);
        }
    }
}

static void one_round(Victim *v, const Reading *truth, Reading *before, Reading *after)
{
    BlockDriverState *memory = image_memory_from(v->bytes, v->size), *disk;
    Findings f;

    if (try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk) == 0) {
        read_memory(memory, BDRV_O_CHECK, before);
        findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
        assert_ok(bdrv_close(disk));
        assert_settled(memory, after, v->what);
        if (!v->both) {
            assert_never_worse(truth, before, after, v->what);
        }
    }
    bdrv_close(memory);
}

/* ------------------------------------------------------------------ accidents */

enum {
    LOSSES = 40,     /* of power by chance, for each repair */
    MOST_CALLS = 500 /* of a repair */
};

typedef struct Accident {
    const Victim *victim;
    const Reading *truth, *before;
    Reading *after;
} Accident;

static void assert_survived(const Accident *a, BlockDriverState *memory, const char *where)
{
    char what[512];
    BlockDriverState *disk;

    snprintf(what, sizeof what, "%s; %s", a->victim->what, where);
    read_memory(memory, BDRV_O_CHECK, a->after);
    if (!a->victim->both) {
        assert_never_worse(a->truth, a->before, a->after, what);
    }
    if (try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk) == 0) {
        Findings f;

        findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
        assert_ok(bdrv_close(disk));
        assert_settled(memory, a->after, what);
    }
    if (!a->victim->both) {
        assert_never_worse(a->truth, a->before, a->after, what);
    }
}

static void examine(void *opaque, Volume *volume, size_t cut, const char *where)
{
    int64_t size;
    uint8_t *bytes = volume_bytes(volume, "image", &size);
    BlockDriverState *memory = image_memory_from(bytes, size);

    (void)cut;
    assert_survived(opaque, memory, where);
    bdrv_close(memory);
    free(bytes);
}

static void lose_power(const Accident *a, uint32_t *seed)
{
    const Victim *v = a->victim;
    Volume *volume = volume_new();
    BlockDriverState *file = volume_create(volume, "image"), *disk;
    Powercut powercut;
    Findings f;

    assert_ok(bdrv_pwrite(file, v->bytes, (size_t)v->size, 0));
    powercut_begin(&powercut, volume);
    if (try_open(file, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk) == 0) {
        findings_of(disk, BDRV_CHECK_REPAIR_ALL, &f);
        assert_ok(bdrv_close(disk));
    }
    powercut_end(&powercut);
    powercut_try_all(&powercut, LOSSES, seed, examine, (void *)a);
    powercut_free(&powercut);
    assert_ok(bdrv_close(file));
    volume_free(volume);
}

/* How many calls there were. */
static int64_t fail_call(const Accident *a, const FaultPlan *plan)
{
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult result = {.struct_size = sizeof result};
    BlockDriverState *memory = image_memory_from(a->victim->bytes, a->victim->size);
    BlockDriverState *fault = fault_insert(memory), *disk;
    char where[64];
    int64_t calls;

    fault_arm(fault, plan);
    if (try_open(fault, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk) == 0) {
        bdrv_check(disk, &options, &result);
        bdrv_close(disk);
    }
    calls = fault_calls(fault);
    bdrv_close(fault);
    snprintf(where, sizeof where, "call %lld fails, life %d", (long long)plan->call, plan->life);
    assert_survived(a, memory, where);
    bdrv_close(memory);
    return calls;
}

static void fail_calls(const Accident *a)
{
    for (FaultLife life = FAULT_ONCE; life <= FAULT_FOR_EVER; life++) {
        FaultPlan plan = {.operations = FAULT_WRITE | FAULT_FLUSH | FAULT_TRUNCATE,
                          .life = life, .stored_before = SECTOR};

        do {
            plan.call++;
            ck_assert_int_lt(plan.call, MOST_CALLS);
        } while (fail_call(a, &plan) >= plan.call);
    }
}

static void accidents(const Victim *v, const Reading *truth, Reading *before, Reading *after,
                      uint32_t *seed)
{
    const Accident a = {.victim = v, .truth = truth, .before = before, .after = after};
    BlockDriverState *memory = image_memory_from(v->bytes, v->size);

    read_memory(memory, BDRV_O_CHECK, before);
    bdrv_close(memory);
    lose_power(&a, seed);
    fail_calls(&a);
}

static void sweep(const uint8_t *bytes, const Victim *shape)
{
    const int interrupted = suite_count("CHECK_ACCIDENTS", suite_is_large() ? 150 : 2);
    const int rounds = suite_count("CHECK_SWEEP", 150);
    Reading truth = reading_new(), before = reading_new(), after = reading_new();
    BlockDriverState *memory = image_memory_from(bytes, shape->size);
    uint32_t seed = suite_seed();

    read_memory(memory, 0, &truth);
    ck_assert_int_gt(truth.pieces, 0);
    bdrv_close(memory);
    for (int i = 0; i < rounds; i++) {
        Victim v = *shape;
        uint32_t first = seed;
        int hurts = 0;

        v.bytes = malloc((size_t)v.size);
        memcpy(v.bytes, bytes, (size_t)v.size);
        snprintf(v.what, sizeof v.what, "seed %u:", first);
        for (uint32_t n = 1 + suite_random(&seed) % 3; n > 0; n--) {
            v.both |= v.header;
            hurt(&v, &seed);
            v.both |= hurts++ > 0 && v.header;
        }
        one_round(&v, &truth, &before, &after);
        if (i < interrupted) {
            accidents(&v, &truth, &before, &after, &seed);
        }
        free(v.bytes);
    }
    free(truth.bytes);
    free(before.bytes);
    free(after.bytes);
}

enum {
    IN_PRIMARY,
    IN_REDUNDANT,
    IN_BOTH,
    IN_THE_ONLY_ONE,
    PLACES
};

START_TEST(hosted_sparse)
{
    Built b = damage_image(_i == IN_THE_ONLY_ONE ? NO_REDUNDANT : 0);
    const int64_t set = (b.gd_sectors + b.tables * b.gt_sectors) * SECTOR;
    Victim v = {.size = b.size, .regions = 2, .both = _i == IN_BOTH};

    v.ends[0] = SECTOR;
    v.starts[1] = b.gd[_i == IN_REDUNDANT || _i == IN_BOTH] * SECTOR;
    v.ends[1] = v.starts[1] + set * (_i == IN_BOTH ? 2 : 1);
    sweep(b.bytes, &v);
    free(b.bytes);
}
END_TEST

/* A repair set the GDEs of a directory that was wiped out before it mended the table behind
 * them, which was wiped out, too: power lost in between made data read as zeros. */
START_TEST(a_directory_found_again_leads_to_mended_tables)
{
    Built b = damage_image(0);
    Victim v = {.bytes = b.bytes, .size = b.size, .what = "no directory, no first table"};
    Reading truth = reading_new(), before = reading_new(), after = reading_new();
    BlockDriverState *memory = image_memory_from(b.bytes, b.size);
    uint32_t seed = suite_seed();

    read_memory(memory, 0, &truth);
    bdrv_close(memory);
    memset(b.bytes + b.gd[0] * SECTOR, 0, (size_t)(b.gd_sectors + b.gt_sectors) * SECTOR);
    accidents(&v, &truth, &before, &after, &seed);
    ck_assert(before.readable[0] && memcmp(before.bytes, truth.bytes, PIECE) == 0);
    free(truth.bytes);
    free(before.bytes);
    free(after.bytes);
    free(b.bytes);
}
END_TEST

static int can_decompress(void)
{
#ifdef BDRV_HAVE_LIBDEFLATE
    return 1;
#else
    suite_skipped("this build cannot decompress");
    return 0;
#endif
}

START_TEST(streams)
{
    BuiltStream b = stream_begin(20 * 128);
    Victim v = {.regions = 2};

    for (int i = 0; i < 20; i += 3) {
        stream_add(&b, i, (unsigned)i + 1);
    }
    stream_end(&b);
    v.size = b.size;
    v.ends[0] = SECTOR;
    v.starts[1] = b.grains_end;
    v.ends[1] = b.size;
    if (can_decompress()) {
        sweep(b.bytes, &v);
    }
    free(b.bytes);
}
END_TEST

START_TEST(copy_on_write)
{
    BlockDriverState *memory = image_memory(0), *disk;
    BdrvCreateOptions options = {.struct_size = sizeof options, .size = D_SECTORS * SECTOR,
                                 .options = "subformat=cowd"};
    Victim v = {.regions = 2};
    uint8_t *bytes;

    assert_ok(bdrv_create_node(memory, "vmdk", &options));
    disk = open_memory(memory, BDRV_O_RDWR);
    for (int i = 0; i < D_USED; i++) {
        assert_ok(pattern_write(disk, (int64_t)d_used[i] * D_GRAIN, 3000, (unsigned)i + 1));
    }
    assert_ok(bdrv_close(disk));
    bytes = image_memory_bytes(memory);
    v.size = bdrv_getlength(memory);
    v.ends[0] = SECTOR;
    v.starts[1] = 4 * SECTOR;
    v.ends[1] = (4 + 1 + 32) * SECTOR;
    sweep(bytes, &v);
    free(bytes);
    bdrv_close(memory);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        streams,
        copy_on_write,
        a_directory_found_again_leads_to_mended_tables,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-sweep");
    TCase *tc = suite_add_case(suite, "sweep", tests, 36000);

    image_register_drivers();
    tcase_add_loop_test(tc, hosted_sparse, 0, PLACES);
    return suite;
}
