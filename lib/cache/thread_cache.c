/* SPDX-License-Identifier: MIT */
/*
 * thread_cache.c [L4] - the free blocks of one thread, and the blocks that it has freed for others.
 *   Owner   the thread that is attached with the cache.  Theory and invariants: thread_cache.h, heap.h.
 *   Locks   the shared heap's mutex, around giving and taking its blocks.
 *   Orders  remote-free, remote-close, heap-claim, page-word, sample-state.
 */
#include "lib/cache/thread_cache.h"

#include <gilloc/inline.h>
#include <stddef.h>

#include "concurrency/check.h"
#include "lib/arena/kind.h"
#include "lib/cache/free_list.h"
#include "lib/cache/sample.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* So many lives may pass on a class that they were given and did not need, as far as is seen.  Where they did need it
   that costs a visit to the stash (a life of 20 blocks: 8,940 instructions if all is passed on for ever, 9,380 so,
   10,110 by eight lives). */
#define INHERITED_LIVES 64u

#ifdef GI_HOSTILE
#define CAP_BYTES_MIN 32u
#define CAP_BYTES_MAX 256u
#define CAP_BYTES_SHORT 256u
#define CAP_BLOCKS_MIN 2u
#define REMOTE_WAITING_BYTES_MIN 1024u
#define REMOTE_WAITING_BYTES_MAX 4096u
#define REMOTE_SAFEPOINTS 2u
#else
/* What a bin's `free` list may hold: from 4 KiB (with the stash's 8 it keeps 14 % resident after 95 % was freed), up to
   256 KiB for a class that overflows and refills in turns (23 % resident, as pymalloc; a quarter less time). */
#define CAP_BYTES_MIN (4u << 10)
#define CAP_BYTES_MAX (256u << 10)
#define CAP_BLOCKS_MIN 16u
/* The same while lists are short. */
#define CAP_BYTES_SHORT (16u << 10)
/* An owner that does not take in what has been freed for it is asked to at so many bytes a class: more, up to the
   second figure, if it looks for blocks of the class soon after they went to its pools. */
#define REMOTE_WAITING_BYTES_MIN (32u << 10)
#define REMOTE_WAITING_BYTES_MAX (256u << 10)
/* Remote frees wait for a full chain during so many safepoints. */
#define REMOTE_SAFEPOINTS 64u
#endif
/* How many blocks the bin of 0 bytes borrows at a time. */
#define ZERO_BLOCKS 32

static bool lists_are_short; /* constant once there is a thread state */

#define NOBODYS_NUMBER (GI_HEAP_NUMBERS - 1)
#define NOBODYS_TAG (NOBODYS_NUMBER << GI_WORD_HEAP_SHIFT)

const gi_thread_cache gi_empty_cache = {
    .tag = {[0 ... GI_KINDS - 1] = NOBODYS_TAG},
    .own = {.pages_known = {{[0 ... GI_KIND_OBJECT] = {[0 ... GI_CLASSES - 1] = GI_HEAP_NO_PAGE}}}}};
__thread gi_thread_cache *gi_current_cache = (gi_thread_cache *)&gi_empty_cache;

/* The same variable for code of other modules, under the name of what is said here: whoever changes one of these makes
   another GILLOC_INLINE_VERSION, with other names. */
extern __thread struct gilloc_inline_cache *gilloc_inline_cache_2 __attribute__((alias("gi_current_cache")));
#define IN_CACHE(field) offsetof(gi_thread_cache, field)
#define IN_BIN(field) offsetof(gi_bin, field)
_Static_assert(GILLOC_INLINE_VERSION == 2, "the names of the variables");
_Static_assert(GILLOC_INLINE_LARGEST == GI_SMALL_MAX && GILLOC_INLINE_CLASSES == GI_CLASSES, "the sizes");
_Static_assert(GILLOC_INLINE_PAGES == IN_CACHE(own.pages_known) &&
                   sizeof(gi_heap_pages) == sizeof(uint64_t[2][GI_CLASSES]),
               "the pages");
_Static_assert(GILLOC_INLINE_MEM == IN_CACHE(bins[GI_KIND_MEM]), "the bins of mem");
_Static_assert(IN_CACHE(bins) % GI_CACHE_LINE == 0, "a bin is in one cache line");
_Static_assert(GILLOC_INLINE_OBJECT == IN_CACHE(bins[GI_KIND_OBJECT]), "the bins of object");
_Static_assert(GILLOC_INLINE_BIN == sizeof(gi_bin) && GILLOC_INLINE_ALLOC == IN_BIN(alloc) &&
                   GILLOC_INLINE_FREE == IN_BIN(free),
               "a bin");

static gi_bin *bin_of(gi_thread_cache *cache, unsigned kind, unsigned size_class) {
    return &cache->bins[kind][1 + size_class];
}

static uint32_t cap_for(unsigned size_class, uint32_t bytes) {
    uint32_t blocks = bytes / (uint32_t)gi_class_size(size_class);
    uint32_t least = gi_unlikely(gi_hardened.on) ? GI_HARDENED_DELAY + CAP_BLOCKS_MIN : CAP_BLOCKS_MIN;
    return blocks < least ? least : blocks;
}

void gi_cache_keep_short(bool is_short) { lists_are_short = is_short; }

/* --- invariant check -------------------------------------------------------------------------- */

static int64_t count_list(const gi_link *block, unsigned kind, unsigned size_class) {
    const gi_link *mark = NULL; /* stands still for twice as long each time: a list that comes back to it is a ring */
    int64_t count = 0, move_mark = 1;
    for (; block != NULL; block = gi_link_next(block), count++) {
        const gi_page_word *word = gi_address_word(block);
        uint32_t value = word == NULL ? GI_WORD_NO_ARENA : gi_load_relaxed(word); /* relaxed: the world is quiet */
        if (!gi_word_is_pool(value) || gi_word_kind(value) != kind || gi_word_class(value) != size_class) {
            return gi_report_broken("C2", "%p is in a list of class %u, kind %u; its word is %x", (const void *)block,
                                    size_class, kind, value);
        }
        if (block == mark) {
            return gi_report_broken("C2", "%p is in a list of class %u, kind %u, twice", (const void *)block,
                                    size_class, kind);
        }
        if (count == move_mark) {
            mark = block;
            move_mark *= 2;
        }
    }
    return count;
}

