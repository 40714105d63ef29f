/* SPDX-License-Identifier: MIT */
/*
 * ledger.c [L5] - one word for each block address.  Theory: ledger.h.
 *   Locks   ledgers, for opening one; the shards'.
 *   Orders  ledger.
 */
#include "lib/domain/ledger.h"

#include <stdlib.h>

#include "concurrency/check.h"
#include "lib/arena/pool.h"
#include "lib/os/os_memory.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* Entries a shard begins with. */
#define FIRST_ENTRIES 64u
/* Any number: addresses are not chosen by an enemy. */
#define SEED 0x9e3779b97f4a7c15u

static gi_mutex ledgers_mutex = GI_MUTEX_INIT(GI_RANK_LEDGERS);
static gi_ledger *ledgers[GI_LEDGERS_MAX]; /* guarded by ledgers_mutex: all that are open, for forks */
static unsigned ledger_count;              /* guarded by ledgers_mutex */

#define WORDS_A_PAGE (GI_POOL_SIZE / GI_ALIGNMENT)

/* --- the table's memory ----------------------------------------------------------------------- */

/* From the system's allocator, past every hook. */
static void *table_malloc(size_t size) { return malloc(size); }

static void *table_realloc(void *memory, size_t before, size_t size, bool defer) {
    (void)before;
    (void)defer;
    return realloc(memory, size);
}

static void table_free(void *memory, size_t size, bool defer) {
    (void)size;
    (void)defer;
    free(memory);
}

static struct ck_malloc table_memory = {.malloc = table_malloc, .realloc = table_realloc, .free = table_free};

/* --- shards ----------------------------------------------------------------------------------- */

static gi_ledger_shard *shard_of(gi_ledger *ledger, const void *address) {
    return &ledger->shards[((uintptr_t)address >> 4) * 0x9e3779b97f4a7c15u >> 61];
}
_Static_assert(GI_LEDGER_SHARDS == 1u << (64 - 61), "three bits of the product choose the shard");

bool gi_ledger_put_elsewhere(gi_ledger *ledger, const void *address, uint64_t value) {
    gi_ledger_shard *shard = shard_of(ledger, address);
    ck_ht_entry_t entry;
    ck_ht_hash_t hash;
    gi_mutex_lock(&shard->mutex);
    ck_ht_hash_direct(&hash, &shard->table, (uintptr_t)address);
    ck_ht_entry_set_direct(&entry, hash, (uintptr_t)address, value);
    bool put = ck_ht_set_spmc(&shard->table, hash, &entry);
    bool is_new = put && ck_ht_entry_empty(&entry); /* else it is the one before */
    gi_mutex_unlock(&shard->mutex);
    if (is_new) {
        gi_fetch_add_relaxed(&ledger->entries, 1);
    }
    return put;
}

uint64_t gi_ledger_get_elsewhere(gi_ledger *ledger, const void *address) {
    gi_ledger_shard *shard = shard_of(ledger, address);
    ck_ht_entry_t entry;
    ck_ht_hash_t hash;
    gi_mutex_lock(&shard->mutex);
    ck_ht_hash_direct(&hash, &shard->table, (uintptr_t)address);
    ck_ht_entry_key_set_direct(&entry, (uintptr_t)address);
    uint64_t value = ck_ht_get_spmc(&shard->table, hash, &entry) ? ck_ht_entry_value_direct(&entry) : 0;
    gi_mutex_unlock(&shard->mutex);
    return value;
}

