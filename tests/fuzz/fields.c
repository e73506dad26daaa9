/* SPDX-License-Identifier: MIT */
/*
 * fields.c - see fuzz.h: images changed where it matters.  It knows where header
 * fields, table entries, markers and lines of a descriptor are, as the format
 * document has it, but not what they may be: nothing of the driver is used.
 *
 * Changes that alone would only be refused come with what makes them credible:
 * both copies of a table, capacity and the extent's line, the footer too.
 */
#include "fuzz.h"

#include <string.h>

#include "bdrv-bytes.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    SETS = 2,
    TABLES_MAX = 16 /* entries of a directory that are worth a change */
};

typedef struct Subject {
    uint8_t *bytes;
    size_t size, room;
    FuzzChoices *choices;
} Subject;

uint32_t fuzz_choice(FuzzChoices *choices, uint32_t below)
{
    uint32_t number = 0;

    for (uint32_t range = 1; range < below && range < 1u << 24; range <<= 8) {
        number = number << 8 |
                 (choices->at < choices->size ? choices->bytes[choices->at++] : 0u);
    }
    return number % below;
}

static uint32_t choose(Subject *s, uint32_t below)
{
    return fuzz_choice(s->choices, below);
}

/* ------------------------------------------------------------------- numbers */

static uint64_t load(const Subject *s, uint64_t at, unsigned width)
{
    uint64_t number = 0;

    for (unsigned i = width; at < s->size && width <= s->size - at && i-- > 0;) {
        number = number << 8 | s->bytes[at + i];
    }
    return number;
}

static void store(Subject *s, uint64_t at, unsigned width, uint64_t number)
{
    for (unsigned i = 0; at < s->size && width <= s->size - at && i < width; i++) {
        s->bytes[at + i] = (uint8_t)(number >> (8 * i));
    }
}

