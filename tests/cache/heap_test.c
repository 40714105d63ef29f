/* SPDX-License-Identifier: MIT */
/*
 * heap_test.c - the pools of one owner: taking and giving, adopting and orphaning, claims, numbers; what is no block
 *               dies with its text; faults that the check must find.
 *   A test works on the heaps from one thread, as each one's owner, unless it says otherwise.
 */
#include "lib/cache/heap.h"

#include <stdlib.h>
#include <string.h>

#include "lib/arena/arena.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define RESERVE (256 * GI_ARENA_SIZE)
#define KIND GI_KIND_OBJECT
#define CLASS 5u
#define CAPACITY (GI_POOL_SIZE / gi_class_size(CLASS))
#define FUNCTION "PyObject_Free"

static gi_heap heaps[3];
static gi_asked asked[3];

static void init(void) {
    gi_address_map_init(RESERVE);
    for (size_t i = 0; i < LENGTH(heaps); i++) {
        EXPECT(gi_heap_number(&heaps[i], &gi_main_group, &asked[i]));
    }
    EXPECT_EQ(gi_heap_check_all(), 0);
}

static uint64_t get(const gi_counter *counter) { return gi_load_relaxed(counter); }
static uint32_t heap_of(const void *block) { return gi_word_heap(gi_load_relaxed(gi_address_word(block))); }
static gi_pool *first_partial(gi_heap *heap, unsigned size_class) {
    return gi_load_relaxed(&heap->partial[KIND][size_class]);
}

/* --- blocks by hand --------------------------------------------------------------------------- */

static uint32_t length_of(const gi_link *block) {
    uint32_t length = 0;
    for (; block != NULL; block = block->next) {
        length++;
    }
    return length;
}

/* What the heap has. */
static gi_link *take_partial(gi_heap *heap, unsigned kind, unsigned size_class, bool *fresh) {
    uint32_t count = 0;
    gi_link *blocks = gi_heap_take(heap, kind, size_class, &count, fresh);
    EXPECT_EQ(count, length_of(blocks));
    return blocks;
}

/* The same, else from a new pool. */
static gi_link *take(gi_heap *heap, unsigned size_class, bool *fresh) {
    gi_link *blocks = take_partial(heap, KIND, size_class, fresh);
    if (blocks == NULL) {
        gi_pool *pool = gi_heap_acquire_pool(heap, KIND, size_class);
        EXPECT(pool != NULL);
        gi_heap_add_pool(heap, pool);
        blocks = take_partial(heap, KIND, size_class, fresh);
    }
    EXPECT(blocks != NULL);
    EXPECT_EQ(heap_of(blocks), heap->number);
    return blocks;
}

/* All blocks of so many pools of CLASS, one after the other. */
static void take_pools(gi_heap *heap, gi_link **blocks, size_t pools) {
    size_t count = 0;
    bool fresh;
    while (count < pools * CAPACITY) {
        for (gi_link *block = take(heap, CLASS, &fresh), *next; block != NULL; block = next) {
            next = block->next;
            blocks[count++] = block;
        }
    }
    EXPECT_EQ(count, pools * CAPACITY);
}

/* All of a list, whose blocks are in pools of the heap. */
static void give_list(gi_heap *heap, gi_link *blocks) {
    gi_pool *emptied = NULL;
    while (blocks != NULL) {
        blocks = gi_heap_give(heap, blocks, &emptied, FUNCTION);
    }
    gi_heap_release_pools(emptied);
}

static void give_into(gi_heap *heap, gi_link *block, gi_pool **emptied) {
    block->next = NULL;
    EXPECT(gi_heap_give(heap, block, emptied, FUNCTION) == NULL);
}

static void give(gi_heap *heap, gi_link *block) {
    block->next = NULL;
    give_list(heap, block);
}

static void expect_counts(gi_heap *heap, uint64_t pools, uint64_t taken) {
    EXPECT_EQ(get(&heap->pools), pools);
    EXPECT_EQ(get(&heap->taken), taken);
    EXPECT_EQ(gi_heap_check_all(), 0);
}

