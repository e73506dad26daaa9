/* SPDX-License-Identifier: MIT */
/*
 * t-check-stream.c - damage in streamOptimized images, one test for each: what a
 * check says of it, and that a repair leaves a clean image with its content.
 */
#include "build-stream.h"

enum {
    SECTORS = 20 * 128
};

static const int used[] = {0, 1, 4, 7, 12, 19};

enum {
    USED = sizeof used / sizeof *used
};

static BuiltStream stream_image(void)
{
    BuiltStream b = stream_begin(SECTORS);

    for (int i = 0; i < USED; i++) {
        stream_add(&b, used[i], (unsigned)used[i] + 1);
    }
    stream_end(&b);
    return b;
}

static unsigned generation_of(int grain)
{
    for (int i = 0; i < USED; i++) {
        if (used[i] == grain) {
            return (unsigned)grain + 1;
        }
    }
    return PATTERN_ZEROS;
}

static void assert_stream(BlockDriverState *memory, int lost)
{
    BlockDriverState *disk = open_memory(memory, 0);

    ck_assert_int_eq(bdrv_getlength(disk), SECTORS * SECTOR);
    for (int g = 0; g < SECTORS / 128; g++) {
        assert_pattern(disk, (int64_t)g * STREAM_GRAIN, STREAM_GRAIN,
                       g == lost ? PATTERN_ZEROS : generation_of(g));
    }
    assert_ok(bdrv_close(disk));
}

static void stream_mended(BuiltStream *b, BdrvFindingKind kind, const char *text, int lost)
{
    BlockDriverState *memory = stream_memory(b);

    assert_mended(memory, kind, text);
    assert_stream(memory, lost);
    bdrv_close(memory);
    free(b->bytes);
}

START_TEST(a_sound_stream_is_clean_and_counted)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory = stream_memory(&b);
    Findings f;

    check_memory(memory, 0, &f);
    assert_clean(&f);
    ck_assert_int_eq(f.result.total_clusters, 20);
    ck_assert_int_eq(f.result.allocated_clusters, USED);
    ck_assert_int_eq(f.result.compressed_clusters, USED);
    ck_assert_int_eq(f.result.image_end_offset, b.size);
    assert_stream(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_01_header_destroyed)
{
    BuiltStream b = stream_image();

    memset(b.bytes, 0, SECTOR);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "the header is unusable", -1);
}
END_TEST

/* A header was made from a footer that was wrong itself, so that the next check found
 * the footer to be no copy of it. */
