/* SPDX-License-Identifier: MIT */
/*
 * claims.h - ranges that belong to one thread at a time, for clusters.c: what a
 * mutex per cluster would be, without a mutex per cluster.  A claim may be held
 * over I/O; it holds up only those who claim the same place.
 */
#ifndef BLOCK_CLAIMS_H
#define BLOCK_CLAIMS_H

#include <pthread.h>
#include <stdint.h>

/* [offset, end), not empty.  Lives on its thread's stack from take to release. */
typedef struct Claim {
    int64_t offset;
    int64_t end;
    struct Claim *next; /* claims.c's: the next younger one */
} Claim;

typedef struct Claims {
    pthread_mutex_t lock;
    pthread_cond_t released;
    Claim *oldest; /* those that are held and those that wait */
} Claims;

/* 0 or -errno, without a message. */
int bdrv_claims_init(Claims *claims);
void bdrv_claims_destroy(Claims *claims);

/* Waits until no older claim overlaps mine.  A thread that holds one takes no other. */
void bdrv_claims_take(Claims *claims, Claim *mine);
void bdrv_claims_release(Claims *claims, Claim *mine);

#endif
