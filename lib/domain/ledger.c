/* SPDX-License-Identifier: MIT */
/*
 * ledger.c [L5] - one word for each block address.  Theory: ledger.h.
 *   Locks   ledgers, for opening one; the shards'.
 *   Orders  ledger.
 */
#include "lib/domain/ledger.h"

#include "concurrency/check.h"
#include "lib/arena/pool.h"
#include "lib/os/os_memory.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* A table's memory is mapped, and so apart from that of programs: an overrun that is to be reported has not damaged
   what it is reported by. */
typedef struct gi_ledger_entry {
    uintptr_t address; /* 0: the place is free */
    uint64_t value, detail;
} gi_ledger_entry;

/* Places in a shard's first table: a page of entries. */
enum { FIRST_SHIFT = 64 - 7 };

/* Fibonacci hashing (Knuth, "The Art of Computer Programming", vol. 3, 6.4): the highest bits choose the shard, the
   next ones the place. */
static uint64_t product_of(uintptr_t address) { return address * 0x9e3779b97f4a7c15u; }

static gi_mutex ledgers_mutex = GI_MUTEX_INIT(GI_RANK_LEDGERS);
static gi_ledger *ledgers[GI_LEDGERS_MAX]; /* guarded by ledgers_mutex: all that are open, for forks */
static unsigned ledger_count;              /* guarded by ledgers_mutex */

#define WORDS_A_PAGE (GI_POOL_SIZE / GI_ALIGNMENT)

/* --- shards ----------------------------------------------------------------------------------- */

static gi_ledger_shard *shard_of(gi_ledger *ledger, const void *address) {
    return &ledger->shards[product_of((uintptr_t)address) >> (64 - GI_LEDGER_SHARD_BITS)];
}

/* Linear probing (6.4, algorithms L and R): an address is in the first places from its own on that are not free. */
static size_t places_of(const gi_ledger_shard *shard) {
    return shard->table != NULL ? (size_t)1 << (64 - shard->shift) : 0;
}
static size_t place_of(unsigned shift, uintptr_t address) {
    return product_of(address) << GI_LEDGER_SHARD_BITS >> shift;
}

/* Where the address is in a table, or the free place where it may be put. */
static gi_ledger_entry *place_in(gi_ledger_entry *table, unsigned shift, uintptr_t address) {
    size_t mask = ((size_t)1 << (64 - shift)) - 1, i = place_of(shift, address);
    while (table[i].address != 0 && table[i].address != address) {
        i = (i + 1) & mask;
    }
    return &table[i];
}

/* The same in the shard's, which there is. */
static gi_ledger_entry *place_locked(const gi_ledger_shard *shard, uintptr_t address) {
    return place_in(shard->table, shard->shift, address);
}

static gi_ledger_entry *find_locked(const gi_ledger_shard *shard, const void *address) {
    gi_ledger_entry *entry = shard->table != NULL ? place_locked(shard, (uintptr_t)address) : NULL;
    return entry != NULL && entry->address != 0 ? entry : NULL;
}

/* Twice as many places; as before when memory is out. */
static void grow_locked(gi_ledger_shard *shard) {
    unsigned shift = shard->table != NULL ? shard->shift - 1 : FIRST_SHIFT;
    size_t places = places_of(shard);
    gi_ledger_entry *table = gi_os_map(sizeof(gi_ledger_entry) << (64 - shift));
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < places; i++) {
        if (shard->table[i].address != 0) {
            *place_in(table, shift, shard->table[i].address) = shard->table[i];
        }
    }
    if (shard->table != NULL) {
        gi_os_unmap(shard->table, places * sizeof(gi_ledger_entry));
    }
    shard->table = table;
    shard->shift = shift;
}

/* An address that is not there.  At most half of the places are taken, or all but one when memory is out. */
static bool add_locked(gi_ledger_shard *shard, const void *address, uint64_t value, uint64_t detail) {
    if (shard->used >= places_of(shard) / 2) {
        grow_locked(shard);
        if (shard->used + 1 >= places_of(shard)) {
            return false;
        }
    }
    *place_locked(shard, (uintptr_t)address) = (gi_ledger_entry){(uintptr_t)address, value, detail};
    shard->used++;
    return true;
}

