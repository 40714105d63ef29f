/* SPDX-License-Identifier: MIT */
/*
 * stats.c [L6] - figures and checks: adds up what each owner counts in its slow paths.
 *   Owner   none: it reads counters of others, relaxed, and walks the lists of caches that are quiet.
 *   A cache is quiet for the caller if it is the caller's own, or if the caller has claimed it (lib/cache/heap.h) for
 *   the time of the walk; in gil mode, where attaching does not look at claims, the caller must hold the lock as well.
 */
#include <gilloc/gilloc.h>
#include <string.h>

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/domain/debug_hooks.h"
#include "lib/os/layout.h"

/* --- sums over heaps and caches --------------------------------------------------------------- */

typedef struct sums {
    uint64_t taken, large, pools, orphaned, adopted, remote_frees, remote_batches;
    uint64_t retired_blocks, retired_bytes, retired_lost, grace_periods;
    uint64_t states, states_ever, takes, waits, handoffs, requests;
    uint64_t quarantined; /* small blocks that were freed, and wait in debug hooks */
    uint64_t cached;      /* free blocks in quiet caches and in stashes */
    const gi_thread_cache *mine;
    const gi_heap_group *group; /* whose caches are looked at */
    bool claims;                /* may be made at all */
    bool may_claim;             /* the idle ones of the group */
    int broken;
} sums;

static void add_heap(sums *sum, const gi_heap *heap) {
    /* relaxed: statistics, each with one writer */
    sum->taken += gi_load_relaxed(&heap->taken);
    sum->pools += gi_load_relaxed(&heap->pools);
    sum->orphaned += gi_load_relaxed(&heap->orphaned);
    sum->adopted += gi_load_relaxed(&heap->adopted);
}

static void add_cache(gi_thread_cache *cache, void *arg) {
    sums *sum = arg;
    if (cache->own.group != sum->group) {
        return;
    }
    add_heap(sum, &cache->own);
    /* relaxed: as above */
    sum->large += gi_load_relaxed(&cache->large);
    uint64_t small = 0, large = 0;
    gi_debug_count(cache, &small, &large);
    sum->quarantined += small;
    sum->large -= large;
    sum->remote_frees += gi_load_relaxed(&cache->remote_frees);
    sum->remote_batches += gi_load_relaxed(&cache->remote_batches);
    sum->retired_blocks += gi_load_relaxed(&cache->retired.blocks);
    sum->retired_bytes += gi_load_relaxed(&cache->retired.bytes);
    sum->retired_lost += gi_load_relaxed(&cache->retired.lost);
    sum->grace_periods += gi_load_relaxed(&cache->retired.grace_periods);
    bool mine = cache == sum->mine;
    bool claimed = !mine && sum->may_claim && !cache->own.lost && gi_heap_claim(&cache->own);
    if (mine || claimed) {
        int64_t cached = gi_cache_count_free(cache);
        sum->broken |= cached < 0 ? -1 : 0;
        sum->cached += cached < 0 ? 0 : (uint64_t)cached;
    }
    if (claimed) {
        gi_heap_release_claim(&cache->own);
    }
}

static void add_interpreter(sums *sum, PyInterpreterState *interpreter) {
    const gi_registry *registry = &interpreter->registry;
    bool taken = false;
    sum->group = interpreter->group;
    sum->may_claim = sum->claims && gi_runtime_may_claim(interpreter, &taken);
    add_heap(sum, &interpreter->group->shared);
    gi_cache_for_each(add_cache, sum);
    int64_t stashed = gi_cache_count_stash(interpreter->group);
    sum->broken |= stashed < 0 ? -1 : 0;
    sum->cached += stashed < 0 ? 0 : (uint64_t)stashed;
    if (taken) {
        gi_gil_drop(&interpreter->registry.gil);
    }
    /* relaxed: statistics */
    sum->retired_bytes += gi_load_relaxed(&interpreter->group->waiting);
    sum->states += gi_load_relaxed(&registry->count);
    sum->states_ever += gi_load_relaxed(&registry->ever);
    sum->takes += gi_load_relaxed(&registry->gil.takes);
    sum->waits += gi_load_relaxed(&registry->gil.waits);
    sum->handoffs += gi_load_relaxed(&registry->gil.handoffs);
    sum->requests += gi_load_relaxed(&registry->gil.requests);
}

