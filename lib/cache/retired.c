/* SPDX-License-Identifier: MIT */
/*
 * retired.c [L4] - deferred frees: blocks that are freed after a grace period.  Theory: retired.h.
 *   Owner   a batch: its thread, or the stopper of the world.
 *   Locks   group.mutex.
 */
#include "lib/cache/retired.h"

#include <string.h>

#include "concurrency/check.h"
#include "concurrency/rcu.h"
#include "concurrency/tool.h"
#include "lib/os/os_memory.h"

/* --- constants and state ---------------------------------------------------------------------- */

#ifdef GI_HOSTILE
#define DEFAULT_LIMIT 512u
#define CHUNK_BYTES ((size_t)4096)
#define CHUNK_WORDS 8u
#else
/* CPython defers about as much (gh-133136: QSBR_FREE_MEM_LIMIT, 1 MiB). */
#define DEFAULT_LIMIT (1u << 20)
#define CHUNK_BYTES ((size_t)16384)
#define CHUNK_WORDS ((uint32_t)((CHUNK_BYTES - sizeof(gi_retired_chunk)) / sizeof(uintptr_t)))
#endif
/* Enough for a batch of blocks of 128 bytes under the default limit; a chunk more is mapped and unmapped each time. */
#define SPARES_MAX 4u

gi_atomic(uint64_t) gi_retired_limit = DEFAULT_LIMIT;

/* --- chunks ----------------------------------------------------------------------------------- */

static gi_retired_chunk *chunk_map(void) {
    gi_retired_chunk *chunk = gi_os_map(CHUNK_BYTES);
    if (chunk != NULL) {
        chunk->capacity = CHUNK_WORDS;
        gi_tool_roots(chunk, CHUNK_BYTES, true);
    }
    return chunk;
}

static void chunk_unmap(gi_retired_chunk *chunk) {
    gi_tool_roots(chunk, CHUNK_BYTES, false);
    gi_os_unmap(chunk, CHUNK_BYTES);
}

static void put_spare(gi_retired *retired, gi_retired_chunk *chunk) {
    chunk->count = 0;
    chunk->bytes = 0;
    if (chunk == &retired->first.chunk) {
        return; /* in place */
    }
    if (retired->spares >= SPARES_MAX) {
        chunk_unmap(chunk);
        return;
    }
    chunk->next = retired->spare;
    retired->spare = chunk;
    retired->spares++;
}

static gi_retired_chunk *take_spare(gi_retired *retired) {
    gi_retired_chunk *chunk = retired->spare;
    if (chunk != NULL) {
        retired->spare = chunk->next;
        retired->spares--;
    }
    return chunk;
}

/* A chunk with room in front, or NULL.  *last: there will be none after it. */
static gi_retired_chunk *next_chunk(gi_retired *retired, bool *last) {
    gi_retired_chunk *chunk;
    if (retired->chunks == NULL && retired->first.chunk.count == 0) {
        chunk = &retired->first.chunk;
        chunk->capacity = GI_RETIRED_FIRST;
    } else {
        chunk = take_spare(retired);
        if (chunk == NULL) {
            chunk = chunk_map();
        }
        if (chunk == NULL) {
            return NULL;
        }
        if (retired->spare == NULL) {
            gi_retired_chunk *spare = chunk_map();
            if (spare != NULL) {
                put_spare(retired, spare);
            }
            *last = spare == NULL;
        }
    }
    chunk->next = retired->chunks;
    retired->chunks = chunk;
    return chunk;
}

/* --- retire ----------------------------------------------------------------------------------- */

bool gi_retired_push(gi_retired *retired, unsigned domain, void *block, size_t bytes) {
    gi_assert(((uintptr_t)block & GI_RETIRED_DOMAIN) == 0 && domain <= GI_RETIRED_DOMAIN);
    gi_retired_chunk *chunk = retired->chunks;
    bool last = false;
    if (gi_unlikely(chunk == NULL || chunk->count == chunk->capacity)) {
        chunk = next_chunk(retired, &last);
        if (chunk == NULL) {
            gi_counter_add(&retired->blocks, 1);
            gi_counter_add(&retired->lost, 1);
            return true;
        }
    }
    return gi_retired_put(retired, chunk, domain, block, bytes) || last;
}

