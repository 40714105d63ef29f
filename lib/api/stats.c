/* SPDX-License-Identifier: MIT */
/*
 * stats.c [L6] - figures and checks: adds up what each owner counts in its slow paths.
 *   Owner   none: it reads counters of others, relaxed, and counts what caches hold that are quiet.
 *   A cache is quiet for the caller if it is the caller's own, or if the caller has claimed it (lib/cache/heap.h) for
 *   the time of the count; in gil mode, where attaching does not look at claims, the caller must hold the lock as well.
 *   Figures of threads that run are of different moments, so each difference is kept from going below 0.
 */
#include "lib/api/stats.h"

#include <string.h>

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/arena/kind.h"
#include "lib/domain/debug_hooks.h"
#include "lib/os/layout.h"

_Static_assert((int)GILLOC_WAIT_BUCKETS == (int)GI_WAIT_BUCKETS, "the lock's histogram is the public one");

/* --- sums over heaps and caches --------------------------------------------------------------- */

typedef struct sums {
    uint64_t taken, large, large_freed, pools, orphaned, adopted, remote_frees, remote_batches;
    uint64_t retired_blocks, retired_bytes, retired_lost, grace_periods;
    uint64_t states, states_ever, attached, takes, waits, handoffs, requests;
    uint64_t wait_sum, wait_max, hold_max, histogram[GI_WAIT_BUCKETS], ended_waits;
    uint64_t quarantined, quarantined_large; /* blocks that were freed, and wait in debug hooks */
    gi_free_counts free;                     /* in quiet caches and in stashes */
    const gi_thread_cache *mine;
    gi_pool_figures *figures; /* pools, and taken blocks as `in_use`, of each class; NULL: not wanted */
    bool claims;              /* may be made at all */
    bool may_claim;           /* the idle ones of the group */
    bool check;               /* each block that is free, too */
    uint64_t checked;         /* so many */
    int broken;
} sums;

static void add_classes(gi_pool_figures *figures, const gi_heap *heap) {
    unsigned kinds = gi_kind_count();
    for (unsigned kind = 0; kind < kinds; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            gi_class_figures *class = &figures->classes[kind][size_class];
            /* relaxed: statistics, each with one writer */
            class->pools += gi_load_relaxed(&heap->classes[kind][size_class].pools);
            class->in_use += gi_load_relaxed(&heap->classes[kind][size_class].taken);
        }
    }
}

static void add_heap(sums *sum, const gi_heap *heap) {
    /* relaxed: statistics, each with one writer */
    uint64_t pools = gi_load_relaxed(&heap->pools);
    sum->taken += gi_load_relaxed(&heap->taken);
    sum->pools += pools;
    sum->orphaned += gi_load_relaxed(&heap->orphaned);
    sum->adopted += gi_load_relaxed(&heap->adopted);
    if (sum->figures != NULL && pools != 0) {
        add_classes(sum->figures, heap);
    }
}

static void check_free(sums *sum, int64_t count) {
    sum->broken |= count < 0 ? -1 : 0;
    sum->checked += count < 0 ? 0 : (uint64_t)count;
}

/* Whether the caller may look into a cache; *claimed says that it has to be released. */
static bool look_into(const sums *sum, gi_thread_cache *cache, bool *claimed) {
    bool mine = cache == sum->mine;
    *claimed = !mine && sum->may_claim && !cache->own.lost && gi_heap_claim(&cache->own);
    return mine || *claimed;
}

static void add_cache(sums *sum, gi_thread_cache *cache) {
    add_heap(sum, &cache->own);
    /* relaxed: as above */
    sum->large_freed += gi_load_relaxed(&cache->large_freed);
    sum->large += gi_load_relaxed(&cache->large);
    uint64_t small = 0, large = 0;
    gi_debug_count(cache, &small, &large);
    sum->quarantined += small;
    sum->quarantined_large += large;
    sum->remote_frees += gi_load_relaxed(&cache->remote_frees);
    sum->remote_batches += gi_load_relaxed(&cache->remote_batches);
    sum->retired_blocks += gi_load_relaxed(&cache->retired.blocks);
    sum->retired_bytes += gi_load_relaxed(&cache->retired.bytes);
    sum->retired_lost += gi_load_relaxed(&cache->retired.lost);
    sum->grace_periods += gi_load_relaxed(&cache->retired.grace_periods);
    sum->attached += gi_thread_status(&gi_runtime_state_of(cache)->thread) == GI_ATTACHED;
    bool claimed;
    if (look_into(sum, cache, &claimed)) {
        gi_cache_add_free(cache, &sum->free);
        if (sum->check) {
            check_free(sum, gi_cache_count_free(cache));
        }
    }
    if (claimed) {
        gi_heap_release_claim(&cache->own);
    }
}

