/* SPDX-License-Identifier: MIT */
/*
 * registry.c - the driver table, the only state of the library that outlives a
 * handle.  The built-ins come from the Makefile's list DRIVERS (drivers.inc);
 * others from bdrv_register().  Every entry is a validated copy with its holes
 * filled, so a driver compiled against an older header works here as it did.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_int.h"

typedef struct Entry {
    BlockDriver driver; /* first: bdrv_next() goes from one to the other */
    int had_write, had_create;
    unsigned abilities; /* BDRV_CAN_… */
    struct Entry *next;
} Entry;

static Entry *first;
static pthread_once_t builtins_once = PTHREAD_ONCE_INIT;

#define BDRV_BUILTIN(name) extern const BlockDriver bdrv_driver_##name;
#include "drivers.inc"
#undef BDRV_BUILTIN

#define BDRV_BUILTIN(name) &bdrv_driver_##name,
static const BlockDriver *const builtins[] = {
#include "drivers.inc"
    NULL
};
#undef BDRV_BUILTIN

/* Only for drivers of the table. */
static const Entry *entry_of(const BlockDriver *driver)
{
    return (const Entry *)(const void *)driver;
}

/* What the first version of the table had: up to and including read. */
#define SMALLEST_TABLE (offsetof(BlockDriver, read) + sizeof(((BlockDriver *)0)->read))

static int validate(const BlockDriver *driver)
{
    const unsigned known = BDRV_DRIVER_PARALLEL | BDRV_DRIVER_PROTOCOL |
                           BDRV_DRIVER_BACKING | BDRV_DRIVER_FILTER;

    if (driver->struct_size < SMALLEST_TABLE) {
        return bdrv_error(NULL, -EINVAL, "driver table: struct_size is %zu, at least "
                          "%zu is wanted (start the table with BDRV_DRIVER_HEAD)",
                          driver->struct_size, SMALLEST_TABLE);
    }
    if (driver->api_version != BDRV_DRIVER_API) {
        return bdrv_error(NULL, -EINVAL, "driver table: api_version is %u, this "
                          "library knows %d", driver->api_version, BDRV_DRIVER_API);
    }
    if (!driver->name || driver->name[0] == '\0') {
        return bdrv_error(NULL, -EINVAL, "driver table: name is missing");
    }
    if (!driver->open || !driver->read) {
        return bdrv_error(NULL, -EINVAL, "driver '%s': %s is missing", driver->name,
                          driver->open ? "read" : "open");
    }
    if (driver->flags & ~known) {
        return bdrv_error(NULL, -EINVAL, "driver '%s': flags 0x%x are unknown",
                          driver->name, driver->flags & ~known);
    }
    return 0;
}

static Entry *find_entry(const char *name)
{
    Entry *entry = first;

    while (entry && strcmp(entry->driver.name, name) != 0) {
        entry = entry->next;
    }
    return entry;
}

/* Of a table whose holes are not filled yet. */
static unsigned abilities_of(const BlockDriver *driver)
{
    return (unsigned)BDRV_CAN_READ | (driver->write ? (unsigned)BDRV_CAN_WRITE : 0) |
           (driver->create ? (unsigned)BDRV_CAN_CREATE : 0) |
           (driver->flags & BDRV_DRIVER_BACKING ? (unsigned)BDRV_CAN_BACK : 0) |
           (driver->pack ? (unsigned)BDRV_CAN_COMPRESS : 0);
}

static int add(const BlockDriver *driver)
{
    Entry *entry, **last = &first;
    int ret = validate(driver);

    if (ret < 0) {
        return ret;
    }
    if (find_entry(driver->name)) {
        return bdrv_error(NULL, -EEXIST, "driver '%s' is registered already", driver->name);
    }
    entry = calloc(1, sizeof *entry);
    if (!entry) {
        return -ENOMEM;
    }
    memcpy(&entry->driver, driver,
           driver->struct_size < sizeof *driver ? driver->struct_size : sizeof *driver);
    entry->had_write = entry->driver.write != NULL;
    entry->had_create = entry->driver.create != NULL;
    entry->abilities = abilities_of(&entry->driver);
    bdrv_fill_defaults(&entry->driver);
    while (*last) {
        last = &(*last)->next;
    }
    *last = entry;
    return 0;
}

static void add_builtins(void)
{
    for (size_t i = 0; builtins[i]; i++) {
        add(builtins[i]);
    }
}

int bdrv_register(const BlockDriver *driver)
{
    int ret;

    bdrv_call_begin();
    pthread_once(&builtins_once, add_builtins);
    ret = driver ? add(driver) : -EINVAL;
    return bdrv_call_end(NULL, ret, "cannot register the driver");
}

const BlockDriver *bdrv_next(const BlockDriver *driver)
{
    const Entry *next;

    pthread_once(&builtins_once, add_builtins);
    next = driver ? entry_of(driver)->next : first;
    return next ? &next->driver : NULL;
}

const BlockDriver *bdrv_find(const char *name)
{
    Entry *entry;

    pthread_once(&builtins_once, add_builtins);
    entry = name ? find_entry(name) : NULL;
    return entry ? &entry->driver : NULL;
}

int bdrv_driver_can_write(const BlockDriver *driver)
{
    return entry_of(driver)->had_write;
}

int bdrv_driver_can_create(const BlockDriver *driver)
{
    return entry_of(driver)->had_create;
}

int bdrv_require_driver(const BlockDriver **driver, const char *name)
{
    char list[512] = "";
    size_t used = 0;

    *driver = bdrv_find(name);
    if (*driver) {
        return 0;
    }
    for (const BlockDriver *d = bdrv_next(NULL); d && used < sizeof list; d = bdrv_next(d)) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 used ? ", " : "", d->name);
    }
    return bdrv_error(NULL, -EINVAL, "format '%s' is unknown; there are %s", name, list);
}

int bdrv_driver_describe(const BlockDriver *driver, BdrvDriverInfo *info)
{
    BdrvDriverInfo ours;

    if (!driver || !info) {
        return bdrv_error(NULL, -EINVAL, "bdrv_driver_describe: driver or info is NULL");
    }
    ours = (BdrvDriverInfo){
        .struct_size = sizeof ours,
        .name = driver->name,
        .description = driver->description,
        .can_write = bdrv_driver_can_write(driver),
        .can_create = bdrv_driver_can_create(driver),
        .can_back = (driver->flags & BDRV_DRIVER_BACKING) != 0,
        .is_protocol = (driver->flags & BDRV_DRIVER_PROTOCOL) != 0,
        .open_options = driver->open_options,
        .create_options = driver->create_options,
        .amend_options = driver->amend_options,
        .abilities = entry_of(driver)->abilities,
        .variants = driver->variants,
    };

    if (info->struct_size != 0 && info->struct_size < ours.struct_size) {
        ours.struct_size = info->struct_size;
    }
    memcpy(info, &ours, ours.struct_size);
    return 0;
}
