/* SPDX-License-Identifier: MIT */
/*
 * t-hash.c - bdrv_hash() and its records: the known values of SHA-256, the tree
 * against its definition computed by hand, the same result for every shape of
 * the same content, and where two contents differ.
 */
#include "bdrv-bytes.h"
#include "fault.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"
#include "trace.h"

enum { KIB = 1024, MIB = 1024 * KIB, LEAF = 64 * KIB, TOP = 12 };

typedef struct Digest {
    uint8_t bytes[BDRV_HASH_BYTES];
} Digest;

static BdrvHashOptions tree(void)
{
    return (BdrvHashOptions){ .struct_size = sizeof(BdrvHashOptions),
                              .algorithm = "sha256-tree" };
}

static Digest hash(BlockDriverState *bs, const BdrvHashOptions *options)
{
    Digest digest;
    assert_ok(bdrv_hash(bs, digest.bytes, options));
    return digest;
}

static void assert_equal(Digest a, Digest b)
{
    ck_assert_mem_eq(a.bytes, b.bytes, sizeof a.bytes);
}

static void assert_different(Digest a, Digest b)
{
    ck_assert_mem_ne(a.bytes, b.bytes, sizeof a.bytes);
}

static void assert_hex(Digest digest, const char *wanted)
{
    char text[2 * BDRV_HASH_BYTES + 1];
    for (int i = 0; i < BDRV_HASH_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest.bytes[i]);
    }
    ck_assert_str_eq(text, wanted);
}

/* Data, zeros that are stored, and nothing, with borders everywhere. */
static BlockDriverState *make_disk(int64_t length)
{
    BlockDriverState *disk = image_memory(length);
    for (int64_t at = 0; at < length; at += 500001) {
        assert_ok(pattern_write(disk, at, bdrv_min(150001, length - at), 1));
    }
    for (int64_t at = 200001; at < length; at += 700001) {
        assert_ok(pattern_write(disk, at, bdrv_min(90003, length - at), PATTERN_ZEROS));
    }
    return disk;
}

/* ------------------------------------------------------------ by hand */

static Digest sha256(const void *bytes, size_t count)
{
    BlockDriverState *memory = image_memory_from(bytes, (int64_t)count);
    Digest digest = hash(memory, NULL);
    assert_ok(bdrv_close(memory));
    return digest;
}

typedef struct Content {
    const uint8_t *bytes;
    int64_t length;
    Digest nothing[TOP + 1];
    int known; /* how many of them */
} Content;

/* The digest of the node of that level that begins at offset, straight from the
 * definition; only what lies wholly behind the end is not done again. */
static Digest node_by_hand(Content *c, int level, int64_t offset)
{
    Digest children[16];
    uint8_t *leaf;
    Digest digest;
    if (offset >= c->length && c->known > level) {
        return c->nothing[level];
    }
    if (level == 0) {
        leaf = calloc(1, LEAF);
        ck_assert_ptr_nonnull(leaf);
        if (offset < c->length) {
            memcpy(leaf, c->bytes + offset, (size_t)bdrv_min(LEAF, c->length - offset));
        }
        digest = sha256(leaf, LEAF);
        free(leaf);
    } else {
        const int64_t step = (int64_t)LEAF << (4 * (level - 1));
        for (int i = 0; i < 16; i++) {
            int64_t at = offset == INT64_MAX ? INT64_MAX : offset + i * step;
            children[i] = node_by_hand(c, level - 1, at);
        }
        digest = sha256(children, sizeof children);
    }
    if (offset >= c->length) {
        c->nothing[level] = digest;
        c->known = level + 1;
    }
    return digest;
}

static Digest tree_by_hand(const uint8_t *bytes, int64_t length)
{
    static Content c;
    uint8_t last[BDRV_HASH_BYTES + 8];
    c = (Content){ .bytes = bytes, .length = length };
    for (int level = 0; level < TOP; level++) {
        (void)node_by_hand(&c, level, INT64_MAX);
    }
    /* 2^63 + 2^63: the last eight children of the top are behind INT64_MAX. */
    Digest children[16];
    for (int i = 0; i < 16; i++) {
        children[i] = i < 8 ? node_by_hand(&c, TOP - 1, (int64_t)i << 60) : c.nothing[TOP - 1];
    }
    Digest top = sha256(children, sizeof children);
    memcpy(last, top.bytes, sizeof top.bytes);
    bdrv_store_le64(last + BDRV_HASH_BYTES, (uint64_t)length);
    return sha256(last, sizeof last);
}

