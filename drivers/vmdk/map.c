/* SPDX-License-Identifier: MIT */
/*
 * map.c - from a place on the disk to a sector of the extent's file and back
 * again, through two levels of tables; what hosted sparse and copy-on-write
 * extents have in common.  All tables are read and changed through BdrvTable.
 *
 * The primary set is what readers follow.  The redundant one, where there is
 * one, is kept equal, and asked when the primary cannot be: its table or entry
 * cannot be read or makes no sense.  What no set can tell is -EIO, never zeros.
 */
#include "vmdk.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* GTEs looked at in one step, or set in one go: the bytes for them are on
     * the stack. */
    ENTRIES_MAX = 512,
    ENTRY_BYTES = 4,
    ENTRIES_PER_SECTOR = BDRV_SECTOR_SIZE / ENTRY_BYTES,
    ENTRY_ZEROED = 1,
    KNOWN_TABLES_MAX = 4096, /* the tables of 128 GiB; 32 KiB */
    /* Steps of one lookup.  Who uses only a part of the run that is told, and asks
     * again behind it, must not pay for the rest of the disk each time. */
    STEPS_MAX = 16
};

static const char *const set_names[] = {
    [VMDK_PRIMARY] = "GT",
    [VMDK_REDUNDANT] = "redundant GT",
};

int64_t vmdk_map_table_bytes(const VmdkMap *map)
{
    return bdrv_round_up(map->gtes * ENTRY_BYTES, BDRV_SECTOR_SIZE);
}

int64_t vmdk_map_gd_bytes(const VmdkMap *map)
{
    return map->tables * ENTRY_BYTES;
}

int64_t vmdk_map_file_size(const VmdkMap *map)
{
    return atomic_load_explicit(&map->space->file_size, memory_order_acquire);
}

int64_t vmdk_map_covered(const VmdkMap *map, int64_t offset)
{
    int64_t start = offset & ~(map->grain - 1);

    return bdrv_min(map->grain, map->extent->length - start);
}

/* ------------------------------------------------------------------ checks */

int vmdk_map_in_directory(const VmdkMap *map, int64_t start, int64_t end)
{
    for (int i = 0; i < VMDK_SETS; i++) {
        if (map->gd[i] != 0 && start < map->gd[i] + vmdk_map_gd_bytes(map) && map->gd[i] < end) {
            return 1;
        }
    }
    return 0;
}

static int check_table(const VmdkMap *map, VmdkSet set, int64_t table, int64_t offset)
{
    int64_t end = offset + vmdk_map_table_bytes(map);

    if (vmdk_map_in_directory(map, offset, end)) {
        return bdrv_error(map->extent->file, -EIO, "%s %" PRId64 " is said to be at "
                          "sector %" PRId64 ", inside a directory", set_names[set], table,
                          offset / BDRV_SECTOR_SIZE);
    }
    if (end > vmdk_map_file_size(map)) {
        return bdrv_error(map->extent->file, -EIO, "%s %" PRId64 " is said to be at sector %"
                          PRId64 ", but the file has only %" PRId64 " sectors",
                          set_names[set], table, offset / BDRV_SECTOR_SIZE,
                          vmdk_map_file_size(map) / BDRV_SECTOR_SIZE);
    }
    return 0;
}

static int bad_grain(const VmdkMap *map, int64_t offset, uint32_t entry, const char *why)
{
    int64_t grain = offset / map->grain;

    return bdrv_error(map->extent->file, -EIO, "the GTE [%" PRId64 "] in GT [%" PRId64
                      "] is invalid (%" PRIu32 "): %s", grain % map->gtes, grain / map->gtes,
                      entry, why);
}

/* Bytes of the file that the grain at offset occupies at least. */
static int64_t footprint(const VmdkMap *map, int64_t offset)
{
    return map->packed ? BDRV_SECTOR_SIZE : vmdk_map_covered(map, offset);
}

/* A grain that begins in the file but is cut by its end can be read as far as
 * it goes; whether that is enough, the caller knows. */
int vmdk_map_check_grain(VmdkMap *map, int64_t offset, uint32_t entry)
{
    int64_t start = (int64_t)entry * BDRV_SECTOR_SIZE;
    int ret;

    if (entry == ENTRY_ZEROED && map->first_data > BDRV_SECTOR_SIZE) {
        return bad_grain(map, offset, entry, "the header does not allow grains of zeros");
    }
    if (start < map->first_data) {
        return bad_grain(map, offset, entry, "the first grain comes later, behind the tables");
    }
    ret = vmdk_map_need_regions(map);
    if (ret < 0) {
        return ret;
    }
    if (vmdk_regions_hit(&map->regions, start, start + footprint(map, offset))) {
        return bad_grain(map, offset, entry, "a table is there");
    }
    if (start >= vmdk_map_file_size(map)) {
        return bad_grain(map, offset, entry, "the file ends before it: it is truncated");
    }
    return 0;
}

