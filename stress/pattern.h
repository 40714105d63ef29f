/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - what a block is filled with, so that any foreign store is seen.
 *   Byte `i` of a block depends on the block's id and on `i` alone, so a prefix
 *   can be checked after realloc.
 *   Locks   none.  Orders: none.
 */
#ifndef STRESS_PATTERN_H
#define STRESS_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* Scatters the bits of `x`; one to one. */
static inline uint64_t pattern_mix(uint64_t x) {
    x ^= x >> 31;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 29;
    x *= 0xa3b195354a39b70du;
    return x ^ x >> 32;
}

/* Fills `size` bytes at `block` with the pattern of `id`. */
void pattern_fill(void *block, size_t size, uint64_t id);
/* Offset of the first byte that is not of the pattern of `id`, or `size`. */
size_t pattern_check(const void *block, size_t size, uint64_t id);
/* Offset of the first byte that is not 0, or `size`. */
size_t pattern_check_zero(const void *block, size_t size);
/* Byte `offset` of the pattern of `id`. */
unsigned char pattern_byte(uint64_t id, size_t offset);

#endif /* STRESS_PATTERN_H */