static void expect_all_back(void) {
    for (size_t i = 0; i < LENGTH(heaps); i++) {
        expect_counts(&heaps[i], 0, 0);
        EXPECT(heaps[i].full == NULL);
    }
    expect_counts(&gi_main_group.shared, 0, 0);
    gi_arena_purge();
    EXPECT_EQ(gi_arena_check(), 0);
    EXPECT_EQ(get(&gi_arena_stats_now.arenas), 0);
}

/* --- numbers ---------------------------------------------------------------------------------- */

static void heaps_have_numbers(void) {
    EXPECT(gi_heap_of_number(0) == NULL);
    EXPECT(gi_heap_of_number(GI_HEAP_SHARED_NUMBER) == &gi_main_group.shared);
    EXPECT(gi_heap_of_number(GI_HEAP_FIRST_PRIVATE_NUMBER) == NULL);
    EXPECT_EQ(gi_main_group.shared.number, GI_HEAP_SHARED_NUMBER);
    EXPECT_EQ(gi_heap_last_number(), GI_HEAP_SHARED_NUMBER);
    init();
    for (uint32_t i = 0; i < LENGTH(heaps); i++) {
        EXPECT_EQ(heaps[i].number, GI_HEAP_FIRST_PRIVATE_NUMBER + i);
        EXPECT(gi_heap_of_number(GI_HEAP_FIRST_PRIVATE_NUMBER + i) == &heaps[i]);
        EXPECT(heaps[i].asked == &asked[i]);
        EXPECT_EQ(gi_load_relaxed(&heaps[i].status), GI_HEAP_IDLE);
    }
    EXPECT_EQ(gi_heap_last_number(), heaps[LENGTH(heaps) - 1].number);
    EXPECT(gi_heap_of_number(gi_heap_last_number() + 1) == NULL);
    EXPECT(gi_heap_of_number(GI_HEAP_NUMBERS - 1) == NULL); /* nobody's */
}

/* A new heap has no list open before it has a pool of the class. */
static void a_new_heap_is_closed(void) {
    init();
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            EXPECT(!gi_remote_list_any(&heaps[0].remote[kind][size_class]));
        }
        EXPECT_EQ(heaps[0].open[kind], 0);
    }
    bool fresh;
    give(&heaps[0], take(&heaps[0], CLASS, &fresh)); /* only the first of them: the pool stays */
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            bool open = (heaps[0].open[kind] >> size_class & 1u) != 0;
            EXPECT(open == (kind == KIND && size_class == CLASS));
        }
    }
}

/* A number is never used again, so they come to an end: then there is no new heap, and no harm. */
static void numbers_come_to_an_end(void) {
    uint32_t last = GI_HEAP_SHARED_NUMBER;
    while (gi_heap_number(&heaps[0], &gi_main_group, NULL)) {
        EXPECT_EQ(heaps[0].number, last + 1);
        last = heaps[0].number;
    }
    EXPECT_EQ(last, GI_HEAP_NUMBERS - 2);
    EXPECT_EQ(gi_heap_last_number(), last);
    EXPECT(!gi_heap_number(&heaps[1], &gi_main_group, NULL));
    EXPECT_EQ(gi_heap_last_number(), last);
    EXPECT(gi_heap_of_number(last) == &heaps[0]);
    /* The highest word is still a word of its own. */
    uint32_t word = gi_word_make(last, GI_KINDS_MAX - 1, GI_CLASSES - 1);
    EXPECT_EQ(gi_word_heap(word), last);
}

static void a_number_needs_no_memory(void) {
    system_install();
    system_refuse_all();
    EXPECT(gi_heap_number(&heaps[0], &gi_main_group, &asked[0]));
    EXPECT_EQ(heaps[0].number, GI_HEAP_FIRST_PRIVATE_NUMBER);
    EXPECT_EQ(shared_get(&system_counts.meant), 0);
}

/* --- take and give ---------------------------------------------------------------------------- */

