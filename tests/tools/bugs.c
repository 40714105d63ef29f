/* SPDX-License-Identifier: MIT */
/*
 * bugs.c BUG [free] - one planted bug in a block of gilloc's, for a tool to catch; "free": in GIL-free mode.
 *   The line with the bug says so in a comment; tools_test.py looks it up in the report.  Each has a right twin, whose
 *   name ends in "_right", of which the tool must say nothing.
 *   How a block gets into the function that misuses it is not seen by the compiler, so that it warns of nothing.
 */
#include <gilloc/gilloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what the bugs share ---------------------------------------------------------------------- */

enum { SIZE = 40, ROUNDS = 200 };

static PyMemAllocatorDomain domain;
static char *volatile sink; /* holds what is not to be lost */
static volatile char byte;

static char *block_of(size_t size) {
    char *block = gilloc_malloc(domain, size);
    if (block == NULL) {
        abort();
    }
    memset(block, 'x', size);
    return block;
}

static __attribute__((noinline)) char *hidden(char *block) {
    __asm__("" : "+r"(block));
    return block;
}

/* Runs the two at once.  Each attaches before it waits for the other, by a barrier, and is detached when it runs: so
   what the tool sees of the order of the two is what they do themselves. */
static pthread_barrier_t barrier;

static void *apart(void *arg) {
    PyGILState_STATE state = PyGILState_Ensure();
    gilloc_free(domain, block_of(SIZE));
    PyThreadState *mine = PyEval_SaveThread();
    pthread_barrier_wait(&barrier);
    (*(void (**)(void))arg)();
    pthread_barrier_wait(&barrier);
    PyEval_RestoreThread(mine);
    PyGILState_Release(state);
    return NULL;
}

static void both(void (*first)(void), void (*second)(void)) {
    void (*works[])(void) = {first, second};
    pthread_t threads[2];
    pthread_barrier_init(&barrier, NULL, 2);
    PyThreadState *mine = PyEval_SaveThread();
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, apart, &works[i]);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    PyEval_RestoreThread(mine);
}

/* Told without the tool's knowing: no thread is ordered after another by it. */
static void tell(atomic_int *word) { atomic_store_explicit(word, 1, memory_order_relaxed); }

static void await(atomic_int *word) {
    while (atomic_load_explicit(word, memory_order_relaxed) == 0) {
        sched_yield();
    }
}

/* --- one thread ------------------------------------------------------------------------------- */

static void overflow(void) {
    char *block = block_of(SIZE);
    hidden(block)[SIZE] = 1; /* bug: overflows */
    gilloc_free(domain, block);
}

/* As little slack as can be, and the next block is free. */
static void overflow_full(void) {
    char *block = block_of(56);
    hidden(block)[56 + 7] = 1; /* bug: overflows what is full */
    gilloc_free(domain, block);
}

static void overflow_odd(void) {
    char *block = block_of(13);
    byte = hidden(block)[13]; /* bug: overflows by a byte */
    gilloc_free(domain, block);
}

static void underflow(void) {
    char *before = block_of(SIZE), *block = block_of(SIZE);
    byte = hidden(block)[-1]; /* bug: underflows */
    gilloc_free(domain, block);
    gilloc_free(domain, before);
}

static void use_after_free(void) {
    char *block = block_of(SIZE);
    gilloc_free(domain, block);
    byte = hidden(block)[8]; /* bug: reads what is free */
}

static void write_after_free(void) {
    char *block = block_of(SIZE);
    gilloc_free(domain, block);
    hidden(block)[0] = 1; /* bug: writes what is free */
}

static void use_after_realloc(void) {
    char *block = block_of(SIZE);
    sink = gilloc_realloc(domain, block, SIZE - 8);
    byte = hidden(block)[0]; /* bug: reads what has moved */
    gilloc_free(domain, sink);
}

static void use_after_reclaim(void) {
    char *block = block_of(SIZE);
    gilloc_retire(domain, block);
    gilloc_reclaim();
    byte = hidden(block)[0]; /* bug: reads what was retired */
}

static void leak(void) {
    char *block = gilloc_malloc(domain, SIZE); /* bug: is lost */
    block[0] = 1;
    sink = block;
    sink = NULL;
}

static void uninitialised(void) {
    char *block = gilloc_malloc(domain, SIZE);
    if (hidden(block)[3] == 'y') { /* bug: looks at what nobody wrote */
        puts("y");
    }
    gilloc_free(domain, block);
}

static void double_free(void) {
    char *block = block_of(SIZE);
    gilloc_free(domain, block);
    gilloc_free(domain, hidden(block));
}

static void interior_free(void) { gilloc_free(domain, hidden(block_of(SIZE)) + 16); }

static int visit(void *block, size_t size, void *arg) {
    memset(block, 'v', size);
    ++*(int *)arg;
    return 0;
}

