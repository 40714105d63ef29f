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

/* The table's memory is mapped, and so apart from that of programs: an overrun that is to be reported has not damaged
   what it is reported by.  uthash's own arrays are a mapping each; when memory is out, an entry is not added.  It gives
   up its arrays with the last entry: so each table has one more, of no address. */
#define uthash_malloc(size) gi_os_map(size)
#define uthash_free(memory, size) gi_os_unmap(memory, size)
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, length, hash) hash = hash_of(*(const uintptr_t *)(key))
#define HASH_KEYCMP(a, b, length) (*(const uintptr_t *)(a) != *(const uintptr_t *)(b))
#include <uthash.h>

/* How long a chain becomes before there are twice as many: 10 by default, each a cache miss. */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH 3U

/* Entries come in chunks of this many bytes, which are never given back. */
#define CHUNK_SIZE ((size_t)16 << 10)

typedef struct gi_ledger_entry {
    uintptr_t address; /* the key */
    uint64_t value, detail;
    UT_hash_handle hh;
} gi_ledger_entry;

/* Fibonacci hashing (Knuth, "The Art of Computer Programming", vol. 3, 6.4): the highest bits choose the shard, the
   middle ones the bucket. */
static uint64_t product_of(uintptr_t address) { return (address >> 4) * 0x9e3779b97f4a7c15u; }
static unsigned hash_of(uintptr_t address) { return (unsigned)(product_of(address) >> 24); }

static gi_mutex ledgers_mutex = GI_MUTEX_INIT(GI_RANK_LEDGERS);
static gi_ledger *ledgers[GI_LEDGERS_MAX]; /* guarded by ledgers_mutex: all that are open, for forks */
static unsigned ledger_count;              /* guarded by ledgers_mutex */

#define WORDS_A_PAGE (GI_POOL_SIZE / GI_ALIGNMENT)

/* --- shards ----------------------------------------------------------------------------------- */

static gi_ledger_shard *shard_of(gi_ledger *ledger, const void *address) {
    return &ledger->shards[product_of((uintptr_t)address) >> 61];
}
_Static_assert(GI_LEDGER_SHARDS == 1u << (64 - 61), "three bits of the product choose the shard");

static gi_ledger_entry *find_locked(const gi_ledger_shard *shard, const void *address) {
    uintptr_t key = (uintptr_t)address;
    gi_ledger_entry *entry;
    HASH_FIND(hh, shard->table, &key, sizeof(key), entry);
    return entry;
}

/* A spare entry, or one of a new chunk; NULL when memory is out. */
static gi_ledger_entry *take_spare_locked(gi_ledger_shard *shard) {
    if (shard->spare == NULL) {
        gi_ledger_entry *chunk = gi_os_map(CHUNK_SIZE);
        for (size_t i = 0; chunk != NULL && i < CHUNK_SIZE / sizeof(*chunk); i++) {
            chunk[i].hh.next = shard->spare;
            shard->spare = &chunk[i];
        }
    }
    gi_ledger_entry *entry = shard->spare;
    if (entry != NULL) {
        shard->spare = entry->hh.next;
    }
    return entry;
}

static void put_spare_locked(gi_ledger_shard *shard, gi_ledger_entry *entry) {
    entry->hh.next = shard->spare;
    shard->spare = entry;
}

static bool add_locked(gi_ledger_shard *shard, const void *address, uint64_t value, uint64_t detail) {
    if (shard->table == NULL && address != NULL && !add_locked(shard, NULL, 0, 0)) {
        return false;
    }
    gi_ledger_entry *entry = take_spare_locked(shard);
    if (entry == NULL) {
        return false;
    }
    entry->address = (uintptr_t)address;
    entry->value = value;
    entry->detail = detail;
    HASH_ADD(hh, shard->table, address, sizeof(entry->address), entry);
    bool added = entry->hh.tbl != NULL;
    if (!added) {
        put_spare_locked(shard, entry);
    }
    return added;
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

static void remove_locked(gi_ledger_shard *shard, gi_ledger_entry *entry) {
    HASH_DELETE(hh, shard->table, entry);
    put_spare_locked(shard, entry);
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
        for (const gi_ledger_entry *entry = shard->table; entry != NULL; entry = entry->hh.next) {
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
        for (gi_ledger_entry *entry = shard->table, *next; entry != NULL; entry = next) {
            next = entry->hh.next;
            if (entry->address != 0) {
                remove_locked(shard, entry);
            }
        }
        gi_mutex_unlock(&shard->mutex);
    }
}

uint64_t gi_ledger_entries(gi_ledger *ledger) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_ledger_shard *shard = &ledger->shards[i];
        gi_mutex_lock(&shard->mutex);
        sum += shard->table != NULL ? HASH_COUNT(shard->table) - 1 : 0;
        gi_mutex_unlock(&shard->mutex);
    }
    return sum;
}

size_t gi_ledger_bytes(gi_ledger *ledger) {
    size_t shadow = ledger->shadow != NULL ? gi_os_slots_used() * (GI_ARENA_SIZE / GI_ALIGNMENT) * 8 : 0;
    return shadow + (size_t)gi_ledger_entries(ledger) * (sizeof(gi_ledger_entry) + 16);
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
