/* SPDX-License-Identifier: MIT */
/*
 * visit_test.c - gilloc_visit_blocks(): each live small block once, of all threads, in every domain, and no other one:
 *                against the test's own list.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/arena_source.h"
#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/mailbox.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

#define MADE 3
#define KINDS (2 + MADE)

/* Mem, object, and kinds: plain, with untouched bytes, type-stable with them. */
static PyMemAllocatorDomain kinds[KINDS] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static void make_kinds(void) {
    static const struct {
        unsigned flags;
        size_t untouched;
    } made[MADE] = {{0, 0}, {0, 24}, {GILLOC_KIND_TYPE_STABLE, 8}};
    for (size_t i = 0; i < MADE; i++) {
        int kind = gilloc_new_kind("made", made[i].flags, made[i].untouched);
        EXPECT(kind > 0);
        kinds[2 + i] = (PyMemAllocatorDomain)kind;
    }
}

static int is_free_mode(void) { return gilloc_get_mode() == GILLOC_MODE_FREE; }

static void *alloc_in(PyMemAllocatorDomain domain, size_t size) {
    void *block = gilloc_malloc(domain, size);
    EXPECT(block != NULL);
    return block;
}

/* --- the list --------------------------------------------------------------------------------- */

struct item {
    void *block;
    size_t size; /* of the block */
    PyMemAllocatorDomain domain;
    size_t seen;
};

/* What is alive, to be looked up by address; hashed, open addressing. */
#define ITEMS_MAX 32768

struct list {
    struct item items[ITEMS_MAX];
    size_t count[GILLOC_DOMAIN_LAST + 1];
    PyMemAllocatorDomain visiting;
    size_t visits, end_at; /* 0: never */
};

static struct item *item_of(struct list *list, const void *block) {
    size_t i = ((size_t)block >> 4) * 2654435761u % ITEMS_MAX;
    while (list->items[i].block != NULL && list->items[i].block != block) {
        i = (i + 1) % ITEMS_MAX;
    }
    return &list->items[i];
}

static void list_add(struct list *list, PyMemAllocatorDomain domain, void *block) {
    struct item *item = item_of(list, block);
    EXPECT(item->block == NULL);
    *item = (struct item){.block = block, .size = gilloc_usable_size(domain, block), .domain = domain};
    list->count[domain]++;
}

static int visit_item(void *block, size_t block_size, void *arg) {
    struct list *list = arg;
    struct item *item = item_of(list, block);
    EXPECT(item->block == block); /* it is alive, */
    EXPECT_EQ(item->domain, list->visiting);
    EXPECT_EQ(item->size, block_size);
    EXPECT_EQ(item->seen, 0); /* and not seen yet */
    item->seen = 1;
    list->visits++;
    return list->end_at != 0 && list->visits == list->end_at ? 4711 : 0;
}

static void expect_domain_visited(struct list *list, PyMemAllocatorDomain domain) {
    list->visiting = domain;
    list->visits = list->end_at = 0;
    EXPECT_EQ(gilloc_visit_blocks(domain, visit_item, list), 0);
    EXPECT_EQ(list->visits, list->count[domain]);
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        if (list->items[i].block != NULL && list->items[i].domain == domain) {
            EXPECT_EQ(list->items[i].seen, 1);
            list->items[i].seen = 0;
        }
    }
}

static void expect_visited(struct list *list) {
    for (size_t k = 0; k < KINDS; k++) {
        expect_domain_visited(list, kinds[k]);
    }
}

static void free_list(struct list *list) {
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        if (list->items[i].block != NULL) {
            gilloc_free(list->items[i].domain, list->items[i].block);
        }
    }
    memset(list, 0, sizeof(*list));
}

static void expect_all_gone(void) {
    gilloc_purge();
    gilloc_reclaim();
    memory_expect_all_back();
}

static struct list list;

/* --- what a thread leaves alive --------------------------------------------------------------- */

#define ALIVE 200
#define GONE 400

/* Allocates blocks of every size in every kind; of each the first ones stay, the others are freed in turn, retired, or
   are large. */
struct part {
    void *alive[KINDS][ALIVE];
    void *to_free[KINDS][ALIVE]; /* by another thread */
};