static void blocks_are_taken_and_given(void) {
    gi_heap *heap = &heaps[0];
    bool fresh;
    init();
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        EXPECT(take_partial(heap, KIND, size_class, &fresh) == NULL);
        gi_link *blocks = take(heap, size_class, &fresh);
        uint32_t count = length_of(blocks);
        EXPECT(fresh == (size_class == 0)); /* after that the pool has been used */
        expect_counts(heap, 1, count);
        gi_pool *pool = gi_address_pool(blocks);
        EXPECT_EQ(pool->kind, KIND);
        EXPECT_EQ(pool->size_class, size_class);
        EXPECT(take_partial(heap, !KIND, size_class, &fresh) == NULL); /* of this kind and class alone */
        EXPECT(take_partial(heap, KIND, (size_class + 1) % GI_CLASSES, &fresh) == NULL);
        for (gi_link *next; blocks != NULL; blocks = next) {
            next = blocks->next;
            EXPECT_EQ(get(&heap->pools), 1);
            give(heap, blocks);
            count--;
            expect_counts(heap, count > 0, count);
        }
    }
    expect_all_back();
}

static void a_full_pool_is_served_again_when_a_block_comes_back(void) {
    static gi_link *blocks[2 * GI_POOL_SIZE / GI_ALIGNMENT];
    gi_heap *heap = &heaps[0];
    bool fresh;
    init();
    take_pools(heap, blocks, 2);
    expect_counts(heap, 2, 2 * CAPACITY);
    EXPECT(first_partial(heap, CLASS) == NULL);
    EXPECT(take_partial(heap, KIND, CLASS, &fresh) == NULL);
    EXPECT(heap->full != NULL);
    give(heap, blocks[CAPACITY + 1]);
    EXPECT(first_partial(heap, CLASS) == gi_address_pool(blocks[CAPACITY + 1]));
    give(heap, blocks[3]);
    give(heap, blocks[CAPACITY + 2]);
    expect_counts(heap, 2, 2 * CAPACITY - 3);
    EXPECT(heap->full == NULL);
    size_t again = 0;
    for (int i = 0; i < 2; i++) {
        gi_link *list = take_partial(heap, KIND, CLASS, &fresh);
        EXPECT(list != NULL && !fresh);
        again += length_of(list);
    }
    EXPECT_EQ(again, 3);
    EXPECT(take_partial(heap, KIND, CLASS, &fresh) == NULL);
    expect_counts(heap, 2, 2 * CAPACITY);
    for (size_t i = 0; i < 2 * CAPACITY; i++) {
        give(heap, blocks[i]);
    }
    expect_all_back();
}

static void pools_that_emptied_are_the_callers(void) {
    static gi_link *blocks[3 * GI_POOL_SIZE / GI_ALIGNMENT];
    gi_heap *heap = &heaps[0];
    init();
    take_pools(heap, blocks, 3);
    gi_pool *emptied = NULL;
    for (size_t i = 0; i < 3 * CAPACITY; i++) {
        EXPECT_EQ(i / CAPACITY, emptied == NULL ? 0 : emptied->next == NULL ? 1 : 2);
        give_into(heap, blocks[i], &emptied);
    }
    EXPECT_EQ(get(&heap->pools), 0);
    EXPECT_EQ(get(&heap->taken), 0);
    gi_heap_release_pools(emptied);
    gi_heap_release_pools(NULL);
    expect_all_back();
}

/* What hangs together in one pool goes back as it hangs; the first block of another pool ends it. */
static void a_list_goes_back_by_pools(void) {
    static gi_link *blocks[2 * GI_POOL_SIZE / GI_ALIGNMENT];
    gi_heap *heap = &heaps[0];
    init();
    take_pools(heap, blocks, 2);
    gi_link **first = blocks, **second = blocks + CAPACITY;
    first[4]->next = first[2];
    first[2]->next = first[3];
    first[3]->next = second[1];
    second[1]->next = second[0];
    second[0]->next = first[0];
    first[0]->next = NULL;
    gi_pool *emptied = NULL;
    gi_link *rest = gi_heap_give(heap, first[4], &emptied, FUNCTION);
    EXPECT(rest == second[1]);
    expect_counts(heap, 2, 2 * CAPACITY - 3);
    gi_pool *pool = gi_address_pool(first[0]);
    EXPECT_EQ(pool->taken, CAPACITY - 3);
    EXPECT(pool->free == first[4] && first[4]->next == first[2] && first[2]->next == first[3]);
    EXPECT(first[3]->next == NULL);
    rest = gi_heap_give(heap, rest, &emptied, FUNCTION);
    EXPECT(rest == first[0]);
    expect_counts(heap, 2, 2 * CAPACITY - 5);
    EXPECT(gi_heap_give(heap, rest, &emptied, FUNCTION) == NULL);
    EXPECT(pool->free == first[0] && first[0]->next == first[4]);
    expect_counts(heap, 2, 2 * CAPACITY - 6);
    EXPECT(emptied == NULL);
}

