/* SPDX-License-Identifier: MIT */
/*
 * runtime.h [L6] - the one runtime: first use, thread states, attach and detach, fork, and who calls whom.
 *
 *   The only files that know all layers are those of lib/api; runtime.c is the only one that wires them: it makes the
 *   library ready at the first call that needs it, and lends upwards calls to the layers below (gi_object_up).
 *
 *   attach   thread state -> lock (gil mode) or online (GIL-free mode) -> its cache becomes current
 *   detach   the reverse, after what has been retired above the limit was freed
 *
 *   A thread state and its cache are one piece of memory, used again by other threads and never given back.
 *   An interpreter is a registry of thread states with its lock, and a heap group.  It is never given back either.
 *   Owner   a thread state belongs to the thread attached by it, else to whoever holds its pointer; in a stopped world
 *           the stopper may act for any.
 *   Locks   runtime (GI_RANK_RUNTIME) for first use, mode, the caller's lock, new interpreters.
 *   Orders  ready: what first use has set up is seen by whoever sees that it is done.
 */
#ifndef GI_RUNTIME_H
#define GI_RUNTIME_H

#include <gilloc/gilloc.h>
#include <stdbool.h>
#include <stddef.h>

#include "concurrency/stop.h"
#include "concurrency/thread_state.h"
#include "lib/cache/thread_cache.h"

struct _is {
    gi_registry registry;
    gi_heap_group *group; /* constant after init */
    bool deleted;         /* guarded by runtime: spare */
};

struct _ts {
    gi_thread_state thread;
    gi_thread_cache cache;
    PyInterpreterState *interpreter; /* constant after init */
    gi_atomic(const void *) bound;   /* relaxed: the thread whose PyGILState_Ensure() uses this state, by its TLS */
    uint32_t ensured;                /* owner-only, or the stopper's: PyGILState_Ensure() calls not yet released */
    bool made_by_ensure;             /* owner-only */
};

/* What other threads write to has lines of its own: the status and the asks; the lists of remote frees.  All else is
   the thread's, and in its lines. */
_Static_assert(offsetof(struct _ts, cache) % GI_CACHE_LINE == 0, "the status is in no line of the cache");
_Static_assert(offsetof(gi_thread_cache, own) % GI_CACHE_LINE == 0, "a claim writes to no line of bins and slots");
_Static_assert(offsetof(gi_heap, remote) % GI_CACHE_LINE == 0, "a push writes to no line of the owner's");
_Static_assert(sizeof(struct _ts) % GI_CACHE_LINE == 0, "the next one begins with a line");

extern struct _is gi_main_interpreter GI_INTERNAL;

/* What an operating-system thread knows of itself besides gi_current_cache. */
typedef struct gi_this_thread {
    PyThreadState *gilstate; /* the state that PyGILState_Ensure() uses; valid if it is bound to this thread */
    bool ends_known;         /* its end will be noticed */
    bool ended;              /* thread_ends() has run; other destructors may attach again */
    bool forking;            /* between gi_runtime_before_fork() and after: it holds every mutex */
    bool stopped_to_fork;    /* and has stopped the world for it */
} gi_this_thread;
extern __thread gi_this_thread gi_this GI_INTERNAL __attribute__((tls_model("initial-exec")));

/* Defined in print_stats.c: sees to what is to be printed by itself.  As the library becomes ready, with its options
   read. */
void gi_runtime_up_print(void);

/* Makes the library ready. */
void gi_runtime_ready_slow(void);
extern gi_atomic(uint32_t) gi_runtime_is_ready GI_INTERNAL; /* atomic, order(ready) */
static inline void gi_runtime_ready(void) {
    /* order(ready): acquire; pairs with release in gi_runtime_ready_slow(). */
    if (gi_unlikely(gi_load_acquire(&gi_runtime_is_ready) == 0 || gi_this.forking)) {
        gi_runtime_ready_slow();
    }
}

/* A runtime's own lock takes the place of ours. */
static inline bool gi_runtime_has_outer_lock(void) { return gi_main_interpreter.registry.gil.outer.acquire != NULL; }
/* Whether this thread holds it. */
static inline bool gi_runtime_outer_held(void) { return gi_gil_outer_held(&gi_main_interpreter.registry.gil); }

