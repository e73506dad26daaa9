/* SPDX-License-Identifier: MIT */
/*
 * t-powercut.c - power loss at every point of a session, on every kind of image
 * that can be written, with all its files and its parent.
 *
 * A session of writes, zeros, discards, flushes, changes of the length and
 * commits is recorded (powercut.h).  Then the files are rebuilt as they might
 * look if the power had gone at each change, in order, with the last write only
 * in part, or with a random choice of what no flush had confirmed.  The image
 * must open, be of a length that it had, and hold everything that a flush had
 * confirmed; in all other sectors something that was written there: old or new,
 * never a mix or foreign bytes.  A check finds nothing but lost space, a repair
 * changes nothing of this, and the image can be written to again.
 *
 * POWERCUT_SESSIONS and POWERCUT_CHOICES (random losses of a session) in the
 * environment say how much; LARGE=1 makes 10,000 losses of each kind.
 * POWERCUT_KIND chooses one kind by its name.
 */
#include "bdrv-bytes.h"
#include "image.h"
#include "ledger.h"
#include "pattern.h"
#include "powercut.h"
#include "suite.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    DISK = 2 * 1024 * 1024 + 67 * SECTOR, /* over a COWD table's border */
    LONGEST = DISK + DISK / 2,
    STEPS = 24,
    MOST_SECTORS = 300, /* of one write: more than two clusters */
    LAST_GENERATION = 63,
    TEXT_BYTES = 512,
    REPAIR_EVERY = 4 /* states */
};

/* One call of the session, and what an image may hold if it is cut short. */
typedef struct Step {
    size_t first_change; /* of the files, that belongs to this step or later */
    Ledger ledger;       /* only what is stored */
} Step;

typedef struct Session {
    Image *image;
    Powercut powercut;
    Ledger *ledger;
    Step steps[STEPS + 2];
    size_t step_count;
    size_t tried;
} Session;

/* What the image may hold while the step that now begins is under way: what it
 * may hold already, or what the step writes. */
static Step *begin_step(Session *session, int64_t offset, int64_t bytes,
                        unsigned generation)
{
    Step *step = &session->steps[session->step_count++];
    const size_t most = LONGEST / SECTOR;
    step->first_change = session->powercut.count;
    step->ledger = *session->ledger;
    step->ledger.live = NULL;
    step->ledger.stored = calloc(most, sizeof(uint64_t));
    ck_assert_ptr_nonnull(step->ledger.stored);
    memcpy(step->ledger.stored, session->ledger->stored,
           session->ledger->most * sizeof(uint64_t));
    for (int64_t i = offset / SECTOR; i < (offset + bytes) / SECTOR; i++) {
        step->ledger.stored[i] |= UINT64_C(1) << generation;
    }
    return step;
}

static int64_t length_of(const Session *session)
{
    return (int64_t)session->ledger->sectors * SECTOR;
}

/* Some sectors of the disk. */
static void choose_range(const Session *session, uint32_t *seed, int64_t *offset,
                         int64_t *bytes)
{
    int64_t sectors = length_of(session) / SECTOR;
    int64_t first = suite_random(seed) % sectors;
    *offset = first * SECTOR;
    *bytes = bdrv_min(1 + suite_random(seed) % MOST_SECTORS, sectors - first) * SECTOR;
}

static void do_write(Session *session, BlockDriverState *disk, uint32_t *seed,
                     unsigned generation)
{
    int64_t offset, bytes;
    choose_range(session, seed, &offset, &bytes);
    if (suite_random(seed) % 8 == 0) {
        generation = PATTERN_ZEROS;
    }
    begin_step(session, offset, bytes, generation);
    if (generation == PATTERN_ZEROS) {
        assert_ok(bdrv_write_zeroes(disk, offset, bytes));
    } else {
        assert_ok(pattern_write(disk, offset, bytes, generation));
    }
    ledger_wrote(session->ledger, offset, bytes, generation, 0);
}

static void do_discard(Session *session, BlockDriverState *disk, uint32_t *seed)
{
    int64_t offset, bytes;
    choose_range(session, seed, &offset, &bytes);
    begin_step(session, offset, bytes, PATTERN_ZEROS);
    int result = bdrv_discard(disk, offset, bytes);
    ck_assert_msg(result == 0 || result == -ENOTSUP, "%s", bdrv_errmsg());
    ledger_discarded(session->ledger, offset, bytes);
}

static void do_flush(Session *session, BlockDriverState *disk)
{
    begin_step(session, 0, 0, PATTERN_ZEROS);
    assert_ok(bdrv_flush(disk));
    ledger_flushed(session->ledger);
}

