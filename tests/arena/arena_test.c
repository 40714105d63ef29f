/* SPDX-License-Identifier: MIT */
/*
 * arena_test.c - pools come from the fullest arena, and memory goes back: empty arenas but for one, used pools of busy
 *                arenas past a limit; arenas of a user; faults that the check must find.
 *   Pools are taken and given by hand here, with the page word of a heap that does not exist.
 */
#include "lib/arena/arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/arena/address_map.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

#define RESERVE (256 * GI_ARENA_SIZE)
#define POOLS ((size_t)GI_ARENA_POOLS)
#define CLASS 3u
#define WORD gi_word_make(GI_HEAP_NUMBERS - 2, GI_KIND_OBJECT, CLASS)

static void init(void) { gi_address_map_init(RESERVE); }

static uint64_t get(const gi_counter *counter) { return gi_load_relaxed(counter); }
static const gi_arena_stats *stats(void) { return &gi_arena_stats_now; }
static uint32_t word_of(const gi_pool *pool) { return gi_load_relaxed(gi_address_word(pool->memory)); }

/* --- pools by hand ---------------------------------------------------------------------------- */

static gi_pool *acquire(void) {
    gi_pool *pool = gi_arena_acquire_pool(CLASS, GI_KIND_OBJECT, WORD);
    if (pool != NULL) {
        EXPECT_EQ(word_of(pool), WORD);
        EXPECT_EQ(pool->size_class, CLASS);
        EXPECT_EQ(pool->kind, GI_KIND_OBJECT);
        EXPECT_EQ(pool->taken, 0);
        EXPECT_EQ(pool->carved, 0);
        EXPECT_EQ((uintptr_t)pool->memory % GI_POOL_SIZE, 0);
        EXPECT(pool->memory >= pool->arena->memory);
        EXPECT(pool->memory + GI_POOL_SIZE <= pool->arena->memory + GI_ARENA_SIZE);
        EXPECT(gi_address_pool(pool->memory) == pool);
    }
    return pool;
}

/* A program has written to all of it, and it goes back. */
static void release(gi_pool *pool) {
    memset(pool->memory, 0xA5, GI_POOL_SIZE);
    gi_arena_release_pool(pool);
}

static void acquire_many(gi_pool **pools, size_t count) {
    for (size_t i = 0; i < count; i++) {
        pools[i] = acquire();
        EXPECT(pools[i] != NULL);
    }
}

static void release_many(gi_pool *const *pools, size_t count) {
    for (size_t i = 0; i < count; i++) {
        release(pools[i]);
    }
}

static bool is_zero(const gi_pool *pool) {
    return pool->memory[0] == 0 && memcmp(pool->memory, pool->memory + 1, GI_POOL_SIZE - 1) == 0;
}

/* What the manager holds of the system, by its figures. */
static uint64_t bytes_held(void) { return get(&stats()->bytes_from_system) - get(&stats()->bytes_to_system); }

/* Everything has come back. */
static void expect_all_back(void) {
    EXPECT_EQ(gi_arena_check(), 0);
    gi_arena_purge();
    EXPECT_EQ(gi_arena_check(), 0);
    EXPECT_EQ(get(&stats()->arenas), 0);
    EXPECT_EQ(get(&stats()->pools_free), 0);
    EXPECT_EQ(get(&stats()->pools_dirty), 0);
    EXPECT_EQ(get(&stats()->acquired), get(&stats()->released));
    EXPECT_EQ(bytes_held(), 0);
    EXPECT_EQ(gi_arena_purge(), 0);
}

/* --- which pool ------------------------------------------------------------------------------- */

static void an_arena_is_used_up_before_the_next(void) {
    gi_pool *pools[3 * POOLS];
    init();
    acquire_many(pools, LENGTH(pools));
    for (size_t i = 0; i < LENGTH(pools); i++) {
        EXPECT(pools[i]->arena == pools[i / POOLS * POOLS]->arena);
        EXPECT(pools[i]->zero && is_zero(pools[i]));
        memset(pools[i]->memory, 1, GI_POOL_SIZE); /* apart from all others */
    }
    EXPECT(pools[0]->arena != pools[POOLS]->arena && pools[POOLS]->arena != pools[2 * POOLS]->arena);
    EXPECT_EQ(get(&stats()->arenas), 3);
    EXPECT_EQ(get(&stats()->arenas_high), 3);
    EXPECT_EQ(get(&stats()->pools_free), 0);
    EXPECT_EQ(bytes_held(), 3 * GI_ARENA_SIZE);
    EXPECT_EQ(gi_arena_check(), 0);
    release_many(pools, LENGTH(pools));
    expect_all_back();
}

