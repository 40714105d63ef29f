/* SPDX-License-Identifier: MIT */
/*
 * thread_cache_test.c - the free blocks of one thread: where they come from, where they go, how much is kept; blocks of
 *                       others; threads that end; faults that the count must find.
 *   A test works on several caches from one thread, as the thread of each, unless it says otherwise.  What a cache
 *   holds at most, and how many frees make a batch, are found out by trying: they differ between builds.
 */
#include "lib/cache/thread_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena/arena.h"
#include "lib/arena/kind.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define RESERVE (256 * GI_ARENA_SIZE)
#define KIND GI_KIND_OBJECT
#define CLASS 3u
#define FUNCTION "PyObject_Free"
#define MANY 20000u /* blocks: several times what a bin may hold */

static gi_thread_cache caches[3];
static gi_asked asked[3];
static gi_thread_cache *const A = &caches[0], *const B = &caches[1], *const C = &caches[2];

static uint64_t get(const gi_counter *counter) { return gi_load_relaxed(counter); }
static gi_bin *bin_of(gi_thread_cache *cache, unsigned size_class) { return &cache->bins[KIND][1 + size_class]; }
static uint32_t word_of(const void *block) { return gi_load_relaxed(gi_address_word(block)); }
static uint32_t heap_of(const void *block) { return gi_word_heap(word_of(block)); }
static gi_remote_list *remote_of(gi_thread_cache *cache, unsigned size_class) {
    return &cache->own.remote[KIND][size_class];
}

static void init(void) {
    gi_address_map_init(RESERVE);
    while (gi_kind_make("made", 0, false) >= 0) { /* so that all kinds are there */
    }
    for (size_t i = 0; i < LENGTH(caches); i++) {
        EXPECT(gi_cache_init(&caches[i], &gi_main_group, &asked[i]));
    }
}

static void init_attached(bool free_threaded) {
    init();
    for (size_t i = 0; i < LENGTH(caches); i++) {
        gi_cache_attach(&caches[i], free_threaded);
    }
}

static uint32_t length_of(const gi_link *block) {
    uint32_t length = 0;
    for (; block != NULL; block = block->next) {
        length++;
    }
    return length;
}

/* --- blocks by hand, as object_alloc.c does it ------------------------------------------------ */

static gi_link *alloc_in(gi_thread_cache *cache, unsigned kind, unsigned size_class) {
    gi_bin *bin = &cache->bins[kind][1 + size_class];
    if (bin->alloc == NULL) {
        EXPECT(gi_cache_refill(cache, kind, size_class, FUNCTION));
    }
    gi_link *block = bin->alloc;
    EXPECT(block != NULL);
    bin->alloc = block->next;
    EXPECT_EQ(gi_word_kind(word_of(block)), kind);
    EXPECT_EQ(gi_word_class(word_of(block)), size_class);
    return block;
}

static gi_link *alloc(gi_thread_cache *cache) { return alloc_in(cache, KIND, CLASS); }

static void release(gi_thread_cache *cache, gi_link *block) {
    uint32_t word = word_of(block), number = gi_word_heap(word);
    if (number == cache->heap->number || number == GI_HEAP_SHARED_NUMBER) {
        gi_cache_keep(cache, gi_word_kind(word), gi_word_class(word), block, FUNCTION);
    } else {
        gi_cache_free_remote(cache, word, block, FUNCTION);
    }
}

static gi_link **alloc_many(gi_thread_cache *cache, size_t count) {
    gi_link **blocks = malloc(count * sizeof(gi_link *));
    EXPECT(blocks != NULL);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = alloc(cache);
        memset(blocks[i], 0x55, gi_class_size(CLASS));
    }
    return blocks;
}

/* Blocks that are out of their pools and free in no cache or stash: those of the program. */
static uint64_t alive(void) {
    int64_t stashed = gi_cache_count_stash(&gi_main_group);
    EXPECT(stashed >= 0);
    uint64_t taken = get(&gi_main_group.shared.taken), cached = (uint64_t)stashed;
    for (size_t i = 0; i < LENGTH(caches); i++) {
        int64_t count = gi_cache_count_free(&caches[i]);
        EXPECT(count >= 0);
        taken += get(&caches[i].own.taken);
        cached += (uint64_t)count;
    }
    EXPECT(cached <= taken);
    return taken - cached;
}

static void expect_alive(uint64_t count) {
    EXPECT_EQ(alive(), count);
    EXPECT_EQ(gi_heap_check_all(), 0);
    EXPECT_EQ(gi_arena_check(), 0);
}

static void expect_all_back(void) {
    for (int i = 0; i < 2; i++) { /* what one flush gives to another cache the next one takes in */
        for (size_t c = 0; c < LENGTH(caches); c++) {
            if (caches[c].heap != NULL) {
                gi_cache_flush(&caches[c], FUNCTION);
                gi_cache_flush_stash(&caches[c], FUNCTION);
            }
        }
    }
    EXPECT_EQ(gi_cache_count_stash(&gi_main_group), 0);
    expect_alive(0);
    gi_arena_purge();
    EXPECT_EQ(get(&gi_arena_stats_now.arenas), 0);
}

/* --- a cache comes and goes ------------------------------------------------------------------- */

static void expect_empty(gi_thread_cache *cache) {
    EXPECT_EQ(gi_cache_count_free(cache), 0);
    EXPECT_EQ(cache->remote_pending, 0);
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (unsigned bin = 0; bin <= GI_CLASSES; bin++) {
            EXPECT(cache->bins[kind][bin].alloc == NULL && cache->bins[kind][bin].free == NULL);
        }
    }
}

static void a_new_cache_is_idle_and_empty(void) {
    init();
    for (size_t i = 0; i < LENGTH(caches); i++) {
        expect_empty(&caches[i]);
        EXPECT_EQ(caches[i].own.number, GI_HEAP_FIRST_PRIVATE_NUMBER + i);
        EXPECT(caches[i].own.asked == &asked[i]);
        EXPECT_EQ(gi_load_relaxed(&caches[i].own.status), GI_HEAP_IDLE);
    }
}