static int64_t count_class(const gi_thread_cache *cache, unsigned kind, unsigned size_class) {
    const gi_bin *bin = &cache->bins[kind][1 + size_class];
    int64_t counts[4] = {count_list(bin->alloc, kind, size_class), count_list(bin->free, kind, size_class), 0, 0};
    if (size_class == 0) {
        counts[2] = count_list(cache->bins[kind][0].alloc, kind, 0);
    }
    /* order(remote-free): acquire; pairs with release in gi_remote_list_push(). */
    const gi_link *remote = gi_load_acquire(&cache->own.remote[kind][size_class].head);
    counts[3] = remote == GI_REMOTE_CLOSED ? 0 : count_list(remote, kind, size_class);
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        if (counts[i] < 0) {
            return -1;
        }
        sum += counts[i];
    }
    if ((cache->used[kind] >> size_class & 1u) == 0 && (bin->cap != 0 || bin->alloc != NULL || counts[2] != 0)) {
        return gi_report_broken("C3", "class %u, kind %u: in use, but not in the mask", size_class, kind);
    }
    int64_t counted = (int64_t)bin->cap - bin->room;
    int64_t most = counted + 2 * (int64_t)(GI_POOL_SIZE / gi_class_size(size_class));
    if (gi_cache_is_inlined(cache, kind, size_class) ? counts[1] > most : counts[1] != counted) {
        return gi_report_broken("C1", "class %u, kind %u: %lld free, cap %u, room %d", size_class, kind,
                                (long long)counts[1], bin->cap, bin->room);
    }
    return sum;
}

int64_t gi_cache_count_stash(gi_heap_group *group) {
    int64_t sum = 0;
    gi_mutex_lock(&group->shared.mutex);
    for (unsigned kind = 0; kind < gi_kind_count() && sum >= 0; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES && sum >= 0; size_class++) {
            const struct gi_stash_kind *stash = &group->stash->kinds[kind];
            uint32_t lists = gi_load_relaxed(&stash->classes[size_class].count); /* relaxed: under the mutex */
            for (uint32_t i = 0; i < lists && sum >= 0; i++) {
                int64_t count = count_list(stash->rows[i].lists[size_class], kind, size_class);
                sum = count < 0 ? -1 : sum + count;
            }
        }
    }
    gi_mutex_unlock(&group->shared.mutex);
    return sum;
}

int64_t gi_cache_count_free(const gi_thread_cache *cache) {
    int64_t sum = 0;
    unsigned kinds = gi_kind_count();
    for (unsigned kind = 0; kind < kinds; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            int64_t count = count_class(cache, kind, size_class);
            if (count < 0) {
                return -1;
            }
            sum += count;
        }
    }
    for (unsigned i = 0; i < GI_REMOTE_SLOTS; i++) {
        sum += cache->remote[i].count;
    }
    return sum;
}

/* --- counting --------------------------------------------------------------------------------- */

static void add(gi_free_counts *counts, unsigned kind, unsigned size_class, uint64_t blocks) {
    counts->blocks[kind][size_class] += blocks;
    counts->all += blocks;
    counts->bytes += blocks * gi_class_size(size_class);
}

/* As count_list(), of a list that is right.  One that a program has written over ends where it leaves the pools, or
   comes back to itself: to say so is for who uses it. */
static uint64_t length_of(const gi_link *block) {
    const gi_link *before = NULL, *mark = NULL;
    uint64_t count = 0, move_mark = 1;
    for (; block != mark; before = block, block = gi_link_next(block), count++) {
        bool same_pool = ((uintptr_t)block ^ (uintptr_t)before) < GI_POOL_SIZE;
        if (!same_pool && !gi_word_is_pool(gi_free_list_word(block))) { /* NULL, too */
            break;
        }
        if (count == move_mark) {
            mark = block;
            move_mark *= 2;
        }
    }
    return count;
}

/* Of the `free` list; a free that has overflowed it may be under way, by the caller. */
static uint64_t length_of_free(const gi_thread_cache *cache, const gi_bin *bin, unsigned kind, unsigned size_class) {
    return gi_cache_is_inlined(cache, kind, size_class) ? length_of(bin->free)
                                                        : bin->cap - (uint32_t)(bin->room > 0 ? bin->room : 0);
}

void gi_cache_add_free(const gi_thread_cache *cache, gi_free_counts *counts) {
    unsigned kinds = gi_kind_count();
    for (unsigned kind = 0; kind < kinds; kind++) {
        for (uint32_t left = cache->used[kind]; left != 0; left &= left - 1) { /* C3: the others are empty */
            unsigned size_class = (unsigned)__builtin_ctz(left);
            const gi_bin *bin = &cache->bins[kind][1 + size_class];
            uint64_t zero = size_class == 0 ? length_of(cache->bins[kind][0].alloc) : 0;
            uint64_t freed = length_of_free(cache, bin, kind, size_class);
            add(counts, kind, size_class, freed + length_of(bin->alloc) + zero);
        }
        const gi_remote_list *remotes = cache->own.remote[kind];
        for (uint32_t left = cache->own.open[kind]; left != 0; left &= left - 1) {
            unsigned size_class = (unsigned)__builtin_ctz(left);
            /* order(remote-free): acquire; pairs with release in gi_remote_list_push(). */
            const gi_link *remote = gi_load_acquire(&remotes[size_class].head);
            add(counts, kind, size_class, remote == GI_REMOTE_CLOSED ? 0 : length_of(remote));
        }
    }
    for (unsigned i = 0; cache->remote_pending != 0 && i < GI_REMOTE_SLOTS; i++) {
        const gi_remote_slot *slot = &cache->remote[i];
        if (slot->count != 0) {
            add(counts, gi_word_kind(slot->word), gi_word_class(slot->word), slot->count);
        }
    }
}

void gi_cache_add_stashed(gi_heap_group *group, gi_free_counts *counts) {
    unsigned kinds = gi_kind_count();
    for (unsigned kind = 0; kind < kinds; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            if (!gi_stash_any(group->stash, kind, size_class)) {
                continue;
            }
            const struct gi_stash_kind *stash = &group->stash->kinds[kind];
            gi_mutex_lock(&group->shared.mutex); /* for one class: threads that run wait for it */
            uint32_t lists = gi_load_relaxed(&stash->classes[size_class].count); /* relaxed: under the mutex */
            for (uint32_t i = 0; i < lists; i++) {
                add(counts, kind, size_class, length_of(stash->rows[i].lists[size_class]));
            }
            gi_mutex_unlock(&group->shared.mutex);
        }
    }
}