static void the_fullest_arena_is_served_first(void) {
    gi_pool *pools[4 * POOLS];
    /* Free pools of each arena; the order in which they are served. */
    static const size_t free_pools[4] = {5, 1, 3, 2}, order[4] = {1, 3, 2, 0};
    const gi_arena *arenas[4];
    init();
    acquire_many(pools, LENGTH(pools));
    for (size_t a = 0; a < 4; a++) {
        arenas[a] = pools[a * POOLS]->arena;
        release_many(&pools[a * POOLS], free_pools[a]);
    }
    if (get(&stats()->pools_dirty) != get(&stats()->pools_free)) {
        gi_arena_purge(); /* hostile builds have decommitted some of them: so all, for used ones come first */
    }
    EXPECT_EQ(gi_arena_check(), 0);
    for (size_t i = 0; i < 4; i++) {
        for (size_t n = 0; n < free_pools[order[i]]; n++) {
            gi_pool *pool = acquire();
            EXPECT(pool->arena == arenas[order[i]]);
            pools[order[i] * POOLS + n] = pool;
            EXPECT_EQ(gi_arena_check(), 0);
        }
    }
    EXPECT_EQ(get(&stats()->arenas), 4);
    release_many(pools, LENGTH(pools));
    expect_all_back();
}

static void a_used_pool_is_served_before_one_never_used(void) {
    init();
    gi_pool *first = acquire(), *second = acquire(), *third = acquire();
    char *memory = second->memory;
    release(second);
    EXPECT_EQ(get(&stats()->pools_dirty), 1);
    gi_pool *again = acquire();
    EXPECT(again->memory == memory);
    EXPECT(!again->zero); /* it is as it was left */
    EXPECT_EQ(get(&stats()->pools_dirty), 0);
    gi_pool *fresh = acquire();
    EXPECT(fresh->zero && is_zero(fresh));
    release(first);
    release(again);
    release(third);
    release(fresh);
    expect_all_back();
}

/* Though that one's arena is fuller. */
static void a_used_pool_of_any_arena_is_served_before_one_never_used(void) {
    gi_pool *pools[POOLS + POOLS / 2];
    const size_t used = POOLS / 2 + 1;
    init();
    acquire_many(pools, LENGTH(pools));
    release_many(pools, used);
    uint64_t dirty = get(&stats()->pools_dirty);
    EXPECT(dirty > 0);
    EXPECT(pools[0]->arena->free_count > pools[POOLS]->arena->free_count);
    for (size_t i = 0; i < used; i++) {
        pools[i] = acquire();
        EXPECT_EQ(!pools[i]->zero, i < dirty);
        EXPECT_EQ(gi_arena_check(), 0);
    }
    release_many(pools, LENGTH(pools));
    expect_all_back();
}

/* Though it lies behind one that is free and zero. */
static void a_used_pool_is_served_before_one_given_back(void) {
    init();
    gi_pool *first = acquire(), *second = acquire(), *third = acquire();
    char *memory = third->memory;
    release(first);
    gi_arena_purge();
    release(third);
    third = acquire();
    EXPECT(third->memory == memory && !third->zero);
    first = acquire();
    EXPECT(first->zero && is_zero(first));
    release(first);
    release(second);
    release(third);
    expect_all_back();
}

/* --- memory goes back ------------------------------------------------------------------------- */

static void one_empty_arena_is_kept(void) {
    gi_pool *pools[3 * POOLS];
    init();
    acquire_many(pools, LENGTH(pools));
    release_many(pools, POOLS);
    EXPECT_EQ(get(&stats()->arenas), 3); /* the first one to be empty stays */
    release_many(&pools[POOLS], POOLS);
    EXPECT_EQ(get(&stats()->arenas), 2);
    release_many(&pools[2 * POOLS], POOLS);
    EXPECT_EQ(get(&stats()->arenas), 1);
    EXPECT_EQ(get(&stats()->released), 2);
    EXPECT_EQ(gi_arena_check(), 0);
    /* It is what keeps an arena from coming and going at each call. */
    uint64_t acquired = get(&stats()->acquired);
    for (int i = 0; i < 10; i++) {
        release(acquire());
    }
    EXPECT_EQ(get(&stats()->acquired), acquired);
    EXPECT_EQ(get(&stats()->arenas_high), 3);
    expect_all_back();
}

