/* SPDX-License-Identifier: MIT */
/*
 * t-stream-write.c - new streamOptimized images: valid while they are empty and
 * when they are complete, by the rules of those who import them
 * (streams-check.c); recognisable in between.
 */
#include "fault.h"
#include "new-stream.h"

/* ------------------------------------------------------------------- empty */

static const int64_t sizes[] = {1, 512, 64 * KIB, 64 * KIB + 1, 32 * MIB + 512, 5000 * (int64_t)MIB};
enum { SIZES = sizeof sizes / sizeof *sizes };

START_TEST(an_empty_stream_is_valid)
{
    BlockDriverState *memory = create(sizes[_i / 2], options_for(_i % 2, ""));
    BlockDriverState *disk;

    assert_valid(memory);
    if (can_write()) {
        disk = open_memory(memory, 0);
        ck_assert_int_eq(bdrv_getlength(disk), bdrv_round_up(sizes[_i / 2], 64 * KIB));
        bdrv_close(disk);
    }
    bdrv_close(memory);
}
END_TEST

/* But for the CID, which is another one after each session (here the same, as asked for). */
START_TEST(opening_an_empty_stream_for_writing_changes_nothing)
{
    BlockDriverState *memory = create(MIB, options_for(_i, ",compression_level=9")), *disk;
    uint8_t *before = image_memory_bytes(memory), *after;
    int64_t size = bdrv_getlength(memory);

    if (can_write()) {
        assert_ok(try_open(memory, BDRV_O_RDWR, "cid=1234abcd", NULL, &disk));
        assert_ok(bdrv_write_zeroes(disk, 0, MIB));
        assert_ok(bdrv_close(disk));
        after = image_memory_bytes(memory);
        ck_assert_int_eq(bdrv_getlength(memory), size);
        ck_assert_mem_eq(after, before, (size_t)size);
        free(after);
    }
    free(before);
    bdrv_close(memory);
}
END_TEST

static const struct {
    const char *options;
    int error;
    const char *message;
} refused[] = {
    {"subformat=streamOptimized,compression_level=0", -EINVAL, "compression_level is 0"},
    {"subformat=streamOptimized,compression_level=13", -EINVAL, "compression_level is 13"},
    {"subformat=streamOptimized,grain_size=2M", -EINVAL, "grain_size is 2097152"},
    {"subformat=streamOptimized,gtes_per_table=1024", -EINVAL, "512 is wanted"},
    {"subformat=streamOptimized,zeroed_grain=on", -EINVAL, "zeroed_grain is not possible"},
    {"stream_layout=end", -EINVAL, "stream_layout is not possible"},
    {"compression_level=1", -EINVAL, "compression_level is not possible"},
    {"compression_engine=isal", -EINVAL, "compression_engine is not possible"},
    {"subformat=streamOptimized,compression_engine=isal,compression_level=4", -EINVAL,
     "compression_level is 4"},
#ifndef BDRV_HAVE_ISAL
    {"subformat=streamOptimized,compression_engine=isal", -ENOTSUP, "ISA-L"},
#endif
#ifndef BDRV_HAVE_LIBDEFLATE
    {"subformat=streamOptimized,compression_engine=libdeflate", -ENOTSUP, "libdeflate"},
#endif
};
enum { REFUSED = sizeof refused / sizeof *refused };

START_TEST(what_cannot_be_asked_for_is_refused)
{
    BdrvCreateOptions options = {
        .struct_size = sizeof options, .size = MIB, .options = refused[_i].options};
    BlockDriverState *memory = image_memory(0);

    assert_fails_saying(bdrv_create_node(memory, "vmdk", &options), refused[_i].error,
                        refused[_i].message);
    bdrv_close(memory);
}
END_TEST

/* ----------------------------------------------------------------- written */

START_TEST(what_is_written_in_order_is_valid_and_reads_back)
{
    const int64_t size = 80 * MIB;
    BlockDriverState *memory = create(size, options_for(_i, "")), *disk;

    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, 0, 128 * KIB, 1));
        assert_ok(try_write(disk, 40 * MIB, 64 * KIB, 2)); /* in another GT */
        assert_ok(bdrv_flush(disk));
        assert_ok(try_write(disk, 70 * MIB, 10 * MIB, 3)); /* and up to the end */
        assert_ok(bdrv_close(disk));
        assert_valid(memory);
        disk = open_memory(memory, 0);
        assert_pattern(disk, 0, 128 * KIB, 1);
        assert_pattern(disk, 128 * KIB, 40 * MIB - 128 * KIB, PATTERN_ZEROS);
        assert_pattern(disk, 40 * MIB, 64 * KIB, 2);
        assert_pattern(disk, 40 * MIB + 64 * KIB, 30 * MIB - 64 * KIB, PATTERN_ZEROS);
        assert_pattern(disk, 70 * MIB, 10 * MIB, 3);
        bdrv_close(disk);
    }
    bdrv_close(memory);
}
END_TEST