static void without_memory_there_is_no_pool(void) {
    system_install();
    init();
    system_refuse_all();
    EXPECT(gi_heap_acquire_pool(&heaps[0], KIND, CLASS) == NULL);
    expect_counts(&heaps[0], 0, 0);
    system_refuse(NULL);
    bool fresh;
    gi_link *blocks = take(&heaps[0], CLASS, &fresh);
    expect_counts(&heaps[0], 1, length_of(blocks));
}

/* --- adopt and orphan ------------------------------------------------------------------------- */

static void give_shared(gi_link *block) {
    gi_pool *emptied = NULL;
    gi_mutex_lock(&gi_main_group.shared.mutex);
    give_into(&gi_main_group.shared, block, &emptied);
    gi_mutex_unlock(&gi_main_group.shared.mutex);
    gi_heap_release_pools(emptied);
}

static void orphans_go_to_the_shared_heap_and_are_adopted(void) {
    static gi_link *blocks[3 * GI_POOL_SIZE / GI_ALIGNMENT];
    gi_heap *heap = &heaps[0];
    init();
    take_pools(heap, blocks, 3);
    give(heap, blocks[0]); /* the first pool is partial, the others are full */
    gi_heap_orphan(heap);
    expect_counts(heap, 0, 0);
    expect_counts(&gi_main_group.shared, 3, 3 * CAPACITY - 1);
    EXPECT_EQ(get(&heap->orphaned), 3);
    EXPECT(heap->full == NULL && first_partial(heap, CLASS) == NULL);
    for (size_t i = 0; i < 3 * CAPACITY; i++) {
        EXPECT_EQ(heap_of(blocks[i]), GI_HEAP_SHARED_NUMBER);
    }
    gi_heap_orphan(heap); /* nothing is left to do */
    EXPECT_EQ(get(&heap->orphaned), 3);
    /* A heap adopts what has something free, of the kind and class that it needs. */
    gi_heap *other = &heaps[1];
    EXPECT(!gi_heap_adopt(other, !KIND, CLASS));
    EXPECT(!gi_heap_adopt(other, KIND, CLASS + 1));
    EXPECT(gi_heap_adopt(other, KIND, CLASS));
    expect_counts(other, 1, CAPACITY - 1);
    expect_counts(&gi_main_group.shared, 2, 2 * CAPACITY);
    EXPECT_EQ(get(&other->adopted), 1);
    EXPECT_EQ(heap_of(blocks[1]), other->number);
    EXPECT(!gi_heap_adopt(other, KIND, CLASS)); /* the others are full */
    EXPECT_EQ(get(&other->adopted), 1);
    /* From here on its blocks go to the new owner. */
    bool fresh;
    gi_link *free_one = take_partial(other, KIND, CLASS, &fresh);
    EXPECT(free_one == blocks[0] && free_one->next == NULL);
    EXPECT_EQ(gi_heap_check_all(), 0);
    for (size_t i = 0; i < CAPACITY; i++) {
        give(other, blocks[i]);
    }
    for (size_t i = CAPACITY; i < 3 * CAPACITY; i++) {
        give_shared(blocks[i]);
    }
    expect_all_back();
    EXPECT_EQ(get(&heap->orphaned), 3);
}

