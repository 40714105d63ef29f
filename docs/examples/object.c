/* SPDX-License-Identifier: MIT */
/*
 * object.c - objects with reference counts, and the slots that hold them.
 *   Owner   any attached thread.
 *   Locks   none.
 * Orders: what is in an object is published with the pointer to it, by the release
 * of slot_set(), and acquired by slot_get().  The last of those that give up their
 * references acquires what the others did before (object_unref()).
 */
#include <assert.h>
#include <stddef.h>

#include "docs/examples/runtime.h"

int object_kind;

static_assert(sizeof(struct object) <= 512, "gilloc_visit_blocks() visits small blocks");

int objects_init(void) {
    object_kind = gilloc_new_kind("objects", 0, 0);
    return object_kind < 0 ? -1 : 0;
}

struct object *object_new(long number, struct object *first, struct object *second) {
    struct object *object = gilloc_malloc(object_kind, sizeof(*object));
    if (object == NULL) return NULL;
    object->number = number;
    object->shared = false;
    object->inside = 0;
    atomic_init(&object->refs, 1);
    atomic_init(&object->fields[0], first);
    atomic_init(&object->fields[1], second);
    return object;
}

/* --- counts ----------------------------------------------------------------------------------- */

/* Adds to the count of references; what it is then. */
static long add(struct object *object, long n) {
    if (object->shared) return atomic_fetch_add_explicit(&object->refs, n, memory_order_acq_rel) + n;
    long now = atomic_load_explicit(&object->refs, memory_order_relaxed) + n; /* nobody else is adding */
    atomic_store_explicit(&object->refs, now, memory_order_relaxed);
    return now;
}

/* Ends an object without references, and those that only it referred to: by a list, since chains may be long. */
static void end(struct object *dying) {
    dying->next = NULL;
    while (dying != NULL) {
        struct object *object = dying;
        dying = object->next;
        for (int i = 0; i < FIELDS; i++) {
            struct object *other = atomic_load_explicit(&object->fields[i], memory_order_relaxed);
            if (other != NULL && add(other, -1) == 0) {
                other->next = dying;
                dying = other;
            }
        }
        if (object->shared) {
            gilloc_retire(object_kind, object); /* another thread may be in object_try_ref() */
        } else {
            gilloc_free(object_kind, object);
        }
    }
}

void object_ref(struct object *object) { add(object, 1); }

void object_unref(struct object *object) {
    if (object != NULL && add(object, -1) == 0) end(object);
}

/* --- sharing ---------------------------------------------------------------------------------- */

void object_share(struct object *object) {
    struct object *list = object;
    if (gilloc_get_mode() == GILLOC_MODE_GIL || object == NULL || object->shared) return;
    object->shared = true;
    object->next = NULL;
    while (list != NULL) { /* what is private and can be reached from here becomes shared too */
        object = list;
        list = object->next;
        for (int i = 0; i < FIELDS; i++) {
            struct object *other = atomic_load_explicit(&object->fields[i], memory_order_relaxed);
            if (other == NULL || other->shared) continue;
            other->shared = true;
            other->next = list;
            list = other;
        }
    }
}

bool object_try_ref(struct object *object) {
    if (!object->shared) {
        add(object, 1); /* it was in its slot a moment ago, and nobody else has had it since */
        return true;
    }
    long refs = atomic_load_explicit(&object->refs, memory_order_acquire);
    while (refs != 0) {
        if (atomic_compare_exchange_weak_explicit(&object->refs, &refs, refs + 1, memory_order_acquire,
                                                  memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

/* --- slots ------------------------------------------------------------------------------------ */

struct object *slot_get(slot *place) {
    for (;;) {
        struct object *object = atomic_load_explicit(place, memory_order_acquire);
        if (object == NULL || object_try_ref(object)) return object;
        /* It has ended, so it is not in the slot any more. */
    }
}

void slot_set(slot *place, struct object *object) {
    object_unref(atomic_exchange_explicit(place, object, memory_order_acq_rel));
}

void field_set(struct object *object, int i, struct object *value) {
    if (object->shared) object_share(value);
    slot_set(&object->fields[i], value);
}
