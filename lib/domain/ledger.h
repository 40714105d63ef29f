/* SPDX-License-Identifier: MIT */
/*
 * ledger.h [L5] - one word for each block address: what debug hooks and tracing know of a block besides its class.
 *
 *   A ledger maps an address to 64 bits; 0 is nothing.
 *
 *     in an arena of the reservation   the shadow: an array of words, one for each 16 bytes, as address space that is
 *                                      touched where blocks are
 *     anywhere else                    a table in 8 shards, under a mutex each; there an address has a second word,
 *                                      its detail
 *
 *   In the shadow nothing is locked, and no memory of the block is read.  A word belongs to who owns the block: it is
 *   written as the block is allocated and freed, so a wrong free may read a word that is being written, and is told the
 *   one or the other.  An address there that is not aligned to 16 bytes has no word.
 *
 *   The table is open: addresses are in one array, the places after an address's own are looked at in turn, and what is
 *   removed is filled from behind.  So an address is one cache miss, a chained table's (uthash, which tracing has
 *   besides) four or five.  Of Concurrency Kit, ck_ht slows down by a factor of ten or more where entries come and go
 *   (removed ones are only marked); JudyL takes 35 to 80 ns.  liburcu's rculfhash frees nodes after a grace period, for
 *   which a detached thread cannot wait, and starts threads to resize.
 *
 *   Owner   who has the ledger; it is constant once open, and never closed.
 *   Locks   each shard's (GI_RANK_LEDGER), one for opening (GI_RANK_LEDGERS); under them only the system is called.
 *   Orders  words of the shadow are relaxed: who frees a block got it from who allocated it.  ledger: what a ledger is
 *           made of is seen by who sees it open.
 */
#ifndef GI_LEDGER_H
#define GI_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/atomic.h"
#include "concurrency/mutex.h"
#include "lib/arena/address_map.h"

/* A fork takes the mutex of each, and ThreadSanitizer follows at most 64 that are held. */
#define GI_LEDGER_SHARD_BITS 3
#define GI_LEDGER_SHARDS (1u << GI_LEDGER_SHARD_BITS)

typedef gi_atomic(uint64_t) gi_ledger_word; /* relaxed: see above */
#define GI_LEDGER_WORD_SHIFT 4
_Static_assert(1u << GI_LEDGER_WORD_SHIFT == GI_ALIGNMENT, "a word for each place where a block may begin");

typedef struct gi_ledger_shard {
    _Alignas(GI_CACHE_LINE) gi_mutex mutex;
    struct gi_ledger_entry *table; /* guarded by mutex; NULL: nothing was ever added */
    size_t used;                   /* guarded by mutex: places of it */
    unsigned shift;                /* guarded by mutex: it has 2^(64 - shift) places */
} gi_ledger_shard;

typedef struct gi_ledger {
    gi_atomic(uint32_t) is_open; /* atomic, order(ledger) */
    uintptr_t base;              /* constant once open: the address of the first word */
    size_t words;                /* constant once open: of the shadow; 0: address space was refused */
    gi_ledger_word *shadow;      /* constant once open */
    gi_ledger_shard shards[GI_LEDGER_SHARDS];
} gi_ledger;

/* Opens the ledger, which is zeroed, once the reservation is taken; again does nothing.  At most GI_LEDGERS_MAX are
   ever opened.  Any thread. */
enum { GI_LEDGERS_MAX = 4 };
void gi_ledger_open(gi_ledger *ledger);

static inline bool gi_ledger_is_open(const gi_ledger *ledger) {
    /* order(ledger): acquire; pairs with release in open_locked(). */
    return gi_load_acquire(&ledger->is_open) != 0;
}

/* The word of an address in the shadow of an open ledger; NULL: the address is not in the reservation, or not aligned.
 */
static inline gi_ledger_word *gi_ledger_shadow_word(const gi_ledger *ledger, const void *address) {
    uint64_t offset = (uintptr_t)address - ledger->base;
    /* By rotation, so that one comparison finds both: what is lost in a shift are the highest bits here. */
    uint64_t word = offset / GI_ALIGNMENT | offset << (64 - GI_LEDGER_WORD_SHIFT);
    return gi_likely(word < ledger->words) ? &ledger->shadow[word] : NULL;
}

/* What the next three do for an address that has no word in the shadow.  `detail` may be NULL. */
bool gi_ledger_put_elsewhere(gi_ledger *ledger, const void *address, uint64_t value, uint64_t detail);
bool gi_ledger_swap_elsewhere(gi_ledger *ledger, const void *address, uint64_t value, uint64_t detail,
                              uint64_t *before);
uint64_t gi_ledger_get_elsewhere(gi_ledger *ledger, const void *address, uint64_t *detail);
uint64_t gi_ledger_take_elsewhere(gi_ledger *ledger, const void *address, uint64_t *detail);

/* Sets the word of an address to `value`, which is not 0.  False when memory is out: it is as before.  Never false in
   the shadow, nor where the address has a word already. */
static inline bool gi_ledger_put(gi_ledger *ledger, const void *address, uint64_t value) {
    gi_ledger_word *word = gi_ledger_shadow_word(ledger, address);
    if (gi_likely(word != NULL)) {
        gi_store_relaxed(word, value); /* relaxed: as declared */
        return true;
    }
    return gi_ledger_put_elsewhere(ledger, address, value, 0);
}

/* The same, and *before is the word that it had; 0: none. */
static inline bool gi_ledger_swap(gi_ledger *ledger, const void *address, uint64_t value, uint64_t *before) {
    gi_ledger_word *word = gi_ledger_shadow_word(ledger, address);
    if (gi_likely(word != NULL)) {
        *before = gi_load_relaxed(word); /* relaxed: as declared */
        gi_store_relaxed(word, value);   /* relaxed: as declared */
        return true;
    }
    return gi_ledger_swap_elsewhere(ledger, address, value, 0, before);
}

/* The word of an address; 0: none. */
static inline uint64_t gi_ledger_get(gi_ledger *ledger, const void *address) {
    const gi_ledger_word *word = gi_ledger_shadow_word(ledger, address);
    if (gi_likely(word != NULL)) {
        return gi_load_relaxed(word); /* relaxed: as declared */
    }
    return gi_ledger_get_elsewhere(ledger, address, NULL);
}

/* The same, and it has none from now on. */
static inline uint64_t gi_ledger_take(gi_ledger *ledger, const void *address) {
    gi_ledger_word *word = gi_ledger_shadow_word(ledger, address);
    if (gi_likely(word != NULL)) {
        uint64_t value = gi_load_relaxed(word); /* relaxed: as declared */
        gi_store_relaxed(word, 0);              /* relaxed: as declared */
        return value;
    }
    return gi_ledger_take_elsewhere(ledger, address, NULL);
}

/* Calls `visit` for every address that has a word, those of arenas in order of address.  While other threads put and
   take, each is found that has one before and after.  A shard is locked while its part is visited: `visit` must not
   call this ledger. */
void gi_ledger_each(gi_ledger *ledger, void (*visit)(const void *address, uint64_t value, void *arg), void *arg);
/* No address has a word any more.  Words that other threads put meanwhile may be lost. */
void gi_ledger_clear(gi_ledger *ledger);
/* How many addresses its table has: those that are not in the reservation. */
uint64_t gi_ledger_entries(gi_ledger *ledger);
/* Bytes of memory that its table and its shadow take, about. */
size_t gi_ledger_bytes(gi_ledger *ledger);

void gi_ledger_before_fork(void);
void gi_ledger_after_fork(void);

#endif /* GI_LEDGER_H */
