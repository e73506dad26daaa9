/* SPDX-License-Identifier: MIT */
/*
 * t-amend.c - changes of what the descriptor says, and that nothing else of it
 * changes, in texts of their own and in those inside an extent, at any moment of
 * power loss.
 */
#include "changes.h"
#include "fault.h"
#include "powercut.h"

enum {
    DISK = 1024 * 1024
};

static int amend(const char *name, const char *options)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_RDWR);
    int ret = bdrv_amend(disk, options);

    bdrv_close(disk);
    return ret;
}

static void assert_amends(const char *name, const char *options, const char *wanted)
{
    assert_ok(amend(name, options));
    assert_text_has(name, wanted);
}

static void assert_refuses(const char *name, const char *options, const char *message)
{
    BlockDriverState *disk = open_disk(name, BDRV_O_RDWR);
    char *before = read_text(name), *after;

    assert_fails_saying(bdrv_amend(disk, options), -EINVAL, message);
    assert_ok(bdrv_close(disk));
    after = read_text(name);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
}

static const char *const places[] = {"subformat=monolithicSparse", "subformat=monolithicFlat"};

START_TEST(each_option_changes_its_line)
{
    create_disk("a.vmdk", NULL, places[_i], DISK);
    assert_amends("a.vmdk", "adapter_type=lsilogic", "ddb.adapterType = \"lsilogic\"");
    assert_text_has("a.vmdk", "ddb.geometry.heads = \"64\"");
    assert_amends("a.vmdk", "hwversion=10", "ddb.virtualHWVersion = \"10\"");
    assert_amends("a.vmdk", "toolsversion=9349", "ddb.toolsVersion = \"9349\"");
    assert_amends("a.vmdk", "cid=0badcafe", "\nCID=0badcafe\n");
    assert_amends("a.vmdk", "uuid=6000C29f486 6aea5-2f18e0000102 0304",
                  "ddb.uuid = \"60 00 C2 9f 48 66 ae a5-2f 18 e0 00 01 02 03 04\"");
    assert_amends("a.vmdk", "uuid=00112233445566778899aabbccddeeff",
                  "ddb.uuid = \"00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff\"");
    assert_sound("a.vmdk", 0);
}
END_TEST

START_TEST(several_options_are_one_change)
{
    create_disk("a.vmdk", NULL, NULL, DISK);
    assert_refuses("a.vmdk", "hwversion=10,cid=nonsense", "cid is 'nonsense'");
    assert_ok(amend("a.vmdk", "hwversion=11,adapter_type=buslogic"));
    assert_text_has("a.vmdk", "ddb.virtualHWVersion = \"11\"");
    assert_text_has("a.vmdk", "ddb.adapterType = \"buslogic\"");
}
END_TEST

START_TEST(values_that_make_no_sense_are_refused)
{
    create_disk("a.vmdk", NULL, NULL, DISK);
    assert_refuses("a.vmdk", "cid=ffffffff", "below fffffffe");
    assert_refuses("a.vmdk", "uuid=1234", "32 hexadecimal digits");
    assert_refuses("a.vmdk", "hwversion=100000", "hwversion is 100000");
    assert_refuses("a.vmdk", "toolsversion=4000000000", "toolsversion is 4000000000");
    assert_refuses("a.vmdk", "parent_hint=x.vmdk", "has no parent");
    assert_refuses("a.vmdk", "thin=on", "extents of type VMFS");
    assert_refuses("a.vmdk", "subformat=monolithicFlat", "inside the extent");
    assert_refuses("a.vmdk", "subformat=streamOptimized", "conversion");
    assert_refuses("a.vmdk", "subformat=custom", "inside the extent");
    assert_refuses("a.vmdk", "colour=red", "colour");
}
END_TEST

START_TEST(the_thin_flag_comes_and_goes)
{
    create_disk("a.vmdk", NULL, "subformat=vmfs", DISK);
    assert_amends("a.vmdk", "thin=on", "ddb.thinProvisioned = \"1\"");
    assert_ok(amend("a.vmdk", "thin=off"));
    assert_text_lacks("a.vmdk", "thinProvisioned");
}
END_TEST

