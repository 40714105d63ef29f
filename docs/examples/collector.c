/* SPDX-License-Identifier: MIT */
/*
 * collector.c - ends objects that refer to each other in a circle, and that nothing else refers to.
 *   Owner   any attached thread; several take turns.
 *   Locks   none: the world is stopped.
 * An object is in use if it has more references than fields refer to it (somebody
 * outside has one: a thread, the dictionary), or if a field of one in use refers to it.
 */
#include "docs/examples/runtime.h"

enum { IN_USE = -1 }; /* in `inside` */

static struct object *field(struct object *object, int i) {
    return atomic_load_explicit(&object->fields[i], memory_order_relaxed);
}

static long refs(struct object *object) { return atomic_load_explicit(&object->refs, memory_order_relaxed); }

/* 1. Counts the references from fields.  An object without references has ended, and no memory was left to free it. */
static int count_inside(void *block, size_t size, void *unused) {
    struct object *object = block;
    (void)size, (void)unused;
    for (int i = 0; i < FIELDS && refs(object) != 0; i++) {
        if (field(object, i) != NULL) field(object, i)->inside++;
    }
    return 0;
}

static void use(struct object *object, struct object **list) {
    object->inside = IN_USE;
    object->next = *list;
    *list = object;
}

/* 2. Finds those that have references from outside, and all that these lead to. */
static int mark(void *block, size_t size, void *unused) {
    struct object *object = block, *list = NULL;
    (void)size, (void)unused;
    if (object->inside != IN_USE && refs(object) > object->inside) use(object, &list);
    while (list != NULL) {
        object = list;
        list = object->next;
        for (int i = 0; i < FIELDS; i++) {
            struct object *other = field(object, i);
            if (other != NULL && other->inside != IN_USE) use(other, &list);
        }
    }
    return 0;
}

/* 3. Makes a list of the others.  None is freed during a walk. */
static int sweep(void *block, size_t size, void *arg) {
    struct object *object = block, **garbage = arg;
    (void)size;
    if (object->inside != IN_USE && refs(object) != 0) {
        object->next = *garbage;
        *garbage = object;
    }
    object->inside = 0;
    return 0;
}

long collect(void) {
    struct object *garbage = NULL;
    gilloc_stop_the_world();
    gilloc_visit_blocks(object_kind, count_inside, NULL);
    gilloc_visit_blocks(object_kind, mark, NULL);
    gilloc_visit_blocks(object_kind, sweep, &garbage);
    /* What they refer to may be another thread's own, so it is let go while that one stands still; the garbage
       itself does not end by this, since there is a reference of ours to each. */
    for (struct object *object = garbage; object != NULL; object = object->next) object_ref(object);
    for (struct object *object = garbage; object != NULL; object = object->next) {
        for (int i = 0; i < FIELDS; i++) slot_set(&object->fields[i], NULL);
    }
    gilloc_start_the_world();
    long count = 0;
    while (garbage != NULL) {
        struct object *object = garbage;
        garbage = object->next;
        gilloc_free(object_kind, object); /* at once: all others have passed a safepoint */
        count++;
    }
    return count;
}

static int count_one(void *block, size_t size, void *count) {
    (void)block, (void)size;
    ++*(long *)count;
    return 0;
}

long count_objects(void) {
    long count = 0;
    gilloc_visit_blocks(object_kind, count_one, &count);
    return count;
}
