/* SPDX-License-Identifier: MIT */
/*
 * variants.c - which kinds of VMDK there are, by createType or by what is unusual
 * in them, and what this driver can do with each: the rows of the support matrix
 * in formats/vmdk.md section 11.  tests/vmdk/t-variants.c does what is said here,
 * and tries what is not.
 */
#include "vmdk.h"

enum {
    READ_WRITE = BDRV_CAN_READ | BDRV_CAN_WRITE,
    READ_WRITE_CREATE = READ_WRITE | BDRV_CAN_CREATE,
    ALL_BUT_COMPRESS = READ_WRITE_CREATE | BDRV_CAN_BACK
};

const BdrvVariant vmdk_variants[] = {
    {.name = "monolithicSparse",
     .abilities = ALL_BUT_COMPRESS,
     .create_options = "subformat=monolithicSparse"},
    {.name = "monolithicFlat",
     .abilities = READ_WRITE_CREATE,
     .create_options = "subformat=monolithicFlat"},
    {.name = "twoGbMaxExtentSparse",
     .abilities = ALL_BUT_COMPRESS,
     .create_options = "subformat=twoGbMaxExtentSparse"},
    {.name = "twoGbMaxExtentFlat",
     .abilities = READ_WRITE_CREATE,
     .create_options = "subformat=twoGbMaxExtentFlat"},
#ifdef BDRV_HAVE_LIBDEFLATE
    {.name = "streamOptimized",
     .abilities = READ_WRITE_CREATE | BDRV_CAN_COMPRESS,
     .create_options = "subformat=streamOptimized",
     .note = "written once, in ascending order, after its creation"},
#else
    {.name = "streamOptimized",
     .note = "this library was built without libdeflate"},
#endif
    {.name = "vmfs", .abilities = READ_WRITE_CREATE, .create_options = "subformat=vmfs"},
    {.name = "vmfsThin",
     .abilities = READ_WRITE_CREATE,
     .create_options = "subformat=vmfsThin",
     .note = "created with createType vmfs and ddb.thinProvisioned, as ESXi does"},
    {.name = "vmfsSparse",
     .abilities = ALL_BUT_COMPRESS,
     .create_options = "subformat=vmfsSparse"},
    {.name = "seSparse",
     .abilities = ALL_BUT_COMPRESS,
     .create_options = "subformat=seSparse,sesparse_unverified=on",
     .note = "written in place where it holds data; nobody knows if ESXi takes a created one"},
    {.name = "cowd",
     .abilities = READ_WRITE_CREATE,
     .create_options = "subformat=cowd",
     .note = "one COWD file without a descriptor"},
    {.name = NULL},
};
