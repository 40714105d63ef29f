/* SPDX-License-Identifier: MIT */
/*
 * retire_test.c - deferred frees: in every domain, not before each reader has passed a safepoint, no byte written until
 *                 then; how much waits; what ended threads leave; the limit and its environment variable.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

#define MIB ((size_t)1 << 20)
#define UNKNOWN_BYTES 65536u /* what a block of unknown size counts */
#define NO_LIMIT SIZE_MAX

static int is_free_mode(void) { return gilloc_get_mode() == GILLOC_MODE_FREE; }

/* --- every domain ----------------------------------------------------------------------------- */

#define MADE 3
#define ALL (DOMAINS + MADE)

/* The three domains and kinds: plain, with untouched bytes, type-stable with them. */
static PyMemAllocatorDomain all[ALL] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static void make_kinds(void) {
    static const struct {
        unsigned flags;
        size_t untouched;
    } made[MADE] = {{0, 0}, {0, 24}, {GILLOC_KIND_TYPE_STABLE, 8}};
    for (size_t i = 0; i < MADE; i++) {
        int kind = gilloc_new_kind("made", made[i].flags, made[i].untouched);
        EXPECT(kind > 0);
        all[DOMAINS + i] = (PyMemAllocatorDomain)kind;
    }
}

static void *alloc_in(PyMemAllocatorDomain domain, size_t size) {
    void *block = gilloc_malloc(domain, size);
    EXPECT(block != NULL);
    return block;
}

static const size_t sizes[] = {0, 1, 16, 17, 64, 100, 512, 513, 600, 4096, 100000, 2 * MIB};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void a_retired_block_is_whole_until_it_is_freed(void) {
    make_kinds();
    gilloc_set_retire_limit(NO_LIMIT);
    PyGILState_STATE was = PyGILState_Ensure();
    unsigned char *blocks[ALL][SIZES];
    uint64_t retired = 0;
    size_t bytes = 0;
    for (size_t d = 0; d < ALL; d++) {
        for (size_t s = 0; s < SIZES; s++) {
            blocks[d][s] = alloc_in(all[d], sizes[s]);
            pattern_fill(blocks[d][s], sizes[s], (uint32_t)(d * SIZES + s));
            bytes += gilloc_usable_size(all[d], blocks[d][s]);
            gilloc_retire(all[d], blocks[d][s]);
            EXPECT_EQ(memory_stats().retired_blocks, ++retired);
            EXPECT_EQ(memory_stats().retired_bytes, bytes);
        }
    }
    size_t alive = gilloc_allocated_blocks();
    EXPECT_EQ(alive, (ALL - 1) * SIZES); /* those of mem, object and kinds */
    for (int i = 0; i < 10; i++) {
        gilloc_safepoint();
        PyEval_RestoreThread(PyEval_SaveThread());
        gilloc_purge();
    }
    for (size_t d = 0; d < ALL; d++) {
        for (size_t s = 0; s < SIZES; s++) {
            pattern_check(blocks[d][s], sizes[s], (uint32_t)(d * SIZES + s));
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), alive);
    EXPECT_EQ(memory_stats().retired_bytes, bytes);
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    EXPECT_EQ(memory_stats().retired_lost, 0);
    EXPECT_EQ(memory_stats().retired_blocks, retired);
    gilloc_purge();   /* pools of the type-stable kind become empty, */
    gilloc_reclaim(); /* and wait once more */
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void null_does_nothing(void) {
    make_kinds();
    gilloc_set_retire_limit(0);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < ALL; d++) {
        gilloc_retire(all[d], NULL);
    }
    EXPECT_EQ(memory_stats().retired_blocks, 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    gilloc_safepoint();
    EXPECT_EQ(memory_stats().grace_periods, 0);
    PyGILState_Release(was);
}

/* What its caller frees by itself afterwards is found by nobody any more (reclaim_test.c). */
static void with_nothing_retired_reclaim_waits_too(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_reclaim();
    EXPECT_EQ(memory_stats().grace_periods, is_free_mode() ? 1 : 0);
    PyGILState_Release(was);
}

static void grace_periods_are_counted_in_free_mode(void) {
    gilloc_set_retire_limit(NO_LIMIT);
    PyGILState_STATE was = PyGILState_Ensure();
    for (uint64_t i = 1; i <= 5; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(40));
        gilloc_reclaim();
        EXPECT_EQ(memory_stats().grace_periods, is_free_mode() ? i : 0);
        EXPECT_EQ(memory_stats().retired_blocks, i);
    }
    PyGILState_Release(was);
}

