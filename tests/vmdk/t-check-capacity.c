/* SPDX-License-Identifier: MIT */
/*
 * t-check-capacity.c - capacities of sparse extents with one bit wrong, also where the
 * directories are not where VMware's programs put them: a repair makes the disk what it
 * was, or leaves it as it is.
 */
#include "damage.h"

enum { BITS = 64 };

/* Moves the bytes of the directory of a set, not its tables, to the end of the file. */
static void directory_to_end(Built *b, int set)
{
    const int64_t from = b->gd[set];

    memcpy(b->bytes + b->size, b->bytes + from * SECTOR, (size_t)b->gd_sectors * SECTOR);
    b->gd[set] = b->size / SECTOR;
    b->size += D_GRAIN;
    bdrv_store_le64(b->bytes + (set ? AT_RGD : AT_GD), (uint64_t)b->gd[set]);
}

static Built usual(void)
{
    return damage_image(0);
}

static Built alone(void)
{
    return damage_image(NO_REDUNDANT);
}

static Built alone_at_end(void)
{
    Built b = damage_image(NO_REDUNDANT);

    directory_to_end(&b, 0);
    return b;
}

static Built both_at_end(void)
{
    Built b = damage_image(0);

    directory_to_end(&b, 0);
    directory_to_end(&b, 1);
    return b;
}

/* Primary and redundant set have each other's place. */
static Built exchanged(void)
{
    Built b = damage_image(0);
    const int64_t gd = b.gd[0];

    b.gd[0] = b.gd[1];
    b.gd[1] = gd;
    bdrv_store_le64(b.bytes + AT_GD, (uint64_t)b.gd[0]);
    bdrv_store_le64(b.bytes + AT_RGD, (uint64_t)b.gd[1]);
    return b;
}

/* All is a sector further than usual. */
static Built shifted(void)
{
    Built b = damage_image(NO_REDUNDANT);
    uint8_t *first = b.bytes + b.gd[0] * SECTOR;
    const int64_t bytes = (b.gd_sectors + b.tables * b.gt_sectors) * SECTOR;

    memmove(first + SECTOR, first, (size_t)bytes);
    memset(first, 0, SECTOR);
    b.gd[0]++;
    for (int64_t t = 0; t < b.tables; t++) {
        uint8_t *gde = build_gde(&b, 0, t);

        bdrv_store_le32(gde, bdrv_load_le32(gde) + 1);
    }
    bdrv_store_le64(b.bytes + AT_GD, (uint64_t)b.gd[0]);
    return b;
}

/* The same, and the directory is also where it was, for tables that were there. */
static Built left_behind(void)
{
    Built b = shifted();

    for (int64_t t = 0; t < b.tables; t++) {
        bdrv_store_le32(b.bytes + (b.gd[0] - 1) * SECTOR + t * 4,
                        bdrv_load_le32(build_gde(&b, 0, t)) - 1);
    }
    return b;
}

typedef struct Layout {
    const char *name;
    Built (*build)(void);
} Layout;

static const Layout layouts[] = {
    {"usual", usual},       {"alone", alone},         {"alone at the end", alone_at_end},
    {"both at the end", both_at_end}, {"exchanged", exchanged}, {"shifted", shifted},
    {"left behind", left_behind},
};

enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* Of a line that is shorter than the capacity, the line was set to that wherever the directories
 * did not look like VMware's for the one and not for the other: the disk became longer.  And of
 * a capacity that cannot be, all of the header was given up, or one made for a directory that
 * somebody had left behind. */
START_TEST(one_wrong_bit_of_the_capacity_changes_no_disk)
{
    const Layout *layout = &layouts[_i];

    for (int bit = 0; bit < BITS; bit++) {
        Built b = layout->build();
        Findings f;

        b.bytes[AT_CAPACITY + bit / 8] ^= (uint8_t)(1 << bit % 8);
        damage_repaired(&b, &f);
    }
}
END_TEST

/* The other way round: what the directories hold, or look like, was made for a longer disk. */
static void assert_line_is_wrong(Built b)
{
    char *line = strstr((char *)b.bytes + SECTOR, "RW 8192 ");

    ck_assert_ptr_nonnull(line);
    memcpy(line, "RW 4096 ", 8);
    damage_mended(&b, BDRV_FINDING_MISMATCH, "gives the extent 4096 sectors, its header 8192", -1);
}

START_TEST(a_line_that_was_made_shorter_takes_nothing_away)
{
    assert_line_is_wrong(layouts[_i].build());
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {NULL};
    Suite *suite = suite_create("vmdk/check-capacity");
    TCase *tc = suite_add_case(suite, "capacity", tests, 60);

    image_register_drivers();
    tcase_add_loop_test(tc, a_line_that_was_made_shorter_takes_nothing_away, 0, LAYOUTS);
    tcase_add_loop_test(tc, one_wrong_bit_of_the_capacity_changes_no_disk, 0, LAYOUTS);
    return suite;
}
