/* SPDX-License-Identifier: MIT */
/*
 * built.c - see built.h.  All of it is VMDK.
 *
 * The tables of an empty sparse extent are zeros but for the directories, so that they
 * can be moved about by changing these alone.
 */
#include "built.h"

#include "build-cowd.h"
#include "streams.h"

/* What is done to a sparse extent in the usual shape. */
enum {
    NO_PRIMARY = 1 << 0,    /* GDEs of the primary directory are 0 */
    NO_SECOND = 1 << 1,     /* those of the redundant one */
    FIRST_MISSING = 1 << 2, /* there is no GT for the beginning of the disk */
    REVERSED = 1 << 3,      /* GTs lie in falling order */
    BEHIND = 1 << 4,        /* tables are at the end of the file, and their place spoilt */
    TEXT_BEHIND = 1 << 5,   /* the descriptor is at the end, in fewer sectors */
    TEXT_CRLF = 1 << 6,
    NO_NEWLINES = 1 << 7,   /* neither the bytes nor their flag */
    WHOLE_CAPACITY = 1 << 8, /* the header counts the last grain as a whole */
    EXCHANGED = 1 << 9      /* the first set of tables is the primary one */
};

typedef struct Quirk {
    Shape shape;
    unsigned changes;
    int64_t ahead; /* bytes behind what is in use */
} Quirk;

static void add_file(ImageFiles *files, const char *name, uint8_t *bytes, int64_t size)
{
    ck_assert_uint_lt(files->count, IMAGE_FILES_MAX);
    files->list[files->count].name = name;
    files->list[files->count].bytes = bytes;
    files->list[files->count++].size = size;
}

static void add_text(ImageFiles *files, const char *create_type, const char *lines)
{
    char *text = malloc(1024);

    ck_assert_ptr_nonnull(text);
    snprintf(text, 1024, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\n"
             "createType=\"%s\"\n%s", BUILD_CID, create_type, lines);
    add_file(files, NULL, (uint8_t *)text, (int64_t)strlen(text));
}

/* ------------------------------------------------------------ tables changed */

static void clear_directory(Built *b, int set)
{
    memset(build_gde(b, set, 0), 0, (size_t)(b->tables * 4));
}

static void reverse_directory(Built *b, int set)
{
    for (int64_t i = 0; i < b->tables; i++) {
        bdrv_store_le32(build_gde(b, set, i),
                        (uint32_t)(b->gd[set] + b->gd_sectors +
                                   (b->tables - 1 - i) * b->gt_sectors));
    }
}

/* All tables, from the first to the end, move by as much as the file is long. */
static void move_tables(Built *b)
{
    const int64_t start = b->gd[1] ? b->gd[1] : b->gd[0], end = b->size, by = end - start * SECTOR;

    ck_assert_int_eq(by % SECTOR, 0);
    memcpy(b->bytes + end, b->bytes + start * SECTOR, (size_t)by);
    memset(b->bytes + start * SECTOR, 0xff, (size_t)by);
    for (int s = 0; s < 2; s++) {
        b->gd[s] += b->gd[s] ? by / SECTOR : 0;
        for (int64_t i = 0; b->gd[s] && i < b->tables; i++) {
            uint8_t *gde = build_gde(b, s, i);

            bdrv_store_le32(gde, bdrv_load_le32(gde) + (uint32_t)(by / SECTOR));
        }
    }
    b->size = bdrv_round_up(end + by, b->grain * SECTOR);
    bdrv_store_le64(b->bytes + AT_RGD, (uint64_t)b->gd[1]);
    bdrv_store_le64(b->bytes + AT_GD, (uint64_t)b->gd[0]);
}

static void exchange_sets(Built *b)
{
    const int64_t first = b->gd[0];

    b->gd[0] = b->gd[1];
    b->gd[1] = first;
    bdrv_store_le64(b->bytes + AT_RGD, (uint64_t)b->gd[1]);
    bdrv_store_le64(b->bytes + AT_GD, (uint64_t)b->gd[0]);
}

static void change_tables(Built *b, unsigned changes)
{
    for (int s = 0; s < 2; s++) {
        if (b->gd[s] && changes & REVERSED) {
            reverse_directory(b, s);
        }
    }
    if (changes & BEHIND) {
        move_tables(b);
    }
    if (changes & EXCHANGED) {
        exchange_sets(b);
    }
    if (changes & NO_PRIMARY) {
        clear_directory(b, 0);
    }
    if (changes & NO_SECOND) {
        clear_directory(b, 1);
    }
    for (int s = 0; s < 2; s++) {
        if (b->gd[s] && changes & FIRST_MISSING) {
            bdrv_store_le32(build_gde(b, s, 0), 0);
        }
    }
}

