/* SPDX-License-Identifier: MIT */
/*
 * t-clusters.c - BdrvClusters: what is read from where, what is written when a
 * cluster gets a place, and what many threads make of it.
 *
 * The format under test is a driver of this file, "testmap", whose map is an
 * array in memory and whose clusters lie one after the other in a Ram.  The
 * disk begins with BEFORE bytes that the map does not cover, as an extent in
 * the middle of a disk does.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "bdrv-driver.h"
#include "ram.h"
#include "suite.h"

enum {
    BEFORE = 512,
    CLUSTER = 4096,
    CLUSTERS_MAX = 512,
    ROOM = 1024 * 1024, /* where the first cluster goes in the file */
    RAM_BYTES = 16 * 1024 * 1024,
    /* Of the bytes that show through from the backing image, and of junk that lies in
     * room that is not zeroed. */
    PARENT = 0xbb,
    JUNK = 0xee
};

/* How the next "testmap" behaves; each test starts with the one of set_up(). */
typedef struct Shape {
    int64_t cluster_size;
    int64_t length;
    int64_t backing_length; /* < 0: none */
    int zeroed;             /* room reads as zeros */
    int64_t reserve_most;   /* clusters in one piece */
    int enter_zero;         /* what it returns, or 1: works, or 0: is NULL */
    int failing_reserve;    /* -errno */
    int failing_enter;
    unsigned flags; /* to open with, besides BDRV_O_RDWR */
} Shape;

typedef struct Map {
    BdrvClusters *clusters;
    BdrvClustersConfig config;
    BdrvClusterOps ops;
    pthread_mutex_t lock;
    struct {
        BdrvState state;
        int compressed;
        int64_t file_offset;
    } entries[CLUSTERS_MAX];
    int64_t next;
    int64_t lie; /* not 0: the run length lookup tells */
    int reserves, enters, zero_enters;
} Map;

static Shape shape;
static Ram *ram;
static Ram *parent;
static BlockDriverState *bs;
static Map *map;

/* ---------------------------------------------------------- the test driver */

static int map_lookup(void *opaque, int64_t offset, int64_t bytes, BdrvExtent *extent)
{
    Map *m = opaque;
    int64_t size = m->config.cluster_size;
    int64_t first = offset / size, last = first;
    int64_t step;

    pthread_mutex_lock(&m->lock);
    step = m->entries[first].state == BDRV_DATA ? size : 0;
    while ((last + 1) * size < offset + bytes &&
           m->entries[last + 1].state == m->entries[first].state &&
           m->entries[last + 1].compressed == m->entries[first].compressed &&
           m->entries[last + 1].file_offset == m->entries[last].file_offset + step) {
        last++;
    }
    extent->state = m->entries[first].state;
    extent->compressed = m->entries[first].compressed;
    extent->file = step > 0 && !extent->compressed ? m->config.file : NULL;
    extent->file_offset = m->entries[first].file_offset + offset % size;
    pthread_mutex_unlock(&m->lock);
    extent->bytes = bdrv_min(bytes, (last + 1) * size - offset);
    if (m->lie != 0) {
        extent->bytes = m->lie;
    }
    return 0;
}

static int map_reserve(void *opaque, int64_t *clusters, int64_t *file_offset, int *zeroed)
{
    Map *m = opaque;

    if (shape.failing_reserve != 0) {
        return bdrv_error(m->config.bs, shape.failing_reserve, "no room");
    }
    pthread_mutex_lock(&m->lock);
    m->reserves++;
    *clusters = bdrv_min(*clusters, shape.reserve_most);
    *file_offset = m->next;
    *zeroed = shape.zeroed;
    m->next += *clusters * m->config.cluster_size;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static void map_set(Map *m, int64_t number, BdrvState state, int64_t file_offset)
{
    m->entries[number].state = state;
    m->entries[number].file_offset = file_offset;
}

static int map_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    Map *m = opaque;
    int64_t size = m->config.cluster_size;

    if (shape.failing_enter != 0) {
        return bdrv_error(m->config.bs, shape.failing_enter, "no entry");
    }
    pthread_mutex_lock(&m->lock);
    m->enters++;
    for (int64_t i = 0; i < clusters; i++) {
        map_set(m, offset / size + i, BDRV_DATA, file_offset + i * size);
    }
    pthread_mutex_unlock(&m->lock);
    return offset % size == 0 ? 0 : -EINVAL;
}