static void make_part(struct part *part, uint64_t seed) {
    struct random random = random_seeded(seed);
    for (size_t k = 0; k < KINDS; k++) {
        void *gone[GONE];
        for (size_t i = 0; i < GONE; i++) {
            if (i < ALIVE) {
                part->alive[k][i] = alloc_in(kinds[k], random_below(&random, SMALL_LIMIT + 1));
                part->to_free[k][i] = alloc_in(kinds[k], random_below(&random, SMALL_LIMIT + 1));
            }
            gone[i] = alloc_in(kinds[k], random_below(&random, i % 4 == 3 ? 5000 : SMALL_LIMIT + 1));
        }
        for (size_t i = 0; i < GONE; i++) {
            if (i % 4 == 2) {
                gilloc_retire(kinds[k], gone[i]);
            } else {
                gilloc_free(kinds[k], gone[i]);
            }
        }
    }
}

static void list_part(struct part *part) {
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < ALIVE; i++) {
            list_add(&list, kinds[k], part->alive[k][i]);
        }
    }
}

static void free_others_blocks(struct part *part) {
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < ALIVE; i++) {
            if (i % 2 == 0) {
                gilloc_free(kinds[k], part->to_free[k][i]); /* into remote slots, in GIL-free mode */
            } else {
                gilloc_retire(kinds[k], part->to_free[k][i]);
            }
        }
    }
}

/* --- one thread ------------------------------------------------------------------------------- */

static int never_called(void *block, size_t block_size, void *arg) {
    (void)block;
    (void)block_size;
    (void)arg;
    EXPECT(!"called");
    return 1;
}

static void nothing_is_visited_where_nothing_is(void) {
    make_kinds();
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        for (size_t k = 0; k < KINDS; k++) {
            EXPECT_EQ(gilloc_visit_blocks(kinds[k], never_called, NULL), 0);
        }
        if (attached) {
            void *large = PyMem_Malloc(513), *retired = PyMem_Malloc(100);
            gilloc_retire(PYMEM_DOMAIN_MEM, retired);
            PyMem_Free(PyMem_Malloc(100));
            EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, never_called, NULL), 0);
            EXPECT_EQ(memory_stats().retired_bytes, 0); /* a walk frees it: the world has stood still */
            PyMem_Free(large);
            PyGILState_Release(was);
        }
    }
}

static void each_block_of_each_size_is_visited_once(void) {
    make_kinds();
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t size = 0; size <= SMALL_LIMIT; size++) {
        for (size_t k = 0; k < KINDS; k++) {
            for (size_t i = 0; i < 3; i++) {
                void *block = size % 3 == 0 ? gilloc_calloc(kinds[k], 1, size) : alloc_in(kinds[k], size);
                list_add(&list, kinds[k], block);
            }
        }
    }
    expect_visited(&list);
    expect_visited(&list);
    free_list(&list);
    expect_visited(&list);
    expect_all_gone();
    PyGILState_Release(was);
}

static void freed_blocks_are_not_visited_wherever_they_are(void) {
    make_kinds();
    static struct part part;
    PyGILState_STATE was = PyGILState_Ensure();
    make_part(&part, 1);
    list_part(&part);
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < ALIVE; i++) {
            list_add(&list, kinds[k], part.to_free[k][i]);
        }
    }
    EXPECT(memory_stats().retired_bytes > 0 || UNDER_HOSTILE);
    expect_visited(&list);
    EXPECT_EQ(memory_stats().retired_bytes % 4096, 0); /* empty pools at most */
    expect_visited(&list);
    free_list(&list);
    expect_all_gone();
    PyGILState_Release(was);
}

static void a_result_ends_the_walk(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    kinds[2] = kinds[3] = kinds[4] = PYMEM_DOMAIN_MEM;
    for (size_t i = 0; i < 3000; i++) {
        list_add(&list, PYMEM_DOMAIN_OBJ, PyObject_Malloc(i % (SMALL_LIMIT + 1)));
    }
    static const size_t ends[] = {1, 2, 1000, 2999, 3000};
    for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++) {
        list.visiting = PYMEM_DOMAIN_OBJ;
        list.visits = 0;
        list.end_at = ends[e];
        EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, visit_item, &list), 4711);
        EXPECT_EQ(list.visits, ends[e]);
        for (size_t i = 0; i < ITEMS_MAX; i++) {
            list.items[i].seen = 0;
        }
    }
    expect_domain_visited(&list, PYMEM_DOMAIN_OBJ);
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, never_called, NULL), 0);
    free_list(&list);
    PyGILState_Release(was);
}