bool gi_ledger_swap_elsewhere(gi_ledger *ledger, const void *address, uint64_t value, uint64_t detail,
                              uint64_t *before) {
    gi_ledger_shard *shard = shard_of(ledger, address);
    gi_mutex_lock(&shard->mutex);
    gi_ledger_entry *entry = find_locked(shard, address);
    bool put = true;
    *before = entry != NULL ? entry->value : 0;
    if (entry != NULL) {
        entry->value = value;
        entry->detail = detail;
    } else {
        put = add_locked(shard, address, value, detail);
    }
    gi_mutex_unlock(&shard->mutex);
    return put;
}

bool gi_ledger_put_elsewhere(gi_ledger *ledger, const void *address, uint64_t value, uint64_t detail) {
    uint64_t before;
    return gi_ledger_swap_elsewhere(ledger, address, value, detail, &before);
}

/* What is known of an address; 0: nothing. */
static uint64_t read_locked(const gi_ledger_entry *entry, uint64_t *detail) {
    if (detail != NULL) {
        *detail = entry != NULL ? entry->detail : 0;
    }
    return entry != NULL ? entry->value : 0;
}

uint64_t gi_ledger_get_elsewhere(gi_ledger *ledger, const void *address, uint64_t *detail) {
    gi_ledger_shard *shard = shard_of(ledger, address);
    gi_mutex_lock(&shard->mutex);
    uint64_t value = read_locked(find_locked(shard, address), detail);
    gi_mutex_unlock(&shard->mutex);
    return value;
}

/* What comes after it moves up, if it may be there: there is no free place between its own and the new one. */
static void remove_locked(gi_ledger_shard *shard, gi_ledger_entry *entry) {
    size_t mask = places_of(shard) - 1, hole = (size_t)(entry - shard->table);
    for (size_t i = (hole + 1) & mask; shard->table[i].address != 0; i = (i + 1) & mask) {
        if (((i - place_of(shard->shift, shard->table[i].address)) & mask) >= ((i - hole) & mask)) {
            shard->table[hole] = shard->table[i];
            hole = i;
        }
    }
    shard->table[hole].address = 0;
    shard->used--;
}

uint64_t gi_ledger_take_elsewhere(gi_ledger *ledger, const void *address, uint64_t *detail) {
    gi_ledger_shard *shard = shard_of(ledger, address);
    gi_mutex_lock(&shard->mutex);
    gi_ledger_entry *entry = find_locked(shard, address);
    uint64_t value = read_locked(entry, detail);
    if (entry != NULL) {
        remove_locked(shard, entry);
    }
    gi_mutex_unlock(&shard->mutex);
    return value;
}

/* --- all of it -------------------------------------------------------------------------------- */

typedef struct walk {
    gi_ledger *ledger;
    void (*visit)(const void *address, uint64_t value, void *arg);
    void *arg;
} walk;

static int visit_pool(gi_pool *pool, uint32_t word, void *arg) {
    const walk *work = arg;
    const gi_reservation *reservation = gi_os_reservation();
    (void)word;
    /* By the place of its descriptor, not by what is in it: another thread may be making the pool. */
    size_t page = (size_t)((char *)pool - reservation->descriptors) / GI_POOL_DESCRIPTOR_SIZE;
    char *memory = page < reservation->pages ? reservation->base + page * GI_POOL_SIZE : NULL;
    gi_ledger_word *words = gi_ledger_shadow_word(work->ledger, memory);
    for (size_t i = 0; words != NULL && i < WORDS_A_PAGE; i++) {
        uint64_t value = gi_load_relaxed(&words[i]);
        if (value != 0) {
            work->visit(memory + i * GI_ALIGNMENT, value, work->arg);
        }
    }
    return 0;
}