/* What is between the two lengths may be gone before the shorter one is. */
static void do_resize(Session *session, BlockDriverState *disk, uint32_t *seed)
{
    int64_t now = length_of(session);
    int64_t length = (DISK / 2 / SECTOR + suite_random(seed) % (DISK / SECTOR)) * SECTOR;
    int64_t shorter = bdrv_min(now, length);
    Step *step = begin_step(session, shorter, bdrv_max(now, length) - shorter,
                            PATTERN_ZEROS);
    step->ledger.lengths[step->ledger.length_count++] = (size_t)(length / SECTOR);
    assert_ok(bdrv_truncate(disk, length));
    ledger_resized(session->ledger, length);
}

/* Nothing changes but the place; and it is durable afterwards. */
static void do_commit(Session *session, BlockDriverState *disk)
{
    begin_step(session, 0, 0, PATTERN_ZEROS);
    assert_ok(bdrv_commit(disk));
    ledger_flushed(session->ledger);
}

static void do_step(Session *session, BlockDriverState *disk, uint32_t *seed,
                    unsigned generation)
{
    const ImageKind *kind = session->image->kind;
    uint32_t choice = suite_random(seed) % 16;
    if (choice < 4) {
        do_flush(session, disk);
    } else if (choice < 6) {
        do_discard(session, disk, seed);
    } else if (choice < 8 && (kind->facts & IMAGE_TRUNCATES) != 0) {
        do_resize(session, disk, seed);
    } else if (choice < 8 && kind->parent_format != NULL) {
        do_commit(session, disk);
    } else {
        do_write(session, disk, seed, generation);
    }
}

