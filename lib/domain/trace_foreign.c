/* SPDX-License-Identifier: MIT */
/*
 * trace_foreign.c [L5] - words for blocks of other allocators.  Theory: trace_foreign.h.
 *   Locks   foreign.
 */
#include "lib/domain/trace_foreign.h"

#include <stdlib.h>

#include "concurrency/mutex.h"

/* uthash: memory comes from the system's allocator, past every hook; when it is out, an entry is not added. */
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, length, hash) hash = hash_of(key)
#define HASH_KEYCMP(a, b, length) (!same_key(a, b))
#include <uthash.h>

typedef struct foreign_key {
    uintptr_t pointer;
    uintptr_t domain; /* so wide that there is no gap */
} foreign_key;

/* Fibonacci hashing, as in ledger.c. */
static unsigned hash_of(const foreign_key *key) {
    return (unsigned)(((key->pointer >> 4) + key->domain) * 0x9e3779b97f4a7c15u >> 24);
}

static bool same_key(const foreign_key *a, const foreign_key *b) {
    return a->pointer == b->pointer && a->domain == b->domain;
}

typedef struct entry {
    foreign_key key;
    uint64_t word;
    UT_hash_handle hh;
} entry;

static gi_mutex mutex = GI_MUTEX_INIT(GI_RANK_FOREIGN);
static entry *table; /* guarded by mutex */

/* --- words ------------------------------------------------------------------------------------ */

static entry *find_locked(foreign_key key) {
    entry *found;
    HASH_FIND(hh, table, &key, sizeof(key), found);
    return found;
}

static bool add_locked(foreign_key key, uint64_t word) {
    entry *added = malloc(sizeof(*added));
    if (added == NULL) {
        return false;
    }
    added->key = key;
    added->word = word;
    HASH_ADD(hh, table, key, sizeof(key), added);
    bool done = added->hh.tbl != NULL;
    if (!done) {
        free(added);
    }
    return done;
}

bool gi_foreign_put(unsigned domain, uintptr_t pointer, uint64_t word, uint64_t *before) {
    foreign_key key = {pointer, domain};
    gi_mutex_lock(&mutex);
    entry *found = find_locked(key);
    bool put = true;
    *before = found != NULL ? found->word : 0;
    if (found != NULL) {
        found->word = word;
    } else {
        put = add_locked(key, word);
    }
    gi_mutex_unlock(&mutex);
    return put;
}

static void remove_locked(entry *of) {
    HASH_DELETE(hh, table, of);
    free(of);
}

uint64_t gi_foreign_take(unsigned domain, uintptr_t pointer) {
    uint64_t word = 0;
    gi_mutex_lock(&mutex);
    entry *found = find_locked((foreign_key){pointer, domain});
    if (found != NULL) {
        word = found->word;
        remove_locked(found);
    }
    gi_mutex_unlock(&mutex);
    return word;
}

void gi_foreign_each(void (*visit)(const void *pointer, uint64_t word, void *arg), void *arg) {
    gi_mutex_lock(&mutex);
    for (const entry *of = table; of != NULL; of = of->hh.next) {
        visit((const void *)of->key.pointer, of->word, arg);
    }
    gi_mutex_unlock(&mutex);
}

void gi_foreign_clear(void) {
    gi_mutex_lock(&mutex);
    entry *of = table;
    HASH_CLEAR(hh, table); /* of all but the entries */
    while (of != NULL) {
        entry *next = of->hh.next;
        free(of);
        of = next;
    }
    gi_mutex_unlock(&mutex);
}

size_t gi_foreign_bytes(void) {
    gi_mutex_lock(&mutex);
    size_t count = HASH_COUNT(table);
    gi_mutex_unlock(&mutex);
    return count * sizeof(entry);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_foreign_before_fork(void) { gi_mutex_lock(&mutex); }

void gi_foreign_after_fork(void) { gi_mutex_unlock(&mutex); }
