/* SPDX-License-Identifier: MIT */
/*
 * powercut.c - see powercut.h.
 */
#include "powercut.h"

#include "bdrv-bytes.h"
#include "suite.h"

enum { SECTOR = BDRV_SECTOR_SIZE };

static const size_t never = SIZE_MAX;

struct PowercutStep {
    VolumeChange change; /* owns data and name */
    size_t durable_at;   /* the first cut at which it cannot get lost any more */
};

/* ------------------------------------------------------------------ record */

static void note(void *opaque, const VolumeChange *change)
{
    Powercut *powercut = opaque;
    if (powercut->count == powercut->room) {
        powercut->room = powercut->room * 2 + 64;
        powercut->steps = realloc(powercut->steps, powercut->room * sizeof(*powercut->steps));
    }
    VolumeChange copy = *change;
    copy.data = copy.data != NULL ? malloc((size_t)copy.bytes + 1) : NULL;
    copy.name = copy.name != NULL ? strdup(copy.name) : NULL;
    if (powercut->steps == NULL || (change->data != NULL && copy.data == NULL) ||
        (change->name != NULL && copy.name == NULL)) {
        abort(); /* a test without memory has nothing to say */
    }
    if (copy.data != NULL) {
        memcpy(copy.data, change->data, (size_t)copy.bytes);
    }
    size_t number = powercut->count++;
    powercut->steps[number] = (PowercutStep){
        .change = copy,
        .durable_at = copy.kind == VOLUME_REPLACE ? number + 1 : never,
    };
}

void powercut_begin(Powercut *powercut, Volume *volume)
{
    *powercut = (Powercut){ .volume = volume, .before = volume_copy(volume) };
    volume_watch(volume, note, powercut);
}

/* Every flush makes durable what is before it in its file.  The loss of a name is
 * not in the file. */
void powercut_end(Powercut *powercut)
{
    volume_watch(powercut->volume, NULL, NULL);
    for (size_t flush = 0; flush < powercut->count; flush++) {
        const VolumeChange *change = &powercut->steps[flush].change;
        for (size_t i = 0; change->kind == VOLUME_FLUSH && i < flush; i++) {
            PowercutStep *step = &powercut->steps[i];
            if (step->change.file == change->file && step->durable_at == never &&
                step->change.kind != VOLUME_REMOVE) {
                step->durable_at = flush + 1;
            }
        }
    }
}

void powercut_free(Powercut *powercut)
{
    for (size_t i = 0; i < powercut->count; i++) {
        free(powercut->steps[i].change.data);
        free(powercut->steps[i].change.name);
    }
    free(powercut->steps);
    volume_free(powercut->before);
    memset(powercut, 0, sizeof(*powercut));
}

/* ----------------------------------------------------------------- replay */

static void apply_part(Volume *onto, const VolumeChange *change, int64_t from, int64_t to)
{
    VolumeChange part = *change;
    part.offset += from;
    part.bytes = to - from;
    part.data += from;
    if (part.bytes > 0) {
        volume_apply(onto, &part);
    }
}

/* The end of the sector of the file in which the change's byte `from` lies,
 * counted from the change's first byte. */
static int64_t sector_end(const VolumeChange *change, int64_t from)
{
    int64_t end = bdrv_round_down(change->offset + from, SECTOR) + SECTOR;
    return bdrv_min(end - change->offset, change->bytes);
}

static void apply_half(Volume *onto, const VolumeChange *change)
{
    if (change->kind == VOLUME_WRITE) {
        apply_part(onto, change, 0, sector_end(change, change->bytes / 2));
    } else {
        volume_apply(onto, change);
    }
}

static void apply_by_chance(Volume *onto, const VolumeChange *change, uint32_t *seed)
{
    uint32_t mood = suite_random(seed) % 4; /* all, nothing, or a mix */
    if (mood == 0) {
        return;
    }
    if (change->kind != VOLUME_WRITE || mood == 1) {
        volume_apply(onto, change);
        return;
    }
    for (int64_t from = 0; from < change->bytes;) {
        int64_t to = sector_end(change, from);
        if (suite_random(seed) % 2 == 0) {
            apply_part(onto, change, from, to);
        }
        from = to;
    }
}

/* How a loss by chance goes: most of what can go wrong needs a particular one,
 * which a coin for each sector would hardly ever make. */
