/* SPDX-License-Identifier: MIT */
/*
 * ova-write.c - a new OVA around one new disk, written in its place in the tar:
 *
 *     ┌ NAME.ovf ┐┌ NAME.mf ┐┌ NAME-disk1.vmdk ───────────┐
 *     │ room     ││ room    ││ the disk, as it is made    │ zeros, two blocks
 *     └──────────┘└─────────┘└────────────────────────────┘
 *
 * The OVF comes first and tells the disk's size, the manifest its digest, and both
 * are known when the disk is whole: their room is left, and filled in the end.  The
 * digests are those of the bytes that are in the file then, read again.
 *
 * The machine that is described is the least that importers take: one processor,
 * 1 GiB of memory, the disk at a SCSI controller.  (DMTF DSP0243, and what ovftool
 * writes; vmx-07 is hardware that everything since ESX 4 knows.)
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ova.h"

enum {
    NAME_BYTES = 64, /* of NAME: with its endings it fits into a tar header */
    ESCAPED_BYTES = 6 * NAME_BYTES + 1,
    TEXT_BYTES = 16 * 1024
};

struct Ova {
    BlockDriverState *tar; /* raw; what is written goes to bdrv_file() of it */
    char *path;
    char name[NAME_BYTES + 1];
    char disk[NAME_BYTES + 16]; /* the name of the disk's file */
    int64_t capacity, time;
    int64_t ovf_room;            /* whole blocks, without the header */
    int64_t base;                /* where the disk begins in the file */
    _Atomic int64_t disk_length; /* of its file */
    char text[TEXT_BYTES];
};

/* ------------------------------------------------------------------- storage */

static BlockDriverState *file_of(const Ova *ova)
{
    return bdrv_file(ova->tar);
}

static int disk_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    const Ova *ova = opaque;

    return bdrv_pread(file_of(ova), buf, bytes, ova->base + offset);
}

static int disk_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    Ova *ova = opaque;
    const int64_t end = offset + (int64_t)bytes;
    int64_t length = atomic_load(&ova->disk_length);

    while (length < end && !atomic_compare_exchange_weak(&ova->disk_length, &length, end)) {
    }
    return bdrv_pwrite(file_of(ova), buf, bytes, ova->base + offset);
}

static int disk_flush(void *opaque)
{
    return bdrv_flush(file_of(opaque));
}

static int64_t disk_length(void *opaque)
{
    return atomic_load(&((Ova *)opaque)->disk_length);
}

static int disk_truncate(void *opaque, int64_t length)
{
    Ova *ova = opaque;
    int result = bdrv_truncate(file_of(ova), ova->base + length);

    if (result == 0) {
        atomic_store(&ova->disk_length, length);
    }
    return result;
}

/* --------------------------------------------------------------- description */

static const char *escape(char *to, const char *name)
{
    size_t used = 0;

    for (; *name != '\0'; name++) {
        const char *word = *name == '&' ? "&amp;" : *name == '<' ? "&lt;"
                         : *name == '>' ? "&gt;" : *name == '"' ? "&quot;" : NULL;

        used += (size_t)snprintf(to + used, ESCAPED_BYTES - used, word != NULL ? "%s" : "%.1s",
                                 word != NULL ? word : name);
    }
    to[used] = '\0';
    return to;
}

#define CIM "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"