START_TEST(row_01_header_destroyed_and_the_footer_wrong)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory;
    Findings f;

    memset(b.bytes, 0, SECTOR);
    bdrv_store_le64(b.bytes + (b.footer + 1) * SECTOR + AT_CAPACITY, 0);
    bdrv_store_le64(b.bytes + (b.footer + 1) * SECTOR + AT_OVERHEAD, 1 << 30);
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.corruptions_fixed, 2);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    assert_stream(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* Of the descriptor, the size of the extent: 4 digits. */
static void set_line(BuiltStream *b, const char *sectors)
{
    memcpy(strstr((char *)b->bytes + SECTOR, "RDONLY 2560 ") + strlen("RDONLY "), sectors, 4);
}

static void set_capacity(BuiltStream *b, uint64_t sectors)
{
    bdrv_store_le64(b->bytes + AT_CAPACITY, sectors);
    bdrv_store_le64(b->bytes + (b->footer + 1) * SECTOR + AT_CAPACITY, sectors);
}

/* A check did not compare the two. */
START_TEST(row_17_the_line_is_not_the_capacity)
{
    BuiltStream b = stream_image();

    set_line(&b, _i ? "9000" : "1000");
    stream_mended(&b, _i ? BDRV_FINDING_CORRUPTION : BDRV_FINDING_MISMATCH,
                  _i ? "the descriptor gives the extent 9000 sectors, its header 2560"
                     : "the descriptor gives the extent 1000 sectors, its header 2560", -1);
}
END_TEST

/* A repair wanted to write the descriptor before the image could be opened for that. */
START_TEST(row_17_a_line_is_set_when_the_footer_is_there_again)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory;
    Findings f;

    set_line(&b, "1000");
    b.size = b.footer * SECTOR;
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    assert_stream(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* As many sectors as no disk has, which the descriptor does not know of. */
START_TEST(row_17_an_absurd_capacity_is_set_to_the_line)
{
    BuiltStream b = stream_image();

    set_capacity(&b, UINT64_C(1) << 40);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "sectors, its header 1099511627776", -1);
}
END_TEST

/* A repair of a file of a few KiB, whose header and descriptor claim 512 TiB, wrote a
 * directory of 64 MiB. */
START_TEST(no_directory_is_written_for_an_absurd_capacity)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory;

    set_capacity(&b, UINT64_C(1) << 40);
    strcpy(strstr((char *)b.bytes + SECTOR, "RDONLY "), "RDONLY 1099511627776 SPARSE \"x.vmdk\"\n");
    b.size = b.footer * SECTOR;
    memory = stream_memory(&b);
    assert_hopeless(memory, BDRV_FINDING_UNRECOVERABLE, "so large that no directory is written");
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_19_end_of_stream_missing)
{
    BuiltStream b = stream_begin(SECTORS);

    /* Tables in front, no footer, and grains up to the last byte of the file, as
     * QEMU writes them. */
    b.size = 128 * SECTOR;
    bdrv_store_le64(b.bytes + AT_GD, 30);
    b.gt = 31;
    bdrv_store_le32(b.bytes + 30 * SECTOR, 31);
    for (int i = 0; i < USED; i++) {
        stream_add(&b, used[i], (unsigned)used[i] + 1);
        bdrv_store_le32(stream_gte(&b, used[i]), b.entries[used[i]]);
    }
    memset(b.bytes + b.size - 1, 1, 1); /* of the pad of the last grain */
    stream_mended(&b, BDRV_FINDING_MISMATCH, "the end-of-stream marker is missing", -1);
}
END_TEST

START_TEST(row_20_footer_missing)
{
    BuiltStream b = stream_image();

    b.size = b.footer * SECTOR;
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "the footer is missing", -1);
}
END_TEST

START_TEST(row_20_cut_off_inside_a_grain)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory;
    Findings f;

    b.size = b.grains_end - 20 * SECTOR;
    memory = stream_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.corruptions, 1);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_ptr_nonnull(strstr(f.text, "the file ends inside the grain of disk sector 2432"));
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    check_memory(memory, 0, &f);
    assert_clean(&f);
    assert_stream(memory, 19);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

START_TEST(row_20_footer_out_of_date)
{
    BuiltStream b = stream_image();

    bdrv_store_le64(b.bytes + (b.footer + 1) * SECTOR + AT_CAPACITY, SECTORS + 128);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "the footer is out of date", -1);
}
END_TEST

START_TEST(row_20_directory_outside_the_file)
{
    BuiltStream b = stream_image();

    bdrv_store_le64(b.bytes + (b.footer + 1) * SECTOR + AT_GD, 1 << 20);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "the directory is not inside the file", -1);
}
END_TEST

START_TEST(row_20_gde_wrong)
{
    BuiltStream b = stream_image();

    bdrv_store_le32(b.bytes + b.gd * SECTOR, 0xffffff);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "The GDE [0] is invalid (16777215)", -1);
}
END_TEST

static const uint32_t wrong_entries[] = {0, 0xfffff, 130, 5};

START_TEST(row_20_gte_wrong)
{
    BuiltStream b = stream_image();

    bdrv_store_le32(stream_gte(&b, 7), wrong_entries[_i]);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "The GTE [7] in GT [0] is invalid (", -1);
}
END_TEST