static void pools_of_all_classes_are_orphaned(void) {
    bool fresh;
    init();
    uint64_t taken = 0;
    gi_link *lists[GI_CLASSES];
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        lists[size_class] = take(&heaps[2], size_class, &fresh);
        taken += length_of(lists[size_class]);
    }
    expect_counts(&heaps[2], GI_CLASSES, taken);
    gi_heap_orphan(&heaps[2]);
    expect_counts(&gi_main_group.shared, GI_CLASSES, taken);
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        for (gi_link *next; lists[size_class] != NULL; lists[size_class] = next) {
            next = lists[size_class]->next;
            give_shared(lists[size_class]);
        }
    }
    expect_all_back();
}

/* --- claims ----------------------------------------------------------------------------------- */

static void an_idle_heap_is_claimed_once(void) {
    init();
    gi_heap *heap = &heaps[0];
    EXPECT(gi_heap_try_claim(heap));
    EXPECT(!gi_heap_try_claim(heap));
    EXPECT_EQ(gi_load_relaxed(&heap->status), GI_HEAP_CLAIMED);
    gi_heap_release_claim(heap);
    EXPECT_EQ(gi_load_relaxed(&heap->status), GI_HEAP_IDLE);
    gi_heap_activate(heap);
    EXPECT_EQ(gi_load_relaxed(&heap->status), GI_HEAP_ACTIVE);
    EXPECT(!gi_heap_try_claim(heap));
    gi_heap_idle(heap);
    EXPECT(gi_heap_try_claim(heap));
    gi_heap_release_claim(heap);
}

static size_t plain_word; /* what the owner and its helpers change in turns */
static struct shared activated;

static void *activate(void *arg) {
    (void)arg;
    gi_heap_activate(&heaps[0]);
    shared_set(&activated, 1);
    plain_word++;
    gi_heap_idle(&heaps[0]);
    return NULL;
}

static void attaching_waits_for_a_claim_to_end(void) {
    init();
    EXPECT(gi_heap_try_claim(&heaps[0]));
    pthread_t thread = thread_start(activate, NULL);
    for (int i = 0; i < 1000; i++) {
        EXPECT_EQ(shared_get(&activated), 0);
        sched_yield();
    }
    EXPECT_EQ(plain_word, 0);
    gi_heap_release_claim(&heaps[0]);
    thread_join(thread);
    EXPECT_EQ(plain_word, 1);
    EXPECT(gi_heap_try_claim(&heaps[0]));
}

static struct shared works_done;

static void *claim_and_work(void *arg) {
    const bool owner = *(const bool *)arg;
    for (size_t i = 0; i < ROUNDS(5000); i++) {
        if (owner) {
            gi_heap_activate(&heaps[0]);
            plain_word++;
            shared_add(&works_done, 1);
            gi_heap_idle(&heaps[0]);
        } else if (gi_heap_try_claim(&heaps[0])) {
            plain_word++;
            shared_add(&works_done, 1);
            gi_heap_release_claim(&heaps[0]);
        }
    }
    return NULL;
}

static void one_works_on_a_heap_at_a_time(void) {
    static bool owner[4] = {true, false, false, false};
    init();
    threads_run(LENGTH(owner), claim_and_work, owner, sizeof(owner[0]));
    EXPECT_EQ(plain_word, shared_get(&works_done));
    EXPECT(plain_word >= ROUNDS(5000));
}

/* --- adopt and orphan in many threads --------------------------------------------------------- */

struct worker {
    gi_heap *heap;
    gi_link *kept; /* blocks that it has taken */
};

/* Gives back what is in pools of the shared heap by now; the rest is in pools that others have adopted. */
static void give_what_is_shared(struct worker *self) {
    gi_link *rest = NULL;
    gi_pool *emptied = NULL;
    gi_mutex_lock(&gi_main_group.shared.mutex);
    for (gi_link *block = self->kept, *next; block != NULL; block = next) {
        next = block->next;
        if (heap_of(block) == GI_HEAP_SHARED_NUMBER) {
            give_into(&gi_main_group.shared, block, &emptied);
        } else {
            block->next = rest;
            rest = block;
        }
    }
    gi_mutex_unlock(&gi_main_group.shared.mutex);
    gi_heap_release_pools(emptied);
    self->kept = rest;
}