/* Pages of arenas that are gone are nobody's, and come again with another arena. */
static void a_returned_arena_leaves_no_trace(void) {
    gi_pool *pools[POOLS];
    init();
    for (int round = 0; round < 3; round++) {
        acquire_many(pools, POOLS);
        char *memory = pools[0]->arena->memory;
        release_many(pools, POOLS);
        for (size_t i = 0; i < POOLS; i++) {
            EXPECT_EQ(gi_load_relaxed(gi_address_word(memory + i * GI_POOL_SIZE)), GI_WORD_NO_POOL);
        }
        expect_all_back();
        for (size_t i = 0; i < POOLS; i++) {
            EXPECT_EQ(gi_load_relaxed(gi_address_word(memory + i * GI_POOL_SIZE)), GI_WORD_NO_ARENA);
        }
    }
}

#define BUSY_ARENAS 40u

/* One pool of each of many arenas stays in use, so that no arena can go back whole.  What is released is bounded all
   the same.  The most that was dirty at one time. */
static uint64_t leave_one_pool_in_each(gi_pool **pools) {
    uint64_t most = 0;
    acquire_many(pools, BUSY_ARENAS * POOLS);
    for (size_t i = 0; i < BUSY_ARENAS * POOLS; i++) {
        if (i % POOLS != 0) {
            release(pools[i]);
            uint64_t dirty = get(&stats()->pools_dirty);
            most = dirty > most ? dirty : most;
        }
    }
    EXPECT_EQ(get(&stats()->arenas), BUSY_ARENAS);
    EXPECT_EQ(gi_arena_check(), 0);
    return most;
}

static void release_the_rest(gi_pool **pools) {
    for (size_t i = 0; i < BUSY_ARENAS * POOLS; i += POOLS) {
        EXPECT_EQ((unsigned char)pools[i]->memory[0], 0x11);
        EXPECT_EQ((unsigned char)pools[i]->memory[GI_POOL_SIZE - 1], 0x11);
        release(pools[i]);
    }
}

static void mark_the_rest(gi_pool **pools) {
    for (size_t i = 0; i < BUSY_ARENAS * POOLS; i += POOLS) {
        memset(pools[i]->memory, 0x11, GI_POOL_SIZE);
    }
}

static void used_pools_of_busy_arenas_are_decommitted_past_a_limit(void) {
    static gi_pool *pools[BUSY_ARENAS * POOLS];
    system_install();
    init();
    /* What a sixteenth of the pools in use allows, and a constant below a quarter of what was released. */
    uint64_t most = leave_one_pool_in_each(pools);
    EXPECT_AT_MOST(most, BUSY_ARENAS * POOLS / 4);
    EXPECT(shared_get(&system_counts.made[SYSTEM_ADVISE]) > 0);
    EXPECT(bytes_held() < BUSY_ARENAS * GI_ARENA_SIZE);
    mark_the_rest(pools);
    /* What was decommitted is zero and known to be, and counts as taken from the system again. */
    uint64_t free_pools = get(&stats()->pools_free);
    gi_pool **again = calloc(free_pools, sizeof(gi_pool *));
    EXPECT(again != NULL);
    size_t zero = 0;
    for (uint64_t i = 0; i < free_pools; i++) {
        again[i] = acquire();
        EXPECT(again[i]->zero == is_zero(again[i]));
        zero += again[i]->zero;
    }
    EXPECT(zero > free_pools / 2);
    EXPECT_EQ(get(&stats()->arenas), BUSY_ARENAS);
    EXPECT_EQ(bytes_held(), BUSY_ARENAS * GI_ARENA_SIZE);
    release_many(again, free_pools);
    release_the_rest(pools);
    free(again);
    expect_all_back();
}

static void a_system_that_takes_nothing_back_ends_nothing(void) {
    static gi_pool *pools[BUSY_ARENAS * POOLS];
    system_install();
    init();
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_ADVISE] = true}, .from = 1});
    leave_one_pool_in_each(pools);
    EXPECT_EQ(get(&stats()->pools_dirty), BUSY_ARENAS * (POOLS - 1)); /* all of them, still */
    EXPECT(shared_get(&system_counts.refused) > 0);
    EXPECT_EQ(gi_arena_purge(), 0); /* it tries each arena once */
    EXPECT_EQ(gi_arena_check(), 0);
    EXPECT_EQ(bytes_held(), BUSY_ARENAS * GI_ARENA_SIZE);
    gi_pool *pool = acquire();
    EXPECT(!pool->zero && !is_zero(pool)); /* never taken for zero */
    system_refuse(NULL);
    release(pool);
    mark_the_rest(pools);
    release_the_rest(pools);
    expect_all_back();
}