static void a_switch_of_modes_keeps_what_waits(void) {
    make_kinds();
    gilloc_set_retire_limit(NO_LIMIT);
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < 4; i++) {
        unsigned char *blocks[ALL];
        for (size_t d = 0; d < ALL; d++) {
            blocks[d] = alloc_in(all[d], 40 + d);
            pattern_fill(blocks[d], 40 + d, (uint32_t)d);
            gilloc_retire(all[d], blocks[d]);
        }
        EXPECT_EQ(gilloc_set_mode(is_free_mode() ? GILLOC_MODE_GIL : GILLOC_MODE_FREE), 0);
        for (size_t d = 0; d < ALL; d++) {
            pattern_check(blocks[d], 40 + d, (uint32_t)d);
        }
        gilloc_reclaim();
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        EXPECT_EQ(memory_stats().retired_bytes, 0);
    }
    PyGILState_Release(was);
}

static void errno_survives(void) {
    gilloc_set_retire_limit(0);
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < 3; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(5000));
        errno = 4711;
        if (i == 0) {
            gilloc_safepoint();
        } else if (i == 1) {
            gilloc_reclaim();
        } else {
            PyEval_RestoreThread(PyEval_SaveThread());
        }
        EXPECT_EQ(errno, 4711);
    }
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    PyGILState_Release(was);
}

/* --- hooks ------------------------------------------------------------------------------------ */

static void a_hook_sees_a_plain_free_later(void) {
    gilloc_set_retire_limit(NO_LIMIT);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        static struct spy spy;
        spy_install(&spy, all[d]);
        void *block = alloc_in(all[d], 40);
        spy_expect(&spy, 1, 0, 0, 0);
        gilloc_retire(all[d], block);
        EXPECT_EQ(memory_stats().retired_bytes, UNKNOWN_BYTES);
        gilloc_safepoint();
        spy_expect(&spy, 0, 0, 0, 0);
        gilloc_reclaim();
        EXPECT_EQ(shared_get(&spy.last_block), (size_t)block);
        spy_expect(&spy, 0, 0, 0, 1);
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        spy_remove(&spy);
    }
    PyGILState_Release(was);
}

/* Retired before the hook came, freed by it: it accepts what is alive. */
static void the_hook_of_the_moment_of_the_free_counts(void) {
    gilloc_set_retire_limit(NO_LIMIT);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(40));
    static struct spy spy;
    spy_install(&spy, PYMEM_DOMAIN_MEM);
    gilloc_reclaim();
    spy_expect(&spy, 0, 0, 0, 1);
    gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(40));
    spy_remove(&spy);
    spy_reset(&spy);
    gilloc_reclaim();
    spy_expect(&spy, 0, 0, 0, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void blocks_of_unknown_size_count_as_much_as_the_documents_say(void) {
    gilloc_set_retire_limit(10 * UNKNOWN_BYTES);
    PyGILState_STATE was = PyGILState_Ensure();
    static struct spy spy;
    spy_install(&spy, PYMEM_DOMAIN_OBJ);
    for (size_t i = 1; i <= 10; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(16));
        gilloc_safepoint();
        EXPECT_EQ(memory_stats().retired_bytes, i * UNKNOWN_BYTES);
    }
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(16));
    gilloc_safepoint();
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    spy_remove(&spy);
    /* A large block's size is known to the raw domain alone. */
    spy_install(&spy, PYMEM_DOMAIN_RAW);
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(5000));
    EXPECT_EQ(memory_stats().retired_bytes, UNKNOWN_BYTES);
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(50));
    EXPECT_EQ(memory_stats().retired_bytes, UNKNOWN_BYTES + 64 - TAIL);
    spy_remove(&spy);
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* A hook whose free retires another block of its domain, as long as there are some. */
struct chain {
    PyMemAllocatorEx inner;
    size_t left;
    size_t frees;
};