/* How long waits were first, then how many began: so no more have ended than have begun. */
static void add_lock(sums *sum, const gi_gil *gil) {
    for (unsigned i = 0; i < GI_WAIT_BUCKETS; i++) {
        uint64_t waits = gi_load_relaxed(&gil->times.waits[i]); /* relaxed: statistics, as all here */
        sum->histogram[i] += waits;
        sum->ended_waits += waits;
    }
    uint64_t wait_max = gi_load_relaxed(&gil->times.wait_max), hold_max = gi_load_relaxed(&gil->times.hold_max);
    sum->wait_max = wait_max > sum->wait_max ? wait_max : sum->wait_max;
    sum->hold_max = hold_max > sum->hold_max ? hold_max : sum->hold_max;
    sum->wait_sum += gi_load_relaxed(&gil->times.wait_sum);
    sum->waits += gi_load_relaxed(&gil->waits);
    sum->takes += gi_load_relaxed(&gil->takes);
    sum->handoffs += gi_load_relaxed(&gil->handoffs);
    sum->requests += gi_load_relaxed(&gil->requests);
}

static void add_interpreter(sums *sum, PyInterpreterState *interpreter) {
    const gi_registry *registry = &interpreter->registry;
    gi_heap_group *group = interpreter->group;
    add_lock(sum, &registry->gil);
    bool taken = false;
    sum->may_claim = sum->claims && gi_runtime_may_claim(interpreter, &taken);
    add_heap(sum, &group->shared);
    for (gi_heap *heap = gi_heap_first_of(group); heap != NULL; heap = heap->next) {
        add_cache(sum, gi_cache_of_heap(heap));
    }
    gi_cache_add_stashed(group, &sum->free);
    if (sum->check) {
        check_free(sum, gi_cache_count_stash(group));
    }
    if (taken) {
        gi_gil_drop(&interpreter->registry.gil);
    }
    /* relaxed: statistics */
    sum->retired_bytes += gi_load_relaxed(&group->waiting);
    sum->states += gi_load_relaxed(&registry->count);
    sum->states_ever += gi_load_relaxed(&registry->ever);
}

/* The cache that is the caller's own to look into, or NULL: with a runtime's own lock the holder may be at it. */
static const gi_thread_cache *own_cache(void) {
    return !gi_runtime_has_outer_lock() || gi_runtime_outer_held() ? gi_current_cache : NULL;
}

static void add_up(sums *sum) {
    gi_runtime_ready();
    sum->mine = own_cache();
    sum->claims = gi_runtime_begin_claims();
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        add_interpreter(sum, gi_runtime_interpreter_of(registry));
    }
    if (sum->claims) {
        gi_runtime_end_claims();
    }
}

