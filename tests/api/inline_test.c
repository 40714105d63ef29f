/* SPDX-License-Identifier: MIT */
/*
 * inline_test.c - <gilloc/inline.h>: blocks of known sizes, allocated and freed by the inlined code and by the public
 *                 functions in turn; hooks, modes, other threads and pages that change hands; and machine code that is
 *                 written here from the published numbers alone.
 *   Compiled with -O2: without it the compiler knows no sizes.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <gilloc/inline.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/mailbox.h"
#include "tests/support/sanitizer.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define BLOCKS ((size_t)ROUNDS(3000))

/* --- a pair of functions for each size and domain --------------------------------------------- */

typedef struct pair {
    size_t size;
    PyMemAllocatorDomain domain;
    void *(*malloc)(void);
    void (*free)(void *block);
} pair;

#define SIZES(X) X(0) X(1) X(16) X(17) X(32) X(40) X(100) X(496) X(504) X(512) X(513) X(1000)
#define FUNCTIONS(size)                                                                   \
    static void *mem_malloc_##size(void) { return gilloc_inline_mem_malloc(size); }       \
    static void mem_free_##size(void *block) { gilloc_inline_mem_free(block, size); }     \
    static void *object_malloc_##size(void) { return gilloc_inline_object_malloc(size); } \
    static void object_free_##size(void *block) { gilloc_inline_object_free(block, size); }
SIZES(FUNCTIONS)
#define PAIRS(size)                                               \
    {size, PYMEM_DOMAIN_MEM, mem_malloc_##size, mem_free_##size}, \
        {size, PYMEM_DOMAIN_OBJ, object_malloc_##size, object_free_##size},
static const pair pairs[] = {SIZES(PAIRS)};

static const pair *pair_of(PyMemAllocatorDomain domain, size_t size) {
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        if (pairs[i].domain == domain && pairs[i].size == size) {
            return &pairs[i];
        }
    }
    abort();
}

static bool is_plain(void) { return PLAIN_BUILD && !is_hardened() && getenv("PYTHONMALLOC") == NULL; }

/* Whether the inlined code may serve the domain. */
static bool is_open(PyMemAllocatorDomain domain) { return gilloc_inline_gate_2[domain - PYMEM_DOMAIN_MEM] != 0; }

/* Allocates by the pair, or by the public function. */
static void *block_of(const pair *of, bool inlined) {
    unsigned char *block = inlined ? of->malloc() : domains[of->domain].malloc(of->size);
    EXPECT(block != NULL && (uintptr_t)block % 16 == 0);
    memset(block, (int)((uintptr_t)block / 16 % 251), of->size);
    return block;
}

/* Frees by the pair, the public function, or the public one with a size. */
static void free_by(const pair *of, void *block, unsigned way) {
    for (size_t i = 0; i < of->size; i++) {
        EXPECT_EQ(((unsigned char *)block)[i], (uintptr_t)block / 16 % 251);
    }
    if (way == 0) {
        of->free(block);
    } else if (way == 1) {
        domains[of->domain].free(block);
    } else {
        gilloc_free_sized(of->domain, block, of->size);
    }
}

static void *blocks[3000];

static void all_ways(const pair *of) {
    for (unsigned round = 0; round < 6; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = block_of(of, (i + round) % 3 != 0);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t at = round % 2 == 0 ? i : BLOCKS - 1 - i;
            free_by(of, blocks[at], (unsigned)(i + round) % 7 % 3);
            if (i % 5 == 0) { /* between frees, from either list */
                free_by(of, block_of(of, true), 0);
            }
        }
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static void blocks_are_those_of_the_public_functions(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    size_t before = gilloc_allocated_blocks();
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        all_ways(&pairs[i]);
        void *block = pairs[i].malloc();
        if (getenv("PYTHONMALLOC") == NULL && pairs[i].size <= SMALL_LIMIT) {
            EXPECT_EQ(gilloc_usable_size(pairs[i].domain, block), small_block_size(pairs[i].size));
        }
        pairs[i].free(block);
        pairs[i].free(NULL);
        EXPECT_EQ(gilloc_allocated_blocks(), before);
        EXPECT_EQ(gilloc_check(), 0);
    }
    PyGILState_Release(was);
}

static void a_size_that_is_not_known_is_right_too(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (volatile size_t size = 0; size < 600; size++) {
        gilloc_inline_mem_free(gilloc_inline_mem_malloc(size), size);
        gilloc_inline_object_free(gilloc_inline_object_malloc(size), size);
    }
    PyGILState_Release(was);
}

static void a_resized_block_is_freed_by_its_last_size(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    const pair *of = pair_of(PYMEM_DOMAIN_OBJ, 40);
    for (int i = 0; i < 100; i++) {
        void *block = PyObject_Realloc(of->malloc(), 512);
        block = PyObject_Realloc(block, 40); /* it may stay where it is */
        of->free(block);
        block = PyObject_Realloc(PyObject_Malloc(48 + 16 - TAIL), 40);
        of->free(block);
    }
    PyGILState_Release(was);
}

static void hooks_see_each_call(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    static struct spy spies[2];
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        const pair *of = &pairs[i];
        struct spy *spy = &spies[of->domain == PYMEM_DOMAIN_OBJ];
        of->free(of->malloc()); /* the page is known */
        void *first = of->malloc();
        spy_install(spy, of->domain);
        EXPECT(!is_open(of->domain));
        void *second = of->malloc();
        spy_expect(spy, 1, 0, 0, 0);
        of->free(first);
        spy_expect(spy, 0, 0, 0, 1);
        spy_remove(spy);
        of->free(second);
        of->free(of->malloc());
        spy_expect(spy, 0, 0, 0, 0);
        if (is_plain()) {
            EXPECT(is_open(of->domain));
        }
    }
    PyGILState_Release(was);
}