uint64_t gi_cache_count_pending(const gi_thread_cache *cache) {
    uint64_t count = 0;
    for (unsigned i = 0; cache->remote_pending != 0 && i < GI_REMOTE_SLOTS; i++) {
        count += cache->remote[i].count;
    }
    return count;
}

/* --- giving blocks back to their pools -------------------------------------------------------- */

/* Pools that have become empty go back to their arenas, and these perhaps to a user's arena allocator: not while this
   thread holds a claim, for which others wait. */
static void release_emptied(gi_thread_cache *cache) {
    if (!cache->claiming) {
        gi_pool *emptied = cache->emptied;
        cache->emptied = NULL;
        gi_heap_release_pools(emptied);
    }
}

/* Gives blocks of a shared heap back; those that another heap has adopted meanwhile are returned. */
static gi_link *give_shared(gi_thread_cache *cache, gi_heap *heap, gi_link *blocks, unsigned kind, unsigned size_class,
                            const char *function) {
    gi_link *adopted = NULL;
    gi_mutex_lock(&heap->mutex);
    while ((blocks = gi_heap_give_run(heap, kind, size_class, blocks, &cache->emptied, function)) != NULL) {
        gi_link *block = blocks;
        blocks = gi_free_list_next(kind, size_class, block, function);
        gi_link_set(block, adopted);
        adopted = block;
    }
    gi_mutex_unlock(&heap->mutex);
    return adopted;
}

/* Gives back what is at the head of the list and of a private heap that is the caller's; the rest is returned. */
static gi_link *give_run(gi_thread_cache *cache, gi_heap *claimed, unsigned kind, unsigned size_class, gi_link *blocks,
                         const char *function) {
    const gi_link *before;
    do {
        before = blocks;
        blocks = gi_heap_give_run(&cache->own, kind, size_class, blocks, &cache->emptied, function);
        if (claimed != NULL) {
            blocks = gi_heap_give_run(claimed, kind, size_class, blocks, &cache->emptied, function);
        }
    } while (blocks != before && claimed != NULL);
    return blocks;
}

/* Gives each block back to whoever owns its pool by now.  `claimed`: a heap besides the cache's that is the caller's
   for the moment, or NULL. */
static void give_back(gi_thread_cache *cache, gi_heap *claimed, unsigned kind, unsigned size_class, gi_link *blocks,
                      const char *function) {
    uint32_t rest = gi_word_make(0, kind, size_class);
    gi_heap *group_shared = gi_cache_shared(cache);
    if (gi_unlikely(blocks != NULL && gi_free_list_word(blocks) == GI_WORD_NO_ARENA)) {
        gi_free_list_broken(kind, size_class, NULL, blocks, function); /* the fast path has followed a bad link */
    }
    if (cache->heap == group_shared) { /* gil mode: all pools are shared */
        blocks = give_shared(cache, group_shared, blocks, kind, size_class, function);
    }
    while (blocks != NULL) {
        gi_link *shared = NULL;
        while ((blocks = give_run(cache, claimed, kind, size_class, blocks, function)) != NULL) {
            gi_link *block = blocks;
            /* order(page-word): acquire; pairs with release in move_pool(). */
            uint32_t word = gi_load_acquire(gi_address_word(block)), number = gi_word_heap(word);
            if ((word ^ rest) << (32 - GI_WORD_HEAP_SHIFT) != 0 || number == 0) {
                gi_heap_double_free(gi_address_pool(block), block, function); /* its pool has gone: it was free */
            }
            blocks = gi_free_list_next(kind, size_class, block, function);
            if (number == group_shared->number) {
                gi_link_set(block, shared);
                shared = block;
            } else {
                /* To a remote slot; or, of another group, to its shared heap if its thread has ended meanwhile. */
                gi_cache_give_foreign(cache, word, block, function);
            }
        }
        blocks = shared == NULL ? NULL : give_shared(cache, group_shared, shared, kind, size_class, function);
    }
    release_emptied(cache);
    if (gi_unlikely(gi_retired_is_due(cache->own.group))) { /* pools in limbo */
        gi_fetch_or_relaxed(&cache->own.asked->bits, GI_ASKED_RECLAIM);
    }
}

void gi_cache_give_foreign(gi_thread_cache *cache, uint32_t word, gi_link *block, const char *function) {
    gi_heap *heap = gi_heap_of_number(gi_word_heap(word));
    if (gi_heap_is_shared(heap)) {
        gi_link_set(block, NULL);
        gi_link *moved = give_shared(cache, heap, block, gi_word_kind(word), gi_word_class(word), function);
        release_emptied(cache);
        if (moved == NULL) {
            return;
        }
        /* order(page-word): acquire; pairs with release in move_pool(). */
        word = gi_load_acquire(gi_address_word(block)); /* a thread has adopted the pool */
    }
    gi_cache_free_remote(cache, word, block, function);
}

/* --- how much may wait for an owner ------------------------------------------------------------ */

/* What may wait in a remote list before it is drained, in blocks.  The lowest bits count how often it has been since
   the owner last came for blocks of the class and found none. */
#define DRAINS 7u

static uint32_t waiting_blocks(unsigned size_class, uint32_t bytes) {
    return bytes / (uint32_t)gi_class_size(size_class) & ~DRAINS;
}

static uint32_t bound_of(const gi_remote_list *list, unsigned size_class) {
    uint32_t bound = gi_load_relaxed(&list->bound) & ~DRAINS,
             least = waiting_blocks(size_class, REMOTE_WAITING_BYTES_MIN);
    return bound > least ? bound : least;
}

/* The list has been drained.  By who owns or has claimed its heap, as below. */
static void drained(gi_remote_list *list, unsigned size_class) {
    uint32_t bound = gi_load_relaxed(&list->bound);
    bool often = (bound & DRAINS) == DRAINS; /* the owner does not come: less may wait */
    gi_store_relaxed(&list->bound, often ? (bound_of(list, size_class) / 2 & ~DRAINS) + 1 : bound + 1);
}

/* The owner needs blocks of the class, and none wait: if they went to its pools, more may wait from now on. */
static void missed(gi_remote_list *list, unsigned size_class) {
    if ((gi_load_relaxed(&list->bound) & DRAINS) != 0) {
        uint32_t bound = bound_of(list, size_class) * 2, most = waiting_blocks(size_class, REMOTE_WAITING_BYTES_MAX);
        gi_store_relaxed(&list->bound, bound < most ? bound : most);
    }
}

