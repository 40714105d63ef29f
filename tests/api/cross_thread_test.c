/* SPDX-License-Identifier: MIT */
/*
 * cross_thread_test.c - blocks allocated in one thread and freed in another: each whole, none lost, memory bounded.
 */
#include <stdlib.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/mailbox.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

/* Blocks travel in batches, so that the lock is not all that is measured.  The batch is a block itself. */
#define BATCH 60

struct batch {
    uint32_t seed;
    struct {
        unsigned char *block;
        uint32_t size;
        uint32_t domain;
    } items[BATCH];
};

static struct batch *batch_new(struct random *random, size_t size_limit) {
    struct batch *batch = PyMem_Malloc(sizeof(*batch));
    EXPECT(batch != NULL);
    batch->seed = (uint32_t)random_next(random);
    for (size_t i = 0; i < BATCH; i++) {
        size_t size = size_limit != 0 ? random_below(random, size_limit) : random_size(random);
        size_t domain = random_below(random, 8) == 0 ? PYMEM_DOMAIN_RAW : PYMEM_DOMAIN_MEM + random_below(random, 2);
        batch->items[i].block = domains[domain].malloc(size);
        EXPECT(batch->items[i].block != NULL);
        batch->items[i].size = (uint32_t)size;
        batch->items[i].domain = (uint32_t)domain;
        pattern_fill(batch->items[i].block, size, batch->seed + (uint32_t)i);
    }
    return batch;
}

static void batch_free(struct batch *batch) {
    for (size_t i = 0; i < BATCH; i++) {
        unsigned char *block = batch->items[i].block;
        size_t size = batch->items[i].size;
        const struct domain *domain = &domains[batch->items[i].domain];
        pattern_check(block, size, batch->seed + (uint32_t)i);
        switch (i % 16) {
            case 0:
                gilloc_free_sized(domain->id, block, size);
                break;
            case 1:
                block = domain->realloc(block, size + 64);
                EXPECT(block != NULL);
                pattern_check(block, size, batch->seed + (uint32_t)i);
                domain->free(block);
                break;
            default:
                domain->free(block);
        }
    }
    PyMem_Free(batch);
}

static void expect_bounded(size_t arenas) {
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.thread_states, 1);
#if !UNDER_HOSTILE
    EXPECT_AT_MOST(stats.arenas_high, arenas);
#else
    (void)arenas; /* of another size */
#endif
    memory_expect_all_back();
}

/* --- one to one ------------------------------------------------------------------------------- */

struct pipe_end {
    struct mailbox *box;
    size_t batches;
    size_t size_limit;
    size_t seed;
};

static void *produce(void *arg) {
    struct pipe_end *end = arg;
    struct random random = random_seeded(end->seed);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < end->batches; i++) {
        mailbox_put(end->box, batch_new(&random, end->size_limit));
    }
    PyGILState_Release(was);
    mailbox_close(end->box);
    return NULL;
}

static void *consume(void *arg) {
    struct pipe_end *end = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    struct batch *batch;
    size_t batches = 0;
    while ((batch = mailbox_take(end->box)) != NULL) {
        batch_free(batch);
        batches++;
    }
    EXPECT_EQ(batches, end->batches);
    PyGILState_Release(was);
    return NULL;
}

static void one_produces_one_consumes(void) {
    static const size_t limits[] = {0, 65, 513};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct mailbox box;
        mailbox_init(&box, 16);
        struct pipe_end end = {.box = &box, .batches = ROUNDS(8000), .size_limit = limits[i], .seed = i};
        pthread_t producer = thread_start(produce, &end);
        pthread_t consumer = thread_start(consume, &end);
        thread_join(producer);
        thread_join(consumer);
        mailbox_fini(&box);
        PyGILState_STATE was = PyGILState_Ensure();
        /* 18 batches of 60 blocks of up to 512 bytes are alive at most: 3 arenas, and what caches may hold. */
        expect_bounded(40);
        PyGILState_Release(was);
    }
    if (gilloc_get_mode() == GILLOC_MODE_FREE) {
        EXPECT(memory_stats().remote_frees > 0);
        EXPECT(memory_stats().remote_batches > 0);
        EXPECT(memory_stats().remote_batches <= memory_stats().remote_frees);
    } else {
        EXPECT_EQ(memory_stats().remote_frees, 0);
    }
}

/* --- a thread that only frees, beside one that only allocates: in turns ----------------------- */

#define TURN 4000

struct turns {
    struct mailbox to_freer;
    struct mailbox to_allocator;
    size_t rounds;
    void *blocks[TURN];
};

static void *only_frees(void *arg) {
    struct turns *turns = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    while (mailbox_take(&turns->to_freer) != NULL) {
        for (size_t i = 0; i < TURN; i++) {
            pattern_check(turns->blocks[i], i % 130, (uint32_t)i);
            PyObject_Free(turns->blocks[i]);
        }
        mailbox_put(&turns->to_allocator, turns);
    }
    PyGILState_Release(was);
    return NULL;
}

static void one_allocates_one_frees_in_turns(void) {
    static struct turns turns;
    mailbox_init(&turns.to_freer, 1);
    mailbox_init(&turns.to_allocator, 1);
    pthread_t freer = thread_start(only_frees, &turns);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t round = 0; round < ROUNDS(200); round++) {
        for (size_t i = 0; i < TURN; i++) {
            turns.blocks[i] = PyObject_Malloc(i % 130);
            EXPECT(turns.blocks[i] != NULL);
            pattern_fill(turns.blocks[i], i % 130, (uint32_t)i);
        }
        mailbox_put(&turns.to_freer, &turns);
        EXPECT(mailbox_take(&turns.to_allocator) == &turns);
    }
    mailbox_close(&turns.to_freer);
    Py_BEGIN_ALLOW_THREADS thread_join(freer);
    Py_END_ALLOW_THREADS mailbox_fini(&turns.to_freer);
    mailbox_fini(&turns.to_allocator);
    expect_bounded(16);
    PyGILState_Release(was);
}

