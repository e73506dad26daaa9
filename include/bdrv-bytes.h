/* SPDX-License-Identifier: MIT */
/*
 * bdrv-bytes.h - bytes to numbers and numbers to bytes, and arithmetic that
 * cannot overflow unseen.
 *
 * Every format driver decodes its structures field by field with these, out
 * of plain byte arrays; no struct is ever laid over bytes from a file, so
 * alignment, padding and the machine's byte order never matter.  Everything
 * here is static inline and free of state.  It is not a place for anything
 * that knows a format.
 */
#ifndef BDRV_BYTES_H
#define BDRV_BYTES_H

#include <stdint.h>

/* ---- loads: the value of the 2, 4 or 8 bytes at p, any alignment ---- */

static inline uint16_t bdrv_load_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

static inline uint32_t bdrv_load_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static inline uint64_t bdrv_load_le64(const uint8_t *p)
{
    return (uint64_t)bdrv_load_le32(p) | (uint64_t)bdrv_load_le32(p + 4) << 32;
}

static inline uint16_t bdrv_load_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t bdrv_load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           (uint32_t)p[3];
}

static inline uint64_t bdrv_load_be64(const uint8_t *p)
{
    return (uint64_t)bdrv_load_be32(p) << 32 | (uint64_t)bdrv_load_be32(p + 4);
}

/* ---- stores: write the value to the 2, 4 or 8 bytes at p ---- */

static inline void bdrv_store_le16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void bdrv_store_le32(uint8_t *p, uint32_t value)
{
    bdrv_store_le16(p, (uint16_t)value);
    bdrv_store_le16(p + 2, (uint16_t)(value >> 16));
}

static inline void bdrv_store_le64(uint8_t *p, uint64_t value)
{
    bdrv_store_le32(p, (uint32_t)value);
    bdrv_store_le32(p + 4, (uint32_t)(value >> 32));
}

static inline void bdrv_store_be16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void bdrv_store_be32(uint8_t *p, uint32_t value)
{
    bdrv_store_be16(p, (uint16_t)(value >> 16));
    bdrv_store_be16(p + 2, (uint16_t)value);
}

static inline void bdrv_store_be64(uint8_t *p, uint64_t value)
{
    bdrv_store_be32(p, (uint32_t)(value >> 32));
    bdrv_store_be32(p + 4, (uint32_t)value);
}

/* ---- checked arithmetic: 1 and *sum set, or 0 and *sum untouched ----
 *
 * For numbers that came from a file.  All operands are non-negative byte
 * counts or offsets; a negative one is an error, not a value. */

static inline int bdrv_add(int64_t a, int64_t b, int64_t *sum)
{
    if (a < 0 || b < 0 || a > INT64_MAX - b) {
        return 0;
    }
    *sum = a + b;
    return 1;
}

static inline int bdrv_mul(int64_t a, int64_t b, int64_t *product)
{
    if (a < 0 || b < 0 || (b != 0 && a > INT64_MAX / b)) {
        return 0;
    }
    *product = a * b;
    return 1;
}

/* The same for a number the file gives as unsigned 64-bit: times unit
 * (positive), when the product fits an int64_t. */
static inline int bdrv_scale(uint64_t count, int64_t unit, int64_t *bytes)
{
    if (unit <= 0 || count > (uint64_t)(INT64_MAX / unit)) {
        return 0;
    }
    *bytes = (int64_t)count * unit;
    return 1;
}

/* ---- rounding: a >= 0, unit > 0; the caller knows that a + unit fits ---- */

static inline int64_t bdrv_round_down(int64_t a, int64_t unit)
{
    return a - a % unit;
}

static inline int64_t bdrv_round_up(int64_t a, int64_t unit)
{
    return bdrv_round_down(a + unit - 1, unit);
}

static inline int64_t bdrv_div_up(int64_t a, int64_t unit)
{
    /* cppcheck-suppress zerodivcond ; unit > 0 */
    return a / unit + (a % unit != 0);
}

static inline int64_t bdrv_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t bdrv_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int bdrv_is_power_of_two(uint64_t a)
{
    return a != 0 && (a & (a - 1)) == 0;
}

#endif