/* An entry where no grain is, and none is anywhere else. */
START_TEST(row_20_gte_without_a_grain)
{
    BuiltStream b = stream_image();

    bdrv_store_le32(stream_gte(&b, 8), 130);
    stream_mended(&b, BDRV_FINDING_UNRECOVERABLE, "The GTE [8] in GT [0] is invalid (130)", -1);
}
END_TEST

/* A repair pointed an entry that was 0 at the grain of its place, which was damaged: what had
 * been zeros became an error. */
START_TEST(zeros_beside_a_damaged_grain_stay_zeros)
{
    const int grain = _i ? used[USED - 1] : 7;
    BuiltStream b = stream_image();
    const int64_t damaged = (int64_t)b.entries[grain] * SECTOR + 3000;
    BlockDriverState *memory;
    uint8_t byte;
    Findings f;

    bdrv_store_le32(stream_gte(&b, grain), 0);
    bdrv_store_le32(stream_gte(&b, 4), 0); /* whose grain is sound */
    b.bytes[damaged] ^= 0x40;
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_msg(strstr(f.text, "1 are missing") && strstr(f.text, "1 are zeros beside"),
                  "%.2000s", f.text);
    assert_stream(memory, grain);
    assert_ok(bdrv_pread(memory, &byte, 1, damaged));
    ck_assert_int_eq(byte, b.bytes[damaged]); /* who has a better tool may still need it */
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable, 1);
    ck_assert_int_eq(f.result.corruptions, 0);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A grain that says it belongs elsewhere: QEMU and libvmdk do not look. */
START_TEST(two_entries_exchanged)
{
    BuiltStream b = stream_image();

    bdrv_store_le32(stream_gte(&b, 4), b.entries[7]);
    bdrv_store_le32(stream_gte(&b, 7), b.entries[4]);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "2 wrong", -1);
}
END_TEST

START_TEST(row_21_trailing_bytes)
{
    static const int64_t trailing[] = {100, SECTOR, 5 * SECTOR};
    BuiltStream b = stream_image();

    b.size += trailing[_i];
    memset(b.bytes + b.size - 7, 'x', 7);
    stream_mended(&b, BDRV_FINDING_LEAK, "bytes follow the end of the stream", -1);
}
END_TEST

START_TEST(row_21_so_many_trailing_bytes_that_the_footer_is_not_found)
{
    BuiltStream b = stream_image();

    b.size += 500 * SECTOR;
    memset(b.bytes + b.size - 7, 'x', 7);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "too many for the footer to be found", -1);
}
END_TEST

