/* SPDX-License-Identifier: MIT */
/*
 * t-stream.c - reading streamOptimized images: every layout in which they
 * occur, from a file and from a pipe, and everything in one that must be an
 * error.  C1 to C8 are the rows of the format document, 9.4.
 */
#include "build.h"
#include "streams.h"

enum {
    DISK_SECTORS = 700 * 128 + 32, /* two GTs, and a last grain of 16 KiB */
    LAST_GRAIN = 700,
    GENERATION = 3
};

static const int usual[] = {0, 1, 600, LAST_GRAIN, -1};
static const int64_t disk_bytes = (int64_t)DISK_SECTORS * SECTOR;

static int is_libdeflate_missing(void)
{
#ifdef BDRV_HAVE_LIBDEFLATE
    return 0;
#else
    suite_skipped("this build cannot decompress");
    return 1;
#endif
}

static int is_one_of(const int *grains, int64_t grain)
{
    while (*grains >= 0 && *grains != grain) {
        grains++;
    }
    return *grains >= 0;
}

static void assert_content(BlockDriverState *disk, const int *grains)
{
    ck_assert_int_eq(bdrv_getlength(disk), disk_bytes);
    for (int64_t at = 0; at < disk_bytes; at += STREAM_GRAIN) {
        int there = is_one_of(grains, at / STREAM_GRAIN);

        assert_pattern(disk, at, bdrv_min(STREAM_GRAIN, disk_bytes - at),
                       there ? GENERATION : PATTERN_ZEROS);
    }
}

static BlockDriverState *stream_memory(const Stream *s)
{
    return image_memory_from(s->bytes, s->size);
}

/* ------------------------------------------------------------------ styles */

