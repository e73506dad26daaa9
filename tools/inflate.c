/* SPDX-License-Identifier: MIT */
/*
 * inflate.c - zlib streams (RFC 1950, RFC 1951) back to bytes, for the check of
 * streams: a small decoder of its own, so that what judges our output shares
 * nothing with what has made it.  It is meant to be right, not fast.
 *
 * A Huffman code is kept as the number of codes of each length and the symbols in
 * the order of their codes; a symbol is read by going down bit by bit:
 *
 *     length 1   first code 0,           count codes
 *     length 2   first code (0 + count) × 2, count codes   …
 */
#include <string.h>

#include "rules.h"

enum {
    CODE_BITS_MAX = 15,
    LITERALS = 288,
    DISTANCES = 32,
    LENGTH_CODES = 19,
    END_OF_BLOCK = 256,
    ADLER_BASE = 65521
};

typedef struct Code {
    uint16_t counts[CODE_BITS_MAX + 1];
    uint16_t symbols[LITERALS];
} Code;

typedef struct Inflate {
    const uint8_t *in;
    size_t in_bytes, at;
    uint32_t bits; /* that were taken from in and not used */
    int bit_count;
    uint8_t *out;
    size_t out_bytes, done;
    const char *error; /* the first; NULL: none */
} Inflate;

static int fail(Inflate *z, const char *error)
{
    if (z->error == NULL) {
        z->error = error;
    }
    return 0;
}

/* count <= 16.  0 at the end of the input, with the error set. */
static unsigned take_bits(Inflate *z, int count)
{
    unsigned value;

    while (z->bit_count < count) {
        if (z->at == z->in_bytes) {
            return (unsigned)fail(z, "it ends too early");
        }
        z->bits |= (uint32_t)z->in[z->at++] << z->bit_count;
        z->bit_count += 8;
    }
    value = z->bits & ((1u << count) - 1);
    z->bits >>= count;
    z->bit_count -= count;
    return value;
}

/* ------------------------------------------------------------------- codes */

/* From the length of each symbol's code (0: it has none).  A set of lengths that
 * is no code, or leaves bit strings without a meaning, is an error; but a single
 * code may leave one (RFC 1951, 3.2.7). */
static int make_code(Inflate *z, Code *code, const uint8_t *lengths, int symbols)
{
    uint16_t next[CODE_BITS_MAX + 2] = {0};
    int room = 1, used = 0;

    memset(code, 0, sizeof(*code));
    for (int i = 0; i < symbols; i++) {
        code->counts[lengths[i]]++;
        used += lengths[i] > 0;
    }
    code->counts[0] = 0;
    for (int length = 1; length <= CODE_BITS_MAX; length++) {
        room = room * 2 - code->counts[length];
        if (room < 0) {
            return fail(z, "a set of codes is over-full");
        }
        next[length + 1] = (uint16_t)(next[length] + code->counts[length]);
    }
    if (room > 0 && (used > 1 || symbols == LENGTH_CODES)) {
        return fail(z, "a set of codes is incomplete");
    }
    for (int i = 0; i < symbols; i++) {
        if (lengths[i] > 0) {
            code->symbols[next[lengths[i]]++] = (uint16_t)i;
        }
    }
    return 1;
}

static int take_symbol(Inflate *z, const Code *code)
{
    int value = 0, first = 0, index = 0;

    for (int length = 1; length <= CODE_BITS_MAX && z->error == NULL; length++) {
        int count = code->counts[length];

        value |= (int)take_bits(z, 1);
        if (value - first < count) {
            return code->symbols[index + value - first];
        }
        index += count;
        first = (first + count) << 1;
        value <<= 1;
    }
    fail(z, "a code stands for nothing");
    return END_OF_BLOCK;
}

/* ------------------------------------------------------------------ content */

static void put(Inflate *z, uint8_t byte)
{
    if (z->done == z->out_bytes) {
        fail(z, "it holds more than a grain");
    } else {
        z->out[z->done++] = byte;
    }
}

/* Length symbol 257 + i: so many bytes, and so many more bits tell how many more. */
static const uint16_t length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                       31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t length_bits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                      2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

enum {
    LENGTH_SYMBOLS = sizeof(length_base) / sizeof(length_base[0]),
    DISTANCE_SYMBOLS = 30
};

/* Distance symbols go in pairs of equal width: 1, 2, 3, 4, 5-6, 7-8, 9-12, … */
static unsigned take_distance(Inflate *z, int symbol)
{
    int bits = symbol < 2 ? 0 : symbol / 2 - 1;
    unsigned base = symbol < 2 ? (unsigned)symbol + 1
                               : ((2u + (unsigned)symbol % 2) << bits) + 1;

    return base + take_bits(z, bits);
}

static void copy_back(Inflate *z, int symbol, const Code *distances)
{
    unsigned length, distance;
    int far;

    if (symbol >= LENGTH_SYMBOLS) {
        fail(z, "a length code stands for nothing");
        return;
    }
    length = length_base[symbol] + take_bits(z, length_bits[symbol]);
    far = take_symbol(z, distances);
    if (far >= DISTANCE_SYMBOLS) {
        fail(z, "a distance code stands for nothing");
        return;
    }
    distance = take_distance(z, far);
    if (distance > z->done) {
        fail(z, "it refers to what is before its beginning");
    }
    for (; z->error == NULL && length > 0; length--) {
        put(z, z->out[z->done - distance]);
    }
}

