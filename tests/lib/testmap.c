/* SPDX-License-Identifier: MIT */
/*
 * testmap.c - a map of clusters to test.  See testmap.h.
 */
#include "testmap.h"

TestMap testmap;

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

    if (testmap.shape.failing_reserve != 0) {
        return bdrv_error(m->config.bs, testmap.shape.failing_reserve, "no room");
    }
    pthread_mutex_lock(&m->lock);
    m->reserves++;
    *clusters = bdrv_min(*clusters, testmap.shape.reserve_most);
    *file_offset = m->next;
    *zeroed = testmap.shape.zeroed;
    m->next += *clusters * m->config.cluster_size;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

void map_set(Map *m, int64_t number, BdrvState state, int64_t file_offset)
{
    m->entries[number].state = state;
    m->entries[number].file_offset = file_offset;
}

static int map_enter(void *opaque, int64_t offset, int64_t clusters, int64_t file_offset)
{
    Map *m = opaque;
    int64_t size = m->config.cluster_size;

    if (testmap.shape.failing_enter != 0) {
        return bdrv_error(m->config.bs, testmap.shape.failing_enter, "no entry");
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

    if (testmap.shape.enter_zero < 0) {
        return bdrv_error(m->config.bs, testmap.shape.enter_zero, "no zero entries");
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
    bdrv_set_length(node, BEFORE + testmap.shape.length);
    m->ops = (BdrvClusterOps){.lookup = map_lookup,
                              .reserve = map_reserve,
                              .enter = map_enter,
                              .enter_zero = testmap.shape.enter_zero != 0 ? map_enter_zero : NULL,
                              .read_compressed = map_read_compressed};
    m->config = (BdrvClustersConfig){.bs = node,
                                     .file = bdrv_file(node),
                                     .disk_offset = BEFORE,
                                     .length = testmap.shape.length,
                                     .cluster_size = testmap.shape.cluster_size,
                                     .ops = &m->ops,
                                     .opaque = m};
    m->next = ROOM;
    rc = bdrv_clusters_new(&m->clusters, &m->config);
    if (rc == 0 && testmap.shape.backing_length >= 0) {
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

void testmap_open(void)
{
    const int64_t backing = testmap.shape.backing_length;
    BdrvOpenOptions options = {.struct_size = sizeof options,
                               .flags = BDRV_O_RDWR | testmap.shape.flags};

    testmap.ram = ram_new(RAM_BYTES, RAM_BYTES);
    memset(testmap.ram->bytes, testmap.shape.zeroed ? 0 : JUNK, RAM_BYTES);
    if (backing >= 0) {
        testmap.parent = ram_new(BEFORE + backing, BEFORE + backing + 1);
        memset(testmap.parent->bytes + BEFORE, PARENT, (size_t)backing);
        testmap.ram->other = testmap.parent;
    }
    testmap.bs = ram_open(testmap.ram, "testmap", &options);
    testmap.map = bdrv_state(testmap.bs);
    ram_clear(testmap.ram);
}

static void set_up(void)
{
    testmap = (TestMap){.shape = {.cluster_size = CLUSTER,
                                  .length = 16 * CLUSTER,
                                  .backing_length = -1,
                                  .reserve_most = INT64_MAX,
                                  .enter_zero = 1}};
}

static void tear_down(void)
{
    if (testmap.ram != NULL) {
        testmap.ram->before = NULL;
        assert_ok(bdrv_close(testmap.bs));
        ram_free(testmap.ram);
    }
    if (testmap.parent != NULL) {
        ram_free(testmap.parent);
    }
}

TCase *testmap_add_case(Suite *suite, const char *name, const TTest *const *tests)
{
    TCase *tcase = suite_add_case(suite, name, tests, 120);

    suite_register(&driver, "testmap");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    return tcase;
}

/* --------------------------------------------------------- words of the tests */

int try_fill(int value, int64_t offset, int64_t bytes)
{
    uint8_t *buf = malloc((size_t)bytes);
    int rc;

    ck_assert_ptr_nonnull(buf);
    memset(buf, value, (size_t)bytes);
    rc = bdrv_pwrite(testmap.bs, buf, (size_t)bytes, BEFORE + offset);
    free(buf);
    return rc;
}

void fill(int value, int64_t offset, int64_t bytes)
{
    assert_ok(try_fill(value, offset, bytes));
}

void zero(int64_t offset, int64_t bytes)
{
    assert_ok(bdrv_write_zeroes(testmap.bs, BEFORE + offset, bytes));
}

void assert_bytes(const uint8_t *found, int value, int64_t offset, int64_t bytes)
{
    int64_t i = 0;

    /* One assertion, not one a byte: Check notes each that holds, with a write(2). */
    while (i < bytes && found[i] == value) {
        i++;
    }
    ck_assert_msg(i == bytes, "byte %lld is 0x%02x, wanted 0x%02x", (long long)(offset + i),
                  i < bytes ? found[i] : 0, value);
}

void assert_disk(int value, int64_t offset, int64_t bytes)
{
    uint8_t *buf = malloc((size_t)bytes);

    ck_assert_ptr_nonnull(buf);
    assert_ok(bdrv_pread(testmap.bs, buf, (size_t)bytes, BEFORE + offset));
    assert_bytes(buf, value, offset, bytes);
    free(buf);
}

void assert_file(int value, int64_t offset, int64_t bytes)
{
    assert_bytes(testmap.ram->bytes + offset, value, offset, bytes);
}

void assert_work(int reserves, int enters, int zero_enters)
{
    ck_assert_int_eq(testmap.map->reserves, reserves);
    ck_assert_int_eq(testmap.map->enters, enters);
    ck_assert_int_eq(testmap.map->zero_enters, zero_enters);
}
