/* SPDX-License-Identifier: MIT */
/*
 * retired_test.c - deferred frees: what is put into a batch comes out once, unchanged, in any amount; when it is due;
 *                  what an ended thread leaves; memory for the list that the system refuses at each place; a reader.
 *   The blocks are addresses without memory, so that a write to one ends the test.
 */
#include "lib/cache/retired.h"

#include <stdlib.h>
#include <string.h>

#include "concurrency/rcu.h"
#include "lib/arena/arena.h"
#include "lib/arena/kind.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/memory.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define MANY 20000u
#define DOMAINS_MAX 16u

static gi_retired A, B;
static gi_heap_group *const group = &gi_main_group;

static uint64_t get(const gi_counter *counter) { return gi_load_relaxed(counter); }
static void set_limit(uint64_t limit) { gi_store_relaxed(&gi_retired_limit, limit); }

/* The n-th block: nobody may look into it. */
static void *block_of(size_t n) { return (void *)(uintptr_t)((n + 1) * GI_ALIGNMENT); }
static unsigned domain_of(size_t n) { return (unsigned)(n % DOMAINS_MAX); }

/* --- what has been freed ---------------------------------------------------------------------- */

static unsigned char freed[MANY + 1000]; /* how often */
static size_t frees;

static void note(const uintptr_t *words, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        size_t n = (words[i] & ~GI_RETIRED_DOMAIN) / GI_ALIGNMENT - 1;
        EXPECT(n < sizeof(freed));
        EXPECT_EQ(words[i] & GI_RETIRED_DOMAIN, domain_of(n));
        freed[n]++;
        frees++;
    }
}

static void expect_freed(size_t from, size_t to) {
    for (size_t n = from; n < to; n++) {
        EXPECT_EQ(freed[n], 1);
    }
}

static void expect_not_freed(size_t from, size_t to) {
    for (size_t n = from; n < to; n++) {
        EXPECT_EQ(freed[n], 0);
    }
}

/* Retires blocks from .. to - 1, of `bytes` each; whether the last one made it due. */
static bool push(gi_retired *retired, size_t from, size_t to, size_t bytes) {
    bool due = false;
    for (size_t n = from; n < to; n++) {
        due = gi_retired_push(retired, domain_of(n), block_of(n), bytes);
    }
    return due;
}

static void reclaim(gi_retired *retired) { gi_retired_reclaim(retired, group, false, note); }

static void init(void) { set_limit(UINT64_MAX); }

/* --- in and out ------------------------------------------------------------------------------- */

static void an_empty_batch_frees_nothing(void) {
    init();
    reclaim(&A);
    gi_retired_reclaim(&A, group, true, note);
    gi_retired_leave(&A, group);
    EXPECT_EQ(frees, 0);
    EXPECT_EQ(get(&A.grace_periods), 0);
    EXPECT_EQ(get(&group->waiting), 0);
}

static void each_block_comes_out_once_with_its_domain(void) {
    init();
    static const size_t counts[] = {1,    2,   GI_RETIRED_FIRST - 1, GI_RETIRED_FIRST, GI_RETIRED_FIRST + 1, 2109,
                                    2110, MANY};
    uint64_t blocks = 0;
    for (size_t i = 0; i < LENGTH(counts); i++) {
        memset(freed, 0, sizeof(freed));
        frees = 0;
        EXPECT(!push(&A, 0, counts[i], 48));
        EXPECT_EQ(frees, 0);
        EXPECT_EQ(get(&A.bytes), counts[i] * 48);
        reclaim(&A);
        EXPECT_EQ(frees, counts[i]);
        expect_freed(0, counts[i]);
        blocks += counts[i];
        EXPECT_EQ(get(&A.blocks), blocks);
        EXPECT_EQ(get(&A.bytes), 0);
        EXPECT_EQ(get(&A.lost), 0);
    }
    EXPECT_EQ(get(&A.grace_periods), 0); /* none was asked for */
}

static void a_grace_period_is_counted_if_it_was_waited_for(void) {
    init();
    for (size_t n = 0; n < 3; n++) {
        push(&A, n, n + 1, 16);
        gi_retired_reclaim(&A, group, true, note);
        EXPECT_EQ(get(&A.grace_periods), n + 1);
    }
    expect_freed(0, 3);
}