static void attaching_chooses_the_heap(void) {
    init();
    EXPECT(gi_current_cache == &gi_empty_cache);
    EXPECT(!gi_cache_is_attached(gi_current_cache));
    gi_cache_attach(A, false);
    EXPECT(gi_current_cache == A && gi_cache_is_attached(A));
    EXPECT(A->heap == &gi_main_group.shared);
    gi_cache_detach(A, false, FUNCTION);
    EXPECT(gi_current_cache == &gi_empty_cache);
    gi_cache_attach(B, true);
    EXPECT(gi_current_cache == B);
    EXPECT(B->heap == &B->own);
    EXPECT_EQ(gi_load_relaxed(&B->own.status), GI_HEAP_ACTIVE);
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        EXPECT_EQ(A->tag[kind], gi_word_make(GI_HEAP_SHARED_NUMBER, kind, 0));
        EXPECT_EQ(B->tag[kind], gi_word_make(B->own.number, kind, 0));
    }
    gi_cache_detach(B, true, FUNCTION);
    EXPECT(gi_current_cache == &gi_empty_cache);
    EXPECT_EQ(gi_load_relaxed(&B->own.status), GI_HEAP_IDLE);
}

/* What a detached thread has: nothing to allocate, and no block is near its tag. */
static void the_sentinel_serves_nothing(void) {
    expect_empty((gi_thread_cache *)&gi_empty_cache);
    static const uint32_t heaps[] = {1, 2, 3, GI_HEAP_NUMBERS - 2};
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        uint32_t tag = gi_empty_cache.tag[kind];
        EXPECT((GI_WORD_NO_ARENA ^ tag) >= GI_WORD_CLASS_SPAN);
        EXPECT((GI_WORD_NO_POOL ^ tag) >= GI_WORD_CLASS_SPAN);
        for (size_t h = 0; h < LENGTH(heaps); h++) {
            for (unsigned of = 0; of < GI_KINDS_MAX; of++) {
                EXPECT((gi_word_make(heaps[h], of, GI_CLASSES - 1) ^ tag) >= GI_WORD_CLASS_SPAN);
            }
        }
    }
}

static size_t visited;

static void visit(gi_thread_cache *cache, void *arg) {
    EXPECT(arg == &visited);
    EXPECT(cache == &caches[visited]);
    visited++;
}

static void every_cache_is_visited(void) {
    gi_cache_for_each(visit, &visited);
    EXPECT_EQ(visited, 0);
    init();
    gi_cache_for_each(visit, &visited);
    EXPECT_EQ(visited, LENGTH(caches));
}

/* --- refill ----------------------------------------------------------------------------------- */

static void refill_every_bin(void) {
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            gi_bin *bin = &A->bins[kind][1 + size_class];
            uint64_t taken = get(&A->heap->taken);
            EXPECT(gi_cache_refill(A, kind, size_class, FUNCTION));
            EXPECT(bin->alloc != NULL && bin->free == NULL);
            EXPECT(bin->cap > 0);
            EXPECT_EQ(bin->room, bin->cap);
            EXPECT_EQ(get(&A->heap->taken), taken + length_of(bin->alloc));
            EXPECT_EQ(word_of(bin->alloc), gi_word_make(A->heap->number, kind, size_class));
            for (const gi_link *block = bin->alloc; bin->fresh && block != NULL; block = block->next) {
                const char *bytes = (const char *)block;
                for (size_t i = sizeof(gi_link); i < gi_class_size(size_class); i++) {
                    EXPECT_EQ(bytes[i], 0);
                }
            }
        }
    }
    EXPECT(bin_of(A, 0)->fresh);
    EXPECT_EQ(gi_cache_count_free(A), get(&A->heap->taken));
    expect_alive(0);
}

static void a_refill_takes_from_the_pools_of_the_shared_heap(void) {
    init_attached(false);
    refill_every_bin();
    expect_all_back();
}

static void a_refill_takes_from_the_pools_of_the_own_heap(void) {
    init_attached(true);
    refill_every_bin();
    expect_all_back();
}

static void a_refill_takes_first_what_was_freed(void) {
    init_attached(false);
    gi_link *one = alloc(A), *two = alloc(A);
    while (bin_of(A, CLASS)->alloc != NULL) {
        alloc(A);
    }
    release(A, one);
    release(A, two);
    uint64_t taken = get(&gi_main_group.shared.taken);
    EXPECT_EQ(bin_of(A, CLASS)->room, (int32_t)bin_of(A, CLASS)->cap - 2);
    EXPECT(gi_cache_refill(A, KIND, CLASS, FUNCTION));
    EXPECT(bin_of(A, CLASS)->alloc == two && two->next == one && one->next == NULL);
    EXPECT(bin_of(A, CLASS)->free == NULL);
    EXPECT_EQ(bin_of(A, CLASS)->room, bin_of(A, CLASS)->cap);
    EXPECT(!bin_of(A, CLASS)->fresh); /* a program has written to them */
    EXPECT_EQ(get(&gi_main_group.shared.taken), taken);
    EXPECT(gi_cache_count_free(A) == 2);
}

static void a_refill_takes_what_others_freed_before_the_pools(void) {
    init_attached(true);
    gi_link *one = alloc(A), *two = alloc(A);
    while (bin_of(A, CLASS)->alloc != NULL) {
        alloc(A);
    }
    release(B, one);
    release(B, two);
    gi_cache_flush_remote(B, FUNCTION);
    EXPECT_EQ(gi_cache_count_free(A), 2);
    uint64_t taken = get(&A->own.taken);
    EXPECT(gi_cache_refill(A, KIND, CLASS, FUNCTION));
    EXPECT_EQ(length_of(bin_of(A, CLASS)->alloc), 2);
    EXPECT(!bin_of(A, CLASS)->fresh);
    EXPECT(!gi_remote_list_any(remote_of(A, CLASS)));
    EXPECT_EQ(get(&A->own.taken), taken);
}

static void a_refill_adopts_before_it_takes_new_memory(void) {
    init_attached(true);
    gi_link *block = alloc(A);
    gi_cache_detach(A, true, FUNCTION);
    gi_cache_end(A, FUNCTION);
    gi_cache_flush_stash(B, FUNCTION);
    EXPECT_EQ(heap_of(block), GI_HEAP_SHARED_NUMBER);
    EXPECT_EQ(get(&B->own.pools), 0);
    gi_link *mine = alloc(B);
    EXPECT_EQ(get(&B->own.adopted), 1);
    EXPECT_EQ(get(&gi_main_group.shared.pools), 0);
    EXPECT(gi_address_pool(mine) == gi_address_pool(block));
    release(B, mine);
    release(B, block);
    expect_all_back();
}

