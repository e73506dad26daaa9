/* SPDX-License-Identifier: MIT */
/*
 * fuzz-check.c - any bytes are checked, and repaired:
 *
 *     a look changes nothing;
 *     what could be read before the repair reads the same after it, but where the
 *     repair has reported a finding;
 *     repairs come to an end: the third at the latest finds nothing to mend.
 *
 * FUZZ_SAYS=1 in the environment shows the findings.
 */
#include "fuzz.h"

#include <string.h>

enum {
    MOST_FINDINGS = 64,
    REPAIRS = 3
};

typedef struct Findings {
    int mendable; /* there is something a repair would do something about */
    int everywhere; /* there was one that concerns all of the disk, or very many */
    int count;
    struct {
        int64_t offset, bytes;
    } ranges[MOST_FINDINGS];
} Findings;

static void note_finding(void *opaque, const BdrvFinding *finding)
{
    Findings *f = opaque;

    fuzz_say_finding(NULL, finding);
    REQUIRE(finding->text != NULL && finding->text[0] != '\0', "a finding has a text");
    REQUIRE(!finding->repaired || finding->repair != NULL, "what was mended says how");
    if (finding->repair != NULL) {
        f->mendable = 1;
    }
    if (f->count == MOST_FINDINGS ||
        (finding->kind == BDRV_FINDING_CORRUPTION && finding->offset < 0)) {
        f->everywhere = 1;
        return;
    }
    f->ranges[f->count].offset = finding->offset;
    f->ranges[f->count++].bytes = finding->bytes;
}

/* 0, and what was found, or -errno. */
static int check(Store *store, const FuzzWay *way, unsigned repair, Findings *found)
{
    const BdrvCheckOptions options = {
        .struct_size = sizeof(options), .flags = repair, .finding = note_finding,
        .finding_opaque = found,
    };
    BdrvCheckResult result = { .struct_size = sizeof(result) };
    BlockDriverState *bs;
    int ret = fuzz_open_store(&bs, store, way, BDRV_O_CHECK | BDRV_O_RDWR);

    memset(found, 0, sizeof(*found));
    if (ret == 0) {
        ret = bdrv_check(bs, &options, &result);
        REQUIRE(ret <= 0, "check returns 0 or a negative errno");
        REQUIRE(result.corruptions >= 0 && result.leaks >= 0 && result.mismatches >= 0 &&
                    result.unrecoverable >= 0, "no negative numbers of findings");
        if (bdrv_close(bs) < 0 && ret == 0) {
            ret = -1;
        }
    }
    return ret;
}

static void read_disk(Store *store, const FuzzWay *way, FuzzReading *reading)
{
    BlockDriverState *bs;

    if (fuzz_open_store(&bs, store, way, BDRV_O_CHECK) == 0) {
        fuzz_read_samples(bs, reading);
        bdrv_close(bs);
    } else {
        memset(reading->readable, 0, sizeof(reading->readable));
    }
}

static int was_reported(const Findings *found, int64_t offset, int64_t bytes)
{
    for (int i = 0; i < found->count; i++) {
        if (found->ranges[i].offset >= 0 && found->ranges[i].offset < offset + bytes &&
            offset < found->ranges[i].offset + found->ranges[i].bytes) {
            return 1;
        }
    }
    return found->everywhere;
}

static void require_kept(const FuzzReading *before, const FuzzReading *after,
                         const Findings *found)
{
    for (int i = 0; i < before->count; i++) {
        if (before->readable[i] && !was_reported(found, before->offsets[i], FUZZ_PIECE)) {
            REQUIRE(after->readable[i], "what could be read can be read after a repair");
            REQUIRE(memcmp(after->bytes[i], before->bytes[i], FUZZ_PIECE) == 0,
                    "what could be read reads the same after a repair");
        }
    }
}

static void try_way(const FuzzWay *way, const uint8_t *data, size_t size)
{
    static FuzzReading before, after;
    Store *store = store_new();
    Findings look, found, again;

    before.count = 0;
    if (!fuzz_put(store, way, data, size) || check(store, way, 0, &look) < 0) {
        return;
    }
    REQUIRE(store_writes(store) == 0, "a look changes nothing");
    read_disk(store, way, &before);
    if (check(store, way, BDRV_CHECK_REPAIR_ALL, &found) < 0) {
        return;
    }
    after = before;
    read_disk(store, way, &after);
    require_kept(&before, &after, &found);
    for (int i = 1; check(store, way, BDRV_CHECK_REPAIR_ALL, &again) == 0 && again.mendable; i++) {
        REQUIRE(i < REPAIRS, "repairs come to an end");
    }
}

void fuzz_check(const uint8_t *data, size_t size)
{
    FuzzWay way;

    for (size_t i = 0; fuzz_way_to_write(i, &way); i++) {
        try_way(&way, data, size);
    }
}