START_TEST(a_create_type_can_be_another_name_of_the_same)
{
    create_disk("a.vmdk", NULL, "subformat=vmfs", DISK);
    assert_amends("a.vmdk", "subformat=vmfsThin", "createType=\"vmfsThin\"");
    create_disk("b.vmdk", NULL, "subformat=twoGbMaxExtentFlat", DISK);
    assert_amends("b.vmdk", "subformat=2GbMaxExtentFlat", "createType=\"2GbMaxExtentFlat\"");
    assert_amends("b.vmdk", "subformat=monolithicFlat", "createType=\"monolithicFlat\"");
    assert_refuses("b.vmdk", "subformat=vmfs", "another kind");
    assert_amends("b.vmdk", "subformat=fullDevice", "createType=\"fullDevice\"");
    assert_refuses("b.vmdk", "subformat=vmfsRaw", "another kind");
    create_disk("c.vmdk", NULL, "subformat=seSparse,sesparse_unverified=on", DISK);
    assert_amends("c.vmdk", "subformat=vmfsSeSparse", "createType=\"vmfsSeSparse\"");
}
END_TEST

START_TEST(the_hint_follows_a_parent_that_was_renamed)
{
    char *from = host_path(directory, "base.vmdk");
    char *to = host_path(directory, "a longer name.vmdk");
    BlockDriverState *disk;

    create_disk("base.vmdk", NULL, NULL, DISK);
    create_disk("child.vmdk", "base.vmdk", NULL, 0);
    ck_assert_int_eq(rename(from, to), 0);
    disk = open_disk("child.vmdk", BDRV_O_RDWR | BDRV_O_NO_BACKING);
    assert_ok(bdrv_amend(disk, "parent_hint=a longer name.vmdk"));
    assert_ok(bdrv_close(disk));
    disk = open_disk("child.vmdk", 0);
    ck_assert_ptr_nonnull(bdrv_backing(disk));
    assert_ok(bdrv_close(disk));
    free(from);
    free(to);
}
END_TEST

#define ODD                                                                           \
    "# made by hand\r\nversion=1\r\nCID=0badcafe\r\nparentCID=ffffffff\r\n"           \
    "myKey = \"keep me\"\r\ncreateType=\"custom\"\r\n\r\nRW 8 FLAT \"a.img\" 0\r\n\r\n" \
    "# ddb follows\r\nddb.mine = \"x\"\r\nddb.adapterType=\"ide\"\r\n"
#define ODD_AMENDED                                                                   \
    "# made by hand\r\nversion=1\r\nCID=0badcafe\r\nparentCID=ffffffff\r\n"           \
    "myKey = \"keep me\"\r\ncreateType=\"custom\"\r\n\r\nRW 8 FLAT \"a.img\" 0\r\n\r\n" \
    "# ddb follows\r\nddb.mine = \"x\"\r\nddb.adapterType=\"ide\"\r\n"                \
    "ddb.virtualHWVersion = \"7\"\r\n"

START_TEST(lines_that_are_not_known_are_kept)
{
    char *path = host_path(directory, "odd.vmdk"), *data = host_path(directory, "a.img");
    uint8_t zeros[4096] = {0};
    char *text;

    host_write_file(data, zeros, sizeof zeros);
    host_write_file(path, ODD, strlen(ODD));
    assert_ok(amend("odd.vmdk", "hwversion=7"));
    text = read_text("odd.vmdk");
    ck_assert_str_eq(text, ODD_AMENDED);
    free(text);
    free(path);
    free(data);
}
END_TEST

#define TWICE                                                                        \
    "version=1\nCID=0badcafe\nparentCID=ffffffff\nCID=0badcafe\ncreateType=\"custom\"\n" \
    "RW 8 FLAT \"a.img\" 0\nddb.adapterType = \"ide\"\n"

/* Of two CID lines that agree a write changed one, and was refused because of the other. */
START_TEST(a_line_that_is_there_twice_changes_in_both_places)
{
    char *path = host_path(directory, "twice.vmdk"), *data = host_path(directory, "a.img");
    uint8_t zeros[4096] = {0};
    BlockDriverState *disk;

    host_write_file(data, zeros, sizeof zeros);
    host_write_file(path, TWICE, strlen(TWICE));
    disk = open_disk("twice.vmdk", BDRV_O_RDWR);
    assert_ok(bdrv_pwrite(disk, "x", 1, 0));
    assert_ok(bdrv_close(disk));
    assert_text_lacks("twice.vmdk", "0badcafe");
    assert_ok(amend("twice.vmdk", "cid=12345678"));
    assert_text_has("twice.vmdk", "CID=12345678\nparentCID=ffffffff\nCID=12345678\n");
    free(path);
    free(data);
}
END_TEST

