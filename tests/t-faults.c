/* SPDX-License-Identifier: MIT */
/*
 * t-faults.c - what happens when the storage fails: every kind of image that
 * lies in one file, every call to the storage in turn.
 *
 *     image ──▶ fault ──▶ storage (mem)
 *
 * For n = 1, 2, 3 … the n-th call of the storage fails, until a whole session
 * passes without reaching the n-th call.  Whatever happens, each call of the
 * library says 0 or a negative errno with a message, each read gives right
 * bytes or an error, and the image that is left keeps its promises (ledger.h)
 * when it is opened again.  The same for files that were cut short.
 */
#include "bdrv-bytes.h"
#include "fault.h"
#include "image.h"
#include "ledger.h"
#include "pattern.h"
#include "suite.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    DISK = 2 * 1024 * 1024 + 67 * SECTOR, /* over a COWD table's border */
    MOST_CALLS = 100000 /* a sweep that gets here does not end */
};

/* What can go wrong, each in a sweep of its own. */
static const FaultPlan accidents[] = {
    { .operations = FAULT_ALL, .life = FAULT_ONCE },
    { .operations = FAULT_ALL, .life = FAULT_FOR_EVER, .error = EIO },
    { .operations = FAULT_READ, .life = FAULT_FOR_EVER, .error = EIO },
    { .operations = FAULT_WRITE | FAULT_TRUNCATE | FAULT_ZEROES,
      .life = FAULT_FOR_EVER, .error = ENOSPC },
    { .operations = FAULT_WRITE, .life = FAULT_ONCE, .stored_before = 1 << 20 },
    { .operations = FAULT_WRITE, .life = FAULT_ONCE, .stored_before = SECTOR },
    { .operations = FAULT_FLUSH, .life = FAULT_ONCE },
    { .operations = FAULT_FLUSH, .life = FAULT_FOR_EVER },
};

enum { ACCIDENTS = sizeof(accidents) / sizeof(accidents[0]) };

/* Not 0 if the call failed; it must have said why. */
static int has_failed(int result, const char *call)
{
    /* Not ck_assert_msg(): that tells the parent process each time. */
    if (result > 0) {
        ck_abort_msg("%s returned %d", call, result);
    }
    if (result < 0 && bdrv_errmsg()[0] == '\0') {
        ck_abort_msg("%s failed without a message", call);
    }
    return result != 0;
}

static void write_step(Ledger *ledger, BlockDriverState *disk, int64_t sector,
                       int64_t count, unsigned generation)
{
    int result = pattern_write(disk, sector * SECTOR, count * SECTOR,
                               generation);
    has_failed(result, "write");
    ledger_wrote(ledger, sector * SECTOR, count * SECTOR, generation, result);
}

static void zero_step(Ledger *ledger, BlockDriverState *disk, int64_t sector,
                      int64_t count)
{
    int result = bdrv_write_zeroes(disk, sector * SECTOR, count * SECTOR);
    has_failed(result, "write_zeroes");
    ledger_wrote(ledger, sector * SECTOR, count * SECTOR, PATTERN_ZEROS, result);
}

static void discard_step(Ledger *ledger, BlockDriverState *disk, int64_t sector,
                         int64_t count)
{
    has_failed(bdrv_discard(disk, sector * SECTOR, count * SECTOR), "discard");
    ledger_discarded(ledger, sector * SECTOR, count * SECTOR);
}

static void flush_step(Ledger *ledger, BlockDriverState *disk)
{
    if (!has_failed(bdrv_flush(disk), "flush")) {
        ledger_flushed(ledger);
    }
}

static void assert_promise(const char *text, const ImageKind *kind,
                           const FaultPlan *plan, const char *when)
{
    ck_assert_msg(text == NULL, "%s, operations %#x, call %lld, life %d, "
                  "errno %d: %s: %s", kind->name, plan->operations,
                  (long long)plan->call, plan->life, plan->error, when, text);
}

/* Writes over the borders of clusters and of tables, over what is there and
 * what is not, with flushes between. */