/* `a` - `b`, of two figures of which the second may be of a later moment. */
static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t at_most(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t small_blocks(const sums *sum) { return less(sum->taken, sum->free.all + sum->quarantined); }
static uint64_t large_blocks(const sums *sum) { return less(sum->large, sum->large_freed + sum->quarantined_large); }

/* --- all in one struct ------------------------------------------------------------------------ */

size_t gilloc_allocated_blocks(void) {
    sums sum = {.taken = 0};
    add_up(&sum);
    /* Together: which of the quarantined blocks are small is known by their size alone. */
    return (size_t)less(sum.taken + sum.large,
                        sum.free.all + sum.large_freed + sum.quarantined + sum.quarantined_large);
}

void gilloc_get_stats(gilloc_stats *out) {
    size_t size = out->size < sizeof(gilloc_stats) ? out->size : sizeof(gilloc_stats);
    gi_runtime_ready();
    uint64_t holder = (uint64_t)gi_registry_holder(&gi_main_interpreter.registry); /* now: add_up() may take it */
    sums sum = {.taken = 0};
    add_up(&sum);
    const gi_arena_stats *arenas = &gi_arena_stats_now;
    /* relaxed: statistics; the first two are at most what has been acquired then */
    uint64_t released = gi_load_relaxed(&arenas->released), high = gi_load_relaxed(&arenas->arenas_high);
    uint64_t acquired = gi_load_relaxed(&arenas->acquired), arenas_now = gi_load_relaxed(&arenas->arenas);
    gilloc_stats stats = {
        .size = size,
        .small_blocks = small_blocks(&sum),
        .large_blocks = large_blocks(&sum),
        .arenas = arenas_now,
        .arenas_high = high,
        .arenas_acquired = acquired,
        .arenas_released = released,
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
        .cached_blocks = sum.free.all,
        .cached_bytes = sum.free.bytes,
        .quarantined_blocks = sum.quarantined + sum.quarantined_large,
        .pools_dirty = gi_load_relaxed(&arenas->pools_dirty),
        .arena_bytes = arenas_now * GI_ARENA_SIZE,
        .threads_attached = sum.attached,
        .lock_holder = holder,
        .lock_waiting = less(sum.waits, sum.ended_waits),
        .lock_wait_ns = sum.wait_sum,
        .lock_wait_max_ns = sum.wait_max,
        .lock_hold_max_ns = sum.hold_max,
    };
    memcpy(stats.lock_wait_histogram, sum.histogram, sizeof(sum.histogram));
    memcpy(out, &stats, size);
}

/* --- classes ---------------------------------------------------------------------------------- */

/* Taken blocks fit into the pools, free ones in caches are taken ones. */
static void settle_class(gi_class_figures *class, uint64_t cached, unsigned size_class) {
    uint64_t room = class->pools * gi_class_capacity(size_class), taken = at_most(class->in_use, room);
    class->cached = at_most(cached, taken);
    class->in_use = taken - class->cached;
    class->free = room - taken;
}

void gi_stats_get_pools(gi_pool_figures *figures) {
    memset(figures, 0, sizeof(*figures));
    sums sum = {.figures = figures};
    add_up(&sum);
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            gi_class_figures *class = &figures->classes[kind][size_class];
            settle_class(class, sum.free.blocks[kind][size_class], size_class);
            figures->used += class->pools;
        }
    }
    /* relaxed: statistics; what they lack of the pools in use, arenas that came or went meanwhile have */
    figures->arenas = gi_load_relaxed(&gi_arena_stats_now.arenas);
    figures->pools = at_most(gi_load_relaxed(&gi_arena_stats_now.pools), figures->arenas * GI_ARENA_POOLS);
    uint64_t more = (less(figures->used, figures->pools) + GI_ARENA_POOLS - 1) / GI_ARENA_POOLS;
    figures->arenas += more;
    figures->pools += more * GI_ARENA_POOLS;
}

int gilloc_visit_classes(gilloc_class_visitor visit, void *arg) {
    gi_pool_figures figures;
    gi_stats_get_pools(&figures);
    int result = 0;
    for (unsigned kind = 0; kind < GI_KINDS && result == 0; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES && result == 0; size_class++) {
            const gi_class_figures *class = &figures.classes[kind][size_class];
            if (class->pools != 0) {
                gilloc_class_stats stats = {
                    .size = sizeof(stats),
                    .domain = (PyMemAllocatorDomain)(kind + 1),
                    .name = gi_kinds[kind].name,
                    .block_size = gi_class_size(size_class),
                    .pools = class->pools,
                    .blocks_in_use = class->in_use,
                    .blocks_cached = class->cached,
                    .blocks_free = class->free,
                };
                result = visit(&stats, arg);
            }
        }
    }
    return result;
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Blocks that others have pushed. */
static uint64_t remote_waiting(const gi_heap *heap) {
    uint64_t waiting = 0;
    unsigned kinds = gi_kind_count();
    for (unsigned kind = 0; kind < kinds; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            waiting += gi_load_relaxed(&heap->remote[kind][size_class].waiting); /* relaxed: a hint */
        }
    }
    return waiting;
}

static void get_counters(gilloc_thread_stats *stats, PyThreadState *state) {
    const gi_thread_cache *cache = &state->cache;
    uint32_t status = gi_thread_status(&state->thread);
    stats->status = (status & GI_ATTACHED) != 0 ? GILLOC_THREAD_ATTACHED
                    : (status & GI_PARKED) != 0 ? GILLOC_THREAD_PARKED
                                                : GILLOC_THREAD_DETACHED;
    /* relaxed: statistics, each with one writer */
    stats->thread = gi_load_relaxed(&state->thread.thread);
    stats->remote_waiting = remote_waiting(&cache->own);
    stats->pools = gi_load_relaxed(&cache->own.pools);
    stats->pool_blocks = gi_load_relaxed(&cache->own.taken);
    stats->large_allocated = gi_load_relaxed(&cache->large);
    stats->large_freed = gi_load_relaxed(&cache->large_freed);
    stats->remote_frees = gi_load_relaxed(&cache->remote_frees);
    stats->remote_batches = gi_load_relaxed(&cache->remote_batches);
    stats->retired_blocks = gi_load_relaxed(&cache->retired.blocks);
    stats->retired_bytes = gi_load_relaxed(&cache->retired.bytes);
    stats->retired_lost = gi_load_relaxed(&cache->retired.lost);
    stats->grace_periods = gi_load_relaxed(&cache->retired.grace_periods);
}

