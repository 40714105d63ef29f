# SPDX-License-Identifier: MIT
"""seeds.py - the bugs that seeded.py plants: where, what is replaced by what, and which tests should see it."""
from collections import namedtuple

Seed = namedtuple("Seed", "name path old new tests all", defaults=(False,))

UNIT = ["//tests/concurrency/..."]
CACHE = ["//tests/cache/...", "//tests/arena/..."]
API = ["//tests/api/..."]
TORTURE = ["//tests/stress:torture_test"]


def order(name, path, old, new, targets, everywhere=False):
    """A memory order made relaxed: on x86-64 only ThreadSanitizer can see most of them."""
    return Seed(name, path, old, new, [("tsan", targets), ("tsan-hostile", targets + API + TORTURE)], everywhere)


def step(name, path, old, new, targets):
    """A step left out."""
    return Seed(name, path, old, new, [("", targets), ("hostile", targets + TORTURE), ("tsan", targets + TORTURE)])


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
          UNIT),
    order("lock: a take does not acquire", LOCK_H,
          "!gi_cas_acquire(&gil->state, &state, GI_GIL_HELD)",
          "!gi_cas_relaxed(&gil->state, &state, GI_GIL_HELD)",
          UNIT),
    order("lock: a grant does not release", GIL,
          "gi_exchange_acq_rel(&waiter->signal, signal)",
          "atomic_exchange_explicit(&waiter->signal, signal, memory_order_relaxed)",
          UNIT),
    order("lock: a granted waiter does not acquire", GIL,
          "uint32_t signal = gi_load_acquire(&self->signal);",
          "uint32_t signal = gi_load_relaxed(&self->signal);",
          UNIT),
    order("attach: who leaves does not release", STATE,
          "gi_fetch_add_release(&state->status, to - from)",
          "gi_fetch_add_relaxed(&state->status, to - from)",
          UNIT),
    order("attach, world-start: who enters does not acquire", STATE,
          "if (gi_cas_acquire(&state->status, &status, to))",
          "if (gi_cas_relaxed(&state->status, &status, to))",
          UNIT),
    order("attach: the stopper does not acquire", STOP,
          "gi_fetch_or_acquire(&state->status, GI_STOP)",
          "gi_fetch_or_relaxed(&state->status, GI_STOP)",
          UNIT + API),
    order("attach: who deletes does not acquire", STATE,
          "if (gi_cas_acquire(&state->status, &status, status | GI_ENDING))",
          "if (gi_cas_relaxed(&state->status, &status, status | GI_ENDING))",
          UNIT + API),
    order("world-start: the start does not release", STOP,
          "gi_fetch_and_release(&state->status, ~(uint32_t)GI_STOP)",
          "gi_fetch_and_relaxed(&state->status, ~(uint32_t)GI_STOP)",
          UNIT + API),
    order("grace-period: a quiescent state is not told", RCU,
          "#define told_release() __tsan_release(&grace_period_tag)",
          "#define told_release() ((void)0)",
          UNIT),
    order("grace-period: its end is not told", RCU,
          "#define told_acquire() __tsan_acquire(&grace_period_tag)",
          "#define told_acquire() ((void)0)",
          UNIT),
    order("remote-free: a push does not release", LIST,
          "gi_cas_release(&list->head, &head, first)",
          "gi_cas_relaxed(&list->head, &head, first)",
          UNIT),
    order("remote-free: a take does not acquire", LIST,
          "gi_exchange_acquire(&list->head, NULL)",
          "atomic_exchange_explicit(&list->head, NULL, memory_order_relaxed)",
          UNIT),
    order("remote-close: a close neither acquires nor releases", LIST,
          "gi_exchange_acq_rel(&list->head, GI_REMOTE_CLOSED)",
          "atomic_exchange_explicit(&list->head, GI_REMOTE_CLOSED, memory_order_relaxed)",
          UNIT),
    order("remote-close: who is refused does not acquire", LIST,
          "(void)gi_load_acquire(&list->head);",
          "",
          UNIT),
    order("heap-claim: an idle heap is not released", HEAP_H,
          "gi_store_release(&heap->status, GI_HEAP_IDLE)",
          "gi_store_relaxed(&heap->status, GI_HEAP_IDLE)",
          CACHE),
    order("heap-claim: a released claim is not released", HEAP,
          "gi_store_release(&heap->status, GI_HEAP_IDLE);\n"
          "    gi_mutex_unlock",
          "gi_store_relaxed(&heap->status, GI_HEAP_IDLE);\n"
          "    gi_mutex_unlock",
          CACHE),
    order("heap-claim: a claim does not acquire", HEAP,
          "gi_cas_acquire(&heap->status, &status, GI_HEAP_CLAIMED)",
          "gi_cas_relaxed(&heap->status, &status, GI_HEAP_CLAIMED)",
          CACHE),
    order("heap-claim: an attach does not acquire", HEAP_H,
          "gi_cas_acquire(&heap->status, &status, GI_HEAP_ACTIVE)",
          "gi_cas_relaxed(&heap->status, &status, GI_HEAP_ACTIVE)",
          CACHE),
    order("heap-number: a heap is not released", HEAP,
          "gi_store_release(&heaps[heap->number], heap)",
          "gi_store_relaxed(&heaps[heap->number], heap)",
          CACHE),
    order("domain-table: a table is not released", DOMAIN,
          "gi_store_release(&installed[domain], made)",
          "gi_store_relaxed(&installed[domain], made)",
          ["//tests/domain/..."]),
    order("window: a window is not released", MAP,
          "gi_store_release(&slots[window], made)",
          "gi_store_relaxed(&slots[window], made)",
          CACHE),
    order("ready: first use is not released", RUNTIME,
          "gi_store_release(&gi_runtime_is_ready, 1)",
          "gi_store_relaxed(&gi_runtime_is_ready, 1)",
          API),
    order("page-word: a move does not release", HEAP,
          "gi_store_release(gi_address_word(pool->memory), gi_word_make(to",
          "gi_store_relaxed(gi_address_word(pool->memory), gi_word_make(to",
          CACHE),
    # --- deferred frees
    step("retire: no grace period", RETIRED,
         "        gi_rcu_synchronize();\n",
         "",
         API),
    step("retire: a batch is freed as it is retired", GILLOC,
         "void gilloc_retire(PyMemAllocatorDomain domain, void *p) {",
         "void gilloc_retire(PyMemAllocatorDomain domain, void *p) {\n"
         "    if (domain != PYMEM_DOMAIN_RAW) {\n"
         "        gilloc_free(domain, p);\n"
         "        return;\n"
         "    }",
         API),
    step("retire: no limit", "lib/cache/retired.h",
         "    return bytes > gi_load_relaxed(&gi_retired_limit);",
         "    return false;",
         API),
    step("retire: a thread's end keeps its batch", RUNTIME,
         "    leave_retired(state, mine == NULL);\n",
         "",
         API),
    step("retire: the limit asks nobody at an attach", RUNTIME,
         "gi_unlikely(gi_retired_any_is_due(",
         "gi_unlikely(false && gi_retired_any_is_due(",
         API),
    step("retire: no chunk is kept spare", RETIRED,
         "        if (retired->spare == NULL) {",
         "        if (false) {",
         CACHE),
    step("retire: what is left is freed without its grace period", RETIRED,
         "    gi_retired_chunk *batch = retired->chunks, *left = take_left(group, &bytes);",
         "    gi_retired_chunk *batch = retired->chunks, *left = take_left(group, &bytes);\n"
         "    free_chunks(retired, left, free_blocks);\n"
         "    left = NULL;",
         API),
    step("retire: a safepoint does not free", RUNTIME,
         "    if ((asked & GI_ASKED_RECLAIM) != 0) {\n"
         "        gi_runtime_reclaim",
         "    if (false) {\n"
         "        gi_runtime_reclaim",
         API),
    # --- kinds
    step("kinds: links stand at the start of blocks", "lib/arena/kind.c",
         "made->link_offset = (uint16_t)(",
         "made->link_offset = 0 * (uint16_t)(",
         API + CACHE),
    step("kinds: an empty type-stable pool goes back at once", HEAP,
         "gi_unlikely(gi_kinds[pool->kind].type_stable)",
         "gi_unlikely(false)",
         API + CACHE),
    step("kinds: limbo is given back without a grace period", RETIRED,
         "    gi_pool *limbo = gi_heap_take_limbo(group);",
         "    gi_heap_release_pools(gi_heap_take_limbo(group));\n"
         "    gi_pool *limbo = NULL;",
         API + CACHE),
    # --- the stopped world
    step("stop: states born in a stopped world may attach", STATE,
         "registry->stopped ? GI_STOP : GI_DETACHED",
         "GI_DETACHED",
         UNIT + API),
    step("stop: who leaves does not say so", STATE,
         "    if (leave(state, GI_ATTACHED, to)) {\n"
         "        gi_world_left();",
         "    if (leave(state, GI_ATTACHED, to)) {\n",
         UNIT),
    step("stop: who deletes does not say so", STATE,
         "    if (awaited && !gi_world_is_mine()) {\n"
         "        gi_world_left();",
         "    if (false) {\n"
         "        gi_world_left();",
         UNIT + API),
    step("stop: it does not wait", STOP,
         "    while (world->pending != 0) {",
         "    while (false && world->pending != 0) {",
         UNIT + API),
    step("stop: the stopper stays online while it waits", STOP,
         "        gi_thread_offline(self); /* some",
         "        /* some",
         UNIT + API),
    step("stop: nobody is asked", STOP,
         "                gi_fetch_or_relaxed(&state->asked.bits, GI_ASKED_STOP);",
         "",
         UNIT + API),
    step("stop: one start ends nested stops", STOP,
         "    if (--gi_world_stops > 0) {",
         "    if ((gi_world_stops = 0) > 0) {",
         API),
    step("stop: waiters are not woken", STOP,
         "    pthread_cond_broadcast(&world->changed);\n",
         "",
         UNIT + API),
    step("stop: the locks of other interpreters are not taken", STOP,
         "if ((self == NULL || registry != self->registry) && !registry->held) {",
         "if (self == NULL && !registry->held) {",
         API),
    step("stop: a deletion goes on in a stopped world", STATE,
         "gi_world_is_mine() ? GI_STOP : GI_DETACHED;\n",
         "gi_load_relaxed(&state->status) & GI_STOP;\n",
         UNIT + API),
    step("stop: the holder gives the lock up in a stopped world", RUNTIME,
         "    } else if ((asked & GI_ASKED_DROP) != 0 && !gi_world_is_mine()) {",
         "    } else if ((asked & GI_ASKED_DROP) != 0) {",
         API),
    # --- modes
    step("switch: the mode is not looked at again, GIL-free", STATE,
         "            if (gi_likely(gi_world_is_free())) {",
         "            if (true) {",
         UNIT + API),
    step("switch: the mode is not looked at again, gil", STATE_H,
         "gi_unlikely(*status != from || gi_world_is_free())",
         "gi_unlikely(*status != from)",
         UNIT + API),
    step("switch: private heaps are kept in gil mode", RUNTIME,
         "        gi_cache_share_all(\"gilloc_set_mode\");\n",
         "        ;\n",
         API),
    step("switch: a yield does not look at the mode", STATE,
         "    if (gi_likely(!gi_world_is_free())) {\n"
         "        gi_store_relaxed",
         "    if (true) {\n"
         "        gi_store_relaxed",
         UNIT + API),
    step("switch: claims outlast it", RUNTIME,
         "static bool claims_are_counted(void) { return gi_runtime_current() == NULL && !gi_world_is_mine(); }",
         "static bool claims_are_counted(void) { return false; }",
         CACHE + API),
    # --- the walk
    step("walk: caches are not flushed", GILLOC,
         "    gi_cache_flush_all(\"gilloc_visit_blocks\");\n",
         "",
         API),
    step("walk: retired blocks are not freed", GILLOC,
         "    gi_runtime_reclaim_all(NULL);\n"
         "    gi_cache_flush_all(\"gilloc_visit",
         "    gi_cache_flush_all(\"gilloc_visit",
         API),
    step("walk: one round of flushing", THREAD_CACHE,
         "        gi_cache_for_each(work_on_one, &all);\n",
         "        gi_cache_for_each(work_on_one, &all);\n"
         "        all.moved = false;\n",
         API),
    step("walk: user arenas are left out", MAP,
         "    for (size_t i = 0; slots != NULL && i < WINDOWS && result == 0; i++) {",
         "    for (size_t i = 0; false && slots != NULL && i < WINDOWS; i++) {",
         API),
    # --- remote frees, exits
    step("remote: slots are kept at a detach", "lib/cache/thread_cache.h",
         "        if (gi_unlikely(cache->remote_pending != 0)) {\n"
         "            gi_cache_flush_remote",
         "        if (false) {\n"
         "            gi_cache_flush_remote",
         CACHE + API),
    step("remote: an owner is not asked to drain", THREAD_CACHE,
         "        upkeep(cache, heap, function);\n",
         "        ;\n",
         CACHE + API),
    step("exit: lists are closed before the pools are handed over", THREAD_CACHE,
         "    gi_heap_orphan(&cache->own);\n"
         "    /* Pools first",
         "    /* Pools first",
         CACHE + API),
    step("exit: nobody adopts", HEAP,
         "bool gi_heap_adopt(gi_heap *heap, unsigned kind, unsigned size_class) {\n",
         "bool gi_heap_adopt(gi_heap *heap, unsigned kind, unsigned size_class) {\n"
         "    if (heap != NULL) {\n"
         "        return false;\n"
         "    }\n",
         CACHE + API),
    # --- interpreters
    step("interpreters: a foreign block is kept", OBJECT,
         "return gi_heap_of_number(gi_word_heap(word))->group != cache->own.group;",
         "return word == 0 && cache == NULL;",
         API),
    step("interpreters: statistics are of the main one alone", "lib/api/stats.c",
         "    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = "
         "registry->next) {\n"
         "        add_interpreter",
         "    for (gi_registry *registry = &gi_main_interpreter.registry; registry != NULL; "
         "registry = NULL) {\n"
         "        add_interpreter",
         API),
    # --- fork
    step("fork: dead threads stay in liburcu's registry", RUNTIME,
         "        gi_rcu_after_fork_child(); /* here",
         "        /* here",
         UNIT + API),
    step("fork: the world is not stopped", RUNTIME,
         "        gi_runtime_stop(\"fork\");\n"
         "        gi_this.stopped_to_fork = true;\n",
         "        ;\n",
         API),
    step("fork: batches of dead threads are lost", RUNTIME,
         "        gi_retired_leave(&state->cache.retired, state->cache.own.group);\n"
         "    }\n"
         "    gi_thread_state_fini",
         "    }\n"
         "    gi_thread_state_fini",
         API),
    step("fork: the child's world stays stopped", RUNTIME,
         "        gi_this.stopped_to_fork = false;\n"
         "        gi_start();",
         "        gi_this.stopped_to_fork = false;",
         API),
]