/* --- reclaim ---------------------------------------------------------------------------------- */

static gi_retired_chunk *take_left(gi_heap_group *group, size_t *bytes) {
    gi_mutex_lock(&group->mutex);
    gi_retired_chunk *left = group->left;
    group->left = NULL;
    for (const gi_retired_chunk *chunk = left; chunk != NULL; chunk = chunk->next) {
        *bytes += chunk->bytes;
    }
    gi_counter_sub(&group->waiting, *bytes);
    gi_mutex_unlock(&group->mutex);
    return left;
}

static void free_chunks(gi_retired *retired, gi_retired_chunk *chunks, gi_retired_free free_blocks) {
    for (gi_retired_chunk *chunk = chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free_blocks(gi_retired_words(chunk), chunk->count);
        put_spare(retired, chunk);
    }
}

void gi_retired_reclaim(gi_retired *retired, gi_heap_group *group, bool wait, gi_retired_free free_blocks) {
    size_t bytes = 0;
    gi_retired_chunk *batch = retired->chunks, *left = take_left(group, &bytes);
    gi_pool *limbo = gi_heap_take_limbo(group);
    if (batch == NULL && left == NULL && limbo == NULL) {
        return;
    }
    for (const gi_pool *pool = limbo; pool != NULL; pool = pool->next) {
        bytes += GI_POOL_SIZE;
    }
    gi_counter_add(&retired->bytes, bytes);                      /* it waits here now */
    bytes = gi_load_relaxed(&retired->bytes) - retired->freeing; /* relaxed: owner-only */
    retired->freeing += bytes;
    if (wait) {
        gi_rcu_synchronize();
        gi_counter_add(&retired->grace_periods, 1);
    }
    retired->chunks = NULL; /* a hook of a domain may retire meanwhile */
    free_chunks(retired, batch, free_blocks);
    free_chunks(retired, left, free_blocks);
    gi_heap_release_pools(limbo);
    retired->freeing -= bytes;
    gi_counter_sub(&retired->bytes, bytes);
}

/* --- a thread ends ---------------------------------------------------------------------------- */

/* The first chunk, part of a batch that has it, is replaced by a mapped one.  False when none is to be had. */
static bool replace_first(gi_retired *retired) {
    gi_retired_chunk *first = &retired->first.chunk, **link = &retired->chunks;
    while (*link != NULL && *link != first) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return true;
    }
    gi_retired_chunk *copy = take_spare(retired);
    copy = copy != NULL ? copy : chunk_map();
    if (copy == NULL) {
        return false;
    }
    memcpy(gi_retired_words(copy), gi_retired_words(first), first->count * sizeof(gi_retired_words(first)[0]));
    copy->count = first->count;
    copy->next = first->next;
    *link = copy;
    first->count = 0;
    return true;
}

void gi_retired_leave(gi_retired *retired, gi_heap_group *group) {
    if (retired->chunks != NULL && replace_first(retired)) { /* else the batch stays, for the next thread */
        gi_retired_chunk *chunks = retired->chunks, *last = chunks;
        while (last->next != NULL) {
            last = last->next;
        }
        retired->chunks = NULL;
        chunks->bytes = gi_load_relaxed(&retired->bytes); /* relaxed: owner-only */
        gi_counter_sub(&retired->bytes, chunks->bytes);
        gi_mutex_lock(&group->mutex);
        last->next = group->left;
        group->left = chunks;
        gi_counter_add(&group->waiting, chunks->bytes);
        gi_mutex_unlock(&group->mutex);
    }
    for (gi_retired_chunk *spare; (spare = take_spare(retired)) != NULL;) {
        chunk_unmap(spare);
    }
}
