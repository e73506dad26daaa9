/* SPDX-License-Identifier: MIT */
/*
 * claims.c - a queue of claimed ranges.  Each waits for the older ones that it
 * overlaps, and for no other, so nobody waits for ever, however busy a place is.
 */
#include "claims.h"

int bdrv_claims_init(Claims *claims)
{
    int error = pthread_mutex_init(&claims->lock, NULL);

    claims->oldest = NULL;
    if (error == 0) {
        error = pthread_cond_init(&claims->released, NULL);
        if (error != 0) {
            pthread_mutex_destroy(&claims->lock);
        }
    }
    return -error;
}

void bdrv_claims_destroy(Claims *claims)
{
    pthread_cond_destroy(&claims->released);
    pthread_mutex_destroy(&claims->lock);
}

/* The walk ends at mine at the latest, which overlaps itself. */
static int must_wait(const Claims *claims, const Claim *mine)
{
    const Claim *claim = claims->oldest;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): mine is in the list */
    while (claim->end <= mine->offset || mine->end <= claim->offset) {
        claim = claim->next;
    }
    return claim != mine;
}

void bdrv_claims_take(Claims *claims, Claim *mine)
{
    Claim **link = &claims->oldest;

    pthread_mutex_lock(&claims->lock);
    while (*link != NULL) {
        link = &(*link)->next;
    }
    mine->next = NULL;
    *link = mine;
    while (must_wait(claims, mine)) {
        pthread_cond_wait(&claims->released, &claims->lock);
    }
    pthread_mutex_unlock(&claims->lock);
}

void bdrv_claims_release(Claims *claims, Claim *mine)
{
    Claim **link = &claims->oldest;

    pthread_mutex_lock(&claims->lock);
    while (*link != mine) {
        link = &(*link)->next;
    }
    *link = mine->next;
    pthread_cond_broadcast(&claims->released);
    pthread_mutex_unlock(&claims->lock);
}
