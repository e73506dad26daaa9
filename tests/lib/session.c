/* SPDX-License-Identifier: MIT */
/*
 * session.c - see session.h.
 */
#include "session.h"

#include "bdrv-bytes.h"
#include "pattern.h"
#include "suite.h"

enum { LEAST_DISK = 64 * 1024 /* a disk is never made shorter */ };

typedef struct Range {
    int64_t offset;
    int64_t bytes;
} Range;

static uint32_t below(Session *session, uint32_t limit)
{
    return suite_random(&session->seed) % limit;
}

/* Mostly small, sometimes many clusters; often aligned, often at a border. */
static Range random_range(Session *session)
{
    static const int64_t most[] = { 16, 512, 4096, 65536, 300000, 2000000 };
    const int64_t cluster = session->image->kind->cluster;
    const int64_t size = session->image->size;
    Range range;
    range.bytes = 1 + suite_random(&session->seed) % most[below(session, 6)];
    range.offset = suite_random(&session->seed) % size;
    switch (below(session, 4)) {
    case 0:
        range.offset = bdrv_round_down(range.offset, cluster);
        break;
    case 1:
        range.offset = bdrv_round_down(range.offset, 512);
        range.bytes = bdrv_round_up(range.bytes, 512);
        break;
    case 2:
        range.offset = bdrv_max(0, bdrv_round_down(range.offset, cluster) -
                                   range.bytes / 2);
        break;
    default:
        break;
    }
    range.bytes = bdrv_min(range.bytes, size - range.offset);
    return range;
}

static void check_state(const Session *session, Range range)
{
    static const uint8_t zeros[4096];
    const Image *image = session->image;
    BdrvExtent extent;
    assert_ok(bdrv_map(session->disk, range.offset, range.bytes, &extent));
    ck_assert_int_ge(extent.bytes, 1);
    ck_assert_int_le(extent.bytes, range.bytes);
    if (extent.state != BDRV_DATA) {
        size_t bytes = (size_t)bdrv_min(extent.bytes, (int64_t)sizeof(zeros));
        const char *text = pattern_compare(image->expected + range.offset,
                                           zeros, bytes, range.offset);
        ck_assert_msg(text == NULL, "%s: told as zeros, but %s",
                      image->kind->name, text);
    }
}

/* ------------------------------------------------------- of the whole image */

static void reopen(Session *session)
{
    image_close(session->image, session->disk);
    session->disk = image_open(session->image, BDRV_O_RDWR);
}

/* Up or down by less than a quarter, to a whole sector. */
static void resize(Session *session)
{
    Image *image = session->image;
    int64_t change = suite_random(&session->seed) % (image->size / 4 + 1);
    int64_t size = image->size + (below(session, 2) == 0 ? change : -change);
    image_resize(image, session->disk,
                 bdrv_max(LEAST_DISK, bdrv_round_down(size, BDRV_SECTOR_SIZE)));
}

/* From here on what is written goes into an overlay. */
static void enter_overlay(Session *session)
{
    Image *image = session->image;
    session->below = malloc((size_t)image->size);
    ck_assert_ptr_nonnull(session->below);
    memcpy(session->below, image->expected, (size_t)image->size);
    image_close(image, session->disk);
    session->disk = image_open(image, BDRV_O_SNAPSHOT);
}

static void drop_overlay(Session *session)
{
    Image *image = session->image;
    image_close(image, session->disk);
    memcpy(image->expected, session->below, (size_t)image->size);
    free(session->below);
    session->below = NULL;
    session->disk = image_open(image, BDRV_O_RDWR);
}

/* Of an overlay or of a child: it reads the same before and after. */
static void commit(Session *session)
{
    Image *image = session->image;
    int result = bdrv_commit(session->disk);
    ck_assert_msg(result == 0, "%s: commit: %s", image->kind->name, bdrv_errmsg());
    image_assert(image, session->disk);
    if (session->below != NULL) {
        memcpy(session->below, image->expected, (size_t)image->size);
    }
}

static int can_commit(const Session *session)
{
    const ImageKind *kind = session->image->kind;
    /* A parent of another length cannot take what lies beyond it. */
    return session->below != NULL ||
           (kind->parent_format != NULL && kind->parent_growth == 0);
}

static int can_have_overlay(const Session *session)
{
    return (session->image->kind->facts & (IMAGE_FORGETS | IMAGE_SNAPSHOT)) == 0;
}

/* Rare steps, each of which touches everything. */
static void large_step(Session *session)
{
    uint32_t choice = below(session, 8);
    if (choice < 2 && session->below == NULL) {
        reopen(session);
    } else if (choice < 4 && session->below == NULL &&
               (session->image->kind->facts & IMAGE_TRUNCATES) != 0) {
        resize(session);
    } else if (choice < 6 && can_have_overlay(session)) {
        if (session->below == NULL) {
            enter_overlay(session);
        } else {
            drop_overlay(session);
        }
    } else if (choice < 7 && can_commit(session)) {
        commit(session);
    } else {
        assert_ok(bdrv_flush(session->disk));
    }
}

/* ------------------------------------------------------------- the session */

void session_begin(Session *session, const ImageKind *kind, int64_t size,
                   uint32_t seed)
{
    session->seed = seed;
    session->below = NULL;
    session->image = image_new(kind, bdrv_round_up(size, BDRV_SECTOR_SIZE));
    session->disk = image_open(session->image, BDRV_O_RDWR);
}

void session_step(Session *session)
{
    Image *image = session->image;
    Range range = random_range(session);
    uint32_t choice = below(session, 100);
    if (choice < 45) {
        image_write(image, session->disk, range.offset, range.bytes,
                    1 + below(session, PATTERN_MAX_GENERATION));
    } else if (choice < 54) {
        image_write_zeroes(image, session->disk, range.offset, range.bytes);
    } else if (choice < 60) {
        image_discard(image, session->disk, range.offset, range.bytes);
    } else if (choice < 84) {
        image_assert_range(image, session->disk, range.offset, range.bytes);
    } else if (choice < 90) {
        check_state(session, range);
    } else if (choice < 95) {
        assert_ok(bdrv_flush(session->disk));
    } else {
        large_step(session);
    }
}

void session_end(Session *session)
{
    Image *image = session->image;
    image_assert(image, session->disk);
    if (session->below != NULL) {
        drop_overlay(session);
    }
    image_close(image, session->disk);
    BlockDriverState *disk = image_open(image, 0);
    const char *found = image_find_damage(disk);
    ck_assert_msg(found == NULL, "%s: %s", image->kind->name, found);
    image_assert(image, disk);
    image_close(image, disk);
    image_free(image);
}
