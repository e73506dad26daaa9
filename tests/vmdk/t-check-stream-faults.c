/* SPDX-License-Identifier: MIT */
/*
 * t-check-stream-faults.c - a call fails while a stream is repaired: what was not read must
 * not be taken for what is not there, and what a repair leaves half-done is no other disk.
 */
#include "build-stream.h"
#include "fault.h"
#include "powercut.h"

enum {
    MOST_CALLS = 500
};

/* Grains 2, 7 and 9, the last behind the end-of-stream marker, where only tables lead. */
static BuiltStream with_grain_behind_the_end(void)
{
    BuiltStream b = stream_begin(20 * 128);

    stream_add(&b, 2, 1);
    stream_add(&b, 7, 1);
    stream_marker(&b, 0, 0);
    stream_add(&b, 9, 1);
    stream_end(&b);
    bdrv_store_le32(stream_gte(&b, 7), 0);
    return b;
}

static BuiltStream with_a_wrong_entry(void)
{
    BuiltStream b = stream_of_three();

    bdrv_store_le32(stream_gte(&b, 7), 0);
    return b;
}

static BuiltStream without_footer_and_overhead(void)
{
    BuiltStream b = with_a_wrong_entry();

    bdrv_store_le64(b.bytes + AT_OVERHEAD, 60);
    b.size = b.footer * SECTOR;
    return b;
}

static BuiltStream with_a_far_footer(void)
{
    BuiltStream b = with_a_wrong_entry();

    b.size += 500 * SECTOR;
    b.bytes[b.size - 1] = 1;
    return b;
}

static BuiltStream without_header(void)
{
    BuiltStream b = with_grain_behind_the_end();

    memset(b.bytes, 0, SECTOR);
    return b;
}

/* Of two grains 7 the tables name the first. */
static BuiltStream with_a_stale_grain(void)
{
    BuiltStream b = stream_begin(20 * 128);
    uint32_t first;

    stream_add(&b, 2, 1);
    stream_add(&b, 7, 1);
    first = b.entries[7];
    stream_add(&b, 7, 2);
    stream_add(&b, 9, 1);
    stream_end(&b);
    bdrv_store_le32(stream_gte(&b, 7), first);
    bdrv_store_le32(stream_gte(&b, 9), 0);
    return b;
}

static BuiltStream (*const damaged[])(void) = {
    with_grain_behind_the_end, with_a_wrong_entry, without_footer_and_overhead,
    with_a_far_footer, without_header, with_a_stale_grain,
};

static void repair(BlockDriverState *memory)
{
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult result = {.struct_size = sizeof result};
    BlockDriverState *disk;

    if (try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk) == 0) {
        bdrv_check(disk, &options, &result);
        bdrv_close(disk);
    }
}

/* A repair of b, of which a call fails, and one that succeeds. */
static void repair_twice(const BuiltStream *b, FaultPlan plan)
{
    static const int grains[] = {2, 7, 9};
    int64_t calls;

    do {
        BlockDriverState *memory = stream_memory(b), *fault = fault_insert(memory), *disk;

        plan.call++;
        fault_arm(fault, &plan);
        repair(fault);
        calls = fault_calls(fault);
        bdrv_close(fault);
        repair(memory);
        disk = open_memory(memory, 0);
        for (int i = 0; i < 3; i++) {
            ck_assert_msg(pattern_verify(disk, grains[i] * STREAM_GRAIN, STREAM_GRAIN, 1) == 0,
                          "grain %d is lost when call %lld fails", grains[i],
                          (long long)plan.call);
        }
        assert_ok(bdrv_close(disk));
        bdrv_close(memory);
        ck_assert_int_lt(plan.call, MOST_CALLS);
    } while (calls >= plan.call);
}

/* A grain was dropped whose marker could not be read, or overwritten; so were all that only
 * tables lead to where the footer could not be read, and those behind a header whose
 * beginning could not. */
START_TEST(no_failing_read_makes_a_repair_drop_a_grain)
{
    const BuiltStream b = damaged[_i]();

    repair_twice(&b, (FaultPlan){.operations = FAULT_READ});
    free(b.bytes);
}
END_TEST

/* Of two grains for one place, a repair that was interrupted and begun again chose the other
 * one. */
START_TEST(no_failing_write_makes_a_repair_drop_a_grain)
{
    const FaultPlan plan = {.operations = FAULT_WRITE | FAULT_FLUSH | FAULT_TRUNCATE,
                            .stored_before = SECTOR};
    const BuiltStream b = damaged[_i]();

    repair_twice(&b, plan);
    repair_twice(&b, (FaultPlan){.operations = plan.operations, .life = FAULT_FOR_EVER});
    free(b.bytes);
}
END_TEST

/* What a check of b finds, while calls fail; its result is returned.  *calls: how many there
 * were. */