static int map_enter_zero(void *opaque, int64_t offset, int64_t clusters)
{
    Map *m = opaque;

    if (shape.enter_zero < 0) {
        return bdrv_error(m->config.bs, shape.enter_zero, "no zero entries");
    }
    pthread_mutex_lock(&m->lock);
    m->zero_enters++;
    for (int64_t i = 0; i < clusters; i++) {
        map_set(m, offset / m->config.cluster_size + i, BDRV_ZERO, 0);
    }
    pthread_mutex_unlock(&m->lock);
    return offset % m->config.cluster_size == 0 ? 0 : -EINVAL;
}

static int map_read_compressed(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    (void)opaque;
    (void)offset;
    memset(buf, 0xcc, bytes);
    return 0;
}

static int map_open(BlockDriverState *node, const BdrvOptions *options)
{
    Map *m = bdrv_state(node);
    int rc;

    (void)options;
    bdrv_set_length(node, BEFORE + shape.length);
    m->ops = (BdrvClusterOps){.lookup = map_lookup,
                              .reserve = map_reserve,
                              .enter = map_enter,
                              .enter_zero = shape.enter_zero != 0 ? map_enter_zero : NULL,
                              .read_compressed = map_read_compressed};
    m->config = (BdrvClustersConfig){.bs = node,
                                     .file = bdrv_file(node),
                                     .disk_offset = BEFORE,
                                     .length = shape.length,
                                     .cluster_size = shape.cluster_size,
                                     .ops = &m->ops,
                                     .opaque = m};
    m->next = ROOM;
    rc = bdrv_clusters_new(&m->clusters, &m->config);
    if (rc == 0 && shape.backing_length >= 0) {
        rc = bdrv_open_backing(node, "parent", "raw", NULL, NULL);
    }
    if (rc < 0) {
        bdrv_clusters_free(m->clusters);
        return rc;
    }
    pthread_mutex_init(&m->lock, NULL);
    return 0;
}

static int map_close(BlockDriverState *node)
{
    Map *m = bdrv_state(node);

    bdrv_clusters_free(m->clusters);
    pthread_mutex_destroy(&m->lock);
    return 0;
}

static int map_read(BlockDriverState *node, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_read(((Map *)bdrv_state(node))->clusters, buf, bytes,
                              offset - BEFORE);
}

static int map_write(BlockDriverState *node, const void *buf, size_t bytes, int64_t offset)
{
    return bdrv_clusters_write(((Map *)bdrv_state(node))->clusters, buf, bytes,
                               offset - BEFORE);
}

static int map_write_zeroes(BlockDriverState *node, int64_t offset, int64_t bytes)
{
    return bdrv_clusters_write_zeroes(((Map *)bdrv_state(node))->clusters, offset - BEFORE,
                                      bytes);
}

static const BlockDriver driver = {
    BDRV_DRIVER_HEAD,
    .name = "testmap",
    .description = "a map of clusters in memory",
    .flags = BDRV_DRIVER_PARALLEL | BDRV_DRIVER_BACKING,
    .instance_size = sizeof(Map),
    .open = map_open,
    .read = map_read,
    .write = map_write,
    .close = map_close,
    .write_zeroes = map_write_zeroes,
};

/* ---------------------------------------------------------------- fixtures */

/* The test's shape is set; offsets below count from the map's beginning. */
static void open_map(void)
{
    BdrvOpenOptions options = {.struct_size = sizeof options,
                               .flags = BDRV_O_RDWR | shape.flags};

    ram = ram_new(RAM_BYTES, RAM_BYTES);
    memset(ram->bytes, shape.zeroed ? 0 : JUNK, RAM_BYTES);
    if (shape.backing_length >= 0) {
        parent = ram_new(BEFORE + shape.backing_length, BEFORE + shape.backing_length + 1);
        memset(parent->bytes + BEFORE, PARENT, (size_t)shape.backing_length);
        ram->other = parent;
    }
    bs = ram_open(ram, "testmap", &options);
    map = bdrv_state(bs);
    ram_clear(ram);
}

static void set_up(void)
{
    ram = parent = NULL;
    bs = NULL;
    shape = (Shape){.cluster_size = CLUSTER,
                    .length = 16 * CLUSTER,
                    .backing_length = -1,
                    .reserve_most = INT64_MAX,
                    .enter_zero = 1};
}

static void tear_down(void)
{
    if (ram != NULL) {
        ram->before = NULL;
        assert_ok(bdrv_close(bs));
        ram_free(ram);
    }
    if (parent != NULL) {
        ram_free(parent);
    }
}