/* The visitor may write to the blocks, and use the raw domain. */
static int write_block(void *block, size_t block_size, void *arg) {
    memset(block, 0x3C, block_size);
    PyMem_RawFree(PyMem_RawMalloc(100));
    ++*(size_t *)arg;
    return 0;
}

static void a_visitor_may_write_the_blocks(void) {
    make_kinds();
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t size = 0; size <= SMALL_LIMIT; size++) {
            list_add(&list, kinds[k], alloc_in(kinds[k], size));
        }
        size_t count = 0;
        EXPECT_EQ(gilloc_visit_blocks(kinds[k], write_block, &count), 0);
        EXPECT_EQ(count, SMALL_LIMIT + 1);
    }
    expect_visited(&list);
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        for (size_t at = 0; at < list.items[i].size; at++) {
            EXPECT_EQ(((unsigned char *)list.items[i].block)[at], 0x3C);
        }
    }
    EXPECT_EQ(gilloc_check(), 0);
    free_list(&list);
    expect_all_gone();
    PyGILState_Release(was);
}

static void errno_survives(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    errno = 4711;
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, never_called, NULL), 0);
    EXPECT_EQ(errno, 4711);
    PyGILState_Release(was);
}

/* --- other threads ---------------------------------------------------------------------------- */

enum being { BUSY, DETACHED, PARKED, ENDED, BEINGS };

#define PER_BEING 2
#define OTHERS (BEINGS * PER_BEING)

struct other {
    struct part part;
    struct part *of_neighbour; /* whose blocks it frees */
    enum being being;
    struct shared ready, over, seen; /* seen: busy threads go on */
};

static struct shared made_parts;
static pthread_mutex_t handing = PTHREAD_MUTEX_INITIALIZER;

/* Counts `n` more; how many there are.  The parts are handed over by it: in gil mode by the lock, around the call, and
   in GIL-free mode by a mutex, since there nothing of the library's orders one attached thread after another. */
static size_t count_made(size_t n) {
    int by_mutex = gilloc_get_mode() == GILLOC_MODE_FREE;
    if (by_mutex) {
        pthread_mutex_lock(&handing);
    }
    size_t count = shared_add(&made_parts, n) + n;
    if (by_mutex) {
        pthread_mutex_unlock(&handing);
    }
    return count;
}

/* What a thread does while it is walked over: nothing that changes what is alive. */
static void churn(struct random *random) {
    void *blocks[20];
    for (size_t i = 0; i < 20; i++) {
        blocks[i] = alloc_in(kinds[i % KINDS], random_below(random, 600));
    }
    for (size_t i = 0; i < 20; i++) {
        if (i % 7 == 0) {
            gilloc_retire(kinds[i % KINDS], blocks[i]);
        } else {
            gilloc_free(kinds[i % KINDS], blocks[i]);
        }
    }
}

static void *be(void *arg) {
    struct other *other = arg;
    struct random random = random_seeded((uint64_t)(size_t)other->being);
    PyGILState_STATE was = PyGILState_Ensure();
    make_part(&other->part, (uint64_t)(size_t)arg);
    PyEval_RestoreThread(PyEval_SaveThread());
    count_made(1);
    while (count_made(0) < OTHERS) {
        PyThreadState *mine = PyEval_SaveThread();
        sched_yield();
        PyEval_RestoreThread(mine);
    }
    free_others_blocks(other->of_neighbour);
    PyThreadState *mine = NULL;
    switch (other->being) {
        case BUSY:
            shared_set(&other->ready, 1);
            while (!shared_get(&other->over)) {
                churn(&random);
                gilloc_safepoint(); /* where a stop finds it, and no block of churn() is alive */
                shared_add(&other->seen, 1);
            }
            break;
        case PARKED: /* most of the time at a safepoint: it waits for the lock, or for the world to start */
            shared_set(&other->ready, 1);
            while (!shared_get(&other->over)) {
                gilloc_safepoint();
            }
            break;
        case DETACHED:
            mine = PyEval_SaveThread();
            shared_set(&other->ready, 1);
            while (!shared_get(&other->over)) {
                sched_yield();
            }
            PyEval_RestoreThread(mine);
            break;
        case ENDED:
        default:
            break;
    }
    PyGILState_Release(was);
    shared_set(&other->ready, 1);
    return NULL;
}

