/* SPDX-License-Identifier: MIT */
/*
 * domain.c [L5] - the three domains and their allocators.
 *   Locks   domain, for installing.
 *   Orders  domain-table.
 */
#include "lib/domain/domain.h"

#include "concurrency/check.h"
#include "concurrency/mutex.h"
#include "concurrency/tool.h"
#include "lib/cache/hardened_alloc.h"
#include "lib/cache/object_alloc.h"
#include "lib/cache/sample.h"
#include "lib/domain/probes.h"
#include "lib/os/os_memory.h"
#include "lib/os/raw_alloc.h"

/* --- state ------------------------------------------------------------------------------------ */

typedef struct table {
    PyMemAllocatorEx allocator; /* constant */
    struct table *next;         /* guarded by domain_mutex: all tables ever */
} table;

/* What serves calls, if not the default allocator: the watcher's words, or the installed ones. */
static gi_atomic(const PyMemAllocatorEx *) serving[GI_DOMAINS];       /* atomic, order(domain-table) */
static gi_atomic(const PyMemAllocatorEx *) behind_probes[GI_DOMAINS]; /* the same, but for probes */
static gi_atomic(const table *) installed[GI_DOMAINS]; /* atomic, order(domain-table); NULL: the default one */
static const PyMemAllocatorEx *watchers;               /* guarded by domain_mutex: one for each domain; NULL: none */
__thread const void *gi_domain_caller __attribute__((tls_model("initial-exec")));
static gi_mutex domain_mutex = GI_MUTEX_INIT(GI_RANK_DOMAIN);
static table *tables;           /* guarded by domain_mutex */
static bool ready;              /* guarded by domain_mutex */
static bool probed;             /* guarded by domain_mutex: a tracer looks */
gi_atomic(bool) gi_domain_lock; /* relaxed: as declared; a runtime's own lock is to be asked */

/* --- default allocators, in the form of a table ----------------------------------------------- */

#define DEFAULT_ALLOCATOR(name, kind)                                                       \
    static void *name##_malloc(void *ctx, size_t size) {                                    \
        (void)ctx;                                                                          \
        void *block = gi_object_malloc_fast(kind, &gi_open_limits, size);                   \
        return gi_likely(block != NULL) ? block : gi_object_malloc_slow(kind, size);        \
    }                                                                                       \
    static void *name##_calloc(void *ctx, size_t count, size_t size) {                      \
        (void)ctx;                                                                          \
        void *block = gi_object_calloc_fast(kind, &gi_open_limits, count * size);           \
        return gi_likely(block != NULL) ? block : gi_object_calloc_slow(kind, count, size); \
    }                                                                                       \
    static void *name##_realloc(void *ctx, void *block, size_t size) {                      \
        (void)ctx;                                                                          \
        return gi_object_realloc_slow(kind, block, size);                                   \
    }                                                                                       \
    static void name##_free(void *ctx, void *block) {                                       \
        (void)ctx;                                                                          \
        if (gi_unlikely(!gi_object_free_fast(kind, &gi_open_limits, block))) {              \
            gi_object_free_slow(kind, block);                                               \
        }                                                                                   \
    }

DEFAULT_ALLOCATOR(mem, GI_KIND_MEM)
DEFAULT_ALLOCATOR(object, GI_KIND_OBJECT)

static const gi_domain_defaults plain = {
    .fast = true,
    .tables =
        {
            [PYMEM_DOMAIN_RAW] = {NULL, gi_raw_malloc, gi_raw_calloc, gi_raw_realloc, gi_raw_free},
            [PYMEM_DOMAIN_MEM] = {NULL, mem_malloc, mem_calloc, mem_realloc, mem_free},
            [PYMEM_DOMAIN_OBJ] = {NULL, object_malloc, object_calloc, object_realloc, object_free},
        },
};