static void without_memory_a_refill_is_refused_and_nothing_is_lost(void) {
    for (int free_threaded = 0; free_threaded < 2; free_threaded++) {
        if (free_threaded == 0) {
            system_install();
            init_attached(false);
        } else {
            for (size_t i = 0; i < LENGTH(caches); i++) {
                gi_cache_end(&caches[i], FUNCTION);
                gi_cache_attach(&caches[i], true);
            }
        }
        system_refuse_all();
        size_t count = 0;
        gi_link *kept = NULL;
        for (;; count++) { /* until all that is committed has been used up */
            gi_bin *bin = bin_of(A, CLASS);
            if (bin->alloc == NULL && !gi_cache_refill(A, KIND, CLASS, FUNCTION)) {
                break;
            }
            gi_link *block = alloc(A);
            block->next = kept;
            kept = block;
        }
        EXPECT(shared_get(&system_counts.refused) > 0);
        EXPECT(!gi_cache_refill(A, KIND, CLASS, FUNCTION));
        EXPECT(!gi_cache_refill_zero(A, KIND, FUNCTION) || count > 0);
        EXPECT_EQ(gi_heap_check_all(), 0);
        EXPECT_EQ(gi_arena_check(), 0);
        system_refuse(NULL);
        EXPECT(gi_cache_refill(A, KIND, CLASS, FUNCTION)); /* memory is back */
        for (gi_link *next; kept != NULL; kept = next) {
            next = kept->next;
            release(A, kept);
        }
        for (size_t i = 0; i < LENGTH(caches); i++) {
            gi_cache_flush(&caches[i], FUNCTION);
        }
        expect_alive(0);
    }
}

/* --- requests of 0 bytes ---------------------------------------------------------------------- */

static void the_bin_of_0_bytes_borrows_from_the_smallest_class(void) {
    init_attached(false);
    gi_bin *zero = &A->bins[KIND][0], *smallest = bin_of(A, 0);
    for (int i = 0; i < 5; i++) {
        EXPECT(zero->alloc == NULL);
        EXPECT(gi_cache_refill_zero(A, KIND, FUNCTION));
        uint32_t borrowed = length_of(zero->alloc);
        EXPECT(borrowed > 0);
        EXPECT(zero->free == NULL && zero->room == 0 && zero->cap == 0);
        EXPECT_EQ(gi_cache_count_free(A), borrowed + length_of(smallest->alloc) + length_of(smallest->free));
        gi_link *last = NULL;
        while (zero->alloc != NULL) {
            last = zero->alloc;
            EXPECT_EQ(gi_word_class(word_of(last)), 0);
            zero->alloc = last->next;
            release(A, last); /* to the smallest class */
        }
        EXPECT(smallest->free == last);
    }
    EXPECT(A->bins[!KIND][0].alloc == NULL);
    EXPECT(gi_cache_refill_zero(A, KIND, FUNCTION)); /* a flush finds what is borrowed */
    expect_all_back();
}

/* --- overflow --------------------------------------------------------------------------------- */

static void what_overflows_is_allocated_next_if_nothing_else_is(void) {
    init_attached(false);
    gi_link **blocks = alloc_many(A, MANY);
    gi_bin *bin = bin_of(A, CLASS);
    while (bin->alloc != NULL) {
        alloc(A);
    }
    uint64_t taken = get(&gi_main_group.shared.taken);
    uint32_t cap = bin->cap;
    EXPECT(cap + 1 < MANY);
    for (uint32_t i = 0; i < cap; i++) {
        EXPECT_EQ(bin->room, (int32_t)(cap - i));
        release(A, blocks[i]);
    }
    EXPECT_EQ(bin->room, 0);
    EXPECT(bin->alloc == NULL);
    release(A, blocks[cap]);
    EXPECT_EQ(length_of(bin->alloc), cap);
    EXPECT(!bin->fresh);
    EXPECT(bin->free == blocks[cap] && bin->free->next == NULL);
    EXPECT_EQ(get(&gi_main_group.shared.taken), taken);
    EXPECT_EQ(gi_cache_count_free(A), cap + 1);
    /* The next time there is something: to the stash. */
    for (uint32_t i = cap + 1; i < 2 * cap; i++) {
        release(A, blocks[i]);
    }
    EXPECT_EQ(bin->room, 0);
    release(A, blocks[2 * cap]);
    EXPECT_EQ(get(&gi_main_group.shared.taken), taken);
    EXPECT_EQ(gi_cache_count_stash(&gi_main_group), cap);
    EXPECT(bin->free == blocks[2 * cap] && bin->free->next == NULL);
    EXPECT_EQ(length_of(bin->alloc), cap);
    free(blocks);
}

static void what_overflows_is_not_kept_by_who_only_frees(void) {
    init_attached(false);
    gi_link **blocks = alloc_many(A, MANY);
    gi_bin *bin = bin_of(B, CLASS);
    for (uint32_t i = 0; i <= bin->cap; i++) {
        release(B, blocks[i]);
    }
    EXPECT(bin->alloc == NULL);
    EXPECT(bin->free == blocks[bin->cap] && bin->free->next == NULL);
    EXPECT_EQ(gi_cache_count_free(B), 1);
    EXPECT_EQ(gi_cache_count_stash(&gi_main_group), bin->cap);
    /* From its first allocation on it keeps them. */
    EXPECT(alloc(B) == blocks[bin->cap]);
    for (uint32_t i = 0; i < bin->cap; i++) {
        release(B, alloc(A));
    }
    release(B, alloc(A));
    EXPECT_EQ(length_of(bin->alloc), bin->cap);
    free(blocks);
}

/* While lists are short, what overflows goes to its pools, next to others of them. */
static void short_lists_go_back_to_their_pools(void) {
    gi_cache_keep_short(true);
    init_attached(false);
    gi_link **blocks = alloc_many(A, MANY);
    gi_bin *bin = bin_of(A, CLASS);
    if (bin->alloc == NULL) { /* it would take what overflows */
        bin->alloc = alloc(A);
        bin->alloc->next = NULL;
        bin->length = 1;
    }
    uint32_t cap = bin->cap;
    EXPECT(cap + 1 < MANY);
    uint64_t taken = get(&gi_main_group.shared.taken);
    for (uint32_t i = 0; i <= cap; i++) {
        release(A, blocks[i]);
    }
    EXPECT_EQ(gi_cache_count_stash(&gi_main_group), 0);
    EXPECT_EQ(get(&gi_main_group.shared.taken), taken - cap);
    EXPECT(bin->free == blocks[cap] && bin->free->next == NULL);
    free(blocks);
}

