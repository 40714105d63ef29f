/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - a small object runtime on gilloc: objects with reference counts,
 * a dictionary that is read without a lock, a collector of cycles.
 *   Owner   any attached thread, but where a line says otherwise.
 *   Locks   the dictionary's, held over no safepoint.
 * docs/tutorial.md builds it up step by step.  The caller of each function must be
 * attached.  Only collect() passes a safepoint: so whatever another function does
 * is done, as seen from a stopped world.  The mode changes while there are no objects.
 */
#ifndef DOCS_EXAMPLES_RUNTIME_H
#define DOCS_EXAMPLES_RUNTIME_H

#include <gilloc/gilloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* --- objects ---------------------------------------------------------------------------------- */

enum { FIELDS = 2 };

typedef _Atomic(struct object *) slot; /* a place that owns a reference, or NULL */

struct object {
    atomic_long refs;
    long number; /* what the program wants of it; never changes */
    bool shared; /* other threads may find it; not used in gil mode; never unset */
    slot fields[FIELDS];
    long inside;         /* of the collector: references from fields; 0 between collections */
    struct object *next; /* of the collector, and of objects that die */
};

extern int object_kind; /* what objects, and nothing else, are allocated in */

/* Makes the kind, once. 0, or -1. */
int objects_init(void);
/* A new, private object with one reference, the caller's; the fields take over those to `first` and `second`.
   NULL: no memory, and the two are still the caller's. */
struct object *object_new(long number, struct object *first, struct object *second);
/* One reference more, for who has one already. */
void object_ref(struct object *object);
/* One reference less; the last one ends the object.  NULL does nothing. */
void object_unref(struct object *object);
/* One reference more, for who has found `object` in a slot since its last safepoint; false if it has ended. */
bool object_try_ref(struct object *object);

/* To be called before other threads can find a new object: until then its counts need not be atomic, and it is freed
   at once.  A private object is its thread's alone, and what it refers to is shared by this too. */
void object_share(struct object *object);

/* What is in the slot, with a reference for the caller; or NULL. */
struct object *slot_get(slot *place);
/* Puts `object` there, with the caller's reference; it must be shared if the slot is. */
void slot_set(slot *place, struct object *object);
/* The same for a field: shares `value` if need be. */
void field_set(struct object *object, int i, struct object *value);

/* --- the dictionary --------------------------------------------------------------------------- */

struct table; /* constant, but for its slots and its free entries */

struct dictionary {
    _Atomic(struct table *) table; /* NULL: empty */
    pthread_mutex_t writers;       /* held by who changes anything */
    size_t used;                   /* keys in the table, removed ones included; guarded by writers */
};

int dictionary_init(struct dictionary *dictionary);
/* Removes all; no other thread may know it any more. */
void dictionary_fini(struct dictionary *dictionary);
/* The object of `key`, or NULL; no reference, no lock, nothing is written.  It may be read until the caller's next
   safepoint, or until the caller itself lets a reference go. */
struct object *dictionary_look(struct dictionary *dictionary, long key);
/* The same with a reference for the caller. */
struct object *dictionary_get(struct dictionary *dictionary, long key);
/* Makes `object` that of `key`, which is not 0, with the caller's reference; NULL removes it.
   0; -1: no memory, nothing is changed, and the reference is still the caller's. */
int dictionary_set(struct dictionary *dictionary, long key, struct object *object);

/* --- the collector ---------------------------------------------------------------------------- */

/* Ends all objects that no reference from outside leads to; how many.  A safepoint. */
long collect(void);
/* Objects there are.  A safepoint. */
long count_objects(void);

#endif /* DOCS_EXAMPLES_RUNTIME_H */
