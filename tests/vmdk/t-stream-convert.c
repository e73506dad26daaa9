/* SPDX-License-Identifier: MIT */
/*
 * t-stream-convert.c - other images converted into streamOptimized ones: the
 * same bytes whatever the number of threads, and in a pipe; nothing that looks
 * finished when it is not.
 */
#include "new-stream.h"

/* -------------------------------------------------------------- converting */

/* Data, holes, and zeros that are stored, at odd places. */
static BlockDriverState *make_source(int64_t length)
{
    BlockDriverState *source = image_memory(length);

    for (int64_t at = 0; at < length; at += 3000001) {
        assert_ok(pattern_write(source, at, bdrv_min(1700001, length - at), 1));
    }
    for (int64_t at = 0; at < length; at += 900001) {
        assert_ok(pattern_write(source, at, bdrv_min(20003, length - at), PATTERN_ZEROS));
    }
    return source;
}

static void assert_same(BlockDriverState *source, BlockDriverState *memory)
{
    const int64_t length = bdrv_getlength(source);
    uint8_t *wanted = image_memory_bytes(source), *found = malloc((size_t)length + 1);
    BlockDriverState *disk = open_memory(memory, 0);

    ck_assert_ptr_nonnull(found);
    assert_ok(bdrv_pread(disk, found, (size_t)length, 0));
    ck_assert_msg(pattern_compare(found, wanted, (size_t)length, 0) == NULL, "content");
    assert_pattern(disk, length, bdrv_getlength(disk) - length, PATTERN_ZEROS);
    bdrv_close(disk);
    free(found);
    free(wanted);
}

static BlockDriverState *convert(BlockDriverState *source, const char *options, unsigned threads,
                                 unsigned flags)
{
    BdrvConvertOptions how = {
        .struct_size = sizeof how, .threads = threads, .flags = flags};
    /* Or else the first write makes the CID another one, by chance. */
    BdrvOpenOptions open = {
        .struct_size = sizeof open, .flags = BDRV_O_RDWR, .options = "cid=1234abcd"};
    BlockDriverState *memory = create(bdrv_getlength(source), options);
    BlockDriverState *disk;

    assert_ok(bdrv_open_node(&disk, memory, "vmdk", &open));
    assert_ok(bdrv_convert(source, disk, &how));
    assert_ok(bdrv_close(disk));
    return memory;
}

static const int64_t lengths[] = {1, 64 * KIB - 1, 3 * MIB, 20 * MIB + 12345};

START_TEST(the_bytes_do_not_depend_on_the_number_of_threads)
{
    BlockDriverState *source = make_source(lengths[_i / 2]), *one, *other;
    static const unsigned threads[] = {2, 8};

    if (can_write()) {
        one = convert(source, options_for(_i % 2, ""), 1, 0);
        assert_valid(one);
        assert_same(source, one);
        for (int i = 0; i < 2; i++) {
            uint8_t *a = image_memory_bytes(one), *b;

            other = convert(source, options_for(_i % 2, ""), threads[i],
                            i ? BDRV_CONVERT_TARGET_IS_ZERO : 0);
            b = image_memory_bytes(other);
            ck_assert_int_eq(bdrv_getlength(one), bdrv_getlength(other));
            ck_assert_mem_eq(a, b, (size_t)bdrv_getlength(one));
            free(a);
            free(b);
            bdrv_close(other);
        }
        bdrv_close(one);
    }
    bdrv_close(source);
}
END_TEST

static int stop_half_way(void *opaque, int64_t done, int64_t total)
{
    (void)opaque;
    return done > total / 2;
}

START_TEST(a_conversion_that_is_stopped_leaves_nothing_that_looks_finished)
{
    BdrvConvertOptions how = {.struct_size = sizeof how, .progress = stop_half_way};
    BlockDriverState *source = make_source(20 * MIB), *memory, *disk;

    if (can_write()) {
        memory = create(20 * MIB, options_for(_i, ""));
        disk = open_memory(memory, BDRV_O_RDWR);
        ck_assert_int_eq(bdrv_convert(source, disk, &how), -ECANCELED);
        assert_ok(bdrv_close(disk));
        assert_interrupted(memory);
        bdrv_close(memory);
    }
    bdrv_close(source);
}
END_TEST

START_TEST(sources_are_joined_where_grains_begin)
{
    BdrvConvertOptions how = {.struct_size = sizeof how};
    BlockDriverState *source = make_source(3 * MIB), *memory, *disk;

    if (can_write()) {
        memory = create(9 * MIB, options_for(0, ""));
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(bdrv_convert(source, disk, &how));
        how.target_offset = 3 * MIB;
        assert_ok(bdrv_convert(source, disk, &how));
        assert_ok(bdrv_close(disk));
        assert_valid(memory);
        bdrv_close(memory);
    }
    bdrv_close(source);
}
END_TEST

static int stop_at_once(void *opaque, int64_t done, int64_t total)
{
    (void)opaque, (void)done, (void)total;
    return 1;
}

/* What was refused or stopped before it wrote anything left a stream that looked finished,
 * with as much as had been written before. */