static void run_session(Ledger *ledger, BlockDriverState *disk)
{
    write_step(ledger, disk, 120, 20, 1);
    write_step(ledger, disk, 0, 1, 2);
    flush_step(ledger, disk);
    write_step(ledger, disk, 130, 300, 3);
    write_step(ledger, disk, 4090, 12, 4);
    zero_step(ledger, disk, 200, 250);
    flush_step(ledger, disk);
    discard_step(ledger, disk, 0, 256);
    write_step(ledger, disk, 210, 2, 5);
    write_step(ledger, disk, DISK / SECTOR - 1, 1, 6);
    zero_step(ledger, disk, 1000, 1);
}

/* One session with one fault; how many calls it made of the planned kinds. */
static int64_t run_accident(const Image *image, const FaultPlan *plan)
{
    const ImageKind *kind = image->kind;
    Ledger *ledger = ledger_new(image->initial, DISK);
    BlockDriverState *storage = image_memory_copy(image->storage);
    BlockDriverState *fault = fault_insert(storage);
    BlockDriverState *disk;
    int unreadable = 0;

    fault_arm(fault, plan);
    if (!has_failed(image_try_open_on(image, fault, BDRV_O_RDWR, &disk),
                    "open")) {
        run_session(ledger, disk);
        assert_promise(ledger_check_live(ledger, disk, &unreadable), kind, plan,
                       "during the accident");
        fault_disarm(fault);
        assert_promise(ledger_check_live(ledger, disk, &unreadable), kind, plan,
                       "after the accident");
        if (!has_failed(bdrv_close(disk), "close")) {
            ledger_flushed(ledger);
        }
    } else {
        ck_assert_ptr_null(disk);
    }
    int64_t calls = fault_calls(fault);
    has_failed(bdrv_close(fault), "close of the fault node");

    int result = image_try_open_on(image, storage, BDRV_O_RDWR, &disk);
    assert_promise(result == 0 ? NULL : bdrv_errmsg(), kind, plan, "reopening");
    assert_promise(image_find_damage(disk), kind, plan, "after reopening");
    assert_promise(ledger_check(ledger->stored, ledger->sectors, disk, NULL),
                   kind, plan, "after reopening");
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(storage));
    ledger_free(ledger);
    return calls;
}

START_TEST(no_failing_call_breaks_a_promise)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0) {
        return;
    }
    Image *image = image_new(kind, DISK);
    for (size_t i = 0; i < ACCIDENTS; i++) {
        FaultPlan plan = accidents[i];
        do {
            plan.call++;
            ck_assert_int_lt(plan.call, MOST_CALLS);
        } while (run_accident(image, &plan) >= plan.call);
    }
    image_free(image);
}
END_TEST

/* A new grain was entered into the redundant table though the primary one could not be
 * read: what was written there next was lost when it could be again. */
START_TEST(an_unreadable_table_gets_no_entry_in_its_copy)
{
    Image *image = image_new(image_kind_named("built: no tables"), DISK);
    FaultPlan plan = { .operations = FAULT_READ, .life = FAULT_FOR_EVER, .error = EIO };
    do {
        plan.call++;
    } while (run_accident(image, &plan) >= plan.call);
    image_free(image);
}
END_TEST

/* The close flushes: its failures are swept too, with the fault still there. */
START_TEST(close_tells_that_data_was_lost)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0) {
        return;
    }
    Image *image = image_new(kind, DISK);
    BlockDriverState *fault = fault_insert(image->storage);
    BlockDriverState *disk;
    assert_ok(image_try_open_on(image, fault, BDRV_O_RDWR, &disk));
    assert_ok(pattern_write(disk, 0, 100000, 1));
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_FLUSH, .call = 1,
                                   .life = FAULT_FOR_EVER });
    assert_fails_saying(bdrv_close(disk), -EIO, "injected");
    fault_disarm(fault);
    assert_ok(bdrv_close(fault));
    image_free(image);
}
END_TEST

/* ---------------------------------------------------------------- reading */

static void write_islands(Image *image)
{
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    image_write(image, disk, 0, 1000, 1);
    image_write(image, disk, 100000, 100000, 2);
    image_write_zeroes(image, disk, 150000, 5000);
    image_write(image, disk, image->size - 5, 5, 3);
    image_close(image, disk);
}

