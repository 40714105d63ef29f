/* SPDX-License-Identifier: MIT */
/*
 * hardened.h [L3] - hardened mode: what is known of a block outside it, and what stands in its ends.
 *
 *   Marks   one byte for each 16 bytes of arenas, out of line: whether a block starts there, and whether it is live.
 *
 *     NONE (nothing starts there, or nothing yet) --carved--> FREE <--allocated, freed--> LIVE <--retired--> RETIRED
 *
 *   Ends    of a block of N bytes, with its word w, its address xored with the process's secret:
 *
 *             live    | the user's N - 8 bytes                                  w |
 *             free    | link |  w |          ...                         |  w |  w |
 *                     0      8                                         N-16  N-8 N
 *
 *           The last word is written as the block is carved, and stays; that it is live or free is for the mark to say.
 *           The words of a free block but the last are left out where it is too small.  In a kind with untouched bytes
 *           the link and the word behind it stand behind these; blocks that have no room for w have none (tail 0).
 *           The lowest byte of w is odd, so that the null byte of a string which is one too long shows.
 *   Links   are xored with a key (remote_list.h).
 *
 *   Owner   a mark, and a block's ends, belong to whoever owns the block.  All else is constant once there are blocks.
 *   Orders  marks are relaxed: whoever has a block got it from somebody who saw its mark; two who free one block at the
 *           same time are told apart by a compare-and-swap, but for its owner, whose fast path stores: in GIL-free mode
 *           a free at the very same time may pass there.
 */
#ifndef GI_HARDENED_H
#define GI_HARDENED_H

#include <stdbool.h>
#include <string.h>

#include "concurrency/atomic.h"
#include "concurrency/remote_list.h"
#include "lib/arena/address_map.h"
#include "lib/arena/kind.h"

typedef struct gi_hardened_mode {
    bool on;
    uint64_t secret;    /* odd */
    uintptr_t key;      /* gi_link_key */
    uintptr_t base;     /* the reservation's first address */
    uintptr_t granules; /* and how many marks it has */
    gi_mark *marks;
} gi_hardened_mode;
extern gi_hardened_mode gi_hardened GI_INTERNAL; /* constant once the library is ready */

enum { GI_MARK_NONE = 0, GI_MARK_LIVE = 1, GI_MARK_FREE = 2, GI_MARK_RETIRED = 3 };

/* Turns the mode on: before gi_address_map_init(), and before anything is allocated. */
void gi_hardened_use(void);
/* The reservation is there. */
void gi_hardened_ready(void);

/* The mark of an address in a pool. */
static inline gi_mark *gi_hardened_mark(const void *address) {
    const gi_reservation *reservation = gi_os_reservation();
    uintptr_t offset = (uintptr_t)address - (uintptr_t)reservation->base;
    return gi_likely(offset >> GI_POOL_SHIFT < reservation->pages)
               ? (gi_mark *)(void *)reservation->marks + offset / GI_ALIGNMENT
               : gi_address_mark_outside(address);
}

/* The number of an address's mark in the reservation; for one outside, or that is not aligned, `granules` or more: what
   is not aligned has its low bits at the top. */
static inline uintptr_t gi_hardened_granule(const void *address) {
    uintptr_t offset = (uintptr_t)address - gi_hardened.base;
    return offset >> 4 | offset << 60; /* the alignment is 16 */
}

/* --- the ends of a block ---------------------------------------------------------------------- */

static inline uint64_t gi_hardened_word(const void *block) { return (uintptr_t)block ^ gi_hardened.secret; }

static inline uint64_t gi_hardened_load(const void *at) {
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}
static inline void gi_hardened_store(void *at, uint64_t word) { memcpy(at, &word, sizeof(word)); }

static inline size_t gi_hardened_offset(unsigned kind) {
    return kind <= GI_KIND_OBJECT ? 0 : gi_kinds[kind].link_offset;
}
static inline bool gi_hardened_has_word(unsigned kind) { return kind <= GI_KIND_OBJECT || gi_kinds[kind].tail != 0; }

/* Whether a live block of `size` bytes has its word. */
static inline bool gi_hardened_is_whole(unsigned kind, const void *block, size_t size) {
    return !gi_hardened_has_word(kind) ||
           gi_hardened_load((const char *)block + size - sizeof(uint64_t)) == gi_hardened_word(block);
}

/* Writes the words of a free block, and the last one for ever; its link, which is at that offset, is left alone. */
static inline void gi_hardened_fill_by(void *block, size_t size, size_t offset, uint64_t word) {
    gi_assert(block != NULL);
    char *behind_link = (char *)block + offset + sizeof(gi_link), *end = (char *)block + size;
    gi_hardened_store(end - 8, word);
    if (behind_link + 16 <= end) {
        gi_hardened_store(behind_link, word);
        gi_hardened_store(end - 16, word);
    }
}
static inline void gi_hardened_fill(unsigned kind, void *block, size_t size) {
    if (gi_hardened_has_word(kind)) {
        gi_hardened_fill_by(block, size, gi_hardened_offset(kind), gi_hardened_word(block));
    }
}

/* Where a word of a free block was overwritten; NULL: it has all of them. */
static inline const char *gi_hardened_written(unsigned kind, const void *block, size_t size) {
    gi_assert(block != NULL);
    if (gi_hardened_has_word(kind)) {
        uint64_t word = gi_hardened_word(block);
        const char *behind_link = (const char *)block + gi_hardened_offset(kind) + sizeof(gi_link),
                   *end = (const char *)block + size;
        if (behind_link + 16 <= end) {
            if (gi_unlikely(gi_hardened_load(behind_link) != word)) {
                return behind_link;
            }
            if (gi_unlikely(gi_hardened_load(end - 16) != word)) {
                return end - 16;
            }
        }
        if (gi_unlikely(gi_hardened_load(end - 8) != word)) {
            return end - 8;
        }
    }
    return NULL;
}

/* --- newly carved blocks ---------------------------------------------------------------------- */

/* No block starts in the pool's memory any more. */
void gi_hardened_clear(char *memory);
/* A gi_pool_carver: links them in random order, and makes each a free one. */
gi_link *gi_hardened_carve(unsigned kind, char *first, size_t size, unsigned count);

#endif /* GI_HARDENED_H */