/* A class that overflows and refills in turns may hold more, one that only overflows less; between two limits. */
static void expect_adapting_cap(uint32_t most_bytes) {
    init_attached(false);
    gi_bin *bin = bin_of(A, CLASS);
    gi_link **blocks = malloc(2 * MANY * sizeof(gi_link *));
    EXPECT(blocks != NULL);
    size_t count = 0;
    while (count < MANY) {
        blocks[count++] = alloc(A);
    }
    const uint32_t least = bin->cap;
    uint32_t most = least;
    for (int round = 0; round < 30; round++) {
        while (!bin->flushed) { /* frees, until some go back to the pools */
            EXPECT(count > 0);
            release(A, blocks[--count]);
        }
        EXPECT_EQ(bin->cap, most);             /* once is no reason to hold less */
        while (bin->flushed || count < MANY) { /* and is back for more */
            EXPECT(count < 2 * MANY);
            blocks[count++] = alloc(A);
        }
        EXPECT(bin->cap == 2 * most || bin->cap == most);
        EXPECT(round == 0 ? bin->cap > least : bin->cap >= most);
        most = bin->cap;
    }
    EXPECT(most > least);
    EXPECT_AT_MOST(most * gi_class_size(CLASS), most_bytes);
    expect_alive(count);
    while (count > 0) {
        release(A, blocks[--count]);
        EXPECT(bin->cap >= least && bin->cap <= most);
    }
    EXPECT_EQ(bin->cap, least);
    free(blocks);
    expect_all_back();
}

static void the_cap_adapts(void) { expect_adapting_cap(256 << 10); }

static void the_cap_of_short_lists_adapts(void) {
    gi_cache_keep_short(true);
    expect_adapting_cap(16 << 10);
}

/* --- flush ------------------------------------------------------------------------------------ */

static void a_flush_gives_everything_back(void) {
    for (int free_threaded = 0; free_threaded < 2; free_threaded++) {
        if (free_threaded == 0) {
            init_attached(false);
        } else {
            for (size_t i = 0; i < LENGTH(caches); i++) {
                gi_cache_end(&caches[i], FUNCTION);
                gi_cache_attach(&caches[i], true);
            }
        }
        gi_link *kept[GI_KINDS][GI_CLASSES];
        for (unsigned kind = 0; kind < GI_KINDS; kind++) {
            for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
                gi_link *freed = alloc_in(A, kind, size_class);
                kept[kind][size_class] = alloc_in(A, kind, size_class);
                release(A, freed);
            }
            EXPECT(gi_cache_refill_zero(A, kind, FUNCTION));
        }
        release(B, alloc(A)); /* a block in a remote slot, too */
        gi_cache_flush(B, FUNCTION);
        gi_cache_flush(A, FUNCTION);
        expect_empty(A);
        expect_empty(B);
        EXPECT_EQ(get(&A->heap->pools), GI_KINDS * GI_CLASSES);
        expect_alive(GI_KINDS * GI_CLASSES);
        for (unsigned kind = 0; kind < GI_KINDS; kind++) {
            for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
                release(A, kept[kind][size_class]);
            }
        }
        expect_all_back();
    }
}

/* --- blocks of others ------------------------------------------------------------------------- */

static void blocks_of_others_go_back_in_batches(void) {
    init_attached(true);
    gi_link **blocks = alloc_many(A, MANY);
    uint32_t batch = 0;
    do {
        release(B, blocks[batch++]);
        EXPECT_EQ(gi_cache_count_free(B), B->remote_pending == 0 ? 0 : batch);
    } while (B->remote_pending != 0 && batch < MANY);
    EXPECT(batch > 1 && batch <= 64);
    EXPECT_EQ(get(&B->remote_frees), batch);
    EXPECT_EQ(get(&B->remote_batches), 1);
    EXPECT_EQ(gi_load_relaxed(&remote_of(A, CLASS)->waiting), batch);
    for (uint32_t i = batch; i < 10 * batch; i++) {
        release(B, blocks[i]);
        EXPECT_EQ(get(&B->remote_batches), (i + 1) / batch);
    }
    EXPECT_EQ(get(&B->remote_frees), 10 * batch);
    expect_alive(MANY - 10 * batch);
    /* What is in hand counts as B's, and what was pushed as A's. */
    release(B, blocks[10 * batch]);
    EXPECT_EQ(B->remote_pending, 1);
    EXPECT_EQ(gi_cache_count_free(B), 1);
    gi_cache_flush_remote(B, FUNCTION);
    EXPECT_EQ(B->remote_pending, 0);
    EXPECT_EQ(gi_cache_count_free(B), 0);
    expect_alive(MANY - 10 * batch - 1);
    for (uint32_t i = 10 * batch + 1; i < MANY; i++) {
        release(A, blocks[i]);
    }
    free(blocks);
    expect_all_back();
}

/* More heaps, kinds and classes at once than there are slots. */
static void slots_are_shared_and_nothing_is_lost(void) {
    init_attached(true);
    gi_link *blocks[2][GI_KINDS][GI_CLASSES][3];
    _Static_assert(sizeof(blocks) / sizeof(blocks[0][0][0]) > GI_REMOTE_SLOTS, "so some meet in a slot");
    for (size_t n = 0; n < 3; n++) {
        for (unsigned kind = 0; kind < GI_KINDS; kind++) {
            for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
                blocks[0][kind][size_class][n] = alloc_in(A, kind, size_class);
                blocks[1][kind][size_class][n] = alloc_in(B, kind, size_class);
            }
        }
    }
    uint64_t count = 0;
    for (size_t n = 0; n < 3; n++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            for (unsigned kind = 0; kind < GI_KINDS; kind++) {
                for (size_t owner = 0; owner < 2; owner++) {
                    release(C, blocks[owner][kind][size_class][n]);
                    count++;
                    EXPECT_EQ(gi_cache_count_free(C) + (int64_t)get(&C->remote_frees), count);
                    EXPECT_AT_MOST(C->remote_pending, GI_REMOTE_SLOTS);
                }
            }
        }
    }
    expect_alive(0);
    gi_cache_flush_remote(C, FUNCTION);
    EXPECT_EQ(get(&C->remote_frees), count);
    EXPECT_EQ(C->remote_pending, 0);
    expect_alive(0);
    expect_all_back();
}

static void remote_frees_wait_for_so_many_safepoints(void) {
    init_attached(true);
    gi_cache_safepoint(B, FUNCTION); /* nothing waits: not counted */
    int needed = 0;
    for (int round = 0; round < 3; round++) {
        release(B, alloc(A));
        EXPECT_EQ(B->remote_pending, 1);
        int safepoints = 0;
        while (B->remote_pending != 0) {
            gi_cache_safepoint(B, FUNCTION);
            safepoints++;
        }
        EXPECT(safepoints > 1 && safepoints <= 64);
        EXPECT(round == 0 || safepoints == needed);
        needed = safepoints;
        EXPECT_EQ(get(&B->remote_batches), round + 1);
        gi_cache_safepoint(B, FUNCTION);
    }
    expect_all_back();
}

