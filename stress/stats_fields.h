/* SPDX-License-Identifier: MIT */
/*
 * stats_fields.h - the fields of gilloc_stats, by name.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_STATS_FIELDS_H
#define STRESS_STATS_FIELDS_H

/* Those that the JSON of a row has. */
#define STATS_FIELDS(X)   \
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

/* The others. */
#define STATS_FIELDS_OTHER(X) \
    X(quarantined_blocks)     \
    X(threads_attached)       \
    X(lock_holder)            \
    X(lock_waiting)

#endif /* STRESS_STATS_FIELDS_H */