/* ----------------------------------------------------------------- reading */

static int read_entry(VmdkMap *map, int64_t offset, uint32_t *entry)
{
    uint8_t bytes[ENTRY_BYTES];
    int ret = bdrv_table_read(map->extent->image->table, map->extent->file, bytes,
                              sizeof bytes, offset);

    *entry = bdrv_load_le32(bytes);
    return ret;
}

/* A primary GT whose directory entry was read and checked, and its place; 0 is none.  One
 * of each so many is remembered.  Who reads it sees the table as it was when it was made
 * known, or later. */
static atomic_ullong *known_place(const VmdkMap *map, int64_t table)
{
    return &map->known[(size_t)table & (map->known_count - 1)];
}

static uint32_t known_sector(const VmdkMap *map, int64_t table)
{
    unsigned long long known = atomic_load_explicit(known_place(map, table),
                                                    memory_order_acquire);

    return known >> 32 == (unsigned long long)table + 1 ? (uint32_t)known : 0;
}

static void make_known(VmdkMap *map, int64_t table, uint32_t sector)
{
    atomic_store_explicit(known_place(map, table),
                          ((unsigned long long)table + 1) << 32 | sector, memory_order_release);
}

void vmdk_map_forget_tables(VmdkMap *map)
{
    for (size_t i = 0; i < map->known_count; i++) {
        atomic_store(&map->known[i], 0);
    }
}

static int read_table_place(VmdkMap *map, VmdkSet set, int64_t table, int64_t *offset)
{
    uint32_t entry = 0;
    int ret = read_entry(map, map->gd[set] + table * ENTRY_BYTES, &entry);

    *offset = 0;
    if (ret < 0) {
        return bdrv_error_prefix(map->extent->file, ret, "reading the directory entry of %s %"
                                 PRId64, set_names[set], table);
    }
    if (entry == 0) {
        return 0;
    }
    *offset = (int64_t)entry * BDRV_SECTOR_SIZE;
    ret = check_table(map, set, table, *offset);
    if (ret == 0 && set == VMDK_PRIMARY) {
        make_known(map, table, entry);
    }
    return ret;
}

int vmdk_map_table(VmdkMap *map, VmdkSet set, int64_t table, int64_t *offset)
{
    const uint32_t sector = set == VMDK_PRIMARY ? known_sector(map, table) : 0;

    if (sector == 0) {
        return read_table_place(map, set, table, offset);
    }
    *offset = (int64_t)sector * BDRV_SECTOR_SIZE;
    return 0;
}

/* Some entries of one GT. */
typedef struct Entries {
    int64_t table;
    int64_t first;  /* in the table */
    int64_t within; /* where in its grain the request begins */
    int64_t count;  /* 1 to ENTRIES_MAX */
    int absent;     /* there is no GT: all are 0, also behind these */
    uint8_t bytes[ENTRIES_MAX * ENTRY_BYTES];
} Entries;

static uint32_t entry_at(const Entries *entries, int64_t i)
{
    return entries->absent ? 0 : bdrv_load_le32(entries->bytes + i * ENTRY_BYTES);
}

/* How many are known: of a table that is absent all, not only those asked for. */
static int64_t known_count(const VmdkMap *map, const Entries *entries)
{
    return entries->absent ? map->gtes - entries->first : entries->count;
}

static int read_entries(VmdkMap *map, VmdkSet set, Entries *entries)
{
    int64_t offset;
    int ret = vmdk_map_table(map, set, entries->table, &offset);

    entries->absent = ret == 0 && offset == 0;
    if (ret < 0 || entries->absent) {
        return ret;
    }
    ret = bdrv_table_read(map->extent->image->table, map->extent->file, entries->bytes,
                          (size_t)entries->count * ENTRY_BYTES,
                          offset + entries->first * ENTRY_BYTES);
    return ret < 0 ? bdrv_error_prefix(map->extent->file, ret, "reading %s %" PRId64,
                                       set_names[set], entries->table)
                   : 0;
}