/* Reads all; how many calls of the planned kinds that took. */
static int64_t read_with_fault(const Image *image, const FaultPlan *plan)
{
    BlockDriverState *fault = fault_insert(image->storage);
    BlockDriverState *disk;
    fault_arm(fault, plan);
    if (!has_failed(image_try_open_on(image, fault, 0, &disk), "open")) {
        ck_assert_msg(image_is_honest(image, disk), "%s, call %lld: %s",
                      image->kind->name, (long long)plan->call,
                      pattern_message());
        fault_disarm(fault);
        ck_assert_msg(image_is_honest(image, disk), "%s, after call %lld: %s",
                      image->kind->name, (long long)plan->call,
                      pattern_message());
        assert_ok(bdrv_close(disk));
    } else {
        ck_assert_ptr_null(disk);
    }
    int64_t calls = fault_calls(fault);
    assert_ok(bdrv_close(fault));
    return calls;
}

START_TEST(unreadable_file_is_an_error_and_never_zeros)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0) {
        return;
    }
    Image *image = image_new(kind, DISK);
    write_islands(image);
    for (FaultLife life = FAULT_ONCE; life <= FAULT_FOR_EVER; life++) {
        FaultPlan plan = { .operations = FAULT_READ | FAULT_EXTENT,
                           .life = life };
        do {
            plan.call++;
            ck_assert_int_lt(plan.call, MOST_CALLS);
        } while (read_with_fault(image, &plan) >= plan.call);
    }
    image_free(image);
}
END_TEST

START_TEST(fault_that_is_over_is_forgotten)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0) {
        return;
    }
    Image *image = image_new(kind, DISK);
    write_islands(image);
    BlockDriverState *fault = fault_insert(image->storage);
    BlockDriverState *disk;
    uint8_t byte;
    assert_ok(image_try_open_on(image, fault, 0, &disk));
    fault_arm(fault, &(FaultPlan){ .operations = FAULT_READ, .call = 1,
                                   .life = FAULT_FOR_EVER });
    assert_fails_saying(bdrv_pread(disk, &byte, 1, 100000), -EIO, "injected");
    fault_disarm(fault);
    image_assert(image, disk);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(fault));
    image_free(image);
}
END_TEST

/* ---------------------------------------------------------- change of length */

/* The length that the handle tells after a change to wanted, which may have failed; of what
 * stays, nothing is lost, and it can be written. */
static int64_t assert_one_length(BlockDriverState *disk, int64_t wanted, int failed,
                                 const char *when)
{
    const int64_t length = bdrv_getlength(disk);
    ck_assert_msg(length == wanted || (failed && length == DISK), "%s: %lld bytes", when,
                  (long long)length);
    ck_assert_msg(pattern_verify(disk, SECTOR, bdrv_min(wanted, DISK) - SECTOR, 1) == 0, "%s: %s", when,
                  pattern_message());
    return length;
}

static int64_t resize_with_fault(const Image *image, int64_t wanted, const FaultPlan *plan)
{
    BlockDriverState *storage = image_memory_copy(image->storage);
    BlockDriverState *fault = fault_insert(storage);
    BlockDriverState *disk;
    char when[200];
    snprintf(when, sizeof(when), "%s to %lld, operations %#x, call %lld, life %d", image->kind->name,
             (long long)wanted, plan->operations, (long long)plan->call, plan->life);
    assert_ok(image_try_open_on(image, fault, BDRV_O_RDWR, &disk));
    fault_arm(fault, plan);
    int failed = has_failed(bdrv_truncate(disk, wanted), "truncate");
    fault_disarm(fault);
    int64_t calls = fault_calls(fault), length = 0;
    if (!failed || bdrv_getlength(disk) != 0) { /* 0: it could not be opened again */
        length = assert_one_length(disk, wanted, failed, when);
        assert_ok(pattern_write(disk, 0, SECTOR, 2));
    }
    failed |= has_failed(bdrv_close(disk), "close");
    assert_ok(bdrv_close(fault));
    int result = image_try_open_on(image, storage, BDRV_O_RDWR, &disk);
    assert_promise(result == 0 ? NULL : bdrv_errmsg(), image->kind, plan, "reopening");
    assert_promise(image_find_damage(disk), image->kind, plan, "after reopening");
    int64_t now = assert_one_length(disk, wanted, failed, when);
    ck_assert_msg(length == 0 || now == length, "%s: %lld bytes became %lld", when,
                  (long long)length, (long long)now);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(storage));
    return calls;
}

/* A shrink that failed had changed the descriptor, and the handle went on with the old length:
 * what was written behind the new one was lost. */