/* --- refill, overflow ------------------------------------------------------------------------- */

/* Leaves a list of about `length` free blocks for other threads of the group.  False if the stash has enough of them:
   it is still the caller's. */
static bool stash(gi_thread_cache *cache, unsigned kind, unsigned size_class, gi_link *list, uint32_t length,
                  const char *function) {
    gi_heap *shared = gi_cache_shared(cache);
    gi_link *surplus = NULL;
    gi_mutex_lock(&shared->mutex);
    bool put = gi_stash_put(shared->group->stash, kind, size_class, list, length);
    while (!put && (surplus = gi_stash_surplus(shared->group->stash, kind, size_class)) != NULL) {
        gi_mutex_unlock(&shared->mutex);
        give_back(cache, NULL, kind, size_class, surplus, function);
        gi_mutex_lock(&shared->mutex);
    }
    gi_mutex_unlock(&shared->mutex);
    return put;
}

/* Whether a list is one for the stash: it is of the shared heap's blocks, as far as its first one tells, and nobody
   waits for its pools to become empty, nor wants its blocks to lie together. */
static bool is_for_stash(const gi_thread_cache *cache, unsigned kind, const gi_link *list) {
    if (lists_are_short) {
        return false;
    }
    uint32_t word = gi_load_relaxed(gi_address_word(list)); /* relaxed: a hint */
    return gi_word_heap(word) == gi_cache_shared(cache)->number && !gi_kinds[kind].type_stable;
}

static void set_cap(gi_bin *bin, uint32_t cap) {
    bin->room += (int32_t)cap - (int32_t)bin->cap;
    bin->cap = cap;
}

/* Whether the next free of the class is to be looked at. */
static bool is_watched(const gi_thread_cache *cache, unsigned kind, unsigned size_class) {
    return (cache->watched[kind] >> size_class & 1) != 0;
}

/* The first use of a bin: from here on it may hold blocks; freed ones after the first free of a watched class. */
static void use_bin(gi_thread_cache *cache, gi_bin *bin, unsigned kind, unsigned size_class) {
    cache->used[kind] |= 1u << size_class;
    bin->cap = is_watched(cache, kind, size_class) ? 0 : cap_for(size_class, CAP_BYTES_MIN);
    bin->room = (int32_t)bin->cap;
}

/* (the shared heap's mutex) The first list from the stash of a thread that took over the cache of one that ended, of a
   class that that one used: a list of each of the others too, by this one visit. */
static void inherit(gi_thread_cache *cache, gi_stash *stash, const char *function) {
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (uint32_t left = cache->heir_of[kind] & ~cache->used[kind]; left != 0; left &= left - 1) {
            unsigned size_class = (unsigned)__builtin_ctz(left);
            if (gi_stash_any(stash, kind, size_class)) {
                gi_bin *bin = bin_of(cache, kind, size_class);
                use_bin(cache, bin, kind, size_class);
                bin->alloc = gi_stash_take(stash, kind, size_class, &bin->length);
                gi_free_list_look(kind, size_class, bin->alloc, function);
                cache->inherited[kind] |= 1u << size_class;
            }
        }
        cache->heir_of[kind] = 0;
    }
}

/* (the shared heap's mutex) */
static gi_link *take_stashed(gi_thread_cache *cache, unsigned kind, unsigned size_class, uint32_t *length,
                             const char *function) {
    gi_stash *stash = cache->own.group->stash;
    gi_link *blocks = gi_stash_take(stash, kind, size_class, length);
    if (blocks != NULL && gi_unlikely((cache->heir_of[kind] >> size_class & 1) != 0) && !gi_sample_counts_lists()) {
        inherit(cache, stash, function);
    }
    return blocks;
}

static gi_link *take_from_stash(gi_thread_cache *cache, unsigned kind, unsigned size_class, uint32_t *length,
                                const char *function) {
    gi_heap *shared = gi_cache_shared(cache);
    gi_mutex_lock(&shared->mutex);
    gi_link *blocks = take_stashed(cache, kind, size_class, length, function);
    gi_mutex_unlock(&shared->mutex);
    return blocks;
}

/* Blocks from the stash and the pools of the cache's heap.  Gil mode: the stash, a partial pool, a new one.  GIL-free
   mode: a partial pool, the stash, an orphan, a new one. */
static gi_link *take_from_pools(gi_thread_cache *cache, unsigned kind, unsigned size_class, uint32_t *length,
                                bool *fresh, const char *function) {
    gi_heap *heap = cache->heap;
    bool shared = gi_heap_is_shared(heap), stashed = false;
    gi_link *blocks = NULL;
    *fresh = false;
    for (gi_pool *pool = NULL;;) {
        if (shared) {
            gi_mutex_lock(&heap->mutex);
        }
        if (pool != NULL) {
            gi_heap_add_pool(heap, pool);
        } else if (shared) {
            blocks = take_stashed(cache, kind, size_class, length, function);
            stashed = blocks != NULL;
        }
        if (blocks == NULL) {
            blocks = gi_heap_take(heap, kind, size_class, length, fresh);
        }
        if (shared) {
            gi_mutex_unlock(&heap->mutex);
        } else if (blocks == NULL && gi_stash_waits(heap->group->stash, kind, size_class)) {
            blocks = take_from_stash(cache, kind, size_class, length, function);
            stashed = blocks != NULL;
        }
        if (stashed) {
            gi_free_list_look(kind, size_class, blocks, function);
        }
        if (blocks != NULL) {
            return blocks;
        }
        if (shared || !gi_heap_adopt(heap, kind, size_class)) {
            pool = gi_heap_acquire_pool(heap, kind, size_class);
            if (pool == NULL) {
                return NULL;
            }
        }
    }
}

/* What has been freed is handed out again. */
static inline void reuse(gi_bin *bin, unsigned kind, unsigned size_class, const char *function) {
    gi_free_list_look(kind, size_class, bin->free, function);
    bin->alloc = bin->free;
    bin->free = NULL;
    bin->length = bin->cap - (uint32_t)bin->room;
    bin->room = (int32_t)bin->cap;
    bin->fresh = false;
}

