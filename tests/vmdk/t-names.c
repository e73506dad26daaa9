/* SPDX-License-Identifier: MIT */
/*
 * t-names.c - how names in a descriptor lead to files of this host: bytes first,
 * backslashes, other encodings; always from the descriptor's own directory.
 */
#include "place.h"

#include <sys/stat.h>
#include <unistd.h>

enum {
    EXTENT = 65536 /* bytes, 128 sectors */
};

typedef struct Name {
    const char *encoding;
    const char *bytes; /* in the descriptor */
    const char *utf8;  /* on the host */
} Name;

static const Name names[] = {
    {"windows-1252", "gr\xfc\xdf" "e \x80.bin", "grüße €.bin"},
    {"WINDOWS-1251", "\xe4\xe8\xf1\xea.bin", "диск.bin"},
    {"GBK", "\xb4\xc5\xc5\xcc.bin", "磁盘.bin"},
    {"Big5", "\xba\xcf\xba\xd0.bin", "磁碟.bin"},
    /* The second byte of the first character is a backslash. */
    {"Shift_JIS", "\x95\x5c\x8e\xa6.bin", "表示.bin"},
    {"Shift_JIS", "\x95\x5c\\\x8e\xa6.bin", "表/示.bin"},
};

enum {
    NAMES = sizeof names / sizeof *names
};

static int can_convert(void)
{
#ifdef BDRV_HAVE_ICONV
    return 1;
#else
    suite_skipped("built without iconv");
    return 0;
#endif
}

static void make_directory(const char *name)
{
    char *path = host_path(place, name);

    ck_assert_int_eq(mkdir(path, 0777), 0);
    free(path);
}

static void describe(const char *encoding_line, const char *name)
{
    char lines[512];

    snprintf(lines, sizeof lines, "%sRW 128 FLAT \"%s\" 0\n", encoding_line, name);
    place_describe("d.vmdk", lines);
}

static void assert_generation(unsigned generation)
{
    BlockDriverState *disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);

    assert_pattern(disk, 0, EXTENT, generation);
    assert_ok(bdrv_close(disk));
}

START_TEST(a_name_in_an_encoding_of_its_own_leads_to_the_file_in_utf8)
{
    const Name *name = &names[_i];
    char line[64];

    if (!can_convert()) {
        return;
    }
    if (strchr(name->utf8, '/')) {
        make_directory("表");
    }
    place_write_pattern(name->utf8, 0, EXTENT, 1);
    snprintf(line, sizeof line, "encoding=\"%s\"\n", name->encoding);
    describe(line, name->bytes);
    assert_generation(1);
    snprintf(line, sizeof line, "ddb.encoding = \"%s\"\n", name->encoding); /* vdiskmanager 7 */
    describe(line, name->bytes);
    assert_generation(1);
}
END_TEST

START_TEST(a_file_of_just_these_bytes_comes_first)
{
    const Name *name = &names[_i];
    char line[64];

    if (strchr(name->utf8, '/')) {
        return; /* the same bytes are a name with a backslash */
    }
    place_write_pattern(name->utf8, 0, EXTENT, 1);
    place_write_pattern(name->bytes, 0, EXTENT, 2);
    snprintf(line, sizeof line, "encoding=\"%s\"\n", name->encoding);
    describe(line, name->bytes);
    assert_generation(2);
}
END_TEST

/* Nothing of an image decides what the host's library loads; and what is UTF-8, or
 * says nothing, is not converted. */
START_TEST(encodings_that_no_vmware_program_has_are_not_tried)
{
    static const char *const lines[] = {"encoding=\"UTF-16\"\n", "encoding=\"../../x\"\n",
                                        "encoding=\"UTF-8\"\n", "encoding=\"\"\n", ""};

    place_write_pattern("grüße", 0, EXTENT, 1);
    describe(lines[_i], "gr\xfc\xdf" "e");
    place_refused("d.vmdk", 0, -ENOENT, "cannot open the extent");
}
END_TEST

START_TEST(bytes_that_are_none_of_the_encoding_are_told)
{
    describe("encoding=\"Shift_JIS\"\n", "\x95");
    place_refused("d.vmdk", 0, -ENOENT, "in the encoding Shift_JIS");
}
END_TEST

/* A parent's name is as much in that encoding as an extent's. */
START_TEST(a_parent_is_found_in_another_encoding_and_behind_backslashes)
{
    static const char *const hints[] = {"gr\xfc\xdf" "e.vmdk", "C:\\disks\\gr\xfc\xdf" "e.vmdk",
                                        "sub\\base.vmdk", "..\\elsewhere\\base2.vmdk"};
    static const char *const parents[] = {"grüße.vmdk", "grüße.vmdk", "sub/base.vmdk",
                                          "base2.vmdk"};
    char text[512];
    BlockDriverState *disk;
    Built b;

    if (_i < 2 && !can_convert()) {
        return;
    }
    make_directory("sub");
    assert_ok(place_try_create(parents[_i], NULL, "cid=1234abcd", EXTENT));
    disk = place_open(parents[_i], BDRV_O_RDWR, "cid=1234abcd");
    assert_ok(pattern_write(disk, 0, EXTENT, 3));
    assert_ok(bdrv_close(disk));
    snprintf(text, sizeof text, "encoding=\"windows-1252\"\nparentFileNameHint=\"%s\"\n", hints[_i]);
    b = build_sparse((Shape){.sectors = EXTENT / SECTOR, .parent_cid = "1234abcd", .more = text});
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    free(b.bytes);
    assert_generation(3);
}
END_TEST

/* Not to the directory that the program happens to be in. */
START_TEST(relative_names_are_relative_to_the_descriptor)
{
    char *before = getcwd(NULL, 0), *other;
    BlockDriverState *disk;

    make_directory("disks");
    make_directory("here");
    place_write_pattern("disks/a", 0, EXTENT, 1);
    place_write_pattern("here/a", 0, EXTENT, 2);
    place_describe("disks/d.vmdk", "RW 128 FLAT \"a\" 0\n");
    other = host_path(place, "here");
    ck_assert_int_eq(chdir(other), 0);
    assert_ok(bdrv_open(&disk, "../disks/d.vmdk", NULL, NULL));
    assert_pattern(disk, 0, EXTENT, 1);
    assert_ok(bdrv_close(disk));
    ck_assert_int_eq(chdir(before), 0);
    free(before);
    free(other);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {bytes_that_are_none_of_the_encoding_are_told,
                                  relative_names_are_relative_to_the_descriptor, NULL};
    Suite *suite = suite_create("vmdk/names");
    TCase *tcase = suite_add_case(suite, "names", tests, 20);

    tcase_add_checked_fixture(tcase, place_make, place_remove);
    tcase_add_loop_test(tcase, a_name_in_an_encoding_of_its_own_leads_to_the_file_in_utf8, 0,
                        NAMES);
    tcase_add_loop_test(tcase, a_file_of_just_these_bytes_comes_first, 0, NAMES);
    tcase_add_loop_test(tcase, encodings_that_no_vmware_program_has_are_not_tried, 0, 5);
    tcase_add_loop_test(tcase, a_parent_is_found_in_another_encoding_and_behind_backslashes, 0, 4);
    return suite;
}