static void record(Session *session, Image *image, uint32_t *seed)
{
    memset(session, 0, sizeof(*session));
    session->image = image;
    session->ledger = ledger_new(image->initial, DISK);

    powercut_begin(&session->powercut, image->volume);
    BlockDriverState *disk;
    assert_ok(image_try_open(image, BDRV_O_RDWR, &disk));
    for (unsigned i = 1; i <= STEPS; i++) {
        do_step(session, disk, seed, i);
    }
    ck_assert_int_eq(bdrv_getlength(disk), length_of(session));
    const char *text = ledger_check_live(session->ledger, disk, NULL);
    ck_assert_msg(text == NULL, "%s, before any accident: %s", image->kind->name, text);

    begin_step(session, 0, 0, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    ledger_flushed(session->ledger);
    begin_step(session, 0, 0, PATTERN_ZEROS);
    powercut_end(&session->powercut);
}

static void forget(Session *session)
{
    for (size_t i = 0; i < session->step_count; i++) {
        free(session->steps[i].ledger.stored);
    }
    ledger_free(session->ledger);
    powercut_free(&session->powercut);
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

/* A plain file ends wherever the last write that arrived does, as long as its
 * length is not durable. */
static int is_possible(const Session *session, const Ledger *ledger, size_t sectors)
{
    int is_plain = (session->image->kind->facts & IMAGE_PLAIN) != 0;
    int is_longer = 0, is_shorter = 0, is_one = 0;
    for (size_t i = 0; i < ledger->length_count; i++) {
        is_one |= ledger->lengths[i] == sectors;
        is_longer |= ledger->lengths[i] < sectors;
        is_shorter |= ledger->lengths[i] > sectors;
    }
    return is_one || (is_plain && is_longer && is_shorter);
}

static const char *content_problem(const Session *session, const Ledger *ledger,
                                   BlockDriverState *disk)
{
    static char text[TEXT_BYTES];
    size_t sectors = (size_t)(bdrv_getlength(disk) / SECTOR);
    if (is_possible(session, ledger, sectors)) {
        return ledger_check(ledger->stored, sectors, disk, NULL);
    }
    size_t used = (size_t)snprintf(text, sizeof(text), "the disk has %zu sectors; it had",
                                   sectors);
    for (size_t i = 0; i < ledger->length_count; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, " %zu", ledger->lengths[i]);
    }
    return text;
}

/* Not ck_assert_msg(): that tells the parent process each time. */
static void demand(const Session *session, const char *where, const char *problem)
{
    if (problem != NULL) {
        ck_abort_msg("%s, %s: %s", session->image->kind->name, where, problem);
    }
}

static BlockDriverState *open_left(const Session *session, Volume *volume, unsigned flags,
                                   const char *where)
{
    BlockDriverState *disk;
    int result = image_try_open_in(session->image, volume, flags, &disk);
    demand(session, where, result == 0 ? NULL : bdrv_errmsg());
    return disk;
}

/* Says what is left, where a repair should have left nothing.  (When the power
 * went after a split disk got its shorter descriptor, what was cut off is still
 * in its last file; no repair can know if that is to go or to be shown.) */
static void note_finding(void *opaque, const BdrvFinding *finding)
{
    char *text = opaque;
    if (finding->kind != BDRV_FINDING_LEAK &&
        strstr(finding->text, "the descriptor gives the extent") == NULL) {
        snprintf(text, TEXT_BYTES, "left by a repair: %s", finding->text);
    }
}

/* Mends what little there is, after which there is nothing more. */
static void repair(const Session *session, Volume *volume, const Ledger *ledger,
                   const char *where)
{
    BlockDriverState *disk = open_left(session, volume, BDRV_O_RDWR | BDRV_O_CHECK, where);
    BdrvCheckOptions options = { .struct_size = sizeof(options),
                                 .flags = BDRV_CHECK_REPAIR_ALL };
    BdrvCheckResult found = { .struct_size = sizeof(found) };
    int result = bdrv_check(disk, &options, &found);
    demand(session, where, result == 0 || result == -ENOTSUP ? NULL : bdrv_errmsg());
    assert_ok(bdrv_close(disk));
    disk = open_left(session, volume, 0, where);
    found = (BdrvCheckResult){ .struct_size = sizeof(found) };
    char left[TEXT_BYTES] = "";
    options = (BdrvCheckOptions){ .struct_size = sizeof(options),
                                  .finding = note_finding, .finding_opaque = left };
    result = bdrv_check(disk, &options, &found);
    demand(session, where, result == 0 || result == -ENOTSUP ? NULL : bdrv_errmsg());
    demand(session, where, left[0] == '\0' ? NULL : left);
    demand(session, where, content_problem(session, ledger, disk));
    assert_ok(bdrv_close(disk));
}

static void go_on(const Session *session, BlockDriverState *disk, const char *where)
{
    int result = pattern_write(disk, 0, 100 * SECTOR, LAST_GENERATION);
    if (result == 0) {
        result = bdrv_flush(disk);
    }
    demand(session, where, result == 0 ? NULL : bdrv_errmsg());
    if (pattern_verify(disk, 0, 100 * SECTOR, LAST_GENERATION) != 0) {
        demand(session, where, pattern_message());
    }
}

/* The image, as the accident left it, must keep all promises; and it must be
 * possible to go on with it. */
static void examine(void *opaque, Volume *volume, size_t cut, const char *where)
{
    Session *session = opaque;
    const Ledger *ledger = &step_at(session, cut)->ledger;
    if (session->tried++ % REPAIR_EVERY == 0) {
        Volume *copy = volume_copy(volume);
        repair(session, copy, ledger, where);
        volume_free(copy);
    }
    BlockDriverState *disk = open_left(session, volume, BDRV_O_RDWR, where);
    demand(session, where, image_find_damage(disk));
    if (bdrv_backing(disk) != NULL) {
        demand(session, where, image_find_damage(bdrv_backing(disk)));
    }
    demand(session, where, content_problem(session, ledger, disk));
    go_on(session, disk, where);
    assert_ok(bdrv_close(disk));
    disk = open_left(session, volume, 0, where);
    demand(session, where, image_find_damage(disk));
    assert_ok(bdrv_close(disk));
}

/* Makes the images of a sweep. */
typedef Image *MakeFn(const ImageKind *kind);

static void sweep(const ImageKind *kind, MakeFn *make, uint32_t seed)
{
    int sessions = suite_count("POWERCUT_SESSIONS", suite_is_large() ? 10 : 1);
    int choices = suite_count("POWERCUT_CHOICES", suite_is_large() ? 1000 : 100);
    size_t cuts = 0, tried = 0;
    for (int i = 0; i < sessions; i++) {
        Session session;
        record(&session, make(kind), &seed);
        cuts += session.powercut.count + 1;
        tried += powercut_try_all(&session.powercut, (size_t)choices, &seed, examine,
                                  &session);
        forget(&session);
    }
    printf("%s: %zu cuts of %d sessions, %zu states\n", kind->name, cuts, sessions, tried);
    fflush(stdout);
}

static int is_chosen(const ImageKind *kind)
{
    const char *chosen = getenv("POWERCUT_KIND");
    return chosen == NULL || strcmp(chosen, kind->name) == 0;
}

static Image *make_fresh(const ImageKind *kind)
{
    return image_new_in_volume(kind, DISK);
}

START_TEST(power_loss_at_any_point_breaks_no_promise)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if (image_fits_volume(kind) && is_chosen(kind)) {
        sweep(kind, make_fresh, suite_seed() + (uint32_t)_i);
    }
}
END_TEST

/* ---------------------------------------------------------------- creation */

/* What is left of an image that was being made is refused, or is an empty disk;
 * what of it cannot be read is an error. */
typedef struct Creation {
    const ImageKind *kind;
    int opened; /* how many of the states */
} Creation;