static BdrvState state_of(VmdkMap *map, uint32_t entry)
{
    if (entry == 0) {
        return BDRV_UNALLOCATED;
    }
    if (entry == ENTRY_ZEROED && atomic_load(&map->has_zeroed)) {
        return BDRV_ZERO;
    }
    return BDRV_DATA;
}

/* All as the first: much faster than one by one. */
static int all_equal(const Entries *entries)
{
    return memcmp(entries->bytes, entries->bytes + ENTRY_BYTES,
                  (size_t)(entries->count - 1) * ENTRY_BYTES) == 0;
}

/* How many entries are of the same kind as the first and, if they are grains,
 * lie one behind the other. */
static int64_t count_alike(VmdkMap *map, const Entries *entries, int64_t offset)
{
    const uint32_t step = (uint32_t)(map->grain / BDRV_SECTOR_SIZE);
    uint32_t expected = entry_at(entries, 0);
    BdrvState state = state_of(map, expected);
    int64_t i = 1;

    if (entries->absent || (state != BDRV_DATA && all_equal(entries))) {
        return known_count(map, entries);
    }
    for (; i < entries->count; i++) {
        expected += state == BDRV_DATA ? step : 0;
        if (entry_at(entries, i) != expected) {
            break;
        }
        if (state == BDRV_DATA &&
            (expected < step ||
             vmdk_map_check_grain(map, offset + i * map->grain, expected) < 0)) {
            break;
        }
    }
    return i;
}

/* offset is somewhere in the grain of the first entry. */
static int describe_run(VmdkMap *map, const Entries *entries, int64_t offset, BdrvExtent *run)
{
    const uint32_t entry = entry_at(entries, 0);
    const int64_t within = entries->within;
    int ret = 0;

    run->state = state_of(map, entry);
    if (run->state == BDRV_DATA) {
        ret = vmdk_map_check_grain(map, offset, entry);
    }
    if (ret < 0) {
        return ret;
    }
    run->bytes = count_alike(map, entries, offset - within) * map->grain - within;
    if (run->state == BDRV_DATA) {
        run->file = map->extent->file;
        run->file_offset = (int64_t)entry * BDRV_SECTOR_SIZE;
    }
    if (run->state == BDRV_DATA && !map->packed) {
        run->file_offset += within;
        run->bytes = bdrv_min(run->bytes, vmdk_map_file_size(map) - run->file_offset);
    }
    return run->bytes > 0 ? 0 : bad_grain(map, offset, entry, "the file's end cuts the grain");
}

/* Which entries, at most so many, without their bytes: clearing those would cost a
 * small read more than all else here. */
static void locate_entries(const VmdkMap *map, int64_t offset, int64_t bytes, int64_t most,
                           Entries *entries)
{
    const int64_t grain = offset >> map->grain_shift;

    entries->table = grain >> map->gtes_shift;
    entries->first = grain & (map->gtes - 1);
    entries->within = offset & (map->grain - 1);
    entries->absent = 0;
    entries->count = 1;
    if (entries->within + bytes > map->grain) {
        entries->count = bdrv_min(bdrv_div_up(entries->within + bytes, map->grain),
                                  bdrv_min(map->gtes - entries->first, most));
    }
}

static int lookup_in(VmdkMap *map, VmdkSet set, int64_t offset, Entries *entries,
                     BdrvExtent *run)
{
    int ret = read_entries(map, set, entries);

    return ret < 0 ? ret : describe_run(map, entries, offset, run);
}

static void complain(VmdkMap *map, int64_t table)
{
    if (!atomic_exchange(&map->complained, 1)) {
        bdrv_log(map->extent->image->bs, "GT %" PRId64 " is unusable (%s); the redundant tables are "
                 "used where they can help: repair the image", table, bdrv_errmsg());
    }
}

/* Is there a redundant GT?  Where the primary one is missing, that is what a crash
 * leaves between the two writes that make a GT known, or damage.  1, 0 or -errno. */
static int has_redundant(VmdkMap *map, int64_t table)
{
    int64_t offset;
    int ret = vmdk_map_table(map, VMDK_REDUNDANT, table, &offset);

    return ret < 0 ? ret : offset != 0;
}

/* 1: done; 0: there is no such table, nothing has changed; or -errno. */
static int look_up_redundant(VmdkMap *map, int64_t offset, Entries *entries, BdrvExtent *run)
{
    int ret = has_redundant(map, entries->table);

    if (ret > 0) {
        ret = lookup_in(map, VMDK_REDUNDANT, offset, entries, run);
        return ret < 0 ? ret : 1;
    }
    return ret;
}

