/* SPDX-License-Identifier: MIT */
/*
 * gilloc.c [L6] - what CPython lacks: mode, safepoint, the caller's lock, and extras of memory.  Contracts:
 *   gilloc/gilloc.h.
 *   No state of its own.
 */
#include <errno.h>
#include <gilloc/gilloc.h>

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/cache/object_alloc.h"
#include "lib/domain/domain.h"
#include "lib/os/raw_alloc.h"

/* --- mode, lock, safepoint -------------------------------------------------------------------- */

gilloc_mode gilloc_get_mode(void) {
    gi_runtime_ready();
    return gi_runtime_is_free() ? GILLOC_MODE_FREE : GILLOC_MODE_GIL;
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
    gi_store_relaxed(&gi_main_interpreter.registry.gil.interval_ns, ns != 0 ? ns : 1000); /* relaxed: an option */
}

void gilloc_safepoint(void) {
    PyThreadState *state = gi_runtime_current_or_attach();
    if (gi_unlikely(state == NULL)) {
        gi_fatal("gilloc_safepoint",
                 "the thread is detached" GI_DO("call it between PyGILState_Ensure() and PyGILState_Release()"));
    }
    uint32_t asked = gi_load_relaxed(&state->thread.asked.bits); /* relaxed: hints */
    if (gi_unlikely(asked != 0 || gi_runtime_is_free())) {
        asked = gi_thread_safepoint(&state->thread);
        gi_cache_safepoint(&state->cache, "gilloc_safepoint");
        if ((asked & GI_ASKED_DRAIN) != 0) {
            gi_cache_drain(&state->cache, "gilloc_safepoint");
        }
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static unsigned kind_of(PyMemAllocatorDomain domain, const char *function) {
    if (gi_unlikely(!gi_domain_is_known(domain))) {
        gi_fatal(function, "no such domain" GI_FACT("domain  ", "%d") GI_DO("pass a PyMemAllocatorDomain"),
                 (int)domain);
    }
    return domain == PYMEM_DOMAIN_MEM ? GI_KIND_MEM : GI_KIND_OBJECT;
}

size_t gilloc_usable_size(PyMemAllocatorDomain domain, const void *block) {
    unsigned kind = kind_of(domain, "gilloc_usable_size");
    if (gi_domain_is_replaced(domain)) {
        return 0;
    }
    if (domain == PYMEM_DOMAIN_RAW) {
        return gi_raw_usable_size((void *)block);
    }
    return gi_object_usable_size(kind, block, "gilloc_usable_size");
}

void gilloc_free_sized(PyMemAllocatorDomain domain, void *block, size_t size) {
    unsigned kind = kind_of(domain, "gilloc_free_sized");
    if (domain == PYMEM_DOMAIN_RAW || gi_domain_is_replaced(domain)) {
        gi_domain_free(domain, block);
    } else {
        gi_object_free_sized(kind, block, size, "gilloc_free_sized");
    }
}

typedef struct purge {
    const gi_thread_cache *mine;
    gi_pool *emptied;
} purge;

static void flush_idle(gi_thread_cache *cache, void *arg) {
    purge *work = arg;
    const PyThreadState *state = gi_runtime_state_of(cache);
    /* Under a runtime's own lock a thread stays attached without it; what it does wrong then must not meet this. */
    bool sticky = gi_runtime_has_outer_lock() &&
                  gi_load_relaxed(&state->thread.status) != GI_DETACHED; /* relaxed: its own lock orders it */
    if (cache != work->mine && !sticky) {
        gi_cache_flush_idle(cache, &work->emptied, "gilloc_purge");
    }
}

size_t gilloc_purge(void) {
    gi_runtime_ready();
    uint64_t before = gi_load_relaxed(&gi_arena_stats_now.bytes_to_system); /* relaxed: a statistic */
    PyThreadState *state = gi_runtime_current();
    bool outer = gi_runtime_has_outer_lock(), held = outer && gi_runtime_outer_held();
    if (state != NULL && (!outer || held)) {
        gi_cache_flush(&state->cache, "gilloc_purge");
    }
    /* In gil mode other caches are quiet for whoever holds the lock: a detached thread takes it if it is free. */
    gi_registry *registry = &gi_main_interpreter.registry;
    bool take = !gi_runtime_is_free() && !outer && state == NULL;
    bool taken = take && gi_gil_try_take(&registry->gil, NULL);
    purge work = {.mine = gi_current_cache};
    if (gi_runtime_is_free() || taken || held || (!take && !outer)) {
        gi_cache_for_each(flush_idle, &work);
    }
    if (taken) {
        gi_gil_drop(&registry->gil);
    }
    gi_heap_release_pools(work.emptied); /* perhaps to a user's arena allocator: with no lock taken here */
    gi_arena_purge();
    return (size_t)(gi_load_relaxed(&gi_arena_stats_now.bytes_to_system) - before); /* relaxed: a statistic */
}
