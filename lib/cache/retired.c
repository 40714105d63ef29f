/* SPDX-License-Identifier: MIT */
/*
 * retired.c [L4] - deferred frees: blocks that are freed after a grace period.  Theory: retired.h.
 *   Owner   a batch: its thread, or the stopper of the world.
 *   Locks   group.mutex.
 */
#include "lib/cache/retired.h"

#include "concurrency/check.h"
#include "concurrency/rcu.h"
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

#define DOMAIN_MASK ((uintptr_t)GI_ALIGNMENT - 1)

gi_atomic(uint64_t) gi_retired_limit = DEFAULT_LIMIT;

/* --- chunks ----------------------------------------------------------------------------------- */

static gi_retired_chunk *chunk_map(void) {
    gi_retired_chunk *chunk = gi_os_map(CHUNK_BYTES);
    if (chunk != NULL) {
        chunk->capacity = CHUNK_WORDS;
    }
    return chunk;
}

static void put_spare(gi_retired *retired, gi_retired_chunk *chunk) {
    chunk->count = 0;
    chunk->bytes = 0;
    if (chunk == &retired->first.chunk) {
        return; /* in place */
    }
    if (retired->spares >= SPARES_MAX) {
        gi_os_unmap(chunk, CHUNK_BYTES);
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
    gi_assert(((uintptr_t)block & DOMAIN_MASK) == 0 && domain <= DOMAIN_MASK);
    gi_retired_chunk *chunk = retired->chunks;
    bool last = false;
    gi_counter_add(&retired->blocks, 1);
    if (gi_unlikely(chunk == NULL || chunk->count == chunk->capacity)) {
        chunk = next_chunk(retired, &last);
        if (chunk == NULL) {
            gi_counter_add(&retired->lost, 1);
            return true;
        }
    }
    chunk->words[chunk->count++] = (uintptr_t)block | domain;
    chunk->bytes += bytes;
    gi_counter_add(&retired->bytes, bytes);
    return last || gi_load_relaxed(&retired->bytes) > gi_load_relaxed(&gi_retired_limit); /* relaxed: owner-only */
}

/* --- reclaim ---------------------------------------------------------------------------------- */

static size_t bytes_of(const gi_retired_chunk *chunk) {
    size_t bytes = 0;
    for (; chunk != NULL; chunk = chunk->next) {
        bytes += chunk->bytes;
    }
    return bytes;
}

static gi_retired_chunk *take_left(gi_heap_group *group) {
    gi_mutex_lock(&group->mutex);
    gi_retired_chunk *left = group->left;
    group->left = NULL;
    gi_counter_sub(&group->waiting, bytes_of(left));
    gi_mutex_unlock(&group->mutex);
    return left;
}

static void free_chunks(gi_retired *retired, gi_retired_chunk *chunks, gi_retired_free free_block) {
    for (gi_retired_chunk *chunk = chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        uint32_t count = chunk->count;
        for (uint32_t i = 0; i < count; i++) {
            free_block((unsigned)(chunk->words[i] & DOMAIN_MASK), (void *)(chunk->words[i] & ~DOMAIN_MASK));
        }
        put_spare(retired, chunk);
    }
}

void gi_retired_reclaim(gi_retired *retired, gi_heap_group *group, bool wait, gi_retired_free free_block) {
    gi_retired_chunk *batch = retired->chunks, *left = take_left(group);
    gi_pool *limbo = gi_heap_take_limbo(group);
    if (batch == NULL && left == NULL && limbo == NULL) {
        return;
    }
    size_t bytes = bytes_of(batch), others = bytes_of(left);
    for (const gi_pool *pool = limbo; pool != NULL; pool = pool->next) {
        others += GI_POOL_SIZE;
    }
    gi_counter_add(&retired->bytes, others);
    if (wait) {
        gi_rcu_synchronize();
        gi_counter_add(&retired->grace_periods, 1);
    }
    retired->chunks = NULL; /* a hook of a domain may retire meanwhile */
    free_chunks(retired, batch, free_block);
    free_chunks(retired, left, free_block);
    gi_heap_release_pools(limbo);
    gi_counter_sub(&retired->bytes, bytes + others);
}

/* --- a thread ends ---------------------------------------------------------------------------- */

void gi_retired_leave(gi_retired *retired, gi_heap_group *group) {
    /* The first chunk is part of the batch: its words go to one that can be left, or stay for the next thread. */
    gi_retired_chunk *first = &retired->first.chunk, *stays = NULL;
    gi_retired_chunk **link = &retired->chunks;
    while (*link != NULL && *link != first) {
        link = &(*link)->next;
    }
    if (*link == first && first->count != 0) {
        gi_retired_chunk *copy = take_spare(retired);
        copy = copy != NULL ? copy : chunk_map();
        if (copy != NULL) {
            for (uint32_t i = 0; i < first->count; i++) {
                copy->words[i] = first->words[i];
            }
            copy->count = first->count;
            copy->bytes = first->bytes;
            put_spare(retired, first);
            copy->next = NULL;
            *link = copy;
        } else {
            stays = first;
            *link = NULL;
        }
    } else if (*link == first) {
        *link = NULL;
    }
    gi_retired_chunk *chunks = retired->chunks;
    retired->chunks = stays;
    if (chunks != NULL) {
        size_t bytes = 0;
        gi_retired_chunk *last = chunks;
        for (gi_retired_chunk *chunk = chunks; chunk != NULL; chunk = chunk->next) {
            bytes += chunk->bytes;
            last = chunk;
        }
        gi_mutex_lock(&group->mutex);
        last->next = group->left;
        group->left = chunks;
        gi_counter_add(&group->waiting, bytes);
        gi_mutex_unlock(&group->mutex);
        gi_counter_sub(&retired->bytes, bytes);
    }
    for (gi_retired_chunk *spare; (spare = take_spare(retired)) != NULL;) {
        gi_os_unmap(spare, CHUNK_BYTES);
    }
}