START_TEST(every_style_is_read)
{
    Stream s = stream_build(&stream_styles[_i], DISK_SECTORS, usual, GENERATION);
    BlockDriverState *memory = stream_memory(&s), *disk;

    if (!is_libdeflate_missing()) {
        disk = open_memory(memory, 0);
        assert_content(disk, usual);
        bdrv_close(disk);
    }
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

START_TEST(runs_cover_the_disk_and_tell_what_is_there)
{
    Stream s = stream_build(&stream_styles[_i], DISK_SECTORS, usual, GENERATION);
    BlockDriverState *memory = stream_memory(&s), *disk;
    BdrvExtent run;

    if (!is_libdeflate_missing()) {
        disk = open_memory(memory, 0);
        for (int64_t at = 0; at < disk_bytes; at += run.bytes) {
            int there = is_one_of(usual, at / STREAM_GRAIN);

            assert_ok(bdrv_is_allocated(disk, at, disk_bytes - at, &run));
            ck_assert_int_eq(run.state, there ? BDRV_DATA : BDRV_UNALLOCATED);
            ck_assert_int_eq(run.compressed, there);
            ck_assert_ptr_null(run.file);
        }
        bdrv_close(disk);
    }
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

START_TEST(a_stream_without_grains_reads_as_zeros)
{
    static const int none[] = {-1};
    Stream s = stream_build(&stream_styles[_i], DISK_SECTORS, none, GENERATION);
    BlockDriverState *memory = stream_memory(&s), *disk;

    if (!is_libdeflate_missing()) {
        disk = open_memory(memory, 0);
        assert_content(disk, none);
        bdrv_close(disk);
    }
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

START_TEST(a_stream_opened_for_writing_says_how_to_get_a_writable_one)
{
    Stream s = stream_build(&stream_styles[_i], DISK_SECTORS, usual, GENERATION);
    BlockDriverState *memory = stream_memory(&s), *disk;

    assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EROFS,
                        "img-convert -O vmdk");
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

START_TEST(grains_larger_than_2_mib_are_refused)
{
    Stream s = stream_build(stream_style("vdiskmanager"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *memory, *disk;

    bdrv_store_le64(s.bytes + AT_GRAIN, 8192);
    memory = stream_memory(&s);
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "grainSize is 8192");
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

/* In QEMU's streams there are two directories. */
START_TEST(a_redundant_table_helps_where_the_first_is_unusable)
{
    Stream s = stream_build(stream_style("QEMU"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *memory, *disk;

    bdrv_store_le32(s.bytes + s.gd, UINT32_MAX);
    memory = stream_memory(&s);
    if (!is_libdeflate_missing()) {
        disk = open_memory(memory, 0);
        assert_content(disk, usual);
        bdrv_close(disk);
    }
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

/* ------------------------------------------------------------ C1 to C5, C8 */

/* A grain that cannot be read is an error, in no case zeros, and others can be
 * read still. */
static void assert_grain_fails(const Stream *s, const char *message)
{
    BlockDriverState *memory = stream_memory(s), *disk;
    uint8_t *grain = malloc(STREAM_GRAIN);

    ck_assert_ptr_nonnull(grain);
    if (!is_libdeflate_missing()) {
        disk = open_memory(memory, 0);
        assert_fails_saying(bdrv_pread(disk, grain, STREAM_GRAIN, STREAM_GRAIN), -EIO, message);
        assert_fails_saying(bdrv_pread(disk, grain, 512, STREAM_GRAIN + 512), -EIO, message);
        assert_pattern(disk, 0, STREAM_GRAIN, GENERATION);
        bdrv_close(disk);
    }
    free(grain);
    bdrv_close(memory);
}

/* Grain 1 is spoilt; which byte of its block, and what comes there. */
static const struct {
    const char *row;
    size_t offset, width;
    uint64_t value;
    const char *message;
} spoilt[] = {
    {"C1", 8, 4, 0, "no grain is there"},
    {"C1", 8, 4, 131073, "has 131073 bytes; at most 131072"},
    {"C1", 8, 4, UINT32_MAX, "has 4294967295 bytes"},
    {"C2", 0, 8, 256, "where one of sector 256 is"},
    {"C3", 12, 1, 0x79, "cannot be decompressed"},
    {"C3", 8, 4, 1000, "cannot be decompressed"},
    {"C3", 100, 1, 0xee, "cannot be decompressed"}, /* the Adler-32 tells */
    {"C5", 13, 1, 0x20, "preset dictionary"},
};

START_TEST(a_spoilt_grain_is_an_error_that_says_why)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);

    for (size_t i = 0; i < spoilt[_i].width; i++) {
        s.bytes[s.at[1] + (int64_t)(spoilt[_i].offset + i)] =
            (uint8_t)(spoilt[_i].value >> 8 * i);
    }
    assert_grain_fails(&s, spoilt[_i].message);
    stream_free(&s);
}
END_TEST

/* Puts another zlib stream in the place of grain 1's. */
static void replace_grain(Stream *s, size_t bytes)
{
    uint8_t *content = calloc(1, bytes), *block = s->bytes + s->at[1];
    const int64_t room = bdrv_round_up(12 + STREAM_GRAIN + 16, SECTOR);

    ck_assert_ptr_nonnull(content);
    memset(block + 12, 0, (size_t)room - 12);
    bdrv_store_le32(block + 8, (uint32_t)stream_store(block + 12, content, bytes));
    free(content);
}

START_TEST(C3_a_grain_that_is_too_short_is_an_error)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);

    replace_grain(&s, STREAM_GRAIN - 1);
    assert_grain_fails(&s, "less than a grain");
    stream_free(&s);
}
END_TEST

START_TEST(C4_a_grain_that_is_too_long_is_an_error)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);

    replace_grain(&s, STREAM_GRAIN + 1);
    assert_grain_fails(&s, "more than a grain");
    stream_free(&s);
}
END_TEST

START_TEST(C1_a_grain_beyond_the_end_of_the_file_is_an_error)
{
    Stream s = stream_build(stream_style("vdiskmanager"), DISK_SECTORS, usual, GENERATION);

    /* Its marker is a copy in the last sector. */
    memcpy(s.bytes + s.size - SECTOR, s.bytes + s.at[1], SECTOR);
    bdrv_store_le32(stream_gte(&s, 1), (uint32_t)(s.size / SECTOR - 1));
    assert_grain_fails(&s, "the file ends within");
    stream_free(&s);
}
END_TEST

START_TEST(an_entry_behind_the_end_of_the_file_is_an_error)
{
    Stream s = stream_build(stream_style("vdiskmanager"), DISK_SECTORS, usual, GENERATION);

    bdrv_store_le32(stream_gte(&s, 1), UINT32_MAX);
    assert_grain_fails(&s, "the file ends before it");
    stream_free(&s);
}
END_TEST

/* --------------------------------------------------------- footer: H11, H12 */

START_TEST(H12_a_footer_that_is_no_copy_of_the_header_is_refused)
{
    static const size_t fields[] = {AT_VERSION, AT_FLAGS, AT_CAPACITY, AT_GRAIN, AT_GTES};
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *memory, *disk;

    s.bytes[s.footer + (int64_t)fields[_i]] ^= 2;
    memory = stream_memory(&s);
    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL, "no copy of the header");
    bdrv_close(memory);
    stream_free(&s);
}
END_TEST

static int open_logged(const Stream *s, unsigned flags, Log *log, BlockDriverState **disk)
{
    BlockDriverState *memory = stream_memory(s);
    int ret = try_open(memory, flags, NULL, log, disk);

    bdrv_close(memory);
    return ret;
}

/* By the GD that comes after the last grain it is known that all are there. */
START_TEST(H11_a_lost_footer_is_made_up_for_by_the_markers)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    Log log;

    memset(s.bytes + s.footer - SECTOR, 0xaa, 2 * SECTOR);
    if (!is_libdeflate_missing()) {
        assert_ok(open_logged(&s, 0, &log, &disk));
        ck_assert_msg(strstr(log.text, "lost its footer") != NULL, "%s", log.text);
        assert_content(disk, usual);
        bdrv_close(disk);
    }
    stream_free(&s);
}
END_TEST

