/* SPDX-License-Identifier: MIT */
/*
 * t-random.c - a long random session on every kind of image, against a model
 * that is nothing but an array of bytes.
 *
 * The seed is printed; TEST_SEED=… repeats a run, RANDOM_STEPS=… makes it
 * longer.  t-soak.c runs such sessions for a chosen time, many at once.
 */
#include "image.h"
#include "session.h"
#include "suite.h"

enum {
    DISK = 5 * 1024 * 1024 + 5 * BDRV_SECTOR_SIZE,
    STEPS = 400
};

START_TEST(disk_behaves_like_an_array_of_bytes)
{
    int steps = suite_count("RANDOM_STEPS", suite_is_large() ? 20 * STEPS : STEPS);
    Session session;
    session_begin(&session, image_kind((size_t)_i), DISK,
                  suite_seed() + (uint32_t)_i);
    for (int i = 0; i < steps; i++) {
        session_step(&session);
    }
    session_end(&session);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = { disk_behaves_like_an_array_of_bytes, NULL };
    Suite *suite = suite_create("random");
    image_register_drivers();
    image_add_loops(suite, "model", tests, 600);
    return suite;
}
