/* SPDX-License-Identifier: MIT */
/*
 * host.c - loads the driver object named in argv[1] (see driver-v0.1.c),
 * registers its table with the library of today, and uses it on the file named
 * in argv[2].  Also offers tables of other sizes, which is what a driver built
 * for an older or a newer library looks like.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdrv-driver.h"

static void expect(int truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "not so: %s (last message: %s)\n", what, bdrv_errmsg());
        exit(1);
    }
}

static const BlockDriver *load(const char *path)
{
    void *object = dlopen(path, RTLD_NOW);

    if (object == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return dlsym(object, "flipped_driver");
}

/* An older driver's table is shorter than what we know: only what it says it
 * has may be read. */
static BlockDriver copy_of(const BlockDriver *driver)
{
    BlockDriver copy = { 0 };
    size_t size = driver->struct_size;

    memcpy(&copy, driver, size < sizeof(copy) ? size : sizeof(copy));
    return copy;
}

/* A driver for a newer library has members we do not know: they are cut off. */
static void newer_table_is_taken(const BlockDriver *driver)
{
    struct {
        BlockDriver known;
        void *later[4];
    } newer;

    memset(&newer, 0xff, sizeof(newer));
    newer.known = copy_of(driver);
    newer.known.struct_size = sizeof(newer);
    newer.known.name = "newer";
    expect(bdrv_register(&newer.known) == 0, "a longer table is accepted");
}

/* A driver for an older library lacks members: they get their defaults, and
 * what lies in memory behind the table is not looked at. */
static void older_table_is_taken(const BlockDriver *driver)
{
    BlockDriver older;

    memset(&older, 0xff, sizeof(older));
    memcpy(&older, driver, offsetof(BlockDriver, write_zeroes));
    older.struct_size = offsetof(BlockDriver, write_zeroes);
    older.name = "older";
    expect(bdrv_register(&older) == 0, "a shorter table is accepted");
}

static void wrong_tables_are_refused(const BlockDriver *driver)
{
    BlockDriver wrong = copy_of(driver);

    expect(bdrv_register(driver) == -EEXIST, "the same name twice is -EEXIST");
    wrong.name = "wrong";
    wrong.api_version = BDRV_DRIVER_API + 1;
    expect(bdrv_register(&wrong) == -EINVAL, "another API is -EINVAL");
    wrong.api_version = BDRV_DRIVER_API;
    wrong.struct_size = offsetof(BlockDriver, read);
    expect(bdrv_register(&wrong) == -EINVAL, "a table without read is -EINVAL");
    expect(bdrv_find("wrong") == NULL, "a refused driver is not listed");
}

static void use(const char *format, const char *path)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options),
                                .flags = BDRV_O_RDWR,
                                .options = "multiple=512" };
    BlockDriverState *disk;
    uint8_t written[10000], buffer[10000];

    for (size_t i = 0; i < sizeof(written); i++) {
        written[i] = (uint8_t)(i % 251);
    }
    expect(bdrv_open(&disk, path, format, &options) == 0, "it opens");
    expect(bdrv_pwrite(disk, written, sizeof(written), 77) == 0, "it writes");
    expect(bdrv_write_zeroes(disk, 500, 9) == 0, "zeros have a default");
    expect(bdrv_discard(disk, 0, 512) == -ENOTSUP, "discard is not supported");
    memset(written + (500 - 77), 0, 9);
    expect(bdrv_pread(disk, buffer, sizeof(buffer), 77) == 0, "it reads");
    expect(memcmp(buffer, written, sizeof(buffer)) == 0, "what was written");
    expect(bdrv_close(disk) == 0, "it closes");

    expect(bdrv_open(&disk, path, "raw", NULL) == 0, "raw opens the file");
    expect(bdrv_pread(disk, buffer, 1, 77 + 3) == 0, "raw reads it");
    expect(buffer[0] == (uint8_t)~written[3], "the file has flipped bits");
    expect(bdrv_close(disk) == 0, "raw closes");
}

int main(int argc, char **argv)
{
    const BlockDriver *driver = load(argc == 3 ? argv[1] : "");

    expect(driver != NULL, "the object has a table");
    expect(bdrv_register(driver) == 0, "the driver is accepted");
    newer_table_is_taken(driver);
    older_table_is_taken(driver);
    wrong_tables_are_refused(driver);
    use("flipped", argv[2]);
    use("newer", argv[2]);
    use("older", argv[2]);
    return 0;
}