static void *free_all(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    const pair *of = arg;
    void *own = of->malloc();
    for (size_t i = 0; i < BLOCKS; i++) {
        free_by(of, blocks[i], 0);
        if (i % 16 == 0) {
            of->free(own);
            own = of->malloc();
        }
    }
    of->free(own);
    PyGILState_Release(was);
    return NULL;
}

static void other_threads_blocks_go_back_to_their_heap(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        size_t before = gilloc_allocated_blocks();
        for (int round = 0; round < 2; round++) {
            for (size_t j = 0; j < BLOCKS; j++) {
                blocks[j] = block_of(&pairs[i], true);
            }
            PyThreadState *state = PyEval_SaveThread();
            pthread_t thread = thread_start(free_all, (void *)&pairs[i]);
            thread_join(thread);
            PyEval_RestoreThread(state);
        }
        EXPECT_EQ(gilloc_allocated_blocks(), before);
        EXPECT_EQ(gilloc_check(), 0);
    }
    PyGILState_Release(was);
}

/* The page is known, goes back as it is empty, and is another size's or domain's. */
static void pages_are_forgotten_when_their_pool_goes(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    static const size_t sizes[] = {32, 100, 40, 512, 1, 496};
    for (unsigned round = 0; round < 4 * LENGTH(sizes); round++) {
        const pair *of = pair_of(round % 4 < 2 ? PYMEM_DOMAIN_OBJ : PYMEM_DOMAIN_MEM, sizes[round % LENGTH(sizes)]);
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = block_of(of, true);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            free_by(of, blocks[i], 0);
        }
        gilloc_purge();
        EXPECT_EQ(gilloc_check(), 0); /* H4 */
    }
    PyGILState_Release(was);
}

