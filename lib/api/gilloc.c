/* SPDX-License-Identifier: MIT */
/*
 * gilloc.c [L6] - what CPython lacks: mode, safepoint, the caller's lock, and extras of memory.  Contracts:
 *   gilloc/gilloc.h.
 *   No state of its own.
 */
#include <errno.h>
#include <gilloc/inline.h>
#include <string.h>

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/arena/kind.h"
#include "lib/cache/object_alloc.h"
#include "lib/domain/debug_hooks.h"
#include "lib/domain/domain.h"
#include "lib/domain/trace_sample.h"
#include "lib/domain/watched.h"
#include "lib/os/raw_alloc.h"

/* --- arguments -------------------------------------------------------------------------------- */

/* The kind of a domain (0 for raw, which has none); dies if there is no such domain. */
static inline unsigned kind_of(PyMemAllocatorDomain domain, const char *function) {
    unsigned number = (unsigned)domain;
    if (gi_unlikely(number > PYMEM_DOMAIN_OBJ && number > gi_kind_count())) {
        gi_fatal(function,
                 "no such domain" GI_FACT("domain  ", "%d")
                     GI_DO("pass a PyMemAllocatorDomain, or what gilloc_new_kind() returned"),
                 (int)domain);
    }
    return number != 0 ? number - 1 : 0;
}

static _Noreturn __attribute__((cold)) void die_detached(const char *function) {
    gi_fatal(function, "the thread is detached" GI_DO("call it between PyGILState_Ensure() and PyGILState_Release()"));
}

/* --- mode, lock, safepoint -------------------------------------------------------------------- */

gilloc_mode gilloc_get_mode(void) {
    gi_runtime_ready();
    return gi_world_is_free() ? GILLOC_MODE_FREE : GILLOC_MODE_GIL;
}

int gilloc_set_mode(gilloc_mode mode) {
    if (mode != GILLOC_MODE_GIL && mode != GILLOC_MODE_FREE) {
        errno = EINVAL;
        return -1;
    }
    return gi_runtime_set_mode(mode);
}

int gilloc_set_lock(const gilloc_lock *lock) {
    if (lock != NULL && (lock->acquire == NULL || lock->release == NULL || lock->held == NULL)) {
        errno = EINVAL;
        return -1;
    }
    return gi_runtime_set_lock(lock);
}

void gilloc_set_switch_interval(unsigned long microseconds) {
    gi_runtime_ready();
    uint64_t ns = microseconds > UINT64_MAX / 8000 ? UINT64_MAX / 8 : (uint64_t)microseconds * 1000;
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        gi_store_relaxed(&registry->gil.interval_ns, ns != 0 ? ns : 1000); /* relaxed: an option */
    }
}

static inline void safepoint(PyThreadState *state, const void *where) {
    gi_store_relaxed(&state->thread.where, where);
    uint32_t asked = gi_load_relaxed(&state->thread.asked.bits); /* relaxed: hints */
    bool quiet = !gi_world_is_free() || (gi_rcu_is_quiet(state->thread.reader) && state->cache.remote_pending == 0);
    if (gi_unlikely(asked != 0 || !quiet)) {
        gi_runtime_safepoint_slow(state);
    }
}

/* A thread without a state, which may hold a runtime's own lock. */
static __attribute__((noinline)) void safepoint_first(const void *where) {
    PyThreadState *state = gi_runtime_attach_itself();
    if (gi_unlikely(state == NULL)) {
        die_detached("gilloc_safepoint");
    }
    safepoint(state, where);
}

void gilloc_safepoint(void) {
    PyThreadState *state = gi_runtime_current();
    if (gi_unlikely(state == NULL)) {
        safepoint_first(__builtin_return_address(0));
        return;
    }
    safepoint(state, __builtin_return_address(0));
}

/* --- deferred frees --------------------------------------------------------------------------- */

/* As how many bytes a block counts that is not the heap's own, or may not be; 0: it is the heap's. */
static size_t retired_size(PyMemAllocatorDomain domain, const void *block) {
    if (!gi_domain_is_known(domain) || !gi_domain_is_replaced(domain)) {
        return 0;
    }
    gi_debug_check(domain, block, "gilloc_retire");
    size_t size;
    return gi_debug_size(block, &size) ? size + 1 : GI_UNKNOWN_BYTES;
}