/* A run was cut where the file ends, although a compressed grain has no bytes
 * there to be cut: the rest of a short last grain could not be read. */
START_TEST(a_short_grain_at_the_end_of_the_file_can_be_read_in_its_midst)
{
    BlockDriverState *memory = create(64 * KIB, options_for(_i, "")), *disk;
    uint8_t data[64 * KIB], found;

    if (can_write()) {
        memset(data, 0x11, sizeof data);
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(bdrv_pwrite(disk, data, sizeof data, 0));
        assert_ok(bdrv_close(disk));
        disk = open_memory(memory, 0);
        for (int64_t at = 64 * KIB - 1; at > 0; at -= 4095) {
            assert_ok(bdrv_pread(disk, &found, 1, at));
            ck_assert_uint_eq(found, 0x11);
        }
        bdrv_close(disk);
    }
    bdrv_close(memory);
}
END_TEST

enum {
#ifdef BDRV_HAVE_ISAL
    ENGINES = 2
#else
    ENGINES = 1
#endif
};

START_TEST(bytes_that_cannot_be_compressed_take_no_more_than_readers_allow)
{
    static const int64_t grains[] = {8, 64, 1024};
    const char *engine = _i / 3 ? ",compression_engine=isal" : "";
    char more[80];
    int64_t grain = grains[_i % 3] * KIB;
    BlockDriverState *memory, *disk;
    uint8_t *data = malloc(2 * MIB), *found = malloc(2 * MIB);
    uint32_t seed = 1;

    ck_assert_ptr_nonnull(data);
    ck_assert_ptr_nonnull(found);
    for (int i = 0; i < 2 * MIB; i++) {
        data[i] = (uint8_t)(suite_random(&seed) >> 11);
    }
    snprintf(more, sizeof more, ",grain_size=%lld,compression_level=1%s", (long long)grain,
             engine);
    memory = create(2 * MIB, options_for(0, more));
    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(bdrv_pwrite(disk, data, 2 * MIB, 0));
        assert_ok(bdrv_close(disk));
        assert_valid(memory); /* grain + 500 bytes is a rule there */
        disk = open_memory(memory, 0);
        assert_ok(bdrv_pread(disk, found, 2 * MIB, 0));
        ck_assert_mem_eq(found, data, 2 * MIB);
        bdrv_close(disk);
    }
    bdrv_close(memory);
    free(data);
    free(found);
}
END_TEST

START_TEST(grains_of_zeros_are_left_out)
{
    BlockDriverState *memory = create(4 * MIB, options_for(_i, "")), *disk;
    uint8_t *zeros = calloc(1, MIB);
    int64_t length;

    ck_assert_ptr_nonnull(zeros);
    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(bdrv_pwrite(disk, zeros, MIB, 0));
        assert_ok(try_write(disk, MIB, 64 * KIB, 1));
        assert_ok(bdrv_pwrite(disk, zeros, MIB, 2 * MIB));
        assert_ok(bdrv_close(disk));
        assert_valid(memory);
        length = bdrv_getlength(memory);
        ck_assert_int_lt(length, 64 * KIB + 64 * KIB);
    }
    free(zeros);
    bdrv_close(memory);
}
END_TEST

START_TEST(a_higher_level_makes_smaller_files)
{
    static const char *const levels[] = {",compression_level=1", "", ",compression_level=12"};
    int64_t length[3];

    for (int i = 0; i < 3; i++) {
        BlockDriverState *memory = create(MIB, options_for(0, levels[i])), *disk;

        if (!can_write()) {
            bdrv_close(memory);
            return;
        }
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, 0, MIB, 1));
        assert_ok(bdrv_close(disk));
        assert_valid(memory); /* the level has left no trace */
        length[i] = bdrv_getlength(memory);
        bdrv_close(memory);
    }
    ck_assert_int_lt(length[2], length[1]);
    ck_assert_int_le(length[1], length[0]);
}
END_TEST

/* ------------------------------------------------------------------- order */

static int write_zero_bytes(BlockDriverState *disk, int64_t offset)
{
    static const uint8_t zeros[64 * KIB];

    return bdrv_pwrite(disk, zeros, sizeof zeros, offset);
}

