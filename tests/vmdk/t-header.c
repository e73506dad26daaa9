/* SPDX-License-Identifier: MIT */
/*
 * t-header.c - the header of a sparse extent: every number in it that a reader
 * must refuse is put into an image that is right otherwise, and the message
 * must name it.  The letters are the rows of the format document, section 9.
 */
#include "build.h"

/* ---------------------------------------------------------------- refusals */

typedef struct Poke {
    const char *row;
    size_t offset;
    size_t width;
    uint64_t value;
    const char *message;
} Poke;

static const Poke refused[] = {
    {"H1", AT_VERSION, 4, 0, "version is 0"},
    {"H1", AT_VERSION, 4, 4, "version is 4"},
    {"H2", AT_FLAGS, 4, 3 | 1u << 18, "flags are 0x40003"},
    {"H2", AT_FLAGS, 4, 3 | 1u << 31, "flags are 0x80000003"},
    {"H3", AT_NEWLINES, 1, '\r', "newline bytes are 0d 20 0d 0a"},
    {"H3", AT_NEWLINES + 1, 4, 0x000a0a20, "newline bytes are 0a 20 0a 0a"},
    {"H4", AT_FLAGS, 4, 3 | 1u << 17, "markers"},
    {"H4", AT_FLAGS, 4, 3 | 1u << 16, "compressAlgorithm is 0"},
    {"H5", AT_GRAIN, 8, 0, "grainSize is 0"},
    {"H5", AT_GRAIN, 8, 96, "grainSize is 96"},
    {"H5", AT_GRAIN, 8, 131072, "grainSize is 131072"},
    {"H5", AT_GRAIN, 8, UINT64_C(1) << 63, "grainSize is 9223372036854775808"},
    {"H6", AT_GTES, 4, 0, "numGTEsPerGT is 0"},
    {"H6", AT_GTES, 4, 64, "numGTEsPerGT is 64"},
    {"H6", AT_GTES, 4, 506, "numGTEsPerGT is 506"},
    {"H6", AT_GTES, 4, 131072, "numGTEsPerGT is 131072"},
    {"H6", AT_GTES, 4, 1u << 31, "numGTEsPerGT is 2147483648"},
    {"H7", AT_CAPACITY, 8, 0, "capacity is 0"},
    {"H7", AT_CAPACITY, 8, UINT64_C(1) << 53, "capacity is 9007199254740992"},
    {"H7", AT_CAPACITY, 8, UINT64_MAX, "capacity is 18446744073709551615"},
    {"H8", AT_CAPACITY, 8, UINT64_C(1) << 52, "the limit is 2^26"},
    {"H9", AT_GD, 8, 0, "gdOffset is sector 0"},
    {"H9", AT_GD, 8, 1 << 20, "gdOffset is sector 1048576"},
    {"H9", AT_GD, 8, UINT64_MAX - 1, "gdOffset is sector 18446744073709551614"},
    {"H9", AT_CAPACITY, 8, UINT64_C(1) << 40, "is it truncated?"},
    {"H11", AT_GD, 8, UINT64_MAX, "none is at the end"},
    {"H13", AT_GD, 8, 21, "overlap"},
    {"D4", AT_DESCRIPTOR, 8, 1 << 20, "the descriptor of 20 sectors at sector 1048576"},
    {"D4", AT_DESCRIPTOR, 8, UINT64_MAX, "the descriptor of 20 sectors"},
    {"D4", AT_DESCRIPTOR_SIZE, 8, UINT64_MAX / 512, "descriptorSize is"},
    {"D2", AT_DESCRIPTOR_SIZE, 8, 2049, "descriptorSize is 2049"},
};

static void poke(Built *b, const Poke *p)
{
    for (size_t i = 0; i < p->width; i++) {
        b->bytes[p->offset + i] = (uint8_t)(p->value >> 8 * i);
    }
}

START_TEST(a_wrong_header_is_refused_by_field)
{
    Built b = build_sparse((Shape){0});

    poke(&b, &refused[_i]);
    build_refused(&b, 0, -EINVAL, refused[_i].message);
}
END_TEST

/* ------------------------------------------------------- odd, but readable */

static const Poke tolerated[] = {
    {"H4", AT_COMPRESSION, 2, 1, "compressAlgorithm is 1"},
    {"H10", AT_RGD, 8, 1 << 20, "rgdOffset is sector 1048576"},
    {"H14", AT_OVERHEAD, 8, 1 << 20, "overHead is 1048576"},
};

