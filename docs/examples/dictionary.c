/* SPDX-License-Identifier: MIT */
/*
 * dictionary.c - a hash table that is read without a lock.
 *   Owner   any attached thread.
 *   Locks   `writers`: held over no safepoint, so an attached thread may wait for it.
 * A table has open addressing.  An entry gets its key once, when its slot is filled
 * already; a removed key stays, with an empty slot, until a new table is made.
 * Orders: a key is released by set_in() and acquired by key_of(); a table is released
 * by grow() and acquired by dictionary_look().
 */
#include "docs/examples/runtime.h"

struct entry {
    atomic_long key; /* 0: free */
    slot object;
};

struct table {
    size_t room; /* a power of two; at least a quarter is free */
    struct entry entries[];
};

static long key_of(struct entry *entry) { return atomic_load_explicit(&entry->key, memory_order_acquire); }

/* The entry of `key`, or the free one where it belongs. */
static struct entry *find(struct table *table, long key) {
    size_t at = (size_t)key * 0x9e3779b97f4a7c15u >> 20;
    for (;; at++) {
        struct entry *entry = &table->entries[at & (table->room - 1)];
        long there = key_of(entry);
        if (there == key || there == 0) return entry;
    }
}

struct object *dictionary_look(struct dictionary *dictionary, long key) {
    struct table *table = atomic_load_explicit(&dictionary->table, memory_order_acquire);
    if (table == NULL) return NULL;
    struct entry *entry = find(table, key);
    if (key_of(entry) != key) return NULL; /* it is free, or another key has come there by now */
    return atomic_load_explicit(&entry->object, memory_order_acquire);
}

struct object *dictionary_get(struct dictionary *dictionary, long key) {
    for (;;) {
        struct object *object = dictionary_look(dictionary, key);
        if (object == NULL || object_try_ref(object)) return object;
        /* It has ended: it was replaced, here or in a newer table. */
    }
}

static void set_in(struct entry *entry, long key, struct object *object) {
    slot_set(&entry->object, object);
    atomic_store_explicit(&entry->key, key, memory_order_release);
}

/* A new table with room for twice what there is, which takes over the references.  0, or -1: no memory. */
static int grow(struct dictionary *dictionary) {
    struct table *old = atomic_load_explicit(&dictionary->table, memory_order_relaxed);
    size_t used = 0, room = 8, old_room = old == NULL ? 0 : old->room;
    for (size_t i = 0; i < old_room; i++) {
        used += atomic_load_explicit(&old->entries[i].object, memory_order_relaxed) != NULL;
    }
    while (room < used * 3) room *= 2;
    struct table *table = PyMem_Calloc(1, sizeof(*table) + room * sizeof(struct entry));
    if (table == NULL) return -1;
    table->room = room;
    for (size_t i = 0; i < old_room; i++) {
        struct object *object = atomic_load_explicit(&old->entries[i].object, memory_order_relaxed);
        long key = atomic_load_explicit(&old->entries[i].key, memory_order_relaxed);
        if (object != NULL) set_in(find(table, key), key, object);
    }
    dictionary->used = used;
    atomic_store_explicit(&dictionary->table, table, memory_order_release);
    gilloc_retire(PYMEM_DOMAIN_MEM, old); /* others may be in find(); NULL does nothing */
    return 0;
}

int dictionary_set(struct dictionary *dictionary, long key, struct object *object) {
    int done = 0;
    object_share(object);
    pthread_mutex_lock(&dictionary->writers);
    struct table *table = atomic_load_explicit(&dictionary->table, memory_order_relaxed);
    if (table == NULL || dictionary->used >= table->room / 4 * 3) done = grow(dictionary);
    if (done == 0) {
        table = atomic_load_explicit(&dictionary->table, memory_order_relaxed);
        struct entry *entry = find(table, key);
        if (object != NULL && key_of(entry) == 0) dictionary->used++;
        if (object != NULL) {
            set_in(entry, key, object);
        } else {
            slot_set(&entry->object, NULL);
        }
    }
    pthread_mutex_unlock(&dictionary->writers);
    return done;
}

int dictionary_init(struct dictionary *dictionary) {
    atomic_init(&dictionary->table, NULL);
    dictionary->used = 0;
    return pthread_mutex_init(&dictionary->writers, NULL) == 0 ? 0 : -1;
}

void dictionary_fini(struct dictionary *dictionary) {
    struct table *table = atomic_load_explicit(&dictionary->table, memory_order_relaxed);
    for (size_t i = 0; table != NULL && i < table->room; i++) slot_set(&table->entries[i].object, NULL);
    PyMem_Free(table);
    pthread_mutex_destroy(&dictionary->writers);
}