static void a_batch_is_due_above_the_limit(void) {
    init();
    set_limit(1000);
    EXPECT(!push(&A, 0, 1, 600));
    EXPECT(!push(&A, 1, 2, 400));
    EXPECT(push(&A, 2, 3, 1));
    EXPECT(push(&A, 3, 4, 0));
    reclaim(&A);
    EXPECT(!push(&A, 4, 5, 1000));
    set_limit(0);
    EXPECT(push(&A, 5, 6, 1));
    reclaim(&A);
    EXPECT(!push(&A, 6, 7, 0));
    set_limit(UINT64_MAX);
    EXPECT(!push(&A, 7, 8, (size_t)1 << 40));
    reclaim(&A);
    expect_freed(0, 8);
}

/* Chunks are used again: in the end no more are mapped than were. */
static void memory_for_the_list_is_bounded(void) {
    system_install();
    init();
    push(&A, 0, MANY, 16);
    reclaim(&A);
    size_t mapped = shared_get(&system_counts.mapped), made = shared_get(&system_counts.made[SYSTEM_MAP]);
    EXPECT_AT_MOST(mapped, 6 * 16384); /* a few spare ones */
    for (size_t round = 0; round < 100; round++) {
        memset(freed, 0, sizeof(freed));
        push(&A, 0, GI_RETIRED_FIRST + 2, 16);
        reclaim(&A);
    }
    EXPECT_EQ(shared_get(&system_counts.mapped), mapped);
    EXPECT_EQ(shared_get(&system_counts.made[SYSTEM_MAP]), made); /* from the spare ones */
    gi_retired_leave(&A, group);
    EXPECT_EQ(shared_get(&system_counts.mapped), 0);
}

/* --- frees that retire ------------------------------------------------------------------------ */

static size_t next_to_retire;

static void note_and_retire(const uintptr_t *words, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        note(&words[i], 1);
        if (next_to_retire < MANY) {
            push(&A, next_to_retire, next_to_retire + 1, 16);
            next_to_retire++;
        }
    }
}

static void a_free_may_retire(void) {
    init();
    static const size_t counts[] = {1, GI_RETIRED_FIRST, GI_RETIRED_FIRST + 1, 3000};
    for (size_t i = 0; i < LENGTH(counts); i++) {
        memset(freed, 0, sizeof(freed));
        next_to_retire = counts[i];
        push(&A, 0, counts[i], 16);
        for (size_t done = 0; done < 3; done++) {
            size_t before = next_to_retire;
            gi_retired_reclaim(&A, group, false, note_and_retire);
            expect_freed(0, before);
            expect_not_freed(before, next_to_retire);
            EXPECT_EQ(get(&A.bytes), (next_to_retire - before) * 16);
        }
        size_t end = next_to_retire;
        reclaim(&A);
        expect_freed(0, end);
        EXPECT_EQ(get(&A.bytes), 0);
    }
}

/* --- a thread ends ---------------------------------------------------------------------------- */

static void what_a_thread_leaves_others_free(void) {
    init();
    static const size_t counts[] = {1, GI_RETIRED_FIRST, GI_RETIRED_FIRST + 1, 5000};
    for (size_t i = 0; i < LENGTH(counts); i++) {
        memset(freed, 0, sizeof(freed));
        frees = 0;
        push(&A, 0, counts[i], 32);
        gi_retired_leave(&A, group);
        EXPECT_EQ(get(&A.bytes), 0);
        EXPECT_EQ(get(&group->waiting), counts[i] * 32);
        EXPECT(A.chunks == NULL && A.spare == NULL);
        push(&A, counts[i], counts[i] + 3, 32); /* the next thread of that state */
        gi_retired_leave(&A, group);
        push(&B, counts[i] + 3, counts[i] + 5, 32);
        EXPECT_EQ(frees, 0);
        reclaim(&B);
        expect_freed(0, counts[i] + 5);
        EXPECT_EQ(get(&group->waiting), 0);
        EXPECT_EQ(get(&B.bytes), 0);
    }
}

static void what_is_left_is_due_above_the_limit(void) {
    init();
    set_limit(1000);
    for (size_t n = 0; n < 10; n++) {
        push(&A, n, n + 1, 100);
        gi_retired_leave(&A, group);
        EXPECT(!gi_retired_is_due(group));
    }
    push(&A, 10, 11, 1);
    gi_retired_leave(&A, group);
    EXPECT(gi_retired_is_due(group));
    reclaim(&B);
    EXPECT(!gi_retired_is_due(group));
    expect_freed(0, 11);
}

#define LEAVERS 8
#define LEFT_EACH 500