/* At most the entries, of one table, which are located.  run->bytes can be more than
 * who asks wants. */
static int look_up_step(VmdkMap *map, int64_t offset, Entries *entries, BdrvExtent *run)
{
    int ret = lookup_in(map, VMDK_PRIMARY, offset, entries, run);

    if (map->gd[VMDK_REDUNDANT] == 0) {
        return ret;
    }
    if (ret < 0) {
        complain(map, entries->table);
        return look_up_redundant(map, offset, entries, run) == 1 ? 0 : ret;
    }
    if (entries->absent) {
        ret = look_up_redundant(map, offset, entries, run);
    }
    return ret < 0 ? ret : 0;
}

/* Is the run all that the entries could tell?  Then it may go on behind them. */
static int is_open_ended(const VmdkMap *map, const Entries *entries, const BdrvExtent *run)
{
    return run->bytes == known_count(map, entries) * map->grain - entries->within &&
           !(run->state == BDRV_DATA && map->packed);
}

/* Lengthens a run by what is found at its end, and returns whether it may go on even
 * further.  What cannot be told there, who asks for that place will be. */
static int go_on(VmdkMap *map, int64_t offset, int64_t bytes, Entries *entries, BdrvExtent *run)
{
    BdrvExtent next = {0};

    locate_entries(map, offset + run->bytes, bytes - run->bytes, ENTRIES_MAX, entries);
    if (look_up_step(map, offset + run->bytes, entries, &next) < 0 ||
        next.state != run->state ||
        (run->state == BDRV_DATA && next.file_offset != run->file_offset + run->bytes)) {
        return 0;
    }
    run->bytes += next.bytes;
    return is_open_ended(map, entries, &next);
}

/* Most requests are within a few grains: the first step goes no further than to the
 * end of a sector of a table. */
int vmdk_map_lookup(VmdkMap *map, int64_t offset, int64_t bytes, BdrvExtent *run)
{
    Entries entries;
    int ret, more;

    locate_entries(map, offset, bytes, ENTRIES_MAX, &entries);
    entries.count = bdrv_min(entries.count,
                             ENTRIES_PER_SECTOR - entries.first % ENTRIES_PER_SECTOR);
    ret = look_up_step(map, offset, &entries, run);
    more = ret == 0 && is_open_ended(map, &entries, run);
    for (int step = 1; more && run->bytes < bytes && step < STEPS_MAX; step++) {
        more = go_on(map, offset, bytes, &entries, run);
    }
    run->bytes = bdrv_min(run->bytes, bytes);
    return ret;
}

/* ---------------------------------------------------------------- entering */

static int write_entry(VmdkMap *map, VmdkSet set, int64_t table, uint32_t entry)
{
    uint8_t bytes[ENTRY_BYTES];

    bdrv_store_le32(bytes, entry);
    return bdrv_table_write(map->extent->image->table, map->extent->file, bytes, sizeof bytes,
                            map->gd[set] + table * ENTRY_BYTES,
                            set == VMDK_PRIMARY ? BDRV_TABLE_PRIMARY : BDRV_TABLE_REDUNDANT);
}

/* Fills a new GT with what the other set has, durably: a directory must not
 * point at it before. */
static int copy_table(VmdkMap *map, VmdkSet set, int64_t from, int64_t to)
{
    uint8_t bytes[BDRV_SECTOR_SIZE];
    int ret = 0;

    for (int64_t done = 0; ret == 0 && done < vmdk_map_table_bytes(map); done += BDRV_SECTOR_SIZE) {
        ret = bdrv_table_read(map->extent->image->table, map->extent->file, bytes,
                              sizeof bytes, from + done);
        if (ret == 0) {
            ret = bdrv_table_write(map->extent->image->table, map->extent->file, bytes,
                                   sizeof bytes, to + done,
                                   set == VMDK_PRIMARY ? BDRV_TABLE_PRIMARY
                                                       : BDRV_TABLE_REDUNDANT);
        }
    }
    return ret < 0 ? ret : bdrv_table_flush(map->extent->image->table);
}

/* Makes the GT of one set at the end of the file.  other: the GT of the other
 * set, 0: none. */