/* ------------------------------------------------------- text and header changed */

static void end_lines_with_crlf(char *text)
{
    char copy[20 * SECTOR], *to = text;

    snprintf(copy, sizeof copy, "%s", text);
    for (const char *c = copy; *c; c++) {
        if (*c == '\n') {
            *to++ = '\r';
        }
        *to++ = *c;
    }
    *to = '\0';
}

static void move_text(Built *b)
{
    enum {
        SECTORS = 3
    };

    memcpy(b->bytes + b->size, b->bytes + SECTOR, SECTORS * SECTOR);
    memset(b->bytes + SECTOR, 0xee, 20 * SECTOR);
    bdrv_store_le64(b->bytes + AT_DESCRIPTOR, (uint64_t)(b->size / SECTOR));
    bdrv_store_le64(b->bytes + AT_DESCRIPTOR_SIZE, SECTORS);
    b->size = bdrv_round_up(b->size + SECTORS * SECTOR, b->grain * SECTOR);
    bdrv_store_le64(b->bytes + AT_OVERHEAD, (uint64_t)(b->size / SECTOR));
}

static void change_header(Built *b, unsigned changes)
{
    const uint32_t flags = bdrv_load_le32(b->bytes + AT_FLAGS);

    if (changes & TEXT_CRLF) {
        end_lines_with_crlf((char *)b->bytes + SECTOR);
    }
    if (changes & TEXT_BEHIND) {
        move_text(b);
    }
    if (changes & NO_NEWLINES) {
        bdrv_store_le32(b->bytes + AT_FLAGS, flags & ~1u);
        memset(b->bytes + AT_NEWLINES, 0, 4);
    }
    if (changes & WHOLE_CAPACITY) {
        bdrv_store_le64(b->bytes + AT_CAPACITY, (uint64_t)bdrv_round_up(b->sectors, b->grain));
    }
}

static Built build_quirk(const Quirk *quirk, int64_t sectors)
{
    Shape shape = quirk->shape;
    Built b;

    shape.sectors = sectors;
    b = build_sparse(shape);
    change_tables(&b, quirk->changes);
    change_header(&b, quirk->changes);
    b.size += quirk->ahead;
    ck_assert_int_le(b.size, BUILD_ROOM);
    return b;
}

static void build_one_sparse(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    Built b = build_quirk(kind->quirk, size / SECTOR);

    add_file(files, NULL, b.bytes, b.size);
}

/* ------------------------------------------------------------ several extents */

static void add_sparse(ImageFiles *files, const char *name, int64_t sectors)
{
    Built b = build_sparse((Shape){.sectors = sectors, .without = NO_DESCRIPTOR});

    add_file(files, name, b.bytes, b.size);
}

static uint8_t *zeros(int64_t bytes)
{
    uint8_t *made = calloc(1, (size_t)bytes);

    ck_assert_ptr_nonnull(made);
    return made;
}

/* The descriptor is in the first extent; then come bytes, and another sparse one. */
static void build_embedded_first(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    const int64_t first = 2048, second = 777, third = size / SECTOR - first - second;
    char text[512];
    Built b;

    (void)kind;
    snprintf(text, sizeof text, "version=1\nCID=%08x\nparentCID=ffffffff\n"
             "createType=\"twoGbMaxExtentSparse\"\nRW %d SPARSE \"an old name\"\n"
             "RW %d FLAT \"second\" 3\nRW %" PRId64 " SPARSE \"third\"\n", BUILD_CID, (int)first,
             (int)second, third);
    b = build_sparse((Shape){.sectors = first, .text = text});
    add_file(files, NULL, b.bytes, b.size);
    add_file(files, "second", zeros((second + 5) * SECTOR), (second + 5) * SECTOR);
    add_sparse(files, "third", third);
}

/* Extents end in the midst of grains. */
static void build_odd_extents(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    const int64_t third = size / SECTOR - 100 - 3333;
    char lines[256];

    (void)kind;
    snprintf(lines, sizeof lines, "RW 100 SPARSE \"one\"\nRW 3333 SPARSE \"two\"\nRW %" PRId64
             " SPARSE \"three\"\n", third);
    add_text(files, "twoGbMaxExtentSparse", lines);
    add_sparse(files, "one", 100);
    add_sparse(files, "two", 3333);
    add_sparse(files, "three", third);
}

