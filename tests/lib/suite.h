/* SPDX-License-Identifier: MIT */
/*
 * suite.h - what every test program shares: its main(), and the two
 * assertions that follow from the library's one error convention.
 *
 * A test program defines test_suite() and nothing else; main() is in suite.c.
 * Called without arguments it runs all but the tests tagged "large"; with
 * -large, or LARGE=1 in the environment, it runs those too.  CK_FORK, CK_VERBOSITY, CK_RUN_CASE and their
 * sisters work as Check documents them.
 */
#ifndef TESTS_LIB_SUITE_H
#define TESTS_LIB_SUITE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "bdrv.h"

/* The program's suite.  Called once, before anything is forked: the place to
 * register test drivers. */
Suite *test_suite(void);

/* Adds to suite a case of the given name, which runs each of the tests (ended
 * by NULL) under a time limit in seconds, and gives it back for more. */
TCase *suite_add_case(Suite *suite, const char *name,
                      const TTest *const *tests, double seconds);

/* Not 0 when the large tests are wanted. */
int suite_is_large(void);

/* Adds a driver to the table unless one of its name is there; ends the program
 * if it is refused.  For test_suite(), where Check's assertions do not work. */
void suite_register(const BlockDriver *driver, const char *name);

/* Says that the test which is running has no way to do its work here, and why:
 * tests/run.sh counts the line. */
void suite_skipped(const char *reason);

/* A random seed: what TEST_SEED says, else from the clock.  Printed, so that a
 * failure can be repeated. */
uint32_t suite_seed(void);

/* The next number of a small generator whose whole state is *seed: the same on
 * every machine, which rand() is not. */
uint32_t suite_random(uint32_t *seed);

/* A number from the environment, for tests whose length can be chosen. */
int suite_count(const char *variable, int normal);

/* The call must succeed; what it returned is shown with the library's own
 * message if not. */
#define assert_ok(call)                                                        \
    do {                                                                       \
        int64_t result_ = (call);                                              \
        ck_assert_msg(result_ >= 0, "%s gives %s (%.900s)", #call,             \
                      strerror((int)-result_), bdrv_errmsg());                 \
    } while (0)

/* The call must fail with exactly this error (a negative errno), and leave a
 * message for the user. */
#define assert_fails(call, wanted)                                             \
    do {                                                                       \
        int64_t result_ = (call);                                              \
        ck_assert_msg(result_ == (wanted), "%s gives %lld (%.900s), wanted %s", \
                      #call, (long long)result_,                               \
                      result_ < 0 ? bdrv_errmsg() : "success", #wanted);       \
        ck_assert_msg(bdrv_errmsg()[0] != '\0', "%s left no message", #call);  \
    } while (0)

/* The same, and the message must contain text. */
#define assert_fails_saying(call, wanted, text)                                \
    do {                                                                       \
        assert_fails(call, wanted);                                            \
        ck_assert_msg(strstr(bdrv_errmsg(), (text)) != NULL,                   \
                      "%s says \"%.900s\", without \"%s\"", #call,             \
                      bdrv_errmsg(), (text));                                  \
    } while (0)

#endif