static void purge_gives_back_all_but_what_is_in_use(void) {
    static gi_pool *pools[BUSY_ARENAS * POOLS];
    init();
    leave_one_pool_in_each(pools);
    mark_the_rest(pools);
    uint64_t held = bytes_held();
    EXPECT(get(&stats()->pools_dirty) > 0);
    EXPECT_EQ(gi_arena_purge(), held - bytes_held());
    EXPECT_EQ(get(&stats()->pools_dirty), 0);
    EXPECT_EQ(get(&stats()->arenas), BUSY_ARENAS);
    EXPECT_EQ(bytes_held(), BUSY_ARENAS * GI_POOL_SIZE);
    EXPECT_EQ(gi_arena_check(), 0);
    EXPECT_EQ(gi_arena_purge(), 0);
    /* An arena that has become empty goes too, the spare one included. */
    gi_pool *last = pools[0];
    pools[0] = pools[POOLS];
    release(last);
    EXPECT_EQ(gi_arena_purge(), GI_POOL_SIZE);
    EXPECT_EQ(get(&stats()->arenas), BUSY_ARENAS - 1);
    pools[0] = acquire();
    EXPECT(pools[0]->zero && is_zero(pools[0]));
    memset(pools[0]->memory, 0x11, GI_POOL_SIZE);
    release_the_rest(pools);
    expect_all_back();
}

/* --- without a reservation, without memory ---------------------------------------------------- */

static void without_a_reservation_arenas_are_mapped_and_lose_no_pool(void) {
    gi_pool *pools[3 * POOLS];
    system_install();
    gi_address_map_init(0);
    acquire_many(pools, LENGTH(pools)); /* the windows are made now, if they stay where they are */
    release_many(pools, LENGTH(pools));
    expect_all_back();
    size_t before = shared_get(&system_counts.mapped);
    acquire_many(pools, LENGTH(pools));
    for (size_t i = 0; i < LENGTH(pools); i++) {
        EXPECT_EQ(pools[i]->arena->pool_count, POOLS);
        EXPECT_EQ((uintptr_t)pools[i]->arena->memory % GI_POOL_SIZE, 0);
        EXPECT(pools[i]->zero && is_zero(pools[i]));
    }
    EXPECT_EQ(get(&stats()->arenas), 3);
    /* Whole arenas and nothing beside; a window, should one be needed, is larger than all of them. */
    size_t mapped = shared_get(&system_counts.mapped) - before;
    EXPECT(mapped == 3 * GI_ARENA_SIZE || mapped > (size_t)1 << 20);
    release_many(pools, LENGTH(pools));
    expect_all_back();
    EXPECT_EQ(before + mapped - shared_get(&system_counts.mapped), 3 * GI_ARENA_SIZE);
}

static void after_the_reservation_arenas_are_mapped(void) {
    size_t count = (RESERVE / GI_ARENA_SIZE + 2) * POOLS;
    gi_pool **pools = calloc(count, sizeof(gi_pool *));
    EXPECT(pools != NULL);
    init();
    for (size_t i = 0; i < count; i++) {
        pools[i] = acquire();
        EXPECT(pools[i] != NULL);
    }
    size_t outside = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t page = gi_address_page((uintptr_t)gi_os_reservation()->base, pools[i]->memory);
        outside += page >= gi_address_map_pages();
        gi_arena_release_pool(pools[i]);
    }
    EXPECT(outside >= 2 * POOLS);
    expect_all_back();
    free(pools);
}

static void expect_no_pool_without_memory(size_t reserve) {
    system_install();
    gi_address_map_init(reserve);
    system_refuse_all();
    EXPECT(acquire() == NULL);
    EXPECT(acquire() == NULL);
    EXPECT_EQ(gi_arena_check(), 0);
    bool refused_one = false;
    for (size_t k = 1; k < 12; k++) { /* each call that an arena takes is refused once */
        system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true, [SYSTEM_PROTECT] = true}, .at = k});
        gi_pool *pool = acquire();
        EXPECT(pool != NULL || shared_get(&system_counts.refused) > 0);
        EXPECT_EQ(gi_arena_check(), 0);
        if (pool != NULL) {
            release(pool);
        }
        refused_one |= pool == NULL;
        EXPECT_AT_MOST(get(&stats()->arenas), 1);
        expect_all_back();
    }
    EXPECT(refused_one);
    system_refuse(NULL);
    gi_pool *pool = acquire();
    EXPECT(pool != NULL);
    release(pool);
    expect_all_back();
}

