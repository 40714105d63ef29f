/* SPDX-License-Identifier: MIT */
/*
 * stats.c - gilloc_get_stats() as JSON.
 *   Locks   none.
 */
#include "stress/stats.h"

#include <gilloc/gilloc.h>

#define STATS(X)          \
    X(small_blocks)       \
    X(large_blocks)       \
    X(arenas)             \
    X(arenas_high)        \
    X(arenas_acquired)    \
    X(arenas_released)    \
    X(pools)              \
    X(pools_free)         \
    X(pools_orphaned)     \
    X(pools_adopted)      \
    X(bytes_from_system)  \
    X(bytes_to_system)    \
    X(remote_frees)       \
    X(remote_batches)     \
    X(thread_states)      \
    X(thread_states_ever) \
    X(lock_takes)         \
    X(lock_waits)         \
    X(lock_handoffs)      \
    X(lock_drop_requests) \
    X(retired_blocks)     \
    X(retired_bytes)      \
    X(retired_lost)       \
    X(grace_periods)      \
    X(world_stops)        \
    X(cached_blocks)      \
    X(cached_bytes)       \
    X(pools_dirty)        \
    X(arena_bytes)        \
    X(lock_wait_ns)       \
    X(lock_wait_max_ns)   \
    X(lock_hold_max_ns)

json_t *stats_json(void) {
    gilloc_stats stats = {.size = sizeof stats};
    gilloc_get_stats(&stats);
    json_t *json = json_object();
#define STAT(name) json_object_set_new(json, #name, json_integer((json_int_t)stats.name));
    STATS(STAT)
#undef STAT
    return json;
}