static void walk_over_others(int attached, void (*before)(size_t walk)) {
    make_kinds();
    static struct other others[OTHERS];
    memset(others, 0, sizeof(others));
    shared_set(&made_parts, 0);
    pthread_t threads[OTHERS];
    gilloc_set_retire_limit(100000);
    for (size_t i = 0; i < OTHERS; i++) {
        others[i].being = (enum being)(i % BEINGS);
        others[i].of_neighbour = &others[(i + 1) % OTHERS].part;
    }
    for (size_t i = 0; i < OTHERS; i++) {
        threads[i] = thread_start(be, &others[i]);
    }
    for (size_t i = 0; i < OTHERS; i++) {
        while (!shared_get(&others[i].ready)) {
            sched_yield();
        }
        if (others[i].being == ENDED) {
            thread_join(threads[i]);
        }
    }
    PyGILState_STATE was = PyGILState_Ensure(); /* which also lets this thread see the parts in gil mode */
    gilloc_stop_the_world();                    /* and this in GIL-free mode */
    for (size_t i = 0; i < OTHERS; i++) {
        list_part(&others[i].part);
    }
    gilloc_start_the_world();
    PyThreadState *mine = attached ? NULL : PyEval_SaveThread();
    for (size_t walk = 0; walk < (UNDER_TSAN ? 4 : 10); walk++) {
        if (before != NULL) {
            before(walk);
        }
        expect_visited(&list);
        for (size_t i = 0; i < OTHERS; i++) { /* busy ones go on in between */
            size_t seen = shared_get(&others[i].seen);
            while (others[i].being == BUSY && shared_get(&others[i].seen) == seen) {
                if (attached) {
                    gilloc_safepoint();
                }
                sched_yield();
            }
        }
    }
    if (!attached) {
        PyEval_RestoreThread(mine);
    }
    for (size_t i = 0; i < OTHERS; i++) {
        shared_set(&others[i].over, 1);
    }
    mine = PyEval_SaveThread();
    for (size_t i = 0; i < OTHERS; i++) {
        if (others[i].being != ENDED) {
            thread_join(threads[i]);
        }
    }
    PyEval_RestoreThread(mine);
    expect_visited(&list);
    EXPECT_EQ(memory_stats().retired_bytes % 4096, 0);
    free_list(&list);
    expect_all_gone();
    PyGILState_Release(was);
}

static void blocks_of_all_threads_are_visited_by_an_attached_thread(void) { walk_over_others(1, NULL); }

static void blocks_of_all_threads_are_visited_by_a_detached_thread(void) { walk_over_others(0, NULL); }

static void switch_modes(size_t walk) {
    (void)walk;
    EXPECT_EQ(gilloc_set_mode(is_free_mode() ? GILLOC_MODE_GIL : GILLOC_MODE_FREE), 0);
}

static void blocks_of_all_threads_are_visited_after_the_mode_was_switched(void) { walk_over_others(1, switch_modes); }

static void a_walk_nests_in_a_stopped_world(void) {
    make_kinds();
    static struct part part;
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stop_the_world();
    gilloc_stop_the_world();
    make_part(&part, 3); /* the stopper may allocate and free */
    list_part(&part);
    free_others_blocks(&part);
    uint64_t stops = memory_stats().world_stops;
    expect_visited(&list);
    expect_visited(&list);
    EXPECT_EQ(memory_stats().world_stops, stops);
    gilloc_start_the_world();
    expect_visited(&list);
    EXPECT_EQ(memory_stats().world_stops, stops);
    gilloc_start_the_world();
    expect_visited(&list);
    EXPECT_EQ(memory_stats().world_stops, stops + KINDS);
    free_list(&list);
    expect_all_gone();
    PyGILState_Release(was);
}

