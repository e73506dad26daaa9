/* SPDX-License-Identifier: MIT */
/*
 * pool.c - things that are dear to make and that one thread uses at a time
 * (compressors), kept between uses for whichever thread comes next.
 */
#include "vmdk.h"

void vmdk_pool_init(VmdkPool *pool)
{
    pool->count = 0;
    pthread_mutex_init(&pool->lock, NULL);
}

void vmdk_pool_destroy(VmdkPool *pool, void (*free_thing)(void *thing))
{
    while (pool->count > 0) {
        free_thing(pool->idle[--pool->count]);
    }
    pthread_mutex_destroy(&pool->lock);
}

void *vmdk_pool_take(VmdkPool *pool)
{
    void *found = NULL;

    pthread_mutex_lock(&pool->lock);
    if (pool->count > 0) {
        found = pool->idle[--pool->count];
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

void vmdk_pool_give(VmdkPool *pool, void *thing, void (*free_thing)(void *thing))
{
    pthread_mutex_lock(&pool->lock);
    if (pool->count < VMDK_POOL_MAX) {
        pool->idle[pool->count++] = thing;
        thing = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    if (thing) {
        free_thing(thing);
    }
}
