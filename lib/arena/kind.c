/* SPDX-License-Identifier: MIT */
/*
 * kind.c [L3] - a kind: what keeps blocks apart; mem, object, and those that a runtime makes.
 *   Locks   kind.
 *   Orders  kind.
 */
#include "lib/arena/kind.h"

#include <string.h>

#include "concurrency/atomic.h"
#include "concurrency/mutex.h"

/* Read by every thread, written as kinds are made: in lines of its own (tests/counts). */
gi_kind gi_kinds[GI_KINDS]
    __attribute__((aligned(GI_CACHE_LINE))) = {[GI_KIND_MEM] = {.name = "mem"}, [GI_KIND_OBJECT] = {.name = "object"}};

static gi_atomic(unsigned) count = GI_KIND_OBJECT + 1; /* atomic, order(kind) */
static gi_mutex kind_mutex = GI_MUTEX_INIT(GI_RANK_KIND);
static bool hardened; /* guarded by kind_mutex */
static bool watched;  /* guarded by kind_mutex */

unsigned gi_kind_count(void) {
    /* order(kind): acquire; pairs with release in gi_kind_make(). */
    return gi_load_acquire(&count);
}

/* A link, and a tail behind it. */
static void set_tail_locked(gi_kind *kind) {
    bool room = kind->link_offset + sizeof(void *) + sizeof(uint64_t) <= GI_SMALL_MAX;
    kind->tail = hardened && room ? sizeof(uint64_t) : 0;
}

/* Behind the untouched bytes, or where a tool watches before the block. */
static void set_link_locked(gi_kind *kind) {
    kind->link_offset = watched ? 0 : kind->untouched;
    kind->least = (uint16_t)(kind->link_offset != 0 ? kind->link_offset + sizeof(void *) : 0);
}

int gi_kind_make(const char *name, size_t untouched, bool type_stable) {
    gi_mutex_lock(&kind_mutex);
    unsigned kind = gi_load_relaxed(&count); /* relaxed: under kind_mutex */
    bool left = kind < GI_KINDS;
    if (left) {
        gi_kind *made = &gi_kinds[kind];
        made->untouched = (uint16_t)((untouched + sizeof(void *) - 1) & ~(sizeof(void *) - 1));
        set_link_locked(made);
        made->type_stable = type_stable;
        set_tail_locked(made);
        strncpy(made->name, name, GI_KIND_NAME_SIZE - 1);
        /* order(kind): release; pairs with acquire in gi_kind_count(). */
        gi_store_release(&count, kind + 1);
    }
    gi_mutex_unlock(&kind_mutex);
    return left ? (int)kind : -1;
}

void gi_kind_watch(void) {
    gi_mutex_lock(&kind_mutex);
    watched = true;
    for (unsigned kind = 0; kind < gi_load_relaxed(&count); kind++) { /* relaxed: under kind_mutex */
        set_link_locked(&gi_kinds[kind]);
    }
    gi_mutex_unlock(&kind_mutex);
}

void gi_kind_harden(void) {
    gi_mutex_lock(&kind_mutex);
    hardened = true;
    for (unsigned kind = 0; kind < gi_load_relaxed(&count); kind++) { /* relaxed: under kind_mutex */
        set_tail_locked(&gi_kinds[kind]);
    }
    gi_mutex_unlock(&kind_mutex);
}

void gi_kind_before_fork(void) { gi_mutex_lock(&kind_mutex); }

void gi_kind_after_fork(void) { gi_mutex_unlock(&kind_mutex); }