static void read_compressed(Inflate *z, const Code *literals, const Code *distances)
{
    while (z->error == NULL) {
        int symbol = take_symbol(z, literals);

        if (symbol == END_OF_BLOCK) {
            return;
        }
        if (symbol < END_OF_BLOCK) {
            put(z, (uint8_t)symbol);
        } else {
            copy_back(z, symbol - END_OF_BLOCK - 1, distances);
        }
    }
}

/* ------------------------------------------------------------------- blocks */

static void read_stored(Inflate *z)
{
    unsigned length, check;

    z->bits = 0; /* the rest of the byte is nothing */
    z->bit_count = 0;
    length = take_bits(z, 16);
    check = take_bits(z, 16);
    if (length != (~check & 0xffff)) {
        fail(z, "a stored block has two different lengths");
    }
    for (; z->error == NULL && length > 0; length--) {
        put(z, (uint8_t)take_bits(z, 8));
    }
}

static void read_fixed(Inflate *z)
{
    uint8_t lengths[LITERALS];
    Code literals, distances;

    for (int i = 0; i < LITERALS; i++) {
        lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    }
    make_code(z, &literals, lengths, LITERALS);
    memset(lengths, 5, DISTANCES);
    make_code(z, &distances, lengths, DISTANCES);
    read_compressed(z, &literals, &distances);
}

/* Runs of lengths: symbols 0 to 15 are lengths, 16 repeats the last, 17 and 18
 * are zeros. */
static void read_lengths(Inflate *z, const Code *code, uint8_t *lengths, int count)
{
    int done = 0;

    while (done < count && z->error == NULL) {
        int symbol = take_symbol(z, code), repeat = 1;
        uint8_t length = symbol < 16 ? (uint8_t)symbol : 0;

        if (symbol == 16) {
            if (done == 0) {
                fail(z, "there is no length to repeat");
                return;
            }
            length = lengths[done - 1];
        }
        if (symbol >= 16) {
            repeat = symbol == 16   ? 3 + (int)take_bits(z, 2)
                     : symbol == 17 ? 3 + (int)take_bits(z, 3)
                                    : 11 + (int)take_bits(z, 7);
        }
        if (repeat > count - done) {
            fail(z, "there are more lengths than symbols");
            return;
        }
        memset(lengths + done, length, (size_t)repeat);
        done += repeat;
    }
}

static void read_dynamic(Inflate *z)
{
    static const uint8_t order[LENGTH_CODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LITERALS + DISTANCES] = {0}, padded[LITERALS] = {0};
    int literal_count = 257 + (int)take_bits(z, 5);
    int distance_count = 1 + (int)take_bits(z, 5);
    int count = 4 + (int)take_bits(z, 4);
    Code code, distances;

    for (int i = 0; i < count; i++) {
        lengths[order[i]] = (uint8_t)take_bits(z, 3);
    }
    if (!make_code(z, &code, lengths, LENGTH_CODES) || literal_count > 286) {
        fail(z, "there are too many literal codes");
        return;
    }
    memset(lengths, 0, sizeof(lengths));
    read_lengths(z, &code, lengths, literal_count + distance_count);
    if (z->error != NULL) {
        return;
    }
    memcpy(padded, lengths + literal_count, (size_t)distance_count);
    memset(lengths + literal_count, 0, (size_t)(LITERALS - literal_count));
    if (make_code(z, &code, lengths, LITERALS) && make_code(z, &distances, padded, DISTANCES)) {
        read_compressed(z, &code, &distances);
    }
}

static void read_blocks(Inflate *z)
{
    unsigned last = 0;

    while (!last && z->error == NULL) {
        last = take_bits(z, 1);
        switch (take_bits(z, 2)) {
        case 0:
            read_stored(z);
            break;
        case 1:
            read_fixed(z);
            break;
        case 2:
            read_dynamic(z);
            break;
        default:
            fail(z, "a block is of no kind");
            break;
        }
    }
}

/* ------------------------------------------------------------------- stream */

static uint32_t adler32(const uint8_t *bytes, size_t count)
{
    uint32_t low = 1, high = 0;

    for (size_t i = 0; i < count; i++) {
        low = (low + bytes[i]) % ADLER_BASE;
        high = (high + low) % ADLER_BASE;
    }
    return high << 16 | low;
}

static void check_header(Inflate *z)
{
    unsigned method = take_bits(z, 8), flags = take_bits(z, 8);

    if (z->error == NULL && (method * 256 + flags) % 31 != 0) {
        fail(z, "it is no zlib stream");
    }
    if ((method & 15) != 8 || method >> 4 > 7) {
        fail(z, "it is not deflated, or with too large a window");
    }
    if (flags & 0x20) {
        fail(z, "it needs a dictionary");
    }
}

static void check_sum(Inflate *z)
{
    uint32_t sum = 0;

    z->at -= (size_t)z->bit_count / 8; /* whole bytes that no block has used */
    z->bits = 0;
    z->bit_count = 0;
    for (int i = 0; i < 4; i++) {
        sum = sum << 8 | take_bits(z, 8);
    }
    if (z->error == NULL && sum != adler32(z->out, z->done)) {
        fail(z, "its check sum is wrong");
    }
}

const char *inflate_zlib(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes,
                         size_t *got)
{
    Inflate z = {.in = in, .in_bytes = in_bytes, .out = out, .out_bytes = out_bytes};

    check_header(&z);
    if (z.error == NULL) {
        read_blocks(&z);
    }
    if (z.error == NULL) {
        check_sum(&z);
    }
    *got = z.done;
    return z.error;
}