/* Three parts of one file, in another order. */
static void build_parts(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    const int64_t rest = size / SECTOR - 1001 - 2048;
    char lines[256];

    (void)kind;
    snprintf(lines, sizeof lines, "RW 1001 FLAT \"bytes\" %" PRId64 "\nRW %" PRId64
             " FLAT \"bytes\" 2048\nRW 2048 FLAT \"bytes\" 0\n", 2048 + rest, rest);
    add_text(files, "custom", lines);
    add_file(files, "bytes", zeros(size), size);
}

static void build_mixed(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    const int64_t rest = size / SECTOR - 3000 - 1111;
    Built b = build_cowd(3000, 8);
    char lines[256];

    (void)kind;
    snprintf(lines, sizeof lines, "RW 3000 VMFSSPARSE \"cow\"\nRW 1111 VMFS \"flat\"\nRW %" PRId64
             " SPARSE \"sparse\"\n", rest);
    add_text(files, "custom", lines);
    add_file(files, "cow", b.bytes, b.size);
    add_file(files, "flat", zeros(1111 * SECTOR), 1111 * SECTOR);
    add_sparse(files, "sparse", rest);
}

/* ----------------------------------------------------------- COWD and seSparse */

/* ESXi makes the file longer, in steps, than freeSector says. */
static void build_one_cowd(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    const Quirk *quirk = kind->quirk;
    Built b = build_root(size / SECTOR, quirk->shape.grain);

    add_file(files, NULL, b.bytes, b.size + quirk->ahead);
}

/* As ESXi leaves it when all of a small disk has been written, in falling order. */
static void build_full_sesparse(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    enum {
        GRAIN_SECTORS = 8,
        GD = 4096,
        GTS = 6144,
        GRAINS = 12288
    };
    const uint64_t capacity = (uint64_t)(size / SECTOR);
    const uint64_t grains = (capacity + GRAIN_SECTORS - 1) / GRAIN_SECTORS;
    const uint64_t fields[] = {
        0xcafebabe, UINT64_C(0x200000001), capacity, GRAIN_SECTORS, 64, 0, 0, 0, 0, 0, 1, 1, 2, 2,
        2048, 2048, GD, 2048, GTS, 2048, 8192, 2048, 10240, 2048, GRAINS, grains * GRAIN_SECTORS};
    const int64_t length = (int64_t)(GRAINS + grains * GRAIN_SECTORS) * SECTOR;
    uint8_t *bytes = zeros(length);
    char lines[128];

    (void)kind;
    ck_assert_uint_le(grains, 4096);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        bdrv_store_le64(bytes + i * 8, fields[i]);
    }
    bdrv_store_le64(bytes + SECTOR, 0xcafecafe);
    bdrv_store_le64(bytes + GD * SECTOR, UINT64_C(1) << 60);
    for (uint64_t i = 0; i < grains; i++) {
        const uint64_t place = grains - 1 - i;

        bdrv_store_le64(bytes + GTS * SECTOR + i * 8,
                        UINT64_C(3) << 60 | (place & 0xfff) << 48 | place >> 12);
    }
    snprintf(lines, sizeof lines, "RW %" PRIu64 " SESPARSE \"grains\"\n", capacity);
    add_text(files, "seSparse", lines);
    add_file(files, "grains", bytes, length);
}

/* ------------------------------------------------------------------ the list */

#define SPARSE(title, grain_sectors, ...)                                           \
    {                                                                               \
        .name = "built: " title, .format = "vmdk", .cluster = (grain_sectors) * 512, \
        .build = build_one_sparse,                                                  \
        .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES,                     \
        .quirk = &(const Quirk){.shape.grain = (grain_sectors), __VA_ARGS__}         \
    }

#define FILES(title, cluster_bytes, builder, more_facts)                            \
    {                                                                               \
        .name = "built: " title, .format = "vmdk", .cluster = (cluster_bytes),       \
        .build = (builder), .facts = (more_facts)                                   \
    }

#define COWD(title, grain_sectors, bytes_ahead)                                     \
    {                                                                               \
        .name = "built: " title, .format = "vmdk", .cluster = (grain_sectors) * 512, \
        .build = build_one_cowd,                                                    \
        .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES,                     \
        .quirk = &(const Quirk){.shape.grain = (grain_sectors), .ahead = (bytes_ahead)} \
    }