static void *chain_malloc(void *ctx, size_t size) {
    struct chain *chain = ctx;
    return chain->inner.malloc(chain->inner.ctx, size);
}
static void *chain_calloc(void *ctx, size_t count, size_t size) {
    struct chain *chain = ctx;
    return chain->inner.calloc(chain->inner.ctx, count, size);
}
static void *chain_realloc(void *ctx, void *block, size_t size) {
    struct chain *chain = ctx;
    return chain->inner.realloc(chain->inner.ctx, block, size);
}
static void chain_free(void *ctx, void *block) {
    struct chain *chain = ctx;
    chain->frees++;
    chain->inner.free(chain->inner.ctx, block);
    if (chain->left > 0) {
        chain->left--;
        gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(1 + chain->left % 1000));
    }
}

static void chain_install(struct chain *chain, size_t left) {
    *chain = (struct chain){.left = left};
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &chain->inner);
    PyMemAllocatorEx hook = {chain, chain_malloc, chain_calloc, chain_realloc, chain_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &hook);
}

static void a_hook_may_retire_while_a_batch_is_freed(void) {
    static const size_t limits[] = {0, 200000, NO_LIMIT};
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        gilloc_set_retire_limit(limits[i]);
        struct chain chain;
        chain_install(&chain, 1000);
        for (size_t j = 0; j < 200; j++) {
            gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(30));
        }
        for (int turn = 0; chain.frees < 1200; turn++) {
            EXPECT(turn < 2000);
            if (turn % 3 == 0) {
                gilloc_reclaim();
            } else if (turn % 3 == 1) {
                gilloc_safepoint();
            } else {
                PyEval_RestoreThread(PyEval_SaveThread());
            }
        }
        EXPECT_EQ(chain.frees, 1200);
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &chain.inner);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
    }
    PyGILState_Release(was);
}

/* What a hook retires while a thread's state is deleted is not stranded with that state. */
static void *retire_and_end(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < 40; i++) {
        gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(30));
    }
    gilloc_set_retire_limit(*(size_t *)arg);
    PyGILState_Release(was);
    return NULL;
}

static void what_a_hook_retires_as_a_thread_ends_is_freed_by_others(void) {
    struct chain chain;
    gilloc_set_retire_limit(NO_LIMIT);
    size_t limit = 0;
    chain_install(&chain, 40);
    PyGILState_STATE was = PyGILState_Ensure(); /* with a state of its own, not that of the thread */
    PyThreadState *mine = PyEval_SaveThread();
    threads_run(1, retire_and_end, &limit, 0);
    PyEval_RestoreThread(mine);
    for (int turn = 0; turn < 3; turn++) {
        gilloc_reclaim();
    }
    EXPECT_EQ(chain.frees, 80);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &chain.inner);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* --- readers ---------------------------------------------------------------------------------- */

#define PATTERN 0x517eu
#define LOOKS 300

enum leave { BY_SAFEPOINT, BY_DETACH, BY_RECLAIM, BY_STOP, BY_SWAP, WAYS };

struct readers {
    unsigned char *blocks[ALL][SIZES];
    enum leave way;
    int by_detach;         /* the retiring thread's free comes as it detaches */
    struct shared reading; /* the reader is in */
    struct shared retired; /* all are retired, and a grace period is about to be waited for */
    struct shared freed;   /* it is over */
};

static void check_all(struct readers *readers) {
    for (size_t d = 0; d < ALL; d++) {
        for (size_t s = 0; s < SIZES; s++) {
            if (sizes[s] < 5000 || d % 3 == 0) {
                pattern_check(readers->blocks[d][s], sizes[s] < 5000 ? sizes[s] : 5000, PATTERN);
            }
        }
    }
}

static void *read_blocks(void *arg) {
    struct readers *readers = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    shared_set(&readers->reading, 1);
    while (!shared_get(&readers->retired)) {
        sched_yield();
    }
    for (int look = 0; look < LOOKS; look++) {
        if (look % 50 == 0) {
            check_all(readers);
        }
        EXPECT_EQ(shared_get(&readers->freed), 0);
        sched_yield();
    }
    check_all(readers);
    EXPECT_EQ(shared_get(&readers->freed), 0);
    switch (readers->way) {
        case BY_SAFEPOINT:
            while (!shared_get(&readers->freed)) {
                gilloc_safepoint();
            }
            break;
        case BY_RECLAIM:
            while (!shared_get(&readers->freed)) {
                gilloc_reclaim(); /* quiescent, though it has nothing to free */
                gilloc_safepoint();
            }
            break;
        case BY_STOP:
            gilloc_stop_the_world(); /* lets the other one go on, as it must for a stop */
            gilloc_start_the_world();
            break;
        case BY_SWAP: {
            PyThreadState *mine = PyThreadState_Swap(NULL);
            while (!shared_get(&readers->freed)) {
                sched_yield();
            }
            PyThreadState_Swap(mine);
            break;
        }
        case BY_DETACH:
        default:
            break;
    }
    PyGILState_Release(was);
    return NULL;
}

