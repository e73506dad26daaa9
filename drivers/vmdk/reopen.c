/* SPDX-License-Identifier: MIT */
/*
 * reopen.c - opens the extents of an image anew after the descriptor has got
 * other lines.  Files that are open stay so: their locks must not be let go, and
 * somebody may still look into them.
 */
#include "vmdk.h"

#include <stdlib.h>

static BlockDriverState *own_file_of(const VmdkFiles *files)
{
    return files->count > 0 && !files->list[0].name ? files->list[0].node : NULL;
}

/* Nothing may be left of what was known about them. */
static void forget_tables(Vmdk *image)
{
    for (size_t i = 0; i < image->files.count; i++) {
        if (image->files.list[i].node) {
            bdrv_table_forget(image->table, image->files.list[i].node);
        }
    }
}

int vmdk_extents_reopen(Vmdk *image)
{
    VmdkFiles *files = &image->files;
    BlockDriverState *own_file = own_file_of(files);
    int ret = vmdk_files_settle(image);

    if (ret < 0) {
        bdrv_log(image->bs, "%s", bdrv_errmsg()); /* space is lost, no more */
    }
    forget_tables(image);
    files->former = files->list;
    files->former_count = files->count;
    files->list = NULL;
    files->count = 0;
    vmdk_extents_close(image);
    files->open_count = 0;
    files->hand = 0;
    ret = vmdk_extents_open(image, own_file);
    for (size_t i = 0; i < files->former_count; i++) {
        free(files->former[i].path);
    }
    free(files->former);
    files->former = NULL;
    files->former_count = 0;
    if (ret < 0) {
        bdrv_set_length(image->bs, 0); /* no request gets through any more */
        return bdrv_error_prefix(image->bs, ret, "the image was changed, but cannot be opened "
                                 "again");
    }
    return 0;
}