static void detaching_pushes_what_waits(void) {
    init_attached(true);
    release(B, alloc(A));
    release(B, alloc_in(A, !KIND, CLASS + 1));
    EXPECT_EQ(B->remote_pending, 2);
    gi_cache_detach(B, true, FUNCTION);
    EXPECT_EQ(B->remote_pending, 0);
    EXPECT_EQ(get(&B->remote_frees), 2);
    gi_cache_attach(B, true);
    expect_all_back();
}

enum { LENT = 100 };

static struct shared pushed; /* orders nothing */

static void *push_lent(void *arg) {
    gi_link **blocks = arg;
    for (size_t i = 0; i < LENT; i++) {
        release(B, blocks[i]);
    }
    gi_cache_flush_remote(B, FUNCTION);
    shared_set(&pushed, 1);
    return NULL;
}

static void what_another_thread_pushed_is_counted(void) {
    init_attached(true);
    gi_link **blocks = alloc_many(A, LENT);
    int64_t before = gi_cache_count_free(A);
    pthread_t thread = thread_start(push_lent, blocks);
    WAIT_UNTIL(shared_get(&pushed));
    EXPECT_EQ(gi_cache_count_free(A), before + LENT);
    thread_join(thread);
    free(blocks);
    expect_all_back();
}

static void a_drain_takes_in_what_others_freed(void) {
    init_attached(true);
    gi_link **blocks = alloc_many(A, MANY / 10);
    gi_cache_flush(A, FUNCTION);
    EXPECT_EQ(get(&A->own.taken), MANY / 10);
    for (size_t i = 0; i < MANY / 10; i++) {
        release(B, blocks[i]);
    }
    gi_cache_flush_remote(B, FUNCTION);
    EXPECT_EQ(get(&A->own.taken), MANY / 10);
    EXPECT_EQ(gi_cache_count_free(A), MANY / 10);
    gi_cache_drain(A, FUNCTION);
    EXPECT_EQ(get(&A->own.taken), 0);
    EXPECT_EQ(get(&A->own.pools), 0);
    EXPECT_EQ(gi_cache_count_free(A), 0);
    free(blocks);
    expect_all_back();
}

static void an_owner_that_does_not_take_in_is_asked_to(void) {
    init_attached(true);
    gi_link **blocks = alloc_many(A, MANY);
    size_t i = 0;
    while ((gi_load_relaxed(&asked[0].bits) & GI_ASKED_DRAIN) == 0) {
        release(B, blocks[i++]);
        EXPECT(i < MANY);
    }
    EXPECT(i > 1);
    EXPECT_EQ(gi_load_relaxed(&asked[0].bits), GI_ASKED_DRAIN);
    EXPECT_EQ(gi_load_relaxed(&asked[1].bits), 0);
    EXPECT_AT_MOST(i * gi_class_size(CLASS), 64 << 10); /* it is not left to grow */
    gi_cache_drain(A, FUNCTION);
    EXPECT(!gi_remote_list_any(remote_of(A, CLASS)));
    for (; i < MANY; i++) {
        release(A, blocks[i]);
    }
    free(blocks);
    expect_all_back();
}

static void an_idle_owner_is_served(void) {
    init_attached(true);
    gi_link **blocks = alloc_many(A, MANY);
    gi_cache_flush(A, FUNCTION);
    gi_cache_detach(A, true, FUNCTION);
    for (size_t i = 0; i < MANY; i++) {
        release(B, blocks[i]);
    }
    /* All but the last of it is in the pools again, which are gone, though A's thread has done nothing. */
    EXPECT_AT_MOST(get(&A->own.taken), MANY / 10);
    EXPECT_EQ(gi_load_relaxed(&A->own.status), GI_HEAP_IDLE);
    EXPECT_EQ(gi_load_relaxed(&asked[0].bits), 0);
    expect_alive(0);
    gi_cache_attach(A, true);
    free(blocks);
    expect_all_back();
}

/* --- threads end ------------------------------------------------------------------------------ */

static void end_cache(gi_thread_cache *cache) {
    gi_cache_detach(cache, true, FUNCTION);
    gi_cache_end(cache, FUNCTION);
    expect_empty(cache);
    EXPECT_EQ(get(&cache->own.pools), 0);
    EXPECT_EQ(get(&cache->own.taken), 0);
    EXPECT_EQ(gi_load_relaxed(&cache->own.status), GI_HEAP_IDLE);
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        EXPECT_EQ(cache->own.open[kind], 0);
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            gi_link *head = gi_load_relaxed(&cache->own.remote[kind][size_class].head);
            EXPECT(head == GI_REMOTE_CLOSED || head == NULL); /* NULL: never opened */
        }
    }
}

static void blocks_outlive_their_thread(void) {
    init_attached(true);
    gi_link **blocks = alloc_many(A, MANY);
    release(A, blocks[0]);
    release(B, blocks[1]); /* in a slot of B's */
    release(B, blocks[2]);
    gi_cache_flush_remote(B, FUNCTION); /* in A's list */
    release(B, blocks[3]);
    end_cache(A);
    expect_alive(MANY - 4);
    for (size_t i = 4; i < MANY; i++) {
        EXPECT_EQ(heap_of(blocks[i]), GI_HEAP_SHARED_NUMBER);
        release(i % 2 != 0 ? B : C, blocks[i]);
    }
    expect_alive(0);
    gi_cache_flush_stash(C, FUNCTION);
    expect_alive(0);
    gi_cache_flush_remote(B, FUNCTION); /* what was in the slot finds the list closed */
    EXPECT_EQ(B->remote_pending, 0);
    expect_alive(0);
    free(blocks);
    expect_all_back();
}

static void a_refused_push_goes_to_who_adopted_the_pool(void) {
    init_attached(true);
    gi_link *one = alloc(A), *two = alloc(A);
    release(B, one);
    end_cache(A);
    gi_cache_flush_stash(C, FUNCTION);
    gi_link *mine = alloc(C); /* C adopts the pool */
    EXPECT(gi_address_pool(mine) == gi_address_pool(one));
    EXPECT_EQ(heap_of(one), C->own.number);
    gi_cache_flush_remote(B, FUNCTION);
    EXPECT_EQ(B->remote_pending, 0);
    expect_alive(2);
    EXPECT(gi_remote_list_any(remote_of(C, CLASS)));
    release(C, mine);
    release(C, two);
    expect_all_back();
}