static const ImageKind built[] = {
    SPARSE("grains of a sector", 1, .changes = 0),
    SPARSE("grains of 4 KiB", 8, .changes = 0),
    SPARSE("grains of 8 KiB", 16, .changes = 0),
    SPARSE("grains of 16 KiB", 32, .changes = 0),
    SPARSE("grains of 32 KiB", 64, .changes = 0),
    SPARSE("grains of 128 KiB", 256, .changes = 0),
    SPARSE("grains of 512 KiB", 1024, .changes = 0),
    SPARSE("grains of 2 MiB", 4096, .changes = 0),
    SPARSE("128 entries in a table", 16, .shape.gtes = 128),
    SPARSE("256 entries in a table", 8, .shape.gtes = 256),
    SPARSE("2048 entries in a table", 1, .shape.gtes = 2048),
    SPARSE("65536 entries in a table", 8, .shape.gtes = 65536),
    SPARSE("no redundant tables", 8, .shape.without = NO_REDUNDANT),
    SPARSE("no tables", 8, .shape.without = NO_TABLES),
    SPARSE("no tables of one set", 8, .shape.without = NO_TABLES | NO_REDUNDANT),
    SPARSE("the first table is missing", 8, .changes = FIRST_MISSING),
    SPARSE("redundant tables only", 8, .changes = NO_PRIMARY),
    SPARSE("primary tables only", 8, .changes = NO_SECOND),
    SPARSE("tables in falling order", 8, .changes = REVERSED),
    SPARSE("tables at the end of the file", 16, .changes = BEHIND),
    SPARSE("primary tables before the others", 8, .changes = EXCHANGED),
    SPARSE("descriptor at the end of the file", 128, .changes = TEXT_BEHIND),
    SPARSE("descriptor with CRLF", 128, .changes = TEXT_CRLF),
    SPARSE("no newline bytes", 128, .changes = NO_NEWLINES),
    { .name = "built: capacity of whole grains", .format = "vmdk", .cluster = 65536,
      .build = build_one_sparse, .quirk = &(const Quirk){.changes = WHOLE_CAPACITY},
      .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_TRUNCATES | IMAGE_ROUNDED },
    SPARSE("version 2, zeroed grains", 8, .shape.version = 2, .shape.flags = 4),
    SPARSE("version 3", 128, .shape.version = 3),
    SPARSE("unknown flags that do not matter", 128, .shape.flags = 0xf8),
    SPARSE("room behind the grains", 128, .ahead = 1024 * 1024),
    FILES("descriptor in the first of three extents", 65536, build_embedded_first, 0),
    FILES("extents that end in the midst of grains", 65536, build_odd_extents, 0),
    FILES("parts of one file in another order", 65536, build_parts, 0),
    FILES("extents of three kinds", 4096, build_mixed, IMAGE_TRUNCATES),
    COWD("COWD, room ahead of freeSector", 1, 1024 * 1024),
    COWD("COWD, grains of 4 KiB", 8, 0),
    COWD("COWD, grains of 1 MiB", 2048, 0),
    FILES("seSparse, all of it in use", 4096, build_full_sesparse, 0),
};

const ImageKind *built_kind(size_t index)
{
    return &built[index];
}

size_t built_kind_count(void)
{
    return sizeof built / sizeof *built;
}

/* ------------------------------------------------------------------- streams */

#ifdef BDRV_HAVE_LIBDEFLATE

enum {
    STYLES_MAX = 32,
    STREAM_GENERATION = 3
};

static const int stream_grains[] = {0, 1, 7, 30, 64, -1};

/* Grains are stored, not compressed: each takes more than a grain. */
static void build_stream(const ImageKind *kind, int64_t size, ImageFiles *files)
{
    Stream s = stream_build(kind->quirk, size / SECTOR, stream_grains, STREAM_GENERATION);

    for (int i = 0; stream_grains[i] >= 0; i++) {
        const int64_t at = (int64_t)stream_grains[i] * STREAM_GRAIN;

        if (at < size) {
            pattern_fill(files->initial + at, (size_t)bdrv_min(STREAM_GRAIN, size - at), at,
                         STREAM_GENERATION);
        }
    }
    add_file(files, NULL, s.bytes, s.size);
}

const ImageKind *built_read_only_kind(size_t index)
{
    static ImageKind streams[STYLES_MAX];
    static char names[STYLES_MAX][64];

    ck_assert_uint_lt(index, STYLES_MAX);
    snprintf(names[index], sizeof names[index], "built: stream, %s", stream_styles[index].name);
    streams[index] = (ImageKind){.name = names[index], .format = "vmdk", .cluster = STREAM_GRAIN,
                                 .build = build_stream, .quirk = &stream_styles[index],
                                 .facts = IMAGE_IN_MEMORY | IMAGE_MAPS | IMAGE_READ_ONLY};
    return &streams[index];
}

size_t built_read_only_kind_count(void)
{
    size_t count = 0;

    while (stream_styles[count].name) {
        count++;
    }
    return count;
}

#else

const ImageKind *built_read_only_kind(size_t index)
{
    (void)index;
    return NULL;
}

size_t built_read_only_kind_count(void)
{
    return 0;
}

#endif
