# SPDX-License-Identifier: MIT
"""seeds.py - the bugs that seeded.py plants: where, what is replaced by what, and which tests should see it."""
from collections import namedtuple

Seed = namedtuple("Seed", "name path old new tests")

# Each within some seconds, or longer in a plain build.
QUICK = ["//tests/%s" % name for name in """
    concurrency/... arena/... domain/... os/... death/... cache:heap_test cache:retired_test cache:thread_cache_test
    api:allocator_test api:calloc_test api:cancel_test api:deadline_test api:domain_test api:gilstate_test api:kind_test
    api:late_test api:lock_test api:macro_test api:mode_test api:raw_test api:realloc_test api:reclaim_hook_test
    api:reclaim_test api:set_lock_test api:size_test api:thread_state_test api:usable_size_test api:visit_test
    api:world_test api:retire_test api:cross_thread_test api:interpreter_test""".split()]
SLOW = ["//tests/%s" % name for name in """
    cache:object_alloc_test api:arena_allocator_test api:memory_test api:random_test api:thread_life_test
    api:fork_test stress:torture_test""".split()]


def labels(sees):
    return ["//tests/%s" % name for name in sees.split()]


LINT = [("", ["//tests/lint:orders"])]


def order(name, path, old, new, sees):
    """A memory order made relaxed: on x86-64 only ThreadSanitizer can see most of them."""
    return Seed(name, path, old, new, [("tsan", labels(sees)), ("tsan", QUICK), ("tsan-hostile", QUICK), *LINT])


def unseen(name, path, old, new, sees):
    """The same where ThreadSanitizer sees nothing: what the order publishes is atomic itself, or something near by
    orders it as well.  Lint sees that the order is not the one that its note says."""
    return Seed(name, path, old, new, [("tsan", labels(sees)), *LINT])


def step(name, path, old, new, sees, configuration=""):
    """A step left out."""
    return Seed(name, path, old, new, [(configuration, labels(sees)), ("", QUICK), ("hostile", QUICK), ("", SLOW),
                                       ("tsan", QUICK), ("hostile", SLOW)])


GIL, STATE, STOP = "concurrency/gil.c", "concurrency/thread_state.c", "concurrency/stop.c"
LOCK_H, STATE_H = "concurrency/gil.h", "concurrency/thread_state.h"
LIST, RCU = "concurrency/remote_list.h", "concurrency/rcu.c"
HEAP, THREAD_CACHE, RETIRED = "lib/cache/heap.c", "lib/cache/thread_cache.c", "lib/cache/retired.c"
HEAP_H = "lib/cache/heap.h"
OBJECT, MAP, POOL = "lib/cache/object_alloc.c", "lib/arena/address_map.c", "lib/arena/pool.c"
RUNTIME, GILLOC, DOMAIN = "lib/api/runtime.c", "lib/api/gilloc.c", "lib/domain/domain.c"