static void *retire_blocks(void *arg) {
    struct readers *readers = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    while (!shared_get(&readers->reading)) {
        sched_yield(); /* attached, but no reader: it holds nothing */
        gilloc_safepoint();
    }
    for (size_t d = 0; d < ALL; d++) {
        for (size_t s = 0; s < SIZES; s++) {
            gilloc_retire(all[d], readers->blocks[d][s]);
        }
    }
    /* More of the same sizes: not the retired ones. */
    for (size_t d = 0; d < ALL; d++) {
        for (size_t s = 0; s < SIZES; s++) {
            if (sizes[s] < 5000) {
                void *block = alloc_in(all[d], sizes[s]);
                memset(block, 0xEE, sizes[s]);
                gilloc_free(all[d], block);
            }
        }
    }
    gilloc_purge();
    shared_set(&readers->retired, 1);
    if (!readers->by_detach) {
        gilloc_safepoint();
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        shared_set(&readers->freed, 1);
    }
    PyGILState_Release(was);
    shared_set(&readers->freed, 1);
    return NULL;
}

static void a_reader_in_another_thread_keeps_the_blocks(void) {
    make_kinds();
    gilloc_set_retire_limit(1);
    for (int way = 0; way < 2 * WAYS; way++) {
        struct readers *readers = calloc(1, sizeof(*readers));
        EXPECT(readers != NULL);
        readers->way = (enum leave)(way / 2);
        readers->by_detach = way % 2;
        PyGILState_STATE was = PyGILState_Ensure();
        for (size_t d = 0; d < ALL; d++) {
            for (size_t s = 0; s < SIZES; s++) {
                readers->blocks[d][s] = alloc_in(all[d], sizes[s]);
                pattern_fill(readers->blocks[d][s], sizes[s], PATTERN);
            }
        }
        PyGILState_Release(was);
        pthread_t reader = thread_start(read_blocks, readers), retirer = thread_start(retire_blocks, readers);
        thread_join(reader);
        thread_join(retirer);
        free(readers);
        was = PyGILState_Ensure();
        gilloc_reclaim();
        gilloc_purge();
        gilloc_reclaim();
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        PyGILState_Release(was);
    }
}

/* --- the bound -------------------------------------------------------------------------------- */

static const size_t limits[] = {0, 1, 1000, 100000, 1048576};
#define LIMITS (sizeof(limits) / sizeof(limits[0]))

static size_t any_size(struct random *random) {
    size_t most = (size_t)1 << (4 + random_below(random, 20));
    return 16 + random_below(random, most);
}

static void no_more_than_the_limit_waits_after_a_safepoint_or_detach(void) {
    make_kinds();
    struct random random = random_seeded(5);
    PyGILState_STATE was = PyGILState_Ensure();
    uint64_t blocks = 0;
    for (size_t l = 0; l < LIMITS; l++) {
        gilloc_reclaim();
        gilloc_set_retire_limit(limits[l]);
        for (size_t i = 0; i < ROUNDS(3000); i++) {
            size_t size = any_size(&random);
            PyMemAllocatorDomain domain = all[random_below(&random, ALL - 1)]; /* limbo has a test of its own */
            void *block = alloc_in(domain, size);
            size_t usable = gilloc_usable_size(domain, block);
            EXPECT(usable >= size);
            size_t before = memory_stats().retired_bytes;
            EXPECT_AT_MOST(before, limits[l]);
            gilloc_retire(domain, block);
            blocks++;
            EXPECT_EQ(memory_stats().retired_bytes, before + usable); /* it never waits itself */
            if (random_below(&random, 4) != 0) {
                gilloc_safepoint();
            } else {
                PyEval_RestoreThread(PyEval_SaveThread());
            }
            size_t after = memory_stats().retired_bytes;
            EXPECT_EQ(after, before + usable > limits[l] ? 0 : before + usable);
        }
        EXPECT_EQ(memory_stats().retired_blocks, blocks);
    }
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(memory_stats().retired_lost, 0);
    PyGILState_Release(was);
}

