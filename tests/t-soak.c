/* SPDX-License-Identifier: MIT */
/*
 * t-soak.c - random sessions on all kinds of images, on as many threads as there
 * are processors (two at least), until a chosen time is over.
 *
 * Each thread goes from one kind to the next, so that all pairs of kinds meet in
 * one process, which share nothing but the library.  SOAK_SECONDS=… chooses the
 * time (`make soak SECONDS=…`), TEST_SEED=… the sessions: it repeats what each
 * thread does, not when.  A long time is passed in rounds, each a test of its own:
 * Check keeps a record of every assertion of a test, in a file.
 */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "image.h"
#include "session.h"
#include "suite.h"

enum {
    THREADS_MAX = 64,
    ROUND = 30,  /* seconds */
    STEPS = 600, /* of a session */
    KIB = 1024
};

typedef struct Soaker {
    pthread_t thread;
    uint32_t seed;
    size_t kind;   /* of the next session */
    time_t end;    /* of the monotonic clock */
    long sessions; /* that are done */
    long steps;
} Soaker;

static time_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* A failed assertion ends the process: Check runs the test in one of its own. */
static void *soak(void *opaque)
{
    static const int64_t sizes[] = { 300 * KIB, 1024 * KIB, 5000 * KIB };
    Soaker *soaker = opaque;
    while (seconds_now() < soaker->end) {
        Session session;
        session_begin(&session, image_kind(soaker->kind),
                      sizes[suite_random(&soaker->seed) % 3] +
                          suite_random(&soaker->seed) % (100 * KIB),
                      suite_random(&soaker->seed));
        for (int i = 0; i < STEPS && seconds_now() < soaker->end; i++) {
            session_step(&session);
            soaker->steps++;
        }
        session_end(&session);
        soaker->sessions++;
        soaker->kind = (soaker->kind + 1) % image_kind_count();
    }
    return NULL;
}

static unsigned thread_count(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 2 ? 2 : processors > THREADS_MAX ? THREADS_MAX : (unsigned)processors;
}

static int seconds_wanted(void)
{
    return suite_count("SOAK_SECONDS", suite_is_large() ? 10 * ROUND : ROUND);
}

START_TEST(sessions_on_all_kinds_agree_with_their_models)
{
    static Soaker soakers[THREADS_MAX];
    const int left = seconds_wanted() - _i * ROUND, seconds = left < ROUND ? left : ROUND;
    const unsigned threads = thread_count();
    uint32_t seed = suite_seed() + (uint32_t)_i;
    long sessions = 0, steps = 0;
    for (unsigned i = 0; i < threads; i++) {
        soakers[i] = (Soaker){
            .seed = suite_random(&seed),
            .kind = suite_random(&seed) % image_kind_count(),
            .end = seconds_now() + seconds,
        };
        ck_assert_int_eq(pthread_create(&soakers[i].thread, NULL, soak, &soakers[i]), 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(soakers[i].thread, NULL);
        sessions += soakers[i].sessions;
        steps += soakers[i].steps;
    }
    printf("%u threads, %d seconds: %ld sessions, %ld steps, no difference\n", threads,
           seconds, sessions, steps);
    fflush(stdout);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("soak");
    TCase *tcase = tcase_create("soak");
    image_register_drivers();
    tcase_set_timeout(tcase, 20 * ROUND);
    tcase_add_loop_test(tcase, sessions_on_all_kinds_agree_with_their_models, 0,
                        (seconds_wanted() + ROUND - 1) / ROUND);
    suite_add_tcase(suite, tcase);
    return suite;
}