START_TEST(a_long_hint_takes_several_sectors)
{
    char hint[900], options[1000];

    create_disk("base.vmdk", NULL, NULL, DISK);
    create_disk("child.vmdk", "base.vmdk", NULL, 0);
    memset(hint, 'x', sizeof hint - 1);
    hint[sizeof hint - 1] = '\0';
    snprintf(options, sizeof options, "parent_hint=%s", hint);
    assert_ok(amend("child.vmdk", options));
    assert_text_has("child.vmdk", hint);
}
END_TEST

/* Row 14 of the damages: a header that allows grains of zeros where there are
 * none is sound, and can be made one that every program reads. */
START_TEST(row_14_a_flag_that_nothing_needs_can_be_dropped)
{
    static const char *const kinds[] = {
        "zeroed_grain=on", "subformat=twoGbMaxExtentSparse,extent_size=512k,zeroed_grain=on"};
    const char *file = _i == 0 ? "a.vmdk" : "a-s001.vmdk";
    char *path = host_path(directory, file);
    BlockDriverState *disk;
    uint8_t *bytes;
    size_t size;

    create_disk("p.vmdk", NULL, NULL, DISK); /* over it, zeros need an entry */
    create_disk("a.vmdk", "p.vmdk", kinds[_i], 0);
    assert_sound("a.vmdk", 0);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_ok(pattern_write(disk, 0, 65536, 1));
    assert_ok(pattern_write(disk, 131072, DISK - 131072, 1));
    assert_ok(bdrv_write_zeroes(disk, 65536, 65536));
    assert_fails_saying(bdrv_amend(disk, "zeroed_grain=off"), -EINVAL, "byte 65536 ");
    assert_ok(pattern_write(disk, 65536, 65536, 1));
    assert_ok(bdrv_amend(disk, "zeroed_grain=off"));
    assert_ok(bdrv_write_zeroes(disk, 0, 65536)); /* where it is */
    assert_ok(bdrv_close(disk));
    bytes = host_read_file(path, &size);
    ck_assert_uint_eq(bdrv_load_le32(bytes + 4), 1);
    ck_assert_uint_eq(bdrv_load_le32(bytes + 8), 3);
    free(bytes);
    assert_sound("a.vmdk", 0);
    disk = open_disk("a.vmdk", BDRV_O_RDWR);
    assert_pattern(disk, 0, 65536, PATTERN_ZEROS);
    assert_pattern(disk, 65536, DISK - 65536, 1);
    assert_ok(bdrv_amend(disk, "zeroed_grain=on"));
    assert_ok(bdrv_write_zeroes(disk, 65536, 65536));
    assert_ok(bdrv_close(disk));
    bytes = host_read_file(path, &size);
    ck_assert_uint_eq(bdrv_load_le32(bytes + 4), 2);
    ck_assert_uint_eq(bdrv_load_le32(bytes + 8), 7);
    free(bytes);
    assert_sound("a.vmdk", 0);
    free(path);
}
END_TEST

/* What lay behind the end of the text, in the room for it, became a part of it when it grew
 * over the NUL between them. */
START_TEST(what_is_behind_the_text_does_not_become_a_part_of_it)
{
    static const char more[] = "RW 64 ZERO\n";
    char *path = host_path(directory, "a.vmdk"), *before;
    BlockDriverState *disk;
    uint8_t *bytes;
    size_t size, end;

    create_disk("a.vmdk", NULL, "hwversion=4", DISK);
    before = read_text("a.vmdk");
    end = BDRV_SECTOR_SIZE + strlen(before);
    bytes = host_read_file(path, &size);
    memcpy(bytes + end + 1, more, strlen(more));
    host_write_file(path, bytes, size);
    assert_ok(amend("a.vmdk", "hwversion=10"));
    assert_text_lacks("a.vmdk", "ZERO");
    disk = open_disk("a.vmdk", 0);
    ck_assert_int_eq(bdrv_getlength(disk), DISK);
    assert_ok(bdrv_close(disk));
    free(before);
    free(bytes);
    free(path);
}
END_TEST