/* Zeros over a grain that was written were said to be stored, and it kept its content. */
START_TEST(what_is_not_in_order_is_refused_and_spoils_nothing)
{
    BlockDriverState *memory = create(4 * MIB, options_for(_i, "")), *disk;

    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, MIB, 64 * KIB, 1));
        assert_fails_saying(try_write(disk, MIB, 64 * KIB, 2), -ENOTSUP, "ascending order");
        assert_fails_saying(try_write(disk, 0, 64 * KIB, 2), -ENOTSUP, "ascending order");
        assert_fails_saying(bdrv_write_zeroes(disk, MIB, 512), -ENOTSUP, "cannot become zero");
        assert_fails_saying(write_zero_bytes(disk, MIB), -ENOTSUP, "ascending order");
        assert_fails_saying(try_write(disk, 2 * MIB, 512, 2), -ENOTSUP, "whole grains of 65536");
        assert_fails_saying(try_write(disk, 2 * MIB + 512, 64 * KIB, 2), -ENOTSUP,
                            "whole grains");
        assert_ok(bdrv_write_zeroes(disk, 2 * MIB + 7, 100));
        assert_ok(bdrv_close(disk));
        assert_valid(memory);
        disk = open_memory(memory, 0);
        assert_pattern(disk, MIB, 64 * KIB, 1);
        assert_pattern(disk, 2 * MIB, 2 * MIB, PATTERN_ZEROS);
        bdrv_close(disk);
    }
    bdrv_close(memory);
}
END_TEST

START_TEST(a_stream_is_written_once)
{
    BlockDriverState *memory = create(4 * MIB, options_for(_i, "")), *disk;

    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, MIB, 64 * KIB, 1));
        assert_ok(bdrv_close(disk));
        assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EROFS,
                            "only be written once");
    }
    bdrv_close(memory);
}
END_TEST

START_TEST(what_was_written_can_be_read_when_it_is_complete)
{
    BlockDriverState *memory = create(4 * MIB, options_for(_i, "")), *disk;
    uint8_t byte;

    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, MIB, 64 * KIB, 1));
        assert_fails_saying(bdrv_pread(disk, &byte, 1, MIB), -ENOTSUP, "close it first");
        assert_pattern(disk, 2 * MIB, MIB, PATTERN_ZEROS);
        assert_ok(bdrv_close(disk));
    }
    bdrv_close(memory);
}
END_TEST

/* An empty stream whose descriptor lies where its grains would be written. */
static BlockDriverState *with_descriptor_among_grains(int layout)
{
    static const char text[] = "# Disk DescriptorFile\nversion=1\nCID=1234abcd\n"
                               "parentCID=ffffffff\ncreateType=\"streamOptimized\"\n"
                               "RW 2048 SPARSE \"x.vmdk\"\n";
    BlockDriverState *memory = create(MIB, options_for(layout, "")), *made;
    uint8_t *bytes = image_memory_bytes(memory);
    const int64_t overhead = (int64_t)bdrv_load_le64(bytes + AT_OVERHEAD);
    int64_t at = overhead, size = bdrv_getlength(memory);

    if (layout == 0) { /* header, descriptor, directory, and what ends the stream */
        at = 1;
        memset(bytes + 2 * SECTOR, 0, SECTOR);
        memmove(bytes + 3 * SECTOR, bytes + (overhead + 2) * SECTOR, 3 * SECTOR);
        size = 6 * SECTOR;
        bdrv_store_le64(bytes + AT_OVERHEAD, 1);
        bdrv_store_le64(bytes + 4 * SECTOR + AT_GD, 2);
        bdrv_store_le64(bytes + 4 * SECTOR + AT_OVERHEAD, 1);
    }
    bdrv_store_le64(bytes + AT_DESCRIPTOR, (uint64_t)at);
    bdrv_store_le64(bytes + AT_DESCRIPTOR_SIZE, layout == 0 ? 2 : 1);
    memset(bytes + at * SECTOR, 0, SECTOR);
    memcpy(bytes + at * SECTOR, text, sizeof text);
    made = image_memory_from(bytes, size);
    free(bytes);
    bdrv_close(memory);
    return made;
}

/* What was written went over the descriptor, and nobody could open the image again. */
START_TEST(a_stream_is_not_written_over_its_descriptor)
{
    BlockDriverState *memory = with_descriptor_among_grains(_i), *disk;

    if (can_write()) {
        bdrv_close(open_memory(memory, 0));
        assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EROFS,
                            "convert it to one that can be written");
        bdrv_close(open_memory(memory, 0));
    }
    bdrv_close(memory);
}
END_TEST

/* --------------------------------------------------------------- accidents */

START_TEST(an_unfinished_stream_is_refused_by_name)
{
    BlockDriverState *memory = create(4 * MIB, options_for(_i, "")), *disk, *copy;

    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, 0, MIB, 1));
        assert_ok(bdrv_flush(disk));
        copy = image_memory_copy(memory); /* as if the program ended now */
        assert_interrupted(copy);
        bdrv_close(copy);
        assert_ok(bdrv_close(disk));
        assert_valid(memory);
    }
    bdrv_close(memory);
}
END_TEST

/* Every call of the file fails once: what is there is whole, empty, or says
 * that it is neither. */
