/* SPDX-License-Identifier: MIT */
/*
 * t-defects-of-others.c - the defects of open-vmdk, libvmdk, 7-Zip, VirtualBox and old
 * emulators that the format document knows of (section 11.2, row by row), and that
 * this driver does not have.
 */
#include "build-cowd.h"
#include "place.h"
#include "streams.h"

enum {
    GRAIN = 65536,
    DISK = 1024 * 1024
};

static int can_inflate(void)
{
#ifdef BDRV_HAVE_LIBDEFLATE
    return 1;
#else
    suite_skipped("this build cannot inflate");
    return 0;
#endif
}

/* It must hold that generation in the range; b is used up. */
static void assert_holds(Built *b, int64_t offset, int64_t bytes, unsigned generation)
{
    BlockDriverState *memory = build_memory(b), *disk = open_memory(memory, 0);

    assert_pattern(disk, offset, bytes, generation);
    bdrv_close(disk);
    bdrv_close(memory);
    free(b->bytes);
}

static void assert_stream(Stream *s, const char *style)
{
    BlockDriverState *memory = image_memory_from(s->bytes, s->size), *disk;
    int ret = try_open(memory, 0, NULL, NULL, &disk);

    ck_assert_msg(ret == 0, "%s: %s", style, bdrv_errmsg());
    assert_pattern(disk, 0, GRAIN, 1);
    assert_pattern(disk, GRAIN, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 2 * GRAIN, bdrv_getlength(disk) - 2 * GRAIN, 1);
    bdrv_close(disk);
    bdrv_close(memory);
    stream_free(s);
}

static const int first_and_third[] = {0, 2, -1};

/* ----------------------------------------------------------------- open-vmdk */

/* open-vmdk takes a sparse extent that fails its checks for a raw disk. */
START_TEST(open_vmdk_a_broken_image_is_converted_as_raw)
{
    static const size_t fields[] = {AT_VERSION, AT_FLAGS, AT_GRAIN, AT_GTES, AT_NEWLINES};
    Built b = build_sparse((Shape){0});
    char *path = host_path(place, "x.vmdk");
    BlockDriverState *disk;

    memset(b.bytes + fields[_i], 0x99, 4);
    place_write("x.vmdk", b.bytes, (size_t)b.size);
    assert_fails(bdrv_open(&disk, path, NULL, NULL), -EINVAL);
    free(path);
    free(b.bytes);
}
END_TEST

/* open-vmdk goes round for ever when the last grain is partial and allocated. */
START_TEST(open_vmdk_a_partial_last_grain_never_ends)
{
    Built b = build_sparse((Shape){.sectors = 200});
    BlockDriverState *memory, *disk, *raw = image_memory(200 * SECTOR), *target;
    BdrvOpenOptions rw = {.struct_size = sizeof rw, .flags = BDRV_O_RDWR};

    build_add_grain(&b, 0, 1);
    build_add_grain(&b, 1, 1);
    memory = build_memory(&b);
    disk = open_memory(memory, 0);
    assert_ok(bdrv_open_node(&target, raw, "raw", &rw));
    assert_ok(bdrv_convert(disk, target, NULL));
    assert_pattern(target, 0, 200 * SECTOR, 1);
    assert_ok(bdrv_close(target));
    bdrv_close(disk);
    bdrv_close(raw);
    bdrv_close(memory);
    free(b.bytes);
}
END_TEST

/* open-vmdk does not find a footer that is not the last but one sector, and shows
 * zeros. */
START_TEST(open_vmdk_a_footer_with_something_behind_it_gives_zeros)
{
    Stream s = stream_build(stream_style("vSphere"), 3 * 128, first_and_third, 1);
    BlockDriverState *memory, *disk;

    if (!can_inflate()) {
        return;
    }
    if (_i == 0) {
        s.size += SECTOR;
        assert_stream(&s, "vSphere with a blank sector");
        return;
    }
    memset(s.bytes + s.size, 0x77, SECTOR); /* not blank: whatever we make of it */
    s.size += SECTOR;
    memory = image_memory_from(s.bytes, s.size);
    if (try_open(memory, 0, NULL, NULL, &disk) == 0) {
        bdrv_close(disk);
        bdrv_close(memory);
        assert_stream(&s, "vSphere with another sector");
    } else {
        bdrv_close(memory);
        stream_free(&s);
    }
}
END_TEST

/* open-vmdk has room for grains of 64 KiB and no more. */
START_TEST(open_vmdk_large_grains_are_refused)
{
    Built b = build_sparse((Shape){.grain = 1024, .sectors = 4096});

    build_add_grain(&b, 2, 1);
    assert_holds(&b, 2 * 1024 * SECTOR, 1024 * SECTOR, 1);
}
END_TEST