static void a_lower_limit_holds_from_the_next_safepoint_or_detach(void) {
    for (int way = 0; way < 3; way++) {
        gilloc_set_retire_limit(NO_LIMIT);
        PyGILState_STATE was = PyGILState_Ensure();
        for (size_t i = 0; i < 100; i++) {
            gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(1000));
        }
        EXPECT(memory_stats().retired_bytes >= 100000);
        PyThreadState *mine = way == 2 ? PyEval_SaveThread() : NULL; /* one that is detached meanwhile */
        gilloc_set_retire_limit(5000);
        if (way == 2) {
            PyEval_RestoreThread(mine);
        }
        if (way == 1) {
            PyEval_RestoreThread(PyEval_SaveThread());
        } else {
            gilloc_safepoint();
        }
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        PyGILState_Release(was);
    }
}

static void a_higher_limit_lets_more_wait(void) {
    gilloc_set_retire_limit(0);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_set_retire_limit(NO_LIMIT);
    for (size_t i = 1; i <= 100; i++) {
        gilloc_retire(PYMEM_DOMAIN_RAW, PyMem_RawMalloc(100000));
        gilloc_safepoint();
        EXPECT(memory_stats().retired_bytes >= i * 100000);
    }
    gilloc_reclaim();
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    PyGILState_Release(was);
}

/* --- GILLOC_RETIRE_LIMIT ---------------------------------------------------------------------- */

static void limit_by_environment(const char *value) { EXPECT_EQ(setenv("GILLOC_RETIRE_LIMIT", value, 1), 0); }

/* How many blocks of 1000 bytes wait until a safepoint frees them. */
static size_t how_many_wait(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    size_t count = 0;
    do {
        void *block = PyMem_RawMalloc(1000);
        EXPECT(gilloc_usable_size(PYMEM_DOMAIN_RAW, block) <= 1024);
        gilloc_retire(PYMEM_DOMAIN_RAW, block);
        count++;
        gilloc_safepoint();
    } while (memory_stats().retired_bytes != 0 && count < 5000);
    gilloc_reclaim();
    PyGILState_Release(was);
    return count;
}

static void the_environment_sets_the_limit(void) {
    limit_by_environment("50000");
    size_t count = how_many_wait();
    EXPECT(count > 45 && count <= 51);
}

static void a_limit_of_zero_frees_at_each_safepoint(void) {
    limit_by_environment("0");
    EXPECT_EQ(how_many_wait(), 1);
}

static void without_it_a_mebibyte_waits(void) {
    EXPECT_EQ(unsetenv("GILLOC_RETIRE_LIMIT"), 0);
    size_t count = how_many_wait();
    EXPECT(UNDER_HOSTILE ? count == 1 : count > 1000 && count <= 1049);
}

static void an_empty_value_is_none(void) {
    limit_by_environment("");
    EXPECT(UNDER_HOSTILE ? how_many_wait() == 1 : how_many_wait() > 1000);
}

static void the_largest_number_is_no_limit(void) {
    limit_by_environment("9223372036854775807");
    EXPECT_EQ(how_many_wait(), 5000);
}

static void a_call_beats_the_environment(void) {
    limit_by_environment("9223372036854775807");
    gilloc_set_retire_limit(0);
    EXPECT_EQ(how_many_wait(), 1);
}

static void get_mode_after(const void *value) {
    limit_by_environment(value);
    gilloc_get_mode();
}

static void set_limit_after(const void *value) {
    limit_by_environment(value);
    gilloc_set_retire_limit(0);
}

static void ensure_after(const void *value) {
    limit_by_environment(value);
    PyGILState_Ensure();
}

#define BAD(value) "Fatal gilloc error: GILLOC_RETIRE_LIMIT: must be a number of bytes, not \"" value "\"\n"