/* What a thread leaves in its bins is the next one's, in either mode, and nobody's pool is looked at. */
static void a_thread_leaves_its_bins_to_the_next(void) {
    for (int free_threaded = 0; free_threaded < 2; free_threaded++) {
        if (free_threaded == 0) {
            init();
        }
        gi_cache_attach(A, free_threaded != 0);
        gi_cache_attach(B, free_threaded != 0);
        gi_link *kept = alloc(A), *freed = alloc(A);
        release(A, freed);
        int64_t had = gi_cache_count_free(A);
        gi_cache_detach(A, free_threaded != 0, FUNCTION);
        gi_cache_end(A, FUNCTION);
        expect_empty(A);
        EXPECT_EQ(gi_cache_count_stash(&gi_main_group), had);
        EXPECT_EQ(heap_of(kept), GI_HEAP_SHARED_NUMBER);
        uint64_t taken = get(&gi_main_group.shared.taken);
        EXPECT(alloc(B) == freed);
        EXPECT(bin_of(B, CLASS)->alloc == NULL); /* `free` went in last */
        for (int64_t i = 1; i < had; i++) {
            alloc(B);
        }
        EXPECT_EQ(gi_cache_count_stash(&gi_main_group), 0);
        EXPECT_EQ(get(&gi_main_group.shared.taken), taken);
        EXPECT_EQ(get(&B->own.pools), 0);
        release(B, freed);
        release(B, kept);
        gi_cache_detach(B, free_threaded != 0, FUNCTION);
        gi_cache_end(B, FUNCTION);
        gi_cache_flush_stash(B, FUNCTION);
    }
}

/* A life that leaves blocks of two classes to the stash. */
static void live_briefly(gi_thread_cache *cache, bool free_threaded, unsigned size_class, unsigned other_class) {
    gi_cache_attach(cache, free_threaded);
    gi_link *block = alloc_in(cache, KIND, size_class), *other = alloc_in(cache, KIND, other_class);
    release(cache, block);
    release(cache, other);
    gi_cache_detach(cache, free_threaded, FUNCTION);
    gi_cache_end(cache, FUNCTION);
}

/* One visit to the stash brings a list of each class that the thread before had used, and of no other. */
static void a_thread_inherits_all_classes_at_once(void) {
    init();
    for (int free_threaded = 0; free_threaded < 2; free_threaded++) {
        live_briefly(A, free_threaded != 0, CLASS, CLASS + 2);
        live_briefly(B, free_threaded != 0, CLASS + 1, CLASS + 3);
        gi_cache_attach(A, free_threaded != 0);
        gi_link *block = alloc(A);
        EXPECT(bin_of(A, CLASS + 2)->alloc != NULL);
        EXPECT(bin_of(A, CLASS + 1)->alloc == NULL && bin_of(A, CLASS + 3)->alloc == NULL);
        expect_alive(1);
        release(A, block);
        gi_cache_detach(A, free_threaded != 0, FUNCTION);
        gi_cache_end(A, FUNCTION);
        expect_all_back();
    }
}

/* What a thread was given and did not need goes on to the next ones, but not for ever. */
static void what_is_only_inherited_is_left_out_in_time(void) {
    enum { LIVES = 64 };
    init();
    live_briefly(A, false, CLASS, CLASS + 2);
    int given = 0;
    for (int life = 0; life < 2 * LIVES; life++) {
        gi_cache_attach(A, false);
        gi_link *block = alloc(A);
        given += bin_of(A, CLASS + 2)->alloc != NULL;
        EXPECT(life < LIVES || bin_of(A, CLASS + 2)->alloc == NULL);
        release(A, block);
        gi_cache_detach(A, false, FUNCTION);
        gi_cache_end(A, FUNCTION);
    }
    EXPECT_EQ(given, LIVES - 1);
}

/* Type-stable kinds have nothing in the stash: their empty pools are waited for. */
static void type_stable_kinds_leave_nothing(void) {
    gi_address_map_init(RESERVE);
    int kind = gi_kind_make("stable", 0, true);
    EXPECT(kind > 0);
    EXPECT(gi_cache_init(A, &gi_main_group, &asked[0]));
    gi_cache_attach(A, false);
    gi_link *block = alloc_in(A, (unsigned)kind, CLASS);
    release(A, block);
    gi_cache_detach(A, false, FUNCTION);
    gi_cache_end(A, FUNCTION);
    EXPECT_EQ(gi_cache_count_stash(&gi_main_group), 0);
    EXPECT_EQ(get(&gi_main_group.shared.taken), 0);
}

/* How many frees of another thread's blocks it takes until the idle owner's list is drained. */
static size_t frees_until_drained(gi_link **blocks, size_t count) {
    uint64_t taken = get(&A->own.taken);
    for (size_t i = 0; i < count; i++) {
        release(B, blocks[i]);
        if (get(&A->own.taken) < taken) {
            for (size_t k = i + 1; k < count; k++) {
                release(B, blocks[k]);
            }
            return i + 1;
        }
    }
    return count;
}

static void more_may_wait_for_an_owner_that_comes_back_for_it(void) {
    init_attached(true);
    size_t least = 0, most = 0;
    for (int round = 0; round < 10; round++) {
        gi_link **blocks = alloc_many(A, MANY);
        gi_cache_detach(A, true, FUNCTION);
        most = frees_until_drained(blocks, MANY);
        least = round == 0 ? most : least;
        EXPECT(most >= least);
        gi_cache_attach(A, true);
        free(blocks);
    }
    EXPECT(most > least && most <= MANY);
    gi_cache_drain(A, FUNCTION);
    expect_all_back();
}

/* The next thread gets the same cache, and opens its lists, while a slot still names the heap: what is pushed then is
   another's. */
static void a_late_push_to_the_next_thread_is_passed_on(void) {
    init_attached(true);
    gi_link *one = alloc(A), *two = alloc(A);
    release(B, one);
    end_cache(A);
    gi_cache_flush_stash(C, FUNCTION);
    gi_link *mine = alloc(C); /* adopts the pool */
    gi_cache_attach(A, true);
    gi_link *next = alloc(A); /* opens the list, with a pool of its own */
    EXPECT(gi_address_pool(next) != gi_address_pool(one));
    gi_cache_flush_remote(B, FUNCTION);
    EXPECT(gi_remote_list_any(remote_of(A, CLASS))); /* a block of C's pool is in A's list */
    expect_alive(3);
    gi_cache_drain(A, FUNCTION);
    gi_cache_flush_remote(A, FUNCTION);
    EXPECT(gi_remote_list_any(remote_of(C, CLASS)));
    expect_alive(3);
    release(C, mine);
    release(C, two);
    release(A, next);
    expect_all_back();
}