START_TEST(a_conversion_that_never_begins_leaves_nothing_that_looks_finished)
{
    BdrvConvertOptions how = {.struct_size = sizeof how};
    BlockDriverState *source = make_source(3 * MIB), *memory, *disk;

    if (can_write()) {
        memory = create(9 * MIB, options_for(0, ""));
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(bdrv_convert(source, disk, &how));
        how.target_offset = _i == 0 ? 6 * MIB - 512 : 6 * MIB;
        how.progress = _i == 0 ? NULL : stop_at_once;
        ck_assert_int_eq(bdrv_convert(source, disk, &how), _i == 0 ? -ENOTSUP : -ECANCELED);
        ck_assert(_i == 1 || strstr(bdrv_errmsg(), "inside of one"));
        assert_ok(bdrv_close(disk));
        assert_interrupted(memory);
        bdrv_close(memory);
    }
    bdrv_close(source);
}
END_TEST

/* -------------------------------------------------------------------- pipes */

/* Storage that goes forward only, as tools/pipe.c has it. */
typedef struct Forward {
    uint8_t *bytes;
    int64_t position, length;
} Forward;

enum {
    HEAD = 64 * KIB,
    FORWARD_ROOM = 32 * MIB
};

static int forward_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    const Forward *f = opaque;

    if (offset + (int64_t)bytes > HEAD) {
        return -ESPIPE;
    }
    memcpy(buf, f->bytes + offset, bytes);
    return 0;
}

static int forward_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    Forward *f = opaque;

    if (offset < f->position || offset + (int64_t)bytes > FORWARD_ROOM) {
        return -ESPIPE;
    }
    memcpy(f->bytes + offset, buf, bytes);
    f->length = bdrv_max(f->length, offset + (int64_t)bytes);
    f->position = f->length > HEAD ? f->length : 0;
    return 0;
}

static int64_t forward_length(void *opaque)
{
    return ((Forward *)opaque)->length;
}

static int forward_truncate(void *opaque, int64_t length)
{
    Forward *f = opaque;

    f->length = length;
    return length < f->position ? -ESPIPE : 0;
}

static BlockDriverState *open_forward(Forward *f)
{
    BdrvIo io = {.struct_size = sizeof io, .read = forward_read, .write = forward_write,
                 .getlength = forward_length, .truncate = forward_truncate};
    BdrvOpenOptions options = {
        .struct_size = sizeof options, .flags = BDRV_O_RDWR | BDRV_O_FORWARD};
    BlockDriverState *raw;

    *f = (Forward){.bytes = calloc(1, FORWARD_ROOM)};
    ck_assert_ptr_nonnull(f->bytes);
    assert_ok(bdrv_open_io(&raw, "pipe", &io, f, "raw", &options));
    return raw;
}

START_TEST(a_pipe_gets_the_same_bytes_as_a_file)
{
    BlockDriverState *source = make_source(lengths[_i]), *raw, *disk, *file;
    BdrvCreateOptions how = {.struct_size = sizeof how, .size = lengths[_i],
                             .options = options_for(0, ",compression_level=3")};
    uint8_t *bytes;
    Forward f;

    raw = open_forward(&f);
    assert_ok(bdrv_create_node(bdrv_file(raw), "vmdk", &how));
    if (can_write()) {
        assert_ok(try_open(bdrv_file(raw), BDRV_O_RDWR | BDRV_O_FORWARD, NULL, NULL, &disk));
        assert_ok(bdrv_convert(source, disk, NULL));
        assert_ok(bdrv_close(disk));
        ck_assert_ptr_null(stream_find_fault(f.bytes, f.length));
        file = convert(source, options_for(0, ",compression_level=3"), 0, 0);
        bytes = image_memory_bytes(file);
        ck_assert_int_eq(bdrv_getlength(file), f.length);
        /* In the descriptor are other names; and a file of nothing but zeros
         * still waits for its content, and remembers the level: in the last bytes of
         * the header and of the footer. */
        ck_assert_mem_eq(bytes, f.bytes, SECTOR - 1);
        bytes[f.length - SECTOR - 1] = f.bytes[f.length - SECTOR - 1];
        ck_assert_mem_eq(bytes + 21 * SECTOR, f.bytes + 21 * SECTOR,
                         (size_t)f.length - 21 * SECTOR);
        free(bytes);
        bdrv_close(file);
        file = image_memory_from(f.bytes, f.length);
        assert_same(source, file);
        bdrv_close(file);
    }
    bdrv_close(raw);
    bdrv_close(source);
    free(f.bytes);
}
END_TEST