SEEDS = [
    # --- orders
    order("lock: a drop does not release", LOCK_H,
          "!gi_cas_release(&gil->state, &state, 0)",
          "!gi_cas_relaxed(&gil->state, &state, 0)",
          "concurrency:gil_test"),
    order("lock: a take does not acquire", LOCK_H,
          "!gi_cas_acquire(&gil->state, &state, GI_GIL_HELD)",
          "!gi_cas_relaxed(&gil->state, &state, GI_GIL_HELD)",
          "concurrency:gil_test"),
    order("lock: a grant does not release", GIL,
          "gi_exchange_acq_rel(&waiter->signal, signal)",
          "atomic_exchange_explicit(&waiter->signal, signal, memory_order_relaxed)",
          "concurrency:gil_test"),
    order("lock: a granted waiter does not acquire", GIL,
          "uint32_t signal = gi_load_acquire(&self->signal);",
          "uint32_t signal = gi_load_relaxed(&self->signal);",
          "concurrency:gil_test"),
    order("attach: who leaves does not release", STATE,
          "gi_fetch_add_release(&state->status, to - from)",
          "gi_fetch_add_relaxed(&state->status, to - from)",
          "concurrency:thread_state_test concurrency:stop_test"),
    order("attach, world-start: who enters does not acquire", STATE,
          "if (gi_cas_acquire(&state->status, &status, to))",
          "if (gi_cas_relaxed(&state->status, &status, to))",
          "concurrency:thread_state_test concurrency:stop_test"),
    order("attach: the stopper does not acquire", STOP,
          "gi_fetch_or_acquire(&state->status, GI_STOP)",
          "gi_fetch_or_relaxed(&state->status, GI_STOP)",
          "concurrency:stop_test api:world_test"),
    order("attach: who deletes does not acquire", STATE,
          "if (gi_cas_acquire(&state->status, &status, status | GI_ENDING))",
          "if (gi_cas_relaxed(&state->status, &status, status | GI_ENDING))",
          "concurrency:thread_state_test concurrency:stop_test"),
    order("world-start: the start does not release", STOP,
          "gi_fetch_and_release(&state->status, ~(uint32_t)GI_STOP)",
          "gi_fetch_and_relaxed(&state->status, ~(uint32_t)GI_STOP)",
          "concurrency:stop_test"),
    order("grace-period: a quiescent state is not told", RCU,
          "#define told_release() __tsan_release(&grace_period_tag)",
          "#define told_release() ((void)0)",
          "concurrency:rcu_test"),
    order("grace-period: its end is not told", RCU,
          "#define told_acquire() __tsan_acquire(&grace_period_tag)",
          "#define told_acquire() ((void)0)",
          "concurrency:rcu_test"),
    order("remote-free: a push does not release", LIST,
          "gi_cas_release(&list->head, &head, first)",
          "gi_cas_relaxed(&list->head, &head, first)",
          "concurrency:remote_list_test"),
    order("remote-free: a take does not acquire", LIST,
          "gi_exchange_acquire(&list->head, NULL)",
          "atomic_exchange_explicit(&list->head, NULL, memory_order_relaxed)",
          "concurrency:remote_list_test"),
    order("remote-close: a close neither acquires nor releases", LIST,
          "gi_exchange_acq_rel(&list->head, GI_REMOTE_CLOSED)",
          "atomic_exchange_explicit(&list->head, GI_REMOTE_CLOSED, memory_order_relaxed)",
          "concurrency:remote_list_test"),
    order("remote-close: who is refused does not acquire", LIST,
          "(void)gi_load_acquire(&list->head);",
          "",
          "concurrency:remote_list_test"),
    order("heap-claim: an idle heap is not released", HEAP_H,
          "gi_store_release(&heap->status, GI_HEAP_IDLE)",
          "gi_store_relaxed(&heap->status, GI_HEAP_IDLE)",
          "cache:heap_test cache:thread_cache_test"),
    order("heap-claim: a released claim is not released", HEAP,
          "gi_store_release(&heap->status, GI_HEAP_IDLE);\n"
          "    gi_mutex_unlock",
          "gi_store_relaxed(&heap->status, GI_HEAP_IDLE);\n"
          "    gi_mutex_unlock",
          "cache:heap_test"),
    order("heap-claim: a claim does not acquire", HEAP,
          "gi_cas_acquire(&heap->status, &status, GI_HEAP_CLAIMED)",
          "gi_cas_relaxed(&heap->status, &status, GI_HEAP_CLAIMED)",
          "cache:heap_test"),
    order("heap-claim: an attach does not acquire", HEAP_H,
          "gi_cas_acquire(&heap->status, &status, GI_HEAP_ACTIVE)",
          "gi_cas_relaxed(&heap->status, &status, GI_HEAP_ACTIVE)",
          "cache:heap_test"),
    unseen("heap-number: a heap is not released", HEAP,
          "gi_store_release(&heaps[heap->number], heap)",
          "gi_store_relaxed(&heaps[heap->number], heap)",
          "cache:heap_test"),
    order("domain-table: a table is not released", DOMAIN,
          "gi_store_release(&installed[domain], made)",
          "gi_store_relaxed(&installed[domain], made)",
          "domain:domain_test"),
    order("window: a window is not released", MAP,
          "gi_store_release(&slots[window], made)",
          "gi_store_relaxed(&slots[window], made)",
          "arena:address_map_test"),
    unseen("ready: first use is not released", RUNTIME,
          "gi_store_release(&gi_runtime_is_ready, 1)",
          "gi_store_relaxed(&gi_runtime_is_ready, 1)",
          "api:raw_test api:late_test"),
    unseen("page-word: a move does not release", HEAP,
          "gi_store_release(gi_address_word(pool->memory), gi_word_make(to",
          "gi_store_relaxed(gi_address_word(pool->memory), gi_word_make(to",
          "cache:heap_test cache:thread_cache_test"),
    order("lock: a take by who waited does not acquire", GIL,
          "gi_cas_acquire(&gil->state, &state, state | GI_GIL_HELD)",
          "gi_cas_relaxed(&gil->state, &state, state | GI_GIL_HELD)",
          "concurrency:gil_test api:lock_test"),
    order("lock: a drop beside one who was woken does not release", GIL,
          "gi_cas_release(&gil->state, &state, state & ~(uint32_t)GI_GIL_HELD)",
          "gi_cas_relaxed(&gil->state, &state, state & ~(uint32_t)GI_GIL_HELD)",
          "concurrency:gil_test"),
    unseen("lock: a drop beside waiters does not release", GIL,
          "gi_fetch_and_release(&gil->state, ~(uint32_t)GI_GIL_HELD)",
          "gi_fetch_and_relaxed(&gil->state, ~(uint32_t)GI_GIL_HELD)",
          "concurrency:gil_test"),
    order("holder: a take does not release", LOCK_H,
          "gi_store_release(&gil->holder, asked);",
          "gi_store_relaxed(&gil->holder, asked);",
          "concurrency:gil_test"),
    order("holder: a grant does not release", GIL,
          "gi_store_release(&gil->holder, waiter->asked)",
          "gi_store_relaxed(&gil->holder, waiter->asked)",
          "concurrency:gil_test"),
    order("holder: a take by who was woken does not release", GIL,
          "gi_store_release(&gil->holder, self->asked)",
          "gi_store_relaxed(&gil->holder, self->asked)",
          "concurrency:gil_test"),
    order("holder: who asks does not acquire", GIL,
          "gi_load_acquire(&gil->holder)",
          "gi_load_relaxed(&gil->holder)",
          "concurrency:gil_test"),
    order("world-start: an attach with the lock does not acquire", STATE_H,
          "*status = gi_load_acquire(&state->status);",
          "*status = gi_load_relaxed(&state->status);",
          "concurrency:stop_test api:interpreter_test"),
    order("kind: a kind is not released", "lib/arena/kind.c",
          "gi_store_release(&count, kind + 1)",
          "gi_store_relaxed(&count, kind + 1)",
          "arena:kind_test api:kind_test"),
    order("kind: a kind is not acquired", "lib/arena/kind.c",
          "gi_load_acquire(&count)",
          "gi_load_relaxed(&count)",
          "arena:kind_test api:kind_test"),
    unseen("heap-number: a heap is not acquired", HEAP,
          "gi_load_acquire(&heaps[number])",
          "gi_load_relaxed(&heaps[number])",
          "cache:heap_test cache:thread_cache_test"),
    order("domain-table: a table is not acquired", DOMAIN,
          "gi_load_acquire(&installed[domain])",
          "gi_load_relaxed(&installed[domain])",
          "domain:domain_test"),
    order("window: the table of windows is not released", MAP,
          "gi_store_release(&windows, slots)",
          "gi_store_relaxed(&windows, slots)",
          "arena:address_map_test"),
    order("window: a window is not acquired", MAP,
          "gi_load_acquire(&slots[window])",
          "gi_load_relaxed(&slots[window])",
          "arena:address_map_test"),
    unseen("ready: who uses it does not acquire", "lib/api/runtime.h",
          "gi_load_acquire(&gi_runtime_is_ready)",
          "gi_load_relaxed(&gi_runtime_is_ready)",
          "api:raw_test api:late_test"),
    unseen("page-word: a free does not acquire", OBJECT,
          "uint32_t word = gi_load_acquire(address)",
          "uint32_t word = gi_load_relaxed(address)",
          "cache:object_alloc_test"),
    unseen("page-word: a give-back does not acquire", THREAD_CACHE,
          "uint32_t word = gi_load_acquire(gi_address_word(block)), number",
          "uint32_t word = gi_load_relaxed(gi_address_word(block)), number",
          "cache:thread_cache_test"),
    order("remote-free: a count does not acquire", THREAD_CACHE,
          "gi_load_acquire(&cache->own.remote[kind][size_class].head)",
          "gi_load_relaxed(&cache->own.remote[kind][size_class].head)",
          "cache:thread_cache_test"),
    # --- deferred frees
    step("retire: no grace period", RETIRED,
         "        gi_rcu_synchronize();\n",
         "",
         "cache:retired_test"),
    step("retire: a batch is freed as it is retired", GILLOC,
         "void gilloc_retire(PyMemAllocatorDomain domain, void *p) {",
         "void gilloc_retire(PyMemAllocatorDomain domain, void *p) {\n"
         "    if (domain != PYMEM_DOMAIN_RAW) {\n"
         "        gilloc_free(domain, p);\n"
         "        return;\n"
         "    }",
         "api:reclaim_test api:retire_test"),
    step("retire: no limit", "lib/cache/retired.h",
         "    return bytes > gi_load_relaxed(&gi_retired_limit);",
         "    return false;",
         "cache:retired_test"),
    step("retire: a thread's end keeps its batch", RUNTIME,
         "    leave_retired(state, mine == NULL);\n",
         "    if (false) {\n        leave_retired(state, mine == NULL);\n    }\n",
         "api:retire_test"),
    step("retire: the limit asks nobody at an attach", RUNTIME,
         "gi_unlikely(gi_retired_any_is_due(",
         "gi_unlikely(false && gi_retired_any_is_due(",
         "api:retire_test"),
    step("retire: no chunk is kept spare", RETIRED,
         "        if (retired->spare == NULL) {",
         "        if (false) {",
         "cache:retired_test"),
    step("retire: what is left is freed without its grace period", RETIRED,
         "    gi_retired_chunk *batch = retired->chunks, *left = take_left(group, &bytes);",
         "    gi_retired_chunk *batch = retired->chunks, *left = take_left(group, &bytes);\n"
         "    free_chunks(retired, left, free_blocks);\n"
         "    left = NULL;",
         "cache:retired_test"),
    step("retire: a safepoint does not free", RUNTIME,
         "    if ((asked & GI_ASKED_RECLAIM) != 0) {\n"
         "        gi_runtime_reclaim",
         "    if (false) {\n"
         "        gi_runtime_reclaim",
         "api:retire_test"),
    # --- kinds
    step("kinds: links stand at the start of blocks", "lib/arena/kind.c",
         "made->link_offset = (uint16_t)(",
         "made->link_offset = 0 * (uint16_t)(",
         "arena:kind_test arena:pool_test"),
    step("kinds: an empty type-stable pool goes back at once", HEAP,
         "gi_unlikely(gi_kinds[pool->kind].type_stable)",
         "gi_unlikely(false)",
         "cache:retired_test"),
    step("kinds: limbo is given back before the grace period", RETIRED,
         "    if (wait) {\n"
         "        gi_rcu_synchronize();",
         "    gi_heap_release_pools(limbo);\n"
         "    limbo = NULL;\n"
         "    if (wait) {\n"
         "        gi_rcu_synchronize();",
         "cache:retired_test"),
    step("kinds: what comes into limbo during a grace period goes with it", RETIRED,
         "    gi_heap_release_pools(limbo);\n",
         "    gi_heap_release_pools(limbo);\n"
         "    gi_heap_release_pools(gi_heap_take_limbo(group));\n",
         "cache:retired_test"),
    step("kinds: a block need not hold its link", OBJECT,
         "    return (size >= of->least ? size : of->least) + of->tail;",
         "    return size + of->tail;",
         "api:kind_test"),
    # --- calloc
    step("calloc: what is carved in used memory counts as zero", POOL,
         "        *fresh = pool->zero && gi_pool_carve_otherwise == NULL;",
         "        *fresh = true;",
         "arena:pool_test api:calloc_test"),
    step("calloc: a dirty pool counts as zero", "lib/arena/arena.c",
         "bool zero = arena->ours && (arena->dirty & bit) == 0;",
         "bool zero = arena->ours;",
         "arena:arena_test"),
    step("calloc: a user's arena counts as zero", "lib/arena/arena.c",
         "bool zero = arena->ours && (arena->dirty & bit) == 0;",
         "bool zero = (arena->dirty & bit) == 0;",
         "arena:arena_test"),
    step("calloc: freed blocks count as zero", THREAD_CACHE,
         "        bin->alloc = bin->free;\n"
         "        bin->free = NULL;\n"
         "        bin->length = bin->cap - (uint32_t)bin->room;\n"
         "        bin->room = (int32_t)bin->cap;\n"
         "        bin->fresh = false;",
         "        bin->alloc = bin->free;\n"
         "        bin->free = NULL;\n"
         "        bin->length = bin->cap - (uint32_t)bin->room;\n"
         "        bin->room = (int32_t)bin->cap;",
         "cache:thread_cache_test api:calloc_test"),
    step("calloc: blocks that others freed count as zero", THREAD_CACHE,
         "        gi_free_list_look(kind, size_class, bin->alloc, function);\n"
         "        bin->fresh = false;",
         "        gi_free_list_look(kind, size_class, bin->alloc, function);",
         "cache:thread_cache_test api:calloc_test"),
    # --- the stopped world
    step("stop: states born in a stopped world may attach", STATE,
         "registry->stopped ? GI_STOP : GI_DETACHED",
         "GI_DETACHED",
         "concurrency:stop_test"),
    step("stop: who leaves does not say so", STATE,
         "    if (leave(state, GI_ATTACHED, to)) {\n"
         "        gi_world_left();",
         "    if (leave(state, GI_ATTACHED, to)) {\n",
         "concurrency:stop_test"),
    step("stop: who deletes does not say so", STATE,
         "    if (awaited && !gi_world_is_mine()) {\n"
         "        gi_world_left();",
         "    if (false && awaited) {\n"
         "        gi_world_left();",
         "concurrency:stop_test"),
    step("stop: it does not wait", STOP,
         "    while (world->pending != 0) {",
         "    while (false && world->pending != 0) {",
         "concurrency:stop_test"),
    step("stop: the stopper stays online while it waits", STOP,
         "        gi_thread_offline(self); /* some",
         "        /* some",
         "concurrency:stop_test"),
    step("stop: nobody is asked", STOP,
         "                gi_fetch_or_relaxed(&state->asked.bits, GI_ASKED_STOP);",
         "",
         "concurrency:stop_test"),
    step("stop: one start ends nested stops", STOP,
         "    if (--gi_world_stops > 0) {",
         "    if ((gi_world_stops = 0) > 0) {",
         "concurrency:stop_test"),
    step("stop: waiters are not woken", STOP,
         "    pthread_cond_broadcast(&world->changed);\n",
         "",
         "concurrency:stop_test"),
    step("stop: the locks of other interpreters are not taken", STOP,
         "if ((self == NULL || registry != self->registry) && !registry->held) {",
         "if (self == NULL && !registry->held) {",
         "concurrency:stop_test"),
    step("stop: a state is written to as it is made", RUNTIME,
         "    return state; /* as new: by forget() */",
         "    if (state != NULL) {\n        state->ensured = 0;\n    }\n"
         "    return state;",
         "api:reclaim_hook_test"),
    step("stop: a deletion goes on in a stopped world", STATE,
         "gi_world_is_mine() ? GI_STOP : GI_DETACHED;\n",
         "gi_load_relaxed(&state->status) & GI_STOP;\n",
         "concurrency:stop_test"),
    step("stop: the holder gives the lock up in a stopped world", RUNTIME,
         "    } else if ((asked & GI_ASKED_DROP) != 0 && !gi_world_is_mine()) {",
         "    } else if ((asked & GI_ASKED_DROP) != 0) {",
         "api:world_test"),
    # --- modes
    step("switch: the mode is not looked at again, GIL-free", STATE,
         "            if (gi_likely(gi_world_is_free())) {",
         "            if (true) {",
         "concurrency:stop_test"),
    step("switch: the mode is not looked at again, gil", STATE_H,
         "gi_unlikely(*status != from || gi_world_is_free())",
         "gi_unlikely(*status != from)",
         "concurrency:stop_test"),
    step("switch: private heaps are kept in gil mode", RUNTIME,
         "        gi_cache_share_all(\"gilloc_set_mode\");\n",
         "        ;\n",
         "api:mode_test"),
    step("switch: a yield does not look at the mode", STATE,
         "    if (gi_likely(!gi_world_is_free())) {\n"
         "        gi_store_relaxed",
         "    if (true) {\n"
         "        gi_store_relaxed",
         "concurrency:stop_test api:mode_test"),
    step("switch: claims outlast it", RUNTIME,
         "static bool claims_are_counted(void) { return gi_runtime_current() == NULL && !gi_world_is_mine(); }",
         "static bool claims_are_counted(void) { return false; }",
         "api:world_test api:mode_test"),
    # --- the walk
    step("walk: caches are not flushed", GILLOC,
         "    gi_cache_flush_all(\"gilloc_visit_blocks\");\n",
         "",
         "api:visit_test"),
    step("walk: retired blocks are not freed", GILLOC,
         "    gi_runtime_reclaim_all(NULL);\n"
         "    gi_cache_flush_all(\"gilloc_visit",
         "    gi_cache_flush_all(\"gilloc_visit",
         "api:visit_test"),
    step("walk: one round of flushing", THREAD_CACHE,
         "        gi_cache_for_each(work_on_one, &all);\n",
         "        gi_cache_for_each(work_on_one, &all);\n"
         "        all.moved = false;\n",
         "api:visit_test"),
    step("walk: user arenas are left out", MAP,
         "    for (size_t i = 0; slots != NULL && i < WINDOWS && result == 0; i++) {",
         "    for (size_t i = 0; false && slots != NULL && i < WINDOWS; i++) {",
         "api:visit_test"),
    # --- remote frees, exits
    step("remote: slots are kept at a detach", "lib/cache/thread_cache.h",
         "        if (gi_unlikely(cache->remote_pending != 0)) {\n"
         "            gi_cache_flush_remote",
         "        if (false) {\n"
         "            gi_cache_flush_remote",
         "cache:thread_cache_test"),
    step("remote: an owner is not asked to drain", THREAD_CACHE,
         "        upkeep(cache, heap, function);\n    }\n}",
         "        if (false) {\n            upkeep(cache, heap, function);\n        }\n    }\n}",
         "cache:thread_cache_test"),
    step("exit: lists are closed before the pools are handed over", THREAD_CACHE,
         "    gi_heap_orphan(&cache->own);\n"
         "    /* Pools first",
         "    /* Pools first",
         "cache:thread_cache_test"),
    step("exit: nobody adopts", HEAP,
         "    if (gi_load_relaxed(&shared->partial[kind][size_class]) == NULL) {",
         "    if (gi_load_relaxed(&shared->partial[kind][size_class]) == NULL || true) {",
         "cache:heap_test"),
    step("stash: blocks of a type-stable kind go there", THREAD_CACHE,
         " == gi_cache_shared(cache)->number && !gi_kinds[kind].type_stable;",
         " == gi_cache_shared(cache)->number && kind < GI_KINDS;",
         "api:kind_test cache:thread_cache_test"),
    step("stash: a purge leaves it", GILLOC,
         "        gi_cache_flush_stash(&state->cache, \"gilloc_purge\");\n",
         "",
         "api:memory_test cache:thread_cache_test"),
    step("stash: a walk counts its blocks as live", THREAD_CACHE,
         "void gi_cache_flush_all(const char *function) { work_on_all(flush_with_stash, function); }",
         "void gi_cache_flush_all(const char *function) { work_on_all(gi_cache_flush, function); }",
         "api:visit_test"),
    step("stash: a deleted interpreter keeps it", RUNTIME,
         " || gi_cache_any_stashed(interpreter->group->stash)) {",
         ") {",
         "api:interpreter_test"),
    # --- large blocks, runs
    step("large: a runtime's own lock is not asked", DOMAIN,
         "is_default_locked(PYMEM_DOMAIN_RAW) && !lock_is_theirs;",
         "is_default_locked(PYMEM_DOMAIN_RAW);",
         "death:detached_death_test api:set_lock_test"),
    step("large: raw hooks are passed by", DOMAIN,
         "bool large = is_default_locked(PYMEM_DOMAIN_RAW) && !lock_is_theirs;",
         "bool large = !lock_is_theirs;",
         "api:allocator_test"),
    step("large: arenas elsewhere are forgotten", "lib/cache/object_alloc.h",
         "gi_object_may_be_mapped(block) && gi_load_relaxed(&gi_address_outside) == 0;",
         "gi_object_may_be_mapped(block);",
         "api:arena_allocator_test"),
    step("large: what has no arena is told by the limits", "lib/cache/object_alloc.h",
         "    return gi_address_page((uintptr_t)reservation->base, block) >= reservation->pages &&",
         "    (void)reservation;\n    return",
         "api:allocator_test cache:object_alloc_test"),
    step("runs: they go on into another pool", HEAP,
         "    } while (offset < GI_POOL_SIZE);",
         "    } while (block != NULL);",
         "cache:heap_test"),
    step("runs: one block of each is counted", HEAP,
         "    uncount_taken(heap, pool, count);\n",
         "    uncount_taken(heap, pool, 1);\n",
         "cache:heap_test"),
    # --- interpreters
    step("interpreters: a foreign block is kept", OBJECT,
         "return gi_heap_of_number(gi_word_heap(word))->group != cache->own.group;",
         "return word == 0 && cache == NULL;",
         "death:interpreter_death_test api:interpreter_test"),
    step("interpreters: statistics are of the main one alone", "lib/api/stats.c",
         "    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = "
         "registry->next) {\n"
         "        add_interpreter",
         "    for (gi_registry *registry = &gi_main_interpreter.registry; registry != NULL; "
         "registry = NULL) {\n"
         "        add_interpreter",
         "api:interpreter_test"),
    step("interpreters: retire takes a foreign block", OBJECT,
         "word != GI_WORD_NO_ARENA && is_foreign(cache, word)",
         "false && is_foreign(cache, word)",
         "death:interpreter_death_test"),
    step("interpreters: Clear does not free what waits", RUNTIME,
         "    gi_runtime_reclaim_all(interpreter->group);\n",
         "    (void)interpreter;\n",
         "api:interpreter_test"),
    step("interpreters: Delete leaves thread states", RUNTIME,
         "        if (first == NULL) {\n            break;",
         "        if (first == NULL || true) {\n            break;",
         "api:interpreter_test"),
    # --- fork
    step("fork: dead threads stay in liburcu's registry", RUNTIME,
         "        gi_rcu_after_fork_child(); /* here",
         "        /* here",
         "api:fork_test"),
    step("fork: the world is not stopped", RUNTIME,
         "        gi_runtime_stop(\"fork\");\n"
         "        gi_this.stopped_to_fork = true;\n",
         "        ;\n",
         "api:fork_test"),
    step("fork: batches of dead threads are lost", RUNTIME,
         "        gi_retired_leave(&state->cache.retired, state->cache.own.group);\n"
         "    }\n"
         "    forget(state);\n"
         "    gi_thread_state_fini(&state->thread, ended);",
         "    }\n"
         "    forget(state);\n"
         "    gi_thread_state_fini(&state->thread, ended);",
         "api:fork_test"),
    step("fork: the child's world stays stopped", RUNTIME,
         "        gi_this.stopped_to_fork = false;\n"
         "        gi_start();",
         "        gi_this.stopped_to_fork = false;",
         "api:fork_test"),
]