/* All of it, as it should be. */
static void right(void) {
    enum { BLOCKS = 600 };
    static char *blocks[BLOCKS];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            size_t size = (size_t)i + (size_t)round;
            blocks[i] = i % 3 == 0 ? gilloc_calloc(domain, 1, size) : block_of(size);
            for (size_t at = 0; i % 3 == 0 && at < size; at++) {
                if (blocks[i][at] != 0) {
                    abort();
                }
            }
            memset(blocks[i], i, gilloc_usable_size(domain, blocks[i]));
        }
        for (int i = 0; i < BLOCKS; i += 5) {
            blocks[i] = gilloc_realloc(domain, blocks[i], (size_t)(BLOCKS - i));
            memset(blocks[i], i, (size_t)(BLOCKS - i));
        }
        int visited = 0;
        gilloc_visit_blocks(domain, visit, &visited);
        gilloc_safepoint();
        for (int i = 0; i < BLOCKS; i++) {
            if (i % 4 == 0) {
                gilloc_retire(domain, blocks[i]);
            } else {
                gilloc_free(domain, blocks[i]);
            }
        }
        gilloc_reclaim();
        gilloc_purge();
    }
    if (gilloc_check() != 0) {
        abort();
    }
}

/* A block of malloc() that only a block of gilloc's knows. */
static void holds(void) {
    char **holder = gilloc_malloc(domain, SIZE);
    holder[1] = malloc(100);
    sink = (char *)holder;
}

/* --- several threads -------------------------------------------------------------------------- */

static _Atomic(char *) shared;
static atomic_int there, gone;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void makes(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    atomic_store_explicit(&shared, block_of(SIZE), memory_order_release);
    PyGILState_Release(state);
    tell(&there);
    await(&gone);
}

static char *made(void) { return hidden(atomic_load_explicit(&shared, memory_order_acquire)); }

static void reads(void) {
    await(&there);
    byte = made()[0]; /* bug: reads */
    tell(&gone);
}

static void makes_and_writes(void) {
    makes();
    made()[0] = 1; /* bug: writes */
}

static void racing_access(void) { both(makes_and_writes, reads); }

static void makes_and_frees(void) {
    makes();
    PyGILState_STATE state = PyGILState_Ensure();
    gilloc_free(domain, made()); /* bug: frees */
    PyGILState_Release(state);
}

static void racing_free(void) { both(makes_and_frees, reads); }

static void lock_then_mutex(void) {
    pthread_mutex_lock(&mutex); /* bug: mutex */
    pthread_mutex_unlock(&mutex);
}

static void mutex_then_lock(void) {
    PyThreadState *mine = PyEval_SaveThread();
    pthread_mutex_lock(&mutex);
    PyEval_RestoreThread(mine); /* bug: lock */
    pthread_mutex_unlock(&mutex);
}

static void inversion(void) {
    lock_then_mutex();
    mutex_then_lock();
}

static void inversion_right(void) {
    for (int i = 0; i < ROUNDS; i++) {
        lock_then_mutex();
        PyThreadState *mine = PyEval_SaveThread();
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
        PyEval_RestoreThread(mine);
    }
}

/* Blocks go from hand to hand, by a slot under a mutex, and are used again by whoever frees or allocates. */
static char *slot;
static long counted; /* guarded by the lock in gil mode, by the mutex in GIL-free mode */

static char *exchange(char *with) {
    pthread_mutex_lock(&mutex);
    char *was = slot;
    slot = with;
    if (gilloc_get_mode() == GILLOC_MODE_FREE) {
        counted++;
    }
    pthread_mutex_unlock(&mutex);
    if (gilloc_get_mode() == GILLOC_MODE_GIL) {
        counted++;
    }
    return was;
}

static void hands_on(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < ROUNDS * 20; i++) {
        char *block = exchange(block_of((size_t)(i % 100 + 1)));
        if (block != NULL) {
            block[0]++;
            if (i % 3 == 0) {
                gilloc_retire(domain, block);
            } else {
                gilloc_free(domain, block);
            }
        }
        if (i % 7 == 0) {
            gilloc_safepoint();
        }
        if (i % 100 == 0) {
            gilloc_stop_the_world();
            counted++;
            gilloc_start_the_world();
        }
        if (i % 500 == 0) {
            gilloc_reclaim();
            gilloc_purge();
        }
    }
    PyGILState_Release(state);
}

static void threads_right(void) {
    both(hands_on, hands_on);
    gilloc_free(domain, slot);
    gilloc_reclaim();
}

/* What the lock alone guards. */
static void counts_right(void) {
    for (int i = 0; i < ROUNDS; i++) {
        PyGILState_STATE state = PyGILState_Ensure();
        if (gilloc_get_mode() == GILLOC_MODE_GIL) {
            counted++;
            gilloc_safepoint();
            counted++;
        }
        PyGILState_Release(state);
    }
}

static void lock_right(void) { both(counts_right, counts_right); }

/* What a thread has for itself, and who stops the world may use. */
static atomic_int working;