START_TEST(no_failing_call_makes_a_stream_that_looks_finished)
{
    for (int n = 1, failed = 1; failed && can_write(); n++) {
        BlockDriverState *memory = create(4 * MIB, options_for(_i, ""));
        BlockDriverState *fault = fault_insert(memory), *disk;
        int ret;

        fault_arm(fault, &(FaultPlan){.operations = FAULT_ALL, .call = n});
        ret = try_open(fault, BDRV_O_RDWR, NULL, NULL, &disk);
        if (ret == 0) {
            ret = try_write(disk, 0, 2 * MIB, 1);
            ret = bdrv_close(disk) < 0 ? -EIO : ret;
        }
        failed = fault_failures(fault) > 0;
        ck_assert(failed || ret == 0);
        ret = try_open(memory, 0, NULL, NULL, &disk);
        if (ret < 0) {
            ck_assert_msg(strstr(bdrv_errmsg(), "interrupted") != NULL, "%s", bdrv_errmsg());
        } else {
            assert_valid(memory);
            ck_assert_msg(pattern_verify(disk, 0, 2 * MIB, 1) == 0 ||
                          pattern_verify(disk, 0, 2 * MIB, PATTERN_ZEROS) == 0, "%d", n);
        }
        bdrv_close(disk);
        bdrv_close(fault);
        bdrv_close(memory);
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

/* An end that could not be written was written at the second try, behind tables that were
 * missing, and the stream called complete. */
START_TEST(an_end_that_failed_is_not_tried_again)
{
    BlockDriverState *memory = create(4 * MIB, options_for(_i, "")), *disk;

    if (can_write()) {
        BlockDriverState *fault = fault_insert(memory);
        const FaultPlan plan = {.operations = FAULT_WRITE, .call = 1, .error = ENOSPC};
        BdrvCheckResult result = {.struct_size = sizeof result};

        disk = open_memory(fault, BDRV_O_RDWR);
        assert_ok(try_write(disk, MIB, 64 * KIB, 1));
        fault_arm(fault, &plan);
        assert_fails(bdrv_check(disk, NULL, &result), -ENOSPC);
        ck_assert_int_eq(fault_failures(fault), 1);
        assert_fails(bdrv_close(disk), -ENOSPC);
        bdrv_close(fault);
        assert_interrupted(memory);
    }
    bdrv_close(memory);
}
END_TEST

/* A table that has entries was taken for that of an empty image, and kept them: what was
 * zeros could not be read any more. */
START_TEST(a_table_with_entries_is_not_that_of_an_empty_stream)
{
    BlockDriverState *memory = create(4 * MIB, options_for(1, "")), *disk;
    uint8_t bytes[8];
    int64_t gd;

    assert_ok(bdrv_pread(memory, bytes, sizeof bytes, AT_GD));
    gd = (int64_t)bdrv_load_le64(bytes) * SECTOR;
    assert_ok(bdrv_pread(memory, bytes, 4, gd));
    bdrv_store_le32(bytes + 4, 129);
    assert_ok(bdrv_pwrite(memory, bytes + 4, 4, (int64_t)bdrv_load_le32(bytes) * SECTOR + 7 * 4));
    assert_fails_saying(try_open(memory, BDRV_O_RDWR, NULL, NULL, &disk), -EROFS,
                        "while they are empty");
    bdrv_close(memory);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("vmdk-stream-write");
    const TTest *const once[] = {
        a_higher_level_makes_smaller_files, a_table_with_entries_is_not_that_of_an_empty_stream, NULL};
    const TTest *const per_layout[] = {
        opening_an_empty_stream_for_writing_changes_nothing,
        what_is_written_in_order_is_valid_and_reads_back,
        a_short_grain_at_the_end_of_the_file_can_be_read_in_its_midst,
        grains_of_zeros_are_left_out, what_is_not_in_order_is_refused_and_spoils_nothing,
        a_stream_is_written_once, what_was_written_can_be_read_when_it_is_complete,
        a_stream_is_not_written_over_its_descriptor, an_unfinished_stream_is_refused_by_name,
        no_failing_call_makes_a_stream_that_looks_finished,
        an_end_that_failed_is_not_tried_again, NULL};
    TCase *tcase;

    fault_register();
    tcase = suite_add_case(suite, "streams", once, 120);
    for (const TTest *const *test = per_layout; *test; test++) {
        tcase_add_loop_test(tcase, *test, 0, 2);
    }
    tcase_add_loop_test(tcase, an_empty_stream_is_valid, 0, 2 * SIZES);
    tcase_add_loop_test(tcase, what_cannot_be_asked_for_is_refused, 0, REFUSED);
    tcase_add_loop_test(tcase, bytes_that_cannot_be_compressed_take_no_more_than_readers_allow, 0,
                        ENGINES * 3);
    return suite;
}