/* What is freed page by page is not counted block by block, and yet a thread holds back no more than it may: C1. */
static void what_a_thread_holds_back_is_bounded(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        for (unsigned round = 0; round < 3; round++) {
            for (size_t j = 0; j < BLOCKS; j++) {
                blocks[j] = block_of(&pairs[i], round != 1);
            }
            for (size_t j = 0; j < BLOCKS; j++) {
                free_by(&pairs[i], blocks[j], round == 2 && j % 3 == 0);
                if (j % 200 == 0) {
                    EXPECT_EQ(gilloc_check(), 0);
                }
            }
            EXPECT_EQ(gilloc_check(), 0);
        }
    }
    PyGILState_Release(was);
}

/* A thread that knows a page, and has no block of it; it goes while the thread is detached. */
static struct mailbox is_known, may_end;

static void *know_a_page(void *arg) {
    enum { ALLOCATED = 1000 };
    const pair *of = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < ALLOCATED; i++) {
        blocks[i] = of->malloc();
    }
    void *known = blocks[ALLOCATED / 2];
    of->free(known);
    blocks[ALLOCATED / 2] = NULL;
    size_t count = ALLOCATED;
    do { /* until it comes back */
        blocks[count] = of->malloc();
    } while (blocks[count++] != known && count < LENGTH(blocks));
    mailbox_put(&is_known, &count);
    mailbox_take(&may_end); /* detached */
    of->free(of->malloc());
    PyGILState_Release(was);
    return NULL;
}

static void *free_of_size_512(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < *(const size_t *)arg; i++) {
        PyObject_Free(blocks[i]);
    }
    PyGILState_Release(was); /* the thread's lists go back to their pools, and these to the arenas */
    return NULL;
}

static void all_threads_forget_a_page(void) {
    mailbox_init(&is_known, 1);
    mailbox_init(&may_end, 1);
    pthread_t thread = thread_start(know_a_page, (void *)pair_of(PYMEM_DOMAIN_OBJ, 512));
    PyGILState_STATE was = PyGILState_Ensure();
    size_t *count = mailbox_take(&is_known);
    PyThreadState *state = PyEval_SaveThread();
    thread_join(thread_start(free_of_size_512, count));
    PyEval_RestoreThread(state);
    EXPECT_EQ(gilloc_check(), 0); /* H4 */
    const pair *of = pair_of(PYMEM_DOMAIN_OBJ, 100);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = block_of(of, true);
    }
    EXPECT_EQ(gilloc_check(), 0);
    mailbox_put(&may_end, &may_end);
    state = PyEval_SaveThread();
    thread_join(thread);
    PyEval_RestoreThread(state);
    for (size_t i = 0; i < BLOCKS; i++) {
        free_by(of, blocks[i], 0);
    }
    EXPECT_EQ(gilloc_check(), 0);
    PyGILState_Release(was);
    mailbox_fini(&is_known);
    mailbox_fini(&may_end);
}

static void modes_change_under_known_pages(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    const pair *of = pair_of(PYMEM_DOMAIN_OBJ, 40);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = block_of(of, true);
        }
        for (size_t i = 0; i < BLOCKS / 2; i++) {
            free_by(of, blocks[i], 0);
        }
        EXPECT_EQ(gilloc_set_mode(round % 2 == 0 ? GILLOC_MODE_FREE : GILLOC_MODE_GIL), 0);
        EXPECT_EQ(gilloc_check(), 0);
        for (size_t i = BLOCKS / 2; i < BLOCKS; i++) {
            free_by(of, blocks[i], 0);
        }
        EXPECT_EQ(gilloc_check(), 0);
    }
    PyGILState_Release(was);
}

/* What was freed to a page that has been forgotten is counted: no list grows by a page each time. */
static void what_is_freed_to_forgotten_pages_is_counted(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    const pair *of = pair_of(PYMEM_DOMAIN_OBJ, 512);
    enum { EACH = 16384 / 512, TIMES = 8 };
    for (size_t i = 0; i < EACH * TIMES; i++) {
        blocks[i] = block_of(of, true);
    }
    void *more = block_of(of, true);
    for (size_t round = 0; round < TIMES; round++) {
        for (size_t i = 0; i < EACH; i++) {
            free_by(of, blocks[round * EACH + i], 0);
        }
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
        EXPECT_EQ(gilloc_check(), 0);
    }
    free_by(of, more, 0);
    PyGILState_Release(was);
}

