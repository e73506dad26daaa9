/* SPDX-License-Identifier: MIT */
/*
 * check-places.h - between those who find the directory entries that are wrong
 * (check-places.c) and those who mend them (check-gd.c).
 */
#ifndef VMDK_CHECK_PLACES_H
#define VMDK_CHECK_PLACES_H

#include "check.h"

typedef enum VmdkPlaceFault {
    VMDK_PLACE_SOUND,
    VMDK_PLACE_OUTSIDE, /* no table can be there */
    VMDK_PLACE_OVERLAP, /* another table is there, which its entry is believed more */
    VMDK_PLACE_ASTRAY   /* the table is elsewhere */
} VmdkPlaceFault;

/* The state of each GDE. */
typedef struct VmdkPlaces {
    uint8_t *fault[VMDK_SETS]; /* VmdkPlaceFault, by table */
    uint8_t *bytes;            /* room for three tables */
    int64_t wrong;             /* GDEs that are not sound */
    /* Of the sound ones of each set: those that are not where VMware's layout has them,
     * less those that are. */
    int64_t strange[VMDK_SETS];
} VmdkPlaces;

/* Fills places, whose members are allocated and zeroed, for the directories in map.
 * 0 or -errno. */
int vmdk_places_judge(const VmdkCheckMap *map, VmdkPlaces *places);

/* Where VMware's layout has the table, in sectors; 0: unknown, or not in the file. */
uint32_t vmdk_places_usual(const VmdkCheckMap *map, int set, int64_t table);
/* Can a table be there, as far as the metadata besides tables goes? */
int vmdk_places_possible(const VmdkCheckMap *map, uint32_t sector);
/* 0 or -errno. */
int vmdk_places_read(const VmdkCheckMap *map, uint32_t sector, uint8_t *bytes);
/* Are all entries of the table at a sector possible ones?  0 also if it cannot be read;
 * else it is in bytes. */
int vmdk_places_is_sound(const VmdkCheckMap *map, int64_t table, uint32_t sector,
                         uint8_t *bytes);

#endif