/* The text of an odd image, which is among the grains, was written over a grain table that is
 * where texts usually are. */
START_TEST(a_text_is_not_written_over_a_table)
{
    Built b = build_sparse((Shape){.sectors = 2048, .without = NO_REDUNDANT});
    const int64_t front = 21 * SECTOR, gt = bdrv_load_le32(build_gde(&b, 0, 0));
    BlockDriverState *memory, *disk;

    build_add_grain(&b, 0, 1);
    memcpy(b.bytes + b.size, b.bytes + SECTOR, 20 * SECTOR); /* the text */
    bdrv_store_le64(b.bytes + AT_DESCRIPTOR, (uint64_t)(b.size / SECTOR));
    b.size += 20 * SECTOR;
    memset(b.bytes + SECTOR, 0, (size_t)front - SECTOR);
    memcpy(b.bytes + SECTOR, b.bytes + gt * SECTOR, (size_t)b.gt_sectors * SECTOR);
    bdrv_store_le32(build_gde(&b, 0, 0), 1);
    memory = build_memory(&b);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_pattern(disk, 0, 65536, 1);
    assert_ok(bdrv_amend(disk, "uuid=00112233445566778899aabbccddeeff,adapter_type=lsilogic"));
    assert_ok(bdrv_close(disk));
    disk = open_memory(memory, 0);
    assert_pattern(disk, 0, 65536, 1);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(memory));
    free(b.bytes);
}
END_TEST

/* The flag was changed although another option of the same call was refused. */
START_TEST(a_flag_stays_when_another_option_is_refused)
{
    char *path = host_path(directory, "a.vmdk");
    uint8_t *bytes;
    size_t size;

    create_disk("a.vmdk", NULL, NULL, DISK);
    assert_refuses("a.vmdk", "zeroed_grain=on,cid=nonsense", "cid is 'nonsense'");
    bytes = host_read_file(path, &size);
    ck_assert_uint_eq(bdrv_load_le32(bytes + AT_VERSION), 1);
    ck_assert_uint_eq(bdrv_load_le32(bytes + AT_FLAGS), 3);
    free(bytes);
    free(path);
}
END_TEST

typedef struct Failure {
    const char *options;
    uint32_t version, flags;   /* of the header before */
    int64_t call;
    FaultLife life;
} Failure;

static BlockDriverState *failed_amend(const Failure *failure, BlockDriverState *fault)
{
    const FaultPlan plan = {.operations = FAULT_WRITE | FAULT_FLUSH, .call = failure->call,
                            .life = failure->life, .stored_before = DISK};
    BlockDriverState *disk = open_memory(fault, BDRV_O_RDWR);
    int ret;

    fault_arm(fault, &plan);
    ret = bdrv_amend(disk, failure->options);
    ck_assert_int_eq(ret, fault_failures(fault) > 0 ? -EIO : 0);
    fault_disarm(fault);
    return disk;
}

static Built build_for(const Failure *failure)
{
    return build_sparse((Shape){.more = "ddb.virtualHWVersion = \"4\"\nddb.toolsVersion = \"5\"\n",
                                .version = failure->version, .flags = failure->flags});
}

/* 0: the call was not reached. */
static int leaves_nothing(const Failure *failure)
{
    Built b = build_for(failure);
    BlockDriverState *memory = build_memory(&b), *fault = fault_insert(memory);
    BlockDriverState *disk = failed_amend(failure, fault);
    const int has_failed = fault_failures(fault) > 0;
    uint8_t *found = image_memory_bytes(memory);

    if (has_failed) {
        ck_assert_int_eq(bdrv_getlength(memory), b.size);
        ck_assert_mem_eq(found, b.bytes, (size_t)b.size);
    }
    assert_ok(bdrv_amend(disk, "toolsversion=6"));
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
    free(found);
    free(b.bytes);
    return has_failed;
}

/* A flag of the header was changed, and stayed so, when storing the text failed; and a text
 * whose write was told to have failed but was there became, with the next change, a part of it. */
