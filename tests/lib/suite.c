/* SPDX-License-Identifier: MIT */
/*
 * suite.c - main() of every test program, and its bits of randomness.
 */
#include "suite.h"

#include <time.h>

#include "bdrv-driver.h"

static int large;

int suite_is_large(void)
{
    return large;
}

TCase *suite_add_case(Suite *suite, const char *name,
                      const TTest *const *tests, double seconds)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, seconds);
    for (; *tests != NULL; tests++) {
        tcase_add_test(tcase, *tests);
    }
    suite_add_tcase(suite, tcase);
    return tcase;
}

int suite_count(const char *variable, int normal)
{
    const char *text = getenv(variable);
    return text != NULL && atoi(text) > 0 ? atoi(text) : normal;
}

void suite_register(const BlockDriver *driver, const char *name)
{
    if (bdrv_find(name) == NULL && bdrv_register(driver) != 0) {
        fprintf(stderr, "cannot register %s: %s\n", name, bdrv_errmsg());
        exit(EXIT_FAILURE);
    }
}

void suite_skipped(const char *reason)
{
    printf("skipped: %s\n", reason);
    fflush(stdout);
}

uint32_t suite_seed(void)
{
    const char *text = getenv("TEST_SEED");
    uint32_t seed = text != NULL ? (uint32_t)strtoul(text, NULL, 0)
                                 : (uint32_t)time(NULL);
    printf("TEST_SEED=%u\n", (unsigned)seed);
    fflush(stdout);
    return seed;
}

uint32_t suite_random(uint32_t *seed)
{
    /* A Weyl sequence, scrambled: any seed is good, 0 included. */
    uint32_t x = *seed += UINT32_C(0x9e3779b9);
    x = (x ^ x >> 16) * UINT32_C(0x21f0aaad);
    x = (x ^ x >> 15) * UINT32_C(0x735a2d97);
    return x ^ x >> 15;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "-large") != 0) {
        fprintf(stderr, "usage: %s [-large]\n", argv[0]);
        return 2;
    }
    large = argc > 1 || suite_count("LARGE", 0) > 0;
    SRunner *runner = srunner_create(test_suite());
    srunner_run_tagged(runner, NULL, NULL, NULL, large ? NULL : "large", CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