/* *known: what is known of bin->length afterwards. */
static inline __attribute__((always_inline)) bool refill(gi_thread_cache *cache, gi_bin *bin, unsigned kind,
                                                         unsigned size_class, gi_sample_length *known,
                                                         const char *function) {
    if (bin->cap == 0) {
        use_bin(cache, bin, kind, size_class);
    }
    cache->inherited[kind] &= ~(1u << size_class);
    *known = GI_SAMPLE_LENGTH_EXACT;
    if (bin->free != NULL && (!gi_hardened.on || gi_hardened_may_reuse(bin))) {
        reuse(bin, kind, size_class, function);
        return true;
    }
    gi_remote_list *remote = &cache->own.remote[kind][size_class];
    if (cache->heap == &cache->own && gi_remote_list_any(remote)) {
        bin->length = gi_load_relaxed(&remote->waiting); /* relaxed: a hint */
        bin->alloc = gi_remote_list_take_all(remote);
        *known = GI_SAMPLE_LENGTH_OPEN;
        gi_free_list_look(kind, size_class, bin->alloc, function);
        bin->fresh = false;
        return true;
    }
    missed(remote, size_class);
    bool fresh;
    uint32_t length;
    gi_link *blocks = take_from_pools(cache, kind, size_class, &length, &fresh, function);
    if (blocks == NULL) {
        if (bin->free != NULL) { /* hardened mode, and there are no others */
            reuse(bin, kind, size_class, function);
        }
        *known = GI_SAMPLE_LENGTH_OPEN; /* a user's arena allocator may have allocated meanwhile, and freed */
        return bin->alloc != NULL;
    }
    if (gi_unlikely(bin->alloc != NULL)) { /* a user's arena allocator has allocated meanwhile */
        gi_link *last = blocks;
        for (gi_link *next; (next = gi_free_list_next(kind, size_class, last, function)) != NULL;) {
            last = next;
        }
        gi_link_set(last, bin->alloc);
        length += bin->length;
        fresh = false;
    }
    *known = GI_SAMPLE_LENGTH_MOST; /* a list of the stash may be shorter */
    bin->alloc = blocks;
    bin->length = length;
    bin->fresh = fresh;
    if (bin->flushed) { /* given back too early: hold more */
        bin->flushed = false;
        uint32_t most = cap_for(size_class, lists_are_short ? CAP_BYTES_SHORT : CAP_BYTES_MAX);
        set_cap(bin, bin->cap * 2 < most ? bin->cap * 2 : most);
    }
    return true;
}

/* The same while blocks are sampled. */
static __attribute__((noinline)) bool refill_and_count(gi_thread_cache *cache, gi_bin *bin, unsigned kind,
                                                       unsigned size_class, const char *function) {
    gi_sample_length known;
    /* order(sample-state): acquire; pairs with release in gi_sample_start(). */
    (void)gi_load_acquire(&gi_sample_state);
    if (!gi_sample_is_due(bin)) {
        if (!refill(cache, bin, kind, size_class, &known, function)) {
            return false;
        }
        if (gi_cache_is_inlined(cache, kind, size_class)) {
            known = GI_SAMPLE_LENGTH_OPEN;
        }
        if (gi_sample_list(bin, bin, kind, size_class, known, function)) {
            return true;
        }
    }
    gi_sampling.small = gi_sample_small(kind, size_class); /* for the raw domain, as where no arena can be had */
    return false;
}

bool gi_cache_refill(gi_thread_cache *cache, unsigned kind, unsigned size_class, const char *function) {
    gi_bin *bin = bin_of(cache, kind, size_class);
    if (gi_unlikely(gi_sample_counts_lists()) && kind <= GI_KIND_OBJECT && gi_sampling.inside == 0) {
        return refill_and_count(cache, bin, kind, size_class, function);
    }
    gi_sample_length known;
    return refill(cache, bin, kind, size_class, &known, function);
}

/* Moves blocks from a list to the bin of 0 bytes, until that has its share or there are none. */
static void borrow(gi_link **from, gi_bin *to, unsigned kind, const char *function) {
    for (gi_link *block; to->length < ZERO_BLOCKS && (block = *from) != NULL; to->length++) {
        *from = gi_free_list_next(kind, 0, block, function);
        gi_link_set(block, to->alloc);
        to->alloc = block;
    }
}

/* The same while blocks are sampled: the bin of 0 bytes is counted by itself.  What it takes of class 0 are the next
   ones, and if the sample of that class is among them, it goes too: whether a block is taken must not depend on whether
   it is a sample. */
static __attribute__((noinline)) bool refill_zero_and_count(gi_thread_cache *cache, unsigned kind,
                                                            const char *function) {
    gi_bin *from = bin_of(cache, kind, 0), *to = &cache->bins[kind][0];
    /* order(sample-state): acquire; pairs with release in gi_sample_start(). */
    (void)gi_load_acquire(&gi_sample_state);
    if (!gi_sample_is_due(to)) {
        to->length = 0;
        borrow(&from->alloc, to, kind, function);
        if (to->length < ZERO_BLOCKS) {
            from->due = 0;
            if (to->length == 0 && from->free == NULL) {
                gi_sample_length known;
                if (!refill(cache, from, kind, 0, &known, function)) {
                    return false;
                }
                gi_link *uncounted = from->alloc;
                from->alloc = NULL;
                gi_sample_free_rest(from, uncounted, kind, 0, function);
            }
            uint32_t before = to->length;
            borrow(&from->free, to, kind, function);
            uint32_t room = (uint32_t)from->room + (to->length - before);
            from->room = (int32_t)(room < from->cap ? room : from->cap);
        }
        if (gi_sample_list(to, from, kind, 0, GI_SAMPLE_LENGTH_MOST, function)) {
            return true;
        }
    }
    gi_sampling.small = gi_sample_small(kind, 0);
    return false;
}

bool gi_cache_refill_zero(gi_thread_cache *cache, unsigned kind, const char *function) {
    gi_bin *from = bin_of(cache, kind, 0), *to = &cache->bins[kind][0];
    if (gi_unlikely(gi_sample_counts_lists()) && kind <= GI_KIND_OBJECT && gi_sampling.inside == 0) {
        return refill_zero_and_count(cache, kind, function);
    }
    if (from->alloc == NULL && !gi_cache_refill(cache, kind, 0, function)) {
        return false;
    }
    gi_link *last = from->alloc, *rest = gi_free_list_next(kind, 0, last, function);
    for (int i = 1; i < ZERO_BLOCKS && rest != NULL; i++) {
        last = rest;
        rest = gi_free_list_next(kind, 0, last, function);
    }
    gi_link_set(last, to->alloc); /* not empty if a user's arena allocator has allocated meanwhile */
    to->alloc = from->alloc;
    from->alloc = rest;
    return true;
}