static void get_cached(gilloc_thread_stats *stats, gi_thread_cache *cache) {
    PyInterpreterState *interpreter = gi_runtime_state_of(cache)->interpreter;
    bool taken = false, claimed;
    sums sum = {.mine = own_cache(), .claims = gi_runtime_begin_claims()};
    sum.may_claim = sum.claims && gi_runtime_may_claim(interpreter, &taken);
    if (look_into(&sum, cache, &claimed)) {
        gi_cache_add_free(cache, &sum.free);
        stats->cache_known = 1;
        stats->cached_blocks = sum.free.all;
        stats->cached_bytes = sum.free.bytes;
        stats->remote_pending = gi_cache_count_pending(cache);
    }
    if (claimed) {
        gi_heap_release_claim(&cache->own);
    }
    if (taken) {
        gi_gil_drop(&interpreter->registry.gil);
    }
    if (sum.claims) {
        gi_runtime_end_claims();
    }
}

/* States with numbers below `before`, the highest first; how many. */
enum { STATES_AT_ONCE = 64 };
typedef struct listed_state {
    gi_thread_state *thread;
    uint64_t number;
} listed_state;

static unsigned list_states(gi_registry *registry, uint64_t before, listed_state *states) {
    unsigned count = 0;
    gi_mutex_lock(&registry->mutex);
    for (gi_thread_state *thread = registry->first; thread != NULL && count < STATES_AT_ONCE; thread = thread->next) {
        if (thread->number < before) {
            states[count++] = (listed_state){thread, thread->number};
        }
    }
    gi_mutex_unlock(&registry->mutex);
    return count;
}

static int visit_registry(gi_registry *registry, uint64_t interpreter, gilloc_thread_visitor visit, void *arg) {
    listed_state states[STATES_AT_ONCE];
    uint64_t before = UINT64_MAX;
    int result = 0;
    for (unsigned count; result == 0 && (count = list_states(registry, before, states)) != 0;) {
        for (unsigned i = 0; i < count && result == 0; i++) {
            /* It may have been deleted meanwhile; its memory stays. */
            PyThreadState *state = (PyThreadState *)(void *)((char *)states[i].thread - offsetof(struct _ts, thread));
            gilloc_thread_stats stats = {
                .size = sizeof(stats), .state = state, .number = states[i].number, .interpreter = interpreter};
            get_counters(&stats, state);
            get_cached(&stats, &state->cache);
            result = visit(&stats, arg);
        }
        before = states[count - 1].number;
    }
    return result;
}

int gilloc_visit_threads(gilloc_thread_visitor visit, void *arg) {
    gi_runtime_ready();
    uint64_t left = 0;
    int result = 0;
    gi_registry *first = gi_registry_first(); /* the newest */
    for (const gi_registry *registry = first; registry != NULL; registry = registry->next) {
        left++;
    }
    for (gi_registry *registry = first; registry != NULL && result == 0; registry = registry->next) {
        result = visit_registry(registry, --left, visit, arg);
    }
    return result;
}

/* --- check ------------------------------------------------------------------------------------ */

/* In a stopped world nothing moves while it is looked at.  Under a runtime's own lock that the caller does not hold the
   world cannot be stopped, and is as quiet as the caller says. */
int gilloc_check(void) {
    gi_runtime_ready();
    bool stop = !gi_runtime_has_outer_lock() || gi_runtime_outer_held();
    if (stop) {
        gi_runtime_stop("gilloc_check");
    }
    sums sum = {.check = true};
    add_up(&sum);
    int broken = sum.broken | gi_arena_check() | gi_heap_check_all();
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        broken |= gi_registry_check(registry);
    }
    if (sum.checked > sum.taken) {
        broken = gi_report_broken("T1", "%llu blocks are free in caches, %llu are out of their pools",
                                  (unsigned long long)sum.checked, (unsigned long long)sum.taken);
    }
    if (broken == 0 && sum.checked != sum.free.all) {
        broken = gi_report_broken("T2", "%llu blocks are free in caches, statistics say %llu",
                                  (unsigned long long)sum.checked, (unsigned long long)sum.free.all);
    }
    if (stop) {
        gi_start();
    }
    return broken;
}