/* What a number may become that was old: at an edge of something. */
static uint64_t number(Subject *s, uint64_t old)
{
    static const uint64_t edges[] = {
        0, 1, 2, 3, 4, 8, 127, 128, 129, 511, 512, 513, 4096, 65535, 65536, 0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, UINT64_C(1) << 53, UINT64_C(1) << 54, INT64_MAX,
        UINT64_MAX,
    };
    const uint64_t sectors = s->size / SECTOR;

    switch (choose(s, 9)) {
    case 0:
        return edges[choose(s, sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return old + 1;
    case 2:
        return old - 1;
    case 3:
        return old * 2;
    case 4:
        return old / 2;
    case 5:
        return old ^ UINT64_C(1) << choose(s, 64);
    case 6:
        return sectors + choose(s, 5) - 2;
    case 7:
        return choose(s, (uint32_t)sectors + 1);
    default:
        return choose(s, 256);
    }
}

/* ------------------------------------------------------------------- layout */

typedef enum Layout {
    LAYOUT_TEXT,
    LAYOUT_HOSTED,
    LAYOUT_COWD,
    LAYOUT_SESPARSE
} Layout;

/* By two letters, so that a damaged magic number does not hide it. */
static Layout layout_of(const Subject *s)
{
    if (s->size < 4 * SECTOR) {
        return LAYOUT_TEXT;
    }
    if (s->bytes[0] == 'C' || memcmp(s->bytes + 2, "WD", 2) == 0) {
        return LAYOUT_COWD;
    }
    if (s->bytes[0] == 0xbe || s->bytes[1] == 0xba) {
        return LAYOUT_SESPARSE;
    }
    return s->bytes[0] == 'K' || memcmp(s->bytes + 1, "DM", 2) == 0 ? LAYOUT_HOSTED
                                                                    : LAYOUT_TEXT;
}

typedef struct Field {
    uint16_t at;
    uint8_t width;
} Field;

static Field choose_field(Subject *s, Layout layout)
{
    static const Field hosted[] = {
        { 0, 4 }, { 4, 4 }, { 8, 4 }, { 12, 8 }, { 20, 8 }, { 28, 8 }, { 36, 8 }, { 44, 4 },
        { 48, 8 }, { 56, 8 }, { 64, 8 }, { 72, 1 }, { 73, 4 }, { 77, 2 },
    };
    static const Field cowd[] = {
        { 0, 4 }, { 4, 4 }, { 8, 4 }, { 12, 4 }, { 16, 4 }, { 20, 4 }, { 24, 4 }, { 28, 4 },
        { 32, 4 }, { 36, 4 }, { 40, 4 }, { 1648, 4 }, { 1680, 4 },
    };

    if (layout == LAYOUT_HOSTED) {
        return hosted[choose(s, sizeof(hosted) / sizeof(hosted[0]))];
    }
    if (layout == LAYOUT_COWD) {
        return cowd[choose(s, sizeof(cowd) / sizeof(cowd[0]))];
    }
    return (Field){ .at = (uint16_t)(8 * choose(s, 26)), .width = 8 };
}

/* Where the directories and tables are, as far as that can be followed. */
typedef struct Tables {
    uint64_t gd[SETS]; /* bytes */
    uint64_t gts;      /* seSparse: where table 0 is */
    unsigned width;    /* of an entry */
    uint32_t gtes;
} Tables;

static Tables find_tables(const Subject *s, Layout layout)
{
    Tables t = { .width = 4, .gtes = 4096 };

    if (layout == LAYOUT_HOSTED) {
        uint64_t header = load(s, 56, 8) == UINT64_MAX ? s->size - 2 * SECTOR : 0;
        t.gd[0] = load(s, header + 56, 8) * SECTOR;
        t.gd[1] = load(s, header + 48, 8) * SECTOR;
        t.gtes = (uint32_t)load(s, header + 44, 4);
    } else if (layout == LAYOUT_COWD) {
        t.gd[0] = load(s, 20, 4) * SECTOR;
    } else {
        t.gd[0] = load(s, 16 * 8, 8) * SECTOR;
        t.gts = load(s, 18 * 8, 8) * SECTOR;
        t.width = 8;
    }
    t.gtes = t.gtes > 0 ? t.gtes : 1;
    return t;
}

static uint64_t entry_at(const Subject *s, const Tables *t, int set, uint32_t table,
                         uint32_t entry)
{
    uint64_t gde = load(s, t->gd[set] + (uint64_t)table * t->width, t->width);
    uint64_t gt = t->width == 4 ? gde * SECTOR : t->gts + (gde & 0xffffffff) * 64 * SECTOR;

    return gt + (uint64_t)entry * t->width;
}

/* Entries lie at the beginning of tables more often than at their ends. */
static uint32_t choose_entry(Subject *s, const Tables *t)
{
    return choose(s, 4) > 0 ? choose(s, 32) % t->gtes : choose(s, t->gtes);
}

/* ------------------------------------------------------------ changes: tables */

static void change_entry(Subject *s, Layout layout)
{
    Tables t = find_tables(s, layout);
    uint32_t sets = 1 + choose(s, 3), table = choose(s, 2), entry = choose_entry(s, &t);
    uint64_t other = load(s, entry_at(s, &t, 0, table, choose_entry(s, &t)), t.width);
    uint64_t new_value = choose(s, 2) == 0
                             ? other
                             : number(s, load(s, entry_at(s, &t, 0, table, entry), t.width));

    for (int set = 0; set < SETS; set++) {
        if (sets >> set & 1) {
            store(s, entry_at(s, &t, set, table, entry), t.width, new_value);
        }
    }
}

/* A grain that is there: its place is behind all others. */
static void add_grain(Subject *s, Layout layout)
{
    Tables t = find_tables(s, layout);
    uint64_t grain = (layout == LAYOUT_HOSTED ? load(s, 20, 8) : layout == LAYOUT_COWD
                          ? load(s, 16, 4) : 8) * SECTOR;
    uint32_t table = choose(s, 2), entry = choose_entry(s, &t);
    size_t start = (s->size + SECTOR - 1) / SECTOR * SECTOR;

    if (grain <= s->room && start <= s->room - grain && layout != LAYOUT_SESPARSE) {
        memset(s->bytes + s->size, 0, start - s->size);
        memset(s->bytes + start, (int)entry, grain);
        s->size = start + grain;
        for (int set = 0; set < SETS; set++) {
            store(s, entry_at(s, &t, set, table, entry), t.width, start / SECTOR);
        }
    }
}

static void change_directory(Subject *s, Layout layout)
{
    Tables t = find_tables(s, layout);
    int set = (int)choose(s, SETS);
    uint64_t at = t.gd[set] + (uint64_t)choose(s, TABLES_MAX) * t.width;
    uint64_t other = load(s, t.gd[choose(s, SETS)] + (uint64_t)choose(s, TABLES_MAX) * t.width,
                          t.width);

    store(s, at, t.width, choose(s, 2) == 0 ? other : number(s, load(s, at, t.width)));
}

/* A table goes elsewhere, with all that is in it. */
static void move_sectors(Subject *s, Layout layout)
{
    Tables t = find_tables(s, layout);
    int set = (int)choose(s, SETS);
    uint64_t from = choose(s, 2) == 0 ? t.gd[set] : entry_at(s, &t, set, 0, 0);
    uint64_t to = choose(s, (uint32_t)(s->size / SECTOR)) * (uint64_t)SECTOR;
    uint64_t bytes = SECTOR * (1 + (uint64_t)choose(s, 4));

    if (from < s->size && bytes <= s->size - from && bytes <= s->size - to) {
        memmove(s->bytes + to, s->bytes + from, bytes);
        if (layout == LAYOUT_HOSTED && from == t.gd[set]) {
            store(s, set == 0 ? 56 : 48, 8, to / SECTOR);
        }
    }
}

/* -------------------------------------------------- changes: headers, markers */

static void change_field(Subject *s, Layout layout)
{
    Field field = choose_field(s, layout);
    uint64_t at = field.at, old;

    if (layout == LAYOUT_HOSTED && choose(s, 4) == 0) {
        at += s->size - 2 * SECTOR; /* the footer's */
    } else if (layout == LAYOUT_SESPARSE && choose(s, 4) == 0) {
        at = SECTOR + at % 32; /* the volatile header's */
    }
    old = load(s, at, field.width);
    store(s, at, field.width, number(s, old));
}

/* The size of the disk: in the header and in the descriptor. */
static void change_capacity(Subject *s, Layout layout)
{
    unsigned width = layout == LAYOUT_COWD ? 4 : 8;
    uint64_t at = layout == LAYOUT_SESPARSE ? 16 : 12;
    uint64_t sectors = number(s, load(s, at, width));
    char *text = (char *)s->bytes + SECTOR, *line;
    char new_text[24];

    store(s, at, width, sectors);
    if (layout == LAYOUT_HOSTED) {
        line = memchr(text, 'R', s->size - SECTOR > 600 ? 600 : 0);
        while (line != NULL && line + 40 < (char *)s->bytes + s->size && memcmp(line, "RW ", 3) != 0) {
            line = memchr(line + 1, 'R', 600);
            if (line >= text + 600) {
                line = NULL;
            }
        }
        if (line != NULL && line + 40 < (char *)s->bytes + s->size) {
            size_t old = strspn(line + 3, "0123456789");
            size_t digits = (size_t)snprintf(new_text, sizeof(new_text), "%llu",
                                             (unsigned long long)sectors);
            /* Zeros in front keep the line's length. */
            for (size_t i = 0; i < old; i++) {
                line[3 + i] = i + digits < old ? '0' : new_text[i + digits - old];
            }
        }
    }
}

static void change_marker(Subject *s)
{
    size_t at = choose(s, (uint32_t)(s->size / SECTOR)) * (size_t)SECTOR;

    switch (choose(s, 4)) {
    case 0: /* size: 0 is what tells a marker from a grain */
        store(s, at + 8, 4, number(s, load(s, at + 8, 4)));
        break;
    case 1: /* type */
        store(s, at + 12, 4, choose(s, 5));
        break;
    case 2: /* place on the disk, or number of sectors */
        store(s, at, 8, number(s, load(s, at, 8)));
        break;
    default: /* a new one in its place */
        if (at + SECTOR <= s->size) {
            memset(s->bytes + at, 0, SECTOR);
            store(s, at, 8, choose(s, 16));
            store(s, at + 12, 4, choose(s, 4));
        }
        break;
    }
}

/* The head's copy at the end, or the other way round. */
static void copy_footer(Subject *s)
{
    size_t footer = s->size - 2 * SECTOR;

    if (choose(s, 2) == 0) {
        memmove(s->bytes + footer, s->bytes, SECTOR);
    } else if (memcmp(s->bytes + footer, "KDMV", 4) == 0) {
        memmove(s->bytes, s->bytes + footer, SECTOR);
    }
}

/* ------------------------------------------------------------- changes: bytes */

static void change_length(Subject *s)
{
    size_t sectors = choose(s, 200);

    if (choose(s, 2) == 0) {
        size_t cut = choose(s, 4) > 0 ? sectors * SECTOR : sectors;
        s->size = cut < s->size ? s->size - cut : 1;
    } else if (sectors * SECTOR <= s->room - s->size) {
        memset(s->bytes + s->size, 0, sectors * SECTOR);
        s->size += sectors * SECTOR;
    }
}

static void change_sector(Subject *s)
{
    uint32_t sectors = (uint32_t)(s->size / SECTOR);
    size_t at = choose(s, sectors) * (size_t)SECTOR, from = choose(s, sectors) * (size_t)SECTOR;

    if (choose(s, 2) == 0) {
        memset(s->bytes + at, 0, SECTOR);
    } else {
        memmove(s->bytes + at, s->bytes + from, SECTOR);
    }
}

static void change_byte(Subject *s)
{
    size_t at = choose(s, (uint32_t)s->size);

    s->bytes[at] = choose(s, 2) == 0 ? (uint8_t)choose(s, 256)
                                     : (uint8_t)(s->bytes[at] ^ 1u << choose(s, 8));
}

/* Bytes that only the targets look at. */
static void change_control(Subject *s)
{
    size_t at = 496 + choose(s, 14);

    s->bytes[at] = at == 508 ? (uint8_t)(0xe0 + choose(s, 16)) : (uint8_t)choose(s, 256);
}

/* -------------------------------------------------------------- changes: text */

static const char *const lines[] = {
    "version=1\n", "version=3\n", "CID=fffffffe\n", "CID=123\n", "parentCID=ffffffff\n",
    "parentCID=11111111\n", "createType=\"monolithicSparse\"\n", "createType=\"vmfsSparse\"\n",
    "createType=\"custom\"\n", "createType=\"fullDevice\"\n", "isNativeSnapshot=\"no\"\n",
    "createType=\"streamOptimized\"\n", "parentFileNameHint=\"parent.vmdk\"\n",
    "parentFileNameHint=\"C:\\\\parent.vmdk\"\n", "encoding=\"windows-1252\"\n",
    "RW 256 SPARSE \"sparse.vmdk\"\n", "RW 100 FLAT \"flat.vmdk\" 0\n",
    "RDONLY 100 VMFS \"flat.vmdk\" 100\n", "RW 200 VMFSSPARSE \"cowd.vmdk\"\n",
    "RW 256 SESPARSE \"sesparse.vmdk\"\n", "RW 200 ZERO\n", "NOACCESS 17 FLAT \"gone.vmdk\" 0\n",
    "RW 256 SPARSE \"stream.vmdk\"\n", "RW 100 FLAT \"../flat.vmdk\" 0\n",
    "RW 100 VMFSRDM \"/dev/sda\" 0\n", "RW 9223372036854775807 ZERO\n",
    "RW 18014398509481983 ZERO\n", "ddb.adapterType = \"ide\"\n", "ddb.geometry.heads = \"16\"\n",
    "ddb.geometry.cylinders = \"100\"\n", "ddb.geometry.sectors = \"63\"\n", "# comment\n",
    "changeTrackPath=\"disk-ctk.vmdk\"\n", "ddb.uuid = \"60 00\"\n", "\r\n", "\n", "\"", "\\",
    "ddb.thinProvisioned = \"1\"\n", "RW 100 FLAT \"parent-flat.vmdk\" 8\n",
};

enum {
    LINES = sizeof(lines) / sizeof(lines[0])
};

/* The line around a place: where it begins, and its length with its end. */
static size_t line_around(const Subject *s, size_t at, size_t *length)
{
    size_t start = at, end = at;

    while (start > 0 && s->bytes[start - 1] != '\n') {
        start--;
    }
    while (end < s->size && s->bytes[end++] != '\n') {
    }
    *length = end - start;
    return start;
}

/* Makes what is at a place something else, of another length. */
static void replace(Subject *s, size_t at, size_t old, const void *with, size_t bytes)
{
    if (bytes > old && bytes - old > s->room - s->size) {
        return;
    }
    memmove(s->bytes + at + bytes, s->bytes + at + old, s->size - at - old);
    memcpy(s->bytes + at, with, bytes);
    s->size += bytes - old;
}

static void change_number(Subject *s, size_t start, size_t length)
{
    char digits[24];
    size_t at = start, end;
    uint64_t old = 0;

    while (at < start + length && (s->bytes[at] < '0' || s->bytes[at] > '9')) {
        at++;
    }
    end = at;
    while (end < start + length && s->bytes[end] >= '0' && s->bytes[end] <= '9') {
        old = old * 10 + s->bytes[end++] - '0';
    }
    replace(s, at, end - at, digits,
            (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number(s, old)));
}

static void change_text(Subject *s)
{
    uint8_t copy[600];
    size_t length, start, at;
    const char *line = lines[choose(s, LINES)];

    start = line_around(s, s->size > 0 ? choose(s, (uint32_t)s->size) : 0, &length);
    switch (choose(s, 7)) {
    case 0:
        replace(s, start, 0, line, strlen(line));
        break;
    case 1:
        replace(s, start, length, line, strlen(line));
        break;
    case 2:
        replace(s, start, length, "", 0);
        break;
    case 3: /* twice */
        length = length < sizeof(copy) ? length : sizeof(copy);
        memcpy(copy, s->bytes + start, length);
        replace(s, start, 0, copy, length);
        break;
    case 4:
        at = start + choose(s, (uint32_t)length + 1);
        copy[0] = (uint8_t)choose(s, 256);
        replace(s, at, 0, copy, 1);
        break;
    case 5:
        at = start + choose(s, (uint32_t)length + 1);
        replace(s, at, at < s->size, "", 0);
        break;
    default:
        change_number(s, start, length);
        break;
    }
}

size_t fuzz_change_text(uint8_t *bytes, size_t size, size_t room, FuzzChoices *choices)
{
    Subject s = { .bytes = bytes, .size = size, .room = room, .choices = choices };

    change_text(&s);
    return s.size;
}

/* The descriptor inside an image, which keeps its room. */
static void change_inner_text(Subject *s)
{
    uint64_t start = load(s, 28, 8) * SECTOR, bytes = load(s, 36, 8) * SECTOR;

    if (start < s->size && bytes > 0 && bytes <= s->size - start) {
        Subject text = { .bytes = s->bytes + start, .room = bytes, .choices = s->choices };
        text.size = strnlen((const char *)text.bytes, bytes);
        change_text(&text);
        memset(text.bytes + text.size, 0, text.room - text.size);
    }
}

/* ------------------------------------------------------------------ the whole */

static void change_in_layout(Subject *s, Layout layout)
{
    switch (choose(s, 15)) {
    case 0:
    case 1:
    case 2:
        change_field(s, layout);
        break;
    case 3:
    case 4:
        change_entry(s, layout);
        break;
    case 5:
        change_directory(s, layout);
        break;
    case 6:
        move_sectors(s, layout);
        break;
    case 7:
        change_capacity(s, layout);
        break;
    case 8:
        change_marker(s);
        break;
    case 9:
        copy_footer(s);
        break;
    case 10:
        change_inner_text(s);
        break;
    case 11:
        change_control(s);
        break;
    case 12:
        add_grain(s, layout);
        break;
    case 13:
        change_sector(s);
        break;
    default:
        if (choose(s, 2) == 0) {
            change_length(s);
        } else {
            change_byte(s);
        }
        break;
    }
}

size_t fuzz_change_image(uint8_t *bytes, size_t size, size_t room, FuzzChoices *choices)
{
    Subject s = { .bytes = bytes, .size = size, .room = room, .choices = choices };
    Layout layout = layout_of(&s);

    if (layout == LAYOUT_TEXT) {
        change_text(&s);
    } else {
        change_in_layout(&s, layout);
    }
    return s.size;
}