uint64_t gi_ledger_take_elsewhere(gi_ledger *ledger, const void *address) {
    gi_ledger_shard *shard = shard_of(ledger, address);
    ck_ht_entry_t entry;
    ck_ht_hash_t hash;
    gi_mutex_lock(&shard->mutex);
    ck_ht_hash_direct(&hash, &shard->table, (uintptr_t)address);
    ck_ht_entry_key_set_direct(&entry, (uintptr_t)address);
    uint64_t value = ck_ht_remove_spmc(&shard->table, hash, &entry) ? ck_ht_entry_value_direct(&entry) : 0;
    gi_mutex_unlock(&shard->mutex);
    if (value != 0) {
        gi_fetch_sub_relaxed(&ledger->entries, 1);
    }
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
    (void)word;
    gi_ledger_word *words = gi_ledger_shadow_word(work->ledger, pool->memory);
    for (size_t i = 0; words != NULL && i < WORDS_A_PAGE; i++) {
        uint64_t value = gi_load_relaxed(&words[i]);
        if (value != 0) {
            work->visit(pool->memory + i * GI_ALIGNMENT, value, work->arg);
        }
    }
    return 0;
}

void gi_ledger_each(gi_ledger *ledger, void (*visit)(const void *address, uint64_t value, void *arg), void *arg) {
    walk work = {ledger, visit, arg};
    gi_address_map_walk(visit_pool, &work);
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_ledger_shard *shard = &ledger->shards[i];
        ck_ht_iterator_t iterator = CK_HT_ITERATOR_INITIALIZER;
        ck_ht_entry_t *entry;
        gi_mutex_lock(&shard->mutex);
        while (ck_ht_next(&shard->table, &iterator, &entry)) {
            visit((const void *)entry->key, ck_ht_entry_value_direct(entry), arg);
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
        ck_ht_iterator_t iterator = CK_HT_ITERATOR_INITIALIZER;
        ck_ht_entry_t *entry;
        gi_mutex_lock(&shard->mutex);
        uint64_t count = ck_ht_count(&shard->table);
        if (!ck_ht_reset_size_spmc(&shard->table, FIRST_ENTRIES)) { /* out of memory: one by one */
            while (ck_ht_next(&shard->table, &iterator, &entry)) {
                ck_ht_entry_t copy = *entry;
                ck_ht_hash_t hash;
                ck_ht_hash_direct(&hash, &shard->table, copy.key);
                ck_ht_remove_spmc(&shard->table, hash, &copy);
            }
        }
        gi_mutex_unlock(&shard->mutex);
        gi_fetch_sub_relaxed(&ledger->entries, count);
    }
}

size_t gi_ledger_bytes(gi_ledger *ledger) {
    size_t shadow = ledger->shadow != NULL ? gi_os_slots_used() * (GI_ARENA_SIZE / GI_ALIGNMENT) * 8 : 0;
    return shadow + (size_t)gi_load_relaxed(&ledger->entries) * 2 * sizeof(ck_ht_entry_t); /* relaxed: a statistic */
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool open_shards(gi_ledger *ledger) {
    for (unsigned i = 0; i < GI_LEDGER_SHARDS; i++) {
        gi_mutex_init(&ledger->shards[i].mutex, GI_RANK_LEDGER);
        if (!ck_ht_init(&ledger->shards[i].table, CK_HT_MODE_DIRECT | CK_HT_WORKLOAD_DELETE, NULL, &table_memory,
                        FIRST_ENTRIES, SEED)) {
            while (i-- != 0) {
                ck_ht_destroy(&ledger->shards[i].table);
            }
            return false;
        }
    }
    return true;
}

static bool open_locked(gi_ledger *ledger) {
    if (gi_ledger_is_open(ledger)) {
        return true;
    }
    gi_assert(ledger_count < GI_LEDGERS_MAX);
    if (!open_shards(ledger)) {
        return false;
    }
    size_t words = gi_os_reservation()->pages * WORDS_A_PAGE;
    ledger->shadow = words != 0 ? gi_os_map(words * sizeof(gi_ledger_word)) : NULL;
    ledgers[ledger_count++] = ledger;
    /* order(ledger): release; pairs with acquire in gi_ledger_is_open(). */
    gi_store_release(&ledger->is_open, 1);
    return true;
}

bool gi_ledger_open(gi_ledger *ledger) {
    gi_mutex_lock(&ledgers_mutex);
    bool opened = open_locked(ledger);
    gi_mutex_unlock(&ledgers_mutex);
    return opened;
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