START_TEST(an_odd_header_is_read_and_logged)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    Log log;

    poke(&b, &tolerated[_i]);
    memory = build_memory(&b);
    assert_ok(try_open(memory, 0, NULL, &log, &disk));
    assert_pattern(disk, 0, bdrv_getlength(disk), PATTERN_ZEROS);
    ck_assert_msg(strstr(log.text, tolerated[_i].message) != NULL, "%s logs '%s'",
                  tolerated[_i].row, log.text);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(newline_bytes_count_only_when_a_flag_says_so)
{
    Built b = build_sparse((Shape){.without = NO_REDUNDANT});
    BlockDriverState *memory, *disk;

    bdrv_store_le32(b.bytes + AT_FLAGS, 0);
    memset(b.bytes + AT_NEWLINES, 0, 4);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(a_redundant_directory_outside_the_file_forbids_writing)
{
    Built b = build_sparse((Shape){0});

    bdrv_store_le64(b.bytes + AT_RGD, 1 << 20);
    build_refused(&b, BDRV_O_RDWR, -EROFS, "rgdOffset is sector 1048576");
}
END_TEST

/* QEMU refuses to write such an image, which change tracking leaves behind. */
START_TEST(version_3_without_compression_can_be_written)
{
    Built b = build_sparse((Shape){.version = 3});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 0, 4096, 1));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, 4096, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------------ footer */

/* gdOffset in the header says "see the footer"; the footer is a copy with the
 * real one. */
static void add_footer(Built *b)
{
    uint8_t *footer = b->bytes + b->size;

    bdrv_store_le64(footer, 1);
    bdrv_store_le32(footer + 12, 3);
    memcpy(footer + SECTOR, b->bytes, SECTOR);
    bdrv_store_le64(b->bytes + AT_GD, UINT64_MAX);
    b->size += 3 * SECTOR;
}

static Built build_with_footer(void)
{
    Built b = build_sparse((Shape){0});

    add_footer(&b);
    return b;
}

static void assert_opens(Built *b)
{
    BlockDriverState *memory = build_memory(b), *disk = open_memory(memory, 0);

    assert_pattern(disk, 0, bdrv_getlength(disk), PATTERN_ZEROS);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b->bytes);
}

START_TEST(the_directory_is_found_through_the_footer)
{
    Built b = build_with_footer();

    assert_opens(&b);
}
END_TEST

/* Its writer did not know the end when he wrote the head. */
START_TEST(the_capacity_may_be_in_the_footer_alone)
{
    Built b = build_with_footer();

    bdrv_store_le64(b.bytes + AT_CAPACITY, 0);
    assert_opens(&b);
}
END_TEST

/* open-vmdk, when one sector too many hides the footer from it, reads the whole
 * disk as zeros. */
START_TEST(the_footer_is_found_before_blank_sectors)
{
    Built b = build_with_footer();

    b.size += 100 * SECTOR;
    assert_opens(&b);
}
END_TEST

START_TEST(a_footer_too_far_from_the_end_is_not_looked_for)
{
    Built b = build_with_footer();

    b.size += 200 * SECTOR;
    build_refused(&b, 0, -EINVAL, "none is at the end");
}
END_TEST

START_TEST(a_footer_that_disagrees_is_refused)
{
    static const size_t fields[] = {AT_VERSION, AT_FLAGS, AT_CAPACITY, AT_GRAIN, AT_GTES};
    Built b = build_with_footer();

    b.bytes[b.size - 2 * SECTOR + (int64_t)fields[_i]] ^= 4;
    build_refused(&b, 0, -EINVAL, "no copy of the header");
}
END_TEST

START_TEST(a_footer_that_points_to_itself_is_refused)
{
    Built b = build_with_footer();

    bdrv_store_le64(b.bytes + b.size - 2 * SECTOR + AT_GD, UINT64_MAX);
    build_refused(&b, 0, -EINVAL, "says, as the header does");
}
END_TEST

/* Grains come behind the footer, and then it is none: after the first write, the image could
 * not be opened any more. */
START_TEST(what_only_a_footer_leads_to_is_not_written)
{
    Built b = build_with_footer();

    build_refused(&b, BDRV_O_RDWR, -EROFS, "only a footer says where");
}
END_TEST