typedef enum Mood {
    EACH_BY_CHANCE,
    ONE_IS_LOST, /* or a part of it */
    ONE_ARRIVES,
    A_FILE_LOSES_ALL,
    MOODS
} Mood;

typedef struct Accident {
    PowercutLoss loss;
    Mood mood;
    size_t chosen; /* a change; or, of A_FILE_LOSES_ALL, the file is its file */
} Accident;

static void apply_uncertain(const Powercut *powercut, size_t number, const Accident *accident,
                            uint32_t *seed, Volume *onto)
{
    const VolumeChange *change = &powercut->steps[number].change;
    int is_chosen = number == accident->chosen;
    switch (accident->mood) {
    case ONE_IS_LOST:
        if (!is_chosen) {
            volume_apply(onto, change);
            return;
        }
        break;
    case ONE_ARRIVES:
        if (!is_chosen) {
            return;
        }
        break;
    case A_FILE_LOSES_ALL:
        if (change->file != powercut->steps[accident->chosen].change.file) {
            volume_apply(onto, change);
        }
        return;
    case EACH_BY_CHANCE:
    case MOODS:
        break;
    }
    apply_by_chance(onto, change, seed);
}

/* One of the changes that may be lost, or any if there is none. */
static size_t choose(const Powercut *powercut, size_t cut, uint32_t *seed)
{
    size_t chosen = 0, seen = 0;
    for (size_t i = 0; i < cut; i++) {
        if (powercut->steps[i].durable_at > cut &&
            powercut->steps[i].change.kind != VOLUME_FLUSH &&
            suite_random(seed) % ++seen == 0) {
            chosen = i;
        }
    }
    return chosen;
}

Volume *powercut_replay(const Powercut *powercut, size_t cut, PowercutLoss loss,
                        uint32_t *seed)
{
    Volume *onto = volume_copy(powercut->before);
    Accident accident = { .loss = loss };
    if (loss == POWERCUT_BY_CHANCE) {
        accident.mood = (Mood)(suite_random(seed) % MOODS);
        accident.chosen = choose(powercut, cut, seed);
    }
    for (size_t i = 0; i < cut; i++) {
        const PowercutStep *step = &powercut->steps[i];
        if (step->durable_at > cut && loss == POWERCUT_BY_CHANCE) {
            apply_uncertain(powercut, i, &accident, seed, onto);
        } else if (step->durable_at > cut && loss == POWERCUT_HALF && i + 1 == cut) {
            apply_half(onto, &step->change);
        } else {
            volume_apply(onto, &step->change);
        }
    }
    return onto;
}

static void try_one(const Powercut *powercut, size_t cut, PowercutLoss loss, uint32_t *seed,
                    PowercutExamine *examine, void *opaque)
{
    static const char *const names[] = { "in order", "the last by half", "by chance" };
    char where[128];
    snprintf(where, sizeof(where), "cut at %zu of %zu, %s, seed %u", cut, powercut->count,
             names[loss], (unsigned)*seed);
    Volume *volume = powercut_replay(powercut, cut, loss, seed);
    examine(opaque, volume, cut, where);
    volume_free(volume);
}

/* Whatever may be lost at a cut may be lost at a later one, too, up to the next
 * flush: so the losses by chance are tried just before one. */
static size_t is_before_flush(const Powercut *powercut, size_t cut)
{
    return cut == powercut->count || powercut->steps[cut].change.kind == VOLUME_FLUSH;
}

size_t powercut_try_all(const Powercut *powercut, size_t by_chance, uint32_t *seed,
                        PowercutExamine *examine, void *opaque)
{
    size_t cuts = powercut->count + 1, flushes = 0, seen = 0, done = 0;
    for (size_t cut = 0; cut < cuts; cut++) {
        flushes += is_before_flush(powercut, cut);
    }
    for (size_t cut = 0; cut < cuts; cut++) {
        try_one(powercut, cut, POWERCUT_NOTHING, seed, examine, opaque);
        try_one(powercut, cut, POWERCUT_HALF, seed, examine, opaque);
        seen += is_before_flush(powercut, cut);
        for (; done < seen * by_chance / flushes; done++) { /* as many as up to here */
            try_one(powercut, cut, POWERCUT_BY_CHANCE, seed, examine, opaque);
        }
    }
    return 2 * cuts + done;
}