static void *adopt_and_orphan(void *arg) {
    struct worker *self = arg;
    for (size_t i = 0; i < ROUNDS(3000); i++) {
        unsigned size_class = CLASS + i % 2;
        gi_heap_adopt(self->heap, KIND, size_class);
        bool fresh;
        gi_link *blocks = take(self->heap, size_class, &fresh), *last = blocks;
        while (last->next != NULL) {
            last = last->next;
        }
        last->next = self->kept;
        self->kept = blocks;
        if (i % 3 != 0) {
            gi_heap_orphan(self->heap);
        }
        if (i % 8 == 0) {
            give_what_is_shared(self);
        }
    }
    gi_heap_orphan(self->heap);
    return NULL;
}

static void pools_are_adopted_and_orphaned_by_many_threads(void) {
    struct worker workers[LENGTH(heaps)];
    init();
    for (size_t i = 0; i < LENGTH(heaps); i++) {
        workers[i] = (struct worker){.heap = &heaps[i]};
    }
    threads_run(LENGTH(heaps), adopt_and_orphan, workers, sizeof(workers[0]));
    EXPECT_EQ(gi_heap_check_all(), 0);
    uint64_t orphaned = 0, adopted = 0;
    for (size_t i = 0; i < LENGTH(heaps); i++) {
        expect_counts(&heaps[i], 0, 0);
        orphaned += get(&heaps[i].orphaned);
        adopted += get(&heaps[i].adopted);
        give_what_is_shared(&workers[i]);
        EXPECT(workers[i].kept == NULL);
    }
    EXPECT(orphaned > 0);
    EXPECT_AT_MOST(adopted, orphaned);
    expect_all_back();
}

/* --- what is no block ------------------------------------------------------------------------- */

#define FREE_TEXT(message, block, advice)         \
    "Fatal gilloc error: PyObject_Free: " message \
    "\n"                                          \
    "  domain   object\n"                         \
    "  block    X, " block                        \
    "\n"                                          \
    "  found    later, as free blocks went back to their pool" advice

static gi_heap *heap_with_blocks(gi_link **blocks) {
    bool fresh;
    init();
    *blocks = take(&heaps[0], CLASS, &fresh);
    return &heaps[0];
}

static void give_the_inside_of_a_block(const void *arg) {
    (void)arg;
    gi_link *blocks;
    gi_heap *heap = heap_with_blocks(&blocks);
    give_list(heap, (gi_link *)((char *)blocks + GI_ALIGNMENT));
}

static void give_an_odd_address(const void *arg) {
    (void)arg;
    gi_link *blocks;
    gi_heap *heap = heap_with_blocks(&blocks);
    give_list(heap, (gi_link *)((char *)blocks + 1));
}

static void give_what_is_past_the_last_block(const void *arg) {
    (void)arg;
    gi_link *blocks;
    gi_heap *heap = heap_with_blocks(&blocks);
    char *pool = gi_address_pool(blocks)->memory;
    give(heap, (gi_link *)(pool + (CAPACITY - 1) * gi_class_size(CLASS)));
}

static void give_a_block_twice(const void *arg) {
    (void)arg;
    static gi_link *blocks[GI_POOL_SIZE / GI_ALIGNMENT];
    init();
    take_pools(&heaps[0], blocks, 1);
    gi_pool *emptied = NULL;
    for (size_t i = 0; i < CAPACITY; i++) {
        give_into(&heaps[0], blocks[i], &emptied);
    }
    give_into(&heaps[0], blocks[0], &emptied);
}

/* Two frees, one after the other, make a ring of the list. */
static void give_a_ring(const void *arg) {
    (void)arg;
    static gi_link *blocks[GI_POOL_SIZE / GI_ALIGNMENT];
    init();
    take_pools(&heaps[0], blocks, 1);
    blocks[0]->next = blocks[0];
    give_list(&heaps[0], blocks[0]);
}