/* Cuts a list after `count` blocks, if it has more; the rest. */
static gi_link *cut(gi_link *list, uint32_t count, unsigned kind, unsigned size_class, const char *function) {
    gi_link *last = list, *mark = list; /* the mark stands still for twice as long each time */
    for (uint32_t i = 1, move_mark = 2; i < count && last != NULL; i++) {
        last = gi_free_list_next(kind, size_class, last, function);
        if (gi_unlikely(last == mark)) {
            gi_free_list_double(kind, size_class, last, function);
        }
        if (i == move_mark) {
            mark = last;
            move_mark *= 2;
        }
    }
    gi_link *rest = last != NULL ? gi_free_list_next(kind, size_class, last, function) : NULL;
    if (rest != NULL) {
        gi_link_set(last, NULL);
    }
    return rest;
}

void gi_cache_overflow(gi_thread_cache *cache, unsigned kind, unsigned size_class, const char *function) {
    gi_bin *bin = bin_of(cache, kind, size_class);
    if (bin->cap == 0) {
        use_bin(cache, bin, kind, size_class);
        return;
    }
    cache->inherited[kind] &= ~(1u << size_class);
    gi_link *blocks = bin->free;
    if (gi_unlikely(blocks == NULL)) { /* some were counted twice, and all lent for requests of 0 bytes */
        bin->room = (int32_t)bin->cap;
        return;
    }
    bool inlined = gi_cache_is_inlined(cache, kind, size_class);
    uint32_t surplus = inlined && bin->room < 0 ? (uint32_t)-bin->room : 0, length = bin->cap + surplus;
    bin->free = NULL;
    bin->room = (int32_t)bin->cap;
    /* A thread that has only freed blocks of the class so far need not keep a list to allocate from.  Nobody counts
       those that inlined code frees. */
    bool allocates = bin->length != 0 || inlined;
    if (bin->alloc == NULL && allocates && (bin->due == 0 || !gi_sample_is_on())) {
        gi_free_list_look(kind, size_class, blocks, function); /* whoever takes it from the stash looks too */
        bin->alloc = blocks;
        bin->length = length;
        bin->fresh = false;
        if (gi_unlikely(gi_sample_counts_lists()) && kind <= GI_KIND_OBJECT &&
            !gi_sample_list(bin, bin, kind, size_class, inlined ? GI_SAMPLE_LENGTH_OPEN : GI_SAMPLE_LENGTH_EXACT,
                            function)) {
            gi_sample_make_due(bin);
        }
        return;
    }
    if (bin->flushed) { /* only frees since the last time: hold less */
        uint32_t least = cap_for(size_class, CAP_BYTES_MIN);
        set_cap(bin, bin->cap / 2 > least ? bin->cap / 2 : least);
    }
    bin->flushed = true;
    gi_link *rest = NULL;
    if (gi_unlikely(surplus != 0)) {
        uint32_t most = cap_for(size_class, CAP_BYTES_MIN);
        if (surplus > most) { /* more than the stash takes */
            rest = cut(blocks, most, kind, size_class, function);
            length = most;
        }
    }
    length = gi_unlikely(inlined) ? (uint32_t)length_of(blocks) : length;
    if (!is_for_stash(cache, kind, blocks) || !stash(cache, kind, size_class, blocks, length, function)) {
        give_back(cache, NULL, kind, size_class, blocks, function);
    }
    if (gi_unlikely(rest != NULL)) {
        give_back(cache, NULL, kind, size_class, rest, function);
    }
}

void gi_cache_look_at_frees(gi_thread_cache *cache, unsigned kind) {
    for (uint32_t left = cache->used[kind]; left != 0; left &= left - 1) {
        unsigned size_class = (unsigned)__builtin_ctz(left);
        gi_bin *bin = bin_of(cache, kind, size_class);
        cache->watched[kind] |= 1u << size_class;
        if (bin->room > 0) { /* as if it were full: C1 */
            bin->cap -= (uint32_t)bin->room;
            bin->room = 0;
        }
        if (kind <= GI_KIND_OBJECT) {
            gi_heap_know_page(&cache->own, kind, size_class, GI_HEAP_NO_PAGE);
        }
    }
}

/* The next free of a watched class, which is no more.  That the block has gone back to its pool already would not show
   as it goes there again, but if no other is taken. */
static __attribute__((noinline)) void look_at_free(gi_thread_cache *cache, gi_bin *bin, unsigned kind,
                                                   unsigned size_class, const gi_link *block, const char *function) {
    cache->watched[kind] &= ~(1u << size_class);
    uint32_t number = gi_word_heap(gi_load_relaxed(gi_address_word(block))); /* relaxed: the block's is constant */
    gi_heap *shared = gi_cache_shared(cache);
    if (number == cache->own.number || number == shared->number) {
        gi_heap_expect_taken(number == shared->number ? shared : &cache->own, block, function);
    }
    if (bin->room < 0 && !gi_cache_is_inlined(cache, kind, size_class)) {
        bin->room = 0; /* the fast path has counted the block before it came here */
    }
    uint32_t least = cap_for(size_class, CAP_BYTES_MIN);
    if (bin->cap != 0 && bin->cap < least) {
        set_cap(bin, least);
    }
}

void gi_cache_keep(gi_thread_cache *cache, unsigned kind, unsigned size_class, gi_link *block, const char *function) {
    gi_bin *bin = bin_of(cache, kind, size_class);
    if (bin->room <= 0) {
        if (gi_unlikely(is_watched(cache, kind, size_class))) {
            look_at_free(cache, bin, kind, size_class, block, function);
        }
        if (bin->room <= 0) {
            gi_cache_overflow(cache, kind, size_class, function);
        }
    }
    bin->room--;
    gi_link_set(block, bin->free);
    bin->free = block;
}

/* --- remote side ------------------------------------------------------------------------------ */

static void drain_heap(gi_thread_cache *cache, gi_heap *heap, const char *function) {
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (uint32_t left = heap->open[kind]; left != 0; left &= left - 1) {
            unsigned size_class = (unsigned)__builtin_ctz(left);
            if (gi_remote_list_any(&heap->remote[kind][size_class])) {
                gi_link *blocks = gi_remote_list_take_all(&heap->remote[kind][size_class]);
                drained(&heap->remote[kind][size_class], size_class);
                give_back(cache, heap, kind, size_class, blocks, function);
            }
        }
    }
}

