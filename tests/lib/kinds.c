/* SPDX-License-Identifier: MIT */
/*
 * kinds.c - the list of image kinds (image.h) that the conformance suite and
 * the accident suites run on.  A new driver, or a new shape of one, gets a line
 * here and is tested.
 */
#include "bdrv-driver.h"
#include "built.h"
#include "fault.h"
#include "image.h"
#include "suite.h"
#include "trace.h"

extern const BlockDriver bdrv_driver_template;

enum {
    KIB = 1024,
    GRAIN = 64 * KIB,
    GROWTH = 100 * KIB + 512 /* of a parent; no multiple of a grain */
};

static const ImageKind kinds[] = {
    { .name = "file", .format = "file", .create_format = "raw",
      .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_GROWS | IMAGE_TRUNCATES | IMAGE_PLAIN },
    { .name = "mem", .format = "mem", .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_GROWS | IMAGE_TRUNCATES | IMAGE_FORGETS },
    { .name = "null", .format = "null", .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_EMPTY | IMAGE_FORGETS | IMAGE_TRUNCATES | IMAGE_GROWS },
    { .name = "raw", .format = "raw", .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_IN_MEMORY | IMAGE_TRUNCATES | IMAGE_PLAIN },
    { .name = "raw on a file", .format = "raw", .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_TRUNCATES | IMAGE_PLAIN },
    { .name = "template", .format = "template", .cluster = GRAIN,
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS },
    { .name = "snapshot of raw", .format = "raw", .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_SNAPSHOT | IMAGE_FORGETS },
    { .name = "vmdk", .format = "vmdk", .cluster = GRAIN,
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "vmdk, zeroed grains", .format = "vmdk", .cluster = GRAIN,
      .create_options = "zeroed_grain=on",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    /* A disk of 4 MiB needs two tables then. */
    { .name = "vmdk, small grains", .format = "vmdk", .cluster = 8 * KIB,
      .create_options = "grain_size=8k",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "vmdk, small tables", .format = "vmdk", .cluster = 8 * KIB,
      .create_options = "grain_size=8k,gtes_per_table=128,zeroed_grain=on",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "vmdk, large grains", .format = "vmdk", .cluster = 1024 * KIB,
      .create_options = "grain_size=1M",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "cowd", .format = "vmdk", .cluster = 512,
      .create_options = "subformat=cowd",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "cowd, large grains", .format = "vmdk", .cluster = GRAIN,
      .create_options = "subformat=cowd,grain_size=64k",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "vmfsSparse", .format = "vmdk", .cluster = 512,
      .create_options = "subformat=vmfsSparse", .facts = IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "vmdk child", .format = "vmdk", .cluster = GRAIN,
      .parent_format = "vmdk", .facts = IMAGE_MAPS },
    { .name = "vmdk child in memory", .format = "vmdk", .cluster = GRAIN,
      .parent_format = "vmdk", .facts = IMAGE_IN_MEMORY | IMAGE_MAPS },
    { .name = "vmdk child, zeroed grains", .format = "vmdk", .cluster = GRAIN,
      .create_options = "zeroed_grain=on", .parent_format = "vmdk",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS },
    { .name = "vmdk child of a shorter parent", .format = "vmdk",
      .cluster = GRAIN, .parent_format = "vmdk", .parent_growth = -GROWTH,
      .parent_options = "cid=1234abcd", .parent_open_options = "cid=1234abcd",
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS },
    { .name = "vmdk child of a longer parent", .format = "vmdk",
      .cluster = GRAIN, .parent_format = "vmdk", .parent_growth = GROWTH,
      .parent_options = "cid=1234abcd", .parent_open_options = "cid=1234abcd",
      .facts = IMAGE_MAPS },
    { .name = "vmdk child of one with other grains", .format = "vmdk",
      .cluster = GRAIN, .parent_format = "vmdk",
      .parent_options = "grain_size=8k", .facts = IMAGE_MAPS },
    { .name = "vmfsSparse child", .format = "vmdk", .cluster = 512,
      .create_options = "subformat=vmfsSparse", .parent_format = "vmdk",
      .facts = IMAGE_MAPS },
    { .name = "monolithicFlat", .format = "vmdk", .cluster = IMAGE_CLUSTER,
      .create_options = "subformat=monolithicFlat",
      .facts = IMAGE_TRUNCATES },
    { .name = "vmfs", .format = "vmdk", .cluster = IMAGE_CLUSTER,
      .create_options = "subformat=vmfs,preallocation=full",
      .facts = IMAGE_TRUNCATES },
    { .name = "twoGbMaxExtentSparse", .format = "vmdk", .cluster = GRAIN,
      .create_options = "subformat=twoGbMaxExtentSparse,extent_size=1M",
      .facts = IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "twoGbMaxExtentSparse, several tables", .format = "vmdk",
      .cluster = 8 * KIB,
      .create_options = "subformat=twoGbMaxExtentSparse,extent_size=2M,grain_size=8k,"
                        "gtes_per_table=128",
      .facts = IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "twoGbMaxExtentSparse child, several tables", .format = "vmdk",
      .cluster = 8 * KIB, .parent_format = "vmdk",
      .create_options = "subformat=twoGbMaxExtentSparse,extent_size=2M,grain_size=8k,"
                        "gtes_per_table=128",
      .facts = IMAGE_MAPS },
    { .name = "twoGbMaxExtentFlat", .format = "vmdk", .cluster = GRAIN,
      .create_options = "subformat=twoGbMaxExtentFlat,extent_size=64k",
      .facts = IMAGE_TRUNCATES },
    /* More extents than may be open: they come and go. */
    { .name = "twoGbMaxExtentSparse, few open", .format = "vmdk",
      .cluster = GRAIN, .open_options = "open_files=2",
      .create_options = "subformat=twoGbMaxExtentSparse,extent_size=128k",
      .facts = IMAGE_MAPS | IMAGE_TRUNCATES },
    { .name = "twoGbMaxExtentFlat, few open", .format = "vmdk",
      .cluster = GRAIN, .open_options = "open_files=1",
      .create_options = "subformat=twoGbMaxExtentFlat,extent_size=64k",
      .facts = IMAGE_TRUNCATES },
    { .name = "twoGbMaxExtentSparse child", .format = "vmdk",
      .cluster = GRAIN, .parent_format = "vmdk",
      .create_options = "subformat=twoGbMaxExtentSparse,extent_size=1M",
      .facts = IMAGE_MAPS },
    { .name = "twoGbMaxExtentSparse child, few open", .format = "vmdk",
      .cluster = GRAIN, .open_options = "open_files=2",
      .create_options = "subformat=twoGbMaxExtentSparse,extent_size=128k",
      .parent_format = "vmdk", .parent_options = "subformat=monolithicFlat",
      .facts = IMAGE_MAPS },
    { .name = "vmfsSparse child of a split parent", .format = "vmdk",
      .cluster = 512, .create_options = "subformat=vmfsSparse",
      .parent_format = "vmdk",
      .parent_options = "subformat=twoGbMaxExtentSparse,extent_size=1M",
      .facts = IMAGE_MAPS },
    { .name = "snapshot of vmdk", .format = "vmdk", .cluster = IMAGE_CLUSTER,
      .facts = IMAGE_SNAPSHOT | IMAGE_FORGETS },
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

const ImageKind *image_kind(size_t index)
{
    if (index < KINDS) {
        return &kinds[index];
    }
    index -= KINDS;
    return index < built_kind_count()
               ? built_kind(index)
               : built_read_only_kind(index - built_kind_count());
}

size_t image_kind_count(void)
{
    return KINDS;
}

static size_t count_of(ImageRange range)
{
    size_t count = KINDS;

    if (range != IMAGE_CREATED) {
        count += built_kind_count();
    }
    return range == IMAGE_READABLE ? count + built_read_only_kind_count() : count;
}

const ImageKind *image_kind_named(const char *name)
{
    for (size_t i = 0; i < count_of(IMAGE_READABLE); i++) {
        if (strcmp(image_kind(i)->name, name) == 0) {
            return image_kind(i);
        }
    }
    ck_abort_msg("no image kind is named %s", name);
    return NULL;
}

void image_register_drivers(void)
{
    fault_register();
    trace_register();
    volume_register();
    suite_register(&bdrv_driver_template, "template");
}

TCase *image_add_loops_over(ImageRange range, Suite *suite, const char *name,
                            const TTest *const *tests, double seconds)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, seconds);
    for (; *tests != NULL; tests++) {
        tcase_add_loop_test(tcase, *tests, 0, (int)count_of(range));
    }
    suite_add_tcase(suite, tcase);
    return tcase;
}

TCase *image_add_loops(Suite *suite, const char *name,
                       const TTest *const *tests, double seconds)
{
    return image_add_loops_over(suite_is_large() ? IMAGE_WRITABLE : IMAGE_CREATED,
                                suite, name, tests, seconds);
}
