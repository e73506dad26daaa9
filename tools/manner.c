/* SPDX-License-Identifier: MIT */
/*
 * manner.c - how a conversion goes about it, whatever is converted: the host's
 * cache, memory, speed, order, and what is done about what cannot be read.
 */
#include "convert.h"

enum {
    MEMORY_DEFAULT = 48 * 1024 * 1024,
    MEMORY_MIN = 8 * 1024 * 1024
};

static int take_rate(Manner *manner, const char *value)
{
    if (tool_parse_size("-r", value, &manner->rate) < 0) {
        return -1;
    }
    if (manner->rate == 0) {
        tool_error("-r: at 0 bytes in a second nothing would be written");
        return -1;
    }
    return 0;
}

static int take_memory(Manner *manner, const char *value)
{
    if (tool_parse_size("--max-memory", value, &manner->max_memory) < 0) {
        return -1;
    }
    if (manner->max_memory < MEMORY_MIN) {
        tool_error("--max-memory: %s is too little, 8M is the least", value);
        return -1;
    }
    return 0;
}

int manner_take(Manner *manner, int letter, const char *value)
{
    switch (letter) {
    case 'r':
        return take_rate(manner, value);
    case 'W':
        manner->copy_flags |= BDRV_CONVERT_UNORDERED;
        return 0;
    case 'C':
        manner->copy_flags |= BDRV_CONVERT_OFFLOAD;
        return 0;
    case MANNER_SALVAGE:
        manner->salvage = 1;
        return 0;
    case MANNER_MAX_MEMORY:
        return take_memory(manner, value);
    default:
        return tool_parse_cache(letter, value, letter == 't' ? &manner->target_flags
                                                             : &manner->source_flags);
    }
}

int manner_check(const Manner *manner, int looks_for_zeros)
{
    const char *why = NULL;

    if (!(manner->copy_flags & BDRV_CONVERT_OFFLOAD)) {
        return 0;
    }
    if (looks_for_zeros) {
        why = "no zeros are looked for in what the host copies: without -S";
    } else if (manner->salvage) {
        why = "what the host copies cannot be salvaged: without --salvage";
    }
    if (why != NULL) {
        tool_error("-C: %s", why);
        return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------- memory
 *
 *     half for the windows of the conversion, an eighth for the tables of the
 *     sources, an eighth for the target's; the rest is for the program */

static size_t memory_of(const Manner *manner)
{
    return (size_t)(manner->max_memory != 0 ? manner->max_memory : MEMORY_DEFAULT);
}

size_t manner_window_memory(const Manner *manner)
{
    return memory_of(manner) / 2;
}

size_t manner_table_memory(const Manner *manner, int images)
{
    return memory_of(manner) / 8 / (size_t)images;
}

/* ------------------------------------------------------------------ salvage */

static void tell_last(Salvage *salvage)
{
    if (salvage->end > salvage->offset && !salvage->quiet) {
        tool_error("%s: %lld bytes at offset %lld are lost: %s", salvage->name,
                   (long long)(salvage->end - salvage->offset), (long long)salvage->offset,
                   salvage->reason);
    }
    salvage->offset = salvage->end = 0;
}

void salvage_begin(Salvage *salvage, const char *name)
{
    tell_last(salvage);
    salvage->name = name;
}

/* A place may come in several pieces, as the source is read. */
void salvage_note(void *opaque, int64_t offset, int64_t bytes, const char *reason)
{
    Salvage *salvage = opaque;

    if (salvage->end == salvage->offset || offset != salvage->end) {
        tell_last(salvage);
        salvage->places++;
        salvage->offset = offset;
        snprintf(salvage->reason, sizeof(salvage->reason), "%s", reason);
    }
    salvage->end = offset + bytes;
    salvage->bytes += bytes;
}

int salvage_sum(Salvage *salvage)
{
    tell_last(salvage);
    if (salvage->places == 0) {
        return 0;
    }
    tool_error("%lld bytes in %lld place%s could not be read and are zeros in the target",
               (long long)salvage->bytes, (long long)salvage->places,
               salvage->places == 1 ? "" : "s");
    return 1;
}
