/* SPDX-License-Identifier: MIT */
/*
 * t-powercut.c - power loss at every point of a session, on every kind of image
 * that lies in one file.
 *
 * A session of writes, zeros and flushes is recorded.  Then for each change of
 * the file the image is rebuilt as it might look if the power went there:
 * everything before arrived, or the last write only in part, or a random choice
 * of the sectors since the last barrier.  The image must open, hold everything
 * that a flush had confirmed, and in all other sectors something that was
 * written there: old or new, never a mix or foreign bytes.
 *
 * POWERCUT_SESSIONS and POWERCUT_CHOICES in the environment make it longer.
 */
#include "bdrv-bytes.h"
#include "image.h"
#include "ledger.h"
#include "pattern.h"
#include "powercut.h"
#include "suite.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    DISK = 4 * 1024 * 1024 + 3 * SECTOR,
    STEPS = 24,
    MOST_SECTORS = 300 /* of one write: more than two clusters */
};

/* One call of the session, and what an image may hold if it is cut short. */
typedef struct Step {
    size_t first_change; /* of the file, that belongs to this step or later */
    uint64_t *stored;    /* a ledger's set, while the step is under way */
} Step;

typedef struct Session {
    Image *image;
    BlockDriverState *before; /* the storage at the beginning */
    PowercutLog log;
    Ledger *ledger;
    Step steps[STEPS + 2];
    size_t step_count;
} Session;

/* What the image may hold while the step that now begins is under way: what it
 * may hold already, or what the step writes. */
static void begin_step(Session *session, int64_t offset, int64_t bytes,
                       unsigned generation)
{
    const Ledger *ledger = session->ledger;
    Step *step = &session->steps[session->step_count++];
    size_t size = ledger->sectors * sizeof(uint64_t);
    step->first_change = session->log.count;
    step->stored = malloc(size);
    ck_assert_ptr_nonnull(step->stored);
    memcpy(step->stored, ledger->stored, size);
    for (int64_t i = offset / SECTOR; i < (offset + bytes) / SECTOR; i++) {
        step->stored[i] |= UINT64_C(1) << generation;
    }
}

static void do_write(Session *session, BlockDriverState *disk, uint32_t *seed,
                     unsigned generation)
{
    int64_t sectors = DISK / SECTOR;
    int64_t first = suite_random(seed) % sectors;
    int64_t count = bdrv_min(1 + suite_random(seed) % MOST_SECTORS,
                             sectors - first);
    if (suite_random(seed) % 8 == 0) {
        generation = PATTERN_ZEROS;
    }
    begin_step(session, first * SECTOR, count * SECTOR, generation);
    if (generation == PATTERN_ZEROS) {
        assert_ok(bdrv_write_zeroes(disk, first * SECTOR, count * SECTOR));
    } else {
        assert_ok(pattern_write(disk, first * SECTOR, count * SECTOR,
                                generation));
    }
    ledger_wrote(session->ledger, first * SECTOR, count * SECTOR, generation, 0);
}

static void do_discard(Session *session, BlockDriverState *disk, uint32_t *seed)
{
    int64_t sectors = DISK / SECTOR;
    int64_t first = suite_random(seed) % sectors;
    int64_t count = bdrv_min(1 + suite_random(seed) % MOST_SECTORS,
                             sectors - first);
    begin_step(session, first * SECTOR, count * SECTOR, PATTERN_ZEROS);
    int result = bdrv_discard(disk, first * SECTOR, count * SECTOR);
    ck_assert_msg(result == 0 || result == -ENOTSUP, "%s", bdrv_errmsg());
    ledger_discarded(session->ledger, first * SECTOR, count * SECTOR);
}

static void do_flush(Session *session, BlockDriverState *disk)
{
    begin_step(session, 0, 0, PATTERN_ZEROS);
    assert_ok(bdrv_flush(disk));
    ledger_flushed(session->ledger);
}