/* Of hardened mode. */
#define HARDENED_ALLOCATOR(name, kind)                                 \
    static void *name##_malloc(void *ctx, size_t size) {               \
        (void)ctx;                                                     \
        return gi_object_malloc_hardened(kind, size);                  \
    }                                                                  \
    static void *name##_calloc(void *ctx, size_t count, size_t size) { \
        (void)ctx;                                                     \
        return gi_object_calloc_slow(kind, count, size);               \
    }                                                                  \
    static void *name##_realloc(void *ctx, void *block, size_t size) { \
        (void)ctx;                                                     \
        return gi_object_realloc_slow(kind, block, size);              \
    }                                                                  \
    static void name##_free(void *ctx, void *block) {                  \
        (void)ctx;                                                     \
        gi_object_free_hardened(kind, block);                          \
    }

HARDENED_ALLOCATOR(hardened_mem, GI_KIND_MEM)
HARDENED_ALLOCATOR(hardened_object, GI_KIND_OBJECT)

const gi_domain_defaults gi_domain_hardened_defaults = {
    .fast = false,
    .tables =
        {
            [PYMEM_DOMAIN_RAW] = {NULL, gi_raw_malloc, gi_raw_calloc, gi_raw_realloc, gi_raw_free},
            [PYMEM_DOMAIN_MEM] = {NULL, hardened_mem_malloc, hardened_mem_calloc, hardened_mem_realloc,
                                  hardened_mem_free},
            [PYMEM_DOMAIN_OBJ] = {NULL, hardened_object_malloc, hardened_object_calloc, hardened_object_realloc,
                                  hardened_object_free},
        },
};

/* PYTHONMALLOC=malloc: the system's, for a caller that must be attached all the same. */
#define SYSTEM_ALLOCATOR(name, kind)                                                \
    static void *name##_malloc(void *ctx, size_t size) {                            \
        gi_object_require_attached(kind, gi_calls[kind].malloc, size, NULL);        \
        return gi_raw_malloc(ctx, size);                                            \
    }                                                                               \
    static void *name##_calloc(void *ctx, size_t count, size_t size) {              \
        gi_object_require_attached(kind, gi_calls[kind].calloc, count *size, NULL); \
        return gi_raw_calloc(ctx, count, size);                                     \
    }                                                                               \
    static void *name##_realloc(void *ctx, void *block, size_t size) {              \
        gi_object_require_attached(kind, gi_calls[kind].realloc, size, block);      \
        return gi_raw_realloc(ctx, block, size);                                    \
    }                                                                               \
    static void name##_free(void *ctx, void *block) {                               \
        gi_object_require_attached(kind, gi_calls[kind].free, SIZE_MAX, block);     \
        gi_raw_free(ctx, block);                                                    \
    }

SYSTEM_ALLOCATOR(system_mem, GI_KIND_MEM)
SYSTEM_ALLOCATOR(system_object, GI_KIND_OBJECT)

const gi_domain_defaults gi_domain_malloc_defaults = {
    .fast = false,
    .tables =
        {
            [PYMEM_DOMAIN_RAW] = {NULL, gi_raw_malloc, gi_raw_calloc, gi_raw_realloc, gi_raw_free},
            [PYMEM_DOMAIN_MEM] = {NULL, system_mem_malloc, system_mem_calloc, system_mem_realloc, system_mem_free},
            [PYMEM_DOMAIN_OBJ] = {NULL, system_object_malloc, system_object_calloc, system_object_realloc,
                                  system_object_free},
        },
};

static const gi_domain_defaults *defaults = &plain; /* constant once ready */

static inline const PyMemAllocatorEx *current(PyMemAllocatorDomain domain) {
    /* order(domain-table): acquire; pairs with release in publish_locked(). */
    const PyMemAllocatorEx *other = gi_load_acquire(&serving[domain]);
    return gi_likely(other == NULL) ? &defaults->tables[domain] : other;
}

const PyMemAllocatorEx *gi_domain_watched(PyMemAllocatorDomain domain) {
    /* order(domain-table): acquire; pairs with release in publish_locked(). */
    const table *replaced = gi_load_acquire(&installed[domain]);
    return gi_likely(replaced == NULL) ? &defaults->tables[domain] : &replaced->allocator;
}

/* --- probes ----------------------------------------------------------------------------------- */

/* While a tracer looks, these words are before all others: they tell it, and pass the call on. */

static void publish_all_locked(void);