START_TEST(a_change_that_fails_leaves_nothing)
{
    Failure failures[] = {{.options = "zeroed_grain=on,hwversion=9", .version = 1},
                          {.options = "zeroed_grain=off,hwversion=9", .version = 2, .flags = 4},
                          {.options = "hwversion=9"}};
    Failure *failure = &failures[_i];

    for (failure->call = 1; leaves_nothing(failure); failure->call++) {
    }
    ck_assert_int_gt(failure->call, 2);
}
END_TEST

/* 0: the call was not reached. */
static int still_allows_zeros(const Failure *failure)
{
    Built b = build_for(failure);
    BlockDriverState *memory = build_memory(&b), *fault = fault_insert(memory);
    BlockDriverState *disk = failed_amend(failure, fault);
    const int has_failed = fault_failures(fault) > 0;

    if (bdrv_write_zeroes(disk, 65536, 65536) == 0) {
        (void)pattern_write(disk, 131072, 65536, 1);
    }
    bdrv_close(disk);
    disk = open_memory(memory, BDRV_O_RDWR);
    ck_assert_ptr_null(image_find_damage(disk));
    assert_pattern(disk, 0, 131072, PATTERN_ZEROS);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
    free(b.bytes);
    return has_failed;
}

/* When the header had lost the flag and the handle had not, grains of zeros were entered that
 * the header does not allow. */
START_TEST(zeros_are_allowed_after_a_change_that_failed)
{
    Failure failure = {.options = "zeroed_grain=off", .version = 2, .flags = 4,
                       .life = FAULT_FOR_EVER};

    for (failure.call = 1; still_allows_zeros(&failure); failure.call++) {
    }
    ck_assert_int_gt(failure.call, 2);
}
END_TEST

/* 0: the call was not reached. */
static int fail_to_amend(int64_t call)
{
    const FaultPlan plan = {.operations = FAULT_ALL, .call = call, .life = FAULT_ONCE};
    char more[600] = "ddb.adapterType = \"ide\"\n#", bytes[65536] = "x", found[65536];
    Built b;
    BlockDriverState *memory, *fault, *disk;
    int64_t failures;

    memset(more + strlen(more), 'c', 500); /* what changes lies on both sides of a sector's end */
    strcat(more, "\n");
    b = build_sparse((Shape){.more = more});
    memory = build_memory(&b);
    fault = fault_insert(memory);
    disk = open_memory(fault, BDRV_O_RDWR);
    fault_arm(fault, &plan);
    (void)bdrv_amend(disk, "adapter_type=lsilogic");
    failures = fault_failures(fault);
    fault_disarm(fault);
    if (bdrv_pwrite(disk, "x", 1, 0) == 0) {
        assert_ok(bdrv_pread(disk, found, sizeof found, 0));
        ck_assert_msg(memcmp(found, bytes, sizeof bytes) == 0, "call %d: %.100s", (int)call,
                      found + 1);
    }
    bdrv_close(disk);
    disk = open_memory(memory, BDRV_O_RDWR);
    assert_ok(bdrv_pwrite(disk, "x", 1, 0));
    assert_ok(bdrv_pread(disk, found, sizeof found, 0));
    ck_assert_mem_eq(found, bytes, sizeof bytes);
    assert_ok(bdrv_close(disk));
    assert_ok(bdrv_close(fault));
    assert_ok(bdrv_close(memory));
    free(b.bytes);
    return failures > 0;
}

/* The copy of the text that it had left behind the file's end was taken for zeros, and shone
 * through a grain that was put there. */
START_TEST(what_a_failed_change_has_left_is_in_no_grain)
{
    for (int64_t call = 1; fail_to_amend(call); call++) {
    }
}
END_TEST

/* ------------------------------------------------------------------ power loss */

/* The text inside an extent has several sectors and moves by some bytes: whenever
 * the power goes it is the old one or the new one. */
static BlockDriverState *open_left(Volume *volume)
{
    BdrvOpenOptions options = {.struct_size = sizeof options, .flags = BDRV_O_RDWR};
    BlockDriverState *file = volume_open(volume, "a.vmdk", BDRV_O_RDWR), *disk;

    assert_ok(bdrv_open_node(&disk, file, "vmdk", &options));
    assert_ok(bdrv_close(file));
    return disk;
}

