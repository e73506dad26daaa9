/* SPDX-License-Identifier: MIT */
/*
 * vmdk-cat.c - the disk of an image as libvmdk reads it, on standard output; for
 * interchange.sh, which compiles it where libvmdk can be developed with.
 *
 *     vmdk-cat IMAGE [PARENT]
 */
#include <libvmdk.h>
#include <stdio.h>
#include <stdlib.h>

static libvmdk_handle_t *open_image(const char *name)
{
    libvmdk_handle_t *handle = NULL;

    if (libvmdk_handle_initialize(&handle, NULL) != 1 ||
        libvmdk_handle_open(handle, name, LIBVMDK_OPEN_READ, NULL) != 1 ||
        libvmdk_handle_open_extent_data_files(handle, NULL) != 1) {
        fprintf(stderr, "vmdk-cat: %s: cannot open\n", name);
        exit(1);
    }
    return handle;
}

int main(int argc, char **argv)
{
    static unsigned char buf[65536];
    libvmdk_handle_t *image, *parent;
    size64_t size = 0;

    if (argc < 2 || argc > 3) {
        return 2;
    }
    image = open_image(argv[1]);
    if (argc == 3) {
        parent = open_image(argv[2]);
        if (libvmdk_handle_set_parent_handle(image, parent, NULL) != 1) {
            return 1;
        }
    }
    if (libvmdk_handle_get_media_size(image, &size, NULL) != 1) {
        return 1;
    }
    for (size64_t at = 0; at < size;) {
        const size_t now = size - at < sizeof buf ? (size_t)(size - at) : sizeof buf;
        const ssize_t got = libvmdk_handle_read_buffer_at_offset(image, buf, now,
                                                                 (off64_t)at, NULL);

        if (got <= 0 || fwrite(buf, 1, (size_t)got, stdout) != (size_t)got) {
            return 1;
        }
        at += (size64_t)got;
    }
    return fflush(stdout) != 0;
}