static void ended_threads_pages_are_not_theirs(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    const pair *of = pair_of(PYMEM_DOMAIN_MEM, 100);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = block_of(of, true);
    }
    PyThreadState *state = PyEval_SaveThread();
    pthread_t thread = thread_start(free_all, (void *)of);
    thread_join(thread);
    PyEval_RestoreThread(state);
    EXPECT_EQ(gilloc_check(), 0);
    all_ways(of);
    PyGILState_Release(was);
}

/* --- machine code ----------------------------------------------------------------------------- */

#if defined(__x86_64__)
typedef struct code {
    unsigned char *at;
    unsigned char *jumps[4][2]; /* the offsets to be filled in, by target */
    unsigned count[2];
} code;

static void emit(code *to, const char *bytes, size_t length) {
    memcpy(to->at, bytes, length);
    to->at += length;
}
#define EMIT(to, bytes) emit(to, bytes, sizeof(bytes) - 1)
static void emit_32(code *to, int64_t value) {
    int32_t narrow = (int32_t)value;
    EXPECT_EQ(narrow, value);
    memcpy(to->at, &narrow, sizeof(narrow));
    to->at += sizeof(narrow);
}
static void emit_jump(code *to, const char *opcode, unsigned target) {
    emit(to, opcode, 2);
    to->jumps[to->count[target]++][target] = to->at;
    emit_32(to, 0);
}
static void land(code *to, unsigned target) {
    for (unsigned i = 0; i < to->count[target]; i++) {
        int32_t distance = (int32_t)(to->at - (to->jumps[i][target] + 4));
        memcpy(to->jumps[i][target], &distance, sizeof(distance));
    }
}

/* A function that allocates a block and frees it: 1; 0: there was none; or the block, which is still to be freed. */
typedef uintptr_t pair_function(void);

static void write_pair(unsigned char *memory, unsigned domain, size_t size) {
    enum { NO_BLOCK, NO_FREE };
    code to = {.at = memory};
    size_t number = size == 0 ? 0 : (size - 1) / 16, bins = domain == 0 ? GILLOC_INLINE_MEM : GILLOC_INLINE_OBJECT;
    size_t from = bins + (size + 15) / 16 * GILLOC_INLINE_BIN, back = bins + (number + 1) * GILLOC_INLINE_BIN;
    char *thread_pointer;
    __asm__("movq %%fs:0, %0" : "=r"(thread_pointer));
    const void *gate = &gilloc_inline_gate_2[domain];
    EMIT(&to, "\x64\x48\x8b\x04\x25"); /* mov %fs:cache, %rax */
    emit_32(&to, (char *)&gilloc_inline_cache_2 - thread_pointer);
    EMIT(&to, "\x48\xb9"); /* mov $gate, %rcx */
    emit(&to, (const char *)&gate, sizeof(gate));
    EMIT(&to, "\x48\x8b\x90"); /* mov alloc(%rax), %rdx */
    emit_32(&to, (int64_t)from + GILLOC_INLINE_ALLOC);
    EMIT(&to, "\x48\x85\x11"); /* test %rdx, (%rcx) */
    emit_jump(&to, "\x0f\x84", NO_BLOCK);
    EMIT(&to, "\x48\x8b\x32" /* mov (%rdx), %rsi */ "\x48\x89\xb0" /* mov %rsi, alloc(%rax) */);
    emit_32(&to, (int64_t)from + GILLOC_INLINE_ALLOC);
    EMIT(&to, "\x48\x8b\x39" /* mov (%rcx), %rdi */ "\x48\x21\xd7" /* and %rdx, %rdi */);
    EMIT(&to, "\x48\x3b\xb8"); /* cmp page(%rax), %rdi */
    emit_32(&to, GILLOC_INLINE_PAGES + (int64_t)(domain * GILLOC_INLINE_CLASSES + number) * 8);
    emit_jump(&to, "\x0f\x85", NO_FREE);
    EMIT(&to, "\x48\x8b\xb0"); /* mov free(%rax), %rsi */
    emit_32(&to, (int64_t)back + GILLOC_INLINE_FREE);
    EMIT(&to, "\x48\x89\x32" /* mov %rsi, (%rdx) */ "\x48\x89\x90" /* mov %rdx, free(%rax) */);
    emit_32(&to, (int64_t)back + GILLOC_INLINE_FREE);
    EMIT(&to, "\xb8\x01\x00\x00\x00\xc3"); /* mov $1, %eax; ret */
    land(&to, NO_BLOCK);
    EMIT(&to, "\x31\xc0\xc3"); /* xor %eax, %eax; ret */
    land(&to, NO_FREE);
    EMIT(&to, "\x48\x89\xd0\xc3"); /* mov %rdx, %rax; ret */
}

