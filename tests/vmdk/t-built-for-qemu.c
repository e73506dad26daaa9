/* SPDX-License-Identifier: MIT */
/*
 * t-built-for-qemu.c - images built in every shape, then written by this driver: what
 * qemu-img reads of them is what was written.  Nothing of ours made the image, and
 * nothing of ours reads it.
 */
#include "built.h"
#include "place.h"

#include <unistd.h>

/* What QEMU 7.2 refuses, or reads wrong, whoever wrote it: see the format document. */
static const char *const beyond_qemu[] = {
    "2048 entries in a table",  "65536 entries in a table", /* 512 at most */
    "descriptor at the end of the file",                    /* looks at byte 512 */
    "capacity of whole grains",                             /* the line's size is ignored */
    "COWD",                                                 /* only through a text */
};

static int is_beyond_qemu(const ImageKind *kind)
{
    for (size_t i = 0; i < sizeof beyond_qemu / sizeof *beyond_qemu; i++) {
        if (strstr(kind->name, beyond_qemu[i])) {
            return 1;
        }
    }
    return (kind->facts & IMAGE_IN_MEMORY) == 0; /* of several files */
}

static void write_here_and_there(Image *image)
{
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);

    for (int64_t i = 0; i < 40; i++) {
        const int64_t at = i * 7919 * 4096 % (image->size - 70000);

        image_write(image, disk, at + i * 3, 60000, (unsigned)i + 1);
        if (i % 7 == 3) {
            image_write_zeroes(image, disk, at, 30000);
        }
    }
    image_close(image, disk);
}

static void assert_qemu_reads(const Image *image)
{
    uint8_t *bytes = image_memory_bytes(image->storage), *raw;
    char *out = host_path(place, "out.raw"), command[512];
    size_t size;

    place_write("x.vmdk", bytes, (size_t)bdrv_getlength(image->storage));
    snprintf(command, sizeof command, "cd '%s' && qemu-img convert -f vmdk -O raw x.vmdk out.raw",
             place);
    ck_assert_msg(system(command) == 0, "%s: qemu-img refuses it", image->kind->name);
    raw = host_read_file(out, &size);
    ck_assert_uint_eq(size, (size_t)image->size);
    ck_assert_msg(memcmp(raw, image->expected, size) == 0, "%s: qemu-img reads other bytes",
                  image->kind->name);
    free(raw);
    free(bytes);
    free(out);
}

START_TEST(qemu_reads_what_we_write_into_what_others_made)
{
    const ImageKind *kind = built_kind((size_t)_i);
    Image *image;

    if (is_beyond_qemu(kind)) {
        return;
    }
    if (!host_has_program("qemu-img")) {
        suite_skipped("qemu-img is not installed");
        return;
    }
    image = image_new(kind, bdrv_max(4 << 20, 5 * kind->cluster) + 3 * SECTOR);
    write_here_and_there(image);
    assert_qemu_reads(image);
    image_free(image);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("vmdk/built-for-qemu");
    TCase *tcase = tcase_create("built");

    image_register_drivers();
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, place_make, place_remove);
    tcase_add_loop_test(tcase, qemu_reads_what_we_write_into_what_others_made, 0,
                        (int)built_kind_count());
    suite_add_tcase(suite, tcase);
    return suite;
}