static sums add_up(void) {
    gi_runtime_ready();
    bool mine = !gi_runtime_has_outer_lock() || gi_runtime_outer_held(); /* else the holder may be at it */
    sums sum = {.mine = mine ? gi_current_cache : NULL, .claims = gi_runtime_begin_claims()};
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        add_interpreter(&sum, gi_runtime_interpreter_of(registry));
    }
    if (sum.claims) {
        gi_runtime_end_claims();
    }
    return sum;
}

static uint64_t small_blocks(const sums *sum) {
    uint64_t free = sum->cached + sum->quarantined;
    return sum->taken > free ? sum->taken - free : 0;
}

/* A sum of per-thread differences; while others run it may pass through values below 0. */
static uint64_t large_blocks(const sums *sum) { return (int64_t)sum->large > 0 ? sum->large : 0; }

/* --- public ----------------------------------------------------------------------------------- */

size_t gilloc_allocated_blocks(void) {
    sums sum = add_up();
    return (size_t)(small_blocks(&sum) + large_blocks(&sum));
}

void gilloc_get_stats(gilloc_stats *out) {
    size_t size = out->size < sizeof(gilloc_stats) ? out->size : sizeof(gilloc_stats);
    sums sum = add_up();
    const gi_arena_stats *arenas = &gi_arena_stats_now;
    /* relaxed: statistics */
    gilloc_stats stats = {
        .size = size,
        .small_blocks = small_blocks(&sum),
        .large_blocks = large_blocks(&sum),
        .arenas = gi_load_relaxed(&arenas->arenas),
        .arenas_high = gi_load_relaxed(&arenas->arenas_high),
        .arenas_acquired = gi_load_relaxed(&arenas->acquired),
        .arenas_released = gi_load_relaxed(&arenas->released),
        .pools = sum.pools,
        .pools_free = gi_load_relaxed(&arenas->pools_free),
        .pools_orphaned = sum.orphaned,
        .pools_adopted = sum.adopted,
        .bytes_from_system = gi_load_relaxed(&arenas->bytes_from_system),
        .bytes_to_system = gi_load_relaxed(&arenas->bytes_to_system),
        .remote_frees = sum.remote_frees,
        .remote_batches = sum.remote_batches,
        .thread_states = sum.states,
        .thread_states_ever = sum.states_ever,
        .lock_takes = sum.takes,
        .lock_waits = sum.waits,
        .lock_handoffs = sum.handoffs,
        .lock_drop_requests = sum.requests,
        .retired_blocks = sum.retired_blocks,
        .retired_bytes = sum.retired_bytes,
        .retired_lost = sum.retired_lost,
        .grace_periods = sum.grace_periods,
        .world_stops = gi_load_relaxed(&gi_the_world.stops),
    };
    memcpy(out, &stats, size);
}

/* In a stopped world nothing moves while it is looked at.  Under a runtime's own lock that the caller does not hold the
   world cannot be stopped, and is as quiet as the caller says. */
int gilloc_check(void) {
    gi_runtime_ready();
    bool stop = !gi_runtime_has_outer_lock() || gi_runtime_outer_held();
    if (stop) {
        gi_runtime_stop("gilloc_check");
    }
    sums sum = add_up();
    int broken = sum.broken | gi_arena_check() | gi_heap_check_all();
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        broken |= gi_registry_check(registry);
    }
    if (sum.cached > sum.taken) {
        broken = gi_report_broken("T1", "%llu blocks are free in caches, %llu are out of their pools",
                                  (unsigned long long)sum.cached, (unsigned long long)sum.taken);
    }
    if (stop) {
        gi_start();
    }
    return broken;
}
