/* SPDX-License-Identifier: MIT */
/*
 * check.c - bdrv_check() and bdrv_amend(): the core's part is to ask the driver
 * and to keep count.  What damage is, only the driver knows.
 */
#include <string.h>

#include "block_int.h"

struct BdrvCheck {
    BdrvCheckOptions asked;
    BdrvCheckResult *result;
};

unsigned bdrv_check_flags(const BdrvCheck *check)
{
    return check->asked.flags;
}

static void count(int64_t *open, int64_t *fixed, int repaired)
{
    if (repaired) {
        ++*fixed;
    } else {
        ++*open;
    }
}

void bdrv_check_report(BdrvCheck *check, const BdrvFinding *finding)
{
    BdrvCheckResult *result = check->result;

    switch (finding->kind) {
    case BDRV_FINDING_CORRUPTION:
        count(&result->corruptions, &result->corruptions_fixed, finding->repaired);
        break;
    case BDRV_FINDING_LEAK:
        count(&result->leaks, &result->leaks_fixed, finding->repaired);
        break;
    case BDRV_FINDING_MISMATCH:
        count(&result->mismatches, &result->mismatches_fixed, finding->repaired);
        break;
    case BDRV_FINDING_UNRECOVERABLE:
        result->unrecoverable++;
        break;
    }
    if (check->asked.finding) {
        check->asked.finding(check->asked.finding_opaque, finding);
    }
}

static int run_check(BlockDriverState *bs, const BdrvCheckOptions *options,
                     BdrvCheckResult *result)
{
    const unsigned known = BDRV_CHECK_REPAIR_LEAKS | BDRV_CHECK_REPAIR_ALL;
    BdrvCheckResult ours = { .struct_size = sizeof ours };
    BdrvCheck check = { .result = &ours };
    int ret = bdrv_copy_struct(&check.asked, sizeof check.asked, options, sizeof check.asked);

    if (ret == 0 && check.asked.flags & ~known) {
        ret = bdrv_error(bs, -EINVAL, "check flags 0x%x are unknown", check.asked.flags & ~known);
    }
    if (ret == 0 && check.asked.flags && !bdrv_is_writable(bs)) {
        ret = bdrv_error(bs, -EROFS, "the image is open for reading only: it cannot be repaired");
    }
    if (ret == 0) {
        ret = bs->driver->check(bs, &check, &ours);
    }
    if ((ret == 0 || ret == -ENOTSUP) && check.asked.flags) {
        int flushed;

        atomic_store(&bs->unflushed, 1);
        flushed = bdrv_flush(bs);
        ret = flushed < 0 ? flushed : ret;
    }
    if (ret == 0 || ret == -ENOTSUP) { /* then the rest was checked */
        if (result->struct_size && result->struct_size < ours.struct_size) {
            ours.struct_size = result->struct_size;
        }
        memcpy(result, &ours, ours.struct_size);
    }
    return ret;
}

int bdrv_check(BlockDriverState *bs, const BdrvCheckOptions *options, BdrvCheckResult *result)
{
    int ret;

    bdrv_call_begin();
    ret = bs && result ? run_check(bs, options, result) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot check");
}

static int amend(BlockDriverState *bs, const char *text)
{
    BdrvOptions *options;
    int ret;

    if (!bdrv_is_writable(bs)) {
        return bdrv_error(bs, -EROFS, "the image is open for reading only");
    }
    ret = bdrv_options_parse(&options, bs->driver->amend_options, text);
    if (ret < 0) {
        return ret;
    }
    ret = bs->driver->amend(bs, options);
    bdrv_options_free(options);
    atomic_store(&bs->unflushed, 1);
    return ret < 0 ? ret : bdrv_flush(bs);
}

int bdrv_amend(BlockDriverState *bs, const char *options)
{
    int ret;

    bdrv_call_begin();
    ret = bs && options ? amend(bs, options) : -EINVAL;
    return bdrv_call_end(bs, ret, "cannot amend");
}