/* -------------------------------------------------------------- tests */

START_TEST(sha256_is_sha256)
{
    static uint8_t letters[1000000];
    memset(letters, 'a', sizeof letters);
    assert_hex(sha256("", 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hex(sha256("abc", 3),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_hex(sha256(letters, sizeof letters),
               "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

START_TEST(zeros_count_for_sha256_though_nobody_reads_them)
{
    static uint8_t zeros[3 * MIB];
    BlockDriverState *disk = image_memory(sizeof zeros);
    BlockDriverState *trace = trace_insert(disk);
    assert_equal(hash(trace, NULL), sha256(zeros, sizeof zeros));
    ck_assert_int_eq(trace_count(trace, TRACE_READ), 0);
    assert_ok(bdrv_close(trace));
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(tree_is_what_its_definition_says)
{
    static const int64_t lengths[] = {
        0, 1, LEAF - 1, LEAF, LEAF + 1, MIB - 1, MIB, MIB + 1, 16 * MIB, 17 * MIB + 513,
    };
    const BdrvHashOptions options = tree();
    BlockDriverState *disk = make_disk(lengths[_i]);
    uint8_t *bytes = image_memory_bytes(disk);
    assert_equal(hash(disk, &options), tree_by_hand(bytes, lengths[_i]));
    free(bytes);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(hash_is_the_same_whatever_the_number_of_threads)
{
    static const char *const algorithms[] = { "sha256", "sha256-tree" };
    BlockDriverState *disk = make_disk(20 * MIB + 5);
    BdrvHashOptions options = tree();
    options.algorithm = algorithms[_i];
    options.threads = 1;
    Digest one = hash(disk, &options);
    options.threads = 2;
    assert_equal(hash(disk, &options), one);
    options.threads = 9;
    assert_equal(hash(disk, &options), one);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* Stored zeros and absent ones, in one image or in another. */
START_TEST(hash_is_the_same_in_every_kind_of_image)
{
    const ImageKind *kind = image_kind((size_t)_i);
    const BdrvHashOptions options = tree();
    Image *image = image_new(kind, 3 * MIB + 1024);
    BlockDriverState *disk = image_open(image, BDRV_O_RDWR);
    BlockDriverState *source = (kind->facts & IMAGE_EMPTY) ? image_memory(image->size)
                                                           : make_disk(image->size);
    assert_ok(bdrv_convert(source, disk, NULL));
    assert_equal(hash(disk, NULL), hash(source, NULL));
    assert_equal(hash(disk, &options), hash(source, &options));
    assert_ok(bdrv_close(source));
    image_close(image, disk);
    image_free(image);
}
END_TEST

START_TEST(length_is_part_of_the_tree)
{
    const BdrvHashOptions options = tree();
    BlockDriverState *a = image_memory(4096), *b = image_memory(4097);
    assert_different(hash(a, &options), hash(b, &options));
    assert_ok(bdrv_close(a));
    assert_ok(bdrv_close(b));
}
END_TEST

/* A disk of nearly 8 EiB: no level may overflow, and it must take no time. */
START_TEST(empty_disk_of_any_size_has_a_tree_at_once)
{
    static const int64_t sizes[] = { INT64_C(1) << 40, INT64_C(1) << 56, INT64_C(7) << 60,
                                     INT64_MAX };
    const BdrvHashOptions options = tree();
    char size[64];
    BdrvOpenOptions open = { .struct_size = sizeof open, .flags = BDRV_O_RDWR,
                             .options = size };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        BlockDriverState *disk, *memory = image_memory(sizes[i]);
        snprintf(size, sizeof size, "size=%lld", (long long)sizes[i]);
        assert_ok(bdrv_open(&disk, "", "null", &open));
        assert_equal(hash(disk, &options), hash(memory, &options));
        assert_ok(bdrv_pwrite(memory, "x", 1, bdrv_getlength(memory) - 1));
        assert_different(hash(disk, &options), hash(memory, &options));
        assert_ok(bdrv_close(disk));
        assert_ok(bdrv_close(memory));
    }
}
END_TEST

/* ------------------------------------------------------------ records */

static BdrvHashRecord *record_of(BlockDriverState *disk)
{
    BdrvHashRecord *record;
    BdrvHashOptions options = tree();
    assert_ok(bdrv_hash_record_new(&record));
    options.record = record;
    (void)hash(disk, &options);
    return record;
}

/* Changes one byte, and the place where the records differ must hold it and be
 * of the length that the header promises. */
static void assert_found(int64_t length, int64_t at, int64_t promised)
{
    BlockDriverState *disk = image_memory(length);
    int64_t offset = -1, bytes = -1;
    assert_ok(pattern_write(disk, 0, bdrv_min(length, 3 * MIB), 1));
    BdrvHashRecord *before = record_of(disk);
    BdrvHashRecord *same = record_of(disk);
    ck_assert_int_eq(bdrv_hash_record_compare(before, same, &offset, &bytes), 0);
    assert_ok(bdrv_pwrite(disk, "\xee", 1, at));
    assert_ok(bdrv_pwrite(disk, "\xee", 1, length - 1)); /* the first one counts */
    BdrvHashRecord *after = record_of(disk);
    ck_assert_int_eq(bdrv_hash_record_compare(before, after, &offset, &bytes), 1);
    ck_assert_int_eq(offset, at - at % promised);
    ck_assert_int_eq(bytes, bdrv_min(promised, length - offset));
    bdrv_hash_record_free(before);
    bdrv_hash_record_free(same);
    bdrv_hash_record_free(after);
    assert_ok(bdrv_close(disk));
}

START_TEST(records_tell_where_the_first_difference_is)
{
    const int64_t gib = 1024 * MIB;
    assert_found(1, 0, LEAF);
    assert_found(10 * MIB + 3, 0, LEAF);
    assert_found(10 * MIB + 3, 2 * MIB + 70000, LEAF);
    assert_found(10 * MIB + 3, 10 * MIB + 2, LEAF);
    assert_found(4 * gib, 4 * gib - 1, LEAF);
    assert_found(4 * gib + 1, 3 * gib + 5, MIB);
    assert_found(64 * gib, 40 * gib - 1, MIB);
    assert_found(1024 * gib, 1000 * gib + 1, 16 * MIB);
    assert_found(1024 * gib - 5, 1024 * gib - 6, 16 * MIB);
}
END_TEST

START_TEST(record_of_a_conversion_is_that_of_its_target)
{
    BlockDriverState *source = make_disk(9 * MIB + 77);
    BlockDriverState *target = image_memory(20 * MIB);
    BlockDriverState *part;
    BdrvHashRecord *taken, *found;
    int64_t offset, bytes;
    BdrvConvertOptions options = { .struct_size = sizeof options, .target_offset = MIB + 7,
                                   .threads = 3 };
    BdrvOpenOptions window = { .struct_size = sizeof window };
    char text[64];
    assert_ok(pattern_write(target, 0, 20 * MIB, 9));
    assert_ok(bdrv_hash_record_new(&taken));
    options.record = taken;
    options.sparse_size = _i ? -1 : 0; /* no zero is looked for, or some are */
    assert_ok(bdrv_convert(source, target, &options));
    snprintf(text, sizeof text, "offset=%d,size=%d", MIB + 7, 9 * MIB + 77);
    window.options = text;
    assert_ok(bdrv_open_node(&part, target, "raw", &window));
    found = record_of(part);
    ck_assert_int_eq(bdrv_hash_record_compare(taken, found, &offset, &bytes), 0);
    bdrv_hash_record_free(found);
    bdrv_hash_record_free(taken);
    assert_ok(bdrv_close(part));
    assert_ok(bdrv_close(target));
    assert_ok(bdrv_close(source));
}
END_TEST

START_TEST(failed_conversion_leaves_no_record)
{
    BlockDriverState *source = make_disk(3 * MIB);
    BlockDriverState *shorter = image_memory(MIB);
    BlockDriverState *fault = fault_insert(source);
    BdrvHashRecord *record = record_of(source);
    BdrvConvertOptions options = { .struct_size = sizeof options, .record = record };
    BdrvHashOptions again = tree();
    FaultPlan plan = { .operations = FAULT_READ, .call = 2, .life = FAULT_FOR_EVER };
    uint8_t digest[BDRV_HASH_BYTES];
    again.record = record;
    assert_ok(bdrv_hash_record_digest(record, digest));
    assert_fails(bdrv_convert(source, shorter, &options), -ENOSPC);
    assert_fails_saying(bdrv_hash_record_digest(record, digest), -EINVAL, "not whole");
    assert_ok(bdrv_hash(source, digest, &again));
    assert_ok(bdrv_hash_record_digest(record, digest));
    fault_arm(fault, &plan);
    assert_fails(bdrv_hash(fault, digest, &again), -EIO);
    assert_fails_saying(bdrv_hash_record_digest(record, digest), -EINVAL, "not whole");
    bdrv_hash_record_free(record);
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(shorter));
    assert_ok(bdrv_close(source));
}
END_TEST

/* -------------------------------------------------------------- errors */

START_TEST(what_cannot_be_read_has_no_hash)
{
    BlockDriverState *disk = make_disk(5 * MIB);
    BlockDriverState *fault = fault_insert(disk);
    FaultPlan plan = { .operations = FAULT_READ | FAULT_EXTENT, .life = FAULT_ONCE };
    BdrvHashOptions options = tree();
    uint8_t digest[BDRV_HASH_BYTES];
    int64_t calls;
    options.algorithm = _i ? "sha256-tree" : "sha256";
    options.threads = 1;
    fault_arm(fault, &plan);
    assert_ok(bdrv_hash(fault, digest, &options));
    calls = fault_calls(fault);
    ck_assert_int_gt(calls, 1);
    for (plan.call = 1; plan.call <= calls; plan.call++) {
        fault_arm(fault, &plan);
        assert_fails(bdrv_hash(fault, digest, &options), -EIO);
    }
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(disk));
}
END_TEST

static int stop_at_once(void *opaque, int64_t done, int64_t total)
{
    int *calls = opaque;
    (void)total;
    ++*calls;
    return done > 0;
}

START_TEST(progress_can_stop_it)
{
    BlockDriverState *disk = make_disk(5 * MIB);
    int calls = 0;
    BdrvHashOptions options = { .struct_size = sizeof options, .progress = stop_at_once,
                                .progress_opaque = &calls };
    uint8_t digest[BDRV_HASH_BYTES];
    assert_fails_saying(bdrv_hash(disk, digest, &options), -ECANCELED, "stopped");
    ck_assert_int_eq(calls, 2);
    assert_ok(bdrv_close(disk));
}
END_TEST

typedef struct Asked {
    int64_t last, longest; /* what was told; the longest step */
    int64_t stop_at;
} Asked;

static int note_step(void *opaque, int64_t done, int64_t total)
{
    Asked *asked = opaque;
    ck_assert_int_ge(done, asked->last);
    ck_assert_int_le(done, total);
    asked->longest = done - asked->last > asked->longest ? done - asked->last : asked->longest;
    asked->last = done;
    return done >= asked->stop_at;
}

/* SHA-256 of zeros that nobody reads told nothing and could not be stopped: img-hash of an
 * empty disk of 1 TiB ran for hours, whatever signal it got. */
START_TEST(zeros_are_told_as_they_are_hashed_and_it_can_be_stopped_there)
{
    enum { DATA_AT = 150 * MIB, LENGTH = 200 * MIB, STEP_MAX = 32 * MIB };
    BlockDriverState *disk = image_memory(LENGTH);
    Asked asked = { .stop_at = LENGTH + 1 };
    BdrvHashOptions options = { .struct_size = sizeof options, .progress = note_step,
                                .progress_opaque = &asked };
    uint8_t digest[BDRV_HASH_BYTES];
    assert_ok(bdrv_pwrite(disk, "data", 4, DATA_AT));
    hash(disk, &options);
    ck_assert_int_eq(asked.last, LENGTH);
    ck_assert_int_le(asked.longest, STEP_MAX);
    asked = (Asked){ .stop_at = DATA_AT + STEP_MAX };
    assert_fails_saying(bdrv_hash(disk, digest, &options), -ECANCELED, "stopped");
    ck_assert_int_lt(asked.last, LENGTH);
    assert_ok(bdrv_close(disk));
}
END_TEST

START_TEST(nonsense_is_refused)
{
    BlockDriverState *disk = image_memory(MIB), *other = image_memory(2 * MIB);
    BdrvHashRecord *record = record_of(disk), *longer = record_of(other), *fresh;
    BdrvHashOptions options = { .struct_size = sizeof options, .algorithm = "md5" };
    uint8_t digest[BDRV_HASH_BYTES];
    int64_t offset, bytes;
    assert_fails_saying(bdrv_hash(disk, digest, &options), -EINVAL, "md5");
    options.algorithm = NULL;
    options.record = record;
    assert_fails_saying(bdrv_hash(disk, digest, &options), -EINVAL, "sha256-tree");
    assert_fails(bdrv_hash(NULL, digest, NULL), -EINVAL);
    assert_fails(bdrv_hash(disk, NULL, NULL), -EINVAL);
    assert_fails_saying(bdrv_hash_record_compare(record, longer, &offset, &bytes), -EINVAL,
                        "1048576 and 2097152");
    assert_ok(bdrv_hash_record_new(&fresh));
    assert_fails(bdrv_hash_record_digest(fresh, digest), -EINVAL);
    assert_fails(bdrv_hash_record_compare(record, fresh, &offset, &bytes), -EINVAL);
    bdrv_hash_record_free(NULL);
    bdrv_hash_record_free(fresh);
    bdrv_hash_record_free(record);
    bdrv_hash_record_free(longer);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(other));
}
END_TEST

START_TEST(build_without_it_says_so)
{
    BlockDriverState *disk = image_memory(MIB);
    BdrvHashRecord *record;
    BdrvHashOptions options = tree();
    uint8_t digest[BDRV_HASH_BYTES];
    assert_fails_saying(bdrv_hash(disk, digest, NULL), -ENOTSUP, "nettle");
    assert_fails_saying(bdrv_hash(disk, digest, &options), -ENOTSUP, "nettle");
    assert_fails_saying(bdrv_hash_record_new(&record), -ENOTSUP, "nettle");
    ck_assert_ptr_null(record);
    assert_ok(bdrv_close(disk));
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        sha256_is_sha256,
        zeros_count_for_sha256_though_nobody_reads_them,
        length_is_part_of_the_tree,
        empty_disk_of_any_size_has_a_tree_at_once,
        records_tell_where_the_first_difference_is,
        failed_conversion_leaves_no_record,
        progress_can_stop_it,
        zeros_are_told_as_they_are_hashed_and_it_can_be_stopped_there,
        nonsense_is_refused,
        NULL,
    };
    const TTest *const kind_tests[] = {
        hash_is_the_same_in_every_kind_of_image, NULL,
    };
    const TTest *const without[] = { build_without_it_says_so, NULL };
    Suite *suite = suite_create("hash");
    BdrvHashRecord *record;
    image_register_drivers();
    if (bdrv_hash_record_new(&record) < 0) {
        suite_add_case(suite, "without", without, 60);
        return suite;
    }
    bdrv_hash_record_free(record);
    TCase *tcase = suite_add_case(suite, "hash", tests, 60);
    tcase_add_loop_test(tcase, tree_is_what_its_definition_says, 0, 10);
    tcase_add_loop_test(tcase, hash_is_the_same_whatever_the_number_of_threads, 0, 2);
    tcase_add_loop_test(tcase, record_of_a_conversion_is_that_of_its_target, 0, 2);
    tcase_add_loop_test(tcase, what_cannot_be_read_has_no_hash, 0, 2);
    image_add_loops(suite, "kinds", kind_tests, 60);
    return suite;
}
