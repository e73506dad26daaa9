/* SPDX-License-Identifier: MIT */
/*
 * fuzz-descriptor.c - any text, taken for the descriptor of a disk beside files
 * of every kind that it can name.  It is read; written to, so that it is changed
 * where its CID is, and must be understood afterwards; amended; given another
 * parent; and repaired.
 */
#include "fuzz.h"

#include <string.h>

#include "bdrv-bytes.h"

static void put_seed(Store *store, const char *name, const char *seed_name)
{
    const FuzzSeed *seed;

    for (size_t i = 0; (seed = fuzz_kept_seed(i)) != NULL; i++) {
        if (strcmp(seed->name, seed_name) == 0) {
            store_add(store, name, seed->bytes, seed->size);
        }
    }
}

static int put_files(Store *store, const uint8_t *data, size_t size)
{
    static const FuzzWay way = { .format = "vmdk" };
    static uint8_t flat[100 * BDRV_SECTOR_SIZE];

    for (size_t i = 0; i < sizeof(flat); i++) {
        flat[i] = (uint8_t)(i / 512 + 1);
    }
    if (!fuzz_put(store, &way, data, size) ||
        store_add(store, "flat.vmdk", flat, sizeof(flat)) == NULL) {
        return 0;
    }
    put_seed(store, "sparse.vmdk", "bare");
    put_seed(store, "sparse-2.vmdk", "bare");
    put_seed(store, "cowd.vmdk", "cowd");
    put_seed(store, "sesparse.vmdk", "sesparse");
    put_seed(store, "stream.vmdk", "stream");
    return 1;
}

static void write_here_and_there(BlockDriverState *bs)
{
    static const char text[] = "written";
    int64_t length = bdrv_getlength(bs);

    for (int i = 0; i < FUZZ_PLACES; i++) {
        int64_t offset = fuzz_place(length, i);
        char back[sizeof(text)];

        if (offset >= 0 && offset <= length - (int64_t)sizeof(text) &&
            bdrv_pwrite(bs, text, sizeof(text), offset) == 0) {
            REQUIRE(bdrv_pread(bs, back, sizeof(back), offset) == 0 &&
                        memcmp(back, text, sizeof(text)) == 0, "what was written reads back");
        }
    }
}

/* What is recorded changes, the disk does not. */
static void change_records(BlockDriverState *bs, const FuzzReading *before)
{
    static FuzzReading after;

    if (bdrv_amend(bs, "adapter_type=lsilogic") < 0) {
        (void)bdrv_amend(bs, "hwversion=7");
    }
    (void)bdrv_rebase(bs, "parent.vmdk", NULL, BDRV_REBASE_UNSAFE);
    memcpy(&after, before, sizeof(after));
    fuzz_read_samples(bs, &after);
    for (int i = 0; i < before->count; i++) {
        REQUIRE(!before->readable[i] || after.readable[i], "what could be read still can");
    }
}

/* 0: it cannot be opened so. */
static int session(Store *store, int is_first)
{
    static const FuzzWay way = { .format = "vmdk", .options = "seed=s,open_files=2" };
    static FuzzReading reading;
    BlockDriverState *bs;

    if (fuzz_open_store(&bs, store, &way, BDRV_O_RDWR) < 0) {
        REQUIRE(is_first, "a descriptor that was changed can be opened again");
        return 0;
    }
    reading.count = 0;
    write_here_and_there(bs);
    fuzz_read_samples(bs, &reading);
    if (!is_first) {
        change_records(bs, &reading);
    }
    return bdrv_close(bs) == 0;
}

static void repair(Store *store)
{
    static const FuzzWay way = { .format = "vmdk" };
    const BdrvCheckOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_CHECK_REPAIR_ALL,
    };
    BdrvCheckResult result = { .struct_size = sizeof(result) };
    BlockDriverState *bs;

    if (fuzz_open_store(&bs, store, &way, BDRV_O_CHECK | BDRV_O_RDWR) == 0) {
        (void)bdrv_check(bs, &options, &result);
        fuzz_look(bs);
        bdrv_close(bs);
    }
}

void fuzz_descriptor(const uint8_t *data, size_t size)
{
    static const FuzzWay way = { .format = "vmdk" };
    Store *store = store_new();
    BlockDriverState *bs;

    if (!put_files(store, data, size)) {
        return;
    }
    if (fuzz_open_store(&bs, store, &way, 0) == 0) {
        fuzz_look(bs);
        bdrv_close(bs);
    }
    if (session(store, 1)) {
        session(store, 0);
    }
    repair(store);
}