static BdrvCheckResult repair(BlockDriverState *memory)
{
    const BdrvCheckOptions options = {.struct_size = sizeof options,
                                      .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult result = {.struct_size = sizeof result};
    BlockDriverState *disk = open_memory(memory, BDRV_O_RDWR | BDRV_O_CHECK);

    assert_ok(bdrv_check(disk, &options, &result));
    assert_ok(bdrv_close(disk));
    return result;
}

/* The footer was cut off, as space that nothing uses. */
START_TEST(a_repair_puts_into_the_header_what_a_footer_said)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory, *disk;
    BdrvCheckResult result;

    build_add_grain(&b, 3, 1);
    add_footer(&b);
    memory = build_memory(&b);
    result = repair(memory);
    ck_assert_int_eq(result.unrecoverable, 0);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 3 * 65536, 65536, 1);
    assert_ok(pattern_write(disk, 0, 512, 1));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, 512, 1);
    assert_pattern(disk, 3 * 65536, 65536, 1);
    assert_ok(bdrv_close(disk));
    result = repair(memory);
    ck_assert_int_eq(result.corruptions_fixed + result.leaks_fixed, 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------- other magics */

typedef struct Magic {
    const char *bytes;
    size_t length;
    const char *message;
} Magic;

static const Magic magics[] = {
    {"kdmv", 4, "was interrupted"},
    {"\xbe\xba\xfe\xca\0\0\0", 8, "seSparse"},
    {"\xa2\x72\x19\xf6", 4, "change-tracking"},
};

/* Also without naming the format: raw must not take it. */
START_TEST(what_is_not_a_disk_is_refused_by_name)
{
    uint8_t bytes[4096] = {0};
    BlockDriverState *memory, *disk;

    memcpy(bytes, magics[_i].bytes, magics[_i].length);
    memory = image_memory_from(bytes, sizeof bytes);
    assert_fails_saying(bdrv_open_node(&disk, memory, NULL, NULL), -EINVAL,
                        magics[_i].message);
    bdrv_close(memory);
}
END_TEST

START_TEST(a_file_shorter_than_its_header_is_refused)
{
    Built b = build_sparse((Shape){0});

    b.size = 511;
    build_refused(&b, 0, -EINVAL, "less than a sparse header");
}
END_TEST

/* A host can have holes as long as that; where something behind would end, no number tells. */
START_TEST(a_file_longer_than_any_disk_is_refused)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = image_memory(INT64_MAX), *disk;

    assert_ok(bdrv_pwrite(memory, b.bytes, (size_t)b.size, 0));
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EFBIG, "the limit is 2^62");
    assert_fails_saying(try_open(memory, BDRV_O_RDWR | BDRV_O_CHECK, NULL, NULL, &disk), -EFBIG,
                        "the limit is 2^62");
    assert_ok(bdrv_truncate(memory, (INT64_C(1) << 62) - 1));
    bdrv_close(open_memory(memory, BDRV_O_RDWR));
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* An extent of a split disk holds a part of the disk, and nothing says which. */
START_TEST(an_extent_alone_opens_only_when_asked_for)
{
    Built b = build_sparse((Shape){.without = NO_DESCRIPTOR});
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 3, 1);
    memory = build_memory(&b);
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "extent=on");
    assert_fails_saying(try_open(memory, BDRV_O_RDWR, "extent=on", NULL, &disk), -EROFS,
                        "can only be read");
    assert_ok(try_open(memory, 0, "extent=on", NULL, &disk));
    ck_assert_int_eq(bdrv_getlength(disk), b.sectors * SECTOR);
    assert_pattern(disk, 3 * 65536, 65536, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* QEMU reserves the sectors of a descriptor in every extent of a split disk and
 * leaves them empty. */
START_TEST(room_for_a_descriptor_is_no_descriptor)
{
    Built b = build_sparse((Shape){.text = ""});

    build_refused(&b, 0, -EINVAL, "without the descriptor");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const alone[] = {
        newline_bytes_count_only_when_a_flag_says_so,
        a_redundant_directory_outside_the_file_forbids_writing,
        version_3_without_compression_can_be_written,
        the_directory_is_found_through_the_footer,
        the_capacity_may_be_in_the_footer_alone,
        the_footer_is_found_before_blank_sectors,
        a_footer_too_far_from_the_end_is_not_looked_for,
        a_footer_that_points_to_itself_is_refused,
        what_only_a_footer_leads_to_is_not_written,
        a_repair_puts_into_the_header_what_a_footer_said,
        a_file_shorter_than_its_header_is_refused,
        a_file_longer_than_any_disk_is_refused,
        an_extent_alone_opens_only_when_asked_for,
        room_for_a_descriptor_is_no_descriptor,
        NULL,
    };
    Suite *suite = suite_create("vmdk/header");
    TCase *tc = suite_add_case(suite, "header", alone, 10);

    tcase_add_loop_test(tc, a_wrong_header_is_refused_by_field, 0,
                        sizeof refused / sizeof *refused);
    tcase_add_loop_test(tc, an_odd_header_is_read_and_logged, 0,
                        sizeof tolerated / sizeof *tolerated);
    tcase_add_loop_test(tc, a_footer_that_disagrees_is_refused, 0, 5);
    tcase_add_loop_test(tc, what_is_not_a_disk_is_refused_by_name, 0,
                        sizeof magics / sizeof *magics);
    return suite;
}