static void report_a_double_free(const void *arg) {
    (void)arg;
    gi_link *blocks;
    heap_with_blocks(&blocks);
    gi_heap_double_free(gi_address_pool(blocks), blocks, "PyMem_Free");
}

/* --- planted faults --------------------------------------------------------------------------- */

/* A heap with a full pool and a partial one. */
static gi_link *planted[2 * GI_POOL_SIZE / GI_ALIGNMENT];

static gi_heap *plant(void) {
    init();
    take_pools(&heaps[0], planted, 2);
    give(&heaps[0], planted[CAPACITY]);
    EXPECT_EQ(gi_heap_check_all(), 0);
    EXPECT(heaps[0].full == gi_address_pool(planted[0]));
    EXPECT(first_partial(&heaps[0], CLASS) == gi_address_pool(planted[CAPACITY]));
    return &heaps[0];
}

static void the_check_finds_h1_in_a_pool(void) {
    gi_heap *heap = plant();
    gi_pool *partial = first_partial(heap, CLASS), *full = heap->full;
    full->full = false;
    EXPECT_BROKEN("H1", gi_heap_check_all());
    full->full = true;
    partial->full = true;
    EXPECT_BROKEN("H1", gi_heap_check_all());
    partial->full = false;
    EXPECT_EQ(gi_heap_check_all(), 0);
    /* Something is free in it, but it stayed among the full ones. */
    gi_pool_give(full, planted[0], planted[0], 1);
    gi_counter_sub(&heap->taken, 1);
    EXPECT_BROKEN("H1", gi_heap_check_all());
}

static void the_check_finds_h1_in_a_list(void) {
    gi_heap *heap = plant();
    gi_pool *partial = first_partial(heap, CLASS), *full = heap->full;
    full->prev = partial; /* badly linked */
    EXPECT_BROKEN("H1", gi_heap_check_all());
    full->prev = NULL;
    gi_store_relaxed(&heap->partial[KIND][CLASS + 1], partial); /* in the list of another class too */
    EXPECT_BROKEN("H1", gi_heap_check_all());
    gi_store_relaxed(&heap->partial[KIND][CLASS + 1], NULL);
    gi_store_relaxed(&heap->partial[!KIND][CLASS], partial); /* of another kind */
    EXPECT_BROKEN("H1", gi_heap_check_all());
    gi_store_relaxed(&heap->partial[!KIND][CLASS], NULL);
    heaps[1].full = full; /* of another heap */
    EXPECT_BROKEN("H1", gi_heap_check_all());
    heaps[1].full = NULL;
    EXPECT_EQ(gi_heap_check_all(), 0);
}

static void the_check_finds_a_pool_that_is_in_no_list(void) {
    gi_heap *heap = plant();
    gi_pool *partial = first_partial(heap, CLASS), *full = heap->full;
    gi_store_relaxed(&heap->partial[KIND][CLASS], NULL);
    EXPECT_BROKEN("H1", gi_heap_check_all());
    gi_store_relaxed(&heap->partial[KIND][CLASS], partial);
    heap->full = NULL;
    EXPECT_BROKEN("H1", gi_heap_check_all());
    heap->full = full;
    EXPECT_EQ(gi_heap_check_all(), 0);
}

static void the_check_finds_h2(void) {
    gi_heap *heap = plant();
    gi_page_word *word = gi_address_word(heap->full->memory);
    uint32_t right = gi_load_relaxed(word);
    const uint32_t wrong[] = {
        gi_word_make(heap->number, KIND, CLASS + 1),
        gi_word_make(heap->number, !KIND, CLASS),
        gi_word_make(gi_heap_last_number() + 1, KIND, CLASS),
        gi_word_make(GI_HEAP_NUMBERS - 1, KIND, CLASS),
    };
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        gi_store_relaxed(word, wrong[i]);
        EXPECT_BROKEN("H2", gi_heap_check_all());
    }
    gi_store_relaxed(word, gi_word_make(heaps[1].number, KIND, CLASS)); /* another heap than the one that lists it */
    EXPECT_BROKEN("H1", gi_heap_check_all());
    gi_store_relaxed(word, right);
    EXPECT_EQ(gi_heap_check_all(), 0);
}