/* Blocks of the raw domain and of kinds that were made, and whatever the fast path leaves. */
static __attribute__((noinline)) void retire_slow(PyMemAllocatorDomain domain, void *p) {
    unsigned kind = kind_of(domain, "gilloc_retire");
    if (gi_likely(domain != PYMEM_DOMAIN_RAW)) {
        const gi_fast_limits *limits = kind <= GI_KIND_OBJECT ? &gi_limits[kind] : &gi_open_limits;
        if (gi_unlikely(!gi_object_retire_fast(kind, limits, p))) {
            gi_object_retire(kind, p, retired_size(domain, p));
        }
        return;
    }
    PyThreadState *state = gi_runtime_current_or_attach();
    if (gi_unlikely(state == NULL)) {
        die_detached("gilloc_retire");
    }
    if (p != NULL) {
        gi_debug_check(domain, p, "gilloc_retire");
        gi_object_retire_raw(&state->cache, p);
    }
}

void gilloc_retire(PyMemAllocatorDomain domain, void *p) {
    unsigned kind = (unsigned)domain - 1; /* of the two domains with a kind of their own */
    if (gi_unlikely(kind > GI_KIND_OBJECT || !gi_object_retire_fast(kind, &gi_limits[kind], p))) {
        retire_slow(domain, p);
    }
}

void gilloc_reclaim(void) {
    PyThreadState *state = gi_runtime_current_or_attach();
    if (gi_unlikely(state == NULL)) {
        die_detached("gilloc_reclaim");
    }
    int saved_errno = errno;
    gi_runtime_wait_and_reclaim(state);
    errno = saved_errno;
}

void gilloc_set_retire_limit(size_t bytes) {
    gi_runtime_ready();
    gi_runtime_set_retire_limit(bytes);
}

/* --- the stopped world ------------------------------------------------------------------------ */

void gilloc_stop_the_world(void) { gi_runtime_stop("gilloc_stop_the_world"); }

void gilloc_start_the_world(void) {
    int saved_errno = errno;
    if (gi_unlikely(!gi_start())) {
        gi_fatal("gilloc_start_the_world", "the thread has not stopped the world" GI_DO(
                                               "call it once for each gilloc_stop_the_world(), in the same thread"));
    }
    errno = saved_errno;
}

void gilloc_set_stop_deadline(unsigned long microseconds) {
    gi_runtime_ready();
    gi_runtime_set_stop_deadline(microseconds);
}

typedef struct walk {
    gilloc_visitor visit;
    void *arg;
    unsigned kind;
} walk;

/* Every free block of the pool is in its list. */
static int visit_pool(gi_pool *pool, uint32_t word, void *arg) {
    const walk *work = arg;
    if (gi_word_kind(word) != work->kind) {
        return 0;
    }
    size_t size = gi_class_size(gi_word_class(word));
    uint64_t is_free[GI_POOL_SIZE / GI_ALIGNMENT / 64] = {0};
    const gi_link *link = pool->free;
    for (unsigned i = 0; i < pool->free_count && link != NULL; i++) {
        size_t index = (size_t)((char *)gi_pool_block(pool, link) - pool->memory) / size;
        is_free[index / 64] |= (uint64_t)1 << index % 64;
        link = gi_free_list_next(pool->kind, pool->size_class, link, "gilloc_visit_blocks");
    }
    int result = 0;
    for (size_t index = 0; index < pool->carved && result == 0; index++) {
        if ((is_free[index / 64] >> index % 64 & 1u) == 0) {
            size_t length = size - gi_kinds[work->kind].tail;
            void *block = pool->memory + index * size;
            if (gi_tool_sees_blocks()) {
                block = gi_watched_block(block, &length);
            }
            block = gi_debug_visit(block, &length);
            result = work->visit(block, length, work->arg);
        }
    }
    return result;
}

int gilloc_visit_blocks(PyMemAllocatorDomain domain, gilloc_visitor visit, void *arg) {
    walk work = {visit, arg, kind_of(domain, "gilloc_visit_blocks")};
    if (gi_unlikely(domain == PYMEM_DOMAIN_RAW)) {
        gi_fatal("gilloc_visit_blocks", "the raw domain is the system's" GI_DO("pass another domain"));
    }
    gi_runtime_stop("gilloc_visit_blocks");
    int saved_errno = errno;
    gi_runtime_reclaim_all(NULL, "gilloc_visit_blocks");
    gi_cache_flush_all("gilloc_visit_blocks");
    gi_runtime_ask_if_due();
    errno = saved_errno;
    int result = gi_address_map_walk(visit_pool, &work);
    result = result == 0 ? gi_sample_visit(work.kind, visit, arg) : result; /* they are not in pools */
    gi_start();
    return result;
}

