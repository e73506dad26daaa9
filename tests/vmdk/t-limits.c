/* SPDX-License-Identifier: MIT */
/*
 * t-limits.c - what a caller's limits (BdrvLimits) allow an image, and what they
 * are where he sets none.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "changes.h"
#include "host.h"

enum { MIB = 1024 * 1024 };

static void setup(void)
{
    make_directory();
    ck_assert_int_eq(chdir(directory), 0);
}

static void teardown(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    remove_directory();
}

/* How opening goes with the limits (NULL: none set); 0 or -errno. */
static int open_within(const char *name, const BdrvLimits *limits)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .limits = limits };
    BlockDriverState *bs;
    int ret = bdrv_open(&bs, name, "vmdk", &options);
    if (ret == 0) {
        assert_ok(bdrv_close(bs));
    }
    return ret;
}

/* A descriptor of as many extents of zeros, then filler bytes of comment. */
static void write_descriptor(const char *name, unsigned extents, size_t filler)
{
    FILE *file = fopen(name, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                  "createType=\"custom\"\n");
    for (unsigned i = 0; i < extents; i++) {
        fprintf(file, "RW 8 ZERO\n");
    }
    for (size_t i = 0; i < filler; i++) {
        putc(i % 64 == 0 ? '#' : i % 64 == 63 ? '\n' : '.', file);
    }
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(extents_are_limited)
{
    BdrvLimits limits = { .struct_size = sizeof(limits), .extents = 3 };
    write_descriptor("three.vmdk", 3, 0);
    write_descriptor("four.vmdk", 4, 0);
    assert_ok(open_within("three.vmdk", &limits));
    assert_fails_saying(open_within("four.vmdk", &limits), -EINVAL, "more than 3 extents");
    assert_ok(open_within("four.vmdk", NULL));
}
END_TEST

START_TEST(by_default_there_may_be_65536_extents)
{
    BdrvLimits more = { .struct_size = sizeof(more), .extents = 65537 };
    write_descriptor("most.vmdk", 65536, 0);
    write_descriptor("more.vmdk", 65537, 0);
    assert_ok(open_within("most.vmdk", NULL));
    assert_fails_saying(open_within("more.vmdk", NULL), -EINVAL, "65536");
    assert_ok(open_within("more.vmdk", &more));
}
END_TEST

START_TEST(descriptors_are_limited_in_size)
{
    BdrvLimits limits = { .struct_size = sizeof(limits), .descriptor_bytes = 4096 };
    BdrvLimits more = { .struct_size = sizeof(more), .descriptor_bytes = 16 * MIB };
    write_descriptor("small.vmdk", 1, 1000);
    write_descriptor("large.vmdk", 1, 4096);
    write_descriptor("huge.vmdk", 1, 9 * MIB);
    assert_ok(open_within("small.vmdk", &limits));
    assert_fails_saying(open_within("large.vmdk", &limits), -EINVAL, "4096");
    assert_ok(open_within("large.vmdk", NULL));
    assert_fails_saying(open_within("huge.vmdk", NULL), -EINVAL, "8388608");
    assert_ok(open_within("huge.vmdk", &more));
}
END_TEST

START_TEST(a_descriptor_inside_an_extent_is_limited_too)
{
    BdrvLimits limits = { .struct_size = sizeof(limits), .descriptor_bytes = 100 };
    create_disk("disk.vmdk", NULL, "subformat=monolithicSparse", MIB);
    assert_fails_saying(open_within("disk.vmdk", &limits), -EINVAL, "the limit that is set is 100");
    assert_ok(open_within("disk.vmdk", NULL));
}
END_TEST

/* How many descriptors this process has. */
static int open_files(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        count += fstat(fd, &st) == 0;
    }
    return count;
}

START_TEST(files_that_are_open_at_a_time_are_limited)
{
    BdrvLimits limits = { .struct_size = sizeof(limits), .open_files = 4 };
    BdrvOpenOptions options = { .struct_size = sizeof(options), .limits = &limits };
    BlockDriverState *bs;
    int before = open_files();
    uint8_t byte;
    create_disk("disk.vmdk", NULL, "subformat=twoGbMaxExtentFlat,extent_size=64k", 2 * MIB);
    assert_ok(bdrv_open(&bs, "disk.vmdk", NULL, &options));
    for (int64_t at = 0; at < 2 * MIB; at += 4096) {
        assert_ok(bdrv_pread(bs, &byte, 1, at));
        ck_assert_int_le(open_files() - before, 5); /* and the descriptor */
    }
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_open(&bs, "disk.vmdk", NULL, NULL));
    ck_assert_int_eq(open_files() - before, 33);
    assert_ok(bdrv_close(bs));
}
END_TEST

START_TEST(the_limits_hold_for_parents_as_well)
{
    BdrvLimits limits = { .struct_size = sizeof(limits), .extents = 2 };
    create_disk("base.vmdk", NULL, "subformat=twoGbMaxExtentSparse,extent_size=1M", 3 * MIB);
    create_disk("child.vmdk", "base.vmdk", "subformat=monolithicSparse", 0);
    assert_fails_saying(open_within("child.vmdk", &limits), -EINVAL, "more than 2 extents");
    assert_ok(open_within("child.vmdk", NULL));
    limits = (BdrvLimits){ .struct_size = sizeof(limits), .chain_depth = 1 };
    assert_fails(open_within("child.vmdk", &limits), -ELOOP);
    limits.chain_depth = 2;
    assert_ok(open_within("child.vmdk", &limits));
}
END_TEST

/* A link on that parent; number 0: what all of them stand on, and of another CID. */
static void write_link(int number)
{
    char name[32];
    FILE *file;

    snprintf(name, sizeof name, "link%d.vmdk", number);
    file = fopen(name, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "# Disk DescriptorFile\nversion=1\nCID=%d\nparentCID=%s\n"
            "parentFileNameHint=\"./link%d.vmdk\"\ncreateType=\"custom\"\nRW 8 ZERO\n",
            number == 0 ? 2 : 1, number == 0 ? "ffffffff" : "1", number - 1);
    ck_assert_int_eq(fclose(file), 0);
}

/* Each image of a chain opened its parent twice if that failed, and all candidates for it:
 * a chain of 100 links without its root, or with a wrong one, was never refused. */
START_TEST(a_long_chain_that_ends_badly_is_refused_at_once)
{
    for (int number = 1; number <= 100; number++) {
        write_link(number);
    }
    assert_fails_saying(open_within("link100.vmdk", NULL), -EINVAL, "link0.vmdk");
    write_link(0);
    assert_fails_saying(open_within("link100.vmdk", NULL), -EINVAL, "has CID 00000002");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        extents_are_limited, by_default_there_may_be_65536_extents,
        descriptors_are_limited_in_size, a_descriptor_inside_an_extent_is_limited_too,
        files_that_are_open_at_a_time_are_limited, the_limits_hold_for_parents_as_well,
        a_long_chain_that_ends_badly_is_refused_at_once, NULL
    };
    Suite *suite = suite_create("vmdk/limits");
    tcase_add_checked_fixture(suite_add_case(suite, "limits", tests, 60), setup, teardown);
    return suite;
}
