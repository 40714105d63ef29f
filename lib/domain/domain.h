/* SPDX-License-Identifier: MIT */
/*
 * domain.h [L5] - the three domains and their allocators.
 *
 *   A domain's allocator is one immutable table of five words.  Installing one publishes a pointer to it by one release
 *   store, so that a call sees one table whole; tables are kept for ever (and found again when they come back), since a
 *   call may be inside one.  No table (NULL) means the default allocator, whose fast path is open then, if it is the
 *   plain one.
 *
 *   call -> watcher (tracing), if there is one -> the installed table, if there is one -> the default allocator
 *
 *   A watcher is not installed: PyMem_GetAllocator() does not see it, so it comes and goes at any time whatever is
 *   installed.  What the default allocator is, is chosen once, before the library is ready.
 *
 *   Owner   the tables.  Locks   domain (GI_RANK_DOMAIN) for installing.
 *   Orders  domain-table: a table's words are seen by whoever sees the pointer.
 */
#ifndef GI_DOMAIN_H
#define GI_DOMAIN_H

#include <gilloc/pymem.h>
#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"

enum { GI_DOMAINS = 3 };

static inline bool gi_domain_is_known(PyMemAllocatorDomain domain) { return (unsigned)domain < GI_DOMAINS; }

/* The calls of a domain, by its table or by default.  They refuse sizes above PY_SSIZE_T_MAX before anything else.
   `caller` is where the public function was called from; NULL: by this library, in a call of another one. */
void *gi_domain_malloc(PyMemAllocatorDomain domain, size_t size, const void *caller);
void *gi_domain_calloc(PyMemAllocatorDomain domain, size_t count, size_t size, const void *caller);
void *gi_domain_realloc(PyMemAllocatorDomain domain, void *block, size_t size, const void *caller);
void gi_domain_free(PyMemAllocatorDomain domain, void *block, const void *caller);

/* For debug hooks and watchers: the caller of the call that is being served, in this thread. */
extern __thread const void *gi_domain_caller GI_INTERNAL __attribute__((tls_model("initial-exec")));

/* The caller of a public function, in that function itself. */
#define GI_CALLER __builtin_return_address(0)

/* Whether another allocator than one of gilloc's own heap (of raw: the system's) serves the domain, watchers aside. */
bool gi_domain_is_replaced(PyMemAllocatorDomain domain);
/* Whether the system's allocator serves the domain: raw where nothing is installed, the others with PYTHONMALLOC=malloc
   too; watchers aside. */
bool gi_domain_is_of_system(PyMemAllocatorDomain domain);
/* Whether gilloc's own heap (of raw: the system) serves calls at once: nothing is installed, nobody watches. */
bool gi_domain_is_default(PyMemAllocatorDomain domain);

/* From now on all calls go to these words, one for each domain and constant, which pass them on to
   gi_domain_watched(); NULL: nobody watches.  A domain whose words are NULL is not watched. */
void gi_domain_watch(const PyMemAllocatorEx *tables_of_watcher);
/* Whether the fast path may stand for the default allocators. */
bool gi_domain_is_fast(void);
/* What serves a domain but for the watcher. */
const PyMemAllocatorEx *gi_domain_watched(PyMemAllocatorDomain domain);

/* What serves a domain where nothing is installed. */
typedef struct gi_domain_defaults {
    PyMemAllocatorEx tables[GI_DOMAINS];
    bool fast; /* the fast path of mem and object may stand for them */
} gi_domain_defaults;
/* The system's allocator for mem and object too; who calls must be attached. */
extern const gi_domain_defaults gi_domain_malloc_defaults GI_INTERNAL;
/* gilloc's own heap in hardened mode. */
extern const gi_domain_defaults gi_domain_hardened_defaults GI_INTERNAL;
/* Other default allocators than the plain ones; constant.  Before gi_domain_ready(). */
void gi_domain_use(const gi_domain_defaults *others);

/* Whether the words are those of gilloc's own heap, neither hardened nor watched: then its fast path may be called in
   place of them, with gi_open_limits. */
bool gi_domain_is_heap(PyMemAllocatorDomain domain, const PyMemAllocatorEx *allocator);

void gi_domain_get(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);
void gi_domain_set(PyMemAllocatorDomain domain, const PyMemAllocatorEx *allocator);

/* The library is ready: opens the fast path of each domain that has its default allocator. */
void gi_domain_ready(void);
/* Whether a runtime's own lock takes the place of ours: large blocks are then for the slow path, which asks it. */
void gi_domain_lock_is_theirs(bool theirs);
extern gi_atomic(bool) gi_domain_lock GI_INTERNAL; /* relaxed: set before the first attach */
static inline bool gi_domain_lock_is_to_be_asked(void) { return gi_load_relaxed(&gi_domain_lock); }

void gi_domain_before_fork(void);
void gi_domain_after_fork(void);

#endif /* GI_DOMAIN_H */
