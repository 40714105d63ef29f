/* SPDX-License-Identifier: MIT */
/*
 * address_map.c [L3] - pointer -> page word -> pool.
 *   Locks   address map, for making windows.
 *   Orders  window.
 */
#include "lib/arena/address_map.h"

#include "concurrency/mutex.h"
#include "lib/arena/pool.h"

/* --- constants -------------------------------------------------------------------------------- */

#define ADDRESS_BITS 47 /* of the user's half on x86-64 and 48-bit AArch64 kernels; what lies above is refused */
#define WINDOW_SHIFT 28
#define WINDOW_PAGES ((size_t)1 << (WINDOW_SHIFT - GI_POOL_SHIFT))
#define WINDOWS ((size_t)1 << (ADDRESS_BITS - WINDOW_SHIFT))

typedef struct gi_window {
    gi_page_word words[WINDOW_PAGES];
    gi_pool pools[WINDOW_PAGES];
    gi_mark *marks; /* constant: in hardened mode one each GI_ALIGNMENT bytes */
} gi_window;

typedef gi_atomic(gi_window *) window_slot; /* atomic, order(window) */

_Static_assert(sizeof(gi_page_word) == GI_PAGE_WORD_SIZE, "the reservation has room for the words");

/* Read by every free: lines that nothing is written to (tests/counts). */
gi_atomic(uint64_t) gi_address_base __attribute__((aligned(GI_CACHE_LINE)));
gi_atomic(uint64_t) gi_address_end __attribute__((aligned(GI_CACHE_LINE)));

const gi_layout gi_the_layout __attribute__((used, retain)) = {
    .pool_shift = GI_POOL_SHIFT,
    .arena_shift = GI_ARENA_SHIFT,
    .class_shift = GI_WORD_CLASS_SHIFT,
    .kind_shift = GI_WORD_KIND_SHIFT,
    .heap_shift = GI_WORD_HEAP_SHIFT,
    .kind_mask = GI_KINDS_MAX - 1,
    .class_mask = GI_CLASSES - 1,
    .alignment = GI_ALIGNMENT,
    .watched_header = GI_WATCHED_HEADER,
};

static gi_atomic(window_slot *) windows; /* atomic, order(window); NULL until an arena lies outside the reservation */
static gi_mutex map_mutex = GI_MUTEX_INIT(GI_RANK_ADDRESS_MAP);

/* --- look-up ---------------------------------------------------------------------------------- */

static gi_window *window_of(const void *address) {
    /* order(window): acquire; pairs with release in gi_address_map_cover(). */
    window_slot *slots = gi_load_acquire(&windows);
    size_t window = (uintptr_t)address >> WINDOW_SHIFT;
    if (slots == NULL || window >= WINDOWS) {
        return NULL;
    }
    /* order(window): acquire; pairs with release in gi_address_map_cover(). */
    return gi_load_acquire(&slots[window]);
}

static size_t page_in_window(const void *address) { return ((uintptr_t)address >> GI_POOL_SHIFT) & (WINDOW_PAGES - 1); }

gi_page_word *gi_address_word_outside(const void *address) {
    gi_window *window = window_of(address);
    return window == NULL ? NULL : &window->words[page_in_window(address)];
}

gi_pool *gi_address_pool_outside(const void *address) { return &window_of(address)->pools[page_in_window(address)]; }

gi_mark *gi_address_mark_outside(const void *address) {
    return &window_of(address)->marks[((uintptr_t)address & (((size_t)1 << WINDOW_SHIFT) - 1)) / GI_ALIGNMENT];
}

/* --- windows ---------------------------------------------------------------------------------- */

static gi_window *new_window(void) {
    gi_window *made = gi_os_map(sizeof(gi_window));
    if (made != NULL && gi_os_reservation()->mark_size != 0) {
        made->marks = gi_os_map(((size_t)1 << WINDOW_SHIFT) / GI_ALIGNMENT);
        if (made->marks == NULL) {
            gi_os_unmap(made, sizeof(gi_window));
            made = NULL;
        }
    }
    return made;
}

bool gi_address_map_cover(const void *memory, size_t size) {
    uintptr_t start = (uintptr_t)memory;
    if (gi_address_page(gi_load_relaxed(&gi_address_base), memory) < gi_address_map_pages()) {
        return true; /* slots never straddle the end of the reservation */
    }
    if (start >> ADDRESS_BITS != 0 || (start + size - 1) >> ADDRESS_BITS != 0) {
        return false;
    }
    bool covered = true;
    gi_mutex_lock(&map_mutex);
    gi_store_relaxed(&gi_address_end, UINT64_MAX);  /* relaxed: see its declaration */
    window_slot *slots = gi_load_relaxed(&windows); /* relaxed: only holders of map_mutex write it */
    if (slots == NULL) {
        slots = gi_os_map(WINDOWS * sizeof(window_slot));
        /* order(window): release; pairs with acquire in window_of(). */
        gi_store_release(&windows, slots);
        covered = slots != NULL;
    }
    for (size_t window = start >> WINDOW_SHIFT; covered && window <= (start + size - 1) >> WINDOW_SHIFT; window++) {
        if (gi_load_relaxed(&slots[window]) == NULL) { /* relaxed: as above */
            gi_window *made = new_window();
            /* order(window): release; pairs with acquire in window_of(). */
            gi_store_release(&slots[window], made);
            covered = made != NULL;
        }
    }
    gi_mutex_unlock(&map_mutex);
    return covered;
}

/* --- walk ------------------------------------------------------------------------------------- */

int gi_address_map_walk(int (*visit)(gi_pool *pool, uint32_t word, void *arg), void *arg) {
    const gi_reservation *reservation = gi_os_reservation();
    int result = 0;
    if (reservation->base != NULL) {
        gi_page_word *words = gi_address_words((uintptr_t)reservation->base);
        size_t first = (size_t)(reservation->slots - reservation->base) >> GI_POOL_SHIFT;
        size_t end = first + gi_os_slots_used() * GI_ARENA_POOLS;
        for (size_t page = first; page < end && result == 0; page++) {
            uint32_t word = gi_load_relaxed(&words[page]); /* relaxed: address_map.h */
            if (gi_word_is_pool(word)) {
                gi_pool *pools = (gi_pool *)(void *)(reservation->descriptors + page * GI_POOL_DESCRIPTOR_SIZE);
                result = visit(pools, word, arg);
            }
        }
    }
    /* order(window): acquire; pairs with release in gi_address_map_cover(). */
    window_slot *slots = gi_load_acquire(&windows);
    for (size_t i = 0; slots != NULL && i < WINDOWS && result == 0; i++) {
        /* order(window): acquire; pairs with release in gi_address_map_cover(). */
        gi_window *window = gi_load_acquire(&slots[i]);
        for (size_t page = 0; window != NULL && page < WINDOW_PAGES && result == 0; page++) {
            uint32_t word = gi_load_relaxed(&window->words[page]); /* relaxed: address_map.h */
            if (gi_word_is_pool(word)) {
                result = visit(&window->pools[page], word, arg);
            }
        }
    }
    return result;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_address_map_init(size_t size) {
    gi_os_reserve(size);
    const gi_reservation *reservation = gi_os_reservation();
    gi_store_relaxed(&gi_address_base, (uintptr_t)reservation->base); /* relaxed: see its declaration */
    gi_store_relaxed(&gi_address_end, reservation->pages);            /* relaxed: see its declaration */
}

void gi_address_map_before_fork(void) { gi_mutex_lock(&map_mutex); }

void gi_address_map_after_fork(void) { gi_mutex_unlock(&map_mutex); }