/* --- what the walker has freed for others ----------------------------------------------------- */

enum { FREED, RETIRED, KEPT_ALIVE, LENT };

/* A thread whose state is older than the walker's, so that the walk comes to it first. */
struct lender {
    struct mailbox lent;
    struct shared over;
};

static void *lend(void *arg) {
    struct lender *lender = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    void *blocks[KINDS * LENT];
    for (size_t i = 0; i < KINDS * LENT; i++) {
        blocks[i] = alloc_in(kinds[i / LENT], i % LENT == RETIRED ? 112 : 48); /* two slots */
    }
    PyThreadState *mine = PyEval_SaveThread();
    for (size_t i = 0; i < KINDS * LENT; i++) {
        EXPECT(mailbox_try_put(&lender->lent, blocks[i]));
    }
    while (!shared_get(&lender->over)) {
        sched_yield();
    }
    PyEval_RestoreThread(mine);
    PyGILState_Release(was);
    return NULL;
}

/* One block a slot, so that it is pushed to its owner, who is done already, by the walk alone. */
static void what_the_walker_freed_for_an_older_thread_is_not_visited(void) {
    make_kinds();
    static struct lender lender;
    mailbox_init(&lender.lent, KINDS * LENT);
    pthread_t thread = thread_start(lend, &lender);
    void *blocks[KINDS * LENT];
    for (size_t i = 0; i < KINDS * LENT; i++) {
        while ((blocks[i] = mailbox_try_take(&lender.lent)) == NULL) {
            sched_yield();
        }
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 0; k < KINDS; k++) {
        void **of_kind = &blocks[k * LENT];
        gilloc_free(kinds[k], of_kind[FREED]);
        gilloc_retire(kinds[k], of_kind[RETIRED]);
        list_add(&list, kinds[k], of_kind[KEPT_ALIVE]);
        expect_domain_visited(&list, kinds[k]);
    }
    expect_visited(&list);
    free_list(&list);
    PyThreadState *mine = PyEval_SaveThread();
    shared_set(&lender.over, 1);
    thread_join(thread);
    mailbox_fini(&lender.lent);
    PyEval_RestoreThread(mine);
    expect_all_gone();
    PyGILState_Release(was);
}

/* --- several walks at once, and work in between ----------------------------------------------- */

#define WALKERS 3
#define KEPT 300

struct walker {
    void *kept[KEPT];
    size_t number;
};

/* Only one's own are known: each of them once. */
struct own {
    struct walker *walker;
    size_t found;
};

static int find_own(void *block, size_t block_size, void *arg) {
    struct own *own = arg;
    EXPECT_EQ(block_size, small_block_size(96));
    uint64_t *words = block;
    if (words[0] == own->walker->number) {
        EXPECT(own->walker->kept[words[1]] == block);
        EXPECT_EQ(words[2], 0);
        words[2] = 1;
        own->found++;
    }
    return 0;
}

static PyMemAllocatorDomain walked;