static void a_cache_is_used_again_in_either_mode(void) {
    init();
    for (int i = 0; i < 6; i++) {
        bool free_threaded = i % 3 != 0;
        gi_cache_attach(A, free_threaded);
        EXPECT(A->heap == (free_threaded ? &A->own : &gi_main_group.shared));
        gi_link *kept = alloc(A), *freed = alloc(A);
        release(A, freed);
        EXPECT_EQ(heap_of(kept), A->heap->number);
        gi_cache_detach(A, free_threaded, FUNCTION);
        gi_cache_end(A, FUNCTION);
        expect_empty(A);
        EXPECT_EQ(heap_of(kept), GI_HEAP_SHARED_NUMBER);
        expect_alive(1);
        gi_cache_attach(B, free_threaded);
        release(B, kept);
        gi_cache_detach(B, free_threaded, FUNCTION);
        gi_cache_flush_stash(B, FUNCTION);
        gi_cache_end(B, FUNCTION);
        gi_cache_flush_stash(B, FUNCTION);
        expect_alive(0);
    }
}

static void after_fork_a_cache_ends_if_its_thread_was_outside(void) {
    init_attached(true);
    gi_link *in_a = alloc(A), *in_b = alloc(B), *in_c = alloc(C);
    gi_cache_detach(A, true, FUNCTION);
    EXPECT(gi_cache_end_after_fork(A, true, FUNCTION));
    expect_empty(A);
    EXPECT_EQ(heap_of(in_a), GI_HEAP_SHARED_NUMBER);
    /* Attached, so inside as far as anybody knows: it is left alone, and the checks leave it alone too. */
    EXPECT(!gi_cache_end_after_fork(B, false, FUNCTION));
    B->own.full = (gi_pool *)in_b; /* half done */
    EXPECT_EQ(heap_of(in_b), B->own.number);
    EXPECT_EQ(gi_heap_check_all(), 0);
    /* Detached, but somebody was deleting it. */
    gi_cache_detach(C, true, FUNCTION);
    gi_heap_activate(&C->own);
    EXPECT(!gi_cache_end_after_fork(C, true, FUNCTION));
    EXPECT_EQ(heap_of(in_c), C->own.number);
    EXPECT_EQ(gi_heap_check_all(), 0);
    /* Its blocks can be freed by the thread that is left. */
    gi_cache_attach(A, true);
    release(A, in_b);
    release(A, in_c);
    gi_cache_flush(A, FUNCTION);
    gi_cache_flush_stash(A, FUNCTION);
    EXPECT_EQ(gi_heap_check_all(), 0);
}

/* --- planted faults --------------------------------------------------------------------------- */

static gi_bin *plant(void) {
    init_attached(false);
    gi_link *one = alloc(A), *two = alloc(A);
    release(A, one);
    release(A, two);
    EXPECT(gi_cache_count_free(A) >= 2);
    return bin_of(A, CLASS);
}

static void the_count_finds_c1(void) {
    gi_bin *bin = plant();
    bin->room++;
    EXPECT_BROKEN("C1", gi_cache_count_free(A));
    bin->room -= 2;
    EXPECT_BROKEN("C1", gi_cache_count_free(A));
    bin->room++;
    gi_link *all = bin->free;
    bin->free = all->next; /* a block is lost */
    EXPECT_BROKEN("C1", gi_cache_count_free(A));
    bin->free = all;
    bin->cap++;
    EXPECT_BROKEN("C1", gi_cache_count_free(A));
    bin->cap--;
    EXPECT(gi_cache_count_free(A) >= 2);
}

static void the_count_finds_c2(void) {
    gi_bin *bin = plant();
    gi_link *other_class = alloc_in(A, KIND, CLASS + 1), *other_kind = alloc_in(A, !KIND, CLASS);
    gi_link nowhere = {NULL};
    gi_link *const wrong[] = {other_class, other_kind, &nowhere, (gi_link *)gi_os_reservation()->base};
    gi_link **const lists[] = {&bin->alloc, &bin->free};
    for (size_t l = 0; l < LENGTH(lists); l++) {
        for (size_t i = 0; i < LENGTH(wrong); i++) {
            gi_link *right = *lists[l];
            *lists[l] = wrong[i];
            EXPECT_BROKEN("C2", gi_cache_count_free(A));
            *lists[l] = right;
        }
    }
    A->bins[KIND][0].alloc = other_class; /* what 0 bytes get */
    other_class->next = NULL;
    EXPECT_BROKEN("C2", gi_cache_count_free(A));
    A->bins[KIND][0].alloc = NULL;
    gi_store_relaxed(&remote_of(A, CLASS)->head, other_class); /* what others gave back */
    EXPECT_BROKEN("C2", gi_cache_count_free(A));
    gi_store_relaxed(&remote_of(A, CLASS)->head, GI_REMOTE_CLOSED);
    EXPECT(gi_cache_count_free(A) >= 2);
}

static void the_count_finds_c3(void) {
    plant();
    uint32_t used = A->used[KIND];
    A->used[KIND] = 0;
    EXPECT_BROKEN("C3", gi_cache_count_free(A));
    A->used[KIND] = used;
    EXPECT(gi_cache_count_free(A) >= 2);
}

/* Freed twice in a row, a block is its own next. */
static void the_count_finds_a_ring(void) {
    gi_bin *bin = plant();
    gi_link *block = bin->free, *next = block->next;
    block->next = block;
    EXPECT_BROKEN("C2", gi_cache_count_free(A));
    block->next = next;
    EXPECT(gi_cache_count_free(A) >= 2);
    if (bin->alloc == NULL) {
        EXPECT(gi_cache_refill(A, KIND, CLASS, FUNCTION));
    }
    block = bin->alloc;
    EXPECT(block != NULL);
    next = block->next;
    block->next = block;
    EXPECT_BROKEN("C2", gi_cache_count_free(A));
    block->next = next;
    EXPECT(gi_cache_count_free(A) >= 2);
}

/* --- wrong frees that show as blocks go back -------------------------------------------------- */

static void give_back_a_block_whose_pool_has_gone(const void *arg) {
    (void)arg;
    init_attached(false);
    gi_link *block = alloc(A);
    release(A, block);
    gi_cache_flush(A, FUNCTION);
    gi_cache_keep(A, KIND, CLASS, block, "PyObject_Free");
    gi_cache_flush(A, "PyThreadState_Clear");
}

static void free_a_block_twice(const void *arg) {
    (void)arg;
    init_attached(true);
    gi_link *block = alloc(A);
    gi_link *other = alloc(A);
    release(A, block);
    release(A, other);
    release(A, block);
    gi_cache_flush(A, "PyThreadState_Clear");
}

#define DOUBLE_FREE                                                                      \
    "Fatal gilloc error: PyThreadState_Clear: double free\n"                             \
    "  domain   object\n"                                                                \
    "  block    X, of 64 bytes\n"                                                        \
    "  found    later, as free blocks went back to their pool, of which none is taken\n" \
    "  do       free each block once\n"