static struct death_case bad_values[] = {
    {"GILLOC_RETIRE_LIMIT=x", get_mode_after, "x", CASE_MODE_OPEN, 1, BAD("x")},
    {"GILLOC_RETIRE_LIMIT=-1", get_mode_after, "-1", CASE_MODE_OPEN, 1, BAD("-1")},
    {"GILLOC_RETIRE_LIMIT=+1", get_mode_after, "+1", CASE_MODE_OPEN, 1, BAD("+1")},
    {"GILLOC_RETIRE_LIMIT=' 1'", get_mode_after, " 1", CASE_MODE_OPEN, 1, BAD(" 1")},
    {"GILLOC_RETIRE_LIMIT='1 '", get_mode_after, "1 ", CASE_MODE_OPEN, 1, BAD("1 ")},
    {"GILLOC_RETIRE_LIMIT=1M", get_mode_after, "1M", CASE_MODE_OPEN, 1, BAD("1M")},
    {"GILLOC_RETIRE_LIMIT=1.5", get_mode_after, "1.5", CASE_MODE_OPEN, 1, BAD("1.5")},
    {"GILLOC_RETIRE_LIMIT=2^63", get_mode_after, "9223372036854775808", CASE_MODE_OPEN, 1, BAD("9223372036854775808")},
    {"GILLOC_RETIRE_LIMIT=10^30", get_mode_after, "1000000000000000000000000000000", CASE_MODE_OPEN, 1,
     BAD("1000000000000000000000000000000")},
    {"GILLOC_RETIRE_LIMIT=y, gilloc_set_retire_limit first", set_limit_after, "y", CASE_MODE_OPEN, 1, BAD("y")},
    {"GILLOC_RETIRE_LIMIT=z, Ensure first", ensure_after, "z", CASE_MODE_OPEN, 1, BAD("z")},
};

/* --- threads that end ------------------------------------------------------------------------- */

struct life {
    size_t blocks; /* that it retires */
    size_t size;
};

static void *live(void *arg) {
    const struct life *life = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < life->blocks; i++) {
        unsigned char *block = PyObject_Malloc(life->size);
        EXPECT(block != NULL);
        block[0] = 1;
        gilloc_retire(PYMEM_DOMAIN_OBJ, block);
    }
    PyGILState_Release(was);
    return NULL;
}

static void what_an_ended_thread_left_is_freed_by_another(void) {
    gilloc_set_retire_limit(MIB);
    struct life life = {100, 200};
    threads_run(3, live, &life, 0);
    EXPECT_EQ(memory_stats().retired_bytes, 3 * 100 * small_block_size(200));
    EXPECT_EQ(memory_stats().retired_blocks, 300);
    EXPECT_EQ(gilloc_allocated_blocks(), 300);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_safepoint(); /* below the limit it may wait */
    EXPECT_EQ(gilloc_allocated_blocks(), 300);
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    PyGILState_Release(was);
}

/* Nobody but threads that end retires: the one that brings it above the limit sees to it, or who attaches next. */
static void thread_lives_leave_a_bounded_amount(void) {
    gilloc_set_retire_limit(50000);
    struct life life = {9, 1000};
    live(&life);
    size_t resident = 0;
    for (size_t i = 0; i < ROUNDS(10000); i++) {
        threads_run(1, live, &life, 0);
        EXPECT_AT_MOST(memory_stats().retired_bytes, 2 * (50000 + 1100));
        if (i == 500) {
            resident = memory_resident();
        }
    }
    EXPECT_EQ(memory_stats().retired_blocks, 9 * (ROUNDS(10000) + 1));
#if PLAIN_BUILD
    EXPECT_AT_MOST(memory_resident(), resident + 4 * MIB);
#else
    (void)resident;
#endif
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(memory_stats().retired_lost, 0);
    PyGILState_Release(was);
}

/* A thread that is attached all the time and retires nothing frees what others leave. */
static void an_attached_thread_frees_what_deleted_states_left(void) {
    gilloc_set_retire_limit(100000);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t round = 0; round < 20; round++) {
        PyThreadState *mine = PyThreadState_Get(), *states[10];
        for (size_t i = 0; i < 10; i++) {
            states[i] = PyThreadState_New(PyInterpreterState_Main());
            PyThreadState_Swap(states[i]);
            for (size_t j = 0; j < 80; j++) {
                gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(1000));
            }
        }
        PyThreadState_Swap(mine);
        for (size_t i = 0; i < 10; i++) {
            PyThreadState_Delete(states[i]);
        }
        gilloc_safepoint();
        EXPECT_AT_MOST(memory_stats().retired_bytes, 100000);
    }
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* --- the child of a fork ---------------------------------------------------------------------- */