START_TEST(a_stopped_conversion_into_a_pipe_has_no_end)
{
    BdrvConvertOptions how = {.struct_size = sizeof how, .progress = stop_half_way};
    BdrvCreateOptions make = {
        .struct_size = sizeof make, .size = 20 * MIB, .options = options_for(0, "")};
    BlockDriverState *source = make_source(20 * MIB), *raw, *disk, *file;
    Forward f;

    raw = open_forward(&f);
    assert_ok(bdrv_create_node(bdrv_file(raw), "vmdk", &make));
    if (can_write()) {
        assert_ok(try_open(bdrv_file(raw), BDRV_O_RDWR | BDRV_O_FORWARD, NULL, NULL, &disk));
        ck_assert_int_eq(bdrv_convert(source, disk, &how), -ECANCELED);
        assert_ok(bdrv_close(disk));
        file = image_memory_from(f.bytes, f.length);
        assert_fails_saying(try_open(file, 0, NULL, NULL, &disk), -EINVAL,
                            "not completely transferred");
        bdrv_close(file);
    }
    bdrv_close(raw);
    bdrv_close(source);
    free(f.bytes);
}
END_TEST

START_TEST(only_what_goes_forward_goes_into_a_pipe)
{
    static const struct {
        const char *options, *message;
    } refused[] = {
        {"subformat=streamOptimized,stream_layout=front", "stream_layout=end is wanted"},
        {"subformat=monolithicSparse", "only subformat streamOptimized"},
        {"subformat=cowd", "only subformat streamOptimized"},
    };
    BdrvCreateOptions make = {
        .struct_size = sizeof make, .size = MIB, .options = refused[_i].options};
    BlockDriverState *raw;
    Forward f;

    raw = open_forward(&f);
    assert_fails_saying(bdrv_create_node(bdrv_file(raw), "vmdk", &make), -ENOTSUP,
                        refused[_i].message);
    ck_assert_int_eq(f.position, 0);
    bdrv_close(raw);
    free(f.bytes);
}
END_TEST

/* ----------------------------------------------------------------- salvage */

typedef struct Lost {
    int calls;
    int64_t bytes;
    char reason[200];
} Lost;

static void note_lost(void *opaque, int64_t offset, int64_t bytes, const char *reason)
{
    Lost *lost = opaque;

    (void)offset;
    lost->calls++;
    lost->bytes += bytes;
    snprintf(lost->reason, sizeof lost->reason, "%s", reason);
}

/* What is behind the end of a stream that is cut off was asked for in steps of 64 KiB, up to
 * whatever capacity a header of a few KiB claims: for ever. */
START_TEST(what_a_stream_has_lost_is_told_as_a_whole)
{
    const int64_t capacity = INT64_C(1) << 50;
    BlockDriverState *memory = create(4 * MIB, options_for(0, "")), *disk, *target;
    const BdrvOpenOptions discard = {.struct_size = sizeof discard, .flags = BDRV_O_RDWR,
                                     .options = "size=1P"};
    Lost lost = {0};
    const BdrvConvertOptions how = {.struct_size = sizeof how, .lost = note_lost,
                                    .lost_opaque = &lost,
                                    .threads = _i ? 2 : 1};
    uint8_t bytes[8];
    BdrvExtent run;

    if (can_write()) {
        disk = open_memory(memory, BDRV_O_RDWR);
        assert_ok(try_write(disk, 2 * MIB, 64 * KIB, 1));
        assert_ok(bdrv_close(disk));
        bdrv_store_le64(bytes, (uint64_t)capacity / SECTOR);
        assert_ok(bdrv_pwrite(memory, bytes, sizeof bytes, AT_CAPACITY));
        assert_ok(bdrv_truncate(memory, bdrv_getlength(memory) - 10 * SECTOR));
        assert_ok(try_open(memory, BDRV_O_CHECK, "extent=on", NULL, &disk));
        ck_assert_int_eq(bdrv_getlength(disk), capacity);
        assert_fails(bdrv_map(disk, 3 * MIB + 7, 5 * MIB, &run), -EIO);
        ck_assert_int_eq(run.bytes, 5 * MIB);
        assert_ok(bdrv_open(&target, "null", "null", &discard));
        assert_ok(bdrv_convert(disk, target, &how));
        ck_assert_int_eq(lost.bytes, capacity - 2 * MIB - 64 * KIB);
        ck_assert_int_le(lost.calls, 3);
        ck_assert_msg(strstr(lost.reason, "completely transferred") != NULL, "%s", lost.reason);
        bdrv_close(target);
        bdrv_close(disk);
    }
    bdrv_close(memory);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("vmdk-stream-convert");
    const TTest *const tests[] = {
        sources_are_joined_where_grains_begin, a_stopped_conversion_into_a_pipe_has_no_end, NULL};
    TCase *tcase = suite_add_case(suite, "streams", tests, 120);

    tcase_add_loop_test(tcase, the_bytes_do_not_depend_on_the_number_of_threads, 0, 8);
    tcase_add_loop_test(tcase, a_conversion_that_is_stopped_leaves_nothing_that_looks_finished, 0,
                        2);
    tcase_add_loop_test(tcase, a_conversion_that_never_begins_leaves_nothing_that_looks_finished, 0,
                        2);
    tcase_add_loop_test(tcase, a_pipe_gets_the_same_bytes_as_a_file, 0, 4);
    tcase_add_loop_test(tcase, only_what_goes_forward_goes_into_a_pipe, 0, 3);
    tcase_add_loop_test(tcase, what_a_stream_has_lost_is_told_as_a_whole, 0, 2);
    return suite;
}