static void without_memory_there_is_no_pool(void) { expect_no_pool_without_memory(RESERVE); }
static void without_memory_and_reservation_there_is_no_pool(void) { expect_no_pool_without_memory(0); }

/* --- arenas of a user ------------------------------------------------------------------------- */

#define USER_ARENAS 8

struct user {
    size_t misalign;
    char *maps[USER_ARENAS];
    bool alive[USER_ARENAS];
    size_t given, returned, refuse_from;
};

static void *user_alloc(void *ctx, size_t size) {
    struct user *user = ctx;
    EXPECT_EQ(size, GI_ARENA_SIZE);
    if (user->refuse_from != 0 && user->given + 1 >= user->refuse_from) {
        return NULL;
    }
    size_t i = user->given++;
    EXPECT(i < USER_ARENAS);
    user->maps[i] = mmap(NULL, size + 2 * GI_POOL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(user->maps[i] != MAP_FAILED);
    memset(user->maps[i], 0xA5, size + 2 * GI_POOL_SIZE);
    user->alive[i] = true;
    /* Exactly so far from a multiple of a pool. */
    uintptr_t start = ((uintptr_t)user->maps[i] + GI_POOL_SIZE - 1) & ~(uintptr_t)(GI_POOL_SIZE - 1);
    return (char *)start + user->misalign;
}

static void user_free(void *ctx, void *memory, size_t size) {
    struct user *user = ctx;
    EXPECT_EQ(size, GI_ARENA_SIZE);
    for (size_t i = 0; i < user->given; i++) {
        char *map = user->maps[i];
        if ((char *)memory >= map && (char *)memory < map + 2 * GI_POOL_SIZE) {
            EXPECT(user->alive[i]);
            EXPECT_EQ((uintptr_t)memory % GI_POOL_SIZE, user->misalign);
            /* Nobody has written outside. */
            for (char *at = map; at < map + size + 2 * GI_POOL_SIZE; at++) {
                if (at < (char *)memory || at >= (char *)memory + size) {
                    EXPECT_EQ((unsigned char)*at, 0xA5);
                }
            }
            user->alive[i] = false;
            user->returned++;
            return;
        }
    }
    expect_failed(__FILE__, __LINE__, "%p is no arena of mine", memory);
}

static void user_install(struct user *user) {
    gi_arena_set_allocator(&(gi_arena_allocator){user, user_alloc, user_free});
}

static void user_unmap(struct user *user) {
    for (size_t i = 0; i < user->given; i++) {
        munmap(user->maps[i], GI_ARENA_SIZE + 2 * GI_POOL_SIZE);
    }
}

static void arenas_of_a_user_may_lie_anywhere(void) {
    static const size_t misaligns[] = {0, 1, 8, 16, GI_POOL_SIZE / 4, GI_POOL_SIZE / 2 + 1, GI_POOL_SIZE - 1};
    system_install();
    init();
    for (size_t m = 0; m < LENGTH(misaligns); m++) {
        struct user user = {.misalign = misaligns[m]};
        size_t pool_count = misaligns[m] == 0 ? POOLS : POOLS - 1;
        gi_pool *pools[3 * POOLS];
        user_install(&user);
        acquire_many(pools, 3 * pool_count);
        EXPECT_EQ(user.given, 3);
        EXPECT_EQ(get(&stats()->arenas), 3);
        for (size_t i = 0; i < 3 * pool_count; i++) {
            EXPECT_EQ(pools[i]->arena->pool_count, pool_count);
            EXPECT(!pools[i]->zero); /* never trusted */
            memset(pools[i]->memory, 0x33, GI_POOL_SIZE);
        }
        EXPECT_EQ(gi_arena_check(), 0);
        size_t advised = shared_get(&system_counts.made[SYSTEM_ADVISE]);
        release_many(pools, 3 * pool_count - 1);
        EXPECT_EQ(user.returned, 1); /* one is kept, one is in use */
        EXPECT_EQ(get(&stats()->pools_dirty), 0);
        gi_arena_purge();
        EXPECT_EQ(user.returned, 2);
        release(pools[3 * pool_count - 1]);
        gi_arena_purge();
        EXPECT_EQ(user.returned, 3);
        EXPECT_EQ(shared_get(&system_counts.made[SYSTEM_ADVISE]), advised); /* never decommitted */
        expect_all_back();
        user_unmap(&user);
    }
}

static void an_arena_goes_back_to_the_allocator_that_gave_it(void) {
    struct user one = {.misalign = 0}, two = {.misalign = 64};
    gi_pool *pools[3 * POOLS];
    init();
    gi_arena_allocator first, now;
    gi_arena_get_allocator(&first);
    EXPECT(first.alloc != NULL && first.free != NULL);
    acquire_many(pools, POOLS); /* of the default one */
    user_install(&one);
    gi_arena_get_allocator(&now);
    EXPECT(now.ctx == &one && now.alloc == user_alloc && now.free == user_free);
    acquire_many(&pools[POOLS], POOLS);
    user_install(&two);
    acquire_many(&pools[2 * POOLS], POOLS - 1);
    gi_arena_set_allocator(&first);
    EXPECT_EQ(one.given, 1);
    EXPECT_EQ(two.given, 1);
    release_many(&pools[2 * POOLS], POOLS - 1);
    release_many(pools, 2 * POOLS);
    expect_all_back();
    EXPECT_EQ(one.returned, 1);
    EXPECT_EQ(two.returned, 1);
    user_unmap(&one);
    user_unmap(&two);
}

static void a_user_may_have_no_arena(void) {
    struct user user = {.misalign = 0, .refuse_from = 2};
    gi_pool *pools[POOLS];
    init();
    user_install(&user);
    acquire_many(pools, POOLS);
    EXPECT(acquire() == NULL);
    EXPECT(acquire() == NULL);
    EXPECT_EQ(gi_arena_check(), 0);
    release(pools[0]);
    pools[0] = acquire(); /* what there is goes on */
    EXPECT(pools[0] != NULL);
    release_many(pools, POOLS);
    expect_all_back();
    user_unmap(&user);
}

static size_t strange_returns;
static void *const strange = (void *)((uintptr_t)1 << 47); /* no program has such an address */

static void *strange_alloc(void *ctx, size_t size) {
    (void)ctx;
    (void)size;
    return strange;
}

static void strange_free(void *ctx, void *memory, size_t size) {
    EXPECT(ctx == &strange_returns);
    EXPECT(memory == strange);
    EXPECT_EQ(size, GI_ARENA_SIZE);
    strange_returns++;
}

static void an_address_that_cannot_be_covered_goes_back_at_once(void) {
    system_install();
    init();
    gi_arena_set_allocator(&(gi_arena_allocator){&strange_returns, strange_alloc, strange_free});
    size_t maps = 0;
    for (size_t i = 1; i <= 5000; i++) {
        EXPECT(acquire() == NULL);
        EXPECT_EQ(strange_returns, i);
        maps = i == 1 ? shared_get(&system_counts.made[SYSTEM_MAP]) : maps;
    }
    EXPECT_EQ(shared_get(&system_counts.made[SYSTEM_MAP]), maps); /* it takes nothing to fail */
    EXPECT_EQ(gi_arena_check(), 0);
    EXPECT_EQ(get(&stats()->arenas), 0);
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#ifdef GI_HOSTILE
#define ARENA_BYTES 32768
#else
#define ARENA_BYTES 262144
#endif
_Static_assert(ARENA_BYTES == GI_ARENA_SIZE, "the text below says so");
#define ARENA_IN_USE \
    "Fatal gilloc error: PyObjectArenaAllocator.alloc: memory that is in use already\n" \
    "  arena    X, " STRING(ARENA_BYTES) " bytes\n"                               \
    "  do       return each arena once until it has been freed\n"

static void *same_alloc(void *ctx, size_t size) {
    (void)size;
    return ctx;
}

static void keep_it(void *ctx, void *memory, size_t size) {
    (void)ctx;
    (void)memory;
    (void)size;
}

static void return_an_arena_twice(const void *arg) {
    (void)arg;
    static gi_pool *pools[POOLS];
    init();
    void *memory = mmap((void *)((uintptr_t)0x10 << 40), GI_ARENA_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    gi_arena_set_allocator(&(gi_arena_allocator){memory, same_alloc, keep_it});
    acquire_many(pools, POOLS - 1);
    acquire();
    acquire();
}

/* Half of it is in an arena already. */
static void return_overlapping_arenas(const void *arg) {
    (void)arg;
    static gi_pool *pools[POOLS];
    init();
    char *memory = mmap(NULL, 2 * GI_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT((void *)memory != MAP_FAILED);
    gi_arena_set_allocator(&(gi_arena_allocator){memory, same_alloc, keep_it});
    acquire_many(pools, POOLS - 1);
    gi_arena_set_allocator(&(gi_arena_allocator){memory + GI_ARENA_SIZE / 2, same_alloc, keep_it});
    acquire();
    acquire();
    acquire();
}

/* --- the walk --------------------------------------------------------------------------------- */

struct seen {
    gi_pool *pools[3 * GI_ARENA_POOLS];
    size_t count, end_at;
};

static int see(gi_pool *pool, void *arg) {
    struct seen *seen = arg;
    EXPECT(seen->count < LENGTH(seen->pools));
    seen->pools[seen->count++] = pool;
    return seen->count == seen->end_at ? 7 : 0;
}

static void the_walk_visits_each_pool_in_use_once(void) {
    struct user user = {.misalign = 8};
    gi_pool *pools[3 * POOLS];
    struct seen seen = {.count = 0};
    init();
    EXPECT_EQ(gi_arena_walk(see, &seen), 0);
    EXPECT_EQ(seen.count, 0);
    acquire_many(pools, POOLS + 3);
    user_install(&user);
    acquire_many(&pools[POOLS + 3], POOLS - 3 + 5);
    for (size_t i = 0; i < 2 * POOLS + 5; i += 3) { /* some are free */
        release(pools[i]);
        pools[i] = NULL;
    }
    EXPECT_EQ(gi_arena_walk(see, &seen), 0);
    size_t in_use = 0;
    for (size_t i = 0; i < 2 * POOLS + 5; i++) {
        size_t times = 0;
        for (size_t j = 0; j < seen.count; j++) {
            times += pools[i] != NULL && seen.pools[j] == pools[i];
        }
        EXPECT_EQ(times, pools[i] != NULL);
        in_use += times;
    }
    EXPECT_EQ(seen.count, in_use);
    for (size_t end_at = 1; end_at <= in_use; end_at += in_use - 1) {
        seen = (struct seen){.end_at = end_at};
        EXPECT_EQ(gi_arena_walk(see, &seen), 7);
        EXPECT_EQ(seen.count, end_at);
    }
    for (size_t i = 0; i < 2 * POOLS + 5; i++) {
        if (pools[i] != NULL) {
            release(pools[i]);
        }
    }
    expect_all_back();
    user_unmap(&user);
}

/* --- planted faults --------------------------------------------------------------------------- */

/* An arena with pools in use, dirty ones and fresh ones; two others, full and empty. */
static gi_arena *plant(void) {
    static gi_pool *pools[2 * POOLS];
    init();
    acquire_many(pools, POOLS);
    acquire_many(&pools[POOLS], 5);
    release_many(&pools[POOLS + 1], 2);
    EXPECT_EQ(gi_arena_check(), 0);
    return pools[POOLS]->arena;
}

static uint32_t lowest(uint32_t mask) { return mask & (0u - mask); }

static void the_check_finds_a1(void) {
    gi_arena *arena = plant();
    uint32_t in_use = ((1u << (POOLS - 1) << 1) - 1) & ~arena->free;
    arena->free |= lowest(in_use);
    EXPECT_BROKEN("A1", gi_arena_check());
    arena->free &= ~lowest(in_use);
    arena->free &= ~lowest(arena->free & ~arena->dirty);
    EXPECT_BROKEN("A1", gi_arena_check());
    arena->free = ((1u << (POOLS - 1) << 1) - 1) & ~in_use;
    EXPECT_EQ(gi_arena_check(), 0);
    arena->free_count++;
    EXPECT_BROKEN("A1", gi_arena_check());
    arena->free_count--;
    /* As many bits, but one beyond the last pool. */
    uint32_t right = arena->free;
    arena->free = (right & ~lowest(right & ~arena->dirty)) | 1u << POOLS;
    EXPECT_BROKEN("A1", gi_arena_check());
    arena->free = right;
    EXPECT_EQ(gi_arena_check(), 0);
}

static void the_check_finds_a2(void) {
    gi_arena *arena = plant();
    uint32_t in_use = ((1u << (POOLS - 1) << 1) - 1) & ~arena->free, right = arena->dirty;
    arena->dirty |= lowest(in_use);
    EXPECT_BROKEN("A2", gi_arena_check());
    arena->dirty = right;
    EXPECT_EQ(gi_arena_check(), 0);
}

static void the_check_finds_a3(void) {
    gi_arena *arena = plant();
    uint32_t right = arena->free;
    arena->free &= ~lowest(right & ~arena->dirty); /* one pool less, and the count agrees */
    arena->free_count--;
    EXPECT_BROKEN("A3", gi_arena_check());
    arena->free = right;
    arena->free_count++;
    EXPECT_EQ(gi_arena_check(), 0);
}

static void the_check_finds_a4(void) {
    gi_counter *const counters[] = {&gi_arena_stats_now.arenas, &gi_arena_stats_now.pools_free,
                                    &gi_arena_stats_now.pools_dirty};
    gi_arena *arena = plant();
    for (size_t i = 0; i < LENGTH(counters); i++) {
        gi_counter_add(counters[i], 1);
        EXPECT_BROKEN("A4", gi_arena_check());
        gi_counter_sub(counters[i], 2);
        EXPECT_BROKEN("A4", gi_arena_check());
        gi_counter_add(counters[i], 1);
        EXPECT_EQ(gi_arena_check(), 0);
    }
    arena->dirty &= ~lowest(arena->dirty);
    EXPECT_BROKEN("A4", gi_arena_check());
}

/* --- many threads ----------------------------------------------------------------------------- */

static void *come_and_go(void *arg) {
    const size_t self = *(const size_t *)arg;
    struct random random = random_seeded(self);
    gi_pool *held[3 * POOLS] = {NULL};
    for (size_t i = 0; i < ROUNDS(4000); i++) {
        size_t at = random_below(&random, LENGTH(held));
        if (held[at] == NULL) {
            held[at] = acquire();
            EXPECT(held[at] != NULL);
            if (held[at]->zero) {
                EXPECT_EQ(held[at]->memory[0], 0);
                EXPECT_EQ(held[at]->memory[GI_POOL_SIZE - 1], 0);
            }
            held[at]->memory[0] = held[at]->memory[GI_POOL_SIZE - 1] = (char)self;
        } else {
            EXPECT_EQ(held[at]->memory[0], self);
            EXPECT_EQ(held[at]->memory[GI_POOL_SIZE - 1], self);
            gi_arena_release_pool(held[at]);
            held[at] = NULL;
        }
        if (i % 512 == 0) {
            gi_arena_purge();
        }
        if (i % 64 == 0) {
            EXPECT_EQ(gi_arena_walk(see, &(struct seen){.end_at = 1}) % 7, 0);
        }
    }
    for (size_t at = 0; at < LENGTH(held); at++) {
        if (held[at] != NULL) {
            gi_arena_release_pool(held[at]);
        }
    }
    return NULL;
}

static void pools_come_and_go_in_many_threads(void) {
    static size_t selves[4] = {1, 2, 3, 4};
    init();
    threads_run(LENGTH(selves), come_and_go, selves, sizeof(selves[0]));
    expect_all_back();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(an_arena_is_used_up_before_the_next),
        IN_CHILD(the_fullest_arena_is_served_first),
        IN_CHILD(a_used_pool_is_served_before_one_never_used),
        IN_CHILD(a_used_pool_of_any_arena_is_served_before_one_never_used),
        IN_CHILD(a_used_pool_is_served_before_one_given_back),
        IN_CHILD(one_empty_arena_is_kept),
        IN_CHILD(a_returned_arena_leaves_no_trace),
        IN_CHILD(used_pools_of_busy_arenas_are_decommitted_past_a_limit),
        IN_CHILD(a_system_that_takes_nothing_back_ends_nothing),
        IN_CHILD(purge_gives_back_all_but_what_is_in_use),
        IN_CHILD(without_a_reservation_arenas_are_mapped_and_lose_no_pool),
        IN_CHILD(after_the_reservation_arenas_are_mapped),
        IN_CHILD(without_memory_there_is_no_pool),
        IN_CHILD(without_memory_and_reservation_there_is_no_pool),
        IN_CHILD(arenas_of_a_user_may_lie_anywhere),
        IN_CHILD(an_arena_goes_back_to_the_allocator_that_gave_it),
        IN_CHILD(a_user_may_have_no_arena),
        IN_CHILD(an_address_that_cannot_be_covered_goes_back_at_once),
        DIES(return_an_arena_twice, ARENA_IN_USE),
        DIES(return_overlapping_arenas, ARENA_IN_USE),
        IN_CHILD(the_walk_visits_each_pool_in_use_once),
        IN_CHILD(the_check_finds_a1),
        IN_CHILD(the_check_finds_a2),
        IN_CHILD(the_check_finds_a3),
        IN_CHILD(the_check_finds_a4),
        IN_CHILD(pools_come_and_go_in_many_threads),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