static void *walk_and_work(void *arg) {
    struct walker *walker = arg;
    struct random random = random_seeded(walker->number);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < KEPT; i++) {
        uint64_t *words = walker->kept[i] = gilloc_calloc(walked, 1, 96);
        words[0] = walker->number;
        words[1] = i;
    }
    for (size_t round = 0; round < ROUNDS(60); round++) {
        for (size_t i = 0; i < 50; i++) {
            size_t at = random_below(&random, KEPT);
            memset(walker->kept[at], 0xFF, 96);
            if (i % 3 == 0) {
                gilloc_retire(walked, walker->kept[at]);
            } else {
                gilloc_free(walked, walker->kept[at]);
            }
            uint64_t *words = walker->kept[at] = gilloc_calloc(walked, 96, 1);
            words[0] = walker->number;
            words[1] = at;
        }
        churn(&random);
        struct own own = {walker, 0};
        EXPECT_EQ(gilloc_visit_blocks(walked, find_own, &own), 0);
        EXPECT_EQ(own.found, KEPT);
        for (size_t i = 0; i < KEPT; i++) {
            uint64_t *words = walker->kept[i];
            EXPECT_EQ(words[2], 1);
            words[2] = 0;
        }
        if (round % 16 == walker->number) {
            PyGILState_Release(was);
            was = PyGILState_Ensure();
        }
    }
    for (size_t i = 0; i < KEPT; i++) {
        gilloc_free(walked, walker->kept[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

static void several_threads_walk_and_work(void) {
    make_kinds();
    walked = (PyMemAllocatorDomain)gilloc_new_kind("walked", 0, 0);
    static struct walker walkers[WALKERS];
    for (size_t i = 0; i < WALKERS; i++) {
        walkers[i].number = 100 + i;
    }
    threads_run(WALKERS, walk_and_work, walkers, sizeof(walkers[0]));
    PyGILState_STATE was = PyGILState_Ensure();
    expect_all_gone();
    PyGILState_Release(was);
}

/* --- a user's arenas, hooks ------------------------------------------------------------------- */

static void blocks_in_a_users_arenas_are_visited(void) {
    make_kinds();
    static struct arena_source source;
    static struct part parts[2];
    PyObjectArenaAllocator inner;
    PyObject_GetArenaAllocator(&inner);
    PyGILState_STATE was = PyGILState_Ensure();
    make_part(&parts[0], 5); /* in gilloc's own */
    arena_source_init(&source);
    source.misalign = 48;
    source.dirty = 1;
    arena_source_install(&source);
    make_part(&parts[1], 6);
    EXPECT(source.given > 0);
    for (size_t i = 0; i < 2; i++) {
        list_part(&parts[i]);
        free_others_blocks(&parts[i]);
    }
    expect_visited(&list);
    free_list(&list);
    expect_all_gone();
    PyGILState_Release(was);
    arena_source_fini(&source);
    PyObject_SetArenaAllocator(&inner);
}

/* A hook above the default allocator changes nothing: the blocks are in the pools all the same. */
static void blocks_of_a_hooked_domain_are_visited(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *before = PyObject_Malloc(40);
    list_add(&list, PYMEM_DOMAIN_OBJ, before);
    static struct spy spy;
    spy_install(&spy, PYMEM_DOMAIN_OBJ);
    void *blocks[100];
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = PyObject_Malloc(16 + i);
    }
    for (size_t i = 0; i < 100; i += 2) {
        if (i % 4 == 0) {
            gilloc_retire(PYMEM_DOMAIN_OBJ, blocks[i]);
        } else {
            PyObject_Free(blocks[i]);
        }
    }
    spy_remove(&spy);
    for (size_t i = 1; i < 100; i += 2) {
        list_add(&list, PYMEM_DOMAIN_OBJ, blocks[i]);
    }
    spy_install(&spy, PYMEM_DOMAIN_OBJ);
    expect_domain_visited(&list, PYMEM_DOMAIN_OBJ);
    spy_expect(&spy, 0, 0, 0, 25); /* the retired ones went by the hook */
    spy_remove(&spy);
    free_list(&list);
    expect_all_gone();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(nothing_is_visited_where_nothing_is),
        IN_BOTH_MODES(each_block_of_each_size_is_visited_once),
        IN_BOTH_MODES(freed_blocks_are_not_visited_wherever_they_are),
        IN_BOTH_MODES(a_result_ends_the_walk),
        IN_BOTH_MODES(a_visitor_may_write_the_blocks),
        IN_BOTH_MODES(errno_survives),
        IN_BOTH_MODES(blocks_of_all_threads_are_visited_by_an_attached_thread),
        IN_BOTH_MODES(blocks_of_all_threads_are_visited_by_a_detached_thread),
        IN_BOTH_MODES(blocks_of_all_threads_are_visited_after_the_mode_was_switched),
        IN_BOTH_MODES(a_walk_nests_in_a_stopped_world),
        IN_BOTH_MODES(what_the_walker_freed_for_an_older_thread_is_not_visited),
        IN_BOTH_MODES(several_threads_walk_and_work),
        IN_BOTH_MODES(blocks_in_a_users_arenas_are_visited),
        IN_BOTH_MODES(blocks_of_a_hooked_domain_are_visited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