START_TEST(a_failed_change_of_length_leaves_a_disk_of_one_length)
{
    static const int64_t lengths[] = { 131072 + 7 * SECTOR, 2 * DISK };
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0 || (kind->facts & IMAGE_TRUNCATES) == 0) {
        return;
    }
    Image *image = image_new(kind, DISK);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    image_write(image, disk, 0, DISK, 1);
    image_close(image, disk);
    for (size_t i = 0; i < ACCIDENTS; i++) {
        for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++) {
            FaultPlan plan = accidents[i];
            do {
                plan.call++;
                ck_assert_int_lt(plan.call, MOST_CALLS);
            } while (resize_with_fault(image, lengths[j], &plan) >= plan.call);
        }
    }
    image_free(image);
}
END_TEST

/* --------------------------------------------------------------- creating */

static int64_t create_with_fault(const ImageKind *kind, const FaultPlan *plan)
{
    const Image image = { .kind = kind };
    BlockDriverState *storage = image_memory(0);
    BlockDriverState *fault = fault_insert(storage);
    BdrvCreateOptions options = {
        .struct_size = sizeof(options), .size = DISK,
        .options = kind->create_options,
    };
    BlockDriverState *disk;
    fault_arm(fault, plan);
    int failed = has_failed(bdrv_create_node(fault, kind->format, &options),
                            "create");
    fault_disarm(fault);
    int64_t calls = fault_calls(fault);
    if (!has_failed(image_try_open_on(&image, fault, 0, &disk), "open")) {
        if (!failed) {
            assert_pattern(disk, 0, DISK, PATTERN_ZEROS);
        }
        assert_ok(bdrv_close(disk));
    } else {
        ck_assert_msg(failed, "%s: create said 0, open says %s", kind->name,
                      bdrv_errmsg());
    }
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(storage));
    return calls;
}

START_TEST(create_succeeds_wholly_or_says_that_it_failed)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0 || kind->parent_format != NULL) {
        return;
    }
    for (size_t i = 0; i < ACCIDENTS; i++) {
        FaultPlan plan = accidents[i];
        do {
            plan.call++;
            ck_assert_int_lt(plan.call, MOST_CALLS);
        } while (create_with_fault(kind, &plan) >= plan.call);
    }
}
END_TEST

/* ------------------------------------------------------------- truncation */

static void read_cut(const Image *image, const uint8_t *bytes, int64_t length)
{
    BlockDriverState *storage = image_memory_from(bytes, length);
    BlockDriverState *disk;
    if (!has_failed(image_try_open_on(image, storage, 0, &disk), "open")) {
        ck_assert_msg(image_is_honest(image, disk),
                      "%s, cut to %lld bytes: %s", image->kind->name,
                      (long long)length, pattern_message());
        assert_ok(bdrv_close(disk));
    } else {
        ck_assert_ptr_null(disk);
    }
    assert_ok(bdrv_close(storage));
}

START_TEST(file_that_was_cut_short_never_reads_wrong)
{
    enum { EVERY = 128 * 1024, REST = 37 * SECTOR };
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0 ||
        (kind->facts & IMAGE_PLAIN) != 0) {
        return;
    }
    Image *image = image_new(kind, 1024 * 1024 + 3 * SECTOR);
    write_islands(image);
    int64_t length = bdrv_getlength(image->storage);
    uint8_t *bytes = image_memory_bytes(image->storage);
    for (int64_t cut = 0; cut < length;) {
        read_cut(image, bytes, cut);
        read_cut(image, bytes, cut + 1);
        int near_an_end = cut < EVERY || length - cut < 16 * SECTOR;
        cut += near_an_end ? SECTOR : REST;
    }
    free(bytes);
    image_free(image);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        no_failing_call_breaks_a_promise,
        close_tells_that_data_was_lost,
        unreadable_file_is_an_error_and_never_zeros,
        fault_that_is_over_is_forgotten,
        create_succeeds_wholly_or_says_that_it_failed,
        a_failed_change_of_length_leaves_a_disk_of_one_length,
        file_that_was_cut_short_never_reads_wrong,
        NULL,
    };
    Suite *suite = suite_create("faults");
    image_register_drivers();
    TCase *tcase = image_add_loops(suite, "failing storage", tests, 300);
    tcase_add_test(tcase, an_unreadable_table_gets_no_entry_in_its_copy);
    return suite;
}