#define WAITERS 5

struct sleeper {
    struct shared *asleep;
    struct shared *over;
};

static void *retire_and_sleep(void *arg) {
    struct sleeper *sleeper = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < 90; i++) {
        gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(1000));
    }
    Py_BEGIN_ALLOW_THREADS shared_add(sleeper->asleep, 1);
    while (!shared_get(sleeper->over)) {
        sched_yield();
    }
    Py_END_ALLOW_THREADS PyGILState_Release(was);
    return NULL;
}

static void the_child_of_a_fork_frees_what_the_parents_threads_retired(void) {
    static struct shared asleep, over;
    gilloc_set_retire_limit(100000);
    struct sleeper sleeper = {&asleep, &over};
    pthread_t threads[WAITERS];
    for (size_t i = 0; i < WAITERS; i++) {
        threads[i] = thread_start(retire_and_sleep, &sleeper);
    }
    while (shared_get(&asleep) < WAITERS) {
        sched_yield();
    }
    PyGILState_STATE was = PyGILState_Ensure();
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        EXPECT_EQ(gilloc_allocated_blocks(), WAITERS * 90);
        gilloc_safepoint();
        EXPECT_AT_MOST(memory_stats().retired_bytes, 100000);
        gilloc_reclaim();
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        EXPECT_EQ(gilloc_check(), 0);
        _exit(0);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    PyGILState_Release(was);
    shared_set(&over, 1);
    for (size_t i = 0; i < WAITERS; i++) {
        thread_join(threads[i]);
    }
    was = PyGILState_Ensure();
    gilloc_reclaim();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* --- many threads, with a model --------------------------------------------------------------- */

#define MEMBERS 4
#define SLOTS 64

/* Slots that hold a block each; a writer puts a new one in and retires the old one, readers look at what they find. */
struct table {
    void *slots[SLOTS]; /* atomic */
    size_t limit;
    size_t rounds;
};

struct entry {
    size_t size;
    uint32_t seed, domain;
    unsigned char bytes[];
};

struct member {
    struct table *table;
    size_t number;
};

static struct entry *entry_new(struct random *random) {
    size_t size = sizeof(struct entry) + random_below(random, random_below(random, 16) == 0 ? 2000 : 300);
    uint32_t domain = (uint32_t)random_below(random, ALL);
    struct entry *entry = alloc_in(all[domain], size);
    *entry = (struct entry){.size = size - sizeof(*entry), .seed = (uint32_t)random_next(random), .domain = domain};
    pattern_fill(entry->bytes, entry->size, entry->seed);
    return entry;
}

static void *write_and_read(void *arg) {
    struct member *member = arg;
    struct table *table = member->table;
    struct random random = random_seeded(member->number);
    struct shadow shadow;
    shadow_init(&shadow, (uint32_t)member->number);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < table->rounds; i++) {
        size_t slot = random_below(&random, SLOTS);
        if (random_below(&random, 3) == 0) {
            struct entry *entry = entry_new(&random);
            entry = __atomic_exchange_n(&table->slots[slot], entry, __ATOMIC_ACQ_REL);
            if (entry != NULL) {
                gilloc_retire(all[entry->domain], entry);
            }
        }
        const struct entry *seen = __atomic_load_n(&table->slots[random_below(&random, SLOTS)], __ATOMIC_ACQUIRE);
        if (seen != NULL) {
            if (i % 16 == 0) {
                sched_yield();
            }
            pattern_check(seen->bytes, seen->size, seen->seed);
        }
        /* Other blocks beside, of which no byte may be touched. */
        if (shadow.count < 40) {
            size_t size = random_size(&random);
            const struct domain *domain = &domains[random_below(&random, DOMAINS)];
            shadow_add(&shadow, domain, domain->malloc(size), size);
        } else {
            struct shadow_block *block = shadow.blocks[random_below(&random, shadow.count)];
            const struct domain *domain = block->domain;
            switch (random_below(&random, 3)) {
                case 0:
                    domain->free(shadow_remove(&shadow, block));
                    break;
                case 1:
                    gilloc_retire(domain->id, shadow_remove(&shadow, block));
                    break;
                default: {
                    size_t size = random_size(&random);
                    shadow_resized(&shadow, block, domain->realloc(block->at, size), size);
                }
            }
        }
        if (random_below(&random, 8) == 0) {
            gilloc_safepoint();
        } else if (random_below(&random, 200) == 0) {
            PyGILState_Release(was); /* its state ends */
            was = PyGILState_Ensure();
        }
    }
    shadow_free_all(&shadow);
    PyGILState_Release(was);
    shadow_fini(&shadow);
    return NULL;
}

