/* SPDX-License-Identifier: MIT */
/*
 * address_map.h [L3] - pointer -> page word -> pool: "is it ours, whose, which kind, which class" in one word.
 *
 *   page word, one for each page of GI_POOL_SIZE:
 *
 *      31            14 13    10 9       5 4      0
 *     +----------------+--------+---------+--------+
 *     |   heap number  |  kind  |  class  |   0    |      a pool: heap number >= 1
 *     +----------------+--------+---------+--------+
 *     GI_WORD_NO_ARENA (0): no arena of ours;  GI_WORD_NO_POOL (1): in an arena, but no pool
 *
 *   The class stands at bit 5, so that the word of a pool of my heap and my kind, xored with my tag, is the byte offset
 *   of the class's bin in my cache (32 bytes a bin).
 *
 *   Pages of the reservation have their words in one array at its base.  Arenas from a user's arena allocator lie
 *   anywhere: the address space is divided into windows of 256 MiB, and a window that holds such an arena has an array
 *   of its own, found through a table of windows that exists only once it is needed, and is read without locks.
 *
 *   Owner   a word is written by the owner of its pool (heap.h), or by the arena manager while it is no pool.
 *   Locks   address map (GI_RANK_ADDRESS_MAP) for making windows; windows are never given back.
 *   Orders  page words are relaxed: whoever holds a block got it from somebody who saw the word that is valid for it,
 *           and a word changes under live blocks only from one owner to another, either of which is a right answer
 *           (docs/design.md, "Remote free").  page-word: such a change is a release, so that whoever must know the new
 *           owner's heap finds it.  window: a window is published whole.
 */
#ifndef GI_ADDRESS_MAP_H
#define GI_ADDRESS_MAP_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "lib/arena/size_class.h"
#include "lib/os/os_memory.h"

typedef gi_atomic(uint32_t) gi_page_word; /* relaxed: see above */
typedef gi_atomic(uint8_t) gi_mark;       /* relaxed: hardened.h */
typedef struct gi_pool gi_pool;

#define GI_WORD_CLASS_SHIFT 5
#define GI_WORD_KIND_SHIFT (GI_WORD_CLASS_SHIFT + 5)
#define GI_WORD_HEAP_SHIFT (GI_WORD_KIND_SHIFT + GI_KIND_BITS)
#define GI_WORD_CLASS_SPAN (1u << GI_WORD_KIND_SHIFT) /* words that differ in class alone are closer than this */
#define GI_WORD_NO_ARENA 0u
#define GI_WORD_NO_POOL 1u

#define GI_HEAP_NUMBERS (1u << (32 - GI_WORD_HEAP_SHIFT)) /* 1 .. GI_HEAP_NUMBERS - 2; the last one is nobody's */

static inline uint32_t gi_word_make(uint32_t heap, unsigned kind, unsigned size_class) {
    return heap << GI_WORD_HEAP_SHIFT | kind << GI_WORD_KIND_SHIFT | size_class << GI_WORD_CLASS_SHIFT;
}
static inline uint32_t gi_word_heap(uint32_t word) { return word >> GI_WORD_HEAP_SHIFT; }
static inline unsigned gi_word_kind(uint32_t word) { return word >> GI_WORD_KIND_SHIFT & (GI_KINDS_MAX - 1); }
static inline unsigned gi_word_class(uint32_t word) { return word >> GI_WORD_CLASS_SHIFT & (GI_CLASSES - 1); }
static inline bool gi_word_is_pool(uint32_t word) { return gi_word_heap(word) != 0; }

_Static_assert(GI_CLASSES == 1u << (GI_WORD_KIND_SHIFT - GI_WORD_CLASS_SHIFT), "a class fills its field");

/* For debuggers, which see no macros (tools/gdb). */
typedef struct gi_layout {
    uint32_t pool_shift, arena_shift, class_shift, kind_shift, heap_shift, kind_mask, class_mask, alignment;
    uint32_t watched_header; /* of a slot where a tool watches (pool.h) */
} gi_layout;
extern const gi_layout gi_the_layout GI_INTERNAL;

/* The base of the reservation, which is its array of words; 0: none.  relaxed: constant once gi_address_map_pages() is
   not 0, and meaningless before. */
extern gi_atomic(uint64_t) gi_address_base GI_INTERNAL;

/* Takes the reservation, of `size` bytes or less.  Once. */
void gi_address_map_init(size_t size);
/* Pages in the reservation, 0 if there is none. */
static inline size_t gi_address_map_pages(void) { return gi_os_reservation()->pages; }

/* The page of an address in the reservation; at or above the number of pages for any other address. */
static inline uint64_t gi_address_page(uintptr_t base, const void *address) {
    return ((uintptr_t)address - base) >> GI_POOL_SHIFT;
}
static inline gi_page_word *gi_address_words(uintptr_t base) { return (gi_page_word *)base; }

/* No arena has ever been at a gi_address_page() from here on: the number of pages of the reservation; UINT64_MAX once
   an arena has been outside it.  relaxed: as the base; whoever has a block of such an arena got it from somebody who
   saw that. */
extern gi_atomic(uint64_t) gi_address_end GI_INTERNAL;

/* What the next two say of an address that is not in the reservation. */
gi_page_word *gi_address_word_outside(const void *address);
gi_pool *gi_address_pool_outside(const void *address);
/* The mark of an address whose word exists, in hardened mode. */
gi_mark *gi_address_mark_outside(const void *address);

/* The word of any address, or NULL where no arena can be.  Any thread. */
static inline gi_page_word *gi_address_word(const void *address) {
    const gi_reservation *reservation = gi_os_reservation();
    uint64_t page = gi_address_page((uintptr_t)reservation->base, address);
    return gi_likely(page < reservation->pages) ? &gi_address_words((uintptr_t)reservation->base)[page]
                                                : gi_address_word_outside(address);
}

/* The descriptor of the page of `address`, whose word exists. */
static inline gi_pool *gi_address_pool(const void *address) {
    const gi_reservation *reservation = gi_os_reservation();
    uint64_t page = gi_address_page((uintptr_t)reservation->base, address);
    return gi_likely(page < reservation->pages)
               ? (gi_pool *)(void *)(reservation->descriptors + page * GI_POOL_DESCRIPTOR_SIZE)
               : gi_address_pool_outside(address);
}

/* The pool of a page of the reservation. */
static inline gi_pool *gi_address_pool_of_page(uint64_t page) {
    return (gi_pool *)(void *)(gi_os_reservation()->descriptors + page * GI_POOL_DESCRIPTOR_SIZE);
}

/* Makes sure that every page of the range has a word: false when memory is out, or if the range is out of the user's
   address space.  Any thread. */
bool gi_address_map_cover(const void *memory, size_t size);

/* Calls `visit` for each page of an arena that is a pool, in order of address; non-zero ends the walk and is returned.
   No lock is held: a pool that is in use before the walk and after it is visited. */
int gi_address_map_walk(int (*visit)(gi_pool *pool, uint32_t word, void *arg), void *arg);

void gi_address_map_before_fork(void);
void gi_address_map_after_fork(void);

#endif /* GI_ADDRESS_MAP_H */
