/* SPDX-License-Identifier: MIT */
/*
 * stats.h [L6] - figures: what stats.c adds up, for print_stats.c.
 *   Owner   none.  Locks: none that a thread holds while it runs.
 */
#ifndef GI_STATS_H
#define GI_STATS_H

#include <gilloc/gilloc.h>

#include "lib/arena/size_class.h"

/* X(field, section of the text, words of the text): the numbers of gilloc_stats, in their order.  The holder is no
   amount: it has a line of its own. */
#define GI_STATS_FIELDS(X)                                            \
    X(small_blocks, "blocks", "small blocks in use")                  \
    X(large_blocks, "blocks", "large blocks in use")                  \
    X(arenas, "arenas and pools", "arenas")                           \
    X(arenas_high, "arenas and pools", "arenas, at most")             \
    X(arenas_acquired, "arenas and pools", "arenas acquired")         \
    X(arenas_released, "arenas and pools", "arenas released")         \
    X(pools, "arenas and pools", "pools in use")                      \
    X(pools_free, "arenas and pools", "pools free")                   \
    X(pools_orphaned, "arenas and pools", "pools orphaned")           \
    X(pools_adopted, "arenas and pools", "pools adopted")             \
    X(bytes_from_system, "system", "bytes from the system")           \
    X(bytes_to_system, "system", "bytes to the system")               \
    X(remote_frees, "remote frees", "blocks handed over")             \
    X(remote_batches, "remote frees", "in batches")                   \
    X(thread_states, "threads", "thread states")                      \
    X(thread_states_ever, "threads", "thread states made")            \
    X(lock_takes, "lock", "taken")                                    \
    X(lock_waits, "lock", "waited for")                               \
    X(lock_handoffs, "lock", "handed over")                           \
    X(lock_drop_requests, "lock", "requests to drop it")              \
    X(retired_blocks, "deferred frees", "blocks retired")             \
    X(retired_bytes, "deferred frees", "bytes that wait")             \
    X(retired_lost, "deferred frees", "blocks lost")                  \
    X(grace_periods, "deferred frees", "grace periods")               \
    X(world_stops, "threads", "stops of the world")                   \
    X(cached_blocks, "blocks", "free blocks in caches")               \
    X(cached_bytes, "blocks", "bytes of these")                       \
    X(quarantined_blocks, "blocks", "freed, in quarantine")           \
    X(pools_dirty, "arenas and pools", "pools free that hold memory") \
    X(arena_bytes, "arenas and pools", "bytes of arenas")             \
    X(threads_attached, "threads", "attached")                        \
    X(lock_holder, "holder", "held by thread")                        \
    X(lock_waiting, "lock", "threads that wait")                      \
    X(lock_wait_ns, "lock", "ns of all waits")                        \
    X(lock_wait_max_ns, "lock", "ns of the longest wait")             \
    X(lock_hold_max_ns, "lock", "ns of the longest hold")

/* All that CPython's table is made of, of one moment as far as that is: used pools are in arenas, blocks in pools. */
typedef struct gi_class_figures {
    uint64_t pools, in_use, cached, free; /* of blocks but for the first */
} gi_class_figures;

typedef struct gi_pool_figures {
    uint64_t arenas, pools; /* now; in all arenas, of which `used` */
    uint64_t used;
    gi_class_figures classes[GI_KINDS][GI_CLASSES];
} gi_pool_figures;

/* Blocks of a class that a pool has room for. */
static inline uint64_t gi_class_capacity(unsigned size_class) { return GI_POOL_SIZE / gi_class_size(size_class); }

void gi_stats_get_pools(gi_pool_figures *figures);

#endif /* GI_STATS_H */