static int make_table(VmdkMap *map, VmdkSet set, int64_t table, int64_t other)
{
    int64_t count = 1, offset;
    int zeroed;
    int ret = vmdk_space_take(map->space, vmdk_map_table_bytes(map), &count, &offset, &zeroed);

    if (ret == 0) {
        ret = bdrv_table_fresh(map->extent->image->table, map->extent->file, vmdk_map_table_bytes(map),
                               offset);
    }
    if (ret == 0 && other != 0) {
        ret = copy_table(map, set, other, offset);
    }
    return ret < 0 ? ret
                   : write_entry(map, set, table, (uint32_t)(offset / BDRV_SECTOR_SIZE));
}

static int find_tables(VmdkMap *map, int64_t table, int64_t *offsets)
{
    int ret = 0;

    for (int set = 0; ret == 0 && set < VMDK_SETS; set++) {
        offsets[set] = 0;
        if (map->gd[set] != 0) {
            ret = vmdk_map_table(map, (VmdkSet)set, table, &offsets[set]);
        }
    }
    return ret;
}

static int is_missing(const VmdkMap *map, const int64_t *offsets, int set)
{
    return map->gd[set] != 0 && offsets[set] == 0;
}

/* The GTs of both sets, made if they are missing.  The redundant one comes
 * first, as always. */
static int ensure_tables(VmdkMap *map, int64_t table, int64_t *offsets)
{
    int ret = find_tables(map, table, offsets);

    if (ret < 0 || (!is_missing(map, offsets, VMDK_PRIMARY) &&
                    !is_missing(map, offsets, VMDK_REDUNDANT))) {
        return ret;
    }
    pthread_mutex_lock(&map->lock);
    ret = find_tables(map, table, offsets); /* another thread may have been here */
    for (int set = VMDK_SETS - 1; ret == 0 && set >= 0; set--) {
        if (is_missing(map, offsets, set)) {
            ret = make_table(map, (VmdkSet)set, table, offsets[!set]);
        }
    }
    if (ret == 0) {
        ret = find_tables(map, table, offsets);
    }
    pthread_mutex_unlock(&map->lock);
    return ret;
}

/* The primary set comes first here, in memory: if its table cannot be read, nothing has
 * changed.  Which is written to the file first, the order says. */
static int write_entries(VmdkMap *map, const Entries *entries, const int64_t *offsets)
{
    static const struct {
        VmdkSet set;
        BdrvTableOrder order;
    } steps[] = {{VMDK_PRIMARY, BDRV_TABLE_PRIMARY}, {VMDK_REDUNDANT, BDRV_TABLE_REDUNDANT}};
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof steps / sizeof *steps; i++) {
        if (offsets[steps[i].set] != 0) {
            ret = bdrv_table_write(map->extent->image->table, map->extent->file, entries->bytes,
                                   (size_t)entries->count * ENTRY_BYTES,
                                   offsets[steps[i].set] + entries->first * ENTRY_BYTES,
                                   steps[i].order);
        }
    }
    return ret;
}

int vmdk_map_enter(VmdkMap *map, int64_t offset, int64_t grains, uint32_t first, uint32_t step)
{
    int ret = 0;

    while (ret == 0 && grains > 0) {
        int64_t offsets[VMDK_SETS] = {0};
        Entries entries;

        locate_entries(map, offset, grains * map->grain, ENTRIES_MAX, &entries);
        for (int64_t i = 0; i < entries.count; i++, first += step) {
            bdrv_store_le32(entries.bytes + i * ENTRY_BYTES, first);
        }
        ret = ensure_tables(map, entries.table, offsets);
        if (ret == 0) {
            ret = write_entries(map, &entries, offsets);
        }
        offset += entries.count * map->grain;
        grains -= entries.count;
    }
    return ret;
}

/* -------------------------------------------------------------------- life */

/* Of a power of two, which headers are checked to have. */
static int shift_of(int64_t number)
{
    int shift = 0;

    while (number >> shift > 1) {
        shift++;
    }
    return shift;
}

int vmdk_map_open(VmdkMap *map)
{
    map->grain_shift = shift_of(map->grain);
    map->gtes_shift = shift_of(map->gtes);
    atomic_init(&map->complained, 0);
    atomic_init(&map->has_regions, 0);
    map->known_count = 1;
    while ((int64_t)map->known_count < bdrv_min(map->tables, KNOWN_TABLES_MAX)) {
        map->known_count *= 2;
    }
    map->known = calloc(map->known_count, sizeof *map->known);
    return map->known ? 0 : -ENOMEM;
}

void vmdk_map_close(VmdkMap *map)
{
    vmdk_regions_free(&map->regions);
    free(map->known);
    pthread_mutex_destroy(&map->lock);
}