/* Much waits for `heap`: do it for an idle owner, else ask.  One claim at a time: a second one would have to be found
   while the first is held. */
static void upkeep(gi_thread_cache *cache, gi_heap *heap, const char *function) {
    if (!cache->claiming && gi_heap_try_claim(heap)) {
        cache->claiming = true;
        drain_heap(cache, heap, function);
        gi_heap_release_claim(heap);
        cache->claiming = false;
        release_emptied(cache);
    } else if ((gi_load_relaxed(&heap->asked->bits) & GI_ASKED_DRAIN) == 0) {
        gi_fetch_or_relaxed(&heap->asked->bits, GI_ASKED_DRAIN);
    }
}

static void push_slot(gi_thread_cache *cache, gi_remote_slot *slot, const char *function) {
    gi_remote_slot chain = *slot;
    slot->count = 0;
    cache->remote_pending--;
    unsigned kind = gi_word_kind(chain.word), size_class = gi_word_class(chain.word);
    gi_free_list_look_at_all(kind, size_class, chain.first, chain.last, chain.count, function);
    gi_heap *heap = gi_heap_of_number(gi_word_heap(chain.word));
    gi_remote_list *list = &heap->remote[kind][size_class];
    if (!gi_remote_list_push(list, chain.first, chain.last, chain.count)) {
        give_back(cache, NULL, kind, size_class, chain.first, function); /* the owner ended: they have another by now */
        return;
    }
    gi_counter_add(&cache->remote_frees, chain.count);
    gi_counter_add(&cache->remote_batches, 1);
    if (gi_load_relaxed(&list->waiting) >= bound_of(list, size_class)) { /* relaxed: a hint */
        upkeep(cache, heap, function);
    }
}

void gi_cache_free_remote(gi_thread_cache *cache, uint32_t word, gi_link *block, const char *function) {
    gi_remote_slot *slot = gi_cache_remote_slot(cache, word);
    while (slot->count != 0 && slot->word != word) { /* again if a refused push has filled it with others */
        push_slot(cache, slot, function);
    }
    if (slot->count == 0) {
        slot->word = word;
        slot->last = block;
        gi_link_set(block, NULL);
        cache->remote_pending++;
    } else {
        gi_link_set(block, slot->first);
    }
    slot->first = block;
    if (++slot->count >= GI_REMOTE_BATCH) {
        push_slot(cache, slot, function);
    }
}

void gi_cache_flush_remote(gi_thread_cache *cache, const char *function) {
    cache->safepoints = 0;
    while (cache->remote_pending != 0) { /* again if a push was refused and its blocks have other owners now */
        for (unsigned i = 0; i < GI_REMOTE_SLOTS; i++) {
            if (cache->remote[i].count != 0) {
                push_slot(cache, &cache->remote[i], function);
            }
        }
    }
}

void gi_cache_drain(gi_thread_cache *cache, const char *function) {
    if (cache->heap == &cache->own) {
        drain_heap(cache, &cache->own, function);
    }
}

void gi_cache_safepoint(gi_thread_cache *cache, const char *function) {
    if (cache->remote_pending != 0 && ++cache->safepoints >= REMOTE_SAFEPOINTS) {
        gi_cache_flush_remote(cache, function);
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

bool gi_cache_any_stashed(const gi_stash *stash) {
    bool any = false;
    unsigned kinds = gi_kind_count();
    for (unsigned i = 0; i < kinds * GI_CLASSES && !any; i++) {
        any = gi_stash_any(stash, i / GI_CLASSES, i % GI_CLASSES);
    }
    return any;
}

static bool is_empty(const gi_thread_cache *cache) {
    uint32_t used = 0, open = 0;
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        used |= cache->used[kind];
        open |= cache->own.open[kind];
    }
    return used == 0 && open == 0 && cache->remote_pending == 0 && !gi_cache_any_stashed(cache->own.group->stash);
}

void gi_cache_flush(gi_thread_cache *cache, const char *function) {
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        while (cache->used[kind] != 0) {
            unsigned size_class = (unsigned)__builtin_ctz(cache->used[kind]);
            gi_bin *bin = bin_of(cache, kind, size_class), *zero = size_class == 0 ? bin - 1 : NULL;
            gi_link *lists[] = {bin->alloc, bin->free, zero != NULL ? zero->alloc : NULL};
            /* The bin first: giving back may call a user's arena allocator, which may look at the heap. */
            *bin = (gi_bin){.cap = 0};
            if (zero != NULL) {
                *zero = (gi_bin){.cap = 0};
            }
            cache->used[kind] &= ~(1u << size_class);
            cache->watched[kind] |= 1u << size_class;
            if (kind <= GI_KIND_OBJECT) {
                cache->inlined[kind] &= ~(1u << size_class);
                cache->counted[kind][size_class] = NULL;
                gi_heap_know_page(&cache->own, kind, size_class, GI_HEAP_NO_PAGE);
            }
            for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
                if (lists[i] != NULL) {
                    give_back(cache, NULL, kind, size_class, lists[i], function);
                }
            }
        }
    }
    gi_cache_drain(cache, function);
    gi_cache_flush_remote(cache, function);
}

void gi_cache_flush_stash(gi_thread_cache *cache, const char *function) {
    gi_heap *shared = gi_cache_shared(cache);
    gi_stash *stash = shared->group->stash;
    for (unsigned kind = 0; kind < gi_kind_count(); kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            while (gi_stash_any(stash, kind, size_class)) {
                gi_mutex_lock(&shared->mutex);
                gi_link *list = gi_stash_empty(stash, kind, size_class);
                gi_mutex_unlock(&shared->mutex);
                give_back(cache, NULL, kind, size_class, list, function);
            }
        }
    }
    gi_cache_flush_remote(cache, function);
}

static void flush_with_stash(gi_thread_cache *cache, const char *function) {
    gi_cache_flush(cache, function);
    gi_cache_flush_stash(cache, function);
}

/* Leaves the bins to the stash, as far as it has room, and lists are not to go back to their pools.  Pools of a
   type-stable kind wait to become empty. */