static void *leave_many(void *arg) {
    size_t first = *(size_t *)arg;
    gi_retired *retired = calloc(1, sizeof(*retired));
    EXPECT(retired != NULL);
    for (size_t n = first; n < first + LEFT_EACH; n++) {
        push(retired, n, n + 1, 16);
        if (n % 50 == 0) {
            gi_retired_leave(retired, group);
        }
    }
    gi_retired_leave(retired, group);
    free(retired);
    return NULL;
}

static void several_threads_leave_at_once(void) {
    init();
    size_t firsts[LEAVERS];
    for (size_t i = 0; i < LEAVERS; i++) {
        firsts[i] = i * LEFT_EACH;
    }
    threads_run(LEAVERS, leave_many, firsts, sizeof(firsts[0]));
    EXPECT_EQ(get(&group->waiting), LEAVERS * LEFT_EACH * 16);
    reclaim(&B);
    expect_freed(0, LEAVERS * LEFT_EACH);
}

/* --- the system refuses ----------------------------------------------------------------------- */

static void refuse_maps(size_t at, size_t from) {
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true}, .at = at, .from = from});
}

/* Nothing but what is part of the batch: then each is lost, and counted. */
static void without_any_chunk_the_first_ones_wait_and_the_rest_is_lost(void) {
    system_install();
    init();
    refuse_maps(0, 1);
    EXPECT(!push(&A, 0, GI_RETIRED_FIRST, 16));
    EXPECT_EQ(get(&A.lost), 0);
    EXPECT(push(&A, GI_RETIRED_FIRST, GI_RETIRED_FIRST + 5, 16)); /* asks for a safepoint */
    EXPECT_EQ(get(&A.lost), 5);
    EXPECT_EQ(get(&A.blocks), GI_RETIRED_FIRST + 5);
    EXPECT_EQ(get(&A.bytes), GI_RETIRED_FIRST * 16); /* what is lost does not wait */
    reclaim(&A);
    EXPECT_EQ(frees, GI_RETIRED_FIRST);
    expect_freed(0, GI_RETIRED_FIRST);
    EXPECT(!push(&A, 1000, 1000 + GI_RETIRED_FIRST, 16)); /* room again */
    EXPECT_EQ(get(&A.lost), 5);
    reclaim(&A);
    expect_freed(1000, 1000 + GI_RETIRED_FIRST);
}

/* The spare chunk makes up for a refusal until it is full; due at once, so that a safepoint empties it. */
static void the_spare_chunk_serves_while_the_system_refuses(void) {
    system_install();
    init();
    push(&A, 0, GI_RETIRED_FIRST + 1, 16); /* maps a chunk and its spare */
    EXPECT_EQ(A.spares, 1);
    size_t capacity = A.chunks->capacity, room = GI_RETIRED_FIRST + 2 * capacity;
    refuse_maps(0, 1);
    EXPECT(!push(&A, GI_RETIRED_FIRST + 1, GI_RETIRED_FIRST + capacity, 16));
    EXPECT_EQ(A.spares, 1);
    EXPECT(push(&A, GI_RETIRED_FIRST + capacity, GI_RETIRED_FIRST + capacity + 1, 16)); /* the last one is begun: due */
    EXPECT_EQ(A.spares, 0);
    push(&A, GI_RETIRED_FIRST + capacity + 1, room, 16);
    EXPECT_EQ(get(&A.lost), 0);
    EXPECT(push(&A, room, room + 1, 16));
    EXPECT_EQ(get(&A.lost), 1);
    reclaim(&A);
    EXPECT_EQ(frees, room);
    expect_freed(0, room);
    EXPECT_EQ(A.spares, 2);
    /* As much again, though the system still refuses. */
    memset(freed, 0, sizeof(freed));
    push(&A, 0, room, 16);
    EXPECT_EQ(get(&A.lost), 1);
    reclaim(&A);
    expect_freed(0, room);
}

/* Each single refusal, at whatever place, loses nothing. */
static void one_refusal_loses_at_most_what_came_at_that_moment(void) {
    system_install();
    init();
    for (size_t at = 1; at < 8; at++) {
        memset(freed, 0, sizeof(freed));
        frees = 0;
        memset(&A, 0, sizeof(A));
        refuse_maps(at, 0);
        size_t lost = 0;
        for (size_t n = 0; n < 6000; n++) {
            if (push(&A, n, n + 1, 16) && get(&A.lost) == lost) {
                reclaim(&A); /* the safepoint that it asks for */
            }
            lost = get(&A.lost);
        }
        system_refuse(NULL);
        reclaim(&A);
        EXPECT_AT_MOST(get(&A.lost), 1);
        EXPECT_EQ(frees + get(&A.lost), 6000);
        EXPECT_EQ(get(&A.bytes), 0);
        EXPECT(at == 1 || get(&A.lost) == 0); /* the spare one was there */
        gi_retired_leave(&A, group);
    }
}

