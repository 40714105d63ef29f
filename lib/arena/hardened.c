/* SPDX-License-Identifier: MIT */
/*
 * hardened.c [L3] - hardened mode: marks, and what stands in the ends of blocks.  Theory: hardened.h.
 *   Owner   whoever owns the block.  Locks none.
 */
#include "lib/arena/hardened.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lib/arena/pool.h"

gi_hardened_mode gi_hardened __attribute__((aligned(GI_CACHE_LINE)));

/* --- the secret ------------------------------------------------------------------------------- */

/* Good mixing of all bits (the finalizer of MurmurHash3, public domain, by Austin Appleby). */
static uint64_t mixed(uint64_t x) {
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCDu;
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53u;
    return x ^ x >> 33;
}

static uint64_t random_word(void) {
    uint64_t word;
    ssize_t got;
    do {
        got = getrandom(&word, sizeof(word), 0);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof(word)) { /* a system that lacks it: where things are mapped, and when */
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        word = mixed((uintptr_t)&now) ^ mixed((uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec);
    }
    return word;
}

void gi_hardened_use(void) {
    gi_hardened.on = true;
    gi_hardened.secret = random_word() | 1;
    gi_link_key = (uintptr_t)random_word();
    gi_link_key = gi_link_key != 0 ? gi_link_key : 1;
    gi_hardened.key = gi_link_key;
    gi_os_reserved.mark_size = GI_POOL_SIZE / GI_ALIGNMENT;
    gi_pool_carve_otherwise = gi_hardened_carve;
    gi_kind_harden();
}

void gi_hardened_ready(void) {
    const gi_reservation *reservation = gi_os_reservation();
    gi_hardened.base = (uintptr_t)reservation->base;
    gi_hardened.granules = reservation->pages * (GI_POOL_SIZE / GI_ALIGNMENT);
    gi_hardened.marks = (gi_mark *)(void *)reservation->marks;
}

/* --- newly carved blocks ---------------------------------------------------------------------- */

void gi_hardened_clear(char *memory) {
    _Static_assert(sizeof(gi_mark) == 1 && GI_MARK_NONE == 0, "zeroed bytes are such marks");
    memset((void *)gi_hardened_mark(memory), 0, GI_POOL_SIZE / GI_ALIGNMENT);
}

/* 0 to count - 1 in random order: Fisher and Yates's shuffle, from the inside out. */
static void shuffle(uint8_t *order, unsigned count, uint64_t random) {
    for (unsigned i = 0; i < count; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u; /* Knuth's multiplier, for MMIX */
        unsigned other = (unsigned)((random >> 32) * (i + 1) >> 32);
        order[i] = order[other];
        order[other] = (uint8_t)i;
    }
}

gi_link *gi_hardened_carve(unsigned kind, char *first, size_t size, unsigned count) {
    uint8_t order[GI_POOL_CARVED] = {0};
    shuffle(order, count, mixed(gi_hardened.secret ^ (uintptr_t)first));
    /* What is the same for all, for a compiler that does not see that the blocks are elsewhere. */
    const gi_hardened_mode mode = gi_hardened;
    size_t offset = gi_hardened_offset(kind);
    bool has_word = gi_hardened_has_word(kind);
    gi_mark *marks = gi_hardened_mark(first);
    gi_link *next = NULL;
    for (unsigned i = 0; i < count; i++) {
        size_t at = order[i] * size;
        char *block = first + at;
        gi_link *link = (gi_link *)(void *)(block + offset);
        link->next = (gi_link *)((uintptr_t)next ^ mode.key);
        if (has_word) {
            gi_hardened_fill_by(block, size, offset, (uintptr_t)block ^ mode.secret);
        }
        gi_store_relaxed(&marks[at / GI_ALIGNMENT], GI_MARK_FREE); /* relaxed: hardened.h */
        next = link;
    }
    return next;
}