static void examine_new(void *opaque, Volume *volume, size_t cut, const char *where)
{
    static uint8_t buf[64 * 1024];
    Creation *creation = opaque;
    const ImageKind *kind = creation->kind;
    BdrvOpenOptions options = { .struct_size = sizeof(options),
                                .options = kind->open_options };
    char path[64];
    BlockDriverState *file, *disk;
    (void)cut;
    volume_path(volume, "new", path, sizeof(path));
    if (bdrv_open(&file, path, "volume", NULL) != 0) {
        return;
    }
    if (bdrv_open_node(&disk, file, kind->format, &options) == 0) {
        creation->opened++;
        int64_t length = bdrv_getlength(disk);
        for (int64_t at = 0; at < length; at += (int64_t)sizeof(buf)) {
            size_t bytes = (size_t)bdrv_min(length - at, (int64_t)sizeof(buf));
            if (bdrv_pread(disk, buf, bytes, at) == 0 &&
                pattern_check(buf, bytes, at, PATTERN_ZEROS) != NULL) {
                ck_abort_msg("%s, %s: %s", kind->name, where, pattern_message());
            }
        }
        assert_ok(bdrv_close(disk));
    }
    assert_ok(bdrv_close(file));
}

START_TEST(power_loss_during_a_creation_makes_nothing_up)
{
    const ImageKind *kind = image_kind((size_t)_i);
    if (!image_fits_volume(kind) || !is_chosen(kind) || kind->parent_format != NULL) {
        return;
    }
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = DISK,
                                 .options = kind->create_options };
    uint32_t seed = suite_seed();
    Volume *volume = volume_new();
    Powercut powercut;
    powercut_begin(&powercut, volume);
    BlockDriverState *file = volume_create(volume, "new");
    assert_ok(bdrv_create_node(file, kind->format, &create));
    assert_ok(bdrv_close(file));
    powercut_end(&powercut);
    Creation creation = { .kind = kind };
    powercut_try_all(&powercut, suite_is_large() ? 1000 : 100, &seed, examine_new, &creation);
    ck_assert_int_gt(creation.opened, 0);
    powercut_free(&powercut);
    volume_free(volume);
}
END_TEST

/* ---------------------------------------------------------------- seSparse */

/* What is written must have a place already: so all of it has. */
static const ImageKind sesparse = {
    .name = "seSparse, in place", .format = "vmdk",
    .create_options = "subformat=seSparse,sesparse_unverified=on",
};

enum {
    SE_GRAIN = 4096,
    SE_GTES = 4096,
    /* Sectors, each in a field of the constant header. */
    SE_GD = 16 * 8,
    SE_GTS = 18 * 8,
    SE_GRAINS = 24 * 8
};

static int64_t sesparse_part(BlockDriverState *file, int64_t field)
{
    uint8_t bytes[8];
    assert_ok(bdrv_pread(file, bytes, sizeof(bytes), field));
    return (int64_t)bdrv_load_le64(bytes) * SECTOR;
}

static void set_entry(BlockDriverState *file, int64_t table, int64_t i, uint64_t value)
{
    uint8_t bytes[8];
    bdrv_store_le64(bytes, value);
    assert_ok(bdrv_pwrite(file, bytes, sizeof(bytes), table + i * (int64_t)sizeof(bytes)));
}

static Image *make_sesparse(const ImageKind *kind)
{
    const int64_t grains = bdrv_div_up(DISK, SE_GRAIN);
    Image *image = image_new_in_volume(kind, DISK);
    BlockDriverState *file = volume_open(image->volume, "image-sesparse.vmdk", BDRV_O_RDWR);
    int64_t gts = sesparse_part(file, SE_GTS);
    assert_ok(bdrv_truncate(file, sesparse_part(file, SE_GRAINS) + grains * SE_GRAIN));
    ck_assert_int_le(grains, SE_GTES);
    set_entry(file, sesparse_part(file, SE_GD), 0, UINT64_C(1) << 60);
    for (int64_t i = 0; i < grains; i++) { /* places below 4096: see the format */
        set_entry(file, gts, i, UINT64_C(3) << 60 | (uint64_t)i << 48);
    }
    assert_ok(bdrv_close(file));
    return image;
}

START_TEST(power_loss_over_sesparse_in_place)
{
    if (is_chosen(&sesparse)) {
        sweep(&sesparse, make_sesparse, suite_seed());
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        power_loss_at_any_point_breaks_no_promise,
        power_loss_during_a_creation_makes_nothing_up, NULL,
    };
    Suite *suite = suite_create("powercut");
    image_register_drivers();
    TCase *tcase = image_add_loops(suite, "power loss", tests, 36000);
    tcase_add_test(tcase, power_loss_over_sesparse_in_place);
    return suite;
}