void gi_ledger_each(gi_ledger *ledger, void (*visit)(const void *address, uint64_t value, void *arg), void *arg) {
    walk work = {ledger, visit, arg};
    gi_address_map_walk(visit_pool, &work);
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_ledger_shard *shard = &ledger->shards[i];
        gi_mutex_lock(&shard->mutex);
        for (size_t place = 0; place < places_of(shard); place++) {
            const gi_ledger_entry *entry = &shard->table[place];
            if (entry->address != 0) {
                visit((const void *)entry->address, entry->value, arg);
            }
        }
        gi_mutex_unlock(&shard->mutex);
    }
}

void gi_ledger_clear(gi_ledger *ledger) {
    size_t used = gi_os_slots_used() * GI_ARENA_SIZE;
    if (ledger->shadow != NULL && used != 0) {
        const gi_reservation *reservation = gi_os_reservation();
        size_t first = (size_t)(reservation->slots - reservation->base) / GI_ALIGNMENT;
        char *begin = (char *)&ledger->shadow[first];
        size_t bytes = used / GI_ALIGNMENT * sizeof(gi_ledger_word);
        if (!gi_os_decommit(begin, bytes)) {
            for (size_t i = 0; i < used / GI_ALIGNMENT; i++) {
                gi_store_relaxed(&ledger->shadow[first + i], 0); /* relaxed: as declared */
            }
        }
    }
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_ledger_shard *shard = &ledger->shards[i];
        gi_mutex_lock(&shard->mutex);
        for (size_t place = 0; place < places_of(shard); place++) {
            shard->table[place].address = 0;
        }
        shard->used = 0;
        gi_mutex_unlock(&shard->mutex);
    }
}

uint64_t gi_ledger_entries(gi_ledger *ledger) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_ledger_shard *shard = &ledger->shards[i];
        gi_mutex_lock(&shard->mutex);
        sum += shard->used;
        gi_mutex_unlock(&shard->mutex);
    }
    return sum;
}

size_t gi_ledger_bytes(gi_ledger *ledger) {
    size_t sum = ledger->shadow != NULL ? gi_os_slots_used() * (GI_ARENA_SIZE / GI_ALIGNMENT) * 8 : 0;
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_ledger_shard *shard = &ledger->shards[i];
        gi_mutex_lock(&shard->mutex);
        sum += places_of(shard) * sizeof(gi_ledger_entry);
        gi_mutex_unlock(&shard->mutex);
    }
    return sum;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void open_locked(gi_ledger *ledger) {
    if (gi_ledger_is_open(ledger)) {
        return;
    }
    gi_assert(ledger_count < GI_LEDGERS_MAX);
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_mutex_init(&ledger->shards[i].mutex, GI_RANK_LEDGER);
    }
    size_t words = gi_os_reservation()->pages * WORDS_A_PAGE;
    ledger->base = (uintptr_t)gi_os_reservation()->base;
    ledger->shadow = words != 0 ? gi_os_map(words * sizeof(gi_ledger_word)) : NULL;
    ledger->words = ledger->shadow != NULL ? words : 0;
    ledgers[ledger_count++] = ledger;
    /* order(ledger): release; pairs with acquire in gi_ledger_is_open(). */
    gi_store_release(&ledger->is_open, 1);
}

void gi_ledger_open(gi_ledger *ledger) {
    gi_mutex_lock(&ledgers_mutex);
    open_locked(ledger);
    gi_mutex_unlock(&ledgers_mutex);
}

static void for_each_shard_locked(void (*act)(gi_mutex *mutex)) {
    for (unsigned i = 0; i < ledger_count * GI_LEDGER_SHARDS; i++) {
        act(&ledgers[i / GI_LEDGER_SHARDS]->shards[i % GI_LEDGER_SHARDS].mutex);
    }
}

void gi_ledger_before_fork(void) {
    gi_mutex_lock(&ledgers_mutex);
    for_each_shard_locked(gi_mutex_lock_each);
}

void gi_ledger_after_fork(void) {
    for_each_shard_locked(gi_mutex_unlock_each);
    gi_mutex_unlock(&ledgers_mutex);
}
