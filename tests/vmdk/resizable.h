/* SPDX-License-Identifier: MIT */
/*
 * resizable.h - the kinds of disks whose length can change.
 */
#ifndef TESTS_VMDK_RESIZABLE_H
#define TESTS_VMDK_RESIZABLE_H

static const char *const kinds[] = {
    "subformat=monolithicSparse",
    "subformat=monolithicSparse,zeroed_grain=on",
    "subformat=monolithicSparse,grain_size=8k,gtes_per_table=128",
    "subformat=monolithicFlat",
    "subformat=vmfs",
    "subformat=twoGbMaxExtentSparse,extent_size=1M",
    "subformat=twoGbMaxExtentSparse,extent_size=64M",
    "subformat=twoGbMaxExtentFlat,extent_size=1M",
    "subformat=vmfsSparse",
    "subformat=vmfsSparse,grain_size=64k",
    "subformat=cowd",
};

enum {
    KINDS = sizeof kinds / sizeof *kinds
};

#endif
