/* SPDX-License-Identifier: MIT */
/*
 * detached_death_test.c - a mem or object call of a thread that is not attached: every function, small and large, in
 * both modes, before the first attach, after the last detach, and between.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/runtime_lock.h"
#include "tests/support/threads.h"

/* How the calling thread comes to be detached. */
enum when {
    NEVER_ATTACHED,   /* the first call of the process */
    AFTER_RELEASE,    /* it was attached, by a state that is gone */
    WHILE_SAVED,      /* it has a state, and blocks in its cache */
    BESIDE_A_HOLDER,  /* another thread is attached, and holds the lock in gil mode */
    HOOKED,           /* the domain's allocator is a wrapper around the default one */
    LOCK_NOT_HELD,    /* with a runtime's own lock: first call of the thread */
    LOCK_WAS_DROPPED, /* with a runtime's own lock: it has attached by itself and dropped the lock since */
    WHENS
};
static const char *const when_names[WHENS] = {"never attached", "after release", "while saved",     "beside a holder",
                                              "hooked",         "lock not held", "lock was dropped"};

enum call { MALLOC, CALLOC, REALLOC_NULL, REALLOC, FREE, FREE_NULL, USABLE_SIZE, FREE_SIZED, CALLS };

struct misuse {
    enum when when;
    enum call call;
    PyMemAllocatorDomain domain;
    size_t size;
    char name[100];
    char text[400];
};

/* --- the call --------------------------------------------------------------------------------- */

static void do_call(const struct misuse *misuse, void *block) {
    const struct domain *domain = &domains[misuse->domain];
    switch (misuse->call) {
        case MALLOC:
            domain->malloc(misuse->size);
            break;
        case CALLOC:
            domain->calloc(1, misuse->size);
            break;
        case REALLOC_NULL:
            domain->realloc(NULL, misuse->size);
            break;
        case REALLOC:
            domain->realloc(block, misuse->size);
            break;
        case FREE:
            domain->free(block);
            break;
        case FREE_NULL:
            domain->free(NULL);
            break;
        case USABLE_SIZE:
            gilloc_usable_size(misuse->domain, block);
            break;
        case FREE_SIZED:
            gilloc_free_sized(misuse->domain, block, misuse->size);
            break;
        case CALLS:
            break;
    }
}

/* A live block of the size, made while attached, with free blocks of its class left in the thread's cache. */
static void *make_block(const struct misuse *misuse) {
    const struct domain *domain = &domains[misuse->domain];
    void *block = domain->malloc(misuse->size);
    void *other = domain->malloc(misuse->size);
    EXPECT(block != NULL && other != NULL);
    domain->free(other);
    return block;
}

static void *hook_malloc(void *ctx, size_t size) {
    const PyMemAllocatorEx *inner = ctx;
    return inner->malloc(inner->ctx, size);
}
static void *hook_calloc(void *ctx, size_t count, size_t size) {
    const PyMemAllocatorEx *inner = ctx;
    return inner->calloc(inner->ctx, count, size);
}
static void *hook_realloc(void *ctx, void *block, size_t size) {
    const PyMemAllocatorEx *inner = ctx;
    return inner->realloc(inner->ctx, block, size);
}
static void hook_free(void *ctx, void *block) {
    const PyMemAllocatorEx *inner = ctx;
    inner->free(inner->ctx, block);
}

static struct runtime_lock lock;
static pthread_barrier_t attached;

struct handed {
    const struct misuse *misuse;
    void *block;
};

static void *stay_attached(void *arg) {
    struct handed *handed = arg;
    PyGILState_Ensure();
    handed->block = make_block(handed->misuse);
    pthread_barrier_wait(&attached);
    pthread_barrier_wait(&attached); /* never met: this thread stays until the process ends */
    return NULL;
}

static void misuse_body(const void *arg) {
    const struct misuse *misuse = arg;
    PyGILState_STATE was;
    void *block = NULL;
    switch (misuse->when) {
        case NEVER_ATTACHED:
            /* There is no block yet but one of the raw domain. */
            block = PyMem_RawMalloc(misuse->size);
            break;
        case AFTER_RELEASE:
            was = PyGILState_Ensure();
            block = make_block(misuse);
            PyGILState_Release(was);
            break;
        case WHILE_SAVED:
            PyGILState_Ensure();
            block = make_block(misuse);
            PyEval_SaveThread();
            break;
        case BESIDE_A_HOLDER: {
            struct handed handed = {misuse, NULL};
            pthread_barrier_init(&attached, NULL, 2);
            thread_start(stay_attached, &handed);
            pthread_barrier_wait(&attached);
            block = handed.block;
            break;
        }
        case HOOKED: {
            static PyMemAllocatorEx inner;
            PyMem_GetAllocator(misuse->domain, &inner);
            PyMemAllocatorEx words = {&inner, hook_malloc, hook_calloc, hook_realloc, hook_free};
            PyMem_SetAllocator(misuse->domain, &words);
            was = PyGILState_Ensure();
            block = make_block(misuse);
            PyGILState_Release(was);
            break;
        }
        case LOCK_NOT_HELD:
            runtime_lock_init(&lock);
            EXPECT_EQ(runtime_lock_set(&lock), 0);
            block = PyMem_RawMalloc(misuse->size);
            break;
        case LOCK_WAS_DROPPED:
            runtime_lock_init(&lock);
            EXPECT_EQ(runtime_lock_set(&lock), 0);
            runtime_lock_acquire(&lock);
            block = make_block(misuse);
            runtime_lock_release(&lock);
            break;
        case WHENS:
            break;
    }
    do_call(misuse, block);
}

