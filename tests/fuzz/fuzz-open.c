/* SPDX-License-Identifier: MIT */
/*
 * fuzz-open.c - any bytes, taken for an image of every format, are described,
 * mapped and read.  Nothing is written.
 */
#include "fuzz.h"

static void try_way(const FuzzWay *way, const uint8_t *data, size_t size, unsigned flags)
{
    Store *store = store_new();
    BlockDriverState *bs;

    if (!fuzz_put(store, way, data, size)) {
        return;
    }
    if (way->kind == NULL) { /* what it names is itself again */
        store_file(store, 0)->name = NULL;
    }
    if (fuzz_open_store(&bs, store, way, flags) == 0) {
        fuzz_look(bs);
        bdrv_close(bs);
    }
}

void fuzz_open(const uint8_t *data, size_t size)
{
    FuzzWay way;

    for (size_t i = 0; fuzz_way(i, &way); i++) {
        try_way(&way, data, size, 0);
        try_way(&way, data, size, BDRV_O_CHECK);
    }
}