static int try_fill(int value, int64_t offset, int64_t bytes)
{
    uint8_t *buf = malloc((size_t)bytes);
    int rc;

    ck_assert_ptr_nonnull(buf);
    memset(buf, value, (size_t)bytes);
    rc = bdrv_pwrite(bs, buf, (size_t)bytes, BEFORE + offset);
    free(buf);
    return rc;
}

static void fill(int value, int64_t offset, int64_t bytes)
{
    assert_ok(try_fill(value, offset, bytes));
}

static void zero(int64_t offset, int64_t bytes)
{
    assert_ok(bdrv_write_zeroes(bs, BEFORE + offset, bytes));
}

static void assert_bytes(const uint8_t *found, int value, int64_t offset, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        ck_assert_msg(found[i] == value, "byte %lld is 0x%02x, wanted 0x%02x",
                      (long long)(offset + i), found[i], value);
    }
}

/* The disk has value in all of the range. */
static void assert_disk(int value, int64_t offset, int64_t bytes)
{
    uint8_t *buf = malloc((size_t)bytes);

    ck_assert_ptr_nonnull(buf);
    assert_ok(bdrv_pread(bs, buf, (size_t)bytes, BEFORE + offset));
    assert_bytes(buf, value, offset, bytes);
    free(buf);
}

/* So has the file. */
static void assert_file(int value, int64_t offset, int64_t bytes)
{
    assert_bytes(ram->bytes + offset, value, offset, bytes);
}

static void assert_work(int reserves, int enters, int zero_enters)
{
    ck_assert_int_eq(map->reserves, reserves);
    ck_assert_int_eq(map->enters, enters);
    ck_assert_int_eq(map->zero_enters, zero_enters);
}

/* ----------------------------------------------------------------- reading */