START_TEST(H11_an_end_marker_at_the_end_shows_that_all_is_there)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    Log log;

    s.size = s.gd; /* its marker becomes the end's */
    memset(s.bytes + s.gd - SECTOR, 0, SECTOR);
    if (!is_libdeflate_missing()) {
        assert_ok(open_logged(&s, 0, &log, &disk));
        assert_content(disk, usual);
        bdrv_close(disk);
    }
    stream_free(&s);
}
END_TEST

START_TEST(H11_a_stream_that_is_cut_is_refused)
{
    static const int64_t padding[] = {0, SECTOR * 3, 1024 * SECTOR};
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    Log log;

    /* Also when it was made in its full length before the transfer began. */
    memset(s.bytes + s.at[2], 0, (size_t)(STREAM_ROOM - s.at[2]));
    s.size = s.at[2] + padding[_i];
    if (!is_libdeflate_missing()) {
        assert_fails_saying(open_logged(&s, 0, &log, &disk), -EINVAL,
                            "not completely transferred");
    }
    stream_free(&s);
}
END_TEST

START_TEST(H11_a_check_reads_what_there_is_of_a_cut_stream)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    uint8_t sector[SECTOR];
    Log log;

    s.size = s.at[2] + SECTOR;
    if (!is_libdeflate_missing()) {
        assert_ok(open_logged(&s, BDRV_O_CHECK, &log, &disk));
        assert_pattern(disk, 0, 2 * STREAM_GRAIN, GENERATION);
        assert_fails_saying(bdrv_pread(disk, sector, sizeof sector, 2 * STREAM_GRAIN), -EIO,
                            "the file ends before the grain");
        bdrv_close(disk);
    }
    stream_free(&s);
}
END_TEST

START_TEST(C6_two_grains_of_one_place_are_refused_where_no_table_decides)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    Log log;

    memset(s.bytes + s.footer - SECTOR, 0xaa, 2 * SECTOR);
    bdrv_store_le64(s.bytes + s.at[1], 0);
    if (!is_libdeflate_missing()) {
        assert_fails_saying(open_logged(&s, 0, &log, &disk), -EINVAL,
                            "two grains for disk sector 0");
    }
    stream_free(&s);
}
END_TEST

/* -------------------------------------------------------------------- pipes */

/* Storage that goes forward only, as tools/pipe.c has it. */
typedef struct Forward {
    const Stream *stream;
    int64_t position;
} Forward;