/* A tracer has come, or gone.  Another time if the mutex is taken, by this thread perhaps, around a fork. */
static __attribute__((noinline, cold)) void follow_tracer(void) {
    if (gi_mutex_try_lock(&domain_mutex)) {
        if (probed != gi_probes_wanted()) {
            probed = gi_probes_wanted();
            publish_all_locked();
        }
        gi_mutex_unlock(&domain_mutex);
    }
}

static PyMemAllocatorDomain domain_of(void *ctx) { return (PyMemAllocatorDomain)(uintptr_t)ctx; }

static const PyMemAllocatorEx *next_of(void *ctx) {
    PyMemAllocatorDomain domain = domain_of(ctx);
    if (gi_unlikely(!gi_probes_wanted())) {
        follow_tracer();
    }
    /* order(domain-table): acquire; pairs with release in publish_locked(). */
    const PyMemAllocatorEx *next = gi_load_acquire(&behind_probes[domain]);
    return next != NULL ? next : &defaults->tables[domain];
}

static void *tell_alloc(void *ctx, void *block, size_t size) {
    if (block != NULL) {
        gi_probe_alloc(block, size, domain_of(ctx));
    }
    return block;
}

static void *probe_malloc(void *ctx, size_t size) {
    const PyMemAllocatorEx *next = next_of(ctx);
    return tell_alloc(ctx, next->malloc(next->ctx, size), size);
}

static void *probe_calloc(void *ctx, size_t count, size_t size) {
    const PyMemAllocatorEx *next = next_of(ctx);
    return tell_alloc(ctx, next->calloc(next->ctx, count, size), count * size);
}

static void probe_free(void *ctx, void *block) {
    const PyMemAllocatorEx *next = next_of(ctx);
    if (block != NULL) {
        gi_probe_free(block, domain_of(ctx));
    }
    next->free(next->ctx, block);
}

/* A resized block goes, before another thread can have it, and comes; of size 0 if it could not be resized. */
static void *probe_realloc(void *ctx, void *block, size_t size) {
    const PyMemAllocatorEx *next = next_of(ctx);
    if (block != NULL) {
        gi_probe_free(block, domain_of(ctx));
    }
    void *resized = next->realloc(next->ctx, block, size);
    tell_alloc(ctx, resized != NULL ? resized : block, resized != NULL ? size : 0);
    return resized;
}

#define PROBING(domain) [domain] = {(void *)(uintptr_t)(domain), probe_malloc, probe_calloc, probe_realloc, probe_free}
static const PyMemAllocatorEx probing[GI_DOMAINS] = {PROBING(PYMEM_DOMAIN_RAW), PROBING(PYMEM_DOMAIN_MEM),
                                                     PROBING(PYMEM_DOMAIN_OBJ)};