/* The state that a cache is part of. */
static inline PyThreadState *gi_runtime_state_of(gi_thread_cache *cache) {
    return (PyThreadState *)(void *)((char *)cache - offsetof(struct _ts, cache));
}
/* The state by which this thread is attached, or NULL. */
static inline PyThreadState *gi_runtime_current(void) {
    gi_thread_cache *cache = gi_current_cache;
    return gi_cache_is_attached(cache) ? gi_runtime_state_of(cache) : NULL;
}
/* If this thread holds a runtime's own lock, attaches it; its state, or NULL. */
PyThreadState *gi_runtime_attach_itself(void);
static inline PyThreadState *gi_runtime_current_or_attach(void) {
    PyThreadState *state = gi_runtime_current();
    return gi_likely(state != NULL) ? state : gi_runtime_attach_itself();
}
/* The state that PyGILState_Ensure() uses in this thread, or NULL. */
PyThreadState *gi_runtime_gilstate(void);

/* The interpreter of a registry. */
static inline PyInterpreterState *gi_runtime_interpreter_of(gi_registry *registry) {
    return (PyInterpreterState *)(void *)((char *)registry - offsetof(struct _is, registry));
}
/* A new interpreter, or NULL.  Whether `interpreter` is one, and not deleted.  Deletes one that is not the main one,
   with its states. */
PyInterpreterState *gi_runtime_new_interpreter(void);
bool gi_runtime_is_interpreter(const PyInterpreterState *interpreter);
/* What its detached threads have cached goes back, and what was retired in it is freed: in a stopped world. */
void gi_runtime_empty(PyInterpreterState *interpreter, const char *function);
void gi_runtime_delete_interpreter(PyInterpreterState *interpreter, const char *function);

/* A new, detached state, or NULL when memory is out. */
PyThreadState *gi_runtime_new(PyInterpreterState *interpreter);
/* Ends a state; dies if it is attached.  Waits while another thread has stopped the world. */
void gi_runtime_delete(PyThreadState *state, const char *function);
/* Attaches this thread, which is detached, by `state`; dies if `state` is attached. */
void gi_runtime_attach(PyThreadState *state, const char *function);
/* The same state, for the caller to return. */
PyThreadState *gi_runtime_detach(PyThreadState *state, const char *function);

/* What a safepoint does if there is anything to do. */
void gi_runtime_safepoint_slow(PyThreadState *state);
/* Frees what the thread has retired, and what ended ones left, after a grace period in GIL-free mode. */
void gi_runtime_reclaim(PyThreadState *state);
/* The same, with a grace period even if there is nothing to free: the caller may free by itself what it unlinked. */
void gi_runtime_wait_and_reclaim(PyThreadState *state);
/* Stops the world, attached or not; nests. */
void gi_runtime_stop(const char *function);
/* In a stopped world, for `function`: frees what has been retired in every thread of `group`, or of all if it is NULL,
   and what waits in debug hooks' quarantines there. */
void gi_runtime_reclaim_all(const gi_heap_group *group, const char *function);

/* Has what waits in each interpreter freed at a safepoint, if it is above the limit: after pools were emptied, or
   batches left, by a thread that is not attached there. */
void gi_runtime_ask_if_due(void);
void gi_runtime_set_retire_limit(uint64_t bytes);

/* Around looks into the caches of others: the stopper of the world waits for the end.  False if another thread is the
   stopper: not now.  Nothing of the user's is called between. */
bool gi_runtime_begin_claims(void);
void gi_runtime_end_claims(void);
/* Between the two: whether the caller may look into the caches of the interpreter's detached threads, by claiming them:
   in gil mode it takes the lock for that if it is free, and *taken says that it is to be dropped. */
bool gi_runtime_may_claim(PyInterpreterState *interpreter, bool *taken);

/* As the library becomes ready: what the environment says of tracing and sampling. */
void gi_runtime_start_tracing(void);

/* See the public functions of the same names. */
void gi_runtime_set_stop_deadline(uint64_t microseconds);
int gi_runtime_set_mode(gilloc_mode mode);
int gi_runtime_set_lock(const gilloc_lock *lock);
void gi_runtime_before_fork(void);
void gi_runtime_after_fork_parent(void);
void gi_runtime_after_fork_child(void);

#endif /* GI_RUNTIME_H */