static void works_right(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    while (atomic_load_explicit(&gone, memory_order_relaxed) == 0) {
        counted++;
        atomic_fetch_add_explicit(&working, 1, memory_order_relaxed);
        gilloc_safepoint();
    }
    PyGILState_Release(state);
}

static void stops_right(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < ROUNDS; i++) {
        int before = atomic_load_explicit(&working, memory_order_relaxed);
        while (atomic_load_explicit(&working, memory_order_relaxed) == before) {
            gilloc_safepoint();
        }
        gilloc_stop_the_world();
        counted++;
        gilloc_start_the_world();
    }
    tell(&gone);
    PyGILState_Release(state);
}

static void world_right(void) { both(works_right, stops_right); }

/* One makes blocks for another, who frees them: what comes back to the one who makes comes by gilloc alone. */
enum { HANDED = ROUNDS * 50 };
static _Atomic(char *) belt[HANDED];

static void makes_right(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < HANDED; i++) {
        atomic_store_explicit(&belt[i], block_of(SIZE), memory_order_release);
        gilloc_safepoint();
    }
    PyGILState_Release(state);
}

static void frees_right(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < HANDED; i++) {
        char *block;
        while ((block = atomic_load_explicit(&belt[i], memory_order_acquire)) == NULL) {
            gilloc_safepoint();
        }
        block[i % SIZE]++;
        gilloc_free(domain, block);
    }
    PyGILState_Release(state);
}

static void belt_right(void) { both(makes_right, frees_right); }

/* Readers without a lock of what a writer replaces and retires. */
static _Atomic(char *) published;
static atomic_int ends;

static void reader_right(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    while (atomic_load_explicit(&ends, memory_order_relaxed) == 0) {
        const char *block = atomic_load_explicit(&published, memory_order_acquire);
        for (int i = 0; block != NULL && i < SIZE; i++) {
            byte = block[i];
        }
        gilloc_safepoint();
    }
    PyGILState_Release(state);
}

static void writer_right(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < ROUNDS * 10; i++) {
        char *old = atomic_exchange_explicit(&published, block_of(SIZE), memory_order_acq_rel);
        gilloc_retire(domain, old);
        if (i % 20 == 0) {
            gilloc_reclaim();
        }
        gilloc_safepoint();
    }
    atomic_store_explicit(&ends, 1, memory_order_relaxed);
    PyGILState_Release(state);
}

static void retire_right(void) {
    both(reader_right, writer_right);
    gilloc_free(domain, atomic_load_explicit(&published, memory_order_acquire));
    gilloc_reclaim();
}

/* It does not wait for the readers. */
static void writer_wrong(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    char *block = block_of(SIZE);
    atomic_store_explicit(&published, block, memory_order_release);
    await(&there);
    atomic_store_explicit(&published, NULL, memory_order_release);
    gilloc_free(domain, block); /* bug: frees at once */
    PyGILState_Release(state);
}

static void reader_once(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    const char *block;
    while ((block = atomic_load_explicit(&published, memory_order_acquire)) == NULL) {
        gilloc_safepoint();
    }
    byte = block[0]; /* bug: reads without a reference */
    tell(&there);
    PyGILState_Release(state);
}

static void no_grace_period(void) { both(writer_wrong, reader_once); }

/* --- main ------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} bugs[] = {
    {"overflow", overflow},
    {"overflow_full", overflow_full},
    {"overflow_odd", overflow_odd},
    {"underflow", underflow},
    {"use_after_free", use_after_free},
    {"write_after_free", write_after_free},
    {"use_after_realloc", use_after_realloc},
    {"use_after_reclaim", use_after_reclaim},
    {"leak", leak},
    {"uninitialised", uninitialised},
    {"double_free", double_free},
    {"interior_free", interior_free},
    {"right", right},
    {"holds_right", holds},
    {"racing_access", racing_access},
    {"racing_free", racing_free},
    {"inversion", inversion},
    {"inversion_right", inversion_right},
    {"threads_right", threads_right},
    {"lock_right", lock_right},
    {"world_right", world_right},
    {"belt_right", belt_right},
    {"retire_right", retire_right},
    {"no_grace_period", no_grace_period},
};

int main(int argc, char **argv) {
    if (argc < 3) {
        return 2;
    }
    const char *domains[] = {"raw", "mem", "object", "kind", "stable"};
    for (int i = 0; i < 5; i++) {
        if (strcmp(argv[2], domains[i]) == 0) {
            domain = (PyMemAllocatorDomain)i;
        }
    }
    if ((int)domain > (int)PYMEM_DOMAIN_OBJ) {
        domain = (PyMemAllocatorDomain)gilloc_new_kind("planted", strcmp(argv[2], "stable") == 0, 0);
    }
    PyGILState_STATE state = PyGILState_Ensure();
    for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++) {
        if (strcmp(argv[1], bugs[i].name) == 0) {
            bugs[i].run();
            PyGILState_Release(state);
            fprintf(stderr, "done\n");
            return 0;
        }
    }
    return 2;
}