static void stash_bins(gi_thread_cache *cache, const char *function) {
    gi_heap *shared = gi_cache_shared(cache);
    gi_mutex_lock(&shared->mutex);
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        bool go_back = gi_kinds[kind].type_stable || lists_are_short;
        for (uint32_t left = go_back ? 0 : cache->used[kind]; left != 0; left &= left - 1) {
            unsigned size_class = (unsigned)__builtin_ctz(left);
            gi_bin *bin = bin_of(cache, kind, size_class);
            uint32_t length = bin->cap - (uint32_t)bin->room;
            if (bin->alloc != NULL) {
                gi_free_list_look_at_head(kind, size_class, bin->alloc, function);
            }
            if (bin->free != NULL) {
                gi_free_list_look(kind, size_class, bin->free, function);
            }
            if (gi_unlikely(gi_cache_is_inlined(cache, kind, size_class))) {
                bin->length = (uint32_t)length_of(bin->alloc);
                length = (uint32_t)length_of(bin->free);
            }
            if (bin->alloc != NULL && gi_stash_put(shared->group->stash, kind, size_class, bin->alloc, bin->length)) {
                bin->alloc = NULL;
            }
            if (bin->free != NULL && gi_stash_put(shared->group->stash, kind, size_class, bin->free, length)) {
                bin->free = NULL;
                bin->room = (int32_t)bin->cap;
            }
        }
    }
    gi_mutex_unlock(&shared->mutex);
}

bool gi_cache_claim(gi_thread_cache *cache) { return !cache->own.lost && gi_heap_claim(&cache->own); }

void gi_cache_release_claim(gi_thread_cache *cache) { gi_heap_release_claim(&cache->own); }

void gi_cache_flush_idle(gi_thread_cache *cache, gi_pool **emptied, const char *function) {
    if (!cache->own.lost && gi_heap_claim(&cache->own)) {
        cache->claiming = true;
        cache->emptied = *emptied;
        flush_with_stash(cache, function);
        *emptied = cache->emptied;
        cache->emptied = NULL;
        cache->claiming = false;
        gi_heap_release_claim(&cache->own);
    }
}

/* Hands what a private heap has to the shared one. */
static void share(gi_thread_cache *cache, const char *function) {
    gi_heap_orphan(&cache->own);
    /* Pools first, lists then: whoever finds a list closed finds the new owner in the page word. */
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (uint32_t left = cache->own.open[kind]; left != 0; left &= left - 1) {
            unsigned size_class = (unsigned)__builtin_ctz(left);
            gi_link *blocks = gi_remote_list_close(&cache->own.remote[kind][size_class]);
            give_back(cache, NULL, kind, size_class, blocks, function);
        }
        cache->own.open[kind] = 0;
    }
    gi_cache_flush_remote(cache, function);
}

/* What is done to all caches in a stopped world, under all claims.  Pools that become empty go back afterwards: perhaps
   to a user's arena allocator. */
typedef struct all_caches {
    const char *function;
    void (*work)(gi_thread_cache *cache, const char *function);
    gi_pool *emptied;
    bool moved; /* a block may have gone to another cache */
} all_caches;

static void work_on_one(gi_thread_cache *cache, void *arg) {
    all_caches *all = arg;
    if (is_empty(cache) || cache->own.lost) {
        return;
    }
    uint64_t pushed = gi_load_relaxed(&cache->remote_batches); /* relaxed: a statistic of a thread that stands still */
    cache->claiming = true;
    cache->emptied = all->emptied;
    all->work(cache, all->function);
    all->emptied = cache->emptied;
    cache->emptied = NULL;
    cache->claiming = false;
    all->moved |= gi_load_relaxed(&cache->remote_batches) != pushed; /* relaxed: as above */
}

static void work_on_all(void (*work)(gi_thread_cache *cache, const char *function), const char *function) {
    all_caches all = {.function = function, .work = work, .moved = true};
    gi_heap_claim_all();
    while (all.moved) {
        all.moved = false;
        gi_cache_for_each(work_on_one, &all);
    }
    gi_heap_release_all();
    gi_heap_release_pools(all.emptied);
}

void gi_cache_flush_all(const char *function) { work_on_all(flush_with_stash, function); }

static void share_one(gi_thread_cache *cache, const char *function) {
    if (cache->heap == &cache->own) {
        share(cache, function);
        cache->heap = NULL;
    }
}

void gi_cache_share_all(const char *function) {
    work_on_all(gi_cache_flush_remote, function);
    work_on_all(share_one, function);
}

void gi_cache_refill_from(gi_thread_cache *cache, gi_heap *heap) {
    cache->heap = heap;
    gi_heap_know_no_pages(&cache->own);
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        cache->tag[kind] = gi_word_make(heap->number, kind, 0);
    }
    cache->to_shared = cache->tag[0] ^ gi_word_make(gi_cache_shared(cache)->number, 0, 0);
}

/* What the next thread inherits: the classes that were used.  What was only inherited, and not needed so that it would
   be seen, is left out now and then, so that it does not go on for ever. */
static void leave_to_heir(gi_thread_cache *cache) {
    bool forget = ++cache->lives % INHERITED_LIVES == 0;
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        cache->heir_of[kind] = cache->used[kind] & ~(forget ? cache->inherited[kind] : 0);
        cache->inherited[kind] = 0;
    }
}

/* Ends a cache that is the caller's. */
static void end(gi_thread_cache *cache, const char *function) {
    leave_to_heir(cache);
    stash_bins(cache, function);
    gi_cache_flush(cache, function);
    if (cache->heap == &cache->own) {
        share(cache, function);
    }
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        cache->watched[kind] = 0; /* the next thread's first frees are not looked at */
    }
    gi_heap_idle(&cache->own);
}

void gi_cache_end(gi_thread_cache *cache, const char *function) {
    gi_heap_activate(&cache->own); /* from here nobody claims it */
    end(cache, function);
}

bool gi_cache_end_after_fork(gi_thread_cache *cache, bool outside, const char *function) {
    if (!outside || !gi_heap_claim(&cache->own)) {
        cache->own.lost = true;
        return false;
    }
    gi_heap_release_claim(&cache->own); /* nobody else is left */
    end(cache, function);
    return true;
}

bool gi_cache_init(gi_thread_cache *cache, gi_heap_group *group, gi_asked *asked) {
    return gi_heap_number(&cache->own, group, asked);
}

void gi_cache_for_each(void (*visit)(gi_thread_cache *cache, void *arg), void *arg) {
    uint32_t last = gi_heap_last_number();
    for (uint32_t number = GI_HEAP_FIRST_PRIVATE_NUMBER; number <= last; number++) {
        gi_heap *heap = gi_heap_of_number(number);
        if (!gi_heap_is_shared(heap)) {
            visit(gi_cache_of_heap(heap), arg);
        }
    }
}