/* --- many threads ----------------------------------------------------------------------------- */

#define THREADS 4
#define LIVES ROUNDS(60)

/* Blocks on their way between threads; a plain word in each says what it holds. */
static pthread_mutex_t exchange_mutex = PTHREAD_MUTEX_INITIALIZER;
static gi_link *exchange[256]; /* guarded by exchange_mutex */

typedef struct block {
    gi_link link;
    const void *self;
} block;

/* Puts `in` there and takes what was there. */
static gi_link *swap(size_t at, gi_link *in) {
    pthread_mutex_lock(&exchange_mutex);
    gi_link *out = exchange[at];
    exchange[at] = in;
    pthread_mutex_unlock(&exchange_mutex);
    return out;
}

struct worker {
    gi_thread_cache cache;
    gi_asked asked;
    uint64_t seed;
};

static void live(struct worker *self, struct random *random) {
    gi_thread_cache *cache = &self->cache;
    gi_cache_attach(cache, true);
    for (int i = 0; i < 2000; i++) {
        unsigned size_class = 1 + (unsigned)random_below(random, 3);
        block *made = (block *)alloc_in(cache, KIND, size_class);
        made->self = made;
        block *got = (block *)swap(random_below(random, LENGTH(exchange)), &made->link);
        if (got != NULL) {
            EXPECT(got->self == got);
            got->self = NULL;
            release(cache, &got->link);
        }
        if (i % 8 == 0) {
            gi_cache_safepoint(cache, FUNCTION);
            if ((gi_fetch_and_relaxed(&self->asked.bits, 0) & GI_ASKED_DRAIN) != 0) {
                gi_cache_drain(cache, FUNCTION);
            }
        }
        if (i % 500 == 499) {
            gi_cache_detach(cache, true, FUNCTION);
            sched_yield();
            gi_cache_attach(cache, true);
        }
    }
    gi_cache_detach(cache, true, FUNCTION);
    gi_cache_end(cache, FUNCTION);
}

static void *live_and_die(void *arg) {
    struct worker *self = arg;
    struct random random = random_seeded(self->seed);
    for (size_t i = 0; i < LIVES; i++) {
        live(self, &random);
    }
    return NULL;
}

static void blocks_change_hands_while_threads_come_and_go(void) {
    static struct worker workers[THREADS];
    gi_address_map_init(RESERVE);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].seed = i;
        EXPECT(gi_cache_init(&workers[i].cache, &gi_main_group, &workers[i].asked));
    }
    threads_run(THREADS, live_and_die, workers, sizeof(workers[0]));
    size_t left = 0;
    gi_cache_attach(&workers[0].cache, true);
    gi_cache_flush_stash(&workers[0].cache, FUNCTION);
    EXPECT_EQ(gi_heap_check_all(), 0);
    for (size_t i = 0; i < LENGTH(exchange); i++) {
        left += exchange[i] != NULL;
    }
    EXPECT_EQ(get(&gi_main_group.shared.taken), left); /* no block was lost, none is left in a cache */
    for (size_t i = 0; i < LENGTH(exchange); i++) {
        if (exchange[i] != NULL) {
            release(&workers[0].cache, exchange[i]);
        }
    }
    gi_cache_flush(&workers[0].cache, FUNCTION);
    gi_cache_flush_stash(&workers[0].cache, FUNCTION);
    EXPECT_EQ(gi_heap_check_all(), 0);
    EXPECT_EQ(get(&gi_main_group.shared.taken), 0);
    EXPECT_EQ(get(&gi_main_group.shared.pools), 0);
    gi_arena_purge();
    EXPECT_EQ(get(&gi_arena_stats_now.arenas), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_new_cache_is_idle_and_empty),
        IN_CHILD(attaching_chooses_the_heap),
        IN_CHILD(the_sentinel_serves_nothing),
        IN_CHILD(every_cache_is_visited),
        IN_CHILD(a_refill_takes_from_the_pools_of_the_shared_heap),
        IN_CHILD(a_refill_takes_from_the_pools_of_the_own_heap),
        IN_CHILD(a_refill_takes_first_what_was_freed),
        IN_CHILD(a_refill_takes_what_others_freed_before_the_pools),
        IN_CHILD(a_refill_adopts_before_it_takes_new_memory),
        IN_CHILD(without_memory_a_refill_is_refused_and_nothing_is_lost),
        IN_CHILD(the_bin_of_0_bytes_borrows_from_the_smallest_class),
        IN_CHILD(what_overflows_is_allocated_next_if_nothing_else_is),
        IN_CHILD(what_overflows_is_not_kept_by_who_only_frees),
        IN_CHILD(short_lists_go_back_to_their_pools),
        IN_CHILD(the_cap_adapts),
        IN_CHILD(the_cap_of_short_lists_adapts),
        IN_CHILD(a_flush_gives_everything_back),
        IN_CHILD(blocks_of_others_go_back_in_batches),
        IN_CHILD(slots_are_shared_and_nothing_is_lost),
        IN_CHILD(remote_frees_wait_for_so_many_safepoints),
        IN_CHILD(detaching_pushes_what_waits),
        IN_CHILD(what_another_thread_pushed_is_counted),
        IN_CHILD(a_drain_takes_in_what_others_freed),
        IN_CHILD(an_owner_that_does_not_take_in_is_asked_to),
        IN_CHILD(an_idle_owner_is_served),
        IN_CHILD(blocks_outlive_their_thread),
        IN_CHILD(a_refused_push_goes_to_who_adopted_the_pool),
        IN_CHILD(a_thread_leaves_its_bins_to_the_next),
        IN_CHILD(a_thread_inherits_all_classes_at_once),
        IN_CHILD(what_is_only_inherited_is_left_out_in_time),
        IN_CHILD(type_stable_kinds_leave_nothing),
        IN_CHILD(more_may_wait_for_an_owner_that_comes_back_for_it),
        IN_CHILD(a_late_push_to_the_next_thread_is_passed_on),
        IN_CHILD(a_cache_is_used_again_in_either_mode),
        IN_CHILD(after_fork_a_cache_ends_if_its_thread_was_outside),
        IN_CHILD(the_count_finds_c1),
        IN_CHILD(the_count_finds_c2),
        IN_CHILD(the_count_finds_c3),
        DIES(give_back_a_block_whose_pool_has_gone, DOUBLE_FREE),
        DIES(free_a_block_twice, DOUBLE_FREE),
        IN_CHILD(blocks_change_hands_while_threads_come_and_go),
        IN_CHILD(the_count_finds_a_ring),
    };
    return cmocka_run_group_tests_name("thread cache", tests, NULL, NULL);
}