/* --- kinds ------------------------------------------------------------------------------------ */

int gilloc_new_kind(const char *name, unsigned flags, size_t untouched) {
    bool wrong = name == NULL || name[0] == '\0' || strlen(name) >= GI_KIND_NAME_SIZE ||
                 (flags & ~GILLOC_KIND_TYPE_STABLE) != 0 || untouched > GI_SMALL_MAX - sizeof(gi_link);
    if (wrong) {
        errno = EINVAL;
        return -1;
    }
    int kind = gi_kind_make(name, untouched, (flags & GILLOC_KIND_TYPE_STABLE) != 0);
    if (kind < 0) {
        errno = ENOSPC;
        return -1;
    }
    return kind + 1;
}

void *gilloc_malloc(PyMemAllocatorDomain domain, size_t size) {
    unsigned kind = kind_of(domain, "gilloc_malloc");
    if (gi_domain_is_known(domain)) {
        return gi_domain_malloc(domain, size, GI_CALLER);
    }
    if (gi_unlikely(size > (size_t)PY_SSIZE_T_MAX)) {
        return NULL;
    }
    return gi_tool_sees_blocks() ? gi_watched_malloc(kind, size) : gi_object_malloc_kind(kind, size);
}

void *gilloc_calloc(PyMemAllocatorDomain domain, size_t count, size_t size) {
    unsigned kind = kind_of(domain, "gilloc_calloc");
    if (gi_domain_is_known(domain)) {
        return gi_domain_calloc(domain, count, size, GI_CALLER);
    }
    bool overflow = size != 0 && count > (size_t)PY_SSIZE_T_MAX / size;
    if (gi_unlikely(overflow)) {
        return NULL;
    }
    return gi_tool_sees_blocks() ? gi_watched_calloc(kind, count, size) : gi_object_calloc_kind(kind, count, size);
}

void *gilloc_realloc(PyMemAllocatorDomain domain, void *block, size_t size) {
    unsigned kind = kind_of(domain, "gilloc_realloc");
    if (gi_domain_is_known(domain)) {
        return gi_domain_realloc(domain, block, size, GI_CALLER);
    }
    if (gi_unlikely(size > (size_t)PY_SSIZE_T_MAX)) {
        return NULL;
    }
    return gi_tool_sees_blocks() ? gi_watched_realloc(kind, block, size) : gi_object_realloc_slow(kind, block, size);
}