enum { HEAD = 65536 };

static int forward_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    Forward *f = opaque;

    if (offset + (int64_t)bytes > f->stream->size) {
        return -ENODATA;
    }
    if (offset < f->position && offset + (int64_t)bytes > HEAD) {
        return -ESPIPE;
    }
    f->position = bdrv_max(f->position, offset + (int64_t)bytes);
    memcpy(buf, f->stream->bytes + offset, bytes);
    return 0;
}

static int64_t forward_length(void *opaque)
{
    (void)opaque;
    return INT64_MAX - 511;
}

static int open_forward(Forward *f, const Stream *s, BlockDriverState **disk)
{
    BdrvIo io = {.struct_size = sizeof io, .read = forward_read, .getlength = forward_length};
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_FORWARD};

    *f = (Forward){.stream = s};
    return bdrv_open_io(disk, "pipe", &io, f, "vmdk", &options);
}

static int can_be_piped(const StreamStyle *style)
{
    return !(style->facts & (STREAM_NO_LBA | STREAM_NO_CAPACITY | STREAM_NO_END)) &&
           (style->tables == STREAM_TABLES_FRONT || style->facts & STREAM_MARKERS);
}

START_TEST(a_stream_is_read_from_a_pipe)
{
    const StreamStyle *style = &stream_styles[_i];
    Stream s = stream_build(style, DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk, *copy = image_memory(disk_bytes);
    Forward f;

    if (can_be_piped(style) && !is_libdeflate_missing()) {
        assert_ok(open_forward(&f, &s, &disk));
        assert_ok(bdrv_convert(disk, copy, NULL));
        assert_content(copy, usual);
        bdrv_close(disk);
    }
    bdrv_close(copy);
    stream_free(&s);
}
END_TEST

START_TEST(what_has_passed_cannot_be_read_again)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    uint8_t byte;
    Forward f;

    if (!is_libdeflate_missing()) {
        assert_ok(open_forward(&f, &s, &disk));
        assert_pattern(disk, STREAM_GRAIN, 100, GENERATION);
        assert_pattern(disk, STREAM_GRAIN + 8, 100, GENERATION); /* the grain at hand */
        assert_pattern(disk, disk_bytes - 512, 512, GENERATION);
        assert_fails_saying(bdrv_pread(disk, &byte, 1, STREAM_GRAIN), -ESPIPE, "has passed");
        bdrv_close(disk);
    }
    stream_free(&s);
}
END_TEST

/* Converting must fail, not write zeros. */
static void assert_pipe_fails(const Stream *s, const char *message)
{
    BlockDriverState *disk, *copy = image_memory(disk_bytes);
    Forward f;

    if (!is_libdeflate_missing()) {
        assert_ok(open_forward(&f, s, &disk));
        ck_assert_int_lt(bdrv_convert(disk, copy, NULL), 0);
        ck_assert_msg(strstr(bdrv_errmsg(), message) != NULL, "%s", bdrv_errmsg());
        bdrv_close(disk);
    }
    bdrv_close(copy);
}

START_TEST(a_pipe_that_ends_early_is_an_error)
{
    static const int first[] = {0, -1};
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, first, GENERATION);

    s.size = s.footer - SECTOR;
    assert_pipe_fails(&s, "without an end-of-stream marker");
    s.size = s.footer;
    memset(s.bytes + s.footer - SECTOR, 0, SECTOR); /* an end, but no footer before */
    assert_pipe_fails(&s, "without a footer");
    stream_free(&s);
}
END_TEST

/* Grain 600 is spoilt. */
static const struct {
    const char *row;
    size_t offset;
    uint64_t value;
    const char *message;
} unpipeable[] = {
    {"C6", 0, 600 * 128 + 1, "no grain of a disk"},
    {"C6", 0, DISK_SECTORS, "no grain of a disk"},
    {"C6", 0, UINT64_C(1) << 56, "no grain of a disk"},
    {"C6", 0, 128, "comes twice, or after"},
    {"C7", 8, UINT64_C(5) << 32, "is of type 5"},
    {"C1", 8, 131073, "at most 131072 are possible"},
};