/* In each call that allocates: whether a tracer has come. */
static inline bool has_new_tracer(PyMemAllocatorDomain domain) {
    return gi_probes_wanted() && gi_load_relaxed(&serving[domain]) != &probing[domain]; /* relaxed: only compared */
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Who serves the call; what that one asks of it is noted. */
static inline const PyMemAllocatorEx *serve(PyMemAllocatorDomain domain, const void *caller) {
    /* order(domain-table): acquire; pairs with release in publish_locked(). */
    const PyMemAllocatorEx *other = gi_load_acquire(&serving[domain]);
    if (gi_unlikely(other != NULL || gi_sample_is_watching()) && caller != NULL) {
        gi_domain_caller = caller;
    }
    return gi_likely(other == NULL) ? &defaults->tables[domain] : other;
}

static inline void *serve_malloc(PyMemAllocatorDomain domain, size_t size, const void *caller) {
    const PyMemAllocatorEx *allocator = serve(domain, caller);
    return allocator->malloc(allocator->ctx, size);
}

/* Apart, so that the call without a tracer needs no frame. */
static __attribute__((noinline, cold)) void *follow_and_malloc(PyMemAllocatorDomain domain, size_t size,
                                                               const void *caller) {
    follow_tracer();
    return serve_malloc(domain, size, caller);
}

void *gi_domain_malloc(PyMemAllocatorDomain domain, size_t size, const void *caller) {
    if (gi_unlikely(size > (size_t)PY_SSIZE_T_MAX)) {
        return NULL;
    }
    if (gi_unlikely(has_new_tracer(domain))) {
        return follow_and_malloc(domain, size, caller);
    }
    return serve_malloc(domain, size, caller);
}

void *gi_domain_calloc(PyMemAllocatorDomain domain, size_t count, size_t size, const void *caller) {
    if (gi_unlikely(size != 0 && count > (size_t)PY_SSIZE_T_MAX / size)) {
        return NULL;
    }
    if (gi_unlikely(has_new_tracer(domain))) {
        follow_tracer();
    }
    const PyMemAllocatorEx *allocator = serve(domain, caller);
    return allocator->calloc(allocator->ctx, count, size);
}

void *gi_domain_realloc(PyMemAllocatorDomain domain, void *block, size_t size, const void *caller) {
    if (gi_unlikely(size > (size_t)PY_SSIZE_T_MAX)) {
        return NULL;
    }
    if (gi_unlikely(has_new_tracer(domain))) {
        follow_tracer();
    }
    const PyMemAllocatorEx *allocator = serve(domain, caller);
    return allocator->realloc(allocator->ctx, block, size);
}

void gi_domain_free(PyMemAllocatorDomain domain, void *block, const void *caller) {
    const PyMemAllocatorEx *allocator = serve(domain, caller);
    allocator->free(allocator->ctx, block);
}

/* --- get and set ------------------------------------------------------------------------------ */

static bool is_installed(PyMemAllocatorDomain domain) { return gi_domain_watched(domain) != &defaults->tables[domain]; }

bool gi_domain_is_replaced(PyMemAllocatorDomain domain) {
    return is_installed(domain) || (domain != PYMEM_DOMAIN_RAW && gi_domain_is_of_system(domain));
}

bool gi_domain_is_of_system(PyMemAllocatorDomain domain) {
    return !is_installed(domain) && (domain == PYMEM_DOMAIN_RAW || defaults == &gi_domain_malloc_defaults);
}

bool gi_domain_is_fast(void) { return defaults->fast; }

bool gi_domain_is_default(PyMemAllocatorDomain domain) {
    return current(domain) == &defaults->tables[domain] && !gi_domain_is_replaced(domain);
}

static bool same(const PyMemAllocatorEx *a, const PyMemAllocatorEx *b) {
    return a->ctx == b->ctx && a->malloc == b->malloc && a->calloc == b->calloc && a->realloc == b->realloc &&
           a->free == b->free;
}

bool gi_domain_is_heap(PyMemAllocatorDomain domain, const PyMemAllocatorEx *allocator) {
    return domain != PYMEM_DOMAIN_RAW && same(allocator, &plain.tables[domain]);
}

/* The table with these words, or NULL when memory is out. */
static const table *find_table_locked(const PyMemAllocatorEx *allocator) {
    for (const table *known = tables; known != NULL; known = known->next) {
        if (same(&known->allocator, allocator)) {
            return known;
        }
    }
    table *made = gi_os_meta_alloc(sizeof(table));
    if (made != NULL) {
        *made = (table){*allocator, tables};
        tables = made;
    }
    return made;
}

static bool is_default_locked(PyMemAllocatorDomain domain) {
    return defaults->fast && gi_load_relaxed(&serving[domain]) == NULL; /* relaxed: under domain_mutex */
}

/* The fast path of a domain is open while it has its plain default allocator and the library is ready; that of its
   large blocks, which are the raw domain's, if that has its default allocator too; a runtime's own lock is asked for
   each of them.  A watcher of the raw domain alone samples: then what is large is counted. */
static void set_open_locked(void) {
    bool theirs = gi_load_relaxed(&gi_domain_lock); /* relaxed: under domain_mutex */
    bool sampled = watchers != NULL && watchers[PYMEM_DOMAIN_MEM].malloc == NULL;
    const PyMemAllocatorEx *before = sampled ? &watchers[PYMEM_DOMAIN_RAW] : NULL;
    bool raw = gi_load_relaxed(&installed[PYMEM_DOMAIN_RAW]) == NULL && /* relaxed: as above */
               gi_load_relaxed(&serving[PYMEM_DOMAIN_RAW]) == before;   /* relaxed: as above */
    gi_limits_open_raw(ready && raw, sampled);
    for (unsigned kind = GI_KIND_MEM; kind <= GI_KIND_OBJECT; kind++) {
        PyMemAllocatorDomain domain = kind == GI_KIND_MEM ? PYMEM_DOMAIN_MEM : PYMEM_DOMAIN_OBJ;
        gi_limits_close(kind);
        if (ready && is_default_locked(domain)) {
            gi_limits_open(kind, raw, theirs, sampled);
        } else if (ready && defaults == &gi_domain_hardened_defaults &&
                   gi_load_relaxed(&serving[domain]) == NULL) { /* relaxed: under domain_mutex */
            gi_limits_open_hardened(kind, raw && !theirs);
        }
    }
}

/* What serves the domain from now on. */
static void publish_locked(PyMemAllocatorDomain domain, const table *made) {
    const PyMemAllocatorEx *words = made != NULL ? &made->allocator : NULL;
    words = watchers != NULL && watchers[domain].malloc != NULL ? &watchers[domain] : words;
    if (words != NULL) {
        /* First no fast path: else the free of a block that came from `words` might take it, in another thread. */
        gi_limits_close(GI_KIND_MEM);
        gi_limits_close(GI_KIND_OBJECT);
        gi_limits_open_raw(false, false);
    }
    /* order(domain-table): release; pairs with acquire in gi_domain_watched(). */
    gi_store_release(&installed[domain], made);
    /* order(domain-table): release; pairs with acquire in next_of(). */
    gi_store_release(&behind_probes[domain], words);
    /* order(domain-table): release; pairs with acquire in current(). */
    gi_store_release(&serving[domain], probed ? &probing[domain] : words);
}

static void publish_all_locked(void) {
    for (int domain = 0; domain < GI_DOMAINS; domain++) {
        publish_locked((PyMemAllocatorDomain)domain,
                       gi_load_relaxed(&installed[domain])); /* relaxed: under the mutex */
    }
    set_open_locked();
}

void gi_domain_watch(const PyMemAllocatorEx *tables_of_watcher) {
    gi_mutex_lock(&domain_mutex);
    watchers = tables_of_watcher;
    publish_all_locked();
    gi_mutex_unlock(&domain_mutex);
}

void gi_domain_get(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) {
    *allocator =
        gi_domain_is_known(domain) ? *gi_domain_watched(domain) : (PyMemAllocatorEx){NULL, NULL, NULL, NULL, NULL};
}

void gi_domain_set(PyMemAllocatorDomain domain, const PyMemAllocatorEx *allocator) {
    if (!gi_domain_is_known(domain)) {
        return;
    }
    if (allocator->malloc == NULL || allocator->calloc == NULL || allocator->realloc == NULL ||
        allocator->free == NULL) {
        gi_fatal("PyMem_SetAllocator",
                 "a function of the allocator is NULL" GI_FACT("domain  ", "%d")
                     GI_DO("set all four; PyMem_GetAllocator() gives those in place"),
                 (int)domain);
    }
    const table *made = NULL;
    gi_mutex_lock(&domain_mutex);
    if (!same(allocator, &defaults->tables[domain])) {
        made = find_table_locked(allocator);
        if (made == NULL) {
            gi_fatal("PyMem_SetAllocator", "out of memory" GI_FACT("domain  ", "%d"), (int)domain);
        }
    }
    publish_locked(domain, made);
    set_open_locked();
    gi_mutex_unlock(&domain_mutex);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_domain_use(const gi_domain_defaults *others) {
    gi_mutex_lock(&domain_mutex);
    defaults = others;
    gi_mutex_unlock(&domain_mutex);
}

void gi_domain_ready(void) {
    gi_mutex_lock(&domain_mutex);
    ready = true;
    if (!gi_tool_sees_blocks()) { /* kinds have no fast path either */
        gi_limits_ready();
    }
    set_open_locked();
    gi_mutex_unlock(&domain_mutex);
}

void gi_domain_lock_is_theirs(bool theirs) {
    gi_mutex_lock(&domain_mutex);
    gi_store_relaxed(&gi_domain_lock, theirs);
    set_open_locked();
    gi_mutex_unlock(&domain_mutex);
}

void gi_domain_before_fork(void) { gi_mutex_lock(&domain_mutex); }

void gi_domain_after_fork(void) { gi_mutex_unlock(&domain_mutex); }
