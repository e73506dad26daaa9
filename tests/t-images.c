/* SPDX-License-Identifier: MIT */
/*
 * t-images.c - real images, made by other people's programs: each line of
 * shared/images/MANIFEST.tsv that is about raw or vmdk.
 *
 * What is marked ok must read as the recorded sha256 of the whole disk.  What is
 * marked malformed, or lacks its files, must be refused with a message.  Where
 * the folder of images is not there, the tests are skipped and say so.
 *
 * Images of 4 GiB and more, and those that unpack to gigabytes, are for `make
 * check-large`.
 */
#include "host.h"
#include "suite.h"

#ifndef BDRV_IMAGES
#define BDRV_IMAGES "../shared/images"
#endif

enum {
    MOST_IMAGES = 200,
    LINE_SIZE = 8192
};

#define LARGE_BYTES (INT64_C(4) << 30)

/* The lines of the manifest that concern us; each test reads its own again. */
static int line_count;

static const char *images_folder(void)
{
    const char *folder = getenv("IMAGES");
    return folder != NULL ? folder : BDRV_IMAGES;
}

static int is_ours(const HostImage *image)
{
    return strncmp(image->path, "raw/", 4) == 0 ||
           strncmp(image->path, "vmdk/", 5) == 0;
}

/* The index-th line that is ours: 1, or 0 if there are not so many. */
static int find_image(int index, char *line, HostImage *image)
{
    FILE *manifest = host_manifest_open(images_folder());
    int found = 0;
    while (manifest != NULL && !found &&
           host_manifest_next(manifest, line, LINE_SIZE, image)) {
        found = is_ours(image) && index-- == 0;
    }
    if (manifest != NULL) {
        fclose(manifest);
    }
    return found;
}

static int count_images(void)
{
    char line[LINE_SIZE];
    HostImage image;
    int count = 0;
    while (count < MOST_IMAGES && find_image(count, line, &image)) {
        count++;
    }
    return count;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static int is_large(const HostImage *image)
{
    return image->virtual_size >= LARGE_BYTES ||
           strncmp(image->path, "vmdk/huge-", 10) == 0;
}

/* Brings the image and, from its notes, the files it needs ("with: a | b") to
 * a directory; gives back the image's path. */
static char *fetch(const HostImage *image, const char *directory)
{
    char *source = host_path(images_folder(), image->path);
    char *path = host_fetch(source, directory);
    free(source);
    char *with = strstr(image->notes, "with: ");
    char *rest = with != NULL ? with + strlen("with: ") : NULL;
    for (char *name; (name = strsep(&rest, "|")) != NULL;) {
        name += strspn(name, " ");
        name[strcspn(name, " \n;")] = '\0';
        source = host_path(images_folder(), name);
        free(host_fetch(source, directory));
        free(source);
    }
    return path;
}

static void say_skipped(const HostImage *image, const char *why)
{
    char text[512];
    snprintf(text, sizeof(text), "%s (%s): %s", image->path, image->subformat,
             why);
    suite_skipped(text);
}

/* Opens it: 0, or a negative errno with a message of its own. */
static int open_image(const HostImage *image, const char *path,
                      BlockDriverState **bs)
{
    const char *format = strcmp(image->format, "raw") == 0 ? "raw" : NULL;
    int result = bdrv_open(bs, path, format, NULL);
    if (result != 0) {
        ck_assert_ptr_null(*bs);
        ck_assert_msg(bdrv_errmsg()[0] != '\0', "%s: refused without a word",
                      image->path);
    }
    return result;
}

static void print_finding(void *opaque, const BdrvFinding *finding)
{
    (void)opaque;
    printf("found: %s\n", finding->text);
}

/* bdrv_check() finds no fault in what other people's programs have made. */
static void assert_finds_nothing(const HostImage *image, const char *path)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options),
                                .flags = BDRV_O_CHECK };
    BdrvCheckOptions how = { .struct_size = sizeof(how),
                             .finding = print_finding };
    BdrvCheckResult found = { .struct_size = sizeof(found) };
    BlockDriverState *bs;
    ck_assert_int_eq(bdrv_open(&bs, path, image->format, &options), 0);
    int result = bdrv_check(bs, &how, &found);
    if (result != -ENOTSUP) {
        ck_assert_msg(result == 0, "%s: %s", image->path, bdrv_errmsg());
        ck_assert_msg(found.corruptions + found.unrecoverable + found.leaks +
                              found.mismatches == 0,
                      "%s: a check finds fault with it", image->path);
    }
    ck_assert_int_eq(bdrv_close(bs), 0);
}

static void check_good_image(const HostImage *image, const char *path)
{
    BlockDriverState *bs;
    int result = open_image(image, path, &bs);
    ck_assert_msg(result == 0, "%s: %s", image->path, bdrv_errmsg());
    ck_assert_str_eq(bdrv_format(bs), image->format);
    ck_assert_msg(bdrv_getlength(bs) == image->virtual_size,
                  "%s: has %lld bytes, wanted %lld", image->path,
                  (long long)bdrv_getlength(bs), (long long)image->virtual_size);
    char digest[65];
    result = host_sha256(bs, digest);
    ck_assert_msg(result == 0, "%s: %s", image->path, bdrv_errmsg());
    ck_assert_msg(strcmp(digest, image->sha256) == 0,
                  "%s: sha256 is %s, wanted %s", image->path, digest,
                  image->sha256);
    ck_assert_int_eq(bdrv_close(bs), 0);
    assert_finds_nothing(image, path);
}

/* The format is named: by probing, a broken header may well be raw data. */
static void check_bad_image(const HostImage *image, const char *path)
{
    BlockDriverState *bs;
    int result = bdrv_open(&bs, path, image->format, NULL);
    ck_assert_msg(result < 0, "%s: opens, but is %s", image->path, image->kind);
    ck_assert_ptr_null(bs);
    ck_assert_msg(strstr(bdrv_errmsg(), path) != NULL,
                  "%s: the message does not name it: %s", image->path,
                  bdrv_errmsg());
    printf("%s: %s\n", image->path, bdrv_errmsg());
}

static void run_image(HostImage *image)
{
    char *directory = host_directory_new();
    if (ends_with(image->path, ".xz") && !host_has_program("xz")) {
        say_skipped(image, "xz is not installed");
    } else if (strcmp(image->subformat, "split raw") == 0) {
        say_skipped(image, "no driver joins split raw files yet");
    } else {
        char *path = fetch(image, directory);
        if (strcmp(image->kind, "ok") == 0) {
            check_good_image(image, path);
        } else {
            check_bad_image(image, path);
        }
        free(path);
    }
    host_directory_remove(directory);
}

START_TEST(real_image_reads_as_recorded_or_is_refused)
{
    char line[LINE_SIZE];
    HostImage image;
    ck_assert_int_eq(find_image(_i, line, &image), 1);
    if (is_large(&image) && !suite_is_large()) {
        say_skipped(&image, "large; see make check-large");
    } else {
        run_image(&image);
    }
}
END_TEST

START_TEST(images_are_there)
{
    if (line_count == 0) {
        suite_skipped("there is no folder of images with a MANIFEST.tsv");
    }
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = { images_are_there, NULL };
    Suite *suite = suite_create("images");
    TCase *tcase = suite_add_case(suite, "images", tests, 1800);
    line_count = count_images();
    tcase_add_loop_test(tcase, real_image_reads_as_recorded_or_is_refused, 0,
                        line_count);
    return suite;
}
