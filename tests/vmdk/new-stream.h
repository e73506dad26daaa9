/* SPDX-License-Identifier: MIT */
/*
 * new-stream.h - new streamOptimized images in memory, for those who test what
 * becomes of them.
 */
#ifndef TESTS_VMDK_NEW_STREAM_H
#define TESTS_VMDK_NEW_STREAM_H

#include "build.h"
#include "streams.h"

enum {
    KIB = 1024,
    MIB = 1024 * KIB
};

/* To create a stream in one of the two layouts; lives until the next call. */
static inline char *options_for(int layout, const char *more)
{
    static const char *const layouts[] = {"end", "front"};
    static char text[200];

    snprintf(text, sizeof text, "subformat=streamOptimized,cid=1234abcd,stream_layout=%s%s",
             layouts[layout], more);
    return text;
}

static inline BlockDriverState *create(int64_t size, const char *options)
{
    BdrvCreateOptions create = {.struct_size = sizeof create, .size = size, .options = options};
    BlockDriverState *memory = image_memory(0);

    assert_ok(bdrv_create_node(memory, "vmdk", &create));
    return memory;
}

static inline void assert_valid(BlockDriverState *memory)
{
    uint8_t *bytes = image_memory_bytes(memory);
    const char *fault = stream_find_fault(bytes, bdrv_getlength(memory));

    ck_assert_msg(fault == NULL, "%s", fault);
    free(bytes);
}

/* 1: the test can go on. */
static inline int can_write(void)
{
#ifdef BDRV_HAVE_LIBDEFLATE
    return 1;
#else
    suite_skipped("this build cannot compress");
    return 0;
#endif
}

static inline int try_write(BlockDriverState *disk, int64_t offset, int64_t bytes, unsigned generation)
{
    uint8_t *data = malloc((size_t)bytes);
    int ret;

    ck_assert_ptr_nonnull(data);
    pattern_fill(data, (size_t)bytes, offset, generation);
    ret = bdrv_pwrite(disk, data, (size_t)bytes, offset);
    free(data);
    return ret;
}

static inline void assert_interrupted(BlockDriverState *memory)
{
    BlockDriverState *disk;

    assert_fails_saying(try_open(memory, 0, NULL, NULL, &disk), -EINVAL,
                        "creation of this image was interrupted");
}

#endif