static int look(const BuiltStream *b, const FaultPlan *plan, Findings *f, int64_t *calls)
{
    const BdrvCheckOptions options = {.struct_size = sizeof options, .finding = findings_add,
                                      .finding_opaque = f};
    BlockDriverState *memory = stream_memory(b), *fault = fault_insert(memory), *disk;
    int ret;

    memset(f, 0, sizeof *f);
    f->result.struct_size = sizeof f->result;
    fault_arm(fault, plan);
    ret = try_open(fault, BDRV_O_CHECK, NULL, NULL, &disk);
    if (ret == 0) {
        ret = bdrv_check(disk, &options, &f->result);
        bdrv_close(disk);
    }
    *calls = fault_calls(fault);
    bdrv_close(fault);
    bdrv_close(memory);
    return ret;
}

/* One read that failed made of a sound grain one whose content is gone, and if more of them did,
 * of a grain that belongs to an entry of 0 a damaged one: a repair left the entry. */
START_TEST(no_failing_read_is_taken_for_damage)
{
    const BuiltStream b = damaged[_i]();
    FaultPlan plan = {.operations = FAULT_READ};
    Findings sound, f;
    int64_t calls;

    assert_ok(look(&b, &plan, &sound, &calls));
    for (int64_t all = calls; plan.call < all;) {
        plan.call++;
        plan.life = FAULT_ONCE;
        if (look(&b, &plan, &f, &calls) == 0) {
            ck_assert_msg(memcmp(&f.result, &sound.result, sizeof f.result) == 0, "call %d: %.3000s", (int)plan.call, f.text);
        }
        plan.life = FAULT_FOR_EVER;
        if (look(&b, &plan, &f, &calls) == 0) {
            ck_assert_msg(strstr(f.text, " 0 are zeros beside") ||
                          !strstr(f.text, "zeros beside"), "call %d: %.2000s", (int)plan.call, f.text);
            ck_assert_msg(strstr(f.text, "cannot be read"), "call %d: %.2000s", (int)plan.call,
                          f.text);
        }
    }
    free(b.bytes);
}
END_TEST

/* Without its footer, whose directory says that there are no more grains; there is a table too
 * many before it. */
static BuiltStream with_a_late_directory(void)
{
    BuiltStream b = stream_begin(20 * 128);

    stream_add(&b, 2, 1);
    stream_add(&b, 7, 1);
    stream_marker(&b, 4, 1);
    b.size += 4 * SECTOR;
    stream_end(&b);
    b.size = b.footer * SECTOR;
    return b;
}

static void assert_reads(void *opaque, Volume *volume, size_t cut, const char *where)
{
    int64_t size;
    uint8_t *bytes = volume_bytes(volume, "image", &size), last[SECTOR];
    BlockDriverState *memory = image_memory_from(bytes, size), *disk;

    (void)opaque;
    (void)cut;
    ck_assert_msg(try_open(memory, 0, NULL, NULL, &disk) == 0, "%s: %s", where, bdrv_errmsg());
    ck_assert_msg(pattern_verify(disk, 7 * STREAM_GRAIN, STREAM_GRAIN, 1) == 0, "%s", where);
    ck_assert_msg(bdrv_pread(disk, last, sizeof last, 19 * STREAM_GRAIN) == 0, "%s: %s", where,
                  bdrv_errmsg());
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(bytes);
}

/* The file was cut before the new tables were durable: after a loss of power there was
 * nothing that told that the stream was complete, and it did not open. */
START_TEST(no_loss_of_power_takes_the_directory_that_tells_the_end)
{
    const BuiltStream b = with_a_late_directory();
    uint32_t seed = suite_seed();
    Volume *volume = volume_new();
    BlockDriverState *file = volume_create(volume, "image");
    Powercut powercut;

    assert_ok(bdrv_pwrite(file, b.bytes, (size_t)b.size, 0));
    powercut_begin(&powercut, volume);
    repair(file);
    powercut_end(&powercut);
    powercut_try_all(&powercut, 200, &seed, assert_reads, NULL);
    powercut_free(&powercut);
    assert_ok(bdrv_close(file));
    volume_free(volume);
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    static const TTest *const none[] = {NULL};
    Suite *suite = suite_create("vmdk/check-stream-faults");
    TCase *tc = suite_add_case(suite, "faults", none, 60);

    fault_register();
    volume_register();
    tcase_add_loop_test(tc, no_failing_read_makes_a_repair_drop_a_grain, 0,
                        STREAM_CODEC * (int)(sizeof damaged / sizeof *damaged));
    tcase_add_loop_test(tc, no_failing_read_is_taken_for_damage, 0,
                        STREAM_CODEC * (int)(sizeof damaged / sizeof *damaged));
    tcase_add_loop_test(tc, no_failing_write_makes_a_repair_drop_a_grain, 0,
                        STREAM_CODEC * (int)(sizeof damaged / sizeof *damaged));
    tcase_add_loop_test(tc, no_loss_of_power_takes_the_directory_that_tells_the_end, 0,
                        STREAM_CODEC);
    return suite;
}
