/* SPDX-License-Identifier: MIT */
/*
 * ledger.c - see ledger.h.
 */
#include "ledger.h"

#include "pattern.h"
#include "suite.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    PIECE = 128 /* sectors that are read in one call */
};

static _Thread_local char message[512];

Ledger *ledger_new(const uint8_t *content, int64_t bytes)
{
    Ledger *ledger = malloc(sizeof(*ledger));
    ck_assert_ptr_nonnull(ledger);
    ck_assert_int_eq(bytes % SECTOR, 0);
    ledger->sectors = (size_t)(bytes / SECTOR);
    ledger->most = ledger->sectors;
    ledger->live = malloc(ledger->sectors * sizeof(uint64_t));
    ledger->stored = malloc(ledger->sectors * sizeof(uint64_t));
    ck_assert(ledger->live != NULL && ledger->stored != NULL);
    for (size_t i = 0; i < ledger->sectors; i++) {
        int generation = pattern_identify(content + i * SECTOR, SECTOR,
                                          (int64_t)i * SECTOR);
        if (generation < 0 || generation >= LEDGER_GENERATIONS) {
            ck_abort_msg("sector %zu is of no generation", i);
        }
        ledger->live[i] = UINT64_C(1) << generation;
    }
    ledger_flushed(ledger);
    return ledger;
}

void ledger_free(Ledger *ledger)
{
    free(ledger->live);
    free(ledger->stored);
    free(ledger);
}

void ledger_wrote(Ledger *ledger, int64_t offset, int64_t bytes,
                  unsigned generation, int result)
{
    ck_assert_uint_lt(generation, LEDGER_GENERATIONS);
    uint64_t bit = UINT64_C(1) << generation;
    for (int64_t i = offset / SECTOR; i < (offset + bytes) / SECTOR; i++) {
        ledger->live[i] = result == 0 ? bit : ledger->live[i] | bit;
        ledger->stored[i] |= bit;
    }
}

void ledger_discarded(Ledger *ledger, int64_t offset, int64_t bytes)
{
    ledger_wrote(ledger, offset, bytes, PATTERN_ZEROS, -EINPROGRESS);
}

void ledger_resized(Ledger *ledger, int64_t bytes)
{
    size_t sectors = (size_t)(bytes / SECTOR);
    ck_assert_int_eq(bytes % SECTOR, 0);
    if (sectors > ledger->most) {
        ledger->live = realloc(ledger->live, sectors * sizeof(uint64_t));
        ledger->stored = realloc(ledger->stored, sectors * sizeof(uint64_t));
        ck_assert(ledger->live != NULL && ledger->stored != NULL);
        memset(ledger->stored + ledger->most, 0,
               (sectors - ledger->most) * sizeof(uint64_t));
        ledger->most = sectors;
    }
    size_t first = sectors < ledger->sectors ? sectors : ledger->sectors;
    for (size_t i = first; i < ledger->most; i++) {
        ledger->live[i] = UINT64_C(1) << PATTERN_ZEROS;
        ledger->stored[i] |= ledger->live[i];
    }
    ledger->sectors = sectors;
    ck_assert_uint_lt(ledger->length_count, LEDGER_LENGTHS);
    ledger->lengths[ledger->length_count++] = sectors;
}

void ledger_flushed(Ledger *ledger)
{
    memcpy(ledger->stored, ledger->live, ledger->most * sizeof(uint64_t));
    ledger->lengths[0] = ledger->sectors;
    ledger->length_count = 1;
}

/* NULL if the sector's content is in its set. */
static const char *check_sector(uint64_t allowed, const uint8_t *buf,
                                size_t sector)
{
    int64_t offset = (int64_t)sector * SECTOR;
    int generation = pattern_identify(buf, SECTOR, offset);
    if (generation >= 0 && generation < LEDGER_GENERATIONS &&
        (allowed >> generation & 1) != 0) {
        return NULL;
    }
    char found[256];
    snprintf(found, sizeof(found), "%s", generation >= 0 ? "its own offset"
             : pattern_check(buf, SECTOR, offset, PATTERN_ZEROS));
    snprintf(message, sizeof(message),
             "sector %zu (offset %lld): generation %d is not in the allowed "
             "set %#llx; %s", sector, (long long)offset, generation,
             (unsigned long long)allowed, found);
    return message;
}

const char *ledger_check(const uint64_t *allowed, size_t sectors,
                         BlockDriverState *bs, int *unreadable)
{
    uint8_t *buf = malloc((size_t)PIECE * SECTOR);
    ck_assert_ptr_nonnull(buf);
    const char *text = NULL;
    for (size_t first = 0; text == NULL && first < sectors; first += PIECE) {
        size_t count = sectors - first < PIECE ? sectors - first : PIECE;
        int result = bdrv_pread(bs, buf, count * SECTOR,
                                (int64_t)first * SECTOR);
        if (result != 0 && unreadable != NULL) {
            (*unreadable)++;
            continue;
        }
        if (result != 0) {
            snprintf(message, sizeof(message), "%s", bdrv_errmsg());
            text = message;
        }
        for (size_t i = 0; text == NULL && i < count; i++) {
            text = check_sector(allowed[first + i], buf + i * SECTOR, first + i);
        }
    }
    free(buf);
    return text;
}

const char *ledger_check_live(const Ledger *ledger, BlockDriverState *bs,
                              int *unreadable)
{
    return ledger_check(ledger->live, ledger->sectors, bs, unreadable);
}