/* open-vmdk knows no parents, and shows zeros where they should show through. */
START_TEST(open_vmdk_no_entry_and_a_zeroed_grain_are_the_same)
{
    Built b = build_sparse((Shape){.version = 2, .flags = 4, .parent_cid = "1234abcd",
                                   .more = "parentFileNameHint=\"base.vmdk\"\n"});
    BlockDriverState *disk;

    assert_ok(place_try_create("base.vmdk", NULL, "cid=1234abcd", DISK));
    disk = place_open("base.vmdk", BDRV_O_RDWR, "cid=1234abcd");
    assert_ok(pattern_write(disk, 0, DISK, 1));
    assert_ok(bdrv_close(disk));
    build_set_gte(&b, 2, 1);
    place_write("d.vmdk", b.bytes, (size_t)b.size);
    free(b.bytes);
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, GRAIN, GRAIN, 1);
    assert_pattern(disk, 2 * GRAIN, GRAIN, PATTERN_ZEROS);
    assert_pattern(disk, 3 * GRAIN, GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* ------------------------------------------------------------------- libvmdk */

/* libvmdk opens the extent that an embedded descriptor describes by the name in it, and
 * does not find it where the file was renamed or the name is a placeholder. */
START_TEST(libvmdk_the_embedded_extent_is_opened_by_name)
{
    Built b = build_sparse((Shape){0}); /* whose descriptor says x.vmdk */
    BlockDriverState *disk;

    build_add_grain(&b, 3, 1);
    place_write("renamed.vmdk", b.bytes, (size_t)b.size);
    place_write("x.vmdk", "another file", 12);
    free(b.bytes);
    disk = place_open("renamed.vmdk", 0, NULL);
    assert_pattern(disk, 3 * GRAIN, GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* libvmdk reads the file's sector 1 where a GTE is 1, also where that is a zeroed grain. */
START_TEST(libvmdk_zeroed_grains_read_sector_1)
{
    Built b = build_sparse((Shape){.version = 2, .flags = 4});

    build_set_gte(&b, 3, 1);
    assert_holds(&b, 3 * GRAIN, GRAIN, PATTERN_ZEROS);
}
END_TEST

/* libvmdk wants a certain first line, and the data base behind the extents. */
START_TEST(libvmdk_the_order_and_the_title_are_fixed)
{
    static const char text[] = "ddb.adapterType = \"ide\"\nRW 128 FLAT \"a\" 0\n"
                               "createType=\"custom\"\nCID=12345678\nversion=1\n";
    BlockDriverState *disk;

    place_write_pattern("a", 0, GRAIN, 1);
    place_write("d.vmdk", text, sizeof text - 1);
    disk = place_open("d.vmdk", 0, NULL);
    assert_pattern(disk, 0, GRAIN, 1);
    assert_ok(bdrv_close(disk));
}
END_TEST

/* libvmdk refuses grains of 8 sectors and less. */
START_TEST(libvmdk_small_grains_are_refused)
{
    static const int64_t grains[] = {1, 2, 4, 8};
    Built b = build_sparse((Shape){.grain = grains[_i]});
    const int64_t bytes = grains[_i] * SECTOR;

    build_add_grain(&b, 3, 1);
    assert_holds(&b, 3 * bytes, bytes, 1);
}
END_TEST

/* libvmdk wants the newline bytes also where the flag says that there are none. */
START_TEST(libvmdk_newline_bytes_are_wanted_without_their_flag)
{
    Built b = build_sparse((Shape){0});

    bdrv_store_le32(b.bytes + AT_FLAGS, 2);
    memset(b.bytes + AT_NEWLINES, 0, 4);
    build_add_grain(&b, 3, 1);
    assert_holds(&b, 3 * GRAIN, GRAIN, 1);
}
END_TEST

/* libvmdk writes nothing. */
START_TEST(libvmdk_it_only_reads)
{
    Built b = build_sparse((Shape){0});
    BlockDriverState *memory = build_memory(&b), *disk = open_memory(memory, BDRV_O_RDWR);

    assert_ok(pattern_write(disk, 1000, 100000, 1));
    assert_ok(bdrv_close(disk));
    build_reload(&b, memory);
    bdrv_close(memory);
    assert_holds(&b, 1000, 100000, 1);
}
END_TEST

/* --------------------------------------------------------------------- 7-Zip */

/* 7-Zip wants markers before the tables of a stream, and a footer that is the header
 * once more: it cannot read what vdiskmanager, open-vmdk and QEMU write. */
START_TEST(seven_zip_streams_without_markers_are_refused)
{
    Stream s = stream_build(&stream_styles[_i], 3 * 128, first_and_third, 1);

    if (can_inflate()) {
        assert_stream(&s, stream_styles[_i].name);
    }
}
END_TEST

/* 7-Zip calls a last grain damaged that holds only what the disk has of it. */
START_TEST(seven_zip_a_short_last_grain_is_an_error)
{
    Stream s = stream_build(stream_style("short last grain"), 2 * 128 + 50, first_and_third, 1);

    if (can_inflate()) {
        assert_stream(&s, "short last grain");
    }
}
END_TEST

/* 7-Zip knows grain tables of 512 entries only. */
START_TEST(seven_zip_tables_of_another_size_are_refused)
{
    static const int64_t gtes[] = {128, 256, 1024, 65536};
    Built b = build_sparse((Shape){.gtes = gtes[_i], .sectors = 200 * 128});

    build_add_grain(&b, 150, 1);
    assert_holds(&b, 150 * GRAIN, GRAIN, 1);
}
END_TEST

/* ---------------------------------------------------------------- VirtualBox */

/* VirtualBox refuses version 2 of the header, and 2 and 3 of the descriptor. */
START_TEST(virtualbox_other_versions_are_refused)
{
    char text[256];
    Built b;

    snprintf(text, sizeof text, "version=%d\nCID=12345678\ncreateType=\"monolithicSparse\"\n"
             "RW 2048 SPARSE \"x\"\n", _i);
    b = build_sparse((Shape){.version = 2, .text = text});
    build_add_grain(&b, 3, 1);
    assert_holds(&b, 3 * GRAIN, GRAIN, 1);
}
END_TEST

/* VirtualBox refuses an image whose two sets of tables differ, as after a crash. */
START_TEST(virtualbox_tables_that_differ_are_refused)
{
    Built b = build_sparse((Shape){0});

    build_add_grain(&b, 3, 1);
    bdrv_store_le32(build_gte(&b, 1, 3), 0);
    assert_holds(&b, 3 * GRAIN, GRAIN, 1);
}
END_TEST

/* VirtualBox writes UUIDs of its own into the images of others when it opens them. */
START_TEST(virtualbox_descriptors_of_others_are_rewritten_at_open)
{
    char *before, *after;
    BlockDriverState *disk;

    place_write_pattern("a", 0, GRAIN, 1);
    place_describe("d.vmdk", "RW 128 FLAT \"a\" 0\nddb.mine = \"1\"\n");
    before = place_read("d.vmdk");
    disk = place_open("d.vmdk", BDRV_O_RDWR, NULL);
    assert_pattern(disk, 0, GRAIN, 1);
    assert_ok(bdrv_close(disk));
    after = place_read("d.vmdk");
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

/* -------------------------------------------------------------- old emulators */

/* Bochs and QEMU 0.x take a copy-on-write file for one of Workstation 2 or 3, with
 * tables of 512 entries; newer ones know those of ESX alone. */
START_TEST(old_emulators_one_kind_of_cowd_is_known)
{
    Built b = _i ? build_legacy(3) : build_root(16384, 1);
    const int64_t bytes = b.grain * SECTOR;

    add_cowd_grain(&b, 3, 1);
    add_cowd_grain(&b, 600, 1);
    assert_holds(&b, 600 * bytes, bytes, 1);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        open_vmdk_a_partial_last_grain_never_ends,
        open_vmdk_large_grains_are_refused,
        open_vmdk_no_entry_and_a_zeroed_grain_are_the_same,
        libvmdk_the_embedded_extent_is_opened_by_name,
        libvmdk_zeroed_grains_read_sector_1,
        libvmdk_the_order_and_the_title_are_fixed,
        libvmdk_newline_bytes_are_wanted_without_their_flag,
        libvmdk_it_only_reads,
        seven_zip_a_short_last_grain_is_an_error,
        virtualbox_tables_that_differ_are_refused,
        virtualbox_descriptors_of_others_are_rewritten_at_open,
        NULL,
    };
    Suite *suite = suite_create("vmdk/defects-of-others");
    TCase *tcase = suite_add_case(suite, "defects", tests, 60);
    int styles = 0;

    while (stream_styles[styles].name) {
        styles++;
    }
    tcase_add_checked_fixture(tcase, place_make, place_remove);
    tcase_add_loop_test(tcase, open_vmdk_a_broken_image_is_converted_as_raw, 0, 5);
    tcase_add_loop_test(tcase, open_vmdk_a_footer_with_something_behind_it_gives_zeros, 0, 2);
    tcase_add_loop_test(tcase, libvmdk_small_grains_are_refused, 0, 4);
    tcase_add_loop_test(tcase, seven_zip_streams_without_markers_are_refused, 0, styles);
    tcase_add_loop_test(tcase, seven_zip_tables_of_another_size_are_refused, 0, 4);
    tcase_add_loop_test(tcase, virtualbox_other_versions_are_refused, 1, 4);
    tcase_add_loop_test(tcase, old_emulators_one_kind_of_cowd_is_known, 0, 2);
    return suite;
}