/* A thread that frees blocks and never allocates, after the thread that allocated them went quiet or ended. */
struct pile {
    void *blocks[TURN * 4];
    struct shared filled;
    struct shared freed;
};

static void *fill_pile(void *arg) {
    struct pile *pile = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < TURN * 4; i++) {
        pile->blocks[i] = PyMem_Malloc(64);
        EXPECT(pile->blocks[i] != NULL);
    }
    PyGILState_Release(was);
    return NULL;
}

static void *free_pile(void *arg) {
    struct pile *pile = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < TURN * 4; i++) {
        PyMem_Free(pile->blocks[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

static void others_free_what_ended_threads_left(void) {
    static struct pile pile;
    for (int i = 0; i < 20; i++) {
        threads_run(1, fill_pile, &pile, 0);
        threads_run(1, free_pile, &pile, 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        EXPECT_AT_MOST(memory_stats().arenas, UNDER_HOSTILE ? 64 : 8);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    expect_bounded(16);
    PyGILState_Release(was);
}

/* --- many to many ----------------------------------------------------------------------------- */

#define MEMBERS 5

struct exchange {
    struct mailbox boxes[MEMBERS];
    struct shared working;
    size_t rounds;
};

struct member {
    struct exchange *exchange;
    size_t number;
};

static void *take_part(void *arg) {
    struct member *member = arg;
    struct exchange *exchange = member->exchange;
    struct random random = random_seeded(100 + member->number);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < exchange->rounds; i++) {
        struct batch *batch = batch_new(&random, 0);
        /* Where the other's box is full, one's own hands free it. */
        if (!mailbox_try_put(&exchange->boxes[random_below(&random, MEMBERS)], batch)) {
            batch_free(batch);
        }
        while ((batch = mailbox_try_take(&exchange->boxes[member->number])) != NULL) {
            batch_free(batch);
        }
        gilloc_safepoint();
        if (i % 64 == member->number) {
            /* Now and then a thread's state ends and a new one begins. */
            PyGILState_Release(was);
            was = PyGILState_Ensure();
        }
    }
    PyGILState_Release(was);
    return NULL;
}

static void all_exchange_with_all(void) {
    struct exchange exchange = {.rounds = UNDER_TSAN ? ROUNDS(3000) : 3000};
    struct member members[MEMBERS];
    for (size_t i = 0; i < MEMBERS; i++) {
        mailbox_init(&exchange.boxes[i], 8);
        members[i] = (struct member){&exchange, i};
    }
    threads_run(MEMBERS, take_part, members, sizeof(members[0]));
    PyGILState_STATE was = PyGILState_Ensure();
    /* What never left a box is whole too, though all who made it have ended. */
    for (size_t i = 0; i < MEMBERS; i++) {
        struct batch *batch;
        while ((batch = mailbox_try_take(&exchange.boxes[i])) != NULL) {
            batch_free(batch);
        }
        mailbox_fini(&exchange.boxes[i]);
    }
    EXPECT_EQ(gilloc_check(), 0);
    expect_bounded(80);
    PyGILState_Release(was);
}

/* --- memory handed over while its thread is detached ------------------------------------------ */

/* The thread that allocated waits, detached, while another frees: nothing needs it to come back. */
static void *fill_wait_and_refill(void *arg) {
    struct pile *pile = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < TURN * 4; i++) {
        pile->blocks[i] = PyMem_Malloc(64);
        EXPECT(pile->blocks[i] != NULL);
    }
    PyThreadState *state = PyEval_SaveThread();
    __atomic_store_n(&pile->filled.value, 1, __ATOMIC_RELEASE); /* hands the array over, where no lock does */
    while (!__atomic_load_n(&pile->freed.value, __ATOMIC_ACQUIRE)) {
        PyMem_RawFree(PyMem_RawMalloc(10));
    }
    PyEval_RestoreThread(state);
    for (size_t i = 0; i < TURN * 4; i++) {
        pile->blocks[i] = PyMem_Malloc(64);
        EXPECT(pile->blocks[i] != NULL);
    }
    for (size_t i = 0; i < TURN * 4; i++) {
        PyMem_Free(pile->blocks[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

static void a_detached_owner_is_not_needed(void) {
    static struct pile pile;
    pthread_t owner = thread_start(fill_wait_and_refill, &pile);
    while (!__atomic_load_n(&pile.filled.value, __ATOMIC_ACQUIRE)) {
        PyMem_RawFree(PyMem_RawMalloc(10));
    }
    free_pile(&pile);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    size_t most = memory_stats().arenas_high;
    __atomic_store_n(&pile.freed.value, 1, __ATOMIC_RELEASE);
    thread_join(owner);
    /* The second fill used the memory of the first. */
    EXPECT_AT_MOST(memory_stats().arenas_high, most + most / 4 + 1);
    PyGILState_STATE was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(one_produces_one_consumes),           IN_BOTH_MODES(one_allocates_one_frees_in_turns),
        IN_BOTH_MODES(others_free_what_ended_threads_left), IN_BOTH_MODES(all_exchange_with_all),
        IN_BOTH_MODES(a_detached_owner_is_not_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