static void examine(void *opaque, Volume *volume, size_t cut, const char *where)
{
    BlockDriverState *disk = open_left(volume);
    const char *damage = image_find_damage(disk);
    BdrvGeometry geometry;

    (void)opaque;
    (void)cut;
    ck_assert_msg(damage == NULL, "%s: %s", where, damage);
    assert_ok(bdrv_get_geometry(disk, &geometry));
    ck_assert((geometry.heads == 16 && geometry.sectors == 63) ||
              (geometry.heads == 64 && geometry.sectors == 32));
    assert_pattern(disk, 0, DISK, 1);
    assert_ok(bdrv_amend(disk, "hwversion=12,toolsversion=33")); /* and goes on */
    assert_ok(pattern_write(disk, 0, DISK, 2));
    assert_pattern(disk, 0, DISK, 2);
    assert_ok(bdrv_close(disk));
    disk = open_left(volume);
    assert_pattern(disk, 0, DISK, 2);
    assert_ok(bdrv_close(disk));
}

/* Moves the text, so that what is changed lies on both sides of a sector's end. */
static void add_comment(Volume *volume)
{
    enum { COMMENT = 250 };
    int64_t size;
    uint8_t *bytes = volume_bytes(volume, "a.vmdk", &size);
    BlockDriverState *file = volume_open(volume, "a.vmdk", BDRV_O_RDWR);
    const int64_t start = memcmp(bytes, "KDMV", 4) == 0 ? BDRV_SECTOR_SIZE : 0;
    const uint8_t *end = memchr(bytes + start, '\0', (size_t)(size - start));
    const size_t length = end ? (size_t)(end - bytes - start) : (size_t)(size - start);
    char *text = malloc(length + COMMENT);

    ck_assert_ptr_nonnull(text);
    ck_assert(length < BDRV_SECTOR_SIZE && length + COMMENT > BDRV_SECTOR_SIZE + 100);
    memset(text, 'c', COMMENT);
    text[0] = '#';
    text[COMMENT - 1] = '\n';
    memcpy(text + COMMENT, bytes + start, length);
    assert_ok(bdrv_pwrite(file, text, length + COMMENT, start));
    assert_ok(bdrv_close(file));
    free(text);
    free(bytes);
}

START_TEST(power_loss_leaves_one_text_or_the_other)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = DISK,
                                .options = places[_i]};
    Volume *volume = volume_new();
    BlockDriverState *file = volume_create(volume, "a.vmdk"), *disk;
    uint32_t seed = suite_seed();
    Powercut powercut;

    assert_ok(bdrv_create_node(file, "vmdk", &create));
    assert_ok(bdrv_close(file));
    add_comment(volume);
    disk = open_left(volume);
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_amend(disk, "uuid=00112233445566778899aabbccddeeff,hwversion=4"));
    assert_ok(bdrv_close(disk));
    powercut_begin(&powercut, volume);
    disk = open_left(volume);
    assert_ok(bdrv_amend(disk, "hwversion=4711,adapter_type=legacyESX,toolsversion=1"));
    assert_ok(bdrv_close(disk));
    powercut_end(&powercut);
    powercut_try_all(&powercut, 200, &seed, examine, NULL);
    powercut_free(&powercut);
    volume_free(volume);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        several_options_are_one_change,
        values_that_make_no_sense_are_refused,
        the_thin_flag_comes_and_goes,
        a_create_type_can_be_another_name_of_the_same,
        the_hint_follows_a_parent_that_was_renamed,
        lines_that_are_not_known_are_kept,
        a_line_that_is_there_twice_changes_in_both_places,
        a_long_hint_takes_several_sectors,
        what_is_behind_the_text_does_not_become_a_part_of_it,
        a_text_is_not_written_over_a_table,
        a_flag_stays_when_another_option_is_refused,
        what_a_failed_change_has_left_is_in_no_grain,
        zeros_are_allowed_after_a_change_that_failed,
        NULL,
    };
    Suite *suite = suite_create("vmdk/amend");
    TCase *tcase = suite_add_case(suite, "amend", tests, 60);

    image_register_drivers();
    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    tcase_add_loop_test(tcase, each_option_changes_its_line, 0, 2);
    tcase_add_loop_test(tcase, a_change_that_fails_leaves_nothing, 0, 3);
    tcase_add_loop_test(tcase, row_14_a_flag_that_nothing_needs_can_be_dropped, 0, 2);
    tcase_add_loop_test(tcase, power_loss_leaves_one_text_or_the_other, 0, 2);
    return suite;
}