START_TEST(row_22_grains_out_of_order)
{
    BuiltStream b = stream_begin(SECTORS);
    BlockDriverState *memory;

    for (int i = USED - 1; i >= 0; i--) {
        stream_add(&b, used[i], (unsigned)used[i] + 1);
    }
    stream_end(&b);
    memory = stream_memory(&b);
    assert_hopeless(memory, BDRV_FINDING_MISMATCH, "not in the order of the disk");
    assert_stream(memory, -1);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* ---- a stream whose header does not say so: tables in front, no footer ---- */

enum {
    FRONT_GD = 21,
    FRONT_GT = 22
};

static BuiltStream front_image(void)
{
    BuiltStream b = stream_begin(SECTORS);

    bdrv_store_le64(b.bytes + AT_GD, FRONT_GD);
    bdrv_store_le32(b.bytes + FRONT_GD * SECTOR, FRONT_GT);
    b.gt = FRONT_GT;
    for (int i = 0; i < USED; i++) {
        stream_add(&b, used[i], (unsigned)used[i] + 1);
        bdrv_store_le32(stream_gte(&b, used[i]), b.entries[used[i]]);
    }
    b.size += SECTOR; /* the end */
    return b;
}

/* A repair rebuilt an uncompressed header over a stream, and cut the stream up as if
 * its blocks were grains. */
START_TEST(a_front_stream_without_a_header_is_left_alone)
{
    BuiltStream b = front_image();

    memset(b.bytes, 0, _i == 0 ? 1 : SECTOR);
    stream_hopeless(&b, "the extent is a stream");
}
END_TEST

/* Without a descriptor that says so, the repair did the same. */
START_TEST(compressed_grains_tell_a_stream_of_another_type)
{
    BuiltStream b = front_image();
    char *type = strstr((char *)b.bytes + SECTOR, "streamOptimized");

    memcpy(type, "monolithicSpars", strlen("streamOptimized"));
    memset(b.bytes, 0, SECTOR);
    stream_hopeless(&b, "the extent is a stream");
}
END_TEST

static const struct {
    uint32_t flags;
    const char *text;
} wrong_flags[] = {
    {1, "its flags are 0x1,"},
    {0x20001, "flags are 0x20001"},
    {0x10001, "its flags are 0x10001,"},
    {0x80030001, "flags are 0x80030001"},
};

enum {
    WRONG_FLAGS = sizeof wrong_flags / sizeof *wrong_flags
};

/* A repair took a stream whose flags say that it is none for an uncompressed image. */
START_TEST(flags_that_deny_compression_do_not_let_a_repair_touch_the_grains)
{
    BuiltStream b = front_image();

    bdrv_store_le32(b.bytes + AT_FLAGS, wrong_flags[_i].flags);
    stream_hopeless(&b, wrong_flags[_i].text);
}
END_TEST

/* A repair said that it had mended a footer, and the image still did not open for a
 * flag of the header; the footer tells what the flags were. */
START_TEST(flags_of_a_header_are_restored_from_the_footer)
{
    BuiltStream b = stream_image();

    bdrv_store_le32(b.bytes + AT_FLAGS, wrong_flags[_i].flags);
    stream_mended(&b, BDRV_FINDING_CORRUPTION, "flags", -1);
}
END_TEST

/* A repair that mended one thing said nothing of another for which the image did not
 * open afterwards either. */
START_TEST(what_keeps_a_mended_image_from_opening_is_told)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory;
    Findings f;

    set_line(&b, "9000");
    strcat((char *)b.bytes + SECTOR, "RW 10 ZERO\n"); /* which would move */
    bdrv_store_le32(stream_gte(&b, 7), 0);
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    ck_assert_msg(f.result.corruptions_fixed == 1 && f.result.corruptions == 1, "%.2000s",
                  f.text);
    ck_assert_msg(strstr(f.text, "9000") != NULL, "%.2000s", f.text);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* A check said nothing of a grain that cannot be decompressed. */
START_TEST(each_damaged_grain_is_told)
{
    BuiltStream b = _i == 0 ? stream_image() : front_image();
    BlockDriverState *memory;
    Findings f;

    b.bytes[b.entries[7] * SECTOR + 3000] ^= 0x40;
    memory = stream_memory(&b);
    assert_hopeless(memory, BDRV_FINDING_UNRECOVERABLE,
                    "the compressed grain of disk sector 896 cannot be decompressed");
    bdrv_close(memory);
    b.bytes[b.entries[12] * SECTOR + 12] = 0;
    memory = stream_memory(&b);
    check_memory(memory, 0, &f);
    ck_assert_int_eq(f.result.unrecoverable, 2);
    ck_assert_int_eq(f.last.offset, 12 * STREAM_GRAIN);
    ck_assert_int_eq(f.last.bytes, STREAM_GRAIN);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* What ends in the midst of a repair can be repaired again. */
START_TEST(an_interrupted_repair_can_be_begun_again)
{
    BuiltStream b = stream_image();
    BlockDriverState *memory;
    uint8_t *mended;
    int64_t size;
    Findings f;

    bdrv_store_le32(stream_gte(&b, 7), 0);
    memory = stream_memory(&b);
    check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
    mended = image_memory_bytes(memory);
    size = bdrv_getlength(memory);
    bdrv_close(memory);
    for (int64_t cut = b.grains_end; cut < size; cut += SECTOR) {
        uint8_t *mixed = calloc(1, (size_t)b.size);

        memcpy(mixed, b.bytes, (size_t)b.size);
        memcpy(mixed, mended, (size_t)cut);
        memory = image_memory_from(mixed, b.size);
        check_memory(memory, BDRV_CHECK_REPAIR_ALL, &f);
        check_memory(memory, 0, &f);
        assert_clean(&f);
        assert_stream(memory, -1);
        bdrv_close(memory);
        free(mixed);
    }
    free(mended);
    free(b.bytes);
}
END_TEST

/* A build that cannot decompress called each sound stream corrupt. */
START_TEST(without_libdeflate_a_stream_is_not_called_corrupt)
{
#ifdef BDRV_HAVE_LIBDEFLATE
    suite_skipped("this build can decompress");
#else
    BdrvCheckOptions options = {.struct_size = sizeof options, .flags = BDRV_CHECK_REPAIR_ALL};
    BdrvCheckResult result = {.struct_size = sizeof result};
    BuiltStream b = stream_image();
    BlockDriverState *memory, *disk;

    if (_i) {
        bdrv_store_le32(b.bytes + b.gd * SECTOR, 0xffffff);
    }
    memory = stream_memory(&b);
    assert_ok(try_open(memory, BDRV_O_CHECK | BDRV_O_RDWR, NULL, NULL, &disk));
    assert_fails_saying(bdrv_check(disk, &options, &result), -ENOTSUP, "libdeflate");
    ck_assert_int_eq(result.corruptions + result.unrecoverable + result.mismatches, 0);
    ck_assert_int_eq(result.corruptions_fixed, _i);
    ck_assert_int_eq(result.allocated_clusters, USED);
    assert_ok(bdrv_close(disk));
    bdrv_close(memory);
    free(b.bytes);
#endif
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const none[] = {NULL};
    const TTest *const tests[] = {
        a_sound_stream_is_clean_and_counted,
        row_01_header_destroyed,
        row_01_header_destroyed_and_the_footer_wrong,
        row_17_a_line_is_set_when_the_footer_is_there_again,
        row_17_an_absurd_capacity_is_set_to_the_line,
        no_directory_is_written_for_an_absurd_capacity,
        row_19_end_of_stream_missing,
        row_20_footer_missing,
        row_20_cut_off_inside_a_grain,
        row_20_footer_out_of_date,
        row_20_directory_outside_the_file,
        row_20_gde_wrong,
        row_20_gte_without_a_grain,
        two_entries_exchanged,
        row_21_so_many_trailing_bytes_that_the_footer_is_not_found,
        row_22_grains_out_of_order,
        compressed_grains_tell_a_stream_of_another_type,
        what_keeps_a_mended_image_from_opening_is_told,
        an_interrupted_repair_can_be_begun_again,
        NULL,
    };
    Suite *suite = suite_create("vmdk/check-stream");
    TCase *tc = suite_add_case(suite, "stream", STREAM_CODEC ? tests : none, 60);

    tcase_add_loop_test(tc, without_libdeflate_a_stream_is_not_called_corrupt, 0, 2);
    if (!STREAM_CODEC) {
        return suite;
    }
    tcase_add_loop_test(tc, row_17_the_line_is_not_the_capacity, 0, 2);
    tcase_add_loop_test(tc, row_20_gte_wrong, 0, 4);
    tcase_add_loop_test(tc, zeros_beside_a_damaged_grain_stay_zeros, 0, 2);
    tcase_add_loop_test(tc, row_21_trailing_bytes, 0, 3);
    tcase_add_loop_test(tc, a_front_stream_without_a_header_is_left_alone, 0, 2);
    tcase_add_loop_test(tc, flags_that_deny_compression_do_not_let_a_repair_touch_the_grains, 0,
                        WRONG_FLAGS);
    tcase_add_loop_test(tc, flags_of_a_header_are_restored_from_the_footer, 0, WRONG_FLAGS);
    tcase_add_loop_test(tc, each_damaged_grain_is_told, 0, 2);
    return suite;
}