START_TEST(a_wrong_marker_in_a_pipe_is_an_error)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);

    bdrv_store_le64(s.bytes + s.at[2] + (int64_t)unpipeable[_i].offset, unpipeable[_i].value);
    assert_pipe_fails(&s, unpipeable[_i].message);
    stream_free(&s);
}
END_TEST

START_TEST(C7_a_table_longer_than_any_is_an_error)
{
    Stream s = stream_build(stream_style("vSphere"), DISK_SECTORS, usual, GENERATION);

    bdrv_store_le64(s.bytes + s.gd - SECTOR, (1 << 26) + 1);
    bdrv_store_le64(s.bytes + s.at[3], 3); /* so that the walk comes there */
    bdrv_store_le64(s.bytes + s.at[3], 600 * 128);
    bdrv_store_le64(s.bytes + s.at[2], 500 * 128);
    assert_pipe_fails(&s, "at most 67108864 are possible");
    stream_free(&s);
}
END_TEST

START_TEST(what_no_pipe_can_give_is_refused)
{
    static const char *const names[] = {"sizes without LBA", "capacity only in the footer"};
    Stream s = stream_build(stream_style(names[_i]), DISK_SECTORS, usual, GENERATION);
    BlockDriverState *disk;
    Forward f;

    assert_fails_saying(open_forward(&f, &s, &disk), -ENOTSUP, "store it in a file");
    stream_free(&s);
}
END_TEST

START_TEST(other_kinds_cannot_be_read_from_a_pipe)
{
    Built b = build_sparse((Shape){0});
    Stream s = {.bytes = b.bytes, .size = b.size};
    BlockDriverState *disk;
    Forward f;

    assert_fails_saying(open_forward(&f, &s, &disk), -ENOTSUP, "only streamOptimized");
    free(b.bytes);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        grains_larger_than_2_mib_are_refused,
        a_redundant_table_helps_where_the_first_is_unusable,
        C3_a_grain_that_is_too_short_is_an_error, C4_a_grain_that_is_too_long_is_an_error,
        C1_a_grain_beyond_the_end_of_the_file_is_an_error,
        an_entry_behind_the_end_of_the_file_is_an_error,
        H11_a_lost_footer_is_made_up_for_by_the_markers,
        H11_an_end_marker_at_the_end_shows_that_all_is_there,
        H11_a_check_reads_what_there_is_of_a_cut_stream,
        C6_two_grains_of_one_place_are_refused_where_no_table_decides,
        what_has_passed_cannot_be_read_again, a_pipe_that_ends_early_is_an_error,
        C7_a_table_longer_than_any_is_an_error, other_kinds_cannot_be_read_from_a_pipe, NULL};
    Suite *suite = suite_create("vmdk-stream");
    TCase *tcase = suite_add_case(suite, "streams", tests, 60);
    int styles = 0;

    while (stream_styles[styles].name) {
        styles++;
    }
    tcase_add_loop_test(tcase, every_style_is_read, 0, styles);
    tcase_add_loop_test(tcase, runs_cover_the_disk_and_tell_what_is_there, 0, styles);
    tcase_add_loop_test(tcase, a_stream_without_grains_reads_as_zeros, 0, styles);
    tcase_add_loop_test(tcase, a_stream_opened_for_writing_says_how_to_get_a_writable_one, 0,
                        styles);
    tcase_add_loop_test(tcase, a_stream_is_read_from_a_pipe, 0, styles);
    tcase_add_loop_test(tcase, a_spoilt_grain_is_an_error_that_says_why, 0,
                        sizeof spoilt / sizeof *spoilt);
    tcase_add_loop_test(tcase, H12_a_footer_that_is_no_copy_of_the_header_is_refused, 0, 5);
    tcase_add_loop_test(tcase, H11_a_stream_that_is_cut_is_refused, 0, 3);
    tcase_add_loop_test(tcase, a_wrong_marker_in_a_pipe_is_an_error, 0,
                        sizeof unpipeable / sizeof *unpipeable);
    tcase_add_loop_test(tcase, what_no_pipe_can_give_is_refused, 0, 2);
    return suite;
}