void gilloc_free(PyMemAllocatorDomain domain, void *block) {
    unsigned kind = kind_of(domain, "gilloc_free");
    if (gi_domain_is_known(domain)) {
        gi_domain_free(domain, block, GI_CALLER);
    } else if (gi_tool_sees_blocks()) {
        gi_watched_free(kind, block);
    } else {
        gi_object_free_kind(kind, block);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

size_t gilloc_usable_size(PyMemAllocatorDomain domain, const void *block) {
    unsigned kind = kind_of(domain, "gilloc_usable_size");
    if (gi_domain_is_known(domain) && gi_domain_is_of_system(domain)) {
        if (domain != PYMEM_DOMAIN_RAW) {
            gi_object_require_attached(kind, "gilloc_usable_size", SIZE_MAX, block);
        }
        return gi_raw_usable_size((void *)block);
    }
    if (gi_domain_is_known(domain) && gi_domain_is_replaced(domain)) {
        size_t size;
        return gi_debug_size(block, &size) ? size : 0;
    }
    return gi_tool_sees_blocks() ? gi_watched_usable_size(kind, block, "gilloc_usable_size")
                                 : gi_object_usable_size(kind, block, "gilloc_usable_size");
}

static inline __attribute__((always_inline)) void free_sized(PyMemAllocatorDomain domain, void *block, size_t size,
                                                             const void *caller) {
    unsigned kind = kind_of(domain, "gilloc_free_sized");
    if (gi_domain_is_known(domain) && (domain == PYMEM_DOMAIN_RAW || !gi_domain_is_default(domain))) {
        gi_debug_check_size(domain, block, size, "gilloc_free_sized");
        gi_domain_free(domain, block, caller);
    } else if (gi_tool_sees_blocks()) {
        gi_watched_free_sized(kind, block, size, "gilloc_free_sized");
    } else {
        gi_object_free_sized(kind, block, size, "gilloc_free_sized");
    }
}

void gilloc_free_sized(PyMemAllocatorDomain domain, void *block, size_t size) {
    /* A runtime's own lock is always asked.  A domain with a hook has limits of 0. */
    bool is_fast = (domain == PYMEM_DOMAIN_MEM || domain == PYMEM_DOMAIN_OBJ) && !gi_runtime_has_outer_lock();
    if (is_fast && gi_object_free_sized_fast((unsigned)domain - 1, &gi_limits[domain - 1], block, size)) {
        return;
    }
    free_sized(domain, block, size, GI_CALLER);
}

void gilloc_inline_free_else(PyMemAllocatorDomain domain, void *block, size_t size) {
    unsigned kind = domain == PYMEM_DOMAIN_MEM ? GI_KIND_MEM : GI_KIND_OBJECT;
    bool is_known = domain == PYMEM_DOMAIN_MEM || domain == PYMEM_DOMAIN_OBJ;
    if (!is_known || size > GI_SMALL_MAX || !gi_object_free_known(kind, &gi_limits[kind], block, size)) {
        free_sized(domain, block, size, GI_CALLER);
    }
}

typedef struct purge {
    const gi_thread_cache *mine;
    const gi_heap_group *group; /* of which the caches are the caller's to claim */
    gi_pool *emptied;
    struct gi_quarantine *quarantines; /* of debug hooks */
} purge;

/* Whether the caller may claim a cache of the group. */
static bool may_flush(const purge *work, gi_thread_cache *cache) {
    const PyThreadState *state = gi_runtime_state_of(cache);
    /* Under a runtime's own lock a thread stays attached without it; what it does wrong then must not meet this. */
    bool sticky = gi_runtime_has_outer_lock() && gi_thread_status(&state->thread) != GI_DETACHED;
    return cache->own.group == work->group && cache != work->mine && !sticky;
}

static void take_quarantine(gi_thread_cache *cache, void *arg) {
    purge *work = arg;
    bool any = gi_load_relaxed(&cache->quarantine) != NULL; /* relaxed: a hint; who has claimed it looks again */
    if (any && may_flush(work, cache) && gi_cache_claim(cache)) {
        work->quarantines = gi_debug_take(cache, work->quarantines);
        gi_cache_release_claim(cache);
    }
}

static void flush_idle(gi_thread_cache *cache, void *arg) {
    purge *work = arg;
    if (may_flush(work, cache)) {
        gi_cache_flush_idle(cache, &work->emptied, "gilloc_purge");
    }
}

/* With debug hooks: what waits in the quarantines of this interpreter's detached threads, and in this thread's. */
static void purge_quarantines(PyThreadState *state) {
    purge work = {.mine = &state->cache, .group = state->cache.own.group};
    bool taken = false;
    if (gi_runtime_begin_claims()) {
        if (gi_runtime_may_claim(state->interpreter, &taken)) {
            gi_cache_for_each(take_quarantine, &work);
        }
        gi_runtime_end_claims();
    }
    gi_debug_free_all(work.quarantines, "gilloc_purge");
    gi_debug_flush(&state->cache, "gilloc_purge");
}

size_t gilloc_purge(void) {
    gi_runtime_ready();
    uint64_t before = gi_load_relaxed(&gi_arena_stats_now.bytes_to_system); /* relaxed: a statistic */
    PyThreadState *state = gi_runtime_current();
    if (state != NULL && (!gi_runtime_has_outer_lock() || gi_runtime_outer_held())) {
        purge_quarantines(state);
        gi_cache_flush(&state->cache, "gilloc_purge");
        gi_cache_flush_stash(&state->cache, "gilloc_purge");
    }
    purge work = {.mine = gi_current_cache};
    bool claims = gi_runtime_begin_claims();
    for (gi_registry *registry = gi_registry_first(); claims && registry != NULL; registry = registry->next) {
        PyInterpreterState *interpreter = gi_runtime_interpreter_of(registry);
        bool taken;
        if (gi_runtime_may_claim(interpreter, &taken)) {
            work.group = interpreter->group;
            gi_cache_for_each(flush_idle, &work);
        }
        if (taken) {
            gi_gil_drop(&registry->gil);
        }
    }
    if (claims) {
        gi_runtime_end_claims();
    }
    gi_runtime_ask_if_due();
    gi_heap_release_pools(work.emptied); /* perhaps to a user's arena allocator: with no lock taken here */
    gi_arena_purge();
    return (size_t)(gi_load_relaxed(&gi_arena_stats_now.bytes_to_system) - before); /* relaxed: a statistic */
}