static void machine_code_needs_the_published_numbers_alone(void) {
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    static const size_t sizes[] = {0, 1, 40, 512};
    PyGILState_STATE was = PyGILState_Ensure();
    for (unsigned i = 0; i < 2 * LENGTH(sizes); i++) {
        size_t size = sizes[i / 2];
        PyMemAllocatorDomain domain = i % 2 == 0 ? PYMEM_DOMAIN_MEM : PYMEM_DOMAIN_OBJ;
        EXPECT_EQ(mprotect(memory, 4096, PROT_READ | PROT_WRITE), 0);
        write_pair(memory, i % 2, size);
        EXPECT_EQ(mprotect(memory, 4096, PROT_READ | PROT_EXEC), 0);
        pair_function *function;
        memcpy(&function, &memory, sizeof(function));
        size_t before = gilloc_allocated_blocks(), done = 0;
        for (int turn = 0; turn < 10000; turn++) {
            uintptr_t result = function();
            done += result == 1;
            if (result == 0) {
                gilloc_inline_free_else(domain, domains[domain].malloc(size), size);
            } else if (result != 1) {
                gilloc_inline_free_else(domain, (void *)result, size);
            }
        }
        EXPECT_EQ(gilloc_allocated_blocks(), before);
        EXPECT_EQ(gilloc_check(), 0);
        if (is_plain()) {
            EXPECT(done > 5000 || size == 0); /* those of 0 bytes are the next class's, borrowed a few at a time */
        } else if (!is_open(domain)) {
            EXPECT_EQ(done, 0);
        }
    }
    PyGILState_Release(was);
    munmap(memory, 4096);
}
#else
static void machine_code_needs_the_published_numbers_alone(void) {}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(blocks_are_those_of_the_public_functions),
        IN_BOTH_MODES(a_size_that_is_not_known_is_right_too),
        IN_BOTH_MODES(a_resized_block_is_freed_by_its_last_size),
        IN_BOTH_MODES(hooks_see_each_call),
        IN_BOTH_MODES(other_threads_blocks_go_back_to_their_heap),
        IN_BOTH_MODES(pages_are_forgotten_when_their_pool_goes),
        IN_BOTH_MODES(what_a_thread_holds_back_is_bounded),
        IN_BOTH_MODES(all_threads_forget_a_page),
        IN_GIL_MODE(modes_change_under_known_pages),
        IN_GIL_MODE(what_is_freed_to_forgotten_pages_is_counted),
        IN_BOTH_MODES(ended_threads_pages_are_not_theirs),
        IN_BOTH_MODES(machine_code_needs_the_published_numbers_alone),
    };
    return cmocka_run_group_tests_name("inline", tests, NULL, NULL);
}