static void readers_and_writers_meet_in_a_table(void) {
    make_kinds();
    static const size_t table_limits[] = {0, 2000, MIB};
    for (size_t l = 0; l < sizeof(table_limits) / sizeof(table_limits[0]); l++) {
        static struct table table;
        table.rounds = ROUNDS(l == 0 ? 4000 : 20000);
        gilloc_set_retire_limit(table_limits[l]);
        struct member members[MEMBERS];
        for (size_t i = 0; i < MEMBERS; i++) {
            members[i] = (struct member){&table, l * MEMBERS + i};
        }
        threads_run(MEMBERS, write_and_read, members, sizeof(members[0]));
        PyGILState_STATE was = PyGILState_Ensure();
        for (size_t i = 0; i < SLOTS; i++) {
            if (table.slots[i] != NULL) {
                gilloc_retire(all[((struct entry *)table.slots[i])->domain], table.slots[i]);
                table.slots[i] = NULL;
            }
        }
        for (int i = 0; i < 2; i++) {
            gilloc_reclaim();
            gilloc_purge(); /* pools of the type-stable kind become empty */
        }
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        EXPECT_EQ(memory_stats().retired_lost, 0);
        memory_expect_all_back();
        PyGILState_Release(was);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(a_retired_block_is_whole_until_it_is_freed),
        IN_BOTH_MODES(null_does_nothing),
        IN_BOTH_MODES(with_nothing_retired_reclaim_waits_too),
        IN_BOTH_MODES(grace_periods_are_counted_in_free_mode),
        IN_BOTH_MODES(a_switch_of_modes_keeps_what_waits),
        IN_BOTH_MODES(errno_survives),
        IN_BOTH_MODES(a_hook_sees_a_plain_free_later),
        IN_BOTH_MODES(the_hook_of_the_moment_of_the_free_counts),
        IN_BOTH_MODES(blocks_of_unknown_size_count_as_much_as_the_documents_say),
        IN_BOTH_MODES(a_hook_may_retire_while_a_batch_is_freed),
        IN_BOTH_MODES(what_a_hook_retires_as_a_thread_ends_is_freed_by_others),
        IN_FREE_MODE(a_reader_in_another_thread_keeps_the_blocks), /* in gil mode nobody retires while another reads */
        IN_BOTH_MODES(no_more_than_the_limit_waits_after_a_safepoint_or_detach),
        IN_BOTH_MODES(a_lower_limit_holds_from_the_next_safepoint_or_detach),
        IN_BOTH_MODES(a_higher_limit_lets_more_wait),
        IN_OPEN_MODE(the_environment_sets_the_limit),
        IN_OPEN_MODE(a_limit_of_zero_frees_at_each_safepoint),
        IN_OPEN_MODE(without_it_a_mebibyte_waits),
        IN_OPEN_MODE(an_empty_value_is_none),
        IN_OPEN_MODE(the_largest_number_is_no_limit),
        IN_OPEN_MODE(a_call_beats_the_environment),
        IN_BOTH_MODES(what_an_ended_thread_left_is_freed_by_another),
        IN_BOTH_MODES(thread_lives_leave_a_bounded_amount),
        IN_BOTH_MODES(an_attached_thread_frees_what_deleted_states_left),
        IN_BOTH_MODES(the_child_of_a_fork_frees_what_the_parents_threads_retired),
        IN_BOTH_MODES(readers_and_writers_meet_in_a_table),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + death_run_group("bad values", bad_values, sizeof(bad_values) / sizeof(bad_values[0]));
}