static void record(Session *session, const ImageKind *kind, uint32_t *seed)
{
    memset(session, 0, sizeof(*session));
    Image *image = image_new(kind, DISK);
    session->image = image;
    session->ledger = ledger_new(image->initial, DISK);
    session->before = image_memory_copy(image->storage);

    BlockDriverState *recorder = powercut_insert(image->storage, &session->log);
    BlockDriverState *disk;
    assert_ok(image_try_open_on(image, recorder, BDRV_O_RDWR, &disk));
    for (unsigned i = 1; i <= STEPS; i++) {
        uint32_t choice = suite_random(seed) % 8;
        if (choice < 2) {
            do_flush(session, disk);
        } else if (choice < 3) {
            do_discard(session, disk, seed);
        } else {
            do_write(session, disk, seed, i);
        }
    }
    const char *text = ledger_check_live(session->ledger, disk, NULL);
    ck_assert_msg(text == NULL, "%s, before any accident: %s", kind->name, text);

    begin_step(session, 0, 0, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    ledger_flushed(session->ledger);
    begin_step(session, 0, 0, PATTERN_ZEROS);
    assert_ok(bdrv_close(recorder));
}

static void forget(Session *session)
{
    for (size_t i = 0; i < session->step_count; i++) {
        free(session->steps[i].stored);
    }
    ledger_free(session->ledger);
    powercut_log_free(&session->log);
    assert_ok(bdrv_close(session->before));
    image_free(session->image);
}

/* The step that was under way at the cut: the last that begins at or before
 * it.  A step that is done has kept its promise even if it changed nothing. */
static const Step *step_at(const Session *session, size_t cut)
{
    size_t i = session->step_count - 1;
    while (session->steps[i].first_change > cut) {
        i--;
    }
    return &session->steps[i];
}

/* The image, as the accident left it, must keep all promises; and it must be
 * possible to go on with it. */
static void examine(const Session *session, size_t cut, const char *how,
                    BlockDriverState *storage)
{
    const Step *step = step_at(session, cut);
    const char *name = session->image->kind->name;
    BlockDriverState *disk;
    int result = image_try_open_on(session->image, storage, BDRV_O_RDWR, &disk);
    ck_assert_msg(result == 0, "%s, cut at %zu of %zu (%s): %s",
                  name, cut, session->log.count, how,
                  bdrv_errmsg());
    const char *text = image_find_damage(disk);
    if (text == NULL) {
        text = ledger_check(step->stored, session->ledger->sectors, disk, NULL);
    }
    ck_assert_msg(text == NULL, "%s, cut at %zu of %zu (%s): %s",
                  name, cut, session->log.count, how, text);
    assert_ok(pattern_write(disk, 0, 100 * SECTOR, 63));
    assert_ok(bdrv_flush(disk));
    assert_pattern(disk, 0, 100 * SECTOR, 63);
    assert_ok(bdrv_close(disk));
}

typedef enum Accident { LOSE_NOTHING, TEAR_LAST, LOSE_BY_CHANCE } Accident;

static void try_cut(const Session *session, size_t cut, Accident accident,
                    uint32_t *seed)
{
    static const char *const names[] = { "in order", "torn", "by chance" };
    BlockDriverState *storage = image_memory_copy(session->before);
    switch (accident) {
    case LOSE_NOTHING:
        powercut_replay_all(&session->log, cut, storage);
        break;
    case TEAR_LAST:
        powercut_replay_torn(&session->log, cut, storage);
        break;
    case LOSE_BY_CHANCE:
        powercut_replay_some(&session->log, cut, seed, storage);
        break;
    }
    examine(session, cut, names[accident], storage);
    assert_ok(bdrv_close(storage));
}

START_TEST(power_loss_at_any_point_breaks_no_promise)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if ((kind->facts & IMAGE_IN_MEMORY) == 0) {
        return;
    }
    uint32_t seed = suite_seed() + (uint32_t)_i;
    int sessions = suite_count("POWERCUT_SESSIONS", suite_is_large() ? 20 : 1);
    int choices = suite_count("POWERCUT_CHOICES", 4);
    for (int i = 0; i < sessions; i++) {
        Session session;
        record(&session, kind, &seed);
        for (size_t cut = 0; cut <= session.log.count; cut++) {
            try_cut(&session, cut, LOSE_NOTHING, &seed);
            try_cut(&session, cut, TEAR_LAST, &seed);
            for (int c = 0; c < choices; c++) {
                try_cut(&session, cut, LOSE_BY_CHANCE, &seed);
            }
        }
        forget(&session);
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        power_loss_at_any_point_breaks_no_promise, NULL,
    };
    Suite *suite = suite_create("powercut");
    image_register_drivers();
    image_add_loops(suite, "power loss", tests, 600);
    return suite;
}