/* Blocks are resized without the runtime's lock: the fast path does not ask, until the list of freed ones is full. */
static void resize_until_a_list_is_full(const void *unused) {
    (void)unused;
    enum { BLOCKS = 100 }; /* more than a list of their size holds at first */
    void *blocks[BLOCKS], *small[2 * BLOCKS];
    runtime_lock_init(&lock);
    EXPECT_EQ(runtime_lock_set(&lock), 0);
    runtime_lock_acquire(&lock);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = PyObject_Malloc(SMALL_LIMIT);
    }
    for (size_t i = 0; i < 2 * BLOCKS; i++) {
        small[i] = PyObject_Malloc(16);
    }
    for (size_t i = 0; i < 2 * BLOCKS; i++) {
        PyObject_Free(small[i]);
    }
    runtime_lock_release(&lock);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = PyObject_Realloc(blocks[i], 16);
    }
}

/* --- what it must say ------------------------------------------------------------------------- */

static const char *function_name(const struct misuse *misuse) {
    static const char *const names[2][CALLS] = {
        {"PyMem_Malloc", "PyMem_Calloc", "PyMem_Realloc", "PyMem_Realloc", "PyMem_Free", "PyMem_Free",
         "gilloc_usable_size", "gilloc_free_sized"},
        {"PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "PyObject_Realloc", "PyObject_Free", "PyObject_Free",
         "gilloc_usable_size", "gilloc_free_sized"},
    };
    return names[misuse->domain == PYMEM_DOMAIN_OBJ][misuse->call];
}

static void write_texts(struct misuse *misuse, int mode) {
    char subject[40];
    if (misuse->call <= REALLOC) {
        snprintf(subject, sizeof(subject), "size     %zu bytes", misuse->size);
    } else if (misuse->call == FREE_NULL) {
        snprintf(subject, sizeof(subject), "block    (nil)");
    } else {
        snprintf(subject, sizeof(subject), "block    X");
    }
    snprintf(misuse->name, sizeof(misuse->name), "%s, %zu bytes%s, %s (%s)", function_name(misuse), misuse->size,
             misuse->call == REALLOC_NULL || misuse->call == FREE_NULL ? ", NULL" : "", when_names[misuse->when],
             mode == GILLOC_MODE_GIL ? "gil" : "free");
    snprintf(misuse->text, sizeof(misuse->text),
             "Fatal gilloc error: %s: Python memory allocator called without holding the GIL\n"
             "  domain   %s\n"
             "  %s\n"
             "  thread   X, %s\n"
             "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n",
             function_name(misuse), domains[misuse->domain].name, subject,
             misuse->when == LOCK_WAS_DROPPED ? "without the runtime's lock" : "detached");
}

/* --- all of them ------------------------------------------------------------------------------ */

/* Small sizes fall through the fast path, or through its empty cache; large ones past it. */
static const size_t sizes[] = {0, 1, 512, 513};

int main(void) {
    const size_t most = 1 + 2 * WHENS * CALLS * 2 * sizeof(sizes) / sizeof(sizes[0]);
    struct misuse *misuses = calloc(most, sizeof(misuses[0]));
    struct death_case *cases = calloc(most, sizeof(cases[0]));
    if (misuses == NULL || cases == NULL) {
        free(misuses);
        free(cases);
        return 1;
    }
    size_t count = 0;
    for (int mode = GILLOC_MODE_GIL; mode <= GILLOC_MODE_FREE; mode++) {
        for (int when = 0; when < WHENS; when++) {
            for (int call = 0; call < CALLS; call++) {
                for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                    size_t size = sizes[i];
                    int in_raw = when == NEVER_ATTACHED || when == LOCK_NOT_HELD;
                    /* Where `size` says nothing new; where the fast path does not ask for the lock (gilloc_set_lock());
                       where nothing is asked (a hooked domain's usable size, and a plain free of a hook). */
                    if ((call == FREE_NULL && i > 0) || (in_raw && call >= REALLOC && call != FREE_NULL && i > 0) ||
                        (when >= LOCK_NOT_HELD && mode == GILLOC_MODE_FREE) ||
                        (when == LOCK_WAS_DROPPED && size <= SMALL_LIMIT && call <= FREE) ||
                        (when == HOOKED && call >= USABLE_SIZE)) {
                        continue;
                    }
                    struct misuse *misuse = &misuses[count];
                    /* Both domains by turns, and each call in each domain. */
                    *misuse = (struct misuse){
                        .when = (enum when)when,
                        .call = (enum call)call,
                        .domain = (i + (size_t)when + (size_t)mode) % 2 == 0 ? PYMEM_DOMAIN_MEM : PYMEM_DOMAIN_OBJ,
                        .size = size};
                    write_texts(misuse, mode);
                    cases[count++] = (struct death_case){misuse->name, misuse_body, misuse, mode, 0, misuse->text};
                }
            }
        }
    }
    cases[count++] = (struct death_case){
        "PyObject_Realloc, until a list is full, the lock was dropped (gil)",
        resize_until_a_list_is_full,
        NULL,
        GILLOC_MODE_GIL,
        0,
        "Fatal gilloc error: PyObject_Realloc: Python memory allocator called without holding the GIL\n"
        "  domain   object\n"
        "  size     16 bytes\n"
        "  thread   X, without the runtime's lock\n"
        "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"};
    int failed = death_run_group("detached", cases, count);
    free(cases);
    free(misuses);
    return failed;
}