static void the_check_finds_h3(void) {
    gi_heap *heap = plant();
    gi_counter *const counters[] = {&heap->pools, &heap->taken, &gi_main_group.shared.pools,
                                    &gi_main_group.shared.taken};
    for (size_t i = 0; i < LENGTH(counters); i++) {
        gi_counter_add(counters[i], 1);
        EXPECT_BROKEN("H3", gi_heap_check_all());
        gi_counter_sub(counters[i], 1);
        EXPECT_EQ(gi_heap_check_all(), 0);
    }
    /* The walk itself: a pool whose word says that it is none. */
    gi_page_word *word = gi_address_word(planted[0]);
    uint32_t right = gi_load_relaxed(word);
    heap->full = NULL;
    gi_store_relaxed(word, GI_WORD_NO_POOL);
    EXPECT_BROKEN("H3", gi_heap_check_all());
    gi_store_relaxed(word, right);
}

static void the_check_looks_into_each_pool(void) {
    gi_heap *heap = plant();
    gi_pool *partial = first_partial(heap, CLASS);
    partial->taken++;
    EXPECT_BROKEN("P1", gi_heap_check_all());
    partial->taken--;
    gi_link *free_block = partial->free;
    partial->free = (gi_link *)((char *)free_block + 8);
    EXPECT_BROKEN("P3", gi_heap_check_all());
    partial->free = free_block;
    EXPECT_EQ(gi_heap_check_all(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(heaps_have_numbers),
        IN_CHILD(a_new_heap_is_closed),
        IN_CHILD(numbers_come_to_an_end),
        IN_CHILD(a_number_needs_no_memory),
        IN_CHILD(blocks_are_taken_and_given),
        IN_CHILD(a_full_pool_is_served_again_when_a_block_comes_back),
        IN_CHILD(pools_that_emptied_are_the_callers),
        IN_CHILD(a_list_goes_back_by_pools),
        IN_CHILD(without_memory_there_is_no_pool),
        IN_CHILD(orphans_go_to_the_shared_heap_and_are_adopted),
        IN_CHILD(pools_of_all_classes_are_orphaned),
        IN_CHILD(an_idle_heap_is_claimed_once),
        IN_CHILD(attaching_waits_for_a_claim_to_end),
        IN_CHILD(one_works_on_a_heap_at_a_time),
        IN_CHILD(pools_are_adopted_and_orphaned_by_many_threads),
        DIES(give_the_inside_of_a_block, FREE_TEXT("invalid pointer", "inside one of blocks of 96 bytes",
                                                   "\n  do       free the pointer that the allocation returned\n")),
        DIES(give_an_odd_address, FREE_TEXT("invalid pointer", "inside one of blocks of 96 bytes",
                                            "\n  do       free the pointer that the allocation returned\n")),
        DIES(give_what_is_past_the_last_block,
             FREE_TEXT("invalid pointer", "past the last one of blocks of 96 bytes",
                       "\n  do       free the pointer that the allocation returned\n")),
        DIES(give_a_block_twice, FREE_TEXT("double free", "of 96 bytes",
                                           ", of which none is taken\n"
                                           "  do       free each block once\n")),
        DIES(give_a_ring, FREE_TEXT("double free", "of 96 bytes",
                                    ", of which none is taken\n"
                                    "  do       free each block once\n")),
        DIES(report_a_double_free,
             "Fatal gilloc error: PyMem_Free: double free\n"
             "  domain   object\n"
             "  block    X, of 96 bytes\n"
             "  found    later, as free blocks went back to their pool, of which none is taken\n"
             "  do       free each block once\n"),
        IN_CHILD(the_check_finds_h1_in_a_pool),
        IN_CHILD(the_check_finds_h1_in_a_list),
        IN_CHILD(the_check_finds_a_pool_that_is_in_no_list),
        IN_CHILD(the_check_finds_h2),
        IN_CHILD(the_check_finds_h3),
        IN_CHILD(the_check_looks_into_each_pool),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