START_TEST(each_state_is_read_from_its_place)
{
    shape.backing_length = 3 * CLUSTER + 100;
    open_map();
    memset(ram->bytes + ROOM, 0x11, 2 * CLUSTER);
    map_set(map, 0, BDRV_DATA, ROOM);
    map_set(map, 1, BDRV_DATA, ROOM + CLUSTER);
    map_set(map, 2, BDRV_ZERO, 0);
    assert_disk(0x11, 0, 2 * CLUSTER);
    ram_assert_calls(ram, "r1048576+8192");
    assert_disk(0, 2 * CLUSTER, CLUSTER);
    assert_disk(PARENT, 3 * CLUSTER, 100);
    assert_disk(0, 3 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(one_read_may_cross_all_states)
{
    uint8_t buf[4 * CLUSTER];

    shape.backing_length = 4 * CLUSTER;
    open_map();
    fill(0x11, 10, 20);
    zero(CLUSTER, CLUSTER);
    assert_ok(bdrv_pread(bs, buf, 3 * CLUSTER, BEFORE + 15));
    assert_bytes(buf, 0x11, 15, 15);
    assert_bytes(buf + 15, PARENT, 30, CLUSTER - 30);
    assert_bytes(buf + CLUSTER - 15, 0, CLUSTER, CLUSTER);
    assert_bytes(buf + 2 * CLUSTER - 15, PARENT, 2 * CLUSTER, CLUSTER + 15);
}
END_TEST

START_TEST(compressed_run_is_read_by_the_driver)
{
    open_map();
    map_set(map, 1, BDRV_DATA, ROOM);
    map->entries[1].compressed = 1;
    assert_disk(0xcc, CLUSTER + 5, 100);
    map->ops.read_compressed = NULL;
    assert_fails(bdrv_pread(bs, &(uint8_t){0}, 1, BEFORE + CLUSTER), -EIO);
}
END_TEST

START_TEST(lookup_that_lies_is_an_error_and_no_loop)
{
    const int64_t lies[] = {-1, 101, INT64_MAX, INT64_MIN};
    uint8_t buf[100];

    open_map();
    map->lie = lies[_i];
    assert_fails_saying(bdrv_pread(bs, buf, 100, BEFORE), -EIO, "driver bug");
    assert_fails_saying(bdrv_pwrite(bs, buf, 100, BEFORE), -EIO, "driver bug");
    assert_fails_saying(bdrv_write_zeroes(bs, BEFORE, 100), -EIO, "driver bug");
}
END_TEST

START_TEST(range_outside_the_map_is_refused)
{
    uint8_t buf[2] = {0, 0};

    open_map();
    assert_fails(bdrv_clusters_read(map->clusters, buf, 2, shape.length - 1), -ERANGE);
    assert_fails(bdrv_clusters_write(map->clusters, buf, 2, -1), -ERANGE);
    assert_fails(bdrv_clusters_write_zeroes(map->clusters, shape.length, 1), -ERANGE);
}
END_TEST

START_TEST(map_that_cannot_be_is_refused)
{
    BdrvClusters *clusters;
    BdrvClustersConfig config;

    open_map();
    config = map->config;
    config.cluster_size = 513;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    config.cluster_size = 0;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    config.cluster_size = CLUSTER;
    config.length = INT64_MAX - CLUSTER;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    config.length = -1;
    assert_fails(bdrv_clusters_new(&clusters, &config), -EINVAL);
    ck_assert_ptr_null(clusters);
    bdrv_clusters_free(NULL);
}
END_TEST

/* -------------------------------------------------------------- allocating */

START_TEST(whole_clusters_are_one_reservation_one_write_one_entry)
{
    open_map();
    fill(0x11, CLUSTER, 4 * CLUSTER);
    ram_assert_calls(ram, "w1048576+16384");
    assert_work(1, 1, 0);
    assert_disk(0x11, CLUSTER, 4 * CLUSTER);
}
END_TEST

START_TEST(write_to_allocated_clusters_is_in_place)
{
    open_map();
    fill(0x11, 0, 4 * CLUSTER);
    ram_clear(ram);
    fill(0x22, 100, 2 * CLUSTER);
    ram_assert_calls(ram, "w1048676+8192");
    assert_work(1, 1, 0);
}
END_TEST

START_TEST(small_write_into_zeroed_room_writes_only_the_guests_bytes)
{
    shape.zeroed = 1;
    open_map();
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(ram, "w1048676+50");
    assert_disk(0, CLUSTER, 100);
    assert_disk(0x11, CLUSTER + 100, 50);
    assert_disk(0, CLUSTER + 150, CLUSTER - 150);
}
END_TEST

START_TEST(small_write_into_other_room_writes_the_whole_cluster_at_once)
{
    open_map();
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(ram, "w1048576+4096");
    assert_disk(0, CLUSTER, 100);
    assert_disk(0x11, CLUSTER + 100, 50);
    assert_disk(0, CLUSTER + 150, CLUSTER - 150);
}
END_TEST

/* _i: whether room is zeroed. */
START_TEST(surroundings_are_copied_in_from_the_backing_image)
{
    shape.zeroed = _i;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    fill(0x11, CLUSTER + 100, 2 * CLUSTER);
    ram_assert_calls(ram, "w1048576+12288");
    assert_work(1, 1, 0);
    assert_file(PARENT, ROOM, 100);
    assert_file(0x11, ROOM + 100, 2 * CLUSTER);
    assert_file(PARENT, ROOM + 100 + 2 * CLUSTER, CLUSTER - 100);
    assert_disk(PARENT, 0, CLUSTER + 100);
}
END_TEST

START_TEST(backing_image_may_end_within_the_surroundings)
{
    shape.zeroed = _i;
    shape.backing_length = CLUSTER + 200;
    open_map();
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(ram, _i ? "w1048576+200" : "w1048576+4096");
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0x11, CLUSTER + 100, 50);
    assert_disk(PARENT, CLUSTER + 150, 50);
    assert_disk(0, CLUSTER + 200, 2 * CLUSTER);
}
END_TEST

START_TEST(zero_cluster_hides_the_backing_image_from_its_surroundings)
{
    shape.zeroed = _i;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    map_set(map, 1, BDRV_ZERO, 0);
    fill(0x11, CLUSTER + 100, 50);
    ram_assert_calls(ram, _i ? "w1048676+50" : "w1048576+4096");
    assert_disk(0, CLUSTER, 100);
    assert_disk(0, CLUSTER + 150, CLUSTER - 150);
}
END_TEST

START_TEST(run_may_begin_in_nothing_and_end_in_zeros)
{
    shape.zeroed = _i;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    map_set(map, 2, BDRV_ZERO, 0);
    fill(0x11, CLUSTER + 100, CLUSTER);
    assert_work(1, 1, 0);
    assert_disk(PARENT, CLUSTER, 100);
    assert_disk(0x11, CLUSTER + 100, CLUSTER);
    assert_disk(0, 2 * CLUSTER + 100, CLUSTER - 100);
}
END_TEST

START_TEST(one_write_may_cross_allocated_and_new_clusters)
{
    shape.backing_length = 16 * CLUSTER;
    open_map();
    fill(0x11, 2 * CLUSTER, CLUSTER);
    fill(0x22, 100, 5 * CLUSTER);
    assert_work(3, 3, 0);
    assert_disk(PARENT, 0, 100);
    assert_disk(0x22, 100, 5 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
    assert_file(0x22, ROOM, CLUSTER); /* in place */
}
END_TEST

/* The room is a whole cluster, whose rest is zeros. */
START_TEST(last_cluster_may_be_partial)
{
    shape.length = 2 * CLUSTER + 512;
    shape.backing_length = 3 * CLUSTER; /* longer than the disk */
    open_map();
    fill(0x11, 2 * CLUSTER + 10, 20);
    ram_assert_calls(ram, "w1048576+4096");
    assert_file(PARENT, ROOM, 10);
    assert_file(0x11, ROOM + 10, 20);
    assert_file(PARENT, ROOM + 30, 482);
    assert_file(0, ROOM + 512, CLUSTER - 512);
    fill(0x22, 0, 2 * CLUSTER + 512);
    assert_disk(0x22, 0, 2 * CLUSTER + 512);
    assert_file(0, ROOM + 512, CLUSTER - 512);
}
END_TEST

START_TEST(long_write_goes_straight_from_the_callers_buffer)
{
    shape.length = 256 * CLUSTER;
    shape.backing_length = 256 * CLUSTER;
    open_map();
    fill(0x11, 100, 200 * CLUSTER);
    ram_assert_calls(ram, "w1048576+100 w1048676+819200 w1867876+3996");
    assert_disk(PARENT, 0, 100);
    assert_disk(0x11, 100, 200 * CLUSTER);
    assert_disk(PARENT, 200 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(surroundings_in_a_huge_cluster_are_written_in_pieces)
{
    shape.cluster_size = 1024 * 1024;
    shape.length = 4 * 1024 * 1024;
    shape.backing_length = 700 * 1024;
    open_map();
    fill(0x11, 600 * 1024 + 1, 10);
    ck_assert_uint_ge(ram_count(ram, RAM_WRITE), 4);
    assert_disk(PARENT, 0, 600 * 1024 + 1);
    assert_disk(0x11, 600 * 1024 + 1, 10);
    assert_disk(PARENT, 600 * 1024 + 11, 100 * 1024 - 11);
    assert_disk(0, 700 * 1024, 400 * 1024);
    assert_file(0, ROOM + 700 * 1024, 324 * 1024);
}
END_TEST

START_TEST(room_may_come_in_pieces)
{
    shape.reserve_most = 2;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    fill(0x11, CLUSTER + 100, 4 * CLUSTER);
    assert_work(3, 3, 0);
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0x11, CLUSTER + 100, 4 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(reservation_that_lies_is_an_error)
{
    open_map();
    shape.reserve_most = -1;
    assert_fails_saying(try_fill(0x11, 0, 10), -EIO, "driver bug");
}
END_TEST

START_TEST(compressed_cluster_is_not_changed)
{
    open_map();
    map_set(map, 1, BDRV_DATA, ROOM);
    map->entries[1].compressed = 1;
    assert_fails_saying(try_fill(0x11, CLUSTER, 10), -ENOTSUP, "compressed");
    assert_fails_saying(bdrv_write_zeroes(bs, BEFORE + CLUSTER, 10), -ENOTSUP, "compressed");
}
END_TEST

START_TEST(format_without_allocation_says_so)
{
    open_map();
    map->ops.reserve = NULL;
    assert_fails(try_fill(0x11, 0, 10), -ENOTSUP);
}
END_TEST

/* ---------------------------------------------------------------- failures */

static int fail_next_write(Ram *where, const RamCall *call)
{
    if (call->operation != RAM_WRITE) {
        return 0;
    }
    where->before = NULL;
    return -EIO;
}

START_TEST(cluster_whose_data_cannot_be_written_is_not_entered)
{
    shape.backing_length = 16 * CLUSTER;
    open_map();
    ram->before = fail_next_write;
    assert_fails(try_fill(0x11, 100, 2 * CLUSTER), -EIO);
    assert_work(1, 0, 0);
    assert_disk(PARENT, 0, 3 * CLUSTER);
    fill(0x11, 100, 2 * CLUSTER);
    assert_disk(0x11, 100, 2 * CLUSTER);
}
END_TEST

static int fail(Ram *where, const RamCall *call)
{
    (void)where;
    (void)call;
    return -EIO;
}

START_TEST(unreadable_backing_image_is_an_error_and_never_zeros)
{
    shape.zeroed = _i;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    parent->before = fail;
    assert_fails(try_fill(0x11, 100, 10), -EIO);
    assert_fails(bdrv_write_zeroes(bs, BEFORE, 10), -EIO);
    assert_fails(bdrv_pread(bs, &(uint8_t){0}, 1, BEFORE), -EIO);
    ck_assert_int_eq(map->enters, 0);
    parent->before = NULL;
    assert_disk(PARENT, 0, CLUSTER);
}
END_TEST

START_TEST(failing_reservation_and_entry_are_told_and_can_be_repeated)
{
    open_map();
    shape.failing_reserve = -ENOSPC;
    assert_fails_saying(try_fill(0x11, 0, 10), -ENOSPC, "no room");
    shape.failing_reserve = 0;
    shape.failing_enter = -EIO;
    assert_fails_saying(try_fill(0x11, 0, 10), -EIO, "no entry");
    assert_disk(0, 0, CLUSTER);
    shape.failing_enter = 0;
    fill(0x11, 0, 10);
    assert_disk(0x11, 0, 10);
}
END_TEST

/* ------------------------------------------------------------------- zeros */

START_TEST(zeros_where_nothing_shows_through_do_nothing)
{
    shape.backing_length = 2 * CLUSTER;
    open_map();
    zero(2 * CLUSTER, 10 * CLUSTER + 7);
    assert_work(0, 0, 0);
    ram_assert_calls(ram, "");
}
END_TEST

START_TEST(zeros_over_data_stay_in_place)
{
    open_map();
    fill(0x11, 0, 3 * CLUSTER);
    zero(100, CLUSTER);
    assert_work(1, 1, 0);
    assert_disk(0x11, 0, 100);
    assert_disk(0, 100, CLUSTER);
    assert_disk(0x11, CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(whole_clusters_of_zeros_need_no_place)
{
    shape.backing_length = 16 * CLUSTER;
    open_map();
    zero(CLUSTER + 100, 4 * CLUSTER);
    assert_work(2, 2, 1); /* the parts of clusters at both ends need one */
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0, CLUSTER + 100, 4 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
}
END_TEST

/* _i: 0: no enter_zero; else what it returns. */
START_TEST(zeros_are_data_where_the_format_has_no_other_way)
{
    const int ways[] = {0, -ENOTSUP};

    shape.enter_zero = ways[_i];
    shape.backing_length = 16 * CLUSTER;
    open_map();
    zero(CLUSTER + 100, 4 * CLUSTER);
    assert_work(3, 3, 0);
    assert_disk(PARENT, 0, CLUSTER + 100);
    assert_disk(0, CLUSTER + 100, 4 * CLUSTER);
    assert_disk(PARENT, 5 * CLUSTER + 100, CLUSTER);
}
END_TEST

START_TEST(zeros_into_zeroed_room_write_nothing_but_surroundings)
{
    shape.enter_zero = 0;
    shape.zeroed = 1;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    zero(CLUSTER, 4 * CLUSTER);
    ram_assert_calls(ram, "");
    assert_disk(0, CLUSTER, 4 * CLUSTER);
    zero(8 * CLUSTER + 100, 50);
    assert_disk(PARENT, 8 * CLUSTER, 100);
    assert_disk(0, 8 * CLUSTER + 100, 50);
    assert_disk(PARENT, 8 * CLUSTER + 150, CLUSTER - 150);
}
END_TEST

START_TEST(other_failure_of_a_zero_entry_is_an_error)
{
    shape.enter_zero = -EIO;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    assert_fails(bdrv_write_zeroes(bs, BEFORE, CLUSTER), -EIO);
    assert_work(0, 0, 0);
}
END_TEST

START_TEST(zeros_as_data_end_where_the_backing_image_does)
{
    shape.enter_zero = 0;
    shape.backing_length = 2 * CLUSTER + 1;
    open_map();
    zero(0, 16 * CLUSTER);
    assert_disk(0, 0, 16 * CLUSTER);
    ck_assert_int_eq(map->next, ROOM + 3 * CLUSTER);
}
END_TEST

START_TEST(partial_last_cluster_is_whole_when_zeros_reach_its_end)
{
    shape.length = 2 * CLUSTER + 512;
    shape.backing_length = shape.length;
    open_map();
    zero(2 * CLUSTER, 512);
    assert_work(0, 0, 1);
    assert_disk(0, 2 * CLUSTER, 512);
}
END_TEST

START_TEST(zeros_are_recorded_when_the_backing_image_was_not_opened)
{
    shape.flags = BDRV_O_NO_BACKING;
    shape.backing_length = 16 * CLUSTER;
    open_map();
    ck_assert_ptr_null(bdrv_backing(bs));
    zero(CLUSTER, 2 * CLUSTER);
    assert_work(0, 0, 1);
}
END_TEST

/* ----------------------------------------------------------------- threads */

enum {
    THREADS = 16,
    /* Matches neither words nor clusters, so that every cluster belongs to all. */
    UNIT = 88,
    UNITS = 3000,
    ROUNDS = 200
};

static int write_elsewhere(Ram *where, const RamCall *call)
{
    if (call->operation == RAM_WRITE) {
        where->before = NULL;
        fill(0x22, 5 * CLUSTER, 10);
    }
    return 0;
}

/* If a lock were held over the write, this would wait for itself until the time limit. */
START_TEST(allocation_holds_up_nobody_elsewhere)
{
    open_map();
    ram->before = write_elsewhere;
    fill(0x11, 0, 10);
    assert_disk(0x11, 0, 10);
    assert_disk(0x22, 5 * CLUSTER, 10);
}
END_TEST

static atomic_int broken;

static void *write_tenth(void *opaque)
{
    int me = (int)(uintptr_t)opaque;

    if (try_fill(me + 1, me * 100, 100) < 0) {
        atomic_store(&broken, 1);
    }
    return NULL;
}

static void run_threads(void *work(void *))
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    ck_assert_int_eq(atomic_load(&broken), 0);
}

START_TEST(threads_that_need_one_cluster_allocate_it_once)
{
    shape.backing_length = 16 * CLUSTER;
    open_map();
    run_threads(write_tenth);
    assert_work(1, 1, 0);
    for (int i = 0; i < THREADS; i++) {
        assert_disk(i + 1, i * 100, 100);
    }
    assert_disk(PARENT, THREADS * 100, CLUSTER - THREADS * 100);
}
END_TEST

/* What each unit holds; each belongs to one thread. */
static uint8_t model[UNITS];

static int check_unit(size_t unit)
{
    uint8_t found[UNIT], wanted[UNIT];

    memset(wanted, model[unit], UNIT);
    return bdrv_pread(bs, found, UNIT, BEFORE + (int64_t)unit * UNIT) == 0 &&
           memcmp(found, wanted, UNIT) == 0;
}

static void *hammer_own(void *opaque)
{
    size_t me = (size_t)(uintptr_t)opaque;
    uint32_t seed = (uint32_t)me + 1;

    for (int i = 0; i < ROUNDS; i++) {
        size_t unit = suite_random(&seed) % (UNITS / THREADS) * THREADS + me;
        int64_t offset = (int64_t)unit * UNIT;
        int rc;

        model[unit] = (uint8_t)(suite_random(&seed) % 4);
        rc = model[unit] == 0 ? bdrv_write_zeroes(bs, BEFORE + offset, UNIT)
                              : try_fill(model[unit], offset, UNIT);
        if (rc < 0 || !check_unit(unit)) {
            atomic_store(&broken, 1);
        }
    }
    return NULL;
}

START_TEST(many_threads_that_share_clusters_keep_each_others_bytes)
{
    shape.zeroed = _i;
    shape.length = UNITS * UNIT + 1;
    shape.backing_length = shape.length / 2;
    open_map();
    for (size_t i = 0; i < UNITS; i++) {
        model[i] = (int64_t)(i + 1) * UNIT <= shape.backing_length ? PARENT : 0;
    }
    run_threads(hammer_own);
    for (size_t i = 0; i < UNITS; i++) {
        ck_assert(check_unit(i) || (int64_t)i == shape.backing_length / UNIT);
    }
}
END_TEST

static void *write_big_and_small(void *opaque)
{
    size_t me = (size_t)(uintptr_t)opaque;
    uint32_t seed = (uint32_t)me + 1;

    for (int i = 0; i < ROUNDS / 4; i++) {
        int64_t offset = suite_random(&seed) % (60 * CLUSTER);
        int64_t bytes = 1 + suite_random(&seed) % (4 * CLUSTER);

        if (try_fill((int)me + 1, offset, bytes) < 0) {
            atomic_store(&broken, 1);
        }
    }
    return NULL;
}

/* Two requests may win in part each, but no byte is anything but one of the writers', and
 * no cluster gets two places. */
START_TEST(overlapping_writes_allocate_each_cluster_once)
{
    static uint8_t found[64 * CLUSTER];
    int64_t used = 0;

    shape.length = 64 * CLUSTER;
    open_map();
    run_threads(write_big_and_small);
    assert_ok(bdrv_pread(bs, found, sizeof found, BEFORE));
    for (size_t i = 0; i < sizeof found; i++) {
        ck_assert_int_le(found[i], THREADS);
    }
    for (int i = 0; i < 64; i++) {
        used += map->entries[i].state == BDRV_DATA;
    }
    ck_assert_int_eq(map->next, ROOM + used * CLUSTER);
}
END_TEST

/* ------------------------------------------------------------------- suite */

static TCase *add_case(Suite *suite, const char *name, const TTest *const *tests)
{
    TCase *tcase = suite_add_case(suite, name, tests, 120);

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    return tcase;
}

static void add_allocating(Suite *suite)
{
    const TTest *const tests[] = {
        whole_clusters_are_one_reservation_one_write_one_entry,
        write_to_allocated_clusters_is_in_place,
        small_write_into_zeroed_room_writes_only_the_guests_bytes,
        small_write_into_other_room_writes_the_whole_cluster_at_once,
        one_write_may_cross_allocated_and_new_clusters,
        last_cluster_may_be_partial,
        long_write_goes_straight_from_the_callers_buffer,
        surroundings_in_a_huge_cluster_are_written_in_pieces,
        room_may_come_in_pieces,
        reservation_that_lies_is_an_error,
        compressed_cluster_is_not_changed,
        format_without_allocation_says_so,
        cluster_whose_data_cannot_be_written_is_not_entered,
        failing_reservation_and_entry_are_told_and_can_be_repeated,
        NULL,
    };
    TCase *tcase = add_case(suite, "allocating", tests);

    tcase_add_loop_test(tcase, surroundings_are_copied_in_from_the_backing_image, 0, 2);
    tcase_add_loop_test(tcase, backing_image_may_end_within_the_surroundings, 0, 2);
    tcase_add_loop_test(tcase, zero_cluster_hides_the_backing_image_from_its_surroundings, 0,
                        2);
    tcase_add_loop_test(tcase, unreadable_backing_image_is_an_error_and_never_zeros, 0, 2);
    tcase_add_loop_test(tcase, run_may_begin_in_nothing_and_end_in_zeros, 0, 2);
}

Suite *test_suite(void)
{
    const TTest *const reading[] = {
        each_state_is_read_from_its_place,
        one_read_may_cross_all_states,
        compressed_run_is_read_by_the_driver,
        range_outside_the_map_is_refused,
        map_that_cannot_be_is_refused,
        NULL,
    };
    const TTest *const zeros[] = {
        zeros_where_nothing_shows_through_do_nothing,
        zeros_over_data_stay_in_place,
        whole_clusters_of_zeros_need_no_place,
        zeros_into_zeroed_room_write_nothing_but_surroundings,
        other_failure_of_a_zero_entry_is_an_error,
        zeros_as_data_end_where_the_backing_image_does,
        partial_last_cluster_is_whole_when_zeros_reach_its_end,
        zeros_are_recorded_when_the_backing_image_was_not_opened,
        NULL,
    };
    const TTest *const threads[] = {
        allocation_holds_up_nobody_elsewhere,
        threads_that_need_one_cluster_allocate_it_once,
        overlapping_writes_allocate_each_cluster_once,
        NULL,
    };
    Suite *suite = suite_create("clusters");

    suite_register(&driver, "testmap");
    tcase_add_loop_test(add_case(suite, "reading", reading),
                        lookup_that_lies_is_an_error_and_no_loop, 0, 4);
    add_allocating(suite);
    tcase_add_loop_test(add_case(suite, "zeros", zeros),
                        zeros_are_data_where_the_format_has_no_other_way, 0, 2);
    tcase_add_loop_test(add_case(suite, "threads", threads),
                        many_threads_that_share_clusters_keep_each_others_bytes, 0, 2);
    return suite;
}