static void a_refused_hand_over_keeps_the_batch_for_the_next_thread(void) {
    system_install();
    init();
    push(&A, 0, GI_RETIRED_FIRST - 1, 16);
    refuse_maps(0, 1);
    gi_retired_leave(&A, group);
    EXPECT_EQ(get(&group->waiting), 0);
    EXPECT_EQ(get(&A.bytes), (GI_RETIRED_FIRST - 1) * 16);
    reclaim(&B);
    EXPECT_EQ(frees, 0);
    push(&A, GI_RETIRED_FIRST - 1, GI_RETIRED_FIRST, 16); /* the next one of that state goes on with it */
    EXPECT_EQ(get(&A.lost), 0);
    gi_retired_leave(&A, group); /* refused again */
    system_refuse(NULL);
    gi_retired_leave(&A, group);
    EXPECT_EQ(get(&A.bytes), 0);
    EXPECT_EQ(get(&group->waiting), GI_RETIRED_FIRST * 16);
    reclaim(&B);
    EXPECT_EQ(frees, GI_RETIRED_FIRST);
    expect_freed(0, GI_RETIRED_FIRST);
}

/* With chunks, these are handed over, by a spare one the first words too. */
static void a_refused_hand_over_of_much_hands_over_by_its_spare(void) {
    system_install();
    init();
    push(&A, 0, 3000, 16);
    EXPECT(A.spares > 0);
    refuse_maps(0, 1);
    gi_retired_leave(&A, group);
    EXPECT_EQ(get(&group->waiting), 3000 * 16);
    EXPECT_EQ(get(&A.bytes), 0);
    reclaim(&B);
    expect_freed(0, 3000);
}

/* --- limbo ------------------------------------------------------------------------------------ */

static unsigned stable_kind(void) {
    gi_address_map_init(64 * GI_ARENA_SIZE);
    init();
    int kind = gi_kind_make("stable", 8, true);
    EXPECT(kind >= 0);
    return (unsigned)kind;
}

/* All blocks of a new pool that the heap's first carving gives. */
static gi_link *take_pool(unsigned kind, gi_pool **pool) {
    gi_heap *heap = &group->shared;
    *pool = gi_heap_acquire_pool(heap, kind, 5);
    EXPECT(*pool != NULL);
    bool fresh;
    uint32_t count;
    gi_mutex_lock(&heap->mutex);
    gi_heap_add_pool(heap, *pool);
    gi_link *blocks = gi_heap_take(heap, kind, 5, &count, &fresh);
    gi_mutex_unlock(&heap->mutex);
    return blocks;
}

static void empty_pool(gi_link *blocks) {
    gi_heap *heap = &group->shared;
    gi_pool *emptied = NULL;
    gi_mutex_lock(&heap->mutex);
    while (blocks != NULL) {
        blocks = gi_heap_give(heap, blocks, &emptied, "test");
    }
    gi_mutex_unlock(&heap->mutex);
    EXPECT(emptied == NULL);
}

/* A pool of a type-stable kind that becomes empty waits in the group, and goes back with the next reclaim of anyone. */
static void an_empty_pool_of_a_type_stable_kind_waits(void) {
    unsigned kind = stable_kind();
    for (uint64_t round = 0; round < 3; round++) {
        gi_pool *pool;
        empty_pool(take_pool(kind, &pool));
        EXPECT(group->limbo == pool && pool->next == NULL);
        EXPECT_EQ(get(&group->waiting), GI_POOL_SIZE);
        EXPECT_EQ(get(&group->shared.pools), 0);
        EXPECT_EQ(get(&gi_arena_stats_now.pools_free), GI_ARENA_POOLS - 1);
        set_limit(GI_POOL_SIZE - 1);
        EXPECT(gi_retired_is_due(group));
        set_limit(GI_POOL_SIZE);
        EXPECT(!gi_retired_is_due(group));
        EXPECT_EQ(gi_arena_check() | gi_heap_check_all(), 0);
        gi_retired_reclaim(&A, group, true, note);
        EXPECT(group->limbo == NULL);
        EXPECT_EQ(get(&group->waiting), 0);
        EXPECT_EQ(get(&A.bytes), 0);
        EXPECT_EQ(get(&A.grace_periods), round + 1);
        EXPECT_EQ(get(&gi_arena_stats_now.pools_free), GI_ARENA_POOLS);
    }
    EXPECT_EQ(gi_arena_check() | gi_heap_check_all(), 0);
}

