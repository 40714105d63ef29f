/* SPDX-License-Identifier: MIT */
/*
 * pattern.c - an arithmetic row of 64-bit words from the scattered id: cheap
 * enough that the threads spend their time in the allocator, and different in
 * each word, so that a shifted copy is seen too.
 *   Locks   none.  Orders: none.
 */
#include "stress/pattern.h"

#include <string.h>

#define STEP 0x9e3779b97f4a7c15u
#define WORD sizeof(uint64_t)

/* --- one byte --------------------------------------------------------------------------------- */

unsigned char pattern_byte(uint64_t id, size_t offset) {
    uint64_t word = pattern_mix(id) + offset / WORD * STEP;
    unsigned char bytes[WORD];
    memcpy(bytes, &word, WORD);
    return bytes[offset % WORD];
}

/* --- whole blocks ----------------------------------------------------------------------------- */

void pattern_fill(void *block, size_t size, uint64_t id) {
    unsigned char *at = block;
    unsigned char *end = at + size / WORD * WORD;
    uint64_t word = pattern_mix(id);
    for (; at < end; at += WORD, word += STEP) memcpy(at, &word, WORD);
    const unsigned char *bytes = (const unsigned char *)&word;
    for (size_t i = 0; i < size % WORD; i++) at[i] = bytes[i];
}

/* The word loop only says whether anything differs; where is asked once it does. */
size_t pattern_check(const void *block, size_t size, uint64_t id) {
    const unsigned char *at = block;
    const unsigned char *end = at + size / WORD * WORD;
    uint64_t word = pattern_mix(id), wrong = 0;
    for (; at < end; at += WORD, word += STEP) {
        uint64_t found;
        memcpy(&found, at, WORD);
        wrong |= found ^ word;
    }
    const unsigned char *bytes = (const unsigned char *)&word;
    for (size_t i = 0; i < size % WORD; i++) wrong |= at[i] ^ bytes[i];
    if (wrong == 0) return size;
    size_t offset = 0;
    while (((const unsigned char *)block)[offset] == pattern_byte(id, offset)) offset++;
    return offset;
}

size_t pattern_check_zero(const void *block, size_t size) {
    const unsigned char *at = block;
    size_t offset = 0;
    for (; offset + WORD <= size; offset += WORD) {
        uint64_t found;
        memcpy(&found, at + offset, WORD);
        if (found != 0) break;
    }
    while (offset < size && at[offset] == 0) offset++;
    return offset;
}