static const char ovf_text[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
    "    xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
    "    xmlns:rasd=\"" CIM "ResourceAllocationSettingData\"\n"
    "    xmlns:vssd=\"" CIM "VirtualSystemSettingData\">\n"
    "  <References>\n"
    "    <File ovf:id=\"file1\" ovf:href=\"%s-disk1.vmdk\" ovf:size=\"%" PRId64 "\"/>\n"
    "  </References>\n"
    "  <DiskSection>\n"
    "    <Info>The disk</Info>\n"
    "    <Disk ovf:diskId=\"disk1\" ovf:fileRef=\"file1\" ovf:capacity=\"%" PRId64 "\""
    " ovf:capacityAllocationUnits=\"byte\"\n"
    "        ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html"
    "#streamOptimized\"/>\n"
    "  </DiskSection>\n"
    "  <VirtualSystem ovf:id=\"%s\">\n"
    "    <Info>A virtual machine</Info>\n"
    "    <Name>%s</Name>\n"
    "    <OperatingSystemSection ovf:id=\"1\">\n"
    "      <Info>The kind of the guest's operating system: another</Info>\n"
    "    </OperatingSystemSection>\n"
    "    <VirtualHardwareSection>\n"
    "      <Info>The hardware</Info>\n"
    "      <System>\n"
    "        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n"
    "        <vssd:InstanceID>0</vssd:InstanceID>\n"
    "        <vssd:VirtualSystemIdentifier>%s</vssd:VirtualSystemIdentifier>\n"
    "        <vssd:VirtualSystemType>vmx-07</vssd:VirtualSystemType>\n"
    "      </System>\n"
    "      <Item>\n"
    "        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>\n"
    "        <rasd:ElementName>1 processor</rasd:ElementName>\n"
    "        <rasd:InstanceID>1</rasd:InstanceID>\n"
    "        <rasd:ResourceType>3</rasd:ResourceType>\n"
    "        <rasd:VirtualQuantity>1</rasd:VirtualQuantity>\n"
    "      </Item>\n"
    "      <Item>\n"
    "        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>\n"
    "        <rasd:ElementName>1024 MiB of memory</rasd:ElementName>\n"
    "        <rasd:InstanceID>2</rasd:InstanceID>\n"
    "        <rasd:ResourceType>4</rasd:ResourceType>\n"
    "        <rasd:VirtualQuantity>1024</rasd:VirtualQuantity>\n"
    "      </Item>\n"
    "      <Item>\n"
    "        <rasd:Address>0</rasd:Address>\n"
    "        <rasd:ElementName>SCSI controller 0</rasd:ElementName>\n"
    "        <rasd:InstanceID>3</rasd:InstanceID>\n"
    "        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>\n"
    "        <rasd:ResourceType>6</rasd:ResourceType>\n"
    "      </Item>\n"
    "      <Item>\n"
    "        <rasd:AddressOnParent>0</rasd:AddressOnParent>\n"
    "        <rasd:ElementName>Disk 1</rasd:ElementName>\n"
    "        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>\n"
    "        <rasd:InstanceID>4</rasd:InstanceID>\n"
    "        <rasd:Parent>3</rasd:Parent>\n"
    "        <rasd:ResourceType>17</rasd:ResourceType>\n"
    "      </Item>\n"
    "    </VirtualHardwareSection>\n"
    "  </VirtualSystem>\n"
    "</Envelope>\n";

/* Into ova->text; its length. */
static int64_t describe(Ova *ova, int64_t disk_bytes)
{
    char name[ESCAPED_BYTES];

    escape(name, ova->name);
    return snprintf(ova->text, sizeof(ova->text), ovf_text, name, disk_bytes, ova->capacity, name,
                    name, name);
}

/* ------------------------------------------------------------------- members */

static int64_t blocks(int64_t bytes)
{
    return (bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

/* So many digits each, whatever the digests are. */
static int64_t manifest_bytes(const Ova *ova)
{
    return (int64_t)(2 * (strlen("SHA256()= \n") + 2 * BDRV_HASH_BYTES) + strlen(ova->name) +
                     strlen(".ovf") + strlen(ova->disk));
}

static int write_member(const Ova *ova, int64_t at, const char *name, const char *text,
                        int64_t bytes)
{
    uint8_t header[TAR_BLOCK];
    int result;

    tar_header(header, name, bytes, ova->time);
    result = bdrv_pwrite(file_of(ova), header, sizeof(header), at);
    return result < 0 || text == NULL
               ? result
               : bdrv_pwrite(file_of(ova), text, (size_t)bytes, at + TAR_BLOCK);
}

/* A part of the file, as raw. */
static int open_part(const Ova *ova, int64_t offset, int64_t bytes, BlockDriverState **part)
{
    char window[80];
    const BdrvOpenOptions options = {.struct_size = sizeof(options), .options = window};

    snprintf(window, sizeof(window), "offset=%" PRId64 ",size=%" PRId64, offset, bytes);
    return bdrv_open_node(part, file_of(ova), "raw", &options);
}

/* The digest of a part of the file, in digits. */
static int digest_part(const Ova *ova, int64_t offset, int64_t bytes, BdrvHashOptions *options,
                       char digits[2 * BDRV_HASH_BYTES + 1])
{
    uint8_t digest[BDRV_HASH_BYTES] = {0};
    BlockDriverState *part;
    int result = open_part(ova, offset, bytes, &part);

    if (result == 0) {
        result = bdrv_hash(part, digest, options);
        bdrv_close(part);
    }
    for (int i = 0; i < BDRV_HASH_BYTES; i++) {
        snprintf(digits + 2 * i, 3, "%02x", digest[i]);
    }
    return result;
}

/* --------------------------------------------------------------------- begin */

/* U+FFFE and U+FFFF, which XML does not take (2.2). */
static int is_no_character(const char *utf8)
{
    return strncmp(utf8, "\xef\xbf\xbe", 3) == 0 || strncmp(utf8, "\xef\xbf\xbf", 3) == 0;
}

/* Can it stand in a tar header and in XML? */
static int is_plain(const char *name, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t bytes = print_utf8_length(name + i);

        if (bytes == 0 || (unsigned char)name[i] < 0x20 || name[i] == 0x7f ||
            is_no_character(name + i)) {
            return 0;
        }
        i += bytes;
    }
    return length > 0 && length <= NAME_BYTES;
}

/* NAME is that of the file without .ova, if it is no strange one. */
static void choose_names(Ova *ova, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    size_t length = strlen(base);

    if (length > 4 && strcasecmp(base + length - 4, ".ova") == 0) {
        length -= 4;
    }
    if (!is_plain(base, length)) {
        base = "machine";
        length = strlen(base);
    }
    snprintf(ova->name, sizeof(ova->name), "%.*s", (int)length, base);
    snprintf(ova->disk, sizeof(ova->disk), "%s-disk1.vmdk", ova->name);
}

static void choose_places(Ova *ova)
{
    ova->ovf_room = blocks(describe(ova, INT64_MAX));
    ova->base = TAR_BLOCK + ova->ovf_room + TAR_BLOCK + blocks(manifest_bytes(ova)) + TAR_BLOCK;
}

/* Of an empty tar; and that there will be digests is seen before the work. */
static int open_tar(Ova *ova, unsigned flags)
{
    const BdrvCreateOptions create = {
        .struct_size = sizeof(create), .flags = flags & BDRV_O_NO_FLUSH,
    };
    const BdrvOpenOptions open = {.struct_size = sizeof(open), .flags = flags | BDRV_O_RDWR};
    BdrvHashOptions hash = {.struct_size = sizeof(hash)};
    char digits[2 * BDRV_HASH_BYTES + 1];
    int result = bdrv_create(ova->path, "raw", &create);

    if (result == 0) {
        result = bdrv_open(&ova->tar, ova->path, "raw", &open);
    }
    if (result == 0) {
        result = bdrv_truncate(file_of(ova), ova->base);
    }
    return result < 0 ? result : digest_part(ova, 0, TAR_BLOCK, &hash, digits);
}

int ova_begin(Ova **ova, const OvaPlan *plan)
{
    *ova = calloc(1, sizeof(**ova));
    if (*ova == NULL || ((*ova)->path = strdup(plan->path)) == NULL) {
        return -1;
    }
    (*ova)->capacity = INT64_MAX; /* so that there is room for its digits */
    (*ova)->time = plan->time;
    choose_names(*ova, plan->path);
    choose_places(*ova);
    return open_tar(*ova, plan->flags);
}

int ova_storage(Ova *ova, BlockDriverState **storage)
{
    const BdrvIo io = {
        .struct_size = sizeof(io), .read = disk_read, .write = disk_write, .flush = disk_flush,
        .getlength = disk_length, .truncate = disk_truncate,
    };
    const BdrvOpenOptions options = {.struct_size = sizeof(options), .flags = BDRV_O_RDWR};

    return bdrv_open_io(storage, ova->disk, &io, ova, "raw", &options);
}

/* -------------------------------------------------------------------- finish */

/* Blanks behind the text, if it needs less blocks than were left for it. */
static int write_ovf(Ova *ova, int64_t *bytes)
{
    char name[NAME_BYTES + 8];

    *bytes = describe(ova, disk_length(ova));
    while (*bytes <= ova->ovf_room - TAR_BLOCK) {
        ova->text[(*bytes)++] = '\n';
    }
    snprintf(name, sizeof(name), "%s.ovf", ova->name);
    return write_member(ova, 0, name, ova->text, *bytes);
}

static int write_manifest(Ova *ova, const char *ovf_digits, const char *disk_digits)
{
    char name[NAME_BYTES + 8];

    snprintf(ova->text, sizeof(ova->text), "SHA256(%s.ovf)= %s\nSHA256(%s)= %s\n", ova->name,
             ovf_digits, ova->disk, disk_digits);
    snprintf(name, sizeof(name), "%s.mf", ova->name);
    return write_member(ova, TAR_BLOCK + ova->ovf_room, name, ova->text, manifest_bytes(ova));
}

/* What the disk says of itself: its format may have made it longer. */
static int ask_capacity(Ova *ova)
{
    BlockDriverState *part, *disk = NULL;
    int result = open_part(ova, ova->base, disk_length(ova), &part);

    if (result == 0) {
        result = bdrv_open_node(&disk, part, "vmdk", NULL);
        bdrv_close(part);
    }
    if (result == 0) {
        ova->capacity = bdrv_getlength(disk);
        bdrv_close(disk);
    }
    return result;
}

static int write_all(Ova *ova, BdrvHashOptions *hash)
{
    BdrvHashOptions quick = {.struct_size = sizeof(quick)};
    const int64_t length = disk_length(ova);
    char ovf_digits[2 * BDRV_HASH_BYTES + 1], disk_digits[2 * BDRV_HASH_BYTES + 1];
    int64_t ovf_bytes = 0;
    int result = bdrv_truncate(file_of(ova), ova->base + blocks(length) + 2 * TAR_BLOCK);

    if (result == 0) {
        result = ask_capacity(ova);
    }
    if (result == 0) {
        result = write_ovf(ova, &ovf_bytes);
    }
    if (result == 0) {
        result = digest_part(ova, TAR_BLOCK, ovf_bytes, &quick, ovf_digits);
    }
    if (result == 0) {
        result = digest_part(ova, ova->base, length, hash, disk_digits);
    }
    if (result == 0) {
        result = write_manifest(ova, ovf_digits, disk_digits);
    }
    if (result == 0) {
        result = write_member(ova, ova->base - TAR_BLOCK, ova->disk, NULL, length);
    }
    return result;
}

/* The tar is closed in any case, and durable after success. */
int ova_finish(Ova *ova, BdrvHashOptions *hash)
{
    int result = write_all(ova, hash);
    int closed = bdrv_close(ova->tar); /* which flushes */

    ova->tar = NULL;
    return result < 0 ? result : closed;
}

const char *ova_disk(Ova *ova)
{
    snprintf(ova->text, sizeof(ova->text), "%s:%s", ova->path, ova->disk);
    return ova->text;
}

void ova_free(Ova *ova)
{
    if (ova != NULL) {
        bdrv_close(ova->tar);
        free(ova->path);
        free(ova);
    }
}