/* --- a reader --------------------------------------------------------------------------------- */

/* What a thread that is online looks at when another one's grace period has begun. */
struct reader {
    gi_link *late;       /* a pool's blocks, freed by the reader then */
    uint64_t pools_free; /* before */
    struct shared online, back;
};

static void *read_on(void *arg) {
    struct reader *reader = arg;
    gi_rcu_reader mine = gi_rcu_register();
    gi_rcu_online(mine);
    shared_set(&reader->online, 1);
    WAIT_UNTIL(*mine.counter != *gi_rcu_now || shared_get(&reader->back)); /* the other one waits for this thread, */
    EXPECT_EQ(shared_get(&reader->back), 0);                               /* as it must, */
    EXPECT_EQ(frees, 0);                                                   /* and has freed nothing before */
    EXPECT_EQ(get(&gi_arena_stats_now.pools_free), reader->pools_free);
    push(&B, 2, 3, 48);
    gi_retired_leave(&B, group);
    empty_pool(reader->late);
    gi_rcu_offline(mine);
    gi_rcu_unregister();
    return NULL;
}

/* A batch, what an ended thread left, a pool in limbo: all wait for the reader; and what comes while they wait, which
   another reader may have found since, waits for another grace period. */
static void all_that_is_retired_waits_for_a_reader(void) {
    unsigned kind = stable_kind();
    gi_pool *early, *late;
    static struct reader reader;
    gi_link *blocks = take_pool(kind, &early);
    reader.late = take_pool(kind, &late);
    empty_pool(blocks);
    EXPECT(group->limbo == early);
    reader.pools_free = get(&gi_arena_stats_now.pools_free);
    push(&B, 0, 1, 48);
    gi_retired_leave(&B, group);
    push(&A, 1, 2, 48);
    pthread_t thread = thread_start(read_on, &reader);
    WAIT_UNTIL(shared_get(&reader.online));
    gi_retired_reclaim(&A, group, true, note);
    shared_set(&reader.back, 1);
    thread_join(thread);
    EXPECT_EQ(frees, 2);
    expect_freed(0, 2);
    EXPECT_EQ(get(&gi_arena_stats_now.pools_free), reader.pools_free + 1);
    EXPECT(group->limbo == late && late->next == NULL);
    EXPECT_EQ(get(&group->waiting), GI_POOL_SIZE + 48);
    gi_retired_reclaim(&A, group, true, note);
    EXPECT_EQ(frees, 3);
    expect_freed(0, 3);
    EXPECT(group->limbo == NULL);
    EXPECT_EQ(get(&group->waiting), 0);
    EXPECT_EQ(get(&A.grace_periods), 2);
    EXPECT_EQ(get(&gi_arena_stats_now.pools_free), reader.pools_free + 2);
    EXPECT_EQ(gi_arena_check() | gi_heap_check_all(), 0);
}

/* --- assertions ------------------------------------------------------------------------------- */

static void a_block_that_is_not_aligned(void) { gi_retired_push(&A, 1, (void *)24, 16); }

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(an_empty_batch_frees_nothing),
        IN_CHILD(each_block_comes_out_once_with_its_domain),
        IN_CHILD(a_grace_period_is_counted_if_it_was_waited_for),
        IN_CHILD(a_batch_is_due_above_the_limit),
        IN_CHILD(memory_for_the_list_is_bounded),
        IN_CHILD(a_free_may_retire),
        IN_CHILD(what_a_thread_leaves_others_free),
        IN_CHILD(what_is_left_is_due_above_the_limit),
        IN_CHILD(several_threads_leave_at_once),
        IN_CHILD(without_any_chunk_the_first_ones_wait_and_the_rest_is_lost),
        IN_CHILD(the_spare_chunk_serves_while_the_system_refuses),
        IN_CHILD(one_refusal_loses_at_most_what_came_at_that_moment),
        IN_CHILD(a_refused_hand_over_keeps_the_batch_for_the_next_thread),
        IN_CHILD(a_refused_hand_over_of_much_hands_over_by_its_spare),
        IN_CHILD(an_empty_pool_of_a_type_stable_kind_waits),
        IN_CHILD(all_that_is_retired_waits_for_a_reader),
        FAILS_ASSERTION(a_block_that_is_not_aligned,
                        "((uintptr_t)block & GI_RETIRED_DOMAIN) == 0 && domain <= GI_RETIRED_DOMAIN"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
